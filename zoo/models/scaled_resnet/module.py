"""Training of scaled residual nets on images: one network, seeds side by side, or a grid of scalings and regularities.

All log `loss` and `accuracy`, and after each epoch `val_loss` and `val_accuracy`; ScaledResNet also `variation` (total
variation of V along depth, mean over entries), `largest_jump` and `mean_jump` (over layers, of the largest entry of
V_{k+1} - V_k).
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from zoo.classification import held_out, scores
from zoo.depth.regularity import jumps, total_variation
from zoo.models.scaled_resnet.network import ScaledConvNet, ScaledResNet
from zoo.training import ZooModule


class ImageTraining(ZooModule):
    """Cross-entropy and Adam, step size divided by ten every `decay_every` steps; pixels on [0, 1].

    Args:
        lr: step size of Adam.
        decay_every: optimiser steps between two divisions by ten; 0 keeps the step size. The paper has five epochs.
        options: see ZooModule.

    Raises:
        ValueError: lr is not positive.
    """

    system = "scaled_resnet"
    headline = "val_accuracy"

    def __init__(self, *, lr: float = 1e-2, decay_every: int = 0, **options: Any) -> None:
        super().__init__(**options)
        if lr <= 0 or decay_every < 0:
            raise ValueError(f"lr={lr} must be positive and decay_every={decay_every} at least zero")
        self.lr, self.decay_every = lr, decay_every

    def learning_rate(self, step: int) -> float:
        return self.lr * 0.1 ** (step // self.decay_every) if self.decay_every else self.lr

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr, fused=True)

    def _logits(self, network: Any, batch: dict[str, Tensor]) -> Tensor:
        return network(batch["images"].to(self.precision) / 255)

    def loss(self, network: Any, batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
        losses, hits = scores(self._logits(network, batch), batch["targets"])
        return {"loss": losses.mean(), "accuracy": hits.mean()}

    def evaluate(self, network: Any, batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
        return held_out(self._logits(network, batch), batch)


class ScaledTraining(ImageTraining):
    """Trains ScaledResNet; replicas are seeds.

    The weight's task holds `start` (l,), one entry of V along depth before training, and beta and hurst ().

    Args:
        width, depth, beta, variant, process, hurst, length, bias, memory: see ScaledResNet. With several replicas the step
            is one flat program of all layers, which keeps what back-propagation needs whatever the memory.
        lr, decay_every, options: see ImageTraining.

    Raises:
        ValueError: memory is invert with several replicas.
    """

    def __init__(
        self,
        *,
        width: int = 30,
        depth: int = 1000,
        beta: float = 0.5,
        variant: str = "res-1",
        process: str = "normal",
        hurst: float = 0.5,
        length: float = 0.1,
        bias: bool = False,
        memory: str = "checkpoint",
        chunk: int = 16,
        **options: Any,
    ) -> None:
        super().__init__(chunk=chunk, **options)
        if memory == "invert" and self.replicas > 1:
            raise ValueError("memory='invert' trains one replica: choose checkpoint for several")
        self.shape: dict[str, Any] = {
            "width": width,
            "depth": depth,
            "variant": variant,
            "bias": bias,
            "memory": memory,
        }
        self.law: dict[str, Any] = {"beta": beta, "process": process, "hurst": hurst, "length": length}
        self.save_hyperparameters()

    def cells(self) -> list[dict[str, Any]]:
        """What sets the replicas of this process apart, in the order of their numbers."""
        return [{} for _ in self.replica_ids]

    def configure_model(self) -> None:
        if self.copies is not None:
            return
        self._waiting = [self.law | cell for cell in self.cells()]
        laws = list(self._waiting)
        super().configure_model()
        assert self.copies is not None
        network: Any = self.copies.network
        for name in ("beta", "hurst"):
            self._task[name] = torch.tensor([law[name] for law in laws], dtype=self.precision)
        self._task["start"] = network.V[:, :, 0, 0].detach().clone()

    def build(self, generator: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        sizes: dict[str, Any] = {"d_in": int(task["shape"].prod()), "d_out": int(task["classes"])}
        return ScaledResNet(**sizes, **self.shape, **self._waiting.pop(0), generator=generator)

    def measure(self, network: Any, task: dict[str, Tensor], step: Tensor) -> dict[str, Tensor]:
        if len(network.V) < 2:
            return {}
        sizes = jumps(network.V)
        return {"variation": total_variation(network.V).mean(), "largest_jump": sizes.amax(), "mean_jump": sizes.mean()}


class RegularityGrid(ScaledTraining):
    """Trains one ScaledResNet for each pair of a scaling and a Hurst index, all at once as replicas.

    Replica i has betas[i // len(hursts)] and hursts[i % len(hursts)], and all see the same batches.

    Args:
        betas, hursts: the axes of the grid.
        options: see ScaledTraining; process is fractional.

    Raises:
        ValueError: an axis without a value.
    """

    def __init__(self, *, betas: list[float], hursts: list[float], process: str = "fractional", **options: Any) -> None:
        if not betas or not hursts:
            raise ValueError("betas and hursts need at least one value each")
        options["replicas"] = len(betas) * len(hursts)
        super().__init__(process=process, **options)
        self.pairs = list(product(betas, hursts))
        self.save_hyperparameters()

    def cells(self) -> list[dict[str, Any]]:
        return [dict(zip(("beta", "hurst"), self.pairs[replica], strict=True)) for replica in self.replica_ids]


class ScaledConvTraining(ImageTraining):
    """Trains ScaledConvNet; replicas are seeds.

    Args:
        blocks: of each of the three stages.
        width, beta, process, hurst, length, memory: see ScaledConvNet.
        lr, decay_every, options: see ImageTraining.
    """

    headline = "val_accuracy"

    def __init__(
        self,
        *,
        blocks: int = 9,
        width: int = 16,
        beta: float = 0.5,
        process: str = "normal",
        hurst: float = 0.5,
        length: float = 0.1,
        memory: str = "autograd",
        lr: float = 1e-3,
        **options: Any,
    ) -> None:
        super().__init__(lr=lr, **options)
        self.given: dict[str, Any] = {
            "width": width,
            "beta": beta,
            "process": process,
            "hurst": hurst,
            "length": length,
        }
        self.given |= {"blocks": [blocks] * 3, "memory": memory}
        self.save_hyperparameters()

    def build(self, generator: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        sizes: dict[str, Any] = {"channels": int(task["shape"][0]), "classes": int(task["classes"])}
        return ScaledConvNet(**sizes, **self.given, generator=generator)
