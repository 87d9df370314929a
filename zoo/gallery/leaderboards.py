"""Leaderboards: systems that share a task, ours from records and histories, published numbers where the code has them with a source."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from zoo import registry
from zoo.history import NotMeasured, history_of
from zoo.weights import Record, load, read_record


@dataclass(frozen=True)
class Row:
    """One entry.

    Attributes:
        name: a weight "system.tag", or what a paper calls its model.
        what: network and data in a few words, plain text.
        values: one per metric of the board; NaN where there is none.
        kind: "ours", "reference" (measured here, no network of a paper) or "published".
    """

    name: str
    what: str
    values: tuple[float, ...]
    kind: str


@dataclass(frozen=True)
class Leaderboard:
    """A task and who does how well on it.

    Attributes:
        task: a few words.
        says: what is measured, on what, and what cannot be compared; plain sentences.
        metrics: column heads; the first one orders the rows.
        better: "lower" or "higher".
    """

    task: str
    says: str
    metrics: tuple[str, ...]
    better: str
    rows: tuple[Row, ...]


def leaderboards() -> tuple[Leaderboard, ...]:
    """Every leaderboard, from the registry."""
    return language(), parsers(), images()


def records() -> list[Record]:
    return [read_record(path) for path in registry.weight_files().values()]


def ordered(rows: list[Row], better: str) -> tuple[Row, ...]:
    """By the first value, those without one last."""
    sign = 1 if better == "lower" else -1
    return tuple(sorted(rows, key=lambda row: math.inf if math.isnan(row.values[0]) else sign * row.values[0]))


# Language models.

COUNTED = {"kneser_ney_perplexity": "interpolated Kneser-Ney trigram", "bigram_perplexity": "bigram"}


def language() -> Leaderboard:
    """Perplexity on the validation set of WikiText-2, and of n-grams counted on the same tokens."""
    rows = []
    for record in records():
        if record.data.get("name") != "wikitext-2" or "val_perplexity" not in record.metrics:
            continue
        words = f"{record.data['vocabulary']:,} words"
        rows.append(Row(record.name, f"{record.network}, {words}", (record.metrics["val_perplexity"],), "ours"))
        for metric, name in COUNTED.items():
            if metric in record.metrics:
                what = f"counted on the same tokens as {record.name}, {words}"
                rows.append(Row(name, what, (record.metrics[metric],), "reference"))
    return Leaderboard(
        "Language models on WikiText-2",
        "Perplexity on the validation set after training on the training set. Rarer words are one unknown word, so two rows "
        "compare only where their vocabularies have one size. The zoo holds no published perplexity with a source, "
        "so none stands beside ours; n-grams counted on the same tokens do.",
        ("validation perplexity",),
        "lower",
        ordered(rows, "lower"),
    )


# Parsers.

SPLITS = {  # of a record's metrics
    "B": "a graph never seen in training",
    "valid": "all validation questions of the public sample, whose graph is a fragment",
    "valid_answerable": "those that the fragment can answer",
}


def parsers() -> Leaderboard:
    """Score per question type of conversational parsers: ours on generated dialogues and CSQA's sample, published ones on CSQA."""
    from zoo.models.conversational_parser import published

    metrics = ("overall", *published.ROWS)
    rows = []
    for record in records():
        for split, where in SPLITS.items():
            if f"{split}_overall_official" in record.metrics:
                names = (f"{split}_{name.replace(' ', '_')}" for name in ("overall_official", *metrics[1:]))
                values = tuple(record.metrics.get(name, math.nan) for name in names)
                rows.append(Row(record.name, f"{record.network}, {record.data['name']}, {where}", values, "ours"))
    columns: Mapping[str, Mapping[str, float]] = {**published.CHECKED, "LASAGNE": published.LASAGNE_SCORES}
    totals = {**published.TOTALS, "LASAGNE": published.LASAGNE_TOTAL}
    for name, column in columns.items():
        values = (totals[name], *(column[key] for key in metrics[1:]))
        rows.append(Row(name, "test set of the full CSQA", values, "published"))
    return Leaderboard(
        "Parsers on questions in the style of CSQA",
        "Percent: F1 for sets of entities, accuracy for verification and the two kinds of counts; overall is the mean over nine "
        "types, without clarification, by CSQA's counts of test questions. Ours answer generated dialogues over a generated graph, or "
        "real ones of CSQA's public sample, most of whose facts are not public; the published rows are scores on the test set of the "
        "full CSQA, which is other data and much larger: the rows of the two kinds do not compare. Single published cells were recalled, and are checked by their weighted mean alone, which is the "
        "published total (claims A2 and A2b of conversational_parser).",
        metrics,
        "higher",
        (
            *ordered([r for r in rows if r.kind == "ours"], "higher"),
            *ordered([r for r in rows if r.kind != "ours"], "higher"),
        ),
    )


# Residual nets.


def images() -> Leaderboard:
    """Test accuracy on MNIST of residual nets: the mean over runs, the worst and the best."""
    rows = []
    for record in records():
        if record.data.get("name") != "mnist" or "val_accuracy" not in record.metrics:
            continue
        depth, width = (record.arguments.get(name) for name in ("depth", "width"))
        try:
            found = history_of(load(record.name)).last("val_accuracy")
        except NotMeasured:
            continue
        runs = f"{len(found)} runs" if len(found) > 1 else "one run"
        what = f"{record.network}, depth {depth}, width {width}, {record.data['samples']:,} training images, {runs}"
        values = (100 * one.item() for one in (found.nanmean(), found.min(), found.max()))
        rows.append(Row(record.name, what, tuple(values), "ours"))
    return Leaderboard(
        "Residual nets on MNIST",
        "Test accuracy in percent at the end of training. These nets are narrow and very deep on purpose, and trained to show a law "
        "of depth, not to win: a grid holds cells in which the theory says that training fails, and some nets see a tenth of the "
        "images. The zoo holds no published accuracy of these nets with a source, so none stands beside ours.",
        ("mean", "worst run", "best run"),
        "higher",
        ordered(rows, "higher"),
    )


def shown(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"
