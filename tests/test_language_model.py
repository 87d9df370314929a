"""The attention-only layer on text: the output layer, language models, next-word laws, and their claims and figures."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
import torch.nn.functional as F
from fitting import fit
from torch import Tensor

from datamodules.context_laws import ContextLawsData
from datamodules.corpus import Vocabulary
from datamodules.markov_text import MarkovTextData
from datamodules.wikitext import WikiTextData
from zoo.claims import Skip
from zoo.cross_entropy import cross_entropy, token_losses
from zoo.history import Run
from zoo.models.attention_memorizer import text_claims, text_figures
from zoo.models.attention_memorizer.context_laws import best_rank, construct, laws
from zoo.models.attention_memorizer.language_model import LanguageModel
from zoo.models.attention_memorizer.laws import ContextLaws
from zoo.models.attention_memorizer.network import AttentionOnly
from zoo.models.attention_memorizer.theory import Encoder, divergence
from zoo.registry import ZooError
from zoo.replicas import Replicas
from zoo.training import ZooModule
from zoo.weights import Record, Weight


def weight(tag: str, module: ZooModule) -> Weight:
    networks, task, _ = module.result()
    arguments = {name: getattr(networks.network, name) for name in ("heads", "head_dim", "dim")}
    record = Record("attention_memorizer", tag, "AttentionOnly", arguments, "float32", networks.count, "trained", "")
    return Weight("attention_memorizer", tag, networks, task, record)


# The output layer.


def places(dtype: torch.dtype, n: int = 70, v: int = 40, d: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, dtype=dtype, generator=generator).requires_grad_()
    w = torch.randn(v, d, dtype=dtype, generator=generator).requires_grad_()
    return x, w, torch.randint(v, (n,), generator=generator)


def both(x: Tensor, w: Tensor, y: Tensor, **options: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Loss and gradients of ours and of PyTorch's."""
    found = []
    for loss in (cross_entropy(x, w, y, **options), F.cross_entropy(x @ w.T, y)):
        found.append([loss.detach(), *torch.autograd.grad(3 * loss, (x, w))])
    return found[0], found[1]


@pytest.mark.parametrize("rows", [0, 1, 32, 70, 1000])
def test_the_output_layer_is_cross_entropy(rows: int) -> None:
    for dtype, tolerance in ((torch.float64, 1e-14), (torch.float32, 1e-6)):
        for ours, theirs in zip(*both(*places(dtype), rows=rows), strict=True):
            assert torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def test_bfloat16_changes_the_loss_by_its_rounding_only() -> None:
    x, w, y = places(torch.float32, n=2000, v=500, d=64)
    ours, theirs = both(x, (0.2 * w).detach().requires_grad_(), y, bfloat16=True)
    assert abs(ours[0] - theirs[0]) < 2**-9 * theirs[0] / 10  # the roundings of 2,000 places mostly cancel
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 2**-7 * b.norm()


def test_losses_of_single_places_leave_out_the_padding() -> None:
    x, w, y = places(torch.float64)
    y[::3] = -1
    expected = F.cross_entropy(x @ w.T, y, ignore_index=-1, reduction="none")
    assert torch.allclose(token_losses(x, w, y, rows=16), expected)
    assert not token_losses(x, w, y).requires_grad
    with torch.no_grad():
        assert cross_entropy(x, w, y.abs()).item() == pytest.approx(F.cross_entropy(x @ w.T, y.abs()).item())


def test_hopeless_targets_keep_a_finite_loss_and_the_right_gradient() -> None:
    x, w, y = places(torch.float32)
    ours, theirs = both((300 * x).detach().requires_grad_(), w, y)
    assert torch.isfinite(ours[0])
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(ours[1:], theirs[1:], strict=True))


def test_gradients_only_where_asked() -> None:
    x, w, y = places(torch.float64)
    (alone,) = torch.autograd.grad(cross_entropy(x.detach(), w, y), w)
    assert torch.allclose(alone, torch.autograd.grad(F.cross_entropy(x @ w.T, y), w)[0])
    through = torch.func.grad(lambda a: cross_entropy(a, w.detach(), y))(x.detach())
    assert torch.allclose(through, torch.autograd.grad(F.cross_entropy(x @ w.T, y), x)[0])


