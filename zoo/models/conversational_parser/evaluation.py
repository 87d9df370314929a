"""Scores of a parser, in every convention that papers on CSQA use; a table names the convention of each number.

Entity answers
    macro      mean over questions of the F1 of a question's answer
    micro      F1 of true positives, false positives and misses summed over questions
    official   harmonic mean of the precision averaged over questions and the recall averaged over questions
    exact      share of questions whose set is right
Counts and verdicts
    accuracy   share whose list of numbers, or of truth values, is right; "YES and NO respectively" is a list of two
    one word   CARTON, LASAGNE: a verification is true if everything asked is; a count is its one number, or else how many
               entities are listed
    words      official: the digits as a bag, by precision and recall
Clarification
    own        the turn that asks back, scored by its candidates
    booked     Dialog-to-Action, MaSP: that turn is skipped, and the answer after it counts for its own type and for this one

A form that cannot be executed scores 0 and is counted; so is a question without a gold answer, which is in no mean.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from datamodules.dialogues import TYPE_KEYS, Answer, Dialogue, Pair
from zoo.knowledge import executor as values
from zoo.knowledge.executor import ExecutionError, Executor, Value
from zoo.knowledge.grammar import Apply, Entities, Entity, Form, Property, linearise, to_text
from zoo.knowledge.graph import KnowledgeGraph
from zoo.models.conversational_parser.published import CHECKED, CLARIFICATION, NINE_TYPES, OFFICIAL_COUNTS, TOTALS

if TYPE_CHECKING:
    from datamodules.parsing import ParsingData
    from zoo.models.conversational_parser.network import StructuredParser
    from zoo.models.conversational_parser.parser import Parser

ENTITY_TYPES = ("direct", "coref", "ellipsis", "logical", "quantitative", "comparative", CLARIFICATION)
ACCURACY_TYPES = ("comparative count", "quantitative count", "verification")


# Equivalent forms.

NOBODY = Entities(())  # stands where entities were taken out


def symmetric_properties(graph: KnowledgeGraph, least: float = 1.0) -> frozenset[int]:
    """Properties of which a share of at least `least` of the triples (s, p, o) has its (o, p, s)."""
    found = set()
    for property in range(graph.properties):
        sources, starts, targets = graph.edges(property)
        if len(targets):
            s, o = np.repeat(sources, np.diff(starts)).astype(np.int64), targets.astype(np.int64)
            there = np.isin(o * graph.entities + s, s * graph.entities + o)
            if there.mean() >= least:
                found.add(property)
    return frozenset(found)


def canonical(form: Form, symmetric: Collection[int] = ()) -> Form:
    """One form for all that mean the same for one of these reasons:

    a symmetric property is followed in either direction; unions, intersections and equalities commute and group; a union of
    entities is the set of them; following and keeping distribute over unions, keeping over all set algebra; x is in F(y, p) if
    y is in the reverse of x.
    """
    if isinstance(form, Entities):
        ids = tuple(sorted(set(form.ids)))
        return Entity(ids[0]) if len(ids) == 1 else Entities(ids)
    if not isinstance(form, Apply):
        return form
    name, arguments = form.operator, tuple(canonical(one, symmetric) for one in form.arguments)
    match name, arguments:
        case "follow_backward", (x, Property(p)) if p in symmetric:
            return Apply("follow_property", (x, Property(p)))
        case "keep", (Apply("union" | "intersection" | "difference" as inner, (a, b)), c):
            return canonical(Apply(inner, (Apply("keep", (a, c)), Apply("keep", (b, c)))), symmetric)
        case "is_in", (Entity() as x, Apply("follow_backward", (Entity() as y, p))):
            return Apply("is_in", (y, Apply("follow_property", (x, p))))
        case "is_in", (Entity() as x, Apply("follow_property", (Entity() as y, Property(p) as q))) if p in symmetric:
            x, y = sorted((x, y), key=lambda one: one.id)
            return Apply("is_in", (x, Apply("follow_property", (y, q))))
        case "union", _:
            return _union(_parts("union", arguments))
        case "intersection", _:
            return _nested("intersection", sorted(set(_parts("intersection", arguments)), key=to_text))
        case "equals", _:
            return Apply(name, tuple(sorted(arguments, key=to_text)))
    return Apply(name, arguments)


def _parts(name: str, arguments: Iterable[Form]) -> list[Form]:
    found: list[Form] = []
    for one in arguments:
        found += _parts(name, one.arguments) if isinstance(one, Apply) and one.operator == name else [one]
    return found


def _union(parts: Iterable[Form]) -> Form:
    """The union of parts; those that differ in their entities only become one, keep(F({x, y}, p), c)."""
    ids: dict[Form, set[int]] = {}  # by the part with its entities taken out
    for one in parts:
        outside, inside = _taken_out(one)
        ids.setdefault(outside, set()).update(inside)
    return _nested("union", sorted((_put_in(one, inside) for one, inside in ids.items()), key=to_text))


def _taken_out(form: Form) -> tuple[Form, tuple[int, ...]]:
    if isinstance(form, Entity):
        return NOBODY, (form.id,)
    if isinstance(form, Entities):
        return NOBODY, form.ids
    if isinstance(form, Apply) and form.operator in ("keep", "follow_property", "follow_backward"):
        outside, ids = _taken_out(form.arguments[0])
        return Apply(form.operator, (outside, form.arguments[1])), ids
    return form, ()


def _put_in(form: Form, ids: Collection[int]) -> Form:
    if form == NOBODY:
        return Entities(tuple(sorted(ids))) if len(ids) > 1 else Entity(min(ids, default=0))
    if isinstance(form, Apply) and ids:
        return Apply(form.operator, (_put_in(form.arguments[0], ids), form.arguments[1]))
    return form


def _nested(name: str, parts: Sequence[Form]) -> Form:
    form = parts[0]
    for one in parts[1:]:
        form = Apply(name, (form, one))
    return form


# One question.


@dataclass(frozen=True, slots=True)
class Scored:
    """A question's parts of every score.

    Attributes:
        type: of the question. kind: of its gold answer, "entities", "numbers", "booleans", or "none" if it is not known.
        deferred: whether it is the answer to a clarification.
        hits, given, wanted: entities, or for numbers digits as a bag: in both answers, predicted, gold.
        right: the whole answer is.
        one_word: it is right in the reading of one word (of CARTON and LASAGNE).
        executable: whether there was a form and it ran.
        form: whether the form means the gold form; None if there is no gold form.
        answerable: whether the gold form itself gives the gold answer on this graph; None if there is no gold form.
        approximate: whether "approximately" or "around" is asked, which real data answer by no known rule.
    """

    dialogue: str
    type: str
    kind: str
    deferred: bool
    hits: int
    given: int
    wanted: int
    right: bool
    one_word: bool
    executable: bool
    form: bool | None
    answerable: bool | None
    approximate: bool

    @property
    def precision(self) -> float:
        """Of an empty prediction: 0, and 1 if the gold set is empty too."""
        return self.hits / self.given if self.given else float(self.wanted == 0 and self.executable)

    @property
    def recall(self) -> float:
        return self.hits / self.wanted if self.wanted else float(self.given == 0 and self.executable)

    @property
    def f1(self) -> float:
        p, r = self.precision, self.recall
        return 2 * p * r / (p + r) if p + r else 0.0


def answer_matches(value: Value | None, answer: Answer, asks_back: bool = False, clarifies: bool = False) -> bool:
    """Whether a value is the gold answer: the same set, the same list of numbers or of truth values.

    Args:
        asks_back: whether the form is a clarification. clarifies: whether the gold turn is one.
    """
    hits, given, wanted, right, _ = _compared(value, answer)
    return right and asks_back == clarifies


def _compared(value: Value | None, answer: Answer) -> tuple[int, int, int, bool, bool]:
    """hits, given, wanted, right, one_word."""
    if answer.kind == "entities":
        gold = set(answer.entities or ())
        ids = set(value.ids.tolist()) if isinstance(value, values.EntitySet) else set()
        right = isinstance(value, values.EntitySet) and ids == gold
        return len(ids & gold), len(ids), len(gold), right, right
    said = (value.first, value.second) if isinstance(value, values.Pair) else (value,)
    if answer.kind == "booleans":
        truths = tuple(one.value for one in said if isinstance(one, values.Boolean))
        right = truths == answer.booleans
        return int(right), 1, 1, right, bool(truths) and all(truths) == all(answer.booleans)
    numbers = tuple(one.value for one in said if isinstance(one, values.NumberValue))
    listed = len(answer.entities) if answer.entities is not None else -1
    gold_number = answer.numbers[0] if len(answer.numbers) == 1 else listed
    hits = sum((Counter(numbers) & Counter(answer.numbers)).values())
    one_word = bool(numbers) and sum(numbers) == gold_number
    return hits, len(numbers), len(answer.numbers), numbers == answer.numbers, one_word


def executed(form: Form | None, executor: Executor) -> Value | None:
    """The form's value, None if there is none."""
    if form is None:
        return None
    try:
        return executor.run(form)
    except ExecutionError:
        return None


