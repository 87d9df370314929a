"""Weights of attention_memorizer that are built from the proof of Theorem 1, without training."""

from __future__ import annotations

import torch

from zoo.models.attention_memorizer import theory
from zoo.models.attention_memorizer.network import AttentionOnly
from zoo.weights import Constructed


def memoriser(
    vocabulary: int, context: int, dim: int, heads: int, head_dim: int, rank_one: bool = False
) -> Constructed:
    """A float64 network that knows the next token of H d_h + d random sequences, or of all of them if there are fewer.

    Its task holds "sequences" (1, n, t) and "targets" (1, n); next tokens are uniform, repetitions allowed.
    """
    generator = torch.Generator().manual_seed(0)
    count = min(theory.capacity(heads, head_dim, dim), vocabulary**context)
    tokens = theory.distinct_sequences(vocabulary, context, count, generator)
    targets = torch.randint(vocabulary, (count,), generator=generator)
    parameters = theory.generic(vocabulary, context, dim, heads, head_dim, generator, rank_one)
    unembedding = theory.unit_rows(vocabulary, dim, generator)
    network = AttentionOnly(vocabulary=vocabulary, context=context, dim=dim, heads=heads, head_dim=head_dim).double()
    network.load_state_dict(theory.memorise(parameters, tokens, unembedding[targets], unembedding))
    note = f"{count} associations, H d_h + d = {theory.capacity(heads, head_dim, dim)} (Theorem 1)"
    return Constructed([network], {"sequences": tokens[None], "targets": targets[None]}, note)


def constructed() -> Constructed:
    """210 associations of two tokens out of 50 with d = d_h = 10 and 20 heads."""
    return memoriser(50, 2, 10, 20, 10)


def constructed_long() -> Constructed:
    """124 associations of 64 tokens with d = d_h = 4 and 30 heads: the context exceeds d sixteen times."""
    return memoriser(50, 64, 4, 30, 4)


def constructed_circle() -> Constructed:
    """All 100 associations of two tokens out of 10, d = d_h = 2, 49 heads, W_U on a circle (Corollary 1)."""
    return memoriser(10, 2, 2, 49, 2)
