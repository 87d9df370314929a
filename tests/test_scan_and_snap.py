"""Scan and snap: Lemmas against autograd and long contexts, flows against their invariants, data against their laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fitting import fit
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats
from torch import nn

from datamodules.sequence_classes import SequenceClassesData
from zoo.models.scan_and_snap import official, theory
from zoo.models.scan_and_snap.module import ReducedFlow, ScanAndSnap
from zoo.models.scan_and_snap.network import OneLayerTransformer, reweighted

DOUBLE = torch.float64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# The network.


@torch.no_grad()
@pytest.mark.parametrize("residual", [False, True])
def test_the_network_is_its_formula(residual):
    network = OneLayerTransformer(vocabulary=7, residual=residual, generator=generator()).double()
    (tokens,) = network.example(5, generator(1))
    for sequence, logits in zip(tokens.tolist(), network(tokens), strict=True):
        *context, query = sequence
        weights = [math.exp(network.Z[query, x]) for x in context]
        u = torch.zeros(7, dtype=DOUBLE)
        for x, weight in zip(context, weights, strict=True):
            u[x] += weight / sum(weights)
        u[query] += residual
        assert torch.allclose(network.Y.T @ (u / u.norm()), logits, atol=1e-14)


@torch.no_grad()
@pytest.mark.parametrize("residual", [False, True])
def test_counts_say_all_that_the_network_sees(residual):
    network = OneLayerTransformer(vocabulary=9, residual=residual, generator=generator()).double()
    network.Z *= 500  # attention that underflows for some tokens
    (tokens,) = network.example(6, generator(1))
    counts = nn.functional.one_hot(tokens[:, :-1], 9).sum(1)
    assert torch.allclose(network.from_counts(counts, tokens[:, -1]), network(tokens), atol=1e-13)
    shuffled = torch.cat([tokens[:, :-1].flip(1), tokens[:, -1:]], 1)
    assert torch.allclose(network(shuffled), network(tokens), atol=1e-13)
    assert torch.allclose(network.attention(tokens).sum(1), torch.ones(6, dtype=DOUBLE))


def test_reweighting_takes_no_mass_from_nowhere():
    masses = torch.tensor([0.0, 1.0, 3.0], dtype=DOUBLE)
    c = reweighted(masses, torch.tensor([900.0, -800.0, -800.0], dtype=DOUBLE))
    assert torch.allclose(c, torch.tensor([0.0, 0.25, 0.75], dtype=DOUBLE))


# Lemmas 1 and 2.


@settings(max_examples=25, deadline=None)
@given(v=st.integers(3, 9), length=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_lemma_1_is_the_gradient_and_its_rows_sum_to_zero(v, length, seed):
    network = OneLayerTransformer(vocabulary=v, generator=generator(seed)).double()
    tokens = torch.randint(v, (1, length + 1), generator=generator(seed))
    target = torch.randint(v, (1,), generator=generator(seed + 1))
    (-nn.functional.cross_entropy(network(tokens), target)).backward()
    query = int(tokens[0, -1])
    dY, dz = theory.lemma_1(tokens[0, :-1], query, int(target), network.Y.detach(), network.Z.detach())
    assert torch.allclose(dY, network.Y.grad, atol=1e-14) and torch.allclose(dz, network.Z.grad[query], atol=1e-14)
    assert dY.sum(1).abs().max() < 1e-14 and abs(dz.sum()) < 1e-14


@torch.no_grad()
def test_attention_of_long_contexts_is_c_n_up_to_one_over_root_t():
    data = SequenceClassesData(num_last=1, num_next_per_last=2)
    task = data.task(0)
    z = torch.randn(data.vocabulary, generator=generator(), dtype=DOUBLE)
    c = theory.population_attention(task["P"], z)[0]
    lengths, errors, draws = [2**i for i in range(6, 15)], [], np.random.default_rng(0)
    for length in lengths:
        counts = torch.tensor(draws.multinomial(length, task["P"][0].numpy(), 200))
        errors.append((reweighted(counts, z) - c).square().sum(1).mean().sqrt().item())
    slope = np.polyfit(np.log(lengths), np.log(errors), 1)[0]
    assert abs(slope + 0.5) < 0.03


def test_the_joint_flow_is_the_gradient_of_the_population_loss():
    task = SequenceClassesData(num_last=2, num_next_per_last=2, num_common=3, num_unique_per_next=3).task(0)
    P, psi, next = task["P"], task["psi"], task["next"]
    v = P.shape[1]
    Y, Z = (torch.randn(v, v, generator=generator(i), dtype=DOUBLE).requires_grad_() for i in range(2))
    logits = theory.normalised(theory.population_attention(P, Z[psi])) @ Y
    expected = torch.autograd.grad(-nn.functional.cross_entropy(logits, next), (Y, Z))
    for ours, theirs in zip(theory.joint_flow(P, psi, next, Y, Z), expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-14)


# The decoder.


@settings(max_examples=30, deadline=None)
@given(eta=st.floats(0.01, 5), M=st.integers(10, 2000), t=st.floats(0, 1e5))
def test_h_solves_its_implicit_equation(eta, M, t):
    x = M * theory.decoder_growth(torch.tensor(t, dtype=DOUBLE), eta, M)
    level = M * eta * t + 1
    assert abs(x.exp() + (M - 1) * x - level) < 1e-12 * level * max(1, x.item())


def test_h_is_the_solution_of_its_equation():
    M, eta = 50, 0.5
    t = np.linspace(0, 60, 7)
    found = integrate.solve_ivp(
        lambda _, h: eta / (M - 1 + np.exp(M * h)), (0, 60), [0.0], t_eval=t, rtol=1e-11, atol=1e-13
    )
    assert np.allclose(theory.decoder_growth(torch.tensor(t), eta, M), found.y[0], atol=1e-10)


@settings(max_examples=30, deadline=None)
@given(eta=st.floats(0.01, 2), M=st.integers(5, 500))
def test_the_discrete_h_is_above_the_continuous_one_by_at_most_its_bound(eta, M):
    gaps = theory.decoder_steps(100, eta, M) - theory.decoder_growth(torch.arange(101), eta, M)
    assert gaps.min() > -1e-12 and gaps.max() <= 2 * eta / M


def test_lemma_5_with_every_class_in_turn():
    M, eta, K, rounds = 30, 0.7, 4, 12
    Y, Z = (torch.zeros(M, M, dtype=DOUBLE) for _ in range(2))
    for i in range(K * rounds):
        Y = Y + eta * theory.lemma_1(torch.full((3,), 10 + i % K), 0, i % K, Y, Z)[0]
    f = torch.eye(M, dtype=DOUBLE)[10 : 10 + K]
    expected = theory.decoder_weight(theory.decoder_steps(rounds, eta, M)[-1], f, torch.arange(K))
    assert torch.allclose(Y, expected, atol=1e-13)


def test_the_decoder_of_lemma_5_reads_overlapping_patterns():
    P, _ = theory.shared_query_laws(3, 0.4)
    f = theory.normalised(torch.cat([P, torch.zeros(3, 5, dtype=DOUBLE)], 1))
    M, h, next = f.shape[1], torch.tensor(0.02, dtype=DOUBLE), torch.tensor([4, 0, 7])
    read = f @ theory.decoder_weight(h, f, next)
    for row, n in zip(read, next.tolist(), strict=True):
        assert torch.allclose(row, (M - 1) * h * theory.zeta(n, M), atol=1e-13)


# gamma.


def test_gamma_grows_linearly_then_decays_and_its_integral_is_closed():
    K, M, eta_y, eta_z = 10, 1000, 2.0, 0.5
    early, late = torch.tensor([0.01, 0.02], dtype=DOUBLE) * theory.knee(eta_y, K, M), torch.tensor([1e6, 2e6]).double()
    slopes = [(g[1] / g[0]).log() / math.log(2) for g in (theory.gamma(t, eta_y, K, M) for t in (early, late))]
    assert abs(slopes[0] - 1) < 0.05
    assert -1 < slopes[1] < -0.9  # ln(t)/t
    for time in (5.0, 60.0, 400.0):
        value, _ = integrate.quad(lambda t: theory.gamma(torch.tensor(t), eta_y, K, M).item(), 0, time)
        closed = theory.gamma_integral(torch.tensor(time), eta_y, eta_z, K, M).item()
        assert abs(closed / (eta_z * value) - 1) < 1e-8


@pytest.mark.parametrize("M", [100, 1000, 10**6])
def test_where_gamma_is_largest(M):
    x = optimize.brentq(lambda x: math.exp(x) * (x - 1) - (M - 1), 1, 30)
    h = torch.linspace(0.9, 1.1, 2001, dtype=DOUBLE) * x / M
    assert abs(h[theory.speed(h, M).argmax()] * M / x - 1) < 2e-4
    time = (math.exp(x) + (M - 1) * x - 1) / M  # of eta_Y t/K
    assert math.log(M) - math.log(math.log(M)) - 0.5 < time < math.log(M)


# The attention.


def random_laws(seed: int, K: int = 4, v: int = 40, common: int = 3, own: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Laws with random weights, and the distinct tokens (k, u)."""
    P = torch.zeros(K, v, dtype=DOUBLE)
    distinct = common + torch.arange(K * own).view(K, own)
    P[:, :common] = torch.rand(K, common, generator=generator(seed), dtype=DOUBLE) + 0.1
    P.scatter_(1, distinct, torch.rand(K, own, generator=generator(seed + 1), dtype=DOUBLE) + 0.1)
    return P / P.sum(1, keepdim=True), distinct


