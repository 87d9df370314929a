"""Training of residual recurrent nets on series, with or without the norm as a penalty.

Logs `loss` and `accuracy`, `norm` (squared RKHS norm, truncated at order N, mean over scores) and `code_norm` (as the released
code has it), `frobenius` (of [W_x, W_h]), and after each epoch `val_loss` and `val_accuracy`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from zoo.classification import held_out, scores
from zoo.models.rnn_signature import theory
from zoo.models.rnn_signature.network import ResidualRNN
from zoo.training import ZooModule


class SignatureTraining(ZooModule):
    """Cross-entropy plus lambda times the squared norm, Adam, the step size halved every `halve_every` steps.

    Replica r has penalty number r mod len(penalties). The weight's task holds `penalty` () and `bias` (e,), b before training.

    Args:
        width, activation: see ResidualRNN; channels and classes are the data's.
        penalties: lambda.
        order: N of the truncated norm, 1 to 3.
        as_in_code: penalise the norm as the released code has it, with the bias of the initial network for ever and the
            readout's bias in every coefficient.
        lr: step size of Adam. halve_every: optimiser steps; 0 keeps the step size.
        options: see ZooModule.

    Raises:
        ValueError: lr is not positive, no penalty or a negative one, an order that is not 1, 2 or 3.
    """

    system = "rnn_signature"
    headline = "val_accuracy"

    def __init__(
        self,
        *,
        width: int = 32,
        activation: str = "tanh",
        penalties: list[float] = [0.0],  # noqa: B006, read only; JSON value that a recipe shows
        order: int = 3,
        as_in_code: bool = False,
        lr: float = 0.1,
        halve_every: int = 40,
        chunk: int = 8,
        **options: Any,
    ) -> None:
        super().__init__(chunk=chunk, **options)
        if lr <= 0 or halve_every < 0:
            raise ValueError(f"lr={lr} must be positive and halve_every={halve_every} at least zero")
        if not penalties or min(penalties) < 0:
            raise ValueError(f"penalties={penalties} must be one or more numbers that are at least 0")
        if order not in (1, 2, 3):
            raise ValueError(f"order={order}: choose 1, 2 or 3")
        self.width, self.activation, self.order, self.as_in_code = width, activation, order, as_in_code
        self.penalties, self.lr, self.halve_every = list(penalties), lr, halve_every
        self.save_hyperparameters()

    def build(self, generator: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        sizes = {"channels": int(task["channels"]), "classes": int(task["classes"]), "width": self.width}
        return ResidualRNN(**sizes, activation=self.activation, generator=generator)

    def configure_model(self) -> None:
        if self.copies is not None:
            return
        super().configure_model()
        assert self.copies is not None
        chosen = [self.penalties[replica % len(self.penalties)] for replica in self.replica_ids]
        network: Any = self.copies.network
        self._task["penalty"] = torch.tensor(chosen, dtype=self.precision)
        self._task["bias"] = network.bias.detach().clone()

    def learning_rate(self, step: int) -> float:
        return self.lr * 0.5 ** (step // self.halve_every) if self.halve_every else self.lr

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)

    def _norms(self, network: Any, task: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Both squared norms, the correct one first."""
        readout = network.psi_weight, network.psi_bias
        now = theory.Field(network.W_h, network.W_x, network.b_h + network.b_x, self.activation)
        then = now._replace(b=task["bias"])
        return (
            theory.squared_rkhs_norm(now, network.h_0, *readout, self.order),
            theory.code_norm(then, network.h_0, *readout, self.order),
        )

    def _logits(self, network: Any, batch: dict[str, Tensor]) -> Tensor:
        return network(batch["series"].to(self.precision))

    def loss(self, network: Any, batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
        losses, hits = scores(self._logits(network, batch), batch["targets"])
        loss = losses.mean()
        if max(self.penalties) > 0:
            correct, code = self._norms(network, task)
            loss = loss + task["penalty"] * (code if self.as_in_code else correct)
        return {"loss": loss, "accuracy": hits.mean()}

    def measure(self, network: Any, task: dict[str, Tensor], step: Tensor) -> dict[str, Tensor]:
        norm, code_norm = self._norms(network, task)
        weights = torch.cat([network.W_x, network.W_h], dim=1)
        return {"norm": norm, "code_norm": code_norm, "frobenius": weights.square().sum().sqrt()}

    def evaluate(self, network: Any, batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
        return held_out(self._logits(network, batch), batch)
