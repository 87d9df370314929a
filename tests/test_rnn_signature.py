"""Residual recurrent nets: the expansion against the equation, norms, attacks, series and classifiers, trainings."""

from __future__ import annotations

import io
import itertools
import math
import os
import tarfile
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from fitting import fit
from scipy.integrate import solve_ivp

from datamodules import time_series
from datamodules.series import SeriesData
from datamodules.spirals import SpiralsData
from datamodules.time_series import log_mel, mel_bands, read, spirals
from zoo.models.rnn_signature import claims, classifiers, theory
from zoo.models.rnn_signature.experiments import attack, random_nets, scores, short_spiral, taylor
from zoo.models.rnn_signature.figures import moving_average
from zoo.models.rnn_signature.module import SignatureTraining
from zoo.models.rnn_signature.network import ResidualRNN
from zoo.models.rnn_signature.theory import Field
from zoo.registry import ZooError
from zoo.replicas import Replicas
from zoo.signatures.kernels import goursat
from zoo.signatures.signature import levels_of, with_time

DOUBLE = torch.float64
HOME = Path(os.environ["ZOO_DATA"])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def field(activation: str = "tanh", width: int = 3, channels: int = 2, seed: int = 0) -> tuple[Field, torch.Tensor]:
    nets = random_nets(1, activation, seed, width, channels)
    return Field(nets.W_h[0], nets.W_x[0], nets.b[0], activation), nets.h[0]


# The network.


@torch.no_grad()
@pytest.mark.parametrize("activation", ["tanh", "logistic"])
def test_the_network_is_its_formula(activation):
    network = ResidualRNN(channels=3, width=5, classes=4, activation=activation, generator=generator()).double()
    network.h_0.normal_(generator=generator(1))
    x = torch.randn(2, 7, 3, dtype=DOUBLE, generator=generator(2))
    sigma = {"tanh": torch.tanh, "logistic": torch.sigmoid}[activation]
    for row, output in zip(x, network(x), strict=True):
        h = network.h_0
        for one in row:
            h = h + sigma(network.W_h @ h + network.W_x @ one + network.b_h + network.b_x) / 7
        torch.testing.assert_close(network.psi_weight @ h + network.psi_bias, output)
    one = Field(network.W_h, network.W_x, network.bias, activation)
    torch.testing.assert_close(network.readout(theory.euler(one, network.h_0.expand(2, 5), x)), network(x))


def test_the_paper_s_parameter_count():
    e, d, c = 32, 2, 2
    count = sum(p.numel() for p in ResidualRNN(channels=d, width=e, classes=c).parameters())
    assert count == e * d + e**2 + 2 * e + e + e * c + c
    with pytest.raises(ValueError, match="tanh, logistic"):
        ResidualRNN(channels=1, activation="relu")
    with pytest.raises(ValueError, match="width=0"):
        ResidualRNN(channels=1, width=0)


# The expansion.


@pytest.mark.parametrize("activation", ["tanh", "logistic"])
@pytest.mark.parametrize(("width", "channels"), [(1, 1), (2, 3), (4, 2)])
def test_closed_forms_are_nested_jacobians(activation, width, channels):
    one, h = field(activation, width, channels)
    x = torch.randn(channels, dtype=DOUBLE, generator=generator(1))
    closed, nested = theory.closed_fields(one, h, x), theory.iterated_fields(one, h, x, 3)
    for k, (a, b) in enumerate(zip(closed, nested, strict=True), start=1):
        torch.testing.assert_close(a, b[:width], rtol=1e-12, atol=1e-13)
        last = b[:width].unflatten(1, (-1, channels + 1))
        assert last[..., :-1].abs().max() == 0, "entries whose last index is not time vanish"
        assert k == 1 or b[width:].abs().max() == 0, "the rows of X vanish"


