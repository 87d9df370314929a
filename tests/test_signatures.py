"""Signatures against pySigLib, their own identities and autograd; kernels against truncated sums."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import grad, jacrev, vmap

from zoo.registry import ZooError
from zoo.signatures import levels, library
from zoo.signatures import signature as module
from zoo.signatures.algebra import (
    exponential,
    inverse,
    join,
    logarithm,
    lyndon_places,
    lyndon_words,
    multiply,
    size,
    split,
)
from zoo.signatures.kernels import features, goursat, goursat_gram, truncated_gram
from zoo.signatures.layers import LogSignature, Signature, SignatureKernel
from zoo.signatures.signature import (
    from_origin,
    levels_of,
    log_signature,
    pull_back,
    reverses,
    scan,
    signature,
    tree,
    with_time,
)

DOUBLE = torch.float64
needs_library = pytest.mark.skipif(not library.installed(), reason="pysiglib is not installed")
BACKENDS = ["torch", pytest.param("pysiglib", marks=needs_library)]


def paths(*shape: int, seed: int = 0, dtype: torch.dtype = DOUBLE) -> torch.Tensor:
    steps = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    return (steps / math.sqrt(shape[-2])).cumsum(-2).to(dtype)


# Signatures.


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.integers(2, 8), st.integers(1, 3), st.integers(1, 4), st.integers(0, 10**6))
def test_every_form_is_the_iterated_integral(batch, points, channels, depth, seed):
    path = paths(batch, points, channels, seed=seed)
    steps = path.diff(dim=1)
    for k, level in enumerate(levels_of(path, depth, "torch"), start=1):
        # sum over non-decreasing times of the products of steps, over the factorials of repetitions
        expected = torch.zeros_like(level)
        for times in itertools.combinations_with_replacement(range(points - 1), k):
            term = torch.ones(batch, 1, dtype=DOUBLE)
            for t in times:
                term = (term[:, :, None] * steps[:, t, None]).flatten(1)
            expected += term / math.prod(math.factorial(times.count(t)) for t in set(times))
        torch.testing.assert_close(level, expected, rtol=1e-10, atol=1e-10)
    for other in (scan(path, depth), tree(path, depth)):
        torch.testing.assert_close(other, signature(path, depth, "torch"), rtol=1e-10, atol=1e-10)


@needs_library
@pytest.mark.parametrize(("shape", "depth"), [((3, 30, 2), 6), ((2, 300, 5), 3), ((4, 12, 8), 4), ((5, 7, 1), 3)])
def test_pure_pytorch_is_pysiglib(shape, depth):
    import pysiglib

    path = paths(*shape)
    expected = pysiglib.sig(path, depth)
    assert (signature(path, depth, "torch") - expected).abs().max() < 1e-12 * expected.abs().max()
    weights = torch.randn_like(expected)
    gradient = pull_back(path, expected, weights, depth, "torch")
    reference = pysiglib.sig_backprop(path, expected, weights, depth)
    assert (gradient - reference).abs().max() < 1e-11 * reference.abs().max()


@needs_library
@pytest.mark.parametrize("shape", [(4, 1000, 5, 4), (2, 100, 8, 5)])
def test_time_reversal_has_pysiglib_s_gradient_on_long_and_on_deep_paths(shape):
    import pysiglib

    path = paths(*shape[:3])
    expected = pysiglib.sig(path, shape[3])
    weights = torch.randn_like(expected)
    gradient = pull_back(path, expected, weights, shape[3], "torch")
    reference = pysiglib.sig_backprop(path, expected, weights, shape[3])
    assert (gradient - reference).abs().max() < 1e-9 * reference.abs().max()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_gradients_are_those_of_autograd_through_the_scan(backend, depth):
    path = paths(3, 2, 11, 2).requires_grad_()
    weights = torch.randn(3, 2, size(2, depth), dtype=DOUBLE)
    (found,) = torch.autograd.grad(signature(path, depth, backend), path, weights)
    (expected,) = torch.autograd.grad(scan(path, depth), path, weights)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_pieces_of_batch_and_path_change_nothing(monkeypatch):
    path, depth = paths(5, 400, 3), 3
    weights = torch.randn(5, size(3, depth), dtype=DOUBLE)
    whole = signature(path, depth, "torch"), pull_back(path, signature(path, depth, "torch"), weights, depth, "torch")
    monkeypatch.setitem(levels.NUMBERS, "cpu", 100)
    assert levels.pieces(5, 399, 9, path.device) == (1, 128)
    torch.testing.assert_close(signature(path, depth, "torch"), whole[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(pull_back(path, whole[0], weights, depth, "torch"), whole[1], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_layer_takes_either_gradient(backend, monkeypatch):
    path = paths(6, 40, 3).requires_grad_()
    found = []
    for width in (0, 10**9):
        monkeypatch.setattr(module, "WIDTH", width)
        monkeypatch.setattr(module, "WORK", 0)
        assert reverses((6, 40, 3), 4) == (width == 0)
        found += torch.autograd.grad(Signature(4, backend=backend)(path).sin().sum(), path)
    torch.testing.assert_close(*found, rtol=1e-11, atol=1e-11)


def test_the_rule_is_the_measured_one():
    for points, channels, depth in ((1000, 5, 4), (100, 8, 5), (100, 5, 4), (1000, 8, 4)):
        assert reverses((32, points, channels), depth)
    for points, channels, depth in ((100, 3, 3), (1000, 3, 3), (20, 5, 4)):
        assert not reverses((32, points, channels), depth)


@pytest.mark.parametrize("backend", BACKENDS)
def test_signatures_under_vmap_and_grad(backend):
    path = paths(2, 3, 9, 2)
    expected = scan(path, 3)
    torch.testing.assert_close(vmap(lambda p: signature(p, 3, backend))(path), expected)
    torch.testing.assert_close(vmap(vmap(lambda p: signature(p, 3, backend)))(path), expected)
    both = [
        vmap(vmap(grad(lambda p, f=f: f(p).sin().sum())))(path)
        for f in (lambda p: signature(p, 3, backend), lambda p: scan(p, 3))
    ]
    torch.testing.assert_close(*both)
    jacobians = [jacrev(f)(path[0, 0]) for f in (lambda p: signature(p, 3, backend), lambda p: scan(p, 3))]
    torch.testing.assert_close(*jacobians)


def test_a_second_derivative_is_refused_and_the_scan_has_it():
    path = paths(1, 4, 2).requires_grad_()
    (first,) = torch.autograd.grad(signature(path, 2, "torch").square().sum(), path, create_graph=True)
    with pytest.raises(RuntimeError, match=r"scan\(\) or tree\(\)"):
        torch.autograd.grad(first.sum(), path)
    (first,) = torch.autograd.grad(scan(path, 2).square().sum(), path, create_graph=True)
    assert torch.autograd.grad(first.sum(), path)[0].isfinite().all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_float32_keeps_six_digits(backend):
    path = paths(4, 500, 3)
    exact = signature(path, 4, "torch")
    single = signature(path.float(), 4, backend)
    assert single.dtype == torch.float32
    assert (single - exact).abs().max() < 2e-5 * exact.abs().max()


def test_memory_of_the_gradient_does_not_grow_with_the_batch():
    from zoo.depth.memory import peak_memory

    peaks = []
    for batch in (4, 16):
        path = paths(batch, 300, 4)
        found = signature(path, 4, "torch")
        peaks.append(peak_memory(lambda p=path, s=found: pull_back(p, s, torch.ones_like(s), 4, "torch")))
    assert peaks[1] < 1.5 * peaks[0] + 16 * 300 * 4 * 8 * 6  # increments, gradients and the path's own


# The algebra.


def test_chen_inverse_and_segments():
    x, y = paths(3, 12, 3), paths(3, 9, 3, seed=1)
    y = y - y[:, :1] + x[:, -1:]
    S, T = levels_of(x, 4), levels_of(y, 4)
    for both, expected in (
        (multiply(S, T), levels_of(torch.cat([x, y[:, 1:]], 1), 4)),
        (inverse(S), levels_of(x.flip(1).contiguous(), 4)),
        (multiply(S, inverse(S)), [torch.zeros_like(level) for level in S]),
        (exponential(x[:, 1] - x[:, 0], 4), levels_of(x[:, :2].contiguous(), 4)),
    ):
        torch.testing.assert_close(join(both), join(expected), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(join(split(join(S), 3, 4)), join(S))
    with pytest.raises(ValueError, match="120 numbers"):
        split(join(S)[..., 1:], 3, 4)


def test_logarithms_of_segments_and_lyndon_words():
    v = paths(3, 2, 4)
    log = logarithm(exponential(v[:, 1] - v[:, 0], 4))
    torch.testing.assert_close(log[0], v[:, 1] - v[:, 0])
    assert max(level.abs().max() for level in log[1:]) < 1e-12
    # Witt's formula
    assert [len(lyndon_words(3, n)) for n in range(1, 6)] == [3, 6, 14, 32, 80]
    assert [len(lyndon_words(8, n)) for n in range(1, 5)] == [8, 36, 204, 1212]
    assert lyndon_words(2, 3) == ((0,), (1,), (0, 1), (0, 0, 1), (0, 1, 1)) and lyndon_places(2, 3) == (0, 1, 3, 7, 9)


@needs_library
def test_log_signatures_are_pysiglib_s():
    import pysiglib

    path = paths(5, 20, 3)
    pysiglib.prepare_log_sig(3, 4, 1)
    torch.testing.assert_close(log_signature(path, 4), pysiglib.log_sig(path, 4, method=1), rtol=1e-11, atol=1e-11)
    pysiglib.prepare_log_sig(3, 4, 0)
    whole = pysiglib.log_sig(path, 4, method=0)
    torch.testing.assert_close(log_signature(path, 4, lyndon=False), whole, rtol=1e-11, atol=1e-11)


# Kernels.


def test_the_equation_tends_to_the_sum_at_second_order():
    x, y = 0.4 * paths(2, 20, 3), 0.4 * paths(2, 17, 3, seed=1)
    exact = truncated_gram(x, y, 9).diagonal()
    errors = [(goursat(x, y, refine, backend="torch") - exact).abs().max().item() for refine in (3, 4, 5)]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert all(1.8 < order < 2.2 for order in orders), orders


@needs_library
@pytest.mark.parametrize("refine", [0, 2])
@pytest.mark.parametrize("bandwidth", [None, 1.5])
def test_the_kernel_is_pysiglib_s(refine, bandwidth):
    x, y = paths(4, 12, 3), paths(4, 9, 3, seed=1)
    options = {"refine": refine, "bandwidth": bandwidth}
    torch.testing.assert_close(goursat(x, y, **options), goursat(x, y, **options, backend="torch"))
    for other in (y[:3].contiguous(), x):
        grams = [goursat_gram(x, other, **options, backend=backend) for backend in ("pysiglib", "torch")]
        torch.testing.assert_close(*grams)
    gradients = []
    for backend in ("pysiglib", "torch"):
        leaf = x.clone().requires_grad_()
        gradients += torch.autograd.grad(goursat(leaf, y, **options, backend=backend).sum(), leaf)
        gradients += torch.autograd.grad(goursat_gram(leaf, y, **options, backend=backend).sum(), leaf)
    torch.testing.assert_close(gradients[0], gradients[2], rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(gradients[1], gradients[3], rtol=1e-8, atol=1e-10)


def test_kernels_under_vmap():
    x, y = paths(4, 8, 2), paths(4, 6, 2, seed=1)
    torch.testing.assert_close(vmap(goursat)(x, y), goursat(x, y, backend="torch"))


def test_the_weighted_kernel_is_bounded_by_the_variation():
    x = paths(20, 15, 2)
    x = 0.8 * x / x.diff(dim=1).norm(dim=2).sum(1).max()
    K = truncated_gram(x, x, 6, factorial=True)
    assert (torch.linalg.eigvalsh(K) > -1e-12).all() and K.max() <= 1 / (1 - 0.8**2)
    S = levels_of(x, 6)
    by_hand = 1 + sum(math.factorial(k) ** 2 * (level @ level.T) for k, level in enumerate(S, start=1))
    torch.testing.assert_close(K, by_hand)
    assert features(x, 3).shape == (20, 15)


# Layers and refusals.


def test_layers_and_their_augmentations():
    x = paths(3, 10, 2)
    torch.testing.assert_close(Signature(3, time=True)(x), signature(with_time(x), 3))
    torch.testing.assert_close(Signature(2, basepoint=True)(x)[:, :2], x[:, -1])  # the whole increment from the origin
    torch.testing.assert_close(
        LogSignature(3, time=True, basepoint=True)(x), log_signature(with_time(from_origin(x)), 3)
    )
    assert LogSignature(4)(x).shape == (3, 8)
    torch.testing.assert_close(SignatureKernel(time=True)(x, x), goursat_gram(with_time(x), with_time(x)))
    torch.testing.assert_close(SignatureKernel(4, factorial=True)(x, x), truncated_gram(x, x, 4, factorial=True))
    assert with_time(x)[0, :, 2].tolist() == torch.linspace(0, 1, 10, dtype=DOUBLE).tolist()
    assert "depth" not in dict(Signature(3).named_parameters())


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: signature(x, 0), "depth=0"),
        (lambda x: signature(x[:, :1], 2), "two points"),
        (lambda x: signature(x, 2, "cuda"), "auto, pysiglib, torch"),
        (lambda x: goursat(x, x[..., :1]), "channels 2 and 1"),
        (lambda x: goursat(x, x, bandwidth=0.0), "bandwidth"),
        (lambda x: SignatureKernel(factorial=True), "give its depth"),
        (lambda x: SignatureKernel(3, refine=1), "depth=None"),
    ],
)
def test_refusals(call, says):
    with pytest.raises(ValueError, match=says):
        call(paths(2, 5, 2))


def test_without_the_library_everything_works_and_asking_for_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(library, "installed", lambda: False)
    x = paths(3, 8, 2)
    torch.testing.assert_close(Signature(3)(x), scan(x, 3))
    assert goursat_gram(x, x).shape == (3, 3)
    with pytest.raises(ZooError, match=r"pip install -e '\.\[depth\]'"):
        signature(x, 2, "pysiglib")


def test_importing_the_layers_imports_no_library():
    code = "import sys, zoo.signatures.layers; print('pysiglib' in sys.modules, 'lightning' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["False", "False"]
