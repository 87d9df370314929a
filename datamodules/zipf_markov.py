"""A Markov law of words whose unigram law is exactly Zipf's, with a sparse transition law and known entropies.

Shapes: v vocabulary, n windows, t tokens, m entries of a sparse law.

The law is built from couplings, so nothing has to be solved for the stationary law: two copies of a law, each laid out on
[0, 1) in a random order of its own, overlap in fewer than 2 v pieces, and the pieces are a law of pairs whose both margins
are the given law. A mixture of a few such couplings is a law of (word, next word) with Zipf's law on both sides. The same
step on the pairs that share a middle word gives a law of triples that is consistent with the law of pairs, hence a chain of
order 2.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def zipf(vocabulary: int, exponent: float) -> Tensor:
    """p(w) proportional to (w + 1)^-exponent, (v,) float64."""
    weight = torch.arange(1, vocabulary + 1, dtype=torch.float64) ** -exponent
    return weight / weight.sum()


class Kernel:
    """A sparse transition law: entry e leads from `state[e]` to `target[e]` with `probability[e]`.

    Args:
        state: (m,), ascending; each state 0 … s-1 occurs.
        target: (m,).
        probability: (m,), positive; normalised here.
    """

    def __init__(self, state: Tensor, target: Tensor, probability: Tensor):
        self.state, self.target = state, target
        probability = probability.double()
        states = int(state[-1]) + 1
        total = torch.zeros(states, dtype=torch.float64).index_add(0, state, probability)
        self.probability = probability / total[state]
        last = torch.searchsorted(state, torch.arange(states), right=True) - 1
        running = self.probability.cumsum(0)
        before = torch.cat([running.new_zeros(1), running[last[:-1]]])
        self._upper = state + (running - before[state])  # entries of state s fill (s, s + 1]
        self._upper[last] = (state[last] + 1).double()

    def step(self, state: Tensor, uniform: Tensor) -> Tensor:
        """The entry taken from each state (n,) by numbers in [0, 1), (n,) float64."""
        return torch.searchsorted(self._upper, state + uniform, right=True)

    def entropy(self, mass: Tensor) -> float:
        """Mean of -log probability, nats, when the states have the law `mass`."""
        return -float((mass[self.state] * self.probability * self.probability.log()).sum())


def couple(left: Tensor, right: Tensor, left_order: Tensor, right_order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Two laws of equal mass laid out in two orders -> overlaps: index on the left, on the right, mass, (m,) each."""
    edges_left, edges_right = left[left_order].cumsum(0), right[right_order].cumsum(0)
    edges = torch.cat([edges_left, edges_right]).sort().values
    start = torch.cat([edges.new_zeros(1), edges[:-1]])
    mass, middle = edges - start, (edges + start) / 2
    i = torch.searchsorted(edges_left, middle).clamp(max=len(left) - 1)
    j = torch.searchsorted(edges_right, middle).clamp(max=len(right) - 1)
    return left_order[i], right_order[j], mass


class ZipfMarkov:
    """The law of a stationary text.

    Args:
        unigram: (v,), law of one word.
        pairs: the law of the next word given one.
        triples: the law of the next pair given a pair, its states and targets being entries of `pairs`; None for order 1.
    """

    def __init__(self, unigram: Tensor, pairs: Kernel, triples: Kernel | None = None):
        self.unigram, self.pairs, self.triples = unigram, pairs, triples
        self.order = 1 if triples is None else 2

    @classmethod
    def random(
        cls, vocabulary: int, order: int, exponent: float, branching: int, generator: torch.Generator
    ) -> ZipfMarkov:
        """A random law with Zipf's law of `exponent`; more `branching` (couplings mixed) means a higher entropy rate."""
        unigram = zipf(vocabulary, exponent)
        state, target, mass = _mixture(unigram, unigram, None, None, branching, generator)
        pairs = Kernel(state, target, mass)
        if order == 1:
            return cls(unigram, pairs)
        mass = unigram[pairs.state] * pairs.probability
        past, future, weight = _mixture(mass, mass, pairs.target, pairs.state, branching, generator)
        return cls(unigram, pairs, Kernel(past, future, weight))

    # What is known exactly, in nats per token.

    @property
    def unigram_entropy(self) -> float:
        return -float((self.unigram * self.unigram.log()).sum())

    @property
    def entropy_rate(self) -> float:
        """The least loss of a model that sees the whole past."""
        if self.triples is None:
            return self.pairs.entropy(self.unigram)
        return self.triples.entropy(self.unigram[self.pairs.state] * self.pairs.probability)

    def floor(self, context: int) -> float:
        """The least loss on windows of `context` tokens, whose first target has one token before it."""
        return (self.pairs.entropy(self.unigram) + (context - 1) * self.entropy_rate) / context

    # Text.

    def sample(self, windows: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Independent stationary windows (n, length) int64 and -log p of each token but the first (n, length - 1)."""
        uniform = torch.rand(length, windows, dtype=torch.float64, generator=generator)
        first = torch.searchsorted(self.unigram.cumsum(0), uniform[0], right=True).clamp(max=len(self.unigram) - 1)
        words, surprise = [first], []
        entry = torch.empty(0)
        for t in range(1, length):
            if t == 1 or self.triples is None:
                entry = self.pairs.step(words[-1], uniform[t])
                surprise.append(self.pairs.probability[entry])
            else:
                taken = self.triples.step(entry, uniform[t])
                entry = self.triples.target[taken]
                surprise.append(self.triples.probability[taken])
            words.append(self.pairs.target[entry])
        return torch.stack(words, 1), -torch.stack(surprise, 1).log()

    # How a law travels in a weight's task.

    def tensors(self) -> dict[str, Tensor]:
        named = {"unigram": self.unigram}
        for name, kernel in (("pairs", self.pairs), ("triples", self.triples)):
            if kernel is not None:
                named[f"{name}_state"], named[f"{name}_target"] = kernel.state.int(), kernel.target.int()
                named[f"{name}_probability"] = kernel.probability
        return named

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> ZipfMarkov:
        kernels = [
            Kernel(tensors[f"{name}_state"].long(), tensors[f"{name}_target"].long(), tensors[f"{name}_probability"])
            for name in ("pairs", "triples")
            if f"{name}_state" in tensors
        ]
        unigram = tensors["unigram"].double()
        return cls(unigram / unigram.sum(), *kernels)


def _mixture(
    left: Tensor,
    right: Tensor,
    left_group: Tensor | None,
    right_group: Tensor | None,
    branching: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Mixture of random couplings, the j-th with weight 1/j; with groups, things couple within equal groups only."""
    weights = zipf(branching, 1.0)
    state, target, mass = [], [], []
    for weight in weights:
        orders = []
        for law, group in ((left, left_group), (right, right_group)):
            order = torch.randperm(len(law), generator=generator)
            if group is not None:
                order = order[group[order].argsort(stable=True)]
            orders.append(order)
        i, j, piece = couple(left, right, *orders)
        keep = piece > 1e-14
        if left_group is not None and right_group is not None:
            keep &= left_group[i] == right_group[j]  # rounding makes slivers between groups
        state.append(i[keep])
        target.append(j[keep])
        mass.append(weight * piece[keep])
    key = torch.cat(state) * len(right) + torch.cat(target)
    distinct, place = key.unique(return_inverse=True)
    total = torch.zeros(len(distinct), dtype=torch.float64).index_add(0, place, torch.cat(mass))
    return distinct // len(right), distinct % len(right), total
