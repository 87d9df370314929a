"""Silver logical forms: a search for the forms whose value is the gold answer, from the annotation of a question and its context.

Typed and bottom-up. Constants are the entities of the question and of the pair before it, relations, classes and numbers; then

    S1  F(x, p) in both directions          S2  keep(S1, c)
    S3  union, intersection, difference of two S2, and of one S1 kept to two classes
    N   counts per entity of a class, of one class or two     V  numbers in the question, sizes of S2 and S3
    argmax(N), argmin(N), arg(N compared with V), and their sizes; is_in(x, S1); pairs of numbers and of truth values

Empty intermediate values are dropped. Of the thousands of arg(N compared with V) none is executed: with the counts in order, how
many entities a comparison keeps is two bisections, and only sets of the answer's size and inside its range are the answer.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from datamodules.csqa import comparison
from zoo.knowledge.executor import FOLLOW, Boolean, EntitySet, ExecutionError, Executor
from zoo.knowledge.grammar import (
    OPERATORS,
    Apply,
    Class,
    Entities,
    Entity,
    Form,
    Number,
    Property,
    Table,
    Token,
    Type,
    apply,
    linearise,
)
from zoo.knowledge.graph import Ids

if TYPE_CHECKING:
    from datamodules.dialogues import Answer, Dialogue, Pair

MOST_ENTITIES = 12  # constants of a question; a reply shows up to ten
MOST_NUMBERS = 6
BACK = 4  # pairs that an elliptic question looks back for its relations
COMPARE = ("greater_than", "lesser_than", "equals", "atleast", "atmost", "approx")
CHOICES = frozenset((*COMPARE, "argmax", "argmin"))
SIMPLE = ("direct", "coref", "ellipsis")
ALGEBRA = frozenset(("union", "intersection", "difference"))
DIGITS = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        forms: distinct ones with the gold value, the most plausible first.
        tried: forms whose value was compared with the gold answer, or decided without.
    """

    forms: tuple[Form, ...]
    tried: int


@dataclass(frozen=True, slots=True)
class _Step:
    """A set with the form it is the value of; `source` tells F's arguments: (x, property, direction)."""

    form: Form
    ids: Ids
    source: tuple[Form, int, str]


@dataclass(frozen=True)
class Constants:
    """What a question's forms may be made of.

    Attributes:
        named: entities of the question, in its order. context: entities of the pair before it.
        sets: the entities that the question names together, and the set that the reply before showed.
        properties, classes: of the question; if it has none, of the last one that has.
        numbers: in the question, or in the one whose relations it takes over.
        words: lower case, of the question and of those that it takes over from.
        type: of the question, one of `TYPE_KEYS`.
    """

    named: tuple[int, ...]
    context: tuple[int, ...]
    sets: tuple[Form, ...]
    properties: tuple[int, ...]
    classes: tuple[int, ...]
    numbers: tuple[int, ...]
    words: str
    type: str

    @classmethod
    def of(cls, pair: Pair, previous: Sequence[Pair] = ()) -> Constants:
        """Constants of a question after the pairs before it."""
        chain = [pair]  # the question and those that it takes something over from
        for one in reversed(previous[-BACK:]):
            if chain[-1].properties and chain[-1].description and not chain[-1].description.endswith("Incomplete"):
                break
            chain.append(one)
        before = previous[-1] if previous else None
        named = tuple(dict.fromkeys([*(one.entity for one in pair.mentions), *pair.entities]))
        shown = before.answer.shown if before else ()
        context = [*shown, *before.entities, *(one.entity for one in before.mentions)] if before else []
        sets: list[Form] = []
        if 2 <= len(named) <= 4:
            united: Form = Entity(named[0])
            for id in named[1:]:
                united = apply("union", united, Entity(id))
            sets.append(united)
        if len(set(shown)) > 1:
            sets.append(Entities(tuple(sorted(set(shown)))))
        numbers: tuple[int, ...] = ()
        for one in chain:
            numbers = numbers or _numbers(one)
        return cls(
            named=named[:MOST_ENTITIES],
            context=tuple(id for id in dict.fromkeys(context) if id not in named)[: MOST_ENTITIES - len(named)],
            sets=tuple(sets),
            properties=next((one.properties for one in chain if one.properties), ()),
            classes=tuple(dict.fromkeys(next((one.classes for one in chain if one.classes), ()))),
            numbers=numbers[:MOST_NUMBERS],
            words=" | ".join(one.question.lower() for one in chain),
            type=pair.type,
        )


