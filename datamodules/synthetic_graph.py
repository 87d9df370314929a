"""Made-up worlds for questions: typed entities with pronounceable names, and properties between classes.

A world is a pure function of its arguments and its seed. Its two tables are data: pass others for other worlds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.knowledge import build
from zoo.knowledge.graph import KnowledgeGraph, Texts, offsets_of
from zoo.registry import ZooError


@dataclass(frozen=True)
class Kind:
    """A class of entities and its number of members."""

    label: str
    size: int


@dataclass(frozen=True)
class Relation:
    """A property: every subject of one of the classes gets `fewest` to `most` objects, uniformly.

    An object's class is drawn uniformly from `objects`, the object in it with weight 1/(place + 3). An object drawn twice counts
    once, and nothing is related to itself.
    """

    label: str
    subjects: tuple[str, ...]
    objects: tuple[str, ...]
    fewest: int
    most: int


def _relation(label: str, subjects: str, objects: str, fewest: int, most: int) -> Relation:
    return Relation(label, tuple(subjects.split("|")), tuple(objects.split("|")), fewest, most)


KINDS = (
    Kind("person", 900),
    Kind("country", 60),
    Kind("city", 300),
    Kind("river", 150),
    Kind("lake", 100),
    Kind("film", 350),
    Kind("album", 200),
    Kind("book", 250),
    Kind("company", 200),
    Kind("university", 120),
    Kind("sport", 20),
    Kind("language", 40),
    Kind("occupation", 30),
    Kind("award", 40),
)
RELATIONS = (
    _relation("birthplace", "person", "city", 1, 1),
    _relation("citizenship", "person", "country", 1, 2),
    _relation("occupation", "person", "occupation", 1, 3),
    _relation("educated at", "person", "university", 0, 2),
    _relation("award", "person|film|book", "award", 0, 3),
    _relation("language spoken", "person", "language", 1, 3),
    _relation("sport", "person", "sport", 0, 2),
    _relation("director", "film", "person", 1, 2),
    _relation("cast", "film", "person", 2, 6),
    _relation("author", "book|album", "person", 1, 2),
    _relation("original language", "film|book", "language", 1, 2),
    _relation("country of origin", "film|album|book", "country", 1, 1),
    _relation("located in", "river|lake|city|university", "country", 1, 3),
    _relation("flows through", "river", "city|lake", 0, 4),
    _relation("headquarters", "company", "city", 1, 1),
    _relation("founded by", "company|university", "person", 1, 3),
    _relation("owned by", "company", "company|person", 0, 3),
    _relation("diplomatic relation", "country", "country", 2, 14),
    _relation("twinned", "city", "city", 0, 4),
    _relation("official language", "country", "language", 1, 3),
    _relation("publisher", "book|album|film", "company", 1, 1),
    _relation("employer", "person", "company|university", 0, 2),
)


def synthetic_graph(
    seed: int = 0,
    *,
    kinds: Sequence[Kind] = KINDS,
    relations: Sequence[Relation] = RELATIONS,
    shared_names: float = 0.0,
) -> KnowledgeGraph:
    """A graph in memory of the given tables. Entities are numbered class by class.

    Args:
        shared_names: share of the entities that are called like another one.

    Raises:
        ZooError: a relation names a class that is not in `kinds`, or wants more objects at most than at least.
    """
    sizes = {kind.label: kind.size for kind in kinds}
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]), strict=False))
    total = sum(sizes.values())
    ranks = {label: np.cumsum(1 / (np.arange(size) + 3.0)) for label, size in sizes.items()}
    columns: list[tuple[NDArray[np.int64], ...]] = [(np.empty(0, np.int64),) * 3]
    for number, relation in enumerate(relations):
        unknown = {*relation.subjects, *relation.objects}.difference(sizes)
        if unknown or not 0 <= relation.fewest <= relation.most:
            said = f"names the unknown class {min(unknown)!r}" if unknown else "wants fewest <= most objects"
            raise ZooError(f"The relation {relation.label!r} {said}.")
        rng = np.random.default_rng((seed, 1, number))
        subjects = np.concatenate([starts[label] + np.arange(sizes[label]) for label in relation.subjects])
        s = np.repeat(subjects, rng.integers(relation.fewest, relation.most + 1, len(subjects)))
        which, place = rng.integers(0, len(relation.objects), len(s)), rng.random(len(s))
        o = np.empty(len(s), np.int64)
        for i, label in enumerate(relation.objects):
            weights, chosen = ranks[label], which == i
            o[chosen] = starts[label] + np.searchsorted(weights, place[chosen] * weights[-1], side="right")
        kept = s != o
        columns.append((s[kept], np.full(int(kept.sum()), number), o[kept]))
    s, p, o = (np.concatenate(column) for column in zip(*columns, strict=True))
    return build.from_arrays(
        (s, p, o),
        (np.arange(total), np.repeat(np.arange(len(sizes)), list(sizes.values()))),
        entities=total,
        property_names=[f"P{i}" for i in range(len(relations))],
        class_names=[f"Q{i}" for i in range(len(sizes))],
        property_labels=[relation.label for relation in relations],
        class_labels=list(sizes),
        labels=entity_names(total, seed, shared_names),
        source=f"synthetic, seed {seed}",
    )


def entity_names(count: int, seed: int = 0, shared: float = 0.0) -> list[str]:
    """Names of one or two words of two or three syllables, all different but for a share that are called like another."""
    rng = np.random.default_rng((seed, 2))
    syllables = [c + v + e for c in "bcdfghjklmnprstvwz" for v in "aeiou" for e in ("", "", "n", "r", "l")]
    names: dict[str, None] = {}
    while len(names) < count:
        words, sizes = int(rng.integers(1, 3)), rng.integers(2, 4, 2)
        drawn = iter(rng.integers(0, len(syllables), 6))
        names[" ".join("".join(syllables[next(drawn)] for _ in range(size)).title() for size in sizes[:words])] = None
    listed = list(names)
    twins = rng.permutation(count)[: 2 * int(shared * count / 2)].reshape(2, -1)
    for one, other in twins.T:
        listed[one] = listed[other]
    return listed


def wikidata_sized(
    seed: int = 0,
    *,
    entities: int = 12_800_000,
    triples: int = 21_100_000,
    classes: int = 3_054,
    properties: int = 567,
    largest: int = 1_000_000,
) -> KnowledgeGraph:
    """Random triples in the proportions of CSQA's Wikidata, to measure by: properties and objects follow power laws, one class
    has `largest` members, 0, and the others share the rest of the entities."""
    rng = np.random.default_rng((seed, 3))
    law = np.cumsum(1 / (np.arange(properties) + 1.0))
    p = np.searchsorted(law, rng.random(triples) * law[-1]).astype(np.int32)
    s = rng.integers(0, entities, triples, dtype=np.int32)
    o = (entities * rng.random(triples, dtype=np.float32) ** 3).astype(np.int32).clip(max=entities - 1)
    o = (o.astype(np.int64) * 7_919 % entities).astype(np.int32)  # well-known entities of all classes
    law = np.cumsum(1 / (np.arange(classes - 1) + 2.0))
    of = (1 + np.searchsorted(law, rng.random(entities) * law[-1])).astype(np.int32)
    of[rng.permutation(entities)[:largest]] = 0
    digits = np.char.zfill(np.arange(1000).astype("S3"), 3).view(np.uint8).reshape(-1, 3)  # labels "entity 012345678"
    i = np.arange(entities)
    blob = np.empty((entities, 16), np.uint8)
    blob[:, :7] = np.frombuffer(b"entity ", np.uint8)
    for place, unit in enumerate((1_000_000, 1_000, 1)):
        blob[:, 7 + 3 * place : 10 + 3 * place] = digits[i // unit % 1000]
    return build.from_arrays(
        (s, p, o),
        (i, of),
        entities=entities,
        property_names=[f"P{i}" for i in range(properties)],
        class_names=[f"Q{i}" for i in range(classes)],
        labels=Texts(blob.reshape(-1), offsets_of(np.full(entities, 16))),
        source=f"random, seed {seed}",
    )