def test_derivatives_are_derivatives():
    a = torch.linspace(-3, 3, 50, dtype=DOUBLE).requires_grad_()
    for activation in ("tanh", "logistic"):
        s, first, second = theory.derivatives(activation, a)
        (by_autograd,) = torch.autograd.grad(s.sum(), a, create_graph=True)
        torch.testing.assert_close(by_autograd, first)
        torch.testing.assert_close(torch.autograd.grad(by_autograd.sum(), a)[0], second)
    with pytest.raises(ValueError, match="iterated_fields takes any"):
        theory.closed_fields(*field(), torch.zeros(2, dtype=DOUBLE), 4)


def test_the_expansion_converges_to_the_equation_in_the_right_order_of_words_only():
    right, wrong = taylor(20, "logistic"), taylor(20, "logistic", backwards=True)
    medians = right.errors.median(dim=1).values
    assert (medians[1:] < medians[:-1] / 4).all() and medians[-1] < 3e-5
    assert wrong.errors.median(dim=1).values[-1] > 1000 * medians[-1]
    assert taylor(20, "tanh").errors.median(dim=1).values[-1] > 10 * medians[-1]


def test_the_index_order_on_a_path_of_two_segments():
    """First along x_1, then along x_2: S^(1, 2) = 1 and S^(2, 1) = 0, so that T_2 acts with its first index early."""
    path = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]], dtype=DOUBLE)
    level = levels_of(path, 2)[1].unflatten(0, (2, 2))
    assert level[0, 1] == 1 and level[1, 0] == 0
    words = torch.arange(27.0)
    assert theory.reversed_words(words, 3)[9 * 0 + 3 * 1 + 2] == words[9 * 2 + 3 * 1 + 0]
    # dH = sigma(X) dt with X = (time until 1/2): T_2[x, time] = sigma'(0) W_x enters with the integral of x dt
    one = Field(torch.zeros(1, 1, dtype=DOUBLE), torch.ones(1, 1, dtype=DOUBLE), torch.zeros(1, dtype=DOUBLE))
    short = 0.01 * torch.tensor([[0.0], [1.0], [1.0]], dtype=DOUBLE)
    fields = theory.closed_fields(one, torch.zeros(1, dtype=DOUBLE), short[0], 2)
    approximation = theory.expand(torch.zeros(1, dtype=DOUBLE), fields, levels_of(with_time(short), 2))[-1]
    assert abs(approximation - 0.01 * 0.75) < 1e-12  # the area under the path, not 0.25 beside it


@pytest.mark.parametrize("activation", ["tanh", "logistic"])
def test_the_solver_is_scipy_s_and_of_fourth_order(activation):
    one, h = field(activation)
    path = 3 * short_spiral(1, 9)
    times = np.linspace(0, 1, 9)

    def speed(t, y):
        x = np.array([np.interp(t, times, path[:, i]) for i in range(2)])
        a = one.W_h.numpy() @ y + one.W_x.numpy() @ x + one.b.numpy()
        return np.tanh(a) if activation == "tanh" else 1 / (1 + np.exp(-a))

    y = h.numpy()
    for start, end in itertools.pairwise(times):
        y = solve_ivp(speed, (start, end), y, method="DOP853", rtol=1e-12, atol=1e-14).y[:, -1]
    errors = [np.abs(theory.solve(one, h, path, n)[-1].numpy() - y).max() for n in (1, 2, 4)]
    assert errors[2] < 1e-8
    assert all(3.6 < math.log2(a / b) < 4.6 for a, b in itertools.pairwise(errors))


def test_the_scheme_has_order_one():
    gaps = claims.euler_gaps()
    assert max(gaps) / min(gaps) < 1.01


# Norms and bounds.


