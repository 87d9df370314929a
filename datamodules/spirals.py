"""Simulated spirals, each replica with a training sample of its own.

Shapes: k steps, r replicas, n series, t points.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from datamodules.corpus import Held
from datamodules.stream import Batch, StreamData, generator
from datamodules.time_series import spirals


class SpiralsData(StreamData):
    """Full-batch {"series": (n, t, 2), "targets": (n,)}; validation on fresh spirals, the same in every run.

    Args:
        n: training spirals of a replica. test: spirals of the validation. length: points of a spiral.
        seed: of the training samples.
        steps_per_epoch: optimiser steps between validations.

    Raises:
        ValueError: a count below one.
    """

    def __init__(
        self, *, n: int = 50, test: int = 1000, length: int = 100, seed: int = 0, steps_per_epoch: int = 50
    ) -> None:
        super().__init__(seed=seed, steps_per_epoch=steps_per_epoch)
        if min(n, test, length) < 1:
            raise ValueError(f"n={n}, test={test} and length={length} must be at least 1")
        self.n, self.test, self.length = n, test, length
        self._samples: dict[int, tuple[Tensor, Tensor]] = {}

    def task(self, replica: int) -> Batch:
        """{"channels": (), "classes": ()}."""
        return {"channels": torch.tensor(2), "classes": torch.tensor(2)}

    def sample(self, replica: int) -> tuple[Tensor, Tensor]:
        """The training spirals of a replica, float64 (n, t, 2), and their labels (n,)."""
        if replica not in self._samples:
            key = generator("SpiralsData", self.seed, replica)
            self._samples[replica] = spirals(self.n, key, self.length, torch.float64)
        return self._samples[replica]

    def batches(self, replica: int, start: int, stop: int, rank: int, world: int) -> Batch:
        series, labels = (one[rank::world] for one in self.sample(replica))
        return {
            "series": series.expand(stop - start, *series.shape),
            "targets": labels.expand(stop - start, *labels.shape),
        }

    def stacked(self, replicas: Any, start: int, stop: int, rank: int, world: int) -> Batch:
        """The same samples at every step, seen as (steps, r, ...) without a copy for each."""
        each = [self.batches(replica, 0, 1, rank, world) for replica in replicas]
        return {
            name: torch.stack([batch[name][0] for batch in each]).expand(stop - start, len(each), *leaf.shape[1:])
            for name, leaf in each[0].items()
        }

    def val_dataloader(self) -> Held:
        series, labels = spirals(self.test, generator("SpiralsData", "test"), self.length, torch.float64)
        return Held([{"series": series, "targets": labels}])