def test_interaction_is_the_neumann_remainder():
    f = theory.normalised(random_laws(0)[0])
    beta, overlap = theory.interaction(f), f @ f.T
    assert beta.diagonal().abs().max() == 0
    E = overlap - torch.eye(len(f), dtype=DOUBLE)
    off = torch.eye(len(f), dtype=DOUBLE) - torch.linalg.inv(overlap) - beta
    assert (off - torch.diag(off.diagonal())).abs().max() < 1e-14
    small = theory.normalised(torch.eye(4, 9, dtype=DOUBLE) + 0.02)
    E = small @ small.T - torch.eye(4, dtype=DOUBLE)
    assert ((theory.interaction(small) - E).abs() < 5 * E.abs().max() ** 2).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), shared=st.booleans())
def test_distinct_tokens_move_by_theorem_2(seed, shared):
    P, distinct = random_laws(seed)
    rows = torch.zeros(4, dtype=torch.long) if shared else torch.tensor([0, 0, 1, 1])
    z = torch.randn(2, 40, generator=generator(seed), dtype=DOUBLE)
    pull = theory.attention_pull(P, rows, z)
    f = theory.normalised(theory.population_attention(P, z[rows]))
    for n in range(4):
        tokens = distinct[n]
        assert torch.allclose(pull.z[rows[n], tokens], f[n, tokens] ** 2 * pull.xi[n], atol=1e-14)
    unused = (P.sum(0) == 0).nonzero().flatten()
    assert pull.z[:, unused].abs().max() == 0


