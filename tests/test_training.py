"""The training engine: what chunks, replicas, resumes, processes and signals may and may not change."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from fitting import fit
from toy import Line, LineData, LineLaw, LineModule

from datamodules.stream import cuts, generator
from zoo.history import History, NotMeasured, spread
from zoo.replicas import Replicas
from zoo.training import ZooModule, checkpoints

MODULES = [LineModule, LineLaw]


def same(a: ZooModule, b: ZooModule) -> bool:
    histories = a.history.state(), b.history.state()
    columns = all(
        torch.equal(value.nan_to_num(), histories[1]["columns"][name].nan_to_num())
        for name, value in histories[0]["columns"].items()
    )
    return columns and all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("cls", MODULES)
@pytest.mark.parametrize("replicas", [1, 3])
def test_resume_is_bit_exact(cls: type[ZooModule], replicas: int, tmp_path: Path) -> None:
    whole = fit(cls(replicas=replicas), LineData(), 300, tmp_path / "whole")
    fit(
        cls(replicas=replicas), LineData(), 130, tmp_path / "parts"
    )  # stops inside an epoch, a block and a logged window
    parts = fit(cls(replicas=replicas), LineData(), 300, tmp_path / "parts")
    assert same(whole, parts)


@pytest.mark.parametrize("cls", MODULES)
def test_three_epochs_are_one_and_two_more(cls: type[ZooModule], tmp_path: Path) -> None:
    whole = fit(cls(replicas=2), LineData(steps_per_epoch=40), 120, tmp_path / "whole")
    fit(cls(replicas=2), LineData(steps_per_epoch=40), 40, tmp_path / "parts")
    parts = fit(cls(replicas=2), LineData(steps_per_epoch=40), 120, tmp_path / "parts")
    assert same(whole, parts)


@pytest.mark.parametrize("cls", MODULES)
def test_chunks_change_nothing(cls: type[ZooModule], tmp_path: Path) -> None:
    one = fit(cls(replicas=2, chunk=1), LineData(), 150, tmp_path / "1")
    many = fit(cls(replicas=2, chunk=64), LineData(), 150, tmp_path / "64")
    assert same(one, many)


@pytest.mark.slow
@pytest.mark.parametrize("cls", MODULES)
@pytest.mark.parametrize("replicas", [1, 3])
def test_compiling_changes_only_rounding(cls: type[ZooModule], replicas: int, tmp_path: Path) -> None:
    plain = fit(cls(replicas=replicas), LineData(), 100, tmp_path / "plain")
    compiled = fit(cls(replicas=replicas, compile=True), LineData(), 100, tmp_path / "compiled")
    torch.testing.assert_close(compiled.copies.network.w, plain.copies.network.w)  # type: ignore[union-attr]


def test_a_replica_does_not_depend_on_the_others(tmp_path: Path) -> None:
    few = fit(LineModule(replicas=2), LineData(), 100, tmp_path / "2")
    many = fit(LineModule(replicas=5), LineData(), 100, tmp_path / "5")
    assert few.copies is not None and many.copies is not None
    torch.testing.assert_close(few.copies.network.w, many.copies.network.w[:2])
    assert not torch.equal(many.copies.network.w[0], many.copies.network.w[1])


def test_one_replica_by_autograd_equals_the_stacked_gradient(tmp_path: Path) -> None:
    single = fit(LineModule(replicas=1), LineData(), 100, tmp_path / "1")
    stacked = fit(LineModule(replicas=2), LineData(), 100, tmp_path / "2")
    torch.testing.assert_close(single.copies.network.w[0], stacked.copies.network.w[0])  # type: ignore[union-attr]


def test_float64_is_kept(tmp_path: Path) -> None:
    module = fit(LineModule(replicas=2, dtype="float64"), LineData(), 60, tmp_path)
    networks, task, _ = module.result()
    assert networks.network.w.dtype == task["truth"].dtype == torch.float64


def test_epochs_count_optimiser_steps(tmp_path: Path) -> None:
    module = LineModule(replicas=2, chunk=7)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, LineData(steps_per_epoch=25))
    assert trainer.global_step == 75 and trainer.current_epoch == 3


def test_a_changed_step_size_wins_over_the_checkpoint(tmp_path: Path) -> None:
    fit(LineModule(replicas=2, step_size=0.1), LineData(), 50, tmp_path)
    module = fit(LineModule(replicas=2, step_size=0.003), LineData(), 60, tmp_path)
    optimiser: Any = module.optimizers(use_pl_optimizer=False)
    assert optimiser.param_groups[0]["lr"] == 0.003


def test_checkpoints_are_read_without_pickle(tmp_path: Path) -> None:
    for cls in MODULES:
        fit(cls(replicas=2), LineData(), 50, tmp_path / cls.__name__)
        content = torch.load(checkpoints(tmp_path / cls.__name__)[-1], weights_only=True)
        assert all(name.startswith("copies.") for name in content["state_dict"]), "only networks are state"
        assert content["global_step"] == 50 and content["hyper_parameters"]["step_size"] == 0.1


def test_a_history_keeps_what_was_measured() -> None:
    history, live = History(), torch.tensor([1.0, 2.0], dtype=torch.float64)
    history.add(0, {"a": live})
    live += 5
    assert history.at("a", 0).tolist() == [1.0, 2.0]


def test_history_survives_parquet(tmp_path: Path) -> None:
    history = History()
    history.add(0, {"a": torch.tensor([1.0, 2.0])})
    history.add(10, {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([5.0, 6.0])})
    history.write(tmp_path / "history.parquet")
    again = History.read(tmp_path / "history.parquet")
    assert again.steps.tolist() == [0, 10] and again.replicas == 2
    torch.testing.assert_close(again["b"], history["b"], equal_nan=True)
    assert again.at("a", 10).tolist() == [3.0, 4.0]
    with pytest.raises(NotMeasured, match="no metric 'c'"):
        again["c"]


def test_spread_gives_mean_and_quantiles() -> None:
    flat = spread({"x": torch.arange(11.0)})
    assert flat == pytest.approx({"x": 5.0, "x/q10": 1.0, "x/q90": 9.0})
    assert spread({"x": torch.tensor([2.0])}) == {"x": 2.0}


def test_spread_leaves_out_replicas_that_diverged() -> None:
    flat = spread({"x": torch.tensor([torch.nan, 1.0, 3.0]), "y": torch.full((3,), torch.nan)})
    assert flat == pytest.approx({"x": 2.0, "x/q10": 1.2, "x/q90": 2.8})


def test_cuts_meet_every_multiple() -> None:
    assert list(cuts(5, 31, 10, 15)) == [(5, 10), (10, 15), (15, 20), (20, 30), (30, 31)]


def test_streams_are_pure_and_apart() -> None:
    data = LineData(seed=1)
    whole = data.batches(0, 0, 50, 0, 1)["x"]
    parts = torch.cat([LineData(seed=1).batches(0, a, b, 0, 1)["x"] for a, b in ((0, 13), (13, 40), (40, 50))])
    assert torch.equal(whole, parts)
    others = [LineData(seed=2).batches(0, 0, 50, 0, 1), data.batches(1, 0, 50, 0, 1), data.batches(0, 0, 50, 1, 2)]
    for other in others:
        assert not torch.isin(other["x"], whole).any()
    assert generator("a", 1).initial_seed() != generator("a", 2).initial_seed()


def test_replicas_stack_and_come_apart() -> None:
    lines = [Line(d=3, generator=generator(r)) for r in range(4)]
    replicas = Replicas(lines)
    x = torch.randn(5, 3)
    torch.testing.assert_close(replicas(x), torch.stack([line(x) for line in lines]))
    torch.testing.assert_close(replicas.one(2)(x), lines[2](x))
    norms = replicas.each(lambda network: network.norm() + network.w.sum())
    torch.testing.assert_close(norms, torch.stack([line.norm() + line.w.sum() for line in lines]))
    with pytest.raises(IndexError, match="replicas 0 to 3"):
        replicas.one(4)


def test_a_module_says_what_is_wrong() -> None:
    for options, says in [
        ({"replicas": 0}, "replicas must be at least 1"),
        ({"dtype": "half"}, "dtype must be one of"),
    ]:
        with pytest.raises(ValueError, match=says):
            LineModule(**options)


# Processes of their own.


def start(folder: Path, *arguments: object) -> subprocess.Popen[bytes]:
    script = Path(__file__).with_name("toy_run.py")
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(script.parent.parent)}
    environment.pop("ZOO_RUN_DIRECTORY", None)
    command = [sys.executable, str(script), str(folder), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


def finished(process: subprocess.Popen[bytes], folder: Path) -> dict[str, Any]:
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors.decode()
    return torch.load(folder / "result.pt", weights_only=True)


@pytest.mark.parametrize("module", ["LineModule", "LineLaw"])
def test_two_processes_share_replicas_and_give_the_result_of_one(module: str, tmp_path: Path) -> None:
    one = finished(start(tmp_path / "1", module, 1, 3, 120), tmp_path / "1")
    two = finished(start(tmp_path / "2", module, 2, 3, 120), tmp_path / "2")
    torch.testing.assert_close(one["w"], two["w"])
    assert torch.equal(one["truth"], two["truth"])
    assert one["history"]["columns"]["distance"].shape == two["history"]["columns"]["distance"].shape == (3, 3)
    torch.testing.assert_close(one["history"]["columns"]["distance"], two["history"]["columns"]["distance"])
    # A run of two processes goes on in one, since its checkpoint holds every replica.
    more = finished(start(tmp_path / "2", module, 1, 3, 200), tmp_path / "2")
    whole = finished(start(tmp_path / "3", module, 1, 3, 200), tmp_path / "3")
    torch.testing.assert_close(more["w"], whole["w"])


def test_two_processes_share_the_batches_of_one_replica(tmp_path: Path) -> None:
    two = finished(start(tmp_path / "2", "LineModule", 2, 1, 100), tmp_path / "2")
    # The same by hand: the mean gradient of the two ranks' batches.
    data, line = LineData(), Line(generator=generator("toy", 0, "init", 0))
    optimiser = torch.optim.Adam(line.parameters(), lr=0.1)
    task = data.task(0)
    ranks = [data.batches(0, 0, 100, rank, 2)["x"] for rank in (0, 1)]
    assert not torch.isin(ranks[0], ranks[1]).any()
    for step in range(100):
        x = torch.cat([rank[step] for rank in ranks])
        optimiser.zero_grad()
        (line(x) - x @ task["truth"]).square().mean().backward()
        optimiser.step()
    torch.testing.assert_close(two["w"][0], line.w.detach(), rtol=1e-4, atol=1e-5)


def test_killed_in_the_middle_of_a_checkpoint_it_resumes_exactly(tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    process = start(folder, "LineModule", 1, 2, 200, "slow")
    deadline = time.monotonic() + 120
    while len(checkpoints(folder / "checkpoints")) < 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    (folder / "checkpoints" / "writing").unlink()
    while not (folder / "checkpoints" / "writing").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [path.name for path in checkpoints(folder / "checkpoints")] == ["step=50.ckpt"]
    assert list((folder / "checkpoints").glob(".*.partial"))
    resumed = finished(start(folder, "LineModule", 1, 2, 200), folder)
    whole = finished(start(tmp_path / "whole", "LineModule", 1, 2, 200), tmp_path / "whole")
    assert torch.equal(resumed["w"], whole["w"])


def test_a_metric_does_not_take_the_name_of_a_column() -> None:
    with pytest.raises(ValueError, match="cannot be called 'step'"):
        History().add(0, {"step": torch.ones(1)})


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_loss_knows_its_step_and_derived_metrics_join_the_row(replicas: int, tmp_path: Path) -> None:
    class Counting(LineModule):
        def loss(self, network: Any, batch: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
            return super().loss(network, batch, task) | {"seen": batch["step"].double()}

        def derived(self, row: Any) -> dict[str, Any]:
            return {"root": row["loss"].sqrt()} if "loss" in row else {}

    history = fit(Counting(replicas=replicas, chunk=3, log_every=10), LineData(), 20, tmp_path).history
    assert history.at("seen", 10).tolist() == [4.5] * replicas and history.at("seen", 20).tolist() == [14.5] * replicas
    torch.testing.assert_close(history.at("root", 20), history.at("loss", 20).sqrt(), rtol=1e-6, atol=0)
