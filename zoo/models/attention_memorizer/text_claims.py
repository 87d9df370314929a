"""What the attention-only layer does on text: language models and next-word laws.

The paper has no experiment on text, so every expected number is measured here; statements that its theorems make name them.
Perplexities on WikiText-2 need its files in $ZOO_DATA/wikitext-2, all else travels in the weights.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from datamodules.corpus import Vocabulary, every_token_once
from datamodules.zipf_markov import ZipfMarkov
from zoo.claims import AtLeast, AtMost, Between, Claim, Measured, Near
from zoo.cross_entropy import token_losses
from zoo.models.attention_memorizer.context_laws import best_rank, laws
from zoo.models.attention_memorizer.theory import Encoder, divergence
from zoo.ngrams import KneserNey
from zoo.ngrams import loss as ngram_loss
from zoo.weights import Weight
from zoo.wikitext import wikitext2

OURS = "measured here"
LAWS_HEADS = (1, 6, 31)
LAWS_WEIGHTS = tuple(f"wikitext2_laws_h{heads}" for heads in LAWS_HEADS)

# Language models.


def places(network: Any, tokens: Tensor, targets: Tensor) -> Tensor:
    """-log p of each target (b, t) given the tokens before it in its window, 0 where the target is -1."""
    with torch.no_grad():
        x = network.stream(tokens).flatten(0, 1)
        matrix = network.embedding if network.tied else network.unembedding
        return token_losses(x, matrix, targets.flatten()).view_as(targets)


_LOSSES: dict[tuple[str, str], float] = {}  # two claims read one loss


def held_out_loss(weight: Weight, split: str) -> float:
    """Mean loss over the tokens of a split of WikiText-2 but the first, in windows of the network's context, nats."""
    key = weight.record.sha256, split
    if key not in _LOSSES:
        network: Any = weight.network.one(0)
        tokens = wikitext2(Vocabulary.from_tensor(weight.task["vocabulary"][0]), split)
        total = sum(
            places(network, batch["tokens"], batch["targets"]).double().sum().item()
            for batch in every_token_once(tokens, network.context, 64)
        )
        _LOSSES[key] = total / (len(tokens) - 1)
    return _LOSSES[key]


def perplexities(weight: Weight) -> list[float]:
    """On the validation and on the test set."""
    return [math.exp(held_out_loss(weight, split)) for split in ("valid", "test")]


def against_kneser_ney(weight: Weight) -> float:
    """Validation perplexity over that of the Kneser-Ney trigram counted on the same training tokens."""
    vocabulary = Vocabulary.from_tensor(weight.task["vocabulary"][0])
    train, valid = wikitext2(vocabulary, "train"), wikitext2(vocabulary, "valid")
    trigram = KneserNey(train, len(vocabulary), vocabulary.end)
    return math.exp(held_out_loss(weight, "valid") - ngram_loss(trigram, valid, vocabulary.end))


def markov_excess(weight: Weight) -> tuple[Tensor, Tensor, ZipfMarkov]:
    """Loss of the network and of the true law at each place of 1,024 fresh windows (n, t), and the law."""
    network: Any = weight.network.one(0)
    law = ZipfMarkov.from_tensors({name: leaf[0] for name, leaf in weight.task.items()})
    text, surprise = law.sample(1024, network.context + 1, torch.Generator().manual_seed(2411))
    losses = torch.cat([places(network, part[:, :-1], part[:, 1:]) for part in text.split(64)])
    return losses.double(), surprise, law


def above_floor(weight: Weight) -> Measured:
    """Divergence from the true law per token, nats: the difference of two losses on one text, which is nearly noiseless."""
    losses, surprise, _ = markov_excess(weight)
    windows = (losses - surprise).mean(1)
    half = 1.96 * windows.std().item() / len(windows) ** 0.5
    mean = windows.mean().item()
    return Measured(mean, interval=(mean - half, mean + half), n=losses.numel())


def beyond_bigrams(weight: Weight) -> Measured:
    """Share of the way from the bigram law's loss to the floor: 1 at the floor, 0 without use of the word before last."""
    losses, surprise, law = markov_excess(weight)
    bigram, floor = law.pairs.entropy(law.unigram), law.floor(losses.shape[1])
    value = 1 - (losses - surprise).mean().item() / (bigram - floor)
    return Measured(value, n=losses.numel(), note=f"floor {floor:.4f}, bigram {bigram:.4f} nats")


