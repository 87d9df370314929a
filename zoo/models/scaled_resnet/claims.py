"""What "Scaling ResNets in the large-depth regime" (JMLR 2025) says, recomputed.

Nets at initialisation follow the paper: width 40, inputs uniform on [0, 1]^64, res-3 where nothing else is said. Exact
moments are derived in theory.py; other numbers were read off figures of the 2022 preprint, or measured with an
implementation written independently of this one, and their source says so. Letters tell parts of a claim apart.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from datamodules import image_files
from zoo.claims import AtLeast, AtMost, Between, Claim, Measured, Near, Skip
from zoo.depth.processes import circulant_spectrum, fractional_noise, smooth_values, white_spectrum
from zoo.depth.regularity import total_variation
from zoo.depth.trunk import trunk
from zoo.history import Run
from zoo.models.scaled_resnet import theory
from zoo.models.scaled_resnet.initialisation import (
    Ensemble,
    Ratios,
    ensemble,
    log_ratio,
    normal_chain,
    ratios,
    rough_ensembles,
    sample,
    surroundings,
    tangent_growth,
    zero_level,
)
from zoo.models.scaled_resnet.network import VARIANTS
from zoo.registry import ZooError
from zoo.weights import Weight

OURS = "measured here, independent implementation"
WIDTH, DEPTHS, BETAS = 40, (10, 100, 1000), (1.0, 0.5, 0.25)
HURSTS = (0.05, 0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97)
FINE = tuple(round(0.40 + 0.02 * i, 2) for i in range(31))  # scalings between which the zero levels are found


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _spread(values: Tensor) -> tuple[float, float]:
    """95 % interval of a mean, for the last of several values."""
    mean, error = values.double().mean().item(), values.double().std().item() / math.sqrt(len(values))
    return mean - 1.96 * error, mean + 1.96 * error


# Independent layers.


@functools.cache
def independent(depth: int) -> Ratios:
    """400 nets with uniform weights, columns BETAS."""
    return sample(400, WIDTH, depth, BETAS, at_once=20, generator=_generator(depth))


def squared_changes(betas: tuple[float, ...]) -> Measured:
    """Mean of |h_L - h_0|^2/|h_0|^2 for each scaling and depth."""
    squares = [
        independent(depth).change[:, BETAS.index(beta), 0].double().square() for beta in betas for depth in DEPTHS
    ]
    return Measured([one.mean().item() for one in squares], interval=_spread(squares[-1]), n=400)


def heavy_changes() -> Measured:
    """The same over its exact value, at beta = 1/4."""
    found = squared_changes((0.25,))
    assert not isinstance(found.value, float)
    exact = [theory.mean_square_change(depth, 0.25) for depth in DEPTHS]
    return Measured([one / th for one, th in zip(found.value, exact, strict=True)], n=400)


def mean_changes() -> Measured:
    """beta = 1 at L = 10 and 1000, beta = 1/2 at L = 1000."""
    pairs = ((10, 1.0), (1000, 1.0), (1000, 0.5))
    values = [independent(depth).change[:, BETAS.index(beta), 0] for depth, beta in pairs]
    return Measured([one.mean().item() for one in values], interval=_spread(values[-1]), n=400)


def mean_explosion() -> Measured:
    values = independent(1000).change[:, 2, 0]
    return Measured(values.double().mean().item(), interval=_spread(values), n=400)


@functools.cache
def tangents() -> Tensor:
    """|J z|^2/|z|^2 of 400 nets of depth 1000, (n, 2), beta = 1/2 and 1/4."""
    generator, parts = _generator(3), []
    for _ in range(20):
        drawn = ensemble(20, WIDTH, 1000, generator=generator)
        parts.append(tangent_growth(drawn, (0.5, 0.25)))
    return torch.cat(parts).double()


def tangent_at_half() -> Measured:
    """Forward mode, and back-propagation."""
    backward = independent(1000).gradient_growth[:, 1, 0].double().square()
    forward = tangents()[:, 0]
    return Measured([forward.mean().item(), backward.mean().item()], interval=_spread(backward), n=400)


def tangent_explosion() -> Measured:
    backward = independent(1000).gradient_growth[:, 2, 0].double().square()
    exact = theory.mean_square_growth(1000, 0.25)
    return Measured([tangents()[:, 1].mean().item() / exact, backward.mean().item() / exact], n=400)


@functools.cache
def diffused() -> Tensor:
    """|h_L|/|h_0| at width 100, depth 1000, beta = 1/2."""
    return normal_chain(2500, 100, 1000, 0.5, generator=_generator(4)).double()


def diffused_mean() -> Measured:
    return Measured(diffused().mean().item(), interval=_spread(diffused()), n=2500)


def diffused_deviation() -> Measured:
    return Measured(diffused().std().item(), n=2500)


def diffused_logarithm() -> Measured:
    """Kolmogorov distance of ln|h_L|/|h_0| to a normal law with the mean and the variance of the theory."""
    law = theory.diffusion_law(100)
    scores = ((diffused().log() - law.mean) / math.sqrt(law.variance)).sort().values
    n = len(scores)
    steps, cdf = torch.arange(n, dtype=torch.float64), torch.special.ndtr(scores)
    return Measured(torch.maximum((steps + 1) / n - cdf, cdf - steps / n).max().item(), n=n)


def envelope_margins() -> Measured:
    """Distance of E|h_L|^2/|h_0|^2 to each bound, relative to it and in favour of the claim by three standard errors."""
    margins, said = [], []
    for i, variant in enumerate(VARIANTS):
        squares = normal_chain(2000, WIDTH, 200, 0.5, variant=variant, generator=_generator(50 + i)).double().square()
        mean, slack = squares.mean().item(), 3 * squares.std().item() / math.sqrt(len(squares))
        low, high = theory.envelope(200, 0.5)
        margins += [(mean + slack) / low - 1, 1 - (mean - slack) / high]
        said.append(f"{variant} {mean:.3f}")
    return Measured(margins, n=2000, note=f"{', '.join(said)} between {low:.3f} and {high:.3f}")


# Smooth layers.


@functools.cache
def smooth(process: str, depth: int) -> Ratios:
    """50 nets, columns beta = 2, 1, 1/2; depths share the nets' paths."""
    return sample(
        50, WIDTH, depth, (2.0, 1.0, 0.5), process=process, generator=_generator(6), dtype=torch.float64, at_once=25
    )


