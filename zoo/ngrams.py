"""Count-based n-gram models, the baselines of a language model, on arrays of token ids.

Shapes: n places of a stream. A history of an n-gram of order o is an array (n, o - 1), oldest token first.

Counts are sorted arrays of 64-bit keys (the tokens as digits in base v), so that counting is one sort and looking up one
binary search; no loop runs over tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.integer[Any]]
Values = NDArray[np.float64]


class NGram(Protocol):
    """A law of the next token given the `order` - 1 tokens before it."""

    order: int

    def probability(self, history: Ids, word: Ids) -> Values:
        """Of each word (n,) after each history (n, order - 1)."""


def keys(grams: Ids, vocabulary: int) -> NDArray[np.int64]:
    """Tokens (n, o) as digits in base v -> (n,).

    Raises:
        ValueError: v^o does not fit in 63 bits.
    """
    if vocabulary ** grams.shape[1] >= 1 << 63:
        raise ValueError(f"{grams.shape[1]}-grams over {vocabulary} words do not fit in 64-bit keys.")
    key = np.zeros(len(grams), np.int64)
    for column in grams.T:
        key = key * vocabulary + column
    return key


def grams(tokens: Ids, order: int, boundary: int) -> Ids:
    """The n-grams that end at each token but the first, (len(tokens) - 1, order); `boundary` stands before the stream."""
    padded = np.concatenate([np.full(max(order - 2, 0), boundary, tokens.dtype), tokens])
    return np.lib.stride_tricks.sliding_window_view(padded if order > 1 else tokens[1:], order)


@dataclass
class Table:
    """A number for every key that occurs; 0 for all others."""

    keys: NDArray[np.int64]
    values: Values

    @classmethod
    def of(cls, keys: NDArray[np.int64], values: Values | None = None) -> Table:
        """Sums `values` (ones if None) over equal keys."""
        if values is None:
            distinct, counts = np.unique(keys, return_counts=True)
            return cls(distinct, counts.astype(np.float64))
        distinct, inverse = np.unique(keys, return_inverse=True)
        return cls(distinct, np.bincount(inverse, values, len(distinct)).astype(np.float64))

    def __getitem__(self, keys: NDArray[np.int64]) -> Values:
        if not len(self.keys):
            return np.zeros(len(keys))
        place = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return np.where(self.keys[place] == keys, self.values[place], 0.0)


class AddK:
    """p(w | h) = (c(h w) + k) / (c(h) + k v): Lidstone's law; order 1 has an empty history.

    Args:
        tokens: the training stream. vocabulary: v. order: 1, 2, 3. boundary: the token before the stream.
        k: what is added to every count.
    """

    def __init__(self, tokens: Ids, vocabulary: int, order: int, boundary: int, k: float):
        self.order, self.vocabulary, self.k = order, vocabulary, k
        key = keys(grams(tokens, order, boundary), vocabulary)
        self.counts = Table.of(key)
        self.totals = Table.of(self.counts.keys // vocabulary, self.counts.values)

    def probability(self, history: Ids, word: Ids) -> Values:
        past = keys(history, self.vocabulary)
        count, total = self.counts[past * self.vocabulary + word], self.totals[past]
        return (count + self.k) / (total + self.k * self.vocabulary)


class KneserNey:
    """Interpolated modified Kneser-Ney trigram (Chen & Goodman, 1998).

    At each order p(w | h) = max(c(h w) - D(c), 0) / c(h) + g(h) p(w | shorter h), where c counts occurrences at order 3 and
    the different words to the left at orders 2 and 1, D takes one of three values by c = 1, 2, 3 or more, and g(h) gives
    the shorter history the mass that D takes. Below order 1 stands the uniform law, so no word has probability 0.
    """

    order = 3

    def __init__(self, tokens: Ids, vocabulary: int, boundary: int):
        self.vocabulary = v = vocabulary
        trigrams = Table.of(keys(grams(tokens, 3, boundary), v))
        bigrams = Table.of(trigrams.keys % v**2)  # how many different words stand to the left of a pair
        unigrams = Table.of(bigrams.keys % v)
        self.levels = [_Discounted(table, v) for table in (unigrams, bigrams, trigrams)]

    def probability(self, history: Ids, word: Ids) -> Values:
        p = np.full(len(word), 1.0 / self.vocabulary)
        for length, level in enumerate(self.levels):
            past = keys(history[:, 2 - length :], self.vocabulary)
            p = level.seen(past, word) + level.left(past) * p
        return p


class _Discounted:
    """One order of Kneser-Ney: discounted counts and what is left over for the shorter history."""

    def __init__(self, counts: Table, vocabulary: int):
        self.vocabulary = vocabulary
        self.discounts = discounts(counts.values)
        past = counts.keys // vocabulary
        taken = self.discounts[np.minimum(counts.values, 3).astype(np.int64)]
        self.kept = Table(counts.keys, counts.values - taken)
        self.totals = Table.of(past, counts.values)
        self.taken = Table.of(past, taken)

    def seen(self, past: NDArray[np.int64], word: Ids) -> Values:
        return self.kept[past * self.vocabulary + word] / np.maximum(self.totals[past], 1)

    def left(self, past: NDArray[np.int64]) -> Values:
        total = self.totals[past]
        return np.where(total > 0, self.taken[past] / np.maximum(total, 1), 1.0)


def discounts(counts: Values) -> Values:
    """Chen & Goodman's D for a count of 0, 1, 2, 3 or more; 0.75 where too few n-grams tell (a tiny text)."""
    n1, n2, n3, n4 = (float((counts == c).sum()) for c in (1, 2, 3, 4))
    if min(n1, n2, n3) == 0:
        return np.array([0.0, 0.75, 0.75, 0.75])
    y = n1 / (n1 + 2 * n2)
    three = 3 - 4 * y * n4 / n3
    return np.array([0.0, 1 - 2 * y * n2 / n1, max(2 - 3 * y * n3 / n2, 0.0), min(max(three, 0.0), 3.0)])


def loss(model: NGram, tokens: Ids, boundary: int) -> float:
    """Mean of -log p over every token of a stream but the first, nats; exp of it is the perplexity."""
    found = grams(tokens, model.order, boundary)
    return float(-np.log(model.probability(found[:, :-1], found[:, -1])).mean())


def tuned(tokens: Ids, vocabulary: int, order: int, boundary: int) -> AddK:
    """Add-k with the k of 1, 10^-1 … 10^-5 that is best for the last twentieth of the training stream."""
    cut = len(tokens) - max(len(tokens) // 20, 2)
    trial = AddK(tokens[:cut], vocabulary, order, boundary, 1.0)
    losses = {}
    for k in 10.0 ** -np.arange(6):
        trial.k = float(k)
        losses[trial.k] = loss(trial, tokens[cut:], boundary)
    return AddK(tokens, vocabulary, order, boundary, min(losses, key=losses.__getitem__))


def references(train: Ids, valid: Ids, vocabulary: int, boundary: int) -> dict[str, float]:
    """Losses of the baselines on a validation stream, nats per token: add-k of orders 1, 2, 3 and Kneser-Ney."""
    models: dict[str, NGram] = {
        name: tuned(train, vocabulary, order, boundary)
        for order, name in enumerate(("unigram", "bigram", "trigram"), 1)
    }
    models["kneser_ney"] = KneserNey(train, vocabulary, boundary)
    return {name: loss(model, valid, boundary) for name, model in models.items()}
