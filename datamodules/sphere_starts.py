"""Tokens on the sphere: starts of self-attention dynamics, and noisy clusters to denoise.

Geshkovski, Koubbi, Polyanskiy, Rigollet, "Dynamic metastability in the self-attention model" (arXiv 2410.06833) and
the authors' code for the two fixed starts; the denoising task is not the paper's.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from datamodules.stream import Batch, StreamData, generator

# kinetic.py and staircase.py of the authors' code
KINETIC = (
    (0.99806638, 0.06215705),
    (0.97712061, 0.21268594),
    (-0.24578194, 0.96932515),
    (-0.97354734, 0.2284854),
    (-0.99892629, -0.04632772),
)
STAIRCASE = tuple(angle / 2 * math.log(2000) / math.sqrt(2000) for angle in (0, 0.5, 2, 4, 7))
STARTS = ("uniform", "orthonormal", "caps", "kinetic", "staircase")


def uniform(n: int, d: int, generator: torch.Generator) -> Tensor:
    """Independent uniform points of the sphere (n, d), float64."""
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return x / x.norm(dim=-1, keepdim=True)


def centres(k: int, d: int) -> Tensor:
    """k points of the sphere (k, d), as far apart as they can be: a regular polygon if d = 2, else a simplex.

    Raises:
        ValueError: more than d + 1 points with d > 2.
    """
    if d == 2:
        angles = 2 * math.pi * torch.arange(k, dtype=torch.float64) / k
        return torch.stack([angles.cos(), angles.sin()], -1)
    if k > d + 1:
        raise ValueError(f"there are at most d + 1 = {d + 1} equally separated caps in dimension {d}, not {k}")
    simplex = torch.eye(k, dtype=torch.float64) - 1 / k  # of rank k - 1
    basis = torch.linalg.qr(simplex[:, : k - 1])[0]
    points = torch.zeros(k, d, dtype=torch.float64)
    points[:, : k - 1] = basis
    return points / points.norm(dim=-1, keepdim=True)


def in_caps(n: int, around: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    """n tokens (n, d), token i in the cap {<x, w> >= 1 - eps} of centre i mod k, at a uniform height 1 - eps … 1."""
    k, d = around.shape
    w = around[torch.arange(n) % k]
    height = 1 - eps * torch.rand(n, 1, generator=generator, dtype=torch.float64)
    side = torch.randn(n, d, generator=generator, dtype=torch.float64)
    side = side - (side * w).sum(-1, keepdim=True) * w
    return height * w + (1 - height**2).sqrt() * side / side.norm(dim=-1, keepdim=True)


class SphereStartsData(StreamData):
    """Starts of a flow; there are no batches. Replica r is system r // len(betas) at temperature betas[r % len(betas)].

    All temperatures of one system have the same start.

    Args:
        n: tokens.
        d: dimension.
        start: "uniform"; "orthonormal", n <= d; "caps", around `caps` separated centres; "kinetic" and "staircase", the
            authors' five points of the circle.
        beta: inverse temperature, or several.
        betas: if positive, this many equally spaced temperatures from the first to the last of `beta`.
        caps: number of caps.
        eps: their size, {<x, w> >= 1 - eps}.
        seed: of the starts.
        steps_per_epoch: time steps that Lightning calls one epoch.

    Raises:
        ValueError: an unknown start, or one that n and d do not allow.

    Task: "start" (n, d), "beta" and "system" (scalars).
    """

    def __init__(
        self,
        *,
        n: int = 5,
        d: int = 2,
        start: str = "uniform",
        beta: float | list[float] = 1.0,
        betas: int = 0,
        caps: int = 2,
        eps: float = 0.02,
        seed: int = 0,
        steps_per_epoch: int = 1000,
    ) -> None:
        super().__init__(seed=seed, steps_per_epoch=steps_per_epoch)
        if start not in STARTS:
            raise ValueError(f"start={start!r}: choose one of {', '.join(STARTS)}")
        if start in ("kinetic", "staircase") and (n, d) != (5, 2):
            raise ValueError(f"start={start!r} is five points of the circle: set n=5 and d=2, not n={n} and d={d}")
        if start == "orthonormal" and n > d:
            raise ValueError(f"there are no n={n} orthonormal vectors in dimension d={d}")
        if start == "caps":
            centres(caps, d)
        given = beta if isinstance(beta, list) else [beta]
        self.betas = torch.tensor(given, dtype=torch.float64)
        if betas:
            self.betas = torch.linspace(given[0], given[-1], betas, dtype=torch.float64)
        self.n, self.d, self.start, self.caps, self.eps = n, d, start, caps, eps

    def points(self, system: int) -> Tensor:
        """Start of one system, (n, d) float64."""
        if self.start == "kinetic":
            x = torch.tensor(KINETIC, dtype=torch.float64)
            return x / x.norm(dim=-1, keepdim=True)
        if self.start == "staircase":
            angles = torch.tensor(STAIRCASE, dtype=torch.float64)
            return torch.stack([angles.cos(), angles.sin()], -1)
        if self.start == "orthonormal":
            return torch.eye(self.n, self.d, dtype=torch.float64)
        key = generator(type(self).__name__, self.seed, "task", system)
        if self.start == "caps":
            return in_caps(self.n, centres(self.caps, self.d), self.eps, key)
        return uniform(self.n, self.d, key)

    def task(self, replica: int) -> Batch:
        system, temperature = divmod(replica, len(self.betas))
        return {"start": self.points(system), "beta": self.betas[temperature], "system": torch.tensor(system)}

    def batches(self, replica: int, start: int, stop: int, rank: int, world: int) -> Batch:
        """Nothing: the flow needs no data."""
        return {}


# Denoising.


def heights(d: int, kappa: float, nodes: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Midpoints of a grid of <x, c> in (-1, 1) and their probabilities, for x of von Mises-Fisher law around c."""
    angle = (np.arange(nodes) + 0.5) * np.pi / nodes
    density = np.exp(kappa * (np.cos(angle) - 1)) * np.sin(angle) ** (d - 2)
    return np.cos(angle), density / density.sum()


