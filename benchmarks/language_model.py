"""Tokens a second of the language model's training on WikiText-2, against a hand-written eager loop in the same run.

    python benchmarks/language_model.py [--threads 1] [--steps 24] [--rounds 3]

Vocabulary 10,000, d = 128, 2 layers, 4 heads of 32, context 64, batch 32, tied embedding, AdamW. The alternative is what one
writes by hand: eager float32, `scaled_dot_product_attention`, `F.cross_entropy` on all logits, PyTorch's default AdamW. Ours is
`LanguageModel` under Lightning's trainer, data and logging included. All start from the same parameters and see the same
batches, so the last column shows how far the losses drift apart. Before and after each of our rows the alternative runs
again; the ratio is taken to those two neighbours, as a busy machine changes its speed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from typing import Any

import lightning.pytorch as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from datamodules.markov_text import MarkovTextData
from datamodules.stream import StreamData, generator
from datamodules.wikitext import WikiTextData
from zoo.cli.train import keep_big_buffers, quiet_lightning
from zoo.models.attention_memorizer.language_model import LanguageModel

SHAPE = {"vocabulary": 10_000, "context": 64, "dim": 128, "heads": 4, "head_dim": 32, "layers": 2, "tied": True}
BATCH, CHUNK, RATE = 32, 4, 1e-3


class HandWritten(nn.Module):
    """The same network in the way of a tutorial."""

    def __init__(self, parameters: dict[str, Tensor]):
        super().__init__()
        self.token = nn.Parameter(parameters["embedding"].clone())
        self.position = nn.Parameter(parameters["position"].clone())
        self.maps = nn.ModuleList()
        for layer in range(SHAPE["layers"]):
            maps = nn.ModuleDict()
            for name in ("query", "key", "value"):
                maps[name] = linear(parameters[name][layer].flatten(0, 1))
            maps["out"] = linear(parameters["out"][layer].transpose(0, 1).flatten(1))
            self.maps.append(maps)

    def forward(self, tokens: Tensor) -> Tensor:
        x = F.embedding(tokens, self.token) + self.position
        for layer in self.maps:
            q, k, v = (
                layer[name](x).unflatten(-1, (SHAPE["heads"], -1)).transpose(1, 2) for name in ("query", "key", "value")
            )
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)
            x = x + layer["out"](y.transpose(1, 2).flatten(2))
        return x @ self.token.T


def linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = nn.Parameter(weight.clone())
    return layer


def make_data() -> StreamData:
    cache = os.path.join(tempfile.gettempdir(), "theorem-zoo-benchmark")
    if os.path.isdir(os.path.join(os.environ.get("ZOO_DATA", ""), "wikitext-2")):
        return WikiTextData(vocabulary=SHAPE["vocabulary"], batch_size=BATCH, cache=cache)
    print("no wikitext-2 in $ZOO_DATA: Markov text of the same sizes")
    return MarkovTextData(vocabulary=SHAPE["vocabulary"], batch_size=BATCH)


def ours(steps: int, **options: Any) -> tuple[float, float]:
    """Tokens a second (median over chunks) and the last loss."""
    module, clock = (
        LanguageModel(**SHAPE, lr=RATE, lr_end=RATE, warmup=1, chunk=CHUNK, log_every=steps, **options),
        Clock(),
    )
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
    )
    trainer.fit(module, make_data())
    return CHUNK * BATCH * SHAPE["context"] / clock.median(), module.history["loss"][-1].item()


class Clock(Callback):
    """Seconds of each chunk but the first, in which a step is compiled."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.times.append(time.perf_counter())

    def median(self) -> float:
        return statistics.median(b - a for a, b in zip(self.times, self.times[1:], strict=False))


def hand_written(steps: int) -> tuple[float, float]:
    """The same numbers for the alternative: mean loss over the same steps."""
    start = LanguageModel(**SHAPE).build(generator("attention_memorizer", 0, "init", 0), {})
    network = HandWritten(dict(start.named_parameters()))
    optimiser = torch.optim.AdamW(network.parameters(), RATE, betas=(0.9, 0.95), weight_decay=0.01)
    data, losses, times = make_data(), [], []
    for step in range(steps):
        if step % CHUNK == 0:
            batches = data.batches(0, step, step + CHUNK, 0, 1)
        tokens, targets = (batches[name][step % CHUNK] for name in ("tokens", "targets"))
        begin = time.perf_counter()
        loss = F.cross_entropy(network(tokens).flatten(0, 1), targets.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        times.append(time.perf_counter() - begin)
    return BATCH * SHAPE["context"] / statistics.median(times[1:]), statistics.mean(losses)


VARIANTS: dict[str, dict[str, Any]] = {
    "ours, float32": {},
    "ours, bfloat16 output layer": {"bfloat16": True},
    "ours, float32, compiled": {"compile": True},
    "ours, bfloat16, compiled": {"bfloat16": True, "compile": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=24, help="optimiser steps of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    quiet_lightning()
    torch.set_num_threads(options.threads)
    LanguageModel.threads = options.threads
    print(f"{'':58s}{'tokens/s':>10s}{'ratio':>8s}{'loss - loss by hand':>22s}")
    for allocator in ("", ", allocator of zoo train"):
        if allocator:
            keep_big_buffers()
        speeds, ratios, drifts = measure(options.steps, options.rounds)
        for name, speed in speeds.items():
            print(f"{name + allocator:58s}{speed:10.0f}{ratios[name]:8.2f}{drifts[name]:22.1e}")


def measure(steps: int, rounds: int) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Medians over rounds."""
    alternative = "by hand, eager float32"
    speeds: dict[str, list[float]] = {name: [] for name in (alternative, *VARIANTS)}
    ratios: dict[str, list[float]] = {name: [] for name in speeds}
    drifts: dict[str, list[float]] = {name: [] for name in speeds}
    before, expected = hand_written(steps)
    for _ in range(rounds):
        for name, variant in VARIANTS.items():
            speed, loss = ours(steps, **variant)
            after, _ = hand_written(steps)
            speeds[name].append(speed)
            ratios[name].append(speed / ((before + after) / 2))
            drifts[name].append(loss - expected)
            speeds[alternative].append(after)
            before = after
    ratios[alternative], drifts[alternative] = [1.0], [0.0]
    return tuple({name: statistics.median(v) for name, v in part.items()} for part in (speeds, ratios, drifts))  # type: ignore[return-value]


if __name__ == "__main__":
    main()
