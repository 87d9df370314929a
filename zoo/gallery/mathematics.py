"""LaTeX between $ … $ and $$ … $$ in a Markdown file, set as SVG in the colour of the text around it.

A formula is first replaced by a word that Markdown leaves alone, and that word by its SVG when the page is HTML: so no mark
of Markdown inside a formula means anything, and the search finds what was typed. The glyphs are drawn (STIX Two), so that a
page looks the same wherever it is opened; a browser's own MathML depends on the fonts that it finds.
"""

from __future__ import annotations

import functools
import html
import re
import warnings
from pathlib import Path

from zoo.registry import ZooError

SIZE = (
    18.0  # of the type in which a formula is set; its SVG is measured in em, and so has the size of the text around it
)
SOURCE = re.compile(
    r"^(?P<fence>```+|~~~+).*?^(?P=fence)[^\n]*$"
    r"|(?P<tick>`+).+?(?<!`)(?P=tick)(?!`)"
    r"|(?P<escaped>\\\$)"
    r"|\$\$(?P<display>.+?)\$\$"
    r"|\$(?P<inline>[^$\n]+(?:\n[^$\n]+)*?)\$"
    r"|(?P<alone>\$)",
    re.DOTALL | re.MULTILINE,
)
WORD = re.compile(r"zooformula(\d+)end")


class Formulas:
    """The formulas of a site, each with the word that stands for it."""

    def __init__(self) -> None:
        self._set: list[tuple[str, str]] = []  # what was typed, SVG

    def taken(self, source: str, path: Path) -> str:
        """Markdown with words in the place of formulas; `path` is named where one cannot be set.

        Raises:
            ZooError: a formula is no LaTeX, or a $ has no partner; the sentence has file and line.
        """

        def replace(match: re.Match[str]) -> str:
            line = source.count("\n", 0, match.start()) + 1
            if match["escaped"]:
                return "&#36;"
            if match["alone"]:
                raise ZooError(f"{path}, line {line}: a $ has no partner; write \\$ for a dollar.")
            tex = match["display"] or match["inline"]
            if tex is None:
                return match[0]
            display = match["display"] is not None
            try:
                drawn = svg(" ".join(tex.split()), display)
            except ValueError as error:
                raise ZooError(f"{path}, line {line}: {' '.join(tex.split())!r} cannot be set: {error}.") from None
            self._set.append((" ".join(tex.split()), drawn))
            kind = "zoo-display" if display else "zoo-inline"
            return f'<span class="zoo-formula {kind}">zooformula{len(self._set) - 1}end</span>'

        return SOURCE.sub(replace, source)

    def put(self, page: str) -> str:
        """HTML with the formulas in their places."""
        return WORD.sub(lambda match: self._set[int(match[1])][1], page)

    def typed(self, index: str) -> str:
        """The search index, a JSON text, with what was typed."""
        return WORD.sub(lambda match: _json(self._set[int(match[1])][0]), index)


@functools.cache
def svg(tex: str, display: bool) -> str:
    """One formula as an SVG element with currentColor, its size and depth in em, and the LaTeX as its label.

    Raises:
        ValueError: it is no LaTeX that can be set.
    """
    import latex2mathml.converter

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # it finds its font by a call that Python 3.11 has deprecated
        import ziamath
    try:
        mathml = latex2mathml.converter.convert(tex)
    except Exception as error:  # a class of its own for each mistake, most without a word
        says = re.sub(r"(?<!^)(?=[A-Z])", " ", type(error).__name__.removesuffix("Error")).lower()
        raise ValueError(f"it is no LaTeX ({' '.join([says, *str(error).split()])})") from None
    if unknown := re.search(r"\\[A-Za-z]+", mathml):
        raise ValueError(f"{unknown[0]} is not known")
    ziamath.config.svg2 = False  # outlines in place: names of shared glyphs would clash between formulas
    one = ziamath.Latex(tex, size=SIZE, color="currentColor", inline=not display)
    drawn = one.svg()
    depth = one.getyofst() / SIZE
    for name in ("width", "height"):
        drawn = re.sub(
            rf'(<svg[^>]*\b{name}=)"([\d.]+)"', lambda m: f'{m[1]}"{float(m[2]) / SIZE:.3f}em"', drawn, count=1
        )
    label = html.escape(tex, quote=True)
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{label}" style="vertical-align:{depth:.3f}em" ', 1)


def _json(tex: str) -> str:
    """Text inside a JSON string that holds HTML."""
    return html.escape(tex, quote=False).replace("\\", "\\\\").replace('"', '\\"')
