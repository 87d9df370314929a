"""The signature of piecewise linear paths, with the faster of two gradients; and its logarithm.

Shapes: a path (..., l, d) has l points in R^d; its signature up to depth N is (..., s), s = d + ... + d^N, levels one after the
other, the scalar 1 left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.signatures import levels
from zoo.signatures.algebra import Levels, exponential, join, logarithm, lyndon_places, multiply, split
from zoo.signatures.library import Backend, owned, pysiglib, serves, transformed

WIDTH, WORK = 40, 300_000


def reverses(shape: Sequence[int], depth: int) -> bool:
    """Whether the gradient of paths (b, l, d) is taken by time reversal (zoo.signatures.levels) where pySigLib has one too.

    It wins when level N-1, of d^{N-1} numbers, is not tiny and there are enough of them in all to hide the cost of a call:
    measured by benchmarks/signatures.py, in float64 and float32, for 100 and 1000 points, 3 to 8 channels, depth 3 to 5.
    """
    paths, points, channels = shape
    width = channels ** (depth - 1)
    return width >= WIDTH and width * paths * points >= WORK


def compute(path: Tensor, depth: int, backend: Backend) -> Tensor:
    """(b, l, d) -> (b, s), no gradient."""
    if serves(backend, path):
        found: Tensor = pysiglib().sig(path.detach().contiguous(), depth)  # it warns of views
        return found
    return levels.forward(path.diff(dim=1), depth)


def pull_back(path: Tensor, signature: Tensor, gradient: Tensor, depth: int, backend: Backend) -> Tensor:
    """The gradient of the path (b, l, d) from that of its signature (b, s)."""
    if serves(backend, path) and not reverses(path.shape, depth):
        arguments = (one.detach().contiguous() for one in (path, signature, gradient))
        found: Tensor = pysiglib().sig_backprop(*arguments, depth)
        return found
    steps = levels.backward(path.diff(dim=1), signature, gradient, depth)
    found = torch.zeros_like(path)
    found[:, 1:] += steps
    found[:, :-1] -= steps
    return found


def _front(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """The mapped axis (vmap) and the batch as one batch."""
    return (tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)).flatten(0, 1)


class _Signature(torch.autograd.Function):
    @staticmethod
    def forward(path: Tensor, depth: int, backend: Backend) -> Tensor:
        return compute(path, depth, backend)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        path, ctx.depth, ctx.backend = inputs
        ctx.save_for_backward(path, output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        path, found = ctx.saved_tensors
        pull = _Gradient.apply if transformed() or torch.is_grad_enabled() else pull_back
        return pull(path, found, gradient, ctx.depth, ctx.backend), None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], path: Tensor, depth: int, backend: Backend) -> Any:
        found = _Signature.apply(_front(path, in_dims[0], info.batch_size), depth, backend)
        return found.unflatten(0, (info.batch_size, -1)), 0


class _Gradient(torch.autograd.Function):
    @staticmethod
    def forward(path: Tensor, signature: Tensor, gradient: Tensor, depth: int, backend: Backend) -> Tensor:
        return pull_back(path, signature, gradient, depth, backend)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        raise RuntimeError("signature() has one derivative: take scan() or tree() for higher ones.")

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> Any:
        fronts = [_front(one, dim, info.batch_size) for one, dim in zip(inputs[:3], in_dims[:3], strict=True)]
        return _Gradient.apply(*fronts, *inputs[3:]).unflatten(0, (info.batch_size, -1)), 0


def signature(path: Tensor, depth: int, backend: Backend = "auto") -> Tensor:
    """The signature (..., s) of a path (..., l, d), with a gradient whose memory does not grow with the path.

    backend: "pysiglib", "torch", or "auto": pySigLib where it is installed and the path is on a processor, else PyTorch.
    Works under torch.vmap and torch.func.grad, in float32 and float64.

    Raises:
        ValueError: depth below one, or fewer than two points.
        ZooError: pySigLib is asked for and absent.
    """
    check(path, depth)
    if path.ndim != 3:
        batch = path.reshape(-1, *path.shape[-2:])
        return signature(batch, depth, backend).view(*path.shape[:-2], -1)
    if serves(backend, path) and not transformed():
        if not (path.requires_grad and torch.is_grad_enabled()):
            return compute(path, depth, backend)
        if not reverses(path.shape, depth):
            found: Tensor = pysiglib("pysiglib.torch_api").sig(owned(path), depth)
            found.register_hook(owned)
            return found
    found = _Signature.apply(path, depth, backend)
    return found


def check(path: Tensor, depth: int) -> None:
    if depth < 1:
        raise ValueError(f"depth={depth}: must be at least 1")
    if path.ndim < 2 or path.shape[-2] < 2:
        raise ValueError(f"a path of shape {tuple(path.shape)}: (..., points, channels) with two points or more")


def scan(path: Tensor, depth: int) -> Tensor:
    """The same one step after the other, S <- S (x) exp(v) by Horner; plain autograd, of any order."""
    check(path, depth)
    first, *rest = path.diff(dim=-2).unbind(-2)
    found = exponential(first, depth)
    for v in rest:
        updated = []
        for n in range(1, depth + 1):
            a = v / n
            for k in range(1, n):
                a = ((found[k - 1] + a).unsqueeze(-1) * (v / (n - k)).unsqueeze(-2)).flatten(-2)
            updated.append(found[n - 1] + a)
        found = updated
    return join(found)


def tree(path: Tensor, depth: int) -> Tensor:
    """The same by products of neighbours, log2(l) rounds; plain autograd, of any order."""
    check(path, depth)
    found = exponential(path.diff(dim=-2), depth)
    while found[0].shape[-2] > 1:
        odd = found[0].shape[-2] % 2
        pairs = [level[..., : level.shape[-2] - odd, :] for level in found]
        product = multiply([level[..., 0::2, :] for level in pairs], [level[..., 1::2, :] for level in pairs])
        rest = [level[..., -1:, :] for level in found] if odd else [level[..., :0, :] for level in found]
        found = [torch.cat(both, dim=-2) for both in zip(product, rest, strict=True)]
    return join([level.squeeze(-2) for level in found])


def log_signature(path: Tensor, depth: int, backend: Backend = "auto", lyndon: bool = True) -> Tensor:
    """The tensor logarithm of the signature: its entries at the Lyndon words, which determine it, or all of it.

    The first n^(1) + ... + n^(N) entries by length of the word and then in the order of a dictionary, where n^(k) is the number
    of Lyndon words (Witt): 3, 6, 14, 32, 80 in all for d = 3, N = 1 ... 5.
    """
    d = path.shape[-1]
    flat = join(logarithm(split(signature(path, depth, backend), d, depth)))
    return flat[..., list(lyndon_places(d, depth))] if lyndon else flat


def with_time(path: Tensor, end: float = 1.0) -> Tensor:
    """The path with its time, from 0 to `end`, as the LAST channel: (..., l, d) -> (..., l, d+1)."""
    times = torch.linspace(0, end, path.shape[-2], dtype=path.dtype, device=path.device)
    return torch.cat([path, times[:, None].expand(*path.shape[:-1], 1)], dim=-1)


def from_origin(path: Tensor) -> Tensor:
    """The path with the origin before its first point, so that the signature knows where it starts."""
    return torch.cat([torch.zeros_like(path[..., :1, :]), path], dim=-2)


def levels_of(path: Tensor, depth: int, backend: Backend = "auto") -> Levels:
    """The signature as a list of its levels."""
    return split(signature(path, depth, backend), path.shape[-1], depth)
