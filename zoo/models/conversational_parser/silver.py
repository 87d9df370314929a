"""Silver forms of many dialogues: processes, a file that a stopped search goes on with, and what the two grammars cover.

The file has one JSON line per question, {"dialogue", "pair", "type", "form", …}, as `datamodules.parsing.read_forms` reads it.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from datamodules.dialogues import TYPE_KEYS, Dialogue
from zoo.files import write_beside, write_json
from zoo.knowledge.executor import Executor
from zoo.knowledge.grammar import OPERATORS, RESTRICTED, to_text
from zoo.knowledge.graph import KnowledgeGraph
from zoo.knowledge.silver import Search
from zoo.models.conversational_parser.evaluation import canonical, is_approximate
from zoo.registry import ZooError, read_json

UNTYPED = "any question"  # of ConvQuestions, which has no types
TOGETHER = 16  # dialogues that a process takes at once


@dataclass(frozen=True)
class Line:
    """What was found for one question.

    Attributes:
        form: the most plausible one, None if there is none. found, tried: forms of the full grammar.
        restricted: forms found in the restricted grammar.
        known: whether the gold answer is. first: whether `form` means the dialogue's own form; None if that has none.
        approximate: whether a count is asked for "approximately".
    """

    dialogue: str
    pair: int
    type: str
    form: str | None
    found: int
    tried: int
    restricted: int
    known: bool
    first: bool | None
    approximate: bool


class Searcher:
    """Both grammars over one graph."""

    def __init__(self, graph: KnowledgeGraph):
        executor = Executor(graph)
        self.full, self.restricted = Search(executor, OPERATORS), Search(executor, RESTRICTED)

    def lines(self, dialogue: Dialogue) -> list[Line]:
        return [self._line(dialogue, i) for i in range(len(dialogue.pairs))]

    def _line(self, dialogue: Dialogue, i: int) -> Line:
        pair, before = dialogue.pairs[i], dialogue.pairs[:i]
        found = self.full(pair, before)
        best = found.forms[0] if found.forms else None
        same = None if pair.form is None else best is not None and canonical(best) == canonical(pair.form)
        return Line(
            dialogue=dialogue.id,
            pair=i,
            type=pair.type,
            form=None if best is None else to_text(best),
            found=len(found.forms),
            tried=found.tried,
            restricted=len(self.restricted(pair, before).forms),
            known=pair.answer.kind != "entities" or pair.answer.entities is not None,
            first=same,
            approximate=is_approximate(pair),
        )


# Coverage.


@dataclass
class TypeCoverage:
    """Counts of one question type; `spurious` is the number of found forms."""

    questions: int = 0
    known: int = 0
    full: int = 0
    restricted: int = 0
    forms: int = 0
    tried: int = 0
    compared: int = 0
    first: int = 0
    approximate: int = 0
    approximate_full: int = 0

    def add(self, line: Line) -> None:
        self.questions += 1
        self.known += line.known
        self.full += line.found > 0
        self.restricted += line.restricted > 0
        self.forms += line.found
        self.tried += line.tried
        self.compared += line.first is not None
        self.first += bool(line.first)
        self.approximate += line.approximate
        self.approximate_full += line.approximate and line.found > 0

    def row(self) -> dict[str, float | int]:
        """Shares of questions in percent, and means over questions."""
        n, exact = max(self.questions, 1), max(self.questions - self.approximate, 1)
        return {
            "questions": self.questions,
            "gold known": self.known,
            "restricted %": 100 * self.restricted / n,
            "full %": 100 * self.full / n,
            "full %, without approximately": 100 * (self.full - self.approximate_full) / exact,
            "right forms": self.forms / n,
            "tried forms": self.tried / n,
            "first is the dialogue's %": 100 * self.first / self.compared if self.compared else float("nan"),
        }


@dataclass
class Coverage:
    """What both grammars find, per question type."""

    types: dict[str, TypeCoverage] = field(default_factory=dict)

    @classmethod
    def of(cls, lines: Iterable[Line]) -> Coverage:
        found = cls()
        for line in lines:
            found.types.setdefault(line.type or UNTYPED, TypeCoverage()).add(line)
        order = (*TYPE_KEYS, UNTYPED)
        found.types = {key: found.types[key] for key in sorted(found.types, key=order.index)}
        return found

    def total(self, leave_out: Sequence[str] = ()) -> TypeCoverage:
        sums: Counter[str] = Counter()
        for key, one in self.types.items():
            if key not in leave_out:
                sums.update(vars(one))
        return TypeCoverage(**sums)

    def rows(self) -> list[dict[str, Any]]:
        """One row per type, then all."""
        ones = [*self.types.items(), ("all", self.total()), ("all but clarification", self.total(("clarification",)))]
        return [{"type": key} | one.row() for key, one in ones]


def coverage(dialogues: Iterable[Dialogue], graph: KnowledgeGraph) -> Coverage:
    """Searches in this process."""
    searcher = Searcher(graph)
    return Coverage.of(line for dialogue in dialogues for line in searcher.lines(dialogue))


# Many processes, and a file.

_searcher: Searcher | None = None


def _prepare(graph: KnowledgeGraph) -> None:
    global _searcher
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    _searcher = Searcher(graph)


def _search(dialogues: Sequence[Dialogue]) -> list[list[Line]]:
    assert _searcher is not None
    return [_searcher.lines(dialogue) for dialogue in dialogues]


def search_all(dialogues: Iterable[Dialogue], graph: KnowledgeGraph, jobs: int = 1) -> Iterator[list[Line]]:
    """The lines of each dialogue, as they are done; with one job in this process."""
    if jobs == 1:
        searcher = Searcher(graph)
        yield from map(searcher.lines, dialogues)
        return
    waiting = iter(dialogues)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _prepare, (graph,)) as pool:
        running: set[Future[list[list[Line]]]] = set()
        try:
            while True:
                while len(running) < 2 * jobs and (some := list(islice(waiting, TOGETHER))):
                    running.add(pool.submit(_search, some))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield from future.result()
        except BrokenProcessPool:
            raise ZooError(
                "A searching process died: the same command with --resume goes on, and with fewer --jobs."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def read_lines(path: Path) -> list[Line]:
    """The lines of whole dialogues in a file of silver forms; what a stopped search left half-written is left out.

    Raises:
        ZooError: the file is another one.
    """
    found: list[Line] = []
    texts = path.read_text(encoding="utf-8").split("\n")
    for number, text in enumerate(texts, 1):
        try:
            if text:
                found.append(Line(**json.loads(text)))
        except (ValueError, TypeError):
            if number < len(texts):
                raise ZooError(f"{path}, line {number}: not a line of silver forms.") from None
    return found


def search_into(
    path: Path,
    dialogues: Sequence[Dialogue],
    graph: KnowledgeGraph,
    *,
    source: str,
    jobs: int = 1,
    resume: bool = False,
    progress: Any = lambda done, of: None,
) -> Coverage:
    """Writes silver forms of all dialogues into `path`, and their coverage beside it into `<path>.report.json`.

    Args:
        source: what the dialogues are; a search is resumed only with the same.
        resume: whether to go on with what `path` has.
        progress: called with the number of dialogues done, and of all.

    Raises:
        ZooError: the file is there and `resume` is not asked for, or it is about something else.
    """
    report = path.with_name(f"{path.name}.report.json")
    done: list[Line] = []
    if path.exists():
        if not resume:
            raise ZooError(f"{path} is there already: add --resume to go on with it, or give another --out.")
        if not report.exists() or read_json(report).get("source") != source:
            raise ZooError(f"{path} has the forms of something else than {source}: give another --out.")
        done = _whole(read_lines(path), dialogues)
    with write_beside(path) as beside:
        beside.write_text("".join(map(_text, done)), encoding="utf-8")
    write_json(report, {"source": source})
    finished = {line.dialogue for line in done}
    todo = [dialogue for dialogue in dialogues if dialogue.id not in finished]
    with path.open("a", encoding="utf-8") as file:
        for lines in search_all(todo, graph, jobs):
            file.write("".join(map(_text, lines)))
            file.flush()
            done += lines
            finished.update(line.dialogue for line in lines)
            progress(len(finished), len(dialogues))
    found = Coverage.of(done)
    write_json(report, {"source": source, "types": found.rows()})
    return found


def _whole(lines: Sequence[Line], dialogues: Sequence[Dialogue]) -> list[Line]:
    """Lines of the dialogues that have all of them."""
    sizes = {dialogue.id: len(dialogue.pairs) for dialogue in dialogues}
    have = Counter(line.dialogue for line in lines)
    return [line for line in lines if have[line.dialogue] == sizes.get(line.dialogue)]


def _text(line: Line) -> str:
    return json.dumps(vars(line), ensure_ascii=False) + "\n"


def default_jobs() -> int:
    """One per core that this process may use."""
    import os

    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
