"""Figures of scaled residual nets: ratios against depth and against regularity at initialisation, and what training does."""

from __future__ import annotations

import math
from typing import Any

import torch
from matplotlib.figure import Figure as Canvas
from torch import Tensor

from zoo.depth.processes import fractional_noise, white_spectrum
from zoo.figures import COLOURS, THEORY, Figure, axes
from zoo.history import Run
from zoo.kept import kept
from zoo.models.scaled_resnet import theory
from zoo.models.scaled_resnet.claims import GRID, PATHS, WIDTH, diffused
from zoo.models.scaled_resnet.initialisation import log_ratio, ratios, rough_ensembles, sample, zero_level
from zoo.weights import Weight

DEPTHS = tuple(round(x) for x in torch.linspace(10, 1000, 10).tolist())
NETS = 50
MAP_HURSTS = tuple(round(0.05 + 0.04 * i, 2) for i in range(24))  # 0.05 … 0.97
MAP_BETAS = tuple(round(0.025 * i, 3) for i in range(53))  # 0 … 1.3


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Ratios against depth.


BETAS = {"uniform": (1.0, 0.5, 0.25), "smooth": (2.0, 1.0, 0.5)}


@kept()
def ratios_by_depth() -> dict[str, Tensor]:
    """Changes of outputs and of gradients, "<process>_<change or gradient>" (depth, net, beta), 50 nets at each depth."""
    found = {}
    for process, betas in BETAS.items():
        dtype = torch.float32 if process == "uniform" else torch.float64  # small changes of smooth nets need the digits
        every = [
            sample(NETS, WIDTH, depth, betas, process=process, generator=_generator(depth), dtype=dtype)
            for depth in DEPTHS
        ]
        found[f"{process}_change"] = torch.stack([one.change[..., 0] for one in every])
        found[f"{process}_gradient"] = torch.stack([one.gradient_change[..., 0] for one in every])
    return found


def _against_depth(process: str, gradient: bool) -> Canvas:
    canvas, panels = axes(1, 3, width=8.6, height=2.7)
    betas, found = BETAS[process], ratios_by_depth()[f"{process}_{'gradient' if gradient else 'change'}"]
    name = r"$\|p_0 - p_L\|/\|p_L\|$" if gradient else r"$\|h_L - h_0\|/\|h_0\|$"
    depths = torch.tensor(DEPTHS, dtype=torch.float64)
    for i, (ax, beta) in enumerate(zip(panels, betas, strict=True)):
        values = found[..., i].double()
        mean, colour = values.mean(1), COLOURS[i]
        low, high = values.quantile(0.05, dim=1), values.quantile(0.95, dim=1)
        ax.fill_between(depths, low, high, color=colour, alpha=0.2, linewidth=0, label="middle 90 % of 50 nets")
        ax.plot(depths, mean, "o-", color=colour, markersize=3, label="mean")
        if process == "uniform":
            law = [math.sqrt(theory.mean_square_change(depth, beta)) for depth in DEPTHS]
            ax.plot(depths, law, **THEORY, label=r"$\sqrt{(1 + L^{-2\beta}/2)^L - 1}$")
        elif beta >= 1:
            power = "L^{-1}" if beta == 2 else "L^0"
            ax.plot(depths, mean[-1] * (depths / depths[-1]) ** (1 - beta), **THEORY, label=rf"$\propto {power}$")
        critical = 0.5 if process == "uniform" else 1.0
        if beta > critical:
            ax.set(xscale="log", yscale="log")
        elif beta < critical:
            ax.set_yscale("log")
        else:
            ax.set_ylim(0, 1.4 * high.max().item())
        ax.set(xlabel="depth $L$", title=rf"$\beta = {beta:g}$")
        ax.legend(fontsize=7)
    panels[0].set_ylabel(name)
    return canvas


@kept()
def gradient_growths() -> dict[str, Tensor]:
    """Growth of the gradients of 200 nets of depth 300 at beta = 1/2."""
    return {"growths": sample(200, 100, 300, (0.5,), at_once=10, generator=_generator(2)).gradient_growth.flatten()}


def histograms() -> Canvas:
    """Outputs and gradients at beta = 1/2, with the log-normal density."""
    canvas, (left, right) = axes(1, 2, width=7.6, height=2.8)
    gradients = gradient_growths()["growths"]
    law = theory.diffusion_law(100)
    grid = torch.linspace(0.95, 1.75, 200).tolist()
    panels = ((left, diffused(), r"$\|h_L\|/\|h_0\|$", 60), (right, gradients, r"$\|p_0\|/\|p_L\|$", 16))
    for i, (ax, values, name, bins) in enumerate(panels):
        ax.hist(values.tolist(), bins=bins, density=True, color=COLOURS[i], alpha=0.55, label=f"{len(values):,} nets")
        ax.plot(
            grid,
            [law.density(x) for x in grid],
            **THEORY,
            label=r"log-normal, $\frac{1}{4} - \frac{1}{2d}$, $\frac{1}{2d}$",
        )
        ax.set(xlabel=name, ylabel="density")
        ax.legend()
    left.set_title("outputs, $d = 100$, $L = 1000$")
    right.set_title("gradients, $d = 100$, $L = 300$")
    return canvas