def score(
    dialogues: Iterable[Dialogue],
    forms: Iterable[Form | None],
    executor: Executor,
    symmetric: Collection[int] = (),
) -> list[Scored]:
    """Scores every question of the dialogues.

    Args:
        forms: the predicted ones in the order of the questions, None where there is none.
        symmetric: properties whose two directions count as one in the comparison of forms.
    """
    found, predicted = [], iter(forms)
    for dialogue in dialogues:
        before: Pair | None = None
        for pair in dialogue.pairs:
            found.append(_score(dialogue.id, pair, before, next(predicted), executor, symmetric))
            before = pair
    return found


def score_parser(parser: Parser, dialogues: Sequence[Dialogue]) -> list[Scored]:
    """Scores a parser, greedy, in the linking setting of its context; symmetric properties are the graph's own."""
    forms = (found[0] if found else None for _, found in parser.forms(dialogues))
    return score(dialogues, forms, parser.executor, symmetric_properties(parser.graph))


def answerable(scored: Iterable[Scored]) -> list[Scored]:
    """The questions whose gold or reference form gives the gold answer on the graph: a fragment cannot answer the others."""
    return [one for one in scored if one.answerable]


def _score(
    dialogue: str, pair: Pair, before: Pair | None, form: Form | None, executor: Executor, symmetric: Collection[int]
) -> Scored:
    answer, clarifies = pair.answer, pair.type == CLARIFICATION
    value = executed(form, executor)
    known = answer.entities is not None or answer.kind != "entities"
    hits, given, wanted, right, one_word = _compared(value, answer)
    if _asks_back(form) != clarifies:  # an answer where the system should have asked, or the other way round
        hits, right, one_word = 0, False, False
    same = answerable = None
    if pair.form is not None:
        same = form is not None and (form == pair.form or canonical(form, symmetric) == canonical(pair.form, symmetric))
        answerable = known and answer_matches(executed(pair.form, executor), answer, _asks_back(pair.form), clarifies)
    return Scored(
        dialogue=dialogue,
        type=pair.type,
        kind=answer.kind if known else "none",
        deferred=before is not None and before.type == CLARIFICATION,
        hits=hits,
        given=given,
        wanted=wanted,
        right=right and known,
        one_word=one_word and known,
        executable=value is not None,
        form=same,
        answerable=answerable,
        approximate=is_approximate(pair),
    )