def test_one_common_token_shrinks():
    P, rows = theory.shared_query_laws(10, 0.1)
    pull = theory.attention_pull(P, rows, torch.zeros(1, P.shape[1], dtype=DOUBLE))
    assert pull.z[0, 0] < 0 and (pull.z[0, 1:] > 0).all() and (pull.xi > 0).all()


def test_lemma_4_is_the_joint_flow_slowed_by_the_number_of_classes():
    """With the decoder of Lemma 5 the mean gradient of Z is eta_Z gamma pull/K (1 + O(K^2/M)), to all tokens alike."""
    K, excess = 4, []
    for M in (300, 600, 1200):
        laws, _ = theory.shared_query_laws(K, 0.2)
        used = laws.shape[1]
        P = torch.cat([laws, torch.zeros(K, M - used, dtype=DOUBLE)], 1)
        psi, next = torch.full((K,), used), M - K + torch.arange(K)
        h = theory.decoder_growth(torch.tensor(30.0) / K, 1.0, M)
        Y = theory.decoder_weight(h, theory.normalised(P), next)
        _, dZ = theory.joint_flow(P, psi, next, Y, torch.zeros(M, M, dtype=DOUBLE))
        pull = theory.attention_pull(P, torch.zeros(K, dtype=torch.long), torch.zeros(1, M, dtype=DOUBLE))
        ratio = K * dZ[used, :used] / (theory.speed(h, M) * pull.z[0, :used])
        assert (ratio / ratio[0] - 1).abs().max() < 1e-11
        excess.append(ratio[0].item() - 1)
    assert all(1.9 < a / b < 2.1 for a, b in zip(excess, excess[1:], strict=False))


