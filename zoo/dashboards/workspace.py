"""The one place that knows wandb-workspaces: a dashboard becomes a W&B workspace, or a report with claims and figures.

Every id and name is made from the dashboard's own, so the same dashboard gives the same specification, and saving it again
updates the workspace (or report) of before in place, with what was changed there by hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zoo import registry
from zoo.claims import Cards
from zoo.dashboards.runs import account, named
from zoo.dashboards.spec import STEP, Bars, Dashboard, Lines, Panel, Picture, Runset, Section, Verdicts, panel_id
from zoo.hub.card import shown, text
from zoo.registry import ZooError

WIDTH, HEIGHT = 24, 8  # of a report's grid, and of a panel in it
# The library's own look-up reads the view's specification too, and refuses one that the web page has saved since.
EARLIER = """
query EarlierView($entity: String!, $project: String!, $view: String!) {
    project(name: $project, entityName: $entity) {
        allViews(viewType: "project-view", viewName: $view) { edges { node { id } } }
    }
}
"""


def libraries() -> tuple[Any, Any]:
    """wandb_workspaces' modules of workspaces and reports.

    Raises:
        ZooError: it is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ImportError:
        raise ZooError(
            "zoo dashboard needs wandb-workspaces: pip install -e '.[dashboards]' (--json does not)."
        ) from None
    return workspaces, reports


