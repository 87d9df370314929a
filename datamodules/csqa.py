"""CSQA (Saha et al., AAAI 2018): dialogues in the official format, from folders or tar.gz archives, and their graph.

A folder of the official release has `train`, `valid` and `test` with `QA_<n>/QA_<m>.json`, and Wikidata in JSON files. The
public sample has two archives, and under `derived` a fragment of the graph and one reference form per pair.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import re
import tarfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from datamodules.csqa_labels import ORDINAL, Asked, learn, named, question_words
from datamodules.dialogues import KEY_OF, Answer, Corpus, Dialogue, Mention, Pair, find_mentions, tokenise
from zoo.files import sha256
from zoo.knowledge.grammar import from_json
from zoo.registry import ZooError

if TYPE_CHECKING:
    from zoo.knowledge.graph import KnowledgeGraph

SPLITS = ("train", "valid", "test")
LICENCE = "CC BY-SA 4.0"
Turns: TypeAlias = list[tuple[dict[str, Any], dict[str, Any]]]  # checked (USER, SYSTEM) pairs of one dialogue
Lisp: TypeAlias = Any  # a form of nested lists with Wikidata ids, as in reference_lf.jsonl.gz

_ENTITY, _PROPERTY, _NUMBERED = re.compile(r"Q\d{1,12}"), re.compile(r"P\d{1,9}"), re.compile(r"QA_(\d+)")
_TWO_NUMBERS = re.compile(r"(\d+) .+? and (\d+) .+")


# active_set, the annotation's mini-language.


@dataclass(frozen=True)
class Atom:
    """(left, predicate, right); a side is an entity, or the classes its entities have."""

    left: str | tuple[str, ...]
    predicate: str
    right: str | tuple[str, ...]

    @property
    def followed(self) -> tuple[str, str, str] | None:
        """(operator, entity, class asked for) if one side is an entity and the other a class."""
        if isinstance(self.left, str) and isinstance(self.right, tuple):
            return "follow_property", self.left, self.right[0]
        if isinstance(self.left, tuple) and isinstance(self.right, str):
            return "follow_backward", self.right, self.left[0]
        return None


class ActiveSet(NamedTuple):
    """An entry of `active_set`: "", "union", "intersection" or "difference" of its atoms."""

    operator: str
    atoms: tuple[Atom, ...]


_SIDE = r"(Q\d{1,12}|c\(Q\d{1,12}\)(?:\|c\(Q\d{1,12}\))*)"
_ATOM = rf"\(\s*{_SIDE}\s*,\s*(P\d{{1,9}})\s*,\s*{_SIDE}\s*\)"
_ACTIVE = {
    "": re.compile(rf"\s*{_ATOM}\s*"),
    "union": re.compile(rf"\s*OR\(\s*{_ATOM}\s*,\s*{_ATOM}\s*\)\s*"),
    "intersection": re.compile(rf"\s*AND\(\s*{_ATOM}\s*,\s*{_ATOM}\s*\)\s*"),
    "difference": re.compile(rf"\s*AND\(\s*{_ATOM}\s*,\s*NOT\(\s*{_ATOM}\s*\)\s*\)\s*"),
}


def parse_active_set(text: str) -> ActiveSet | None:
    """The reading of one entry of `active_set`, None if it is not one."""
    for operator, pattern in _ACTIVE.items():
        match = pattern.fullmatch(text)
        if match:
            parts = match.groups()
            atoms = (Atom(_side(parts[i]), parts[i + 1], _side(parts[i + 2])) for i in range(0, len(parts), 3))
            return ActiveSet(operator, tuple(atoms))
    return None


def _side(text: str) -> str | tuple[str, ...]:
    return tuple(re.findall(r"Q\d+", text)) if text.startswith("c") else text


# Checking.


def check(value: Any, file: str) -> Turns:
    """The pairs of a dialogue as read from JSON; every field that is used later has its type after this.

    Raises:
        ZooError: what is wrong, with the file, the pair (from 0) and the field.
    """
    if not isinstance(value, list) or not value:
        raise ZooError(f"{file}: a dialogue is a list of turns, got {_kind(value)}.")
    turns: Turns = []
    for i in range(0, len(value), 2):
        where = f"{file}, pair {i // 2}"
        both = value[i : i + 2]
        for turn, speaker in zip(both, ("USER", "SYSTEM"), strict=False):
            if not isinstance(turn, dict):
                raise ZooError(f"{where}: a turn is an object, got {_kind(turn)}.")
            if turn.get("speaker") != speaker:
                raise ZooError(f"{where}: the speaker must be {speaker}, got {_shown(turn.get('speaker'))}.")
            if not isinstance(turn.get("utterance"), str):
                raise ZooError(
                    f"{where}: 'utterance' of the {speaker} turn must be text, got {_kind(turn.get('utterance'))}."
                )
        if len(both) == 1:
            raise ZooError(f"{where}: the USER turn has no SYSTEM turn behind it.")
        user, system = both
        if not isinstance(user.get("question-type"), str) or user["question-type"] not in KEY_OF:
            raise ZooError(
                f"{where}: 'question-type' must be one of CSQA's ten, got {_shown(user.get('question-type'))}."
            )
        if not isinstance(user.get("description", ""), str):
            raise ZooError(f"{where}: 'description' must be text, got {_kind(user['description'])}.")
        for turn, field, pattern in (
            (user, "entities_in_utterance", _ENTITY),
            (user, "entities", _ENTITY),
            (user, "relations", _PROPERTY),
            (user, "type_list", _ENTITY),
            (system, "entities_in_utterance", _ENTITY),
            (system, "all_entities", _ENTITY),
        ):
            ids = turn.get(field, [])
            if not isinstance(ids, list) or not all(isinstance(one, str) and pattern.fullmatch(one) for one in ids):
                raise ZooError(
                    f"{where}: '{field}' must be a list of ids like {'P19' if field == 'relations' else 'Q42'}, got {_shown(ids)}."
                )
        for field in (
            *("ques_type_id", "set_op", "is_inc", "is_incomplete", "bool_ques_type", "inc_ques_type"),
            *("count_ques_type", "count_ques_sub_type"),
        ):
            if type(user.get(field, 0)) is not int:
                raise ZooError(f"{where}: '{field}' must be a whole number, got {_shown(user[field])}.")
        active = system.get("active_set", [])
        if not isinstance(active, list) or not all(isinstance(one, str) for one in active):
            raise ZooError(f"{where}: 'active_set' must be a list of texts, got {_shown(active)}.")
        sets = [parse_active_set(one) for one in active]
        if None in sets:
            raise ZooError(
                f"{where}: 'active_set' has an entry that cannot be read: {_shown(active[sets.index(None)])}."
            )
        system = {**system, "active_set": sets}
        turns.append((user, system))
    return turns


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {_shown(value)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


def decode(content: bytes, file: str) -> Turns:
    """The dialogue in a file's bytes.

    Raises:
        ZooError: it is not JSON, or `check` refuses it.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ZooError(f"{file}: not JSON ({str(error).splitlines()[0]}).") from None
    return check(value, file)


