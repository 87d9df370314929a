"""Kernels of paths: the signature kernel by its differential equation, and truncated ones with weights.

Shapes: x (..., l, d) and y (..., m, d); Gram matrices (n, n').
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from zoo.signatures.algebra import join, split
from zoo.signatures.library import Backend, owned, pysiglib, serves, transformed
from zoo.signatures.signature import signature

NUMBERS = 1 << 20  # of the grids of a Gram matrix that pySigLib holds at once; it does squares of paths


def products(x: Tensor, y: Tensor, bandwidth: float | None) -> Tensor:
    """<dx_i, dy_j> of the steps of two paths, (..., l-1, m-1); with a bandwidth, of their images under exp(-|x - y|^2/bandwidth).

    The inner product of two steps of images is a second difference of that kernel at their ends.
    """
    if bandwidth is None:
        return x.diff(dim=-2) @ y.diff(dim=-2).mT
    squares = x.square().sum(-1)[..., :, None] + y.square().sum(-1)[..., None, :] - 2 * x @ y.mT
    return (-squares / bandwidth).exp().diff(dim=-2).diff(dim=-1)


def _static(bandwidth: float | None) -> Any:
    return None if bandwidth is None else pysiglib().RBFKernel(bandwidth)


def _watched(name: str, x: Tensor, y: Tensor, **options: Any) -> Tensor:
    """A function of pySigLib; of its two kinds that with gradients keeps every grid."""
    if not (torch.is_grad_enabled() and (x.requires_grad or y.requires_grad)):
        first = x.detach()
        found: Tensor = getattr(pysiglib(), name)(first, first if y is x else y.detach(), **options)
        return found
    found = getattr(pysiglib("pysiglib.torch_api"), name)(x, y, **options)
    found.register_hook(owned)
    return found


def goursat(x: Tensor, y: Tensor, refine: int = 0, bandwidth: float | None = None, backend: Backend = "auto") -> Tensor:
    """The signature kernel 1 + sum_k <S_k(x), S_k(y)> of pairs of paths, (...).

    It solves d^2 K/ds dt = <x'_s, y'_t> K with K = 1 on both axes. Second order on the grid of the points, each step cut in
    2^refine: K_{i+1,j+1} = (K_{i+1,j} + K_{i,j+1}) (1 + p/2 + p^2/12) - K_{i,j} (1 - p^2/12), p = <dx_i, dy_j>; one
    anti-diagonal after the other. With a `bandwidth` the points are seen through the Gaussian kernel exp(-|x - y|^2/bandwidth).

    Raises:
        ValueError: refine is negative, the bandwidth not positive, or the paths have different channels.
        ZooError: pySigLib is asked for and absent.
    """
    check(x, y, refine, bandwidth)
    if serves(backend, x) and not transformed():
        batch = torch.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        pair = [owned(one.expand(*batch, *one.shape[-2:]).reshape(-1, *one.shape[-2:])) for one in (x, y)]
        found = _watched("sig_kernel", *pair, dyadic_order=refine, static_kernel=_static(bandwidth))
        return found.reshape(batch)
    p = products(x, y, bandwidth) / 4**refine
    p = p.repeat_interleave(2**refine, -2).repeat_interleave(2**refine, -1)
    m, n = p.shape[-2:]
    # Anti-diagonals as rows: cells (i, s - i). Zeros outside keep the boundary at one, and what lies beyond is never read.
    skew = torch.nn.functional.pad(p, (0, m)).flatten(-2)[..., : m * (n + m - 1)].unflatten(-1, (m, n + m - 1))
    before = last = p.new_ones(*p.shape[:-2], m + 1)
    edge = last[..., :1]
    for p in skew.movedim(-1, 0).contiguous().unbind():
        square = p * p / 12
        new = (last[..., 1:] + last[..., :-1]) * (1 + p / 2 + square) - before[..., :-1] * (1 - square)
        before, last = last, torch.cat([edge, new], dim=-1)
    return last[..., -1]


def check(x: Tensor, y: Tensor, refine: int, bandwidth: float | None) -> None:
    if refine < 0 or x.shape[-1] != y.shape[-1]:
        raise ValueError(f"refine={refine} must be at least 0, and channels {x.shape[-1]} and {y.shape[-1]} the same")
    if bandwidth is not None and bandwidth <= 0:
        raise ValueError(f"bandwidth={bandwidth} must be positive, or None")


def goursat_gram(
    x: Tensor, y: Tensor, refine: int = 0, bandwidth: float | None = None, backend: Backend = "auto"
) -> Tensor:
    """The kernel of every path (n, l, d) with every path (n', m, d), (n, n')."""
    check(x, y, refine, bandwidth)
    if serves(backend, x) and not transformed():
        most = max(1, math.isqrt(NUMBERS // (x.shape[1] * y.shape[1] << 2 * refine)))
        first = owned(x)
        second = first if y is x else owned(y)  # it does half of a symmetric matrix
        options = {"dyadic_order": refine, "static_kernel": _static(bandwidth), "max_batch": most}
        return _watched("sig_kernel_gram", first, second, **options)
    rows = [goursat(one.expand(len(y), *one.shape), y, refine, bandwidth, "torch") for one in x]  # memory of one row
    return torch.stack(rows)


def features(path: Tensor, depth: int, factorial: bool = False, backend: Backend = "auto") -> Tensor:
    """1 and the signature up to depth N, (..., 1 + s); `factorial` multiplies level k by k!.

    The kernel of the latter is that of Fermanian, Marion, Vert, Biau (NeurIPS 2021), at most 1/(1 - L^2) for paths of total
    variation L < 1. It is not the kernel of `goursat`, whose weights are 1.
    """
    levels = split(signature(path, depth, backend), path.shape[-1], depth)
    if factorial:
        levels = [math.factorial(k) * level for k, level in enumerate(levels, start=1)]
    return join([torch.ones_like(levels[0][..., :1]), *levels])


def truncated_gram(x: Tensor, y: Tensor, depth: int, factorial: bool = False, backend: Backend = "auto") -> Tensor:
    """Inner products of the features of every x (n, l, d) with those of every y (n', m, d)."""
    return features(x, depth, factorial, backend) @ features(y, depth, factorial, backend).mT
