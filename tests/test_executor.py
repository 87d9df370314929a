"""Running forms: against plain Python sets, against SPARQL on pyoxigraph, identities, real data, bounds."""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import tarfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forms import CLASSES, ENTITIES, forms, graphs
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from datamodules.synthetic_graph import synthetic_graph, wikidata_sized
from zoo.knowledge import executor as executing
from zoo.knowledge.build import from_arrays, from_csqa_sample
from zoo.knowledge.executor import Boolean, EntitySet, ExecutionError, Executor, NumberValue, Pair, Value, ValueSet
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
    apply,
    from_json,
    from_text,
    to_json,
    typecheck,
)
from zoo.knowledge.graph import KnowledgeGraph
from zoo.knowledge.identities import IDENTITIES, violations
from zoo.knowledge.sparql import to_sparql, to_triples

DATA = Path(os.environ["ZOO_DATA"])
quiet = partial(settings, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


# The operators' table in plain Python: sets, and dictionaries from branch to value.


class Plain:
    """Runs forms as the definitions read, one entity at a time. A parallel value is a dictionary."""

    def __init__(self, graph: KnowledgeGraph):
        self.graph = graph

    def set(self, found: Any) -> Any:
        return frozenset([found]) if isinstance(found, int) else found

    def run(self, form: Form) -> Any:
        match form:
            case Entity(id):
                return frozenset([id])
            case Entities(ids):
                return frozenset(ids)
            case Number(value):
                return value
            case Apply("members", (Class(c),)):
                return frozenset(self.graph.members(c).tolist())
            case Apply("for_each", (x,)):
                return {e: frozenset([e]) for e in self.run(x)}
            case Apply("arg", (b,)):
                return frozenset(e for e, truth in self.run(b).items() if truth)
            case Apply("argmax" | "argmin" as name, (v,)):
                values = self.run(v)
                extreme = (max if name == "argmax" else min)(values.values(), default=None)
                return frozenset(e for e, value in values.items() if value == extreme)
        assert isinstance(form, Apply)
        if form.operator == "pair":
            return tuple(map(self.run, form.arguments))
        values = [one if isinstance(one, (Property, Class)) else self.run(one) for one in form.arguments]
        branches = [set(one) for one in values if isinstance(one, dict)]
        if not branches:
            return self.plain(form.operator, values)
        found = {}
        for e in set.intersection(*branches):
            value = self.plain(form.operator, [one[e] if isinstance(one, dict) else one for one in values])
            dropped = (form.operator == "cardinality" and value == 0) or (value != value)
            if not dropped:
                found[e] = value
        return found

    def plain(self, name: str, values: list[Any]) -> Any:
        graph = self.graph
        match name, *values:
            case "follow_property", x, Property(p):
                return frozenset(o for s in x for o in graph.objects(s, p).tolist())
            case "follow_backward", x, Property(p):
                return frozenset(s for s in range(graph.entities) if any(o in x for o in graph.objects(s, p).tolist()))
            case "get_value", x, Property(p):
                return frozenset(one for s in x for one in graph.values(s, p))
            case "keep", x, Class(c):
                return frozenset(e for e in x if c in graph.classes_of(e))
            case "union" | "intersection" | "difference", x, y:
                return {"union": x | y, "intersection": x & y, "difference": x - y}[name]
            case "cardinality", x:
                return len(x)
            case "max" | "min", x:
                keys = [one.key for one in x if one.kind != "text"]
                return (max if name == "max" else min)(keys) if keys else math.nan
            case "get_first", x:
                return frozenset(sorted(x, key=lambda e: (self.date(e), e))[:1])
            case "is_in", x, y:
                return x <= y
            case "clarify", x:
                return x
            case _, v, w:
                margin = max(1, math.floor(0.2 * w + 0.5)) if not math.isnan(w) else math.nan
                return {
                    "greater_than": v > w,
                    "lesser_than": v < w,
                    "equals": v == w,
                    "atleast": v >= w,
                    "atmost": v <= w,
                    "approx": abs(v - w) <= margin,
                }[name]

    def date(self, entity: int) -> float:
        values = [one for p in range(self.graph.properties) for one in self.graph.values(entity, p)]
        return min((one.key for one in values if one.kind == "date"), default=math.inf)


def plain_value(value: Value) -> Any:
    match value:
        case EntitySet():
            assert value.ids.dtype == np.int32 and value.ids.tolist() == sorted(set(value.ids.tolist()))
            return frozenset(value.ids.tolist())
        case ValueSet(literals):
            assert len(set(literals)) == len(literals)
            return frozenset(literals)
        case Pair(first, second):
            return first.value, second.value
    return value.value


def same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple):
        return all(map(same, a, b))
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


