"""Theory of "Memorization in Attention-only Transformers" (Dana, Pydi & Chevaleyre, AISTATS 2025).

Shapes: n sequences, t tokens (S in the paper), v vocabulary (N), d embedding, h heads, k head size (d_h).
Parameters are dicts of tensors under the names and shapes of `AttentionOnly` with one layer. Solutions need
float64: the features have condition numbers of 1e6 to 1e9.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Capacity.


def capacity(heads: int, head_dim: int, dim: int) -> int:
    """H d_h + d, sequences that one attention layer memorises for any context length (Theorem 1)."""
    return heads * head_dim + dim


def capacity_before(heads: int, head_dim: int) -> int:
    """H (d_h - 1) + 1, the bound of Mahdavi et al. (2024) for one attention layer; needs context <= d."""
    return heads * (head_dim - 1) + 1


def accuracy(associations: float, vocabulary: int, sequences: int) -> float:
    """Accuracy when X of T0 sequences are known and the others guessed: 1/N + (1 - 1/N) X / T0 (Corollary 2)."""
    return 1 / vocabulary + (1 - 1 / vocabulary) * min(associations / sequences, 1.0)


def associations(accuracy: float, vocabulary: int, sequences: int) -> float:
    """Associations behind an accuracy, X = T0 (accuracy - 1/N) / (1 - 1/N); the inverse of Corollary 2."""
    return sequences * (accuracy - 1 / vocabulary) / (1 - 1 / vocabulary)


def per_head(slope: float, vocabulary: int, sequences: int) -> float:
    """Associations per head behind a slope of the accuracy against H."""
    return sequences * slope / (1 - 1 / vocabulary)


def parameters(vocabulary: int, context: int, dim: int, heads: int, head_dim: int, rank_one: bool = False) -> int:
    """Numbers in an attention-only layer: d (S + 2 N + 4 d_h H), or d (S + 2 N + 2 (d_h + 1) H) with W_QK of rank 1."""
    return dim * (context + 2 * vocabulary + (2 * (head_dim + 1) if rank_one else 4 * head_dim) * heads)


def parameters_shared(vocabulary: int, context: int, dim: int, heads: int, head_dim: int) -> int:
    """Numbers in the code's network (`SharedCompression`): 4 d_h^2 H + 2 d N + d_h S, and 2 d d_h if d != d_h."""
    shared = 2 * dim * head_dim if dim != head_dim else 0
    return 4 * head_dim**2 * heads + 2 * dim * vocabulary + head_dim * context + shared


def parameters_mlp(vocabulary: int, context: int, dim: int, width: int) -> int:
    """Numbers in one head of size d followed by a residual MLP of width w: d (S + 2 N + 4 d + 2 w) + w."""
    return parameters(vocabulary, context, dim, 1, dim) + (2 * dim + 1) * width


def mlp_width(heads: int, dim: int) -> int:
    """w = 2 d (H - 1), the MLP drawn at the place of an attention-only network with H heads of size d (Figure 3)."""
    return 2 * dim * (heads - 1)


@dataclass(frozen=True)
class Peer:
    """Size of a network that memorises n sequences.

    Attributes:
        says: what it is and what it needs.
        parameters: (n, vocabulary, context, dim) -> numbers in it; without constants unless `exact`.
        exact: whether the constants are the paper's.
    """

    name: str
    says: str
    parameters: Callable[[float, int, int, int], float]
    exact: bool = False


PEERS: tuple[Peer, ...] = (
    Peer(
        "this paper, d dimensions",
        "one attention layer, any context, d (S + 2 N + 4 (T0 - d))",
        lambda n, v, t, d: d * (t + 2 * v + 4 * (n - d)),
        exact=True,
    ),
    Peer(
        "this paper, d = 2",
        "one attention layer, associations only, 2 S + 4 N + 8 (T0 - 2) (Corollary 1)",
        lambda n, v, t, d: 2 * t + 4 * v + 8 * (n - 2),
        exact=True,
    ),
    Peer(
        "Mahdavi et al. 2024",
        "one attention layer, context <= d, H (d_h - 1) + 1 examples, O(S + N + T0)",
        lambda n, v, t, d: t + v + n,
    ),
    Peer(
        "Kim et al. 2023",
        "depth sqrt(T0), one head of size 1 and an MLP of width 16 per layer, O(S + N + sqrt(T0 log T0))",
        lambda n, v, t, d: t + v + math.sqrt(n * math.log(n)),
    ),
    Peer(
        "Huben & Morris 2023",
        "an MLP simulated by attention, one head per neuron, d_h >= S + 1 and d >= S + 2, O((d + S) (S + N + T0))",
        lambda n, v, t, d: (d + t) * (t + v + n),
    ),
)
"""Networks that memorise n sequences. MLPs need n ReLU neurons for n reals (Bubeck et al. 2020) and about sqrt(n)
for n labels (Vardi et al. 2022)."""