# Regularity.


def paths() -> Canvas:
    """Fractional Brownian motions from one white noise."""
    canvas, panels = axes(1, 3, width=8.6, height=2.4)
    spectrum = white_spectrum(1000, (3,), _generator(3), torch.float64)
    times = torch.linspace(0, 1, 1001)
    for ax, hurst in zip(panels, (0.2, 0.5, 0.8), strict=True):
        motion = torch.cat([torch.zeros(1, 3).double(), fractional_noise(spectrum, hurst).cumsum(0)]) / 1000**hurst
        for j in range(3):
            ax.plot(times, motion[:, j], color=COLOURS[j], linewidth=0.8)
        spread = 2 * times**hurst
        ax.plot(times, spread, **THEORY, label=r"$\pm 2 t^H$")
        ax.plot(times, -spread, **THEORY)
        ax.set(title=f"$H = {hurst}$", xlabel="$t = k/L$", ylim=(-3.1, 3.1))
    panels[0].set_ylabel("$L^{-H} B^H_k$")
    panels[0].legend(loc="upper left")
    return canvas


@kept()
def regularity_map() -> dict[str, Tensor]:
    """Mean log10 change of outputs and of gradients, (hurst, beta), 5 nets of depth 1000 and 2 inputs."""
    rows = []
    for drawn in rough_ensembles(MAP_HURSTS, 5, WIDTH, 1000, inputs=2, generator=_generator(7)):
        each = ratios(drawn, MAP_BETAS)
        rows.append([log_ratio(one).mean((0, 2)) for one in (each.change, each.gradient_change)])
    outputs, gradients = (torch.stack(column) for column in zip(*rows, strict=True))
    return {"outputs": outputs, "gradients": gradients}


def regularity() -> Canvas:
    """Two maps with the curve max(1/2, H) and the measured zero level."""
    canvas, panels = axes(1, 2, width=8.2, height=3.3)
    curve = [theory.critical_beta(hurst) for hurst in MAP_HURSTS]
    names = ("outputs, $\\|h_L - h_0\\|/\\|h_0\\|$", "gradients, $\\|p_0 - p_L\\|/\\|p_L\\|$")
    tables = [regularity_map()[one] for one in ("outputs", "gradients")]
    for ax, table, name in zip(panels, tables, names, strict=True):
        image = ax.imshow(
            table.T.clamp(-1, 1),
            origin="lower",
            aspect="auto",
            cmap="RdBu_r",
            vmin=-1,
            vmax=1,
            extent=_edges(MAP_HURSTS) + _edges(MAP_BETAS),
        )
        level = [zero_level(MAP_BETAS, row) for row in table]
        ax.plot(MAP_HURSTS, level, color="black", linewidth=1.6, label="ratio 1, $L = 1000$")
        ax.plot(MAP_HURSTS, curve, **THEORY, label=r"$\max(1/2, H)$, $L \to \infty$")
        ax.text(0.3, 0.2, "explosion", color="white", ha="center")
        ax.text(0.3, 1.0, "identity", color="white", ha="center")
        ax.set(xlabel="Hurst index $H$", title=name)
        ax.legend(loc="upper left", fontsize=7, frameon=True, framealpha=0.85, edgecolor="none")
    panels[0].set_ylabel(r"scaling $\beta$")
    canvas.colorbar(image, ax=list(panels), label=r"mean $\log_{10}$ ratio, cut at $\pm 1$", pad=0.02)
    return canvas


def _edges(centres: tuple[float, ...]) -> tuple[float, float]:
    half = (centres[1] - centres[0]) / 2
    return centres[0] - half, centres[-1] + half


# Training.


def _grid(canvas: Canvas, ax: Any, betas: Tensor, hursts: Tensor, values: Tensor) -> None:
    rows, columns = betas.unique(), hursts.unique()
    table = torch.full((len(rows), len(columns)), torch.nan, dtype=torch.float64)
    for beta, hurst, value in zip(betas, hursts, values, strict=True):
        table[(rows == beta).nonzero()[0, 0], (columns == hurst).nonzero()[0, 0]] = value
    if len(rows) < 2 or len(columns) < 2:
        raise ValueError("a map needs at least two scalings and two Hurst indices")
    bounds = [_edges(tuple(one.double().tolist())) for one in (columns, rows)]
    image = ax.imshow(
        table, origin="lower", aspect="auto", cmap="viridis", vmin=0, vmax=1, extent=bounds[0] + bounds[1]
    )
    for i, beta in enumerate(rows.tolist()):
        for j, hurst in enumerate(columns.tolist()):
            dark = table[i, j] < 0.6
            ax.text(
                hurst,
                beta,
                f"{table[i, j]:.2f}",
                ha="center",
                va="center",
                color="white" if dark else "black",
                fontsize=7.5,
            )
    h = torch.linspace(*bounds[0], 200)
    ax.plot(h, h.clamp(min=0.5), **THEORY | {"color": "white"}, label=r"$\max(1/2, H)$")
    ax.set(xlabel="Hurst index $H$", ylabel=r"scaling $\beta$", xlim=bounds[0], ylim=bounds[1])
    ax.legend(loc="lower left", labelcolor="white")
    canvas.colorbar(image, ax=ax, label="test accuracy", pad=0.02)