def _numbers(pair: Pair) -> tuple[int, ...]:
    hidden = {i for one in pair.mentions for i in range(one.start, one.stop)}
    found = (int(token) for i, token in enumerate(pair.tokens) if i not in hidden and DIGITS.fullmatch(token))
    return tuple(dict.fromkeys(found))


class _Map:
    """Entities of a class with a number each; `ordered` are the numbers in order."""

    def __init__(self, form: Form, keys: Ids, values: np.ndarray, source: tuple[int, str, tuple[int, ...]]):
        self.form, self.keys, self.values, self.source = form, keys, values, source
        self.ordered: list[int] = np.sort(values).tolist()

    def bounds(self, operator: str, number: int) -> tuple[float, float]:
        """The interval [low, high] of numbers that the comparison keeps."""
        match operator:
            case "greater_than":
                return number + 1, math.inf
            case "atleast":
                return number, math.inf
            case "lesser_than":
                return 1, number - 1
            case "atmost":
                return 1, number
            case "equals":
                return number, number
        margin = max(1, math.floor(0.2 * number + 0.5))
        return number - margin, number + margin

    def size(self, low: float, high: float) -> int:
        """How many entities have a number in [low, high]."""
        return max(bisect_right(self.ordered, high) - bisect_left(self.ordered, low), 0)

    def range_of(self, ids: Ids) -> tuple[int, int] | None:
        """Least and greatest number of these entities; None if one of them has none."""
        if not len(ids) or len(ids) > len(self.keys):
            return None
        at = self.keys.searchsorted(ids)
        if at[-1] == len(self.keys) or not (self.keys[at] == ids).all():
            return None
        values = self.values[at]
        return int(values.min()), int(values.max())


class Search:
    """Searches over one graph; counts per entity of a class are kept from question to question.

    Args:
        table: the grammar; what it does not have is not tried.
        most: forms that are given back.
    """

    def __init__(self, executor: Executor, table: Table = OPERATORS, most: int = 1000):
        self.executor, self.table, self.most = executor, table, most
        self.compare = [name for name in COMPARE if name in table]
        self.algebra = [name for name in ("union", "intersection", "difference") if name in table]
        self.two_types = table["union"].parallel == "maps"
        self._maps: dict[tuple[int, str, int, tuple[int, ...]], _Map | None] = {}

    def __call__(self, pair: Pair, previous: Sequence[Pair] = ()) -> Found:
        """Forms of a question, given the pairs spoken before it."""
        one = _Question(self, Constants.of(pair, previous), pair.answer)
        if pair.type == "clarification" and "clarify" in self.table:
            one.clarifications()
        else:
            one.answers()
        return Found(tuple(ranked(one.found, one.constants, one.doubts))[: self.most], one.tried)

    def all_forms(self, pair: Pair, previous: Sequence[Pair] = ()) -> list[Form]:
        """Every form that a search would try, whatever its value."""
        forms: list[Form] = []
        for kind in ("entities", "numbers", "two numbers", "booleans", "two booleans"):
            one = _Question(self, Constants.of(pair, previous), None, kind)
            one.answers()
            forms += one.found
        return list(dict.fromkeys(forms))

    def map(self, property: int, direction: str, base: int, classes: tuple[int, ...]) -> _Map | None:
        """Counts of targets of these classes per entity of the class `base`; None if there are none."""
        key = property, direction, base, classes
        if key not in self._maps:
            try:
                numbers = self.executor.counts(*key)
            except ExecutionError:
                numbers = None
            if numbers is None or not len(numbers.keys):
                self._maps[key] = None
            else:
                start = apply("for_each", apply("members", Class(base)))
                form = _counted(apply(OPERATOR[direction], start, Property(property)), classes)
                self._maps[key] = _Map(form, numbers.keys, numbers.values, (property, direction, classes))
        return self._maps[key]


