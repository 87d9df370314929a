"""Logical forms: types, prefix order, text, JSON and trees, and what is refused with which sentence."""

from __future__ import annotations

import json
import re

import pytest
from forms import CLASSES, ENTITIES, PROPERTIES, forms
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from zoo.knowledge import grammar
from zoo.knowledge.grammar import (
    MAX_DEPTH,
    MAX_TOKENS,
    NEVER,
    OPERATORS,
    RESTRICTED,
    Apply,
    Class,
    Entities,
    Entity,
    FormError,
    Number,
    Prefix,
    Property,
    Type,
    apply,
    delinearise,
    from_json,
    from_text,
    infer,
    linearise,
    shortest_forms,
    to_json,
    to_text,
    to_tree,
    typecheck,
)
from zoo.registry import ZooError

CITIES = "arg(greater_than(cardinality(keep(follow_backward(for_each(members(C1)), P0), C2)), 3))"
NUMBERS = st.one_of(st.integers(-(10**9), 10**9), st.floats(-1e9, 1e9, allow_nan=False).map(lambda x: x + 0.0))
quiet = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Words:
    """Names that look like anything: operators, numbers, brackets, ids."""

    entities = ["keep", "Q7", "3", "a b", 'say "x"', "naïve", "C5", "", "(", "P1", "-", "\\"]
    properties = ["P19", "born in", "union", "1"]
    classes = ["Q515", "C515", "city", "a,b"]

    def entity(self, name: str) -> int:
        return self._find(self.entities, name)

    def property(self, name: str) -> int:
        return self._find(self.properties, name)

    def class_(self, name: str) -> int:
        return self._find(self.classes, name)

    def _find(self, names: list[str], name: str) -> int:
        if name not in names:
            raise ZooError(f"no {name!r}")
        return names.index(name)

    def entity_name(self, entity: int) -> str:
        return self.entities[entity]

    def property_name(self, property: int) -> str:
        return self.properties[property]

    def class_name(self, class_: int) -> str:
        return self.classes[class_]

    label, property_label, class_label = entity_name, property_name, class_name


def test_the_words_cover_the_ids() -> None:
    assert len(Words.entities) == ENTITIES and len(Words.properties) >= PROPERTIES and len(Words.classes) >= CLASSES


# Round trips.


@quiet
@given(forms(numbers=NUMBERS))
def test_forms_come_back_from_tokens_text_and_json(form):
    assert delinearise(linearise(form)) == form
    for names in (None, Words()):
        assert from_text(to_text(form, names), names) == form
        assert from_json(json.loads(json.dumps(to_json(form, names))), names) == form
        assert len(to_tree(form, names).splitlines()) == len(linearise(form))


@quiet
@given(forms(table=RESTRICTED))
def test_restricted_forms_are_forms(form):
    try:
        kind = typecheck(form, RESTRICTED)
    except FormError as error:  # is_in wants one entity there
        assert "is_in" in str(error)
        return
    assert kind is typecheck(form) and delinearise(linearise(form), RESTRICTED) == form


def test_a_form_reads_as_in_the_papers():
    form = apply("keep", apply("follow_property", Entity(42), Property(19)), Class(515))
    assert to_text(form) == "keep(follow_property(Q42, P19), C515)"
    assert from_text(" keep( follow_property(Q42,P19),C515 )\n") == form
    assert linearise(form) == ["keep", "follow_property", Entity(42), Property(19), Class(515)]
    assert to_tree(from_text("cardinality(union({Q1, Q2}, members(C3)))")).splitlines() == [
        "cardinality",
        "└─ union",
        "   ├─ {Q1, Q2}",
        "   └─ members",
        "      └─ C3",
    ]
    assert from_text("equals(-2.5, 3)") == apply("equals", Number(-2.5), Number(3))
    assert from_text("{}") == Entities(())


