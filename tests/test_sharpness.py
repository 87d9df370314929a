"""Sharpness: Lanczos against dense eigensolvers, Hessian products against autograd, the callback on modules of the zoo."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from fitting import fit
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.loggers.logger import Logger
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn
from torch.func import functional_call, grad, jacrev, vmap
from toy import LineData, LineLaw, LineModule

from zoo.cli import main
from zoo.cli import recipe as recipes
from zoo.cross_entropy import cross_entropy
from zoo.history import Run
from zoo.monitors import SharpnessMonitor
from zoo.registry import ZooError
from zoo.sharpness import (
    flatten,
    hessian_products,
    lanczos,
    power_iteration,
    sharpness,
    starting_vector,
    unflatten,
)

DOUBLE = torch.float64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def symmetric(eigenvalues: torch.Tensor, seed: int = 0) -> torch.Tensor:
    n = len(eigenvalues)
    Q = torch.linalg.qr(torch.randn(n, n, generator=generator(seed), dtype=DOUBLE)).Q
    return Q * eigenvalues @ Q.T


# Eigenvalues.


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 60), seed=st.integers(0, 1000), shift=st.sampled_from([-3.0, 0.0, 5.0]))
def test_lanczos_finds_the_largest_eigenvalue(n, seed, shift):
    A = torch.randn(n, n, generator=generator(seed), dtype=DOUBLE)
    A = (A + A.T) / 2 + shift * torch.eye(n, dtype=DOUBLE)
    found = lanczos(lambda v: v @ A, torch.randn(n, generator=generator(seed + 1), dtype=DOUBLE), n, tolerance=0)
    assert abs(found.value - torch.linalg.eigvalsh(A)[-1]) < 1e-9 * (1 + abs(shift))
    assert (A @ found.vector - found.value * found.vector).norm() < 1e-6


def test_the_estimated_error_is_kept():
    for seed in range(20):
        A = torch.randn(200, 40, generator=generator(seed), dtype=DOUBLE)
        A = A @ A.T / 200
        start = starting_vector(200, A)
        found = lanczos(lambda v, A=A: v @ A, start, 60, tolerance=1e-4)
        exact = torch.linalg.eigvalsh(A)[-1]
        assert found.value <= exact * (1 + 1e-12) and (exact - found.value) / exact < 1e-4
        assert found.products < 25


def test_lanczos_agrees_with_arpack():
    A = symmetric(torch.logspace(-3, 2, 120, dtype=DOUBLE))
    operator = LinearOperator((120, 120), matvec=lambda v: A.numpy() @ v)
    found = lanczos(lambda v: v @ A, starting_vector(120, A))
    assert abs(found.value / eigsh(operator, k=1, which="LA")[0][0] - 1) < 1e-4


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_an_invariant_subspace_ends_the_search(rank):
    eigenvalues = torch.zeros(80, dtype=DOUBLE)
    eigenvalues[:rank] = torch.arange(1, rank + 1)
    for sign in (1, -1):
        A = symmetric(sign * eigenvalues)
        top = float(rank) if sign > 0 else 0.0
        early = lanczos(lambda v, A=A: v @ A, starting_vector(80, A))
        assert early.products <= rank + 2
        late = lanczos(lambda v, A=A: v @ A, starting_vector(80, A), tolerance=0)
        for found in (early, late):
            assert abs(found.value - top) < 1e-9


def test_operators_side_by_side_and_under_vmap():
    A = torch.stack([symmetric(torch.linspace(-i - 1.0, 2.0**i, 30, dtype=DOUBLE), i) for i in range(5)])
    A[3] = math.nan
    start = starting_vector(30, A).expand(5, -1)
    exact = [torch.linalg.eigvalsh(A[i])[-1] for i in (0, 1, 2, 4)]

    def product(v):
        return (A @ v.unsqueeze(-1)).squeeze(-1)

    together = lanczos(product, start, 30)
    mapped = vmap(lambda A: lanczos(lambda v: A @ v, starting_vector(30, A), 30, tolerance=0).value)(A)
    for value in (together.value, mapped):
        assert value[3].isnan()
        assert torch.allclose(value[[0, 1, 2, 4]], torch.stack(exact), rtol=1e-4)


def test_power_iteration_is_slower():
    eigenvalues = torch.linspace(0, 1, 50, dtype=DOUBLE)
    A = symmetric(eigenvalues)
    start = starting_vector(50, A)
    twenty, hundred = (power_iteration(lambda v: v @ A, start, n).value for n in (20, 100))
    assert twenty < hundred < 1 and 1 - twenty > 1e-3
    assert abs(lanczos(lambda v: v @ A, start).value - 1) < 1e-4


def test_the_start_has_no_symmetry():
    start = starting_vector(10_000, torch.zeros((), dtype=DOUBLE))
    assert start.abs().max() <= 0.5 and abs(start.mean()) < 1e-3 and len(start.unique()) == 10_000


# Hessians.


class Small(nn.Module):
    def __init__(self, seed: int):
        super().__init__()
        self.a = nn.Parameter(torch.randn(4, 3, generator=generator(seed), dtype=DOUBLE))
        self.b = nn.Parameter(torch.randn(4, generator=generator(seed + 100), dtype=DOUBLE))

    def forward(self, x):
        return (x @ self.a.T).tanh() @ self.b


NETWORK = Small(0)
X = torch.randn(20, 3, generator=generator(1), dtype=DOUBLE)
Y = torch.randn(20, generator=generator(2), dtype=DOUBLE)


def loss_of(tensors):
    return (functional_call(NETWORK, tensors, (X,)) - Y).square().mean()


@pytest.mark.parametrize("differences", [False, True])
def test_products_and_sharpness_of_replicas(differences):
    networks = [Small(seed) for seed in range(4)]
    stacked = {name: torch.stack([dict(n.named_parameters())[name].detach() for n in networks]) for name in ("a", "b")}
    flat = flatten(stacked)
    assert all(torch.equal(tensor, stacked[name]) for name, tensor in unflatten(flat, stacked).items())
    one = {name: tensor[:1] for name, tensor in stacked.items()}

    def of_row(row):
        return loss_of({name: tensor[0] for name, tensor in unflatten(row[None], one).items()})

    dense = torch.stack([jacrev(grad(of_row))(row) for row in flat])
    products = hessian_products(vmap(loss_of), stacked, differences)
    direction = torch.randn(flat.shape, generator=generator(), dtype=DOUBLE)
    expected = (dense @ direction.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(products(direction), expected, rtol=1e-6, atol=1e-6 if differences else 1e-12)
    if not differences:
        found = sharpness(vmap(loss_of), stacked)
        assert torch.allclose(found.value, torch.linalg.eigvalsh(dense)[:, -1], rtol=1e-4)
        assert not any(tensor.requires_grad for tensor in stacked.values())


def test_a_loss_that_is_differentiable_once():
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.square()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, slope):
            return 2 * slope * ctx.saved_tensors[0]

    scales = torch.tensor([1.0, 2.0, 5.0], dtype=DOUBLE)
    at = {"w": torch.ones(1, 3, dtype=DOUBLE)}
    found = sharpness(lambda p: (scales * Square.apply(p["w"])).sum(1), at)
    assert abs(found.value - 10) < 1e-3


def test_the_fused_cross_entropy_is_measured_as_the_plain_one():
    x, targets = torch.randn(12, 5, generator=generator(), dtype=DOUBLE), torch.arange(12) % 7
    at = {"w": torch.randn(1, 7, 5, generator=generator(1), dtype=DOUBLE), "m": torch.eye(5, dtype=DOUBLE)[None]}
    fused = sharpness(lambda p: cross_entropy(x @ p["m"][0], p["w"][0], targets)[None], at)
    plain = sharpness(lambda p: nn.functional.cross_entropy(x @ p["m"][0] @ p["w"][0].T, targets)[None], at)
    assert torch.allclose(fused.value, plain.value, rtol=1e-4)


# The callback.


class Captured(Logger):
    """A logger that keeps what it is told."""

    name, version = "captured", 0

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_hyperparams(self, *_, **__):
        pass

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, metrics))


@pytest.mark.parametrize("replicas", [1, 3])
def test_the_monitor_measures_the_loss_of_the_first_batches(replicas):
    def module():
        return LineModule(replicas=replicas, log_every=10, chunk=4, dtype="float64")

    data = LineData()
    logger = Captured()
    history = fit(module(), data, 40, callbacks=[SharpnessMonitor(every=20, batches=3)], logger=logger).history
    measured = history["sharpness"]
    assert history.steps.tolist() == [0, 10, 20, 30, 40]
    assert measured.isnan().all(1).tolist() == [False, True, False, True, False]
    x = data.stacked(range(replicas), 0, 3, 0, 1)["x"].double()  # (steps, r, b, d)
    x = x.transpose(0, 1).flatten(1, 2)
    exact = torch.linalg.eigvalsh(2 * x.mT @ x / x.shape[1])[:, -1]
    assert torch.allclose(measured[0], exact, rtol=1e-4) and torch.allclose(measured[4], exact, rtol=1e-4)
    told = {step: row["sharpness"] for step, row in logger.rows if "sharpness" in row}
    assert told == pytest.approx({step: history.at("sharpness", step).mean().item() for step in (0, 20, 40)})
    without = fit(module(), LineData(), 40).history
    assert torch.equal(without["loss"].nan_to_num(), history["loss"].nan_to_num()), "measuring changes no training"


def test_what_the_monitor_refuses():
    for options, says in (
        ({"every": 0}, "every must be"),
        ({"products": 0}, "products"),
        ({"tolerance": -1.0}, "toler"),
    ):
        with pytest.raises(ValueError, match=says):
            SharpnessMonitor(**options)
    with pytest.raises(ValueError, match="no multiple of log_every=10"):
        fit(LineModule(log_every=10), LineData(), 10, callbacks=[SharpnessMonitor(every=15)])
    with pytest.raises(ValueError, match="LineLaw trains by an update law"):
        fit(LineLaw(log_every=10), LineData(), 10, callbacks=[SharpnessMonitor(every=10)])


def run_with(tmp_path: Path, callbacks: str, *more: str) -> int:
    return main(
        ["train", "scan_and_snap/syn_small", "--trainer.max_steps=4", "--model.replicas=2", "--wandb=off"]
        + [f"--runs={tmp_path}", f"--trainer.callbacks={callbacks}", *more]
    )


# matplotlib 3.10 asks a tensor for a copy in a way that NumPy 2 has deprecated
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_recipe_takes_the_monitor(tmp_path, capsys):
    listed = "[{class_path: SharpnessMonitor, init_args: {every: 2}}]"
    assert run_with(tmp_path, listed, "--every=2") == 0
    (path,) = (tmp_path / "scan_and_snap" / "syn_small").iterdir()
    history = Run.read(path).history
    assert history.steps[~history["sharpness"].isnan().all(1)].tolist() == [0, 2, 4]
    assert "class_path: SharpnessMonitor" in (path / "recipe.yaml").read_text()
    recipe = recipes.read(path / "recipe.yaml")
    assert isinstance(recipe.trainer_options()["callbacks"][0], SharpnessMonitor)
    # a checkpoint holds the measurement of its own step
    saved = torch.load(path / "checkpoints" / "step=2.ckpt", weights_only=True)["history"]["columns"]["sharpness"]
    assert saved[saved.isnan().logical_not().all(1)].shape == (2, 2)


def test_a_recipe_with_a_wrong_callback_starts_nothing(tmp_path, capsys):
    for callbacks, says in (
        ("[{class_path: SharpnesMonitor}]", "did you mean 'SharpnessMonitor'"),
        ("[{class_path: SharpnessMonitor, init_args: {evry: 2}}]", "evry"),
        ("[{class_path: SharpnessMonitor, init_args: {every: 0}}]", "every must be at least 1"),
    ):
        assert run_with(tmp_path, callbacks) == 2
        assert says in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_callback_of_another_package_is_taken():
    path = recipes.find("scan_and_snap/syn_small")
    recipe = recipes.read(path, ["--trainer.callbacks=lightning.pytorch.callbacks.Timer"])
    (callback,) = recipe.trainer_options()["callbacks"]
    assert type(callback).__name__ == "Timer"
    with pytest.raises(ZooError, match="there is no 'os.nothing'"):
        recipes.read(path, ["--trainer.callbacks=os.nothing"]).trainer_options()