OPERATOR = {direction: name for name, direction in FOLLOW.items()}


def _counted(step: Form, classes: tuple[int, ...]) -> Form:
    kept = [apply("keep", step, Class(one)) for one in classes]
    return apply("cardinality", kept[0] if len(kept) == 1 else apply("union", *kept))


def search(pair: Pair, previous: Sequence[Pair], executor: Executor, table: Table = OPERATORS) -> list[Form]:
    """Forms whose value is the pair's answer, the most plausible first; see `Search`, which is faster over many."""
    return list(Search(executor, table)(pair, previous).forms)


class _Question:
    """One search. Without an answer every form of the kind is found."""

    def __init__(self, search: Search, constants: Constants, answer: Answer | None, kind: str = ""):
        self.search, self.constants, self.run = search, constants, search.executor.run
        self.found: list[Form] = []
        self.doubts: dict[Form, int] = {}  # of truth values: what is not related at all may be a wrong reading
        self.tried = 0
        self.everything = answer is None
        self.gold: Ids = np.array((answer.entities if answer else None) or (), np.int32)
        self.numbers = answer.numbers if answer else ()
        self.booleans = answer.booleans if answer else ()
        if answer is not None:
            two = "two " if len(self.numbers) == 2 or len(self.booleans) == 2 else ""
            kind = two + answer.kind
        self.kind = kind

    def answers(self) -> None:
        """Forms of the answer's kind."""
        match self.kind:
            case "entities":
                if self.everything or len(self.gold):
                    self.entity_sets()
            case "numbers":
                self.counts()
            case "two numbers":
                self.pairs_of_counts()
            case "booleans":
                for form, value in self.verdicts():
                    self.offer(form, self.everything or value == self.booleans[0])
            case "two booleans":
                self.pairs_of_verdicts()

    def offer(self, form: Form, right: bool) -> None:
        self.tried += 1
        if right:
            self.found.append(form)

    def clarifications(self) -> None:
        """Which of the entities shown before is meant? All of them, or those of a class."""
        for shown in (one for one in self.constants.sets if isinstance(one, Entities)):
            sets: list[Form] = [shown, *(apply("keep", shown, Class(c)) for c in self.constants.classes)]
            for one in sets:
                self.offer(apply("clarify", one), self.equal(self.value(one)))
                if self.found and not self.everything:
                    return

    # Sets.

    def value(self, form: Form) -> Ids:
        try:
            found = self.run(form)
        except ExecutionError:
            return _NOTHING
        assert isinstance(found, EntitySet)
        return found.ids

    def equal(self, ids: Ids) -> bool:
        return self.everything or (len(ids) == len(self.gold) > 0 and bool((ids == self.gold).all()))

    def starts(self) -> list[Form]:
        one = self.constants
        return [*map(Entity, one.named), *one.sets, *map(Entity, one.context)]

    def steps(self) -> list[_Step]:
        """S1, without empty sets."""
        found = []
        for x in self.starts():
            for property in self.constants.properties:
                for name, direction in FOLLOW.items():
                    form = apply(name, x, Property(property))
                    ids = self.value(form)
                    if len(ids):
                        found.append(_Step(form, ids, (x, property, direction)))
        return found

    def kept(self, steps: Sequence[_Step], class_: int) -> list[_Step]:
        """S2 of one class."""
        found = []
        for step in steps:
            form = apply("keep", step.form, Class(class_))
            ids = self.value(form)
            if len(ids):
                found.append(_Step(form, ids, step.source))
        return found

    def two_classes(self, steps: Sequence[_Step]) -> list[_Step]:
        """One S1 kept to either of two classes, of which one may be empty."""
        found = []
        for c, d in combinations(sorted(self.constants.classes), 2):
            for step in steps:
                form = apply("union", apply("keep", step.form, Class(c)), apply("keep", step.form, Class(d)))
                ids = self.value(form)
                if len(ids):
                    found.append(_Step(form, ids, step.source))
        return found

    def combined(self, kept: Sequence[_Step]) -> Iterator[tuple[str, _Step, _Step]]:
        """Pairs of S2 that set algebra may join, one of them about an entity of the question if it names any."""
        named = {Entity(one) for one in self.constants.named}
        single = [step for step in kept if isinstance(step.source[0], Entity)]
        for a, b in combinations(single, 2):
            if a.source[:2] == b.source[:2] or (named and not named & {a.source[0], b.source[0]}):
                continue
            for name in self.search.algebra:
                yield name, a, b
                if name == "difference":
                    yield name, b, a

    def entity_sets(self) -> None:
        steps = self.steps()
        for step in steps:
            self.offer(step.form, self.equal(step.ids))
        kept = {c: self.kept(steps, c) for c in self.constants.classes}
        gold = set(self.gold.tolist())
        for c, every in kept.items():
            for step in every:
                self.offer(step.form, self.equal(step.ids))
            sets = {id(step): set(step.ids.tolist()) for step in every} if len(every) > 1 else {}
            for name, a, b in self.combined(every):
                self.offer(
                    apply("keep", apply(name, _inner(a), _inner(b)), Class(c)),
                    self.everything or SETS[name](sets[id(a)], sets[id(b)]) == gold,
                )
        both = self.two_classes(steps)
        for step in both:
            self.offer(step.form, self.equal(step.ids))
        for form, size, inside in self.chosen(self.sizes(kept, both)):
            self.offer(form, self.everything or (inside and size == len(self.gold)))

    # Numbers.

    def sizes(self, kept: dict[int, list[_Step]], both: Sequence[_Step]) -> dict[int, list[Form]]:
        """Numbers that a count may be compared with, and the forms that they are the values of."""
        found: dict[int, list[Form]] = {}
        for number in self.constants.numbers:
            found.setdefault(number, []).append(Number(number))
        for step in (*(step for every in kept.values() for step in every), *both):
            if isinstance(step.source[0], Entity):
                found.setdefault(len(step.ids), []).append(apply("cardinality", step.form))
        return found

    def chosen(self, numbers: dict[int, list[Form]]) -> Iterator[tuple[Form, int, bool]]:
        """Sets that counts choose: form, size, and whether all gold entities are in it."""
        for one in self.maps():
            least, greatest = (None if self.everything else one.range_of(self.gold)) or (0, math.inf)
            for name, extreme in (("argmax", one.ordered[-1]), ("argmin", one.ordered[0])):
                yield apply(name, one.form), one.size(extreme, extreme), least == greatest == extreme
            for number, forms in numbers.items():
                for name in self.search.compare:
                    low, high = one.bounds(name, number)
                    size = one.size(low, high)
                    for form in forms if size else ():
                        inside = least > 0 and low <= least and greatest <= high
                        yield apply("arg", apply(name, one.form, form)), size, inside

    def maps(self) -> Iterator[_Map]:
        """N."""
        classes = self.constants.classes
        counted = [(one,) for one in classes]
        if self.search.two_types:
            counted += [(min(pair), max(pair)) for pair in combinations(classes, 2)]  # type: ignore[misc]
        for property in self.constants.properties:
            for direction in OPERATOR:
                for base in classes:
                    for ones in counted:
                        found = self.search.map(property, direction, base, ones)
                        if found is not None:
                            yield found

    def counts(self) -> None:
        (number,) = self.numbers or (-1,)
        steps = self.steps()
        kept = {c: self.kept(steps, c) for c in self.constants.classes}
        both = self.two_classes(steps)
        for step in steps:
            self.offer(apply("cardinality", step.form), self.everything or len(step.ids) == number)
        for every in kept.values():
            for step in every:
                self.offer(apply("cardinality", step.form), self.everything or len(step.ids) == number)
            sets = {id(step): set(step.ids.tolist()) for step in every} if len(every) > 1 else {}
            for name, a, b in self.combined(every):
                size = len(SETS[name](sets[id(a)], sets[id(b)]))
                if size:
                    self.offer(apply("cardinality", apply(name, a.form, b.form)), self.everything or size == number)
        for step in both:
            self.offer(apply("cardinality", step.form), self.everything or len(step.ids) == number)
        for form, size, _ in self.chosen(self.sizes(kept, both)):
            self.offer(apply("cardinality", form), self.everything or size == number)

    def pairs_of_counts(self) -> None:
        """Two counts of one S1, of two classes."""
        if "pair" not in self.search.table:
            return
        steps = self.steps()
        kept = {c: {step.source: step for step in self.kept(steps, c)} for c in self.constants.classes}
        for c, d in permutations(kept, 2):
            for source, first in kept[c].items():
                second = kept[d].get(source)
                if second is not None:
                    sizes = len(first.ids), len(second.ids)
                    forms = (apply("cardinality", one.form) for one in (first, second))
                    self.offer(apply("pair", *forms), self.everything or sizes == self.numbers)

    # Truth values.

    def verdicts(self) -> Iterator[tuple[Form, bool]]:
        """is_in(x, S1), one of the two about an entity of the question if it names any."""
        named = set(map(Entity, self.constants.named))
        starts = self.single()
        if self.search.table["is_in"].arguments[0] is not Type.ENTITIES:
            starts = [x for x in starts if isinstance(x, Entity)]
        for step, ids in self.sources():
            y = step.arguments[0]
            for x in starts:
                if x != y and (not named or x in named or y in named):
                    form = apply("is_in", x, step)
                    found = self.run(form)
                    assert isinstance(found, Boolean)
                    self.doubts[form] = self.doubt(ids, x, step)
                    yield form, found.value

    def doubt(self, ids: Ids, x: Form, step: Apply) -> int:
        """How odd it is to ask for x in S1 = ids: empty, of several entities together, nothing leads to x by this step."""
        y, p = step.arguments
        assert isinstance(p, Property)
        direction = "forward" if step.operator == "follow_backward" else "backward"
        several = x.ids if isinstance(x, Entities) else (x.id,) if isinstance(x, Entity) else ()
        related = all(len(self.search.executor.graph.targets(one, p.id, direction)) for one in several)
        return int(not len(ids)) + int(isinstance(y, Entities)) + int(not related)

    def single(self) -> list[Form]:
        """Constants, without the entities of the question as one set."""
        return [x for x in self.starts() if not isinstance(x, Apply)]

    def sources(self) -> list[tuple[Apply, Ids]]:
        """S1, the empty ones too, since nothing is in them."""
        forms = [
            apply(name, x, Property(property))
            for x in self.single()
            for property in self.constants.properties
            for name in FOLLOW
        ]
        return [(form, self.value(form)) for form in forms]

    def pairs_of_verdicts(self) -> None:
        """Two entities of the question in one S1."""
        if "pair" not in self.search.table:
            return
        for step, ids in self.sources():
            y = step.arguments[0]
            for a, b in permutations(map(Entity, self.constants.named), 2):
                if y not in (a, b):
                    ones = apply("is_in", a, step), apply("is_in", b, step)
                    values = tuple(one.value for one in map(self.run, ones) if isinstance(one, Boolean))
                    form = apply("pair", *ones)
                    self.doubts[form] = self.doubt(ids, a, step) + self.doubt(ids, b, step)
                    self.offer(form, self.everything or values == self.booleans)


