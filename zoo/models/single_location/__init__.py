"""Single-location regression with an erf-attention layer (Marion, Berthier, Biau, Boyer, ICLR 2025)."""

from zoo.registry import Paper, System

HERE = "zoo.models.single_location"

SYSTEM = System(
    name="single_location",
    title="Single-location regression",
    summary="An attention layer with erf in place of softmax provably finds the one informative token, where no "
    "linear model can.",
    paper=Paper(
        title="Attention layers provably solve single-location regression",
        authors="Pierre Marion, Raphaël Berthier, Gérard Biau, Claire Boyer",
        venue="ICLR",
        year=2025,
        arxiv="2410.01537",
        code="https://github.com/PierreMarion23/single-location-regression",
        code_licence="MIT",
    ),
    topic="attention",
    networks={name: f"{HERE}.network:{name}" for name in ("SingleLocation", "LinearRegression")},
    default="SingleLocation",
    examples={"SingleLocation": {"d": 80, "lam": 0.1}, "LinearRegression": {"d": 80, "length": 10}},
    modules=(f"{HERE}.module",),
    constructions={tag: f"{HERE}.constructions:{tag}" for tag in ("oracle", "softmax_oracle")},
)
