"""Figures of deep linear regression: where descent ends, on the way there, and what may not be crossed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.figure import Figure as Canvas
from torch import Tensor

from datamodules.linear_regression import LinearRegressionData
from zoo.figures import COLOURS, THEORY, Figure, axes
from zoo.history import Run
from zoo.models.deep_linear import theory
from zoo.models.deep_linear.claims import gap_slope
from zoo.models.deep_linear.network import DeepLinear
from zoo.sharpness import hessian_products, lanczos, starting_vector
from zoo.sweeps import Sweep

BOUND: dict[str, Any] = THEORY | {"linestyle": ":"}
INITIAL = "#999999"


@dataclass
class Ends:
    """Final values of the replicas of one learning rate, (r,) each; NaN where a run diverged."""

    lr: float
    scale: Tensor
    values: dict[str, Tensor]
    diverged: Tensor

    @classmethod
    def of(cls, lr: float, columns: dict[str, Tensor], names: Sequence[str]) -> Ends:
        broken = columns["diverged"] > 0
        values = {name: torch.where(broken, torch.nan, columns[name]) for name in names}
        return cls(lr, columns["scale"], values, broken.double())


def _by_rate(columns: dict[str, Tensor], names: Sequence[str]) -> list[Ends]:
    return [
        Ends.of(float(lr), {name: column[columns["lr"] == lr] for name, column in columns.items()}, names)
        for lr in columns["lr"].unique()
    ]


def _of_sweep(sweep: Sweep, *names: str) -> list[Ends]:
    wanted = (*names, "diverged", "scale", "lr")
    empty = float("nan")
    columns = {
        name: torch.tensor([empty if v is None else v for v in sweep.columns[name]], dtype=torch.float64)
        for name in wanted
    }
    return _by_rate(columns, names)


def _of_run(run: Run, *names: str, row: int = -1) -> list[Ends]:
    columns = {name: run.history[name][row] for name in (*names, "diverged", "scale", "lr")}
    return _by_rate(columns, names)


def _grouped(ends: Ends, name: str) -> tuple[Tensor, list[Tensor]]:
    """Scales that have a finite value, and the finite values of each."""
    values = ends.values[name]
    scales = [one for one in ends.scale.unique() if values[ends.scale == one].isfinite().any()]
    return torch.tensor(scales), [values[(ends.scale == one) & values.isfinite()] for one in scales]


def _curve(ax: Any, ends: Ends, name: str, colour: str, label: str, **style: Any) -> None:
    """Mean over runs, and the middle 95 % of them as a band."""
    scales, groups = _grouped(ends, name)
    if not len(scales):
        return
    low, high = (torch.stack([values.quantile(q) for values in groups]) for q in (0.025, 0.975))
    ax.plot(scales, torch.stack([v.mean() for v in groups]), marker=".", color=colour, label=label, **style)
    ax.fill_between(scales, low, high, color=colour, alpha=0.15, linewidth=0)


def _limits(ax: Any, S: Tensor, w: Tensor, depth: int, x: float) -> None:
    """The two dotted lines of Figure 1b, named at the abscissa x."""
    for value, says, place in (
        (theory.lower_bound(S, w, depth), r"$2La$", "top"),
        (theory.upper_line(S, depth), r"$8L\Lambda$", "bottom"),
    ):
        ax.axhline(value.item(), **BOUND)
        ax.text(x, value.item() * (0.9 if place == "top" else 1.07), says, ha="left", va=place, fontsize=8)


def _edge(ax: Any, lr: float, colour: str) -> None:
    """2/lr, named beside the axes."""
    ax.axhline(2 / lr, color=colour, linestyle="--", linewidth=0.9)
    place = ax.get_yaxis_transform()
    ax.text(1.01, 2 / lr, f"$2/{lr:g}$", ha="left", va="center", fontsize=7, color=colour, transform=place)


def _two_panels(
    ends: list[Ends], start: Ends, first: str, label: str, depth: int, problem: tuple[Tensor, Tensor] | None
) -> Canvas:
    """Left a measure of success, right sharpness, both by the scale of the start."""
    canvas, (left, right) = axes(1, 2, width=8.6, height=3.6)
    for ax, name in ((left, first), (right, "sharpness")):
        _curve(ax, start, name, INITIAL, "at the start", linestyle=(0, (4, 1.5)))
        for one, colour in zip(ends, COLOURS, strict=False):
            # Beyond the critical learning rate no run settles, so that its sharpness says nothing.
            if name == first or one.lr < 0.09:
                _curve(ax, one, name, colour, rf"$\eta = {one.lr:g}$")
                if name == "sharpness":
                    _edge(ax, one.lr, colour)
        ax.set(xlabel="scale of the start", yscale="log")
    left.set_ylabel(label)
    left.set_ylim(max(left.get_ylim()[0], 1e-34), None)  # rounding of float64
    right.set_ylabel("sharpness")
    if problem:
        _limits(right, *problem, depth, start.scale.min().item())
        lowest = min(values.mean().item() for values in _grouped(start, "sharpness")[1])
        right.set_ylim(max(0.1, min(lowest, 25.0) / 5), 3e4)
    handles, labels = left.get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=7)
    return canvas


def _problem(task: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return task["S"][0], task["w_star"][0]


def _depth(sweep: Sweep) -> int:
    """Of the recipes mlp, residual and gelu, if the sweep's command did not change it."""
    said = re.search(r"--model\.depth[= ](\d+)", sweep.command)
    return int(said[1]) if said else 10


