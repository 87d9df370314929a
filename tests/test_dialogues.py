"""Dialogues: records, the generator, CSQA's official format and its sample, ConvQuestions, malformed input."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_csqa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from datamodules import convquestions, csqa, csqa_labels
from datamodules import dialogues as records
from datamodules.dialogues import KEY_OF, TYPE_KEYS, Answer, Dialogue, Pair, find_mentions, tokenise, type_counts
from datamodules.synthetic_dialogues import (
    SETTINGS,
    Scene,
    Setting,
    corpus,
    generate,
    has_held_out,
    held_out_pairs,
    properties_of,
    world,
)
from datamodules.synthetic_graph import RELATIONS, Kind, Relation, synthetic_graph
from datamodules.wordings import MORE_RELATIONS, NOUNS, SHARED, WORDINGS, worded, yes_no
from zoo.knowledge.executor import Boolean, EntitySet, Executor, NumberValue
from zoo.knowledge.grammar import Entities, Entity, Number, linearise, to_text, typecheck
from zoo.knowledge.graph import KnowledgeGraph
from zoo.registry import ZooError

DATA = Path(os.environ["ZOO_DATA"])
SAMPLE, CONVERSATIONS = DATA / "csqa", DATA / "convquestions"
sample = pytest.mark.skipif(not SAMPLE.is_dir(), reason="no csqa in $ZOO_DATA")
conversations = pytest.mark.skipif(not CONVERSATIONS.is_dir(), reason="no convquestions in $ZOO_DATA")


def value_is(graph: Executor, pair: Pair) -> bool:
    """Whether running the form gives the answer."""
    assert pair.form is not None
    value, answer = graph.run(pair.form), pair.answer
    match value:
        case EntitySet(ids):
            return answer.entities is not None and tuple(ids.tolist()) == answer.entities
        case NumberValue(number):
            return answer.numbers == (number,)
        case Boolean(verdict):
            return answer.booleans == (verdict,)
    return (answer.booleans or answer.numbers) == (value.first.value, value.second.value)  # type: ignore[union-attr]


# Records.


def test_tokens_and_mentions() -> None:
    assert tokenise("And what about Jean-Marc O'Neil?") == ("And", "what", "about", "Jean-Marc", "O'Neil", "?")
    tokens = tokenise("Was New York older than york , New York City ?")
    found = find_mentions(tokens, [(("york",), 1), (("New", "York", "City"), 2), (("new", "York"), 3), (("Rome",), 4)])
    assert [(one.start, one.stop, one.entity) for one in found] == [(1, 3, 3), (5, 6, 1), (7, 10, 2)]
    assert find_mentions(tokens, [((), 1)]) == () == find_mentions((), [(("a",), 1)])


def test_types_are_csqas() -> None:
    assert len(KEY_OF) == len(TYPE_KEYS) == 10
    assert KEY_OF["Comparative Reasoning (Count) (All)"] == "comparative count"


@pytest.fixture(scope="module")
def easy() -> tuple[KnowledgeGraph, list[Dialogue]]:
    graph = world("easy", 0)
    return graph, generate(graph, 300, 1)


@pytest.fixture(scope="module")
def hard() -> tuple[KnowledgeGraph, list[Dialogue]]:
    graph = world("hard", 0)
    return graph, generate(graph, 200, 1, setting="hard")


def test_records_come_back_from_disk(hard: tuple[KnowledgeGraph, list[Dialogue]], tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl.gz"
    records.write(path, hard[1][:40])
    first = path.read_bytes()
    assert list(records.read(path)) == hard[1][:40]
    records.write(path, hard[1][:40])
    assert path.read_bytes() == first
    lone = Dialogue("x", (Pair(("é",), Answer("…", entities=None), "coref"), Pair((), Answer("", ()), "direct")))
    records.write(path, [lone])
    assert list(records.read(path)) == [lone]


@pytest.mark.parametrize("content", [b"", b"{}\n", b'{"id":1,"pairs":[{}]}\n', b"[1]\n", b"\xff\n"])
def test_damaged_records_are_one_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl.gz"
    path.write_bytes(gzip.compress(content) if content else b"no gzip")
    with pytest.raises(ZooError, match="bad.jsonl.gz"):
        list(records.read(path))


# The generator.


def test_dialogue_depends_on_seed_and_number_only(easy: tuple[KnowledgeGraph, list[Dialogue]]) -> None:
    graph, dialogues = easy
    assert generate(graph, 5, 1, first=100) == dialogues[100:105]
    assert generate(graph, 5, 2) != dialogues[:5]
    assert generate(world("easy", 0), 3, 1) == dialogues[:3]


def test_shares_are_the_specifications(easy: tuple[KnowledgeGraph, list[Dialogue]]) -> None:
    counts = type_counts(easy[1])
    total = sum(counts.values())
    assert 8 < total / len(easy[1]) < 10
    wanted = (0.36, 0.17, 0.06, 0.05, 0.06, 0.04, 0.05, 0.08, 0.07, 0.05)
    for key, share in zip(TYPE_KEYS, wanted, strict=True):
        assert counts[key] / total == pytest.approx(share, abs=0.035 if share > 0.1 else 0.02), key


@pytest.mark.parametrize("which", ["easy", "hard"])
def test_answers_are_the_executed_forms(which: str, request: pytest.FixtureRequest) -> None:
    graph, dialogues = request.getfixturevalue(which)
    executor = Executor(graph)
    for dialogue in dialogues:
        assert dialogue.pairs[0].type == "direct"
        for pair in dialogue.pairs:
            assert pair.form is not None
            typecheck(pair.form)
            assert value_is(executor, pair), pair.question
            answer = pair.answer
            if answer.kind == "entities":
                assert answer.entities and len(answer.entities) <= 300 and set(answer.shown) <= set(answer.entities)
            if answer.numbers and "pair" not in to_text(pair.form):
                assert answer.entities is not None and answer.numbers == (len(answer.entities),)
            for tokens, mentions in ((pair.tokens, pair.mentions), (pair.answer_tokens, pair.answer_mentions)):
                for one in mentions:
                    assert tokens[one.start : one.stop] == tokenise(graph.label(one.entity))


@pytest.mark.parametrize("which", ["easy", "hard"])
def test_constants_are_in_reach(which: str, request: pytest.FixtureRequest) -> None:
    """What a form names is named in the question or the turn before it; sets are what that turn's answer shows."""
    _, dialogues = request.getfixturevalue(which)
    for dialogue in dialogues:
        before: Pair | None = None
        for pair in dialogue.pairs:
            near = {one.entity for one in pair.mentions}
            if before is not None:
                near |= {one.entity for one in before.mentions} | set(before.answer.shown)
            for token in linearise(pair.form):  # type: ignore[arg-type]
                if isinstance(token, Entity):
                    assert token.id in near, pair.question
                elif isinstance(token, Entities):
                    assert before is not None and token.ids == before.answer.shown
                elif isinstance(token, Number):
                    assert str(token.value) in pair.tokens
            before = pair


