"""What `torch.hub.load` calls: one entry point per system, with the text that `torch.hub.help` shows."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal

import zoo
from zoo import registry

if TYPE_CHECKING:
    from torch import nn

HELP = """{title}. {summary}

Arguments:
    weights: tag of a shipped weight, "hf://ORG/NAME[/TAG][@REVISION]" for one on the Hugging Face Hub, or None for an
        untrained network.
    replica: number of the seed, or "all" for a network that puts an axis of seeds before its output.
    network: class of an untrained network, one of {networks}.
    arguments: of an untrained network; those left out are {example}.

{default}:
{network}

Weights:
{weights}

Claims:
{claims}

Licence: Apache-2.0
Paper: {paper.title}. {paper.authors}. {paper.venue} {paper.year}, arXiv {paper.arxiv}.
"""


class Entry:
    """The entry point of one system. Its text is made when it is asked for, since loading makes every entry point."""

    def __init__(self, name: str):
        self.__name__ = name

    def __call__(
        self,
        weights: str | None = None,
        replica: int | Literal["all"] = 0,
        network: str | None = None,
        **arguments: Any,
    ) -> nn.Module:
        if weights is None:
            return zoo.build(self.__name__, network, **arguments)
        if network or arguments:
            given = ", ".join([*(["network"] if network else []), *arguments])
            raise zoo.ZooError(f"A trained {self.__name__} has the network of its record: leave out {given}.")
        if not weights.startswith("hf://"):
            return zoo.load(f"{self.__name__}.{weights}", replica)
        if (found := zoo.record(weights).system) != self.__name__:
            raise zoo.ZooError(f"{weights} is a weight of {found}, not of {self.__name__}.")
        return zoo.load(weights, replica)

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        system = registry.system(self.__name__)
        cls = registry.attribute(system.networks[system.default])
        records = [
            registry.read_json(p) for name, p in registry.weight_files().items() if name.startswith(f"{system.name}.")
        ]
        claims = [entry for record in records for entry in record["claims"]]
        if (shared := system.folder / "verdicts.json").exists():
            claims = registry.read_json(shared) + claims
        return HELP.format(
            title=system.title,
            summary=system.summary,
            networks=", ".join(system.networks),
            example=", ".join(f"{key}={value!r}" for key, value in system.examples[system.default].items()),
            default=system.default,
            network=f"{inspect.getdoc(cls)}\n\nforward: {inspect.getdoc(cls.forward)}",
            weights=_lines(f"{r['tag']}: {r['network']}, {r['origin']}, {r['replicas']} replicas" for r in records),
            claims=_lines(f"{c['claim']} {c['verdict']}: {c['says']}" for c in claims),
            paper=system.paper,
        )


def _lines(texts: Any) -> str:
    return "\n".join(f"    {text}" for text in texts) or "    none yet"
