"""What the recurrent kernels share: notation, places in time, products over all steps.

Symbols: T steps, N sequences, D inputs, H hidden units, P projected; ⊙ the Hadamard product; for a
value v, v̄ = ∂loss/∂v. h, c are the states before a step and h', c' those after it, in the order of
reading: with ``reverse`` the step before t is t+1.

Shapes: x ``(T, N, D)``; states ``(N, H)``; W ``(gates*H, D)``; U ``(gates*H, H or P)``; biases b, c
``(gates*H,)`` or None; R ``(P, H)`` or None; mask ``(T, N)``, True where a step is no padding, or
None. Padding holds finite numbers. A missing initial state, None, is zeros.

A forward gives (results, saved); saved is None without ``keep``. A backward takes the gradients of
the results (None is zero), saved, and the names of the gradients wanted; it may be called again.

The inputs of many steps are projected in one product, and the gradients of the parameters are one
product over all steps. What must go step by step, the ``..._steps`` functions, a backend may
replace. There each gate is a block of its own, ``(gates, N, H)``: a call of NumPy on a block in one
piece takes a third of the time that it takes on a slice of every row.

One tanh serves all gates of a step, since σ is a tanh: its inner ½ is folded into the weights.

    σ(a) = ½ tanh(½ a) + ½,    σ'(a) = σ (1 - σ),    tanh'(a) = 1 - tanh²
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from ..memory import keep_freed_memory

Array: TypeAlias = Any

ROWS = 512
"""The inputs of at least so many rows are projected at a time: enough for BLAS, few for caches."""


class Saved(NamedTuple):
    """What a backward reads: arguments of the forward, and values of every step.

    Attributes:
        gates: Values of the gates ``(T, gates, N, H)``.
        hs, cs: States before each step and after the last ``(T+1, N, H)``; in reverse, from the
            last step to before the first.
        hidden: One more value per step ``(T, N, H)``: the LSTM's h' before its projection, the
            GRU's U_n h + c_n.
    """

    x: Array
    W: Array
    U: Array
    mask: Array | None
    reverse: bool
    hs: Array
    gates: Array = None
    cs: Array = None
    hidden: Array = None
    R: Array = None


def reading_order(count: int, reverse: bool) -> list[tuple[int, int, int]]:
    """For each step in the order of reading: t, and the places of the states before and after."""
    if reverse:
        return [(t, t + 1, t) for t in reversed(range(count))]
    return [(t, t, t + 1) for t in range(count)]


def before_each(states: Array, reverse: bool) -> Array:
    """Of states ``(T+1, N, H)`` those before each step ``(T, N, H)``."""
    return states[1:] if reverse else states[:-1]


def after_each(states: Array, reverse: bool) -> Array:
    """Of states ``(T+1, N, H)`` those after each step ``(T, N, H)``."""
    return states[:-1] if reverse else states[1:]


def room_for(np: Any, x: Array, first: Array | None, size: int, reverse: bool) -> Array:
    """Room for the states ``(T+1, N, size)``, with the first in its place."""
    keep_freed_memory()
    states = np.empty((x.shape[0] + 1, x.shape[1], size), x.dtype)
    states[-1 if reverse else 0] = 0 if first is None else first
    return states


def blocks_of(np: Any, A: Array, halved: int, gates: int, turn: int = 0) -> Array:
    """A block for each gate of W, U or a bias: ``(gates, H, ...)``, a copy.

    Args:
        A: The array ``(gates*H, ...)``.
        halved: So many gates, after turning, are σ, and get their ½.
        turn: So many gates are taken from the end to the front.
    """
    blocks = np.roll(A.reshape(gates, -1, *A.shape[1:]), turn, axis=0)
    blocks[:halved] *= A.dtype.type(0.5)
    return blocks


def as_columns(np: Any, blocks: Array) -> Array:
    """Blocks ``(gates, H, P)`` as right operands ``(gates, P, H)``, for many thin products."""
    return np.ascontiguousarray(blocks.swapaxes(1, 2))


def squash(np: Any, v: Array, halved: int) -> None:
    """The values of the gates from their halved sums, in place."""
    np.tanh(v, v)
    v[:halved] *= v.dtype.type(0.5)
    v[:halved] += v.dtype.type(0.5)


def pull_back(np: Any, a: Array, U: Array, room: Array, h_: Array) -> None:
    """h̄ = Σ ā U over the gates.

    Args:
        a: ā ``(gates, N, H)``.
        U: ``(gates, H, P)``.
        room: Room ``(gates, N, P)``.
        h_: Written ``(N, P)``.
    """
    np.matmul(a, U, room)
    np.add.reduce(room, axis=0, out=h_)


def added(b: Array | None, c: Array | None) -> Array | None:
    return c if b is None else b if c is None else b + c


def projected(
    np: Any, x: Array, W: Array, bias: Array | None, reverse: bool
) -> Iterator[tuple[list[tuple[int, int, int]], Array]]:
    """In the order of reading, some steps at a time: their places and W x + b.

    Args:
        W: Blocks ``(gates, H, D)``.
        bias: Blocks ``(gates, H)``.

    Yields:
        (places, sums ``(gates, steps, N, H)``, the steps in the order of time).
    """
    T, N, D = x.shape
    G, H, _ = W.shape
    count = max(1, min(T, -(-ROWS // max(N, 1))))
    order, columns = reading_order(T, reverse), W.swapaxes(1, 2)
    for first in range(0, T, count):
        places = order[first : first + count]
        low, steps = min(places)[0], len(places)
        rows = np.matmul(x[low : low + steps].reshape(steps * N, D), columns)
        if bias is not None:
            rows += bias[:, None]
        yield places, rows.reshape(G, steps, N, H)


def hold_at(np: Any, mask: Array | None, t: int) -> Array | None:
    """Where step t is padding ``(N, 1)``; None if it is none."""
    return None if mask is None or mask[t].all() else ~mask[t][:, None]


def outputs(np: Any, hs: Array, mask: Array | None, reverse: bool) -> tuple[Array, Array]:
    """y ``(T, N, H)``, zero at padding, and the last state ``(N, H)``."""
    y, last = after_each(hs, reverse), hs[0 if reverse else -1].copy()
    return (y if mask is None else np.where(mask[:, :, None], y, hs.dtype.type(0))), last


def start(np: Any, g: Array | None, like: Array) -> Array:
    """The gradient of a last state, to be written to."""
    return np.zeros_like(like) if g is None else g.astype(like.dtype, copy=True)


def receive(np: Any, h_: Array, gy: Array | None, t: int, hold: Array | None) -> None:
    """h̄' += ȳ_t, but at padding, where y is the constant zero."""
    if gy is not None:
        np.add(h_, gy[t], out=h_, where=True if hold is None else ~hold)


def parameters(
    np: Any,
    wanted: Any,
    saved: Saved,
    ax_: Array,
    ah_: Array,
    h: Array,
    product: Any = None,
) -> dict[str, Array]:
    """Gradients that are one product over all steps and sequences.

        x̄ = ā W,  W̄ = āᵀ x,  b̄ = Σ ā;    Ū = āᵀ h,  c̄ = Σ ā

    Args:
        ax_, ah_: ā ``(T*N, gates*H)`` of what W x + b and U h + c add to.
        h: What U multiplied ``(T*N, H)``.
        product: What computes the matrix products; ``np.matmul`` if None.
    """
    x, product = saved.x, product or np.matmul
    gradients = {}
    if "x" in wanted:
        gradients["x"] = product(ax_, saved.W).reshape(x.shape)
    if "W" in wanted:
        gradients["W"] = product(ax_.T, x.reshape(ax_.shape[0], x.shape[2]))
    if "U" in wanted:
        gradients["U"] = product(ah_.T, h)
    if "b" in wanted:
        gradients["b"] = ax_.sum(0)
    if "c" in wanted:
        gradients["c"] = gradients["b"].copy() if ax_ is ah_ and "b" in wanted else ah_.sum(0)
    return gradients