# Files.


def sources(root: Path) -> dict[str, Path]:
    """Folder or archive of every split that `root` has.

    Raises:
        ZooError: it has none.
    """
    if not root.is_dir():
        raise ZooError(f"{root} is not a folder: {HINT}.")
    found: dict[str, Path] = {}
    for split in SPLITS:
        archives = [path for path in sorted(root.glob("*.tar.gz")) if split in re.split(r"[_.]", path.name)]
        if (root / split).is_dir():
            found[split] = root / split
        elif archives:
            found[split] = archives[0]
    if not found:
        raise ZooError(f"{root} has neither train, valid and test nor their archives: {HINT}.")
    return found


HINT = "give CSQA's folder as --data.root (the dialogues of https://amritasaha1812.github.io/CSQA, or their sample)"


def _order(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in _NUMBERED.findall(name))


def read(source: Path, left_out: Counter[str] | None = None) -> Iterator[tuple[str, Turns]]:
    """(QA_n/QA_m.json, its checked pairs) of a folder or a tar.gz, in the order of the numbers.

    Args:
        left_out: where malformed dialogues are counted by reason; without it they are an error.

    Raises:
        ZooError: a file or the archive is damaged, or there is no dialogue.
    """
    count = 0
    for name, place, content in _contents(source):
        count += 1
        try:
            turns = decode(content, place)
        except ZooError as error:
            if left_out is None:
                raise
            left_out[_reason(error)] += 1
            continue
        yield name, turns
    if not count:
        raise ZooError(f"{source} holds no QA_<n>/QA_<m>.json.")


