"""ConvQuestions: a parser's forms for whole conversations, and P@1, MRR and Hit@5 of their values in every convention.

A beam makes a ranking: the values of its forms, the likeliest form first; entities of one value share a rank. Questions are read after
the annotated question and answer before them. Without a graph a form has no value: it is written down and not scored.
"""

from __future__ import annotations

import functools
import json
import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datamodules.convquestions import Conversation, Question, dialogue
from zoo.files import write_beside
from zoo.knowledge.executor import Boolean, EntitySet, NumberValue, Pair, Value, ValueSet
from zoo.knowledge.grammar import Form, operators_of, to_text
from zoo.knowledge.graph import KnowledgeGraph
from zoo.models.conversational_parser.evaluation import Estimate, estimate, executed, ratio

if TYPE_CHECKING:
    from datamodules.parsing import ConvQuestionsParsingData
    from zoo.models.conversational_parser.network import StructuredParser
    from zoo.models.conversational_parser.parser import Parser

BEAMS = 5
LISTED = 1000  # answers of one form that enter a ranking
SHOWN = 5  # shapes of forms that a report shows

Ranking = Sequence[Sequence[str]]  # answers, the best first; those of one group have the same score


@dataclass(frozen=True)
class Ranked:
    """What was answered to one question of a conversation.

    Attributes:
        group: equal for the paraphrases of one conversation, which are resampled together.
        right: whether an answer is right.
        asked: whether it is a question for yes or no.
    """

    group: Hashable
    turn: int
    ranking: Ranking
    right: Callable[[str], bool]
    asked: bool = False


@dataclass(frozen=True)
class RankScores:
    """P@1, MRR and Hit@5 in percent."""

    p1: Estimate
    mrr: Estimate
    hit5: Estimate


def evaluate_rankings(questions: Sequence[Ranked], resamples: int = 1000, seed: int = 0) -> dict[str, RankScores]:
    """P@1, MRR and Hit@5 in every convention, by name.

    "turn 0 in" or "out": the first question is given as understood by CONVEX's evaluator, which leaves it out. Ties: "shared", the
    answers of a group have the group's first rank, or "expected", the mean over orders of the group. Questions for yes or no:
    "own", the answer as it is, or "both", which puts the other word on the next rank, as CONVEX does.
    """
    groups = {one: i for i, one in enumerate(dict.fromkeys(one.group for one in questions))}
    weights = np.ones((1 + resamples, len(groups)))
    if groups:
        draws = np.random.default_rng(seed).multinomial(len(groups), [1 / len(groups)] * len(groups), resamples)
        weights[1:] = draws
    found = {}
    for first in (True, False):
        chosen = [one for one in questions if first or one.turn > 0]
        for ties in ("shared", "expected"):
            for both in (False, True):
                sums = np.zeros((len(groups), 4))
                for one in chosen:
                    sums[groups[one.group]] += (*_rank_scores(one, ties == "expected", both), 1)
                means = weights @ sums
                scores = (estimate(ratio(means[:, i], means[:, 3])) for i in range(3))
                name = f"turn 0 {'in' if first else 'out'}, ties {ties}, yes or no {'both' if both else 'own'}"
                found[name] = RankScores(*scores)
    return found


def _rank_scores(one: Ranked, expected: bool, both: bool) -> tuple[float, float, float]:
    """P@1, reciprocal rank and hit at 5 of one question."""
    ranking = [list(group) for group in one.ranking]
    if both and one.asked and ranking:
        other = {"yes": "no", "no": "yes"}.get(ranking[0][0].lower())
        ranking = [ranking[0], *([[other]] if other else []), *ranking[1:]]
    rank = 1
    for group in ranking:
        right, size = sum(map(one.right, group)), len(group)
        if right and not expected:
            return float(rank == 1), 1 / rank, float(rank <= 5)
        if right:  # the first right one of `size` in random order is at place j with probability law[j]
            law = [math.comb(size - j - 1, right - 1) / math.comb(size, right) for j in range(size - right + 1)]
            places = range(rank, rank + len(law))
            return (
                law[0] * (rank == 1),
                sum(p / place for p, place in zip(law, places, strict=True)),
                sum(p for p, place in zip(law, places, strict=True) if place <= 5),
            )
        rank += size
    return 0.0, 0.0, 0.0


# A parser's answers.


@dataclass(frozen=True)
class Asked:
    """One question with the forms found for it, the likeliest first, and their answers if there is a graph."""

    conversation: Conversation
    question: Question
    forms: tuple[Form, ...]
    answers: tuple[tuple[str, ...], ...] | None

    @property
    def ranked(self) -> Ranked:
        """The answers as they are scored; what a likelier form gives already is left out further down."""
        seen: set[str] = set()
        ranking = []
        for group in self.answers or ():
            new = [one for one in group if one.lower() not in seen]
            seen.update(one.lower() for one in new)
            ranking += [new] if new else []
        golds = self.question.answers

        def right(answer: str) -> bool:
            return any(gold.matches(answer) for gold in golds)

        asked = any(gold.kind == "boolean" for gold in golds)
        return Ranked(self.conversation.source, self.question.turn, ranking, right, asked)


