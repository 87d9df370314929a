"""Self-attention dynamics on the unit sphere: vector fields, energies, exact reductions and bounds.

[2410] Geshkovski, Koubbi, Polyanskiy, Rigollet, "Dynamic metastability in the self-attention model" (arXiv 2410.06833).
[2312] Geshkovski, Letrouit, Polyanskiy, Rigollet, "A mathematical perspective on Transformers" (arXiv 2312.10794).

n tokens x_i on the sphere of R^d, inverse temperature beta, P_x y = y - <x, y> x:

    SA    x_i' = P_{x_i} sum_j e^{beta <x_i, x_j>} x_j / Z_i,  Z_i = sum_j e^{beta <x_i, x_j>}
    USA   x_i' = P_{x_i} sum_j e^{beta (<x_i, x_j> - 1)} x_j / n

USA is written as in [2410]; that of [2312] has no -1 in the exponent, its clock runs e^beta times faster. All exponents
below hold <x_i, x_j> - 1, so nothing overflows for any beta.

Shapes: x (..., n, d), beta a number or (...), times (s,). Everything is dtype-clean and works under vmap.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Scalar = float | Tensor
Field = Callable[[Tensor], Tensor]
DYNAMICS = ("sa", "usa")
INTEGRATORS = ("rk4", "euler", "official")
MERGED = 0.999  # inner product from which the authors' phase diagrams count two tokens as one

STAIRCASE_RATE, CLOSE = 1e-5, 1e-3  # step of staircase.py and distance of its merging, in the authors' code


# The flow.


def normalise(x: Tensor) -> Tensor:
    """Nearest points of the sphere."""
    return x / x.norm(dim=-1, keepdim=True)


def tangent(x: Tensor, y: Tensor) -> Tensor:
    """P_x y."""
    return y - (x * y).sum(-1, keepdim=True) * x


def attention_sums(x: Tensor, beta: Scalar, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """sum_j e^{beta (<x_i, x_j> - 1)} x_j (..., n, d) and the same sum of ones, e^{-beta} Z_i, (..., n, 1).

    A mask (n, n) is true where i attends to j. The last coordinate makes both the exponents and the normaliser part of
    the two matrix products, so that three operations touch an n x n array, whatever d.
    """
    beta = torch.as_tensor(beta, dtype=x.dtype, device=x.device)[..., None, None]
    ones = torch.ones_like(x[..., :1])
    keys = torch.cat([x, ones], -1)
    weights = (torch.cat([beta * x, -beta * ones], -1) @ keys.mT).exp()
    if mask is not None:
        weights = weights * mask
    sums = weights @ keys
    return sums[..., :-1], sums[..., -1:]


def drift(x: Tensor, beta: Scalar, dynamics: str = "sa", mask: Tensor | None = None) -> Tensor:
    """What attention adds to every token, before the projection on the tangent space, (..., n, d).

    Under a mask USA divides by the number of tokens attended to, instead of n.
    """
    sums, normaliser = attention_sums(x, beta, mask)
    if dynamics == "sa":
        return sums / normaliser
    return sums / (x.shape[-2] if mask is None else mask.to(x.dtype).sum(-1, keepdim=True))


def velocity(x: Tensor, beta: Scalar, dynamics: str = "sa", mask: Tensor | None = None) -> Tensor:
    """x_i' (..., n, d)."""
    return tangent(x, drift(x, beta, dynamics, mask))


