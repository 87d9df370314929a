"""A small folder in the full official format of CSQA: dialogues of all ten types, and every file of the graph.

Generated dialogues are written as CSQA annotates them, with ids of their own (entity i is Q1000+i, class i is Q10+i, property i
is P1+i), so that what is read back can be compared with what was generated.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datamodules.dialogues import NAME_OF, Dialogue, Pair
from datamodules.synthetic_dialogues import generate
from datamodules.synthetic_graph import KINDS, Kind, synthetic_graph
from zoo.knowledge.grammar import Apply, Class, Entities, Entity, Form, Property
from zoo.knowledge.graph import KnowledgeGraph

COMBINED = {"union": "OR({}, {})", "intersection": "AND({}, {})", "difference": "AND({}, NOT({}))"}
VERIFIED = {
    "2 entities, both direct": 1,
    "2 entities, one direct and one indirect, subject is indirect": 2,
    "2 entities, one direct and one indirect, object is indirect": 3,
    "3 entities, all direct, 2 are query entities": 4,
    "3 entities, 2 direct, 2(direct) are query entities, subject is indirect": 5,
    "one entity, multiple entities (as object) referred indirectly": 6,
}


def entity(i: int) -> str:
    return f"Q{1000 + i}"


def class_(i: int) -> str:
    return f"Q{10 + i}"


def property_(i: int) -> str:
    return f"P{1 + i}"


def small_world(seed: int = 0) -> KnowledgeGraph:
    return synthetic_graph(seed, kinds=[Kind(one.label, max(6, one.size // 8)) for one in KINDS])


def write(folder: Path, dialogues: int = 24, seed: int = 0) -> tuple[KnowledgeGraph, dict[str, list[Dialogue]]]:
    """Writes the folder; gives the graph and the dialogues that it holds, by split."""
    graph = small_world(seed)
    splits = {}
    for split, count in (("train", dialogues), ("valid", dialogues // 4), ("test", dialogues // 4)):
        splits[split] = generate(graph, count, f"{seed} {split}")
        for i, dialogue in enumerate(splits[split]):
            path = folder / split / f"QA_{i // 10}" / f"QA_{i % 10}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(turns(dialogue)), encoding="utf-8")
    for name, content in graph_files(graph).items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return graph, splits


def graph_files(graph: KnowledgeGraph) -> dict[str, Any]:
    """The fifteen files of CSQA's Wikidata, by name."""
    facts: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    reverse: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    subjects: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    objects: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    fanout: dict[str, int] = defaultdict(int)
    types = {entity(i): class_(graph.classes_of(i)[0]) for i in range(graph.entities)}
    for p in range(graph.properties):
        for s in graph.edges(p).sources.tolist():
            for o in graph.objects(s, p).tolist():
                facts[entity(s)][property_(p)].append(entity(o))
                reverse[entity(o)][property_(p)].append(entity(s))
                subjects[types[entity(s)]][property_(p)].add(types[entity(o)])
                objects[types[entity(o)]][property_(p)].add(types[entity(s)])
                fanout[entity(s)] += 1
    facts[entity(0)]["P9999"] = []  # literal values, which CSQA dropped
    children: dict[str, list[str]] = defaultdict(list)
    for name, type_name in types.items():
        children[type_name].append(name)
    labels = {entity(i): graph.label(i) for i in range(graph.entities)}
    labels |= {class_(i): f"class {graph.class_label(i)}" for i in range(graph.classes)}
    covered: dict[str, dict[str, list[str]]] = {"sub": defaultdict(list), "obj": defaultdict(list)}
    for side, table in (("sub", subjects), ("obj", objects)):
        for type_name, properties in table.items():
            for p_name in properties:
                covered[side][p_name].append(type_name)

    def listed(table: dict[str, dict[str, set[str]]]) -> dict[str, dict[str, list[str]]]:
        return {one: {two: sorted(three) for two, three in inner.items()} for one, inner in table.items()}

    halves = [{name: facts[name] for i, name in enumerate(facts) if i % 2 == half} for half in (0, 1)]
    return {
        "wikidata_short_1.json": halves[0],
        "wikidata_short_2.json": halves[1],
        "comp_wikidata_rev.json": reverse,
        "items_wikidata_n.json": labels,
        "filtered_property_wikidata4.json": {property_(i): graph.property_label(i) for i in range(graph.properties)},
        "par_child_dict.json": children,
        "child_par_dict_immed.json": types,
        "child_par_dict_save.json": types,
        "child_all_parents_till_5_levels.json": {name: [type_name] for name, type_name in types.items()},
        "child_par_dict_name_2_corr.json": {class_(i): graph.class_label(i) for i in range(graph.classes)},
        "wikidata_type_dict.json": listed(subjects),
        "wikidata_rev_type_dict.json": listed(objects),
        "wikidata_fanout_dict.json": fanout,
        "prop_sub_90_map5.json": covered["sub"],
        "prop_obj_90_map5.json": covered["obj"],
    }


# Dialogues.


