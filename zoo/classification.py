"""Scores of a classifier on a batch that may have gaps: a target of -1 stands where there is no example.

Shapes: b batch, v classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def scores(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and hit (0 or 1) of each example, zero where there is none: logits (b, v), targets (b,) -> (b,), (b,)."""
    losses = F.cross_entropy(logits, targets, ignore_index=-1, reduction="none")
    return losses, (logits.argmax(-1) == targets).to(logits.dtype)


def held_out(logits: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a module logs of a held-out batch with "targets" (b,) and "weight" (), the sums over its examples times that."""
    losses, hits = scores(logits, batch["targets"])
    return {"val_loss": losses.sum() * batch["weight"], "val_accuracy": hits.sum() * batch["weight"]}
