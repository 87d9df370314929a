"""The W&B side of a run: what `zoo train` tells while it trains, and `zoo sync`, which tells it again from the directory.

The run directory is the record and a W&B run a view of it, made in one of two ways:

- live, while the recipe trains: its W&B id is the name of the run directory. A run that goes on online goes on at W&B too.
  Offline has no resume, so there each part is a W&B run with an id of its own.
- rebuilt by `zoo sync`, whole, from recipe.yaml, environment.json, the history (of an interrupted run that of its last
  checkpoint), claims.json, figures/ and weights/. Two W&B runs with one id overwrite each other, so the id is the name of
  the run directory and a hash of everything that is told: what differs never shares an id, and sending the same twice,
  as after a connection that broke, puts the same numbers in the same place.

`synced.json` in the run directory lists the views that are whole. `zoo sync` does nothing for a directory that has not
changed since, and makes a new view of one that has; the older view stays at W&B until its owner deletes it there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from zoo import registry
from zoo.dashboards.spec import STEP
from zoo.files import sha256, write_json
from zoo.history import History, rows
from zoo.registry import ZooError

log = logging.getLogger("zoo")
PROJECT = "theorem-zoo"
VIEWS = "synced.json"
COLUMNS = ("claim", "says", "source", "expected", "now", "verdict")


@dataclass(frozen=True)
class Destination:
    """Where the W&B view of a run goes.

    Attributes:
        mode: "online", "offline", "off", or "auto": online with an account, else offline.
        entity, project: see `named`.
        weights: put the weight there too, as an artifact with its record.
    """

    mode: str = "auto"
    entity: str | None = None
    project: str | None = None
    weights: bool = False

    def settled(self) -> Destination | None:
        """With every default looked up; None if W&B is switched off. Never asks."""
        if self.mode == "off" or os.environ.get("WANDB_MODE") == "disabled":
            return None
        os.environ.setdefault("WANDB_SILENT", "true")
        mode = self.mode
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE") or ("online" if has_account() else "offline")
        mode = {"dryrun": "offline", "run": "online"}.get(mode, mode)  # W&B's older names
        entity, project = named(self.entity, self.project)
        return Destination(mode, entity, project, self.weights)


def named(entity: str | None, project: str | None) -> tuple[str | None, str]:
    """Entity and project, those of the environment if they are not given; None is the account's own entity."""
    return entity or os.environ.get("WANDB_ENTITY"), project or os.environ.get("WANDB_PROJECT") or PROJECT


def has_account() -> bool:
    """Whether W&B knows a key and accepts it; without a network a run is recorded offline and can be synced later."""
    try:
        return account()
    except ZooError as error:
        says = f"{str(error).rstrip('.')}: the run is recorded offline"
        log.warning(says)
        print(says, file=sys.stderr)
        return False


def account() -> bool:
    """Whether W&B knows a key. Never asks for one.

    Raises:
        ZooError: it does, but W&B refuses it or is not reached.
    """
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        return bool(wandb.login(prompt=False))
    except (wandb.Error, OSError) as error:
        raise ZooError(f"W&B is not reached ({' '.join(str(error).split())}).") from None


# What W&B is told.


def about(path: Path, system: str) -> dict[str, Any]:
    """Name, group, tags and config of the W&B run of a run directory.

    The config is flat, so that runs can be filtered by any key: model.d, trainer.max_steps, environment.commit.
    """
    recipe = yaml.safe_load((path / "recipe.yaml").read_text(encoding="utf-8"))
    environment = registry.read_json(path / "environment.json")
    name, tag = environment.pop("recipe"), environment.pop("tag")
    parts = {
        section: {"class_path": recipe[section]["class_path"]} | recipe[section]["init_args"]
        for section in ("model", "data")
    }
    config = {"system": system, "recipe": name, "tag": tag, "seed": recipe["seed_everything"], "run": path.name}
    config |= flat({"trainer": recipe["trainer"]} | parts | {"environment": environment})
    tags = dict.fromkeys((system, name, tag, registry.system(system).topic))
    return {"name": f"{system}/{tag}/{path.name}", "group": system, "tags": list(tags), "config": config}


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


