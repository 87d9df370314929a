"""The README's code blocks run as they stand, and its table is today's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from zoo import registry
from zoo.cli.browse import markdown, overview

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.S)
PYTHON = [code for language, code in BLOCKS if language == "python"]
SHELL = [line.split("  #")[0].strip() for language, code in BLOCKS if language == "bash" for line in code.splitlines()]


def run(command: list[str] | str, root: Path) -> None:
    """Runs a command with this Python's `zoo` first on the path."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    result = subprocess.run(
        command, shell=isinstance(command, str), cwd=root, env=environment, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("code", PYTHON)
def test_python_blocks_run(code: str, root: Path) -> None:
    run([sys.executable, "-c", code], root)


def test_shell_blocks_are_the_known_ones() -> None:
    """Installing is what .ci/run does, with the second command letter for letter; the other lines run below."""
    assert sum(line.startswith("pip install") for line in SHELL) == 2
    gate = (Path(__file__).parent.parent / ".ci" / "run").read_text().splitlines()
    assert f"{SHELL[1]} || exit 1" in gate


@pytest.mark.parametrize(
    "line", [part for line in SHELL for part in line.split(" && ") if part.startswith(("zoo ", "echo "))]
)
def test_zoo_commands_run(line: str, root: Path, tmp_path: Path) -> None:
    if line.startswith(("zoo train", "zoo sweep")):
        # Beside the code a second test would find the points of the sweep done.
        line += f" --runs={tmp_path} --wandb=off"
    run(line, root)


def test_the_table_is_generated() -> None:
    table = README.split("<!-- zoo list --markdown -->\n")[1].split("<!-- end -->")[0]
    assert table.strip() == markdown(overview())


def test_every_paper_is_cited() -> None:
    cited = yaml.safe_load((Path(__file__).parent.parent / "CITATION.cff").read_text())["references"]
    found = {one["title"]: (one["year"], one["identifiers"][0]["value"]) for one in cited}
    papers = [system.paper for system in registry.systems().values()]
    assert found == {paper.title: (paper.year, f"arXiv:{paper.arxiv}") for paper in papers}
