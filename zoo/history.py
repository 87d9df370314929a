"""What a run measured: one row per (step, replica), a column per metric; and the run directory it lives in.

Shapes: s logged steps, r replicas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo.files import write_beside

if TYPE_CHECKING:
    from zoo.weights import Weight


class NotMeasured(LookupError):
    """A metric or a step that a history does not have."""


class History:
    """Measurements by step; a metric that was not measured at a step is NaN there."""

    def __init__(self) -> None:
        self._rows: dict[int, dict[str, Tensor]] = {}

    def add(self, step: int, metrics: Mapping[str, Tensor]) -> None:
        """Adds metrics of shape (r,) at an optimiser step; metrics of one step are merged.

        Raises:
            ValueError: a metric is called "step" or "replica", which are the table's own columns.
        """
        for name in ("step", "replica"):
            if name in metrics:
                raise ValueError(f"a metric cannot be called {name!r}: the history has a column of that name.")
        row = self._rows.setdefault(step, {})
        for name, value in metrics.items():
            row[name] = value.detach().double().cpu().clone()  # float64 on the CPU would share its memory

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(name for row in self._rows.values() for name in row))

    @property
    def steps(self) -> Tensor:
        """Logged optimiser steps in ascending order, (s,)."""
        return torch.tensor(sorted(self._rows), dtype=torch.long)

    @property
    def replicas(self) -> int:
        return max((len(value) for row in self._rows.values() for value in row.values()), default=0)

    def __getitem__(self, name: str) -> Tensor:
        """One metric at every logged step, (s, r) float64.

        Raises:
            NotMeasured: no step has this metric.
        """
        if name not in self.metrics:
            raise NotMeasured(f"the history has no metric {name!r}; it has {', '.join(self.metrics) or 'none'}")
        absent = torch.full((self.replicas,), torch.nan, dtype=torch.float64)
        return torch.stack([self._rows[step].get(name, absent) for step in sorted(self._rows)])

    def at(self, name: str, step: int) -> Tensor:
        """One metric at one logged step, (r,).

        Raises:
            NotMeasured: it was not measured then.
        """
        if name not in self._rows.get(step, {}):
            raise NotMeasured(f"{name} was not measured at step {step}")
        return self._rows[step][name]

    def last(self, name: str) -> Tensor:
        """The latest measurement of a metric, (r,)."""
        values = self[name]
        return values[~values.isnan().all(dim=1)][-1]

    def state(self) -> dict[str, Any]:
        """As plain tensors, so that a checkpoint can hold it: {"steps": (s,), "columns": {name: (s, r)}}."""
        return {"steps": self.steps, "columns": {name: self[name] for name in self.metrics}}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> History:
        history = cls()
        for name, values in state["columns"].items():
            for step, value in zip(state["steps"].tolist(), values, strict=True):
                if not bool(value.isnan().all()):
                    history.add(step, {name: value})
        return history

    def write(self, path: Path) -> None:
        """Writes a parquet file with the columns step, replica and one per metric."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        steps, replicas = self.steps, self.replicas
        table = {
            "step": steps.repeat_interleave(replicas).numpy(),
            "replica": torch.arange(replicas, dtype=torch.int32).repeat(len(steps)).numpy(),
        }
        table |= {name: self[name].flatten().numpy() for name in self.metrics}
        with write_beside(path) as beside:
            # Numbers that were float32 once have empty low bytes, which this layout lets the compressor see.
            options = {"compression": "zstd", "use_dictionary": False, "use_byte_stream_split": self.metrics}
            pq.write_table(pa.table(table), beside, **options)

    @classmethod
    def read(cls, path: Path) -> History:
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        steps = torch.tensor(table["step"].to_numpy())
        replicas = int(table["replica"].to_numpy().max()) + 1 if len(steps) else 0
        columns = {
            name: torch.tensor(table[name].to_numpy()).reshape(-1, replicas)
            for name in table.column_names
            if name not in ("step", "replica")
        }
        return cls.from_state({"steps": steps[::replicas] if replicas else steps, "columns": columns})


@dataclass
class Run:
    """A finished run: what was asked (`recipe`), what was measured (`history`), what came out (`weight`)."""

    path: Path
    system: str
    tag: str
    recipe: dict[str, Any]
    history: History
    weight: Weight

    def __post_init__(self) -> None:
        self.weight.history = self.history

    @classmethod
    def read(cls, path: Path) -> Run:
        """Reads a run directory.

        Raises:
            FileNotFoundError: the folder is not the directory of a finished run.
        """
        import yaml

        from zoo.weights import read_weight

        weights = sorted((path / "weights").glob("*.json")) if path.is_dir() else []
        if not weights:
            raise FileNotFoundError(f"{path} is not the directory of a finished run: it holds no weights/*.json.")
        recipe = yaml.safe_load((path / "recipe.yaml").read_text())
        weight = read_weight(weights[0])
        return cls(path, weight.system, weight.tag, recipe, History.read(path / "history.parquet"), weight)

    @classmethod
    def shipped(cls, name: str) -> Run:
        """The run behind a trained weight of the zoo, by name "system.tag"; its path is the weights folder."""
        from zoo.registry import weight_file
        from zoo.weights import load

        path, weight = weight_file(name), load(name)
        history = History.read(path.with_suffix(".parquet"))
        return cls(path.parent, weight.system, weight.tag, weight.record.recipe, history, weight)


def history_of(weight: Weight) -> History:
    """The history of the run that trained a weight: that run's own, or the one shipped beside the weight.

    Raises:
        NotMeasured: the weight comes from no run, and none is shipped.
    """
    if weight.history is None:
        from zoo.registry import weight_files

        record = weight_files().get(weight.name)
        if record is None or not record.with_suffix(".parquet").is_file():
            raise NotMeasured(f"there is no history of {weight.name}")
        weight.history = History.read(record.with_suffix(".parquet"))
    return weight.history


def summary(history: History) -> dict[str, float]:
    """Last value of every metric, mean over replicas (NaN left out)."""
    return {name: float(history.last(name).nanmean()) for name in history.metrics}


def spread(row: Mapping[str, Tensor]) -> dict[str, float]:
    """A metric of r replicas for a logger: its value if r = 1, else mean, 10 % and 90 % quantile.

    Replicas that have diverged (NaN) are left out, and a metric without any other.
    """
    flat = {}
    for name, value in row.items():
        value = value.detach().double().cpu()
        if bool(value.isnan().all()):
            continue
        flat[name] = value.nanmean().item()
        if len(value) > 1:
            edges = value.nanquantile(torch.tensor([0.1, 0.9]).double())
            flat[f"{name}/q10"], flat[f"{name}/q90"] = edges.tolist()
    return flat


def rows(history: History) -> list[tuple[int, dict[str, float]]]:
    """What a logger is told of a whole history: every logged optimiser step with its metrics, see `spread`."""
    columns = {name: history[name] for name in history.metrics}
    steps = history.steps.tolist()
    return [(step, spread({name: column[i] for name, column in columns.items()})) for i, step in enumerate(steps)]
