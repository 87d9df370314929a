"""What is known in closed form about the parser: the number of its parameters."""

from __future__ import annotations


def parameters(
    *,
    words: int,
    properties: int,
    classes: int,
    operators: int,
    dim: int,
    width: int,
    layers: int,
    decoder_layers: int,
    entities: int = 8,
    numbers: int = 4,
    places: int = 128,
    longest: int = 64,
) -> int:
    """Numbers of a `StructuredParser` with words of its own; 456,252 at the size of the synthetic task's prototype.

    d(v + 1 + o + 3 + places + 6 + C + 1 + 2 R + F + o + longest) embeddings, l (4 d^2 + 2 d f + f + 9 d) in the encoder,
    l' (8 d^2 + 2 d f + f + 15 d) in the decoder, 4 d in the last norms, F (d + 1) and d^2 in the output and the pointer.
    """
    d, f, objects = dim, width, entities + 1 + numbers
    fixed = 1 + operators + properties + classes
    rows = words + 1 + objects + 3 + places + 6 + classes + 1 + 2 * properties + fixed + objects + longest
    encoder = layers * (4 * d * d + 2 * d * f + f + 9 * d)
    decoder = decoder_layers * (8 * d * d + 2 * d * f + f + 15 * d)
    return d * rows + encoder + decoder + 4 * d + fixed * (d + 1) + d * d
