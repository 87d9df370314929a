"""A knowledge graph K of triples (s, p, o) as index arrays in one file, which is mapped into memory and never read whole.

Entities, properties and classes are dense int32 numbers. Both directions are stored, sorted by (property, entity):

    forward   a block per property: its sources s ascending, starts of their targets, targets o ascending for each s
    backward  the same with s and o exchanged
    out, in   properties at each entity
    members   entities of each class, and classes of each entity
    literals  values (numbers, dates, text) at (s, p), a third direction whose targets are rows of a table of literals

File: 32 bytes that begin with MAGIC, the arrays, each at a multiple of 64 bytes, and a header in JSON that says where they are.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zoo.files import write_beside
from zoo.registry import ZooError

Ids = NDArray[np.int32]
MAGIC = b"ZOOGRAPH"
VERSION = 1
PREAMBLE = struct.Struct("<8sIIQQ")  # magic, version, crc of the header, its place, its length
ALIGN = 64
DIRECTIONS = ("forward", "backward", "literal")
EMPTY: Ids = np.empty(0, np.int32)
NUMBER, DATE, TEXT = range(3)
KINDS = ("number", "date", "text")


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that is no entity.

    Attributes:
        kind: "number", "date" or "text".
        key: what it is ordered by: the number, the decimal year of a date (inf for text).
        text: as it is written, dates as 2001-06-22T00:00:00Z.
    """

    kind: str
    key: float
    text: str


