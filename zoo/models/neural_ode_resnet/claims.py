"""What "Implicit regularization of deep residual networks towards neural ODEs" (ICLR 2024) says, recomputed.

Where a figure of the paper is meant, nets, data and seeds are those of its released script (datamodules/gaussian_pairs.py).
Letters tell parts of a claim apart. "Measured here" is a number of another implementation, on the script's draws too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import functional_call

from datamodules import image_files
from datamodules.gaussian_pairs import released
from zoo.claims import AtLeast, AtMost, Between, Claim, Measured, Near, Skip
from zoo.depth.continuous import along, flow, smooth_path
from zoo.depth.regularity import jumps
from zoo.history import History, NotMeasured, history_of
from zoo.models.neural_ode_resnet import theory
from zoo.models.neural_ode_resnet.descent import as_released, descend, together
from zoo.models.neural_ode_resnet.network import BRANCHES, NeuralODEResNet
from zoo.registry import ZooError
from zoo.weights import Weight

OURS = "measured here, independent implementation"
DOUBLE = torch.float64
JUMP_DEPTHS, LIMIT_DEPTHS, REFERENCE = (2, 8, 32, 128, 512), (2, 4, 8, 16, 32, 64), 1024
MOMENTS = (0, 100, 300, 1000, 2000, 3000)


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    a, b = (torch.tensor(one, dtype=DOUBLE).log() for one in (x, y))
    return ((a - a.mean()) @ (b - b.mean()) / (a - a.mean()).square().sum()).item()


def _ratios(values: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(values, values[1:], strict=False)]


def _said(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)


# Finite training time: jumps along depth.


@functools.cache
def training(depth: int, steps: int = 50) -> tuple[Tensor, Tensor]:
    """Of each step 0 … steps-1 of the net of Figure 1 (left): its largest jump (t,), and squared jumps of V and W (t, 2)."""
    inner, x, y = released("figure_1_left")
    network = as_released(inner, depth)
    largest, squared = [], []
    for _ in descend(network, x, y, lr=0.01, steps=steps - 1):
        V, W = network.V.detach(), network.W.detach()
        largest.append(theory.largest_jump(V, W))
        squared.append(torch.stack([theory.squared_jumps(one) for one in (V, W)]))
    return torch.stack(largest).double(), torch.stack(squared).double()


def largest_jumps() -> list[float]:
    """max over layers and steps, by depth."""
    return [training(depth)[0].amax().item() for depth in JUMP_DEPTHS]


def released_sums() -> list[float]:
    """The released script's statistic: root of the sum over layers and steps of squared jumps, the larger of V's and W's."""
    return [training(depth)[1].sum(0).amax().sqrt().item() for depth in JUMP_DEPTHS]


def jump_slopes(values: Sequence[float]) -> list[float]:
    """Slopes between successive depths, from 8 on."""
    pairs = zip(JUMP_DEPTHS[1:-1], JUMP_DEPTHS[2:], values[1:-1], values[2:], strict=True)
    return [math.log(later / earlier) / math.log(deeper / depth) for depth, deeper, earlier, later in pairs]


# Finite training time: distance to the limit.


@functools.cache
def distances() -> dict[str, list[float]]:
    """Distance of V and W to depth 1024 after 50 steps, for the depths LIMIT_DEPTHS; with "released", the script's own of V."""
    inner, x, y = released("figure_1_right")
    nets = {depth: as_released(inner, depth) for depth in (*LIMIT_DEPTHS, REFERENCE)}
    for _ in together(nets, x, y, lr=0.01, steps=50):
        pass
    V, W = ([getattr(net, name).detach() for net in nets.values()] for name in ("V", "W"))
    return {
        "V": [theory.depth_distance(one, V[-1]).item() for one in V[:-1]],
        "W": [theory.depth_distance(one, W[-1]).item() for one in W[:-1]],
        "released": [theory.released_distance(one, V[-1]).item() for one in V[:-1]],
    }


def distance_ratios(*names: str) -> list[float]:
    """Per doubling from L = 4 on."""
    return [ratio for name in names for ratio in _ratios(distances()[name][1:])]