def test_every_kind_of_question_occurs(easy: tuple[KnowledgeGraph, list[Dialogue]]) -> None:
    found = Counter((pair.type, pair.description) for dialogue in easy[1] for pair in dialogue.pairs)
    of = Counter(kind for kind, _ in found)
    assert of["verification"] == 6 and of["logical"] >= 8 and of["quantitative"] == 4 and of["quantitative count"] >= 8
    assert of["comparative"] >= 4 and of["comparative count"] >= 4 and of["ellipsis"] == 2
    assert found["coref", "Simple Question|Mult. Entity"] and found["coref", ""] == sum(
        number for (kind, _), number in found.items() if kind == "clarification"
    )


def test_clarification_flow(easy: tuple[KnowledgeGraph, list[Dialogue]]) -> None:
    agreed = Counter[bool]()
    for dialogue in easy[1]:
        for asked, reply in zip(dialogue.pairs, dialogue.pairs[1:], strict=False):
            if asked.type == "clarification":
                assert asked.answer.text.startswith("Did you mean") and len(asked.answer.entities or ()) in (2, 3)
                yes = reply.tokens == ("Yes",)
                agreed[yes] += 1
                assert yes or reply.tokens[:4] == ("No", ",", "I", "meant")
                assert reply.entities == asked.answer.shown if yes else reply.entities != asked.answer.shown
                assert reply.properties == () == reply.classes and reply.type == "coref"
    assert min(agreed.values()) > 20


def test_questions_read_like_csqas() -> None:
    assert worded("<was|were> {} born in", False, False) == ("was", "born in")
    assert worded("[is|are] the birthplace of {}", True, False) == ("are the birthplace of", "")
    assert yes_no("<was|were> {} born in", False, True) == ("were", "born in", "", True)
    assert yes_no("[is|are] the birthplace of {}", False, False) == ("is", "the birthplace of", "", False)
    assert yes_no("[speaks|speak] {}", True, False) == ("do", "speak", "", False)
    assert yes_no("[died|died|die] in {}", False, False) == ("did", "die in", "", False)
    graph = synthetic_graph(0)
    first = generate(graph, 1, 1)[0].pairs[0]
    assert first.tokens[-1] == "?" and first.tokens[0] == "Which"


