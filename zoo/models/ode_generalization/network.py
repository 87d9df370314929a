"""Neural ODEs whose parameters move in time, dH = sum_i theta_i(t) f_i(H) dt, and the residual nets that discretise them.

Marion, "Generalization bounds for neural ordinary differential equations and deep residual networks" (NeurIPS 2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from zoo.depth.branches import OneMatrix
from zoo.depth.processes import draw, smooth_features
from zoo.depth.trunk import MEMORY, states, trunk

BRANCH = OneMatrix("relu")
WEIGHTS = ("smooth", "normal", "constant", "tied")
PROJECTIONS = ("random", "trained")
FIELDS = ("entries", "ridges")
SOLVERS = ("euler", "rk4")


def _choose(**given: tuple[Any, tuple[str, ...]]) -> None:
    for name, (word, known) in given.items():
        if word not in known:
            raise ValueError(f"{name}={word!r}: choose one of {', '.join(known)}")


def _positive(**given: int) -> None:
    for name, value in given.items():
        if value < 1:
            raise ValueError(f"{name}={value}: must be at least 1")


class TimeResNet(nn.Module):
    """x -> B h_L with h_0 = A x and h_{k+1} = h_k + (1/L) W_{k+1} relu(h_k).

    A (d, d_in), B (v, d): normal of variance 1/fan_in; parameters if they are trained, buffers if they stay random.
    W (l, d, d), or (1, d, d) if tied: entries of variance 1/d.

    d_in, d_out, width (d), depth (L): sizes.
    weights: "smooth", values of independent Gaussian processes at k/L; "normal", independent layers; "constant", one
        matrix in all layers, which training may tell apart; "tied", one matrix that all layers share.
    length: of the Gaussian processes, whose kernel is exp(-(s - t)^2/(2 length^2)).
    projections: "random" or "trained".
    memory: what back-propagation keeps (zoo.depth.trunk).
    """

    A: Tensor
    B: Tensor

    def __init__(
        self,
        *,
        d_in: int,
        d_out: int,
        width: int,
        depth: int,
        weights: str = "smooth",
        length: float = 0.1,
        projections: str = "random",
        memory: str = "autograd",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _positive(d_in=d_in, d_out=d_out, width=width, depth=depth)
        _choose(weights=(weights, WEIGHTS), projections=(projections, PROJECTIONS), memory=(memory, MEMORY))
        self.d_in, self.d_out, self.width, self.depth = d_in, d_out, width, depth
        self.weights, self.length, self.projections, self.memory = weights, length, projections, memory
        for name, end in (("A", torch.empty(width, d_in)), ("B", torch.empty(d_out, width))):
            if projections == "trained":
                self.register_parameter(name, nn.Parameter(end))
            else:
                self.register_buffer(name, end)
        self.W = nn.Parameter(torch.empty(1 if weights == "tied" else depth, width, width))
        self.reset_parameters(generator)

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that make this network again."""
        names = ("d_in", "d_out", "width", "depth", "weights", "length", "projections", "memory")
        return {name: getattr(self, name) for name in names}

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """A and B first, so that nets of every kind of weights share them for one state of the generator."""
        for end in (self.A, self.B):
            end.normal_(generator=generator).div_(math.sqrt(end.shape[1]))
        process = "smooth" if self.weights == "smooth" else "normal"
        layers = self.depth if self.weights in ("smooth", "normal") else 1
        path = draw(process, layers, (self.width, self.width), length=self.length, generator=generator)
        self.W.copy_(path / math.sqrt(self.width))

    def layers(self) -> Tensor:
        """W_1, …, W_L (l, d, d), a view of one matrix if tied."""
        return self.W.expand(self.depth, -1, -1)

    def example(self, batch: int, generator: torch.Generator) -> tuple[Tensor]:
        """Random inputs (b, d_in) to call the network on, uniform on [0, 1] as pixels are."""
        return (torch.rand(batch, self.d_in, generator=generator),)

    def embed(self, x: Tensor) -> Tensor:
        """h_0 = A x: (b, …) with d_in numbers in all -> (b, d)."""
        return x.flatten(1) @ self.A.mT

    def states(self, x: Tensor) -> Iterator[Tensor]:
        """h_0, …, h_L (b, d), one at a time."""
        return states(BRANCH, self.embed(x), [self.layers()], 1 / self.depth)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (b, d_in), or images of as many numbers, -> outputs (b, v)."""
        return trunk(BRANCH, self.embed(x), [self.layers()], 1 / self.depth, self.memory) @ self.B.mT

    def extra_repr(self) -> str:
        return f"{self.weights} weights, {self.projections} projections, depth={self.depth}, width={self.width}"


class TimeDependentODE(nn.Module):
    """x -> H_1 with H_0 = x and dH_t = sum_i theta_i(t) f_i(H_t) dt, theta linear between its values at equal times.

    The m fields f_i on R^d are either

        "entries"   f_{ij}(h) = relu(h_j) e_i, m = d^2, so that the sum is W_t relu(H_t) with W_t = theta(t)
        "ridges"    f_i(h) = a_i tanh(b_i.h + c_i) with random a_i, b_i of norm one and normal c_i, `count` of them

    Each is 1-Lipschitz, and |f_i(0)| <= 1.

    d: of the state.  count: m of ridges.  knots: values of theta, (k, m), the parameters; one makes theta constant.
    steps: of the solver, all equal.  solver: "euler" or "rk4".  length: of the Gaussian process that theta starts as;
        its entries have variance 1/d (entries) or 1/m (ridges).
    """

    a: Tensor
    b: Tensor
    c: Tensor

    def __init__(
        self,
        *,
        d: int,
        fields: str = "entries",
        count: int = 16,
        knots: int = 11,
        steps: int = 50,
        solver: str = "rk4",
        length: float = 0.3,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _positive(d=d, count=count, knots=knots, steps=steps)
        _choose(fields=(fields, FIELDS), solver=(solver, SOLVERS))
        self.d, self.fields, self.count, self.knots, self.steps = d, fields, count, knots, steps
        self.solver, self.length = solver, length
        self.theta = nn.Parameter(torch.empty(knots, d * d if fields == "entries" else count))
        if fields == "ridges":
            for name, shape in (("a", (count, d)), ("b", (count, d)), ("c", (count,))):
                self.register_buffer(name, torch.empty(shape))
        self.reset_parameters(generator)

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that make this network again."""
        return {name: getattr(self, name) for name in ("d", "fields", "count", "knots", "steps", "solver", "length")}

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """The fields, then one smooth path, the same whatever the number of knots it is read at."""
        if self.fields == "ridges":
            for one in (self.a, self.b, self.c):
                one.normal_(generator=generator)
            for one in (self.a, self.b):
                one.div_(one.norm(dim=1, keepdim=True))
        features = smooth_features(torch.linspace(0, 1, self.knots), self.length).to(self.theta.dtype)
        path = features @ torch.randn(features.shape[1], self.theta.shape[1], generator=generator)
        self.theta.copy_(path / math.sqrt(self.d if self.fields == "entries" else self.count))

    def example(self, batch: int, generator: torch.Generator) -> tuple[Tensor]:
        """Random starts (b, d)."""
        return (torch.randn(batch, self.d, generator=generator),)

    def parameters_at(self, t: float) -> Tensor:
        """theta(t), (m,)."""
        place = t * (self.knots - 1)
        left = min(int(place), max(self.knots - 2, 0))
        right = min(left + 1, self.knots - 1)
        return torch.lerp(self.theta[left], self.theta[right], place - left)

    def velocity(self, t: float, h: Tensor) -> Tensor:
        """sum_i theta_i(t) f_i(h): (b, d) -> (b, d)."""
        theta = self.parameters_at(t)
        if self.fields == "entries":
            return torch.relu(h) @ theta.unflatten(0, (self.d, self.d)).mT
        return (torch.tanh(h @ self.b.mT + self.c) * theta) @ self.a

    def matrices(self, depth: int) -> Tensor:
        """W_1, …, W_L (l, d, d) of the residual net of this ODE: W at 0, 1/L, …, (L-1)/L.

        Raises:
            ValueError: its fields are not the entries of a matrix.
        """
        if self.fields != "entries":
            raise ValueError(f"fields={self.fields!r}: only entries make a residual net with one matrix a layer")
        return torch.stack([self.parameters_at(k / depth) for k in range(depth)]).unflatten(1, (self.d, self.d))

    def forward(self, x: Tensor) -> Tensor:
        """Starts (b, d) -> ends (b, d)."""
        step: Callable[..., Tensor] = {"euler": _euler, "rk4": _rk4}[self.solver]
        h = x
        for k in range(self.steps):
            h = step(self.velocity, k / self.steps, h, 1 / self.steps)
        return h

    def extra_repr(self) -> str:
        return f"{self.theta.shape[1]} {self.fields}, {self.knots} knots, {self.steps} steps of {self.solver}"


def _euler(velocity: Callable[[float, Tensor], Tensor], t: float, h: Tensor, dt: float) -> Tensor:
    return h + dt * velocity(t, h)


def _rk4(velocity: Callable[[float, Tensor], Tensor], t: float, h: Tensor, dt: float) -> Tensor:
    first = velocity(t, h)
    second = velocity(t + dt / 2, h + dt / 2 * first)
    third = velocity(t + dt / 2, h + dt / 2 * second)
    last = velocity(t + dt, h + dt * third)
    return h + dt / 6 * (first + 2 * (second + third) + last)
