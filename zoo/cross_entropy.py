"""The output layer of a language model: cross-entropy of softmax(x W^T + c) without the (n, v) table of logits.

Shapes: n places, d embedding, v vocabulary.

With 10,000 words and 128 dimensions nine tenths of a training step are spent here, most of it on moving the logits through
memory. So the logits exist for a few rows at a time, small enough to stay in the processor's cache, and their gradient is
taken at once while they are there: loss and both gradients need three matrix products in all and no second softmax.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def cross_entropy(
    x: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    bfloat16: bool = False,
    rows: int = 0,
) -> Tensor:
    """Mean of -log softmax(x W^T + c)[target] over n places, a scalar; gradients to x, W and c, once.

    The loss of one place is cut at 87 nats in float32, where its probability underflows; gradients are not.

    Args:
        x: (n, d). weight: W (v, d). targets: (n,) int64. bias: c (v,), 0 if None.
        bfloat16: matrix products of bfloat16 numbers; softmax, loss and sums stay in the dtype of x.
        rows: logits at a time; 0 chooses by device.
    """
    rows = rows or (128 if x.device.type == "cpu" else 4096)
    if bias is not None:
        x, weight = _with_bias(x, weight, bias)
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return _Fused.apply(x, weight, targets, bfloat16, rows)[0]
    return token_losses(x, weight, targets, bfloat16=bfloat16, rows=rows).mean()


@torch.no_grad()
def token_losses(
    x: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    bfloat16: bool = False,
    rows: int = 128,
) -> Tensor:
    """-log softmax(x W^T + c)[target] at each place, (n,), 0 where the target is -1; no gradient."""
    if bias is not None:
        x, weight = _with_bias(x, weight, bias)
    likelihood = torch.empty_like(x[:, 0])
    low = torch.bfloat16 if bfloat16 else x.dtype
    for part, law, _ in _laws(x.to(low), weight.to(low), x.dtype, rows):
        likelihood[part] = law.gather(1, targets[part, None].clamp_min(0))[:, 0]
    return (-_log(likelihood)).masked_fill(targets < 0, 0)


def perplexities(row: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`perplexity` and `val_perplexity` of a history's row: exponentials of means, taken after the averaging."""
    pairs = (("loss", "perplexity"), ("val_loss", "val_perplexity"))
    return {name: row[of].double().exp() for of, name in pairs if of in row}


def _with_bias(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The bias as one more input that is always 1: one product instead of a product and a pass over the logits."""
    return torch.cat([x, x.new_ones(len(x), 1)], 1), torch.cat([weight, bias[:, None]], 1)


def _log(likelihood: Tensor) -> Tensor:
    return likelihood.clamp_min(torch.finfo(likelihood.dtype).tiny).log()


def _laws(inputs: Tensor, matrix: Tensor, dtype: torch.dtype, rows: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """softmax(x W^T) of `rows` rows at a time: which rows, the law in `dtype`, and the buffer of the logits.

    The next rows overwrite both.
    """
    shape = min(rows, len(inputs)), len(matrix)
    logits, laws = inputs.new_empty(shape), inputs.new_empty(shape, dtype=dtype)
    for start in range(0, len(inputs), rows):
        part = slice(start, min(start + rows, len(inputs)))
        count = part.stop - part.start
        torch.mm(inputs[part], matrix.T, out=logits[:count])
        torch.softmax(logits[:count], -1, dtype=dtype, out=laws[:count])
        yield part, laws[:count], logits[:count]


class _Fused(torch.autograd.Function):
    """Loss and gradients in the forward pass; backward only scales them."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, targets: Tensor, bfloat16: bool, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        low = torch.bfloat16 if bfloat16 else x.dtype
        inputs, matrix = x.to(low), weight.to(low)
        likelihood = torch.empty_like(x[:, 0])
        to_x, to_weight = torch.empty_like(x), torch.zeros_like(weight)
        product = torch.empty_like(matrix) if bfloat16 else to_weight
        for part, law, buffer in _laws(inputs, matrix, x.dtype, rows):
            likelihood[part] = law.gather(1, targets[part, None])[:, 0]
            if bfloat16:
                law = buffer.copy_(law)
                to_x[part] = law @ matrix
                to_weight += torch.mm(law.T, inputs[part], out=product)
            else:
                torch.mm(law, matrix, out=to_x[part])
                to_weight.addmm_(law.T, inputs[part])
        # The gradient of the logits is the law minus the indicator of the target; the indicator is a look-up.
        to_x -= weight[targets]
        to_weight.index_add_(0, targets, x, alpha=-1)
        return -_log(likelihood).mean(), to_x.div_(len(x)), to_weight.div_(len(x))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, to_x, to_weight = output
        ctx.mark_non_differentiable(to_x, to_weight)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(to_x, to_weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss: Tensor | None, *_: Any) -> Any:
        to_x, to_weight = ctx.saved_tensors
        if loss is None:
            return None, None, None, None, None
        return to_x * loss, to_weight * loss, None, None, None
