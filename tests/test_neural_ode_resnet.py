"""Residual nets as neural ODEs: solvers against the trunk, statistics and bounds, data, trainings."""

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
from test_images import write_cifar, write_mnist

from datamodules.gaussian_pairs import SCRIPTS, GaussianPairsData, released
from datamodules.images import ImageData, moved
from zoo.depth.branches import OneMatrix, TwoMatrices
from zoo.depth.continuous import FIXED, METHODS, along, flow, interpolate, smooth_path
from zoo.depth.memory import peak_memory
from zoo.depth.processes import smooth_values
from zoo.depth.trunk import MEMORY, trunk
from zoo.history import NotMeasured, Run
from zoo.models.neural_ode_resnet import theory
from zoo.models.neural_ode_resnet.descent import as_released, clipped, descend, together
from zoo.models.neural_ode_resnet.module import NodeConvTraining, NodeDescent
from zoo.models.neural_ode_resnet.network import NeuralODEConvNet, NeuralODEResNet
from zoo.registry import ZooError
from zoo.weights import Record, write_weight

DOUBLE = torch.float64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def net(**changes) -> NeuralODEResNet:
    sizes = {"d_in": 4, "d_out": 3, "width": 6, "hidden": 8, "depth": 20, "init": "smooth", "generator": generator()}
    return NeuralODEResNet(**sizes | changes).double()


# The trunk's backward, and the continuous model.


