"""Scan and snap on text: the post-norm encoder, its training, streams of words, and its claims and figures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fitting import fit
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from datamodules.corpus import BasicEnglish, Vocabulary, split
from datamodules.wikitext import WikiTextData
from zoo.claims import Skip
from zoo.cross_entropy import cross_entropy, token_losses
from zoo.history import History, Run
from zoo.models.scan_and_snap import text_claims, text_figures
from zoo.models.scan_and_snap.text_module import EncoderText
from zoo.models.scan_and_snap.text_network import PostNormEncoder, attention_entropy, sinusoids
from zoo.registry import ZooError
from zoo.replicas import Replicas
from zoo.sweeps import Sweep
from zoo.weights import Record, Weight


def key(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def encoder(seed: int = 0, **options: Any) -> PostNormEncoder:
    """In float64, every parameter moved away from its special initial value."""
    shape = {"vocabulary": 13, "dim": 8, "hidden": 12, "heads": 2, "layers": 3, "context": 7}
    network = PostNormEncoder(**(shape | options), generator=key(seed)).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=key(seed + 1))
    return network


# The network.


def torch_layers(network: PostNormEncoder) -> nn.TransformerEncoder:
    """PyTorch's encoder with the parameters of ours."""
    sizes = network.dim, network.heads, network.hidden
    layer = nn.TransformerEncoderLayer(*sizes, dropout=0.0, batch_first=True, norm_first=False)
    theirs = nn.TransformerEncoder(layer, network.layers, enable_nested_tensor=False).double()
    n = network
    for i, one in enumerate(theirs.layers):
        one.load_state_dict(
            {
                "self_attn.in_proj_weight": n.qkv[i],
                "self_attn.in_proj_bias": n.qkv_bias[i],
                "self_attn.out_proj.weight": n.out[i],
                "self_attn.out_proj.bias": n.out_bias[i],
                "linear1.weight": n.inner[i],
                "linear1.bias": n.inner_bias[i],
                "linear2.weight": n.outer[i],
                "linear2.bias": n.outer_bias[i],
                "norm1.weight": n.norm[i, 0],
                "norm1.bias": n.norm_bias[i, 0],
                "norm2.weight": n.norm[i, 1],
                "norm2.bias": n.norm_bias[i, 1],
            }
        )
    return theirs


