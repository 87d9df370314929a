"""Depth as time: processes against their covariances, residual trunks against each other in gradients and memory."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import grad, vmap

from zoo.depth.branches import ACTIVATIONS, OneMatrix, TwoMatrices
from zoo.depth.memory import peak_memory
from zoo.depth.processes import (
    PROCESSES,
    autocovariance,
    circulant_spectrum,
    draw,
    fractional_noise,
    smooth_features,
    smooth_values,
    white_spectrum,
)
from zoo.depth.regularity import jumps, total_variation
from zoo.depth.trunk import MEMORY, states, trunk

DOUBLE = torch.float64
FLAT = tuple(memory for memory in MEMORY if memory != "autograd")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Processes.


@pytest.mark.parametrize("process", PROCESSES)
def test_every_process_has_mean_zero_and_variance_one_at_every_layer(process):
    values = draw(process, 12, (40_000,), hurst=0.7, generator=generator(), dtype=DOUBLE)
    assert values.shape == (12, 40_000)
    assert values.mean(1).abs().max() < 0.02 and (values.var(1) - 1).abs().max() < 0.03
    again = draw(process, 12, (40_000,), hurst=0.7, generator=generator(), dtype=DOUBLE)
    assert torch.equal(values, again)
    assert draw(process, 5, (2, 3), generator=generator()).dtype == torch.float32


@pytest.mark.parametrize("process", ["uniform", "normal"])
def test_independent_layers_are_independent(process):
    values = draw(process, 6, (60_000,), generator=generator(), dtype=DOUBLE)
    assert (values @ values.T / 60_000 - torch.eye(6).double()).abs().max() < 0.02


@settings(max_examples=40, deadline=None)
@given(layers=st.integers(1, 40), hurst=st.floats(0.02, 0.98))
def test_fractional_noise_has_exactly_its_covariance(layers, hurst):
    # White noise e_i for every i gives the columns of the circulant root, whose product is the covariance.
    unit = torch.fft.rfft(torch.eye(2 * layers, dtype=DOUBLE))
    root = fractional_noise(unit, hurst)  # (l, 2l)
    lags = torch.arange(layers)
    expected = autocovariance(lags[:, None] - lags, hurst)
    assert torch.allclose(root @ root.T, expected, atol=1e-12)


def test_the_circulant_is_not_negative():
    for hurst in np.linspace(0.01, 0.99, 33):
        gamma = autocovariance(torch.arange(129), hurst)
        row = torch.cat([gamma, gamma[1:-1].flip(0)])
        assert torch.fft.rfft(row).real.min() > -1e-10
        assert circulant_spectrum(128, hurst).min() >= 0


def test_sums_of_fractional_noise_spread_as_a_power():
    # R10: Var(sum of N) = N^{2H}, exactly, from the covariance.
    for hurst in (0.2, 0.5, 0.8):
        lags = torch.arange(200)
        total = autocovariance(lags[:, None] - lags, hurst).sum().item()
        assert math.isclose(total, 200 ** (2 * hurst), rel_tol=1e-10)


def test_hurst_one_half_is_white_and_one_spectrum_couples_all():
    spectrum = white_spectrum(16, (5,), generator(), DOUBLE)
    white = torch.fft.irfft(spectrum, n=32)[..., :16].T
    assert torch.allclose(fractional_noise(spectrum, 0.5), white, atol=1e-12)
    near = fractional_noise(spectrum, 0.5001)
    assert (near - white).abs().max() < 1e-2


@settings(max_examples=30, deadline=None)
@given(length=st.floats(0.02, 5), seed=st.integers(0, 1000))
def test_smooth_features_have_exactly_the_kernel(length, seed):
    times = torch.cat([torch.rand(20, generator=generator(seed), dtype=DOUBLE), torch.tensor([0.0, 0.5, 1.0])])
    features = smooth_features(times, length)
    kernel = torch.exp(-((times[:, None] - times) ** 2) / (2 * length**2))
    assert torch.allclose(features @ features.T, kernel, atol=1e-11)


def test_a_smooth_path_is_the_same_at_every_depth():
    coarse, fine = (smooth_values(layers, (3, 2), 0.1, generator(), DOUBLE) for layers in (50, 200))
    assert torch.allclose(coarse, fine[::4], atol=1e-12)


def test_increments_of_a_smooth_path_are_rescaled_derivatives():
    increments = draw("smooth_increments", 2000, (500,), generator=generator(), dtype=DOUBLE)
    steps = jumps(increments)
    assert steps.max() < 0.05  # a path, not noise
    assert (increments.var() - 1).abs() < 0.1


@pytest.mark.parametrize(("options", "says"), [({"hurst": 1.0}, "Hurst"), ({"hurst": 0.0}, "Hurst")])
def test_processes_refuse(options, says):
    with pytest.raises(ValueError, match=says):
        draw("fractional", 5, (2,), **options)
    with pytest.raises(ValueError, match="choose one of"):
        draw("brownian", 5, (2,))
    with pytest.raises(ValueError, match="positive"):
        draw("smooth", 5, (2,), length=0.0)


# Regularity.


def test_jumps_and_total_variation():
    weights = torch.tensor([[0.0, 1.0], [3.0, 1.0], [3.0, -4.0]])
    assert jumps(weights).tolist() == [3.0, 5.0] and jumps(weights, "frobenius").tolist() == [3.0, 5.0]
    assert total_variation(weights).tolist() == [3.0, 5.0]
    with pytest.raises(ValueError, match="frobenius"):
        jumps(weights, "spectral")


@pytest.mark.parametrize(("process", "order"), [("smooth", -1.0), ("normal", 0.0)])
def test_jumps_shrink_with_depth_for_smooth_weights_only(process, order):
    depths = [100, 200, 400, 800]
    sizes = [jumps(draw(process, n, (200,), generator=generator(1), dtype=DOUBLE), "frobenius").mean() for n in depths]
    slope = np.polyfit(np.log(depths), np.log(sizes), 1)[0]
    assert abs(slope - order) < 0.02


# Trunks.


def parameters(branch, layers: int, width: int, biases: bool, dtype=DOUBLE, seed: int = 0):
    key = generator(seed)
    count = 1 if isinstance(branch, OneMatrix) else 2
    found = [torch.randn(layers, width, width, generator=key, dtype=dtype) / width**0.5 for _ in range(count)]
    return found + [torch.randn(layers, width, generator=key, dtype=dtype) for _ in range(count * biases)]


@pytest.mark.parametrize("kind", [OneMatrix, TwoMatrices])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("biases", [False, True])
def test_the_pullback_by_hand_is_that_of_autograd(kind, activation, biases):
    branch = kind(activation)
    theta = [one[0] for one in parameters(branch, 1, 6, biases)]
    h, g = (torch.randn(4, 6, generator=generator(i), dtype=DOUBLE) for i in (1, 2))
    _, pull = torch.func.vjp(branch, h, *theta)
    for ours, theirs in zip(branch.pullback(g, h, *theta), pull(g), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(branch.pull(g, h, *theta), pull(g)[0], rtol=1e-12, atol=1e-12)


def gradients(branch, h, theta, memory, scale=0.05):
    h, theta = h.clone().requires_grad_(), [one.clone().requires_grad_() for one in theta]
    output = trunk(branch, h, theta, scale, memory)
    return output.detach(), torch.autograd.grad(output.sin().sum(), [h, *theta])


@pytest.mark.parametrize("memory", FLAT)
@pytest.mark.parametrize("branch", [OneMatrix("relu"), TwoMatrices("tanh"), TwoMatrices("gelu")])
@pytest.mark.parametrize("layers", [1, 2, 17, 36])
def test_every_memory_gives_the_same_gradients(memory, branch, layers):
    theta = parameters(branch, layers, 8, biases=True)
    h = torch.randn(5, 8, generator=generator(3), dtype=DOUBLE)
    output, expected = gradients(branch, h, theta, "autograd")
    found, ours = gradients(branch, h, theta, memory)
    assert torch.equal(found, output)
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("memory", FLAT)
@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_a_thousand_layers_agree_to_1e_8(memory, beta):
    branch = TwoMatrices("relu")
    theta = parameters(branch, 1000, 40, biases=False)
    h = torch.randn(50, 40, generator=generator(4), dtype=DOUBLE)
    _, expected = gradients(branch, h, theta, "autograd", 1000**-beta)
    _, ours = gradients(branch, h, theta, memory, 1000**-beta)
    assert max((one - other).abs().max().item() for one, other in zip(ours, expected, strict=True)) < 1e-8


@pytest.mark.parametrize("memory", MEMORY[:3])
def test_trunks_run_under_vmap_and_grad(memory):
    branch = OneMatrix("relu")
    theta = parameters(branch, 10, 6, biases=True)
    stacked = [torch.stack([one, 2 * one, -one]) for one in theta]
    scales = torch.tensor([0.1, 0.3, 0.2], dtype=DOUBLE)
    h = torch.randn(5, 6, generator=generator(5), dtype=DOUBLE)

    def loss(theta, scale):
        return trunk(branch, h, theta, scale, memory).square().sum()

    together = vmap(grad(loss))(stacked, scales)
    for r in range(3):
        leaves = [one[r].clone().requires_grad_() for one in stacked]
        apart = torch.autograd.grad(loss(leaves, scales[r]), leaves)
        for ours, theirs in zip(together, apart, strict=True):
            torch.testing.assert_close(ours[r], theirs, rtol=1e-12, atol=1e-12)


def test_shared_parameters_under_vmap_over_inputs():
    branch = OneMatrix("tanh")
    theta = parameters(branch, 9, 4, biases=False)
    inputs = torch.randn(3, 5, 4, generator=generator(6), dtype=DOUBLE)

    def loss(theta, h):
        return trunk(branch, h, theta, 0.2, "checkpoint").square().sum()

    together = vmap(grad(loss), in_dims=(None, 0))(theta, inputs)
    apart = grad(loss)(theta, inputs[1])
    torch.testing.assert_close(together[0][1], apart[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("memory", FLAT)
def test_any_function_is_a_branch(memory):
    def branch(h, kernel):
        return torch.sin(nn.functional.conv2d(h, kernel, padding=1))

    kernels = torch.randn(7, 2, 2, 3, 3, generator=generator(7), dtype=DOUBLE) / 5
    h = torch.randn(3, 2, 6, 6, generator=generator(8), dtype=DOUBLE)
    _, expected = gradients(branch, h, [kernels], "autograd")
    _, ours = gradients(branch, h, [kernels], memory)
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_states_are_the_layers():
    branch = TwoMatrices("relu")
    theta = parameters(branch, 6, 4, biases=False)
    h = torch.randn(2, 4, generator=generator(9), dtype=DOUBLE)
    every = list(states(branch, h, theta, 0.3))
    assert len(every) == 7 and torch.equal(every[0], h) and torch.equal(every[-1], trunk(branch, h, theta, 0.3))
    step = every[3] + 0.3 * torch.relu(every[3] @ theta[1][3].T) @ theta[0][3].T
    torch.testing.assert_close(every[4], step, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("memory", MEMORY[:1])
def test_the_scale_learns_with_autograd(memory):
    branch, h = OneMatrix("tanh"), torch.ones(2, 4, dtype=DOUBLE)
    theta, scale = parameters(branch, 3, 4, biases=False), torch.tensor(0.3, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: trunk(branch, h, theta, s, memory), (scale,))
    with pytest.raises(ValueError, match="no gradient"):
        trunk(branch, h, theta, scale, "checkpoint")


def test_a_layer_that_cannot_be_inverted_says_so():
    branch = OneMatrix("identity")
    theta = [torch.eye(3).expand(2, 3, 3).clone().requires_grad_()]
    output = trunk(branch, torch.ones(2, 3), theta, 1.5, "invert")
    with pytest.raises(ArithmeticError, match="Lipschitz"):
        output.sum().backward()


@pytest.mark.parametrize("memory", ["states", "checkpoint"])
def test_second_derivatives_are_refused_and_not_wrong(memory):
    branch, h = OneMatrix("tanh"), torch.ones(2, 4, dtype=DOUBLE)
    theta = parameters(branch, 3, 4, biases=False)

    def size(theta, memory):
        gradients = grad(lambda theta: trunk(branch, h, theta, 0.3, memory).square().sum())(theta)
        return gradients[0].square().sum()

    assert grad(size)(theta, "autograd")[0].norm() > 0
    with pytest.raises(RuntimeError, match="differentiated once"):
        grad(size)(theta, memory)
    leaf = theta[0].requires_grad_()
    (first,) = torch.autograd.grad(trunk(branch, h, [leaf], 0.3, memory).sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiated once"):
        first.sum().backward()


def test_trunks_refuse():
    branch, h, theta = OneMatrix("relu"), torch.ones(2, 3), [torch.zeros(2, 3, 3)]
    with pytest.raises(ValueError, match="choose one of"):
        trunk(branch, h, theta, 1.0, "flat")
    with pytest.raises(ValueError, match="checkpoint"):
        vmap(lambda h: trunk(branch, h, theta, 1.0, "invert"))(h[None])


def test_flat_memories_are_below_a_fifth_of_plain_back_propagation():
    branch = OneMatrix("relu")
    theta = [one.float().requires_grad_() for one in parameters(branch, 1000, 40, biases=False)]
    h = torch.randn(50, 40, generator=generator(10))
    own = sum(one.numel() * 4 for one in theta)

    def activations(memory):
        """Bytes beside weights and their gradients: until the backward starts, or in it."""
        forward = peak_memory(lambda: trunk(branch, h, theta, 0.03, memory))
        whole = peak_memory(lambda: torch.autograd.grad(trunk(branch, h, theta, 0.03, memory).sum(), theta))
        return max(forward, whole - own)

    plain = activations("autograd")
    assert abs(plain / (1000 * 50 * 40 * 4) - 1) < 0.1  # one state a layer
    assert activations("states") < 1.1 * plain
    assert activations("checkpoint") < plain / 5 and activations("invert") < plain / 50
