"""The runs behind Figures 1 and 2, as the authors' scripts make them: minutes of training, whose numbers are kept.

Shapes: d depths, t steps, l layers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules.gaussian_pairs import released
from zoo.kept import kept
from zoo.models.neural_ode_resnet import theory
from zoo.models.neural_ode_resnet.claims import training
from zoo.models.neural_ode_resnet.descent import as_released, descend, together

LEFT_DEPTHS, RIGHT_DEPTHS, REFERENCE = (2, 16, 64, 256, 1014), tuple(2**i for i in range(1, 10)), 2048
LEFT_STEPS, RIGHT_STEPS, EARLY_STEPS = 450, 500, 3000


def jumps_in_time(depth: int, steps: int = LEFT_STEPS) -> dict[str, Tensor]:
    """Figure 1, left: of every step the largest jump (t,) and the squared jumps of V and W (t, 2)."""
    largest, squared = training(depth, steps)
    return {f"largest_{depth}": largest, f"squared_{depth}": squared}


def distances_in_time(steps: int = RIGHT_STEPS) -> dict[str, Tensor]:
    """Figure 1, right: distance of V and of W to depth 2048 at the steps 5, 10, … 500, (d, t)."""
    inner, x, y = released("figure_1_right")
    nets = {depth: as_released(inner, depth) for depth in (*RIGHT_DEPTHS, REFERENCE)}
    found: dict[str, list[Tensor]] = {"V": [], "W": []}
    for step in together(nets, x, y, lr=0.01, steps=steps):
        if step and step % 5 == 0:
            for name, columns in found.items():
                fine = getattr(nets[REFERENCE], name).detach()
                coarse = [getattr(nets[depth], name).detach() for depth in RIGHT_DEPTHS]
                columns.append(torch.stack([theory.depth_distance(one, fine) for one in coarse]))
    return {f"distance_{name}": torch.stack(columns, dim=1) for name, columns in found.items()}


def early_weights(steps: int = EARLY_STEPS) -> dict[str, Tensor]:
    """Figure 2: V_k[0, 2] and W_k[2, 0] of the net of depth 64 at the steps 0, 100, … 3000, (t, 2, l)."""
    inner, x, y = released("figure_2")
    network = as_released(inner, 64)
    rows = [
        torch.stack([network.V[:, 0, 2].detach().clone(), network.W[:, 2, 0].detach().clone()])
        for step, _ in descend(network, x, y, lr=0.005, steps=steps)
        if step % 100 == 0
    ]
    return {"early": torch.stack(rows)}


@kept()
def released_runs() -> dict[str, Tensor]:
    """All of them."""
    jumps = {name: one for depth in LEFT_DEPTHS for name, one in jumps_in_time(depth).items()}
    return jumps | distances_in_time() | early_weights()
