"""The GRU of PyTorch and cuDNN, whose reset gate acts after the product; see :mod:`.common`."""

from __future__ import annotations

from typing import Any

from .common import (
    Array,
    Saved,
    before_each,
    hold_at,
    outputs,
    parameters,
    projected,
    reading_order,
    receive,
    room_for,
    slopes,
    start,
)
from .gru import GRU_SLOPES


def gru_after_gates(np: Any, wx: Array, uh: Array, h: Array, v: Array, m: Array, h1: Array) -> None:
    """The elementwise part of a step.

        r, z = σ(W x + b + U h + c)
        m = U_n h + c_n
        n = tanh(W_n x + b_n + r ⊙ m)
        h' = z ⊙ h + (1 - z) ⊙ n

    Args:
        wx, uh: s ⊙ (W x + b) and s ⊙ (U h + c) ``(N, 3H)``; c_r and c_z may be in either.
        h: State before ``(N, H)``.
        v: Written: r, z, n ``(3, N, H)``.
        m, h1: Written: m and h'.
    """
    _, N, H = v.shape
    w, u = wx.reshape(N, 3, H).swapaxes(0, 1), uh.reshape(N, 3, H).swapaxes(0, 1)
    rz = v[:2]
    np.add(w[:2], u[:2], rz)
    np.tanh(rz, rz)
    rz *= 0.5
    rz += 0.5
    r, z, n = v
    np.copyto(m, u[2])
    np.multiply(r, m, n)
    n += w[2]
    np.tanh(n, n)
    np.subtract(h, n, h1)
    h1 *= z
    h1 += n


def gru_after_gates_backward(
    np: Any, v: Array, h: Array, m: Array, h_: Array, a_: Array, room: Array
) -> None:
    """From h̄' to ā, m̄, and what h̄ gets beside the product.

        n̄ = h̄' ⊙ (1 - z),    z̄ = h̄' ⊙ (h - n),    h̄ = h̄' ⊙ z
        ā_n = n̄ ⊙ (1 - n²),   m̄ = ā_n ⊙ r,          r̄ = ā_n ⊙ m
        ā_r = r̄ ⊙ r ⊙ (1 - r),   ā_z = z̄ ⊙ z ⊙ (1 - z)

    Args:
        h_: h̄', overwritten by h̄' ⊙ z.
        a_: Written: m̄, ā_r, ā_z, ā_n ``(N, 4H)``.
        room: Room ``(2, N, H)``.
    """
    H = h.shape[1]
    r, z, n = v
    n_, slope = room
    np.multiply(n, n, slope)
    np.subtract(1, slope, slope)
    np.subtract(1, z, n_)
    n_ *= h_
    slope *= n_  # ā_n
    a_[:, 3 * H :] = slope
    h1_z = a_[:, 2 * H : 3 * H]
    np.subtract(h, n, h1_z)
    h1_z *= z
    h1_z *= n_  # (1 - z) ⊙ h̄' is there already
    slope *= r
    a_[:, :H] = slope
    slope *= m
    np.subtract(1, r, n_)
    np.multiply(slope, n_, a_[:, H : 2 * H])
    h_ *= z


def gru_after_forward(
    np: Any,
    x: Array,
    h0: Array | None,
    W: Array,
    U: Array,
    b: Array | None,
    c: Array | None,
    mask: Array | None,
    reverse: bool,
    keep: bool,
    gates: Any = gru_after_gates,
) -> tuple[tuple[Array, Array], Saved | None]:
    """The GRU of PyTorch and cuDNN, whose reset gate acts after the product: (y, h_n), saved."""
    T, N, _ = x.shape
    H, dtype = U.shape[1], x.dtype
    _, row = slopes(np, GRU_SLOPES, H, dtype)
    Ut = np.ascontiguousarray(U.T) * row
    late = None if c is None else c * row
    hs = room_for(np, x, h0, H, reverse)
    v, m = np.empty((T if keep else 1, 3, N, H), dtype), np.empty((T if keep else 1, N, H), dtype)
    uh = np.empty((N, 3 * H), dtype)
    scaled = None if b is None else b * row
    for order, block in projected(np, x, W * row[:, None], scaled, reverse):
        low = min(order)[0]
        for t, before, after in order:
            wx = block[t - low]
            at = t if keep else 0
            h = hs[before]
            np.matmul(h, Ut, uh)
            if late is not None:
                uh += late
            gates(np, wx, uh, h, v[at], m[at], hs[after])
            hold = hold_at(np, mask, t)
            if hold is not None:
                np.copyto(hs[after], h, where=hold)
    saved = Saved(x, W, U, mask, reverse, hs, v, hidden=m) if keep else None
    return outputs(np, hs, mask, reverse), saved


def gru_after_backward(
    np: Any,
    gy: Array | None,
    gh_n: Array | None,
    saved: Saved,
    wanted: Any,
    gates: Any = gru_after_gates_backward,
) -> dict[str, Array]:
    """Gradients of the reset-after GRU among x, h0, W, U, b, c.

        h̄ = h̄' ⊙ z + [ā_r, ā_z, m̄] U,    Ū = Σ [ā_r, ā_z, m̄]ᵀ h,    W̄ = Σ [ā_r, ā_z, ā_n]ᵀ x

    The four gradients are kept as m̄, ā_r, ā_z, ā_n: the first three lie together, and the last
    three, so that each is one product; for the first, U turns to n, r, z, and Ū back.
    """
    _, _, U, mask, reverse, hs, v, _, m, _ = saved
    T, _, N, H = v.shape
    a_, room = np.empty((T, N, 4 * H), v.dtype), np.empty((2, N, H), v.dtype)
    h_, more = start(np, gh_n, hs[0]), np.empty((N, H), v.dtype)
    turned = np.roll(U, H, axis=0)
    for t, before, _ in reversed(reading_order(T, reverse)):
        hold = hold_at(np, mask, t)
        receive(np, h_, gy, t, hold)
        held = None if hold is None else h_.copy()
        gates(np, v[t], hs[before], m[t], h_, a_[t], room)
        np.matmul(a_[t][:, : 3 * H], turned, more)
        h_ += more
        if held is not None:
            np.copyto(a_[t], 0, where=hold)
            np.copyto(h_, held, where=hold)
    flat, prior = a_.reshape(T * N, 4 * H), before_each(hs, reverse).reshape(T * N, H)
    gradients = parameters(np, wanted, saved, flat[:, H:], flat[:, : 3 * H], prior)
    for name in {"U", "c"} & gradients.keys():
        gradients[name] = np.roll(gradients[name], -H, axis=0)
    return gradients | {"h0": h_}
