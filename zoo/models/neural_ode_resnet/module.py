"""Training of residual nets that start as neural ODEs: gradient flow with rate times L, and the convolutional net.

NodeDescent logs `loss` (mean since the last row), and of the step itself `risk`, `jump_V` and `jump_W` (largest
|V_{k+1} - V_k|_F and |W_{k+1} - W_k|_F), `squares_V` and `squares_W` (their squares summed over the layers), `roughness_V`
and `roughness_W` (theory.roughness), and `norm_V` and `norm_W` (largest |V_k|_F and |W_k|_F).
NodeConvTraining logs `loss` and `accuracy`, after each epoch `val_loss` and `val_accuracy`, and of the step itself `jump_1`
and `jump_2` (mean over the blocks of the jumps of conv1 and conv2), `roughness_1` and `roughness_2`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from zoo.classification import held_out, scores
from zoo.depth.regularity import jumps
from zoo.models.neural_ode_resnet import theory
from zoo.models.neural_ode_resnet.descent import clipped
from zoo.models.neural_ode_resnet.network import SHAPE, NeuralODEConvNet, NeuralODEResNet
from zoo.training import ZooModule


class LayerwiseDescent(torch.optim.SGD):
    """Gradient descent whose groups may have `clip`: the gradients of each layer times `rate` are shortened to that norm.

    Parameters are (r, l, ., .) stacks. The step size of a group is lr times rate.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            if group["clip"]:
                for parameter in group["params"]:
                    parameter.grad.copy_(clipped(parameter.grad, group["clip"] / group["rate"]))
        return super().step(closure)


