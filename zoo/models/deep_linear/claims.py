"""What "Deep linear networks for regression are implicitly regularized towards flat minima" says, recomputed.

The paper shows its experiments as curves without numbers: those here were measured with an implementation written
independently of this one, on the paper's data set, and their source says so. They are means over random starts, 8 to 10 of
each kind there. An id with a "t" trains again.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, jacrev

from datamodules.linear_regression import LinearRegressionData
from zoo.claims import AtLeast, AtMost, Between, Claim, Measured, Near, Retrain
from zoo.history import Run
from zoo.models.deep_linear import theory
from zoo.models.deep_linear.network import KINDS, DeepLinear
from zoo.weights import Weight

OURS = "measured here, independent implementation"
CONVERGED = 1e-3  # mean square of p - w* over the coordinates, of a successful run


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _paper_problem() -> tuple[Tensor, Tensor]:
    """S and w* of the paper's data set, up to a rotation."""
    task = LinearRegressionData(design="paper").task(0)
    return task["S"], task["w_star"]


def _exact_sharpness(layers: Tensor, last: Tensor, S: Tensor, w: Tensor, trains_last: bool) -> Tensor:
    """Largest eigenvalue of the whole Hessian, by automatic differentiation."""

    def risk(flat: Tensor) -> Tensor:
        end = flat[layers.numel() :] if trains_last else last
        return theory.excess(flat[: layers.numel()].view_as(layers), end, S, w)

    at = torch.cat([layers.flatten(), last]) if trains_last else layers.flatten()
    return theory.largest_eigenvalue(jacrev(grad(risk))(at))


# Theorem 1 and closed forms.


def _random_minimisers() -> list[tuple[Tensor, Tensor, Tensor, int]]:
    """Exact sharpness, S, w* and L of 40 random minimisers of each kind."""
    found = []
    for seed in range(40):
        for kind in KINDS:
            generator = _generator(seed)
            d, L = 3 + seed % 3, 2 + seed % 5
            X, w = torch.randn(4 * d, d, generator=generator).double(), torch.randn(d, generator=generator).double()
            w = w * (0.3 + 2 * seed / 39) / w.norm()
            S = X.T @ X / len(X)
            network = DeepLinear(dim=d, depth=L, kind=kind, scale=0.7, generator=generator).double()
            layers, last = theory.onto_minimisers(network.layers.detach(), network.last.detach(), w)
            found.append((_exact_sharpness(layers, last, S, w, network.trains_last), S, w, L))
    return found


def bound_ratios(bound: Callable[[Tensor, Tensor, int], Tensor]) -> Measured:
    ratios = [(sharpness / bound(S, w, L)).item() for sharpness, S, w, L in _random_minimisers()]
    return Measured(min(ratios), n=len(ratios), note="smallest of sharpness/bound")


def refinement() -> Measured:
    found = [
        (sharpness, theory.refined_bound(S, w, L), theory.lower_bound(S, w, L))
        for sharpness, S, w, L in _random_minimisers()
    ]
    ratios = [min((s / refined).item() for s, refined, _ in found), min((r / bound).item() for _, r, bound in found)]
    return Measured(ratios, n=len(found), note="smallest of sharpness/refined and of refined/bound")


def _chains() -> list[tuple[Tensor, Tensor, Tensor, Tensor, int]]:
    S, w = _paper_problem()
    return [
        (*theory.rank_one_chain(size * w, L, _generator(L)), S, size * w, L)
        for L in (2, 3, 5, 10)
        for size in (0.5, 1.0, 1.7)
    ]


def chain_error() -> Measured:
    """Largest relative difference between the formula and the Hessian's largest eigenvalue."""
    errors = [
        (_exact_sharpness(layers, last, S, w, True) / theory.chain_sharpness(S, w, L) - 1).abs().item()
        for layers, last, S, w, L in _chains()
    ]
    return Measured(max(errors), n=len(errors))


