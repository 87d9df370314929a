"""Spoken digits, pen digits and four UEA sets, held in memory.

Shapes: k steps, r replicas, b batch, (t, c) one series.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.corpus import Held
from datamodules.stream import Batch, StreamData, cuts, generator
from datamodules.time_series import LICENCES, SETS, Corpus, read
from zoo.registry import ZooError


class SeriesData(StreamData):
    """Batches {"series": (b, t, c), "targets": (b,)}, channels standardised; validation on the official test set.

    Every epoch goes once through the training set in a random order of its own, but for the last series that fill no batch.
    Replicas see the same batches, so that they differ by their networks alone; ranks share the series of an epoch.

    Args:
        name: "fsdd" (spoken digits as log-mel frames), "pendigits", "racket_sports", "ering", "epilepsy" or "libras".
        root: folder with the files; None means `$ZOO_DATA/fsdd`, `$ZOO_DATA/uci/pendigits` or `$ZOO_DATA/uea`.
        batch_size: b; at most the whole training set.
        seed: of the order of the series.
        steps_per_epoch: optimiser steps between validations; None for one pass over the training set.

    Raises:
        ZooError: no data, damaged data, or fewer series than one batch.
    """

    def __init__(
        self,
        *,
        name: str = "pendigits",
        root: str | None = None,
        batch_size: int = 64,
        seed: int = 0,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(seed=seed, steps_per_epoch=steps_per_epoch or 1)
        if name not in SETS:
            raise ZooError(f"name must be one of {', '.join(SETS)}, got {name!r}.")
        if batch_size < 1:
            raise ZooError(f"batch_size must be at least 1, got {batch_size}.")
        self.dataset, self.batch_size = name, batch_size
        self.root = Path(root) if root is not None else None
        self._full_epochs = steps_per_epoch is None
        self._orders: dict[int, tuple[int, Tensor]] = {}

    @functools.cached_property
    def corpus(self) -> Corpus:
        """Both splits, read on first use."""
        return read(self.dataset, self.root).standardised()

    def _per_epoch(self, world: int) -> int:
        found, rows = len(self.corpus.train.labels), self.batch_size * world
        if found < rows:
            raise ZooError(f"{self.dataset} has {found} training series, fewer than one batch of {rows}.")
        return found // rows

    def setup(self, stage: str) -> None:
        if stage == "fit" and self._full_epochs:
            self.steps_per_epoch = self._per_epoch(self.trainer.world_size if self.trainer is not None else 1)

    def task(self, replica: int) -> Batch:
        """{"channels": (), "classes": ()}."""
        return {
            "channels": torch.tensor(self.corpus.train.series.shape[2]),
            "classes": torch.tensor(self.corpus.classes),
        }

    def batches(self, replica: int, start: int, stop: int, rank: int, world: int) -> Batch:
        per_epoch, rows, pieces = self._per_epoch(world), self.batch_size * world, []
        for first, last in cuts(start, stop, per_epoch):
            steps = torch.arange(first % per_epoch, first % per_epoch + last - first)[:, None]
            own = rank * self.batch_size + torch.arange(self.batch_size)
            pieces.append(self._order(first // per_epoch)[steps * rows + own])
        chosen = torch.cat(pieces)
        return {"series": self.corpus.train.series[chosen], "targets": self.corpus.train.labels[chosen]}

    def stacked(self, replicas: Any, start: int, stop: int, rank: int, world: int) -> Batch:
        """One batch a step for all replicas, seen as (steps, r, ...) without a copy."""
        one = self.batches(0, start, stop, rank, world)
        return {name: leaf.unsqueeze(1).expand(-1, len(replicas), *leaf.shape[1:]) for name, leaf in one.items()}

    def _order(self, epoch: int) -> Tensor:
        slot = epoch % 2  # a chunk can touch two epochs
        if slot not in self._orders or self._orders[slot][0] != epoch:
            key = generator("SeriesData", self.seed, "train", epoch)
            self._orders[slot] = epoch, torch.randperm(len(self.corpus.train.labels), generator=key)
        return self._orders[slot][1]

    def provenance(self) -> dict[str, Any]:
        return {
            "name": self.dataset,
            "licence": LICENCES[self.dataset],
            "hashes": self.corpus.hashes,
            "samples": len(self.corpus.train.labels),
            "seed": self.seed,
        }

    def val_dataloader(self) -> Held:
        """The test set in its order, each series once, in batches of 500."""
        trainer: Any = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        test = self.corpus.test
        pieces = zip(test.series.split(500), test.labels.split(500), strict=True)
        return Held([{"series": series, "targets": labels} for series, labels in pieces], rank, world)