def test_the_reduced_flow_converges_with_order_four():
    P, psi = random_laws(3)[0], torch.tensor([7, 7, 30, 30])
    ends = [
        theory.reduced_flow(P, psi, 1.0, 2.0, 10.0, vocabulary=200, steps=steps).z[-1] for steps in (10, 20, 40, 320)
    ]
    errors = [(end - ends[-1]).norm().item() for end in ends[:-1]]
    orders = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert all(3.9 < order < 4.3 for order in orders)


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), eta_y=st.floats(0.5, 5))
def test_theorem_3_for_random_laws(seed, eta_y):
    P, distinct = random_laws(seed)
    psi = torch.tensor([38, 38, 39, 39])
    flow = theory.reduced_flow(P, psi, eta_y, 1.0, 60.0, vocabulary=200, steps=120)
    z = flow.z[:, [0, 0, 1, 1]]
    f = theory.normalised(theory.population_attention(P, z))
    for n in range(4):
        own = distinct[n]
        chi = theory.growth_factor(z[:, n, own])
        gap, start = (theory.relative_gap(x, own[1:], own[:1]) for x in (f[:, n], theory.normalised(P[n])))
        assert torch.allclose(gap, start * chi[:, 1:], atol=2e-6)
        top = P[n, own].argmax()
        bounds = theory.growth_bounds(flow.B[:, n], theory.normalised(P[n])[own[top]])
        if bool((flow.B[:, n].diff() > 0).all()):
            assert (chi[:, top] >= bounds.low - 1e-12).all() and (chi[:, top] <= bounds.high + 1e-12).all()


def test_h_of_the_reduced_flow_is_the_implicit_solution():
    P, psi = theory.shared_query_laws(5, 0.2)
    flow = theory.reduced_flow(P, psi, torch.tensor([0.5, 2.0]), 0.5, 200.0, vocabulary=500, steps=400)
    exact = theory.decoder_growth(flow.t[:, None] / 5, torch.tensor([0.5, 2.0]), 500)
    assert torch.allclose(flow.h, exact, rtol=1e-8)


# Theorem 4.


def test_the_corrected_attraction_is_the_integral_and_the_printed_one_is_off_by_a_constant():
    Gamma = torch.linspace(0, 300, 301, dtype=DOUBLE, requires_grad=True)
    for C0 in (0.01, 0.1, 1.0, 5.0):
        B = theory.attraction(Gamma, C0)
        (slope,) = torch.autograd.grad(B.sum(), Gamma)
        assert torch.allclose(slope, (4 * theory.common_token_logit(Gamma, C0)).exp() / C0, rtol=1e-12)
        assert B[0] == 0
        off = theory.attraction_printed(Gamma, C0) - B
        assert torch.allclose(off, torch.full_like(off, math.log(C0) / 4), atol=1e-12)