def _inner(step: _Step) -> Form:
    assert isinstance(step.form, Apply)
    return step.form.arguments[0]


_NOTHING: Ids = np.empty(0, np.int32)
SETS: dict[str, Callable[[set[int], set[int]], set[int]]] = {
    "union": set.union,
    "intersection": set.intersection,
    "difference": set.difference,
}


# Which one is meant?


def ranked(
    forms: Sequence[Form], constants: Constants, doubts: Mapping[Form, int] = MappingProxyType({})
) -> list[Form]:
    """Distinct forms, the most plausible first.

    Forms that keep a class come before those that do not; then those whose operators are what the key words say; that leave
    fewer entities, relations, classes and numbers of the question unused; that compare like with like; with fewer doubts and
    fewer entities of the context; with fewer tokens; that follow fewer properties backward.
    """
    every: set[Token] = {Entity(one) for one in constants.named}
    every.update(Property(one) for one in constants.properties)
    every.update(Class(one) for one in constants.classes)
    every.update(Number(one) for one in constants.numbers)
    context = set(map(Entity, constants.context))
    wanted, several = _wanted(constants.words), bool(re.search(r"\bthose\b", constants.words))

    def place(form: Form) -> tuple[int, ...]:
        tokens = linearise(form)
        operators = {token for token in tokens if isinstance(token, str)}
        used: set[Token] = set(tokens)
        sets = [token for token in tokens if isinstance(token, Entities)]
        for one in sets:
            used.update(map(Entity, one.ids))
        odd = int((operators & CHOICES) != wanted) + int(bool(sets) != several and "clarify" not in operators)
        return (
            int(not operators & {"keep", "is_in", "clarify"}),
            odd + _odd_algebra(form, constants),
            len(every - used),
            _unlike(form),
            doubts.get(form, 0),
            len(context & used) if not sets else 0,
            len(tokens),
            tokens.count("follow_backward"),
        )

    return sorted(dict.fromkeys(forms), key=place)


