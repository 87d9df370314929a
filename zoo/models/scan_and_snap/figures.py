"""Figures of scan and snap: attention moving over tokens, its entropy beside the official runs, and curves of the theory."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.figure import Figure as Canvas
from torch import Tensor

from zoo.figures import COLOURS, THEORY, Figure, axes
from zoo.history import History, Run
from zoo.models.scan_and_snap import official, theory
from zoo.models.scan_and_snap.claims import (
    CLASSES,
    COMMON,
    ETA_Y,
    ETA_Z,
    TIME,
    VOCABULARY,
    attention,
    dominant_bounds,
    dominant_growth,
    reduced,
)
from zoo.models.scan_and_snap.text_figures import TEXT_FIGURES
from zoo.sweeps import Sweep
from zoo.weights import Weight

ITERATIONS = (0, 2, 4, 6, 8, 10)  # rows of Figures 4 and 5, before the last
GRID = ("data.num_last", "model.eta_z", "model.ratio")


# Attention in training.


def _columns(history: History) -> Tensor:
    """Attention of class 0 of replica 0 on its tokens, (s, u)."""
    names = sorted(name for name in history.metrics if name.startswith("c_"))
    return torch.stack([history[name][:, 0] for name in names], 1)


def _heat_map(ax: Any, run: Run, most: float) -> Any:
    steps = run.history.steps.tolist()
    rows = [steps.index(step) for step in ITERATIONS if step in steps] + [len(steps) - 1]
    table = _columns(run.history)[rows]
    common = run.weight.task["common"].shape[1]
    image = ax.imshow(table, aspect="auto", cmap="magma_r", vmin=0, vmax=most, interpolation="nearest")
    ax.axvline(common - 0.5, color="black", linewidth=1)
    ax.set_yticks(range(len(rows)), [str(steps[row]) for row in rows])
    ends = sorted({0, common - 1, common, table.shape[1] - 1} - {-1})
    ax.set_xticks(ends, [str(end) for end in ends])
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    for place, says in (
        ((common - 1) / 2, "common"),
        ((common + table.shape[1] - 1) / 2, "distinct, rare to frequent"),
    ):
        ax.text(place, -0.75, says, ha="center", va="bottom", fontsize=8)
    ax.set(xlabel="token of class 0", ylabel="iteration")
    return image


def _setting(run: Run) -> str:
    p = run.recipe["model"]["init_args"]
    optimiser = {"sgd": "SGD", "adam": "Adam"}[p["optimizer"]]
    return rf"{optimiser}, $\eta_Z = {p['eta_z']:g}$, $\eta_Y = {p['eta_z'] * p['ratio']:g}$"


def scan(run: Run) -> Canvas:
    """Heat map of one replica, and what all replicas do: common mass, top token, entropy."""
    canvas, (left, right) = axes(1, 2, width=8.4, height=3.0)
    most = _columns(run.history).max().item()
    canvas.colorbar(_heat_map(left, run, most), ax=left, label="attention $c_{l|n}$", pad=0.02)
    left.set_title(_setting(run), pad=20)
    steps = run.history.steps
    labels = {"common_mass": "all common tokens", "top": "most frequent distinct token"}
    for (name, label), colour in zip(labels.items(), COLOURS, strict=False):
        values = run.history[name]
        right.plot(steps, values, color=colour, linewidth=0.5, alpha=0.5)
        right.plot(steps, values.mean(1), color=colour, label=label)
    right.set(xlabel="iteration", ylabel="attention, mean over classes", ylim=(0, 0.7))
    right.set_title(f"{run.history.replicas} runs and their mean", pad=20)
    right.legend()
    return canvas


def figure_4(*weights: Weight) -> Canvas:
    """Two heat maps on one scale."""
    canvas, panels = axes(1, len(weights), width=4.0 * len(weights) + 0.8, height=3.0)
    runs = [Run.shipped(weight.name) for weight in weights]
    most = max(_columns(run.history).max().item() for run in runs)
    for ax, run in zip(panels, runs, strict=True):
        image = _heat_map(ax, run, most)
        ax.set_title(_setting(run), pad=20)
    canvas.colorbar(image, ax=list(panels), label="attention $c_{l|n}$", pad=0.02)
    return canvas


def winners(sweep: Sweep) -> Canvas:
    """Final attention of class 0 on its tokens, by the values of the grid's last key; lines are runs."""
    canvas, ax = axes(width=5.6, height=3.2)
    key = sweep.keys[-1]
    names = sorted(name for name in sweep.columns if name.startswith("c_"))
    columns = [sweep.by(name, key) for name in names]
    for (value,), colour in zip(columns[0], COLOURS, strict=False):
        table = torch.stack([column[value,] for column in columns])  # (u, n)
        ax.plot(table, color=colour, linewidth=0.5, alpha=0.5)
        ax.plot(table.mean(1), "o-", color=colour, markersize=3.5, label=f"{key.split('.')[-1]} = {value}")
    ax.set_xticks(range(len(names)))
    ax.set(xlabel="token of class 0: common, then distinct from rare to frequent", ylabel="final attention $c_{l|n}$")
    ax.legend()
    return canvas


