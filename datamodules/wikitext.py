"""WikiText-2 and WikiText-103 (Merity et al., "Pointer Sentinel Mixture Models", 2016) for language models, word level.

Shapes: b batch, t tokens of a window.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from datamodules.corpus import (
    BasicEnglish,
    Corpus,
    FolderSource,
    Held,
    Ids,
    Source,
    default_cache,
    every_token_once,
    load_corpus,
    windows,
)
from datamodules.stream import Batch, StreamData, generator
from zoo.files import write_json
from zoo.ngrams import references
from zoo.registry import ZooError, read_json

DATASET = "Salesforce/wikitext"
CONFIGS = {"wikitext-2": "wikitext-2-v1", "wikitext-103": "wikitext-103-v1"}
LICENCE = "CC BY-SA 3.0 and GFDL, from Wikipedia"


class HubSource:
    """`Salesforce/wikitext` on the Hugging Face Hub (parquet), or in the cache of `datasets`.

    Raises:
        ZooError: neither the network nor the cache has it; the sentence names folder, data set and command.
    """

    def __init__(self, name: str, hint: str):
        self.name, self.licence = name, LICENCE
        import datasets

        try:
            loaded = datasets.load_dataset(DATASET, CONFIGS[name])
        except (OSError, ValueError, RuntimeError) as error:  # `datasets` tells no network in several ways
            raise ZooError(f"{name} cannot be loaded from {DATASET} ({type(error).__name__}): {hint}.") from None
        self._rows = {ours: loaded[theirs] for ours, theirs in HUB_SPLITS.items()}

    def splits(self) -> tuple[str, ...]:
        return tuple(self._rows)

    def fingerprint(self, split: str) -> str:
        digest = hashlib.sha256()
        for text in self.blocks(split):
            digest.update(text.encode())
        return digest.hexdigest()

    def blocks(self, split: str) -> Iterator[str]:
        for rows in self._rows[split].iter(batch_size=100_000):
            yield "".join(row.rstrip("\n") + "\n" for row in rows["text"])


HUB_SPLITS = {"train": "train", "valid": "validation", "test": "test"}


class WikiTextData(StreamData):
    """Windows of consecutive tokens of WikiText.

    A batch is {"tokens": (b, t), "targets": (b, t)}, targets being the tokens that follow. In an epoch every window of
    `context` tokens, cut from a random offset that is new in each epoch and read around the end of the text, is seen once
    in random order: each token once, but for fewer than `context` at a random place. Ranks share the windows of an epoch.
    With order "streams" the text is cut into b equal streams instead, and row j of the batches reads stream j from its
    first word on, window after window, in every epoch; what is too short for a last window is left out. Seeds and replicas
    see the same batches, ranks have b streams each.

    Validation windows begin at the first token and predict every other token exactly once; places after the end have the
    target -1, and `weight` makes the mean over batches of (summed loss · weight) the mean over tokens, on any number of
    ranks.

    Args:
        root: folder with `wiki.{train,valid,test}.tokens`, plain or `.xz`. None means `$ZOO_DATA/<name>`.
        name: "wikitext-2" or "wikitext-103".
        vocabulary: number of words, the most frequent of the training set; None for all (33,278 and 267,735).
        context: t, tokens of a window.
        batch_size: b.
        cache: folder for token files; None means ~/.cache/theorem-zoo.
        seed: of the order of the windows.
        source: "folder", "hub" (`Salesforce/wikitext` through `datasets`), or "auto": the folder if `root` is given or
            `$ZOO_DATA/<name>` is there, else the Hub.
        words: a vocabulary to use in place of the training set's, such as a weight's; needed to evaluate on a folder
            without training set.
        steps_per_epoch: optimiser steps between validations; None for one pass over the training set.
        order: "shuffled" or "streams".
        basic_english: lower case, punctuation apart, no line ends (`datamodules.corpus.BasicEnglish`); WikiText-2 then has
            28,783 words, `<eos>` among them without ever occurring.

    Raises:
        ZooError: no text, no network, damaged files: one sentence.
    """

    def __init__(
        self,
        *,
        root: str | None = None,
        name: Literal["wikitext-2", "wikitext-103"] = "wikitext-2",
        vocabulary: int | None = None,
        context: int = 64,
        batch_size: int = 32,
        cache: str | None = None,
        seed: int = 0,
        source: Literal["auto", "folder", "hub"] = "auto",
        words: Sequence[str] | None = None,
        steps_per_epoch: int | None = None,
        order: Literal["shuffled", "streams"] = "shuffled",
        basic_english: bool = False,
    ):
        super().__init__(seed=seed, steps_per_epoch=steps_per_epoch or 1)
        if name not in CONFIGS:
            raise ZooError(f"name must be one of {', '.join(CONFIGS)}, got {name!r}.")
        if source not in ("auto", "folder", "hub"):
            raise ZooError(f"source must be auto, folder or hub, got {source!r}.")
        if order not in ("shuffled", "streams"):
            raise ZooError(f"order must be shuffled or streams, got {order!r}.")
        for option, value in (("context", context), ("batch_size", batch_size)):
            if value < 1:
                raise ZooError(f"{option} must be at least 1, got {value}.")
        self.dataset, self.size, self.words, self.source = name, vocabulary, words, source
        self.context, self.batch_size = context, batch_size
        self.order, self.basic_english = order, basic_english
        self.root = Path(root) if root is not None else None
        self.cache = Path(cache).expanduser() if cache is not None else default_cache()
        self._full_epochs = steps_per_epoch is None
        self._orders: dict[tuple[int, int], tuple[int, Ids]] = {}

    # The text.

    def _source(self) -> Source:
        home = os.environ.get("ZOO_DATA")
        usual = Path(home) / self.dataset if home else None
        root = self.root or usual
        where = f"--data.root or in $ZOO_DATA/{self.dataset}"
        hub = (
            "with a network `python -c \"import datasets; datasets.load_dataset('"
            f"{DATASET}', '{CONFIGS[self.dataset]}')\"` fetches it once"
        )
        hint = f"put wiki.{{train,valid,test}}.tokens into the folder given as {where}, or {hub}"
        if self.source == "hub" or (self.source == "auto" and self.root is None and not (usual and usual.is_dir())):
            return HubSource(self.dataset, hint)
        if root is None:
            raise ZooError(f"There is no folder to read {self.dataset} from: {hint}.")
        return FolderSource(root, self.dataset, LICENCE, hint)

    @functools.cached_property
    def corpus(self) -> Corpus:
        """Vocabulary and token ids, read or built on first use."""
        source = self._source()
        source = BasicEnglish(source) if self.basic_english else source
        return load_corpus(source, size=self.size, words=self.words, cache=self.cache)

    def _tokens(self, split: str) -> Ids:
        if split not in self.corpus.tokens:
            raise ZooError(f"This {self.dataset} has no wiki.{split}.tokens; it has {', '.join(self.corpus.tokens)}.")
        return self.corpus.tokens[split]

    def prepare_data(self) -> None:
        _ = self.corpus  # on one process of a machine, so that the others find the cache

    def setup(self, stage: str) -> None:
        if stage == "fit" and self._full_epochs:
            world = self.trainer.world_size if self.trainer is not None else 1
            total, rows = len(self._tokens("train")), self.batch_size * world
            windows = (total // rows - 1) // self.context if self.order == "streams" else total // self.context // rows
            self.steps_per_epoch = max(1, windows)

    def task(self, replica: int) -> Batch:
        """{"vocabulary": the words, uint8}; see `datamodules.corpus.Vocabulary.from_tensor`."""
        return {"vocabulary": self.corpus.vocabulary.tensor()}

    def provenance(self) -> dict[str, Any]:
        corpus = self.corpus
        return {
            "name": self.dataset,
            "licence": LICENCE,
            "sha256": {split: source["sha256"] for split, source in corpus.sources.items()},
            "tokens": {split: source["tokens"] for split, source in corpus.sources.items()},
            "vocabulary": len(corpus.vocabulary),
            "seed": self.seed,
        }

    def references(self) -> dict[str, float]:
        """Validation loss of the n-gram baselines, nats per token (see `zoo.ngrams.references`), kept in the cache."""
        path = self.corpus.folder / "references.json"
        try:
            return read_json(path)
        except (OSError, ZooError):
            vocabulary = self.corpus.vocabulary
            found = references(self._tokens("train"), self._tokens("valid"), len(vocabulary), vocabulary.end)
            write_json(path, found)
            return found

    # Batches.

    def batches(self, replica: int, start: int, stop: int, rank: int, world: int) -> Batch:
        tokens = self._tokens("train")
        steps = np.arange(start, stop)[:, None]
        own = rank * self.batch_size + np.arange(self.batch_size)
        find = self._in_order if self.order == "streams" else self._shuffled
        inputs, targets = windows(tokens, find(replica, steps, own, world * self.batch_size), self.context)
        return {"tokens": inputs, "targets": targets}

    def _in_order(self, replica: int, steps: Ids, own: Ids, rows: int) -> Ids:
        """First places of the windows of `steps` (s, 1) in the streams `own` (b,) of `rows`, (s, b)."""
        length = len(self._tokens("train")) // rows
        per_epoch = (length - 1) // self.context
        if per_epoch < 1:
            raise ZooError(
                f"Each of {rows} streams has {length} tokens: no window of {self.context} and what follows it."
            )
        return own * length + steps % per_epoch * self.context

    def _shuffled(self, replica: int, steps: Ids, own: Ids, rows: int) -> Ids:
        """First places of the windows that the rows `own` (b,) of `rows` read in `steps` (s, 1), (s, b)."""
        tokens = self._tokens("train")
        per_epoch = len(tokens) // self.context
        if per_epoch == 0:
            raise ZooError(f"The training set has {len(tokens)} tokens, fewer than one window of {self.context}.")
        # Windows are numbered through all epochs; step s uses world · b of them, rank after rank.
        number = steps * rows + own
        starts = np.empty_like(number)
        for epoch in np.unique(number // per_epoch):
            here = number // per_epoch == epoch
            starts[here] = self._order(replica, int(epoch), per_epoch, len(tokens))[number[here] % per_epoch]
        return starts

    def _order(self, replica: int, epoch: int, count: int, total: int) -> Ids:
        """First places of the windows of one epoch, in the order in which they are read."""
        slot = replica, epoch % 2  # a chunk can touch two epochs
        if slot not in self._orders or self._orders[slot][0] != epoch:
            key = generator("WikiTextData", self.seed, "train", replica, epoch)
            offset = torch.randint(self.context, (), generator=key)
            order = (offset + self.context * torch.randperm(count, generator=key)) % total
            self._orders[slot] = epoch, order.numpy()
        return self._orders[slot][1]

    def val_dataloader(self) -> Held:
        return self._held("valid")

    def test_dataloader(self) -> Held:
        return self._held("test")

    def _held(self, split: str) -> Held:
        trainer: Any = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        return Held(every_token_once(self._tokens(split), self.context, self.batch_size), rank, world)
