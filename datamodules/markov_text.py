"""Synthetic text with Zipf's unigram law, a sparse Markov law and a known entropy rate.

Shapes: b batch, t tokens of a window.

The offline stand-in for a corpus: a language model's loss has an exact floor here.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

from datamodules.corpus import Held
from datamodules.stream import Batch, StreamData, generator
from datamodules.zipf_markov import ZipfMarkov
from zoo.registry import ZooError


class MarkovTextData(StreamData):
    """Windows of stationary text, drawn anew at every step.

    A batch is {"tokens": (b, t), "targets": (b, t), "surprise": (b, t)}: the tokens that follow, and their -log p in nats
    under the true law. Validation windows also have `weight`, see `datamodules.corpus.Held`.

    Args:
        vocabulary: v. order: of the Markov law, 1 or 2. exponent: of Zipf's law.
        branching: how many couplings the law mixes; a rare word has about twice as many successors.
        context: t, tokens of a window. batch_size: b.
        validation: held-out batches.
        seed: of the law and the text.
        steps_per_epoch: optimiser steps between validations.

    Raises:
        ZooError: a number out of range.
    """

    def __init__(
        self,
        *,
        vocabulary: int = 1000,
        order: int = 1,
        exponent: float = 1.0,
        branching: int = 4,
        context: int = 64,
        batch_size: int = 32,
        validation: int = 32,
        seed: int = 0,
        steps_per_epoch: int = 500,
    ):
        super().__init__(seed=seed, steps_per_epoch=steps_per_epoch)
        if order not in (1, 2):
            raise ZooError(f"order must be 1 or 2, got {order}.")
        if vocabulary < 2 or min(branching, context, batch_size, validation) < 1:
            raise ZooError("A Markov text needs a vocabulary of at least 2 and counts of at least 1.")
        self.vocabulary, self.order, self.exponent, self.branching = vocabulary, order, exponent, branching
        self.context, self.batch_size, self.validation = context, batch_size, validation

    @functools.cached_property
    def law(self) -> ZipfMarkov:
        key = generator("MarkovTextData", self.seed, "law")
        return ZipfMarkov.random(self.vocabulary, self.order, self.exponent, self.branching, key)

    def task(self, replica: int) -> Batch:
        """The law, the same for every replica; see `ZipfMarkov.from_tensors`."""
        return self.law.tensors()

    def references(self) -> dict[str, float]:
        """Exact losses, nats per token: of the unigram law, of the bigram law, and the least possible on these windows."""
        law = self.law
        bigram = law.pairs.entropy(law.unigram)
        return {"unigram": law.unigram_entropy, "bigram": bigram, "floor": law.floor(self.context)}

    def provenance(self) -> dict[str, Any]:
        arguments = {"vocabulary": self.vocabulary, "order": self.order, "exponent": self.exponent}
        return super().provenance() | arguments | {"branching": self.branching, "entropy_rate": self.law.entropy_rate}

    def draw(self, generator: torch.Generator, steps: int, task: Batch) -> Batch:
        text, surprise = self.law.sample(steps * self.batch_size, self.context + 1, generator)
        shape = steps, self.batch_size, self.context
        return {
            "tokens": text[:, :-1].reshape(shape),
            "targets": text[:, 1:].reshape(shape),
            "surprise": surprise.float().reshape(shape),
        }

    def val_dataloader(self) -> Held:
        drawn = self.draw(generator("MarkovTextData", self.seed, "valid"), self.validation, {})
        batches = [{name: leaf[i] for name, leaf in drawn.items()} for i in range(self.validation)]
        trainer: Any = self.trainer
        return Held(batches, *((trainer.global_rank, trainer.world_size) if trainer is not None else ()))
