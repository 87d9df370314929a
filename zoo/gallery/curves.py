"""Training curves from the histories shipped with weights: mean over replicas, and the band that holds most of them."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import torch
from matplotlib.figure import Figure as Canvas
from torch import Tensor

from zoo.figures import COLOURS, axes
from zoo.history import History

PANELS = 6
QUANTILES = (0.1, 0.9)
SAYS = "Mean over replicas and the band from the 10th to the 90th percentile; dashed: on validation data."


def families(tags: list[str]) -> dict[str, list[str]]:
    """Tags by what they are without a final number: weights of one recipe at several sizes."""
    found: dict[str, list[str]] = {}
    for tag in tags:
        found.setdefault(tag.rstrip("0123456789"), []).append(tag)
    return found


def curves(histories: Mapping[str, History]) -> Canvas | None:
    """A panel per metric, a colour per weight; None if nothing was logged twice.

    A metric that was measured once, or that never changes, has no curve; of more than six the first six are drawn.
    """
    metrics = [
        name for name in dict.fromkeys(n for one in histories.values() for n in one.metrics) if _runs(name, histories)
    ]
    panels = list(dict.fromkeys(name.removeprefix("val_") for name in metrics))[:PANELS]
    if not panels:
        return None
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    canvas, grid = axes(rows, columns, width=3.3 * columns, height=2.5 * rows)
    flat = list(grid.flat) if len(panels) > 1 else [grid]
    for ax, panel in zip(flat, panels, strict=False):
        everything = []
        for i, (tag, history) in enumerate(histories.items()):
            for name, style in ((panel, "-"), (f"val_{panel}", "--")):
                if name in metrics and name in history.metrics:
                    steps, values = _measured(history, name)
                    label = tag if style == "-" or panel not in metrics else None
                    _band(ax, steps, values, _colour(i, len(histories)), style, label)
                    everything.append(values.flatten())
        values = torch.cat(everything)
        values = values[values.isfinite()]
        if len(values) and values.min() > 0 and values.max() > 50 * values.min():
            ax.set_yscale("log")
        ax.set(title=panel.replace("_", " "), xlabel="optimiser step")
        ax.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4))
    for ax in flat[len(panels) :]:
        ax.set_axis_off()
    if len(histories) > 1:
        flat[0].legend(fontsize=6.5, ncols=1 + (len(histories) > 6))
    return canvas


def _measured(history: History, name: str) -> tuple[Tensor, Tensor]:
    """The steps at which a metric was measured, and its values there, (s, r)."""
    values = history[name]
    there = ~values.isnan().all(dim=1)
    return history.steps[there], values[there]


def _runs(name: str, histories: Mapping[str, History]) -> bool:
    """Whether a metric changes along some history."""
    for history in histories.values():
        if name in history.metrics:
            values = _measured(history, name)[1]
            if len(values) > 1 and bool((values[1:] != values[:-1]).any()):
                return True
    return False


def _band(
    ax: matplotlib.axes.Axes, steps: Tensor, values: Tensor, colour: object, style: str, label: str | None
) -> None:
    ax.plot(steps, values.nanmean(1), color=colour, linestyle=style, label=label)
    if values.shape[1] > 1:
        low, high = torch.nanquantile(values, torch.tensor(QUANTILES, dtype=values.dtype), dim=1)
        ax.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)


def _colour(i: int, of: int) -> object:
    return COLOURS[i] if of <= len(COLOURS) else matplotlib.colormaps["viridis"](0.9 * i / (of - 1))
