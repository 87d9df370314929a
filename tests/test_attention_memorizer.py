"""The attention memoriser: networks, the construction of Theorem 1, next-token laws, and the data of its experiments."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from fitting import fit
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from datamodules.lookup_table import DirichletData, LookupTableData
from zoo.models.attention_memorizer import theory
from zoo.models.attention_memorizer.claims import CLAIMS
from zoo.models.attention_memorizer.constructions import memoriser
from zoo.models.attention_memorizer.module import Memorizer
from zoo.models.attention_memorizer.network import AttentionOnly, ResidualMLP, SequenceEncoder, SharedCompression
from zoo.replicas import Replicas


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def attention(seed: int = 0, **changes) -> AttentionOnly:
    sizes = {"vocabulary": 12, "context": 2, "dim": 6, "heads": 3, "head_dim": 4} | changes
    return AttentionOnly(**sizes, generator=seeded(seed))


NETWORKS = {
    "attention": lambda seed=0: attention(seed),
    "attention, scaled": lambda seed=0: attention(seed, scale=True, tied=True),
    "shared": lambda seed=0: SharedCompression(
        vocabulary=12, context=2, dim=6, heads=3, head_dim=4, generator=seeded(seed)
    ),
    "shared, k = d": lambda seed=0: SharedCompression(
        vocabulary=12, context=2, dim=6, heads=3, head_dim=6, generator=seeded(seed)
    ),
    "mlp": lambda seed=0: ResidualMLP(vocabulary=12, context=2, dim=6, width=9, generator=seeded(seed)),
    "mlp of width 0": lambda seed=0: ResidualMLP(vocabulary=12, context=2, dim=6, width=0, generator=seeded(seed)),
}
every_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


def pairs(count: int = 40, vocabulary: int = 12) -> Tensor:
    return torch.randint(vocabulary, (count, 2), generator=seeded(7))


# Networks.


def test_attention_is_what_the_paper_writes():
    """Loops over heads and places, independent of the network's code."""
    network = attention(context=5).double()
    tokens = torch.randint(12, (3, 5), generator=seeded(1))
    p = dict(network.named_parameters())
    for sequence, logits in zip(tokens, network(tokens), strict=True):
        x = [p["embedding"][token] + p["position"][s] for s, token in enumerate(sequence)]
        output = x[-1].clone()
        for q, k, v, o in zip(p["query"][0], p["key"][0], p["value"][0], p["out"][0], strict=True):
            scores = torch.stack([x[-1] @ q.T @ k @ one for one in x])
            output = output + o @ v @ sum(a * one for a, one in zip(scores.softmax(0), x, strict=True))
        torch.testing.assert_close(logits, p["unembedding"] @ output)


def test_scale_divides_the_scores():
    one, two = attention(scale=True), attention()
    two.load_state_dict(one.state_dict())
    with torch.no_grad():
        two.query /= math.sqrt(4)
    torch.testing.assert_close(one(pairs()), two(pairs()))


@pytest.mark.parametrize("layers", [1, 2])
def test_last_position_of_the_stream_is_forward(layers: int):
    network = attention(context=7, layers=layers).double()
    tokens = torch.randint(12, (9, 7), generator=seeded(1))
    torch.testing.assert_close(network.unembed(network.stream(tokens)[:, -1]), network(tokens))


def test_stream_is_causal():
    network = attention(context=7, layers=2)
    tokens = torch.randint(12, (4, 7), generator=seeded(1))
    torch.testing.assert_close(network.stream(tokens)[:, :5], network.stream(tokens[:, :5]))


def test_shared_compression_is_the_official_layer():
    """The same layer from torch.nn.MultiheadAttention, one module per head, as the authors build it."""
    network = SharedCompression(vocabulary=12, context=2, dim=6, heads=3, head_dim=4, generator=seeded()).double()
    tokens = pairs()
    residual = network.embedding[tokens]
    c = residual @ network.compression.T + network.position
    total = 0
    for h in range(3):
        head = nn.MultiheadAttention(4, 1, bias=False, batch_first=True).double()
        with torch.no_grad():
            head.in_proj_weight.copy_(torch.cat([network.query[h], network.key[h], network.value[h]]))
            head.out_proj.weight.copy_(network.out[h])
        mask = torch.ones(2, 2, dtype=torch.bool).triu(1)
        total = total + head(c, c, c, attn_mask=mask, need_weights=False)[0]
    expected = (residual + total @ network.decompression.T)[:, -1] @ network.unembedding.T
    torch.testing.assert_close(network(tokens), expected)


