"""The limit dynamics on the manifold, with lambda and d on sliders."""

from __future__ import annotations

from typing import Any

from zoo.gallery.interactive import Interactive, Parameter
from zoo.history import Run
from zoo.models.single_location.theory import NODE_WEIGHTS, SQUARED_NODES, Law

WEIGHT = "single_location.manifold"
LAMBDAS = tuple(round(10 ** (-2 + i / 10), 4) for i in range(21))  # 0.01 … 1


def data() -> dict[str, Any]:
    """The law, the nodes of zeta's quadrature, and every replica of the weight over time."""
    run = Run.shipped(WEIGHT)
    options, columns = run.recipe["model"]["init_args"], run.history
    law = Law(options["d"], options["length"], options["gamma2"])
    rows = {"kappa": "kappa", "nu": "nu", "excess": "excess_risk"}
    return {
        "law": {
            "length": law.length,
            "gamma2": law.gamma2,
            "nodes": SQUARED_NODES.tolist(),
            "weights": NODE_WEIGHTS.tolist(),
        },
        "grid": LAMBDAS,
        "measured": {
            "weight": WEIGHT,
            "lam": options["lam"],
            "d": law.d,
            "times": [round(time, 6) for time in (columns.steps.double() * options["step_size"]).tolist()],
        }
        | {name: columns[metric].mul(1e4).round().div(1e4).tolist() for name, metric in rows.items()},
    }


INTERACTIVE = Interactive(
    title="The flow on the manifold",
    says="Move the start (drag the point, or focus it and use the arrow keys) and the inverse temperature. Every start off "
    "the dotted line goes to one of the two optima. A small λ makes the first steps slow; a large one lets ν align and "
    "leaves κ behind, at a risk above that of the best linear predictor. The last panel shows the λ between them.",
    parameters=(
        Parameter("lam", "λ", "inverse temperature", LAMBDAS, 0.1),
        Parameter("d", "d", "dimension of a token", (20, 80, 400, 2000), 400),
    ),
    script="single_location.js",
    data=data,
)
