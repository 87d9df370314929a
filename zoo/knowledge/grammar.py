"""Logical forms: typed operator trees over a knowledge graph, and their ways of being written.

    form    argmax(cardinality(keep(follow_backward(for_each(members(C515)), P19), C5)))
    tokens  argmax cardinality keep follow_backward for_each members C515 P19 C5

The parallel rule: `for_each(X)` opens one branch {e} per e in X; operators then map over the branches, two parallel arguments
are joined on the branch entity, and `arg`, `argmax`, `argmin` close the branches to a set of branch entities. `cardinality`
drops branches whose set is empty, `max` and `min` those without a value.

Ids in a form are the graph's dense numbers. `Names` are what turns them into words and back: a `KnowledgeGraph`, or `NUMBERED`.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import count
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from zoo.registry import ZooError

MAX_DEPTH = 64  # of a form's tree
MAX_TOKENS = 1024
NEVER = 10**6  # tokens of a form that does not exist
MAX_CHARACTERS = 1_000_000  # of a form's text; the sets of previous answers may be large


class FormError(ZooError):
    """A logical form that is not one; says which operator wants what."""


class Type(Enum):
    ENTITY = "E"  # stands for its singleton wherever a set is wanted
    ENTITIES = "SE"
    PROPERTY = "P"
    CLASS = "C"
    NUMBER = "V"
    VALUES = "SV"
    BOOLEAN = "B"
    LIST = "list"

    @property
    def words(self) -> str:
        return WORDS[self]


WORDS = {
    Type.ENTITY: "one entity",
    Type.ENTITIES: "a set of entities",
    Type.PROPERTY: "a property",
    Type.CLASS: "a class",
    Type.NUMBER: "a number",
    Type.VALUES: "a set of values",
    Type.BOOLEAN: "a truth value",
    Type.LIST: "a list of answers",
}
ANSWERS = (Type.ENTITIES, Type.NUMBER, Type.BOOLEAN, Type.VALUES, Type.LIST)


@dataclass(frozen=True)
class Operator:
    """A row of the grammar's table.

    Attributes:
        arguments, result: its signature.
        parallel: "maps" over branches, "opens" or "closes" them, or takes plain arguments only ("never").
        alternative: a second tuple of arguments with the same result, if there is one.
    """

    name: str
    arguments: tuple[Type, ...]
    result: Type
    parallel: Literal["maps", "opens", "closes", "never"] = "maps"
    alternative: tuple[Type, ...] | None = None

    @property
    def signatures(self) -> tuple[tuple[Type, ...], ...]:
        return (self.arguments,) if self.alternative is None else (self.arguments, self.alternative)


Table: TypeAlias = Mapping[str, Operator]
_E, _SE, _P, _C, _V, _SV, _B = list(Type)[:7]


def _table(*operators: Operator) -> dict[str, Operator]:
    return {operator.name: operator for operator in operators}


OPERATORS: Table = _table(
    Operator("follow_property", (_SE, _P), _SE),  # {o : s in X, (s, p, o) in K}
    Operator("follow_backward", (_SE, _P), _SE),  # {s : o in X, (s, p, o) in K}
    Operator("get_value", (_SE, _P), _SV),
    Operator("members", (_C,), _SE, "never"),
    Operator("keep", (_SE, _C), _SE),
    Operator("union", (_SE, _SE), _SE),
    Operator("intersection", (_SE, _SE), _SE),
    Operator("difference", (_SE, _SE), _SE),
    Operator("cardinality", (_SE,), _V),
    Operator("greater_than", (_V, _V), _B),
    Operator("lesser_than", (_V, _V), _B),
    Operator("equals", (_V, _V), _B),
    Operator("atleast", (_V, _V), _B),
    Operator("atmost", (_V, _V), _B),
    Operator("approx", (_V, _V), _B),  # |v - w| <= max(1, round(0.2 w)), halves rounded up
    Operator("max", (_SV,), _V),
    Operator("min", (_SV,), _V),
    Operator("get_first", (_SE,), _E),  # the one of the earliest date, of the smallest id among equals
    Operator("is_in", (_SE, _SE), _B),
    Operator("for_each", (_SE,), _SE, "opens"),
    Operator("arg", (_B,), _SE, "closes"),
    Operator("argmax", (_V,), _SE, "closes"),
    Operator("argmin", (_V,), _SE, "closes"),
    Operator("pair", (_B, _B), Type.LIST, "never", (_V, _V)),
    Operator("clarify", (_SE,), _SE, "never"),
)

# What Dialog-to-Action's grammar can say, in the same words: find, filter, set algebra, per-entity counts of one type compared by
# >, <, = or reduced by argmax, argmin, the number of a set, and one entity in a set. Set algebra inside for_each, which makes
# two counted types, is what `parallel` forbids.
RESTRICTED: Table = _table(
    *(
        OPERATORS[name]
        for name in (
            *("follow_property", "follow_backward", "members", "keep", "cardinality"),
            *("greater_than", "lesser_than", "equals", "for_each", "arg", "argmax", "argmin"),
        )
    ),
    Operator("union", (_SE, _SE), _SE, "never"),
    Operator("intersection", (_SE, _SE), _SE, "never"),
    Operator("difference", (_SE, _SE), _SE, "never"),
    Operator("is_in", (_E, _SE), _B, "never"),
)


# Forms.


@dataclass(frozen=True, slots=True)
class Entity:
    id: int


@dataclass(frozen=True, slots=True)
class Entities:
    """A set constant, such as the previous answer."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Property:
    id: int


