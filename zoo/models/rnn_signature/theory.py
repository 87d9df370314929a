"""Closed forms of "Framing RNN as a kernel method: a neural ODE approach" (Fermanian, Marion, Vert, Biau, NeurIPS 2021).

Shapes: e hidden size, d channels, c = d + 1 channels with time, which is the LAST; N order of the expansion. A path is piecewise
linear through points (..., l, d), evenly spaced on [0, 1]. All functions take further leading axes of paths, or go under vmap.

The net follows dH_t = sigma(W_h H_t + W_x X_t + b) dt. With the lift Z = (H, X) in R^{e+d} and the path (X, t) in R^c,
dZ = F(Z) d(X, t), F(z) = [[0, sigma(C z + b)], [I, 0]], C = [W_h W_x], and

    Z_1 = Z_0 + sum_k sum_{i_1 ... i_k} S^(i_1 ... i_k) T_k(Z_0)[i_1 ... i_k]

with the iterated fields T_1 = F and T_k(z)[i_1 ... i_k] = D_z(T_{k-1}(z)[i_2 ... i_k]) F_{i_1}(z): i_1, of the earliest integral,
is the first field and the last one differentiated along. Where the paper's statement was not to be had, the derivation is ours.
"""

from __future__ import annotations

import functools
import importlib
import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import jacfwd


class Field(NamedTuple):
    """What the equation needs: W_h (e, e), W_x (e, d), b (e,), and the activation, "tanh" or "logistic"."""

    W_h: Tensor
    W_x: Tensor
    b: Tensor
    activation: str = "tanh"

    def speed(self, h: Tensor, x: Tensor) -> Tensor:
        """sigma(W_h h + W_x x + b): (..., e) and (..., d) -> (..., e)."""
        return derivatives(self.activation, h @ self.W_h.mT + x @ self.W_x.mT + self.b)[0]

    def lifted(self, z: Tensor) -> Tensor:
        """F(z): (e + d,) -> (e + d, c)."""
        e, d = self.W_x.shape
        s = derivatives(self.activation, torch.cat([self.W_h, self.W_x], dim=1) @ z + self.b)[0]
        top = torch.cat([s.new_zeros(e, d), s[:, None]], dim=1)
        bottom = torch.cat([torch.eye(d, dtype=s.dtype, device=s.device), s.new_zeros(d, 1)], dim=1)
        return torch.cat([top, bottom])


