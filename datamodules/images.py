"""MNIST, Fashion-MNIST and CIFAR-10 held in memory as bytes.

Shapes: k steps, b batch, (c, y, x) one image.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from datamodules.image_files import JPEG, LICENCES, Split, read
from datamodules.labelled import LabelledData
from datamodules.stream import Batch, generator
from zoo.registry import ZooError


class ImageData(LabelledData):
    """Batches of images, {"images": (b, c, y, x) uint8, "targets": (b,)}; validation on the test set.

    Every epoch goes once through the training set in a random order of its own, but for the last images that fill no batch.
    Replicas see the same batches, so that they differ by their networks alone; ranks share the images of an epoch.

    Args:
        root: folder with the data, in the format of the official files or as torchvision leaves them. None means
            `$ZOO_DATA/<name>`.
        name: "mnist", "fashion-mnist" or "cifar-10".
        batch_size: b.
        samples: how many training images, drawn once and the same in every run; None for all.
        augment: training images are moved by up to four pixels each way, black coming in, and half of them mirrored.
        cache: folder for unpacked JPEG; None means ~/.cache/theorem-zoo.
        seed: of the order of the images.
        steps_per_epoch: optimiser steps between validations; None for one pass over the training images.

    Raises:
        ZooError: no data, damaged data, or fewer images than one batch.
    """

    inputs = "images"
    order_key = "ImageData"

    def __init__(
        self,
        *,
        root: str | None = None,
        name: Literal["mnist", "fashion-mnist", "cifar-10"] = "mnist",
        batch_size: int = 128,
        samples: int | None = None,
        augment: bool = False,
        cache: str | None = None,
        seed: int = 0,
        steps_per_epoch: int | None = None,
    ):
        super().__init__(batch_size=batch_size, seed=seed, steps_per_epoch=steps_per_epoch)
        if name not in LICENCES:
            raise ZooError(f"name must be one of {', '.join(LICENCES)}, got {name!r}.")
        if batch_size < 1 or (samples is not None and samples < 1):
            raise ZooError(f"batch_size and samples must be at least 1, got {batch_size} and {samples}.")
        self.dataset, self.samples, self.augment = name, samples, augment
        self.root = Path(root) if root is not None else None
        self.cache = Path(cache).expanduser() if cache is not None else None

    @functools.cached_property
    def train(self) -> Split:
        """The training images, read on first use."""
        whole = read(self.dataset, "train", self.root, self.cache)
        if self.samples is None:
            return whole
        kept = torch.randperm(len(whole.labels), generator=generator("ImageData", "samples"))[: self.samples]
        return Split(whole.images[kept], whole.labels[kept], whole.hashes)

    @functools.cached_property
    def test(self) -> Split:
        """The test images, read on first use."""
        return read(self.dataset, "test", self.root, self.cache)

    @property
    def training(self) -> tuple[Tensor, Tensor]:
        return self.train.images, self.train.labels

    @property
    def held(self) -> tuple[Tensor, Tensor]:
        return self.test.images, self.test.labels

    def task(self, replica: int) -> Batch:
        """{"shape": (3,) the numbers c, y, x, "classes": ()}."""
        return {"shape": torch.tensor(self.train.images.shape[1:]), "classes": torch.tensor(10)}

    def batches(self, replica: int, start: int, stop: int, rank: int, world: int) -> Batch:
        found = super().batches(replica, start, stop, rank, world)
        if self.augment:
            keys = (generator("ImageData", self.seed, "augment", rank, step) for step in range(start, stop))
            moving = zip(found["images"], keys, strict=True)
            found["images"] = torch.stack([moved(batch, key) for batch, key in moving])
        return found

    def provenance(self) -> dict[str, Any]:
        copy = " (JPEG copy)" if any(name.startswith(JPEG) for name in self.train.hashes) else ""
        return {
            "name": f"{self.dataset}{copy}",
            "licence": LICENCES[self.dataset],
            "hashes": self.train.hashes | self.test.hashes,
            "samples": len(self.train.labels),
            "seed": self.seed,
        }


def moved(images: Tensor, generator: torch.Generator, by: int = 4) -> Tensor:
    """Each image (b, c, y, x) moved by up to `by` pixels each way, zero coming in, and mirrored with probability 1/2."""
    count, _, height, width = images.shape
    down, right = torch.randint(0, 2 * by + 1, (2, count, 1), generator=generator)
    mirrored = torch.rand(count, 1, generator=generator) < 0.5
    columns = torch.arange(width)
    rows = down + torch.arange(height)
    columns = right + torch.where(mirrored, columns.flip(0), columns)
    padded = torch.nn.functional.pad(images, (by,) * 4)
    index = torch.arange(count)[:, None, None], slice(None), rows[:, :, None], columns[:, None, :]
    return padded[index].movedim(-1, 1)
