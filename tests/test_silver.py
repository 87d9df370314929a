"""Silver forms: what the search finds is right and is everything, ranking, processes, resuming, the command."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from datamodules.dialogues import Answer, Dialogue, Mention, Pair, tokenise
from datamodules.parsing import read_forms, with_forms
from datamodules.synthetic_dialogues import generate
from datamodules.synthetic_graph import synthetic_graph
from zoo.cli import main
from zoo.knowledge.executor import Executor
from zoo.knowledge.grammar import (
    OPERATORS,
    RESTRICTED,
    Apply,
    Entities,
    Form,
    from_text,
    linearise,
    operators_of,
    to_text,
    typecheck,
)
from zoo.knowledge.graph import KnowledgeGraph
from zoo.knowledge.silver import Constants, Search, labelled, ranked, search
from zoo.models.conversational_parser.evaluation import answer_matches, canonical, executed
from zoo.models.conversational_parser.silver import Coverage, coverage, read_lines, search_all, search_into
from zoo.registry import ZooError, read_json


@pytest.fixture(scope="module")
def graph() -> KnowledgeGraph:
    return synthetic_graph(0)


@pytest.fixture(scope="module")
def dialogues(graph: KnowledgeGraph) -> list[Dialogue]:
    return generate(graph, 40, 0, setting="hard")


@pytest.fixture(scope="module")
def executor(graph: KnowledgeGraph) -> Executor:
    return Executor(graph)


def questions(dialogues: Sequence[Dialogue]) -> list[tuple[Pair, tuple[Pair, ...]]]:
    return [(pair, dialogue.pairs[:i]) for dialogue in dialogues for i, pair in enumerate(dialogue.pairs)]


def is_right(form: Form, pair: Pair, executor: Executor) -> bool:
    asks_back = isinstance(form, Apply) and form.operator == "clarify"
    return answer_matches(executed(form, executor), pair.answer, asks_back, pair.type == "clarification")


# What is found.


def test_every_form_found_has_the_gold_value_and_the_gold_form_is_among_them(
    dialogues: list[Dialogue], executor: Executor
) -> None:
    full, first, every = Search(executor), 0, questions(dialogues)
    for pair, previous in every:
        found = full(pair, previous)
        assert found.forms and found.tried >= len(found.forms) == len(set(found.forms))
        assert all(is_right(form, pair, executor) and typecheck(form) for form in found.forms)
        meanings = [canonical(form) for form in found.forms]
        assert pair.form is not None and canonical(pair.form) in meanings, pair.question
        first += meanings[0] == canonical(pair.form)
    assert first > 0.97 * len(every), "the ranking"


def test_the_restricted_search_stays_in_its_grammar(dialogues: list[Dialogue], executor: Executor) -> None:
    restricted, full = Search(executor, RESTRICTED), Search(executor)
    for pair, previous in questions(dialogues[:20]):
        found = restricted(pair, previous).forms
        assert all(typecheck(form, RESTRICTED) for form in found)
        if pair.type != "clarification":  # which it takes for a question about a set
            assert set(found) <= set(full(pair, previous).forms)


@pytest.mark.parametrize("table", [OPERATORS, RESTRICTED], ids=["full", "restricted"])
def test_no_form_with_the_gold_value_is_missed(table: dict, dialogues: list[Dialogue], executor: Executor) -> None:
    """What bisection decides is what execution says."""
    one, seen = Search(executor, table), set()
    for pair, previous in questions(dialogues):
        if pair.type == "clarification" or (pair.type, pair.description) in seen:
            continue
        seen.add((pair.type, pair.description))
        every = one.all_forms(pair, previous)
        right = {form for form in every if is_right(form, pair, executor)}
        assert set(one(pair, previous).forms) == right, pair.question
    assert len(seen) > 20


def test_a_question_without_gold_answer_or_constants_has_no_form(executor: Executor) -> None:
    assert search(Pair((), Answer(""), "direct"), (), executor) == []
    assert search(Pair(("Who", "?"), Answer("x", entities=(3,)), "direct"), (), executor) == []
    assert search(Pair(("Which", "one", "?"), Answer("", entities=(1, 2)), "clarification"), (), executor) == []


def test_constants_come_from_the_question_and_from_the_pairs_before() -> None:
    def pair(question: str, **more: object) -> Pair:
        return Pair(tokenise(question), more.pop("answer", Answer("")), "direct", **({"description": "x"} | more))  # type: ignore[arg-type]

    first = pair("Which 3 cities are in X 9 ?", properties=(4,), classes=(2,), entities=(7,))
    reply = pair("And what about Y ?", entities=(8,), answer=Answer("A, B", entities=(1, 2, 5), shown=(2, 1)))
    now = pair("And that one ?", mentions=(Mention(1, 2, 9),), entities=(9, 8))
    one = Constants.of(now, (first, reply))
    assert one.named == (9, 8) and one.context == (2, 1)
    assert one.properties == (4,) and one.classes == (2,) and one.numbers == (3, 9)
    assert Entities((1, 2)) in one.sets and from_text("union(Q9, Q8)") in one.sets


# Ranking.


def test_key_words_rank() -> None:
    count = "cardinality(keep(follow_property(for_each(members(C1)), P0), C2))"
    forms = [from_text(f"arg({name}({count}, 3))") for name in ("equals", "atmost", "atleast", "approx")]
    for words, name in (
        ("atleast 3 rivers", "atleast"),
        ("around 3", "approx"),
        ("exactly 3", "equals"),
        ("atmost 3", "atmost"),
    ):
        one = Constants((), (), (), (0,), (1, 2), (3,), f"which cities have {words} ?", "quantitative")
        assert operators_of(ranked(forms, one)[0])[1] == name
    forms = [
        from_text(f"keep({name}(follow_property(Q1, P0), follow_property(Q2, P0)), C1)")
        for name in ("union", "intersection", "difference")
    ]
    for words, name in (("a or b", "union"), ("a and b", "intersection"), ("a but not b", "difference")):
        assert operators_of(ranked(forms, Constants((1, 2), (), (), (0,), (1,), (), words, "logical"))[0])[1] == name


def test_forms_that_leave_less_of_the_question_unused_come_first() -> None:
    texts = ("follow_property(Q1, P0)", "keep(follow_property(Q5, P0), C1)", "keep(follow_property(Q1, P0), C1)")
    one = Constants((1,), (5,), (), (0,), (1,), (), "who ?", "direct")
    assert [to_text(form) for form in ranked(list(map(from_text, texts)), one)] == [texts[2], texts[1], texts[0]]


# Many dialogues.


def test_labelled_dialogues_have_the_first_form(dialogues: list[Dialogue], executor: Executor) -> None:
    for old, new in zip(dialogues[:3], labelled(dialogues[:3], executor), strict=True):
        assert [dataclasses.replace(pair, form=None) for pair in old.pairs] == [
            dataclasses.replace(pair, form=None) for pair in new.pairs
        ]
        assert all(pair.form is not None and is_right(pair.form, pair, executor) for pair in new.pairs)


def test_coverage_counts(dialogues: list[Dialogue], graph: KnowledgeGraph) -> None:
    found = coverage(dialogues, graph)
    total, n = found.total(), len(questions(dialogues))
    assert total.questions == total.full == total.compared == n and total.restricted < n
    assert found.types["direct"].restricted == found.types["direct"].questions
    assert found.types["clarification"].restricted < 0.5 * found.types["clarification"].questions
    assert found.total(("clarification",)).questions == n - found.types["clarification"].questions
    (row,) = [row for row in found.rows() if row["type"] == "all"]
    assert row["full %"] == 100 and row["right forms"] == pytest.approx(total.forms / n)
    assert Coverage.of([]).rows()[0]["questions"] == 0


def test_processes_find_the_same(dialogues: list[Dialogue], graph: KnowledgeGraph) -> None:
    def lines(jobs: int) -> dict[str, list]:
        return {found[0].dialogue: found for found in search_all(dialogues, graph, jobs)}

    assert lines(1) == lines(2)


def test_a_stopped_search_goes_on(dialogues: list[Dialogue], graph: KnowledgeGraph, tmp_path: Path) -> None:
    path, some = tmp_path / "silver.jsonl", dialogues[:12]
    whole = search_into(path, some, graph, source="these")
    lines, text = read_lines(path), path.read_text()
    path.write_text(text[: len(text) // 2])  # killed while writing
    with pytest.raises(ZooError, match="add --resume"):
        search_into(path, some, graph, source="these")
    with pytest.raises(ZooError, match="something else"):
        search_into(path, some, graph, source="those", resume=True)
    seen: list[int] = []
    again = search_into(path, some, graph, source="these", resume=True, progress=lambda done, of: seen.append(done))
    assert again == whole and read_lines(path) == lines
    assert 0 < len(seen) < len(some) and seen[-1] == len(some), "what was done is not searched again"
    assert read_json(tmp_path / "silver.jsonl.report.json")["types"] == json.loads(json.dumps(whole.rows()))
    path.write_text("{}\n" + text)
    with pytest.raises(ZooError, match="line 1"):
        read_lines(path)


def test_the_file_is_what_training_reads(dialogues: list[Dialogue], graph: KnowledgeGraph, tmp_path: Path) -> None:
    path = tmp_path / "silver.jsonl"
    search_into(path, dialogues[:3], graph, source="these")
    trained = list(with_forms(dialogues[:3], read_forms(path)))
    assert trained == list(labelled(dialogues[:3], Executor(graph)))


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("datamodules.parsing.default_cache", lambda: tmp_path)
    command = ["silver", "synthetic", "--dialogues=4", "--jobs=1", f"--out={tmp_path / 'forms.jsonl'}"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "synthetic, easy, seed 0, 4 dialogues" in out and "restricted %" in out and "all but clarification" in out
    assert main(command) == 2 and "--resume" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert main(["silver", str(tmp_path / "none"), "--out=x"]) == 2 and "not a folder" in capsys.readouterr().err
    assert main([*command, "--resume", "--jobs=0"]) == 2 and "--jobs" in capsys.readouterr().err


def test_forms_stay_short(dialogues: list[Dialogue], executor: Executor) -> None:
    lengths = [
        len(linearise(form))
        for pair, previous in questions(dialogues[:10])
        for form in Search(executor)(pair, previous).forms
    ]
    assert max(lengths) <= 34