# Lines through measurements, as in the paper's figures.


@dataclass(frozen=True)
class Fit:
    """y = slope f(x) + intercept by least squares, with its coefficient of determination."""

    slope: float
    intercept: float
    r2: float


def fit(x: Sequence[float], y: Sequence[float], power: float = 1.0) -> Fit:
    """Least squares of y = slope x^power + intercept."""
    a, b = torch.tensor(x, dtype=torch.float64) ** power, torch.tensor(y, dtype=torch.float64)
    slope = ((a - a.mean()) @ (b - b.mean())) / (a - a.mean()).square().sum()
    intercept = b.mean() - slope * a.mean()
    residual = (b - slope * a - intercept).square().sum() / (b - b.mean()).square().sum()
    return Fit(slope.item(), intercept.item(), 1 - residual.item())


def line_of_heads(heads: Sequence[float], accuracies: Sequence[float], ceiling: float = 0.95) -> Fit:
    """The line of Figure 1a: through the points, in order of growing H, up to the first above 0.95, included."""
    count = next((i + 1 for i, value in enumerate(accuracies) if value > ceiling), len(accuracies))
    return fit(heads[:count], accuracies[:count])


def pieces(x: Sequence[float], y: Sequence[float], knee: float) -> tuple[Fit, Fit]:
    """The two lines of Figure 2a, left and right of `knee`; the point at the knee enters both."""
    left = [(a, b) for a, b in zip(x, y, strict=True) if a <= knee]
    right = [(a, b) for a, b in zip(x, y, strict=True) if a >= knee]
    first, second = (fit([a for a, _ in side], [b for _, b in side]) for side in (left, right))
    return first, second


