"""Figures of self-attention dynamics: tokens on the circle and the sphere, phase diagrams, staircase, plateaus."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure as Canvas
from torch import Tensor

from datamodules.sphere_starts import NoisyClustersData
from datamodules.stream import generator as stream
from zoo.figures import COLOURS, THEORY, Figure, Film, axes
from zoo.history import Run
from zoo.kept import kept
from zoo.models.self_attention_dynamics import theory
from zoo.models.self_attention_dynamics.claims import kinetic
from zoo.models.self_attention_dynamics.network import FlowEncoder, ParticleFlow

FRAMES = 100


def _options(run: Run) -> dict[str, Any]:
    return run.recipe["model"]["init_args"]


def _times(run: Run) -> Tensor:
    return run.history.steps.double() * _options(run)["dt"]


def _again(run: Run, replicas: list[int], steps: list[int]) -> Tensor:
    """Tokens of the run at ascending steps, made again from its starts: (s, replicas, n, d)."""
    network = run.weight.network.network
    assert isinstance(network, ParticleFlow)
    x, beta, kept = run.weight.task["start"][replicas], network.beta[replicas], []
    mask, now = network.mask(x), 0
    for step in steps:
        for _ in range(now, step):
            x = theory.step(x, beta, network.dt, network.dynamics, network.integrator, mask)
        now = step
        kept.append(x)
    return torch.stack(kept)


def _frames(last: int) -> list[int]:
    """About `FRAMES` steps from 0 to `last`, even in log(1 + time/5 steps)."""
    spread = np.expm1(np.linspace(0, math.log1p(last / 5), FRAMES)) * 5
    return sorted({int(round(step)) for step in spread} | {0, last})


def _palette(count: int) -> list[Any]:
    """One colour per token that keeps the order of the start visible."""
    return [colormaps["hsv"](0.05 + 0.9 * i / count) for i in range(count)]


# The circle.


def circle_film(run: Run) -> Film:
    """Tokens on the circle at the first, the middle and the last temperature, over their energies."""
    betas = run.weight.task["beta"]
    replicas = sorted({0, len(betas) // 2, len(betas) - 1})
    dt, last = _options(run)["dt"], int(run.history.steps[-1])
    steps = _frames(last)
    states = _again(run, replicas, steps)  # (f, k, n, 2)
    canvas, panels = axes(2, len(replicas), width=5, height=2.9)
    energies = theory.mean_energy(states, betas[replicas])
    times = torch.tensor(steps) * dt
    around = torch.linspace(0, 2 * math.pi, 200)
    order = torch.atan2(states[0, 0, :, 1], states[0, 0, :, 0]).argsort().argsort()
    colours = [_palette(len(order))[i] for i in order]
    dots, marks = [], []
    for k, replica in enumerate(replicas):
        top, below = panels[0][k], panels[1][k]
        top.plot(around.cos(), around.sin(), color="#cccccc", linewidth=0.8)
        # where every token started, so that its colour says from where it came
        top.scatter(*(1.17 * states[0, k].T), c=colours, s=5, linewidths=0)
        dots.append(top.scatter(*states[0, k].T, c=colours, s=16, zorder=4, edgecolors="white", linewidths=0.4))
        top.set(aspect="equal", xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), title=rf"$\beta = {betas[replica]:g}$")
        top.axis("off")
        below.plot(times, energies[:, k], color=COLOURS[0])
        marks.append(below.plot([0], [0], "o", color=COLOURS[1], markersize=4, clip_on=False)[0])
        below.set(ylim=(0, 1.05), xlim=(0, last * dt), xlabel="time $t$")
        below.set_xscale("symlog", linthresh=1)
        below.set_xticks([0, 1, 10, 100] if last * dt >= 100 else [0, 1, 10])
        below.set_ylabel("energy" if k == 0 else "")
    title = canvas.suptitle("")

    def show(i: int) -> None:
        title.set_text(f"$t = {times[i]:.1f}$")
        for k in range(len(replicas)):
            dots[k].set_offsets(states[i, k].numpy())
            marks[k].set_data([times[i]], [energies[i, k]])

    return Film(canvas, len(steps), show)


def circle_angles(run: Run) -> Canvas:
    """Angle of every token over time, one panel per temperature."""
    betas = run.weight.task["beta"]
    replicas = sorted({0, len(betas) // 2, len(betas) - 1})
    dt, last = _options(run)["dt"], int(run.history.steps[-1])
    early = range(0, min(last, 200))
    steps = sorted({*early, *(int(s) for s in np.geomspace(200, last, 300) if s <= last), last})
    states = _again(run, replicas, steps)
    turns = np.unwrap(torch.atan2(states[..., 1], states[..., 0]).numpy(), axis=0)  # (s, k, n)
    times = np.array(steps) * dt
    canvas, panels = axes(1, len(replicas), width=3.1 * len(replicas), height=2.7)
    order = turns[0, 0].argsort().argsort()
    colours = [_palette(len(order))[i] for i in order]
    for k, (ax, replica) in enumerate(zip(panels, replicas, strict=True)):
        for token, colour in enumerate(colours):
            ax.plot(times, turns[:, k, token], color=colour, linewidth=1.2)
        ax.set_xscale("symlog", linthresh=1)
        ax.set(xlim=(0, last * dt), xlabel="time $t$", title=rf"$\beta = {betas[replica]:g}$")
        ax.set_yticks([-math.pi, 0, math.pi], [r"$-\pi$", "0", r"$\pi$"])
        ax.set_xticks([0, 1, 10, 100] if last * dt >= 100 else [0, 1, 10])
    panels[0].set_ylabel("angle of a token")
    return canvas


@kept()
def times_of_one_cluster() -> dict[str, Tensor]:
    """The authors' five tokens at each beta, until they are one cluster."""
    return {"times": torch.tensor(kinetic()["times"], dtype=torch.float64)}


