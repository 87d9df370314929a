"""Training of residual nets whose weights move along depth, with a penalty on the move, and their train-test gap."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from datamodules.stream import generator
from zoo.classification import held_out, scores
from zoo.history import History, NotMeasured
from zoo.models.ode_generalization import theory
from zoo.models.ode_generalization.network import TimeResNet
from zoo.replicas import Replicas
from zoo.training import ZooModule


class GapTraining(ZooModule):
    """Trains TimeResNet on images by Adam with a constant step size, for several strengths of the penalty at once.

    Replica i has lams[i // seeds]; those of one seed start alike and see the same batches. With `log_every` equal to the
    steps of an epoch the history has a row for each epoch, with

        running_loss   mean cross-entropy over the batches of the epoch, taken while the weights move (the paper's code)
        train_loss     cross-entropy on the first `probe` training images, after the epoch (and before the first)
        val_loss, val_accuracy   on the test set, after the epoch
        gap            val_loss - running_loss, the paper's code's train-test gap
        gap_after      val_loss - train_loss
        lipschitz, signed_lipschitz   max_k max_ij |W_{k+1} - W_k|_ij, and without the absolute value (the paper's code)
        roughness      the "frobenius" penalty, without its strength
        loss           what is minimised: cross-entropy plus lam times the penalty

    The weight's task holds lam (), strength (), its value at this depth, replica (), the column of the history that belongs
    to it, and start (l,), one entry of W along depth before training.

    Args:
        width, depth, weights, length, projections, memory: see TimeResNet. With several replicas the step is one flat
            program of all layers, which keeps what back-propagation needs whatever the memory.
        penalty: "frobenius", "two-max" or "max-max", see theory.penalty.
        signed: maxima over signed differences, as the paper's code has them.
        lams: strengths of the penalty.
        reference_depth: where lams count; elsewhere they are scaled so that a smooth path weighs the same
            (theory.strength). 0 takes them as they are.
        seeds: initial networks for each strength.
        kept: numbers of the replicas whose weights the run keeps; none for all. The history has all.
        lr: step size of Adam.
        probe: training images that train_loss looks at, at most.
        options: see ZooModule; the number of replicas follows from lams and seeds.

    Raises:
        ValueError: an unknown penalty, no strength, a negative one, a step size or count that is not positive, or a kept
            replica that is not there.
    """

    system = "ode_generalization"
    headline = "gap"

    def __init__(
        self,
        *,
        width: int = 30,
        depth: int = 1000,
        weights: str = "smooth",
        length: float = 0.1,
        projections: str = "random",
        memory: str = "states",
        penalty: str = "frobenius",
        signed: bool = False,
        lams: list[float] | None = None,
        reference_depth: int = 0,
        seeds: int = 1,
        kept: list[int] | None = None,
        lr: float = 0.02,
        probe: int = 10_000,
        chunk: int = 16,
        **options: Any,
    ) -> None:
        self.lams = [0.0] if lams is None else list(lams)
        for name, value in (("the number of lams", len(self.lams)), ("seeds", seeds), ("probe", probe)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if lr <= 0 or min(self.lams) < 0 or reference_depth < 0:
            raise ValueError(
                f"lr={lr} must be positive, lams={lams} and reference_depth={reference_depth} not negative"
            )
        if penalty not in theory.PENALTIES:
            raise ValueError(f"penalty={penalty!r}: choose one of {', '.join(theory.PENALTIES)}")
        count = len(self.lams) * seeds
        if options.get("replicas", 1) not in (1, count):
            raise ValueError(f"replicas={options['replicas']}: give lams and seeds, of which there are {count}")
        if kept and not all(0 <= one < count for one in kept):
            raise ValueError(f"kept={kept}: there are replicas 0 to {count - 1}")
        options["replicas"] = count
        super().__init__(chunk=chunk, **options)
        self.net: dict[str, Any] = {"width": width, "depth": depth, "weights": weights, "length": length}
        self.net |= {"projections": projections, "memory": memory}
        self.penalty, self.signed, self.seeds, self.kept = penalty, signed, seeds, kept
        self.strengths = self.lams
        if reference_depth:
            self.strengths = [theory.strength(penalty, lam, depth, reference_depth) for lam in self.lams]
        self.lr, self.probe = lr, probe
        self._probe: list[tuple[Tensor, Tensor]] = []
        self.save_hyperparameters()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr, fused=True)

    def configure_model(self) -> None:
        if self.copies is not None:
            return
        ids = self.replica_ids
        self._waiting = [replica % self.seeds for replica in ids]
        super().configure_model()
        self._task["replica"] = torch.tensor(ids)
        self._task["lam"] = torch.tensor([self.lams[replica // self.seeds] for replica in ids], dtype=self.precision)
        strengths = [self.strengths[replica // self.seeds] for replica in ids]
        self._task["strength"] = torch.tensor(strengths, dtype=self.precision)
        assert self.copies is not None
        network: Any = self.copies.network
        self._task["start"] = network.W[:, :, 0, 0].detach().clone()

    def build(self, _: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        start = generator(self.system, self.seed, "init", self._waiting.pop(0))
        sizes: dict[str, Any] = {"d_in": int(task["shape"].prod()), "d_out": int(task["classes"])}
        return TimeResNet(**sizes, **self.net, generator=start)

    def _pixels(self, images: Tensor) -> Tensor:
        """Images on [0, 1]: floats are, bytes are 255 times that."""
        pixels = images.to(self.precision)
        return pixels if images.is_floating_point() else pixels / 255

    def loss(self, network: Any, batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
        losses, hits = scores(network(self._pixels(batch["images"])), batch["targets"])
        count = (batch["targets"] >= 0).sum()
        running = losses.sum() / count
        rough = theory.penalty(self.penalty, network.W, self.signed)
        total = running + task["strength"] * rough
        return {"loss": total, "running_loss": running, "accuracy": hits.sum() / count}

    def measure(self, network: Any, task: dict[str, Tensor], step: Tensor) -> dict[str, Tensor]:
        W = network.W
        found = {
            "lipschitz": theory.lipschitz(W),
            "signed_lipschitz": theory.lipschitz(W, signed=True),
            "roughness": theory.penalty("frobenius", W),
        }
        if not self._probe:
            train: Any = self.trainer.datamodule.train  # type: ignore[attr-defined]
            images, labels = train.images[: self.probe].to(self.device), train.labels[: self.probe].to(self.device)
            self._probe = list(zip(images.split(500), labels.split(500), strict=True))
        losses = [scores(network(self._pixels(images)), labels)[0].sum() for images, labels in self._probe]
        total = torch.stack(losses).sum()
        return found | {"train_loss": total / sum(len(labels) for _, labels in self._probe)}

    def evaluate(self, network: Any, batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
        return held_out(network(self._pixels(batch["images"])), batch)

    def derived(self, row: Any) -> dict[str, Tensor]:
        if "val_loss" not in row:
            return {}
        gaps, step = {}, self.trainer.global_step
        for name, other in (("gap", "running_loss"), ("gap_after", "train_loss")):
            try:
                gaps[name] = row["val_loss"] - self.history.at(other, step).to(row["val_loss"])
            except NotMeasured:  # validation between two rows
                continue
        return gaps

    def result(self) -> tuple[Replicas, dict[str, Tensor], History]:
        networks, task, history = super().result()
        if not self.kept:
            return networks, task, history
        tensors = {name: tensor[self.kept] for name, tensor in networks.tensors().items()}
        return networks.with_tensors(tensors), {name: leaf[self.kept] for name, leaf in task.items()}, history