def stable(name: str, length: int = 11) -> str:
    """An id for W&B of a name of ours: letters and digits, the same every time."""
    number = int(hashlib.sha256(name.encode()).hexdigest(), 16)
    letters = "0123456789abcdefghijklmnopqrstuvwxyz"
    return "".join(letters[number // 36**i % 36] for i in range(length))


# Our words in W&B's.


def panel(dashboard: Dashboard, section: Section, one: Panel) -> Any:
    """A panel with its stable id; figures and tables are wide in a report."""
    _, wr = libraries()
    made: Any
    match one:
        case Lines():
            x_title = "optimiser step" if one.x == STEP else one.x
            scales = {"log_x": one.log_x or None, "log_y": one.log_y or None}
            made = wr.LinePlot(title=one.title, x=one.x, y=list(one.curves()), title_x=x_title, **scales)
        case Bars():
            made = wr.BarPlot(title=one.title, metrics=[*one.metrics, *one.rest])
        case Picture():
            made = wr.MediaBrowser(title=one.title, media_keys=list(one.shows()), num_columns=1)
        case Verdicts():
            made = wr.WeavePanelSummaryTable(table_name="claims")
        case _:
            raise TypeError(f"{type(one).__name__} has no counterpart at W&B")
    made._id = stable(panel_id(dashboard, section, one))
    return made


def runs_of(one: Runset) -> Any:
    """The runset as W&B's filter."""
    ws, _ = libraries()
    tags = [ws.Tags().isin(list(one.tags))] if one.tags else []
    return ws.And(ws.Config("system") == one.system, *tags)


def workspace(dashboard: Dashboard, entity: str, project: str) -> Any:
    """The workspace, not saved."""
    ws, _ = libraries()
    sections = [
        ws.Section(
            name=one.title,
            panels=[panel(dashboard, one, each) for each in one.panels],
            is_open=True,
            panel_settings=ws.SectionPanelSettings(x_axis=STEP),
        )
        for one in dashboard.sections
    ]
    made = ws.Workspace(
        entity=entity,
        project=project,
        name=dashboard.title,
        sections=sections,
        settings=ws.WorkspaceSettings(x_axis=STEP),
        runset_settings=ws.RunsetSettings(filters=runs_of(dashboard.runsets[0])),
    )
    made._internal_name = f"nw-{stable(dashboard.system)}-v"
    made._internal_runset_id = stable(f"{dashboard.system}/runs", 9)
    return made


def report(dashboard: Dashboard, entity: str, project: str) -> Any:
    """The report, not saved: what the system is, its claims with the recorded verdicts, and every panel."""
    _, wr = libraries()
    paper = registry.system(dashboard.system).paper
    link = wr.Link(
        text=f"{paper.authors}: {paper.title}, {paper.venue} {paper.year}", url=f"https://arxiv.org/abs/{paper.arxiv}"
    )
    blocks: list[Any] = [wr.P(registry.system(dashboard.system).summary), wr.P([link])]
    blocks += [wr.H2("Claims of the paper"), wr.MarkdownBlock(claims_table(dashboard.system))]
    for section in dashboard.sections:
        runsets = [runset(dashboard, section, one, entity, project) for one in dashboard.runsets]
        panels = [panel(dashboard, section, one) for one in section.panels]
        lay_out(section, panels)
        blocks += [wr.H2(section.title), wr.PanelGrid(runsets=runsets, panels=panels)]
    title = f"{dashboard.title}: claims and runs"
    return wr.Report(entity=entity, project=project, title=title, description=paper.title, blocks=blocks, width="fluid")


def runset(dashboard: Dashboard, section: Section, one: Runset, entity: str, project: str) -> Any:
    """A runset of a report's section, with its stable id."""
    _, wr = libraries()
    made = wr.Runset(entity=entity, project=project, name=one.name, filters=runs_of(one))
    made._id = stable(f"{dashboard.system}/{section.title}/{one.name}", 9)
    return made


def lay_out(section: Section, panels: list[Any]) -> None:
    """Places the panels of a report's section: two in a row, figures and tables over the whole width."""
    _, wr = libraries()
    for i, (one, made) in enumerate(zip(section.panels, panels, strict=True)):
        if isinstance(one, (Picture, Verdicts)):
            made.layout = wr.Layout(x=0, y=i * HEIGHT, w=WIDTH, h=HEIGHT)
        else:
            made.layout = wr.Layout(x=i % 2 * WIDTH // 2, y=i // 2 * HEIGHT, w=WIDTH // 2, h=HEIGHT)


def claims_table(system: str) -> str:
    """The claims of a system with the recorded verdicts, as Markdown."""
    cards = Cards(registry.system(system))
    lines = ["claim | it says | source | expected | measured | verdict", "--- | --- | --- | --- | --- | ---"]
    for claim in registry.system(system).part("claims").CLAIMS:
        card = cards.find(claim)
        expected = f"{shown(claim.expected.expected)} {claim.expected.tolerance}".strip()
        now, verdict = (shown(card["now"]), card["verdict"]) if card else ("–", "not measured yet")
        cells = [claim.id, claim.says, claim.source, expected, "–" if now == "None" else now, verdict]
        lines.append(" | ".join(text(cell) for cell in cells))
    return "\n".join(f"| {line} |" for line in lines)


# Saving.


def save_workspace(dashboard: Dashboard, entity: str | None, project: str | None) -> str:
    """Saves the workspace, in the place of an earlier one of the same system, and returns its address.

    Raises:
        ZooError: no account, or W&B refuses or is not reached.
    """
    from wandb_workspaces._graphql import execute_graphql

    with connected(entity, project) as (api, owner, name):
        made = workspace(dashboard, owner, name)
        asked = {"entity": owner, "project": name, "view": made._internal_name}
        found = execute_graphql(api, EARLIER, asked)["project"]["allViews"]["edges"]
        made._internal_id = found[0]["node"]["id"] if found else ""
        return str(made.save().url)


def save_report(dashboard: Dashboard, entity: str | None, project: str | None) -> str:
    """Saves the report, in the place of an earlier one with its title, and returns its address.

    Raises:
        ZooError: no account, or W&B refuses or is not reached.
    """
    with connected(entity, project) as (api, owner, name):
        made = report(dashboard, owner, name)
        earlier = [one.id for one in api.reports(f"{owner}/{name}") if one.display_name == made.title]
        made.id = earlier[0] if earlier else ""
        return str(made.save().url)


@contextmanager
def connected(entity: str | None, project: str | None) -> Iterator[tuple[Any, str, str]]:
    """W&B's API, the entity and the project; what fails inside is told in one sentence."""
    libraries()
    import wandb
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    if not account():
        raise ZooError("zoo dashboard needs a W&B account: `wandb login` first, or --json to see the specification.")
    owner, name = named(entity, project)
    try:
        api = wandb.Api()
        owner = owner or str(api.default_entity)
        if name not in [one.name for one in api.projects(owner)]:
            api.create_project(name, owner)
        yield api, owner, name
    except (wandb.Error, WandbApiFailedError, OSError, ValueError) as error:
        raise ZooError(f"W&B did not take the dashboard ({' '.join(str(error).split())}).") from None
