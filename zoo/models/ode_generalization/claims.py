"""What "Generalization bounds for neural ordinary differential equations and deep residual networks" says, recomputed.

The paper shows its experiments as figures without numbers: those here were measured with an implementation written
independently of this one, and their source says so. Its runs had three seeds and another split of the digits; from seed to
seed a gap has a standard deviation of a third of itself, and the largest jump between layers without a penalty one of half.
The bound is derived in theory.py. An id with a "t" trains again; letters tell parts of a claim apart.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from datamodules import image_files
from datamodules.digit_images import read_digits
from zoo.claims import AtLeast, AtMost, Claim, Measured, Near, Retrain, Skip
from zoo.depth.branches import OneMatrix
from zoo.depth.processes import draw, smooth_values
from zoo.depth.trunk import states, trunk
from zoo.history import History, NotMeasured, Run, history_of
from zoo.models.ode_generalization import theory
from zoo.models.ode_generalization.network import TimeDependentODE, TimeResNet
from zoo.registry import ZooError
from zoo.weights import Weight

OURS = "measured here, independent implementation"
WIDTH, DEPTHS = 30, (50, 100, 200, 500, 1000, 2000)
SMOOTHNESS = {"relu": 1.0, "tanh": 1.0, "gelu": 1.129}  # Lipschitz constants of activations with sigma(0) = 0


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Inequalities.


@functools.cache
def pairs() -> list[tuple[float, float]]:
    """|h_L - h'_L| over its bounds with e^{2 K R} and with e^{K R}, the worst of 20 inputs, for 200 pairs of nets.

    Widths 5 to 40, depths 1 to 30, smooth, independent and equal layers, three activations, entries from a tenth to twice
    the usual size; half of the pairs are close to each other.
    """
    generator, found = _generator(6), []
    for i in range(200):
        d, depth = (5, 10, 30, 40)[i % 4], (1, 10, 30)[i % 3]
        process, (name, K) = ("smooth", "normal")[i // 2 % 2], list(SMOOTHNESS.items())[i % 3]
        size = 0.1 + 1.9 * torch.rand((), generator=generator).item()
        law: dict[str, Any] = {"generator": generator, "dtype": torch.float64}
        one, other = (draw(process, depth, (d, d), **law) * size / math.sqrt(d) for _ in range(2))
        if i % 5 == 0:
            one, other = (paths[:1].expand(depth, -1, -1) for paths in (one, other))
        if i % 2:
            other = one + 0.01 * other
        x = torch.randn(20, d, **law)
        ends = [trunk(OneMatrix(name), x, [weights], 1 / depth) for weights in (one, other)]
        sharp = (ends[0] - ends[1]).norm(dim=1) / theory.residual_gap(x, one, other, K)
        R = max(theory.spectral_norm(one).item(), theory.spectral_norm(other).item())
        found.append((sharp.max().item() * math.exp(-K * R), sharp.max().item()))
    return found


def worst_pair(column: int) -> Measured:
    return Measured(max(pair[column] for pair in pairs()), n=200)


def ode_pairs() -> Measured:
    """|H_1 - H'_1| over sensitivity times sup_t |theta - theta'|_1, worst of 60 pairs of ODEs and 10 starts each."""
    worst = 0.0
    for seed in range(60):
        fields = ("entries", "ridges")[seed % 2]
        d = 2 + seed % 5
        one, other = (
            TimeDependentODE(
                d=d, fields=fields, count=3 + seed % 8, knots=1 + seed % 7, steps=20, generator=_generator(s)
            ).double()
            for s in (seed, seed + 1000)
        )
        other.load_state_dict(one.state_dict() | {"theta": other.theta})  # the same fields
        x = torch.randn(10, d, generator=_generator(seed), dtype=torch.float64)
        with torch.no_grad():
            gap = (one(x) - other(x)).norm(dim=1)
            distance = (one.theta - other.theta).abs().sum(1).amax().item()  # linear in between
            R = max(theory.one_norm(one.theta).item(), theory.one_norm(other.theta).item())
        M = 1.0 if fields == "ridges" else 0.0
        limit = torch.tensor([theory.sensitivity(r, R, 1.0, M) for r in x.norm(dim=1).tolist()]) * distance
        worst = max(worst, (gap / limit).max().item())
    return Measured(worst, n=60)


def output_ratios() -> Measured:
    """max_k |h_k|/(|x| e^{K R}), worst of 120 nets with 20 inputs each."""
    generator, worst = _generator(7), 0.0
    for i in range(120):
        d, depth, (name, K) = (5, 30, 40)[i % 3], (1, 20, 60)[i // 3 % 3], list(SMOOTHNESS.items())[i // 9 % 3]
        law: dict[str, Any] = {"generator": generator, "dtype": torch.float64}
        W = draw(("smooth", "normal")[i % 2], depth, (d, d), **law) * (0.1 + 3 * (i / 120)) / math.sqrt(d)
        x = torch.randn(20, d, **law)
        R = theory.spectral_norm(W).item()
        for h in states(OneMatrix(name), x, [W], 1 / depth):
            worst = max(worst, (h.norm(dim=1) / (x.norm(dim=1) * math.exp(K * R))).max().item())
    return Measured(worst, n=120)


# The bound.


@functools.cache
def smooth_layers(depth: int) -> Tensor:
    """Weights (l, d, d) at initialisation, one path at every depth."""
    return smooth_values(depth, (WIDTH, WIDTH), 0.1, _generator(8), torch.float64) / math.sqrt(WIDTH)


@functools.cache
def constants(process: str) -> list[float]:
    """K_W = L Lip_inf at DEPTHS; mean over 20 draws of independent layers."""
    if process == "smooth":
        return [depth * theory.lipschitz(smooth_layers(depth)).item() for depth in DEPTHS]
    found = []
    for depth in DEPTHS:
        draws = (draw("normal", depth, (WIDTH, WIDTH), generator=_generator(depth + s)) for s in range(20))
        found.append(depth * sum(theory.lipschitz(W).item() for W in draws) / 20 / math.sqrt(WIDTH))
    return found


def drifts() -> Measured:
    """Largest relative distance from the value at L = 2000, over L >= 100: of K_W, R_W, and the bound in units of C."""
    bounds = [theory.residual_bound(smooth_layers(depth), 60_000) for depth in DEPTHS]
    norms = [theory.one_norm(smooth_layers(depth)).item() for depth in DEPTHS]
    columns = (constants("smooth"), norms, [one.sum for one in bounds])
    values = [max(abs(one / column[-1] - 1) for one in column[1:]) for column in columns]
    said = ", ".join(f"{one:.3f}" for one in columns[0])
    spectral = theory.spectral_norm(smooth_layers(200)).item()
    note = f"L Lip_inf {said} at L = 50 … 2000; R_W {norms[-1]:.0f}, largest spectral norm {spectral:.2f}"
    return Measured(values, note=f"{note}; the bound is 10^{bounds[-1].log10:.0f} at n = 60,000, of no use as a number")


def growth() -> Measured:
    """Slope of ln(L Lip_inf) against ln L."""
    values = constants("normal")
    predicted = slope(DEPTHS, [depth * largest_jump(depth) for depth in DEPTHS])
    note = f"the largest of 900 (L - 1) normals grows too: its median alone makes the slope {predicted:.3f}"
    return Measured(slope(DEPTHS, values), n=20, note=note)


def corrected_growth() -> float:
    """The same after division by the median of the largest of as many normals."""
    values = constants("normal")
    return slope(DEPTHS, [value / largest_jump(depth) for value, depth in zip(values, DEPTHS, strict=True)])


def largest_jump(depth: int) -> float:
    """Median of the largest of d^2 (L - 1) independent |N(0, 2/d)|."""
    count = WIDTH**2 * (depth - 1)
    quantile = torch.special.ndtri(torch.tensor((1 + 0.5 ** (1 / count)) / 2, dtype=torch.float64))
    return quantile.item() * math.sqrt(2 / WIDTH)


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of ln y against ln x, least squares."""
    a, b = (torch.tensor(one, dtype=torch.float64).log() for one in (x, y))
    return ((a - a.mean()) @ (b - b.mean()) / (a - a.mean()).square().sum()).item()


