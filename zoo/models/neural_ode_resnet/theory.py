"""Statistics and closed forms of "Implicit regularization of deep residual networks towards neural ODEs" (ICLR 2024).

Shapes: l layers, (l, ...) one kind of weights of a net. Z_k = (V_k, W_k), and the norm of Z_k is that of V_k plus that of W_k.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Regularity along depth.


def largest_jump(*weights: Tensor) -> Tensor:
    """max over the layers and the kinds of weights of |Z_{k+1} - Z_k|_F, (): what Proposition 3 bounds by K/L."""
    return torch.stack([one.diff(dim=0).flatten(1).norm(dim=1).amax() for one in weights]).amax()


def squared_jumps(weights: Tensor) -> Tensor:
    """sum_k |Z_{k+1} - Z_k|_F^2, (). The root of its sum over training is what the released Figure 1 (left) shows: for jumps of
    K/L it decays as L^{-1/2}.
    """
    return weights.diff(dim=0).square().sum()


def roughness(weights: Tensor) -> Tensor:
    """mean_k |Z_{k+1} - Z_k|_F / (2 mean_k |Z_k - mean Z|_F), (): 1/sqrt(2) for white noise, O(1/L) for a smooth path.

    Zero if all layers are equal.
    """
    steps = weights.diff(dim=0).flatten(1).norm(dim=1).mean()
    spread = (weights - weights.mean(0)).flatten(1).norm(dim=1).mean()
    return torch.where(spread > 0, steps / (2 * spread).clamp(min=torch.finfo(spread.dtype).tiny), 0 * spread)


def depth_distance(coarse: Tensor, fine: Tensor) -> Tensor:
    """|Z^L - Z^R| in L^2 of [0, 1], (), both nets piecewise constant in depth; R is a multiple of L."""
    every = coarse.repeat_interleave(len(fine) // len(coarse), dim=0)
    return (every - fine).flatten(1).square().sum(1).mean().sqrt()


def released_distance(coarse: Tensor, fine: Tensor) -> Tensor:
    """The same with the finer net read at the steps of the coarser one only, as the released Figure 1 (right) has it, ()."""
    at = torch.arange(len(coarse), device=fine.device) * len(fine) // len(coarse)
    return (coarse - fine[at]).flatten(1).square().sum(1).mean().sqrt()


# Bounds.


def norm_bound(time: float, clip: float, width: int, hidden: int) -> float:
    """M = T M_pi + 2 sqrt(q m), Eq. 7: a bound of |V_k(t)|_F and |W_k(t)|_F for t up to T, gradients being clipped at M_pi."""
    return time * clip + 2 * math.sqrt(width * hidden)


def norm_confidence(entries: int) -> tuple[float, float]:
    """P(|W|_F > 2 sqrt(q m)) for one normal draw of q m entries, and its bound exp(-3 q m/16)."""
    tail = torch.special.gammaincc(torch.tensor(entries / 2, dtype=torch.float64), torch.tensor(2.0 * entries).double())
    return tail.item(), math.exp(-3 * entries / 16)


def convergence_rate(samples: int, width: int) -> float:
    """1/(n sqrt(n q)): the Polyak-Lojasiewicz constant of Proposition 5 and the rate of Theorem 6, up to universal factors."""
    return 1 / (samples * math.sqrt(samples * width))


def lojasiewicz_ratio(
    loss: Callable[..., Tensor], ends: Sequence[Tensor], layers: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """(|dA|^2 + L sum_k |dZ_k|^2 + |dB|^2)/loss, Eq. 9, and the loss; `loss` of the tensors of ends and layers, (l, ...)."""
    leaves = [one.detach().requires_grad_() for one in (*ends, *layers)]
    value = loss(*leaves)
    gradients = torch.autograd.grad(value, leaves)
    depth = len(layers[0])
    squares = [g.square().sum() * (depth if i >= len(ends) else 1) for i, g in enumerate(gradients)]
    return torch.stack(squares).sum() / value.detach(), value.detach()


# The counter-example with relu (Appendix D): a scalar net of 2L layers h <- h + relu(w_k h)/(2L).


class ScalarNet(NamedTuple):
    """Weights before and after training, (2l,)."""

    start: Tensor
    end: Tensor


def scalar_limit(depth: int, target: float) -> float:
    """w* = 2L(C^{1/L} - 1) >= 2 log C, where every second weight ends; the others never move."""
    return 2 * depth * math.expm1(math.log(target) / depth)


def train_scalar(depth: int, target: float, *, lr: float = 0.2, steps: int = 4000) -> ScalarNet:
    """Gradient descent with rate L lr on (F(1) - C)^2, from w_k = (-1)^k/(2L), k = 1 … 2L, in float64.

    On x > 0 the state is positive, so that f(w) = w h where w > 0 and zero elsewhere, with its derivative.
    """
    k = torch.arange(1, 2 * depth + 1, dtype=torch.float64)
    start = (1 - 2 * (k % 2)) / (2 * depth)
    w = start.clone()
    for _ in range(steps):
        growth = 1 + w.clamp(min=0) / (2 * depth)
        output = growth.prod()
        slope = 2 * (output - target) * output / growth * (w > 0) / (2 * depth)
        w = w - lr * 2 * depth * slope
    return ScalarNet(start, w)
