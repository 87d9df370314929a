"""Knowledge graphs: running logical forms, against SPARQL on pyoxigraph; and a graph of the size of CSQA's Wikidata.

    python benchmarks/knowledge.py              # executor only, about 3 minutes, most of it pyoxigraph's
    python benchmarks/knowledge.py --large      # the large graph too: 4 more minutes, 2 GB in the temporary folder

One thread.

    executor  distinct forms of all ten question types, in the shares of synthetic dialogues, on the synthetic graph of 2,760
              entities and 19 k triples. "cold" is a new executor that has kept nothing; "warm" the same forms again, when counts
              per branch of a class are kept (they depend on property and classes only; no answer is kept). The alternative is
              the same triples in pyoxigraph and each form as SPARQL 1.1, queries written before the clock starts; its answers
              are compared
    large     12.8 million entities and 21 million triples: build, open, one quantitative form over a class of a million
              entities in a new process with nothing kept (once with the file in the page cache and once without), and resident
              memory after a thousand forms. Its time is the process's own, without Python's start

Times of the executor are the best of several rounds.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.synthetic_graph import synthetic_graph, wikidata_sized
from zoo.knowledge.executor import Boolean, EntitySet, Executor, NumberValue, Pair, Value
from zoo.knowledge.grammar import Class, Entities, Entity, Form, Number, Property, apply, linearise
from zoo.knowledge.graph import KnowledgeGraph
from zoo.knowledge.sparql import Query, to_sparql, to_triples

SHARES = {
    "simple direct": 0.36,
    "simple coreferenced": 0.17,
    "simple ellipsis": 0.06,
    "logical": 0.05,
    "quantitative": 0.06,
    "comparative": 0.04,
    "comparative count": 0.05,
    "quantitative count": 0.08,
    "verification": 0.07,
    "clarification": 0.05,
}
COMPARE = ("greater_than", "lesser_than", "equals", "atleast", "atmost", "approx")
FOLLOW = {"forward": "follow_property", "backward": "follow_backward"}


class Mix:
    """Draws forms of the ten question types that a graph gives a non-empty answer to."""

    def __init__(self, graph: KnowledgeGraph, seed: int = 0, most: int = 300):
        self.graph, self.most = graph, most
        self.rng, self.executor = np.random.default_rng(seed), Executor(graph)

    def draw(self, count: int) -> list[tuple[str, Form]]:
        kinds = self.rng.choice(list(SHARES), count, p=np.array(list(SHARES.values())) / sum(SHARES.values()))
        found: dict[Form, str] = {}
        for kind in kinds:
            for _ in range(20_000):
                form = self.form(str(kind))
                if form is not None and form not in found and self.good(form):
                    found[form] = str(kind)
                    break
        return [(kind, form) for form, kind in found.items()]

    def good(self, form: Form) -> bool:
        value = self.executor.run(form)
        if isinstance(value, EntitySet):
            return 0 < len(value) <= self.most
        if isinstance(value, Pair):
            return not isinstance(value.first, NumberValue) or value.first.value > 0
        return not isinstance(value, NumberValue) or value.value > 0

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def some(self, choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def step(self) -> tuple[int, int, str, int]:
        """A source, a property and a direction that it has, and the class of one target."""
        while True:
            property, direction = int(self.rng.integers(self.graph.properties)), self.some(["forward", "backward"])
            sources, starts, targets = self.graph.edges(property, direction)
            if len(sources):
                at = int(self.rng.integers(len(targets)))
                source = int(sources[np.searchsorted(starts, at, side="right") - 1])
                classes = self.graph.classes_of(int(targets[at]))
                if classes:
                    return source, property, direction, self.some(classes)

    def peers(self, property: int, direction: str, source: int, count: int) -> tuple[int, ...]:
        """Entities of the class of a source that have the property as well."""
        sources = self.graph.edges(property, direction).sources
        inside = sources[np.isin(sources, self.graph.members(self.some(self.graph.classes_of(source))))]
        return tuple(sorted({int(one) for one in self.rng.choice(inside, count)} | {source}))

    def counted(self, subject: Form, property: int, direction: str, class_: int) -> Form:
        reached = apply(FOLLOW[direction], subject, Property(property))
        targets = self.graph.edges(property, direction).targets
        classes = {
            one for at in self.rng.integers(0, len(targets), 4) for one in self.graph.classes_of(int(targets[at]))
        }
        others = sorted(classes - {class_})
        if others and self.chance(0.5):
            return apply(
                "union", apply("keep", reached, Class(class_)), apply("keep", reached, Class(self.some(others)))
            )
        return apply("keep", reached, Class(class_))

    def counts(self) -> tuple[Form, Form]:
        """Numbers per entity of a class, and the number of one entity."""
        source, property, direction, class_ = self.step()
        base = apply("for_each", apply("members", Class(self.some(self.graph.classes_of(source)))))
        state = self.rng.bit_generator.state
        numbers = self.counted(base, property, direction, class_)
        self.rng.bit_generator.state = state  # the same one or two types
        own = self.counted(Entity(source), property, direction, class_)
        return apply("cardinality", numbers), apply("cardinality", own)

    def form(self, kind: str) -> Form | None:
        source, property, direction, class_ = self.step()
        p, c, follow = Property(property), Class(class_), FOLLOW[direction]
        if kind.startswith("simple"):
            plural = kind == "simple coreferenced" and self.chance(0.15)
            x = Entities(self.peers(property, direction, source, 2)) if plural else Entity(source)
            return apply("keep", apply(follow, x, p), c)
        if kind == "logical":
            other = self.peers(property, direction, source, 1)[0]
            name = self.some(("union", "union", "intersection", "difference"))
            return apply("keep", apply(name, apply(follow, Entity(source), p), apply(follow, Entity(other), p)), c)
        if kind == "clarification":
            return apply("clarify", Entities(self.peers(property, direction, source, 2)))
        if kind == "verification":
            known = self.graph.targets(source, property, "forward")
            if not len(known):
                return None
            asked = [
                int(self.some(known if self.chance(0.5) else self.graph.edges(property, "forward").targets))
                for _ in range(2)
            ]
            truths = [apply("is_in", Entity(one), apply("follow_property", Entity(source), p)) for one in asked]
            return apply("pair", *truths) if self.chance(0.35) else truths[0]
        numbers, own = self.counts()
        compare = self.some(COMPARE)
        if kind == "quantitative count" and self.chance(0.7):
            return own
        if kind == "quantitative" and self.chance(0.4):
            return apply(self.some(("argmax", "argmin")), numbers)
        if kind.startswith("comparative"):
            form = apply("arg", apply(compare, numbers, own))
        else:
            form = apply("arg", apply(compare, numbers, Number(int(self.rng.integers(1, 6)))))
        return apply("cardinality", form) if kind.endswith("count") else form


# Executor.


def sparql_store(graph: KnowledgeGraph) -> Any:
    import pyoxigraph

    store = pyoxigraph.Store()
    node = pyoxigraph.NamedNode
    store.bulk_extend(
        pyoxigraph.Quad(node(s), node(p), node(o) if isinstance(o, str) else pyoxigraph.Literal(o))
        for s, p, o in to_triples(graph)
    )
    return store


def agrees(value: Value, query: Query, rows: list[Any]) -> bool:
    if isinstance(value, EntitySet):
        return value.ids.tolist() == sorted(int(row["x"].value[2:]) for row in rows)
    wanted = [value.first, value.second] if isinstance(value, Pair) else [value]
    got = [rows[0][name] for name in "xy"[: len(wanted)]]
    return all(
        isinstance(one, (Boolean, NumberValue)) and str(one.value).lower() == term.value
        for one, term in zip(wanted, got, strict=True)
    )


def executor(count: int, rounds: int, quick: bool) -> None:
    graph = synthetic_graph(0)
    drawn = Mix(graph).draw(count)
    forms = [form for _, form in drawn]
    print(
        f"{graph.triples:,} triples, {len(forms):,} distinct forms, {np.mean([len(linearise(f)) for f in forms]):.1f} tokens"
    )
    times: dict[str, list[float]] = {"cold": [], "warm": []}
    for _ in range(rounds):
        one = Executor(graph)
        for name in times:
            start = time.perf_counter()
            for form in forms:
                one.run(form)
            times[name].append(time.perf_counter() - start)
    best = {name: min(found) for name, found in times.items()}
    for name, seconds in best.items():
        print(f"  {name}: {len(forms) / seconds:>9,.0f} forms/s, {1e6 * seconds / len(forms):.1f} us each")
    store = sparql_store(graph)
    asked = drawn[:: 20 if quick else 4]
    queries = [to_sparql(form) for _, form in asked]
    theirs: dict[str, list[float]] = defaultdict(list)
    ours: dict[str, list[float]] = defaultdict(list)
    for kind, form in drawn:  # on its own, with the processor's caches for itself
        start = time.perf_counter()
        one.run(form)
        ours[kind].append(time.perf_counter() - start)
    wrong = 0
    for (kind, form), query in zip(asked, queries, strict=True):
        start = time.perf_counter()
        rows = list(store.query(query.text))
        theirs[kind].append(time.perf_counter() - start)
        wrong += not agrees(one.run(form), query, rows)
    seconds, own = sum(map(sum, theirs.values())), len(asked) / len(forms)
    print(f"  pyoxigraph, {len(asked):,} of them: {len(asked) / seconds:,.0f} forms/s; {wrong} answers differ")
    print(f"  ratio: {seconds / (best['cold'] * own):,.0f} cold, {seconds / (best['warm'] * own):,.0f} warm")
    print(f"  {'medians, warm':22}{'forms':>6}{'ours, us':>10}{'SPARQL, us':>12}{'ratio':>8}")
    for kind in SHARES:
        if theirs[kind]:
            a, b = 1e6 * np.median(ours[kind]), 1e6 * np.median(theirs[kind])
            print(f"  {kind:22}{len(theirs[kind]):>6}{a:>10.1f}{b:>12.1f}{b / a:>8.0f}")


# The large graph.

COLD = """
import sys, time
from zoo.knowledge.executor import Executor
from zoo.knowledge.grammar import from_text
from zoo.knowledge.graph import KnowledgeGraph
start = time.perf_counter()
graph = KnowledgeGraph.open(sys.argv[1])
opened = time.perf_counter() - start
form = from_text(sys.argv[2])
executor = Executor(graph)
start, used = time.perf_counter(), time.process_time()
value = executor.run(form)
print(opened, time.perf_counter() - start, time.process_time() - used, len(value))
"""
MANY = """
import resource, sys, time
sys.path.insert(0, sys.argv[2])
from benchmarks.knowledge import Mix
from zoo.knowledge.graph import KnowledgeGraph
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
before = resident()
graph = KnowledgeGraph.open(sys.argv[1])
opened = resident()
Mix(graph, most=10**6).draw(1000)
print(opened - before, resident())
"""


def cold_run(file: Path, form: str) -> list[float]:
    """Seconds of opening, of the first form, of its processor time, and the number of entities in its answer."""
    done = subprocess.run([sys.executable, "-c", COLD, str(file), form], capture_output=True, text=True, check=True)
    return [float(one) for one in done.stdout.split()]


def evict(file: Path) -> None:
    """Takes the file out of the page cache."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


