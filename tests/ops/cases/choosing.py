"""Choosing elements and putting them back."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from tinygrad_seq.testing import arrays, indices, shapes

from .base import CASES, LARGEST, along_axis, case, reduction, small


@case
def getitem(draw):
    """Every form of index."""
    shape = draw(small())
    return (draw(arrays(shape, layouts=True)),), {"index": draw(indices(shape))}


CASES["lasting"] = CASES["getitem"]


@case
def scatter_add(draw):
    """Into zeros, at any index."""
    shape = draw(small())
    index = draw(indices(shape))
    return (draw(arrays(np.zeros(shape)[index].shape)),), {"index": index, "shape": shape}


@case
def add_at(draw):
    """At any index, with values that broadcast."""
    shape = draw(small())
    index = draw(indices(shape))
    chosen = np.zeros(shape)[index].shape
    v = draw(st.sampled_from([chosen, (), chosen[1:]]))
    return (draw(arrays(shape, layouts=True)), draw(arrays(v))), {"index": index}


CASES["set_at"] = CASES["add_at"]


CASES["index_add"] = CASES["index_set"] = CASES["add_at"]


@case
def take(draw):
    """Repeated and negative positions, along an axis or of the flattened array."""
    (x,), kwargs = draw(along_axis())
    axis = draw(st.sampled_from([kwargs["axis"], None]))
    n = x.size if axis is None else x.shape[axis]
    ids = draw(st.lists(st.integers(-n, n - 1), min_size=1, max_size=4))
    return (x,), {"indices": np.array(ids), "axis": axis}


@case
def take_along_axis(draw):
    """Positions of their own for each line."""
    (x,), kwargs = draw(along_axis())
    sides = list(x.shape)
    sides[kwargs["axis"]] = draw(st.integers(1, 3))
    n = x.shape[kwargs["axis"]]
    flat = draw(
        st.lists(st.integers(0, n - 1), min_size=math.prod(sides), max_size=math.prod(sides))
    )
    return (x,), {"indices": np.array(flat).reshape(sides), **kwargs}


@case
def flip(draw):
    """One axis, several, or all."""
    (x,), kwargs = draw(reduction())
    return (x,), {"axis": kwargs["axis"]}


@case
def roll(draw):
    """Along an axis, or flattened; beyond the length too."""
    (x,), kwargs = draw(along_axis())
    axis = draw(st.sampled_from([kwargs["axis"], None]))
    return (x,), {"shift": draw(st.integers(-4, 4)), "axis": axis}


@case
def repeat(draw):
    """The same number of times for all, or a number for each."""
    (x,), kwargs = draw(along_axis())
    axis = draw(st.sampled_from([kwargs["axis"], None]))
    n = x.size if axis is None else x.shape[axis]
    each = st.lists(st.integers(0, 2), min_size=n, max_size=n).map(np.array)
    return (x,), {"repeats": draw(st.one_of(st.integers(0, 3), each)), "axis": axis}


@case
def tile(draw):
    """Fewer or more counts than axes."""
    x = draw(arrays(small(max_dims=2), layouts=True))
    reps = draw(st.one_of(st.integers(1, 2), st.lists(st.integers(1, 2), max_size=3).map(tuple)))
    return (x,), {"reps": reps}


@case
def pad(draw):
    """Constants, or the array's own edge."""
    x = draw(arrays(draw(small(min_dims=1, max_dims=2)), layouts=True))
    width = st.tuples(st.integers(0, 2), st.integers(0, 2))
    widths = tuple(draw(width) for _ in range(x.ndim))
    mode = draw(st.sampled_from(["constant", "constant", "edge", "wrap", "symmetric"]))
    extra = {"constant_values": draw(st.sampled_from([0, 1.5]))} if mode == "constant" else {}
    return (x,), {"pad_width": draw(st.sampled_from([widths, 1])), "mode": mode, **extra}


@case
def tril(draw):
    """Matrices and batches of them."""
    shape = draw(
        shapes(min_dims=2, max_dims=3, max_side=3).filter(lambda s: math.prod(s) <= LARGEST)
    )
    return (draw(arrays(shape, layouts=True)),), {"k": draw(st.integers(-2, 2))}


CASES["triu"] = CASES["tril"]


@case
def diagonal(draw):
    """Above and below the main one, of any two axes."""
    shape = draw(
        shapes(min_dims=2, max_dims=3, max_side=3).filter(lambda s: math.prod(s) <= LARGEST)
    )
    one, two = draw(st.permutations(range(len(shape))))[:2]
    kwargs = {"offset": draw(st.integers(-2, 2)), "axis1": one, "axis2": two}
    return (draw(arrays(shape, layouts=True)),), kwargs


@case
def diag(draw):
    """Of a matrix, or a matrix of a vector."""
    shape = draw(shapes(min_dims=1, max_dims=2, max_side=3))
    return (draw(arrays(shape, layouts=True)),), {"k": draw(st.integers(-2, 2))}


@case
def trace(draw):
    """Of matrices that are not square, too."""
    shape = draw(
        shapes(min_dims=2, max_dims=3, max_side=3).filter(lambda s: math.prod(s) <= LARGEST)
    )
    return (draw(arrays(shape, layouts=True)),), {"offset": draw(st.integers(-1, 1))}
