"""Runs a logical form on a knowledge graph.

    set of entities         ascending int32 ids
    parallel set            `Branches`: pairs (branch, id) in order, as two columns, so that per-branch work is a segment operation
    parallel number, truth  one value per branch

Counts per branch of a class, the expensive part of quantitative questions, are computed for the whole class from the block of a
property, and kept: `cardinality(keep(F(for_each(members(c0)), p), c1))` needs one look per edge the first time, a look-up then.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from zoo.knowledge.grammar import (
    MAX_TOKENS,
    Apply,
    Class,
    Entities,
    Entity,
    Form,
    FormError,
    Number,
    Property,
    typecheck,
)
from zoo.knowledge.graph import EMPTY, Ids, KnowledgeGraph, Literal
from zoo.registry import ZooError

LIMIT = 1_000_000  # entities of an answer
WORK = 20_000_000  # pairs of a parallel set, or targets looked at for a plain one
CACHE = 128 << 20  # bytes of class masks, and again of counts
SMALL = 64  # sets up to this size in all are merged as Python sets, which costs less than a call of numpy


class ExecutionError(ZooError):
    """A form that cannot be run: ill-typed, about something unknown, or with too large an answer."""


# Answers.


@dataclass(frozen=True, slots=True, eq=False)
class EntitySet:
    ids: Ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EntitySet) and np.array_equal(self.ids, other.ids)

    def __hash__(self) -> int:
        return hash(self.ids.tobytes())

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class NumberValue:
    """nan is the greatest or least of no values; `text` is the value as the graph writes it, such as a date."""

    value: int | float
    text: str = ""


@dataclass(frozen=True, slots=True)
class Boolean:
    value: bool


@dataclass(frozen=True, slots=True)
class ValueSet:
    literals: tuple[Literal, ...]

    def __len__(self) -> int:
        return len(self.literals)


@dataclass(frozen=True, slots=True)
class Pair:
    first: Boolean | NumberValue
    second: Boolean | NumberValue


Value: TypeAlias = EntitySet | NumberValue | Boolean | ValueSet | Pair


# What is computed with. A plain set is its ids, a plain number or truth value Python's own.


class Branches(NamedTuple):
    """A set for each of `keys`: pairs (row, id) ascending and distinct, row being the branch's place in keys."""

    keys: Ids
    rows: NDArray[np.int64]
    ids: Ids


class Numbers(NamedTuple):
    keys: Ids
    values: NDArray[Any]


class Truths(NamedTuple):
    keys: Ids
    values: NDArray[np.bool_]


class Values(NamedTuple):
    """Places in the graph's table of literals."""

    ids: Ids


class ValueBranches(NamedTuple):
    branches: Branches


class Measured(float):
    """A number that remembers how the graph writes it."""

    text: str


Part = TypeVar("Part", Numbers, Truths)
FOLLOW = {"follow_property": "forward", "follow_backward": "backward"}
NUMBERS = (int, float, Measured)


def _approx(v: Any, w: Any) -> Any:
    if w.__class__ is np.ndarray:
        return abs(w - float(v) if v.__class__ is not np.ndarray else w - v) <= np.maximum(1, np.floor(0.2 * w + 0.5))
    w = float(w)
    return abs(v - w) <= max(1, math.floor(0.2 * w + 0.5) if math.isfinite(w) else w)


COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "greater_than": operator.gt,
    "lesser_than": operator.lt,
    "equals": operator.eq,
    "atleast": operator.ge,
    "atmost": operator.le,
    "approx": _approx,
}


class _Store(dict[Any, Any]):
    """Arrays under keys, at most CACHE bytes of them: the oldest go first."""

    size = 0

    def keep(self, key: Any, value: Any, size: int) -> Any:
        self.size += size
        self[key] = value, size
        while self.size > CACHE and len(self) > 1:
            self.size -= self.pop(next(iter(self)))[1]
        return value


