"""Full-batch gradient descent with rate L lr, without Lightning: what claims and figures run again in seconds.

Shapes: l layers, n samples; x (n, d_in), y (n, d_out).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.models.neural_ode_resnet.network import NeuralODEResNet


class At(NamedTuple):
    """A step and the loss before it, the mean over samples and coordinates of the squared error."""

    step: int
    loss: float


def descend(
    network: NeuralODEResNet, x: Tensor, y: Tensor, *, lr: float, steps: int, clip: float = 0.0
) -> Iterator[At]:
    """Steps 0 … `steps` of a network that is changed in place: step size lr for A and B, L lr for V and W.

    clip: largest norm of L dloss/dV_k and L dloss/dW_k, each shortened to it; 0 for none.
    """
    parameters = dict(network.named_parameters())
    for step in range(steps + 1):
        loss = (network(x) - y).square().mean()
        yield At(step, loss.item())
        if step == steps:
            return
        gradients = torch.autograd.grad(loss, tuple(parameters.values()))
        with torch.no_grad():
            for (name, one), gradient in zip(parameters.items(), gradients, strict=True):
                if name in ("A", "B"):
                    one.sub_(gradient, alpha=lr)
                else:
                    move = gradient * network.depth
                    one.sub_(clipped(move, clip) if clip else move, alpha=lr)


def together(networks: Mapping[int, NeuralODEResNet], x: Tensor, y: Tensor, *, lr: float, steps: int) -> Iterator[int]:
    """The same for several networks side by side: yields the step, all of them being there."""
    for states in zip(*(descend(one, x, y, lr=lr, steps=steps) for one in networks.values()), strict=True):
        yield states[0].step


def clipped(gradients: Tensor, largest: float) -> Tensor:
    """Each layer's gradient (..., l, ., .), shortened to norm `largest` if it is longer: the projection on a ball."""
    norms = gradients.norm(dim=(-2, -1), keepdim=True)
    return gradients * (largest / norms.clamp(min=largest))


def as_released(inner: Tensor, depth: int, activation: str = "gelu") -> NeuralODEResNet:
    """The network of the released scripts: no factors, A = B = I not trained, V = 0 and W_k = inner (m, q)."""
    m, q = inner.shape
    sizes: dict[str, Any] = {"d_in": q, "d_out": q, "width": q, "hidden": m, "depth": depth}
    network = NeuralODEResNet(**sizes, activation=activation, scaled=False, trains_ends=False, memory="states")
    with torch.no_grad():
        network.W.copy_(inner.expand_as(network.W))
    return network.to(inner)