def test_names_that_look_like_something_else_are_quoted():
    words = Words()
    form = apply("keep", apply("follow_property", Entity(2), Property(1)), Class(1))
    assert to_text(form, words) == 'keep(follow_property("3", "born in"), "C515")'
    assert to_text(apply("members", Class(0)), words) == "members(C515)"
    tree = to_tree(apply("keep", Entity(3), Class(0)), words).splitlines()
    assert tree[1:] == ["├─ a b", "└─ Q515 (C515)"] or tree[1:] == ['├─ "a b"', "└─ Q515 (C515)"]


def test_a_form_of_every_question_type_is_typed():
    counts = "cardinality(keep(follow_property(for_each(members(C0)), P0), C1))"
    two = "cardinality(union(keep(follow_property(for_each(members(C0)), P0), C1), keep(follow_property(for_each(members(C0)), P0), C2)))"
    own = "cardinality(keep(follow_property(Q1, P0), C1))"
    verdict = "is_in(Q2, follow_property(Q1, P0))"
    kinds = {
        "keep(follow_property({Q1, Q2}, P0), C1)": Type.ENTITIES,
        "keep(difference(follow_property(Q1, P0), follow_property(Q2, P0)), C1)": Type.ENTITIES,
        f"argmax({counts})": Type.ENTITIES,
        f"arg(approx({two}, 3))": Type.ENTITIES,
        f"arg(lesser_than({counts}, {own}))": Type.ENTITIES,
        f"cardinality(arg(atmost({two}, {own})))": Type.NUMBER,
        f"pair({own}, {own})": Type.LIST,
        f"pair({verdict}, {verdict})": Type.LIST,
        verdict: Type.BOOLEAN,
        "clarify({Q1, Q2})": Type.ENTITIES,
        "get_value(Q1, P0)": Type.VALUES,
        "max(get_value(Q1, P0))": Type.NUMBER,
        "get_first(members(C1))": Type.ENTITY,
    }
    assert {text: typecheck(from_text(text)) for text in kinds} == kinds
    beyond = [text for text in kinds if refused(text, RESTRICTED)]
    assert len(beyond) == 8  # approx, two types, atmost, two pairs, clarify, and three about literals


def refused(text, table=OPERATORS):
    try:
        from_text(text, table=table)
    except FormError as error:
        assert str(error).endswith((".", "?")) and "\n" not in str(error)
        return str(error)
    return ""


# What is refused.


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("keep(Q1, P2", "P2 is not Q with a number"),
        ("keep(Q1, C1", r"wants '\)' after 2 arguments of keep and ends at character 12"),
        ("keep(Q1)", r"wants ',' after argument 1 of 2 arguments of keep and has '\)'"),
        ("keep(Q1, C2, C3)", r"wants '\)' after 2 arguments of keep and has ','"),
        ("keep(3, C1)", "keep wants a set of entities as argument 1, got a number"),
        ("cardinality(cardinality(Q1))", "cardinality wants a set of entities as argument 1, got a number"),
        ("arg(is_in(Q1, Q2))", "arg wants a truth value per branch of a for_each, got a plain one"),
        ("argmax(for_each(Q1))", "argmax wants a number as argument 1, got a set of entities per branch"),
        ("cardinality(for_each(Q1))", "for_each is open: close it with arg, argmax or argmin"),
        ("for_each(for_each(Q1))", "close the inner for_each first"),
        ("clarify(for_each(Q1))", "clarify wants plain arguments"),
        ("pair(1, is_in(Q1, Q2))", "pair wants a truth value twice or a number twice, got a number and a truth value"),
        ("follow_proprety(Q1, P1)", "No operator is called 'follow_proprety'; is it follow_property[?]"),
        ("xyz(Q1)", "No operator is called 'xyz'"),
        ("keep(Q1, C1) Q2", "ends before character 14, where 'Q2' follows"),
        ("", "ends at character 1 where a set of entities is wanted"),
        ("{Q1,", "its end"),
        ("{3}", "A set of entities has '3'"),
        ("1e400", "too large"),
        ("Q1 @", "cannot be read at character 4: '@'"),
        ("Q99999999999", "is not Q with a number"),
        ('"\\x"', "not a name in quotes"),
        ("keep(" * 100 + "Q1" + ", C1)" * 100, "64 operators deep"),
        ("(" * 5000, r"cannot have '\('"),
        (" " * 1_000_001, "1,000,000 characters"),
    ],
)
def test_bad_text_is_refused_in_one_sentence(text, says):
    assert re.search(says, refused(text)), refused(text)


