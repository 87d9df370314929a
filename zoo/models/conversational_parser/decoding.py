"""Decoding that can only write whole, well-typed forms of bounded length: greedy and beam search with a key-value cache.

Shapes: b rows, F + o tokens (see `network`), k beams.

What may follow is decided by `zoo.knowledge.grammar.Prefix`, the stack of expected types with its parallel rule. Prefixes that
expect the same are one state here, and the tokens one of `kinds`, so that after a few questions a step of a batch is an index
into a table. A token is allowed if the shortest form that begins so still ends in time.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.knowledge.grammar import (
    NEVER,
    OPERATORS,
    Class,
    Entities,
    Entity,
    Number,
    Prefix,
    Property,
    Table,
    Token,
    Type,
    shortest_forms,
)
from zoo.models.conversational_parser.network import END, Memory, StructuredParser

# One token for all constants of a kind: what they may be followed by does not depend on which one it is.
STAND_INS: dict[Type, Token] = {
    Type.PROPERTY: Property(0),
    Type.CLASS: Class(0),
    Type.ENTITY: Entity(0),
    Type.ENTITIES: Entities((0, 1)),
    Type.NUMBER: Number(0),
}
CONSTANTS = tuple(STAND_INS)
MOST_STATES = 100_000


class Automaton:
    """The grammar as a table that grows as states are met.

    Args:
        operators: of the vocabulary, in its order. properties, classes: how many. entities, numbers: slots.
        table: the grammar.
        speakable: (F,), false for fixed tokens that must not be written; all may by default.

    Attributes:
        costs: (states, kinds) tokens of the shortest ending that begins with a token of the kind, this one and END included.
        kind_of: (F + o,) kind of each token.
    """

    def __init__(
        self,
        operators: Sequence[str],
        properties: int,
        classes: int,
        entities: int,
        numbers: int,
        table: Table = OPERATORS,
        speakable: NDArray[np.bool_] | None = None,
    ):
        self.table, self.tokens = table, (*operators, *STAND_INS.values())
        self.end, self.slots, n = len(self.tokens), entities, len(operators)
        of = {kind: n + i for i, kind in enumerate(CONSTANTS)}
        fixed = [self.end, *range(n), *[of[Type.PROPERTY]] * properties, *[of[Type.CLASS]] * classes]
        things = [*[of[Type.ENTITY]] * entities, of[Type.ENTITIES], *[of[Type.NUMBER]] * numbers]
        self.kind_of = np.array(fixed + things)
        spoken = np.ones(len(fixed), bool) if speakable is None else speakable
        self._writable = np.concatenate([spoken, np.ones(len(things), bool)])
        self._fixed_kinds = {
            kind for kind in (Type.PROPERTY, Type.CLASS) if spoken[[k == of[kind] for k in fixed]].any()
        }
        self.costs = np.full((64, self.end + 1), NEVER, np.int32)
        self.after = np.full((64, self.end + 1), -1, np.int64)
        self._expanded = np.zeros(64, bool)
        self._states: list[tuple[Prefix, frozenset[Type]]] = []
        self._numbers: dict[Hashable, int] = {}
        self._number(Prefix(table), frozenset())  # state 0: whole and ended, only END follows
        self.costs[0, self.end], self._expanded[0] = 1, True

    def start(self, absent: NDArray[np.bool_]) -> NDArray[np.int64]:
        """First states (b,) of inputs whose objects are `absent` (b, o): what is not there is not written."""
        if len(self._states) > MOST_STATES:
            self._forget()
        there = ~absent
        has = np.stack([there[:, : self.slots].any(1), there[:, self.slots], there[:, self.slots + 1 :].any(1)], 1)
        states = {}
        for row in {tuple(row) for row in has.tolist()}:
            kinds = [k for k, one in zip((Type.ENTITY, Type.ENTITIES, Type.NUMBER), row, strict=True) if one]
            states[row] = self._number(Prefix(self.table), frozenset(kinds) | self._fixed_kinds)
        return np.array([states[tuple(row)] for row in has.tolist()])

    def allowed(self, states: NDArray[np.int64], left: int) -> NDArray[np.bool_]:
        """(b, F + o): tokens after which a form of these states ends within `left` tokens, END included."""
        for state in np.unique(states[~self._expanded[states]]):
            self._expand(int(state))
        return (self.costs[states] <= left)[:, self.kind_of] & self._writable

    def advance(self, states: NDArray[np.int64], tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """The states (b,) after allowed tokens (b,)."""
        kinds = self.kind_of[tokens]
        after = self.after[states, kinds]
        for i in np.flatnonzero(after < 0):
            if self.after[states[i], kinds[i]] < 0:
                prefix, constants = self._states[states[i]]
                ended = (
                    kinds[i] == self.end or self.costs[states[i], kinds[i]] >= NEVER
                )  # no beam goes on from the latter
                number = 0 if ended else self._number(prefix.push(self.tokens[kinds[i]]), constants)
                self.after[states[i], kinds[i]] = number
            after[i] = self.after[states[i], kinds[i]]
        return after

    def _forget(self) -> None:
        """Back to the first state alone, so that no stream of strange forms fills the memory."""
        self.costs, self.after = self.costs[:64].copy(), self.after[:64].copy()
        self._expanded = self._expanded[:64].copy()
        self.costs[1:], self.after[:], self._expanded[1:] = NEVER, -1, False
        del self._states[1:]
        self._numbers = {key: number for key, number in self._numbers.items() if number == 0}

    def _number(self, prefix: Prefix, constants: frozenset[Type]) -> int:
        key = prefix.state, constants
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._states)
            self._states.append((prefix, constants))
            if number == len(self.costs):
                self.costs = np.concatenate([self.costs, np.full_like(self.costs, NEVER)])
                self.after = np.concatenate([self.after, np.full_like(self.after, -1)])
                self._expanded = np.concatenate([self._expanded, np.zeros_like(self._expanded)])
        return number

    def _expand(self, state: int) -> None:
        prefix, constants = self._states[state]
        self._expanded[state] = True
        if prefix.want is None:
            self.costs[state, self.end] = 1
            return
        shortest = shortest_forms(self.table, constants)
        for kind, token in enumerate(self.tokens):
            known = token in self.table if isinstance(token, str) else CONSTANTS[kind - len(self.tokens)] in constants
            if known and prefix.accepts(token):
                self.costs[state, kind] = 2 + min(prefix.push(token).missing(shortest), NEVER - 2)


@dataclass(frozen=True)
class Decoded:
    """Tokens of one form, its END left out, and the sum of the tokens' log-probabilities among those allowed."""

    tokens: tuple[int, ...]
    score: float


