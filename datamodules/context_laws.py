"""The next-word laws of the most frequent contexts of WikiText: real laws for the distribution task.

Shapes: n contexts, t tokens of a context, v vocabulary.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import numpy as np
import torch

from datamodules.stream import Batch, StreamData
from datamodules.wikitext import WikiTextData
from zoo.ngrams import grams, keys
from zoo.registry import ZooError


class ContextLawsData(StreamData):
    """Pairs of words with what follows them in the training set, as counts.

    The data are one task, the same for all replicas, and empty batches: every step sees all contexts.
    task: {"contexts": (n, 2) int64, most frequent first, "counts": (n, v), "unigram": (v,) int32, "smoothing": (),
    "words": uint8}; see `zoo.models.attention_memorizer.context_laws.laws`.

    Args:
        root, name, cache, source: of the text, as in `WikiTextData`.
        vocabulary: v, the most frequent words; all others are `<unk>`, which may follow a context but not stand in one.
        contexts: n.
        smoothing: s, words of the unigram law mixed into each context's counts. The default is best for the validation set
            of WikiText-2 among 1, 3, 10 … 1000 (measured here).
        seed: unused, the data are not random.
        steps_per_epoch: optimiser steps that Lightning calls an epoch.

    Raises:
        ZooError: no text (as in `WikiTextData`), or fewer contexts in it.
    """

    def __init__(
        self,
        *,
        root: str | None = None,
        name: Literal["wikitext-2", "wikitext-103"] = "wikitext-2",
        cache: str | None = None,
        source: Literal["auto", "folder", "hub"] = "auto",
        vocabulary: int = 1000,
        contexts: int = 320,
        smoothing: float = 100.0,
        seed: int = 0,
        steps_per_epoch: int = 1000,
    ):
        super().__init__(seed=seed, steps_per_epoch=steps_per_epoch)
        if contexts < 1 or smoothing <= 0:
            raise ZooError(f"Laws need contexts >= 1 and smoothing > 0, got {contexts} and {smoothing}.")
        self.text = WikiTextData(root=root, name=name, vocabulary=vocabulary, cache=cache, source=source)
        self.contexts, self.smoothing = contexts, smoothing

    def prepare_data(self) -> None:
        self.text.prepare_data()

    @functools.cached_property
    def counted(self) -> Batch:
        vocabulary = self.text.corpus.vocabulary
        v = len(vocabulary)
        triples = grams(self.text.corpus.tokens["train"], 3, vocabulary.end).astype(np.int64)[1:]
        triples = triples[(triples[:, :2] != vocabulary.unknown).all(1)]
        pair = keys(triples[:, :2], v)
        found, count = np.unique(pair, return_counts=True)
        if len(found) < self.contexts:
            raise ZooError(f"The text has {len(found)} contexts of two of its {v} words, not {self.contexts}.")
        chosen = found[np.lexsort((found, -count))[: self.contexts]]
        order = chosen.argsort()
        place = np.searchsorted(chosen[order], pair).clip(max=self.contexts - 1)
        known = chosen[order][place] == pair
        cell = order[place[known]] * v + triples[known, 2]
        table = torch.from_numpy(np.bincount(cell, minlength=self.contexts * v).reshape(-1, v))
        small = int(table.max()) < 1 << 15
        return {
            "contexts": torch.from_numpy(np.stack([chosen // v, chosen % v], 1)),
            "counts": table.to(torch.int16 if small else torch.int32),
            "unigram": torch.from_numpy(np.bincount(self.text.corpus.tokens["train"], minlength=v)).int(),
            "smoothing": torch.tensor(self.smoothing, dtype=torch.float64),
            "words": vocabulary.tensor(),
        }

    def task(self, replica: int) -> Batch:
        return self.counted

    def draw(self, generator: torch.Generator, steps: int, task: Batch) -> Batch:
        return {}

    def provenance(self) -> dict[str, Any]:
        return self.text.provenance() | {"contexts": self.contexts, "smoothing": self.smoothing}
