"""Hypothesis strategies for trees that can be saved, and equality to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from device import host
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_seq.tensor import Tensor

SHARED_DTYPES = [
    *(np.dtype(kind) for kind in "?bBhHiIqQefd"),
    *(np.dtype(f">{kind}{size}") for kind, size in [("f", 4), ("f", 8), ("i", 2), ("u", 8)]),
]
NPZ_DTYPES = [*SHARED_DTYPES, np.dtype("c8"), np.dtype(">c16"), np.dtype("U3"), np.dtype("M8[s]")]


def arrays(dtypes: list[np.dtype]) -> st.SearchStrategy[np.ndarray]:
    """Arrays of any bits, 0-d and empty ones too, some of them transposed or strided views."""
    plain = st.sampled_from(dtypes).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))
    )
    views = [lambda a: a, lambda a: a.T, lambda a: a[::-1] if a.ndim else a, lambda a: a[..., ::2]]
    return st.tuples(plain, st.sampled_from(views)).map(
        lambda pair: pair[1](pair[0]) if pair[0].ndim else pair[0]
    )


def trees(dtypes: list[np.dtype]) -> st.SearchStrategy[Any]:
    leaves = st.one_of(
        arrays(dtypes),
        arrays(dtypes).filter(lambda a: a.dtype.kind in "fib").map(Tensor),
        arrays([np.dtype("f4")]).map(lambda a: Tensor(a, requires_grad=True)),
        st.sampled_from([np.float32(1.5), np.int64(-3), np.bool_(True), np.float16(np.nan)]),
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(2**53 - 2, 2**53 + 2),
        st.integers(-(2**200), 2**200),
        st.floats(),
        st.text(st.characters(), max_size=8),
    )
    keys = st.one_of(
        st.text(st.characters(), max_size=6),
        st.sampled_from(["a", "a.b", "b", "a/b", "../x", "a~1", "", "__metadata__", "tree.json"]),
        st.integers(-3, 3),
        st.just(2**80),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.lists(inner, max_size=3).map(tuple),
            st.dictionaries(keys, inner, max_size=4),
        ),
        max_leaves=8,
    )


def assert_identical(one: Any, other: Any) -> None:
    """The same types, keys in the same order, dtypes, shapes and bits."""
    assert type(one) is type(other)
    if isinstance(one, Tensor):
        assert one.requires_grad == other.requires_grad
        assert other.is_leaf
        assert one.backend == other.backend
        assert_identical(host(one), host(other))
    elif isinstance(one, np.ndarray | np.generic):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes()
    elif isinstance(one, dict):
        assert [*map(repr, one)] == [*map(repr, other)]
        for key in one:
            assert_identical(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_identical(a, b)
    elif isinstance(one, float):
        assert repr(one) == repr(other)  # tells -0.0 from 0.0, and NaN equals NaN
    else:
        assert one == other
