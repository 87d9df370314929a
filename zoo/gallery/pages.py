"""What the pages of the site say: everything from the registry, records, verdicts, histories and docstrings.

A page is Markdown for its headings and code, and HTML for the rest, which is escaped here and has no empty line inside.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from types import LambdaType
from typing import Any

from zoo import cards, registry
from zoo.claims import Cards, Claim
from zoo.gallery import leaderboards
from zoo.gallery.drawings import CURVES, Drawing
from zoo.gallery.mathematics import Formulas
from zoo.registry import System
from zoo.weights import Record, read_record

HOME, BOARDS = "index", "leaderboards"


@dataclass(frozen=True)
class Card:
    """A system with what its page shows.

    Attributes:
        claims: every claim with its recorded entry, None if it was never measured; those that differ first.
        drawings: of its figures, and then of its training curves.
    """

    system: System
    records: tuple[Record, ...]
    claims: tuple[tuple[Claim, dict[str, Any] | None], ...]
    recipes: Mapping[str, Path]
    drawings: tuple[Drawing, ...]

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [entry for _, entry in self.claims if entry is not None]

    @property
    def figures(self) -> list[Drawing]:
        return [one for one in self.drawings if one.name != CURVES]

    @property
    def differs(self) -> int:
        return sum(entry["verdict"] == "differs" for entry in self.entries)

    @property
    def data(self) -> list[str]:
        """Names of the real data sets of its weights; "synthetic" for generated ones and formulas."""
        real = {r.data["name"] for r in self.records if r.data.get("licence", cards.SYNTHETIC) != cards.SYNTHETIC}
        made = any(r.data.get("licence", cards.SYNTHETIC) == cards.SYNTHETIC for r in self.records)
        return [*sorted(real), *([cards.SYNTHETIC] if made or not real else [])]

    @property
    def cover(self) -> Drawing | None:
        """The figure of its tile: a film, else the first that fits a tile, else the first."""
        films = [one for one in self.figures if "gif" in one.files]
        fitting = [one for one in self.figures if one.width <= 2 * one.height]
        return next(iter([*films, *fitting, *self.figures]), None)


def card(system: System, drawings: Sequence[Drawing]) -> Card:
    """Everything known about a system."""
    files = {name: path for name, path in registry.weight_files().items() if name.startswith(f"{system.name}.")}
    known = Cards(system)
    claims = [(claim, known.find(claim)) for claim in system.part("claims").CLAIMS]
    claims.sort(key=lambda one: one[1] is None or one[1]["verdict"] != "differs")
    recipes = {name: path for name, path in registry.recipe_files().items() if name.startswith(f"{system.name}/")}
    return Card(system, tuple(read_record(p) for p in files.values()), tuple(claims), recipes, tuple(drawings))


# Home.


def home(all_cards: Sequence[Card]) -> str:
    """Tiles of all systems, with filters."""
    entries = [entry for one in all_cards for entry in one.entries]
    weights = sum(len(one.records) for one in all_cards)
    facets = {
        "topic": ("Topic", sorted({one.system.topic for one in all_cards})),
        "paper": ("Paper", sorted({venue(one.system) for one in all_cards}, key=lambda name: (-int(name[-4:]), name))),
        "data": ("Data", sorted({name for one in all_cards for name in one.data})),
        "verdict": ("Verdict", ["all claims hold", "some claims differ"]),
    }
    menus = "".join(
        f'<label>{name}<select data-facet="{key}"><option value="">all</option>'
        + "".join(f"<option>{escape(value)}</option>" for value in values)
        + "</select></label>"
        for key, (name, values) in facets.items()
    )
    tiles = "\n".join(tile(one) for one in all_cards)
    return f"""---
title: The Theorem Zoo
hide: [navigation, toc]
---

# The Theorem Zoo

<p class="zoo-lead">Networks from the theory of deep learning, each with its paper’s theorems and figures as claims that a command \
recomputes.</p>
<p class="zoo-sum">{len(all_cards)} systems, {weights} weights, {cards.counts(entries)}. A claim that does not hold is shown as it is.</p>

