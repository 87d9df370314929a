"""Tests over the registry: a new system, network, weight, claim, figure or recipe is tested by being there."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

import zoo
from zoo import registry
from zoo.claims import CLAIM_KINDS, RANKS, Claim
from zoo.cli import recipe as recipes
from zoo.replicas import Replicas
from zoo.sweeps import Sweep
from zoo.weights import load, network_class, read_record

SYSTEMS = list(registry.systems())
NETWORKS = [(name, network) for name, system in registry.systems().items() for network in system.networks]
WEIGHTS = list(registry.weight_files())
RECIPES = recipes.names()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def built(system: str, network: str, seed: int = 0) -> nn.Module:
    """The system's example network with parameters of its own initialisation."""
    cls = network_class(system, network)
    arguments = dict(registry.system(system).examples[network])
    return cls(**arguments, generator=generator(seed))


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_is_complete(name: str) -> None:
    system = registry.system(name)
    assert system.name == name and system.summary.endswith(".") and system.paper.arxiv
    assert system.default in system.networks and set(system.examples) == set(system.networks)
    for room in ("network", "theory", "claims", "figures"):
        assert inspect.getdoc(system.part(room)), f"{room}.py has no docstring"
    assert set(system.constructions) <= {w.split(".")[1] for w in WEIGHTS if w.startswith(f"{name}.")}
    assert any(recipe.startswith(f"{name}/") for recipe in RECIPES)


@pytest.mark.parametrize(("system", "network"), NETWORKS)
def test_a_network_keeps_the_contract(system: str, network: str) -> None:
    one = built(system, network)
    inputs = one.example(4, generator())
    output = one(*inputs)
    assert torch.equal(output, one(*inputs)) and output.isfinite().all()
    assert torch.equal(built(system, network)(*inputs), output), "the generator must decide the initial parameters"
    assert json.loads(json.dumps(one.arguments)) == one.arguments
    again = type(one)(**one.arguments)
    again.load_state_dict(one.state_dict())
    assert torch.equal(again(*inputs), output)
    docstring = inspect.getdoc(type(one).forward)
    assert docstring and re.search(r"\(.*\b[btndrvs]\b.*\)", docstring), "forward's docstring gives shapes"
    parameters = list(inspect.signature(type(one)).parameters.values())
    assert all(p.kind == p.KEYWORD_ONLY for p in parameters)


@pytest.mark.parametrize(("system", "network"), NETWORKS)
def test_a_network_works_in_float64_and_under_vmap(system: str, network: str) -> None:
    networks = [built(system, network, seed).double() for seed in range(3)]
    inputs = [x.double() if x.is_floating_point() else x for x in networks[0].example(4, generator())]
    apart = torch.stack([one(*inputs) for one in networks])
    assert apart.dtype == torch.float64
    torch.testing.assert_close(Replicas(networks)(*inputs), apart, rtol=1e-10, atol=1e-12)
    stacked = {key: torch.stack([one.state_dict()[key] for one in networks]) for key in networks[0].state_dict()}
    together = vmap(lambda tensors: functional_call(networks[0], tensors, tuple(inputs)))(stacked)
    torch.testing.assert_close(together, apart, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("system", "network"), NETWORKS)
def test_a_network_exports(system: str, network: str) -> None:
    one = built(system, network).eval()
    inputs = one.example(4, generator())
    program = torch.export.export(one, tuple(inputs), strict=False)
    torch.testing.assert_close(program.module()(*inputs), one(*inputs))


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_weight_loads_and_its_record_is_complete(name: str) -> None:
    weight, record = load(name), zoo.record(name)
    assert record.name == name and record.network in registry.system(record.system).networks
    assert record.origin in ("trained", "constructed") and record.command.startswith("zoo ")
    assert record.hardware and record.versions["torch"] and re.fullmatch(r"[0-9a-f]{40}", record.commit)
    assert record.size < 8e6, "weights in git are a few MB at most"
    if record.origin == "trained":
        assert record.steps > 0 and record.recipe and record.data and record.metrics
    else:
        assert weight.tag in registry.system(record.system).constructions
    single, everyone = zoo.load(name).double(), zoo.load(name, replica="all").double()
    inputs = [x.double() if x.is_floating_point() else x for x in single.example(2, generator())]
    output = single(*inputs)
    # The exact memoriser in two dimensions cancels numbers of 1e8 times its outputs.
    torch.testing.assert_close(everyone(*inputs)[0], output, rtol=1e-6, atol=1e-6)
    assert everyone(*inputs).shape == (record.replicas, *output.shape)