def test_residual_mlp_without_units_is_one_head():
    network = ResidualMLP(vocabulary=12, context=2, dim=6, width=0, generator=seeded())
    torch.testing.assert_close(network(pairs()), network.attention(pairs()))


@every_network
def test_fast_pairs_equal_forward_with_gradients(make):
    network, tokens = make().double(), pairs()
    torch.testing.assert_close(network.pairs(tokens), network(tokens))
    gradients = []
    for logits in (network.pairs(tokens), network(tokens)):
        gradients.append(torch.autograd.grad(logits.square().mean(), list(network.parameters())))
    torch.testing.assert_close(*gradients)


@every_network
@pytest.mark.parametrize("method", ["forward", "pairs"])
def test_replicas_gradients_and_tracing(make, method: str):
    """vmap of grad over stacked parameters, traced by make_fx, equals ordinary autograd replica by replica."""
    networks, tokens = [make(seed).double() for seed in range(3)], pairs()
    copies = Replicas(networks)
    stacked = {name: tensor.detach() for name, tensor in copies.tensors().items()}

    def loss(parameters: dict, tokens: Tensor) -> Tensor:
        inner = copy.deepcopy(networks[0])
        inner.forward = getattr(inner, method)
        return functional_call(inner, parameters, (tokens,)).square().mean()

    several = torch.stack([tokens, tokens.flip(1), tokens.flip(0)])
    step = make_fx(vmap(grad(loss)))(stacked, several)
    found = step(stacked, several)
    for r, network in enumerate(networks):
        value = getattr(network, method)(several[r]).square().mean()
        expected = torch.autograd.grad(value, list(network.parameters()))
        for (name, _), gradient in zip(network.named_parameters(), expected, strict=True):
            torch.testing.assert_close(found[name][r], gradient)


@every_network
def test_export(make):
    network, tokens = make(), pairs()
    program = torch.export.export(network, (tokens,)).module()
    torch.testing.assert_close(program(tokens), network(tokens))


@every_network
def test_initial_parameters_come_from_the_generator(make):
    before = torch.get_rng_state()
    one, two, other = make(0), make(0), make(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True) if a.numel())


@every_network
def test_arguments_build_the_same_network(make):
    network = make()
    again = type(network)(**network.arguments)
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(again(pairs()), network(pairs()))


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_parameter_counts_are_the_formulas():
    assert count(attention()) == theory.parameters(12, 2, 6, 3, 4)
    assert theory.parameters(50, 2, 10, 20, 10) == 10 * (2 + 100 + 4 * 10 * 20)
    for k in (4, 6):
        network = SharedCompression(vocabulary=12, context=2, dim=6, heads=3, head_dim=k)
        assert count(network) == theory.parameters_shared(12, 2, 6, 3, k)
    mlp = ResidualMLP(vocabulary=12, context=2, dim=6, width=9)
    assert count(mlp) == theory.parameters_mlp(12, 2, 6, 9)
    # At its place in Figure 3 the MLP has as many numbers as H heads, but for the bias w.
    width = theory.mlp_width(11, 13)
    assert theory.parameters_mlp(70, 2, 13, width) - theory.parameters(70, 2, 13, 11, 13) == width


def test_rank_one_key_query_products_need_fewer_parameters():
    assert theory.parameters(50, 2, 10, 20, 10, rank_one=True) == 10 * (2 + 100 + 2 * 11 * 20)


def test_table_of_peers():
    """Exact rows agree with the parameter count; the others grow as their papers say."""
    peers = {peer.name: peer for peer in theory.PEERS}
    ours = peers["this paper, d dimensions"]
    assert ours.exact and ours.parameters(210, 50, 2, 10) == theory.parameters(50, 2, 10, 20, 10)
    assert peers["this paper, d = 2"].parameters(100, 10, 2, 2) == theory.parameters(10, 2, 2, 49, 2)
    growth = {
        name: math.log10(peer.parameters(10**9, 50, 2, 10) / peer.parameters(10**8, 50, 2, 10))
        for name, peer in peers.items()
    }
    assert growth.pop("Kim et al. 2023") == pytest.approx(0.5, abs=0.05)
    assert list(growth.values()) == pytest.approx([1] * 4, abs=1e-3)


# The construction.


