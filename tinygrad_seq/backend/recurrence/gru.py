"""The GRU as published, whose reset gate acts before the product; notation in :mod:`.common`."""

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

GRU_SLOPES = 0.5, 0.5, 1.0


def gru_reset(np: Any, wx: Array, uh: Array, h: Array, v: Array, q: Array) -> None:
    """The first half of a step of the published GRU.  r, z = σ(W x + b + U h),  q = r ⊙ h

    Args:
        wx: s ⊙ (W x + b) ``(N, 3H)``.
        uh: ½ U_rz h ``(N, 2H)``.
        h: State before ``(N, H)``.
        v: Written: r, z in the first two of ``(3, N, H)``.
        q: Written ``(N, H)``.
    """
    _, N, H = v.shape
    rz = v[:2]
    np.add(wx.reshape(N, 3, H)[:, :2].swapaxes(0, 1), uh.reshape(N, 2, H).swapaxes(0, 1), rz)
    np.tanh(rz, rz)
    rz *= 0.5
    rz += 0.5
    np.multiply(v[0], h, q)


def gru_output(np: Any, wx: Array, uq: Array, h: Array, v: Array, h1: Array) -> None:
    """The second half.  n = tanh(W x + b + U_n q),  h' = z ⊙ h + (1 - z) ⊙ n

    Args:
        uq: U_n q ``(N, H)``.
        v: r, z on entry; n is written to the last of ``(3, N, H)``.
        h1: Written: h'.
    """
    H = h.shape[1]
    _, z, n = v
    np.add(wx[:, 2 * H :], uq, n)
    np.tanh(n, n)
    np.subtract(h, n, h1)
    h1 *= z
    h1 += n


def gru_output_backward(np: Any, v: Array, h: Array, h_: Array, a_: Array, room: Array) -> None:
    """From h̄' to ā_n, ā_z, and what h̄ gets beside the products.

        n̄ = h̄' ⊙ (1 - z),    z̄ = h̄' ⊙ (h - n),    h̄ = h̄' ⊙ z
        ā_n = n̄ ⊙ (1 - n²),   ā_z = z̄ ⊙ z ⊙ (1 - z)

    Args:
        v, h: As in the forward.
        h_: h̄', overwritten by h̄' ⊙ z.
        a_: Written: ā_z and ā_n in ``(N, 3H)``.
        room: Room ``(2, N, H)``.
    """
    H = h.shape[1]
    _, z, n = v
    n_, slope = room
    np.multiply(n, n, slope)
    np.subtract(1, slope, slope)
    np.subtract(1, z, n_)
    n_ *= h_
    np.multiply(n_, slope, a_[:, 2 * H :])
    np.subtract(h, n, slope)
    slope *= n_  # z̄ ⊙ (1 - z)
    np.multiply(slope, z, a_[:, H : 2 * H])
    h_ *= z


def gru_reset_backward(
    np: Any, v: Array, h: Array, q_: Array, h_: Array, a_: Array, room: Array
) -> None:
    """From q̄ to ā_r and h̄.  r̄ = q̄ ⊙ h,  ā_r = r̄ ⊙ r ⊙ (1 - r),  h̄ += q̄ ⊙ r

    Args:
        q_: ā_n U_n ``(N, H)``, overwritten.
        h_: Added to.
        a_: Written: ā_r in ``(N, 3H)``.
        room: Room ``(2, N, H)``.
    """
    r, slope = v[0], room[0]
    q_ *= r
    h_ += q_
    np.subtract(1, r, slope)
    slope *= h
    np.multiply(slope, q_, a_[:, : h.shape[1]])


def gru_forward(
    np: Any,
    x: Array,
    h0: Array | None,
    W: Array,
    U: Array,
    b: Array | None,
    mask: Array | None,
    reverse: bool,
    keep: bool,
    reset: Any = gru_reset,
    output: Any = gru_output,
) -> tuple[tuple[Array, Array], Saved | None]:
    """The GRU as published, whose reset gate acts before the product: (y, h_n), saved."""
    T, N, _ = x.shape
    H, dtype = U.shape[1], x.dtype
    _, row = slopes(np, GRU_SLOPES, H, dtype)
    Urz = np.ascontiguousarray(U[: 2 * H].T) * dtype.type(0.5)
    Un = np.ascontiguousarray(U[2 * H :].T)
    hs = room_for(np, x, h0, H, reverse)
    v = np.empty((T if keep else 1, 3, N, H), dtype)
    uh, q, uq = np.empty((N, 2 * H), dtype), np.empty((N, H), dtype), np.empty((N, H), dtype)
    scaled = None if b is None else b * row
    for order, block in projected(np, x, W * row[:, None], scaled, reverse):
        low = min(order)[0]
        for t, before, after in order:
            wx = block[t - low]
            at = t if keep else 0
            h = hs[before]
            np.matmul(h, Urz, uh)
            reset(np, wx, uh, h, v[at], q)
            np.matmul(q, Un, uq)
            output(np, wx, uq, h, v[at], hs[after])
            hold = hold_at(np, mask, t)
            if hold is not None:
                np.copyto(hs[after], h, where=hold)
    saved = Saved(x, W, U, mask, reverse, hs, v) if keep else None
    return outputs(np, hs, mask, reverse), saved


def gru_backward(
    np: Any,
    gy: Array | None,
    gh_n: Array | None,
    saved: Saved,
    wanted: Any,
    output: Any = gru_output_backward,
    reset: Any = gru_reset_backward,
) -> dict[str, Array]:
    """Gradients of the published GRU among x, h0, W, U, b.

    q̄ = ā_n U_n,    h̄ = h̄' ⊙ z + q̄ ⊙ r + ā_rz U_rz,    Ū_n = Σ ā_nᵀ q
    """
    _, _, U, mask, reverse, hs, v, *_ = saved
    T, _, N, H = v.shape
    a_, room = np.empty((T, N, 3 * H), v.dtype), np.empty((2, N, H), v.dtype)
    h_, more = start(np, gh_n, hs[0]), np.empty((N, H), v.dtype)
    Urz, Un = U[: 2 * H], U[2 * H :]
    for t, before, _ in reversed(reading_order(T, reverse)):
        hold = hold_at(np, mask, t)
        receive(np, h_, gy, t, hold)
        held = None if hold is None else h_.copy()
        h, a = hs[before], a_[t]
        output(np, v[t], h, h_, a, room)
        np.matmul(a[:, 2 * H :], Un, more)
        reset(np, v[t], h, more, h_, a, room)
        np.matmul(a[:, : 2 * H], Urz, more)
        h_ += more
        if held is not None:
            np.copyto(a, 0, where=hold)
            np.copyto(h_, held, where=hold)
    flat, prior = a_.reshape(T * N, 3 * H), before_each(hs, reverse)
    gradients = parameters(np, {*wanted} - {"U"}, saved, flat, flat, prior)
    if "U" in wanted:
        q = v[:, 0] * prior
        gradients["U"] = np.empty_like(U)
        np.matmul(flat[:, : 2 * H].T, prior.reshape(T * N, H), gradients["U"][: 2 * H])
        np.matmul(flat[:, 2 * H :].T, q.reshape(T * N, H), gradients["U"][2 * H :])
    return gradients | {"h0": h_}
