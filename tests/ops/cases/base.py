"""What each operation is called with in the generated tests: a strategy of (arguments, parameters).

An elementwise primitive needs no entry here: its arguments are drawn from its domain, with shapes
that broadcast. Every other one has a function of its name, and so has each function of `ops` that
is composed of primitives. `tests/ops/test_table.py` fails for one that has neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tinygrad_seq.autograd import Interval, Primitive
from tinygrad_seq.testing import arrays, axes, broadcastable_shapes, shapes

Drawn = tuple[tuple[Any, ...], dict[str, Any]]
CASES: dict[str, st.SearchStrategy[Drawn]] = {}

REALS = Interval(-3.0, 3.0)
POSITIVE = Interval(0.2, 4.0)
AWAY_FROM_0 = Interval(-3.0, 3.0, kinks=(0.0,))
LARGEST = 12  # elements: each costs an oracle two evaluations


def case(draw_case: Callable[..., Drawn]) -> Callable[..., st.SearchStrategy[Drawn]]:
    """Enter a composite strategy under the name of its function, without a trailing underscore."""
    made = st.composite(draw_case)
    CASES[draw_case.__name__.removesuffix("_")] = made()
    return made


def cases_of(name: str, f: Any) -> st.SearchStrategy[Drawn]:
    """The strategy for an operation.

    Raises:
        LookupError: nothing says what to call it with.
    """
    if name in CASES:
        return CASES[name]
    if isinstance(f, Primitive) and f.elementwise and set(f.intervals) == set(f.arguments):
        return elementwise(f)
    raise LookupError(
        f"nothing says what to test {name} with: give its arguments a domain line, "
        f"{name}.domain(x=REALS), beside its rule, or add a case to tests/ops/cases"
    )


def small(**options: Any) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes with few elements."""
    return shapes(max_side=3, **options).filter(lambda shape: math.prod(shape) <= LARGEST)


@st.composite
def elementwise(draw: st.DrawFn, f: Primitive) -> Drawn:
    """Arguments from the primitive's domain, with shapes that broadcast, in any layout."""
    chosen = draw(
        broadcastable_shapes(len(f.arguments)).filter(
            lambda drawn: math.prod(np.broadcast_shapes(*drawn)) <= LARGEST
        )
    )
    args = [
        draw(arrays(shape, f.intervals[argument], layouts=True))
        for shape, argument in zip(chosen, f.arguments, strict=True)
    ]
    return tuple(args), {}


@st.composite
def reduction(
    draw: st.DrawFn, interval: Interval = REALS, distinct: bool = False, **extra: Any
) -> Drawn:
    """An array with `axis` and `keepdims`."""
    x = draw(arrays(draw(small()), interval, distinct=distinct, layouts=True))
    kwargs = {"axis": draw(axes(x.ndim)), "keepdims": draw(st.booleans())}
    return (x,), {**kwargs, **{name: draw(strategy) for name, strategy in extra.items()}}


@st.composite
def along_axis(draw: st.DrawFn, distinct: bool = False, **extra: Any) -> Drawn:
    """An array with one axis."""
    x = draw(arrays(draw(small(min_dims=1)), distinct=distinct, layouts=True))
    kwargs = {"axis": draw(st.integers(-x.ndim, x.ndim - 1))}
    return (x,), {**kwargs, **{name: draw(strategy) for name, strategy in extra.items()}}


def pair(shapes_: tuple[tuple[int, ...], ...]) -> st.SearchStrategy[tuple[Any, ...]]:
    """An array of each shape."""
    return st.tuples(*(arrays(shape, layouts=True) for shape in shapes_))
