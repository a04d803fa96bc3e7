"""Linear algebra: matrices far from singular, with singular values that differ."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tinygrad_seq.autograd import Interval
from tinygrad_seq.testing import arrays

from . import joining, reductions  # noqa: F401  # some of its cases are ours too
from .base import CASES, case, pair

SMALL = Interval(-0.4, 0.4)


@st.composite
def square(draw, most=3):
    """A matrix near diag(3, -1.7, 0.8), or a stack of two."""
    n = draw(st.integers(1, most))
    batch = draw(st.sampled_from([(), (2,)])) if n < 3 else ()
    return draw(arrays((*batch, n, n), SMALL)) + np.diag([3.0, -1.7, 0.8][:n])


@st.composite
def oblong(draw):
    """The same with one row or column more, or none."""
    m, n = draw(st.sampled_from([(2, 2), (3, 2), (2, 3), (1, 2), (2, 1)]))
    # Without zeros, at which LAPACK's choice of signs jumps.
    return draw(arrays((m, n), Interval(0.0, 0.5))) + np.eye(m, n) * np.array([3.0, 1.2, 0.5])[:n]


for _name in ("inv", "det", "cofactors", "slogdet"):
    CASES[_name] = square().map(lambda x: ((x,), {}))
for _name in ("svd", "linalg.svdvals"):
    CASES[_name] = oblong().map(lambda x: ((x,), {}))


@case
def solve(draw):
    """One right-hand side, several, and stacks."""
    a = draw(square(most=2))
    n = a.shape[-1]
    sides = draw(st.sampled_from([(n,), (n, 2), (2, n, 1)]))
    return (a, draw(arrays(sides))), {}


@case
def cholesky(draw):
    """Symmetric and positive definite, as the oracles' steps are not."""
    x = draw(square())
    return (x @ np.swapaxes(x, -1, -2) + np.eye(x.shape[-1]),), {"upper": draw(st.booleans())}


@st.composite
def _norm(draw):
    """Vectors and matrices, of every order."""
    x = draw(oblong())
    axis = draw(st.sampled_from([None, 0, -1, (0, 1), (1, 0)]))
    matrix = ["fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf]
    orders = [2, 1, 3, np.inf] if isinstance(axis, int) else matrix
    kwargs = {"ord": draw(st.sampled_from([None, *orders])), "keepdims": draw(st.booleans())}
    return (x,), {"axis": axis, **kwargs}


CASES["linalg.norm"] = _norm()
CASES["linalg.vector_norm"] = CASES["vector_norm"]
CASES["linalg.matrix_norm"] = st.tuples(
    oblong(), st.sampled_from(["fro", "nuc", 1, 2, -2, np.inf]), st.booleans()
).map(lambda drawn: ((drawn[0],), {"ord": drawn[1], "keepdims": drawn[2]}))
CASES["linalg.trace"] = CASES["linalg.diagonal"] = st.tuples(oblong(), st.integers(-1, 1)).map(
    lambda drawn: ((drawn[0],), {"offset": drawn[1]})
)
CASES["linalg.outer"] = pair(((3,), (2,))).map(lambda args: (args, {}))
CASES["linalg.cross"] = CASES["cross"]
CASES["linalg.matrix_power"] = st.tuples(square(), st.integers(-2, 3)).map(
    lambda drawn: ((drawn[0],), {"n": drawn[1]})
)
CASES["linalg.multi_dot"] = pair(((2, 2), (2, 1), (1, 2))).map(lambda args: (args, {}))
