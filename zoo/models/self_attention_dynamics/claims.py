"""What "Dynamic metastability in the self-attention model" (2024) and "A mathematical perspective on Transformers"
(2023) say, recomputed.

The papers show simulations as films, curves and heat-maps, without tables: the numbers below that come from them were
measured with an implementation written independently of this one, and their source says so. An id ending in "t" is the
part of a claim that needs a run's history; ids starting with "S" are about what the list C1 to C15 leaves out, S4 to S6
about networks of this zoo.

[2312] arXiv 2312.10794, [2410] arXiv 2410.06833.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from datamodules.sphere_starts import KINETIC, STAIRCASE, NoisyClustersData
from datamodules.stream import generator as stream
from zoo.claims import AtLeast, AtMost, Between, Claim, Measured, Near, Retrain
from zoo.history import Run
from zoo.models.self_attention_dynamics import theory
from zoo.models.self_attention_dynamics.network import FlowEncoder, ParticleFlow
from zoo.models.self_attention_dynamics.theory import Containment
from zoo.weights import Weight

OURS = "measured here, independent implementation"
KINETIC_BETAS = (2.0, 3.0, 4.0, 5.0, 6.0)
STAIRCASE_BETAS = (500.0, 1000.0, 1500.0, 2000.0, 3000.0, 4000.0)
STAIRS = (0.26, 0.42, 0.64, 0.95)  # energies between the levels of the staircase; chosen here


def _uniform(*shape: int, seed: int = 0) -> Tensor:
    """Uniform points of the sphere, float64."""
    generator = torch.Generator().manual_seed(seed)
    return theory.normalise(torch.randn(*shape, generator=generator, dtype=torch.float64))


# Gradient flow.


def gradient_errors() -> list[float]:
    """Largest entry of grad_i E - (Z_i/n^2) x_i' for SA, grad_i E - x_i'/n for USA, by autograd."""
    errors = []
    for dynamics in theory.DYNAMICS:
        worst = 0.0
        for seed, beta in enumerate((0.1, 0.5, 1.0, 2.0, 3.0, 4.0)):
            x = _uniform(8, 3, seed=seed).requires_grad_()
            n = x.shape[0]
            (euclidean,) = torch.autograd.grad(theory.energy(x, beta), x)
            x = x.detach()
            x_dot = theory.velocity(x, beta, dynamics)
            # both sides on the clock of [2410], on which the energy is e^{-beta} times that of [2312]
            factor = theory.attention_sums(x, beta)[1] / n**2 if dynamics == "sa" else 1 / n
            difference = math.exp(-beta) * theory.tangent(x, euclidean) - factor * x_dot
            worst = max(worst, difference.abs().max().item())
        errors.append(worst)
    return errors


def energy_growth() -> Measured:
    """Error of dE/dt against autograd, and the largest decrease of the normalised energy over 1,600 paths."""
    x = _uniform(8, 3).requires_grad_()
    (euclidean,) = torch.autograd.grad(theory.energy(x, 1.0), x)
    point, error, drop = x.detach(), 0.0, 0.0
    beta = torch.tensor([0.5, 1.0, 4.0, 9.0], dtype=torch.float64).repeat(50)
    for dynamics in theory.DYNAMICS:
        along = (euclidean * theory.velocity(point, 1.0, dynamics)).sum()
        error = max(error, (along - theory.energy_rate(point, 1.0, dynamics)).abs().item())
        path = theory.trajectory(_uniform(200, 16, 3, seed=1), beta, 0.1, 100, dynamics=dynamics)
        drop = max(drop, (-theory.mean_energy(path, beta).diff(dim=0)).max().item())
    rate = theory.energy_rate(point, 1.0).item()
    return Measured(
        [error, drop], n=400, note=f"dE/dt = {rate:.9f} both ways; then the largest decrease in a time step"
    )


# One-dimensional reductions.


def orthonormal_error() -> float:
    n, beta, dt = 6, 3.0, 0.01
    error = 0.0
    for dynamics in theory.DYNAMICS:
        path = theory.trajectory(torch.eye(n, dtype=torch.float64), beta, dt, 800, every=100, dynamics=dynamics)
        times = torch.arange(1, 9, dtype=torch.float64)
        curve = theory.gamma_curve(beta, n, times, dynamics)
        error = max(error, (theory.pair_products(path[1:]) - curve[:, None]).abs().max().item())
    return error


def gamma_values() -> list[float]:
    times = torch.arange(1, 7, dtype=torch.float64)
    return theory.gamma_curve(torch.tensor([1.0, 4.0]), 32, times).T.flatten().tolist()


@cache
def high_dimension() -> tuple[Tensor, Tensor]:
    """Distance to gamma, at most over t <= 12, of the mean over pairs and systems, and of the worst pair.

    Both (4,): beta = 1 at d = 128, 1024, then beta = 4; 32 systems at d = 128, 8 at d = 1024.
    """
    times = torch.arange(0, 12.5, 0.5, dtype=torch.float64)
    curve = theory.gamma_curve(torch.tensor([1.0, 4.0]), 32, times)
    means, worst = [], []
    for d, systems in ((128, 32), (1024, 8)):
        beta = torch.tensor([1.0, 4.0], dtype=torch.float64).repeat_interleave(systems)
        path = theory.trajectory(_uniform(systems, 32, d).repeat(2, 1, 1), beta, 0.1, 120, every=5)
        apart = theory.pair_products(path).unflatten(1, (2, systems)) - curve[:, :, None, None]
        means.append(apart.mean((-2, -1)).abs().amax(0))
        worst.append(apart.abs().amax((0, 2, 3)))
    return torch.stack(means, 1).flatten(), torch.stack(worst, 1).flatten()


def high_dimension_ratios() -> Measured:
    """`high_dimension` over the largest distances that are expected."""
    means, worst = high_dimension()
    expected = torch.tensor([0.018, 0.004, 0.035, 0.007], dtype=torch.float64)
    note = "distances " + ", ".join(f"{one:.4f}" for one in means.tolist())
    note += "; worst pairs " + ", ".join(f"{one:.2f}" for one in worst.tolist())
    return Measured((means / expected).tolist(), note=note)


# Phase diagram.


SHARES = {  # 32 systems each; beta = 1, 4, 9, at t = 5, 10, 20, 30
    2: (0.15, 0.89, 1, 1, 0.23, 0.45, 0.54, 0.55, 0.20, 0.31, 0.32, 0.33),
    8: (0.13, 1, 1, 1, 0.03, 0.54, 0.74, 0.82, 0.02, 0.10, 0.18, 0.20),
    128: (0.01, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0),
}


def merged_shares() -> Measured:
    """Mean share of merged pairs at the dimensions, temperatures and times of `SHARES`."""
    found, notes = [], []
    for d, systems in ((2, 256), (8, 256), (128, 32)):
        beta = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64).repeat_interleave(systems)
        x, shares = _uniform(systems, 32, d).repeat(3, 1, 1), []
        for i in range(1, 301):
            x = theory.step(x, beta, 0.1)
            if i in (50, 100, 200, 300):
                shares.append((theory.pair_products(x) > theory.MERGED).double().mean(-1).view(3, systems))
        share = torch.stack(shares, 1)  # (beta, time, system)
        mean, single = share.mean(-1).flatten(), share.std(-1).flatten()
        found += mean.tolist()
        for k in (mean - torch.tensor(SHARES[d])).abs().topk(2).indices.tolist():
            at = f"d {d}, beta {(1, 4, 9)[k // 4]}, t {(5, 10, 20, 30)[k % 4]}"
            error = single[k] / math.sqrt(systems)
            error_32 = single[k] / math.sqrt(32)
            notes.append(f"{at}: {mean[k]:.3f} ± {error:.3f}, expected {SHARES[d][k]} ± {error_32:.3f}")
    return Measured(found, note="largest differences with standard errors: " + "; ".join(notes[:4]))


def merged_at_the_end(weight: Weight) -> Measured:
    """The same at t = 30 from a weight's tokens, at the temperatures next to 1, 4, 9."""
    betas, found, n = weight.task["beta"], [], 0
    for beta in (1.0, 4.0, 9.0):
        nearest = betas.unique()[(betas.unique() - beta).abs().argmin()]
        tokens = weight.network.network.tokens.detach()[betas == nearest]
        n = len(tokens)
        found.append((theory.pair_products(tokens) > theory.MERGED).double().mean().item())
    return Measured(found, n=n)


