"""What real CuPy was seen to do and NumPy does not: each was found by running CuPy 14.2 itself."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from device import fake
from hypothesis import given, settings
from hypothesis import strategies as st
from ops.cases import cases_of
from ops.table import DECOMPOSED, FUNCTIONS, bound

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.autograd import grad
from tinygrad_seq.backend import use_backend


@pytest.fixture(scope="module", autouse=True)
def device():
    with fake() as cupy, use_backend("cupy"):
        yield cupy


BINARY = ["add", "sub", "mul", "truediv", "mod", "pow", "matmul", "lt", "eq"]


@pytest.mark.parametrize("name", BINARY)
def test_an_array_on_the_left_of_a_tensor_that_requires_grad_stays_on_the_graph(device, name):
    """CuPy takes an operand's memory where it has some: then the graph would be lost."""
    array, t = device.ones((2, 2)), ts.full((2, 2), 2.0, requires_grad=True)
    result = getattr(operator, name)(array, t)
    expected = getattr(operator, name)(np.ones((2, 2), "f4"), t.detach().numpy())
    assert isinstance(result, ts.Tensor)
    np.testing.assert_array_equal(result.detach().numpy(), expected)
    assert result.requires_grad == (name not in ("lt", "eq"))


def test_only_what_needs_no_gradient_shows_its_memory():
    t = ts.ones(2, requires_grad=True)
    assert not hasattr(t, "__cuda_array_interface__")
    assert hasattr(t.detach(), "__cuda_array_interface__")
    with use_backend("numpy"):
        assert not hasattr(ts.ones(2), "__cuda_array_interface__")


def leaves_of(args, wanted):
    """Floats as tensors; only those wanted require grad."""
    floats = [k for k, x in enumerate(args) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
    return [
        ts.Tensor(x, requires_grad=k in floats and floats.index(k) % 2 == wanted)
        if isinstance(x, np.ndarray)
        else x
        for k, x in enumerate(args)
    ]


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - DECOMPOSED))
@settings(max_examples=5)
@given(case=st.data())
def test_a_recorded_backward_takes_constants(name, case):
    """Rules meet arrays that were saved beside gradients that are tensors."""
    args, kwargs = case.draw(cases_of(name, FUNCTIONS[name]))
    wanted = case.draw(st.integers(0, 1))

    def run():
        leaves = leaves_of(args, wanted)
        inputs = [x for x in leaves if isinstance(x, ts.Tensor) and x.requires_grad]
        y = bound(name, kwargs)(*leaves)
        outputs = [t for t in (y if isinstance(y, tuple | list) else [y]) if t.requires_grad]
        if not inputs or not outputs:
            return []
        ones = [ts.ones_like(t) for t in outputs]
        found = grad(outputs, inputs, ones, create_graph=True, allow_unused=True)
        assert all(g is None or isinstance(g, ts.Tensor) for g in found)
        return [None if g is None else g.detach().numpy() for g in found]

    if name == "to":
        return
    with use_backend("numpy"):
        expected = run()
    for x, y in zip(run(), expected, strict=True):
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 0.5]])
def test_targets_are_integers_of_any_size(dtype, weight):
    """A kernel takes an array of the very type that it names."""
    scores = np.random.default_rng(0).normal(size=(4, 3))

    def run(targets):
        x = ts.Tensor(scores, requires_grad=True)
        loss = nn.cross_entropy(x, targets, weight=weight)
        loss.backward()
        return loss.item(), x.grad.numpy()

    targets = np.array([1, 2, 0, 1], dtype)
    with use_backend("numpy"):
        loss, gradient = run(targets)
    for given_ in (targets, ts.Tensor(targets)):
        found = run(given_)
        assert found[0] == pytest.approx(loss, rel=1e-12)
        np.testing.assert_allclose(found[1], gradient, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("where", ["numpy", "cupy"])
@pytest.mark.parametrize("dtype", ["?", "u1", "i8"])
def test_sigmoid_of_what_is_no_float(where, dtype):
    """Where -x would wrap, or is refused."""
    with use_backend(where):
        y = ts.sigmoid(ts.Tensor(np.array([0, 1], dtype)))
    np.testing.assert_allclose(y.numpy(), [0.5, 1 / (1 + np.exp(-1))], rtol=1e-6)
