"""Hypothesis strategies for what an array library is called with.

Values come from an `Interval` and keep a margin from its ends and kinks, wider than the oracles'
step. Every entry is drawn by itself: Hypothesis' own arrays repeat one value over most entries, and
an array of equal entries cannot tell W from Wᵀ. All entries come from one string of bytes, two for
each: that takes a tenth of the time of one draw per entry, and shrinks as well.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from .. import backend
from ..autograd import Interval
from ..nn import Module
from .oracles import Array

Shape = tuple[int, ...]

BOUND = 3.0  # where an interval is unbounded, values stay in [-3, 3]: steep functions stay finite
MARGIN = 0.1  # from kinks and ends: near 1/0 the oracles' own error grows as (step / distance)²
SPACING = 0.01  # between distinct entries, many times the oracles' step
GRAIN = 1 / 256  # values are multiples of it


def arrays(
    shape: int | Shape | st.SearchStrategy[Shape],
    interval: Interval | None = None,
    *,
    dtype: npt.DTypeLike = np.float64,
    distinct: bool = False,
    layouts: bool = False,
) -> st.SearchStrategy[Array]:
    """Floating arrays, whose entries are drawn independently.

    Args:
        shape: a shape, or a strategy for shapes.
        interval: where entries lie, 0.1 away from its ends and kinks; by default [-3, 3].
        dtype: float64 or float32.
        distinct: no two entries are closer than 0.01, for functions that compare entries (max,
            sort). They lie on a jittered grid within the interval's widest smooth piece.
        layouts: also transposed, strided and reversed views of the same values.
    """
    return _arrays(shape, interval, np.dtype(dtype), distinct, layouts)


def floats(interval: Interval | None = None) -> st.SearchStrategy[float]:
    """Floats in an interval, away from its ends and kinks: multiples of 1/256, evenly spread.

    `st.floats` prefers 0, 1 and the ends, of which gradients say little. These are exact in float32
    too, none is subnormal or so small that its square vanishes, and they shrink towards 0.
    """
    values = _values(interval)
    return st.integers(0, len(values) - 1).map(lambda k: float(values[k]))


def smooth_pieces(interval: Interval | None) -> list[tuple[float, float]]:
    """The parts of an interval between its kinks, each shrunk by a margin."""
    if interval is None:
        return [(-BOUND, BOUND)]
    low = interval.low if np.isfinite(interval.low) else min(-BOUND, interval.high - 2 * BOUND)
    high = interval.high if np.isfinite(interval.high) else max(BOUND, interval.low + 2 * BOUND)
    inner = [float(k) for k in interval.kinks if low < k < high]
    ends = [low, *sorted(inner), high]
    pieces = []
    for position, (left, right) in enumerate(itertools.pairwise(ends)):
        margin = min(MARGIN, (right - left) / 8)
        open_left = position > 0 or np.isfinite(interval.low)
        open_right = position < len(ends) - 2 or np.isfinite(interval.high)
        pieces.append((left + margin * open_left, right - margin * open_right))
    return pieces


@st.composite
def shapes(
    draw: st.DrawFn, min_dims: int = 0, max_dims: int = 3, min_side: int = 1, max_side: int = 4
) -> Shape:
    """Shapes; `min_side=0` also draws empty arrays.

    Matrices are drawn as often as all others together: a vector cannot show a transposed gradient.
    """
    ranks = [*range(min_dims, max_dims + 1)]
    ndim = draw(st.sampled_from(ranks + [2] * (len(ranks) - 1) * (2 in ranks)))
    return tuple(draw(st.integers(min_side, max_side)) for _ in range(ndim))


@st.composite
def broadcastable_shapes(
    draw: st.DrawFn, count: int = 2, max_dims: int = 3, min_side: int = 1, max_side: int = 3
) -> tuple[Shape, ...]:
    """As many shapes as `count` that broadcast together.

    Each is a common shape that lost some leading axes, and some of whose lengths became 1; often
    one is whole.
    """
    common = draw(shapes(0, max_dims, min_side, max_side))
    return tuple(
        tuple(
            side if draw(st.integers(0, 3)) else 1
            for side in common[draw(st.sampled_from([0, 0, *range(len(common) + 1)])) :]
        )
        for _ in range(count)
    )


def axes(ndim: int) -> st.SearchStrategy[int | tuple[int, ...] | None]:
    """What a reduction takes as `axis`: None, an axis from either end, several axes, no axis."""
    if ndim == 0:
        return st.sampled_from([None, ()])
    one = st.integers(-ndim, ndim - 1)
    several = st.lists(one, max_size=ndim, unique_by=lambda axis: axis % ndim).map(tuple)
    return st.one_of(st.none(), one, several)


def lengths(n: int, t: int) -> st.SearchStrategy[Array]:
    """The lengths of `n` sequences padded to `t` steps: int64 `(n,)`, each in 1..t."""
    return _integers((n,), 1, t)


@st.composite
def views(draw: st.DrawFn, x: Array) -> Array:
    """The same values in other memory layouts: as they are, transposed, strided, reversed."""
    return np.asarray(draw(LAYOUTS)(x))


def modules(factory: Callable[[], Module]) -> st.SearchStrategy[Module]:
    """Modules built anew for each example, with weights drawn from a drawn seed.

    Args:
        factory: builds the module in float64, for example `lambda: nn.GRUCell(2, 3,
            dtype="float64")`.
    """

    def seeded(seed: int) -> Module:
        state = backend.get_rng_state()
        try:
            backend.manual_seed(seed)
            return factory()
        finally:
            backend.set_rng_state(state)

    return st.integers(0, 2**16).map(seeded)


@st.composite
def _arrays(
    draw: st.DrawFn,
    shape: int | Shape | st.SearchStrategy[Shape],
    interval: Interval | None,
    dtype: np.dtype[Any],
    distinct: bool,
    layouts: bool,
) -> Array:
    """A composite, so that a failing example shows the array and not how it was made."""
    keys = draw(_keys(draw(shape) if isinstance(shape, st.SearchStrategy) else shape))
    values = _values(interval)
    x = _apart(keys, interval) if distinct else np.asarray(values[keys % len(values)])
    return draw(LAYOUTS)(x.astype(dtype)) if layouts else x.astype(dtype)


def _keys(shape: int | Shape) -> st.SearchStrategy[Array]:
    """Numbers from 0 to 65535, each drawn by itself, and all as one string of bytes."""
    size = 2 * (math.prod(shape) if isinstance(shape, tuple) else shape)
    drawn = st.binary(min_size=size, max_size=size)
    return drawn.map(lambda b: np.frombuffer(b, dtype=">u2").astype(np.int64).reshape(shape))


def _integers(shape: Shape, low: int, high: int) -> st.SearchStrategy[Array]:
    """Integers from low to high, both included."""
    return _keys(shape).map(lambda keys: np.asarray(low + keys % (high + 1 - low)))


def _apart(keys: Array, interval: Interval | None) -> Array:
    """The points of a grid, in the order of the keys, all moved by the same jitter."""
    low, high = max(smooth_pieces(interval), key=lambda piece: piece[1] - piece[0])
    gap = min((high - low) / max(keys.size, 1), 1.0)
    if gap < SPACING:
        raise ValueError(
            f"arrays(distinct=True) cannot keep {keys.size} entries {SPACING} apart within "
            f"[{low}, {high}]; draw a smaller shape or a wider interval."
        )
    jitter = gap / 2 * float(keys.sum() % 256) / 256
    order = np.argsort(np.argsort(keys, axis=None, kind="stable"))
    return (low + gap * order + jitter).reshape(keys.shape)


@functools.lru_cache
def _values(interval: Interval | None) -> Array:
    """Multiples of the grain in the smooth pieces, finer in a narrow one; the smallest first."""
    found = []
    for low, high in smooth_pieces(interval):
        grain = min(GRAIN, 2.0 ** math.floor(math.log2((high - low) / 64)))
        found.append(grain * np.arange(math.ceil(low / grain), math.floor(high / grain) + 1))
    values = np.concatenate(found)
    return values[np.argsort(np.abs(values - 1e-9), kind="stable")]


def _transposed(x: Array) -> Array:
    return np.array(x.T, order="C").T


def _strided(x: Array) -> Array:
    wide = np.zeros([2 * side for side in x.shape], dtype=x.dtype)
    window: Array = wide[_every(2, x)]
    window[...] = x
    return window


def _reversed(x: Array) -> Array:
    backwards: Array = x[_every(-1, x)].copy()
    return np.asarray(backwards[_every(-1, x)])


def _every(step: int, x: Array) -> tuple[Any, ...]:
    """The index that steps along each axis; it gives an array, not a number, of a 0-d array."""
    return (..., *(slice(None, None, step) for _ in x.shape))


LAYOUTS: st.SearchStrategy[Callable[[Array], Array]] = st.sampled_from(
    [np.asarray, _transposed, _strided, _reversed]
)


# -- index expressions in every form that NumPy takes


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
        lambda ndim: _integers(shape[:ndim], 0, 1).map(lambda x: x.astype(bool))
    )


@st.composite
def integer_arrays(draw: st.DrawFn, shape: Shape) -> Any:
    """One or several integer arrays that broadcast together, with repeats; sometimes lists."""
    count = draw(st.integers(1, len(shape)))
    chosen = draw(
        hnp.mutually_broadcastable_shapes(num_shapes=count, max_dims=2, min_side=1, max_side=4)
    )
    parts = [
        draw(_integers(s, -side, side - 1))
        for s, side in zip(chosen.input_shapes, shape, strict=False)
    ]
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
            parts.append(draw(_integers((side,), 0, 1)).astype(bool))
            continue
        forms = [st.integers(-side, side - 1), slices(side)]
        if masked < 0:
            forms.append(_integers(common, -side, side - 1))
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
