"""Text: vocabulary, token files, windows, the hub, Markov text, n-gram models, laws of contexts."""

from __future__ import annotations

import itertools
import lzma
import math
import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import torch

from datamodules.context_laws import ContextLawsData
from datamodules.corpus import Held, Vocabulary, every_token_once, split
from datamodules.markov_text import MarkovTextData
from datamodules.stream import generator
from datamodules.wikitext import WikiTextData
from datamodules.zipf_markov import ZipfMarkov, couple, zipf
from zoo import ngrams
from zoo.registry import ZooError

DATA = Path(os.environ["ZOO_DATA"])
real = pytest.mark.skipif(not (DATA / "wikitext-2").is_dir(), reason="no wikitext-2 in $ZOO_DATA")


def text(words: int, seed: int) -> str:
    """Lines of 0 to 9 words a … j, some of them `<unk>`."""
    rng = np.random.default_rng(seed)
    lines, left = [], words
    while left > 0:
        line = rng.choice(["a", "b", "c", "d", "e", "f", "ü", "<unk>"], min(left, int(rng.integers(10))))
        lines.append(f" {' '.join(line)} \n")
        left -= len(line)
    return "".join(lines)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "text"
    root.mkdir()
    for seed, (part, words) in enumerate({"train": 500, "valid": 90, "test": 70}.items()):
        (root / f"wiki.{part}.tokens").write_text(text(words, seed), encoding="utf-8", newline="\n")
    return root


def small(folder: Path, **options: Any) -> WikiTextData:
    given = {"root": str(folder), "cache": str(folder.parent / "cache"), "context": 7, "batch_size": 3}
    return WikiTextData(**(given | options))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


# Vocabulary and token files.


def test_vocabulary_ranks_by_count_then_by_code_point() -> None:
    counts = Counter(split("b a b a c\n z y <unk>\n"))
    assert Vocabulary.from_counts(counts).words == ("<eos>", "a", "b", "<unk>", "c", "y", "z")
    assert Vocabulary.from_counts(counts, 3).words == ("<eos>", "a", "<unk>")
    assert Vocabulary.from_counts(Counter("aab")).words == ("a", "b", "<eos>", "<unk>")
    with pytest.raises(ZooError, match="at least"):
        Vocabulary.from_counts(counts, 1)
    with pytest.raises(ZooError, match="distinct"):
        Vocabulary(["<unk>", "<eos>", "a", "a"])


def test_vocabulary_encodes_and_travels_as_bytes() -> None:
    words = Vocabulary(["<unk>", "<eos>", "a", "ü", "@-@"])
    assert words.encode("a q ü\n\n @-@\n").tolist() == [2, 0, 3, 1, 1, 4, 1]
    assert Vocabulary.from_tensor(words.tensor()).words == words.words
    assert words.decode([2, 1]) == "a <eos>"


@real
def test_wikitext_2_has_the_published_numbers(cache: str) -> None:
    data = WikiTextData(cache=cache)
    found = data.provenance()
    assert found["tokens"] == {"train": 2_088_628, "valid": 217_646, "test": 245_569}
    assert found["vocabulary"] == 33_278
    assert found["sha256"]["valid"] == "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8"
    assert all(data.corpus.sources[part]["unknown"] == n for part, n in (("train", 54_625), ("valid", 11_718)))
    assert data.corpus.tokens["train"].dtype == np.uint16
    assert "CC BY-SA" in found["licence"]


@real
@pytest.mark.skipif(not (DATA / "wikitext-103-eval").is_dir(), reason="no wikitext-103-eval in $ZOO_DATA")
def test_a_folder_without_training_set_serves_to_evaluate(cache: str) -> None:
    """WikiText-103 has the articles of WikiText-2, so that with WikiText-2's words both give the same tokens."""
    two = WikiTextData(cache=cache)
    held = {"root": str(DATA / "wikitext-103-eval"), "name": "wikitext-103", "cache": cache}
    big = WikiTextData(**held, words=list(two.corpus.vocabulary.words))
    for part in ("valid", "test"):
        assert np.array_equal(big.corpus.tokens[part], two.corpus.tokens[part])
    assert len(big.val_dataloader()) > 0
    with pytest.raises(ZooError, match="no wiki.train.tokens"):
        big.setup("fit")
    with pytest.raises(ZooError, match="no training set to build a vocabulary"):
        _ = WikiTextData(**held).corpus