@quiet(max_examples=400)
@given(graphs(), forms())
def test_forms_mean_what_the_table_says(graph, form):
    one = Executor(graph)
    expected = Plain(graph).run(form)
    for _ in range(2):  # cold, and with what the first run kept
        assert same(plain_value(one.run(form)), expected)


@st.composite
def counted_forms(draw: Any) -> Form:
    """What is counted per branch of a class, the shapes that have a way of their own among them."""
    base = draw(st.sampled_from([apply("members", Class(draw(st.integers(0, CLASSES - 1)))), Entities((0, 3, 5))]))
    follow = draw(st.sampled_from(["follow_property", "follow_backward"]))
    reached = apply(follow, apply("for_each", base), Property(draw(st.integers(0, 1))))
    first, second = (apply("keep", reached, Class(draw(st.integers(0, CLASSES - 1)))) for _ in range(2))
    other = apply("keep", apply(follow, apply("for_each", base), Property(0)), Class(0))
    numbers = apply(
        "cardinality",
        draw(st.sampled_from([reached, first, apply("union", first, second), apply("union", first, other)])),
    )
    close = draw(
        st.sampled_from(["argmax", "argmin", "greater_than", "lesser_than", "equals", "atleast", "atmost", "approx"])
    )
    if close.startswith("argm"):
        return apply(close, numbers)
    bound = draw(st.sampled_from([Number(draw(st.integers(0, 4))), numbers]))
    return apply("arg", apply(close, *draw(st.permutations([numbers, bound]))))


@quiet(max_examples=300)
@given(graphs(), counted_forms())
def test_counts_per_branch_are_those_of_the_table(graph, form):
    assert plain_value(Executor(graph).run(form)) == Plain(graph).run(form)


@pytest.mark.parametrize("small", [0, 64])
def test_large_sets_go_other_ways_to_the_same_place(monkeypatch, small):
    monkeypatch.setattr(executing, "SMALL", small)
    rng = np.random.default_rng(small)
    graph = from_arrays(
        (rng.integers(0, 500, 6000), rng.integers(0, 2, 6000), rng.integers(0, 500, 6000)),
        (rng.integers(0, 500, 700), rng.integers(0, 3, 700)),
        entities=500,
        property_names=["P0", "P1"],
        class_names=["Q0", "Q1", "Q2"],
    )
    one, other = Executor(graph), Plain(graph)
    a, b = "follow_property(members(C0), P0)", "keep(follow_backward(members(C1), P1), C2)"
    each = "for_each(members(C0))"
    for text in (
        *(f"{name}({x}, {y})" for name in ("union", "intersection", "difference") for x, y in ((a, b), (b, a))),
        f"is_in({b}, {a})",
        f"is_in({a}, {a})",
        f"arg(is_in(follow_property({each}, P0), {a}))",
        f"argmax(cardinality(difference(follow_property(follow_property({each}, P0), P1), {b})))",
        f"argmin(cardinality(union(keep(follow_backward({each}, P0), C1), {b})))",
        "follow_property({Q1, Q2, Q3, Q4, Q5, Q6, Q7}, P0)",
    ):
        form = from_text(text)
        assert plain_value(one.run(form)) == other.run(form), text


