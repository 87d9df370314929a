"""Deep residual nets: many draws at once, flat memory in depth, and images held in memory, each against a named alternative.

    python benchmarks/scaled_resnet.py            # about 2 minutes on two cores; --quick for 30 seconds

One thread. The alternatives:

    draws     50 nets of 1,000 layers and width 40 at initialisation, norms of outputs and gradients: one net after another as
              the paper's code has it (nn.ModuleList of nn.Linear, initialised anew), and one after another with the weights
              of all layers drawn in one call
    memory    forward and backward of one net of 1,000 layers, width 40, batch 50, against nn.ModuleList under autograd. Peak
              is the memory of activations: all that is allocated when the backward starts, or at any later time on top of the
              gradients of the weights, which all alternatives need. Error is the largest difference of a gradient from that
              of autograd, in float64
    data      batches of 128 images of MNIST's size, against torchvision's Dataset with ToTensor in a DataLoader (no workers),
              and their share of a training step of a net of depth 100 and width 30

Times are the best of several rounds, taken in turn so that a change in the machine's load meets all alternatives.
"""

from __future__ import annotations

import argparse
import functools
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

from datamodules.images import ImageData
from zoo.cli.train import keep_big_buffers
from zoo.depth.memory import peak_memory
from zoo.depth.processes import draw
from zoo.depth.trunk import MEMORY, trunk
from zoo.models.scaled_resnet.initialisation import sample
from zoo.models.scaled_resnet.network import VARIANTS, ScaledResNet

DEPTH, WIDTH, NETS, BATCH = 1000, 40, 50, 50


def best_times(programs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Seconds of each program, the best of `rounds`."""
    best = dict.fromkeys(programs, math.inf)
    for _ in range(rounds):
        for name, program in programs.items():
            start = time.perf_counter()
            program()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


# Draws.


class PaperNet(nn.Module):
    """res-3 as a list of layers, each initialised twice: by nn.Linear, then with variance 1/d."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, WIDTH, bias=False), nn.Linear(WIDTH, 1, bias=False)
        self.outer = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(DEPTH))
        self.inner = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(DEPTH))
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                bound = math.sqrt(3 / layer.in_features)
                nn.init.uniform_(layer.weight, -bound, bound)

    def norms(self, scale: float) -> tuple[float, float]:
        h = start = self.first(torch.rand(1, 64))
        start.retain_grad()
        for outer, inner in zip(self.outer, self.inner, strict=True):
            h = h + scale * outer(torch.relu(inner(h)))
        h.retain_grad()
        (self.last(h) - torch.rand(1, 1)).square().sum().backward()
        assert start.grad is not None and h.grad is not None
        return (h - start).norm().item(), (start.grad - h.grad).norm().item()


def one_stacked_net() -> tuple[float, float]:
    V, W = (draw("uniform", DEPTH, (WIDTH, WIDTH)) / math.sqrt(WIDTH) for _ in range(2))
    A, B = torch.rand(WIDTH, 64) - 0.5, torch.rand(1, WIDTH) - 0.5
    h = start = (torch.rand(1, 64) @ A.T).requires_grad_()
    scale = DEPTH**-0.5
    for v, w in zip(V.unbind(), W.unbind(), strict=True):
        h = h + scale * (torch.relu(h @ w.T) @ v.T)
    first, last = torch.autograd.grad((h @ B.T).square().sum(), [start, h])
    return (h - start).norm().item(), (first - last).norm().item()


def draws(rounds: int, nets: int) -> None:
    generator = torch.Generator().manual_seed(0)
    best = best_times(
        {
            "one after another, nn.ModuleList": lambda: [PaperNet().norms(DEPTH**-0.5) for _ in range(nets)],
            "one after another, stacked": lambda: [one_stacked_net() for _ in range(nets)],
            "all at once": lambda: sample(NETS, WIDTH, DEPTH, (0.5,), generator=generator),
            "all at once, three scalings": lambda: sample(NETS, WIDTH, DEPTH, (1.0, 0.5, 0.25), generator=generator),
        },
        rounds,
    )
    print(f"\n{'draws: 50 nets':36}{'s':>8}{'x faster':>10}")
    for i, (name, seconds) in enumerate(best.items()):
        best[name] = seconds * (NETS / nets if i < 2 else 1)
    slowest = next(iter(best.values()))
    for name, seconds in best.items():
        print(f"{name:36}{seconds:8.2f}{slowest / seconds:10.1f}")


# Memory.