def derivatives(activation: str, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """sigma, sigma' and sigma'' at a."""
    if activation == "tanh":
        s = torch.tanh(a)
        first = 1 - s * s
        return s, first, -2 * s * first
    s = torch.sigmoid(a)
    first = s * (1 - s)
    return s, first, first * (1 - 2 * s)


# The expansion.


@functools.cache
def load_forward_mode() -> None:
    """PyTorch scripts what forward differentiation needs on its first use, and warns of its own scripting."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        importlib.import_module("torch._decomp.decompositions_for_jvp")


def iterated_fields(field: Field, h: Tensor, x: Tensor, depth: int) -> list[Tensor]:
    """T_1, ..., T_N at (h, x), by nested Jacobians: level k is (e + d, c^k)."""

    load_forward_mode()

    def next_field(inner: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def outer(z: Tensor) -> Tensor:
            slopes = jacfwd(inner)(z)  # (e + d, c^{k-1}, e + d)
            return torch.einsum("ojz,zi->oij", slopes, field.lifted(z)).flatten(1)

        return outer

    found: list[Tensor] = []
    one: Callable[[Tensor], Tensor] = field.lifted
    for _ in range(depth):
        found.append(one(torch.cat([h, x])))
        one = next_field(one)
    return found


def closed_fields(field: Field, h: Tensor, x: Tensor, depth: int = 3) -> list[Tensor]:
    """The rows of H of T_1, ..., T_N in closed form, N <= 3: level k is (e, c^k).

    With a = W_h h + W_x x + b, s = sigma(a), u_i = W_x[:, i] for a channel and u_time = W_h s: T_1[time] = s,
    T_2[i, time] = s' u_i, T_3[i, j, time] = s'' u_i u_j + 1{j = time} s' W_h (s' u_i); other entries are zero.

    Raises:
        ValueError: N is not 1, 2 or 3.
    """
    if depth not in (1, 2, 3):
        raise ValueError(f"depth={depth}: closed forms go to 3; iterated_fields takes any")
    s, first, second = derivatives(field.activation, h @ field.W_h.mT + x @ field.W_x.mT + field.b)
    e, d = field.W_x.shape
    u = torch.cat([field.W_x, (field.W_h @ s)[:, None]], dim=1)  # (e, c)
    pulled = first[:, None] * u
    last = [s[:, None], pulled]  # entries whose last index is time, (e, c^{k-1})
    again = first[:, None] * (field.W_h @ pulled)
    pairs = second[:, None, None] * u[:, :, None] * u[:, None, :]
    pairs = pairs + torch.nn.functional.pad(again[:, :, None], (d, 0))
    last.append(pairs.flatten(1))
    return [torch.nn.functional.pad(level[:, :, None], (d, 0)).flatten(1) for level in last[:depth]]


def expand(h: Tensor, fields: list[Tensor], levels: list[Tensor]) -> Tensor:
    """The Taylor approximations of H_1 of orders 1 ... N: (N, ..., e).

    h (..., e); fields (..., e, c^k), rows of H; levels (..., c^k) of the signature of the path with time.
    """
    parts = [(one @ level.unsqueeze(-1)).squeeze(-1) for one, level in zip(fields, levels, strict=True)]
    return h + torch.stack(torch.broadcast_tensors(*parts)).cumsum(0)


def reversed_words(level: Tensor, letters: int) -> Tensor:
    """The entries of i_1 ... i_k at i_k ... i_1, (..., c^k)."""
    k = round(math.log(level.shape[-1], letters))
    lead = level.ndim - 1
    order = [*range(lead), *reversed(range(lead, lead + k))]
    return level.unflatten(-1, (letters,) * k).permute(order).flatten(lead)


def remainder_bound(fields: Tensor, variation: Tensor, depth: int) -> Tensor:
    """sup_t |T_{N+1}(Z_t)| TV^{N+1}/(N+1)!, a bound of |H_1 - order N|.

    fields (times, ..., e, c^{N+1}) along the solution; |.| is the spectral norm of the matrix, which is no less than the norm
    as a multilinear map. variation (...): of the path with time.
    """
    norm = torch.linalg.matrix_norm(fields, ord=2).amax(0)
    return norm * variation ** (depth + 1) / math.factorial(depth + 1)


def total_variation(path: Tensor) -> Tensor:
    """Length of a path (..., l, d): (...)."""
    return path.diff(dim=-2).norm(dim=-1).sum(-1)


# The equation and its scheme.


def solve(field: Field, h: Tensor, path: Tensor, substeps: int = 4) -> Tensor:
    """H at the points of the path (..., l, d), by Runge and Kutta's fourth-order scheme: (l, ..., e).

    The path is linear between its points, so that the scheme has its order with any number of substeps for each.
    """
    steps = path.shape[-2] - 1
    dt = 1 / (steps * substeps)
    found = [h]
    for j in range(steps):
        x, slope = path[..., j, :], (path[..., j + 1, :] - path[..., j, :]) / substeps
        for i in range(substeps):
            first = field.speed(h, x + i * slope)
            second = field.speed(h + dt / 2 * first, x + (i + 0.5) * slope)
            third = field.speed(h + dt / 2 * second, x + (i + 0.5) * slope)
            fourth = field.speed(h + dt * third, x + (i + 1) * slope)
            h = h + dt / 6 * (first + 2 * second + 2 * third + fourth)
        found.append(h)
    return torch.stack(found)


def euler(field: Field, h: Tensor, x: Tensor) -> Tensor:
    """h_T of the residual net on a series (..., t, d): (..., e)."""
    steps = x.shape[-2]
    for j in range(steps):
        h = h + field.speed(h, x[..., j, :]) / steps
    return h


# Norms and bounds.


def squared_norm(start: Tensor, coefficients: list[Tensor]) -> Tensor:
    """|f|^2 = |start|^2 + sum_k |coefficients_k|^2/(k!)^2 up to N, for v functions: start (v,), coefficients (v, c^k) -> (v,).

    The factorials make it the norm for the kernel of features k! S_k.
    """
    parts = [c.square().sum(-1) / math.factorial(k) ** 2 for k, c in enumerate(coefficients, start=1)]
    return start.square() + torch.stack(parts).sum(0)


def squared_rkhs_norm(field: Field, h: Tensor, psi: Tensor, psi_bias: Tensor, depth: int = 3) -> Tensor:
    """|f|^2 of the net truncated at N <= 3, mean over its scores: (). The path starts at the origin.

    f has the coefficients psi T_k(Z_0), psi linear; the readout's bias belongs to the constant alone.
    """
    fields = closed_fields(field, h, torch.zeros_like(field.W_x[0]), depth)
    return squared_norm(psi @ h + psi_bias, [psi @ level for level in fields]).mean()


def code_norm(field: Field, h: Tensor, psi: Tensor, psi_bias: Tensor, depth: int = 3) -> Tensor:
    """The same as the released code has it: psi's bias is added to every coefficient. ().

    There `field` also holds the bias b of the INITIAL network for ever, which the code computes once.
    """
    fields = closed_fields(field, h, torch.zeros_like(field.W_x[0]), depth)
    return squared_norm(psi @ h + psi_bias, [psi @ level + psi_bias[:, None] for level in fields]).mean()


def scaled_norm(start: Tensor, coefficients: list[Tensor], scale: float) -> Tensor:
    """|f| as a function of the path times `scale`, chosen so that its total variation is below 1: (v,)."""
    return squared_norm(start, [c / scale**k for k, c in enumerate(coefficients, start=1)]).sqrt()


class Generalisation(NamedTuple):
    """What the bound is made of."""

    complexity: float
    deviation: float
    discretisation: float

    @property
    def total(self) -> float:
        return sum(self)


def generalisation_bound(
    norm: float, variation: float, n: int, confidence: float, lipschitz: float, discretisation: float
) -> Generalisation:
    """risk - empirical risk <= 2 K B/sqrt(n (1 - L^2)) + sqrt(log(1/delta)/(2 n)) + K times the distance to the ODE.

    For a loss on [0, 1] of Lipschitz constant K, functions of norm at most B on paths of total variation at most L < 1: the
    kernel is at most 1/(1 - L^2), so their Rademacher complexity is at most B/sqrt(n (1 - L^2)). Derived here; the paper has a
    theorem of the same shape.
    """
    complexity = 2 * lipschitz * norm / math.sqrt(n * (1 - variation**2))
    return Generalisation(complexity, math.sqrt(math.log(1 / confidence) / (2 * n)), lipschitz * discretisation)
