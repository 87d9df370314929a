"""The Theorem Zoo: pretrained models of the theory of deep learning, each with its paper's claims recomputed.

`import zoo` costs nothing; torch is imported by the first call that needs it.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any, Literal

from zoo import registry
from zoo.registry import ZooError

if TYPE_CHECKING:
    from torch import nn

    from zoo.claims import Verdict
    from zoo.weights import Record

__all__ = ["ZooError", "build", "list_models", "list_weights", "load", "record", "verify"]
__version__ = "0.4.0"


def list_models(pattern: str = "*") -> list[str]:
    """Names of the systems that match a shell pattern."""
    return fnmatch.filter(registry.systems(), pattern)


def list_weights(pattern: str = "*") -> list[str]:
    """Names "system.tag" of the shipped weights that match a shell pattern, such as "single_*"."""
    return fnmatch.filter(registry.weight_files(), pattern)


def load(name: str, replica: int | Literal["all"] = 0) -> nn.Module:
    """A trained (or constructed) network.

    Args:
        name: "system.tag", one of `list_weights()`; or "hf://ORG/NAME[/TAG][@REVISION]" for one on the Hugging Face
            Hub, which is cached and comes from the cache alone where HF_HUB_OFFLINE is set.
        replica: number of the seed, or "all" for a network that runs every seed on the same input and puts a leading
            axis r on the output.

    Raises:
        ZooError: no such weight (the nearest is suggested), a damaged file, or no such replica.
    """
    if name.startswith("hf://"):
        from zoo.hub import download

        weight = download.load(name)
    else:
        from zoo import weights

        weight = weights.load(name)
    if replica == "all":
        return weight.network
    try:
        return weight.one(replica)
    except IndexError as error:
        raise ZooError(str(error)) from None


def build(name: str, network: str | None = None, **arguments: Any) -> nn.Module:
    """An untrained network.

    Args:
        name: of the system.
        network: class name of one of its networks; its default one if None.
        arguments: of the network; those left out are those of the system's small example.

    Raises:
        ZooError: no such system, network or argument.
    """
    from zoo.weights import network_class

    one = registry.system(name)
    network = network or one.default
    cls = network_class(name, network)
    try:
        return cls(**(dict(one.examples[network]) | arguments))
    except (TypeError, ValueError) as error:
        raise ZooError(f"{network} cannot be built: {error}.") from None


def record(name: str) -> Record:
    """The record of a weight, by name or hf:// address: how it was made, its hash, the last verdicts of its claims."""
    if name.startswith("hf://"):
        from zoo.hub import download

        return download.record(name)
    from zoo.weights import read_record

    return read_record(registry.weight_file(name))


def verify(*names: str, rank: str | None = None) -> list[Verdict]:
    """Recomputes claims and returns their verdicts.

    Args:
        names: systems or weights; every system if empty.
        rank: "theory", "weights" or "training"; theory and weights if None.
    """
    from zoo.claims import verify as verify_claims

    return list(verify_claims(names, ranks=(rank,) if rank else ("theory", "weights")))