def growth_in_time() -> Measured:
    """Smallest increase of the distance between depth 32 and 256 over ten steps, relative, up to step 200."""
    inner, x, y = released("figure_1_left")
    nets = {depth: as_released(inner, depth) for depth in (32, 256)}
    found = [
        theory.depth_distance(nets[32].V.detach(), nets[256].V.detach()).item()
        for step in together(nets, x, y, lr=0.01, steps=200)
        if step % 10 == 0
    ]
    ratios = [1 / one - 1 for one in _ratios(found[1:])]
    return Measured(min(ratios), note=f"distance {_said(found[5::5])} after 50, 100, 150 and 200 steps")


def jumps_in_time() -> list[float]:
    """Largest jump at L = 32 in the first 50 and the first 200 steps."""
    largest = training(32, 200)[0]
    return [largest[:50].amax().item(), largest.amax().item()]


def faster_than_linear() -> Measured:
    """With K(T) = beta T e^{alpha T}, ln(K(2T)/2K(T)) = alpha T doubles with T: that of T = 100 less twice that of T = 50."""
    largest = training(32, 200)[0]
    bound = [largest[:steps].amax().item() for steps in (50, 100, 200)]
    first, second = (math.log(later / (2 * earlier)) for earlier, later in zip(bound, bound[1:], strict=False))
    return Measured(second - 2 * first, note=f"ln(K(2T)/2K(T)) is {first:.3f} at T = 50 steps and {second:.3f} at 100")


# Bounds that hold with probability.


def clipped_norms() -> Measured:
    """|V_k| and |W_k - W_k(0)| over T M_pi, then both norms over M = T M_pi + 2 sqrt(qm), the largest on the way."""
    generator = torch.Generator().manual_seed(5)
    network = NeuralODEResNet(d_in=16, d_out=16, width=16, hidden=32, depth=32, memory="states", generator=generator)
    x, y = torch.randn(2, 50, 16, generator=generator)
    lr, steps, clip, start = 0.1, 300, 0.01, network.W.detach().clone()
    worst = torch.zeros(4, dtype=DOUBLE)
    for step, _ in descend(network, x, y, lr=lr, steps=steps, clip=clip):
        if step:
            V, W = network.V.detach(), network.W.detach()
            moved, bound = step * lr * clip, theory.norm_bound(step * lr, clip, 16, 32)
            sizes_now = [(V, moved), (W - start, moved), (V, bound), (W, bound)]
            found = torch.stack([one.flatten(1).norm(dim=1).amax() / by for one, by in sizes_now])
            worst = torch.maximum(worst, found.double())
    return Measured(worst.tolist(), note=f"clipped at M_pi = {clip}, T = {steps * lr:g}, q = 16, m = 32, L = 32")


def confidences() -> Measured:
    """P(|W|_F > 2 sqrt(qm)) over exp(-3qm/16), the largest for qm = 1 … 400, exactly."""
    pairs = [theory.norm_confidence(entries) for entries in range(1, 401)]
    return Measured(
        max(tail / bound for tail, bound in pairs), note=f"at qm = 1: {pairs[0][0]:.4f} and {pairs[0][1]:.4f}"
    )


# The limit of depth for given weights.


