"""Vectors of words from a pre-trained encoder: a folder in Hugging Face's format, read offline, never trained.

Shapes: t words, w width of the encoder.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from zoo.registry import ZooError

KEPT = 200_000  # utterances


class Encoder(Protocol):
    """What gives a vector to every word of an utterance."""

    width: int

    def vectors(self, words: Sequence[str]) -> Tensor:
        """Words -> (t, w), float32."""


class PretrainedVectors:
    """The encoder's last layer, averaged over the pieces of each word; the same words are looked up, not computed again.

    Args:
        folder: with config.json, weights (safetensors) and a fast tokenizer.

    Raises:
        ZooError: transformers is not installed, or the folder is no model; one sentence.
    """

    def __init__(self, folder: str | Path):
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError:
            raise ZooError(
                "Token vectors of a pre-trained encoder need transformers: pip install -e '.[parser]'."
            ) from None
        self.folder = str(folder)
        if not (Path(folder) / "config.json").is_file():
            raise ZooError(f"{folder} is not a folder with a Hugging Face model: it holds no config.json.")
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(self.folder, local_files_only=True, use_fast=True)
            model = AutoModel.from_pretrained(self.folder, local_files_only=True, use_safetensors=True)
        except (OSError, ValueError, KeyError) as error:
            raise ZooError(
                f"{folder} cannot be read as a Hugging Face model ({' '.join(str(error).split())})."
            ) from None
        self._model: Any = model.eval().requires_grad_(False)
        self.width: int = model.config.hidden_size
        self._most = min(getattr(model.config, "max_position_embeddings", 512), 512)
        self._kept: OrderedDict[tuple[str, ...], Tensor] = OrderedDict()

    def vectors(self, words: Sequence[str]) -> Tensor:
        key = tuple(words)
        if key not in self._kept:
            self._kept[key] = self._compute(key) if key else torch.zeros(0, self.width)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return self._kept[key]

    @torch.no_grad()
    def _compute(self, words: tuple[str, ...]) -> Tensor:
        pieces = self._tokenizer(
            [list(words)], is_split_into_words=True, return_tensors="pt", truncation=True, max_length=self._most
        )
        hidden = self._model(**pieces).last_hidden_state[0].float()
        owner = pieces.word_ids(0)
        places = torch.tensor([i for i, word in enumerate(owner) if word is not None], dtype=torch.long)
        word = torch.tensor([word for word in owner if word is not None], dtype=torch.long)
        total = torch.zeros(len(words), self.width).index_add_(0, word, hidden[places])
        return total / torch.bincount(word, minlength=len(words)).clamp(min=1)[:, None]
