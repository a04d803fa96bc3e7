"""Every operation of the table, against NumPy and against the oracles, on drawn cases."""

from __future__ import annotations

import numpy as np
import pytest
from along import second_order_along_a_line
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq.autograd import Interval, Primitive
from tinygrad_seq.testing import check_float32, gradcheck

from .cases import cases_of
from .references import reference_of
from .table import DIFFERENTIABLE, FUNCTIONS, QUESTIONS, bound

NUMBER = int | float | None  # may stand in the place of an array
ANALYTIC = [
    name
    for name, f in FUNCTIONS.items()
    if name in DIFFERENTIABLE and f.analytic and name not in ("astype",)
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_can_be_tested(name):
    """A domain line or a case, and NumPy's answer: without them nothing below would look at it."""
    cases_of(name, FUNCTIONS[name])
    reference_of(name)


def test_an_operation_that_nothing_tests_fails_the_suite():
    """The sentence that someone sees who adds an operation and forgets its domain line."""

    def new(x, /):
        return x

    made = Primitive(new, elementwise=True)
    made.defvjp(x=lambda g: g)
    with pytest.raises(LookupError, match=r"new\.domain\(x=REALS\)"):
        cases_of("new", made)
    with pytest.raises(LookupError, match="NumPy has no new"):
        reference_of("new")
    made.domain(x=Interval(0.0, 1.0))
    cases_of("new", made)


@pytest.mark.parametrize("name", FUNCTIONS)
@given(data=st.data(), seed=st.integers(0, 2**16))
def test_values_and_derivatives(name, data, seed):
    """NumPy's values and the oracles' derivatives; in float32 and in any memory layout."""
    args, kwargs = data.draw(cases_of(name, FUNCTIONS[name]))
    f = bound(name, kwargs)
    check_values(f, args, reference_of(name)(*args, **kwargs))
    if name in DIFFERENTIABLE:
        check_each_rule_is_reached(DIFFERENTIABLE[name], args, kwargs)
    subject = {"names": _names(name), "seed": seed}
    gradcheck(f, *args, **subject)  # nothing mutated, nothing aliased, broadcasting undone
    if name in ANALYTIC:
        gradcheck(f, *args, **subject, oracle="complex")
    second_order_along_a_line(f, *args, **subject)
    if name != "astype":
        check_float32(f, *args, **subject)
    check_layout_does_not_matter(f, args)


def check_values(f, args, reference):
    """Arrays give arrays, Tensors give Tensors of the same values."""
    expected = _several(reference)
    plain = _several(f(*args))
    tensors = _several(f(*(ts.Tensor(x) if isinstance(x, np.ndarray) else x for x in args)))
    assert len(plain) == len(tensors) == len(expected)
    for y, z, reference in zip(plain, tensors, expected, strict=True):
        assert isinstance(y, np.ndarray | np.generic)
        assert isinstance(z, ts.Tensor)
        assert np.shape(y) == z.shape == np.shape(reference)
        np.testing.assert_allclose(y, reference, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(y, z.numpy())


def check_each_rule_is_reached(primitive, args, kwargs):
    """The case gives a floating array to every argument that has a rule."""
    assert set(kwargs) <= set(primitive.parameters)
    for argument in primitive.rules:
        own = args if primitive.variadic else (args[primitive.arguments.index(argument)],)
        assert all(isinstance(x, NUMBER) or x.dtype == np.float64 for x in own)


def check_layout_does_not_matter(f, args):
    """A view of any layout and a contiguous copy of it give the same values and gradients."""
    same = [np.array(x, order="C") if isinstance(x, np.ndarray) else x for x in args]
    for y, z in zip(_run(f, args), _run(f, same), strict=True):
        np.testing.assert_allclose(y, z, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", QUESTIONS)
@given(data=st.data())
def test_questions(name, data):
    """What has no derivative: NumPy's answer, and a result that does not require grad."""
    args, kwargs = data.draw(cases_of(name, QUESTIONS[name]))
    f = bound(name, kwargs)
    expected = reference_of(name)(*args, **kwargs)
    floating = [ts.Tensor(x, requires_grad=x.dtype.kind == "f") for x in args]
    answer = f(*floating)
    assert not answer.requires_grad
    assert answer.dtype == expected.dtype
    np.testing.assert_array_equal(f(*args), expected)
    np.testing.assert_array_equal(answer.numpy(), expected)


def _names(name):
    primitive = DIFFERENTIABLE.get(name)
    return None if primitive is None or primitive.variadic else primitive.arguments


def _several(result):
    return tuple(result) if isinstance(result, tuple | list) else (result,)


def _run(f, args):
    """Values and gradients, for upstream gradients 1, 2, 3, ..."""
    leaves = [
        ts.Tensor(x, requires_grad=x.dtype.kind == "f") if isinstance(x, np.ndarray) else x
        for x in args
    ]
    outputs = _several(f(*leaves))
    upstream = [ts.Tensor(1.0 + np.arange(y.size).reshape(y.shape)) for y in outputs]
    floating = [x for x in leaves if isinstance(x, ts.Tensor) and x.requires_grad]
    gradients = ts.autograd.grad(list(outputs), floating, upstream, allow_unused=True)
    return [y.detach().numpy() for y in outputs] + [g.numpy() for g in gradients if g is not None]