@dataclass(frozen=True, slots=True)
class Class:
    id: int


@dataclass(frozen=True, slots=True)
class Number:
    value: int | float


@dataclass(frozen=True, slots=True)
class Apply:
    operator: str
    arguments: tuple[Form, ...]


Constant: TypeAlias = Entity | Entities | Property | Class | Number
Form: TypeAlias = Apply | Entity | Entities | Property | Class | Number
Token: TypeAlias = str | Entity | Entities | Property | Class | Number
CONSTANTS: dict[type, Type] = {
    Entity: Type.ENTITY,
    Entities: Type.ENTITIES,
    Property: Type.PROPERTY,
    Class: Type.CLASS,
    Number: Type.NUMBER,
}


def apply(operator: str, *arguments: Form) -> Apply:
    """apply("keep", x, c) is Apply("keep", (x, c))."""
    return Apply(operator, arguments)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _check_constant(constant: Any) -> Type:
    kind = CONSTANTS.get(type(constant))
    if kind is None:
        raise FormError(
            f"A form is made of operators and constants, not of {type(constant).__name__} {constant!r:.60}."
        )
    if kind is Type.NUMBER:
        value = constant.value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e300:  # nan is not
            raise FormError(f"Number wants a finite number, got {value!r:.60}.")
    elif kind is Type.ENTITIES:
        if not isinstance(constant.ids, tuple) or not all(_is_id(one) for one in constant.ids):
            raise FormError(f"Entities wants a tuple of ids, got {constant.ids!r:.60}.")
    elif not _is_id(constant.id):
        raise FormError(f"{type(constant).__name__} wants an id from 0, got {constant.id!r:.60}.")
    return kind


def fits(kind: Type, wanted: Type) -> bool:
    """Whether a value of type `kind` may stand where `wanted` is."""
    return kind is wanted or (kind is Type.ENTITY and wanted is Type.ENTITIES)


def _said(kind: Type, parallel: bool) -> str:
    return f"{kind.words} per branch" if parallel else kind.words


def _operator(name: Any, table: Table) -> Operator:
    if isinstance(name, str) and name in table:
        return table[name]
    if isinstance(name, str) and name in OPERATORS:
        raise FormError(f"The restricted grammar has no operator {name}.")
    near = difflib.get_close_matches(name[:60], table, 1) if isinstance(name, str) else []
    raise FormError(f"No operator is called {name!r:.60}" + (f"; is it {near[0]}?" if near else "."))


