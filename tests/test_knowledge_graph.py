"""Knowledge graphs: arrays against plain Python, one file against memory, files of others read or refused."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import pickle
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from forms import graphs
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.synthetic_graph import KINDS, RELATIONS, Kind, Relation, entity_names, synthetic_graph, wikidata_sized
from zoo.cli import main
from zoo.knowledge import build
from zoo.knowledge.build import (
    Interner,
    from_arrays,
    from_csqa,
    from_csqa_sample,
    from_tsv,
    parse_literal,
    read_members,
)
from zoo.knowledge.graph import MAGIC, PREAMBLE, KnowledgeGraph, Texts, offsets_of
from zoo.registry import ZooError

DATA = Path(os.environ["ZOO_DATA"])
sample = pytest.mark.skipif(not (DATA / "csqa").is_dir(), reason="no csqa in $ZOO_DATA")
NONE = np.empty(0, np.int32)


def triples_of(graph: KnowledgeGraph) -> set[tuple[int, int, int]]:
    return {
        (s, p, o) for p in range(graph.properties) for s in range(graph.entities) for o in graph.objects(s, p).tolist()
    }


def small(triples=((0, 0, 1), (0, 0, 2), (2, 1, 0)), types=((0, 0), (1, 1), (2, 1)), **options) -> KnowledgeGraph:
    columns = tuple(np.array(column) for column in zip(*triples, strict=True)) if triples else (NONE,) * 3
    pairs = tuple(np.array(column) for column in zip(*types, strict=True)) if types else (NONE,) * 2
    return from_arrays(
        columns, pairs, **({"entities": 3, "property_names": ["P0", "P1"], "class_names": ["Q0", "Q1"]} | options)
    )


# Against plain Python.


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3), st.integers(0, 8)), max_size=60),
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2)), max_size=20),
)
def test_a_graph_has_exactly_its_triples_and_types(triples, types):
    graph = small(triples, types, entities=9, property_names=list("abcd"), class_names=list("xyz"))
    assert graph.triples == len(set(triples)) and triples_of(graph) == set(triples)
    for p in range(4):
        for e in range(9):
            assert graph.subjects(e, p).tolist() == sorted({s for s, q, o in triples if (q, o) == (p, e)})
            assert all(graph.has(e, p, o) == ((e, p, o) in triples) for o in range(9))
        for direction, near, far in (("forward", 0, 2), ("backward", 2, 0)):
            sources, starts, targets = graph.edges(p, direction)
            rows = sorted({(one[near], one[far]) for one in triples if one[1] == p})
            assert list(zip(np.repeat(sources, np.diff(starts)).tolist(), targets.tolist(), strict=True)) == rows
            assert sources.tolist() == sorted({one for one, _ in rows}) and sources.dtype == np.int32
    for e in range(9):
        into = sorted({p for _, p, o in triples if o == e})
        assert graph.incident(e) == (sorted({p for s, p, _ in triples if s == e}), into)
        assert graph.classes_of(e) == sorted({c for one, c in types if one == e})
    for c in range(3):
        assert graph.members(c).tolist() == sorted({e for e, one in types if one == c})


def test_keys_that_do_not_fit_into_64_bits_are_sorted_as_well():
    rng = np.random.default_rng(0)
    columns = [rng.integers(0, 5, 200) for _ in range(3)]
    narrow = build._sorted_keys(columns, (5, 5, 5))
    wide = build._sorted_keys(columns, (2**30, 2**30, 2**30))
    assert all(np.array_equal(a, b) for a, b in zip(narrow, wide, strict=True))
    assert len(wide[0]) == len(set(zip(*(column.tolist() for column in columns), strict=True)))


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_a_graph_is_the_same_from_its_file(tmp_path_factory, graph):
    path = tmp_path_factory.mktemp("kg") / "graph.kg"
    mapped = graph.save(path)
    assert mapped.header == graph.header and set(mapped.arrays) == set(graph.arrays)
    for name, array in graph.arrays.items():
        assert mapped.arrays[name].dtype == array.dtype and np.array_equal(mapped.arrays[name], array)
        assert not mapped.arrays[name].flags.writeable
    mapped.check()
    for copy in (pickle.loads(pickle.dumps(mapped)), pickle.loads(pickle.dumps(graph))):
        assert triples_of(copy) == triples_of(graph)
    assert [path.name for path in path.parent.iterdir()] == ["graph.kg"]


def test_wrong_arrays_are_refused():
    for options, says in (
        ({"triples": [(3, 0, 0)]}, "A subject has an id outside 0 … 2"),
        ({"triples": [(0, 2, 0)]}, "A property has an id outside 0 … 1"),
        ({"triples": [(0, 0, -1)]}, "A object has an id"),
        ({"types": [(0, 5)]}, "A class has an id"),
        ({"labels": ["a"]}, "1 labels for 3 entities"),
        ({"property_labels": ["a"]}, "not one each"),
        ({"property_names": ["P0", "P0"]}, "the same name"),
        ({"entity_numbers": np.array([3, 2, 5])}, "do not ascend"),
        ({"entity_names": ["b", "a", "c"]}, "do not ascend"),
        ({"entities": 2**31}, "may have 2,147,483,647 entities"),
    ):
        with pytest.raises(ZooError, match=says.replace("A object", "An? object")):
            small(**options)


# Names.


def test_names_of_entities_are_numbers_or_words():
    plain = small()
    assert plain.entity("Q2") == 2 and plain.entity_name(2) == "Q2" == plain.label(2)
    numbered = small(entity_numbers=np.array([5, 42, 1000]), labels=["", "Douglas", "ü"], class_labels=["", "book"])
    assert [numbered.entity_name(i) for i in range(3)] == ["Q5", "Q42", "Q1000"]
    assert [numbered.label(i) for i in range(3)] == ["Q5", "Douglas", "ü"]
    assert numbered.entity("Q42") == 1 and numbered.class_label(1) == "book" and numbered.class_label(0) == "Q0"
    words = small(entity_names=["", "a b", "ß"])
    assert [words.entity(words.entity_name(i)) for i in range(3)] == [0, 1, 2]
    for graph in (plain, numbered, words):
        for name in ("Q3", "Q", "Q042", "q42", "Q-1", "x", "Q٤", "Q" + "9" * 30):
            with pytest.raises(ZooError, match="The graph has no entity"):
                graph.entity(name)
            assert not graph.has_entity(name)
    with pytest.raises(ZooError, match="no property 'P9'"):
        plain.property("P9")
    with pytest.raises(ZooError, match="no class 'Q9'"):
        plain.class_("Q9")


@given(st.lists(st.text(max_size=6), unique=True, max_size=30), st.randoms())
def test_texts_are_found_by_their_bytes(strings, random):
    strings = sorted(one.encode("utf-8", "replace").decode() for one in strings)
    strings = sorted(set(strings))
    texts = Texts.of(strings)
    assert [texts[i] for i in range(len(texts))] == strings
    assert [texts.find(one) for one in strings] == list(range(len(strings)))
    assert texts.find("not there") == -1 or "not there" in strings
    order = [random.randrange(-1, len(strings)) for _ in range(20)]
    taken = texts.take(np.array(order), block=7)
    assert [taken[i] for i in range(20)] == [strings[i] if i >= 0 else "" for i in order]


def test_offsets_grow_when_they_must():
    assert offsets_of(np.array([2, 0, 3])).tolist() == [0, 2, 2, 5] and offsets_of(NONE).dtype == np.int32
    assert offsets_of(np.array([2**31, 1])).tolist() == [0, 2**31, 2**31 + 1]


def test_names_are_ranked_by_number_or_by_spelling():
    for names, ranked in ((["Q10", "Q9", "Q100"], ["Q9", "Q10", "Q100"]), (["Q10", "Q9", "Q09"], ["Q09", "Q10", "Q9"])):
        interner = Interner()
        numbers = [interner(name) for name in names]
        found, rank = interner.ranked()
        assert found == ranked and [found[rank[number]] for number in numbers] == names


# Literals.


@pytest.mark.parametrize(
    ("text", "kind", "key", "written"),
    [
        ("3", "number", 3.0, "3"),
        ('"+2025137"^^<http://www.w3.org/2001/XMLSchema#decimal>', "number", 2025137.0, "2025137"),
        ('"-0.5"^^xsd:double', "number", -0.5, "-0.5"),
        ("1910-01-01", "date", 1910.0, "1910-01-01T00:00:00Z"),
        ("+2001-06-22T00:00:00Z", "date", 2001 + 5 / 12 + 21 / 372, "2001-06-22T00:00:00Z"),
        (
            '"-0044-03-15T00:00:00Z"^^<http://www.w3.org/2001/XMLSchema#dateTime>',
            "date",
            -44 + 2 / 12 + 14 / 372,
            "-0044-03-15T00:00:00Z",
        ),
        ('"1910"^^<http://www.w3.org/2001/XMLSchema#gYear>', "date", 1910.0, "1910-01-01T00:00:00Z"),
        ("1999-00-00", "date", 1999.0, "1999-00-00T00:00:00Z"),
        ('"3"', "text", np.inf, "3"),
        ('"ein Text"@de', "text", np.inf, "ein Text"),
        ("inf", "text", np.inf, "inf"),
        ("nan", "text", np.inf, "nan"),
        ('"x"^^<http://www.w3.org/2001/XMLSchema#decimal>', "text", np.inf, "x"),
    ],
)
def test_literals_are_numbers_dates_or_text(text, kind, key, written):
    key_of, number, body = parse_literal(text)
    assert (("number", "date", "text")[number], body) == (kind, written)
    assert key_of == pytest.approx(key)


# TSV.


def write(path: Path, *rows: str) -> Path:
    data = "".join(f"{row}\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def tsv(tmp_path: Path) -> dict[str, list[Path]]:
    return {
        "triples": [write(tmp_path / "t.tsv", "Q30\tP47\tQ16", "Q16\tP47\tQ30", "Q30\tP36\tQ61", "")],
        "types": [write(tmp_path / "types.tsv.gz", "Q30\tQ6256", "Q16\tQ6256", "Q61\tQ515")],
        "labels": [write(tmp_path / "l.tsv", "Q30\tUSA", "Q16\tCanada\tmore", "Q6256\tcountry", "Q99999\tunknown")],
        "property_labels": [write(tmp_path / "p.json", json.dumps({"P47": "borders", "P36": {"label": "capital"}}))],
        "literals": [write(tmp_path / "v.tsv", "Q30\tP571\t1776-07-04", "Q16\tP571\t1867-07-01", 'Q16\tP1\t"x"')],
    }


def test_tsv_files_make_a_graph(tsv):
    graph = from_tsv(**tsv, also_entities=["Q7"], also_classes=["Q5"])
    assert (graph.entities, graph.properties, graph.classes, graph.triples) == (4, 4, 3, 3)
    assert [graph.entity_name(i) for i in range(4)] == ["Q7", "Q16", "Q30", "Q61"]
    usa, canada = graph.entity("Q30"), graph.entity("Q16")
    assert graph.has(usa, graph.property("P47"), canada) and not graph.has(usa, graph.property("P36"), canada)
    assert graph.label(usa) == "USA" and graph.label(graph.entity("Q61")) == "Q61"
    assert (
        graph.property_label(graph.property("P36")) == "capital"
        and graph.property_label(graph.property("P571")) == "P571"
    )
    assert graph.class_label(graph.class_("Q6256")) == "country" and graph.members(graph.class_("Q5")).tolist() == []
    (founded,) = graph.values(usa, graph.property("P571"))
    assert founded.kind == "date" and founded.text == "1776-07-04T00:00:00Z"
    assert graph.earliest.tolist() == [np.inf, 1867 + 6 / 12, 1776 + 6 / 12 + 3 / 372, np.inf]
    assert graph.first_text == 2


def test_tsv_files_may_have_any_names(tmp_path):
    rows = ["Zoë\tknows\tAl B", "Al B\tknows\tZoë", "10\tknows\t9", "Q5\tknows\tp"]
    types = write(tmp_path / "types.json", json.dumps({"Zoë": ["a person", "x"], "9": "number"}))
    graph = from_tsv([write(tmp_path / "t.tsv", *rows)], types=[types])
    names = [graph.entity_name(i) for i in range(graph.entities)]
    assert names == sorted(names) and graph.has(graph.entity("Zoë"), 0, graph.entity("Al B"))
    assert [graph.entity(name) for name in names] == list(range(6))
    assert graph.classes_of(graph.entity("Zoë")) == [graph.class_("a person"), graph.class_("x")]


@pytest.mark.parametrize(
    ("what", "rows", "says"),
    [
        ("triples", ["Q1\tP1\tQ2", "Q1\tP1"], r"bad\.tsv, line 2: it has 2 cells between tabs, not 3"),
        ("triples", ["Q1\tP1\tQ2\tQ3"], r"bad\.tsv, line 1: it has 4 cells"),
        ("triples", ["", "Q1\t\tQ2"], r"bad\.tsv, line 2: cell 2 is empty"),
        ("types", ["Q1"], r"bad\.tsv, line 1: it has 1 cells between tabs, not 2"),
        ("labels", ["Q1\ta", "Q2"], r"bad\.tsv, line 2: a name, a tab and a label are wanted"),
        ("literals", ["Q1\tP1"], r"bad\.tsv, line 1: it has 2 cells"),
    ],
)
def test_bad_rows_are_told_with_their_line(tmp_path, tsv, what, rows, says):
    with pytest.raises(ZooError, match=says):
        from_tsv(**(tsv | {what: [write(tmp_path / "bad.tsv", *rows)]}))


def test_files_that_cannot_be_read_are_told(tmp_path):
    (tmp_path / "cut.tsv.gz").write_bytes(gzip.compress(b"Q1\tP1\tQ2\n" * 1000)[:-20])
    (tmp_path / "no.tsv.gz").write_bytes(b"Q1\tP1\tQ2\n")
    (tmp_path / "latin.tsv").write_bytes("Q1\tP1\tü\n".encode("latin-1"))
    for name, says in (
        ("cut.tsv.gz", "ended"),
        ("no.tsv.gz", "[Gg]zip"),
        ("latin.tsv", "UTF-8"),
        ("none", "No such file"),
    ):
        with pytest.raises(ZooError, match=f"{re.escape(name)}.*{says}"):
            from_tsv([tmp_path / name])


# JSON.


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda x: st.lists(x, max_size=3)
        ),
        max_size=8,
    ),
    st.integers(1, 40),
    st.sampled_from([None, 1]),
)
def test_members_are_read_piece_by_piece(tmp_path_factory, value, chunk, indent):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(value, indent=indent))
    before, build.CHUNK = build.CHUNK, chunk
    try:
        assert dict(read_members(path)) == value
    finally:
        build.CHUNK = before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: a JSON object"),
        ("[1]", "line 1: a JSON object"),
        ('{"a": 1,\n"b": [2,\n', "line 3: the JSON ends too early"),
        ('{"a": 1\n"b": 2}', "line 2: not JSON .a comma or } is wanted"),
        ('{"a": 1,\n2: 2}', "line 2: not JSON .a key in quotes"),
        ('{"a" 1}', "line 1: not JSON .a colon"),
        ('{"a": nope}', "line 1: not JSON"),
        ('{"a": 1} more', "line 1: something follows"),
        ('{"a": "', "line 1: the JSON ends too early"),
        ('{"a": 1,}', "line 1: not JSON"),
        ('{"a": ' + "[" * 100_000 + "}", "line 1: it is nested too deeply"),
    ],
)
@pytest.mark.parametrize("chunk", [3, 1 << 20])
def test_bad_json_is_told_with_its_line(tmp_path, monkeypatch, text, says, chunk):
    monkeypatch.setattr(build, "CHUNK", chunk)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ZooError, match=rf"a\.json, {says}"):
        list(read_members(tmp_path / "a.json"))


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet='{}[]",:\\ \n1aQP', max_size=30), st.integers(1, 12))
def test_any_json_text_is_read_or_told(tmp_path_factory, text, chunk):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(text)
    before, build.CHUNK = build.CHUNK, chunk
    try:
        members = list(read_members(path))
    except ZooError as error:
        with contextlib.suppress(ValueError):
            assert not isinstance(json.loads(text), dict)
        assert re.match(rf"{re.escape(str(path))}, line \d+: ", str(error))
    else:
        assert dict(members) == json.loads(text)
    finally:
        build.CHUNK = before


# CSQA's files.

OFFICIAL = {
    "wikidata_short_1.json": {"Q30": {"P47": ["Q16"], "P36": ["Q61"], "P1082": []}, "Q16": {"P47": ["Q30"]}},
    "wikidata_short_2.json": {"Q61": {"P17": ["Q30"], "P190": ["Q60", "nonsense"]}},
    "comp_wikidata_rev.json": {
        "Q16": {"P47": ["Q30"]},
        "Q30": {"P47": ["Q16"], "P17": ["Q61"]},
        "Q61": {"P36": ["Q30"]},
        "Q60": {"P190": ["Q61"]},
    },
    "items_wikidata_n.json": {"Q30": "USA", "Q16": "Canada", "Q61": "Washington", "Q515": "city (item)", "Q8": "alone"},
    "filtered_property_wikidata4.json": {
        "P47": "shares border with",
        "P36": "capital",
        "P17": "country",
        "P9999": "unused",
    },
    "par_child_dict.json": {"Q6256": ["Q30", "Q16"], "Q515": ["Q60", "Q61"], "Q1549591": ["Q60"]},
    "child_par_dict_save.json": {"Q30": "Q6256", "Q16": "Q6256", "Q61": "Q515", "Q60": "Q515"},
    "child_par_dict_immed.json": {"Q30": "Q6256", "Q60": "Q1549591"},
    "child_all_parents_till_5_levels.json": {"Q30": ["Q6256", "Q35120"]},
    "child_par_dict_name_2_corr.json": {"Q6256": "country"},
    "wikidata_type_dict.json": {"Q6256": {"P47": ["Q6256"]}},
    "wikidata_rev_type_dict.json": {"Q6256": {"P47": ["Q6256"]}},
    "wikidata_fanout_dict.json": {"Q30": 2},
    "prop_sub_90_map5.json": {"P47": ["Q6256"]},
    "prop_obj_90_map5.json": {"P47": ["Q6256"]},
}


@pytest.fixture
def official(tmp_path: Path) -> Path:
    for name, value in OFFICIAL.items():
        (tmp_path / name).write_text(json.dumps(value, indent=1))
    return tmp_path


def named(graph: KnowledgeGraph) -> set[tuple[str, str, str]]:
    return {(graph.entity_name(s), graph.property_name(p), graph.entity_name(o)) for s, p, o in triples_of(graph)}


def test_csqa_files_make_a_graph(official):
    said: list[str] = []
    graph = from_csqa(official, say=said.append)
    assert named(graph) == {
        ("Q30", "P47", "Q16"),
        ("Q30", "P36", "Q61"),
        ("Q16", "P47", "Q30"),
        ("Q61", "P17", "Q30"),
        ("Q61", "P190", "Q60"),
    }
    assert [graph.entity_name(i) for i in range(graph.entities)] == ["Q8", "Q16", "Q30", "Q60", "Q61", "Q515"]
    assert [graph.label(i) for i in range(graph.entities)] == [
        "alone",
        "Canada",
        "USA",
        "Q60",
        "Washington",
        "city (item)",
    ]
    assert [graph.property_name(i) for i in range(graph.properties)] == ["P17", "P36", "P47", "P190", "P9999"]
    assert graph.property_label(graph.property("P47")) == "shares border with" and graph.property_label(3) == "P190"
    assert {graph.class_name(c): graph.class_label(c) for c in range(2)} == {"Q515": "city (item)", "Q6256": "country"}
    assert graph.classes_of(graph.entity("Q60")) == [graph.class_("Q515")]
    assert "left out 1 ids that are not Q or P and a number" in said
    assert graph.header["source"] == "CSQA, wikidata_short_1.json, wikidata_short_2.json"


def test_csqa_files_may_be_backwards_packed_or_fewer(official):
    forward = from_csqa(official)
    for name in ("wikidata_short_1.json", "wikidata_short_2.json", "child_par_dict_save.json", "items_wikidata_n.json"):
        (official / name).unlink()
    packed = official / "comp_wikidata_rev.json"
    packed.with_name("comp_wikidata_rev.json.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    backward = from_csqa(official)
    assert named(backward) == named(forward)
    assert len(backward.classes_of(backward.entity("Q60"))) == 2 and backward.label(backward.entity("Q30")) == "Q30"
    both = from_csqa(official, types=["par_child_dict.json", "child_par_dict_immed.json"])
    assert both.classes_of(both.entity("Q60")) == [both.class_("Q515"), both.class_("Q1549591")]
    assert both.class_label(both.class_("Q515")) == "Q515"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("wikidata_short_2.json", '{"Q61": {"P17": ["Q30"}}', "wikidata_short_2.json, line 1: not JSON"),
        ("wikidata_short_1.json", '{"Q61":\n {"P17": [', "wikidata_short_1.json, line 2: the JSON ends too early"),
        ("wikidata_short_1.json", '{"Q61": ["Q1"]}', r"Q61 wants an object of property ids, got \['Q1'\]"),
        ("wikidata_short_1.json", '{"Q61": {"P1": "Q1"}}', "Q61 P1 wants a list of ids, got 'Q1'"),
        ("items_wikidata_n.json", "[]", "items_wikidata_n.json, line 1: a JSON object"),
        ("child_par_dict_save.json", "", "child_par_dict_save.json, line 1"),
    ],
)
def test_malformed_csqa_files_are_told(official, name, text, says):
    (official / name).write_text(text)
    with pytest.raises(ZooError, match=says):
        from_csqa(official)


def test_missing_csqa_files_are_told(official):
    with pytest.raises(ZooError, match="has no nothing.json, the classes of entities"):
        from_csqa(official, types=["nothing.json"])
    for name in OFFICIAL:
        if "par_" in name:
            (official / name).unlink()
    with pytest.raises(ZooError, match="has no child_par_dict_save.json"):
        from_csqa(official)
    with pytest.raises(ZooError, match=r"neither wikidata_short_1.json nor comp_wikidata_rev.json"):
        from_csqa(official / "none")


@sample
def test_the_real_files_are_read():
    graph = from_csqa_sample(DATA / "csqa")
    assert graph.triples == 88_747 and graph.properties == 567
    assert graph.label(graph.entity("Q30")) == "United States of America"
    assert graph.class_label(graph.class_("Q502895")) == "people"
    assert np.count_nonzero(np.diff(graph.arrays["entity_class_starts"])) == 62_472
    fixture = DATA / "csqa" / "kg_fixture"
    facts = dict(read_members(fixture / "sample_kg.json"))
    assert facts == json.loads((fixture / "sample_kg.json").read_text()) and facts["Q15140125"] == {
        "P31": ["Q20010800"]
    }
    members = dict(read_members(fixture / "type_children_sample.json.gz"))
    assert len(members) == 100 and sum(map(len, members.values())) == 71_089


@pytest.mark.skipif(not (DATA / "litwd1k").is_dir(), reason="no litwd1k in $ZOO_DATA")
def test_a_graph_with_numbers_is_read():
    folder = DATA / "litwd1k"
    graph = from_tsv(
        [folder / f"{split}.txt" for split in ("train", "valid", "test")],
        types=[folder / "entity_types.txt"],
        labels=[folder / "labels_en.tsv"],
        property_labels=[folder / "relation_labels_en.txt"],
        literals=[folder / "numeric_literals.txt.gz"],
    )
    assert (graph.triples, graph.entities, graph.classes) == (29_017, 1_533, 244)
    assert len(graph.arrays["literal_targets"]) == 10_988
    (population,) = graph.values(graph.entity("Q1000"), graph.property("P1082_Q199"))
    assert population.key == 2_025_137 and graph.label(graph.entity("Q1000")) == "Gabon"


@pytest.mark.skipif(not (DATA / "codex").is_dir(), reason="no codex in $ZOO_DATA")
def test_a_graph_with_types_in_json_is_read():
    folder = DATA / "codex"
    triples = [folder / "codex-s" / f"{split}.txt" for split in ("train", "valid", "test")]
    graph = from_tsv(
        triples,
        types=[folder / "entity2types.json.gz"],
        property_labels=[folder / "relations_en.json"],
        class_labels=[folder / "types_en.json.gz"],
    )
    assert graph.triples == 36_543 and graph.entities == 77_951
    assert graph.property_label(graph.property("P749")) == "parent organization"


# Files that are not what they should be.


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.kg"
    synthetic_graph(0, kinds=[Kind("a", 20), Kind("b", 10)], relations=[Relation("r", ("a",), ("a", "b"), 1, 3)]).save(
        path
    )
    return path


def test_damaged_files_are_told(file):
    whole = file.read_bytes()
    for data, says in (
        (b"", "is not a knowledge graph: make one with `zoo kg build`"),
        (b"PK\x03\x04" + whole, "is not a knowledge graph"),
        (whole[:8], "is cut off after 8 bytes"),
        (whole[:100], rf"is cut off: it has 100 of {len(whole):,} bytes"),
        (whole[:-1], "is cut off"),
        (whole + b" ", "is cut off"),
        (whole[:-5] + b"?" + whole[-4:], "is damaged: its header"),
        (PREAMBLE.pack(MAGIC, 9, 0, 0, 0) + whole[32:], "is a knowledge graph of version 9, not 1"),
    ):
        file.write_bytes(data)
        with pytest.raises(ZooError, match=says) as error:
            KnowledgeGraph.open(file)
        assert str(file) in str(error.value)
    file.write_bytes(whole[:64] + bytes([whole[64] ^ 1]) + whole[65:])
    with pytest.raises(ZooError, match="is damaged in forward_sources"):
        KnowledgeGraph.open(file).check()
    with pytest.raises(ZooError, match="cannot be read: No such file"):
        KnowledgeGraph.open(file.with_name("none.kg"))
    with pytest.raises(ZooError, match="cannot be read: Is a directory"):
        KnowledgeGraph.open(file.parent)
    with pytest.raises(ZooError, match="no file to check"):
        small().check()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_are_a_graph_or_one_sentence(tmp_path_factory, data, magic):
    path = tmp_path_factory.mktemp("kg") / "a.kg"
    path.write_bytes(MAGIC * magic + data)
    with pytest.raises(ZooError, match="is not a knowledge graph|is cut off|is damaged|of version"):
        KnowledgeGraph.open(path)


# The synthetic graph.


def test_the_synthetic_graph_follows_its_tables():
    graph = synthetic_graph(0)
    assert graph.entities == 2760 and graph.properties == 22 and graph.classes == 14
    assert [len(graph.members(c)) for c in range(14)] == [kind.size for kind in KINDS]
    assert 19_000 < graph.triples < 19_800  # a program written independently drew 19,359
    kinds = [kind.label for kind in KINDS]
    for p, relation in enumerate(RELATIONS):
        sources, starts, targets = graph.edges(p)
        assert {kinds[graph.classes_of(int(s))[0]] for s in sources} <= set(relation.subjects)
        assert {kinds[graph.classes_of(int(o))[0]] for o in targets} == set(relation.objects)
        assert np.diff(starts).max() <= relation.most and not (np.repeat(sources, np.diff(starts)) == targets).any()
    names = [graph.label(i) for i in range(graph.entities)]
    assert len(set(names)) == 2760 and all(re.fullmatch(r"[A-Z][a-z]+( [A-Z][a-z]+)?", name) for name in names)


def test_the_synthetic_graph_is_a_function_of_its_seed():
    one, again, other = synthetic_graph(1), synthetic_graph(1), synthetic_graph(2)
    assert all(np.array_equal(one.arrays[name], again.arrays[name]) for name in one.arrays)
    assert one.triples != other.triples and one.label(0) != other.label(0)
    names = entity_names(1000, 3, shared=0.05)
    assert len(names) - len(set(names)) == 25 and len(set(entity_names(1000, 3))) == 1000


def test_wrong_tables_are_told():
    with pytest.raises(ZooError, match="The relation 'r' names the unknown class 'b'"):
        synthetic_graph(0, kinds=[Kind("a", 2)], relations=[Relation("r", ("a",), ("b",), 1, 1)])
    with pytest.raises(ZooError, match="wants fewest <= most"):
        synthetic_graph(0, kinds=[Kind("a", 2)], relations=[Relation("r", ("a",), ("a",), 2, 1)])
    assert synthetic_graph(0, kinds=[Kind("a", 2)], relations=[]).triples == 0


# The commands.


def test_the_commands_build_and_show(tmp_path, tsv, official, capsys):
    out = str(tmp_path / "out" / "graph.kg")
    options = [f"--{name}={paths[0]}" for name, paths in tsv.items() if name != "triples"]
    assert main(["kg", "build", "--from", "tsv", str(tsv["triples"][0]), *options, "--out", out]) == 0
    assert "3 triples, 3 entities" in capsys.readouterr().err
    assert main(["kg", "show", out, "--check"]) == 0
    shown = capsys.readouterr().out
    assert "borders" in shown and "country" in shown and "literals    3" in shown
    assert main(["kg", "build", "--from=csqa", str(official), "--out", out, "--classes", "par_child_dict.json"]) == 0
    assert main(["kg", "show", out, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (
        facts["triples"] == 5 and facts["by_class"] == {"Q515": 2, "Q6256": 2, "Q1549591": 1} and facts["labelled"] == 5
    )
    assert main(["kg", "build", "--from", "synthetic", "--seed", "3", "--out", out]) == 0
    assert KnowledgeGraph.open(out).triples == synthetic_graph(3).triples


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "nothing.kg"], "nothing.kg cannot be read: No such file"),
        (["build", "--from", "tsv", "--out", "a"], "wants files of subject, property, object"),
        (
            ["build", "--from", "tsv", "x", "--seed", "1", "--out", "a"],
            "--seed is for --from synthetic, not for --from tsv",
        ),
        (["build", "--from", "synthetic", "x", "--out", "a"], "takes no SOURCE"),
        (["build", "--from", "csqa", "--out", "a"], "wants one folder, got 0"),
        (["build", "--from", "csqa", "none", "--out", "a"], "no folder none"),
        (["build", "--from", "csqa_sample", "none", "--types", "x", "--out", "a"], "--types is for --from tsv"),
    ],
)
def test_wrong_commands_are_told(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    assert main(["kg", *arguments]) == 2
    assert says in capsys.readouterr().err and not list(tmp_path.iterdir())


# Scale.


def test_a_large_graph_in_small():
    graph = wikidata_sized(entities=20_000, triples=40_000, classes=30, properties=20, largest=2000)
    assert (
        39_900 < graph.triples <= 40_000 and len(graph.members(0)) == 2000 and graph.label(19_999) == "entity 000019999"
    )
    assert len(graph.edges(0).targets) > 5 * len(graph.edges(19).targets)
    assert sum(len(graph.members(c)) for c in range(30)) == 20_000


SIZED = """
import json, resource, sys, time
from pathlib import Path
from datamodules.synthetic_graph import wikidata_sized
start = time.perf_counter()
graph = wikidata_sized().save(sys.argv[1])
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([graph.triples, graph.entities, seconds, peak]))
"""
USED = """
import json, resource, sys, time
from zoo.knowledge.executor import Executor
from zoo.knowledge.grammar import from_text
from zoo.knowledge.graph import KnowledgeGraph
start = time.perf_counter()
graph = KnowledgeGraph.open(sys.argv[1])
opened = time.perf_counter() - start
executor = Executor(graph)
for p in range(40):
    form = f"argmax(cardinality(keep(follow_property(for_each(members(C{p % 5})), P{p}), C{p})))"
    executor.run(from_text(form))
    graph.label(p * 1000), graph.incident(p * 1000), graph.entity(f"Q{p * 9999}")
resident = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
print(json.dumps([opened, resident]))
"""


@pytest.mark.slow
def test_a_graph_of_the_size_of_wikidata(tmp_path):
    path = tmp_path / "large.kg"

    def python(code: str) -> list[float]:
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    start = time.perf_counter()
    triples, entities, seconds, peak = python(SIZED)
    assert triples > 21_000_000 and entities == 12_800_000
    assert seconds < 600 and time.perf_counter() - start < 600 and peak < 8e9
    opened, resident = python(USED)
    assert opened < 1 and resident < 1e9
    path.unlink()
