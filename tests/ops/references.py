"""What NumPy computes for each operation; for those that NumPy has under the same name, that."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Reference = Callable[..., Any]


def sigmoid(x):
    """1 / (1 + e⁻ˣ), by the form that does not overflow."""
    return np.where(
        x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x)))
    )


def logsumexp(x, axis=None, keepdims=False):
    """ln Σ eˣ."""
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


def softmax(x, axis=-1):
    """eˣ / Σ eˣ."""
    return np.exp(x) / np.sum(np.exp(x), axis=axis, keepdims=True)


def norm(x, ord=2, axis=None, keepdims=False):
    """(Σ |x|ᵖ)^(1/p)."""
    return np.sum(np.abs(x) ** ord, axis=axis, keepdims=keepdims) ** (1 / ord)


def erf(x):
    """Error function, one number at a time."""
    return np.vectorize(math.erf, otypes=[float])(x)


def contract(*xs, inputs, output):
    """Einsum, its subscripts apart."""
    return np.einsum(f"{','.join(inputs)}->{output}", *xs)


def scatter_add(x, index, shape):
    """Zeros with x added at an index."""
    y = np.zeros(shape)
    np.add.at(y, index, x)
    return y


def index_add(x, v, index):
    """A copy with v added at an index."""
    y = np.array(x)
    np.add.at(y, index, np.broadcast_to(v, y[index].shape))  # NumPy errs if it is to broadcast
    return y


def index_set(x, v, index):
    """A copy with v at an index."""
    y = np.array(x)
    y[index] = v
    return y


def lasting(x, index):
    """Each position asked for the same one after it."""
    at = np.arange(np.size(x)).reshape(np.shape(x))[index]
    later = [p not in at.ravel()[k + 1 :] for k, p in enumerate(at.ravel())]
    return np.array(later, bool).reshape(at.shape)


def topk(x, k, axis=-1):
    """The k largest, in descending order."""
    return np.take(np.flip(np.sort(x, axis), axis), np.arange(k), axis)


def split(x, indices_or_sections, axis=0):
    """NumPy's split, as a tuple."""
    return tuple(np.split(x, indices_or_sections, axis))


def scan(a, b, h0=None, reverse=False, adjoint=False, pairs=False, mask=None):
    """A linear recurrence, or its adjoint, as the triangular system that it solves."""
    if pairs:
        a, b, h0 = (x if x is None else x[..., 0] + 1j * x[..., 1] for x in (a, b, h0))
    a, b = np.broadcast_to(a, b.shape), np.array(b)
    if mask is not None:
        read = mask.reshape(mask.shape + (1,) * (b.ndim - mask.ndim))
        a, b = np.where(read, a, 1), np.where(read, b, 0)
    if reverse:
        a, b = a[::-1], b[::-1]
    if h0 is not None:
        b = b.copy()
        b[0] += a[0] * h0
    y = np.empty_like(b)
    for at in np.ndindex(b.shape[1:]):
        column = (slice(None), *at)
        system = np.eye(len(b)) - np.diag(a[column][1:], -1)
        y[column] = np.linalg.solve(system.conj().T if adjoint else system, b[column])
    y = y[::-1] if reverse else y
    return np.stack([y.real, y.imag], axis=-1) if pairs else y


def put_along_axis(x, v, indices, axis):
    """A copy with v at positions of an axis."""
    y = np.array(x)
    np.put_along_axis(y, indices, v, axis)
    return y


def cholesky(x, upper=False):
    """Of the symmetric part."""
    y = np.linalg.cholesky((x + np.swapaxes(x, -1, -2)) / 2)
    return np.swapaxes(y, -1, -2) if upper else y


def along(ufunc):
    """A running operation, flattened without an axis."""

    def accumulate(x, axis=None):
        return ufunc.accumulate(x.ravel(), 0) if axis is None else ufunc.accumulate(x, axis)

    return accumulate


def cumulative(scan, first):
    """A running operation with what it starts from."""

    def accumulate(x, axis=None, include_initial=False):
        y = scan(x, axis)
        edge = np.full_like(np.take(y, [0], axis), first)
        return np.concatenate([edge, y], axis) if include_initial else y

    return accumulate


