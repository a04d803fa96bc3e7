"""gradient_property in the three forms of its docstring, and how it fails."""

from __future__ import annotations

import functools
import subprocess
import sys
import unittest

import numpy as np
import pytest
from hypothesis import example, settings
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from hypothesis.extra import numpy as hnp

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.autograd import Interval, Primitive
from tinygrad_seq.testing import (
    GradientError,
    arrays,
    check_float32,
    gradcheck,
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


SCALE = 2.0


class TestMethods:
    """A test may be any kind of method; what is left of its arguments is pytest's."""

    scale = 2.0

    @gradient_property(x=arrays((2,)))
    def test_a_method(self, x):
        return x * self.scale

    @gradient_property(x=arrays((2,)))
    @staticmethod
    def test_a_static_method(x):
        return x * 2

    @gradient_property(x=arrays((2,)))
    @classmethod
    def test_a_class_method(cls, x):
        return x * cls.scale


class Case(unittest.TestCase):
    @gradient_property(x=arrays((2,)))
    def test_in_unittest(self, x):
        assert self.id().endswith("test_in_unittest")
        return x * 2

    def test_a_failure_in_unittest(self):
        class Inner(unittest.TestCase):
            @gradient_property(x=arrays((2,)), settings=settings(database=None))
            def runTest(self, x):
                return wrong(x)

        with pytest.raises(GradientError, match="is wrong"):
            Inner().runTest()


@pytest.fixture
def scale():
    return SCALE


@pytest.mark.parametrize("k", [1, 2])
@gradient_property(x=arrays((2,)))
def test_parameters_and_fixtures(k, x, scale):
    assert (k in (1, 2), scale) == (True, SCALE)
    return x * k * scale


@gradient_property(x=arrays((2,)))
@pytest.mark.parametrize("k", [1, 2])
def test_parameters_below_and_by_keyword(x, *, k, scale):
    return x * k * scale


@gradient_property(x=hnp.arrays(float, 3, elements=st.floats(-1, 1)))
def test_plain_hypothesis_strategies(x):
    return x**2


def test_values_of_any_size():
    """Each ends in True or in a sentence of the tester."""
    finite = hnp.arrays(float, 2, elements=st.floats(allow_nan=False, allow_infinity=False))
    gradient_property(x=finite, float32=False)(ts.tanh)()
    with pytest.raises(GradientError, match="beyond the range of float32"):
        check_float32(ts.tanh, np.array([1e308]))
    for value in (np.inf, np.nan):
        with pytest.raises(GradientError, match="not finite"):
            gradcheck(lambda x: x * 2, np.array([value]))


async def _async(x):
    return x * 2


@pytest.mark.parametrize("f", [lambda x: None, _async, lambda x: [x * 2].clear()])
def test_a_property_that_gives_nothing_is_refused(f):
    with pytest.raises(GradientError, match=r"nothing to check|is async"):
        gradient_property(x=arrays((2,)), settings=settings(database=None))(f)()


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


@settings(max_examples=2, database=None)
@gradient_property(x=arrays((2,)))
def test_settings_above(x):
    return x * 2


@gradient_property(x=arrays((2,)))
@settings(max_examples=2, database=None)
@pytest.mark.filterwarnings("error")
def test_settings_below(x):
    return x * 2


@example(x=np.ones(2), seed=3)
@gradient_property(x=arrays((2,)))
def test_an_example_above(x):
    return x * 2


def _plainly(f):
    @functools.wraps(f)
    def wrapper(*args, **kwargs):
        return f(*args, **kwargs)

    return wrapper


@gradient_property(x=arrays((2,)))
@_plainly
def test_a_wrapped_function(x):
    return x * 2


def test_settings_stack_as_on_given():
    for check in (test_settings_above, test_settings_below):
        assert check._hypothesis_internal_use_settings.max_examples == 2
    assert [mark.name for mark in test_settings_below.pytestmark] == ["filterwarnings"]
    assert test_a_function._hypothesis_internal_use_settings.deadline is None
    with pytest.raises(InvalidArgument, match="settings"):
        settings()(gradient_property(x=arrays((2,)), settings=settings())(lambda x: x * 2))


def test_names_and_arguments_are_fit_for_pytest():
    assert test_a_primitive.__name__ == "test_sqrt"
    assert test_a_module.__name__ == "test_Cell"
    assert test_a_lambda.__name__ == "test_lambda"


test_a_lambda = gradient_property(x=arrays((2,)))(lambda x: x * 2)


@gradient_property(x=arrays((2,)), seed=arrays((2,)), upstream_seed=2.0)
def test_an_input_may_be_called_seed(x, seed, upstream_seed):
    return x * seed * upstream_seed


@pytest.mark.parametrize("option", ["settings", "float32", "second_order", "complex_step"])
def test_an_input_with_the_name_of_an_option_is_refused(option):
    with pytest.raises(TypeError, match=f"{option} is an option of gradient_property.*rename"):
        gradient_property(**{option: arrays((2,))})


outer = nn.Linear(2, 3, dtype="float64")
outer32 = nn.Linear(2, 3, dtype="float32")


def test_a_module_closed_over_is_to_be_an_argument():
    @gradient_property(x=arrays((2, 2)), b=1.0, settings=settings(max_examples=1, database=None))
    def check(b, x):
        return outer(x) * b

    with pytest.raises(GradientError, match="pass outer=outer as an argument") as caught:
        check()
    assert "float32=False" in str(caught.value)

    inner = outer
    for call in (lambda x: inner(x), lambda x: x @ inner.weight.detach().T):
        with pytest.raises(GradientError, match="`inner` is closed over"):
            check_float32(call, np.ones((2, 2)))
    gradient_property(x=arrays((2, 2)), outer=outer)(lambda x, outer: outer(x))()
    gradient_property(x=arrays((2, 2)), float32=False)(lambda x: outer(x))()


def test_a_float32_module_closed_over_is_to_be_a_float64_argument():
    with pytest.raises(TypeError, match=r"pass outer32=outer32 as an argument.*float64"):
        gradcheck(lambda x: outer32(x), np.ones((2, 2)))


def test_other_type_errors_are_left_alone():
    def broken(x):
        raise TypeError("something else")

    with pytest.raises(TypeError, match=r"^something else$"):
        gradcheck(broken, np.ones(2))
    with pytest.raises(TypeError, match=r"^something else$"):
        check_float32(broken, np.ones(2))


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
    assert "pip install hypothesis" in str(error), error
else:
    raise SystemExit("arrays came without Hypothesis")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "tested", [lambda x, y: x * y, ts.matmul, Cell()], ids=["function", "primitive", "module"]
)
def test_an_input_that_the_function_has_no_argument_for_is_refused_at_once(tested):
    with pytest.raises(TypeError, match=r"was given [xz]=, and .*\(.*\).* has no such argument"):
        gradient_property(x=arrays((2,)), z=arrays((2,)))(tested)


def test_inputs_of_any_name_go_to_a_function_that_takes_any():
    gradient_property(z=arrays((2,)), settings=settings(max_examples=2))(lambda **any: any["z"])()


def test_pytest_shows_the_frames_of_the_function_and_not_of_the_checks(tmp_path):
    module = tmp_path / "test_own.py"
    module.write_text(
        "import tinygrad_seq as ts\n"
        "from tinygrad_seq.testing import arrays, gradcheck, gradient_property\n"
        "import numpy as np\n"
        "def test_direct():\n"
        "    gradcheck(lambda x: ts.tanh(x.detach()), np.ones(2))\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(module)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert "gradcheck(lambda x" in done.stdout
    assert "GradientError" in done.stdout
    assert "situation.error" not in done.stdout
