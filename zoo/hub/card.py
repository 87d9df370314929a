"""The files of a repository on the Hugging Face Hub: cards and metadata, rendered from records and verdicts alone.

One weight alone makes        README.md  claims.json  config.json  model.safetensors  figures/  .eval_results/
weights of a system make      README.md  claims.json  config.json  figures/  .eval_results/
                              and for each weight  <tag>/config.json  <tag>/model.safetensors
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import safetensors.torch

from zoo import cards
from zoo.cards import dumped, expected, shown, table, text
from zoo.claims import Claim, Verdict
from zoo.hub.download import RECORD, TENSORS
from zoo.registry import System
from zoo.weights import TASK, Record

CARD, CLAIMS = "README.md", "claims.json"

# The data sets of our recipes on the Hub, by the name in a record.
DATASETS = {
    "wikitext-2": "Salesforce/wikitext",
    "wikitext-103": "Salesforce/wikitext",
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "cifar-10": "uoft-cs/cifar10",
}


@dataclass(frozen=True)
class Statement:
    """A claim on a card: what the record says of it, and what was found when the card was made.

    Attributes:
        recorded: the record's entry; None if there is none.
        verdict: of today; None for a claim of rank training, which a publication does not train again.
    """

    claim: Claim
    recorded: dict[str, Any] | None
    verdict: Verdict | None

    @property
    def decided(self) -> bool:
        """Whether the claim was measured again today."""
        return self.verdict is not None and self.verdict.now is not None

    @property
    def contradicts(self) -> bool:
        return self.verdict is not None and not self.verdict.agrees

    @property
    def entry(self) -> dict[str, Any]:
        """As it stands on the card: the record's numbers where today's verdict is the record's, else today's."""
        if self.recorded is not None and not self.contradicts:
            return self.recorded
        verdict = self.verdict or Verdict("", self.claim, "skipped(not trained again)", None, None, 0.0)
        return verdict.entry()

    @property
    def remark(self) -> str:
        """What a reader must know beside the verdict."""
        if self.contradicts and self.recorded is not None:
            return f"the record says {self.recorded['verdict']}"
        if self.recorded is None or self.decided:
            return ""
        skipped = self.verdict.verdict if self.verdict else "it trains a recipe again"
        reason = skipped.removeprefix("skipped(").removesuffix(")")
        return f"from the record, not recomputed for this publication ({reason})"

    def published(self) -> dict[str, Any]:
        """An object of claims.json."""
        remark = {"remark": self.remark} if self.remark else {}
        return self.entry | {"recomputed": self.decided} | remark


@dataclass(frozen=True)
class Picture:
    """A figure of the repository: its files by name, its caption and what it is in the paper."""

    stem: str
    says: str
    source: str
    files: Mapping[str, bytes]

    @property
    def shown(self) -> str:
        """The file that a card shows: a film where there is one."""
        return next(name for suffix in (".gif", ".png") for name in self.files if name.endswith(suffix))


@dataclass(frozen=True)
class Publication:
    """What is published: weights of one system with their files' bytes, claims and figures.

    Attributes:
        alone: one weight at the top of its repository, not a folder per weight.
    """

    repo: str
    system: System
    weights: Mapping[str, tuple[Record, bytes]]
    statements: Sequence[Statement]
    pictures: Sequence[Picture]
    alone: bool

    @property
    def name(self) -> str:
        return next(iter(self.weights)) if self.alone else self.system.name

    def files(self) -> dict[str, bytes]:
        """Every file of the repository by path."""
        found = {CARD: card(self).encode()}
        found[CLAIMS] = _json([statement.published() for statement in self.statements])
        for record, content in self.weights.values():
            folder = "" if self.alone else f"{record.tag}/"
            mine = [s.entry for s in self.statements if s.claim.weights == (record.tag,)]
            claims = [entry for entry in mine if entry["now"] is not None]
            found[f"{folder}{RECORD}"] = _json({**vars(record), "claims": claims})
            found[f"{folder}{TENSORS}"] = content
        if not self.alone:
            index = {"system": self.system.name, "weights": [record.tag for record, _ in self.weights.values()]}
            found[RECORD] = _json(index)
        for picture in self.pictures:
            found |= {f"figures/{name}": content for name, content in picture.files.items()}
        for name, results in evaluations(self).items():
            found[f".eval_results/{name}.yaml"] = dumped(results).encode()
        return found


def counts(statements: Iterable[Statement]) -> str:
    """ "k of n claims hold", of the claims that were measured."""
    return cards.counts(statement.entry for statement in statements)


# The metadata.


def metadata(one: Publication) -> dict[str, Any]:
    """The YAML at the head of the card."""
    records = [record for record, _ in one.weights.values()]
    datasets = sorted({DATASETS[r.data["name"]] for r in records if r.data.get("name") in DATASETS})
    tags = ["deep-learning-theory", one.system.topic.replace(" ", "-"), one.system.name, "pytorch", "safetensors"]
    found: dict[str, Any] = {
        "license": records[0].licence.lower(),
        "library_name": "theorem-zoo",
        "tags": [*tags, f"arxiv:{one.system.paper.arxiv}"],
    }
    if datasets:
        found["datasets"] = datasets
    if results := _results(one):
        found["model-index"] = [{"name": one.name, "results": results}]
    return found


def _results(one: Publication) -> list[dict[str, Any]]:
    """The measured claims as the Hub's evaluation metrics, by the data that they are about."""
    metrics: dict[str, list[dict[str, Any]]] = {}
    for statement in one.statements:
        entry = statement.entry
        if entry["now"] is not None:
            metric = {
                "type": entry["kind"],
                "name": f"{entry['claim']} {entry['verdict']}: {entry['says']}",
                "value": entry["now"] if isinstance(entry["now"], (int, float)) else shown(entry["now"]),
            }
            metrics.setdefault(str(_data(one, statement).get("name", "formulas")), []).append(metric)
    return [
        {
            "task": {"type": one.system.topic.replace(" ", "-"), "name": one.system.title},
            "dataset": {"type": DATASETS.get(name, "synthetic"), "name": name},
            "metrics": several,
            "source": {"name": one.system.paper.title, "url": cards.address(one.system.paper)},
        }
        for name, several in metrics.items()
    ]