def test_the_norm_is_that_of_the_coefficients():
    one, h = field(width=4)
    psi, bias = (
        torch.randn(3, 4, dtype=DOUBLE, generator=generator(1)),
        torch.randn(3, dtype=DOUBLE, generator=generator(2)),
    )
    T = theory.iterated_fields(one, h, torch.zeros(2, dtype=DOUBLE), 3)
    expected = ((psi @ h + bias) ** 2).mean()
    code = expected.clone()
    for k, level in enumerate(T, start=1):
        coefficients = psi @ level[:4]
        expected = expected + (coefficients**2).sum() / 3 / math.factorial(k) ** 2
        code = code + ((coefficients + bias[:, None]) ** 2).sum() / 3 / math.factorial(k) ** 2
    torch.testing.assert_close(theory.squared_rkhs_norm(one, h, psi, bias), expected)
    torch.testing.assert_close(theory.code_norm(one, h, psi, bias), code)


def test_scaling_the_path_scales_the_norm_so_that_the_function_stays():
    one, h = field()
    psi = torch.randn(3, dtype=DOUBLE, generator=generator(1))
    fields = theory.closed_fields(one, h, torch.zeros(2, dtype=DOUBLE))
    path = short_spiral(4, 20) - short_spiral(4, 20)[0]
    values = []
    for scale in (1.0, 0.3):
        coefficients = [psi @ level / scale**k for k, level in enumerate(fields, start=1)]
        levels = levels_of(scale * with_time(path), 3)
        values.append(sum(c @ s for c, s in zip(coefficients, levels, strict=True)))
    torch.testing.assert_close(*values)
    assert theory.scaled_norm(psi @ h, [psi @ one for one in fields], 0.3) > theory.scaled_norm(
        psi @ h, [psi @ one for one in fields], 1.0
    )


def test_the_generalisation_bound():
    found = theory.generalisation_bound(2.0, 0.6, 100, 0.05, 1.0, 0.01)
    assert abs(found.complexity - 2 * 2 / math.sqrt(100 * 0.64)) < 1e-12
    assert abs(found.total - (found.complexity + math.sqrt(math.log(20) / 200) + 0.01)) < 1e-12
    # paths of variation below 1: the kernel is at most 1/(1 - L^2), the largest of a Rademacher average over the ball
    paths = torch.randn(100, 8, 2, dtype=DOUBLE, generator=generator()).cumsum(1)
    lifted = 0.6 * with_time(paths) / theory.total_variation(with_time(paths)).max()
    from zoo.signatures.kernels import features

    phi = features(lifted, 5, factorial=True)
    assert phi.square().sum(1).max() <= 1 / (1 - 0.36)
    signs = 2.0 * torch.randint(0, 2, (500, 100), generator=generator(1)).double() - 1
    assert 2.0 * (signs @ phi / 100).norm(dim=1).mean() <= found.complexity / 2


# Attacks.


def test_attacks_stay_in_their_ball_and_hurt():
    nets = Replicas([ResidualRNN(channels=2, width=8, generator=generator(seed)) for seed in range(2)]).double()
    tensors = {name: 3 * tensor.detach() for name, tensor in nets.tensors().items()}
    x, y = spirals(40, generator(5), 20, DOUBLE)
    x, y = x.unflatten(0, (2, 20)), y.unflatten(0, (2, 20))
    direct = torch.stack([one(series) for one, series in zip(nets.with_tensors(tensors), x, strict=True)])
    torch.testing.assert_close(scores(tensors, x, "tanh"), direct)
    losses = []
    for budget in (0.0, 0.3, 0.9):
        moved = attack(tensors, x, y, budget, "tanh")
        assert ((moved - x).flatten(2).norm(dim=2) <= budget + 1e-9).all()
        found = scores(tensors, moved, "tanh").flatten(0, 1)
        losses.append(torch.nn.functional.cross_entropy(found, y.flatten()).item())
    assert losses[0] < losses[1] < losses[2]


# Series.


