"""Closed forms of single-location regression with an erf-attention layer.

Marion, Berthier, Biau, Boyer, "Attention layers provably solve single-location regression" (ICLR 2025).

Data law: k*, v* orthonormal in R^d; L tokens, one at a uniform hidden position l0; X_l0 ~ N(s k*, gamma^2 I) with s =
sqrt(d/2), the others ~ N(0, I); y = X_l0.v* + noise. Predictor: T(X) = sum_l erf(lam X_l.k) X_l.v with k, v on the
unit sphere.

Shapes: leading axes broadcast; a *pair* (..., 2, n) has the rows k and v in an orthonormal basis that starts with k*,
v*. The updates never leave span{k*, v*, k, v}, so n = 4 is enough and d is only a number. Everything is dtype-clean
and works under vmap. `lam` may be a number or a scalar tensor. "Excess" means risk minus the noise variance, in units
of y squared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from zoo.models.single_location.network import gate_values

Scalar = float | Tensor
TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)  # erf'(0)


@dataclass(frozen=True)
class Law:
    """The data law.

    d: dimension of a token; length: tokens L; gamma2: variance of the informative token; noise: of the label, s.d.
    gamma2 = 1/2 makes all tokens have the same expected squared norm d, so norms do not leak the position.
    """

    d: int
    length: int = 10
    gamma2: float = 0.5
    noise: float = 0.1

    def __post_init__(self) -> None:
        if self.d < 2:
            raise ValueError(f"d={self.d}: k* and v* are orthogonal, so a token needs at least two coordinates")
        if self.length < 1:
            raise ValueError(f"length={self.length}: at least one token is needed, the informative one")
        if self.gamma2 <= 0 or self.noise < 0:
            raise ValueError(f"gamma2={self.gamma2} must be positive and noise={self.noise} at least zero")

    @property
    def s(self) -> float:
        """Size of the mean of the informative token, sqrt(d/2)."""
        return math.sqrt(self.d / 2)

    @property
    def gamma(self) -> float:
        """Standard deviation of the informative token."""
        return math.sqrt(self.gamma2)


class Order(NamedTuple):
    """The five inner products that the risk depends on (Theorem 1).

    kappa = k.k*, nu = v.v*, theta = v.k*, eta = k.v*, rho = k.v.
    """

    kappa: Any
    nu: Any
    theta: Any
    eta: Any
    rho: Any

    @property
    def distance(self) -> Tensor:
        """Distance to the invariant manifold {theta = eta = rho = 0}."""
        return (self.theta**2 + self.eta**2 + self.rho**2).sqrt()


def order(k: Tensor, v: Tensor, k_star: Tensor, v_star: Tensor) -> Order:
    """Order parameters of k, v (..., d)."""
    return Order(
        (k * k_star).sum(-1), (v * v_star).sum(-1), (v * k_star).sum(-1), (k * v_star).sum(-1), (k * v).sum(-1)
    )


def order_of_pair(pair: Tensor) -> Order:
    """Order parameters of a pair (..., 2, n) in a basis that starts with k*, v*."""
    (kappa, eta), (theta, nu) = pair[..., 0, :2].unbind(-1), pair[..., 1, :2].unbind(-1)
    return Order(kappa, nu, theta, eta, pair.prod(-2).sum(-1))


def pair_of_order(at: Order) -> Tensor:
    """The triangular pair (..., 2, 4) with these order parameters, both rows of norm one.

    k = (kappa, eta, k3, 0), v = (theta, nu, v3, v4).
    """
    kappa, nu, theta, eta, rho = torch.broadcast_tensors(*(torch.as_tensor(x) for x in at))
    k3 = (1 - kappa**2 - eta**2).clamp(min=0).sqrt()
    inner = rho - kappa * theta - eta * nu
    v3 = torch.where(k3 > 0, inner / k3, torch.zeros_like(k3))
    v4 = (1 - theta**2 - nu**2 - v3**2).clamp(min=0).sqrt()
    return torch.stack(
        [torch.stack([kappa, eta, k3, torch.zeros_like(k3)], -1), torch.stack([theta, nu, v3, v4], -1)], -2
    )


# The expectations of erf(a + g G), G ~ N(0, 1), and of its square; q = 1 + 2 g^2, p = 1 + 4 g^2.


def _gauss_legendre(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    x, w = np.polynomial.legendre.leggauss(nodes)
    return ((x + 1) / 2) ** 2, w / 2  # squared nodes and weights on [0, 1]


SQUARED_NODES, NODE_WEIGHTS = _gauss_legendre(16)


def _asin(x: Scalar) -> Any:
    return torch.asin(x) if isinstance(x, Tensor) else math.asin(x)


def _constant(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.tensor(values.tolist(), dtype=like.dtype, device=like.device)


def _node_constants(p: Scalar, like: Tensor) -> tuple[Tensor, Tensor]:
    """1 + u^2 and the weights of the quadrature on [0, 1/sqrt p], divided by 1 + u^2; numbers if p is one."""
    if isinstance(p, Tensor):
        spread = _constant(SQUARED_NODES, like) / p[..., None] + 1
        return spread, _constant(NODE_WEIGHTS, like) / (spread * p[..., None] ** 0.5)
    at = 1 + SQUARED_NODES / p
    return _constant(at, like), _constant(NODE_WEIGHTS / (at * p**0.5), like)


def _zeta_growth(A: Tensor, p: Scalar) -> Tensor:
    """zeta(t, g) - zeta(0, g) as a function of A = t/sqrt q.

    (4/pi) int_0^(1/sqrt p) (1 - exp(-A^2 (1 + u^2)))/(1 + u^2) du. It is Owen's E[Phi(x + y G)^2] = Phi(h) -
    2 T(h, 1/sqrt(1 + 2 y^2)), h = x/sqrt(1 + y^2), written for erf. The integrand is smooth: 16 Gauss-Legendre nodes
    give 1e-15, and expm1 loses nothing for small A in float32.
    """
    spread, weights = _node_constants(p, A)
    return -4 / math.pi * (torch.expm1(-(A**2)[..., None] * spread) * weights).sum(-1)


def zeta_at_zero(g: Scalar) -> Any:
    """zeta(0, g) = E[erf(g G)^2] = (2/pi) arcsin(2 g^2/(1 + 2 g^2))."""
    return _asin(2 * g * g / (1 + 2 * g * g)) * (2 / math.pi)


def zeta(t: Tensor, g: Scalar) -> Tensor:
    """zeta(t, g) = E[erf(t + g G)^2], G ~ N(0, 1), to 1e-15; t (...), g a number or broadcasting with t."""
    q, p = 1 + 2 * g * g, 1 + 4 * g * g
    return zeta_at_zero(g) + _zeta_growth(t / q**0.5, p)


def zeta_slope(t: Tensor, g: Scalar) -> Tensor:
    """d zeta/dt = 2/sqrt q erf(t/sqrt(p q)) erf'(t/sqrt q)."""
    q, p = 1 + 2 * g * g, 1 + 4 * g * g
    A = t / q**0.5
    return 2 * TWO_OVER_ROOT_PI / q**0.5 * torch.erf(A / p**0.5) * torch.exp(-(A**2))


