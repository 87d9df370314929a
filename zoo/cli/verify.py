"""`zoo verify`: recomputes claims and compares them with what the records say."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from zoo import claims, registry
from zoo.claims import Retrain, Verdict
from zoo.cli.console import show_json, show_table, show_value
from zoo.history import Run


def verify(options: argparse.Namespace) -> int:
    import torch

    torch.set_num_threads(1)  # the measurements are many small operations
    if options.data:
        os.environ["ZOO_DATA"] = options.data
    ranks = options.rank or ["theory", "weights"]
    verdicts = []
    with tempfile.TemporaryDirectory() as scratch:

        def train(system: str, needed: Retrain) -> Run:
            from zoo.cli.train import retrain

            return retrain(system, needed, Path(scratch))

        for verdict in claims.verify(options.names, ranks, train):
            verdicts.append(verdict)
            if sys.stderr.isatty():
                print(f"\r{len(verdicts)} claims, {verdict.system} {verdict.claim.id}\033[K", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    if options.json:
        show_json([verdict.row() for verdict in verdicts])
    else:
        show_verdicts(verdicts)
    if options.write:
        for system in dict.fromkeys(verdict.system for verdict in verdicts):
            mine = [verdict for verdict in verdicts if verdict.system == system]
            for path in claims.Cards(registry.system(system)).write(mine):
                print(f"wrote {path}", file=sys.stderr)
        return 0
    return 0 if all(verdict.agrees for verdict in verdicts) else 1


def show_verdicts(verdicts: list[Verdict]) -> None:
    """Prints the table expected / card / now / verdict, the totals, and where a verdict is not the record's."""
    rows: list[tuple[Any, ...]] = []
    for verdict in verdicts:
        about = verdict.system + (f".{verdict.claim.subject}" if verdict.claim.subject else "")
        row = verdict.row()
        expected = f"{show_value(row['expected'])} {row['tolerance']}".strip()
        rows.append((row["claim"], about, expected, row["card"], row["now"], row["verdict"], row["seconds"]))
    holds = sum(verdict.verdict == "holds" for verdict in verdicts)
    title = f"{holds} of {len(verdicts)} claims hold, {sum(verdict.seconds for verdict in verdicts):.0f} s"
    show_table(title, ("claim", "about", "expected", "card", "now", "verdict", "s"), rows)
    for verdict, (claim, about, *_) in zip(verdicts, rows, strict=True):
        if not verdict.agrees and verdict.card is not None:
            print(f"{about} {claim}: the record says {verdict.card['verdict']}, now it {verdict.verdict}.")
