"""Speed of single-location SGD: the zoo's chunks of stacked replicas against plain Lightning and a bare PyTorch loop.

    python benchmarks/single_location.py            # about 5 minutes on two cores; --quick for 1 minute without
        compiling

d = 80, L = 10 tokens, batches of 5, 30 replicas, each with its own k*, v* and its own stream of fresh samples. All
programs make the same update (projected SGD with the paper's schedule), in one thread each. The alternatives train
one replica at a time, so their steps per second are their replica-steps per second. Each number is the best of
several rounds, taken in turn so that a change in the machine's load meets all of them; starting and compiling are
left out, compiling is told apart.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from datamodules.single_location import SingleLocationData
from zoo.cli.train import keep_big_buffers, quiet_lightning
from zoo.models.single_location.module import ProjectedDescent, SampleSGD, SpanSGD
from zoo.models.single_location.network import SingleLocation
from zoo.models.single_location.theory import Law, random_directions

LAW, BATCH, REPLICAS = Law(80), 5, 30
LAM, DECAY, STEP_SIZE = 2.0, 1e-4, 1e-3


def draw(k_star: Tensor, v_star: Tensor) -> tuple[Tensor, Tensor]:
    """One batch of full samples."""
    X = torch.randn(BATCH, LAW.length, LAW.d)
    X[:, 0] *= LAW.gamma
    y = X[:, 0] @ v_star + LAW.noise * torch.randn(BATCH)
    X[:, 0] += LAW.s * k_star
    return X, y


def directions() -> tuple[Tensor, Tensor]:
    k_star, v_star = random_directions(LAW.d, torch.Generator().manual_seed(0))
    return k_star.float(), v_star.float()


# Plain Lightning, one replica.


class Samples(IterableDataset):
    """Whole batches, which is kinder to the DataLoader than single samples."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        k_star, v_star = directions()
        while True:
            yield draw(k_star, v_star)


class Plain(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = SingleLocation(d=LAW.d, lam=LAM)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        X, y = batch
        self.network.lam = LAM / (1 + DECAY * batch_idx)
        loss = ((self.network(X) - y) ** 2).mean()
        self.log("loss", loss)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        for direction in (self.network.k, self.network.v):
            direction.grad -= (direction.grad @ direction.data) * direction.data

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        for direction in (self.network.k, self.network.v):
            direction.data /= direction.data.norm()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=STEP_SIZE)


class Clock(Callback):
    """Optimiser steps per second after the first `skip` steps."""

    def __init__(self, skip: int) -> None:
        self.skip = skip
        self.start = (0, 0.0)
        self.began = time.perf_counter()
        self.warm_up = self.rate = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        now, step = time.perf_counter(), trainer.global_step
        if step >= self.skip and not self.start[0]:
            self.start, self.warm_up = (step, now), now - self.began
        elif self.start[0]:
            self.rate = (step - self.start[0]) / (now - self.start[1])


def plain_lightning(steps: int) -> float:
    clock = Clock(skip=100)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        trainer = L.Trainer(
            max_steps=steps, max_epochs=-1, default_root_dir=folder, callbacks=[clock], accelerator="cpu"
        )
        trainer.fit(Plain(), DataLoader(Samples(), batch_size=None))
    return clock.rate


# A bare loop, one replica.


def bare_loop(steps: int) -> float:
    k_star, v_star = directions()
    network = SingleLocation(d=LAW.d, lam=LAM)
    parameters = [network.k, network.v]
    start = 0.0
    for step in range(steps + 100):
        if step == 100:
            start = time.perf_counter()
        X, y = draw(k_star, v_star)
        network.lam = LAM / (1 + DECAY * step)
        loss = ((network(X) - y) ** 2).mean()
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for direction, gradient in zip(parameters, gradients, strict=True):
                direction -= STEP_SIZE * (gradient - (gradient @ direction) * direction)
                direction /= direction.norm()
    return steps / (time.perf_counter() - start)


# The zoo, all replicas at once.


def zoo(cls: type[ProjectedDescent], sampler: str, compile: bool) -> Callable[[int], tuple[float, float]]:
    def rate(steps: int) -> tuple[float, float]:
        """Replica-steps per second, and the seconds before the first ones (compiling)."""
        module = cls(
            d=LAW.d, lam=LAM, decay=DECAY, step_size=STEP_SIZE, replicas=REPLICAS, log_every=512, compile=compile
        )
        data = SingleLocationData(d=LAW.d, batch_size=BATCH, sampler=sampler)
        clock = Clock(skip=256)
        trainer = L.Trainer(
            max_steps=steps,
            max_epochs=-1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[clock],
            accelerator="cpu",
        )
        trainer.fit(module, data)
        return clock.rate * REPLICAS, clock.warm_up

    return rate


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--quick", action="store_true", help="one short round, nothing compiled")
    quick = options.parse_args().quick
    torch.set_num_threads(1)
    keep_big_buffers()
    quiet_lightning()
    warnings.simplefilter("ignore")
    rounds, scale = (1, 1) if quick else (3, 4)
    ours = {
        "zoo, span sampler": (zoo(SpanSGD, "span", False), 2048),
        "zoo, full sampler": (zoo(SampleSGD, "full", False), 1024),
        "zoo, span sampler, compiled": (zoo(SpanSGD, "span", True), 8192),
        "zoo, full sampler, compiled": (zoo(SampleSGD, "full", True), 1024),
    }
    if quick:
        ours = {name: run for name, run in ours.items() if "compiled" not in name}
    best = dict.fromkeys(["plain Lightning", "bare loop", *ours], 0.0)
    compiling: dict[str, float] = {}
    for _ in range(rounds):
        best["plain Lightning"] = max(best["plain Lightning"], plain_lightning(500 * scale))
        best["bare loop"] = max(best["bare loop"], bare_loop(1_500 * scale))
        for name, (run, steps) in ours.items():
            rate, seconds = run(steps * scale)
            best[name] = max(best[name], rate)
            if "compiled" in name:
                compiling[name] = max(compiling.get(name, 0.0), seconds)
    print(
        f"{'d=80, L=10, batch 5':32}{'replica-steps/s':>16}{'x Lightning':>13}{'x bare loop':>13}{'compiling, s':>14}"
    )
    for name, rate in best.items():
        ratios = rate / best["plain Lightning"], rate / best["bare loop"]
        seconds = f"{compiling[name]:.0f}" if name in compiling else ""
        print(f"{name:32}{rate:16,.0f}{ratios[0]:13.1f}{ratios[1]:13.1f}{seconds:>14}")


if __name__ == "__main__":
    main()
