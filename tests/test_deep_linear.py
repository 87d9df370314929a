"""Deep linear regression: bounds and closed forms against the exact Hessian, flows against their order and invariants."""

from __future__ import annotations

import math

import pytest
import torch
from fitting import fit
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from torch.func import grad, jacrev, vmap
from torch.nn.functional import gelu

from datamodules.linear_regression import EIGENVALUES, FLOOR, LinearRegressionData
from zoo.models.deep_linear import figures, theory
from zoo.models.deep_linear.module import GradientDescent, GradientFlow
from zoo.models.deep_linear.network import KINDS, DeepLinear
from zoo.sweeps import Sweep

DOUBLE = torch.float64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def problem(d: int, seed: int = 0, size: float = 1.0):
    X = torch.randn(3 * d, d, generator=generator(seed), dtype=DOUBLE)
    w = torch.randn(d, generator=generator(seed + 1), dtype=DOUBLE)
    return X.T @ X / len(X), size * w / w.norm()


def net(d: int, depth: int, kind: str, scale: float = 0.6, seed: int = 0):
    network = DeepLinear(dim=d, depth=depth, kind=kind, scale=scale, generator=generator(seed)).double()
    return network.layers.detach(), network.last.detach(), network.trains_last


class Flat:
    """The loss as a function of one vector of the trained parameters, for automatic differentiation."""

    def __init__(self, layers, last, S, w, trains_last):
        self.layers, self.last, self.S, self.w, self.trains_last = layers, last, S, w, trains_last
        self.at = self.flat(layers, last)

    def flat(self, layers, last):
        return torch.cat([layers.flatten(), last]) if self.trains_last else layers.flatten()

    def split(self, flat):
        n = self.layers.numel()
        return flat[:n].view(self.layers.shape), flat[n:] if self.trains_last else self.last

    def risk(self, flat):
        layers, row = self.split(flat)
        for layer in reversed(layers.unbind()):
            row = row @ layer
        return (row - self.w) @ self.S @ (row - self.w)

    def hessian(self):
        return jacrev(grad(self.risk))(self.at)


# The network.


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_the_network_is_its_product(kind):
    network = DeepLinear(dim=4, depth=6, kind=kind, generator=generator()).double()
    (x,) = network.example(7, generator(1))
    p = torch.linalg.multi_dot([network.last[None], *network.layers.flip(0)])[0]
    assert torch.allclose(network.product(), p, atol=1e-14)
    assert torch.allclose(network(x.double()), x.double() @ p, atol=1e-13)


def test_depth_counts_all_trained_matrices():
    sizes = {kind: DeepLinear(dim=5, depth=10, kind=kind) for kind in KINDS}
    count = {kind: sum(p.numel() for p in network.parameters()) for kind, network in sizes.items()}
    assert count == {"mlp": 230, "residual": 250}
    assert abs(sizes["residual"].last.norm() - 1) < 1e-6
    still = DeepLinear(dim=5, depth=4, kind="residual", scale=0.0)
    assert torch.equal(still.product(), still.last)


def test_initial_entries_have_their_scale():
    mlp = DeepLinear(dim=40, depth=30, scale=0.3, generator=generator())
    assert abs(mlp.layers.std() / 0.3 - 1) < 0.02
    residual = DeepLinear(dim=40, depth=30, kind="residual", scale=0.3, generator=generator())
    noise = residual.layers - torch.eye(40)
    assert abs(noise.std() / (0.3 / math.sqrt(1200)) - 1) < 0.02


@torch.no_grad()
def test_gelu_stands_between_the_layers_only():
    network = DeepLinear(dim=3, depth=3, activation="gelu", generator=generator()).double()
    x = torch.randn(5, 3, generator=generator(1), dtype=DOUBLE)
    one, two = network.layers
    assert torch.allclose(network(x), gelu(gelu(x @ one.T) @ two.T) @ network.last, atol=1e-14)


# Theory.


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_and_hessian_are_those_of_autograd(kind):
    S, w = problem(4)
    layers, last, trained = net(4, 5, kind)
    flat = Flat(layers, last, S, w, trained)
    assert torch.allclose(flat.flat(*theory.gradients(layers, last, S, w)), grad(flat.risk)(flat.at), atol=1e-13)
    direction = torch.randn(flat.at.shape, generator=generator(3), dtype=DOUBLE)
    by_layers, by_last = flat.split(direction)
    by_last = by_last if trained else torch.zeros_like(last)
    found = flat.flat(*theory.hessian_product(layers, last, S, w, by_layers, by_last))
    assert torch.allclose(found, flat.hessian() @ direction, atol=1e-11)


