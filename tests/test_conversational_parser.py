"""The conversational parser: structured input, network, constrained decoding, training, questions in words."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_csqa
import torch
from fitting import fit
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from datamodules.dialogues import Answer, Dialogue, Mention, Pair, tokenise
from datamodules.parsing import CSQAParsingData, Shares, SyntheticParsingData, read_forms
from datamodules.structured_inputs import LEFT_OUT, Inputs, examples
from datamodules.synthetic_dialogues import generate
from datamodules.synthetic_graph import synthetic_graph
from datamodules.token_vectors import PretrainedVectors
from zoo.cli import main
from zoo.knowledge import grammar
from zoo.knowledge.context import ANSWER, CURRENT, NAMED, QUESTION, Context, Vocabulary
from zoo.knowledge.executor import Executor
from zoo.knowledge.grammar import (
    OPERATORS,
    RESTRICTED,
    Apply,
    Class,
    Entities,
    Entity,
    Form,
    FormError,
    Number,
    Property,
)
from zoo.knowledge.graph import KnowledgeGraph
from zoo.knowledge.linking import Labels, annotated, check_setting
from zoo.knowledge.packing import LARGEST, pack, unpack
from zoo.models.conversational_parser.decoding import Automaton, beam, greedy
from zoo.models.conversational_parser.evaluation import final_scores
from zoo.models.conversational_parser.module import FormTraining, is_right
from zoo.models.conversational_parser.network import END, Dropout, StructuredParser
from zoo.models.conversational_parser.parser import Parser, Reply, automaton, say, trimmed
from zoo.models.conversational_parser.theory import parameters
from zoo.registry import ZooError
from zoo.weights import Record, read_weight, write_weight

DIALOGUES = 60


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def graph() -> KnowledgeGraph:
    return synthetic_graph(0)


@pytest.fixture(scope="module")
def dialogues(graph: KnowledgeGraph) -> list[Dialogue]:
    return generate(graph, DIALOGUES, 0)


@pytest.fixture(scope="module")
def vocabulary(graph: KnowledgeGraph, dialogues: list[Dialogue]) -> Vocabulary:
    return Vocabulary.of(graph, dialogues)


@pytest.fixture(scope="module")
def context(graph: KnowledgeGraph, vocabulary: Vocabulary) -> Context:
    return Context(graph, vocabulary)


def network(vocabulary: Vocabulary, seed: int = 0, **options: Any) -> StructuredParser:
    small = {"dim": 32, "width": 48, "heads": 2, "layers": 1, "decoder_layers": 1} | options
    return StructuredParser(**vocabulary.sizes, **small, generator=rng(seed))


# The network.


def test_the_parameters_are_counted() -> None:
    sizes = {"words": 349, "properties": 22, "classes": 14, "operators": 23}
    assert 1 + sum(sizes.values()) - sizes["words"] == 60
    one = StructuredParser(**sizes)
    assert sum(p.numel() for p in one.parameters()) == 456_252
    shape = {"dim": 96, "width": 192, "layers": 2, "decoder_layers": 2}
    assert parameters(**sizes, **shape) == 456_252
    shape = {
        "dim": 12,
        "width": 20,
        "layers": 3,
        "decoder_layers": 1,
        "entities": 5,
        "numbers": 2,
        "places": 40,
        "longest": 9,
    }
    assert sum(p.numel() for p in StructuredParser(**sizes, heads=3, **shape).parameters()) == parameters(
        **sizes, **shape
    )


SIZES = {"words": 60, "properties": 6, "classes": 5, "operators": 25, "dim": 16, "width": 24, "heads": 2}


@pytest.mark.parametrize("flat", [False, True])
def test_a_step_with_the_cache_is_the_last_row_of_the_whole(flat: bool) -> None:
    one = StructuredParser(**SIZES, flat=flat, generator=rng()).double()
    text, objects, relations, prefix = one.example(5, rng(1))
    memory = one.encode(text, objects, relations.double())
    whole = one.decode(prefix, memory)
    cache = one.start(memory)
    for place in range(prefix.shape[1]):
        if place == 3:  # rows may leave, be doubled and change places
            rows = torch.tensor([4, 1, 1])
            cache, whole, prefix = cache.rows(rows), whole[rows], prefix[rows]
        with torch.no_grad():
            torch.testing.assert_close(
                one.step(prefix[:, place], place, cache), whole[:, place], rtol=1e-10, atol=1e-10
            )


@pytest.mark.parametrize("flat", [False, True])
def test_padding_changes_nothing(flat: bool) -> None:
    one = StructuredParser(**SIZES, flat=flat, generator=rng()).double()
    text, objects, relations, prefix = one.example(4, rng(1))
    longer = torch.nn.functional.pad(text, (0, 0, 0, 7))
    padded_prefix = torch.nn.functional.pad(prefix, (0, 3))
    found = one(longer, objects, relations.double(), padded_prefix)
    torch.testing.assert_close(found[:, : prefix.shape[1]], one(text, objects, relations.double(), prefix))
    objects[:, 5:9] = 0
    again = trimmed({"text": longer, "objects": objects, "target": torch.nn.functional.pad(prefix, (0, 3), value=-1)})
    assert torch.equal(again["text"], text) and torch.equal(again["target"], prefix)
    assert not {5, 6, 7, 8} & set(again["used"].tolist())
    short, whole = (one.encode(text, objects, relations.double(), used=used) for used in (again["used"], None))
    torch.testing.assert_close(one.decode(prefix, short), one.decode(prefix, whole))
    assert short.places.shape[1] == text.shape[1] + (0 if flat else len(again["used"]))


def test_an_absent_object_is_neither_read_nor_pointed_at() -> None:
    one = StructuredParser(**SIZES, generator=rng()).double()
    text, objects, relations, prefix = one.example(4, rng(1))
    text[..., 3] = 0
    objects[:, 2] = 0
    found = one(text, objects, relations.double(), prefix)
    assert (found[..., one.fixed + 2] < -1e8).all()
    other = relations.clone().double()
    other[:, 2] = 1 - other[:, 2]
    objects[:, 2, 1] = 3
    torch.testing.assert_close(one(text, objects, other, prefix), found)


def test_flat_text_has_no_structure_and_points_at_mentions() -> None:
    one = StructuredParser(**SIZES, flat=True, generator=rng()).double()
    text, objects, relations, prefix = one.example(4, rng(1))
    text[..., 3] = 0
    text[:, 3:5, 3] = 1 + 2  # a mention of object 2
    objects[:, 2] = 1
    found = one(text, objects, relations.double(), prefix)
    pointed = (found[..., one.fixed :] > -1e8).any(1).any(0)
    assert pointed.tolist() == [i == 2 for i in range(one.objects)]
    objects[..., 1], text[..., 1] = 0, 0
    torch.testing.assert_close(one(text, objects, 1 - relations.double(), prefix), found)
    moved = text.clone()
    moved[:, 4, 3] = 0  # the first token is the one that counts
    torch.testing.assert_close(one(moved, objects, relations.double(), prefix), found)


def test_token_vectors_take_the_place_of_words() -> None:
    one = StructuredParser(**SIZES, token_width=7, generator=rng()).double()
    text, objects, relations, prefix = one.example(3, rng(1))
    with pytest.raises(ValueError, match="give `vectors`"):
        one.encode(text, objects, relations.double())
    a, b = (torch.randn(*text.shape[:2], 7, generator=rng(i), dtype=torch.float64) for i in (1, 2))
    found = [one.decode(prefix, one.encode(text, objects, relations.double(), vectors=v)) for v in (a, a, b)]
    assert torch.equal(found[0], found[1]) and not torch.allclose(found[0], found[2])


def test_dropout_is_decided_by_its_generator() -> None:
    x = torch.ones(400, 50)
    first, again, other = (Dropout(0.2, rng(seed))(x) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert set(first.unique().tolist()) == {0.0, 1.25} and first.mean().item() == pytest.approx(1, abs=0.02)


def test_heads_must_divide() -> None:
    with pytest.raises(ValueError, match="multiple of heads"):
        StructuredParser(**(SIZES | {"heads": 3}))


# Structured input.


def test_a_structured_input_reads_as_the_dialogue(context: Context, dialogues: list[Dialogue]) -> None:
    seen = set()
    for dialogue in dialogues:
        for before, pair in itertools.pairwise(dialogue.pairs):
            one = context.structure(pair, before)
            assert [(said.speaker, said.lag) for said in one.utterances] == [("USER", 0), ("USER", 1), ("SYSTEM", 1)]
            assert len({thing.entity for thing in one.things}) == len(one.things) <= 8
            assert [thing.entity for thing in one.things if thing.source == CURRENT] == list(
                dict.fromkeys(mention.entity for mention in pair.mentions)
            )
            assert one.utterances[0].tokens.count(NAMED) == len(pair.mentions)
            for thing in one.things:
                lag, start, stop = thing.span or (0, 0, 0)
                tokens = one.utterances[lag if thing.source != ANSWER else 2].tokens[start:stop]
                assert not thing.span or tokens == (NAMED,)
                seen.add(thing.source)
            if len(before.answer.entities or ()) > 1:
                assert one.answer_set == before.answer.entities
    assert seen == {CURRENT, QUESTION, ANSWER}


def test_every_gold_form_is_said_and_read_back(context: Context, dialogues: list[Dialogue]) -> None:
    found, executor = list(examples(context, dialogues)), Executor(context.graph)
    assert {one.reason for one in found} == {""} and len(found) == sum(len(one.pairs) for one in dialogues)
    for one in found:
        assert one.target is not None and one.target[-1] == END
        back = context.decode(one.target, one.input)
        assert one.pair.form is not None and executor.run(back) == executor.run(one.pair.form)
        if not any(isinstance(token, Entities) for token in grammar.linearise(one.pair.form)):
            assert back == one.pair.form


def test_relations_and_class_of_an_object_are_the_graphs(context: Context, graph: KnowledgeGraph) -> None:
    n = len(context.vocabulary.properties)
    for entity in (0, 5, 1000, 2500):
        kind, relations = context.profile(entity)
        out, into = graph.incident(entity)
        assert [graph.property(context.vocabulary.properties[r]) for r in relations if r < n] == out
        assert [graph.property(context.vocabulary.properties[r - n]) for r in relations if r >= n] == into
        assert [kind] == graph.classes_of(entity)


def a_pair(text: str, *mentions: tuple[int, int, int], **more: Any) -> Pair:
    return Pair(tokenise(text), Answer(""), "direct", mentions=tuple(Mention(*one) for one in mentions), **more)


def test_ablations_take_away_what_they_say(
    graph: KnowledgeGraph, vocabulary: Vocabulary, dialogues: list[Dialogue]
) -> None:
    before, pair = dialogues[0].pairs[:2]
    alone = Context(graph, vocabulary, previous=False).structure(pair, before)
    assert len(alone.utterances) == 1 and not alone.answer_set
    assert {thing.source for thing in alone.things} <= {CURRENT}
    blank = Context(graph, vocabulary, kg=False)
    assert all(one.kind is None and not one.relations for one in blank.structure(pair, before).things)
    assert (blank.arrays(blank.structure(pair, before))[1][:, 1] == 0).all()


def test_linking_settings_differ_where_something_is_referred_to(graph: KnowledgeGraph, vocabulary: Vocabulary) -> None:
    pair = a_pair(f"Which city is {graph.label(7)} from that person ?", (3, 4, 7), entities=(7, 12))
    oracle = [Context(graph, vocabulary, linking=one).structure(pair) for one in ("oracle_current", "oracle_all")]
    assert [[thing.entity for thing in one.things] for one in oracle] == [[7], [7, 12]]
    assert oracle[1].things[1].span is None
    with pytest.raises(ZooError, match="did you mean 'oracle_all'"):
        Context(graph, vocabulary, linking="oracle_al")
    assert check_setting("string") == "string"


def test_numbers_are_objects_and_equal_ones_are_one(graph: KnowledgeGraph, vocabulary: Vocabulary) -> None:
    context = Context(graph, vocabulary, numbers=2)
    one = context.structure(a_pair("atleast 3 and 3 and 12 , not 7 ?"), a_pair("exactly 12 ?"))
    assert one.numbers == ((3, 0), (12, 0))
    assert [slot for slot in one.utterances[0].slots if slot] == [10, 10, 11] and one.utterances[1].slots[1] == 11
    form = Apply("atleast", (Number(12), Number(3)))
    assert context.decode(context.encode(form, one) or (), one) == form
    assert context.encode(Apply("atleast", (Number(7), Number(3))), one) is None


def test_a_set_that_is_no_previous_answer_is_spelt_as_unions(graph: KnowledgeGraph, vocabulary: Vocabulary) -> None:
    context = Context(graph, vocabulary)
    before = dataclasses.replace(a_pair("x"), answer=Answer("a, b", entities=(3, 4, 9), shown=(3, 4, 9)))
    one = context.structure(a_pair("those"), before)
    whole, part = (Apply("cardinality", (Entities(ids),)) for ids in ((9, 3, 4), (3, 9)))
    assert context.decode(context.encode(whole, one) or (), one) == Apply("cardinality", (Entities((3, 4, 9)),))
    assert context.decode(context.encode(part, one) or (), one) == Apply(
        "cardinality", (Apply("union", (Entity(3), Entity(9))),)
    )
    assert context.encode(Apply("cardinality", (Entities((3, 5)),)), one) is None


def test_long_utterances_are_cut(context: Context) -> None:
    one = context.structure(a_pair("which " * 10_000), a_pair("what " * 10_000))
    assert one.utterances[0].cut and len(one.utterances[0].tokens) == 96
    text, _ = context.arrays(one)
    assert len(text) == 96 and (text[:, 1] == 0).all() and text[:, 2].tolist() == list(range(96))
    empty, objects = context.arrays(context.structure(a_pair("")))
    assert len(empty) == 1 and (objects == 0).all()


def test_a_vocabulary_travels(vocabulary: Vocabulary) -> None:
    assert Vocabulary.from_bytes(vocabulary.to_bytes()) == vocabulary
    assert vocabulary.words[0] == "<pad>" and "3" not in vocabulary.words
    with pytest.raises(ZooError, match="damaged"):
        Vocabulary.from_bytes(b"words")


def test_a_graph_travels(graph: KnowledgeGraph) -> None:
    packed = pack(graph)
    other = unpack(packed)
    assert pack(other) == packed and len(packed) < 120_000
    assert other.header == graph.header and all(np.array_equal(other.arrays[k], v) for k, v in graph.arrays.items())
    for broken in (packed[:1000], b"", packed[:-5] + b"12345"):
        with pytest.raises(ZooError, match="damaged"):
            unpack(broken)
    with pytest.raises(ZooError, match="larger than"):  # a bomb
        unpack(lzma.compress(bytes(LARGEST + 1), preset=0))


# Linking by labels.


def test_labels_are_found_longest_first(graph: KnowledgeGraph) -> None:
    labels = Labels(graph, words=("in",))
    name = graph.label(3)
    spans = labels.spans(tokenise(f"Was {name.upper()} born in {graph.label(1000)} ?"))
    assert [one.entities[0] for one in spans] == [3, 1000]
    assert spans[0].start == 1 and spans[0].stop == 1 + len(tokenise(name))
    assert labels.spans([]) == [] and labels.spans(("in", "in")) == []
    word = next(one for one in map(graph.label, range(graph.entities)) if len(tokenise(one)) == 1)
    wary = Labels(graph, words=(word.lower(),))
    assert [len(wary.spans(tokenise(text))) for text in (f"who is {word}", f"who is {word.lower()}", word)] == [1, 0, 0]


def test_labels_agree_with_aho_corasick(graph: KnowledgeGraph, dialogues: list[Dialogue]) -> None:
    ahocorasick = pytest.importorskip("ahocorasick")
    machine = ahocorasick.Automaton()
    for entity in range(graph.entities):
        words = tokenise(graph.label(entity).lower())
        machine.add_word(f" {' '.join(words)} ", len(words))
    machine.make_automaton()
    labels = Labels(graph)
    for pair in itertools.chain.from_iterable(one.pairs for one in dialogues[:20]):
        text = f" {' '.join(pair.tokens).lower()} "
        starts = {}  # first word -> most words of a label that begins there
        for end, words in machine.iter(text):
            last = text[: end + 1].count(" ") - 1
            starts[last - words] = max(words, starts.get(last - words, 0))
        expected, at = [], 0
        for start in sorted(starts):
            if start >= at:
                at = start + starts[start]
                expected.append((start, at))
        assert [(one.start, one.stop) for one in labels.spans(pair.tokens)] == expected


def test_shared_names_give_candidates(vocabulary: Vocabulary) -> None:
    graph = synthetic_graph(0, shared_names=0.5)
    labels = Labels(graph)
    names: dict[str, list[int]] = {}
    for entity in range(graph.entities):
        names.setdefault(graph.label(entity), []).append(entity)
    name, twins = next((name, ids) for name, ids in names.items() if len(ids) == 2)
    (span,) = labels.spans(tokenise(name))
    assert sorted(span.entities) == twins
    assert sum(map(len, graph.incident(span.entities[0]))) >= sum(map(len, graph.incident(span.entities[1])))
    one = Context(graph, vocabulary, linking="string").structure(a_pair(f"Who is {name} ?"))
    assert [thing.entity for thing in one.things] == list(span.entities)
    assert [slot for slot in one.utterances[0].slots if slot] == [1]


def test_annotation_and_labels_mostly_agree(context: Context, graph: KnowledgeGraph, dialogues: list[Dialogue]) -> None:
    labels = Labels(graph, words=context.vocabulary.words)
    pairs = [pair for dialogue in dialogues for pair in dialogue.pairs]
    same = [[one.entities[0] for one in labels.spans(p.tokens)] == [one.entity for one in p.mentions] for p in pairs]
    assert sum(same) > 0.97 * len(same)
    assert annotated(pairs[0], "oracle_current") == annotated(pairs[0], "oracle_all")


# Decoding.


def random_memory(one: StructuredParser, batch: int, seed: int, spread: float = 3.0) -> Any:
    """Of a network whose taste is random and strong, so that it wants nonsense."""
    with torch.no_grad():
        one.out_bias.copy_(spread * torch.randn(one.out_bias.shape, generator=rng(seed)))
        one.form.mul_(3)
    text, objects, relations, _ = one.example(batch, rng(seed))
    keep = torch.rand(objects.shape[:2], generator=rng(seed + 1)) < torch.rand(batch, 1, generator=rng(seed + 2))
    objects[~keep] = 0
    return one.encode(text, objects, relations)


def forms(context: Context, batch: Sequence[Any], memory: Any) -> list[Form]:
    """What was written, over the first entities, the set {0, 1} and the numbers 1, 2, … of any input."""
    names = [
        *(Entity(i) for i in range(context.slots)),
        Entities((0, 1)),
        *(Number(i) for i in range(1, 1 + context.number_slots)),
    ]
    found = []
    for row, one in enumerate(batch):
        for token in one.tokens:
            assert token < context.fixed or not memory.absent[row, token - context.fixed], "copies what is not there"
        tokens = [names[t - context.fixed] if t >= context.fixed else context._meaning(t, None) for t in one.tokens]  # type: ignore[arg-type]
        found.append(grammar.delinearise(tokens))
    return found


@settings(max_examples=8, deadline=None)
@example(seed=0, longest=4, restricted=True)
@given(seed=st.integers(0, 10**6), longest=st.integers(4, 40), restricted=st.booleans())
def test_whatever_the_network_wants_the_form_executes(
    seed: int, longest: int, restricted: bool, context: Context, vocabulary: Vocabulary, graph: KnowledgeGraph
) -> None:
    table = RESTRICTED if restricted else OPERATORS
    words = vocabulary
    machine = Automaton(words.operators, len(words.properties), len(words.classes), 8, 4, table)
    one = network(vocabulary, seed)
    with torch.no_grad():
        memory = random_memory(one, 12, seed)
    executor = Executor(graph)
    rows = greedy(one, memory, machine, longest)
    searched = [found[-1] for found in beam(one, memory, machine, 3, longest)]
    for batch in (rows, searched):
        assert all(0 < len(row.tokens) < longest for row in batch)
        for form in forms(context, batch, memory):
            grammar.typecheck(form, table)
            executor.run(form)


def test_every_gold_form_is_allowed(context: Context, dialogues: list[Dialogue], vocabulary: Vocabulary) -> None:
    machine = automaton(network(vocabulary), context)
    for one in examples(context, dialogues):
        _, objects = context.arrays(one.input)
        states = machine.start(objects[None, :, 0] == 0)
        assert one.target is not None
        for place, token in enumerate(one.target):
            left = len(one.target) - place
            assert machine.allowed(states, left)[0, token], "the form fits exactly into its own length"
            if token != END:
                assert not machine.allowed(states, 1)[0].any() or machine.costs[states[0]].min() == 1
            states = machine.advance(states, np.array([token]))
        assert machine.allowed(states, 1)[0].nonzero()[0].tolist() == [END]


def test_the_automaton_is_the_grammar(vocabulary: Vocabulary, context: Context) -> None:
    """Along random walks a token is allowed exactly if the grammar's prefix accepts it and can still end."""
    machine = automaton(network(vocabulary), context)
    kinds = [Entity(0), Number(1), Property(0), Class(0), *OPERATORS]
    column = {Entity(0): machine.kind_of.tolist().index(machine.kind_of[context.fixed]), Number(1): context.fixed + 9}
    column |= {Property(0): 26, Class(0): 26 + len(vocabulary.properties)} | {
        op: 1 + i for i, op in enumerate(OPERATORS)
    }
    absent = np.ones((1, 13), bool)
    absent[0, [0, 9]] = False
    there = frozenset({grammar.Type.ENTITY, grammar.Type.NUMBER, grammar.Type.PROPERTY, grammar.Type.CLASS})
    shortest = grammar.shortest_forms(OPERATORS, there)
    draw = np.random.default_rng(0)
    for _ in range(60):
        states, prefix, limit = machine.start(absent), grammar.Prefix(), int(draw.integers(4, 30))
        while prefix.want is not None:
            left = limit - prefix.length
            allowed = machine.allowed(states, left)[0]
            for token in kinds:
                fits = prefix.accepts(token) and prefix.push(token).missing(shortest) + 2 <= left
                assert allowed[column[token]] == fits, (token, left)
            token = kinds[draw.choice([i for i, one in enumerate(kinds) if allowed[column[one]]])]
            states = machine.advance(states, np.array([column[token]]))
            prefix = prefix.push(token)
        assert prefix.form is not None and prefix.length < limit


