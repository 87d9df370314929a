"""Images in memory: readers on files written here, batches as a pure function, and the real sets where they are."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import image_files
from datamodules.image_files import CIFAR_CLASSES, JPEG, read
from datamodules.images import ImageData
from zoo.registry import ZooError

HOME = Path(os.environ["ZOO_DATA"])


def write_idx(path: Path, values: np.ndarray) -> None:
    content = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes() + values.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_mnist(folder: Path, train: int = 50, test: int = 12, suffix: str = "") -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    written = {}
    for split, count in (("train", train), ("t10k", test)):
        written[f"{split} images"] = draw.integers(0, 256, (count, 4, 3), dtype=np.uint8)
        written[f"{split} labels"] = draw.integers(0, 10, count, dtype=np.uint8)
        write_idx(folder / f"{split}-images-idx3-ubyte{suffix}", written[f"{split} images"])
        write_idx(folder / f"{split}-labels-idx1-ubyte{suffix}", written[f"{split} labels"])
    return written


def write_cifar(folder: Path, each: int = 2) -> None:
    draw = np.random.default_rng(0)
    with tarfile.open(folder / JPEG, "w:xz") as tar:
        for split in ("train", "test"):
            for name in CIFAR_CLASSES:
                for i in range(each):
                    content = io.BytesIO()
                    image = np.full((32, 32, 3), draw.integers(0, 256, 3), dtype=np.uint8)
                    Image.fromarray(image).save(content, "JPEG", quality=95)
                    info = tarfile.TarInfo(f"{split}/{name}/{i:04d}.jpg")
                    info.size = content.tell()
                    content.seek(0)
                    tar.addfile(info, content)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "inside"), [("mnist", ""), ("mnist", "MNIST/raw"), ("fashion-mnist", "FashionMNIST/raw")]
)
def test_idx_files_are_read_plain_packed_and_as_torchvision_leaves_them(tmp_path, name, inside, suffix):
    written = write_mnist(tmp_path / inside, suffix=suffix)
    split = read(name, "train", tmp_path)
    assert split.images.shape == (50, 1, 4, 3) and split.images.dtype == torch.uint8
    assert np.array_equal(split.images[:, 0].numpy(), written["train images"])
    assert split.labels.tolist() == written["train labels"].tolist()
    plain = read(name, "test", tmp_path)
    assert len(plain.labels) == 12
    assert len(split.hashes) == 4 and len(split.hashes["train-images-idx3-ubyte sha256"]) == 64


def test_hashes_are_of_the_unpacked_files(tmp_path):
    write_mnist(tmp_path / "a"), write_mnist(tmp_path / "b", suffix=".gz")
    assert read("mnist", "train", tmp_path / "a").hashes == read("mnist", "train", tmp_path / "b").hashes


def test_jpeg_is_unpacked_once(tmp_path, monkeypatch):
    write_cifar(tmp_path)
    split = read("cifar-10", "train", tmp_path, tmp_path / "cache")
    assert split.images.shape == (20, 3, 32, 32) and split.labels.bincount().tolist() == [2] * 10
    monkeypatch.setattr(image_files, "unpack_jpeg", None)
    again = read("cifar-10", "train", tmp_path, tmp_path / "cache")
    assert torch.equal(again.images, split.images) and again.hashes == split.hashes
    data = ImageData(root=str(tmp_path), name="cifar-10", batch_size=5, cache=str(tmp_path / "cache"))
    assert data.provenance()["name"] == "cifar-10 (JPEG copy)"


def test_the_usual_folders_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    write_mnist(tmp_path / "mnist")
    (tmp_path / "cifar-10-jpeg").mkdir()
    write_cifar(tmp_path / "cifar-10-jpeg")
    assert len(ImageData().train.labels) == 50
    assert len(ImageData(name="cifar-10", cache=str(tmp_path / "cache")).test.labels) == 20
    monkeypatch.setattr(image_files, "SYSTEM", tmp_path / "share")
    with pytest.raises(ZooError, match="fashion-mnist is not a folder.*apt install dataset-fashion-mnist"):
        read("fashion-mnist", "test")
    write_mnist(tmp_path / "share")
    assert len(read("fashion-mnist", "test").labels) == 12


def test_absent_and_damaged_data_get_one_sentence(tmp_path, monkeypatch):
    monkeypatch.delenv("ZOO_DATA")
    with pytest.raises(ZooError, match=r"no folder to read mnist from: .*\$ZOO_DATA/mnist.*torchvision"):
        read("mnist", "train")
    with pytest.raises(ZooError, match="nowhere is not a folder"):
        ImageData(root=str(tmp_path / "nowhere")).task(0)
    with pytest.raises(ZooError, match="no train-images-idx3-ubyte in"):
        read("mnist", "train", tmp_path)
    with pytest.raises(ZooError, match="neither cifar-10-jpeg.tar.xz nor cifar-10-batches-py"):
        read("cifar-10", "train", tmp_path)
    write_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ZooError, match="not a whole IDX file"):
        read("mnist", "train", tmp_path)
    path.unlink()
    (tmp_path / f"{path.name}.gz").write_bytes(b"no gzip")
    with pytest.raises(ZooError, match="cannot be unpacked"):
        read("mnist", "train", tmp_path)
    (tmp_path / JPEG).write_bytes(b"no tar")
    with pytest.raises(ZooError, match="cannot be read"):
        read("cifar-10", "train", tmp_path, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("**/*.npz"))
    write_mnist(tmp_path, train=3)
    with pytest.raises(ZooError, match="fewer than one batch"):
        ImageData(root=str(tmp_path), batch_size=4).batches(0, 0, 1, 0, 1)
    with pytest.raises(ZooError, match="name must be one of"):
        ImageData(name="imagenet")


@pytest.fixture
def data(tmp_path) -> ImageData:
    write_mnist(tmp_path)
    return ImageData(root=str(tmp_path), batch_size=4, seed=3)


def test_an_epoch_sees_every_image_once(data):
    whole = {bytes(image.numpy().tobytes()) for image in data.train.images}
    for epoch in (0, 1, 5):
        batch = data.batches(0, 12 * epoch, 12 * epoch + 12, 0, 1)
        seen = [image.numpy().tobytes() for image in batch["images"].flatten(0, 1)]
        assert len(set(seen)) == 48 and set(seen) <= whole
    first, second = (data.batches(0, 12 * e, 12 * e + 12, 0, 1)["targets"] for e in (0, 1))
    assert not torch.equal(first, second)


def test_batches_are_a_pure_function_of_the_step(data, tmp_path):
    every = data.batches(0, 0, 40, 0, 1)
    fresh = ImageData(root=str(tmp_path), batch_size=4, seed=3)
    for start, stop in ((25, 40), (7, 9), (11, 30), (0, 1)):
        piece = fresh.batches(0, start, stop, 0, 1)
        for name, leaf in piece.items():
            assert torch.equal(leaf, every[name][start:stop])
    other = ImageData(root=str(tmp_path), batch_size=4, seed=4).batches(0, 0, 12, 0, 1)
    assert not torch.equal(other["targets"], every["targets"][:12])


def test_ranks_share_an_epoch(data):
    ranks = [data.batches(0, 0, 6, rank, 2)["images"] for rank in (0, 1)]
    seen = [image.numpy().tobytes() for images in ranks for image in images.flatten(0, 1)]
    assert len(set(seen)) == 48


def test_replicas_see_the_same_batches_without_a_copy(data):
    stacked = data.stacked([0, 1, 2], 0, 5, 0, 1)
    assert stacked["images"].shape == (5, 3, 4, 1, 4, 3) and stacked["images"].stride(1) == 0
    assert torch.equal(stacked["targets"][:, 2], data.batches(0, 0, 5, 0, 1)["targets"])


def test_validation_weights_make_a_mean_over_images(data):
    held = data.val_dataloader()
    total = sum(float((batch["targets"] >= 3).sum() * batch["weight"]) for batch in held) / len(held)
    assert abs(total - (data.test.labels >= 3).double().mean()) < 1e-12


def test_samples_are_the_same_in_every_run(tmp_path):
    write_mnist(tmp_path)
    some = [ImageData(root=str(tmp_path), batch_size=4, samples=20, seed=seed).train for seed in (0, 1)]
    assert len(some[0].labels) == 20 and torch.equal(some[0].images, some[1].images)


@pytest.mark.skipif(not (HOME / "mnist").is_dir(), reason="no MNIST in $ZOO_DATA")
def test_the_real_mnist_is_the_official_one():
    train, test = read("mnist", "train"), read("mnist", "test")
    assert train.images.shape == (60_000, 1, 28, 28) and test.images.shape == (10_000, 1, 28, 28)
    # md5 of the official files, unpacked
    assert train.hashes["train-images-idx3-ubyte md5"] == "6bbc9ace898e44ae57da46a324031adb"
    assert train.hashes["train-labels-idx1-ubyte md5"] == "a25bea736e30d166cdddb491f175f624"
    assert test.hashes["t10k-images-idx3-ubyte md5"] == "2646ac647ad5339dbf082846283269ea"
    assert test.hashes["t10k-labels-idx1-ubyte md5"] == "27ae3e4e09519cfbb04c329615203637"
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
