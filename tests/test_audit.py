"""`zoo audit`: a trajectory is what it says, and every way it can be wrong is found."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo.cli import main
from zoo.history import Run
from zoo.hub.audit import chosen, digest
from zoo.training import checkpoints

SHORT = ["single_location/manifold", "--model.d=50", "--data.d=50", "--replicas=3", "--seed=3", "--wandb=off"]
# A module with a loss and an optimiser whose state a checkpoint must bring along.
OPTIMISED = ["attention_memorizer/table", "--replicas=2", "--wandb=off"]
TRAJECTORY = [0, 100, 200, 300]


def train(folder: Path, recipe: list[str], steps: int, *options: str) -> Path:
    assert main(["train", *recipe, f"--trainer.max_steps={steps}", f"--runs={folder}", *options]) == 0
    (path,) = folder.glob("*/*/*")
    return path


def steps(path: Path) -> list[int]:
    return [int(one.stem.removeprefix("step=")) for one in checkpoints(path / "trajectory")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("whole"), SHORT, 300, "--keep-every=100", "--every=100")


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def test_a_trajectory_is_kept_from_step_0_in_exact_steps_and_changes_nothing(whole: Path, tmp_path: Path) -> None:
    assert steps(whole) == TRAJECTORY, "multiples of 100, though a chunk has 64 steps"
    assert len(checkpoints(whole / "checkpoints")) == 2
    plain = train(tmp_path, SHORT, 300)
    assert not (plain / "trajectory").exists()
    assert Run.read(plain).weight.record.sha256 == Run.read(whole).weight.record.sha256


def test_a_whole_trajectory_is_found_whole(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(whole)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in said[:-1]] == ["yes "] * 6
    assert "4 steps are distinct" in said[0] and "step 0 is the seed's initialisation: bit for bit" in said[1]
    assert "step 300 follows from step 200 by the recipe: bit for bit" in said[4]
    assert Run.read(whole).weight.record.sha256[:12] in said[5]


def test_an_optimiser_and_a_resume_are_recomputed_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = train(tmp_path, OPTIMISED, 20, "--keep-every=10")
    again = ["--trainer.max_steps=40", "--keep-every=10", "--wandb=off"]
    assert main(["train", "--resume", str(path), *again]) == 0
    assert steps(path) == [0, 10, 20, 30, 40]
    assert main(["audit", str(path), "--samples=9"]) == 0
    assert capsys.readouterr().out.count("bit for bit") == 5


def damaged(change: Callable[[dict[str, Any]], Any], step: int) -> Callable[[Path], None]:
    """Rewrites a checkpoint, as an export script with a mistake would."""

    def damage(run: Path) -> None:
        path = run / "trajectory" / f"step={step}.ckpt"
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)

    return damage


def final_weights(run: Path) -> None:
    """The mistake of published families: an early step that holds the final weights."""
    last = torch.load(run / "trajectory" / "step=300.ckpt", weights_only=True)
    torch.save(last | {"global_step": 100}, run / "trajectory" / "step=100.ckpt")


def nudged(content: dict[str, Any]) -> None:
    state = content["state_dict"]
    name = sorted(state)[0]
    state[name] = state[name].nextafter(torch.tensor(torch.inf))


def another_seed(run: Path) -> None:
    path = run / "recipe.yaml"
    path.write_text(path.read_text().replace("seed_everything: 3", "seed_everything: 4"))


def another_step_size(run: Path) -> None:
    path = run / "recipe.yaml"
    path.write_text(path.read_text().replace("step_size: 0.004", "step_size: 0.005"))


class Bomb:
    def __reduce__(self) -> Any:
        return (open, ("exploded", "w"))


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "final weights in an early step": (
        final_weights,
        "NO  4 steps are distinct: 3 hashes; the same parameters at steps 100",
    ),
    "another initialisation": (damaged(nudged, 0), "NO  step 0 is the seed's initialisation: off by up to"),
    "a step off by the last bit": (
        damaged(nudged, 200),
        "NO  step 200 follows from step 100 by the recipe: off by up to",
    ),
    "another seed": (another_seed, "NO  step 0 is the seed's initialisation"),
    "another recipe": (another_step_size, "NO  step 100 follows from step 0"),
    "the weight of another step": (damaged(nudged, 300), "NO  the last step is the weight"),
    "a step under another name": (
        lambda run: (run / "trajectory" / "step=100.ckpt").rename(run / "trajectory" / "step=150.ckpt"),
        "NO  step 150: step=150.ckpt holds step 100",
    ),
    "no step 0": (lambda run: (run / "trajectory" / "step=0.ckpt").unlink(), "the first step kept is 100"),
    "no last step": (
        lambda run: (run / "trajectory" / "step=300.ckpt").unlink(),
        "NO  the last step is the weight: off by up to",
    ),
    "a pickle": (
        lambda run: (run / "trajectory" / "step=100.ckpt").write_bytes(pickle.dumps(Bomb())),
        "NO  step 100: step=100.ckpt is no checkpoint",
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_what_is_wrong_is_found(
    case: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    damage, says = DAMAGES[case]
    damage(run)
    assert main(["audit", str(run)]) == 1
    said = capsys.readouterr().out
    assert says in said and "do not publish it" in said
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["audit", "nowhere"], "nowhere is not the directory of a finished run"),
        (["audit", "RUN", "--samples=0"], "--samples must be at least 1"),
        (["train", *SHORT, "--keep-every=0"], "--keep-every must be at least 1, got 0"),
    ],
)
def test_a_mistake_gets_one_sentence(
    arguments: list[str], says: str, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(whole) if one == "RUN" else one for one in arguments]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_a_run_without_a_trajectory_says_how_to_keep_one(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(run / "trajectory")
    assert main(["audit", str(run)]) == 2
    assert "train it with --keep-every=STEPS" in capsys.readouterr().err


def test_samples_are_spread_and_hashes_tell_shapes_apart() -> None:
    assert chosen(10, 3) == [0, 4, 9] and chosen(10, 1) == [9] and chosen(2, 5) == [0, 1]
    one = {"w": torch.arange(6.0)}
    assert digest(one) != digest({"w": torch.arange(6.0).reshape(2, 3)}) != digest({"v": torch.arange(6.0)})
    assert digest(one) == digest({"w": torch.arange(6.0)})