def kinetic_plateau(run: Run) -> Canvas:
    """Energy plateaus beside the two-cluster equation, and the time of one cluster against beta."""
    canvas, (plateau, law) = axes(1, 2, width=8.4, height=3.3)
    times, dt = _times(run), _options(run)["dt"]
    betas, energies, least = run.weight.task["beta"], run.history["mean_energy"], run.history["min_product"]
    found = run.history["clusters"]
    # the authors' step is short by a factor 1 + dt <x, A x>, with <x, A x> close to 1 in a cluster
    clock = 1 + dt if _options(run)["integrator"] == "official" else 1.0
    formed = []
    for k, beta in enumerate(betas.tolist()):
        colour = COLOURS[k % len(COLOURS)]
        plateau.plot(times, energies[:, k], color=colour)
        two = (found[:, k] == 2).nonzero()
        if not len(two):
            continue
        first = int((times >= 1.5 * times[two[0, 0]]).int().argmax())
        angle = least[first, k].acos().item()
        later = torch.logspace(0, 4.5, 600, dtype=torch.float64)
        angles = theory.cluster_angle((later - times[first]).clamp(min=0) / clock, beta, 3, 2, angle)
        keep = later > times[first]
        formed.append((beta, times[first].item(), angle))
        end = later[(angles < 1).int().argmax()]
        plateau.text(end * 0.9, 0.75, rf"$\beta = {beta:g}$", color=colour, rotation=90, ha="right", va="center")
        plateau.plot(later[keep], theory.cluster_energy(angles, beta, 3, 2)[keep], **THEORY)
    plateau.plot([], [], label="two-cluster equation, 3 + 2 tokens", **THEORY)
    plateau.set(xscale="log", xlim=(0.5, 3e4), ylim=(0.3, 1.05))
    plateau.set(xlabel="time $t$", ylabel=r"energy $\sum_{ij} e^{\beta(\langle x_i, x_j\rangle - 1)}/n^2$")
    plateau.legend(loc="lower right", fontsize=7)
    measured = times_of_one_cluster()["times"].tolist()
    law.semilogy(betas, measured, "o", color=COLOURS[0], label="five tokens, authors' integrator")
    merged = math.acos(theory.MERGED)
    formula = [then + clock * theory.cluster_time(beta, 3, 2, angle, merged) for beta, then, angle in formed]
    law.semilogy([beta for beta, *_ in formed], formula, label="two-cluster equation", **THEORY)
    slope, exact = 1 - math.cos(formed[-1][2]), np.linspace(2.5, 6.4, 50)
    guide = measured[-1] * np.exp(slope * (exact - formed[-1][0]))
    law.semilogy(exact, guide, color=COLOURS[1], linewidth=1, label=rf"slope $1 - \cos\varphi = {slope:.2f}$")
    law.set(xlabel=r"inverse temperature $\beta$", ylabel="time $T$ of one cluster", ylim=(3, 5e4))
    law.legend(loc="upper left", fontsize=7)
    return canvas