def test_plain_and_packed_files_give_the_same_tokens(folder: Path) -> None:
    plain = small(folder)
    tokens = {part: np.array(ids) for part, ids in plain.corpus.tokens.items()}
    counts = Counter(split((folder / "wiki.train.tokens").read_text(encoding="utf-8")))
    assert len(tokens["train"]) == counts.total()
    assert len(plain.corpus.vocabulary) == len(counts)
    for path in list(folder.iterdir()):
        (folder / f"{path.name}.xz").write_bytes(lzma.compress(path.read_bytes()))
        path.unlink()
    packed = small(folder)
    assert packed.corpus.folder != plain.corpus.folder
    assert packed.corpus.sources == plain.corpus.sources
    assert all(np.array_equal(packed.corpus.tokens[part], tokens[part]) for part in tokens)


def test_a_smaller_vocabulary_only_adds_unknown_words(folder: Path) -> None:
    full, few = small(folder).corpus, small(folder, vocabulary=5).corpus
    assert len(few.vocabulary) == 5
    for a, b in zip(full.tokens["train"].tolist(), few.tokens["train"].tolist(), strict=True):
        word = full.vocabulary.words[a]
        assert few.vocabulary.words[b] == (word if word in few.vocabulary.index else "<unk>")


@pytest.mark.parametrize("name", ["train.bin", "vocabulary.txt", "index.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_cache_is_built_again(folder: Path, name: str, damage: str) -> None:
    whole = small(folder).corpus
    tokens, path = np.array(whole.tokens["train"]), whole.folder / name
    content = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:] if damage == "flip" else content[: len(content) // 2])
    again = small(folder).corpus
    assert path.read_bytes() == content
    assert np.array_equal(again.tokens["train"], tokens)
    assert not list(whole.folder.glob(".*.partial"))


def test_a_whole_cache_is_not_written_again(folder: Path) -> None:
    files = small(folder).corpus.folder
    before = {path.name: path.stat().st_mtime_ns for path in files.iterdir()}
    small(folder, seed=5, context=3).prepare_data()
    assert {path.name: path.stat().st_mtime_ns for path in files.iterdir()} == before
    changed = (folder / "wiki.valid.tokens").read_text(encoding="utf-8") + "a\n"
    (folder / "wiki.valid.tokens").write_text(changed, encoding="utf-8")
    assert small(folder).corpus.folder != files


# One-sentence errors.


def test_a_missing_folder_names_folder_data_set_and_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZooError) as error:
        _ = WikiTextData(root=str(tmp_path / "nothing")).corpus
    for part in (str(tmp_path / "nothing"), "Salesforce/wikitext", "datasets.load_dataset(", "$ZOO_DATA/wikitext-2"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    monkeypatch.delenv("ZOO_DATA")
    with pytest.raises(ZooError, match="no folder to read wikitext-2 from.*Salesforce/wikitext"):
        _ = WikiTextData(source="folder").corpus
    with pytest.raises(ZooError, match="holds no wiki"):
        _ = WikiTextData(root=str(tmp_path)).corpus


def test_no_network_names_folder_data_set_and_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: Any) -> None:
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    for source in ("hub", "auto"):
        with pytest.raises(ZooError) as error:
            _ = WikiTextData(source=source).corpus
        for part in (
            "$ZOO_DATA/wikitext-2",
            "Salesforce/wikitext",
            "load_dataset('Salesforce/wikitext', 'wikitext-2-v1')",
        ):
            assert part in str(error.value)


def test_the_hub_gives_what_the_folder_gives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(part: str) -> Any:
        lines = (folder / f"wiki.{part}.tokens").read_text(encoding="utf-8").splitlines(keepends=True)
        # As on the Hub: a line keeps its line feed, an empty one is an empty text.
        return datasets.Dataset.from_dict({"text": ["" if line.isspace() else line for line in lines]})

    loaded = {"train": rows("train"), "validation": rows("valid"), "test": rows("test")}
    monkeypatch.setattr(datasets, "load_dataset", lambda *names: loaded)
    hub, local = small(folder, root=None, source="hub").corpus, small(folder).corpus
    assert hub.vocabulary.words == local.vocabulary.words
    assert all(np.array_equal(hub.tokens[part], local.tokens[part]) for part in ("train", "valid", "test"))


def test_damaged_text_is_named(folder: Path) -> None:
    packed = folder / "wiki.train.tokens.xz"
    packed.write_bytes(lzma.compress((folder / "wiki.train.tokens").read_bytes())[:-20])
    (folder / "wiki.train.tokens").unlink()
    with pytest.raises(ZooError, match=r"wiki.train.tokens.xz is damaged"):
        _ = small(folder).corpus
    (folder / "wiki.train.tokens").write_bytes(b"a \xff\n")
    with pytest.raises(ZooError, match=r"wiki.train.tokens is damaged"):
        _ = small(folder).corpus


@pytest.mark.parametrize("options", [{"name": "ptb"}, {"source": "disk"}, {"context": 0}, {"batch_size": 0}])
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ZooError):
        WikiTextData(**options)


