"""Figures of the attention-only layer on text: language models beside n-gram models, next-word laws against their bounds."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.figure import Figure as Canvas

from zoo.figures import COLOURS, THEORY, Figure, axes
from zoo.history import History, Run
from zoo.models.attention_memorizer.context_laws import construct, laws
from zoo.models.attention_memorizer.network import AttentionOnly
from zoo.models.attention_memorizer.text_claims import LAWS_WEIGHTS, law_divergence, refined
from zoo.models.attention_memorizer.theory import capacity, divergence
from zoo.weights import Weight

NAMES = {
    "unigram_perplexity": "add-k unigram",
    "bigram_perplexity": "add-k bigram",
    "trigram_perplexity": "add-k trigram",
    "kneser_ney_perplexity": "Kneser-Ney trigram",
    "floor_perplexity": "exact floor",
}


def language(run: Run) -> Canvas:
    """Perplexity during training, with the n-gram models or the exact entropies as lines."""
    canvas, ax = axes(width=4.8, height=3.4)
    history = run.history
    for name, label, colour in (("perplexity", "training", COLOURS[0]), ("val_perplexity", "validation", COLOURS[1])):
        steps, values = _rows(history, name)
        ax.plot(steps, values, color=colour, label=label, marker="." if name == "val_perplexity" else None)
    exact = "floor_perplexity" in history.metrics
    shades = iter(COLOURS[2:])
    for name in NAMES:
        if name in history.metrics:
            label = NAMES[name].replace("add-k ", "exact " if exact else "add-k ")
            style: dict[str, Any] = {"color": next(shades), "linewidth": 1, "linestyle": ":"}
            level = history.last(name).mean().item()
            ax.axhline(level, label=f"{label}, {level:.4g}", **(THEORY if name == "floor_perplexity" else style))
    top = max(history.last(name).mean().item() for name in NAMES if name in history.metrics)
    ax.set(xlabel="optimiser steps", ylabel="perplexity", yscale="log", ylim=(None, 2 * top))
    ax.legend(frameon=True, framealpha=1, edgecolor="none")
    return canvas


def laws_training(run: Run) -> Canvas:
    """Divergence during training, the construction with as many heads, the best of rank d."""
    canvas, ax = axes(width=4.4, height=3.2)
    history = run.history
    steps, values = _rows(history, "divergence")
    heads = run.weight.record.arguments["heads"]
    ax.plot(steps, values, color=COLOURS[0], label=f"trained, H = {heads}")
    constructed, best = (history.last(name).mean().item() for name in ("constructed", "best_rank"))
    ax.axhline(constructed, color=COLOURS[1], linewidth=1, label=f"constructed, H = {heads}")
    ax.axhline(best, label=f"best of rank {run.weight.record.arguments['dim']}", **THEORY)
    ax.set(xlabel="optimiser steps", ylabel="KL(text, network), nats", yscale="log")
    ax.legend()
    return canvas


def laws_capacity(*weights: Weight) -> Canvas:
    """Divergence from the laws of WikiText-2 against heads: trained, constructed, the best of rank d."""
    canvas, ax = axes(width=4.8, height=3.4)
    *trained, built = weights
    task = {name: leaf[0] for name, leaf in built.task.items()}
    law, frequency = laws(task)
    contexts = task["contexts"]
    n, v = len(contexts), law.shape[1]
    d, k = (built.record.arguments[name] for name in ("dim", "head_dim"))
    encoder = refined(built)
    most = built.record.arguments["heads"]
    heads = sorted({*range(1, most + 5, 3), most})
    line = []
    for h in heads:
        network = AttentionOnly(vocabulary=v, context=contexts.shape[1], dim=d, heads=h, head_dim=k).double()
        key = torch.Generator().manual_seed(h)
        network.load_state_dict(construct(law, frequency, contexts, encoder, h, k, key, iterations=60))
        with torch.no_grad():
            line.append(divergence(law, network(contexts), frequency).item())
    ax.plot(heads, line, color=COLOURS[1], label="constructed (random attention, best output map)")
    found = [law_divergence(weight) for weight in trained]
    places = [weight.record.arguments["heads"] for weight in trained]
    ax.plot(places, found, "o", color=COLOURS[0], markersize=5, label="trained")
    ax.axhline(encoder.divergence, label=f"best of rank {d} (Proposition 1)", **THEORY)
    crossing = next(h for h in range(1, most + 5) if capacity(h, k, d) >= n)
    ax.axvline(crossing, color="#dd8822", linewidth=1, label=f"H d_h + d = {n} contexts (Theorem 1)")
    ax.set(
        xlabel="heads H",
        ylabel="KL(text, network), nats",
        title=f"N = {v}, d = {d}, d_h = {k}",
        ylim=(0, 1.35 * line[0]),
    )
    ax.legend(loc="upper right", frameon=True, framealpha=1, edgecolor="none")
    return canvas


def _rows(history: History, name: str) -> tuple[list[int], list[float]]:
    """Steps at which a metric was measured, and its mean over replicas."""
    values = history[name].nanmean(1)
    known = ~values.isnan()
    return history.steps[known].tolist(), values[known].tolist()


LANGUAGE_FIGURES: tuple[Figure, ...] = (
    Figure(
        "perplexity",
        "Perplexity of the attention-only language model during training, beside n-gram models on the same tokens.",
        "drawn here",
        language,
        recipes=("wikitext2", "wikitext103*", "markov*"),
    ),
)

LAWS_FIGURES: tuple[Figure, ...] = (
    Figure(
        "text_laws",
        "Divergence from the next-word laws of 320 contexts of WikiText-2 as H d_h + d crosses their number.",
        "Theorem 1 on real text, drawn here",
        laws_capacity,
        weights=(*LAWS_WEIGHTS, "wikitext2_laws_constructed"),
    ),
    Figure(
        "text_laws_training",
        "Divergence from the laws during training, with the construction and the bound of the same rank.",
        "Theorem 1 and Proposition 1 on real text, drawn here",
        laws_training,
        recipes=("wikitext2_laws*",),
    ),
)
