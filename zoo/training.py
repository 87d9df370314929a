"""The training engine: chunks of optimiser steps and stacked replicas on Lightning.

Shapes: r replicas on this process, k steps of one chunk. A batch of one step has leaves (r, ...), a chunk (k, r, ...).

Lightning's loop costs about as much as a hundred small tensor operations, so one `training_step` makes a whole chunk of
optimiser steps, and replicas are stacked so that one step trains all seeds. Neither changes a result: data are a pure
function of the optimiser step and the replica (datamodules/stream.py), and steps in recipes, logs and figures are
optimiser steps.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from datamodules.stream import generator
from zoo.files import write_beside
from zoo.history import History, spread
from zoo.replicas import Replicas, View

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class ZooModule(L.LightningModule):
    """Trains R replicas of one network; a subclass writes what ONE replica does with ONE batch.

    A subclass writes `build`, and either `loss` with `configure_optimizers` or `update`:

        loss(network, batch, task) -> {"loss": scalar, …}, averaged between two rows of the history
        update(tensors, batch, task, step) -> the new parameters, by name

    The batch of a loss has the datamodule's leaves and `step`, the number of the optimiser step, an int64 scalar. A subclass may
    write `learning_rate(step)`, `measure`, `evaluate(network, batch, task)` on validation batches, `derived`, and `export`. Its
    own arguments are flat JSON values, saved with `save_hyperparameters()`.

    Args:
        replicas: R, independent copies trained side by side. With one replica the step is ordinary autograd, so that
            Lightning's DDP shares its batches over devices; with several, devices share the replicas.
        chunk: optimiser steps inside one `training_step`; a matter of speed, results do not depend on it.
        log_every: optimiser steps between two rows of the history.
        compile: compile the step with torch.compile (needs a C++ compiler; pays after some 50,000 small steps).
        dtype: "float32" or "float64", of parameters and data.
        seed: of the initial networks.

    Raises:
        ValueError: a count below 1, an unknown dtype, or not exactly one of `loss` and `update` in the subclass.
    """

    system: ClassVar[str]
    headline: ClassVar[str] = "loss"
    threads: ClassVar[int | None] = 1  # a second thread never helps a tiny step; None leaves PyTorch's choice

    loss: Callable[..., dict[str, Tensor]]
    update: Callable[..., dict[str, Tensor]]
    evaluate: Callable[..., dict[str, Tensor]]

    def __init__(
        self,
        *,
        replicas: int = 1,
        chunk: int = 64,
        log_every: int = 100,
        compile: bool = False,
        dtype: str = "float32",
        seed: int = 0,
    ):
        super().__init__()
        for name, value in (("replicas", replicas), ("chunk", chunk), ("log_every", log_every)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}.")
        if hasattr(self, "loss") == hasattr(self, "update"):
            raise ValueError(f"{type(self).__name__} must define exactly one of `loss` and `update`.")
        self.automatic_optimization = False
        self.replicas, self.chunk, self.log_every, self.seed = replicas, chunk, log_every, seed
        self.stops: tuple[int, ...] = ()  # a chunk ends at multiples of these too
        self.compiled, self.precision = compile, DTYPES[dtype]
        self.history = History()
        self.copies: Replicas | None = None
        self._task: dict[str, Tensor] = {}
        self._window: list[dict[str, Tensor]] = []  # metrics of the steps since the last row
        self._step: Callable[..., Any] | None = None
        self._validation: list[dict[str, Tensor]] = []
        self._seconds_before, self._started = 0.0, 0.0
        if hasattr(self, "evaluate"):  # Lightning asks every module with a validation_step for validation data
            self.validation_step = self._validate  # type: ignore[method-assign]

    # What a subclass writes, for one replica.

    def build(self, generator: torch.Generator, task: dict[str, Tensor]) -> nn.Module:
        """The initial network of one replica."""
        raise NotImplementedError

    def configure_optimizers(self) -> Any:
        """A torch optimiser over self.parameters(), for a module with a loss; an update law has none."""
        return []

    def measure(self, network: Any, task: dict[str, Tensor], step: Tensor) -> dict[str, Tensor]:
        """Scalars for the history at a logged step, one replica, without gradient."""
        return {}

    def derived(self, row: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Metrics that are functions of a row's averages, such as a perplexity; they join the row."""
        return {}

    def export(self, network: nn.Module) -> nn.Module:
        """The final state of one replica as the network that is shipped."""
        return network

    # Replicas.

    @property
    def replica_ids(self) -> list[int]:
        """Numbers of the replicas that this process trains."""
        everyone = torch.arange(self.replicas)
        if isinstance(self._strategy(), SpreadReplicas):
            everyone = everyone.tensor_split(self.trainer.world_size)[self.trainer.global_rank]
        return everyone.tolist()

    def _strategy(self) -> Any:
        return self._trainer.strategy if self._trainer is not None else None

    def configure_model(self) -> None:
        if self.copies is not None:
            return
        ids = self.replica_ids
        if not ids:
            raise ValueError(f"{self.replicas} replicas cannot be spread over {self.trainer.world_size} devices.")
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        tasks = [self._cast(data.task(replica)) for replica in ids]
        networks = [
            self.build(generator(self.system, self.seed, "init", replica), task).to(self.precision)
            for replica, task in zip(ids, tasks, strict=True)
        ]
        self.copies = Replicas(networks)
        self._task = {name: torch.stack([task[name] for task in tasks]) for name in tasks[0]}

    def _cast(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: leaf.to(self.precision) if leaf.is_floating_point() else leaf for name, leaf in batch.items()}

    def task(self) -> dict[str, Tensor]:
        """What the replicas of this process have to learn, leaves (r, ...)."""
        self._task = {name: leaf.to(self.device) for name, leaf in self._task.items()}
        return self._task

    # Training.

    def on_fit_start(self) -> None:
        if self.threads is not None:
            torch.set_num_threads(self.threads)

    @property
    def seconds(self) -> float:
        """Wall-clock time of the training so far, that before a resume included."""
        return self._seconds_before + (time.perf_counter() - self._started if self._started else 0.0)

    def on_train_start(self) -> None:
        self._started = time.perf_counter()
        if hasattr(self, "loss"):
            # A resumed optimiser brings its old step size along: what this run was given wins.
            fresh: Any = self.configure_optimizers()
            optimiser: Any = self.optimizers(use_pl_optimizer=False)
            for group, given in zip(optimiser.param_groups, fresh.param_groups, strict=True):
                group.update({name: value for name, value in given.items() if name != "params"})
        if self.trainer.global_step == 0:
            self._record(0)

    def on_train_end(self) -> None:
        # After the last checkpoint was written, so that a resumed run has no row here and averages the whole window.
        if self.trainer.global_step % self.log_every:
            self._record(self.trainer.global_step)
        self._seconds_before, self._started = self.seconds, 0.0

    def training_step(self, chunk: dict[str, Any], batch_idx: int) -> None:
        batches = self._cast(chunk["batches"])
        advance = self._advance_by_law if hasattr(self, "update") else self._advance_by_gradient
        advance(batches, chunk["start"], chunk["steps"])
        end = chunk["start"] + chunk["steps"]
        # A raw optimiser in a manual training_step leaves Lightning's count at 0: this is the one place that counts.
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        for count in (progress.total, progress.current):
            count.ready += chunk["steps"]
            count.completed += chunk["steps"]
        if end % self.log_every == 0:
            row = self._record(end)
            # For callbacks that monitor a metric, such as EarlyStopping.
            self.log_dict({name: value.float().mean() for name, value in row.items()}, logger=False)

    def _advance_by_law(self, batches: dict[str, Tensor], start: int, steps: int) -> None:
        assert self.copies is not None
        parameters = dict(self.copies.network.named_parameters())
        buffers = dict(self.copies.network.named_buffers())
        task = self.task()

        def law(state: Any, fixed: Any, batch: Any, task: Any, step: Tensor) -> Any:
            def one(state: Any, fixed: Any, batch: Any, task: Any) -> Any:
                return self.update(state | fixed, batch, task, step)

            return vmap(one)(state, fixed, batch, task)

        state = {name: parameter.detach() for name, parameter in parameters.items()}
        with torch.no_grad():
            for i in range(steps):
                arguments = (
                    state,
                    buffers,
                    {name: leaf[i] for name, leaf in batches.items()},
                    task,
                    torch.tensor(start + i, device=self.device),
                )
                if self._step is None:
                    self._step = self._traced(law, arguments)
                state = self._step(*arguments)
            for name, parameter in parameters.items():
                parameter.copy_(state[name])

    def _advance_by_gradient(self, batches: dict[str, Tensor], start: int, steps: int) -> None:
        assert self.copies is not None
        optimiser: Any = self.optimizers(use_pl_optimizer=False)
        schedule = getattr(self, "learning_rate", None)
        numbers = torch.arange(start, start + steps, device=self.device)[:, None]
        batches = batches | {"step": numbers.expand(steps, self.copies.count)}
        for i in range(steps):
            batch = {name: leaf[i] for name, leaf in batches.items()}
            if schedule is not None:
                for group in optimiser.param_groups:
                    group["lr"] = schedule(start + i)
            metrics = self._single_gradient(batch) if self.replicas == 1 else self._stacked_gradient(batch)
            optimiser.step()
            self._window.append(metrics)

    def _single_gradient(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        assert self.copies is not None

        network = self.copies.network

        def loss(tensors: dict[str, Tensor], batch: dict[str, Tensor], task: dict[str, Tensor]) -> dict[str, Tensor]:
            return self.loss(View(network, tensors), batch, task)

        if self._step is None:
            self._step = torch.compile(loss) if self.compiled else loss
        self.copies.zero_grad(set_to_none=True)
        metrics = self._step(first(self.copies.tensors()), first(batch), first(self.task()))
        self.manual_backward(metrics["loss"])
        return {name: value.detach()[None] for name, value in metrics.items()}

    def _stacked_gradient(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        assert self.copies is not None
        network = self.copies.network
        parameters = dict(network.named_parameters())

        def gradient(parameters: Any, buffers: Any, batch: Any, task: Any) -> Any:
            def loss(parameters: Any, buffers: Any, batch: Any, task: Any) -> Any:
                metrics = self.loss(View(network, parameters | buffers), batch, task)
                return metrics["loss"], metrics

            return vmap(grad(loss, has_aux=True))(parameters, buffers, batch, task)

        values = {name: parameter.detach() for name, parameter in parameters.items()}
        arguments = (values, dict(network.named_buffers()), batch, self.task())
        if self._step is None:
            self._step = self._traced(gradient, arguments)
        with torch.no_grad():
            gradients, metrics = self._step(*arguments)
        for name, parameter in parameters.items():
            parameter.grad = gradients[name].contiguous()
        return metrics

    def _traced(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[..., Any]:
        """The flat graph of tensor operations behind vmap and grad, whose Python cost is then paid once."""
        with torch.no_grad():
            graph = make_fx(function)(*arguments)
        graph.graph.eliminate_dead_code()  # vmap leaves an unused node beside every number it meets
        graph.recompile()
        program = torch.compile(graph) if self.compiled else graph
        # A bare graph would be a submodule, and its constants part of the module's state.
        return lambda *arguments: program(*arguments)

    # Measurements.

    def _record(self, step: int) -> dict[str, Tensor]:
        assert self.copies is not None
        row = mean(self._window)
        self._window = []
        now = torch.tensor(step, device=self.device)
        with torch.no_grad():
            row |= self.copies.each(lambda network, task: self.measure(network, task, now), self.task())
        return self._add(step, row)

    def _add(self, step: int, row: Mapping[str, Tensor]) -> dict[str, Tensor]:
        row = dict(row) | self.derived(row)
        self.history.add(step, row)
        if self.loggers:
            told = spread(self.gather(row, axis=0))
            for logger in self.loggers:
                logger.log_metrics(told, step)
        return row

    def _validate(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        assert self.copies is not None
        with torch.no_grad():
            if self.replicas == 1:
                metrics = self.evaluate(self.copies.view(0), batch, first(self.task()))
                metrics = {name: value[None] for name, value in metrics.items()}
            else:
                metrics = self.copies.each(lambda network, task: self.evaluate(network, batch, task), self.task())
        self._validation.append(metrics)

    def on_validation_epoch_end(self) -> None:
        seen, self._validation = self._validation, []
        if self.trainer.sanity_checking or not seen:
            return
        row = mean(seen)
        if self.replicas == 1 and self.trainer.world_size > 1:
            row = {name: self.trainer.strategy.reduce(value, reduce_op="mean") for name, value in row.items()}
        row = self._add(self.trainer.global_step, row)
        self.log_dict({name: value.mean() for name, value in row.items()}, logger=False, sync_dist=True)

    # Checkpoints and the end of a run.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.gather(self.history.state(), axis=1)
        names = list(self._window[0]) if self._window else []
        window = {name: torch.stack([metrics[name] for metrics in self._window]) for name in names}
        checkpoint["window"] = self.gather(window, axis=1)
        checkpoint["seconds"] = self.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        history, window, ids = checkpoint["history"], checkpoint["window"], self.replica_ids
        self._seconds_before = checkpoint["seconds"]
        columns = {name: column[:, ids] for name, column in history["columns"].items()}
        self.history = History.from_state({"steps": history["steps"], "columns": columns})
        length = len(next(iter(window.values()))) if window else 0
        self._window = [{name: value[i, ids] for name, value in window.items()} for i in range(length)]

    def gather(self, tree: Any, axis: int) -> Any:
        """Puts together what spread replicas hold: tensors with a replica axis are joined along it, on every process."""
        strategy = self._strategy()
        return strategy.gather(tree, axis) if isinstance(strategy, SpreadReplicas) else tree

    def result(self) -> tuple[Replicas, dict[str, Tensor], History]:
        """Final networks, tasks and history of all replicas, on the CPU; every process must call it."""
        assert self.copies is not None
        networks = Replicas([self.export(network) for network in self.copies]).cpu()
        networks = networks.with_tensors(self.gather(networks.tensors(), axis=0))
        task = self.gather({name: leaf.cpu() for name, leaf in self.task().items()}, axis=0)
        return networks, task, History.from_state(self.gather(self.history.state(), axis=1))


def first(stacked: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replica 0 of stacked tensors, as views."""
    return {name: tensor[0] for name, tensor in stacked.items()}


def mean(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Mean of each metric over rows; {} for no rows."""
    return {name: torch.stack([row[name] for row in rows]).mean(0) for name in (rows[0] if rows else {})}


class SpreadReplicas(DDPStrategy):
    """Replicas shared out over processes: nothing is synchronised while training, everything is gathered to save.

    A checkpoint holds all replicas whatever the number of processes, so a run may resume on another number of devices.
    """

    def configure_ddp(self) -> None:
        """No gradient is shared, so no wrapper."""

    def gather(self, tree: Any, axis: int) -> Any:
        """Joins the tensors of a nested dict along their replica axis; those without that axis come from rank 0."""
        everyone: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(everyone, _on_cpu(tree))
        return _joined(everyone, axis)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return self.gather(super().lightning_module_state_dict(), axis=0)

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        return self.gather(super().optimizer_state(optimizer), axis=0)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        super().load_model_state_dict(self._own(checkpoint, "state_dict"), strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        super().load_optimizer_state_dict(self._own(checkpoint, "optimizer_states"))

    def _own(self, checkpoint: Mapping[str, Any], key: str) -> dict[str, Any]:
        module: Any = self.lightning_module
        return {key: _sliced(checkpoint[key], module.replica_ids)}


def _on_cpu(tree: Any) -> Any:
    if isinstance(tree, Tensor):
        return tree.detach().cpu()
    return {key: _on_cpu(value) for key, value in tree.items()} if isinstance(tree, dict) else tree


def _joined(trees: list[Any], axis: int) -> Any:
    if isinstance(trees[0], Tensor) and trees[0].ndim > axis:
        return torch.cat(trees, dim=axis)
    if isinstance(trees[0], dict):
        return {key: _joined([tree[key] for tree in trees], axis) for key in trees[0]}
    return trees[0]


def _sliced(tree: Any, ids: list[int]) -> Any:
    if isinstance(tree, Tensor):
        return tree[ids] if tree.ndim else tree
    if isinstance(tree, dict):
        return {key: _sliced(value, ids) if key != "param_groups" else value for key, value in tree.items()}
    return [_sliced(value, ids) for value in tree] if isinstance(tree, list) else tree


class Checkpoints(Callback):
    """Saves `step=….ckpt` every `every` optimiser steps and at the end; keeps the last two, or a whole trajectory.

    A file is written beside and renamed, so a run killed in the middle of a write resumes from the one before.

    Args:
        folder: where the files go.
        every: optimiser steps between two files; a chunk that crosses a multiple is finished first.
        trajectory: save step 0 too, exactly the multiples of `every`, and keep every file.
    """

    def __init__(self, folder: Path, every: int, trajectory: bool = False):
        self.folder, self.every, self.trajectory = folder, every, trajectory
        self._saved = 0

    def setup(self, trainer: L.Trainer, module: Any, stage: str) -> None:
        if self.trajectory:
            module.stops = (*module.stops, self.every)

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._saved = trainer.global_step
        if self.trajectory and trainer.global_step == 0:
            self.save(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step // self.every > self._saved // self.every:
            self.save(trainer)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.global_step > self._saved:
            self.save(trainer)

    def save(self, trainer: L.Trainer) -> None:
        """Writes a checkpoint now; every process must call it."""
        self._saved = trainer.global_step
        path = self.folder / f"step={trainer.global_step}.ckpt"
        if trainer.is_global_zero:
            with write_beside(path) as beside:
                trainer.save_checkpoint(beside)
            for old in [] if self.trajectory else checkpoints(self.folder)[:-2]:
                old.unlink()
        else:
            trainer.save_checkpoint(path)  # takes part in the gathering; only rank 0 writes


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest step first."""
    return sorted(folder.glob("step=*.ckpt"), key=lambda path: int(path.stem.removeprefix("step=")))


class StopOnSignal(Callback):
    """On Ctrl-C or SIGTERM finishes the current chunk and stops, so that the last checkpoint is the last step.

    Attributes:
        received: the signal that stopped the run, or None.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        # Installed here, after Lightning's own handlers, which would raise in the middle of a chunk.
        def note(number: int, frame: Any) -> None:
            self.received = signal.Signals(number)

        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, note)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.strategy.reduce_boolean_decision(self.received is not None, all=False):
            trainer.should_stop = True

    def teardown(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
