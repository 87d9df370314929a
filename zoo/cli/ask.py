"""`zoo ask`: a dialogue with a weight that answers questions about the graph that travels with it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo.registry import ZooError

PROMPT = "? "
NEW = ("", "/new")


def ask(options: argparse.Namespace) -> int:
    """The command. Every line of stdin is a question, in a terminal with a prompt."""
    import torch

    if options.beams < 1:
        raise ZooError(f"--beams must be at least 1, got {options.beams}.")
    network: Any = _network(options.name)
    if not hasattr(type(network), "parser"):  # asking the network itself would make one
        raise ZooError(f"{options.name} answers no questions: weights of conversational_parser do.")
    torch.set_num_threads(1)
    parser, context = _over(network, options.graph) if options.graph else network.parser, None
    terminal = sys.stdin.isatty() and not options.json
    if terminal:
        print(greeting(parser.graph))
    for line in _lines(terminal):
        question = line.strip()
        if question in NEW:
            context = None
            continue
        reply = parser.ask(question, context, beams=options.beams)
        if options.json:
            print(json.dumps(reply.to_json(), ensure_ascii=False), flush=True)
        else:
            print(("" if terminal else f"{PROMPT}{question[:200]}\n") + shown(reply), flush=True)
        context = reply if reply.value is not None else context  # what was not answered is no context
    return 0


def _network(name: str) -> Any:
    if Path(name).is_dir():
        from zoo.cli.train import weight_of

        return weight_of(Path(name)).one(0)
    from zoo import load

    return load(name)


def _over(network: Any, file: str) -> Any:
    from zoo.knowledge.graph import KnowledgeGraph
    from zoo.models.conversational_parser.parser import Parser

    return Parser.from_task(network, network.task, KnowledgeGraph.open(file))


def _lines(terminal: bool) -> Iterator[str]:
    if not terminal:
        sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
        yield from sys.stdin
        return
    import readline  # noqa: F401 (arrow keys and history in `input`)

    while True:
        try:
            yield input(PROMPT)
        except (EOFError, KeyboardInterrupt):
            print()
            return


def greeting(graph: Any) -> str:
    """What can be asked about: names and properties of the graph."""
    sizes = sorted(((len(graph.members(one)), one) for one in range(graph.classes)), reverse=True)[:12]
    lines = [f"A graph of {graph.triples:,} facts about {graph.entities:,} things:"]
    for size, one in sizes:
        members = [graph.label(int(entity)) for entity in graph.members(one)[:3]]
        lines.append(f"  {size:7,} {graph.class_label(one)}: {', '.join(members)}{', …' if size > 3 else ''}")
    properties = [graph.property_label(one) for one in range(graph.properties)]
    lines.append(f"linked by {', '.join(properties[:24])}{', …' if len(properties) > 24 else ''}.")
    return "\n".join([*lines, "Ask a question; /new begins a new dialogue, Ctrl-D ends."])


def shown(reply: Any) -> str:
    """Structured input, form as a tree, answer."""
    parts = []
    if reply.structured is not None:
        parts.append("input\n" + "\n".join("  " + line for line in _input(reply)))
    if reply.form is not None:
        parts.append("form\n" + "\n".join("  " + line for line in reply.tree.splitlines()))
    size = f"  ({len(reply.value):,})" if hasattr(reply.value, "__len__") else ""
    parts += [f"note    {note}" for note in reply.notes]
    return "\n".join([*parts, f"answer  {reply.text}{size}", ""])


def _input(reply: Any) -> Iterator[str]:
    value = reply.structured.to_json(reply.parser.graph, reply.parser.context.vocabulary)
    for said in value["utterances"]:
        before = ", before" if said["lag"] else ""
        yield f"{said['speaker'].lower()}{before}  {' '.join(said['tokens'])}"[:200]
    for one in value["entities"]:
        relations = ", ".join(one["relations"][:6]) + (", …" if len(one["relations"]) > 6 else "")
        yield f"[{one['slot']}] {one['entity']}: {one['class'] or 'no class'}, {one['source']}; {relations}"
    if "answer_set" in value:
        yield f"answer set of {value['answer_set']['size']}"
    for number in value["numbers"]:
        yield f"number {number['value']}"
