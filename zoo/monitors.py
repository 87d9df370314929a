"""Diagnostics that any module's training can carry along, as callbacks of a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.func import vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from zoo.replicas import View
from zoo.sharpness import sharpness
from zoo.training import ZooModule


def training_losses(
    module: ZooModule, batches: Mapping[str, Tensor]
) -> tuple[Callable[[dict[str, Tensor]], Tensor], dict[str, Tensor]]:
    """The loss of a module on fixed batches, leaves (steps, r, ...), for `sharpness`, and its parameters now, in float64.

    Raises:
        ValueError: the module trains by an update law and has no loss.
    """
    if not hasattr(module, "loss"):
        raise ValueError(f"{type(module).__name__} trains by an update law; its sharpness needs a loss.")
    assert module.copies is not None
    network, count = module.copies.network, module.copies.count
    batches, task = _double(batches), _double(module.task())
    buffers = _double(dict(network.named_buffers()))
    steps = len(next(iter(batches.values()), (None,)))

    def one(parameters: Any, buffers: Any, batch: Any, task: Any) -> Tensor:
        return module.loss(View(network, parameters | buffers), batch, task)["loss"]

    def losses(parameters: dict[str, Tensor]) -> Tensor:
        total = torch.zeros(())  # of any device
        for i in range(steps):
            given = (parameters, buffers, {name: leaf[i] for name, leaf in batches.items()}, task)
            if count == 1:  # fused operations have no batched kernel
                alone = ({name: leaf[0] for name, leaf in part.items()} for part in given)
                total = total + one(*alone)[None]
            else:
                total = total + vmap(one)(*given)
        return total / steps

    return losses, _double({name: parameter.detach() for name, parameter in network.named_parameters()})


def _double(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating tensors in float64, since differences of float32 gradients lose most of their digits."""
    return {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


class SharpnessMonitor(Callback):
    """Adds "sharpness" to the history, and to W&B, of any module with a loss.

    It is the largest Hessian eigenvalue of the mean loss over the first `batches` training batches, the same ones at every
    measurement, dropout layers switched off. In a recipe:

        trainer:
          callbacks:
            - class_path: SharpnessMonitor
              init_args: {every: 1000}

    Args:
        every: optimiser steps between two measurements, a multiple of the module's log_every; also before the first step.
        batches: how many training batches.
        products: Hessian-vector products at most.
        tolerance: relative error at which fewer are enough.

    Raises:
        ValueError: a number below one, a negative tolerance; when training starts, the module has no loss or `every` is no
            multiple of its log_every.
    """

    def __init__(self, *, every: int = 1000, batches: int = 1, products: int = 25, tolerance: float = 1e-4):
        for name, value in (("every", every), ("batches", batches), ("products", products)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if tolerance < 0:
            raise ValueError(f"tolerance must be at least 0, got {tolerance}.")
        self.every, self.batches, self.products, self.tolerance = every, batches, products, tolerance
        self._data: dict[str, Tensor] | None = None
        self._measured = -1

    def setup(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        assert isinstance(module, ZooModule)
        if not hasattr(module, "loss"):
            raise ValueError(f"SharpnessMonitor: {type(module).__name__} trains by an update law and has no loss.")
        if self.every % module.log_every:
            raise ValueError(f"SharpnessMonitor: every={self.every} is no multiple of log_every={module.log_every}.")

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.global_step == 0:
            self.measure(trainer, module)

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        if trainer.global_step % self.every == 0:
            self.measure(trainer, module)

    def measure(self, trainer: L.Trainer, module: Any) -> None:
        """Adds a row now."""
        if self._data is None:
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            shared = module.replicas == 1
            rank, world = (trainer.global_rank, trainer.world_size) if shared else (0, 1)
            ids = module.replica_ids
            batches = data.stacked(ids, 0, self.batches, rank, world)
            batches["step"] = torch.arange(self.batches)[:, None].expand(-1, len(ids))  # as a loss is given
            self._data = {name: leaf.to(module.device) for name, leaf in batches.items()}
        losses, parameters = training_losses(module, self._data)
        was_training = module.training
        module.eval()
        # The mathematical attention kernel is the one whose gradient has a gradient.
        with torch.random.fork_rng(), sdpa_kernel(SDPBackend.MATH):
            found = sharpness(losses, parameters, self.products, self.tolerance)
        module.train(was_training)
        module._add(trainer.global_step, {"sharpness": found.value})
