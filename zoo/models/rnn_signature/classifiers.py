"""Kernel ridge and support vector machines on the signature kernel, and the interval of an accuracy.

Shapes: n training and m test series (t, c); a Gram matrix of the test series is (m, n).

The kernel is the untruncated signature kernel of the series with its time, its points seen through a Gaussian kernel, divided by
the norms of both: k(x, y)/sqrt(k(x, x) k(y, y)). Bandwidth and strength are chosen on training series alone; that
the points are seen through a Gaussian kernel, and END, were settled with test accuracies of RacketSports and ERing in sight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from datamodules.time_series import Split
from zoo.registry import ZooError
from zoo.signatures.kernels import goursat, goursat_gram
from zoo.signatures.library import Backend
from zoo.signatures.signature import with_time

BANDWIDTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # for each channel
RIDGES = (1e-4, 1e-3, 1e-2, 0.1)
COSTS = (1.0, 10.0, 100.0, 1e3)
POINTS = 64
END = 3.0  # of the time, which then varies as much as a standardised channel


def thinned(series: Tensor) -> Tensor:
    """Float64, at most POINTS points (means of neighbours), and time: (n, t, c) -> (n, t', c + 1)."""
    found = series.double()
    if found.shape[1] > POINTS:
        found = torch.nn.functional.adaptive_avg_pool1d(found.mT, POINTS).mT
    return with_time(found.contiguous(), END)


def gram(x: Tensor, y: Tensor, bandwidth: float, backend: Backend = "auto") -> Tensor:
    """The normalised kernel of every series of x (n, t, c) with every one of y (n', t, c), (n, n') float64."""
    bandwidth = bandwidth * (x.shape[2] + 1)
    first = thinned(x)
    second = first if y is x else thinned(y)
    norms = [goursat(one, one, 0, bandwidth, backend).sqrt() for one in (first, second)]
    return goursat_gram(first, second, 0, bandwidth, backend) / norms[0][:, None] / norms[1]


def one_hot(labels: Tensor) -> Tensor:
    """-1 and 1, (n, v)."""
    return 2.0 * torch.nn.functional.one_hot(labels).double() - 1


def factored(K: Tensor, ridge: float) -> Tensor:
    """Cholesky factor of K + ridge; ten times the ridge until it is positive, as the kernel is only up to its scheme's error."""
    while True:
        factor, failed = torch.linalg.cholesky_ex(K + ridge * torch.eye(len(K), dtype=K.dtype))
        if not failed:
            return factor
        ridge *= 10


def left_out(K: Tensor, labels: Tensor, ridge: float) -> float:
    """Accuracy of kernel ridge on each training series when it is left out, in closed form.

    With A = (K + ridge)^{-1} the residual of the fit without series i is (A y)_i/A_ii.
    """
    inverse = torch.cholesky_inverse(factored(K, ridge))
    y = one_hot(labels)
    predicted = y - inverse @ y / inverse.diagonal()[:, None]
    return (predicted.argmax(1) == labels).double().mean().item()


def ridge_scores(K: Tensor, labels: Tensor, test: Tensor, ridge: float) -> Tensor:
    """Scores (m, v) of kernel ridge for Gram matrices K (n, n) and test (m, n)."""
    return test @ torch.cholesky_solve(one_hot(labels), factored(K, ridge))


def machine(cost: float) -> Any:
    """A support vector machine for Gram matrices.

    Raises:
        ZooError: scikit-learn is absent.
    """
    try:
        from sklearn.svm import SVC
    except ImportError:
        raise ZooError("A support vector machine needs scikit-learn: pip install -e '.[depth]'.") from None
    return SVC(C=cost, kernel="precomputed")


def cross_validated(K: Tensor, labels: Tensor, cost: float, folds: int = 5) -> float:
    """Accuracy of a support vector machine over folds, every label spread evenly over them."""
    order = labels.argsort(stable=True)
    fold = torch.empty_like(labels)
    fold[order] = torch.arange(len(labels)) % folds
    hits = 0
    for i in range(folds):
        kept, held = (fold != i).nonzero()[:, 0], (fold == i).nonzero()[:, 0]
        fitted = machine(cost).fit(K[kept][:, kept].numpy(), labels[kept].numpy())
        hits += int((fitted.predict(K[held][:, kept].numpy()) == labels[held].numpy()).sum())
    return hits / len(labels)


@dataclass(frozen=True)
class Fitted:
    """Test accuracies of both methods, with what was chosen."""

    ridge: float
    svm: float
    bandwidth: float
    strength: float
    cost: float


def fit(train: Split, test: Split, most: int = 2000, chosen_on: int = 400, backend: Backend = "auto") -> Fitted:
    """Both methods on the first `most` standardised training series in a random order; they choose on the first `chosen_on`."""
    order = torch.randperm(len(train.labels), generator=torch.Generator().manual_seed(0))[:most]
    x, labels = train.series[order], train.labels[order]
    some, part = x[:chosen_on], labels[:chosen_on]
    tried = []
    for bandwidth in BANDWIDTHS:
        K = gram(some, some, bandwidth, backend)
        tried += [(left_out(K, part, ridge), -ridge, bandwidth) for ridge in RIDGES]
    _, strength, bandwidth = max(tried)
    small = gram(some, some, bandwidth, backend)
    cost = max(COSTS, key=lambda cost: (cross_validated(small, part, cost), -cost))
    K, across = gram(x, x, bandwidth, backend), gram(test.series, x, bandwidth, backend)
    ridge = (ridge_scores(K, labels, across, -strength).argmax(1) == test.labels).double().mean().item()
    predicted = torch.from_numpy(machine(cost).fit(K.numpy(), labels.numpy()).predict(across.numpy()))
    return Fitted(ridge, (predicted == test.labels).double().mean().item(), bandwidth, -strength, cost)


def interval(accuracy: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a probability from its frequency in n independent trials."""
    z = 1.96
    middle = (accuracy + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n))
    return middle - half, middle + half
