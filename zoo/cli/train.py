"""`zoo train`: a recipe becomes a run directory with history, checkpoints, weight, figures and verdicts.

runs/<system>/<tag>/<time>-<id>/
    recipe.yaml  environment.json  log.txt  history.parquet  claims.json
    checkpoints/  trajectory/ (with --keep-every)  figures/  weights/  wandb/
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import platform
import secrets
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
import yaml
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from zoo import claims, figures, history, registry
from zoo.claims import Retrain
from zoo.cli import recipe as recipes
from zoo.cli.progress import StepProgress
from zoo.cli.recipe import Recipe
from zoo.cli.verify import show_verdicts
from zoo.dashboards import runs
from zoo.dashboards.runs import Destination
from zoo.files import write_beside, write_json
from zoo.history import Run
from zoo.registry import ZooError
from zoo.training import Checkpoints, SpreadReplicas, StopOnSignal, ZooModule, checkpoints
from zoo.weights import Record, Weight, write_weight

log = logging.getLogger("zoo")
RUN_DIRECTORY = "ZOO_RUN_DIRECTORY"  # tells the processes that Lightning starts where the first one writes
PACKAGES = ("torch", "lightning", "safetensors", "numpy", "datasets", "wandb")


def train(options: argparse.Namespace, overrides: Sequence[str]) -> int:
    """The command. Returns 0, or 128 + the number of the signal that stopped the run."""
    overrides = list(overrides)
    if options.seed is not None:
        overrides.append(f"--seed_everything={options.seed}")
    if options.replicas is not None:
        overrides.append(f"--model.replicas={options.replicas}")
    for option, steps in (("--every", options.every), ("--keep-every", options.keep_every)):
        if steps is not None and steps < 1:
            raise ZooError(f"{option} must be at least 1, got {steps}.")
    if (options.recipe is None) == (options.resume is None):
        raise ZooError("zoo train needs a recipe, as single_location/manifold, or --resume with a run directory.")
    if options.resume:
        path = Path(options.resume)
        found = recipes.of_run(path, overrides)
    else:
        found = recipes.read(recipes.find(options.recipe), overrides)
        found.tag = options.tag or found.tag
        path = new_directory(found, Path(options.runs or "runs"))
    if options.print_config:
        print(yaml.safe_dump(found.resolved(), sort_keys=False, allow_unicode=True), end="")
        return 0
    view = Destination(options.wandb, options.entity, options.project, options.log_weights)
    if options.log_weights and options.wandb == "off":
        raise ZooError("--log-weights puts the weight into W&B: leave out --wandb=off.")
    stopped = execute(found, path, view, options.every, options.keep_every, resume=bool(options.resume))
    if stopped:
        print(f"stopped by {stopped.name}; go on with: zoo train --resume {path}")
        return 128 + stopped.value
    return 0


def retrain(system: str, needed: Retrain, folder: Path) -> Run:
    """Trains a recipe of a system again, quietly, for a claim of rank training."""
    changes = [f"--{key}={value}" for key, value in needed.overrides.items()]
    found = recipes.read(recipes.find(f"{system}/{needed.recipe}"), changes)
    path = new_directory(found, folder)
    execute(found, path, Destination("off"), None, judge=False)
    return Run.read(path)


def new_directory(recipe: Recipe, root: Path) -> Path:
    """Where a new run writes; the processes that Lightning starts are told by the first one."""
    said = os.environ.get(RUN_DIRECTORY)
    return Path(said) if said else root / recipe.system / recipe.tag / new_id()


def execute(
    recipe: Recipe,
    path: Path,
    view: Destination,
    every: int | None,
    keep_every: int | None = None,
    *,
    resume: bool = False,
    judge: bool = True,
) -> signal.Signals | None:
    """Trains, writes the run directory `path`, and (with `judge`) draws the figures and measures the claims.

    Checkpoints are written every `every` optimiser steps, and with `keep_every` a trajectory that is kept whole.
    Returns the signal that stopped the run, or None.

    Raises:
        ZooError: nothing was trained, as for data that are not there; the directory is removed again.
    """
    keep_big_buffers()
    quiet_lightning()
    module, data = recipe.objects()
    trainer_options = recipe.trainer_options()
    leads = getattr(rank_zero_only, "rank", 0) in (0, None)
    handler = start_directory(path, recipe) if leads else logging.NullHandler()
    stop = StopOnSignal()
    given = trainer_options.pop("callbacks", None) or []
    steps = trainer_options.get("max_steps", -1)
    saving = Checkpoints(path / "checkpoints", every or (max(1, steps // 10) if steps > 0 else data.steps_per_epoch))
    kept = [Checkpoints(path / "trajectory", keep_every, trajectory=True)] if keep_every is not None else []
    found = checkpoints(path / "checkpoints") if resume else []
    if resume and not found:
        raise ZooError(f"{path} has no checkpoint to resume from: train the recipe again.")
    logger = runs.logger(view, path, recipe.system, resumed=bool(found)) if judge else None
    try:
        os.environ[RUN_DIRECTORY] = str(path)
        trainer = L.Trainer(
            **{"strategy": strategy(module, trainer_options), "devices": "auto", "num_sanity_val_steps": 0}
            | trainer_options
            | {
                "logger": logger or False,
                # the user's first, so that a checkpoint holds what they add to the history of its step
                "callbacks": [*given, *kept, saving, stop, StepProgress()],
                "enable_checkpointing": False,
                "enable_progress_bar": True,
                "enable_model_summary": False,
                "default_root_dir": str(path),
            }
        )
        log.info("training %s/%s in %s", recipe.system, recipe.tag, path)
        trainer.fit(module, data, ckpt_path=str(found[-1]) if found else None, weights_only=True)
        networks, task, measured = module.result()
    except (ValueError, ZooError) as error:
        if module.copies is not None:
            raise
        # Nothing was trained: the data are not there, or model and data do not fit.
        if logger is not None:
            logger.conclude(whole=False)
        if leads and not resume:
            shutil.rmtree(path, ignore_errors=True)
        raise ZooError(str(error)) from None
    finally:
        os.environ.pop(RUN_DIRECTORY, None)
    if not trainer.is_global_zero:
        return stop.received
    measured.write(path / "history.parquet")
    if stop.received is None:
        record = Record(
            system=recipe.system,
            tag=recipe.tag,
            network=type(networks.network).__name__,
            arguments=networks.network.arguments,
            dtype=str(module.precision).removeprefix("torch."),
            replicas=networks.count,
            origin="trained",
            command=recipe.command,
            recipe=recipe.resolved(),
            overrides=recipe.overrides,
            seed=recipe.given["seed_everything"],
            steps=trainer.global_step,
            seconds=round(module.seconds, 1),
            metrics={name: float(f"{value:.6g}") for name, value in history.summary(measured).items()},
            data=data.provenance(),
            **surroundings(),
        )
        weight = write_weight(path / "weights", networks, task, record)
        run = Run(path, recipe.system, recipe.tag, recipe.resolved(), measured, weight)
        log.info("%d optimiser steps in %.1f s", trainer.global_step, module.seconds)
        if judge:
            conclude(run, recipe)
    if logger is not None:
        logger.conclude(whole=stop.received is None)
    log.removeHandler(handler)
    handler.close()
    return stop.received


def conclude(run: Run, recipe: Recipe) -> None:
    """Draws the run's figures, measures its claims, writes and prints both."""
    drawn = draw(run)
    verdicts = list(claims.of_run(run))
    write_json(run.path / "claims.json", [verdict.entry() for verdict in verdicts])
    run.weight.record.claims = [verdict.entry() for verdict in verdicts if verdict.claim.weights]
    write_weight(run.path / "weights", run.weight.network, run.weight.task, run.weight.record)
    if verdicts:
        show_verdicts(verdicts)
        if recipe.overrides:
            print(
                f"changed in the recipe: {', '.join(recipe.overrides)}; its claims are stated for the recipe as it is."
            )
    else:
        print(
            f"{run.system}/{run.tag} has no claim about one run alone; `zoo verify {run.system}` measures the others."
        )
    print(f"run directory {run.path}, figures {', '.join(path.stem for path in drawn)}")


