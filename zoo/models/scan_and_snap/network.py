"""The one-layer transformer of "Scan and Snap" in its pair (Y, Z).

Tian, Wang, Chen, Du, "Scan and Snap: Understanding Training Dynamics and Token Composition in 1-layer Transformer"
(NeurIPS 2023). No position code; the last token is the query and does not attend to itself; the attention output has
norm one; Z = U W_Q W_K' U' holds the attention logits of every pair of tokens and Y = U W_V' U' the decoder.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class OneLayerTransformer(nn.Module):
    """logits = Y' f with f = u/|u|, u = sum_s b_s e(x_s), b = softmax_s Z[q, x_s] over the context x_1 … x_{t-1}.

    The last token q of a sequence is the query. With `residual` the norm is taken of u + e(q). Shapes of the
    parameters: Y (v, v), row = token attended to, column = next token; Z (v, v), row = query, column = key.

    vocabulary: number of tokens v (M in the paper).  residual: whether the query joins the attention output.
    """

    def __init__(self, *, vocabulary: int, residual: bool = False, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if vocabulary < 2:
            raise ValueError(f"vocabulary={vocabulary}: next-token prediction needs at least two tokens")
        self.vocabulary, self.residual = vocabulary, residual
        self.Y = nn.Parameter(torch.empty(vocabulary, vocabulary))
        self.Z = nn.Parameter(torch.empty(vocabulary, vocabulary))
        self.reset_parameters(generator)

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that make this network again."""
        return {"vocabulary": self.vocabulary, "residual": self.residual}

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Y and Z uniform on ±1/sqrt(v), as a torch Linear layer starts."""
        bound = 1 / math.sqrt(self.vocabulary)
        for matrix in (self.Y, self.Z):
            matrix.uniform_(-bound, bound, generator=generator)

    def example(self, batch: int, generator: torch.Generator) -> tuple[Tensor]:
        """Random sequences of 17 tokens (b, t) to call the network on."""
        return (torch.randint(self.vocabulary, (batch, 17), generator=generator),)

    def attention(self, tokens: Tensor) -> Tensor:
        """Attention of the query to every context token: (b, t) -> (b, t-1), rows sum to one."""
        return self.Z[tokens[:, -1]].gather(1, tokens[:, :-1]).softmax(-1)

    def decode(self, u: Tensor, query: Tensor) -> Tensor:
        """Attention output u (b, v), any scale without the residual, and queries (b,) -> logits (b, v)."""
        if self.residual:
            u = u + nn.functional.one_hot(query, self.vocabulary)
        return u / u.norm(dim=-1, keepdim=True) @ self.Y

    def forward(self, tokens: Tensor) -> Tensor:
        """Sequences (b, t), the last token the query -> next-token logits (b, v)."""
        weights = self.attention(tokens)
        u = weights.new_zeros(len(tokens), self.vocabulary).scatter_add(1, tokens[:, :-1], weights)
        return self.decode(u, tokens[:, -1])

    def from_counts(self, counts: Tensor, query: Tensor) -> Tensor:
        """The same logits from how often each token stands in the context: (b, v), (b,) -> (b, v).

        Without positions u_l is proportional to counts_l exp(Z[q, l]): one pass over v instead of a gather and a
        scatter over t.
        """
        counts = counts.to(self.Z.dtype)
        # ln(counts) with -inf at 0, where torch's own log is six times slower
        logs = counts.clamp(min=1).log() + (1 - 1 / counts.clamp(max=1))
        return self.decode((logs + self.Z[query]).softmax(-1), query)

    def extra_repr(self) -> str:
        return f"vocabulary={self.vocabulary}, residual={self.residual}"


def reweighted(masses: Tensor, z: Tensor) -> Tensor:
    """masses e^z, normalised: (..., v), (..., v) -> (..., v).

    With counts of a context this is the attention output u; with a law P(.|n) it is c_n, its limit for long contexts
    (Lemma 2).
    """
    return (masses.log() + z).softmax(-1)
