"""The mathematics page of every system: formulas that every renderer takes, and claims that exist."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from latex2mathml.converter import convert

from zoo.registry import systems

MATHS = re.compile(r"\$\$(?P<block>.+?)\$\$|(?<![\\$])\$(?P<line>[^$]+?)\$", re.DOTALL)
COMMAND = re.compile(r"\\(?:[A-Za-z]+|.)")
KNOWN = frozenset(
    COMMAND.findall(
        r"""\alpha \beta \gamma \delta \varepsilon \epsilon \zeta \eta \theta \kappa \lambda \mu \nu \xi \pi \rho \sigma \tau \varphi
    \phi \chi \psi \ell \Gamma \Theta \Lambda \Phi \mathbb \mathcal \mathbf \mathrm \operatorname \text \frac \binom \sqrt \sum
    \int \max \min \sup \log \ln \exp \cos \sin \tan \tanh \arcsin \left \right \langle \rangle \lVert \rVert \begin \end
    \cdot \cdots \dots \times \partial \nabla \infty \top \star \in \subset \subseteq \cup \cap \setminus \to \mapsto
    \leftarrow \le \ge \ne \neq \ll \gg \approx \pm \sim \propto \mid \dot \bar \quad \qquad \, \; \{ \} \_ \\"""
    )
)
PAGES = {name: system.folder / "mathematics.md" for name, system in systems().items()}


def formulas(text: str) -> list[str]:
    return [found["block"] or found["line"] for found in MATHS.finditer(text)]


@pytest.mark.parametrize("name", PAGES)
def test_every_formula_becomes_mathml(name):
    found = formulas(PAGES[name].read_text(encoding="utf-8"))
    assert found
    for formula in found:
        unknown = set(COMMAND.findall(formula)) - KNOWN
        assert not unknown, f"{formula}: a renderer may not know {unknown}"
        said = "".join(ET.fromstring(convert(formula)).itertext())
        assert "\\" not in said.replace("\\setminus", ""), formula  # what the converter does not know it prints


@pytest.mark.parametrize("name", PAGES)
def test_no_formula_is_drawn_out_of_proportion(name):
    """A bracket that grows without end, as that of some nested norms does, is a matter of how a formula is typed."""
    ziamath = pytest.importorskip("ziamath")
    for formula in formulas(PAGES[name].read_text(encoding="utf-8")):
        lines = 1 + formula.count(r"\\")
        assert ziamath.Latex(" ".join(formula.split()), size=20).getsize()[1] < 20 * 5 * lines, formula


@pytest.mark.parametrize("name", PAGES)
def test_dollars_pair_up_and_headings_fit_a_page(name):
    text = PAGES[name].read_text(encoding="utf-8")
    assert "$" not in MATHS.sub("", text)
    levels = [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]
    assert levels[0] == 2 and set(levels) <= {2, 3}
    for line in text.splitlines():  # an element that begins with a sign of Markdown would end the formula
        assert line == "$$" or not line.startswith("$$")


@pytest.mark.parametrize("name", PAGES)
def test_the_claims_that_a_page_names_exist(name):
    named = set(re.findall(r"`([A-Z]\d+\w*)`", PAGES[name].read_text(encoding="utf-8")))
    known = {claim.id for claim in systems()[name].part("claims").CLAIMS}
    assert named and not named - known