@settings(max_examples=30, deadline=None)
@given(
    d=st.integers(2, 5),
    depth=st.integers(2, 6),
    kind=st.sampled_from(KINDS),
    size=st.floats(0.3, 2.3),
    seed=st.integers(0, 10**6),
)
def test_no_minimiser_is_flatter_than_the_bounds(d, depth, kind, size, seed):
    S, w = problem(d, seed, size)
    layers, last, trained = net(d, depth, kind, 0.7, seed)
    layers, last = theory.onto_minimisers(layers, last, w)
    assert torch.allclose(theory.product(layers, last), w, atol=1e-8)
    sharpness = theory.sharpness_at_minimum(layers, last, S, trained)
    if d * depth < 16:
        exact = torch.linalg.eigvalsh(Flat(layers, last, S, w, trained).hessian())[-1]
        assert torch.allclose(sharpness, exact, rtol=1e-6)
    refined, bound = theory.refined_bound(S, w, depth), theory.lower_bound(S, w, depth)
    assert sharpness >= refined * (1 - 1e-9) and refined >= bound * (1 - 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_proof_of_the_bound_step_by_step(kind):
    """sharpness >= (2/a) sum (p_k q_{k-1})^2 >= the refined bound."""
    S, w = problem(4, 7, 1.3)
    layers, last, trained = net(4, 5, kind, 0.8, 3)
    layers, last = theory.onto_minimisers(layers, last, w)
    z = S @ w / w.norm()
    p = theory.backward_rows(layers, last).norm(dim=-1)[1:]
    q = theory.forward_vectors(layers, z).norm(dim=-1)
    terms = p * q[:-1]
    if trained:
        terms = torch.cat([terms, q[-1:]])
    assert len(terms) == 5
    middle = 2 / theory.curvature(S, w) * terms.square().sum()
    assert theory.sharpness_at_minimum(layers, last, S, trained) >= middle >= theory.refined_bound(S, w, 5)


@pytest.mark.parametrize("depth", [2, 3, 10])
def test_rank_one_chains(depth):
    S, w = problem(5, 2, 1.7)
    layers, last = theory.rank_one_chain(w, depth, generator())
    assert torch.allclose(theory.product(layers, last), w, atol=1e-12)
    chain = theory.chain_sharpness(S, w, depth)
    assert abs(theory.sharpness_at_minimum(layers, last, S, True) / chain - 1) < 1e-9
    assert theory.lower_bound(S, w, depth) <= chain <= theory.chain_upper(S, w, depth)
    assert theory.balance(layers, last, True).abs().max() < 1e-12
    shape = theory.shape(layers, last)
    assert shape.ratio < 1e-12 and abs(shape.alignment - 1) < 1e-12
    assert torch.allclose(shape.size, w.norm() ** (1 / depth))


def test_depth_two_with_unit_covariance_has_a_tight_bound():
    w = torch.tensor([0.6, 0.8], dtype=DOUBLE)
    S = torch.eye(2, dtype=DOUBLE)
    assert abs(theory.chain_sharpness(S, w, 2) / theory.lower_bound(S, w, 2) - 1) < 1e-12
    assert abs(theory.largest_step(S, w, 2) - 0.5) < 1e-12


def test_rescaling_keeps_the_function_and_sharpens():
    S, w = problem(4)
    layers, last = theory.rank_one_chain(w, 5, generator())
    values = []
    for c in (1.0, 2.0, 8.0, 64.0):
        scaled = theory.rescaled(layers, c)
        assert torch.allclose(theory.product(scaled, last), w)
        values.append(theory.sharpness_at_minimum(scaled, last, S, True).item())
    assert values == sorted(values) and values[-1] > 500 * values[0]


def test_diverged_networks_are_nan_and_spoil_no_other():
    S, w = problem(3)
    layers, last, trained = net(3, 4, "mlp")
    both, ends = torch.stack([layers, layers * math.nan]), torch.stack([last, last])
    sharpness = theory.sharpness_at_minimum(both, ends, S, trained)
    assert torch.allclose(sharpness[0], theory.sharpness_at_minimum(layers, last, S, trained)) and sharpness[1].isnan()
    shape = theory.shape(both, ends)
    assert shape.ratio[1].isnan() and torch.allclose(shape.ratio[0], theory.shape(layers, last).ratio)


@pytest.mark.parametrize("kind", KINDS)
def test_the_flow_is_scipys_and_conserves_the_balance(kind):
    S, w = problem(3)
    nets = [net(3, 4, kind, 0.5 + 0.3 * seed, seed) for seed in range(3)]
    trained = nets[0][2]
    layers, last = (torch.stack([n[i] for n in nets]) for i in range(2))
    ends = theory.gradient_flow(layers, last, S, w, 1.5, trained)
    for r in range(3):
        flat = Flat(layers[r], last[r], S, w, trained)

        def field(_, y, flat=flat):
            by_layers, by_last = theory.gradients(*flat.split(torch.tensor(y)), S, w)
            return -flat.flat(by_layers, by_last).numpy()

        solution = solve_ivp(field, (0, 1.5), flat.at.numpy(), method="DOP853", rtol=1e-11, atol=1e-12)
        assert torch.allclose(flat.flat(ends[0][r], ends[1][r]), torch.tensor(solution.y[:, -1]), atol=1e-7)
    start = theory.balance(layers, last, trained)
    assert theory.drift(start, *ends, trained).max() < 1e-7
    if not trained:
        assert torch.equal(ends[1], last)


def test_a_step_of_the_flow_has_order_five_at_least():
    S, w = problem(3)
    layers, last, trained = net(3, 4, "mlp")
    reference = theory.gradient_flow(layers[None], last[None], S, w, 0.4, trained, tolerance=1e-13)[0][0]
    errors = []
    for steps in (16, 32, 64):
        at = (layers, last)
        for _ in range(steps):
            at, _ = theory.flow_step(*at, S, w, 0.4 / steps, trained)
        errors.append((at[0] - reference).norm())
    orders = [math.log2(a / b) for a, b in zip(errors[:-1], errors[1:], strict=True)]
    assert all(order > 4.7 for order in orders)


def test_the_drift_of_descent_is_linear_in_the_learning_rate():
    S, w = problem(4)
    layers, last, trained = net(4, 4, "mlp", 0.4)
    start = theory.balance(layers, last, trained)
    drifts = [
        theory.drift(start, *theory.descent(layers, last, S, w, lr, round(4 / lr), trained), trained)
        for lr in (0.01, 0.005)
    ]
    assert abs(drifts[0] / drifts[1] - 2) < 0.1


# Data.


def test_the_papers_design_has_its_numbers():
    task = LinearRegressionData(design="paper", seed=3).task(0)
    S, w = task["S"], task["w_star"]
    assert torch.allclose(torch.linalg.eigvalsh(S), torch.tensor(EIGENVALUES, dtype=DOUBLE), atol=1e-12)
    assert abs(theory.curvature(S, w) - 0.9328) < 5e-5 and abs(w.norm() - 1) < 1e-12
    assert abs(task["floor"] - FLOOR) < 1e-10
    assert abs(theory.chain_sharpness(S, w, 3) - 5.6602) < 5e-5
    assert abs(theory.lower_bound(S, w, 10) - 18.66) < 5e-3 and abs(theory.upper_line(S, 10) - 127.53) < 1e-2
    steps = [theory.largest_step(S, w, depth).item() for depth in (5, 10, 20, 40)]
    assert steps == pytest.approx([0.2144, 0.1072, 0.0536, 0.0268], abs=5e-5)


@pytest.mark.parametrize(("n", "dim"), [(50, 5), (15, 20)])
def test_gaussian_data_solve_least_squares(n, dim):
    data = LinearRegressionData(n=n, dim=dim, scales=[0.1, 0.2], samples=True)
    task = data.task(0)
    X, y, w = task["X"], task["y"], task["w_star"]
    assert abs(w.norm() - 1) < 1e-12 and torch.allclose(X.T @ X / n, task["S"])
    residual = X @ w - y
    assert (X.T @ residual).abs().max() < 1e-10 and abs(residual.square().mean() - task["floor"]) < 1e-12
    assert (task["floor"] < 1e-20) == (n < dim)
    assert task["X_test"].shape == X.shape and not torch.equal(task["X_test"], X)


def test_replicas_are_scales_and_turns():
    data = LinearRegressionData(scales=[0.1, 0.2, 0.3], shared=False)
    tasks = [data.task(r) for r in range(7)]
    assert [t["scale"].item() for t in tasks] == pytest.approx([0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1])
    assert [t["turn"].item() for t in tasks] == [0, 0, 0, 1, 1, 1, 2]
    assert torch.equal(tasks[0]["S"], tasks[2]["S"]) and not torch.equal(tasks[0]["S"], tasks[3]["S"])
    shared = LinearRegressionData(scales=[0.1, 0.2, 0.3])
    assert torch.equal(shared.task(0)["S"], shared.task(5)["S"])
    assert torch.equal(shared.task(0)["S"], LinearRegressionData(scales=[0.1]).task(4)["S"])


def test_bad_arguments_are_told():
    for options, says in (
        ({"design": "jax"}, "design='jax'"),
        ({"n": 0}, "n=0"),
        ({"noise": -1.0}, "noise=-1"),
        ({"scales": []}, "scales"),
        ({"design": "paper", "dim": 4}, "paper's design"),
        ({"design": "paper", "samples": True}, "no test set"),
    ):
        with pytest.raises(ValueError, match=says):
            LinearRegressionData(**options)
    for options, says in (
        ({"kind": "conv"}, "kind='conv'"),
        ({"activation": "relu"}, "activation='relu'"),
        ({"kind": "residual", "activation": "gelu"}, "no activation"),
        ({"depth": 1}, "depth=1"),
        ({"lr": []}, "lr="),
        ({"lr": [0.1, -1.0]}, "positive"),
    ):
        with pytest.raises(ValueError, match=says):
            GradientDescent(**options)
    with pytest.raises(ValueError, match="scale=-1"):
        DeepLinear(dim=2, depth=2, scale=-1.0)
    with pytest.raises(ValueError, match="activation must be none"):
        GradientFlow(activation="gelu")
    with pytest.raises(ValueError, match="set data.samples"):
        GradientDescent(activation="gelu").build(generator(), LinearRegressionData().task(0))


# Modules.


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_descent_and_all_that_is_measured(kind):
    data = LinearRegressionData(dim=3, n=9, scales=[0.4, 0.8], samples=True)
    module = GradientDescent(depth=4, kind=kind, lr=[0.05, 0.1], replicas=4, log_every=1)
    networks, task, history = fit(module, data, 1).result()
    assert history.last("scale").tolist() == [0.4, 0.8, 0.4, 0.8]
    assert history.last("lr").tolist() == [0.05, 0.05, 0.1, 0.1]
    for r in range(4):
        start = module.build(generator_of(module, r), data.task(r)).double()
        layers, last, S, w = start.layers.detach(), start.last.detach(), task["S"][r], task["w_star"][r]
        flat = Flat(layers, last, S, w, start.trains_last)
        expected = flat.split(flat.at - history.last("lr")[r] * grad(flat.risk)(flat.at))
        one = networks.one(r)
        assert torch.allclose(one.layers, expected[0], atol=1e-13) and torch.allclose(one.last, expected[1], atol=1e-13)
        top = torch.linalg.eigvalsh(flat.hessian())[-1]
        assert torch.allclose(history.at("sharpness", 0)[r], top, rtol=1e-4)
        p = one.product()
        X, y = task["X"][r], task["y"][r]
        found = {name: history.last(name)[r] for name in history.metrics}
        assert torch.allclose(found["distance"], (p - w).square().sum())
        assert torch.allclose(found["loss"], (X @ p - y).square().mean())
        assert torch.allclose(found["test_loss"], (task["X_test"][r] @ p - task["y_test"][r]).square().mean())
        drift = theory.drift(theory.balance(layers, last, start.trains_last), one.layers, one.last, start.trains_last)
        assert torch.allclose(found["drift"], drift) and history.at("drift", 0)[r] == 0
        assert found["diverged"] == 0


def generator_of(module, replica):
    from datamodules.stream import generator

    return generator(module.system, module.seed, "init", replica)


def test_residual_networks_share_q_unless_it_is_redrawn():
    for redraw in (False, True):
        module = GradientDescent(depth=3, kind="residual", redraw=redraw, replicas=3)
        networks, _, _ = fit(module, LinearRegressionData(), 1).result()
        q = networks.network.last
        assert torch.equal(q[0], q[1]) is not redraw and torch.allclose(q.norm(dim=1), torch.ones(3, dtype=DOUBLE))


def test_descent_ends_at_the_rank_one_minimum_and_below_the_edge():
    data = LinearRegressionData(design="paper", scales=[0.05, 0.5])
    networks, task, history = fit(
        GradientDescent(depth=3, lr=[0.05, 0.3], replicas=8, log_every=400), data, 1200
    ).result()
    S, w = task["S"][0], task["w_star"][0]
    small = (history.last("scale") == 0.05) & (history.last("lr") == 0.05)
    assert torch.allclose(history.last("sharpness")[small], theory.chain_sharpness(S, w, 3), rtol=1e-3)
    assert (history.last("alignment")[small] > 0.999).all()
    ended = history.last("distance") < 1e-6
    sharpness, lr = history.last("sharpness"), history.last("lr")
    assert ended.sum() >= 6 and (sharpness * lr / 2)[ended].max() < 1.01
    assert (sharpness[ended] > theory.lower_bound(S, w, 3)).all()
    tensors = networks.tensors()
    closed = theory.sharpness_at_minimum(tensors["layers"].detach(), tensors["last"].detach(), S, True)
    assert torch.allclose(closed[ended], sharpness[ended], rtol=1e-3)


def test_a_diverged_replica_is_reported_and_leaves_the_others_alone():
    alone = fit(GradientDescent(depth=4, replicas=1, lr=0.05), LinearRegressionData(scales=[0.3]), 40).result()
    pair = fit(GradientDescent(depth=4, replicas=2, lr=0.05), LinearRegressionData(scales=[0.3, 3.0]), 40).result()
    assert pair[2].last("diverged").tolist() == [0, 1]
    assert pair[2]["sharpness"][-1, 1].isnan() and pair[2]["sharpness"][-1, 0].isfinite()
    assert torch.allclose(pair[0].tensors()["layers"][0], alone[0].tensors()["layers"][0], atol=1e-13)


def test_the_module_of_the_flow_follows_the_flow():
    data = LinearRegressionData(design="paper", scales=[0.3, 0.5])
    module = GradientFlow(depth=4, lr=0.01, replicas=2, log_every=20)
    networks, task, history = fit(module, data, 200).result()
    nets = [module.build(generator_of(module, r), data.task(r)).double() for r in range(2)]
    start = [torch.stack([getattr(n, name).detach() for n in nets]) for name in ("layers", "last")]
    ends = theory.gradient_flow(*start, task["S"][0], task["w_star"][0], 2.0, True)
    assert torch.allclose(networks.tensors()["layers"], ends[0], atol=1e-5)
    assert history.last("drift").max() < 1e-4


def test_gelu_networks_train_on_their_samples():
    data = LinearRegressionData(n=12, dim=3, noise=0.0, samples=True)
    module = GradientDescent(depth=3, activation="gelu", lr=0.05, replicas=2, log_every=1)
    networks, task, history = fit(module, data, 2).result()
    network = module.build(generator_of(module, 1), data.task(1)).double()
    X, y = task["X"][1], task["y"][1]
    for step in range(3):
        loss = (network(X) - y).square().mean()
        assert torch.allclose(history.at("loss", step)[1], loss)
        parameters = list(network.parameters())
        flat = torch.cat([p.detach().flatten() for p in parameters])

        def risk(v, network=network):
            layers, last = v[:18].view(2, 3, 3), v[18:]
            return (gelu(gelu(X @ layers[0].T) @ layers[1].T) @ last - y).square().mean()

        ordered = torch.cat([network.layers.detach().flatten(), network.last.detach()])
        assert ordered.shape == flat.shape
        top = torch.linalg.eigvalsh(jacrev(grad(risk))(ordered))[-1]
        assert torch.allclose(history.at("sharpness", step)[1], top, rtol=1e-3, atol=1e-5)
        if step < 2:
            with torch.no_grad():
                for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                    parameter -= 0.05 * slope
    assert networks.one(0).activation == "gelu"


def test_the_law_works_under_vmap():
    S, w = problem(3)
    nets = [net(3, 4, "mlp", seed=seed) for seed in range(5)]
    layers, last = (torch.stack([n[i] for n in nets]) for i in range(2))
    batched = theory.descent_step(layers, last, S, w, 0.1, True)
    mapped = vmap(lambda a, b: theory.descent_step(a, b, S, w, 0.1, True))(layers, last)
    for one, other in zip(batched, mapped, strict=True):
        assert torch.allclose(one, other)


# Figures of sweeps, on tables made by hand.


def test_the_figures_of_sweeps_draw():
    scales, rates = [0.25, 0.4], [0.02, 0.1]
    rows = [(lr, s, r) for lr in rates for s in scales for r in range(3)]
    columns = {
        "model.lr": [lr for lr, _, _ in rows],
        "model.depth": [10 for _ in rows],
        "lr": [lr for lr, _, _ in rows],
        "scale": [s for _, s, _ in rows],
        "replica": [r for *_, r in rows],
        "distance": [1e-9 * (1 + r) for *_, r in rows],
        "loss": [1e-3 * (1 + r) for *_, r in rows],
        "sharpness": [20.0 + r for *_, r in rows],
        "diverged": [float(r == 2) for *_, r in rows],
    }
    table = Sweep("deep_linear", "mlp", ("model.lr",), "zoo sweep deep_linear/mlp --grid model.lr=0.02,0.1", columns)
    for draw in (figures.where_descent_ends, figures.divergence, figures.depth_and_rate, figures.gelu_sweep):
        assert draw(table).axes
