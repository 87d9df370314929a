"""What a dashboard of a system shows, as plain data that knows nothing of W&B: sections of panels, and which runs.

Every panel says which recipes it is about; a run of each of them logs every key of the panel. Claims and figures are the
same for all systems and are added here, so that a system's `dashboard.py` holds its own measurements alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from typing import Any, ClassVar

from zoo import registry

STEP = "optimiser_step"  # the x-axis of every measurement of a run
BAND = ("q10", "q90")  # what is logged beside the mean of several replicas, as "loss/q10"


@dataclass(frozen=True)
class Panel:
    """A panel about the recipes whose name matches one of the shell patterns `recipes`."""

    kind: ClassVar[str]
    title: str
    recipes: tuple[str, ...] = field(default=("*",), kw_only=True)

    def shows(self) -> tuple[str, ...]:
        """What every run that the panel is about has logged; the bands of replicas are left out."""
        raise NotImplementedError

    def about(self, recipe: str) -> bool:
        return any(fnmatch(recipe, pattern) for pattern in self.recipes)


@dataclass(frozen=True)
class Lines(Panel):
    """Metrics against the optimiser step, or against another metric `x`.

    Attributes:
        theory: metrics that the theory predicts, in the same axes.
        band: draw the 10 % and 90 % quantiles of the replicas beside their mean.
    """

    kind = "lines"
    metrics: tuple[str, ...]
    theory: tuple[str, ...] = ()
    band: bool = False
    log_x: bool = False
    log_y: bool = False
    x: str = STEP

    def shows(self) -> tuple[str, ...]:
        return (*(() if self.x == STEP else (self.x,)), *self.metrics, *self.theory)

    def curves(self) -> tuple[str, ...]:
        """What is drawn, from the first to the last line."""
        bands = [f"{name}/{edge}" for name in self.metrics for edge in BAND] if self.band else []
        return (*self.metrics, *bands, *self.theory)


@dataclass(frozen=True)
class Bars(Panel):
    """The last value of several metrics side by side; those of `rest` where a run has them."""

    kind = "bars"
    metrics: tuple[str, ...]
    rest: tuple[str, ...] = ()

    def shows(self) -> tuple[str, ...]:
        return self.metrics


@dataclass(frozen=True)
class Picture(Panel):
    """A figure that `zoo train` draws after the run."""

    kind = "picture"
    figure: str

    def shows(self) -> tuple[str, ...]:
        return (f"figures/{self.figure}",)


@dataclass(frozen=True)
class Verdicts(Panel):
    """The table of the claims that a run decides, with their verdicts."""

    kind = "verdicts"

    def shows(self) -> tuple[str, ...]:
        return ("claims",)


@dataclass(frozen=True)
class Section:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Runset:
    """Runs of a system; with `tags`, those that have one of these (names of recipes are tags of their runs)."""

    name: str
    system: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dashboard:
    """What to see of the runs of a system.

    Attributes:
        measured: its own sections; those with the figures and the claims come after them.
        runsets: for a report, the kinds of runs that are compared with each other; all runs if there are none.
        left_out: shell pattern of metrics that are on no panel -> why.
    """

    system: str
    measured: tuple[Section, ...]
    compared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return registry.system(self.system).title

    @property
    def runsets(self) -> tuple[Runset, ...]:
        everything = Runset("all runs", self.system)
        return (everything, *(Runset(name, self.system, tags) for name, tags in self.compared.items()))

    @property
    def sections(self) -> tuple[Section, ...]:
        drawn = [one for one in registry.system(self.system).part("figures").FIGURES if one.recipes]
        pictures = tuple(Picture(one.name.replace("_", " "), one.name, recipes=one.recipes) for one in drawn)
        figures = (Section("Figures", pictures),) if pictures else ()
        return (*self.measured, *figures, Section("Claims", (Verdicts("Claims and verdicts"),)))

    def panels(self) -> Iterator[tuple[str, Panel]]:
        """Every panel with its id, which only a new title changes."""
        for section in self.sections:
            for panel in section.panels:
                yield panel_id(self, section, panel), panel

    def leaves_out(self, metric: str) -> bool:
        return any(fnmatch(metric, pattern) for pattern in self.left_out)


def panel_id(dashboard: Dashboard, section: Section, panel: Panel) -> str:
    """ "single_location/risk/excess-risk"."""
    return "/".join(
        [dashboard.system, *(re.sub(r"\W+", "-", t).strip("-").lower() for t in (section.title, panel.title))]
    )


def as_json(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as JSON values, with every id."""

    def panel_entry(section: Section, panel: Panel) -> dict[str, Any]:
        return {"id": panel_id(dashboard, section, panel), "kind": panel.kind} | asdict(panel)

    return {
        "system": dashboard.system,
        "title": dashboard.title,
        "x": STEP,
        "runsets": [asdict(one) for one in dashboard.runsets],
        "sections": [
            {"title": one.title, "panels": [panel_entry(one, panel) for panel in one.panels]}
            for one in dashboard.sections
        ],
        "left_out": dict(dashboard.left_out),
    }


def learning(*, band: bool, validation: bool = True, recipes: tuple[str, ...] = ("*",)) -> Section:
    """Loss and accuracy of a network that is trained on examples, with those on held-out ones."""

    def curves(name: str) -> tuple[str, ...]:
        return (name, f"val_{name}") if validation else (name,)

    loss = Lines("Loss", curves("loss"), band=band, log_y=True, recipes=recipes)
    return Section("Learning", (loss, Lines("Accuracy", curves("accuracy"), band=band, recipes=recipes)))