def _contents(source: Path) -> Iterator[tuple[str, str, bytes]]:
    """Name, place for an error, and bytes of every dialogue, in the order of the numbers."""
    if source.is_dir():
        paths = {f"{path.parent.name}/{path.name}": path for path in source.glob("QA_*/QA_*.json")}
        for name in sorted(paths, key=lambda name: (_order(name), name)):
            try:
                yield name, str(paths[name]), paths[name].read_bytes()
            except OSError as error:
                raise ZooError(f"{paths[name]} cannot be read ({error.strerror}).") from None
        return
    try:
        with tarfile.open(source, "r:gz") as tar:
            contents = {
                "/".join(member.name.split("/")[-2:]): file.read()
                for member in tar
                if member.isfile() and member.name.endswith(".json") and (file := tar.extractfile(member))
            }
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ZooError(f"{source} cannot be unpacked ({type(error).__name__}): fetch it again.") from None
    for name in sorted(contents, key=lambda name: (_order(name), name)):
        yield name, f"{source}:{name}", contents[name]


# Annotation to logical form.


def reference_form(turns: Turns, i: int) -> Lisp | None:
    """The form of pair i by rules over its annotation, the key words and the pairs before; None where the annotation
    lacks what is asked (an empty `active_set`, a clarification without listed candidates)."""
    user, system = turns[i]
    kind = KEY_OF[user["question-type"]]
    sets: list[ActiveSet] = system.get("active_set", [])
    atoms = [atom for one in sets for atom in one.atoms]
    if kind == "clarification":
        candidates = sorted({atom.followed[1] for atom in atoms if atom.followed})
        return ["clarify", ["set", *candidates]] if candidates else None
    if not atoms:
        return None
    if kind == "verification":
        return _verdict(user, atoms)
    followed = [(atom.followed, atom.predicate) for atom in atoms]
    steps = [([one[0], one[1], predicate], one[2]) for one, predicate in followed if one]
    if len(steps) == len(atoms):
        kept = [["keep", step, class_] for step, class_ in steps]
        (operator, _, predicate), class_ = steps[0]
        if kind in ("direct", "coref", "ellipsis"):
            if len(kept) == 1:
                return kept[0]
            return ["keep", [operator, ["set", *(step[1] for step, _ in steps)], predicate], class_]
        if kind == "logical" and len(sets[0].atoms) == 2:
            return ["keep", [sets[0].operator, steps[0][0], steps[1][0]], class_]
        if kind == "quantitative count":
            return _count(_annotated(turns, i), kept)
    if kind in ("direct", "coref", "ellipsis", "logical"):
        return None
    return _per_entity(turns, i, kind, atoms[0])


def _annotated(turns: Turns, i: int) -> dict[str, Any]:
    """The turn that carries the annotation: for "Yes" and "No, I meant X" the ambiguous question before it."""
    while "description" not in turns[i][0] and i:
        i -= 1
    return turns[i][0]