def test_the_automaton_forgets_when_it_is_full(
    vocabulary: Vocabulary, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, machine = network(vocabulary), automaton(network(vocabulary), context)
    with torch.no_grad():
        memory = random_memory(one, 8, 3)
    before = greedy(one, memory, machine)
    monkeypatch.setattr("zoo.models.conversational_parser.decoding.MOST_STATES", 10)
    assert greedy(one, memory, machine) == before == greedy(one, memory, machine)
    assert len(machine._states) < 1000


def test_scores_are_log_probabilities_and_a_beam_of_one_is_greedy(context: Context, vocabulary: Vocabulary) -> None:
    one = network(vocabulary).double()
    machine = automaton(one, context)
    with torch.no_grad():
        text, objects, relations, _ = one.example(6, rng(5))
        memory = one.encode(text, objects, relations.double())
        rows = greedy(one, memory, machine)
        assert [found[0].tokens for found in beam(one, memory, machine, 1)] == [row.tokens for row in rows]
        wide = beam(one, memory, machine, 6)
        for i, found in enumerate(wide):
            scores = [row.score for row in found]
            assert scores == sorted(scores, reverse=True) and len({row.tokens for row in found}) == len(found) == 6
            for row in (*found[:2], rows[i]):
                tokens = (*row.tokens, END)
                part = dataclasses.replace(
                    memory, **{f: getattr(memory, f)[i : i + 1] for f in ("places", "hidden", "keys", "absent")}
                )
                logits = one.decode(torch.tensor([[END, *row.tokens]]), part)[0]
                states, total = machine.start(part.absent.numpy()), 0.0
                for place, token in enumerate(tokens):
                    allowed = torch.from_numpy(machine.allowed(states, one.longest - place)[0])
                    total += float(logits[place].masked_fill(~allowed, -torch.inf).log_softmax(-1)[token])
                    states = machine.advance(states, np.array([token]))
                assert row.score == pytest.approx(total, abs=1e-9)


def test_decoding_refuses_what_cannot_be() -> None:
    one = StructuredParser(**SIZES)
    memory = one.encode(*one.example(1, rng())[:3])
    machine = Automaton(tuple(OPERATORS), 6, 5, 8, 4)
    with pytest.raises(ValueError, match="at least 4 tokens"):
        greedy(one, memory, machine, 3)
    with pytest.raises(ValueError, match="width of at least 1"):
        beam(one, memory, machine, 0)


def test_a_property_that_the_graph_lacks_is_not_written(vocabulary: Vocabulary) -> None:
    wider = dataclasses.replace(
        vocabulary, properties=("P999", *vocabulary.properties), classes=("Q9999", *vocabulary.classes)
    )
    context = Context(synthetic_graph(1), wider)
    one = network(wider)
    machine = automaton(one, context)
    assert context.speakable.sum() == context.fixed - 2
    with torch.no_grad():
        rows = greedy(one, random_memory(one, 16, 1), machine)
    written = {token for row in rows for token in row.tokens}
    assert not written & {26, 27 + len(vocabulary.properties)}


# Data.


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SyntheticParsingData:
    cache = str(tmp_path_factory.mktemp("cache"))
    options = {"batch_size": 16, "validation": 40, "steps_per_epoch": 50}
    return SyntheticParsingData(count=DIALOGUES, tests=6, cache=cache, **options)


def test_an_epoch_has_every_question_once_and_ranks_share_it(data: SyntheticParsingData) -> None:
    n = len(data._training[1])
    per_epoch = n // 32
    for epoch in (0, 3):
        rows = np.stack([data._rows(epoch * per_epoch + i, 2) for i in range(per_epoch)])
        assert rows.shape == (per_epoch, 2, 16) and len(np.unique(rows)) == rows.size
    assert not np.array_equal(data._rows(0, 2), data._rows(per_epoch, 2))
    first, second = (data.batches(0, 5, 7, rank, 2) for rank in (0, 1))
    assert first["text"].shape[:2] == (2, 16) and not torch.equal(first["text"], second["text"])
    again = data.batches(0, 6, 7, 0, 2)
    assert all(torch.equal(again[name][0], first[name][1]) for name in first)


def test_questions_of_a_batch_have_like_lengths(data: SyntheticParsingData) -> None:
    _, targets = data._training
    lengths = (targets >= 0).sum(1)
    spread = np.mean([np.ptp(lengths[data._rows(i, 1)[0]]) for i in range(10)])
    assert spread < np.ptp(lengths) / 3


def test_a_batch_is_what_the_context_says(data: SyntheticParsingData) -> None:
    context = data.context("train")
    found = list(examples(context, data.train))
    inputs = Inputs(context)
    for one in found:
        inputs.add(one.input)
    batch = inputs.batch(np.array([3, 0]))
    text, objects = context.arrays(found[3].input)
    assert np.array_equal(batch["text"][0, : len(text)], text) and not batch["text"][0, len(text) :].any()
    assert np.array_equal(batch["objects"][0], objects)
    for i, thing in enumerate(found[3].input.things):
        assert batch["relations"][0, i].nonzero().flatten().tolist() == sorted(thing.relations)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_shares_make_means_over_questions(world: int) -> None:
    batches = [{"index": torch.arange(i, min(i + 4, 11))} for i in range(0, 11, 4)]
    each = [Shares(batches, 11, rank, world) for rank in range(world)]
    assert len({len(one) for one in each}) == 1
    means = [torch.stack([b["index"].sum() * b["weight"] for b in one]).mean() for one in each]
    assert torch.stack(means).mean().item() == pytest.approx(5)


def test_the_task_holds_what_a_parser_needs(data: SyntheticParsingData) -> None:
    task = data.task(0)
    assert set(task) == {"vocabulary", "settings", "graph"} and all(one.dtype == torch.uint8 for one in task.values())
    assert unpack(bytes(task["graph"].numpy())).triples == data.corpus.graph.triples
    said = data.provenance()
    assert (
        said["linking"] == "oracle_current" and said["left_out"] == {} and said["questions"] == len(data._training[1])
    )


def test_forms_of_a_search_take_the_place_of_gold(data: SyntheticParsingData, tmp_path: Path) -> None:
    first = data.train[0]
    lines = [
        {"dialogue": first.id, "pair": i, "form": "members(C3)" if i < 2 else None} for i in range(len(first.pairs))
    ]
    path = tmp_path / "forms.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    other = SyntheticParsingData(count=DIALOGUES, tests=6, cache=str(data.cache), forms=str(path))
    assert {pair.form for pair in other.train[0].pairs} == {Apply("members", (Class(3),)), None}
    path.write_text('{"dialogue": 3}')
    with pytest.raises(ZooError, match="line 1: not"):
        read_forms(path)
    with pytest.raises(ZooError, match="cannot be read"):
        read_forms(tmp_path / "none")


def test_what_training_lacks_is_told_apart(tmp_path: Path) -> None:
    options: dict[str, Any] = {"count": 10, "tests": 5, "cache": str(tmp_path)}
    data = SyntheticParsingData(held_out=0.2, **options)

    def unseen(split: str) -> list[bool]:
        return [any(map(data.unseen, dialogue.pairs)) for dialogue in data.corpus.splits[split]]

    assert not any(unseen("train")) and all(unseen("compositional"))
    network = StructuredParser(**data.vocabulary.sizes, dim=16, width=16, heads=2, generator=rng())
    scores = final_scores(network, data, most=5)
    questions = [pair for dialogue in data.corpus.splits["compositional"] for pair in dialogue.pairs]
    assert scores["compositional, unseen"].questions == sum(map(data.unseen, questions)) < len(questions)
    assert not any(SyntheticParsingData(**options).unseen(pair) for pair in questions)


def test_data_refuse_what_cannot_be() -> None:
    for options in ({"batch_size": 0}, {"dialogues": 0}, {"count": 0}, {"held_out": 1.0}, {"entities": 0}):
        with pytest.raises(ZooError):
            SyntheticParsingData(**options)


def test_why_a_question_cannot_be_trained_on_is_told(context: Context) -> None:
    pairs = [a_pair("x"), a_pair("x", form=Entity(3)), a_pair("x", form=Apply("members", (Class(1),)))]
    found = list(examples(context, [Dialogue("d", tuple(pairs))], longest=2))
    assert [one.reason for one in found] == list(LEFT_OUT)


# Training.


def trainer(**options: Any) -> FormTraining:
    small = {
        "dim": 32,
        "width": 64,
        "heads": 2,
        "layers": 1,
        "decoder_layers": 1,
        "warmup": 20,
        "lr": 4e-3,
        "log_every": 50,
    }
    return FormTraining(**(small | options))


@pytest.fixture(scope="module")
def trained(data: SyntheticParsingData) -> FormTraining:
    module = fit(trainer(dropout=0.0), data, 250)
    assert isinstance(module, FormTraining)
    return module


def test_training_learns_the_short_forms(trained: FormTraining, data: SyntheticParsingData) -> None:
    history = trained.history
    assert history.at("loss", 250) < history.at("loss", 50) / 2
    assert history.last("val_failed").item() == 0, "S6"
    one = trained.result()[0].one(0)
    assert isinstance(one, StructuredParser)
    parser = Parser(one, data.vocabulary, data.corpus.graph, linking="oracle_current", settings=data.options)
    hits = [
        is_right(found[0], parser.executor.run(found[0]), example.pair)
        for example, found in parser.forms(data.corpus.splits["A"])
        if example.pair.type == "direct"
    ]
    assert sum(hits) > 0.5 * len(hits)


def test_validation_is_the_mean_over_questions(trained: FormTraining, data: SyntheticParsingData) -> None:
    one = trained.result()[0].one(0)
    assert isinstance(one, StructuredParser)
    parser = Parser(one, data.vocabulary, data.corpus.graph, linking="oracle_current", settings=data.options)
    found = parser.decode([example.input for example in data.held])
    forms = [parser.context.decode(rows[0].tokens, one.input) for rows, one in zip(found, data.held, strict=True)]
    accuracy = np.mean([is_right(f, parser.executor.run(f), e.pair) for f, e in zip(forms, data.held, strict=True)])
    assert len(data.held) > 16, "several batches"
    assert trained.history.at("val_accuracy", 250).item() == pytest.approx(accuracy, abs=1e-9)


def test_a_resumed_training_is_the_same_whatever_the_chunk(data: SyntheticParsingData, tmp_path: Path) -> None:
    class Constant(FormTraining):
        def learning_rate(self, step: int) -> float:  # the decay of `FormTraining` ends at max_steps
            return 1e-3

    def module(chunk: int = 1) -> Constant:
        return Constant(dim=16, width=16, heads=2, layers=1, decoder_layers=1, log_every=6, chunk=chunk)

    off = {"limit_val_batches": 0}
    whole = fit(module(), data, 12, tmp_path / "whole", **off)
    fit(module(), data, 5, tmp_path / "parts", **off)
    parts = fit(module(), data, 12, tmp_path / "parts", **off)
    chunks = fit(module(4), data, 12, tmp_path / "chunks", **off)
    for other in (parts, chunks):
        assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), other.parameters(), strict=True))
    assert torch.equal(whole.history["loss"].nan_to_num(), parts.history["loss"].nan_to_num())