<form class="zoo-filters" aria-label="Filter the systems">{menus}<button type="reset" hidden>show all</button></form>
<p class="zoo-count" role="status" aria-live="polite">{len(all_cards)} systems</p>
<div class="zoo-tiles">
{tiles}
</div>
<p class="zoo-none" hidden>No system fits all of these: choose “all” in one of the menus.</p>
"""


def tile(one: Card) -> str:
    system, cover = one.system, one.cover
    verdict = "some claims differ" if one.differs else "all claims hold"
    data = "|".join(one.data)
    name = cover and (cover.files.get("gif") or cover.files["svg"])
    image = f'<img src="figures/{system.name}/{name}" alt="" loading="lazy">' if cover else ""
    return (
        f'<a class="zoo-tile" href="{system.name}.html" data-topic="{escape(system.topic)}" data-paper="{escape(venue(system))}" '
        f'data-data="{escape(data)}" data-verdict="{verdict}"><span class="zoo-window">{image}</span>'
        f'<span class="zoo-words"><strong>{escape(system.title)}</strong><span>{escape(system.summary)}</span></span>'
        f'<span class="zoo-foot"><span>{escape(venue(system))} · {escape(system.topic)}</span>{summary_badge(one)}</span></a>'
    )


def venue(system: System) -> str:
    return f"{system.paper.venue} {system.paper.year}"


def summary_badge(one: Card) -> str:
    """ "24 of 25 claims hold", with a mark where some differ."""
    kind = "differs" if one.differs else "holds"
    return f'<span class="zoo-badge zoo-{kind}">{cards.counts(one.entries).replace(" claims", "")}</span>'


# A system.


def page(one: Card, formulas: Formulas) -> str:
    """The page of a system, from its mathematics to its citation."""
    system, paper = one.system, one.system.paper
    sections = [
        f"""---
title: {cards.dumped(system.title).splitlines()[0]}
description: {cards.dumped(" ".join(system.summary.split())).splitlines()[0]}
---

# {md(system.title)}

<p class="zoo-lead">{escape(system.summary)}</p>
<p class="zoo-paper">{escape(paper.authors)}. <a href="{cards.address(paper)}">{escape(paper.title)}</a>. {escape(venue(system))}.</p>
<p class="zoo-sum"><code>{system.name}</code> · {escape(system.topic)} · {escape(", ".join(one.data))} · {summary_badge(one)}</p>""",
        figure_html(one.figures[0]) if one.figures else "",
        mathematics(one, formulas),
        interactive(system),
        snippets(one),
        claims_table(one),
        figures(one),
        weights(one),
        training_curves(one),
        recipes(one),
        licence(one),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def md(plain: str) -> str:
    return cards.text(plain)


def mathematics(one: Card, formulas: Formulas) -> str:
    path = one.system.folder / "mathematics.md"
    if not path.is_file():
        return ""
    source = formulas.taken(path.read_text(encoding="utf-8"), path)
    heads = [len(mark) for mark in re.findall(r"^(#+) ", source, re.MULTILINE)]
    lower = 3 - min(heads, default=3)
    source = re.sub(r"^(#+) ", lambda m: "#" * (len(m[1]) + lower) + " ", source, flags=re.MULTILINE)
    rows = {claim.id: row_name(claim) for claim, _ in reversed(one.claims)}

    def linked(match: re.Match[str]) -> str:
        found = rows.get(match[1])
        return f'<a href="#{escape(found)}"><code>{match[1]}</code></a>' if found else match[0]

    source = re.sub(r"(?<!`)`(\w+)`(?!`)", linked, source)  # a claim's id as code leads to its row
    return f"## Mathematics\n\n{source.strip()}"


def interactive(system: System) -> str:
    if not (system.folder / "interactive.py").is_file():
        return ""
    found = system.part("interactive").INTERACTIVE
    scripts = "\n".join(f'<script src="assets/interactive/{path.name}" defer></script>' for path in found.scripts)
    return (
        f'## Try it\n\n<h3 class="zoo-try">{escape(found.title)}</h3>\n<p>{escape(found.says)}</p>\n\n'
        f"{found.fragment(system.name)}\n\n{scripts}"
    )


def snippets(one: Card) -> str:
    """Lines to copy: load with torch.hub and with the zoo, verify, train."""
    system = one.system
    tag = next((r.tag for r in one.records if r.origin == "trained"), one.records[0].tag if one.records else "")
    recipe = next(iter([name for name in one.recipes if name.endswith(f"/{tag}")] + list(one.recipes)), None)
    hub = f'network = torch.hub.load(".", "{system.name}", source="local"' + (f', weights="{tag}")' if tag else ")")
    shell = [f"zoo verify {system.name}"] + ([f"zoo train {recipe}"] if recipe else [])
    load = (
        f"""```python
import zoo

network = zoo.load("{system.name}.{tag}")  # replica 0
everyone = zoo.load("{system.name}.{tag}", replica="all")  # a leading axis of replicas on the output
```

