"""Decoding and training of the parser on one core, each against a named alternative in the same run.

    python benchmarks/conversational_parser.py [--questions 512] [--steps 40] [--rounds 3]

Decoding: greedy, batch 64, of test questions. The alternatives write the same tokens without the key-value cache: "prefix again"
runs the decoder over the whole prefix at every step on a memory encoded once, "everything again" also encodes the question again.
"freely" leaves out the grammar (the same tokens are fed back), so that its cost can be seen. Questions a second are
counted from arrays to tokens, encoder included; the last line compares the decoders alone. Training: optimiser steps of `FormTraining` under Lightning's trainer, data
included, against torch.nn's Transformer layers of the same sizes on the same batches in a bare loop.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo
from datamodules.parsing import SyntheticParsingData, padded
from datamodules.structured_inputs import Inputs, examples
from zoo.cli.train import keep_big_buffers, quiet_lightning
from zoo.models.conversational_parser.decoding import greedy
from zoo.models.conversational_parser.module import FormTraining
from zoo.models.conversational_parser.network import END, StructuredParser
from zoo.models.conversational_parser.parser import Parser, trimmed

BATCH, LONG = 64, 14
WEIGHT = "conversational_parser.synthetic"


def trained(data: SyntheticParsingData, steps: int) -> tuple[StructuredParser, float]:
    """A network after some steps, and its optimiser steps a second."""
    module = FormTraining(log_every=steps, tests=0)
    module.threads = 1
    options: dict[str, Any] = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    trainer = L.Trainer(max_steps=steps, accelerator="cpu", limit_val_batches=0, enable_model_summary=False, **options)
    trainer.fit(module, data)
    network = module.result()[0].one(0)
    assert isinstance(network, StructuredParser)
    return network, steps / module.seconds


class Layers(nn.Module):
    """The encoder and the decoder from torch.nn, at the sizes of ours."""

    def __init__(self, like: StructuredParser):
        super().__init__()
        shape = (like.dim, like.heads, like.width, 0.1, "gelu")
        flags = {"batch_first": True, "norm_first": True}
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(*shape, **flags), like.layers, nn.LayerNorm(like.dim), enable_nested_tensor=False
        )
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(*shape, **flags), like.decoder_layers, nn.LayerNorm(like.dim)
        )
        self.embed = like

    def forward(self, batch: dict[str, Tensor], prefix: Tensor) -> Tensor:
        one = self.embed
        word, segment, place, slot = batch["text"].unbind(-1)
        source, kind = batch["objects"].unbind(-1)
        x = one.word[word] + one.segment[segment] + one.place[place] + one.slot[slot]
        profile = batch["relations"] / batch["relations"].sum(-1, keepdim=True).clamp(min=1)
        own = (
            one.source[source]
            + one.kind[kind]
            + one.slot[1:]
            + F.pad(profile @ one.relation.T, (0, 0, 0, 1 + one.numbers))
        )
        hidden = torch.cat([word == 0, source == 0], 1)
        memory = self.encoder(torch.cat([x, own], 1), src_key_padding_mask=hidden)
        s = prefix.shape[1]
        y = self.decoder(
            one.form[prefix] + one.form_place[:s],
            memory,
            tgt_mask=nn.Transformer.generate_square_subsequent_mask(s),
            tgt_is_causal=True,
            memory_key_padding_mask=hidden,
        )
        return one._logits(y, memory[:, word.shape[1] :], source == 0)


def bare(data: SyntheticParsingData, like: StructuredParser, steps: int) -> float:
    """Steps a second of torch.nn's layers on the same batches."""
    network = Layers(like)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.01)
    start = time.perf_counter()
    for step in range(steps):
        batch = trimmed({name: leaf[0] for name, leaf in data.batches(0, step, step + 1, 0, 1).items()})
        targets = batch["target"]
        prefix = F.pad(targets[:, :-1].clamp(min=0), (1, 0), value=END)
        loss = F.cross_entropy(network(batch, prefix).flatten(0, 1), targets.flatten(), ignore_index=-1)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
    return steps / (time.perf_counter() - start)