def test_gradients_are_clipped_and_the_step_size_rises_and_falls() -> None:
    import lightning.pytorch as L

    module = trainer(lr=0.1, lr_end=0.02, warmup=10, clip=0.5)
    module.trainer = L.Trainer(max_steps=110, logger=False, enable_checkpointing=False, accelerator="cpu")
    rates = [module.learning_rate(step) for step in range(111)]
    assert rates[0] == pytest.approx(0.01) and max(rates) == rates[10] == pytest.approx(0.1)
    assert rates[60] == pytest.approx(0.051) and rates[110] == pytest.approx(0.002)
    weight = torch.nn.Parameter(torch.zeros(4))
    module.register_parameter("w", weight)
    weight.grad = torch.full((4,), 9.0)
    module.configure_optimizers().step()
    assert weight.grad.norm().item() == pytest.approx(0.5, rel=1e-4)


def test_modules_refuse_what_cannot_be(data: SyntheticParsingData) -> None:
    for options, says in (
        ({"replicas": 2}, "one replica"),
        ({"compile": True}, "compiling"),
        ({"dropout": 1.0}, "dropout"),
    ):
        with pytest.raises(ValueError, match=says):
            FormTraining(**options)
    with pytest.raises(ZooError, match=r"data\.length 96 must be below model\.places 64"):
        fit(trainer(places=64), data, 1)


