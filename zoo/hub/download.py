"""Weights from the Hugging Face Hub: strict, checked against their hash, cached, and offline with HF_HUB_OFFLINE=1.

A repository is data and never code: its record may name a registered network and plain JSON arguments, and nothing else
of it is used.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from zoo.hub.address import Address
from zoo.hub.errors import told
from zoo.registry import ZooError, read_json
from zoo.weights import Record, Weight, WeightError, read_record, read_weight

RECORD, TENSORS = "config.json", "model.safetensors"
LARGEST_RECORD = 1_000_000  # bytes; the longest record of the zoo has 20,000
DEEPEST = 20  # levels of lists and objects in a record
LARGEST = 1_000_000  # size in a record, and elements of a small network, that no file has to justify


class Bounded(TorchDispatchMode):
    """Refuses to make new tensors of more than `elements` elements in all: a record can ask for a network of any size."""

    def __init__(self, elements: int):
        super().__init__()
        self.left = elements

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        shape = args[0] if args and isinstance(args[0], (list, tuple)) else ()
        if shape and all(isinstance(size, int) for size in shape):
            self.left -= math.prod(shape)
            if self.left < 0:
                raise ValueError("its arguments ask for a network larger than its file")
        return func(*args, **(kwargs or {}))


def load(address: str) -> Weight:
    """The weight at hf://ORG/NAME[/TAG][@REVISION].

    Raises:
        ZooError: it is not there, not reached, damaged, or not a weight of this zoo; one sentence.
    """
    place, path = _record(Address.parse(address))
    record = _read(place, path)
    size = _size(place, TENSORS)
    if size != record.size:
        raise WeightError(f"{place} has {size} bytes where its record says {record.size}: nothing was downloaded.")
    tensors = _fetch(place, TENSORS)
    try:
        with Bounded(4 * max(record.size, LARGEST)):
            return read_weight(path, tensors)
    except WeightError as error:
        cache = path.parents[2 + bool(place.tag)]
        raise WeightError(f"{place} is refused: {error} If the cache is damaged, remove {cache}.") from None
    except ZooError as error:  # no such system or network
        raise WeightError(f"{place} is refused: {error}") from None


def record(address: str) -> Record:
    """The record of the weight at hf://ORG/NAME[/TAG][@REVISION]."""
    place, path = _record(Address.parse(address))
    return _read(place, path)


def _record(place: Address) -> tuple[Address, Path]:
    """Downloads the record; gives its path and the address at the commit that the revision means now."""
    size = _size(place, RECORD)
    if size is not None and size > LARGEST_RECORD:
        raise WeightError(f"{place} has a {RECORD} of {size} bytes, which is no record: nothing was downloaded.")
    path = _fetch(place, RECORD)
    if path.stat().st_size > LARGEST_RECORD:
        raise WeightError(f"{place} has a {RECORD} of {path.stat().st_size} bytes, which is no record.")
    commit = path.parents[bool(place.tag)].name  # the cache keeps snapshots/<commit>/
    return Address(place.repo, place.tag, commit), path


def _read(place: Address, path: Path) -> Record:
    try:
        values = read_json(path)
    except (RecursionError, ZooError):
        raise WeightError(f"{place} has a {RECORD} that is no JSON object.") from None
    if isinstance(values, dict) and isinstance(tags := values.get("weights"), list) and not place.tag:
        example = Address(place.repo, str(tags[0]) if tags else "TAG")
        raise ZooError(f"{place} holds the weights {', '.join(map(str, tags))}: name one, as {example}.")
    if _depth(values) > DEEPEST:
        raise WeightError(f"{place} has a {RECORD} of more than {DEEPEST} levels, which is no record.")
    try:
        record = read_record(path)
    except ZooError as error:
        raise WeightError(f"{place} is refused: {error}") from None
    if place.tag and place.tag != record.tag:
        raise WeightError(f"{place} is refused: its record is that of {record.name}.")
    largest = max((abs(value) for value in _leaves(record.arguments) if isinstance(value, int)), default=0)
    if largest > max(record.size, LARGEST):
        raise WeightError(f"{place} is refused: {record.size} bytes do not hold a network of size {largest}.")
    return record


def _fetch(place: Address, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    with told(str(place)):
        return Path(hf_hub_download(place.repo, place.file(name), revision=place.revision))


def _size(place: Address, name: str) -> int | None:
    """Bytes of a file, asked before it is downloaded (None if the Hub does not say)."""
    with told(str(place)):
        from huggingface_hub import hf_hub_download

        return hf_hub_download(place.repo, place.file(name), revision=place.revision, dry_run=True).file_size


def _depth(value: Any) -> int:
    level, values = 0, [value]
    while values and level <= DEEPEST:
        level += 1
        values = [one for part in values if isinstance(part, (dict, list)) for one in _parts(part)]
    return level


def _parts(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def _leaves(value: Any) -> list[Any]:
    if not isinstance(value, (dict, list)):
        return [value]
    return [leaf for part in _parts(value) for leaf in _leaves(part)]