class NodeDescent(ZooModule):
    """Full-batch gradient descent on GaussianPairsData, step size lr for A and B and L lr for the layers.

    With lr small this is the paper's gradient flow at the time lr times the step, the loss being the mean over samples and
    coordinates. The weight's task holds `start` (m, q), W of the first layer before training.

    Args:
        lr: step size.
        width, hidden, depth, activation, init, length, scaled, trains_ends: see NeuralODEResNet; width 0 is that of the data.
        solver, interpolation, adjoint, memory: see NeuralODEResNet. With several replicas the step is one flat program,
            which keeps what back-propagation needs whatever the memory.
        clip: largest norm of L dloss/dV_k and of L dloss/dW_k; 0 for none.
        options: see ZooModule.

    Raises:
        ValueError: lr is not positive, clip is negative, or several replicas with a solver that cannot run side by side.
    """

    system = "neural_ode_resnet"
    headline = "risk"

    def __init__(
        self,
        *,
        lr: float = 0.005,
        width: int = 0,
        hidden: int = 64,
        depth: int = 64,
        activation: str = "gelu",
        init: str = "tied",
        length: float = 0.3,
        scaled: bool = False,
        trains_ends: bool = False,
        solver: str = "trunk",
        interpolation: str = "linear",
        adjoint: bool = False,
        memory: str = "states",
        clip: float = 0.0,
        chunk: int = 100,
        **options: Any,
    ) -> None:
        super().__init__(chunk=chunk, **options)
        if lr <= 0 or clip < 0:
            raise ValueError(f"lr={lr} must be positive and clip={clip} at least zero")
        if self.replicas > 1 and (memory == "invert" or solver != "trunk"):
            raise ValueError("several replicas need solver='trunk' and a memory other than invert")
        self.lr, self.clip, self.width = lr, clip, width
        self.shape: dict[str, Any] = {
            "hidden": hidden,
            "depth": depth,
            "activation": activation,
            "init": init,
            "length": length,
            "scaled": scaled,
            "trains_ends": trains_ends,
            "solver": solver,
            "interpolation": interpolation,
            "adjoint": adjoint,
            "memory": memory,
        }
        NeuralODEResNet(d_in=1, d_out=1, width=max(width, 1), **self.shape)  # refuses what no network can be
        self.save_hyperparameters()

    def build(self, generator: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        d_in, d_out = task["x"].shape[1], task["y"].shape[1]
        width = self.width or max(d_in, d_out)
        network = NeuralODEResNet(d_in=d_in, d_out=d_out, width=width, **self.shape, generator=generator)
        if "inner" in task and self.shape["init"] == "tied":
            if task["inner"].shape != network.W.shape[1:]:
                raise ValueError(f"these draws need hidden={len(task['inner'])} and width={task['inner'].shape[1]}")
            with torch.no_grad():
                network.W.copy_(task["inner"].expand_as(network.W))
        return network

    def configure_model(self) -> None:
        if self.copies is not None:
            return
        super().configure_model()
        assert self.copies is not None
        self._task["start"] = self.copies.tensors()["W"][:, 0].detach().clone()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parts = dict(self.named_parameters())
        layers = [one for name, one in parts.items() if name.endswith((".V", ".W"))]
        ends = [one for name, one in parts.items() if name.endswith((".A", ".B"))]
        depth = self.shape["depth"]
        groups: list[dict[str, Any]] = [{"params": layers, "lr": self.lr * depth, "clip": self.clip, "rate": depth}]
        if ends:
            groups.append({"params": ends, "lr": self.lr, "clip": 0.0, "rate": 1})
        return LayerwiseDescent(groups, lr=self.lr)

    def risk(self, network: Any, task: dict[str, Tensor]) -> Tensor:
        """Mean over samples and coordinates of the squared error."""
        return (network(task["x"]) - task["y"]).square().mean()

    def loss(self, network: Any, batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": self.risk(network, task)}

    def measure(self, network: Any, task: dict[str, Tensor], step: Tensor) -> dict[str, Tensor]:
        row = {} if self.shape["solver"] != "trunk" else {"risk": self.risk(network, task)}
        for name in ("V", "W"):
            one = getattr(network, name)
            row[f"norm_{name}"] = one.flatten(1).norm(dim=1).amax()
            if len(one) > 1:
                row[f"jump_{name}"] = theory.largest_jump(one)
                row[f"squares_{name}"] = theory.squared_jumps(one)
                row[f"roughness_{name}"] = theory.roughness(one)
        return row


class NodeConvTraining(ZooModule):
    """Trains NeuralODEConvNet on CIFAR-10 by stochastic gradient descent with momentum 0.9, weight decay and a cosine.

    One replica, as normalisations keep running averages. The paper's step size is not multiplied by L, and falls at the end
    of each epoch where ours falls at each step. Use ImageData with augment: true, as the paper does.

    Args:
        depth, channels, activation, init, norm, memory: see NeuralODEConvNet.
        lr: first step size.
        decay_over: optimiser steps in which the cosine comes to zero.
        weight_decay: of all parameters.
        options: see ZooModule.

    Raises:
        ValueError: lr or decay_over is not positive, weight_decay is negative, or more than one replica.
    """

    system = "neural_ode_resnet"
    headline = "val_accuracy"

    def __init__(
        self,
        *,
        depth: int = 256,
        channels: int = 16,
        activation: str = "gelu",
        init: str = "tied",
        norm: bool = True,
        memory: str = "autograd",
        lr: float = 4e-2,
        decay_over: int = 140580,
        weight_decay: float = 5e-4,
        chunk: int = 16,
        **options: Any,
    ) -> None:
        super().__init__(chunk=chunk, **options)
        if lr <= 0 or decay_over < 1 or weight_decay < 0:
            raise ValueError(
                f"lr={lr} and decay_over={decay_over} must be positive, weight_decay={weight_decay} not negative"
            )
        if self.replicas > 1:
            raise ValueError("this net trains one replica: its normalisations keep running averages")
        self.lr, self.decay_over, self.weight_decay = lr, decay_over, weight_decay
        self.given: dict[str, Any] = {
            "depth": depth,
            "channels": channels,
            "activation": activation,
            "init": init,
            "norm": norm,
            "memory": memory,
        }
        NeuralODEConvNet(**self.given | {"depth": 1})  # refuses what no network can be
        self.save_hyperparameters()

    def build(self, generator: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        if tuple(task["shape"].tolist()) != SHAPE:
            raise ValueError("NeuralODEConvNet is for images of 3 x 32 x 32: set data.name to cifar-10")
        return NeuralODEConvNet(**self.given, generator=generator)

    def configure_model(self) -> None:
        super().configure_model()
        assert self.copies is not None
        self.copies.train()

    def learning_rate(self, step: int) -> float:
        return self.lr * (1 + math.cos(math.pi * min(step / self.decay_over, 1.0))) / 2

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9, weight_decay=self.weight_decay)

    def _logits(self, network: Any, batch: dict[str, Tensor]) -> Tensor:
        return network(batch["images"].to(self.precision) / 255)

    def loss(self, network: Any, batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
        losses, hits = scores(self._logits(network, batch), batch["targets"])
        return {"loss": losses.mean(), "accuracy": hits.mean()}

    def evaluate(self, network: Any, batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
        return held_out(self._logits(network, batch), batch)

    def measure(self, network: Any, task: dict[str, Tensor], step: Tensor) -> dict[str, Tensor]:
        if self.given["depth"] < 2:
            return {}
        kernels = {"1": network.conv1, "2": network.conv2}
        row = {f"jump_{i}": jumps(one, "frobenius").mean() for i, one in kernels.items()}
        return row | {f"roughness_{i}": theory.roughness(one) for i, one in kernels.items()}

    def export(self, network: nn.Module) -> nn.Module:
        return network.eval()
