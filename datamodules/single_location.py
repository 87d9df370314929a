"""Single-location regression data, drawn online: one informative token, L - 1 others, a real label.

k*, v* orthonormal in R^d; X_0 ~ N(sqrt(d/2) k*, gamma2 I), X_1, …, X_{L-1} ~ N(0, I), y = X_0.v* + N(0, noise^2), all
independent. The informative token comes first: the predictors do not change under permutations of the tokens, so a
hidden random position gives the same law of the loss (a model with positional information would need the tokens
shuffled).

Marion, Berthier, Biau, Boyer, "Attention layers provably solve single-location regression" (ICLR 2025).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from datamodules.stream import StreamData, generator

SAMPLERS = ("full", "span", "population")


class SingleLocationData(StreamData):
    """Fresh samples at every optimiser step, each replica with its own k*, v* and its own stream.

    Args:
        d: dimension of a token.
        length: tokens L.
        gamma2: variance of the informative token; 1/2 gives all tokens the expected squared norm d.
        noise: standard deviation of the label noise.
        batch_size: samples of one step.
        sampler: "full" draws the tokens; "span" only their coordinates on span{k*, v*, k, v} and the chi variables
            that stand for the other d - 4 dimensions (equal in law for the order parameters, at a cost that does not
            depend on d); "population" draws nothing, for descent on the closed-form risk.
        seed: of the tasks and of the streams.
        steps_per_epoch: optimiser steps that Lightning calls one epoch.

    Raises:
        ValueError: an unknown sampler, "span" with d < 6, a count below one, gamma2 not positive, or negative noise.
    """

    def __init__(
        self,
        *,
        d: int,
        length: int = 10,
        gamma2: float = 0.5,
        noise: float = 0.1,
        batch_size: int = 5,
        sampler: str = "full",
        seed: int = 0,
        steps_per_epoch: int = 1000,
    ) -> None:
        super().__init__(seed=seed, steps_per_epoch=steps_per_epoch)
        if sampler not in SAMPLERS:
            raise ValueError(f"sampler={sampler!r}: choose one of {', '.join(SAMPLERS)}")
        if d < 2:
            raise ValueError(f"d={d}: k* and v* are orthogonal, so a token needs at least two coordinates")
        if sampler == "span" and d < 6:
            raise ValueError(
                f"d={d}: sampler='span' needs d >= 6, for its chi variables with d - 5 degrees of freedom; use 'full'"
            )
        if length < 1 or batch_size < 1:
            raise ValueError(f"length={length} and batch_size={batch_size} must be at least 1")
        if gamma2 <= 0 or noise < 0:
            raise ValueError(f"gamma2={gamma2} must be positive and noise={noise} at least zero")
        self.d, self.length, self.gamma2, self.noise = d, length, gamma2, noise
        self.batch_size, self.sampler = batch_size, sampler

    def task(self, replica: int) -> dict[str, Tensor]:
        """k_star, v_star (d,) and the constants length, gamma2, noise of the law, in float64."""
        # k* a normalised Gaussian, v* a Gaussian made orthogonal to it
        normals = torch.randn(
            self.d, 2, generator=generator(type(self).__name__, self.seed, "task", replica), dtype=torch.float64
        )
        k_star, v_star = torch.linalg.qr(normals)[0].unbind(-1)
        constants = {"length": self.length, "gamma2": self.gamma2, "noise": self.noise}
        return {"k_star": k_star.contiguous(), "v_star": v_star.contiguous()} | {
            name: torch.tensor(value, dtype=torch.float64) for name, value in constants.items()
        }

    def draw(self, generator: torch.Generator, steps: int, task: dict[str, Tensor]) -> dict[str, Tensor]:
        """`steps` batches for one replica, float32.

        full: X (steps, b, L, d), y (steps, b).  population: nothing. span: X (steps, b, L, 4) in an orthonormal basis
        starting with k*, v*; y (steps, b); bartlett (steps, 3), that is (chi_{d-4}, chi_{d-5}, N(0, 1)).
        """
        if self.sampler == "population":
            return {}
        full = self.sampler == "full"
        X = torch.randn(steps, self.batch_size, self.length, self.d if full else 4, generator=generator)
        noise = torch.randn(steps, self.batch_size, generator=generator).mul_(self.noise)
        informative = X[..., 0, :].mul_(math.sqrt(self.gamma2))
        if full:
            y = noise.add_(informative @ task["v_star"].float())
            informative.add_(task["k_star"].float(), alpha=math.sqrt(self.d / 2))
            return {"X": X, "y": y}
        y = noise.add_(informative[..., 1])
        informative[..., 0].add_(math.sqrt(self.d / 2))
        degrees = torch.tensor([self.d - 4.0, self.d - 5.0]).expand(steps, 2)
        chi = (2 * torch._standard_gamma(degrees / 2, generator=generator)).sqrt()
        return {"X": X, "y": y, "bartlett": torch.cat([chi, torch.randn(steps, 1, generator=generator)], -1)}