@functools.cache
@torch.no_grad()
def discretisation() -> tuple[list[float], list[float]]:
    """|F_L - F| for L = 16 … 256 on 20 inputs, F being the net of depth 4096, and the ODE solved by torchdiffeq if it is there."""
    x = torch.randn(20, 16, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    path = smooth_path(((16, 32), (32, 16)), 0.3, torch.Generator().manual_seed(0), DOUBLE)
    outputs = []
    for depth in (16, 32, 64, 128, 256, 4096):
        network = NeuralODEResNet(d_in=16, d_out=16, width=16, hidden=32, depth=depth).double()
        for k in range(depth):
            network.V[k], network.W[k] = path(k / depth)
        outputs.append(network(x))
    limit = outputs.pop()

    def scaled(s: float) -> tuple[Tensor, ...]:
        V, W = path(s)
        return V, W / math.sqrt(16)

    errors = [(one - limit).norm().item() for one in outputs]
    try:
        solved = along(BRANCHES["gelu"], x, scaled, 1 / math.sqrt(32), method="dopri5", rtol=1e-9, atol=1e-11)
    except ZooError:
        return errors, []
    return errors, [(one - solved).norm().item() for one in outputs]


def discretisation_order() -> Measured:
    errors = discretisation()[0]
    return Measured(_slope((16, 32, 64, 128, 256), errors), note=f"distances {_said(errors)}")


def discretisation_order_of_the_ode() -> Measured:
    errors = discretisation()[1]
    if not errors:
        raise Skip("the ODE's solution needs torchdiffeq: pip install -e '.[depth]'")
    return Measured(_slope((16, 32, 64, 128, 256), errors), note=f"distances {_said(errors)}")


# The Polyak-Lojasiewicz condition.

SAMPLES = (5, 10, 20, 40)


@functools.cache
def lojasiewicz() -> dict[int, Tensor]:
    """(|dA|^2 + L sum |dZ_k|^2 + |dB|^2)/loss at steps 0, 10, … 100 of training, by n; q = d = 10, m = 320, L = 16, |x| = sqrt(q)."""
    found = {}
    for n in SAMPLES:
        generator, q = torch.Generator().manual_seed(n), 10
        x, y = torch.randn(2, n, q, generator=generator, dtype=DOUBLE)
        x = x * (math.sqrt(q) / x.norm(dim=1, keepdim=True))
        network = NeuralODEResNet(
            d_in=q, d_out=q, width=q, hidden=320, depth=16, memory="states", generator=generator
        ).double()
        names = ("A", "B", "V", "W")

        def loss(*leaves: Tensor, network: NeuralODEResNet = network, x: Tensor = x, y: Tensor = y) -> Tensor:
            outputs = functional_call(network, dict(zip(names, leaves, strict=True)), x)  # noqa: B023, never changed
            return (outputs - y).square().sum(1).mean()

        ratios = []
        for step, _ in descend(network, x, y, lr=0.1, steps=100):
            if step % 10 == 0:
                ratios.append(theory.lojasiewicz_ratio(loss, (network.A, network.B), (network.V, network.W))[0])
        found[n] = torch.stack(ratios)
    return found


def smallest_ratios() -> Measured:
    return Measured([one.amin().item() for one in lojasiewicz().values()], note="n = 5, 10, 20, 40, over 100 steps")


def ratios_fall_with_samples() -> Measured:
    """Largest quotient of the ratio at 2n and at n, at the same step."""
    every = list(lojasiewicz().values())
    quotients = torch.stack([later / earlier for earlier, later in zip(every, every[1:], strict=False)])
    return Measured(quotients.max().item(), note=f"at the start {_said([one[0].item() for one in every])}")


def ratio_against_rate() -> Measured:
    """Exponent of the ratio at the start in n; the bound's own is -3/2."""
    every = [one[0].item() for one in lojasiewicz().values()]
    return Measured(_slope(SAMPLES, every))


# Long training.


@functools.cache
def long_training() -> tuple[list[float], list[float], list[float]]:
    """Loss and largest jumps of V and W of the net of Figure 2 at the steps MOMENTS."""
    inner, x, y = released("figure_2")
    network = as_released(inner, 64)
    losses, outer, inside = [], [], []
    for step, loss in descend(network, x, y, lr=0.005, steps=MOMENTS[-1]):
        if step in MOMENTS:
            losses.append(loss)
            outer.append(theory.largest_jump(network.V.detach()).item())
            inside.append(theory.largest_jump(network.W.detach()).item())
    return losses, outer, inside


def risk(weight: Weight) -> float:
    """Loss of a weight on its own data, in float64."""
    network = weight.network.one(0).double()
    with torch.no_grad():
        return (network(weight.task["x"][0].double()) - weight.task["y"][0].double()).square().mean().item()


def _below(history: History, level: float) -> Tensor:
    """The logged steps from the first on whose loss is below a level, as a mask (s,)."""
    values = history["risk"][:, 0]
    if not bool((values < level).any()):
        raise NotMeasured(f"the loss of this run ends at {values[-1]:.2g}, above {level:g}")
    return history.steps >= history.steps[values < level][0]


def first_below(weight: Weight) -> list[float]:
    """First logged step whose loss is below 1e-1, and below 1e-4."""
    history = history_of(weight)
    return [history.steps[_below(history, level)][0].item() for level in (1e-1, 1e-4)]


def straightness(weight: Weight) -> Measured:
    """R^2 of ln loss against the step, from the loss 1e-3 on; and the slope for the note."""
    history = history_of(weight)
    late = _below(history, 1e-3)
    a, b = history.steps[late].double(), history["risk"][late, 0].log()
    a, b = a - a.mean(), b - b.mean()
    slope = (a @ b / a.square().sum()).item()
    return Measured((1 - (b - slope * a).square().sum() / b.square().sum()).item(), note=f"rate {-slope:.3g} a step")


def roughness_of(*weights: Weight) -> list[float]:
    """theory.roughness of V and W of each weight."""
    return [theory.roughness(weight.network.tensors()[name][0].detach()).item() for weight in weights for name in "VW"]


def ratio_of_jumps(smooth: Weight, rough: Weight) -> list[float]:
    """Mean |V_{k+1} - V_k| and |W_{k+1} - W_k| of the second weight over those of the first."""
    return [(_mean_jump(rough, name) / _mean_jump(smooth, name)).item() for name in ("V", "W")]


def _mean_jump(weight: Weight, name: str) -> Tensor:
    return jumps(weight.network.tensors()[name][0].detach(), "frobenius").mean()


# Both limits.


def halving(*weights: Weight) -> Measured:
    """|Z^L - Z^2L|/|Z^2L - Z^4L| in L^2 of trained nets of depth L, 2L, 4L, for V and for W."""
    found, said = [], []
    for name in ("V", "W"):
        every = [weight.network.tensors()[name][0].detach() for weight in weights]
        gaps = [theory.depth_distance(one, other).item() for one, other in zip(every, every[1:], strict=False)]
        found.append(gaps[0] / gaps[1])
        said.append(f"{name} {_said(gaps)}")
    return Measured(found, note=f"distances {'; '.join(said)}")


def losses(*weights: Weight) -> list[float]:
    return [risk(weight) for weight in weights]


def losses_of_the_ode(*weights: Weight) -> Measured:
    """Loss of the ODE whose weights are those of each net, interpolated, solved by torchdiffeq: quotients of twice the depth."""
    found = []
    for weight in weights:
        network: NeuralODEResNet = weight.network.one(0).double()  # type: ignore[assignment]
        x, y = (weight.task[name][0].double() for name in ("x", "y"))
        with torch.no_grad():
            try:
                h = flow(BRANCHES[network.activation], network.embed(x), network.layers(), network.strength, rtol=1e-6)
            except ZooError as error:
                raise Skip(str(error)) from None
            found.append((h @ network.B.mT - y).square().mean().item())
    return Measured([1 / one for one in _ratios(found)], note=f"losses {_said(found)}")


# Relu.


@functools.cache
def scalar_nets() -> dict[int, theory.ScalarNet]:
    return {depth: theory.train_scalar(depth, 2.0) for depth in (5, 20, 80)}


def scalar_ends() -> list[float]:
    return [one.end[1::2].mean().item() for one in scalar_nets().values()]


def scalar_still() -> float:
    """Largest move of a weight of odd number."""
    return max((one.end - one.start)[::2].abs().max().item() for one in scalar_nets().values())


def scalar_gaps() -> float:
    """Smallest distance between neighbours, over 2 log C."""
    return min(one.end.diff().abs().min().item() for one in scalar_nets().values()) / (2 * math.log(2))


# Images. The paper's nets have 256 blocks; smaller ones are named so.

SMALL = ("cifar_small_tied", "cifar_small_iid", "cifar_small_relu")
PAPER = tuple(f"cifar_{activation}_{init}" for activation in ("identity", "gelu", "relu") for init in ("tied", "iid"))
TABLE = {
    "cifar_identity_tied": (0.565, 0.598),
    "cifar_identity_iid": (0.561, 0.596),
    "cifar_gelu_tied": (0.805, 0.799),
    "cifar_gelu_iid": (0.898, 0.857),
    "cifar_relu_tied": (0.974, 0.881),
    "cifar_relu_iid": (0.984, 0.884),
}


def accuracies(weight: Weight) -> list[float]:
    """Train and test accuracy at the end, from the record."""
    return [weight.record.metrics[name] for name in ("accuracy", "val_accuracy")]


def conv_jumps(weight: Weight) -> list[float]:
    """Mean over the blocks of the jumps of conv1 and of conv2."""
    kernels = (weight.network.tensors()[name][0].detach() for name in ("conv1", "conv2"))
    return [jumps(one, "frobenius").mean().item() for one in kernels]


def conv_roughness(*weights: Weight) -> list[float]:
    """theory.roughness of conv1 and conv2 of each weight."""
    return [
        theory.roughness(weight.network.tensors()[name][0].detach()).item()
        for weight in weights
        for name in ("conv1", "conv2")
    ]


def rougher_with_relu(gelu: Weight, relu: Weight) -> Measured:
    """theory.roughness of conv1 and conv2 with relu; that with GELU for the note."""
    note = (
        f"with GELU {_said(conv_roughness(gelu))}; relu is rougher, but four epochs and 16 blocks do not make it noise"
    )
    return Measured(conv_roughness(relu), note=note)


def conv_ratio(tied: Weight, iid: Weight) -> list[float]:
    """Jumps of conv1 and conv2 from independent blocks over those from tied ones."""
    return [rough / smooth for rough, smooth in zip(conv_jumps(iid), conv_jumps(tied), strict=True)]


@torch.no_grad()
def recomputed(weight: Weight) -> Measured:
    """Test accuracy over that of the record."""
    try:
        split = image_files.read("cifar-10", "test")
    except ZooError as error:
        raise Skip(str(error)) from None
    network = weight.network.one(0)
    pairs = zip(split.images.split(500), split.labels.split(500), strict=True)
    hits = [network(images.float() / 255).argmax(-1) == labels for images, labels in pairs]
    found = torch.cat(hits).double().mean().item()
    return Measured(found / weight.record.metrics["val_accuracy"], note=f"{found:.4f} on {weight.record.data['name']}")


# The claims.

LONG, IID, DEPTHS = "long_time", "long_time_iid", ("limits_32", "limits_64", "limits_128")

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "N1",
        "The largest jump between layers, over 50 steps, is O(1/L): slopes between depths 8, 32, 128, 512.",
        "Proposition 3 and Figure 1, left",
        "rate",
        Near((-1.0, -1.0, -1.0), absolute=0.05),
        2,
        lambda: jump_slopes(largest_jumps()),
        "theory",
    ),
    Claim(
        "N1b",
        "max over layers and 50 steps of |Z_{k+1} - Z_k|_F at L = 2, 8, 32, 128, 512.",
        f"the label of Figure 1, left; values {OURS}",
        "figure",
        Near((0.118, 0.0245, 0.00600, 0.00149, 0.00037), relative=0.02),
        0.1,
        largest_jumps,
        "theory",
    ),
    Claim(
        "N2",
        "What the released script plots in its place, the root of the sum over layers and steps of squared jumps, is O(L^-1/2).",
        f"Figure 1, left, as its released script computes it; slope {OURS}",
        "rate",
        Near((-0.5, -0.5, -0.5), absolute=0.03),
        0.1,
        lambda: jump_slopes(released_sums()),
        "theory",
    ),
    Claim(
        "N2b",
        "The released script's statistic after 50 steps at L = 2, 8, 32, 128, 512.",
        f"Figure 1, left, as its released script computes it; values {OURS}",
        "figure",
        Near((0.416, 0.227, 0.115, 0.0577, 0.0289), relative=0.02),
        0.1,
        released_sums,
        "theory",
    ),
    Claim(
        "N3",
        "The distance to the limit of infinite depth is O(1/L): halved per doubling from L = 4 to 64, V and then W.",
        "Theorem 4 (ii) and Figure 1, right, against L = 1024 after 50 steps",
        "rate",
        Near((2.0,) * 8, absolute=0.15),
        4,
        lambda: distance_ratios("V", "W"),
        "theory",
    ),
    Claim(
        "N3c",
        "So is the distance as the released script reads it, at the coarser net's steps only: V.",
        "Figure 1, right, as its released script computes it, against L = 1024 after 50 steps",
        "rate",
        Near((2.0,) * 4, absolute=0.15),
        0.1,
        lambda: distance_ratios("released"),
        "theory",
    ),
    Claim(
        "N3b",
        "Distance of V and then of W to depth 1024 after 50 steps, L = 2, 4, 8, 16, 32, 64.",
        f"Figure 1, right; values {OURS}",
        "figure",
        Near(
            (0.0557, 0.0258, 0.0125, 0.0061, 0.0030, 0.0015, 0.00166, 0.00075, 0.00035, 0.00017, 8.4e-5, 4.1e-5),
            relative=0.03,
        ),
        0.1,
        lambda: [value for name in ("V", "W") for value in distances()[name]],
        "theory",
    ),
    Claim(
        "N4",
        "The distance to the limit grows with time: smallest relative increase over ten steps, of 200, L = 32 against 256.",
        "Figure 1, right",
        "figure",
        AtLeast(0.0),
        4,
        growth_in_time,
        "theory",
    ),
    Claim(
        "N4b",
        "Largest jump at L = 32 in the first 50 and the first 200 steps.",
        f"Figure 1, left; values {OURS}",
        "figure",
        Near((0.0060, 0.0353), relative=0.02),
        1,
        jumps_in_time,
        "theory",
    ),
    Claim(
        "N4c",
        "The jumps grow slower than the bound K = beta T exp(alpha T): their growth beyond linear does not double with T.",
        "Figure 1 against Proposition 3",
        "bound",
        AtMost(0.0),
        0.1,
        faster_than_linear,
        "theory",
    ),
    Claim(
        "N5",
        "Clipped flow: |V_k| and |W_k - W_k(0)| over T M_pi, then |V_k| and |W_k| over M = T M_pi + 2 sqrt(qm).",
        "Eq. 7",
        "bound",
        AtMost(1.0 + 1e-5),
        1,
        clipped_norms,
        "theory",
    ),
    Claim(
        "N5b",
        "P(|W|_F > 2 sqrt(qm)) at the start is at most exp(-3qm/16): the largest quotient for qm = 1 … 400.",
        "the probability of Eq. 7; the chance is computed exactly",
        "bound",
        AtMost(1.0),
        0.1,
        confidences,
        "theory",
    ),
    Claim(
        "N6",
        "For smooth weights Z_k = Z(k/L) the output is within C/L of that of infinite depth: exponent, L = 16 … 256 against 4096.",
        "Proposition 2",
        "rate",
        Near(-1.0, absolute=0.05),
        5,
        discretisation_order,
        "theory",
    ),
    Claim(
        "N6b",
        "The same against the neural ODE itself, solved by torchdiffeq.",
        "Proposition 2",
        "rate",
        Near(-1.0, absolute=0.05),
        0.1,
        discretisation_order_of_the_ode,
        "theory",
    ),
    Claim(
        "N7",
        "(|dA|^2 + L sum |dZ_k|^2 + |dB|^2)/loss stays positive in training: its smallest value for n = 5, 10, 20, 40.",
        "Proposition 5, whose constants are not given",
        "bound",
        AtLeast(1e-3),
        6,
        smallest_ratios,
        "theory",
    ),
    Claim(
        "N7b",
        "It falls with the number of samples: largest quotient of the ratio at 2n and at n, at equal steps.",
        "Proposition 5, whose constants are not given",
        "bound",
        AtMost(1.0),
        0.1,
        ratios_fall_with_samples,
        "theory",
    ),
    Claim(
        "N7c",
        "At the start it falls no faster than the bound c/(n sqrt(nq)): its exponent in n.",
        "Proposition 5, whose constants are not given",
        "bound",
        Between(-1.5, 0.0),
        0.1,
        ratio_against_rate,
        "theory",
    ),
    Claim(
        "N8",
        "Loss of the net of Figure 2 at steps 0, 100, 300, 1000, 2000, 3000.",
        f"Figure 2, right; values {OURS}",
        "figure",
        Near((1.883, 0.972, 0.702, 0.397, 0.209, 0.123), relative=0.1),
        10,
        lambda: long_training()[0],
        "theory",
    ),
    Claim(
        "N8b",
        "After 80,000 steps its loss has come from 2 to about 7e-8.",
        "Figure 2, right (read off)",
        "figure",
        AtMost(1.4e-7),
        0.1,
        risk,
        "weights",
        (LONG,),
    ),
    Claim(
        "N8c",
        "Its loss is below 0.1 after a few thousand steps and below 1e-4 after 25,000 to 30,000.",
        "Figure 2, right (read off)",
        "figure",
        Near((4000, 27500), relative=0.25),
        0.1,
        first_below,
        "weights",
        (LONG,),
    ),
    Claim(
        "N8d",
        "Its loss decays exponentially: R^2 of a line through the logarithm of the loss, from 1e-3 on.",
        "Theorem 6 (i); the threshold is measured here",
        "rate",
        AtLeast(0.97),
        0.1,
        straightness,
        "weights",
        (LONG,),
    ),
    Claim(
        "N9",
        "Its largest jump of V, at steps 100, 300, 1000, 2000, 3000, and then of W: the weights stay smooth.",
        f"Figure 2, left; values {OURS}",
        "figure",
        Near((0.0057, 0.019, 0.073, 0.170, 0.267, 1.5e-4, 0.0011, 0.0074, 0.024, 0.049), relative=0.15),
        0.1,
        lambda: long_training()[1][1:] + long_training()[2][1:],
        "theory",
    ),
    Claim(
        "N9b",
        "After 80,000 steps V and W are smooth along depth: mean jump over twice the mean deviation, 0.71 for noise.",
        "Figure 2, left; the statistic and the threshold are ours",
        "figure",
        AtMost(0.15),
        0.1,
        roughness_of,
        "weights",
        (LONG,),
    ),
    Claim(
        "N9c",
        "From independent layers V and W are not smooth after training: the same statistic, 0.71 for noise.",
        "Section 3, initialisation; the statistic and the threshold are ours",
        "figure",
        AtLeast(0.5),
        0.1,
        roughness_of,
        "weights",
        (IID,),
    ),
    Claim(
        "N10",
        "With relu the even weights of the scalar net tend to w* = 2L(C^(1/L) - 1), C = 2, L = 5, 20, 80.",
        "Appendix D",
        "exact",
        Near(tuple(theory.scalar_limit(depth, 2.0) for depth in (5, 20, 80)), absolute=1e-5),
        1,
        scalar_ends,
        "theory",
    ),
    Claim(
        "N10b",
        "Its odd weights never move: the largest move.",
        "Appendix D",
        "exact",
        AtMost(0.0),
        0.1,
        scalar_still,
        "theory",
    ),
    Claim(
        "N10c",
        "So neighbours end at a distance that does not shrink with depth: the smallest, over 2 log C.",
        "Appendix D",
        "bound",
        AtLeast(1.0),
        0.1,
        scalar_gaps,
        "theory",
    ),
    *(
        Claim(
            "N11",
            "Train and test accuracy on CIFAR-10 with 256 blocks after 180 epochs.",
            "Table 1",
            "table",
            Near(TABLE[tag], absolute=0.015),
            0.1,
            accuracies,
            "weights",
            (tag,),
        )
        for tag in PAPER
    ),
    Claim(
        "N12",
        "Trained kernels are smooth along depth with identity or GELU and tied start: mean jump over twice the mean deviation.",
        "Table 1 and Figure 3; the statistic and the threshold are ours",
        "table",
        AtMost(0.35),
        0.1,
        conv_roughness,
        "weights",
        ("cifar_identity_tied", "cifar_gelu_tied"),
    ),
    Claim(
        "N12b",
        "They are not with relu, nor from independent blocks.",
        "Table 1 and Figure 3; the statistic and the threshold are ours",
        "table",
        AtLeast(0.35),
        0.1,
        conv_roughness,
        "weights",
        tuple(tag for tag in PAPER if tag not in ("cifar_identity_tied", "cifar_gelu_tied")),
    ),
    Claim(
        "N12s",
        "A small net (16 blocks, 8 channels, four epochs, GELU, tied start) has smooth kernels after training.",
        "Figure 3 at the size of two cores; the statistic and the threshold are ours",
        "figure",
        AtMost(0.35),
        0.1,
        conv_roughness,
        "weights",
        SMALL[:1],
    ),
    Claim(
        "N12sb",
        "The same small net from independent blocks has not.",
        "Figure 3 at the size of two cores; the statistic and the threshold are ours",
        "figure",
        AtLeast(0.5),
        0.1,
        conv_roughness,
        "weights",
        SMALL[1:2],
    ),
    Claim(
        "N12sc",
        "With relu its kernels are not smooth, tied start or not.",
        "Table 1 at the size of two cores; the statistic and the threshold are ours",
        "figure",
        AtLeast(0.35),
        0.1,
        rougher_with_relu,
        "weights",
        (SMALL[0], SMALL[2]),
    ),
    Claim(
        "N13",
        "Mean jump of conv1 and conv2 after training, tied start: 0.07 and 0.095.",
        "Figure 4 (read off)",
        "figure",
        Near((0.07, 0.095), relative=0.5),
        0.1,
        conv_jumps,
        "weights",
        ("cifar_gelu_tied",),
    ),
    Claim(
        "N13b",
        "The jumps from independent blocks are about ten times as large.",
        "Figure 4 (read off)",
        "figure",
        Between(10 / 1.5, 10 * 1.5),
        0.1,
        conv_ratio,
        "weights",
        ("cifar_gelu_tied", "cifar_gelu_iid"),
    ),
    Claim(
        "N13s",
        "In small nets (16 blocks, 8 channels, four epochs) too the jumps from independent blocks are about ten times as large.",
        "Figure 4 at the size of two cores",
        "figure",
        AtLeast(10 / 1.5),
        0.1,
        conv_ratio,
        "weights",
        SMALL[:2],
    ),
    Claim(
        "N13r",
        "In regression, mean jump of V and of W from independent layers over that from tied ones.",
        "Section 3, initialisation; the threshold is measured here",
        "figure",
        AtLeast(5.0),
        0.1,
        ratio_of_jumps,
        "weights",
        (LONG, IID),
    ),
    Claim(
        "N14",
        "The limits in depth and in time commute: the gap between trained nets halves as L goes from 32, 64 to 64, 128 (V, W).",
        "Theorem 6 (iv)",
        "rate",
        Near((2.0, 2.0), absolute=0.3),
        0.1,
        halving,
        "weights",
        DEPTHS,
    ),
    Claim(
        "N14b",
        "The nets of depth 32, 64, 128 fit the data.",
        "Theorem 6",
        "bound",
        AtMost(1e-4),
        0.1,
        losses,
        "weights",
        DEPTHS,
    ),
    Claim(
        "N14c",
        "So does the limit: the loss of the ODE with the weights of these nets, interpolated, tends to zero; its quotients.",
        "Theorem 6 (iv); for smooth weights the quotient is 1/4 in the limit",
        "rate",
        Between(0.0, 0.5),
        10,
        losses_of_the_ode,
        "weights",
        DEPTHS,
    ),
    *(
        Claim(
            "W1",
            "The test accuracy of the record is measured again (ratio).",
            "measured here",
            "exact",
            Near(1.0, relative=1e-3),
            15,
            recomputed,
            "weights",
            (tag,),
        )
        for tag in SMALL
    ),
)