def rk4(field: Field, x: Tensor, dt: Scalar) -> Tensor:
    """One step of the classical fourth-order method."""
    k1 = field(x)
    k2 = field(x + dt / 2 * k1)
    k3 = field(x + dt / 2 * k2)
    k4 = field(x + dt * k3)
    return x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def step(
    x: Tensor, beta: Scalar, dt: Scalar, dynamics: str = "sa", integrator: str = "rk4", mask: Tensor | None = None
) -> Tensor:
    """One time step, back on the sphere.

    "rk4" and "euler" follow the flow; "official" is the authors' step, normalise(x + dt drift(x)). It leaves out the
    tangent projection, so that the effective step is dt/(1 + dt <x, drift>): near clusters of SA, where <x, drift> is
    close to 1, its clock runs a factor 1 + dt slow.
    """
    if integrator == "rk4":
        return normalise(rk4(lambda y: velocity(y, beta, dynamics, mask), x, dt))
    field = velocity if integrator == "euler" else drift
    return normalise(x + dt * field(x, beta, dynamics, mask))


def trajectory(
    x: Tensor, beta: Scalar, dt: float, steps: int, every: int = 1, dynamics: str = "sa", integrator: str = "rk4"
) -> Tensor:
    """States at the steps 0, every, 2 every, … up to `steps`: (s, ..., n, d)."""
    kept = [x]
    for i in range(1, steps + 1):
        x = step(x, beta, dt, dynamics, integrator)
        if i % every == 0:
            kept.append(x)
    return torch.stack(kept)


def causal_mask(n: int, device: torch.device | None = None) -> Tensor:
    """Token i attends to j <= i, (n, n)."""
    return torch.ones(n, n, dtype=torch.bool, device=device).tril()


# Energies. Both flows go up.


def energy(x: Tensor, beta: Scalar) -> Tensor:
    """E = (1/(2 beta n^2)) sum_ij e^{beta <x_i, x_j>} of [2312], (...)."""
    beta = torch.as_tensor(beta, dtype=x.dtype, device=x.device)
    return beta.exp() * mean_energy(x, beta) / (2 * beta)


def mean_energy(x: Tensor, beta: Scalar) -> Tensor:
    """(1/n^2) sum_ij e^{beta (<x_i, x_j> - 1)} in (0, 1], (...).

    1 on one cluster, sum_q m_q^2/n^2 on clusters of sizes m_q that do not see each other. [2410] prints it with a
    factor 1/(2 beta); its statements on levels need this form.
    """
    return attention_sums(x, beta)[1].mean((-2, -1)) / x.shape[-2]


def gradient(x: Tensor, beta: Scalar) -> Tensor:
    """Riemannian gradient of `energy` in the metric of R^d, of each token: (1/n^2) P_{x_i} sum_j e^{beta <.,.>} x_j."""
    scale = torch.as_tensor(beta, dtype=x.dtype).exp()[..., None, None] / x.shape[-2] ** 2
    return scale * tangent(x, attention_sums(x, beta)[0])


def metric(x: Tensor, a: Tensor, b: Tensor, beta: Scalar) -> Tensor:
    """<a, b>_X = (1/n^2) sum_i Z_i <a_i, b_i>, for which SA is the gradient ascent of `energy` ([2312])."""
    scale = torch.as_tensor(beta, dtype=x.dtype).exp() / x.shape[-2] ** 2
    return scale * (attention_sums(x, beta)[1] * a * b).sum((-2, -1))


def energy_rate(x: Tensor, beta: Scalar, dynamics: str = "sa") -> Tensor:
    """dE/dt along the flow: (1/n^2) sum_i Z_i |x_i'|^2 for SA; e^beta (1/n) sum_i |x_i'|^2 for USA."""
    v = velocity(x, beta, dynamics)
    if dynamics == "sa":
        return metric(x, v, v, beta)
    return torch.as_tensor(beta, dtype=x.dtype).exp() * v.square().sum((-2, -1)) / x.shape[-2]


# Statistics of a configuration.


def pair_products(x: Tensor) -> Tensor:
    """<x_i, x_j> of the pairs i < j, (..., n (n-1)/2)."""
    i, j = torch.triu_indices(x.shape[-2], x.shape[-2], 1, device=x.device)
    return (x @ x.mT)[..., i, j]