def test_spirals_are_the_paper_s():
    x, y = spirals(1000, generator(), dtype=DOUBLE)
    assert x.shape == (1000, 100, 2) and y.sum() == 500
    assert (x.norm(dim=2).diff(dim=1) <= 1e-12).all() and torch.allclose(
        x[:, 0].norm(dim=1), torch.ones(1000, dtype=DOUBLE)
    )
    turns = (x[:, :-1, 0] * x[:, 1:, 1] - x[:, :-1, 1] * x[:, 1:, 0]).sign()
    assert ((turns.sum(1) < 0) == (y == 1)).all(), "mirrored spirals turn the other way"
    again = spirals(1000, generator(), dtype=DOUBLE)
    assert torch.equal(x, again[0])


def tone(frequency: float, seconds: float, rate: int = 8000) -> torch.Tensor:
    return 0.3 * torch.sin(2 * math.pi * frequency * torch.arange(int(seconds * rate)) / rate)


def test_a_tone_is_loudest_in_its_band():
    bands = mel_bands(8000, 256, 12)
    assert bands.shape == (12, 129) and (bands >= 0).all() and (bands.sum(1) > 0).all()
    for frequency in (300.0, 1000.0, 3000.0):
        features = log_mel(tone(frequency, 0.5), 8000)
        assert features.shape == (32, 12)
        centre = bands[features.mean(0).argmax()]
        assert centre[round(frequency / 8000 * 256)] > 0
    assert log_mel(tone(500, 0.004), 8000).isfinite().all(), "shorter than a window"


def write_series(folder: Path) -> None:
    draw = np.random.default_rng(0)
    with tarfile.open(folder / "recordings.tar.xz", "w:xz") as tar:
        for digit, index in itertools.product(range(3), (0, 7, 8)):
            content = io.BytesIO()
            with wave.open(content, "wb") as sound:
                sound.setparams((1, 2, 8000, 0, "NONE", ""))
                samples = 3e4 * tone(400 * (digit + 1), 0.1 + 0.02 * index).numpy()
                sound.writeframes(samples.astype("<i2").tobytes())
            info = tarfile.TarInfo(f"recordings/{digit}_me_{index}.wav")
            info.size = content.tell()
            content.seek(0)
            tar.addfile(info, content)
    for split, count in (("tra", 20), ("tes", 10)):
        rows = np.column_stack([draw.integers(0, 101, (count, 16)), np.arange(count) % 10])
        np.savetxt(folder / f"pendigits.{split}", rows, "%d", delimiter=",")
    x = draw.normal(size=(12, 9, 2)).astype(np.float32)
    x[::2, :, 0] += np.linspace(0, 4, 9)
    np.savez(folder / "Libras.npz", x=x, y=np.arange(12) % 2, n_train=np.int64(8))


def test_readers_find_their_files_and_splits(tmp_path):
    write_series(tmp_path)
    sound, pens, uea = (read(name, tmp_path) for name in ("fsdd", "pendigits", "libras"))
    assert sound.train.series.shape == (6, 32, 12) and sound.test.labels.tolist() == [0, 1, 2] and sound.classes == 3
    assert pens.train.series.shape == (20, 8, 2) and pens.train.series.max() <= 1 and len(pens.test.labels) == 10
    assert uea.train.series.shape == (8, 9, 2) and len(uea.test.labels) == 4
    assert all(len(digest) == 64 for digest in (sound.hashes | pens.hashes | uea.hashes).values())
    flat = uea.standardised().train.series.flatten(0, 1)
    assert flat.mean(0).abs().max() < 1e-6 and (flat.std(0) - 1).abs().max() < 1e-5


def test_absent_and_damaged_series_get_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(ZooError, match="name must be one of"):
        read("spoken")
    with pytest.raises(ZooError, match=r"no .*pendigits.tra: give the folder as --data.root .*ZOO_DATA"):
        read("pendigits", tmp_path)
    monkeypatch.delenv("ZOO_DATA")
    with pytest.raises(ZooError, match="no folder to read ering from"):
        read("ering")
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    (tmp_path / "uea").mkdir()
    (tmp_path / "uea" / "ERing.npz").write_bytes(b"no zip")
    with pytest.raises(ZooError, match="cannot be read"):
        read("ering")
    with pytest.raises(ZooError, match="name must be one of"):
        SeriesData(name="spoken")


