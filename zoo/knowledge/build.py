"""Knowledge graphs from arrays, from TSV files of triples, and from the JSON files of CSQA.

All of them end in `from_arrays`, which sorts packed 64-bit keys: 21 million triples take seconds and under 3 GB. Files are read
one line or one member at a time, so that the JSON files of gigabytes never stand in memory as Python objects.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import re
import tarfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from zoo.knowledge.graph import DATE, NUMBER, TEXT, KnowledgeGraph, Texts, offsets_of
from zoo.registry import ZooError

Array = NDArray[Any]
CHUNK = 1 << 22  # characters read at a time


# From arrays.


def from_arrays(
    triples: tuple[Array, Array, Array],
    types: tuple[Array, Array],
    *,
    entities: int,
    property_names: Sequence[str],
    class_names: Sequence[str],
    property_labels: Sequence[str] = (),
    class_labels: Sequence[str] = (),
    labels: Texts | Sequence[str] | None = None,
    entity_numbers: Array | None = None,
    entity_names: Sequence[str] | None = None,
    literals: Literals | None = None,
    source: str = "arrays",
) -> KnowledgeGraph:
    """A graph in memory; `.save(path)` writes it.

    Args:
        triples: subjects, properties, objects, each (n,); duplicates count once.
        types: entities and their classes, each (m,); an entity may have several.
        labels: one per entity, "" where there is none.
        entity_numbers: entity i is called Q and entity_numbers[i], ascending; Q and i if not given.
        entity_names: any names instead, in the order of their bytes in UTF-8.

    Raises:
        ZooError: an id out of range, or names or labels of the wrong number.
    """
    s, p, o = (np.asarray(one) for one in triples)
    member, of = (np.asarray(one) for one in types)
    properties, classes = len(property_names), len(class_names)
    if entities >= 2**31:
        raise ZooError(f"A graph may have {2**31 - 1:,} entities, not {entities:,}.")
    for what, ids, count in (
        ("subject", s, entities),
        ("property", p, properties),
        ("object", o, entities),
        ("member of a class", member, entities),
        ("class", of, classes),
    ):
        if len(ids) and not (ids.min() >= 0 and ids.max() < count):
            raise ZooError(f"A {what} has an id outside 0 … {count - 1}.")
    if len(s) != len(p) or len(s) != len(o) or len(member) != len(of):
        raise ZooError("Subjects, properties and objects are not of one number, or members and classes are not.")
    if len(set(property_names)) < properties or len(set(class_names)) < classes:
        raise ZooError("Two properties, or two classes, have the same name.")
    arrays: dict[str, Array] = {}
    for direction, near, far in (("forward", s, o), ("backward", o, s)):
        pairs = _store_direction(arrays, direction, p, near, far, properties, max(entities, 1))
        side = "out" if direction == "forward" else "in"
        arrays[f"{side}_starts"], arrays[f"{side}_properties"] = _rows(*pairs, entities, properties)
    arrays["class_starts"], members = _rows(of, member, classes, entities)
    arrays["class_members"] = members.astype(np.int32)
    arrays["entity_class_starts"], arrays["entity_classes"] = _rows(member, of, entities, classes)
    literals = literals or Literals()
    rows = literals.store(arrays)
    _store_direction(arrays, "literal", *rows, properties, max(entities, len(literals.table), 1))
    if entity_numbers is not None:
        if len(entity_numbers) != entities or (np.diff(entity_numbers) <= 0).any():
            raise ZooError("The numbers of entities do not ascend, or are not one per entity.")
        arrays["entity_numbers"] = np.asarray(entity_numbers, np.int32)
    if entity_names is not None:
        if len(entity_names) != entities or any(a >= b for a, b in zip(entity_names, entity_names[1:], strict=False)):
            raise ZooError("The names of entities do not ascend, or are not one per entity.")
        texts = Texts.of(entity_names)
        arrays["entity_names"], arrays["entity_name_offsets"] = texts.blob, texts.offsets
    if labels is not None:
        texts = labels if isinstance(labels, Texts) else Texts.of(labels)
        if len(texts) != entities:
            raise ZooError(f"There are {len(texts)} labels for {entities} entities.")
        arrays["labels"], arrays["label_offsets"] = texts.blob, texts.offsets
    header = {
        "source": source,
        "entities": entities,
        "property_names": list(property_names),
        "class_names": list(class_names),
        "property_labels": list(property_labels) or [""] * properties,
        "class_labels": list(class_labels) or [""] * classes,
    }
    if len(header["property_labels"]) != properties or len(header["class_labels"]) != classes:  # type: ignore[arg-type]
        raise ZooError("The labels of properties, or of classes, are not one each.")
    return KnowledgeGraph(header, arrays)


def _bits(count: int) -> int:
    return max(count - 1, 1).bit_length()


def _sorted_keys(columns: Sequence[Array], counts: Sequence[int]) -> list[Array]:
    """The columns in lexicographic order, without duplicates."""
    widths = [_bits(count) for count in counts]
    if sum(widths) > 63:
        order = np.lexsort(columns[::-1])
        ordered = [column[order] for column in columns]
        new = np.ones(len(order), bool)
        if len(order):
            new[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in ordered])
        return [column[new].astype(np.int32) for column in ordered]
    keys = np.zeros(len(columns[0]), np.int64)
    for column, width in zip(columns, widths, strict=True):
        keys <<= width
        keys |= column
    keys.sort()
    if len(keys):
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    ordered = []
    for width in reversed(widths):
        ordered.append((keys & ((1 << width) - 1)).astype(np.int32))
        keys >>= width
    return ordered[::-1]


def _rows(row: Array, column: Array, rows: int, columns: int) -> tuple[Array, Array]:
    """Starts (rows + 1,) and ascending columns of each row."""
    row, column = _sorted_keys((row, column), (rows, columns))
    return offsets_of(np.bincount(row, minlength=rows)), column.astype(np.uint16 if columns <= 2**16 else np.int32)


def _store_direction(
    arrays: dict[str, Array], direction: str, p: Array, near: Array, far: Array, properties: int, largest: int
) -> tuple[Array, Array]:
    """Puts the arrays of one direction in, and gives the distinct pairs (near, p)."""
    p, near, far = _sorted_keys((p, near, far), (properties, largest, largest))
    first = np.flatnonzero(
        np.concatenate([[True], (near[1:] != near[:-1]) | (p[1:] != p[:-1])]) if len(p) else np.empty(0, bool)
    )
    near, pair_property = near[first], p[first]
    target_bounds = offsets_of(np.bincount(p, minlength=properties)).astype(np.int64)
    source_bounds = offsets_of(np.bincount(pair_property, minlength=properties)).astype(np.int64)
    starts = np.empty(len(first) + properties, np.int32)  # every property's block has one start more than sources
    starts[np.arange(len(first)) + pair_property] = first - target_bounds[pair_property]
    starts[source_bounds[1:] + np.arange(properties)] = np.diff(target_bounds)
    arrays[f"{direction}_sources"], arrays[f"{direction}_starts"], arrays[f"{direction}_targets"] = near, starts, far
    arrays[f"{direction}_source_bounds"], arrays[f"{direction}_target_bounds"] = source_bounds, target_bounds
    return near, pair_property


# Literals.


@dataclass
class Literals:
    """Values at (entity, property), collected one by one."""

    table: dict[tuple[float, int, str], int] = field(default_factory=dict)  # (key, kind, text), in order of appearance
    rows: tuple[array[int], array[int], array[int]] = field(
        default_factory=lambda: (array("i"), array("i"), array("i"))
    )

    def add(self, entity: int, property: int, literal: tuple[float, int, str]) -> None:
        number = self.table.setdefault(literal, len(self.table))
        for column, value in zip(self.rows, (entity, property, number), strict=True):
            column.append(value)

    def store(self, arrays: dict[str, Array]) -> tuple[Array, Array, Array]:
        """Puts the table in, in the order of keys, and gives properties, entities and places in the table."""
        ordered = sorted(self.table)
        arrays["literal_keys"] = np.array([key for key, _, _ in ordered], np.float64)
        arrays["literal_kinds"] = np.array([kind for _, kind, _ in ordered], np.uint8)
        texts = Texts.of(text for _, _, text in ordered)
        arrays["literal_texts"], arrays["literal_text_offsets"] = texts.blob, texts.offsets
        place = np.empty(len(ordered), np.int32)
        place[[self.table[one] for one in ordered]] = np.arange(len(ordered), dtype=np.int32)
        entity, property, number = (np.array(column, np.int32) for column in self.rows)
        return property, entity, place[number]


TYPED = re.compile(r'"(?P<text>.*)"(?:\^\^<?(?P<type>[^>]*)>?|@[\w-]+)?', re.DOTALL)
DAY = re.compile(r"([+-]?\d{4,})-(\d\d)-(\d\d)(?:T(\d\d:\d\d:\d\d)(?:\.\d+)?Z?)?")


def parse_literal(text: str) -> tuple[float, int, str]:
    """(key, kind, text) of a literal as RDF writes it, "+1.5"^^<…#decimal>, or bare: a number, a date, or else text.

    A date's key is its decimal year, so that 1910-01-01 equals the year 1910.
    """
    typed = TYPED.fullmatch(text)
    body, datatype = (typed["text"], typed["type"] or "string") if typed else (text, "")
    name = re.split(r"[#/:]", datatype)[-1].lower()
    if name in ("", "date", "datetime", "gyear", "gyearmonth"):
        day = DAY.fullmatch(body)
        if day:
            year, month, date = int(day[1]), int(day[2]), int(day[3])
            written = f"{day[1].lstrip('+')}-{day[2]}-{day[3]}T{day[4] or '00:00:00'}Z"
            return year + max(month - 1, 0) / 12 + max(date - 1, 0) / 372, DATE, written
        if name.startswith("gyear") and re.fullmatch(r"[+-]?\d{1,9}", body[:10]):
            return float(int(body)), DATE, f"{int(body):04d}-01-01T00:00:00Z"
    if name != "string":
        try:
            value = float(body)
        except ValueError:
            value = math.inf
        if math.isfinite(value):
            return value + 0.0, NUMBER, body.lstrip("+")
    return math.inf, TEXT, body


# Names.


class Interner:
    """Numbers names in the order in which they come, and afterwards in their own order."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def __call__(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers))

    def ranked(self) -> tuple[list[str], Array]:
        """Names in order, those like Q42 or P19 by their number, and the rank of each number given so far."""
        names = list(self.numbers)
        numbered = all(QID.fullmatch(name) for name in names)
        names.sort(key=(lambda name: (name[0], int(name[1:]))) if numbered else None)
        rank = np.empty(len(names), np.int32)
        rank[[self.numbers[name] for name in names]] = np.arange(len(names), dtype=np.int32)
        return names, rank