def merged_course(run: Run) -> Measured:
    """The same from a run's history at t = 5, 10, 20, 30."""
    betas = run.weight.task["beta"]
    chosen = [betas == betas.unique()[(betas.unique() - beta).abs().argmin()] for beta in (1.0, 4.0, 9.0)]
    rows = [run.history.at("merged", step) for step in (50, 100, 200, 300)]
    shares = torch.stack([torch.stack([row[one] for row in rows]) for one in chosen]).flatten(0, 1)  # (12, systems)
    n = shares.shape[1]
    errors = ", ".join(f"{error:.3f}" for error in (shares.std(1) / math.sqrt(n)).tolist())
    return Measured(
        shares.mean(1).tolist(), n=n, note=f"standard errors {errors}, as large as those of the expected values"
    )


# Two clusters.


def two_particles() -> list[float]:
    return [theory.cluster_time(beta, 1, 1, 1.2, 0.1) for beta in (4.0, 6.0, 8.0)]


def two_particle_error() -> float:
    """Largest relative difference between the quadrature and a simulation by RK4."""
    errors = []
    for beta in (4.0, 6.0, 8.0):
        x = theory.angles_to_tokens(torch.tensor([0.0, 1.2], dtype=torch.float64))
        t, angle, dt = 0.0, 1.2, 0.01
        while angle > 0.1:
            before, x, t = angle, theory.step(x, beta, dt), t + dt
            angle = theory.pair_products(x).clamp(max=1).acos().item()
        t -= dt * (0.1 - angle) / (before - angle)
        errors.append(abs(t / theory.cluster_time(beta, 1, 1, 1.2, 0.1) - 1))
    return max(errors)