SAMPLES = (100, 1000, 10_000, 100_000)


def sample_slopes() -> list[float]:
    """Slopes: of the Lipschitz term in n and in K, and of the constant weights' term over sqrt(ln(4 m R sqrt(n) + 4)) in n."""
    m, R = WIDTH**2, 136.0
    in_n = [theory.bound(n, m, R, 8.58).lipschitz for n in SAMPLES]
    in_K = [theory.bound(1000, m, R, K).lipschitz for K in SAMPLES]
    flat = [theory.bound(n, m, R, 0.0).logarithm / math.sqrt(math.log(4 * m * R * math.sqrt(n) + 4)) for n in SAMPLES]
    return [slope(SAMPLES, in_n), slope(SAMPLES, in_K), slope(SAMPLES, flat)]


def tied_net() -> list[float]:
    """Lip_inf of the layers of a tied net, and the Lipschitz term of its bound."""
    net = TimeResNet(d_in=4, d_out=2, width=WIDTH, depth=100, weights="tied", generator=_generator(11))
    return _tied(net.layers().detach())


def _tied(W: Tensor) -> list[float]:
    return [theory.lipschitz(W).item(), theory.residual_bound(W, 1000).lipschitz]


def tied_weights(weight: Weight) -> list[float]:
    found = [_tied(weight.network.one(r).layers().detach()) for r in range(weight.network.count)]  # type: ignore[operator]
    return [max(column) for column in zip(*found, strict=True)]


