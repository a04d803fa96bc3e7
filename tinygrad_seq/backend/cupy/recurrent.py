"""Recurrent layers on a GPU: notation, arguments and results as in ``backend/recurrence``.

A step is one product and one kernel forward, one kernel and one product backward (two of each for
the published GRU, whose reset gate stands between its products). W x of all steps is one product
before the loop, and its buffer becomes that of the gates; the gradients of weights are one product
each after it. h̄ of a step is kept in two parts, that from the product with U and that beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..recurrence.common import (
    Array,
    Saved,
    added,
    before_each,
    outputs,
    parameters,
    reading_order,
    room_for,
    start,
)

Kernel = Callable[[str], Any]


class _Pass:
    """What every loop needs: the kernels, the sizes, and the steps in the order of reading."""

    def __init__(self, kernel: Kernel, np: Any, mask: Array | None, reverse: bool) -> None:
        self.kernel, self.mask, self.reverse = kernel, mask, reverse
        self.none = np.zeros(1, bool)  # stands for the mask, where there is none

    def forward(self, T: int) -> list[tuple[int, int, int]]:
        return reading_order(T, self.reverse)

    def backward(self, T: int) -> Iterator[tuple[int, int, int]]:
        return reversed(reading_order(T, self.reverse))

    def gates(self, name: str, t: int, H: int, *arguments: Any) -> None:
        """Forward gates: the inputs first, then what is written."""
        read, masked = (self.none, False) if self.mask is None else (self.mask[t], True)
        ins, outs = arguments[0], arguments[1]
        self.kernel(name)(*ins, H, read, masked, *outs)

    def pull(self, name: str, t: int, H: int, h_: Array, kept: Array, gy: Any, *rest: Any) -> None:
        """Backward gates, from both parts of h̄' and ȳ_t; the new ``kept`` is written last."""
        ins, outs = rest
        seen = gy is not None
        upstream = (h_, kept, gy[t] if seen else h_, seen)
        self.gates(name, t, H, (*upstream, *ins), (*outs, kept))


def _projected(np: Any, x: Array, W: Array, bias: Array | None) -> Array:
    """W x + b of all steps ``(T, N, gates*H)``."""
    T, N, D = x.shape
    wx = np.dot(np.ascontiguousarray(x).reshape(T * N, D), W.T)
    if bias is not None:
        wx += bias
    return wx.reshape(T, N, W.shape[0])


def _upstream(np: Any, gy: Array | None) -> Array | None:
    """ȳ in the order that kernels see it."""
    return None if gy is None else np.ascontiguousarray(gy)


