"""Questions in words: structured input, logical form, answer, and the context for the question after it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from datamodules.dialogues import Answer, Mention, find_mentions, tokenise
from datamodules.dialogues import Pair as Exchange
from datamodules.structured_inputs import Example, Inputs, examples
from datamodules.token_vectors import Encoder
from zoo.knowledge.context import WHOLE_NUMBER, Context, Structured, Vocabulary
from zoo.knowledge.executor import Boolean, EntitySet, ExecutionError, Executor, NumberValue, Pair, Value, ValueSet
from zoo.knowledge.grammar import Apply, Entity, Form, linearise, to_text, to_tree
from zoo.knowledge.graph import KnowledgeGraph
from zoo.knowledge.packing import unpack
from zoo.models.conversational_parser.decoding import Automaton, Decoded, beam, greedy
from zoo.models.conversational_parser.network import StructuredParser
from zoo.registry import ZooError

if TYPE_CHECKING:
    from datamodules.parsing import ParsingData

SHOWN = 3  # names in an answer
LONGEST_QUESTION = 100_000  # characters


@dataclass(frozen=True)
class Reply:
    """What the parser made of a question; as a context it makes the next question understood.

    Attributes:
        structured: the structured input. form: the logical form, None if there is no answer.
        value: what the form came to, None if it was not executed.
        text: the answer in words, or why there is none.
        notes: what the parser did not know or left out.
        pair: question and answer as the next question's context.
    """

    question: str
    text: str
    structured: Structured | None = None
    form: Form | None = None
    value: Value | None = None
    notes: tuple[str, ...] = ()
    pair: Exchange | None = None
    parser: Parser | None = field(default=None, repr=False, compare=False)

    @property
    def tree(self) -> str:
        """The form as an indented tree with labels."""
        return "" if self.form is None or self.parser is None else to_tree(self.form, self.parser.graph)

    def to_json(self) -> dict[str, Any]:
        """Question, structured input, form and answer as JSON values."""
        value: dict[str, Any] = {"question": self.question, "answer": self.text, "notes": list(self.notes)}
        if self.parser is not None and self.structured is not None:
            value["structured"] = self.structured.to_json(self.parser.graph, self.parser.context.vocabulary)
        if self.parser is not None and self.form is not None:
            value["form"] = to_text(self.form, self.parser.graph)
        return value | ({} if self.value is None else {"value": self._value()})

    def _value(self) -> Any:
        assert self.parser is not None
        graph = self.parser.graph

        def shown(value: Any) -> Any:
            match value:
                case EntitySet(ids):
                    return [{"entity": graph.entity_name(int(id)), "label": graph.label(int(id))} for id in ids[:100]]
                case ValueSet(literals):
                    return [literal.text for literal in literals[:100]]
                case Pair(first, second):
                    return [shown(first), shown(second)]
            return None if value.value != value.value else value.value

        found = shown(self.value)
        return {"size": len(self.value), "first": found} if isinstance(self.value, (EntitySet, ValueSet)) else found


class Parser:
    """A network with the words and the graph that it speaks about.

    Args:
        linking: how the entities of a question given as text are found: "string". Pairs with annotation may be parsed in
            the oracle settings too (`forms`).
        settings: of the structured input (`zoo.knowledge.context.Context`), as the network was trained.
        encoder: gives token vectors, for a network that takes them.

    Raises:
        ZooError: network, vocabulary and encoder do not fit.
    """

    def __init__(
        self,
        network: StructuredParser,
        vocabulary: Vocabulary,
        graph: KnowledgeGraph,
        *,
        linking: str = "string",
        settings: Mapping[str, Any] | None = None,
        encoder: Encoder | None = None,
    ):
        sizes = vocabulary.sizes
        if any(getattr(network, name) != size for name, size in sizes.items()):
            raise ZooError("The parser's network and vocabulary are of different sizes.")
        if network.token_width != (encoder.width if encoder else 0):
            needs = f"token vectors of width {network.token_width}" if network.token_width else "no token vectors"
            raise ZooError(f"This parser takes {needs}: give Parser an encoder that fits.")
        self.network, self.graph, self.encoder = network, graph, encoder
        options = {"entities": network.entities, "numbers": network.numbers, "inside": encoder is not None}
        self.context = Context(graph, vocabulary, linking=linking, **(options | dict(settings or {})))
        self.executor = Executor(graph)
        self.automaton = automaton(network, self.context)
        self._words = set(vocabulary.words)

    @classmethod
    def from_task(
        cls,
        network: StructuredParser,
        task: Mapping[str, Tensor],
        graph: KnowledgeGraph | None = None,
        encoder: Encoder | None = None,
    ) -> Parser:
        """The parser of a shipped weight, over its own graph or a given one.

        Raises:
            ZooError: the weight has no vocabulary with it, or no graph and none is given.
        """
        packed = {name: bytes(tensor.cpu().numpy()) for name, tensor in task.items()}
        if "vocabulary" not in packed:
            raise ZooError(
                "This network is untrained: load a weight, as conversational_parser.synthetic, to ask questions."
            )
        if graph is None and "graph" not in packed:
            raise ZooError(
                "This weight was trained on data that do not travel with it: give a graph's file from `zoo kg build`, as "
                "`zoo ask NAME --graph=FILE` or Parser.from_task(network, network.task, KnowledgeGraph.open(FILE))."
            )
        return cls(
            network,
            Vocabulary.from_bytes(packed["vocabulary"]),
            graph or unpack(packed["graph"]),
            settings=settings_of(packed["settings"]),
            encoder=encoder,
        )

    @classmethod
    def from_data(cls, network: StructuredParser, data: ParsingData, split: str) -> Parser:
        """A trained network over the graph of a split, in the linking setting of its training."""
        graph, options = data.corpus.graph_of(split), data.options
        return cls(network, data.vocabulary, graph, linking=data.linking, settings=options, encoder=data.encoder)

    # Questions in words.

    def parse(self, question: str, context: Reply | Exchange | None = None, *, beams: int = 1) -> Reply:
        """The logical form of a question, not executed.

        Args:
            context: the reply (or the pair of question and answer) before it, for "that city", "And what about X ?".
            beams: width of the search; 1 is greedy.
        """
        before = context.pair if isinstance(context, Reply) else context
        tokens = tokenise(question[:LONGEST_QUESTION].replace("�", " "))
        if not tokens:
            return Reply(question, "No answer: the question is empty.", parser=self)
        spans = self.context.labels.spans(tokens) if self.context.linking == "string" else []
        mentions = tuple(Mention(one.start, one.stop, one.entities[0]) for one in spans)
        pair = Exchange(
            tokens, Answer(""), "", mentions=mentions, entities=tuple(dict.fromkeys(m.entity for m in mentions))
        )
        structured = self.context.structure(pair, before)
        notes = []
        if structured.utterances[0].cut or len(question) > LONGEST_QUESTION:
            notes.append(f"the question was cut to its first {self.context.length} words")
        unknown = self._unknown(tokens, mentions)
        if unknown:
            notes.append(f"unknown: {', '.join(unknown[:5])}{', …' * (len(unknown) > 5)}")
        names = [word for word in unknown if word[0].isupper()]
        if not mentions and (names or not any(token.lower() in self._words for token in tokens)):
            text = f"nothing in the graph is called {(names or unknown or tokens)[0][:60]!r}, and it is no word that I know"
            return Reply(question, f"No answer: {text}.", structured, notes=tuple(notes), pair=pair, parser=self)
        found = self.decode([structured], beams)[0][0]
        form = self.context.decode(found.tokens, structured)
        return Reply(question, to_text(form, self.graph), structured, form, None, tuple(notes), pair, self)

    def answer(self, question: str, context: Reply | Exchange | None = None, *, beams: int = 1) -> Reply:
        """The answer to a question; see `parse`."""
        parsed = self.parse(question, context, beams=beams)
        if parsed.form is None or parsed.pair is None:
            return parsed
        try:
            value = self.executor.run(parsed.form)
        except ExecutionError as error:
            return Reply(
                question, f"No answer: {error}", parsed.structured, parsed.form, None, parsed.notes, parsed.pair, self
            )
        answer = say(value, parsed.form, self.graph)
        # As the replies of dialogues are written: the names that are shown, and nothing about the rest.
        listed = ", ".join(self.graph.label(one) for one in answer.shown)
        words = tokenise(
            listed if listed and len(answer.shown) == min(len(answer.entities or ()), SHOWN) else answer.text
        )
        names = [(tokenise(self.graph.label(one)), one) for one in answer.shown]
        resolved = (token.id for token in linearise(parsed.form) if isinstance(token, Entity))
        entities = tuple(dict.fromkeys((*resolved, *parsed.pair.entities)))
        pair = Exchange(
            parsed.pair.tokens,
            answer,
            "",
            mentions=parsed.pair.mentions,
            entities=entities,
            form=parsed.form,
            answer_tokens=words,
            answer_mentions=find_mentions(words, names),
        )
        return Reply(question, answer.text, parsed.structured, parsed.form, value, parsed.notes, pair, self)

    ask = answer

    def _unknown(self, tokens: Sequence[str], mentions: Iterable[Mention]) -> list[str]:
        inside = {i for one in mentions for i in range(one.start, one.stop)}
        words = (token for i, token in enumerate(tokens) if i not in inside and not WHOLE_NUMBER.fullmatch(token))
        known = self.context.vocabulary.words
        if self.encoder is not None or not known:
            return []
        return list(dict.fromkeys(w for w in words if w.lower() not in self._words and any(c.isalnum() for c in w)))

    # Many questions at once.

    def decode(self, inputs: Sequence[Structured], beams: int = 1, batch_size: int = 64) -> list[list[Decoded]]:
        """The likeliest forms of each structured input, best first, as tokens."""
        arrays = Inputs(self.context, self.encoder)
        for one in inputs:
            arrays.add(one)
        found: list[list[Decoded]] = [[] for _ in inputs]
        order = sorted(range(len(inputs)), key=arrays.lengths.__getitem__)
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            batch = trimmed(arrays.batch(torch.tensor(rows).numpy()))
            for row, forms in zip(rows, decoded(self.network, batch, self.automaton, beams), strict=True):
                found[row] = forms
        return found

    def forms(self, dialogues: Iterable[Any], beams: int = 1) -> Iterable[tuple[Example, list[Form]]]:
        """Every pair of annotated dialogues in the context's linking setting, with the forms found for it, best first."""
        found = list(examples(self.context, dialogues, self.network.longest))
        decoded = self.decode([one.input for one in found], beams)
        for one, tokens in zip(found, decoded, strict=True):
            yield one, [self.context.decode(row.tokens, one.input) for row in tokens]


