"""Records of question dialogues over a knowledge graph, the same for real and for generated ones.

Ids in a record are the dense integers of the knowledge graph that comes with the dialogues (`Corpus.graph`), never
Wikidata's strings. Token positions count from 0; a span is [start, stop).

Imports neither torch nor Lightning.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.files import write_beside
from zoo.registry import ZooError

if TYPE_CHECKING:
    from zoo.knowledge.grammar import Form
    from zoo.knowledge.graph import KnowledgeGraph

# The ten question types of CSQA, and the short keys that `Pair.type` and every table use, in the same order.
QUESTION_TYPES = (
    "Simple Question (Direct)",
    "Simple Question (Coreferenced)",
    "Simple Question (Ellipsis)",
    "Logical Reasoning (All)",
    "Quantitative Reasoning (All)",
    "Comparative Reasoning (All)",
    "Comparative Reasoning (Count) (All)",
    "Quantitative Reasoning (Count) (All)",
    "Verification (Boolean) (All)",
    "Clarification",
)
TYPE_KEYS = (
    "direct",
    "coref",
    "ellipsis",
    "logical",
    "quantitative",
    "comparative",
    "comparative count",
    "quantitative count",
    "verification",
    "clarification",
)
KEY_OF = dict(zip(QUESTION_TYPES, TYPE_KEYS, strict=True))
NAME_OF = dict(zip(TYPE_KEYS, QUESTION_TYPES, strict=True))

TOKENS = re.compile(r"\w+(?:['’.\-]\w+)*|[^\w\s]")


def tokenise(text: str) -> tuple[str, ...]:
    """Words (with inner apostrophes, points and hyphens) and single punctuation marks, case kept."""
    return tuple(TOKENS.findall(text))


@dataclass(frozen=True)
class Mention:
    """The tokens start … stop-1 of an utterance name this entity."""

    start: int
    stop: int
    entity: int


@dataclass(frozen=True)
class Answer:
    """What the system replied.

    Args:
        text: the reply as shown; lists of names are cut ("Some of them are a, b").
        entities: the complete answer (for counts: what was counted; for a clarification: the candidates), sorted,
            without duplicates; None where the data do not list it.
        shown: the entities named in the text, in its order.
        numbers: the counts of a count question.
        booleans: the verdicts of a verification; two for a question about two objects, even where one word stands
            for both.
    """

    text: str
    entities: tuple[int, ...] | None = None
    shown: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()
    booleans: tuple[bool, ...] = ()

    @property
    def kind(self) -> str:
        """What is scored: "booleans", "numbers" or "entities"."""
        return "booleans" if self.booleans else "numbers" if self.numbers else "entities"


@dataclass(frozen=True)
class Pair:
    """A question and its answer.

    Args:
        tokens: of the question.
        answer: the reply to it.
        type: one of TYPE_KEYS. The turn after a clarification carries the type of the deferred question.
        description: CSQA's sub-type ("Verification|2 entities, both direct"); empty after a clarification.
        mentions: of entities NAMED in this question, in its order (the oracle that a parser may see).
        entities: everything annotated on the turn, also what is only referred to ("that person"): an oracle that
            solves coreference by itself.
        properties, classes: as annotated, in the annotation's order; empty after a clarification.
        form: gold logical form (generated data) or reference form (real data); None where there is none.
        answer_tokens, answer_mentions: of the shown reply.
    """

    tokens: tuple[str, ...]
    answer: Answer
    type: str
    description: str = ""
    mentions: tuple[Mention, ...] = ()
    entities: tuple[int, ...] = ()
    properties: tuple[int, ...] = ()
    classes: tuple[int, ...] = ()
    form: Form | None = None
    answer_tokens: tuple[str, ...] = ()
    answer_mentions: tuple[Mention, ...] = ()

    @property
    def question(self) -> str:
        return " ".join(self.tokens)


@dataclass(frozen=True)
class Dialogue:
    """Pairs in the order they were spoken; the parser of pair i may see the pairs before it."""

    id: str
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Corpus:
    """Dialogues by split, with the graph their ids belong to.

    Args:
        graph: of every split without a graph of its own.
        splits: name -> dialogues.
        graphs: the splits that live on another graph (test B).
        left_out: why dialogues were left out, and how many.
        provenance: name, licence and hashes of the files, for a weight's record.
    """

    graph: KnowledgeGraph
    splits: Mapping[str, tuple[Dialogue, ...]]
    graphs: Mapping[str, KnowledgeGraph] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def graph_of(self, split: str) -> KnowledgeGraph:
        return self.graphs.get(split, self.graph)


def type_counts(dialogues: Iterable[Dialogue]) -> dict[str, int]:
    """Pairs of each type, in the order of TYPE_KEYS, absent types as 0."""
    counts = Counter(pair.type for dialogue in dialogues for pair in dialogue.pairs)
    return {key: counts[key] for key in TYPE_KEYS}


def find_mentions(tokens: Sequence[str], names: Iterable[tuple[Sequence[str], int]]) -> tuple[Mention, ...]:
    """Where each (name's tokens, entity) stands, upper and lower case alike: longest names first, no overlaps."""
    low = [token.lower() for token in tokens]
    found: list[Mention] = []
    for name, entity in sorted(names, key=lambda item: -len(item[0])):
        wanted, n = [token.lower() for token in name], len(name)
        start = -1
        while n and wanted[0] in low[start + 1 :]:
            start = low.index(wanted[0], start + 1)
            if low[start : start + n] == wanted:
                found.append(Mention(start, start + n, entity))
                low[start : start + n] = [""] * n
                break
    return tuple(sorted(found, key=lambda mention: mention.start))


# One JSON line per dialogue: what the cache on disk holds.


def to_json(dialogue: Dialogue) -> dict[str, Any]:
    """A dialogue as JSON values; forms in their text form."""
    from zoo.knowledge.grammar import to_text

    def spans(mentions: tuple[Mention, ...]) -> list[list[int]]:
        return [[mention.start, mention.stop, mention.entity] for mention in mentions]

    pairs = [
        {
            "tokens": pair.tokens,
            "type": pair.type,
            "description": pair.description,
            "mentions": spans(pair.mentions),
            "entities": pair.entities,
            "properties": pair.properties,
            "classes": pair.classes,
            "form": None if pair.form is None else to_text(pair.form),
            "answer": {
                "text": pair.answer.text,
                "entities": pair.answer.entities,
                "shown": pair.answer.shown,
                "numbers": pair.answer.numbers,
                "booleans": pair.answer.booleans,
                "tokens": pair.answer_tokens,
                "mentions": spans(pair.answer_mentions),
            },
        }
        for pair in dialogue.pairs
    ]
    return {"id": dialogue.id, "pairs": pairs}


def from_json(value: Mapping[str, Any]) -> Dialogue:
    """The inverse of `to_json`. Raises KeyError, TypeError, ValueError or FormError on anything else."""
    from zoo.knowledge.grammar import from_text

    def spans(mentions: Iterable[Sequence[int]]) -> tuple[Mention, ...]:
        return tuple(Mention(int(start), int(stop), int(entity)) for start, stop, entity in mentions)

    pairs = []
    for pair in value["pairs"]:
        answer = pair["answer"]
        listed = answer["entities"]
        pairs.append(
            Pair(
                tokens=tuple(pair["tokens"]),
                answer=Answer(
                    text=answer["text"],
                    entities=None if listed is None else tuple(listed),
                    shown=tuple(answer["shown"]),
                    numbers=tuple(answer["numbers"]),
                    booleans=tuple(answer["booleans"]),
                ),
                type=pair["type"],
                description=pair["description"],
                mentions=spans(pair["mentions"]),
                entities=tuple(pair["entities"]),
                properties=tuple(pair["properties"]),
                classes=tuple(pair["classes"]),
                form=None if pair["form"] is None else from_text(pair["form"]),
                answer_tokens=tuple(answer["tokens"]),
                answer_mentions=spans(answer["mentions"]),
            )
        )
    return Dialogue(value["id"], tuple(pairs))


def write(path: Path, dialogues: Iterable[Dialogue]) -> None:
    """Writes one packed JSON line per dialogue; equal dialogues give equal bytes."""
    with write_beside(path) as beside, beside.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        for dialogue in dialogues:
            packed.write(json.dumps(to_json(dialogue), ensure_ascii=False, separators=(",", ":")).encode() + b"\n")


def read(path: Path) -> Iterator[Dialogue]:
    """The dialogues that `write` wrote.

    Raises:
        ZooError: the file is damaged: one sentence with its line.
    """
    line = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line, text in enumerate(file, 1):  # noqa: B007 (named in the error)
                yield from_json(json.loads(text))
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise ZooError(
            f"{path}, line {line + 1}: not a file of dialogues ({type(error).__name__}): delete it."
        ) from None