def decoding(parser: Parser, batches: list[dict[str, Tensor]]) -> dict[str, float]:
    """Seconds for all batches, by way of decoding."""
    network, automaton = parser.network, parser.automaton
    inputs = [(batch["text"], batch["objects"], batch["relations"]) for batch in batches]
    used = [batch["used"] for batch in batches]
    written = [greedy(network, network.encode(*one), automaton) for one in inputs]  # also fills the automaton
    prefixes = [
        torch.from_numpy(padded([(END, *row.tokens) for row in rows]).astype(np.int64)).clamp(min=0) for rows in written
    ]

    def cached() -> None:
        for one, objects in zip(inputs, used, strict=True):
            greedy(network, network.encode(*one, used=objects), automaton)

    def freely() -> None:
        for one, objects, prefix in zip(inputs, used, prefixes, strict=True):
            cache = network.start(network.encode(*one, used=objects))
            for place in range(prefix.shape[1]):
                network.step(prefix[:, place], place, cache).argmax(-1)

    def prefix_again() -> None:
        for one, objects, prefix in zip(inputs, used, prefixes, strict=True):
            memory = network.encode(*one, used=objects)
            for place in range(prefix.shape[1]):
                network.decode(prefix[:, : place + 1], memory)[:, -1].argmax(-1)

    def everything_again() -> None:
        for one, objects, prefix in zip(inputs, used, prefixes, strict=True):
            for place in range(prefix.shape[1]):
                network.decode(prefix[:, : place + 1], network.encode(*one, used=objects))[:, -1].argmax(-1)

    def encoder_alone() -> None:
        for one, objects in zip(inputs, used, strict=True):
            network.encode(*one, used=objects)

    ways: tuple[Callable[[], None], ...] = (cached, freely, prefix_again, everything_again, encoder_alone)
    seconds = {}
    for way in ways:
        start = time.perf_counter()
        with torch.no_grad():
            way()
        seconds[way.__name__.replace("_", " ")] = time.perf_counter() - start
    lengths = [len(row.tokens) + 1 for rows in written for row in rows]
    return seconds | {"tokens": statistics.mean(lengths), "longest": statistics.mean(p.shape[1] for p in prefixes)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=512, help="to decode")
    parser.add_argument("--steps", type=int, default=40, help="of each training measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cache", default=str(Path(tempfile.gettempdir()) / "theorem-zoo-benchmark"))
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    quiet_lightning()
    torch.set_num_threads(1)
    keep_big_buffers()
    data = SyntheticParsingData(count=400, tests=70, cache=options.cache)
    rates, alternative = [], []
    for _ in range(options.rounds):
        network, rate = trained(data, options.steps)
        rates.append(rate)
        alternative.append(bare(data, network, options.steps))
    ours, theirs = statistics.median(rates), statistics.median(alternative)
    print(
        f"training, batch {BATCH}: {ours:.1f} steps/s; layers of torch.nn {theirs:.1f} steps/s; ratio {ours / theirs:.2f}"
    )

    if WEIGHT in zoo.list_weights():
        loaded: Any = zoo.load(WEIGHT)
        talking: Parser = loaded.parser
    else:
        network, _ = trained(data, 400)
        talking = Parser(network, data.vocabulary, data.corpus.graph, settings=data.options)
    held = list(examples(talking.context, data.corpus.splits["A"]))
    long = [one for one in held if one.target is not None and len(one.target) > LONG]
    for what, some in (("all types", held[: options.questions]), (f"forms of more than {LONG} tokens", long)):
        questions = Inputs(talking.context)
        for one in some:
            questions.add(one.input)
        order = np.argsort(questions.lengths, kind="stable")
        batches = [trimmed(questions.batch(order[i : i + BATCH])) for i in range(0, len(order), BATCH)]
        found = [decoding(talking, batches) for _ in range(options.rounds)]
        median = {name: statistics.median(once[name] for once in found) for name in found[0]}
        lengths = f"{median['tokens']:.1f} tokens a form, {median['longest']:.1f} steps a batch"
        print(f"decoding, batch {BATCH}, {len(order)} questions, {what}: {lengths}")
        for name in ("cached", "freely", "prefix again", "everything again"):
            ratio = median[name] / median["cached"]
            print(f"  {name:18s}{len(order) / median[name]:8.0f} questions/s{ratio:8.2f} times the seconds of cached")
        alone = {name: median[name] - median["encoder alone"] for name in ("cached", "prefix again")}
        print(
            f"  without the encoder, prefix again takes {alone['prefix again'] / alone['cached']:.2f} times cached's seconds"
        )


if __name__ == "__main__":
    main()