def chain_margins() -> list[float]:
    """Smallest formula/bound - 1 and upper/formula - 1."""
    chains = [(theory.chain_sharpness(S, w, L), S, w, L) for *_, S, w, L in _chains()]
    low = min((sharpness / theory.lower_bound(S, w, L) - 1).item() for sharpness, S, w, L in chains)
    return [low, min((theory.chain_upper(S, w, L) / sharpness - 1).item() for sharpness, S, w, L in chains)]


def rescaling() -> Measured:
    """Smallest ratio of the sharpness at factor 2c to that at c, c = 1, 2, 4 … 512, from the flattest chain of depth 10."""
    S, w = _paper_problem()
    layers, last = theory.rank_one_chain(w, 10, _generator(0))
    found = torch.stack(
        [theory.sharpness_at_minimum(theory.rescaled(layers, 2.0**i), last, S, True) for i in range(11)]
    )
    return Measured((found[1:] / found[:-1]).min().item(), n=10, note=f"from {found[0]:.4g} to {found[-1]:.4g}")


def _starts(scale: float, depth: int, count: int, dim: int = 5) -> tuple[Tensor, Tensor]:
    """Random mlps (count, l, d, d), (count, d)."""
    networks = [DeepLinear(dim=dim, depth=depth, scale=scale, generator=_generator(i)).double() for i in range(count)]
    return torch.stack([n.layers.detach() for n in networks]), torch.stack([n.last.detach() for n in networks])


def flow_ends() -> Measured:
    """Sharpness over 8 L Lambda where gradient flow ends, depth 4, scales 0.05 to 0.3: the largest."""
    S, w = _paper_problem()
    depth, ratios, gap = 4, [], 0.0
    for scale in (0.05, 0.1, 0.2, 0.3, 0.5):
        layers, last = theory.gradient_flow(*_starts(scale, depth, 8), S, w, 60.0, True, tolerance=1e-6)
        sharpness = theory.sharpness_at_minimum(layers, last, S, True)
        ratios.append((sharpness / theory.upper_line(S, depth)).max().item())
        gap = max(gap, (theory.product(layers, last) - w).square().sum(-1).max().item())
    note = f"from scale 0.5, which is not small, up to {ratios[-1]:.2f}; distance to w* at most {gap:.1e}"
    return Measured(max(ratios[:-1]), n=32, note=note)


def drift_ratios() -> Measured:
    """Drift of the balance at learning rate 0.02 over that at 0.01, and at 0.01 over 0.005; depth 5, scale 0.4, time 20."""
    S, w = _paper_problem()
    layers, last = _starts(0.4, 5, 16)
    start, found = theory.balance(layers, last, True), []
    for lr in (0.02, 0.01, 0.005):
        end = theory.descent(layers, last, S, w, lr, round(20 / lr), True)
        found.append(theory.drift(start, *end, True))
    halved = [(a / b).mean().item() for a, b in zip(found[:-1], found[1:], strict=True)]
    drifts = ", ".join(f"{one.mean():.4f}" for one in found)
    return Measured(halved, n=16, note=f"mean drift {drifts}")


# Shipped weights.


def _ends(weight: Weight) -> tuple[Tensor, Tensor, Tensor]:
    """Layers, last and sharpness (r,) of the final networks; sharpness is NaN where a run diverged."""
    tensors = weight.network.tensors()
    layers, last = tensors["layers"].detach(), tensors["last"].detach()
    return layers, last, theory.sharpness_at_minimum(layers, last, weight.task["S"], weight.network.network.trains_last)


def _by_scale(values: Tensor, scale: Tensor) -> dict[float, Tensor]:
    """Values by scale, NaN left out."""
    return {float(one): values[(scale == one) & values.isfinite()] for one in scale.unique()}


def ends_above_bound(weight: Weight) -> Measured:
    """Smallest sharpness over the bound, of all runs that ended at a minimum."""
    sharpness = _ends(weight)[2]
    bound = theory.lower_bound(weight.task["S"], weight.task["w_star"], weight.network.network.depth)
    ratio = (sharpness / bound)[sharpness.isfinite()]
    return Measured(ratio.min().item(), n=len(ratio))