@dataclass
class View:
    """Everything that W&B is told of a run directory.

    Attributes:
        about: see `about`.
        measured: (optimiser step, metrics), replicas as mean and quantiles.
        claims: entries of claims.json. figures: PNG files. weight: the record beside the weight's file.
            A run that is not finished has none of them.
        tells_weight: whether W&B gets the weight too.
    """

    about: dict[str, Any]
    measured: list[tuple[int, dict[str, float]]]
    claims: list[dict[str, Any]]
    figures: list[Path]
    weight: Path | None
    tells_weight: bool

    @classmethod
    def of(cls, path: Path, system: str, weights: bool) -> View:
        """Reads a run directory, finished or not.

        Raises:
            ZooError: it holds no measurement yet; or no weight, and `weights` asks for it.
        """
        measured = rows(history_so_far(path))
        records = sorted((path / "weights").glob("*.json"))
        # of a run that went on after it was finished, and was cut off, they are those of an earlier step
        if not records or registry.read_json(records[0])["steps"] < measured[-1][0]:
            if weights:
                raise ZooError(
                    f"{path} has no weight yet: finish it with `zoo train --resume {path}`, or leave out --log-weights."
                )
            return cls(about(path, system), measured, [], [], None, False)
        verdicts = registry.read_json(path / "claims.json") if (path / "claims.json").exists() else []
        return cls(
            about(path, system), measured, verdicts, sorted((path / "figures").glob("*.png")), records[0], weights
        )

    @property
    def digest(self) -> str:
        """Hex sha256 of all of it, whether the weight is told or not."""
        files = [*self.figures, *([self.weight, self.weight.with_suffix(".safetensors")] if self.weight else [])]
        told = [self.about, self.measured, self.claims, {file.name: sha256(file) for file in files}]
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()

    def tell_result(self, run: Any) -> None:
        """Figures as images, verdicts as a table and as summary values, the weight as an artifact."""
        import wandb

        last = self.measured[-1][0]
        media: dict[str, Any] = {f"figures/{path.stem}": wandb.Image(str(path)) for path in self.figures}
        if self.weight is not None:
            cells = [[str(entry[name]) for name in COLUMNS] for entry in self.claims]
            media["claims"] = wandb.Table(columns=list(COLUMNS), data=cells)
        if media:
            run.log(media | {STEP: last})
        for entry in self.claims:
            run.summary[f"claims/{entry['claim']}"] = entry["verdict"]
        if self.weight is not None and self.tells_weight:
            record = registry.read_json(self.weight)
            metadata = {
                key: record[key] for key in ("network", "dtype", "replicas", "command", "steps", "licence", "sha256")
            }
            artifact = wandb.Artifact(f"{record['system']}.{record['tag']}", type="model", metadata=metadata)
            for file in (self.weight.with_suffix(".safetensors"), self.weight):
                artifact.add_file(str(file.resolve()), policy="immutable")  # not copied: the run directory keeps it
            run.log_artifact(artifact)


def history_so_far(path: Path) -> History:
    """The history of a run directory, or that of its last checkpoint if this is further.

    Raises:
        ZooError: there is neither.
    """
    from zoo.training import checkpoints

    found = []
    if (path / "history.parquet").is_file():
        found.append(History.read(path / "history.parquet"))
    for checkpoint in checkpoints(path / "checkpoints")[-1:]:
        found.append(History.from_state(torch.load(checkpoint, weights_only=True, map_location="cpu")["history"]))
    found = [history for history in found if len(history.steps)]
    if not found:
        raise ZooError(f"{path} holds no measurement yet, neither history.parquet nor a checkpoint.")
    return max(found, key=lambda history: int(history.steps[-1]))  # the first of equals


def start(destination: Destination, path: Path, system: str, identity: str, **options: Any) -> Any:
    """Starts a W&B run in the run directory, with the optimiser step as the x-axis of everything."""
    import wandb

    mode: Any = destination.mode
    run = wandb.init(
        **about(path, system),
        entity=destination.entity,
        project=destination.project,
        id=identity,
        dir=str(path),
        mode=mode,
        reinit="finish_previous",  # one that an error left open, in a process that trains several recipes
        **options,
    )
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP, step_sync=True)
    return run


# Live.


class RunLogger(WandbLogger):
    """Lightning's logger on our x-axis; the hyper-parameters are in the flat config already.

    Args:
        destination: a settled one.
        path: the run directory, which holds recipe.yaml and environment.json.
        resumed: whether the run goes on from a checkpoint.
    """

    def __init__(self, destination: Destination, path: Path, system: str, resumed: bool):
        offline = destination.mode == "offline"
        name = run_id(path)
        self.identity = f"{name}-{secrets.token_hex(2)}" if offline and resumed else name
        super().__init__(project=destination.project, id=self.identity, save_dir=str(path))
        self.destination, self.path, self.system, self.resumed = destination, path, system, resumed
        self.options: dict[str, Any] = {} if offline else {"resume": "allow"}

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, started when it is first asked for."""
        if self._experiment is None:
            self._experiment = start(self.destination, self.path, self.system, self.identity, **self.options)
        return self._experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.experiment.log(dict(metrics) if step is None else {**metrics, STEP: step})

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Nothing: a dataclass among them would become a text that cannot be filtered."""

    @rank_zero_only
    def conclude(self, whole: bool) -> None:
        """Ends the W&B run.

        Args:
            whole: the recipe was trained to its end, so the result is told and `zoo sync` has nothing to repeat.
        """
        if self._experiment is None:
            return
        if not whole:
            self.experiment.finish()
            return
        view = View.of(self.path, self.system, self.destination.weights)
        run = self.experiment
        view.tell_result(run)
        run.finish()
        if not self.resumed:  # who knows where its first part went
            remember(self.path, run, self.destination, view)


