"""Real text that claims are measured on: WikiText-2 in the user's folder, in the words of a weight."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from datamodules.corpus import BasicEnglish, FolderSource, Ids, Source, Vocabulary
from zoo.claims import Skip
from zoo.registry import ZooError


def wikitext2(vocabulary: Vocabulary, split: str, *, basic_english: bool = False) -> Ids:
    """Token ids of a split of WikiText-2.

    Args:
        vocabulary: whose ids.
        split: "train", "valid" or "test".
        basic_english: see `datamodules.corpus.BasicEnglish`.

    Raises:
        Skip: its files are not in $ZOO_DATA/wikitext-2.
    """
    if "ZOO_DATA" not in os.environ:
        raise Skip("ZOO_DATA does not name a folder with wikitext-2/")
    folder = Path(os.environ["ZOO_DATA"]) / "wikitext-2"
    try:
        source: Source = FolderSource(folder, "wikitext-2", "", "fetch it")
    except ZooError:
        raise Skip(f"no wiki.{split}.tokens in {folder}") from None
    if split not in source.splits():
        raise Skip(f"no wiki.{split}.tokens in {folder}")
    if basic_english:
        source = BasicEnglish(source)
    return np.concatenate([vocabulary.encode(text) for text in source.blocks(split)])