def test_classes_of_a_large_graph_are_looked_up_without_marks(monkeypatch):
    graph = wikidata_sized(entities=150_000, triples=200_000, classes=20, properties=4, largest=30_000)
    monkeypatch.setattr(executing, "CACHE", 400_000)  # two marks and a half
    one, other = Executor(graph), Plain(graph)
    source = int(graph.edges(0).sources[5])
    assert one.run(from_text(f"keep(follow_property(Q{source}, P0), C1)")) is not None and not one._masks
    for c in range(4):
        for text in (
            f"arg(atleast(cardinality(keep(follow_property(for_each(members(C0)), P0), C{c})), 2))",
            f"arg(atleast(cardinality(keep(follow_backward(for_each(members(C{12 + c})), P1), C{c})), 1))",
            f"arg(atleast(cardinality(follow_property(for_each(members(C{c})), P2)), 2))",
        ):
            assert plain_value(one.run(from_text(text))) == other_counts(graph, text)
    assert len(one._masks) == 2 and one._masks.size <= 400_000
    one.forget()
    assert not one._masks and not one._counts
    assert other.run(from_text(f"keep(follow_property(Q{source}, P0), C1)")) == plain_value(
        one.run(from_text(f"keep(follow_property(Q{source}, P0), C1)"))
    )


def other_counts(graph: KnowledgeGraph, text: str) -> frozenset[int]:
    base, p, least = (int(re.search(pattern, text)[1]) for pattern in (r"members\(C(\d+)", r"P(\d+)", r", (\d+)\)\)$"))
    counted = re.search(r"P\d+\), C(\d+)", text)
    sources, starts, targets = graph.edges(p, "backward" if "backward" in text else "forward")
    hits = np.isin(targets, graph.members(int(counted[1]))) if counted else np.ones(len(targets), bool)
    counts = np.bincount(np.repeat(sources, np.diff(starts))[hits], minlength=graph.entities)
    inside = graph.members(base)
    return frozenset(inside[counts[inside] >= least].tolist())


# SPARQL.


def store_of(graph: KnowledgeGraph) -> Any:
    ox = pytest.importorskip("pyoxigraph")
    store = ox.Store()
    store.extend(
        ox.Quad(ox.NamedNode(s), ox.NamedNode(p), ox.NamedNode(o) if isinstance(o, str) else ox.Literal(o))
        for s, p, o in to_triples(graph)
    )
    return store


def sparql_value(graph: KnowledgeGraph, store: Any, form: Form) -> Any:
    query = to_sparql(form)
    rows = list(store.query(query.text))
    if query.kind in (Type.ENTITY, Type.ENTITIES, Type.VALUES):
        ids = [int(row["x"].value[2:]) for row in rows]
        return frozenset(graph.literals(ids) if query.kind is Type.VALUES else ids)
    (row,) = rows

    def term(name: str) -> Any:  # an unbound number is nan, an unbound truth value an error, that is, false
        found = row[name]
        if found is None:
            return math.nan if kind is Type.NUMBER else False
        return found.value == "true" if kind is Type.BOOLEAN else float(found.value)

    kind = query.kind
    if kind is Type.LIST:
        assert isinstance(form, Apply)
        kind = typecheck(form.arguments[0])
        return term("x"), term("y")
    return term("x")


@quiet(max_examples=300)
@given(graphs(), forms())
def test_sparql_gives_the_same_answers(graph, form):
    assert same(plain_value(Executor(graph).run(form)), sparql_value(graph, store_of(graph), form))


def test_sparql_gives_the_same_answers_on_the_synthetic_graph():
    graph = synthetic_graph(0)
    store, one = store_of(graph), Executor(graph)
    person, city, film = (f"C{graph.header['class_labels'].index(label)}" for label in ("person", "city", "film"))
    born, cast = (f"P{graph.header['property_labels'].index(label)}" for label in ("birthplace", "cast"))
    answered = 0
    for text in (
        f"argmax(cardinality(keep(follow_backward(for_each(members({city})), {born}), {person})))",
        f"arg(approx(cardinality(keep(follow_property(for_each(members({film})), {cast}), {person})), 4))",
        f"cardinality(arg(lesser_than(cardinality(follow_backward(for_each(members({person})), {cast})), 3)))",
        f"pair(is_in(Q965, follow_property(Q3, {born})), is_in(Q970, follow_property(Q4, {born})))",
        f"keep(difference(members({person}), follow_property(members({film}), {cast})), {person})",
    ):
        value = plain_value(one.run(from_text(text)))
        assert value == sparql_value(graph, store, from_text(text))
        answered += bool(value)
    assert answered == 5


def test_sparql_refuses_what_has_no_value():
    for form, says in ((Property(1), "cannot be a property"), (apply("keep", Number(1), Class(1)), "keep wants")):
        with pytest.raises(FormError, match=says):
            to_sparql(form)


