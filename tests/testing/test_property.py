"""gradient_property in the three forms of its docstring, and how it fails."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.autograd import Interval, Primitive
from tinygrad_seq.testing import (
    GradientError,
    arrays,
    gradient_property,
    lengths,
    modules,
)


class Cell(nn.Module):
    """A simple recurrent cell in float64."""

    def __init__(self):
        draw = ts.generator()
        self.weight = nn.Parameter(draw.normal(size=(4, 2)))
        self.recurrent = nn.Parameter(draw.normal(size=(4, 4)))

    def forward(self, x, h):
        h = ts.tanh(x @ self.weight.T + h @ self.recurrent.T)
        return h, h


@gradient_property(x=arrays((3, 4)), w=arrays((4, 2)), complex_step=True)
def test_a_function(x, w):
    return ts.tanh(x @ w)


@gradient_property(x=arrays((2, 3), layouts=True), shift=st.integers(1, 3), scale=2.0)
def test_constants_and_integers(x, shift, scale):
    return ts.exp(x * scale / 8) * shift


@gradient_property(cell=modules(Cell), x=arrays((3, 2)), h=arrays((3, 4)))
def test_a_drawn_module(cell, x, h):
    return cell(x, h)


@gradient_property(x=arrays((4, 2)), n=lengths(2, 4))
def test_lengths_pass_through(x, n):
    return x * (np.arange(4)[:, None] < n)


test_a_primitive = gradient_property(x=arrays((2, 3), Interval(0.0, np.inf)))(ts.sqrt)
test_a_nested_state = gradient_property(
    x=arrays((2, 2)),
    state=st.tuples(arrays((2, 2)), arrays((2, 2))),
    settings=settings(max_examples=5),
)(nn.LSTMCell(2, 2, dtype=np.float64))
test_a_module = gradient_property(x=arrays((3, 2)), h=arrays((3, 4)))(Cell())


def _wrong(x, /):
    return x * x


wrong = Primitive(_wrong)
wrong.defvjp(x=lambda g, x: g * 2 * abs(x))


def test_a_failure_is_shrunk_and_says_how_to_replay_it():
    @gradient_property(x=arrays((2,)), settings=settings(database=None))
    def check(x):
        return wrong(x)

    with pytest.raises(GradientError) as caught:
        check()
    message = str(caught.value)
    assert "input 0 (x)" in message
    assert "seed=0" in message
    assert any("check" in note and "x=array" in note for note in caught.value.__notes__)


def test_settings_reach_hypothesis_without_a_deadline():
    seen = []

    @gradient_property(x=arrays((2,)), settings=settings(max_examples=3, database=None))
    def check(x):
        seen.append(x)
        return x * 2

    check()
    assert seen
    assert check._hypothesis_internal_use_settings.deadline is None
    assert check._hypothesis_internal_use_settings.max_examples == 3


def test_names_and_arguments_are_fit_for_pytest():
    assert test_a_primitive.__name__ == "test_sqrt"
    assert test_a_module.__name__ == "test_Cell"


def test_it_asks_for_hypothesis_only_when_it_draws():
    """gradcheck works, and arrays says what to install, where Hypothesis is missing."""
    script = """
import sys
sys.modules["hypothesis"] = None
import numpy as np
import tinygrad_seq as ts
from tinygrad_seq.testing import central_differences, gradcheck
assert gradcheck(ts.tanh, np.ones(2))
try:
    from tinygrad_seq.testing import arrays
except ImportError as error:
    assert "tinygrad_seq[test]" in str(error), error
else:
    raise SystemExit("arrays came without Hypothesis")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
