"""The audit of a trajectory: are the checkpoints of a run the steps they say they are?

A trajectory is published to be studied step by step, and nobody sees from a file which step it holds: branches of
published model families have held final weights under the names of early steps. Here each statement is recomputed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from datamodules.stream import StreamData
from zoo.training import ZooModule
from zoo.weights import Weight

Make = Callable[[], tuple[ZooModule, StreamData, dict[str, Any]]]


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    what: str
    says: str
    good: bool


def audit(make: Make, trajectory: Mapping[int, Path], weight: Weight, samples: int) -> Iterator[Finding]:
    """Checks a trajectory, one finding at a time.

    Args:
        make: the recipe's module, data and options of Lightning's Trainer, fresh at each call.
        trajectory: checkpoint by optimiser step.
        weight: what the run shipped.
        samples: how many intervals between neighbouring checkpoints are trained again.
    """
    steps = sorted(trajectory)
    states: dict[int, str] = {}
    for step in steps:
        try:
            content = torch.load(trajectory[step], weights_only=True, map_location="cpu")
            states[step], found = digest(content["state_dict"]), content["global_step"]
        except Exception as error:  # whatever a damaged or a hostile file provokes
            yield Finding(f"step {step}", f"{trajectory[step].name} is no checkpoint ({type(error).__name__})", False)
            return
        if found != step:
            yield Finding(f"step {step}", f"{trajectory[step].name} holds step {found}", False)
    twins: dict[str, list[int]] = {}
    for step, state in states.items():
        twins.setdefault(state, []).append(step)
    same = [" = ".join(map(str, group)) for group in twins.values() if len(group) > 1]
    says = f"{len(twins)} hashes" + (f"; the same parameters at steps {', '.join(same)}" if same else "")
    yield Finding(f"{len(steps)} steps are distinct", says, not same)

    if steps[0] == 0:
        yield _compare("step 0 is the seed's initialisation", reached(make, None, 0).state_dict(), trajectory[0])
    else:
        yield Finding("step 0 is the seed's initialisation", f"the first step kept is {steps[0]}", False)
    for i in chosen(len(steps) - 1, samples):
        start, end = steps[i], steps[i + 1]
        now = reached(make, trajectory[start], end).state_dict()
        yield _compare(f"step {end} follows from step {start} by the recipe", now, trajectory[end])

    last = reached(make, trajectory[steps[-1]], steps[-1]).result()[0].tensors()
    says = f"step {steps[-1]}, {weight.name} with sha256 {weight.record.sha256[:12]}…"
    if ends := steps[-1] != weight.record.steps:
        says = f"the trajectory ends at step {steps[-1]}, the weight at {weight.record.steps}"
    yield _agree("the last step is the weight", last, weight.network.tensors(), says, not ends)


def reached(make: Make, start: Path | None, step: int) -> ZooModule:
    """The module after training from a checkpoint, or from the seed, to an optimiser step."""
    module, data, options = make()
    trainer = L.Trainer(
        **options
        | {
            "max_steps": step,
            "max_epochs": -1,
            "devices": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "limit_val_batches": 0,
        }
    )
    trainer.fit(module, data, ckpt_path=str(start) if start else None, weights_only=True)
    return module.cpu()


def chosen(intervals: int, samples: int) -> list[int]:
    """`samples` of the intervals 0 … intervals-1, evenly spaced with both ends."""
    if samples >= intervals:
        return list(range(intervals))
    if samples == 1:
        return [intervals - 1]
    return sorted({round(i * (intervals - 1) / (samples - 1)) for i in range(samples)})


def digest(state: Mapping[str, Tensor]) -> str:
    """A hash of names, shapes and values."""
    found = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.numpy().tobytes())
    return found.hexdigest()


def _compare(what: str, now: Mapping[str, Tensor], path: Path) -> Finding:
    said = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    return _agree(what, now, said, "bit for bit", True)


def _agree(what: str, now: Mapping[str, Tensor], said: Mapping[str, Tensor], says: str, good: bool) -> Finding:
    if now.keys() != said.keys() or any(now[name].shape != said[name].shape for name in now):
        return Finding(what, "the parameters have other names or shapes", False)
    gaps = [(now[name].double() - said[name].double()).abs().max().item() for name in now if now[name].numel()]
    equal = digest(now) == digest(said)
    return Finding(what, says if equal else f"off by up to {max(gaps, default=0):.3g}", equal and good)
