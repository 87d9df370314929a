"""Dashboards as code, against what the recipes really log; W&B runs, live and rebuilt; the save calls on a loopback."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb_server import ENTITY, serving

from zoo import registry
from zoo.cli import main
from zoo.cli import recipe as recipes
from zoo.cli.train import execute
from zoo.dashboards import runs, workspace
from zoo.dashboards.runs import Destination
from zoo.dashboards.spec import BAND, STEP, Dashboard, Lines, as_json
from zoo.figures import axes
from zoo.history import History, rows
from zoo.registry import ZooError

RECIPES = sorted((Path(__file__).parent.parent / "recipes").glob("*/*.yaml"))
DATA = Path(os.environ["ZOO_DATA"])
SYSTEMS = list(registry.systems())


def dashboard_of(system: str) -> Dashboard:
    found: Dashboard = registry.system(system).part("dashboard").DASHBOARD
    return found


# The specification.


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_specification_is_whole_and_the_same_every_time(system: str, capsys: pytest.CaptureFixture[str]) -> None:
    one = dashboard_of(system)
    names = [path.stem for path in RECIPES if path.parent.name == system]
    ids = [name for name, _ in one.panels()]
    assert one.system == system and len(set(ids)) == len(ids)
    for _, panel in one.panels():
        assert any(panel.about(name) for name in names) or panel.kind == "picture", f"{panel.title} is about no recipe"
    for runset in one.runsets:
        assert set(runset.tags) <= set(names), f"{runset.name} asks for a tag that no run has"
    assert main(["dashboard", system, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(as_json(one)))


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_workspace_has_no_random_part(system: str) -> None:
    pytest.importorskip("wandb_workspaces")
    one = dashboard_of(system)
    made, again = (workspace.workspace(one, "me", "p")._to_model().model_dump_json(by_alias=True) for _ in range(2))
    assert made == again
    bank = json.loads(made)["spec"]["section"]["panelBankConfig"]["sections"]
    panels = [panel for section in bank for panel in section["panels"]]
    assert len({panel["__id__"] for panel in panels}) == len(panels) == len(list(one.panels()))
    assert [section["name"] for section in bank] == [section.title for section in one.sections]
    (runset,) = json.loads(made)["spec"]["section"]["runSets"]
    assert f'"{system}"' in json.dumps(runset["filters"])


def test_a_panel_keeps_its_id() -> None:
    ids = dict(dashboard_of("single_location").panels())
    assert ids["single_location/risk/excess-risk"].title == "Excess risk"
    assert workspace.stable("single_location/risk/excess-risk") == "kjrkejxasgn"


# What the recipes log.


def records(wandb_run: Path) -> list[dict[str, Any]]:
    """The records of an offline W&B run, read by W&B itself."""
    (file,) = wandb_run.glob("*.wandb")
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(file)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in said.splitlines()]


def logged(found: list[dict[str, Any]]) -> tuple[dict[int, dict[str, float]], set[str]]:
    """Metrics by optimiser step, and the keys of what is not a number, from the records of a W&B run."""
    metrics: dict[int, dict[str, float]] = {}
    media = set()
    for record in found:
        item = record.get("history", {}).get("item", {})
        for name, value in item.items():
            if name.startswith("_") or name == STEP:
                continue
            if "." in name:  # parts of an image or of a table
                media.add(name.split(".")[0])
            else:
                metrics.setdefault(int(item[STEP]), {})[name] = float(value)
    return metrics, media


def config(found: list[dict[str, Any]]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for record in found:
        told |= record.get("run", {}).get("config", {}).get("update", {})
    return told


SMALL: dict[str, list[str]] = {
    "conversational_parser": ["--model.tests=10", "--data.validation=8"],
    "neural_ode_resnet/cifar": ["--model.depth=4", "--data.samples=300"],
    "ode_generalization": ["--model.depth=4", "--model.probe=100"],
    "ode_generalization/mnist": ["--data.samples=300"],
    "rnn_signature/spirals": ["--model.replicas=2", "--model.order=1"],
    "scaled_resnet": ["--data.samples=300"],
    "scaled_resnet/mnist": ["--model.depth=4"],
    "scaled_resnet/cifar_grid": ["--model.depth=4"],
    "scaled_resnet/cifar_conv": ["--model.blocks=1"],
}
NEEDS = {
    "wikitext2": "wikitext-2",
    "wikitext103": "wikitext-103",
    "cifar": "cifar-10-jpeg",
    "mnist": "mnist",
    "fsdd": "fsdd",
    "csqa": "csqa",
    "convquestions": "convquestions",
}
USERS_OWN = {  # data that a user brings, which are not public here
    "conversational_parser/csqa": "the full data set",
}
QUICK = (
    "attention_memorizer/table",
    "conversational_parser/synthetic",
    "deep_linear/edge_of_stability",
    "neural_ode_resnet/finite_time",
    "ode_generalization/digits",
    "rnn_signature/spirals",
    "scaled_resnet/mnist_grid",
    "scan_and_snap/reduced_flow",
    "scan_and_snap/syn_small",
    "self_attention_dynamics/encoder",
    "single_location/manifold",
)


def every_recipe() -> Iterator[Any]:
    for path in RECIPES:
        name = f"{path.parent.name}/{path.stem}"
        yield pytest.param(path, id=name, marks=[] if name in QUICK else [pytest.mark.slow])


def shortened(path: Path, scratch: Path) -> recipes.Recipe:
    """A recipe of two steps and of a small size, on one device."""
    name = f"{path.parent.name}/{path.stem}"
    if name in USERS_OWN:
        pytest.skip(f"it needs {USERS_OWN[name]}")
    for word, folder in NEEDS.items():
        if path.stem.startswith(word) and not (DATA / folder).exists():
            pytest.skip(f"no {folder} in $ZOO_DATA")
    changes = ["--trainer.max_steps=2", "--model.log_every=1", "--trainer.devices=1", "--trainer.strategy=auto"]
    changes += [change for start, some in SMALL.items() if name.startswith(start) for change in some]
    if name.startswith("conversational_parser/synthetic"):
        changes += ["--data.count=12", "--data.tests=10", f"--data.cache={scratch / 'cache'}", "--data.batch_size=8"]
    if name == "conversational_parser/synthetic_silver":
        forms = scratch / "forms.jsonl"
        assert main(["silver", "synthetic", "--dialogues=12", f"--out={forms}", "--jobs=1"]) == 0
        changes.append(f"--data.forms={forms}")
    return recipes.read(path, changes)


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # tensors in a figure
@pytest.mark.parametrize("path", list(every_recipe()))
def test_a_recipe_logs_what_its_panels_show_and_they_show_what_it_logs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "run"
    monkeypatch.setattr("zoo.claims.of_run", lambda run: iter(()))  # minutes for a run of two steps
    room = registry.system(path.parent.name).part("figures")  # some of them need more than two steps
    blank = [dataclasses.replace(figure, draw=lambda *_: axes()[0]) for figure in room.FIGURES]
    monkeypatch.setattr(room, "FIGURES", blank)
    execute(shortened(path, tmp_path), directory, Destination("offline"), None)
    (run,) = (directory / "wandb").glob("offline-run-*")
    metrics, media = logged(records(run))
    assert metrics == dict(rows(History.read(directory / "history.parquet"))), "W&B was told something else"
    names = {name for row in metrics.values() for name in row}
    one = dashboard_of(path.parent.name)
    panels = [panel for _, panel in one.panels() if panel.about(path.stem)]
    for panel in panels:
        missing = set(panel.shows()) - names - media
        assert not missing, f"{panel.title} shows {missing}, which the recipe does not log"
        if isinstance(panel, Lines) and panel.band and f"{panel.metrics[0]}/{BAND[0]}" in names:
            assert set(panel.curves()) <= names
    shown = {key for panel in panels for key in (*panel.shows(), *getattr(panel, "rest", ()))}
    base = {name for name in names if name.rpartition("/")[2] not in BAND}
    forgotten = {name for name in base - shown if not one.leaves_out(name)}
    assert not forgotten, f"no panel shows {forgotten}, and nobody says why"


# Runs that are rebuilt.


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that W&B was told nothing of."""
    folder = tmp_path_factory.mktemp("sync")
    short = ["--trainer.max_steps=300", "--model.d=50", "--data.d=50", "--replicas=3", "--model.log_every=100"]
    assert main(["train", "single_location/manifold", *short, "--wandb=off", "--every=100", f"--runs={folder}"]) == 0
    (path,) = folder.glob("*/*/*")
    return path