def test_wordings_cover_both_graphs() -> None:
    labels = [relation.label for relation in (*RELATIONS, *MORE_RELATIONS)]
    assert len(labels) == 60 and list(WORDINGS) == labels
    for label, wording in WORDINGS.items():
        for clauses in (wording.objects, wording.subjects):
            assert len(set(clauses)) == len(clauses) >= 2, label
            assert all(one.count("{}") == 1 for one in clauses)
            assert any(one.startswith("[") for one in clauses), label
    distinct = Counter(clause for wording in WORDINGS.values() for clause in wording.objects + wording.subjects)
    assert max(distinct.values()) == 1
    assert {label for group in SHARED for label, _ in group.uses} <= set(labels)
    assert {kind for relation in MORE_RELATIONS for kind in relation.subjects + relation.objects} <= set(NOUNS)


def test_shared_wordings_are_settled_by_the_graph(hard: tuple[KnowledgeGraph, list[Dialogue]]) -> None:
    """Among the properties that "… created X" may mean, only the gold one leads from X to the class asked for."""
    graph, dialogues = hard
    labels = {graph.property_label(i): i for i in range(graph.properties)}
    makers = {labels[label] for label, objects in SHARED[0].uses if objects and label in labels}
    seen = set()
    for dialogue in dialogues:
        for pair in dialogue.pairs:
            if pair.type == "direct" and "created" in pair.tokens and "by" not in pair.tokens:
                (class_,), subject = pair.classes, pair.entities[0]
                members = graph.members(class_)
                leading = {p for p in makers if np.isin(graph.objects(subject, p), members).any()}
                assert leading == properties_of(pair.form), pair.question
                seen |= leading
    assert seen == makers and len(makers) == 3


def test_hard_setting_is_hard(hard: tuple[KnowledgeGraph, list[Dialogue]]) -> None:
    graph, dialogues = hard
    names = Counter(graph.label(i) for i in range(graph.entities))
    shared = sum(number for number in names.values() if number > 1) / graph.entities
    assert graph.properties == 60 and shared == pytest.approx(0.05, abs=0.005)
    openings: dict[int, set[tuple[str, ...]]] = {}
    for dialogue in dialogues:
        for pair in dialogue.pairs:
            if pair.type == "direct":
                mention = pair.mentions[0]
                words = pair.tokens[: mention.start] + pair.tokens[mention.stop :]
                openings.setdefault(min(properties_of(pair.form)), set()).add(words)
    assert np.mean([len(one) for one in openings.values()]) > 4


def test_compositional_split_keeps_its_pairs_out() -> None:
    found = corpus(Setting(), train=40, test=12, held_out=0.1)
    held = held_out_pairs(found.graph, 0, 0.1)
    assert len(held) == round(0.1 * 22 * 7) and not {kind for _, kind in held} & {"direct", "clarification", "ellipsis"}
    for split in ("train", "valid", "A"):
        assert not any(has_held_out(pair, held) for one in found.splits[split] for pair in one.pairs)
    assert all(any(has_held_out(pair, held) for pair in one.pairs) for one in found.splits["compositional"])
    labels = [{graph.label(i) for i in range(graph.entities)} for graph in (found.graph, found.graph_of("B"))]
    assert len(labels[0] & labels[1]) < 0.05 * len(labels[0]) and found.graph_of("A") is found.graph


def test_cache_is_exact_and_keyed(tmp_path: Path) -> None:
    graph, ticks = world("easy", 0), []
    first = generate(graph, 6, 3, cache=tmp_path, progress=ticks.append)
    assert ticks == [1, 2, 3, 4, 5, 6]
    assert generate(graph, 6, 3, cache=tmp_path, progress=ticks.append) == first and len(ticks) == 6
    for options in ({"setting": SETTINGS["hard"]}, {"seed": 4}, {"held_out": {(0, "coref")}}, {"count": 7}):
        generate(graph, **({"count": 6, "seed": 3, "cache": tmp_path} | options))  # type: ignore[arg-type]
    generate(world("easy", 1), 6, 3, cache=tmp_path)
    assert len(list(tmp_path.glob("dialogues-*.jsonl.gz"))) == 6


