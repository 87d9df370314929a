"""`zoo publish` and `zoo audit`: weights to the Hugging Face Hub, and the trajectory of a run checked before."""

from __future__ import annotations

import argparse
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from zoo import cards, claims, figures, registry
from zoo.cli.console import show_table
from zoo.cli.verify import show_verdicts
from zoo.files import write_beside
from zoo.hub import publish as hub
from zoo.hub.address import Address
from zoo.hub.card import Picture, Publication, Statement, counts
from zoo.registry import System, ZooError
from zoo.weights import Record, load


def publish(options: argparse.Namespace) -> int:
    """Verifies, renders and sends; returns 1, and sends nothing, if a verdict differs from the record."""
    torch.set_num_threads(1)
    system, tags, alone = chosen(options.names)
    Address.parse(f"hf://{options.repo}@{options.tag or 'main'}")
    if not options.dry_run:
        hub.account()  # a mistake there is told before the minutes of verifying
    statements = stated(system, tags, alone)
    contradicted = [one.verdict for one in statements if one.verdict is not None and one.contradicts]
    if contradicted:
        show_verdicts(contradicted)
        if not options.allow_differs:
            names = ", ".join(verdict.claim.id for verdict in contradicted)
            print(f"nothing is published: {names} now differ from the record; --allow-differs states it on the card")
            return 1
    weights = {f"{system.name}.{tag}": read(f"{system.name}.{tag}") for tag in tags}
    one = Publication(options.repo, system, weights, statements, drawn(system, tags, alone), alone)
    files = one.files()
    if options.out:
        for path, content in files.items():
            with write_beside(Path(options.out) / path) as beside:
                beside.write_bytes(content)
    if options.dry_run:
        return rehearse(options, files)
    commit, changes = hub.publish(
        options.repo, files, f"{one.name}: {counts(statements)}", options.private, options.tag
    )
    print(f"hf://{options.repo}@{options.tag or commit}: {changes}; {counts(statements)}")
    return 0


def rehearse(options: argparse.Namespace, files: dict[str, bytes]) -> int:
    """What a publication would do, compared with the repository as it is if the Hub is reached."""
    try:
        remote = hub.look(options.repo)
        hub.check(options.repo, files, remote, options.private, options.tag)
        changes = hub.compare(files, remote)
    except ZooError as error:
        print(f"not compared with the Hub: {error}", file=sys.stderr)
        changes = hub.Changes(new=list(files))
    kinds = {path: kind for kind, paths in vars(changes).items() for path in paths}
    rows = [(path, cards.size(len(content)), kinds.get(path, "as it is")) for path, content in files.items()]
    rows += [(path, "", "removed") for path in changes.removed]
    show_table(f"{options.repo}: {changes}; nothing was sent", ("file", "size", "on the Hub"), rows)
    return 0


def chosen(names: list[str]) -> tuple[System, list[str], bool]:
    """The system, the tags of its weights to publish, and whether it is one weight alone.

    Raises:
        ZooError: an unknown name, two systems, a system without weights.
    """
    system = registry.system(names[0].partition(".")[0])
    others = [name for name in names if name.partition(".")[0] != system.name]
    if others:
        raise ZooError(f"A repository holds weights of one system, not of {system.name} and {others[0]}: publish each.")
    for name in names:
        if "." in name:
            registry.weight_file(name)
    tags = [tag for tag in tags_of(system) if system.name in names or f"{system.name}.{tag}" in names]
    if not tags:
        raise ZooError(f"{system.name} has no weights to publish.")
    return system, tags, len(names) == 1 and "." in names[0]


def tags_of(system: System) -> list[str]:
    """Tags of the system's shipped weights."""
    return [name.partition(".")[2] for name in registry.weight_files() if name.startswith(f"{system.name}.")]


def read(name: str) -> tuple[Record, bytes]:
    """A weight's record and its file's bytes, which were loaded strictly and have the record's hash."""
    return load(name).record, registry.weight_file(name).with_suffix(".safetensors").read_bytes()


def stated(system: System, tags: list[str], alone: bool) -> list[Statement]:
    """The claims of the system, or those about the weights, with the record's verdict and today's."""
    whole = not alone and tags == tags_of(system)
    names = [system.name] if whole else [f"{system.name}.{tag}" for tag in tags]
    today = {(verdict.claim.id, *verdict.claim.weights): verdict for verdict in claims.verify(names)}
    records = claims.Cards(system)
    found = []
    for claim in system.part("claims").CLAIMS:
        verdict = today.get((claim.id, *claim.weights))
        retrained = claim.rank == "training" and (whole or any(run.recipe in tags for run in claim.runs))
        if verdict is not None or retrained:
            found.append(Statement(claim, records.find(claim), verdict))
    return found


def drawn(system: System, tags: list[str], alone: bool) -> list[Picture]:
    """The figures about the weights; of a weight that has none, the first that needs formulas alone."""
    about: list[Picture] = []
    general: list[Picture] = []
    shipped = set(tags_of(system))
    for figure in system.part("figures").FIGURES:
        if not set(figure.weights) <= shipped or (alone and figure.sweeps):
            continue
        formulas = not (figure.weights or figure.recipes or figure.sweeps)
        if (formulas and general and alone) or (figure.weights and not set(figure.weights) & set(tags)):
            continue
        for stem, subjects in figures.shipped_subjects(system, figure):
            tag = stem.removeprefix(f"{figure.name}_") if stem != figure.name else ""
            if figure.recipes and any(fnmatch(tag, pattern) for pattern in figure.recipes) and tag not in tags:
                continue
            with tempfile.TemporaryDirectory() as folder:
                paths = figures.save(figure.draw(*subjects), Path(folder), stem)
                says = figure.says if alone or not tag else f"{tag}: {figure.says}"
                picture = Picture(stem, says, figure.source, {path.name: path.read_bytes() for path in paths})
            (general if formulas else about).append(picture)
    return (about or general[:1]) if alone else about + general


def audit(options: argparse.Namespace) -> int:
    """Checks the trajectory of a run; returns 1 if one of its steps is not what it says."""
    from zoo.cli import recipe as recipes
    from zoo.cli.train import keep_big_buffers, quiet_lightning, weight_of
    from zoo.hub.audit import audit as audit_trajectory
    from zoo.training import checkpoints

    path = Path(options.run)
    weight = weight_of(path)
    if options.samples < 1:
        raise ZooError(f"--samples must be at least 1, got {options.samples}.")
    trajectory = {int(one.stem.removeprefix("step=")): one for one in checkpoints(path / "trajectory")}
    if len(trajectory) < 2:
        raise ZooError(f"{path} keeps no trajectory: train it with --keep-every=STEPS.")
    found = recipes.read(path / "recipe.yaml")
    asked = found.trainer_options().get("devices", 1)
    if weight.record.replicas == 1 and asked not in (1, "1", "auto"):
        raise ZooError(
            f"{path} trained one replica on {asked} devices, each with data of its own: audit needs one device."
        )
    keep_big_buffers()
    quiet_lightning()

    def make() -> tuple[Any, Any, dict[str, Any]]:
        kept = {key: value for key, value in found.trainer_options().items() if key not in ("strategy", "num_nodes")}
        return *found.objects(), kept

    bad = 0
    for finding in audit_trajectory(make, trajectory, weight, options.samples):
        bad += not finding.good
        print(f"{'yes' if finding.good else 'NO ':4}{finding.what}: {finding.says}", flush=True)
    good = f"the trajectory of {path} is what it says"
    print(f"{bad} of its statements are wrong: do not publish it" if bad else good)
    return 1 if bad else 0