@pytest.mark.parametrize("kind", [OneMatrix, TwoMatrices])
@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("lead", [(), (3,)])
def test_a_sweep_is_its_layers_one_after_the_other(kind, biases, lead):
    branch, key, factor = kind("gelu"), generator(1), torch.tensor(0.3, dtype=DOUBLE)
    shapes = [(5, 5), (5,)] if kind is OneMatrix else [(5, 7), (7, 5), (5,), (7,)]
    shapes = shapes if biases else shapes[: len(shapes) // 2]
    theta = [torch.randn(6, *lead, *shape, generator=key, dtype=DOUBLE) for shape in shapes]
    path, g = (
        torch.randn(6, *lead, 4, 5, generator=key, dtype=DOUBLE),
        torch.randn(*lead, 4, 5, generator=key, dtype=DOUBLE),
    )
    found, *gradients = branch.sweep(g, path, factor, *theta)
    for k in reversed(range(6)):
        through, *own = branch.pullback(g * factor, path[k], *(one[k] for one in theta))
        g = g + through
        for stack, one in zip(gradients, own, strict=True):
            torch.testing.assert_close(stack[k], one, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found, g, rtol=1e-12, atol=1e-12)


def test_nothing_is_kept_where_no_gradient_is_wanted():
    theta = [one.repeat(50, 1, 1) for one in weights(2)]
    h = torch.randn(30, 5, dtype=DOUBLE)
    with torch.no_grad():
        peak = peak_memory(lambda: trunk(TwoMatrices("gelu"), h, theta, 0.01, "states"))
    assert peak < 12 * h.numel() * 8


def weights(layers: int, dtype=DOUBLE):
    key = generator(1)
    return [torch.randn(layers, *shape, generator=key, dtype=dtype) / 3 for shape in ((5, 7), (7, 5))]


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("layers", [1, 7, 100])
def test_euler_on_constant_weights_is_the_trunk(layers, dtype):
    branch, theta = TwoMatrices("gelu"), [one.requires_grad_() for one in weights(layers, dtype)]
    h = torch.randn(3, 5, generator=generator(2), dtype=dtype)
    ours = trunk(branch, h, theta, 1 / layers, "states")
    theirs = flow(branch, h, theta, method="euler", interpolation="constant")
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    pairs = (torch.autograd.grad(one.sin().sum(), theta) for one in (ours, theirs))
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_interpolation_passes_through_its_points():
    theta = [torch.tensor([1.0, 3.0, 0.0, 4.0])]
    constant, linear = interpolate(theta, "constant"), interpolate(theta, "linear")
    assert [constant(s)[0].item() for s in (0.0, 0.2, 0.25, 0.6, 0.99, 1.0)] == [1, 1, 3, 0, 4, 4]
    assert [linear(s)[0].item() for s in (0.0, 0.125, 0.25, 0.375, 0.75, 1.0)] == [1, 2, 3, 1.5, 4, 4]
    with pytest.raises(ValueError, match="linear"):
        interpolate(theta, "cubic")


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_solvers_have_their_order(method, order):
    path = smooth_path(((5, 7), (7, 5)), 0.8, generator(3), DOUBLE)
    h = torch.randn(2, 5, generator=generator(4), dtype=DOUBLE)
    exact = along(TwoMatrices("tanh"), h, path, 0.3, rtol=1e-11, atol=1e-13)
    steps = [8, 16, 32]
    errors = [(along(TwoMatrices("tanh"), h, path, 0.3, method=method, steps=n) - exact).norm().item() for n in steps]
    assert abs(np.polyfit(np.log(steps), np.log(errors), 1)[0] + order) < 0.25


def test_a_smooth_path_is_the_process():
    path = smooth_path(((3, 2),), 0.2, generator(5), DOUBLE)
    values = smooth_values(10, (3, 2), 0.2, generator(5), DOUBLE)
    for k in range(10):
        torch.testing.assert_close(path(k / 10)[0], values[k], rtol=1e-12, atol=1e-12)


def test_the_adjoint_converges_to_the_gradient():
    branch, theta = TwoMatrices("tanh"), [one.requires_grad_() for one in weights(12)]
    h = torch.randn(3, 5, generator=generator(6), dtype=DOUBLE)
    errors = []
    for steps in (24, 48, 96):
        found = []
        for adjoint in (False, True):
            output = flow(branch, h, theta, method="rk4", steps=steps, adjoint=adjoint)
            found.append(torch.autograd.grad(output.sin().sum(), theta))
        errors.append(max((one - other).abs().max().item() for one, other in zip(*found, strict=True)))
    assert errors[0] / errors[1] > 12 < errors[1] / errors[2] and errors[2] < 1e-6


def test_solvers_are_refused_in_a_sentence(monkeypatch):
    theta, h = weights(3), torch.zeros(2, 5, dtype=DOUBLE)
    with pytest.raises(ValueError, match="choose one of dopri5"):
        flow(TwoMatrices("tanh"), h, theta, method="leapfrog")
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    with pytest.raises(ZooError, match=r"pip install -e '\.\[depth\]'"):
        flow(TwoMatrices("tanh"), h, theta)


# Networks.


@torch.no_grad()
@pytest.mark.parametrize("scaled", [False, True])
def test_the_network_is_its_formula(scaled):
    network = net(scaled=scaled)
    x = torch.randn(3, 4, generator=generator(7), dtype=DOUBLE)
    inner, outer = (math.sqrt(6), math.sqrt(8)) if scaled else (1.0, 1.0)
    for row, output in zip(x, network(x), strict=True):
        h = torch.cat([row, torch.zeros(2, dtype=DOUBLE)])
        for V, W in zip(network.V, network.W, strict=True):
            h = h + V @ torch.nn.functional.gelu(W @ h / inner) / (20 * outer)
        torch.testing.assert_close(output, h[-3:], rtol=1e-12, atol=1e-12)
    assert len(list(network.states(x))) == 21


@torch.no_grad()
def test_starts():
    x = torch.randn(3, 4, generator=generator(7), dtype=DOUBLE)
    for init in ("tied", "iid"):
        network = net(init=init)
        assert (network.V == 0).all() and torch.equal(network(x)[:, :1], x[:, 3:])
        assert bool((network.W.diff(dim=0) == 0).all()) == (init == "tied")
    smooth = net(depth=400)
    assert theory.roughness(smooth.W) < 0.02 < 0.6 < theory.roughness(net(init="iid", depth=400).W)
    frozen = net(trains_ends=False)
    assert {name for name, _ in frozen.named_parameters()} == {"V", "W"}
    assert torch.equal(frozen.A, net().A)


@pytest.mark.parametrize("memory", MEMORY)
def test_gradients_do_not_depend_on_the_memory(memory):
    x = torch.randn(5, 4, generator=generator(8), dtype=DOUBLE)
    found = []
    for choice in ("autograd", memory):
        network = net(memory=choice)
        network(x).sin().sum().backward()
        found.append([parameter.grad for parameter in network.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_depth_leads_to_the_ode():
    x = torch.randn(5, 4, generator=generator(8), dtype=DOUBLE)
    depths, errors = [32, 64, 128, 256], []
    for depth in depths:
        discrete = net(depth=depth, solver="trunk")
        continuous = net(depth=depth, solver="dopri5")
        errors.append((discrete(x) - continuous(x)).norm().item())
    assert abs(np.polyfit(np.log(depths), np.log(errors), 1)[0] + 1) < 0.05


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"init": "zero"}, "tied"),
        ({"solver": "leapfrog"}, "trunk"),
        ({"memory": "x"}, "autograd"),
        ({"interpolation": "x"}, "linear"),
        ({"activation": "x"}, "gelu"),
        ({"width": 3}, "width"),
        ({"depth": 0}, "depth"),
    ],
)
def test_networks_refuse(changes, says):
    with pytest.raises(ValueError, match=says):
        net(**changes)


