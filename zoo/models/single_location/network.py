"""Single-location regression: the erf-attention layer, its softmax variant and the linear competitor.

Marion, Berthier, Biau, Boyer, "Attention layers provably solve single-location regression" (ICLR 2025). One of `t`
tokens, at a random hidden position, is informative; its position is seen by one linear projection (k*), the label is
read by another (v*).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

GATES = ("erf", "softmax")


def gate_values(scores: Tensor, gate: str) -> Tensor:
    """Weights of the tokens from scores `lam * X_t.k`, (..., t): element-wise erf, or softmax over the tokens."""
    return torch.erf(scores) if gate == "erf" else scores.softmax(-1)


class SingleLocation(nn.Module):
    """T(X) = sum_t gate(lam X_t.k) X_t.v, the predictor of the paper when gate="erf".

    As attention: one query, a key/query product of rank one, a value map of rank one, and erf in place of softmax. With
    gate="softmax" the weights are softmax_t(lam X_t.k). The erf network does not change when (k, v) becomes (-k, -v).

    d: dimension of a token.  lam: inverse temperature, fixed.  k, v: (d,), of norm one by construction.
    """

    def __init__(self, *, d: int, lam: float, gate: str = "erf", generator: torch.Generator | None = None) -> None:
        super().__init__()
        if d < 2:
            raise ValueError(f"d={d}: k* and v* are orthogonal, so a token needs at least two coordinates")
        if gate not in GATES:
            raise ValueError(f"gate={gate!r}: choose one of {', '.join(GATES)}")
        self.d, self.lam, self.gate = d, float(lam), gate
        self.k = nn.Parameter(torch.empty(d))
        self.v = nn.Parameter(torch.empty(d))
        self.reset_parameters(generator)

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that make this network again."""
        return {"d": self.d, "lam": self.lam, "gate": self.gate}

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """k and v independent and uniform on the unit sphere."""
        for direction in (self.k, self.v):
            direction.normal_(generator=generator)
            direction.div_(direction.norm())

    def example(self, batch: int, generator: torch.Generator) -> tuple[Tensor]:
        """Random tokens (b, t, d) to call the network on."""
        return (torch.randn(batch, 10, self.d, generator=generator),)

    def forward(self, X: Tensor) -> Tensor:
        """X (b, t, d) -> prediction (b,)."""
        weights = gate_values(self.lam * (X @ self.k), self.gate)  # (b, t)
        return (weights * (X @ self.v)).sum(-1)

    def extra_repr(self) -> str:
        return f"d={self.d}, lam={self.lam:.6g}, gate={self.gate!r}"


class LinearRegression(nn.Module):
    """The linear competitor X -> sum_t X_t.beta_t (Proposition 3): one vector per position, so it cannot follow the
    hidden position.

    beta: (t, d), zero at the start, which is the null predictor, whatever the generator.
    """

    def __init__(self, *, d: int, length: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.d, self.length = d, length
        self.beta = nn.Parameter(torch.zeros(length, d))

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that make this network again."""
        return {"d": self.d, "length": self.length}

    def example(self, batch: int, generator: torch.Generator) -> tuple[Tensor]:
        """Random tokens (b, t, d) to call the network on."""
        return (torch.randn(batch, self.length, self.d, generator=generator),)

    def forward(self, X: Tensor) -> Tensor:
        """X (b, t, d) -> prediction (b,)."""
        return (X * self.beta).sum((-2, -1))