def _starts(depth: int, kind: str, scales: Tensor, S: Tensor, w: Tensor) -> Ends:
    """Fresh initial networks, twenty a scale."""
    d, count = len(w), 20
    networks = [
        DeepLinear(dim=d, depth=depth, kind=kind, scale=s, generator=torch.Generator().manual_seed(i)).double()
        for s in scales.tolist()
        for i in range(count)
    ]
    layers, last = (torch.stack([getattr(n, name).detach() for n in networks]) for name in ("layers", "last"))
    trained = {"layers": layers, "last": last} if kind == "mlp" else {"layers": layers}
    products = hessian_products(lambda at: theory.excess(at["layers"], at.get("last", last), S, w), trained)
    size = sum(tensor[0].numel() for tensor in trained.values())
    sharpness = lanczos(products, starting_vector(size, layers).expand(len(layers), -1)).value
    distance = (theory.product(layers, last) - w).square().sum(-1)
    scale = scales.repeat_interleave(count)
    return Ends(0.0, scale, {"sharpness": sharpness, "distance": distance}, torch.zeros_like(scale))


def where_descent_ends(sweep: Sweep) -> Canvas:
    """Figures 1a and 1b from a sweep over learning rates."""
    ends = _of_sweep(sweep, "distance", "sharpness")
    depth = _depth(sweep)
    task = LinearRegressionData(design="paper").task(0)
    problem = task["S"], task["w_star"]
    start = _starts(depth, sweep.recipe, ends[0].scale.unique(), *problem)
    return _two_panels(ends, start, "distance", r"$\|p - w^*\|^2$", depth, problem)


def where_one_rate_ends(run: Run) -> Canvas:
    """The same for one learning rate, the start from its history."""
    names = ("distance", "sharpness")
    start = _of_run(run, *names, row=0)[0]
    problem = _problem(run.weight.task)
    return _two_panels(
        _of_run(run, *names), start, "distance", r"$\|p - w^*\|^2$", run.weight.network.network.depth, problem
    )


def gelu_ends(run: Run) -> Canvas:
    """The network with GELU: training loss and sharpness."""
    names = ("loss", "sharpness")
    start = _of_run(run, *names, row=0)[0]
    return _two_panels(_of_run(run, *names), start, "loss", "training loss", run.weight.network.network.depth, None)


