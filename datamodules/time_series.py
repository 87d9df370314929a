"""Time series: simulated spirals, and readers of spoken digits, pen digits and four UEA sets. Needs neither Lightning nor a network.

Shapes: n series, (t, c) one series of t points and c channels.
"""

from __future__ import annotations

import functools
import io
import math
import os
import tarfile
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.files import sha256
from zoo.registry import ZooError

UEA = {"racket_sports": "RacketSports", "ering": "ERing", "epilepsy": "Epilepsy", "libras": "Libras"}
FILES = {"fsdd": ("recordings.tar.xz",), "pendigits": ("pendigits.tra", "pendigits.tes")}
FILES |= {name: (f"{file}.npz",) for name, file in UEA.items()}
FOLDERS = {"fsdd": "fsdd", "pendigits": "uci/pendigits"} | dict.fromkeys(UEA, "uea")
LICENCES = {
    "fsdd": "CC BY-SA 4.0; Free Spoken Digit Dataset",
    "pendigits": "CC BY 4.0; UCI, Pen-Based Recognition of Handwritten Digits",
} | dict.fromkeys(
    UEA, "none stated; cite Bagnall et al., The UEA multivariate time series classification archive (2018)"
)
SETS = tuple(FILES)


def spirals(
    n: int, generator: torch.Generator, length: int = 100, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """n noiseless spirals in the plane, half of them mirrored (label 1), in random order: (n, t, 2), (n,).

    x = s cos(start + speed t)/(1 + width t), y = sin(start + speed t)/(1 + width t), t from 0 to 4 pi; start uniform on
    [0, 2 pi], width and speed on [0, 1]. As in the code of Fermanian, Marion, Vert, Biau (NeurIPS 2021).
    """
    t = torch.linspace(0, 4 * math.pi, length, dtype=dtype)
    start, width, speed = torch.rand(3, n, 1, generator=generator, dtype=dtype)
    labels = (torch.arange(n) < n // 2).long()
    angle, radius = 2 * math.pi * start + speed * t, 1 / (1 + width * t)
    x = (1 - 2 * labels[:, None]) * angle.cos() * radius
    order = torch.randperm(n, generator=generator)
    return torch.stack([x, angle.sin() * radius], dim=-1)[order], labels[order]


@dataclass(frozen=True)
class Split:
    """Series (n, t, c) float32 as they are, labels (n,) int64."""

    series: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Corpus:
    """Both official splits of a set, and the hashes of its files. `classes`: how many labels there are."""

    train: Split
    test: Split
    classes: int
    hashes: dict[str, str]

    def standardised(self) -> Corpus:
        """Every channel shifted and scaled to mean 0 and variance 1 over the training series."""
        mean, std = self.train.series.mean((0, 1)), self.train.series.std((0, 1)).clamp(min=1e-6)
        train, test = (Split((one.series - mean) / std, one.labels) for one in (self.train, self.test))
        return Corpus(train, test, self.classes, self.hashes)


def read(name: str, root: Path | None = None) -> Corpus:
    """A set from the folder `root`, or from `$ZOO_DATA/fsdd`, `$ZOO_DATA/uci/pendigits` or `$ZOO_DATA/uea`.

    Raises:
        ZooError: an unknown name; the files are not there, or damaged: one sentence.
    """
    if name not in SETS:
        raise ZooError(f"name must be one of {', '.join(SETS)}, got {name!r}.")
    home = os.environ.get("ZOO_DATA")
    if root is None and home:
        root = Path(home) / FOLDERS[name]
    paths = [root / file for file in FILES[name]] if root is not None else []
    missing = [path for path in paths if not path.is_file()]
    if missing or not paths:
        says = f"There is no {missing[0]}" if missing else f"There is no folder to read {name} from"
        raise ZooError(f"{says}: {hint(name)}.")
    return _read(name, tuple(paths), tuple(sha256(path) for path in paths))


@functools.lru_cache(maxsize=2)
def _read(name: str, paths: tuple[Path, ...], digests: tuple[str, ...]) -> Corpus:
    try:
        if name == "fsdd":
            train, test = read_digits(paths[0])
        elif name == "pendigits":
            train, test = (read_pens(path) for path in paths)
        else:
            train, test = read_uea(paths[0])
    except (OSError, EOFError, ValueError, KeyError, tarfile.TarError, wave.Error) as error:
        raise ZooError(f"{paths[0].parent} cannot be read ({type(error).__name__}): fetch {name} again.") from None
    hashes = {f"{path.name} sha256": digest for path, digest in zip(paths, digests, strict=True)}
    return Corpus(train, test, int(train.labels.max()) + 1, hashes)


def read_pens(path: Path) -> Split:
    """UCI's lines of eight points in the plane and a digit; coordinates over 100."""
    table = torch.from_numpy(np.loadtxt(path, delimiter=",", dtype=np.float32, ndmin=2))
    return Split(table[:, :16].unflatten(1, (8, 2)) / 100, table[:, 16].long())


def read_uea(path: Path) -> tuple[Split, Split]:
    """A NumPy file with x (n, t, c), y (n,) from 0, and n_train, the first series being the official training set."""
    with np.load(path, allow_pickle=False) as arrays:
        x, y = torch.from_numpy(arrays["x"]).float(), torch.from_numpy(arrays["y"]).long()
        n = int(arrays["n_train"])
    return Split(x[:n], y[:n]), Split(x[n:], y[n:])


# Sound.

FRAMES, BANDS = 32, 12


def read_digits(path: Path) -> tuple[Split, Split]:
    """Recordings DIGIT_SPEAKER_INDEX.wav as log-mel frames; INDEX 0 to 4 is the official test set."""
    found: dict[bool, list[tuple[Tensor, int]]] = {True: [], False: []}
    with tarfile.open(path, "r|xz") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file is None or not member.name.endswith(".wav"):
                continue
            digit, _, index = Path(member.name).stem.split("_")
            with wave.open(io.BytesIO(file.read())) as sound:
                samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(np.float32) / 32768
                features = log_mel(torch.from_numpy(samples), sound.getframerate())
            found[int(index) > 4].append((features, int(digit)))
    train, test = (
        Split(torch.stack([x for x, _ in found[part]]), torch.tensor([y for _, y in found[part]]))
        for part in (True, False)
    )
    return train, test


def log_mel(samples: Tensor, rate: int, frames: int = FRAMES, bands: int = BANDS) -> Tensor:
    """Logarithm of the energy in triangular mel bands, at `frames` times spread evenly over the recording: (frames, bands).

    samples (n,): sound, at `rate` a second. Hann windows of 32 ms every 8 ms; bands from 60 Hz to half the rate; frames are
    interpolated linearly, so that recordings of every length have the same number.
    """
    window, hop = round(0.032 * rate), round(0.008 * rate)
    samples = torch.nn.functional.pad(samples, (0, max(0, window + hop - len(samples))))
    power = (
        torch.stft(samples, window, hop, window=torch.hann_window(window), center=False, return_complex=True)
        .abs()
        .square()
    )  # (window/2 + 1, times)
    energy = (mel_bands(rate, window, bands) @ power + 1e-6).log()
    return torch.nn.functional.interpolate(energy[None], size=frames, mode="linear", align_corners=True)[
        0
    ].T.contiguous()


@functools.cache
def mel_bands(rate: int, window: int, bands: int) -> Tensor:
    """Triangles on the frequencies of a transform of `window` samples, evenly spaced in mel = 2595 log10(1 + f/700)."""
    low, high = (2595 * math.log10(1 + f / 700) for f in (60, rate / 2))
    corners = 700 * (10 ** (torch.linspace(low, high, bands + 2) / 2595) - 1)
    f = torch.arange(window // 2 + 1) * rate / window
    left, middle, right = (corners[i : i + bands, None] for i in range(3))
    return torch.minimum((f - left) / (middle - left), (right - f) / (right - middle)).clamp(min=0)


def hint(name: str) -> str:
    """What to do when the data are not there."""
    source = {
        "fsdd": "recordings.tar.xz is the folder recordings/ of github.com/Jakobovski/free-spoken-digit-dataset, packed",
        "pendigits": "UCI's data set 81 has both files",
    }.get(
        name, "timeseriesclassification.com has the set; write its series as x (n, t, c), y and n_train by numpy.savez"
    )
    return f"give the folder as --data.root or put {' and '.join(FILES[name])} at $ZOO_DATA/{FOLDERS[name]}; {source}"
