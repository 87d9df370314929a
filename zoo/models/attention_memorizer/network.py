"""The networks of "Memorization in Attention-only Transformers" (Dana, Pydi & Chevaleyre, AISTATS 2025).

Shapes: b batch, t tokens (the paper's S), d embedding, h heads, k head size (the paper's d_h), l layers, v vocabulary
(the paper's N), n sequences, w width. Initial values are those of the authors' code, which takes PyTorch's defaults.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _uniform(bound: float, *shape: int, generator: torch.Generator | None) -> nn.Parameter:
    return nn.Parameter((2 * torch.rand(shape, generator=generator) - 1) * bound)


def attended(x: Tensor, query: Tensor, key: Tensor, value: Tensor, temperature: float) -> Tensor:
    """W_V A read by the last position of x (b, t, d), maps (h, k, d): values mixed by softmax_s(score) (b, h k)."""
    q = F.linear(x[:, -1], query.flatten(0, 1)).unflatten(-1, query.shape[:2])  # (b, h, k)
    k, v = (F.linear(x, map.flatten(0, 1)).unflatten(-1, map.shape[:2]) for map in (key, value))  # (b, t, h, k)
    weight = torch.softmax((q.unsqueeze(1) * k).sum(-1) * temperature, dim=1)  # (b, t, h)
    return (weight.unsqueeze(-1) * v).sum(1).flatten(1)


def attended_pairs(
    first: Tensor, last: Tensor, tokens: Tensor, query: Tensor, key: Tensor, value: Tensor, temperature: float
) -> Tensor:
    """`attended` for two tokens, from the v distinct vectors of each position (v, d) and the tokens (b, 2).

    Maps are applied to distinct vectors only, and the softmax over two scores is the sigmoid of their difference:
    the same function with a quarter of the multiplications when b is several times v.
    """
    q, k2, v2 = (F.linear(last, map.flatten(0, 1)) for map in (query, key, value))  # (v, h k) each
    k1, v1 = (F.linear(first, map.flatten(0, 1)) for map in (key, value))
    shape, (t1, t2) = query.shape[:2], tokens.unbind(1)
    own = (q * k2).unflatten(-1, shape).sum(-1)  # (v, h), a token's score of itself
    other = (F.embedding(t2, q) * F.embedding(t1, k1)).unflatten(-1, shape).sum(-1)  # (b, h)
    weight = torch.sigmoid((other - F.embedding(t2, own)) * temperature)
    v2 = F.embedding(t2, v2)
    return v2 + (weight.unsqueeze(-1) * (F.embedding(t1, v1) - v2).unflatten(-1, shape)).flatten(1)


class AttentionOnly(nn.Module):
    """The paper's attention-only transformer: W_U (x_S + sum_h W_O^h W_V^h sum_s softmax_s(x_S' W_QK^h x_s) x_s).

    x_s = e(t_s) + pos_s; no norm, no bias, no MLP, and no 1/sqrt(k) in the scores unless `scale`. Every head has
    its own maps from d to k dimensions. Law in k at fixed H and d: the number of associations H k + d of Theorem 1
    grows linearly in k and the trained accuracy is CONCAVE in k (measured here; the quadratic law of Figure 1b
    belongs to `SharedCompression`).

    Args:
        vocabulary: v. context: longest sequence t; shorter ones read the first positions. dim: d. heads: h.
        head_dim: k. layers: l. scale: scores divided by sqrt(k). tied: the embedding is also the unembedding.
        generator: of the initial parameters.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        context: int,
        dim: int,
        heads: int,
        head_dim: int,
        layers: int = 1,
        scale: bool = False,
        tied: bool = False,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.vocabulary, self.context, self.dim = vocabulary, context, dim
        self.heads, self.head_dim, self.layers = heads, head_dim, layers
        self.scale, self.tied = scale, tied
        self.embedding = _uniform(dim**-0.5, vocabulary, dim, generator=generator)  # (v, d)
        self.position = _uniform(dim**-0.5, context, dim, generator=generator)  # (t, d)
        # Xavier bound of one joint (3k, d) projection per head, as in torch.nn.MultiheadAttention
        bound, shape = math.sqrt(6 / (3 * head_dim + dim)), (layers, heads, head_dim, dim)
        self.query = _uniform(bound, *shape, generator=generator)  # (l, h, k, d)
        self.key = _uniform(bound, *shape, generator=generator)  # (l, h, k, d)
        self.value = _uniform(bound, *shape, generator=generator)  # (l, h, k, d)
        self.out = _uniform(head_dim**-0.5, layers, heads, dim, head_dim, generator=generator)  # (l, h, d, k)
        if not tied:
            self.unembedding = _uniform(dim**-0.5, vocabulary, dim, generator=generator)  # (v, d)

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that make this network again."""
        names = ("vocabulary", "context", "dim", "heads", "head_dim", "layers", "scale", "tied")
        return {name: getattr(self, name) for name in names}

    @property
    def temperature(self) -> float:
        """What multiplies the scores: 1, or 1/sqrt(k) with `scale`."""
        return self.head_dim**-0.5 if self.scale else 1.0

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens (b, t) -> x (b, t, d)."""
        return F.embedding(tokens, self.embedding) + self.position[: tokens.shape[1]]

    def unembed(self, x: Tensor) -> Tensor:
        """Stream (..., d) -> logits (..., v)."""
        return F.linear(x, self.embedding if self.tied else self.unembedding)

    def _maps(self, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        maps = (self.query, self.key, self.value)
        q, k, v = (map.squeeze(0) if self.layers == 1 else map[layer] for map in maps)
        return q, k, v

    def _merge(self, y: Tensor, layer: int) -> Tensor:
        """W_O y, heads side by side in y (..., h k) -> (..., d)."""
        out = self.out.squeeze(0) if self.layers == 1 else self.out[layer]
        return F.linear(y, out.transpose(0, 1).flatten(1))

    def _causal(self, x: Tensor, layers: int) -> Tensor:
        """The first `layers` layers at every position, (b, t, d) -> (b, t, d)."""
        for layer in range(layers):
            q, k, v = (
                F.linear(x, map.flatten(0, 1)).unflatten(-1, map.shape[:2]).transpose(1, 2) for map in self._maps(layer)
            )  # (b, h, t, k) each
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.temperature)
            x = x + self._merge(y.transpose(1, 2).flatten(2), layer)
        return x

    def stream(self, tokens: Tensor) -> Tensor:
        """Tokens (b, t) -> causal residual stream (b, t, d) at every position, after all layers."""
        return self._causal(self.embed(tokens), self.layers)

    def example(self, batch: int, generator: torch.Generator) -> tuple[Tensor]:
        """Random tokens (b, t) to call the network on."""
        return (torch.randint(self.vocabulary, (batch, self.context), generator=generator),)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (b, t) -> logits (b, v) of the token that follows the last one."""
        last = self.layers - 1
        x = self._causal(self.embed(tokens), last)
        y = attended(x, *self._maps(last), self.temperature)
        return self.unembed(x[:, -1] + self._merge(y, last))

    def pairs(self, tokens: Tensor) -> Tensor:
        """`forward` of one layer on tokens (b, 2), faster when b exceeds v (see `attended_pairs`)."""
        first, last = self.embedding + self.position[0], self.embedding + self.position[1]
        y = attended_pairs(first, last, tokens, *self._maps(0), self.temperature)
        return self.unembed(F.embedding(tokens[:, 1], last) + self._merge(y, 0))

    def features(self, tokens: Tensor) -> Tensor:
        """Tokens (b, t) -> [x_S ; W_V A] (b, d + h k), on which the output is linear (Lemma 2). One layer only."""
        if self.layers != 1:
            raise ValueError(f"Lemma 2 is about the features of one layer; this network has {self.layers}.")
        x = self.embed(tokens)
        return torch.cat([x[:, -1], attended(x, *self._maps(0), self.temperature)], dim=-1)


class SharedCompression(nn.Module):
    """What the authors' code trains: all heads see one shared k-dimensional image of the stream.

    c_s = C e(t_s) + pos_s with ONE C (k, d) (the identity when k = d); every head is a k-to-k attention with
    1/sqrt(k) in the scores; the heads are summed, then ONE D (d, k) brings the sum back: W_U (e(t_S) + D sum_h
    W_O^h W_V^h A^h). Positions are k-dimensional and never enter the skip path. Law in k at fixed H and d:
    QUADRATIC (Figure 1b), because a head has 4 k^2 parameters here; the network that the paper defines,
    `AttentionOnly`, has 4 d k and is concave.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        context: int,
        dim: int,
        heads: int,
        head_dim: int,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.vocabulary, self.context, self.dim = vocabulary, context, dim
        self.heads, self.head_dim = heads, head_dim
        self.embedding = _uniform(dim**-0.5, vocabulary, dim, generator=generator)  # (v, d)
        self.position = _uniform(head_dim**-0.5, context, head_dim, generator=generator)  # (t, k)
        if head_dim != dim:
            self.compression = _uniform(dim**-0.5, head_dim, dim, generator=generator)  # (k, d)
            self.decompression = _uniform(head_dim**-0.5, dim, head_dim, generator=generator)  # (d, k)
        bound, shape = math.sqrt(6 / (4 * head_dim)), (heads, head_dim, head_dim)
        self.query = _uniform(bound, *shape, generator=generator)  # (h, k, k)
        self.key = _uniform(bound, *shape, generator=generator)  # (h, k, k)
        self.value = _uniform(bound, *shape, generator=generator)  # (h, k, k)
        self.out = _uniform(head_dim**-0.5, *shape, generator=generator)  # (h, k, k)
        self.unembedding = _uniform(dim**-0.5, vocabulary, dim, generator=generator)  # (v, d)

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that make this network again."""
        names = ("vocabulary", "context", "dim", "heads", "head_dim")
        return {name: getattr(self, name) for name in names}

    def _compress(self, e: Tensor) -> Tensor:
        return e if self.head_dim == self.dim else F.linear(e, self.compression)

    def _read(self, e: Tensor, y: Tensor) -> Tensor:
        """Skip path (b, d) and heads side by side (b, h k) -> logits (b, v)."""
        y = F.linear(y, self.out.transpose(0, 1).flatten(1))  # (b, k)
        return F.linear(e + (y if self.head_dim == self.dim else F.linear(y, self.decompression)), self.unembedding)

    def example(self, batch: int, generator: torch.Generator) -> tuple[Tensor]:
        """Random tokens (b, t) to call the network on."""
        return (torch.randint(self.vocabulary, (batch, self.context), generator=generator),)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (b, t) -> logits (b, v) of the token that follows the last one."""
        e = F.embedding(tokens, self.embedding)  # (b, t, d)
        c = self._compress(e) + self.position[: tokens.shape[1]]  # (b, t, k)
        return self._read(e[:, -1], attended(c, self.query, self.key, self.value, self.head_dim**-0.5))

    def pairs(self, tokens: Tensor) -> Tensor:
        """`forward` on tokens (b, 2), faster when b exceeds v (see `attended_pairs`)."""
        c = self._compress(self.embedding)  # (v, k)
        first, last = c + self.position[0], c + self.position[1]
        y = attended_pairs(first, last, tokens, self.query, self.key, self.value, self.head_dim**-0.5)
        return self._read(F.embedding(tokens[:, 1], self.embedding), y)


