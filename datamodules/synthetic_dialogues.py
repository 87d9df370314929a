"""Generated dialogues in CSQA's ten question types over any labelled graph, with gold forms and executed answers.

A dialogue opens with a simple question; then types are drawn with WEIGHTS, and drawn again when what they need is not there
(something to refer to, an entity that has the property, an answer that is neither empty nor long). Dialogue i is a pure function
of (seed, i), of the graph and of the setting.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from bisect import bisect
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from datamodules.dialogues import TYPE_KEYS, Answer, Corpus, Dialogue, Mention, Pair, read, tokenise, write
from datamodules.synthetic_graph import RELATIONS, synthetic_graph
from datamodules.wordings import MORE_RELATIONS, NOUNS, SHARED, WORDINGS, Wording, worded, yes_no
from zoo.knowledge.executor import Boolean, EntitySet, Executor, NumberValue
from zoo.knowledge.executor import Pair as Both
from zoo.knowledge.grammar import Apply, Class, Entities, Entity, Form, Number, Property, apply, linearise
from zoo.knowledge.graph import KnowledgeGraph
from zoo.registry import ZooError

VERSION = 1  # of what is generated; part of a cache file's name
WEIGHTS = {
    "direct": 0.28,
    "coref": 0.31,
    "ellipsis": 0.15,
    "logical": 0.08,
    "quantitative": 0.08,
    "comparative": 0.08,
    "comparative count": 0.08,
    "quantitative count": 0.10,
    "verification": 0.09,
    "clarification": 0.12,
}
TRIES = {
    "clarification": 5,
    "direct": 3,
    "ellipsis": 3,
    "verification": 2,
    "quantitative count": 2,
    "comparative count": 2,
}  # drafts before another type
LONGEST = 300  # entities of an answer
SHOWN = 3  # names of a reply
HeldOut: TypeAlias = frozenset[tuple[int, str]]  # (property, question type) that no training dialogue may have


@dataclass(frozen=True)
class Setting:
    """How hard the wording is.

    Args:
        large: 60 properties in the graph, not 22.
        shared_names: share of the entities that are called like another one.
        paraphrases: every question draws one of all its clauses; otherwise each use of a property has one clause.
        shared: how often a clause that fits several properties is taken where the graph settles which one is meant.
        pairs: fewest and most pairs of a dialogue; one more where the last question had to be clarified.
    """

    large: bool = False
    shared_names: float = 0.0
    paraphrases: bool = False
    shared: float = 0.0
    pairs: tuple[int, int] = (6, 12)


SETTINGS: Mapping[str, Setting] = {
    "easy": Setting(),
    "hard": Setting(large=True, shared_names=0.05, paraphrases=True, shared=0.35),
}


class Simple(NamedTuple):
    """keep(F(entity, property), asked), or its number, or the same of a set constant."""

    entity: int
    property: int
    backward: bool
    asked: int

    def step(self) -> Apply:
        return _follow(self.property, self.backward, Entity(self.entity))

    def form(self) -> Apply:
        return apply("keep", self.step(), Class(self.asked))


class Counted(NamedTuple):
    """For each entity of a class, the number of its F-neighbours in one or two classes."""

    property: int
    backward: bool
    base: int
    counted: tuple[int, ...]

    def number(self, start: Form) -> Apply:
        kept = [apply("keep", _follow(self.property, self.backward, start), Class(one)) for one in self.counted]
        return apply("cardinality", kept[0] if len(kept) == 1 else apply("union", *kept))

    def each(self) -> Apply:
        return self.number(apply("for_each", apply("members", Class(self.base))))

    def classes(self) -> tuple[int, ...]:
        return (self.base, *self.counted) if self.backward else (*self.counted, self.base)


class Compared(NamedTuple):
    counts: Counted
    operator: str
    number: bool  # whether the number of such entities is asked for


Topic: TypeAlias = Simple | Compared | None  # what an elliptic question can go on with; its own words must say it
Piece: TypeAlias = str | int  # text, or an entity's name


class Draft(NamedTuple):
    """A question before its answer is known to be fit."""

    type: str
    description: str
    pieces: Callable[[bool], list[Piece]]  # of whether the answer has several entities
    form: Form
    properties: tuple[int, ...]
    classes: tuple[int, ...]
    entities: tuple[int, ...]
    topic: Topic = None
    counts_topic: bool = False  # whether the topic's number was asked
    sets: tuple[Form, ...] = ()  # whose union a count counts


class Turn(NamedTuple):
    pair: Pair
    topic: Topic
    counts_topic: bool


def _follow(property: int, backward: bool, start: Form) -> Apply:
    return apply("follow_backward" if backward else "follow_property", start, Property(property))


def properties_of(form: Form | None) -> set[int]:
    """The properties that a form has."""
    return set() if form is None else {one.id for one in linearise(form) if isinstance(one, Property)}


# The graph as the generator sees it.


class Scene:
    """What a graph offers to ask about, and its words. Shared by all dialogues on a graph."""

    def __init__(self, graph: KnowledgeGraph, setting: Setting, templates: Path | None = None):
        self.graph, self.setting, self.executor = graph, setting, Executor(graph)
        starts, classes = graph.arrays["entity_class_starts"], graph.arrays["entity_classes"]
        typed = np.diff(starts) > 0
        self.kind = np.full(graph.entities, -1, np.int32)  # the first class of each entity
        self.kind[typed] = classes[starts[:-1][typed]]
        self.kinds: list[int] = self.kind.tolist()
        # (property, backward) -> class of the given -> classes of the asked, with how many edges
        self.links: dict[tuple[int, bool], dict[int, dict[int, int]]] = {}
        for property in range(graph.properties):
            sources, row_starts, targets = graph.edges(property)
            s = np.repeat(self.kind[sources], np.diff(row_starts))
            codes, counts = np.unique(s.astype(np.int64) * (graph.classes + 1) + self.kind[targets], return_counts=True)
            for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
                subject, object = divmod(code, graph.classes + 1)
                if min(subject, object) >= 0:
                    self.links.setdefault((property, False), {}).setdefault(subject, {})[object] = count
                    self.links.setdefault((property, True), {}).setdefault(object, {})[subject] = count
        self.asks = sorted(self.links)
        if not self.asks:
            raise ZooError("The graph has no triple between entities with classes: there is nothing to ask.")
        labels = [graph.property_label(property) for property in range(graph.properties)]
        self.wordings = [_wording(label, WORDINGS.get(label)) for label in labels]
        self.real = _real_clauses(templates, self.wordings) if templates else {}
        numbers = {label: property for property, label in enumerate(labels)}
        self.shared = [
            (group.clauses, [(numbers[label], not objects) for label, objects in group.uses if label in numbers])
            for group in SHARED
        ]
        self._words: dict[int, tuple[str, ...]] = {}
        self._counts: dict[Counted, tuple[list[int], list[int]]] = {}
        self._sources: dict[tuple[int, bool], list[int]] = {}

    def words(self, entity: int) -> tuple[str, ...]:
        """Tokens of an entity's label."""
        if entity not in self._words:
            self._words[entity] = tokenise(self.graph.label(entity)) or (self.graph.entity_name(entity),)
        return self._words[entity]

    def noun(self, class_: int, several: bool) -> str:
        label = self.graph.class_label(class_)
        return NOUNS.get(label, (label, f"{label}s"))[several]

    def targets(self, entity: int, property: int, backward: bool) -> Any:
        return self.graph.targets(entity, property, "backward" if backward else "forward")

    def sources(self, property: int, backward: bool) -> list[int]:
        """Entities that have the property in this direction."""
        if (property, backward) not in self._sources:
            edges = self.graph.edges(property, "backward" if backward else "forward")
            self._sources[property, backward] = edges.sources.tolist()
        return self._sources[property, backward]

    def incident(self, entity: int) -> list[tuple[int, bool]]:
        """(property, backward) that lead away from an entity."""
        out, into = self.graph.incident(entity)
        return [(one, False) for one in out] + [(one, True) for one in into]

    def counts(self, counts: Counted) -> tuple[list[int], list[int]]:
        """Entities of the base class with a number above zero, and these numbers."""
        if counts not in self._counts:
            sources, starts, targets = self.graph.edges(counts.property, "backward" if counts.backward else "forward")
            hits = np.isin(self.kind[targets], counts.counted)
            total = np.concatenate([[0], np.cumsum(hits)])
            each = total[starts[1:]] - total[starts[:-1]]
            there = (each > 0) & (self.kind[sources] == counts.base)
            self._counts[counts] = sources[there].tolist(), each[there].tolist()
        return self._counts[counts]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the triples, classes and names."""
        digest = hashlib.sha256()
        for name, array in sorted(self.graph.arrays.items()):
            digest.update(f"{name} {zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data)} ".encode())
        digest.update(repr((self.graph.header["property_labels"], self.graph.header["class_labels"])).encode())
        return digest.hexdigest()


def _wording(label: str, known: Wording | None) -> Wording:
    """Of a property without its own wording: by its label."""
    if known is not None:
        return known
    return Wording(
        (f"<does|do> {{}} have as {label}", f"[is|are] the {label} of {{}}"),
        (f"[has|have] {{}} for {label}", f"[has|have] {{}} as {label}"),
    )


def _real_clauses(path: Path, wordings: Sequence[Wording]) -> dict[tuple[int, bool], list[str]]:
    """CSQA's own clauses for simple questions, by (property, backward): its wordings behind "Who", "Which city", ….

    Raises:
        ZooError: the file is damaged.
    """
    from datamodules.csqa import read_templates

    numbers = {wording.wikidata: i for i, wording in enumerate(wordings) if wording.wikidata}
    types = path.with_name("type_labels.tsv")
    nouns = {"people", "person"}
    if types.is_file():
        nouns |= {
            line.split("\t")[1].lower() for line in types.read_text(encoding="utf-8").splitlines() if "\t" in line
        }
    words_of_nouns = {word for noun in nouns for word in noun.split()} | {
        "work",
        "works",
        "genre",
        "genres",
        "location",
        "studio",
    }
    found: dict[tuple[int, bool], set[str]] = defaultdict(set)
    for row in read_templates(path):
        property = numbers.get(row["relations"])
        single = row.get("description") in ("Simple Question", "Simple Question|Single Entity")
        text = re.fullmatch(r"(?:(Which) (.+)|(?:Who|What) (.+)) \?", row["template"])
        if property is None or not single or text is None or row["direction"] not in ("obj", "subj"):
            continue
        clause = text[3] or ""
        if text[1]:
            words = text[2].split()
            cut = next((n for n in (5, 4, 3, 2, 1) if " ".join(words[:n]).lower() in nouns), 0)
            clause = " ".join(words[cut:]) if cut else ""
        first, second = [*clause.split(), "", ""][:2]
        left = first in words_of_nouns and second not in ("for", "as", "in", "at")  # a class that is not in the list
        if clause.count("{") == 1 and "{E0}" in clause and not clause.startswith("{") and not left:
            found[property, row["direction"] == "subj"].add(_agreeing(clause.replace("{E0}", "{}")))
    return {key: sorted(clauses) for key, clauses in found.items()}


def _agreeing(clause: str) -> str:
    """A real clause whose first verb agrees, if it is one that says its number."""
    first, _, rest = clause.partition(" ")
    both = next((one for one in ("is|are", "was|were", "has|have", "does|do") if first in one.split("|")), None)
    if both is None:
        return clause
    return f"<{both}> {rest}" if rest.startswith("{}") else f"[{both}] {rest}"


# One dialogue.

COMPARE = {  # operator -> words before a number
    "atleast": ("atleast",),
    "atmost": ("atmost",),
    "equals": ("exactly",),
    "approx": ("approximately", "around"),
}
THAN = {  # operator -> words before "number of", word after it
    "greater_than": (("more", "greater"), "than"),
    "lesser_than": (("less", "lesser"), "than"),
    "approx": (("approximately the same", "around the same"), "as"),
}
ELLIPTIC = ("And what about", "And how about", "And also tell me about")


class _Writer:
    """Draws the turns of one dialogue. A method per question type gives a draft, or None if its precondition fails."""

    def __init__(self, scene: Scene, rng: Random, held_out: HeldOut):
        self.scene, self.rng, self.held_out = scene, rng, held_out
        self.turns: list[Turn] = []
        self.met: list[int] = []  # entities in order of their last appearance
        self.types: dict[str, Callable[[], Draft | None]] = {
            "direct": self.direct,
            "coref": self.coref,
            "ellipsis": self.ellipsis,
            "logical": self.logical,
            "quantitative": self.quantitative,
            "comparative": lambda: self.comparative(False),
            "comparative count": lambda: self.comparative(True),
            "quantitative count": self.quantitative_count,
            "verification": self.verification,
            "clarification": self.clarification,
        }
        self.bounds = list(accumulate(WEIGHTS.values()))

    def dialogue(self, name: str) -> Dialogue:
        wanted = self.rng.randint(*self.scene.setting.pairs)
        self.add(self.direct)
        failed = 0
        while len(self.turns) < wanted:
            drawn = bisect(self.bounds, self.rng.random() * self.bounds[-1])
            kind = TYPE_KEYS[min(drawn, len(TYPE_KEYS) - 1)]
            if self.add(self.types[kind], TRIES.get(kind, 1)):
                failed = 0
                if kind == "clarification":
                    self.clarified()
            elif (failed := failed + 1) > 200:
                raise ZooError("The graph has too few triples for a dialogue of that length.")
        return Dialogue(name, tuple(turn.pair for turn in self.turns))

    def add(self, draw: Callable[[], Draft | None], tries: int = 1000) -> bool:
        """Appends a turn of this type if one of some drafts is fit."""
        for _ in range(tries):
            draft = draw()
            if draft is not None and not self.is_held_out(draft):
                turn = self.executed(draft)
                if turn is not None:
                    self.append(turn)
                    return True
        if not self.turns:
            raise ZooError("The graph has no property that a dialogue could open with.")
        return False

    def is_held_out(self, draft: Draft) -> bool:
        deferred = "coref" if draft.type == "clarification" else draft.type
        asked = properties_of(draft.form) | set(draft.properties)
        return any((one, kind) in self.held_out for one in asked for kind in (draft.type, deferred))

    def append(self, turn: Turn) -> None:
        self.turns.append(turn)
        for entity in (*turn.pair.entities, *turn.pair.answer.shown):
            if entity in self.met:
                self.met.remove(entity)
            self.met.append(entity)

    # Answers.

    def executed(self, draft: Draft) -> Turn | None:
        """The turn with its answer, None if that is empty, too long or a zero."""
        value = self.scene.executor.run(draft.form)
        several = False
        if isinstance(value, EntitySet):
            found = value.ids.tolist()
            if not 0 < len(found) <= LONGEST:
                return None
            several = len(found) > 1
            shown = tuple(sorted(self.rng.sample(found, SHOWN))) if len(found) > SHOWN else tuple(found)
            pieces: list[Piece] = []
            if draft.type == "clarification":
                shown = (self.rng.choice(found),)
                pieces = ["Did you mean", shown[0], "?"]
            else:
                for one in shown:
                    pieces += [",", one] if pieces else [one]
            tokens, mentions = self.compose(pieces)
            text = " ".join(tokens) if draft.type == "clarification" else ", ".join(map(self.scene.graph.label, shown))
            return self.turn(draft, several, Answer(text, tuple(found), shown), tokens, mentions)
        parts = (value.first, value.second) if isinstance(value, Both) else (value,)
        if all(isinstance(one, Boolean) for one in parts):
            verdicts = tuple(bool(one.value) for one in parts)  # type: ignore[union-attr]
            words = ["YES" if one else "NO" for one in verdicts]
            text = words[0] if len(set(words)) == 1 else f"{words[0]} and {words[1]} respectively"
            answer = Answer(text, booleans=verdicts)
        else:
            numbers = tuple(int(one.value) for one in parts if isinstance(one, NumberValue))
            if min(numbers) < 1:
                return None
            text = str(numbers[0])
            if len(numbers) == 2:
                named = [f"{n} {self.scene.noun(c, n > 1)}" for n, c in zip(numbers, draft.classes, strict=True)]
                text = " and ".join(named)
            ids: set[int] = set()
            for one in draft.sets:
                found_set = self.scene.executor.run(one)
                assert isinstance(found_set, EntitySet)
                ids.update(found_set.ids.tolist())
            if len(ids) > LONGEST:
                return None
            answer, several = Answer(text, tuple(sorted(ids)), numbers=numbers), True
        return self.turn(draft, several, answer, tuple(answer.text.split()), ())

    def turn(
        self, draft: Draft, several: bool, answer: Answer, tokens: tuple[str, ...], mentions: tuple[Mention, ...]
    ) -> Turn:
        question, named = self.compose(draft.pieces(several))
        pair = Pair(
            tokens=question,
            answer=answer,
            type=draft.type,
            description=draft.description,
            mentions=named,
            entities=draft.entities,
            properties=draft.properties,
            classes=draft.classes,
            form=draft.form,
            answer_tokens=tokens,
            answer_mentions=mentions,
        )
        return Turn(pair, draft.topic, draft.counts_topic)

    def compose(self, pieces: Iterable[Piece]) -> tuple[tuple[str, ...], tuple[Mention, ...]]:
        tokens: list[str] = []
        mentions: list[Mention] = []
        for piece in pieces:
            if isinstance(piece, str):
                tokens += piece.split()
            else:
                words = self.scene.words(piece)
                mentions.append(Mention(len(tokens), len(tokens) + len(words), piece))
                tokens += words
        return tuple(tokens), tuple(mentions)

    # Words.

    def clauses(self, property: int, backward: bool, use: int) -> list[str]:
        """Clauses of a property's own: `use` is 0 for simple questions, 1 for counts per entity."""
        wording = self.scene.wordings[property]
        own = wording.subjects if backward else wording.objects
        if not self.scene.setting.paraphrases:
            return [own[min(use, len(own) - 1)]]
        return [*own, *self.scene.real.get((property, backward), ())] if use == 0 else list(own)

    def clause(self, property: int, backward: bool, given: Sequence[int], asked: int, finite: bool = False) -> str:
        """A clause of a simple question; one that several properties share if only this one has an answer in `asked`.

        Args:
            given: entities that the clause is asked of.
            finite: whether the clause must begin with its own verb.
        """
        if self.rng.random() < self.scene.setting.shared:
            fitting: list[str] = []
            for clauses, uses in self.scene.shared:
                if (property, backward) in uses and all(
                    self.settled(property, backward, one, asked, uses) for one in given
                ):
                    fitting += clauses
            fitting = [one for one in fitting if one.startswith("[") or not finite]
            if fitting:
                return self.rng.choice(fitting)
        own = self.clauses(property, backward, 0)
        finite_ones = [one for one in own if one.startswith("[")]
        if finite:
            own = finite_ones or [one for one in self.clauses(property, backward, 1) if one.startswith("[")] or own
        return self.rng.choice(own)

    def settled(self, property: int, backward: bool, entity: int, asked: int, uses: Sequence[tuple[int, bool]]) -> bool:
        """Whether no other property of these leads from the entity to the class asked for."""
        others = [one for one in self.scene.incident(entity) if one in uses and one != (property, backward)]
        return not any((self.scene.kind[self.scene.targets(entity, *one)] == asked).any() for one in others)

    def counting_clause(self, counts: Counted) -> str:
        """A clause of a question about numbers; a shared one if only this property links the classes."""
        property, backward = counts.property, not counts.backward  # asked for is the base, which the others lead to
        if self.rng.random() < self.scene.setting.shared:
            fitting: list[str] = []
            for clauses, uses in self.scene.shared:
                if (property, backward) in uses:
                    linking = [
                        one
                        for one in uses
                        if any(counts.base in self.scene.links.get(one, {}).get(c, {}) for c in counts.counted)
                    ]
                    if linking == [(property, backward)]:
                        fitting += clauses
            if fitting:
                return self.rng.choice(fitting)
        return self.rng.choice(self.clauses(property, backward, 1))

    def which(self, class_: int, clause: str, given: Sequence[Piece], several_given: bool, count: bool = False) -> Any:
        """Pieces of "Which T clause(given) ?" as a function of whether several are answered."""
        who = (
            self.scene.setting.paraphrases
            and self.scene.graph.class_label(class_) == "person"
            and self.rng.random() < 0.2
        )

        def pieces(several: bool) -> list[Piece]:
            several = several or count
            before, behind = worded(clause, several, several_given)
            asked = "Who" if who and not count else f"Which {self.scene.noun(class_, several)}"
            head = f"How many {self.scene.noun(class_, True)}" if count else asked
            return [f"{head} {before}", *given, f"{behind} ?"]

        return pieces

    def that(self, entity: int, alone: bool) -> str:
        """A noun phrase that refers to an entity; `alone` if nothing else could be meant by "that one"."""
        if alone and self.scene.setting.paraphrases and self.rng.random() < 0.15:
            return "that one"
        return f"that {self.scene.noun(self.scene.kinds[entity], False)}"

    # What the turn before offers.

    def referents(self) -> list[int]:
        """Entities that "that T" can mean: the answer if it is one, what the question named if it is one; each only if its
        class tells it from the other."""
        last = self.turns[-1].pair
        found = []
        if last.answer.kind == "entities" and last.answer.entities and len(last.answer.entities) == 1:
            found.append(last.answer.entities[0])
        if len(last.mentions) == 1 and last.mentions[0].entity not in found:
            found.append(last.mentions[0].entity)
        kinds = [self.scene.kinds[one] for one in found]
        return [one for one, kind in zip(found, kinds, strict=True) if kind >= 0 and kinds.count(kind) == 1]

    def single_answer(self) -> int | None:
        """The entity of the answer before, if it is one: what indirect verifications and comparisons refer to."""
        answer = self.turns[-1].pair.answer
        if answer.kind == "entities" and answer.entities and len(answer.entities) == 1:
            return answer.entities[0] if answer.entities[0] in self.referents() else None
        return None

    def few_answers(self) -> tuple[int, ...]:
        """The entities that the answer before shows, if they are two or three of one class."""
        last = self.turns[-1].pair
        found = last.answer.shown
        if last.answer.kind != "entities" or len(found) not in (2, 3):
            return ()
        return found if len({self.scene.kinds[one] for one in found}) == 1 and self.scene.kinds[found[0]] >= 0 else ()

    def whole_answer(self) -> tuple[int, ...]:
        """The same where the answer shows everything: what "those Ts" means."""
        few = self.few_answers()
        return few if len(few) == len(self.turns[-1].pair.answer.entities or ()) else ()

    def about(self, entity: int) -> Simple | None:
        """Something to ask of an entity, other than what was asked last."""
        links = self.scene.incident(entity)
        if not links:
            return None
        property, backward = self.rng.choice(links)
        targets = self.scene.targets(entity, property, backward)
        asked = self.scene.kinds[targets[int(self.rng.random() * len(targets))]]
        found = Simple(entity, property, backward, asked)
        return found if asked >= 0 and found != self.turns[-1].topic else None

    def anything(self) -> Simple | None:
        """A question out of the blue: a property, then an entity that has it."""
        forward = self.rng.random() < 0.65
        property, _ = self.rng.choice(self.scene.asks)
        entity = self.rng.choice(self.scene.sources(property, not forward))
        targets = self.scene.targets(entity, property, not forward)
        asked = self.scene.kinds[targets[int(self.rng.random() * len(targets))]]
        return Simple(entity, property, not forward, asked) if asked >= 0 else None

    def somehow(self) -> Simple | None:
        """A question about something that was met in the dialogue, or out of the blue."""
        if self.met and self.rng.random() < 0.5:
            return self.about(self.rng.choice(self.met[-4:]))
        return self.anything()

    # Question types.

    def direct(self) -> Draft | None:
        asked = self.somehow()
        if asked is None:
            return None
        clause = self.clause(asked.property, asked.backward, [asked.entity], asked.asked)
        description = "Simple Question|Single Entity" if self.turns else "Simple Question"
        return self.simple("direct", description, asked, self.which(asked.asked, clause, [asked.entity], False))

    def simple(self, kind: str, description: str, asked: Simple, pieces: Any) -> Draft:
        return Draft(
            kind,
            description,
            pieces,
            asked.form(),
            (asked.property,),
            (asked.asked,),
            (asked.entity,),
            topic=asked,
        )

    def coref(self) -> Draft | None:
        few = self.whole_answer()
        if few and self.rng.random() < 0.3:
            return self.plural(few)
        referents = self.referents()
        if not referents:
            return None
        asked = self.about(self.rng.choice(referents))
        if asked is None:
            return None
        clause = self.clause(asked.property, asked.backward, [asked.entity], asked.asked)
        pieces = self.which(asked.asked, clause, [self.that(asked.entity, len(referents) == 1)], False)
        return self.simple("coref", "Simple Question|Single Entity|Indirect", asked, pieces)

    def plural(self, few: tuple[int, ...]) -> Draft | None:
        asked = self.about(self.rng.choice(few))
        if asked is None:
            return None
        clause = self.clause(asked.property, asked.backward, few, asked.asked)
        those = f"those {self.scene.noun(self.scene.kinds[few[0]], True)}"
        form = apply("keep", _follow(asked.property, asked.backward, Entities(few)), Class(asked.asked))
        return Draft(
            "coref",
            "Simple Question|Mult. Entity",
            self.which(asked.asked, clause, [those], True),
            form,
            (asked.property,),
            (asked.asked,),
            few,
        )

    def ellipsis(self) -> Draft | None:
        last = self.turns[-1]
        topic = last.topic
        if not isinstance(topic, Simple) or last.counts_topic or last.pair.type not in ("direct", "coref", "ellipsis"):
            return None
        if last.pair.mentions and self.rng.random() < 0.15:  # another class is asked for
            targets = self.scene.targets(topic.entity, topic.property, topic.backward)
            others = {self.scene.kinds[one] for one in targets.tolist()} - {topic.asked, -1}
            if not others:
                return None
            asked = topic._replace(asked=self.rng.choice(sorted(others)))
            draft = self.simple(
                "ellipsis",
                "Incomplete|object parent is changed, subject and predicate remain same",
                asked,
                lambda several: [f"And which {self.scene.noun(asked.asked, several)} ?"],
            )
            return draft._replace(properties=(), topic=None)  # as CSQA annotates it
        entity = self.another(topic)
        if entity is None:
            return None
        asked = topic._replace(entity=entity)
        draft = self.simple(
            "ellipsis", "only subject is changed, parent and predicate remains same", asked, self.and_what(entity)
        )
        return draft._replace(properties=(), topic=None)

    def and_what(self, entity: int) -> Callable[[bool], list[Piece]]:
        opening = self.rng.choice(ELLIPTIC)
        return lambda several: [opening, entity, "?"]

    def another(self, asked: Simple) -> int | None:
        """Another entity of the same class with the property."""
        for _ in range(8):
            found = self.rng.choice(self.scene.sources(asked.property, asked.backward))
            if found != asked.entity and self.scene.kinds[found] == self.scene.kinds[asked.entity]:
                return found
        return None

    def logical(self) -> Draft | None:
        operator = self.rng.choices(("union", "intersection", "difference"), (0.5, 0.35, 0.15))[0]
        word = {"union": "or", "intersection": "and", "difference": "but not"}[operator]
        last = self.turns[-1]
        elliptic = isinstance(last.topic, Simple) and last.pair.type == "direct" and self.rng.random() < 0.3
        first = last.topic if elliptic and isinstance(last.topic, Simple) else self.somehow()
        if first is None:
            return None
        second = self.companion(first, operator, elliptic or self.rng.random() < 0.6)
        if second is None or second == first:
            return None
        if operator == "difference":
            left, right = (self.kept(one) for one in (first, second))
            if not left & right or not left - right:
                return None
        form = apply("keep", apply(operator, first.step(), second.step()), Class(first.asked))
        name = operator.title()
        single = first[1:3] == second[1:3]
        pieces: Any
        if elliptic:
            opening, end = {"union": ("Or", "?"), "intersection": ("And also", ""), "difference": ("But not", "")}[
                operator
            ]
            description = f"Logical|{name}|Single_Relation|Incomplete"
            pieces = lambda several: [opening, second.entity, end]  # noqa: E731
        elif single:
            description = f"Logical|{name}|Single_Relation"
            both = (first.entity, second.entity)
            clause = self.clause(first.property, first.backward, both, first.asked)
            pieces = self.which(first.asked, clause, [both[0], word, both[1]], True)
        else:
            description = f"Logical|{name}|Multiple_Relation"
            one, two = (
                self.clause(asked.property, asked.backward, [asked.entity], asked.asked, finite=True)
                for asked in (first, second)
            )
            start = self.which(first.asked, one, [first.entity], False)
            link = "but not the ones that" if operator == "difference" else word

            def pieces(several: bool) -> list[Piece]:
                head = start(several)
                before, behind = worded(two, several or link != word, False)
                end = str(head[-1]).removesuffix("?")
                return [*head[:-1], f"{end} {link} {before}", second.entity, f"{behind} ?"]

        properties = (first.property,) if single else (first.property, second.property)
        entities = (first.entity, second.entity)
        return Draft("logical", description, pieces, form, properties, (first.asked,), entities)

    def kept(self, asked: Simple) -> set[int]:
        targets = self.scene.targets(asked.entity, asked.property, asked.backward)
        return set(targets[self.scene.kind[targets] == asked.asked].tolist())

    def companion(self, first: Simple, operator: str, same: bool) -> Simple | None:
        """A second operand that asks for the same class: of the same property or another, and with a common answer where the
        operator needs one."""
        if operator == "union":
            if same:
                entity = self.another(first)
                return None if entity is None else first._replace(entity=entity)
            answer = self.rng.choice(self.scene.graph.members(first.asked))
        else:
            answers = sorted(self.kept(first))
            if not answers:
                return None
            answer = self.rng.choice(answers)
        if same:
            link = first.property, not first.backward
        else:
            links = [one for one in self.scene.incident(int(answer)) if one != (first.property, not first.backward)]
            if not links:
                return None
            link = self.rng.choice(links)
        others = self.scene.targets(int(answer), *link).tolist()
        if not others:
            return None
        return Simple(self.rng.choice(others), link[0], not link[1], first.asked)

    def counted(self, base: int | None = None, entity: int | None = None) -> Counted | None:
        """A number per entity of a class: of any, of this base, or one that this entity has."""
        if entity is not None:
            links = self.scene.incident(entity)
            base = self.scene.kinds[entity]
            if not links or base < 0:
                return None
            property, backward = self.rng.choice(links)
        else:
            property, backward = self.rng.choice(self.scene.asks)
        bases = self.scene.links[property, backward]
        if base is None:
            base = self.rng.choice(sorted(bases))
        if base not in bases:
            return None
        classes = sorted(bases[base])
        if len(classes) > 1 and self.rng.random() < 0.4:
            return Counted(property, backward, base, tuple(self.rng.sample(classes, 2)))
        return Counted(property, backward, base, (self.rng.choice(classes),))

    def amount(self, counts: Counted, words: str, plural: bool, more: Sequence[Piece] = ()) -> Any:
        """Pieces of "Which T … [words] number of T1 and T2 … than X ?"."""
        nouns = [self.scene.noun(one, plural) for one in counts.counted]
        link = self.rng.choice(("and", "or"))
        given = f"{words} {f' {link} '.join(nouns)}"
        clause = self.counting_clause(counts)

        def pieces(count: bool) -> list[Piece]:
            before, behind = worded(clause, True, plural)
            head = (
                f"How many {self.scene.noun(counts.base, True)}"
                if count
                else f"Which {self.scene.noun(counts.base, True)}"
            )
            return [f"{head} {before} {given} {behind}", *more, "?"]

        return pieces

    @staticmethod
    def typed(counts: Counted) -> str:
        return "Mult. entity type" if len(counts.counted) > 1 else "Single entity type"

    def quantitative(self) -> Draft | None:
        counts = self.counted()
        if counts is None:
            return None
        if self.rng.random() < 0.5:
            end = self.rng.choice(("max", "min"))
            pieces = self.amount(counts, f"{end} number of", True)
            description = f"Quantitative|Min/Max|{self.typed(counts)}"
            form = apply(f"arg{end}", counts.each())
        else:
            draft = self.threshold(counts)
            if draft is None:
                return None
            form, pieces = draft
            description = f"Quantitative|Atleast/ Atmost/ Approx. the same/Equal|{self.typed(counts)}"
        return Draft(
            "quantitative",
            description,
            lambda several: pieces(False),
            form,
            (counts.property,),
            counts.classes(),
            (),
        )

    def threshold(self, counts: Counted) -> tuple[Apply, Any] | None:
        """arg(CMP(N, n)) with an n that occurs, and its words."""
        _, numbers = self.scene.counts(counts)
        if not numbers:
            return None
        number = self.rng.choice(numbers)
        operator = self.rng.choice(sorted(COMPARE))
        words = f"{self.rng.choice(COMPARE[operator])} {number}"
        return apply("arg", apply(operator, counts.each(), Number(number))), self.amount(counts, words, number > 1)

    def comparative(self, count: bool) -> Draft | None:
        last = self.turns[-1]
        name = "Count over More/Less" if count else "More/Less"
        if isinstance(last.topic, Compared) and last.topic.number == count and self.rng.random() < 0.5:
            compared = last.topic
            entity = self.rng.choice(self.scene.counts(compared.counts)[0])
            if entity in last.pair.entities:
                return None
            description = f"Comparative|{name}|{self.typed(compared.counts)}|Incomplete"
            draft = self.compared(compared, entity, self.and_what(entity), description, (entity,))
            return draft._replace(topic=None)
        single = self.single_answer()
        indirect = single is not None and self.rng.random() < 0.5
        counts = self.counted(entity=single) if indirect else self.counted()
        if counts is None:
            return None
        domain = self.scene.counts(counts)[0]
        if not domain or (indirect and single not in domain):
            return None
        entity = single if indirect and single is not None else self.rng.choice(domain)
        operator = self.rng.choice(sorted(THAN))
        words, link = THAN[operator]
        more: list[Piece] = [f"{link} {self.that(entity, False)}"] if indirect else [link, entity]
        pieces = self.amount(counts, f"{self.rng.choice(words)} number of", True, more)
        description = f"Comparative|{name}|{self.typed(counts)}" + "|Indirect" * indirect
        entities = () if indirect else (entity,)  # as CSQA annotates it
        return self.compared(
            Compared(counts, operator, count), entity, lambda several: pieces(count), description, entities
        )

    def compared(
        self, compared: Compared, entity: int, pieces: Any, description: str, entities: tuple[int, ...]
    ) -> Draft:
        counts, operator, count = compared
        found = apply("arg", apply(operator, counts.each(), counts.number(Entity(entity))))
        return Draft(
            "comparative count" if count else "comparative",
            description,
            pieces,
            apply("cardinality", found) if count else found,
            (counts.property,),
            counts.classes(),
            entities,
            topic=compared,
            sets=(found,) if count else (),
        )

    def quantitative_count(self) -> Draft | None:
        last = self.turns[-1]
        if isinstance(last.topic, Simple) and last.counts_topic and self.rng.random() < 0.5:
            entity = self.another(last.topic)
            if entity is None:
                return None
            again = last.topic._replace(entity=entity)
            draft = self.number_of(again, "Quantitative|Count|Single entity type|Incomplete", self.and_what(entity))
            return draft._replace(topic=None)
        kind = self.rng.random()
        if kind < 0.35:
            counts = self.counted()
            drafted = None if counts is None else self.threshold(counts)
            if counts is None or drafted is None:
                return None
            form, pieces = drafted
            return Draft(
                "quantitative count",
                f"Quantitative|Count over Atleast/ Atmost/ Approx. the same/Equal|{self.typed(counts)}",
                lambda several: pieces(True),
                apply("cardinality", form),
                (counts.property,),
                counts.classes(),
                (),
                sets=(form,),
            )
        referents = self.referents()
        indirect = bool(referents) and kind < 0.85 and self.rng.random() < 0.4
        asked = self.about(self.rng.choice(referents)) if indirect else self.somehow()
        if asked is None:
            return None
        given: Piece = self.that(asked.entity, len(referents) == 1) if indirect else asked.entity
        tail = "|Indirect" * indirect
        if kind < 0.7:
            clause = self.clause(asked.property, asked.backward, [asked.entity], asked.asked)
            pieces = self.which(asked.asked, clause, [given], False, count=True)
            return self.number_of(asked, f"Quantitative|Count|Single entity type{tail}", pieces)
        if kind < 0.85:  # two classes of one entity
            targets = self.scene.targets(asked.entity, asked.property, asked.backward)
            classes = sorted({self.scene.kinds[one] for one in targets.tolist()} - {-1})
            if len(classes) < 2:
                return None
            one, two = self.rng.sample(classes, 2)
            both = tuple(asked._replace(asked=class_).form() for class_ in (one, two))
            either = self.rng.random() < 0.5
            union = apply("cardinality", apply("union", *both))
            form = union if either else apply("pair", *(apply("cardinality", each) for each in both))
            clauses = [self.clause(asked.property, asked.backward, [asked.entity], class_) for class_ in (one, two)]
            before, behind = worded(clauses[0] if clauses[0] == clauses[1] else self.plain(asked), True, False)
            nouns = f"{self.scene.noun(one, True)} {'or' if either else 'and'} {self.scene.noun(two, True)}"
            return Draft(
                "quantitative count",
                f"Quantitative|Count|Logical operators{tail}",
                lambda several: [f"How many {nouns} {before}", given, f"{behind} ?"],
                form,
                (asked.property,),
                (one, two),
                () if indirect else (asked.entity,),
                sets=both,
            )
        operator = self.rng.choice(("union", "intersection"))
        second = self.companion(asked, operator, True)
        if second is None or second.entity == asked.entity:
            return None
        found = apply(operator, asked.form(), second.form())
        clause = self.clause(asked.property, asked.backward, (asked.entity, second.entity), asked.asked)
        word = "or" if operator == "union" else "and"
        return Draft(
            "quantitative count",
            "Quantitative|Count|Mult. entity type",
            self.which(asked.asked, clause, [asked.entity, word, second.entity], True, count=True),
            apply("cardinality", found),
            (asked.property,),
            (asked.asked,),
            (asked.entity, second.entity),
            sets=(found,),
        )

    def plain(self, asked: Simple) -> str:
        return self.rng.choice(self.clauses(asked.property, asked.backward, 1))

    def number_of(self, asked: Simple, description: str, pieces: Any) -> Draft:
        indirect = description.endswith("Indirect")
        return Draft(
            "quantitative count",
            description,
            pieces,
            apply("cardinality", asked.form()),
            (asked.property,),
            (asked.asked,),
            () if indirect else (asked.entity,),
            topic=asked,
            counts_topic=True,
            sets=(asked.form(),),
        )

    def verification(self) -> Draft | None:
        few, single = self.whole_answer(), self.single_answer()
        if few and self.rng.random() < 0.3:
            return self.all_verified(few)
        indirect = single is not None and self.rng.random() < 0.5
        fact = self.fact(single if indirect else None)
        if fact is None:
            return None
        subject, property, objects = fact
        if indirect and single != subject:  # the object is the one referred to
            forms = [apply("is_in", Entity(objects[0]), _follow(property, False, Entity(subject)))]
            kind = "2 entities, one direct and one indirect, object is indirect"
            pieces = self.whether(property, [subject], [self.that(objects[0], False)], subject, objects, False, False)
        else:
            given: Piece = self.that(subject, False) if indirect else subject
            forms = [apply("is_in", Entity(one), _follow(property, False, Entity(subject))) for one in objects]
            asked: list[Piece] = [objects[0]] if len(objects) == 1 else [objects[0], "and", objects[1]]
            pieces = self.whether(property, [given], asked, subject, objects, False, len(objects) > 1)
            kind = {
                (False, 1): "2 entities, both direct",
                (True, 1): "2 entities, one direct and one indirect, subject is indirect",
                (False, 2): "3 entities, all direct, 2 are query entities",
                (True, 2): "3 entities, 2 direct, 2(direct) are query entities, subject is indirect",
            }[indirect, len(objects)]
        form = forms[0] if len(forms) == 1 else apply("pair", *forms)
        classes = (self.scene.kinds[objects[0]],)
        return Draft(
            "verification",
            f"Verification|{kind}",
            lambda several: pieces,
            form,
            (property,),
            classes,
            (subject, *objects),
        )

    def fact(self, given: int | None) -> tuple[int, int, tuple[int, ...]] | None:
        """Subject, property and one or two objects to ask about, true or not; `given` is one of the two ends."""
        asked = self.somehow() if given is None else self.about(given)
        if asked is None:
            return None
        if asked.backward and given is not None:
            subjects = self.kept(asked)
            wrong = self.rng.choice(self.scene.sources(asked.property, False))
            if self.scene.kinds[wrong] != asked.asked:
                return None
            subject = self.rng.choice(sorted(subjects)) if self.rng.random() < 0.5 else wrong
            return subject, asked.property, (given,)
        subject = asked.entity
        if asked.backward:
            subject = self.rng.choice(self.scene.targets(asked.entity, asked.property, True).tolist())
        true = self.scene.targets(subject, asked.property, False).tolist()
        class_ = self.scene.kinds[self.rng.choice(true)]
        two = self.rng.random() < 0.35
        objects: list[int] = []
        for _ in range(1 + two):
            right = [one for one in true if self.scene.kinds[one] == class_]
            members = self.scene.graph.members(class_)
            drawn = self.rng.choice(right) if self.rng.random() < 0.5 else int(self.rng.choice(members))
            if drawn in objects or drawn == subject:
                return None
            objects.append(drawn)
        return subject, asked.property, tuple(objects)

    def all_verified(self, few: tuple[int, ...]) -> Draft | None:
        asked = self.about(self.rng.choice(few))
        if asked is None:
            return None
        class_ = self.scene.kinds[few[0]]
        if self.rng.random() < 0.5:
            other = self.rng.choice(self.scene.targets(asked.entity, asked.property, asked.backward).tolist())
        else:
            other = self.rng.choice(self.scene.sources(asked.property, not asked.backward))
        if other in few or class_ not in self.scene.links[asked.property, not asked.backward].get(
            self.scene.kinds[other], {}
        ):
            return None
        those: list[Piece] = [f"those {self.scene.noun(class_, True)}"]
        if asked.backward:  # the set is the objects
            pieces = self.whether(asked.property, [other], those, other, few, False, True)
        else:
            pieces = self.whether(asked.property, those, [other], few, (other,), True, False)
        form = apply("is_in", Entities(few), _follow(asked.property, not asked.backward, Entity(other)))
        object_class = class_ if asked.backward else self.scene.kinds[other]
        return Draft(
            "verification",
            "Verification|one entity, multiple entities (as object) referred indirectly",
            lambda several: pieces,
            form,
            (asked.property,),
            (object_class,),
            (other,),
        )

    def whether(
        self,
        property: int,
        subject: list[Piece],
        object: list[Piece],
        subjects: int | Sequence[int],
        objects: Sequence[int],
        subject_several: bool,
        object_several: bool,
    ) -> list[Piece]:
        """Pieces of a yes-no question."""
        own = subjects if isinstance(subjects, Sequence) else [subjects]
        if self.scene.setting.paraphrases and self.rng.random() < 0.5:
            clause = self.clause(property, True, objects, self.scene.kinds[own[0]])
            given, asked, several = object, subject, (subject_several, object_several)
        else:
            clause = self.clause(property, False, own, self.scene.kinds[objects[0]])
            given, asked, several = subject, object, (object_several, subject_several)
        if not re.search(r"[\[<]", clause):  # a real clause has no verb to move
            wording = self.scene.wordings[property]
            backward = given is object
            clause = (wording.subjects if backward else wording.objects)[0]
        head, middle, end, given_first = yes_no(clause, *several)
        first, second = (given, asked) if given_first else (asked, given)
        return [
            head.capitalize() if " " not in head else head[0].upper() + head[1:],
            *first,
            middle,
            *second,
            f"{end} ?",
        ]

    def clarification(self) -> Draft | None:
        few = self.few_answers()
        if not few:
            return None
        asked = self.about(self.rng.choice(few))
        if asked is None:
            return None
        having = [one for one in few if self.kept(asked._replace(entity=one))]
        if len(having) < len(few):
            return None
        clause = self.clause(asked.property, asked.backward, few, asked.asked)
        that = f"that {self.scene.noun(self.scene.kinds[few[0]], False)}"
        pieces = self.which(asked.asked, clause, [that], False)
        return Draft(
            "clarification",
            "Simple Question|Single Entity|Indirect",
            lambda several: pieces(False),
            apply("clarify", Entities(few)),
            (asked.property,),
            (asked.asked,),
            few,
            topic=asked,
        )

    def clarified(self) -> None:
        """The turn after a clarification, of the deferred question's type."""
        last = self.turns[-1]
        topic, candidates = last.topic, last.pair.answer.entities
        assert isinstance(topic, Simple) and candidates
        offered = last.pair.answer.shown[0]
        chosen = offered if self.rng.random() < 0.5 else self.rng.choice([one for one in candidates if one != offered])
        asked = topic._replace(entity=chosen)
        yes: list[Piece] = ["Yes"]
        no: list[Piece] = ["No , I meant", chosen, ". Could you tell me the answer for that ?"]
        pieces = yes if chosen == offered else no
        draft = Draft("coref", "", lambda several: pieces, asked.form(), (), (), (chosen,))
        turn = self.executed(draft)
        if turn is None:  # too long an answer: the dialogue goes on as if nothing had been asked
            self.turns.pop()
        else:
            self.append(turn)


