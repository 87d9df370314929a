"""Residual nets that start as a discretised neural ODE, h_{k+1} = h_k + f(h_k, Z_{k+1})/L.

Marion, Wu, Sander, Biau, "Implicit regularization of deep residual networks towards neural ODEs" (ICLR 2024), Section 3,
and the convolutional net of its released code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.depth.branches import ACTIVATIONS, TwoMatrices
from zoo.depth.continuous import INTERPOLATIONS, METHODS, flow
from zoo.depth.processes import draw
from zoo.depth.trunk import MEMORY, Branch, states, trunk

INITS = ("tied", "iid", "smooth")
BRANCHES: dict[str, Branch] = {name: TwoMatrices(name) for name in ACTIVATIONS}


def choose(**given: tuple[Any, tuple[str, ...]]) -> None:
    """Refuses a word that is not among the known ones.

    Raises:
        ValueError: one sentence with both.
    """
    for name, (word, known) in given.items():
        if word not in known:
            raise ValueError(f"{name}={word!r}: choose one of {', '.join(known)}")


class NeuralODEResNet(nn.Module):
    """x -> B h_L with h_0 = A x and h_{k+1} = h_k + 1/(L sqrt(m)) V_{k+1} sigma(W_{k+1} h_k/sqrt(q)) (Eq. 3 and 4).

    Parameters: V (l, q, m), W (l, m, q), and A (q, d_in), B (d_out, q), which start as [I; 0] and [0, I] and are buffers
    if they are not trained.

    d_in, d_out, width (q), hidden (m), depth (L): sizes, q at least max(d_in, d_out).  activation: sigma.
    init: "tied", V = 0 and one normal draw of W for all layers, which are not shared afterwards; "iid", V = 0 and a draw of
        its own for each layer; "smooth", all entries of V and W values of Gaussian processes along depth with kernel
        exp(-(s - t)^2/(2 length^2)).
    scaled: the factors 1/sqrt(m) and 1/sqrt(q), which are the paper's but not its code's.  trains_ends: whether A and B learn.
    solver: "trunk", the residual net itself, or a method of torchdiffeq for the ODE of its interpolated weights
        (zoo.depth.continuous), with `interpolation` and `adjoint`.
    memory: what back-propagation through the trunk keeps (zoo.depth.trunk).
    """

    A: Tensor
    B: Tensor

    def __init__(
        self,
        *,
        d_in: int,
        d_out: int,
        width: int,
        hidden: int,
        depth: int,
        activation: str = "gelu",
        init: str = "tied",
        length: float = 0.3,
        scaled: bool = True,
        trains_ends: bool = True,
        solver: str = "trunk",
        interpolation: str = "linear",
        adjoint: bool = False,
        memory: str = "autograd",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("d_in", d_in), ("d_out", d_out), ("hidden", hidden), ("depth", depth)):
            if value < 1:
                raise ValueError(f"{name}={value}: must be at least 1")
        if width < max(d_in, d_out):
            raise ValueError(f"width={width}: must be at least d_in={d_in} and d_out={d_out}")
        choose(
            activation=(activation, tuple(ACTIVATIONS)),
            init=(init, INITS),
            solver=(solver, ("trunk", *METHODS)),
            interpolation=(interpolation, INTERPOLATIONS),
            memory=(memory, MEMORY),
        )
        self.d_in, self.d_out, self.width, self.hidden, self.depth = d_in, d_out, width, hidden, depth
        self.activation, self.init, self.length, self.scaled = activation, init, length, scaled
        self.trains_ends, self.solver, self.interpolation = trains_ends, solver, interpolation
        self.adjoint, self.memory = adjoint, memory
        ends = torch.eye(width, d_in), torch.eye(d_out, width).roll(width - d_out, 1)
        for name, end in zip("AB", ends, strict=True):
            if trains_ends:
                self.register_parameter(name, nn.Parameter(end))
            else:
                self.register_buffer(name, end)
        self.V = nn.Parameter(torch.empty(depth, width, hidden))
        self.W = nn.Parameter(torch.empty(depth, hidden, width))
        self.reset_parameters(generator)

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that make this network again."""
        names = ("d_in", "d_out", "width", "hidden", "depth", "activation", "init", "length", "scaled", "trains_ends")
        return {name: getattr(self, name) for name in (*names, "solver", "interpolation", "adjoint", "memory")}

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """V and W as `init` says; A and B stay."""
        if self.init == "smooth":
            for one in (self.V, self.W):
                one.copy_(draw("smooth", self.depth, tuple(one.shape[1:]), length=self.length, generator=generator))
            return
        self.V.zero_()
        rows = 1 if self.init == "tied" else self.depth
        self.W.copy_(torch.randn(rows, self.hidden, self.width, generator=generator).expand_as(self.W))

    def layers(self) -> list[Tensor]:
        """V and W/sqrt(q), (l, ...) each: what the branch V sigma(W h) takes."""
        return [self.V, self.W / math.sqrt(self.width) if self.scaled else self.W]

    @property
    def strength(self) -> float:
        """1/sqrt(m), or one: the factor of the branch beside 1/L."""
        return 1 / math.sqrt(self.hidden) if self.scaled else 1.0

    def example(self, batch: int, generator: torch.Generator) -> tuple[Tensor]:
        """Random inputs (b, d_in) to call the network on, normal."""
        return (torch.randn(batch, self.d_in, generator=generator),)

    def embed(self, x: Tensor) -> Tensor:
        """h_0 = A x: (b, …) with d_in numbers in all -> (b, q)."""
        return x.flatten(1) @ self.A.mT

    def states(self, x: Tensor) -> Iterator[Tensor]:
        """h_0, …, h_L (b, q), one at a time."""
        return states(BRANCHES[self.activation], self.embed(x), self.layers(), self.strength / self.depth)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (b, d_in) -> outputs (b, d_out)."""
        branch, h, layers = BRANCHES[self.activation], self.embed(x), self.layers()
        if self.solver == "trunk":
            h = trunk(branch, h, layers, self.strength / self.depth, self.memory)
        else:
            h = flow(
                branch,
                h,
                layers,
                self.strength,
                method=self.solver,
                interpolation=self.interpolation,
                adjoint=self.adjoint,
            )
        return h @ self.B.mT

    def extra_repr(self) -> str:
        return f"depth={self.depth}, width={self.width}, hidden={self.hidden}, {self.activation}, init={self.init!r}"


# Convolutions.

SHAPE, MEAN, DEVIATION = (3, 32, 32), (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
CONV_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {name: one.value for name, one in ACTIVATIONS.items()}


class NeuralODEConvNet(nn.Module):
    """The released net for CIFAR-10: h_{k+1} = h_k + norm(conv(sigma(norm(conv(h_k)))))/L on c channels of 10 x 10.

    A 5 x 5 kernel of stride 3, normalisation and relu lead to h_0; means over 4 x 4 places and an affine map end the net.
    (The paper's text has strides of 2; only the code's 3 and 1 fit together.) Parameters: conv1, conv2 (l, c, c, 3, 3) with
    bias1, bias2 (l, c); gain1, gain2, shift1, shift2 (l, c) of the normalisations over the batch, whose running means and
    variances are buffers; stem, stem_gain, stem_shift; head (10, 4 c), head_bias. Kernels start uniform, as torch's
    convolutions do, and gain2 and shift2 at zero, so that the net starts as the identity between its ends.

    depth (L), channels (c): sizes.  activation: sigma.
    init: "tied", the parameters of the first block copied to all, not shared afterwards; "iid", each block on its own.
    norm: with normalisations; without, conv2 and bias2 start at zero and conv1 at 1e-4 times Glorot's uniform draw.
    memory: what back-propagation keeps (zoo.depth.trunk); with normalisations only "autograd", as their running averages
        must see each batch once.
    A new network is in evaluation mode; `train()` lets normalisations use the batch.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        *,
        depth: int,
        channels: int = 16,
        activation: str = "gelu",
        init: str = "tied",
        norm: bool = True,
        memory: str = "autograd",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if depth < 1 or channels < 1:
            raise ValueError(f"depth={depth} and channels={channels} must be at least 1")
        choose(
            activation=(activation, tuple(ACTIVATIONS)),
            init=(init, INITS[:2]),
            memory=(memory, ("autograd",) if norm else MEMORY),
        )
        self.depth, self.channels, self.activation = depth, channels, activation
        self.init, self.norm, self.memory = init, norm, memory
        c = channels
        self.stem = nn.Parameter(torch.empty(c, 3, 5, 5))
        for i in (1, 2):
            self.register_parameter(f"conv{i}", nn.Parameter(torch.empty(depth, c, c, 3, 3)))
            self.register_parameter(f"bias{i}", nn.Parameter(torch.empty(depth, c)))
        self.head = nn.Parameter(torch.empty(10, 4 * c))
        self.head_bias = nn.Parameter(torch.empty(10))
        self._add_normalisation("stem_", "", (c,), 1.0)
        if norm:
            self._add_normalisation("", "1", (depth, c), 1.0)
            self._add_normalisation("", "2", (depth, c), 0.0)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None], persistent=False)
        self.reset_parameters(generator)
        self.eval()

    def _add_normalisation(self, place: str, number: str, shape: tuple[int, ...], gain: float) -> None:
        self.register_parameter(f"{place}gain{number}", nn.Parameter(torch.full(shape, gain)))
        self.register_parameter(f"{place}shift{number}", nn.Parameter(torch.zeros(shape)))
        self.register_buffer(f"{place}mean{number}", torch.zeros(shape))
        self.register_buffer(f"{place}variance{number}", torch.ones(shape))

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that make this network again."""
        return {name: getattr(self, name) for name in ("depth", "channels", "activation", "init", "norm", "memory")}

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Kernels and biases uniform with bound 1/sqrt(fan_in); see the class for the exceptions."""
        tied, fan_in = self.init == "tied", 9 * self.channels
        for name in ("stem", "head", "head_bias", "conv1", "bias1", "conv2", "bias2"):
            one = getattr(self, name)
            fans = {"stem": 75, "head": 4 * self.channels, "head_bias": 4 * self.channels}
            bound = 1 / math.sqrt(fans.get(name, fan_in))
            if not self.norm and name in ("conv2", "bias2"):
                bound = 0.0
            elif not self.norm and name == "conv1":
                bound = 1e-4 * math.sqrt(6 / (2 * fan_in))
            blocks = name not in fans
            shape = (1, *one.shape[1:]) if blocks and tied else one.shape
            one.copy_(torch.empty(shape).uniform_(-1, 1, generator=generator).mul_(bound).expand_as(one))

    def example(self, batch: int, generator: torch.Generator) -> tuple[Tensor]:
        """Random images (b, 3, 32, 32) on [0, 1] to call the network on."""
        return (torch.rand(batch, *SHAPE, generator=generator),)

    def layers(self) -> list[Tensor]:
        """All that has a row for each block: parameters, then running means and variances."""
        kinds = ("conv", "bias", "gain", "shift", "mean", "variance") if self.norm else ("conv", "bias")
        return [getattr(self, f"{kind}{i}") for i in (1, 2) for kind in kinds]

    def normalise(self, h: Tensor, gain: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Over the batch in training, which moves the running averages by a tenth, and by these otherwise."""
        return F.batch_norm(h, mean, variance, gain, shift, training=self.training)

    def branch(self, h: Tensor, *theta: Tensor) -> Tensor:
        """norm(conv(sigma(norm(conv(h))))), (b, c, y, x) -> (b, c, y, x); theta: one row of each of `layers`."""
        half = len(theta) // 2
        for i, own in enumerate((theta[:half], theta[half:])):
            h = F.conv2d(h, own[0], own[1], padding=1)
            h = self.normalise(h, *own[2:]) if self.norm else h
            h = CONV_ACTIVATIONS[self.activation](h) if i == 0 else h
        return h

    def forward(self, x: Tensor) -> Tensor:
        """Images (b, 3, 32, 32) with pixels on [0, 1] -> logits (b, v)."""
        h = F.conv2d((x - self.mean) / self.deviation, self.stem, stride=3, padding=1)
        running = [getattr(self, f"stem_{name}") for name in ("gain", "shift", "mean", "variance")]
        h = torch.relu(self.normalise(h, *running))
        h = trunk(self.branch, h, self.layers(), 1 / self.depth, self.memory)
        return F.linear(F.avg_pool2d(h, 4).flatten(1), self.head, self.head_bias)

    def extra_repr(self) -> str:
        return f"depth={self.depth}, channels={self.channels}, {self.activation}, init={self.init!r}"
