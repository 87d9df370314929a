"""Data as a pure function of (seed, replica, rank, step).

Shapes: a batch is a dict of tensors. `draw` and `batches` give the leaves of n consecutive steps, (n, ...); a chunk
stacks the replicas behind the steps, (n, r, ...).

Because step t is always row `t % block` of block `t // block`, results do not depend on how steps are grouped in
chunks, on how many replicas share a process, or on where a run was cut and resumed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import lightning.pytorch as L
import torch
from torch import Tensor

Batch = dict[str, Tensor]


def generator(*key: int | str) -> torch.Generator:
    """A CPU generator seeded by a hash of `key`: equal keys give equal streams, different keys unrelated ones."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def cuts(start: int, stop: int, *every: int) -> Iterator[tuple[int, int]]:
    """Splits the steps start … stop-1 at every multiple of each number in `every`."""
    while start < stop:
        end = min(stop, *((start // n + 1) * n for n in every))
        yield start, end
        start = end


class StreamData(L.LightningDataModule):
    """Training data for one replica at a time, stacked and cut into chunks here.

    Args:
        seed: of all draws of this data; the tasks and the batches of a replica depend on nothing else.
        steps_per_epoch: optimiser steps that Lightning calls one epoch (validation runs at its end).
    """

    block: ClassVar[int] = 64

    def __init__(self, *, seed: int = 0, steps_per_epoch: int = 1000):
        super().__init__()
        if steps_per_epoch < 1:
            raise ValueError(f"steps_per_epoch must be at least 1, got {steps_per_epoch}.")
        self.seed = seed
        self.steps_per_epoch = steps_per_epoch
        self._blocks: dict[tuple[int, int], tuple[int, Batch]] = {}
        self._tasks: dict[int, Batch] = {}

    def task(self, replica: int) -> Batch:
        """What replica `replica` has to learn, a pure function of (seed, replica). No leading axis."""
        return {}

    def draw(self, generator: torch.Generator, steps: int, task: Batch) -> Batch:
        """Training batches of `steps` consecutive steps for one replica, leaves (steps, ...)."""
        raise NotImplementedError

    def _task(self, replica: int) -> Batch:
        if replica not in self._tasks:
            self._tasks[replica] = self.task(replica)
        return self._tasks[replica]

    def batches(self, replica: int, start: int, stop: int, rank: int, world: int) -> Batch:
        """Batches of the steps start … stop-1 for one replica on one of `world` data-parallel ranks."""
        pieces = []
        for first, last in cuts(start, stop, self.block):
            index, offset = divmod(first, self.block)
            cached, block = self._blocks.get((replica, rank), (-1, {}))
            if cached != index:
                key = generator(type(self).__name__, self.seed, "train", replica, rank, index)
                block = self.draw(key, self.block, self._task(replica))
                self._blocks[replica, rank] = index, block
            pieces.append({name: leaf[offset : offset + last - first] for name, leaf in block.items()})
        if len(pieces) == 1:
            return pieces[0]
        return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}

    def stacked(self, replicas: Sequence[int], start: int, stop: int, rank: int, world: int) -> Batch:
        """Batches of all `replicas`, leaves (steps, r, ...)."""
        each = [self.batches(replica, start, stop, rank, world) for replica in replicas]
        return {name: torch.stack([batch[name] for batch in each], dim=1) for name in each[0]}

    def provenance(self) -> dict[str, Any]:
        """Name, licence and sha256 of the data, for a weight's record."""
        return {"name": type(self).__name__, "licence": "synthetic", "seed": self.seed}

    def train_dataloader(self) -> Chunks:
        return Chunks(self)


class Chunks:
    """One epoch of chunks, from the trainer's current optimiser step on; what Lightning iterates over.

    Each item is {"start": first optimiser step, "steps": how many, "batches": leaves (steps, r, ...)}.
    """

    def __init__(self, data: StreamData):
        self.data = data

    # No __len__: after a resume in the middle of an epoch the number of chunks left is not the number Lightning counted.
    def __iter__(self) -> Iterator[dict[str, Any]]:
        trainer: Any = self.data.trainer
        module: Any = trainer.lightning_module
        # Replicas that are spread over ranks are told apart by their number; only ranks that share one replica
        # need streams of their own.
        shared = module.replicas == 1
        rank, world = (trainer.global_rank, trainer.world_size) if shared else (0, 1)
        start = trainer.global_step
        stop = (start // self.data.steps_per_epoch + 1) * self.data.steps_per_epoch
        if trainer.max_steps > 0:
            stop = min(stop, trainer.max_steps)
        for first, last in cuts(start, stop, module.chunk, module.log_every, *module.stops):
            batches = self.data.stacked(module.replica_ids, first, last, rank, world)
            yield {"start": first, "steps": last - first, "batches": batches}
