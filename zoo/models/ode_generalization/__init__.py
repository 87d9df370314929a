"""Neural ODEs with weights that vary in time, their residual nets, and how well they generalise (Marion, NeurIPS 2023)."""

from zoo.registry import Paper, System

HERE = "zoo.models.ode_generalization"

SYSTEM = System(
    name="ode_generalization",
    title="Generalisation of neural ODEs",
    summary="A neural ODE whose weights change slowly in time, and a residual net whose weights change slowly from layer "
    "to layer, generalise at a rate that does not depend on depth; penalising the change shrinks the train-test gap.",
    paper=Paper(
        title="Generalization bounds for neural ordinary differential equations and deep residual networks",
        authors="Pierre Marion",
        venue="NeurIPS",
        year=2023,
        arxiv="2305.06648",
        code="https://github.com/PierreMarion23/generalization-ode-resnets",
        code_licence="MIT",
    ),
    topic="depth as time",
    networks={name: f"{HERE}.network:{name}" for name in ("TimeResNet", "TimeDependentODE")},
    default="TimeResNet",
    examples={
        "TimeResNet": {"d_in": 16, "d_out": 3, "width": 8, "depth": 12},
        "TimeDependentODE": {"d": 4, "fields": "ridges", "count": 6, "knots": 5, "steps": 8},
    },
    modules=(f"{HERE}.module",),
)
