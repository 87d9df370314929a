"""Projected gradient descent on the sphere for single-location regression: on the exact risk, and on samples.

All three modules make the same step, k <- k - step_size (I - k k') grad_k then k <- k/|k|, and the same for v, both
from the same old pair, and log the same metrics: excess_risk, the order parameters kappa, nu, theta, eta, rho, their
distance to the manifold, and lam.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from zoo.models.single_location import theory
from zoo.models.single_location.network import GATES, SingleLocation
from zoo.training import ZooModule


class State(nn.Module):
    """What a replica trains. pair (2, n): k and v in the basis `frame` (n, d), or in R^d without one."""

    frame: Tensor | None

    def __init__(self, pair: Tensor, frame: Tensor | None = None) -> None:
        super().__init__()
        self.pair = nn.Parameter(pair)
        self.register_buffer("frame", frame)


class ProjectedDescent(ZooModule):
    """What the three update laws share.

    Args:
        d: dimension of a token, as in the data.
        length: tokens L, as in the data.
        gamma2: variance of the informative token, as in the data.
        lam: inverse temperature at the first step.
        decay: step t uses lam/(1 + decay t); the paper's schedule is 1e-4, 0 keeps lam fixed.
        step_size: of the projected gradient.
        start: "sphere", k and v independent and uniform, or "manifold", on the invariant manifold.
        replicas, log_every, options: see ZooModule.

    Raises:
        ValueError: an unknown start, or lam, step_size not positive, or the data follow another law (when training
            starts).
    """

    system = "single_location"
    headline = "excess_risk"
    gate = "erf"

    def __init__(
        self,
        *,
        d: int,
        length: int = 10,
        gamma2: float = 0.5,
        lam: float,
        decay: float = 0.0,
        step_size: float,
        start: str = "sphere",
        replicas: int = 30,
        log_every: int = 200,
        **options: Any,
    ) -> None:
        super().__init__(replicas=replicas, log_every=log_every, **options)
        if start not in theory.STARTS:
            raise ValueError(f"start={start!r}: choose one of {', '.join(theory.STARTS)}")
        if lam <= 0 or step_size <= 0 or decay < 0:
            raise ValueError(f"lam={lam} and step_size={step_size} must be positive and decay={decay} at least zero")
        self.law = theory.Law(d, length, gamma2, noise=0.0)  # risks are in excess of the noise of the data
        self.lam, self.decay, self.step_size, self.start = lam, decay, step_size, start
        self.save_hyperparameters()

    def temperature(self, step: Tensor, dtype: torch.dtype) -> float | Tensor:
        """lam of optimiser step `step`."""
        return (1 / self.lam + self.decay / self.lam * step.to(dtype)).reciprocal() if self.decay else self.lam

    def first_pair(self, generator: torch.Generator, task: dict[str, Tensor]) -> Tensor:
        """Initial k and v (2, d) in float64, after a check that the data follow the law of this module."""
        asked = {"d": self.law.d, "length": self.law.length, "gamma2": self.law.gamma2}
        given = {"d": task["k_star"].numel(), "length": task["length"].item(), "gamma2": task["gamma2"].item()}
        for name, value in asked.items():
            if not math.isclose(value, given[name], rel_tol=1e-6):
                raise ValueError(
                    f"the model has {name}={value} but the data have {name}={given[name]:g}; set both to one value"
                )
        return theory.initial_pair(self.start, task["k_star"], task["v_star"], generator)

    def step(self, pair: Tensor, batch: dict[str, Tensor], lam: float | Tensor) -> Tensor:
        """One update of the pair."""
        raise NotImplementedError

    def update(
        self, state: dict[str, Tensor], batch: dict[str, Tensor], task: dict[str, Tensor], step: Tensor
    ) -> dict[str, Tensor]:
        lam = self.temperature(step, state["pair"].dtype)
        return {"pair": self.step(state["pair"], batch, lam)}

    def order(self, pair: Tensor, task: dict[str, Tensor]) -> theory.Order:
        """Order parameters of a pair in the span."""
        return theory.order_of_pair(pair)

    def excess_risk(self, at: theory.Order, lam: float | Tensor) -> Tensor:
        """Excess risk of the current pair, in closed form."""
        return theory.excess_risk(at, self.law, lam)

    def measure(self, network: Any, task: dict[str, Tensor], step: Tensor) -> dict[str, Tensor]:
        lam = self.temperature(step, network.pair.dtype)
        at = self.order(network.pair, task)
        metrics = {"excess_risk": self.excess_risk(at, lam), "distance": at.distance}
        return metrics | at._asdict() | {"lam": torch.zeros_like(at.kappa) + lam}

    def export(self, network: nn.Module) -> nn.Module:
        assert isinstance(network, State)
        last = self.history.steps[-1] if len(self.history.steps) else torch.tensor(0)
        lam = float(f"{float(self.temperature(last, torch.float64)):.6g}")
        pair = network.pair.detach()
        if network.frame is not None:
            pair = (pair.double() @ network.frame.double()).to(pair.dtype)
        shipped = SingleLocation(d=self.law.d, lam=lam, gate=self.gate).to(pair)
        shipped.load_state_dict({"k": pair[0], "v": pair[1]})
        return shipped


class SpanDescent(ProjectedDescent):
    """Update laws whose state is four coordinates of k and of v on span{k*, v*, k, v}."""

    def build(self, generator: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        pair = self.first_pair(generator, task)
        frame = theory.frame_of(pair, task["k_star"], task["v_star"])
        return State(pair @ frame.T, frame)


class PopulationDescent(SpanDescent):
    """Projected gradient descent on the exact risk (Theorem 1), the training of the paper's theory experiments.

    The iterates stay in the span of k*, v* and the initial k, v: four coordinates are exact and d is only a number.
    """

    def step(self, pair: Tensor, batch: dict[str, Tensor], lam: float | Tensor) -> Tensor:
        return theory.descent_step(pair, self.law, lam, self.step_size)


class _GatedDescent(ProjectedDescent):
    """SGD on minibatches, with either gate."""

    test_X: Tensor
    test_y: Tensor

    def __init__(self, *, gate: str = "erf", **options: Any) -> None:
        super().__init__(**options)
        if gate not in GATES:
            raise ValueError(f"gate={gate!r}: choose one of {', '.join(GATES)}")
        self.gate = gate
        self.save_hyperparameters()
        # no closed form with softmax: one fixed sample without label noise, in the span, so any d is cheap
        sample = theory.draw_projections(self.law, 4, 2000, torch.Generator().manual_seed(0), self.precision)
        for name, leaf in zip(("test_X", "test_y"), sample, strict=True):
            self.register_buffer(name, leaf, persistent=False)

    def excess_risk(self, at: theory.Order, lam: float | Tensor) -> Tensor:
        """In closed form for erf; on one fixed sample of 2,000 for softmax."""
        if self.gate == "erf":
            return super().excess_risk(at, lam)
        pair = theory.pair_of_order(at)
        return theory.sampled_excess(pair, self.test_X, self.test_y, self.law, lam, self.gate).mean()


class SpanSGD(_GatedDescent, SpanDescent):
    """Projected SGD that draws only what the order parameters can see (data with sampler="span"); see
    `theory.span_step`.

    Equal in law to SampleSGD for the order parameters at all times and for (k, v) at the end, which is what `export`
    gives; the frame of the third and fourth coordinate stays the random one of the start.
    """

    def step(self, pair: Tensor, batch: dict[str, Tensor], lam: float | Tensor) -> Tensor:
        if "bartlett" not in batch:
            raise ValueError("SpanSGD trains on SingleLocationData with sampler: span")
        return theory.span_step(
            pair, batch["X"], batch["y"], batch["bartlett"], self.law, lam, self.step_size, self.gate
        )


class SampleSGD(_GatedDescent):
    """Projected SGD on full samples (data with sampler="full"), the paper's last experiment."""

    def build(self, generator: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        return State(self.first_pair(generator, task))

    def step(self, pair: Tensor, batch: dict[str, Tensor], lam: float | Tensor) -> Tensor:
        if "X" not in batch or batch["X"].shape[-1] != self.law.d:
            raise ValueError("SampleSGD trains on SingleLocationData with sampler: full")
        return theory.sample_step(pair, batch["X"], batch["y"], lam, self.step_size, self.gate)

    def order(self, pair: Tensor, task: dict[str, Tensor]) -> theory.Order:
        return theory.order(pair[0], pair[1], task["k_star"], task["v_star"])