def cluster_error() -> float:
    """Largest difference in the angle between the cluster equation and 3 + 2 tokens at two points, t <= 20."""
    worst, start, dt = 0.0, 2.0, 0.01
    angles = torch.tensor([0.0, 0.0, 0.0, start, start], dtype=torch.float64)
    for beta in (2.0, 4.0):
        for dynamics in theory.DYNAMICS:
            path = theory.trajectory(theory.angles_to_tokens(angles), beta, dt, 2000, every=100, dynamics=dynamics)
            # of two points of the circle, the angle that stays exact when they meet
            cross = path[:, 0, 0] * path[:, 4, 1] - path[:, 0, 1] * path[:, 4, 0]
            simulated = torch.atan2(cross, (path[:, 0] * path[:, 4]).sum(-1))[1:]
            times = torch.arange(1, 21, dtype=torch.float64)
            field = lambda a, beta=beta, dynamics=dynamics: theory.cluster_rate(a, beta, 3, 2, dynamics)  # noqa: E731
            equation = theory.solve(field, torch.tensor(start, dtype=torch.float64), times, dt)
            worst = max(worst, (simulated - equation).abs().max().item())
    return worst


# Metastability.


@cache
def kinetic(integrator: str = "official", betas: tuple[float, ...] = KINETIC_BETAS) -> dict[str, list[float]]:
    """The authors' five tokens until they are one cluster (least inner product > .999), one entry per beta.

    times: of one cluster. pair: when two clusters are left. plateau, angle: normalised energy and 1 - cos of the angle
    between the two clusters then.
    """
    beta, count = torch.tensor(betas, dtype=torch.float64), len(betas)
    x = theory.normalise(torch.tensor(KINETIC, dtype=torch.float64)).repeat(count, 1, 1)
    times, pair, plateau, angle = ([math.nan] * count for _ in range(4))
    going, i, dt = list(range(count)), 0, 0.1
    while going and i * dt < 20_000:
        x, i = theory.step(x, beta[going], dt, "sa", integrator), i + 1
        least = (x @ x.mT).amin((-2, -1)).tolist()
        if i * dt <= 30 and i % 2 == 0:
            for row, k in enumerate(going):
                if math.isnan(pair[k]) and theory.clusters(x[row]) <= 2:
                    pair[k] = i * dt
                    plateau[k] = theory.mean_energy(x[row], beta[k]).item()
                    angle[k] = 1 - least[row]
        left = [row for row, one in enumerate(least) if one <= theory.MERGED]
        for row, k in enumerate(going):
            if row not in left:
                times[k] = i * dt
        if len(left) < len(going):
            x, going = x[left], [going[row] for row in left]
    return {"times": times, "pair": pair, "plateau": plateau, "angle": angle}