# Language models.


def text(**options: Any) -> MarkovTextData:
    shape = {"vocabulary": 40, "order": 2, "branching": 2, "context": 12, "batch_size": 16, "validation": 6}
    return MarkovTextData(**(shape | {"steps_per_epoch": 150} | options))


def model(**options: Any) -> LanguageModel:
    shape = {"vocabulary": 40, "context": 12, "dim": 24, "heads": 4, "head_dim": 8, "layers": 1, "warmup": 20}
    return LanguageModel(**(shape | {"lr": 0.03, "log_every": 50} | options))


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    module = fit(model(), text(), 450, tmp_path_factory.mktemp("markov"))
    assert isinstance(module, LanguageModel)
    return module


def test_a_language_model_uses_the_word_before_last(learned: LanguageModel) -> None:
    history, exact = learned.history, text().references()
    assert history.last("val_loss") < exact["bigram"] < exact["unigram"]
    assert 0 < history.last("val_excess") < 0.3
    assert history.last("val_loss") - exact["floor"] == pytest.approx(history.last("val_excess").item(), abs=0.1)
    assert history.last("excess") < history["excess"][1]


def test_perplexities_are_exponentials_of_means(learned: LanguageModel) -> None:
    history = learned.history
    for name, loss in (("perplexity", "loss"), ("val_perplexity", "val_loss")):
        assert torch.allclose(history[name], history[loss].exp(), equal_nan=True)
    for name, value in text().references().items():
        assert history[f"{name}_perplexity"][0].item() == pytest.approx(math.exp(value))
    assert history["val_loss"].isnan().sum() == len(history.steps) - 3  # every 150 steps


def test_validation_is_the_mean_over_tokens(learned: LanguageModel) -> None:
    network = learned.result()[0].one(0)
    batches = list(text().val_dataloader())
    logits = [network.unembed(network.stream(batch["tokens"])).flatten(0, 1) for batch in batches]
    expected = F.cross_entropy(torch.cat(logits), torch.cat([batch["targets"].flatten() for batch in batches]))
    assert learned.history.last("val_loss").item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_resumed_language_model_is_the_same(tmp_path: Path) -> None:
    options = {"bfloat16": True, "tied": True, "layers": 2}

    class Long(LanguageModel):
        def learning_rate(self, step: int) -> float:  # the cosine of `LanguageModel` ends at max_steps
            return 0.01 / (1 + step / 50)

    def long() -> Long:
        return Long(vocabulary=40, context=12, dim=24, heads=4, head_dim=8, log_every=20, chunk=7, **options)

    whole = fit(long(), text(steps_per_epoch=30), 90, tmp_path / "whole")
    fit(long(), text(steps_per_epoch=30), 40, tmp_path / "parts")
    parts = fit(long(), text(steps_per_epoch=30), 90, tmp_path / "parts")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))
    assert whole.history.metrics == parts.history.metrics
    assert torch.equal(whole.history["loss"].nan_to_num(), parts.history["loss"].nan_to_num())


def test_the_step_size_rises_and_falls() -> None:
    module = model(lr=0.1, lr_end=0.001, warmup=10)
    module.trainer = L.Trainer(max_steps=110, logger=False, enable_checkpointing=False, accelerator="cpu")
    rates = [module.learning_rate(step) for step in range(111)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == rates[10] == pytest.approx(0.1)
    assert rates[60] == pytest.approx((0.1 + 0.001) / 2)
    assert rates[110] == pytest.approx(0.001)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_several_replicas_are_refused() -> None:
    with pytest.raises(ValueError, match="one replica"):
        LanguageModel(replicas=3)


def test_a_text_that_does_not_fit_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="40 words, the model 30"):
        fit(model(vocabulary=30), text(), 1, tmp_path)
    with pytest.raises(ZooError, match="context 12 exceeds the model's 8"):
        fit(model(context=8), text(), 1, tmp_path)