def _smooth_means(process: str, column: int, gradient: bool = False) -> list[float]:
    every = [smooth(process, depth) for depth in DEPTHS]
    return [(one.gradient_change if gradient else one.change)[:, column].mean().item() for one in every]


def smooth_levels() -> Measured:
    return Measured(_smooth_means("smooth", 1) + _smooth_means("smooth", 1, gradient=True), n=50)


def smooth_slopes() -> list[float]:
    """Slope of ln ratio against ln L at beta = 2, of outputs and of gradients."""
    return [_slope(DEPTHS, _smooth_means("smooth", 0, gradient)) for gradient in (False, True)]


def smooth_explosion() -> Measured:
    """log10 of how much the ratio grows from L = 10 to 100 and from there to 1000, beta = 1/2."""
    values = _smooth_means("smooth", 2)
    return Measured(
        [math.log10(values[1] / values[0]), math.log10(values[2] / values[1])], note=f"means {_said(values)}"
    )


def increment_levels() -> Measured:
    return Measured(_smooth_means("smooth_increments", 1), n=50)


def _said(values: list[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


def _slope(x: tuple[int, ...], y: list[float]) -> float:
    a, b = torch.tensor(x).double().log(), torch.tensor(y).double().log()
    return ((a - a.mean()) @ (b - b.mean()) / (a - a.mean()).square().sum()).item()


# Rough layers.


@functools.cache
def regularity() -> dict[float, tuple[Tensor, Tensor]]:
    """Mean log10 ratio of outputs and gradients (m,) by Hurst index, columns FINE; 10 nets and 2 inputs."""
    found = {}
    drawn = rough_ensembles(HURSTS, 10, WIDTH, 1000, inputs=2, generator=_generator(7))
    for hurst, nets in zip(HURSTS, drawn, strict=True):
        each = ratios(nets, FINE)
        found[hurst] = (log_ratio(each.change).mean((0, 2)), log_ratio(each.gradient_change).mean((0, 2)))
    return found


def critical_outputs() -> Measured:
    return Measured([zero_level(FINE, output) for output, _ in regularity().values()], n=10)


def critical_gradients() -> Measured:
    return Measured([zero_level(FINE, gradient) for _, gradient in regularity().values()], n=10)


@functools.cache
def colours() -> dict[float, Tensor]:
    """log10 of the output ratio by Hurst index, (40 nets, 2), columns beta = 1/2 and 1."""
    parts: dict[float, list[Tensor]] = {hurst: [] for hurst in (0.5, 0.7, 0.8, 0.9, 0.97)}
    for seed in range(5):
        drawn = rough_ensembles(tuple(parts), 8, WIDTH, 1000, inputs=2, generator=_generator(90 + seed))
        for found, nets in zip(parts.values(), drawn, strict=True):
            found.append(log_ratio(ratios(nets, (0.5, 1.0), gradients=False).change).mean(2))
    return {hurst: torch.cat(found) for hurst, found in parts.items()}


def colours_at(pairs: tuple[tuple[float, int], ...]) -> Measured:
    """Means over 40 nets at (Hurst index, column), with the deviation of one net."""
    chosen = [colours()[hurst][:, column] for hurst, column in pairs]
    deviations = _said([one.std().item() for one in chosen])
    note = f"from net to net the standard deviation is {deviations}; the expected values are means of 6 nets"
    return Measured([one.mean().item() for one in chosen], interval=_spread(chosen[-1]), n=40, note=note)


def spread_of_sums() -> Measured:
    """Var(sum of 1000 increments)/1000^{2H}, and the variance of an increment, H = 0.2, 0.5, 0.8."""
    generator, values = _generator(10), torch.zeros(6, dtype=torch.float64)
    for _ in range(4):
        white = white_spectrum(1000, (10_000,), generator)
        for i, hurst in enumerate((0.2, 0.5, 0.8)):
            noise = fractional_noise(white, hurst)
            values[2 * i] += noise.double().sum(0).square().mean() / 1000 ** (2 * hurst) / 4
            values[2 * i + 1] += noise.square().mean() / 4
    return Measured(values.tolist(), n=40_000)


def embedding_error() -> float:
    """Largest difference between the circulant matrix behind the generator and the covariance, l = 64."""
    worst = 0.0
    for hurst in HURSTS:
        row = torch.fft.irfft(circulant_spectrum(64, hurst), n=128)[:64]
        k = torch.arange(64, dtype=torch.float64)
        law = ((k + 1).pow(2 * hurst) + (k - 1).abs().pow(2 * hurst)) / 2 - k.pow(2 * hurst)
        worst = max(worst, (row - law).abs().max().item())
    return worst


# Limits.


@functools.cache
def two_depths() -> tuple[Tensor, Tensor]:
    """|h_L|/|h_0| of res-1 at beta = 1/2, 1600 nets each, L = 50 and 300."""
    first, second = (
        normal_chain(1600, WIDTH, depth, 0.5, variant="res-1", generator=_generator(depth)).double()
        for depth in (50, 300)
    )
    return first, second


def depth_distance() -> Measured:
    """Two-sample Kolmogorov-Smirnov statistic."""
    first, second = (one.sort().values for one in two_depths())
    everyone = torch.cat([first, second])
    gaps = torch.searchsorted(first, everyone, right=True) - torch.searchsorted(second, everyone, right=True)
    return Measured(gaps.abs().max().item() / len(first), n=1600)


def diffusion_moments() -> Measured:
    """Mean at both depths, then standard deviation at both, then mean square at the larger."""
    first, second = two_depths()
    values = [first.mean(), second.mean(), first.std(), second.std(), second.square().mean()]
    return Measured([value.item() for value in values], n=1600)


@functools.cache
def depth_gaps() -> list[float]:
    """|h_{2L} - h_L|/|h_{2L}| for L = 16 … 256, one smooth path of each weight read at every depth, mean of 5 nets."""
    h, B = surroundings(5, WIDTH, generator=_generator(12), dtype=torch.float64)
    outputs = []
    for depth in (16, 32, 64, 128, 256, 512):
        V = smooth_values(depth, (5, WIDTH, WIDTH), 0.1, _generator(13), torch.float64) / math.sqrt(WIDTH)
        drawn = Ensemble("res-1", [V], h, B)
        outputs.append(trunk(VARIANTS["res-1"], drawn.start, drawn.layers, 1 / depth))
    pairs = zip(outputs, outputs[1:], strict=False)
    return [((fine - coarse).norm(dim=-1) / fine.norm(dim=-1)).mean().item() for coarse, fine in pairs]


def ode_order() -> Measured:
    return Measured(_slope((16, 32, 64, 128, 256), depth_gaps()), note=f"gaps {_said(depth_gaps())}")


# After training.

GRID, PATHS = "mnist_grid", ("mnist_smooth", "mnist_identity", "mnist_diffusion")


@functools.cache
def _test_set() -> tuple[Tensor, Tensor]:
    try:
        split = image_files.read("mnist", "test")
    except ZooError as error:
        raise Skip(str(error)) from None
    return split.images.float() / 255, split.labels


_ACCURACIES: dict[str, Tensor] = {}  # two claims and a figure read one pass


@torch.no_grad()
def accuracies(weight: Weight) -> Tensor:
    """Test accuracy on MNIST of each replica, (r,)."""
    key = weight.record.sha256
    if key not in _ACCURACIES:
        images, labels = _test_set()
        hits = [weight.network(x).argmax(-1) == y for x, y in zip(images.split(500), labels.split(500), strict=True)]
        _ACCURACIES[key] = torch.cat(hits, 1).double().mean(1)
    return _ACCURACIES[key]


def _cells(weight: Weight) -> Tensor:
    """beta less max(1/2, H) of each replica, rounded to two decimals."""
    margins = [
        round(beta - theory.critical_beta(hurst), 2)
        for beta, hurst in zip(weight.task["beta"].tolist(), weight.task["hurst"].tolist(), strict=True)
    ]
    return torch.tensor(margins)


def worst_above(weight: Weight) -> Measured:
    """Lowest accuracy among the cells on and above the curve."""
    chosen = accuracies(weight)[_cells(weight) >= 0]
    return Measured(chosen.min().item(), n=len(chosen))


def best_below(weight: Weight) -> Measured:
    """Highest accuracy among the cells with H > 1/2 that lie at least 0.4 below the curve."""
    chosen = (_cells(weight) <= -0.4) & (weight.task["hurst"] > 0.5)
    betas, hursts = weight.task["beta"][chosen].tolist(), weight.task["hurst"][chosen].tolist()
    found = accuracies(weight)[chosen].tolist()
    cells = [f"{value:.3f} at beta {b:g}, H {h:g}" for value, b, h in zip(found, betas, hursts, strict=True)]
    return Measured(max(found), n=len(found), note=", ".join(cells))


def worst_cell(weight: Weight) -> float:
    """Lowest accuracy of the whole grid."""
    return accuracies(weight).min().item()


def recomputed(weight: Weight) -> float:
    """Test accuracy, mean over replicas, over that of the record."""
    return accuracies(weight).mean().item() / weight.record.metrics["val_accuracy"]


def _variation(weight: Weight) -> tuple[float, float]:
    """Total variation along depth after training over that before, and before."""
    history = Run.shipped(weight.name).history
    start = history.at("variation", 0).mean().item()
    return history.last("variation").mean().item() / start, start


def noise_kept(*weights: Weight) -> list[float]:
    return [_variation(weight)[0] for weight in weights]


def trend(*weights: Weight) -> list[float]:
    """Total variation along depth of what training added to an entry of V, over that of the entry before."""
    found = []
    for weight in weights:
        start = weight.task["start"][0].double()
        added = weight.network.tensors()["V"][0, :, 0, 0].detach().double() - start
        found.append((total_variation(added) / total_variation(start)).item())
    return found


def smooth_against_noise(*weights: Weight) -> float:
    """Mean jump between layers after training: of the net that started smooth over the smallest of those that did not."""
    sizes = [Run.shipped(weight.name).history.last("mean_jump").mean().item() for weight in weights]
    return sizes[0] / min(sizes[1:])


# The claims.

EXACT = tuple(theory.mean_square_change(depth, beta) for beta in (1.0, 0.5) for depth in DEPTHS)

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "R1",
        "E|h_L - h_0|^2/|h_0|^2 = (1 + L^(-2 beta)/2)^L - 1 with independent layers: L = 10, 100, 1000 at beta = 1, then 1/2.",
        "Figure 1; the exact moments are derived here",
        "monte-carlo",
        Near(EXACT, relative=0.05),
        17,
        lambda: squared_changes((1.0, 0.5)),
        "theory",
    ),
    Claim(
        "R1b",
        "The same at beta = 1/4, where rare nets carry the mean: over its exact value, L = 10, 100, 1000.",
        "Figure 1; the exact moments are derived here",
        "monte-carlo",
        Between(0.5, 2.0),
        0.1,
        heavy_changes,
        "theory",
    ),
    Claim(
        "R2",
        "Mean of |h_L - h_0|/|h_0|: beta = 1 at L = 10 and 1000, beta = 1/2 at L = 1000.",
        f"Figure 1; values {OURS}",
        "monte-carlo",
        Near((0.2227, 0.0222, 0.796), relative=0.05),
        0.1,
        mean_changes,
        "theory",
    ),
    Claim(
        "R2b",
        "Mean of |h_L - h_0|/|h_0| at beta = 1/4, L = 1000.",
        f"Figure 1; value {OURS}",
        "monte-carlo",
        Near(2432, relative=0.3),
        0.1,
        mean_explosion,
        "theory",
    ),
    Claim(
        "R3",
        "E|J z|^2/|z|^2 = (1 + L^(-2 beta)/2)^L at beta = 1/2, L = 1000: forward mode, and gradients back-propagated.",
        "Figure 3; the exact moment is derived here",
        "monte-carlo",
        Near((theory.mean_square_growth(1000, 0.5),) * 2, relative=0.05),
        15,
        tangent_at_half,
        "theory",
    ),
    Claim(
        "R3b",
        "The same at beta = 1/4, over the exact value.",
        "Figure 3; the exact moment is derived here",
        "monte-carlo",
        Between(0.5, 2.0),
        0.1,
        tangent_explosion,
        "theory",
    ),
    Claim(
        "R4",
        "|h_L|/|h_0| at d = 100, L = 1000, beta = 1/2 has the mean of the log-normal law.",
        "Figure 2; the law is derived here",
        "monte-carlo",
        Near(theory.diffusion_law(100).moments[0], relative=0.01),
        10,
        diffused_mean,
        "theory",
    ),
    Claim(
        "R4b",
        "It has the standard deviation of the log-normal law.",
        "Figure 2; the law is derived here",
        "monte-carlo",
        Near(theory.diffusion_law(100).moments[1], relative=0.1),
        0.1,
        diffused_deviation,
        "theory",
    ),
    Claim(
        "R4c",
        "Its logarithm is normal: distance between distribution functions.",
        "Figure 2; the law is derived here, the bound is the 5 % point of the test",
        "monte-carlo",
        AtMost(1.36 / math.sqrt(2500)),
        0.1,
        diffused_logarithm,
        "theory",
    ),
    Claim(
        "R5",
        "(1 + a^2/2)^L <= E|h_L|^2/|h_0|^2 <= (1 + a^2)^L for res-1, res-2, res-3: relative margins plus three standard errors.",
        "the regime a = L^-1/2; the bounds are derived here",
        "bound",
        AtLeast(0.0),
        2,
        envelope_margins,
        "theory",
    ),
    Claim(
        "R6",
        "Smooth layers at beta = 1: change of outputs at L = 10, 100, 1000, then of gradients, do not depend on the depth.",
        f"Figures 4 and 5; values {OURS}",
        "monte-carlo",
        Near((0.30, 0.30, 0.30, 0.27, 0.27, 0.27), relative=0.15),
        6,
        smooth_levels,
        "theory",
    ),
    Claim(
        "R6b",
        "Smooth layers at beta = 2: the change decays as 1/L, exponent for outputs and gradients.",
        "Figures 4 and 5",
        "rate",
        Near((-1.0, -1.0), absolute=0.05),
        0.1,
        smooth_slopes,
        "theory",
    ),
    Claim(
        "R6c",
        "Smooth layers at beta = 1/2: outputs explode, decades gained from L = 10 to 100 and from 100 to 1000.",
        "Figure 4",
        "figure",
        AtLeast(1.0),
        0.1,
        smooth_explosion,
        "theory",
    ),
    Claim(
        "R6d",
        "Increments of a smooth path as weights, beta = 1: change of outputs at L = 10, 100, 1000.",
        "Figure 4, read off that of the 2022 preprint, which draws smooth weights so",
        "figure",
        Near((0.20, 0.20, 0.20), relative=0.15),
        5,
        increment_levels,
        "theory",
    ),
    Claim(
        "R7",
        "Scaling at which outputs change by their own size, L = 1000, H = .05, .2, .35, .5, .6, .7, .8, .9, .97.",
        f"Figure 7; values {OURS}",
        "monte-carlo",
        Near((0.471, 0.460, 0.459, 0.474, 0.522, 0.610, 0.699, 0.818, 0.895), absolute=0.03),
        12,
        critical_outputs,
        "theory",
    ),
    Claim(
        "R8",
        "The same for gradients, which leave 1/2 later.",
        f"Figure 7; values {OURS}",
        "monte-carlo",
        Near((0.480, 0.470, 0.479, 0.481, 0.491, 0.514, 0.609, 0.756, 0.889), absolute=0.04),
        0.1,
        critical_gradients,
        "theory",
    ),
    Claim(
        "R9",
        "Mean log10 of the change of outputs: beta = 1/2 at H = .5, .7, .8, then beta = 1 at H = .5, .7, .8, .9, .97.",
        f"Figure 7; values {OURS}",
        "monte-carlo",
        Near((-0.10, 0.61, 1.56, -1.67, -1.24, -0.94, -0.59, -0.33), absolute=0.15),
        8,
        lambda: colours_at(tuple((h, 0) for h in (0.5, 0.7, 0.8)) + tuple((h, 1) for h in colours())),
        "theory",
    ),
    Claim(
        "R9b",
        "The same where it explodes, beta = 1/2 at H = .9 and .97.",
        f"Figure 7; values {OURS}",
        "monte-carlo",
        Near((4.0, 6.3), absolute=0.15),
        0.1,
        lambda: colours_at(((0.9, 0), (0.97, 0))),
        "theory",
    ),
    Claim(
        "R10",
        "Fractional noise: Var(sum of 1000)/1000^(2H), and the variance of one, for H = 0.2, 0.5, 0.8.",
        "definition of fractional Brownian motion (Figure 6)",
        "monte-carlo",
        Near((1.0,) * 6, relative=0.03),
        4,
        spread_of_sums,
        "theory",
    ),
    Claim(
        "R10b",
        "The generator's covariance is that of fractional noise: largest difference, nine Hurst indices.",
        "definition of fractional Brownian motion (Figure 6)",
        "exact",
        AtMost(1e-12),
        0.1,
        embedding_error,
        "theory",
    ),
    Claim(
        "R11",
        "With independent layers and beta = 1/2 the law of |h_L|/|h_0| does not depend on L: distance between L = 50 and 300.",
        "the stochastic differential equation in the limit; the bound is the 5 % point of the test",
        "monte-carlo",
        AtMost(0.048),
        1,
        depth_distance,
        "theory",
    ),
    Claim(
        "R11b",
        "res-1 at L = 50 and 300: means and standard deviations of |h_L|/|h_0|, and the mean square at 300.",
        f"values {OURS}",
        "monte-carlo",
        Near((1.278, 1.277, 0.163, 0.166, 1.66), relative=0.05),
        0.1,
        diffusion_moments,
        "theory",
    ),
    Claim(
        "R12",
        "Smooth layers, beta = 1, one path read at depths L and 2L: the outputs differ by O(1/L), exponent.",
        "the ordinary differential equation in the limit",
        "rate",
        Near(-1.0, absolute=0.1),
        1,
        ode_order,
        "theory",
    ),
    Claim(
        "R13",
        "On and above the curve beta = max(1/2, H) trained nets are good: the lowest accuracy on MNIST.",
        f"Figure 9; its accuracies are not given, the threshold is {OURS}",
        "figure",
        AtLeast(0.9),
        6,
        worst_above,
        "weights",
        (GRID,),
    ),
    Claim(
        "R13b",
        "At least 0.4 below the curve, H > 1/2, trained nets fail: the highest accuracy on MNIST.",
        f"Figure 9; its accuracies are not given, the threshold is {OURS}",
        "figure",
        AtMost(0.5),
        0.1,
        best_below,
        "weights",
        (GRID,),
    ),
    Claim(
        "R13c",
        "The lowest accuracy on the whole grid is that of chance.",
        f"Figure 9; its accuracies are not given, the threshold is {OURS}",
        "figure",
        AtMost(0.2),
        0.1,
        worst_cell,
        "weights",
        (GRID,),
    ),
    Claim(
        "R14",
        "Independent layers keep their noise in training: total variation along depth, after over before (beta = 1, 1/2).",
        "Figure 8",
        "figure",
        Between(0.8, 1.2),
        0.1,
        noise_kept,
        "weights",
        PATHS[1:],
    ),
    Claim(
        "R14c",
        "What training adds to an entry of independent layers is a trend: its total variation over that of the noise.",
        "Figure 8",
        "figure",
        AtMost(0.2),
        0.1,
        trend,
        "weights",
        PATHS[1:],
    ),
    Claim(
        "R14b",
        "Smooth layers stay smooth: their mean jump after training over the smallest of independent ones.",
        "Figure 8",
        "figure",
        AtMost(0.5),
        0.1,
        smooth_against_noise,
        "weights",
        PATHS,
    ),
    *(
        Claim(
            "W1",
            "The test accuracy of the record is measured again (ratio).",
            "measured here",
            "exact",
            Near(1.0, relative=1e-3),
            6,
            recomputed,
            "weights",
            (tag,),
        )
        for tag in (GRID, *PATHS)
    ),
)