@pytest.mark.parametrize(("heads", "layers"), [(1, 1), (1, 3), (4, 2)])
def test_the_encoder_is_pytorchs(heads: int, layers: int) -> None:
    network = encoder(heads=heads, layers=layers)
    theirs = torch_layers(network)
    (tokens,) = network.example(5, key())
    x = F.embedding(tokens, network.embedding) * math.sqrt(8) + sinusoids(7, 8, network.embedding)
    mask = nn.Transformer.generate_square_subsequent_mask(7, dtype=torch.float64)
    expected = F.linear(theirs(x, mask=mask), network.unembedding, network.bias)
    torch.testing.assert_close(network(tokens), expected, rtol=1e-12, atol=1e-12)
    targets = torch.randint(13, (35,), generator=key(1))
    parameters = list(network.parameters())
    ours = torch.autograd.grad(F.cross_entropy(network(tokens).flatten(0, 1), targets), parameters)
    x, _ = network.encode(tokens)
    fused = cross_entropy(x.flatten(0, 1), network.unembedding, targets, bias=network.bias)
    for a, b in zip(ours, torch.autograd.grad(fused, parameters), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_initial_values_are_those_of_the_paper_and_of_pytorch() -> None:
    network = PostNormEncoder(vocabulary=500, dim=16, hidden=24, layers=2, generator=key())
    for name, bound in (
        ("embedding", 0.1),
        ("unembedding", 0.1),
        ("qkv", math.sqrt(6 / 64)),
        ("out", 0.25),
        ("inner", 0.25),
        ("inner_bias", 0.25),
        ("outer", 24**-0.5),
        ("outer_bias", 24**-0.5),
    ):
        values = network.get_parameter(name)
        assert 0.85 * bound < values.abs().max() <= bound
    for name in ("bias", "qkv_bias", "out_bias", "norm_bias"):
        assert not network.get_parameter(name).any()
    assert (network.norm == 1).all()
    assert torch.equal(network.qkv[0], network.qkv[1])


def test_positions_are_sinusoids() -> None:
    code = sinusoids(50, 6, torch.zeros((), dtype=torch.float64))
    for s, i in ((0, 0), (7, 1), (49, 2)):
        rate = 10000 ** (-2 * i / 6)
        assert code[s, 2 * i].item() == pytest.approx(math.sin(s * rate), abs=1e-12)
        assert code[s, 2 * i + 1].item() == pytest.approx(math.cos(s * rate), abs=1e-12)
    assert sinusoids(4, 5, code).shape == (4, 5)


@given(st.integers(0, 2**32), st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_no_word_sees_a_later_one(seed: int, place: int) -> None:
    network = encoder(seed % 7)
    (tokens,) = network.example(2, key(seed))
    other = tokens.clone()
    other[:, place:] = torch.randint(13, other[:, place:].shape, generator=key(seed + 1))
    assert torch.equal(network(tokens)[:, :place], network(other)[:, :place])
    assert not network.attention(tokens).triu(1).any()


@given(st.integers(0, 2**32), st.floats(0.1, 100))
@settings(max_examples=25, deadline=None)
def test_entropies_lie_between_one_key_and_all_of_them(seed: int, scale: float) -> None:
    network = encoder(seed % 7)
    with torch.no_grad():
        network.qkv *= scale
    weights = network.attention(network.example(3, key(seed))[0])
    assert weights.shape == (3, 3, 2, 7, 7)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 3, 2, 7, dtype=torch.float64))
    entropy = attention_entropy(weights)
    most = torch.arange(1, 8, dtype=torch.float64).log()
    assert (entropy > -1e-7).all() and (entropy <= most + 1e-9).all()


def test_the_entropy_of_equal_weights_is_the_logarithm() -> None:
    assert attention_entropy(torch.full((9,), 1 / 9).double()).item() == pytest.approx(math.log(9), abs=1e-6)
    assert attention_entropy(torch.eye(4).double()).abs().max() < 1e-7


def test_heads_divide_the_width() -> None:
    with pytest.raises(ValueError, match="heads must divide dim, got 3 and 8"):
        encoder(heads=3)


def test_dropout_is_called_where_pytorch_has_it() -> None:
    """On the embedded tokens, and in each layer on attention weights, its output, hidden units and theirs."""
    network, seen = encoder(layers=2), []

    def drop(x: Tensor) -> Tensor:
        seen.append(tuple(x.shape))
        return x

    (tokens,) = network.example(5, key())
    assert torch.equal(network.encode(tokens, drop)[0], network.encode(tokens)[0])
    assert seen == [(5, 7, 8), *[(5, 2, 7, 7), (5, 7, 8), (5, 7, 12), (5, 7, 8)] * 2]


@pytest.mark.parametrize("rows", [1, 32, 70])
def test_the_output_layer_takes_a_bias(rows: int) -> None:
    x, w, c = (
        torch.randn(*shape, dtype=torch.float64, generator=key(i)) for i, shape in enumerate([(70, 8), (40, 8), (40,)])
    )
    y = torch.randint(40, (70,), generator=key(9))
    for tensor in (x, w, c):
        tensor.requires_grad_()
    expected = F.cross_entropy(F.linear(x, w, c), y, reduction="none")
    torch.testing.assert_close(token_losses(x, w, y, bias=c, rows=rows), expected.detach())
    ours = cross_entropy(x, w, y, bias=c, rows=rows)
    for a, b in zip(torch.autograd.grad(ours, (x, w, c)), torch.autograd.grad(expected.mean(), (x, w, c)), strict=True):
        torch.testing.assert_close(a, b)


# Streams of words.


