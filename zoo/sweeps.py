"""The table of a sweep: one row per (point of the grid, replica), with the last value of every metric.

It is one parquet file, which knows its system, its recipe and its grid; figures are drawn from it, also after the runs
themselves are gone.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.files import write_beside
from zoo.history import Run

ABOUT = b"zoo"  # the key of the table's own description in its parquet file


@dataclass
class Sweep:
    """What a sweep measured.

    Attributes:
        system, recipe: what was trained, recipe without the system.
        keys: of the grid, as the user typed them ("model.eta_z").
        command: what runs the sweep again.
        columns: the keys, "replica", "run" (the name of its run directory) and the metrics, each with one value per
            row; None where a metric was not measured.
    """

    system: str
    recipe: str
    keys: tuple[str, ...]
    command: str
    columns: dict[str, list[Any]]

    def by(self, metric: str, *keys: str) -> dict[tuple[Any, ...], Tensor]:
        """The metric's values (n,) float64 of all rows that share the values of `keys`, in ascending order of these.

        Raises:
            KeyError: a metric or key that the table does not have.
        """
        groups: dict[tuple[Any, ...], list[float]] = {}
        for *group, value in zip(*(self.columns[key] for key in keys), self.columns[metric], strict=True):
            if value is not None:
                groups.setdefault(tuple(group), []).append(value)
        return {group: torch.tensor(groups[group], dtype=torch.float64) for group in sorted(groups)}

    @classmethod
    def of_runs(cls, system: str, recipe: str, command: str, points: Sequence[tuple[Mapping[str, Any], Run]]) -> Sweep:
        """Collects the runs of a grid, each given with the values of its point."""
        keys = tuple(points[0][0]) if points else ()
        metrics = list(dict.fromkeys(name for _, run in points for name in run.history.metrics))
        columns: dict[str, list[Any]] = {name: [] for name in (*keys, "replica", "run", *metrics)}
        for values, run in points:
            count = run.history.replicas
            for key in keys:
                columns[key] += [values[key]] * count
            columns["replica"] += range(count)
            columns["run"] += [f"{run.path.parent.name}/{run.path.name}"] * count
            for name in metrics:
                measured = name in run.history.metrics
                columns[name] += run.history.last(name).tolist() if measured else [None] * count
        return cls(system, recipe, keys, command, columns)

    def write(self, folder: Path) -> list[Path]:
        """Writes sweep.parquet and sweep.csv into `folder`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        about = {"system": self.system, "recipe": self.recipe, "keys": self.keys, "command": self.command}
        table = pa.table(self.columns).replace_schema_metadata({ABOUT: json.dumps(about)})
        paths = [folder / "sweep.parquet", folder / "sweep.csv"]
        with write_beside(paths[0]) as beside:
            pq.write_table(table, beside, compression="zstd")
        with write_beside(paths[1]) as beside, beside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows(zip(*self.columns.values(), strict=True))
        return paths

    @classmethod
    def read(cls, path: Path) -> Sweep:
        """Reads sweep.parquet.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not the table of a sweep.
        """
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        if ABOUT not in (table.schema.metadata or {}):
            raise ValueError(f"{path} is not the table of a sweep.")
        about = json.loads(table.schema.metadata[ABOUT])
        return cls(about["system"], about["recipe"], tuple(about["keys"]), about["command"], table.to_pydict())