# Trained nets.

Subject = Weight | Run


class Curves:
    """The histories of a run, one row an epoch, its columns by strength of the penalty."""

    def __init__(self, subject: Subject) -> None:
        weight = subject.weight if isinstance(subject, Run) else subject
        self.tag = weight.tag
        self.history: History = history_of(weight)
        self.given: dict[str, Any] = weight.record.recipe["model"]["init_args"]
        self.lams: list[float] = self.given.get("lams") or [0.0]
        self.seeds: int = self.given.get("seeds", 1)
        self.epochs = ~self.history["gap"].isnan().all(1)

    def __call__(self, metric: str, lam: float = 0.0) -> Tensor:
        """(epochs, seeds) of one strength."""
        if lam not in self.lams:
            raise NotMeasured(f"no run of {self.tag} has lambda = {lam:g}")
        first = self.lams.index(lam) * self.seeds
        return self.history[metric][self.epochs, first : first + self.seeds]

    def last(self, metric: str, lam: float = 0.0) -> Tensor:
        """(seeds,) after the last epoch."""
        return self(metric, lam)[-1]


def rank_correlation(x: Tensor, y: Tensor) -> float:
    """Spearman's, of two lists without ties."""
    ranks = torch.stack([one.flatten().argsort().argsort().double() for one in (x, y)])
    return torch.corrcoef(ranks)[0, 1].item()


def association(subject: Subject) -> Measured:
    """Spearman correlation of Lip_inf and gap over runs and epochs from the third on, without penalty."""
    curves = Curves(subject)
    jump, gap, after = (curves(name)[2:] for name in ("lipschitz", "gap", "gap_after"))
    if len(jump) < 3:
        raise NotMeasured(f"the run has {len(jump)} epochs from the third on, too few to rank")
    within = [rank_correlation(jump[:, i], gap[:, i]) for i in range(jump.shape[1])]
    risen = jump[-1] / jump[0]
    note = (
        f"{rank_correlation(jump, after):.2f} with the training loss taken after the epoch; along single runs "
        f"{min(within):.2f} to {max(within):.2f}, over runs at the end {rank_correlation(jump[-1], gap[-1]):.2f}; a run "
        f"multiplies the jump by {risen.min():.2g} to {risen.max():.2g}"
    )
    return Measured(rank_correlation(jump, gap), n=gap.numel(), note=note)


def _medians(curves: Curves, metric: str = "gap") -> list[float]:
    return [curves.last(metric, lam).quantile(0.5).item() for lam in curves.lams]


def penalised(*subjects: Subject) -> Measured:
    """Median gap at one strength less that at the next, for each pair of neighbours; tied nets, if given, in the note."""
    curves = Curves(subjects[0])
    gaps, after = _medians(curves), _medians(curves, "gap_after")
    said = ", ".join(f"{gap:.3f} at {lam:g}" for gap, lam in zip(gaps, curves.lams, strict=True))
    note = f"median gaps {said}; after the epoch {', '.join(f'{gap:.3f}' for gap in after)}"
    note += f"; largest jumps {', '.join(f'{jump:.2g}' for jump in _medians(curves, 'lipschitz'))}"
    if len(subjects) > 1:
        note += f"; tied {Curves(subjects[1]).last('gap').quantile(0.5):.3f}"
    return Measured([one - other for one, other in zip(gaps, gaps[1:], strict=False)], n=curves.seeds, note=note)


