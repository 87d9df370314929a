"""The residual recurrent net h_{j+1} = h_j + (1/T) sigma(W_h h_j + W_x x_{j+1} + b).

Fermanian, Marion, Vert, Biau, "Framing RNN as a kernel method" (NeurIPS 2021). It is Euler's scheme of
dH_t = sigma(W_h H_t + W_x X_t + b) dt, where X runs through the inputs with the origin before the first.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

ACTIVATIONS = {"tanh": torch.tanh, "logistic": torch.sigmoid}


class ResidualRNN(nn.Module):
    """A series (b, t, d) -> scores psi(h_T) (b, v), psi affine.

    Parameters: W_h (e, e), W_x (e, d), two biases b_h and b_x (e,) as in an RNNCell, whose sum counts, h_0 (e,), and the
    readout psi_weight (v, e), psi_bias (v,): e d + e^2 + 3 e + e v + v in all. Entries are uniform on +-1/sqrt(e), h_0 zero.

    channels (d), width (e), classes (v): sizes.  activation: "tanh" or "logistic".
    """

    def __init__(
        self,
        *,
        channels: int,
        width: int = 32,
        classes: int = 2,
        activation: str = "tanh",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("channels", channels), ("width", width), ("classes", classes)):
            if value < 1:
                raise ValueError(f"{name}={value}: must be at least 1")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation!r}: choose one of {', '.join(ACTIVATIONS)}")
        self.channels, self.width, self.classes, self.activation = channels, width, classes, activation
        self.W_h = nn.Parameter(torch.empty(width, width))
        self.W_x = nn.Parameter(torch.empty(width, channels))
        self.b_h = nn.Parameter(torch.empty(width))
        self.b_x = nn.Parameter(torch.empty(width))
        self.h_0 = nn.Parameter(torch.zeros(width))
        self.psi_weight = nn.Parameter(torch.empty(classes, width))
        self.psi_bias = nn.Parameter(torch.empty(classes))
        self.reset_parameters(generator)

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that make this network again."""
        return {name: getattr(self, name) for name in ("channels", "width", "classes", "activation")}

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        bound = 1 / math.sqrt(self.width)
        for name, parameter in self.named_parameters():
            if name == "h_0":
                parameter.zero_()
            else:
                parameter.uniform_(-bound, bound, generator=generator)

    @property
    def bias(self) -> Tensor:
        """b, (e,)."""
        return self.b_h + self.b_x

    def example(self, batch: int, generator: torch.Generator) -> tuple[Tensor]:
        """Random series (b, 10, d) to call the network on."""
        return (torch.randn(batch, 10, self.channels, generator=generator),)

    def last_state(self, x: Tensor) -> Tensor:
        """h_T (b, e) for a series (b, t, d)."""
        sigma, steps = ACTIVATIONS[self.activation], x.shape[-2]
        inputs = x.movedim(-2, 0) @ self.W_x.mT + self.bias  # (t, b, e)
        h = self.h_0.expand_as(inputs[0])
        for one in inputs.unbind():
            h = h + sigma(torch.addmm(one, h, self.W_h.mT)) / steps
        return h

    def readout(self, h: Tensor) -> Tensor:
        """psi: (..., e) -> (..., v)."""
        return h @ self.psi_weight.mT + self.psi_bias

    def forward(self, x: Tensor) -> Tensor:
        """Series (b, t, d) -> scores (b, v)."""
        return self.readout(self.last_state(x))

    def extra_repr(self) -> str:
        return f"channels={self.channels}, width={self.width}, classes={self.classes}, activation={self.activation!r}"
