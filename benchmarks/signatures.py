"""Signatures and signature kernels, against pySigLib and iisignature.

    python benchmarks/signatures.py            # about 3 minutes on one core; --quick for 30 seconds

One thread, batches of 32 paths; milliseconds of processor time, the best of several rounds in which all alternatives take turns.

    layers     forward, and forward with backward: bare pySigLib (its PyTorch functions), our Signature layer with pySigLib
               installed, the layer in PyTorch alone, iisignature (NumPy, float64; its gradients are float32)
    backward   the gradient alone: pySigLib's, and time reversal in PyTorch (zoo/signatures/levels.py); error is the largest
               difference over the largest gradient; * marks the one that the layer takes
    kernels    the untruncated kernel of 32 pairs, forward, and forward with backward: pySigLib, and PyTorch's anti-diagonals
"""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pysiglib
import pysiglib.torch_api
import torch
from torch import Tensor

from zoo.cli.train import keep_big_buffers
from zoo.signatures.kernels import goursat
from zoo.signatures.layers import Signature
from zoo.signatures.signature import pull_back, reverses

try:
    import iisignature
except ImportError:
    iisignature = None

BATCH = 32
SHAPES = {
    torch.float64: (
        (100, 3, 3),
        (100, 3, 5),
        (100, 5, 4),
        (100, 8, 3),
        (100, 8, 5),
        (500, 5, 4),
        (1000, 3, 3),
        (1000, 3, 5),
        (1000, 5, 4),
        (1000, 8, 3),
        (1000, 8, 4),
    ),
    torch.float32: ((100, 3, 3), (100, 8, 5), (1000, 3, 3), (1000, 5, 4), (1000, 8, 4)),
}
QUICK = {torch.float64: ((100, 3, 3), (100, 8, 5), (1000, 5, 4)), torch.float32: ((1000, 5, 4),)}


