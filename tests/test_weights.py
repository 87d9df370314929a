"""Weights: every way a file can be damaged gives one clear sentence, and never runs code."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import zoo
from zoo import registry
from zoo.files import sha256, write_beside
from zoo.weights import WeightError, read_weight

NAME = "single_location.oracle"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of a shipped weight; returns its record."""
    record = registry.weight_file(NAME)
    for suffix in (".json", ".safetensors"):
        shutil.copyfile(record.with_suffix(suffix), tmp_path / f"oracle{suffix}")
    return tmp_path / "oracle.json"


def rewritten(record: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Changes the tensors and makes size and hash fit again, as someone who re-exports a file would."""
    path = record.with_suffix(".safetensors")
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    safetensors.torch.save_file(tensors, path)
    resealed(record)


def resealed(record: Path, **changes: Any) -> None:
    path = record.with_suffix(".safetensors")
    values = json.loads(record.read_text())
    values |= {"size": path.stat().st_size, "sha256": sha256(path)} | changes
    record.write_text(json.dumps(values))


class Bomb:
    """A pickle that would leave a trace if it were read."""

    def __reduce__(self) -> Any:
        return (open, ("exploded", "w"))


def test_a_whole_weight_loads(copy: Path) -> None:
    weight = read_weight(copy)
    assert weight.name == NAME and weight.network.count == weight.record.replicas
    assert all(leaf.shape[0] == weight.network.count for leaf in weight.task.values())


def damages() -> dict[str, tuple[Callable[[Path], Any], str]]:
    def truncate(record: Path) -> None:
        path = record.with_suffix(".safetensors")
        path.write_bytes(path.read_bytes()[:1000])

    def flip(record: Path) -> None:
        path = record.with_suffix(".safetensors")
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(bytes(content))

    def poison(record: Path) -> None:
        record.with_suffix(".safetensors").write_bytes(pickle.dumps(Bomb()))
        resealed(record)

    def zipped(record: Path) -> None:
        torch.save({"k": Bomb()}, record.with_suffix(".safetensors"))
        resealed(record)

    def garble(record: Path) -> None:
        record.with_suffix(".safetensors").write_bytes(b"not a weight at all")
        resealed(record)

    return {
        "truncated": (truncate, r"has 1000 bytes where its record says \d+"),
        "bit-flipped": (flip, r"has sha256 .* where its record says"),
        "pickle": (poison, "is a pickle, which the zoo never reads"),
        "torch.save": (zipped, "is a pickle, which the zoo never reads"),
        "garbage": (garble, "is not a safetensors file"),
        "missing file": (lambda r: r.with_suffix(".safetensors").unlink(), "is missing beside its record"),
        "renamed key": (
            lambda r: rewritten(r, lambda t: t.update(kk=t.pop("k"))),
            "holds 'kk', which SingleLocation does",
        ),
        "missing key": (lambda r: rewritten(r, lambda t: t.pop("k")), "does not hold 'k', which SingleLocation needs"),
        "wrong dtype": (
            lambda r: rewritten(r, lambda t: t.update(k=t["k"].half())),
            "as torch.float16 where its record",
        ),
        "wrong shape": (lambda r: rewritten(r, lambda t: t.update(k=t["k"][:, :3].clone())), "with shape"),
        "wrong hash": (lambda r: resealed(r, sha256="0" * 64), "has sha256 .* where its record says 000000000000"),
        "unknown network": (lambda r: resealed(r, network="SingleLocatoin"), "did you mean 'SingleLocation'"),
        "unknown argument": (lambda r: resealed(r, arguments={"depth": 3}), "does not fit SingleLocation"),
        "unknown system": (lambda r: resealed(r, system="single_locatoin"), "did you mean 'single_location'"),
        "unknown dtype": (lambda r: resealed(r, dtype="load"), "it has tag 'oracle', dtype 'load', replicas '5'"),
        "path for a tag": (lambda r: resealed(r, tag="../oracle"), "it has tag '../oracle'"),
        "list for arguments": (lambda r: resealed(r, arguments=[400]), r"its arguments is '\[400\]'"),
        "unknown field": (lambda r: resealed(r, colour="red"), "has unknown colour"),
        "record no JSON": (lambda r: r.write_text("{"), "is not a JSON file"),
        "record no object": (lambda r: r.write_text("[]"), "it holds no JSON object"),
    }


CASES = damages()


@pytest.mark.parametrize("case", CASES)
def test_a_damaged_weight_is_refused_in_one_sentence(
    case: str, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    damage, says = CASES[case]
    damage(copy)
    with pytest.raises(registry.ZooError, match=says) as caught:
        read_weight(copy)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "exploded").exists()


def test_a_file_that_begins_as_a_pickle_does_is_read(copy: Path) -> None:
    """The first eight bytes of a safetensors file are the length of its header, 0x80 for a short one."""
    rewritten(copy, lambda t: [t.pop(name) for name in list(t) if name.startswith("task.")])
    assert copy.with_suffix(".safetensors").read_bytes()[:1] == b"\x80"
    assert read_weight(copy).network.count == 5


def test_an_unknown_weight_suggests_the_nearest() -> None:
    with pytest.raises(registry.ZooError, match=re.escape("did you mean 'single_location.oracle'?")):
        zoo.load("single_location.oracel")
    with pytest.raises(registry.ZooError, match="holds replicas 0 to"):
        zoo.load(NAME, replica=99)
    assert issubclass(WeightError, registry.ZooError)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(RuntimeError), write_beside(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
