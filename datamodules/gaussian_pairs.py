"""Pairs of independent Gaussian vectors, one fixed sample: a net that fits them can only interpolate.

Marion, Wu, Sander, Biau, "Implicit regularization of deep residual networks towards neural ODEs" (ICLR 2024).
Shapes: n samples, d numbers each.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.stream import Batch, StreamData, generator


class Script(NamedTuple):
    """What a script of the paper draws: torch.manual_seed(seed), W (16, hidden), `between` more numbers, x, y (n, 16)."""

    seed: int
    hidden: int
    between: int
    n: int


SCRIPTS = {
    "figure_1_left": Script(2, 32, 0, 100),
    "figure_1_right": Script(0, 32, 0, 100),
    "figure_2": Script(0, 64, 256, 50),  # the 256 are a matrix that is not used
}


def released(name: str) -> tuple[Tensor, Tensor, Tensor]:
    """W (hidden, 16), x (n, 16) and y (n, 16) as a released script draws them on a CPU."""
    script = SCRIPTS[name]
    stream = torch.Generator().manual_seed(script.seed)
    inner = torch.randn(16, script.hidden, generator=stream)
    if script.between:
        torch.randn(16, script.between // 16, generator=stream)
    x, y = (torch.randn(script.n, 16, generator=stream) for _ in range(2))
    return inner.T.contiguous(), x, y


class GaussianPairsData(StreamData):
    """Full batch: x_i and y_i independent, N(0, I).

    Args:
        n: pairs. dim: d, of both.
        draws: "fresh", or a released script's own: "figure_1_left", "figure_1_right", "figure_2", which fix n and d and
            the network's first inner matrix.
        shared: one sample for all replicas.
        seed: of fresh pairs.
        steps_per_epoch: optimiser steps that Lightning calls one epoch.

    Task: x (n, d), y (n, d), and with a script's draws inner (hidden, d).

    Raises:
        ValueError: a count below one, unknown draws, or sizes that are not the script's.
    """

    block = 1000

    def __init__(
        self,
        *,
        n: int = 50,
        dim: int = 16,
        draws: str = "fresh",
        shared: bool = True,
        seed: int = 0,
        steps_per_epoch: int = 1000,
    ) -> None:
        super().__init__(seed=seed, steps_per_epoch=steps_per_epoch)
        if n < 1 or dim < 1:
            raise ValueError(f"n={n} and dim={dim} must be at least 1")
        if draws != "fresh" and draws not in SCRIPTS:
            raise ValueError(f"draws={draws!r}: choose one of fresh, {', '.join(SCRIPTS)}")
        if draws != "fresh" and (n, dim) != (SCRIPTS[draws].n, 16):
            raise ValueError(f"draws={draws!r} has n={SCRIPTS[draws].n} and dim=16")
        self.n, self.dim, self.draws, self.shared = n, dim, draws, shared

    def task(self, replica: int) -> Batch:
        if self.draws != "fresh":
            return dict(zip(("inner", "x", "y"), released(self.draws), strict=True))
        stream = generator("GaussianPairsData", self.seed, 0 if self.shared else replica)
        x, y = torch.randn(2, self.n, self.dim, generator=stream)
        return {"x": x, "y": y}

    def draw(self, generator: torch.Generator, steps: int, task: Batch) -> Batch:
        """Nothing: the whole sample is in the task."""
        return {}