def logger(destination: Destination, path: Path, system: str, resumed: bool) -> RunLogger | None:
    """A logger that streams with an account and records offline without one; None if switched off. Never asks."""
    settled = destination.settled()
    return RunLogger(settled, path, system, resumed) if settled is not None else None


def run_id(path: Path) -> str:
    """The name of a run directory as W&B takes it for an id."""
    return re.sub(r"[^\w-]+", "-", path.resolve().name)[:48]


# Rebuilt.


def views(path: Path) -> list[dict[str, Any]]:
    """The whole views that were made of a run directory."""
    return registry.read_json(path / VIEWS) if (path / VIEWS).exists() else []


def remember(path: Path, run: Any, destination: Destination, view: View) -> dict[str, Any]:
    """Adds a finished W&B run to synced.json."""
    offline = destination.mode == "offline"
    one = {
        "id": run.id,
        "content": view.digest,
        "weights": destination.weights,
        "mode": destination.mode,
        "entity": (destination.entity if offline else run.entity) or "",
        "project": destination.project,
        "place": str(Path(run.dir).resolve().parent.relative_to(path.resolve())) if offline else run.url,
    }
    write_json(path / VIEWS, [*views(path), one])
    return one


def sync(path: Path, system: str, destination: Destination) -> str:
    """Makes the W&B run of a run directory again, whole, unless W&B has it as it is; see the module's first lines.

    Returns:
        What was done, in one line.

    Raises:
        ZooError: W&B is switched off, has no account here or is not reached; the directory holds nothing to send.
    """
    import wandb

    settled = destination.settled()
    if settled is None:
        raise ZooError("W&B is switched off by WANDB_MODE=disabled: take it out of the environment.")
    destination = settled
    view = View.of(path, system, destination.weights)
    known = [one for one in views(path) if same_place(one, destination, path)]
    for one in known:
        if one["content"] == view.digest and one["weights"] >= destination.weights:
            return f"{path}: nothing to do, {where(one, path)} has it as it is"
    if destination.mode == "online" and not account():
        raise ZooError("zoo sync needs a W&B account: `wandb login` first, or --offline to write an offline run.")
    identity = f"{run_id(path)}-{view.digest[:8]}{'w' if destination.weights else ''}"
    kept = {one["place"] for one in views(path)}
    for cut_off in (path / "wandb").glob(f"offline-run-*-{identity}"):  # two offline runs with one id would collide
        if str(cut_off.relative_to(path)) not in kept:
            shutil.rmtree(cut_off)
    quiet = wandb.Settings(console="off", x_disable_stats=True, x_disable_meta=True, silent=True)
    try:
        with start(destination, path, system, identity, settings=quiet) as run:
            for step, metrics in view.measured:
                run.log({**metrics, STEP: step})
            view.tell_result(run)
    except (wandb.Error, OSError) as error:
        raise ZooError(f"{path} was not sent to W&B ({' '.join(str(error).split())}): run zoo sync again.") from None
    made = remember(path, run, destination, view)
    older = [where(one, path) for one in known]
    said = f"{path}: {len(view.measured)} steps, {count(view.figures, 'figure')}, {count(view.claims, 'claim')} in {where(made, path)}"
    return said + (f"; the older {', '.join(older)} can be deleted" if older else "")


def same_place(view: Mapping[str, Any], destination: Destination, path: Path) -> bool:
    """Whether a view is still there and where a destination says."""
    if (view["mode"], view["project"]) != (destination.mode, destination.project):
        return False
    here = destination.mode == "online" or (path / view["place"]).is_dir()
    return here and (destination.entity or view["entity"]) == view["entity"]


def where(view: Mapping[str, Any], path: Path) -> str:
    return view["place"] if view["mode"] == "online" else str(path / view["place"])


def count(things: Sequence[Any], what: str) -> str:
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}"