class Executor:
    """Runs forms on one graph.

    What it keeps between forms are marks of the members of classes and counts per branch of a class; `forget` drops them.
    """

    def __init__(self, graph: KnowledgeGraph):
        self.graph = graph
        self._run: dict[str, Callable[..., Any]] = {
            "members": self._members,
            "keep": self._keep,
            "union": self._union,
            "intersection": self._intersection,
            "difference": self._difference,
            "cardinality": self._cardinality,
            "is_in": self._is_in,
            "for_each": self._for_each,
            "arg": self._arg,
            "argmax": partial(self._extreme, np.max),
            "argmin": partial(self._extreme, np.min),
            "pair": self._pair,
            "clarify": self._plain_set,
            "get_value": self._get_value,
            "get_first": self._get_first,
            "max": partial(self._extreme_value, -1),
            "min": partial(self._extreme_value, 0),
        }
        self._run |= {name: partial(self._follow, direction) for name, direction in FOLLOW.items()}
        self._run |= {name: partial(self._compare, compare) for name, compare in COMPARISONS.items()}
        self.forget()

    def forget(self) -> None:
        """Drops what was kept, so that the next form is run cold."""
        self._masks = _Store()
        self._counts = _Store()

    def run(self, form: Form, limit: int = LIMIT) -> Value:
        """The form's value.

        Args:
            limit: on the number of entities or values in the answer.

        Raises:
            ExecutionError: one sentence: the form is ill-typed, names what the graph does not have, or has too large an answer.
        """
        self._steps = 0
        try:
            found = self._value(form)
            kind = found.__class__
            if kind is np.ndarray:
                if len(found) > limit:
                    raise ExecutionError(f"The answer has {len(found):,} entities, more than the limit of {limit:,}.")
                return EntitySet(found)
            if kind is bool:
                return Boolean(found)
            if kind is int or kind is float:
                return NumberValue(found)
            if kind is Measured:
                return NumberValue(float(found), found.text)
            if kind is tuple:
                return Pair(*(Boolean(one) if one.__class__ is bool else _number_value(one) for one in found))
            if kind is Values:
                if len(found.ids) > limit:
                    raise ExecutionError(f"The answer has {len(found.ids):,} values, more than the limit of {limit:,}.")
                return ValueSet(tuple(self.graph.literals(found.ids)))
            raise TypeError(f"{kind} is no answer")
        except ZooError:
            raise
        except Exception:  # an ill-typed form stumbles anywhere; if it is not that, it is our mistake
            try:
                kind = typecheck(form)
            except FormError as error:
                raise ExecutionError(str(error)) from None
            if not isinstance(form, Apply) and not isinstance(form, (Entity, Entities, Number)):
                raise ExecutionError(f"A form's value cannot be {kind.words}.") from None
            raise

    def _value(self, form: Form) -> Any:
        kind = form.__class__
        if kind is Apply:
            self._steps += 1
            if self._steps > MAX_TOKENS:
                raise TypeError("too long")
            return self._run[form.operator](*form.arguments)  # type: ignore[union-attr]
        if kind is Entity:
            return np.array((self._entity(form),), np.int32)
        if kind is Number:
            value = form.value  # type: ignore[union-attr]
            if (value.__class__ is int or value.__class__ is float) and abs(value) < 1e300:
                return value
        if kind is Entities:
            return self._set_constant(form.ids)  # type: ignore[union-attr]
        raise TypeError(f"{form!r:.60} is no value")

    # Constants.

    def _entity(self, constant: Any) -> int:
        id = constant.id
        if 0 <= id < self.graph.entities:
            return id
        raise ExecutionError(f"The graph has no entity {id}: it has {self.graph.entities:,}, numbered from 0.")

    def _property(self, constant: Any) -> int:
        if constant.__class__ is not Property:
            raise TypeError("no property")
        if 0 <= constant.id < self.graph.properties:
            return constant.id
        raise ExecutionError(f"The graph has no property {constant.id}: it has {self.graph.properties:,}.")

    def _class(self, constant: Any) -> int:
        if constant.__class__ is not Class:
            raise TypeError("no class")
        if 0 <= constant.id < self.graph.classes:
            return constant.id
        raise ExecutionError(f"The graph has no class {constant.id}: it has {self.graph.classes:,}.")

    def _set_constant(self, ids: Any) -> Ids:
        if ids.__class__ is not tuple:
            raise TypeError("no tuple")
        if not ids:
            return EMPTY
        ordered = sorted(set(ids))
        for id in (ordered[0], ordered[-1]):
            if not 0 <= id < self.graph.entities:
                raise ExecutionError(f"The graph has no entity {id}: it has {self.graph.entities:,}, numbered from 0.")
        return np.array(ordered, np.int32)

    # Classes.

    def _mask(self, class_: int) -> NDArray[np.bool_]:
        """A mark for each entity: whether it is a member."""
        known = self._masks.get(class_)
        if known is not None:
            return known[0]
        mask = np.zeros(self.graph.entities, bool)
        mask[self.graph.members(class_)] = True
        return self._masks.keep(class_, mask, mask.nbytes)

    def _of_class(self, ids: Ids, class_: int) -> NDArray[np.bool_]:
        """Which of the ids are members."""
        known = self._masks.get(class_)
        if known is not None:
            return known[0].take(ids)
        if 64 * len(ids) < self.graph.entities > 100_000:  # a mark for every entity of a large graph, for a few ids
            return _inside(ids, self.graph.members(class_))
        return self._mask(class_).take(ids)

    def _members(self, c: Form) -> Ids:
        return self.graph.members(self._class(c))

    def _keep(self, x: Form, c: Form) -> Ids | Branches:
        found = self._set(x)
        class_ = self._class(c)
        if found.__class__ is Branches:
            kept = self._of_class(found.ids, class_)
            return Branches(found.keys, found.rows[kept], found.ids[kept])
        return found[self._of_class(found, class_)]

    # Sets.

    def _set(self, form: Form) -> Any:
        found = self._value(form)
        if found.__class__ is not np.ndarray and found.__class__ is not Branches:
            raise TypeError("no set")
        return found

    def _plain_set(self, form: Form) -> Ids:
        found = self._value(form)
        if found.__class__ is not np.ndarray:
            raise TypeError("no plain set")
        return found

    def _follow(self, direction: str, x: Form, p: Form) -> Ids | Branches:
        property = self._property(p)
        if x.__class__ is Entity:
            return self.graph.targets(self._entity(x), property, direction)
        found = self._set(x)
        if found.__class__ is Branches:
            return self._follow_branches(found, property, direction)
        return self._follow_set(found, property, direction)

    def _follow_set(self, sources: Ids, property: int, direction: str) -> Ids:
        if len(sources) <= 8:
            parts = [self.graph.targets(source, property, direction) for source in sources.tolist()]
            parts = [part for part in parts if len(part)]
            if len(parts) < 2:
                return parts[0] if parts else EMPTY
            if sum(map(len, parts)) <= SMALL:
                return np.array(sorted({id for part in parts for id in part.tolist()}), np.int32)
            return self._distinct(np.concatenate(parts))
        return self._distinct(self._edges_of(sources, property, direction)[1])

    def _follow_branches(self, found: Branches, property: int, direction: str) -> Branches:
        at, ids = self._edges_of(found.ids, property, direction)
        rows = found.rows[at]
        if len(found.rows) > 1 and not (found.rows[1:] > found.rows[:-1]).all():  # several sources may share a target
            rows, ids = _unpacked(_distinct_codes(_packed(rows, ids)))
        return Branches(found.keys, rows, ids)

    def _edges_of(self, sources: Ids, property: int, direction: str) -> tuple[NDArray[np.int64], Ids]:
        edges = self.graph.edges(property, direction)
        which, places = edges.places(sources)
        if len(places) > SMALL and edges.count(places) > WORK:
            raise ExecutionError(f"A step of the form would look at more than {WORK:,} triples.")
        index, ids = edges.at(places)
        return which.take(index), ids

    def _distinct(self, ids: Ids) -> Ids:
        if 16 * len(ids) > self.graph.entities:
            seen = np.zeros(self.graph.entities, bool)
            seen[ids] = True
            return np.flatnonzero(seen).astype(np.int32)
        return _distinct_sorted(np.sort(ids))

    def _union(self, x: Form, y: Form) -> Ids | Branches:
        a, b = self._set(x), self._set(y)
        if a.__class__ is Branches or b.__class__ is Branches:
            keys, one, other = self._joined(a, b)
            return Branches(keys, *_unpacked(_distinct_codes(np.concatenate((one, other)))))
        return _merged(a, b)

    def _intersection(self, x: Form, y: Form) -> Ids | Branches:
        a, b = self._set(x), self._set(y)
        if a.__class__ is Branches and b.__class__ is Branches:
            keys, one, other = self._joined(a, b)
            return Branches(keys, *_unpacked(one[_inside(one, other)]))
        if b.__class__ is Branches:
            a, b = b, a
        if a.__class__ is Branches:
            kept = _inside(a.ids, b)
            return Branches(a.keys, a.rows[kept], a.ids[kept])
        return _common(a, b)

    def _difference(self, x: Form, y: Form) -> Ids | Branches:
        a, b = self._set(x), self._set(y)
        if b.__class__ is Branches:
            keys, one, other = self._joined(a, b)
            return Branches(keys, *_unpacked(one[~_inside(one, other)]))
        if a.__class__ is Branches:
            kept = ~_inside(a.ids, b)
            return Branches(a.keys, a.rows[kept], a.ids[kept])
        if len(a) + len(b) <= SMALL:
            return np.array(sorted(set(a.tolist()).difference(b.tolist())), np.int32)
        return a[~_inside(a, b)]

    def _joined(self, a: Ids | Branches, b: Ids | Branches) -> tuple[Ids, NDArray[np.int64], NDArray[np.int64]]:
        """The branches that both have, and the packed pairs of each; a plain set stands in every branch."""
        if isinstance(a, Branches) and isinstance(b, Branches):
            if a.keys is b.keys or np.array_equal(a.keys, b.keys):
                return a.keys, _packed(a.rows, a.ids), _packed(b.rows, b.ids)
            keys = _common(a.keys, b.keys)
            return keys, _renumbered(a, keys), _renumbered(b, keys)
        if isinstance(a, Branches):
            return a.keys, _packed(a.rows, a.ids), _spread(len(a.keys), np.asarray(b))
        assert isinstance(b, Branches)
        return b.keys, _spread(len(b.keys), a), _packed(b.rows, b.ids)

    # Branches.

    def _for_each(self, x: Form) -> Branches:
        ids = self._plain_set(x)
        return Branches(ids, np.arange(len(ids)), ids)

    def _arg(self, b: Form) -> Ids:
        found = self._value(b)
        if found.__class__ is not Truths:
            raise TypeError("no truth values per branch")
        return found.keys.compress(found.values)

    def _extreme(self, reduce: Callable[[Any], Any], v: Form) -> Ids:
        found = self._value(v)
        if found.__class__ is not Numbers:
            raise TypeError("no numbers per branch")
        if not len(found.keys):
            return EMPTY
        return found.keys.compress(found.values == reduce(found.values))

    # Numbers and truth values.

    def _cardinality(self, x: Form) -> int | Numbers:
        if x.__class__ is Apply:
            counted = _counted(x)
            if counted is not None:
                return self.counts(*counted)
        found = self._set(x)
        if found.__class__ is Branches:
            counts = np.bincount(found.rows, minlength=len(found.keys))
            some = counts > 0
            return Numbers(found.keys[some], counts[some])
        return len(found)

    def counts(self, property: int, direction: str, base: int, classes: tuple[int, ...]) -> Numbers:
        """Members of a class with their numbers of targets, all or those of one of two classes, where it is not zero.

        The value of cardinality(keep(F(for_each(members(base)), property), class)), kept for the next form.
        """
        known = self._counts.get((property, direction, base, classes))
        return known[0] if known is not None else self._count((property, direction, base, classes))

    def _count(self, counted: tuple[int, str, int, tuple[int, ...]]) -> Numbers:
        property, direction, base, classes = counted
        property, base = self._property(Property(property)), self._class(Class(base))
        classes = tuple(self._class(Class(one)) for one in classes)
        members = self.graph.members(base)
        edges = self.graph.edges(property, direction)
        if 16 * len(members) < len(edges.sources):  # few of many
            places = edges.places(members)[1]
        else:
            places = np.flatnonzero(self._of_class(edges.sources, base))
        sources = edges.sources.take(places)
        if not classes:
            counts = edges.starts.take(places + 1) - edges.starts.take(places)
        elif 4 * len(places) < len(edges.sources):
            at, ids = edges.at(places)
            counts = np.bincount(at[self._of_classes(ids, classes)], minlength=len(places))
        else:  # the whole block
            before = np.zeros(len(edges.targets) + 1, np.int32)
            np.cumsum(self._of_classes(edges.targets, classes), out=before[1:])
            counts = before.take(edges.starts.take(places + 1)) - before.take(edges.starts.take(places))
        some = np.flatnonzero(counts)
        numbers = Numbers(sources[some], counts[some])
        return self._counts.keep(counted, numbers, numbers.keys.nbytes + numbers.values.nbytes)

    def _of_classes(self, ids: Ids, classes: tuple[int, ...]) -> NDArray[np.bool_]:
        marks = self._of_class(ids, classes[0])
        for class_ in classes[1:]:
            marks |= self._of_class(ids, class_)
        return marks

    def _number(self, form: Form) -> Any:
        found = self._value(form)
        if found.__class__ not in NUMBERS and found.__class__ is not Numbers:
            raise TypeError("no number")
        return found

    def _compare(self, compare: Callable[[Any, Any], Any], v: Form, w: Form) -> bool | Truths:
        a, b = self._number(v), self._number(w)
        if a.__class__ is Numbers:
            if b.__class__ is Numbers:
                a, b = _matched(a, b)
                return Truths(a.keys, compare(a.values, b.values))
            return Truths(a.keys, compare(a.values, b))
        if b.__class__ is Numbers:
            return Truths(b.keys, compare(a, b.values))
        return bool(compare(a, b))

    def _is_in(self, x: Form, y: Form) -> bool | Truths:
        if x.__class__ is Entity:
            b = self._set(y)
            entity = self._entity(x)
            if b.__class__ is not Branches:
                at = bisect_left(b.data, entity)
                return bool(at < len(b) and b[at] == entity)
            a: Any = np.array((entity,), np.int32)
        else:
            a, b = self._set(x), self._set(y)
        if b.__class__ is Branches:
            keys, one, other = self._joined(a, b)
            missing = _unpacked(one[~_inside(one, other)])[0]
        elif a.__class__ is Branches:
            keys, missing = a.keys, a.rows[~_inside(a.ids, b)]
        else:
            return len(_common(a, b)) == len(a)
        truths = np.ones(len(keys), bool)
        truths[missing] = False
        return Truths(keys, truths)

    def _pair(self, a: Form, b: Form) -> tuple[Any, Any]:
        first, second = self._value(a), self._value(b)
        kinds = tuple("truth" if one.__class__ is bool else "number" for one in (first, second))
        plain = all(one.__class__ is bool or one.__class__ in NUMBERS for one in (first, second))
        if not plain or kinds[0] != kinds[1]:
            raise TypeError("no pair")
        return first, second

    # Literals.

    def _get_value(self, x: Form, p: Form) -> Values | ValueBranches:
        property = self._property(p)
        found = self._set(x)
        if found.__class__ is Branches:
            return ValueBranches(self._follow_branches(found, property, "literal"))
        at = self._edges_of(found, property, "literal")[1]
        return Values(_distinct_sorted(np.sort(at)))

    def _extreme_value(self, end: int, s: Form) -> float | Numbers:
        found = self._value(s)
        keys = self.graph.arrays["literal_keys"]
        if found.__class__ is Values:
            numbers = found.ids[found.ids < self.graph.first_text]
            if not len(numbers):
                return math.nan
            (literal,) = self.graph.literals([numbers[end]])
            number = Measured(literal.key)
            number.text = literal.text
            return number
        if found.__class__ is not ValueBranches:
            raise TypeError("no values")
        branches = found.branches
        ordered = branches.ids < self.graph.first_text
        rows, ids = branches.rows[ordered], branches.ids[ordered]
        ends = np.flatnonzero(np.diff(rows, append=-1) if end else np.diff(rows, prepend=-1))
        return Numbers(branches.keys[rows[ends]], keys[ids[ends]])

    def _get_first(self, x: Form) -> Ids | Branches:
        found = self._set(x)
        earliest = self.graph.earliest
        if found.__class__ is Branches:
            order = np.lexsort((found.ids, earliest[found.ids], found.rows))
            rows = found.rows[order]
            first = np.flatnonzero(np.diff(rows, prepend=-1))
            return Branches(found.keys, rows[first], found.ids[order[first]])
        return found[[np.argmin(earliest[found])]] if len(found) else EMPTY


