"""Scores of a parser: conventions by hand-made answers, equivalent forms, resampling, rankings, published means."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.dialogues import TYPE_KEYS, Answer, Dialogue, Pair
from datamodules.synthetic_dialogues import generate
from datamodules.synthetic_graph import synthetic_graph
from zoo.claims import Skip
from zoo.knowledge.build import from_arrays
from zoo.knowledge.executor import Executor
from zoo.knowledge.grammar import Form, from_text, operators_of
from zoo.knowledge.graph import KnowledgeGraph
from zoo.models.conversational_parser import claims
from zoo.models.conversational_parser.evaluation import (
    Estimate,
    Evaluation,
    Scored,
    answerable,
    beside_published,
    canonical,
    evaluate,
    executed,
    score,
    symmetric_properties,
)
from zoo.models.conversational_parser.published import CHECKED, NINE_TYPES, OFFICIAL_COUNTS, TOTALS, weighted_mean

GRAPH = synthetic_graph(0)
DIALOGUES = generate(GRAPH, 30, 0)
PAIRS = [pair for dialogue in DIALOGUES for pair in dialogue.pairs]


@pytest.fixture(scope="module")
def executor() -> Executor:
    return Executor(GRAPH)


def form_of(value: str | None) -> Form | None:
    return None if value is None else from_text(value)


def one_question(pair: Pair, form: str | None, executor: Executor, before: Pair | None = None) -> Scored:
    pairs = (pair,) if before is None else (before, pair)
    return score([Dialogue("d", pairs)], [None] * (len(pairs) - 1) + [form_of(form)], executor)[-1]


def entities(*ids: int, type: str = "direct", form: str | None = None) -> Pair:
    return Pair((), Answer("", entities=ids), type, form=form_of(form))


# Conventions.


def test_the_gold_forms_score_everything_and_nothing_scores_nothing(executor: Executor) -> None:
    gold = evaluate(score(DIALOGUES, [pair.form for pair in PAIRS], executor), resamples=20)
    nothing = evaluate(score(DIALOGUES, [None] * len(PAIRS), executor), resamples=20)
    assert gold.questions == len(PAIRS) and gold.not_executable == 0 and nothing.not_executable == len(PAIRS)
    for found, value in ((gold, 100.0), (nothing, 0.0)):
        for one in found.types.values():
            for name, estimate in one.scores.items():
                assert not estimate.known or estimate == Estimate(value, value, value), name
        assert all(one.value == value for one in found.overall.values() if one.known)
    assert all(one.answerable for one in score(DIALOGUES, [None] * len(PAIRS), executor))


def test_sets_in_four_conventions(executor: Executor) -> None:
    scored = [
        one_question(entities(1, 2), "union(Q1, Q2)", executor),  # P 1, R 1
        one_question(entities(1, 2, 3, 4), "Q1", executor),  # P 1, R 1/4
        one_question(entities(1), "union(union(Q1, Q2), union(Q3, Q4))", executor),  # P 1/4, R 1
        one_question(entities(9), None, executor),
    ]
    found = evaluate(scored, 0).types["direct"].scores
    assert found["macro"].value == pytest.approx(100 * (1 + 0.4 + 0.4 + 0) / 4)
    assert found["micro"].value == pytest.approx(100 * 2 * 4 / (7 + 8))
    p, r = (1 + 1 + 0.25) / 4, (1 + 0.25 + 1) / 4
    assert found["official"].value == pytest.approx(100 * 2 * p * r / (p + r))
    assert found["exact"].value == 25


def test_counts_and_verdicts(executor: Executor) -> None:
    def verdict(*gold: bool) -> Pair:
        return Pair((), Answer("", booleans=gold), "verification")

    yes, no = "is_in(Q1, Q1)", "is_in(Q1, Q2)"
    for pair, form, right, one_word in (
        (verdict(True), yes, True, True),
        (verdict(False), yes, False, False),
        (verdict(True, False), f"pair({yes}, {no})", True, True),
        (verdict(True, False), f"pair({no}, {yes})", False, True),  # "YES and NO" is no YES
        (verdict(True, True), yes, False, True),
        (verdict(False), "cardinality(Q1)", False, False),
    ):
        found = one_question(pair, form, executor)
        assert (found.right, found.one_word) == (right, one_word), form
    two = Pair((), Answer("1 and 2", numbers=(1, 2), entities=(3, 4, 5)), "quantitative count")
    found = one_question(two, "pair(cardinality(Q1), cardinality(union(Q1, Q2)))", executor)
    assert found.right and found.one_word and found.f1 == 1
    found = one_question(two, "cardinality(union(Q1, Q2))", executor)
    assert not found.right and not found.one_word and found.precision == 1 and found.recall == 0.5
    scores = evaluate([found], 0).types["quantitative count"].scores
    assert scores["accuracy"].value == 0 and scores["words"].value == pytest.approx(200 / 3)


def test_clarifications_are_scored_on_their_own_and_booked_with_what_follows(executor: Executor) -> None:
    asked = Pair((), Answer("Did you mean X ?", entities=(1, 2), shown=(1,)), "clarification")
    after = Pair((), Answer("", entities=(7,)), "coref")
    forms = [from_text("union(Q1, Q2)"), from_text("Q7")]
    found = evaluate(score([Dialogue("d", (asked, after))], forms, executor), 0).types["clarification"]
    assert found.main.value == 0, "an answer is no question back"
    assert found.scores["booked"].value == 100
    right = one_question(asked, "clarify(union(Q1, Q2))", executor)
    assert right.right and not one_question(entities(1, 2), "clarify(union(Q1, Q2))", executor).right
    assert one_question(after, "Q7", executor, before=asked).deferred


def test_nothing_is_dropped(executor: Executor) -> None:
    unknown = Pair((), Answer("Did you mean X ?"), "clarification")
    scored = [one_question(unknown, "clarify(Q1)", executor), one_question(entities(1), "Q99999999", executor)]
    found = evaluate(scored, 0)
    assert (found.questions, found.without_gold, found.not_executable) == (2, 1, 1)
    assert not found.types["clarification"].main.known and found.types["direct"].main.value == 0
    assert "1 without a gold answer" in found.text() and "1 whose form does not run" in found.text()
    assert not any(map(math.isnan, found.metrics().values()))


def test_which_questions_a_graph_can_answer(executor: Executor) -> None:
    pair = entities(1, form="Q1")
    scored = [one_question(pair, None, executor), one_question(entities(2, form="Q1"), "Q2", executor)]
    assert answerable(scored) == scored[:1] and scored[1].right and scored[1].form is False
    count = "cardinality(keep(follow_property(for_each(members(C1)), P0), C2))"
    about = Pair((), Answer("", entities=(1,)), "quantitative", form=from_text(f"arg(approx({count}, 3))"))
    assert one_question(about, "Q1", executor).approximate and not scored[0].approximate


def test_overalls_are_weighted_means(executor: Executor) -> None:
    right = [pair.form if pair.type in ("direct", "verification") else None for pair in PAIRS]
    found = evaluate(score(DIALOGUES, right, executor), 0)
    counts = {key: one.questions for key, one in found.types.items()}
    nine = sum(counts[key] for key in NINE_TYPES)
    assert found.overall["nine types, own counts"].value == pytest.approx(
        100 * (counts["direct"] + counts["verification"]) / nine
    )
    official = OFFICIAL_COUNTS["direct"] + OFFICIAL_COUNTS["verification"]
    assert found.overall["nine types, official counts"].value == pytest.approx(
        100 * official / sum(OFFICIAL_COUNTS[key] for key in NINE_TYPES)
    )
    assert (
        found.metrics("B_")["B_direct"] == 100
        and found.metrics()["overall"] == found.overall["nine types, own counts"].value
    )


def test_the_table_names_every_convention(executor: Executor) -> None:
    found = evaluate(score(DIALOGUES, [pair.form for pair in PAIRS], executor), 50)
    text = found.text()
    for name in (
        "macro",
        "micro",
        "official",
        "exact",
        "accuracy",
        "one word",
        "words",
        "booked",
        "exact form",
        "own counts",
    ):
        assert name in text
    beside = beside_published(found, "mine")
    assert "other data" in beside and "75.57" in beside and "82.69" in beside and "nan" not in beside


# Resampling.


def test_intervals_are_over_dialogues() -> None:
    def scored(dialogue: str, right: bool) -> Scored:
        return Scored(dialogue, "direct", "entities", False, int(right), 1, 1, right, right, True, None, None, False)

    same = evaluate([scored(str(i), j == 0) for i in range(20) for j in range(4)])
    clustered = evaluate([scored(str(i), i < 5) for i in range(20) for _ in range(4)])
    assert same.types["direct"].main == Estimate(25, 25, 25)
    one = clustered.types["direct"].main
    assert one.value == 25 and 3 < one.low < 15 and 35 < one.high < 50
    spread = 100 * math.sqrt(0.25 * 0.75 / 20)
    assert (one.high - one.low) / (2 * 1.96) == pytest.approx(spread, rel=0.2)
    assert evaluate([]).questions == 0 and isinstance(evaluate([]), Evaluation)


# Equivalent forms.


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(PAIRS), st.booleans())
def test_a_canonical_form_has_the_same_value(pair: Pair, twice: bool) -> None:
    assert pair.form is not None
    one = canonical(pair.form)
    assert canonical(one) == one
    executor = Executor(GRAPH)
    a, b = executed(pair.form, executor), executed(one, executor)
    assert a is not None and (a == b or "pair" in operators_of(one))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("union(Q1, Q2)", "{Q2, Q1}"),
        ("keep(follow_property({Q1, Q2}, P0), C1)", "union(keep(follow_property(Q2, P0), C1), keep(follow_property(Q1, P0), C1))"),
        ("keep(union(follow_property(Q1, P0), follow_backward(Q2, P1)), C1)", "union(keep(follow_backward(Q2, P1), C1), keep(follow_property(Q1, P0), C1))"),
        ("keep(difference(Q1, Q2), C1)", "difference(keep(Q1, C1), keep(Q2, C1))"),
        ("is_in(Q1, follow_backward(Q2, P1))", "is_in(Q2, follow_property(Q1, P1))"),
        ("equals(cardinality(Q1), 2)", "equals(2, cardinality(Q1))"),
        ("follow_backward(Q1, P7)", "follow_property(Q1, P7)"),
        ("is_in(Q1, follow_property(Q2, P7))", "is_in(Q2, follow_property(Q1, P7))"),
    ],
)  # fmt: skip
def test_forms_that_mean_the_same(a: str, b: str) -> None:
    assert canonical(from_text(a), {7}) == canonical(from_text(b), {7})


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("difference(Q1, Q2)", "difference(Q2, Q1)"),
        ("follow_backward(Q1, P0)", "follow_property(Q1, P0)"),
        ("is_in(Q1, follow_property(Q2, P0))", "is_in(Q2, follow_property(Q1, P0))"),
        ("greater_than(cardinality(Q1), 2)", "greater_than(2, cardinality(Q1))"),
        ("keep(follow_property(Q1, P0), C1)", "follow_property(Q1, P0)"),
        ("intersection(follow_property(Q1, P0), follow_property(Q2, P0))", "follow_property(intersection(Q1, Q2), P0)"),
    ],
)
def test_forms_that_do_not(a: str, b: str) -> None:
    assert canonical(from_text(a), {7}) != canonical(from_text(b), {7})


def test_symmetric_properties() -> None:
    s, p, o = np.array([0, 1, 0, 1, 2]), np.array([0, 0, 1, 1, 1]), np.array([1, 0, 1, 0, 0])
    graph: KnowledgeGraph = from_arrays(
        (s, p, o), (np.arange(3), np.zeros(3, int)), entities=3, property_names=["P0", "P1"], class_names=["Q0"]
    )
    assert symmetric_properties(graph) == {0} and symmetric_properties(graph, 0.6) == {0, 1}


# Published tables and claims.


def test_a2_published_overalls_are_the_weighted_means() -> None:
    assert sum(OFFICIAL_COUNTS[key] for key in NINE_TYPES) == 258_937
    for name, total in TOTALS.items():
        assert weighted_mean(CHECKED[name]) == pytest.approx(total, abs=0.01)
    assert set(TYPE_KEYS) == set(OFFICIAL_COUNTS)


def test_e1_identities_hold_and_a_broken_executor_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert claims.broken_identities().value == 0
    monkeypatch.setattr(Executor, "_extreme", lambda self, reduce, v: self._value(v).keys)
    assert claims.broken_identities().value > 0


def test_claims_on_real_data_are_skipped_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZOO_DATA", raising=False)
    claims.sample.cache_clear()
    with pytest.raises(Skip, match="ZOO_DATA"):
        claims.sample()