"""
        if tag
        else ""
    )
    return f"""## Use it

```python
import torch  # in a checkout of the zoo

{hub}
```

{load}```bash
{chr(10).join(shell)}
```

<p class="zoo-note"><code>forward</code>: {escape(cards.signature(system.networks[system.default]))}</p>"""


def claims_table(one: Card) -> str:
    rows = "\n".join(claim_row(claim, entry) for claim, entry in one.claims)
    first = "The one that differs stands first." if one.differs == 1 else f"The {one.differs} that differ stand first."
    differ = f" {first}" if one.differs else ""
    return f"""## Claims

<p>{cards.counts(one.entries)}.{differ} <code>zoo verify {one.system.name}</code> recomputes them; those of rank training, with \
<code>--rank training</code>.</p>
<div class="zoo-scroll"><table class="zoo-claims">
<thead><tr><th>verdict</th><th>claim, and how it is measured</th><th>expected</th><th>ours</th></tr></thead>
<tbody>
{rows}
</tbody></table></div>"""


def claim_row(claim: Claim, entry: Mapping[str, Any] | None) -> str:
    now = cards.shown(entry["now"]) if entry else "–"
    verdict = entry["verdict"] if entry else "not measured"
    shown = entry or {"expected": claim.expected.expected, "tolerance": claim.expected.tolerance}
    interval = entry.get("interval") if entry else None
    extras = [f"interval {cards.shown(interval[0])} … {cards.shown(interval[1])}"] if interval else []
    extras += [f"n = {entry['n']:,}"] if entry and entry.get("n") else []
    note = entry.get("note", "") if entry else ""
    details = "; ".join([*extras, *([note] if note else [])])
    return (
        f'<tr id="{escape(row_name(claim))}" class="zoo-{verdict.split()[0]}"><td>{badge(verdict)}</td>'
        f"<td><b>{escape(claim.id)}</b> {escape(claim.says)}"
        f"<small>{escape(how(claim))} Rank {claim.rank}, {claim.kind}{escape('; ' + details if details else '')}.</small></td>"
        f'<td data-label="expected"><span class="zoo-number">{escape(cards.expected(shown))}</span>'
        f"<small>{escape(claim.source)}</small></td>"
        f'<td data-label="ours"><span class="zoo-number">{escape(now)}</span></td></tr>'
    )


def row_name(claim: Claim) -> str:
    """What an address calls the claim's row."""
    return "-".join(["claim", claim.id, *claim.weights[:1]])


def badge(verdict: str) -> str:
    mark = {"holds": "✓", "differs": "≠"}.get(verdict, "–")
    return f'<span class="zoo-badge zoo-{verdict.split()[0]}"><i aria-hidden="true">{mark}</i> {escape(verdict)}</span>'