QID = re.compile(r"[QP](0|[1-9][0-9]{0,8})")


def _entity_naming(names: Sequence[str]) -> dict[str, Any]:
    """Arguments of `from_arrays` for ranked names."""
    if all(name[0] == "Q" and QID.fullmatch(name) for name in names):
        return {"entity_numbers": np.array([int(name[1:]) for name in names], np.int32)}
    return {"entity_names": sorted(names)}


# Reading.


@contextmanager
def _reading(path: Path) -> Iterator[IO[str]]:
    """A text file, packed with gzip or not; errors of the file name it."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            yield file
    except (OSError, EOFError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise ZooError(f"{path} cannot be read: {said.rstrip('.')}.") from None
    except UnicodeDecodeError:
        raise ZooError(f"{path} is not text in UTF-8.") from None


def read_rows(path: Path, columns: int) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells of a TSV file; empty lines are left out.

    Raises:
        ZooError: a line that does not have that many cells, or an empty one; names file and line.
    """
    with _reading(path) as file:
        for number, line in enumerate(file, 1):
            cells = line.rstrip("\r\n").split("\t")
            if len(cells) != columns or "" in cells:
                if cells == [""]:
                    continue
                if len(cells) == columns:
                    raise ZooError(f"{path}, line {number}: cell {cells.index('') + 1} is empty.")
                raise ZooError(f"{path}, line {number}: it has {len(cells)} cells between tabs, not {columns}.")
            yield number, cells


