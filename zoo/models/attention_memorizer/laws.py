"""Training of one attention layer on the next-word laws of a text's contexts (`ContextLawsData`)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from datamodules.stream import generator as stream
from zoo.models.attention_memorizer.context_laws import best_rank, construct, laws
from zoo.models.attention_memorizer.network import AttentionOnly
from zoo.models.attention_memorizer.theory import divergence
from zoo.training import ZooModule


class ContextLaws(ZooModule):
    """Adam on the divergence KL(law of the text, network), the mean over all contexts weighted by their frequency.

    The history holds `loss`, the cross-entropy; `divergence`, the loss without the entropy of the laws, in nats; and as
    constants `best_rank`, the least divergence that L-BFGS finds for any network of width d (Proposition 1), and
    `constructed`, that of the layer built by Theorem 1 with as many heads.

    Args:
        dim, heads, head_dim: of `AttentionOnly`; vocabulary and context follow from the data.
        lr: step size after `warmup` steps, falls along a cosine to 0 at the trainer's max_steps.
    """

    system = "attention_memorizer"
    headline = "divergence"

    def __init__(
        self,
        *,
        dim: int = 10,
        heads: int = 31,
        head_dim: int = 10,
        lr: float = 0.02,
        warmup: int = 100,
        **options: Any,
    ):
        super().__init__(**options)
        self._constants: dict[str, float] = {}
        self.save_hyperparameters()

    def build(self, generator: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        p: Any = self.hparams
        v, t = task["counts"].shape[1], task["contexts"].shape[1]
        shape = {"dim": p.dim, "heads": p.heads, "head_dim": p.head_dim}
        return AttentionOnly(vocabulary=v, context=t, **shape, generator=generator)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        p: Any = self.hparams
        task = {name: leaf[0].cpu() for name, leaf in self.task().items()}
        law, weights = laws(task)
        encoder = best_rank(law, weights, p.dim)
        network = AttentionOnly(vocabulary=law.shape[1], context=2, dim=p.dim, heads=p.heads, head_dim=p.head_dim)
        key = stream(self.system, self.seed, "construct")
        built = construct(law, weights, task["contexts"], encoder, p.heads, p.head_dim, key)
        network.double().load_state_dict(built)
        with torch.no_grad():
            constructed = divergence(law, network(task["contexts"]), weights)
        self._constants = {"best_rank": encoder.divergence, "constructed": constructed.item()}

    def loss(self, network: Any, batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
        law, weights = laws(task, self.precision)
        # The cross-entropy: the divergence but for the entropy of the laws, whose logarithms are not needed at every step.
        return {"loss": -(weights @ (law * network(task["contexts"]).log_softmax(-1)).sum(-1))}

    def measure(self, network: Any, task: dict[str, Tensor], step: Tensor) -> dict[str, Tensor]:
        law, weights = laws(task, self.precision)
        found = {"divergence": divergence(law, network(task["contexts"]), weights)}
        return found | {name: torch.tensor(value, device=step.device) for name, value in self._constants.items()}

    def learning_rate(self, step: int) -> float:
        p: Any = self.hparams
        if step < p.warmup:
            return p.lr * (step + 1) / p.warmup
        return p.lr * (1 + math.cos(math.pi * min(step / self.trainer.max_steps, 1.0))) / 2

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"], fused=True)
