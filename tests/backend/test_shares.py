"""Work cut for threads: what comes out is what NumPy gives, however many there are."""

import numpy as np
import pytest

import tinygrad_seq as ts
from tinygrad_seq import nn, ops, optim
from tinygrad_seq.backend import blas, jit, shares, steps, threads


@pytest.fixture
def parts(monkeypatch):
    """How many parts each piece of work was cut into."""
    seen, at_once = [], threads.at_once

    def counted(work, size, each):
        seen.append(-(-size // each))
        at_once(work, size, each)

    monkeypatch.setattr(threads, "at_once", counted)
    return seen


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((700, 200), (200, 650)),
        ((97, 2000), (2000, 103)),
        ((48, 512), (512, 900)),
        ((1, 900), (900, 900)),
        ((5, 300, 200), (5, 200, 90)),
        ((3, 700, 200), (200, 90)),
        ((4, 3), (3, 2)),
        ((400, 0), (0, 900)),
        ((0, 400), (400, 900)),
        ((900,), (900, 900)),
    ],
)
def test_products_are_numpys_to_the_bit(with_threads, monkeypatch, rng, left, right, turned):
    monkeypatch.setattr(shares, "usable", lambda: True)
    monkeypatch.setattr(shares, "PRODUCT", 2_000_000)
    a, b = (rng.standard_normal(shape).astype("f4") for shape in (left, right))
    if turned and a.ndim == 2:
        a, b = np.asfortranarray(a), np.asfortranarray(b)
    with blas.one_thread():
        expected = np.matmul(a, b)
    for number in (1, 2, 3):
        with_threads(number)
        np.testing.assert_array_equal(shares.product(a, b), expected)
        out = np.full_like(expected, np.nan)
        assert shares.product(a, b, out) is out
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("compiled", [False, True])
def test_few_rows_by_a_turned_weight(with_threads, monkeypatch, rng, compiled):
    monkeypatch.setattr(shares, "usable", lambda: compiled)
    monkeypatch.setattr(shares, "PRODUCT", 2_000_000)
    for rows, depth, width in ((4, 300, 400), (20, 700, 800), (47, 512, 48), (47, 512, 30)):
        x, w = rng.standard_normal((rows, depth)), rng.standard_normal((width, depth))
        found = []
        for number in (1, 2) if compiled else (1,):
            with_threads(number)
            found.append(shares.product(x, w.T))
            assert found[-1].flags.c_contiguous
            np.testing.assert_allclose(found[-1], np.einsum("rd,wd->rw", x, w), rtol=1e-10)
            np.testing.assert_array_equal(found[-1], found[0])
    with pytest.raises(ValueError, match="matmul"):
        shares.product(np.ones((20, 200)), np.ones((800, 300)).T)


def test_large_products_are_shared_where_loops_are_compiled(with_threads, monkeypatch, parts):
    with_threads(3)
    a, b = np.ones((2400, 100), "f4"), np.ones((100, 200), "f4")
    monkeypatch.setattr(shares, "usable", lambda: True)
    shares.product(a, b)
    assert parts == ([3] if blas._openblas() else [])
    shares.product(np.ones((6, 240, 100), "f4"), np.ones((6, 100, 200), "f4"))
    shares.product(a[:240], b)  # too little
    monkeypatch.setattr(shares, "usable", lambda: False)
    shares.product(a, b)
    assert parts == ([3, 3] if blas._openblas() else [])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_what_is_done_by_blocks_does_not_depend_on_threads(with_threads, parts, rng, dtype):
    """Loss, gradients, clipping and steps of a wide layer, in a part for each thread."""
    x = rng.standard_normal((90, 20)).astype(dtype)
    weight = rng.standard_normal((20, 9000)).astype(dtype)
    targets = rng.integers(9000, size=90)
    targets[::7] = -100

    def trained(make):
        w = ts.tensor(weight, requires_grad=True)
        optimizer = make([w])
        for _ in range(2):
            optimizer.zero_grad()
            loss = nn.cross_entropy(ts.Tensor(x) @ w, targets)
            loss.backward()
            norm = optim.clip_grad_norm_([w], 0.01)
            optimizer.step()
        return [loss.item(), norm, w.grad.numpy(), w.data]

    for make in (
        optim.SGD,
        lambda p: optim.SGD(p, momentum=0.9, nesterov=True),
        lambda p: optim.Adam(p, amsgrad=True, weight_decay=0.1),
    ):
        with jit.use_jit(False):  # OpenBLAS's own threads are another matter
            found = []
            for number in (1, 2, 3):
                with_threads(number)
                assert threads.count() == number
                blas.use_threads(1)
                parts.clear()
                found.append(trained(make))
                assert max(parts) == number
        for other in found[1:]:
            for a, b in zip(found[0], other, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_erf_of_many_numbers_is_that_of_few(with_threads, parts, rng, dtype):
    x = rng.standard_normal((9, 200, 312)).astype(dtype)
    x[0, 0, :5] = np.nan, np.inf, -np.inf, 0, 7
    for given in (x, x.T, x[:, ::2]):
        expected = [ops.erf(row) for row in given]
        for number in (1, 2, 3):
            with_threads(number)
            parts.clear()
            np.testing.assert_array_equal(ops.erf(given), expected)
            assert parts == [min(number, -(-given.size // shares.BLOCK) // shares.BLOCKS)]


def test_the_errstate_of_the_caller_holds_in_blocks(with_threads):
    with_threads(2)
    x = np.full(16 * shares.BLOCK, 1e-30, "f4")
    ops.erf(x)  # its underflows are no warnings
    with np.errstate(under="raise"), pytest.raises(FloatingPointError, match="underflow"):
        ops.erf(x)


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
def test_a_parameter_that_is_no_block_of_memory_is_stepped(rng, kind):
    start, gradient = rng.standard_normal((2, 300, 400)).astype("f4")
    plain, turned = ts.tensor(start, requires_grad=True), ts.tensor(start, requires_grad=True)
    turned.data = np.asfortranarray(start)
    for p in (plain, turned):
        p.grad = ts.Tensor(gradient)
        kind([p], lr=0.1).step()
    np.testing.assert_array_equal(plain.data, turned.data)
    assert not np.array_equal(plain.data, start)


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_compiled_step_of_adam_is_numpys_to_the_bit(
    with_threads, monkeypatch, parts, rng, dtype, amsgrad
):
    pytest.importorskip("numba")
    from tinygrad_seq.backend.jit import steps as compiled

    monkeypatch.setattr(compiled, "WORK", 1000)
    start = rng.standard_normal((5, 300, 111)).astype(dtype)
    start[3:] **= 2
    start[1, 0, :5] = np.nan, np.inf, -np.inf, 0, 1e30
    start[3, 1, :3] = start[4, 2, :3] = np.nan, np.inf, 0

    def stepped(on):
        *arrays, largest = start.copy()
        with jit.use_jit(on), np.errstate(all="ignore"):
            for _ in range(2):
                steps.adam(np, *arrays, largest if amsgrad else None, 0.9, 0.99, 0.1, 1.3, 1e-8)
        return *arrays, largest

    expected = stepped(False)
    assert not np.array_equal(expected[0], start[0], equal_nan=True)
    for number in (1, 3):
        with_threads(number)
        parts.clear()
        found = stepped(True)
        assert parts[-2:] == [number, number]
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)