def test_theorem_4_in_its_two_regimes_and_at_the_snap():
    K, M, C0 = 10, 1000, 0.1
    for eta_y in (1.0, 5.0):
        early = torch.tensor(0.2 * theory.knee(eta_y, K, M), dtype=DOUBLE)
        late = torch.tensor(1e4 * theory.snap_time(eta_y, K, M), dtype=DOUBLE)
        for t, form in ((early, theory.early_attraction), (late, theory.late_attraction)):
            exact = theory.attraction(theory.gamma_integral(t, eta_y, 0.5, K, M), C0)
            assert abs(form(t, eta_y, 0.5, C0, K, M) - exact) < 0.01
    at_snap = []
    for eta_z in (0.1, 1.0, 4.0):
        t = torch.tensor(theory.snap_time(3 * eta_z, K, M), dtype=DOUBLE)
        at_snap.append(theory.attraction(theory.gamma_integral(t, 3 * eta_z, eta_z, K, M), C0).item())
    assert max(at_snap) - min(at_snap) < 1e-12  # Figure 9: only the ratio of the step sizes counts


def test_entropy_on_distinct_tokens():
    task = SequenceClassesData().task(0)
    c = task["P"].clone()
    weights = torch.linspace(0.1, 1, 10, dtype=DOUBLE)
    law = weights / weights.sum()
    assert abs(theory.distinct_entropy(c, task["distinct"]) + (law * law.log()).sum()) < 1e-12
    flat = (c > 0).double() / 20
    assert abs(theory.distinct_entropy(flat.expand(3, -1, -1), task["distinct"]) - math.log(10)).max() < 1e-12


# Data.


@pytest.mark.parametrize(
    ("num_last", "num_next_per_last", "size"), [(2, 1, 34), (1, 2, 33), (3, 2, 79), (5, 2, 125), (10, 2, 240)]
)
def test_the_vocabularies_of_the_paper(num_last, num_next_per_last, size):
    data = SequenceClassesData(num_last=num_last, num_next_per_last=num_next_per_last)
    task = data.task(0)
    assert data.vocabulary == size and task["P"].shape == (num_last * num_next_per_last, size)
    assert torch.allclose(task["P"].sum(1), torch.ones(len(task["P"]), dtype=DOUBLE))
    assert torch.allclose(task["P"][:, :10], torch.tensor(1 / 15.5, dtype=DOUBLE))
    own = task["P"].gather(1, task["distinct"])
    assert torch.allclose(own, (torch.linspace(0.1, 1, 10, dtype=DOUBLE) / 15.5).expand_as(own))
    assert ((task["P"] > 0).sum(0)[task["distinct"]] == 1).all()
    used = torch.cat([task["common"], task["distinct"].flatten(), task["psi"].unique(), task["next"]])
    assert torch.equal(used.sort().values, torch.arange(size))


@settings(max_examples=20, deadline=None)
@given(u=st.integers(1, 40), common=st.integers(0, 12), weight=st.sampled_from([0.25, 1.0, 3.5, 0.611111]))
def test_the_bag_is_the_law(u, common, weight):
    data = SequenceClassesData(num_common=common, num_unique_per_next=u, common_weight=weight)
    asked = torch.cat([torch.full((common,), weight, dtype=DOUBLE), torch.linspace(0.1, 1, u, dtype=DOUBLE)])
    found = torch.bincount(data._bag).double()
    assert torch.allclose(found / found.sum(), asked / asked.sum(), atol=1e-6)


def test_one_common_token_of_mass_a_tenth():
    data = SequenceClassesData(num_last=1, num_next_per_last=10, num_common=1, common_weight=0.611111, vocabulary=200)
    P, _ = theory.shared_query_laws(10, 0.1)
    assert torch.allclose(data.task(0)["P"][:, :101], P, atol=1e-15)
    assert (data.task(0)["P"][:, 101:] == 0).all()