@dataclass(frozen=True)
class Rankings:
    """What a parser makes of conversations; `text` and `metrics` as of an `Evaluation`."""

    asked: tuple[Asked, ...]
    graph: KnowledgeGraph

    @property
    def executed(self) -> bool:
        return all(one.answers is not None for one in self.asked)

    @functools.cached_property
    def scores(self) -> dict[str, RankScores]:
        return evaluate_rankings([one.ranked for one in self.asked]) if self.executed else {}

    def metrics(self, prefix: str = "") -> dict[str, float]:
        """Flat numbers for a history, turn 0 in and out; none without a graph."""
        found: dict[str, float] = {}
        for name, turns in (("", "in"), ("_later", "out")):
            if one := self.scores.get(f"turn 0 {turns}, ties shared, yes or no own"):
                values = {"p1": one.p1, "mrr": one.mrr, "hit5": one.hit5}
                found |= {f"{prefix}{key}{name}": value.value for key, value in values.items()}
        return found

    def text(self) -> str:
        """Scores by convention, or, unexecuted, the commonest shapes of the likeliest forms, as aligned lines."""
        sources = {one.conversation.source for one in self.asked}
        unknown = sum(not one.question.answers for one in self.asked)
        lines = [
            f"{len(self.asked)} questions of {len(sources)} seed conversations, {unknown} without a gold answer (not right)"
        ]
        if not self.executed:
            lines.append("without a graph: the forms below are not executed and not scored; their commonest shapes are")
            shapes = Counter(" ".join(operators_of(one.forms[0])) or "an entity" for one in self.asked if one.forms)
            return "\n".join(lines + [f"  {count:6,}  {shape}" for shape, count in shapes.most_common(SHOWN)])
        width = max(map(len, self.scores))
        lines.append(f"{'':{width}}  {'P@1':20}{'MRR':20}Hit@5")
        lines += [f"{name:{width}}  {one.p1!s:20}{one.mrr!s:20}{one.hit5}" for name, one in self.scores.items()]
        return "\n".join([*lines, f"beam of {BEAMS}; [ ] 95 % by seed conversation"])

    def write(self, path: Path) -> None:
        """JSON lines: conversation, turn, question, forms and answers."""
        rows = (
            {
                "conversation": one.conversation.id,
                "turn": one.question.turn,
                "question": one.question.text,
                "forms": [to_text(form, self.graph) for form in one.forms],
                "answers": one.answers,
                "gold": [gold.value for gold in one.question.answers],
            }
            for one in self.asked
        )
        with write_beside(path) as beside:
            beside.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def rank(parser: Parser, conversations: Sequence[Conversation], *, execute: bool = True) -> Rankings:
    """Asks a parser every question of the conversations."""
    dialogues = [dialogue(one, parser.graph) for one in conversations]
    places = ((one, question) for one in conversations for question in one.questions)
    asked = []
    for (one, question), (_, forms) in zip(places, parser.forms(dialogues, BEAMS), strict=True):
        values = [executed(form, parser.executor) for form in forms] if execute else []
        answers = tuple(said for value in values if (said := names(value, parser.graph))) if execute else None
        asked.append(Asked(one, question, tuple(forms), answers))
    return Rankings(tuple(asked), parser.graph)


def final_rankings(network: StructuredParser, data: ConvQuestionsParsingData, most: int) -> dict[str, Rankings]:
    """What a trained network makes of each test split: about `most` conversations, evenly spread over it."""
    from zoo.models.conversational_parser.parser import Parser

    found = {}
    for split, conversations in data.asked.items():
        some = conversations[:: max(1, -(-len(conversations) // most))]
        found[split] = rank(Parser.from_data(network, data, split), some, execute=data.graph is not None)
    return found


def names(value: Value | None, graph: KnowledgeGraph) -> tuple[str, ...]:
    """A value's answers as ConvQuestions writes them: Wikidata ids, yes or no, numbers and dates; at most LISTED."""
    match value:
        case EntitySet(ids):
            return tuple(graph.entity_name(int(one)) for one in ids[:LISTED])
        case Boolean(truth):
            return ("yes" if truth else "no",)
        case NumberValue(number, text):
            return () if number != number else (text or f"{number:g}",)
        case ValueSet(literals):
            return tuple(literal.text for literal in literals[:LISTED])
        case Pair(first, second):
            return (*names(first, graph), *names(second, graph))
    return ()
