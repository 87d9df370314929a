"""The figures of a site, drawn in several processes; those of a system stand as long as what they are drawn from does."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from matplotlib.figure import Figure as Canvas

from zoo import figures, registry
from zoo.gallery import curves
from zoo.registry import System

CURVES = "training_curves"
# Rooms of a system, and of the zoo, that no figure is drawn from.
APART = {"mathematics.md", "verdicts.json", "interactive.py", "dashboard.py"}
ELSEWHERE = {"cli", "hub", "gallery", "dashboards", "models", "recipes", "__pycache__"}


@dataclass(frozen=True)
class Drawing:
    """One drawn figure.

    Attributes:
        name: of the figure that it is a drawing of; one figure has several, of one run each.
        stem: of its files; "training_curves_<family>" for those.
        says, source: caption, and what it is in the paper.
        about: tags of the weights, or the recipe of the sweep, that it shows.
        files: names by suffix: svg, of a film gif too.
        width, height: inches.
    """

    system: str
    name: str
    stem: str
    says: str
    source: str
    about: tuple[str, ...]
    files: dict[str, str]
    width: float
    height: float


@dataclass(frozen=True)
class Task:
    """What one process draws at a time: the i-th figure of a system, or the curves of a family of weights."""

    system: str
    index: int = 0
    family: tuple[str, ...] = ()


def tasks(system: System) -> list[Task]:
    """Everything that is drawn of a system; curves, which are quick, at the end."""
    shipped = {name.partition(".")[2] for name in registry.weight_files() if name.startswith(f"{system.name}.")}
    chosen = [
        Task(system.name, index)
        for index, figure in enumerate(system.part("figures").FIGURES)
        if set(figure.weights) <= shipped
    ]
    logged = [path.stem for path in (system.folder / "weights").glob("*.parquet")]
    groups = curves.families(sorted(logged, key=registry.natural))
    return chosen + [Task(system.name, family=tuple(family)) for family in groups.values()]


def draw(task: Task, folder: Path) -> list[Drawing]:
    """Draws one task into `folder`/<system>."""
    torch.set_num_threads(1)
    system = registry.system(task.system)
    folder = folder / system.name
    if task.family:
        return _curves(system, task.family, folder)
    figure = system.part("figures").FIGURES[task.index]
    found = []
    for stem, subjects in figures.shipped_subjects(system, figure):
        about = (stem.removeprefix(f"{figure.name}_"),) if stem != figure.name else figure.weights
        drawn = figure.draw(*subjects)
        found.append(
            _saved(drawn, folder, Drawing(system.name, figure.name, stem, figure.says, figure.source, about, {}, 0, 0))
        )
    return found


def _curves(system: System, family: tuple[str, ...], folder: Path) -> list[Drawing]:
    from zoo.history import History

    histories = {tag: History.read(system.folder / "weights" / f"{tag}.parquet") for tag in family}
    canvas = curves.curves(histories)
    if canvas is None:
        return []
    stem = f"{CURVES}_{family[0]}"
    return [_saved(canvas, folder, Drawing(system.name, CURVES, stem, curves.SAYS, "", family, {}, 0, 0))]


def _saved(drawn: Canvas | figures.Film, folder: Path, one: Drawing) -> Drawing:
    import dataclasses

    canvas = drawn.canvas if isinstance(drawn, figures.Film) else drawn
    width, height = map(float, canvas.get_size_inches())
    paths = figures.save(drawn, folder, one.stem, ("svg", "gif"))
    return dataclasses.replace(one, files={path.suffix[1:]: path.name for path in paths}, width=width, height=height)


def draw_all(systems: Iterable[System], folder: Path, jobs: int) -> dict[str, list[Drawing]]:
    """Draws the figures of systems in `jobs` processes, and returns them by system in the order of its figures."""
    work = [task for system in systems for task in tasks(system)]
    work.sort(key=lambda task: bool(task.family))  # the quick ones last, so that no process waits for another
    found: dict[str, list[Drawing]] = {}
    if jobs == 1 or len(work) <= 1:
        results: Iterable[list[Drawing]] = [draw(task, folder) for task in work]
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(jobs, len(work)), context) as pool:
            results = list(pool.map(draw, work, [folder] * len(work)))
    for task, drawn in zip(work, results, strict=True):
        found.setdefault(task.system, []).extend(drawn)
    return found


def processes() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def key(system: System) -> str:
    """sha256 of all that the figures of a system are drawn from: its folder, the core, the data modules, the libraries."""
    package = Path(registry.__file__).parent
    core = [path for path in package.rglob("*.py") if path.relative_to(package).parts[0] not in ELSEWHERE]
    core += (package.parent / "datamodules").glob("*.py")
    core += [package / "gallery" / "curves.py", package / "gallery" / "drawings.py"]
    own = [path for path in system.folder.rglob("*") if path.is_file() and path.name not in APART]
    versions = " ".join(f"{name} {version(name)}" for name in ("matplotlib", "numpy", "torch"))
    return digest([path for path in core + own if "__pycache__" not in path.parts], package.parent, versions)


def digest(paths: Iterable[Path], top: Path, *words: str) -> str:
    """sha256 of files, by their path from `top` and their bytes, and of words."""
    found = hashlib.sha256("\n".join(words).encode())
    for path in sorted(set(paths)):
        found.update(f"\n{path.relative_to(top).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}".encode())
    return found.hexdigest()
