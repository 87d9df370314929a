"""ConvQuestions (Christmann et al., CIKM 2019): conversations of five questions, with answers made comparable.

Reads the official files (`dev_set_ALL.json`, `test_set_books.json`, …), those of Verbal-ConvQuestions (`val_books.json.gz`), and
the flat variant in which `questions` are texts. The graph is the user's: without one the answers stay names.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datamodules.dialogues import Answer, Dialogue, Pair, find_mentions, tokenise
from zoo.registry import ZooError

if TYPE_CHECKING:
    from zoo.knowledge.graph import KnowledgeGraph

DOMAINS = ("books", "movies", "music", "soccer", "tv_series")
SPLITS = {"train": ("train",), "dev": ("dev", "val"), "test": ("test",)}  # ours -> how files' names begin
LICENCE = "CC BY 4.0"
TURNS = 5
MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
HINT = "give ConvQuestions' folder as --data.root (https://convex.mpi-inf.mpg.de), with files like dev_set_ALL.json"

_ENTITY = re.compile(r"(?:https?://)?(?:www\.)?wikidata\.org/(?:wiki|entity)/([QP]\d+)\b.*", re.DOTALL)
_YEAR, _DAY = re.compile(r"\d{4}"), re.compile(r"(\d{1,2}) ([A-Za-z]+) (\d{4})")
_NUMBER = re.compile(r"[$€£]?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Gold:
    """One answer.

    Args:
        kind: "entity", "boolean", "date", "number" or "text".
        value: what is compared, without regard to case: Q42, yes, 1910-01-01T00:00:00Z, or the text.
    """

    kind: str
    value: str

    def matches(self, predicted: str) -> bool:
        return normalise(predicted).value.lower() == self.value.lower()


@dataclass(frozen=True)
class Question:
    """A turn; `answers` is empty where the data say n/a."""

    id: str
    turn: int
    text: str
    answers: tuple[Gold, ...]
    answer_text: str
    paraphrases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conversation:
    """Five questions about a seed entity (its Wikidata id)."""

    id: int
    domain: str
    seed_entity: str
    seed_text: str
    questions: tuple[Question, ...]

    @property
    def source(self) -> tuple[Any, ...]:
        """Equal for the 32 paraphrase combinations of one seed conversation: errors are to be counted by these."""
        return self.domain, self.seed_entity, tuple(question.answers for question in self.questions)


def normalise(text: str) -> Gold:
    """An answer as CONVEX compares it: the last part of a URL, dates as YYYY-MM-DDT00:00:00Z (a year is its first day), otherwise
    the text."""
    text = text.strip()
    entity = _ENTITY.fullmatch(text)
    if entity or re.fullmatch(r"Q\d+", text):
        return Gold("entity", entity[1] if entity else text)
    if text.lower().rstrip(".") in ("yes", "no"):
        return Gold("boolean", text.lower().rstrip("."))
    if _YEAR.fullmatch(text):
        return Gold("date", f"{text}-01-01T00:00:00Z")
    day = _DAY.fullmatch(text)
    if day and day[2].lower() in MONTHS:
        return Gold("date", f"{day[3]}-{MONTHS.index(day[2].lower()) + 1:02}-{int(day[1]):02}T00:00:00Z")
    return Gold("number" if _NUMBER.fullmatch(text) else "text", text)


def answers(text: str) -> tuple[Gold, ...]:
    """The answers of an `answer` field, which joins several by ";"."""
    found = [normalise(part) for part in text.split(";") if part.strip() and part.strip().lower() != "n/a"]
    return tuple(dict.fromkeys(found))


# Files.


def is_folder(root: Path) -> bool:
    """Whether a folder has conversations."""
    return any(_named(root, split) for split in SPLITS)


def _named(root: Path, split: str) -> list[Path]:
    """The files of a split: one of all domains, or one of each."""
    for names in (("ALL",), DOMAINS):
        found = [
            path
            for name in names
            for start in SPLITS[split]
            for stem in (f"{start}_set_{name}", f"{start}_{name}")
            for path in (root / f"{stem}.json", root / f"{stem}.json.gz")
            if path.is_file()
        ]
        if found:
            return found
    return []


def files(root: Path, split: str) -> list[Path]:
    """The files of a split.

    Raises:
        ZooError: there is none.
    """
    if split not in SPLITS:
        raise ZooError(f"ConvQuestions has the splits {', '.join(SPLITS)}, not {split!r}.")
    if not root.is_dir():
        raise ZooError(f"{root} is not a folder: {HINT}.")
    if found := _named(root, split):
        return found
    raise ZooError(f"{root} has no {split} files of ConvQuestions: {HINT}.")


def read(root: str | Path, split: str, *, domains: Sequence[str] = DOMAINS) -> list[Conversation]:
    """The conversations of a split, in the files' order.

    Raises:
        ZooError: a file is missing or malformed; names file, conversation, turn and field.
    """
    found: list[Conversation] = []
    for path in files(Path(root), split):
        try:
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            value = json.loads(content)
        except (OSError, EOFError, ValueError, RecursionError) as error:
            raise ZooError(f"{path} cannot be read ({str(error).splitlines()[0]}).") from None
        if not isinstance(value, list):
            raise ZooError(f"{path}: a list of conversations is wanted, got {type(value).__name__}.")
        found += [conversation(one, f"{path}, conversation {i}") for i, one in enumerate(value)]
    return [one for one in found if one.domain in domains]


def conversation(value: Any, where: str) -> Conversation:
    """A conversation as read from JSON.

    Raises:
        ZooError: a field is missing or of another type.
    """
    if not isinstance(value, dict):
        raise ZooError(f"{where}: an object is wanted, got {type(value).__name__}.")

    def text(holder: dict[str, Any], field: str, place: str) -> str:
        if not isinstance(holder.get(field), str):
            raise ZooError(f"{place}: '{field}' must be text, got {type(holder.get(field)).__name__}.")
        return holder[field]

    number = value.get("conv_id", -1)
    if type(number) is not int:
        raise ZooError(f"{where}: 'conv_id' must be a whole number, got {type(number).__name__}.")
    turns = value.get("questions")
    if not isinstance(turns, list) or not turns:
        raise ZooError(f"{where}: 'questions' must be a list of {TURNS}, got {type(turns).__name__}.")
    if all(isinstance(one, str) for one in turns):  # the flat variant
        turns = _unflattened(value, turns, where)
    questions = []
    for i, one in enumerate(turns):
        place = f"{where}, turn {i}"
        if not isinstance(one, dict):
            raise ZooError(f"{place}: an object is wanted, got {type(one).__name__}.")
        others = one.get("paraphrased_question", [])
        others = [others] if isinstance(others, str) else others
        if not isinstance(others, list) or not all(isinstance(other, str) for other in others):
            raise ZooError(f"{place}: 'paraphrased_question' must be a list of texts.")
        questions.append(
            Question(
                id=str(one.get("question_id", f"{number}-{i}")),
                turn=i,
                text=text(one, "question", place),
                answers=answers(text(one, "answer", place)),
                answer_text=one["answer_text"] if isinstance(one.get("answer_text"), str) else "",
                paraphrases=tuple(others),
            )
        )
    seed = normalise(text(value, "seed_entity", where))
    if seed.kind != "entity":
        raise ZooError(f"{where}: 'seed_entity' must be the address of a Wikidata entity, got {seed.value[:60]!r}.")
    label = value.get("seed_entity_text")
    return Conversation(
        number, text(value, "domain", where), seed.value, label if isinstance(label, str) else "", tuple(questions)
    )


def _unflattened(value: dict[str, Any], turns: list[str], where: str) -> list[dict[str, Any]]:
    found = []
    for field in ("answers", "answer_texts"):
        if not isinstance(value.get(field), list) or len(value[field]) != len(turns):
            raise ZooError(f"{where}: '{field}' must be a list of {len(turns)}, like 'questions'.")
    for i, (question, answer, text) in enumerate(zip(turns, value["answers"], value["answer_texts"], strict=True)):
        parts = [answer] if isinstance(answer, str) else answer
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise ZooError(f"{where}, turn {i}: 'answers' must be texts.")
        said = "; ".join(text) if isinstance(text, list) and all(isinstance(one, str) for one in text) else text
        found.append({"question": question, "answer": ";".join(parts), "answer_text": said})
    return found


# Records.


def dialogue(one: Conversation, graph: KnowledgeGraph) -> Dialogue:
    """The conversation over a graph; `Pair.type` is "" because ConvQuestions has no types.

    The seed entity, which the data tell, is an annotation of every question, if the graph has it: named in some, referred to
    in others. Properties are those of the entities that a question may be about: the seed, and the answer before. Gold
    entities that the graph lacks are left out of `Answer.entities`, which is None if the answer is no entity.
    """
    seed = graph.entity(one.seed_entity) if graph.has_entity(one.seed_entity) else None
    annotated = () if seed is None else (seed,)
    called = [(tokenise(one.seed_text or graph.label(entity)), entity) for entity in annotated]
    pairs = []
    about = annotated
    for question in one.questions:
        tokens = tokenise(question.text)
        golds = [gold for gold in question.answers if gold.kind == "entity"]
        ids = tuple(dict.fromkeys(graph.entity(gold.value) for gold in golds if graph.has_entity(gold.value)))
        properties = {p for entity in about for ends in graph.incident(entity) for p in ends}
        replied = tokenise(question.answer_text)
        answer = Answer(
            text=question.answer_text,
            entities=tuple(sorted(ids)) if golds else None,
            shown=ids,
            numbers=tuple(
                int(gold.value) for gold in question.answers if gold.kind == "number" and gold.value.isdigit()
            ),
            booleans=tuple(gold.value == "yes" for gold in question.answers if gold.kind == "boolean"),
        )
        pairs.append(
            Pair(
                tokens=tokens,
                answer=answer,
                type="",
                mentions=find_mentions(tokens, called),
                entities=annotated,
                properties=tuple(sorted(properties)),
                answer_tokens=replied,
                answer_mentions=find_mentions(replied, [(tokenise(graph.label(entity)), entity) for entity in ids]),
            )
        )
        about = (*annotated, *ids)
    return Dialogue(str(one.id), tuple(pairs))


def names_graph(conversations: Iterable[Conversation], like: KnowledgeGraph) -> KnowledgeGraph:
    """A graph without a fact: what the conversations name, and properties and classes of another graph to speak about."""
    from zoo.knowledge.build import from_arrays

    named: dict[str, str] = {}
    for one in conversations:
        named.setdefault(one.seed_entity, one.seed_text)
        for question in one.questions:
            label = question.answer_text if len(question.answers) == 1 else ""
            for gold in question.answers:
                if gold.kind == "entity":
                    named.setdefault(gold.value, label)
    labels = {int(name[1:]): label for name, label in named.items() if name[0] == "Q"}
    numbers = np.array(sorted(labels), dtype=np.int64)
    none = np.empty(0, np.int64)
    properties, classes = range(like.properties), range(like.classes)
    return from_arrays(
        (none, none, none),
        (none, none),
        entities=len(numbers),
        property_names=[like.property_name(one) for one in properties],
        class_names=[like.class_name(one) for one in classes],
        property_labels=[like.property_label(one) for one in properties],
        class_labels=[like.class_label(one) for one in classes],
        labels=[labels[int(number)] for number in numbers],
        entity_numbers=numbers,
        source="names in ConvQuestions",
    )


def counts(conversations: Iterable[Conversation]) -> dict[str, int]:
    """How many questions have answers of which kind (of the first one), "n/a" without any."""
    found: dict[str, int] = {}
    for one in conversations:
        for question in one.questions:
            kind = question.answers[0].kind if question.answers else "n/a"
            found[kind] = found.get(kind, 0) + 1
    return found
