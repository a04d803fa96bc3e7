"""Cells that say what they are made of: read again without a recording, and never wrongly."""

from contextlib import nullcontext

import numpy as np
import pytest

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.recurrence import trust

pytestmark = pytest.mark.usefixtures("backend")


def both(cell, x):
    """(result, gradients) of a loop and of the cell unrolled."""
    found = []
    for mode in (nullcontext(), nn.unrolled()):
        cell.zero_grad()
        with mode:
            y, _ = nn.Recurrent(cell)(x)
        (y**2).sum().backward()
        found.append(
            [y.detach().numpy(), *[p.grad.numpy() for p in cell.parameters() if p.grad is not None]]
        )
    return found


def assert_right(cell, x):
    for a, b in zip(*both(cell, x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.fixture
def x():
    ts.manual_seed(0)
    return ts.randn(5, 2, 3, dtype="float64")


CELLS = {
    "RNN": lambda: nn.RNNCell(3, 4, dtype="float64"),
    "GRU": lambda: nn.GRUCell(3, 4, dtype="float64"),
    "GRU, reset after": lambda: nn.GRUCell(3, 4, reset_after=True, dtype="float64"),
    "LSTM": lambda: nn.LSTMCell(3, 4, dtype="float64"),
    "LSTM, projected": lambda: nn.LSTMCell(3, 4, proj_size=2, dtype="float64"),
    "peephole": lambda: nn.PeepholeLSTMCell(3, 4, dtype="float64"),
    "coupled": lambda: nn.CoupledLSTMCell(3, 4, dtype="float64"),
}


@pytest.mark.parametrize("name", CELLS)
def test_it_is_recorded_once(name, x, monkeypatch):
    cell = CELLS[name]()
    nn.Recurrent(cell)(x)

    def never(*_):
        raise AssertionError("recorded again")

    monkeypatch.setattr(trust, "record", never)
    assert_right(cell, x)
    assert_right(CELLS[name](), x)  # other weights


def test_what_changes_is_noticed(x):
    cell = nn.LSTMCell(3, 4, dtype="float64")
    assert_right(cell, x)
    cell.weight_hh.requires_grad = False
    assert_right(cell, x)
    cell.weight_hh = nn.Parameter(cell.weight_hh.detach() * 2)
    assert_right(cell, x)
    cell.activations = (ts.sigmoid, ts.relu, ts.tanh)
    assert_right(cell, x)
    cell.bias_hh.data = cell.bias_hh.data * 2
    assert_right(cell, x)
    cell.activations = (ts.sigmoid, lambda a: ts.tanh(a) * 0.5, ts.tanh)
    assert_right(cell, x)
    cell.step = lambda x, state: (state[0], (state[0] + cell.bias_ih[:4], state[1]))
    assert_right(cell, x)


def test_weights_of_one_array_are_not_taken_for_each_other(x):
    cell = nn.RNNCell(4, 4, dtype="float64")
    wide = ts.ones((5, 2, 4), dtype="float64")
    cell.weight_hh = nn.Parameter(cell.weight_ih.detach())
    cell.weight_hh.data = cell.weight_ih.data
    assert_right(cell, wide)
    cell.weight_hh = cell.weight_ih
    assert_right(cell, wide)
    assert_right(nn.RNNCell(4, 4, dtype="float64"), wide)


def test_a_subclass_is_recorded_each_time(x):
    class Twice(nn.RNNCell):
        factor = 2.0

        def _sums(self, x, h):
            return super()._sums(x, h) * self.factor

    cell = Twice(3, 4, dtype="float64")
    assert cell.constant() is None
    for cell.factor in (1.0, 3.0):
        assert_right(cell, x)
