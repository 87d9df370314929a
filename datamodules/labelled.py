"""Labelled examples held in memory, gone through in a random order of every epoch's own.

Shapes: k steps, r replicas, b batch.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from datamodules.corpus import Held
from datamodules.stream import Batch, StreamData, cuts, generator
from zoo.registry import ZooError


class LabelledData(StreamData):
    """Batches of {`inputs`, "targets"} from a training set, validation on a test set.

    Every epoch goes once through the training set, but for the last examples that fill no batch. Replicas see the same
    batches, so that they differ by their networks alone; ranks share the examples of an epoch.

    A subclass has `dataset`, its name in messages, and says what `training` and `held` are.

    Attributes:
        inputs: key of the examples in a batch, and what they are called.
        order_key: first part of the key of the orders' generator.
    """

    inputs: ClassVar[str]
    order_key: ClassVar[str]
    dataset: str

    def __init__(self, *, batch_size: int, seed: int, steps_per_epoch: int | None) -> None:
        super().__init__(seed=seed, steps_per_epoch=steps_per_epoch or 1)
        self.batch_size = batch_size
        self._full_epochs = steps_per_epoch is None
        self._orders: dict[int, tuple[int, Tensor]] = {}

    @property
    def training(self) -> tuple[Tensor, Tensor]:
        """Examples (n, ...) and labels (n,)."""
        raise NotImplementedError

    @property
    def held(self) -> tuple[Tensor, Tensor]:
        """The same of the test set."""
        raise NotImplementedError

    def _per_epoch(self, world: int) -> int:
        found, rows = len(self.training[1]), self.batch_size * world
        if found < rows:
            raise ZooError(f"{self.dataset} has {found} training {self.inputs} here, fewer than one batch of {rows}.")
        return found // rows

    def setup(self, stage: str) -> None:
        if stage == "fit" and self._full_epochs:
            self.steps_per_epoch = self._per_epoch(self.trainer.world_size if self.trainer is not None else 1)

    def chosen(self, start: int, stop: int, rank: int, world: int) -> Tensor:
        """Numbers of the training examples of steps start … stop-1, (k, b)."""
        per_epoch, rows, pieces = self._per_epoch(world), self.batch_size * world, []
        for first, last in cuts(start, stop, per_epoch):
            steps = torch.arange(first % per_epoch, first % per_epoch + last - first)[:, None]
            own = rank * self.batch_size + torch.arange(self.batch_size)
            pieces.append(self._order(first // per_epoch)[steps * rows + own])
        return torch.cat(pieces)

    def batches(self, replica: int, start: int, stop: int, rank: int, world: int) -> Batch:
        chosen = self.chosen(start, stop, rank, world)
        examples, labels = self.training
        return {
            self.inputs: examples.index_select(0, chosen.flatten()).unflatten(0, chosen.shape),
            "targets": labels[chosen],
        }

    def stacked(self, replicas: Any, start: int, stop: int, rank: int, world: int) -> Batch:
        """One batch a step for all replicas, seen as (steps, r, ...) without a copy."""
        one = self.batches(0, start, stop, rank, world)
        return {name: leaf.unsqueeze(1).expand(-1, len(replicas), *leaf.shape[1:]) for name, leaf in one.items()}

    def _order(self, epoch: int) -> Tensor:
        slot = epoch % 2  # a chunk can touch two epochs
        if slot not in self._orders or self._orders[slot][0] != epoch:
            key = generator(self.order_key, self.seed, "train", epoch)
            self._orders[slot] = epoch, torch.randperm(len(self.training[1]), generator=key)
        return self._orders[slot][1]

    def val_dataloader(self) -> Held:
        """The test set in its order, each example once, in batches of 500."""
        trainer: Any = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        pieces = zip(*(part.split(500) for part in self.held), strict=True)
        return Held([{self.inputs: examples, "targets": labels} for examples, labels in pieces], rank, world)
