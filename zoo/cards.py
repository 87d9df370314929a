"""Pieces of text that a card on the Hub and a page of the gallery share: numbers, sizes, addresses, a citation. No torch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from zoo.registry import Paper, attribute

SYNTHETIC = "synthetic"  # the licence that a record states for generated data


def text(plain: str) -> str:
    """Plain text inside Markdown and inside a table's cell, as it stands."""
    for mark in ("\\", "|", "*", "_", "<", "`", "["):
        plain = plain.replace(mark, f"\\{mark}")
    return " ".join(plain.split())


def shown(value: Any) -> str:
    """A number with four significant digits; of a list the first five and the last."""
    if isinstance(value, (list, tuple)):
        few = [shown(one) for one in value]
        return ", ".join(few if len(few) <= 8 else [*few[:5], "…", few[-1]])
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.4g}"
    return str(value)


def expected(entry: Mapping[str, Any]) -> str:
    """What a recorded claim expects, with its tolerance."""
    return f"{shown(entry['expected'])} {entry['tolerance']}".strip()


def arguments(of: Mapping[str, Any]) -> str:
    """A network's keyword arguments on one line."""
    return ", ".join(f"{name} = {shown(value)}" for name, value in of.items())


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of cells that are Markdown already."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def size(of: int) -> str:
    """A number of bytes."""
    return f"{of / 1e6:.1f} MB" if of >= 1e5 else f"{of / 1e3:.1f} kB"


def duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def dumped(value: Any, width: int = 10_000) -> str:
    """YAML in the order of the keys."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=width)


def counts(entries: Iterable[Mapping[str, Any]]) -> str:
    """ "k of n claims hold", of the recorded entries that were measured."""
    measured = [entry for entry in entries if entry["now"] is not None]
    return f"{sum(entry['verdict'] == 'holds' for entry in measured)} of {len(measured)} claims hold"


def signature(network: str) -> str:
    """The first paragraph of `forward`'s docstring of the network "module:class"."""
    return (inspect.getdoc(attribute(network).forward) or "see the source.").split("\n\n")[0]


def address(paper: Paper) -> str:
    return f"https://arxiv.org/abs/{paper.arxiv}"


def bibtex(paper: Paper) -> str:
    """The paper as a BibTeX entry, called by its first author and year."""
    return f"""@misc{{{paper.authors.split(",")[0].split()[-1].lower()}{paper.year},
  title = {{{paper.title}}},
  author = {{{paper.authors.replace(", ", " and ")}}},
  year = {{{paper.year}}},
  note = {{{paper.venue}}},
  eprint = {{{paper.arxiv}}},
  archivePrefix = {{arXiv}}
}}"""