def gelu_sweep(sweep: Sweep) -> Canvas:
    """The network with GELU at several learning rates, without its start."""
    ends = _of_sweep(sweep, "loss", "sharpness")
    nothing = {name: torch.full_like(ends[0].scale, torch.nan) for name in ("loss", "sharpness")}
    start = Ends(0.0, ends[0].scale, nothing, torch.zeros_like(ends[0].scale))
    return _two_panels(ends, start, "loss", "training loss", _depth(sweep), None)


def divergence(sweep: Sweep) -> Canvas:
    """Figure 3."""
    canvas, ax = axes(width=4.8, height=3.2)
    for one, colour in zip(_of_sweep(sweep), COLOURS, strict=False):
        scales = one.scale.unique()
        share = torch.stack([one.diverged[one.scale == s].mean() for s in scales])
        ax.plot(scales, share, ".-", color=colour, label=rf"$\eta = {one.lr:g}$")
    ax.set(xlabel="scale of the start", ylabel="share of runs that diverge", ylim=(-0.03, 1.03))
    ax.legend()
    return canvas


# On the way.


def traces(run: Run) -> Canvas:
    """Figures 1c and 1d: distance and sharpness against steps, a thin line for each run."""
    canvas, (left, right) = axes(1, 2, width=8.6, height=3.2)
    steps, lr = run.history.steps, run.history.last("lr")
    for rate, colour in zip(lr.unique(), COLOURS, strict=False):
        for ax, name in ((left, "distance"), (right, "sharpness")):
            values = run.history[name][:, lr == rate]
            ax.plot(steps, values, color=colour, linewidth=0.5, alpha=0.25)
            # At the edge steps swing between two phases; rows are an odd number of steps apart, so the mean of two evens it out.
            middle = values.nanmedian(1).values
            label = rf"$\eta = {rate:g}$, median of {values.shape[1]} runs"
            ax.plot((steps[1:] + steps[:-1]) / 2, (middle[1:] + middle[:-1]) / 2, color=colour, label=label)
        _edge(right, float(rate), colour)
    S, w = _problem(run.weight.task)
    bound = theory.lower_bound(S, w, run.weight.network.network.depth).item()
    right.axhline(bound, **BOUND)
    right.text(1.01, bound * 0.97, "$2La$", va="top", fontsize=7, transform=right.get_yaxis_transform())
    lowest = run.history["distance"][run.history["distance"] > 0].min().item()
    left.set(xlabel="step", ylabel=r"$\|p - w^*\|^2$", yscale="log", ylim=(max(lowest, 1e-12), None))
    right.set(xlabel="step", ylabel="sharpness", yscale="log")
    left.legend(fontsize=7)
    return canvas


def rank_one(run: Run) -> Canvas:
    """Second singular value, alignment and sharpness against steps, by scale."""
    canvas, panels = axes(1, 3, width=10.2, height=3.0)
    steps, scale = run.history.steps, run.history.last("scale")
    shown = steps <= 1500
    for one, colour in zip(reversed(scale.unique()), COLOURS, strict=False):
        for ax, name in zip(panels, ("rank_ratio", "alignment", "sharpness"), strict=True):
            values = run.history[name][shown][:, scale == one]
            ax.plot(steps[shown], values, color=colour, linewidth=0.4, alpha=0.3)
            ax.plot(steps[shown], values.mean(1), color=colour, label=f"scale {one:g}")
    S, w = _problem(run.weight.task)
    depth = run.weight.network.network.depth
    chain, bound = theory.chain_sharpness(S, w, depth).item(), theory.lower_bound(S, w, depth).item()
    panels[2].axhline(chain, label=f"rank-one minimiser, {chain:.4f}", **THEORY)
    panels[2].axhline(bound, label=f"$2La$ = {bound:.3f}", **BOUND)
    panels[0].set(xlabel="step", ylabel="$s_2/s_1$, mean over layers", yscale="log")
    panels[1].set(xlabel="step", ylabel=r"$|\langle u_k, v_{k+1}\rangle|$, mean over pairs")
    panels[2].set(xlabel="step", ylabel="sharpness", yscale="log", ylim=(1, None))
    panels[0].legend(fontsize=7)
    handles, labels = panels[2].get_legend_handles_labels()
    panels[2].legend(handles[-2:], labels[-2:], fontsize=7)
    return canvas


