"""Signatures level by level, all times at once, and their gradient by running the path backwards.

Shapes: b paths, t increments, level k (b, d^k, t) with time last, so that every operation runs along contiguous memory.

Level k of the signature of the first steps is a sum over time, S^k_t = S^k_{t-1} + R^k_t (x) v_t, where R^k depends on lower
levels alone (Horner's form of S (x) exp(v)):

    A_1 = v/k,  H_j = S^j_{t-1} + A_j,  A_{j+1} = H_j (x) v/(k-j),  R^k = H_{k-1}

So there is no loop over time but a cumulative sum, and of the highest level, whose states nobody needs, not even that: its
sum over time is a matrix product R^N V'. The gradient needs the states S_{t-1}; they are not kept but recovered from the end,
S^k_{t-1} = S^k_t - R^k_t (x) v_t, which is S_{t-1} = S_t (x) exp(-v_t). Memory does not grow with b or t: pieces of a batch,
and of a path, are done one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from zoo.signatures.algebra import Levels, join, split

NUMBERS = {"cpu": 1 << 18, "cuda": 1 << 26}  # of level N-1 done at once: a processor's cache, a card's memory


def pieces(batch: int, steps: int, width: int, device: torch.device) -> tuple[int, int]:
    """How many paths, and how many steps of them, to do at once when level N-1 has `width` numbers."""
    most = NUMBERS.get(device.type, NUMBERS["cuda"])
    numbers = min(most, max(1 << 16, batch * steps * width // 4))  # fresh pages are dear: few for a small job
    length = min(steps, max(128, numbers // width))
    return min(batch, max(1, numbers // (width * length))), length


def spans(count: int, length: int) -> Iterator[slice]:
    for start in range(0, count, length):
        yield slice(start, min(count, start + length))


def right_outer(h: Tensor, v: Tensor, out: Tensor) -> None:
    """h (b, w, t) times v (b, d, t) into out (b, w d, t)."""
    torch.mul(h.unsqueeze(2), v.unsqueeze(1), out=out.unflatten(1, (h.shape[1], -1)))


def right_contract(a: Tensor, v: Tensor, scratch: Scratch) -> Tensor:
    """sum_i a[w i] v[i]: (b, w d, t) and (b, d, t) -> (b, w, t)."""
    parts = a.unflatten(1, (-1, v.shape[1]))
    out = scratch("contracted", parts.shape[1], *parts[:, :, 0].shape)
    found = torch.mul(parts[:, :, 0], v[:, None, 0], out=out)
    for i in range(1, v.shape[1]):
        found.addcmul_(parts[:, :, i], v[:, None, i])
    return found


def left_contract(h: Tensor, a: Tensor, scratch: Scratch) -> Tensor:
    """sum_w h[w] a[w i]: (b, w, t) and (b, w d, t) -> (b, d, t)."""
    parts = a.unflatten(1, (h.shape[1], -1))
    return torch.mul(parts, h.unsqueeze(2), out=scratch("product", parts.shape[1], *parts.shape)).sum(1)


class Scratch:
    """Memory that every piece uses again: fresh pages would cost as much as the arithmetic."""

    def __init__(self, like: Tensor) -> None:
        self.like = like
        self.held: dict[tuple[object, ...], Tensor] = {}

    def __call__(self, name: str, k: int, *shape: int) -> Tensor:
        """An uninitialised tensor; what was taken under the same name and number before is overwritten."""
        count = math.prod(shape)
        if (name, k) not in self.held or self.held[name, k].numel() < count:
            self.held[name, k] = self.like.new_empty(count)
        return self.held[name, k][:count].view(shape)


def factors(states: Levels, scaled: list[Tensor], k: int, scratch: Scratch) -> list[Tensor]:
    """H_1, ..., H_{k-1} = R^k from the states before each step; `scaled` is v/1, ..., v/N. For k = 1 the factor is one."""
    if k == 1:
        return [torch.ones_like(scaled[0][:, :1])]
    b, d, t = scaled[0].shape
    found = [states[0] + scaled[k - 1]]
    for j in range(1, k - 1):
        out = scratch(f"factor {j}", k, b, d**j, d, t)
        v = scaled[k - j - 1].unsqueeze(1)
        torch.addcmul(states[j].unflatten(1, (-1, d)), found[-1].unsqueeze(2), v, out=out)
        found.append(out.flatten(1, 2))
    return found


def piece_forward(v: Tensor, levels: Levels, scratch: Scratch) -> Levels:
    """The signature `levels` (b, d^k) of a path, continued by the increments v (b, d, t)."""
    depth, t = len(levels), v.shape[2]
    scaled = [v / k for k in range(1, depth + 1)]
    states: Levels = []
    found: Levels = []
    for k in range(1, depth):
        factor = factors(states, scaled, k, scratch)[-1]
        sums = scratch("states", k, *levels[k - 1].shape, t + 1)
        sums[..., 0] = levels[k - 1]
        right_outer(factor, v, sums[..., 1:])
        sums.cumsum_(-1)
        states.append(sums[..., :-1])
        found.append(sums[..., -1].clone())
    last = factors(states, scaled, depth, scratch)[-1] @ v.mT
    return [*found, levels[-1] + last.flatten(1)]


def piece_backward(v: Tensor, ends: Levels, gradients: Levels, scratch: Scratch) -> tuple[Tensor, Levels, Levels]:
    """The gradient of the increments v (b, d, t), latest FIRST.

    ends: levels 1 ... N-1 of the signature after these increments.  gradients: of levels 1 ... N there.
    Returns the gradient (b, d, t), and both before these increments.
    """
    depth, (b, d, t) = len(gradients), v.shape
    scaled = [v / k for k in range(1, depth + 1)]
    back = -v
    states: Levels = []
    every: list[list[Tensor]] = []
    for k in range(1, depth + 1):
        every.append(factors(states, scaled, k, scratch))
        if k < depth:
            sums = scratch("states", k, b, d**k, t + 1)
            sums[..., 0] = ends[k - 1]
            right_outer(every[-1][-1], back, sums[..., 1:])
            states.append(sums.cumsum_(-1)[..., 1:])
    # into[k-1]: the gradient of level k at the end, then what each step adds to it; their sums are its gradients
    into = [scratch("into", k, b, d**k, t + 1) for k in range(1, depth)]
    for sums, level in zip(into, gradients, strict=False):
        sums[..., 0] = level
    matrix = gradients[-1].unflatten(1, (-1, d))
    found = matrix.mT @ every[-1][-1]
    down = into[-1][..., 1:] if into else v.new_empty(b, 1, t)
    torch.bmm(matrix, v, out=down)
    for k in range(depth, 0, -1):
        *lower, factor = every[k - 1]
        if k < depth:
            own = into[k - 1].cumsum_(-1)[..., :-1]
            found += left_contract(factor, own, scratch)
            if k == 1:
                break
            down = right_contract(own, v, scratch)
        for j in range(k - 1, 0, -1):  # down is the gradient of H_j
            if k < depth:
                into[j - 1][..., 1:] += down
            elif j < k - 1:  # the first to write there
                into[j - 1][..., 1:] = down
            if j == 1:
                found += down / k
            else:
                found += left_contract(lower[j - 2], down, scratch) / (k - j + 1)
                down = right_contract(down, scaled[k - j], scratch)
    starts = [level[..., -1].clone() for level in states]
    return found, starts, [*(sums[..., -1].clone() for sums in into), gradients[-1]]


def forward(increments: Tensor, depth: int) -> Tensor:
    """The signature (b, s) of increments (b, t, d)."""
    b, t, d = increments.shape
    paths, length = pieces(b, t, d ** (depth - 1), increments.device)
    found, scratch = [], Scratch(increments)
    for some in spans(b, paths):
        v = increments[some].mT.contiguous()
        levels = [v.new_zeros(len(v), d**k) for k in range(1, depth + 1)]
        for part in spans(t, length):
            levels = piece_forward(v[..., part], levels, scratch)
        found.append(join(levels))
    return torch.cat(found)


def backward(increments: Tensor, signature: Tensor, gradient: Tensor, depth: int) -> Tensor:
    """The gradient (b, t, d) of increments from that of the signature (b, s)."""
    b, t, d = increments.shape
    paths, length = pieces(b, t, d ** (depth - 1), increments.device)
    found, scratch = torch.empty_like(increments), Scratch(increments)
    for some in spans(b, paths):
        v = increments[some].mT.flip(-1)
        ends = split(signature[some], d, depth)[:-1]
        gradients = split(gradient[some], d, depth)
        for part in spans(t, length):
            piece, ends, gradients = piece_backward(v[..., part], ends, gradients, scratch)
            found[some, t - part.stop : t - part.start] = piece.flip(-1).mT
    return found