# The sphere.


def _turned(x: Tensor, angle: float, tilt: float = 0.35) -> Tensor:
    """Coordinates (right, up, towards the eye) of points (..., 3) seen from a moving place."""
    right = torch.tensor([math.cos(angle), math.sin(angle), 0.0], dtype=x.dtype)
    ahead = torch.tensor([-math.sin(angle), math.cos(angle), 0.0], dtype=x.dtype)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=x.dtype)
    eye = -math.cos(tilt) * ahead + math.sin(tilt) * up
    top = math.sin(tilt) * ahead + math.cos(tilt) * up
    return torch.stack([x @ right, x @ top, x @ eye], -1)


def _graticule() -> Tensor:
    """Circles of latitude and meridians, (lines, points, 3)."""
    t = torch.linspace(0, 2 * math.pi, 120, dtype=torch.float64)
    lines = [
        torch.stack([t.cos() * math.cos(a), t.sin() * math.cos(a), torch.full_like(t, math.sin(a))], -1)
        for a in (-math.pi / 3, -math.pi / 6, 0, math.pi / 6, math.pi / 3)
    ]
    lines += [
        torch.stack([t.cos() * math.cos(a), t.cos() * math.sin(a), t.sin()], -1)
        for a in torch.arange(6).mul(math.pi / 6).tolist()
    ]
    return torch.stack(lines)