def _number_value(number: Any) -> NumberValue:
    return NumberValue(float(number), number.text) if number.__class__ is Measured else NumberValue(number)


def _counted(form: Any) -> tuple[int, str, int, tuple[int, ...]] | None:
    """(property, direction, base class, counted classes) of G, keep(G, c) and union(keep(G, c), keep(G, d)),
    G = F(for_each(members(base)), property); None for other forms."""
    name = form.operator
    if name == "union":
        if len(form.arguments) != 2:
            return None
        one, other = form.arguments
        if (
            one.__class__ is not Apply
            or one.operator != "keep"
            or other.__class__ is not Apply
            or other.operator != "keep"
        ):
            return None
        first, second = _counted(one), _counted(other)
        if first is None or second is None or first[:3] != second[:3]:
            return None
        classes = (*first[3], *second[3])
        return (*first[:3], classes if classes[0] < classes[1] else classes[::-1])
    classes = ()
    if name == "keep":
        if len(form.arguments) != 2 or form.arguments[1].__class__ is not Class:
            return None
        form, c = form.arguments
        classes = (c.id,)
        if form.__class__ is not Apply:
            return None
        name = form.operator
    direction = FOLLOW.get(name)
    if direction is None or len(form.arguments) != 2:
        return None
    x, p = form.arguments
    if x.__class__ is not Apply or x.operator != "for_each" or len(x.arguments) != 1 or p.__class__ is not Property:
        return None
    (m,) = x.arguments
    if (
        m.__class__ is not Apply
        or m.operator != "members"
        or len(m.arguments) != 1
        or m.arguments[0].__class__ is not Class
    ):
        return None
    return p.id, direction, m.arguments[0].id, classes