def memory(rounds: int) -> None:
    print(
        f"\n{'memory':8}{'variant':>9}{'beta':>6}{'':14}{'ms':>8}{'x list':>8}{'peak MB':>9}{'x list':>8}{'error':>10}"
    )
    for variant, beta in (("res-1", 1.0), ("res-1", 0.5), ("res-3", 1.0), ("res-3", 0.5)):
        count, branch, scale = (1 if variant == "res-1" else 2), VARIANTS[variant], DEPTH**-beta
        h = torch.randn(BATCH, WIDTH)
        weights = [(draw("normal", DEPTH, (WIDTH, WIDTH)) / math.sqrt(WIDTH)).requires_grad_() for _ in range(count)]
        lists = [[nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(DEPTH)] for _ in range(count)]
        for layers, stack in zip(lists, weights, strict=True):
            for layer, matrix in zip(layers, stack, strict=True):
                layer.weight.data.copy_(matrix)

        def listed(lists: Any = lists, h: Tensor = h, scale: float = scale) -> Tensor:
            for layers in zip(*lists, strict=True):
                s = torch.relu(layers[1](h)) if len(layers) == 2 else torch.relu(h)
                h = h + scale * layers[0](s)
            return h

        def stacked(
            memory: str, branch: Any = branch, h: Tensor = h, scale: float = scale, weights: Any = weights
        ) -> Tensor:
            return trunk(branch, h, weights, scale, memory)

        leaves = [one.weight for layers in lists for one in layers]
        forwards: dict[str, tuple[Callable[[], Tensor], list[Any]]] = {"nn.ModuleList": (listed, leaves)}
        forwards |= {name: (functools.partial(stacked, name), weights) for name in MEMORY}
        programs = {
            name: lambda forward=forward, leaves=leaves: torch.autograd.grad(forward().square().sum(), leaves)
            for name, (forward, leaves) in forwards.items()
        }
        best = best_times(programs, rounds)
        own = sum(one.numel() * 4 for one in weights)
        peaks = {
            name: max(peak_memory(forwards[name][0]), peak_memory(program) - own) / 1e6
            for name, program in programs.items()
        }
        double = [one.detach().double().requires_grad_() for one in weights]

        def exactly(
            memory: str, branch: Any = branch, h: Tensor = h, scale: float = scale, double: Any = double
        ) -> Any:
            return torch.autograd.grad(trunk(branch, h.double(), double, scale, memory).square().sum(), double)

        expected = exactly("autograd")
        for name in programs:
            error = ""
            if name in MEMORY:
                errors = [(a - b).abs().max().item() for a, b in zip(exactly(name), expected, strict=True)]
                error = f"{max(errors):.0e}"
            print(
                f"{'':8}{variant:>9}{beta:6g}  {name:12}{1e3 * best[name]:8.0f}{best[name] / best['nn.ModuleList']:8.2f}"
                f"{peaks[name]:9.2f}{peaks[name] / peaks['nn.ModuleList']:8.3f}{error:>10}"
            )


# Data.


def write_images(folder: Path) -> None:
    """Random images in the files of MNIST, as torchvision finds them."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for split, count in (("train", 60_000), ("t10k", 10_000)):
        for kind, values in (
            ("images-idx3", random.integers(0, 256, (count, 28, 28), dtype=np.uint8)),
            ("labels-idx1", random.integers(0, 10, count, dtype=np.uint8)),
        ):
            head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
            (folder / f"{split}-{kind}-ubyte").write_bytes(head + values.tobytes())


def data(rounds: int, steps: int) -> None:
    network = ScaledResNet(d_in=784, d_out=10, width=30, depth=100, beta=0.5, memory="checkpoint")
    optimiser = torch.optim.Adam(network.parameters(), fused=True)

    def step(images: Tensor, targets: Tensor) -> None:
        optimiser.zero_grad()
        F.cross_entropy(network(images), targets).backward()
        optimiser.step()

    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder) / "MNIST" / "raw")
        ours = ImageData(root=folder, batch_size=128)
        held = MNIST(folder, train=True, transform=ToTensor())

        def memory(train: bool) -> None:
            batch = ours.batches(0, 0, steps, 0, 1)
            for images, targets in zip(batch["images"], batch["targets"], strict=True):
                pixels = images.float() / 255
                if train:
                    step(pixels, targets)

        def loader(train: bool) -> None:
            for i, (images, targets) in enumerate(DataLoader(held, batch_size=128, shuffle=True)):
                if i == steps:
                    break
                if train:
                    step(images, targets)

        memory(False)  # reads the files
        programs = {
            "in memory": lambda: memory(False),
            "torchvision": lambda: loader(False),
            "in memory, training": lambda: memory(True),
            "torchvision, training": lambda: loader(True),
        }
        best = best_times(programs, rounds)
    print(f"\n{'data, batches of 128':28}{'ms a batch':>12}{'share of the step':>20}")
    for name in ("in memory", "torchvision"):
        share = best[name] / best[f"{name}, training"]
        print(f"{name:28}{1e3 * best[name] / steps:12.3f}{100 * share:18.1f} %")
    for name in ("in memory, training", "torchvision, training"):
        print(f"{name:28}{1e3 * best[name] / steps:12.3f}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--quick", action="store_true", help="one round, five nets of each loop")
    quick = options.parse_args().quick
    torch.set_num_threads(1)
    keep_big_buffers()
    draws(1 if quick else 2, 5 if quick else NETS)
    memory(1 if quick else 4)
    data(1 if quick else 3, 20 if quick else 100)


if __name__ == "__main__":
    main()
