"""`zoo kg build` and `zoo kg show`: knowledge graphs as files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from zoo.cli.console import show_json, show_pairs, show_table
from zoo.knowledge import build as builders
from zoo.knowledge.graph import KnowledgeGraph
from zoo.registry import ZooError

OPTIONS = {  # which sources each option of `zoo kg build` is for
    "seed": "synthetic",
    "classes": "csqa",
    "types": "tsv",
    "labels": "tsv",
    "property_labels": "tsv",
    "class_labels": "tsv",
    "literals": "tsv",
}


def build(options: argparse.Namespace) -> int:
    graph = read_source(options).save(options.out)
    print(f"{options.out}: {graph.triples:,} triples, {graph.entities:,} entities", file=sys.stderr)
    return 0


def read_source(options: argparse.Namespace) -> KnowledgeGraph:
    given = {name: getattr(options, name) for name in OPTIONS if getattr(options, name) is not None}
    for name in given:
        if OPTIONS[name] != options.kind:
            raise ZooError(f"--{name} is for --from {OPTIONS[name]}, not for --from {options.kind}.")
    if options.kind == "tsv":
        if not options.sources:
            raise ZooError("--from tsv wants files of subject, property, object.")
        return builders.from_tsv(options.sources, **given)
    if options.kind == "synthetic":
        if options.sources:
            raise ZooError("--from synthetic takes no SOURCE, only --seed.")
        from datamodules.synthetic_graph import synthetic_graph

        return synthetic_graph(options.seed or 0)
    if len(options.sources) != 1:
        raise ZooError(f"--from {options.kind} wants one folder, got {len(options.sources)}.")
    folder = Path(options.sources[0])
    if not folder.is_dir():
        raise ZooError(f"There is no folder {folder}.")
    if options.kind == "csqa_sample":
        from datamodules import csqa

        return csqa.load(folder, strict=False).graph  # with the labels that its questions teach
    return builders.from_csqa(folder, types=options.classes or (), say=lambda text: print(text, file=sys.stderr))


def show(options: argparse.Namespace) -> int:
    graph = KnowledgeGraph.open(options.file)
    if options.check:
        graph.check()
    properties = sorted(range(graph.properties), key=lambda p: -len(graph.edges(p).targets))
    classes = sorted(range(graph.classes), key=lambda c: -len(graph.members(c)))
    facts = {
        "source": graph.header["source"],
        "triples": graph.triples,
        "entities": graph.entities,
        "labelled": int(np.count_nonzero(np.diff(graph.arrays["label_offsets"]))) if "labels" in graph.arrays else 0,
        "properties": graph.properties,
        "classes": graph.classes,
        "literals": len(graph.arrays["literal_targets"]),
        "bytes": Path(options.file).stat().st_size,
    }
    if options.json:
        names = {
            "by_property": {graph.property_name(p): len(graph.edges(p).targets) for p in properties},
            "by_class": {graph.class_name(c): len(graph.members(c)) for c in classes},
        }
        show_json(facts | names)
        return 0
    show_pairs([(name, f"{value:,}" if isinstance(value, int) else value) for name, value in facts.items()])
    print()
    rows = [
        (graph.property_name(p), graph.property_label(p), len(graph.edges(p).targets), len(graph.edges(p).sources))
        for p in properties[:20]
    ]
    show_table("properties with the most triples", ("name", "label", "triples", "subjects"), rows)
    print()
    largest = [(graph.class_name(c), graph.class_label(c), len(graph.members(c))) for c in classes[:20]]
    show_table("largest classes", ("name", "label", "members"), largest)
    return 0