# Windows.


def test_batches_are_a_pure_function_of_seed_rank_and_step(folder: Path) -> None:
    whole = small(folder).batches(0, 0, 90, 0, 1)
    backwards = small(folder)
    for step in reversed(range(0, 90, 9)):
        part = backwards.batches(0, step, step + 9, 0, 1)
        assert all(torch.equal(part[name], whole[name][step : step + 9]) for name in whole)
    assert not torch.equal(small(folder, seed=1).batches(0, 0, 90, 0, 1)["tokens"], whole["tokens"])
    assert not torch.equal(small(folder).batches(1, 0, 90, 0, 1)["tokens"], whole["tokens"])


@pytest.fixture
def counted(folder: Path) -> WikiTextData:
    """A stream of 100 distinct tokens, so that a token tells its place."""
    data = small(folder, context=7, batch_size=2)
    data.corpus.tokens["train"] = np.arange(100, dtype=np.int32)
    return data


def test_an_epoch_reads_every_token_once(counted: WikiTextData) -> None:
    # 14 windows of 7 tokens, 7 steps of 2 windows; 2 tokens of 100 are left out, others in each epoch
    left = []
    for epoch in range(4):
        batch = counted.batches(0, 7 * epoch, 7 * epoch + 7, 0, 1)
        seen = batch["tokens"].flatten().tolist()
        assert len(set(seen)) == len(seen) == 98
        assert torch.equal(batch["targets"], (batch["tokens"] + 1) % 100)
        left.append(frozenset(range(100)) - set(seen))
    assert len(set(left)) > 1


def test_ranks_share_an_epoch_and_see_different_tokens(counted: WikiTextData) -> None:
    # two ranks take 7 steps where one process takes 14, that is two epochs
    ranks = [counted.batches(0, 0, 7, rank, 2)["tokens"] for rank in range(2)]
    alone = counted.batches(0, 0, 14, 0, 1)["tokens"]
    assert torch.equal(torch.stack(ranks, 1).flatten(0, 1), alone)
    first = [set(rank.flatten(1)[:3].flatten().tolist()) for rank in ranks]
    assert not first[0] & first[1]


def test_an_epoch_is_one_pass_by_default(folder: Path) -> None:
    data = small(folder)
    data.setup("fit")
    assert data.steps_per_epoch == len(data.corpus.tokens["train"]) // 7 // 3
    assert small(folder, steps_per_epoch=11).steps_per_epoch == 11
    with pytest.raises(ZooError, match="fewer than one window"):
        small(folder, context=10_000).batches(0, 0, 1, 0, 1)


