"""The GRU of PyTorch and cuDNN, whose reset gate acts after the product; see :mod:`.common`."""

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


def gru_after_gates(np: Any, wx: Array, uh: Array, h: Array, v: Array, m: Array, h1: Array) -> None:
    """The elementwise part of a step.

        r, z = σ(W x + b + U h + c)
        m = U_n h + c_n
        n = tanh(W_n x + b_n + r ⊙ m)
        h' = z ⊙ h + (1 - z) ⊙ n

    Args:
        wx, uh: W x + b and U h + c ``(3, N, H)``, halved for σ.
        h: State before ``(N, H)``.
        v: Written: r, z, n ``(3, N, H)``.
        m, h1: Written: m and h'.
    """
    r, z, n = v
    np.add(wx[:2], uh[:2], v[:2])
    squash(np, v[:2], 2)
    np.copyto(m, uh[2])
    np.multiply(r, m, n)
    n += wx[2]
    np.tanh(n, n)
    np.subtract(h, n, h1)
    h1 *= z
    h1 += n


def gru_after_gates_backward(
    np: Any, v: Array, h: Array, m: Array, h_: Array, a: Array, room: Array
) -> None:
    """From h̄' to ā, m̄, and what h̄ gets beside the product.

        n̄ = h̄' ⊙ (1 - z),    z̄ = h̄' ⊙ (h - n),    h̄ = h̄' ⊙ z
        ā_n = n̄ ⊙ (1 - n²),   m̄ = ā_n ⊙ r,          r̄ = ā_n ⊙ m
        ā_r = r̄ ⊙ r ⊙ (1 - r),   ā_z = z̄ ⊙ z ⊙ (1 - z)

    Args:
        h_: h̄', overwritten by h̄' ⊙ z.
        a: Written: m̄, ā_r, ā_z, ā_n ``(4, N, H)``.
        room: Room ``(N, H)``.
    """
    r, z, n = v
    m_, ar, az, an = a
    np.subtract(1, z, room)
    room *= h_  # n̄
    np.multiply(n, n, an)
    np.subtract(1, an, an)
    an *= room
    np.subtract(h, n, az)
    az *= room
    az *= z
    np.multiply(an, r, m_)
    np.subtract(1, r, ar)
    ar *= m_
    ar *= m
    h_ *= z


def gru_after_steps(
    np: Any,
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
    """All steps of a forward.

    Args:
        W, U, b, c: As the layer has them.
        hs, v, m: Written, see :class:`Saved`; v and m may have room for one step.
    """
    W, U = blocks_of(np, W, 2, 3), blocks_of(np, U, 2, 3)
    bias, late = (None if one is None else blocks_of(np, one, 2, 3) for one in (b, c))
    columns, keep = as_columns(np, U), len(v) > 1
    uh = np.empty_like(v[0])
    for order, block in projected(np, x, W, bias, reverse):
        low = min(order)[0]
        for t, before, after in order:
            at = t if keep else 0
            np.matmul(hs[before], columns, uh)
            if late is not None:
                uh += late[:, None]
            gru_after_gates(np, block[:, t - low], uh, hs[before], v[at], m[at], hs[after])
            hold = hold_at(np, mask, t)
            if hold is not None:
                np.copyto(hs[after], hs[before], where=hold)


def gru_after_steps_backward(np: Any, gy: Array | None, saved: Saved, h_: Array, a_: Array) -> None:
    """All steps of a backward.  h̄ = h̄' ⊙ z + ā_r U_r + ā_z U_z + m̄ U_n

    Args:
        h_: Gradient of the last state; overwritten by that of the first.
        a_: Written: m̄, ā_r, ā_z, ā_n ``(T, N, 4H)``.
    """
    hs, v, m, mask = saved.hs, saved.gates, saved.hidden, saved.mask
    T, _, N, H = v.shape
    U = blocks_of(np, saved.U, 0, 3, turn=1)  # for n, r, z
    rows = a_.reshape(T, N, 4, H).swapaxes(1, 2)
    a, back, room = (np.empty((*s, N, H), v.dtype) for s in ((4,), (3,), ()))
    more = np.empty_like(h_)
    for t, before, _ in reversed(reading_order(T, saved.reverse)):
        hold = hold_at(np, mask, t)
        receive(np, h_, gy, t, hold)
        held = None if hold is None else h_.copy()
        gru_after_gates_backward(np, v[t], hs[before], m[t], h_, a, room)
        pull_back(np, a[:3], U, back, more)
        h_ += more
        if held is not None:
            np.copyto(a, 0, where=hold)
            np.copyto(h_, held, where=hold)
        rows[t] = a


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
    steps: Any = gru_after_steps,
) -> tuple[tuple[Array, Array], Saved | None]:
    """The GRU of PyTorch and cuDNN: (y, h_n), saved."""
    T, N, _ = x.shape
    H = U.shape[1]
    hs = room_for(np, x, h0, H, reverse)
    v, m = (np.empty((T if keep else 1, *s, N, H), x.dtype) for s in ((3,), ()))
    steps(np, x, W, U, b, c, mask, reverse, hs, v, m)
    saved = Saved(x, W, U, mask, reverse, hs, v, hidden=m) if keep else None
    return outputs(np, hs, mask, reverse), saved


def gru_after_backward(
    np: Any,
    gy: Array | None,
    gh_n: Array | None,
    saved: Saved,
    wanted: Any,
    steps: Any = gru_after_steps_backward,
    products: Any = parameters,
) -> dict[str, Array]:
    """Gradients of the reset-after GRU among x, h0, W, U, b, c.

        W̄ = Σ [ā_r, ā_z, ā_n]ᵀ x,    Ū = Σ [ā_r, ā_z, m̄]ᵀ h

    Kept as m̄, ā_r, ā_z, ā_n, the last three lie together, and the first three: each of the two
    is one product. For the first three Ū is of n, r, z, and turned back.
    """
    hs = saved.hs
    T, _, N, H = saved.gates.shape
    a_, h_ = np.empty((T, N, 4 * H), hs.dtype), start(np, gh_n, hs[0])
    steps(np, gy, saved, h_, a_)
    flat, prior = a_.reshape(T * N, 4 * H), before_each(hs, saved.reverse).reshape(T * N, H)
    gradients: dict[str, Array] = products(np, wanted, saved, flat[:, H:], flat[:, : 3 * H], prior)
    for name in {"U", "c"} & gradients.keys():
        gradients[name] = np.roll(gradients[name], -H, axis=0)
    return gradients | {"h0": h_}
