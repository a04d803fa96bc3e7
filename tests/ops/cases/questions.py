"""Questions, which have no derivative."""

from __future__ import annotations

from operator import gt
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_seq.testing import broadcastable_shapes

from .base import CASES, Drawn, along_axis, case, reduction

FEW = st.integers(-2, 2).map(float)  # few values, so that many are equal


def _draw_question(kind: str, count: int) -> st.SearchStrategy[Drawn]:
    """Arrays that broadcast, of numbers, masks or integers."""
    elements = {"f": FEW, "b": st.booleans(), "i": st.integers(0, 7)}[kind]
    dtype = {"f": np.float64, "b": np.bool_, "i": np.int64}[kind]

    def drawn(chosen: tuple[tuple[int, ...], ...]) -> st.SearchStrategy[tuple[Any, ...]]:
        return st.tuples(
            *(hnp.arrays(dtype, s, elements=elements, fill=st.nothing()) for s in chosen)
        )

    return broadcastable_shapes(count).flatmap(drawn).map(lambda args: (args, {}))


_COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
for _name in _COMPARISONS:
    CASES[_name] = _draw_question("f", 2)
for _name in ("logical_and", "logical_or", "logical_xor"):
    CASES[_name] = _draw_question("b", 2)
for _name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
    CASES[_name] = _draw_question("i", 2)
for _name in ("isnan", "isinf", "isfinite"):
    CASES[_name] = _draw_question("f", 1)
CASES["logical_not"] = _draw_question("b", 1)
CASES["invert"] = _draw_question("i", 1)
CASES["floor_divide"] = _draw_question("f", 2).map(
    lambda drawn: ((drawn[0][0], abs(drawn[0][1]) + 1), {})
)


@case
def all_(draw):
    """A mask, over any axes."""
    (x,), kwargs = draw(reduction())
    return (x > draw(st.sampled_from([-3.0, 0.0])),), kwargs


CASES["any"] = CASES["all"]


@case
def argmax(draw):
    """Over all elements or one axis, with ties: the first."""
    (x,), kwargs = draw(reduction())
    axis = kwargs["axis"]
    return (np.round(x),), {**kwargs, "axis": None if isinstance(axis, tuple) else axis}


CASES["argmin"] = CASES["argmax"]
CASES["argsort"] = along_axis(distinct=True)
CASES["chosen"] = _draw_question("i", 1).map(lambda drawn: (drawn[0], {"size": 8, "dtype": "bool"}))
CASES["interval"] = _draw_question("f", 2).map(
    lambda drawn: ((drawn[0][0], np.sort(np.append(drawn[0][1], 0.0))), {})
)
CASES["running_argmax"] = along_axis().map(
    lambda drawn: (drawn[0], {"axis": drawn[1]["axis"] % drawn[0][0].ndim, "beats": gt})
)
CASES["ids_below"] = _draw_question("i", 1).map(lambda drawn: (drawn[0], {"size": 8}))
