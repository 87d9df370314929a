"""The paper's two experiments: Taylor expansions of random nets, and attacks on trained ones.

Shapes: n nets, e = 2 hidden units and d = 2 channels in the first; r replicas, m series, t points in the second.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import vmap

from datamodules.time_series import spirals
from zoo.models.rnn_signature import theory
from zoo.models.rnn_signature.network import ACTIVATIONS
from zoo.models.rnn_signature.theory import Field
from zoo.signatures.signature import levels_of, with_time
from zoo.weights import Weight


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Taylor expansions.


class Nets(NamedTuple):
    """n random fields, parameters with a leading axis, and h_0 (n, e)."""

    W_h: Tensor
    W_x: Tensor
    b: Tensor
    h: Tensor
    activation: str

    def each(self, function: Any) -> Any:
        """function(field, h_0) of every net at once."""
        return vmap(lambda W_h, W_x, b, h: function(Field(W_h, W_x, b, self.activation), h))(*self[:4])


def random_nets(n: int, activation: str, seed: int, width: int = 2, channels: int = 2) -> Nets:
    """Weights and both biases uniform on +-1/sqrt(e), h_0 normal, float64."""
    stream = generator(seed)

    def uniform(*shape: int) -> Tensor:
        return (2 * torch.rand(n, *shape, generator=stream, dtype=torch.float64) - 1) / math.sqrt(width)

    W_h, W_x, b = uniform(width, width), uniform(width, channels), uniform(width) + uniform(width)
    return Nets(W_h, W_x, b, torch.randn(n, width, generator=stream, dtype=torch.float64), activation)


def short_spiral(seed: int, length: int = 100) -> Tensor:
    """A spiral over its total variation, (t, 2) float64."""
    path = spirals(1, generator(seed), length, torch.float64)[0][0]
    return path / theory.total_variation(path)


class Taylor(NamedTuple):
    """errors (N, n) of orders 1 ... N on the hidden state; Frobenius norms (n,) of [W_h, W_x]."""

    errors: Tensor
    frobenius: Tensor


@functools.cache
def taylor(n: int, activation: str, depth: int = 5, seed: int = 0, backwards: bool = False) -> Taylor:
    """Expansions of n random nets along one spiral; `backwards` reads every word of the signature in the wrong order."""
    nets, path = random_nets(n, activation, seed), short_spiral(seed)
    fields = nets.each(lambda field, h: theory.iterated_fields(field, h, path[0], depth))
    levels = levels_of(with_time(path), depth)
    if backwards:
        levels = [theory.reversed_words(level, 3) for level in levels]
    approximations = theory.expand(nets.h, [one[:, :2] for one in fields], levels)
    exact = nets.each(lambda field, h: theory.solve(field, h, path)[-1])
    norms = torch.cat([nets.W_h, nets.W_x], dim=2).flatten(1).norm(dim=1)
    return Taylor((approximations - exact).norm(dim=-1), norms)


# Attacks.

BUDGETS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def scores(tensors: dict[str, Tensor], x: Tensor, activation: str) -> Tensor:
    """Of all replicas, each on its own series: (r, m, t, d) -> (r, m, v)."""
    sigma, steps = ACTIVATIONS[activation], x.shape[2]
    bias = (tensors["b_h"] + tensors["b_x"])[:, None]
    inputs = x.movedim(2, 0) @ tensors["W_x"].mT + bias
    h, back = tensors["h_0"][:, None].expand_as(inputs[0]), tensors["W_h"].mT
    for one in inputs.unbind():
        h = h + sigma(torch.baddbmm(one, h, back)) / steps
    return h @ tensors["psi_weight"].mT + tensors["psi_bias"][:, None]


def attack(tensors: dict[str, Tensor], x: Tensor, y: Tensor, budget: float, activation: str, steps: int = 50) -> Tensor:
    """Projected gradient ascent of the cross-entropy in the ball of radius `budget` around every whole series, from its centre.

    The norm is the Euclidean one over times and channels; normalised steps of 1.5 budget/steps. (r, m, t, d) -> (r, m, t, d).
    """

    def unit(one: Tensor) -> Tensor:
        return one / one.flatten(2).norm(dim=2)[..., None, None].clamp(min=1e-12)

    moved = torch.zeros_like(x)
    for _ in range(steps if budget > 0 else 0):
        place = (x + moved).requires_grad_()
        loss = F.cross_entropy(scores(tensors, place, activation).flatten(0, 1), y.flatten(), reduction="sum")
        (slope,) = torch.autograd.grad(loss, place)
        moved = moved + 1.5 * budget / steps * unit(slope)
        length = moved.flatten(2).norm(dim=2)[..., None, None]
        moved = moved * (budget / length.clamp(min=1e-12)).clamp(max=1.0)
    return x + moved


ATTACKED, SEQUENCES = 8, 300  # replicas, and fresh spirals for each of them and each budget
_ROBUST: dict[str, Tensor] = {}  # claims and a figure read one attack


def robust_accuracy(weight: Weight) -> Tensor:
    """Accuracy of each of the first replicas under attack, (budgets, r)."""
    key = weight.record.sha256
    if key not in _ROBUST:
        tensors = {name: tensor[:ATTACKED].detach() for name, tensor in weight.network.tensors().items()}
        activation, found = weight.record.arguments["activation"], []
        count = len(tensors["h_0"])
        for i, budget in enumerate(BUDGETS):
            x, y = spirals(count * SEQUENCES, generator(1000 + i))
            x, y = x.unflatten(0, (count, -1)), y.unflatten(0, (count, -1))
            moved = attack(tensors, x, y, budget, activation)
            with torch.no_grad():
                hits = scores(tensors, moved, activation).argmax(-1) == y
            found.append(hits.double().mean(1))
        _ROBUST[key] = torch.stack(found)
    return _ROBUST[key]