def accuracy_map(run: Run) -> Canvas:
    """Test accuracy at the end of a run, by scaling and Hurst index."""
    canvas, ax = axes(width=4.8, height=3.6)
    task = run.weight.task
    _grid(canvas, ax, task["beta"].double(), task["hurst"].double(), run.history.last("val_accuracy"))
    p = run.recipe["model"]["init_args"]
    ax.set_title(f"{run.weight.record.data['name']}, depth {p['depth']}, width {p['width']}, after training")
    return canvas


def shipped_map(weight: Weight) -> Canvas:
    return accuracy_map(Run.shipped(weight.name))


def _path(ax: Any, weight: Weight) -> None:
    p = weight.record.recipe["model"]["init_args"]
    after = weight.network.tensors()["V"][0, :, 0, 0].detach()
    before = weight.task["start"][0]
    s = torch.arange(len(after)) / len(after)
    ax.plot(s, before, color="#aaaaaa", linewidth=0.8, label="before training")
    ax.plot(s, after, color=COLOURS[0], linewidth=0.8, label="after")
    ax.plot(s, after - before, color=COLOURS[1], linewidth=1.6, label="difference")
    kind = "smooth" if p["process"] == "smooth" else "independent"
    ax.set(xlabel="layer $k/L$", title=rf"{kind} layers, $\beta = {p['beta']:g}$")


def weight_paths(*weights: Weight) -> Canvas:
    """One entry of V along depth in three nets, before and after."""
    canvas, panels = axes(1, len(weights), width=2.9 * len(weights), height=2.6)
    for ax, weight in zip(panels, weights, strict=True):
        _path(ax, weight)
    panels[0].set_ylabel("$V_{k}(1, 1)$")
    panels[0].legend(fontsize=7)
    return canvas


def weight_path(run: Run) -> Canvas:
    """One entry of V along depth, before and after, and the accuracy."""
    canvas, (left, right) = axes(1, 2, width=7.4, height=2.8)
    _path(left, run.weight)
    left.set_ylabel("$V_k(1, 1)$")
    left.legend(fontsize=7)
    steps = run.history.steps
    for name, label, style in (("accuracy", "training, mean since the last row", "-"), ("val_accuracy", "test", "o")):
        values = run.history[name]
        seen = ~values.isnan().all(1)
        right.plot(steps[seen], values[seen], style, markersize=3, label=label)
    right.axhline(0.1, **THEORY, label="chance")
    right.set(xlabel="optimiser step", ylabel="accuracy", ylim=(0, 1.02))
    right.legend()
    return canvas


FIGURES: tuple[Figure, ...] = (
    Figure(
        "output_independent",
        "Change of the output with depth, independent layers: identity, a stable limit, explosion.",
        "Figure 1, with the exact root mean square",
        lambda: _against_depth("uniform", False),
    ),
    Figure(
        "histograms",
        "At beta = 1/2 the ratios of outputs and of gradients are nearly log-normal.",
        "Figure 2, with the law derived here",
        histograms,
    ),
    Figure(
        "gradient_independent",
        "Change of the gradient with depth, independent layers: the same three regimes.",
        "Figure 3, with the exact root mean square of the tangent map",
        lambda: _against_depth("uniform", True),
    ),
    Figure(
        "output_smooth",
        "Change of the output with depth, smooth layers: the stable scaling is now beta = 1.",
        "Figure 4",
        lambda: _against_depth("smooth", False),
    ),
    Figure(
        "gradient_smooth",
        "Change of the gradient with depth, smooth layers.",
        "Figure 5",
        lambda: _against_depth("smooth", True),
    ),
    Figure(
        "paths",
        "Fractional Brownian motions, whose increments are the weights of the next figure, from one white noise.",
        "Figure 6",
        paths,
    ),
    Figure(
        "regularity",
        "Scaling against regularity at initialisation, depth 1000: explosion below, identity above, max(1/2, H) between.",
        "Figure 7",
        regularity,
    ),
    Figure(
        "weight_paths",
        "An entry of V along depth: smooth layers stay smooth, independent ones keep their noise and gain a trend.",
        "Figure 8",
        weight_paths,
        weights=PATHS,
    ),
    Figure(
        "weight_path",
        "An entry of V along depth before and after training, and the test accuracy.",
        "Figure 8",
        weight_path,
        recipes=("mnist_smooth", "mnist_identity", "mnist_diffusion"),
    ),
    Figure(
        "accuracy",
        "Test accuracy after training by scaling and regularity: below the curve nets do not learn.",
        "Figure 9",
        shipped_map,
        weights=(GRID,),
    ),
    Figure(
        "accuracy_map",
        "Test accuracy after training by scaling and regularity.",
        "Figure 9",
        accuracy_map,
        recipes=("*_grid*",),
    ),
)