FORMS = {
    "the commonest property": "argmax(cardinality(keep(follow_property(for_each(members(C0)), P0), C1)))",
    "backwards": "argmax(cardinality(keep(follow_backward(for_each(members(C0)), P0), C1)))",
    "the tenth, two types": "arg(atleast(cardinality(union(keep(follow_property(for_each(members(C0)), P9), C1), "
    "keep(follow_property(for_each(members(C0)), P9), C2))), 2))",
}


def large(scale: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.kg"
        start = time.perf_counter()
        graph = wikidata_sized(
            entities=int(12_800_000 * scale), triples=int(21_100_000 * scale), largest=int(1e6 * scale)
        )
        made = time.perf_counter() - start
        graph = graph.save(file)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(f"{graph.triples:,} triples, {graph.entities:,} entities, a class of {len(graph.members(0)):,}")
        print(
            f"  build: {seconds:.1f} s ({made:.1f} before writing), peak {peak / 1e9:.2f} GB, file {file.stat().st_size / 1e9:.2f} GB"
        )
        for name, form in FORMS.items():
            runs = [cold_run(file, form) for _ in range(5)]
            opened, first, used = (1e3 * min(run[i] for run in runs) for i in range(3))
            evict(file)
            disk = 1e3 * cold_run(file, form)[1]
            print(
                f"  {name}: open {opened:.1f} ms, first run {first:.1f} ms ({used:.1f} of the processor), "
                f"from disk {disk:.1f} ms; {runs[0][3]:.0f} entities"
            )
        top = str(Path(__file__).resolve().parent.parent)
        done = subprocess.run([sys.executable, "-c", MANY, str(file), top], capture_output=True, text=True, check=True)
        opened, after = map(int, done.stdout.split())
        print(
            f"  resident: {opened / 1e6:.1f} MB more by opening, {after / 1e9:.2f} GB after a thousand forms of the mix"
        )


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--large", action="store_true", help="the large graph as well")
    options.add_argument("--only-large", action="store_true")
    options.add_argument("--scale", type=float, default=1.0, help="of the large graph")
    options.add_argument("--quick", action="store_true", help="fewer forms")
    chosen = options.parse_args()
    if not chosen.only_large:
        executor(2_000 if chosen.quick else 20_000, 3 if chosen.quick else 5, chosen.quick)
    if chosen.large or chosen.only_large:
        large(chosen.scale)


if __name__ == "__main__":
    main()
