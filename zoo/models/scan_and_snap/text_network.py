"""The paper's model of real text: a small post-norm transformer encoder with a causal mask, as torch.nn has it.

Shapes: b batch, t tokens, d embedding, h heads, k head size (d / h), l layers, v vocabulary, w hidden units.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.cross_entropy import token_losses

Drop = Callable[[Tensor], Tensor]


def _uniform(bound: float, *shape: int, generator: torch.Generator | None) -> Tensor:
    return (2 * torch.rand(shape, generator=generator) - 1) * bound


def _kept(x: Tensor) -> Tensor:
    return x


def sinusoids(tokens: int, dim: int, like: Tensor) -> Tensor:
    """Position code (t, d): sin(s w_i) in even and cos(s w_i) in odd places, w_i = 10000^(-2i/d)."""
    place = torch.arange(tokens, dtype=like.dtype, device=like.device)
    rate = torch.exp(torch.arange(0, dim, 2, dtype=like.dtype, device=like.device) * (-math.log(10000) / dim))
    angle = place[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :dim]


def attention_entropy(weights: Tensor) -> Tensor:
    """-sum_s a_s ln(a_s + 1e-8) over the keys, (..., t) -> (...), nats: the measure of Figure 10."""
    return -(weights * (weights + 1e-8).log()).sum(-1)


class PostNormEncoder(nn.Module):
    """Next-word model: sqrt(d) e(t_s) + p_s, then l layers x -> N(x + A(x)) -> N(x + W_2 relu(W_1 x)), then W_U x + c.

    A is attention of every position to itself and those before it, N a LayerNorm, p the sinusoids; every linear map has a
    bias. The same function as `torch.nn.TransformerEncoder` with `norm_first=False`, and its initial values: all layers begin
    with the same ones. Embedding and output map begin in U(-0.1, 0.1), the output's bias at 0.

    Args:
        vocabulary: v. dim: d. heads: h, a divisor of d. hidden: w. layers: l.
        context: tokens of a window; any number may be read.
        generator: of the initial parameters.

    Raises:
        ValueError: heads do not divide dim.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        dim: int,
        hidden: int,
        heads: int = 1,
        layers: int = 1,
        context: int = 35,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        if dim % heads:
            raise ValueError(f"heads must divide dim, got {heads} and {dim}.")
        self.vocabulary, self.dim, self.hidden = vocabulary, dim, hidden
        self.heads, self.layers, self.context = heads, layers, context

        def layer(bound: float, *shape: int) -> nn.Parameter:
            # torch.nn.TransformerEncoder draws one layer and copies it
            return nn.Parameter(_uniform(bound, *shape, generator=generator).repeat(layers, *(1 for _ in shape)))

        self.embedding = nn.Parameter(_uniform(0.1, vocabulary, dim, generator=generator))  # (v, d)
        self.qkv = layer(math.sqrt(6 / (4 * dim)), 3 * dim, dim)  # (l, 3d, d), Xavier bound of the joint map
        self.qkv_bias = layer(0, 3 * dim)  # (l, 3d)
        self.out = layer(dim**-0.5, dim, dim)  # (l, d, d)
        self.out_bias = layer(0, dim)  # (l, d)
        self.inner = layer(dim**-0.5, hidden, dim)  # (l, w, d)
        self.inner_bias = layer(dim**-0.5, hidden)  # (l, w)
        self.outer = layer(hidden**-0.5, dim, hidden)  # (l, d, w)
        self.outer_bias = layer(hidden**-0.5, dim)  # (l, d)
        self.norm = nn.Parameter(torch.ones(layers, 2, dim))  # (l, 2, d), after attention and after the hidden units
        self.norm_bias = nn.Parameter(torch.zeros(layers, 2, dim))  # (l, 2, d)
        self.unembedding = nn.Parameter(_uniform(0.1, vocabulary, dim, generator=generator))  # (v, d)
        self.bias = nn.Parameter(torch.zeros(vocabulary))  # (v,)

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that make this network again."""
        names = ("vocabulary", "dim", "hidden", "heads", "layers", "context")
        return {name: getattr(self, name) for name in names}

    def example(self, batch: int, generator: torch.Generator) -> tuple[Tensor]:
        """Random tokens (b, t) to call the network on."""
        return (torch.randint(self.vocabulary, (batch, self.context), generator=generator),)

    def _attend(self, x: Tensor, layer: int, drop: Drop) -> tuple[Tensor, Tensor]:
        """x (b, t, d) -> A(x) (b, t, d) and its weights (b, h, t, t)."""
        t = x.shape[1]
        qkv = F.linear(x, self.qkv[layer], self.qkv_bias[layer])
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (b, h, t, k) each
        later = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
        scores = (q @ k.mT * (self.dim // self.heads) ** -0.5).masked_fill(later, -torch.inf)
        weights = scores.softmax(-1)
        y = (drop(weights) @ v).transpose(1, 2).flatten(2)
        return F.linear(y, self.out[layer], self.out_bias[layer]), weights

    def encode(self, tokens: Tensor, drop: Drop = _kept) -> tuple[Tensor, Tensor]:
        """Tokens (b, t) -> what the output map reads (b, t, d), and the attention weights (b, l, h, t, t).

        Args:
            drop: dropout, called where torch's layers have it: on the embedded tokens, the attention weights, the hidden
                units, and what each half of a layer adds to the stream. Nothing by default.
        """
        shape = (self.dim,)
        x = F.embedding(tokens, self.embedding) * math.sqrt(self.dim)
        x = drop(x + sinusoids(tokens.shape[1], self.dim, x))
        maps = []
        for i in range(self.layers):
            y, weights = self._attend(x, i, drop)
            x = F.layer_norm(x + drop(y), shape, self.norm[i, 0], self.norm_bias[i, 0])
            y = drop(F.linear(x, self.inner[i], self.inner_bias[i]).relu())
            y = F.linear(y, self.outer[i], self.outer_bias[i])
            x = F.layer_norm(x + drop(y), shape, self.norm[i, 1], self.norm_bias[i, 1])
            maps.append(weights)
        return x, torch.stack(maps, 1)

    def attention(self, tokens: Tensor) -> Tensor:
        """Tokens (b, t) -> attention weights (b, l, h, t, t), query before key."""
        return self.encode(tokens)[1]

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (b, t) -> logits (b, t, v) of the token after each one."""
        return F.linear(self.encode(tokens)[0], self.unembedding, self.bias)


@torch.no_grad()
def held_out(network: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Loss at each place of a batch (b, t) and attention entropy of its query, mean over layers and heads; (b, t) each.

    Both are 0 where there is no target (-1).
    """
    targets = batch["targets"]
    x, weights = network.encode(batch["tokens"])
    losses = token_losses(x.flatten(0, 1), network.unembedding, targets.flatten(), bias=network.bias).view_as(targets)
    return losses, attention_entropy(weights).mean((1, 2)).masked_fill(targets < 0, 0)
