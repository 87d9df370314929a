"""Training of an attention-only language model on windows of text (`WikiTextData`, `MarkovTextData`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoo.cross_entropy import cross_entropy, perplexities, token_losses
from zoo.models.attention_memorizer.network import AttentionOnly
from zoo.registry import ZooError
from zoo.training import ZooModule


class LanguageModel(ZooModule):
    """AdamW with warm-up and cosine on the cross-entropy of the next token at every place of a window.

    The history holds `loss` and `val_loss` in nats per token, their exponentials `perplexity` and `val_perplexity`, and beside
    them, as constants, `<name>_perplexity` of what the datamodule calls its references (n-gram models counted on the same
    tokens, or the exact entropies of a synthetic text). Where the data's true law is known, `excess` and `val_excess` are the
    losses above that law's, which estimate the divergence from it with little noise.

    Args:
        vocabulary, context, dim, heads, head_dim, layers, scale, tied: of `AttentionOnly`.
        bfloat16: output layer with matrix products of bfloat16 numbers; changes the loss by less than 1e-4 nats and is
            two to three times as fast where the processor knows the format. The attention layers stay in float32, where
            autocast costs more than it brings at these sizes.
        lr: largest step size, reached after `warmup` steps; falls along a cosine to `lr_end` at the trainer's max_steps.
        weight_decay: of AdamW.

    Raises:
        ZooError: the text has more words, or longer windows, than the model.
        ValueError: several replicas (a step is not bound by overhead here: train seeds in runs of their own).
    """

    system = "attention_memorizer"
    headline = "perplexity"
    threads = None  # matrix products large enough for every core

    def __init__(
        self,
        *,
        vocabulary: int = 1000,
        context: int = 64,
        dim: int = 64,
        heads: int = 4,
        head_dim: int = 16,
        layers: int = 2,
        scale: bool = False,
        tied: bool = False,
        bfloat16: bool = False,
        lr: float = 3e-3,
        lr_end: float = 1e-5,
        warmup: int = 100,
        weight_decay: float = 0.01,
        chunk: int = 16,
        **options: Any,
    ):
        super().__init__(chunk=chunk, **options)
        if self.replicas != 1:
            raise ValueError(f"A language model trains one replica, got {self.replicas}: train seeds in separate runs.")
        self._references: dict[str, float] = {}
        self.save_hyperparameters()

    def build(self, generator: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        # Both kinds of text tell their words in the task: as lines of bytes, or by their law.
        words = (
            int((task["vocabulary"] == ord("\n")).sum()) + 1 if "vocabulary" in task else len(task.get("unigram", ()))
        )
        if words > self.hparams["vocabulary"]:
            raise ZooError(
                f"The text has {words} words, the model {self.hparams['vocabulary']}: give both one vocabulary."
            )
        shape = ("vocabulary", "context", "dim", "heads", "head_dim", "layers", "scale", "tied")
        return AttentionOnly(**{name: self.hparams[name] for name in shape}, generator=generator)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if data.context > self.hparams["context"]:
            raise ZooError(f"The data's context {data.context} exceeds the model's {self.hparams['context']}.")
        self._references = data.references()

    def loss(self, network: Any, batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
        x, weight, targets = self._places(network, batch)
        loss = cross_entropy(x, weight, targets, bfloat16=self.hparams["bfloat16"])
        return {"loss": loss} | ({"excess": loss.detach() - batch["surprise"].mean()} if "surprise" in batch else {})

    def evaluate(self, network: Any, batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
        x, weight, targets = self._places(network, batch)
        losses = token_losses(x, weight, targets, bfloat16=self.hparams["bfloat16"]).double()
        found = {"val_loss": losses.sum() * batch["weight"]}
        if "surprise" in batch:
            surprise = batch["surprise"].flatten().masked_fill(targets < 0, 0)
            found["val_excess"] = (losses - surprise).sum() * batch["weight"]
        return found

    def _places(self, network: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        x = network.stream(batch["tokens"]).flatten(0, 1)
        return x, network.embedding if self.hparams["tied"] else network.unembedding, batch["targets"].flatten()

    def measure(self, network: Any, task: dict[str, Tensor], step: Tensor) -> dict[str, Tensor]:
        exact = torch.tensor(list(self._references.values()), dtype=torch.float64, device=step.device).exp()
        return {f"{name}_perplexity": value for name, value in zip(self._references, exact, strict=True)}

    def derived(self, row: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return perplexities(row)

    def learning_rate(self, step: int) -> float:
        p: Any = self.hparams
        if step < p.warmup:
            return p.lr * (step + 1) / p.warmup
        share = min((step - p.warmup) / max(self.trainer.max_steps - p.warmup, 1), 1.0)
        return p.lr_end + (p.lr - p.lr_end) * (1 + math.cos(math.pi * share)) / 2

    def configure_optimizers(self) -> torch.optim.Optimizer:
        p: Any = self.hparams
        return torch.optim.AdamW(self.parameters(), lr=p.lr, betas=(0.9, 0.95), weight_decay=p.weight_decay, fused=True)
