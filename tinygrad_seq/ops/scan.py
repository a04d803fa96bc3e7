"""Linear recurrences over time, and their derivative: the same recurrence in reverse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..autograd import primitive
from ..autograd.operands import as_operand
from ..backend import Array, backend_of, result_dtype, there, xp
from .arithmetic import REALS, where
from .index import numbers, plain
from .shape import broadcast_to, concatenate, expand_dims, stack

if TYPE_CHECKING:
    from ..autograd.signatures import Mixed, Operand


@primitive
def scan(*xs: Array, reverse: bool = False, adjoint: bool = False, pairs: bool = False) -> Array:
    """h_t = a_t ⊙ h_{t-1} + b_t for all t, from the list [a, b] or [a, b, h_0].

    The adjoint is w_t = b_t + a*_{t+1} ⊙ w_{t+1}. Each is the other's rule: with w the adjoint
    of ȳ,  b̄ = w,  ā_t = w_t ⊙ h*_{t-1},  h̄_0 = a*_1 ⊙ w_1.
    """
    np, kind = xp(*xs), result_dtype(*xs)
    wide = np.promote_types(kind, "float32")  # of float16, a sum of many steps stands still
    a, b, *start = (np.asarray(x, dtype=wide) for x in xs)
    kernel = backend_of(*xs).kernels["linear_scan"]
    y = kernel(np, a, b, start[0] if start else None, reverse, adjoint, pairs)
    return y.astype(kind, copy=False)


def _scan_rule(
    g: Any, xs: tuple[Any, ...], y: Any, reverse: bool, adjoint: bool, pairs: bool
) -> tuple[Any, ...]:
    a, _, *start = xs
    w = scan([a, g], reverse=reverse, adjoint=not adjoint, pairs=pairs)
    if adjoint:
        return _product(y, _shifted(w, None, reverse), pairs), w
    a_ = _product(w, _shifted(y, start[0] if start else None, reverse), pairs)
    if not start:
        return a_, w
    first = -1 if reverse else 0
    return a_, w, _product(w[first], broadcast_to(a, y.shape)[first], pairs)


scan.defvjp(xs=_scan_rule)
scan.domain(xs=REALS, analytic=False)


def _shifted(x: Any, first: Any, reverse: bool) -> Any:
    """The values one step earlier, in the order of the recurrence; ``first`` at its first step."""
    array = plain(x)
    edge = xp(array).zeros_like(array[:1]) if first is None else expand_dims(first, 0)
    return concatenate([x[1:], edge] if reverse else [edge, x[:-1]])


def _product(x: Any, y: Any, pairs: bool) -> Any:
    """x ⊙ y*"""
    if not pairs:
        return x * y
    re, im, re_y, im_y = x[..., 0], x[..., 1], y[..., 0], y[..., 1]
    return stack([re * re_y + im * im_y, im * re_y - re * im_y], axis=-1)


def linear_scan(
    a: Any,
    b: Any,
    h0: Operand | None = None,
    reverse: bool = False,
    mask: Operand | None = None,
    pairs: bool = False,
    lengths: Operand | None = None,
) -> Mixed:
    """h_t = a_t ⊙ h_{t-1} + b_t for t = 1 … T, as one operation.

    The derivative is the same recurrence in reverse, so gradients of any order cost as much as the
    values. With a within (-1, 1) it forgets; minGRU, RG-LRU and LRU are built on it.

    Args:
        a: Factors, of a shape that broadcasts to that of ``b``: ``(T, N, H)``, ``(H,)``, a number.
        b: The input of each step ``(T, ...)``, T ≥ 1.
        h0: h before the first step, of a shape that broadcasts to ``b.shape[1:]``; 0 if None.
        reverse: Start at the last step: h_t = a_t ⊙ h_{t+1} + b_t.
        mask: Which steps to read, booleans ``(T,)`` or ``(T, N)``, the first axes of ``b``. At the
            others h stays unchanged, and a and b get no gradient.
        pairs: Whether the last axis, of size 2 in all of them, holds complex numbers as (real,
            imaginary).
        lengths: In place of a mask, the number of steps of each sequence ``(N,)``, 1 to T, the
            second axis of ``b``. The last h is then that of each sequence's own last step.

    Returns:
        h ``(T, ...)``.

    Raises:
        ValueError: shapes or lengths do not fit, or there are both lengths and a mask.
        TypeError: the mask is not booleans, the lengths are not integers, or ``a`` or ``b`` is
            complex.

    Example:
        >>> linear_scan(0.5, np.array([8.0, 0.0, 0.0, 1.0]))
        array([8., 4., 2., 2.])

    Source: Martin & Cundy, "Parallelizing linear recurrent neural nets over sequence length"
    (2018).
    """
    if not hasattr(b, "shape"):
        b = xp(plain(a)).asarray(as_operand(b, [plain(a)], "linear_scan"))
    shape = b.shape
    if not shape or not shape[0]:
        raise ValueError(f"linear_scan expects b (T, ...) of at least one step; got shape {shape}")
    if pairs and shape[-1:] != (2,):
        raise ValueError(
            f"linear_scan with pairs expects b (..., 2), real and imaginary parts; got {shape}"
        )
    if any(plain(x).dtype.kind == "c" for x in (a, b, h0) if hasattr(x, "dtype")):
        raise TypeError(
            "linear_scan expects complex numbers as pairs, np.stack([z.real, z.imag], axis=-1), "
            "with pairs=True"
        )
    _fits("a", a, shape)
    if lengths is not None:
        if mask is not None:
            raise ValueError("linear_scan takes lengths or a mask, not both")
        mask = _counted(lengths, shape)
    if mask is not None:
        read = _readable(mask, b, pairs)
        one = xp(plain(b)).asarray([1.0, 0.0] if pairs else 1.0, dtype=b.dtype)
        a, b = where(read, a, one), where(read, b, 0.0)
    if h0 is None:
        return scan([a, b], reverse=reverse, pairs=pairs)
    _fits("h0", h0, shape[1:])
    return scan([a, b, broadcast_to(h0, shape[1:])], reverse=reverse, pairs=pairs)


def _fits(name: str, x: Any, shape: tuple[int, ...]) -> None:
    """Raise if an array does not broadcast to a shape without enlarging it."""
    own = getattr(x, "shape", ())
    sides = zip(own[::-1], shape[::-1], strict=False)
    if len(own) > len(shape) or any(side not in (1, other) for side, other in sides):
        raise ValueError(f"linear_scan expects {name} that broadcasts to {shape}; got {own}")


def _counted(lengths: Any, shape: tuple[int, ...]) -> Array:
    """The mask of sequences of such lengths."""
    given = lengths if hasattr(lengths, "shape") else xp().asarray(lengths)
    array = numbers(given, "linear_scan")
    if array.dtype.kind not in "iu":
        raise TypeError(f"linear_scan expects lengths that are integers; got {array.dtype}")
    if (
        array.ndim != 1
        or array.shape != shape[1:2]
        or not ((array > 0) & (array <= shape[0])).all()
    ):
        raise ValueError(
            f"linear_scan expects lengths from 1 to {shape[0]} for each sequence, of shape "
            f"{shape[1:2]}; got {array.tolist()!s:.80}"
        )
    return xp(array).arange(shape[0])[:, None] < array


def _readable(mask: Any, b: Any, pairs: bool) -> Array:
    """A mask with as many axes as ``b``, on its device."""
    array = numbers(mask if hasattr(mask, "shape") else xp().asarray(mask), "linear_scan")
    if array.dtype.kind != "b":
        raise TypeError(f"linear_scan expects a mask of booleans; got {array.dtype}")
    axes = len(b.shape) - pairs
    if not 1 <= array.ndim <= axes or array.shape != b.shape[: array.ndim]:
        raise ValueError(
            f"linear_scan expects a mask of the first axes of b, {b.shape}; got {array.shape}"
        )
    spread = array.reshape(array.shape + (1,) * (len(b.shape) - array.ndim))
    return there(spread, plain(b))