# Next-word laws.


def law_divergence(weight: Weight) -> float:
    """Mean KL(law of the text, network) over contexts by frequency, nats, in float64."""
    network: Any = weight.network.one(0).double()
    task = {name: leaf[0] for name, leaf in weight.task.items()}
    law, frequency = laws(task)
    with torch.no_grad():
        return divergence(law, network(task["contexts"]), frequency).item()


def refined(weight: Weight, iterations: int = 40) -> Encoder:
    """L-BFGS on the encoders of rank d, started from the vectors and the W_U of a network that approximates the laws."""
    network: Any = weight.network.one(0).double()
    task = {name: leaf[0] for name, leaf in weight.task.items()}
    law, frequency = laws(task)
    with torch.no_grad():
        encoding = network.stream(task["contexts"])[:, -1]
    start = encoding, network.unembedding.detach()
    return best_rank(law, frequency, network.dim, iterations, start)


def constructed_law(weight: Weight) -> list[float]:
    """Rank of the features [x_S ; W_V A] of the contexts, and the divergence above the best one found."""
    network: Any = weight.network.one(0)
    with torch.no_grad():
        rank = int(torch.linalg.matrix_rank(network.features(weight.task["contexts"][0])))
    return [rank, law_divergence(weight) - refined(weight).divergence]


def above_rank_bound(*weights: Weight) -> list[float]:
    """Divergence of trained networks above the least one found for their rank; the last weight is the construction."""
    best = refined(weights[-1]).divergence
    return [law_divergence(weight) - best for weight in weights[:-1]]


LANGUAGE_CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="W1",
        says="An attention-only language model of 1.4 million numbers has these validation and test perplexities on WikiText-2 (10,000 words).",
        source=OURS,
        kind="table",
        expected=Near([81.4, 75.55], relative=0.01),
        seconds=25,
        measure=perplexities,
        rank="weights",
        weights=("wikitext2",),
    ),
    Claim(
        id="W2",
        says="Its perplexity is below that of an interpolated Kneser-Ney trigram counted on the same tokens (ratio).",
        source=OURS,
        kind="bound",
        expected=AtMost(1.0),
        seconds=5,
        measure=against_kneser_ney,
        rank="weights",
        weights=("wikitext2",),
    ),
    Claim(
        id="M1",
        says="On a Zipf-Markov text of order 2 the loss is within 0.015 nats of its exact floor, the entropy of the law.",
        source=OURS,
        kind="monte-carlo",
        expected=Between(0.0, 0.015),
        seconds=2,
        measure=above_floor,
        rank="weights",
        weights=("markov",),
    ),
    Claim(
        id="M2",
        says="Attention to the word before last closes at least 97 % of the gap between bigram law and floor.",
        source=OURS,
        kind="monte-carlo",
        expected=AtLeast(0.97),
        seconds=2,
        measure=beyond_bigrams,
        rank="weights",
        weights=("markov",),
    ),
)

LAWS_CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="L1",
        says="With H d_h + d = 320 the construction has on 320 contexts of WikiText-2 the rank 320 and the best rank-10 divergence.",
        source="Theorem 1, on laws of WikiText-2",
        kind="exact",
        expected=Near([320, 0.0], absolute=2e-4),
        seconds=4,
        measure=constructed_law,
        rank="weights",
        weights=("wikitext2_laws_constructed",),
    ),
    Claim(
        id="L2",
        says="No trained network of width 10 (H = 1, 6, 31) passes the best rank-10 divergence, whatever its heads.",
        source="Proposition 1, on laws of WikiText-2",
        kind="bound",
        expected=AtLeast(-1e-4),
        seconds=4,
        measure=above_rank_bound,
        rank="weights",
        weights=(*LAWS_WEIGHTS, "wikitext2_laws_constructed"),
    ),
    Claim(
        id="L3",
        says="Training needs far fewer heads than the construction: so little (nats) above the best rank-10 divergence are H = 1, 6, 31.",
        source=f"{OURS}; Theorem 1 promises it from H = 31 on",
        kind="table",
        expected=Near([0.0228, 0.0051, 0.0002], absolute=0.002),
        seconds=4,
        measure=above_rank_bound,
        rank="weights",
        weights=(*LAWS_WEIGHTS, "wikitext2_laws_constructed"),
    ),
)