def infer(form: Form, table: Table = OPERATORS) -> tuple[Type, bool]:
    """The form's type, and whether it is parallel: a for_each in it is not closed.

    Raises:
        FormError: one sentence that names the operator, what it wants and what it got.
    """
    return _infer(form, table, 1, count(1))


def _infer(form: Form, table: Table, depth: int, tokens: Iterator[int]) -> tuple[Type, bool]:
    if next(tokens) > MAX_TOKENS:
        raise FormError(f"A form may have {MAX_TOKENS} tokens, this one has more.")
    if type(form) is not Apply:
        return _check_constant(form), False
    if depth > MAX_DEPTH:
        raise FormError(f"A form may be {MAX_DEPTH} operators deep, this one is deeper.")
    operator = _operator(form.operator, table)
    if not isinstance(form.arguments, tuple):
        raise FormError(f"The arguments of {operator.name} want to be a tuple, got {type(form.arguments).__name__}.")
    if len(form.arguments) != len(operator.arguments):
        raise FormError(f"{operator.name} wants {_count(len(operator.arguments))}, got {len(form.arguments)}.")
    got = [_infer(argument, table, depth + 1, tokens) for argument in form.arguments]
    fitting = [
        wanted
        for wanted in operator.signatures
        if all(fits(kind, want) for (kind, _), want in zip(got, wanted, strict=True))
    ]
    if not fitting:
        if operator.alternative:
            pairs = " or ".join(f"{wanted[0].words} twice" for wanted in operator.signatures)
            raise FormError(f"{operator.name} wants {pairs}, got {' and '.join(kind.words for kind, _ in got)}.")
        at = next(
            i for i, (one, want) in enumerate(zip(got, operator.arguments, strict=True)) if not fits(one[0], want)
        )
        raise FormError(
            f"{operator.name} wants {operator.arguments[at].words} as argument {at + 1}, got {_said(*got[at])}."
        )
    parallel = any(one for _, one in got)
    if operator.parallel == "closes":
        if not parallel:
            raise FormError(
                f"{operator.name} wants {_said(operator.arguments[0], True)} of a for_each, got a plain one."
            )
        return operator.result, False
    if parallel and operator.parallel == "opens":
        raise FormError(f"{operator.name} wants a plain set, got one per branch: close the inner for_each first.")
    if parallel and operator.parallel == "never":
        raise FormError(f"{operator.name} wants plain arguments, got one per branch of a for_each.")
    return operator.result, parallel or operator.parallel == "opens"


def _count(arguments: int) -> str:
    return f"{arguments} argument{'s' * (arguments != 1)}"


def typecheck(form: Form, table: Table = OPERATORS) -> Type:
    """The type of a whole form.

    Raises:
        FormError: as `infer`, or a for_each that nothing closes.
    """
    kind, parallel = infer(form, table)
    if parallel:
        raise FormError("A for_each is open: close it with arg, argmax or argmin.")
    return kind


def operators_of(form: Form) -> list[str]:
    """Names of the operators in prefix order."""
    return [token for token in linearise(form) if isinstance(token, str)]


# Prefix order.


def linearise(form: Form) -> list[Token]:
    """The form in prefix order, without brackets: names of operators, and constants."""
    tokens: list[Token] = []
    waiting = [form]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Apply):
            tokens.append(one.operator)
            waiting.extend(reversed(one.arguments))
        else:
            tokens.append(one)
    return tokens


class Want(NamedTuple):
    """What may come next: a value of one of `types`, which must be parallel (True), must not (False), or may (None)."""

    types: frozenset[Type]
    parallel: bool | None


