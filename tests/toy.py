"""A system small enough to test the training engine: least squares in three dimensions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from datamodules.stream import StreamData
from zoo.training import ZooModule


class Line(nn.Module):
    def __init__(self, *, d: int = 3, generator: torch.Generator | None = None):
        super().__init__()
        self.arguments = {"d": d}
        self.w = nn.Parameter(torch.randn(d, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w

    def norm(self) -> Tensor:
        return self.w.norm()


class LineData(StreamData):
    block = 16

    def __init__(self, *, d: int = 3, batch_size: int = 4, seed: int = 0, steps_per_epoch: int = 100):
        super().__init__(seed=seed, steps_per_epoch=steps_per_epoch)
        self.d, self.batch_size = d, batch_size

    def task(self, replica: int) -> dict[str, Tensor]:
        from datamodules.stream import generator

        return {"truth": torch.randn(self.d, generator=generator("LineData", self.seed, "task", replica))}

    def draw(self, generator: torch.Generator, steps: int, task: dict[str, Tensor]) -> dict[str, Tensor]:
        x = torch.randn(steps, self.batch_size, self.d, generator=generator)
        return {"x": x, "y": x @ task["truth"]}


class LineModule(ZooModule):
    system = "toy"

    def __init__(self, *, d: int = 3, step_size: float = 0.1, **options: Any):
        super().__init__(**options)
        self.d, self.step_size = d, step_size
        self.save_hyperparameters()

    def build(self, generator: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        return Line(d=self.d, generator=generator)

    def loss(self, network: Any, batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": (network(batch["x"]) - batch["y"]).square().mean()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.step_size)

    def measure(self, network: Any, task: dict[str, Tensor], step: Tensor) -> dict[str, Tensor]:
        return {"distance": (network.w - task["truth"]).norm(), "norm": network.norm()}


class LineLaw(ZooModule):
    """Plain gradient descent written as an update law."""

    system = "toy"
    build, measure = LineModule.build, LineModule.measure

    def __init__(self, *, d: int = 3, step_size: float = 0.1, **options: Any):
        super().__init__(**options)
        self.d, self.step_size = d, step_size
        self.save_hyperparameters()

    def update(self, state: Any, batch: Any, task: Any, step: Tensor) -> dict[str, Tensor]:
        error = batch["x"] @ state["w"] - batch["y"]
        slope = 2 * batch["x"].T @ error / len(error)
        unit = torch.tensor([1.0])  # a constant of the traced step
        return {"w": state["w"] - self.step_size / (unit + 1e-3 * step) * slope}