# Many dialogues.


def setting_of(setting: str | Setting) -> Setting:
    """A setting by name. Raises a ZooError for another name."""
    if isinstance(setting, Setting):
        return setting
    if setting not in SETTINGS:
        raise ZooError(f"setting must be {' or '.join(SETTINGS)}, got {setting!r}.")
    return SETTINGS[setting]


def generate(
    graph: KnowledgeGraph,
    count: int,
    seed: int | str = 0,
    *,
    setting: str | Setting = "easy",
    held_out: Iterable[tuple[int, str]] = (),
    only_held_out: bool = False,
    templates: str | Path | None = None,
    cache: str | Path | None = None,
    first: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Dialogue]:
    """Dialogues number first … first + count - 1 of a seed.

    Args:
        held_out: (property, question type) pairs that no question may have.
        only_held_out: the contrary: dialogues that have at least one of these pairs each, for the compositional test.
        templates: question_templates.tsv.gz of CSQA's sample, whose wordings simple questions then use too (hard setting).
        cache: a folder where the result is kept under a hash of everything that it depends on.
        progress: called with the number of dialogues so far.

    Raises:
        ZooError: the graph has nothing to ask about, or an option is not one.
    """
    chosen = setting_of(setting)
    held = frozenset(held_out)
    if count < 0 or first < 0:
        raise ZooError(f"count and first must be 0 or more, got {count} and {first}.")
    wrong = sorted({kind for _, kind in held}.difference(TYPE_KEYS))
    if wrong:
        raise ZooError(f"held_out names the question type {wrong[0]!r}; there are {', '.join(TYPE_KEYS)}.")
    scene = Scene(graph, chosen, None if templates is None else Path(templates))
    path = None
    if cache is not None:
        words = None if templates is None else sorted(scene.real.items())
        key = [VERSION, scene.fingerprint, asdict(chosen), sorted(held), only_held_out, words, seed, first, count]
        path = Path(cache) / f"dialogues-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]}.jsonl.gz"
        if path.is_file():
            return list(read(path))
    found: list[Dialogue] = []
    for i in range(first, first + count):
        for attempt in range(1000):
            rng = Random(
                int.from_bytes(hashlib.blake2b(repr((seed, i, attempt)).encode(), digest_size=8).digest(), "little")
            )
            dialogue = _Writer(scene, rng, frozenset() if only_held_out else held).dialogue(f"synthetic {seed}-{i}")
            if not only_held_out or any(has_held_out(pair, held) for pair in dialogue.pairs):
                break
        else:
            raise ZooError("No dialogue has one of the held-out pairs of property and question type.")
        found.append(dialogue)
        progress(len(found))
    if path is not None:
        write(path, found)
    return found


