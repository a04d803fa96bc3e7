"""The strategies produce what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from tinygrad_seq.autograd import Interval
from tinygrad_seq.testing import (
    arrays,
    axes,
    broadcastable_shapes,
    floats,
    indices,
    lengths,
    shapes,
    views,
)

KINKED = Interval(-1.0, 4.0, kinks=(0.0, 2.0))
NO_LIMIT = settings(  # the first example found will do: none is made smaller
    max_examples=5000, database=None, derandomize=True, phases=[Phase.generate]
)


@given(arrays((3, 4)))
def test_arrays_have_the_shape_and_dtype(x):
    assert x.shape == (3, 4)
    assert x.dtype == np.float64
    assert np.isfinite(x).all()


@given(arrays(5, KINKED), arrays(5, KINKED, dtype=np.float32))
def test_values_lie_inside_and_away_from_kinks(x, y):
    for z in (x, y):
        assert (np.abs(z - 1.5) < 2.5).all()
        assert (np.abs(z[:, None] - np.array([0.0, 2.0])) >= 0.0999).all()
    assert y.dtype == np.float32


@given(floats(Interval(0.0, np.inf)), floats(Interval(-np.inf, 0.0)), floats())
def test_unbounded_ends(positive, negative, any_value):
    assert 0 < positive <= 6
    assert -6 <= negative < 0
    assert any_value == 0 or abs(any_value) >= 1e-3


@given(arrays(4, Interval(1.0, 1.001)))
def test_narrow_intervals(x):
    assert (np.abs(x - 1.0005) < 0.0005).all()


def test_entries_are_drawn_one_by_one():
    x = find(arrays((3, 3)), lambda x: np.unique(x).size == 9, settings=NO_LIMIT)
    assert not np.array_equal(x, x.T)


@given(arrays((3, 4), distinct=True))
def test_distinct_entries_keep_apart(x):
    assert np.diff(np.sort(x.ravel())).min() >= 0.01
    assert (np.abs(x) <= 3.5).all()


def test_distinct_entries_need_room():
    with pytest.raises(ValueError, match=r"0\.01 apart"):
        find(arrays(900, distinct=True), lambda x: True)


@given(arrays((2, 3)).flatmap(lambda x: st.tuples(st.just(x), views(x))))
def test_views_have_the_same_values(pair):
    x, view = pair
    np.testing.assert_array_equal(x, view)


@pytest.mark.parametrize(
    "wanted",
    [
        lambda x: x.flags.c_contiguous,
        lambda x: x.strides[0] < x.strides[1] and x.strides[0] > 0,
        lambda x: x.strides[1] == 2 * x.itemsize,
        lambda x: x.strides[1] < 0,
    ],
)
def test_all_layouts_are_drawn(wanted):
    assert wanted(find(arrays((2, 3), layouts=True), wanted, settings=NO_LIMIT))


@given(shapes(min_dims=1, max_dims=2, min_side=0, max_side=3))
def test_shapes(shape):
    assert 1 <= len(shape) <= 2
    assert all(0 <= side <= 3 for side in shape)


@given(broadcastable_shapes(3))
def test_broadcastable_shapes(drawn):
    assert len(drawn) == 3
    np.broadcast_shapes(*drawn)


@pytest.mark.parametrize(
    "wanted",
    [
        lambda a, b: a != () and len(a) < len(b) and b[-len(a) :] == a,
        lambda a, b: len(a) == len(b) == 2 and a[0] > b[0] == 1 == a[1] < b[1],
        lambda a, b: len(a) == 2 and b == (),
    ],
    ids=["a row", "each stretches the other", "a number"],
)
def test_broadcasting_goes_both_ways(wanted):
    assert find(broadcastable_shapes(2), lambda drawn: wanted(*drawn), settings=NO_LIMIT)


@given(st.integers(0, 3).flatmap(lambda n: st.tuples(st.just(n), axes(n))))
def test_axes_are_valid(pair):
    ndim, axis = pair
    np.sum(np.ones((2,) * ndim), axis=axis)


@pytest.mark.parametrize(
    "wanted",
    [
        lambda a: a is None,
        lambda a: isinstance(a, int) and a >= 0,
        lambda a: isinstance(a, int) and a < 0,
        lambda a: isinstance(a, tuple) and len(a) == 2 and min(a) < 0 <= max(a),
        lambda a: a == (),
    ],
)
def test_all_kinds_of_axes_are_drawn(wanted):
    assert wanted(find(axes(3), wanted, settings=NO_LIMIT))


@given(lengths(4, 6))
def test_lengths(drawn):
    assert drawn.shape == (4,)
    assert drawn.dtype == np.int64
    assert set(drawn) <= set(range(1, 7))


SHAPES = st.sampled_from([(), (3,), (2, 3), (3, 1, 2), (0,), (2, 0)])


@settings(max_examples=200)
@given(SHAPES.flatmap(lambda shape: st.tuples(st.just(shape), indices(shape))))
def test_indices_are_valid(pair):
    shape, index = pair
    x = np.zeros(shape)
    x[index] = x[index] + 1


def _has(kind):
    def wanted(index):
        return any(kind(i) for i in (index if isinstance(index, tuple) else (index,)))

    return wanted


def _repeats(index):
    return (
        isinstance(index, np.ndarray)
        and index.dtype == np.int64
        and np.unique(index).size < index.size
    )


FORMS = {
    "None": _has(lambda i: i is None),
    "an ellipsis": _has(lambda i: i is Ellipsis),
    "from the end": _has(lambda i: isinstance(i, int) and i < 0),
    "a slice backwards": _has(lambda i: isinstance(i, slice) and (i.step or 1) < -1),
    "a mask of two axes": _has(
        lambda i: isinstance(i, np.ndarray) and i.dtype == bool and i.ndim == 2
    ),
    "repeated positions": _has(_repeats),
    "a list": lambda index: isinstance(index, list),
    "an array beside a slice": lambda index: (
        _has(lambda i: isinstance(i, np.ndarray))(index)
        and _has(lambda i: isinstance(i, slice))(index)
    ),
    "two arrays": lambda index: (
        isinstance(index, tuple) and sum(isinstance(i, np.ndarray) for i in index) == 2
    ),
}


def test_every_form_of_index_is_drawn():
    missing = dict(FORMS)

    def all_were_seen(index):
        for form in [form for form, seen in missing.items() if seen(index)]:
            del missing[form]
        return not missing

    find(indices((2, 3, 2)), all_were_seen, settings=NO_LIMIT)
