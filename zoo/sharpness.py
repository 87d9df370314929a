"""Sharpness, the largest eigenvalue of a loss's Hessian, from products of the Hessian with vectors.

Shapes: r replicas side by side, each with n parameters in one flat vector; (..., n) has any leading axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]


class Eigenvalue(NamedTuple):
    """value (...): the largest eigenvalue. error (...): how far the true one is at most, or about, relative to it.
    vector (..., n): of norm one. products: how many products it took."""

    value: Tensor
    error: Tensor
    vector: Tensor
    products: int


def starting_vector(n: int, like: Tensor) -> Tensor:
    """A fixed vector (n,) without symmetries, in place of a random one: fractional parts of multiples of golden mean."""
    golden = torch.arange(1, n + 1, dtype=torch.float64, device=like.device) * ((math.sqrt(5) - 1) / 2)
    return (golden.frac() - 0.5).to(like.dtype)


def lanczos(product: Product, start: Tensor, products: int = 25, tolerance: float = 1e-4) -> Eigenvalue:
    """Largest eigenvalue of symmetric operators by Lanczos' method with full orthogonalisation.

    Args:
        product: (..., n) -> (..., n), each operator on its own vector.
        start: (..., n).
        products: how many at most.
        tolerance: stop when every estimated relative error, and the last relative change, are below; 0 never asks, as
            `torch.vmap` needs.

    The error of the Ritz value is at most its residual, and about residual^2/gap once it is separate from the next one;
    the smaller of the two is estimated. An operator that is not finite gives NaN.
    """
    products = min(products, start.shape[-1])
    basis = [start / start.norm(dim=-1, keepdim=True)]
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    floor = torch.finfo(start.dtype).eps * 8
    found: Eigenvalue | None = None
    for _ in range(products):
        image = product(basis[-1])
        diagonal.append((image * basis[-1]).sum(-1))
        known = torch.stack(basis, -2)  # (..., m, n)
        for _ in range(2):  # twice is enough
            image = image - ((known @ image.unsqueeze(-1)).mT @ known).squeeze(-2)
        size = image.norm(dim=-1)
        scale = torch.stack([entry.abs() for entry in diagonal], -1).amax(-1)
        ended = size <= floor * scale  # an invariant subspace: what follows must not count
        size = torch.where(ended, 0.0, size)
        basis.append(torch.where(ended.unsqueeze(-1), 0.0, image) / torch.where(ended, 1.0, size).unsqueeze(-1))
        beside.append(size)
        if tolerance:
            last, found = found, _ritz(diagonal, beside, basis)
            change = (found.value / last.value - 1).abs() if last else torch.ones_like(found.value)
            settled = (torch.maximum(found.error, change) <= tolerance) | (beside[-1] == 0) | found.value.isnan()
            if bool(settled.all()):
                return found
    return found or _ritz(diagonal, beside, basis)


def _ritz(diagonal: list[Tensor], beside: list[Tensor], basis: list[Tensor]) -> Eigenvalue:
    m = len(diagonal)
    main = torch.stack(diagonal, -1)
    off = torch.stack(beside, -1)
    # Behind an end the diagonal repeats its first entry, which is never above the largest eigenvalue.
    gone = torch.cat([torch.zeros_like(off[..., :1], dtype=torch.bool), (off[..., :-1] == 0).cummax(-1).values], -1)
    main = torch.where(gone, main[..., :1], main)
    T = torch.diag_embed(main) + torch.diag_embed(off[..., :-1], 1) + torch.diag_embed(off[..., :-1], -1)
    broken = T.isfinite().logical_not().any(-1).any(-1)
    values, vectors = torch.linalg.eigh(T.nan_to_num(0.0, 0.0, 0.0))
    value, coefficients = values[..., -1], vectors[..., -1]
    residual = (off[..., -1] * coefficients[..., -1]).abs()
    if m > 1:
        gap = value - values[..., -2]
        residual = torch.minimum(residual, residual.square() / gap.clamp(min=torch.finfo(gap.dtype).tiny))
    error = residual / value.abs().clamp(min=torch.finfo(value.dtype).tiny)
    vector = (coefficients.unsqueeze(-2) @ torch.stack(basis[:m], -2)).squeeze(-2)
    return Eigenvalue(torch.where(broken, math.nan, value), torch.where(broken, 0.0, error), vector, m)


def power_iteration(product: Product, start: Tensor, products: int = 20) -> Eigenvalue:
    """Norm of the last product of power iteration, as the paper's code measures sharpness.

    It approaches the eigenvalue of largest size from below, slowly where the next one is close. error: change by the last
    product, relative.
    """
    vector = start / start.norm(dim=-1, keepdim=True)
    size = change = torch.zeros_like(vector[..., 0])
    for _ in range(products):
        image = product(vector)
        change, size = size, image.norm(dim=-1)
        vector = image / size.unsqueeze(-1)
    return Eigenvalue(size, (size - change).abs() / size, vector, products)


# Hessians of losses.


def flatten(tensors: Mapping[str, Tensor]) -> Tensor:
    """(r, ...) tensors as one (r, n)."""
    return torch.cat([tensor.flatten(1) for tensor in tensors.values()], 1)


def unflatten(flat: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """(r, n) as tensors of the names and shapes of `like`."""
    pieces = flat.split([tensor[0].numel() for tensor in like.values()], 1)
    return {name: piece.view_as(tensor) for (name, tensor), piece in zip(like.items(), pieces, strict=True)}


def hessian_products(
    losses: Callable[[dict[str, Tensor]], Tensor], parameters: Mapping[str, Tensor], differences: bool | None = None
) -> Product:
    """Products (r, n) -> (r, n) with the Hessians of r independent losses at stacked parameters.

    The gradient is computed once, with its graph, and each product is one pass back through that graph.

    Args:
        losses: parameters by name, (r, ...) each -> (r,); loss i uses replica i only.
        parameters: where, by name.
        differences: central differences of two gradients instead, for losses that can be differentiated only once, as the
            fused cross-entropy of the language models; None asks the loss. They want float64.
    """
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in parameters.items()}

    def gradient(at: dict[str, Tensor], total: Tensor | None = None) -> Tensor:
        with torch.enable_grad():
            graph = total is not None
            total = losses(at).sum() if total is None else total
            slopes = torch.autograd.grad(total, list(at.values()), create_graph=graph, materialize_grads=True)
        return flatten(dict(zip(at, slopes, strict=True)))

    with torch.enable_grad():
        total = losses(leaves).sum()
    if differences or (differences is None and _differentiable_once(total)):
        centre = flatten(leaves).detach()
        spacing = torch.finfo(centre.dtype).eps ** (1 / 3)

        def by_differences(direction: Tensor) -> Tensor:
            size = direction.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(centre.dtype).tiny)
            step = spacing * direction / size
            ahead, behind = (
                gradient({name: leaf.requires_grad_() for name, leaf in unflatten(at, leaves).items()})
                for at in (centre + step, centre - step)
            )
            return (ahead - behind) / (2 * spacing) * size

        return by_differences
    slope = gradient(leaves, total)

    def exact(direction: Tensor) -> Tensor:
        if not slope.requires_grad:  # a linear loss
            return torch.zeros_like(direction)
        found = torch.autograd.grad(slope, list(leaves.values()), direction, retain_graph=True, materialize_grads=True)
        return flatten(dict(zip(leaves, found, strict=True))).detach()

    return exact


def _differentiable_once(loss: Tensor) -> bool:
    """Whether a function marked `once_differentiable` is in the loss's graph: autograd would leave out its second
    derivative without a word where the gradient that reaches it is constant."""
    seen, waiting = set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(getattr(getattr(node, "_forward_cls", None), "backward", None), "__wrapped__"):
            return True
        waiting += [following for following, _ in node.next_functions]
    return False


def sharpness(
    losses: Callable[[dict[str, Tensor]], Tensor],
    parameters: Mapping[str, Tensor],
    products: int = 25,
    tolerance: float = 1e-4,
) -> Eigenvalue:
    """Largest Hessian eigenvalue of r losses at stacked parameters (see `hessian_products`), by `lanczos`."""
    flat = flatten(parameters)
    start = starting_vector(flat.shape[1], flat).expand_as(flat)
    return lanczos(hessian_products(losses, parameters), start, products, tolerance)
