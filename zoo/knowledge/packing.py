"""A small graph as bytes, so that it travels inside a weight."""

from __future__ import annotations

import json
import lzma

import numpy as np

from zoo.knowledge.graph import KnowledgeGraph
from zoo.registry import ZooError

LARGEST = 1 << 28  # bytes that a weight of any origin may unpack to


def pack(graph: KnowledgeGraph) -> bytes:
    """Header and arrays in one compressed piece; equal graphs give equal bytes."""
    arrays = {name: np.ascontiguousarray(array) for name, array in graph.arrays.items()}
    header = {"header": graph.header, "arrays": [[name, one.dtype.str, len(one)] for name, one in arrays.items()]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    return lzma.compress(b"\n".join([text, b"".join(one.tobytes() for one in arrays.values())]), preset=6)


def unpack(packed: bytes) -> KnowledgeGraph:
    """The graph that `pack` packed.

    Raises:
        ZooError: the bytes are damaged.
    """
    try:
        opened = lzma.LZMADecompressor()
        content = opened.decompress(packed, LARGEST)
        if not opened.eof:
            raise ZooError(f"A packed graph is damaged, or larger than {LARGEST:,} bytes: fetch its weight again.")
        text, _, data = content.partition(b"\n")
        header = json.loads(text)
        arrays, at = {}, 0
        for name, kind, count in header["arrays"]:
            arrays[name] = np.frombuffer(data, kind, count, at).copy()  # aligned
            at += arrays[name].nbytes
        return KnowledgeGraph(header["header"], arrays)
    except (lzma.LZMAError, ValueError, KeyError, TypeError) as error:
        raise ZooError(f"A packed graph is damaged ({type(error).__name__}): fetch its weight again.") from None