# E1.


@quiet(max_examples=40)
@given(graphs(), st.integers(0, 2**31))
def test_identities_hold_on_any_graph(graph, seed):
    assert violations(graph, 5, seed) == dict.fromkeys(IDENTITIES, 0)


def test_identities_hold_on_the_synthetic_graph_and_can_fail(monkeypatch):
    graph = synthetic_graph(0)
    assert violations(graph, 60) == dict.fromkeys(IDENTITIES, 0)
    monkeypatch.setattr(executing, "_merged", lambda a, b: a)
    assert violations(graph, 60)[IDENTITIES[0]] > 0


# The rules one by one.

WORLD = from_arrays(  # entities 0 1 2 are people, 3 4 5 6 books; 0 wrote three, 1 one, 2 none; 3 and 4 are novels
    (np.array([0, 0, 0, 1]), np.zeros(4, int), np.array([3, 4, 5, 6])),
    (np.array([0, 1, 2, 3, 4, 5, 6, 3, 4]), np.array([0, 0, 0, 1, 1, 1, 1, 2, 2])),
    entities=7,
    property_names=["wrote"],
    class_names=["Q0", "Q1", "Q2"],
)
COUNTS = "cardinality(keep(follow_property(for_each(members(C0)), P0), C1))"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (f"argmax({COUNTS})", {0}),
        (f"argmin({COUNTS})", {1}),  # 2 wrote none, and is no answer
        (f"arg(atmost({COUNTS}, 1))", {1}),
        (f"arg(lesser_than({COUNTS}, 1))", set()),
        (f"arg(approx({COUNTS}, 2))", {0, 1}),
        (
            "arg(is_in(keep(follow_property(for_each(members(C0)), P0), C2), {Q3, Q4}))",
            {0, 1, 2},
        ),  # nothing is in anything
        ("cardinality(follow_property(Q2, P0))", 0),
        ("is_in({Q3, Q6}, follow_property(Q0, P0))", False),
        ("is_in({}, follow_property(Q2, P0))", True),
        ("approx(9, 11)", True),  # round(0.2 * 11) = 2
        ("approx(8, 11)", False),
        ("approx(2, 1)", True),
        ("approx(7.5, 12.5)", False),  # halves are rounded up: 3
        ("approx(9.5, 12.5)", True),
        ("pair(cardinality(follow_property(Q0, P0)), 1)", (3, 1)),
        ("pair(is_in(Q3, follow_property(Q0, P0)), is_in(Q6, follow_property(Q0, P0)))", (True, False)),
        ("clarify({Q1, Q0})", {0, 1}),
        ("max(get_value(members(C0), P0))", math.nan),
        ("greater_than(max(get_value(Q0, P0)), 0)", False),
        ("get_first({Q5, Q2})", {2}),
        ("arg(greater_than(" + COUNTS + ", cardinality(follow_property(Q1, P0))))", {0}),
        # two parallel arguments are joined: only 0 has counts of both
        (f"arg(greater_than({COUNTS}, cardinality(keep(follow_property(for_each(members(C0)), P0), C2))))", {0}),
        ("arg(atleast(cardinality(union(for_each({Q0, Q1}), follow_property(for_each({Q1, Q2}), P0))), 2))", {1}),
    ],
)
def test_conventions_at_the_edges(text, value):
    found = plain_value(Executor(WORLD).run(from_text(text)))
    assert same(found, frozenset(value) if isinstance(value, set) else value)


def test_dates_keep_how_they_are_written():
    from zoo.knowledge.build import Literals, parse_literal

    literals = Literals()
    for entity, text in ((0, "1910-01-01"), (0, "7"), (1, "1850-05-01"), (2, "word"), (1, "1910-01-01")):
        literals.add(entity, 0, parse_literal(text))
    graph = from_arrays(
        (np.array([0]), np.array([0]), np.array([1])),
        (np.array([0]), np.array([0])),
        entities=3,
        property_names=["P0"],
        class_names=["Q0"],
        literals=literals,
    )
    one = Executor(graph)
    assert one.run(from_text("max(get_value({Q0, Q1, Q2}, P0))")) == NumberValue(1910.0, "1910-01-01T00:00:00Z")
    assert one.run(from_text("min(get_value({Q0, Q1, Q2}, P0))")) == NumberValue(7.0, "7")
    values = one.run(from_text("get_value({Q0, Q1, Q2}, P0)"))
    assert isinstance(values, ValueSet) and [len(values), values.literals[-1].text] == [4, "word"]
    assert plain_value(one.run(from_text("get_first({Q0, Q1, Q2})"))) == {1}
    assert plain_value(one.run(from_text("arg(equals(max(get_value(for_each({Q0, Q1, Q2}), P0)), 1910))"))) == {0, 1}


