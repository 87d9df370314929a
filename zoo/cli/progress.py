"""A progress bar that counts optimiser steps and shows the module's headline metric."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import ProgressBar


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
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("steps"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[says]}"),
            )
            self._bar = Progress(*columns, console=Console(stderr=True), auto_refresh=False)
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