def _wanted(words: str) -> set[str]:
    """Comparing and choosing operators that the key words name; the question itself before those it takes over from."""
    for question in words.split(" | "):
        extreme = re.search(r"\b(min|max)\b", question)
        if extreme:
            return {f"arg{extreme[1]}"}
        compare = comparison(question)
        if compare:
            return {compare}
    return set()


def _odd_algebra(form: Form, constants: Constants) -> int:
    """How many operators of set algebra have no word or no place in a question of this type, and missing ones."""
    alternative, without = (bool(re.search(rf"\b{word}\b", constants.words)) for word in ("or", "not"))
    said = {"union": alternative, "intersection": not alternative and not without, "difference": without}
    roles = _algebra(form)
    logical = constants.type == "logical"
    odd = sum(role in said and not said[role] for role in roles)
    odd += roles.count("plural") * (constants.type not in SIMPLE)
    return odd + int(logical != any(role in said for role in roles) and not constants.type.endswith("count"))


def _algebra(form: Form) -> list[str]:
    """Operators of set algebra by what they join: entities ("plural"), one set kept to two classes ("classes"), else the operator."""
    if not isinstance(form, Apply):
        return []
    inside = [role for argument in form.arguments for role in _algebra(argument)]
    if form.operator not in ALGEBRA:
        return inside
    if any(isinstance(argument, Entity) for argument in form.arguments):
        return [*inside, "plural"]
    a, b = form.arguments
    same = isinstance(a, Apply) and isinstance(b, Apply) and a.operator == b.operator == "keep"
    return [*inside, "classes" if same and a.arguments[0] == b.arguments[0] else form.operator]  # type: ignore[union-attr]


