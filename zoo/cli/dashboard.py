"""`zoo dashboard` and `zoo sync`: W&B shows what the spec of a system says, and what the run directories hold."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from zoo import registry
from zoo.cli.console import show_json


def dashboard(options: argparse.Namespace) -> int:
    """Saves the workspace or the report of a system, or prints the spec."""
    from zoo.dashboards.spec import as_json

    one = registry.system(options.system).part("dashboard").DASHBOARD
    if options.json:
        show_json(as_json(one))
        return 0
    from zoo.dashboards import workspace

    save = workspace.save_report if options.report else workspace.save_workspace
    print(save(one, options.entity, options.project))
    return 0


def sync(options: argparse.Namespace) -> int:
    """Rebuilds the W&B runs of run directories."""
    from zoo.cli import recipe as recipes
    from zoo.dashboards import runs

    mode = "offline" if options.offline or os.environ.get("WANDB_MODE") in ("offline", "dryrun") else "online"
    view = runs.Destination(mode, options.entity, options.project, options.log_weights)
    found = [(Path(path), recipes.of_run(Path(path)).system) for path in options.runs]
    for path, system in found:
        print(runs.sync(path, system, view), flush=True)
    return 0
