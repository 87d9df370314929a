"""Identities that every executor of the grammar has to satisfy exactly, on any graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from zoo.knowledge.executor import Boolean, EntitySet, Executor, NumberValue
from zoo.knowledge.grammar import Class, Entities, Entity, Form, Number, Property, apply
from zoo.knowledge.graph import KnowledgeGraph

IDENTITIES = (
    "cardinality(union) + cardinality(intersection) = sum of the cardinalities",
    "difference and intersection make up the first set, and are disjoint",
    "follow_backward is the transpose of follow_property",
    "arg(atleast(N, n)) and arg(lesser_than(N, n)) make up the domain, and are disjoint",
    "argmax is arg(atleast(N, largest)), argmin arg(atmost(N, least))",
)


def violations(graph: KnowledgeGraph, count: int = 100, seed: int = 0) -> dict[str, int]:
    """How many of `count` random instances violate each identity; all are 0.

    The graph must have an entity, a property and a class.
    """
    draws = _Draws(graph, np.random.default_rng(seed))
    checks: tuple[Callable[[], bool], ...] = (
        draws.sizes,
        draws.parts,
        draws.transpose,
        draws.domain,
        draws.extremes,
    )
    return {name: sum(not check() for _ in range(count)) for name, check in zip(IDENTITIES, checks, strict=True)}


class _Draws:
    def __init__(self, graph: KnowledgeGraph, rng: np.random.Generator):
        self.graph, self.rng, self.executor = graph, rng, Executor(graph)

    def ids(self, form: Form) -> set[int]:
        value = self.executor.run(form, limit=self.graph.entities)
        assert isinstance(value, EntitySet)
        return set(value.ids.tolist())

    def number(self, form: Form) -> int | float:
        value = self.executor.run(form)
        assert isinstance(value, NumberValue)
        return value.value

    def truth(self, form: Form) -> bool:
        value = self.executor.run(form)
        assert isinstance(value, Boolean)
        return value.value

    def entity(self) -> Entity:
        return Entity(int(self.rng.integers(self.graph.entities)))

    def step(self) -> tuple[str, Property]:
        name = ("follow_property", "follow_backward")[self.rng.integers(2)]
        return name, Property(int(self.rng.integers(self.graph.properties)))

    def class_(self) -> Class:
        return Class(int(self.rng.integers(self.graph.classes)))

    def set(self) -> Form:
        match self.rng.integers(4):
            case 0:
                return Entities(tuple(self.entity().id for _ in range(self.rng.integers(6))))
            case 1:
                return apply("members", self.class_())
            case 2:
                name, property = self.step()
                return apply(name, apply("members", self.class_()), property)
            case _:
                name, property = self.step()
                return apply("keep", apply(name, self.entity(), property), self.class_())

    def counts(self) -> Callable[[Form], Form]:
        """Takes a set, or a for_each, to a number of neighbours of one class or two."""
        name, property = self.step()
        first, second, two = self.class_(), self.class_(), self.rng.random() < 0.5

        def count(x: Form) -> Form:
            reached = apply(name, x, property)
            kept = apply("keep", reached, first)
            return apply("cardinality", apply("union", kept, apply("keep", reached, second)) if two else kept)

        return count

    def sizes(self) -> bool:
        a, b = self.set(), self.set()
        both = [self.number(apply("cardinality", apply(name, a, b))) for name in ("union", "intersection")]
        return sum(both) == self.number(apply("cardinality", a)) + self.number(apply("cardinality", b))

    def parts(self) -> bool:
        a, b = self.set(), self.set()
        rest, common = apply("difference", a, b), apply("intersection", a, b)
        return self.ids(apply("union", rest, common)) == self.ids(a) and not self.ids(
            apply("intersection", rest, common)
        )

    def transpose(self) -> bool:
        """Of all pairs of an entity and what is at one of its properties, and of a random pair."""
        s, (_, p) = self.entity(), self.step()
        for o in (*map(Entity, sorted(self.ids(apply("follow_property", s, p)))), self.entity()):
            forth = self.truth(apply("is_in", o, apply("follow_property", s, p)))
            if forth != self.truth(apply("is_in", s, apply("follow_backward", o, p))):
                return False
        return True

    def domain(self) -> bool:
        numbers = self.counts()(apply("for_each", self.set()))
        n = Number(int(self.rng.integers(1, 6)))
        above, below = (self.ids(apply("arg", apply(name, numbers, n))) for name in ("atleast", "lesser_than"))
        return above | below == self.ids(apply("arg", apply("atleast", numbers, Number(0)))) and not above & below

    def extremes(self) -> bool:
        count, x = self.counts(), self.set()
        numbers = count(apply("for_each", x))
        for extreme, compare in (("argmax", "atleast"), ("argmin", "atmost")):
            found = self.ids(apply(extreme, numbers))
            own = {self.number(count(Entity(one))) for one in found}
            if len(own) > 1 or (found and found != self.ids(apply("arg", apply(compare, numbers, Number(own.pop()))))):
                return False
        return True
