"""`zoo construct`, `zoo ship` and `zoo figures`: the commands that write weights and records, and draw."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
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
    """Copies finished runs into the zoo, each weight with its record and history, and the tables of sweeps."""
    from zoo.cli.train import weight_of
    from zoo.figures import sweep_tables
    from zoo.sweeps import Sweep

    for path in map(Path, options.runs):
        if (path / "sweep.parquet").is_file():
            table = Sweep.read(path / "sweep.parquet")
            target = sweep_tables(registry.system(table.system)) / f"{table.recipe}.parquet"
            with write_beside(target) as beside:
                shutil.copyfile(path / "sweep.parquet", beside)
            print(f"wrote {target}")
            continue
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
    """Draws every figure: from formulas alone, from shipped weights, from the histories and sweeps behind them."""
    from zoo import figures as style

    for name in options.names or list(registry.systems()):
        system = registry.system(name)
        for figure in system.part("figures").FIGURES:
            missing = [t for t in figure.weights if f"{name}.{t}" not in registry.weight_files()]
            if missing:
                print(f"{name} {figure.name}: skipped, no weight {', '.join(missing)}", file=sys.stderr)
                continue
            for stem, subjects in style.shipped_subjects(system, figure):
                for path in style.save(figure.draw(*subjects), Path(options.out) / name, stem):
                    print(path)
    return 0