def kinetic_course() -> Measured:
    """Times of one cluster; then energies and 1 - cos of the angle when two clusters have formed, at beta = 4, 5, 6."""
    found = kinetic()
    pair = ", ".join(f"{t:.1f}" for t in found["pair"])
    note = f"two clusters from t = {pair} on, one when all inner products exceed .999"
    return Measured([*found["times"], *found["plateau"][2:], *found["angle"][2:]], note=note)


def slopes() -> list[float]:
    logs = [math.log(t) for t in kinetic()["times"]]
    return [b - a for a, b in zip(logs, logs[1:], strict=False)]


def exact_clock() -> list[float]:
    """Time of one cluster at beta = 4 with RK4, and by how much the official clock is slow."""
    exact = kinetic("rk4", (4.0,))["times"][0]
    return [exact, kinetic()["times"][2] / exact]


def containment() -> Measured:
    """Measured time of collapse over the bound on T1, and greatest excess over its cap by t = 3000; beta = 14, 18."""
    n, eps, dt, horizon = 6, 0.02, 0.2, 3000.0
    betas = (14.0, 18.0)
    bounds = [Containment(n, beta, eps) for beta in betas]
    generator = torch.Generator().manual_seed(0)
    centre = torch.tensor([1.0, -1.0]).repeat(n // 2).double()  # cosine with the axis of the two caps
    height = 1 - eps * torch.rand(n, generator=generator, dtype=torch.float64)
    sign = torch.tensor([1.0, 1.0, -1.0, -1.0, 1.0, -1.0]).double()
    start = torch.stack([centre * height, sign * (1 - height**2).sqrt()], -1)
    x, beta = start.repeat(2, 1, 1), torch.tensor(betas, dtype=torch.float64)
    same = centre[:, None] * centre[None] > 0
    limit = torch.tensor([one.diameter for one in bounds], dtype=torch.float64)
    collapsed, outside = [math.nan, math.nan], torch.full((2,), -1.0, dtype=torch.float64)
    for i in range(1, int(horizon / dt) + 1):
        x = theory.step(x, beta, dt)
        if i % 50 == 0 or i < 200:
            apart = (torch.cdist(x, x) * same).amax((-2, -1))
            for k in range(2):
                if math.isnan(collapsed[k]) and apart[k] <= limit[k]:
                    collapsed[k] = i * dt
            outside = torch.maximum(outside, (1 - 2 * eps - centre * x[..., 0]).amax(-1))
    ratios = [t / one.collapsed_by for t, one in zip(collapsed, bounds, strict=True)]
    stay = [horizon / one.stays_until for one in bounds]
    note = "; ".join(
        f"beta {one.beta:g}: alpha {one.alpha:.3f}, gamma {one.gamma:.3f}, lambda {one.rate:.2f}, "
        f"collapse {t:.1f} <= {one.collapsed_by:.0f}, T2 >= {one.stays_until:.2g}"
        for one, t in zip(bounds, collapsed, strict=True)
    )
    return Measured([*ratios, *stay, *(1 + outside).tolist()], note=note)


def collapse_ratios() -> Measured:
    cases = ((5.0, 0.5, 1.0), (10.0, 0.8, 1.0), (20.0, 0.9, 0.5))
    times = [(theory.collapse_time(*case), theory.collapse_bound(*case)) for case in cases]
    note = ", ".join(f"{time:.1f} <= {bound:.1f}" for time, bound in times)
    return Measured([time / bound for time, bound in times], note=note)


# Staircase.


@cache
def staircase() -> tuple[Tensor, Tensor]:
    """Rescaled times (s,) and normalised energies (s, 6) until every beta has collapsed."""
    beta = torch.tensor(STAIRCASE_BETAS, dtype=torch.float64)
    loop = theory.Staircase(torch.tensor(STAIRCASE, dtype=torch.float64).repeat(6, 1), beta)
    rows, every = [theory.mean_energy(theory.angles_to_tokens(loop.angles), beta)], 5
    while not loop.collapsed and len(rows) < 4000:
        loop.run(every)
        rows.append(theory.mean_energy(theory.angles_to_tokens(loop.angles), beta))
    return torch.arange(len(rows)) * every * theory.STAIRCASE_RATE, torch.stack(rows)


def passed(times: Tensor, energies: Tensor, level: float) -> Tensor:
    """When energies (s, r) first reach a level, by linear interpolation, (r,)."""
    after = (energies > level).int().argmax(0).clamp(min=1)
    high, low = (energies.gather(0, i[None])[0] for i in (after, after - 1))
    return torch.lerp(times[after - 1].double(), times[after].double(), (level - low) / (high - low))


def plateaus(times: Tensor, energies: Tensor, wide: float = 2e-3) -> list[float]:
    """Levels that the energy (s,) leaves by less than 1e-4 within `wide` rescaled time, to four digits, ascending."""
    span = round(wide / (times[1] - times[0]).item())
    flat = energies[:-span][energies[span:] - energies[:-span] < 1e-4]
    levels: list[float] = []
    for level in flat.sort().values.tolist():
        if not levels or level > levels[-1] + 0.01:
            levels.append(level)
    return levels


def staircase_levels() -> Measured:
    """Start, plateaus and end at beta = 4000, then the starts of all six betas."""
    times, energies = staircase()
    start, end = energies[0].tolist(), energies[-1, -1].item()
    note = (
        "once three tokens are one, the two others are closer to each other (angle .255) than to them (.27): the next "
        "level is (3^2 + 2^2)/5^2 = .52, and (4^2 + 1)/5^2 = .68 is only passed through"
    )
    return Measured([start[-1], *plateaus(times, energies[:, -1])[:3], end, *start], note=note)


def staircase_times() -> list[float]:
    jumps = torch.stack([passed(*staircase(), level) for level in STAIRS])
    return [*jumps[:, 0].tolist(), *jumps[:, -1].tolist()]


def staircase_widths() -> list[float]:
    """Share of the last jump's time that the rise from .55 to .95 takes, at each beta over that of the beta before."""
    low, high = (passed(*staircase(), level) for level in (0.55, 0.95))
    width = (high - low) / high
    return (width[1:] / width[:-1]).tolist()


def narrow_times() -> list[float]:
    return [theory.approach_time(beta, 1.0, 1.0) for beta in (1e3, 1e12, 1e100)]


# Hemispheres.


def hemispheres() -> Measured:
    draws = 10_000
    share = theory.in_hemisphere(_uniform(draws, 5, 3)).double().mean().item()
    error = math.sqrt(share * (1 - share) / draws)
    note = f"Wendel's formula: {theory.hemisphere_probability(5, 3)}"
    return Measured(share, (share - 2 * error, share + 2 * error), draws, note)


# Weights.


def repeated(weight: Weight) -> Measured:
    """Largest difference between the stored tokens and those of the network run again from the stored start."""
    worst = 0.0
    for r in range(weight.network.count):
        network = weight.network.one(r)
        assert isinstance(network, ParticleFlow)
        with torch.no_grad():
            worst = max(worst, (network(weight.task["start"][r]) - network.tokens).abs().max().item())
    return Measured(worst, n=weight.network.count)


def kinetic_end(weight: Weight) -> list[float]:
    """Clusters and normalised energy at t = 400 for beta = 2 … 6."""
    state = weight.network.network
    return [*theory.clusters(state.tokens).tolist(), *theory.mean_energy(state.tokens, state.beta).tolist()]


def one_cluster(weight: Weight) -> float:
    """Least inner product of the end state."""
    return theory.pair_products(weight.network.network.tokens.detach()).min().item()


def staircase_end(weight: Weight) -> list[float]:
    state = weight.network.network
    return theory.mean_energy(state.tokens, state.beta).tolist()


def denoising(weight: Weight) -> Measured:
    """Risks on 1,024 fresh sequences: of the encoder, of the raw tokens and of the informed Bayes predictor."""
    encoder = weight.network.one(0)
    assert isinstance(encoder, FlowEncoder)
    data = NoisyClustersData(d=encoder.d, batch_size=128)
    batch = data.draw(stream("denoising"), 8, {})
    x, centre = batch["x"].flatten(0, 1), batch["centre"].flatten(0, 1)
    with torch.no_grad():
        risks = 1 - (weight.network(x) * centre).sum(-1).mean(-1)  # (r, sequences)
    each = risks.mean(0)
    raw, informed = 1 - (x * centre).sum(-1).mean().item(), batch["informed"].mean().item()
    ratio = each.mean().item() / raw
    error = each.std().item() / math.sqrt(len(each)) / raw
    note = f"risk {each.mean().item():.4f}, raw tokens {raw:.4f}, Bayes told the clusters {informed:.4f}"
    return Measured(ratio, (ratio - 2 * error, ratio + 2 * error), len(each), note)


def best_flow_ratio(weight: Weight) -> Measured:
    """Risk of the trained encoder over that of untrained SA at its best beta and time, on the same sequences."""
    encoder = weight.network.one(0)
    assert isinstance(encoder, FlowEncoder)
    batch = NoisyClustersData(d=encoder.d, batch_size=128).draw(stream("denoising"), 4, {})
    x, centre = batch["x"].flatten(0, 1), batch["centre"].flatten(0, 1)
    best = (math.inf, 0.0, 0.0)
    with torch.no_grad():
        trained = 1 - (encoder(x) * centre).sum(-1).mean().item()
        for beta in (6.0, 8.0, 9.0, 10.0, 11.0, 12.0, 14.0):
            flow = FlowEncoder(d=encoder.d, beta=beta, step=0.1)
            risks = 1 - (flow.trajectory(x, 60) * centre).sum(-1).mean((1, 2))
            at = int(risks.argmin())
            best = min(best, (risks[at].item(), beta, 0.1 * at))
    note = f"encoder {trained:.4f}; untrained SA {best[0]:.4f} at beta {best[1]:g}, time {best[2]:.1f}"
    return Measured(trained / best[0], n=len(x), note=note)


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "C1",
        "SA is the gradient ascent of E for the metric weighted by Z_i, USA for the Euclidean one: error for SA, USA.",
        "[2312], gradient-flow structure",
        "exact",
        AtMost(1e-12),
        0.1,
        gradient_errors,
        "theory",
    ),
    Claim(
        "C2",
        "The energy grows, by dE/dt = (1/n^2) sum_i Z_i |x_i'|^2 for SA: error of the rate, largest decrease on paths.",
        "[2312], gradient-flow structure",
        "exact",
        AtMost(1e-12),
        1,
        energy_growth,
        "theory",
    ),
    Claim(
        "C3",
        "From an orthonormal start all inner products equal gamma(t), for SA and USA: n = d = 6, beta = 3, t <= 8.",
        "[2312], orthonormal start",
        "exact",
        AtMost(1e-8),
        0.5,
        orthonormal_error,
        "theory",
    ),
    Claim(
        "C4",
        "The common inner product gamma of 32 orthonormal tokens at t = 1 … 6, for beta = 1, then 4.",
        f"[2312], orthonormal start; values {OURS}",
        "table",
        Near((0.1518, 0.5898, 0.9142, 0.9875, 0.9983, 0.9998, 0.0354, 0.1181, 0.3330, 0.7388, 0.9528, 0.9933), 1e-3),
        0.1,
        gamma_values,
        "theory",
    ),
    Claim(
        "C5",
        "Uniform starts in high dimension follow gamma: distance of the mean over pairs, at most over t <= 12, over "
        ".018, .004 (beta 1, d = 128, 1024) and .035, .007 (beta 4).",
        f"[2312], theorem on high dimension; distances {OURS}, within 50 %",
        "monte-carlo",
        AtMost(1.5),
        8,
        high_dimension_ratios,
        "theory",
    ),
    Claim(
        "C6",
        "Share of merged pairs of 32 tokens at t = 5, 10, 20, 30, for beta = 1, 4, 9, in d = 2, 8, 128.",
        f"[2312], phase diagrams; values {OURS}, means over 32 systems",
        "monte-carlo",
        Near(tuple(value for d in SHARES for value in SHARES[d]), absolute=0.05),
        20,
        merged_shares,
        "theory",
    ),
    Claim(
        "C6",
        "Share of merged pairs on the circle at t = 30 for beta = 1, 4, 9.",
        f"[2312], phase diagrams; values {OURS}, means over 32 systems",
        "monte-carlo",
        Near(SHARES[2][3::4], absolute=0.05),
        0.1,
        merged_at_the_end,
        "weights",
        ("phase_d2",),
    ),
    Claim(
        "C6t",
        "Share of merged pairs on the circle at t = 5, 10, 20, 30, for beta = 1, 4, 9, over 32 systems.",
        f"[2312], phase diagrams; values {OURS}",
        "monte-carlo",
        Near(SHARES[2], absolute=0.05),
        40,
        merged_course,
        "training",
        runs=(Retrain("phase_diagram", {"model.replicas": 2880}),),
    ),
    Claim(
        "C7",
        "Two tokens need T = ∫ (1 + e^{beta (1 - cos u)})/(2 sin u) du from 1.2 to .1 rad: beta = 4, 6, 8.",
        f"derived here from SA; values {OURS}",
        "exact",
        Near((4.45, 7.63, 16.24), relative=0.01),
        0.1,
        two_particles,
        "theory",
    ),
    Claim(
        "C8",
        "Two point clusters follow one equation in their angle: largest error against 3 + 2 tokens, SA and USA.",
        "derived here from SA and USA",
        "exact",
        AtMost(1e-6),
        2.5,
        cluster_error,
        "theory",
    ),
    Claim(
        "C9",
        "Times at which the authors' five tokens are one cluster, for beta = 2 … 6; energy of the two clusters that "
        "they are for long before, .52, and 1 - cos of their angle, 1.82 to 1.85, for beta = 4, 5, 6.",
        f"[2410], kinetic.py; values {OURS}",
        "figure",
        Near((16.7, 68.9, 364, 2071, 12087, 0.52, 0.52, 0.52, 1.835, 1.835, 1.835), relative=0.02),
        6,
        kinetic_course,
        "theory",
    ),
    Claim(
        "C9",
        "At t = 400 there is one cluster for beta = 2, 3, 4 and there are two for beta = 5, 6, with energies .52.",
        f"[2410], kinetic.py; values {OURS}",
        "figure",
        Near((1, 1, 1, 2, 2, 1, 1, 1, 0.52, 0.52), absolute=0.005),
        0.1,
        kinetic_end,
        "weights",
        ("kinetic",),
    ),
    Claim(
        "C10",
        "ln T grows with beta by slopes that approach 1 - cos(phi) = 1.8: from beta 2 to 3, 3 to 4, 4 to 5, 5 to 6.",
        f"[2410], main theorem; values {OURS}",
        "rate",
        Near((1.42, 1.66, 1.74, 1.76), absolute=0.01),
        0.1,
        slopes,
        "theory",
    ),
    Claim(
        "C11",
        "Tokens in two opposite caps: time of collapse over the bound on T1, 3000 over the bound on T2, and 1 + the "
        "distance by which a token leaves its doubled cap by t = 3000; beta = 14, 18 each.",
        "[2410], main theorem with L1 in its corrected form",
        "bound",
        AtMost(1.0),
        3,
        containment,
        "theory",
    ),
    Claim(
        "C12",
        "u' = u (1 - u) e^{beta (u - 1)} collapses before e^{beta (1 - u0)}/u0 + beta^2 c e/(beta - 1): ratio.",
        "[2410], collapse lemma",
        "bound",
        AtMost(1.0),
        0.1,
        collapse_ratios,
        "theory",
    ),
    Claim(
        "C13",
        "Levels of the energy staircase from 5 clusters to 1 at beta = 4000, then the energy at all six starts.",
        f"[2410], staircase.py; values {OURS}",
        "figure",
        Near((0.2, 0.28, 0.44, 0.68, 1, 0.252, 0.232, 0.221, 0.213, 0.205, 0.202), absolute=0.01),
        1,
        staircase_levels,
        "theory",
    ),
    Claim(
        "C13",
        "All six staircases end with one particle.",
        "[2410], staircase.py",
        "figure",
        Near((1.0,) * 6, absolute=1e-9),
        0.1,
        staircase_end,
        "weights",
        ("staircase",),
    ),
    Claim(
        "C14",
        "Rescaled times at which the energy passes .26, .42, .64, .95, for beta = 500, then 4000.",
        f"[2410], staircase.py; values {OURS}",
        "figure",
        Near((0.0008, 0.0207, 0.1092, 0.1187, 0.0026, 0.0175, 0.0889, 0.0914), relative=0.05),
        1,
        staircase_times,
        "theory",
    ),
    Claim(
        "C15",
        "Five uniform points of the sphere in R^3 lie in an open hemisphere with Wendel's probability.",
        "[2312], hemisphere theorem",
        "monte-carlo",
        Near(0.6875, absolute=0.015),
        0.1,
        hemispheres,
        "theory",
    ),
    Claim(
        "S1",
        "For d >= 3 tokens end in one cluster: least inner product of 64 tokens on the sphere at beta = 1, t = 15.",
        "[2312], theorem for d >= 3, on the film of sphere.py",
        "figure",
        AtLeast(theory.MERGED),
        0.1,
        one_cluster,
        "weights",
        ("sphere",),
    ),
    Claim(
        "S2",
        "The authors' integrator is slow by 1 + dt: exact time of one cluster at beta = 4, and the ratio of the times.",
        f"[2410], kinetic.py; values {OURS}",
        "exact",
        Near((330, 1.1), relative=0.01),
        2,
        exact_clock,
        "theory",
    ),
    Claim(
        "S3",
        "u' = -c log(beta) sin u falls to sqrt(log beta/beta) in a time that tends to 1/(2c): beta = 1e3, 1e12, 1e100.",
        f"[2410], time-scale lemma of Section 6, which prints 2/c; values {OURS}",
        "exact",
        Near((0.373, 0.443, 0.489), absolute=1e-3),
        0.1,
        narrow_times,
        "theory",
    ),
    *(
        Claim(
            "S4",
            "A run can be made again: largest difference between its last tokens and network(start).",
            "the definition of the flow",
            "exact",
            AtMost(1e-9),
            seconds,
            repeated,
            "weights",
            (tag,),
        )
        for tag, seconds in (("kinetic", 2), ("sphere", 0.2))
    ),
    Claim(
        "S5",
        "The trained encoder removes more than two thirds of the risk of noisy tokens: the share that is left.",
        "not the paper's: metastable clusters used to denoise",
        "monte-carlo",
        Between(0.0, 1 / 3),
        2,
        denoising,
        "weights",
        ("encoder",),
    ),
    Claim(
        "S6",
        "Eight trained layers do as well as untrained SA at its best temperature and time: ratio of their risks.",
        "not the paper's",
        "monte-carlo",
        Between(0.0, 1.05),
        10,
        best_flow_ratio,
        "weights",
        ("encoder",),
    ),
    Claim(
        "S7",
        "The steps sharpen with beta: share of its time that the last jump takes, over that of the beta before.",
        "[2410], staircase.py",
        "figure",
        AtMost(1.0),
        1,
        staircase_widths,
        "theory",
    ),
)
