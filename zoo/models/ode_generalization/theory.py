"""How fast weights change along depth, the penalties on it, and a generalisation bound that depends on nothing else of depth.

Model: dH_t = sum_i theta_i(t) f_i(H_t) dt, H_0 = x, prediction H_1; |x| <= R_X. The m fields f_i are K_f-Lipschitz with
|f_i(0)| <= M, sup_t |theta(t)|_1 <= R, and each theta_i is K-Lipschitz. The residual net h_{k+1} = h_k + (1/L) W_{k+1} sigma(h_k)
is the case m = d^2, theta = entries of W, M = 0, K = K_W = L max_k |W_{k+1} - W_k|_inf, R = R_W = max_k sum_ij |W_{k,ij}|.

The bound is derived here, in the three steps of the functions below; it has the form that the paper's abstract announces, but
its constants are ours, not the paper's. Shapes: weights W (l, ...), layers first.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.depth.regularity import jumps

PENALTIES = ("frobenius", "two-max", "max-max")

# How fast weights change.


def lipschitz(weights: Tensor, signed: bool = False) -> Tensor:
    """Lip_inf = max_k max_ij |W_{k+1} - W_k|_ij, (); the paper's code leaves out the absolute value (`signed`).

    L times it is the Lipschitz constant in t = k/L of the weights. Zero for tied weights.
    """
    if len(weights) < 2:
        return weights.new_zeros(())
    return weights.diff(dim=0).amax() if signed else jumps(weights).amax()


def penalty(kind: str, weights: Tensor, signed: bool = False) -> Tensor:
    """A norm of all differences W_{k+1} - W_k, (): "frobenius" of all their entries, the 2-norm over k of their largest
    entries ("two-max"), or the largest entry of all ("max-max").

    Entries count in absolute value, or, as in the paper's code, with their sign (`signed`; no matter for "frobenius"). Under
    each root stands 1e-12 more, so that the gradient at constant weights is zero and not NaN.

    Raises:
        ValueError: an unknown penalty.
    """
    if kind not in PENALTIES:
        raise ValueError(f"penalty={kind!r}: choose one of {', '.join(PENALTIES)}")
    if len(weights) < 2:
        return weights.new_zeros(())
    steps = weights.diff(dim=0).flatten(1)
    if kind == "frobenius":
        return (steps.square().sum() + 1e-12).sqrt()
    largest = (steps if signed else steps.abs()).amax(1)
    return (largest.square().sum() + 1e-12).sqrt() if kind == "two-max" else largest.amax()


def strength(kind: str, lam: float, depth: int, reference: int) -> float:
    """The factor at depth L that weighs a smooth path as `lam` does at the reference depth.

    Differences of a smooth path are of size 1/L: their largest entry scales as 1/L, the two root sums of squares as
    L^{-1/2}. The paper has L = 1000, so its lam is lam sqrt(L/1000) at depth L ("frobenius", "two-max").
    """
    return lam * (depth / reference) ** (1.0 if kind == "max-max" else 0.5)


def one_norm(weights: Tensor) -> Tensor:
    """R_W = max_k sum_ij |W_{k,ij}|, ()."""
    return weights.flatten(1).abs().sum(1).amax()


def spectral_norm(weights: Tensor) -> Tensor:
    """max_k |W_k|_2, ()."""
    return torch.linalg.matrix_norm(weights, ord=2).amax()


# Step (i): close parameters give close predictions, by Gronwall's inequality.


def reach(x: float, R: float, K_f: float = 1.0, M: float = 0.0) -> float:
    """(|x| + M R) e^{K_f R} >= |H_t| for t <= 1, as |sum_i theta_i f_i(h)| <= R (M + K_f |h|).

    For the residual net |h_k| <= |x| e^{K_f R} holds with R the largest spectral norm too.
    """
    return (x + M * R) * math.exp(K_f * R)


def sensitivity(x: float, R: float, K_f: float = 1.0, M: float = 0.0) -> float:
    """|H_1 - H'_1| <= this times sup_t |theta(t) - theta'(t)|_1: e^{K_f R} (M + K_f (|x| + M R)).

    H - H' moves by sum_i (theta_i - theta'_i) f_i(H'), of size |theta - theta'|_1 (M + K_f |H'_t|) with |H'_t| at most
    (|x| + M R) e^{K_f R t}, and by sum_i theta_i (f_i(H) - f_i(H')), of size K_f R |H - H'|, which makes of what happens at t
    at most e^{K_f R (1 - t)} times as much at the end.
    """
    return math.exp(K_f * R) * (M + K_f * (x + M * R))


def residual_gap(x: Tensor, one: Tensor, other: Tensor, K: float = 1.0) -> Tensor:
    """K |x| e^{K R} (1/L) sum_k |W_k - W'_k|_2 >= |h_L - h'_L|, for inputs x (b, d) and weights (l, d, d) -> (b,).

    R is the largest spectral norm of both; sigma is K-Lipschitz with sigma(0) = 0. Step (i) with spectral norms: what layer
    k adds, at most K |x| e^{K R k/L} |W_k - W'_k|/L, grows by at most e^{K R (1 - k/L)} afterwards.
    """
    R = torch.maximum(spectral_norm(one), spectral_norm(other))
    return K * x.norm(dim=1) * torch.exp(K * R) * torch.linalg.matrix_norm(one - other, ord=2).mean()


# Step (ii): few Lipschitz functions come close to all of them.


class Zigzag(NamedTuple):
    """A function on [0, 1] that rises or falls with slope K on each interval of length eps/K."""

    start: float
    signs: Tensor  # (j,), +1 or -1
    spacing: float  # eps/K
    eps: float

    def __call__(self, t: Tensor) -> Tensor:
        values = self.start + self.eps * torch.cat([torch.zeros(1, dtype=t.dtype), self.signs.to(t.dtype).cumsum(0)])
        place = (t / self.spacing).clamp(max=len(self.signs))
        left = place.long().clamp(max=len(self.signs) - 1)
        return torch.lerp(values[left], values[left + 1], place - left)


def zigzag(values: Tensor, K: float, eps: float) -> Zigzag:
    """The member of the cover within eps of a K-Lipschitz function, given by its values (j + 1,) at 0, eps/K, 2 eps/K, ….

    It starts at the nearest odd multiple of eps and turns towards the function. If |f - g| <= eps at one end of an interval,
    then |f - g| <= 2 eps less at the other before the turn, so again <= eps after it; in between, f cannot leave the strip.
    There are at most R/eps + 2 starts in [-R - eps, R + eps] and 2 turns an interval.
    """
    g = (2 * math.floor(values[0].item() / (2 * eps)) + 1) * eps
    start, signs = g, []
    for value in values[1:].tolist():
        signs.append(1.0 if value >= g else -1.0)
        g += signs[-1] * eps
    return Zigzag(start, torch.tensor(signs, dtype=torch.float64), eps / K, eps)


def log_zigzags(R: float, K: float, eps: float) -> float:
    """ln of the number of zigzags: (R/eps + 2) 2^ceil(K/eps)."""
    return math.log(R / eps + 2) + math.ceil(K / eps) * math.log(2)


def log_cover(m: int, R: float, K: float, eps: float) -> float:
    """m ln(4 m R/eps + 4) + m^2 K ln(4)/eps >= ln N(eps), the size of a cover of the thetas in sup_t |.|_1 by thetas.

    Each coordinate has a zigzag at distance eps/(2 m), of which there are at most (2 m R/eps + 2) 2^{2 m K/eps + 1}; one
    theta for each combination that is near any lies within eps of all others near it. K = 0: constant parameters.
    """
    return m * math.log(4 * m * R / eps + 4) + m * m * K * math.log(4) / eps


# Step (iii): a finite cover and Hoeffding's inequality.


class Bound(NamedTuple):
    """risk - empirical risk <= C (cover + logarithm + lipschitz + confidence) with probability 1 - delta; ln C is kept, as C
    is astronomical for any trained net: the sum is for its scaling in n, K and depth, never a certificate.
    """

    log_scale: float  # ln C
    cover: float  # 2 n^{-1/2}, predictors between the members of the cover
    logarithm: float  # of the part of ln N that constant parameters have
    lipschitz: float  # m sqrt(K ln(2)) n^{-1/4}
    confidence: float  # sqrt(ln(1/delta)/(2 n))

    @property
    def sum(self) -> float:
        return self.cover + self.logarithm + self.lipschitz + self.confidence

    @property
    def log10(self) -> float:
        """log10 of the whole bound."""
        return (self.log_scale + math.log(self.sum)) / math.log(10)


def deviation(n: int, log_size: float, eps: float, delta: float) -> float:
    """2 eps + sqrt((ln N + ln(1/delta))/(2 n)), in units of C: sup over the class of risk less empirical risk.

    The loss lies in [0, C] and moves by at most C eps within eps of a member of the cover; Hoeffding's inequality for each
    of the N members, and the union bound.
    """
    return 2 * eps + math.sqrt((log_size + math.log(1 / delta)) / (2 * n))


def log_scale(x: float, y: float, R: float, K_f: float = 1.0, M: float = 0.0, K_loss: float = 1.0) -> float:
    """ln C, C = K_loss (sensitivity + reach + R_Y): of a K_loss-Lipschitz loss that is zero where prediction = target."""
    exponent = K_f * R  # apart, as its exponential leaves the floats
    return math.log(K_loss) + exponent + math.log(M + (K_f + 1) * (x + M * R) + y * math.exp(-exponent))


def bound(
    n: int,
    m: int,
    R: float,
    K: float,
    *,
    x: float = 1.0,
    y: float = 1.0,
    K_f: float = 1.0,
    M: float = 0.0,
    K_loss: float = 1.0,
    delta: float = 0.05,
) -> Bound:
    """Steps (i) to (iii) at eps = n^{-1/2}, the root taken term by term: sqrt(m ln(4 m R sqrt(n) + 4)/(2 n)) and
    sqrt(m^2 K ln(4) sqrt(n)/(2 n)) = m sqrt(K ln 2) n^{-1/4}.

    n: samples.  m, R, K, K_f, M: of the class, see the top.  x, y: largest input and target.  K_loss: of the loss.
    """
    return Bound(
        log_scale(x, y, R, K_f, M, K_loss),
        2 / math.sqrt(n),
        math.sqrt(m * math.log(4 * m * R * math.sqrt(n) + 4) / (2 * n)),
        m * math.sqrt(K * math.log(2)) * n**-0.25,
        math.sqrt(math.log(1 / delta) / (2 * n)),
    )


def residual_bound(weights: Tensor, n: int, **options: float) -> Bound:
    """The bound of a residual net with weights (l, d, d): m = d^2 fields sigma(h_j) e_i, K = L Lip_inf, R = R_W."""
    depth, d, _ = weights.shape
    K = depth * lipschitz(weights).item()
    return bound(n, d * d, one_norm(weights).item(), K, **options)