class Edges(NamedTuple):
    """The triples of one property in one direction: source i has targets[starts[i]:starts[i + 1]], ascending."""

    sources: Ids
    starts: Ids
    targets: Ids

    def places(self, sources: Ids) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of the given sources have triples, and where they stand."""
        if not len(sources) or not len(self.sources):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        at = np.searchsorted(self.sources, sources)
        at[at == len(self.sources)] = 0
        found = np.flatnonzero(self.sources.take(at) == sources)
        return found, at[found]

    def at(self, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], Ids]:
        """All targets of the sources that stand at these places, in their order, and for each the number of its source."""
        begins = self.starts.take(places).astype(np.int64)
        lengths = self.starts.take(places + 1) - begins
        ends = np.cumsum(lengths)
        index = np.repeat(np.arange(len(places)), lengths)
        return index, self.targets.take(np.arange(len(index)) + (begins - ends + lengths).take(index))

    def count(self, places: NDArray[np.int64]) -> int:
        """Number of triples from the sources at these places."""
        return int((self.starts.take(places + 1) - self.starts.take(places)).sum(dtype=np.int64))


class Texts:
    """Many strings as one array of bytes: string i is blob[offsets[i]:offsets[i + 1]] in UTF-8."""

    def __init__(self, blob: NDArray[np.uint8], offsets: NDArray[Any]):
        self.blob, self.offsets = blob, offsets

    @classmethod
    def of(cls, strings: Iterable[str]) -> Texts:
        blob, lengths = bytearray(), []
        for string in strings:
            one = string.encode("utf-8", "replace")
            blob += one
            lengths.append(len(one))
        return cls(np.frombuffer(bytes(blob), np.uint8), offsets_of(np.array(lengths, np.int64)))

    def take(self, order: NDArray[Any], block: int = 1 << 20) -> Texts:
        """The strings with these numbers; -1 is an empty one."""
        known = order >= 0
        begins = (
            np.where(known, self.offsets[:-1][order], 0).astype(np.int64) if len(self) else np.zeros(len(order), int)
        )
        lengths = np.where(known, self.offsets[1:][order], begins) - begins if len(self) else np.zeros(len(order), int)
        offsets = offsets_of(lengths)
        blob = np.empty(int(offsets[-1]), np.uint8)
        for first in range(0, len(order), block):  # the index of every byte of all strings would not fit
            size = lengths[first : first + block]
            start, stop = int(offsets[first]), int(offsets[min(first + block, len(order))])
            inside = np.arange(stop - start) - np.repeat(offsets[first : first + len(size)] - start, size)
            blob[start:stop] = self.blob[np.repeat(begins[first : first + block], size) + inside]
        return Texts(blob, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> str:
        return self.raw(i).decode("utf-8")

    def raw(self, i: int) -> bytes:
        return self.blob[self.offsets[i] : self.offsets[i + 1]].tobytes()

    def find(self, string: str) -> int:
        """Where it is among strings in the order of their bytes, or -1."""
        wanted, low, high = string.encode("utf-8", "replace"), 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self.raw(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self.raw(low) == wanted else -1


def offsets_of(lengths: NDArray[Any]) -> NDArray[Any]:
    """0 and the sums of the first 1, 2, … lengths, in the smallest of the types int32 and int64."""
    total = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=total[1:])
    return total if total[-1] >= 2**31 else total.astype(np.int32)


class KnowledgeGraph:
    """An immutable graph; `KnowledgeGraph.open` maps a file, `zoo.knowledge.build` makes new ones.

    Attributes:
        header: what it is: counts, names and labels of properties and classes, where it came from.
        arrays: by name, as the file has them.
        path: of the file, None for a graph that has none.
        entities, properties, classes, triples: their numbers.
    """

    def __init__(self, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], path: Path | None = None):
        self.header, self.arrays, self.path = dict(header), dict(arrays), path
        self.entities: int = header["entities"]
        self.properties, self.classes = len(header["property_names"]), len(header["class_names"])
        self.triples = len(arrays["forward_targets"])
        self._edges: dict[tuple[str, int], Edges] = {}
        self._views: dict[tuple[str, int], tuple[memoryview, memoryview, Ids]] = {}
        self._class_starts = arrays["class_starts"].tolist()
        self._members = arrays["class_members"]
        self._property_ids = {name: i for i, name in enumerate(header["property_names"])}
        self._class_ids = {name: i for i, name in enumerate(header["class_names"])}

    # The file.

    @classmethod
    def open(cls, path: str | Path) -> KnowledgeGraph:
        """Maps a file that `save` wrote.

        Raises:
            ZooError: it is not there, not a graph, of another version, cut off or changed; one sentence that names it.
        """
        path = Path(path)
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                start = file.read(PREAMBLE.size)
                if start[: len(MAGIC)] != MAGIC:
                    raise ZooError(f"{path} is not a knowledge graph: make one with `zoo kg build`.")
                if len(start) < PREAMBLE.size:
                    raise ZooError(f"{path} is cut off after {size:,} bytes: build it again.")
                _, version, crc, place, length = PREAMBLE.unpack(start)
                if version != VERSION:
                    raise ZooError(f"{path} is a knowledge graph of version {version}, not {VERSION}: build it again.")
                if place + length != size:
                    raise ZooError(f"{path} is cut off: it has {size:,} of {place + length:,} bytes; build it again.")
                file.seek(place)
                text = file.read(length)
                if zlib.crc32(text) != crc:
                    raise ZooError(f"{path} is damaged: its header does not have its checksum; build it again.")
                header = json.loads(text)
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise ZooError(f"{path} cannot be read: {error.strerror or error}.") from None
        arrays = {
            name: np.frombuffer(mapped, dtype, count, offset)
            for name, (dtype, count, offset, _) in header.pop("arrays").items()
        }
        return cls(header, arrays, path.absolute())

    def save(self, path: str | Path) -> KnowledgeGraph:
        """Writes the file, whole or not at all, and gives the graph mapped from it."""
        path = Path(path)
        with write_beside(path) as beside, beside.open("wb") as file:
            file.write(bytes(PREAMBLE.size))
            places = {}
            for name, array in self.arrays.items():
                file.write(bytes(-file.tell() % ALIGN))
                data = np.ascontiguousarray(array)
                places[name] = data.dtype.str, len(data), file.tell(), zlib.crc32(data.view(np.uint8).data)
                data.tofile(file)
            text = json.dumps(self.header | {"arrays": places}, ensure_ascii=False).encode()
            place = file.tell()
            file.write(text)
            file.seek(0)
            file.write(PREAMBLE.pack(MAGIC, VERSION, zlib.crc32(text), place, len(text)))
        return KnowledgeGraph.open(path)

    def check(self) -> None:
        """Reads the whole file and compares checksums, which `open` does not.

        Raises:
            ZooError: the graph has no file, or an array is not what was written.
        """
        if self.path is None:
            raise ZooError("This graph has no file to check.")
        with self.path.open("rb") as file:
            _, _, _, place, length = PREAMBLE.unpack(file.read(PREAMBLE.size))
            file.seek(place)
            for name, (_, _, _, crc) in json.loads(file.read(length))["arrays"].items():
                if zlib.crc32(self.arrays[name].view(np.uint8).data) != crc:
                    raise ZooError(f"{self.path} is damaged in {name}: build it again.")

    def __reduce__(self) -> tuple[Any, ...]:  # another process maps the same file
        if self.path is not None:
            return KnowledgeGraph.open, (self.path,)
        return KnowledgeGraph, (self.header, self.arrays)

    # Triples.

    def edges(self, property: int, direction: str = "forward") -> Edges:
        """All triples of a property: from s to o ("forward"), from o to s ("backward"), or from s to literals ("literal")."""
        known = self._edges.get((direction, property))
        if known is None:
            sources, targets = self._bounds[direction]
            first, last = sources[property], sources[property + 1]
            known = self._edges[direction, property] = Edges(
                self.arrays[f"{direction}_sources"][first:last],
                self.arrays[f"{direction}_starts"][first + property : last + property + 1],
                self.arrays[f"{direction}_targets"][targets[property] : targets[property + 1]],
            )
        return known

    @cached_property
    def _bounds(self) -> dict[str, tuple[list[int], list[int]]]:
        return {
            one: (self.arrays[f"{one}_source_bounds"].tolist(), self.arrays[f"{one}_target_bounds"].tolist())
            for one in DIRECTIONS
        }

    def targets(self, source: int, property: int, direction: str = "forward") -> Ids:
        """Ascending targets of one source; a view."""
        views = self._views.get((direction, property))
        if views is None:
            edges = self.edges(property, direction)
            views = edges.sources.data, edges.starts.data, edges.targets
            self._views[direction, property] = views
        sources, starts, targets = views
        at = bisect_left(sources, source)
        if at == len(sources) or sources[at] != source:
            return EMPTY
        return targets[starts[at] : starts[at + 1]]

    def objects(self, subject: int, property: int) -> Ids:
        """{o : (subject, property, o) in K}, ascending; a view."""
        return self.targets(subject, property, "forward")

    def subjects(self, object: int, property: int) -> Ids:
        """{s : (s, property, object) in K}, ascending; a view."""
        return self.targets(object, property, "backward")

    def has(self, subject: int, property: int, object: int) -> bool:
        found = self.objects(subject, property).data
        at = bisect_left(found, object)
        return at < len(found) and found[at] == object

    def incident(self, entity: int) -> tuple[list[int], list[int]]:
        """Properties with the entity as subject, and with the entity as object, ascending."""
        found = []
        for direction in ("out", "in"):
            starts = self.arrays[f"{direction}_starts"]
            found.append(self.arrays[f"{direction}_properties"][starts[entity] : starts[entity + 1]].tolist())
        return found[0], found[1]

    def members(self, class_: int) -> Ids:
        """Entities of a class, ascending; a view."""
        return self._members[self._class_starts[class_] : self._class_starts[class_ + 1]]

    def classes_of(self, entity: int) -> list[int]:
        """Classes of an entity, ascending."""
        starts = self.arrays["entity_class_starts"]
        return self.arrays["entity_classes"][starts[entity] : starts[entity + 1]].tolist()

    # Literals.

    def values(self, subject: int, property: int) -> list[Literal]:
        """Literals at (subject, property): numbers and dates ascending, then text."""
        return self.literals(self.targets(subject, property, "literal"))

    def literals(self, ids: Iterable[int]) -> list[Literal]:
        """Rows of the table of literals, which is in the order of keys."""
        keys, kinds = self.arrays["literal_keys"], self.arrays["literal_kinds"]
        return [Literal(KINDS[kinds[i]], float(keys[i]), self._literal_texts[i]) for i in ids]

    @cached_property
    def _literal_texts(self) -> Texts:
        return Texts(self.arrays["literal_texts"], self.arrays["literal_text_offsets"])

    @cached_property
    def first_text(self) -> int:
        """The number of literals that are ordered; those from here on are text."""
        return int(np.searchsorted(self.arrays["literal_keys"], np.inf))

    @cached_property
    def earliest(self) -> NDArray[np.float64]:
        """Decimal year of the earliest date at each entity, under any property; inf without one."""
        first = np.full(self.entities, np.inf)
        keys, kinds = self.arrays["literal_keys"], self.arrays["literal_kinds"]
        for property in range(self.properties):
            sources, starts, targets = self.edges(property, "literal")
            if len(sources):
                dates = np.where(kinds[targets] == DATE, keys[targets], np.inf)
                first[sources] = np.minimum(first[sources], np.minimum.reduceat(dates, starts[:-1]))
        return first

    # Names.

    def entity(self, name: str) -> int:
        """The entity of a name such as Q42.

        Raises:
            ZooError: the graph does not have it.
        """
        found = self._find_entity(name)
        if found < 0:
            raise ZooError(f"The graph has no entity {name[:60]!r}.")
        return found

    def has_entity(self, name: str) -> bool:
        return self._find_entity(name) >= 0

    def _find_entity(self, name: str) -> int:
        if "entity_names" in self.arrays:
            return self._entity_texts.find(name)
        digits = name[1:]
        if (
            name[:1] != "Q"
            or not (digits.isascii() and digits.isdigit())
            or len(digits) > 10
            or digits != str(int(digits))
        ):
            return -1
        number = int(digits)
        if "entity_numbers" not in self.arrays:
            return number if number < self.entities else -1
        at = bisect_left(self._numbers, number)
        return at if at < self.entities and self._numbers[at] == number else -1

    @cached_property
    def _numbers(self) -> memoryview:
        return self.arrays["entity_numbers"].data

    @cached_property
    def _entity_texts(self) -> Texts:
        return Texts(self.arrays["entity_names"], self.arrays["entity_name_offsets"])

    @cached_property
    def _labels(self) -> Texts | None:
        return Texts(self.arrays["labels"], self.arrays["label_offsets"]) if "labels" in self.arrays else None

    def property(self, name: str) -> int:
        """The property of a name such as P19. Raises a ZooError as `entity`."""
        if name not in self._property_ids:
            raise ZooError(f"The graph has no property {name[:60]!r}.")
        return self._property_ids[name]

    def class_(self, name: str) -> int:
        """The class of a name such as Q515. Raises a ZooError as `entity`."""
        if name not in self._class_ids:
            raise ZooError(f"The graph has no class {name[:60]!r}.")
        return self._class_ids[name]

    def entity_name(self, entity: int) -> str:
        if "entity_names" in self.arrays:
            return self._entity_texts[entity]
        return f"Q{self._numbers[entity] if 'entity_numbers' in self.arrays else entity}"

    def property_name(self, property: int) -> str:
        return self.header["property_names"][property]

    def class_name(self, class_: int) -> str:
        return self.header["class_names"][class_]

    def label(self, entity: int) -> str:
        """What people call it; its name if the graph has no label."""
        return (self._labels[entity] if self._labels else "") or self.entity_name(entity)

    def property_label(self, property: int) -> str:
        return self.header["property_labels"][property] or self.property_name(property)

    def class_label(self, class_: int) -> str:
        return self.header["class_labels"][class_] or self.class_name(class_)
