"""Weights as a process along depth: one path of length l for every entry of a weight, paths independent, variance one.

Shapes: l layers; a draw for entries of shape (...) is (l, ...). Layer k stands at time s = k/l.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

PROCESSES = ("uniform", "normal", "fractional", "smooth", "smooth_increments")


def draw(
    process: str,
    layers: int,
    shape: tuple[int, ...],
    *,
    hurst: float = 0.5,
    length: float = 0.1,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """One process for each entry, (l, *shape), mean zero and variance one at every layer.

    process: "uniform" or "normal", independent layers; "fractional", Gaussian noise with Hurst index `hurst`; "smooth",
    values of a Gaussian process with kernel exp(-(s - t)^2/(2 length^2)) on [0, 1]; "smooth_increments", its increments
    over 1/l, scaled to variance one.

    Raises:
        ValueError: an unknown process, a Hurst index outside (0, 1), or a length not positive.
    """
    if process == "uniform":
        bound = math.sqrt(3)
        return torch.empty(layers, *shape, dtype=dtype).uniform_(-bound, bound, generator=generator)
    if process == "normal":
        return torch.randn(layers, *shape, generator=generator, dtype=dtype)
    if process == "fractional":
        return fractional_noise(white_spectrum(layers, shape, generator, dtype), hurst)
    if process == "smooth":
        return smooth_values(layers, shape, length, generator, dtype)
    if process == "smooth_increments":
        # one value more than layers, at the same spacing 1/l
        times = torch.arange(layers + 1, dtype=torch.float64) / layers
        deviation = math.sqrt(-2 * math.expm1(-1 / (2 * (layers * length) ** 2)))
        features = smooth_features(times, length).diff(dim=0) / deviation
        return _combine(features, shape, generator, dtype)
    raise ValueError(f"process={process!r}: choose one of {', '.join(PROCESSES)}")


# Fractional Gaussian noise.


def autocovariance(lags: Tensor, hurst: float) -> Tensor:
    """gamma(k) = (|k+1|^{2H} - 2|k|^{2H} + |k-1|^{2H})/2 of the increments of fractional Brownian motion; gamma(0) = 1."""
    k = lags.abs().to(torch.float64)
    return ((k + 1) ** (2 * hurst) - 2 * k ** (2 * hurst) + (k - 1).abs() ** (2 * hurst)) / 2


@functools.lru_cache(64)
def circulant_spectrum(layers: int, hurst: float) -> Tensor:
    """Eigenvalues (l + 1,) float64 of the circulant matrix of size 2l whose corner is the covariance of l increments.

    Its first row is gamma(0), …, gamma(l-1), gamma(l), gamma(l-1), …, gamma(1), so the embedding is exact. They are never
    negative for this process; rounding makes some so for H near one.

    Raises:
        ValueError: H outside (0, 1).
    """
    if not 0 < hurst < 1:
        raise ValueError(f"hurst={hurst}: the Hurst index lies between 0 and 1")
    gamma = autocovariance(torch.arange(layers + 1), hurst)
    return torch.fft.rfft(torch.cat([gamma, gamma[1:-1].flip(0)])).real.clamp(min=0)


def white_spectrum(
    layers: int, shape: tuple[int, ...], generator: torch.Generator | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Fourier transform (*shape, l + 1) of 2l independent normals for each entry: the randomness of a fractional draw."""
    return torch.fft.rfft(torch.randn(*shape, 2 * layers, generator=generator, dtype=dtype))


def fractional_noise(spectrum: Tensor, hurst: float) -> Tensor:
    """Fractional Gaussian noise (l, ...) of index H from a `white_spectrum` (..., l + 1): the symmetric square root of the
    circulant matrix, applied to white noise. One spectrum gives coupled paths for all H.
    """
    layers = spectrum.shape[-1] - 1
    root = circulant_spectrum(layers, hurst).sqrt().to(spectrum.real.dtype)
    return torch.fft.irfft(spectrum * root, n=2 * layers)[..., :layers].movedim(-1, 0).contiguous()


# Smooth Gaussian processes.


def smooth_features(times: Tensor, length: float) -> Tensor:
    """Rows phi(s), (t, n) float64, with phi(s).phi(t) = exp(-(s - t)^2/(2 length^2)) for s, t in [0, 1].

    phi_n(s) = e^{-x^2/2} x^n/sqrt(n!), x = (s - 1/2)/length: squares are Poisson probabilities, so the series stops where
    their tail is below 1e-16. A path phi(s).z has the same n coefficients z whatever the times: it can be read at any depth.

    Raises:
        ValueError: a length not positive.
    """
    if length <= 0:
        raise ValueError(f"length={length}: a length scale is positive")
    mean = 0.25 / length**2  # largest x^2
    n = torch.arange(math.ceil(mean + 9 * math.sqrt(mean) + 30), dtype=torch.float64)
    x = (times.to(torch.float64)[:, None] - 0.5) / length
    sign = 1 - 2 * (n % 2) * (x < 0)
    return sign * torch.exp(torch.special.xlogy(n, x.abs()) - (x**2 + torch.lgamma(n + 1)) / 2)


def smooth_values(
    layers: int,
    shape: tuple[int, ...],
    length: float,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Values at s = 0, 1/l, …, (l-1)/l, (l, *shape); one state of the generator gives one path at every depth."""
    times = torch.arange(layers, dtype=torch.float64) / layers
    return _combine(smooth_features(times, length), shape, generator, dtype)


def _combine(features: Tensor, shape: tuple[int, ...], generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
    coefficients = torch.randn(features.shape[1], *shape, generator=generator, dtype=dtype)
    return torch.tensordot(features.to(dtype), coefficients, 1)
