"""What a page needs to show an interactive plot: sliders, and numbers made from theory and shipped weights.

The plot itself is a script in assets/interactive/, plain JavaScript that runs from a folder without a server. On a page
stand `fragment` and then, as classic deferred scripts in this order, the files `scripts`. The script finds its place by
the system's name, reads the numbers beside it, draws, and leaves its computations in `window.zoo.<system>`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).parent / "assets" / "interactive"
SHARED = "plot.js"


@dataclass(frozen=True)
class Parameter:
    """A slider over `values`, or buttons where the values are words.

    Attributes:
        name: key of the parameter in the script.
        symbol: as in the formulas of the system, such as "λ".
        says: a few words beside it.
        values: in the order of the slider.
        start: the value at first, one of `values`.
    """

    name: str
    symbol: str
    says: str
    values: tuple[float, ...] | tuple[str, ...]
    start: float | str

    def __post_init__(self) -> None:
        if self.start not in self.values:
            raise ValueError(f"{self.name}: start={self.start!r} is none of the values")


@dataclass(frozen=True)
class Interactive:
    """A plot that follows its sliders, computed in the browser.

    Attributes:
        title: a few words.
        says: what to try and what to see, two or three sentences of plain text.
        parameters: the sliders, from the top.
        script: file in assets/interactive/.
        data: makes the rest of what the script needs, plain JSON, from theory and shipped weights.
    """

    title: str
    says: str
    parameters: tuple[Parameter, ...]
    script: str
    data: Callable[[], dict[str, Any]]

    @property
    def scripts(self) -> tuple[Path, ...]:
        """The files that a page loads, in this order."""
        return ASSETS / SHARED, ASSETS / self.script

    def payload(self) -> dict[str, Any]:
        """What the script reads: {"parameters": [...], "data": {...}}."""
        return {"parameters": [asdict(one) for one in self.parameters], "data": self.data()}

    def fragment(self, system: str) -> str:
        """The place of the plot and its numbers, HTML; one to a page."""
        numbers = json.dumps(self.payload(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        safe = numbers.replace("<", "\\u003c")  # so that no string can end the element
        return (
            f'<div class="zoo-interactive" data-system="{system}"></div>\n'
            f'<script type="application/json" id="zoo-interactive-data">{safe}</script>'
        )