def automaton(network: StructuredParser, context: Context) -> Automaton:
    """What the network may write about a graph."""
    words = context.vocabulary
    shape = (len(words.properties), len(words.classes), network.entities, network.numbers)
    return Automaton(words.operators, *shape, speakable=context.speakable)


def decoded(
    network: StructuredParser, batch: Mapping[str, Tensor], automaton: Automaton, beams: int = 1
) -> list[list[Decoded]]:
    """The likeliest forms of a batch of inputs."""
    with torch.no_grad():
        like = network.form
        rest: dict[str, Any] = {"vectors": batch["vectors"].to(like)} if "vectors" in batch else {}
        rest |= {"used": batch["used"].to(like.device)} if "used" in batch else {}
        text, objects = batch["text"].to(like.device), batch["objects"].to(like.device)
        memory = network.encode(text, objects, batch["relations"].to(like), **rest)
    if beams == 1:
        return [[one] for one in greedy(network, memory, automaton)]
    return beam(network, memory, automaton, beams)


def trimmed(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The batch without columns in which every row is padding, with the objects `used` by some row: shapes are then the
    batch's own, whatever it came in."""
    t = max(int((batch["text"][..., 0] > 0).any(0).sum()), 1)
    used = (batch["objects"][..., 0] > 0).any(0).nonzero().flatten()
    found = dict(batch) | {"text": batch["text"][:, :t], "used": used}
    if "vectors" in batch:
        found["vectors"] = batch["vectors"][:, :t]
    if "target" in batch:
        found["target"] = batch["target"][:, : max(int((batch["target"] >= 0).any(0).sum()), 1)]
    return found


def settings_of(packed: bytes) -> dict[str, Any]:
    """The structured input's options in a weight's task."""
    value = json.loads(packed)
    return {name: value[name] for name in ("previous", "kg", "inside", "entities", "numbers", "length")}


# Answers in words.


def say(value: Value, form: Form, graph: KnowledgeGraph) -> Answer:
    """A value as the system of a dialogue would put it."""
    match value:
        case EntitySet(ids):
            entities = tuple(int(id) for id in ids)
            names = [graph.label(one) for one in entities[:SHOWN]]
            if isinstance(form, Apply) and form.operator == "clarify" and entities:
                return Answer(f"Did you mean {names[0]} ?", entities=entities, shown=entities[:1])
            rest = f" and {len(entities) - SHOWN:,} more" if len(entities) > SHOWN else ""
            return Answer(", ".join(names) + rest if names else "none", entities=entities, shown=entities[:SHOWN])
        case Boolean(truth):
            return Answer("YES" if truth else "NO", booleans=(truth,))
        case NumberValue(number, text):
            return Answer("none" if number != number else text or f"{number:g}", numbers=_whole(number))
        case ValueSet(literals):
            texts = [literal.text for literal in literals[:SHOWN]]
            more = f" and {len(literals) - SHOWN:,} more" if len(literals) > SHOWN else ""
            return Answer(", ".join(texts) + more if texts else "none")
        case Pair(Boolean(first), Boolean(second)):
            words = {True: "YES", False: "NO"}
            text = words[first] if first == second else f"{words[first]} and {words[second]} respectively"
            return Answer(text, booleans=(first, second))
        case Pair(NumberValue(first), NumberValue(second)):
            return Answer(f"{first:g} and {second:g}", numbers=(*_whole(first), *_whole(second)))
    raise TypeError(f"{value!r:.60} is no value")


def _whole(number: float) -> tuple[int, ...]:
    return (int(number),) if number == number and abs(number) < 1e15 and number == int(number) else ()
