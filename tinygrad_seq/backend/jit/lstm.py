"""The steps of the LSTM, compiled; equations and notation in ``recurrence/lstm.py``.

One compiled function runs all steps: thin products by :mod:`.thin`, then the gates, each a loop
over consecutive numbers that the compiler turns into vector instructions (one loop over all gates
at once it does not). The functions hold no lock while they run: threads share the sequences of a
batch, and what they compute does not depend on how many there are.

numba knows cached machine code by the date of *this* file: touch it after an edit of ``thin.py``.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import config, njit

from .. import threads
from ..recurrence.common import Array, Saved
from .thin import LANES, TILES, pack, product, tiling

if config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set")

TOGETHER = 2048
"""The gates take up to so many numbers at a time: they stay in the first cache."""

# tanh x = x P(x²) / Q(x²), fitted on |x| <= 9, past which tanh is ±1 in float32
F = np.float32
P0, P1, P2, P3, P4 = map(
    F, (9.99999979e-01, 1.33810396e-01, 3.49560429e-03, 2.06093324e-05, 1.33549761e-08)
)
Q0, Q1, Q2, Q3, Q4 = map(F, (1.0, 4.67143552e-01, 2.58770446e-02, 3.28566057e-04, 7.77669391e-07))
ONE, HALF, TOP = F(1), F(0.5), F(9)

# of the freedoms of "fast" arithmetic those that leave NaN and infinity their meaning
compiled = functools.partial(
    njit,
    nogil=True,
    cache=True,
    error_model="numpy",
    fastmath={"contract", "arcp", "nsz", "reassoc"},
)


@compiled(inline="always")
def _tanh(x: Any) -> Any:
    """tanh x within 4e-7 of it, relatively; a NaN stays one."""
    x = TOP if x > TOP else -TOP if x < -TOP else x
    u = x * x
    p = P0 + u * (P1 + u * (P2 + u * (P3 + u * P4)))
    q = Q0 + u * (Q1 + u * (Q2 + u * (Q3 + u * Q4)))
    y = x * p / q
    return ONE if y > ONE else -ONE if y < -ONE else y


# The types are fixed, so that all is compiled here and now: an array of another kind is refused.
_A = {n: f"f4[{', '.join([':'] * (n - 1) + ['::1'])}]" for n in (1, 2, 3, 4)}


@compiled(
    f"void(i8, i8, b1, {_A[3]}, {_A[4]}, {_A[4]}, {_A[2]}, i8, i8, b1[:, ::1], b1, "
    f"{_A[3]}, {_A[2]}, {_A[2]}, {_A[3]})"
)
def _steps(
    first: int,
    last: int,
    reverse: bool,
    x: Any,
    W: Any,
    U: Any,
    bias: Any,
    rows: int,
    vectors: int,
    mask: Any,
    masked: bool,
    hs: Any,
    flat_hs: Any,
    cs: Any,
    v: Any,
) -> None:
    """All steps of a forward, the gates of some whole rows at a time.

    Args:
        first, last: Of the N sequences, those from first up to last.
        x: ``(T, N, D)``.
        W, U: Packed: one for each gate, each in panels without padding, ``(4, panels, D or H,
            width)``; or all gates side by side as one, ``(1, ...)``, and then one row at a time.
        bias: ``(4, length)``, where length is that of the rows taken at a time.
        rows, vectors: The tiling of both products.
        mask: ``(T, N)``, or anything unless ``masked``, and then one row at a time.
        hs: Written ``(T+1, N, H)``, and once more as ``(T+1, N*H)``, which is how cs and
            v ``(T or 1, 4, N*H)`` come.
    """
    T, N, H, keep = x.shape[0], last - first, hs.shape[2], v.shape[0] > 1
    parts, length = U.shape[0], bias.shape[1]
    sums = np.empty((parts, N, U.shape[1] * U.shape[3]), np.float32)
    u = sums.reshape(-1)
    gate, row = (N * H, length) if parts == 4 else (H, sums.shape[2])  # from one to the next, in u
    bo, bi, bf, bg = bias[0], bias[1], bias[2], bias[3]
    for s in range(T):
        t = T - 1 - s if reverse else s
        before, after = (t + 1, t) if reverse else (t, t + 1)
        at = t if keep else 0
        for part in range(parts):
            product(x[t, first:last], W[part], sums[part], rows, vectors, False)
            product(hs[before, first:last], U[part], sums[part], rows, vectors, True)
        for n in range(N * H // length):
            low = first * H + n * length
            high = low + length
            c, c1, h1 = cs[before, low:high], cs[after, low:high], flat_hs[after, low:high]
            if masked and not mask[t, first + n]:
                h1[:] = flat_hs[before, low:high]
                c1[:] = c
                v[at, :, low:high] = 0
                continue
            o, i, f, g = (
                v[at, 0, low:high],
                v[at, 1, low:high],
                v[at, 2, low:high],
                v[at, 3, low:high],
            )
            e = n * row
            uo, ui = u[e : e + length], u[e + gate : e + gate + length]
            uf, ug = (
                u[e + 2 * gate : e + 2 * gate + length],
                u[e + 3 * gate : e + 3 * gate + length],
            )
            for j in range(length):
                i[j] = HALF + HALF * _tanh(ui[j] + bi[j])
            for j in range(length):
                f[j] = HALF + HALF * _tanh(uf[j] + bf[j])
            for j in range(length):
                g[j] = _tanh(ug[j] + bg[j])
            for j in range(length):
                c1[j] = f[j] * c[j] + i[j] * g[j]
            for j in range(length):
                o[j] = HALF + HALF * _tanh(uo[j] + bo[j])
            for j in range(length):
                h1[j] = o[j] * _tanh(c1[j])


@compiled(
    f"void(i8, i8, b1, i8, {_A[2]}, b1, {_A[3]}, i8, i8, b1[:, ::1], b1, "
    f"{_A[3]}, {_A[2]}, {_A[1]}, {_A[1]}, {_A[3]})"
)
def _steps_backward(
    first: int,
    last: int,
    reverse: bool,
    length: int,
    gy: Any,
    given: bool,
    U: Any,
    rows: int,
    vectors: int,
    mask: Any,
    masked: bool,
    v: Any,
    cs: Any,
    h_: Any,
    c_: Any,
    a_: Any,
) -> None:
    """All steps of a backward, the gates of some whole rows at a time, ``length`` numbers.

    Args:
        first, last: As in :func:`_steps`.
        gy: ȳ ``(T, N*H)``, or anything unless ``given``.
        U: Packed ``(panels, 4H, width)``.
        rows, vectors: The tiling of its product.
        mask: As in :func:`_steps`.
        v, cs: As in :func:`_steps`.
        h_, c_: Gradients of the last state ``(N*H,)``; overwritten by those of the first.
        a_: Written: ā ``(T, N, 4H)``, in PyTorch's order.
    """
    T, H = a_.shape[0], a_.shape[2] // 4
    count = length // H
    back = np.empty((last - first, U.shape[0] * U.shape[2]), np.float32)
    a, d = np.empty((4, length), np.float32), np.empty(length, np.float32)
    ai, af, ag, ao = a[0], a[1], a[2], a[3]
    for s in range(T):
        t = s if reverse else T - 1 - s
        before, after = (t + 1, t) if reverse else (t, t + 1)
        for n in range(first, last, count):
            low, high = n * H, (n + count) * H
            if masked and not mask[t, n]:
                a_[t, n] = 0
                continue
            o, i, f, g = v[t, 0, low:high], v[t, 1, low:high], v[t, 2, low:high], v[t, 3, low:high]
            c, c1, h, e = cs[before, low:high], cs[after, low:high], h_[low:high], c_[low:high]
            if given:
                y = gy[t, low:high]
                for j in range(length):
                    h[j] += y[j]
            for j in range(length):
                k = _tanh(c1[j])
                ao[j] = h[j] * k * o[j] * (ONE - o[j])
                d[j] = e[j] + h[j] * o[j] * (ONE - k * k)
            for j in range(length):
                ai[j] = d[j] * g[j] * i[j] * (ONE - i[j])
            for j in range(length):
                af[j] = d[j] * c[j] * f[j] * (ONE - f[j])
            for j in range(length):
                ag[j] = d[j] * i[j] * (ONE - g[j] * g[j])
            for j in range(length):
                e[j] = d[j] * f[j]
            for r in range(count):
                line = a_[t, n + r]
                for p in range(4):
                    for j in range(H):
                        line[p * H + j] = a[p, r * H + j]
        product(a_[t, first:last], U, back, rows, vectors, False)
        for n in range(first, last):
            if not masked or mask[t, n]:
                for j in range(H):
                    h_[n * H + j] = back[n - first, j]


def steps(
    x: Array,
    W: Array,
    U: Array,
    bias: Array | None,
    mask: Array | None,
    reverse: bool,
    hs: Array,
    cs: Array,
    v: Array,
) -> None:
    """As ``recurrence.lstm.lstm_steps``, in float32 and without projection."""
    N, H = v.shape[2:]
    mask, share = _needed(mask), _share(len(x), N, H)
    length = H
    # Each gate a product of its own, where that needs no padding: its sums come in one piece.
    if H % (2 * LANES) == 0 and min(TILES.values()) < share:
        rows, vectors = tiling(share, H)
        w, u = (np.stack([pack(block.T, vectors) for block in A]) for A in (W, U))
        length = _length(N, share, H, mask)
    else:
        rows, vectors = tiling(share, 4 * H)
        w, u = (pack(A.reshape(4 * H, -1).T, vectors)[None] for A in (W, U))
    b = np.zeros((4, length), F) if bias is None else np.tile(bias, (1, length // H))
    rest = (
        reverse, _plain(x), w, u, b, rows, vectors, *_masking(mask), hs, *map(_flat, (hs, cs, v))
    )  # fmt: skip
    threads.at_once(lambda first, last: _steps(first, last, *rest), N, share)


def steps_backward(gy: Array | None, saved: Saved, h_: Array, c_: Array, a_: Array) -> None:
    """As ``recurrence.lstm.lstm_steps_backward``, in float32 and without projection."""
    v, mask = saved.gates, _needed(saved.mask)
    N, H = v.shape[2:]
    share = _share(len(v), N, H)
    rows, vectors = tiling(share, H)
    y = np.empty((1, 1, 1), F) if gy is None else _plain(gy)
    rest = (
        saved.reverse, _length(N, share, H, mask), _flat(y), gy is not None,
        pack(saved.U, vectors), rows, vectors, *_masking(mask),
        *map(_flat, (v, saved.cs, h_, c_)), a_,
    )  # fmt: skip
    threads.at_once(lambda first, last: _steps_backward(first, last, *rest), N, share)


def _share(T: int, N: int, H: int) -> int:
    """How many sequences a thread takes: at least as much work as a third of a millisecond."""
    return threads.share(N, max(4, 3_000_000 // (T * H * H)))


def _length(N: int, share: int, H: int, mask: Array | None) -> int:
    """How many numbers the gates take at a time: rows that divide each share; one if masked."""
    count = 1
    while mask is None and N % share == share % (2 * count) == 0 and 2 * count * H <= TOGETHER:
        count *= 2
    return count * H


def _needed(mask: Array | None) -> Array | None:
    """The mask, or None if nothing is padding."""
    return None if mask is None or mask.all() else mask


def _masking(mask: Array | None) -> tuple[Array, bool]:
    """The mask as the compiled functions take it, and whether there is one."""
    return (np.empty((1, 1), bool), False) if mask is None else (_plain(mask), True)


def _plain(a: Array) -> Array:
    """The array, or a copy in the one form that is compiled for: C order, aligned, writeable."""
    return np.require(a, requirements=["C", "A", "W"])


def _flat(a: Array) -> Array:
    """States ``(..., N, H)`` as ``(..., N*H)``, a view."""
    return a.reshape(*a.shape[:-2], -1)
