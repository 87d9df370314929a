"""What scaled residual nets do before training, over many draws and several scalings at once.

Shapes: n nets drawn, i inputs each, m scalings, l layers, d width. Nets and scalings are axes of the same tensors: one
pass over the layers serves all of them, and every scaling sees the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.depth.processes import draw, fractional_noise, white_spectrum
from zoo.depth.trunk import states
from zoo.models.scaled_resnet.network import VARIANTS, ends


class Ensemble(NamedTuple):
    """Nets at initialisation: layers [(l, n, d, d), …], h_0 = A x (n, i, d), and B (n, 1, d), the direction of dl/dh_L."""

    variant: str
    layers: list[Tensor]
    start: Tensor
    end: Tensor


class Ratios(NamedTuple):
    """Norms against their start, (n, m, i) each: |h_L - h_0|/|h_0|, |h_L|/|h_0|, and for p_k = dl/dh_k
    |p_0 - p_L|/|p_L|, |p_0|/|p_L|.
    """

    change: Tensor
    growth: Tensor
    gradient_change: Tensor
    gradient_growth: Tensor


def surroundings(
    nets: int, width: int, *, inputs: int = 1, d_in: int = 64, process: str = "uniform", **options: Any
) -> tuple[Tensor, Tensor]:
    """h_0 (n, i, d) of inputs x uniform on [0, 1]^d_in, and B (n, 1, d)."""
    generator, dtype = options["generator"], options["dtype"]
    law = {"generator": generator, "dtype": dtype}
    A = draw(ends(process), 1, (nets, width, d_in), **law)[0] / math.sqrt(d_in)
    B = draw(ends(process), 1, (nets, 1, width), **law)[0] / math.sqrt(width)
    x = torch.rand(nets, inputs, d_in, **law)
    return x @ A.mT, B


def ensemble(
    nets: int,
    width: int,
    depth: int,
    *,
    variant: str = "res-3",
    process: str = "uniform",
    hurst: float = 0.5,
    length: float = 0.1,
    inputs: int = 1,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
) -> Ensemble:
    """Draws nets; the weights of a whole stack of layers of all nets in one call."""
    h, B = surroundings(nets, width, inputs=inputs, process=process, generator=generator, dtype=dtype)
    law: dict[str, Any] = {"hurst": hurst, "length": length, "generator": generator, "dtype": dtype}
    count = 1 if variant == "res-1" else 2
    layers = [draw(process, depth, (nets, width, width), **law).div_(math.sqrt(width)) for _ in range(count)]
    return Ensemble(variant, layers, h, B)


def rough_ensembles(
    hursts: Sequence[float], nets: int, width: int, depth: int, *, inputs: int = 1, generator: torch.Generator
) -> Iterator[Ensemble]:
    """res-3 with fractional noise for each Hurst index in turn, all made from the same white noise and inputs."""
    dtype = torch.float32
    h, B = surroundings(nets, width, inputs=inputs, generator=generator, dtype=dtype)
    spectra = [white_spectrum(depth, (nets, width, width), generator, dtype) for _ in range(2)]
    for hurst in hursts:
        layers = [fractional_noise(spectrum, hurst).div_(math.sqrt(width)) for spectrum in spectra]
        yield Ensemble("res-3", layers, h, B)


@torch.no_grad()
def ratios(drawn: Ensemble, betas: Sequence[float], gradients: bool = True) -> Ratios:
    """The four ratios of every net, scaling and input; those of the gradients are NaN if not asked for."""
    (n, i, d), m = drawn.start.shape, len(betas)
    depth, branch = len(drawn.layers[0]), VARIANTS[drawn.variant]
    scale = depth ** -torch.tensor(betas, dtype=torch.float64)
    factor = scale.to(drawn.start).repeat_interleave(i)[:, None]  # (m i, 1)
    start = drawn.start.repeat(1, m, 1)
    path = []
    for h in states(branch, start, drawn.layers, factor):
        path.append(h if gradients else None)
    change, growth = (h - start).norm(dim=-1), h.norm(dim=-1)
    base = start.norm(dim=-1)
    found = [change / base, growth / base]
    if gradients:
        end = drawn.end.expand(n, m * i, d)
        p = end
        for k in reversed(range(depth)):
            p = torch.addcmul(p, factor, branch.pull(p, path[k], *(layer[k] for layer in drawn.layers)))  # type: ignore[attr-defined]
        found += [(p - end).norm(dim=-1) / end.norm(dim=-1), p.norm(dim=-1) / end.norm(dim=-1)]
    else:
        found += [torch.full_like(change, torch.nan)] * 2
    return Ratios(*(one.unflatten(1, (m, i)) for one in found))


def sample(
    nets: int,
    width: int,
    depth: int,
    betas: Sequence[float],
    *,
    at_once: int = 10,
    gradients: bool = True,
    **options: Any,
) -> Ratios:
    """Ratios over `nets` draws, `at_once` of them at a time, which bounds the memory; options as for `ensemble`."""
    parts = []
    for first in range(0, nets, at_once):
        drawn = ensemble(min(at_once, nets - first), width, depth, **options)
        parts.append(ratios(drawn, betas, gradients))
    return Ratios(*(torch.cat(part) for part in zip(*parts, strict=True)))


@torch.no_grad()
def normal_chain(
    nets: int, width: int, depth: int, beta: float, *, variant: str = "res-3", generator: torch.Generator
) -> Tensor:
    """|h_L|/|h_0| (n,) with independent normal layers, without drawing a matrix.

    A fresh normal matrix of variance 1/d takes x to |x|/sqrt(d) times d independent normals, so h_0, h_1, … is a Markov
    chain that costs d normals a matrix in place of d^2. The same law as that of `ensemble` with process "normal".
    """

    def fresh(x: Tensor) -> Tensor:
        return torch.randn(nets, width, generator=generator) * (x.norm(dim=1, keepdim=True) / math.sqrt(width))

    inner = {"res-1": lambda h: h, "res-2": fresh, "res-3": fresh}[variant]
    activation = VARIANTS[variant].activation.value  # type: ignore[attr-defined]
    h, _ = surroundings(nets, width, process="normal", generator=generator, dtype=torch.float32)
    h = start = h[:, 0]
    for _ in range(depth):
        h = torch.add(h, fresh(activation(inner(h))), alpha=depth**-beta)
    return h.norm(dim=1) / start.norm(dim=1)


def log_ratio(ratio: Tensor) -> Tensor:
    """log10 of a ratio, with 16 for what is not a number any more, as the paper's maps have it."""
    value = ratio.double().log10()
    return torch.where(value.isfinite(), value, 16.0)


