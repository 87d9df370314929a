"""Word-level text: sources, vocabulary, the memory-mapped token file, windows. Needs neither Lightning nor a network.

Shapes: b batch, t tokens of a window, n windows.

A text becomes one stream of token ids per split: the words of each line, split on blanks, and `<eos>` at its end. The
stream of WikiText-2's training set is 2,088,628 tokens long over 33,278 words, the published numbers.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.files import sha256, write_beside, write_json
from zoo.registry import ZooError

UNKNOWN, END = "<unk>", "<eos>"
SPLITS = ("train", "valid", "test")
Ids = NDArray[np.integer[Any]]


class Vocabulary:
    """Words and their ids, most frequent first.

    Args:
        words: distinct words, `<unk>` and `<eos>` among them; the id of a word is its place.
    """

    def __init__(self, words: Iterable[str]):
        self.words = tuple(words)
        self.index = {word: i for i, word in enumerate(self.words)}
        if len(self.index) != len(self.words) or not {UNKNOWN, END} <= self.index.keys():
            raise ZooError(f"A vocabulary needs distinct words with {UNKNOWN} and {END} among them.")
        self.unknown, self.end = self.index[UNKNOWN], self.index[END]

    @classmethod
    def from_counts(cls, counts: Counter[str], size: int | None = None) -> Vocabulary:
        """The `size` most frequent words (all for None), ties in the order of Unicode; `<unk>` and `<eos>` always."""
        frequency = {UNKNOWN: 0, END: 0} | counts
        ranked = sorted(frequency, key=lambda word: (-frequency[word], word))
        if size is not None:
            if size < 2:
                raise ZooError(f"A vocabulary holds at least {UNKNOWN} and {END}, got a size of {size}.")
            forced = {UNKNOWN, END} - set(ranked[:size])
            ranked = [word for word in ranked[: size - len(forced)] if word not in forced] + sorted(forced)
        return cls(ranked)

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, text: str) -> Ids:
        """Whole lines of text -> token ids with `<eos>` at each line's end, int32."""
        unknown, index = self.unknown, self.index
        return np.array([index.get(word, unknown) for word in split(text)], dtype=np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(self.words[i] for i in ids)

    def tensor(self) -> Tensor:
        """The words joined by line feeds in UTF-8, uint8: how a vocabulary travels in a weight's task."""
        return torch.frombuffer(bytearray("\n".join(self.words).encode()), dtype=torch.uint8)

    @classmethod
    def from_tensor(cls, tensor: Tensor) -> Vocabulary:
        return cls(bytes(tensor.cpu().numpy()).decode().split("\n"))


def split(text: str) -> list[str]:
    """Whole lines of text -> words, with `<eos>` at each line's end."""
    return text.replace("\n", f" {END} ").split()


class Source(Protocol):
    """Where the text of the splits comes from."""

    name: str
    licence: str

    def splits(self) -> tuple[str, ...]:
        """The splits that are there."""

    def fingerprint(self, split: str) -> str:
        """A sha256 that changes when the text does."""

    def blocks(self, split: str) -> Iterator[str]:
        """The text in pieces of whole lines."""


class FolderSource:
    """`wiki.{train,valid,test}.tokens` in a folder, plain or packed (`.xz`).

    Raises:
        ZooError: the folder or all three files are missing; the sentence says what to do.
    """

    def __init__(self, root: Path, name: str, licence: str, hint: str):
        self.root, self.name, self.licence = root, name, licence
        self._paths: dict[str, Path] = {}
        for part in SPLITS:
            plain = root / f"wiki.{part}.tokens"
            for path in (plain, plain.with_name(plain.name + ".xz")):
                if path.is_file():
                    self._paths.setdefault(part, path)
        if not self._paths:
            what = "holds no wiki.{train,valid,test}.tokens (plain or .xz)" if root.is_dir() else "does not exist"
            raise ZooError(f"The folder {root} for {name} {what}: {hint}.")

    def splits(self) -> tuple[str, ...]:
        return tuple(self._paths)

    def fingerprint(self, split: str) -> str:
        return sha256(self._paths[split])

    def blocks(self, split: str) -> Iterator[str]:
        path = self._paths[split]
        try:
            with lzma.open(path) if path.suffix == ".xz" else path.open("rb") as file:
                rest = b""
                while block := file.read(1 << 24):
                    whole, newline, rest = (rest + block).rpartition(b"\n")
                    yield (whole + newline).decode()
                if rest:
                    yield rest.decode() + "\n"
        except (lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
            raise ZooError(f"{path} is damaged ({error}): fetch it again.") from None


class BasicEnglish:
    """A source in the manner of torchtext's tokeniser "basic_english": lower case, punctuation apart, no line ends.

    Double quotes, colons and semicolons are left out, and so is `<eos>`: a text is one stream of words.
    """

    SPACED = {mark: f" {mark} " for mark in "'.,()!?"}
    TABLE = str.maketrans(SPACED | {'"': "", ";": " ", ":": " ", "\n": " "})

    def __init__(self, source: Source):
        self.source, self.name, self.licence = source, source.name, source.licence

    def splits(self) -> tuple[str, ...]:
        return self.source.splits()

    def fingerprint(self, split: str) -> str:
        return f"basic_english {self.source.fingerprint(split)}"

    def blocks(self, split: str) -> Iterator[str]:
        return (text.lower().translate(self.TABLE) + " " for text in self.source.blocks(split))


@dataclass
class Corpus:
    """Token ids of every split.

    Attributes:
        vocabulary: its words.
        tokens: split -> ids, read-only memory map of uint16 or int32.
        sources: split -> {"sha256" of the text, "tokens", "unknown"}.
        folder: the cache folder they live in.
    """

    vocabulary: Vocabulary
    tokens: dict[str, Ids]
    sources: dict[str, dict[str, Any]]
    folder: Path


def default_cache() -> Path:
    """~/.cache/theorem-zoo, or theorem-zoo in $XDG_CACHE_HOME."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "theorem-zoo"


def load_corpus(source: Source, *, size: int | None, words: Sequence[str] | None, cache: Path) -> Corpus:
    """The corpus of a source, from the cache or built into it; a damaged cache is built again.

    Args:
        size: number of words of the vocabulary, None for all of the training set.
        words: a vocabulary to use instead of the training set's, for a source that has no training set.
        cache: the folder of all cached corpora; this one gets a folder named by the sha256 of its sources and options.

    Raises:
        ZooError: no training set and no words to build a vocabulary from.
    """
    given = Vocabulary(words) if words is not None else None
    if given is None and "train" not in source.splits():
        raise ZooError(
            f"{source.name} has no training set to build a vocabulary from: give the words of a trained weight "
            "(`words`), or a folder that has wiki.train.tokens."
        )
    prints = {part: source.fingerprint(part) for part in source.splits()}
    key = json.dumps(["tokens-1", prints, size, given and hashlib.sha256("\n".join(given.words).encode()).hexdigest()])
    folder = cache / f"{source.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    corpus = _read(folder)
    if corpus is None:
        _build(folder, source, given, size)
        corpus = _read(folder)
        if corpus is None:
            raise ZooError(f"The token files written to {folder} cannot be read back: is the disk full?")
    return corpus


def _build(folder: Path, source: Source, vocabulary: Vocabulary | None, size: int | None) -> None:
    if vocabulary is None:
        counts: Counter[str] = Counter()
        for text in source.blocks("train"):
            counts.update(split(text))
        vocabulary = Vocabulary.from_counts(counts, size)
    dtype = np.dtype("<u2" if len(vocabulary) <= 1 << 16 else "<i4")
    files = {"vocabulary.txt": _write(folder / "vocabulary.txt", ["\n".join(vocabulary.words).encode()])}
    sources = {}
    for part in source.splits():
        digest, total, unknown = hashlib.sha256(), 0, 0

        def pieces(part: str = part, digest: Any = digest, vocabulary: Vocabulary = vocabulary) -> Iterator[bytes]:
            nonlocal total, unknown
            for text in source.blocks(part):
                digest.update(text.encode())
                ids = vocabulary.encode(text)
                total += len(ids)
                unknown += int((ids == vocabulary.unknown).sum())
                yield ids.astype(dtype).tobytes()

        files[f"{part}.bin"] = _write(folder / f"{part}.bin", pieces())
        sources[part] = {"sha256": digest.hexdigest(), "tokens": total, "unknown": unknown}
    # The index is written last: without it the folder counts as empty.
    write_json(folder / "index.json", {"dtype": dtype.str, "files": files, "sources": sources})


def _write(path: Path, pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    with write_beside(path) as beside, beside.open("wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def _read(folder: Path) -> Corpus | None:
    """The corpus in a cache folder, or None if it is absent or damaged."""
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        if any(sha256(folder / name) != digest for name, digest in index["files"].items()):
            return None
        vocabulary = Vocabulary((folder / "vocabulary.txt").read_text(encoding="utf-8").split("\n"))
        tokens: dict[str, Ids] = {}
        for part, source in index["sources"].items():
            path = folder / f"{part}.bin"  # an empty file cannot be mapped
            empty = np.empty(0, index["dtype"])
            tokens[part] = np.memmap(path, index["dtype"], "r") if source["tokens"] else empty
    except (OSError, ValueError, KeyError, TypeError, ZooError):
        return None
    return Corpus(vocabulary, tokens, index["sources"], folder)


def windows(tokens: Ids, starts: Ids, context: int) -> tuple[Tensor, Tensor]:
    """The windows that begin at `starts` (...), read around the end of the stream -> tokens, targets (..., t) int64."""
    places = starts[..., None] + np.arange(context + 1)
    ids = torch.from_numpy(tokens[places % len(tokens)].astype(np.int64))
    return ids[..., :-1].contiguous(), ids[..., 1:].contiguous()


def every_token_once(tokens: Ids, context: int, batch_size: int) -> list[dict[str, Tensor]]:
    """Windows that predict each token but the first exactly once, in order: batches of tokens, targets (b, t).

    Places after the end of the stream have the target -1; the last batch may have fewer windows.
    """
    if len(tokens) < 2:
        raise ZooError(f"A stream of {len(tokens)} tokens has nothing to predict.")
    count = -(-(len(tokens) - 1) // context)
    batches = []
    for first in range(0, count, batch_size):
        starts = np.arange(first, min(first + batch_size, count)) * context
        inputs, targets = windows(tokens, starts, context)
        past = torch.from_numpy(starts[:, None] + np.arange(1, context + 1)) >= len(tokens)
        batches.append({"tokens": inputs.masked_fill(past, 0), "targets": targets.masked_fill(past, -1)})
    return batches


class Held:
    """Held-out batches, shared out over ranks so that a plain mean over batches and ranks is a mean over tokens.

    Each batch gains `weight`, a scalar: the mean over batches of (sum over targets >= 0) x weight is the mean over all
    targets >= 0. Ranks get equally many batches; the last ones may have no target at all.

    Args:
        batches: with "targets", -1 where there is nothing to predict.
        rank, world: which part this process takes.
    """

    def __init__(self, batches: list[dict[str, Tensor]], rank: int = 0, world: int = 1):
        total = sum(int((batch["targets"] >= 0).sum()) for batch in batches)
        empty = batches[0] | {"targets": torch.full_like(batches[0]["targets"], -1)}
        batches = batches + [empty] * (-len(batches) % world)
        weight = torch.tensor(len(batches) / total, dtype=torch.float64)
        self.batches = [batch | {"weight": weight} for batch in batches[rank::world]]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return iter(self.batches)
