"""Logical forms as SPARQL 1.1, and a graph as the triples that these queries ask: the same meaning in another language.

Entities, properties and classes are <e:7>, <p:7>, <c:7>. A branch of a for_each is a solution's binding of ?b; a set is bound by
?x, one solution per element; closing a for_each is a sub-select that does not give ?b away. Besides its triples a graph has
`e a c` for classes, `e <r:rank> n` with n the place in the order of `get_first`, and `e <v:7> <l:n>` for literals, where
`<l:n> <r:key> k` holds if the literal is ordered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from zoo.knowledge.grammar import (
    OPERATORS,
    Apply,
    Class,
    Entities,
    Entity,
    Form,
    FormError,
    Number,
    Property,
    Type,
    infer,
    typecheck,
)
from zoo.knowledge.graph import KnowledgeGraph

COMPARISONS = {"greater_than": ">", "lesser_than": "<", "equals": "=", "atleast": ">=", "atmost": "<="}


@dataclass(frozen=True)
class Query:
    """A SELECT query. A set or values: one solution per element, in ?x. A number, unbound if there is none, or truth value:
    one solution with ?x; a list: with ?x and ?y."""

    kind: Type
    text: str


def to_sparql(form: Form) -> Query:
    """The query whose solutions are the form's value.

    Raises:
        FormError: an ill-typed form.
    """
    kind = typecheck(form)
    if kind in (Type.PROPERTY, Type.CLASS):
        raise FormError(f"A form's value cannot be {kind.words}.")
    writer = _Writer()
    if kind is Type.LIST:
        assert isinstance(form, Apply)
        first, second = (writer.value(argument, name) for argument, name in zip(form.arguments, "xy", strict=True))
        return Query(kind, f"SELECT ?x ?y WHERE {{ {first} {second} }}")
    if kind in (Type.ENTITY, Type.ENTITIES, Type.VALUES):
        return Query(kind, f"SELECT DISTINCT ?x WHERE {{ {writer.set(form, 'x')} }}")
    return Query(kind, f"SELECT ?x WHERE {{ {writer.value(form, 'x')} }}")


def to_triples(graph: KnowledgeGraph) -> Iterator[tuple[str, str, str | int | float]]:
    """(subject, predicate, object): iris without brackets, and numbers."""
    for p in range(graph.properties):
        for direction, predicate, iri in (("forward", f"p:{p}", "e"), ("literal", f"v:{p}", "l")):
            sources, starts, targets = graph.edges(p, direction)
            for s, o in zip(np.repeat(sources, np.diff(starts)).tolist(), targets.tolist(), strict=True):
                yield f"e:{s}", predicate, f"{iri}:{o}"
    for c in range(graph.classes):
        for e in graph.members(c).tolist():
            yield f"e:{e}", TYPE, f"c:{c}"
    for rank, e in enumerate(np.argsort(graph.earliest, kind="stable").tolist()):
        yield f"e:{e}", "r:rank", rank
    for literal, key in enumerate(graph.arrays["literal_keys"][: graph.first_text].tolist()):
        yield f"l:{literal}", "r:key", key


TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"


@dataclass
class _Writer:
    """Writes graph patterns. `set` binds a variable to the elements, `value` to a number or truth value; where the form is
    parallel, both bind ?b as well. Variables that only one pattern uses get new names."""

    used: int = field(default=0)

    def new(self) -> str:
        self.used += 1
        return f"v{self.used}"

    def set(self, form: Form, x: str) -> str:
        match form:
            case Entity(id):
                return f"VALUES ?{x} {{ <e:{id}> }}"
            case Entities(ids):
                return f"VALUES ?{x} {{ {' '.join(f'<e:{id}>' for id in ids)} }}"
            case Apply("follow_property" | "get_value" as name, (inner, Property(p))):
                y = self.new()
                return f"{self.set(inner, y)} ?{y} <{'p' if name == 'follow_property' else 'v'}:{p}> ?{x} ."
            case Apply("follow_backward", (inner, Property(p))):
                y = self.new()
                return f"{self.set(inner, y)} ?{x} <p:{p}> ?{y} ."
            case Apply("members", (Class(c),)):
                return f"?{x} a <c:{c}> ."
            case Apply("keep", (inner, Class(c))):
                return f"{self.set(inner, x)} ?{x} a <c:{c}> ."
            case Apply("clarify", (inner,)):
                return self.set(inner, x)
            case Apply("union" | "intersection" | "difference" as name, (one, other)):
                first, second = self.shared(one, other, x)
                link = {"union": "UNION", "intersection": "", "difference": "MINUS"}[name]
                return f"{{ {{ {first} }} {link} {{ {second} }} }}"
            case Apply("get_first", (inner,)):
                y, r, least = self.new(), self.new(), self.new()
                branch, group = ("?b", "GROUP BY ?b") if _parallel(inner) else ("", "")
                ranks = f"{self.set(inner, y)} ?{y} <r:rank> ?{r} ."
                ranked = f"SELECT {branch} (MIN(?{r}) AS ?{least}) WHERE {{ {ranks} }} {group}"
                return f"{{ {{ {ranked} }} FILTER(BOUND(?{least})) }} ?{x} <r:rank> ?{least} ."
            case Apply("for_each", (inner,)):
                return f"{self.branches(inner)} BIND(?b AS ?{x})"
            case Apply("arg", (inner,)):
                t = self.new()
                return f"{{ SELECT DISTINCT (?b AS ?{x}) WHERE {{ {self.value(inner, t)} FILTER(?{t}) }} }}"
            case Apply("argmax" | "argmin" as name, (inner,)):
                v, w, extreme = self.new(), self.new(), self.new()
                reduce = "MAX" if name == "argmax" else "MIN"
                return (
                    f"{{ SELECT DISTINCT (?b AS ?{x}) WHERE {{ {self.value(inner, v)} "
                    f"{{ SELECT ({reduce}(?{w}) AS ?{extreme}) WHERE {{ {self.value(inner, w)} }} }} "
                    f"FILTER(?{v} = ?{extreme}) }} }}"
                )
        raise AssertionError(form)

    def branches(self, form: Form) -> str:
        """Binds ?b to the elements of a plain set, in a scope of its own."""
        x = self.new()
        return f"{{ SELECT DISTINCT (?{x} AS ?b) WHERE {{ {self.set(form, x)} }} }}"

    def shared(self, one: Form, other: Form, x: str) -> tuple[str, str]:
        """Patterns of two sets; if one of them is parallel, over the branches that both have."""
        domain = " ".join(self.domain(form) for form in (one, other) if _parallel(form))
        return f"{domain} {self.set(one, x)}", f"{domain} {self.set(other, x)}"

    def domain(self, form: Form) -> str:
        """Binds ?b to the branches of a parallel set."""
        assert isinstance(form, Apply)
        if form.operator == "for_each":
            return self.branches(form.arguments[0])
        return " ".join(self.domain(argument) for argument in form.arguments if _parallel(argument))

    def value(self, form: Form, t: str) -> str:
        match form:
            case Number(value):
                return f"VALUES ?{t} {{ {value!r} }}"
            case Apply("cardinality", (inner,)):
                return self.aggregate(inner, t, "COUNT(DISTINCT ?{})", "")
            case Apply("max" | "min" as name, (inner,)):
                k = self.new()
                return self.aggregate(inner, t, f"{name.upper()}(?{k})", f"?{{}} <r:key> ?{k} .")
            case Apply("is_in", (one, other)):
                return self.is_in(one, other, t)
            case Apply("approx", (one, other)):
                v, w = self.new(), self.new()
                margin = f"IF(?{w} * 0.2 + 0.5 < 2, 1, FLOOR(?{w} * 0.2 + 0.5))"
                return f"{self.value(one, v)} {self.value(other, w)} BIND(ABS(?{v} - ?{w}) <= {margin} AS ?{t})"
            case Apply(name, (one, other)) if name in COMPARISONS:
                v, w = self.new(), self.new()
                return f"{self.value(one, v)} {self.value(other, w)} BIND(?{v} {COMPARISONS[name]} ?{w} AS ?{t})"
        raise AssertionError(form)

    def aggregate(self, form: Form, t: str, function: str, where: str) -> str:
        x = self.new()
        pattern = f"{self.set(form, x)} {where.format(x)}"
        if _parallel(form):
            return f"{{ SELECT ?b ({function.format(x)} AS ?{t}) WHERE {{ {pattern} }} GROUP BY ?b }}"
        return f"{{ SELECT ({function.format(x)} AS ?{t}) WHERE {{ {pattern} }} }}"

    def is_in(self, one: Form, other: Form, t: str) -> str:
        x, missing = self.new(), self.new()
        outside = f"{{ {{ {self.set(one, x)} }} MINUS {{ {self.set(other, x)} }} }}"
        if not _parallel(one) and not _parallel(other):
            return f"{{ SELECT (COUNT(?{x}) = 0 AS ?{t}) WHERE {{ {outside} }} }}"
        domain = " ".join(self.domain(form) for form in (one, other) if _parallel(form))
        if not _parallel(one):
            outside = f"{{ {{ {domain} {self.set(one, x)} }} MINUS {{ {self.set(other, x)} }} }}"
        return (
            f"{domain} OPTIONAL {{ SELECT DISTINCT ?b (true AS ?{missing}) WHERE {{ {outside} }} }} "
            f"BIND(!BOUND(?{missing}) AS ?{t})"
        )


def _parallel(form: Form) -> bool:
    return infer(form, OPERATORS)[1]
