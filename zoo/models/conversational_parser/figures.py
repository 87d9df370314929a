"""Figures of the conversational parser: what two grammars cover, and what each part of the input is worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure as Canvas
from torch import Tensor

from datamodules.dialogues import TYPE_KEYS
from zoo.figures import COLOURS, Figure, axes
from zoo.kept import kept
from zoo.models.conversational_parser.claims import synthetic_coverage
from zoo.models.conversational_parser.published import COVERAGE_D2A
from zoo.sweeps import Sweep

KEYS = ("data.previous", "data.kg", "model.flat")
VARIANTS = {  # values of KEYS
    (True, True, False): "full input",
    (False, True, False): "no pair before",
    (True, False, False): "nothing from the graph",
    (True, True, True): "flat text",
}


def _types(ax: Any) -> None:
    ax.set_xticks(range(len(TYPE_KEYS)), [key.replace(" ", "\n") for key in TYPE_KEYS], fontsize=7.5)
    ax.tick_params(axis="x", length=0)
    ax.margins(x=0.01)


def _bars(ax: Any, place: int, of: int, values: Any, label: str) -> None:
    width = 0.8 / of
    x = np.arange(len(values)) + (place - (of - 1) / 2) * width
    ax.bar(x, values, 0.92 * width, color=COLOURS[place], label=label)


@kept()
def searched() -> dict[str, Tensor]:
    """Of the generated dialogues, by question type: "questions", covered ones ("full", "restricted"), "tried" and right "forms"."""
    types = synthetic_coverage().types
    names = ("questions", "full", "restricted", "tried", "forms")
    return {name: torch.tensor([getattr(types[key], name) for key in TYPE_KEYS]) for name in names}


def _each(name: str) -> list[float]:
    """Means over the questions of each type."""
    return (searched()[name] / searched()["questions"]).tolist()


def covered() -> Canvas:
    """Share of questions with a form of the gold value."""
    canvas, ax = axes(width=8.2, height=3.0)
    for place, (name, label) in enumerate((("full", "this grammar"), ("restricted", "the earlier one"))):
        _bars(ax, place, 2, [100 * value for value in _each(name)], f"{label}, generated dialogues")
    published = [COVERAGE_D2A[key] for key in TYPE_KEYS]
    ax.plot(
        np.arange(len(TYPE_KEYS)) + 0.2, published, "D", color="black", markersize=3.5, label="Dialog-to-Action on CSQA"
    )
    _types(ax)
    ax.set(ylabel="questions covered, %", ylim=(0, 100))
    ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return canvas


def spurious() -> Canvas:
    """Mean number of forms with the gold value, the right one among them."""
    canvas, ax = axes(width=8.2, height=2.8)
    tried, right = _each("tried"), _each("forms")
    for place, (values, label) in enumerate(((right, "with the gold value"), (tried, "tried"))):
        _bars(ax, place, 2, values, label)
        for x, value in enumerate(values):
            ax.text(x + (place - 0.5) * 0.4, 1.06 * value, f"{value:.3g}", ha="center", fontsize=6.5)
    _types(ax)
    ax.set_yscale("log")
    ax.set_yticks([1, 10, 100], ["1", "10", "100"])
    ax.minorticks_off()
    ax.set(ylabel="forms per question", ylim=(0.8, 2 * max(tried)))
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return canvas


def _scores(sweep: Sweep, metric: str) -> dict[str, dict[int, float]]:
    """Variant -> training dialogues -> mean of a metric."""
    rows = len(sweep.columns["run"])
    defaults = dict(zip(KEYS, (True, True, False), strict=True))
    columns = [sweep.columns.get(key, [defaults[key]] * rows) for key in KEYS]
    sizes = sweep.columns.get("data.dialogues", [3000] * rows)
    found: dict[str, dict[int, list[float]]] = {}
    values = sweep.columns.get(metric, [None] * rows)  # few test dialogues may lack a question type
    for *variant, size, value in zip(*columns, sizes, values, strict=True):
        name = VARIANTS.get(tuple(variant))
        if name is not None and value is not None:
            found.setdefault(name, {}).setdefault(size, []).append(value)
    return {
        name: {size: float(np.mean(each)) for size, each in sorted(found[name].items())}
        for name in VARIANTS.values()
        if name in found
    }


def by_type(sweep: Sweep) -> Canvas:
    """F1 or accuracy on graph B by type, at the most training dialogues."""
    canvas, ax = axes(width=8.2, height=3.0)
    by_key = {key: _scores(sweep, f"B_{key.replace(' ', '_')}") for key in TYPE_KEYS}
    names = list(_scores(sweep, "B_overall"))
    for place, name in enumerate(names):
        values = [list(by_key[key].get(name, {0: np.nan}).values())[-1] for key in TYPE_KEYS]
        _bars(ax, place, len(names), values, name)
    most = max(size for sizes in _scores(sweep, "B_overall").values() for size in sizes)
    _types(ax)
    ax.set(ylabel="F1 or accuracy, %", ylim=(0, 100))
    ax.legend(
        ncols=4,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        title=f"{most:,} training dialogues, unseen graph",
        title_fontsize=8,
    )
    return canvas


def by_dialogues(sweep: Sweep) -> Canvas:
    """Overall on graphs A and B against the number of training dialogues."""
    canvas, panels = axes(1, 2, width=7.4, height=2.9)
    sizes: set[int] = set()
    for ax, split, title in zip(panels, "AB", ("graph of training", "unseen graph"), strict=True):
        for place, (name, values) in enumerate(_scores(sweep, f"{split}_overall").items()):
            ax.plot(list(values), list(values.values()), "o-", color=COLOURS[place], markersize=3.5, label=name)
            sizes.update(values)
        ax.set_xscale("log")
        ax.set(xlabel="training dialogues", title=title, ylim=(0, 101))
    for ax in panels:
        ax.set_xticks(sorted(sizes), [f"{size:,}" for size in sorted(sizes)])
        ax.minorticks_off()
    panels[0].set_ylabel("overall of nine types, %")
    panels[1].legend(loc="lower right")
    return canvas


FIGURES: tuple[Figure, ...] = (
    Figure(
        "coverage",
        "Questions for which a search finds a form with the gold answer, in two grammars. The points are the earlier system's own "
        "coverage of real questions.",
        "the abstract's 96.2 and 80 %, on generated dialogues",
        covered,
    ),
    Figure(
        "spurious",
        "How many forms a search tries, and how many have the gold value: a truth value tells least about its form.",
        "added here",
        spurious,
    ),
    Figure(
        "ablations",
        "Scores by question type with the full input and without its parts, on a graph that was not trained on.",
        "added here",
        by_type,
        sweeps=("synthetic_hard",),
    ),
    Figure(
        "dialogues",
        "Scores against the number of training dialogues, with the full input and without its parts.",
        "added here",
        by_dialogues,
        sweeps=("synthetic_hard",),
    ),
)
