"""Recipes: one YAML with LightningCLI's keys, found, changed from the command line, checked and made into objects."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import yaml
from jsonargparse import ArgumentError, ArgumentParser

import datamodules
from datamodules.stream import StreamData
from zoo import registry
from zoo.monitors import SharpnessMonitor
from zoo.registry import ZooError, nearest
from zoo.training import ZooModule

SECTIONS = ("seed_everything", "trainer", "model", "data")


class Loader(yaml.SafeLoader):
    """YAML 1.2 floats: 4e-3 is a number, not a text."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$|^[-+]?\.inf$"),
    list("-+0123456789."),
)
Loader.yaml_implicit_resolvers = {
    first: sorted(kinds, key=lambda kind: kind[0] == "tag:yaml.org,2002:float")
    for first, kinds in Loader.yaml_implicit_resolvers.items()
}


@dataclass
class Recipe:
    """A checked recipe.

    Attributes:
        name: of the file without its ending.
        tag: of the weight that it trains, the recipe's name unless the user gives another.
        given: what the file and the command line say.
        overrides: dotted keys "key=value" that the command line changed.
    """

    name: str
    tag: str
    given: dict[str, Any]
    overrides: list[str]

    @property
    def system(self) -> str:
        return self.classes()[0].system

    def classes(self) -> tuple[type[ZooModule], type[StreamData]]:
        known = short_names()
        return known[self.given["model"]["class_path"]], known[self.given["data"]["class_path"]]

    @property
    def command(self) -> str:
        """What trains this weight again; where a run writes is left out."""
        changes = [f"--{change}" for change in self.overrides]
        tag = [f"--tag={self.tag}"] if self.tag != self.name else []
        return f"zoo train {shlex.join([f'{self.system}/{self.name}', *changes, *tag])}"

    def resolved(self) -> dict[str, Any]:
        """The recipe with every default of the model and the data written out."""
        parts: dict[str, Any] = {"seed_everything": self.given["seed_everything"], "trainer": self.given["trainer"]}
        for section, cls in zip(("model", "data"), self.classes(), strict=True):
            arguments = {name: p.default for name, p in parameters(cls).items() if name != "seed"}
            arguments |= self.given[section].get("init_args", {})
            parts[section] = {"class_path": cls.__name__, "init_args": arguments}
        return parts

    def trainer_options(self) -> dict[str, Any]:
        """Arguments of Lightning's Trainer, with its callbacks as objects."""
        return dict(self.given["trainer"]) | {"callbacks": [self._callback(one) for one in self._callbacks()]}

    def _callbacks(self) -> list[dict[str, Any]]:
        listed = self.given["trainer"].get("callbacks") or []
        listed = listed if isinstance(listed, list) else [listed]
        return [{"class_path": one} if isinstance(one, str) else one for one in listed]

    def _callback(self, given: dict[str, Any]) -> L.Callback:
        """A callback from its class (a short name of ours, or any dotted one) and its arguments.

        Raises:
            ZooError: no such class; an argument that it does not have or refuses.
        """
        name = given.get("class_path")
        known = {cls.__name__: cls for cls in (SharpnessMonitor,)}
        try:
            module, _, cls = str(name).rpartition(".")
            made = getattr(importlib.import_module(module), cls) if module else known[cls]
        except (ImportError, AttributeError, KeyError):
            raise ZooError(f"trainer.callbacks: there is no {name!r}{nearest(str(name), known)}") from None
        try:
            return made(**(given.get("init_args") or {}))
        except (TypeError, ValueError) as error:
            raise ZooError(f"trainer.callbacks, {name}: {one_line(error)}.") from None

    def objects(self) -> tuple[ZooModule, StreamData]:
        """The module and the data of the recipe.

        Raises:
            ZooError: a value has the wrong type or is refused; one sentence with the key.
        """
        parser = ArgumentParser(exit_on_error=False)
        module, data = self.classes()
        parser.add_class_arguments(module, "model")
        parser.add_class_arguments(data, "data")
        parser.add_class_arguments(L.Trainer, "trainer")
        values = {section: self.given[section].get("init_args", {}) | self._seed() for section in ("model", "data")}
        trainer = {key: value for key, value in self.given["trainer"].items() if key != "callbacks"}
        try:
            checked = parser.parse_object(values | {"trainer": trainer})
            arguments = checked.clone()
            return module(**vars(arguments.model)), data(**vars(arguments.data))
        except (ArgumentError, TypeError) as error:
            raise ZooError(one_sentence(str(error))) from None
        except ValueError as error:
            raise ZooError(f"the recipe is refused: {error}") from None

    def _seed(self) -> dict[str, int]:
        return {"seed": self.given["seed_everything"]}


def short_names() -> dict[str, Any]:
    """Every ZooModule and StreamData of the zoo by class name."""
    for system in registry.systems().values():
        for module in system.modules:
            importlib.import_module(module)
    for info in pkgutil.iter_modules(datamodules.__path__):
        importlib.import_module(f"datamodules.{info.name}")

    def below(cls: type[Any]) -> list[type[Any]]:
        children: list[type[Any]] = cls.__subclasses__()
        return children + [one for child in children for one in below(child)]

    return {cls.__name__: cls for cls in (*below(ZooModule), *below(StreamData))}


def parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Arguments of a class, those of its parents included where it takes **options."""
    found: dict[str, inspect.Parameter] = {}
    for one in cls.__mro__:
        if "__init__" not in vars(one):
            continue
        signature = inspect.signature(one.__init__).parameters  # type: ignore[misc]
        found |= {n: p for n, p in signature.items() if n not in found and n != "self" and p.kind != p.VAR_KEYWORD}
        if not any(p.kind == p.VAR_KEYWORD for p in signature.values()):
            break
    return found


def names() -> list[str]:
    """ "system/tag" of every shipped recipe."""
    return sorted(registry.recipe_files())


def find(name: str) -> Path:
    """The file of a recipe given by path or by "system/tag".

    Raises:
        ZooError: there is none; the nearest shipped one is suggested.
    """
    if (path := Path(name)).is_file():
        return path
    known = registry.recipe_files()
    if name in known:
        return known[name]
    stem = "/".join(Path(name).with_suffix("").parts[-2:])
    raise ZooError(f"There is no recipe {name!r}{nearest(stem, known)}")


def read(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe, applies "--key=value" or "--key value" overrides, and checks every key.

    Raises:
        ZooError: the file is no YAML, a key is unknown (the nearest is suggested), a section is missing.
    """
    try:
        given = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ZooError(f"{path} is not a YAML file: {' '.join(str(error).split())}.") from None
    if not isinstance(given, dict):
        raise ZooError(f"{path} is not a recipe: it needs the keys {', '.join(SECTIONS)}.")
    known = short_names()
    for key in given:
        if key not in SECTIONS:
            raise ZooError(f"{path} has an unknown key {key!r}{nearest(str(key), SECTIONS)}")
    given = {"seed_everything": 0, "trainer": {}} | given
    changes = _pairs(overrides)
    for section in ("model", "data"):
        changed = [value for key, value in changes if key == f"{section}.class_path"]
        part = given.get(section)
        if not isinstance(part, dict) or "class_path" not in part:
            raise ZooError(f"{path} has no {section}.class_path.")
        part["class_path"] = changed[-1] if changed else part["class_path"]
        if part["class_path"].split(".")[-1] not in known:
            raise ZooError(
                f"{section}.class_path: there is no {part['class_path']!r}{nearest(part['class_path'], known)}"
            )
        part["class_path"] = part["class_path"].split(".")[-1]
        part["init_args"] = dict(part.get("init_args") or {})
    recipe = Recipe(path.stem, path.stem, given, [f"{key}={value}" for key, value in changes])
    valid = valid_keys(recipe)
    for key, value in changes:
        _set(given, key, value, valid)
    for key in _flat(given):
        if key not in valid:
            raise ZooError(f"{path} has an unknown key {_short(key)!r}{nearest(key, valid).replace('.init_args', '')}")
    return recipe


def of_run(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a run directory, changed further.

    Raises:
        ZooError: the folder is not a run directory.
    """
    if not (path / "recipe.yaml").is_file():
        raise ZooError(f"{path} is not a run directory: it holds no recipe.yaml.")
    found = read(path / "recipe.yaml", overrides)
    said = registry.read_json(path / "environment.json")
    found.name, found.tag = said["recipe"], said["tag"]
    found.overrides = said["overrides"] + found.overrides
    return found


def valid_keys(recipe: Recipe) -> list[str]:
    """Every dotted key that the recipe may have."""
    module, data = recipe.classes()
    keys = ["seed_everything", "model.class_path", "data.class_path"]
    keys += [f"trainer.{name}" for name in inspect.signature(L.Trainer.__init__).parameters if name != "self"]
    keys += [f"model.init_args.{name}" for name in parameters(module) if name != "seed"]
    keys += [f"data.init_args.{name}" for name in parameters(data) if name != "seed"]
    return keys


def _pairs(overrides: Sequence[str]) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    rest = list(overrides)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise ZooError(
                f"{word!r} is not an option: recipes are changed by --key=value, as --trainer.max_steps=1000."
            )
        key, equals, value = word[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ZooError(f"--{key} needs a value, as --{key}=….")
            value = rest.pop(0)
        pairs.append((key, yaml.load(value, Loader)))
    return pairs


def _set(given: dict[str, Any], key: str, value: Any, valid: list[str]) -> None:
    full = key
    for section in ("model", "data"):
        if key.startswith(f"{section}.") and not key.startswith((f"{section}.init_args.", f"{section}.class_path")):
            full = f"{section}.init_args.{key.removeprefix(section + '.')}"
    if full not in valid:
        raise ZooError(f"There is no key {_short(full)!r}{nearest(full, valid).replace('.init_args', '')}")
    *path, leaf = full.split(".")
    part = given
    for one in path:
        part = part[one]
    part[leaf] = value


def _short(key: str) -> str:
    return key.replace(".init_args", "")


def _flat(given: Mapping[str, Any]) -> list[str]:
    keys = []
    for section, value in given.items():
        if section == "trainer":
            keys += [f"trainer.{name}" for name in value]
        elif section in ("model", "data"):
            keys += [f"{section}.init_args.{name}" for name in value["init_args"]]
            keys += [f"{section}.{name}" for name in value if name != "init_args"]
        else:
            keys.append(section)
    return keys


def one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def one_sentence(message: str) -> str:
    """jsonargparse's message without its layout."""
    text = " ".join(message.split())
    found = re.search(r'Parser key "([^"]+)": (.*)', text) or re.search(r"key '([^']+)'.*?: (.*)", text)
    if found:
        return f"{found[1]}: {found[2].rstrip('.')}."
    return f"the recipe is refused: {text.rstrip('.')}."