# Entropy of the attention on distinct tokens.


def _entropy_curves(ax: Any, queries: int, found: dict[tuple[float, float], Tensor]) -> None:
    """Our means and spreads as lines, the official ones as open markers; found[eta_Z, ratio] (n,)."""
    for i, eta_z in enumerate(sorted({eta_z for eta_z, _ in found})):
        ratios = sorted(ratio for e, ratio in found if e == eta_z)
        values = [found[eta_z, ratio] for ratio in ratios]
        colour = COLOURS[i % len(COLOURS)]
        mean = torch.stack([value.mean() for value in values])
        spread = torch.stack([value.std(correction=0) for value in values])
        ax.plot(ratios, mean, ".-", color=colour, label=rf"$\eta_Z = {eta_z:g}$")
        ax.fill_between(ratios, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)
        if queries in official.ENTROPY and eta_z in official.ETA_Z:
            middle, half = zip(*official.ENTROPY[queries][official.ETA_Z.index(eta_z)], strict=True)
            places = [1.035 * ratio for ratio in official.RATIOS]  # beside ours
            ax.errorbar(
                places, middle, half, fmt="o", color=colour, mfc="white", markersize=4.5, linewidth=0.9, capsize=2
            )
    ax.set(xscale="log", xlabel=r"$\eta_Y/\eta_Z$")
    ticks = sorted({ratio for _, ratio in found})
    ax.set_xticks(ticks, [f"{ratio:g}" for ratio in ticks])
    ax.set_xticks([], minor=True)
    ax.set_title(f"{queries} {'query' if queries == 1 else 'queries'}, {2 * queries} next tokens")


def _entropy_legend(ax: Any) -> None:
    ax.errorbar(
        [], [], [], fmt="o", color="#555555", mfc="white", markersize=4.5, capsize=2, label="official, ± spread"
    )
    ax.legend(fontsize=7)


def entropy_panel(*weights: Weight) -> Canvas:
    """One panel of Figure 6 from shipped weights."""
    canvas, ax = axes(width=4.6, height=3.5)
    found = {}
    for weight in weights:
        p = weight.record.recipe["model"]["init_args"]
        found[p["eta_z"], p["ratio"]] = theory.distinct_entropy(attention(weight), weight.task["distinct"][0])
    _entropy_curves(ax, weights[0].record.recipe["data"]["init_args"]["num_last"], found)
    ax.set_ylabel("entropy on distinct tokens, nats")
    _entropy_legend(ax)
    return canvas


def entropy_grid(sweep: Sweep) -> Canvas:
    """Figure 6 from a sweep over queries, eta_Z and ratio; any other grid as entropy against its last key."""
    if not set(GRID) <= set(sweep.keys):
        return _entropy_along(sweep)
    table = sweep.by("entropy", *GRID)
    queries = sorted({key[0] for key in table})
    canvas, panels = axes(1, len(queries), width=max(4.2, 2.9 * len(queries)), height=3.3)
    panels = [panels] if len(queries) == 1 else list(panels)
    for ax, q in zip(panels, queries, strict=True):
        _entropy_curves(ax, q, {(e, r): values for (n, e, r), values in table.items() if n == q})
        if ax is not panels[0]:
            ax.sharey(panels[0])
            ax.tick_params(labelleft=False)
    panels[0].set_ylabel("entropy on distinct tokens, nats")
    _entropy_legend(panels[0])
    return canvas


