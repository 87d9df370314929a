"""`zoo silver`: searches logical forms whose value is the gold answer, over the dialogues of a folder (CSQA, ConvQuestions) or generated ones."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from zoo.cli.console import show_table
from zoo.registry import ZooError


def silver(options: argparse.Namespace) -> int:
    """The command: writes the forms, then prints what the full and the restricted grammar cover."""
    from datamodules import convquestions
    from datamodules.dialogues import Dialogue
    from zoo.knowledge.graph import KnowledgeGraph
    from zoo.models.conversational_parser.silver import default_jobs, search_into

    for name in ("jobs", "dialogues"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ZooError(f"--{name} must be at least 1, got {value}.")
    dialogues: list[Dialogue]
    graph: KnowledgeGraph
    if options.source == "synthetic":
        from datamodules.parsing import SyntheticParsingData

        count = options.dialogues or 3000
        corpus = SyntheticParsingData(setting=options.setting, count=count, tests=1, seed=options.seed).corpus
        graph, dialogues = corpus.graph, list(corpus.splits["train"])  # those that a training with this seed sees
        source = f"synthetic, {options.setting}, seed {options.seed}, {count} dialogues"
    elif options.graph and convquestions.is_folder(Path(options.source)):
        graph = KnowledgeGraph.open(options.graph)
        conversations = convquestions.read(options.source, options.split)[: options.dialogues]
        dialogues = [convquestions.dialogue(one, graph) for one in conversations]
        source = f"ConvQuestions, {options.split}, {len(dialogues)} conversations, {Path(options.graph).name}"
    else:
        from datamodules import csqa

        if not options.graph and convquestions.is_folder(Path(options.source)):
            raise ZooError(f"{options.source} has conversations and no graph to search in: give one as --graph.")
        corpus = csqa.load(options.source, graph=options.graph, splits=(options.split,), limit=options.dialogues)
        graph, dialogues = corpus.graph, list(corpus.splits.get(options.split, ()))
        if not dialogues:
            raise ZooError(f"{options.source} has no {options.split} dialogues.")
        source = f"{Path(options.source).name}, {options.split}, {len(dialogues)} dialogues"
    path, start, shown = Path(options.out), time.perf_counter(), [0.0]

    def progress(done: int, of: int) -> None:
        now = time.perf_counter()
        if sys.stderr.isatty() and (now - shown[0] > 0.2 or done == of):
            shown[0] = now
            print(f"\r{done} of {of} dialogues\033[K", end="\n" if done == of else "", file=sys.stderr, flush=True)

    try:
        found = search_into(
            path,
            dialogues,
            graph,
            source=source,
            jobs=options.jobs or default_jobs(),
            resume=options.resume,
            progress=progress,
        )
    except KeyboardInterrupt:
        print(f"\nstopped; the same command with --resume goes on with {path}", file=sys.stderr)
        return 130
    rows = found.rows()
    title = f"{source}: silver forms in {path}, {time.perf_counter() - start:.1f} s"
    show_table(title, list(rows[0]), [list(row.values()) for row in rows])
    return 0