def zero_level(betas: Sequence[float], values: Tensor) -> float:
    """The scaling where a decreasing curve (m,) crosses zero, by linear interpolation; NaN if it does not."""
    for i in range(len(betas) - 1):
        high, low = values[i].item(), values[i + 1].item()
        if high >= 0 > low:
            return betas[i] + (betas[i + 1] - betas[i]) * high / (high - low)
    return math.nan


def tangent_growth(drawn: Ensemble, betas: Sequence[float]) -> Tensor:
    """|J z|^2/|z|^2 for J = dh_L/dh_0 of res-3 and one random z a net, in forward mode, (n, m)."""
    V, W = drawn.layers
    factor = (len(V) ** -torch.tensor(betas, dtype=torch.float64)).to(V)[:, None]
    h = drawn.start[:, :1].repeat(1, len(betas), 1)
    z = drawn.end.repeat(1, len(betas), 1)  # independent of h
    for v, w in zip(V, W, strict=True):
        x = h @ w.mT
        moved = torch.ops.aten.threshold_backward(z @ w.mT, x, 0) @ v.mT
        h, z = torch.addcmul(h, factor, torch.relu(x) @ v.mT), torch.addcmul(z, factor, moved)
    return (z.norm(dim=-1) / drawn.end.norm(dim=-1)).square()
