"""Neural ODEs with moving weights: nets against formulas, each step of the bound, penalties, digits, trainings."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from fitting import fit
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from test_images import write_mnist

from datamodules.digits import DigitsData
from datamodules.images import ImageData
from zoo.depth.processes import smooth_values
from zoo.history import NotMeasured, Run, history_of
from zoo.models.ode_generalization import theory
from zoo.models.ode_generalization.claims import (
    association,
    jumps_along,
    largest_jump,
    means,
    penalised,
    rank_correlation,
)
from zoo.models.ode_generalization.module import GapTraining
from zoo.models.ode_generalization.network import TimeDependentODE, TimeResNet
from zoo.weights import Record, write_weight

DOUBLE = torch.float64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def net(**changes) -> TimeResNet:
    arguments = {"d_in": 6, "d_out": 3, "width": 5, "depth": 9, "generator": generator()} | changes
    return TimeResNet(**arguments).double()


def ode(**changes) -> TimeDependentODE:
    return TimeDependentODE(**{"d": 4, "generator": generator()} | changes).double()


# Networks.


@torch.no_grad()
@pytest.mark.parametrize("weights", ["smooth", "normal", "constant", "tied"])
def test_the_network_is_its_formula(weights):
    network = net(weights=weights)
    x = torch.rand(4, 6, dtype=DOUBLE, generator=generator(2))
    for row, output in zip(x, network(x), strict=True):
        h = network.A @ row
        for k in range(9):
            h = h + network.W[0 if weights == "tied" else k] @ torch.relu(h) / 9
        torch.testing.assert_close(network.B @ h, output)
    every = list(network.states(x))
    assert len(every) == 10 and torch.allclose(every[-1] @ network.B.T, network(x))
    jump = theory.lipschitz(network.layers()).item()
    assert (jump == 0) == (weights in ("constant", "tied"))


def test_the_paper_s_parameter_counts():
    sizes = {"d_in": 784, "d_out": 10, "width": 30, "depth": 1000}
    for changes, trained, whole in (
        ({"projections": "trained"}, 923_820, 923_820),
        ({"projections": "random"}, 900_000, 923_820),
        ({"weights": "tied"}, 900, 24_720),
    ):
        network = TimeResNet(**sizes, **changes)
        assert sum(p.numel() for p in network.parameters()) == trained
        assert sum(t.numel() for t in network.state_dict().values()) == whole


def test_nets_of_one_seed_share_their_projections_and_depths_their_path():
    one, other, deep = net(), net(weights="tied"), net(depth=90)
    assert torch.equal(one.A, other.A) and torch.equal(one.B, deep.B)
    assert torch.allclose(one.W, deep.W[::10], atol=1e-5)


@pytest.mark.parametrize("weights", ["smooth", "tied"])
@pytest.mark.parametrize("memory", ["states", "checkpoint", "invert"])
def test_gradients_do_not_depend_on_the_memory(weights, memory):
    x = torch.rand(4, 6, dtype=DOUBLE)
    found = []
    for choice in ("autograd", memory):
        network = net(weights=weights, memory=choice, depth=30, projections="trained")
        network(x).sin().sum().backward()
        found.append([parameter.grad for parameter in network.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_the_residual_net_is_euler_s_method_and_tends_to_the_ode():
    fine = ode(steps=400, knots=9)
    x = torch.randn(5, 4, dtype=DOUBLE, generator=generator(3))
    errors = []
    for depth in (16, 32, 64, 128):
        residual = net(d_in=4, d_out=4, width=4, depth=depth)
        residual.A.copy_(torch.eye(4))
        residual.B.copy_(torch.eye(4))
        residual.W.copy_(fine.matrices(depth))
        euler = ode(steps=depth, knots=9, solver="euler")
        torch.testing.assert_close(residual(x), euler(x), rtol=1e-10, atol=1e-10)
        errors.append((residual(x) - fine(x)).norm())
    orders = [math.log2(coarse / finer) for coarse, finer in zip(errors, errors[1:], strict=False)]
    assert all(abs(order - 1) < 0.1 for order in orders)


@torch.no_grad()
def test_the_solver_has_order_four_between_the_knots():
    x = torch.randn(5, 4, dtype=DOUBLE, generator=generator(3))
    ends = [ode(fields="ridges", knots=3, steps=steps)(x) for steps in (4, 8, 16, 32, 256)]
    errors = [(end - ends[-1]).norm() for end in ends[:-1]]
    assert abs(math.log2(errors[0] / errors[-1]) / 3 - 4) < 0.3
    constant = ode(fields="ridges", knots=1)
    assert torch.equal(constant.parameters_at(0.0), constant.parameters_at(0.7))


@torch.no_grad()
@pytest.mark.parametrize("fields", ["entries", "ridges"])
def test_fields_are_lipschitz_and_theta_is_linear_between_knots(fields):
    network = ode(fields=fields, count=7)
    network.theta.zero_()
    x, y = torch.randn(2, 50, 4, dtype=DOUBLE, generator=generator(1))
    for i in range(network.theta.shape[1]):
        network.theta[:, i] = 1
        gaps = (network.velocity(0.3, x) - network.velocity(0.3, y)).norm(dim=1)
        assert (gaps <= (x - y).norm(dim=1) * (1 + 1e-6)).all()
        assert network.velocity(0.3, torch.zeros(1, 4, dtype=DOUBLE)).norm() <= 1 + 1e-6
        network.theta[:, i] = 0
    network.theta[3] = 1
    assert network.parameters_at(0.25)[0] == pytest.approx(0.5) and network.parameters_at(1.0)[0] == 0


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: net(weights="rough"), "smooth"),
        (lambda: net(projections="none"), "random"),
        (lambda: net(memory="x"), "autograd"),
        (lambda: net(depth=0), "depth"),
        (lambda: ode(solver="heun"), "rk4"),
        (lambda: ode(knots=0), "knots"),
        (lambda: ode(fields="ridges").matrices(3), "only entries"),
    ],
)
def test_networks_refuse(build, says):
    with pytest.raises(ValueError, match=says):
        build()


# Penalties.


def test_penalties_are_their_formulas():
    W = torch.randn(7, 3, 3, dtype=DOUBLE, generator=generator())
    steps = [W[k + 1] - W[k] for k in range(6)]
    largest, signed = ([f(step).max() for step in steps] for f in (torch.abs, lambda step: step))
    expected = {
        ("frobenius", False): math.sqrt(sum(step.square().sum() for step in steps)),
        ("frobenius", True): math.sqrt(sum(step.square().sum() for step in steps)),
        ("two-max", False): math.sqrt(sum(x**2 for x in largest)),
        ("two-max", True): math.sqrt(sum(x**2 for x in signed)),
        ("max-max", False): max(largest),
        ("max-max", True): max(signed),
    }
    for (kind, sign), value in expected.items():
        assert abs(theory.penalty(kind, W, sign) - value) < 1e-11
    assert theory.lipschitz(W) == max(largest) and theory.lipschitz(W, signed=True) == max(signed)
    with pytest.raises(ValueError, match="two-max"):
        theory.penalty("l1", W)


@pytest.mark.parametrize("kind", theory.PENALTIES)
@pytest.mark.parametrize("layers", [1, 5])
def test_constant_weights_have_no_penalty_and_no_gradient(kind, layers):
    W = torch.ones(layers, 3, 3, dtype=DOUBLE, requires_grad=True)
    value = theory.penalty(kind, W)
    assert value <= 1e-6 and theory.lipschitz(W) == 0
    if layers > 1:
        value.backward()
        assert (W.grad == 0).all()


@pytest.mark.parametrize("kind", theory.PENALTIES)
def test_a_strength_scaled_by_depth_weighs_a_smooth_path_alike(kind):
    values = [
        theory.strength(kind, 0.1, depth, 1000)
        * theory.penalty(kind, smooth_values(depth, (10, 10), 0.1, generator(), DOUBLE)).item()
        for depth in (100, 300, 1000)
    ]
    assert values == pytest.approx([values[-1]] * 3, rel=0.02)


# The bound, step by step.


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 30), st.floats(0.02, 0.5), st.floats(0.3, 3))
def test_a_zigzag_follows_every_lipschitz_function(seed, K, eps, R):
    # A K-Lipschitz function: linear with slopes in [-K, K], cut to [-R, R].
    random = np.random.default_rng(seed)
    times = np.sort(np.concatenate([[0.0, 1.0], random.random(12)]))
    values = np.cumsum(np.concatenate([[random.uniform(-R, R)], random.uniform(-K, K, 13) * np.diff(times)]))

    def f(t):
        return np.clip(np.interp(np.clip(t, 0, 1), times, values), -R, R)

    count = math.ceil(K / eps)
    path = theory.zigzag(torch.from_numpy(f(np.arange(count + 1) * eps / K)), K, eps)
    assert len(path.signs) == count and abs(path.start) <= R + eps
    t = torch.linspace(0, 1, 997, dtype=DOUBLE)
    assert (path(t) - torch.from_numpy(f(t.numpy()))).abs().max() <= eps * (1 + 1e-9)


@pytest.mark.parametrize("R", [0.5, 1.0, 3.7])
def test_no_more_zigzags_start_than_counted(R):
    eps = 0.1
    ends = torch.linspace(-R, R, 4001, dtype=DOUBLE)
    starts = {round(theory.zigzag(torch.stack([v, v]), 1.0, eps).start, 9) for v in ends}
    assert len(starts) <= R / eps + 2
    assert theory.log_zigzags(R, 2.0, eps) == pytest.approx(math.log((R / eps + 2) * 2**20))


@pytest.mark.parametrize("m", [1, 4, 900])
@pytest.mark.parametrize("K", [0.0, 3.0])
def test_the_cover_of_theta_is_one_of_each_coordinate(m, K):
    for eps in (0.001, 0.1):
        product = m * theory.log_zigzags(2.0, K, eps / (2 * m))
        assert product <= theory.log_cover(m, 2.0, K, eps) <= product + 2 * m * math.log(2)


@pytest.mark.parametrize("K", [0.0, 8.6])
def test_the_bound_is_the_deviation_with_its_root_split(K):
    n, m, R = 5000, 9, 2.0
    parts = theory.bound(n, m, R, K, delta=0.1)
    eps = n**-0.5
    whole = theory.deviation(n, theory.log_cover(m, R, K, eps), eps, 0.1)
    assert whole <= parts.sum <= math.sqrt(3) * whole
    roots = parts.logarithm**2 + parts.lipschitz**2 + parts.confidence**2
    assert math.sqrt(roots) + parts.cover == pytest.approx(whole)


def test_the_scale_is_the_sum_of_what_it_covers():
    x, y, R, K_f, M, K_loss = 1.5, 0.7, 2.0, 1.2, 0.4, 3.0
    direct = K_loss * (theory.sensitivity(x, R, K_f, M) + theory.reach(x, R, K_f, M) + y)
    assert theory.log_scale(x, y, R, K_f, M, K_loss) == pytest.approx(math.log(direct))
    assert theory.bound(100, 4, 5000.0, 1.0).log10 > 2000  # no overflow


@torch.no_grad()
def test_the_finite_class_bound_holds_with_its_probability():
    # 200 classifiers with a loss in [0, 1]: how often the largest deviation passes Hoeffding's line.
    n, count, delta = 50, 200, 0.2
    p = torch.rand(count, generator=generator(1), dtype=DOUBLE)
    line = theory.deviation(n, math.log(count), 0.0, delta)
    seen = torch.stack(
        [torch.binomial(torch.full((count,), float(n)), p.float(), generator=generator(s)) for s in range(400)]
    )
    assert ((p - seen / n).amax(1) > line).double().mean() < delta


@torch.no_grad()
def test_gronwall_is_sharp_for_one_linear_unit():
    # h' = R h with relu on positive numbers: |h_L - h'_L| comes close to the bound as R' tends to R.
    one = torch.full((200, 1, 1), 2.0, dtype=DOUBLE)
    x = torch.ones(1, 1, dtype=DOUBLE)
    residual = {"d_in": 1, "d_out": 1, "width": 1, "depth": 200}
    ends = []
    for W in (one, one * (1 - 1e-4)):
        network = TimeResNet(**residual).double()
        network.A.fill_(1.0)
        network.B.fill_(1.0)
        network.W.copy_(W)
        ends.append(network(x))
    ratio = (ends[0] - ends[1]).abs() / theory.residual_gap(x, one, one * (1 - 1e-4))
    assert 0.95 < ratio.item() <= 1


# Measures.


def test_ranks_are_scipy_s():
    x, y = torch.randn(2, 6, 7, dtype=DOUBLE, generator=generator())
    assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(x.flatten(), y.flatten()).statistic)


def test_the_largest_of_many_normals():
    draws = torch.randn(400, 900 * 3, generator=generator()).abs().amax(1) * math.sqrt(2 / 30)
    assert largest_jump(4) == pytest.approx(draws.median().item(), rel=0.02)


# Data.


def test_digits_are_split_once_and_an_epoch_sees_each_once():
    data = DigitsData(batch_size=100, seed=3)
    assert data.train.images.shape == (1437, 1, 8, 8) and len(data.test.labels) == 360
    whole = torch.cat([data.train.images, data.test.images]).flatten(1)
    assert whole.min() == 0 and whole.max() == 1 and len(whole.unique(dim=0)) == 1797
    batch = data.batches(0, 0, 30, 0, 1)
    assert batch["images"].shape == (30, 100, 1, 8, 8)
    for epoch in (batch["targets"][:15], batch["targets"][15:]):
        assert (epoch[:14] >= 0).all() and (epoch[14] >= 0).sum() == 37
        assert torch.equal(epoch[epoch >= 0].bincount(), data.train.labels.bincount())
    assert not torch.equal(batch["targets"][:14], batch["targets"][15:29])
    again = DigitsData(batch_size=100, seed=3).batches(0, 13, 17, 0, 1)
    assert torch.equal(again["images"], batch["images"][13:17])
    assert data.provenance()["samples"] == 1437


def test_ranks_share_a_batch_of_digits_evenly():
    data = DigitsData(batch_size=50)
    ours, theirs = (data.batches(0, 0, 15, rank, 2)["targets"] for rank in (0, 1))
    counts = [(one >= 0).sum(1) for one in (ours, theirs)]
    assert (counts[0] - counts[1]).abs().max() <= 1 and counts[0].sum() + counts[1].sum() == 1437
    both = torch.cat([ours, theirs])
    assert torch.equal(both[both >= 0].bincount(), data.train.labels.bincount())


# Training.

SMALL = {"width": 6, "depth": 8, "log_every": 12, "dtype": "float64"}


def test_strengths_are_trained_as_each_alone_from_one_start():
    together, task, history = fit(GapTraining(lams=[0, 0.5], seeds=2, **SMALL), DigitsData(), 24).result()
    assert together.count == 4 and task["lam"].tolist() == [0, 0, 0.5, 0.5]
    assert torch.equal(task["start"][:2], task["start"][2:]) and task["start"].shape == (4, 8)
    alone, _, one = fit(GapTraining(lams=[0.5], memory="checkpoint", **SMALL), DigitsData(), 24).result()
    for name, tensor in alone.tensors().items():
        assert torch.allclose(tensor[0], together.tensors()[name][2], atol=1e-9), name
    assert torch.allclose(one["gap"][-1, 0], history["gap"][-1, 2])
    assert history.last("roughness")[2] < history.last("roughness")[0]


def test_the_history_has_both_gaps_and_the_loss_without_its_penalty():
    module = fit(GapTraining(lams=[0.3], **SMALL), DigitsData(), 24)
    history = module.history
    assert history.steps.tolist() == [0, 12, 24]
    difference = history.last("val_loss") - history.last("running_loss")
    assert torch.allclose(history.last("gap"), difference)
    assert torch.allclose(history.last("gap_after"), history.last("val_loss") - history.last("train_loss"))
    assert (history.last("loss") > history.last("running_loss") + 0.01).all()
    networks, _, _ = module.result()
    data = DigitsData()
    for name, split in (("train_loss", data.train), ("val_loss", data.test)):
        loss = torch.nn.functional.cross_entropy(networks(split.images.double())[0], split.labels)
        assert history.last(name).item() == pytest.approx(loss.item(), rel=1e-6)
    assert history.last("signed_lipschitz") <= history.last("lipschitz")


def test_tied_and_constant_weights_train():
    for weights, projections in (("tied", "random"), ("constant", "trained")):
        options = SMALL | {"weights": weights, "projections": projections, "lams": [0.1]}
        networks, _, history = fit(GapTraining(**options), DigitsData(), 24).result()
        assert history.last("train_loss") < history.at("train_loss", 0)
        assert (history.last("lipschitz") == 0) == (weights == "tied")
        assert networks.tensors()["W"].shape == (1, 1 if weights == "tied" else 8, 6, 6)


def test_a_run_keeps_some_replicas_and_the_history_of_all():
    networks, task, history = fit(GapTraining(lams=[0, 1], seeds=2, kept=[0, 3], **SMALL), DigitsData(), 12).result()
    assert networks.count == 2 and task["replica"].tolist() == [0, 3] and history.replicas == 4


@pytest.mark.parametrize("kind", theory.PENALTIES)
def test_every_penalty_lowers_itself(kind):
    options = SMALL | {"penalty": kind, "lams": [0.0, 3.0], "lr": 0.005}
    networks, _, _ = fit(GapTraining(**options), DigitsData(), 24).result()
    free, held = (theory.penalty(kind, W) for W in networks.tensors()["W"])
    assert held < 0.9 * free


def test_strengths_follow_the_depth():
    module = GapTraining(depth=250, lams=[0, 0.1], reference_depth=1000)
    assert module.strengths == pytest.approx([0, 0.05]) and module.lams == [0, 0.1]
    assert GapTraining(depth=250, lams=[0.1]).strengths == [0.1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lr": 0}, "positive"),
        ({"lams": [-1.0]}, "negative"),
        ({"lams": []}, "at least 1"),
        ({"penalty": "l2"}, "frobenius"),
        ({"replicas": 3, "seeds": 2}, "lams and seeds"),
        ({"kept": [2], "seeds": 2}, "0 to 1"),
    ],
)
def test_training_refuses(changes, says):
    with pytest.raises(ValueError, match=says):
        GapTraining(**changes)


def test_claims_about_a_run_read_its_own_history(tmp_path):
    module = fit(GapTraining(lams=[0, 1], seeds=2, kept=[0, 3], **SMALL), DigitsData(), 60)
    networks, task, history = module.result()
    recipe = {"model": {"init_args": {"lams": [0, 1], "seeds": 2}}}
    record = Record(
        system="ode_generalization",
        tag="never_shipped",
        network="TimeResNet",
        arguments=networks.network.arguments,
        dtype="float64",
        replicas=2,
        origin="trained",
        command="zoo train",
        recipe=recipe,
    )
    weight = write_weight(tmp_path, networks, task, record)
    with pytest.raises(NotMeasured, match="never_shipped"):
        history_of(weight)
    run = Run(tmp_path, "ode_generalization", "never_shipped", recipe, history, weight)
    assert history_of(weight) is history
    gaps = means("gap")(weight)
    assert gaps == means("gap")(run)
    free, held = history.last("gap").reshape(2, 2).mean(1).tolist()
    assert gaps.value == pytest.approx([free]) and penalised(run).value == pytest.approx([free - held])
    assert math.isfinite(association(run).value)
    with pytest.raises(NotMeasured, match="5 epochs of 40"):
        jumps_along(run)


def test_mnist_is_trained_on(tmp_path):
    write_mnist(tmp_path, train=64, test=20)
    module = GapTraining(width=6, depth=8, log_every=8, probe=20)
    fit(module, ImageData(root=str(tmp_path), batch_size=8), 16)
    assert {"gap", "gap_after", "val_accuracy"} <= set(module.history.metrics)


def test_two_processes_share_a_batch(tmp_path, root):
    write_mnist(tmp_path, train=64, test=20)
    command = [sys.executable, "-m", "zoo", "train", "ode_generalization/mnist_ddp", "--wandb=off"]
    command += [f"--runs={tmp_path}/runs", f"--data.root={tmp_path}", "--data.batch_size=4", "--model.depth=10"]
    command += ["--model.width=5", "--model.log_every=8", "--trainer.max_steps=16", "--trainer.accelerator=cpu"]
    result = subprocess.run(
        command, cwd=root, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert list(tmp_path.glob("runs/ode_generalization/mnist_ddp/*/weights/*.safetensors"))