def _asked(turns: Turns, i: int) -> str:
    """The question in full words: behind elliptic turns and clarifications."""
    while i and ("description" not in turns[i][0] or turns[i][0].get("is_incomplete")):
        i -= 1
    return turns[i][0]["utterance"]


def _verdict(user: dict[str, Any], atoms: Sequence[Atom]) -> Lisp | None:
    pairs = [
        (atom.left, atom.predicate, atom.right)
        for atom in atoms
        if isinstance(atom.left, str) and isinstance(atom.right, str)
    ]
    if not pairs or len(pairs) < len(atoms):
        return None
    subject, property, object = pairs[0]
    if user.get("bool_ques_type") == 6:
        if len({one for one, _, _ in pairs}) == 1:
            return ["is_in", ["set", *(one for _, _, one in pairs)], ["follow_property", subject, property]]
        return ["is_in", ["set", *(one for one, _, _ in pairs)], ["follow_backward", object, property]]
    verdicts = [["is_in", o, ["follow_property", s, p]] for s, p, o in pairs[:2]]
    return verdicts[0] if len(verdicts) == 1 else ["pair", *verdicts]


def _count(annotated: dict[str, Any], kept: list[Lisp]) -> Lisp:
    if len(kept) == 1:
        return ["cardinality", kept[0]]
    both = kept[:2]  # behind a clarification the other candidates follow
    if "Mult. entity" in annotated.get("description", ""):
        return ["cardinality", ["union" if annotated.get("set_op") == 2 else "intersection", *both]]
    if annotated.get("set_op") == 1:
        return ["pair", *(["cardinality", one] for one in both)]
    return ["cardinality", ["union", *both]]


def _per_entity(turns: Turns, i: int, kind: str, atom: Atom) -> Lisp | None:
    """Quantitative and comparative forms: a count for each entity of the base class."""
    user, annotated, words = turns[i][0], _annotated(turns, i), _asked(turns, i).lower()
    left, right = atom.left, atom.right
    if isinstance(left, tuple) and len(left) > 1:
        backward = True
    elif isinstance(right, tuple) and len(right) > 1:
        backward = False
    else:
        backward = annotated.get("count_ques_type") == 1
    base, counted = (right, left) if backward else (left, right)
    if isinstance(base, str) or isinstance(counted, str):  # some turns have a bare id where a class should be
        types = annotated.get("type_list", [])
        if isinstance(counted, str) and isinstance(base, str):
            return None
        if isinstance(base, str):
            assert isinstance(counted, tuple)
            base = tuple(one for one in types if one not in counted)[:1] or tuple(types[:1])
        else:
            counted = tuple(one for one in types if one not in base)[:1] or base
        if not base:
            return None
    follow = "follow_backward" if backward else "follow_property"

    def number(start: Lisp) -> Lisp:
        kept = [["keep", [follow, start, atom.predicate], one] for one in counted]
        return ["cardinality", kept[0] if len(kept) == 1 else ["union", *kept[:2]]]

    numbers = number(["for_each", ["members", base[0]]])
    extreme = re.search(r"\b(min|max)\b", words) if "Min/Max" in annotated.get("description", "") else None
    if extreme:
        form: Lisp = [f"arg{extreme[1]}", numbers]
    else:
        compare = comparison(words)
        against: Lisp | None
        if kind.startswith("comparative"):
            before = turns[i - 1][1] if i else {}
            than = (
                user.get("entities")
                or user.get("entities_in_utterance")
                or before.get("entities_in_utterance")
                or before.get("all_entities")
            )
            against = number(than[0]) if than else None
        else:
            given = re.search(r"\b(?:atleast|atmost|exactly|approximately|around) (\d{1,18})\b", words)
            against = int(given[1]) if given else None
        if compare is None or against is None:
            return None
        form = ["arg", [compare, numbers, against]]
    return ["cardinality", form] if kind.endswith("count") else form