def zeta_by_quadrature(t: Tensor, g: Scalar, nodes: int = 80) -> Tensor:
    """zeta(t, g) by Gauss-Hermite quadrature of its definition, to check the closed forms (1e-12 for g < 0.8)."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    points = torch.as_tensor(x, dtype=t.dtype)
    weights = torch.as_tensor(w / w.sum(), dtype=t.dtype)
    g = torch.as_tensor(g, dtype=t.dtype)
    return (torch.erf(t[..., None] + g[..., None] * points) ** 2 * weights).sum(-1)


class Profile(NamedTuple):
    """E = E[erf(a + g G)] and its derivatives E1, E2, E3 in a; F = zeta(a, g) and its derivatives F1, F2, F3."""

    E: Tensor
    E1: Tensor
    E2: Tensor
    E3: Tensor
    F: Tensor
    F1: Tensor
    F2: Tensor
    F3: Tensor


def profile(a: Tensor, g: Scalar) -> Profile:
    """The expectations of Theorem 1 at a = lam s kappa, g = lam gamma.

    E = erf(A), A = a/sqrt q, and F1 = E1 H with H = 2 erf(A/sqrt p); the rest follows by differentiation.
    """
    q, p = 1 + 2 * g * g, 1 + 4 * g * g
    A = a / q**0.5
    A2 = A * A
    E1 = torch.exp(-A2) * (TWO_OVER_ROOT_PI / q**0.5)
    E2 = A * E1 * (-2 / q**0.5)
    E3 = (A2 * 4 - 2) * E1 / q
    H = torch.erf(A / p**0.5) * 2
    H1 = torch.exp(A2 / -p) * (2 * TWO_OVER_ROOT_PI / (p * q) ** 0.5)
    F = _zeta_growth(A, p) + zeta_at_zero(g)
    F1 = E1 * H
    F2 = torch.addcmul(E1 * H1, E2, H)
    F3 = torch.addcmul(E2 * H1 * (2 + 1 / p), E3, H)  # E1 H2 = E2 H1/p
    return Profile(torch.erf(A), E1, E2, E3, F, F1, F2, F3)


# The risk (Theorem 1).


def _uninformative(law: Law, lam: Scalar) -> tuple[Scalar, Scalar]:
    """(c, K): the L - 1 uninformative tokens add (L-1) zeta(0, lam) + K r^2 + 2 c r (t E + r E1) to the risk.

    r = lam gamma^2 rho and c = (L-1) C/(lam gamma^2), where E[erf(lam G) G'] = C rho for corr(G, G') = rho, that is
    C = (2 lam/sqrt pi)/sqrt(1 + 2 lam^2).
    """
    others, q = law.length - 1, 1 + 2 * lam * lam
    c = others * TWO_OVER_ROOT_PI / law.gamma2 / q**0.5
    K = (others * 8 / math.pi / (q * (2 * q - 1) ** 0.5) + others * (law.length - 2) * 4 / math.pi / q) / law.gamma2**2
    return c, K


def excess_risk(at: Order, law: Law, lam: Scalar) -> Tensor:
    """Exact E[(T(X) - y)^2] - noise^2 (Theorem 1), any k and v of norm one; broadcasts over the axes of `at`.

    With t = s theta, r = lam gamma^2 rho, e = lam gamma^2 eta, and E, F of `profile` at a = lam s kappa:

        gamma^2 (1 + F - 2 nu E) + t^2 F + 2 t r F1 + r^2 F2 - 2 e (t E1 + r E2)
            + 2 c r (t E + r E1) + K r^2 + (L-1) zeta(0, lam).

    It is the paper's formula collected by powers of t, r and e: Stein's lemma trades each factor X.v for a derivative.
    """
    E, E1, E2, _, F, F1, F2, _ = profile(lam * law.s * at.kappa, lam * law.gamma)
    c, K = _uninformative(law, lam)
    t, r, e = law.s * at.theta, lam * law.gamma2 * at.rho, lam * law.gamma2 * at.eta
    informative = (
        law.gamma2 * (1 + F - 2 * at.nu * E) + t * t * F + 2 * t * r * F1 + r * r * F2 - 2 * e * (t * E1 + r * E2)
    )
    return informative + 2 * c * r * (t * E + r * E1) + K * r * r + (law.length - 1) * zeta_at_zero(lam)


def excess_gradient(at: Order, law: Law, lam: Scalar) -> Order:
    """Partial derivatives of `excess_risk` in the five order parameters: the chain rule on its docstring."""
    E, E1, E2, E3, F, F1, F2, F3 = profile(lam * law.s * at.kappa, lam * law.gamma)
    c, K = _uninformative(law, lam)
    t, r, e = law.s * at.theta, lam * law.gamma2 * at.rho, lam * law.gamma2 * at.eta
    cr = c * r
    y0, y1, y2 = (torch.addcmul(t * low, r, high) for low, high in ((F, F1), (F1, F2), (F2, F3)))
    x0, x1, x2 = (torch.addcmul(t * low, r, high) for low, high in ((E, E1), (E1, E2), (E2, E3)))
    by_t = torch.addcmul(torch.addcmul(y0, e, E1, value=-1), cr, E)
    by_r = torch.addcmul(torch.addcmul(y1, e, E2, value=-1), cr, E1) + c * x0 + K * r
    others = torch.addcmul(cr * x1, e, x2, value=-1)
    labels = torch.addcmul(F1, at.nu, E1, value=-2)
    by_a = torch.addcmul(t * y1, r, y2).add(others, alpha=2).add(labels, alpha=law.gamma2)
    return Order(
        kappa=by_a * (lam * law.s),
        nu=E * (-2 * law.gamma2),
        theta=by_t * (2 * law.s),
        eta=x1 * (-2 * lam * law.gamma2),
        rho=by_r * (2 * lam * law.gamma2),
    )


def manifold_excess(kappa: Tensor, nu: Tensor, law: Law, lam: Scalar) -> Tensor:
    """Excess risk on the manifold theta = eta = rho = 0.

    gamma^2 (1 - 2 nu erf(A) + zeta(lam s kappa, lam gamma)) + (L-1) zeta(0, lam), with A as in `profile`.
    """
    zero = torch.zeros_like(kappa)
    return excess_risk(Order(kappa, nu, zero, zero, zero), law, lam)


# Reference predictors.


def oracle_excess(law: Law, lam: Scalar) -> Tensor:
    """Excess risk of (k, v) = (k*, v*), the floor of training at fixed lam.

    Tends to 0 when lam sqrt d -> inf and lam sqrt L -> 0 (Corollary 2).
    """
    like = lam if isinstance(lam, Tensor) else torch.zeros((), dtype=torch.float64)
    one = torch.ones_like(like)
    return manifold_excess(one, one, law, lam)


def best_oracle(law: Law) -> tuple[float, float]:
    """(lam, excess) of the oracle at its best lam, by a grid in log lam and a golden section."""
    grid = torch.logspace(-6, 1.5, 400, dtype=torch.float64)
    best = int(oracle_excess(law, grid).argmin())
    low, high = grid[max(best - 1, 0)].log().item(), grid[min(best + 1, len(grid) - 1)].log().item()
    lam = math.exp(golden_section(lambda x: oracle_excess(law, math.exp(x)).item(), low, high))
    return lam, oracle_excess(law, lam).item()


def golden_section(function: Callable[[float], float], low: float, high: float, steps: int = 60) -> float:
    """Minimiser of a unimodal function on [low, high]."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(steps):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return (low + high) / 2