# Learning rate and depth.


def _depth_panel(columns: dict[int, dict[str, Tensor]]) -> Canvas:
    """Distance against the learning rate, by depth; columns[depth] has lr, distance and diverged."""
    canvas, ax = axes(width=5.6, height=3.4)
    task = LinearRegressionData(design="paper").task(0)
    for (depth, found), colour in zip(sorted(columns.items()), COLOURS, strict=False):
        rates, curve, low, high = [], [], [], []
        for rate in found["lr"].unique():
            chosen = (found["lr"] == rate) & (found["diverged"] == 0)
            if chosen.any():
                values = found["distance"][chosen]
                rates.append(rate.item())
                curve.append(values.mean().item())
                low.append(values.quantile(0.025).item())
                high.append(values.quantile(0.975).item())
        ax.plot(rates, curve, ".-", color=colour, label=f"$L = {depth}$")
        ax.fill_between(rates, low, high, color=colour, alpha=0.15, linewidth=0)
        ax.axvline(theory.largest_step(task["S"], task["w_star"], depth).item(), **(THEORY | {"color": colour}))
    ax.plot([], [], **THEORY, label="$1/(La)$")
    ax.set(xlabel=r"learning rate $\eta$", ylabel=r"$\|p - w^*\|^2$", xscale="log", ylim=(-0.02, 1.05))
    ax.legend(fontsize=7)
    return canvas


def depth_and_rate(sweep: Sweep) -> Canvas:
    """Figure 2 from a sweep over depths."""
    names = ("lr", "distance", "diverged")
    rows = {name: [torch.nan if v is None else v for v in sweep.columns[name]] for name in names}
    depth = torch.tensor(sweep.columns["model.depth"])
    tables = {name: torch.tensor(values, dtype=torch.float64) for name, values in rows.items()}
    return _depth_panel({int(L): {n: column[depth == L] for n, column in tables.items()} for L in depth.unique()})


def one_depth(run: Run) -> Canvas:
    """The same for one depth."""
    found = {name: run.history[name][-1] for name in ("lr", "distance", "diverged")}
    return _depth_panel({run.weight.network.network.depth: found})


def generalisation(run: Run) -> Canvas:
    """Figure 6b, and the sharpness of the interpolating minimisers by scale."""
    canvas, (left, right) = axes(1, 2, width=8.6, height=3.3)
    _curve(left, _of_run(run, "sharpness", row=0)[0], "sharpness", INITIAL, "at the start", linestyle=(0, (4, 1.5)))
    ends = _of_run(run, "sharpness")[0]
    _curve(left, ends, "sharpness", COLOURS[0], rf"at the end, $\eta = {ends.lr:g}$")
    left.set(xlabel="scale of the start", ylabel="sharpness", yscale="log")
    left.legend(fontsize=7)
    sharpness, gap = run.history["sharpness"][-1], (run.history["test_loss"] - run.history["loss"])[-1]
    dots = right.scatter(sharpness, gap, c=run.history.last("scale"), s=12, cmap="viridis")
    slope = gap_slope(run).value
    assert isinstance(slope, float)
    good = sharpness.isfinite() & (gap > 0)
    x, y = sharpness[good].log10(), gap[good].log10()
    ends_x = torch.stack([x.min(), x.max()])
    right.plot(10**ends_x, 10 ** (y.mean() + slope * (ends_x - x.mean())), color="black", label=f"slope {slope:.2f}")
    right.plot(10**ends_x, 10 ** (y.mean() + 0.42 * (ends_x - x.mean())), label="slope of the paper, 0.42", **THEORY)
    right.set(xlabel="sharpness", ylabel="test loss - training loss", xscale="log", yscale="log")
    right.legend(fontsize=7)
    canvas.colorbar(dots, ax=right, label="scale of the start", pad=0.02)
    return canvas