def ends_below_line(weight: Weight) -> Measured:
    """Largest sharpness over 8 L Lambda, scales up to 0.45."""
    sharpness, scale = _ends(weight)[2], weight.task["scale"]
    chosen = (scale <= 0.451) & sharpness.isfinite()
    ratio = (sharpness / theory.upper_line(weight.task["S"], weight.network.network.depth))[chosen]
    low, high = sharpness[chosen].min(), sharpness[chosen].max()
    return Measured(ratio.max().item(), n=len(ratio), note=f"sharpness {low:.1f} to {high:.1f}")


def mean_sharpness(weight: Weight) -> Measured:
    """Mean final sharpness of the runs that did not diverge, scales 0.25 to 0.5."""
    groups = _by_scale(_ends(weight)[2], weight.task["scale"])
    groups = {scale: values for scale, values in groups.items() if scale < 0.51}
    errors = ", ".join(f"{values.std() / len(values) ** 0.5:.1f}" for values in groups.values())
    count = sum(map(len, groups.values()))
    return Measured([v.mean().item() for v in groups.values()], n=count, note=f"standard errors {errors}")


def divergence(weight: Weight, scales: tuple[float, ...]) -> Measured:
    """Share of diverged runs by scale."""
    broken, scale = _ends(weight)[2].isnan().double(), weight.task["scale"]
    shares = _by_scale(broken, scale)
    found = {one: values for one, values in shares.items() if any(abs(one - s) < 1e-9 for s in scales)}
    return Measured([values.mean().item() for values in found.values()], n=len(next(iter(found.values()))))


def ends_at_the_edge(weight: Weight) -> Measured:
    """Mean final sharpness times lr/2 of the runs from scales 0.45 and 0.5."""
    groups = _by_scale(_ends(weight)[2], weight.task["scale"])
    lr = weight.record.recipe["model"]["init_args"]["lr"]
    values = [group * lr / 2 for scale, group in groups.items() if 0.44 < scale < 0.51]
    worst = max(group.max().item() for group in values)
    return Measured([v.mean().item() for v in values], n=sum(map(len, values)), note=f"largest single {worst:.4f}")


def small_scale_sharpness(weight: Weight) -> Measured:
    """Mean sharpness at scales 0.05 and 0.01 over that of the rank-one minimiser."""
    chain = theory.chain_sharpness(weight.task["S"], weight.task["w_star"], weight.network.network.depth)
    groups = _by_scale(_ends(weight)[2] / chain, weight.task["scale"])
    values = [groups[0.05].mean().item(), groups[0.01].mean().item()]
    return Measured(values, n=len(groups[0.01]), note=f"the rank-one minimiser has {chain[0]:.4f}")


def small_scale_shape(weight: Weight, part: str) -> Measured:
    """Mean s_2/s_1 or alignment by scale, from the largest on."""
    layers, last, _ = _ends(weight)
    groups = _by_scale(getattr(theory.shape(layers, last), part), weight.task["scale"])
    ordered = [groups[scale] for scale in sorted(groups, reverse=True)]
    errors = ", ".join(f"{values.std() / len(values) ** 0.5:.2g}" for values in ordered)
    return Measured([v.mean().item() for v in ordered], n=len(ordered[0]), note=f"standard errors {errors}")


def small_scale_mean(weight: Weight) -> Measured:
    """Mean sharpness by scale, from the largest on."""
    groups = _by_scale(_ends(weight)[2], weight.task["scale"])
    ordered = [groups[scale] for scale in sorted(groups, reverse=True)]
    errors = ", ".join(f"{values.std() / len(values) ** 0.5:.2g}" for values in ordered)
    return Measured([v.mean().item() for v in ordered], n=len(ordered[0]), note=f"standard errors {errors}")


def layer_sizes(weight: Weight) -> Measured:
    """Largest |size/|w*|^{1/L} - 1| of all layers at scale 0.01."""
    layers, last, _ = _ends(weight)
    size = theory.shape(layers, last).size[weight.task["scale"] == 0.01]
    return Measured((size - 1).abs().max().item(), n=size.numel(), note=f"mean size {size.mean():.5f}")


# Runs.


