"""Residual nets with scaled branches, h_{k+1} = h_k + L^-beta f(h_k, theta_{k+1}).

Marion, Fermanian, Biau, Vert, "Scaling ResNets in the large-depth regime" (JMLR 2025). Weights of successive layers are
a stochastic process (zoo.depth.processes): independent, fractional Gaussian noise, or a smooth path.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.depth.branches import OneMatrix, TwoMatrices
from zoo.depth.processes import draw
from zoo.depth.trunk import MEMORY, Branch, states, trunk

VARIANTS: dict[str, Branch] = {
    "res-1": OneMatrix("relu"),  # V sigma(h)
    "res-2": TwoMatrices("tanh"),  # V sigma(W h); our reading, as the released code has no such net
    "res-3": TwoMatrices("relu"),  # V relu(W h)
}


def ends(process: str) -> str:
    """The law of the first and the last matrix: uniform, but normal where the layers are independent normals."""
    return "normal" if process == "normal" else "uniform"


class ScaledResNet(nn.Module):
    """x -> B h_L with h_0 = A x and h_{k+1} = h_k + L^-beta f(h_k, theta_{k+1}).

    f is V relu(h) (res-1), V tanh(W h) (res-2) or V relu(W h) (res-3). Parameters: A (d, d_in), B (d_out, d), V (l, d, d),
    and W (l, d, d) for two matrices; with `bias` also c (l, d) and e (l, d), zero at the start, in V … + c and W h + e.
    The buffer beta () may be changed, and replicas may differ in it: nothing else depends on it.

    d_in, d_out, width (d), depth (L): sizes.  beta: exponent of the scaling.  variant: res-1, res-2 or res-3.
    process, hurst, length: law of the weights along depth, entries of variance 1/d (zoo.depth.processes.draw).
    bias: the paper's code has biases where the process is fractional.
    memory: what back-propagation keeps (zoo.depth.trunk).
    """

    beta: Tensor

    def __init__(
        self,
        *,
        d_in: int,
        d_out: int,
        width: int,
        depth: int,
        beta: float,
        variant: str = "res-1",
        process: str = "normal",
        hurst: float = 0.5,
        length: float = 0.1,
        bias: bool = False,
        memory: str = "autograd",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("d_in", d_in), ("d_out", d_out), ("width", width), ("depth", depth)):
            if value < 1:
                raise ValueError(f"{name}={value}: must be at least 1")
        for name, word, known in (("variant", variant, tuple(VARIANTS)), ("memory", memory, MEMORY)):
            if word not in known:
                raise ValueError(f"{name}={word!r}: choose one of {', '.join(known)}")
        self.d_in, self.d_out, self.width, self.depth = d_in, d_out, width, depth
        self.variant, self.bias, self.memory = variant, bias, memory
        self.process, self.hurst, self.length = process, hurst, length
        self.register_buffer("beta", torch.tensor(float(beta)))
        self._beta = float(beta)
        d = width
        self.A = nn.Parameter(torch.empty(d, d_in))
        self.B = nn.Parameter(torch.empty(d_out, d))
        self.V = nn.Parameter(torch.empty(depth, d, d))
        if variant != "res-1":
            self.W = nn.Parameter(torch.empty(depth, d, d))
        if bias:
            self.c = nn.Parameter(torch.empty(depth, d))
            if variant != "res-1":
                self.e = nn.Parameter(torch.empty(depth, d))
        self.reset_parameters(generator)

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that make this network again."""
        names = ("d_in", "d_out", "width", "depth", "variant", "process", "hurst", "length", "bias", "memory")
        return {name: getattr(self, name) for name in names} | {"beta": self._beta}

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Weights of variance 1/fan_in, V and W independent processes along depth; biases zero."""
        for end in (self.A, self.B):
            end.copy_(draw(ends(self.process), 1, tuple(end.shape), generator=generator)[0] / math.sqrt(end.shape[1]))
        for name, parameter in self.named_parameters():
            if name in ("V", "W"):
                law = {"hurst": self.hurst, "length": self.length, "generator": generator}
                path = draw(self.process, self.depth, (self.width, self.width), **law)  # type: ignore[arg-type]
                parameter.copy_(path / math.sqrt(self.width))
            elif name in ("c", "e"):
                parameter.zero_()

    @property
    def scale(self) -> Tensor:
        """L^-beta, ()."""
        return torch.exp(-math.log(self.depth) * self.beta)

    def layers(self) -> list[Tensor]:
        """The stacked parameters of the branches, (l, ...) each."""
        return [parameter for name in ("V", "W", "c", "e") if (parameter := getattr(self, name, None)) is not None]

    def example(self, batch: int, generator: torch.Generator) -> tuple[Tensor]:
        """Random inputs (b, d_in) to call the network on, uniform on [0, 1] as pixels are."""
        return (torch.rand(batch, self.d_in, generator=generator),)

    def embed(self, x: Tensor) -> Tensor:
        """h_0 = A x: (b, …) with d_in numbers in all -> (b, d)."""
        return x.flatten(1) @ self.A.mT

    def states(self, x: Tensor) -> Iterator[Tensor]:
        """h_0, …, h_L (b, d), one at a time."""
        return states(VARIANTS[self.variant], self.embed(x), self.layers(), self.scale)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (b, d_in), or images of as many numbers, -> outputs (b, v)."""
        return trunk(VARIANTS[self.variant], self.embed(x), self.layers(), self.scale, self.memory) @ self.B.mT

    def extra_repr(self) -> str:
        return f"{self.variant}, depth={self.depth}, width={self.width}, beta={self._beta:g}, process={self.process!r}"


# Convolutions.


