"""Shared settings: one thread per process, W&B never online, the real data's folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
os.environ.setdefault("ZOO_DATA", str(ROOT.parent / "shared" / "data"))
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
torch.set_num_threads(1)


@pytest.fixture
def root() -> Path:
    """The top of the repository."""
    return ROOT
