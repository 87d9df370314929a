"""Figures of neural ODEs with moving weights: gap against the move, gap against its penalty, training curves, the bound."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from torch import Tensor

from zoo.figures import COLOURS, THEORY, Figure, axes
from zoo.history import Run
from zoo.models.ode_generalization import theory
from zoo.models.ode_generalization.claims import (
    DEPTHS,
    DIGITS,
    MNIST,
    MNIST_TIED,
    MNIST_TRAINED,
    TIED,
    TRAINED,
    WIDTH,
    Curves,
    Subject,
    constants,
    largest_jump,
)
from zoo.weights import Weight

JUMP = r"largest jump $\sup_k \|W_{k+1} - W_k\|_\infty$"
GAP = "test loss − training loss"


def _plain(axis: Any) -> None:
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _about(subject: Subject) -> str:
    record = subject.weight.record if isinstance(subject, Run) else subject.record
    data = {"digits of scikit-learn": "8×8 digits", "mnist": "MNIST"}[record.data["name"]]
    return f"{data}, {record.data['samples']:,} training images, depth {record.arguments['depth']}"


# Gap against jump.


def scatter(random: Weight, trained: Weight) -> Canvas:
    """Every run and epoch from the third on, without penalty."""
    canvas, ax = axes(width=5.2, height=3.6)
    for weight, marker, colour, name in (
        (random, "o", COLOURS[0], "random projections"),
        (trained, "^", COLOURS[1], "trained projections"),
    ):
        curves = Curves(weight)
        x, y = (curves(metric)[2:] for metric in ("lipschitz", "gap"))
        ax.plot(x.flatten(), y.flatten(), marker, color=colour, markersize=3, alpha=0.25, markeredgewidth=0)
        ax.plot(x[-1], y[-1], marker, color=colour, markersize=5, label=f"{name}, {x.shape[1]} runs")
    ax.set_xscale("log")
    _plain(ax.xaxis)
    ax.set(xlabel=JUMP, ylabel=GAP, title=_about(random))
    ax.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    ax.legend(title=f"pale: epochs 3 to {len(Curves(random)('gap')) - 1}; full: the last", title_fontsize=8)
    return canvas


# Gap against penalty.


def boxes(subject: Subject, tied: Subject | None = None) -> Canvas:
    """Gap after the last epoch by strength of the penalty; tied nets stand at infinity."""
    canvas, ax = axes(width=4.6, height=3.2)
    curves = Curves(subject)
    groups = [(f"{lam:g}", curves.last("gap", lam)) for lam in curves.lams]
    if tied is not None:
        groups.append(("∞ (tied)", Curves(tied).last("gap")))
    found = ax.boxplot(
        [gap.tolist() for _, gap in groups],
        widths=0.5,
        patch_artist=True,
        showfliers=False,
        medianprops={"color": "black"},
    )
    generator = torch.Generator().manual_seed(0)
    for i, (box, (_, gap)) in enumerate(zip(found["boxes"], groups, strict=True)):
        box.set(facecolor=COLOURS[i], alpha=0.35)
        place = i + 1 + 0.24 * (torch.rand(len(gap), generator=generator) - 0.5)
        ax.plot(place, gap, "o", color=COLOURS[i], markersize=3.5, markeredgewidth=0)
    ax.set_xticks(range(1, len(groups) + 1), [name for name, _ in groups])
    scaled, kind = curves.given.get("reference_depth"), curves.given.get("penalty", "frobenius")
    where = f", at depth {scaled}" if scaled else ""
    ax.set(
        xlabel=rf"strength $\lambda$ of the {kind.replace('frob', 'Frob')} penalty{where}", ylabel=f"{GAP}, last epoch"
    )
    ax.set_title(f"{_about(subject)}, {curves.seeds} seeds", fontsize=8.5)
    return canvas


# Training.


def _band(ax: Any, values: Tensor, colour: str, label: str, **style: Any) -> None:
    epochs = torch.arange(1, len(values) + 1)
    ax.plot(epochs, values.quantile(0.5, dim=1), color=colour, label=label, **style)
    if values.shape[1] > 1:
        low, high = values.quantile(0.25, dim=1), values.quantile(0.75, dim=1)
        ax.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)


def training(run: Run) -> Canvas:
    """Losses, gap and jump by epoch and strength of the penalty: medians and middle halves of the seeds."""
    canvas, panels = axes(1, 3, width=9.2, height=2.9)
    curves = Curves(run)
    for i, lam in enumerate(curves.lams):
        colour, name = COLOURS[i], rf"$\lambda = {lam:g}$"
        _band(panels[0], curves("running_loss", lam), colour, name)
        _band(panels[0], curves("val_loss", lam), colour, "", linestyle=":")
        _band(panels[1], curves("gap", lam), colour, name)
        _band(panels[1], curves("gap_after", lam), colour, "", linestyle=":")
        if (curves("lipschitz", lam) > 0).all():
            _band(panels[2], curves("lipschitz", lam), colour, name)
            panels[2].set_yscale("log")
    panels[0].set(ylabel="cross-entropy", title="training (full), test (dotted)", ylim=(0, None))
    panels[1].set(ylabel=GAP, title="training loss of the epoch (full),\nafter it (dotted)")
    panels[1].axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    panels[2].set_title(JUMP)
    if panels[2].get_yscale() == "log":
        _plain(panels[2].yaxis)
    else:
        panels[2].text(0.5, 0.5, "0: the layers share one matrix", transform=panels[2].transAxes, ha="center")
        panels[2].set(yticks=[], xlim=panels[1].get_xlim())
    for ax in panels:
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].legend()
    return canvas


def paths(weight: Weight) -> Canvas:
    """One entry of W along depth before and after training, without and with the penalty, from the same start."""
    canvas, panels = axes(1, weight.network.count, width=3.7 * weight.network.count, height=2.7)
    W = weight.network.tensors()["W"].detach()[:, :, 0, 0]
    s = torch.arange(W.shape[1]) / W.shape[1]
    for ax, start, after, lam in zip(panels, weight.task["start"], W, weight.task["lam"].tolist(), strict=True):
        ax.plot(s, after, color=COLOURS[0], linewidth=1.2, label="after training")
        ax.plot(s, start, color="#999999", linewidth=1.2, label="before")
        jump = (after.diff()).abs().max()
        ax.set(xlabel="layer $k/L$", title=rf"$\lambda = {lam:g}$, largest jump of this entry {jump:.2g}")
        ax.set_ylim(min(W.min().item(), weight.task["start"].min().item()) - 0.05, W.max().item() + 0.05)
    panels[0].set_ylabel("$W_k(1, 1)$")
    panels[-1].legend()
    return canvas


# The bound.


def bounds() -> Canvas:
    """K_W against depth for smooth and independent layers; terms of the bound against n."""
    canvas, (left, right) = axes(1, 2, width=8.2, height=3.1)
    smooth, normal = constants("smooth"), constants("normal")
    left.plot(DEPTHS, normal, "o-", color=COLOURS[1], markersize=4, label="independent layers")
    left.plot(
        DEPTHS,
        [L * largest_jump(L) for L in DEPTHS],
        **THEORY,
        label="$L$ × median of the largest of $d^2 (L - 1)$ normals",
    )
    left.plot(DEPTHS, smooth, "o-", color=COLOURS[0], markersize=4, label="smooth layers")
    left.set(
        xscale="log",
        yscale="log",
        xlabel="depth $L$",
        ylabel=r"$K_W = L\,\sup_k\|W_{k+1} - W_k\|_\infty$",
        ylim=(4, 6e4),
    )
    left.set_xticks(DEPTHS, [f"{depth:g}" for depth in DEPTHS], minor=False)
    left.xaxis.set_minor_formatter(NullFormatter())
    left.legend(loc="upper left", fontsize=7.5)
    samples = torch.logspace(2, 8, 25).tolist()
    m, R = WIDTH**2, 136.0
    found = [theory.bound(round(n), m, R, smooth[-1]) for n in samples]
    lines = (
        ("lipschitz", r"weights that move, $\propto \sqrt{K_W}\, n^{-1/4}$", COLOURS[0]),
        ("logarithm", r"constant weights, $\propto \sqrt{\ln n}\; n^{-1/2}$", COLOURS[2]),
        ("confidence", r"confidence, $\propto n^{-1/2}$", COLOURS[3]),
    )
    for name, label, colour in lines:
        right.plot(samples, [getattr(one, name) for one in found], color=colour, label=label)
    for name, power in (("lipschitz", -0.25), ("confidence", -0.5)):
        end = getattr(found[-1], name)
        right.plot(samples, [end * (n / samples[-1]) ** power for n in samples], **THEORY | {"linewidth": 0.8})
    right.set(xscale="log", yscale="log", xlabel="training samples $n$", ylabel="terms of the bound, in units of $C$")
    right.set_ylim(bottom=1e-7)
    right.set_title(f"$d = {WIDTH}$, $K_W = {smooth[-1]:.1f}$, $R_W = {R:.0f}$: $C > e^{{{R:.0f}}}$", fontsize=8.5)
    right.legend(loc="lower left", fontsize=7.5)
    return canvas


FIGURES: tuple[Figure, ...] = (
    Figure(
        "scatter",
        "Train-test gap against the largest jump between layers, along training: they grow together.",
        "Figure figure-generalization-lipschitz of the released code, on the digits",
        scatter,
        weights=(DIGITS, TRAINED),
    ),
    Figure(
        "scatter_mnist",
        "Train-test gap against the largest jump between layers, along training.",
        "Figure figure-generalization-lipschitz of the released code, depth 100, a tenth of MNIST",
        scatter,
        weights=(MNIST, MNIST_TRAINED),
    ),
    Figure(
        "boxes",
        "Train-test gap by strength of the Frobenius penalty on the moves; tied layers are its limit.",
        "Figure figure-generalization-lambda of the released code, on the digits, the box at infinity filled in",
        boxes,
        weights=(DIGITS, TIED),
    ),
    Figure(
        "boxes_mnist",
        "Train-test gap by strength of the Frobenius penalty on the moves; tied layers are its limit.",
        "Figure figure-generalization-lambda of the released code, depth 100, a tenth of MNIST, the box at infinity filled in",
        boxes,
        weights=(MNIST, MNIST_TIED),
    ),
    Figure(
        "boxes_two_max",
        "Train-test gap by strength of the penalty on the 2-norm of the largest moves of all layers.",
        "Figure penalization-lambda-two-max of the released code, on the digits",
        boxes,
        weights=("digits_two_max",),
    ),
    Figure(
        "boxes_max_max",
        "Train-test gap by strength of the penalty on the largest move of all.",
        "Figure penalization-lambda-max-max of the released code, on the digits",
        boxes,
        weights=("digits_max_max",),
    ),
    Figure(
        "boxes_run",
        "Train-test gap by strength of the penalty.",
        "Figure figure-generalization-lambda of the released code",
        boxes,
        recipes=("digits", "mnist", "*_full", "*_max"),
    ),
    Figure(
        "training",
        "Losses, train-test gap and largest jump between layers by epoch, for each strength of the penalty.",
        "not in the paper",
        training,
        recipes=("digits*", "mnist*"),
    ),
    Figure(
        "paths",
        "An entry of W along depth: training roughens it, the penalty keeps it smooth.",
        "not in the paper",
        paths,
        weights=(DIGITS,),
    ),
    Figure(
        "bounds",
        "The constant of the bound does not grow with depth if layers are smooth, and grows as the depth if independent.",
        "abstract; the terms are derived here",
        bounds,
    ),
)