# Real data.


@pytest.mark.skipif(not (DATA / "csqa" / "derived").is_dir(), reason="no csqa in $ZOO_DATA")
def test_reference_forms_give_the_gold_answers_that_the_fragment_has():
    # Claim R1, and the README of the data.
    folder = DATA / "csqa"
    graph = from_csqa_sample(folder)
    one, right, of = Executor(graph), Counter[str](), Counter[str]()
    dialogues = {}
    for split, name in (("train", "sample_train_7000"), ("valid", "sample_valid_1100")):
        with tarfile.open(folder / f"{name}.tar.gz") as archive:
            for item in archive:
                if item.name.endswith(".json"):
                    file = archive.extractfile(item)
                    assert file is not None
                    dialogues[split, item.name] = json.load(file)
    with gzip.open(folder / "derived" / "reference_lf.jsonl.gz", "rt") as lines:
        for line in lines:
            row = json.loads(line)
            if row["lf"] is None:
                continue
            form = from_json(row["lf"], graph)
            assert to_json(form, graph) == row["lf"]
            kind = row["question_type"]
            if kind.endswith("(Count) (All)"):
                kind = "set counts" if "for_each" not in line and kind.startswith("Quant") else "other counts"
            gold = dialogues[row["split"], row["file"]][2 * row["pair"] + 1]
            value = one.run(form)
            of[kind] += 1
            if isinstance(value, EntitySet):
                right[kind] += {graph.entity_name(id) for id in value.ids} == set(gold["all_entities"])
            else:
                right[kind] += spoken(value) == (re.findall(r"\d+|YES|NO", gold["utterance"]))
    assert {kind: (right[kind], of[kind]) for kind in of if kind in MEASURED} == MEASURED


MEASURED = {
    "Simple Question (Direct)": (4568, 4810),
    "Simple Question (Coreferenced)": (2388, 2814),
    "Simple Question (Ellipsis)": (580, 580),
    "Verification (Boolean) (All)": (1402, 1402),
    "set counts": (656, 1376),
    "Logical Reasoning (All)": (347, 1078),
}


def spoken(value: Value) -> list[str]:
    """Words of an answer; two verdicts that agree are said once."""
    match value:
        case Boolean(truth):
            return ["YES" if truth else "NO"]
        case NumberValue(number):
            return [str(number)]
        case Pair(Boolean(first), Boolean(second)) if first == second:
            return spoken(Boolean(first))
        case Pair(first, second):
            return spoken(first) + spoken(second)
    raise AssertionError(value)


# Bad input.


@pytest.mark.parametrize(
    ("form", "says"),
    [
        (Entity(ENTITIES), "no entity 12: it has 12, numbered from 0"),
        (apply("follow_property", Entity(99), Property(0)), "no entity 99"),
        (apply("is_in", Entity(99), Entity(1)), "no entity 99"),
        (Entities((1, 99)), "no entity 99"),
        (apply("follow_property", Entity(1), Property(9)), "no property 9: it has 3"),
        (apply("keep", Entity(1), Class(9)), "no class 9: it has 4"),
        (apply("members", Class(9)), "no class 9"),
        (from_text("argmax(cardinality(keep(follow_property(for_each(members(C9)), P0), C1)))"), "no class 9"),
        (from_text("argmax(cardinality(keep(follow_property(for_each(members(C1)), P9), C1)))"), "no property 9"),
        (from_text("argmax(cardinality(keep(follow_property(for_each(members(C1)), P0), C9)))"), "no class 9"),
        (Class(1), "value cannot be a class"),
        (Property(1), "value cannot be a property"),
        (None, "not of NoneType"),
        (apply("for_each", Entity(1)), "A for_each is open"),
        (apply("keep", Number(3), Class(1)), "keep wants a set of entities"),
        (apply("keep", Entity(1)), "keep wants 2 arguments, got 1"),
        (apply("nope", Entity(1)), "No operator is called 'nope'"),
        (apply("cardinality", apply("keep", Entity(1))), "keep wants 2 arguments"),
        (apply("pair", Number(1), apply("is_in", Entity(1), Entity(2))), "pair wants"),
        (Number(math.inf), "finite"),
        (Entities([1, 2]), "a tuple of ids"),
        (Entity("1"), "an id from 0"),
        (Entity(-1), "no entity -1|an id from 0"),
    ],
)
@settings(max_examples=1)
@given(graph=graphs())
def test_forms_that_cannot_run_are_told_in_one_sentence(graph, form, says):
    with pytest.raises(ExecutionError, match=says) as error:
        Executor(graph).run(form)
    assert "\n" not in str(error.value)