def has_held_out(pair: Pair, held_out: Iterable[tuple[int, str]]) -> bool:
    """Whether a question has one of these pairs of property and type."""
    held = frozenset(held_out)
    return any((property, pair.type) in held for property in properties_of(pair.form))


def held_out_pairs(graph: KnowledgeGraph, seed: int = 0, share: float = 0.1) -> HeldOut:
    """A share of all (property, question type), drawn from the seed, for a compositional split. Direct questions are left out, so
    that every property is seen, and ellipses and clarifications, whose words do not say the property."""
    rng = Random(f"held out {seed}")
    types = [kind for kind in TYPE_KEYS if kind not in ("direct", "ellipsis", "clarification")]
    pairs = [(property, kind) for property in range(graph.properties) for kind in types]
    return frozenset(rng.sample(pairs, round(share * len(pairs))))


def world(setting: str | Setting = "easy", seed: int = 0) -> KnowledgeGraph:
    """The generated graph of a setting."""
    chosen = setting_of(setting)
    relations = (*RELATIONS, *MORE_RELATIONS) if chosen.large else RELATIONS
    return synthetic_graph(seed, relations=relations, shared_names=chosen.shared_names)


def corpus(
    setting: str | Setting = "easy",
    *,
    seed: int = 0,
    train: int = 3000,
    test: int = 120,
    held_out: float = 0.0,
    templates: str | Path | None = None,
    cache: str | Path | None = None,
    progress: Callable[[str, int], None] = lambda split, done: None,
) -> Corpus:
    """Splits "train", "valid" and "A" on one graph, "B" on the graph of another seed, whose names and facts are all new, and with
    `held_out` > 0 "compositional".

    Args:
        train, test: dialogues for training, and of every other split.
        held_out: share of (property, question type) that only "compositional" has, in every dialogue.
        templates, cache: as in `generate`.
    """
    graph, other = world(setting, seed), world(setting, seed + 1_000_003)
    held = held_out_pairs(graph, seed, held_out)

    def split(name: str, count: int, on: KnowledgeGraph, only: bool = False) -> tuple[Dialogue, ...]:
        return tuple(
            generate(
                on,
                count,
                f"{seed} {name}",
                setting=setting,
                held_out=held,
                only_held_out=only,
                templates=templates,
                cache=cache,
                progress=lambda done: progress(name, done),
            )
        )

    splits = {name: split(name, train if name == "train" else test, graph) for name in ("train", "valid", "A")}
    splits["B"] = split("B", test, other)
    if held:
        splits["compositional"] = split("compositional", test, graph, only=True)
    provenance = {
        "name": "synthetic dialogues",
        "licence": "synthetic",
        "seed": seed,
        "setting": asdict(setting_of(setting)),
    }
    return Corpus(graph, splits, {"B": other}, provenance=provenance)
