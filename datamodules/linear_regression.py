"""Least squares with one output, on one fixed sample: the data of deep linear regression.

Marion, Chizat, "Deep linear networks for regression are implicitly regularized towards flat minima" (NeurIPS 2024).
Shapes: n samples, d dimensions. S = X'X/n, w* is the least-squares solution of smallest norm, and y and w* are divided by
its norm.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from datamodules.stream import Batch, StreamData, generator

DESIGNS = ("gaussian", "paper")

# The official generator (JAX 0.4, key 0), n = 50, d = 5, noise 1, gives these eigenvalues of S, w*'S w* = .9328 and the
# smallest training loss .36822. The law of a Gaussian initialisation does not change under rotations, so only the squares
# of w* in the eigenbasis matter beside: those here have the largest entropy among all with this w*'S w* for which
# balanced rank-one networks of depth 3 have sharpness 5.6602, as they have there.
EIGENVALUES = (0.5975, 0.7949, 1.0263, 1.3804, 1.5942)
SHARES = (0.054232, 0.324781, 0.607133, 0.013839, 0.000015)
FLOOR = 0.36822


class LinearRegressionData(StreamData):
    """Full-batch least squares. Replica r starts at scale number r mod len(scales), as its turn number r // len(scales).

    Args:
        n: samples. dim: d.
        noise: standard deviation of the label noise.
        design: "gaussian" draws X, the true vector and the noise from N(0, 1); "paper" (n >= 6, d = 5) has the covariance
            spectrum, w*'S w* and smallest loss of the paper's data set in a random frame.
        shared: one data set for all replicas; otherwise one for each turn.
        scales: of the initial networks.
        samples: whether the task has X and y too, and a fresh test set of n, for networks that are not linear and for
            the test loss ("gaussian" only).
        seed: of the data.
        steps_per_epoch: optimiser steps that Lightning calls one epoch.

    Task, float64: S (d, d), w_star (d,), floor () (the loss of w*), scale (), turn () int64; and with `samples`
    X (n, d), y (n,), X_test, y_test.

    Raises:
        ValueError: an unknown design, a count below one, a negative noise or scale, no scale, or a "paper" design of
            another d.
    """

    block = 1000

    def __init__(
        self,
        *,
        n: int = 50,
        dim: int = 5,
        noise: float = 1.0,
        design: str = "gaussian",
        shared: bool = True,
        scales: list[float] = [0.3],  # noqa: B006, read only; JSON value that a recipe shows
        samples: bool = False,
        seed: int = 0,
        steps_per_epoch: int = 1000,
    ) -> None:
        super().__init__(seed=seed, steps_per_epoch=steps_per_epoch)
        if design not in DESIGNS:
            raise ValueError(f"design={design!r}: choose one of {', '.join(DESIGNS)}")
        if n < 1 or dim < 1 or noise < 0:
            raise ValueError(f"n={n} and dim={dim} must be at least 1 and noise={noise} at least 0")
        if not scales or min(scales) < 0:
            raise ValueError(f"scales={scales} must be one or more numbers that are at least 0")
        if design == "paper" and (dim != len(EIGENVALUES) or n <= dim or samples):
            raise ValueError(f"the paper's design has dim={len(EIGENVALUES)}, n above it, and no test set (samples)")
        self.n, self.dim, self.noise, self.design = n, dim, noise, design
        self.shared, self.scales, self.samples = shared, list(scales), samples

    def task(self, replica: int) -> Batch:
        turn, place = divmod(replica, len(self.scales))
        stream = generator("LinearRegressionData", self.seed, 0 if self.shared else turn)
        X, y, *test = (self.like_the_paper if self.design == "paper" else self.gaussian)(stream)
        w_star = torch.linalg.pinv(X) @ y
        norm = w_star.norm()
        y, w_star = y / norm, w_star / norm
        task = {
            "S": X.T @ X / self.n,
            "w_star": w_star,
            "floor": (y - X @ w_star).square().mean(),
            "scale": torch.tensor(self.scales[place], dtype=torch.float64),
            "turn": torch.tensor(turn),
        }
        if self.samples:
            task |= {"X": X, "y": y, "X_test": test[0], "y_test": test[1] / norm}
        return task

    def gaussian(self, stream: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """X, y, and as many fresh samples."""
        truth = torch.randn(self.dim, generator=stream, dtype=torch.float64)
        X, X_test = torch.randn(2, self.n, self.dim, generator=stream, dtype=torch.float64)
        noise, noise_test = self.noise * torch.randn(2, self.n, generator=stream, dtype=torch.float64)
        return X, X @ truth + noise, X_test, X_test @ truth + noise_test

    def like_the_paper(self, stream: torch.Generator) -> tuple[Tensor, Tensor]:
        """X = sqrt(n) Q diag(s)^{1/2} V' and y = X w* + sqrt(n floor) e, with random orthonormal [Q e] and V."""
        eigenvalues, shares = (torch.tensor(v, dtype=torch.float64) for v in (EIGENVALUES, SHARES))
        frame = torch.linalg.qr(torch.randn(self.n, self.dim + 1, generator=stream, dtype=torch.float64)).Q
        V = torch.linalg.qr(torch.randn(self.dim, self.dim, generator=stream, dtype=torch.float64)).Q
        X = math.sqrt(self.n) * frame[:, :-1] * eigenvalues.sqrt() @ V.T
        w_star = V @ (shares / shares.sum()).sqrt()
        return X, X @ w_star + math.sqrt(self.n * FLOOR) * frame[:, -1]

    def draw(self, generator: torch.Generator, steps: int, task: Batch) -> Batch:
        """Nothing: the whole sample is in the task."""
        return {}