def read_members(path: Path) -> Iterator[tuple[str, Any]]:
    """Members of the JSON object in a file, one at a time.

    Raises:
        ZooError: the file is not one JSON object; names file and line.
    """
    decode, space = json.JSONDecoder().raw_decode, re.compile(r"[ \t\r\n]*")

    def skip(text: str, at: int) -> int:
        found = space.match(text, at)
        return found.end() if found else at

    with _reading(path) as file:
        text, at, lines, size, ended = "", 0, 1, CHUNK, False
        while not ended and not text.strip():
            more = file.read(size)
            text, ended = text + more, len(more) < size

        def wrong(what: str, place: int) -> ZooError:
            return ZooError(f"{path}, line {lines + text.count(chr(10), 0, place)}: {what}.")

        at = skip(text, 0)
        if text[at : at + 1] != "{":
            raise wrong("a JSON object with {…} is wanted", at)
        at, first = skip(text, at + 1), True
        while True:
            start = at = skip(text, at)  # of a member with the comma before it
            try:
                if text[at : at + 1] == "}":
                    break
                if not first:
                    if text[at : at + 1] != ",":
                        raise json.JSONDecodeError("a comma or } is wanted", text, at)
                    at = skip(text, at + 1)
                key, at = decode(text, at)
                if not isinstance(key, str):
                    raise json.JSONDecodeError("a key in quotes is wanted", text, at)
                at = skip(text, at)
                if text[at : at + 1] != ":":
                    raise json.JSONDecodeError("a colon is wanted", text, at)
                value, at = decode(text, skip(text, at + 1))
                at = skip(text, at)
                if at == len(text) and not ended:  # a number may go on in the next chunk
                    raise json.JSONDecodeError("", text, at)
            except (json.JSONDecodeError, RecursionError) as error:
                if isinstance(error, RecursionError):
                    raise wrong("it is nested too deeply", start) from None
                if ended or error.pos + max(CHUNK // 4, 1024) < len(text):  # not where the chunk ends
                    cut = ended and (error.pos >= len(text.rstrip()) or "Unterminated" in error.msg)
                    raise wrong("the JSON ends too early" if cut else f"not JSON ({error.msg})", error.pos) from None
                lines += text.count("\n", 0, start)
                more = file.read(size)
                ended, size = len(more) < size, size * (2 if start == 0 else 1)
                text, at = text[start:] + more, 0
                continue
            yield key, value
            first = False
        rest = text[at + 1 :] + file.read(1024)
        if rest.strip():
            raise wrong("something follows the end of the JSON object", at + 1)


# From TSV.


def from_tsv(
    triples: Iterable[str | Path],
    *,
    types: Iterable[str | Path] = (),
    labels: Iterable[str | Path] = (),
    property_labels: Iterable[str | Path] = (),
    class_labels: Iterable[str | Path] = (),
    literals: Iterable[str | Path] = (),
    also_entities: Iterable[str] = (),
    also_classes: Iterable[str] = (),
    source: str = "",
) -> KnowledgeGraph:
    """A graph of TSV files, packed with gzip or not.

    Args:
        triples: files of "subject, property, object".
        types: of "entity, class", or JSON {entity: [class, …]}.
        labels, property_labels, class_labels: of "name, label", or JSON {name: label}. A property that has a label is in the
            graph; labels of other unknown names are left out.
        literals: of "entity, property, value".
        also_entities, also_classes: names that the graph has even if no file does.

    Raises:
        ZooError: a file that cannot be read, or a line that is not as it should be; names file and line.
    """
    paths = [Path(path) for path in triples]
    entity, property, class_ = Interner(), Interner(), Interner()
    s, p, o, member, of = (array("i") for _ in range(5))
    for path in paths:
        for _, (subject, predicate, object) in read_rows(path, 3):
            s.append(entity(subject))
            p.append(property(predicate))
            o.append(entity(object))
    for path in map(Path, types):
        for name, type_name in _read_types(path):
            member.append(entity(name))
            of.append(class_(type_name))
    values: list[tuple[int, int, tuple[float, int, str]]] = []
    for path in map(Path, literals):
        for _, (name, predicate, value) in read_rows(path, 3):
            values.append((entity(name), property(predicate), parse_literal(value)))
    for name in also_entities:
        entity(name)
    for name in also_classes:
        class_(name)
    known = {what: _read_labels(files) for what, files in (("p", property_labels), ("c", class_labels), ("e", labels))}
    for name in known["p"]:
        property(name)
    entity_names, entity_rank = entity.ranked()
    property_names, property_rank = property.ranked()
    class_names, class_rank = class_.ranked()
    naming = _entity_naming(entity_names)
    if "entity_names" in naming:  # by their bytes, and not by the numbers in them
        entity_rank[[entity.numbers[name] for name in naming["entity_names"]]] = np.arange(len(entity_rank))
        entity_names = naming["entity_names"]
    table = Literals()
    for one, other, literal in values:
        table.add(int(entity_rank[one]), int(property_rank[other]), literal)
    return from_arrays(
        (entity_rank[_ints(s)], property_rank[_ints(p)], entity_rank[_ints(o)]),
        (entity_rank[_ints(member)], class_rank[_ints(of)]),
        entities=len(entity_names),
        property_names=property_names,
        class_names=class_names,
        property_labels=[known["p"].get(name, "") for name in property_names],
        class_labels=[known["c"].get(name) or known["e"].get(name, "") for name in class_names],
        labels=[known["e"].get(name, "") for name in entity_names] if known["e"] else None,
        literals=table,
        source=source or ", ".join(path.name for path in paths),
        **naming,
    )


def _ints(values: array[int]) -> Array:
    return np.array(values, np.int32)


def _read_types(path: Path) -> Iterator[tuple[str, str]]:
    if path.name.removesuffix(".gz").endswith(".json"):
        for name, classes in read_members(path):
            for class_ in classes if isinstance(classes, list) else [classes]:
                if not isinstance(class_, str):
                    raise ZooError(f"{path}: {name[:40]} wants a list of classes, got {classes!r:.40}.")
                yield name, class_
    else:
        yield from ((name, class_) for _, (name, class_) in read_rows(path, 2))


def _read_labels(files: Iterable[str | Path]) -> dict[str, str]:
    """Labels by name; only the first two cells of a row are read."""
    found: dict[str, str] = {}
    for path in map(Path, files):
        if path.name.removesuffix(".gz").endswith(".json"):
            for name, label in read_members(path):
                label = label.get("label") if isinstance(label, dict) else label
                found[name] = label if isinstance(label, str) else ""
            continue
        with _reading(path) as file:
            for number, line in enumerate(file, 1):
                cells = line.rstrip("\r\n").split("\t")
                if len(cells) > 1:
                    found[cells[0]] = cells[1]
                elif cells[0]:
                    raise ZooError(f"{path}, line {number}: a name, a tab and a label are wanted.")
    return found


# From CSQA.

TRIPLES = ("wikidata_short_1.json", "wikidata_short_2.json")
REVERSED = "comp_wikidata_rev.json"
LABELS = "items_wikidata_n.json"
PROPERTY_LABELS = "filtered_property_wikidata4.json"
CLASS_LABELS = "child_par_dict_name_2_corr.json"
TYPES = ("child_par_dict_save.json", "par_child_dict.json", "child_par_dict_immed.json")


class _Numbers:
    """Columns of numbers of Q and P ids; what is not such an id is counted and left out."""

    def __init__(self) -> None:
        self.dropped = 0

    def __call__(self, name: Any, letter: str = "Q") -> int:
        if isinstance(name, str) and name[:1] == letter and QID.fullmatch(name):
            return int(name[1:])
        self.dropped += 1
        return -1


def from_csqa(
    folder: str | Path, *, types: Sequence[str] = (), say: Callable[[str], None] = lambda text: None
) -> KnowledgeGraph:
    """A graph of CSQA's files: wikidata_short_1.json and _2, or comp_wikidata_rev.json, which says the same backwards.

    Entities get the classes of child_par_dict_save.json, which is what the questions use, or of par_child_dict.json, or of
    child_par_dict_immed.json: of the first that is there, or of all those named in `types`. Labels come from
    items_wikidata_n.json, filtered_property_wikidata4.json and child_par_dict_name_2_corr.json, where they are there. The
    other files (schema, fan-outs, ancestors) follow from these and are not read. Each may be packed with gzip.

    Raises:
        ZooError: a file that is missing or malformed; names it, and the line.
    """
    folder = Path(folder)

    def find(name: str) -> Path | None:
        return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)

    number = _Numbers()
    s, p, o, member, of = (array("i") for _ in range(5))
    forward = [path for path in map(find, TRIPLES) if path]
    backward = find(REVERSED)
    if not forward and not backward:
        raise ZooError(f"{folder} has neither {TRIPLES[0]} nor {REVERSED}, the triples of CSQA's knowledge graph.")
    read = forward or [path for path in [backward] if path]
    for path in read:
        near, far = (s, o) if forward else (o, s)
        for name, facts in read_members(path):
            one = number(name)
            if not isinstance(facts, dict):
                raise ZooError(f"{path}: {name[:40]} wants an object of property ids, got {facts!r:.40}.")
            for predicate, others in facts.items():
                if not isinstance(others, list):
                    raise ZooError(f"{path}: {name[:40]} {predicate[:40]} wants a list of ids, got {others!r:.40}.")
                if not others:  # a property with literal values, which CSQA left out
                    continue
                two = number(predicate, "P")
                for other in others:
                    three = number(other)
                    if min(one, two, three) >= 0:
                        near.append(one)
                        p.append(two)
                        far.append(three)
        say(f"{path.name}: {len(s):,} triples so far")
    for wanted in types or [name for name in TYPES if find(name)][:1] or TYPES[:1]:
        classified = find(wanted)
        if classified is None:
            raise ZooError(f"{folder} has no {wanted}, the classes of entities.")
        parents = not wanted.startswith("par_child")
        for name, others in read_members(classified):
            one = number(name)
            for other in others if isinstance(others, list) else [others]:
                two = number(other)
                if min(one, two) >= 0:
                    member.append(one if parents else two)
                    of.append(two if parents else one)
        say(f"{classified.name}: {len(of):,} classes of entities so far")
    labelled, blob, lengths = array("i"), bytearray(), array("i")
    labels = find(LABELS)
    if labels is not None:
        for name, label in read_members(labels):
            one = number(name)
            if one >= 0 and isinstance(label, str):
                text = label.encode("utf-8", "replace")
                labelled.append(one)
                lengths.append(len(text))
                blob += text
        say(f"{labels.name}: {len(labelled):,} labels")
    if number.dropped:
        say(f"left out {number.dropped:,} ids that are not Q or P and a number")
    property_labels = _read_labels(filter(None, [find(PROPERTY_LABELS)]))
    class_labels = _read_labels(filter(None, [find(CLASS_LABELS)]))

    entities = _distinct(_ints(s), _ints(o), _ints(member), _ints(labelled))
    listed = [int(name[1:]) for name in property_labels if QID.fullmatch(name)]
    properties = _distinct(_ints(p), np.array(listed, np.int32))
    classes = _distinct(_ints(of))
    texts = Texts(np.frombuffer(blob, np.uint8), offsets_of(_ints(lengths)))
    order = np.full(len(entities), -1, np.int64)
    order[np.searchsorted(entities, _ints(labelled))] = np.arange(len(labelled))
    places = np.full(len(classes), -1, np.int64)
    there = np.isin(classes, entities)  # a class may have a label as an entity
    places[there] = order[np.searchsorted(entities, classes[there])]
    own = [texts[place] if place >= 0 else "" for place in places.tolist()]
    return from_arrays(
        (
            np.searchsorted(entities, _ints(s)),
            np.searchsorted(properties, _ints(p)),
            np.searchsorted(entities, _ints(o)),
        ),
        (np.searchsorted(entities, _ints(member)), np.searchsorted(classes, _ints(of))),
        entities=len(entities),
        entity_numbers=entities,
        property_names=[f"P{one}" for one in properties],
        class_names=[f"Q{one}" for one in classes],
        property_labels=[property_labels.get(f"P{one}", "") for one in properties],
        class_labels=[class_labels.get(f"Q{one}") or label for one, label in zip(classes, own, strict=True)],
        labels=texts.take(order) if len(labelled) else None,
        source=f"CSQA, {', '.join(path.name for path in read)}",
    )