def clusters(x: Tensor, merged: float = MERGED) -> Tensor:
    """Number of connected components of the graph of the pairs with <x_i, x_j> > merged, (...) in the dtype of x."""
    n = x.shape[-2]
    reach = ((x @ x.mT > merged) | torch.eye(n, dtype=torch.bool, device=x.device)).float()
    for _ in range(math.ceil(math.log2(max(n, 2)))):  # paths of length 1, 2, 4, …
        reach = (reach @ reach).clamp(max=1)
    return (1 / reach.sum(-1)).sum(-1).round().to(x.dtype)


def statistics(x: Tensor, beta: Scalar, merged: float = MERGED) -> dict[str, Tensor]:
    """What the history holds of one configuration; the shares are of the n (n-1)/2 pairs."""
    n = x.shape[-2]
    products = x @ x.mT
    own = torch.eye(n, dtype=torch.bool, device=x.device)
    pairs = n * (n - 1)
    return {
        "mean_energy": mean_energy(x, beta),
        "clusters": clusters(x, merged),
        "merged": ((products > merged) & ~own).to(x.dtype).sum((-2, -1)) / pairs,
        "mean_product": products.masked_fill(own, 0).sum((-2, -1)) / pairs,
        "min_product": products.amin((-2, -1)),
    }


# Exact reductions to one ordinary differential equation.


def solve(field: Field, start: Tensor, times: Tensor, dt: float = 0.01) -> Tensor:
    """Values at increasing `times` (s,) from `start` at time 0 by steps of `rk4` of at most dt; (s, ...)."""
    values, x, now = [], start, 0.0
    for time in times.tolist():
        steps = math.ceil((time - now) / dt)
        for _ in range(steps):
            x = rk4(field, x, (time - now) / steps)
        now = time
        values.append(x)
    return torch.stack(values)


def gamma_rate(gamma: Tensor, beta: Scalar, n: int, dynamics: str = "sa") -> Tensor:
    """gamma' of the common inner product of an orthonormal start ([2312]): with w = e^{beta (gamma - 1)},

    2 w (1 - gamma)((n - 1) gamma + 1)/(1 + (n - 1) w) for SA, (2/n) w (1 - gamma)((n - 1) gamma + 1) for USA.
    """
    w = (beta * (gamma - 1)).exp()
    growth = 2 * w * (1 - gamma) * ((n - 1) * gamma + 1)
    return growth / (1 + (n - 1) * w) if dynamics == "sa" else growth / n


def gamma_curve(beta: Scalar, n: int, times: Tensor, dynamics: str = "sa") -> Tensor:
    """gamma at `times` from gamma(0) = 0, (s, ...) for beta (...)."""
    beta = torch.as_tensor(beta, dtype=torch.float64)
    return solve(lambda g: gamma_rate(g, beta, n, dynamics), torch.zeros_like(beta), times)


def gamma_time(beta: float, n: int, level: float = MERGED, dynamics: str = "sa") -> float:
    """Time at which gamma reaches `level`: the transition curve of the phase diagrams, at level 1 - delta."""

    # gamma = 1 - e^{-s} takes out the pole of 1/gamma' at 1
    def slowness(s: np.ndarray) -> np.ndarray:
        gamma = torch.from_numpy(1 - np.exp(-s))
        return np.exp(-s) / gamma_rate(gamma, beta, n, dynamics).numpy()

    return quadrature(slowness, 0.0, -math.log(1 - level))