def _unlike(form: Form) -> int:
    """Whether a count per entity is compared with the size of something counted otherwise."""
    while isinstance(form, Apply) and form.operator in ("cardinality", "arg"):
        form = form.arguments[0]
    if not isinstance(form, Apply) or form.operator not in COMPARE:
        return 0
    counted, number = (linearise(one) for one in form.arguments)
    if len(number) == 1:
        return 0
    alike = [token for token in counted if token not in ("for_each", "members")]
    while "members" in counted:
        base = counted[counted.index("members") + 1]
        alike = [*alike[: alike.index(base)], None, *alike[alike.index(base) + 1 :]]  # type: ignore[list-item]
        counted = counted[counted.index("members") + 1 :]
    return int(alike != [None if isinstance(token, Entity) else token for token in number])


def labelled(dialogues: Iterable[Dialogue], executor: Executor, table: Table = OPERATORS) -> Iterator[Dialogue]:
    """The dialogues with the most plausible form found for each question in place of their own; None where there is none."""
    search = Search(executor, table)
    for dialogue in dialogues:
        found = (search(pair, dialogue.pairs[:i]).forms for i, pair in enumerate(dialogue.pairs))
        pairs = (
            replace(pair, form=forms[0] if forms else None) for pair, forms in zip(dialogue.pairs, found, strict=True)
        )
        yield replace(dialogue, pairs=tuple(pairs))