def test_any_labelled_graph_will_do() -> None:
    """Properties and classes without wordings are asked about by their labels."""
    kinds = [Kind("moon", 30), Kind("probe", 20)]
    graph = synthetic_graph(0, kinds=kinds, relations=[Relation("visited", ("probe",), ("moon",), 1, 5)])
    dialogues = generate(graph, 30, 0, setting="hard")
    words = {token for one in dialogues for pair in one.pairs for token in pair.tokens}
    assert {"probes", "moons", "visited"} <= words
    assert all(value_is(Executor(graph), pair) for one in dialogues for pair in one.pairs)


def test_nothing_to_ask_is_one_sentence() -> None:
    empty = synthetic_graph(0, kinds=[Kind("moon", 3)], relations=[Relation("orbits", ("moon",), ("moon",), 0, 0)])
    with pytest.raises(ZooError, match="nothing to ask"):
        generate(empty, 1)
    graph = world("easy", 0)
    for options in ({"setting": "harder"}, {"count": -1}, {"held_out": {(0, "odd")}}):
        with pytest.raises(ZooError):
            generate(graph, **({"count": 1} | options))  # type: ignore[arg-type]


@sample
def test_real_wordings_of_simple_questions() -> None:
    templates = SAMPLE / "derived" / "question_templates.tsv.gz"
    graph = world("hard", 0)
    scene = Scene(graph, SETTINGS["hard"], templates)
    assert len(scene.real) > 60 and sum(map(len, scene.real.values())) > 150
    birthplace = graph.property("P0")
    assert "<was|were> {} born at" in scene.real[birthplace, False]
    dialogues = generate(graph, 40, 0, setting="hard", templates=templates)
    own = generate(graph, 40, 0, setting="hard")
    vocabulary = [{token for one in some for pair in one.pairs for token in pair.tokens} for some in (dialogues, own)]
    assert len(vocabulary[0] - vocabulary[1]) > 20


# CSQA's official format.


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, KnowledgeGraph, dict[str, list[Dialogue]]]:
    folder = tmp_path_factory.mktemp("csqa")
    return folder, *tiny_csqa.write(folder)


def renamed(form: Any, of: KnowledgeGraph) -> Any:
    """A form of the generated graph in the names of the folder."""
    from zoo.knowledge.grammar import to_json

    class Names:
        entity_name = staticmethod(tiny_csqa.entity)
        property_name = staticmethod(tiny_csqa.property_)
        class_name = staticmethod(tiny_csqa.class_)

    return to_json(form, Names())  # type: ignore[arg-type]


def sets_sorted(lf: Any) -> Any:
    if not isinstance(lf, list):
        return lf
    return ["set", *sorted(set(lf[1:]))] if lf[0] == "set" else [sets_sorted(one) for one in lf]


def test_full_format_gives_back_what_was_written(
    tiny: tuple[Path, KnowledgeGraph, dict[str, list[Dialogue]]], tmp_path: Path
) -> None:
    from zoo.knowledge.grammar import to_json

    folder, graph, written = tiny
    loaded = csqa.load(folder, cache=tmp_path)
    assert loaded.graph.triples == graph.triples and not loaded.left_out
    assert {split: len(one) for split, one in loaded.splits.items()} == {"train": 24, "valid": 6, "test": 6}
    executor = Executor(loaded.graph)
    name = loaded.graph.entity_name
    for split, dialogues in written.items():
        assert [one.id for one in loaded.splits[split]][:2] == ["QA_0/QA_0.json", "QA_0/QA_1.json"]
        for ours, theirs in zip(dialogues, loaded.splits[split], strict=True):
            for pair, got in zip(ours.pairs, theirs.pairs, strict=True):
                assert got.type == pair.type and got.description == pair.description
                assert sets_sorted(to_json(got.form, loaded.graph)) == sets_sorted(renamed(pair.form, graph)), pair
                assert value_is(executor, got), pair.question
                assert got.answer.numbers == pair.answer.numbers and got.answer.booleans == pair.answer.booleans
                assert [name(one) for one in got.answer.shown] == [tiny_csqa.entity(one) for one in pair.answer.shown]
                if pair.type != "verification" or "object is indirect" not in pair.description:
                    assert [name(one.entity) for one in got.mentions] == [
                        tiny_csqa.entity(one.entity) for one in pair.mentions
                    ], (pair.question, pair.description)
    assert csqa.load(folder, cache=tmp_path, limit=3, splits=("valid",)).splits["valid"] == loaded.splits["valid"][:3]
    assert len(list(tmp_path.glob("csqa-*.kg"))) == 1


