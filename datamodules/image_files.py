"""Readers of MNIST, Fashion-MNIST and CIFAR-10 from a folder that the user has. Needs neither Lightning nor a network.

Shapes: n images, (c, y, x) one image.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.corpus import default_cache
from zoo.files import sha256, write_beside
from zoo.registry import ZooError

SPLITS = {"train": "train", "test": "t10k"}  # ours -> the name in IDX files
TORCHVISION = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
LICENCES = {
    "mnist": "CC BY-SA 3.0",
    "fashion-mnist": "MIT",
    "cifar-10": "none stated; cite Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009)",
}
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
JPEG = "cifar-10-jpeg.tar.xz"
SYSTEM = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package dataset-fashion-mnist puts its files


@dataclass(frozen=True)
class Split:
    """images (n, c, y, x) uint8, labels (n,) int64, and hashes of where they come from, by file."""

    images: Tensor
    labels: Tensor
    hashes: dict[str, str]


def read(name: str, split: str, root: Path | None = None, cache: Path | None = None) -> Split:
    """A split ("train" or "test") of a data set from `root`, or from `$ZOO_DATA/<name>`.

    CIFAR-10 is also looked for in `$ZOO_DATA/cifar-10-jpeg`, Fashion-MNIST where Debian's package of it is installed.

    Raises:
        ZooError: the data are not there, or damaged: one sentence.
    """
    home = os.environ.get("ZOO_DATA")
    if root is None:
        usual = [Path(home) / name] if home else []
        if home and name == "cifar-10":
            usual.append(Path(home) / "cifar-10-jpeg")
        if name == "fashion-mnist" and SYSTEM.is_dir():
            usual.append(SYSTEM)
        root = next((folder for folder in usual if folder.is_dir()), usual[0] if usual else None)
    if root is None or not root.is_dir():
        missing = f"{root} is not a folder" if root is not None else f"There is no folder to read {name} from"
        raise ZooError(f"{missing}: {hint(name)}.")
    return read_cifar(root, split, cache or default_cache()) if name == "cifar-10" else read_mnist(root, name, split)


def read_idx(path: Path, dimensions: int) -> tuple[Tensor, dict[str, str]]:
    """The array of an IDX file of bytes, plain or packed (`.gz`), and md5 and sha256 of the unpacked file.

    Raises:
        ZooError: it is not an IDX file of bytes with that many dimensions, or it is cut short.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise ZooError(f"{path} cannot be unpacked ({error}): fetch it again.") from None
    start = 4 + 4 * dimensions
    shape = np.frombuffer(content, ">i4", dimensions, 4).tolist() if len(content) >= start else []
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) != start + int(np.prod(shape)):
        raise ZooError(f"{path} is not a whole IDX file of bytes with {dimensions} dimensions: fetch it again.")
    values = torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).reshape(shape)
    name = path.name.removesuffix(".gz")
    hashes = {f"{name} {kind}": hashlib.new(kind, content).hexdigest() for kind in ("md5", "sha256")}
    return values, hashes


def read_mnist(root: Path, name: str, split: str) -> Split:
    """A split of MNIST or Fashion-MNIST from its IDX files in `root`, or in torchvision's `root/MNIST/raw`.

    Raises:
        ZooError: a file is missing or damaged.
    """
    found: list[Tensor] = []
    hashes: dict[str, str] = {}
    for kind, dimensions in (("images-idx3", 3), ("labels-idx1", 1)):
        stem = f"{SPLITS[split]}-{kind}-ubyte"
        folders = (root, root / TORCHVISION[name] / "raw")
        paths = [folder / f"{stem}{suffix}" for folder in folders for suffix in ("", ".gz")]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise ZooError(f"There is no {stem} in {root}: {hint(name)}.")
        values, own = read_idx(path, dimensions)
        found.append(values)
        hashes |= own
    images, labels = found
    if len(images) != len(labels):
        raise ZooError(f"{root} has {len(images)} {split} images but {len(labels)} labels: fetch both again.")
    return Split(images.unsqueeze(1), labels.long(), hashes)


def read_cifar(root: Path, split: str, cache: Path) -> Split:
    """A split of CIFAR-10: `cifar-10-jpeg.tar.xz` in `root` (unpacked once into the cache), or torchvision's
    `cifar-10-batches-py`, which torchvision reads after checking its md5.

    Raises:
        ZooError: neither is there, or the tar is damaged.
    """
    packed = root / JPEG
    if packed.is_file():
        digest = sha256(packed)
        folder = cache / f"cifar-10-jpeg-{digest[:16]}"
        paths = {one: folder / f"{one}.npz" for one in ("train", "test")}
        if not all(path.is_file() for path in paths.values()):
            for one, arrays in unpack_jpeg(packed).items():
                with write_beside(paths[one]) as beside, beside.open("wb") as file:
                    np.savez(file, images=arrays["images"], labels=arrays["labels"])
        with np.load(paths[split], allow_pickle=False) as arrays:
            images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])
        return Split(images.permute(0, 3, 1, 2).contiguous(), labels.long(), {f"{JPEG} sha256": digest})
    if (root / "cifar-10-batches-py").is_dir():
        from torchvision.datasets import CIFAR10

        try:
            whole = CIFAR10(str(root), train=split == "train", download=False)
        except RuntimeError:
            raise ZooError(f"{root}/cifar-10-batches-py is damaged: {hint('cifar-10')}.") from None
        images = torch.from_numpy(whole.data).permute(0, 3, 1, 2).contiguous()
        files = CIFAR10.train_list if split == "train" else CIFAR10.test_list
        return Split(images, torch.tensor(whole.targets), {f"{name} md5": md5 for name, md5 in files})
    raise ZooError(f"There is neither {JPEG} nor cifar-10-batches-py in {root}: {hint('cifar-10')}.")


def unpack_jpeg(path: Path) -> dict[str, dict[str, np.ndarray[Any, Any]]]:
    """Images (n, 32, 32, 3) and labels (n,) of both splits from a tar of split/class/NNNN.jpg, in the tar's order.

    Raises:
        ZooError: it cannot be read, or holds no images of a split.
    """
    from PIL import Image

    images: dict[str, list[Any]] = {"train": [], "test": []}
    labels: dict[str, list[int]] = {"train": [], "test": []}
    try:
        with tarfile.open(path, "r|xz") as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isfile() else None
                if file is not None and member.name.endswith(".jpg"):
                    split, kind, _ = member.name.split("/")[-3:]
                    images[split].append(np.asarray(Image.open(io.BytesIO(file.read()))))
                    labels[split].append(CIFAR_CLASSES.index(kind))
    except (tarfile.TarError, OSError, EOFError, ValueError, KeyError) as error:
        raise ZooError(f"{path} cannot be read ({type(error).__name__}): fetch it again.") from None
    if not all(images.values()):
        raise ZooError(f"{path} does not hold train/CLASS/*.jpg and test/CLASS/*.jpg.")
    return {
        split: {"images": np.stack(images[split]), "labels": np.array(labels[split], dtype=np.uint8)}
        for split in images
    }


def hint(name: str) -> str:
    """What to do when the data are not there."""
    if name == "cifar-10":
        command = "torchvision.datasets.CIFAR10('FOLDER', download=True)"
    else:
        command = f"torchvision.datasets.{TORCHVISION[name]}('FOLDER', download=True)"
    package = "`apt install dataset-fashion-mnist` or " if name == "fashion-mnist" else ""
    return (
        f"give the folder as --data.root or put it at $ZOO_DATA/{name}; with a network "
        f'{package}`python -c "import torchvision; {command}"` fetches it once'
    )