def how(claim: Claim) -> str:
    """The measuring function's own sentence, where it has one, and what it gets."""
    measure: Any = claim.measure
    while isinstance(measure, functools.partial):
        measure = measure.func
    own = measure.__doc__ if isinstance(measure, LambdaType) else None
    says = " ".join(inspect.cleandoc(own).split("\n\n")[0].split()) if own else ""
    listed = ", ".join(claim.weights[:3] if len(claim.weights) <= 4 else [*claim.weights[:2], "…", claim.weights[-1]])
    changed = [
        "with " + ", ".join(f"{k.split('.')[-1]} = {cards.shown(v)}" for k, v in run.overrides.items())
        for run in claim.runs
    ]
    trained = ", ".join(
        dict.fromkeys(
            " ".join([r.recipe, *([c] if r.overrides else [])]) for r, c in zip(claim.runs, changed, strict=True)
        )
    )
    subject = {
        "theory": "From formulas alone." if not says else "",
        "weights": f"From {listed}.",
        "training": f"Trains {trained} again." if len(trained) < 160 else f"Trains {len(claim.runs)} runs again.",
    }[claim.rank]
    return " ".join(part for part in (says, subject) if part)


def figures(one: Card) -> str:
    """Every figure but the one at the head, with its caption; of a figure of many runs the first, the others folded."""
    groups: dict[str, list[Drawing]] = {}
    for drawing in one.figures:
        groups.setdefault(drawing.name, []).append(drawing)
    shown = []
    for drawings in groups.values():
        first, *others = drawings
        if first is not one.figures[0]:  # which stands at the head of the page
            shown.append(figure_html(first))
        if others:
            several = f"{len(others)} more runs" if len(others) > 1 else "one more run"
            shown.append(
                f"<details><summary>{several}: <code>{escape(others[0].about[0])}</code>"
                + (f" … <code>{escape(others[-1].about[0])}</code>" if len(others) > 1 else "")
                + "</summary>\n"
                + "\n".join(map(figure_html, others))
                + "\n</details>"
            )
    return "## Figures\n\n" + "\n\n".join(shown) if shown else ""


def figure_html(one: Drawing) -> str:
    still = f"figures/{one.system}/{one.files['svg']}"
    shown = f"figures/{one.system}/{one.files['gif']}" if "gif" in one.files else still
    tag = f"<code>{escape(one.about[0])}</code> " if one.stem != one.name and one.name != CURVES else ""
    source = f' <span class="zoo-source">{escape(one.source)}.</span>' if one.source else ""
    wide = " zoo-wide" if one.width > 2.6 * one.height else ""
    return (
        f'<figure class="zoo-figure{wide}"><a href="{still}"><img src="{shown}" alt="{escape(one.says)}" loading="lazy" '
        f'width="{96 * one.width:.0f}" height="{96 * one.height:.0f}"></a>'
        f"<figcaption>{tag}{escape(one.says)}{source}</figcaption></figure>"
    )


def weights(one: Card) -> str:
    if not one.records:
        return ""
    items = "\n".join(weight(record) for record in one.records)
    return f'## Weights\n\n<p>Each is a safetensors file with a record; its sha256 is checked on every load.</p>\n<div class="zoo-weights">\n{items}\n</div>'


def weight(record: Record) -> str:
    replicas = f"{record.replicas} replicas" if record.replicas > 1 else "one replica"
    data = record.data.get("name")
    made = f"{record.steps:,} steps, seed {record.seed}, {cards.duration(record.seconds)}, {record.hardware}"
    rows = {
        "arguments": escape(cards.arguments(record.arguments)),
        "made by": f"<code>{escape(record.command)}</code>",
        "training": escape(made) if record.origin == "trained" else "built from a proof, without training",
        "data": escape(f"{data} ({record.data.get('licence')})") if data else "none",
        "metrics": escape(", ".join(f"{k} {cards.shown(v)}" for k, v in record.metrics.items())),
        "dtype": record.dtype,
        "size": f"{record.size:,} bytes",
        "sha256": f"<code>{record.sha256}</code>",
        "licence": escape(record.licence),
        "note": escape(record.note),
    }
    listed = "".join(f"<dt>{key}</dt><dd>{value}</dd>" for key, value in rows.items() if value)
    return (
        f'<details class="zoo-weight" id="weight-{escape(record.tag)}"><summary><code>{escape(record.name)}</code>'
        f"<span>{escape(record.network)} · {record.origin} · {replicas} · {cards.size(record.size)}</span></summary>"
        f"<dl>{listed}</dl></details>"
    )


