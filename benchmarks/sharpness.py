"""Sharpness of networks of the zoo: Lanczos against power iteration and ARPACK, in Hessian-vector products and seconds.

    python benchmarks/sharpness.py            # about a minute on one core; --quick for the small networks only

Each network is trained for a while first, so that its spectrum is that of a network in training; everything is measured in
float64. The alternatives:

    lanczos      zoo.sharpness, at most 25 products, stopped at an estimated relative error of 1e-4; all replicas at once
    power 20     20 power iterations, as the code of Marion and Chizat (2024) measures; all replicas at once
    power 100    100 of them
    arpack       scipy.sparse.linalg.eigsh to 1e-4 on the same products, one replica after the other
    dense        the whole Hessian and its eigenvalues, where it has at most 2,500 rows; the reference there

Errors are relative to `dense`, or to Lanczos with up to 100 products where there is none: the largest over the replicas. Times
are for all replicas, the graph of the gradient included, the best of several rounds in turn.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import lightning.pytorch as L
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from datamodules.linear_regression import LinearRegressionData
from datamodules.markov_text import MarkovTextData
from datamodules.sequence_classes import SequenceClassesData
from zoo.cli.train import keep_big_buffers, quiet_lightning
from zoo.models.attention_memorizer.language_model import LanguageModel
from zoo.models.deep_linear import theory
from zoo.models.deep_linear.module import GradientDescent
from zoo.models.scan_and_snap.module import ScanAndSnap
from zoo.monitors import training_losses
from zoo.sharpness import flatten, hessian_products, lanczos, power_iteration, starting_vector

Losses = Callable[[dict[str, Tensor]], Tensor]


@dataclass
class Case:
    name: str
    losses: Losses
    parameters: dict[str, Tensor]

    @property
    def flat(self) -> Tensor:
        return flatten(self.parameters)


def fitted(module: L.LightningModule, data: L.LightningDataModule, steps: int) -> None:
    trainer = L.Trainer(
        max_steps=steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    trainer.fit(module, data)


def deep_linear(scale: float, steps: int) -> Case:
    module = GradientDescent(depth=10, lr=0.02, replicas=20, log_every=1000)
    fitted(module, LinearRegressionData(design="paper", scales=[scale]), steps)
    task, copies = module.task(), module.copies
    assert copies is not None

    def losses(at: dict[str, Tensor]) -> Tensor:
        return theory.excess(at["layers"], at["last"], task["S"], task["w_star"])

    parameters = {name: tensor.detach() for name, tensor in copies.network.named_parameters()}
    return Case(f"deep_linear, scale {scale:g}, step {steps}", losses, parameters)


def scan_and_snap() -> Case:
    data = SequenceClassesData(num_last=3, num_next_per_last=2)
    module = ScanAndSnap(eta_z=1.0, start="random", replicas=5, log_every=20)
    fitted(module, data, 10)
    losses, parameters = training_losses(module, data.stacked(range(5), 0, 1, 0, 1))
    return Case("scan_and_snap, syn_medium", losses, parameters)


def language_model() -> Case:
    data = MarkovTextData()
    module = LanguageModel(log_every=20)
    fitted(module, data, 40)
    losses, parameters = training_losses(module, data.stacked([0], 0, 1, 0, 1))
    return Case("attention_memorizer, Markov text", losses, parameters)


def dense(case: Case) -> Tensor | None:
    """Largest eigenvalue of the whole Hessians (r,), by products with all unit vectors."""
    r, n = case.flat.shape
    if n > 2500:
        return None
    product = hessian_products(case.losses, case.parameters)
    rows = torch.stack([product(unit.expand(r, -1)) for unit in torch.eye(n, dtype=case.flat.dtype)], 1)
    return torch.linalg.eigvalsh(rows)[:, -1]


def arpack(case: Case) -> tuple[Tensor, int]:
    values, products = [], 0
    for r in range(len(case.flat)):

        def alone(at: dict[str, Tensor], r: int = r) -> Tensor:
            whole = {name: tensor.detach().clone() for name, tensor in case.parameters.items()}
            joined = {name: torch.cat([t[:r], at[name], t[r + 1 :]]) for name, t in whole.items()}
            return case.losses(joined)[r : r + 1]

        one = {name: tensor[r : r + 1] for name, tensor in case.parameters.items()}
        single = alone if len(case.flat) > 1 else case.losses
        product = hessian_products(single, one)
        n, count = flatten(one).shape[1], [0]

        def multiply(vector: object, product: Callable[[Tensor], Tensor] = product, count: list[int] = count) -> object:
            count[0] += 1
            return product(torch.as_tensor(vector, dtype=case.flat.dtype).view(1, -1))[0].numpy()

        operator = LinearOperator((n, n), matvec=multiply, dtype=str(case.flat.dtype).removeprefix("torch."))
        values.append(float(eigsh(operator, k=1, which="LA", tol=1e-4, return_eigenvectors=False)[0]))
        products = max(products, count[0])
    return torch.tensor(values, dtype=torch.float64), products


def measured(case: Case, method: str) -> tuple[Tensor, int]:
    start = starting_vector(case.flat.shape[1], case.flat).expand_as(case.flat)
    product = hessian_products(case.losses, case.parameters)
    if method == "lanczos":
        found = lanczos(product, start)
    elif method == "reference":
        found = lanczos(product, start, products=100, tolerance=1e-12)
    else:
        found = power_iteration(product, start, int(method.removeprefix("power ")))
    return found.value.double(), found.products


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--quick", action="store_true", help="one round, without the language model")
    quick = options.parse_args().quick
    torch.set_num_threads(1)
    keep_big_buffers()
    quiet_lightning()
    warnings.simplefilter("ignore")
    cases = [deep_linear(0.3, 4000), deep_linear(0.45, 4000), deep_linear(0.45, 5), scan_and_snap()]
    cases += [] if quick else [language_model()]
    print(f"{'':42}{'r':>4}{'n':>9}{'products':>10}{'error':>10}{'seconds':>10}{'x lanczos':>11}")
    for case in cases:
        exact = dense(case)
        exact = measured(case, "reference")[0] if exact is None else exact.double()
        methods = ("lanczos", "power 20", "power 100", "arpack")
        best: dict[str, float] = {}
        outcome: dict[str, tuple[Tensor, int]] = {}
        for _ in range(1 if quick else 3):
            for method in methods:
                begin = time.perf_counter()
                outcome[method] = arpack(case) if method == "arpack" else measured(case, method)
                best[method] = min(best.get(method, 1e9), time.perf_counter() - begin)
        r, n = case.flat.shape
        print(case.name)
        for method in methods:
            value, products = outcome[method]
            error = (value / exact - 1).abs().max().item()
            ratio = best[method] / best["lanczos"]
            print(f"    {method:38}{r:4}{n:9,}{products:10}{error:10.1e}{best[method]:10.3f}{ratio:11.1f}")


if __name__ == "__main__":
    main()
