"""Dialogues as batches of structured inputs, for training a parser.

Shapes: b questions, t text tokens, o objects, s tokens of a form; see `zoo.knowledge.context` for what they hold.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from datamodules import convquestions, csqa
from datamodules.corpus import default_cache
from datamodules.dialogues import Corpus, Dialogue, Pair
from datamodules.stream import Batch, StreamData, generator
from datamodules.structured_inputs import Example, Inputs, examples
from datamodules.synthetic_dialogues import HeldOut, generate, has_held_out, held_out_pairs
from datamodules.synthetic_graph import RELATIONS, synthetic_graph
from datamodules.token_vectors import Encoder, PretrainedVectors
from datamodules.wordings import MORE_RELATIONS
from zoo.knowledge.context import Context, Vocabulary
from zoo.knowledge.graph import KnowledgeGraph
from zoo.knowledge.packing import pack
from zoo.registry import ZooError, nearest

POOL = 16  # batches whose questions are sorted by length together
Ints = NDArray[Any]


class ParsingData(StreamData):
    """Questions of dialogues, each with the pair before it; a subclass says which (`corpus`).

    A batch is {"text", "objects", "relations", "target"} (and "vectors" with an encoder), targets (b, s) padded with -1.
    In an epoch every question that has a form is seen once (but for fewer than a batch); questions of like lengths share
    a batch. Ranks share an epoch's batches. Validation batches have "index", places in `held`, and "weight".

    Args:
        linking: which entities the question's mentions are (`zoo.knowledge.linking`). previous: whether the pair before
            is seen. kg: whether objects tell class and relations.
        encoder: folder of a Hugging Face model whose token vectors take the words' place.
        forms: file of forms to train on in place of the dialogues' own (`read_forms`), as found by a search.
        dialogues: training dialogues to use, None for all. validation: questions of the validation split to score.
        least: how often a word has to occur to be known.
        entities, numbers: slots of objects. length: text tokens. longest: tokens of a form.
        cache: folder for what is made or built once; None means ~/.cache/theorem-zoo.
        steps_per_epoch: optimiser steps between validations; None for one pass over the training set.
    """

    validation_split = "valid"

    graph_travels: ClassVar[bool] = False  # with a weight; real data stay where they are

    def __init__(
        self,
        *,
        batch_size: int = 64,
        linking: str = "oracle_current",
        previous: bool = True,
        kg: bool = True,
        encoder: str | None = None,
        forms: str | None = None,
        dialogues: int | None = None,
        validation: int = 512,
        least: int = 1,
        entities: int = 8,
        numbers: int = 4,
        length: int = 96,
        longest: int = 64,
        cache: str | None = None,
        seed: int = 0,
        steps_per_epoch: int | None = None,
    ):
        super().__init__(seed=seed, steps_per_epoch=steps_per_epoch or 1)
        counts = {"batch_size": batch_size, "validation": validation, "least": least, "entities": entities}
        for name, value in (counts | {"numbers": numbers, "length": length}).items():
            if value < 1:
                raise ZooError(f"{name} must be at least 1, got {value}.")
        if dialogues is not None and dialogues < 1:
            raise ZooError(f"dialogues must be at least 1, got {dialogues}.")
        self.batch_size, self.dialogues, self.validation, self.least = batch_size, dialogues, validation, least
        self.linking, self.forms, self.longest = linking, forms, longest
        self.options: dict[str, Any] = {"previous": previous, "kg": kg, "inside": encoder is not None}
        self.options |= {"entities": entities, "numbers": numbers, "length": length}
        self.encoder: Encoder | None = PretrainedVectors(encoder) if encoder is not None else None
        self.cache = Path(cache).expanduser() if cache is not None else default_cache()
        self._full_epochs = steps_per_epoch is None
        self._orders: dict[tuple[int, int], Ints] = {}
        self._contexts: dict[str, Context] = {}

    @functools.cached_property
    def corpus(self) -> Corpus:
        """The dialogues and their graph, read or made on first use."""
        raise NotImplementedError

    def unseen(self, pair: Pair) -> bool:
        """Whether a question is of a kind that training lacks on purpose."""
        return False

    # What the parser may know.

    @functools.cached_property
    def train(self) -> tuple[Dialogue, ...]:
        """Training dialogues, with the forms to train on."""
        if "train" not in self.corpus.splits:
            raise ZooError(f"{self.corpus.provenance.get('name', 'The corpus')} has no training dialogues.")
        found = self.corpus.splits["train"][: self.dialogues]
        return tuple(with_forms(found, read_forms(Path(self.forms)))) if self.forms else tuple(found)

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        found = Vocabulary.of(self.corpus.graph, self.train, self.least, inside=bool(self.options["inside"]))
        if not found.properties:
            raise ZooError("No training question has a logical form: there is nothing to learn from.")
        return found

    def context(self, split: str) -> Context:
        """Structured inputs over the split's graph."""
        if split not in self._contexts:
            graph = self.corpus.graph_of(split)
            self._contexts[split] = Context(graph, self.vocabulary, linking=self.linking, **self.options)
        return self._contexts[split]

    def task(self, replica: int) -> Batch:
        """What a parser needs besides its parameters, as bytes: {"vocabulary", "settings"}, and a generated "graph"."""
        settings = self.options | {"width": self.encoder.width if self.encoder else 0, "longest": self.longest}
        found = {"vocabulary": self.vocabulary.to_bytes(), "settings": json.dumps(settings).encode()}
        if self.graph_travels:
            found["graph"] = pack(self.corpus.graph)
        return {name: torch.frombuffer(bytearray(packed), dtype=torch.uint8) for name, packed in found.items()}

    def provenance(self) -> dict[str, Any]:
        inputs, targets = self._training
        counts = {"questions": len(targets) + sum(self.left_out.values()), "left_out": dict(self.left_out)}
        shape = {"dialogues": len(self.train), "linking": self.linking, "triples": self.corpus.graph.triples}
        return dict(self.corpus.provenance) | shape | counts | {"seed": self.seed}

    # Training batches.

    @functools.cached_property
    def _training(self) -> tuple[Inputs, Ints]:
        inputs, targets = Inputs(self.context("train"), self.encoder), []
        reasons: Counter[str] = Counter()
        for one in examples(self.context("train"), self.train, self.longest):
            if one.target is None:
                reasons[one.reason] += 1
            else:
                inputs.add(one.input)
                targets.append(one.target)
        if not targets:
            raise ZooError("No training question has a logical form that its input can say.")
        self.left_out = reasons
        return inputs, padded(targets)

    def prepare_data(self) -> None:
        _ = self.corpus  # on one process of a machine, so that the others find the cache

    def setup(self, stage: str) -> None:
        if stage == "fit" and self._full_epochs:
            world = self.trainer.world_size if self.trainer is not None else 1
            self.steps_per_epoch = max(1, len(self._training[1]) // (self.batch_size * world))

    def batches(self, replica: int, start: int, stop: int, rank: int, world: int) -> Batch:
        inputs, targets = self._training
        rows = np.stack([self._rows(step, world)[rank] for step in range(start, stop)])
        return inputs.batch(rows) | {"target": torch.from_numpy(targets[rows].astype(np.int64))}

    def _rows(self, step: int, world: int) -> Ints:
        """Questions of an optimiser step for all ranks, (world, b)."""
        inputs, targets = self._training
        group = self.batch_size * world
        per_epoch = max(1, len(targets) // group)
        epoch, place = divmod(step, per_epoch)
        if (epoch, world) not in self._orders:
            while len(self._orders) > 1:
                self._orders.pop(next(iter(self._orders)))
            key = generator("ParsingData", self.seed, "train", epoch)
            order = torch.randperm(len(targets), generator=key).numpy()
            order = np.resize(order, max(len(order), group))[: per_epoch * group]
            lengths = (targets >= 0).sum(1) * 1000 + np.array(inputs.lengths)
            pools = [order[i : i + POOL * group] for i in range(0, len(order), POOL * group)]
            ordered = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
            shuffled = torch.randperm(per_epoch, generator=key).numpy()
            self._orders[epoch, world] = ordered.reshape(per_epoch, world, self.batch_size)[shuffled]
        return self._orders[epoch, world][place]

    # Held-out questions.

    @functools.cached_property
    def held(self) -> list[Example]:
        """The questions that are scored while training: evenly spread over the validation split."""
        dialogues = self.corpus.splits.get(self.validation_split, ())
        found = list(examples(self.context(self.validation_split), dialogues, self.longest))
        step = max(1, -(-len(found) // self.validation))
        return found[::step]

    def val_dataloader(self) -> Shares:
        trainer: Any = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        inputs = Inputs(self.context(self.validation_split), self.encoder)
        for one in self.held:
            inputs.add(one.input)
        targets = padded([one.target or () for one in self.held])
        order = np.argsort(np.array(inputs.lengths), kind="stable")
        batches = []
        for first in range(0, len(order), self.batch_size):
            rows = order[first : first + self.batch_size]
            more = {"target": torch.from_numpy(targets[rows].astype(np.int64)), "index": torch.from_numpy(rows)}
            batches.append(inputs.batch(rows) | more)
        return Shares(batches, len(order), rank, world)


class Shares:
    """Held-out batches, shared out over ranks: the mean over batches and ranks of (sum x weight) is a mean over questions."""

    def __init__(self, batches: Sequence[Batch], questions: int, rank: int, world: int):
        count = -(-len(batches) // world) * world
        weight = torch.tensor(count / max(questions, 1), dtype=torch.float64)
        whole = [batch | {"weight": weight} for batch in batches]
        whole += [batches[0] | {"weight": torch.zeros_like(weight)}] * (count - len(batches))
        self.batches = whole[rank::world]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


def padded(targets: Sequence[Sequence[int]]) -> Ints:
    """Lists of tokens (n,) -> (n, s) with -1 after their ends."""
    found = np.full((len(targets), max(1, *map(len, targets))), -1, np.int32)
    for row, target in zip(found, targets, strict=True):
        row[: len(target)] = target
    return found


# Forms from elsewhere.


def read_forms(path: Path) -> dict[tuple[str, int], str]:
    """A file of JSON lines {"dialogue", "pair", "form"}, the form as text with the graph's numbers, or null.

    Raises:
        ZooError: it is not there, or a line is not such; one sentence with file and line.
    """
    found = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ZooError(f"{path} cannot be read as a file of forms ({error}).") from None
    for i, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
            dialogue, pair, form = value["dialogue"], value["pair"], value["form"]
        except (ValueError, KeyError, TypeError):
            raise ZooError(f'{path}, line {i}: not {{"dialogue": …, "pair": …, "form": …}}.') from None
        if form is not None:
            found[str(dialogue), int(pair)] = str(form)
    return found


def with_forms(dialogues: Iterable[Dialogue], forms: Mapping[tuple[str, int], str]) -> Iterator[Dialogue]:
    """The dialogues with these forms, none where there is none."""
    from zoo.knowledge.grammar import from_text

    for dialogue in dialogues:
        texts = (forms.get((dialogue.id, i)) for i in range(len(dialogue.pairs)))
        pairs = (
            dataclasses.replace(pair, form=None if text is None else from_text(text))
            for pair, text in zip(dialogue.pairs, texts, strict=True)
        )
        yield Dialogue(dialogue.id, tuple(pairs))


# The corpora.


def folder(root: str | None, name: str) -> Path:
    """Where a corpus is: `root`, or `$ZOO_DATA/<name>`.

    Raises:
        ZooError: neither is given.
    """
    home = os.environ.get("ZOO_DATA")
    if root is None and not home:
        raise ZooError(f"There is no folder to read {name} from: give it as --data.root or put it at $ZOO_DATA/{name}.")
    return Path(root) if root is not None else Path(home or "") / name


class SyntheticParsingData(ParsingData):
    """Generated dialogues over a generated graph; see `datamodules.synthetic_dialogues`.

    Splits "train", "valid" and "A" are on one graph, "B" on one of another seed, with other names and other facts. With
    `held_out`, training and validation lack a share of the pairs of property and question type, and each dialogue of the
    split "compositional" has one of them.

    Args:
        setting: "easy", or "hard": paraphrases, wordings shared between properties, and the large graph of 60 properties
            with 5 % shared names.
        count: dialogues that are made for training (`dialogues` uses fewer of them). tests: those of each other split.
        graph_seed: of the graph of training.
        templates: folder of CSQA's sample, whose real wordings simple questions then use too (hard setting).
        others: of `ParsingData`.
    """

    graph_travels = True

    def __init__(
        self,
        *,
        setting: Literal["easy", "hard"] = "easy",
        count: int = 3000,
        tests: int = 120,
        graph_seed: int = 0,
        held_out: float = 0.0,
        templates: str | None = None,
        **options: Any,
    ):
        super().__init__(**options)
        for name, value in (("count", count), ("tests", tests)):
            if value < 1:
                raise ZooError(f"{name} must be at least 1, got {value}.")
        if not 0 <= held_out < 1:
            raise ZooError(f"held_out must be in [0, 1), got {held_out}.")
        self.setting, self.count, self.tests, self.graph_seed = setting, count, tests, graph_seed
        self.held_out, self.templates = held_out, templates

    @functools.cached_property
    def held_out_pairs(self) -> HeldOut:
        """The (property, question type) that training lacks."""
        graph = self._graph(self.graph_seed)
        return held_out_pairs(graph, self.seed, self.held_out) if self.held_out else frozenset()

    def unseen(self, pair: Pair) -> bool:
        return has_held_out(pair, self.held_out_pairs)

    @functools.cached_property
    def corpus(self) -> Corpus:
        graphs, held = [self._graph(self.graph_seed), self._graph(self.graph_seed + 1)], self.held_out_pairs
        templates = None if self.templates is None else Path(self.templates) / "derived" / "question_templates.tsv.gz"

        def make(count: int, part: int, graph: int = 0, **more: Any) -> tuple[Dialogue, ...]:
            options = {"setting": self.setting, "templates": templates, "cache": self.cache / "dialogues"} | more
            return tuple(generate(graphs[graph], count, 10 * self.seed + part, **options))

        splits = {
            "train": make(self.count, 0, held_out=held),
            "valid": make(self.tests, 1, held_out=held),
            "A": make(self.tests, 2),
            "B": make(self.tests, 3, graph=1),
        }
        if held:
            splits["compositional"] = make(self.tests, 4, held_out=held, only_held_out=True)
        told = {"name": f"generated dialogues, {self.setting}", "licence": "synthetic", "graph_seed": self.graph_seed}
        return Corpus(graphs[0], splits, {"B": graphs[1]}, provenance=told | {"held_out": self.held_out})

    def _graph(self, seed: int) -> KnowledgeGraph:
        if self.setting == "hard":
            return synthetic_graph(seed, relations=(*RELATIONS, *MORE_RELATIONS), shared_names=0.05)
        return synthetic_graph(seed)


class CSQAParsingData(ParsingData):
    """CSQA in its official format, or its public sample; see `datamodules.csqa`.

    Args:
        root: the folder with the dialogues; None means `$ZOO_DATA/csqa`.
        graph: a graph's file from `zoo kg build`; by default the sample's fragment, or one built from the release's files.
        limit: at most that many dialogues of each split.
        others: of `ParsingData`.
    """

    def __init__(self, *, root: str | None = None, graph: str | None = None, limit: int | None = None, **options: Any):
        super().__init__(**options)
        self.root, self.graph, self.limit = root, graph, limit

    @functools.cached_property
    def corpus(self) -> Corpus:
        root = folder(self.root, "csqa")
        return csqa.load(root, graph=self.graph, cache=self.cache, limit=self.limit, strict=False)


class ConvQuestionsParsingData(ParsingData):
    """ConvQuestions, asked of a graph of the user's, or of none.

    Its questions come without forms. With `forms` of a search (`zoo silver FOLDER --graph=FILE`) its own `train_split` teaches;
    without them CSQA's dialogues do, whose properties are Wikidata's too. `asked` are the conversations to rank answers to.

    Args:
        root: the folder with the conversations; None means `$ZOO_DATA/convquestions`.
        graph: a graph's file from `zoo kg build`; without one the asked forms are not executed.
        csqa: CSQA's folder, if there are no `forms`; None means `$ZOO_DATA/csqa`.
        train_split: which of "train", "dev" and "test" `forms` are of. test_splits: which to ask at the end.
        domains: of the conversations.
        others: of `ParsingData`.
    """

    def __init__(
        self,
        *,
        root: str | None = None,
        graph: str | None = None,
        csqa: str | None = None,
        train_split: Literal["train", "dev", "test"] = "train",
        test_splits: Sequence[Literal["dev", "test"]] = ("dev", "test"),
        domains: list[str] | None = None,
        **options: Any,
    ):
        super().__init__(**options)
        self.root, self.graph, self.csqa = root, graph, csqa
        self.train_split, self.test_splits = train_split, tuple(test_splits)
        self.domains = convquestions.DOMAINS if domains is None else tuple(domains)
        for name in self.domains:
            if name not in convquestions.DOMAINS:
                known = convquestions.DOMAINS
                raise ZooError(f"ConvQuestions has no domain {name!r} but {', '.join(known)}{nearest(name, known)}")
        if self.forms is not None and self.graph is None:
            raise ZooError("Forms are of a graph: give the one that they were searched in as --data.graph too.")
        if self.forms is not None and self.train_split in self.test_splits:
            raise ZooError(f"{train_split} conversations cannot both teach and be asked: change --data.test_splits.")

    def _read(self, split: str) -> list[convquestions.Conversation]:
        return convquestions.read(folder(self.root, "convquestions"), split, domains=self.domains)

    @functools.cached_property
    def asked(self) -> dict[str, list[convquestions.Conversation]]:
        """The conversations of each test split."""
        return {split: self._read(split) for split in self.test_splits}

    @functools.cached_property
    def corpus(self) -> Corpus:
        asked = self.asked  # a mistake in these is told before CSQA is read
        given = None if self.graph is None else KnowledgeGraph.open(self.graph)
        told = {
            "name": "ConvQuestions",
            "licence": convquestions.LICENCE,
            "graph": self.graph and Path(self.graph).name,
        }
        if self.forms is not None and given is not None:
            read = {"train": self._read(self.train_split), "valid": asked[self.test_splits[0]]}
            splits = {ours: tuple(convquestions.dialogue(one, given) for one in found) for ours, found in read.items()}
            return Corpus(given, splits, dict.fromkeys(asked, given), provenance=told | {"taught_by": self.train_split})
        taught = csqa.load(folder(self.csqa, "csqa"), cache=self.cache, strict=False)
        named = [one for found in asked.values() for one in found]
        graph = convquestions.names_graph(named, taught.graph) if given is None else given
        told |= {"taught_by": taught.provenance.get("name", "CSQA")}
        return Corpus(taught.graph, taught.splits, dict.fromkeys(asked, graph), taught.left_out, told)
