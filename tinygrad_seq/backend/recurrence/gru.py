"""The GRU as published, whose reset gate acts before the product; notation in :mod:`.common`."""

from __future__ import annotations

from typing import Any

from .common import (
    Array,
    Saved,
    as_columns,
    before_each,
    blocks_of,
    hold_at,
    outputs,
    parameters,
    projected,
    pull_back,
    reading_order,
    receive,
    room_for,
    squash,
    start,
)


def gru_reset(np: Any, wx: Array, uh: Array, h: Array, rz: Array, q: Array) -> None:
    """The first half of a step.  r, z = σ(W x + b + U h),  q = r ⊙ h

    Args:
        wx, uh: Sums of r and z, halved ``(2, N, H)``.
        h: State before ``(N, H)``.
        rz, q: Written.
    """
    np.add(wx, uh, rz)
    squash(np, rz, 2)
    np.multiply(rz[0], h, q)


def gru_output(np: Any, wx: Array, uq: Array, h: Array, v: Array, h1: Array) -> None:
    """The second half.  n = tanh(W x + b + U_n q),  h' = z ⊙ h + (1 - z) ⊙ n

    Args:
        wx, uq: The sums of n ``(N, H)``.
        v: r, z, and room for n, which is written ``(3, N, H)``.
        h1: Written: h'.
    """
    _, z, n = v
    np.add(wx, uq, n)
    np.tanh(n, n)
    np.subtract(h, n, h1)
    h1 *= z
    h1 += n


def gru_output_backward(np: Any, v: Array, h: Array, h_: Array, a: Array, room: Array) -> None:
    """From h̄' to ā_n, ā_z, and what h̄ gets beside the products.

        n̄ = h̄' ⊙ (1 - z),    z̄ = h̄' ⊙ (h - n),    h̄ = h̄' ⊙ z
        ā_n = n̄ ⊙ (1 - n²),   ā_z = z̄ ⊙ z ⊙ (1 - z)

    Args:
        v, h: As in the forward.
        h_: h̄', overwritten by h̄' ⊙ z.
        a: Written: the last two of ā ``(3, N, H)``.
        room: Room ``(N, H)``.
    """
    _, z, n = v
    _, az, an = a
    np.subtract(1, z, room)
    room *= h_  # n̄
    np.multiply(n, n, an)
    np.subtract(1, an, an)
    an *= room
    np.subtract(h, n, az)
    az *= room
    az *= z
    h_ *= z


def gru_reset_backward(
    np: Any, r: Array, h: Array, q_: Array, h_: Array, ar: Array, room: Array
) -> None:
    """From q̄ to ā_r and h̄.  r̄ = q̄ ⊙ h,  ā_r = r̄ ⊙ r ⊙ (1 - r),  h̄ += q̄ ⊙ r

    Args:
        q_: q̄ ``(N, H)``, overwritten.
        h_: Added to.
        ar: Written.
        room: Room ``(N, H)``.
    """
    q_ *= r
    h_ += q_
    np.subtract(1, r, room)
    room *= h
    np.multiply(room, q_, ar)


def gru_steps(
    np: Any,
    x: Array,
    W: Array,
    U: Array,
    bias: Array | None,
    mask: Array | None,
    reverse: bool,
    hs: Array,
    v: Array,
) -> None:
    """All steps of a forward.

    Args:
        W, U, bias: As the layer has them.
        hs, v: Written, see :class:`Saved`; v may have room for one step.
    """
    W, bias = blocks_of(np, W, 2, 3), None if bias is None else blocks_of(np, bias, 2, 3)
    columns, keep = as_columns(np, blocks_of(np, U, 2, 3)), len(v) > 1
    uh, q = np.empty_like(v[0]), np.empty_like(hs[0])
    for order, block in projected(np, x, W, bias, reverse):
        low = min(order)[0]
        for t, before, after in order:
            vt, wx, h = v[t if keep else 0], block[:, t - low], hs[before]
            np.matmul(h, columns[:2], uh[:2])
            gru_reset(np, wx[:2], uh[:2], h, vt[:2], q)
            np.matmul(q, columns[2], uh[2])
            gru_output(np, wx[2], uh[2], h, vt, hs[after])
            hold = hold_at(np, mask, t)
            if hold is not None:
                np.copyto(hs[after], h, where=hold)


def gru_steps_backward(np: Any, gy: Array | None, saved: Saved, h_: Array, a_: Array) -> None:
    """All steps of a backward.  q̄ = ā_n U_n,    h̄ = h̄' ⊙ z + q̄ ⊙ r + ā_r U_r + ā_z U_z

    Args:
        h_: Gradient of the last state; overwritten by that of the first.
        a_: Written: ā ``(T, N, 3H)``.
    """
    hs, v, mask = saved.hs, saved.gates, saved.mask
    T, _, N, H = v.shape
    U = saved.U.reshape(3, H, H)
    rows = a_.reshape(T, N, 3, H).swapaxes(1, 2)
    a, back, room, more = (np.empty((*s, N, H), v.dtype) for s in ((3,), (2,), (), ()))
    for t, before, _ in reversed(reading_order(T, saved.reverse)):
        hold = hold_at(np, mask, t)
        receive(np, h_, gy, t, hold)
        held = None if hold is None else h_.copy()
        gru_output_backward(np, v[t], hs[before], h_, a, room)
        np.matmul(a[2], U[2], more)
        gru_reset_backward(np, v[t, 0], hs[before], more, h_, a[0], room)
        pull_back(np, a[:2], U[:2], back, more)
        h_ += more
        if held is not None:
            np.copyto(a, 0, where=hold)
            np.copyto(h_, held, where=hold)
        rows[t] = a


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
    steps: Any = gru_steps,
) -> tuple[tuple[Array, Array], Saved | None]:
    """The GRU as published: (y, h_n), saved."""
    T, N, _ = x.shape
    H = U.shape[1]
    hs = room_for(np, x, h0, H, reverse)
    v = np.empty((T if keep else 1, 3, N, H), x.dtype)
    steps(np, x, W, U, b, mask, reverse, hs, v)
    saved = Saved(x, W, U, mask, reverse, hs, v) if keep else None
    return outputs(np, hs, mask, reverse), saved


def gru_backward(
    np: Any,
    gy: Array | None,
    gh_n: Array | None,
    saved: Saved,
    wanted: Any,
    steps: Any = gru_steps_backward,
    products: Any = parameters,
) -> dict[str, Array]:
    """Gradients of the published GRU among x, h0, W, U, b.  Ū_n = Σ ā_nᵀ q, where q = r ⊙ h"""
    hs, v = saved.hs, saved.gates
    T, _, N, H = v.shape
    a_, h_ = np.empty((T, N, 3 * H), hs.dtype), start(np, gh_n, hs[0])
    steps(np, gy, saved, h_, a_)
    flat, prior = a_.reshape(T * N, 3 * H), before_each(hs, saved.reverse)
    gradients: dict[str, Array] = products(np, {*wanted} - {"U"}, saved, flat, flat, prior)
    if "U" in wanted:
        parts = (flat[:, : 2 * H], prior), (flat[:, 2 * H :], v[:, 0] * prior)
        made = [products(np, {"U"}, saved, a, a, h.reshape(T * N, H)) for a, h in parts]
        gradients["U"] = np.concatenate([part["U"] for part in made])
    return gradients | {"h0": h_}