@pytest.mark.parametrize(("tokens", "context", "size"), [(100, 7, 3), (99, 7, 4), (8, 7, 3), (2, 5, 1), (15, 7, 2)])
def test_validation_predicts_every_token_once(tokens: int, context: int, size: int) -> None:
    stream = np.arange(tokens, dtype=np.uint16)
    batches = every_token_once(stream, context, size)
    targets = torch.cat([batch["targets"].flatten() for batch in batches])
    inputs = torch.cat([batch["tokens"].flatten() for batch in batches])
    known = targets >= 0
    assert targets[known].tolist() == list(range(1, tokens))
    assert torch.equal(targets[known], inputs[known] + 1)


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_the_mean_over_held_out_batches_is_the_mean_over_tokens(world: int) -> None:
    batches = every_token_once(np.arange(100, dtype=np.int32), 7, 3)
    means = []
    for rank in range(world):
        held = Held(batches, rank, world)
        sums = [(batch["targets"].clamp_min(0) ** 2).sum() * batch["weight"] for batch in held]
        means.append(torch.stack(sums).mean())
    assert torch.stack(means).mean().item() == pytest.approx(np.mean(np.arange(1, 100) ** 2))


def test_validation_is_the_same_for_every_seed(folder: Path) -> None:
    one, two = small(folder).val_dataloader(), small(folder, seed=3).val_dataloader()
    assert len(one) == len(two) > 1
    assert all(torch.equal(a["tokens"], b["tokens"]) for a, b in zip(one, two, strict=True))
    assert len(small(folder).test_dataloader()) > 0


# Markov text.


@pytest.mark.parametrize("order", [1, 2])
def test_markov_text_has_zipfs_law_and_the_stated_entropies(order: int) -> None:
    law = ZipfMarkov.random(12, order, 1.2, 2, generator("test", order))
    joint = torch.zeros(12, 12, dtype=torch.float64)
    joint[law.pairs.state, law.pairs.target] = law.unigram[law.pairs.state] * law.pairs.probability
    for side in (0, 1):  # both margins are Zipf's law, so the chain is stationary
        assert torch.allclose(joint.sum(side), zipf(12, 1.2), atol=1e-12)
    bigram = -(torch.special.xlogy(joint, joint)).sum() + torch.special.xlogy(law.unigram, law.unigram).sum()
    assert law.pairs.entropy(law.unigram) == pytest.approx(bigram.item())
    if order == 1:
        assert law.entropy_rate == pytest.approx(bigram.item())
        return
    assert law.triples is not None
    triple = torch.zeros(12, 12, 12, dtype=torch.float64)
    first, second = law.triples.state, law.triples.target
    assert torch.equal(law.pairs.target[first], law.pairs.state[second])
    mass = (law.unigram[law.pairs.state] * law.pairs.probability)[first] * law.triples.probability
    triple.index_put_(
        (law.pairs.state[first], law.pairs.state[second], law.pairs.target[second]), mass, accumulate=True
    )
    assert torch.allclose(triple.sum(0), joint, atol=1e-12)  # pairs have the same law a step later
    assert torch.allclose(triple.sum(2), joint, atol=1e-12)
    rate = torch.special.xlogy(joint, joint).sum() - torch.special.xlogy(triple, triple).sum()
    assert law.entropy_rate == pytest.approx(rate.item())
    assert law.entropy_rate < law.floor(5) < law.pairs.entropy(law.unigram) < law.unigram_entropy


@pytest.mark.parametrize("order", [1, 2])
def test_sampled_text_follows_the_law(order: int) -> None:
    law = ZipfMarkov.random(30, order, 1.0, 3, generator("test", order))
    text, surprise = law.sample(4000, 9, generator("sample"))
    counts = torch.bincount(text.flatten(), minlength=30) / text.numel()
    assert torch.allclose(counts.double(), law.unigram, atol=0.01)
    assert surprise.mean().item() == pytest.approx(law.floor(8), abs=0.02)
    assert torch.isfinite(surprise).all()
    again = ZipfMarkov.from_tensors(
        {name: leaf.float() for name, leaf in law.tensors().items() if leaf.is_floating_point()}
        | {name: leaf for name, leaf in law.tensors().items() if not leaf.is_floating_point()}
    )
    assert again.order == order
    assert again.entropy_rate == pytest.approx(law.entropy_rate, rel=1e-6)