def _entropy_along(sweep: Sweep) -> Canvas:
    canvas, ax = axes(width=4.6, height=3.5)
    *others, last = sweep.keys
    curves: dict[tuple[Any, ...], list[tuple[Any, float, float]]] = {}
    for (*group, x), values in sweep.by("entropy", *others, last).items():
        point = (x, values.mean().item(), values.std(correction=0).item())
        curves.setdefault(tuple(group), []).append(point)
    for names, points in curves.items():
        label = ", ".join(f"{key.split('.')[-1]} = {value}" for key, value in zip(others, names, strict=True))
        x, mean, spread = zip(*points, strict=True)
        ax.errorbar([str(one) for one in x], mean, spread, marker="o", markersize=4, capsize=2, label=label or None)
    ax.set(xlabel=last, ylabel="entropy on distinct tokens, nats")
    if others:
        ax.legend()
    return canvas


def sparsity(*weights: Weight) -> Canvas:
    """Share of the distinct tokens of a class with more attention than a threshold, at one ratio and at one eta_Z."""
    canvas, (left, right) = axes(1, 2, width=7.4, height=3.1)
    by = {weight.tag: weight for weight in weights}
    tags = [
        [(rf"$\eta_Z = {eta_z:g}$", official.medium_tag(eta_z, 1.0)) for eta_z in official.ETA_Z],
        [(rf"$\eta_Y/\eta_Z = {ratio:g}$", official.medium_tag(3.0, ratio)) for ratio in official.RATIOS],
    ]
    times = torch.logspace(-1.2, 1.6, 500, dtype=torch.float64)
    for ax, chosen in zip((left, right), tags, strict=True):
        for label, tag in chosen:
            c, own = attention(by[tag]), by[tag].task["distinct"]
            mine = c.gather(2, own).flatten()
            ax.plot(times, (mine * c.shape[-1] > times[:, None]).double().mean(1), label=label)
        start = by[chosen[0][1]].task
        law = start["P"].gather(2, start["distinct"]).flatten() * start["P"].shape[-1]
        ax.plot(times, (law > times[:, None]).double().mean(1), label="before training", **THEORY)
        ax.set(xscale="log", xlabel="threshold, in units of 1/M", ylim=(-0.02, 1.02))
        ax.legend(fontsize=7)
    left.set(ylabel="share of distinct tokens above", title=r"$\eta_Y/\eta_Z = 1$")
    right.set(title=r"$\eta_Z = 3$")
    return canvas


# Curves of the theory.


def chi() -> Canvas:
    """chi and gamma of the reduced flow for four eta_Y."""
    canvas, (left, right) = axes(1, 2, width=8.2, height=3.2)
    flow, growth, bounds = reduced(), dominant_growth(), dominant_bounds()
    for i, eta_y in enumerate(ETA_Y):
        snap = theory.snap_time(eta_y, CLASSES, VOCABULARY)
        left.plot(flow.t, growth[:, i], color=COLOURS[i], label=rf"$\eta_Y = {eta_y:g}$")
        left.plot(flow.t, bounds.low[:, i], color=COLOURS[i], linestyle="--", linewidth=0.8)
        right.plot(flow.t, theory.gamma(flow.t, eta_y, CLASSES, VOCABULARY), color=COLOURS[i])
        for ax in (left, right):
            ax.axvline(snap, color=COLOURS[i], linestyle=":", linewidth=1)
    left.plot([], [], color="#555555", linestyle="--", linewidth=0.8, label=r"lower bound $e^{2f^2B_n}$")
    left.plot([], [], color="#555555", linestyle=":", linewidth=1, label=r"$t_0 = 2K\ln M/\eta_Y$")
    left.set(xlabel="time t", ylabel=r"$\chi$ of the dominant distinct token", xlim=(0, TIME))
    right.set(xlabel="time t", ylabel=r"$\gamma(t)$", xlim=(0, TIME))
    left.set_title(rf"$\eta_Z = {ETA_Z:g}$, $K = {CLASSES}$, $M = {VOCABULARY}$, common mass {COMMON:g}")
    right.set_title("speed of the attention")
    left.legend(ncols=2, fontsize=7, loc="lower right")
    return canvas


