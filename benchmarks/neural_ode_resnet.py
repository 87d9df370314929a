"""A training step through depth: the zoo's trunk against torchdiffeq, in time, memory and accuracy of the gradients.

    python benchmarks/neural_ode_resnet.py            # about 3 minutes on two cores; --quick for 1 minute

One thread. Forward and backward of one net of 100 layers V gelu(W h)/L, width 40, batch 50, float32. The alternatives:

    torchdiffeq euler     odeint of piecewise constant weights with the fixed step 1/L: the same net. Its weights are unbound
                          once a pass; indexing the stack at every step would cost it as much again in the backward
    the same, adjoint     odeint_adjoint: gradients of the adjoint equation, whose steps back stand at the other end of a layer
    rk4, rk4 adjoint      the ODE of the weights as a piecewise linear function of depth, four evaluations a layer

Peak is the memory of activations: all that is allocated when the backward starts, or at any later time on top of the
gradients of the weights, which all alternatives need. Error is the largest difference of a gradient from that of
back-propagation through torchdiffeq's solver (rk4 for its adjoint, Euler for all else), relative to the largest gradient, in
float64. Weights are smooth along depth, as an ODE asks for.

Times are the best of several rounds, taken in turn so that a change in the machine's load meets all alternatives.
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zoo.cli.train import keep_big_buffers
from zoo.depth.branches import TwoMatrices
from zoo.depth.continuous import flow
from zoo.depth.memory import peak_memory
from zoo.depth.processes import draw
from zoo.depth.trunk import MEMORY, trunk

DEPTH, WIDTH, BATCH, BRANCH = 100, 40, 50, TwoMatrices("gelu")
EULER = "torchdiffeq euler"
Forward = Callable[[Tensor, list[Tensor]], Tensor]


def euler(h: Tensor, weights: list[Tensor], adjoint: bool = False) -> Tensor:
    return flow(BRANCH, h, weights, method="euler", interpolation="constant", adjoint=adjoint)


def rk4(h: Tensor, weights: list[Tensor], adjoint: bool = False) -> Tensor:
    return flow(BRANCH, h, weights, method="rk4", adjoint=adjoint)


def ours(h: Tensor, weights: list[Tensor], memory: str) -> Tensor:
    return trunk(BRANCH, h, weights, 1 / len(weights[0]), memory)


def drawn(dtype: torch.dtype) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(BATCH, WIDTH, generator=generator, dtype=dtype)
    weights = [draw("smooth", DEPTH, (WIDTH, WIDTH), length=0.3, generator=generator, dtype=dtype) for _ in range(2)]
    return h, [(one / math.sqrt(WIDTH)).requires_grad_() for one in weights]


def step(forward: Forward, h: Tensor, weights: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(forward(h, weights).square().sum(), weights)


def best_times(programs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Seconds of each program, the best of `rounds`."""
    best = dict.fromkeys(programs, math.inf)
    for _ in range(rounds):
        for name, program in programs.items():
            start = time.perf_counter()
            program()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--quick", action="store_true", help="five rounds")
    rounds = 5 if options.parse_args().quick else 40
    torch.set_num_threads(1)
    keep_big_buffers()
    plain: dict[str, Forward] = {EULER: euler, "torchdiffeq euler, adjoint": functools.partial(euler, adjoint=True)}
    plain |= {"torchdiffeq rk4": rk4, "torchdiffeq rk4, adjoint": functools.partial(rk4, adjoint=True)}
    plain |= {f"trunk, {name}": functools.partial(ours, memory=name) for name in MEMORY}
    compiled: dict[str, Forward] = {
        f"trunk, {name}, compiled": torch.compile(functools.partial(ours, memory=name)) for name in MEMORY[:2]
    }

    exact, double = drawn(torch.float64)
    expected, of_rk4 = step(euler, exact, double), step(rk4, exact, double)
    largest = max(one.abs().max().item() for one in expected)
    errors = {}
    for name, one in plain.items():
        right = of_rk4 if "rk4" in name else expected
        pairs = zip(step(one, exact, double), right, strict=True)
        errors[name] = max((found - other).abs().max().item() for found, other in pairs) / largest
    assert all(error < 1e-8 for name, error in errors.items() if name.startswith("trunk"))

    h, weights = drawn(torch.float32)
    reference = step(euler, h, weights)
    size = max(one.abs().max().item() for one in reference)
    for forward in compiled.values():
        for one, other in zip(step(forward, h, weights), reference, strict=True):
            assert (one - other).abs().max().item() < 1e-5 * size

    own = sum(one.numel() * 4 for one in weights)
    programs = {name: functools.partial(step, one, h, weights) for name, one in (plain | compiled).items()}
    peaks = {
        name: max(peak_memory(functools.partial(one, h, weights)), peak_memory(programs[name]) - own) / 1e6
        for name, one in plain.items()
    }
    best = best_times(programs, rounds)
    print(f"{'':30}{'ms':>8}{'x faster':>10}{'peak MB':>9}{'x plain':>9}{'error':>10}")
    for name, seconds in best.items():
        line = f"{name:30}{1e3 * seconds:8.2f}{best[EULER] / seconds:10.2f}"
        if name in plain:
            error = f"{errors[name]:.0e}" if errors[name] else ""
            line += f"{peaks[name]:9.2f}{peaks[name] / peaks['trunk, autograd']:9.3f}{error:>10}"
        print(line)


if __name__ == "__main__":
    main()
