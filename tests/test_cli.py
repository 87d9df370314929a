"""The commands as a user types them, on the smallest real recipe."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from zoo import registry
from zoo.cli import main
from zoo.cli.recipe import read
from zoo.history import History, Run
from zoo.training import checkpoints

SHORT = ["single_location/manifold", "--trainer.max_steps=300", "--model.d=50", "--data.d=50", "--replicas=3"]


def zoo(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `zoo` in a process of its own; a variable that is set to nothing is taken out of its environment."""
    command = [sys.executable, "-m", "zoo", *arguments]
    variables = {name: value for name, value in (os.environ | environment).items() if value}
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=300)


def only(folder: Path) -> Path:
    (path,) = folder.glob("*/*/*")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One short run with W&B offline, as a new user without an account gets it."""
    folder = tmp_path_factory.mktemp("train")
    environment = {"WANDB_MODE": "", "WANDB_API_KEY": "", "HOME": str(folder), "NETRC": str(folder / "none")}
    result = zoo("train", *SHORT, "--every=100", cwd=folder, **environment)
    assert result.returncode == 0, result.stderr
    return only(folder / "runs"), result


def test_training_fills_the_run_directory(trained: tuple[Path, Any]) -> None:
    path, result = trained
    assert path.parts[-3:-1] == ("single_location", "manifold")
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", path.name)
    for name in ("recipe.yaml", "history.parquet", "claims.json", "log.txt", "environment.json"):
        assert (path / name).stat().st_size > 0
    assert [p.name for p in checkpoints(path / "checkpoints")] == ["step=200.ckpt", "step=300.ckpt"]
    assert list((path / "figures").glob("*.svg")) and list((path / "figures").glob("*.png"))
    assert not list(path.glob("**/*.partial"))
    recipe = yaml.safe_load((path / "recipe.yaml").read_text())
    assert recipe["model"]["init_args"]["replicas"] == 3 and recipe["trainer"]["max_steps"] == 300
    history = History.read(path / "history.parquet")
    assert history.steps.tolist() == [0, 200, 300] and history["excess_risk"].shape == (3, 3)
    record = Run.read(path).weight.record
    assert record.steps == 300 and record.replicas == 3 and "--trainer.max_steps=300" in record.command
    assert record.overrides and record.data["name"] == "SingleLocationData"
    claims = json.loads((path / "claims.json").read_text())
    assert {claim["claim"] for claim in claims} and all(claim["verdict"] for claim in claims)
    assert "expected" in result.stdout and claims[0]["claim"] in result.stdout
    assert "excess_risk" in result.stderr and "step 300 of 300" in result.stderr


def test_training_without_an_account_records_offline(trained: tuple[Path, Any]) -> None:
    path, result = trained
    assert "wandb" not in result.stdout + result.stderr
    (run,) = (path / "wandb").glob("offline-run-*")
    (file,) = run.glob("*.wandb")
    inspect = subprocess.run(
        [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(file)],
        capture_output=True,
        text=True,
        check=True,
    )
    said = inspect.stdout
    for word in ("excess_risk", "figures/", "claims/C6", "model.d", "single_location/manifold/", "theorem-zoo"):
        assert word in said, f"{word} was not logged"


def test_an_account_without_a_network_records_offline(tmp_path: Path) -> None:
    account = {"WANDB_MODE": "", "WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    result = zoo("train", *SHORT, "--trainer.max_steps=64", cwd=tmp_path, **account)
    assert result.returncode == 0, result.stderr
    path = only(tmp_path / "runs")
    assert list((path / "wandb").glob("offline-run-*")) and "Traceback" not in result.stderr
    for said in (result.stderr, (path / "log.txt").read_text()):
        assert "the run is recorded offline" in said


def test_a_run_is_resumed_and_command_line_values_win(trained: tuple[Path, Any], tmp_path: Path) -> None:
    path, _ = trained
    result = zoo("train", "--resume", str(path), "--trainer.max_steps=400", "--wandb=off", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    history = History.read(path / "history.parquet")
    assert history.steps.tolist() == [0, 200, 400]
    whole = zoo("train", *SHORT, "--trainer.max_steps=400", "--wandb=off", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    other = Run.read(only(tmp_path / "runs"))
    overrides = [word.removeprefix("--") for word in SHORT[1:3]] + ["trainer.max_steps=400"]
    record = Run.read(path).weight.record
    assert all(f"--{change}" in record.command for change in overrides) and record.steps == 400
    for name, tensor in Run.read(path).weight.network.tensors().items():
        assert torch.equal(tensor, other.weight.network.tensors()[name])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "zoo", "train", *SHORT, "--trainer.max_steps=1000000", "--wandb=off"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None and process.stdout is not None
    assert process.stderr.readline().startswith("step "), "the first chunk is done"
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number, err
    path = only(tmp_path / "runs")
    assert f"go on with: zoo train --resume {path.relative_to(tmp_path)}" in out
    (saved,) = checkpoints(path / "checkpoints")
    step = torch.load(saved, weights_only=True)["global_step"]
    assert 0 < step < 1_000_000 and (path / "history.parquet").exists() and "Traceback" not in err
    resumed = zoo("train", f"--resume={path}", f"--trainer.max_steps={step + 64}", "--wandb=off", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr


def test_two_devices_train_the_same_replicas(tmp_path: Path) -> None:
    devices = ["--trainer.devices=2", "--trainer.accelerator=cpu", "--wandb=off"]
    assert zoo("train", *SHORT, *devices, "--runs=two", cwd=tmp_path).returncode == 0
    assert zoo("train", *SHORT, "--wandb=off", "--runs=one", cwd=tmp_path).returncode == 0
    one, two = (Run.read(only(tmp_path / name)) for name in ("one", "two"))
    assert one.weight.network.count == two.weight.network.count == 3
    for name, tensor in one.weight.network.tensors().items():
        torch.testing.assert_close(two.weight.network.tensors()[name], tensor)
    torch.testing.assert_close(one.history["kappa"], two.history["kappa"])


MISTAKES = {
    "unknown recipe": (["train", "single_location/manifolt"], "did you mean 'single_location/manifold'?"),
    "no recipe": (["train"], "zoo train needs a recipe"),
    "unknown key": (["train", *SHORT, "--model.step_sise=1"], "did you mean 'model.step_size'?"),
    "unknown section": (
        ["train", *SHORT, "--trainor.max_steps=1"],
        "There is no key 'trainor.max_steps', did you mean",
    ),
    "wrong type": (["train", *SHORT, "--trainer.max_steps=many"], "trainer.max_steps"),
    "refused value": (["train", *SHORT, "--model.chunk=0"], "chunk must be at least 1"),
    "model and data apart": (["train", *SHORT, "--data.d=60"], "the model has d=50 but the data have d=60"),
    "no value": (["train", *SHORT, "--model.d"], "--model.d needs a value"),
    "stray word": (["train", *SHORT, "more"], "'more' is not an option"),
    "unknown class": (["train", *SHORT, "--model.class_path=PopulationDecent"], "did you mean 'PopulationDescent'?"),
    "no run": (["train", "--resume", "nowhere"], "nowhere is not a run directory"),
    "unknown weight": (["show", "single_location.manifolt"], "did you mean 'single_location.manifold'?"),
    "unknown system": (["verify", "single_locatoin"], "did you mean 'single_location'?"),
    "unknown rank": (["verify", "--rank=weight"], "did you mean 'weights'?"),
    "nothing listed": (["list", "zzz*"], "Nothing is called 'zzz*'"),
    "not constructed": (["construct", "single_location.oracel"], "did you mean 'oracle'?"),
    "not a run": (["ship", "nowhere"], "nowhere is not the directory of a finished run"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_sentence(mistake: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments, says = MISTAKES[mistake]
    if arguments[0] == "train":
        arguments = [*arguments, f"--runs={tmp_path}", "--wandb=off"]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert says in error and error.startswith("zoo: ") and error.count("\n") == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "nothing half-written"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("trainer: [", "is not a YAML file"),
        ("just a sentence", "is not a recipe"),
        ("trainer: {}\nmodle: {}", "unknown key 'modle', did you mean 'model'?"),
        ("trainer: {max_stepz: 3}\nmodel: {class_path: PopulationDescent}\ndata: {class_path: SingleLocationData}",
         "unknown key 'trainer.max_stepz', did you mean 'trainer.max_steps'?"),
        ("model: {class_path: PopulationDescent}", "has no data.class_path"),
    ],
)  # fmt: skip
def test_a_bad_recipe_file_gets_one_sentence(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(registry.ZooError, match=re.escape(says)):
        read(path)


def test_numbers_in_recipes_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(
        "trainer: {max_steps: 10}\nmodel: {class_path: PopulationDescent, init_args: {d: 50, lam: 0.1, step_size: 4e-3}}\n"
        "data: {class_path: SingleLocationData, init_args: {d: 50}}\n"
    )
    recipe = read(path, ["--model.lam=1e-1", "--seed_everything", "7"])
    assert recipe.resolved()["model"]["init_args"]["step_size"] == 4e-3
    assert recipe.resolved()["model"]["init_args"]["lam"] == 0.1 and recipe.given["seed_everything"] == 7
    module, data = recipe.objects()
    assert module.seed == data.seed == 7


def test_print_config_prints_a_recipe_that_trains(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", *SHORT, "--seed=3", "--print_config"]) == 0
    path = tmp_path / "printed.yaml"
    path.write_text(capsys.readouterr().out)
    assert read(path).resolved()["seed_everything"] == 3


def test_list_and_show_are_readable_and_exact(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows if row["is"] == "weight"] == list(registry.weight_files())
    assert main(["list"]) == 0
    plain = capsys.readouterr().out
    assert all(row["name"] in plain for row in rows) and "\033" not in plain
    for name in ("single_location", "single_location.manifold"):
        assert main(["show", name]) == 0
        text = capsys.readouterr().out
        assert "claims" in text and "holds" in text
        assert main(["show", name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)


KEYS = [
    "system",
    "weight",
    "claim",
    "rank",
    "kind",
    "source",
    "expected",
    "tolerance",
    "card",
    "now",
    "verdict",
    "seconds",
]


def test_verify_recomputes_and_compares_with_the_record(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["verify", "single_location.manifold", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows and all(list(row) == KEYS for row in rows)
    assert all(row["verdict"] == "holds" and row["card"] is not None for row in rows)
    from zoo.claims import Cards

    find = Cards.find

    def contradicted(self: Cards, claim: Any) -> Any:
        card = find(self, claim)
        return card and card | {"verdict": "differs"}

    monkeypatch.setattr(Cards, "find", contradicted)
    assert main(["verify", "single_location.manifold"]) == 1
    assert "the record says differs, now it holds" in capsys.readouterr().out


def test_verify_of_a_missing_data_folder_skips_with_the_reason(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_DATA", "unchanged")
    assert main(["verify", "attention_memorizer.wikitext2", f"--data={tmp_path}", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    skipped = [row for row in rows if row["verdict"].startswith("skipped(")]
    assert skipped and str(tmp_path) in skipped[0]["verdict"]


def test_figures_are_drawn_twice_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert main(["figures", "single_location", "--out", str(tmp_path / name)]) == 0
    for path in (tmp_path / "a").glob("*/*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