def training_curves(one: Card) -> str:
    drawn = [drawing for drawing in one.drawings if drawing.name == CURVES]
    if not drawn:
        return ""
    shown = []
    for drawing in drawn:
        tags = ", ".join(f"<code>{escape(tag)}</code>" for tag in drawing.about)
        shown.append(f"<details><summary>{tags}</summary>\n{figure_html(drawing)}\n</details>")
    return "## Training curves\n\n" + "\n\n".join([shown[0].replace("<details>", "<details open>", 1), *shown[1:]])


def recipes(one: Card) -> str:
    shown = []
    for name, path in one.recipes.items():
        source = path.read_text(encoding="utf-8").rstrip()
        says = source.splitlines()[0].removeprefix("#").strip()
        shown.append(
            f'<details markdown="1"><summary><code>{name}</code> {escape(says)}</summary>\n\n```yaml\n{source}\n```\n\n</details>'
        )
    return "## Recipes\n\n" + "\n\n".join(shown) if shown else ""


def licence(one: Card) -> str:
    paper = one.system.paper
    kinds = sorted({record.licence for record in one.records}) or ["Apache-2.0"]
    code = (
        f' The authors’ code is at <a href="{escape(paper.code)}">{escape(paper.code.removeprefix("https://"))}</a> '
        f"({escape(paper.code_licence or 'no licence stated')})."
        if paper.code
        else ""
    )
    return f"""## Licence and citation

<p>Code and weights: {escape(", ".join(kinds))}.{code} Cite the paper:</p>

```bibtex
{cards.bibtex(paper)}
```"""


# Leaderboards.


def boards(found: Iterable[leaderboards.Leaderboard]) -> str:
    """One page with every leaderboard."""
    return (
        """---
title: Leaderboards
hide: [navigation, toc]
---

# Leaderboards

<p class="zoo-lead">Systems that share a task, side by side. Our numbers come from the records of weights; published ones stand \
here only where the zoo holds them with a source, and are marked.</p>

"""
        + "\n\n".join(map(board, found))
        + "\n"
    )


def board(one: leaderboards.Leaderboard) -> str:
    heads = "".join(f'<th class="zoo-value">{escape(name)}</th>' for name in one.metrics)
    rows = "\n".join(board_row(row, one.metrics) for row in one.rows)
    return f"""## {md(one.task)}

<p>{escape(one.says)} {one.better.capitalize()} is better.</p>
<div class="zoo-scroll"><table class="zoo-board">
<thead><tr><th>model</th>{heads}</tr></thead>
<tbody>
{rows}
</tbody></table></div>"""


def board_row(row: leaderboards.Row, metrics: Sequence[str]) -> str:
    system, dot, tag = row.name.partition(".")
    ours = row.kind == "ours"
    name = (
        f'<a href="{system}.html#weight-{escape(tag)}"><code>{escape(row.name)}</code></a>'
        if ours
        else escape(row.name)
    )
    values = "".join(
        f'<td class="zoo-value" data-label="{escape(metric)}">{leaderboards.shown(value)}</td>'
        for metric, value in zip(metrics, row.values, strict=True)
    )
    kind = {"ours": "ours", "reference": "counted here", "published": "published, other data"}[row.kind]
    return (
        f'<tr class="zoo-{row.kind}"><td>{name} <span class="zoo-badge">{kind}</span>'
        f"<small>{escape(row.what)}</small></td>{values}</tr>"
    )
