"""Gradient clipping, with PyTorch as the judge."""

from __future__ import annotations

import math

import numpy as np
import pytest
from device import host
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import optim
from tinygrad_seq.tensor import Tensor

pytestmark = pytest.mark.usefixtures("backend")


def with_gradients(*gradients: object, dtype: type = np.float64) -> list[Tensor]:
    params = []
    for g in gradients:
        value = np.array(g, dtype=dtype)
        p = Tensor(np.zeros_like(value), requires_grad=True)
        p.grad = Tensor(value)
        params.append(p)
    return params


def in_torch(torch, params: list[Tensor]) -> list:
    copies = []
    for p in params:
        copy = torch.zeros(p.shape, dtype=torch.float64, requires_grad=True)
        copy.grad = torch.tensor(host(p.grad).copy())
        copies.append(copy)
    return copies


HALF = pytest.param(np.float16, marks=pytest.mark.host("kernels compute in 32 and 64 bits"))
GRADIENTS = st.lists(
    st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=1, max_size=4),
    min_size=1,
    max_size=3,
)


@given(GRADIENTS, st.floats(0, 100, allow_subnormal=False))
def test_norm_and_result_are_those_of_pytorch(gradients: list, max_norm: float) -> None:
    torch = pytest.importorskip("torch")
    ours = with_gradients(*gradients)
    theirs = in_torch(torch, ours)
    norm = optim.clip_grad_norm_(ours, max_norm)
    assert isinstance(norm, float | Tensor)  # a Tensor where reading it would wait
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    assert float(norm) == pytest.approx(expected.item(), rel=1e-12, abs=1e-12)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(host(p.grad), q.grad.numpy(), rtol=1e-12, atol=1e-12)


@given(GRADIENTS, st.floats(0, 100, allow_subnormal=False))
def test_values_are_those_of_pytorch(gradients: list, bound: float) -> None:
    torch = pytest.importorskip("torch")
    ours = with_gradients(*gradients)
    theirs = in_torch(torch, ours)
    optim.clip_grad_value_(ours, bound)
    torch.nn.utils.clip_grad_value_(theirs, bound)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(host(p.grad), q.grad.numpy())


def test_the_norm_is_that_of_all_gradients_together() -> None:
    params = with_gradients([3.0, 0.0], [[4.0]], 12.0)
    assert optim.clip_grad_norm_(params, 6.5) == 13.0
    for p, expected in zip(params, ([1.5, 0.0], [[2.0]], 6.0), strict=True):
        np.testing.assert_allclose(host(p.grad), expected, rtol=1e-6)
    assert optim.clip_grad_norm_(params, 10) == pytest.approx(6.5)  # below: left as they are
    np.testing.assert_allclose(host(params[0].grad), [1.5, 0.0], rtol=1e-6)


@pytest.mark.parametrize("dtype", [HALF, np.float32, np.float64])
def test_in_place_and_in_the_dtype_of_the_gradient(dtype: type) -> None:
    params = with_gradients([3.0, 4.0], dtype=dtype)
    buffer = params[0].grad.data
    optim.clip_grad_norm_(params, np.float64(1.0))
    optim.clip_grad_value_(params, np.float64(0.7))
    assert params[0].grad.data is buffer
    assert buffer.dtype == dtype
    np.testing.assert_allclose(host(buffer), [0.6, 0.7], rtol=2e-3)


@pytest.mark.parametrize("size", [1e30, 1e-30])
def test_a_norm_whose_square_leaves_float32_is_right(size: float) -> None:
    params = with_gradients([3 * size, 4 * size], dtype=np.float32)
    assert optim.clip_grad_norm_(params, 1.0) == pytest.approx(5 * size, rel=1e-6)
    assert np.isfinite(host(params[0].grad)).all()


def test_nothing_to_clip() -> None:
    assert optim.clip_grad_norm_([], 1.0) == 0.0
    p = Tensor(np.zeros(3), requires_grad=True)
    assert optim.clip_grad_norm_([p], 1.0) == 0.0
    optim.clip_grad_value_(p, 1.0)
    assert p.grad is None
    assert optim.clip_grad_norm_(with_gradients(np.zeros((0, 3)), [0.0, 0.0]), 1.0) == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nonfinite_gradients_scale_as_in_pytorch_or_raise(bad: float) -> None:
    torch = pytest.importorskip("torch")
    ours = with_gradients([1.0, bad], [2.0])
    with pytest.raises(RuntimeError, match="cannot be clipped"):
        optim.clip_grad_norm_(ours, 1.0, error_if_nonfinite=True)
    np.testing.assert_array_equal(host(ours[0].grad), [1.0, bad])
    theirs = in_torch(torch, ours)
    norm = optim.clip_grad_norm_(ours, 1.0)
    expected = torch.nn.utils.clip_grad_norm_(theirs, 1.0).item()
    np.testing.assert_equal(float(norm), expected)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(host(p.grad), q.grad.numpy())


@pytest.mark.parametrize("limit", [-1.0, math.nan])
def test_a_limit_that_makes_no_sense_is_refused(limit: float) -> None:
    params = with_gradients([1.0])
    with pytest.raises(ValueError, match="max_norm must be at least 0"):
        optim.clip_grad_norm_(params, limit)
    with pytest.raises(ValueError, match="clip_value must be at least 0"):
        optim.clip_grad_value_(params, limit)


def test_a_tied_weight_counts_once_and_a_spent_generator_is_refused() -> None:
    p = ts.Tensor(np.zeros(2), requires_grad=True)
    p.grad = ts.Tensor(np.array([3.0, 4.0]))
    assert float(optim.clip_grad_norm_([p, p], 1.0)) == pytest.approx(5)
    assert float(optim.clip_grad_norm_(iter([p]), 10.0)) == pytest.approx(1, abs=1e-5)
    spent = iter([p])
    next(spent)
    for clip in (optim.clip_grad_norm_, optim.clip_grad_value_):
        with pytest.raises(ValueError, match="used up only once"):
            clip(spent, 1.0)
