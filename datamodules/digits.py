"""The 8 x 8 digits of scikit-learn, held in memory.

Shapes: k steps, b batch, w ranks.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F

from datamodules.digit_images import LICENCE, read_digits
from datamodules.image_files import Split
from datamodules.images import ImageData
from datamodules.stream import Batch, cuts


class DigitsData(ImageData):
    """Batches {"images": (b, 1, 8, 8) on [0, 1], "targets": (b,)} of 1,437 training digits; validation on the other 360.

    Every epoch goes once through all training digits in a random order of its own. Its last batch is not full: targets are
    -1 where there is no image. Replicas see the same batches, so that they differ by their networks alone; ranks share each
    batch evenly.

    Args:
        batch_size: b.
        seed: of the order of the digits.

    Raises:
        ZooError: scikit-learn is not installed, or batch_size is below 1.
    """

    def __init__(self, *, batch_size: int = 128, seed: int = 0):
        super().__init__(batch_size=batch_size, seed=seed)
        self.dataset = "digits"  # type: ignore[assignment]

    @functools.cached_property
    def train(self) -> Split:
        """The training digits, on [0, 1], read on first use."""
        return read_digits("train")

    @functools.cached_property
    def test(self) -> Split:
        """The test digits, on [0, 1], read on first use."""
        return read_digits("test")

    def _per_epoch(self, world: int) -> int:
        return -(-len(self.train.labels) // (self.batch_size * world))

    def batches(self, replica: int, start: int, stop: int, rank: int, world: int) -> Batch:
        per_epoch, rows, pieces = self._per_epoch(world), self.batch_size * world, []
        for first, last in cuts(start, stop, per_epoch):
            order = self._order(first // per_epoch)
            whole = F.pad(order, (0, per_epoch * rows - len(order)), value=-1).reshape(per_epoch, rows)
            pieces.append(whole[first % per_epoch :][: last - first, rank::world])
        chosen = torch.cat(pieces)  # (k, b), -1 for no image
        return {
            "images": self.train.images[chosen],
            "targets": self.train.labels[chosen].masked_fill(chosen < 0, -1),
        }

    def provenance(self) -> dict[str, Any]:
        return {
            "name": "digits of scikit-learn",
            "licence": LICENCE,
            "hashes": self.train.hashes,
            "samples": len(self.train.labels),
            "seed": self.seed,
        }
