"""Replicas side by side: one training step of R residual nets at once, against R nets of nn.Linear one after another.

    python benchmarks/ode_generalization.py            # about 2 minutes on two cores; --quick for 30 seconds

One thread. Depth 200, width 30, batches of 128 digits, gradients of the penalised loss (no optimiser, no data). The alternatives:

    nn.ModuleList   a Python loop over nn.Linear layers, one net after another, as the paper's code has it
    stacked, one    one TimeResNet, weights in one tensor, by autograd, one net after another
    replicas        R TimeResNets as one flat program of batched products (zoo.training)

CPU seconds a net, the best of several rounds, taken in turn; so another load on the machine matters less.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from zoo.cli.train import keep_big_buffers
from zoo.models.ode_generalization import theory
from zoo.models.ode_generalization.network import TimeResNet
from zoo.replicas import Replicas, View

SIZES: dict[str, Any] = {"d_in": 64, "d_out": 10, "width": 30, "depth": 200}
LAM = 0.01


def best_times(programs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """CPU seconds of each program, the best of `rounds`."""
    best = dict.fromkeys(programs, math.inf)
    for _ in range(rounds):
        for name, program in programs.items():
            start = time.process_time()
            program()
            best[name] = min(best[name], time.process_time() - start)
    return best


class PaperNet(nn.Module):
    """The same net as a list of layers, its penalty a loop over pairs of them."""

    def __init__(self, stacked: TimeResNet) -> None:
        super().__init__()
        self.A, self.B = stacked.A, stacked.B
        self.layers = nn.ModuleList(nn.Linear(stacked.width, stacked.width, bias=False) for _ in range(stacked.depth))
        for layer, matrix in zip(self.layers, stacked.layers(), strict=True):
            layer.weight.data.copy_(matrix)  # type: ignore[union-attr]

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        h = x @ self.A.mT
        for layer in self.layers:
            h = h + layer(torch.relu(h)) / len(self.layers)
        weights = [layer.weight for layer in self.layers]
        moves = torch.stack([(b - a).norm() for a, b in zip(weights, weights[1:], strict=False)])  # type: ignore[operator, arg-type]
        return F.cross_entropy(h @ self.B.mT, y) + LAM * moves.norm()


def replica_step(nets: list[TimeResNet], x: Tensor, y: Tensor) -> Callable[[], Any]:
    """Gradients of all nets, as zoo.training makes them."""
    copies = Replicas(nets)
    parameters = {name: one.detach() for name, one in copies.network.named_parameters()}
    buffers = dict(copies.network.named_buffers())

    def gradients(parameters: Any, buffers: Any, x: Tensor, y: Tensor) -> Any:
        def loss(parameters: Any, buffers: Any) -> Tensor:
            view = View(copies.network, parameters | buffers)
            return F.cross_entropy(view(x), y) + LAM * theory.penalty("frobenius", view.W)

        return vmap(grad(loss))(parameters, buffers)

    program = make_fx(gradients)(parameters, buffers, x, y)
    return lambda: program(parameters, buffers, x, y)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--quick", action="store_true", help="two rounds, up to nine replicas")
    quick = options.parse_args().quick
    torch.set_num_threads(1)
    keep_big_buffers()
    x, y = torch.rand(128, 64), torch.randint(10, (128,))
    counts = (1, 3, 9) if quick else (1, 3, 9, 15, 30)
    nets = [TimeResNet(**SIZES, memory="states") for _ in range(max(counts))]
    plain = TimeResNet(**SIZES)
    listed = PaperNet(plain)

    def by_list() -> Any:
        return torch.autograd.grad(listed.loss(x, y), list(listed.layers.parameters()))

    def by_stack(net: TimeResNet) -> Any:
        return torch.autograd.grad(F.cross_entropy(net(x), y) + LAM * theory.penalty("frobenius", net.W), net.W)

    # All of them give the same numbers.
    expected = torch.stack(by_list())
    nets[0].load_state_dict(plain.state_dict())
    for found in (by_stack(plain)[0], replica_step(nets[:1], x, y)()["W"][0]):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
    programs: dict[str, Callable[[], Any]] = {
        "nn.ModuleList": by_list,
        "stacked, one, autograd": lambda: by_stack(plain),
        "stacked, one, states": lambda: by_stack(nets[0]),
    }
    programs |= {f"replicas, {count}": replica_step(nets[:count], x, y) for count in counts}
    for program in programs.values():
        program()
    best = best_times(programs, 2 if quick else 5)
    sizes = dict.fromkeys(programs, 1) | {f"replicas, {count}": count for count in counts}
    print(f"{'':26}{'ms a net':>10}{'x faster':>10}")
    for name, seconds in best.items():
        each = seconds / sizes[name]
        print(f"{name:26}{1e3 * each:10.2f}{best['nn.ModuleList'] / each:10.2f}")


if __name__ == "__main__":
    main()