# Questions in words.


@pytest.fixture(scope="module")
def parser(trained: FormTraining, tmp_path_factory: pytest.TempPathFactory) -> Parser:
    """From a weight's file alone."""
    folder = tmp_path_factory.mktemp("weight")
    networks, task, _ = trained.result()
    record = Record(
        "conversational_parser", "small", "StructuredParser", networks.network.arguments, "float32", 1, "trained", ""
    )
    write_weight(folder, networks, task, record)
    assert record.size < 4e6
    one: Any = read_weight(folder / "small.json").one(0)
    assert isinstance(one.parse("Which city ?"), Reply) and one.parser is one.parser
    return one.parser


def test_a_dialogue_is_asked_in_words(parser: Parser) -> None:
    graph = parser.graph
    birthplace = next(p for p in range(graph.properties) if graph.property_label(p) == "birthplace")
    first, second = (graph.label(one) for one in (3, 4))
    reply = parser.ask(f"Which city was {first} born in ?")
    assert reply.form is not None and reply.value is not None and reply.pair is not None
    assert reply.structured is not None and [one.entity for one in reply.structured.things] == [3]
    answer = Apply("keep", (Apply("follow_property", (Entity(3), Property(birthplace))), Class(graph.class_("Q2"))))
    assert reply.form == answer and reply.text == graph.label(int(graph.objects(3, birthplace)[0]))
    after = parser.ask(f"And what about {second} ?", reply)
    assert after.structured is not None
    assert [one.entity for one in after.structured.things] == [4, 3, int(graph.objects(3, birthplace)[0])]
    assert "keep" in reply.tree and "birthplace (P0)" in reply.tree
    said = json.loads(json.dumps(reply.to_json()))
    assert set(said) == {"question", "answer", "notes", "structured", "form", "value"} and said["value"]["size"] == 1
    assert parser.answer(f"Which city was {first} born in ?", beams=3).value == reply.value


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("", "the question is empty"),
        (" \t ", "the question is empty"),
        ("Which city was Qwxyzzy born in ?", "nothing in the graph is called 'Qwxyzzy'"),
        ("¿Dónde?", "nothing in the graph"),
    ],
)
def test_a_question_without_an_answer_is_told_so(question: str, says: str, parser: Parser) -> None:
    reply = parser.ask(question)
    assert reply.value is None and reply.text.startswith("No answer: ") and says in reply.text
    assert json.dumps(reply.to_json()) and reply.tree == ""