def sentences(words: int, seed: int) -> str:
    rng = np.random.default_rng(seed)
    chosen = rng.choice(["The", "cat", "saw", "a", "dog", ".", "<unk>"], words, p=[0.3, 0.2, 0.1, 0.1, 0.1, 0.15, 0.05])
    return " " + " ".join(chosen).replace(" . ", ' . \n " ') + " \n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small WikiText-2 as it would be in $ZOO_DATA."""
    root = tmp_path_factory.mktemp("data") / "wikitext-2"
    root.mkdir()
    for seed, (part, words) in enumerate({"train": 900, "valid": 150, "test": 60}.items()):
        (root / f"wiki.{part}.tokens").write_text(sentences(words, seed), encoding="utf-8", newline="\n")
    return root


def small(folder: Path, **options: Any) -> WikiTextData:
    given = {"root": str(folder), "cache": str(folder.parent / "cache"), "context": 7, "batch_size": 4}
    return WikiTextData(**(given | {"order": "streams", "basic_english": True, "steps_per_epoch": 20} | options))


class Lines:
    """A source of one text."""

    name, licence = "lines", ""

    def splits(self) -> tuple[str, ...]:
        return ("train",)

    def fingerprint(self, split: str) -> str:
        return "f"

    def blocks(self, split: str) -> Iterator[str]:
        yield ' = The Cat \'s = \n \n He said : " no ; ( 3 @.@ 5 ) "\n'
        yield "why ?\n"


def test_basic_english_is_lower_case_without_line_ends() -> None:
    source = BasicEnglish(Lines())
    found = [word for text in source.blocks("train") for word in split(text)]
    assert " ".join(found) == "= the cat ' s = he said no ( 3 @ . @ 5 ) why ?"
    assert source.fingerprint("train") != Lines().fingerprint("train")
    assert (source.name, source.licence, source.splits()) == ("lines", "", ("train",))


def test_basic_english_has_a_corpus_of_its_own(folder: Path) -> None:
    ours, plain = small(folder).corpus, small(folder, basic_english=False).corpus
    assert ours.folder != plain.folder
    assert "the" in ours.vocabulary.words and "The" in plain.vocabulary.words
    assert ours.vocabulary.end not in ours.tokens["train"]


@pytest.mark.parametrize(("rank", "world"), [(0, 1), (0, 2), (1, 2)])
def test_a_row_reads_its_stream_in_order(folder: Path, rank: int, world: int) -> None:
    data = small(folder)
    data.corpus.tokens["train"] = np.arange(300, dtype=np.int32)
    length = 300 // (4 * world)
    batch = data.batches(0, 0, 40, rank, world)
    per_epoch = (length - 1) // 7
    for row in range(4):
        first = (rank * 4 + row) * length
        seen = batch["tokens"][:per_epoch, row].flatten()
        assert torch.equal(seen, torch.arange(first, first + 7 * per_epoch))
        assert batch["targets"][:per_epoch, row].max() < first + length
    assert torch.equal(batch["targets"], batch["tokens"] + 1)
    assert torch.equal(batch["tokens"][per_epoch : 2 * per_epoch], batch["tokens"][:per_epoch])
    middle = small(folder, seed=5)
    middle.corpus.tokens["train"] = data.corpus.tokens["train"]
    assert torch.equal(middle.batches(0, 17, 23, rank, world)["tokens"], batch["tokens"][17:23])


