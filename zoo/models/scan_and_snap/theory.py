"""Closed forms and flows of "Scan and Snap" (Tian, Wang, Chen, Du, NeurIPS 2023).

Class n has a query psi(n), a next token and a law P(.|n) of context tokens; Z (v, v) are attention logits (row =
query), Y (v, v) decoder logits (column = next token), K the number of classes and M the size of the vocabulary. A
*distinct* token of class n has P(l|n') = 0 for n' != n, a *common* one has P(l|n) > 0 for several n. Shapes: k classes,
v vocabulary, t time, u distinct tokens of a class; leading axes broadcast. Entropies in nats.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.models.scan_and_snap.network import reweighted

# One sample (Lemma 1) and the limit of long contexts (Lemma 2).


def lemma_1(context: Tensor, query: int, target: int, Y: Tensor, Z: Tensor) -> tuple[Tensor, Tensor]:
    """Ascent directions of log alpha_n for one sequence: (v, v) for Y and (v,) for row `query` of Z.

    dY = f (e_n - alpha)',  dz = X' diag(b) X (I - f f')/|u| Y (e_n - alpha), with X the one-hot context (t-1, v).
    """
    X = torch.nn.functional.one_hot(context, len(Z)).to(Z.dtype)
    b = (X @ Z[query]).softmax(0)
    u = X.T @ b
    f = u / u.norm()
    alpha = (f @ Y).softmax(0)
    error = torch.nn.functional.one_hot(torch.tensor(target), len(Z)) - alpha
    pulled = Y @ error
    return torch.outer(f, error), (X.T * b) @ X @ (pulled - f * (f @ pulled)) / u.norm()


def population_attention(P: Tensor, z: Tensor) -> Tensor:
    """c_n, the attention that class n pays to every token in the limit of long contexts (Lemma 2).

    c_{l|n} = P(l|n) e^{z_l} / sum_l' P(l'|n) e^{z_l'} with z = row psi(n) of Z. P (..., k, v), z (..., k, v) or
    (..., 1, v).
    """
    return reweighted(P, z)


def normalised(c: Tensor) -> Tensor:
    """f_n = c_n/|c_n|, (..., v)."""
    return c / c.norm(dim=-1, keepdim=True)


def joint_flow(P: Tensor, psi: Tensor, next: Tensor, Y: Tensor, Z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of Lemma 1 over uniform classes in the limit of long contexts: directions for Y and Z, both (v, v)."""
    c = population_attention(P, Z[psi])
    f = normalised(c)
    alpha = (f @ Y).softmax(-1)
    error = (torch.nn.functional.one_hot(next, len(Y)) - alpha) / len(P)  # (k, v)
    pulled = error @ Y.T
    turn = c / c.norm(dim=-1, keepdim=True) * (pulled - f * (f * pulled).sum(-1, keepdim=True))
    return f.T @ error, torch.zeros_like(Z).index_add(0, psi, turn)


def distinct_entropy(c: Tensor, distinct: Tensor) -> Tensor:
    """Entropy of c_n on the distinct tokens of class n, renormalised, mean over the classes (Figure 6).

    c (..., k, v), distinct (k, u) -> (...).
    """
    own = c.gather(-1, distinct.expand(*c.shape[:-2], *distinct.shape))
    own = own / own.sum(-1, keepdim=True)
    return -torch.special.xlogy(own, own).sum(-1).mean(-1)


# The decoder alone: classes with nearly orthogonal attention, updated one by one (Lemma 5).


def decoder_steps(steps: int, eta_y: float, vocabulary: int) -> Tensor:
    """h*(0 … steps): h*(s) = h*(s-1) + eta_Y/(M - 1 + e^{M h*(s-1)}), h*(0) = 0 (Lemma 5); (steps + 1,) float64."""
    h, values = 0.0, [0.0]
    for _ in range(steps):
        h += eta_y / (vocabulary - 1 + math.exp(vocabulary * h))
        values.append(h)
    return torch.tensor(values, dtype=torch.float64)


def decoder_growth(t: Tensor, eta_y: float | Tensor, vocabulary: int) -> Tensor:
    """h(t): h' = eta_Y/(M - 1 + e^{Mh}), h(0) = 0, the continuous h*.

    Solves the implicit form e^{x} + (M - 1) x = M eta_Y t + 1, x = Mh, by Newton from above: the left side is convex
    and increasing, so every iterate is an upper bound. Float64; t and eta_Y broadcast.
    """
    M = vocabulary
    level = M * torch.as_tensor(eta_y, dtype=torch.float64) * t.double() + 1
    x = torch.minimum(level.log(), (level - 1) / (M - 1))  # where each of the two terms alone reaches the level
    for _ in range(50):
        x = x - (x.exp() + (M - 1) * x - level) / (x.exp() + M - 1)
    return x / M


def zeta(n: int, vocabulary: int) -> Tensor:
    """zeta_n = M/(M - 1) (e_n - 1/M), (v,) float64: the direction of e_n - alpha while the other logits are equal."""
    direction = torch.full((vocabulary,), -1 / (vocabulary - 1), dtype=torch.float64)
    direction[n] = 1.0
    return direction


def decoder_weight(h: Tensor, f: Tensor, next: Tensor) -> Tensor:
    """Y (v, v) with F'Y = ((M - 1) h zeta_n)_n (Lemma 5) in the span of the attention patterns f (k, v).

    Gradients of Y are sums of f_n (…)', so Y = F (F'F)^{-1} (M - 1) h zeta.
    """
    M = f.shape[-1]
    rows = torch.stack([zeta(n, M) for n in next.tolist()]).to(f)
    return f.T @ torch.linalg.solve(f @ f.T, (M - 1) * h * rows)


def gamma(t: Tensor, eta_y: float | Tensor, classes: int, vocabulary: int) -> Tensor:
    """gamma(t) = (M - 1)^2 h(t/K)/(M - 1 + e^{M h(t/K)}), how fast the attention moves (Lemma 4)."""
    return speed(decoder_growth(t.double() / classes, eta_y, vocabulary), vocabulary)


def speed(h: Tensor, vocabulary: int) -> Tensor:
    """gamma as a function of h."""
    return (vocabulary - 1) ** 2 * h / (vocabulary - 1 + (vocabulary * h).exp())


def gamma_integral(t: Tensor, eta_y: float | Tensor, eta_z: float | Tensor, classes: int, vocabulary: int) -> Tensor:
    """Gamma(t) = eta_Z int_0^t gamma = eta_Z K (M - 1)^2 h(t/K)^2/(2 eta_Y), because gamma = (M - 1)^2 h h'/eta_Y."""
    h = decoder_growth(t.double() / classes, eta_y, vocabulary)
    return eta_z * classes * (vocabulary - 1) ** 2 * h**2 / (2 * torch.as_tensor(eta_y, dtype=torch.float64))


def knee(eta_y: float, classes: int, vocabulary: int) -> float:
    """K ln M/eta_Y, until when gamma grows like eta_Y t/K."""
    return classes * math.log(vocabulary) / eta_y


def snap_time(eta_y: float, classes: int, vocabulary: int) -> float:
    """t0 = 2 K ln M/eta_Y, from when gamma decays (Theorem 4, without its factor 1 + o(1))."""
    return 2 * knee(eta_y, classes, vocabulary)


# Attention under a converged direction of the decoder (Lemma 4, Theorems 2 and 3).


def interaction(f: Tensor) -> Tensor:
    """beta_{nn'}: off-diagonal part of E', I - E' = (I + E)^{-1}, I + E = F'F; f (..., k, v) -> (..., k, k)."""
    overlap = f @ f.mT
    inverse = torch.linalg.inv(overlap)
    return torch.diag_embed(inverse.diagonal(dim1=-2, dim2=-1)) - inverse


class Pull(NamedTuple):
    """z (..., q, v) and xi (..., k), both for gamma = eta_Z = 1."""

    z: Tensor
    xi: Tensor


def attention_pull(P: Tensor, rows: Tensor, z: Tensor) -> Pull:
    """Lemma 4 without its factors eta_Z gamma(t).

    z_m' = sum_{n in psi^{-1}(m)} diag(f_n) sum_{n' != n} beta_{nn'} (f_n f_n' - I) f_{n'}. This sums over classes;
    their mean, which steps on random classes follow, is 1/K of it, up to a factor 1 + O(K^2/M).

    P (k, v), rows (k,) = number of the row of z that is the query of each class, z (..., q, v).
    """
    f = normalised(population_attention(P, z[..., rows, :]))
    beta = interaction(f)
    xi = (beta * (f @ f.mT)).sum(-1)
    each = f * (xi[..., None] * f - beta @ f)  # (..., k, v)
    select = torch.nn.functional.one_hot(rows, z.shape[-2]).to(each.dtype).mT  # (q, k)
    return Pull(select @ each, xi)


class FlowState(NamedTuple):
    """z (..., q, v); h (...,) the decoder's h(t/K); B (..., k) = eta_Z int xi_n."""

    z: Tensor
    h: Tensor
    B: Tensor


def flow_step(
    state: FlowState,
    P: Tensor,
    rows: Tensor,
    dt: float,
    eta_y: float | Tensor,
    eta_z: float | Tensor,
    vocabulary: int,
) -> FlowState:
    """One Runge-Kutta step of order four of the reduced flow, with the decoder's h and B_n beside the attention.

    eta_y, eta_z: numbers, or (...,) with the leading axes of the state.
    """

    def slope(at: FlowState) -> FlowState:
        pull, force = attention_pull(P, rows, at.z), eta_z * speed(at.h, vocabulary)
        h = eta_y / len(P) / (vocabulary - 1 + (vocabulary * at.h).exp())
        return FlowState(force[..., None, None] * pull.z, h, force[..., None] * pull.xi)

    def ahead(by: float, slopes: FlowState) -> FlowState:
        return FlowState(*(x + by * s for x, s in zip(state, slopes, strict=True)))

    k1 = slope(state)
    k2 = slope(ahead(dt / 2, k1))
    k3 = slope(ahead(dt / 2, k2))
    k4 = slope(ahead(dt, k3))
    return FlowState(
        *(x + dt / 6 * (a + 2 * b + 2 * c + d) for x, a, b, c, d in zip(state, k1, k2, k3, k4, strict=True))
    )


class Flow(NamedTuple):
    """The reduced flow at times t (t,): z (t, ..., q, v), h (t, ...), B (t, ..., k)."""

    t: Tensor
    z: Tensor
    h: Tensor
    B: Tensor


def reduced_flow(
    P: Tensor,
    psi: Tensor,
    eta_y: float | Tensor,
    eta_z: float | Tensor,
    time: float,
    *,
    vocabulary: int,
    steps: int = 700,
) -> Flow:
    """Integrates Lemma 4 from Z = 0 for all step sizes eta_y, eta_z (...,) at once; rows of z in the order of queries.

    P (k, v) may leave out tokens that no class uses: M enters only as `vocabulary`.
    """
    rates = [torch.as_tensor(eta, dtype=torch.float64) for eta in (eta_y, eta_z)]
    decoder, attention = torch.broadcast_tensors(*rates)
    queries, rows = psi.unique(return_inverse=True)
    P, shape = P.double(), decoder.shape
    state = FlowState(
        torch.zeros(*shape, len(queries), P.shape[-1], dtype=torch.float64),
        torch.zeros_like(decoder),
        torch.zeros(*shape, len(P), dtype=torch.float64),
    )
    path = [state]
    for _ in range(steps):
        state = flow_step(state, P, rows, time / steps, decoder, attention, vocabulary)
        path.append(state)
    t = torch.linspace(0, time, steps + 1, dtype=torch.float64)
    return Flow(t, *(torch.stack(column) for column in zip(*path, strict=True)))


def growth_factor(z: Tensor, start: Tensor | float = 0.0) -> Tensor:
    """chi_l = e^{2 (z_l - z_l(0))} (Theorem 3)."""
    return (2 * (z - start)).exp()


def relative_gap(f: Tensor, token: Tensor, other: Tensor) -> Tensor:
    """r_{l/l'|n} = f_{nl}^2/f_{nl'}^2 - 1 of two distinct tokens of one class (Theorem 3: r(t) = r(0) chi_l(t))."""
    return (f[..., token] / f[..., other]) ** 2 - 1


class Bounds(NamedTuple):
    """low <= chi_{l0} <= high."""

    low: Tensor
    high: Tensor


def growth_bounds(B: Tensor, top: Tensor | float) -> Bounds:
    """e^{2 f^2 B_n} <= chi_{l0} <= e^{2 B_n} for the dominant distinct token l0, f = f_{n l0}(0) (Theorem 3)."""
    return Bounds((2 * top**2 * B).exp(), (2 * B).exp())


def shared_query_laws(classes: int, common_mass: float, distinct: int = 10) -> tuple[Tensor, Tensor]:
    """Theorem 4's setting: one query, one common token of given mass, distinct tokens with weights linspace(0.1, 1).

    Returns P (k, 1 + k u), common token first, and psi (k,) zeros.
    """
    law = torch.linspace(0.1, 1, distinct, dtype=torch.float64)
    own = (1 - common_mass) * law / law.sum()
    P = torch.cat([torch.full((classes, 1), common_mass, dtype=torch.float64), torch.kron(torch.eye(classes), own)], 1)
    return P, torch.zeros(classes, dtype=torch.long)


# Theorem 4: one common token, all classes share the query.


def common_token_logit(Gamma: Tensor, C0: float) -> Tensor:
    """z_CT = -1/4 ln(1 + 4 Gamma/C0), the solution of z' = -eta_Z gamma e^{4z}/C0 from z = 0."""
    return -(4 * Gamma / C0).log1p() / 4


def attraction(Gamma: Tensor, C0: float) -> Tensor:
    """B_n = 1/4 ln(1 + 4 Gamma/C0), Theorem 4 corrected.

    B_n is the integral from 0 of eta_Z xi_n with xi_n = gamma e^{4 z_CT}/C0, that is -z_CT, so B_n(0) = 0. The paper's
    `attraction_printed` is this plus 1/4 ln C0, which is not 0 at time 0 unless C0 = 1; growth rates are equal.
    """
    return -common_token_logit(Gamma, C0)


def attraction_printed(Gamma: Tensor, C0: float) -> Tensor:
    """B_n = 1/4 ln(C0 + 4 Gamma) as Theorem 4 prints it; off by the constant 1/4 ln C0, see `attraction`."""
    return (C0 + 4 * Gamma).log() / 4


def early_attraction(t: Tensor, eta_y: float, eta_z: float, C0: float, classes: int, vocabulary: int) -> Tensor:
    """Theorem 4 for t < K ln M/eta_Y: 1/4 ln(C0 + 2 (M - 1)^2 eta_Y eta_Z t^2/(K M^2)), with the corrected constant."""
    M = vocabulary
    Gamma = (M - 1) ** 2 * eta_y * eta_z * t**2 / (2 * classes * M**2)
    return attraction(Gamma, C0)


def late_attraction(t: Tensor, eta_y: float, eta_z: float, C0: float, classes: int, vocabulary: int) -> Tensor:
    """Theorem 4 for t >= t0: 1/4 ln(C0 + 2 K (M - 1)^2 eta_Z ln^2(M eta_Y t/K)/(M^2 eta_Y)), corrected constant."""
    M = vocabulary
    Gamma = classes * (M - 1) ** 2 * eta_z * (M * eta_y * t / classes).log() ** 2 / (2 * M**2 * eta_y)
    return attraction(Gamma, C0)
