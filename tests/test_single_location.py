"""Single-location regression: closed forms against quadrature, autograd and Monte Carlo; the span sampler against
full samples.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats
from torch.func import functional_call, vmap

from datamodules.single_location import SingleLocationData
from zoo.models.single_location import theory
from zoo.models.single_location.module import PopulationDescent, SampleSGD, SpanSGD
from zoo.models.single_location.network import LinearRegression, SingleLocation
from zoo.models.single_location.theory import Law, Order
from zoo.replicas import Replicas

LAMBDAS = (0.05, 0.1, 0.9, 2.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_pairs(n: int, dim: int = 4, seed: int = 0) -> torch.Tensor:
    pairs = torch.randn(n, 2, dim, generator=generator(seed), dtype=torch.float64)
    return pairs / pairs.norm(dim=-1, keepdim=True)


# Closed forms.


@pytest.mark.parametrize("g", [0.01, 0.07, 0.3, 0.7])
def test_zeta_equals_its_quadrature(g):
    t = torch.linspace(-4, 4, 33, dtype=torch.float64)
    assert torch.allclose(theory.zeta(t, g), theory.zeta_by_quadrature(t, g), rtol=0, atol=1e-12)
    at_zero = theory.zeta_by_quadrature(torch.zeros((), dtype=torch.float64), g).item()
    assert abs(at_zero - theory.zeta_at_zero(g)) < 1e-12


@pytest.mark.parametrize("g", [0.01, 0.7, 2.0, 20.0])
def test_zeta_is_owens_function(g):
    t = np.linspace(-30, 30, 301)
    q, p = 1 + 2 * g**2, 1 + 4 * g**2
    expected = 1 - 8 * special.owens_t(math.sqrt(2 / q) * t, 1 / math.sqrt(p))
    assert np.abs(theory.zeta(torch.tensor(t), g).numpy() - expected).max() < 2e-15


def test_zeta_by_adaptive_quadrature():
    for t, g in ((0.3, 1.5), (-2.0, 0.4), (5.0, 3.0)):
        value, _ = integrate.quad(
            lambda x, t=t, g=g: special.erf(t + g * x) ** 2 * stats.norm.pdf(x),
            -12,
            12,
            epsabs=1e-13,
            limit=400,
            points=[-t / g],
        )
        assert abs(theory.zeta(torch.tensor(t, dtype=torch.float64), g).item() - value) < 1e-10


def test_zeta_in_float32_keeps_relative_accuracy_for_small_g():
    t = torch.linspace(0, 1, 50)
    exact = theory.zeta(t.double(), 0.01)
    assert ((theory.zeta(t, 0.01) - exact) / exact).abs().max() < 1e-5


@pytest.mark.parametrize("g", [0.07, 0.6, 1.4])
def test_zeta_slope(g):
    t = torch.linspace(-3, 3, 25, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(theory.zeta(t, g).sum(), t)
    assert torch.allclose(theory.zeta_slope(t, g), slope, atol=1e-14)


def test_profile_is_a_chain_of_derivatives():
    a = torch.linspace(-3, 3, 25, dtype=torch.float64, requires_grad=True)
    profile = theory.profile(a, 0.6)
    for low, high in ((0, 1), (1, 2), (2, 3), (4, 5), (5, 6), (6, 7)):
        (slope,) = torch.autograd.grad(profile[low].sum(), a, retain_graph=True)
        assert torch.allclose(profile[high], slope, atol=1e-13), (low, high)


@pytest.mark.parametrize("lam", LAMBDAS)
@pytest.mark.parametrize("law", [Law(400), Law(80, length=1), Law(20, length=3, gamma2=0.8)])
def test_gradient_of_the_risk_is_its_autograd(lam, law):
    at = [(torch.rand(40, generator=generator(i), dtype=torch.float64) * 2 - 1).requires_grad_() for i in range(5)]
    expected = torch.autograd.grad(theory.excess_risk(Order(*at), law, lam).sum(), at)
    for name, ours, theirs in zip(Order._fields, theory.excess_gradient(Order(*at), law, lam), expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-12), name


def test_gradient_of_the_risk_by_finite_differences():
    law, lam, h = Law(80), 0.7, 1e-6
    at = Order(*torch.tensor([0.3, -0.2, 0.4, 0.5, -0.3], dtype=torch.float64))
    for name, slope in theory.excess_gradient(at, law, lam)._asdict().items():
        ahead, behind = (theory.excess_risk(at._replace(**{name: getattr(at, name) + e}), law, lam) for e in (h, -h))
        assert abs((ahead - behind) / (2 * h) - slope) < 1e-5 * max(1, abs(slope))


@pytest.mark.parametrize(("d", "lam", "gamma2"), [(400, 0.1, 0.5), (80, 2.0, 0.5), (12, 0.6, 0.9)])
def test_risk_equals_monte_carlo(d, lam, gamma2):
    law = Law(d, length=5, gamma2=gamma2, noise=0.3)
    for seed in range(2):
        pair = random_pairs(1, seed=seed)[0]
        X, y = theory.draw_projections(law, 4, 200_000, generator(seed))
        estimate = theory.Estimate.of(theory.sampled_excess(pair, X, y, law, lam))
        exact = theory.excess_risk(theory.order_of_pair(pair), law, lam).item()
        assert abs(estimate.value - exact) < 3.5 * estimate.error


def test_a_scalar_tensor_for_lam_gives_the_same():
    at, law = theory.order_of_pair(random_pairs(7)), Law(80)
    lam = torch.tensor(0.4, dtype=torch.float64)
    assert torch.allclose(theory.excess_risk(at, law, lam), theory.excess_risk(at, law, 0.4), rtol=1e-14)
    for ours, theirs in zip(theory.excess_gradient(at, law, lam), theory.excess_gradient(at, law, 0.4), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-12)


def test_values_of_the_closed_forms():
    law = Law(400)
    oracle = [theory.oracle_excess(law, lam).item() for lam in (0.1, 1 / 13, 0.9)]
    assert np.allclose(oracle, [0.11350, 0.07501, 3.8194], atol=5e-5)
    best = [theory.best_oracle(Law(d))[1] for d in (80, 400, 2_000, 10_000)]
    assert np.allclose(best, [0.1818, 0.0671, 0.0205, 0.0056], atol=5e-5)
    assert abs(theory.linear_excess(law) - 0.47368) < 5e-6
    assert abs(theory.swapped_theta(law, 0.1) - 0.6298) < 5e-5
    assert abs(theory.swapped_excess(law, 0.1) - 0.11551) < 5e-6
    assert abs(theory.swapped_excess(law, 1 / 13) - 0.0689) < 5e-5


def test_the_swapped_point_is_stationary():
    law, lam = Law(400), 0.1
    at = Order(*torch.tensor([0.0, 0.0, theory.swapped_theta(law, lam), 1.0, 0.0], dtype=torch.float64))
    pair = theory.pair_of_order(at)
    assert torch.allclose(theory.descent_step(pair, law, lam, 1e-2), pair, atol=1e-14)


def test_the_linear_optimum_solves_the_normal_equations():
    law = Law(8, length=4)
    # E[X_l X_l'] = I + (s^2 k* k*' + (gamma^2 - 1) I)/L, E[X_l y] = gamma^2 v*/L, different tokens are uncorrelated
    second = torch.eye(8).double() * (1 + (law.gamma2 - 1) / 4)
    second[0, 0] += law.s**2 / 4
    beta = torch.linalg.solve(second, torch.eye(8).double()[1] * law.gamma2 / 4)
    assert torch.allclose(beta, torch.eye(8).double()[1] * theory.linear_optimum(law))
    assert abs(law.gamma2 - 4 * (beta @ second @ beta).item() - theory.linear_excess(law)) < 1e-14


def test_bayes_risk_by_projections_is_that_of_the_predictor():
    law = Law(6)
    X, y = theory.draw_projections(law, 6, 100_000, generator())
    k_star, v_star = torch.eye(6, dtype=torch.float64)[:2]
    direct = theory.Estimate.of((theory.bayes_predictor(X, k_star, v_star, law) - y) ** 2 - law.noise**2)
    reduced = theory.bayes_excess(law, 100_000, generator(1))
    assert abs(direct.value - reduced.value) < 3.5 * math.hypot(direct.error, reduced.error)
    assert reduced.error < 0.7 * direct.error
    softmax = theory.Estimate.of(theory.softmax_excess(law, 1.5, theory.draw_scores(law, 100_000, generator(2))))
    direct = theory.Estimate.of(theory.sampled_excess(torch.eye(2, 6).double(), X, y, law, 1.5, "softmax"))
    assert abs(direct.value - softmax.value) < 3.5 * math.hypot(direct.error, softmax.error)
    assert reduced.value < theory.best_softmax(law, 50_000, generator(3))[1].value < theory.best_oracle(law)[1]


# Geometry of the span and the dynamics.


@pytest.mark.parametrize("start", theory.STARTS)
def test_a_step_in_the_span_is_the_step_in_all_dimensions(start):
    d, lam, step_size = 30, 0.6, 1e-2
    law = Law(d)
    k_star, v_star = theory.random_directions(d, generator())
    pair = theory.initial_pair(start, k_star, v_star, generator(1))
    frame = theory.frame_of(pair, k_star, v_star)
    assert torch.allclose(frame @ frame.T, torch.eye(4).double(), atol=1e-14)
    coordinates = pair @ frame.T
    assert torch.allclose(coordinates @ frame, pair, atol=1e-14)
    for _ in range(5):
        pair.requires_grad_()
        risk = theory.excess_risk(theory.order(pair[0], pair[1], k_star, v_star), law, lam)
        (gradient,) = torch.autograd.grad(risk, pair)
        tangent = gradient - (gradient * pair).sum(-1, keepdim=True) * pair
        moved = (pair - step_size * tangent).detach()
        pair = moved / moved.norm(dim=-1, keepdim=True)
        coordinates = theory.descent_step(coordinates, law, lam, step_size)
    assert torch.allclose(coordinates @ frame, pair, atol=1e-13)


def test_order_and_triangular_pair_are_inverse():
    at = theory.order_of_pair(random_pairs(50))
    pair = theory.pair_of_order(at)
    assert torch.allclose(pair.norm(dim=-1), torch.ones(50, 2).double())
    for ours, theirs in zip(theory.order_of_pair(pair), at, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-14)


def test_the_manifold_start_is_on_the_manifold_and_stays():
    law = Law(400)
    pairs = []
    for seed in range(8):
        k_star, v_star = theory.random_directions(400, generator(seed))
        pair = theory.initial_pair("manifold", k_star, v_star, generator(100 + seed))
        assert theory.order(pair[0], pair[1], k_star, v_star).distance < 1e-15
        pairs.append(pair @ theory.frame_of(pair, k_star, v_star).T)
    state = torch.stack(pairs)
    for _ in range(1_000):
        state = theory.descent_step(state, law, 0.1, 4e-3)
    assert theory.order_of_pair(state).distance.max() < 1e-12
    assert theory.order_of_pair(state).kappa.abs().max() > 0.2


def test_descent_converges_to_the_limit_dynamics_at_first_order():
    law, lam, time = Law(400), 0.1, 8.0
    start = torch.tensor([0.05, 0.02], dtype=torch.float64)
    exact = torch.stack(theory.limit_trajectory(start[0], start[1], torch.linspace(0, time, 81), law, lam))[:, -1]
    errors = []
    for steps in (400, 800):
        zero = torch.zeros(())
        state = theory.pair_of_order(Order(start[0], start[1], zero, zero, zero))
        for _ in range(steps):
            state = theory.descent_step(state, law, lam, time / steps)
        at = theory.order_of_pair(state)
        errors.append((torch.stack([at.kappa, at.nu]) - exact).norm().item())
    assert 1.8 < errors[0] / errors[1] < 2.2


def test_the_saddle_and_its_stable_manifold():
    law, lam = Law(400), 0.1
    saddle = theory.saddle(law, lam)
    zero = torch.zeros(2, dtype=torch.float64)
    J = torch.autograd.functional.jacobian(lambda x: torch.stack(theory.limit_flow(x[0], x[1], law, lam)), zero)
    assert torch.allclose(J, torch.tensor([[-saddle.decay, saddle.push], [saddle.pull, 0]], dtype=torch.float64))
    assert np.allclose([saddle.decay, saddle.push, saddle.rate, saddle.slope], [2.496, 1.588, 0.77, 2.06], atol=5e-3)
    side = torch.tensor([1.0, -1.0], dtype=torch.float64)
    nu = torch.full((2,), 1e-3, dtype=torch.float64)
    kappa = -saddle.slope * nu + side * 1e-5
    path = theory.limit_trajectory(kappa, nu, torch.linspace(0, 30, 101), law, lam)
    assert torch.equal(path[0][-1].sign(), side) and torch.equal(path[1][-1].sign(), side)


# Stochastic gradients.


@pytest.mark.parametrize("gate", ["erf", "softmax"])
def test_sample_gradient_is_autograd_of_the_loss(gate):
    X, y = torch.randn(5, 7, 9, generator=generator(1)).double(), torch.randn(5, generator=generator(2)).double()
    network = SingleLocation(d=9, lam=0.8, gate=gate, generator=generator()).double()
    ((network(X) - y) ** 2).mean().backward()
    pair = torch.stack([network.k, network.v]).detach()
    gradient, coefficients = theory.sample_gradient(pair, X, y, 0.8, gate)
    assert torch.allclose(gradient, torch.stack([network.k.grad, network.v.grad]), atol=1e-14)
    assert torch.allclose(torch.einsum("pbl,bld->pd", coefficients, X), gradient, atol=1e-14)


def test_the_mean_sample_gradient_is_the_gradient_of_the_risk():
    law, lam = Law(16, length=4), 0.7
    pair = random_pairs(1, seed=3)[0]
    X, y = theory.draw_projections(law, 4, 300_000, generator(4))
    each, _ = theory.sample_gradient(pair, X[:, None], y[:, None], lam, "erf")  # (n, 2, 4)
    by = theory.excess_gradient(theory.order_of_pair(pair), law, lam)
    zero = torch.zeros_like(by.rho)
    expected = torch.stack([torch.stack([by.kappa, by.eta, zero, zero]), torch.stack([by.theta, by.nu, zero, zero])])
    expected = expected + by.rho * pair.flip(0)

    def tangent(g: torch.Tensor) -> torch.Tensor:
        return g - (g * pair).sum(-1, keepdim=True) * pair

    # the closed form holds on the unit sphere only, so radial parts differ
    z = (tangent(each).mean(0) - tangent(expected)) / (tangent(each).std(0) / math.sqrt(len(X)))
    assert z.abs().max() < 4


def full_batch(law: Law, replicas: int, batch: int, seed_or_generator: torch.Generator, dtype: torch.dtype):
    X, y = theory.draw_projections(law, law.d, replicas * batch, seed_or_generator, dtype)
    return X.unflatten(0, (replicas, batch)), y.unflatten(0, (replicas, batch))


def span_batch(law: Law, replicas: int, batch: int, draws: torch.Generator, dtype: torch.dtype):
    X, y = theory.draw_projections(law, 4, replicas * batch, draws, dtype)
    chi = [
        (2 * torch._standard_gamma(torch.full((replicas,), (law.d - i) / 2, dtype=dtype), generator=draws)).sqrt()
        for i in (4, 5)
    ]
    bartlett = torch.stack([*chi, torch.randn(replicas, generator=draws, dtype=dtype)], -1)
    return X.unflatten(0, (replicas, batch)), y.unflatten(0, (replicas, batch)), bartlett


@pytest.mark.parametrize("gate", ["erf", "softmax"])
@pytest.mark.parametrize("d", [6, 14])
def test_one_span_step_has_the_moments_of_a_full_step(d, gate):
    """Means and covariances of the increments of the five order parameters, with gamma^2 far from 1 to matter."""
    law, lam, step_size, n = Law(d, length=4, gamma2=0.2, noise=0.3), 0.8, 0.3, 80_000
    at = theory.order_of_pair(random_pairs(1, seed=5)[0])
    triangular = theory.pair_of_order(at)
    embedded = torch.cat([triangular, torch.zeros(2, d - 4).double()], -1)
    X, y = full_batch(law, n, 3, generator(1), torch.float64)
    full = theory.order_of_pair(theory.sample_step(embedded.expand(n, 2, d), X, y, lam, step_size, gate))
    X, y, bartlett = span_batch(law, n, 3, generator(2), torch.float64)
    moved = theory.span_step(triangular.expand(n, 2, 4), X, y, bartlett, law, lam, step_size, gate)
    assert torch.allclose(moved.norm(dim=-1), torch.ones(n, 2).double()) and (moved[:, 0, 3] == 0).all()
    span = theory.order_of_pair(moved)
    samples = [torch.stack(list(one), -1) for one in (full, span)]  # (n, 5) each
    assert samples[0].std(0).min() > 0.02  # the step is large enough for the moments to say something
    centred = [x - samples[0].mean(0) for x in samples]
    statistics = [torch.cat([x, (x[:, :, None] * x[:, None, :]).flatten(1)], 1) for x in centred]
    error = sum(s.var(0) / n for s in statistics).sqrt()
    z = (statistics[0].mean(0) - statistics[1].mean(0)) / error
    assert z.abs().max() < 4.2  # 20 different numbers per case
    for i in range(5):
        assert stats.ks_2samp(samples[0][:, i], samples[1][:, i]).pvalue > 1e-3


def test_a_span_sampler_without_gamma_would_be_seen():
    """The test above has the power to see the wrong variance of the informative token outside the span."""
    law, wrong = Law(14, length=4, gamma2=0.2), Law(14, length=4, gamma2=1.0)
    n = 40_000
    pair = theory.pair_of_order(theory.order_of_pair(random_pairs(1, seed=5)[0])).expand(n, 2, 4)
    X, y, bartlett = span_batch(law, n, 3, generator(2), torch.float64)
    right, other = (theory.order_of_pair(theory.span_step(pair, X, y, bartlett, one, 0.8, 0.3)) for one in (law, wrong))
    assert stats.ks_2samp(right.nu[::2], other.nu[1::2]).pvalue < 1e-9


def test_order_parameters_after_1000_steps_have_the_law_of_full_samples():
    law, replicas, batch, step_size = Law(12, length=4, noise=0.1), 600, 3, 5e-3
    lam = 0.5
    k_star, v_star = torch.eye(12)[:2]
    pairs = torch.stack([theory.initial_pair("sphere", k_star, v_star, generator(r)) for r in range(replicas)])
    full = pairs.float()
    # other starts for the span, so that the two samples are independent
    pairs = torch.stack([theory.initial_pair("sphere", k_star, v_star, generator(9_000 + r)) for r in range(replicas)])
    span = theory.pair_of_order(theory.order_of_pair(pairs)).float()
    draws = [generator(1), generator(2)]
    for _ in range(1_000):
        full = theory.sample_step(full, *full_batch(law, replicas, batch, draws[0], torch.float32), lam, step_size)
        span = theory.span_step(span, *span_batch(law, replicas, batch, draws[1], torch.float32), law, lam, step_size)
    start, *ends = (theory.order_of_pair(x) for x in (pairs, full, span))
    assert stats.ks_2samp(start.kappa, ends[0].kappa).pvalue < 1e-3  # training has moved them
    for name in Order._fields:
        assert stats.ks_2samp(getattr(ends[0], name), getattr(ends[1], name)).pvalue > 1e-3, name


# Networks.


@torch.no_grad()
def test_the_network_is_its_formula():
    network = SingleLocation(d=6, lam=0.7, generator=generator()).double()
    X = torch.randn(3, 4, 6, generator=generator(1), dtype=torch.float64)
    for x, prediction in zip(X, network(X), strict=True):
        slow = sum(math.erf(0.7 * float(token @ network.k)) * float(token @ network.v) for token in x)
        assert abs(slow - prediction.item()) < 1e-12
    softmax = SingleLocation(d=6, lam=0.7, gate="softmax", generator=generator()).double()
    for x, prediction in zip(X, softmax(X), strict=True):
        weights = [math.exp(0.7 * float(token @ network.k)) for token in x]
        slow = sum(w * float(token @ network.v) for w, token in zip(weights, x, strict=True)) / sum(weights)
        assert abs(slow - prediction.item()) < 1e-12


def test_symmetries_of_the_network():
    network = SingleLocation(d=6, lam=0.7, generator=generator())
    X = torch.randn(3, 4, 6, generator=generator(1))
    mirrored = {"k": -network.k, "v": -network.v}
    assert torch.allclose(functional_call(network, mirrored, X), network(X))
    assert torch.allclose(network(X[:, [2, 0, 3, 1]]), network(X), atol=1e-6)
    assert torch.allclose(torch.stack([network.k, network.v]).norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("gate", ["erf", "softmax"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vmap_float64_and_export(gate, dtype):
    networks = [SingleLocation(d=6, lam=0.7, gate=gate, generator=generator(r)).to(dtype) for r in range(3)]
    X = torch.randn(5, 4, 6, generator=generator(9), dtype=dtype)
    together = Replicas(networks)(X)
    assert together.dtype == dtype and together.shape == (3, 5)
    assert torch.allclose(together, torch.stack([network(X) for network in networks]), atol=1e-6)
    exported = torch.export.export(networks[0], (X,)).module()
    assert torch.allclose(exported(X), networks[0](X))
    linear = LinearRegression(d=6, length=4).to(dtype)
    assert torch.equal(torch.export.export(linear, (X,)).module()(X), torch.zeros(5, dtype=dtype))


def test_bad_arguments_are_told():
    with pytest.raises(ValueError, match="gate='tanh'"):
        SingleLocation(d=6, lam=0.1, gate="tanh")
    with pytest.raises(ValueError, match="d=1"):
        SingleLocation(d=1, lam=0.1)
    with pytest.raises(ValueError, match="d >= 6"):
        SingleLocationData(d=5, sampler="span")
    with pytest.raises(ValueError, match="sampler='none'"):
        SingleLocationData(d=5, sampler="none")
    with pytest.raises(ValueError, match="start='pole'"):
        PopulationDescent(d=5, lam=0.1, step_size=0.1, start="pole")


# Data and modules.


def test_the_tokens_follow_their_law():
    data = SingleLocationData(d=8, length=3, gamma2=0.3, noise=0.2, batch_size=50, seed=4)
    task = data.task(2)
    assert torch.allclose(torch.stack([task["k_star"], task["v_star"]]).norm(dim=1), torch.ones(2).double())
    assert abs(task["k_star"] @ task["v_star"]) < 1e-15
    batch = data.draw(generator(), 400, task)
    X, y = batch["X"].flatten(0, 1).double(), batch["y"].flatten().double()
    assert batch["X"].shape == (400, 50, 3, 8) and batch["X"].dtype == torch.float32
    n = len(X)
    assert ((X[:, 0].mean(0) - 2 * task["k_star"]).abs() < 4 * math.sqrt(0.3 / n)).all()
    assert (X[:, 0].var(0) - 0.3).abs().max() < 4 * 0.3 * math.sqrt(2 / n)
    assert (X[:, 1:].var(0) - 1).abs().max() < 4 * math.sqrt(2 / n)
    residual = y - X[:, 0] @ task["v_star"]
    assert abs(residual.std().item() - 0.2) < 4 * 0.2 / math.sqrt(2 * n)


def test_the_span_sampler_draws_projections_of_the_tokens():
    data = SingleLocationData(d=9, length=3, gamma2=0.3, noise=0.2, batch_size=50, sampler="span")
    batch = data.draw(generator(), 2_000, data.task(0))
    X, y, bartlett = (batch[name].double() for name in ("X", "y", "bartlett"))
    assert X.shape == (2_000, 50, 3, 4) and bartlett.shape == (2_000, 3)
    n = 100_000
    X = X.flatten(0, 1)
    expected = torch.tensor([math.sqrt(9 / 2), 0, 0, 0])
    assert ((X[:, 0].mean(0) - expected).abs() < 4 * math.sqrt(0.3 / n)).all()
    assert (X[:, 0].var(0) - 0.3).abs().max() < 4 * 0.3 * math.sqrt(2 / n)
    assert (X[:, 1:].var(0) - 1).abs().max() < 4 * math.sqrt(2 / n)
    assert abs((y.flatten() - X[:, 0, 1]).std().item() - 0.2) < 4 * 0.2 / math.sqrt(2 * n)
    for column, law in zip(bartlett.T.numpy(), (stats.chi(5), stats.chi(4), stats.norm()), strict=True):
        assert stats.kstest(column, law.cdf).pvalue > 1e-3


def test_data_are_a_pure_function_of_seed_replica_and_step():
    first, again = (SingleLocationData(d=8, sampler="span", seed=1) for _ in range(2))
    whole = first.batches(0, 0, 130, 0, 1)
    parts = [again.batches(0, a, b, 0, 1) for a, b in ((60, 130), (0, 60))]
    for name, leaf in whole.items():
        assert torch.equal(leaf, torch.cat([parts[1][name], parts[0][name]]))
    assert not torch.equal(whole["X"], first.batches(1, 0, 130, 0, 1)["X"])
    assert SingleLocationData(d=8, sampler="population").batches(0, 0, 5, 0, 1) == {}


@pytest.mark.parametrize(
    ("cls", "sampler", "options"),
    [
        (PopulationDescent, "population", {}),
        (SpanSGD, "span", {}),
        (SampleSGD, "full", {}),
        (SpanSGD, "span", {"gate": "softmax"}),
        (SampleSGD, "full", {"gate": "softmax"}),
    ],
)
def test_a_module_builds_steps_measures_and_exports(cls, sampler, options):
    data = SingleLocationData(d=12, length=4, sampler=sampler)
    module = cls(d=12, length=4, lam=0.8, decay=1e-2, step_size=0.01, dtype="float64", **options)
    tasks = [data.task(r) for r in range(3)]
    copies = Replicas([module.build(generator(r), task).double() for r, task in enumerate(tasks)])
    task = {name: torch.stack([one[name] for one in tasks]) for name in tasks[0]}
    batch = {name: leaf[0].double() for name, leaf in data.stacked([0, 1, 2], 0, 1, 0, 1).items()}
    measured = copies.each(lambda network, task: module.measure(network, task, torch.tensor(0)), task)
    before = {name: value.clone() for name, value in measured.items()}  # some are views of the parameters
    state = vmap(lambda s, b, t: module.update(s, b, t, torch.tensor(0)))(copies.tensors(), batch, task)
    assert torch.allclose(state["pair"].norm(dim=-1), torch.ones(3, 2).double())
    copies.load_state_dict({f"network.{name}": tensor for name, tensor in (copies.tensors() | state).items()})
    after = copies.each(lambda network, task: module.measure(network, task, torch.tensor(1)), task)
    assert set(after) == {"excess_risk", "distance", "lam", *Order._fields}
    assert not torch.allclose(before["kappa"], after["kappa"]) and torch.allclose(
        before["lam"], torch.full((3,), 0.8).double()
    )
    module.history.add(1, after)
    for r in range(3):
        shipped = module.export(copies.one(r))
        at = theory.order(shipped.k, shipped.v, task["k_star"][r], task["v_star"][r])
        for name, value in at._asdict().items():
            assert abs(value - after[name][r]) < 1e-12, name
        assert shipped.arguments == {"d": 12, "lam": 0.792079, "gate": options.get("gate", "erf")}


def test_a_model_and_data_of_different_laws_are_refused():
    task = SingleLocationData(d=12, gamma2=0.3).task(0)
    with pytest.raises(ValueError, match=r"gamma2=0.5 but the data have gamma2=0.3"):
        PopulationDescent(d=12, lam=0.1, step_size=0.1).build(generator(), task)
    with pytest.raises(ValueError, match="sampler: span"):
        SpanSGD(d=12, lam=0.1, step_size=0.1).step(torch.zeros(2, 4), {}, 0.1)
    with pytest.raises(ValueError, match="sampler: full"):
        SampleSGD(d=12, lam=0.1, step_size=0.1).step(torch.zeros(2, 12), {}, 0.1)
