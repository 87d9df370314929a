"""How regular weights are along depth.

Shapes: weights (l, ...), layers first.
"""

from __future__ import annotations

from torch import Tensor


def jumps(weights: Tensor, norm: str = "largest") -> Tensor:
    """Size of W_{k+1} - W_k for k = 0 … l-2, (l-1,): its "largest" entry in absolute value, or "frobenius".

    The largest of them is the Lipschitz constant of the weights in s = k/l, divided by l; their mean tells a smooth path
    with one break from a rough one.

    Raises:
        ValueError: an unknown norm.
    """
    steps = weights.diff(dim=0).flatten(1)
    if norm == "largest":
        return steps.abs().amax(1)
    if norm == "frobenius":
        return steps.norm(dim=1)
    raise ValueError(f"norm={norm!r}: choose largest or frobenius")


def total_variation(weights: Tensor) -> Tensor:
    """sum_k |W_{k+1} - W_k| of every entry, (...)."""
    return weights.diff(dim=0).abs().sum(0)
