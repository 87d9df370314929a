"""Gradient descent and gradient flow of deep linear networks on one sample, as update laws.

Both log distance (|p - w*|^2), loss, sharpness (largest eigenvalue of the exact Hessian), gauss_newton (that of its part
2 J'S J, which is all of it at a minimiser), rank_ratio (s_2/s_1, mean over the layers), alignment, drift (of the balance
that gradient flow conserves), diverged (0 or 1), and the scale and learning rate of each replica. A replica whose numbers
are no longer finite has diverged: its other metrics are NaN.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, vjp

from datamodules.stream import generator as stream
from zoo.models.deep_linear import theory
from zoo.models.deep_linear.network import DeepLinear, propagate
from zoo.sharpness import lanczos, starting_vector
from zoo.training import ZooModule

PRODUCTS = 25  # Hessian-vector products of one measurement


class State(DeepLinear):
    """A network with what its training carries along: its learning rate () and its balance at the start (L-1, d, d)."""

    lr: Tensor
    start: Tensor

    def __init__(self, *, lr: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.register_buffer("lr", torch.tensor(lr, dtype=torch.float64))
        layers, last = self.layers.detach().double(), self.last.detach().double()
        self.register_buffer("start", theory.balance(layers, last, self.trains_last))


class GradientDescent(ZooModule):
    """Full-batch gradient descent on LinearRegressionData.

    Args:
        depth: L, all matrices.
        kind: "mlp" or "residual".
        activation: "none", or "gelu" between the layers of the mlp (data with samples: true).
        lr: learning rate; of several, each scale's turns get one after the other.
        redraw: whether every replica of a residual network has a vector q of its own.
        replicas, log_every, dtype, options: see ZooModule; replicas are a multiple of the data's scales, and of the
            number of learning rates.

    Raises:
        ValueError: a learning rate not positive, an unknown kind or activation, or (when training starts) an activation
            without samples.
    """

    system = "deep_linear"
    headline = "distance"

    def __init__(
        self,
        *,
        depth: int = 10,
        kind: str = "mlp",
        activation: str = "none",
        lr: float | list[float] = 0.02,
        redraw: bool = False,
        replicas: int = 80,
        chunk: int = 500,
        log_every: int = 1000,
        dtype: str = "float64",
        **options: Any,
    ) -> None:
        super().__init__(replicas=replicas, chunk=chunk, log_every=log_every, dtype=dtype, **options)
        self.rates = [float(one) for one in (lr if isinstance(lr, list) else [lr])]
        if not self.rates or min(self.rates) <= 0:
            raise ValueError(f"lr={lr} must be one or more positive numbers")
        self.depth, self.kind, self.activation, self.redraw = depth, kind, activation, redraw
        DeepLinear(dim=1, depth=depth, kind=kind, activation=activation)  # refuses what no network can be
        self.save_hyperparameters()

    def build(self, generator: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        if self.activation != "none" and "X" not in task:
            raise ValueError("a network with activation needs the sample itself: set data.samples to true")
        turn = int(task["turn"])
        network = State(
            lr=self.rates[turn % len(self.rates)],
            dim=len(task["w_star"]),
            depth=self.depth,
            kind=self.kind,
            activation=self.activation,
            scale=float(task["scale"]),
            generator=generator,
        )
        if self.kind == "residual" and not self.redraw:
            q = torch.randn(network.dim, generator=stream(self.system, self.seed, "q"))
            network.last.copy_(q / q.norm())
        return network

    @property
    def trains_last(self) -> bool:
        return self.kind == "mlp"

    def law(self, layers: Tensor, last: Tensor, lr: Tensor, task: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """One step of one replica."""
        if self.activation == "none":
            return theory.descent_step(layers, last, task["S"], task["w_star"], lr, self.trains_last)
        by_layers, by_last = grad(self.risk, argnums=(0, 1))(layers, last, task)
        return layers - lr * by_layers, last - lr * by_last

    def update(
        self, state: dict[str, Tensor], batch: dict[str, Tensor], task: dict[str, Tensor], step: Tensor
    ) -> dict[str, Tensor]:
        layers, last = self.law(state["layers"], state["last"], state["lr"], task)
        return {"layers": layers, "last": last} if self.trains_last else {"layers": layers}

    def risk(self, layers: Tensor, last: Tensor, task: dict[str, Tensor], part: str = "") -> Tensor:
        """Mean squared error on the sample, or on the test set with part="_test"."""
        prediction = propagate(task[f"X{part}"], layers, last, self.activation)
        return (prediction - task[f"y{part}"]).square().mean()

    def measure(self, network: Any, task: dict[str, Tensor], step: Tensor) -> dict[str, Tensor]:
        layers, last, S, w = network.layers, network.last, task["S"], task["w_star"]
        shape = theory.shape(layers, last)
        metrics = {
            "sharpness": self._sharpness(layers, last, task),
            "rank_ratio": shape.ratio,
            "alignment": shape.alignment,
            "drift": theory.drift(network.start, layers, last, self.trains_last),
        }
        if self.activation == "none":
            metrics |= {
                "distance": (theory.product(layers, last) - w).square().sum(),
                "loss": theory.excess(layers, last, S, w) + task["floor"],
                "gauss_newton": theory.sharpness_at_minimum(layers, last, S, self.trains_last),
            }
        else:
            metrics["loss"] = metrics["distance"] = self.risk(layers, last, task)
        if "X_test" in task:
            metrics["test_loss"] = self.risk(layers, last, task, "_test")
        finite = torch.stack([value.isfinite() for value in metrics.values()]).all()
        metrics = {name: torch.where(finite, value, math.nan) for name, value in metrics.items()}
        return metrics | {
            "diverged": finite.logical_not().to(w.dtype),
            "scale": task["scale"] + 0 * w[0],
            "lr": network.lr + 0 * w[0],
        }

    def _sharpness(self, layers: Tensor, last: Tensor, task: dict[str, Tensor]) -> Tensor:
        """Largest eigenvalue of the Hessian of the trained parameters, by Lanczos' method on its products."""
        split, trains_last = layers.numel(), self.trains_last
        size = split + trains_last * last.numel()

        def halves(flat: Tensor) -> tuple[Tensor, Tensor]:
            return flat[:split].view(layers.shape), flat[split:] if trains_last else torch.zeros_like(last)

        pull: Any = None
        if self.activation != "none":
            gradient = grad(lambda a, b: self.risk(a, b, task), argnums=(0, 1))
            pull = vjp(gradient, layers, last)[1]  # the Hessian is symmetric: pulling back is multiplying

        def product(direction: Tensor) -> Tensor:
            pair = halves(direction)
            found = pull(pair) if pull else theory.hessian_product(layers, last, task["S"], task["w_star"], *pair)
            return torch.cat([found[0].flatten(), found[1]]) if trains_last else found[0].flatten()

        return lanczos(product, starting_vector(size, layers), PRODUCTS, tolerance=0.0).value

    def export(self, network: nn.Module) -> nn.Module:
        assert isinstance(network, State)
        shipped = DeepLinear(**network.arguments).to(network.layers)
        shipped.load_state_dict({"layers": network.layers.detach(), "last": network.last.detach()})
        return shipped


class GradientFlow(GradientDescent):
    """Gradient flow by Dormand and Prince's step of order five over the time `lr` each, without error control.

    Stable for lr below about 3.3 over the largest sharpness on the way.

    Args:
        lr: time of one step.
        options: see GradientDescent; no activation.

    Raises:
        ValueError: as GradientDescent, or an activation is given.
    """

    def __init__(self, *, activation: str = "none", **options: Any) -> None:
        super().__init__(activation=activation, **options)
        if activation != "none":
            raise ValueError("the flow is that of the linear network: activation must be none")
        self.save_hyperparameters()

    def law(self, layers: Tensor, last: Tensor, lr: Tensor, task: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return theory.flow_step(layers, last, task["S"], task["w_star"], lr, self.trains_last)[0]
