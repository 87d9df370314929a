"""Deep linear regression in closed form: bounds on the sharpness of minimisers, gradients, conserved quantities, flows.

Marion, Chizat, "Deep linear networks for regression are implicitly regularized towards flat minima" (NeurIPS 2024). The
loss is R = (p - w*)' S (p - w*) + floor, which is |X p - y|^2/n without a factor 1/2, with p' = last' W_l … W_1. Sharpness
is the largest eigenvalue of its Hessian.

Shapes: layers (..., l, d, d) and last (..., d) with any leading axes, S (..., d, d), w = w* (..., d). L is the depth: l + 1
where `last` is trained (the mlp), l where it is fixed (residual networks).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

# Bounds and constructions, functions of S and w* alone.


def curvature(S: Tensor, w: Tensor) -> Tensor:
    """a = w*' S w*/|w*|^2, the second moment of the data along w*."""
    return _form(S, w) / w.square().sum(-1)


def _form(S: Tensor, w: Tensor) -> Tensor:
    return (w * _times(S, w)).sum(-1)


def _times(A: Tensor, x: Tensor) -> Tensor:
    return (A @ x.unsqueeze(-1)).squeeze(-1)


def lower_bound(S: Tensor, w: Tensor, L: int) -> Tensor:
    """2 L a |w*|^{2 - 2/L}: no minimiser of depth L is flatter (Theorem 1)."""
    return 2 * L * curvature(S, w) * w.norm(dim=-1) ** (2 - 2 / L)


def refined_bound(S: Tensor, w: Tensor, L: int) -> Tensor:
    """2 L |w*|^{2 - 2/L} a^{1 - 2/L} |S w*/|w*||^{2/L}, at least `lower_bound` and still below every minimiser.

    With p_k = |W_L … W_{k+1}|, z = S w*/|w*|, q_k = |W_k … W_1 z|: perturbations of all layers that move p by c with
    c'z = sum c_k p_k q_{k-1} and the inequality (c'z)^2 <= a c'S c give sharpness >= (2/a) sum (p_k q_{k-1})^2; then
    p_k q_k >= |w*' z| = a |w*| and the inequality of the means.
    """
    norm = w.norm(dim=-1)
    pulled = _times(S, w).norm(dim=-1) / norm
    return 2 * L * norm ** (2 - 2 / L) * curvature(S, w) ** (1 - 2 / L) * pulled ** (2 / L)


def upper_line(S: Tensor, L: int) -> Tensor:
    """8 L Lambda, the dotted upper line of Figure 1b for |w*| = 1; Lambda is the largest eigenvalue of S."""
    return 8 * L * largest_eigenvalue(S)


def largest_step(S: Tensor, w: Tensor, L: int) -> Tensor:
    """1/(L a |w*|^{2 - 2/L}): above this learning rate gradient descent settles at no minimiser (Figure 2)."""
    return 2 / lower_bound(S, w, L)


def chain_sharpness(S: Tensor, w: Tensor, L: int) -> Tensor:
    """Sharpness of a balanced rank-one minimiser W_k = |w*|^{1/L} u_k u_{k-1}', u_0 = w*/|w*|, of depth L.

    It is 2 |w*|^{2 - 2/L} times the largest eigenvalue of S^{1/2} (I + (L - 1) u_0 u_0') S^{1/2}.
    """
    norm = w.norm(dim=-1, keepdim=True)
    u = w / norm
    middle = torch.eye(w.shape[-1], dtype=w.dtype, device=w.device) + (L - 1) * u.unsqueeze(-1) * u.unsqueeze(-2)
    return 2 * norm.squeeze(-1) ** (2 - 2 / L) * _largest_product(S, middle)


def chain_upper(S: Tensor, w: Tensor, L: int) -> Tensor:
    """2 |w*|^{2 - 2/L} ((L - 1) a + Lambda), above `chain_sharpness`."""
    return 2 * w.norm(dim=-1) ** (2 - 2 / L) * ((L - 1) * curvature(S, w) + largest_eigenvalue(S))