def test_bad_trees_are_refused_in_one_sentence():
    deep = Entity(1)
    for _ in range(5000):
        deep = apply("clarify", deep)
    wide = Entity(1)
    for _ in range(40):  # shared subtrees: 2^40 tokens
        wide = apply("union", wide, wide)
    for form, says in (
        (deep, f"{MAX_DEPTH} operators deep"),
        (wide, f"{MAX_TOKENS} tokens"),
        (Apply("keep", (Entity(1),)), "keep wants 2 arguments, got 1"),
        (Apply("keep", [Entity(1), Class(1)]), "want to be a tuple, got list"),
        (Apply(["keep"], ()), "No operator is called"),
        (apply("keep", "Q1", Class(1)), "not of str"),
        (Entity(-1), "an id from 0"),
        (Entity(True), "an id from 0"),
        (Entity("Q1"), "an id from 0"),
        (Entities([1]), "a tuple of ids"),
        (Number(float("nan")), "finite"),
        (Number("3"), "finite"),
        (None, "not of NoneType"),
    ):
        with pytest.raises(FormError, match=says):
            typecheck(form)


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        ([], "ends after 0 tokens"),
        (["keep", Entity(1)], "ends after 2 tokens and wants more"),
        ([Entity(1), Entity(2)], "whole, and more tokens follow"),
        (["keep", Number(1)], r"Argument 1 of keep wants a set of entities, got .*a number"),
        (["keep", Entity(1), Property(1)], "Argument 2 of keep wants a class"),
        (["arg", "is_in", Entity(1), Entity(2)], "Argument 2 of is_in wants a set of entities per branch"),
        (["cardinality", "for_each"], "Argument 1 of cardinality wants a set of entities"),
        ([Property(1)], "A form wants"),
        (["nothing"], "No operator"),
        (["clarify"] * 65, "64 operators deep"),
        ([Entity(-3)], "an id from 0"),
    ],
)
def test_bad_tokens_are_refused_in_one_sentence(tokens, says):
    with pytest.raises(FormError, match=says):
        delinearise(tokens)


@pytest.mark.parametrize(
    "lf",
    [None, [], {}, ["keep"], ["keep", "Q1"], [1], ["set", 1], True, ["nope", "Q1"], [["keep"]], "Qx", [["a"] * 3] * 9],
)
def test_bad_json_is_refused(lf):
    with pytest.raises(FormError):
        from_json(lf)


def test_json_that_is_too_deep_is_refused():
    lf: object = "Q1"
    for _ in range(500):
        lf = ["clarify", lf]
    with pytest.raises(FormError, match="deep"):
        from_json(lf)


@settings(max_examples=500, deadline=None)
@given(
    st.one_of(
        st.text(max_size=80),
        st.lists(
            st.sampled_from(
                [*OPERATORS, "(", ")", ",", "{", "}", " ", "Q1", "P1", "C1", "3", "-1.5", '"', '"a"', "1e9"]
            ),
            max_size=30,
        ).map("".join),
    )
)
@example("keep(")
@example('"\\ud800"')
@example("-")
def test_any_text_is_a_form_or_one_sentence(text):
    for names in (None, Words()):
        try:
            form = from_text(text, names)
        except ZooError as error:
            assert "\n" not in str(error).replace(repr(text), "")
        else:
            assert from_text(to_text(form, names), names) == form