def quadrature(function: Callable[[np.ndarray], np.ndarray], low: float, high: float, nodes: int = 400) -> float:
    """Gauss-Legendre on an interval."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    return float((high - low) / 2 * (w * function((high - low) / 2 * x + (high + low) / 2)).sum())


def cluster_rate(angle: Tensor, beta: Scalar, a: float, b: float, dynamics: str = "sa") -> Tensor:
    """phi' of two point clusters of a and b tokens at angle phi; derived here. With w = e^{beta (cos phi - 1)},

    SA: -sin phi (b w/(a + b w) + a w/(b + a w));  USA: -w sin phi. Two tokens are a = b = 1.
    """
    w = (beta * (angle.cos() - 1)).exp()
    speed = b * w / (a + b * w) + a * w / (b + a * w) if dynamics == "sa" else w
    return -angle.sin() * speed


def cluster_time(beta: float, a: float, b: float, start: float, end: float, dynamics: str = "sa") -> float:
    """Time in which two clusters at angle `start` come as close as `end`, both in (0, pi).

    By quadrature in the angle, so that the metastable times e^{beta (1 - cos start)} cost as much as short ones. For
    a = b = 1 the integrand is (1 + e^{beta (1 - cos u)})/(2 sin u).
    """

    def slowness(u: np.ndarray) -> np.ndarray:
        return -1 / cluster_rate(torch.from_numpy(u), beta, a, b, dynamics).numpy()

    return quadrature(slowness, end, start)


def cluster_energy(angle: Tensor, beta: Scalar, a: int, b: int) -> Tensor:
    """`mean_energy` of two point clusters."""
    return (a**2 + b**2 + 2 * a * b * (beta * (angle.cos() - 1)).exp()) / (a + b) ** 2


def cluster_angle(times: Tensor, beta: float, a: int, b: int, start: float, end: float = 1e-3) -> Tensor:
    """Angle of two clusters at `times` (s,), `start` at time 0, by inverting `cluster_time`; `end` after it."""
    angles = np.linspace(start, end, 4001)
    middle = (angles[1:] + angles[:-1]) / 2
    slowness = -1 / cluster_rate(torch.from_numpy(np.stack([angles[:-1], middle, angles[1:]])), beta, a, b).numpy()
    passed = np.concatenate([[0.0], np.cumsum(np.diff(-angles) * (slowness[0] + 4 * slowness[1] + slowness[2]) / 6)])
    return torch.from_numpy(np.interp(times.numpy(), passed, angles))


# The theorem of dynamic metastability [2410].


@dataclass(frozen=True)
class Containment:
    """Constants of the theorem of [2410] for n tokens in caps {<x, w_q> >= 1 - eps} with centres `separation` apart.

    Attributes:
        separation: smallest angle between two centres.
        share: lambda as a share of the smaller of its two bounds; the theorem wants less than 1.

    Raises:
        ValueError: beta, eps or share outside the theorem.
    """

    n: int
    beta: float
    eps: float
    separation: float = math.pi
    share: float = 0.99

    def __post_init__(self) -> None:
        if self.beta <= 1 or not 0 < self.eps < 1 / 16 or not 0 < self.share < 1:
            raise ValueError("the theorem needs beta > 1, 0 < eps < 1/16 and 0 < share < 1")

    @property
    def alpha(self) -> float:
        """Largest <x, y> over points of two different caps of the double size 2 eps."""
        return math.cos(max(self.separation - 2 * math.acos(1 - 2 * self.eps), 0.0))

    @property
    def gamma(self) -> float:
        """The start is (beta, eps)-separated if this is positive."""
        return 1 - self.alpha - 8 * self.eps - math.log(2 * self.n**2 / self.eps) / self.beta

    @property
    def first_bound(self) -> float:
        """First bound on lambda, with the sign of its logarithm that the proof needs.

        Printed, c^{-1} stands for c = (beta - 1) eps/(beta^2 n^2 e), with which T1 < T2 would not follow.
        """
        c = (self.beta - 1) * self.eps / (self.beta**2 * self.n**2 * math.e)
        return math.exp((1 - self.alpha) * self.beta) * c * (1 - math.exp(-self.gamma * self.beta))

    @property
    def second_bound(self) -> float:
        """Second bound on lambda."""
        logarithm = math.log(2 * self.n**2 / (1 - 8 * self.eps))
        return 1 - self.alpha - logarithm / self.beta - 8 * self.eps

    @property
    def rate(self) -> float:
        """lambda: inside a cap |x_i - x_j|^2 <= 2 e^{-lambda beta} on [T1, T2]."""
        return self.share * min(self.first_bound, self.second_bound)

    @property
    def collapsed_by(self) -> float:
        """Upper bound on T1."""
        fast = 2 * self.n * math.exp(8 * self.eps * self.beta)
        return fast + math.e * self.n * self.rate * self.beta**2 / (self.beta - 1)

    @property
    def stays_until(self) -> float:
        """Lower bound on T2."""
        return self.eps / self.n * math.exp((1 - self.alpha) * self.beta)

    @property
    def diameter(self) -> float:
        """Bound on |x_i - x_j| inside a cap on [T1, T2]."""
        return math.sqrt(2 * math.exp(-self.rate * self.beta))


def collapse_time(beta: float, start: float, c: float) -> float:
    """Time in which u' = u (1 - u) e^{beta (u - 1)} goes from `start` to 1 - e^{-c beta}, by quadrature."""
    return quadrature(lambda s: np.exp(beta * np.exp(-s)) / (1 - np.exp(-s)), -math.log(1 - start), c * beta)


