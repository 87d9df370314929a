"""Figures of single-location regression: one row of four panels per run, and the risk of every predictor against d."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import LogLocator
from torch import Tensor

from zoo.figures import COLOURS, THEORY, Figure, axes
from zoo.history import Run
from zoo.kept import kept
from zoo.models.single_location import theory
from zoo.models.single_location.claims import fitted_linear
from zoo.models.single_location.theory import Law


def _band(ax: Any, steps: Tensor, values: Tensor, colour: str, label: str) -> None:
    """Median over replicas and the band that holds 95 % of them; values (s, r)."""
    low, middle, high = torch.nanquantile(values, torch.tensor([0.025, 0.5, 0.975], dtype=values.dtype), dim=1)
    ax.plot(steps, middle, color=colour, label=label)
    ax.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)


def four_panels(run: Run) -> Canvas:
    """Excess risk, alignment, trajectories in the (kappa, nu) square, distance to the manifold."""
    options = run.recipe["model"]["init_args"]
    law = Law(options["d"], options["length"], options["gamma2"])
    canvas, (risk, alignment, square, distance) = axes(1, 4, width=14, height=3.2)
    _risk_panel(risk, run, law)
    _alignment_panel(alignment, run, law)
    _square_panel(square, run, law)
    _distance_panel(distance, run)
    for ax in (risk, alignment, distance):
        ax.set_xlabel("optimiser step")
        ax.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4))
    return canvas


def _gate(run: Run) -> str:
    return run.recipe["model"]["init_args"].get("gate", "erf")


def _separate(run: Run) -> bool:
    """Whether some runs, but not all, end near the swapped attractor: two families, which a median would hide."""
    swapped = run.history["eta"][-1].abs() > 0.9
    return bool(swapped.any() and not swapped.all())


def _risk_panel(ax: Any, run: Run, law: Law) -> None:
    steps, excess, lam = run.history.steps, run.history["excess_risk"], run.history["lam"][:, 0]
    _band(ax, steps, excess, COLOURS[0], f"{excess.shape[1]} runs, median and 95 %")
    if _gate(run) == "erf":
        ax.plot(steps, theory.oracle_excess(law, lam), label="oracle at this lam", **THEORY)
    else:
        scores = theory.draw_scores(law, 20_000, torch.Generator().manual_seed(0))
        floor = theory.softmax_excess(law, lam[-1].item(), scores).mean().item()
        ax.axhline(floor, label="oracle at this lam", **THEORY)
    ax.axhline(theory.linear_excess(law), label="best linear", **{**THEORY, "linestyle": ":"})
    ax.set(yscale="log", ylabel="excess risk", title="risk")
    ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("{x:g}")
    ax.legend()


def _alignment_panel(ax: Any, run: Run, law: Law) -> None:
    steps, kappa, nu = run.history.steps, run.history["kappa"], run.history["nu"]
    names = {r"$|\kappa|$": (kappa.abs(), COLOURS[1]), r"$|\nu|$": (nu.abs(), COLOURS[2])}
    for label, (values, colour) in names.items():
        if _separate(run):
            ax.plot(steps, values, color=colour, linewidth=0.6, alpha=0.7)
            ax.plot([], [], color=colour, label=label)
        else:
            _band(ax, steps, values, colour, label)
    options = run.recipe["model"]["init_args"]
    if options["start"] == "manifold" and not options["decay"]:
        times = steps.double() * options["step_size"]
        for values in theory.limit_trajectory(kappa[0], nu[0], times, law, options["lam"]):
            ax.plot(steps, values.abs().median(1).values, **THEORY)
        ax.plot([], [], label="limit dynamics", **THEORY)
    ax.set(ylim=(-0.03, 1.05), ylabel="alignment", title="recovery")
    ax.legend()


def _square_panel(ax: Any, run: Run, law: Law) -> None:
    steps, kappa, nu = run.history.steps, run.history["kappa"], run.history["nu"]
    lam = run.history["lam"][-1, 0].item()
    if _gate(run) == "erf":
        grid = torch.linspace(-1, 1, 15, dtype=torch.float64)
        x, y = torch.meshgrid(grid, grid, indexing="xy")
        flow = theory.limit_flow(x, y, law, lam)
        ax.streamplot(
            grid.numpy(),
            grid.numpy(),
            *(f.numpy() for f in flow),
            color="#cccccc",
            linewidth=0.6,
            arrowsize=0.6,
            density=0.8,
        )
    # runs that end in different places, so that every kind of end is seen
    ends = torch.stack([kappa[-1], nu[-1]], 1)
    chosen = [0]
    for _ in range(2):
        chosen.append(int(torch.cdist(ends, ends[chosen]).min(1).values.argmax()))
    for replica in dict.fromkeys(chosen):
        points = ax.scatter(kappa[:, replica], nu[:, replica], c=steps, s=5, cmap="viridis", zorder=4)
        ax.plot(kappa[0, replica], nu[0, replica], "o", color=COLOURS[1], markersize=4, zorder=6)
    for sign in (1, -1):
        ax.plot(sign, sign, "*", color="black", markersize=10, zorder=6)
    ax.figure.colorbar(points, ax=ax, label="optimiser step")
    ax.set(xlim=(-1.08, 1.08), ylim=(-1.08, 1.08), xlabel=r"$\kappa = k \cdot k^*$", ylabel=r"$\nu = v \cdot v^*$")
    ax.set_title("three runs over the limit flow" if _gate(run) == "erf" else "three runs")


def _distance_panel(ax: Any, run: Run) -> None:
    steps, values = run.history.steps, run.history["distance"].clamp(min=1e-18)  # a log axis cannot show 0
    on_manifold = run.recipe["model"]["init_args"]["start"] == "manifold"
    lowest = min(1e-8, values.min().item() / 3) if on_manifold else 1e-8
    if _separate(run):
        ax.plot(steps, values, color=COLOURS[3], linewidth=0.6, alpha=0.7)
        ax.plot([], [], color=COLOURS[3], label=f"{values.shape[1]} runs")
    else:
        _band(ax, steps, values, COLOURS[3], f"{values.shape[1]} runs, median and 95 %")
    ax.set(
        yscale="log", ylim=(lowest, 3), ylabel=r"$(\theta^2 + \eta^2 + \rho^2)^{1/2}$", title="distance to the manifold"
    )
    ax.legend()


SAMPLED_DIMS, SMALL_DIMS = (4, 16, 80, 400, 2_000, 10_000, 100_000), (4, 6, 8, 11, 16, 22, 32, 45)


@kept()
def sampled_risks() -> dict[str, Tensor]:
    """Monte-Carlo excess risks with their standard errors, (dimension, 2): "erf", "softmax", "bayes"; "least_squares" at d = 8."""
    estimates: dict[str, list[theory.Estimate]] = {"erf": [], "softmax": [], "bayes": []}
    for d in SAMPLED_DIMS:
        law, generator = Law(d), torch.Generator().manual_seed(d)
        X, y = theory.draw_projections(law, 2, 40_000, generator)
        pair = torch.eye(2, dtype=torch.float64)
        each = theory.sampled_excess(pair, X, y, law, theory.best_oracle(law)[0])
        estimates["erf"].append(theory.Estimate.of(each))
    for d in SMALL_DIMS:
        estimates["softmax"].append(theory.best_softmax(Law(d), 40_000, torch.Generator().manual_seed(d))[1])
        estimates["bayes"].append(theory.bayes_excess(Law(d), 40_000, torch.Generator().manual_seed(d)))
    found = {name: torch.tensor([(e.value, e.error) for e in each]).double() for name, each in estimates.items()}
    return found | {"least_squares": torch.tensor([fitted_linear().value]).double()}


def risk_against_d() -> Canvas:
    """Excess risk of null, linear, erf, softmax and Bayes predictors: closed forms as lines, measurements as dots."""
    canvas, ax = axes(1, 1, width=5.6, height=3.8)
    dims = [int(d) for d in torch.logspace(0.6, 5, 40)]
    ax.plot(dims, [theory.null_excess(Law(d)) for d in dims], color=COLOURS[7], linestyle=":", label="predictor 0")
    ax.plot(dims, [theory.linear_excess(Law(d)) for d in dims], color=COLOURS[1], label="best linear, Proposition 3")
    ax.plot(
        dims,
        [theory.best_oracle(Law(d))[1] for d in dims],
        color=COLOURS[0],
        label="erf gate at its best lam, Theorem 1",
    )
    ax.plot(8, sampled_risks()["least_squares"], "o", color=COLOURS[1], markersize=5, label="least squares on samples")
    kinds: tuple[tuple[str, str, tuple[int, ...], dict[str, Any]], ...] = (
        ("erf", "erf gate, samples", SAMPLED_DIMS, {"fmt": "o", "color": COLOURS[0]}),
        ("softmax", "softmax gate at its best lam, samples", SMALL_DIMS, {"fmt": "o-", "color": COLOURS[2]}),
        ("bayes", "Bayes predictor, samples", SMALL_DIMS, {"fmt": "o-", "color": "black"}),
    )
    for name, label, at, look in kinds:
        value, error = sampled_risks()[name].T
        ax.errorbar(at, value, 2 * error, markersize=4, linewidth=0.8, label=label, **look)
    ax.set(
        xscale="log",
        yscale="log",
        ylim=(1e-4, 1),
        xlabel="dimension d of a token",
        ylabel="excess risk",
        title=r"$L = 10$ tokens, $\gamma^2 = 1/2$",
    )
    ax.legend(loc="lower left", bbox_to_anchor=(0.28, 0), fontsize=7)
    return canvas


FIGURES: tuple[Figure, ...] = (
    Figure(
        "four_panels",
        "Excess risk, recovery of k* and v*, trajectories in the (kappa, nu) square over the limit flow, and distance "
        "to the manifold.",
        "Figure 4 and the same row for the other experiments",
        four_panels,
        recipes=("manifold", "sphere_*", "sgd*", "softmax"),
    ),
    Figure(
        "risk_against_d",
        "Excess risk against the dimension: linear predictors stay at the null risk, the erf gate's falls to 0 slowly, "
        "softmax's fast.",
        "Theorem 1, Corollary 2 and Proposition 3 in one plot, beside the Bayes predictor",
        risk_against_d,
    ),
)