def test_batches_of_series_are_a_pure_function_of_the_step(tmp_path):
    write_series(tmp_path)
    data, fresh = (SeriesData(name="pendigits", root=str(tmp_path), batch_size=4, seed=2) for _ in range(2))
    every = data.batches(0, 0, 15, 0, 1)
    for start, stop in ((7, 12), (4, 6), (0, 15)):
        for name, leaf in fresh.batches(0, start, stop, 0, 1).items():
            assert torch.equal(leaf, every[name][start:stop])
    for epoch in range(3):
        assert every["targets"][5 * epoch : 5 * epoch + 5].flatten().bincount().tolist() == [2] * 10
    ranks = [data.batches(0, 0, 2, rank, 2)["series"].flatten(0, 1) for rank in (0, 1)]
    assert len({series.numpy().tobytes() for one in ranks for series in one}) == 16
    stacked = data.stacked([0, 1, 2], 0, 5, 0, 1)
    assert stacked["series"].shape == (5, 3, 4, 8, 2) and stacked["series"].stride(1) == 0
    with pytest.raises(ZooError, match="fewer than one batch"):
        SeriesData(name="pendigits", root=str(tmp_path), batch_size=21).batches(0, 0, 1, 0, 1)


def test_spirals_differ_by_replica_and_not_by_step():
    data = SpiralsData(n=6, length=5)
    stacked = data.stacked([0, 1], 3, 7, 0, 1)
    assert stacked["series"].shape == (4, 2, 6, 5, 2) and torch.equal(stacked["series"][0], stacked["series"][3])
    assert not torch.equal(stacked["series"][0, 0], stacked["series"][0, 1])
    assert torch.equal(stacked["series"][:, 1], data.batches(1, 3, 7, 0, 1)["series"])
    ranks = [data.batches(0, 0, 1, rank, 2)["series"][0] for rank in (0, 1)]
    assert torch.equal(torch.stack(ranks, dim=1).flatten(0, 1), data.sample(0)[0])


@pytest.mark.skipif(not (HOME / "fsdd").is_dir(), reason="no spoken digits in $ZOO_DATA")
def test_the_real_spoken_digits():
    corpus = read("fsdd")
    assert corpus.train.series.shape == (2700, 32, 12) and corpus.train.labels.bincount().tolist() == [270] * 10
    assert corpus.test.labels.bincount().tolist() == [30] * 10


# Classifiers.


def test_leaving_out_in_closed_form_is_leaving_out():
    x = torch.randn(20, 6, 2, dtype=DOUBLE, generator=generator()).cumsum(1)
    labels = torch.arange(20) % 3
    K = classifiers.gram(x, x, 2.0)
    torch.testing.assert_close(K.diagonal(), torch.ones(20, dtype=DOUBLE))
    torch.testing.assert_close(classifiers.gram(x, x.clone(), 2.0), K)
    hits = 0
    for i in range(20):
        kept = torch.arange(20) != i
        found = classifiers.ridge_scores(K[kept][:, kept], labels[kept], K[i : i + 1, kept], 0.1)
        hits += int(found.argmax() == labels[i])
    assert classifiers.left_out(K, labels, 0.1) == pytest.approx(hits / 20)
    indefinite = torch.diag(torch.tensor([1.0, -0.05], dtype=DOUBLE))
    assert classifiers.factored(indefinite, 0.01).isfinite().all()


def test_long_series_are_thinned():
    x = torch.randn(3, 200, 2, generator=generator())
    assert classifiers.thinned(x).shape == (3, 64, 3) and classifiers.thinned(x[:, :30]).shape == (3, 30, 3)