# Ascending arrays.


def _distinct_sorted(ids: NDArray[Any]) -> NDArray[Any]:
    if len(ids) < 2:
        return ids
    new = np.empty(len(ids), bool)
    new[0] = True
    np.not_equal(ids[1:], ids[:-1], out=new[1:])
    return ids[new]


def _distinct_codes(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    codes.sort(kind="stable")
    return _distinct_sorted(codes)


def _inside(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of a are in b; b ascends."""
    if not len(b):
        return np.zeros(len(a), bool)
    at = b.searchsorted(a)
    at[at == len(b)] = 0
    return b[at] == a


def _merged(a: Ids, b: Ids) -> Ids:
    if not len(a):
        return b
    if not len(b):
        return a
    if len(a) + len(b) <= SMALL:
        return np.array(sorted({*a.tolist(), *b.tolist()}), np.int32)
    both = np.concatenate((a, b))
    both.sort(kind="stable")
    return _distinct_sorted(both)


def _common(a: Ids, b: Ids) -> Ids:
    if len(a) > len(b):
        a, b = b, a
    if not len(a):
        return EMPTY
    if len(a) + len(b) <= SMALL:
        return np.array(sorted(set(a.tolist()).intersection(b.tolist())), np.int32)
    return a[_inside(a, b)]


# Pairs (row, id) packed into one int64, in the same order.


def _packed(rows: NDArray[np.int64], ids: Ids) -> NDArray[np.int64]:
    return rows << 32 | ids


def _unpacked(codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], Ids]:
    return codes >> 32, (codes & 0xFFFFFFFF).astype(np.int32)


def _renumbered(found: Branches, keys: Ids) -> NDArray[np.int64]:
    """The pairs of those branches that are in keys, rows being places in keys."""
    kept = _inside(found.keys, keys)
    place = np.cumsum(kept) - 1
    inside = kept[found.rows]
    return _packed(place[found.rows[inside]], found.ids[inside])


def _spread(branches: int, ids: Ids) -> NDArray[np.int64]:
    """The same set in every branch."""
    if branches * len(ids) > WORK:
        raise ExecutionError(f"A step of the form would put {len(ids):,} entities into each of {branches:,} branches.")
    return _packed(np.repeat(np.arange(branches), len(ids)), np.tile(ids, branches))


def _matched(a: Part, b: Part) -> tuple[Part, Part]:
    """The branches that both have."""
    if a.keys is b.keys or np.array_equal(a.keys, b.keys):
        return a, b
    one, other = _inside(a.keys, b.keys), _inside(b.keys, a.keys)
    return type(a)(a.keys[one], a.values[one]), type(b)(b.keys[other], b.values[other])
