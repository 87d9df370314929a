"""Which entities a CSQA question names, and labels read off the questions where the data give none.

Half of the entities that the public sample's questions name have no label in it, because they are never an answer. But
"Where was … born ?" is asked many times: what differs between two questions about one relation is the name.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from datamodules.dialogues import TOKENS, find_mentions, tokenise

# An answer "X for 1st, 2nd, Y for 3rd" is not a list of names.
ORDINAL = re.compile(r"\b\d+(?:st|nd|rd|th)$")
ELLIPTIC = re.compile(
    r"(?:And what about|And how about|And also tell me about|And also|But not|Or|No, I meant) (.+?)"
    r"\s*(?:\?|\. Could you tell me the answer for that\?)?"
)
GAP = "\0"  # stands for a name in a question's words


def named(user: Mapping[str, Any], before: Sequence[str], atoms: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """The annotated entities whose names stand in the question, the others being referred to ("that person").

    Args:
        user: the annotated turn.
        before: the entities of the user's turn before.
        atoms: (subject, object) of the triples of a verification.
    """
    entities = tuple(dict.fromkeys(user.get("entities_in_utterance", ())))
    if "description" not in user:  # "Yes", "No, I meant X."
        return tuple(user.get("entities", ()))
    if user["question-type"] in ("Clarification", "Simple Question (Coreferenced)") or user.get("inc_ques_type") == 1:
        return ()
    if user.get("is_inc") == 1:  # "Or X?"
        return tuple(one for one in entities if one not in before) or entities[-1:]
    if atoms:
        subjects = tuple(dict.fromkeys(one for one, _ in atoms))
        objects = tuple(dict.fromkeys(one for _, one in atoms))
        which = user.get("bool_ques_type")
        if which in (2, 5):
            return objects
        if which == 3:
            return subjects
        if which == 6:
            return subjects if len(subjects) == 1 else objects
        return tuple(dict.fromkeys((*subjects, *objects)))
    return entities


@dataclass(frozen=True)
class Asked:
    """A question, the entities it names and its relations."""

    text: str
    named: tuple[str, ...]
    relations: tuple[str, ...]

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        return tokenise(self.text)

    def cut(self, start: int, stop: int) -> str:
        """The text of the tokens start … stop-1."""
        spans = [match.span() for match in TOKENS.finditer(self.text)]
        return self.text[spans[start][0] : spans[stop - 1][1]]


def question_words(templates: Iterable[str]) -> frozenset[str]:
    """Lower-case words of wordings in which names are written {E0}, {E1}."""
    return frozenset(word.lower() for text in templates for word in text.split() if "{" not in word)


def learn(asked: Sequence[Asked], labels: Mapping[str, str], words: frozenset[str], rounds: int = 3) -> dict[str, str]:
    """`labels`, and labels of further entities that questions name.

    In turn: an elliptic question ("And what about X?") gives its name away; a wording of the same relation whose names
    are all known fits around the unknown one; another question about the relation has the same beginning and end, and
    question words at the edges of what is left are cut off. Every round's labels serve the next one.
    """
    known = dict(labels)
    for one in asked:
        match = ELLIPTIC.fullmatch(one.text)
        if match and len(one.named) == 1:
            known.setdefault(one.named[0], match[1])
    for _ in range(rounds):
        masked = [_mask(one, known) for one in asked]
        wordings: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
        others: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
        for one, (text, _, unknown) in zip(asked, masked, strict=True):
            others[one.relations].add(text)
            if not unknown and GAP in text:
                wordings[one.relations].add(text)
        votes: dict[str, Counter[str]] = defaultdict(Counter)
        for one, (text, places, unknown) in zip(asked, masked, strict=True):
            if len(unknown) == 1 and unknown[0] not in known:
                first, last = _between(text, wordings[one.relations]) or _edges(
                    one, text, places, others[one.relations], words
                )
                if "number" in text:  # "… than X", "… the same number of … as X"
                    first = max([first, *(i + 1 for i in range(first, last - 1) if text[i] in ("than", "as"))])
                if first < last and GAP not in text[first:last]:
                    votes[unknown[0]][one.cut(places[first], places[last - 1] + 1)] += 1
        known |= {entity: names.most_common(1)[0][0] for entity, names in votes.items()}
    return known


def _mask(one: Asked, known: Mapping[str, str]) -> tuple[tuple[str, ...], list[int], list[str]]:
    """Lower-case words with GAP for known names, the token each begins at, and the entities without a name."""
    numbered = dict(enumerate(one.named))
    mentions = find_mentions(one.tokens, [(tokenise(known[name]), i) for i, name in numbered.items() if name in known])
    text: list[str] = []
    places: list[int] = []
    at = 0
    for start, stop in [*((mention.start, mention.stop) for mention in mentions), (len(one.tokens), 0)]:
        text += [token.lower() for token in one.tokens[at:start]]
        places += range(at, start)
        if stop:
            text.append(GAP)
            places.append(start)
        at = stop
    found = {mention.entity for mention in mentions}
    return tuple(text), places, [name for i, name in numbered.items() if i not in found]


def _between(text: tuple[str, ...], wordings: Iterable[tuple[str, ...]]) -> tuple[int, int] | None:
    """Where the unknown name stands if one of its wordings, with one gap more, fits around it; the longest such."""
    best: tuple[int, int] | None = None
    gaps, size = text.count(GAP) + 1, len(text)
    for wording in wordings:
        if wording.count(GAP) == gaps:
            for i, word in enumerate(wording):
                tail = len(wording) - i - 1
                fits = (
                    word == GAP
                    and size - tail > i
                    and text[:i] == wording[:i]
                    and text[size - tail :] == wording[i + 1 :]
                )
                if fits and (best is None or (i, size - tail) > best):
                    best = (i, size - tail)
    return best


def _edges(
    one: Asked, text: tuple[str, ...], places: Sequence[int], others: Iterable[tuple[str, ...]], words: frozenset[str]
) -> tuple[int, int]:
    """Where the unknown name stands, from the longest beginning and end shared with another question."""
    first, last = 0, len(text)
    for other in others:
        most = min(len(text), len(other))
        if other != text:
            start = next((i for i in range(most) if text[i] != other[i]), most)
            end = next((i for i in range(most - start) if text[-1 - i] != other[-1 - i]), most - start)
            if start + end >= max(3, first + len(text) - last + 1) and start + end < len(text):
                first, last = start, len(text) - end

    def is_question(i: int) -> bool:
        token = one.tokens[places[i]]
        return text[i] == GAP or not text[i][0].isalnum() or (text[i] in words and (token == token.lower() or not i))

    while last - first > 1 and is_question(first):
        first += 1
    while last - first > 1 and is_question(last - 1):
        last -= 1
    return first, last