def test_the_convolutional_net_is_the_released_one():
    network = NeuralODEConvNet(depth=256)
    assert sum(p.numel() for p in network.parameters()) == 1_206_106
    network = NeuralODEConvNet(depth=3, channels=4, generator=generator()).double()
    with torch.no_grad():
        for name, one in network.named_parameters():
            if name.startswith(("gain", "shift")):
                one.normal_(generator=generator(1))
    x = torch.rand(6, 3, 32, 32, generator=generator(2), dtype=DOUBLE)
    mean, deviation = (
        torch.tensor(v).double()[:, None, None] for v in ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.201))
    )

    def layer(cls, *sizes, **tensors):
        made = cls(*sizes).double()
        made.load_state_dict(made.state_dict() | {name: one.detach() for name, one in tensors.items()})
        return made

    for training in (False, True):
        network.train(training)
        h = torch.nn.functional.conv2d((x - mean) / deviation, network.stem, stride=3, padding=1)
        assert h.shape == (6, 4, 10, 10)
        norm = layer(torch.nn.BatchNorm2d, 4).train(training)
        h = torch.relu(norm(h))
        for k in range(3):
            inside = h
            for i in "12":
                conv = torch.nn.Conv2d(4, 4, 3, padding=1).double()
                conv.load_state_dict(
                    {"weight": getattr(network, f"conv{i}")[k], "bias": getattr(network, f"bias{i}")[k]}
                )
                gain, shift = getattr(network, f"gain{i}")[k], getattr(network, f"shift{i}")[k]
                norm = layer(torch.nn.BatchNorm2d, 4, weight=gain, bias=shift).train(training)
                inside = norm(conv(inside))
                inside = torch.nn.functional.gelu(inside) if i == "1" else inside
            h = h + inside / 3
        expected = torch.nn.functional.avg_pool2d(h, 4).flatten(1) @ network.head.T + network.head_bias
        torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(network.mean2[2], norm.running_mean, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(network.variance2[2], norm.running_var, rtol=1e-5, atol=1e-7)


@torch.no_grad()
def test_convolutional_starts():
    x = torch.rand(2, 3, 32, 32, generator=generator(2))
    for init in ("tied", "iid"):
        for norm in (True, False):
            network = NeuralODEConvNet(depth=5, channels=4, init=init, norm=norm, generator=generator())
            assert bool((network.conv1.diff(dim=0) == 0).all()) == (init == "tied")
            h = torch.nn.functional.conv2d((x - network.mean) / network.deviation, network.stem, stride=3, padding=1)
            h = torch.relu(h / math.sqrt(1 + 1e-5))
            expected = torch.nn.functional.avg_pool2d(h, 4).flatten(1) @ network.head.T + network.head_bias
            torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-5)  # branches start at zero
    assert not network.training
    with pytest.raises(ValueError, match="memory"):
        NeuralODEConvNet(depth=2, memory="checkpoint")
    with pytest.raises(ValueError, match="smooth"):
        NeuralODEConvNet(depth=2, init="smooth")


