"""Deep linear networks with one output, and their control with GELU between the layers.

Marion, Chizat, "Deep linear networks for regression are implicitly regularized towards flat minima" (NeurIPS 2024).
Shapes: b batch, d dimension and width, l square layers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

KINDS = ("mlp", "residual")
ACTIVATIONS = ("none", "gelu")


def propagate(x: Tensor, layers: Tensor, last: Tensor, activation: str = "none") -> Tensor:
    """x (b, d) through the square layers (l, d, d), each followed by the activation, then its product with last (d,)."""
    for layer in layers.unbind():
        x = x @ layer.mT
        if activation == "gelu":
            x = gelu(x)
    return x @ last


class DeepLinear(nn.Module):
    """x -> p'x with p' = last' W_l … W_1; `layers` (l, d, d) holds W_1 … W_l.

    Of depth L, the "mlp" has l = L - 1 square layers and `last` (d,), the row W_L, is trained with them; all entries start
    as N(0, scale^2). The "residual" network has l = L layers that start as I + scale/sqrt(L d) N(0, 1), and `last` is a
    fixed unit vector, q in the paper.

    dim: d.  depth: L.  kind: "mlp" or "residual".  activation: "none", or "gelu" between the layers of the mlp.
    scale: of the initial layers.
    """

    last: Tensor

    def __init__(
        self,
        *,
        dim: int,
        depth: int,
        kind: str = "mlp",
        activation: str = "none",
        scale: float = 0.3,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value, known in (("kind", kind, KINDS), ("activation", activation, ACTIVATIONS)):
            if value not in known:
                raise ValueError(f"{name}={value!r}: choose one of {', '.join(known)}")
        if dim < 1 or depth < 2:
            raise ValueError(f"dim={dim} must be at least 1 and depth={depth} at least 2")
        if kind == "residual" and activation != "none":
            raise ValueError("a residual network has no activation here: only the mlp is studied with one")
        if scale < 0:
            raise ValueError(f"scale={scale} must be at least 0")
        self.dim, self.depth, self.kind, self.activation = dim, depth, kind, activation
        self.layers = nn.Parameter(torch.empty(depth - self.trains_last, dim, dim))
        if self.trains_last:
            self.last = nn.Parameter(torch.empty(dim))
        else:
            self.register_buffer("last", torch.empty(dim))
        self.reset_parameters(scale, generator)

    @property
    def trains_last(self) -> bool:
        return self.kind == "mlp"

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that make this network again; the scale says only how it started."""
        return {"dim": self.dim, "depth": self.depth, "kind": self.kind, "activation": self.activation}

    @torch.no_grad()
    def reset_parameters(self, scale: float, generator: torch.Generator | None = None) -> None:
        """Draws `last` and `layers`, in this order."""
        for tensor in (self.last, self.layers):
            tensor.normal_(generator=generator)
        if self.kind == "mlp":
            self.last.mul_(scale)
            self.layers.mul_(scale)
        else:
            self.last.div_(self.last.norm())
            self.layers.mul_(scale / math.sqrt(self.depth * self.dim)).add_(torch.eye(self.dim))

    def example(self, batch: int, generator: torch.Generator) -> tuple[Tensor]:
        """Random inputs (b, d) to call the network on."""
        return (torch.randn(batch, self.dim, generator=generator),)

    def product(self) -> Tensor:
        """p (d,), what the network without activation multiplies its input by."""
        row = self.last
        for layer in reversed(self.layers.unbind()):
            row = row @ layer
        return row

    def forward(self, x: Tensor) -> Tensor:
        """x (b, d) -> prediction (b,)."""
        return propagate(x, self.layers, self.last, self.activation)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, depth={self.depth}, kind={self.kind!r}, activation={self.activation!r}"
