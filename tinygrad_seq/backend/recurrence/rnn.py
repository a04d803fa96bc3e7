"""The simple RNN, with tanh or relu; notation in :mod:`.common`."""

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
    start,
)


def tanh_gates(np: Any, wx: Array, uh: Array, h1: Array) -> None:
    """One step.  h' = tanh(W x + b + U h)"""
    np.add(wx, uh, h1)
    np.tanh(h1, h1)


def tanh_gates_backward(np: Any, h1: Array, h_: Array, a_: Array) -> None:
    """One step back.  ā = h̄' ⊙ (1 - h'²)"""
    np.multiply(h1, h1, a_)
    np.subtract(1, a_, a_)
    a_ *= h_


def relu_gates(np: Any, wx: Array, uh: Array, h1: Array) -> None:
    """One step.  h' = max(W x + b + U h, 0)"""
    np.add(wx, uh, h1)
    np.maximum(h1, 0, out=h1)


def relu_gates_backward(np: Any, h1: Array, h_: Array, a_: Array) -> None:
    """One step back.  ā = h̄' where h' > 0"""
    np.multiply(h_, h1 > 0, a_)


def rnn_forward(
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
    gates: Any = tanh_gates,
) -> tuple[tuple[Array, Array], Saved | None]:
    """Simple RNN: (y, h_n), saved."""
    N, H = x.shape[1], U.shape[0]
    Ut, uh = np.ascontiguousarray(U.T), np.empty((N, H), x.dtype)
    bias = added(b, c)
    bias = None if bias is None else bias[None]
    hs = room_for(np, x, h0, H, reverse)
    for order, block in projected(np, x, W[None], bias, reverse):
        low = min(order)[0]
        for t, before, after in order:
            np.matmul(hs[before], Ut, uh)
            gates(np, block[0, t - low], uh, hs[after])
            hold = hold_at(np, mask, t)
            if hold is not None:
                np.copyto(hs[after], hs[before], where=hold)
    saved = Saved(x, W, U, mask, reverse, hs) if keep else None
    return outputs(np, hs, mask, reverse), saved


def rnn_backward(
    np: Any,
    gy: Array | None,
    gh_n: Array | None,
    saved: Saved,
    wanted: Any,
    gates: Any = tanh_gates_backward,
) -> dict[str, Array]:
    """Gradients of a simple RNN among x, h0, W, U, b, c.  h̄ = ā U"""
    _, _, U, mask, reverse, hs, *_ = saved
    _, N, H = hs.shape
    T = hs.shape[0] - 1
    a_ = np.empty((T, N, H), hs.dtype)
    h_ = start(np, gh_n, hs[0])
    for t, _, after in reversed(reading_order(T, reverse)):
        hold = hold_at(np, mask, t)
        receive(np, h_, gy, t, hold)
        gates(np, hs[after], h_, a_[t])
        held = None if hold is None else h_.copy()
        if hold is not None:
            np.copyto(a_[t], 0, where=hold)
        np.matmul(a_[t], U, h_)
        if held is not None:
            np.copyto(h_, held, where=hold)
    flat, prior = a_.reshape(T * N, H), before_each(hs, reverse).reshape(T * N, H)
    return parameters(np, wanted, saved, flat, flat, prior) | {"h0": h_}