def test_couplings_keep_both_margins() -> None:
    key = generator("couple")
    a, b = torch.rand(7, generator=key).double(), torch.rand(5, generator=key).double()
    a, b = a / a.sum(), b / b.sum()
    i, j, mass = couple(a, b, torch.randperm(7, generator=key), torch.randperm(5, generator=key))
    assert len(mass) == 12
    assert torch.allclose(torch.zeros(7).double().index_add(0, i, mass), a)
    assert torch.allclose(torch.zeros(5).double().index_add(0, j, mass), b)


def test_markov_data_are_pure_and_validation_is_fixed() -> None:
    def data(**options: Any) -> MarkovTextData:
        return MarkovTextData(vocabulary=50, context=5, batch_size=4, validation=3, **options)

    batch = data().batches(0, 0, 100, 0, 1)
    assert {name: leaf.shape for name, leaf in batch.items()} == dict.fromkeys(
        ("tokens", "targets", "surprise"), torch.Size([100, 4, 5])
    )
    assert torch.equal(batch["tokens"][..., 1:], batch["targets"][..., :-1])
    assert torch.equal(data().batches(0, 70, 90, 0, 1)["tokens"], batch["tokens"][70:90])
    assert not torch.equal(data().batches(0, 0, 100, 1, 2)["tokens"], batch["tokens"])
    one, two = data().val_dataloader(), data(steps_per_epoch=7).val_dataloader()
    assert all(torch.equal(a["tokens"], b["tokens"]) for a, b in zip(one, two, strict=True))
    references = data(order=2).references()
    assert references["floor"] < references["bigram"] < references["unigram"] < math.log(50)
    with pytest.raises(ZooError, match="order"):
        data(order=3)


# n-gram models, against counting by hand.

STREAM = np.random.default_rng(0).choice(6, 200, p=[0.4, 0.25, 0.15, 0.1, 0.06, 0.04]).astype(np.uint16)
BOUNDARY = 5


def by_hand(order: int) -> Counter[tuple[int, ...]]:
    padded = [BOUNDARY] * max(order - 2, 0) + STREAM.tolist()
    start = 1 if order == 1 else 0
    return Counter(tuple(padded[i : i + order]) for i in range(start, len(padded) - order + 1))


def every(order: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    found = np.array(list(itertools.product(range(6), repeat=order)))
    return found[:, :-1], found[:, -1]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_add_k_counts_as_by_hand(order: int) -> None:
    counts = by_hand(order)
    assert counts.total() == len(STREAM) - 1
    history, word = every(order)
    p = ngrams.AddK(STREAM, 6, order, BOUNDARY, 0.3).probability(history, word)
    past = Counter[tuple[int, ...]]()
    for gram, count in counts.items():
        past[gram[:-1]] += count
    expected = [
        (counts[(*h, w)] + 0.3) / (past[tuple(h)] + 0.3 * 6)
        for h, w in zip(history.tolist(), word.tolist(), strict=True)
    ]
    assert p == pytest.approx(np.array(expected))
    assert p.reshape(-1, 6).sum(1) == pytest.approx(1)


def kneser_ney(trigrams: Counter[tuple[int, ...]]) -> Any:
    """Chen & Goodman's recursion, written out over dictionaries."""
    bigrams = Counter(gram[1:] for gram in trigrams)
    levels = {3: trigrams, 2: bigrams, 1: Counter(gram[1:] for gram in bigrams)}
    cuts = {order: ngrams.discounts(np.array(list(level.values()), float)) for order, level in levels.items()}

    def p(history: tuple[int, ...], word: int) -> float:
        order = len(history) + 1
        lower = p(history[1:], word) if history else 1 / 6
        here = {gram[-1]: count for gram, count in levels[order].items() if gram[:-1] == history}
        if not here:
            return lower
        cut = cuts[order]
        total, taken = sum(here.values()), sum(cut[min(count, 3)] for count in here.values())
        count = here.get(word, 0)
        return (count - cut[min(count, 3)]) / total + taken / total * lower

    return p


def test_kneser_ney_is_the_recursion_and_sums_to_one() -> None:
    model = ngrams.KneserNey(STREAM, 6, BOUNDARY)
    history, word = every(3)
    p = model.probability(history, word)
    slow = kneser_ney(by_hand(3))
    assert p == pytest.approx(
        np.array([slow(tuple(h), w) for h, w in zip(history.tolist(), word.tolist(), strict=True)])
    )
    assert p.reshape(-1, 6).sum(1) == pytest.approx(1)
    assert (p > 0).all()


def test_kneser_ney_gives_words_never_seen_a_probability() -> None:
    model = ngrams.KneserNey(STREAM[:20], 50, BOUNDARY)
    word = np.arange(50)
    for history in ([0, 0], [49, 49], [0, 49]):
        p = model.probability(np.tile(history, (50, 1)), word)
        assert p.sum() == pytest.approx(1)
        assert (p > 0).all()


def test_discounts_of_chen_and_goodman() -> None:
    counts = np.repeat([1.0, 2.0, 3.0, 4.0], [40, 20, 10, 5])
    y = 40 / (40 + 2 * 20)
    assert ngrams.discounts(counts) == pytest.approx([0, 1 - 2 * y * 20 / 40, 2 - 3 * y * 10 / 20, 3 - 4 * y * 5 / 10])
    assert ngrams.discounts(np.ones(3)).tolist() == [0, 0.75, 0.75, 0.75]


def test_losses_are_over_every_token_but_the_first() -> None:
    model = ngrams.AddK(STREAM, 6, 3, BOUNDARY, 1.0)
    history = [BOUNDARY, *STREAM.tolist()]
    total = sum(
        -math.log(model.probability(np.array([history[i : i + 2]]), np.array([history[i + 2]]))[0])
        for i in range(len(STREAM) - 1)
    )
    assert ngrams.loss(model, STREAM, BOUNDARY) == pytest.approx(total / (len(STREAM) - 1))


def test_keys_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="64-bit"):
        ngrams.keys(np.zeros((1, 3), np.int64), 3_000_000)