def test_archives_are_read_in_place(
    tiny: tuple[Path, KnowledgeGraph, dict[str, list[Dialogue]]], tmp_path: Path
) -> None:
    folder = tiny[0]
    with tarfile.open(tmp_path / "CSQA_train.tar.gz", "w:gz") as tar:
        tar.add(folder / "train", arcname="train")
    (source,) = csqa.sources(tmp_path).values()
    assert list(csqa.read(source)) == list(csqa.read(folder / "train"))
    content = source.read_bytes()
    source.write_bytes(content[: len(content) // 2])
    with pytest.raises(ZooError, match="cannot be unpacked"):
        list(csqa.read(source))


def test_missing_folders_and_graphs_are_named(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="is not a folder"):
        csqa.load(tmp_path / "nowhere")
    with pytest.raises(ZooError, match="neither train, valid and test"):
        csqa.load(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(ZooError, match="wikidata_short_1.json"):
        csqa.load(tmp_path)
    with pytest.raises(ZooError, match="holds no QA_"):
        csqa.load(tmp_path, graph=world())


def test_unknown_ids_name_file_and_pair(
    tiny: tuple[Path, KnowledgeGraph, dict[str, list[Dialogue]]], tmp_path: Path
) -> None:
    folder, _, written = tiny
    loaded = csqa.load(folder, cache=tmp_path, splits=("valid",))
    turns = json.loads((folder / "valid" / "QA_0" / "QA_0.json").read_text())
    turns[2]["entities_in_utterance"] = ["Q999999999"]
    path = tmp_path / "valid" / "QA_3" / "QA_4.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(turns))
    (path.parent / "QA_2.json").write_text("[")
    (path.parent / "QA_6.json").write_text(json.dumps(turns[:2]))
    with pytest.raises(ZooError, match=r"QA_3/QA_2\.json: not JSON"):
        csqa.load(tmp_path, graph=loaded.graph)
    loose = csqa.load(tmp_path, graph=loaded.graph, strict=False)
    assert len(loose.splits["valid"]) == 1 and sum(loose.left_out.values()) == 2
    (path.parent / "QA_2.json").unlink()
    with pytest.raises(ZooError, match=r"QA_3/QA_4\.json, pair 1: The graph has no entity 'Q999999999'"):
        csqa.load(tmp_path, graph=loaded.graph)


GOOD: list[dict[str, Any]] = [
    {
        "speaker": "USER",
        "utterance": "Where was Ann born ?",
        "question-type": "Simple Question (Direct)",
        "description": "Simple Question",
        "entities_in_utterance": ["Q1"],
        "relations": ["P19"],
        "type_list": ["Q2"],
        "ques_type_id": 1,
    },
    {
        "speaker": "SYSTEM",
        "utterance": "Rome",
        "all_entities": ["Q3", "Q3"],
        "entities_in_utterance": ["Q3"],
        "active_set": ["(Q1,P19,c(Q2))"],
    },
]


def test_a_good_dialogue_is_read() -> None:
    turns = csqa.decode(json.dumps(GOOD).encode(), "x")
    assert csqa.reference_form(turns, 0) == ["keep", ["follow_property", "Q1", "P19"], "Q2"]
    assert csqa.answer(turns, 0)[1] == ["Q3", "Q3"]


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda turns: turns.pop(), r"pair 0: the USER turn has no SYSTEM turn"),
        (lambda turns: turns[0].pop("utterance"), r"pair 0: 'utterance' of the USER turn must be text, got nothing"),
        (lambda turns: turns[0].update({"question-type": "Odd"}), r"pair 0: 'question-type' must be one of CSQA's ten"),
        (lambda turns: turns[0].update(relations="P19"), r"pair 0: 'relations' must be a list of ids like P19"),
        (
            lambda turns: turns[1].update(all_entities=[["Q1"]]),
            r"pair 0: 'all_entities' must be a list of ids like Q42",
        ),
        (
            lambda turns: turns[1].update(active_set=["(Q1,P2)"]),
            r"pair 0: 'active_set' has an entry that cannot be read",
        ),
        (lambda turns: turns[0].update(ques_type_id=True), r"pair 0: 'ques_type_id' must be a whole number"),
        (lambda turns: turns[1].update(speaker="USER"), r"pair 0: the speaker must be SYSTEM, got 'USER'"),
        (lambda turns: turns.insert(0, 3), r"pair 0: a turn is an object, got int 3"),
        (lambda turns: turns.clear(), r"a dialogue is a list of turns"),
    ],
)
def test_malformed_dialogues_are_one_sentence(change: Any, said: str) -> None:
    turns = json.loads(json.dumps(GOOD))
    change(turns)
    with pytest.raises(ZooError, match=rf"^QA_1\.json.*{said}"):
        csqa.decode(json.dumps(turns).encode(), "QA_1.json")


