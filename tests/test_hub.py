"""torch.hub, as a user calls it, without a network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import zoo


def test_local_load_equals_the_zoo(root: Path) -> None:
    network = torch.hub.load(str(root), "single_location", source="local", weights="manifold")
    state = zoo.load("single_location.manifold").state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


def test_untrained_networks_take_arguments(root: Path) -> None:
    assert torch.hub.load(str(root), "single_location", source="local", d=7, lam=0.2).k.shape == (7,)
    with pytest.raises(zoo.ZooError, match="leave out d"):
        torch.hub.load(str(root), "single_location", source="local", weights="manifold", d=7)


def in_hub_folder(root: Path, folder: Path, code: str) -> list[str]:
    """Runs code in a process whose hub folder holds a checkout of this repository, and returns what it prints."""
    checkout = folder / "hub" / "someone_theorem-zoo_main"
    if not checkout.exists():
        ignored = shutil.ignore_patterns("runs", ".*", "tests", "__pycache__")
        shutil.copytree(root, checkout, ignore=ignored)
    start = "import torch; torch.hub.set_dir('hub'); here = {'repo_or_dir': 'someone/theorem-zoo:main'}\n"
    start += "there, offline = {'github': 'someone/theorem-zoo:main'}, {'skip_validation': True, 'trust_repo': True}\n"
    command = [sys.executable, "-c", start + code]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={"PATH": ""})
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_list_equals_the_registry_in_the_hub_folder(root: Path, tmp_path: Path) -> None:
    said = in_hub_folder(root, tmp_path, "print(torch.hub.list(**there, **offline))")
    assert said == [str(zoo.list_models())]


@pytest.mark.parametrize("name", zoo.list_models())
def test_help_shows_arguments_shapes_weights_claims_and_licence(name: str, root: Path, tmp_path: Path) -> None:
    text = "\n".join(in_hub_folder(root, tmp_path, f"print(torch.hub.help(**there, model={name!r}, **offline))"))
    for word in ("weights:", "replica:", "(b,", "Claims:", "Licence:", "arXiv"):
        assert word in text
    assert all(weight.split(".")[1] in text for weight in zoo.list_weights(f"{name}.*"))


def test_load_from_the_hub_folder(root: Path, tmp_path: Path) -> None:
    code = "network = torch.hub.load(**here, model='single_location', weights='manifold', **offline)\n"
    code += "import zoo; print(type(network).__name__, 'hub' in zoo.__file__)"
    assert in_hub_folder(root, tmp_path, code) == ["SingleLocation True"]


def test_a_foreign_zoo_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "__init__.py").write_text("")
    code = f"import zoo, torch; torch.hub.load({str(root)!r}, 'single_location', source='local', weights='manifold')"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1 and "another `zoo` is already imported" in result.stderr
