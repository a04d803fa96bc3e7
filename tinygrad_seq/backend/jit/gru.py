"""The steps of the GRU as published, compiled as in :mod:`.lstm`; see ``recurrence/gru.py``."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import threads
from ..recurrence.common import Array, Saved, blocks_of
from .batch import flat, layout, masking, needed, plain, share_of, together, upstream
from .loops import A1, A2, A3, A4, HALF, MASK, ONE, compiled, tanh
from .packing import pack
from .thin import AHEAD, product, project, tiling


@compiled(f"void(i8, i8, b1, {A3}, {A4}, {A4}, {A4}, {A2}, i8, i8, {MASK}, {A3}, {A2}, {A3})")
def _steps(
    first: int,
    last: int,
    reverse: bool,
    x: Any,
    W: Any,
    U: Any,
    U_n: Any,
    bias: Any,
    rows: int,
    vectors: int,
    mask: Any,
    masked: bool,
    hs: Any,
    flat_hs: Any,
    v: Any,
) -> None:
    """All steps of a forward; arguments as in :mod:`.lstm`.

    Args:
        U, U_n: Packed, of r and z ``(2 or 1, ...)`` and of n ``(1, ...)``.
        bias: Of r, z, n ``(3, length)``.
    """
    T, N, H, keep = x.shape[0], last - first, hs.shape[2], v.shape[0] > 1
    parts, length = W.shape[0], bias.shape[1]
    ahead = max(1, min(T, AHEAD // N))
    room = np.empty((ahead, N, x.shape[2]), np.float32)
    wx = np.empty((parts, ahead * N, W.shape[1] * W.shape[3]), np.float32)
    uh = np.empty((U.shape[0], N, U.shape[1] * U.shape[3]), np.float32)
    q, uq = np.empty((N, H), np.float32), np.empty((N, U_n.shape[1] * U_n.shape[3]), np.float32)
    flat_wx, flat_uh = wx.reshape(-1), uh.reshape(-1)
    flat_q, flat_uq = q.reshape(-1), uq.reshape(-1)
    gate_x, gate_h = (ahead * N * H, N * H) if parts == 3 else (H, H)
    count = length // H
    row_x, row_h, row_q = count * wx.shape[2], count * uh.shape[2], count * uq.shape[1]
    br, bz, bn = bias[0], bias[1], bias[2]
    for s in range(T):
        t = T - 1 - s if reverse else s
        before, after = (t + 1, t) if reverse else (t, t + 1)
        at = t if keep else 0
        done = s % ahead * N
        if done == 0:
            project(x, t, reverse, first, last, W, room, wx, rows, vectors)
        ready = flat_wx[done * wx.shape[2] :]
        for part in range(U.shape[0]):
            product(hs[before, first:last], U[part], uh[part], rows, vectors, False)
        for k in range(N * H // length):
            low = first * H + k * length
            high = low + length
            h, r, z = flat_hs[before, low:high], v[at, 0, low:high], v[at, 1, low:high]
            qt = flat_q[k * length : (k + 1) * length]
            if masked and not mask[t, first + k]:
                v[at, :, low:high] = 0
                qt[:] = 0
                continue
            e, f = k * row_x, k * row_h
            xr, hr = ready[e : e + length], flat_uh[f : f + length]
            e, f = e + gate_x, f + gate_h
            xz, hz = ready[e : e + length], flat_uh[f : f + length]
            for j in range(length):
                r[j] = HALF + HALF * tanh(xr[j] + hr[j] + br[j])
            for j in range(length):
                z[j] = HALF + HALF * tanh(xz[j] + hz[j] + bz[j])
            for j in range(length):
                qt[j] = r[j] * h[j]
        product(q, U_n[0], uq, rows, vectors, False)
        for k in range(N * H // length):
            low = first * H + k * length
            high = low + length
            h, h1 = flat_hs[before, low:high], flat_hs[after, low:high]
            if masked and not mask[t, first + k]:
                for j in range(length):
                    h1[j] = h[j]
                continue
            z, n = v[at, 1, low:high], v[at, 2, low:high]
            e, f = k * row_x + 2 * gate_x, k * row_q
            xn, qn = ready[e : e + length], flat_uq[f : f + length]
            for j in range(length):
                n[j] = tanh(xn[j] + qn[j] + bn[j])
            for j in range(length):
                h1[j] = z[j] * (h[j] - n[j]) + n[j]


@compiled(f"void(i8, i8, b1, i8, {A2}, b1, {A3}, {A3}, i8, i8, {MASK}, {A3}, {A2}, {A1}, {A3})")
def _steps_backward(
    first: int,
    last: int,
    reverse: bool,
    length: int,
    gy: Any,
    given: bool,
    U: Any,
    U_n: Any,
    rows: int,
    vectors: int,
    mask: Any,
    masked: bool,
    v: Any,
    hs: Any,
    h_: Any,
    a_: Any,
) -> None:
    """All steps of a backward; arguments as in :mod:`.lstm`.

    Args:
        U, U_n: Packed, of r and z ``(panels, 2H, width)`` and of n ``(panels, H, width)``.
        v, hs: As in :func:`_steps`.
        a_: Written: ā ``(T, N, 3H)``.
    """
    T, N, H = a_.shape[0], last - first, a_.shape[2] // 3
    count = length // H
    back, a = np.empty((N, U.shape[0] * U.shape[2]), np.float32), np.empty((N, H), np.float32)
    flat_a, az = a.reshape(-1), np.empty(length, np.float32)
    for s in range(T):
        t = s if reverse else T - 1 - s
        before = t + 1 if reverse else t
        for k in range(0, N, count):
            low, high = (first + k) * H, (first + k + count) * H
            an = flat_a[k * H : (k + count) * H]
            if masked and not mask[t, first + k]:
                an[:] = 0
                continue
            z, n, h, d = v[t, 1, low:high], v[t, 2, low:high], hs[before, low:high], h_[low:high]
            if given:
                y = gy[t, low:high]
                for j in range(length):
                    d[j] += y[j]
            for j in range(length):
                an[j] = d[j] * (ONE - z[j]) * (ONE - n[j] * n[j])
            for j in range(length):
                az[j] = d[j] * (ONE - z[j]) * (h[j] - n[j]) * z[j]
            for j in range(length):
                d[j] *= z[j]
            for i in range(count):
                line = a_[t, first + k + i]
                for j in range(H):
                    line[H + j] = az[i * H + j]
                for j in range(H):
                    line[2 * H + j] = an[i * H + j]
        product(a, U_n, back, rows, vectors, False)
        for k in range(N):
            line = a_[t, first + k]
            if masked and not mask[t, first + k]:
                line[:] = 0
                continue
            low, high, q = (first + k) * H, (first + k + 1) * H, back[k]
            r, h, d = v[t, 0, low:high], hs[before, low:high], h_[low:high]
            for j in range(H):
                line[j] = q[j] * h[j] * r[j] * (ONE - r[j])
            for j in range(H):
                d[j] += q[j] * r[j]
        product(a_[t, first:last], U, back, rows, vectors, False)  # of ā_r, ā_z
        for k in range(N):
            if not masked or mask[t, first + k]:
                for j in range(H):
                    h_[(first + k) * H + j] += back[k, j]


def steps(
    x: Array,
    W: Array,
    U: Array,
    bias: Array | None,
    mask: Array | None,
    reverse: bool,
    hs: Array,
    v: Array,
) -> None:
    """As ``recurrence.gru.gru_steps``, in float32."""
    N, H = v.shape[2:]
    mask, share = needed(mask), share_of(len(x), N, U.size)
    form = layout(N, share, 3, H, mask)
    bias = np.zeros(3 * H, v.dtype) if bias is None else bias
    rest = (
        reverse, plain(x), form.pack(W, 3, halved=2), form.pack(U[: 2 * H], 2, halved=2),
        form.pack(U[2 * H :], 1), form.tile(*blocks_of(np, bias, 2, 3)),
        form.rows, form.vectors, *masking(mask), hs, *map(flat, (hs, v)),
    )  # fmt: skip
    threads.at_once(lambda first, last: _steps(first, last, *rest), N, share)


def steps_backward(gy: Array | None, saved: Saved, h_: Array, a_: Array) -> None:
    """As ``recurrence.gru.gru_steps_backward``, in float32."""
    v, U, mask = saved.gates, plain(saved.U), needed(saved.mask)
    N, H = v.shape[2:]
    share = share_of(len(v), N, U.size)
    rows, vectors = tiling(share, H)
    u, u_n = (pack(part, vectors) for part in (U[: 2 * H], U[2 * H :]))
    rest = (
        saved.reverse, together(N, share, H, mask), *upstream(gy),
        u, u_n, rows, vectors,
        *masking(mask), *map(flat, (v, saved.hs, h_)), a_,
    )  # fmt: skip
    threads.at_once(lambda first, last: _steps_backward(first, last, *rest), N, share)
