"""Figures of the attention memoriser: the paper's curves with both bounds, and what the construction stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure as Canvas
from torch import Tensor

from zoo.figures import COLOURS, THEORY, Figure, axes
from zoo.history import Run
from zoo.models.attention_memorizer import claims, theory
from zoo.models.attention_memorizer.text_figures import LANGUAGE_FIGURES, LAWS_FIGURES
from zoo.weights import Weight

BOUND: dict[str, Any] = {"color": "#dd8822", "linewidth": 1.4}  # orange in the paper
BEFORE: dict[str, Any] = {"color": "#449955", "linewidth": 1.4}  # green in the paper
CHANCE: dict[str, Any] = {"color": "black", "linewidth": 1.0}
CODE: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 7, "markerfacecolor": "none"}


def _points(ax: Any, x: Sequence[float], weights: Sequence[Weight], colour: str, label: str) -> list[float]:
    """Mean accuracy with the standard deviation over seeds as bars; returns the means."""
    values = [claims.accuracy(weight) for weight in weights]
    means = [v.mean().item() for v in values]
    ax.errorbar(x, means, [v.std().item() for v in values], fmt="o", markersize=4, color=colour, label=label)
    return means


def _argument(weights: Sequence[Weight], name: str) -> list[int]:
    return [int(weight.record.arguments[name]) for weight in weights]


def _bounds(ax: Any, x: Sequence[float], sizes: Sequence[tuple[int, int, int]], vocabulary: int) -> None:
    """1/N and both lower bounds for (heads, head size, dimension) at each x."""
    contexts = vocabulary**2
    ours = [theory.accuracy(theory.capacity(h, k, d), vocabulary, contexts) for h, k, d in sizes]
    before = [theory.accuracy(theory.capacity_before(h, k), vocabulary, contexts) for h, k, _ in sizes]
    ax.plot(x, ours, label="bound of this paper", **BOUND)
    ax.plot(x, before, label="bound of Mahdavi et al.", **BEFORE)
    ax.axhline(1 / vocabulary, label="chance, 1/N", **CHANCE)
    ax.set_ylabel("accuracy")
    ax.set_ylim(0, 1.03)


def heads(*weights: Weight) -> Canvas:
    """Figure 1a."""
    return _against_heads(weights, claims.TABLE, 50)


def circle(*weights: Weight) -> Canvas:
    """Figure 4."""
    return _against_heads(weights, claims.CIRCLE, 10)


def _against_heads(weights: Sequence[Weight], code: Sequence[float], vocabulary: int) -> Canvas:
    canvas, ax = axes(width=6.6, height=3.2)
    x = _argument(weights, "heads")
    k, d = weights[0].record.arguments["head_dim"], weights[0].record.arguments["dim"]
    means = _points(ax, x, weights, COLOURS[0], f"trained, {weights[0].network.count} seeds")
    ax.plot(x, code, color=COLOURS[1], label="the authors' results", **CODE)
    line = theory.line_of_heads(x, means)
    per_head = theory.per_head(line.slope, vocabulary, vocabulary**2)
    span = [h for h in x if line.slope * h + line.intercept < 1.02]
    fitted = [line.slope * h + line.intercept for h in span]
    ax.plot(span, fitted, label=f"least squares, {per_head:.3g} associations per head", **THEORY)
    _bounds(ax, x, [(h, k, d) for h in x], vocabulary)
    ax.set(xlabel="heads H", title=f"N = {vocabulary}, d = {d}, d_h = {k}")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return canvas


def head_size(*weights: Weight) -> Canvas:
    """Figure 1b, and the same sweep on the network that the paper defines."""
    canvas, ax = axes(width=6.6, height=3.2)
    shared = [weight for weight in weights if weight.record.network == "SharedCompression"]
    own = [weight for weight in weights if weight.record.network == "AttentionOnly"]
    x = _argument(shared, "head_dim")
    means = _points(ax, x, shared, COLOURS[0], "trained, shared compression (the code)")
    _points(ax, _argument(own, "head_dim"), own, COLOURS[3], "trained, own maps per head (the paper)")
    ax.plot(claims.SIZES, claims.SIZE, color=COLOURS[1], label="the authors' results", **CODE)
    fit = theory.fit(x, means, power=2)
    grid = torch.linspace(1, max(x), 50, dtype=torch.float64)
    ax.plot(grid, fit.slope * grid**2 + fit.intercept, label=f"{fit.slope:.4f} d_h² + {fit.intercept:.3f}", **THEORY)
    h, d = shared[0].record.arguments["heads"], shared[0].record.arguments["dim"]
    _bounds(ax, x, [(h, k, d) for k in x], 50)
    ax.set(xlabel="head size d_h", title=f"N = 50, d = {d}, H = {h}")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return canvas


def dimension(*weights: Weight) -> Canvas:
    """Figure 2a."""
    canvas, ax = axes(width=6.6, height=3.2)
    x = _argument(weights, "dim")
    h, k = weights[0].record.arguments["heads"], weights[0].record.arguments["head_dim"]
    means = _points(ax, x, weights, COLOURS[0], f"trained, {weights[0].network.count} seeds")
    ax.plot(claims.DIMENSIONS, claims.DIMENSION, color=COLOURS[1], label="the authors' results", **CODE)
    for line, side in zip(theory.pieces(x, means, knee=k), ([min(x), k], [k, max(x)]), strict=True):
        label = f"least squares, {line.slope:.3f} per dimension"
        ax.plot(side, [line.slope * d + line.intercept for d in side], label=label, **THEORY)
    _bounds(ax, x, [(h, k, d) for d in x], 50)
    ax.set(xlabel="embedding size d", title=f"N = 50, d_h = {k}, H = {h}")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return canvas


def capacity() -> Canvas:
    """Recall of the least-squares memoriser against the number of sequences it is given."""
    canvas, ax = axes(width=4.6, height=3.4)
    for colour, head_dim in zip(COLOURS, (10, 5, 2), strict=False):
        full = theory.capacity(20, head_dim, 10)
        counts = sorted({int(full * factor) for factor in (0.5, 0.8, 1, 1.1, 1.25, 1.5, 2, 3, 5, 8)})
        ax.plot(
            counts,
            [recall_of_construction(count, 20, head_dim) for count in counts],
            marker=".",
            color=colour,
            label=f"d_h = {head_dim}, H d_h + d = {full}",
        )
        ax.axvline(full, **{**THEORY, "color": colour})
    ax.axhline(1 / 50, label="chance, 1/N", **CHANCE)
    ax.set(xscale="log", ylim=(0, 1.03), xlabel="sequences to store", ylabel="recall", title="N = 50, d = 10, H = 20")
    ax.legend(loc="upper right")
    return canvas


def recall_of_construction(count: int, heads: int, head_dim: int, vocabulary: int = 50, dim: int = 10) -> float:
    """Share of `count` random pairs that the construction of Theorem 1 knows, also beyond its capacity."""
    generator = torch.Generator().manual_seed(0)
    tokens = theory.distinct_sequences(vocabulary, 2, count, generator)
    targets = torch.randint(vocabulary, (count,), generator=generator)
    rows = theory.unit_rows(vocabulary, dim, generator)
    start = theory.generic(vocabulary, 2, dim, heads, head_dim, generator)
    stored = theory.outputs(theory.memorise(start, tokens, rows[targets], rows), tokens)
    return ((stored @ rows.T).argmax(-1) == targets).double().mean().item()


def _band(ax: Any, run: Run, name: str, colour: str, label: str) -> None:
    """Mean over seeds and the range between them."""
    steps, values = run.history.steps, run.history[name]
    known = ~values.isnan().all(1)
    steps, values = steps[known], values[known]
    ax.plot(steps, values.mean(1), color=colour, label=label)
    ax.fill_between(steps, values.min(1).values, values.max(1).values, color=colour, alpha=0.2, linewidth=0)


def learning(run: Run) -> Canvas:
    """Accuracy of one run against its steps."""
    canvas, ax = axes(width=4.6, height=3.2)
    options = run.recipe["model"]["init_args"]
    _band(ax, run, "accuracy", COLOURS[0], "on the sample, running")
    _band(ax, run, "recall", COLOURS[3], "over all contexts")
    v, d = options["vocabulary"], options["dim"]
    if options["network"] == "attention":
        stored = theory.capacity(options["heads"], options["head_dim"], d)
        ax.axhline(theory.accuracy(stored, v, v**2), label="bound of this paper", **BOUND)
    ax.axhline(1 / v, label="chance, 1/N", **CHANCE)
    ax.set(xlabel="optimiser step", ylabel="accuracy", ylim=(0, 1.03), title=run.tag)
    ax.legend()
    return canvas


def laws(run: Run) -> Canvas:
    """Divergence of one run, and the best encoder of the same rank, which bounds it from below (Proposition 1)."""
    canvas, ax = axes(width=4.6, height=3.2)
    _band(ax, run, "loss", COLOURS[0], "trained")
    ax.axhline(floor(run.weight.task["laws"], run.recipe["model"]["init_args"]["dim"]), label="best encoder", **THEORY)
    ax.set(xlabel="optimiser step", ylabel="divergence (nats)", yscale="log", title=run.tag)
    ax.legend()
    return canvas


def floor(laws: Tensor, dim: int) -> float:
    """Mean over replicas of the best rank-d encoder's divergence from their laws (r, n, v)."""
    generator = torch.Generator().manual_seed(0)
    values = [theory.best_encoder(one, dim, generator, restarts=1).divergence for one in laws]
    return sum(values) / len(values)


