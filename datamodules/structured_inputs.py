"""Questions of dialogues as arrays for a parser's network. Needs neither Lightning nor a network.

Shapes: b questions, t text tokens, o objects; see `zoo.knowledge.context` for what they hold.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.dialogues import Dialogue, Pair
from datamodules.token_vectors import Encoder
from zoo.knowledge.context import Context, Structured

LEFT_OUT = ("no form", "constant not in the input", "form too long")
Ints = NDArray[Any]
Batch: TypeAlias = dict[str, Tensor]


@dataclass(frozen=True)
class Example:
    """A question as the parser sees it, with what it should say."""

    pair: Pair
    before: Pair | None
    input: Structured
    target: tuple[int, ...] | None  # tokens of its form; None if it has none that the input can say
    reason: str = ""  # why not, one of LEFT_OUT


def examples(context: Context, dialogues: Iterable[Dialogue], longest: int = 64) -> Iterator[Example]:
    """Every pair of the dialogues in order, the ones without a target too."""
    for dialogue in dialogues:
        before: Pair | None = None
        for pair in dialogue.pairs:
            one = context.structure(pair, before)
            target = None if pair.form is None else context.encode(pair.form, one)
            reason = ""
            if target is None or len(target) > longest:
                reason = LEFT_OUT[0 if pair.form is None else 1 if target is None else 2]
                target = None
            yield Example(pair, before, one, None if target is None else tuple(target), reason)
            before = pair


class Inputs:
    """Structured inputs as arrays: padded text, objects, and one row of relations per distinct set of them."""

    def __init__(self, context: Context, encoder: Encoder | None = None):
        self.context, self.encoder = context, encoder
        self._text: list[Ints] = []
        self._objects: list[Ints] = []
        self._profiles: list[list[int]] = []
        self._said: list[tuple[tuple[str, ...], ...]] = []
        self._known: dict[tuple[int, ...], int] = {(): 0}
        self.lengths: list[int] = []

    def add(self, one: Structured) -> None:
        text, objects = self.context.arrays(one)
        self._text.append(text)
        self._objects.append(objects)
        self.lengths.append(len(text))
        known = self._known
        profiles = [known.setdefault(thing.relations, len(known)) for thing in one.things]
        self._profiles.append(profiles + [0] * (self.context.slots - len(profiles)))
        if self.encoder is not None:
            self._said.append(tuple(said.tokens for said in one.utterances))

    def __len__(self) -> int:
        return len(self._text)

    @functools.cached_property
    def _relations(self) -> Tensor:
        """Distinct sets of relations as rows of zeros and ones."""
        rows = torch.zeros(len(self._known), 2 * len(self.context.vocabulary.properties), dtype=torch.uint8)
        for relations, i in self._known.items():
            rows[i, list(relations)] = 1
        return rows

    @functools.cached_property
    def _stacked(self) -> tuple[Ints, Ints, Tensor]:
        text = np.zeros((len(self), max(self.lengths, default=1), 4), np.int16)
        for row, one in zip(text, self._text, strict=True):
            row[: len(one)] = one
        return text, np.array(self._objects, np.int16), torch.tensor(self._profiles)

    def batch(self, rows: Ints) -> Batch:
        """The inputs `rows` (…, b) -> text (…, b, t, 4), objects (…, b, o, 2), relations (…, b, entities, 2 properties)."""
        text, objects, profiles = self._stacked
        found = {
            "text": torch.from_numpy(text[rows].astype(np.int64)),
            "objects": torch.from_numpy(objects[rows].astype(np.int64)),
            "relations": self._relations[profiles[torch.from_numpy(rows)]].float(),
        }
        if self.encoder is not None:
            t, w = text.shape[1], self.encoder.width
            vectors = torch.stack([self._vectors(int(row), t) for row in rows.flatten()])
            found["vectors"] = vectors.reshape(*rows.shape, t, w)
        return found

    def _vectors(self, row: int, t: int) -> Tensor:
        assert self.encoder is not None
        found, at = torch.zeros(t, self.encoder.width), 0
        for segment, words in enumerate(self._said[row]):
            at += segment == 2  # the token for the reply
            one = self.encoder.vectors(words)[: t - at]
            found[at : at + len(one)] = one
            at += len(one)
        return found
