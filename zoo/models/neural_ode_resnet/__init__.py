"""Residual nets that stay neural ODEs while they are trained (Marion, Wu, Sander, Biau, ICLR 2024)."""

from zoo.registry import Paper, System

HERE = "zoo.models.neural_ode_resnet"

SYSTEM = System(
    name="neural_ode_resnet",
    title="Residual nets as neural ODEs",
    summary="A residual net that starts as the discretisation of a neural ODE stays one in training: its weights remain a "
    "Lipschitz function of depth, and it tends to the ODE at rate 1/L while it fits the data.",
    paper=Paper(
        title="Implicit regularization of deep residual networks towards neural ODEs",
        authors="Pierre Marion, Yu-Han Wu, Michael E. Sander, Gérard Biau",
        venue="ICLR",
        year=2024,
        arxiv="2309.01213",
        code="https://github.com/michaelsdr/implicit-regularization-resnets-nodes",
        code_licence="MIT",
    ),
    topic="depth as time",
    networks={name: f"{HERE}.network:{name}" for name in ("NeuralODEResNet", "NeuralODEConvNet")},
    default="NeuralODEResNet",
    examples={
        "NeuralODEResNet": {"d_in": 4, "d_out": 3, "width": 8, "hidden": 16, "depth": 12, "init": "smooth"},
        "NeuralODEConvNet": {"depth": 3, "channels": 4},
    },
    modules=(f"{HERE}.module",),
)
