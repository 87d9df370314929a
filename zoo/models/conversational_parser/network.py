"""The parser's network: an encoder over text and objects, a decoder that writes operators and points at objects.

Shapes: b batch, t text tokens, o objects, n = t + o places of the encoder, s tokens of a logical form, d embedding,
h heads, k head size, f inner width, v words, F fixed tokens of forms (end, operators, properties, classes).

After Marion, Nowak & Piccinno (EMNLP 2021), with fields and sizes of our own: the structured input becomes one list of vectors for
ordinary attention, and one softmax is shared by the fixed tokens and by a pointer to the objects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from zoo.models.conversational_parser.parser import Parser

END = 0  # the fixed token that begins and ends every form
SEGMENTS = 3  # current question, previous question, previous answer
SOURCES = 6  # none, current question, previous question, previous answer, answer set, number
HIDDEN = -1e9  # logit of what cannot be chosen: finite, so that a row with nothing to choose has no nan

Noise = Callable[[Tensor], Tensor]


def _silent(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True)
class Dropout:
    """Dropout whose masks come from a generator of its own."""

    share: float
    generator: torch.Generator

    def __call__(self, x: Tensor) -> Tensor:
        mask = torch.empty_like(x).bernoulli_(1 - self.share, generator=self.generator)
        return x * mask.mul_(1 / (1 - self.share))


def _uniform(bound: float, *shape: int, generator: torch.Generator | None) -> nn.Parameter:
    return nn.Parameter((2 * torch.rand(shape, generator=generator) - 1) * bound)


def _normal(*shape: int, generator: torch.Generator | None) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=generator) * shape[-1] ** -0.5)


class Attention(nn.Module):
    """Multi-head attention, 4 d^2 + 4 d numbers, PyTorch's initial values."""

    def __init__(self, dim: int, heads: int, generator: torch.Generator | None):
        super().__init__()
        self.dim, self.heads = dim, heads
        self.maps = _uniform(
            math.sqrt(6 / (4 * dim)), 3 * dim, dim, generator=generator
        )  # (3 h k, d): query, key, value
        self.bias = nn.Parameter(torch.zeros(3 * dim))
        self.out = _uniform(dim**-0.5, dim, dim, generator=generator)
        self.out_bias = nn.Parameter(torch.zeros(dim))

    def part(self, x: Tensor, first: int, last: int) -> tuple[Tensor, ...]:
        """Maps first … last-1 of (query, key, value) on x (b, n, d), each (b, h, n, k)."""
        rows = slice(first * self.dim, last * self.dim)
        y = F.linear(x, self.maps[rows], self.bias[rows])
        return tuple(one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in y.chunk(last - first, -1))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x (b, n, d) attends to itself, `bias` added to the scores -> (b, n, d)."""
        query, key, value = self.part(x, 0, 3)
        return self.mixed(query, key, value, bias)

    def mixed(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """Queries (b, h, m, k) over keys and values (b, h, n, k), `bias` added to the scores -> (b, m, d)."""
        scores = (query * (self.dim // self.heads) ** -0.5) @ key.transpose(-1, -2)
        y = torch.softmax(scores if bias is None else scores + bias, -1) @ value
        return F.linear(y.transpose(1, 2).flatten(2), self.out, self.out_bias)


class Feed(nn.Module):
    """W_2 GELU(W_1 x + b_1) + b_2, 2 d f + f + d numbers."""

    def __init__(self, dim: int, width: int, generator: torch.Generator | None):
        super().__init__()
        self.inner = _uniform(dim**-0.5, width, dim, generator=generator)
        self.inner_bias = _uniform(dim**-0.5, width, generator=generator)
        self.outer = _uniform(width**-0.5, dim, width, generator=generator)
        self.outer_bias = _uniform(width**-0.5, dim, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """x (b, n, d) -> (b, n, d)."""
        return F.linear(F.gelu(F.linear(x, self.inner, self.inner_bias)), self.outer, self.outer_bias)


class EncoderLayer(nn.Module):
    """x + attention(norm(x)), then x + feed(norm(x))."""

    def __init__(self, dim: int, width: int, heads: int, generator: torch.Generator | None):
        super().__init__()
        self.attention, self.feed = Attention(dim, heads, generator), Feed(dim, width, generator)
        self.norm, self.feed_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x: Tensor, hidden: Tensor, noise: Noise) -> Tensor:
        """x (b, n, d), `hidden` (b, 1, 1, n) added to the scores -> (b, n, d)."""
        x = x + noise(self.attention(self.norm(x), hidden))
        return x + noise(self.feed(self.feed_norm(x)))


class DecoderLayer(nn.Module):
    """Causal attention, attention to the encoder, feed; each x + f(norm(x))."""

    def __init__(self, dim: int, width: int, heads: int, generator: torch.Generator | None):
        super().__init__()
        self.attention, self.cross = Attention(dim, heads, generator), Attention(dim, heads, generator)
        self.feed = Feed(dim, width, generator)
        self.norm, self.cross_norm, self.feed_norm = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x: Tensor, future: Tensor, memory: Tensor, hidden: Tensor, noise: Noise) -> Tensor:
        """x (b, s, d), `future` (s, s) and `hidden` (b, 1, 1, n) added to scores, memory (b, n, d) -> (b, s, d)."""
        x = x + noise(self.attention(self.norm(x), future))
        (query,) = self.cross.part(self.cross_norm(x), 0, 1)
        key, value = self.cross.part(memory, 1, 3)
        x = x + noise(self.cross.mixed(query, key, value, hidden))
        return x + noise(self.feed(self.feed_norm(x)))

    def step(self, x: Tensor, place: int, own: list[Tensor], memory: list[Tensor], hidden: Tensor) -> Tensor:
        """`forward` for the newest token x (b, 1, d) alone; writes its key and value (b, h, s, k) into `own`."""
        query, key, value = self.attention.part(self.norm(x), 0, 3)
        own[0][:, :, place], own[1][:, :, place] = key[:, :, 0], value[:, :, 0]
        x = x + self.attention.mixed(query, own[0][:, :, : place + 1], own[1][:, :, : place + 1], None)
        (query,) = self.cross.part(self.cross_norm(x), 0, 1)
        x = x + self.cross.mixed(query, memory[0], memory[1], hidden)
        return x + self.feed(self.feed_norm(x))


@dataclass
class Memory:
    """What the encoder hands to the decoder.

    Attributes:
        places: its output (b, n, d).
        hidden: (b, 1, 1, n), HIDDEN where there is nothing.
        keys: pointer keys of the objects (b, o, d).
        absent: (b, o), true for objects that are not there.
    """

    places: Tensor
    hidden: Tensor
    keys: Tensor
    absent: Tensor


@dataclass
class Cache:
    """Keys and values of a decoding, so that a step costs one token: per layer `own` (b, h, s, k) and `memory` (b, h, n, k)."""

    own: list[list[Tensor]]
    memory: list[list[Tensor]]
    hidden: Tensor
    keys: Tensor
    absent: Tensor

    def rows(self, index: Tensor) -> Cache:
        """The rows `index` (b',) of a batch: a beam's survivors, or what is not finished yet."""
        own, memory = ([[one[index] for one in pair] for pair in part] for part in (self.own, self.memory))
        return Cache(own, memory, self.hidden[index], self.keys[index], self.absent[index])


class StructuredParser(nn.Module):
    """Encoder–decoder with a pointer, pre-norm, GELU.

    A place of the text is word + segment + place + slot (the object whose mention it is); an object is slot + source +
    class + W (mean one-hot of incident relations) and has no identity of its own, so that an unseen entity costs
    nothing. The logits of step s are W_o d_s + b over the fixed tokens and (W_q d_s) · h_object / sqrt(d) over objects.

    Args:
        words: v. properties, classes, operators: of the grammar and the graph; F = 1 + operators + properties + classes.
        dim: d. width: f. heads: h. layers: of the encoder. decoder_layers: of the decoder.
        entities, numbers: slots; with the previous answer's set there are o = entities + 1 + numbers objects.
        places: longest utterance. longest: tokens of the longest form.
        flat: text alone: no segments, no slots, no objects; pointers go to the first token of a mention.
        token_width: width of token vectors from a pre-trained encoder that take the words' place; 0 for own words.
        generator: of the initial parameters.

    Attributes:
        task: with a shipped weight, the words and the graph that `parser` speaks about.
    """

    def __init__(
        self,
        *,
        words: int,
        properties: int,
        classes: int,
        operators: int,
        dim: int = 96,
        width: int = 192,
        heads: int = 4,
        layers: int = 2,
        decoder_layers: int = 2,
        entities: int = 8,
        numbers: int = 4,
        places: int = 128,
        longest: int = 64,
        flat: bool = False,
        token_width: int = 0,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim must be a multiple of heads, got {dim} and {heads}.")
        self.words, self.properties, self.classes, self.operators = words, properties, classes, operators
        self.dim, self.width, self.heads, self.layers, self.decoder_layers = dim, width, heads, layers, decoder_layers
        self.entities, self.numbers, self.places, self.longest = entities, numbers, places, longest
        self.flat, self.token_width = flat, token_width
        self.objects = entities + 1 + numbers
        self.fixed = 1 + operators + properties + classes
        make: dict[str, Any] = {"generator": generator}
        if token_width:
            self.token = _uniform(token_width**-0.5, dim, token_width, **make)
        else:
            self.word = _normal(words, dim, **make)  # (v, d)
        self.place = _normal(places, dim, **make)
        if not flat:
            self.slot = _normal(1 + self.objects, dim, **make)
            self.segment = _normal(SEGMENTS, dim, **make)
            self.source = _normal(SOURCES, dim, **make)
            self.kind = _normal(classes + 1, dim, **make)
            self.relation = _uniform((2 * properties) ** -0.5, dim, 2 * properties, **make)
        self.form = _normal(self.fixed + self.objects, dim, **make)  # inputs of the decoder; copies by their slot
        self.form_place = _normal(longest, dim, **make)
        self.encoder = nn.ModuleList(EncoderLayer(dim, width, heads, generator) for _ in range(layers))
        self.decoder = nn.ModuleList(DecoderLayer(dim, width, heads, generator) for _ in range(decoder_layers))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.out = _uniform(dim**-0.5, self.fixed, dim, **make)
        self.out_bias = _uniform(dim**-0.5, self.fixed, **make)
        self.pointer = _uniform(dim**-0.5, dim, dim, **make)
        self.task: dict[str, Tensor] = {}

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments that make this network again."""
        names = ("words", "properties", "classes", "operators", "dim", "width", "heads", "layers", "decoder_layers")
        more = ("entities", "numbers", "places", "longest", "flat", "token_width")
        return {name: getattr(self, name) for name in (*names, *more)}

    # The two halves.

    def encode(
        self,
        text: Tensor,
        objects: Tensor,
        relations: Tensor,
        *,
        vectors: Tensor | None = None,
        used: Tensor | None = None,
        noise: Noise = _silent,
    ) -> Memory:
        """Structured input (see `forward`) -> memory.

        Args:
            vectors: (b, t, token_width) in place of words. used: numbers of the objects that some row has, so that the
                others cost nothing; all by default.
        """
        word, segment, place, slot = text.unbind(-1)
        x = F.embedding(word, self.word) if not self.token_width else F.linear(self._given(vectors), self.token)
        x = x + F.embedding(place, self.place)
        absent, there = objects[..., 0] == 0, word > 0
        if self.flat:
            marks = slot[:, None] == torch.arange(1, 1 + self.objects, device=slot.device)[:, None]  # (b, o, t)
            absent = absent | ~marks.any(-1)
        else:
            source, kind = objects.unbind(-1)
            x = x + F.embedding(segment, self.segment) + F.embedding(slot, self.slot)
            own = F.embedding(source, self.source) + F.embedding(kind, self.kind) + self.slot[1:]
            profile = relations / relations.sum(-1, keepdim=True).clamp(min=1)
            own = own + F.pad(F.linear(profile, self.relation), (0, 0, 0, 1 + self.numbers))
            present = ~absent
            if used is not None:
                own, present = own[:, used], present[:, used]
            x, there = torch.cat([x, own], 1), torch.cat([there, present], 1)
        hidden = torch.zeros(there.shape, dtype=x.dtype, device=x.device).masked_fill(~there, HIDDEN)[:, None, None]
        x = noise(x)
        for layer in self.encoder:
            x = layer(x, hidden, noise)
        x = self.encoder_norm(x)
        if self.flat:
            first = marks.to(torch.int8).argmax(-1)  # (b, o)
            keys = x.gather(1, first[..., None].expand(-1, -1, self.dim))
        else:
            keys = x[:, text.shape[1] :]
            if used is not None:
                keys = keys.new_zeros(*absent.shape, self.dim).index_copy(1, used, keys)
        return Memory(x, hidden, keys, absent)

    def _given(self, vectors: Tensor | None) -> Tensor:
        if vectors is None:
            raise ValueError("This parser takes token vectors from a pre-trained encoder: give `vectors`.")
        return vectors

    def decode(self, prefix: Tensor, memory: Memory, *, noise: Noise = _silent) -> Tensor:
        """Forms so far (b, s), END first -> logits (b, s, F + o) of the token after each place."""
        s = prefix.shape[1]
        x = noise(F.embedding(prefix, self.form) + self.form_place[:s])
        future = torch.full((s, s), HIDDEN, dtype=x.dtype, device=x.device).triu(1)
        for layer in self.decoder:
            x = layer(x, future, memory.places, memory.hidden, noise)
        return self._logits(self.decoder_norm(x), memory.keys, memory.absent)

    def _logits(self, x: Tensor, keys: Tensor, absent: Tensor) -> Tensor:
        """x (b, s, d) -> (b, s, F + o), one softmax's worth."""
        points = F.linear(x, self.pointer) @ keys.transpose(1, 2) * self.dim**-0.5
        return torch.cat([F.linear(x, self.out, self.out_bias), points.masked_fill(absent[:, None], HIDDEN)], -1)

    def forward(self, text: Tensor, objects: Tensor, relations: Tensor, prefix: Tensor) -> Tensor:
        """A batch of questions and the forms written so far -> logits of the next tokens.

        Args:
            text: (b, t, 4), word, segment, place in the utterance, slot (0 or 1 + object); word 0 is padding.
            objects: (b, o, 2), source (0: not there) and class (0: unknown).
            relations: (b, entities, 2 properties), 1 where an entity has a property, forward and then backward.
            prefix: (b, s), END first; fixed tokens below F, objects from F on.

        Returns:
            (b, s, F + o).
        """
        return self.decode(prefix, self.encode(text, objects, relations))

    # One token after another.

    def start(self, memory: Memory) -> Cache:
        """The cache before the first step."""
        b, k = len(memory.places), self.dim // self.heads
        own = [[memory.places.new_empty(b, self.heads, self.longest, k) for _ in range(2)] for _ in self.decoder]
        read: list[Any] = [layer.cross.part(memory.places, 1, 3) for layer in self.decoder]  # type: ignore[union-attr, operator]
        return Cache(
            own, [[one.contiguous() for one in pair] for pair in read], memory.hidden, memory.keys, memory.absent
        )

    def step(self, last: Tensor, place: int, cache: Cache) -> Tensor:
        """The token at `place` (b,) -> logits (b, F + o) of the next one; the cache takes its keys and values."""
        x = (F.embedding(last, self.form) + self.form_place[place])[:, None]
        for layer, own, memory in zip(self.decoder, cache.own, cache.memory, strict=True):
            x = layer.step(x, place, own, memory, cache.hidden)  # type: ignore[operator]
        return self._logits(self.decoder_norm(x), cache.keys, cache.absent)[:, 0]

    def applied(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """function(network, …): a whole decoding with the parameters of the moment (see `zoo.replicas.View`)."""
        return function(self, *arguments)

    def example(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Random text, objects, relations and prefix to call the network on."""

        def draw(stop: int, *shape: int) -> Tensor:
            return torch.randint(stop, (batch, *shape), generator=generator)

        t = min(12, self.places)
        text = torch.stack([1 + draw(self.words - 1, t), draw(SEGMENTS, t), draw(t, t), draw(1 + self.objects, t)], -1)
        objects = torch.stack([draw(SOURCES, self.objects), draw(self.classes + 1, self.objects)], -1)
        relations = draw(2, self.entities, 2 * self.properties).to(self.form.dtype)
        return text, objects, relations, draw(self.fixed, min(6, self.longest))

    # With a shipped weight: questions in words.

    def equip(self, task: Mapping[str, Tensor]) -> None:
        """Takes along what the weight was trained on: its words and its graph."""
        self.task = dict(task)
        self.__dict__.pop("_parser", None)

    @property
    def parser(self) -> Parser:
        """Speaks about the weight's own graph; see `Parser`."""
        if "_parser" not in self.__dict__:
            from zoo.models.conversational_parser.parser import Parser

            self.__dict__["_parser"] = Parser.from_task(self, self.task)
        return self.__dict__["_parser"]

    def parse(self, question: str, context: Any = None) -> Any:
        """The logical form of a question; see `Parser.parse`."""
        return self.parser.parse(question, context)

    def answer(self, question: str, context: Any = None) -> Any:
        """The answer to a question; see `Parser.answer`."""
        return self.parser.answer(question, context)
