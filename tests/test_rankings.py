"""ConvQuestions: conventions of ranked answers, a parser over a graph and over names alone, the recipe's data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_csqa
import torch
from fitting import fit

from datamodules import convquestions, csqa
from datamodules.convquestions import Conversation
from datamodules.parsing import ConvQuestionsParsingData, read_forms
from datamodules.structured_inputs import examples
from datamodules.synthetic_graph import synthetic_graph
from zoo.cli import main
from zoo.knowledge.context import SPECIAL, Vocabulary
from zoo.knowledge.executor import Boolean, EntitySet, NumberValue, Pair, ValueSet
from zoo.knowledge.grammar import from_text
from zoo.knowledge.graph import KnowledgeGraph, Literal
from zoo.models.conversational_parser.module import FormTraining
from zoo.models.conversational_parser.network import StructuredParser
from zoo.models.conversational_parser.parser import Parser
from zoo.models.conversational_parser.rankings import Asked, Ranked, Rankings, evaluate_rankings, names, rank
from zoo.registry import ZooError

GRAPH = synthetic_graph(0)
REAL = Path(os.environ.get("ZOO_DATA", Path(__file__).parents[2] / "shared" / "data")) / "convquestions"


def test_rankings_in_every_convention() -> None:
    def ranked(turn: int, ranking: list[list[str]], gold: str, asked: bool = False) -> Ranked:
        return Ranked("g", turn, ranking, lambda answer: answer == gold, asked)

    questions = [
        ranked(0, [["a"]], "a"),
        ranked(1, [["b"], ["c", "a"]], "a"),  # second or third
        ranked(2, [["no"]], "yes", asked=True),
        ranked(3, [], "a"),
    ]
    found = evaluate_rankings(questions, 10)
    assert len(found) == 8
    own = found["turn 0 in, ties shared, yes or no own"]
    assert (own.p1.value, own.mrr.value, own.hit5.value) == pytest.approx((25, 37.5, 50))
    both = found["turn 0 out, ties shared, yes or no both"]
    assert (both.p1.value, both.mrr.value, both.hit5.value) == pytest.approx((0, 100 / 3, 200 / 3))
    mean = found["turn 0 out, ties expected, yes or no own"]
    assert mean.mrr.value == pytest.approx(100 * (1 / 2 + 1 / 3) / 2 / 3)
    (tie,) = {
        evaluate_rankings([ranked(1, [["a", "b", "c", "d"]], "a")], 0)[
            "turn 0 in, ties expected, yes or no own"
        ].p1.value
    }
    assert tie == pytest.approx(25)


def conversation(number: int, graph: KnowledgeGraph, *, seed: int = 3) -> dict[str, Any]:
    """Five questions, in the official format, about the first entity from `seed` on that has a fact."""
    wiki = "https://www.wikidata.org/wiki/"
    seed = next(one for one in range(seed, graph.entities) if graph.incident(one)[0])
    answers = [
        ";".join(wiki + graph.entity_name(int(one)) for one in graph.objects(seed, p)) for p in graph.incident(seed)[0]
    ]
    texts = [f"Where is {graph.label(seed)} ?", *["And that one ?"] * 4]
    said = [*(answers * 4)[:4], "yes"]
    turns = [{"question": q, "answer": a, "answer_text": "Ann"} for q, a in zip(texts, said, strict=True)]
    address = wiki + graph.entity_name(seed)
    fields = {"conv_id": number, "domain": "books", "seed_entity": address, "seed_entity_text": graph.label(seed)}
    return fields | {"questions": turns}


def read(*values: dict[str, Any]) -> list[Conversation]:
    return [convquestions.conversation(one, "here") for one in values]


def parser(graph: KnowledgeGraph) -> Parser:
    words = Vocabulary((*SPECIAL, "?"), tuple(graph.property_name(p) for p in range(3)), (graph.class_name(0),))
    shape: dict[str, Any] = {"dim": 16, "width": 16, "heads": 2, "layers": 1, "decoder_layers": 1, "longest": 12}
    network = StructuredParser(**shape, **words.sizes, generator=torch.Generator().manual_seed(0))
    return Parser(network, words, graph, linking="oracle_current")


def test_values_are_said_as_conversations_say_them() -> None:
    day = Literal("date", 2001.4, "2001-06-22T00:00:00Z")
    assert names(EntitySet(np.array([0, 2], np.int32)), GRAPH) == (GRAPH.entity_name(0), GRAPH.entity_name(2))
    assert names(Boolean(True), GRAPH) == ("yes",) and names(Pair(Boolean(False), Boolean(True)), GRAPH) == (
        "no",
        "yes",
    )
    assert names(NumberValue(4.0), GRAPH) == ("4",) and names(NumberValue(float("nan")), GRAPH) == ()
    assert names(ValueSet((day,)), GRAPH) == (day.text,) and names(None, GRAPH) == ()


def test_the_first_of_equal_answers_counts() -> None:
    (one,) = read(conversation(1, GRAPH))
    gold = one.questions[0].answers[0]
    form = from_text("Q0")
    asked = Asked(one, one.questions[0], (form, form), (("Q0", "Q1"), ("Q1", gold.value), ("q0",)))
    ranked = asked.ranked
    assert ranked.ranking == [["Q0", "Q1"], [gold.value]] and ranked.right(gold.value.lower()) and not ranked.asked
    assert Asked(one, one.questions[4], (form,), (("yes",),)).ranked.asked


def test_a_parser_ranks_the_values_of_its_beam(tmp_path: Path) -> None:
    found = rank(parser(GRAPH), read(conversation(1, GRAPH), conversation(2, GRAPH, seed=9)))
    assert len(found.asked) == 10 and found.executed and len(found.scores) == 8
    for one in found.asked:
        assert 1 <= len(one.forms) <= 5 and one.answers is not None and len(one.answers) <= len(one.forms)
    assert set(found.metrics("dev_")) == {
        f"dev_{key}{turns}" for key in ("p1", "mrr", "hit5") for turns in ("", "_later")
    }
    assert "2 seed conversations" in found.text() and "turn 0 out, ties expected" in found.text()
    found.write(tmp_path / "asked.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "asked.jsonl").read_text().splitlines()]
    assert [row["turn"] for row in rows] == [0, 1, 2, 3, 4] * 2 and rows[0]["forms"] and rows[4]["gold"] == ["yes"]


def test_the_right_form_is_right() -> None:
    """The answer of a fact's own form is first in every convention."""
    graph = synthetic_graph(0)
    source, places, targets = graph.edges(0)
    subject, gold = int(source[0]), [graph.entity_name(int(one)) for one in targets[: places[1]]]
    value = conversation(1, graph, seed=subject)
    value["questions"] = [{"question": "Where ?", "answer": ";".join(gold)}] * 2
    (one,) = read(value)
    form = from_text(f"follow_property(Q{subject}, P0)")
    talking = parser(graph)
    answers = (names(talking.executor.run(form), graph),)
    found = Rankings(tuple(Asked(one, question, (form,), answers) for question in one.questions), graph)
    assert all(score.p1.value == score.mrr.value == score.hit5.value == 100 for score in found.scores.values())


