"""Random small graphs and random well-typed forms, for hypothesis."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from zoo.knowledge.build import Literals, from_arrays, parse_literal
from zoo.knowledge.grammar import (
    OPERATORS,
    Apply,
    Class,
    Entities,
    Entity,
    Form,
    Number,
    Operator,
    Property,
    Table,
    Type,
    fits,
)
from zoo.knowledge.graph import KnowledgeGraph

ENTITIES, PROPERTIES, CLASSES = 12, 3, 4
WORDS = ("7", "-2.5", "1910", "1910-01-01", "2001-06-22", "1850-12-31T00:00:00Z", "a text", '"7"', "7.0")


@st.composite
def graphs(draw: Any) -> KnowledgeGraph:
    """Few entities and many triples, so that sets meet; some entities have several classes, some none, some literals."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, typed = draw(st.integers(0, 80)), draw(st.integers(0, 20))
    literals = Literals()
    for _ in range(draw(st.integers(0, 12))):
        word = WORDS[rng.integers(len(WORDS))]
        literals.add(int(rng.integers(ENTITIES)), int(rng.integers(PROPERTIES)), parse_literal(word))
    return from_arrays(
        (rng.integers(0, ENTITIES, count), rng.integers(0, PROPERTIES, count), rng.integers(0, ENTITIES, count)),
        (rng.integers(0, ENTITIES, typed), rng.integers(0, CLASSES, typed)),
        entities=ENTITIES,
        property_names=[f"P{i}" for i in range(PROPERTIES)],
        class_names=[f"Q{i}" for i in range(CLASSES)],
        literals=literals,
    )


def constants(kind: Type, numbers: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[Form] | None:
    """Constants that fit a type, or None."""
    ids = st.integers(0, ENTITIES - 1)
    entity = st.builds(Entity, ids)
    if kind is Type.ENTITY:
        return entity
    if kind is Type.ENTITIES:
        return st.one_of(
            entity, st.builds(Entities, st.lists(ids, max_size=4, unique=True).map(lambda x: tuple(sorted(x))))
        )
    if kind is Type.NUMBER:
        return st.builds(Number, numbers if numbers is not None else st.integers(-1, 6))
    if kind is Type.PROPERTY:
        return st.builds(Property, st.integers(0, PROPERTIES - 1))
    return st.builds(Class, st.integers(0, CLASSES - 1)) if kind is Type.CLASS else None


def can(operator: Operator, parallel: bool) -> bool:
    return operator.parallel == "maps" or (operator.parallel == "opens") == parallel


@st.composite
def forms(
    draw: Any,
    kind: Type | None = None,
    parallel: bool = False,
    depth: int = 5,
    table: Table = OPERATORS,
    numbers: st.SearchStrategy[Any] | None = None,
) -> Form:
    """A well-typed form of a type, or of any type that is an answer."""
    if kind is None:
        kind = draw(st.sampled_from([Type.ENTITIES, Type.ENTITIES, Type.NUMBER, Type.BOOLEAN, Type.VALUES, Type.LIST]))
        if not any(fits(operator.result, kind) for operator in table.values()):
            kind = Type.ENTITIES
    leaves = None if parallel else constants(kind, numbers)
    choices = [one for one in table.values() if fits(one.result, kind) and can(one, parallel)]
    if leaves is not None and (depth <= 0 or not choices or draw(st.integers(0, 3)) == 0):
        return draw(leaves)
    if depth <= 0:  # the way out
        short = {"for_each", "cardinality", "is_in", "greater_than", "get_first", "pair", "get_value"}
        choices = [one for one in choices if one.name in short] or choices
    operator = draw(st.sampled_from(choices))
    signature = draw(st.sampled_from(operator.signatures))
    may = [one not in (Type.PROPERTY, Type.CLASS) for one in signature]
    if operator.parallel == "closes":
        flags = [True]
    elif operator.parallel == "maps" and parallel:
        must = draw(st.sampled_from([i for i, one in enumerate(may) if one]))
        flags = [i == must or (one and draw(st.booleans())) for i, one in enumerate(may)]
    else:
        flags = [False] * len(signature)
    arguments = (forms(want, flag, depth - 1, table, numbers) for want, flag in zip(signature, flags, strict=True))
    return Apply(operator.name, tuple(draw(argument) for argument in arguments))
