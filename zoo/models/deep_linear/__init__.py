"""Deep linear networks for regression: how sharp minima can be, and where gradient descent ends."""

from zoo.registry import Paper, System

HERE = "zoo.models.deep_linear"

SYSTEM = System(
    name="deep_linear",
    title="Deep linear regression",
    summary="No minimiser of a deep linear network is flatter than a bound linear in depth, which caps the learning rate, "
    "and gradient flow ends within a constant factor of it.",
    paper=Paper(
        title="Deep linear networks for regression are implicitly regularized towards flat minima",
        authors="Pierre Marion, Lénaïc Chizat",
        venue="NeurIPS",
        year=2024,
        arxiv="2405.13456",
        code="https://github.com/PierreMarion23/implicit-reg-sharpness",
        code_licence="MIT",
    ),
    topic="depth",
    networks={"DeepLinear": f"{HERE}.network:DeepLinear"},
    default="DeepLinear",
    examples={"DeepLinear": {"dim": 5, "depth": 10}},
    modules=(f"{HERE}.module",),
)
