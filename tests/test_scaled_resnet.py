"""Scaled residual nets: moments and laws against theory, the gradient of statistics against autograd, trainings."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from fitting import fit
from scipy import integrate, stats
from test_images import write_cifar, write_mnist

from datamodules.images import ImageData
from zoo.depth.processes import PROCESSES
from zoo.depth.regularity import total_variation
from zoo.models.scaled_resnet import theory
from zoo.models.scaled_resnet.initialisation import (
    ensemble,
    log_ratio,
    normal_chain,
    ratios,
    rough_ensembles,
    sample,
    tangent_growth,
    zero_level,
)
from zoo.models.scaled_resnet.module import RegularityGrid, ScaledConvTraining, ScaledTraining
from zoo.models.scaled_resnet.network import (
    VARIANTS,
    ScaledConvNet,
    ScaledResNet,
    scaled_resnet,
    scaled_resnet20,
    scaled_resnet56,
    scaled_resnet110,
)

DOUBLE = torch.float64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def net(**changes) -> ScaledResNet:
    arguments = {"d_in": 6, "d_out": 3, "width": 5, "depth": 9, "beta": 0.7, "generator": generator()} | changes
    return ScaledResNet(**arguments).double()


# Networks.


@torch.no_grad()
@pytest.mark.parametrize("variant", list(VARIANTS))
@pytest.mark.parametrize("bias", [False, True])
def test_the_network_is_its_formula(variant, bias):
    network = net(variant=variant, bias=bias)
    for name, parameter in network.named_parameters():
        if name in ("c", "e"):
            assert (parameter == 0).all()
            parameter.normal_(generator=generator(1))
    x = torch.rand(4, 6, dtype=DOUBLE, generator=generator(2))
    for row, output in zip(x, network(x), strict=True):
        h = network.A @ row
        for k in range(9):
            c, e = (network.c[k] if bias else 0, network.e[k] if bias and variant != "res-1" else 0)
            inner = {
                "res-1": lambda h: torch.relu(h),
                "res-2": lambda h, k=k, e=e: torch.tanh(network.W[k] @ h + e),
                "res-3": lambda h, k=k, e=e: torch.relu(network.W[k] @ h + e),
            }[variant](h)
            h = h + 9**-0.7 * (network.V[k] @ inner + c)
        torch.testing.assert_close(network.B @ h, output, rtol=1e-6, atol=1e-6)  # beta is rounded to float32
    every = list(network.states(x))
    assert len(every) == 10 and torch.allclose(every[-1] @ network.B.T, network(x))


def test_the_paper_s_parameter_counts():
    sizes = {"d_in": 784, "d_out": 10, "width": 30, "depth": 1000, "beta": 0.5}
    for bias, expected in ((False, 923_820), (True, 953_820)):
        assert sum(p.numel() for p in ScaledResNet(**sizes, bias=bias).parameters()) == expected


@pytest.mark.parametrize("process", PROCESSES)
def test_weights_have_variance_one_over_d(process):
    network = ScaledResNet(
        d_in=300, d_out=4, width=40, depth=50, beta=1.0, variant="res-3", process=process, generator=generator()
    )
    for parameter, fan_in in ((network.A, 300), (network.V, 40), (network.W, 40)):
        assert abs(parameter.var().item() * fan_in - 1) < 0.05
    assert abs(torch.corrcoef(torch.stack([network.V.flatten(), network.W.flatten()]))[0, 1]) < 0.05
    smooth = process.startswith("smooth")
    assert (total_variation(network.V).mean() < 0.3 * 50 / math.sqrt(40)) == smooth


def test_changing_the_buffer_changes_the_scaling_and_nothing_else():
    x = torch.rand(2, 6, dtype=DOUBLE)
    network, other = net(beta=0.7), net(beta=1.0)
    network.beta.fill_(1.0)
    assert torch.equal(network(x), other(x))
    assert torch.equal(ScaledResNet(**net(beta=0.3).arguments).beta, torch.tensor(0.3))


@pytest.mark.parametrize("memory", ["states", "checkpoint", "invert"])
def test_the_network_s_gradients_do_not_depend_on_the_memory(memory):
    x = torch.rand(4, 6, dtype=DOUBLE)
    found = []
    for choice in ("autograd", memory):
        network = net(variant="res-3", bias=True, memory=choice, depth=30)
        network(x).sin().sum().backward()
        found.append([parameter.grad for parameter in network.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_the_convolutional_constructors():
    network = scaled_resnet20(beta=0.5, generator=generator())
    assert network.blocks == [3, 3, 3] and scaled_resnet56().blocks == [9, 9, 9]
    assert scaled_resnet110().blocks == [18, 18, 18]
    images = torch.rand(2, 3, 32, 32, generator=generator(1))
    assert network(images).shape == (2, 10)
    network.beta.fill_(20.0)  # branches off
    h = torch.nn.functional.conv2d(images, network.stem, padding=1)
    for down in (network.down2, network.down3):
        h = torch.nn.functional.conv2d(torch.relu(h), down, stride=2, padding=1)
    assert torch.allclose(network(images), h.mean((2, 3)) @ network.head.T, atol=1e-5)
    with pytest.raises(ValueError, match="6 n"):
        scaled_resnet(21)
    with pytest.raises(ValueError, match="three stages"):
        ScaledConvNet(blocks=[2, 2], beta=0.5)


@torch.no_grad()
def test_a_smooth_path_runs_through_the_stages():
    network = ScaledConvNet(blocks=[20, 20, 20], width=4, beta=1.0, process="smooth", generator=generator())
    for name in ("V1", "V2", "W3"):
        kernels = getattr(network, name)
        assert abs(kernels.var().item() * kernels[0, 0].numel() - 1) < 0.4  # 20 layers of a path are few samples
        assert total_variation(kernels).mean() < 0.3 * 20 * kernels.std()


@pytest.mark.parametrize(
    ("changes", "says"), [({"variant": "res-4"}, "res-1"), ({"memory": "x"}, "autograd"), ({"depth": 0}, "depth")]
)
def test_networks_refuse(changes, says):
    with pytest.raises(ValueError, match=says):
        net(**changes)


# Statistics at initialisation.


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_ratios_are_those_of_single_networks_and_autograd(variant):
    drawn = ensemble(3, 6, 11, variant=variant, inputs=2, generator=generator(), dtype=DOUBLE)
    betas = (0.3, 1.0)
    found = ratios(drawn, betas)
    for n in range(3):
        for m, beta in enumerate(betas):
            for i in range(2):
                start = drawn.start[n, i : i + 1].clone().requires_grad_()
                h = start
                for k in range(11):
                    h = h + 11**-beta * VARIANTS[variant](h, *(layer[k, n] for layer in drawn.layers))
                (p,) = torch.autograd.grad(h @ drawn.end[n].T, start)
                values = ((h - start).norm() / start.norm(), h.norm() / start.norm())
                values += ((p - drawn.end[n]).norm() / drawn.end[n].norm(), p.norm() / drawn.end[n].norm())
                for ours, expected in zip(found, values, strict=True):
                    assert abs(ours[n, m, i] / expected.detach() - 1) < 1e-12


def test_the_tangent_map_is_the_derivative():
    drawn = ensemble(1, 6, 8, generator=generator(), dtype=DOUBLE)
    V, W = (layer[:, 0] for layer in drawn.layers)

    def output(h):
        for v, w in zip(V, W, strict=True):
            h = h + 8**-0.5 * v @ torch.relu(w @ h)
        return h

    jacobian = torch.autograd.functional.jacobian(output, drawn.start[0, 0])
    expected = ((jacobian @ drawn.end[0, 0]).norm() / drawn.end.norm()) ** 2
    assert abs(tangent_growth(drawn, (0.5,))[0, 0] / expected - 1) < 1e-12


@pytest.mark.parametrize("process", ["uniform", "normal"])
@pytest.mark.parametrize("width", [5, 40])
def test_moments_are_exact_at_every_width(process, width):
    found = sample(4000, width, 10, (1.0, 0.5), at_once=1000, process=process, generator=generator(width))
    for m, beta in enumerate((1.0, 0.5)):
        squares = found.change[:, m, 0].double().square()
        error = squares.std() / math.sqrt(len(squares))
        assert abs(squares.mean() - theory.mean_square_change(10, beta)) < 4 * error
        grown = found.growth[:, m, 0].double().square()
        assert abs(grown.mean() - theory.mean_square_growth(10, beta)) < 4 * grown.std() / math.sqrt(len(grown))


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_the_chain_of_norms_has_the_law_of_matrices(variant):
    options = {"variant": variant, "process": "normal"}
    matrices = sample(1500, 20, 12, (0.5,), at_once=500, gradients=False, generator=generator(1), **options).growth
    chain = normal_chain(1500, 20, 12, 0.5, variant=variant, generator=generator(2))
    assert stats.ks_2samp(matrices.flatten(), chain).pvalue > 0.01


def test_a_sample_does_not_depend_on_unused_gradients():
    one, other = (sample(4, 8, 5, (0.5,), gradients=g, generator=generator()) for g in (True, False))
    assert torch.equal(one.change, other.change) and other.gradient_change.isnan().all()


def test_rough_ensembles_share_their_noise():
    first, second = rough_ensembles((0.5, 0.9), 2, 5, 64, generator=generator())
    assert torch.equal(first.start, second.start)
    assert total_variation(second.layers[0]).mean() < total_variation(first.layers[0]).mean()


def test_zero_levels_and_overflow():
    assert abs(zero_level((0.0, 1.0, 2.0), torch.tensor([2.0, 1.0, -1.0])) - 1.5) < 1e-12
    assert math.isnan(zero_level((0.0, 1.0), torch.tensor([2.0, 1.0])))
    assert log_ratio(torch.tensor([10.0, math.inf, math.nan])).tolist() == [1.0, 16.0, 16.0]


# Theory.


def test_the_three_regimes():
    depths = np.array([10**i for i in range(2, 6)])
    assert abs(theory.mean_square_growth(10**6, 0.5) - math.exp(0.5)) < 1e-6
    for beta in (0.75, 1.0, 2.0):
        changes = [theory.mean_square_change(depth, beta) for depth in depths]
        assert abs(np.polyfit(np.log(depths), np.log(changes), 1)[0] - (1 - 2 * beta)) < 0.06
    logs = [math.log(theory.mean_square_growth(depth, 0.25)) for depth in depths]
    assert abs(np.polyfit(np.log(depths), np.log(logs), 1)[0] - 0.5) < 0.01


def test_the_envelope_holds_its_own_formula():
    low, high = theory.envelope(100, 0.5)
    assert low == theory.mean_square_growth(100, 0.5) < high < math.e


@pytest.mark.parametrize("width", [20, 100])
def test_the_diffusion_law_is_a_law_with_the_exact_mean_square(width):
    law = theory.diffusion_law(width)
    total, _ = integrate.quad(law.density, 0.01, 6)
    square, _ = integrate.quad(lambda x: x * x * law.density(x), 0.01, 6)
    mean, deviation = law.moments
    assert abs(total - 1) < 1e-8 and abs(square - math.exp(0.5)) < 1e-7
    assert abs(mean**2 + deviation**2 - math.exp(0.5)) < 1e-12


def test_the_critical_scaling():
    assert theory.critical_beta(0.2) == 0.5 and theory.critical_beta(0.8) == 0.8


# Training.


@pytest.fixture
def digits(tmp_path) -> ImageData:
    write_mnist(tmp_path, train=64, test=20)
    return ImageData(root=str(tmp_path), batch_size=8)


def test_the_grid_is_trained_as_its_cells_alone(digits):
    options = {"width": 6, "depth": 8, "bias": True, "log_every": 4, "dtype": "float64", "lr": 1e-2}
    together, task, history = fit(RegularityGrid(betas=[0.3, 1.0], hursts=[0.2, 0.8], **options), digits, 8).result()
    assert together.count == 4
    assert task["beta"].tolist() == pytest.approx([0.3, 0.3, 1.0, 1.0])
    assert task["hurst"].tolist() == pytest.approx([0.2, 0.8, 0.2, 0.8])
    assert [one.beta.item() for one in together] == pytest.approx([0.3, 0.3, 1.0, 1.0])
    alone, _, one = fit(ScaledTraining(beta=0.3, process="fractional", hurst=0.2, **options), digits, 8).result()
    for name, tensor in alone.tensors().items():
        assert torch.allclose(tensor[0], together.tensors()[name][0], atol=1e-9), name
    assert torch.allclose(one["val_accuracy"][-1, 0], history["val_accuracy"][-1, 0])
    assert (task["start"][0] != task["start"][1]).all()


@pytest.mark.parametrize("memory", ["autograd", "checkpoint", "invert"])
def test_one_network_trains_with_every_memory(digits, memory):
    options = {"width": 6, "depth": 12, "beta": 1.0, "log_every": 10, "dtype": "float64", "lr": 1e-2}
    networks, task, history = fit(ScaledTraining(memory=memory, **options), digits, 40).result()
    assert history.last("loss")[0] < history.at("loss", 10)[0]
    assert task["start"].shape == (1, 12)
    assert {"largest_jump", "mean_jump", "variation", "val_loss", "val_accuracy"} <= set(history.metrics)
    reference, _, _ = fit(ScaledTraining(memory="autograd", **options), digits, 40).result()
    for name, tensor in networks.tensors().items():
        assert torch.allclose(tensor, reference.tensors()[name], atol=1e-6)


def test_the_step_size_falls_by_ten():
    module = ScaledTraining(lr=0.5, decay_every=10)
    assert [module.learning_rate(step) for step in (0, 9, 10, 25)] == pytest.approx([0.5, 0.5, 0.05, 0.005])
    assert ScaledTraining(lr=0.5).learning_rate(10**6) == 0.5
    with pytest.raises(ValueError, match="positive"):
        ScaledTraining(lr=0.0)
    with pytest.raises(ValueError, match="trains one replica"):
        ScaledTraining(memory="invert", replicas=2)
    with pytest.raises(ValueError, match="at least one"):
        RegularityGrid(betas=[], hursts=[0.5])


def test_convolutions_train(tmp_path):
    write_cifar(tmp_path)
    data = ImageData(root=str(tmp_path), name="cifar-10", batch_size=10, cache=str(tmp_path / "cache"))
    module = ScaledConvTraining(blocks=1, width=4, log_every=10, lr=1e-2, memory="checkpoint")
    _, _, history = fit(module, data, 30).result()
    assert history.last("loss")[0] < history.at("loss", 10)[0]


def test_two_processes_share_a_batch(tmp_path, root):
    write_cifar(tmp_path)
    command = [
        sys.executable,
        "-m",
        "zoo",
        "train",
        "scaled_resnet/cifar_conv_ddp",
        "--wandb=off",
        f"--runs={tmp_path}/runs",
    ]
    command += [f"--data.root={tmp_path}", f"--data.cache={tmp_path}/cache", "--data.batch_size=5", "--model.blocks=1"]
    command += ["--model.width=4", "--model.log_every=2", "--trainer.max_steps=4", "--trainer.accelerator=cpu"]
    result = subprocess.run(
        command, cwd=root, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert list(tmp_path.glob("runs/scaled_resnet/cifar_conv_ddp/*/weights/*.safetensors"))