def penalised_ends(subject: Subject) -> Measured:
    """Median gap without the penalty less that at its largest strength."""
    found = penalised(subject)
    return Measured(sum(found.value), n=found.n, note=found.note)  # type: ignore[arg-type]


def means(*metrics: str) -> Callable[[Subject], Measured]:
    """Means over seeds of each metric after the last epoch, for every strength; standard deviations in the note."""

    def measure(subject: Subject) -> Measured:
        curves = Curves(subject)
        lams = LAMS if curves.tag == DIGITS else (0.0,)
        values = [curves.last(metric, lam) for metric in metrics for lam in lams]
        note = "standard deviations over seeds " + ", ".join(f"{one.std():.2g}" for one in values)
        note += "; the expected values are means of three seeds on another split"
        return Measured([one.mean().item() for one in values], n=curves.seeds, note=note)

    return measure


def jumps_along(subject: Subject) -> Measured:
    """Mean Lip_inf without penalty after epochs 1, 10 and 40; after the first and the last for trained projections."""
    curves = Curves(subject)
    values, epochs = curves("lipschitz"), (1, 10, 40) if curves.tag == DIGITS else (1, 40)
    if len(values) < epochs[-1]:
        raise NotMeasured(f"the run has {len(values)} epochs of {epochs[-1]}")
    chosen = [values[epoch - 1] for epoch in epochs]
    note = "medians " + ", ".join(f"{one.quantile(0.5):.3g}" for one in chosen)
    note += "; standard deviations over seeds " + ", ".join(f"{one.std():.2g}" for one in chosen)
    note += "; the expected values are means of three seeds on another split"
    return Measured([one.mean().item() for one in chosen], n=values.shape[1], note=note)


def _test_set(data: str) -> tuple[Tensor, Tensor]:
    try:
        split = read_digits("test") if data.startswith("digits") else image_files.read("mnist", "test")
    except ZooError as error:
        raise Skip(str(error)) from None
    return split.images.float() / (1 if split.images.is_floating_point() else 255), split.labels


@torch.no_grad()
def recomputed(weight: Weight) -> list[float]:
    """Test loss, test accuracy and Lip_inf of the kept replicas over those in the history, the ratios furthest from one."""
    images, labels = _test_set(weight.tag)
    history, columns = history_of(weight), weight.task["replica"]
    logits = torch.cat([weight.network(x) for x in images.split(500)], 1)
    losses = torch.stack([F.cross_entropy(one, labels) for one in logits])
    accuracies = (logits.argmax(-1) == labels).double().mean(1)
    jumps = torch.stack([theory.lipschitz(W) for W in weight.network.network.W])
    ratios = []
    for name, now in (("val_loss", losses), ("val_accuracy", accuracies), ("lipschitz", jumps)):
        then = history.last(name)[columns]
        ratio = torch.where(then == now, 1.0, now / then)
        ratios.append(ratio[(ratio - 1).abs().argmax()].item())
    return ratios


DIGITS, TIED, TRAINED = "digits", "digits_tied", "digits_trained"
MNIST, MNIST_TIED, MNIST_TRAINED = "mnist", "mnist_tied", "mnist_trained"
NAMES = {DIGITS: "random projections", TIED: "tied", TRAINED: "trained projections"}
LAMS = (0.0, 0.01, 0.1)

# Measured with an implementation written independently of this one, means of three seeds; by recipe, in the order of LAMS.
GAPS = {DIGITS: (0.214, 0.193, 0.059), TIED: (0.153,), TRAINED: (0.127,)}
JUMPS = {DIGITS: (0.685, 0.049, 0.013), TRAINED: (0.100,)}
TRAIN = {DIGITS: (0.037, 0.045, 0.156), TIED: (0.127,), TRAINED: (0.0002,)}
TEST = {DIGITS: (0.251, 0.237, 0.214), TIED: (0.280,), TRAINED: (0.127,)}
ACCURACY = {DIGITS: (0.945, 0.943, 0.935), TIED: (0.919,), TRAINED: (0.977,)}
RISE = {DIGITS: (0.067, 0.183, 0.685), TRAINED: (0.098, 0.100)}  # after epochs 1, 10 and 40; 1 and 40


