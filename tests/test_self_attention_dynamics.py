"""Self-attention dynamics: identities of the flow, orders of convergence, exact reductions against simulation, the
theorem's constants, the authors' staircase loop, starts, and the learnable encoder.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fitting import fit
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, special
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from datamodules.sphere_starts import (
    KINETIC,
    STAIRCASE,
    STARTS,
    NoisyClustersData,
    SphereStartsData,
    centres,
    mean_height,
)
from zoo.models.self_attention_dynamics import claims, theory
from zoo.models.self_attention_dynamics.module import ClusterDenoising, ParticleDynamics, Staircase
from zoo.models.self_attention_dynamics.network import FlowEncoder, ParticleFlow
from zoo.models.self_attention_dynamics.theory import Containment

BOTH = pytest.mark.parametrize("dynamics", theory.DYNAMICS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sphere(*shape: int, seed: int = 0) -> Tensor:
    return theory.normalise(torch.randn(*shape, generator=generator(seed), dtype=torch.float64))


# The flow.


def printed(x: np.ndarray, beta: float, dynamics: str, mask: np.ndarray) -> np.ndarray:
    """The formulas as they are printed, token by token."""
    out = np.zeros_like(x)
    for i in range(len(x)):
        weights = np.array([np.exp(beta * (x[i] @ x[j])) * mask[i, j] for j in range(len(x))])
        total = weights.sum() if dynamics == "sa" else math.exp(beta) * mask[i].sum()
        y = (weights[:, None] * x).sum(0) / total
        out[i] = y - (x[i] @ y) * x[i]
    return out


@BOTH
@given(st.integers(1, 9), st.integers(2, 5), st.floats(0, 20), st.booleans(), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_velocity_is_the_printed_one(dynamics, n, d, beta, causal, seed):
    x = sphere(n, d, seed=seed)
    mask = theory.causal_mask(n) if causal else None
    found = theory.velocity(x, beta, dynamics, mask)
    shown = mask.numpy() if causal else np.ones((n, n))
    np.testing.assert_allclose(found.numpy(), printed(x.numpy(), beta, dynamics, shown), atol=1e-12)
    assert (found * x).sum(-1).abs().max() < 1e-12


def test_on_the_circle_usa_is_a_kuramoto_model():
    angles = torch.rand(7, generator=generator(), dtype=torch.float64) * 2 * math.pi
    x, beta = theory.angles_to_tokens(angles), 3.0
    apart = angles[:, None] - angles[None]
    turning = -((beta * (apart.cos() - 1)).exp() * apart.sin()).mean(1)
    along = torch.stack([-angles.sin(), angles.cos()], -1)
    assert torch.allclose(theory.velocity(x, beta, "usa"), turning[:, None] * along, atol=1e-14)
    assert torch.allclose(theory.staircase_gradient(angles, torch.tensor(beta)), turning / 7, atol=1e-14)


@BOTH
def test_antipodal_tokens_stay(dynamics):
    pole = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    x = torch.stack([pole, -pole, -pole])
    assert theory.velocity(x, 7.0, dynamics).abs().max() == 0


@BOTH
@given(st.floats(0.1, 5), st.integers(2, 8), st.integers(2, 5), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_both_flows_climb_the_energy_along_its_gradient(dynamics, beta, n, d, seed):
    x = sphere(n, d, seed=seed).requires_grad_()
    (euclidean,) = torch.autograd.grad(theory.energy(x, beta), x)
    x = x.detach()
    gradient, velocity = theory.tangent(x, euclidean), theory.velocity(x, beta, dynamics)
    assert torch.allclose(gradient, theory.gradient(x, beta), rtol=1e-10, atol=1e-12)
    along = (gradient * velocity).sum()
    assert torch.allclose(along, theory.energy_rate(x, beta, dynamics), rtol=1e-9, atol=1e-13) and along >= 0
    if dynamics == "sa":  # the gradient for the metric is the velocity itself
        direction = theory.tangent(x, sphere(n, d, seed=seed + 1))
        left, right = theory.metric(x, velocity, direction, beta), (gradient * direction).sum()
        assert torch.allclose(left, right, rtol=1e-9, atol=1e-13)


def test_large_temperatures_do_not_overflow():
    x = sphere(8, 3)
    beta = torch.tensor([1e3, 1e6], dtype=torch.float64)
    assert theory.velocity(x, beta, "sa").isfinite().all() and theory.mean_energy(x, beta).isfinite().all()
    assert torch.allclose(theory.mean_energy(x, 1e6), torch.tensor(1 / 8).double())


@pytest.mark.parametrize(("integrator", "order"), [("rk4", 4), ("euler", 1), ("official", 1)])
@BOTH
def test_integrators_converge_at_their_order(integrator, order, dynamics):
    x, beta, horizon = sphere(6, 3, seed=3), 2.0, 2.0
    exact = theory.trajectory(x, beta, horizon / 640, 640, every=640, dynamics=dynamics)[-1]
    errors = []
    for steps in (20, 40, 80):
        if integrator == "official" and dynamics == "usa":
            steps *= 2
        end = theory.trajectory(x, beta, horizon / steps, steps, steps, dynamics, integrator)[-1]
        errors.append((end - exact).norm().item())
        assert (end.norm(dim=-1) - 1).abs().max() < 1e-14
    orders = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert min(orders) > order - 0.25 and max(orders) < order + 0.35


@given(st.floats(0.01, 1), st.floats(0, 10), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_official_step_is_a_shorter_projected_step(dt, beta, seed):
    x = sphere(6, 3, seed=seed)
    towards = (x * theory.drift(x, beta)).sum(-1, keepdim=True)
    shorter = theory.normalise(x + dt / (1 + dt * towards) * theory.velocity(x, beta))
    if (1 + dt * towards > 0).all():
        assert torch.allclose(theory.step(x, beta, dt, integrator="official"), shorter, atol=1e-12)


# Statistics.


@given(st.integers(1, 12), st.floats(-0.5, 0.999), st.integers(0, 999))
@settings(max_examples=50, deadline=None)
def test_clusters_are_connected_components(n, merged, seed):
    x = sphere(n, 2, seed=seed)
    graph = (x @ x.mT).numpy() > merged
    assert theory.clusters(x, merged).item() == connected_components(graph)[0]


def test_levels_of_separated_clusters():
    x = theory.angles_to_tokens(torch.tensor([0.0, 0, 0, 2, 2, 4], dtype=torch.float64))
    found = theory.statistics(x, 500.0)
    assert abs(found["mean_energy"] - (9 + 4 + 1) / 36) < 1e-12
    assert (found["clusters"], round(found["merged"].item() * 15)) == (3, 4)
    assert abs(found["mean_product"] - theory.pair_products(x).mean()) < 1e-15
    assert found["min_product"] == theory.pair_products(x).min()


# Reductions.


@BOTH
@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_an_orthonormal_start_follows_gamma(dynamics, beta):
    times = torch.tensor([0.5, 1.0, 3.0, 6.0], dtype=torch.float64)
    curve = theory.gamma_curve(beta, 5, times, dynamics)
    path = theory.trajectory(torch.eye(5, 7, dtype=torch.float64), beta, 0.01, 600, 50, dynamics)
    for t, gamma in zip(times.tolist(), curve, strict=True):
        assert (theory.pair_products(path[round(t / 0.5)]) - gamma).abs().max() < 1e-9
    assert (theory.pair_products(path).std(-1) < 1e-13).all()


@BOTH
def test_gamma_time_inverts_the_curve(dynamics):
    for beta in (0.5, 3.0):
        time = theory.gamma_time(beta, 32, 0.99, dynamics)
        curve = theory.gamma_curve(beta, 32, torch.tensor([time]), dynamics)
        assert abs(curve.item() - 0.99) < 1e-8


@BOTH
@pytest.mark.parametrize(("beta", "a", "b"), [(4.0, 1, 1), (2.0, 3, 2), (6.0, 1, 5)])
def test_cluster_time_is_that_of_the_equation(dynamics, beta, a, b):
    reached = lambda t, u: u[0] - 0.1  # noqa: E731
    reached.terminal = True
    rate = lambda t, u: theory.cluster_rate(torch.tensor(u), beta, a, b, dynamics).numpy()  # noqa: E731
    found = integrate.solve_ivp(rate, (0, 1e6), [2.0], events=reached, rtol=1e-10, atol=1e-12, method="LSODA")
    assert abs(theory.cluster_time(beta, a, b, 2.0, 0.1, dynamics) / found.t[-1] - 1) < 1e-6


def test_cluster_angle_inverts_cluster_time():
    start, beta = 2.5, 4.0
    for end in (2.4, 1.0, 0.05):
        time = theory.cluster_time(beta, 3, 2, start, end)
        assert abs(theory.cluster_angle(torch.tensor([time]).double(), beta, 3, 2, start).item() - end) < 1e-3


def test_the_time_of_one_cluster_is_exponential_in_beta():
    """d ln T/d beta tends to 1 - cos of the starting angle."""
    start = 2.6
    for beta, gap in ((5.0, 0.11), (10.0, 0.055), (20.0, 0.028)):
        a, b = (theory.cluster_time(one, 3, 2, start, 0.05) for one in (beta, beta + 0.01))
        assert 0 < abs(math.log(b / a) / 0.01 - (1 - math.cos(start))) * 1 < 2.5 * gap


# The theorem's constants.


def test_containment_constants():
    one = Containment(6, 14.0, 0.02)
    assert abs(one.alpha + 0.843) < 5e-4 and abs(one.gamma - 1.098) < 5e-4 and abs(one.rate - 1.35) < 5e-3
    assert abs(one.collapsed_by - 445) < 1 and abs(one.stays_until / 5.4e8 - 1) < 0.02
    assert abs(Containment(6, 18.0, 0.02).collapsed_by - 656) < 1
    assert one.diameter**2 == pytest.approx(2 * math.exp(-14 * one.rate))
    assert Containment(6, 14.0, 0.02, separation=0.1).alpha == 1  # doubled caps that meet
    for wrong in ({"beta": 1.0}, {"eps": 0.07}, {"share": 1.0}):
        with pytest.raises(ValueError, match="the theorem needs"):
            Containment(**({"n": 6, "beta": 14.0, "eps": 0.02} | wrong))


def test_alpha_is_the_largest_product_between_doubled_caps():
    eps, separation = 0.02, 2.0
    half = math.acos(1 - 2 * eps)
    edge = torch.linspace(-half, half, 201, dtype=torch.float64)
    products = (separation + edge[:, None] - edge[None]).cos()
    assert abs(products.max().item() - Containment(6, 14.0, eps, separation).alpha) < 1e-12


@pytest.mark.parametrize("case", [(5.0, 0.5, 1.0), (10.0, 0.8, 1.0), (20.0, 0.9, 0.5)])
def test_collapse_time_solves_its_equation(case):
    beta, start, c = case
    time = theory.collapse_time(*case)
    rate = lambda t, u: u * (1 - u) * np.exp(beta * (u - 1))  # noqa: E731
    end = integrate.solve_ivp(rate, (0, time), [start], rtol=1e-11, atol=1e-14, method="LSODA").y[0, -1]
    assert abs((1 - end) / math.exp(-c * beta) - 1) < 1e-3 and time < theory.collapse_bound(*case)


def test_the_time_scale_lemma():
    beta, c, start = 1e3, 2.0, 1.0
    t = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    u = theory.approach(beta, start, c, t)
    (slope,) = torch.autograd.grad(u, t)
    assert abs(slope + c * math.log(beta) * u.sin()) < 1e-12
    time = torch.tensor(theory.approach_time(beta, start, c), dtype=torch.float64)
    assert abs(theory.approach(beta, start, c, time) - math.sqrt(math.log(beta) / beta)) < 1e-14
    found = [theory.approach_time(beta, 1.0, 1.0) for beta in (1e3, 1e12, 1e100, 1e300)]
    assert [round(x, 3) for x in found[:3]] == [0.373, 0.443, 0.489] and 0.49 < found[3] < 0.5


@pytest.mark.parametrize(("n", "d"), [(4, 2), (5, 3), (6, 4), (3, 5)])
def test_hemispheres(n, d):
    x = sphere(4000, n, d, seed=n)
    inside = theory.in_hemisphere(x)
    p = theory.hemisphere_probability(n, d)
    assert abs(inside.double().mean() - p) < 4 * math.sqrt(p * (1 - p) / 4000) + 1e-12
    for points, verdict in zip(x[:20].numpy(), inside[:20].tolist(), strict=True):
        feasible = optimize.linprog(np.zeros(d), A_ub=-points, b_ub=-np.ones(n), bounds=(None, None)).status == 0
        assert feasible == verdict
    assert theory.hemisphere_probability(5, 3) == 0.6875


# The staircase.


def authors_loop(angles: np.ndarray, beta: float, steps: int, rate: float = 1e-5) -> np.ndarray:
    """Normalised ascent with merging, one temperature, in plain NumPy."""
    theta = angles.copy()
    for _ in range(steps):
        apart = theta[None] - theta[:, None]
        g = (np.sin(apart) * np.exp(beta * (np.cos(apart) - 1))).sum(1) / len(theta) ** 2
        norm = np.linalg.norm(g)
        theta = theta + rate * math.log(beta) * g / norm
        if norm < 1e-5:
            for i in range(len(theta)):
                for j in range(i + 1, len(theta)):
                    if abs(theta[i] - theta[j]) < 1e-3:
                        theta[j] = theta[i]
    return theta


def test_the_fast_staircase_is_the_plain_one():
    start = torch.tensor(STAIRCASE, dtype=torch.float64)
    betas = torch.tensor([500.0, 4000.0], dtype=torch.float64)
    loop = theory.Staircase(start.repeat(2, 1), betas)
    loop.run(3000)
    slow = start.repeat(2, 1)
    for _ in range(3000):
        slow = theory.staircase_step(slow, betas)
    assert (loop.angles - slow).abs().max() < 1e-9
    for row, beta in zip(loop.angles, betas.tolist(), strict=True):
        np.testing.assert_allclose(row.numpy(), authors_loop(np.array(STAIRCASE), beta, 3000), atol=1e-9)
    assert len(loop.angles[1].unique()) == 3 and not loop.collapsed


def test_after_the_last_merging_nothing_moves():
    loop = theory.Staircase(torch.full((2, 5), 0.3, dtype=torch.float64), torch.tensor([500.0, 4000.0]).double())
    loop.run(10)
    assert loop.collapsed and (loop.angles == 0.3).all()
    assert (theory.staircase_step(loop.angles, torch.tensor([500.0, 4000.0]).double()) == 0.3).all()


def test_a_rate_ten_times_larger_never_merges():
    start, beta = torch.tensor([STAIRCASE], dtype=torch.float64), torch.tensor([2000.0], dtype=torch.float64)
    found = []
    for rate in (1e-5, 1e-4):
        loop = theory.Staircase(start, beta, rate)
        loop.run(round(0.025 / rate))
        level = theory.mean_energy(theory.angles_to_tokens(loop.angles), beta).item()
        found.append((len(loop.angles.unique()), round(level, 2)))
    assert found == [(3, 0.44), (5, 0.28)]


# Starts and noisy clusters.


@pytest.mark.parametrize("start", STARTS)
def test_starts(start):
    n, d = (5, 2) if start in ("kinetic", "staircase") else (6, 8)
    data = SphereStartsData(n=n, d=d, start=start, beta=[2, 3], caps=3, eps=0.05, seed=4)
    tasks = [data.task(r) for r in range(4)]
    assert [task["beta"].item() for task in tasks] == [2, 3, 2, 3]
    assert [task["system"].item() for task in tasks] == [0, 0, 1, 1]
    assert torch.equal(tasks[0]["start"], tasks[1]["start"])
    assert torch.equal(tasks[2]["start"], tasks[3]["start"]) and tasks[0]["start"].shape == (n, d)
    assert torch.equal(tasks[0]["start"], tasks[2]["start"]) == (start not in ("uniform", "caps"))
    assert (tasks[2]["start"].norm(dim=-1) - 1).abs().max() < 1e-14 and tasks[0]["start"].dtype == torch.float64
    again = SphereStartsData(n=n, d=d, start=start, beta=[2, 3], caps=3, eps=0.05, seed=4).task(3)
    assert torch.equal(again["start"], tasks[3]["start"])
    assert data.stacked([0, 1], 0, 5, 0, 1) == {}
    if start == "orthonormal":
        assert torch.equal(tasks[0]["start"] @ tasks[0]["start"].mT, torch.eye(6).double())
    if start == "caps":
        heights = (tasks[0]["start"] * centres(3, d)[torch.arange(n) % 3]).sum(-1)
        assert (heights >= 1 - 0.05 - 1e-12).all() and (heights < 1).all()


@pytest.mark.parametrize(("k", "d"), [(2, 2), (5, 2), (2, 3), (4, 3), (3, 8), (9, 8)])
def test_centres_are_equally_separated(k, d):
    points = centres(k, d)
    assert torch.allclose(points.norm(dim=-1), torch.ones(k).double())
    largest = (points @ points.mT - 2 * torch.eye(k).double()).amax(-1)
    assert torch.allclose(largest, largest[0].expand(k), atol=1e-12)
    if d > 2:
        assert abs(largest[0] + 1 / (k - 1)) < 1e-12


def test_temperatures_on_a_grid_and_refused_starts():
    assert torch.allclose(SphereStartsData(beta=[0.1, 9], betas=90).betas, torch.linspace(0.1, 9, 90).double())
    with pytest.raises(ValueError, match="orthonormal vectors in dimension d=4"):
        SphereStartsData(n=5, d=4, start="orthonormal")
    with pytest.raises(ValueError, match="set n=5 and d=2"):
        SphereStartsData(n=6, start="kinetic")
    with pytest.raises(ValueError, match="at most d \\+ 1 = 4"):
        SphereStartsData(n=6, d=3, start="caps", caps=5)
    with pytest.raises(ValueError, match="choose one of uniform"):
        SphereStartsData(start="kinetics")
    with pytest.raises(ValueError, match="kappa positive"):
        NoisyClustersData(kappa=0)


@pytest.mark.parametrize("d", [2, 3, 8])
def test_noise_is_von_mises_fisher(d):
    kappa = torch.tensor([0.01, 1.0, 20.0, 300.0], dtype=torch.float64)
    exact = special.ive(d / 2, kappa.numpy()) / special.ive(d / 2 - 1, kappa.numpy())
    assert torch.allclose(mean_height(d, kappa), torch.from_numpy(exact), rtol=1e-10)
    data = NoisyClustersData(d=d, kappa=5.0, length=200, batch_size=50)
    batch = data.draw(generator(), 2, {})
    height = (batch["x"] * batch["centre"]).sum(-1).double()
    assert abs(height.mean() - mean_height(d, 5.0)) < 4 * height.std() / math.sqrt(height.numel())


def test_the_informed_risk_is_that_of_the_resultant():
    data = NoisyClustersData(d=4, clusters=3, length=20, kappa=8.0, batch_size=2000)
    batch = {name: leaf[0].double() for name, leaf in data.draw(generator(1), 1, {}).items()}
    same = torch.cdist(batch["centre"], batch["centre"]) < 1e-4
    prediction = theory.normalise(same.double() @ batch["x"])
    risk = 1 - (prediction * batch["centre"]).sum(-1).mean(-1)
    assert abs(risk.mean() - batch["informed"]) < 4 * risk.std() / math.sqrt(len(risk))


# Networks.


def test_particle_flow_is_a_flow():
    half = ParticleFlow(n=6, d=3, beta=2.0, steps=10).double()
    whole = ParticleFlow(n=6, d=3, beta=2.0, steps=20).double()
    x = sphere(4, 6, 3)
    assert torch.allclose(half(half(x)), whole(x), atol=1e-14)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator(), dtype=torch.float64))[0]
    order = torch.randperm(6, generator=generator())
    assert torch.allclose(whole(x[:, order] @ turn), whole(x)[:, order] @ turn, atol=1e-12)
    assert whole(x[:, :3]).shape == (4, 3, 3)  # any number of tokens
    assert (whole.energy(whole(x)) > whole.energy(x)).all()
    assert whole.energy().shape == () and whole.clusters() == 6 and whole.velocity().shape == (6, 3)
    assert not list(filter(lambda p: p.requires_grad, whole.parameters())) and "beta=2" in repr(whole)


def test_a_causal_flow_does_not_look_ahead():
    flow = ParticleFlow(n=6, d=3, beta=2.0, steps=10, causal=True).double()
    x = sphere(2, 6, 3)
    changed = x.clone()
    changed[:, 4:] = sphere(2, 2, 3, seed=5)
    assert torch.equal(flow(x)[:, :4], flow(changed)[:, :4])
    assert torch.allclose(flow(x)[:, 0], x[:, 0])  # the first token sees itself only


def test_networks_refuse_what_they_do_not_know():
    with pytest.raises(ValueError, match="dynamics='ssa': choose one of sa, usa"):
        ParticleFlow(n=3, d=3, dynamics="ssa")
    with pytest.raises(ValueError, match="integrator='rk': choose"):
        ParticleFlow(n=3, d=3, integrator="rk")
    with pytest.raises(ValueError, match="d >= 2"):
        ParticleFlow(n=3, d=1)
    with pytest.raises(ValueError, match="positive"):
        FlowEncoder(d=3, layers=0)


def test_an_untrained_encoder_is_sa():
    encoder = FlowEncoder(d=3, layers=4, beta=3.0, step=0.2).double()
    x = sphere(2, 7, 3)
    expected = x
    for _ in range(4):
        expected = theory.step(expected, 3.0, 0.2, "sa", "euler")
    assert torch.allclose(encoder(x), expected, atol=1e-7)  # its parameters were float32
    assert torch.allclose(encoder(5 * x), encoder(x)) and torch.equal(encoder.trajectory(x, 4)[-1], encoder(x))


def test_masks_of_the_encoder():
    encoder = FlowEncoder(d=3, layers=3).double()
    x = sphere(2, 7, 3)
    padding = torch.zeros(2, 7, dtype=torch.bool)
    padding[0, 5:] = True
    found = encoder(x, padding)
    assert torch.allclose(found[0, :5], encoder(x[:1, :5])[0], atol=1e-14) and found.isfinite().all()
    assert torch.allclose(found[1], encoder(x)[1], atol=1e-14)
    causal = FlowEncoder(d=3, layers=3, causal=True).double()
    assert torch.allclose(causal(x)[:, :4], causal(x[:, :4]), atol=1e-14)
    left = torch.zeros(2, 7, dtype=torch.bool)
    left[:, :2] = True  # padding on the left leaves nothing but themselves to the first tokens
    assert torch.allclose(causal(x, left)[:, 2:], causal(x[:, 2:]), atol=1e-14)


def test_the_encoder_is_a_drop_in_module():
    model = nn.Sequential(nn.Linear(5, 8), FlowEncoder(d=8, layers=2), nn.Linear(8, 3))
    x = torch.randn(2, 6, 5, generator=generator())
    model(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in model.parameters())
    program = torch.export.export(model[1].eval(), (x @ torch.randn(5, 8), torch.zeros(2, 6, dtype=torch.bool)))
    y = torch.randn(2, 6, 8, generator=generator(1))
    mask = torch.zeros(2, 6, dtype=torch.bool)
    torch.testing.assert_close(program.module()(y, mask), model[1](y, mask))


# Modules.


@pytest.mark.parametrize("options", [{"integrator": "official"}, {"dynamics": "usa", "causal": True}])
def test_a_run_is_made_again_by_its_network(options, tmp_path):
    data = SphereStartsData(n=6, d=3, beta=[1, 4])
    module = fit(ParticleDynamics(n=6, d=3, replicas=4, log_every=10, **options), data, 35, tmp_path)
    networks, task, history = module.result()
    assert history.steps.tolist() == [0, 10, 20, 30, 35] and networks.count == 4
    for r in range(4):
        network = networks.one(r)
        assert network.arguments["steps"] == 35 and network.beta == task["beta"][r]
        assert torch.allclose(network(task["start"][r]), network.tokens, atol=1e-12)
        assert history.at("mean_energy", 35)[r] == pytest.approx(network.energy().item(), abs=1e-14)
    assert (history["mean_energy"].diff(dim=0) > 0).all() or options.get("causal")
    assert set(history.metrics) == {"mean_energy", "clusters", "merged", "mean_product", "min_product"}


def test_the_modules_loop_is_its_law(tmp_path):
    data = SphereStartsData(start="staircase", beta=[500, 4000])
    module = fit(Staircase(replicas=2, log_every=100), data, 300, tmp_path)
    angles = torch.tensor(STAIRCASE, dtype=torch.float64).repeat(2, 1)
    state = {"angles": angles, "beta": torch.tensor([500.0, 4000.0], dtype=torch.float64)}
    for i in range(300):
        state |= module.update(state, {}, {}, torch.tensor(i))
    assert (module.copies.network.angles - state["angles"]).abs().max() < 1e-9
    networks, _, history = module.result()
    assert isinstance(networks.one(0), ParticleFlow) and networks.one(1).beta == 4000
    assert torch.allclose(networks.one(1).energy(), history.at("mean_energy", 300)[1], atol=1e-12)


def test_a_staircase_ends_when_all_tokens_are_one(tmp_path):
    data = SphereStartsData(n=5, d=2, start="caps", caps=1, eps=1e-6, beta=2000)
    module = fit(Staircase(log_every=50), data, 100_000, tmp_path)
    assert module.trainer.global_step < 1000 and module.history.last("mean_energy") == pytest.approx(1)


def test_the_encoder_learns(tmp_path):
    data = NoisyClustersData(d=4, clusters=3, length=12, batch_size=16)
    module = fit(ClusterDenoising(d=4, layers=4, replicas=2, log_every=20), data, 100, tmp_path)
    history = module.history
    assert (history.at("loss", 100) < 0.6 * history.at("raw", 100)).all()
    assert (history.at("informed", 100) < history.at("loss", 100)).all()
    assert (history.at("beta", 100) != 4).all() and isinstance(module.result()[0].one(0), FlowEncoder)


def test_a_model_and_data_of_different_shape_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"n, d = \(6, 3\) but the data \(5, 2\)"):
        ParticleDynamics(n=6, d=3).build(generator(), SphereStartsData(start="kinetic").task(0))
    with pytest.raises(ValueError, match="d = 3"):
        Staircase().build(generator(), SphereStartsData(n=6, d=3).task(0))
    with pytest.raises(ValueError, match="choose one of"):
        ParticleDynamics(dynamics="kuramoto")


def test_kinetic_plateau_at_low_temperatures():
    found = claims.kinetic("official", (2.0, 3.0))
    assert found["times"] == pytest.approx([16.7, 68.9], rel=0.01)
    assert found["plateau"][1] == pytest.approx(0.52, abs=0.005) and len(KINETIC) == 5