def test_forms_without_end_are_refused():
    deep: Form = Entity(1)
    for _ in range(100_000):
        deep = Apply("clarify", (deep,))
    wide: Form = Entity(1)
    for _ in range(60):
        wide = Apply("union", (wide, wide))
    for form, says in ((deep, "64 operators deep"), (wide, "1024 tokens")):
        with pytest.raises(ExecutionError, match=says):
            Executor(WORLD).run(form)
    while isinstance(deep, Apply):  # one by one: to free so deep a tree at once overflows the stack of old Pythons
        (deep,) = deep.arguments


def test_answers_and_steps_are_bounded(monkeypatch):
    one = Executor(WORLD)
    with pytest.raises(ExecutionError, match="The answer has 4 entities, more than the limit of 3"):
        one.run(from_text("members(C1)"), limit=3)
    assert len(one.run(from_text("members(C1)"), limit=4).ids) == 4
    monkeypatch.setattr(executing, "WORK", 5)
    with pytest.raises(ExecutionError, match="would put 4 entities into each of 3 branches"):
        one.run(from_text("argmax(cardinality(union(for_each(members(C0)), members(C1))))"))
    monkeypatch.setattr(executing, "WORK", 3)
    monkeypatch.setattr(executing, "SMALL", 0)
    with pytest.raises(ExecutionError, match="look at more than 3 triples"):
        one.run(
            from_text("argmax(cardinality(union(for_each(members(C0)), follow_property(for_each(members(C0)), P0))))")
        )


def test_huge_numbers_are_numbers():
    one = Executor(WORLD)
    for number in ("123456789012345678901234567890", "1e299", "-1e299"):
        for name in ("greater_than", "lesser_than", "equals", "atleast", "atmost", "approx"):
            for v, w in ((COUNTS, number), (number, COUNTS)):
                one.run(from_text(f"arg({name}({v}, {w}))"))
            one.run(from_text(f"{name}({number}, 3)"))
    assert plain_value(one.run(from_text(f"arg(lesser_than({COUNTS}, 1e299))"))) == {0, 1}


LEAVES = st.one_of(
    st.builds(Entity, st.integers(0, 20)),
    st.builds(Entities, st.lists(st.integers(0, 11), max_size=3).map(tuple)),
    st.builds(Class, st.integers(0, 5)),
    st.builds(Property, st.integers(0, 4)),
    st.builds(Number, st.integers(-3, 10**20) | st.floats(-1e290, 1e290)),
)
LOOSE = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        Apply, st.sampled_from(list(OPERATORS)), st.lists(inner, min_size=1, max_size=3).map(tuple)
    ),
    max_leaves=10,
)


@quiet(max_examples=600)
@given(graphs(), LOOSE)
def test_any_tree_is_run_or_told(graph, form):
    try:
        well = typecheck(form) not in (Type.PROPERTY, Type.CLASS)
    except FormError:
        well = False
    try:
        Executor(graph).run(form)
    except ExecutionError as error:
        assert not well or "The graph has no" in str(error)
    else:
        assert well


@quiet(max_examples=100)
@given(graphs(), forms())
def test_answers_can_be_compared_and_kept(graph, form):
    one, other = (Executor(graph).run(form) for _ in range(2))
    assume(not isinstance(one, (NumberValue, Pair)))
    assert one == other and hash(one) == hash(other) and one != NumberValue(3)
