"""The weight that Theorem 1 builds for the next-word laws of WikiText-2."""

from __future__ import annotations

import torch

from zoo.models.attention_memorizer.context_laws import best_rank, construct, laws
from zoo.models.attention_memorizer.network import AttentionOnly
from zoo.models.attention_memorizer.text_claims import LAWS_WEIGHTS
from zoo.weights import Constructed, load


def wikitext2_laws() -> Constructed:
    """The best rank-10 laws of the 320 contexts that the trained weights have learned, with 31 heads of size 10."""
    source = load(f"attention_memorizer.{LAWS_WEIGHTS[-1]}")
    task = {name: leaf[:1] for name, leaf in source.task.items()}
    one = {name: leaf[0] for name, leaf in task.items()}
    law, frequency = laws(one)
    dim, heads, head_dim = 10, 31, 10
    encoder = best_rank(law, frequency, dim, iterations=3000)
    key = torch.Generator().manual_seed(0)
    network = AttentionOnly(vocabulary=law.shape[1], context=2, dim=dim, heads=heads, head_dim=head_dim).double()
    network.load_state_dict(construct(law, frequency, one["contexts"], encoder, heads, head_dim, key))
    return Constructed([network], task, f"best rank-{dim} divergence found {encoder.divergence:.6f} nats (Theorem 1)")
