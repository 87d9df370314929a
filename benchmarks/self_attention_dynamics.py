"""Speed of self-attention dynamics: stacked systems in two matrix products against the usual programs.

    python benchmarks/self_attention_dynamics.py            # about 1 minute on one core; --quick for 15 seconds

Phase diagram: 32 tokens on the circle, 90 temperatures, RK4 in float64. The alternatives are one system after the other
in NumPy and in SciPy's solve_ivp (the integrator of the authors' notebook; at its default tolerance, which is far less
exact), and all systems stacked in PyTorch with a softmax (the authors' GPU script, with RK4 in place of Euler).
Staircase: six temperatures of five tokens against a NumPy loop for each temperature (the authors' script). All in one
thread; each number is the best of several rounds, taken in turn so that a change in the machine's load meets all of
them. Seconds are of the process, not of the clock on the wall.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from datamodules.sphere_starts import STAIRCASE
from zoo.cli.train import keep_big_buffers
from zoo.models.self_attention_dynamics import theory

TOKENS, DT, SYSTEMS = 32, 0.1, 32
BETAS = np.linspace(0.1, 9, 90)
STAIRS = (500.0, 1000.0, 1500.0, 2000.0, 3000.0, 4000.0)


def starts(systems: int) -> Tensor:
    """Uniform starts, every one at all temperatures: (systems * 90, n, 2)."""
    x = torch.randn(systems, 1, TOKENS, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return theory.normalise(x).expand(-1, len(BETAS), -1, -1).flatten(0, 1).contiguous()


# Each program makes `steps` RK4 steps and returns the end state and seconds per system and step.


def ours(systems: int, steps: int) -> tuple[Tensor, float]:
    x, beta = starts(systems), torch.from_numpy(BETAS).repeat(systems)
    begin = time.process_time()
    with torch.no_grad():
        for _ in range(steps):
            x = theory.step(x, beta, DT)
    return x, (time.process_time() - begin) / steps / len(x)


def stacked_softmax(systems: int, steps: int) -> tuple[Tensor, float]:
    x, beta = starts(systems), torch.from_numpy(BETAS).repeat(systems)[:, None, None]

    def velocity(y: Tensor) -> Tensor:
        attended = torch.softmax(beta * (y @ y.mT), -1) @ y
        return attended - (y * attended).sum(-1, keepdim=True) * y

    begin = time.process_time()
    with torch.no_grad():
        for _ in range(steps):
            x = theory.normalise(theory.rk4(velocity, x, DT))
    return x, (time.process_time() - begin) / steps / len(x)


def numpy_velocity(x: np.ndarray, beta: float) -> np.ndarray:
    weights = np.exp(beta * (x @ x.T))
    attended = weights @ x / weights.sum(1, keepdims=True)
    return attended - (x * attended).sum(1, keepdims=True) * x


def numpy_loop(systems: int, steps: int) -> tuple[Tensor, float]:
    ends, begin = [], time.process_time()
    for x, beta in zip(starts(systems).numpy(), np.tile(BETAS, systems), strict=True):
        for _ in range(steps):
            k1 = numpy_velocity(x, beta)
            k2 = numpy_velocity(x + DT / 2 * k1, beta)
            k3 = numpy_velocity(x + DT / 2 * k2, beta)
            k4 = numpy_velocity(x + DT * k3, beta)
            x = x + DT / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            x = x / np.linalg.norm(x, axis=1, keepdims=True)
        ends.append(torch.from_numpy(x))
    return torch.stack(ends), (time.process_time() - begin) / steps / len(ends)


def scipy_ivp(systems: int, steps: int) -> tuple[Tensor, float]:
    ends, begin = [], time.process_time()
    for x, beta in zip(starts(systems).numpy(), np.tile(BETAS, systems), strict=True):

        def rate(t: float, y: np.ndarray, beta: float = beta) -> np.ndarray:
            return numpy_velocity(y.reshape(TOKENS, 2), beta).ravel()

        found = solve_ivp(rate, (0, steps * DT), x.ravel(), t_eval=np.arange(steps + 1) * DT, rtol=1e-5, atol=1e-7)
        ends.append(torch.from_numpy(found.y[:, -1].reshape(TOKENS, 2)))
    return torch.stack(ends), (time.process_time() - begin) / steps / len(ends)


# Staircase: seconds per step of all six temperatures. Started again before anything collapses, so no step is free.


def our_staircase(steps: int) -> float:
    start = torch.tensor(STAIRCASE, dtype=torch.float64).repeat(len(STAIRS), 1)
    begin = time.process_time()
    for _ in range(steps // 5000):
        theory.Staircase(start, torch.tensor(STAIRS, dtype=torch.float64)).run(5000)
    return (time.process_time() - begin) / (steps // 5000 * 5000)


def numpy_staircase(steps: int) -> float:
    begin = time.process_time()
    for beta in STAIRS:
        angles = np.array(STAIRCASE)
        for _ in range(steps):
            apart = angles[None] - angles[:, None]
            g = (np.sin(apart) * np.exp(beta * (np.cos(apart) - 1))).sum(1) / len(angles) ** 2
            norm = np.linalg.norm(g)
            angles = angles + theory.STAIRCASE_RATE * math.log(beta) * g / norm
            if norm < 1e-5:
                for i in range(len(angles)):
                    for j in range(i + 1, len(angles)):
                        if abs(angles[i] - angles[j]) < 1e-3:
                            angles[j] = angles[i]
    return (time.process_time() - begin) / steps


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--quick", action="store_true", help="one round")
    rounds = 1 if options.parse_args().quick else 4
    torch.set_num_threads(1)
    keep_big_buffers()
    programs: dict[str, tuple[Callable[[int, int], tuple[Tensor, float]], int, int]] = {
        "zoo, 2,880 systems stacked": (ours, SYSTEMS, 20),
        "stacked softmax": (stacked_softmax, SYSTEMS, 20),
        "NumPy, one system at a time": (numpy_loop, 1, 30),
        "SciPy solve_ivp, one at a time": (scipy_ivp, 1, 30),
    }
    best = dict.fromkeys(programs, math.inf)
    stairs = {"zoo, 6 temperatures at once": math.inf, "NumPy, one at a time": math.inf}
    for _ in range(rounds):
        for name, (program, systems, steps) in programs.items():
            best[name] = min(best[name], program(systems, steps)[1])
        stairs["zoo, 6 temperatures at once"] = min(stairs["zoo, 6 temperatures at once"], our_staircase(20_000))
        stairs["NumPy, one at a time"] = min(stairs["NumPy, one at a time"], numpy_staircase(4_000))
    ends = [program(1, 30)[0] for program, _, _ in programs.values()]
    print("largest difference of the end states from the first program's:", end=" ")
    print(", ".join(f"{(end - ends[0]).abs().max():.1e}" for end in ends[1:]))
    whole = SYSTEMS * len(BETAS) * 300
    print(f"{'phase diagram, n = 32, d = 2':36}{'µs/system-step':>16}{'32 x 90 x 300, s':>18}{'zoo is faster by':>18}")
    for name, seconds in best.items():
        ratio = seconds / best["zoo, 2,880 systems stacked"]
        print(f"{name:36}{1e6 * seconds:16.2f}{seconds * whole:18.1f}{ratio:18.1f}")
    print(f"{'staircase, six temperatures':36}{'µs/step':>16}{'1e6 steps, s':>18}{'zoo is faster by':>18}")
    for name, seconds in stairs.items():
        ratio = seconds / stairs["zoo, 6 temperatures at once"]
        print(f"{name:36}{1e6 * seconds:16.2f}{seconds * 1e6:18.1f}{ratio:18.1f}")


if __name__ == "__main__":
    main()