def test_both_kernel_methods_tell_spirals_apart():
    pytest.importorskip("sklearn")
    (x, y), (z, w) = spirals(60, generator(1), 20), spirals(100, generator(2), 20)
    found = classifiers.fit(time_series.Split(x, y), time_series.Split(z, w))
    assert found.ridge > 0.85 and found.svm > 0.85
    again = classifiers.fit(time_series.Split(x, y), time_series.Split(z, w), backend="torch")
    assert again == found


def test_wilson_s_interval():
    low, high = classifiers.interval(0.9, 100)
    assert (round(low, 4), round(high, 4)) == (0.8256, 0.9448)
    assert classifiers.interval(1.0, 50)[1] == pytest.approx(1.0) and classifiers.interval(1.0, 50)[0] > 0.9


def test_a_moving_average():
    found = moving_average(torch.tensor([[1.0], [3.0], [5.0], [7.0]]), width=2)
    assert found.flatten().tolist() == [1, 2, 4, 6]


# Training.


def test_replicas_take_penalties_in_turn_and_train_as_alone():
    data = SpiralsData(n=10, test=20, length=8)
    options = {"width": 4, "dtype": "float64", "log_every": 5}
    module = fit(SignatureTraining(replicas=4, penalties=[0.0, 0.5], **options), data, 30)
    networks, task, history = module.result()
    assert task["penalty"].tolist() == [0, 0.5, 0, 0.5] and task["bias"].shape == (4, 4)
    norms = history.last("norm")
    assert (norms[1::2] < norms[::2]).all()
    alone, _, _ = fit(SignatureTraining(penalties=[0.0], **options), data, 30).result()
    for name, tensor in alone.tensors().items():
        assert torch.allclose(tensor[0], networks.tensors()[name][0], atol=1e-9), name
    assert {"loss", "accuracy", "norm", "code_norm", "frobenius", "val_loss", "val_accuracy"} <= set(history.metrics)


@pytest.mark.parametrize("as_in_code", [False, True])
def test_the_penalty_lowers_the_norm_that_it_names(as_in_code):
    data = SpiralsData(n=10, test=20, length=8)
    module = fit(SignatureTraining(width=4, penalties=[1.0], as_in_code=as_in_code, log_every=5), data, 40)
    history = module.history
    metric = "code_norm" if as_in_code else "norm"
    assert history.last(metric)[0] < 0.3 * history.at(metric, 0)[0]
    bias = module.task()["bias"][0]
    assert torch.equal(bias, SignatureTraining(width=4).build(_first(data), data.task(0)).bias)


def _first(data: SpiralsData) -> torch.Generator:
    from datamodules.stream import generator as keyed

    return keyed("rnn_signature", 0, "init", 0)


def test_series_train(tmp_path):
    write_series(tmp_path)
    data = SeriesData(name="libras", root=str(tmp_path), batch_size=8)
    module = fit(SignatureTraining(width=8, replicas=2, lr=0.05, log_every=10), data, 60)
    assert (module.history.last("loss") < module.history.at("loss", 10)).all()
    assert module.history.last("val_accuracy").shape == (2,)
    assert data.provenance()["name"] == "libras" and data.provenance()["samples"] == 8


def test_the_step_size_is_halved_and_arguments_are_checked():
    module = SignatureTraining(lr=0.4, halve_every=10)
    assert [module.learning_rate(step) for step in (0, 9, 10, 25)] == pytest.approx([0.4, 0.4, 0.2, 0.1])
    for changes, says in (({"lr": 0.0}, "positive"), ({"penalties": []}, "one or more"), ({"order": 4}, "1, 2 or 3")):
        with pytest.raises(ValueError, match=says):
            SignatureTraining(**changes)


def test_the_kernel_of_equal_series_is_the_largest():
    x = with_time(spirals(6, generator(), 15, DOUBLE)[0])
    K = torch.stack([goursat(one.expand_as(x), x, bandwidth=2.0) for one in x])
    assert (K / (K.diagonal()[:, None] * K.diagonal()).sqrt() <= 1 + 1e-9).all()
