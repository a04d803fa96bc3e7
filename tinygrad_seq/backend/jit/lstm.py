"""The steps of the LSTM, compiled; equations and notation in ``recurrence/lstm.py``.

One compiled function runs all steps: thin products by :mod:`.thin`, then the gates, each a loop
over consecutive numbers. Threads share the sequences of a batch, and what they compute does not
depend on how many there are.

numba knows cached machine code by the date of *this* file: touch it, and its like, after an edit of
``thin.py`` or ``loops.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import threads
from ..recurrence.common import Array, Saved, blocks_of
from .batch import flat, layout, masking, needed, plain, share_of, together, upstream
from .loops import A1, A2, A3, A4, HALF, MASK, ONE, compiled, tanh
from .packing import pack
from .thin import AHEAD, product, project, tiling


@compiled(f"void(i8, i8, b1, {A3}, {A4}, {A4}, {A2}, i8, i8, {MASK}, {A3}, {A2}, {A2}, {A3})")
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
    ahead, width = max(1, min(T, AHEAD // N)), U.shape[1] * U.shape[3]
    room = np.empty((ahead, N, x.shape[2]), np.float32)
    sums = np.empty((parts, ahead * N, width), np.float32)
    u = sums.reshape(-1)
    gate, row = ahead * N * H if parts == 4 else H, length // H * width  # to the next, in u
    bo, bi, bf, bg = bias[0], bias[1], bias[2], bias[3]
    for s in range(T):
        t = T - 1 - s if reverse else s
        before, after = (t + 1, t) if reverse else (t, t + 1)
        at = t if keep else 0
        done = s % ahead * N
        if done == 0:
            project(x, t, reverse, first, last, W, room, sums, rows, vectors)
        for part in range(parts):
            here = sums[part, done : done + N]
            product(hs[before, first:last], U[part], here, rows, vectors, True)
        for n in range(N * H // length):
            low = first * H + n * length
            high = low + length
            h, h1 = flat_hs[before, low:high], flat_hs[after, low:high]
            c, c1 = cs[before, low:high], cs[after, low:high]
            if masked and not mask[t, first + n]:
                for j in range(length):
                    h1[j], c1[j] = h[j], c[j]
                v[at, :, low:high] = 0
                continue
            o, i, f, g = (
                v[at, 0, low:high],
                v[at, 1, low:high],
                v[at, 2, low:high],
                v[at, 3, low:high],
            )
            e = done * width + n * row
            uo, ui = u[e : e + length], u[e + gate : e + gate + length]
            uf, ug = (
                u[e + 2 * gate : e + 2 * gate + length],
                u[e + 3 * gate : e + 3 * gate + length],
            )
            for j in range(length):
                i[j] = HALF + HALF * tanh(ui[j] + bi[j])
            for j in range(length):
                f[j] = HALF + HALF * tanh(uf[j] + bf[j])
            for j in range(length):
                g[j] = tanh(ug[j] + bg[j])
            for j in range(length):
                c1[j] = f[j] * c[j] + i[j] * g[j]
            for j in range(length):
                o[j] = HALF + HALF * tanh(uo[j] + bo[j])
            for j in range(length):
                h1[j] = o[j] * tanh(c1[j])


@compiled(f"void(i8, i8, b1, i8, {A2}, b1, {A3}, i8, i8, {MASK}, {A3}, {A2}, {A1}, {A1}, {A3})")
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
                k = tanh(c1[j])
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
    R: None,
    mask: Array | None,
    reverse: bool,
    hs: Array,
    cs: Array,
    v: Array,
    hidden: None,
) -> None:
    """As ``recurrence.lstm.lstm_steps``, in float32 and without projection."""
    N, H = v.shape[2:]
    mask, share = needed(mask), share_of(len(x), N, U.size)
    form = layout(N, share, 4, H, mask)
    bias = np.zeros(4 * H, v.dtype) if bias is None else bias
    w, u = (form.pack(A, 4, halved=3, turn=1) for A in (W, U))
    rest = (
        reverse, plain(x), w, u, form.tile(*blocks_of(np, bias, 3, 4, turn=1)),
        form.rows, form.vectors, *masking(mask), hs, *map(flat, (hs, cs, v)),
    )  # fmt: skip
    threads.at_once(lambda first, last: _steps(first, last, *rest), N, share)


def steps_backward(
    gy: Array | None, saved: Saved, h_: Array, c_: Array, a_: Array, outer: None
) -> None:
    """As ``recurrence.lstm.lstm_steps_backward``, in float32 and without projection."""
    v, U, mask = saved.gates, plain(saved.U), needed(saved.mask)
    N, H = v.shape[2:]
    share = share_of(len(v), N, U.size)
    rows, vectors = tiling(share, H)
    rest = (
        saved.reverse, together(N, share, H, mask), *upstream(gy), pack(U, vectors), rows, vectors,
        *masking(mask), *map(flat, (v, saved.cs, h_, c_)), a_,
    )  # fmt: skip
    threads.at_once(lambda first, last: _steps_backward(first, last, *rest), N, share)