REFERENCES: dict[str, Reference] = {
    "chosen": lambda x, size, dtype: np.eye(size, dtype=dtype)[x],
    "interval": lambda x, xs: np.clip(np.sum(xs <= x[..., None], -1) - 1, 0, max(len(xs) - 2, 0)),
    "running_argmax": lambda x, axis, beats: np.apply_along_axis(
        lambda v: [k - np.argmax(v[k::-1]) for k in range(len(v))], axis, x
    ),
    "ids_below": lambda x, size, says="ids": np.asarray(x, dtype=np.int64),
    "affine": lambda x, weight, bias: np.einsum("...i,oi->...o", x, weight) + bias,
    "product": np.multiply,
    "quotient": np.divide,
    "sigmoid": sigmoid,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x, slope=0.01: np.where(x > 0, x, slope * x),
    "elu": lambda x, alpha=1.0: np.where(x > 0, x, alpha * (np.exp(x) - 1)),
    "softplus": lambda x: np.log(1 + np.exp(x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "erf": erf,
    "gelu": lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "clamp": lambda x, min=None, max=None: np.clip(x, min, max),
    "clip": lambda x, min=None, max=None: np.clip(x, min, max),
    "limit": np.clip,
    "contract": contract,
    "einsum": lambda *xs, subscripts: np.einsum(subscripts, *xs),
    "logsumexp": logsumexp,
    "softmax": softmax,
    "log_softmax": lambda x, axis=-1: np.log(softmax(x, axis)),
    "vector_norm": norm,
    "norm": norm,
    "to": lambda x: x,
    "astype": lambda x, dtype: x.astype(dtype),
    "concatenate": lambda *xs, axis=0: np.concatenate(xs, axis),
    "hstack": lambda *xs: np.hstack(xs),
    "vstack": lambda *xs: np.vstack(xs),
    "stack": lambda *xs, axis=0: np.stack(xs, axis),
    "unstack": lambda x, axis=0: tuple(np.moveaxis(x, axis, 0)),
    "split": split,
    "getitem": lambda x, index: x[index],
    "scatter_add": scatter_add,
    "add_at": index_add,
    "set_at": index_set,
    "lasting": lasting,
    "index_add": index_add,
    "index_set": index_set,
    "topk": topk,
    "scan": scan,
    "linear_scan": scan,
    "cummax": along(np.maximum),
    "cummin": along(np.minimum),
    "logcumsumexp": along(np.logaddexp),
    "cumulative_sum": cumulative(np.cumsum, 0),  # these four are newer than NumPy 2.0
    "cumulative_prod": cumulative(np.cumprod, 1),
    "matvec": lambda a, b: (a @ b[..., None])[..., 0],
    "vecmat": lambda a, b: (a[..., None, :] @ b)[..., 0, :],
    "sliding_window_view": np.lib.stride_tricks.sliding_window_view,
    "array_split": lambda x, indices_or_sections, axis: tuple(
        np.array_split(x, indices_or_sections, axis)
    ),
    "average": lambda x, *w, axis, keepdims: np.average(x, axis, *w, keepdims=keepdims),
    "block": lambda a, b, c, d: np.block([[a, b], [c, d]]),
    "column_stack": lambda *xs: np.column_stack(xs),
    "dstack": lambda *xs: np.dstack(xs),
    "put_along_axis": put_along_axis,
    "select": lambda a, b, c, condlist: np.select(condlist, [a, b], c),
    "cofactors": lambda x: (
        np.linalg.det(x)[..., None, None] * np.swapaxes(np.linalg.inv(x), -1, -2)
    ),
    "cholesky": cholesky,
    "svd": lambda x: np.linalg.svd(x, full_matrices=False),
    "linalg.svdvals": lambda x: np.linalg.svd(x, compute_uv=False),
    "linalg.multi_dot": lambda *xs: np.linalg.multi_dot(xs),
}


def reference_of(name: str) -> Reference:
    """NumPy's answer to an operation.

    Raises:
        LookupError: there is none.
    """
    space = np.linalg if name.startswith("linalg.") else np
    short = name.removeprefix("linalg.")
    found = REFERENCES.get(name) or getattr(space, short, None) or getattr(np.linalg, short, None)
    if found is None:
        raise LookupError(f"NumPy has no {name}: say what it computes in tests/ops/references.py")
    return found
