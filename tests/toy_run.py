"""Trains the toy system in a process of its own, for tests of several processes and of killed ones.

python toy_run.py OUT MODULE DEVICES REPLICAS STEPS [slow]
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path

import lightning.pytorch as L
import torch
from toy import LineData, LineLaw, LineModule

from zoo.training import Checkpoints, SpreadReplicas, StopOnSignal, checkpoints


class SlowCheckpoints(Checkpoints):
    """Writes a checkpoint in two halves with a pause between, so that a test can kill the process in the middle."""

    def save(self, trainer: L.Trainer) -> None:
        whole = trainer.save_checkpoint

        def halves(path: Path) -> None:
            whole(path)
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])
            (self.folder / "writing").touch()
            time.sleep(0.5)
            path.write_bytes(content)

        trainer.save_checkpoint = halves  # type: ignore[method-assign, assignment]
        super().save(trainer)
        trainer.save_checkpoint = whole  # type: ignore[method-assign]


def main(out: str, module: str, devices: str, replicas: str, steps: str, slow: str = "") -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    folder = Path(out)
    saving = (SlowCheckpoints if slow else Checkpoints)(folder / "checkpoints", 50)
    one = {"LineModule": LineModule, "LineLaw": LineLaw}[module](replicas=int(replicas), chunk=25)
    spread = SpreadReplicas() if int(devices) > 1 and int(replicas) > 1 else "ddp" if int(devices) > 1 else "auto"
    trainer = L.Trainer(
        accelerator="cpu",
        devices=int(devices),
        strategy=spread,
        max_steps=int(steps),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=out,
        callbacks=[saving, StopOnSignal()],
    )
    found = checkpoints(folder / "checkpoints")
    trainer.fit(one, LineData(), ckpt_path=str(found[-1]) if found else None, weights_only=True)
    networks, task, history = one.result()
    if trainer.is_global_zero:
        torch.save(
            {"w": networks.network.w.detach(), "truth": task["truth"], "history": history.state()}, folder / "result.pt"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