class _Frame(NamedTuple):
    operator: Operator
    signatures: tuple[tuple[Type, ...], ...]  # those that the arguments so far allow
    arguments: tuple[Form, ...]
    wanted: bool | None  # whether the operator's own value must be parallel
    parallel: bool  # whether one of the arguments so far is

    def want(self) -> Want:
        at = len(self.arguments)
        types = frozenset(signature[at] for signature in self.signatures)
        if self.operator.parallel == "closes":
            return Want(types, True)
        if self.operator.parallel != "maps" or not any(map(_branches, types)):
            return Want(types, False)
        if not self.wanted or self.parallel:
            return Want(types, self.wanted and None)
        later = any(_branches(one) for one in self.signatures[0][at + 1 :])
        return Want(types, None if later else True)

    def costs(self, shortest: Shortest, current: tuple[int, int] | None, kind: Type | None) -> tuple[int, int]:
        """Least tokens to come until the operator's value is whole, if it becomes plain and if it becomes parallel.

        current: the same of the argument that is being written, and `kind` its type; None if it is not begun.
        """
        at, best = len(self.arguments), (NEVER, NEVER)
        for signature in self.signatures:
            costs = [(shortest.get((kind, False), NEVER), shortest.get((kind, True), NEVER)) for kind in signature[at:]]
            if current is not None and kind is not None:
                costs[0] = current if fits(kind, signature[at]) else (NEVER, NEVER)
            one = _value_costs(self.operator, costs, self.parallel)
            best = min(best[0], one[0]), min(best[1], one[1])
        return best


def _branches(kind: Type) -> bool:
    return kind is not Type.PROPERTY and kind is not Type.CLASS


def _value_costs(operator: Operator, arguments: Sequence[tuple[int, int]], parallel: bool = False) -> tuple[int, int]:
    """Sums of the arguments' costs (plain, parallel), for the operator's value to be plain and to be parallel."""
    plain, branched = (NEVER, 0) if parallel else (0, NEVER)
    for without, within in arguments:
        plain, branched = plain + without, min(branched + min(without, within), plain + within)
    if operator.parallel == "closes":
        return min(branched, NEVER), NEVER
    if operator.parallel == "opens":
        return NEVER, min(plain, NEVER)
    return min(plain, NEVER), min(branched, NEVER) if operator.parallel == "maps" else NEVER


