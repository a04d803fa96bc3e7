"""The compiled loop of linear recurrences is NumPy's loop, and takes its place."""

import itertools

import numpy as np
import pytest

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.backend import scan

pytest.importorskip("numba")

FACTORS = {"all": (9, 6, 40), "a row": (40,), "numbers": (9, 6, 1), "one": ()}


@pytest.fixture
def counted(monkeypatch):
    """How often the compiled loop was used."""
    loop, calls = scan._compiled(), []
    assert loop is not None
    monkeypatch.setattr(scan, "_compiled", lambda: lambda *args: (calls.append(1), loop(*args)))
    return calls


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_it_is_the_loop_of_numpy(dtype, factors, pairs, rng, counted, with_threads, monkeypatch):
    tail = (2,) * pairs
    a = rng.uniform(-0.7, 0.7, FACTORS[factors] + tail).astype(dtype)
    b, start = (rng.normal(size=s + tail).astype(dtype) for s in ((9, 6, 40), (6, 40)))
    # what is not in order, or cannot be written to, is copied first
    b = np.asfortranarray(b)
    a.flags.writeable = False
    from tinygrad_seq.backend.jit import scan as compiled

    monkeypatch.setattr(compiled, "WORK", 100)
    for threads, reverse, adjoint in itertools.product((1, 2), (False, True), (False, True)):
        with_threads(threads)
        first = None if adjoint else start
        with ts.use_jit(False):
            expected = scan.linear_scan(np, a, b, first, reverse, adjoint, pairs)
        with ts.use_jit():
            got = scan.linear_scan(np, a, b, first, reverse, adjoint, pairs)
        # a complex product rounds in its own order, three times a step and 9 steps long
        bound = np.finfo(dtype).eps * 27 if pairs else 0
        np.testing.assert_allclose(got, expected, rtol=bound, atol=bound)
        assert got.dtype == b.dtype
    assert len(counted) == 8


def test_a_layer_trains_alike_with_it(rng, counted):
    net = nn.LRU(5, 6, num_layers=2, bidirectional=True)
    x, found = rng.normal(size=(7, 3, 5)).astype("f4"), []
    for on in (True, False):
        net.zero_grad()
        with ts.use_jit(on):
            y, h = net(x, lengths=[7, 1, 4])
            (y.sum() + (h * h).sum()).backward()
        found.append([y, h, *(p.grad for p in net.parameters())])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(
            ours.detach().numpy(), theirs.detach().numpy(), rtol=2e-5, atol=2e-6
        )
    assert len(counted) == 8  # two layers of two directions, forward and back


def test_few_steps_and_other_dtypes_are_left_to_numpy(counted):
    wide = np.ones((9, scan.WIDE + 1, 2))
    with ts.use_jit():
        for b in (np.ones((3, 4), "f4"), np.ones((9, 4), "f2"), np.ones((9, 0), "f4")):
            scan.linear_scan(np, b, b, None, False, False, False)
        scan.linear_scan(np, wide, wide, None, False, False, True)
    assert not counted


def test_without_a_compiler_there_is_numpy(monkeypatch):
    from tinygrad_seq.backend.jit import scan as compiled

    def broken(*args):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(compiled, "_loop", broken)
    scan._compiled.cache_clear()
    try:
        with ts.use_jit():
            assert scan._compiled() is None
            assert ts.linear_scan(0.5, np.ones(5)).tolist() == [1, 1.5, 1.75, 1.875, 1.9375]
    finally:
        scan._compiled.cache_clear()