IDS = st.lists(st.sampled_from(["Q1", "Q2", "Q3", "P19", "P1", "Q999", "x", ""]), max_size=3)
ATOMS = st.sampled_from(["Q1", "c(Q2)", "c(Q2)|c(Q3)", "Q", "c(P1)"])
TRIPLE = st.builds("({},{},{})".format, ATOMS, st.sampled_from(["P19", "P1", "R"]), ATOMS)
ACTIVE = st.one_of(
    TRIPLE,
    st.builds("OR({}, {})".format, TRIPLE, TRIPLE),
    st.builds("AND({}, NOT({}))".format, TRIPLE, TRIPLE),
    st.text(max_size=12),
)
JUNK = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=4)
TURN = st.fixed_dictionaries(
    {
        "speaker": st.sampled_from(["USER", "SYSTEM"]),
        "utterance": st.sampled_from(
            ["Yes", "YES and NO respectively", "2 a and 3 b", "7", "more than X ?", "atleast 3 ?", ""]
        ),
    },
    optional={
        "question-type": st.sampled_from(list(KEY_OF)) | JUNK,
        "description": st.sampled_from(["Simple Question", "Quantitative|Min/Max|Mult. entity type"]) | JUNK,
        "entities_in_utterance": IDS | JUNK,
        "entities": IDS,
        "all_entities": IDS,
        "relations": IDS | JUNK,
        "type_list": IDS,
        "active_set": st.lists(ACTIVE, max_size=3) | JUNK,
        "bool_ques_type": st.integers(0, 7) | JUNK,
        "count_ques_type": st.integers(0, 3),
        "is_incomplete": st.integers(0, 1),
        "is_inc": st.integers(0, 1),
        "set_op": st.integers(0, 3),
        "inc_ques_type": st.integers(0, 3),
    },
)


@pytest.fixture(scope="module")
def three() -> KnowledgeGraph:
    """A graph with the entities Q1, Q2, Q3, the classes Q2 and Q3, and P19."""
    from zoo.knowledge.build import from_arrays

    return from_arrays(
        (np.array([0]), np.array([0]), np.array([2])),
        (np.array([0, 2]), np.array([1, 0])),
        entities=3,
        entity_numbers=np.array([1, 2, 3]),
        property_names=["P19"],
        class_names=["Q2", "Q3"],
        labels=["Ann", "city", "Rome"],
    )


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=st.lists(TURN, max_size=6) | JUNK, cut=st.none() | st.integers(0, 200))
@example(value=GOOD, cut=None)
def test_no_dialogue_gives_a_traceback(value: Any, cut: int | None, three: KnowledgeGraph) -> None:
    """Any JSON, cut off or not, is read whole or refused in one sentence that begins with the file."""
    if isinstance(value, list):  # speakers mostly right, so that what is behind them is reached
        for i, turn in enumerate(value):
            if isinstance(turn, dict) and isinstance(turn.get("bool_ques_type", 0), int):
                turn["speaker"] = "SYSTEM" if i % 2 else "USER"
    try:
        turns = csqa.decode(json.dumps(value).encode()[:cut], "QA_0/QA_0.json")
        found = csqa.dialogue(turns, "QA_0/QA_0.json", csqa.Namer(three))
    except ZooError as error:
        assert str(error).startswith("QA_0/QA_0.json") and "\n" not in str(error)
    else:
        assert len(found.pairs) == len(turns)
        for pair in found.pairs:
            assert pair.form is None or typecheck(pair.form)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
@example(b"[" * 100_000)
@example(b"\xef\xbb\xbf[]")
@example(b"[1" + b"0" * 5000 + b"]")
def test_no_bytes_give_a_traceback(content: bytes) -> None:
    with pytest.raises(ZooError, match="^f"):
        csqa.decode(content, "f")


def test_active_set_language() -> None:
    read = csqa.parse_active_set
    assert read("(Q1,P2,c(Q3))") == csqa.ActiveSet("", (csqa.Atom("Q1", "P2", ("Q3",)),))
    assert read("(c(Q1)|c(Q2),P3,c(Q4))") == csqa.ActiveSet("", (csqa.Atom(("Q1", "Q2"), "P3", ("Q4",)),))
    assert read("AND((c(Q1),P2,Q3), NOT((c(Q1),P4,Q5)))").operator == "difference"  # type: ignore[union-attr]
    assert read("OR((Q1,P2,c(Q3)), (Q4,P2,c(Q3)))").operator == "union"  # type: ignore[union-attr]
    assert [read(bad) for bad in ("", "Q1", "(Q1,P2)", "OR((Q1,P2,Q3))", "(Q1,P2,Q3)x")] == [None] * 5


