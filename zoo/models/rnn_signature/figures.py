"""Figures of recurrent nets as kernel methods: expansions of random nets, attacks, norms, and accuracies on real series."""

from __future__ import annotations

import math

import torch
from matplotlib.figure import Figure as Canvas
from torch import Tensor

from zoo.claims import Skip
from zoo.figures import COLOURS, THEORY, Figure, axes
from zoo.history import Run, history_of
from zoo.kept import kept
from zoo.models.rnn_signature import classifiers
from zoo.models.rnn_signature.claims import CODE, METHODS, PENALISED, PLAIN, SETS, accuracies, expansion, test_size
from zoo.models.rnn_signature.experiments import BUDGETS, random_nets, robust_accuracy, short_spiral, taylor
from zoo.registry import ZooError
from zoo.weights import Weight, load

ORDERS = (1, 2, 3, 4, 5)


@kept()
def expansions() -> dict[str, Tensor]:
    """Of 1,000 random nets of each activation "<activation>_errors" (order, net) and "_norms" (net); of 20 the "_bounds"."""
    found: dict[str, Tensor] = {}
    for activation in ("tanh", "logistic"):
        whole = taylor(1000, activation)
        some = expansion(random_nets(20, activation, 0), short_spiral(0, 31), 4, ORDERS[:4])
        found |= {f"{activation}_errors": whole.errors, f"{activation}_norms": whole.frobenius}
        found[f"{activation}_bounds"] = some.bounds
    return found


def taylor_errors() -> Canvas:
    """Error of the expansion against its order, 1000 nets of each activation, with the remainder bound of some."""
    canvas, ax = axes(width=4.6, height=3.4)
    for i, activation in enumerate(("tanh", "logistic")):
        errors = expansions()[f"{activation}_errors"]
        low, middle, high = errors.quantile(torch.tensor([0.1, 0.5, 0.9], dtype=errors.dtype), dim=1)
        ax.fill_between(ORDERS, low, high, color=COLOURS[i], alpha=0.2, linewidth=0)
        ax.plot(ORDERS, middle, "o-", color=COLOURS[i], markersize=3.5, label=f"{activation}, median")
        bound = expansions()[f"{activation}_bounds"].median(dim=1).values
        ax.plot(ORDERS[:4], bound, **THEORY | {"color": COLOURS[i]}, label=f"{activation}, bound of the remainder")
    ax.set(yscale="log", xlabel="order $N$", ylabel="error of the hidden state", xticks=ORDERS)
    ax.legend(loc="lower left")
    ax.set_title("1,000 random nets, one spiral; bands: middle 80 %")
    return canvas


def error_against_norm() -> Canvas:
    """Error at order 5 of each logistic net against the Frobenius norm of its weights."""
    canvas, ax = axes(width=4.4, height=3.2)
    norms, errors = (expansions()[f"logistic_{name}"] for name in ("norms", "errors"))
    ax.scatter(norms, errors[-1], s=4, color=COLOURS[0], alpha=0.5, linewidths=0, label="one net")
    x, y = norms.log(), errors[-1].log()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    ends = torch.stack([norms.min(), norms.max()])
    line = (y.mean() + slope * (ends.log() - x.mean())).exp()
    ax.plot(ends, line, color=COLOURS[1], label=f"fitted power {slope:.1f}")
    ax.plot(ends, line[1] * (ends / ends[1]) ** 5, **THEORY, label="power 5, of five derivatives in $T_6$")
    ax.set(yscale="log", xlabel=r"$\|[W_h, W_x]\|_F$", ylabel="error of the hidden state, $N = 5$")
    ax.legend(loc="lower right")
    ax.set_title("1,000 random logistic nets, one spiral")
    return canvas