class _Globe:
    """A sphere with tokens that can be drawn again from another side."""

    def __init__(self, ax: Any, colours: list[Any], size: float = 22):
        t = torch.linspace(0, 2 * math.pi, 200)
        ax.fill(t.cos(), t.sin(), color="#f4f6fa", zorder=0)
        ax.plot(t.cos(), t.sin(), color="#99a3b3", linewidth=0.8, zorder=1)
        self.lines = _graticule()
        self.front = [ax.plot([], [], color="#c3ccd9", linewidth=0.5, zorder=1)[0] for _ in self.lines]
        self.trails = [ax.plot([], [], color=colour, linewidth=0.9, alpha=0.6, zorder=3)[0] for colour in colours]
        self.dots = ax.scatter([0] * len(colours), [0] * len(colours), s=size, zorder=4)
        self.colours = np.array([colour[:3] for colour in colours])
        self.size = size
        ax.set(aspect="equal", xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
        ax.axis("off")

    def show(self, path: Tensor, angle: float) -> None:
        """Tokens of the last state of path (s, n, 3), with the way there."""
        for line, points in zip(self.front, _turned(self.lines, angle), strict=True):
            seen = torch.where(points[:, 2:] > 0, points[:, :2], torch.nan)
            line.set_data(*seen.T.numpy())
        seen = _turned(path, angle)
        for token, line in enumerate(self.trails):
            way = torch.where(seen[:, token, 2:] > 0, seen[:, token, :2], torch.nan)
            line.set_data(*way.T.numpy())
        depth = seen[-1, :, 2].numpy()
        self.dots.set_offsets(seen[-1, :, :2].numpy())
        self.dots.set_color(np.column_stack([self.colours, np.where(depth > 0, 0.95, 0.25)]))
        self.dots.set_sizes(self.size * (0.7 + 0.3 * depth))


def _by_longitude(start: Tensor) -> list[Any]:
    """A colour per token (n, 3) by where it starts."""
    turn = (torch.atan2(start[:, 1], start[:, 0]) / (2 * math.pi) + 0.5).tolist()
    light = (0.75 + 0.25 * start[:, 2]).tolist()
    return [tuple(light * np.array(colormaps["hsv"](t)[:3])) for t, light in zip(turn, light, strict=True)]


def sphere_film(run: Run) -> Film:
    """Tokens on the turning sphere, with energy and number of clusters."""
    last, dt = int(run.history.steps[-1]), _options(run)["dt"]
    steps = np.linspace(0, last, min(FRAMES, last + 1)).round().astype(int).tolist()
    path = _again(run, [0], steps)[:, 0]
    canvas, (left, right) = axes(1, 2, width=5, height=2.7)
    globe = _Globe(left, _by_longitude(path[0]))
    times, energy = _times(run), run.history["mean_energy"][:, 0]
    right.plot(times, energy, color=COLOURS[0])
    right.set(ylim=(0, 1.05), xlabel="time $t$")
    right.set_ylabel("energy", color=COLOURS[0])
    count = right.twinx()
    count.step(times, run.history["clusters"][:, 0], color=COLOURS[1], linewidth=1)
    count.set_ylabel("clusters", color=COLOURS[1])
    count.set(ylim=(0, path.shape[1] + 2))
    count.spines["right"].set_visible(True)
    mark = right.axvline(0, color="#555555", linewidth=0.8)

    def show(i: int) -> None:
        since = (
            max(0, i - 12) if i + 1 < len(steps) else 0
        )  # the last picture, which is also the still, has the whole way
        globe.show(path[since : i + 1], 0.6 + 1.2 * i / len(steps))
        mark.set_xdata([steps[i] * dt] * 2)
        left.set_title(f"$t = {steps[i] * dt:.1f}$")

    return Film(canvas, len(steps), show)


def sphere_times(run: Run) -> Canvas:
    """Tokens on the sphere at four times, each with the way there."""
    last, dt = int(run.history.steps[-1]), _options(run)["dt"]
    found = run.history["clusters"][:, 0]
    grown = run.history["mean_energy"][:, 0]
    levels = [grown[0] + share * (1 - grown[0]) for share in (0.4, 0.9)]
    moments = [0, *(int(run.history.steps[(grown >= level).int().argmax()]) for level in levels), last]
    steps = list(range(last + 1))
    path = _again(run, [0], steps)[:, 0]
    canvas, panels = axes(1, 4, width=10, height=2.8)
    for ax, moment in zip(panels, moments, strict=True):
        globe = _Globe(ax, _by_longitude(path[0]))
        globe.show(path[: moment + 1], 0.6 + 1.2 * moment / max(last, 1))
        row = int((run.history.steps - moment).abs().argmin())
        ax.set_title(f"$t = {moment * dt:.1f}$, {found[row]:.0f} cluster{'s' if found[row] > 1 else ''}")
    return canvas


# Many systems.


def phase_diagram(run: Run) -> Canvas:
    """Share of merged pairs over time and temperature, with the transition curve of high dimension."""
    options, data = _options(run), run.recipe["data"]["init_args"]
    betas = run.weight.task["beta"].unique()
    merged, times = run.history["merged"], _times(run)
    share = merged.view(len(times), -1, len(betas)).mean(1)  # replicas are (system, beta)
    clusters = run.history["clusters"].view(len(times), -1, len(betas)).mean(1)
    canvas, (left, right) = axes(1, 2, width=8.6, height=3.4)
    panels = (
        (left, share, "share of merged pairs", {"vmin": 0, "vmax": 1, "cmap": "magma"}),
        (right, clusters, "clusters", {"norm": "log", "cmap": "viridis_r"}),
    )
    for ax, values, label, style in panels:
        picture = ax.pcolormesh(times, betas, values.T, shading="nearest", rasterized=True, **style)
        bar = canvas.colorbar(picture, ax=ax, label=label)
        if label == "clusters":
            ticks = [tick for tick in (1, 2, 4, 8, 16, 32) if tick <= clusters.max()]
            bar.set_ticks(ticks, labels=[str(tick) for tick in ticks], minor=False)
            bar.ax.minorticks_off()
        curve = [theory.gamma_time(beta, options["n"], dynamics=options["dynamics"]) for beta in betas.tolist()]
        ax.plot(curve, betas, color="white", linestyle="--", linewidth=1.4, label=r"$\gamma_\beta(t) = .999$")
        ax.set(xlim=(0, times[-1]), ylim=(betas[0], betas[-1]), xlabel="time $t$", ylabel=r"$\beta$")
        ax.spines[["top", "right"]].set_visible(True)
    left.legend(loc="upper right", labelcolor="white")
    systems = merged.shape[1] // len(betas)
    canvas.suptitle(f"{options['n']} tokens, {data['start']} starts in $d = {options['d']}$, {systems} systems")
    return canvas


def high_dimension(run: Run) -> Canvas:
    """Mean inner product beside gamma, and histograms of all inner products."""
    betas, times, options = run.weight.task["beta"], _times(run), _options(run)
    levels = betas.unique().tolist()
    canvas, panels = axes(1, 1 + len(levels), width=3.6 * (1 + len(levels)), height=3.2)
    fine = torch.linspace(0.01, float(times[-1]), 200, dtype=torch.float64)
    for k, beta in enumerate(levels):
        mean = run.history["mean_product"][:, betas == beta]
        panels[0].plot(times, mean, color=COLOURS[k], linewidth=0.8, alpha=0.7)
        panels[0].plot([], [], color=COLOURS[k], label=rf"$\beta = {beta:g}$, {mean.shape[1]} systems")
        panels[0].plot(fine, theory.gamma_curve(beta, options["n"], fine, options["dynamics"]), **THEORY)
    panels[0].plot([], [], label=r"$\gamma_\beta(t)$, orthonormal start", **THEORY)
    panels[0].set(xlabel="time $t$", ylabel="mean inner product of a pair", ylim=(-0.05, 1.05))
    panels[0].legend(loc="lower right")
    moments = [0, 1, 2, 3, 4, 5, 6]
    bins = np.linspace(-0.5, 1, 91)
    shown = len(moments)
    for ax, beta in zip(panels[1:], levels, strict=True):
        replicas = (betas == beta).nonzero()[:, 0].tolist()
        states = _again(run, replicas, [round(t / options["dt"]) for t in moments])
        gamma = theory.gamma_curve(beta, options["n"], torch.tensor(moments, dtype=torch.float64))
        for row in range(shown):
            counts, _ = np.histogram(theory.pair_products(states[row]).flatten(), bins)
            height = 1.6 * counts / max(counts.max(), 1) + (shown - row)
            colour = colormaps["viridis"](0.15 + 0.7 * row / shown)
            middle = (bins[1:] + bins[:-1]) / 2
            ax.fill_between(middle, shown - row, height, color=colour, alpha=0.8, linewidth=0, zorder=2 + row)
            ax.plot(middle, height, color="white", linewidth=0.6, zorder=2 + row)
            ax.plot([gamma[row]] * 2, [shown - row, shown - row + 0.9], **{**THEORY, "zorder": 20})
        ax.set_yticks([shown - row for row in range(shown)], [f"{moment:g}" for moment in moments])
        ax.set(xlim=(-0.5, 1.02), xlabel="inner product of a pair", ylabel="time $t$", title=rf"$\beta = {beta:g}$")
    return canvas


# The staircase.


def staircase(run: Run) -> Canvas:
    """Normalised energy in rescaled time, with the levels of separated clusters."""
    canvas, (ax, zoom) = axes(1, 2, width=8.4, height=3.3)
    times = run.history.steps.double() * _options(run)["rate"]
    energies, betas = run.history["mean_energy"], run.weight.task["beta"]
    sizes = {"1+1+1+1+1": 5, "2+1+1+1": 7, "3+1+1": 11, "3+2": 13, "5": 25}
    for panel in (ax, zoom):
        for k, beta in enumerate(betas.tolist()):
            colour = colormaps["viridis"](0.9 * k / max(len(betas) - 1, 1))
            end = int((energies[:, k] > 1 - 1e-9).int().argmax()) or len(times) - 1
            panel.plot(times[: end + 1], energies[: end + 1, k], color=colour, label=rf"$\beta = {beta:g}$")
            panel.plot(times[end], energies[end, k], "o", color=colour, markersize=3)
        for name, squares in sizes.items():
            panel.axhline(squares / 25, **{**THEORY, "linewidth": 0.7, "zorder": 0})
            if panel is ax:
                panel.text(times[-1] * 1.03, squares / 25, name, va="center", fontsize=7)
        panel.set(xlabel=r"rescaled time, rate $\times$ step")
    ax.set(ylabel="normalised energy", xlim=(0, times[-1] * 1.02), ylim=(0.18, 1.03))
    zoom.set(xlim=(0, 0.055), ylim=(0.19, 0.55), title="the first steps")
    ax.set_title(r"levels $\sum_q m_q^2/n^2$ of clusters of sizes $m_q$")
    ax.legend(loc="upper left", bbox_to_anchor=(0, 0.95), fontsize=7)
    return canvas


# The encoder.


def encoder(run: Run) -> Canvas:
    """Risk over training, and over depth for the trained encoder and for fixed temperatures."""
    canvas, (left, right) = axes(1, 2, width=8.4, height=3.3)
    history = run.history
    steps, data = history.steps[1:], run.recipe["data"]["init_args"]
    left.plot(steps, history["loss"][1:], color=COLOURS[0], linewidth=0.9)
    left.plot([], [], color=COLOURS[0], label=f"encoder, {history.replicas} replicas")
    raw, informed = history["raw"].nanmean().item(), history["informed"].nanmean().item()
    left.axhline(raw, color=COLOURS[7], linestyle=":", label="tokens as they are")
    left.axhline(informed, label="Bayes predictor told the clusters", **THEORY)
    left.set(xlabel="optimiser step", ylabel=r"risk $1 - \langle$prediction, centre$\rangle$", yscale="log")
    left.set_yticks([0.025, 0.05, 0.1, 0.15], ["0.025", "0.05", "0.1", "0.15"], minor=False)
    left.minorticks_off()
    left.legend(loc="upper right", bbox_to_anchor=(1, 0.92))
    names = ("d", "clusters", "length", "kappa")
    batch = NoisyClustersData(**{name: data[name] for name in names}, batch_size=64).draw(stream("figure"), 2, {})
    x, centre = batch["x"].flatten(0, 1), batch["centre"].flatten(0, 1)
    trained = run.weight.network.one(0)
    assert isinstance(trained, FlowEncoder)
    with torch.no_grad():
        step = float(trained.log_step.exp() * trained.value.diagonal().mean())
        cases = [(beta, FlowEncoder(d=trained.d, beta=beta, step=step), 0.9) for beta in (2.0, 4.0, 8.0, 16.0)]
        for k, (beta, network, width) in enumerate(cases):
            risk = 1 - (network.trajectory(x, 300) * centre).sum(-1).mean((1, 2))
            right.plot(torch.arange(301), risk, color=COLOURS[1 + k], linewidth=width, label=rf"SA, $\beta = {beta:g}$")
        risk = 1 - (trained.trajectory(x, 300) * centre).sum(-1).mean((1, 2))
        beta = trained.log_beta.exp().item()
    right.plot(torch.arange(301), risk, color=COLOURS[0], linewidth=2, label=rf"trained, $\beta = {beta:.1f}$")
    right.plot(trained.layers, risk[trained.layers], "o", color=COLOURS[0], markersize=5)
    right.axhline(informed, **THEORY)
    right.set_xscale("function", functions=(np.log1p, np.expm1))
    right.set_xticks([0, 2, 4, 8, 32, 100, 300], ["0", "2", "4", "8", "32", "100", "300"])
    right.set(xlabel="layers (trained with the marked number)", ylim=(0, 0.55), xlim=(0, 300))
    right.legend(loc="upper left", fontsize=7)
    return canvas


FIGURES: tuple[Figure, ...] = (
    Figure(
        "kinetic_plateau",
        "Five tokens stay in two clusters for a time that grows as exp(beta (1 - cos phi)); dashed: the two-cluster "
        "equation.",
        "[2410], kinetic.py; the second panel is added",
        kinetic_plateau,
        recipes=("kinetic",),
    ),
    Figure(
        "circle_film",
        "Tokens on the circle at three temperatures: low beta one cluster quickly, high beta several that last.",
        "[2410], kinetic.py (film)",
        circle_film,
        recipes=("kinetic", "circle"),
    ),
    Figure(
        "circle_angles",
        "Angles of the tokens over time at three temperatures.",
        "[2410], kinetic.py",
        circle_angles,
        recipes=("kinetic", "circle"),
    ),
    Figure(
        "sphere_film",
        "Tokens on the sphere gather in one cluster; energy and number of clusters beside them.",
        "[2312], sphere.py (film)",
        sphere_film,
        recipes=("sphere",),
    ),
    Figure(
        "sphere_times",
        "Tokens on the sphere at the start, at two times between, and at the end, with the ways they took.",
        "[2312], sphere.py",
        sphere_times,
        recipes=("sphere",),
    ),
    Figure(
        "phase_diagram",
        "Share of merged pairs and number of clusters over time and temperature; dashed: the transition of the "
        "orthonormal start, which high dimension follows.",
        "[2312], phase-diagrams.py and curve.ipynb",
        phase_diagram,
        recipes=("phase_*",),
    ),
    Figure(
        "high_dimension",
        "In high dimension all inner products follow gamma(t): mean over pairs, and histograms at seven times.",
        "[2312], theorem on high dimension",
        high_dimension,
        recipes=("high_dimension",),
    ),
    Figure(
        "staircase",
        "The normalised energy in rescaled time is a staircase between the levels of separated clusters, the sharper "
        "the larger beta.",
        "[2410], staircase.py",
        staircase,
        recipes=("staircase",),
    ),
    Figure(
        "encoder",
        "Risk of the encoder over training, and over depth: below the right beta clusters merge before they denoise.",
        "not the papers'",
        encoder,
        recipes=("encoder",),
    ),
)