class ResidualMLP(nn.Module):
    """The paper's competitor: W_U (Id + W_2 GELU(W_1 . + b_1)) (x_S + W_O W_V A), one head of size d, MLP of width w.

    It stands at the same place of Figure 3 as an attention-only network with H heads of size d when w = 2 d (H - 1).
    """

    def __init__(
        self, *, vocabulary: int, context: int, dim: int, width: int, generator: torch.Generator | None = None
    ):
        super().__init__()
        self.vocabulary, self.context, self.dim, self.width = vocabulary, context, dim, width
        self.attention = AttentionOnly(
            vocabulary=vocabulary, context=context, dim=dim, heads=1, head_dim=dim, scale=True, generator=generator
        )
        self.inner = _uniform(dim**-0.5, width, dim, generator=generator)  # (w, d)
        self.bias = _uniform(dim**-0.5, width, generator=generator)  # (w,)
        self.outer = _uniform(max(width, 1) ** -0.5, dim, width, generator=generator)  # (d, w)

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that make this network again."""
        names = ("vocabulary", "context", "dim", "width")
        return {name: getattr(self, name) for name in names}

    def _read(self, x: Tensor) -> Tensor:
        return self.attention.unembed(x + F.linear(F.gelu(F.linear(x, self.inner, self.bias)), self.outer))

    def example(self, batch: int, generator: torch.Generator) -> tuple[Tensor]:
        """Random tokens (b, t) to call the network on."""
        return (torch.randint(self.vocabulary, (batch, self.context), generator=generator),)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (b, t) -> logits (b, v) of the token that follows the last one."""
        one = self.attention
        x = one.embed(tokens)
        return self._read(x[:, -1] + one._merge(attended(x, *one._maps(0), one.temperature), 0))

    def pairs(self, tokens: Tensor) -> Tensor:
        """`forward` on tokens (b, 2), faster when b exceeds v (see `attended_pairs`)."""
        one = self.attention
        first, last = one.embedding + one.position[0], one.embedding + one.position[1]
        y = attended_pairs(first, last, tokens, *one._maps(0), one.temperature)
        return self._read(F.embedding(tokens[:, 1], last) + one._merge(y, 0))


class SequenceEncoder(nn.Module):
    """The paper's baseline L(N, S, d): logits W E(t) with a free vector E(t) of d numbers for each of n sequences.

    Every transformer of width d computes such a function, so none has a smaller divergence (Proposition 1).
    """

    def __init__(self, *, vocabulary: int, sequences: int, dim: int, generator: torch.Generator | None = None):
        super().__init__()
        self.vocabulary, self.sequences, self.dim = vocabulary, sequences, dim
        self.encoding = _uniform(1.0, sequences, dim, generator=generator)  # (n, d)
        self.unembedding = _uniform(dim**-0.5, vocabulary, dim, generator=generator)  # (v, d)

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that make this network again."""
        names = ("vocabulary", "sequences", "dim")
        return {name: getattr(self, name) for name in names}

    def example(self, batch: int, generator: torch.Generator) -> tuple[Tensor]:
        """Random indices (b,) to call the network on."""
        return (torch.randint(self.sequences, (batch,), generator=generator),)

    def forward(self, index: Tensor) -> Tensor:
        """Index of the sequence in the list (b,) -> logits (b, v)."""
        return F.linear(F.embedding(index, self.encoding), self.unembedding)
