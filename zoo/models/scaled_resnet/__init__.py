"""Residual nets whose branches are scaled by L^-beta (Marion, Fermanian, Biau, Vert, JMLR 2025)."""

from zoo.registry import Paper, System

HERE = "zoo.models.scaled_resnet"

SYSTEM = System(
    name="scaled_resnet",
    title="Scaled residual nets",
    summary="Dividing residual branches by L^beta keeps a deep net from exploding and from doing nothing at one beta "
    "only, 1/2 for independent layers and 1 for smooth ones, and the same beta decides whether it trains.",
    paper=Paper(
        title="Scaling ResNets in the large-depth regime",
        authors="Pierre Marion, Adeline Fermanian, Gérard Biau, Jean-Philippe Vert",
        venue="JMLR",
        year=2025,
        arxiv="2206.06929",
        code="https://github.com/PierreMarion23/scaling-resnets",
        code_licence="MIT",
    ),
    topic="depth as time",
    networks={name: f"{HERE}.network:{name}" for name in ("ScaledResNet", "ScaledConvNet")},
    default="ScaledResNet",
    examples={
        "ScaledResNet": {"d_in": 16, "d_out": 3, "width": 8, "depth": 12, "beta": 0.5},
        "ScaledConvNet": {"blocks": [2, 2, 2], "width": 4, "beta": 0.5},
    },
    modules=(f"{HERE}.module",),
)