def _groups(run: Run, metric: str, row: int = -1) -> dict[float, Tensor]:
    """A metric at a row of the history by scale, diverged runs left out."""
    values = torch.where(run.history.last("diverged") == 0, run.history[metric][row], torch.nan)
    return _by_scale(values, run.history.last("scale"))


def flow_below_line(run: Run) -> Measured:
    """Largest final sharpness of gradient flow over 8 L Lambda."""
    S, depth = run.weight.task["S"][0], run.weight.network.network.depth
    sharpness = run.history.last("sharpness")
    note = f"sharpness {sharpness.min():.1f} to {sharpness.max():.1f}"
    return Measured((sharpness / theory.upper_line(S, depth)).max().item(), n=len(sharpness), note=note)


def never_at_the_edge(run: Run) -> Measured:
    """Largest sharpness times lr/2 of the traces with the smaller learning rate."""
    lr = run.history.last("lr")
    ratio = run.history["sharpness"] * lr / 2
    small = lr == lr.min()
    above = (ratio[:, ~small].amax(0) > 1).double().mean()
    note = f"with learning rate {lr.max():g}, {100 * above:.0f} % of the runs go above 2/lr"
    return Measured(ratio[:, small].max().item(), n=int(small.sum()), note=note)


def residual_edge(run: Run, scales: tuple[float, ...]) -> Measured:
    """Mean final sharpness by scale, of the runs that did not diverge."""
    groups = _groups(run, "sharpness")
    found = [groups[scale] for scale in scales]
    note = "single runs " + ", ".join(f"{values.min():.2f} to {values.max():.2f}" for values in found)
    return Measured([values.mean().item() for values in found], n=sum(map(len, found)), note=note)


def critical_step(run: Run) -> Measured:
    """1e-3 over the median distances at 0.1 and 0.105, the distances at 0.11 and 0.2 over 1e-3."""
    lr, d = run.history.last("lr"), run.weight.network.network.dim
    distance = run.history.last("distance") / d  # mean square
    medians = [distance[lr == one].nanmedian().item() for one in lr.unique()]
    ratios = [CONVERGED / medians[0], CONVERGED / medians[1], medians[2] / CONVERGED, medians[3] / CONVERGED]
    threshold = theory.largest_step(run.weight.task["S"][0], run.weight.task["w_star"][0], 10)
    says = ", ".join(f"{one:.1e}" for one in medians)
    return Measured(ratios, n=int((lr == lr[0]).sum()), note=f"medians {says}; threshold {threshold:.4f}")


def first_failures(*runs: Run) -> Measured:
    """The first learning rate whose median distance is above 1e-3, over 1/(L a), by depth."""
    ratios, says = [], []
    for run in runs:
        lr, distance = run.history.last("lr"), run.history.last("distance") / run.weight.network.network.dim
        distance = torch.where(run.history.last("diverged") == 0, distance, torch.inf)
        rates = lr.unique()
        good = torch.stack([distance[lr == one].median() < CONVERGED for one in rates])
        first = int((~good).int().argmax())
        threshold = theory.largest_step(
            run.weight.task["S"][0], run.weight.task["w_star"][0], run.weight.network.network.depth
        )
        ratios.append((rates[first] / threshold).item())
        says.append(f"{rates[first - 1]:.4f}/{rates[first]:.4f} ({threshold:.4f})")
    note = f"last success/first failure (threshold): {', '.join(says)}"
    return Measured(ratios, n=len(runs[0].history.last("lr")), note=note)


def residual_course(run: Run) -> Measured:
    """Mean sharpness at the start (Gauss-Newton part, as in `theory.sharpness_at_minimum`) and at the end, four scales."""
    scales = (0.0, 0.34, 0.68, 1.02)
    first, final = _groups(run, "gauss_newton", 0), _groups(run, "sharpness")
    whole = _groups(run, "sharpness", 0)
    says = ", ".join(f"{whole[scale].mean():.0f}" for scale in scales)
    values = [group[scale].mean().item() for group in (first, final) for scale in scales]
    return Measured(values, n=len(first[0.0]), note=f"the whole Hessian's at the start is {says}")


