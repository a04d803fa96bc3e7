"""Joining arrays, cutting them, and turning them round."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tinygrad_seq.testing import arrays, broadcastable_shapes, shapes

from . import shapes as _first  # noqa: F401  # some of its cases are ours too
from .base import CASES, along_axis, case, pair, small

for _name in ("atleast_1d", "atleast_2d", "atleast_3d"):
    CASES[_name] = arrays(small(), layouts=True).map(lambda x: ((x,), {}))
for _name, _least in (("matrix_transpose", 2), ("fliplr", 2), ("flipud", 1)):
    CASES[_name] = arrays(small(min_dims=_least), layouts=True).map(lambda x: ((x,), {}))
for _name in ("dstack", "column_stack"):
    CASES[_name] = CASES["vstack"]


@case
def append(draw):
    """Along an axis, or flattened."""
    (x,), kwargs = draw(along_axis())
    axis = draw(st.sampled_from([None, kwargs["axis"]]))
    return (x, draw(arrays(x.shape, layouts=True))), {"axis": axis}


@case
def block(draw):
    """Two rows of two blocks."""
    rows, columns = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    sides = ((rows, 2), (rows, columns), (1, 2), (1, columns))
    return draw(pair(sides)), {}


@case
def broadcast_arrays(draw):
    """Two shapes that broadcast."""
    return draw(pair(draw(broadcastable_shapes(2, max_dims=2, max_side=2)))), {}


@case
def meshgrid(draw):
    """Two vectors."""
    kwargs = {"indexing": draw(st.sampled_from(["xy", "ij"])), "sparse": draw(st.booleans())}
    return draw(pair(((draw(st.integers(1, 3)),), (2,)))), kwargs


@case
def array_split(draw):
    """Unequal parts, or cuts."""
    (x,), kwargs = draw(along_axis())
    n = x.shape[kwargs["axis"]]
    cuts = st.lists(st.integers(0, n), min_size=1, max_size=2).map(sorted)
    return (x,), {"indices_or_sections": draw(st.one_of(st.integers(1, 3), cuts)), **kwargs}


@st.composite
def _split(draw, least):
    x = draw(arrays(draw(shapes(min_dims=least, max_dims=3, max_side=2)), layouts=True))
    return (x,), {"indices_or_sections": draw(st.sampled_from([1, [1], [0, 1]]))}


for _name, _least in (("hsplit", 1), ("vsplit", 2), ("dsplit", 3)):
    CASES[_name] = _split(_least)


@case
def rollaxis(draw):
    """Any axis to any place."""
    x = draw(arrays(small(min_dims=1), layouts=True))
    axis = draw(st.integers(-x.ndim, x.ndim - 1))
    return (x,), {"axis": axis, "start": draw(st.integers(-x.ndim, x.ndim))}


@case
def rot90(draw):
    """Any number of quarters, in any plane."""
    x = draw(arrays(small(min_dims=2), layouts=True))
    axes = tuple(draw(st.permutations(range(x.ndim)))[:2])
    return (x,), {"k": draw(st.integers(-3, 4)), "axes": axes}


@case
def put_along_axis(draw):
    """Positions of their own for each line, without repetitions."""
    (x,), kwargs = draw(along_axis())
    axis = kwargs["axis"]
    order = np.argsort(draw(arrays(x.shape, distinct=True)), axis=axis)
    ids = np.take(order, range(draw(st.integers(1, x.shape[axis]))), axis)
    return (x, draw(arrays(ids.shape))), {"indices": ids, **kwargs}


@case
def select(draw):
    """Two conditions, two choices and a default."""
    shape = draw(small(max_dims=2))
    masks = [draw(arrays(shape)) > 0 for _ in range(2)]
    return draw(pair((shape, shape, ()))), {"condlist": masks}


@case
def interp(draw):
    """Points, heights, and places within and outside, away from the points."""
    gaps = draw(arrays(3)) ** 2 + 1
    points = np.cumsum(gaps)
    between = np.array([-1.0, 0.5, 1.5, 4.0])[draw(st.integers(0, 3))]
    k, part = int(np.floor(between)), between - np.floor(between)
    inside = points[k] + part * gaps[k + 1] if 0 <= k < 2 else points[-1 if k > 0 else 0] + between
    return (np.array([inside, points[0] - 1]), points, draw(arrays(3))), {}


@case
def vecdot(draw):
    """Along an axis of both."""
    shape = draw(small(min_dims=1))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    return draw(pair((shape, shape))), {"axis": axis}


@case
def matvec(draw):
    """Matrices, and stacks of them."""
    return draw(
        st.sampled_from([((2, 3), (3,)), ((2, 2, 3), (3,)), ((2, 2), (3, 2))]).flatmap(pair)
    ), {}


@case
def vecmat(draw):
    """Vectors, and stacks of them."""
    return draw(
        st.sampled_from([((2,), (2, 3)), ((3, 2), (2, 2)), ((2,), (2, 2, 2))]).flatmap(pair)
    ), {}


@case
def kron(draw):
    """Equally many axes, or not."""
    return draw(st.sampled_from([((2,), (3,)), ((2, 2), (1, 3)), ((2,), (2, 2))]).flatmap(pair)), {}


@case
def cross(draw):
    """Vectors of three, along the last axis or the first."""
    if draw(st.booleans()):
        return draw(pair(((2, 3), (3,)))), {}
    return draw(pair(((3, 2), (3, 2)))), {"axis": 0}