@pytest.mark.parametrize("sampler", ["tokens", "counts"])
def test_sequences_follow_the_law_of_their_class(sampler):
    data = SequenceClassesData(num_last=2, num_next_per_last=2, length=33, batch_size=50, sampler=sampler)
    task = data.task(0)
    batch = data.draw(generator(), 40, task)
    if sampler == "tokens":
        assert batch["tokens"].shape == (40, 50, 33)
        counts = nn.functional.one_hot(batch["tokens"][..., :-1], data.vocabulary).sum(2)
        query = batch["tokens"][..., -1]
    else:
        counts, query = batch["counts"].long(), batch["query"]
    assert counts.shape == (40, 50, data.vocabulary) and (counts.sum(-1) == 32).all()
    for n in range(4):
        members = batch["target"] == task["next"][n]
        assert abs(members.double().mean() - 0.25) < 4 * math.sqrt(0.1875 / 2000)
        assert (query[members] == task["psi"][n]).all()
        used = task["P"][n] > 0
        seen = counts[members].sum(0)
        assert (seen[~used] == 0).all()
        assert stats.chisquare(seen[used], task["P"][n, used] * seen.sum()).pvalue > 1e-3
        # independent tokens: the count of one token is binomial
        first = counts[members][:, 0].double()
        share = task["P"][n, 0].item()
        assert abs(first.var().item() / (32 * share * (1 - share)) - 1) < 0.35


def test_data_are_a_pure_function_of_seed_replica_and_step():
    first, again = (SequenceClassesData(seed=1, batch_size=4, length=9) for _ in range(2))
    whole = first.batches(0, 0, 130, 0, 1)
    parts = [again.batches(0, a, b, 0, 1) for a, b in ((60, 130), (0, 60))]
    for name, leaf in whole.items():
        assert torch.equal(leaf, torch.cat([parts[1][name], parts[0][name]]))
    assert not torch.equal(whole["counts"], first.batches(1, 0, 130, 0, 1)["counts"])
    assert SequenceClassesData(sampler="population").batches(0, 0, 5, 0, 1) == {}


def test_bad_arguments_are_told():
    for options, says in (
        ({"sampler": "none"}, "sampler='none'"),
        ({"num_last": 0}, "num_last=0"),
        ({"length": 1}, "length=1"),
        ({"common_weight": 0.0}, "common_weight=0"),
        ({"vocabulary": 50}, "use 79 tokens"),
    ):
        with pytest.raises(ValueError, match=says):
            SequenceClassesData(**options)
    for options, says in (
        ({"optimizer": "lion"}, "optimizer='lion'"),
        ({"start": "one"}, "start='one'"),
        ({"ratio": 0.0}, "ratio=0"),
        ({"momentum": 1.0}, "momentum=1"),
    ):
        with pytest.raises(ValueError, match=says):
            ScanAndSnap(**options)
    with pytest.raises(ValueError, match="eta_y=-1"):
        ReducedFlow(eta_y=-1.0)
    with pytest.raises(ValueError, match="num_unique_per_next"):
        ReducedFlow().build(generator(), SequenceClassesData(num_unique_per_next=1).task(0))
    with pytest.raises(ValueError, match="vocabulary=1"):
        OneLayerTransformer(vocabulary=1)


# Modules.


def small(sampler: str = "counts", **options) -> SequenceClassesData:
    return SequenceClassesData(num_last=2, num_next_per_last=1, length=30, batch_size=16, sampler=sampler, **options)