def minimisers() -> Canvas:
    """Sharpness of minimisers that compute the same function, against how unequal two of their layers are."""
    canvas, ax = axes(width=4.8, height=3.4)
    task = LinearRegressionData(design="paper").task(0)
    S, w = task["S"], task["w_star"]
    factors = torch.logspace(-1.5, 1.5, 61)
    for depth, colour in zip((2, 5, 10), COLOURS, strict=False):
        layers, last = theory.rank_one_chain(w, depth, torch.Generator().manual_seed(0))
        if depth == 2:
            found = [theory.sharpness_at_minimum(c * layers, last / c, S, True) for c in factors.tolist()]
        else:
            found = [theory.sharpness_at_minimum(theory.rescaled(layers, c), last, S, True) for c in factors.tolist()]
        ax.plot(factors, torch.stack(found), color=colour, label=f"$L = {depth}$")
        ax.axhline(theory.lower_bound(S, w, depth).item(), **(BOUND | {"color": colour}))
    ax.plot([], [], **BOUND, label="$2La$")
    ax.set(xlabel="$c$, in $cW_1$ and $W_2/c$", ylabel="sharpness", xscale="log", yscale="log")
    ax.legend(fontsize=7)
    return canvas


FIGURES: tuple[Figure, ...] = (
    Figure(
        "where_descent_ends",
        "Distance to w* and sharpness after training, by the scale of the start and learning rate; "
        "descent ends below 2/lr and above 2 L a.",
        "Figure 1, a and b; for residual networks its counterpart",
        where_descent_ends,
        sweeps=("mlp", "residual"),
    ),
    Figure(
        "where_one_rate_ends",
        "Distance to w* and sharpness at the start and after training at one learning rate, by the scale of the start.",
        "Figure 1, a and b",
        where_one_rate_ends,
        recipes=("mlp*", "flow*", "residual"),
    ),
    Figure(
        "traces",
        "Distance and sharpness during training: at a small learning rate the edge of stability is not seen, at a large one "
        "the sharpness stays about 2/lr.",
        "Figure 1, c and d; for residual networks their counterpart",
        traces,
        recipes=("edge_of_stability*", "residual_trace*"),
    ),
    Figure(
        "depth_and_rate",
        "Distance to w* against the learning rate: descent fails from 1/(L a) on, whatever the start.",
        "Figure 2",
        depth_and_rate,
        sweeps=("depth",),
    ),
    Figure(
        "one_depth",
        "Distance to w* against the learning rate at one depth.",
        "Figure 2",
        one_depth,
        recipes=("depth*",),
    ),
    Figure(
        "divergence",
        "Share of runs that diverge, by the scale of the start and learning rate.",
        "Figure 3; for residual networks its counterpart",
        divergence,
        sweeps=("mlp", "residual"),
    ),
    Figure(
        "rank_one",
        "From a small scale the layers become rank one and aligned, and the sharpness that of the rank-one minimiser.",
        "small-scale theorem; not a figure of the paper",
        rank_one,
        recipes=("small_scale*",),
    ),
    Figure(
        "generalisation",
        "With fewer samples than dimensions, sharper minima generalise worse.",
        "Figure 6b",
        generalisation,
        recipes=("underdetermined*",),
    ),
    Figure(
        "gelu",
        "Training loss and sharpness of the network with GELU at the start and after training, by the scale of the start.",
        "the non-linear experiment",
        gelu_ends,
        recipes=("gelu*",),
    ),
    Figure(
        "gelu_rates",
        "Training loss and sharpness of the network with GELU after training, by the scale of the start and learning rate.",
        "the non-linear experiment",
        gelu_sweep,
        sweeps=("gelu",),
    ),
    Figure(
        "minimisers",
        "Minimisers of one function can be as sharp as one likes, and never flatter than 2 L a.",
        "Theorem 1",
        minimisers,
    ),
)