def null_excess(law: Law) -> float:
    """Excess risk of the predictor 0."""
    return law.gamma2


def linear_optimum(law: Law) -> float:
    """The coefficient b of the best linear predictor: beta_l = b v* for every position l (Proposition 3)."""
    return law.gamma2 / (law.gamma2 + law.length - 1)


def linear_excess(law: Law) -> float:
    """Excess risk of the best linear predictor, gamma^2 - gamma^4/(gamma^2 + L - 1) (Proposition 3)."""
    return law.gamma2 - law.gamma2**2 / (law.gamma2 + law.length - 1)


class Estimate(NamedTuple):
    """A Monte-Carlo mean and its standard error."""

    value: float
    error: float

    @staticmethod
    def of(sample: Tensor) -> Estimate:
        return Estimate(sample.mean().item(), (sample.std() / math.sqrt(sample.numel())).item())


def _standard_normals(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def softmax_excess(law: Law, lam: Scalar, scores: Tensor) -> Tensor:
    """Excess loss (n,) of sum_l p_l X_l.v*, p = softmax(lam X.k*), given the scores X_l.k* (n, L), informative first.

    The X_l.v* are independent of the scores and integrated out: gamma^2 (1 - p_0)^2 + sum over the others of p_l^2.
    """
    p = gate_values(lam * scores, "softmax")
    return law.gamma2 * (1 - p[:, 0]) ** 2 + (p[:, 1:] ** 2).sum(-1)


def draw_scores(law: Law, draws: int, generator: torch.Generator) -> Tensor:
    """X_l.k* of `draws` samples, (n, L), the informative token first."""
    scores = _standard_normals(draws, law.length, generator=generator)
    scores[:, 0] = scores[:, 0] * law.gamma + law.s
    return scores


def best_softmax(law: Law, draws: int, generator: torch.Generator) -> tuple[float, Estimate]:
    """(lam, excess) of k = k*, v = v* with a softmax gate at its best lam, by Monte Carlo on common scores."""
    scores = draw_scores(law, draws, generator)
    best = golden_section(
        lambda x: softmax_excess(law, math.exp(x), scores).mean().item(), math.log(1e-2), math.log(1e2), steps=30
    )
    return math.exp(best), Estimate.of(softmax_excess(law, math.exp(best), scores))


def bayes_posterior(X: Tensor, k_star: Tensor, law: Law) -> Tensor:
    """P(position = l | X), (..., L), for tokens X (..., L, d).

    Proportional to exp(-|X_l - s k*|^2/(2 gamma^2) + |X_l|^2/2); the parts that do not depend on l cancel.
    """
    return _posterior(X @ k_star, (X**2).sum(-1), law)


def _posterior(scores: Tensor, norm2: Tensor, law: Law) -> Tensor:
    return ((law.s * scores - norm2 / 2) / law.gamma2 + norm2 / 2).softmax(-1)


def bayes_predictor(X: Tensor, k_star: Tensor, v_star: Tensor, law: Law) -> Tensor:
    """E[y | X] = sum_l P(position = l | X) X_l.v*; X (..., L, d) -> (...)."""
    return (bayes_posterior(X, k_star, law) * (X @ v_star)).sum(-1)


def bayes_excess(law: Law, draws: int, generator: torch.Generator) -> Estimate:
    """Excess risk of the Bayes predictor, E[Var(X_position.v* | X)], by Monte Carlo.

    Only X.k*, X.v* and a chi-square for the rest of |X_l|^2 are drawn, so the cost does not depend on d.
    """
    scores = draw_scores(law, draws, generator)
    labels = _standard_normals(draws, law.length, generator=generator)
    rest = torch.zeros_like(labels)
    if law.d > 2:
        half = torch.full(rest.shape, (law.d - 2) / 2, dtype=torch.float64)
        rest = 2 * torch._standard_gamma(half, generator=generator)
    labels[:, 0] *= law.gamma
    rest[:, 0] *= law.gamma2
    p = _posterior(scores, scores**2 + labels**2 + rest, law)
    return Estimate.of((p * labels**2).sum(-1) - (p * labels).sum(-1) ** 2)


def draw_projections(
    law: Law, n: int, draws: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Tokens X (draws, L, n) in an orthonormal basis starting with k*, v*, informative first, and labels y (draws,)."""
    X = torch.randn(draws, law.length, n, generator=generator, dtype=dtype)
    X[:, 0] *= law.gamma
    X[:, 0, 0] += law.s
    return X, X[:, 0, 1] + law.noise * torch.randn(draws, generator=generator, dtype=dtype)


def sampled_excess(pair: Tensor, X: Tensor, y: Tensor, law: Law, lam: Scalar, gate: str = "erf") -> Tensor:
    """Squared errors minus noise^2, (b,), of a pair (2, n) on tokens X (b, L, n): draws of the excess risk."""
    scores, values = (X @ pair.mT).unbind(-1)
    return ((gate_values(lam * scores, gate) * values).sum(-1) - y) ** 2 - law.noise**2


# The swapped attractor: k = +-v*, v partly along k*.


def swapped_theta(law: Law, lam: float) -> float:
    """|theta| of the stationary point with eta = +-1, kappa = nu = rho = 0.

    lam gamma^2 erf'(0)/(sqrt q s zeta(0, lam gamma)), at most 1, with q = 1 + 2 lam^2 gamma^2. Why it is there: erf
    is nearly linear and X.k* nearly the constant s, so sum_l erf(lam X_l.k) X_l.v with the two roles swapped also
    reproduces y.
    """
    g = lam * law.gamma
    return min(1.0, lam * law.gamma2 * TWO_OVER_ROOT_PI / ((1 + 2 * g * g) ** 0.5 * law.s * zeta_at_zero(g)))


def swapped_excess(law: Law, lam: float) -> float:
    """Excess risk of the swapped stationary point; at finite d it can lie below `oracle_excess`."""
    at = Order(*torch.tensor([0.0, 0.0, swapped_theta(law, lam), 1.0, 0.0], dtype=torch.float64))
    return excess_risk(at, law, lam).item()


# Training: projected gradient descent, in the span and on samples.


def sphere_step(pair: Tensor, gradient: Tensor, step_size: float) -> Tensor:
    """k <- k - step_size (I - k k') grad_k, divided by its norm; the same for v, from the same old pair (..., 2, n)."""
    along = (pair * gradient).sum(-1, keepdim=True)
    moved = torch.addcmul(pair, pair, along, value=step_size).sub(gradient, alpha=step_size)
    return moved / torch.linalg.vector_norm(moved, dim=-1, keepdim=True)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b; for matrices as torch.mm, which vmap turns into one operation where @ becomes six."""
    return torch.mm(a, b) if a.ndim == b.ndim == 2 else a @ b


def descent_step(pair: Tensor, law: Law, lam: Scalar, step_size: float) -> Tensor:
    """One step of projected gradient descent on the exact risk, pair (..., 2, 4).

    grad_k = R_kappa k* + R_eta v* + R_rho v and grad_v = R_theta k* + R_nu v* + R_rho k stay in the span.
    """
    # an axis of length one is kept: on zero-dimensional tensors vmap turns every number into an operation
    kappa, eta, theta, nu = pair[..., :2].flatten(-2).split(1, -1)
    by = excess_gradient(Order(kappa, nu, theta, eta, pair.prod(-2).sum(-1, keepdim=True)), law, lam)
    direct = torch.cat([by.kappa, by.eta, by.theta, by.nu], -1).unflatten(-1, (2, 2))
    gradient = torch.addcmul(torch.nn.functional.pad(direct, (0, 2)), pair.flip(-2), by.rho[..., None])
    return sphere_step(pair, gradient, step_size)


def sample_gradient(pair: Tensor, X: Tensor, y: Tensor, lam: Scalar, gate: str) -> tuple[Tensor, Tensor]:
    """Gradient of the minibatch mean of (T(X) - y)^2 in (k, v), and its coefficients on the tokens.

    pair (..., 2, n), X (..., b, L, n), y (..., b) -> gradient (..., 2, n), coefficients (..., 2, b, L), gradient =
    sum of coefficients times tokens. Both gates give T = sum_l w_l X_l.v, so grad_v has coefficients w_l and grad_k
    has dT/d(X_l.k): lam erf'(lam X_l.k) X_l.v for erf, lam w_l (X_l.v - T) for softmax.
    """
    tokens = X.flatten(-3, -2)  # (..., b L, n)
    scores, values = _product(pair, tokens.mT).unflatten(-1, X.shape[-3:-1]).unbind(-3)  # (..., b, L) each
    scores = lam * scores
    weights = gate_values(scores, gate)
    prediction = (weights * values).sum(-1)
    if gate == "erf":
        sensitivity = torch.exp(-(scores * scores)) * values * (lam * TWO_OVER_ROOT_PI)
    else:
        sensitivity = weights * (values - prediction[..., None]) * lam
    pull = (prediction - y) * (2 / y.shape[-1])  # (..., b)
    coefficients = torch.stack([sensitivity, weights], -3) * pull[..., None, :, None]
    return _product(coefficients.flatten(-2), tokens), coefficients


def sample_step(pair: Tensor, X: Tensor, y: Tensor, lam: Scalar, step_size: float, gate: str = "erf") -> Tensor:
    """One step of projected SGD on tokens X (..., b, L, n); pair (..., 2, n) with n = d."""
    return sphere_step(pair, sample_gradient(pair, X, y, lam, gate)[0], step_size)


def _triangle(gram: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """l11, l21, l22 (..., 1) of the Cholesky factor of a 2 x 2 Gram matrix (..., 2, 2), safe when it is singular."""
    g11, g12, _, g22 = gram.flatten(-2).split(1, -1)
    l11 = g11.clamp(min=torch.finfo(gram.dtype).tiny).sqrt()
    l21 = g12 / l11
    return l11, l21, torch.addcmul(g22, l21, l21, value=-1).clamp(min=0).sqrt()


def span_step(
    pair: Tensor, X: Tensor, y: Tensor, bartlett: Tensor, law: Law, lam: Scalar, step_size: float, gate: str = "erf"
) -> Tensor:
    """One step of projected SGD that draws only projections on span{k*, v*, k, v}: the cost does not depend on d.

    pair (..., 2, 4) triangular; X (..., b, L, 4) the tokens in its basis, the informative one first; y (..., b);
    bartlett (..., 3) = (chi_{d-4}, chi_{d-5}, N(0, 1)). Returns the new pair in the basis of the new span, triangular
    again.

    Why this is exact. Given the projections, the coefficients of the minibatch gradients (g_k, g_v) on the tokens are
    known, and the parts of the tokens orthogonal to the span are independent of them, N(0, s_l^2 I_{d-4}) with s_l =
    gamma for the informative token and 1 for the others. So the orthogonal parts of (g_k, g_v) are d - 4 independent
    pairs N(0, S) with S = sum_l s_l^2 (a_l^2, a_l c_l; a_l c_l, c_l^2), and the order parameters after the step
    depend on them only through their Gram matrix, a Wishart_2(S, d - 4): M B B' M' with S = M M' and Bartlett's B =
    (chi_{d-4}, 0; N(0, 1), chi_{d-5}).

    What is equal in law to SGD on full samples: the whole trajectory of the order parameters (kappa, nu, theta, eta,
    rho), jointly over all times; and, with a uniformly random completion of (k*, v*) to an orthonormal frame, (k, v)
    at any ONE time, because SGD is equivariant under the rotations that fix k* and v*. Not equal: (k, v) jointly at
    several times in one fixed frame.
    """
    gradient, coefficients = sample_gradient(pair, X, y, lam, gate)
    deviations = coefficients.new_tensor([law.gamma] + [1.0] * (law.length - 1))
    spread = (coefficients * deviations).flatten(-2)  # (..., 2, b L)
    m11, m21, m22 = _triangle(_product(spread, spread.mT))
    first, second, normal = bartlett.split(1, -1)
    zero = torch.zeros_like(first)
    outside = torch.cat([m11 * first, zero, torch.addcmul(m21 * first, m22, normal), m22 * second], -1)
    gradient = torch.cat([gradient, outside.unflatten(-1, (2, 2))], -1)  # (..., 2, 6)
    moved = sphere_step(torch.nn.functional.pad(pair, (0, 2)), gradient, step_size)
    rest = moved[..., 2:]
    k3, v3, v4 = _triangle(_product(rest, rest.mT))
    rest = torch.cat([k3, zero, v3, v4], -1).unflatten(-1, (2, 2))
    return torch.cat([moved[..., :2], rest], -1)


def random_directions(d: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """k* a normalised Gaussian, v* a Gaussian made orthogonal to k* and normalised; (d,) float64 each."""
    k_star, v_star = torch.linalg.qr(_standard_normals(d, 2, generator=generator))[0].unbind(-1)
    return k_star.contiguous(), v_star.contiguous()


STARTS = ("manifold", "sphere")


def initial_pair(start: str, k_star: Tensor, v_star: Tensor, generator: torch.Generator) -> Tensor:
    """k and v (2, d) float64 as in the paper's experiments.

    "sphere": independent and uniform. "manifold": k a Gaussian projected orthogonally to v*; v a Gaussian projected
    orthogonally to k* and to the part of k orthogonal to k*; both normalised.
    """
    k, v = _standard_normals(2, len(k_star), generator=generator)
    k_star, v_star = k_star.double(), v_star.double()
    if start == "manifold":
        for _ in range(2):  # twice, for orthogonality to rounding
            k = k - (k @ v_star) * v_star
            across = k - (k @ k_star) * k_star
            v = v - (v @ k_star) * k_star
            v = v - (v @ across) / (across @ across) * across
    elif start != "sphere":
        raise ValueError(f"start={start!r}: choose one of {', '.join(STARTS)}")
    return torch.stack([k / k.norm(), v / v.norm()])


def frame_of(pair: Tensor, k_star: Tensor, v_star: Tensor) -> Tensor:
    """Orthonormal basis (4, d) of span{k*, v*, k, v} in which pair @ frame.T is triangular."""
    columns = torch.stack([k_star.double(), v_star.double(), *pair.double()], -1)
    Q, R = torch.linalg.qr(columns)
    return (Q * R.diagonal().sign()).T.contiguous()


# The limit of small steps on the manifold.


def limit_flow(kappa: Tensor, nu: Tensor, law: Law, lam: float) -> tuple[Tensor, Tensor]:
    """(kappa', nu') of gradient flow on the manifold, closed in two numbers; time = step size times steps.

    nu' = 2 gamma^2 erf(A) (1 - nu^2); kappa' = lam s gamma^2 (2 nu erf'(A)/sqrt q - d zeta/dt) (1 - kappa^2).
    """
    a, g = lam * law.s * kappa, lam * law.gamma
    A = a / (1 + 2 * g * g) ** 0.5
    slope = TWO_OVER_ROOT_PI / (1 + 2 * g * g) ** 0.5 * torch.exp(-(A**2))
    kappa_rate = lam * law.s * law.gamma2 * (2 * nu * slope - zeta_slope(a, g)) * (1 - kappa**2)
    return kappa_rate, 2 * law.gamma2 * torch.erf(A) * (1 - nu**2)


def limit_trajectory(
    kappa: Tensor, nu: Tensor, times: Tensor, law: Law, lam: float, substeps: int = 8
) -> tuple[Tensor, Tensor]:
    """kappa and nu (n, ...) of the limit dynamics at `times` (n,), from the values at times[0], by Runge-Kutta 4."""
    state = torch.stack([kappa, nu])
    path = [state]

    def rate(state: Tensor) -> Tensor:
        return torch.stack(limit_flow(state[0], state[1], law, lam))

    for width in times.diff().tolist():
        h = width / substeps
        for _ in range(substeps):
            k1 = rate(state)
            k2 = rate(state + h / 2 * k1)
            k3 = rate(state + h / 2 * k2)
            k4 = rate(state + h * k3)
            state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        path.append(state)
    return tuple(torch.stack(path).unbind(1))  # type: ignore[return-value]


class Saddle(NamedTuple):
    """The limit dynamics at (kappa, nu) = (0, 0): kappa' = -decay kappa + push nu, nu' = pull kappa.

    rate: growth rate of the unstable direction. slope: to first order the start (kappa, nu) goes to (1, 1) if kappa +
    slope nu > 0, to (-1, -1) otherwise, since (1, slope) is the left eigenvector of the unstable direction.
    """

    decay: float
    push: float
    pull: float
    rate: float
    slope: float


def saddle(law: Law, lam: float) -> Saddle:
    """Linearisation of `limit_flow` at zero, in closed form."""
    g = lam * law.gamma
    q, p = 1 + 2 * g * g, 1 + 4 * g * g
    push = pull = 2 * law.gamma2 * lam * law.s * TWO_OVER_ROOT_PI / q**0.5
    decay = (lam * law.s) ** 2 * law.gamma2 * 2 * TWO_OVER_ROOT_PI**2 / (q * p**0.5)
    rate = (-decay + math.sqrt(decay**2 + 4 * push * pull)) / 2
    return Saddle(decay, push, pull, rate, (rate + decay) / pull)