@real
def test_references_on_wikitext_2_are_kept_in_the_cache(cache: str) -> None:
    data = WikiTextData(vocabulary=10_000, cache=cache)
    found = {name: math.exp(value) for name, value in data.references().items()}
    assert found == pytest.approx({"unigram": 476.1, "bigram": 187.4, "trigram": 697.8, "kneser_ney": 124.8}, rel=1e-3)
    assert (data.corpus.folder / "references.json").is_file()
    (data.corpus.folder / "references.json").write_text("{")
    assert data.references()["kneser_ney"] == pytest.approx(math.log(found["kneser_ney"]))


# Laws of contexts.


def test_context_laws_are_the_counts_of_the_text(folder: Path) -> None:
    cached = str(folder.parent / "cache")
    data = ContextLawsData(root=str(folder), cache=cached, vocabulary=6, contexts=8, smoothing=2.0)
    data.prepare_data()
    task = data.task(0)
    words = Vocabulary.from_tensor(task["words"])
    stream = words.encode((folder / "wiki.train.tokens").read_text(encoding="utf-8")).tolist()
    triples = [t for t in zip(stream, stream[1:], stream[2:], strict=False) if words.unknown not in t[:2]]
    pairs = Counter(t[:2] for t in triples)
    chosen = sorted(pairs, key=lambda pair: (-pairs[pair], pair))[:8]
    assert [tuple(pair) for pair in task["contexts"].tolist()] == chosen
    counts = Counter(triples)
    assert task["counts"].tolist() == [[counts[(*pair, w)] for w in range(6)] for pair in chosen]
    assert task["unigram"].tolist() == [stream.count(w) for w in range(6)]
    assert data.stacked([0, 1], 0, 5, 0, 1) == {}
    assert data.provenance()["contexts"] == 8
    with pytest.raises(ZooError, match="contexts of two"):
        _ = ContextLawsData(root=str(folder), cache=cached, vocabulary=6, contexts=1000).counted


def test_data_without_a_trainer_belong_to_one_process(folder: Path) -> None:
    data = small(folder)
    alone = len(data.val_dataloader())
    data.trainer = SimpleNamespace(global_rank=1, world_size=2)  # type: ignore[assignment]
    assert len(data.val_dataloader()) == (alone + 1) // 2