def convolve_twice(h: Tensor, V: Tensor, W: Tensor) -> Tensor:
    """V * relu(W * h) with 3 x 3 kernels: (b, c, y, x) -> (b, c, y, x)."""
    return F.conv2d(torch.relu(F.conv2d(h, W, padding=1)), V, padding=1)


class ScaledConvNet(nn.Module):
    """A convolutional res-3 for 32 x 32 images: three stages of scaled blocks, no normalisation layer.

    Stage i has `blocks[i]` blocks h + L^-beta V * relu(W * h) of 3 x 3 kernels on width 2^i channels, L = sum(blocks);
    a 3 x 3 kernel leads to the first stage and one of stride 2 to each next; means over places and a matrix end the net.
    Parameters: stem (c, v, 3, 3), V1 … V3 and W1 … W3 (l, c, c, 3, 3), down2, down3, head (classes, 4 width).

    blocks, width, classes, channels: sizes.  beta, process, hurst, length, memory: see ScaledResNet; entries have variance
    1/(9 c), the first kernel's and the strided ones' 2/fan_in.
    """

    beta: Tensor

    def __init__(
        self,
        *,
        blocks: Sequence[int],
        width: int = 16,
        classes: int = 10,
        channels: int = 3,
        beta: float,
        process: str = "normal",
        hurst: float = 0.5,
        length: float = 0.1,
        memory: str = "autograd",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if len(blocks) != 3 or min(blocks) < 1:
            raise ValueError(f"blocks={list(blocks)}: three stages with at least one block each")
        if memory not in MEMORY:
            raise ValueError(f"memory={memory!r}: choose one of {', '.join(MEMORY)}")
        self.blocks, self.width, self.classes, self.channels = list(blocks), width, classes, channels
        self.process, self.hurst, self.length, self.memory = process, hurst, length, memory
        self.register_buffer("beta", torch.tensor(float(beta)))
        self._beta = float(beta)
        self.stem = nn.Parameter(torch.empty(width, channels, 3, 3))
        for i, count in enumerate(blocks, start=1):
            c = width * 2 ** (i - 1)
            if i > 1:
                self.register_parameter(f"down{i}", nn.Parameter(torch.empty(c, c // 2, 3, 3)))
            for name in (f"V{i}", f"W{i}"):
                self.register_parameter(name, nn.Parameter(torch.empty(count, c, c, 3, 3)))
        self.head = nn.Parameter(torch.empty(classes, 4 * width))
        self.reset_parameters(generator)

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that make this network again."""
        names = ("blocks", "width", "classes", "channels", "process", "hurst", "length", "memory")
        return {name: getattr(self, name) for name in names} | {"beta": self._beta}

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Kernels of the blocks: one path along the whole depth for every entry, cut in stages; see the class."""
        for parameter in self.parameters():
            if parameter.ndim == 5:
                continue
            gain = 1 if parameter.ndim == 2 else 2
            values = draw(ends(self.process), 1, tuple(parameter.shape), generator=generator)[0]
            parameter.copy_(values * math.sqrt(gain / parameter[0].numel()))
        for i, first in enumerate((0, self.blocks[0], sum(self.blocks[:2])), start=1):
            for parameter in (getattr(self, f"V{i}"), getattr(self, f"W{i}")):
                law = {"hurst": self.hurst, "length": self.length, "generator": generator}
                path = draw(self.process, sum(self.blocks), tuple(parameter.shape[1:]), **law)  # type: ignore[arg-type]
                parameter.copy_(path[first : first + len(parameter)] / math.sqrt(parameter[0, 0].numel()))

    @property
    def scale(self) -> Tensor:
        """L^-beta, ()."""
        return torch.exp(-math.log(sum(self.blocks)) * self.beta)

    def example(self, batch: int, generator: torch.Generator) -> tuple[Tensor]:
        """Random images (b, channels, 32, 32) on [0, 1] to call the network on."""
        return (torch.rand(batch, self.channels, 32, 32, generator=generator),)

    def forward(self, x: Tensor) -> Tensor:
        """Images (b, channels, y, x) -> logits (b, v)."""
        h = F.conv2d(x, self.stem, padding=1)
        for i in (1, 2, 3):
            if i > 1:
                h = F.conv2d(torch.relu(h), getattr(self, f"down{i}"), stride=2, padding=1)
            stage = [getattr(self, f"V{i}"), getattr(self, f"W{i}")]
            h = trunk(convolve_twice, h, stage, self.scale, self.memory)
        return h.mean((-2, -1)) @ self.head.mT

    def extra_repr(self) -> str:
        return f"blocks={self.blocks}, width={self.width}, beta={self._beta:g}, process={self.process!r}"


def scaled_resnet(depth: int, *, beta: float = 0.5, **arguments: Any) -> ScaledConvNet:
    """A ScaledConvNet with `depth` layers of weights, 6 n + 2 as in the residual nets for CIFAR: 20, 32, 44, 56, 110, ….

    Raises:
        ValueError: depth is not 6 n + 2 with n >= 1.
    """
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        raise ValueError(f"depth={depth}: choose 6 n + 2, such as 20, 56 or 110")
    return ScaledConvNet(blocks=[n, n, n], beta=beta, **arguments)


def scaled_resnet20(**arguments: Any) -> ScaledConvNet:
    """Nine blocks."""
    return scaled_resnet(20, **arguments)


def scaled_resnet56(**arguments: Any) -> ScaledConvNet:
    """27 blocks."""
    return scaled_resnet(56, **arguments)


def scaled_resnet110(**arguments: Any) -> ScaledConvNet:
    """54 blocks."""
    return scaled_resnet(110, **arguments)