def test_weights_fit_in_git() -> None:
    assert sum(read_record(path).size for path in registry.weight_files().values()) < 60e6


@pytest.mark.parametrize("name", SYSTEMS)
def test_claims_are_well_formed(name: str) -> None:
    system = registry.system(name)
    claims: tuple[Claim, ...] = system.part("claims").CLAIMS
    keys = [(claim.id, *claim.weights) for claim in claims]
    assert len(set(keys)) == len(keys), "two claims have the same id and weights"
    known = {recipe.split("/")[1] for recipe in RECIPES if recipe.startswith(f"{name}/")}
    for claim in claims:
        assert claim.says.endswith(".") and claim.source and claim.kind in CLAIM_KINDS and claim.rank in RANKS
        assert bool(claim.weights) == (claim.rank == "weights") and bool(claim.runs) == (claim.rank == "training")
        assert {run.recipe for run in claim.runs} <= known


@pytest.mark.parametrize("name", SYSTEMS)
def test_recorded_verdicts_are_of_todays_claims(name: str) -> None:
    from zoo.claims import Cards

    system = registry.system(name)
    for claim in system.part("claims").CLAIMS:
        card = Cards(system).find(claim)
        if card is not None:
            assert (card["source"], card["expected"]) == (claim.source, claim.expected.expected)


@pytest.mark.parametrize("name", SYSTEMS)
def test_figures_are_well_formed(name: str) -> None:
    system = registry.system(name)
    tags = [recipe.split("/")[1] for recipe in RECIPES if recipe.startswith(f"{name}/")]
    tags += [weight.split(".")[1] for weight in WEIGHTS if weight.startswith(f"{name}.")]
    names = [figure.name for figure in system.part("figures").FIGURES]
    assert len(set(names)) == len(names)
    for figure in system.part("figures").FIGURES:
        assert figure.says.endswith(".") and figure.source
        for pattern in (*figure.recipes, *figure.sweeps):
            assert any(fnmatch(tag, pattern) for tag in tags), f"{figure.name}: no recipe and no weight {pattern}"
        assert sum(map(bool, (figure.weights, figure.recipes, figure.sweeps))) <= 1


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_shipped_sweep_is_of_a_recipe_and_has_a_figure(name: str) -> None:
    system = registry.system(name)
    for path in (system.folder / "sweeps").glob("*.parquet"):
        table = Sweep.read(path)
        assert f"{table.system}/{table.recipe}" in RECIPES and table.system == name and path.stem == table.recipe
        assert (
            shlex.split(table.command)[:3] == ["zoo", "sweep", f"{name}/{table.recipe}"] and "--grid=" in table.command
        )
        assert any(fnmatch(table.recipe, p) for figure in system.part("figures").FIGURES for p in figure.sweeps)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_reads_and_opens_with_its_command(name: str) -> None:
    path = recipes.find(name)
    recipe = recipes.read(path)
    assert f"{recipe.system}/{path.stem}" == name
    head = "".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith("#"))
    assert f"zoo train {name}" in head and "TODO" not in head
    assert len(path.read_text().splitlines()) < 45, "a recipe is at most one screen"
    recipe.objects()


def test_listing_imports_no_torch() -> None:
    code = "import sys, zoo; from zoo.cli import main; main(['list']); print('torch' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "False"


def test_loading_imports_no_lightning(root: Path) -> None:
    code = (
        f"import sys, zoo; zoo.load({WEIGHTS[0]!r}); print({{'lightning', 'wandb', 'matplotlib'}} & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root).stdout
    assert output.splitlines()[-1] == "set()"


def test_names_are_found_by_pattern() -> None:
    assert zoo.list_models("single_*") == ["single_location"]
    assert all(name.startswith("single_location.") for name in zoo.list_weights("single_*"))


def test_building_refuses_what_a_network_does_not_take() -> None:
    with pytest.raises(zoo.ZooError, match="SingleLocation cannot be built"):
        zoo.build("single_location", depth=3)
    with pytest.raises(zoo.ZooError, match="did you mean 'single_location'"):
        zoo.build("single_locatio")