def collapse_bound(beta: float, start: float, c: float) -> float:
    """The lemma's bound on `collapse_time` [2410]: e^{beta (1 - u0)}/u0 + beta^2 c e/(beta - 1)."""
    return math.exp(beta * (1 - start)) / start + beta**2 * c * math.e / (beta - 1)


def approach(beta: Scalar, start: Scalar, c: Scalar, time: Tensor) -> Tensor:
    """Exact solution of u' = -c log(beta) sin u, the time-scale lemma of Section 6 [2410]."""
    start = torch.as_tensor(start, dtype=time.dtype)
    return 2 * ((start / 2).tan() * (-c * time * math.log(beta)).exp()).atan()


def approach_time(beta: float, start: float, c: float) -> float:
    """Time in which that solution falls to sqrt(log beta/beta); tends to 1/(2c) as beta grows (printed: 2/c)."""
    end = math.sqrt(math.log(beta) / beta)
    return math.log(math.tan(start / 2) / math.tan(end / 2)) / (c * math.log(beta))


# Hemispheres.


def hemisphere_probability(n: int, d: int) -> float:
    """Wendel's theorem: probability that n uniform points of the sphere of R^d lie in an open hemisphere.

    From such a start the limit is one cluster, at an exponential rate ([2312]).
    """
    return sum(math.comb(n - 1, k) for k in range(d)) / 2 ** (n - 1) if d < n else 1.0


def in_hemisphere(x: Tensor) -> Tensor:
    """Whether points (..., n, d) in general position lie in an open hemisphere, (...).

    They do if and only if the cone they span is pointed, that is, some d - 1 of them span a facet: all other points are
    strictly on one side. n!/((d-1)!(n-d+1)!) facets are tried.
    """
    n, d = x.shape[-2:]
    if n <= d:
        return torch.ones(x.shape[:-2], dtype=torch.bool)
    found = torch.zeros(x.shape[:-2], dtype=torch.bool)
    for facet in itertools.combinations(range(n), d - 1):
        others = [k for k in range(n) if k not in facet]
        squares = torch.stack([x[..., [*facet, k], :] for k in others], -3)
        side = torch.linalg.det(squares)
        found |= (side > 0).all(-1) | (side < 0).all(-1)
    return found


# The staircase [2410, Section 6]: normalised ascent of USA on the circle.


def staircase_gradient(angles: Tensor, beta: Tensor) -> Tensor:
    """(1/n^2) sum_j e^{beta (cos(theta_i - theta_j) - 1)} sin(theta_j - theta_i), (..., n) for beta (...)."""
    apart = angles.unsqueeze(-2) - angles.unsqueeze(-1)  # theta_j - theta_i
    return (apart.sin() * (beta[..., None, None] * (apart.cos() - 1)).exp()).sum(-1) / angles.shape[-1] ** 2


