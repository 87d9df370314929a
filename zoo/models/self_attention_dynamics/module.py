"""The flow as a LightningModule: one step of a run is one time step; and the training of the learnable encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from zoo.models.self_attention_dynamics import theory
from zoo.models.self_attention_dynamics.network import FlowEncoder, ParticleFlow
from zoo.training import ZooModule


class ParticleDynamics(ZooModule):
    """Self-attention dynamics from the starts of `SphereStartsData`; the trainer's max_steps are time steps.

    The history holds `mean_energy` (Ebar of the paper, 1 at one cluster), `clusters`, `merged` (share of the pairs with
    inner product above the threshold), `mean_product` and `min_product` of the pairs. The weight's network makes the
    whole run again: network(start) are its tokens.

    Args:
        n, d: tokens and dimension, as in the data.
        dynamics: "sa" or "usa".
        integrator: "rk4", "euler", or "official", the step of the authors' code.
        dt: time step.
        causal: token i attends to j <= i only.
        merged: inner product from which two tokens count as one.
        replicas: systems times temperatures of the data.
        dtype, options: see ZooModule; float32 merges tokens that float64 keeps apart.

    Raises:
        ValueError: the data have other tokens (when the run starts), or merged is not between -1 and 1.
    """

    system = "self_attention_dynamics"
    headline = "mean_energy"

    def __init__(
        self,
        *,
        n: int = 5,
        d: int = 2,
        dynamics: str = "sa",
        integrator: str = "rk4",
        dt: float = 0.1,
        causal: bool = False,
        merged: float = theory.MERGED,
        dtype: str = "float64",
        **options: Any,
    ) -> None:
        super().__init__(dtype=dtype, **options)
        if not -1 < merged < 1:
            raise ValueError(f"merged={merged} must be an inner product between -1 and 1")
        self.shape, self.merged, self.causal = (n, d), merged, causal
        self.flow: dict[str, Any] = {"dynamics": dynamics, "integrator": integrator, "dt": dt}
        ParticleFlow(n=n, d=d, **self.flow)  # refuses what it does not know before anything is written
        self.save_hyperparameters()

    def build(self, generator: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        if tuple(task["start"].shape) != self.shape:
            raise ValueError(f"the model has n, d = {self.shape} but the data {tuple(task['start'].shape)}")
        n, d = self.shape
        steps = max(self._trainer.max_steps, 0) if self._trainer is not None else 0
        network = ParticleFlow(n=n, d=d, beta=task["beta"].item(), steps=steps, causal=self.causal, **self.flow)
        return _filled(network, task["start"], task["beta"])

    def update(
        self, state: dict[str, Tensor], batch: dict[str, Tensor], task: dict[str, Tensor], step: Tensor
    ) -> dict[str, Tensor]:
        x = state["tokens"]
        mask = theory.causal_mask(x.shape[-2], x.device) if self.causal else None
        return {"tokens": theory.step(x, state["beta"], mask=mask, **self.flow)}

    def measure(self, network: Any, task: dict[str, Tensor], step: Tensor) -> dict[str, Tensor]:
        return theory.statistics(network.tokens, network.beta, self.merged)


def _filled(network: ParticleFlow, tokens: Tensor, beta: Tensor) -> ParticleFlow:
    network = network.to(tokens.dtype)
    network.load_state_dict({"tokens": tokens, "beta": beta})
    return network


class Angles(nn.Module):
    """State of a staircase: angles (n,) on the circle, and beta."""

    beta: Tensor

    def __init__(self, angles: Tensor, beta: Tensor) -> None:
        super().__init__()
        self.angles = nn.Parameter(angles)
        self.register_buffer("beta", beta)


class Staircase(ZooModule):
    """Normalised ascent of USA on the circle with merging, the time change under which the energy is a staircase.

    A step adds rate log(beta) g/|g| to the angles, so rescaled time is rate times the step. The run ends when every
    replica is one particle. History as in `ParticleDynamics`, of which `mean_energy` is the staircase.

    Args:
        rate: step size. Ten times larger, a closing pair overshoots and is never merged.
        merged: inner product from which two tokens count as one in the history; by default at a distance of 1e-3.
        dtype, chunk, options: see ZooModule.

    Raises:
        ValueError: the start is not on the circle (when the run starts), or rate is not positive.
    """

    system = "self_attention_dynamics"
    headline = "mean_energy"

    def __init__(
        self,
        *,
        rate: float = theory.STAIRCASE_RATE,
        merged: float = 1 - 5e-7,
        dtype: str = "float64",
        chunk: int = 1000,
        **options: Any,
    ) -> None:
        super().__init__(dtype=dtype, chunk=chunk, **options)
        if rate <= 0:
            raise ValueError(f"rate={rate} must be positive")
        self.rate, self.merged = rate, merged
        self.save_hyperparameters()

    def build(self, generator: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        if task["start"].shape[-1] != 2:
            raise ValueError(f"a staircase lives on the circle, but the data have d = {task['start'].shape[-1]}")
        x, y = task["start"].unbind(-1)
        return Angles(torch.atan2(y, x), task["beta"])

    def update(
        self, state: dict[str, Tensor], batch: dict[str, Tensor], task: dict[str, Tensor], step: Tensor
    ) -> dict[str, Tensor]:
        return {"angles": theory.staircase_step(state["angles"], state["beta"], self.rate)}

    def _advance_by_law(self, batches: dict[str, Tensor], start: int, steps: int) -> None:
        """The chunk in the allocation-free loop, three times as fast as `update` step by step."""
        assert self.copies is not None
        state = self.copies.network
        loop = theory.Staircase(state.angles.detach(), state.beta, self.rate)
        loop.run(steps)
        state.angles.data.copy_(loop.angles)
        if loop.collapsed:
            self.trainer.should_stop = True

    def measure(self, network: Any, task: dict[str, Tensor], step: Tensor) -> dict[str, Tensor]:
        return theory.statistics(theory.angles_to_tokens(network.angles), network.beta, self.merged)

    def export(self, network: nn.Module) -> nn.Module:
        assert isinstance(network, Angles)
        tokens = theory.angles_to_tokens(network.angles.detach())
        flow = ParticleFlow(n=len(tokens), d=2, beta=network.beta.item(), dynamics="usa")
        return _filled(flow, tokens, network.beta)


class ClusterDenoising(ZooModule):
    """Adam on the risk 1 - <prediction, centre> of a `FlowEncoder` on `NoisyClustersData`.

    The history holds `loss`, and on the same batches `raw`, the risk of leaving the tokens where they are, and
    `informed`, that of the Bayes predictor which is told the clusters; further the trained `beta` and `step_size`, and
    `asymmetry`, how far the value matrix is from a multiple of the identity.

    Args:
        d: dimension, as in the data.
        layers: of the encoder.
        beta, step: their initial values.
        lr: step size of Adam.
        options: see ZooModule.
    """

    system = "self_attention_dynamics"
    headline = "loss"

    def __init__(
        self,
        *,
        d: int = 8,
        layers: int = 8,
        beta: float = 4.0,
        step: float = 0.5,
        lr: float = 0.01,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.save_hyperparameters()

    def build(self, generator: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        p: Any = self.hparams
        return FlowEncoder(d=p.d, layers=p.layers, beta=p.beta, step=p.step, generator=generator)

    def loss(self, network: Any, batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
        def risk(prediction: Tensor) -> Tensor:
            return 1 - (prediction * batch["centre"]).sum(-1).mean()

        return {"loss": risk(network(batch["x"])), "raw": risk(batch["x"]), "informed": batch["informed"]}

    def measure(self, network: Any, task: dict[str, Tensor], step: Tensor) -> dict[str, Tensor]:
        value = network.value
        scale = value.diagonal().mean()
        off = (value - scale * torch.eye(len(value), dtype=value.dtype, device=value.device)).norm() / value.norm()
        return {"beta": network.log_beta.exp(), "step_size": network.log_step.exp() * scale, "asymmetry": off}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])