KEY_WORDS = {
    "atleast": "atleast",
    "atmost": "atmost",
    "exactly": "equals",
    "approximately": "approx",
    "around": "approx",
    "more": "greater_than",
    "greater": "greater_than",
    "less": "lesser_than",
    "lesser": "lesser_than",
}


def comparison(words: str) -> str | None:
    """The comparing operator that a question's key word names; numbers' words before "more" and "less"."""
    found = {match[1] for match in re.finditer(rf"\b({'|'.join(KEY_WORDS)})\b", words)}
    return next((operator for word, operator in KEY_WORDS.items() if word in found), None)


# Records.


def answer(turns: Turns, i: int) -> tuple[str, list[str] | None, list[str], tuple[int, ...], tuple[bool, ...]]:
    """Text, complete entities (None: not listed), shown entities, numbers and verdicts of pair i, by CSQA's conventions."""
    user, system = turns[i]
    kind, text = KEY_OF[user["question-type"]], system["utterance"].strip()
    everything = system.get("all_entities", [])
    shown = list(system.get("entities_in_utterance", []))
    if kind == "verification":
        verdicts = tuple(word == "YES" for word in re.findall(r"\b(YES|NO)\b", text))
        if len(verdicts) == 1 and user.get("bool_ques_type") in (4, 5):
            verdicts *= 2  # one word for both objects
        return text, None, shown, (), verdicts
    numbers: tuple[int, ...] = ()
    if kind.endswith("count"):
        two = _TWO_NUMBERS.fullmatch(text)
        digits = [text] if re.fullmatch(r"\d{1,18}", text) else list(two.groups()) if two else []
        numbers = tuple(int(one[:18]) for one in digits)
    listed = everything or not (numbers and any(numbers))
    unlisted = not listed or (kind == "clarification" and not everything)
    return text, None if unlisted else everything, shown, numbers, ()


class Namer:
    """A graph's names, with those of entities remembered once they were looked for."""

    def __init__(self, graph: KnowledgeGraph):
        self.graph = graph
        self._entities: dict[str, int] = {}

    def entity(self, name: str) -> int:
        found = self._entities.get(name)
        if found is None:
            found = self._entities[name] = self.graph.entity(name)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.graph, name)


def dialogue(turns: Turns, name: str, namer: Namer, references: Mapping[int, Lisp | None] | None = None) -> Dialogue:
    """The record of a dialogue.

    Args:
        references: forms by pair; by default those of `reference_form`.

    Raises:
        ZooError: an id that the graph does not have, with file and pair.
    """
    pairs = []
    for i, (user, _) in enumerate(turns):
        text, listed, shown, numbers, booleans = answer(turns, i)
        form = reference_form(turns, i) if references is None else references.get(i)
        try:
            entities = tuple(
                namer.entity(one)
                for one in dict.fromkeys((*user.get("entities_in_utterance", ()), *user.get("entities", ())))
            )
            shown_ids = tuple(namer.entity(one) for one in shown)
            reply = Answer(
                text=text,
                entities=None if listed is None else tuple(sorted({namer.entity(one) for one in listed})),
                shown=shown_ids,
                numbers=numbers,
                booleans=booleans,
            )
            tokens, answer_tokens = tokenise(user["utterance"]), tokenise(text)
            pair = Pair(
                tokens=tokens,
                answer=reply,
                type=KEY_OF[user["question-type"]],
                description=user.get("description", ""),
                mentions=_mentions(tokens, [namer.entity(one) for one in _named(turns, i)], namer),
                entities=entities,
                properties=tuple(namer.property(one) for one in user.get("relations", ())),
                classes=tuple(namer.class_(one) for one in user.get("type_list", ())),
                form=None if form is None else from_json(form, namer),
                answer_tokens=answer_tokens,
                answer_mentions=_mentions(answer_tokens, shown_ids, namer),
            )
        except ZooError as error:
            raise ZooError(f"{name}, pair {i}: {error}") from None
        pairs.append(pair)
    return Dialogue(name, tuple(pairs))