def draw(run: Run) -> list[Path]:
    """Draws the figures of a run into its directory; returns the PNG files."""
    drawn = []
    for figure in registry.system(run.system).part("figures").FIGURES:
        if any(fnmatch(run.tag, pattern) for pattern in figure.recipes):
            paths = figures.save(figure.draw(run), run.path / "figures", figure.name)
            drawn += [path for path in paths if path.suffix == ".png"]
    return drawn


def strategy(module: ZooModule, options: dict[str, Any]) -> Any:
    """Replicas are spread over several devices; one replica, and one device, is Lightning's own choice."""
    devices, nodes = options.get("devices", "auto"), options.get("num_nodes", 1)
    if devices in ("auto", -1, "-1"):
        devices = max(1, torch.cuda.device_count()) if options.get("accelerator", "auto") != "cpu" else 1
    count = len(devices) if isinstance(devices, list) else int(devices)
    return SpreadReplicas() if module.replicas > 1 and count * nodes > 1 else "auto"


def start_directory(path: Path, recipe: Recipe) -> logging.Handler:
    """Writes recipe.yaml and environment.json, starts log.txt."""
    for partial in path.glob("**/.*.partial"):  # left by a killed run
        partial.unlink()
    path.mkdir(parents=True, exist_ok=True)
    with write_beside(path / "recipe.yaml") as beside:
        beside.write_text(yaml.safe_dump(recipe.resolved(), sort_keys=False, allow_unicode=True), encoding="utf-8")
    asked = {"recipe": recipe.name, "tag": recipe.tag, "overrides": recipe.overrides, "command": sys.argv}
    write_json(path / "environment.json", surroundings() | asked)
    for earlier in [one for one in log.handlers if isinstance(one, logging.FileHandler)]:
        log.removeHandler(earlier)  # of a run that failed in this process
        earlier.close()
    handler = logging.FileHandler(path / "log.txt")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    return handler


def surroundings() -> dict[str, Any]:
    """Hardware, versions and commit, for a record."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} {cpu_name()}"
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=registry.MODELS, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "hardware": f"{device}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "commit": head,
    }


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def new_id() -> str:
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def keep_big_buffers() -> None:
    """Stops glibc from returning buffers to the system at every step, which can double the time of a small step."""
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, at its largest
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
    except (OSError, AttributeError):
        pass  # not glibc


def quiet_lightning() -> None:
    """Leaves out Lightning's greetings and two warnings that are not about the run."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*grad attribute of a Tensor that is not a leaf.*")


def weight_of(path: Path) -> Weight:
    """The weight of a finished run.

    Raises:
        ZooError: the folder is not one.
    """
    try:
        return Run.read(path).weight
    except FileNotFoundError as error:
        raise ZooError(str(error)) from None