LEAVES = st.one_of(
    st.builds(Entity, st.integers(0, 11)),
    st.builds(Class, st.integers(0, 3)),
    st.builds(Property, st.integers(0, 2)),
    st.builds(Number, st.integers(0, 5)),
)
LOOSE = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        Apply, st.sampled_from(list(OPERATORS)), st.lists(inner, min_size=1, max_size=2).map(tuple)
    ),
    max_leaves=8,
)


@settings(max_examples=500, deadline=None)
@given(LOOSE)
def test_prefix_order_accepts_exactly_what_types(form):
    # Two independent readings of the same rules: bottom-up types and the top-down stack.
    for table in (OPERATORS, RESTRICTED):
        try:
            whole = typecheck(form, table) not in (Type.PROPERTY, Type.CLASS)
        except FormError:
            whole = False
        try:
            again = delinearise(linearise(form), table)
        except FormError:
            again = None
        assert (again == form) == whole or not whole  # a wrong number of arguments may be another form's tokens
        assert again is None or typecheck(again, table)


# The stack of a constrained decoder.


@quiet
@given(forms(), st.sampled_from([OPERATORS, RESTRICTED]))
def test_the_missing_tokens_never_exceed_those_that_come(form, table):
    tokens, shortest, prefix = linearise(form), shortest_forms(table), Prefix(table)
    for i, token in enumerate(tokens):
        assert prefix.missing(shortest) <= len(tokens) - i
        if not prefix.accepts(token):
            assert table is RESTRICTED
            return
        prefix = prefix.push(token)
        assert prefix.length == i + 1
    assert prefix.form == form and prefix.want is None and prefix.missing(shortest) == 0


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from([OPERATORS, RESTRICTED]), st.integers(1, 24), st.booleans())
def test_a_decoder_that_keeps_within_its_length_always_ends(data, table, most, numbers):
    tokens = [*table, Entity(1), Entities((1, 2)), Property(0), Class(0)] + [Number(2)] * numbers
    kinds = {grammar.CONSTANTS[type(token)] for token in tokens if not isinstance(token, str)}
    shortest, prefix = shortest_forms(table, kinds), Prefix(table)
    assert prefix.missing(shortest) == 1
    while prefix.want is not None:
        left = most - prefix.length - 1
        longer = [prefix.push(token) for token in tokens if prefix.accepts(token)]
        prefix = data.draw(st.sampled_from([one for one in longer if one.missing(shortest) <= left]))
    assert prefix.length <= most
    assert prefix.form is not None and not infer(prefix.form, table)[1]


def test_shortest_forms_depend_on_the_constants_at_hand():
    every = shortest_forms()
    assert every[Type.NUMBER, False] == 1 and every[Type.LIST, False] == 3 and every[Type.BOOLEAN, True] == 4
    few = shortest_forms(constants=[Type.ENTITY])
    assert few[Type.NUMBER, False] == 2 and few[Type.LIST, False] == 5
    assert (Type.VALUES, False) not in few and Prefix(kinds=[Type.VALUES]).missing(few) == NEVER
    assert (Type.LIST, False) not in shortest_forms(RESTRICTED)


def test_prefixes_share_their_beginnings():
    start = Prefix().push("union")
    one, other = start.push(Entity(1)), start.push("members")
    assert start.length == 1 and one.push(Entity(2)).form == apply("union", Entity(1), Entity(2))
    assert other.want is not None and other.want.types == {Type.CLASS}


def test_operators_take_and_give_what_their_table_says():
    assert from_text(CITIES).operator == "arg" and infer(from_text(CITIES).arguments[0]) == (Type.BOOLEAN, True)
    assert {name for name, one in OPERATORS.items() if one.parallel == "opens"} == {"for_each"}
    assert {name for name, one in OPERATORS.items() if one.parallel == "closes"} == {"arg", "argmax", "argmin"}
    assert set(OPERATORS) - set(RESTRICTED) == {
        *("atleast", "atmost", "approx", "pair", "clarify", "get_value", "get_first", "max", "min")
    }