@torch.no_grad()
def greedy(
    network: StructuredParser, memory: Memory, automaton: Automaton, longest: int | None = None
) -> list[Decoded]:
    """The likeliest allowed token, one after another, for every row of the memory (b, …)."""
    limit, b = _limit(network, longest), len(memory.places)
    device, cache = memory.places.device, network.start(memory)
    states = automaton.start(memory.absent.cpu().numpy())
    written = np.zeros((b, limit), np.int64)
    scores = np.zeros(b)
    rows = np.arange(b)  # rows of the batch that are still in the cache
    last = torch.full((b,), END, device=device)
    for place in range(limit):
        logits = _constrained(network.step(last, place, cache), automaton, states, limit - place)
        chosen, last = logits.max(-1)
        gained = (chosen - logits.logsumexp(-1)).double().cpu().numpy()
        tokens = last.cpu().numpy()
        written[rows, place] = tokens
        scores[rows] += gained
        states = automaton.advance(states, tokens)
        open_rows = np.flatnonzero(tokens != END)
        if len(open_rows) == 0:
            break
        if len(open_rows) <= len(rows) // 2:  # what is finished leaves the batch
            index = torch.from_numpy(open_rows).to(device)
            cache, last = cache.rows(index), last[index]
            rows, states = rows[open_rows], states[open_rows]
    return [Decoded(_until_end(row), float(score)) for row, score in zip(written.tolist(), scores, strict=True)]


@torch.no_grad()
def beam(
    network: StructuredParser, memory: Memory, automaton: Automaton, width: int, longest: int | None = None
) -> list[list[Decoded]]:
    """For every row the `width` likeliest forms that a beam of this width finds, best first (fewer if there are fewer)."""
    if width < 1:
        raise ValueError(f"A beam has a width of at least 1, got {width}.")
    limit, b = _limit(network, longest), len(memory.places)
    device, cache = memory.places.device, network.start(memory)
    cache = cache.rows(torch.arange(b, device=device).repeat_interleave(width))
    states = np.repeat(automaton.start(memory.absent.cpu().numpy()), width)
    written = torch.zeros(b * width, limit, dtype=torch.long, device=device)
    scores = torch.full((b, width), -torch.inf, dtype=torch.float64, device=device)
    scores[:, 0] = 0  # the beams of a row begin as one
    last = torch.full((b * width,), END, device=device)
    for place in range(limit):
        logits = _constrained(network.step(last, place, cache), automaton, states, limit - place)
        gained = logits.double().log_softmax(-1).unflatten(0, (b, width))
        dead = scores[..., None] == -torch.inf  # where fewer beams than `width` are possible; nothing may follow there
        total = (scores[..., None] + gained).masked_fill(dead, -torch.inf)
        scores, best = total.flatten(1).topk(width)
        row = (best // total.shape[-1] + torch.arange(b, device=device)[:, None] * width).flatten()
        last = (best % total.shape[-1]).flatten()
        written = written[row]
        written[:, place] = last
        states = automaton.advance(states[row.cpu().numpy()], last.cpu().numpy())
        if bool((last == END).all()):
            break
        cache = cache.rows(row)
    found = zip(written.unflatten(0, (b, width)).tolist(), scores.tolist(), strict=True)
    return [
        [Decoded(_until_end(tokens), score) for tokens, score in zip(*row, strict=True) if score > -torch.inf]
        for row in found
    ]


def _limit(network: StructuredParser, longest: int | None) -> int:
    limit = network.longest if longest is None else min(longest, network.longest)
    if limit < 4:
        raise ValueError(f"A form and its end need at least 4 tokens, got longest={limit}.")
    return limit


def _constrained(logits: Tensor, automaton: Automaton, states: NDArray[Any], left: int) -> Tensor:
    allowed = torch.from_numpy(automaton.allowed(states, left)).to(logits.device)
    return logits.masked_fill(~allowed, -torch.inf)


def _until_end(tokens: list[int]) -> tuple[int, ...]:
    return tuple(tokens[: tokens.index(END)] if END in tokens else tokens)
