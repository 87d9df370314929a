"""Figures of the encoder on real text: attention maps (Figure 7), their entropy in training and against the step size (Figure 10)."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.figure import Figure as Canvas

from datamodules.corpus import Vocabulary
from zoo.figures import COLOURS, Figure, axes
from zoo.history import History, Run
from zoo.models.scan_and_snap.text_claims import WEIGHTS
from zoo.models.scan_and_snap.text_network import PostNormEncoder, attention_entropy
from zoo.sweeps import Sweep
from zoo.weights import Weight

# The first 35 words of WikiText-2's validation set, so that the figure needs no data.
WINDOW = (
    "= homarus gammarus = homarus gammarus , known as the european lobster or common lobster , is a species of <unk> "
    "lobster from the eastern atlantic ocean , mediterranean sea and parts of the black"
)


def attention_maps(*weights: Weight) -> Canvas:
    """One window as an untrained network and the trained ones see it, first layer and head."""
    canvas, panels = axes(cols=len(weights) + 1, width=2.6 * (len(weights) + 1) + 0.8, height=3.2)
    words = WINDOW.split()
    networks: list[tuple[str, Any, Weight]] = []
    untrained = PostNormEncoder(**weights[0].record.arguments, generator=torch.Generator().manual_seed(0))
    networks.append(("before training", untrained, weights[0]))
    for weight in weights:
        rate = weight.record.recipe["model"]["init_args"]["lr"]
        networks.append((f"step size {rate:g}, {weight.record.steps:,} steps", weight.network.one(0), weight))
    for panel, (says, network, weight) in zip(panels, networks, strict=True):
        vocabulary = Vocabulary.from_tensor(weight.task["vocabulary"][0])
        with torch.no_grad():
            maps = network.attention(torch.from_numpy(vocabulary.encode(WINDOW)).long()[None])[0, 0, 0]
        image = panel.imshow(maps.numpy(), vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
        panel.set_title(f"{says}\nentropy {attention_entropy(maps).mean():.2f}")
        panel.set_xticks(range(len(words)), words, rotation=90, fontsize=3.5)
        panel.set_yticks(range(len(words)), words, fontsize=3.5)
        panel.set_xlabel("key")
    panels[0].set_ylabel("query")
    canvas.colorbar(image, ax=list(panels), label="attention", shrink=0.75)
    return canvas


def entropy_training(run: Run) -> Canvas:
    """Attention entropy and perplexity during training; the paper's checkpoints are marked."""
    canvas, (left, right) = axes(cols=2, width=7.2, height=3.0)
    history = run.history
    steps, values = rows(history, "entropy")
    left.plot(steps, values, color=COLOURS[0], label="one validation batch")
    left.plot(*rows(history, "val_entropy"), "o", color=COLOURS[1], markersize=4, label="validation set")
    for step in (0, 500, 1000, 1500):
        if step <= steps[-1]:
            left.axvline(step, color="#cccccc", linewidth=0.8, zorder=0)
    left.set(xlabel="optimiser steps", ylabel="attention entropy, nats", ylim=(0, None))
    left.legend()
    for name, label, colour in (("perplexity", "training", COLOURS[0]), ("val_perplexity", "validation", COLOURS[1])):
        marker = "o" if name == "val_perplexity" else None
        right.plot(*rows(history, name), color=colour, label=label, marker=marker, markersize=4)
    right.set(xlabel="optimiser steps", ylabel="perplexity", yscale="log")
    for ticks in (right.yaxis.set_major_formatter, right.yaxis.set_minor_formatter):
        ticks("{x:.0f}")
    right.legend()
    return canvas


def entropy_by_rate(sweep: Sweep) -> Canvas:
    """Validation entropy and perplexity against the step size, mean and standard deviation over seeds."""
    canvas, (left, right) = axes(cols=2, width=7.2, height=3.0)
    key = "model.lr" if "model.lr" in sweep.keys else sweep.keys[0]
    for panel, metric in ((left, "val_entropy"), (right, "val_perplexity")):
        found = {group[0]: values for group, values in sweep.by(metric, key).items()}
        spread = [values.std(correction=0).item() for values in found.values()]
        means = [values.mean().item() for values in found.values()]
        panel.errorbar(list(found), means, spread, color=COLOURS[0], marker="o", markersize=4, capsize=3)
    most = max(len(values) for values in sweep.by("val_entropy", key).values())
    left.set(ylabel="attention entropy, nats", ylim=(0, max(2, left.get_ylim()[1])))  # the paper's axis ends at 2
    left.set_title(f"WikiText validation set, {most} seed{'s' * (most > 1)}")
    right.set(ylabel="validation perplexity")
    for panel in (left, right):
        panel.set_xlabel("step size of SGD" if key == "model.lr" else key)
    return canvas


def rows(history: History, name: str) -> tuple[list[int], list[float]]:
    """Steps at which a metric was measured, and its values."""
    values = history[name][:, 0]
    known = ~values.isnan()
    return history.steps[known].tolist(), values[known].tolist()


TEXT_FIGURES: tuple[Figure, ...] = (
    Figure(
        "attention_maps",
        "Attention of every word of a window to itself and those before it, before and after training with three step sizes.",
        "Figure 7, at the end of training",
        attention_maps,
        weights=WEIGHTS,
    ),
    Figure(
        "entropy_training",
        "Attention entropy and perplexity during training; vertical lines are the checkpoints of Figure 7.",
        "Figure 7, as an entropy",
        entropy_training,
        recipes=("wikitext*",),
    ),
    Figure(
        "entropy_by_rate",
        "Mean attention entropy on the validation set against the step size of SGD, with the perplexity beside it.",
        "Figure 10",
        entropy_by_rate,
        sweeps=("wikitext*",),
    ),
)