def _joined(measure: Callable[[Subject], Measured]) -> Callable[..., Measured]:
    """The values of several runs, one after another."""

    def together(*runs: Run) -> Measured:
        found = [measure(run) for run in runs]
        values = [value for one in found for value in one.value]  # type: ignore[union-attr]
        return Measured(values, n=found[0].n, note=" | ".join(one.note for one in found))

    return together


def both(
    id: str,
    says: str,
    source: str,
    expected: Near | AtLeast,
    seconds: float,
    measure: Callable[..., Any],
    tags: tuple[str, ...],
) -> Iterator[Claim]:
    """A claim on the histories of shipped weights, and, with a "t", on those of their recipes trained again."""
    yield Claim(id, says, source, "figure", expected, 0.1, measure, "weights", tags)
    yield Claim(
        f"{id}t", says, source, "figure", expected, seconds, measure, "training", runs=tuple(map(Retrain, tags))
    )


def numbers(
    id: str, says: str, values: dict[str, tuple[float, ...]], measure: Callable[[Subject], Measured], **tolerance: float
) -> Iterator[Claim]:
    """A claim about numbers of the digits runs: on each shipped weight, and on all of their recipes trained again."""
    for tag, one in values.items():
        lams = ", lambda = 0, 0.01, 0.1" if tag == DIGITS and id != "G5" else ""
        about = f"{says} (digits, {NAMES[tag]}{lams})."
        yield Claim(id, about, OURS, "figure", Near(one, **tolerance), 0.1, measure, "weights", (tag,))
    every = Near([value for one in values.values() for value in one], **tolerance)
    about = f"{says} (digits: {', then '.join(NAMES[tag] for tag in values)})."
    yield Claim(
        f"{id}t", about, OURS, "figure", every, 300, _joined(measure), "training", runs=tuple(map(Retrain, values))
    )


SCATTER = "Figure figure-generalization-lipschitz of the released code; the threshold is ours"
BOXES = "Figure figure-generalization-lambda of the released code"

