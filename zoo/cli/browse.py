"""`zoo list` and `zoo show`: what is there, read from records alone (no torch)."""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
from typing import Any

from zoo import cards, registry
from zoo.cli.console import show_json, show_pairs, show_table


def counts(entries: list[dict[str, Any]]) -> str:
    """ "k/n": claims that hold, of the claims that were measured."""
    return f"{sum(entry['verdict'] == 'holds' for entry in entries)}/{len(entries)}" if entries else "–"


def overview(pattern: str = "*") -> list[dict[str, Any]]:
    """One entry per system and per weight whose name matches, with recorded verdicts counted."""
    rows = []
    weights = registry.weight_files()
    for name, system in registry.systems().items():
        records = {key: registry.read_json(path) for key, path in weights.items() if key.startswith(f"{name}.")}
        shared = system.folder / "verdicts.json"
        entries = registry.read_json(shared) if shared.exists() else []
        everything = entries + [entry for record in records.values() for entry in record["claims"]]
        if fnmatch.fnmatch(name, pattern):
            about = {"name": name, "is": "system", "says": system.title, "claims": counts(everything)}
            rows.append(about | {"replicas": None, "size": None, "origin": None})
        for key, record in records.items():
            if fnmatch.fnmatch(key, pattern) or fnmatch.fnmatch(name, pattern):
                row = {"name": key, "is": "weight", "says": record["network"], "claims": counts(record["claims"])}
                rows.append(row | {name: record[name] for name in ("replicas", "size", "origin")})
    return rows


def list_all(options: argparse.Namespace) -> int:
    rows = overview(options.pattern)
    if not rows:
        raise registry.ZooError(f"Nothing is called {options.pattern!r}; `zoo list` shows everything.")
    if options.json:
        show_json(rows)
        return 0
    if options.markdown:
        print(markdown(rows))
        return 0
    columns = ("name", "what", "origin", "replicas", "size", "claims")
    cells = [
        (r["name"], r["says"], r["origin"], r["replicas"], r["size"] and cards.size(r["size"]), r["claims"])
        for r in rows
    ]
    show_table(f"{len(registry.systems())} systems, {len(registry.weight_files())} weights", columns, cells)
    return 0


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table of the README: one line per system, its weights by name."""
    lines = ["| system | paper | weights | claims that hold |", "| --- | --- | --- | --- |"]
    for row in rows:
        if row["is"] == "system":
            paper = registry.system(row["name"]).paper
            mine = [
                one["name"].split(".")[1]
                for one in rows
                if one["is"] == "weight" and one["name"].startswith(f"{row['name']}.")
            ]
            link = f"[{paper.title}](https://arxiv.org/abs/{paper.arxiv}), {paper.venue} {paper.year}"
            lines.append(f"| `{row['name']}` | {link} | {', '.join(families(mine))} | {row['claims']} |")
    return "\n".join(lines)


def families(tags: list[str]) -> list[str]:
    """Tags as code; those that differ in a final number stand together, as `table_h{1,6,11}`."""
    numbers: dict[str, list[str]] = {}
    for tag in tags:
        stem = tag.rstrip("0123456789")
        numbers.setdefault(stem, []).append(tag.removeprefix(stem))
    return [
        f"`{stem}{{{','.join(ends)}}}`" if len(ends) > 1 else f"`{stem}{ends[0]}`" for stem, ends in numbers.items()
    ]


def show(options: argparse.Namespace) -> int:
    if "." in options.name:
        record = registry.read_json(registry.weight_file(options.name))
        if options.json:
            show_json(record)
            return 0
        claims = record.pop("claims")
        record.pop("recipe")
        pairs = [(key, flat(value)) for key, value in record.items() if value not in ("", [], {}, 0, 0.0)]
        show_pairs(pairs)
    else:
        system = registry.system(options.name)
        shared = system.folder / "verdicts.json"
        claims = registry.read_json(shared) if shared.exists() else []
        weights = {key: path for key, path in registry.weight_files().items() if key.startswith(f"{system.name}.")}
        for path in weights.values():
            claims += registry.read_json(path)["claims"]
        about = {
            "name": system.name,
            "title": system.title,
            "summary": system.summary,
            "topic": system.topic,
            "paper": dataclasses.asdict(system.paper),
            "networks": list(system.networks),
            "weights": list(weights),
        }
        if options.json:
            show_json(about | {"claims": claims})
            return 0
        paper = system.paper
        about["paper"] = f"{paper.title}. {paper.authors}. {paper.venue} {paper.year}, arXiv {paper.arxiv}"
        show_pairs([(key, flat(value)) for key, value in about.items()])
    print()
    columns = ("claim", "says", "source", "expected", "tolerance", "now", "verdict")
    rows = [[entry[name if name != "claim" else "claim"] for name in columns] for entry in claims]
    show_table(f"claims {counts(claims)}", columns, rows)
    return 0


def flat(value: Any) -> str:
    """A nested value on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key}={flat(one)}" for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(flat, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