class Prefix:
    """The beginning of a form in prefix order: knows what may come next. `push` gives a longer one and changes nothing, so that
    the beams of a search share their beginnings.

    Attributes:
        form: the whole form, once nothing is missing.
        want: what comes next, None once nothing is missing.
        length: tokens so far.
    """

    __slots__ = ("_frames", "_kind", "form", "length", "table", "want")

    def __init__(self, table: Table = OPERATORS, kinds: Iterable[Type] = ANSWERS):
        self.table, self.length = table, 0
        self.form: Form | None = None
        self.want: Want | None = Want(frozenset(kinds), False)
        self._frames: tuple[_Frame, ...] = ()

    @property
    def state(self) -> tuple[Any, ...]:
        """What may follow depends on this alone: prefixes that differ in constants or in what is closed have one state."""
        frames = (
            (one.operator.name, one.signatures, len(one.arguments), one.wanted, one.parallel) for one in self._frames
        )
        return self.want, *frames

    def accepts(self, token: Token) -> bool:
        """Whether a whole form can begin so: `push(token)` works, and what it then wants can be had."""
        return self._refusal(token) == ""

    def _refusal(self, token: Token) -> str:
        if self.want is None:
            return "The form is whole, and more tokens follow."
        if self.length >= MAX_TOKENS:
            return f"A form may have {MAX_TOKENS} tokens, this one has more."
        types, parallel = self.want
        if isinstance(token, str):
            try:
                operator = _operator(token, self.table)
            except FormError as error:
                return str(error)
            kind, can = operator.result, OPENNESS[operator.parallel]
            if len(self._frames) >= MAX_DEPTH:
                return f"A form may be {MAX_DEPTH} operators deep, this one is deeper."
        else:
            try:
                kind, can = _check_constant(token), (False,)
            except FormError as error:
                return str(error)
        if not any(fits(kind, want) for want in types) or (parallel is not None and parallel not in can):
            wanted = " or ".join(sorted(_said(want, parallel is True) for want in types))
            name = (
                f"argument {len(self._frames[-1].arguments) + 1} of {self._frames[-1].operator.name}"
                if self._frames
                else "a form"
            )
            shown = f"{token} (a plain value)" if kind in types else f"{token} ({kind.words})"
            return f"{name[0].upper()}{name[1:]} wants {wanted}, got {shown}."
        return ""

    def push(self, token: Token) -> Prefix:
        """This prefix and one token more.

        Raises:
            FormError: the token cannot stand here.
        """
        refusal = self._refusal(token)
        if refusal:
            raise FormError(refusal)
        assert self.want is not None
        longer = Prefix.__new__(Prefix)
        longer.table, longer.length, longer.form = self.table, self.length + 1, None
        frames = list(self._frames)
        if isinstance(token, str):
            operator = self.table[token]
            wanted = False if operator.parallel == "closes" else self.want.parallel
            frames.append(_Frame(operator, operator.signatures, (), wanted, False))
        else:
            done: Form = token
            kind, parallel = CONSTANTS[type(token)], False
            while frames:
                frame = frames.pop()
                at = len(frame.arguments)
                frame = frame._replace(
                    signatures=tuple(one for one in frame.signatures if fits(kind, one[at])),
                    arguments=(*frame.arguments, done),
                    parallel=frame.parallel or parallel,
                )
                if at + 1 < len(frame.operator.arguments):
                    frames.append(frame)
                    break
                done, kind = Apply(frame.operator.name, frame.arguments), frame.operator.result
                parallel = frame.operator.parallel == "opens" or (frame.parallel and frame.operator.parallel == "maps")
            else:
                longer.form = done
        longer._frames = tuple(frames)
        longer.want = frames[-1].want() if frames else None
        return longer

    def missing(self, shortest: Shortest) -> int:
        """Tokens that are missing at least, given those of `shortest_forms`; a million or more if it cannot be ended."""
        if self.want is None:
            return 0
        costs: tuple[int, int] | None = None  # of the value being written, if it becomes plain, if it becomes parallel
        kind: Type | None = None
        for frame in reversed(self._frames):
            costs, kind = frame.costs(shortest, costs, kind), frame.operator.result
        if costs is None:
            return min(shortest.get((kind, False), NEVER) for kind in self.want.types)
        return costs[0]


OPENNESS: dict[str, tuple[bool, ...]] = {"maps": (False, True), "opens": (True,), "closes": (False,), "never": (False,)}


def delinearise(tokens: Sequence[Token], table: Table = OPERATORS) -> Form:
    """The form that `linearise` gives these tokens for.

    Raises:
        FormError: too few tokens, too many, or one that cannot stand where it is.
    """
    prefix = Prefix(table)
    for token in tokens:
        prefix = prefix.push(token)
    if prefix.form is None:
        raise FormError(f"The form ends after {prefix.length} tokens and wants more.")
    return prefix.form


# Words.


class Names(Protocol):
    """What things are called. Those that take a name raise a ZooError for an unknown one."""

    def entity(self, name: str) -> int: ...
    def property(self, name: str) -> int: ...
    def class_(self, name: str) -> int: ...
    def entity_name(self, entity: int) -> str: ...
    def property_name(self, property: int) -> str: ...
    def class_name(self, class_: int) -> str: ...
    def label(self, entity: int) -> str: ...
    def property_label(self, property: int) -> str: ...
    def class_label(self, class_: int) -> str: ...