def _mean_and_half(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over replicas, the last axis, and half of its 95 % interval."""
    return values.mean(-1), 1.96 * values.std(-1) / math.sqrt(values.shape[-1])


NAMES = {PLAIN: "RNN", PENALISED: "penalised RNN", CODE: "penalised as in the released code"}


@kept(*(f"rnn_signature.{tag}" for tag in NAMES))
def attacked_spirals() -> dict[str, Tensor]:
    """Accuracy under attack of the shipped nets on spirals by tag, (budget, r)."""
    return {tag: robust_accuracy(load(f"rnn_signature.{tag}")) for tag in NAMES}


def adversarial(*weights: Weight) -> Canvas:
    """Accuracy under attack against the budget."""
    canvas, ax = axes(width=4.6, height=3.2)
    for i, weight in enumerate(weights):
        mean, half = _mean_and_half(attacked_spirals()[weight.tag])
        ax.fill_between(BUDGETS, mean - half, mean + half, color=COLOURS[i], alpha=0.2, linewidth=0)
        ax.plot(BUDGETS, mean, "o-", color=COLOURS[i], markersize=3.5, label=NAMES[weight.tag])
    ax.axhline(0.5, **THEORY, label="chance")
    ax.set(xlabel=r"budget $\epsilon$ of the attack (2-norm of the whole series)", ylabel="accuracy", ylim=(0.2, 1))
    ax.legend(loc="lower left")
    return canvas


def moving_average(values: Tensor, width: int = 6) -> Tensor:
    """Mean of each row and up to width - 1 rows before it, (s, r)."""
    sums = torch.cat([torch.zeros_like(values[:1]), values.cumsum(0)])
    ends = torch.arange(1, len(values) + 1)
    starts = (ends - width).clamp(min=0)
    return (sums[ends] - sums[starts]) / (ends - starts)[:, None]


def norms(*weights: Weight) -> Canvas:
    """RKHS and Frobenius norm against the epoch; every run, and the median."""
    canvas, panels = axes(1, 2, width=8.0, height=3.1)
    for ax, metric, name in zip(
        panels, ("norm", "frobenius"), (r"$\|f\|_{\mathcal{H}}$ at $N = 3$", r"$\|[W_x, W_h]\|_F$"), strict=True
    ):
        for i, weight in enumerate(weights):
            history = history_of(weight)
            values = history[metric].sqrt() if metric == "norm" else history[metric]
            values = moving_average(values)
            ax.plot(history.steps, values, color=COLOURS[i], linewidth=0.5, alpha=0.2)
            ax.plot(history.steps, values.median(dim=1).values, color=COLOURS[i], linewidth=2, label=NAMES[weight.tag])
        ax.set(xlabel="epoch", ylabel=name)
    panels[0].set_yscale("log")
    panels[0].legend(fontsize=7)
    panels[0].set_title("RKHS norm")
    panels[1].set_title("Frobenius norm")
    return canvas


TITLES = {
    "fsdd": "spoken digits",
    "pendigits": "pen digits",
    "racket_sports": "RacketSports",
    "ering": "ERing",
    "epilepsy": "Epilepsy",
    "libras": "Libras",
}


def recorded(weight: Weight) -> tuple[list[float], int]:
    """Accuracies of the four methods and the size of the test set, from the record or, where it has none, measured now.

    Raises:
        ZooError: the record has none and the data are not there.
    """
    for entry in weight.record.claims:
        if entry["claim"] == "S1":
            return entry["now"], entry["n"]
    try:
        return accuracies(weight), test_size(weight)
    except Skip as reason:
        raise ZooError(str(reason)) from None


def real_series(*weights: Weight) -> Canvas:
    """Test accuracy of four methods on each set, with 95 % intervals."""
    canvas, ax = axes(width=7.8, height=3.2)
    labels = []
    for i, weight in enumerate(weights):
        values, n = recorded(weight)
        for j, (method, value) in enumerate(zip(METHODS, values, strict=True)):
            low, high = classifiers.interval(value, n)
            place = i + 0.16 * (j - 1.5)
            ax.errorbar(
                place,
                value,
                [[max(value - low, 0)], [max(high - value, 0)]],
                fmt="os^D"[j],
                color=COLOURS[j],
                markersize=4.5,
                capsize=2,
                linewidth=1,
                label=method if i == 0 else None,
            )
        labels.append(f"{TITLES[weight.tag]}\nn = {n:,}\nchance {1 / weight.record.arguments['classes']:.2f}")
    ax.set_xticks(range(len(weights)), labels, fontsize=7.5)
    ax.set(ylabel="test accuracy", ylim=(0.58, 1.01))
    ax.legend(loc="lower left")
    return canvas


def training(run: Run) -> Canvas:
    """Accuracies and norms of a run."""
    canvas, (left, right) = axes(1, 2, width=7.6, height=2.9)
    penalties = run.weight.task["penalty"]
    steps = run.history.steps
    for i, penalty in enumerate(penalties.unique().tolist()):
        chosen = penalties == penalty
        label = rf"$\lambda = {penalty:g}$" if penalty else "no penalty"
        for metric, style in (("val_accuracy", "o-"), ("accuracy", ":")):
            values = run.history[metric][:, chosen].mean(1)
            seen = ~values.isnan()
            name = f"{label}, {'test' if metric == 'val_accuracy' else 'training'}"
            left.plot(steps[seen], values[seen], style, color=COLOURS[i], markersize=3, linewidth=1.1, label=name)
        right.plot(steps, run.history["norm"][:, chosen].mean(1).sqrt(), color=COLOURS[i], label=label)
    left.axhline(1 / run.weight.record.arguments["classes"], **THEORY, label="chance")
    left.set(xlabel="optimiser step", ylabel="accuracy, mean over seeds", ylim=(0, 1.02))
    right.set(xlabel="optimiser step", ylabel=r"$\|f\|_{\mathcal{H}}$ at $N = 3$", yscale="log")
    left.legend(fontsize=7)
    right.legend(fontsize=7)
    return canvas


FIGURES: tuple[Figure, ...] = (
    Figure(
        "taylor",
        "The expansion of a recurrent net in the signature of its path converges, for the logistic faster than for tanh.",
        "Figure of Taylor expansions, with the bound derived here",
        taylor_errors,
    ),
    Figure(
        "error_against_norm",
        "The larger the weights, the larger the error of the expansion of order 5.",
        "Figure of errors against norms",
        error_against_norm,
    ),
    Figure(
        "adversarial",
        "Trained with the norm as a penalty, nets resist attacks longer.",
        "Figure of adversarial accuracy",
        adversarial,
        weights=(PLAIN, PENALISED, CODE),
    ),
    Figure(
        "norms",
        "The penalty keeps the norm of the net in its function space small, and the Frobenius norm of its weights smaller.",
        "Figure of norms",
        norms,
        weights=(PLAIN, PENALISED, CODE),
    ),
    Figure(
        "real_series",
        "Accuracy on six sets of real series: recurrent nets without and with the penalty (means of three), and two kernel methods; "
        "intervals of 95 % for the size of the test set.",
        "added here",
        real_series,
        weights=tuple(SETS),
    ),
    Figure(
        "training",
        "Accuracy and norm in a training.",
        "added here",
        training,
        recipes=("*",),
    ),
)
