"""`zoo sweep`: the same small grid on processes and on Ray, failures, points that are done, and interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo import figures
from zoo.cli import main
from zoo.cli.recipe import find
from zoo.cli.sweep import axis, draw, grid_points
from zoo.history import History, Run
from zoo.registry import ZooError
from zoo.sweeps import Sweep

RECIPE = "single_location/manifold"
SMALL = ["--trainer.max_steps=60", "--model.replicas=2"]
GRID = ["--grid", "model.d,data.d=20,30", "--grid", "model.lam=0.1,-1"]


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "zoo", "sweep", RECIPE, *arguments]
    # Ray's own state and tokens stay out of the home directory of whoever runs the tests.
    environment = os.environ | {"HOME": str(folder)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def sweep(folder: Path, *arguments: str) -> tuple[int, str, str]:
    process = start(folder, *arguments)
    out, error = process.communicate(timeout=300)
    return process.returncode, out, error


def table(folder: Path) -> Sweep:
    (path,) = folder.glob("runs/single_location/manifold/sweep-*/sweep.parquet")
    return Sweep.read(path)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[int, str, str]]:
    folder = tmp_path_factory.mktemp("sweep")
    return folder, sweep(folder, *SMALL, *GRID, "--jobs=2")


def test_a_failed_point_is_reported_and_does_not_stop_the_others(swept: tuple[Path, Any]) -> None:
    folder, (status, out, error) = swept
    assert status == 1 and "2 of 4 points" in out
    (failed,) = [line for line in error.splitlines() if line.startswith("failed: d=20,lam=-1")]
    assert "lam=-1.0" in failed and "Traceback" not in error
    logs = list(folder.glob("runs/single_location/manifold/sweep-*/logs/*.txt"))
    assert len(logs) == 4 and all(str(log) in error for log in logs if "lam=-1" in log.name)
    assert "lam=-1.0" in next(log for log in logs if "lam=-1" in log.name).read_text()


def test_the_table_holds_every_point_and_replica(swept: tuple[Path, Any]) -> None:
    found = table(swept[0])
    assert found.keys == ("model.d", "data.d", "model.lam") and found.columns["replica"] == [0, 1, 0, 1]
    assert found.columns["model.d"] == found.columns["data.d"] == [20, 20, 30, 30]
    groups = found.by("excess_risk", "model.d")
    for (d,), values in groups.items():
        (path,) = swept[0].glob(f"runs/single_location/manifold/d={d},lam=0.1-*")
        assert torch.equal(values, History.read(path / "history.parquet").last("excess_risk"))
        assert Run.read(path).weight.network.count == 2 and (path / "figures" / "four_panels.png").is_file()
    (lines,) = swept[0].glob("runs/single_location/manifold/sweep-*/sweep.csv")
    assert len(lines.read_text().splitlines()) == 1 + 4 and found.command.startswith(f"zoo sweep {RECIPE}")


def test_a_point_that_is_done_is_not_run_again(swept: tuple[Path, Any]) -> None:
    folder, _ = swept
    files = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/*/d=*/weights/*")}
    status, out, error = sweep(folder, *SMALL, *GRID, "--jobs=1")
    assert status == 1 and "2 of 4 points are done already" in error and "point 2 of 2" in error
    assert "2 of 4 points in" in out and files and files == {path: path.stat().st_mtime_ns for path in files}


def test_ray_gives_the_same_table(swept: tuple[Path, Any], tmp_path: Path) -> None:
    status, out, error = sweep(tmp_path, *SMALL, *GRID, "--jobs=2", "--engine=ray")
    assert status == 1 and "2 of 4 points" in out and "failed: d=20,lam=-1" in error
    assert table(tmp_path).columns == table(swept[0]).columns
    for path in tmp_path.glob("runs/*/*/d=*"):
        weight = path / "weights" / "manifold.safetensors"
        assert weight.read_bytes() == (swept[0] / path.relative_to(tmp_path) / "weights" / weight.name).read_bytes()
        assert not (path / "checkpoints").exists()
    assert len(list(tmp_path.glob("runs/single_location/manifold/sweep-*/logs/*.txt"))) == 4


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_sweep_survives_kill_9_of_a_worker_and_goes_on_after_ctrl_c(tmp_path: Path, number: signal.Signals) -> None:
    arguments = ("--trainer.max_steps=20000", "--model.log_every=500", "--grid", "model.d,data.d=20", "--jobs=1")
    process = start(tmp_path, *arguments)
    try:
        deadline = time.time() + 120
        while not (saved := list(tmp_path.glob("runs/*/*/d=20-*/checkpoints/*.ckpt"))):
            assert process.poll() is None and time.time() < deadline
            time.sleep(0.1)
        if number == signal.SIGKILL:
            # The worker is the child that multiprocessing spawned to run tasks, not its resource tracker.
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            (worker,) = [c for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]
            os.kill(int(worker), number)
        else:
            process.send_signal(number)
        _, error = process.communicate(timeout=120)
    finally:
        process.kill()
    if number == signal.SIGKILL:
        assert process.returncode == 1 and "its process died" in error
    else:
        assert process.returncode == 128 + signal.SIGINT and "the same command goes on" in error
    (path,) = {one.parent.parent for one in saved}
    assert not (path / "weights").exists() and list((path / "checkpoints").glob("*.ckpt"))
    before = max(int(one.stem.split("=")[1]) for one in (path / "checkpoints").glob("*.ckpt"))
    done = sweep(tmp_path, "--trainer.max_steps=20000", "--model.log_every=500", *arguments[2:])
    assert done[0] == 0 and 0 < before < 20000
    log = (path / "log.txt").read_text()
    assert log.count("training single_location/manifold") == 2 and Run.read(path).weight.record.steps == 20000


def test_a_grid_is_read() -> None:
    assert axis("model.d,data.d=40,80") == (("model.d", "data.d"), [40, 80])
    assert axis("model.lam=1e-4,.5") == (("model.lam",), [1e-4, 0.5])
    assert axis("model.start=sphere,manifold") == (("model.start",), ["sphere", "manifold"])
    own = grid_points(find(RECIPE), SMALL, [axis("model.d,data.d,model.lam=[20,20,0.5],[30,30,1.0]")], None)
    assert [point.values for point in own] == [
        {"model.d": d, "data.d": d, "model.lam": lam} for d, lam in ((20, 0.5), (30, 1.0))
    ]
    points = grid_points(find(RECIPE), SMALL, [axis("model.lam=0.5,1"), axis("seed_everything=0,1")], "try_l{lam}")
    assert [point.tag for point in points] == ["try_l05", "try_l05", "try_l1", "try_l1"]
    assert len({point.name for point in points}) == 4
    assert points[1].values == {"model.lam": 0.5, "seed_everything": 1}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--grid", "model.lamm=1"], "model.lam"),
        (["--grid", "model.lam"], "key=value"),
        (["--grid", "model.lam=1", "--grid", "model.lam=2"], "twice"),
        (["--grid", "model.lam=1,2,1"], "lam=1 twice"),
        (["--grid", "model.lam=1", "--tag", "a{step}"], "{lam}"),
        (["--grid", "model.lam=1", "--address", "auto"], "--engine=ray"),
        (["--grid", "model.lam=1", "--jobs", "0"], "--jobs"),
        ([], "needs a grid"),
    ],
)
def test_a_wrong_grid_is_one_sentence(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["sweep", RECIPE, "--runs", str(tmp_path), *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error and error.startswith("zoo: ") and len(error.splitlines()) == 1


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    columns = {"model.lr": [1, 1, 0.5], "replica": [0, 1, 0], "run": ["a", "a", "b"], "loss": [3.0, 1.0, None]}
    written = Sweep("scan_and_snap", "toy", ("model.lr",), "zoo sweep …", columns)
    written.write(tmp_path)
    found = Sweep.read(tmp_path / "sweep.parquet")
    assert found == written and found.by("loss", "model.lr") == {(1,): pytest.approx(torch.tensor([3.0, 1.0]))}
    (tmp_path / "sweep.parquet").write_bytes((find(RECIPE)).read_bytes())
    with pytest.raises((ValueError, OSError)):
        Sweep.read(tmp_path / "sweep.parquet")


def test_a_figure_of_another_grid_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = {"model.eta_z": [1.0], "replica": [0], "run": ["a"], "loss": [0.5]}
    assert draw(Sweep("scan_and_snap", "syn_medium", ("model.eta_z",), "zoo sweep …", columns), tmp_path) == []
    assert "figure entropy_grid is not for this grid" in capsys.readouterr().err


def test_a_film_is_saved_as_a_gif_and_its_last_frame(tmp_path: Path) -> None:
    from PIL import Image

    canvas, panel = figures.axes()
    (line,) = panel.plot([0, 1], [0, 0])
    film = figures.Film(canvas, frames=3, show=lambda i: line.set_ydata([0, i]))
    paths = figures.save(film, tmp_path, "film")
    assert [path.name for path in paths] == ["film.svg", "film.png", "film.gif"]
    with Image.open(tmp_path / "film.gif") as gif:
        assert gif.n_frames == 3
    again = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in figures.save(film, tmp_path, "film")] == again


def test_an_unknown_recipe_is_one_sentence() -> None:
    with pytest.raises(ZooError, match="did you mean"):
        find("single_location/manifolds")
