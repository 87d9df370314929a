"""One style for every figure of the zoo, saved as SVG and PNG."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.figure import Figure as Canvas

from zoo.files import write_beside

COLOURS = ["#3366aa", "#cc5533", "#449955", "#885599", "#bb9922", "#338899", "#aa4477", "#777777"]
THEORY: dict[str, Any] = {"color": "black", "linestyle": "--", "linewidth": 1.2, "zorder": 5}

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLOURS),
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "svg.hashsalt": "theorem-zoo",  # the same figure gives the same bytes
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class Figure:
    """A figure of a paper: `draw` gets shipped weights, a run, or nothing, and returns a matplotlib figure.

    Attributes:
        name: stem of the file.
        says: caption, one sentence.
        source: the figure of the paper, or what it adds to it.
        weights: tags of the weights that `draw` gets.
        recipes: shell patterns of the recipes whose run `draw` gets, after `zoo train`.
    """

    name: str
    says: str
    source: str
    draw: Callable[..., Canvas]
    weights: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()


def axes(rows: int = 1, cols: int = 1, width: float | None = None, height: float | None = None) -> tuple[Canvas, Any]:
    """A figure and its axes in the house style; sizes in inches. One panel gives one Axes, several an array."""
    matplotlib.rcParams.update(STYLE)
    canvas = Canvas(figsize=(width or 3.6 * cols, height or 2.9 * rows), layout="constrained")
    return canvas, canvas.subplots(rows, cols)


def save(canvas: Canvas, folder: Path, name: str) -> list[Path]:
    """Writes `<name>.svg` and `<name>.png` (150 dots per inch) into `folder`."""
    matplotlib.rcParams.update(STYLE)
    paths = []
    for suffix, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        content = io.BytesIO()
        canvas.savefig(content, format=suffix, dpi=150, metadata=metadata)
        path = folder / f"{name}.{suffix}"
        with write_beside(path) as beside:
            beside.write_bytes(content.getvalue())
        paths.append(path)
    return paths