def best_times(programs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Milliseconds of processor time of each program, the best of `rounds`; short ones are repeated."""
    best, repeats = dict.fromkeys(programs, math.inf), {}
    for name, program in programs.items():
        start = time.process_time()
        program()
        repeats[name] = max(1, min(100, round(0.02 / max(time.process_time() - start, 1e-5))))
    for _ in range(rounds):
        for name, program in programs.items():
            start = time.process_time()
            for _ in range(repeats[name]):
                program()
            best[name] = min(best[name], 1e3 * (time.process_time() - start) / repeats[name])
    return best


def walks(points: int, channels: int, dtype: torch.dtype) -> Tensor:
    steps = torch.randn(BATCH, points, channels, dtype=dtype, generator=torch.Generator().manual_seed(points))
    return (steps / math.sqrt(points)).cumsum(1)


def with_backward(function: Callable[[Tensor], Tensor], path: Tensor, weights: Tensor) -> Callable[[], Any]:
    leaf = path.clone().requires_grad_()
    return lambda: torch.autograd.grad(function(leaf), leaf, weights)


def layers(shapes: dict[torch.dtype, tuple[tuple[int, int, int], ...]], rounds: int) -> None:
    names = ["pySigLib", "layer", "PyTorch alone"] + ["iisignature"] * (iisignature is not None)
    print(f"\n{'layers':10}{'L,d,N':>12}" + "".join(f"{name:>32}" for name in names))
    for dtype, chosen in shapes.items():
        for points, channels, depth in chosen:
            path = walks(points, channels, dtype)
            weights = torch.randn_like(pysiglib.sig(path, depth))
            functions: dict[str, Callable[[Tensor], Tensor]] = {
                "pySigLib": lambda x, depth=depth: pysiglib.torch_api.sig(x, depth),
                "layer": Signature(depth),
                "PyTorch alone": Signature(depth, backend="torch"),
            }
            forward = {name: lambda f=f, path=path: f(path) for name, f in functions.items()}
            both = {name: with_backward(f, path, weights) for name, f in functions.items()}
            if iisignature is not None:
                array, w = path.double().numpy(), weights.double().numpy()
                forward["iisignature"] = lambda array=array, depth=depth: iisignature.sig(array, depth)
                both["iisignature"] = lambda array=array, depth=depth, w=w: (
                    iisignature.sig(array, depth),
                    iisignature.sigbackprop(w, array, depth),
                )
            one, two = best_times(forward, rounds), best_times(both, rounds)
            row = f"{str(dtype)[6:]:10}{f'{points},{channels},{depth}':>12}"
            for name in names:
                ratio = f"({one[name] / one['pySigLib']:.2f} | {two[name] / two['pySigLib']:.2f})"
                row += f"{f'{one[name]:.2f} | {two[name]:.2f} {ratio}':>32}"
            print(row, flush=True)
    if iisignature is None:
        print("iisignature is not installed: pip install --no-build-isolation iisignature (needs a C++ compiler)")


def backward(shapes: dict[torch.dtype, tuple[tuple[int, int, int], ...]], rounds: int) -> None:
    print(f"\n{'backward':10}{'L,d,N':>12}{'pySigLib':>12}{'reversal':>12}{'ratio':>8}{'error':>10}")
    for dtype, chosen in shapes.items():
        for points, channels, depth in chosen:
            path = walks(points, channels, dtype)
            signature = pysiglib.sig(path, depth)
            weights = torch.randn_like(signature)
            programs = {
                "pySigLib": lambda a=(path, signature, weights), depth=depth: pysiglib.sig_backprop(*a, depth),
                "reversal": lambda a=(path, signature, weights), depth=depth: pull_back(*a, depth, "torch"),
            }
            expected, found = (program() for program in programs.values())
            error = ((found - expected).abs().max() / expected.abs().max()).item()
            best = best_times(programs, rounds)
            taken = "reversal" if reverses((BATCH, points, channels), depth) else "pySigLib"
            row = "".join(f"{f'{best[name]:.2f}' + ('*' if name == taken else ' '):>12}" for name in programs)
            print(
                f"{str(dtype)[6:]:10}{f'{points},{channels},{depth}':>12}{row}"
                f"{best['reversal'] / best['pySigLib']:8.2f}{error:10.0e}",
                flush=True,
            )


def kernels(rounds: int, lengths: tuple[int, ...]) -> None:
    print(f"\n{'kernels':10}{'L,d':>12}{'pySigLib':>22}{'PyTorch':>22}{'ratios':>16}{'error':>10}")
    for points in lengths:
        x, y = walks(points, 5, torch.float64), walks(points, 5, torch.float64).flip(0).contiguous()
        weights = torch.ones(BATCH, dtype=torch.float64)
        functions = {
            name: lambda z, y=y, backend=backend: goursat(z, y, backend=backend)
            for name, backend in (("pySigLib", "pysiglib"), ("PyTorch", "torch"))
        }
        one = best_times({name: lambda f=f, x=x: f(x) for name, f in functions.items()}, rounds)
        two = best_times({name: with_backward(f, x, weights) for name, f in functions.items()}, rounds)
        error = np.abs((functions["PyTorch"](x) / functions["pySigLib"](x)).numpy() - 1).max()
        row = "".join(f"{f'{one[name]:.1f} | {two[name]:.1f}':>22}" for name in functions)
        ratios = f"{one['PyTorch'] / one['pySigLib']:.1f} | {two['PyTorch'] / two['pySigLib']:.1f}"
        print(f"{'float64':10}{f'{points},5':>12}{row}{ratios:>16}{error:10.0e}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--quick", action="store_true", help="three rounds, four shapes")
    quick = options.parse_args().quick
    torch.set_num_threads(1)
    keep_big_buffers()
    warnings.simplefilter("ignore")
    shapes = QUICK if quick else SHAPES
    layers(shapes, 3 if quick else 5)
    backward(shapes, 3 if quick else 5)
    kernels(3, (100,) if quick else (100, 500))


if __name__ == "__main__":
    main()
