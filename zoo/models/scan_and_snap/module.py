"""Training of the one-layer transformer on sequence classes, and the reduced attention flow as an update law.

Both log `entropy` (nats, of the attention on the distinct tokens of a class, mean over classes) and `common_mass` (the
attention that the common tokens keep), computed with the laws P(.|n) as for infinitely long contexts.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.models.scan_and_snap import theory
from zoo.models.scan_and_snap.network import OneLayerTransformer
from zoo.training import ZooModule

OPTIMISERS = ("sgd", "adam")
STARTS = ("zero", "random")


def patterns(c: Tensor, task: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a history says of the attention c (k, v): entropy, common_mass, top (c of the most frequent distinct token,
    mean over classes) and c_00, c_01, … (class 0 on the common tokens, then on its own).
    """
    own = c.gather(1, task["distinct"])
    most = task["P"].gather(1, task["distinct"]).argmax(1, keepdim=True)
    first = torch.cat([c[0][task["common"]], own[0]])
    return {
        "entropy": theory.distinct_entropy(c, task["distinct"]),
        "common_mass": c[:, task["common"]].sum(1).mean(),
        "top": own.gather(1, most).mean(),
    } | {f"c_{i:02d}": value for i, value in enumerate(first)}


class ScanAndSnap(ZooModule):
    """Cross-entropy of the next token; SGD or Adam with one step size for Z and another for Y.

    Both matrices are updated at once. The loss and the accuracy of a row are means over the steps since the last row,
    each on the batch before its update.

    Args:
        eta_z: step size of the attention logits Z.
        ratio: step size of the decoder Y over that of Z.
        optimizer: "sgd" or "adam".
        momentum: of SGD; the theory has none, and 0.9 makes steps about ten times as long.
        start: "zero", or "random", uniform on ±1/sqrt(v).
        residual: whether the query joins the attention output.
        replicas, chunk, log_every, compile, dtype, seed: see ZooModule.

    Raises:
        ValueError: an unknown optimizer or start, a step size or ratio not positive, or a momentum outside [0, 1).
    """

    system = "scan_and_snap"
    headline = "entropy"

    def __init__(
        self,
        *,
        eta_z: float = 1.0,
        ratio: float = 1.0,
        optimizer: str = "sgd",
        momentum: float = 0.9,
        start: str = "zero",
        residual: bool = False,
        replicas: int = 10,
        log_every: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(replicas=replicas, log_every=log_every, **options)
        for name, value, known in (("optimizer", optimizer, OPTIMISERS), ("start", start, STARTS)):
            if value not in known:
                raise ValueError(f"{name}={value!r}: choose one of {', '.join(known)}")
        if eta_z <= 0 or ratio <= 0 or not 0 <= momentum < 1:
            raise ValueError(f"eta_z={eta_z} and ratio={ratio} must be positive and momentum={momentum} in [0, 1)")
        self.save_hyperparameters()

    def build(self, generator: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        network = OneLayerTransformer(
            vocabulary=task["P"].shape[1], residual=self.hparams["residual"], generator=generator
        )
        if self.hparams["start"] == "zero":
            for matrix in network.parameters():
                nn.init.zeros_(matrix)
        return network

    def loss(self, network: Any, batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
        counted = "counts" in batch
        logits = network.from_counts(batch["counts"], batch["query"]) if counted else network(batch["tokens"])
        # The same as argmax == target, and faster.
        hits = logits.gather(-1, batch["target"].unsqueeze(-1)).squeeze(-1) == logits.amax(-1)
        return {"loss": F.cross_entropy(logits, batch["target"]), "accuracy": hits.to(logits.dtype).mean()}

    def measure(self, network: Any, task: dict[str, Tensor], step: Tensor) -> dict[str, Tensor]:
        return patterns(theory.population_attention(task["P"], network.Z[task["psi"]]), task)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        p: Any = self.hparams
        assert self.copies is not None
        network = self.copies.network
        groups = [{"params": [network.Y], "lr": p.ratio * p.eta_z}, {"params": [network.Z], "lr": p.eta_z}]
        if p.optimizer == "adam":
            return torch.optim.Adam(groups, fused=True)
        return torch.optim.SGD(groups, momentum=p.momentum, fused=True)


class AttentionState(nn.Module):
    """State of the reduced flow: z (q, v) rows of Z, the decoder's h (), B (k,); rows (k,) is the one of each class."""

    rows: Tensor

    def __init__(self, queries: int, vocabulary: int, rows: Tensor) -> None:
        super().__init__()
        self.z = nn.Parameter(torch.zeros(queries, vocabulary))
        self.h = nn.Parameter(torch.zeros(()))
        self.B = nn.Parameter(torch.zeros(len(rows)))
        self.register_buffer("rows", rows)


class ReducedFlow(ZooModule):
    """The attention under a decoder that has found its direction (Lemma 4), from Z = 0, by Runge-Kutta steps.

    The history holds chi (growth of the most frequent distinct token of class 0), its bounds chi_low and chi_high,
    ratio_error (largest |r(t)/(r(0) chi_l(t)) - 1| over the distinct tokens of all classes, Theorem 3), gamma, B (of
    class 0), the attention and its entropy. The shipped network has the flow's Z, and the Y of Lemma 5.

    Args:
        eta_z: step size of Z.
        eta_y: step size of Y.
        dt: time of one step.
        replicas, log_every, options: see ZooModule; the flow is not random, so one replica says all.

    Raises:
        ValueError: eta_z, eta_y or dt is not positive, or (when training starts) a class has one distinct token only.
    """

    system = "scan_and_snap"
    headline = "chi"

    def __init__(
        self,
        *,
        eta_z: float = 0.5,
        eta_y: float = 1.0,
        dt: float = 1.0,
        replicas: int = 1,
        log_every: int = 10,
        dtype: str = "float64",
        **options: Any,
    ) -> None:
        super().__init__(replicas=replicas, log_every=log_every, dtype=dtype, **options)
        if eta_z <= 0 or eta_y <= 0 or dt <= 0:
            raise ValueError(f"eta_z={eta_z}, eta_y={eta_y} and dt={dt} must be positive")
        self.save_hyperparameters()

    def build(self, generator: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        if task["distinct"].shape[1] < 2:
            raise ValueError(
                "the flow compares distinct tokens of one class: set data.num_unique_per_next to 2 or more"
            )
        queries, rows = task["psi"].unique(return_inverse=True)
        return AttentionState(len(queries), task["P"].shape[1], rows)

    def update(
        self, state: dict[str, Tensor], batch: dict[str, Tensor], task: dict[str, Tensor], step: Tensor
    ) -> dict[str, Tensor]:
        p: Any = self.hparams
        P = task["P"]
        at = theory.FlowState(state["z"], state["h"], state["B"])
        return theory.flow_step(at, P, state["rows"], p.dt, p.eta_y, p.eta_z, P.shape[1])._asdict()

    def measure(self, network: Any, task: dict[str, Tensor], step: Tensor) -> dict[str, Tensor]:
        P, own, z = task["P"], task["distinct"], network.z[network.rows]
        c = theory.population_attention(P, z)
        chi = theory.growth_factor(z.gather(1, own))  # (k, u)
        tokens, other = torch.arange(1, own.shape[1], device=z.device), torch.zeros_like(own[0, :1])
        gap, start = (theory.relative_gap(x.gather(1, own), tokens, other) for x in (c, P))
        top = P[0].gather(0, own[0]).argmax().reshape(1)
        dominant = theory.normalised(P[0]).gather(0, own[0]).gather(0, top)[0]
        bounds = theory.growth_bounds(network.B[0], dominant)
        return {
            "chi": chi[0].gather(0, top)[0],
            "chi_low": bounds.low,
            "chi_high": bounds.high,
            "ratio_error": (gap / (start * chi[:, 1:]) - 1).abs().amax(),
            "gamma": theory.speed(network.h, P.shape[1]),
            "B": network.B[0],
        } | patterns(c, task)

    def export(self, network: nn.Module) -> nn.Module:
        assert isinstance(network, AttentionState)
        task = {name: leaf[0].cpu() for name, leaf in self.task().items()}
        z, P, psi = network.z.detach().cpu(), task["P"], task["psi"]
        shipped = OneLayerTransformer(vocabulary=P.shape[1]).to(z)
        f = theory.normalised(theory.population_attention(P, z[network.rows.cpu()]))
        Z = torch.zeros_like(shipped.Z).index_copy(0, psi.unique(), z)
        shipped.load_state_dict({"Y": theory.decoder_weight(network.h.detach().cpu(), f, task["next"]), "Z": Z})
        return shipped