class Numbered:
    """Q7 is entity 7, P7 property 7, and class 7 is called Q7, which a form shows as C7."""

    def _number(self, name: str, letter: str) -> int:
        if not re.fullmatch(rf"{letter}(0|[1-9][0-9]{{0,9}})", name) or int(name[1:]) >= 2**31:
            raise FormError(f"{name:.60} is not {letter} with a number.")
        return int(name[1:])

    def entity(self, name: str) -> int:
        return self._number(name, "Q")

    def property(self, name: str) -> int:
        return self._number(name, "P")

    def class_(self, name: str) -> int:
        return self._number(name, "Q")

    def entity_name(self, entity: int) -> str:
        return f"Q{entity}"

    def property_name(self, property: int) -> str:
        return f"P{property}"

    def class_label(self, class_: int) -> str:
        return f"C{class_}"

    class_name = label = entity_name
    property_label = property_name


NUMBERED = Numbered()
PLAIN_WORD = re.compile(r"[^\W\d][\w.:/#-]*")
SHORT_CLASS = re.compile(r"C(0|[1-9][0-9]*)")
TOKEN = re.compile(
    r"""\s*(?:(?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(?![\w.:/\#-])"""
    r"""|(?P<word>[^\W\d][\w.:/\#-]*)|(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<mark>[(),{}]))""",
    re.VERBOSE,
)


def _word(name: str, is_class: bool) -> str:
    """A name as a form shows it: quoted if it could be taken for something else. A class Q515 is C515."""
    if is_class and re.fullmatch(r"Q(0|[1-9][0-9]*)", name):
        return "C" + name[1:]
    plain = PLAIN_WORD.fullmatch(name) and not (is_class and SHORT_CLASS.fullmatch(name))
    return name if plain else json.dumps(name, ensure_ascii=False)


def _number(value: int | float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))


def constant_text(constant: Constant, names: Names | None = None) -> str:
    """A constant by its name: Q42, {Q42, Q43}, P19, C515, 3."""
    names = names or NUMBERED
    match constant:
        case Entity(id):
            return _word(names.entity_name(id), False)
        case Entities(ids):
            return "{" + ", ".join(_word(names.entity_name(id), False) for id in ids) + "}"
        case Property(id):
            return _word(names.property_name(id), False)
        case Class(id):
            return _word(names.class_name(id), True)
        case Number(value):
            return _number(value)
    raise FormError(f"{constant!r:.60} is not a constant.")


def to_text(form: Form, names: Names | None = None) -> str:
    """keep(follow_property(Q42, P19), C515), with the names of a graph if it is given."""
    if isinstance(form, Apply):
        return f"{form.operator}({', '.join(to_text(argument, names) for argument in form.arguments)})"
    return constant_text(form, names)


def from_text(text: str, names: Names | None = None, table: Table = OPERATORS) -> Form:
    """The form that `to_text` writes so.

    Raises:
        FormError: it cannot be read, is too long or too deep, or is ill-typed.
        ZooError: a name that the graph does not have.
    """
    if len(text) > MAX_CHARACTERS:
        raise FormError(f"The text of a form may have {MAX_CHARACTERS:,} characters, this one has {len(text):,}.")
    form = _Reader(text, names or NUMBERED, table).whole()
    typecheck(form, table)
    return form