def test_a_word_that_is_no_name_does_not_stop_an_answer(parser: Parser) -> None:
    reply = parser.ask("Which cities have thereabouts which ?")
    assert reply.form is not None and any("thereabouts" in note for note in reply.notes)


def test_ten_thousand_words_are_cut_and_answered(parser: Parser) -> None:
    reply = parser.ask(f"Which city was {parser.graph.label(3)} born in ? " * 1500)
    assert reply.form is not None and "cut to its first 96 words" in " ".join(reply.notes)
    assert parser.ask("\0" * 200_000).text.startswith("No answer")


@settings(max_examples=20, deadline=None)
@given(questions=st.lists(st.text(max_size=60), max_size=3))
def test_no_text_is_too_strange(questions: list[str], parser: Parser) -> None:
    context = None
    for question in questions:
        words = f"{question} {parser.graph.label(len(question))} which 3 that"
        for one in (question, words):
            context = parser.ask(one, context)
            assert context.text and json.dumps(context.to_json(), ensure_ascii=True)


def test_every_kind_of_value_is_said(parser: Parser) -> None:
    run, graph = parser.executor.run, parser.graph
    texts = {
        "members(Q1)": f"{', '.join(graph.label(900 + i) for i in range(3))} and 57 more",
        "clarify(union(Q3, Q4))": f"Did you mean {graph.label(3)} ?",
        "cardinality(members(Q1))": "60",
        "is_in(Q3, Q4)": "NO",
        "pair(is_in(Q3, Q3), is_in(Q3, Q4))": "YES and NO respectively",
        "pair(is_in(Q3, Q3), is_in(Q3, Q3))": "YES",
        "pair(cardinality(Q3), cardinality(members(Q1)))": "1 and 60",
        "difference(Q3, Q3)": "none",
        "get_value(Q3, P0)": "none",
        "max(get_value(Q3, P0))": "none",
    }
    for text, expected in texts.items():
        form = grammar.from_text(text, graph)
        assert say(run(form), form, graph).text == expected


