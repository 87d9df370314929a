"""A module trained by Lightning's Trainer alone: no command, no logger, no progress bar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as L

from datamodules.stream import StreamData
from zoo.training import Checkpoints, ZooModule, checkpoints


def fit(module: ZooModule, data: StreamData, steps: int, folder: Path | None = None, **options: Any) -> ZooModule:
    """Trains to optimiser step `steps`, with the Trainer's `options`, and gives the module back.

    With a `folder` it resumes from the last checkpoint there and leaves one at its end.
    """
    found = checkpoints(folder) if folder else []
    kept = [Checkpoints(folder, 10**9)] if folder else []
    trainer = L.Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        callbacks=[*options.pop("callbacks", []), *kept],
        **{"logger": False, **options},
    )
    trainer.fit(module, data, ckpt_path=found[-1] if found else None, weights_only=True)
    return module
