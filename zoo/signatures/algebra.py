"""The truncated tensor algebra: products, inverse, exponential, logarithm, Lyndon words.

Shapes: an element with scalar part 1 is a list of its levels 1 ... N, level k (..., d^k); the entry of the word i_1 ... i_k is at
i_1 d^{k-1} + ... + i_k. Flat, the levels one after the other are (..., s) with s = d + ... + d^N. A Lie element has scalar part 0.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

Levels = list[Tensor]


def size(channels: int, depth: int) -> int:
    """d + ... + d^N, how many numbers a signature has."""
    return sum(channels**k for k in range(1, depth + 1))


def split(flat: Tensor, channels: int, depth: int) -> Levels:
    """The levels of a flat element, as views.

    Raises:
        ValueError: its last axis has another size.
    """
    if flat.shape[-1] != size(channels, depth):
        raise ValueError(
            f"depth {depth} over {channels} channels has {size(channels, depth)} numbers, not {flat.shape[-1]}"
        )
    return list(flat.split([channels**k for k in range(1, depth + 1)], dim=-1))


def join(levels: Sequence[Tensor]) -> Tensor:
    """Flat from levels."""
    return torch.cat(list(levels), dim=-1)


def outer(a: Tensor, b: Tensor) -> Tensor:
    """(..., m) and (..., n) -> (..., m n), the words of a before those of b."""
    return (a.unsqueeze(-1) * b.unsqueeze(-2)).flatten(-2)


def exponential(v: Tensor, depth: int) -> Levels:
    """v^{(x) k}/k!, the signature of a straight segment v (..., d)."""
    levels = [v]
    for k in range(2, depth + 1):
        levels.append(outer(levels[-1], v / k))
    return levels


def multiply(a: Levels, b: Levels) -> Levels:
    """a (x) b, which for signatures is the signature of one path after the other (Chen's identity)."""
    found = []
    for k in range(len(a)):
        level = a[k] + b[k]
        for j in range(k):
            level = level + outer(a[j], b[k - 1 - j])
        found.append(level)
    return found


def lie_product(a: Levels, b: Levels) -> Levels:
    """a (x) b for scalar parts 0: the first level is zero."""
    found = [torch.zeros_like(a[0])]
    for k in range(1, len(a)):
        found.append(sum((outer(a[j], b[k - 1 - j]) for j in range(k)), torch.zeros_like(a[k])))
    return found


def inverse(a: Levels) -> Levels:
    """1/a, which for a signature is that of the path run backwards."""
    found: Levels = []
    for k in range(len(a)):
        level = -a[k]
        for j in range(k):
            level = level - outer(a[j], found[k - 1 - j])
        found.append(level)
    return found


def logarithm(a: Levels) -> Levels:
    """log(1 + x) = x - x^2/2 + x^3/3 - ..., by Horner; a Lie element."""
    depth = len(a)
    found = [level / depth for level in a]
    for n in range(depth - 1, 0, -1):
        product = lie_product(a, found)
        found = [level / n - below for level, below in zip(a, product, strict=True)]
    return found


@functools.cache
def lyndon_words(channels: int, depth: int) -> tuple[tuple[int, ...], ...]:
    """Words smaller than all their proper suffixes, by length and then in the order of a dictionary (Duval's algorithm)."""
    found: list[tuple[int, ...]] = []
    word = [-1]
    while word:
        word[-1] += 1
        found.append(tuple(word))
        word = list(itertools.islice(itertools.cycle(word), depth))
        while word and word[-1] == channels - 1:
            word.pop()
    return tuple(sorted(found, key=lambda one: (len(one), one)))


@functools.cache
def lyndon_places(channels: int, depth: int) -> tuple[int, ...]:
    """Where the Lyndon words stand in a flat element. Their entries determine a Lie element."""
    places = []
    for word in lyndon_words(channels, depth):
        place = functools.reduce(lambda number, letter: number * channels + letter, word, 0)
        places.append(size(channels, len(word) - 1) + place)
    return tuple(places)
