"""Hypothesis strategies for index expressions in every form that NumPy takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._hypothesis import hnp, st
from .oracles import Array
from .strategies import Shape


def indices(shape: Shape) -> st.SearchStrategy[Any]:
    """Anything that `x[...]` takes for an x of this shape.

    Integers from either end, slices with steps of either sign, None, Ellipsis, boolean masks of one
    or several axes, integer arrays with repeated entries, lists, and tuples that mix them.
    """
    forms = [basic_indices(shape), masks(shape)]
    if shape and all(shape):
        forms += [integer_arrays(shape), mixed_indices(shape)]
    return st.one_of(forms)


def basic_indices(shape: Shape) -> st.SearchStrategy[Any]:
    """Integers, slices, None and Ellipsis: what gives a view."""
    return hnp.basic_indices(shape, allow_newaxis=True, max_dims=len(shape) + 2)


def masks(shape: Shape) -> st.SearchStrategy[Array]:
    """A boolean array over the first axes of x; for a 0-d x, True or False."""
    return st.integers(min(1, len(shape)), len(shape)).flatmap(
        lambda ndim: hnp.arrays(np.bool_, shape[:ndim], elements=st.booleans(), fill=st.nothing())
    )


@st.composite
def integer_arrays(draw: st.DrawFn, shape: Shape) -> Any:
    """One or several integer arrays that broadcast together, with repeats; sometimes lists."""
    count = draw(st.integers(1, len(shape)))
    chosen = draw(
        hnp.mutually_broadcastable_shapes(num_shapes=count, max_dims=2, min_side=1, max_side=4)
    )
    parts = [draw(_integers(s, side)) for s, side in zip(chosen.input_shapes, shape, strict=False)]
    if count == 1:
        return parts[0].tolist() if parts[0].ndim and draw(st.booleans()) else parts[0]
    return tuple(parts)


@st.composite
def mixed_indices(draw: st.DrawFn, shape: Shape) -> tuple[Any, ...]:
    """A tuple of integers, slices, integer arrays or one mask, with None and Ellipsis in it."""
    used = draw(st.integers(1, len(shape)))
    common = draw(hnp.array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=3))
    masked = draw(st.integers(-1, used - 1))  # the axis with a mask, or none; a mask stands alone
    cut = draw(st.integers(0, used))
    sides = [*shape[:cut], *shape[len(shape) - used + cut :]]
    parts: list[Any] = []
    for axis, side in enumerate(sides):
        if axis == masked:
            parts.append(draw(hnp.arrays(np.bool_, (side,), fill=st.nothing())))
            continue
        forms = [st.integers(-side, side - 1), slices(side)]
        if masked < 0:
            forms.append(_integers(common, side))
        parts.append(draw(st.one_of(forms)))
    if used < len(shape) or draw(st.booleans()):
        parts.insert(cut, Ellipsis)
    for _ in range(draw(st.integers(0, 1))):
        parts.insert(draw(st.integers(0, len(parts))), None)
    return tuple(parts)


def slices(side: int) -> st.SearchStrategy[slice]:
    """Slices of an axis, empty ones too, with steps from -3 to 3."""
    end = st.one_of(st.none(), st.integers(-side - 1, side + 1))
    step = st.sampled_from([None, 1, 2, 3, -1, -2, -3])
    return st.builds(slice, end, end, step)


def _integers(shape: Shape, side: int) -> st.SearchStrategy[Array]:
    return hnp.arrays(np.int64, shape, elements=st.integers(-side, side - 1), fill=st.nothing())