def test_an_answer_is_right_only_if_it_is_the_annotated_one(parser: Parser) -> None:
    def right(text: str, kind: str = "direct", **answer: Any) -> bool:
        form = grammar.from_text(text)
        return is_right(form, parser.executor.run(form), Pair(("x",), Answer("", **answer), kind))

    assert right("union(Q3, Q4)", entities=(3, 4)) and not right("Q3", entities=(3, 4)) and not right("Q3")
    assert right("cardinality(Q3)", numbers=(1,)) and not right("Q3", numbers=(1,))
    assert right("pair(is_in(Q3, Q3), is_in(Q3, Q4))", booleans=(True, False))
    assert right("clarify(Q3)", "clarification", entities=(3,))
    assert not right("clarify(Q3)", entities=(3,)) and not right("Q3", "clarification", entities=(3,))


def test_a_parser_says_what_it_lacks(parser: Parser) -> None:
    one = parser.network
    bare = StructuredParser(**one.arguments)
    with pytest.raises(ZooError, match="This network is untrained"):
        bare.parse("Which city ?")
    task = dict(one.task)
    del task["graph"]
    bare.equip(task)
    with pytest.raises(ZooError, match="do not travel with it"):
        bare.answer("Which city ?")
    with pytest.raises(ZooError, match="different sizes"):
        Parser(StructuredParser(**SIZES), parser.context.vocabulary, parser.graph)
    with pytest.raises(ZooError, match="token vectors of width 7"):
        Parser(StructuredParser(**(one.arguments | {"token_width": 7})), parser.context.vocabulary, parser.graph)