@pytest.mark.parametrize("memory", ["states", "checkpoint", "invert"])
def test_convolutions_without_normalisation_have_every_memory(memory):
    x = torch.rand(2, 3, 32, 32, generator=generator(2), dtype=DOUBLE)
    found = []
    for choice in ("autograd", memory):
        network = NeuralODEConvNet(depth=14, channels=3, norm=False, memory=choice, generator=generator()).double()
        with torch.no_grad():
            network.conv2.normal_(generator=generator(1)).mul_(0.1)
        network(x).sin().sum().backward()
        found.append([parameter.grad for parameter in network.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


# Statistics and closed forms.


def test_jumps_and_their_sum():
    V, W = torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]], [[3.0, 4.0]]]), torch.tensor([[[0.0]], [[1.0]], [[8.0]]])
    assert theory.largest_jump(V, W) == 7 and theory.largest_jump(V) == 5
    assert theory.squared_jumps(V) == 25 and theory.squared_jumps(W) == 50


def test_roughness_tells_noise_from_a_path():
    noise = torch.randn(4000, 50, generator=generator(), dtype=DOUBLE)
    assert abs(theory.roughness(noise).item() - math.sqrt(0.5)) < 0.01
    slopes = [theory.roughness(torch.linspace(0, 1, n, dtype=DOUBLE).cos()[:, None]).item() for n in (50, 100, 200)]
    assert abs(np.polyfit(np.log([50, 100, 200]), np.log(slopes), 1)[0] + 1) < 0.03
    assert theory.roughness(torch.ones(5, 2)) == 0


@settings(max_examples=25, deadline=None)
@given(power=st.integers(0, 5), seed=st.integers(0, 100))
def test_distances_between_depths(power, seed):
    fine = torch.randn(32, 3, generator=generator(seed), dtype=DOUBLE)
    coarse = torch.randn(2**power, 3, generator=generator(seed + 1), dtype=DOUBLE)
    s = (torch.arange(320) + 0.5) / 320  # the integral of a step function
    values = [one[(s * len(one)).long()] for one in (coarse, fine)]
    expected = (values[0] - values[1]).square().sum(1).mean().sqrt()
    torch.testing.assert_close(theory.depth_distance(coarse, fine), expected)
    if power == 5:
        torch.testing.assert_close(theory.released_distance(coarse, fine), expected)


@pytest.mark.parametrize("entries", [1, 4, 30])
def test_the_tail_of_a_normal_matrix(entries):
    tail, bound = theory.norm_confidence(entries)
    draws = torch.randn(200_000, entries, generator=generator(), dtype=DOUBLE).norm(dim=1)
    assert abs((draws > 2 * math.sqrt(entries)).double().mean().item() - tail) < 1e-3
    assert tail <= bound
    assert theory.norm_bound(3.0, 0.5, 4, 9) == 1.5 + 12


def test_the_lojasiewicz_ratio_is_its_definition():
    a, Z = torch.tensor([2.0], dtype=DOUBLE), torch.tensor([[1.0], [3.0]], dtype=DOUBLE)
    ratio, value = theory.lojasiewicz_ratio(lambda a, Z: (a * Z.prod()).square().sum(), [a], [Z])
    # value (2.3)^2 = 36; derivatives 2.6.(3, 6, 2)
    assert value == 36 and abs(ratio - (36**2 + 2 * (72**2 + 24**2)) / 36) < 1e-10
    assert theory.convergence_rate(4, 9) == 1 / 24


@settings(max_examples=8, deadline=None)
@given(depth=st.integers(1, 30), target=st.floats(1.1, 3.0))
def test_the_scalar_counter_example(depth, target):
    found, limit = theory.train_scalar(depth, target, lr=0.05, steps=4000), theory.scalar_limit(depth, target)
    assert torch.equal(found.end[::2], found.start[::2])
    assert (found.end[1::2] - limit).abs().max() < 1e-6 and limit >= 2 * math.log(target) - 1e-12
    assert (1 + found.end.clamp(min=0) / (2 * depth)).prod() == pytest.approx(target)


def test_the_scalar_gradient_is_that_of_autograd():
    w = theory.train_scalar(3, 2.0, steps=2, lr=0.1).end.requires_grad_()
    h = torch.ones((), dtype=DOUBLE)
    for one in w:
        h = h + torch.relu(one * h) / 6
    (slope,) = torch.autograd.grad((h - 2).square(), w)
    after = theory.train_scalar(3, 2.0, steps=3, lr=0.1).end
    torch.testing.assert_close(w.detach() - 0.1 * 6 * slope, after)


