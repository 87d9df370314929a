"""Hidden states across the layers, with the scaling and the depth on sliders."""

from __future__ import annotations

from typing import Any

from zoo.gallery.interactive import Interactive, Parameter
from zoo.models.scaled_resnet.theory import critical_beta

DEPTHS = (10, 20, 50, 100, 200, 500, 1000)  # divide the last, so that one path of weights can be read at each
BETAS = tuple(round(0.05 * i, 2) for i in range(31))
WIDTH, NETS, SEED = 16, 6, 1
LENGTH = 0.1


def data() -> dict[str, Any]:
    """Sizes and seed of the nets that the script draws, and the critical scalings."""
    return {
        "width": WIDTH,
        "nets": NETS,
        "seed": SEED,
        "most": DEPTHS[-1],
        "length": LENGTH,
        "betas": BETAS,
        "depths": (10, 100, 1000),
        # a smooth path has the critical scaling of Hurst index one
        "critical": {"independent": critical_beta(0.5), "smooth": critical_beta(1.0)},
    }


INTERACTIVE = Interactive(
    title="Explosion, identity, and the scaling between",
    says="Branches are divided by L to the power β. Move β across the critical value at a large depth: below it the hidden "
    "states explode, above it the net does nothing. With independent layers the value is 1/2 and paths stay random; with "
    "smooth ones it is 1, and one path of weights read at two depths gives nearly the same curve.",
    parameters=(
        Parameter("beta", "β", "scaling: branches times L⁻ᵝ", BETAS, 0.5),
        Parameter("depth", "L", "depth", DEPTHS, 200),
        Parameter("process", "", "weights along depth", ("independent", "smooth"), "independent"),
    ),
    script="scaled_resnet.js",
    data=data,
)
