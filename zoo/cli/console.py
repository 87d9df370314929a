"""Tables: rich in a terminal, plain aligned text when piped."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

COLOURS = {"holds": "green", "differs": "bold red", "skipped": "yellow"}


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints a table. In a terminal verdicts are coloured and cells wrap; in a pipe a row stays one line."""
    texts = [[show_value(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title, title_justify="left", header_style="bold", title_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in texts:
            table.add_row(*(Text(cell, style=COLOURS.get(cell.split("(")[0], "")) for cell in row))
        Console().print(table)
        return
    widths = [max(len(text) for text in column) for column in zip(columns, *texts, strict=True)]
    print(title)
    for row in [list(columns), *texts]:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def show_value(value: Any) -> str:
    """A number with four significant digits, the first four of a list, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (float, list, tuple)):
        return str(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    shown = [show_value(one) for one in value[:4]] + ["…"] * (len(value) > 4)
    return "[" + ", ".join(shown) + "]"


def show_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def show_pairs(pairs: Sequence[tuple[str, Any]]) -> None:
    """Prints "name  value" lines, aligned."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        print(f"{name.ljust(width)}  {show_value(value)}")