def test_without_a_graph_forms_are_told_and_not_executed(tmp_path: Path) -> None:
    conversations = read(conversation(1, GRAPH), conversation(2, GRAPH, seed=9))
    graph = convquestions.names_graph(conversations, GRAPH)
    assert graph.triples == 0 and graph.properties == GRAPH.properties
    assert graph.label(graph.entity(conversations[0].seed_entity)) == conversations[0].seed_text
    found = rank(parser(graph), conversations, execute=False)
    assert not found.executed and found.metrics() == {} and "not executed and not scored" in found.text()
    found.write(tmp_path / "asked.jsonl")
    row = json.loads((tmp_path / "asked.jsonl").read_text().splitlines()[0])
    assert row["answers"] is None and row["forms"]


@pytest.mark.skipif(not REAL.is_dir(), reason="ConvQuestions is not there")
def test_real_conversations_get_forms_about_their_entities() -> None:
    conversations = [one for split in ("dev", "test") for one in convquestions.read(REAL, split)]
    graph = convquestions.names_graph(conversations, GRAPH)
    assert all(graph.has_entity(one.seed_entity) for one in conversations)
    distinct = list({one.source: one for one in conversations}.values())
    assert len(distinct) == 140
    found = rank(parser(graph), distinct, execute=False)
    assert len(found.asked) == 700 and all(one.forms for one in found.asked)