def rank_one_chain(w: Tensor, L: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """A balanced rank-one mlp (layers, last) of depth L with p = w*, its inner directions u_k random."""
    directions = torch.randn(L - 1, *w.shape, generator=generator, dtype=w.dtype)
    u = torch.cat([w[None], directions])
    u = u / u.norm(dim=-1, keepdim=True)  # (L, ..., d), from u_0 on
    size = w.norm(dim=-1)[..., None] ** (1 / L)
    layers = [size[..., None] * u[k].unsqueeze(-1) * u[k - 1].unsqueeze(-2) for k in range(1, L)]
    return torch.stack(layers, -3), size * u[L - 1]


def onto_minimisers(layers: Tensor, last: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """The network whose first layer is changed as little as possible so that p = w*, any w* and any other layers."""
    row = backward_rows(layers, last)[..., 1, :]  # last' W_l … W_2
    missing = (w - backward_rows(layers, last)[..., 0, :]) / row.square().sum(-1, keepdim=True)
    first = layers[..., :1, :, :] + (row.unsqueeze(-1) * missing.unsqueeze(-2)).unsqueeze(-3)
    return torch.cat([first, layers[..., 1:, :, :]], -3), last


def rescaled(layers: Tensor, c: float) -> Tensor:
    """W_1 times c and W_2 over c: the same function, as sharp as one likes."""
    factors = torch.ones(layers.shape[-3], dtype=layers.dtype)
    factors[0], factors[1] = c, 1 / c
    return layers * factors[:, None, None]


# The network: products, gradients, Hessian.


def backward_rows(layers: Tensor, last: Tensor) -> Tensor:
    """Row k is last' W_l … W_{k+1}, k = 0 … l: (..., l+1, d); row 0 is p, row l is last."""
    rows = [last]
    for k in reversed(range(layers.shape[-3])):
        rows.append((rows[-1].unsqueeze(-2) @ layers[..., k, :, :]).squeeze(-2))
    return torch.stack(rows[::-1], -2)


def forward_vectors(layers: Tensor, x: Tensor) -> Tensor:
    """Row k is W_k … W_1 x, k = 0 … l: (..., l+1, d)."""
    vectors = [x]
    for k in range(layers.shape[-3]):
        vectors.append(_times(layers[..., k, :, :], vectors[-1]))
    return torch.stack(vectors, -2)


def product(layers: Tensor, last: Tensor) -> Tensor:
    """p (..., d)."""
    return backward_rows(layers, last)[..., 0, :]


def excess(layers: Tensor, last: Tensor, S: Tensor, w: Tensor) -> Tensor:
    """(p - w*)' S (p - w*), the loss above its smallest value."""
    return _form(S, product(layers, last) - w)


def gradients(layers: Tensor, last: Tensor, S: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the loss by layers and last: dR/dW_k = (W_L … W_{k+1})' (W_{k-1} … W_1 g)' with g = 2 S (p - w*)."""
    rows = backward_rows(layers, last)
    vectors = forward_vectors(layers, 2 * _times(S, rows[..., 0, :] - w))
    return rows[..., 1:, :].unsqueeze(-1) * vectors[..., :-1, :].unsqueeze(-2), vectors[..., -1, :]


def hessian_product(
    layers: Tensor, last: Tensor, S: Tensor, w: Tensor, by_layers: Tensor, by_last: Tensor
) -> tuple[Tensor, Tensor]:
    """The Hessian times a direction (by_layers, by_last): the derivative of `gradients` along it."""
    rows = backward_rows(layers, last)
    moved = [by_last]  # derivatives of the rows
    for k in reversed(range(layers.shape[-3])):
        row, move = rows[..., k + 1, :].unsqueeze(-2), moved[-1].unsqueeze(-2)
        moved.append((move @ layers[..., k, :, :] + row @ by_layers[..., k, :, :]).squeeze(-2))
    moves = torch.stack(moved[::-1], -2)
    vectors = forward_vectors(layers, 2 * _times(S, rows[..., 0, :] - w))
    turned = [2 * _times(S, moves[..., 0, :])]  # derivatives of the vectors
    for k in range(layers.shape[-3]):
        turned.append(_times(layers[..., k, :, :], turned[-1]) + _times(by_layers[..., k, :, :], vectors[..., k, :]))
    turns = torch.stack(turned, -2)
    outer = moves[..., 1:, :].unsqueeze(-1) * vectors[..., :-1, :].unsqueeze(-2)
    return outer + rows[..., 1:, :].unsqueeze(-1) * turns[..., :-1, :].unsqueeze(-2), turns[..., -1, :]


def sharpness_at_minimum(layers: Tensor, last: Tensor, S: Tensor, trains_last: bool) -> Tensor:
    """Sharpness where p = w*, exactly: the Hessian there is 2 J'S J with J = dp/dW, so

        2 lambda_max(S^{1/2} [sum_k |W_L … W_{k+1}|^2 (W_{k-1} … W_1)' (W_{k-1} … W_1)] S^{1/2}),

    an eigenproblem of d dimensions. Away from minimisers it is the Gauss-Newton part of the Hessian alone.
    """
    weights = backward_rows(layers, last)[..., 1:, :].square().sum(-1)  # (..., l), of W_1 … W_l
    partial = torch.eye(last.shape[-1], dtype=last.dtype, device=last.device).expand_as(layers[..., 0, :, :])
    middle = torch.zeros_like(partial)
    for k in range(layers.shape[-3]):
        middle = middle + weights[..., k, None, None] * (partial.mT @ partial)
        partial = layers[..., k, :, :] @ partial
    if trains_last:
        middle = middle + partial.mT @ partial
    return 2 * _largest_product(S, middle)


def _largest_product(S: Tensor, middle: Tensor) -> Tensor:
    """Largest eigenvalue of S^{1/2} M S^{1/2}."""
    values, vectors = torch.linalg.eigh(S)
    root = vectors * values.clamp(min=0).sqrt().unsqueeze(-2)  # root root' = S
    return largest_eigenvalue(root.mT @ middle @ root)


def largest_eigenvalue(A: Tensor) -> Tensor:
    """Of symmetric matrices (..., d, d); NaN where a matrix is not finite, which LAPACK would refuse for all."""
    clean = A.nan_to_num(0.0, 0.0, 0.0)
    broken = (A.isfinite().logical_not()).any(-1).any(-1)
    return torch.where(broken, math.nan, torch.linalg.eigvalsh(clean)[..., -1])


# Rank, alignment, balance.


class Shape(NamedTuple):
    """How far layers are from a chain of aligned rank-one matrices.

    ratio: s_2/s_1, mean over the square layers. alignment: |<u_k, v_{k+1}>|, the left singular vector of one layer and the
    right one of the next, `last` included, mean over the pairs. size: Frobenius norms, `last` included (..., l+1).
    """

    ratio: Tensor
    alignment: Tensor
    size: Tensor


def shape(layers: Tensor, last: Tensor) -> Shape:
    """Singular values and vectors of the layers; NaN where a layer is not finite."""
    broken = layers.isfinite().logical_not().any(-1).any(-1).any(-1)
    U, s, Vt = torch.linalg.svd(layers.nan_to_num(0.0, 0.0, 0.0))
    ahead = torch.cat([Vt[..., 1:, 0, :], (last / last.norm(dim=-1, keepdim=True)).unsqueeze(-2)], -2)
    alignment = (U[..., :, 0] * ahead).sum(-1).abs().mean(-1)
    ratio = (s[..., 1] / s[..., 0]).mean(-1) if s.shape[-1] > 1 else torch.zeros_like(alignment)
    size = torch.cat([layers.flatten(-2).norm(dim=-1), last.norm(dim=-1, keepdim=True)], -1)
    return Shape(torch.where(broken, math.nan, ratio), torch.where(broken, math.nan, alignment), size)


def balance(layers: Tensor, last: Tensor, trains_last: bool) -> Tensor:
    """W_{k+1}' W_{k+1} - W_k W_k' of neighbouring trained layers (..., L-1, d, d), which gradient flow conserves."""
    left = layers @ layers.mT
    right = layers.mT @ layers
    ahead = right[..., 1:, :, :]
    if trains_last:
        ahead = torch.cat([ahead, (last.unsqueeze(-1) * last.unsqueeze(-2)).unsqueeze(-3)], -3)
    return ahead - left[..., : ahead.shape[-3], :, :]


def drift(start: Tensor, layers: Tensor, last: Tensor, trains_last: bool) -> Tensor:
    """Frobenius norm of how far `balance` has moved from its value `start`."""
    return (balance(layers, last, trains_last) - start).flatten(-3).norm(dim=-1)


# Training laws.


def descent_step(
    layers: Tensor, last: Tensor, S: Tensor, w: Tensor, lr: float | Tensor, trains_last: bool
) -> tuple[Tensor, Tensor]:
    """One step of gradient descent; lr is a number, or one for each network (...)."""
    by_layers, by_last = gradients(layers, last, S, w)
    lr = torch.as_tensor(lr, dtype=layers.dtype)
    moved = layers - lr[..., None, None, None] * by_layers
    return moved, (last - lr[..., None] * by_last if trains_last else last)


def descent(
    layers: Tensor, last: Tensor, S: Tensor, w: Tensor, lr: float, steps: int, trains_last: bool
) -> tuple[Tensor, Tensor]:
    """`steps` steps of gradient descent."""
    for _ in range(steps):
        layers, last = descent_step(layers, last, S, w, lr, trains_last)
    return layers, last


# Dormand and Prince's pair of orders 5 and 4: the stages' coefficients, and the difference of the two solutions.
STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def flow_step(
    layers: Tensor, last: Tensor, S: Tensor, w: Tensor, time: float | Tensor, trains_last: bool
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """One Runge-Kutta step of the gradient flow over `time` (a number or (...)): its end, and the estimate of its error."""
    time = torch.as_tensor(time, dtype=layers.dtype)
    slopes: list[tuple[Tensor, Tensor]] = []

    def moved(coefficients: tuple[float, ...]) -> tuple[Tensor, Tensor]:
        terms = [(c, slope) for c, slope in zip(coefficients, slopes, strict=False) if c]
        by_layers, by_last = (sum((c * slope[i] for c, slope in terms), torch.zeros(())) for i in range(2))
        return time[..., None, None, None] * by_layers, time[..., None] * by_last

    at = (layers, last)
    for coefficients in (*STAGES, ()):
        by_layers, by_last = gradients(*at, S, w)
        slopes.append((-by_layers, -by_last if trains_last else torch.zeros_like(by_last)))
        if coefficients:
            steps = moved(coefficients)
            at = (layers + steps[0], last + steps[1])
    return at, moved(ERROR)


def gradient_flow(
    layers: Tensor, last: Tensor, S: Tensor, w: Tensor, time: float, trains_last: bool, tolerance: float = 1e-9
) -> tuple[Tensor, Tensor]:
    """Gradient flow of r networks, layers (r, l, d, d), over `time`; each takes steps of its own length.

    Args:
        tolerance: largest error of one entry in one step.
    """
    now = torch.zeros(len(layers), dtype=layers.dtype)
    step = 0.1 / sharpness_at_minimum(layers, last, S, trains_last).clamp(min=1.0)
    while (now < time).any():
        step = torch.minimum(step, time - now)
        (new_layers, new_last), (off_layers, off_last) = flow_step(layers, last, S, w, step, trains_last)
        error = torch.cat([off_layers.flatten(1), off_last], 1).abs().amax(1) / tolerance
        good = error <= 1
        layers = torch.where(good[:, None, None, None], new_layers, layers)
        last = torch.where(good[:, None], new_last, last)
        now = torch.where(good, torch.where(time - now <= step, time, now + step), now)
        step = step * (0.9 * error.clamp(min=1e-10) ** -0.2).clamp(0.2, 5.0)
    return layers, last
