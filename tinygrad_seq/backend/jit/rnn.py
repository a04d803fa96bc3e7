"""The steps of the simple RNN, compiled as in :mod:`.lstm`; equations in ``recurrence/rnn.py``."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import threads
from ..recurrence.common import Array, Saved
from .batch import flat, layout, masking, needed, plain, share_of, together, upstream
from .loops import A1, A2, A3, A4, MASK, ONE, ZERO, compiled, tanh
from .packing import pack
from .thin import AHEAD, product, project, tiling


@compiled(f"void(i8, i8, b1, b1, {A3}, {A4}, {A3}, {A1}, i8, i8, {MASK}, {A3}, {A2})")
def _steps(
    first: int,
    last: int,
    reverse: bool,
    relu: bool,
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
) -> None:
    """All steps of a forward; arguments as in :mod:`.lstm`.

    Args:
        relu: Instead of tanh.
        W, U: Packed ``(1, panels, D, width)`` and ``(panels, H, width)``.
    """
    T, N, H, length = x.shape[0], last - first, hs.shape[2], bias.shape[0]
    ahead, width = max(1, min(T, AHEAD // N)), U.shape[0] * U.shape[2]
    room = np.empty((ahead, N, x.shape[2]), np.float32)
    sums = np.empty((1, ahead * N, width), np.float32)
    u, row = sums.reshape(-1), length // H * width
    for s in range(T):
        t = T - 1 - s if reverse else s
        before, after = (t + 1, t) if reverse else (t, t + 1)
        done = s % ahead * N
        if done == 0:
            project(x, t, reverse, first, last, W, room, sums, rows, vectors)
        product(hs[before, first:last], U, sums[0, done : done + N], rows, vectors, True)
        for k in range(N * H // length):
            low = first * H + k * length
            h, h1 = flat_hs[before, low : low + length], flat_hs[after, low : low + length]
            e = done * width + k * row
            a = u[e : e + length]
            if masked and not mask[t, first + k]:
                for j in range(length):
                    h1[j] = h[j]
            elif relu:
                for j in range(length):
                    v = a[j] + bias[j]
                    h1[j] = ZERO if v < ZERO else v
            else:
                for j in range(length):
                    h1[j] = tanh(a[j] + bias[j])


@compiled(f"void(i8, i8, b1, b1, i8, {A2}, b1, {A3}, i8, i8, {MASK}, {A2}, {A1}, {A3}, {A2})")
def _steps_backward(
    first: int,
    last: int,
    reverse: bool,
    relu: bool,
    length: int,
    gy: Any,
    given: bool,
    U: Any,
    rows: int,
    vectors: int,
    mask: Any,
    masked: bool,
    hs: Any,
    h_: Any,
    a_: Any,
    flat_a_: Any,
) -> None:
    """All steps of a backward; arguments as in :mod:`.lstm`.

    Args:
        relu: Instead of tanh.
        a_, flat_a_: Written: ā ``(T, N, H)``, and once more as ``(T, N*H)``.
    """
    T, H = a_.shape[0], a_.shape[2]
    count = length // H
    back = np.empty((last - first, U.shape[0] * U.shape[2]), np.float32)
    for s in range(T):
        t = s if reverse else T - 1 - s
        after = t if reverse else t + 1
        for k in range(first, last, count):
            low, high = k * H, (k + count) * H
            h1, d, a = hs[after, low:high], h_[low:high], flat_a_[t, low:high]
            if masked and not mask[t, k]:
                a[:] = 0
                continue
            if given:
                y = gy[t, low:high]
                for j in range(length):
                    d[j] += y[j]
            if relu:
                for j in range(length):
                    a[j] = d[j] * (ONE if h1[j] > ZERO else ZERO)
            else:
                for j in range(length):
                    a[j] = d[j] * (ONE - h1[j] * h1[j])
        product(a_[t, first:last], U, back, rows, vectors, False)
        for k in range(first, last):
            if not masked or mask[t, k]:
                for j in range(H):
                    h_[k * H + j] = back[k - first, j]


def steps(
    x: Array,
    W: Array,
    U: Array,
    bias: Array | None,
    mask: Array | None,
    reverse: bool,
    hs: Array,
    relu: bool,
) -> None:
    """As ``recurrence.rnn.rnn_steps``, in float32."""
    N, H = hs.shape[1:]
    mask, share = needed(mask), share_of(len(x), N, U.size)
    form = layout(N, share, 1, H, mask)
    (b,) = form.tile(np.zeros(H, hs.dtype) if bias is None else bias)
    w, (u,) = (form.pack(A, 1) for A in (W, U))
    rest = (
        reverse, relu, plain(x), w, u, b, form.rows, form.vectors, *masking(mask), hs, flat(hs)
    )  # fmt: skip
    threads.at_once(lambda first, last: _steps(first, last, *rest), N, share)


def steps_backward(gy: Array | None, saved: Saved, h_: Array, a_: Array, relu: bool) -> None:
    """As ``recurrence.rnn.rnn_steps_backward``, in float32."""
    U, mask = plain(saved.U), needed(saved.mask)
    T, N, H = a_.shape
    share = share_of(T, N, U.size)
    rows, vectors = tiling(share, H)
    rest = (
        saved.reverse, relu, together(N, share, H, mask), *upstream(gy), pack(U, vectors),
        rows, vectors, *masking(mask), *map(flat, (saved.hs, h_)), a_, flat(a_),
    )  # fmt: skip
    threads.at_once(lambda first, last: _steps_backward(first, last, *rest), N, share)
