"""The LSTM: its gates, its steps, and their derivatives; notation in :mod:`.common`."""

from __future__ import annotations

from typing import Any

from .common import (
    Array,
    Saved,
    added,
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

LSTM_SLOPES = 0.5, 0.5, 1.0, 0.5


def lstm_gates(
    np: Any, wx: Array, uh: Array, s: Array, c: Array, v: Array, c1: Array, h1: Array, k: Array
) -> None:
    """The elementwise part of a step.

        i, f, g, o = φ(W x + b + U h)
        c' = f ⊙ c + i ⊙ g
        h' = o ⊙ tanh c'

    Args:
        wx, uh: s ⊙ (W x + b) and s ⊙ U h ``(N, 4H)``.
        s: Slopes ``(4, 1, 1)``.
        c: Cell before ``(N, H)``.
        v: Written: i, f, g, o ``(4, N, H)``.
        c1, h1: Written: c' and h'.
        k: Room ``(N, H)``.
    """
    _, N, H = v.shape
    np.add(wx.reshape(N, 4, H).swapaxes(0, 1), uh.reshape(N, 4, H).swapaxes(0, 1), v)
    np.tanh(v, v)
    v *= s
    v += 1 - s
    i, f, g, o = v
    np.multiply(f, c, c1)
    np.multiply(i, g, k)
    c1 += k
    np.tanh(c1, k)
    np.multiply(o, k, h1)


def lstm_gates_backward(
    np: Any, v: Array, s: Array, c: Array, c1: Array, h_: Array, c_: Array, a_: Array, room: Array
) -> None:
    """From h̄', c̄' to ā and c̄.

        k = tanh c'
        c̄' += h̄' ⊙ o ⊙ (1 - k²)
        ī = c̄' ⊙ g,    f̄ = c̄' ⊙ c,    ḡ = c̄' ⊙ i,    ō = h̄' ⊙ k
        ā = v̄ ⊙ φ'(a)
        c̄ = c̄' ⊙ f

    Args:
        v, s, c, c1: As in :func:`lstm_gates`.
        h_: h̄' ``(N, H)``.
        c_: c̄', overwritten by c̄.
        a_: Written: ā ``(N, 4H)``.
        room: Room ``(2, 4, N, H)``.
    """
    _, N, H = v.shape
    v_, slope = room
    np.subtract(1, v, slope)
    np.add(v, 2 * s - 1, v_)
    slope *= v_
    i, f, g, o = v
    i_, f_, g_, o_ = v_
    np.tanh(c1, i_)
    np.multiply(h_, i_, o_)
    i_ *= i_
    np.subtract(1, i_, i_)
    i_ *= o
    i_ *= h_
    c_ += i_
    np.multiply(c_, g, i_)
    np.multiply(c_, c, f_)
    np.multiply(c_, i, g_)
    np.multiply(v_, slope, a_.reshape(N, 4, H).swapaxes(0, 1))
    c_ *= f


def lstm_steps(
    np: Any,
    order: list[tuple[int, int, int]],
    wx: Array,
    Ut: Array,
    R: Array | None,
    mask: Array | None,
    hs: Array,
    cs: Array,
    v: Array,
    hidden: Array | None,
) -> None:
    """Some steps of a forward, one after the other.

    Args:
        order: Their places, see :func:`_order`.
        wx: s ⊙ (W x + b) of these steps, in the order of time ``(steps, N, 4H)``.
        Ut: (s ⊙ U)ᵀ ``(H or P, 4H)``.
        hs, cs, v, hidden: Written, see :class:`Saved`; v and hidden may have room for one step.
    """
    _, N, H = v.shape[1:]
    s, _ = slopes(np, LSTM_SLOPES, H, v.dtype)
    uh, k = np.empty((N, 4 * H), v.dtype), np.empty((N, H), v.dtype)
    low, keep = min(order)[0], len(v) > 1
    for t, before, after in order:
        at = t if keep else 0
        np.matmul(hs[before], Ut, uh)
        h1 = hs[after] if hidden is None else hidden[at]
        lstm_gates(np, wx[t - low], uh, s, cs[before], v[at], cs[after], h1, k)
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
        a_: Written: ā ``(T, N, 4H)``.
        outer: Written, with projection: h̄' of every step ``(T, N, P)``.
    """
    T, _, N, H = saved.gates.shape
    s, _ = slopes(np, LSTM_SLOPES, H, a_.dtype)
    v, cs, mask = saved.gates, saved.cs, saved.mask
    room = np.empty((2, 4, N, H), a_.dtype)
    for t, before, after in reversed(reading_order(T, saved.reverse)):
        hold = hold_at(np, mask, t)
        receive(np, h_, gy, t, hold)
        held = None if hold is None else (h_.copy(), c_.copy())
        m_ = h_
        if outer is not None:
            outer[t] = h_ if hold is None else np.where(hold, 0, h_)
            m_ = np.matmul(h_, saved.R)
        lstm_gates_backward(np, v[t], s, cs[before], cs[after], m_, c_, a_[t], room)
        if held is not None:
            np.copyto(a_[t], 0, where=hold)
        np.matmul(a_[t], saved.U, h_)
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
    _, row = slopes(np, LSTM_SLOPES, H, x.dtype)
    bias = added(b, c)
    scaled = None if bias is None else bias * row
    Ut = np.ascontiguousarray(U.T) * row
    hs, cs = room_for(np, x, h0, U.shape[1], reverse), room_for(np, x, c0, H, reverse)
    v = np.empty((T if keep else 1, 4, N, H), x.dtype)
    hidden = None if R is None else np.empty((T if keep else 1, N, H), x.dtype)
    for order, wx in projected(np, x, W * row[:, None], scaled, reverse):
        steps(np, order, wx, Ut, R, mask, hs, cs, v, hidden)
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
) -> dict[str, Array]:
    """Gradients of an LSTM among x, h0, c0, W, U, b, c, R.  R̄ = Σ h̄'ᵀ m, where m = o ⊙ tanh c'"""
    hs, R = saved.hs, saved.R
    T, _, N, H = saved.gates.shape
    a_ = np.empty((T, N, 4 * H), hs.dtype)
    h_, c_ = start(np, gh_n, hs[0]), start(np, gc_n, saved.cs[0])
    outer: Array = None if R is None else np.empty((T, *hs.shape[1:]), hs.dtype)
    steps(np, gy, saved, h_, c_, a_, outer)
    flat, prior = a_.reshape(T * N, 4 * H), before_each(hs, saved.reverse)
    gradients = parameters(np, wanted, saved, flat, flat, prior.reshape(T * N, hs.shape[2]))
    if R is not None and "R" in wanted:
        hidden = saved.hidden.reshape(T * N, H)
        gradients["R"] = np.matmul(outer.reshape(T * N, R.shape[0]).T, hidden)
    return gradients | {"h0": h_, "c0": c_}
