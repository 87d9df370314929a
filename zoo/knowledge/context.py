"""The structured input of a parser: a question, the pair before it and what the graph says about the entities in them.

    {"utterances": [{"speaker", "lag", "tokens"}, …], "entities": [{"slot", "source", "class", "relations", "span"}, …],
     "answer_set": …, "numbers": [{"value", "span"}, …]}

Shapes of its arrays: t text tokens, o objects = entities, the previous answer's set, numbers; slot k + 1 is object k.

The pair before the question is given as it was understood: its entities, its answer. A linking setting (see
`zoo.knowledge.linking`) is about the question itself. Imports neither torch nor a network.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.dialogues import Dialogue, Mention, Pair
from zoo.knowledge import grammar
from zoo.knowledge.grammar import OPERATORS, Apply, Class, Entities, Entity, Form, Number, Property, Token
from zoo.knowledge.graph import KnowledgeGraph
from zoo.knowledge.linking import Labels, Span, annotated, check_setting
from zoo.registry import ZooError

PAD, UNKNOWN, NAMED, DIGITS, REPLY = SPECIAL = ("<pad>", "<unk>", "<ent>", "<num>", "<answer>")
NONE, CURRENT, QUESTION, ANSWER, SET, NUMBER = range(6)
SOURCES = ("none", "current question", "previous question", "previous answer", "answer set", "number")
WHOLE_NUMBER = re.compile(r"[0-9]{1,15}")
LONGEST_SET = 4  # entities of a set constant that is no previous answer, and is then written as unions
Ints = NDArray[np.int16]


@dataclass(frozen=True)
class Vocabulary:
    """What a parser knows by name: words of questions, properties and classes of graphs, operators.

    Attributes:
        words: SPECIAL first, lower case. properties, classes: as the graph calls them (P19, Q515).
    """

    words: tuple[str, ...]
    properties: tuple[str, ...]
    classes: tuple[str, ...]
    operators: tuple[str, ...] = tuple(OPERATORS)

    @classmethod
    def of(
        cls, graph: KnowledgeGraph, dialogues: Iterable[Dialogue], least: int = 1, inside: bool = False
    ) -> Vocabulary:
        """Words that occur `least` times outside of mentions, properties and classes that occur in forms or annotations."""
        words: Counter[str] = Counter()
        properties: set[int] = set()
        classes: set[int] = set()
        for dialogue in dialogues:
            for pair in dialogue.pairs:
                properties.update(pair.properties)
                classes.update(pair.classes)
                for token in grammar.linearise(pair.form) if pair.form is not None else ():
                    if isinstance(token, Property):
                        properties.add(token.id)
                    elif isinstance(token, Class):
                        classes.add(token.id)
                for tokens, mentions in ((pair.tokens, pair.mentions), (pair.answer_tokens, pair.answer_mentions)):
                    hidden = set() if inside else {i for one in mentions for i in range(one.start, one.stop)}
                    words.update(token.lower() for i, token in enumerate(tokens) if i not in hidden)
        kept = sorted(w for w, n in words.items() if n >= least and w not in SPECIAL and not WHOLE_NUMBER.fullmatch(w))
        return cls(
            (*SPECIAL, *kept),
            tuple(graph.property_name(one) for one in sorted(properties)),
            tuple(graph.class_name(one) for one in sorted(classes)),
        )

    @property
    def sizes(self) -> dict[str, int]:
        """The arguments of a network that fits."""
        names = ("words", "properties", "classes", "operators")
        return {name: len(getattr(self, name)) for name in names}

    def to_bytes(self) -> bytes:
        """Four lists of lines, for a weight."""
        return "\n\n".join(
            "\n".join(one) for one in (self.words, self.properties, self.classes, self.operators)
        ).encode()

    @classmethod
    def from_bytes(cls, packed: bytes) -> Vocabulary:
        parts = packed.decode().split("\n\n")
        if len(parts) != 4:
            raise ZooError("A packed vocabulary is damaged: fetch its weight again.")
        return cls(*(tuple(part.split("\n")) if part else () for part in parts))


@dataclass(frozen=True)
class Thing:
    """An entity object.

    Attributes:
        source: an index of SOURCES. kind: its class, None if unknown.
        relations: numbers of the parser's properties that start (p) and end (properties + p) at it.
        span: (lag, start, stop), the first mention; None for what is only referred to.
    """

    entity: int
    source: int
    kind: int | None
    relations: tuple[int, ...]
    span: tuple[int, int, int] | None


@dataclass(frozen=True)
class Said:
    """An utterance as the parser reads it: names and numbers replaced, a slot at every token (0: none)."""

    speaker: str
    lag: int
    tokens: tuple[str, ...]
    slots: tuple[int, ...]
    cut: bool = False


@dataclass(frozen=True)
class Structured:
    """The structured input of one question."""

    utterances: tuple[Said, ...]
    things: tuple[Thing, ...]
    answer_set: tuple[int, ...]
    set_kind: int | None
    numbers: tuple[tuple[int, int], ...]  # (value, lag)

    def to_json(self, graph: KnowledgeGraph, vocabulary: Vocabulary) -> dict[str, Any]:
        """For people: labels in place of ids; a relation that ends at the entity has a minus sign."""
        labels = [graph.property_label(graph.property(name)) for name in vocabulary.properties]
        signed = labels + [f"-{label}" for label in labels]
        value: dict[str, Any] = {
            "utterances": [{"speaker": u.speaker, "lag": u.lag, "tokens": list(u.tokens)} for u in self.utterances],
            "entities": [
                {
                    "slot": slot,
                    "entity": graph.label(one.entity),
                    "source": SOURCES[one.source],
                    "class": None if one.kind is None else graph.class_label(one.kind),
                    "relations": [signed[relation] for relation in one.relations],
                    "span": one.span and {"lag": one.span[0], "start": one.span[1], "stop": one.span[2]},
                }
                for slot, one in enumerate(self.things)
            ],
        }
        if self.answer_set:
            value["answer_set"] = {"lag": 1, "size": len(self.answer_set)}
        return value | {"numbers": [{"value": number, "lag": lag} for number, lag in self.numbers]}


class Context:
    """Builds structured inputs over one graph, and turns forms into a network's tokens and back.

    Args:
        linking: one of `zoo.knowledge.linking.SETTINGS`, about the question itself.
        previous: whether the pair before is there (else no dialogue context).
        kg: whether objects tell their class and relations.
        inside: keep the words of mentions, for token vectors of a pre-trained encoder.
        entities, numbers: slots. length: text tokens in all, the question first.

    Raises:
        ZooError: an unknown linking setting.
    """

    def __init__(
        self,
        graph: KnowledgeGraph,
        vocabulary: Vocabulary,
        *,
        linking: str = "oracle_current",
        previous: bool = True,
        kg: bool = True,
        inside: bool = False,
        entities: int = 8,
        numbers: int = 4,
        length: int = 96,
    ):
        self.graph, self.vocabulary, self.linking = graph, vocabulary, check_setting(linking)
        self.previous, self.kg, self.inside = previous, kg, inside
        self.slots, self.number_slots, self.length = entities, numbers, length
        self.objects = entities + 1 + numbers
        self._words = {word: i for i, word in enumerate(vocabulary.words)}
        self._properties = _known(vocabulary.properties, graph.property)
        self._classes = _known(vocabulary.classes, graph.class_)
        self._property_ids = {i: id for id, i in self._properties.items()}
        self._class_ids = {i: id for id, i in self._classes.items()}
        self._operators = {name: 1 + i for i, name in enumerate(vocabulary.operators)}
        self._profiles: dict[int, tuple[int | None, tuple[int, ...]]] = {}
        self._labels: Labels | None = None
        self._first_property = 1 + len(vocabulary.operators)
        self._first_class = self._first_property + len(vocabulary.properties)
        self.fixed = self._first_class + len(vocabulary.classes)

    # The structured input.

    @property
    def labels(self) -> Labels:
        """The string matcher, made on first use."""
        if self._labels is None:
            self._labels = Labels(self.graph, words=self.vocabulary.words)
        return self._labels

    def spans(self, pair: Pair) -> list[Span]:
        """What the question names, in the setting."""
        return self.labels.spans(pair.tokens) if self.linking == "string" else annotated(pair, self.linking)

    def profile(self, entity: int) -> tuple[int | None, tuple[int, ...]]:
        """Class and relations of an entity, as far as the vocabulary has words for them."""
        found = self._profiles.get(entity)
        if found is None:
            if not self.kg:
                found = (None, ())
            else:
                kind = next((one for one in self.graph.classes_of(entity) if one in self._classes), None)
                out, into = self.graph.incident(entity)
                known, shift = self._properties, len(self.vocabulary.properties)
                relations = [known[p] for p in out if p in known] + [shift + known[p] for p in into if p in known]
                found = kind, tuple(relations)
            self._profiles[entity] = found
        return found

    def structure(self, pair: Pair, before: Pair | None = None) -> Structured:
        """The structured input of a question; `before` is the pair that was spoken before it."""
        before = before if self.previous else None
        things: dict[int, Thing] = {}
        slots = _Slots(self, things)
        utterances = [slots.utterance("USER", 0, pair.tokens, self.spans(pair), CURRENT)]
        answer: tuple[int, ...] = ()
        if before is not None:
            spans = annotated(before, "oracle_all")
            utterances.append(slots.utterance("USER", 1, before.tokens, spans, QUESTION))
            spans = _spans(before.answer_mentions)
            named = {one.entity for one in before.answer_mentions}
            spans += [Span(0, 0, (one,)) for one in before.answer.shown if one not in named]
            utterances.append(slots.utterance("SYSTEM", 1, before.answer_tokens, spans, ANSWER))
            answer = before.answer.entities or ()
        answer = answer if len(answer) > 1 else ()  # a single answer is an entity object
        kinds = {self.profile(one)[0] for one in (before.answer.shown or answer[:3] if before and answer else ())}
        kind = kinds.pop() if len(kinds) == 1 else None
        return Structured(tuple(utterances), tuple(things.values()), answer, kind, tuple(slots.numbers.items()))

    def arrays(self, one: Structured) -> tuple[Ints, Ints]:
        """Text (t, 4) of word, segment, place, slot, and objects (o, 2) of source, class; classes count from 1."""
        rows: list[tuple[int, int, int, int]] = []
        unknown = self._words[UNKNOWN]
        for segment, said in enumerate(one.utterances):
            left = self.length - len(rows)
            if segment == 2 and left > 0:  # a token for the reply itself, which stands for the set that it lists
                rows.append((self._words[REPLY], segment, 0, 1 + self.slots if one.answer_set else 0))
                left -= 1
            for place, (token, slot) in enumerate(zip(said.tokens[:left], said.slots, strict=False)):
                rows.append((self._words.get(token, unknown), segment, place + (segment == 2), slot))
        objects = np.zeros((self.objects, 2), np.int16)
        for i, thing in enumerate(one.things):
            objects[i] = thing.source, self._kind(thing.kind)
        if one.answer_set:
            objects[self.slots] = SET, self._kind(one.set_kind)
        objects[self.slots + 1 : self.slots + 1 + len(one.numbers), 0] = NUMBER
        return np.array(rows or [(self._words[UNKNOWN], 0, 0, 0)], np.int16), objects

    def _kind(self, kind: int | None) -> int:
        return 0 if kind is None else 1 + self._classes[kind]

    # Forms as tokens: 0 is the end, then operators, properties and classes of the vocabulary, then objects.

    def encode(self, form: Form, one: Structured) -> list[int] | None:
        """Tokens of a form, the end included; None if it has a constant that is not in the input."""
        found = [self._token(token, one) for token in grammar.linearise(self._spelt(form, one))]
        return None if None in found else [*(token for token in found if token is not None), 0]

    def _spelt(self, form: Form, one: Structured) -> Form:
        """Set constants that are not the previous answer as unions of entities."""
        if isinstance(form, Apply):
            return Apply(form.operator, tuple(self._spelt(argument, one) for argument in form.arguments))
        if (
            isinstance(form, Entities)
            and 0 < len(set(form.ids)) <= LONGEST_SET
            and set(form.ids) != set(one.answer_set)
        ):
            first, *rest = (Entity(id) for id in dict.fromkeys(form.ids))
            united: Form = first
            for entity in rest:
                united = Apply("union", (united, entity))
            return united
        return form

    def _token(self, token: Token, one: Structured) -> int | None:
        match token:
            case str():
                return self._operators.get(token)
            case Property(id):
                return self._first_property + self._properties[id] if id in self._properties else None
            case Class(id):
                return self._first_class + self._classes[id] if id in self._classes else None
            case Entity(id):
                at = next((i for i, thing in enumerate(one.things) if thing.entity == id), None)
            case Entities(ids):
                at = self.slots if one.answer_set and set(ids) == set(one.answer_set) else None
            case Number(value):
                at = next((self.slots + 1 + i for i, (n, _) in enumerate(one.numbers) if n == value), None)
        return None if at is None else self.fixed + at

    def decode(self, tokens: Sequence[int], one: Structured) -> Form:
        """The form of a network's tokens, up to the end.

        Raises:
            FormError: they are not a form; what a constrained decoder writes always is.
        """
        found: list[Token] = []
        for token in tokens:
            if token == 0:
                break
            found.append(self._meaning(token, one))
        return grammar.delinearise(found)

    def _meaning(self, token: int, one: Structured) -> Token:
        if token < self._first_property:
            return self.vocabulary.operators[token - 1]
        if token < self._first_class:
            return Property(self._property_ids[token - self._first_property])
        if token < self.fixed:
            return Class(self._class_ids[token - self._first_class])
        at = token - self.fixed
        if at < self.slots:
            return Entity(one.things[at].entity)
        return Entities(one.answer_set) if at == self.slots else Number(one.numbers[at - self.slots - 1][0])

    @property
    def speakable(self) -> NDArray[np.bool_]:
        """Fixed tokens that mean something in this graph: all but properties and classes that it does not have."""
        known = np.ones(self.fixed, bool)
        known[self._first_property : self._first_class] = [
            i in self._property_ids for i in range(len(self.vocabulary.properties))
        ]
        known[self._first_class :] = [i in self._class_ids for i in range(len(self.vocabulary.classes))]
        return known


class _Slots:
    """Fills the slots of one structured input, utterance after utterance; an entity keeps its first slot."""

    def __init__(self, context: Context, things: dict[int, Thing]):
        self.context, self.things = context, things
        self.numbers: dict[int, int] = {}  # value -> lag
        self._places: dict[int, int] = {}

    def utterance(self, speaker: str, lag: int, tokens: Sequence[str], spans: list[Span], source: int) -> Said:
        room, inside = self.context.length, self.context.inside
        kept: list[str] = []
        slots: list[int] = []
        starts = {one.start: one for one in spans if one.stop > one.start}
        at = 0
        while at < len(tokens) and len(kept) < room:
            span = starts.get(at)
            if span is not None:
                at = span.stop
                slot = self._entities(span, source, (lag, len(kept), len(kept) + 1))
                words = [token.lower() for token in tokens[span.start : span.stop]] if inside else [NAMED]
                kept += words
                slots += [slot] * len(words)
                continue
            token, slot = tokens[at].lower(), 0
            if WHOLE_NUMBER.fullmatch(token) and speaker == "USER":
                token, slot = DIGITS, self._number(int(token), lag)
            kept.append(token)
            slots.append(slot)
            at += 1
        for span in spans:
            if span.stop == span.start:
                self._entities(span, source, None)
        return Said(speaker, lag, tuple(kept[:room]), tuple(slots[:room]), at < len(tokens))

    def _entities(self, span: Span, source: int, where: tuple[int, int, int] | None) -> int:
        """Slots for all candidates; that of the first is the mention's."""
        for entity in span.entities:
            if entity not in self.things and len(self.things) < self.context.slots:
                self._places[entity] = len(self.things)
                self.things[entity] = Thing(entity, source, *self.context.profile(entity), where)
        return 1 + self._places[span.entities[0]] if span.entities[0] in self._places else 0

    def _number(self, value: int, lag: int) -> int:
        if value not in self.numbers:
            if len(self.numbers) == self.context.number_slots:
                return 0
            self.numbers[value] = lag
        return 2 + self.context.slots + list(self.numbers).index(value)


def _spans(mentions: Iterable[Mention]) -> list[Span]:
    return [Span(one.start, one.stop, (one.entity,)) for one in mentions]


def _known(names: Sequence[str], find: Any) -> dict[int, int]:
    """Graph id -> number in the vocabulary, for the names that the graph has."""
    found = {}
    for i, name in enumerate(names):
        try:
            found[find(name)] = i
        except ZooError:
            continue
    return found