def gap_slope(run: Run) -> Measured:
    """Slope of the least-squares line of log10(test loss - training loss) in log10(sharpness)."""
    gap = run.history.last("test_loss") - run.history.last("loss")
    x, y = run.history.last("sharpness").log10(), gap.log10()
    chosen = x.isfinite() & y.isfinite()
    x, y = x[chosen] - x[chosen].mean(), y[chosen] - y[chosen].mean()
    slope, correlation = (x * y).sum() / x.square().sum(), (x * y).sum() / (x.norm() * y.norm())
    return Measured(slope.item(), n=len(x), note=f"correlation {correlation:.2f}")


def far_above_the_edge(run: Run) -> Measured:
    """Largest initial sharpness over 2/lr among the runs from scale 1.02 that ended at w*."""
    chosen = (run.history.last("scale") == 1.02) & (run.history.last("distance") < 1e-6)
    ratio = run.history.at("sharpness", 0) * run.history.last("lr") / 2
    tried = int((run.history.last("scale") == 1.02).sum())
    note = f"{int(chosen.sum())} of {tried} runs converge, from {ratio[chosen].mean():.1f} times 2/lr in the mean"
    return Measured(ratio[chosen].max().item(), n=tried, note=note)


DIVERGENCE = {
    "mlp_lr002": ((0.25, 0.30, 0.35, 0.40, 0.45, 0.50, 0.55, 0.60), (0, 0, 0, 0, 0, 0.2, 0.6, 1)),
    "mlp_lr007": ((0.45, 0.50, 0.55), (0.1, 0.6, 1)),
}
DEPTHS = tuple(Retrain("depth", {"model.depth": depth}) for depth in (5, 10, 20, 40))
GRID_STEP = 10 ** (1.7 / 24)  # of the 25 learning rates of Figure 2
CRITICAL = Retrain("mlp", {"model.lr": [0.1, 0.105, 0.11, 0.2], "data.scales": [0.3], "trainer.max_steps": 4000})

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "D1",
        "No minimiser is flatter than 2 L a |w*|^{2 - 2/L}: smallest ratio of sharpness to bound at random ones.",
        "Theorem 1",
        "bound",
        AtLeast(1.0),
        4,
        lambda: bound_ratios(theory.lower_bound),
        "theory",
    ),
    *(
        Claim(
            "D1",
            "Every minimum that training found keeps the bound: smallest ratio of sharpness to bound.",
            "Theorem 1",
            "bound",
            AtLeast(1.0),
            0.1,
            ends_above_bound,
            "weights",
            (tag,),
        )
        for tag in ("small_scale", "mlp_lr002", "mlp_lr007")
    ),
    Claim(
        "D2",
        "Not even than the refined 2 L |w*|^{2 - 2/L} a^{1 - 2/L} |S w*/|w*||^{2/L}, which is at least the bound.",
        "the proof of Theorem 1 without its last inequality; derived here",
        "bound",
        AtLeast(1.0),
        6,
        refinement,
        "theory",
    ),
    Claim(
        "D3",
        "The sharpness of balanced rank-one minimisers is that of a d x d matrix: largest relative error.",
        "closed form derived here",
        "exact",
        AtMost(1e-9),
        3,
        chain_error,
        "theory",
    ),
    Claim(
        "D3b",
        "It lies between the bound and 2 |w*|^{2 - 2/L} ((L - 1) a + Lambda): smallest relative margins.",
        "derived here",
        "bound",
        AtLeast(0.0),
        0.2,
        chain_margins,
        "theory",
    ),
    Claim(
        "D4",
        "Minimisers are arbitrarily sharp: W_1 times c and W_2 over c; smallest growth as c doubles from 1 to 1,024.",
        "abstract",
        "bound",
        AtLeast(1.0),
        0.1,
        rescaling,
        "theory",
    ),
    Claim(
        "D5",
        "Gradient flow from small random weights ends below 8 L Lambda: largest ratio, depth 4, scales 0.05 to 0.3.",
        "upper line of Figure 1b",
        "bound",
        AtMost(1.0),
        10,
        flow_ends,
        "theory",
    ),
    Claim(
        "D5",
        "Gradient descent with learning rate 0.02 from scales up to 0.45 ends below 8 L Lambda: largest ratio.",
        "upper line of Figure 1b",
        "bound",
        AtMost(1.0),
        0.1,
        ends_below_line,
        "weights",
        ("mlp_lr002",),
    ),
    Claim(
        "D5t",
        "Gradient flow of depth 10 from scales 0.25 to 0.4 ends below 8 L Lambda: largest ratio.",
        "upper line of Figure 1b",
        "bound",
        AtMost(1.0),
        30,
        flow_below_line,
        "training",
        runs=(Retrain("flow"),),
    ),
    Claim(
        "D6",
        "From a small scale the minimum is the rank-one one: sharpness over its own at scales 0.05 and 0.01, depth 3.",
        f"small-scale theorem (limit); values {OURS}",
        "figure",
        Near((5.6614 / 5.6602, 1.0), absolute=1e-3),
        0.1,
        small_scale_sharpness,
        "weights",
        ("small_scale",),
    ),
    Claim(
        "D6b",
        "Mean sharpness at scales 0.5, 0.2, 0.05, 0.01, depth 3.",
        f"small-scale theorem; values {OURS}",
        "figure",
        Near((16.85, 5.889, 5.6614, 5.6602), relative=0.05),
        0.1,
        small_scale_mean,
        "weights",
        ("small_scale",),
    ),
    Claim(
        "D6c",
        "The layers become rank one: s_2/s_1 at scales 0.5, 0.2, 0.05, 0.01.",
        f"small-scale theorem; values {OURS}",
        "figure",
        Near((0.741, 0.571, 0.142, 0.029), relative=0.05),
        0.1,
        lambda weight: small_scale_shape(weight, "ratio"),
        "weights",
        ("small_scale",),
    ),
    Claim(
        "D6d",
        "Their singular vectors align: |<u_k, v_{k+1}>| at scales 0.5, 0.2, 0.05, 0.01.",
        f"small-scale theorem; values {OURS}",
        "figure",
        Near((0.33, 0.962, 0.99985, 1.0), relative=0.05),
        0.1,
        lambda weight: small_scale_shape(weight, "alignment"),
        "weights",
        ("small_scale",),
    ),
    Claim(
        "D7",
        "All layers get the size |w*|^{1/L} = 1 at scale 0.01: largest difference.",
        f"consequence of balance; tolerance {OURS}",
        "exact",
        AtMost(0.01),
        0.1,
        layer_sizes,
        "weights",
        ("small_scale",),
    ),
    Claim(
        "D8",
        "Gradient flow conserves W_{k+1}' W_{k+1} - W_k W_k': the drift of descent halves with its learning rate.",
        f"conservation law of gradient flow; values {OURS}",
        "rate",
        Near((2.0, 2.0), absolute=0.1),
        10,
        drift_ratios,
        "theory",
    ),
    Claim(
        "D9",
        "Mean final sharpness at learning rate 0.02 from scales 0.25, 0.3, 0.35, 0.4, 0.45, 0.5 (2/lr = 100).",
        f"Figure 1b; values {OURS}, 10 starts",
        "figure",
        Near((20.8, 23.3, 28.0, 40.0, 63.5, 74.4), relative=0.15),
        0.1,
        mean_sharpness,
        "weights",
        ("mlp_lr002",),
    ),
    Claim(
        "D9",
        "Mean final sharpness at learning rate 0.07 from scales 0.25, 0.3, 0.35, 0.4, 0.45, 0.5 (2/lr = 28.57).",
        f"Figure 1b; values {OURS}, 10 starts",
        "figure",
        Near((21.1, 23.1, 25.9, 28.2, 28.4, 28.5), relative=0.05),
        0.1,
        mean_sharpness,
        "weights",
        ("mlp_lr007",),
    ),
    Claim(
        "D10",
        "Where flow would end sharper, descent ends at 2/lr: sharpness times lr/2 from scales 0.45 and 0.5.",
        f"Figure 1b; tolerance {OURS}",
        "figure",
        Between(0.98, 1.01),
        0.1,
        ends_at_the_edge,
        "weights",
        ("mlp_lr007",),
    ),
    Claim(
        "D10t",
        "At learning rate 0.02 the sharpness of every trace from scale 0.35 stays below 2/lr: largest ratio.",
        "Figure 1d",
        "figure",
        AtMost(1.0),
        10,
        never_at_the_edge,
        "training",
        runs=(Retrain("edge_of_stability"),),
    ),
    Claim(
        "D10u",
        "Residual networks at learning rate 0.1 end at 2/lr = 20 from scales 0, 0.34, 0.68.",
        f"residual counterpart of Figure 1b; values {OURS}, tolerance 2 % below and 1 % above",
        "figure",
        Between(19.6, 20.2),
        8,
        lambda run: residual_edge(run, (0.0, 0.34, 0.68)),
        "training",
        runs=(Retrain("residual", {"model.lr": 0.1}),),
    ),
    Claim(
        "D10v",
        "Residual networks at learning rate 0.07 end just below 2/lr = 28.57 from scales 0.68 and 1.02.",
        f"residual counterpart of Figure 1b; values 27.3 to 28.1 {OURS}, 2 % below them to 1 % above 2/lr",
        "figure",
        Between(26.75, 28.86),
        8,
        lambda run: residual_edge(run, (0.68, 1.02)),
        "training",
        runs=(Retrain("residual", {"model.lr": 0.07}),),
    ),
    Claim(
        "D11",
        "Descent fails above 1/(L a) = 0.1072 only: 1e-3 over the distance at lr 0.1, 0.105, the distance over it at 0.11, 0.2.",
        f"Figure 1a; distances 1.2e-5, 4.4e-4, 2.0e-3, 8.6e-2 {OURS}",
        "figure",
        AtLeast(1.0),
        15,
        critical_step,
        "training",
        runs=(CRITICAL,),
    ),
    Claim(
        "D12",
        "The first failing learning rate is 1/(L a) within a step of the grid: ratios for L = 5, 10, 20, 40.",
        f"Figure 2; .222/.214, .116/.107, .060/.0536, .0266/.0268 {OURS}",
        "figure",
        Between(1 / GRID_STEP, GRID_STEP),
        60,
        first_failures,
        "training",
        runs=DEPTHS,
    ),
    *(
        Claim(
            "D13",
            f"Share of diverged runs at learning rate {lr} from scales {', '.join(f'{one:g}' for one in scales)}.",
            f"Figure 3; values {OURS}, 10 starts",
            "figure",
            Near(shares, absolute=0.25),
            0.1,
            lambda weight, scales=scales: divergence(weight, scales),
            "weights",
            (tag,),
        )
        for (tag, (scales, shares)), lr in zip(DIVERGENCE.items(), (0.02, 0.07), strict=True)
    ),
    Claim(
        "D14",
        "Sharpness of residual networks at lr 0.02 from scales 0, 0.34, 0.68, 1.02: four at the start, four at the end.",
        f"residual counterpart of Figure 1b; values {OURS}, 8 starts, another q",
        "figure",
        Near((31.9, 36, 66, 152, 26.2, 29, 43, 58), relative=0.25),
        8,
        residual_course,
        "training",
        runs=(Retrain("residual"),),
    ),
    Claim(
        "D15",
        "With n < d, flatter minima generalise better: slope of log10 gap in log10 sharpness.",
        "Figure 6b",
        "figure",
        Near(0.42, absolute=0.15),
        120,
        gap_slope,
        "training",
        runs=(Retrain("underdetermined"),),
    ),
    Claim(
        "D16",
        "Training succeeds from an initial sharpness above 2/lr: largest ratio of the runs that converge, scale 1.02.",
        f"Figure 1b; 161 against 28.6 {OURS}",
        "figure",
        AtLeast(1.0),
        8,
        far_above_the_edge,
        "training",
        runs=(Retrain("residual", {"model.lr": 0.07}),),
    ),
)
