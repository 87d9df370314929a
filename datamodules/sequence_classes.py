"""Sequence classes: every next token has its own law of context tokens, some shared by all and some its own.

Class n is a query psi(n), a next token and a law P(.|n). A sequence of the class is i.i.d. context tokens from P(.|n)
and then the query; its label is the next token. Classes are drawn uniformly.

Vocabulary, in this order: common tokens | distinct tokens of class 0 | of class 1 | … | queries | next tokens.

The synthetic data of Tian, Wang, Chen, Du, "Scan and Snap" (NeurIPS 2023). Shapes: k classes, v vocabulary, b batch,
t tokens of a sequence, c common tokens, u distinct tokens of a class.
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor

from datamodules.stream import Batch, StreamData

SAMPLERS = ("counts", "tokens", "population")


class SequenceClassesData(StreamData):
    """Fresh sequences at every optimiser step; all replicas learn the same classes from streams of their own.

    In every law a common token has weight `common_weight` and the distinct tokens of the class have the weights
    linspace(0.1, 1), so that their frequencies differ ten times.

    Args:
        num_last: queries.
        num_next_per_last: next tokens of one query; their product is the number of classes K.
        num_common: tokens that every class uses.
        num_unique_per_next: distinct tokens of one class.
        common_weight: of one common token, as a fraction with denominator at most 1,000.
        length: tokens of a sequence, the query included.
        batch_size: sequences of one step.
        vocabulary: size of the vocabulary; 0 is as many as there are tokens, more leaves unused ones at its end.
        sampler: "tokens" draws the sequences; "counts" only how often each token stands in the context, which is all
            that a layer without positions can see; "population" draws nothing, for flows on the laws themselves.
        seed: of the streams.
        steps_per_epoch: optimiser steps that Lightning calls one epoch.

    Task: P (k, v) float64; psi and next (k,), distinct (k, u), common (c,) token numbers, int64.
    Batch: "tokens" (b, t) and "target" (b,), int64; or "counts" (b, v) int16, "query" (b,), "target" (b,).

    Raises:
        ValueError: an unknown sampler, a count below one (num_common may be 0), a vocabulary that is too small.
    """

    block = 50  # a run of 100 steps draws no more than it uses

    def __init__(
        self,
        *,
        num_last: int = 3,
        num_next_per_last: int = 2,
        num_common: int = 10,
        num_unique_per_next: int = 10,
        common_weight: float = 1.0,
        length: int = 128,
        batch_size: int = 128,
        vocabulary: int = 0,
        sampler: str = "counts",
        seed: int = 0,
        steps_per_epoch: int = 1000,
    ) -> None:
        super().__init__(seed=seed, steps_per_epoch=steps_per_epoch)
        if sampler not in SAMPLERS:
            raise ValueError(f"sampler={sampler!r}: choose one of {', '.join(SAMPLERS)}")
        least = {"num_last": num_last, "num_next_per_last": num_next_per_last, "batch_size": batch_size}
        for name, value in (least | {"num_unique_per_next": num_unique_per_next}).items():
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if not 2 <= length < 2**15:
            raise ValueError(f"length={length}: a sequence is a query after 1 to 32766 context tokens")
        weight = Fraction(common_weight).limit_denominator(1000)
        if num_common < 0 or weight <= 0:
            raise ValueError(f"num_common={num_common} must be at least 0 and common_weight={common_weight} positive")
        self.classes = num_last * num_next_per_last
        used = num_common + self.classes * (num_unique_per_next + 1) + num_last
        if vocabulary and vocabulary < used:
            raise ValueError(f"vocabulary={vocabulary}: these classes use {used} tokens")
        self.num_last, self.num_next_per_last = num_last, num_next_per_last
        self.num_common, self.num_unique_per_next = num_common, num_unique_per_next
        self.length, self.batch_size, self.sampler = length, batch_size, sampler
        self.vocabulary = vocabulary or used
        # linspace(0.1, 1, u) is a multiple of 0.1/(u - 1) everywhere, so a law is a bag of equally likely entries:
        # drawing a token is one integer and one look-up, and exact.
        u = num_unique_per_next
        step = max(u - 1, 1)
        weights = [weight] * num_common + [Fraction(step + 9 * i, 10 * step) for i in range(u)]
        unit = math.lcm(*(w.denominator for w in weights))
        entries = torch.tensor([int(w * unit) for w in weights])
        self._entries = entries // math.gcd(*entries.tolist())
        self._bag = torch.arange(len(weights)).repeat_interleave(self._entries)

    def _support(self) -> Tensor:
        """Tokens of every class in the order of its law's entries, (k, c + u)."""
        common = torch.arange(self.num_common).expand(self.classes, -1)
        own = self.num_common + torch.arange(self.classes * self.num_unique_per_next)
        return torch.cat([common, own.view(self.classes, -1)], 1)

    def task(self, replica: int) -> Batch:
        support, first = self._support(), self.num_common + self.classes * self.num_unique_per_next
        law = self._entries.double() / self._entries.sum()
        P = torch.zeros(self.classes, self.vocabulary, dtype=torch.float64)
        P.scatter_(1, support, law.expand(self.classes, -1))
        return {
            "P": P,
            "psi": first + torch.arange(self.classes) // self.num_next_per_last,
            "next": first + self.num_last + torch.arange(self.classes),
            "distinct": support[:, self.num_common :].contiguous(),
            "common": torch.arange(self.num_common),
        }

    def draw(self, generator: torch.Generator, steps: int, task: Batch) -> Batch:
        """`steps` batches for one replica."""
        if self.sampler == "population":
            return {}
        rows, context, width = steps * self.batch_size, self.length - 1, len(self._entries)
        classes = torch.randint(self.classes, (rows,), generator=generator)
        # int32 is drawn three times as fast as int64
        entries = torch.randint(len(self._bag), (rows * context,), generator=generator, dtype=torch.int32)
        slots = self._bag.index_select(0, entries).view(rows, context)
        support = self._support()[classes]  # (rows, c + u)
        if self.sampler == "tokens":
            tokens = torch.cat([support.gather(1, slots), task["psi"][classes, None]], 1)
            batch = {"tokens": tokens}
        else:
            cells = slots + torch.arange(rows).mul_(width)[:, None]
            counts = torch.bincount(cells.flatten(), minlength=rows * width).view(rows, width).short()
            table = torch.zeros(rows, self.vocabulary, dtype=torch.int16)
            batch = {"counts": table.scatter_(1, support, counts), "query": task["psi"][classes]}
        batch["target"] = task["next"][classes]
        return {name: leaf.unflatten(0, (steps, self.batch_size)) for name, leaf in batch.items()}