class _Reader:
    """Recursive descent. What a word names follows from its place: an operator says what its arguments are."""

    def __init__(self, text: str, names: Names, table: Table):
        self.names, self.table, self.size = names, table, len(text)
        self.tokens: list[tuple[str, str, int]] = []
        at, end = 0, len(text.rstrip())
        while at < end:
            found = TOKEN.match(text, at)
            if found is None:
                start = at + len(text[at:]) - len(text[at:].lstrip())
                raise FormError(f"A form cannot be read at character {start + 1}: {text[start : start + 20]!r}.")
            assert found.lastgroup is not None
            self.tokens.append((found.lastgroup, found[found.lastgroup], found.start(found.lastgroup)))
            at = found.end()
        self.at = 0

    def peek(self) -> tuple[str, str, int]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "", self.size)

    def take(self, mark: str, after: str) -> None:
        _, text, place = self.peek()
        if text != mark:
            found = f"has {text[:20]!r}" if text else "ends"
            raise FormError(f"A form wants {mark!r} {after} and {found} at character {place + 1}.")
        self.at += 1

    def whole(self) -> Form:
        form = self.form(Type.ENTITIES, 1)
        kind, text, place = self.peek()
        if kind != "end":
            raise FormError(f"The form ends before character {place + 1}, where {text[:20]!r} follows.")
        return form

    def form(self, wanted: Type, depth: int) -> Form:
        kind, text, place = self.peek()
        if kind == "end":
            raise FormError(f"The form ends at character {place + 1} where {wanted.words} is wanted.")
        self.at += 1
        if kind == "number":
            return Number(_finite(text))
        if text == "{":
            return Entities(self.set())
        if kind == "mark":
            raise FormError(f"A form cannot have {text!r} at character {place + 1}.")
        if kind == "word" and self.peek()[1] == "(":
            return self.application(text, depth)
        return self.named(kind, text, wanted)

    def application(self, name: str, depth: int) -> Form:
        operator = _operator(name, self.table)
        if depth > MAX_DEPTH:
            raise FormError(f"A form may be {MAX_DEPTH} operators deep, this one is deeper.")
        self.take("(", f"after {name}")
        arguments = []
        for i, wanted in enumerate(operator.arguments):
            if i:
                self.take(",", f"after argument {i} of {_count(len(operator.arguments))} of {name}")
            arguments.append(self.form(wanted, depth + 1))
        self.take(")", f"after {_count(len(operator.arguments))} of {name}")
        return Apply(name, tuple(arguments))

    def set(self) -> tuple[int, ...]:
        ids: list[int] = []
        while self.peek()[1] != "}":
            if ids:
                self.take(",", "between the entities of a set")
            kind, text, place = self.peek()
            if kind not in ("word", "quoted"):
                raise FormError(f"A set of entities has {text[:20] or 'its end'!r} at character {place + 1}.")
            self.at += 1
            ids.append(self.names.entity(_unquoted(kind, text)))
        self.at += 1
        return tuple(ids)

    def named(self, kind: str, text: str, wanted: Type) -> Form:
        if wanted is Type.CLASS:
            short = kind == "word" and SHORT_CLASS.fullmatch(text)
            return Class(self.names.class_("Q" + text[1:] if short else _unquoted(kind, text)))
        if wanted is Type.PROPERTY:
            return Property(self.names.property(_unquoted(kind, text)))
        return Entity(self.names.entity(_unquoted(kind, text)))


def _unquoted(kind: str, text: str) -> str:
    if kind != "quoted":
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise FormError(f"{text:.40} is not a name in quotes, as JSON writes it.") from None


def _finite(text: str) -> int | float:
    value = int(text) if re.fullmatch(r"-?[0-9]{1,300}", text) else float(text)
    if not math.isfinite(value):
        raise FormError(f"The number {text:.40} is too large.")
    return value


def from_json(lf: Any, names: Names | None = None) -> Form:
    """A form of nested lists, ["keep", ["follow_property", "Q42", "P19"], "Q515"], with ["set", "Q1", "Q2"] for a set.

    Raises:
        FormError: it is not one, or is ill-typed.
        ZooError: a name that the graph does not have.
    """
    form = _from_json(lf, names or NUMBERED, Type.ENTITIES, 1)
    typecheck(form)
    return form


