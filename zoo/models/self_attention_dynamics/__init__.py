"""Self-attention dynamics on the sphere: tokens cluster, and for large beta stay in several clusters for very long."""

from zoo.registry import Paper, System

HERE = "zoo.models.self_attention_dynamics"

SYSTEM = System(
    name="self_attention_dynamics",
    title="Self-attention dynamics",
    summary="Tokens that attend to each other on the sphere end in one cluster, after a stay in several that lasts a "
    "time exponential in the inverse temperature.",
    paper=Paper(
        title="Dynamic metastability in the self-attention model",
        authors="Borjan Geshkovski, Hugo Koubbi, Yury Polyanskiy, Philippe Rigollet",
        venue="arXiv",
        year=2024,
        arxiv="2410.06833",
        code="https://github.com/HugoKoubbi/2024-transformers-dotm",
        code_licence="none given",
    ),
    topic="attention",
    networks={name: f"{HERE}.network:{name}" for name in ("ParticleFlow", "FlowEncoder")},
    default="ParticleFlow",
    examples={
        "ParticleFlow": {"n": 16, "d": 3, "beta": 4.0, "steps": 5},
        "FlowEncoder": {"d": 8, "layers": 3, "causal": True},
    },
    modules=(f"{HERE}.module",),
)
