"""`zoo sweep`: the points of a grid as ordinary runs, on this machine's processes or on a Ray cluster.

runs/<system>/<tag>/<point>/            a run directory like any other, named by the point and a hash of its whole recipe
runs/<system>/<recipe>/sweep-<hash>/    sweep.parquet  sweep.csv  figures/  logs/<point>.txt, one for every grid
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import json
import logging
import os
import re
import shlex
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml

from zoo import figures, registry
from zoo.cli import recipe as recipes
from zoo.cli.progress import PointProgress
from zoo.files import write_beside
from zoo.history import Run
from zoo.registry import ZooError
from zoo.sweeps import Sweep

Ended = Generator[tuple["Point", "Outcome"], None, None]


@dataclass(frozen=True)
class Point:
    """One run of a sweep.

    Attributes:
        name: of its run directory and of its log.
        system, tag: of the weight that it trains.
        values: its place in the grid.
        recipe, text: name and content of the YAML file, so that a machine without the file can train it.
        overrides: "--key=value" of the whole sweep, then of this point.
    """

    name: str
    system: str
    tag: str
    values: dict[str, Any]
    recipe: str
    text: str
    overrides: tuple[str, ...]

    def directory(self, root: Path) -> Path:
        return root / self.system / self.tag / self.name

    def is_done(self, root: Path) -> bool:
        path = self.directory(root)
        return (path / "claims.json").is_file() and (path / "weights" / f"{self.tag}.json").is_file()


@dataclass(frozen=True)
class Outcome:
    """How a point ended: `failed` says why in one sentence, or nothing when it finished."""

    failed: str = ""
    seconds: float = 0.0


class Stopped(Exception):
    """Ctrl-C or SIGTERM reached the sweep."""


def sweep(options: argparse.Namespace, overrides: Sequence[str]) -> int:
    """The command. Returns 0, 1 if a point failed, or 128 + the number of the signal that stopped the sweep."""
    if not options.grid:
        raise ZooError("zoo sweep needs a grid, as --grid model.lr=0.1,0.5 --grid seed_everything=0,1,2.")
    if options.address and options.engine != "ray":
        raise ZooError("--address is that of a Ray cluster: add --engine=ray.")
    if options.jobs is not None and options.jobs < 1:
        raise ZooError(f"--jobs must be at least 1, got {options.jobs}.")
    path, root = recipes.find(options.recipe), Path(options.runs or "runs").absolute()
    points = grid_points(path, overrides, [axis(one) for one in options.grid], options.tag)
    system = points[0].system
    folder = root / system / path.stem / f"sweep-{digest([point.name for point in points])}"
    todo = [point for point in points if not point.is_done(root)]
    if len(todo) < len(points):
        print(f"{len(points) - len(todo)} of {len(points)} points are done already", file=sys.stderr)
    engine = on_ray if options.engine == "ray" else on_processes
    failed: dict[str, str] = {}
    stopped: signal.Signals | None = None
    with PointProgress(len(todo)) as progress, signals_raise():
        try:
            with closing(engine(todo, root, folder / "logs", options)) as outcomes:
                for point, outcome in outcomes:
                    if outcome.failed:
                        failed[point.name] = outcome.failed
                    progress.advance(point.name, outcome.failed or f"{outcome.seconds:.1f} s")
        except Stopped as reason:
            stopped = reason.args[0]
    runs = [(point.values, Run.read(point.directory(root))) for point in points if point.is_done(root)]
    if runs:
        grid = [f"--grid={one}" for one in options.grid] + ([f"--tag={options.tag}"] if options.tag else [])
        table = Sweep.of_runs(
            system, path.stem, shlex.join(["zoo", "sweep", f"{system}/{path.stem}", *grid, *overrides]), runs
        )
        written = table.write(folder)
        drawn = draw(table, folder / "figures")
        print(f"{len(runs)} of {len(points)} points in {written[0]}, figures {', '.join(p.stem for p in drawn)}")
    for name, says in failed.items():
        print(f"failed: {name}: {says}\n    log {folder / 'logs' / name}.txt", file=sys.stderr)
    if stopped:
        print(f"stopped by {stopped.name}; the same command goes on", file=sys.stderr)
        return 128 + stopped.value
    return 1 if failed else 0


# The grid.


def axis(text: str) -> tuple[tuple[str, ...], list[Any]]:
    """ "model.lr=0.1,0.5" as its keys and values; keys that share the values move together, as "model.d,data.d=40,80", and each
    has its own in lists of as many, as "data.kg,model.flat=[true,false],[true,true]"."""
    names, equals, values = text.partition("=")
    keys = tuple(key.strip() for key in names.split(","))
    try:
        listed = yaml.load(f"[{values}]", recipes.Loader) if equals else []
    except yaml.YAMLError:
        listed = []
    if not listed or not all(keys):
        raise ZooError(f"--grid {text!r} is not key=value,value, as model.lr=0.1,0.5.")
    return keys, listed


def together(names: Sequence[str], value: Any) -> Sequence[Any]:
    """The value of each of the keys that move together."""
    own = len(names) > 1 and isinstance(value, list) and len(value) == len(names)
    return value if own else [value] * len(names)


def grid_points(
    path: Path, overrides: Sequence[str], axes: Sequence[tuple[tuple[str, ...], list[Any]]], tag: str | None
) -> list[Point]:
    """The grid's points, checked: every key is one of the recipe's.

    Args:
        tag: of the weights, with the last words of grid keys in braces, as "syn_medium_z{eta_z}_r{ratio}".

    Raises:
        ZooError: an unknown key, a key or a point twice, an unknown word in braces.
    """
    keys = [key for names, _ in axes for key in names]
    for key in keys:
        if keys.count(key) > 1:
            raise ZooError(f"--grid names {key} twice.")
    points, text = [], path.read_text(encoding="utf-8")
    for choice in itertools.product(*(values for _, values in axes)):
        values = {
            key: one
            for (names, _), value in zip(axes, choice, strict=True)
            for key, one in zip(names, together(names, value), strict=True)
        }
        changes = (*overrides, *(f"--{key}={_text(value)}" for key, value in values.items()))
        recipe = recipes.read(path, changes)
        words = {key.split(".")[-1]: re.sub(r"\W", "", _text(value)) for key, value in values.items()}
        try:
            recipe.tag = tag.format_map(words) if tag else recipe.tag
        except (KeyError, ValueError, IndexError):
            raise ZooError(f"--tag {tag!r} may have {', '.join(f'{{{w}}}' for w in words)} in it.") from None
        spelled = ",".join(dict.fromkeys(f"{key.split('.')[-1]}={_text(value)}" for key, value in values.items()))
        name = re.sub(r"[^\w.,=+-]", "_", spelled)[:100] + "-" + digest(recipe.resolved())
        points.append(Point(name, recipe.system, recipe.tag, values, recipe.name, text, changes))
    twice = [point.name for point, other in itertools.combinations(points, 2) if point == other]
    if twice:
        raise ZooError(f"--grid has the point {twice[0].rpartition('-')[0]} twice.")
    return points


def digest(value: Any) -> str:
    """Eight hex digits that tell values apart."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:8]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def draw(table: Sweep, folder: Path) -> list[Path]:
    """Draws the figures that the system declares for the sweeps of this recipe; returns the PNG files."""
    drawn = []
    for figure in registry.system(table.system).part("figures").FIGURES:
        if any(fnmatch(table.recipe, pattern) for pattern in figure.sweeps):
            try:
                drawn += figures.save(figure.draw(table), folder, figure.name)
            except (
                Exception
            ) as error:  # a figure of another grid, or of one with holes: the table is there, and hours of work
                print(f"figure {figure.name} is not for this grid ({type(error).__name__}: {error})", file=sys.stderr)
    return [path for path in drawn if path.suffix == ".png"]