LINES = [" = Title = \n", " \n", " the cat saw the dog and the dog saw the cat . \n", " a <unk> sat . \n"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small WikiText-2 in $ZOO_DATA."""
    root = tmp_path / "wikitext-2"
    root.mkdir()
    for part, count in (("train", 40), ("valid", 4), ("test", 3)):
        (root / f"wiki.{part}.tokens").write_text("".join(LINES * count), encoding="utf-8", newline="\n")
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    return root


def test_wikitext_claims_recompute_what_training_measured(folder: Path, tmp_path: Path) -> None:
    cached = str(tmp_path / "cache")
    data = WikiTextData(vocabulary=12, context=6, batch_size=5, cache=cached, steps_per_epoch=20)
    module = fit(model(vocabulary=12, context=6, log_every=20), data, 60, tmp_path / "run")
    found = weight("wikitext2", module)
    assert Vocabulary.from_tensor(found.task["vocabulary"][0]).words == data.corpus.vocabulary.words
    text_claims._LOSSES.clear()
    valid, test = text_claims.perplexities(found)
    assert valid == pytest.approx(module.history.at("val_perplexity", 60).item(), rel=1e-4)
    assert test != valid
    baseline = module.history.last("kneser_ney_perplexity").item()
    assert text_claims.against_kneser_ney(found) == pytest.approx(valid / baseline, rel=1e-6)


def test_claims_on_wikitext_are_skipped_without_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = Vocabulary(["<unk>", "<eos>"])
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    with pytest.raises(Skip, match="wikitext-2"):
        text_claims.wikitext2(words, "valid")
    monkeypatch.delenv("ZOO_DATA")
    with pytest.raises(Skip, match="ZOO_DATA"):
        text_claims.wikitext2(words, "valid")
    (tmp_path / "wikitext-2").mkdir()
    (tmp_path / "wikitext-2" / "wiki.valid.tokens").write_text("a\n")
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    assert text_claims.wikitext2(words, "valid").tolist() == [0, 1]
    with pytest.raises(Skip, match=r"wiki\.train\.tokens"):
        text_claims.wikitext2(words, "train")


def test_markov_claims_measure_the_excess(learned: LanguageModel) -> None:
    found = weight("markov", learned)
    above = text_claims.above_floor(found)
    assert above.interval is not None
    assert above.interval[0] < above.value < above.interval[1]
    assert above.value == pytest.approx(learned.history.last("val_excess").item(), rel=0.3)
    share = text_claims.beyond_bigrams(found)
    exact = text().references()
    assert share.value == pytest.approx(1 - above.value / (exact["bigram"] - exact["floor"]))


# Next-word laws.


def small_task(n: int, v: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    pairs = torch.randperm(v * v, generator=generator)[:n]
    contexts = torch.stack([pairs // v, pairs % v], 1)
    counts = torch.poisson(40 / torch.arange(1, n + 1)[:, None] * torch.rand(n, v, generator=generator), generator)
    unigram = counts.sum(0) + 1
    return {
        "contexts": contexts,
        "counts": counts.to(torch.int16),
        "unigram": unigram.int(),
        "smoothing": torch.tensor(2.0),
    }


def test_laws_are_smoothed_by_the_unigram() -> None:
    task = small_task(10, 7)
    law, frequency = laws(task)
    assert torch.allclose(law.sum(1), torch.ones(10, dtype=torch.float64))
    assert (law > 0).all()
    counts = task["counts"].double()
    assert torch.allclose(frequency, counts.sum(1) / counts.sum())
    empty = laws(task | {"counts": torch.zeros(10, 7)})[0]
    assert torch.allclose(empty[0], task["unigram"].double() / task["unigram"].sum())


def test_the_best_rank_is_found_and_falls_with_the_rank() -> None:
    law, frequency = laws(small_task(20, 9))
    found = [best_rank(law, frequency, d, 300).divergence for d in (1, 3, 8)]
    assert found[0] > found[1] > found[2]
    assert found[2] == pytest.approx(0, abs=1e-6)  # rank N - 1 gives every law (Proposition 2)
    encoder = best_rank(law, frequency, 3, 300)
    assert divergence(law, encoder.encoding @ encoder.unembedding.T, frequency).item() == pytest.approx(found[1])
    again = best_rank(law, frequency, 3, 20, (encoder.encoding, encoder.unembedding))
    assert again.divergence == pytest.approx(found[1], abs=1e-6)


@pytest.mark.parametrize("heads", [1, 3, 5, 6])
def test_the_construction_reaches_the_best_rank_at_its_capacity(heads: int) -> None:
    task = small_task(24, 9)
    law, frequency = laws(task)
    encoder = best_rank(law, frequency, 4, 200)
    network = AttentionOnly(vocabulary=9, context=2, dim=4, heads=heads, head_dim=4).double()
    key = torch.Generator().manual_seed(0)
    network.load_state_dict(construct(law, frequency, task["contexts"], encoder, heads, 4, key, 100))
    with torch.no_grad():
        above = divergence(law, network(task["contexts"]), frequency).item() - encoder.divergence
    if heads * 4 + 4 >= 24:  # Theorem 1
        assert above == pytest.approx(0, abs=1e-9)
    else:
        assert above > 1e-3


@pytest.fixture
def law_weights(folder: Path, tmp_path: Path) -> tuple[list[Weight], ContextLaws]:
    """Trained on 12 contexts with few heads and with enough, and the construction."""
    data = ContextLawsData(vocabulary=10, contexts=12, cache=str(tmp_path / "cache"))
    found, modules = [], []
    for heads in (1, 5):
        module = ContextLaws(dim=2, heads=heads, head_dim=2, lr=0.05, log_every=100, replicas=heads // 5 + 1)
        fit(module, data, 300, tmp_path / f"h{heads}")
        modules.append(module)
        found.append(weight(f"wikitext2_laws_h{heads}", module))
    task = {name: leaf[:1] for name, leaf in found[0].task.items()}
    law, frequency = laws({name: leaf[0] for name, leaf in task.items()})
    encoder = best_rank(law, frequency, 2, 500)
    network = AttentionOnly(vocabulary=10, context=2, dim=2, heads=5, head_dim=2).double()
    key = torch.Generator().manual_seed(0)
    network.load_state_dict(construct(law, frequency, task["contexts"][0], encoder, 5, 2, key))
    built = replace(found[-1], network=Replicas([network]), task=task, tag="wikitext2_laws_constructed")
    return [*found, built], modules[0]


def test_laws_of_a_text_are_learned_and_constructed(
    law_weights: tuple[list[Weight], ContextLaws], tmp_path: Path
) -> None:
    weights, module = law_weights
    history = module.history
    assert history["divergence"][-1].mean() < history["divergence"][0].mean() / 2
    assert history.last("best_rank").item() <= history.last("divergence").mean().item() + 1e-4
    assert text_claims.law_divergence(weights[0]) == pytest.approx(history.last("divergence")[0].item(), rel=1e-3)
    rank, above = text_claims.constructed_law(weights[-1])
    assert rank == 12
    assert above == pytest.approx(0, abs=2e-4)
    assert min(text_claims.above_rank_bound(*weights)) > -2e-4
    canvas = text_figures.laws_capacity(*weights)
    assert "H d_h + d = 12" in canvas.axes[0].get_legend().get_texts()[-1].get_text()
    run = Run(tmp_path, "attention_memorizer", "wikitext2_laws", {}, history, weights[0])
    assert text_figures.laws_training(run).axes[0].get_xlabel() == "optimiser steps"


def test_the_figure_of_a_language_model_has_its_references(learned: LanguageModel, tmp_path: Path) -> None:
    run = Run(tmp_path, "attention_memorizer", "markov", {}, learned.history, weight("markov", learned))
    labels = [entry.get_text() for entry in text_figures.language(run).axes[0].get_legend().get_texts()]
    assert labels[:2] == ["training", "validation"]
    assert sum("exact" in label for label in labels) == 3


def test_a_constructed_encoder_is_not_beaten_by_more_heads() -> None:
    task = small_task(12, 9)
    law, frequency = laws(task)
    encoder = best_rank(law, frequency, 3, 300)
    target = Encoder(encoder.encoding, encoder.unembedding, encoder.divergence)
    for heads in (3, 7):
        network = AttentionOnly(vocabulary=9, context=2, dim=3, heads=heads, head_dim=3).double()
        key = torch.Generator().manual_seed(heads)
        network.load_state_dict(construct(law, frequency, task["contexts"], target, heads, 3, key))
        with torch.no_grad():
            found = divergence(law, network(task["contexts"]), frequency).item()
        assert found == pytest.approx(encoder.divergence, abs=1e-9)
