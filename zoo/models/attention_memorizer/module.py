"""Training of the attention memoriser and its competitors on tables (`LookupTableData`) and laws (`DirichletData`)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.attention_memorizer.network import AttentionOnly, ResidualMLP, SequenceEncoder, SharedCompression
from zoo.models.attention_memorizer.theory import divergence
from zoo.training import ZooModule

NETWORKS = ("attention", "shared", "mlp", "encoder")


class Memorizer(ZooModule):
    """Adam on the cross-entropy of the next token, with a step size that falls linearly from epoch to epoch.

    The schedule is the one that the authors' code runs: their LinearLR multiplies the base rate 0.1 by 0.1 at the
    start and by 0.005 at the end, so the step size goes from 0.01 to 5e-4 (the paper's text says 0.1 to 0.05, at
    which a table is not learned).

    On a table the history holds `loss` and `accuracy`, the running ones on the sample, averaged since the last row.
    With rows `log_every` = one epoch apart, the last `accuracy` is the mean over the last epoch; the authors
    average over the last 100 steps. `recall` is the accuracy over all contexts with equal weight. On laws the
    history holds `loss`, the divergence from the laws in nats.

    Args:
        network: "attention" (`AttentionOnly`), "shared" (`SharedCompression`, the authors' code), "mlp"
            (`ResidualMLP`), or "encoder" (`SequenceEncoder`, on laws only).
        vocabulary: N, as in the data.
        context: tokens before the predicted one, as in the data.
        dim: d.
        heads: H, of "attention" and "shared".
        head_dim: d_h, of the same.
        scale: whether the scores of "attention" are divided by sqrt(d_h); those of the other networks are.
        width: of the MLP.
        lr_start: step size of the first epoch.
        lr_end: the one reached after `epochs` epochs.
        epochs: of the schedule; the training itself stops at the trainer's max_steps.
        steps_per_epoch: of the schedule.
        replicas, chunk, log_every, compile, dtype, seed: see ZooModule.

    Raises:
        ValueError: an unknown network, or the data have another vocabulary (when training starts).
    """

    system = "attention_memorizer"
    headline = "accuracy"

    def __init__(
        self,
        *,
        network: str = "attention",
        vocabulary: int = 50,
        context: int = 2,
        dim: int = 10,
        heads: int = 16,
        head_dim: int = 10,
        scale: bool = False,
        width: int = 100,
        lr_start: float = 0.01,
        lr_end: float = 5e-4,
        epochs: int = 64,
        steps_per_epoch: int = 64,
        log_every: int = 64,
        **options: Any,
    ):
        super().__init__(log_every=log_every, **options)
        if network not in NETWORKS:
            raise ValueError(f"network must be one of {', '.join(NETWORKS)}, got {network!r}.")
        self.save_hyperparameters()

    def build(self, generator: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        p: Any = self.hparams
        found = task["table" if "table" in task else "laws"].shape[-1]
        if found != p.vocabulary:
            raise ValueError(f"model.vocabulary is {p.vocabulary}, the data have {found} tokens.")
        shape = {"vocabulary": p.vocabulary, "dim": p.dim, "generator": generator}
        if p.network == "encoder":
            if "laws" not in task:
                raise ValueError("model.network=encoder needs laws (DirichletData), the data are a table.")
            return SequenceEncoder(sequences=len(task["laws"]), **shape)
        if p.network == "mlp":
            return ResidualMLP(context=p.context, width=p.width, **shape)
        shape |= {"context": p.context, "heads": p.heads, "head_dim": p.head_dim}
        return SharedCompression(**shape) if p.network == "shared" else AttentionOnly(scale=p.scale, **shape)

    def logits(self, network: Any, tokens: Tensor) -> Tensor:
        """Next-token logits of sequences (b, t) -> (b, v), by the faster of two equal programs."""
        fast = tokens.shape[1] == 2 and len(tokens) >= self.hparams["vocabulary"]
        return network.pairs(tokens) if fast else network(tokens)

    def loss(self, network: Any, batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
        if "law" in batch:
            encoder = self.hparams["network"] == "encoder"
            logits = network(batch["index"]) if encoder else self.logits(network, batch["tokens"])
            return {"loss": divergence(batch["law"], logits)}
        logits = self.logits(network, batch["tokens"])
        # The same as argmax == target, which takes ten times as long.
        hits = logits.gather(-1, batch["target"].unsqueeze(-1)).squeeze(-1) == logits.amax(-1)
        return {"loss": F.cross_entropy(logits, batch["target"]), "accuracy": hits.to(logits.dtype).mean()}

    def measure(self, network: Any, task: dict[str, Tensor], step: Tensor) -> dict[str, Tensor]:
        if "table" not in task:
            return {}
        table = task["table"].flatten()
        v, t = self.hparams["vocabulary"], self.hparams["context"]
        index = torch.arange(v**t, device=table.device)
        tokens = torch.stack([index // v**s % v for s in reversed(range(t))], dim=1)
        hits = self.logits(network, tokens).argmax(-1) == table
        return {"recall": hits.double().mean()}

    def learning_rate(self, step: int) -> float:
        p: Any = self.hparams
        share = min(step // p.steps_per_epoch / p.epochs, 1.0)
        return p.lr_start + share * (p.lr_end - p.lr_start)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr_start"], fused=True)
