"""Training of the post-norm encoder on streams of text (`WikiTextData`): Figures 7 and 10."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from datamodules.corpus import Vocabulary
from datamodules.stream import generator
from zoo.cross_entropy import cross_entropy, perplexities
from zoo.models.scan_and_snap.text_network import Drop, PostNormEncoder, attention_entropy, held_out
from zoo.registry import ZooError
from zoo.training import ZooModule

FFN = ("inner", "inner_bias", "outer", "outer_bias")


class EncoderText(ZooModule):
    """Plain SGD with a constant step size and clipped gradients on the cross-entropy of the next word at every place.

    The vocabulary is that of the data. The history holds `loss` and `val_loss` in nats per token, their exponentials `perplexity`
    and `val_perplexity`, and `val_entropy`, the mean attention entropy over layers, heads and all queries of the validation
    set; every row, the first one before training included, has `entropy`, the same on the first validation batch.

    Args:
        dim, hidden, heads, layers: of `PostNormEncoder`.
        lr: step size of all parameters.
        lr_ffn: step size of the hidden layer's maps where it is another one; the authors' run of Figure 7 has 10 beside 5.
        clip: largest norm of the gradient of all parameters together.
        bfloat16: output layer with matrix products of bfloat16 numbers, as in the attention-only language model.
        dropout: share of numbers set to 0 while training. The masks of a step depend on the seed, the rank and the step only.

    Raises:
        ValueError: several replicas (a step is not bound by overhead here: train seeds in runs of their own), or dropout
            outside [0, 1).
    """

    system = "scan_and_snap"
    headline = "perplexity"
    threads = None  # matrix products large enough for every core

    def __init__(
        self,
        *,
        dim: int = 200,
        hidden: int = 200,
        heads: int = 1,
        layers: int = 1,
        lr: float = 5.0,
        lr_ffn: float | None = None,
        clip: float = 0.5,
        bfloat16: bool = False,
        dropout: float = 0.0,
        chunk: int = 16,
        **options: Any,
    ):
        super().__init__(chunk=chunk, **options)
        if self.replicas != 1:
            raise ValueError(f"EncoderText trains one replica, got {self.replicas}: train seeds in separate runs.")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}.")
        self._probe = torch.empty(0)
        self.save_hyperparameters()

    def build(self, generator: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        if "vocabulary" not in task:
            raise ZooError("EncoderText reads the words of a text: its data are WikiTextData.")
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        shape = {name: self.hparams[name] for name in ("dim", "hidden", "heads", "layers")}
        words = len(Vocabulary.from_tensor(task["vocabulary"]))
        return PostNormEncoder(vocabulary=words, context=data.context, **shape, generator=generator)

    def on_fit_start(self) -> None:
        super().on_fit_start()
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        self._probe = next(iter(data.val_dataloader()))["tokens"].to(self.device)

    def _drop(self, step: Tensor) -> Drop:
        rate: float = self.hparams["dropout"]
        if not rate:
            return lambda x: x
        key = generator(self.system, self.seed, "dropout", self.global_rank, int(step)).initial_seed()
        draws = torch.Generator(self.device).manual_seed(key)

        @torch.compiler.disable
        def drop(x: Tensor) -> Tensor:
            return x * (torch.rand(x.shape, generator=draws, device=x.device, dtype=x.dtype) >= rate) / (1 - rate)

        return drop

    def loss(self, network: Any, batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
        x, _ = network.encode(batch["tokens"], self._drop(batch["step"]))
        x, targets = x.flatten(0, 1), batch["targets"].flatten()
        low = self.hparams["bfloat16"]
        return {"loss": cross_entropy(x, network.unembedding, targets, bias=network.bias, bfloat16=low)}

    def evaluate(self, network: Any, batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
        losses, entropies = held_out(network, batch)
        return {
            "val_loss": losses.double().sum() * batch["weight"],
            "val_entropy": entropies.double().sum() * batch["weight"],
        }

    def measure(self, network: Any, task: dict[str, Tensor], step: Tensor) -> dict[str, Tensor]:
        return {"entropy": attention_entropy(network.attention(self._probe)).mean()}

    def derived(self, row: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return perplexities(row)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        p: Any = self.hparams
        named = list(self.named_parameters())
        hidden = [one for name, one in named if name.split(".")[-1] in FFN]
        others = [one for name, one in named if name.split(".")[-1] not in FFN]
        groups = [{"params": others, "lr": p.lr}, {"params": hidden, "lr": p.lr if p.lr_ffn is None else p.lr_ffn}]
        optimiser = torch.optim.SGD(groups, lr=p.lr)

        def clip(*_: Any) -> None:
            nn.utils.clip_grad_norm_(others + hidden, p.clip)

        optimiser.register_step_pre_hook(clip)
        return optimiser