def _rnn(kernel: Kernel, kind: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """h' = φ(W x + b + U h + c)"""

    def forward(
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
    ) -> Any:
        T, N, H = x.shape[0], x.shape[1], U.shape[0]
        run = _Pass(kernel, np, mask, reverse)
        wx, uh = _projected(np, x, W, added(b, c)), np.empty((N, H), x.dtype)
        hs = room_for(np, x, h0, H, reverse)
        for t, before, after in run.forward(T):
            np.dot(hs[before], U.T, out=uh)
            run.gates(kind, t, H, (wx[t], uh, hs[before]), (hs[after],))
        saved = Saved(x, W, U, mask, reverse, hs) if keep else None
        return outputs(np, hs, mask, reverse), saved

    def backward(
        np: Any, gy: Array | None, gh_n: Array | None, saved: Saved, wanted: Any
    ) -> dict[str, Array]:
        hs, U = saved.hs, saved.U
        T, (N, H) = hs.shape[0] - 1, hs.shape[1:]
        run, gy = _Pass(kernel, np, saved.mask, saved.reverse), _upstream(np, gy)
        a, h_, kept = np.empty((T, N, H), hs.dtype), start(np, gh_n, hs[0]), np.zeros_like(hs[0])
        for t, _, after in run.backward(T):
            run.pull(f"{kind}_backward", t, H, h_, kept, gy, (hs[after],), (a[t],))
            np.dot(a[t], U, out=h_)
        flat, prior = a.reshape(T * N, H), before_each(hs, saved.reverse).reshape(T * N, H)
        return parameters(np, wanted, saved, flat, flat, prior) | {"h0": h_ + kept}

    return forward, backward


def _lstm(kernel: Kernel) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """c' = f ⊙ c + i ⊙ g,  h' = o ⊙ tanh c', or R (o ⊙ tanh c')"""

    def forward(
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
    ) -> Any:
        T, N, H = x.shape[0], x.shape[1], U.shape[0] // 4
        run = _Pass(kernel, np, mask, reverse)
        v, uh = _projected(np, x, W, added(b, c)), np.empty((N, 4 * H), x.dtype)
        hs, cs = room_for(np, x, h0, U.shape[1], reverse), room_for(np, x, c0, H, reverse)
        hidden = None if R is None else np.zeros((T, N, H), x.dtype)
        for t, before, after in run.forward(T):
            np.dot(hs[before], U.T, out=uh)
            h, h1 = (hs[before], hs[after]) if hidden is None else (cs[before], hidden[t])
            run.gates("lstm", t, H, (v[t], uh, h, cs[before]), (h1, cs[after], v[t]))
            if R is not None:
                np.dot(h1, R.T, out=hs[after])
                if mask is not None:
                    np.copyto(hs[after], hs[before], where=~mask[t][:, None])
        y, h_n = outputs(np, hs, mask, reverse)
        saved = Saved(x, W, U, mask, reverse, hs, v, cs, hidden, R) if keep else None
        return (y, h_n, cs[0 if reverse else -1].copy()), saved

    def backward(
        np: Any,
        gy: Array | None,
        gh_n: Array | None,
        gc_n: Array | None,
        saved: Saved,
        wanted: Any,
    ) -> dict[str, Array]:
        hs, cs, v, U, R = saved.hs, saved.cs, saved.gates, saved.U, saved.R
        T, N, H = v.shape[0], v.shape[1], U.shape[0] // 4
        run, gy = _Pass(kernel, np, saved.mask, saved.reverse), _upstream(np, gy)
        a = np.empty((T, N, 4 * H), hs.dtype)
        h_, c_ = start(np, gh_n, hs[0]), start(np, gc_n, cs[0])
        kept = np.zeros_like(hs[0])
        outer: Array = None
        if R is not None:  # beside what comes through R nothing ever reaches o ⊙ tanh c'
            outer = np.empty((T, N, R.shape[0]), hs.dtype)
            m_, nothing = (np.zeros((N, H), hs.dtype) for _ in range(2))
        for t, before, after in run.backward(T):
            ins = (v[t], cs[before], cs[after], c_)
            if outer is None:
                run.pull("lstm_backward", t, H, h_, kept, gy, ins, (a[t], c_))
            else:  # h̄' goes through R first
                run.pull("receive", t, R.shape[0], h_, kept, gy, (), (outer[t],))
                np.dot(outer[t], R, out=m_)
                run.pull("lstm_backward", t, H, m_, nothing, None, ins, (a[t], c_))
            np.dot(a[t], U, out=h_)
        flat, prior = a.reshape(T * N, 4 * H), before_each(hs, saved.reverse)
        prior = prior.reshape(T * N, hs.shape[2])
        gradients: dict[str, Array] = parameters(np, wanted, saved, flat, flat, prior)
        if outer is not None and "R" in wanted:
            hidden = saved.hidden.reshape(T * N, H)
            gradients["R"] = np.dot(outer.reshape(T * N, R.shape[0]).T, hidden)
        return gradients | {"h0": h_ + kept, "c0": c_}

    return forward, backward


def _gru_after(kernel: Kernel) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """n = tanh(W_n x + b_n + r ⊙ (U_n h + c_n)),  h' = z ⊙ h + (1 - z) ⊙ n"""

    def forward(
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
    ) -> Any:
        T, N, H = x.shape[0], x.shape[1], U.shape[1]
        run = _Pass(kernel, np, mask, reverse)
        v, uh = _projected(np, x, W, b), np.empty((N, 3 * H), x.dtype)
        late = np.zeros(3 * H, x.dtype) if c is None else np.ascontiguousarray(c)
        hs, m = room_for(np, x, h0, H, reverse), np.empty((T, N, H), x.dtype)
        for t, before, after in run.forward(T):
            np.dot(hs[before], U.T, out=uh)
            ins = (v[t], uh, late, hs[before])
            run.gates("gru_after", t, H, ins, (hs[after], m[t], v[t]))
        saved = Saved(x, W, U, mask, reverse, hs, v, hidden=m) if keep else None
        return outputs(np, hs, mask, reverse), saved

    def backward(
        np: Any, gy: Array | None, gh_n: Array | None, saved: Saved, wanted: Any
    ) -> dict[str, Array]:
        hs, v, m, U = saved.hs, saved.gates, saved.hidden, saved.U
        T, (N, H) = v.shape[0], hs.shape[1:]
        run, gy = _Pass(kernel, np, saved.mask, saved.reverse), _upstream(np, gy)
        a, u = (np.empty((T, N, 3 * H), hs.dtype) for _ in range(2))
        h_, kept = start(np, gh_n, hs[0]), np.zeros_like(hs[0])
        for t, before, _ in run.backward(T):
            ins = (v[t], m[t], hs[before])
            run.pull("gru_after_backward", t, H, h_, kept, gy, ins, (a[t], u[t]))
            np.dot(u[t], U, out=h_)
        prior = before_each(hs, saved.reverse).reshape(T * N, H)
        flat = (a.reshape(T * N, 3 * H), u.reshape(T * N, 3 * H))
        return parameters(np, wanted, saved, *flat, prior) | {"h0": h_ + kept}

    return forward, backward


def _gru(kernel: Kernel) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """n = tanh(W_n x + b_n + U_n (r ⊙ h)),  h' = z ⊙ h + (1 - z) ⊙ n"""

    def forward(
        np: Any,
        x: Array,
        h0: Array | None,
        W: Array,
        U: Array,
        b: Array | None,
        mask: Array | None,
        reverse: bool,
        keep: bool,
    ) -> Any:
        T, N, H = x.shape[0], x.shape[1], U.shape[1]
        run, v = _Pass(kernel, np, mask, reverse), _projected(np, x, W, b)
        uh, uq = np.empty((N, 2 * H), x.dtype), np.empty((N, H), x.dtype)
        q = np.empty((T, N, H), x.dtype)
        hs = room_for(np, x, h0, H, reverse)
        for t, before, after in run.forward(T):
            h = hs[before]
            np.dot(h, U[: 2 * H].T, out=uh)
            run.gates("gru_reset", t, H, (v[t], uh, h), (q[t], v[t]))
            np.dot(q[t], U[2 * H :].T, out=uq)
            run.gates("gru_output", t, H, (v[t], uq, h), (hs[after], v[t]))
        saved = Saved(x, W, U, mask, reverse, hs, v, hidden=q) if keep else None
        return outputs(np, hs, mask, reverse), saved

    def backward(
        np: Any, gy: Array | None, gh_n: Array | None, saved: Saved, wanted: Any
    ) -> dict[str, Array]:
        hs, v, q, U = saved.hs, saved.gates, saved.hidden, saved.U
        T, N, H = q.shape
        run, gy = _Pass(kernel, np, saved.mask, saved.reverse), _upstream(np, gy)
        a, a_n, q_ = (np.empty(s, hs.dtype) for s in ((T, N, 2 * H), (T, N, H), (N, H)))
        h_, kept = start(np, gh_n, hs[0]), np.zeros_like(hs[0])
        for t, before, _ in run.backward(T):
            h = hs[before]
            run.pull("gru_output_backward", t, H, h_, kept, gy, (v[t], h), (a_n[t], a[t]))
            np.dot(a_n[t], U[2 * H :], out=q_)
            run.gates("gru_reset_backward", t, H, (q_, v[t], h, kept), (a[t], kept))
            np.dot(a[t], U[: 2 * H], out=h_)
        rows, prior = T * N, before_each(hs, saved.reverse).reshape(T * N, H)
        a, a_n = a.reshape(rows, 2 * H), a_n.reshape(rows, H)
        flat = np.concatenate((a, a_n), axis=1)
        gradients = parameters(np, {*wanted} - {"U"}, saved, flat, flat, prior)
        if "U" in wanted:
            parts = (np.dot(a.T, prior), np.dot(a_n.T, q.reshape(rows, H)))
            gradients["U"] = np.concatenate(parts, axis=0)
        return gradients | {"h0": h_ + kept}

    return forward, backward


def table(kernel: Kernel) -> dict[str, Callable[..., Any]]:
    """The kernels of recurrent layers by name, as in ``recurrence.KERNELS``."""
    layers = {
        "rnn_tanh": _rnn(kernel, "rnn_tanh"),
        "rnn_relu": _rnn(kernel, "rnn_relu"),
        "gru": _gru(kernel),
        "gru_after": _gru_after(kernel),
        "lstm": _lstm(kernel),
    }
    return {
        f"{name}_{way}": function
        for name, pair in layers.items()
        for way, function in zip(("forward", "backward"), pair, strict=True)
    }
