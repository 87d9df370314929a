"""Figures of residual nets as neural ODEs: jumps and distances against depth, weights along depth, box plots of kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from zoo.depth.regularity import jumps
from zoo.figures import COLOURS, THEORY, Figure, axes
from zoo.history import History, Run, history_of
from zoo.models.neural_ode_resnet import theory
from zoo.models.neural_ode_resnet.claims import DEPTHS, IID, LONG, SMALL
from zoo.models.neural_ode_resnet.released_runs import LEFT_DEPTHS, REFERENCE, RIGHT_DEPTHS, released_runs
from zoo.sweeps import Sweep
from zoo.weights import Weight

TIMES = tuple(range(50, 451, 50))
RAINBOW = matplotlib.colormaps["viridis"]


# Figure 1.


def jumps_against_depth() -> Canvas:
    """The largest jump, and what the released script plots, by depth and time."""
    canvas, (left, right) = axes(1, 2, width=8.2, height=3.2)
    runs = released_runs()
    every = [(runs[f"largest_{depth}"], runs[f"squared_{depth}"]) for depth in LEFT_DEPTHS]
    for i, steps in enumerate(TIMES):
        colour = RAINBOW(i / len(TIMES))
        largest = [one[:steps].amax().item() for one, _ in every]
        sums = [squared[:steps].sum(0).amax().sqrt().item() for _, squared in every]
        left.loglog(LEFT_DEPTHS, largest, "o-", color=colour, markersize=3, label=f"{steps}")
        right.loglog(LEFT_DEPTHS, sums, "o-", color=colour, markersize=3)
    depths = torch.tensor(LEFT_DEPTHS, dtype=torch.float64)
    for ax, values, power in ((left, largest, -1.0), (right, sums, -0.5)):
        label = r"$\propto L^{-1}$" if power == -1 else r"$\propto L^{-1/2}$"
        ax.loglog(depths, 1.6 * values[-1] * (depths / depths[-1]) ** power, **THEORY, label=label)
        ax.set(xlabel="depth $L$", xticks=LEFT_DEPTHS, xticklabels=[str(depth) for depth in LEFT_DEPTHS])
        ax.minorticks_off()
    left.set_title(r"$\max_{k,t}\ \|Z_{k+1}(t) - Z_k(t)\|_F$")
    right.set_title(r"as released: $\left(\sum_{k,t} \|Z_{k+1}(t) - Z_k(t)\|_F^2\right)^{1/2}$")
    right.legend(loc="lower left")
    left.legend(title="steps", loc="lower left", fontsize=6.5, title_fontsize=7, ncols=2)
    return canvas


def distance_to_the_limit() -> Canvas:
    """Two heat maps by step and depth, and their cut at the last step."""
    canvas, panels = axes(1, 3, width=9.4, height=2.9)
    maps = [released_runs()[f"distance_{name}"] for name in "VW"]
    for ax, table, name in zip(panels, maps, "VW", strict=False):
        image = ax.imshow(
            table,
            norm=LogNorm(table.min().item(), table.max().item()),
            aspect="auto",
            cmap="BuPu",
            interpolation="nearest",
            extent=(2.5, 502.5, len(RIGHT_DEPTHS) - 0.5, -0.5),
        )
        ax.set(xlabel="step", title=rf"$\|\mathcal{{{name}}}^L - \mathcal{{{name}}}\|$")
        ax.set_yticks(range(len(RIGHT_DEPTHS)), [str(depth) for depth in RIGHT_DEPTHS])
        canvas.colorbar(image, ax=ax, pad=0.02)
    panels[0].set_ylabel("depth $L$")
    last, depths = panels[2], torch.tensor(RIGHT_DEPTHS, dtype=torch.float64)
    for table, name, colour in zip(maps, "VW", COLOURS, strict=False):
        last.loglog(depths, table[:, -1], "o", color=colour, markersize=3.5, label=f"$\\mathcal{{{name}}}$, step 500")
        line = table[4, -1].double() * (1 / depths - 1 / REFERENCE) / (1 / depths[4] - 1 / REFERENCE)
        last.loglog(depths, line, **THEORY | {"zorder": 1}, label=r"$\propto 1/L - 1/2048$" if name == "W" else None)
    last.set(xlabel="depth $L$", title="distance to $L = 2048$", xticks=RIGHT_DEPTHS[::2])
    last.set_xticks(RIGHT_DEPTHS[::2], [str(depth) for depth in RIGHT_DEPTHS[::2]])
    last.minorticks_off()
    last.legend(loc="lower left", fontsize=7)
    return canvas


def jumps_of_a_sweep(table: Sweep) -> Canvas:
    """Largest jump at the end of each run by depth."""
    canvas, ax = axes(width=4.2, height=3.0)
    for name, colour in zip("VW", COLOURS, strict=False):
        found = table.by(f"jump_{name}", "model.depth")
        depths = torch.tensor([key[0] for key in found], dtype=torch.float64)
        values = torch.stack([one.mean() for one in found.values()])
        ax.loglog(depths, values, "o-", color=colour, markersize=3.5, label=f"{name}")
        ax.loglog(
            depths, values[-1] * depths[-1] / depths, **THEORY, label=r"$\propto L^{-1}$" if name == "W" else None
        )
    ax.set(xlabel="depth $L$", ylabel=r"$\max_k \|Z_{k+1} - Z_k\|_F$", title="largest jump at the end of training")
    ax.legend()
    return canvas


# Figure 2.


def _losses(ax: Any, history: History) -> None:
    steps, risk = history.steps, history["risk"][:, 0]
    ax.semilogy(steps, risk, color=COLOURS[0], linewidth=1, label="loss")
    if risk.min() < 1e-4:
        late = steps >= steps[risk < 1e-3][0]
        a, b = steps[late].double(), risk[late].log()
        slope = ((a - a.mean()) @ (b - b.mean()) / (a - a.mean()).square().sum()).item()
        rate = f"{-slope:.2g}".replace("e-0", r"\cdot 10^{-") + ("}" if "e" in f"{-slope:.2g}" else "")
        ax.semilogy(a, (b.mean() + slope * (a - a.mean())).exp(), **THEORY, label=rf"$e^{{-ct}}$, $c = {rate}$ a step")
    ax.set(xlabel="step", title="loss")
    ax.legend(loc="upper right")


def along_depth(weight: Weight) -> Canvas:
    """One entry of V and W against the layer at many times, and the loss."""
    canvas, panels = axes(1, 3, width=9.6, height=2.7)
    ends = [weight.network.tensors()[name][0].detach() for name in "VW"]
    for ax, name, early, end in zip(
        panels, "VW", released_runs()["early"].unbind(1), (ends[0][:, 0, 2], ends[1][:, 2, 0]), strict=False
    ):
        for i, one in enumerate(early):
            ax.plot(range(1, 65), one, color=RAINBOW(i / len(early)), linewidth=0.7)
        ax.plot(range(1, 65), end, color=COLOURS[1], linewidth=1.6, label=f"step {weight.record.steps:,}")
        entry = "1,3" if name == "V" else "3,1"
        ax.set(xlabel="layer $k$", title=rf"$({name}_k)_{{{entry}}}$ at steps 0, 100, … 3,000")
    panels[0].legend()
    _losses(panels[2], history_of(weight))
    return canvas


def of_a_run(run: Run) -> Canvas:
    """One entry of V and W against the layer at the end of a run, and the loss."""
    canvas, panels = axes(1, 3, width=9.6, height=2.7)
    for ax, name, entry in zip(panels, "VW", ((0, 2), (2, 0)), strict=False):
        values = run.weight.network.tensors()[name][0].detach()
        ax.plot(range(1, len(values) + 1), values[:, entry[0], entry[1]], color=COLOURS[0])
        ax.set(xlabel="layer $k$", title=rf"$({name}_k)_{{{entry[0] + 1},{entry[1] + 1}}}$ after training")
    _losses(panels[2], run.history)
    return canvas


def tied_and_independent(tied: Weight, iid: Weight) -> Canvas:
    """An entry of V and W along depth after training, from tied and from independent layers."""
    canvas, panels = axes(1, 2, width=7.4, height=2.7)
    for ax, name, entry in zip(panels, "VW", ((0, 2), (2, 0)), strict=True):
        for weight, label, colour in ((iid, "independent start", "#999999"), (tied, "tied start", COLOURS[0])):
            values = weight.network.tensors()[name][0].detach()
            rough = theory.roughness(values).item()
            line = values[:, entry[0], entry[1]]
            ax.plot(range(1, len(line) + 1), line, color=colour, label=f"{label}, roughness {rough:.2f}")
        low, high = ax.get_ylim()
        ax.set(xlabel="layer $k$", title=rf"$({name}_k)_{{{entry[0] + 1},{entry[1] + 1}}}$ after training")
        ax.set_ylim(low, high + 0.3 * (high - low))
        ax.legend(loc="upper right", fontsize=7)
    return canvas


def limits_commute(*weights: Weight) -> Canvas:
    """An entry of V and W of trained nets of several depths, as functions of s = k/L, and the loss."""
    canvas, panels = axes(1, 3, width=9.6, height=2.7)
    for weight, colour in zip(weights, COLOURS, strict=False):
        depth = weight.record.arguments["depth"]
        for ax, name, entry in zip(panels, "VW", ((0, 2), (2, 0)), strict=False):
            line = weight.network.tensors()[name][0, :, entry[0], entry[1]].detach()
            s = torch.arange(depth + 1) / depth
            ax.stairs(line.numpy(), s.numpy(), color=colour, baseline=None, linewidth=1.2, label=f"$L = {depth}$")
            ax.set(
                xlabel="$s = k/L$", title=rf"$\mathcal{{{name}}}_{{{entry[0] + 1},{entry[1] + 1}}}(s)$ after training"
            )
        history = history_of(weight)
        panels[2].semilogy(history.steps, history["risk"][:, 0], color=colour, linewidth=1, label=f"$L = {depth}$")
    panels[2].set(xlabel="step", title="loss")
    panels[0].legend()
    return canvas


# Figures 3 and 4.

NAMES = {"cifar_small_tied": "GELU, tied", "cifar_small_iid": "GELU, independent", "cifar_small_relu": "ReLU, tied"}


def _kernels(weight: Weight) -> list[Tensor]:
    return [weight.network.tensors()[name][0].detach() for name in ("conv1", "conv2")]


def kernels_along_depth(*weights: Weight) -> Canvas:
    """One entry of conv1 and conv2 against the block."""
    canvas, panels = axes(1, 2, width=7.6, height=2.8)
    for weight, colour in zip(weights, (COLOURS[0], "#aaaaaa", COLOURS[1]), strict=False):
        for ax, values in zip(panels, _kernels(weight), strict=True):
            label = f"{NAMES.get(weight.tag, weight.tag)}, roughness {theory.roughness(values).item():.2f}"
            ax.plot(range(1, len(values) + 1), values[:, 0, 0, 1, 1], "o-", markersize=2.5, color=colour, label=label)
    for i, ax in enumerate(panels, start=1):
        low, high = ax.get_ylim()
        ax.set_ylim(low, high + 0.45 * (high - low))
        ax.set(xlabel="block $k$", title=f"one entry of conv{i} after training")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend(loc="upper right", fontsize=7)
    return canvas


def jumps_of_kernels(*weights: Weight) -> Canvas:
    """Box plots of the jumps over the blocks, tied and independent start."""
    canvas, ax = axes(width=5.2, height=3.0)
    for i, weight in enumerate(weights):
        for j, values in enumerate(_kernels(weight)):
            box = ax.boxplot(
                jumps(values, "frobenius").numpy(),
                positions=[3 * i + j],
                widths=0.7,
                patch_artist=True,
                showfliers=False,
            )
            box["boxes"][0].set(facecolor=COLOURS[j], alpha=0.6)
            box["medians"][0].set(color="black")
    for j in (0, 1):
        ax.plot([], [], "s", color=COLOURS[j], alpha=0.6, label=f"conv{j + 1}")
    ticks = [3 * i + 0.5 for i in range(len(weights))]
    ax.set_xticks(ticks, [NAMES.get(weight.tag, weight.tag) for weight in weights])
    ax.set(yscale="log", ylabel=r"$\|\mathrm{conv}_{k+1} - \mathrm{conv}_k\|_F$", title=_caption(weights))
    for level, name in ((0.08, "tied"), (0.85, "independent")):
        ax.axhline(level, **THEORY | {"linewidth": 0.9, "zorder": 1})
        ax.text(ticks[-1] / 2 + 0.25, level * 1.1, f"paper, {name}", ha="center", va="bottom", fontsize=7)
    ax.set_ylim(bottom=0.03)
    ax.legend(loc="upper left")
    return canvas


def _caption(weights: Sequence[Weight]) -> str:
    given = weights[0].record.arguments
    return f"{weights[0].record.data['name']}, {given['depth']} blocks of {given['channels']} channels"


def of_a_conv_run(run: Run) -> Canvas:
    """One entry of each kernel against the block, the jumps in time, the accuracy."""
    canvas, panels = axes(1, 3, width=9.6, height=2.7)
    for i, values in enumerate(_kernels(run.weight), start=1):
        panels[0].plot(range(1, len(values) + 1), values[:, 0, 0, 1, 1], color=COLOURS[i - 1], label=f"conv{i}")
        jump = run.history[f"jump_{i}"][:, 0]
        seen = ~jump.isnan()
        panels[1].plot(run.history.steps[seen], jump[seen], color=COLOURS[i - 1], label=f"conv{i}")
    for name, label, style in (("accuracy", "training, mean since the last row", "-"), ("val_accuracy", "test", "o")):
        values = run.history[name][:, 0]
        seen = ~values.isnan()
        panels[2].plot(run.history.steps[seen], values[seen], style, markersize=3, label=label)
    panels[0].set(xlabel="block $k$", title="one entry after training")
    panels[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[1].set(xlabel="step", title="mean jump between blocks")
    panels[2].set(xlabel="step", ylim=(0, 1), title=f"accuracy, {run.weight.record.data['name']}")
    for ax in panels:
        ax.legend(fontsize=7)
    return canvas


FIGURES: tuple[Figure, ...] = (
    Figure(
        "jumps_against_depth",
        "The largest jump between layers is O(1/L) at all times; the statistic that the released script plots is O(L^-1/2).",
        "Figure 1, left, and beside it as the label has it",
        jumps_against_depth,
    ),
    Figure(
        "distance_to_the_limit",
        "The distance of trained weights to those of a much deeper net is O(1/L) and grows with training time.",
        "Figure 1, right, to depth 512 against 2048",
        distance_to_the_limit,
    ),
    Figure(
        "jumps_of_a_sweep",
        "Largest jump between layers at the end of training by depth.",
        "Figure 1, left",
        jumps_of_a_sweep,
        sweeps=("finite_time*",),
    ),
    Figure(
        "along_depth",
        "Weights along depth stay smooth in training, while the loss decays exponentially.",
        "Figure 2",
        along_depth,
        weights=(LONG,),
    ),
    Figure(
        "of_a_run",
        "Weights along depth after training, and the loss.",
        "Figure 2",
        of_a_run,
        recipes=("long_time*", "limits*", "finite_time*", "clipped"),
    ),
    Figure(
        "tied_and_independent",
        "From a tied start weights end smooth along depth, from independent layers they do not.",
        "Figure 2, left, with independent layers added",
        tied_and_independent,
        weights=(LONG, IID),
    ),
    Figure(
        "limits_commute",
        "Trained nets of different depths are discretisations of one function of depth, which fits the data.",
        "Theorem 6 (iv)",
        limits_commute,
        weights=DEPTHS,
    ),
    Figure(
        "kernels_along_depth",
        "An entry of each kernel along depth after training on CIFAR-10 (JPEG copy): smooth from a tied start only.",
        "Figure 3 at the size of two cores",
        kernels_along_depth,
        weights=SMALL,
    ),
    Figure(
        "jumps_of_kernels",
        "Jumps of the kernels between blocks after training on CIFAR-10 (JPEG copy), and the paper's levels for 256 blocks.",
        "Figure 4 at the size of two cores",
        jumps_of_kernels,
        weights=SMALL[:2],
    ),
    Figure(
        "of_a_conv_run",
        "An entry of each kernel along depth, the jumps between blocks in training, and the accuracy.",
        "Figures 3 and 4",
        of_a_conv_run,
        recipes=("cifar_*",),
    ),
)