def turns(dialogue: Dialogue) -> list[dict[str, Any]]:
    """The dialogue as CSQA's list of turns."""
    found: list[dict[str, Any]] = []
    for pair in dialogue.pairs:
        user = {"speaker": "USER", "utterance": " ".join(pair.tokens), "question-type": NAME_OF[pair.type]}
        if pair.description:
            user |= {
                "description": pair.description,
                "entities_in_utterance": [entity(one) for one in pair.entities],
                "relations": [property_(one) for one in pair.properties],
                "type_list": [class_(one) for one in pair.classes],
            }
            user |= numbers(pair)
        else:
            user["utterance"] = (
                user["utterance"].replace(" . Could", ". Could").replace("No ,", "No,").replace(" ?", "?")
            )
            user["entities"] = [entity(one) for one in pair.entities] if pair.mentions else []
            user["ques_type_id"] = 2
        answer = pair.answer
        system = {
            "speaker": "SYSTEM",
            "utterance": answer.text,
            "all_entities": [entity(one) for one in answer.entities or ()],
            "entities_in_utterance": [] if answer.numbers else [entity(one) for one in answer.shown],
            "active_set": active_set(pair),
        }
        found += [user, system]
    return found


def numbers(pair: Pair) -> dict[str, int]:
    """The ids that CSQA gives the question's sub-type."""
    kind = pair.description.split("|")
    match pair.type:
        case "direct" | "coref":
            return {"ques_type_id": 1 if len(kind) == 1 else 2}
        case "ellipsis":
            return {"ques_type_id": 6, "inc_ques_type": 1 if pair.description.startswith("Incomplete") else 2}
        case "clarification":
            return {"ques_type_id": 3}
        case "logical":
            return {"ques_type_id": 4, "is_inc": int(kind[-1] == "Incomplete")}
        case "verification":
            return {"ques_type_id": 5, "bool_ques_type": VERIFIED[kind[1]]}
    operators = forms(pair.form)
    follow = next(one for one in operators if one.operator.startswith("follow"))
    found = {"ques_type_id": 8 if "Mult" in pair.description or "Logical" in pair.description else 7}
    found |= {
        "count_ques_type": 1 + (follow.operator == "follow_property"),
        "is_incomplete": int(kind[-1] == "Incomplete"),
    }
    if pair.description.startswith("Quantitative|Count|"):
        found["count_ques_type"] = 1 + (follow.operator == "follow_backward")
    if kind[1] == "Count" and found["ques_type_id"] == 8:
        found["set_op"] = 1 if {"intersection", "pair"} & {one.operator for one in operators} else 2
    return found


def forms(form: Form | None) -> list[Apply]:
    """All operator nodes, from the root."""
    if not isinstance(form, Apply):
        return []
    return [form, *(one for argument in form.arguments for one in forms(argument))]


def atom(step: Form, kept: int) -> list[str]:
    """Atoms of keep(step, kept), one for each entity of a set constant."""
    assert isinstance(step, Apply)
    start, predicate = step.arguments
    assert isinstance(predicate, Property)
    ids = start.ids if isinstance(start, Entities) else (start.id,) if isinstance(start, Entity) else ()
    name, of = property_(predicate.id), f"c({class_(kept)})"
    forward = step.operator == "follow_property"
    return [f"({entity(one)},{name},{of})" if forward else f"({of},{name},{entity(one)})" for one in ids]


def active_set(pair: Pair) -> list[str]:
    """The annotation's mini-language, made from the gold form."""
    nodes = forms(pair.form)
    kept = [one for one in nodes if one.operator == "keep"]
    if pair.type == "clarification":
        assert pair.form is not None and isinstance(nodes[0].arguments[0], Entities)
        step = f"{property_(pair.properties[0])},c({class_(pair.classes[0])})"
        return [f"({entity(one)},{step})" for one in nodes[0].arguments[0].ids]
    if pair.type == "verification":
        return list(verified(nodes))
    if any(one.operator == "for_each" for one in nodes):
        follow = next(one for one in nodes if one.operator.startswith("follow"))
        members = next(one for one in nodes if one.operator == "members")
        counted = list(
            dict.fromkeys(f"c({class_(one.arguments[1].id)})" for one in kept if isinstance(one.arguments[1], Class))
        )
        base, predicate = members.arguments[0], follow.arguments[1]
        assert isinstance(base, Class) and isinstance(predicate, Property)
        sides = [f"c({class_(base.id)})", "|".join(counted)]
        if follow.operator == "follow_backward":
            sides.reverse()
        return [f"({sides[0]},{property_(predicate.id)},{sides[1]})"]
    if pair.type == "logical":
        combined, of = kept[0].arguments
        assert isinstance(combined, Apply) and isinstance(of, Class)
        return [COMBINED[combined.operator].format(*(atom(one, of.id)[0] for one in combined.arguments))]
    return [
        text
        for one in kept
        if isinstance(one.arguments[1], Class)
        for text in atom(one.arguments[0], one.arguments[1].id)
    ]


def verified(nodes: list[Apply]) -> Iterator[str]:
    for node in nodes:
        if node.operator == "is_in":
            asked, step = node.arguments
            assert isinstance(step, Apply)
            start, predicate = step.arguments
            assert isinstance(start, Entity) and isinstance(predicate, Property)
            for one in asked.ids if isinstance(asked, Entities) else (asked.id,):
                ends = (start.id, one) if step.operator == "follow_property" else (one, start.id)
                yield f"({entity(ends[0])},{property_(predicate.id)},{entity(ends[1])})"