def test_an_epoch_of_streams_is_one_pass_by_default(folder: Path) -> None:
    data = small(folder, steps_per_epoch=None)
    data.setup("fit")
    assert data.steps_per_epoch == (len(data.corpus.tokens["train"]) // 4 - 1) // 7
    with pytest.raises(ZooError, match="no window of 7"):
        small(folder, batch_size=500).batches(0, 0, 1, 0, 1)
    with pytest.raises(ZooError, match="order must be shuffled or streams"):
        small(folder, order="sorted")


# Training.


def model(**options: Any) -> EncoderText:
    return EncoderText(**({"dim": 8, "hidden": 12, "lr": 1.0, "log_every": 10, "chunk": 7} | options))


@pytest.fixture(scope="module")
def learned(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> EncoderText:
    return fit(model(), small(folder), 60, tmp_path_factory.mktemp("run"))


def test_training_lowers_the_loss_and_measures_the_entropy(learned: EncoderText) -> None:
    history = learned.history
    assert history["loss"][-1] < history["loss"][1]
    assert torch.allclose(history["val_perplexity"], history["val_loss"].exp(), equal_nan=True)
    assert torch.allclose(history["perplexity"], history["loss"].exp(), equal_nan=True)
    assert history["val_entropy"].isnan().sum() == len(history.steps) - 3  # every 20 steps
    # before training attention is nearly uniform over the words so far
    assert history["entropy"][0].item() == pytest.approx(math.lgamma(8) / 7, abs=0.2)
    assert not history["entropy"].isnan().any()


def test_the_step_is_sgd_with_two_rates_and_a_clipped_gradient(folder: Path, tmp_path: Path) -> None:
    options = {"lr": 5.0, "lr_ffn": 10.0, "clip": 0.01, "dtype": "float64"}
    before = fit(model(**options), small(folder), 0, tmp_path / "before").result()[0].one(0)
    after = fit(model(**options), small(folder), 1, tmp_path / "after").result()[0].one(0)
    batch = small(folder).batches(0, 0, 1, 0, 1)
    loss = F.cross_entropy(before(batch["tokens"][0]).flatten(0, 1), batch["targets"][0].flatten())
    names = [name for name, _ in before.named_parameters()]
    gradients = dict(zip(names, torch.autograd.grad(loss, list(before.parameters())), strict=True))
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    assert norm > 0.01
    for name, parameter in before.named_parameters():
        rate = 10.0 if name.startswith(("inner", "outer")) else 5.0
        moved = after.get_parameter(name) - parameter
        torch.testing.assert_close(moved, -rate * gradients[name] * 0.01 / norm, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_resumed_encoder_is_the_same(folder: Path, tmp_path: Path, dropout: float) -> None:
    whole = fit(model(dropout=dropout), small(folder), 45, tmp_path / "whole")
    fit(model(dropout=dropout), small(folder), 30, tmp_path / "parts")
    parts = fit(model(dropout=dropout, chunk=16), small(folder), 45, tmp_path / "parts")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))
    assert whole.history.metrics == parts.history.metrics
    for name in ("loss", "perplexity", "entropy"):
        assert torch.equal(whole.history[name].nan_to_num(), parts.history[name].nan_to_num())
    assert torch.equal(whole.history.last("val_entropy"), parts.history.last("val_entropy"))


def test_dropout_masks_are_a_function_of_seed_rank_and_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def masks(step: int, seed: int = 0, rank: int = 0) -> list[Tensor]:
        module = model(dropout=0.3, seed=seed)
        monkeypatch.setattr(EncoderText, "global_rank", rank)
        drop = module._drop(torch.tensor(step))
        return [drop(torch.ones(50, 40)) for _ in range(2)]

    first, second = masks(3)
    assert all(torch.equal(a, b) for a, b in zip(masks(3), (first, second), strict=True))
    for other in (masks(4), masks(3, seed=1), masks(3, rank=1)):
        assert not torch.equal(other[0], first)
    assert not torch.equal(first, second)
    assert first.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert (first == 0).float().mean().item() == pytest.approx(0.3, abs=0.05)


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one replica"):
        EncoderText(replicas=2)
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\)"):
        EncoderText(dropout=1.0)


# Claims and figures.


def weight(tag: str, module: EncoderText, data: WikiTextData) -> Weight:
    networks, task, history = module.result()
    recipe = {
        "model": {"init_args": dict(module.hparams)},
        "data": {"init_args": {name: getattr(data, name) for name in ("context", "batch_size", "basic_english")}},
    }
    record = Record(
        "scan_and_snap",
        tag,
        "PostNormEncoder",
        networks.network.arguments,
        "float32",
        1,
        "trained",
        "",
        recipe=recipe,
        steps=int(history.steps[-1]),
        metrics={name: history.last(name).item() for name in history.metrics},
        sha256=tag,
    )
    assert asdict(record)["arguments"] == {**record.arguments, "vocabulary": len(data.corpus.vocabulary)}
    return Weight("scan_and_snap", tag, networks, task, record)


