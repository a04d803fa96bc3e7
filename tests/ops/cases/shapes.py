"""Shapes: the same elements elsewhere."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from tinygrad_seq.testing import arrays, broadcastable_shapes, shapes

from .base import CASES, LARGEST, along_axis, case, pair, small


@case
def reshape(draw):
    """To a factorisation of the size, sometimes with -1."""
    x = draw(arrays(small(), layouts=True))
    sides = [k for k in range(1, x.size + 1) if x.size % k == 0]
    first = draw(st.sampled_from(sides))
    shape = draw(st.sampled_from([(first, x.size // first), (first, -1), (x.size,), (-1, 1)]))
    return (x,), {"shape": shape}


@case
def ravel(draw):
    """Any array."""
    return (draw(arrays(small(), layouts=True)),), {}


@case
def transpose(draw):
    """Any permutation, counted from either end, or none."""
    x = draw(arrays(small(), layouts=True))
    axes_ = draw(st.permutations(range(x.ndim)))
    axes_ = tuple(k - x.ndim if draw(st.booleans()) else k for k in axes_)
    return (x,), {"axes": draw(st.sampled_from([None, axes_]))}


@case
def swapaxes(draw):
    """Two axes, perhaps the same."""
    x = draw(arrays(small(min_dims=1), layouts=True))
    one = st.integers(-x.ndim, x.ndim - 1)
    return (x,), {"axis1": draw(one), "axis2": draw(one)}


@case
def moveaxis(draw):
    """One axis, or several."""
    x = draw(arrays(small(min_dims=1), layouts=True))
    count = draw(st.integers(1, x.ndim))
    source, target = (tuple(draw(st.permutations(range(x.ndim)))[:count]) for _ in range(2))
    if count == 1 and draw(st.booleans()):
        return (x,), {"source": source[0] - x.ndim, "destination": target[0]}
    return (x,), {"source": source, "destination": target}


@case
def expand_dims(draw):
    """One new axis, or two."""
    x = draw(arrays(small(max_dims=2), layouts=True))
    axis = draw(st.sampled_from([0, -1, x.ndim, (0, x.ndim + 1), (0, 1), (-1, 0)]))
    return (x,), {"axis": axis}


@case
def squeeze(draw):
    """All axes of length 1, or some."""
    shape = draw(st.lists(st.sampled_from([1, 1, 2, 3]), max_size=3).map(tuple))
    ones = [k for k, side in enumerate(shape) if side == 1]
    axis = draw(st.sampled_from([None, tuple(ones), *ones, *(k - len(shape) for k in ones)]))
    return (draw(arrays(shape, layouts=True)),), {"axis": axis}


@case
def broadcast_to(draw):
    """To a larger shape."""
    shapes_ = broadcastable_shapes(2).filter(
        lambda drawn: math.prod(np.broadcast_shapes(*drawn)) <= LARGEST
    )
    shape, other = draw(shapes_)
    x = draw(arrays(shape, layouts=True))
    return (x,), {"shape": np.broadcast_shapes(shape, other)}


@case
def astype(draw):
    """To the dtype it has: another one is no business of a float64 oracle."""
    return (draw(arrays(small(), layouts=True)),), {"dtype": np.float64}


@case
def concatenate(draw):
    """One to three arrays, of different lengths along the axis."""
    shape = draw(shapes(min_dims=1, max_dims=2, max_side=2))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    xs = []
    for _ in range(draw(st.integers(1, 3))):
        sides = list(shape)
        sides[axis] = draw(st.integers(1, 3))
        xs.append(draw(arrays(tuple(sides), layouts=True)))
    return tuple(xs), {"axis": axis}


@case
def stack(draw):
    """One to three arrays of one shape."""
    shape = draw(shapes(max_dims=2, max_side=2))
    count = draw(st.integers(1, 3))
    xs = tuple(draw(arrays(shape, layouts=True)) for _ in range(count))
    return xs, {"axis": draw(st.integers(-len(shape) - 1, len(shape)))}


CASES["unstack"] = along_axis()


@case
def split(draw):
    """Equal parts, or cuts; an empty part too."""
    (x,), kwargs = draw(along_axis())
    n = x.shape[kwargs["axis"]]
    parts = [k for k in range(1, n + 1) if n % k == 0]
    cuts = st.lists(st.integers(0, n), min_size=1, max_size=2).map(sorted)
    return (x,), {"indices_or_sections": draw(st.one_of(st.sampled_from(parts), cuts)), **kwargs}


@case
def vstack(draw):
    """Vectors, or matrices."""
    shape = draw(st.sampled_from([(2,), (2, 3)]))
    return draw(pair((shape, shape))), {}


CASES["hstack"] = CASES["vstack"]