def _asks_back(form: Form | None) -> bool:
    return isinstance(form, Apply) and form.operator == "clarify"


def is_approximate(pair: Pair) -> bool:
    """Whether a count is asked for "approximately" or "around"."""
    if pair.form is not None:
        return "approx" in linearise(pair.form)
    return pair.type.startswith(("quantitative", "comparative")) and bool(
        {"approximately", "around"} & {token.lower() for token in pair.tokens}
    )


# Tables.

Means = NDArray[np.float64]  # one value per resample; the first is of the data as they are


@dataclass(frozen=True)
class Estimate:
    """A score in percent, with the middle 95 % of resamples of whole dialogues."""

    value: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        return not math.isnan(self.value)

    def __str__(self) -> str:
        return "–" if not self.known else f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"


@dataclass(frozen=True)
class TypeScores:
    """A row of a table: the scores of one question type, by the names of the conventions above.

    Attributes:
        questions: in all. without_gold: those whose answer is not known. not_executable: without a form that runs.
        headline: "macro" for entity answers, "accuracy" for counts and verdicts.
    """

    questions: int
    without_gold: int
    not_executable: int
    headline: str
    scores: Mapping[str, Estimate]

    @property
    def main(self) -> Estimate:
        return self.scores[self.headline]


@dataclass(frozen=True)
class Evaluation:
    """Scores of a parser on a set of dialogues.

    Attributes:
        types: of every type that occurs. overall: by "<convention>, <weights>".
        questions, without_gold, not_executable: totals.
    """

    types: Mapping[str, TypeScores]
    overall: Mapping[str, Estimate]
    questions: int
    without_gold: int
    not_executable: int

    def metrics(self, prefix: str = "") -> dict[str, float]:
        """Flat numbers for a history: the headline of each type, the overalls, exact forms, and what did not run."""
        found = {prefix + key.replace(" ", "_"): one.main.value for key, one in self.types.items() if one.main.known}
        named = {
            "overall": "nine types, own counts",
            "overall_official": "nine types, official counts",
            "exact": "exact form",
        }
        found |= {prefix + name: self.overall[key].value for name, key in named.items() if self.overall[key].known}
        return found | {prefix + "not_executable": float(self.not_executable)}

    def rows(self) -> list[dict[str, str | int]]:
        """The table for people, one row per type and then the overalls; every column names its convention."""
        rows: list[dict[str, str | int]] = []
        for key, one in self.types.items():
            scores = {name: str(one.scores[name]) for name in COLUMNS if name in one.scores}
            counts = {"questions": one.questions, "no gold": one.without_gold, "not run": one.not_executable}
            rows.append({"type": key, **counts, **{name: scores.get(name, "") for name in COLUMNS}})
        return rows

    def text(self) -> str:
        """The table and the overalls as aligned lines."""
        columns = ("type", "questions", "no gold", "not run", *COLUMNS)
        table = [columns, *(tuple(str(row[name]) for name in columns) for row in self.rows())]
        used = [i for i in range(len(columns)) if any(row[i] for row in table[1:])]
        widths = [max(len(row[i]) for row in table) for i in used]
        lines = ["  ".join(row[i].ljust(w) for i, w in zip(used, widths, strict=True)).rstrip() for row in table]
        lines += [f"overall, {name}: {one}" for name, one in self.overall.items()]
        lines.append(
            f"{self.questions} questions, {self.without_gold} without a gold answer (in no mean), "
            f"{self.not_executable} whose form does not run (scored 0); [ ] 95 % by dialogue"
        )
        return "\n".join(lines)