def test_labels_are_learnt_from_questions() -> None:
    def asked(text: str, *names: str, relations: Sequence[str] = ("P19",)) -> csqa_labels.Asked:
        return csqa_labels.Asked(text, names, tuple(relations))

    questions = [
        asked("And what about St. John?", "Q1", relations=()),
        asked("Where was Ann Lee born ?", "Q2"),
        asked("Where was C. S. Bo born ?", "Q3"),
        asked("Which people were born before Ann Lee and Mary Ho ?", "Q2", "Q4", relations=("P20",)),
        asked("Which people were born before C. S. Bo and St. John ?", "Q3", "Q1", relations=("P20",)),
    ]
    words = csqa_labels.question_words(["Which people were born before {E0} and {E1} ?"])
    labels = csqa_labels.learn(questions, {"Q2": "Ann Lee"}, words)
    assert labels == {"Q1": "St. John", "Q2": "Ann Lee", "Q3": "C. S. Bo", "Q4": "Mary Ho"}


# The real sample.


@pytest.fixture(scope="module")
def real() -> records.Corpus:
    return csqa.load(SAMPLE)


@sample
def test_real_type_counts(real: records.Corpus) -> None:
    """R2: 1,333 and 237 dialogues, 16,299 pairs, and the counts per type."""
    assert {split: len(one) for split, one in real.splits.items()} == {"train": 1333, "valid": 237}
    counts = type_counts(one for split in real.splits.values() for one in split)
    assert list(counts.values()) == [4826, 2999, 580, 1078, 958, 926, 970, 1842, 1402, 718]
    assert sum(counts.values()) == 16299 == 13838 + 2461


@sample
def test_rules_give_every_reference_form() -> None:
    references = csqa.read_references(SAMPLE / "derived" / "reference_lf.jsonl.gz")
    same = Counter[tuple[bool, bool]]()
    for split, source in csqa.sources(SAMPLE).items():
        for name, turns in csqa.read(source):
            for i in range(len(turns)):
                wanted = references[split, name][i]
                same[sets_sorted(csqa.reference_form(turns, i)) == sets_sorted(wanted), wanted is None] += 1
    assert same == {(True, False): 15915, (True, True): 384}


@sample
def test_real_answers_from_the_fragment(real: records.Corpus) -> None:
    """R1: the reference forms, run on the fragment."""
    executor, right, all_ = Executor(real.graph), Counter[str](), Counter[str]()
    for dialogues in real.splits.values():
        for pair in (pair for one in dialogues for pair in one.pairs if pair.form is not None):
            kind = pair.type
            if kind == "quantitative count" and "for_each" not in linearise(pair.form):
                kind = "set count"
            all_[kind] += 1
            right[kind] += value_is(executor, pair)
    wanted = {"direct": (4568, 4810), "coref": (2388, 2814), "ellipsis": (580, 580), "verification": (1402, 1402)}
    wanted |= {"set count": (656, 1376), "logical": (347, 1078)}
    assert {kind: (right[kind], all_[kind]) for kind in wanted} == wanted


@sample
def test_real_conventions(real: records.Corpus) -> None:
    pairs = [pair for dialogues in real.splits.values() for one in dialogues for pair in one.pairs]
    two = [pair for pair in pairs if pair.description.startswith("Verification|3")]
    assert len(two) == 374 and all(len(pair.answer.booleans) == 2 for pair in two)
    assert sum("and" not in pair.answer.text for pair in two) == 140
    digits = [pair for pair in pairs if len(pair.answer.numbers) == 1 and pair.answer.entities]
    assert sum(pair.answer.numbers == (len(pair.answer.entities or ()),) for pair in digits) >= 2400
    named = sum(len(pair.mentions) for pair in pairs)
    assert named > 13_000  # of 13,642 names that stand in questions; half of them have no label in the sample
    assert all(pair.answer.numbers for pair in pairs if pair.type.endswith("count"))


# ConvQuestions.