def reduced_flow(run: Run) -> Canvas:
    """One run of the reduced flow: chi between its bounds, gamma on its closed form, attention of class 0."""
    canvas, (left, middle, right) = axes(1, 3, width=10.4, height=3.0)
    p, history = run.recipe["model"]["init_args"], run.history
    t = history.steps.double() * p["dt"]
    classes, vocabulary = run.weight.task["P"].shape[1:]
    snap = theory.snap_time(p["eta_y"], classes, vocabulary)
    left.fill_between(t, history["chi_low"][:, 0], history["chi_high"][:, 0], color=COLOURS[0], alpha=0.15, linewidth=0)
    left.plot(t, history["chi"][:, 0], color=COLOURS[0], label=r"$\chi$, reduced flow")
    left.plot(t, history["chi_low"][:, 0], label=r"$e^{2f^2B_n}$ and $e^{2B_n}$", **THEORY)
    left.plot(t, history["chi_high"][:, 0], **THEORY)
    left.set(ylabel=r"growth $\chi$ of the dominant token", title="Theorem 3")
    middle.plot(t, history["gamma"][:, 0], color=COLOURS[1], linewidth=2.5, alpha=0.6, label="with the flow")
    fine = torch.linspace(0, t[-1].item(), 500, dtype=torch.float64)
    middle.plot(fine, theory.gamma(fine, p["eta_y"], classes, vocabulary), label="closed form", **THEORY)
    middle.set(ylabel=r"$\gamma(t)$", title="speed of the attention")
    for name, label, colour in (
        ("common_mass", "common tokens", COLOURS[2]),
        ("top", "dominant distinct token", COLOURS[3]),
    ):
        right.plot(t, history[name][:, 0], color=colour, label=label)
    right.set(ylabel="attention", ylim=(0, None), title="what the query looks at")
    for ax in (left, middle, right):
        ax.axvline(snap, color="#999999", linestyle=":", linewidth=1, label="$t_0$")
        ax.set_xlabel("time t")
        ax.legend(fontsize=7)
    return canvas


def final_growth(sweep: Sweep) -> Canvas:
    """Final chi of the dominant token between its bounds, against the grid's last key."""
    canvas, ax = axes(width=4.2, height=3.1)
    key = sweep.keys[-1]
    found = {name: sweep.by(name, key) for name in ("chi", "chi_low", "chi_high")}
    x = [str(value) for (value,) in found["chi"]]
    lines = {name: [values.mean().item() for values in found[name].values()] for name in found}
    ax.plot(x, lines["chi"], "o-", markersize=4, label=r"$\chi$, reduced flow")
    ax.plot(x, lines["chi_low"], label=r"$e^{2f^2B_n}$ and $e^{2B_n}$", **THEORY)
    ax.plot(x, lines["chi_high"], **THEORY)
    ax.set(yscale="log", xlabel=key, ylabel=r"final growth $\chi$ of the dominant token")
    ax.yaxis.set_major_formatter("{x:.2f}")
    ax.yaxis.set_minor_formatter("{x:.2f}")
    ax.legend()
    return canvas


def decoder_growth() -> Canvas:
    """h* by steps, h, and the band that Lemma 5's discretisation bound allows."""
    canvas, (left, right) = axes(1, 2, width=7.6, height=3.0)
    M, steps = 50, 60
    t = torch.linspace(0, steps, 601, dtype=torch.float64)
    for i, eta_y in enumerate((0.25, 0.5, 1.0)):
        h, discrete = theory.decoder_growth(t, eta_y, M), theory.decoder_steps(steps, eta_y, M)
        left.step(range(steps + 1), discrete, where="post", color=COLOURS[i], label=rf"$h^*$, $\eta_Y = {eta_y:g}$")
        left.plot(t, h, label="$h$" if i == 2 else None, **{**THEORY, "linewidth": 0.9})
        gap = discrete - theory.decoder_growth(torch.arange(steps + 1), eta_y, M)
        right.plot(range(1, steps + 1), gap[1:], ".-", markersize=3, linewidth=0.8, color=COLOURS[i])
        right.axhline(2 * eta_y / M, color=COLOURS[i], linestyle="--", linewidth=1)
    right.plot([], [], color="#555555", linestyle="--", linewidth=1, label=r"bound $2\eta_Y/M$")
    left.set(xlabel="updates s of a class", ylabel="decoder weight", title=f"M = {M}")
    right.set(xlabel="updates s of a class", ylabel="$h^* - h$", yscale="log", ylim=(2e-5, None))
    right.legend(loc="lower right")
    left.legend()
    return canvas