def _mentions(tokens: Sequence[str], entities: Iterable[int], namer: Namer) -> tuple[Mention, ...]:
    return find_mentions(tokens, [(tokenise(namer.label(one)), one) for one in dict.fromkeys(entities)])


def _named(turns: Turns, i: int) -> tuple[str, ...]:
    user, system = turns[i]
    before = turns[i - 1][0].get("entities_in_utterance", []) if i else []
    atoms = [atom for one in system.get("active_set", []) for atom in one.atoms]
    facts = [(atom.left, atom.right) for atom in atoms if isinstance(atom.left, str) and isinstance(atom.right, str)]
    return named(user, before, facts if KEY_OF[user["question-type"]] == "verification" else [])


# A whole folder.

Progress: TypeAlias = Callable[[str, int], None]  # a split's name, dialogues so far


def is_sample(root: Path) -> bool:
    """Whether `root` is the public sample with a fragment of the graph beside it."""
    return (root / "derived" / "kg_fragment_triples.tsv.gz").is_file()


def sample_graph(root: Path, dialogues: Iterable[Turns]) -> KnowledgeGraph:
    """The sample's fragment of the graph, with labels of what its questions name (see `csqa_labels`)."""
    from zoo.knowledge.build import from_csqa_sample
    from zoo.knowledge.graph import KnowledgeGraph, Texts

    graph = from_csqa_sample(root)
    named_ones = np.flatnonzero(np.diff(graph.arrays["label_offsets"])).tolist() if "labels" in graph.arrays else []
    labels = {graph.entity_name(i): graph.label(i) for i in named_ones if not ORDINAL.search(graph.label(i))}
    words: frozenset[str] = frozenset()
    templates = root / "derived" / "question_templates.tsv.gz"
    if templates.is_file():
        words = question_words(row["template"] for row in read_templates(templates))
    asked = [
        Asked(user["utterance"], _named(turns, i), tuple(user.get("relations", ())))
        for turns in dialogues
        for i, (user, _) in enumerate(turns)
    ]
    labels = learn(asked, labels, words)
    listed = [""] * graph.entities
    for name, label in labels.items():
        listed[graph.entity(name)] = label
    texts = Texts.of(listed)
    arrays = {**graph.arrays, "labels": texts.blob, "label_offsets": texts.offsets}
    return KnowledgeGraph(graph.header, arrays)


