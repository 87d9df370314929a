"""Which entities a question names: the annotation's word for it, or a match of its words with the graph's labels.

Every score of a parser has to say which setting it is made in:

    oracle_current   the annotated mentions of the question (what is only referred to, "that city", is not told)
    oracle_all       every annotated entity of the turn, referred to or named, which solves coreference by itself
    string           longest matches of the question's words with labels, nothing annotated
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from datamodules.dialogues import Pair, tokenise
from zoo.knowledge.graph import KnowledgeGraph
from zoo.registry import ZooError, nearest

SETTINGS = ("oracle_current", "oracle_all", "string")


class Span(NamedTuple):
    """Tokens start … stop-1 may mean any of `entities`, the likeliest first; nothing is named if start equals stop."""

    start: int
    stop: int
    entities: tuple[int, ...]


def check_setting(setting: str) -> str:
    """The setting itself.

    Raises:
        ZooError: there is none of this name.
    """
    if setting not in SETTINGS:
        raise ZooError(f"linking must be one of {', '.join(SETTINGS)}, got {setting!r}{nearest(setting, SETTINGS)}")
    return setting


def annotated(pair: Pair, setting: str) -> list[Span]:
    """What an oracle says about a question."""
    spans = [Span(one.start, one.stop, (one.entity,)) for one in pair.mentions]
    if setting == "oracle_all":
        named = {one.entity for one in pair.mentions}
        spans += [Span(0, 0, (one,)) for one in pair.entities if one not in named]
    return spans


class Labels:
    """Finds the graph's labels in text, upper and lower case alike: from left to right, longest first, without overlaps.

    A table of labels by their words; every window of a question, of as many words as the longest label, is looked up.
    Entities that share a label are candidates in the order of how many properties meet at them, most first.

    Args:
        words: single words that are a label's mention only with a capital inside a question, such as the questions' own.
        entities: the ones to find, all by default.
    """

    def __init__(self, graph: KnowledgeGraph, words: Iterable[str] = (), entities: Iterable[int] | None = None):
        self.graph = graph
        found: dict[str, list[int]] = defaultdict(list)
        self._longest = 0
        for entity in range(graph.entities) if entities is None else entities:
            tokens = tokenise(graph.label(entity).lower())
            self._longest = max(self._longest, len(tokens))
            found[" ".join(tokens)].append(entity)
        found.pop("", None)
        self._found = {label: tuple(ids) for label, ids in found.items()}
        self._doubtful = {word.lower() for word in words} & set(self._found)

    def spans(self, tokens: Sequence[str]) -> list[Span]:
        """Mentions in an utterance."""
        low = [token.lower() for token in tokens]
        spans, start = [], 0
        while start < len(low):
            for stop in range(min(start + self._longest, len(low)), start, -1):
                label = " ".join(low[start:stop])
                entities = self._found.get(label)
                doubtful = label in self._doubtful and (start == 0 or tokens[start] == low[start])
                if entities and not doubtful:
                    spans.append(Span(start, stop, self._ranked(entities)))
                    start = stop
                    break
            else:
                start += 1
        return spans

    def _ranked(self, entities: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(entities, key=lambda one: (-sum(map(len, self.graph.incident(one))), one)))