# One point, in a process of its own.


def run_point(point: Point, path: Path, log: Path, wandb: str, threads: int) -> Outcome:
    """Trains a point into the run directory `path`, or goes on with it; everything it prints is in the file `log`."""
    import torch

    from zoo.cli.train import execute
    from zoo.dashboards.runs import Destination
    from zoo.training import checkpoints

    torch.set_num_threads(threads)
    start = time.perf_counter()
    with captured(log), tempfile.TemporaryDirectory() as scratch:
        try:
            file = Path(scratch) / f"{point.recipe}.yaml"
            file.write_text(point.text, encoding="utf-8")
            recipe = recipes.read(file, point.overrides)
            recipe.tag = point.tag
            stopped = execute(recipe, path, Destination(wandb), None, resume=bool(checkpoints(path / "checkpoints")))
            said = f"it was stopped by {stopped.name}." if stopped else ""
        except ZooError as error:
            print(error)
            said = str(error)
        except Exception as error:
            traceback.print_exc()
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return Outcome(said, time.perf_counter() - start)


@contextmanager
def captured(log: Path) -> Iterator[None]:
    """Sends what this process prints, C libraries included, to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    before = {number: os.dup(number) for number in (1, 2)}
    with log.open("w") as file:
        for number in before:
            os.dup2(file.fileno(), number)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in before.items():
                os.dup2(copy, number)
                os.close(copy)


@contextmanager
def signals_raise() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise `Stopped` in the block."""

    def raise_it(number: int, frame: Any) -> None:
        raise Stopped(signal.Signals(number))

    before = {number: signal.signal(number, raise_it) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# Engines: each yields every point with its outcome, as they end; closed early, they stop what is running.


def on_processes(points: Sequence[Point], root: Path, logs: Path, options: argparse.Namespace) -> Ended:
    """Local processes that live for the whole sweep, since importing Lightning takes longer than a small run.

    A process that dies, killed or out of memory, fails its point and is replaced.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    jobs = min(options.jobs or cores, len(points))
    threads = max(1, cores // max(jobs, 1))
    gpus = visible_gpus()
    workers = [Worker(gpus[slot % len(gpus)] if gpus else None) for slot in range(jobs)]
    waiting, running = list(points), dict[Future[Outcome], tuple[Point, Worker]]()
    try:
        while waiting or running:
            for worker in workers:
                if waiting and worker not in [busy for _, busy in running.values()]:
                    point = waiting.pop(0)
                    arguments = (point, point.directory(root), logs / f"{point.name}.txt", options.wandb, threads)
                    running[worker.pool.submit(run_point, *arguments)] = point, worker
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                point, worker = running.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    outcome = Outcome("its process died.")
                    worker.start()
                yield point, outcome
    finally:
        for _, worker in running.values():
            worker.terminate()  # a training saves a checkpoint, so that the point goes on from it
        wait(running)
        for worker in workers:
            worker.pool.shutdown()


class Worker:
    """One process that takes one point at a time."""

    def __init__(self, gpu: str | None):
        self.gpu = gpu
        self.start()

    def start(self) -> None:
        self.pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=prepare, initargs=(self.gpu,))
        self.process: int = self.pool.submit(os.getpid).result()

    def terminate(self) -> None:
        os.kill(self.process, signal.SIGTERM)


def visible_gpus() -> list[str]:
    """What the variable CUDA_VISIBLE_DEVICES may name here."""
    import torch

    named = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one]
    return named or [str(i) for i in range(torch.cuda.device_count())]


def prepare(gpu: str | None) -> None:
    """In a worker, before it uses a device: Ctrl-C is the parent's affair, and it sees one GPU, if there are any."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu


def on_ray(points: Sequence[Point], root: Path, logs: Path, options: argparse.Namespace) -> Ended:
    """Tasks of a Ray cluster, or of a local one, with one core and, if the cluster has GPUs, one GPU each.

    Nothing but the network is shared: a point brings its recipe, and its run directory comes back without checkpoints.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if (Path.home() / ".ray" / "auth_token").is_file():  # what `ray start` made, and does not tell its clients
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ImportError:
        raise ZooError('--engine=ray needs Ray: pip install "theorem-zoo[sweep]".') from None
    packages = [str(registry.MODELS.parent), str(registry.MODELS.parents[1] / "datamodules")]
    code = {"py_modules": packages, "excludes": ["*.safetensors", "*.parquet"]} if options.address else None
    local = {} if options.address else {"num_cpus": options.jobs, "include_dashboard": False}
    try:
        ray.init(options.address, runtime_env=code, log_to_driver=False, logging_level=logging.ERROR, **local)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ZooError(f"No Ray cluster at {options.address}: {' '.join(str(error).split())[:200]}") from None
    try:
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(run_elsewhere)
        waiting, running = list(points), dict[Any, Point]()
        while waiting or running:
            while waiting and (options.jobs is None or len(running) < options.jobs):
                point = waiting.pop(0)
                running[task.remote(point, options.wandb)] = point
            ready, _ = ray.wait(list(running))
            point = running.pop(ready[0])
            try:
                outcome, files, said = ray.get(ready[0])
                unpack(files, point.directory(root))
            except ray.exceptions.RayError as error:
                outcome, said = Outcome("its process died."), str(error)
            log = logs / f"{point.name}.txt"
            with write_beside(log) as beside:
                beside.write_text(said, encoding="utf-8")
            yield point, outcome
    finally:
        ray.shutdown()


def run_elsewhere(point: Point, wandb: str) -> tuple[Outcome, bytes, str]:
    """Trains a point on any machine; gives its outcome, its run directory as a tar archive, and its log."""
    with tempfile.TemporaryDirectory() as scratch:
        path, log, files = Path(scratch) / point.name, Path(scratch) / "log.txt", io.BytesIO()
        outcome = run_point(point, path, log, wandb, threads=1)
        if path.is_dir():
            shutil.rmtree(path / "checkpoints", ignore_errors=True)
            with tarfile.open(fileobj=files, mode="w:gz") as archive:
                archive.add(path, ".")
        return outcome, files.getvalue(), log.read_text(encoding="utf-8")


def unpack(files: bytes, path: Path) -> None:
    """Puts an archived run directory in its place, whole or not at all."""
    if not files:
        return
    beside = path.with_name(f".{path.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    with tarfile.open(fileobj=io.BytesIO(files), mode="r:gz") as archive:
        archive.extractall(beside, filter="data")
    shutil.rmtree(path, ignore_errors=True)
    beside.rename(path)
