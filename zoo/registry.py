"""The one list of systems and weights; it drives tests, tables, hub entries and the gallery. Imports no torch."""

from __future__ import annotations

import difflib
import functools
import importlib
import json
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class ZooError(Exception):
    """A user's mistake, told in one sentence: the command line prints it without a traceback."""


@dataclass(frozen=True)
class Paper:
    """Where a system comes from."""

    title: str
    authors: str
    venue: str
    year: int
    arxiv: str
    code: str = ""
    code_licence: str = ""


@dataclass(frozen=True)
class System:
    """What one paper studies.

    Attributes:
        name: the folder in zoo/models.
        title: a few words for tables.
        summary: one sentence.
        topic: the field's word for the subject, to filter by.
        networks: class name -> "module:class" of every network of the system.
        default: the network that `build` and the hub entry make.
        examples: class name -> arguments of a small untrained network, the defaults of `build`.
        modules: Python modules with the LightningModules.
        constructions: tag -> "module:function" of every weight that is built from a proof.
    """

    name: str
    title: str
    summary: str
    paper: Paper
    topic: str
    networks: Mapping[str, str]
    default: str
    examples: Mapping[str, Mapping[str, Any]]
    modules: tuple[str, ...]
    constructions: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return MODELS / self.name

    def part(self, name: str) -> Any:
        """One of the system's rooms: "claims", "figures", "theory", "network"."""
        return importlib.import_module(f"zoo.models.{self.name}.{name}")


MODELS = Path(__file__).parent / "models"


def attribute(path: str) -> Any:
    """The object behind "module:name"."""
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


@functools.cache
def systems() -> dict[str, System]:
    """Every system by name, in alphabetical order."""
    names = sorted(info.name for info in pkgutil.iter_modules([str(MODELS)]) if info.ispkg)
    return {name: importlib.import_module(f"zoo.models.{name}").SYSTEM for name in names}


def system(name: str) -> System:
    """One system.

    Raises:
        ZooError: there is none of this name; the sentence suggests the nearest.
    """
    if name not in systems():
        raise ZooError(f"There is no system {name!r} (`zoo list` shows them all){nearest(name, systems())}")
    return systems()[name]


def weight_files() -> dict[str, Path]:
    """The record (JSON) of every shipped weight by name, "system.tag"."""
    found = {}
    for one in systems().values():
        for path in sorted((one.folder / "weights").glob("*.json"), key=lambda p: natural(p.stem)):
            found[f"{one.name}.{path.stem}"] = path
    return found


def weight_file(name: str) -> Path:
    """The record file of one weight.

    Raises:
        ZooError: there is none of this name; the sentence suggests the nearest.
    """
    files = weight_files()
    if name not in files:
        raise ZooError(f"There is no weight {name!r} (`zoo list` shows them all){nearest(name, files)}")
    return files[name]


def recipe_files() -> dict[str, Path]:
    """The file of every shipped recipe by name, "system/tag": beside the code in a checkout, in the package when installed."""
    folders = (Path(__file__).parent / "recipes", Path(__file__).parents[1] / "recipes")
    return {f"{p.parent.name}/{p.stem}": p for folder in folders for p in sorted(folder.glob("*/*.yaml"))}


def read_json(path: Path) -> Any:
    """Parses a JSON file of the zoo.

    Raises:
        ZooError: the file is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ZooError(f"{path} is not a JSON file ({error}).") from None


def nearest(name: str, known: Any) -> str:
    """How a sentence about an unknown name ends: ", did you mean …?" for the closest known name, or a full stop."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else "."


def natural(text: str) -> list[tuple[int, str]]:
    """Sort key that puts h6 before h11."""
    pieces: list[str] = []
    for character in text:
        if pieces and pieces[-1][-1].isdigit() == character.isdigit():
            pieces[-1] += character
        else:
            pieces.append(character)
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in pieces]