# `zoo ask`.


@pytest.fixture(scope="module")
def shipped(parser: Parser) -> Any:
    return parser.network


def ask(shipped: Any, monkeypatch: pytest.MonkeyPatch, text: str, *options: str) -> int:
    import zoo

    monkeypatch.setattr(zoo, "load", lambda name: shipped)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode("utf-8"))))
    return main(["ask", "conversational_parser.small", *options])


def test_questions_come_from_a_pipe(
    shipped: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], parser: Parser
) -> None:
    name, other = parser.graph.label(3), parser.graph.label(4)
    text = f"Which city was {name} born in ?\nAnd what about {other} ?\n\nAnd what about Zzzz ?\n"
    assert ask(shipped, monkeypatch, text) == 0
    said = capsys.readouterr().out
    assert "└─ city (" in said and "birthplace" in said and "No answer: nothing in the graph is called 'Zzzz'" in said
    assert ask(shipped, monkeypatch, text, "--json", "--beams=2") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [len(row["structured"]["utterances"]) for row in rows] == [1, 3, 1]
    assert rows[0]["form"].startswith("keep(follow_property(")


def test_another_graph_is_asked(
    shipped: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = synthetic_graph(1).save(tmp_path / "other.kg")
    text = f"Which city was {other.label(3)} born in ?\n"
    assert ask(shipped, monkeypatch, text) == 0 and "No answer" in capsys.readouterr().out
    assert ask(shipped, monkeypatch, text, f"--graph={tmp_path / 'other.kg'}") == 0
    assert f"{other.label(3)} (Q3)" in capsys.readouterr().out
    monkeypatch.setattr(shipped, "task", {name: one for name, one in shipped.task.items() if name != "graph"})
    shipped.__dict__.pop("_parser", None)
    assert ask(shipped, monkeypatch, text) == 2 and "zoo ask NAME --graph=FILE" in capsys.readouterr().err
    assert ask(shipped, monkeypatch, text, f"--graph={tmp_path / 'other.kg'}") == 0


def test_mistakes_in_asking_get_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments, says in (
        (["single_location.manifold"], "answers no questions"),
        (["conversational_parser.synthetik"], "There is no weight"),
        (["single_location.manifold", "--beams=0"], "--beams must be at least 1"),
        ([str(tmp_path)], "is not the directory of a finished run"),
    ):
        assert main(["ask", *arguments]) == 2
        error = capsys.readouterr().err
        assert says in error and error.startswith("zoo: ") and error.count("\n") == 1


# Token vectors of a pre-trained encoder.


class Letters:
    """A stand-in for an encoder: counts letters."""

    width = 5

    def vectors(self, words: Sequence[str]) -> Tensor:
        return torch.tensor([[float(word.count(letter)) for letter in "aeiou"] for word in words]).reshape(-1, 5)


def test_a_parser_is_trained_on_token_vectors(data: SyntheticParsingData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datamodules.parsing.PretrainedVectors", lambda folder: Letters())
    other = SyntheticParsingData(
        count=20, tests=2, batch_size=8, cache=str(data.cache), encoder="some/folder", validation=10
    )
    batch = other.batches(0, 0, 1, 0, 1)
    assert batch["vectors"].shape == (*batch["text"].shape[:3], 5)
    pair = other.train[0].pairs[0]
    one = other.context("train").structure(pair)
    assert one.utterances[0].tokens == tuple(token.lower() for token in pair.tokens), "the words of mentions are kept"
    assert sum(slot == 1 for slot in one.utterances[0].slots) == pair.mentions[0].stop - pair.mentions[0].start
    module = fit(trainer(), other, 3)
    found = module.result()[0].one(0)
    assert isinstance(found, StructuredParser) and found.token_width == 5 and not hasattr(found, "word")
    task = {name: leaf[0] for name, leaf in module.result()[1].items()}
    with pytest.raises(ZooError, match="token vectors of width 5"):
        Parser.from_task(found, task)
    assert Parser.from_task(found, task, encoder=Letters()).ask(" ".join(pair.tokens)).text


def test_vectors_of_a_pretrained_model(tmp_path: Path) -> None:
    import transformers

    pieces_known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "which", "ci", "##ty", "?"]
    vocabulary = {piece: i for i, piece in enumerate(pieces_known)}
    transformers.BertTokenizerFast(vocab=vocabulary).save_pretrained(tmp_path)
    shape = {
        "hidden_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "vocab_size": 9,
    }
    model = transformers.BertModel(transformers.BertConfig(**shape, max_position_embeddings=32))
    model.save_pretrained(tmp_path)
    encoder = PretrainedVectors(tmp_path)
    found = encoder.vectors(["which", "city", "?"])
    assert encoder.width == 12 and found.shape == (3, 12) and encoder.vectors(["which", "city", "?"]) is found
    pieces = model.eval()(torch.tensor([[2, 5, 6, 7, 8, 3]])).last_hidden_state[0]
    torch.testing.assert_close(found, torch.stack([pieces[1], pieces[2:4].mean(0), pieces[4]]).detach())
    assert encoder.vectors([]).shape == (0, 12)
    long = encoder.vectors(["which"] * 100)
    assert long.shape == (100, 12) and not long[50:].any(), "words past the model's places have no vector"


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"holds no config\.json"):
        PretrainedVectors(tmp_path)