# Data and descent.


@pytest.mark.parametrize("name", list(SCRIPTS))
def test_released_draws(name):
    script = SCRIPTS[name]
    torch.manual_seed(script.seed)
    inner = torch.randn(16, script.hidden)
    if name == "figure_2":
        torch.randn(16, 16)
    x, y = torch.randn(script.n, 16), torch.randn(script.n, 16)
    assert all(map(torch.equal, released(name), (inner.T, x, y)))
    task = GaussianPairsData(n=script.n, draws=name).task(0)
    assert torch.equal(task["x"], x) and torch.equal(task["inner"], inner.T)


def test_fresh_pairs():
    one, shared = GaussianPairsData(n=2000, dim=3, shared=False), GaussianPairsData(n=2000, dim=3)
    x, y = (one.task(0)[name] for name in "xy")
    assert torch.corrcoef(torch.cat([x, y], 1).T).sub(torch.eye(6)).abs().max() < 0.08
    assert not torch.equal(one.task(1)["x"], x) and torch.equal(shared.task(1)["x"], shared.task(0)["x"])
    for options, says in (
        ({"n": 0}, "at least 1"),
        ({"draws": "figure_9"}, "fresh"),
        ({"draws": "figure_2", "n": 7}, "n=50"),
    ):
        with pytest.raises(ValueError, match=says):
            GaussianPairsData(**options)


def test_images_are_moved_and_mirrored():
    images = torch.randint(1, 256, (40, 3, 8, 6), generator=generator(), dtype=torch.uint8)
    found = moved(images, generator(1), by=2)
    assert found.shape == images.shape and found.dtype == torch.uint8
    padded = torch.nn.functional.pad(images, (2,) * 4)
    seen = set()
    for image, wide in zip(found, padded, strict=True):
        places = [
            (i, j, flip)
            for i in range(5)
            for j in range(5)
            for flip in (False, True)
            if torch.equal(image.flip(-1) if flip else image, wide[:, i : i + 8, j : j + 6])
        ]
        assert len(places) == 1
        seen |= set(places)
    assert len(seen) > 20


def test_augmented_batches_are_a_function_of_the_step(tmp_path):
    write_cifar(tmp_path)
    options = {"root": str(tmp_path), "name": "cifar-10", "batch_size": 5, "cache": str(tmp_path / "cache")}
    data, plain = ImageData(**options, augment=True), ImageData(**options)
    whole = data.batches(0, 0, 4, 0, 1)
    assert torch.equal(whole["images"][2:3], ImageData(**options, augment=True).batches(0, 2, 3, 0, 1)["images"])
    assert torch.equal(whole["targets"], plain.batches(0, 0, 4, 0, 1)["targets"])
    assert not torch.equal(whole["images"], plain.batches(0, 0, 4, 0, 1)["images"])
    one, other = (data.batches(0, 0, 1, rank, 2)["images"] for rank in (0, 1))
    assert not torch.equal(one, other)


def test_jumps_fall_as_one_over_the_depth():
    inner, x, y = released("figure_1_left")
    nets = {depth: as_released(inner, depth) for depth in (8, 16, 32)}
    for _ in together(nets, x, y, lr=0.01, steps=10):
        pass
    sizes = [theory.largest_jump(one.V.detach(), one.W.detach()).item() for one in nets.values()]
    assert abs(np.polyfit(np.log([8, 16, 32]), np.log(sizes), 1)[0] + 1) < 0.05


def test_clipping_is_a_projection():
    gradients = torch.randn(2, 3, 4, 5, generator=generator(), dtype=DOUBLE)
    found = clipped(gradients, 4.0)
    norms = gradients.norm(dim=(-2, -1))
    torch.testing.assert_close(found.norm(dim=(-2, -1)), norms.clamp(max=4.0))
    assert torch.equal(found[norms <= 4], gradients[norms <= 4]) and 0 < (norms <= 4).sum() < 6


