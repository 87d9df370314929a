"""Weights: named parameters of a system in safetensors, and the record that says everything known about them.

Shapes: every tensor of a weight file has the leading axis r of replicas.

A weight file holds the stacked parameters under their natural names and, under `task.`, what each replica had to learn
(a look-up table, a pair of directions). It is read strictly, its sha256 is checked on every load, and a pickle is never
read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from zoo.files import write_beside, write_json
from zoo.registry import ZooError, attribute, nearest, read_json, system, weight_file
from zoo.replicas import Replicas

if TYPE_CHECKING:
    from zoo.history import History

TASK = "task."
DTYPES = ("float32", "float64")
_KINDS: dict[str, Any] = {"str": str, "int": int, "float": (int, float), "dict": dict, "list": list}


class WeightError(ZooError):
    """A weight or its record is damaged or does not fit its network."""


@dataclass
class Record:
    """Everything known about a weight; the only place where its numbers are written.

    Attributes:
        network: class name of the network, a key of the system's `networks`.
        arguments: its keyword arguments.
        dtype: of the parameters, "float32" or "float64".
        replicas: R.
        origin: "trained" or "constructed".
        command: what made it.
        recipe: the resolved recipe (empty for a constructed weight).
        overrides: what the command line changed in the recipe.
        steps: optimiser steps. seconds: wall-clock time of the training.
        metrics: last value of each logged metric, mean over replicas.
        data: name, licence and sha256 of what it was trained on.
        sha256, size: of the safetensors file, bytes.
        claims: last verdicts of the claims about this weight alone.
    """

    system: str
    tag: str
    network: str
    arguments: dict[str, Any]
    dtype: str
    replicas: int
    origin: str
    command: str
    recipe: dict[str, Any] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    seed: int = 0
    steps: int = 0
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    hardware: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    commit: str = ""
    licence: str = "Apache-2.0"
    note: str = ""
    size: int = 0
    sha256: str = ""
    claims: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.system}.{self.tag}"


@dataclass
class Constructed:
    """What a construction returns: R networks built from a proof, and their tasks with a leading axis r."""

    networks: Sequence[nn.Module]
    task: dict[str, Tensor]
    note: str = ""


@dataclass
class Weight:
    """A loaded weight. `history` is that of its run, if it comes from one; `zoo.history.history_of` finds a shipped one too."""

    system: str
    tag: str
    network: Replicas
    task: dict[str, Tensor]
    record: Record
    history: History | None = None

    @property
    def name(self) -> str:
        return f"{self.system}.{self.tag}"

    def one(self, replica: int) -> nn.Module:
        """One replica as an ordinary network.

        A network with a method `equip` is given its task along: the words and the graph without which it could not speak.

        Raises:
            IndexError: no such replica.
        """
        network: Any = self.network.one(replica)
        if hasattr(network, "equip"):
            network.equip({name: leaf[replica] for name, leaf in self.task.items()})
        return network


def network_class(system_name: str, network: str) -> type[nn.Module]:
    """The class of one network of a system.

    Raises:
        ZooError: the system has no network of this name.
    """
    networks = system(system_name).networks
    if network not in networks:
        raise ZooError(f"{system_name} has no network {network!r}{nearest(network, networks)}")
    return attribute(networks[network])


def read_record(path: Path) -> Record:
    """Reads a record.

    Raises:
        WeightError: a field is missing, unknown, or not of its kind.
    """
    values = read_json(path)
    known = {f.name: f for f in dataclasses.fields(Record)}
    if not isinstance(values, dict):
        raise WeightError(f"{path} is not a weight's record: it holds no JSON object.")
    missing = [
        name
        for name, f in known.items()
        if name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    unknown = [name for name in values if name not in known]
    if missing or unknown:
        what = [f"has no {', '.join(missing)}"] * bool(missing) + [f"has unknown {', '.join(unknown)}"] * bool(unknown)
        raise WeightError(f"{path} is not a weight's record: it {' and '.join(what)}.")
    for name, value in values.items():
        kind = _KINDS[str(known[name].type).split("[")[0]]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise WeightError(f"{path} is not a weight's record: its {name} is {str(value)[:60]!r}.")
    if values["dtype"] not in DTYPES or values["replicas"] < 1 or not re.fullmatch(r"\w[\w.+=-]*", values["tag"]):
        has = ", ".join(f"{name} {str(values[name])[:60]!r}" for name in ("tag", "dtype", "replicas"))
        raise WeightError(f"{path} is not a weight's record: it has {has}.")
    return Record(**values)


def read_weight(path: Path, tensors_path: Path | None = None) -> Weight:
    """Reads the weight whose record is `path` (JSON; the safetensors file lies beside it if it is not given).

    Raises:
        WeightError: the file is missing, damaged, a pickle, or does not fit the network of the record; one sentence.
    """
    record = read_record(path)
    tensors = _read_tensors(tensors_path or path.with_suffix(".safetensors"), record)
    task = {name.removeprefix(TASK): t for name, t in tensors.items() if name.startswith(TASK)}
    parameters = {name: t for name, t in tensors.items() if not name.startswith(TASK)}
    cls = network_class(record.system, record.network)
    try:
        skeleton = cls(**record.arguments)
    except Exception as error:  # arguments come from a file, and a constructor is free in what it raises
        says = " ".join(str(error).split()).rstrip(".")
        raise WeightError(f"{path} does not fit {record.network}: {says}.") from None
    _check(path, record, skeleton, parameters)
    network = Replicas([skeleton]).with_tensors(parameters).requires_grad_(True)
    return Weight(record.system, record.tag, network, task, record)


def load(name: str) -> Weight:
    """A shipped weight with its task and record, by name "system.tag"."""
    return read_weight(weight_file(name))


def _read_tensors(path: Path, record: Record) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise WeightError(f"{path} is missing beside its record.") from None
    if len(content) != record.size:
        raise WeightError(f"{path} has {len(content)} bytes where its record says {record.size}: fetch it again.")
    found = hashlib.sha256(content).hexdigest()
    if found != record.sha256:
        raise WeightError(
            f"{path} has sha256 {found[:12]}… where its record says {record.sha256[:12]}…: fetch it again."
        )
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, ValueError) as error:
        if content[:1] == b"\x80" or content[:2] == b"PK":  # asked only here: a safetensors file may begin so too
            raise WeightError(f"{path} is a pickle, which the zoo never reads: convert it to safetensors.") from None
        raise WeightError(f"{path} is not a safetensors file ({error}).") from None


def _check(path: Path, record: Record, skeleton: nn.Module, parameters: Mapping[str, Tensor]) -> None:
    expected = skeleton.state_dict()
    for name in parameters:
        if name not in expected:
            raise WeightError(f"{path} holds {name!r}, which {record.network} does not have{nearest(name, expected)}")
    for name, tensor in expected.items():
        if name not in parameters:
            raise WeightError(f"{path} does not hold {name!r}, which {record.network} needs.")
        shape, found = (record.replicas, *tensor.shape), tuple(parameters[name].shape)
        if found != shape:
            raise WeightError(f"{path} holds {name!r} with shape {found} where {record.network} needs {shape}.")
        dtype = getattr(torch, record.dtype) if tensor.is_floating_point() else tensor.dtype
        if parameters[name].dtype != dtype:
            raise WeightError(f"{path} holds {name!r} as {parameters[name].dtype} where its record says {dtype}.")


def write_weight(folder: Path, network: Replicas, task: Mapping[str, Tensor], record: Record) -> Weight:
    """Writes `<tag>.safetensors` and then `<tag>.json` into `folder`; fills in the record's size, hash and replicas."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in network.tensors().items()}
    tensors |= {TASK + name: t.detach().cpu().contiguous() for name, t in task.items()}
    content = safetensors.torch.save(tensors)
    record.replicas, record.size = network.count, len(content)
    record.sha256 = hashlib.sha256(content).hexdigest()
    path = folder / f"{record.tag}.safetensors"
    with write_beside(path) as beside:
        beside.write_bytes(content)
    write_json(path.with_suffix(".json"), dataclasses.asdict(record))
    return Weight(record.system, record.tag, network, dict(task), record)