@pytest.mark.parametrize("start", ["zero", "random"])
def test_both_matrices_step_with_their_own_step_size(start):
    module = ScanAndSnap(eta_z=0.3, ratio=4.0, momentum=0.0, start=start, replicas=3, dtype="float64", seed=5)
    data = small()
    networks, task, history = fit(module, data, 2).result()
    for r in range(3):
        network = OneLayerTransformer(vocabulary=data.vocabulary)
        module_start = module.build(generator(), data.task(r))
        if start == "zero":
            assert all((matrix == 0).all() for matrix in module_start.parameters())
            network = module_start.double()
            batches = data.batches(r, 0, 2, 0, 1)
            for i in range(2):
                loss = nn.functional.cross_entropy(
                    network.from_counts(batches["counts"][i], batches["query"][i]), batches["target"][i]
                )
                assert abs(history.at("loss", i + 1)[r] - loss.item()) < 1e-12
                dY, dZ = torch.autograd.grad(loss, [network.Y, network.Z])
                with torch.no_grad():
                    network.Y -= 1.2 * dY
                    network.Z -= 0.3 * dZ
            for name in ("Y", "Z"):
                assert torch.allclose(getattr(networks.one(r), name), getattr(network, name), atol=1e-13)
        c = theory.population_attention(task["P"][r], networks.one(r).Z[task["psi"][r]])
        assert abs(history.last("entropy")[r] - theory.distinct_entropy(c, task["distinct"][r])) < 1e-12
        row = torch.stack([history.last(f"c_{i:02d}")[r] for i in range(20)])
        assert torch.allclose(row, c[0, :20].detach()) and abs(row.sum() - 1) < 1e-12
        assert abs(history.last("common_mass")[r] - c[:, :10].sum(1).mean()) < 1e-12
        assert abs(history.last("top")[r] - c.gather(1, task["distinct"][r])[:, -1].mean()) < 1e-12


def test_tokens_and_counts_train_the_same_network():
    modules = (fit(ScanAndSnap(replicas=2, dtype="float64"), small(sampler), 8) for sampler in ("counts", "tokens"))
    runs = [module.result() for module in modules]
    for name, tensor in runs[0][0].tensors().items():
        assert torch.allclose(tensor, runs[1][0].tensors()[name], atol=1e-12)


def test_one_replica_trains_as_it_does_among_others():
    alone, together = (fit(ScanAndSnap(replicas=r, dtype="float64"), small(), 5).result() for r in (1, 3))
    for name, tensor in alone[0].tensors().items():
        assert torch.allclose(tensor[0], together[0].tensors()[name][0], atol=1e-13)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_scans(optimizer):
    eta_z = 1.0 if optimizer == "sgd" else 0.5
    _, _, history = fit(ScanAndSnap(eta_z=eta_z, optimizer=optimizer, replicas=2), small(), 60).result()
    assert (history.last("loss") < 0.02).all() and (history.last("accuracy") == 1).all()
    assert (history.last("common_mass") < history.at("common_mass", 0) - 0.1).all()


def test_the_module_runs_the_reduced_flow():
    data = SequenceClassesData(
        num_last=2, num_next_per_last=3, num_common=1, vocabulary=150, sampler="population", common_weight=2.0
    )
    networks, task, history = fit(ReducedFlow(eta_z=0.7, eta_y=2.0, dt=0.5, log_every=20), data, 200).result()
    P, psi = task["P"][0], task["psi"][0]
    flow = theory.reduced_flow(P, psi, 2.0, 0.7, 100.0, vocabulary=150, steps=200)
    network = networks.one(0)
    assert torch.allclose(network.Z[psi.unique()], flow.z[-1], atol=1e-12)
    assert (network.Z.detach().norm(dim=1) > 0).sum() == 2
    assert torch.allclose(history["B"][:, 0], flow.B[::20, 0], atol=1e-12)
    assert torch.allclose(history["gamma"][:, 0], theory.gamma(flow.t[::20], 2.0, 6, 150), rtol=1e-6)
    chi = theory.growth_factor(flow.z[::20, 0, task["distinct"][0, 0, -1]])
    assert torch.allclose(history["chi"][:, 0], chi, atol=1e-12)
    assert (history["chi_low"] <= history["chi"] + 1e-12).all() and (
        history["chi"] <= history["chi_high"] + 1e-12
    ).all()
    assert history["ratio_error"].max() < 1e-7
    f = theory.normalised(theory.population_attention(P, network.Z[psi]))
    read = (f @ network.Y).softmax(-1)
    assert (read.argmax(-1) == task["next"][0]).all()


def test_the_official_table_is_whole():
    for queries in official.QUERIES:
        assert len(official.panel(queries)) == len(official.ETA_Z) * len(official.RATIOS)
    assert official.medium_tag(0.5, 10.0) == "syn_medium_z05_r10" and len(set(official.MEDIUM)) == 16