def read_templates(path: Path) -> list[dict[str, str]]:
    """Rows of question_templates.tsv.gz: question_type, description, relations, direction, template, count.

    Raises:
        ZooError: it is damaged or another file.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ZooError(f"{path} cannot be read ({type(error).__name__}): fetch it again.") from None
    if not rows or not all(
        isinstance(row.get(key), str) for row in rows for key in ("relations", "direction", "template")
    ):
        raise ZooError(f"{path} has no columns relations, direction and template in every row.")
    return rows


def read_references(path: Path) -> dict[tuple[str, str], dict[int, Lisp | None]]:
    """(split, file) -> pair -> form, of reference_lf.jsonl.gz.

    Raises:
        ZooError: a line that is not as it should be; names it.
    """
    found: dict[tuple[str, str], dict[int, Lisp | None]] = defaultdict(dict)
    line = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line, text in enumerate(file, 1):  # noqa: B007 (named in the error)
                row = json.loads(text)
                found[row["split"], row["file"]][row["pair"]] = row["lf"]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise ZooError(f"{path}, line {line}: not a reference form ({type(error).__name__}).") from None
    return found


def full_graph(root: Path, cache: Path, say: Callable[[str], None] = lambda text: None) -> KnowledgeGraph:
    """The graph of the release's JSON files in `root` or `root/kg`, built once into `cache`.

    Raises:
        ZooError: the files are not there or malformed.
    """
    from zoo.knowledge.build import REVERSED, TRIPLES, from_csqa
    from zoo.knowledge.graph import KnowledgeGraph

    names = [name + suffix for name in (*TRIPLES, REVERSED) for suffix in ("", ".gz")]
    folder = next((one for one in (root, root / "kg") if any((one / name).is_file() for name in names)), None)
    if folder is None:
        raise ZooError(
            f"{root} has no {TRIPLES[0]}: put CSQA's Wikidata files there, or give a graph made by `zoo kg build`."
        )
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.glob("*.json*"))]
    key = hashlib.sha256(repr((str(folder.resolve()), stats)).encode()).hexdigest()
    path = cache / f"csqa-{key[:16]}.kg"
    return KnowledgeGraph.open(path) if path.is_file() else from_csqa(folder, say=say).save(path)


def load(
    root: str | Path,
    *,
    graph: KnowledgeGraph | str | Path | None = None,
    cache: Path | None = None,
    splits: Sequence[str] = SPLITS,
    limit: int | None = None,
    strict: bool = True,
    progress: Progress = lambda split, count: None,
) -> Corpus:
    """Dialogues of a folder and their graph.

    Args:
        graph: a graph or its file; by default the sample's fragment, or one built from the release's JSON files.
        cache: where a built graph is kept; the sample's only if this is given and all splits are.
        limit: at most that many dialogues of each split.
        strict: whether a dialogue that cannot be used (malformed, or with an id that the graph does not have) is an
            error; otherwise it is left out, and `Corpus.left_out` counts the reasons.

    Raises:
        ZooError: one sentence with file, pair and field.
    """
    from zoo.knowledge.graph import KnowledgeGraph

    root = Path(root)
    found = {split: source for split, source in sources(root).items() if split in splits}
    left_out: Counter[str] = Counter()
    texts: dict[str, list[tuple[str, Turns]]] = {}
    if graph is None and is_sample(root):
        texts = {split: list(read(source, None if strict else left_out)) for split, source in found.items()}
        key = hashlib.sha256(
            "".join(sha256(path) for path in sorted((root / "derived").glob("*"))).encode()
        ).hexdigest()
        path = cache / f"csqa-sample-{key[:16]}.kg" if cache is not None and set(found) == set(sources(root)) else None
        if path is not None and path.is_file():
            graph = KnowledgeGraph.open(path)
        else:
            graph = sample_graph(root, (turns for dialogues in texts.values() for _, turns in dialogues))
            graph = graph.save(path) if path is not None else graph
    elif graph is None:
        if cache is None:
            from datamodules.corpus import default_cache  # imports Lightning

            cache = default_cache()
        graph = full_graph(root, cache)
    elif not isinstance(graph, KnowledgeGraph):
        graph = KnowledgeGraph.open(graph)
    references: dict[tuple[str, str], dict[int, Lisp | None]] = {}
    reference = root / "derived" / "reference_lf.jsonl.gz"
    if reference.is_file():
        references = read_references(reference)
    namer = Namer(graph)
    loaded: dict[str, tuple[Dialogue, ...]] = {}
    for split, source in found.items():
        records: list[Dialogue] = []
        for name, turns in texts.get(split) or read(source, None if strict else left_out):
            if limit is not None and len(records) >= limit:
                break
            try:
                records.append(dialogue(turns, name, namer, references.get((split, name))))
            except ZooError as error:
                if strict:
                    raise
                left_out[_reason(error)] += 1
            if not len(records) % 1000:
                progress(split, len(records))
        progress(split, len(records))
        loaded[split] = tuple(records)
    hashes = {f"{source.name} sha256": sha256(source) for source in found.values() if source.is_file()}
    provenance = {"name": "CSQA" + " (sample)" * is_sample(root), "licence": LICENCE, **hashes}
    return Corpus(graph, loaded, left_out=left_out, provenance=provenance)


def _reason(error: ZooError) -> str:
    """What is wrong, without the place and the id."""
    return re.sub(r"'[QP]\d+'", "…", re.sub(r"^.*?(?:, pair \d+|\.json): ", "", str(error)))
