"""Weights of single-location regression that need no training."""

from __future__ import annotations

import torch
from torch import nn

from zoo.models.single_location import theory
from zoo.models.single_location.network import SingleLocation
from zoo.weights import Constructed

REPLICAS = 5  # draws of (k*, v*)


def oracle() -> Constructed:
    """The optimum of Theorem 5: k = k*, v = v*, with the size and lam of the paper's first experiments."""
    return _aligned(
        theory.Law(400),
        0.1,
        "erf",
        "k = k*, v = v* at d = 400, lam = 0.1, the minimum that training from the manifold finds",
    )


def softmax_oracle() -> Constructed:
    """k = k*, v = v* with a softmax gate at d = 32, at the lam with the smallest risk."""
    law = theory.Law(32)
    lam, _ = theory.best_softmax(law, 200_000, torch.Generator().manual_seed(0))
    return _aligned(
        law,
        round(lam, 3),
        "softmax",
        "k = k*, v = v* with a softmax gate at d = 32 and its best lam, close to the Bayes risk",
    )


def _aligned(law: theory.Law, lam: float, gate: str, note: str) -> Constructed:
    networks: list[nn.Module] = []
    directions = []
    for replica in range(REPLICAS):
        k_star, v_star = theory.random_directions(law.d, torch.Generator().manual_seed(replica))
        network = SingleLocation(d=law.d, lam=lam, gate=gate)
        network.load_state_dict({"k": k_star, "v": v_star})
        networks.append(network)
        directions.append((k_star, v_star))
    constants = {"length": law.length, "gamma2": law.gamma2, "noise": law.noise}
    task = {
        "k_star": torch.stack([k for k, _ in directions]),
        "v_star": torch.stack([v for _, v in directions]),
    } | {name: torch.full((REPLICAS,), value, dtype=torch.float64) for name, value in constants.items()}
    return Constructed(networks, task, note)
