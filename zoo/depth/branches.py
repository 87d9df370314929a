"""Residual branches f(h, theta) with their vector-Jacobian products by hand.

Shapes: h (..., b, d); V (..., d, m), W (..., m, d), biases (..., d) and (..., m); leading axes broadcast, so that many
networks can run side by side. A stretch of l layers has the axis l in front of all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

aten = torch.ops.aten


class Activation(NamedTuple):
    """sigma, and pull(g, x, sigma(x)) = g sigma'(x)."""

    value: Callable[[Tensor], Tensor]
    pull: Callable[[Tensor, Tensor, Tensor], Tensor]


ACTIVATIONS = {
    "relu": Activation(torch.relu, lambda g, x, s: aten.threshold_backward(g, s, 0)),
    "tanh": Activation(torch.tanh, lambda g, x, s: aten.tanh_backward(g, s)),
    "gelu": Activation(torch.nn.functional.gelu, lambda g, x, s: aten.gelu_backward(g, x)),
    "identity": Activation(lambda x: x, lambda g, x, s: g),
}


def _add_product(sum: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """sum + left right, in one operation where the shapes allow."""
    return torch.addmm(sum, left, right) if sum.ndim == left.ndim == right.ndim == 2 else sum + left @ right


def _affine(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    return x @ matrix.mT if bias is None else x @ matrix.mT + bias.unsqueeze(-2)


class OneMatrix:
    """f(h) = V sigma(h) + c; theta = (V,) or (V, c)."""

    def __init__(self, activation: str) -> None:
        self.activation = ACTIVATIONS[activation]

    def __call__(self, h: Tensor, V: Tensor, c: Tensor | None = None) -> Tensor:
        return _affine(self.activation.value(h), V, c)

    def pull(self, g: Tensor, h: Tensor, V: Tensor, c: Tensor | None = None) -> Tensor:
        """Gradient of g.f for h."""
        return self.activation.pull(g @ V, h, self.activation.value(h))

    def pullback(self, g: Tensor, h: Tensor, V: Tensor, c: Tensor | None = None) -> tuple[Tensor, ...]:
        """Gradients of g.f for h and each of theta."""
        s = self.activation.value(h)
        gradients = self.activation.pull(g @ V, h, s), g.mT @ s
        return gradients if c is None else (*gradients, g.sum(-2))

    def sweep(self, g: Tensor, path: Tensor, factor: Tensor, V: Tensor, c: Tensor | None = None) -> tuple[Tensor, ...]:
        """The same for h <- h + factor f(h) through a stretch, from the gradient g at its end and the states (l, ..., b, d)
        that enter its layers: gradients for the first state and each of theta (l, ...).
        """
        s = self.activation.value(path)
        slope = self.activation.pull(factor.expand_as(path), path, s)
        arriving = []
        for v, own in zip(reversed(V.unbind()), reversed(slope.unbind()), strict=True):
            arriving.append(g)
            g = torch.addcmul(g, g @ v, own)
        every = torch.stack(arriving[::-1]) * factor
        gradients = g, every.mT @ s
        return gradients if c is None else (*gradients, every.sum(-2))


class TwoMatrices:
    """f(h) = V sigma(W h + e) + c; theta = (V, W) or (V, W, c, e)."""

    def __init__(self, activation: str) -> None:
        self.activation = ACTIVATIONS[activation]

    def __call__(self, h: Tensor, V: Tensor, W: Tensor, c: Tensor | None = None, e: Tensor | None = None) -> Tensor:
        return _affine(self.activation.value(_affine(h, W, e)), V, c)

    def pull(
        self, g: Tensor, h: Tensor, V: Tensor, W: Tensor, c: Tensor | None = None, e: Tensor | None = None
    ) -> Tensor:
        """Gradient of g.f for h."""
        x = _affine(h, W, e)
        return self.activation.pull(g @ V, x, self.activation.value(x)) @ W

    def pullback(
        self, g: Tensor, h: Tensor, V: Tensor, W: Tensor, c: Tensor | None = None, e: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Gradients of g.f for h and each of theta."""
        x = _affine(h, W, e)
        s = self.activation.value(x)
        inner = self.activation.pull(g @ V, x, s)
        gradients = inner @ W, g.mT @ s, inner.mT @ h
        return gradients if c is None else (*gradients, g.sum(-2), inner.sum(-2))

    def sweep(
        self,
        g: Tensor,
        path: Tensor,
        factor: Tensor,
        V: Tensor,
        W: Tensor,
        c: Tensor | None = None,
        e: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """As OneMatrix.sweep; all that needs no gradient is computed for the whole stretch at once."""
        x = _affine(path, W, e)
        s = self.activation.value(x)
        slope = self.activation.pull(factor.expand_as(x), x, s)
        arriving, inside = [], []
        for v, w, own in zip(*(reversed(one.unbind()) for one in (V, W, slope)), strict=True):
            arriving.append(g)
            inside.append((g @ v) * own)
            g = _add_product(g, inside[-1], w)
        every, inner = torch.stack(arriving[::-1]) * factor, torch.stack(inside[::-1])
        gradients = g, every.mT @ s, inner.mT @ path
        return gradients if c is None else (*gradients, every.sum(-2), inner.sum(-2))