FIGURES: tuple[Figure, ...] = (
    Figure(
        "accuracy_heads",
        "Accuracy on a random table grows linearly with the number of heads, far above both lower bounds.",
        "Figure 1a",
        heads,
        weights=tuple(f"table_h{h}" for h in claims.HEADS),
    ),
    Figure(
        "accuracy_head_size",
        "Accuracy is quadratic in the head size when heads share one compression, concave when each has its own maps.",
        "Figure 1b, and the paper's own architecture",
        head_size,
        weights=tuple(f"{variant}{k}" for variant in ("shared_dh", "dh") for k in claims.SIZES),
    ),
    Figure(
        "accuracy_dimension",
        "With shared compression accuracy stops growing with the embedding size at d = d_h.",
        "Figure 2a",
        dimension,
        weights=tuple(f"dim{d}" for d in claims.DIMENSIONS),
    ),
    Figure(
        "accuracy_circle",
        "In two dimensions a trained head stores more associations than the bound's two.",
        "Figure 4",
        circle,
        weights=tuple(f"circle_h{h}" for h in claims.CIRCLE_HEADS),
    ),
    Figure(
        "capacity",
        "The construction knows every sequence up to H d_h + d (dashed) and forgets beyond.",
        "Theorem 1, drawn here",
        capacity,
    ),
    Figure(
        "learning",
        "Accuracy during training, mean and range over seeds.",
        "drawn here",
        learning,
        recipes=("table*", "*head_size", "dh*", "shared_dh*", "dim*", "circle*", "wide*", "mlp*"),
    ),
    Figure(
        "divergence",
        "Divergence from the laws during training, and the best encoder of the same rank.",
        "Theorem 1 and Proposition 1, drawn here",
        laws,
        recipes=("laws*",),
    ),
    *LANGUAGE_FIGURES,
    *LAWS_FIGURES,
)
