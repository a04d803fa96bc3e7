"""The steps of PyTorch's GRU, compiled as in :mod:`.lstm`; see ``recurrence/gru_after.py``."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import threads
from ..recurrence.common import Array, Saved, blocks_of
from .batch import flat, layout, masking, needed, plain, share_of, together, upstream
from .loops import A1, A2, A3, A4, HALF, MASK, ONE, compiled, tanh
from .packing import pack
from .thin import AHEAD, product, project, tiling


@compiled(f"void(i8, i8, b1, {A3}, {A4}, {A4}, {A2}, i8, i8, {MASK}, {A3}, {A2}, {A3}, {A2})")
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
    v: Any,
    m: Any,
) -> None:
    """All steps of a forward; arguments as in :mod:`.lstm`.

    Args:
        bias: Of r, z, n, and that of n inside the reset ``(4, length)``.
        m: Written: U_n h + c_n ``(T or 1, N*H)``.
    """
    T, N, H, keep = x.shape[0], last - first, hs.shape[2], v.shape[0] > 1
    parts, length = U.shape[0], bias.shape[1]
    ahead, width = max(1, min(T, AHEAD // N)), U.shape[1] * U.shape[3]
    room = np.empty((ahead, N, x.shape[2]), np.float32)
    wx = np.empty((parts, ahead * N, width), np.float32)
    uh = np.empty((parts, N, width), np.float32)
    flat_wx, flat_uh = wx.reshape(-1), uh.reshape(-1)
    gate_x, gate_h = (ahead * N * H, N * H) if parts == 3 else (H, H)
    row = length // H * width
    br, bz, bn, bm = bias[0], bias[1], bias[2], bias[3]
    for s in range(T):
        t = T - 1 - s if reverse else s
        before, after = (t + 1, t) if reverse else (t, t + 1)
        at = t if keep else 0
        done = s % ahead * N
        if done == 0:
            project(x, t, reverse, first, last, W, room, wx, rows, vectors)
        for part in range(parts):
            product(hs[before, first:last], U[part], uh[part], rows, vectors, False)
        for k in range(N * H // length):
            low = first * H + k * length
            high = low + length
            h, h1, mt = flat_hs[before, low:high], flat_hs[after, low:high], m[at, low:high]
            if masked and not mask[t, first + k]:
                for j in range(length):
                    h1[j] = h[j]
                v[at, :, low:high] = 0
                mt[:] = 0
                continue
            r, z, n = v[at, 0, low:high], v[at, 1, low:high], v[at, 2, low:high]
            e, f = done * width + k * row, k * row
            xr, hr = flat_wx[e : e + length], flat_uh[f : f + length]
            e, f = e + gate_x, f + gate_h
            xz, hz = flat_wx[e : e + length], flat_uh[f : f + length]
            e, f = e + gate_x, f + gate_h
            xn, hn = flat_wx[e : e + length], flat_uh[f : f + length]
            for j in range(length):
                r[j] = HALF + HALF * tanh(xr[j] + hr[j] + br[j])
            for j in range(length):
                z[j] = HALF + HALF * tanh(xz[j] + hz[j] + bz[j])
            for j in range(length):
                mt[j] = hn[j] + bm[j]
            for j in range(length):
                n[j] = tanh(xn[j] + bn[j] + r[j] * mt[j])
            for j in range(length):
                h1[j] = z[j] * (h[j] - n[j]) + n[j]


@compiled(f"void(i8, i8, b1, i8, {A2}, b1, {A3}, i8, i8, {MASK}, {A3}, {A2}, {A2}, {A1}, {A3})")
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
    hs: Any,
    m: Any,
    h_: Any,
    a_: Any,
) -> None:
    """All steps of a backward; arguments as in :mod:`.lstm`.

    Args:
        U: Of n, r, z, packed ``(panels, 3H, width)``.
        v, hs, m: As in :func:`_steps`.
        a_: Written: m̄, ā_r, ā_z, ā_n ``(T, N, 4H)``.
    """
    T, H = a_.shape[0], a_.shape[2] // 4
    count = length // H
    back = np.empty((last - first, U.shape[0] * U.shape[2]), np.float32)
    a = np.empty((4, length), np.float32)
    am, ar, az, an = a[0], a[1], a[2], a[3]
    for s in range(T):
        t = s if reverse else T - 1 - s
        before = t + 1 if reverse else t
        for k in range(first, last, count):
            low, high = k * H, (k + count) * H
            if masked and not mask[t, k]:
                a_[t, k] = 0
                continue
            r, z, n = v[t, 0, low:high], v[t, 1, low:high], v[t, 2, low:high]
            h, mt, d = hs[before, low:high], m[t, low:high], h_[low:high]
            if given:
                y = gy[t, low:high]
                for j in range(length):
                    d[j] += y[j]
            for j in range(length):
                an[j] = d[j] * (ONE - z[j]) * (ONE - n[j] * n[j])
            for j in range(length):
                am[j] = an[j] * r[j]
            for j in range(length):
                ar[j] = am[j] * mt[j] * (ONE - r[j])
            for j in range(length):
                az[j] = d[j] * (ONE - z[j]) * (h[j] - n[j]) * z[j]
            for j in range(length):
                d[j] *= z[j]
            for i in range(count):
                line = a_[t, k + i]
                for p in range(4):
                    for j in range(H):
                        line[p * H + j] = a[p, i * H + j]
        product(a_[t, first:last], U, back, rows, vectors, False)  # of m̄, ā_r, ā_z
        for k in range(first, last):
            if not masked or mask[t, k]:
                for j in range(H):
                    h_[k * H + j] += back[k - first, j]


def steps(
    x: Array,
    W: Array,
    U: Array,
    b: Array | None,
    c: Array | None,
    mask: Array | None,
    reverse: bool,
    hs: Array,
    v: Array,
    m: Array,
) -> None:
    """As ``recurrence.gru_after.gru_after_steps``, in float32."""
    N, H = v.shape[2:]
    mask, share = needed(mask), share_of(len(x), N, U.size)
    form = layout(N, share, 3, H, mask)
    b, c = (np.zeros(3 * H, v.dtype) if one is None else one for one in (b, c))
    (br, bz, bn), (cr, cz, cn) = (blocks_of(np, one, 2, 3) for one in (b, c))
    w, u = (form.pack(A, 3, halved=2) for A in (W, U))
    rest = (
        reverse, plain(x), w, u, form.tile(br + cr, bz + cz, bn, cn),
        form.rows, form.vectors, *masking(mask), hs, *map(flat, (hs, v, m)),
    )  # fmt: skip
    threads.at_once(lambda first, last: _steps(first, last, *rest), N, share)


def steps_backward(gy: Array | None, saved: Saved, h_: Array, a_: Array) -> None:
    """As ``recurrence.gru_after.gru_after_steps_backward``, in float32."""
    v, mask = saved.gates, needed(saved.mask)
    N, H = v.shape[2:]
    share = share_of(len(v), N, saved.U.size)
    rows, vectors = tiling(share, H)
    rest = (
        saved.reverse, together(N, share, H, mask), *upstream(gy),
        pack(np.roll(saved.U, H, axis=0), vectors), rows, vectors, *masking(mask),
        *map(flat, (v, saved.hs, saved.hidden, h_)), a_,
    )  # fmt: skip
    threads.at_once(lambda first, last: _steps_backward(first, last, *rest), N, share)