CLAIMS: tuple[Claim, ...] = (
    *both(
        "G1",
        "Along training the gap grows with the largest jump: Spearman correlation over runs and epochs from the third on "
        "(digits, random projections).",
        SCATTER,
        AtLeast(0.6),
        180,
        association,
        (DIGITS,),
    ),
    *both(
        "G1b",
        "The same with trained projections.",
        SCATTER,
        AtLeast(0.0),
        60,
        association,
        (TRAINED,),
    ),
    *both(
        "G1c",
        "The same on MNIST, depth 100, 6,000 training images, random projections.",
        SCATTER,
        AtLeast(0.6),
        300,
        association,
        (MNIST,),
    ),
    *both(
        "G1d",
        "The same on MNIST, depth 100, 6,000 training images, trained projections.",
        SCATTER,
        AtLeast(0.0),
        100,
        association,
        (MNIST_TRAINED,),
    ),
    *both(
        "G2",
        "The penalty lowers the gap: median at lambda = 0 less that at 0.01, and that less the one at 0.1 (digits).",
        BOXES,
        AtLeast(0.0),
        240,
        penalised,
        (DIGITS, TIED),
    ),
    *both(
        "G2b",
        "The same on MNIST, depth 100, 6,000 training images.",
        BOXES,
        AtLeast(0.0),
        400,
        penalised,
        (MNIST, MNIST_TIED),
    ),
    *both(
        "G2c",
        "The two-max penalty lowers the gap: median at lambda = 0 less that at 1 (digits, depth 100).",
        "Figure penalization-lambda-two-max of the released code",
        AtLeast(0.0),
        60,
        penalised_ends,
        ("digits_two_max",),
    ),
    *both(
        "G2d",
        "The max-max penalty lowers the gap: median at lambda = 0 less that at 10 (digits, depth 100).",
        "Figure penalization-lambda-max-max of the released code",
        AtLeast(0.0),
        60,
        penalised_ends,
        ("digits_max_max",),
    ),
    *numbers(
        "G3",
        "Mean train-test gap after 40 epochs",
        GAPS,
        means("gap"),
        relative=0.25,
    ),
    *numbers(
        "G3b",
        "Mean largest jump between layers after 40 epochs",
        JUMPS,
        means("lipschitz"),
        relative=0.25,
    ),
    *numbers(
        "G4",
        "Mean training loss of the last epoch, then test loss",
        {tag: TRAIN[tag] + TEST[tag] for tag in NAMES},
        means("running_loss", "val_loss"),
        relative=0.2,
    ),
    *numbers(
        "G4b",
        "Mean test accuracy after 40 epochs",
        ACCURACY,
        means("val_accuracy"),
        absolute=0.015,
    ),
    *numbers(
        "G5",
        "Without a penalty training multiplies the largest jump by ten (epochs 1, 10, 40) or leaves it (1, 40)",
        RISE,
        jumps_along,
        relative=0.3,
    ),
    Claim(
        "G6",
        "|F_W(x) - F_W'(x)| <= K |x| e^(2 K R) (1/L) sum_k |W_k - W'_k|: largest ratio over pairs of nets.",
        "Lipschitz continuity in the weights; derived here by Gronwall's inequality",
        "bound",
        AtMost(1.0),
        2,
        lambda: worst_pair(0),
        "theory",
    ),
    Claim(
        "G6b",
        "The same with e^(K R), half of the exponent.",
        "derived here",
        "bound",
        AtMost(1.0),
        0.1,
        lambda: worst_pair(1),
        "theory",
    ),
    Claim(
        "G6c",
        "The same for ODEs with m fields: |H_1 - H'_1| over e^(K R) (M + K (|x| + M R)) sup_t |theta - theta'|_1.",
        "step (i) of the bound, derived here",
        "bound",
        AtMost(1.0),
        3,
        ode_pairs,
        "theory",
    ),
    Claim(
        "G7",
        "|h_k| <= |x| e^(K R) at every layer: largest ratio over nets.",
        "derived here by Gronwall's inequality",
        "bound",
        AtMost(1.0),
        1,
        output_ratios,
        "theory",
    ),
    Claim(
        "G8",
        "The bound does not depend on depth: relative drift over L = 100 … 2000 of K_W, R_W and the bound in units of C.",
        "abstract; smooth layers at initialisation, the bound derived here",
        "rate",
        AtMost(0.01),
        2,
        drifts,
        "theory",
    ),
    Claim(
        "G9",
        "With independent layers L sup_k |W_(k+1) - W_k|_inf grows as the depth: slope of its logarithm, L = 50 … 2000.",
        "derived here",
        "rate",
        Near(1.0, absolute=0.02),
        2,
        growth,
        "theory",
    ),
    Claim(
        "G9b",
        "The same after division by the median of the largest of as many normals.",
        "derived here",
        "rate",
        Near(1.0, absolute=0.02),
        0.1,
        corrected_growth,
        "theory",
    ),
    Claim(
        "G10",
        "Terms of the bound: n^(-1/4) and K_W^(1/2) if weights move, n^(-1/2) (ln n)^(1/2) if they are constant.",
        "form of the bound, derived here",
        "exact",
        Near((-0.25, 0.5, -0.5), absolute=1e-9),
        0.1,
        sample_slopes,
        "theory",
    ),
    Claim(
        "G11",
        "A tied net has layers without a jump, and no term in sqrt(K_W) in its bound.",
        "the limit of an infinite penalty",
        "exact",
        Near((0.0, 0.0), absolute=0.0),
        0.1,
        tied_net,
        "theory",
    ),
    Claim(
        "G11",
        "A trained tied net has layers without a jump, and no term in sqrt(K_W) in its bound.",
        "the limit of an infinite penalty",
        "exact",
        Near((0.0, 0.0), absolute=0.0),
        0.1,
        tied_weights,
        "weights",
        (TIED,),
    ),
    *(
        Claim(
            "W1",
            "Test loss, test accuracy and largest jump of the weights are those of the history (ratios).",
            "measured here",
            "exact",
            Near((1.0, 1.0, 1.0), relative=1e-3),
            5,
            recomputed,
            "weights",
            (tag,),
        )
        for tag in (DIGITS, TIED, TRAINED, MNIST, MNIST_TIED, MNIST_TRAINED)
    ),
)
