"""pySigLib, where it is installed: the fastest signatures on a processor."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.registry import ZooError

Backend = Literal["auto", "pysiglib", "torch"]


@functools.cache
def installed() -> bool:
    return importlib.util.find_spec("pysiglib") is not None


def serves(backend: Backend, tensor: Tensor) -> bool:
    """Whether pySigLib computes with this tensor: "auto" takes it on a processor, where it is installed.

    Raises:
        ValueError: an unknown backend.
        ZooError: pySigLib is asked for and absent.
    """
    if backend not in ("auto", "pysiglib", "torch"):
        raise ValueError(f"backend={backend!r}: choose one of auto, pysiglib, torch")
    if backend == "pysiglib" and not installed():
        raise ZooError("backend='pysiglib' needs pysiglib: pip install -e '.[depth]', or choose backend='torch'.")
    return backend == "pysiglib" or (backend == "auto" and installed() and tensor.device.type == "cpu")


def pysiglib(part: str = "pysiglib") -> Any:
    """The library, or its functions with gradients ("pysiglib.torch_api")."""
    return importlib.import_module(part)


def transformed() -> bool:
    """Whether we are inside torch.vmap or torch.func.grad, of which pySigLib knows nothing."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def owned(tensor: Tensor) -> Tensor:
    """Contiguous and no view: pySigLib copies others, with a warning."""
    tensor = tensor.contiguous()
    return tensor if tensor._base is None else tensor.clone()