# Training.


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_the_module_is_the_descent(clip):
    data = GaussianPairsData(n=12, dim=5)
    options = {
        "hidden": 7,
        "depth": 6,
        "scaled": True,
        "trains_ends": True,
        "lr": 0.2,
        "clip": clip,
        "dtype": "float64",
    }
    networks, task, history = fit(NodeDescent(**options, log_every=5), data, 20).result()
    network = NeuralODEResNet(
        d_in=5, d_out=5, width=5, hidden=7, depth=6, memory="states", generator=generator()
    ).double()
    with torch.no_grad():
        network.W.copy_(task["start"][0].expand_as(network.W))
    for step, loss in descend(network, task["x"][0], task["y"][0], lr=0.2, steps=20, clip=clip):
        if step % 5 == 0:
            assert history.at("risk", step).item() == pytest.approx(loss, rel=1e-9)
    for name, tensor in network.named_parameters():
        torch.testing.assert_close(networks.tensors()[name][0], tensor, rtol=1e-9, atol=1e-12)
    assert history.last("jump_V").item() == pytest.approx(theory.largest_jump(network.V).item())


@pytest.mark.parametrize(
    "options", [{"memory": "invert"}, {"memory": "checkpoint"}, {"solver": "euler", "interpolation": "constant"}]
)
def test_every_way_through_depth_trains_the_same_network(options):
    data = GaussianPairsData(n=12, dim=5)
    common = {"hidden": 7, "depth": 10, "lr": 0.1, "dtype": "float64", "log_every": 10}
    reference, _, history = fit(NodeDescent(**common), data, 20).result()
    networks, _, _ = fit(NodeDescent(**common, **options), data, 20).result()
    for name in "VW":
        torch.testing.assert_close(networks.tensors()[name], reference.tensors()[name], rtol=1e-8, atol=1e-10)
    assert history.last("risk")[0] < history.at("risk", 0)[0]


def test_the_adjoint_trains():
    data = GaussianPairsData(n=12, dim=5)
    options = {"hidden": 7, "depth": 10, "lr": 0.1, "solver": "rk4", "adjoint": True, "log_every": 10}
    _, _, history = fit(NodeDescent(**options), data, 20).result()
    assert history.last("loss")[0] < history.at("loss", 10)[0]


def test_replicas_are_their_seeds():
    data = GaussianPairsData(n=12, dim=5)
    options = {"hidden": 7, "depth": 6, "init": "iid", "lr": 0.1, "dtype": "float64", "log_every": 10}
    together, task, _ = fit(NodeDescent(**options, replicas=2), data, 10).result()
    alone, _, _ = fit(NodeDescent(**options), data, 10).result()
    torch.testing.assert_close(alone.tensors()["V"][0], together.tensors()["V"][0], rtol=1e-9, atol=1e-12)
    assert not torch.equal(together.tensors()["W"][0], together.tensors()["W"][1]) and task["start"].shape == (2, 7, 5)


def test_released_draws_train_the_released_net():
    data = GaussianPairsData(n=50, draws="figure_2")
    _, _, history = fit(NodeDescent(hidden=64, depth=8, log_every=1), data, 2).result()
    assert history.at("risk", 0).item() == pytest.approx(1.88275, abs=1e-4)
    with pytest.raises(ValueError, match="hidden=64"):
        fit(NodeDescent(hidden=32, depth=8), data, 2)


def test_modules_refuse():
    for options, says in (
        ({"lr": 0.0}, "positive"),
        ({"clip": -1.0}, "clip"),
        ({"replicas": 2, "memory": "invert"}, "replicas"),
        ({"replicas": 2, "solver": "rk4"}, "replicas"),
        ({"init": "x"}, "tied"),
    ):
        with pytest.raises(ValueError, match=says):
            NodeDescent(**options)
    for options, says in (({"lr": 0.0}, "positive"), ({"replicas": 2}, "one replica"), ({"init": "x"}, "tied")):
        with pytest.raises(ValueError, match=says):
            NodeConvTraining(**options)


@pytest.fixture
def pictures(tmp_path) -> ImageData:
    write_cifar(tmp_path)
    cache = str(tmp_path / "cache")
    return ImageData(root=str(tmp_path), name="cifar-10", batch_size=10, cache=cache, augment=True)


