"""The LSTM: its gates, its steps, and their derivatives; notation in :mod:`.common`."""

from __future__ import annotations

from typing import Any

from .common import (
    Array,
    Saved,
    added,
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

# Its gates are kept in the order o, i, f, g: PyTorch's, turned by one, so that the three σ adjoin.


def lstm_gates(np: Any, wx: Array, uh: Array, c: Array, v: Array, c1: Array, h1: Array) -> None:
    """The elementwise part of a step.

        i, f, o = σ(W x + b + U h),    g = tanh(W_g x + b_g + U_g h)
        c' = f ⊙ c + i ⊙ g
        h' = o ⊙ tanh c'

    Args:
        wx, uh: W x + b and U h ``(4, N, H)``, halved for σ; uh is overwritten.
        c: Cell before ``(N, H)``.
        v: Written: o, i, f, g ``(4, N, H)``.
        c1, h1: Written: c' and h'.
    """
    np.add(wx, uh, v)
    squash(np, v, 3)
    (o, i, f, g), k = v, uh[0]
    np.multiply(f, c, c1)
    np.multiply(i, g, k)
    c1 += k
    np.tanh(c1, k)
    np.multiply(o, k, h1)


def lstm_gates_backward(
    np: Any, v: Array, c: Array, c1: Array, h_: Array, c_: Array, a: Array, room: Array
) -> None:
    """From h̄', c̄' to ā and c̄.

        k = tanh c'
        c̄' += h̄' ⊙ o ⊙ (1 - k²)
        ī = c̄' ⊙ g,    f̄ = c̄' ⊙ c,    ḡ = c̄' ⊙ i,    ō = h̄' ⊙ k
        ā = v̄ ⊙ v ⊙ (1 - v) for i, f, o,    ā_g = ḡ ⊙ (1 + g) ⊙ (1 - g)
        c̄ = c̄' ⊙ f

    Args:
        v, c, c1: As in :func:`lstm_gates`.
        h_: h̄' ``(N, H)``.
        c_: c̄', overwritten by c̄.
        a: Written: ā ``(4, N, H)``.
        room: Room ``(4, N, H)``.
    """
    (o, i, f, g), (o_, i_, f_, g_) = v, room
    np.subtract(1, v, a)
    a[:3] *= v[:3]
    np.add(g, 1, g_)
    a[3] *= g_
    k, d = i_, f_
    np.tanh(c1, k)
    np.multiply(h_, k, o_)
    k *= k
    np.subtract(1, k, k)
    np.multiply(h_, o, d)
    k *= d
    c_ += k
    np.multiply(c_, g, i_)
    np.multiply(c_, c, f_)
    np.multiply(c_, i, g_)
    a *= room
    c_ *= f


def lstm_steps(
    np: Any,
    x: Array,
    W: Array,
    U: Array,
    bias: Array | None,
    R: Array | None,
    mask: Array | None,
    reverse: bool,
    hs: Array,
    cs: Array,
    v: Array,
    hidden: Array | None,
) -> None:
    """All steps of a forward.

    Args:
        W, U, bias: As the layer has them; bias is b + c.
        hs, cs, v, hidden: Written, see :class:`Saved`; v and hidden may have room for one step.
    """
    W, U = blocks_of(np, W, 3, 4, turn=1), blocks_of(np, U, 3, 4, turn=1)
    bias = None if bias is None else blocks_of(np, bias, 3, 4, turn=1)
    columns, keep = as_columns(np, U), len(v) > 1
    uh = np.empty_like(v[0])
    for order, block in projected(np, x, W, bias, reverse):
        low = min(order)[0]
        for t, before, after in order:
            at = t if keep else 0
            np.matmul(hs[before], columns, uh)
            h1 = hs[after] if hidden is None else hidden[at]
            lstm_gates(np, block[:, t - low], uh, cs[before], v[at], cs[after], h1)
            if R is not None:
                np.matmul(h1, R.T, hs[after])
            hold = hold_at(np, mask, t)
            if hold is not None:
                np.copyto(hs[after], hs[before], where=hold)
                np.copyto(cs[after], cs[before], where=hold)


def lstm_steps_backward(
    np: Any,
    gy: Array | None,
    saved: Saved,
    h_: Array,
    c_: Array,
    a_: Array,
    outer: Array | None,
) -> None:
    """All steps of a backward.  h̄ = ā U;  with projection m̄ = h̄' R, where m = o ⊙ tanh c'

    Args:
        h_, c_: Gradients of the last state; overwritten by those of the first.
        a_: Written: ā ``(T, N, 4H)``, in PyTorch's order.
        outer: Written, with projection: h̄' of every step ``(T, N, P)``.
    """
    v, cs, mask = saved.gates, saved.cs, saved.mask
    T, _, N, H = v.shape
    U = blocks_of(np, saved.U, 0, 4, turn=1)
    a, room, back = np.empty_like(v[0]), np.empty_like(v[0]), np.empty((4, *h_.shape), h_.dtype)
    rows = a_.reshape(T, N, 4, H).swapaxes(1, 2)
    for t, before, after in reversed(reading_order(T, saved.reverse)):
        hold = hold_at(np, mask, t)
        receive(np, h_, gy, t, hold)
        held = None if hold is None else (h_.copy(), c_.copy())
        m_ = h_
        if outer is not None:
            outer[t] = h_ if hold is None else np.where(hold, 0, h_)
            m_ = np.matmul(h_, saved.R)
        lstm_gates_backward(np, v[t], cs[before], cs[after], m_, c_, a, room)
        if held is not None:
            np.copyto(a, 0, where=hold)
        rows[t, :3], rows[t, 3] = a[1:], a[0]
        pull_back(np, a, U, back, h_)
        if held is not None:
            np.copyto(h_, held[0], where=hold)
            np.copyto(c_, held[1], where=hold)


def lstm_forward(
    np: Any,
    x: Array,
    h0: Array | None,
    c0: Array | None,
    W: Array,
    U: Array,
    b: Array | None,
    c: Array | None,
    R: Array | None,
    mask: Array | None,
    reverse: bool,
    keep: bool,
    steps: Any = lstm_steps,
) -> tuple[tuple[Array, Array, Array], Saved | None]:
    """LSTM, with h' = R (o ⊙ tanh c') if R is given: (y, h_n, c_n), saved."""
    T, N, _ = x.shape
    H = W.shape[0] // 4
    hs, cs = room_for(np, x, h0, U.shape[1], reverse), room_for(np, x, c0, H, reverse)
    v = np.empty((T if keep else 1, 4, N, H), x.dtype)
    hidden = None if R is None else np.empty((T if keep else 1, N, H), x.dtype)
    steps(np, x, W, U, added(b, c), R, mask, reverse, hs, cs, v, hidden)
    y, h_n = outputs(np, hs, mask, reverse)
    c_n = cs[0 if reverse else -1].copy()
    saved = Saved(x, W, U, mask, reverse, hs, v, cs, hidden, R) if keep else None
    return (y, h_n, c_n), saved


def lstm_backward(
    np: Any,
    gy: Array | None,
    gh_n: Array | None,
    gc_n: Array | None,
    saved: Saved,
    wanted: Any,
    steps: Any = lstm_steps_backward,
    products: Any = parameters,
) -> dict[str, Array]:
    """Gradients of an LSTM among x, h0, c0, W, U, b, c, R.  R̄ = Σ h̄'ᵀ m, where m = o ⊙ tanh c'"""
    hs, R = saved.hs, saved.R
    T, _, N, H = saved.gates.shape
    a_ = np.empty((T, N, 4 * H), hs.dtype)
    h_, c_ = start(np, gh_n, hs[0]), start(np, gc_n, saved.cs[0])
    outer: Array = None if R is None else np.empty((T, *hs.shape[1:]), hs.dtype)
    steps(np, gy, saved, h_, c_, a_, outer)
    flat, prior = a_.reshape(T * N, 4 * H), before_each(hs, saved.reverse)
    gradients: dict[str, Array] = products(
        np, wanted, saved, flat, flat, prior.reshape(T * N, hs.shape[2])
    )
    if R is not None and "R" in wanted:
        hidden = saved.hidden.reshape(T * N, H)
        gradients["R"] = np.matmul(outer.reshape(T * N, R.shape[0]).T, hidden)
    return gradients | {"h0": h_, "c0": c_}
