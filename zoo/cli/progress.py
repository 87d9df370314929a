"""Progress: of a run, in optimiser steps with the module's headline metric; of a sweep, in points."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import ProgressBar


def bar(unit: str) -> Any:
    """A bar on stderr: what, how many of how many, time left, and what it says."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        TextColumn("{task.fields[says]}"),
    )
    return Progress(*columns, console=Console(stderr=True), auto_refresh=False)


class StepProgress(ProgressBar):
    """In a terminal a bar on stderr, redrawn a few times a second; elsewhere one line per tenth of the run."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._drawn = 0.0
        self._tenth = -1
        self._first = (0, 0.0)
        self._bar: Any = None
        self._task: Any = None

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._first = (trainer.global_step, time.perf_counter())
        if self._enabled and sys.stderr.isatty():
            self._bar = bar("steps")
            total = trainer.max_steps if trainer.max_steps > 0 else None
            self._task = self._bar.add_task(type(module).__name__, total=total, says="")
            self._bar.start()

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:  # type: ignore[override]
        step, now = trainer.global_step, time.perf_counter()
        last = step == trainer.max_steps
        if not self._enabled or (not last and now - self._drawn < 0.2):
            return
        self._drawn = now
        says = self._says(module, step, now)
        if self._bar is not None:
            self._bar.update(self._task, completed=step, says=says, refresh=True)
        elif trainer.max_steps > 0 and (tenth := 10 * step // trainer.max_steps) > self._tenth:
            self._tenth = tenth
            print(f"step {step} of {trainer.max_steps}  {says}", file=sys.stderr, flush=True)

    def _says(self, module: Any, step: int, now: float) -> str:
        rate = (step - self._first[0]) / max(now - self._first[1], 1e-9)
        says = f"{rate:.0f} steps/s"
        if module.headline in module.history.metrics:
            says += f"  {module.headline} {module.history.last(module.headline).nanmean():.4g}"
        return says

    def teardown(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class PointProgress:
    """Points of a sweep that have ended: in a terminal a bar on stderr, elsewhere one line each."""

    def __init__(self, total: int):
        self._total, self._ended = total, 0
        self._bar: Any = bar("points") if sys.stderr.isatty() and total else None

    def __enter__(self) -> PointProgress:
        if self._bar is not None:
            self._task = self._bar.add_task("sweep", total=self._total, says="")
            self._bar.start()
        return self

    def advance(self, name: str, says: str) -> None:
        self._ended += 1
        if self._bar is not None:
            self._bar.update(self._task, completed=self._ended, says=f"{name} {says}", refresh=True)
        else:
            print(f"point {self._ended} of {self._total}  {name}  {says}", file=sys.stderr, flush=True)

    def __exit__(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.stop()