def _distinct(*columns: Array) -> Array:
    """Their values once each, ascending, by a mark for each possible one: ids are dense enough for that."""
    largest = max((int(column.max()) for column in columns if len(column)), default=-1)
    seen = np.zeros(largest + 1, bool)
    for column in columns:
        seen[column] = True
    return np.flatnonzero(seen).astype(np.int32)


def from_csqa_sample(folder: str | Path) -> KnowledgeGraph:
    """The fragment of the graph that was read off real CSQA dialogues (derived/*.tsv.gz).

    Every entity, property and class that the dialogues name is in it, so that their forms can be written; it has triples only
    around what was asked.

    Raises:
        ZooError: as `from_tsv`.
    """
    folder = Path(folder)
    derived = folder / "derived"
    entities, classes = set[str](), set[str]()
    for path in sorted(folder.glob("sample_*.tar.gz")):
        for turn in _turns(path):
            for key in ("entities_in_utterance", "all_entities", "entities"):
                entities.update(turn.get(key) or ())
            classes.update(turn.get("type_list") or ())
            for atom in turn.get("active_set") or ():
                classes.update(re.findall(r"c\((Q\d+)\)", atom))
                entities.update(re.findall(r"(?<!c\()(Q\d+)", atom))
    reference = derived / "reference_lf.jsonl.gz"
    if reference.is_file():
        with _reading(reference) as file:
            for line in file:
                names = set(re.findall(r'"(Q\d+)"', line))
                entities |= names
                classes |= set(re.findall(r'(?:\],|"members",)"(Q\d+)"\]', line))
    return from_tsv(
        [derived / "kg_fragment_triples.tsv.gz"],
        types=[derived / "entity_types.tsv.gz"],
        labels=[derived / "entity_labels.tsv.gz"],
        property_labels=[folder / PROPERTY_LABELS],
        class_labels=[derived / "type_labels.tsv"],
        also_entities=sorted(entities),
        also_classes=sorted(classes),
        source="CSQA sample, fragment",
    )


def _turns(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with tarfile.open(path) as archive:
            for item in archive:
                file = archive.extractfile(item) if item.name.endswith(".json") else None
                if file is not None:
                    yield from json.load(io.TextIOWrapper(file, "utf-8"))
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        raise ZooError(f"{path} cannot be read: {error}.") from None