@pytest.mark.parametrize(
    "text, kind, value",
    [
        ("https://www.wikidata.org/wiki/Q42", "entity", "Q42"),
        ("https://www.wikidata.org/wiki/Q42?wprov=srpw1_0", "entity", "Q42"),
        (" http://www.wikidata.org/entity/Q7. ", "entity", "Q7"),
        ("1910", "date", "1910-01-01T00:00:00Z"),
        ("22 June 2001", "date", "2001-06-22T00:00:00Z"),
        ("4 may 1990", "date", "1990-05-04T00:00:00Z"),
        ("Yes", "boolean", "yes"),
        ("207,283,925", "number", "207,283,925"),
        ("18 September 18", "text", "18 September 18"),
        ("https://www.mlssoccer.com/", "text", "https://www.mlssoccer.com/"),
    ],
)
def test_answers_are_normalised(text: str, kind: str, value: str) -> None:
    gold = convquestions.normalise(text)
    assert (gold.kind, gold.value) == (kind, value)
    assert gold.matches(text.upper() if kind == "text" else text) and not gold.matches("Q1")


def test_several_answers_and_none() -> None:
    assert [one.value for one in convquestions.answers("1940;1958 ; 1940")] == [
        "1940-01-01T00:00:00Z",
        "1958-01-01T00:00:00Z",
    ]
    assert convquestions.answers("n/a") == () == convquestions.answers("")


@conversations
@pytest.mark.parametrize(
    "split, strings, kinds", [("dev", 678, {"entity": 7712, "boolean": 1088}), ("test", 677, {"n/a": 64})]
)
def test_real_conversations(split: str, strings: int, kinds: dict[str, int]) -> None:
    found = convquestions.read(CONVERSATIONS, split)
    assert len(found) == 2240 and all(len(one.questions) == 5 for one in found)
    assert Counter(Counter(one.source for one in found).values()) == {32: 70}
    assert len({question.text for one in found for question in one.questions}) == strings
    assert kinds.items() <= convquestions.counts(found).items()
    assert len(convquestions.read(CONVERSATIONS, split, domains=["books"])) == 448


def conversation(**changes: Any) -> dict[str, Any]:
    turns = [{"turn": i, "question_id": f"3-{i}", "question": f"Who is Ann {i}?", "answer": "Q1;yes"} for i in range(5)]
    return {
        "conv_id": 3,
        "domain": "books",
        "seed_entity": "https://www.wikidata.org/wiki/Q1",
        "seed_entity_text": "Ann",
        "questions": turns,
    } | changes


def test_conversations_become_dialogues(three: KnowledgeGraph, tmp_path: Path) -> None:
    (tmp_path / "dev_set_ALL.json").write_text(json.dumps([conversation()]))
    (one,) = convquestions.read(tmp_path, "dev")
    found = convquestions.dialogue(one, three)
    assert [pair.entities for pair in found.pairs] == [(0,)] * 5
    assert found.pairs[0].mentions[0].start == 2 and found.pairs[0].answer.entities == (0,)
    flat = conversation(questions=["Who?"] * 5, answers=[["Q1", "yes"]] * 5, answer_texts=["Ann"] * 5)
    (tmp_path / "dev_set_ALL.json").write_text(json.dumps([flat]))
    assert convquestions.read(tmp_path, "dev")[0].questions[4].answers == one.questions[4].answers


@pytest.mark.parametrize(
    "value, said",
    [
        ([3], "conversation 0: an object is wanted"),
        ({}, "a list of conversations"),
        ([conversation(questions=None)], "'questions' must be a list"),
        ([conversation(questions=[{"question": 3}])], "turn 0: 'question' must be text"),
        ([conversation(seed_entity="Ann")], "'seed_entity' must be the address"),
        ([conversation(conv_id="3")], "'conv_id' must be a whole number"),
        ([conversation(questions=["a"], answers=[])], "'answers' must be a list of 1"),
        ([conversation(domain=None)], "'domain' must be text"),
    ],
)
def test_malformed_conversations_are_one_sentence(value: Any, said: str, tmp_path: Path) -> None:
    (tmp_path / "test_books.json").write_text(json.dumps(value))
    with pytest.raises(ZooError, match=said):
        convquestions.read(tmp_path, "test")
    with pytest.raises(ZooError, match="no dev files"):
        convquestions.read(tmp_path, "dev")


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(list(conversation())), JUNK, max_size=3),
    st.sampled_from(["questions", "answers", "x"]),
    JUNK,
)
def test_no_conversation_gives_a_traceback(changes: dict[str, Any], field: str, junk: Any) -> None:
    try:
        convquestions.conversation(conversation(**(changes | {field: junk})), "f")
    except ZooError as error:
        assert str(error).startswith("f")
