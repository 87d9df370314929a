"""Tokens on the circle under the exact flow, with beta and the number of tokens on sliders."""

from __future__ import annotations

import math
from typing import Any

import torch

from datamodules.sphere_starts import KINETIC, uniform
from zoo.gallery.interactive import Interactive, Parameter
from zoo.history import Run
from zoo.models.self_attention_dynamics.theory import DYNAMICS, MERGED, normalise

WEIGHT = "self_attention_dynamics.kinetic"
COUNTS = (5, 8, 16, 32)


def _angles(tokens: torch.Tensor) -> list[float]:
    return [round(math.atan2(y, x), 6) for x, y in tokens.tolist()]


def data() -> dict[str, Any]:
    """Starts by number of tokens (the authors' five, else uniform), and the energies of the weight over time."""
    run = Run.shipped(WEIGHT)
    starts = {n: _angles(uniform(n, 2, torch.Generator().manual_seed(n))) for n in COUNTS}
    starts[len(KINETIC)] = _angles(normalise(torch.tensor(KINETIC, dtype=torch.float64)))
    times = run.history.steps.double() * run.recipe["model"]["init_args"]["dt"]
    # one row in a step of the picture is enough: they are even in time, the axis is logarithmic
    rows = sorted({min(range(len(times)), key=lambda i: abs(times[i] - 1.04**k)) for k in range(-18, 155)})
    return {
        "starts": starts,
        "merged": MERGED,
        "measured": {
            "n": len(KINETIC),
            "beta": run.weight.task["beta"].tolist(),
            "times": [round(times[i].item(), 6) for i in rows],
            "energy": run.history["mean_energy"][rows].mul(1e5).round().div(1e5).tolist(),
        },
    }


INTERACTIVE = Interactive(
    title="Clusters that last",
    says="Tokens attend to each other on the circle. Raise β: they still gather in a few clusters at once, but the time "
    "until these are one grows exponentially, which the logarithmic axis turns into a plateau of the energy. Five tokens "
    "start where the authors' do, others at uniform random points.",
    parameters=(
        Parameter("beta", "β", "inverse temperature", tuple(x / 2 for x in range(1, 19)), 4.0),
        Parameter("n", "n", "tokens", COUNTS, 5),
        Parameter("dynamics", "", "dynamics: normalised (sa) or not (usa)", DYNAMICS, "sa"),
    ),
    script="self_attention_dynamics.js",
    data=data,
)
