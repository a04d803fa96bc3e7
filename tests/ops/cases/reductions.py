"""Reductions, and what else goes along axes."""

from __future__ import annotations

from hypothesis import strategies as st

from tinygrad_seq.testing import arrays, shapes

from .base import AWAY_FROM_0, CASES, along_axis, case, reduction

for _name in ("sum", "mean", "prod", "logsumexp"):
    CASES[_name] = reduction()
for _name in ("max", "min"):
    CASES[_name] = reduction(distinct=True)


@case
def cumsum(draw):
    """Along an axis, or flattened."""
    (x,), kwargs = draw(along_axis())
    return (x,), {"axis": draw(st.sampled_from([None, kwargs["axis"], kwargs["axis"]]))}


CASES["cumprod"] = CASES["cumsum"]
for _name in ("softmax", "log_softmax"):
    CASES[_name] = reduction().map(lambda drawn: (drawn[0], {"axis": drawn[1]["axis"]}))
for _name in ("norm", "vector_norm"):
    CASES[_name] = reduction(AWAY_FROM_0, ord=st.sampled_from([1, 2, 3, 1.5]))
CASES["sort"] = along_axis(distinct=True)


@case
def var(draw):
    """Two or more elements in each sum, so that ddof=1 is possible."""
    shape = draw(shapes(min_dims=1, max_dims=2, min_side=2, max_side=3))
    axis = draw(st.sampled_from([None, 0, -1, tuple(range(len(shape)))]))
    kwargs = {"axis": axis, "ddof": draw(st.integers(0, 1)), "keepdims": draw(st.booleans())}
    return (draw(arrays(shape, distinct=True, layouts=True)),), kwargs


CASES["std"] = CASES["var"]


@case
def topk(draw):
    """Some or all of an axis."""
    (x,), kwargs = draw(along_axis(distinct=True))
    return (x,), {"k": draw(st.integers(1, x.shape[kwargs["axis"]])), **kwargs}
