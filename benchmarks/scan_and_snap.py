"""Speed of Syn-Medium: the zoo's ten seeds side by side against plain PyTorch loops, one seed after the other.

    python benchmarks/scan_and_snap.py            # about 2 minutes on two cores; --quick for 20 seconds

3 and 10 queries, two next tokens each, batches of 128 sequences of 128 tokens, SGD with momentum and a step size for
each matrix, in one thread. The alternatives:

    one-hot   the context as one-hot rows, attention logits and output by batched matrix products over the vocabulary
    gather    logits gathered by token number, output scattered (`OneLayerTransformer.forward`)
    counts    this system's loss, which needs only how often each token stands in the context, in the same bare loop

One-hot and gather draw their sequences with torch.multinomial, one call a class and step; counts and the zoo draw with
SequenceClassesData. All draw fresh data at every step and keep no history but the zoo's. Each number is the best of
several rounds, taken in turn so that a change in the machine's load meets all of them.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import lightning.pytorch as L
import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules.sequence_classes import SequenceClassesData
from datamodules.stream import generator
from zoo.cli.train import keep_big_buffers, quiet_lightning
from zoo.models.scan_and_snap.module import ScanAndSnap
from zoo.models.scan_and_snap.network import OneLayerTransformer

SEEDS, STEPS, ETA_Z, RATIO = 10, 100, 1.0, 2.0


def sequences(data: SequenceClassesData, task: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """One batch of tokens (b, t) and targets (b,)."""
    classes = torch.randint(data.classes, (data.batch_size,)).sort().values
    context = [
        torch.multinomial(task["P"][n], count * (data.length - 1), replacement=True).view(count, -1)
        for n, count in enumerate(torch.bincount(classes, minlength=data.classes).tolist())
        if count
    ]
    return torch.cat([torch.cat(context), task["psi"][classes, None]], 1), task["next"][classes]


def one_hot(network: OneLayerTransformer, tokens: Tensor) -> Tensor:
    """The logits of the network by matrix products over the vocabulary only."""
    rows = F.one_hot(tokens, network.vocabulary).to(network.Z.dtype)  # (b, t, v)
    X, query = rows[:, :-1], rows[:, -1]
    weights = (X @ (query @ network.Z)[..., None]).softmax(1)  # (b, t-1, 1)
    return network.decode((X.mT @ weights)[..., 0], tokens[:, -1])


def loop(kind: str) -> Callable[[SequenceClassesData, int], None]:
    def train(data: SequenceClassesData, seeds: int) -> None:
        task = data.task(0)
        for seed in range(seeds):
            network = OneLayerTransformer(vocabulary=data.vocabulary, generator=generator("benchmark", seed))
            optimisers = [
                torch.optim.SGD([matrix], lr=rate, momentum=0.9)
                for matrix, rate in ((network.Y, RATIO * ETA_Z), (network.Z, ETA_Z))
            ]
            for step in range(STEPS):
                if kind == "counts":
                    batch = {name: leaf[0] for name, leaf in data.batches(seed, step, step + 1, 0, 1).items()}
                    logits, target = network.from_counts(batch["counts"], batch["query"]), batch["target"]
                else:
                    tokens, target = sequences(data, task)
                    logits = one_hot(network, tokens) if kind == "one-hot" else network(tokens)
                loss = F.cross_entropy(logits, target)
                for optimiser in optimisers:
                    optimiser.zero_grad()
                loss.backward()
                for optimiser in optimisers:
                    optimiser.step()

    return train


def zoo(data: SequenceClassesData, seeds: int) -> None:
    """The recipe syn_medium, start of Lightning and tracing included."""
    module = ScanAndSnap(eta_z=ETA_Z, ratio=RATIO, start="random", replicas=seeds, log_every=20)
    trainer = L.Trainer(
        max_steps=STEPS,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    trainer.fit(module, data)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--quick", action="store_true", help="one round, one seed of each loop")
    quick = options.parse_args().quick
    torch.set_num_threads(1)
    keep_big_buffers()
    quiet_lightning()
    warnings.simplefilter("ignore")
    programs = {name: (loop(name), 1 if quick else 3) for name in ("one-hot", "gather", "counts")}
    programs["zoo, ten seeds"] = (zoo, SEEDS)
    print(f"{'':18}{'queries':>8}{'v':>5}{'replica-steps/s':>17}{'ten seeds, s':>14}{'x one-hot':>11}{'x gather':>10}")
    for queries in (3, 10):
        best = dict.fromkeys(programs, 0.0)
        for round in range(1 if quick else 4):
            for name, (program, seeds) in programs.items():
                data = SequenceClassesData(num_last=queries, num_next_per_last=2, seed=round)
                start = time.perf_counter()
                program(data, seeds)
                best[name] = max(best[name], seeds * STEPS / (time.perf_counter() - start))
        for name, rate in best.items():
            ratios = rate / best["one-hot"], rate / best["gather"]
            print(
                f"{name:18}{queries:8}{data.vocabulary:5}{rate:17,.0f}{SEEDS * STEPS / rate:14.2f}"
                f"{ratios[0]:11.1f}{ratios[1]:10.1f}"
            )


if __name__ == "__main__":
    main()
