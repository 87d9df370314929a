"""Numbers behind figures that take minutes to compute, kept in the folder of the system that they are about.

`python -m zoo.kept` computes all of them again and writes them; `python -m zoo.kept SYSTEM` those of one system. What was
computed from weights is used as long as these are the shipped ones, and is computed anew otherwise.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from zoo import registry
from zoo.files import write_beside

Numbers = dict[str, Tensor]
_makers: dict[Path, tuple[Callable[[], Numbers], tuple[str, ...]]] = {}


def kept(*weights: str) -> Callable[[Callable[[], Numbers]], Callable[[], Numbers]]:
    """Makes a function of a system's room read what it returned last, from <system>/kept/<function>.safetensors.

    weights: names "system.tag" of those that it loads.
    """

    def keep(make: Callable[[], Numbers]) -> Callable[[], Numbers]:
        path = Path(inspect.getfile(make)).parent / "kept" / f"{make.__name__}.safetensors"
        _makers[path] = make, weights

        @functools.cache
        @functools.wraps(make)
        def numbers() -> Numbers:
            if path.is_file():
                with safe_open(path, "pt") as file:
                    if (file.metadata() or {}).get("of") == _of(weights):
                        return {name: file.get_tensor(name) for name in sorted(file.keys())}
            return make()

        return numbers

    return keep


def write(systems: list[str]) -> list[Path]:
    """Computes the numbers of systems again, and writes them."""
    torch.set_num_threads(1)
    for name in systems:
        registry.system(name).part("figures")
    folders = {registry.system(name).folder for name in systems}
    written = []
    for path, (make, weights) in _makers.items():
        if path.parents[1] in folders:
            found = {name: tensor.contiguous() for name, tensor in make().items()}
            with write_beside(path) as beside:
                safetensors.torch.save_file(found, beside, {"of": _of(weights)})
            written.append(path)
    return written


def _of(weights: tuple[str, ...]) -> str:
    """One word for the bytes of the shipped weights."""
    hashes = [registry.read_json(registry.weight_file(name))["sha256"] for name in weights]
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()


if __name__ == "__main__":
    from zoo.kept import write  # the module that the rooms of systems have registered with, which is not this __main__

    for path in write(sys.argv[1:] or list(registry.systems())):
        print(f"wrote {path}, {path.stat().st_size} bytes", flush=True)