# The recipe's data.


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """CSQA in its full format, conversations about its entities, and the graph's file."""
    root = tmp_path_factory.mktemp("convquestions")
    graph, _ = tiny_csqa.write(root / "csqa")
    graph = csqa.full_graph(root / "csqa", root / "cache")
    (root / "conversations").mkdir()
    for split in ("train", "dev", "test"):
        values = [conversation(i, graph, seed=5 * i) for i in range(4)]
        (root / "conversations" / f"{split}_set_ALL.json").write_text(json.dumps(values))
    graph.save(root / "graph.kg")
    return root / "csqa", root / "conversations", root / "graph.kg"


def trained(folder: Path, **options: Any) -> FormTraining:
    data = ConvQuestionsParsingData(cache=str(folder / "cache"), batch_size=4, validation=8, **options)
    shape: dict[str, Any] = {"dim": 16, "width": 16, "heads": 2, "layers": 1, "decoder_layers": 1, "tests": 2}
    return fit(FormTraining(**shape, log_every=1), data, 2, folder)


@pytest.mark.parametrize("given", [False, True])
def test_csqa_teaches_where_there_are_no_forms(
    given: bool, folders: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher, root, graph = folders
    options = {"graph": str(graph)} if given else {}
    module = trained(tmp_path, root=str(root), csqa=str(teacher), **options)
    assert ("dev_p1" in module.history.metrics) == given
    for split in ("dev", "test"):
        rows = [json.loads(line) for line in (tmp_path / f"asked_{split}.jsonl").read_text().splitlines()]
        assert len(rows) == 10 and (rows[0]["answers"] is not None) == given
    assert ("not executed" in capsys.readouterr().out) != given


def test_own_answers_teach_by_a_search(
    folders: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, root, graph = folders
    forms = tmp_path / "forms.jsonl"
    command = ["silver", str(root), f"--out={forms}", "--jobs=1"]
    assert main(command) == 2 and "no graph to search in" in capsys.readouterr().err
    assert main([*command, f"--graph={graph}"]) == 0 and "any question" in capsys.readouterr().out
    lines = [json.loads(line) for line in forms.read_text().splitlines()]
    assert len(lines) == 20 and len(read_forms(forms)) == sum(line["form"] is not None for line in lines) > 0
    options = {"root": str(root), "graph": str(graph), "forms": str(forms)}
    module = trained(tmp_path, **options)
    assert "test_mrr" in module.history.metrics
    data = ConvQuestionsParsingData(**options)
    targets = [one.target for one in examples(data.context("train"), data.train)]
    assert sum(target is not None for target in targets) == len(data._training[1]) > 0


@pytest.mark.parametrize(
    "options, says",
    [
        ({"forms": "forms.jsonl"}, "Forms are of a graph"),
        ({"forms": "f", "graph": "g", "train_split": "dev"}, "dev conversations cannot both teach and be asked"),
        ({"root": "nowhere"}, "nowhere is not a folder"),
        ({"domains": ["films"]}, "no domain 'films'"),
    ],
)
def test_mistakes_get_one_sentence(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ZooError, match=says):
        _ = ConvQuestionsParsingData(**options).corpus
