"""h_{k+1} = h_k + scale f(h_k, theta_k) over stacked parameters, with a choice of what back-propagation keeps.

Shapes: l layers; parameters (l, ...); a state h (b, ...).

    memory        keeps                                                   computes the branch again
    "autograd"    all that the branch's own backward needs, every layer   never
    "states"      h_0 … h_{l-1}                                           once, in the backward of each layer
    "checkpoint"  every sqrt(l)-th state, and those of one stretch        twice
    "invert"      h_l; h_k is found from h_{k+1} by fixed-point steps     a few times

Gradients are the same to rounding, and where none are wanted (torch.no_grad) nothing is kept. All but "invert", whose
number of steps depends on the numbers it meets, give them under `torch.func.vmap`; all but "autograd" differentiate once.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

MEMORY = ("autograd", "states", "checkpoint", "invert")
TOGETHER = 12  # layers that one call of a branch's sweep goes back through
Branch = Callable[..., Tensor]  # f(h, *theta); it may have methods pullback and sweep, see zoo.depth.branches


def states(branch: Branch, h: Tensor, parameters: Sequence[Tensor], scale: float | Tensor) -> Iterator[Tensor]:
    """h_0, h_1, …, h_l, one at a time."""
    factor = _factor(scale, h)
    yield h
    for theta in zip(*(parameter.unbind() for parameter in parameters), strict=True):
        h = torch.addcmul(h, factor, branch(h, *theta))
        yield h


def trunk(
    branch: Branch, h: Tensor, parameters: Sequence[Tensor], scale: float | Tensor, memory: str = "autograd"
) -> Tensor:
    """h_l from h_0 = h.

    branch: f(h, *theta) with theta one layer of each parameter, shaped like h.  scale: a number or a tensor (), which gets
    a gradient with "autograd" only.  memory: see above.

    Raises:
        ValueError: an unknown memory, "invert" inside vmap or grad of torch.func, or a scale that needs a gradient it would
            not get.
        ArithmeticError: (in the backward of "invert") scale times the Lipschitz constant of a branch is not below one.
    """
    if memory not in MEMORY:
        raise ValueError(f"memory={memory!r}: choose one of {', '.join(MEMORY)}")
    if memory == "autograd" or not torch.is_grad_enabled():
        return deque(states(branch, h, parameters, scale), maxlen=1).pop()
    if isinstance(scale, Tensor) and scale.requires_grad:
        raise ValueError(f"memory={memory!r} gives the scale no gradient: detach it, or use memory='autograd'")
    if memory == "invert" and torch._C._functorch.peek_interpreter_stack() is not None:
        raise ValueError("memory='invert' does not run inside torch.func transforms: use memory='checkpoint'")
    layers = len(parameters[0])
    stretch = {"states": 1, "checkpoint": math.isqrt(layers - 1) + 1 if layers else 1, "invert": 0}[memory]
    result: Tensor = _Trunk.apply(branch, _factor(scale, h), stretch, h, *parameters)[0]  # type: ignore[no-untyped-call]
    return result


def _factor(scale: float | Tensor, h: Tensor) -> Tensor:
    return scale.to(h.dtype) if isinstance(scale, Tensor) else torch.tensor(scale, dtype=h.dtype, device=h.device)


class _Trunk(torch.autograd.Function):
    """Keeps h every `stretch` layers, or only h_l if that is 0."""

    generate_vmap_rule = True

    @staticmethod
    def forward(branch: Branch, factor: Tensor, stretch: int, h: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        kept = []
        for k, theta in enumerate(zip(*(parameter.unbind() for parameter in parameters), strict=True)):
            if stretch and k % stretch == 0:
                kept.append(h if k else h.clone())
            h = torch.addcmul(h, factor, branch(h, *theta))
        return h, *kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.branch, factor, ctx.stretch, _, *parameters = inputs
        last, *kept = output
        ctx.mark_non_differentiable(*kept)
        ctx.set_materialize_grads(False)  # or every kept state gets zeros of its size
        ctx.count = len(parameters)
        ctx.save_for_backward(factor, *parameters, *(kept if ctx.stretch else [last]))

    @staticmethod
    def backward(ctx: Any, g: Tensor, *_: Tensor) -> tuple[Any, ...]:
        factor, *rest = ctx.saved_tensors
        parameters, kept = rest[: ctx.count], rest[ctx.count :]
        with torch.no_grad():
            found: list[Tensor] = []
            for k, path in _backwards(ctx.branch, factor, ctx.stretch, parameters, kept):
                theta = [parameter[k : k + len(path)] for parameter in parameters]
                g, *own = _sweep(ctx.branch, g, path, factor, theta)
                if not found:  # shaped like the gradients and not the parameters, which vmap may not have batched
                    found = [one.new_empty(len(parameters[0]), *one.shape[1:]) for one in own]
                for stack, one in zip(found, own, strict=True):
                    stack[k : k + len(path)].copy_(one)
        gradients = (g, *(found or map(torch.zeros_like, parameters)))
        if torch.is_grad_enabled():
            gradients = _Once.apply(len(gradients), *gradients, *ctx.saved_tensors)
        return None, None, None, *gradients


class _Once(torch.autograd.Function):
    """The first `count` tensors as they are; a second derivative, which would silently miss a part, is an error."""

    generate_vmap_rule = True

    @staticmethod
    def forward(count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.view_as(tensor) for tensor in tensors[:count])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> None:
        raise RuntimeError("this trunk can be differentiated once: memory='autograd' knows higher derivatives")


def _sweep(branch: Branch, g: Tensor, path: list[Tensor], factor: Tensor, theta: list[Tensor]) -> tuple[Tensor, ...]:
    """Gradients for the first state of a stretch and for its parameters (l, ...), from g at its end."""
    at_once = getattr(branch, "sweep", None)
    if at_once is not None and len(path) > 1:
        gradients: tuple[Tensor, ...] = at_once(g, torch.stack(path), factor, *theta)
        return gradients
    found = []
    for k in reversed(range(len(path))):
        through, *own = _pullback(branch, g * factor, path[k], [one[k] for one in theta])
        found.append(own)
        g = g + through
    return g, *(torch.stack(each[::-1]) for each in zip(*found, strict=True))


def _pullback(branch: Branch, g: Tensor, h: Tensor, theta: list[Tensor]) -> tuple[Tensor, ...]:
    by_hand = getattr(branch, "pullback", None)
    if by_hand is not None:
        gradients: tuple[Tensor, ...] = by_hand(g, h, *theta)
        return gradients
    pull = torch.func.vjp(branch, h, *theta)[1]
    return tuple(pull(g))


def _backwards(
    branch: Branch, factor: Tensor, stretch: int, parameters: Sequence[Tensor], kept: list[Tensor]
) -> Iterator[tuple[int, list[Tensor]]]:
    """Stretches (k, [h_k, h_{k+1}, …]) from the last to the first."""
    layers = len(parameters[0])
    if not stretch:
        (h,) = kept
        for k in reversed(range(layers)):
            h = _before(branch, h, [parameter[k] for parameter in parameters], factor)
            yield k, [h]
        return
    while kept:
        if stretch == 1:
            path = kept[-TOGETHER:]
            del kept[-TOGETHER:]
            first = len(kept)
        else:
            first = (len(kept) - 1) * stretch
            path = [kept.pop()]
            for k in range(first, min(first + stretch, layers) - 1):
                theta = [parameter[k] for parameter in parameters]
                path.append(torch.addcmul(path[-1], factor, branch(path[-1], *theta)))
        while path:
            k = (len(path) - 1) // TOGETHER * TOGETHER
            taken = path[k:]
            del path[k:]
            yield first + k, taken


def _before(branch: Branch, after: Tensor, theta: list[Tensor], factor: Tensor) -> Tensor:
    """The h with h + factor f(h) = after, to rounding."""
    tolerance = torch.finfo(after.dtype).eps * after.norm().item()
    h, gap = after, math.inf
    for _ in range(200):
        found = torch.addcmul(after, factor, branch(h, *theta), value=-1)
        before, gap = gap, (found - h).norm().item()
        h = found
        # Each step shrinks the error by at least the factor by which the gap shrank.
        if gap <= tolerance or (gap < before < math.inf and gap * gap / before <= tolerance):
            return h
        if not gap < 2 * before:
            break
    raise ArithmeticError(
        "a layer cannot be inverted: scale times the Lipschitz constant of its branch must be below one; "
        "use memory='checkpoint'"
    )
