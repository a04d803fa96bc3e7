"""The simple RNN, with tanh or relu; notation in :mod:`.common`."""

from __future__ import annotations

from functools import partial
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


def rnn_steps(
    np: Any,
    x: Array,
    W: Array,
    U: Array,
    bias: Array | None,
    mask: Array | None,
    reverse: bool,
    hs: Array,
    gates: Any,
) -> None:
    """All steps of a forward.

    Args:
        W, U, bias: As the layer has them.
        hs: Written, see :class:`Saved`.
        gates: :func:`tanh_gates` or :func:`relu_gates`.
    """
    Ut, uh = np.ascontiguousarray(U.T), np.empty_like(hs[0])
    for order, block in projected(np, x, W[None], None if bias is None else bias[None], reverse):
        low = min(order)[0]
        for t, before, after in order:
            np.matmul(hs[before], Ut, uh)
            gates(np, block[0, t - low], uh, hs[after])
            hold = hold_at(np, mask, t)
            if hold is not None:
                np.copyto(hs[after], hs[before], where=hold)


def rnn_steps_backward(
    np: Any, gy: Array | None, saved: Saved, h_: Array, a_: Array, gates: Any
) -> None:
    """All steps of a backward.  h̄ = ā U

    Args:
        h_: Gradient of the last state; overwritten by that of the first.
        a_: Written: ā ``(T, N, H)``.
        gates: :func:`tanh_gates_backward` or :func:`relu_gates_backward`.
    """
    _, _, U, mask, reverse, hs, *_ = saved
    for t, _, after in reversed(reading_order(len(a_), reverse)):
        hold = hold_at(np, mask, t)
        receive(np, h_, gy, t, hold)
        gates(np, hs[after], h_, a_[t])
        held = None if hold is None else h_.copy()
        if hold is not None:
            np.copyto(a_[t], 0, where=hold)
        np.matmul(a_[t], U, h_)
        if held is not None:
            np.copyto(h_, held, where=hold)


tanh_steps = partial(rnn_steps, gates=tanh_gates)
tanh_steps_backward = partial(rnn_steps_backward, gates=tanh_gates_backward)
relu_steps = partial(rnn_steps, gates=relu_gates)
relu_steps_backward = partial(rnn_steps_backward, gates=relu_gates_backward)


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
    steps: Any = tanh_steps,
) -> tuple[tuple[Array, Array], Saved | None]:
    """Simple RNN: (y, h_n), saved."""
    hs = room_for(np, x, h0, U.shape[0], reverse)
    steps(np, x, W, U, added(b, c), mask, reverse, hs)
    saved = Saved(x, W, U, mask, reverse, hs) if keep else None
    return outputs(np, hs, mask, reverse), saved


def rnn_backward(
    np: Any,
    gy: Array | None,
    gh_n: Array | None,
    saved: Saved,
    wanted: Any,
    steps: Any = tanh_steps_backward,
    products: Any = parameters,
) -> dict[str, Array]:
    """Gradients of a simple RNN among x, h0, W, U, b, c."""
    hs = saved.hs
    T, (N, H) = len(hs) - 1, hs.shape[1:]
    a_, h_ = np.empty((T, N, H), hs.dtype), start(np, gh_n, hs[0])
    steps(np, gy, saved, h_, a_)
    flat, prior = a_.reshape(T * N, H), before_each(hs, saved.reverse).reshape(T * N, H)
    gradients: dict[str, Array] = products(np, wanted, saved, flat, flat, prior)
    return gradients | {"h0": h_}