@pytest.mark.parametrize(
    ("vocabulary", "context", "dim", "heads", "head_dim", "rank_one"),
    [
        (50, 2, 10, 20, 10, False),
        (50, 2, 10, 20, 5, False),
        (50, 64, 4, 30, 4, False),
        (50, 64, 4, 30, 4, True),
        (50, 2, 10, 20, 10, True),
        (10, 2, 2, 49, 2, False),
        (30, 3, 5, 7, 1, False),
    ],
)
def test_memoriser_knows_exactly_its_capacity(vocabulary, context, dim, heads, head_dim, rank_one):
    built = memoriser(vocabulary, context, dim, heads, head_dim, rank_one)
    (network,), tokens, targets = built.networks, built.task["sequences"][0], built.task["targets"][0]
    assert len(tokens) == theory.capacity(heads, head_dim, dim) == len(tokens.unique(dim=0))
    with torch.no_grad():
        logits, features = network(tokens), network.features(tokens)
    assert torch.linalg.matrix_rank(features) == heads * head_dim + dim
    assert torch.equal(logits.argmax(-1), targets)
    wanted = network.unembedding[targets] @ network.unembedding.T
    assert (logits - wanted).abs().max() < 1e-6


def test_two_dimensions_put_the_logits_on_a_circle():
    built = memoriser(10, 2, 2, 49, 2)
    logits = built.networks[0](built.task["sequences"][0])
    angle = 2 * math.pi * (torch.arange(10) - built.task["targets"][0][:, None]) / 10
    torch.testing.assert_close(logits, angle.double().cos(), atol=1e-6, rtol=0)


def test_one_sequence_beyond_capacity_is_not_exact():
    generator = seeded()
    tokens = theory.distinct_sequences(50, 2, 111, generator)
    start = theory.generic(50, 2, 10, 20, 5, generator)
    target = torch.randn(111, 10, dtype=torch.float64, generator=generator)
    assert torch.linalg.matrix_rank(theory.features(start, tokens)) == 110
    stored = theory.outputs(theory.memorise(start, tokens, target, torch.empty(50, 10)), tokens)
    assert (stored - target).abs().max() > 1e-3


def test_one_common_last_token_costs_the_rank_of_the_skip_path():
    generator = seeded()
    tokens = torch.stack([torch.arange(60), torch.full((60,), 3)], dim=1)
    start = theory.generic(60, 2, 10, 5, 10, generator)
    assert torch.linalg.matrix_rank(theory.features(start, tokens)) == 5 * 10 + 1
    target = torch.randn(60, 10, dtype=torch.float64, generator=generator)
    with pytest.raises(ValueError, match="1 different last tokens"):
        theory.memorise(start, tokens, target, torch.empty(60, 10))


def test_features_agree_with_the_network():
    network = attention(context=5).double()
    tokens = torch.randint(12, (8, 5), generator=seeded(1))
    p = dict(network.named_parameters())
    torch.testing.assert_close(theory.features(p, tokens), network.features(tokens))
    torch.testing.assert_close(theory.outputs(p, tokens) @ p["unembedding"].T, network(tokens))
    with pytest.raises(ValueError, match="one layer"):
        attention(layers=2).features(pairs())


def test_accuracy_and_associations_are_inverse():
    bound = theory.accuracy(theory.capacity(11, 10, 10), 50, 2500)
    assert bound == pytest.approx(0.02 + 0.98 * 120 / 2500)
    assert theory.associations(bound, 50, 2500) == pytest.approx(120)
    assert theory.accuracy(10**6, 50, 2500) == 1
    assert theory.capacity_before(11, 10) == 100


def test_fits():
    x = [1.0, 2, 3, 5]
    line = theory.fit(x, [0.5 * a**2 + 1 for a in x], power=2)
    assert (line.slope, line.intercept, line.r2) == pytest.approx((0.5, 1, 1))
    assert theory.exponent(x, [a**2.5 for a in x]) == pytest.approx(2.5)
    assert max(theory.bends(x, [math.sqrt(a) for a in x])) < 0
    # The official points of Figure 1a give the official line: six points, the last one above 0.95 once.
    official = theory.line_of_heads((1, 6, 11, 16, 21, 26, 31), (0.130, 0.324, 0.506, 0.685, 0.861, 0.963, 0.997))
    assert (official.slope, official.intercept) == pytest.approx((0.0340, 0.119), rel=0.01)


@pytest.mark.parametrize("context", [1, 2, 30])
def test_distinct_sequences(context: int):
    tokens = theory.distinct_sequences(20, context, 15, seeded())
    assert tokens.shape == (15, context) and len(tokens.unique(dim=0)) == 15
    assert tokens.min() >= 0 and tokens.max() < 20
    with pytest.raises(ValueError, match="There are 20 sequences"):
        theory.distinct_sequences(20, 1, 21, seeded())


