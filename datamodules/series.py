"""Spoken digits, pen digits and four UEA sets, held in memory.

Shapes: k steps, r replicas, b batch, (t, c) one series.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.labelled import LabelledData
from datamodules.stream import Batch
from datamodules.time_series import LICENCES, SETS, Corpus, read
from zoo.registry import ZooError


class SeriesData(LabelledData):
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

    inputs = "series"
    order_key = "SeriesData"

    def __init__(
        self,
        *,
        name: str = "pendigits",
        root: str | None = None,
        batch_size: int = 64,
        seed: int = 0,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, steps_per_epoch=steps_per_epoch)
        if name not in SETS:
            raise ZooError(f"name must be one of {', '.join(SETS)}, got {name!r}.")
        if batch_size < 1:
            raise ZooError(f"batch_size must be at least 1, got {batch_size}.")
        self.dataset = name
        self.root = Path(root) if root is not None else None

    @functools.cached_property
    def corpus(self) -> Corpus:
        """Both splits, read on first use."""
        return read(self.dataset, self.root).standardised()

    @property
    def training(self) -> tuple[Tensor, Tensor]:
        return self.corpus.train.series, self.corpus.train.labels

    @property
    def held(self) -> tuple[Tensor, Tensor]:
        return self.corpus.test.series, self.corpus.test.labels

    def task(self, replica: int) -> Batch:
        """{"channels": (), "classes": ()}."""
        return {
            "channels": torch.tensor(self.corpus.train.series.shape[2]),
            "classes": torch.tensor(self.corpus.classes),
        }

    def provenance(self) -> dict[str, Any]:
        return {
            "name": self.dataset,
            "licence": LICENCES[self.dataset],
            "hashes": self.corpus.hashes,
            "samples": len(self.corpus.train.labels),
            "seed": self.seed,
        }