def _from_json(lf: Any, names: Names, wanted: Type, depth: int) -> Form:
    if isinstance(lf, (int, float)) and not isinstance(lf, bool):
        return Number(lf)
    if isinstance(lf, str):
        if wanted is Type.CLASS:
            return Class(names.class_(lf))
        return Property(names.property(lf)) if wanted is Type.PROPERTY else Entity(names.entity(lf))
    if not isinstance(lf, list) or not lf or not isinstance(lf[0], str):
        raise FormError(f"A form in JSON is [operator, argument, …], a name or a number, not {lf!r:.60}.")
    if lf[0] == "set":
        if not all(isinstance(name, str) for name in lf[1:]):
            raise FormError('A set in JSON is ["set", name, …].')
        return Entities(tuple(names.entity(name) for name in lf[1:]))
    operator = _operator(lf[0], OPERATORS)
    if depth > MAX_DEPTH:
        raise FormError(f"A form may be {MAX_DEPTH} operators deep, this one is deeper.")
    if len(lf) != len(operator.arguments) + 1:
        raise FormError(f"{operator.name} wants {_count(len(operator.arguments))}, got {len(lf) - 1}.")
    arguments = zip(lf[1:], operator.arguments, strict=True)
    return Apply(operator.name, tuple(_from_json(one, names, want, depth + 1) for one, want in arguments))


def to_json(form: Form, names: Names | None = None) -> Any:
    """The nested lists that `from_json` reads."""
    names = names or NUMBERED
    match form:
        case Apply(operator, arguments):
            return [operator, *(to_json(argument, names) for argument in arguments)]
        case Entity(id):
            return names.entity_name(id)
        case Entities(ids):
            return ["set", *(names.entity_name(id) for id in ids)]
        case Property(id):
            return names.property_name(id)
        case Class(id):
            return names.class_name(id)
    return form.value


def to_tree(form: Form, names: Names | None = None) -> str:
    """The form as an indented tree, one operator or constant per line, constants with their labels."""
    names = names or NUMBERED
    lines: list[str] = []
    _tree(form, names, "", "", lines)
    return "\n".join(lines)


def _tree(form: Form, names: Names, first: str, rest: str, lines: list[str]) -> None:
    if not isinstance(form, Apply):
        lines.append(first + labelled(form, names))
        return
    lines.append(first + form.operator)
    for i, argument in enumerate(form.arguments):
        last = i + 1 == len(form.arguments)
        _tree(argument, names, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "), lines)


def labelled(constant: Constant, names: Names, most: int = 5) -> str:
    """A constant by label and name: "birthplace (P19)"; a set shows its first `most` entities."""
    match constant:
        case Entity(id):
            label = names.label(id)
        case Property(id):
            label = names.property_label(id)
        case Class(id):
            label = names.class_label(id)
        case Entities(ids):
            shown = [labelled(Entity(id), names) for id in ids[:most]] + [f"… {len(ids)} in all"] * (len(ids) > most)
            return "{" + ", ".join(shown) + "}"
        case _:
            return constant_text(constant)
    text = constant_text(constant, names)
    return text if label == text or json.dumps(label, ensure_ascii=False) == text else f"{label} ({text})"


# The shortest forms, for a decoder that has to come to an end.

Shortest: TypeAlias = Mapping[tuple[Type, bool], int]


def shortest_forms(table: Table = OPERATORS, constants: Iterable[Type] = tuple(CONSTANTS.values())) -> Shortest:
    """Least number of tokens of every (type, parallel) that can be had when only constants of these types are at hand."""
    return _shortest(tuple(table.values()), frozenset(constants))


@lru_cache(64)
def _shortest(operators: tuple[Operator, ...], constants: frozenset[Type]) -> dict[tuple[Type, bool], int]:
    lengths = {(kind, False): 1 for kind in Type if any(fits(constant, kind) for constant in constants)}
    changed = True
    while changed:
        changed = False
        for operator in operators:
            for signature in operator.signatures:
                costs = [(lengths.get((kind, False), NEVER), lengths.get((kind, True), NEVER)) for kind in signature]
                found = _value_costs(operator, costs)
                for kind in (kind for kind in Type if fits(operator.result, kind)):
                    for parallel in (False, True):
                        length = 1 + found[parallel]
                        if length < lengths.get((kind, parallel), NEVER):
                            lengths[kind, parallel] = length
                            changed = True
    return lengths