def attraction() -> Canvas:
    """B(t): at one ratio of step sizes B(t0) is the same; the printed constant; a slower decoder ends higher."""
    canvas, (left, right) = axes(1, 2, width=8.0, height=3.2)
    C0 = 0.1
    t = torch.logspace(0, 4, 400, dtype=torch.float64)

    def curve(ax: Any, eta_y: float, eta_z: float, colour: str, label: str) -> None:
        def B(time: Tensor) -> Tensor:
            return theory.attraction(theory.gamma_integral(time, eta_y, eta_z, CLASSES, VOCABULARY), C0)

        snap = torch.tensor(theory.snap_time(eta_y, CLASSES, VOCABULARY), dtype=torch.float64)
        ax.plot(t, B(t), color=colour, label=label)
        ax.plot(snap, B(snap), "o", color=colour, markersize=5)

    for i, eta_z in enumerate((0.1, 0.5, 2.0)):
        curve(left, 2 * eta_z, eta_z, COLOURS[i], rf"$\eta_Z = {eta_z:g}$")
    printed = theory.attraction_printed(theory.gamma_integral(t, 1.0, 0.5, CLASSES, VOCABULARY), C0)
    left.plot(t, printed, label=r"as printed, $\eta_Z = 0.5$", **THEORY)
    for i, eta_y in enumerate((0.5, 1.0, 2.0, 5.0)):
        curve(right, eta_y, 0.5, COLOURS[i], rf"$\eta_Y = {eta_y:g}$")
    left.set(title=r"$\eta_Y/\eta_Z = 2$", ylabel=rf"$B_n(t)$, $C_0 = {C0:g}$")
    right.set(title=r"$\eta_Z = 0.5$")
    for ax in (left, right):
        ax.plot([], [], "o", color="#555555", markersize=5, label="$t_0$")
        ax.set(xscale="log", xlabel="time t")
        ax.legend(fontsize=7)
    return canvas


FIGURES: tuple[Figure, ...] = (
    Figure(
        "scan",
        "Attention of one class on its tokens by iteration, and how much common tokens and the dominant one have.",
        "Figures 4 and 5",
        scan,
        recipes=("syn_small*",),
    ),
    Figure(
        "figure_4",
        "Attention of one class on its tokens by iteration: with a ten times faster decoder it freezes earlier.",
        "Figure 4",
        figure_4,
        weights=("syn_small", "syn_small_fast_decoder"),
    ),
    Figure(
        "winners",
        "Final attention of one class on its tokens: Adam's step size decides which distinct tokens win.",
        "Figure 5, last rows",
        winners,
        sweeps=("syn_small*",),
    ),
    Figure(
        "entropy_panel",
        "Entropy of the attention on distinct tokens with 3 queries: mean and spread of ten seeds, beside the official.",
        "Figure 6, second panel",
        entropy_panel,
        weights=official.MEDIUM,
    ),
    Figure(
        "entropy_grid",
        "Entropy of the attention on distinct tokens: mean and spread of ten seeds as lines and bands, beside the "
        "official ones.",
        "Figure 6",
        entropy_grid,
        sweeps=("syn_medium*",),
    ),
    Figure(
        "sparsity",
        "Share of the distinct tokens of a class whose attention is above a threshold.",
        "Figures 11 and 12",
        sparsity,
        weights=official.MEDIUM,
    ),
    Figure(
        "chi",
        "Growth of the dominant token and speed of the attention: with a slower decoder it snaps later and goes further.",
        "Figure 3",
        chi,
    ),
    Figure(
        "reduced_flow",
        "Growth of the dominant token between its bounds, speed of the attention, and what the query looks at.",
        "Figure 3, Theorem 3 and Lemma 4",
        reduced_flow,
        recipes=("reduced_flow*",),
    ),
    Figure(
        "final_growth",
        "Growth of the dominant token at the end of the reduced flow, between its bounds.",
        "Theorem 3, ends of the curves of Figure 3",
        final_growth,
        sweeps=("reduced_flow*",),
    ),
    Figure(
        "decoder_growth",
        "The decoder's weight in steps of gradient descent and in continuous time, and their difference under its bound.",
        "Figure 8",
        decoder_growth,
    ),
    Figure(
        "attraction",
        "B(t), the pull on distinct tokens: its value at the snap depends on the ratio of the step sizes only.",
        "Figure 9",
        attraction,
    ),
    *TEXT_FIGURES,
)