def merge_angles(angles: Tensor) -> Tensor:
    """Moves each angle to the first one that is closer than 1e-3."""
    near = (angles.unsqueeze(-2) - angles.unsqueeze(-1)).abs() < CLOSE
    return angles.gather(-1, near.to(torch.uint8).argmax(-1))


def staircase_step(angles: Tensor, beta: Tensor, rate: float = STAIRCASE_RATE, still: float = 1e-5) -> Tensor:
    """theta + rate log(beta) g/|g|; where |g| < still, pairs closer than 1e-3 are merged afterwards (staircase.py).

    When all particles coincide g = 0 and they stay, where the authors' code divides by zero. A rate ten times larger
    overshoots: a closing pair then swings across 1e-3 and never meets the merging test.
    """
    g = staircase_gradient(angles, beta)
    norm = g.norm(dim=-1, keepdim=True)
    moved = angles + rate * beta.log().unsqueeze(-1) * g / norm.clamp(min=1e-300)
    return torch.where(norm < still, merge_angles(moved), moved)


class Staircase:
    """The same ascent for many betas at once, in a loop that allocates nothing: a few microseconds an operation.

    Args:
        angles: start (r, n), float64; copied.
        beta: (r,).
        rate: step size, in units of rescaled time.
        still: norm of the gradient below which close pairs are merged.

    Attributes:
        angles: current angles (r, n).
    """

    def __init__(self, angles: Tensor, beta: Tensor, rate: float = STAIRCASE_RATE, still: float = 1e-5):
        r, n = angles.shape
        self.angles = angles.clone().contiguous()
        self.still = still
        self._stride = rate * beta.log().unsqueeze(-1)
        self._beta = beta[:, None, None].expand(r, n, n).contiguous()
        self._rows, self._columns = self.angles.unsqueeze(-1), self.angles.unsqueeze(-2)
        self._apart, self._weight = angles.new_empty(2, r, n, n)
        self._g, self._norm = angles.new_empty(r, n), angles.new_empty(r, 1)

    @property
    def collapsed(self) -> bool:
        """Whether every system has become one particle."""
        return bool((self.angles == self.angles[:, :1]).all())

    @torch.no_grad()
    def run(self, steps: int) -> None:
        """Makes `steps` steps; none once everything has collapsed, since nothing moves then."""
        apart, weight, g, norm, beta, less = self._apart, self._weight, self._g, self._norm, self._beta, -self._beta
        rows, columns, angles, stride = self._rows, self._columns, self.angles, self._stride
        still = self.still * angles.shape[1] ** 2  # g is left without its factor 1/n^2
        closing = math.sqrt(2) * stride.amax().item()  # what two particles can come closer in a step
        far = 0  # steps in which no pair can come close enough to be merged
        for _ in range(steps):
            torch.sub(columns, rows, out=apart)
            torch.cos(apart, out=weight)
            torch.addcmul(less, beta, weight, out=weight).exp_()
            torch.sum(apart.sin_().mul_(weight), -1, out=g)
            torch.linalg.vector_norm(g, 2, -1, True, out=norm)
            calm = far == 0 and norm.amin().item() < still
            merging = norm < still if calm else None
            angles.addcdiv_(g.mul_(stride), norm.clamp_(min=1e-300))
            if merging is not None:
                angles.copy_(torch.where(merging, merge_angles(angles), angles))
                gaps = (columns - rows).abs()
                gap = gaps.masked_fill_(gaps == 0, math.inf).amin().item()
                if gap == math.inf:
                    return
                far = max(int((gap - CLOSE) / closing) - 1, 0)
            elif far:
                far -= 1


def angles_to_tokens(angles: Tensor) -> Tensor:
    """Points of the circle, (..., n, 2)."""
    return torch.stack([angles.cos(), angles.sin()], -1)