@pytest.mark.parametrize("norm", [True, False])
def test_convolutions_train(pictures, norm):
    memory = "autograd" if norm else "checkpoint"
    options = {"depth": 3, "channels": 4, "norm": norm, "memory": memory, "log_every": 10, "decay_over": 40}
    module = fit(NodeConvTraining(**options), pictures, 30)
    networks, _, history = module.result()
    assert history.last("loss")[0] < history.at("loss", 10)[0]
    assert {"jump_1", "roughness_2", "val_accuracy", "val_loss"} <= set(history.metrics)
    assert not networks.one(0).training
    if norm:
        assert (networks.tensors()["variance1"] != 1).all() and (networks.tensors()["gain2"] != 0).any()
    assert module.learning_rate(0) == 4e-2 and abs(module.learning_rate(20) - 2e-2) < 1e-12
    assert module.learning_rate(40) == module.learning_rate(100) == 0


def test_images_of_another_size_are_refused(tmp_path):
    write_mnist(tmp_path, train=64, test=20)
    with pytest.raises(ValueError, match="3 x 32 x 32"):
        fit(NodeConvTraining(depth=2, channels=4), ImageData(root=str(tmp_path), batch_size=8), 2)


def test_two_processes_share_a_batch(tmp_path, root):
    write_cifar(tmp_path)
    command = [sys.executable, "-m", "zoo", "train", "neural_ode_resnet/cifar_ddp", "--wandb=off"]
    command += [f"--runs={tmp_path}/runs", f"--data.root={tmp_path}", f"--data.cache={tmp_path}/cache"]
    command += ["--data.batch_size=5", "--model.depth=3", "--model.channels=4", "--model.log_every=2"]
    command += ["--trainer.max_steps=4", "--trainer.accelerator=cpu"]
    result = subprocess.run(
        command, cwd=root, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert list(tmp_path.glob("runs/neural_ode_resnet/cifar_ddp/*/weights/*.safetensors"))


def test_methods_are_torchdiffeq_s():
    assert set(FIXED) < set(METHODS)
    h = torch.ones(1, 5, dtype=DOUBLE)
    exact = flow(TwoMatrices("tanh"), h, weights(4), rtol=1e-8, atol=1e-10)
    for method in METHODS:
        found = flow(TwoMatrices("tanh"), h, weights(4), method=method, steps=200, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(found, exact, rtol=2e-2, atol=2e-2)


# Claims and figures.


def test_claims_on_weights_and_figures(tmp_path):
    from zoo.models.neural_ode_resnet import claims, figures
    from zoo.sweeps import Sweep

    def run(depth: int, init: str = "tied") -> Run:
        data = GaussianPairsData(n=8, dim=4)
        module = fit(NodeDescent(hidden=5, depth=depth, lr=0.3, init=init, log_every=20), data, 60)
        networks, task, history = module.result()
        record = Record(
            "neural_ode_resnet",
            f"{init}{depth}",
            "NeuralODEResNet",
            networks.network.arguments,
            "float32",
            1,
            "trained",
            "",
        )
        weight = write_weight(tmp_path, networks, task, record)
        return Run(tmp_path, record.system, record.tag, {}, history, weight)

    runs = {one.weight.name: one for one in (run(8), run(16), run(32), run(32, "iid"))}
    ladder, (smooth, rough) = (
        [one.weight for one in list(runs.values())[:3]],
        [one.weight for one in list(runs.values())[2:]],
    )
    with pytest.raises(NotMeasured, match="above 0.1"):
        claims.first_below(smooth)
    assert abs(np.array(claims.halving(*ladder).value) - 2).max() < 0.3
    assert max(claims.roughness_of(smooth)) < 0.3 < 0.5 < min(claims.roughness_of(rough))
    assert min(claims.ratio_of_jumps(smooth, rough)) > 5
    risks = claims.losses(*ladder)
    assert risks[2] == pytest.approx(runs[smooth.name].history.last("risk").item(), rel=1e-4)
    assert len(figures.limits_commute(*ladder).axes) == 3 and len(figures.tied_and_independent(smooth, rough).axes) == 2
    assert len(figures.of_a_run(runs[smooth.name]).axes) == 3
    table = Sweep.of_runs(
        "neural_ode_resnet",
        "finite_time",
        "",
        [({"model.depth": depth}, runs[f"neural_ode_resnet.tied{depth}"]) for depth in (8, 16, 32)],
    )
    assert figures.jumps_of_a_sweep(table).axes[0].get_xlabel() == "depth $L$"