@pytest.fixture
def directory(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return shutil.copytree(trained, tmp_path / trained.name)


def offline(path: Path) -> list[Path]:
    return sorted((path / "wandb").glob("offline-run-*"))


def test_a_run_is_rebuilt_from_its_directory(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", str(directory), "--offline", "--project=mine"]) == 0
    said = capsys.readouterr().out
    (made,) = offline(directory)
    assert str(made) in said and said.count("\n") == 1
    found = records(made)
    metrics, media = logged(found)
    history = History.read(directory / "history.parquet")
    assert list(metrics) == [0, 100, 200, 300] and metrics == dict(rows(history))
    assert set(metrics[0]) == {name + end for name in history.metrics for end in ("", "/q10", "/q90")}
    assert media == {"figures/four_panels", "claims"}
    told = config(found)
    assert told["model.d"] == 50 and told["system"] == "single_location" and told["environment.hardware"]
    assert not any(isinstance(value, dict) for name, value in told.items() if name != "_wandb")
    (run,) = [record["run"] for record in found if "run" in record]
    assert run["project"] == "mine" and set(run["tags"]) == {"single_location", "manifold", "attention"}
    summary = json.dumps([record for record in found if "summary" in record])
    for entry in json.loads((directory / "claims.json").read_text()):
        assert f'"claims/{entry["claim"]}": "{entry["verdict"]}"' in summary


def test_a_second_sync_does_nothing_and_one_after_a_change_gets_a_new_id(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sync", str(directory), "--offline"]
    assert main(command) == 0
    first = offline(directory)
    capsys.readouterr()
    assert main(command) == 0
    assert "nothing to do" in capsys.readouterr().out and offline(directory) == first
    assert main(["train", "--resume", str(directory), "--trainer.max_steps=400", "--wandb=off"]) == 0
    capsys.readouterr()
    assert main(command) == 0
    said = capsys.readouterr().out
    (second,) = set(offline(directory)) - set(first)
    assert "the older" in said and first[0].name in said
    assert list(logged(records(second))[0]) == [0, 100, 200, 300, 400], "whole, not only what is new"
    ids = [one["id"] for one in runs.views(directory)]
    assert len(set(ids)) == 2 and all(one.startswith(directory.name) for one in ids)
    shutil.rmtree(second)
    assert main(command) == 0 and len(offline(directory)) == 2, "what was deleted is made again"


def test_a_sync_that_was_cut_off_is_made_again_without_its_rest(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(runs.View, "tell_result", cut_off)
        with pytest.raises(ZooError, match=r"no space left.*run zoo sync again"):
            runs.sync(directory, "single_location", Destination("offline"))
    (rest,) = offline(directory)
    assert not runs.views(directory)
    runs.sync(directory, "single_location", Destination("offline"))
    (made,) = offline(directory)
    assert len(logged(records(made))[0]) == 4 and runs.views(directory)[0]["place"] == f"wandb/{made.name}"


def test_an_interrupted_run_is_rebuilt_up_to_its_last_checkpoint(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("history.parquet", "claims.json"):
        (directory / name).unlink()
    for name in ("figures", "weights"):
        shutil.rmtree(directory / name)
    (directory / "checkpoints" / "step=300.ckpt").unlink()
    assert main(["sync", str(directory), "--offline"]) == 0
    (made,) = offline(directory)
    metrics, media = logged(records(made))
    (checkpoint,) = (directory / "checkpoints").glob("*.ckpt")
    step = int(checkpoint.stem.removeprefix("step="))
    assert list(metrics) == list(range(0, step + 1, 100)) and not media
    assert main(["sync", str(directory), "--offline", "--log-weights"]) == 2
    assert f"finish it with `zoo train --resume {directory}`" in capsys.readouterr().err


def test_the_weight_goes_along_as_it_is(directory: Path) -> None:
    assert main(["sync", str(directory), "--offline", "--log-weights"]) == 0
    (made,) = offline(directory)
    (artifact,) = [r["artifact"] for r in records(made) if r.get("artifact", {}).get("type") == "model"]
    assert artifact["name"] == "single_location.manifold"
    contents = {entry["path"]: entry for entry in artifact["manifest"]["contents"]}
    assert set(contents) == {"manifold.safetensors", "manifold.json"}
    for name, entry in contents.items():
        content = (directory / "weights" / name).read_bytes()
        assert entry["digest"] == base64.b64encode(hashlib.md5(content).digest()).decode()
        assert Path(entry["local_path"]).read_bytes() == content
    assert main(["sync", str(directory), "--offline"]) == 0
    assert offline(directory) == [made], "without the weight there is nothing that W&B lacks"


def test_a_live_run_is_not_sent_twice(directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["--trainer.max_steps=64", "--model.d=50", "--data.d=50", "--replicas=2", f"--runs={tmp_path / 'runs'}"]
    assert main(["train", "single_location/manifold", *short, "--log-weights", "--project=mine"]) == 0
    (path,) = (tmp_path / "runs").glob("*/*/*")
    (live,) = offline(path)
    artifacts = [record["artifact"]["type"] for record in records(live) if "artifact" in record]
    assert "model" in artifacts
    capsys.readouterr()
    assert main(["sync", str(path), "--offline", "--project=mine"]) == 0
    assert "nothing to do" in capsys.readouterr().out and offline(path) == [live]
    assert main(["sync", str(path), "--offline", "--project=other"]) == 0
    assert len(offline(path)) == 2


def test_mistakes_are_told_in_a_sentence(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sync", str(tmp_path), "--offline"]) == 2
    assert "is not a run directory" in capsys.readouterr().err
    shutil.rmtree(directory / "checkpoints")
    (directory / "history.parquet").unlink()
    assert main(["sync", str(directory), "--offline"]) == 2
    assert "holds no measurement yet" in capsys.readouterr().err
    assert main(["train", "single_location/manifold", "--wandb=off", "--log-weights"]) == 2
    assert "--log-weights" in capsys.readouterr().err
    assert main(["dashboard", "single_locaton", "--json"]) == 2
    assert "did you mean 'single_location'" in capsys.readouterr().err
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert main(["sync", str(directory), "--offline"]) == 2
    assert "WANDB_MODE=disabled" in capsys.readouterr().err


# Saving, by the real client against a loopback.


def commands(*lines: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs several commands in one process, and prints the exit status of each after what it prints."""
    script = "import sys\nfrom zoo.cli import main\n"
    script += "".join(f"print('exit', main({line!r}))\n" for line in lines)
    variables = {name: value for name, value in (os.environ | environment).items() if value}
    return subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True, timeout=300)


def test_saving_makes_one_workspace_and_one_report_and_updates_them() -> None:
    pytest.importorskip("wandb_workspaces")
    with serving() as server:
        server.state.projects, server.state.locked = ["theirs"], ("theirs",)
        save, refused = (["dashboard", "single_location", f"--project={name}"] for name in ("demo", "theirs"))
        told = commands(save, save, [*save, "--report"], [*save, "--report"], refused, **server.environment())
        assert told.stdout.count("exit 0") == 4, told.stdout + told.stderr
        assert server.state.projects == ["theirs", "demo"]
        view, report = server.state.views
    assert told.stdout.endswith("exit 2\n") and "permission denied" in told.stderr and "Traceback" not in told.stderr
    addresses = [line for line in told.stdout.splitlines() if not line.startswith("exit")]
    assert len(set(addresses)) == 2 and all(f"/{ENTITY}/demo" in address for address in addresses)
    assert (
        view.name == f"nw-{workspace.stable('single_location')}-v"
        and f"nw={workspace.stable('single_location')}" in addresses[0]
    )
    one = dashboard_of("single_location")
    made = workspace.workspace(one, ENTITY, "demo")._to_model().spec
    assert view.kind == "project-view" and view.spec == json.loads(
        made.model_dump_json(by_alias=True, exclude_none=True)
    )
    assert report.kind == "runs" and one.title in report.title
    text = json.dumps(report.spec, ensure_ascii=False)
    for claim in registry.system("single_location").part("claims").CLAIMS:
        assert f"| {claim.id} | " in text
    for _, panel in one.panels():
        assert all(f'"{key}"' in text for key in panel.shows())
    assert text.count('"Run set') == 0 and '"population"' in text


def test_a_run_is_sent_to_an_account_once(directory: Path) -> None:
    with serving() as server:
        send = ["sync", str(directory), "--project=demo"]
        told = commands(send, send, **server.environment())
    assert told.stdout.count("exit 0") == 2 and "nothing to do" in told.stdout, told.stdout + told.stderr
    ((identity, given),) = server.state.runs.items()
    (note,) = runs.views(directory)
    assert identity == note["id"] and note["place"] == f"{server.address}/{ENTITY}/demo/runs/{identity}"
    assert given["groupName"] == "single_location" and json.loads(given["config"])["model.d"] == {"value": 50}
    lines = server.state.history[identity].values()
    arrived: dict[int, dict[str, float]] = {}
    for line in lines:
        numbers = {name: value for name, value in line.items() if isinstance(value, float) and not name.startswith("_")}
        arrived.setdefault(line[STEP], {}).update(numbers)
    assert arrived == dict(rows(History.read(directory / "history.parquet")))
    figure = (directory / "figures" / "four_panels.png").read_bytes()
    assert figure in server.state.files.values()


def test_without_an_account_there_is_a_sentence(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("wandb_workspaces")
    assert main(["dashboard", "single_location"]) == 2
    assert "needs a W&B account: `wandb login` first, or --json" in capsys.readouterr().err
    with pytest.raises(ZooError, match="needs a W&B account: `wandb login` first, or --offline"):
        runs.sync(directory, "single_location", Destination("online"))
    assert not runs.views(directory)
