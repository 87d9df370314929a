"""The search for silver logical forms: what a form costs, against executing every form on its own.

    python benchmarks/silver.py            # about a minute on one core; --quick for 15 seconds

One thread, generated dialogues on the graph of 19 k triples. All find the same forms with the gold value; per form tried:

    plain Python   every form is executed by a recursive interpreter over dictionaries and Python sets
    executor       every form is executed by `zoo.knowledge.executor`, which keeps counts per entity of a class
    search         `zoo.knowledge.silver`: sets are made once per question, comparisons of counts are bisected
    processes      the same over dialogues in one process per core; its start is in the time

Times are the best of several rounds, taken in turn so that a change in the machine's load meets all alternatives.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from datamodules.dialogues import Dialogue, Pair
from datamodules.synthetic_dialogues import generate
from datamodules.synthetic_graph import synthetic_graph
from zoo.knowledge.executor import Executor
from zoo.knowledge.grammar import Apply, Class, Entities, Entity, Form, Number, Property
from zoo.knowledge.graph import KnowledgeGraph
from zoo.knowledge.silver import Search
from zoo.models.conversational_parser.evaluation import answer_matches
from zoo.models.conversational_parser.silver import default_jobs, search_all


class Plain:
    """A knowledge graph in dictionaries, and forms run by recursion; parallel values are {entity: value}."""

    def __init__(self, graph: KnowledgeGraph):
        self.forward: dict[tuple[int, int], set[int]] = defaultdict(set)
        self.backward: dict[tuple[int, int], set[int]] = defaultdict(set)
        for p in range(graph.properties):
            sources, starts, targets = (one.tolist() for one in graph.edges(p))
            for i, s in enumerate(sources):
                for o in targets[starts[i] : starts[i + 1]]:
                    self.forward[s, p].add(o)
                    self.backward[o, p].add(s)
        self.members = [set(graph.members(c).tolist()) for c in range(graph.classes)]

    def run(self, form: Form) -> Any:
        match form:
            case Entity(id):
                return {id}
            case Entities(ids):
                return set(ids)
            case Number(value):
                return value
            case Apply("follow_property" | "follow_backward" as name, (x, Property(p))):
                edges, found = self.forward if name == "follow_property" else self.backward, self.run(x)
                if isinstance(found, dict):
                    return {e: {t for s in each for t in edges.get((s, p), ())} for e, each in found.items()}
                return {t for s in found for t in edges.get((s, p), ())}
            case Apply("members", (Class(c),)):
                return set(self.members[c])
            case Apply("keep", (x, Class(c))):
                return _mapped(lambda one: one & self.members[c], self.run(x))
            case Apply("for_each", (x,)):
                return {e: {e} for e in self.run(x)}
            case Apply("cardinality", (x,)):
                found = self.run(x)
                return {e: len(one) for e, one in found.items() if one} if isinstance(found, dict) else len(found)
            case Apply("argmax" | "argmin" as name, (x,)):
                found = self.run(x)
                extreme = (max if name == "argmax" else min)(found.values(), default=0)
                return {e for e, value in found.items() if value == extreme}
            case Apply("arg", (x,)):
                return {e for e, value in self.run(x).items() if value}
            case Apply("is_in", (x, y)):
                return self.run(x) <= self.run(y)
            case Apply("pair", (x, y)):
                return self.run(x), self.run(y)
            case Apply("clarify", (x,)):
                return self.run(x)
            case Apply(name, (x, y)):
                return _mapped(OPERATIONS[name], self.run(x), self.run(y))
        raise ValueError(form)


def _mapped(function: Callable[..., Any], *values: Any) -> Any:
    branches = [value for value in values if isinstance(value, dict)]
    if not branches:
        return function(*values)
    keys = set.intersection(*(set(one) for one in branches))
    return {e: function(*(value[e] if isinstance(value, dict) else value for value in values)) for e in keys}


OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "union": lambda a, b: a | b,
    "intersection": lambda a, b: a & b,
    "difference": lambda a, b: a - b,
    "greater_than": lambda a, b: a > b,
    "lesser_than": lambda a, b: a < b,
    "equals": lambda a, b: a == b,
    "atleast": lambda a, b: a >= b,
    "atmost": lambda a, b: a <= b,
    "approx": lambda a, b: abs(a - b) <= max(1, math.floor(0.2 * b + 0.5)),
}


def is_gold(value: Any, pair: Pair) -> bool:
    answer = pair.answer
    if answer.kind == "entities":
        return isinstance(value, set) and value == set(answer.entities or ())
    said = value if isinstance(value, tuple) else (value,)
    return said == (answer.booleans or answer.numbers) and {type(one) for one in said} <= {
        bool if answer.booleans else int
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--quick", action="store_true")
    quick = arguments.parse_args().quick
    graph, rounds = synthetic_graph(0), 2 if quick else 5
    dialogues: list[Dialogue] = generate(graph, 200 if quick else 1000, 0, setting="hard")
    questions = [
        (pair, one.pairs[:i]) for one in dialogues for i, pair in enumerate(one.pairs) if pair.type != "clarification"
    ]
    some = questions[:: max(1, len(questions) // (100 if quick else 300))]
    lister, plain, executor = Search(Executor(graph)), Plain(graph), Executor(graph)
    # Every form of the kind of the answer, as a search without bisection would have to execute them.
    listed = [(pair, lister.all_forms(pair, previous)) for pair, previous in some]
    tried = sum(len(forms) for _, forms in listed)

    def by_plain() -> int:
        return sum(is_gold(plain.run(form), pair) for pair, forms in listed for form in forms)

    def by_executor() -> int:
        executor.forget()
        return sum(answer_matches(executor.run(form), pair.answer) for pair, forms in listed for form in forms)

    def by_search() -> tuple[int, int]:
        search, forms, count = Search(Executor(graph)), 0, 0
        for pair, previous in questions:
            found = search(pair, previous)
            forms, count = forms + len(found.forms), count + found.tried
        return forms, count

    best = dict.fromkeys(("plain Python", "executor", "search"), math.inf)
    for i in range(rounds):
        for name, program in (("plain Python", by_plain), ("executor", by_executor), ("search", by_search)):
            if name == "plain Python" and i > 1:
                continue
            start = time.perf_counter()
            result = program()
            best[name] = min(best[name], time.perf_counter() - start)
            if name == "search":
                forms, searched = result  # type: ignore[misc]
    assert by_executor() == by_plain(), "the two executions find different forms"
    each = {
        "plain Python": best["plain Python"] / tried,
        "executor": best["executor"] / tried,
        "search": best["search"] / searched,
    }
    print(
        f"{len(questions):,} questions, {searched / len(questions):.1f} forms tried and {forms / len(questions):.1f} right per question"
    )
    print(f"\n{'':14}{'us per form':>12}{'x faster':>10}{'x of 2 ms':>11}")
    for name, seconds in each.items():
        print(f"{name:14}{1e6 * seconds:12.1f}{each['plain Python'] / seconds:10.1f}{2e-3 / seconds:11.0f}")
    print(f"\nsearch: {1e3 * best['search'] / len(questions):.2f} ms per question")
    jobs = default_jobs()
    start = time.perf_counter()
    lines = sum(len(found) for found in search_all(dialogues, graph, jobs))
    print(f"{jobs} processes, both grammars: {1e3 * (time.perf_counter() - start) / lines:.2f} ms per question")


if __name__ == "__main__":
    main()