COLUMNS = ("macro", "micro", "official", "exact", "accuracy", "one word", "words", "booked", "exact form")


def evaluate(scored: Sequence[Scored], resamples: int = 1000, seed: int = 0) -> Evaluation:
    """Every score, with intervals by resampling dialogues with replacement."""
    names = {one: i for i, one in enumerate(dict.fromkeys(one.dialogue for one in scored))}
    weights = np.ones((1 + resamples, len(names)))
    if names:
        weights[1:] = np.random.default_rng(seed).multinomial(len(names), [1 / len(names)] * len(names), resamples)

    def sums(of: Iterable[tuple[str, float]]) -> Means:
        """Sum over questions, (1 + resamples,)."""
        each = np.zeros(len(names))
        for dialogue, value in of:
            each[names[dialogue]] += value
        return weights @ each

    def mean(ones: Sequence[Scored], what: Callable[[Scored], float]) -> Means:
        return ratio(sums((one.dialogue, what(one)) for one in ones), sums((one.dialogue, 1) for one in ones))

    by_type: dict[str, list[Scored]] = defaultdict(list)
    for one in scored:
        by_type[one.type].append(one)
    types: dict[str, TypeScores] = {}
    samples: dict[str, dict[str, Means]] = {}
    for key in (key for key in TYPE_KEYS if by_type[key]):
        every = by_type[key]
        known = [one for one in every if one.kind != "none"]
        found: dict[str, Means] = {}
        if key in ENTITY_TYPES:
            precision, recall = mean(known, lambda one: one.precision), mean(known, lambda one: one.recall)
            hits, given, wanted = (
                sums((one.dialogue, value(one)) for one in known) for value in (_hits, _given, _wanted)
            )
            found["macro"] = mean(known, lambda one: one.f1)
            found["micro"] = ratio(2 * hits, given + wanted)
            found["official"] = ratio(2 * precision * recall, precision + recall)
            found["exact"] = mean(known, lambda one: one.right)
        else:
            found["accuracy"] = mean(known, lambda one: one.right)
            found["one word"] = mean(known, lambda one: one.one_word)
            if key != "verification":
                precision, recall = mean(known, lambda one: one.precision), mean(known, lambda one: one.recall)
                found["words"] = ratio(2 * precision * recall, precision + recall)
        if key == CLARIFICATION:
            after = [one for one in scored if one.deferred and one.kind != "none"]
            found["booked"] = mean(after, lambda one: one.f1 if one.type in ENTITY_TYPES else one.right)
        found["exact form"] = mean([one for one in every if one.form is not None], lambda one: bool(one.form))
        samples[key] = found
        types[key] = TypeScores(
            questions=len(every),
            without_gold=len(every) - len(known),
            not_executable=sum(not one.executable for one in every),
            headline="macro" if key in ENTITY_TYPES else "accuracy",
            scores={name: estimate(values) for name, values in found.items()},
        )
    overall = {name: estimate(values) for name, values in _overalls(samples, types).items()}
    formed = [one for one in scored if one.form is not None]
    overall["exact form"] = estimate(mean(formed, lambda one: bool(one.form)))
    return Evaluation(
        types=types,
        overall=overall,
        questions=len(scored),
        without_gold=sum(one.without_gold for one in types.values()),
        not_executable=sum(one.not_executable for one in types.values()),
    )


