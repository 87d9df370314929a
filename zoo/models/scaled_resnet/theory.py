"""Closed forms of "Scaling ResNets in the large-depth regime" (Marion, Fermanian, Biau, Vert, JMLR 2025).

h_{k+1} = h_k + a f(h_k, theta_{k+1}), a = L^-beta, entries of the weights of variance 1/d. The moments below hold at every
width and depth; they follow from the independence and the symmetry of the layers in a line each.
"""

from __future__ import annotations

import math
from typing import NamedTuple


def mean_square_growth(depth: int, beta: float) -> float:
    """(1 + L^{-2 beta}/2)^L = E|h_L|^2/|h_0|^2 for res-3 with independent layers of any symmetric law.

    E|V relu(W h)|^2 = E|relu(W h)|^2 = |h|^2/2, and V has mean zero. The same number is E|J z|^2/|z|^2 for J = dh_L/dh_0,
    as half of the units are active on average. With a = L^-1/2 it tends to e^{1/2}, above to 1, below to infinity.
    """
    return math.exp(depth * math.log1p(depth ** (-2 * beta) / 2))


def mean_square_change(depth: int, beta: float) -> float:
    """E|h_L - h_0|^2/|h_0|^2 for res-3: the growth less one, as the increments are orthogonal to h_0 on average."""
    return math.expm1(depth * math.log1p(depth ** (-2 * beta) / 2))


class Envelope(NamedTuple):
    """Bounds of E|h_L|^2/|h_0|^2."""

    low: float
    high: float


def envelope(depth: int, beta: float) -> Envelope:
    """(1 + a^2/2)^L and (1 + a^2)^L, for independent layers with |h|^2/2 <= E|f(h)|^2 <= |h|^2."""
    square = depth ** (-2 * beta)
    return Envelope(mean_square_growth(depth, beta), math.exp(depth * math.log1p(square)))


class LogNormal(NamedTuple):
    """Law of a ratio: mean and variance of its logarithm."""

    mean: float
    variance: float

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation of the ratio itself."""
        mean = math.exp(self.mean + self.variance / 2)
        return mean, mean * math.sqrt(math.expm1(self.variance))

    def density(self, ratio: float) -> float:
        """Of the ratio."""
        deviation = (math.log(ratio) - self.mean) / math.sqrt(self.variance)
        return math.exp(-(deviation**2) / 2) / (ratio * math.sqrt(2 * math.pi * self.variance))


def diffusion_law(width: int) -> LogNormal:
    """The ratio |h_L|/|h_0| of res-3 at beta = 1/2, to first order in 1/d.

    With u = V relu(W h), E|u|^2 = |h|^2/2 and h.u/|h|^2 has mean zero and variance 1/(2d). One layer adds
    a h.u/|h|^2 + a^2 |u|^2/(2 |h|^2) - a^2 (h.u)^2/|h|^4 to ln|h|, and a^2 = 1/L: in all the mean is 1/4 - 1/(2d) and the
    variance 1/(2d), so that E ratio^2 = e^{1/2}, as it must be.
    """
    return LogNormal(0.25 - 0.5 / width, 0.5 / width)


def critical_beta(hurst: float) -> float:
    """max(1/2, H), below which outputs explode and above which the net tends to the identity, as L tends to infinity."""
    return max(0.5, hurst)
