"""Gradients of what is read by an index are added in place, to the sum of the others."""

import numpy as np
import pytest

import tinygrad_seq as ts
from tinygrad_seq import ops

pytestmark = pytest.mark.usefixtures("backend")

READS = {
    "one place": lambda x: ts.exp(x[2]).sum(),
    "slices that overlap": lambda x: (x[1:] * x[:-1]).sum(),
    "a row twice": lambda x: ts.sin(x[np.array([1, 1, 3])]).sum(),
    "a mask": lambda x: (x[np.arange(4) % 2 == 0] ** 2).sum(),
    "all of it between": lambda x: x[0].sum() * 3 + (x * x).sum() + x[1, 2],
    "a new axis": lambda x: (x[:, None] * x).sum(),
    "the sum itself": lambda x: (x + x[0]).sum(),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize("leaf", [True, False], ids=["leaf", "result"])
def test_equals_the_rule_of_a_recorded_backward(read, leaf, rng):
    x = ts.Tensor(rng.normal(size=(4, 3)), requires_grad=True)

    def loss():
        y = x if leaf else x * 1.5
        return read(y) + read(y) * read(y)

    loss().backward()
    (expected,) = ts.autograd.grad(loss(), x, create_graph=True)
    np.testing.assert_allclose(x.grad.tolist(), expected.tolist(), rtol=1e-12)


def test_a_loop_forms_no_array_as_large_as_the_sequence(rng):
    """The rule would; it is for a backward pass that is recorded."""
    x = ts.Tensor(rng.normal(size=(9, 2)), requires_grad=True)
    rule, place = ops.getitem.rules["x"], ops.getitem.places["x"]
    formed = []

    def counted(g, index, x_shape):
        formed.append(index)
        return rule(g, index, x_shape)

    ops.getitem.defvjp(x=counted)
    assert not ops.getitem.places  # it adds what the earlier rule gave
    ops.getitem.accumulate(x=place)
    try:
        h = x[0]
        for t in range(1, 9):
            h = ts.tanh(h + x[t])
        h.sum().backward()
        assert formed == []
        loss = (x[0] * x[1]).sum()
        ts.autograd.grad(loss, x, create_graph=True)
        assert len(formed) == 2
    finally:
        ops.getitem.defvjp(x=rule)
        ops.getitem.accumulate(x=place)
    assert np.all(np.asarray(x.grad.tolist()) != 0)


def test_what_is_given_as_upstream_gradient_is_not_written(rng):
    x = ts.Tensor(rng.normal(size=(3, 2)), requires_grad=True)
    y = x * 1.0
    upstream = ts.tensor(np.ones((3, 2)))
    ts.autograd.backward([y, y[1]], [upstream, ts.tensor(np.ones(2))])
    assert upstream.tolist() == [[1, 1]] * 3
    assert x.grad.tolist() == [[1, 1], [2, 2], [1, 1]]


def test_float16_is_summed_in_float32(rng):
    """2048 + 1 is 2048 in float16: 1 added 4 times to it would be lost each time."""
    x = ts.Tensor(np.ones(2, "f2"), requires_grad=True)
    (x[np.zeros(4, int)] * np.array([2048, 1, 1, 2], "f2")).sum().backward()
    assert x.grad.tolist() == [2052, 0]