def _overalls(samples: Mapping[str, Mapping[str, Means]], types: Mapping[str, TypeScores]) -> dict[str, Means]:
    """Means over types. Of the official counts only those of types that occur."""
    own = {key: one.questions - one.without_gold for key, one in types.items()}
    heads = {key: samples[key][one.headline] for key, one in types.items()}

    def weighted(keys: Sequence[str], counts: Mapping[str, int], of: Mapping[str, Means] = heads) -> Means:
        there = [key for key in keys if key in of and own[key]]
        total = sum(counts[key] for key in there)
        nothing = np.full(1, np.nan)
        return sum((counts[key] * of[key] for key in there), np.zeros(1)) / total if total else nothing

    micro = {key: samples[key]["micro"] if key in ENTITY_TYPES else head for key, head in heads.items()}
    return {
        "nine types, own counts": weighted(NINE_TYPES, own),
        "nine types, official counts": weighted(NINE_TYPES, OFFICIAL_COUNTS),
        "nine types, official counts, micro F1 for sets": weighted(NINE_TYPES, OFFICIAL_COUNTS, micro),
        "ten types, own counts": weighted(TYPE_KEYS, own),
        "F1 of the seven types of sets, official counts": weighted(ENTITY_TYPES, OFFICIAL_COUNTS),
        "accuracy of counts and verdicts, official counts": weighted(ACCURACY_TYPES, OFFICIAL_COUNTS),
    }


def _hits(one: Scored) -> float:
    return one.hits


def _given(one: Scored) -> float:
    return one.given


def _wanted(one: Scored) -> float:
    return one.wanted


def ratio(a: Means, b: Means) -> Means:
    """a/b; nan where there was nothing, 0 where 0/0 is a score of zero hits."""
    return np.divide(a, b, out=np.full_like(a, np.nan if not b[:1].any() and not a[:1].any() else 0.0), where=b != 0)


def estimate(samples: Means) -> Estimate:
    if np.isnan(samples[0]):
        return Estimate(math.nan, math.nan, math.nan)
    low, high = np.nanquantile(samples, (0.025, 0.975)) if len(samples) > 1 else samples[[0, 0]]
    return Estimate(100 * float(samples[0]), 100 * float(low), 100 * float(high))


def beside_published(found: Evaluation, name: str) -> str:
    """The headline of each type beside published systems, which were scored on other data, as aligned lines."""
    systems = tuple(CHECKED)
    rows = [("type", "questions", name, *systems)]
    for key, one in found.types.items():
        others = (
            f"{CHECKED[system][key]:.2f}" if CHECKED[system][key] == CHECKED[system][key] else "–" for system in systems
        )
        rows.append((key, str(one.questions), f"{one.main} ({one.headline})", *others))
    overall = found.overall["nine types, official counts"]
    rows.append(("nine types, official counts", "", str(overall), *(f"{TOTALS[system]:.2f}" for system in systems)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(
        [*lines, f"{', '.join(systems)}: published, on the test set of the full CSQA, which is other data"]
    )


def final_scores(network: StructuredParser, data: ParsingData, most: int) -> dict[str, Evaluation]:
    """Scores of a trained network on the test splits of its data, at most `most` dialogues each; the validation split if there
    is no other. Questions that a graph's fragment can answer are "<split>, answerable" where these are not all, and those of
    kinds that training lacks "<split>, unseen" where there are some.
    """
    from zoo.models.conversational_parser.parser import Parser

    splits = data.corpus.splits
    tests = [name for name in splits if name not in ("train", "valid")] or [name for name in splits if name == "valid"]
    found = {}
    for name in tests:
        scored = score_parser(Parser.from_data(network, data, name), splits[name][:most])
        found[name] = evaluate(scored)
        ones = answerable(scored)
        if any(one.answerable is False for one in scored):
            found[f"{name}, answerable"] = evaluate(ones)
        new = [data.unseen(pair) for dialogue in splits[name][:most] for pair in dialogue.pairs]
        if any(new):
            found[f"{name}, unseen"] = evaluate([one for one, is_new in zip(scored, new, strict=True) if is_new])
    return found
