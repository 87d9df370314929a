"""Numbers that figures keep: they are what their functions return, and not used where the weights have changed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import zoo.kept
from zoo import registry
from zoo.models.neural_ode_resnet import released_runs as runs
from zoo.models.rnn_signature import figures as signature_figures

FILES = sorted(registry.MODELS.glob("*/kept/*.safetensors"))


def makers() -> dict[Path, Callable[[], dict[str, Tensor]]]:
    for system in registry.systems().values():
        system.part("figures")
    return {path: make for path, (make, _) in zoo.kept._makers.items()}


def test_every_file_has_its_function_and_every_function_its_file() -> None:
    assert sorted(path for path in makers() if registry.MODELS in path.parents) == FILES and FILES


def test_kept_runs_begin_as_they_are_computed() -> None:
    found = runs.released_runs()
    for depth in (2, 16):
        for name, values in runs.jumps_in_time(depth, 20).items():
            assert torch.allclose(values, found[name][:20], rtol=1e-4), name
    early = runs.early_weights(100)["early"]
    assert torch.allclose(early, found["early"][:2], atol=1e-6)


def test_numbers_of_other_weights_are_computed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def numbers() -> dict[str, Tensor]:
        calls.append(1)
        return {"one": torch.ones(1) * len(calls)}

    monkeypatch.setattr(inspect, "getfile", lambda _: str(tmp_path / "figures.py"))
    (tmp_path / "kept").mkdir()
    name = "single_location.oracle"
    assert zoo.kept.kept(name)(numbers)()["one"] == 1 and calls == [1], "without a file they are computed"
    make, weights = zoo.kept._makers.pop(tmp_path / "kept" / "numbers.safetensors")

    path = tmp_path / "kept" / "numbers.safetensors"
    save_file({"one": torch.full((1,), 7.0)}, path, {"of": zoo.kept._of(weights)})
    assert zoo.kept.kept(name)(numbers)()["one"] == 7 and calls == [1], "of the same weights they are read"
    assert zoo.kept.kept("single_location.sgd")(numbers)()["one"] == 2 and calls == [1, 1], "of others they are not"
    zoo.kept._makers.pop(path)


def test_the_attack_is_kept_of_the_shipped_spirals() -> None:
    for accuracy in signature_figures.attacked_spirals().values():
        assert accuracy.shape[0] == len(signature_figures.BUDGETS) and bool((accuracy[0] >= accuracy[-1]).all())


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_kept_numbers_are_computed_again(path: Path) -> None:
    kept = load_file(path)
    for name, values in makers()[path]().items():
        assert torch.allclose(values.double(), kept[name].double(), rtol=1e-3, atol=1e-6), name
