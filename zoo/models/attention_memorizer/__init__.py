"""Memorization in attention-only transformers: how many sequence-to-token facts one attention layer stores."""

from zoo.registry import Paper, System

_NETWORK = "zoo.models.attention_memorizer.network"
_CONSTRUCTIONS = "zoo.models.attention_memorizer.constructions"

SYSTEM = System(
    name="attention_memorizer",
    title="Attention-only memorizer",
    summary="One attention layer without MLP stores H d_h + d facts of any length, and matches the best rank-d "
    "next-token laws.",
    paper=Paper(
        title="Memorization in Attention-only Transformers",
        authors="Léo Dana, Muni Sreenivas Pydi, Yann Chevaleyre",
        venue="AISTATS",
        year=2025,
        arxiv="2411.10115",
        code="https://github.com/leodana2000/Transformer_Attentional_Memory",
        code_licence="none given",
    ),
    topic="memorization",
    networks={
        "AttentionOnly": f"{_NETWORK}:AttentionOnly",
        "SharedCompression": f"{_NETWORK}:SharedCompression",
        "ResidualMLP": f"{_NETWORK}:ResidualMLP",
        "SequenceEncoder": f"{_NETWORK}:SequenceEncoder",
    },
    default="AttentionOnly",
    examples={
        "AttentionOnly": {"vocabulary": 50, "context": 2, "dim": 10, "heads": 6, "head_dim": 10},
        "SharedCompression": {"vocabulary": 50, "context": 2, "dim": 10, "heads": 6, "head_dim": 5},
        "ResidualMLP": {"vocabulary": 50, "context": 2, "dim": 10, "width": 100},
        "SequenceEncoder": {"vocabulary": 12, "sequences": 64, "dim": 4},
    },
    modules=(
        "zoo.models.attention_memorizer.module",
        "zoo.models.attention_memorizer.language_model",
        "zoo.models.attention_memorizer.laws",
    ),
    constructions={
        "constructed": f"{_CONSTRUCTIONS}:constructed",
        "constructed_long": f"{_CONSTRUCTIONS}:constructed_long",
        "constructed_circle": f"{_CONSTRUCTIONS}:constructed_circle",
        "wikitext2_laws_constructed": "zoo.models.attention_memorizer.text_constructions:wikitext2_laws",
    },
)