def _data(one: Publication, statement: Statement) -> dict[str, Any]:
    """The data of the first published weight that a claim is about."""
    tags = [*statement.claim.weights, *(run.recipe for run in statement.claim.runs)]
    return next((record.data for record, _ in one.weights.values() if record.tag in tags), {})


def evaluations(one: Publication) -> dict[str, list[dict[str, Any]]]:
    """The Hub's evaluation results, a file per claim about weights that were trained on a data set of the Hub.

    A result names a data set of the Hub, which a claim about synthetic data, or about formulas, does not have.
    """
    found = {}
    for statement in one.statements:
        entry = statement.entry
        data = DATASETS.get(str(_data(one, statement).get("name")))
        values = entry["now"] if isinstance(entry["now"], list) else [entry["now"]]
        if data is None or entry["now"] is None:
            continue
        notes = f"{entry['verdict']}: {entry['says']} Expected {expected(entry)}"
        several = len(values) > 1
        found[entry["claim"]] = [
            {
                "dataset": {"id": data, "task_id": entry["claim"]},
                "value": value,
                "source": {"url": f"https://huggingface.co/{one.repo}", "name": f"{CLAIMS}, {entry['claim']}"},
                "notes": f"value {i} of {len(values)}; {notes}" if several else notes,
            }
            for i, value in enumerate(values, 1)
        ]
    return found


# The text.


