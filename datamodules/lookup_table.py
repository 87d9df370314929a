"""Tables to memorise: one next token for every context (`LookupTableData`), or one next-token law (`DirichletData`).

Shapes: n sequences, t tokens, v vocabulary; a batch has leaves (steps, b, ...).
"""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules.stream import Batch, StreamData, cuts, generator


class LookupTableData(StreamData):
    """A random table g from contexts to tokens, and a finite sample of (context, g(context)).

    Each of the vocabulary^context contexts gets one uniformly random next token; two contexts may share one. The
    sample of batch_size * batches_per_epoch contexts is drawn once per replica with replacement, and every epoch
    goes through it in a new order. With the defaults 16,384 draws cover 2,500 contexts 6.6 times on average,
    unevenly; `counts` says how often.

    Args:
        vocabulary: N.
        context: tokens before the predicted one.
        batch_size: samples in a batch (of one rank).
        batches_per_epoch: batches after which the order is drawn again; also Lightning's epoch.
        seed: of tables, samples and orders.

    Task: "table" (v,) * t of next tokens and "counts" of the same shape, both int16.
    Batch: "tokens" (b, t) and "target" (b,), int64.
    """

    def __init__(
        self,
        *,
        vocabulary: int = 50,
        context: int = 2,
        batch_size: int = 256,
        batches_per_epoch: int = 64,
        seed: int = 0,
    ):
        super().__init__(seed=seed, steps_per_epoch=batches_per_epoch)
        if not 2 <= vocabulary < 2**15 or vocabulary**context > 10**7:
            raise ValueError(
                f"a table of {vocabulary}^{context} contexts cannot be held: the vocabulary lies in 2 … 32767 "
                f"and there are at most 10^7 contexts."
            )
        self.vocabulary, self.context, self.batch_size = vocabulary, context, batch_size
        self._samples: dict[int, tuple[Tensor, Tensor]] = {}
        self._orders: dict[int, tuple[int, Tensor]] = {}

    @property
    def size(self) -> int:
        """Samples of one replica."""
        return self.batch_size * self.steps_per_epoch

    def _sample(self, replica: int) -> tuple[Tensor, Tensor]:
        """Table (v^t,) and contexts of the sample (size,), both as flat numbers."""
        if replica not in self._samples:
            key = generator(type(self).__name__, self.seed, "task", replica)
            total = self.vocabulary**self.context
            table = torch.randint(self.vocabulary, (total,), generator=key)
            self._samples[replica] = table, torch.randint(total, (self.size,), generator=key)
        return self._samples[replica]

    def task(self, replica: int) -> Batch:
        table, sample = self._sample(replica)
        shape = (self.vocabulary,) * self.context
        counts = torch.bincount(sample, minlength=len(table))
        return {"table": table.view(shape).short(), "counts": counts.view(shape).short()}

    def _order(self, replica: int, epoch: int) -> Tensor:
        known, order = self._orders.get(replica, (-1, torch.empty(0)))
        if known != epoch:
            key = generator(type(self).__name__, self.seed, "order", replica, epoch)
            order = torch.randperm(self.size, generator=key)
            self._orders[replica] = epoch, order
        return order

    def batches(self, replica: int, start: int, stop: int, rank: int, world: int) -> Batch:
        """Rank r of w gets batches r, r + w, … of one common order, so that no rank sees another's samples."""
        table, sample = self._sample(replica)
        rows = []
        for first, last in cuts(start * world, stop * world, self.steps_per_epoch):
            epoch, offset = divmod(first, self.steps_per_epoch)
            order = self._order(replica, epoch).view(self.steps_per_epoch, self.batch_size)
            rows.append(order[offset : offset + last - first])
        index = sample[torch.cat(rows)[rank::world]]  # (steps, b)
        tokens = [index // self.vocabulary**s % self.vocabulary for s in reversed(range(self.context))]
        return {"tokens": torch.stack(tokens, dim=-1), "target": table[index]}


class DirichletData(StreamData):
    """Random next-token laws on a list of different sequences, to be matched in Kullback-Leibler divergence.

    The law of each sequence is drawn from the symmetric Dirichlet law with parameter `concentration` (1: uniform on the
    simplex). Every batch is the whole list.

    Args:
        vocabulary: N.
        context: tokens of a sequence.
        sequences: how many; at most vocabulary^context.
        concentration: small values give nearly deterministic laws.
        steps_per_epoch: Lightning's epoch.
        seed: of sequences and laws.

    Task: "sequences" (n, t) and "laws" (n, v). Batch: "index" (n,), "tokens" (n, t) and "law" (n, v).
    """

    def __init__(
        self,
        *,
        vocabulary: int = 12,
        context: int = 2,
        sequences: int = 64,
        concentration: float = 1.0,
        steps_per_epoch: int = 1000,
        seed: int = 0,
    ):
        super().__init__(seed=seed, steps_per_epoch=steps_per_epoch)
        if not 1 <= sequences <= min(vocabulary**context, 10**6):
            raise ValueError(f"there are {vocabulary}^{context} different sequences, {sequences} are asked for.")
        self.vocabulary, self.context, self.sequences = vocabulary, context, sequences
        self.concentration = concentration

    def task(self, replica: int) -> Batch:
        key = generator(type(self).__name__, self.seed, "task", replica)
        index = torch.randperm(self.vocabulary**self.context, generator=key)[: self.sequences]
        tokens = [index // self.vocabulary**s % self.vocabulary for s in reversed(range(self.context))]
        shape = torch.full((self.sequences, self.vocabulary), self.concentration, dtype=torch.float64)
        laws = torch._sample_dirichlet(shape, generator=key)
        return {"sequences": torch.stack(tokens, dim=-1), "laws": laws}

    def batches(self, replica: int, start: int, stop: int, rank: int, world: int) -> Batch:
        task = self._task(replica)
        batch = {"index": torch.arange(self.sequences), "tokens": task["sequences"], "law": task["laws"]}
        return {name: leaf.expand(stop - start, *leaf.shape) for name, leaf in batch.items()}
