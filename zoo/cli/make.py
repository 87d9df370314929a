"""`zoo construct`, `zoo ship` and `zoo figures`: the commands that write weights and records, and draw."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

from zoo import claims, registry
from zoo.cli.console import show_value
from zoo.files import write_beside
from zoo.registry import ZooError, nearest


def construct(options: argparse.Namespace) -> int:
    """Builds weights of origin `constructed` and writes them with their record into the zoo."""
    import torch

    from zoo.cli.train import surroundings
    from zoo.replicas import Replicas
    from zoo.weights import Record, write_weight

    torch.set_num_threads(1)  # small systems of equations
    for name in options.names:
        system_name, _, tag = name.partition(".")
        system = registry.system(system_name)
        if tag not in system.constructions:
            raise ZooError(f"{system_name} constructs no {tag!r}{nearest(tag, system.constructions)}")
        start = time.perf_counter()
        built = registry.attribute(system.constructions[tag])()
        networks = Replicas(built.networks)
        floats = [tensor for tensor in networks.tensors().values() if tensor.is_floating_point()]
        record = Record(
            system=system_name,
            tag=tag,
            network=type(networks.network).__name__,
            arguments=networks.network.arguments,
            dtype=str(floats[0].dtype).removeprefix("torch."),
            replicas=networks.count,
            origin="constructed",
            command=f"zoo construct {name}",
            seconds=round(time.perf_counter() - start, 1),
            note=built.note,
            **surroundings(),
        )
        weight = write_weight(system.folder / "weights", networks, built.task, record)
        print(f"wrote {system.folder / 'weights' / tag}.safetensors, {weight.record.size} bytes")
        _judge(system, tag)
    return 0


def ship(options: argparse.Namespace) -> int:
    """Copies the weight of each finished run into the zoo, with its record and its history."""
    from zoo.cli.train import weight_of

    for path in map(Path, options.runs):
        weight = weight_of(path)
        folder = registry.system(weight.system).folder / "weights"
        folder.mkdir(exist_ok=True)
        files = {suffix: path / "weights" / f"{weight.tag}{suffix}" for suffix in (".safetensors", ".json")}
        for suffix, source in (files | {".parquet": path / "history.parquet"}).items():
            with write_beside(folder / f"{weight.tag}{suffix}") as beside:
                shutil.copyfile(source, beside)
        print(f"wrote {folder / weight.tag}.safetensors, {weight.record.size} bytes")
    return 0


def _judge(system: registry.System, tag: str) -> None:
    verdicts = list(claims.verify([f"{system.name}.{tag}"], ("weights",)))
    claims.Cards(system).write(verdicts)
    for verdict in verdicts:
        print(f"{verdict.claim.id} {verdict.verdict}: {show_value(verdict.now)}, expected {verdict.row()['expected']}")


def figures(options: argparse.Namespace) -> int:
    """Draws every figure: from formulas alone, from shipped weights, from the histories of shipped weights."""
    from zoo import figures as style
    from zoo.history import Run
    from zoo.weights import load

    for name in options.names or list(registry.systems()):
        system = registry.system(name)
        for figure in system.part("figures").FIGURES:
            if figure.recipes:
                histories = sorted(
                    (system.folder / "weights").glob("*.parquet"), key=lambda p: registry.natural(p.stem)
                )
                for tag in (path.stem for path in histories):
                    if any(fnmatch(tag, pattern) for pattern in figure.recipes):
                        canvas = figure.draw(Run.shipped(f"{name}.{tag}"))
                        for path in style.save(canvas, Path(options.out) / name, f"{figure.name}_{tag}"):
                            print(path)
                continue
            missing = [t for t in figure.weights if f"{name}.{t}" not in registry.weight_files()]
            if missing:
                print(f"{name} {figure.name}: skipped, no weight {', '.join(missing)}", file=sys.stderr)
                continue
            canvas = figure.draw(*(load(f"{name}.{tag}") for tag in figure.weights))
            for path in style.save(canvas, Path(options.out) / name, figure.name):
                print(path)
    return 0