def card(one: Publication) -> str:
    """README.md: metadata, and sections that read from top to bottom."""
    system, paper = one.system, one.system.paper
    records = [record for record, _ in one.weights.values()]
    title = f"{system.title}: `{records[0].tag}`" if one.alone else system.title
    what = _what(records[0]) if one.alone else f"{len(records)} weights of the system `{system.name}`"
    intro = (
        f"{what}, from [{text(paper.title)}]({cards.address(paper)}) ({text(paper.authors)}; {paper.venue} {paper.year}). "
        f"Every claim of the paper that is checked here is recomputed by a command: **{counts(one.statements)}**."
    )
    sections = [
        f"# {title}\n\n{text(system.summary)}\n\n{intro}",
        _figure(one.pictures[0]) if one.pictures else "",
        _load(one),
        _tensors(one) if one.alone else _weights(one),
        _claims(one),
        _training(records[0]) if one.alone else "",
        _figures(one.pictures[1:]),
        _limits(one, records),
        _licence(one, records),
    ]
    head = f"---\n{dumped(metadata(one))}---\n"
    return head + "\n" + "\n\n".join(section for section in sections if section) + "\n"


def _what(record: Record) -> str:
    seeds = f"{record.replicas} replicas of a" if record.replicas > 1 else "A"
    made = "built from a proof, without training" if record.origin == "constructed" else "trained"
    return f"{seeds} `{record.network}` network ({text(cards.arguments(record.arguments))}; {record.dtype}), {made}"


def _figure(picture: Picture) -> str:
    return f"![{picture.stem}](figures/{picture.shown})\n\n*{text(picture.says)}* {text(picture.source)}."


def _load(one: Publication) -> str:
    record = next(iter(one.weights.values()))[0]
    address = f"hf://{one.repo}" + ("" if one.alone else f"/{record.tag}")
    forward = cards.signature(one.system.networks[record.network])
    seeds = f"{record.replicas} replicas" if record.replicas > 1 else "its one replica"
    file = TENSORS if one.alone else f"{record.tag}/{TENSORS}"
    return f"""## Load

```python
import zoo

network = zoo.load("{address}")  # replica 0
everyone = zoo.load("{address}", replica="all")  # {seeds}, a leading axis on the output
```

```python
import torch  # in a checkout of the zoo

network = torch.hub.load(".", "{one.system.name}", source="local", weights="{address}")
```

```python
from huggingface_hub import hf_hub_download
from safetensors.torch import load_file  # plain tensors, without the zoo

tensors = load_file(hf_hub_download("{one.repo}", "{file}"))
```

`@` and a tag or a commit pins a revision: `{address}@COMMIT`. The zoo checks the file's sha256 against the record, loads \
every key strictly, keeps its dtype and runs no code of this repository; with `HF_HUB_OFFLINE=1` it reads the cache alone.

`forward`: {text(forward)}"""


def _tensors(one: Publication) -> str:
    (record, content) = next(iter(one.weights.values()))
    tensors = safetensors.torch.load(content)
    order = sorted(tensors, key=lambda name: (name.startswith(TASK), name))
    rows = [
        (f"`{name}`", " × ".join(map(str, tensors[name].shape)), str(tensors[name].dtype).removeprefix("torch."))
        for name in order
    ]
    tasks = any(name.startswith(TASK) for name in tensors)
    task = " Names under `task.` are what each replica had to learn." if tasks else ""
    axis = f"that of the {record.replicas} replicas" if record.replicas > 1 else "that of replicas, here one"
    says = f"The first axis of every tensor is {axis}.{task}"
    return f"## Tensors\n\n{says}\n\n{table(('name', 'shape', 'dtype'), rows)}"


def _weights(one: Publication) -> str:
    rows = [
        (f"`{r.tag}`", f"`{r.network}`", r.origin, str(r.replicas), r.dtype, cards.size(r.size), f"`{r.sha256[:12]}…`")
        for r, _ in one.weights.values()
    ]
    columns = ("weight", "network", "origin", "replicas", "dtype", "size", "sha256")
    says = f"Each is `hf://{one.repo}/WEIGHT`, with its record in `WEIGHT/{RECORD}`: arguments, recipe, seed, versions, hash."
    return f"## Weights\n\n{says}\n\n{table(columns, rows)}"


