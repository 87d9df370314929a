"""Speed of experiment 1: five stacked replicas of the zoo against plain Lightning and a bare PyTorch loop.

    python benchmarks/attention_memorizer.py            # about 3 minutes on two cores; --quick: 1 minute, no compiling

A table of 50 x 50 contexts, d = d_h = 10, H = 16, batches of 256 from a sample of 16,384, Adam. The alternatives
train one replica of the same network by its general forward pass, so their steps per second are their replica-steps
per second. One thread each; each number is the best of several rounds, taken in turn so that a change in the machine's
load meets all of them. Starting and compiling are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from collections.abc import Callable

import lightning.pytorch as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from datamodules.lookup_table import LookupTableData
from zoo.cli.train import keep_big_buffers, quiet_lightning
from zoo.models.attention_memorizer.module import Memorizer
from zoo.models.attention_memorizer.network import AttentionOnly

HEADS, BATCH, REPLICAS = 16, 256, 5


def network() -> AttentionOnly:
    generator = torch.Generator().manual_seed(0)
    return AttentionOnly(vocabulary=50, context=2, dim=10, heads=HEADS, head_dim=10, generator=generator)


def sample() -> tuple[Tensor, Tensor]:
    """Contexts (n, 2) and next tokens (n,)."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randint(50, (50, 50), generator=generator)
    tokens = torch.randint(50, (64 * BATCH, 2), generator=generator)
    return tokens, table[tokens[:, 0], tokens[:, 1]]


# Plain Lightning, one replica.


class Plain(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        tokens, target = batch
        logits = self.network(tokens)
        loss = F.cross_entropy(logits, target)
        self.log("loss", loss)
        self.log("accuracy", (logits.argmax(-1) == target).float().mean())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Clock(Callback):
    """Optimiser steps per second after the first `skip` steps."""

    def __init__(self, skip: int) -> None:
        self.skip = skip
        self.start = (0, 0.0)
        self.rate = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        now, step = time.perf_counter(), trainer.global_step
        if step >= self.skip and not self.start[0]:
            self.start = (step, now)
        elif self.start[0]:
            self.rate = (step - self.start[0]) / (now - self.start[1])


def plain_lightning(steps: int) -> float:
    clock = Clock(skip=64)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        trainer = L.Trainer(
            max_steps=steps + 64, max_epochs=-1, default_root_dir=folder, callbacks=[clock], accelerator="cpu"
        )
        trainer.fit(Plain(), DataLoader(TensorDataset(*sample()), batch_size=BATCH, shuffle=True))
    return clock.rate


# A bare loop, one replica.


def bare_loop(steps: int) -> float:
    one, (tokens, target) = network(), sample()
    optimiser = torch.optim.Adam(one.parameters(), lr=0.01)
    start, order = 0.0, torch.empty(0)
    for step in range(steps + 64):
        if step == 64:
            start = time.perf_counter()
        if step % 64 == 0:
            order = torch.randperm(len(tokens)).view(64, BATCH)
        rows = order[step % 64]
        loss = F.cross_entropy(one(tokens[rows]), target[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return steps / (time.perf_counter() - start)


# The zoo, all replicas at once.


class Zoo:
    """Training steps of the zoo's module, continued from round to round so that it is traced or compiled once."""

    def __init__(self, compile: bool) -> None:
        self.module = Memorizer(heads=HEADS, replicas=REPLICAS, compile=compile)
        self.data = LookupTableData(batch_size=BATCH)

    def __call__(self, steps: int) -> float:
        """Replica-steps per second, data, optimiser, schedule, measurement and Lightning's loop included."""
        clock = Clock(skip=128)
        trainer = L.Trainer(
            max_steps=steps + 128,
            max_epochs=-1,
            callbacks=[clock],
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(self.module, self.data)
        return clock.rate * REPLICAS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without the compiled program, fewer rounds")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    keep_big_buffers()
    quiet_lightning()
    programs: dict[str, Callable[[int], float]] = {
        "plain Lightning": plain_lightning,
        "bare loop": bare_loop,
        "zoo, uncompiled": Zoo(compile=False),
    }
    if not quick:
        programs["zoo, compiled"] = Zoo(compile=True)
    rates = dict.fromkeys(programs, 0.0)
    for _ in range(3 if quick else 6):
        for name, program in programs.items():
            rates[name] = max(rates[name], program(640))
    for name, rate in rates.items():
        ratios = (
            f"{rate / rates['plain Lightning']:5.1f} x plain Lightning {rate / rates['bare loop']:5.1f} x bare loop"
        )
        print(f"{name:16} {rate:6.0f} replica-steps/s  {ratios}")


if __name__ == "__main__":
    main()