# Next-token laws.


def test_layer_reaches_the_best_encoder_on_laws():
    """Theorem 1: on H d_h + d laws the attention layer has the divergence of the best encoder of rank d."""
    generator = seeded()
    laws = theory.dirichlet(64, 12, generator)
    tokens = theory.distinct_sequences(12, 2, 64, generator)
    best = theory.best_encoder(laws, 4, generator, restarts=1)
    start = theory.generic(12, 2, 4, 15, 4, generator)
    network = AttentionOnly(vocabulary=12, context=2, dim=4, heads=15, head_dim=4).double()
    network.load_state_dict(theory.memorise(start, tokens, best.encoding, best.unembedding))
    assert theory.divergence(laws, network(tokens)).item() == pytest.approx(best.divergence, abs=1e-9)
    assert best.divergence > 0.1


def test_best_encoder_is_a_lower_bound_and_needs_all_dimensions():
    generator = seeded()
    laws = theory.dirichlet(30, 6, generator)
    values = [theory.best_encoder(laws, rank, generator, restarts=2).divergence for rank in (2, 3, 4, 5)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(0, abs=1e-10) and values[-2] > 1e-3
    # Another way to fit one is not better.
    encoder = SequenceEncoder(vocabulary=6, sequences=30, dim=2, generator=generator).double()
    optimiser = torch.optim.Adam(encoder.parameters(), lr=0.05)
    for _ in range(200):
        value = theory.divergence(laws, encoder(torch.arange(30)))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    assert values[0] <= value.item() < 1.2 * values[0]


def test_weights_of_sequences_enter_the_divergence():
    generator = seeded()
    laws, logits = theory.dirichlet(5, 4, generator), torch.randn(5, 4, dtype=torch.float64, generator=generator)
    weights = torch.tensor([1.0, 0, 0, 0, 0], dtype=torch.float64)
    assert torch.equal(theory.divergence(laws, logits, weights), theory.divergence(laws[:1], logits[:1]))
    equal = torch.full((5,), 0.2, dtype=torch.float64)
    torch.testing.assert_close(theory.divergence(laws, logits, equal), theory.divergence(laws, logits))
    certain = torch.eye(4, dtype=torch.float64)
    assert theory.divergence(certain, 100 * certain).item() == pytest.approx(0, abs=1e-12)


def test_near_table_bound_holds_where_it_says_something():
    """Theorem 2 on laws with one likely token each, for an encoder with nearly orthogonal unit rows."""
    vocabulary, dim, generator = 20, 800, seeded()
    with pytest.raises(ValueError, match="128 log"):
        theory.near_table_bound(theory.dirichlet(10, vocabulary, generator), 300)
    peak = 0.9
    others = theory.dirichlet(10, vocabulary, generator)
    token = torch.randint(vocabulary, (10,), generator=generator)
    others = others.scatter(1, token[:, None], 0)
    laws = (1 - peak) * others / others.sum(1, keepdim=True)
    laws = laws.scatter(1, token[:, None], peak)
    rows = theory.unit_rows(vocabulary, dim, generator)
    best = min(
        theory.divergence(laws, scale * rows[token] @ rows.T).item() for scale in torch.linspace(0.1, 12, 120).tolist()
    )
    assert best < theory.near_table_bound(laws, dim)


# Data.


def flat(batch: dict[str, Tensor]) -> Tensor:
    return torch.cat([batch["tokens"], batch["target"].unsqueeze(-1)], dim=-1)


def test_table_data_do_not_depend_on_chunks_or_history():
    make = lambda: LookupTableData(vocabulary=20, batch_size=16, batches_per_epoch=5, seed=3)  # noqa: E731
    whole = flat(make().batches(1, 0, 23, 0, 1))
    data = make()
    pieces = [flat(data.batches(1, a, b, 0, 1)) for a, b in ((0, 4), (4, 5), (5, 17), (17, 23))]
    assert torch.equal(torch.cat(pieces), whole)
    assert torch.equal(flat(make().batches(1, 17, 23, 0, 1)), whole[17:23])
    assert not torch.equal(flat(make().batches(2, 0, 23, 0, 1)), whole)


def test_every_epoch_is_a_new_order_of_the_same_sample():
    data = LookupTableData(vocabulary=20, batch_size=16, batches_per_epoch=5)
    first, second = (flat(data.batches(0, start, start + 5, 0, 1)).flatten(0, 1) for start in (0, 5))
    assert not torch.equal(first, second)
    assert torch.equal(*(rows[torch.argsort((rows * torch.tensor([400, 20, 1])).sum(1))] for rows in (first, second)))
    task = data.task(0)
    assert torch.equal(task["table"][first[:, 0], first[:, 1]].long(), first[:, 2])
    seen = torch.bincount(first[:, 0] * 20 + first[:, 1], minlength=400).view(20, 20)
    assert torch.equal(task["counts"].long(), seen)


def test_ranks_share_out_each_epoch():
    data = LookupTableData(vocabulary=50, batch_size=16, batches_per_epoch=6)
    alone = flat(data.batches(0, 0, 6, 0, 1))
    ranks = [flat(data.batches(0, 0, 3, rank, 2)) for rank in (0, 1)]
    assert torch.equal(torch.stack(ranks, dim=1).flatten(0, 1), alone)


def test_table_of_longer_contexts():
    data = LookupTableData(vocabulary=7, context=3, batch_size=4, batches_per_epoch=2)
    batch, table = data.batches(0, 0, 2, 0, 1), data.task(0)["table"]
    assert batch["tokens"].shape == (2, 4, 3) and table.shape == (7, 7, 7)
    assert torch.equal(table[tuple(batch["tokens"].unbind(-1))].long(), batch["target"])
    with pytest.raises(ValueError, match="cannot be held"):
        LookupTableData(vocabulary=50, context=6)


def test_dirichlet_data():
    data = DirichletData(vocabulary=6, context=2, sequences=20, seed=1)
    task, batch = data.task(0), data.batches(0, 3, 5, 0, 1)
    assert len(task["sequences"].unique(dim=0)) == 20
    torch.testing.assert_close(task["laws"].sum(1), torch.ones(20, dtype=torch.float64))
    assert batch["tokens"].shape == (2, 20, 2) and torch.equal(batch["law"][1], task["laws"])
    assert torch.equal(batch["index"][0], torch.arange(20))
    again = DirichletData(vocabulary=6, context=2, sequences=20, seed=1).task(0)
    assert torch.equal(again["laws"], task["laws"]) and not torch.equal(data.task(1)["laws"], task["laws"])
    with pytest.raises(ValueError, match="different sequences"):
        DirichletData(vocabulary=3, context=1, sequences=4)


# Training.


def test_memorizer_learns_a_small_table_and_its_schedule_is_per_epoch():
    data = LookupTableData(vocabulary=8, batch_size=32, batches_per_epoch=10)
    options = {"vocabulary": 8, "dim": 8, "heads": 4, "head_dim": 8, "steps_per_epoch": 10, "epochs": 20}
    module = fit(Memorizer(replicas=2, log_every=50, **options), data, 200)
    assert module.history.last("accuracy").min() > 0.9
    assert module.history["recall"].shape == (5, 2)
    assert [module.learning_rate(step) for step in (0, 9, 10)] == pytest.approx([0.01, 0.01, 0.01 - 0.0095 / 20])
    assert module.learning_rate(10**6) == pytest.approx(5e-4)


@pytest.mark.parametrize("network", ["attention", "shared", "encoder"])
def test_memorizer_lowers_the_divergence_from_laws(network: str):
    data = DirichletData(vocabulary=6, context=2, sequences=20)
    options = {"vocabulary": 6, "dim": 3, "heads": 4, "head_dim": 3, "steps_per_epoch": 50, "epochs": 2}
    module = fit(Memorizer(network=network, replicas=2, log_every=25, **options), data, 100)
    loss = module.history["loss"][1:]
    assert (loss[-1] < loss[0]).all()
    for laws, last in zip(module.task()["laws"], loss[-1], strict=True):
        assert last > theory.best_encoder(laws, 3, seeded(), restarts=1).divergence


def test_wrong_recipes_are_told():
    with pytest.raises(ValueError, match="network must be one of"):
        Memorizer(network="mpl")
    with pytest.raises(ValueError, match=r"model\.vocabulary is 50, the data have 8 tokens"):
        fit(Memorizer(), LookupTableData(vocabulary=8, batch_size=4, batches_per_epoch=2), 1)
    with pytest.raises(ValueError, match="needs laws"):
        fit(
            Memorizer(network="encoder", vocabulary=8),
            LookupTableData(vocabulary=8, batch_size=4, batches_per_epoch=2),
            1,
        )


# Claims.


def test_claims_have_unique_keys():
    keys = [(claim.id, *claim.weights) for claim in CLAIMS]
    assert len(keys) == len(set(keys))