def _claims(one: Publication) -> str:
    if not one.statements:
        return (
            f"## Claims\n\nNo claim is about this weight; `zoo verify {one.system.name}` measures those of the system."
        )
    rows: list[tuple[str, ...]] = []
    differs: list[str] = []
    remarks: dict[str, list[str]] = {}
    for statement in one.statements:
        entry = statement.entry
        now = shown(entry["now"]) if entry["now"] is not None else "–"
        verdict = f"**{text(entry['verdict'])}**" if entry["verdict"] != "holds" else "holds"
        mark = " \\*" if statement.remark else ""
        says, source, aim = (text(one) for one in (entry["says"], entry["source"], expected(entry)))
        rows.append((entry["claim"], says, source, aim, now, verdict + mark))
        if statement.remark:
            remarks.setdefault(statement.remark, []).append(entry["claim"])
        if entry["verdict"] == "differs" and entry.get("note"):
            differs.append(f"- {entry['claim']} differs: {text(entry['note']).rstrip('.')}.")
    cells = table(("claim", "it says", "source", "expected", "measured", "verdict"), rows)
    marked = [f"- \\* {', '.join(ids)}: {text(remark)}." for remark, ids in remarks.items()]
    below = "\n\n" + "\n".join(differs + marked) if differs or marked else ""
    return f"""## Claims

`zoo verify {one.name}` recomputes them. A claim that does not hold is shown as it is. All numbers: `{CLAIMS}`.

{cells}{below}"""


def _training(record: Record) -> str:
    if record.origin == "constructed":
        note = f" {text(record.note)}." if record.note else ""
        return f"## Construction\n\n```bash\n{record.command}\n```\n\nBuilt, not trained.{note}"
    recipe = dumped(record.recipe, width=80)
    data = record.data
    licence = "" if data.get("licence") == "synthetic" else f" ({text(str(data.get('licence')))})"
    kind = "synthetic" if data.get("licence") == "synthetic" else "real"
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    metrics = [(f"`{name}`", shown(float(value))) for name, value in record.metrics.items()]
    return f"""## Training

```bash
{record.command}
```

{record.steps:,} optimiser steps, seed {record.seed}, {cards.duration(record.seconds)} on {text(record.hardware)}. Data: {kind}, \
`{data.get("name", "none")}`{licence}. {text(versions)}; code at commit `{record.commit[:12]}`. The same recipe on the same \
kind of machine gives the same file, byte for byte.

{table(("metric", "at the last step" + ", mean over replicas" * (record.replicas > 1)), metrics)}

<details><summary>Recipe</summary>

```yaml
{recipe}```

</details>"""


def _figures(pictures: Sequence[Picture]) -> str:
    return "## Figures\n\n" + "\n\n".join(map(_figure, pictures)) if pictures else ""


def _limits(one: Publication, records: Sequence[Record]) -> str:
    real = sorted({str(r.data["name"]) for r in records if r.data.get("licence") not in (None, "synthetic")})
    on = f"trained on {', '.join(real)}" if real else "made for synthetic data and formulas"
    differs = [s.entry["claim"] for s in one.statements if s.entry["verdict"] == "differs"]
    verb = "differs" if len(differs) == 1 else "differ"
    but = f" Not everything holds: {', '.join(differs)} {verb} from what is expected." if differs else ""
    return (
        f"## Limits\n\nA network of a theory, {on}: it shows what the paper says at the sizes in its record, and is not "
        f"meant as a part of other systems.{but} Claims that name an interval or n are statistical. The claims that are listed "
        "are those the zoo checks, not all that the paper says."
    )


def _licence(one: Publication, records: Sequence[Record]) -> str:
    paper = one.system.paper
    hashes = f" sha256 of `{TENSORS}`: `{records[0].sha256}`." if one.alone else ""
    code = f" The authors' code is at {paper.code} ({paper.code_licence or 'no licence stated'})." if paper.code else ""
    return f"""## Licence and citation

Weights: {records[0].licence}.{hashes}{code} Cite the paper:

```bibtex
{cards.bibtex(paper)}
```"""


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