def test_claims_recompute_what_training_measured(
    learned: EncoderText, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text_claims._MEASURED.clear()
    found = weight("t", learned, small(folder))
    monkeypatch.setenv("ZOO_DATA", str(folder.parent / "nothing"))
    with pytest.raises(Skip, match="wikitext-2"):
        text_claims.recomputed(found)
    monkeypatch.setenv("ZOO_DATA", str(folder.parent))
    assert text_claims.recomputed(found) == pytest.approx([1, 1], rel=1e-5)
    assert text_claims.falls(found, found).value == [0.0]
    runs = []
    for rate, entropy in ((1, 2.0), (2, 2.1), (4, 1.5)):
        history = History()
        for step, above in ((40, 9.0), (50, 0.1), (100, -0.1)):
            history.add(step, {"val_entropy": torch.tensor([entropy + above])})
        history.add(75, {"loss": torch.ones(1)})
        runs.append(Run(folder, "scan_and_snap", "t", {"model": {"init_args": {"lr": rate}}}, history, found))
    measured = text_claims.slope(*runs)
    assert measured.value == pytest.approx(np.polyfit([1, 2, 4], [2.0, 2.1, 1.5], 1)[0])
    assert measured.note == "entropies 2.000, 2.100, 1.500 nats"


def test_validation_is_the_mean_over_words(learned: EncoderText, folder: Path) -> None:
    network: Any = learned.result()[0].one(0)
    losses, entropies = [], []
    for batch in small(folder).val_dataloader():
        known = batch["targets"] >= 0
        logits = network(batch["tokens"])
        losses.append(F.cross_entropy(logits[known], batch["targets"][known], reduction="none"))
        entropies.append(attention_entropy(network.attention(batch["tokens"])).mean((1, 2))[known])
    assert learned.history.last("val_loss").item() == pytest.approx(torch.cat(losses).mean().item(), rel=1e-5)
    assert learned.history.last("val_entropy").item() == pytest.approx(torch.cat(entropies).mean().item(), rel=1e-5)


def test_figures_show_maps_courses_and_rates(learned: EncoderText, folder: Path) -> None:
    found = weight("t", learned, small(folder))
    maps = text_figures.attention_maps(found, found)
    images = [panel.images[0].get_array() for panel in maps.axes[:3]]
    assert all(image.shape == (35, 35) for image in images)
    assert np.array_equal(images[1], images[2]) and not np.array_equal(images[0], images[1])
    assert maps.axes[1].get_title().startswith("step size 1, 60 steps")
    run = Run(folder, "scan_and_snap", "t", {}, learned.history, found)
    assert len(text_figures.entropy_training(run).axes) == 2
    columns = {
        "model.lr": [1, 1, 5, 5],
        "replica": [0] * 4,
        "val_entropy": [1.6, 1.8, 1.0, 1.2],
        "val_perplexity": [9.0, 9, 7, 7],
    }
    sweep = Sweep("scan_and_snap", "wikitext2", ("model.lr",), "", columns)
    left = text_figures.entropy_by_rate(sweep).axes[0]
    assert left.lines[0].get_xydata().tolist() == [[1, pytest.approx(1.7)], [5, pytest.approx(1.1)]]
    assert left.get_ylim() == (0, 2)


def test_replicas_of_the_encoder_run_side_by_side() -> None:
    networks = [encoder(seed) for seed in range(3)]
    (tokens,) = networks[0].example(4, key())
    together = Replicas(networks).each(lambda network: network.attention(tokens))
    torch.testing.assert_close(together, torch.stack([network.attention(tokens) for network in networks]))


def test_the_window_of_figure_7_has_35_words() -> None:
    assert len(text_figures.WINDOW.split()) == 35
    assert Vocabulary(["<unk>", "<eos>"]).encode(text_figures.WINDOW).tolist() == [0] * 35