def bends(x: Sequence[float], y: Sequence[float]) -> list[float]:
    """Change of slope at each inner point; all negative for a concave curve."""
    points = list(zip(x, y, strict=True))
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in zip(points, points[1:], strict=False)]
    return [second - first for first, second in zip(slopes, slopes[1:], strict=False)]


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of log y against log x."""
    return fit([math.log(a) for a in x], [math.log(b) for b in y]).slope


# The memoriser of Theorem 1.


def distinct_sequences(vocabulary: int, context: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` different uniformly random sequences, (n, t)."""
    total = vocabulary**context
    if count > total:
        raise ValueError(f"There are {total} sequences of {context} out of {vocabulary} tokens, not {count}.")
    if total <= 10**6:
        index = torch.randperm(total, generator=generator)[:count]
        return torch.stack([index // vocabulary**s % vocabulary for s in reversed(range(context))], dim=1)
    found = torch.empty(0, context, dtype=torch.long)
    while len(found) < count:
        more = torch.randint(vocabulary, (count - len(found), context), generator=generator)
        found = torch.unique(torch.cat([found, more]), dim=0)
    return found[torch.randperm(count, generator=generator)]


def generic(
    vocabulary: int,
    context: int,
    dim: int,
    heads: int,
    head_dim: int,
    generator: torch.Generator,
    rank_one: bool = False,
) -> dict[str, Tensor]:
    """Random embedding, position, query, key and value in float64, generic in the sense of Lemma 2.

    With `rank_one` every W_QK has rank 1, which suffices (Remark 2): queries and keys have one non-zero row.
    """

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=generator)

    found = {"embedding": normal(vocabulary, dim), "position": normal(context, dim)}
    found |= {name: normal(1, heads, head_dim, dim) / math.sqrt(dim) for name in ("query", "key", "value")}
    if rank_one:
        found["query"][:, :, 1:] = 0
        found["key"][:, :, 1:] = 0
    return found


def features(parameters: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
    """[x_S ; W_V A] of sequences (n, t) -> (n, d + h k), attention written out as the paper defines it."""
    x = parameters["embedding"][tokens] + parameters["position"][: tokens.shape[1]]
    bilinear = parameters["query"][0].transpose(-1, -2) @ parameters["key"][0]  # (h, d, d), W_QK
    score = torch.einsum("nd,hde,nte->nht", x[:, -1], bilinear, x)
    attended = torch.einsum("nht,ntd->nhd", score.softmax(-1), x)  # A^h
    values = torch.einsum("hkd,nhd->nhk", parameters["value"][0], attended)
    return torch.cat([x[:, -1], values.flatten(1)], dim=1)


def outputs(parameters: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
    """x_S + W_O W_V A, what the unembedding reads of sequences (n, t) -> (n, d)."""
    dim = parameters["embedding"].shape[1]
    found = features(parameters, tokens)
    return found[:, :dim] + found[:, dim:] @ parameters["out"][0].transpose(-1, -2).flatten(0, 1)


def memorise(
    parameters: Mapping[str, Tensor], tokens: Tensor, target: Tensor, unembedding: Tensor
) -> dict[str, Tensor]:
    """The attention-only layer whose output vector on sequences (n, t) is `target` (n, d) (Theorem 1).

    Solves [x_S ; W_V A] M = target by least squares, exactly if n <= H d_h + d. The first d rows M0 of M say what
    the skip path should be. The paper reaches it as the limit of a head with W_QK = lambda Id; as M0 is invertible,
    the change of basis x -> x M0 of the stream makes the skip path the identity without a limit and leaves all
    scores as they are.

    Args:
        parameters: of `generic`.
        unembedding: W_U (v, d), passed on.

    Raises:
        ValueError: the last tokens do not span d dimensions, so that M0 is singular: the skip path then adds
            less than d to the rank.
    """
    dim = target.shape[1]
    solution = torch.linalg.lstsq(features(parameters, tokens), target, driver="gelsd").solution
    skip, rest = solution[:dim], solution[dim:]
    if torch.linalg.matrix_rank(skip) < dim:
        last = len(tokens[:, -1].unique())
        raise ValueError(
            f"The skip path is singular: {last} different last tokens and targets of rank "
            f"{int(torch.linalg.matrix_rank(target))} do not span d = {dim} dimensions."
        )
    _, heads, head_dim, _ = parameters["value"].shape
    found = {name: parameters[name] @ skip for name in ("embedding", "position")}
    # Row vectors x' = x M0, so W x' = W M0^-T M0^T x needs W' = W M0^-T.
    for name in ("query", "key", "value"):
        found[name] = torch.linalg.solve(skip, parameters[name].flatten(0, 2).T).T.reshape_as(parameters[name])
    found["out"] = rest.view(1, heads, head_dim, dim).transpose(-1, -2).contiguous()
    found["unembedding"] = unembedding
    return found


def unit_rows(vocabulary: int, dim: int, generator: torch.Generator) -> Tensor:
    """W_U with unit rows, (v, d): a token's own row then has the largest product with it, so argmax W_U W_U[g] = g.

    In two dimensions equally spaced points of the circle: the logit of j is cos(2 pi (j - g) / N) (Proposition 3).
    """
    if dim == 2:
        angle = 2 * math.pi * torch.arange(vocabulary, dtype=torch.float64) / vocabulary
        return torch.stack([angle.cos(), angle.sin()], dim=1)
    rows = torch.randn(vocabulary, dim, dtype=torch.float64, generator=generator)
    return rows / rows.norm(dim=1, keepdim=True)


# Next-token laws.


def dirichlet(sequences: int, vocabulary: int, generator: torch.Generator) -> Tensor:
    """Laws drawn uniformly from the simplex, (n, v) float64."""
    laws = torch.empty(sequences, vocabulary, dtype=torch.float64).exponential_(generator=generator)
    return laws / laws.sum(1, keepdim=True)


def divergence(laws: Tensor, logits: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean KL(law, softmax(logits)) over sequences in nats; laws and logits (n, v), weights (n,) summing to 1."""
    each = (torch.special.xlogy(laws, laws) - laws * logits.log_softmax(-1)).sum(-1)
    return each.mean() if weights is None else weights @ each


@dataclass(frozen=True)
class Encoder:
    """A fitted sequence encoder of rank d: logits = encoding unembedding^T, and its divergence from the laws."""

    encoding: Tensor  # (n, d)
    unembedding: Tensor  # (v, d)
    divergence: float


def best_encoder(
    laws: Tensor,
    dim: int,
    generator: torch.Generator,
    weights: Tensor | None = None,
    restarts: int = 8,
    iterations: int = 2000,
) -> Encoder:
    """The sequence encoder L(N, S, d) nearest to the laws (n, v), by L-BFGS in float64: Proposition 1's lower bound.

    The problem has local minima: the best of `restarts` starts is kept, the first two from the singular vectors of the
    log-laws and of the laws, the others random.

    Args:
        weights: probability of each sequence (n,), summing to 1; equal if None.
        iterations: of L-BFGS in each start; it stops earlier at a gradient of 1e-10.
    """
    laws = laws.double()
    weights = None if weights is None else weights.double()
    best = Encoder(torch.empty(0), torch.empty(0), math.inf)
    for restart in range(restarts):
        if restart == 0:
            encoding, unembedding = _leading(laws.clamp_min(1e-6).log(), dim)
        elif restart == 1:
            encoding, unembedding = _leading(laws, dim)
        else:
            encoding = 0.3 * torch.randn(len(laws), dim, dtype=torch.float64, generator=generator)
            unembedding = torch.randn(laws.shape[1], dim, dtype=torch.float64, generator=generator)
        found = _descend(laws, weights, encoding, unembedding, iterations)
        best = min(best, found, key=lambda one: one.divergence)
        if best.divergence < 1e-12:
            break
    return best


def _leading(matrix: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Factors (n, d) and (v, d) of the best rank-d approximation, up to a constant per row, which a softmax ignores."""
    u, s, vh = torch.linalg.svd(matrix - matrix.mean(1, keepdim=True), full_matrices=False)
    root = s[:dim].sqrt()
    pad = (0, max(0, dim - len(s)))
    left, right = (torch.nn.functional.pad(one * root, pad) for one in (u[:, :dim], vh[:dim].T))
    return left.contiguous(), right.contiguous()


def _descend(laws: Tensor, weights: Tensor | None, encoding: Tensor, unembedding: Tensor, iterations: int) -> Encoder:
    encoding, unembedding = encoding.requires_grad_(), unembedding.requires_grad_()
    optimiser = torch.optim.LBFGS(
        [encoding, unembedding],
        max_iter=iterations,
        tolerance_grad=1e-10,
        tolerance_change=1e-15,
        history_size=30,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = divergence(laws, encoding @ unembedding.T, weights)
        value.backward()
        return value

    optimiser.step(closure)
    with torch.no_grad():
        value = divergence(laws, encoding @ unembedding.T, weights).item()
    return Encoder(encoding.detach(), unembedding.detach(), value)


def near_table_bound(laws: Tensor, dim: int) -> float:
    """Upper bound on the best rank-d encoder's divergence from laws (n, v) close to a look-up table (Theorem 2).

    KL <= mean of (1 - pi(g|t)) (1 + 2 C + C TV) / (1 - 2 C) log((N - 1) / (exp(entropy of pi(.|t)) - 1)), where g is
    the most likely token, TV the total variation between the law of the other tokens and the uniform one, and
    C = sqrt(32 log(N + 1) / d) comes from the Johnson-Lindenstrauss lemma.

    Raises:
        ValueError: C >= 1/2, that is d <= 128 log(N + 1), where the theorem says nothing.
    """
    vocabulary = laws.shape[1]
    c = math.sqrt(32 * math.log(vocabulary + 1) / dim)
    if c >= 0.5:
        raise ValueError(f"Theorem 2 needs d > 128 log(N + 1) = {128 * math.log(vocabulary + 1):.0f}, got d = {dim}.")
    peak, token = laws.max(-1)
    others = laws.scatter(-1, token[:, None], 0) / (1 - peak[:, None])
    uniform = torch.full_like(laws, 1 / (vocabulary - 1)).scatter(-1, token[:, None], 0)
    variation = (others - uniform).abs().sum(-1) / 2
    entropy = -torch.special.xlogy(laws, laws).sum(-1)
    each = (1 - peak) * (1 + 2 * c + c * variation) / (1 - 2 * c) * ((vocabulary - 1) / entropy.expm1()).log()
    return each.mean().item()
