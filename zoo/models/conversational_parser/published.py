"""Scores that papers report on CSQA's test set, per question type, and CSQA's own counts of the test questions.

The columns `CHECKED` were recalled, and their mean with the counts below then equals the total that was read elsewhere to the
last digit: this confirms the sum, not each single cell. All are in percent, F1 for sets of entities and accuracy for the last
three; they are about the full data set, which is not the zoo's.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

CLARIFICATION = "clarification"
NINE_TYPES = (
    *("direct", "coref", "ellipsis", "logical", "quantitative", "comparative"),
    *("verification", "quantitative count", "comparative count"),
)
# Rows of the table of the data set's site, summed; the comparative rows called incomplete are contained in the direct ones.
OFFICIAL_COUNTS: Mapping[str, int] = MappingProxyType(
    {
        "direct": 81_994,
        "coref": 54_854,
        "ellipsis": 10_045,
        "logical": 14_418 + 5_708 + 661 + 1_679,
        "quantitative": 3_910 + 2_306 + 342 + 2_695,
        "comparative": 7_655 + 1_184 + 5_520 + 925,
        "comparative count": 7_711 + 1_177 + 5_224 + 922,
        "verification": 10_150 + 16_578,
        "quantitative count": 3_850 + 2_288 + 3_753 + 2_035 + 4_329 + 4_477 + 2_547,
        CLARIFICATION: 12_121,
    }
)
ROWS = (
    *("direct", "coref", "ellipsis", "logical", "quantitative", "comparative", CLARIFICATION),
    *("verification", "quantitative count", "comparative count"),
)


def _column(*scores: float) -> Mapping[str, float]:
    return MappingProxyType(dict(zip(ROWS, scores, strict=True)))


D2A, S2A, MASP, OAT = "Dialog-to-Action", "S2A + MAML", "MaSP", "structured context (OAT)"
CHECKED: Mapping[str, Mapping[str, float]] = {
    D2A: _column(91.41, 69.83, 81.98, 43.62, 50.25, 44.20, 18.31, 45.05, 40.94, 17.78),
    S2A: _column(92.66, 71.18, 82.21, 44.34, 50.30, 48.13, 19.12, 50.16, 46.43, 18.91),
    MASP: _column(85.18, 76.47, 83.73, 69.04, 73.75, 68.90, 80.79, 60.63, 43.39, 22.26),
    OAT: _column(82.69, 79.23, 84.44, 81.57, 74.83, 70.76, float("nan"), 66.39, 71.79, 36.00),
}
TOTALS: Mapping[str, float] = {D2A: 64.47, S2A: 66.54, MASP: 70.56, OAT: 75.57}
# LASAGNE's own count of the quantitative counts gives its total, so that it is checked too, with that weight.
LASAGNE_COUNTS: Mapping[str, int] = MappingProxyType({**OFFICIAL_COUNTS, "quantitative count": 24_314})
LASAGNE_SCORES = _column(87.95, 79.06, 80.09, 89.83, 86.67, 69.77, 69.46, 78.86, 55.18, 53.34)
LASAGNE_TOTAL = 78.82
COVERAGE_D2A: Mapping[str, float] = MappingProxyType(  # README of Dialog-to-Action's code
    {
        "direct": 96.3,
        "coref": 91.4,
        "ellipsis": 95.1,
        "logical": 48.3,
        "quantitative": 42.4,
        "comparative": 25.5,
        "comparative count": 33.2,
        "quantitative count": 68.1,
        "verification": 78.3,
        CLARIFICATION: 0.9,
    }
)


def weighted_mean(scores: Mapping[str, float], counts: Mapping[str, int] = OFFICIAL_COUNTS) -> float:
    """Mean over the nine types without clarification."""
    return sum(counts[key] * scores[key] for key in NINE_TYPES) / sum(counts[key] for key in NINE_TYPES)