def mean_height(d: int, kappa: float | Tensor) -> Tensor:
    """E<x, c> = I_{d/2}(kappa)/I_{d/2-1}(kappa) for x of von Mises-Fisher law around c, of the shape of kappa.

    Also what is known of a uniform c seen through tokens of resultant S: c has the same law around S/|S| with
    concentration kappa |S|.
    """
    # Gauss's continued fraction I_{v+1}/I_v = 1/(2 (v+1)/k + 1/(2 (v+2)/k + …)), from its end
    kappa = torch.as_tensor(kappa, dtype=torch.float64)
    depth = 50 + 2 * int(kappa.max())
    ratio = torch.zeros_like(kappa)
    for m in range(depth, 0, -1):
        ratio = kappa / (2 * (d / 2 - 1 + m) + kappa * ratio)
    return ratio


class NoisyClustersData(StreamData):
    """Tokens scattered around hidden centres, to be moved back to them.

    A sequence has `clusters` uniform centres c_q on the sphere; every token has one of them at random, and von
    Mises-Fisher noise of density e^{kappa <x, c>} around it. The risk is 1 - <prediction, c>.

    Args:
        d: dimension.
        clusters: centres of one sequence.
        length: tokens.
        kappa: concentration of the noise.
        batch_size: sequences of one step.
        seed, steps_per_epoch: see StreamData.

    Batch: "x" and "centre" (b, t, d), float32; "informed", the mean risk of the Bayes predictor that is told which
    tokens share a centre, a lower bound for every predictor.
    """

    def __init__(
        self,
        *,
        d: int = 8,
        clusters: int = 4,
        length: int = 32,
        kappa: float = 20.0,
        batch_size: int = 16,
        seed: int = 0,
        steps_per_epoch: int = 1000,
    ) -> None:
        super().__init__(seed=seed, steps_per_epoch=steps_per_epoch)
        if d < 2 or min(clusters, length, batch_size) < 1 or kappa <= 0:
            raise ValueError("d must be at least 2, and clusters, length, batch_size and kappa positive")
        self.d, self.clusters, self.length, self.kappa, self.batch_size = d, clusters, length, kappa, batch_size
        height, probability = heights(d, kappa)
        order = np.argsort(height)
        self._height, self._cumulated = height[order], np.cumsum(probability[order])

    def draw(self, generator: torch.Generator, steps: int, task: Batch) -> Batch:
        shape = (steps, self.batch_size)
        points = torch.randn(*shape, self.clusters, self.d, generator=generator, dtype=torch.float64)
        points = points / points.norm(dim=-1, keepdim=True)
        label = torch.randint(self.clusters, (*shape, self.length), generator=generator)
        own = torch.nn.functional.one_hot(label, self.clusters).double()  # (steps, b, t, q)
        centre = own @ points
        share = torch.rand(*shape, self.length, 1, generator=generator, dtype=torch.float64)
        height = torch.from_numpy(np.interp(share.numpy(), self._cumulated, self._height))
        side = torch.randn(*shape, self.length, self.d, generator=generator, dtype=torch.float64)
        side = side - (side * centre).sum(-1, keepdim=True) * centre
        x = height * centre + (1 - height**2).sqrt() * side / side.norm(dim=-1, keepdim=True)
        resultant = (own.mT @ x).norm(dim=-1)  # (steps, b, q)
        risk = 1 - mean_height(self.d, self.kappa * resultant)
        informed = (own.sum(-2) * risk).sum(-1).mean(-1) / self.length
        return {"x": x.float(), "centre": centre.float(), "informed": informed.float()}
