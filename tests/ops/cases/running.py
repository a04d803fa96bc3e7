"""Along an axis, from one element to the next; averages and order statistics."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tinygrad_seq.testing import arrays, shapes

from . import reductions  # noqa: F401  # some of its cases are ours too
from .base import CASES, POSITIVE, along_axis, case, reduction, small


@case
def cummax(draw):
    """Along an axis, or flattened, without ties."""
    (x,), kwargs = draw(along_axis(distinct=True))
    return (x,), {"axis": draw(st.sampled_from([None, kwargs["axis"], kwargs["axis"]]))}


CASES["cummin"] = CASES["cummax"]
CASES["logcumsumexp"] = CASES["cumsum"]
CASES["cumulative_sum"] = CASES["cumulative_prod"] = along_axis(include_initial=st.booleans())


@case
def diff(draw):
    """Once or twice, with and without an edge."""
    (x,), kwargs = draw(along_axis())
    edge = st.sampled_from([None, 0.5, x.astype("f4")])  # which widens nothing
    edges = {name: draw(edge) for name in ("prepend", "append")}
    edges = {name: edge for name, edge in edges.items() if edge is not None}
    return (x,), {"n": draw(st.integers(0, 2)), **kwargs, **edges}


@case
def trapezoid(draw):
    """Evenly spaced, or at points."""
    shape = draw(shapes(min_dims=1, max_dims=2, min_side=2, max_side=3))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    y = draw(arrays(shape, layouts=True))
    if draw(st.booleans()):
        return (y,), {"axis": axis, "dx": 0.5}
    return (y, draw(arrays(shape[axis]))), {"axis": axis}


@case
def sliding_window_view(draw):
    """Over all axes or one, also twice."""
    x = draw(arrays(draw(shapes(min_dims=1, max_dims=2, min_side=2, max_side=3)), layouts=True))
    if draw(st.booleans()):
        return (x,), {"window_shape": (2,) * x.ndim, "axis": None}
    axis = draw(st.integers(-x.ndim, x.ndim - 1))
    return (x,), {"window_shape": draw(st.integers(1, 2)), "axis": axis}


CASES["nansum"] = CASES["nanmean"] = reduction()
CASES["median"] = reduction(distinct=True)
CASES["quantile"] = reduction(distinct=True, q=st.sampled_from([0, 0.3, 1, np.array([0.25, 0.9])]))
CASES["percentile"] = reduction(distinct=True, q=st.sampled_from([0, 30, np.array([[10.0], [90]])]))


@case
def average(draw):
    """Weights for each element, for an axis, or none."""
    x = draw(arrays(draw(small(min_dims=1, min_side=2)), layouts=True))
    axis = draw(st.sampled_from([None, *range(x.ndim)]))
    own = x.shape if axis is None else draw(st.sampled_from([x.shape, x.shape[axis : axis + 1]]))
    weights = draw(st.sampled_from([(), (draw(arrays(own, POSITIVE)),)]))
    return (x, *weights), {"axis": axis, "keepdims": draw(st.booleans())}