def test_an_ill_formed_list_of_tokens_is_refused(context: Context) -> None:
    one = context.structure(a_pair("x"))
    with pytest.raises(FormError):
        context.decode([1, 1, END], one)


# The full data set, in small: every file of the release, every command on it.


def test_the_full_format_runs_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    graph, splits = tiny_csqa.write(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert main(["kg", "build", "data", "--from=csqa", "--out=csqa.kg"]) == 0
    assert main(["kg", "show", "csqa.kg", "--check"]) == 0 and f"{graph.triples:,}" in capsys.readouterr().out
    assert main(["silver", "data", "--graph=csqa.kg", "--out=forms.jsonl", "--jobs=1"]) == 0
    questions = sum(len(dialogue.pairs) for dialogue in splits["train"])
    assert len(read_forms(tmp_path / "forms.jsonl")) > 0.8 * questions
    capsys.readouterr()
    small = {"dim": 16, "width": 16, "heads": 2, "layers": 1, "decoder_layers": 1}
    options = [f"--model.{name}={value}" for name, value in small.items()]
    options += ["--data.root=data", "--data.forms=forms.jsonl", "--data.batch_size=8", "--data.steps_per_epoch=4"]
    options += ["--trainer.max_steps=8", "--trainer.devices=1", "--trainer.accelerator=cpu", "--wandb=off"]
    assert main(["train", "conversational_parser/csqa", *options]) == 0
    said = capsys.readouterr().out
    tested = sum(len(dialogue.pairs) for dialogue in splits["test"])
    assert "test: oracle_current linking" in said and f"{tested} questions" in said
    assert "overall, nine types, official counts" in said and "which is other data" in said
    assert set(CSQAParsingData(root="data", graph="csqa.kg").task(0)) == {
        "vocabulary",
        "settings",
    }  # no facts of others
