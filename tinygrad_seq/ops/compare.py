"""Comparisons and searches: the results are booleans or positions, without a derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..autograd import elementwise, primitive
from ..backend import Array, xp
from .axes import Axis

if TYPE_CHECKING:
    from ..autograd.signatures import Binary, Unary
    from ..tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])


def _of_one(name: str) -> Unary[[], Tensor, Array]:
    """A primitive of one argument without a rule, from NumPy's function of that name."""

    def ask(x: Array, /) -> Array:
        return getattr(xp(x), name)(x)

    return elementwise(_named(ask, name))


def _of_two(name: str) -> Binary[[]]:
    """The same, of two arguments."""

    def ask(a: Array, b: Array, /) -> Array:
        return getattr(xp(a, b), name)(a, b)

    return elementwise(_named(ask, name))


def _named(ask: F, name: str) -> F:
    ask.__name__ = ask.__qualname__ = name
    ask.__doc__ = f"As ``numpy.{name}``; no derivative."
    return ask


equal = _of_two("equal")
not_equal = _of_two("not_equal")
less = _of_two("less")
less_equal = _of_two("less_equal")
greater = _of_two("greater")
greater_equal = _of_two("greater_equal")
logical_and = _of_two("logical_and")
logical_or = _of_two("logical_or")
logical_xor = _of_two("logical_xor")
logical_not = _of_one("logical_not")
bitwise_and = _of_two("bitwise_and")
bitwise_or = _of_two("bitwise_or")
bitwise_xor = _of_two("bitwise_xor")
invert = _of_one("invert")
floor_divide = _of_two("floor_divide")
isnan = _of_one("isnan")
isinf = _of_one("isinf")
isfinite = _of_one("isfinite")


@primitive
def all(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """Whether every element along ``axis`` is true; no derivative."""
    return xp(x).all(x, axis=axis, keepdims=keepdims)


@primitive
def any(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """Whether some element along ``axis`` is true; no derivative."""
    return xp(x).any(x, axis=axis, keepdims=keepdims)


@primitive
def argmax(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """Position of the (first) largest element along ``axis``; no derivative."""
    return xp(x).argmax(x, axis=axis, keepdims=keepdims)


@primitive
def argmin(x: Array, /, axis: Axis = None, keepdims: bool = False) -> Array:
    """Position of the (first) smallest element along ``axis``; no derivative."""
    return xp(x).argmin(x, axis=axis, keepdims=keepdims)


@primitive
def argsort(x: Array, /, axis: int = -1) -> Array:
    """Positions that sort ``x`` along ``axis``, equal ones keep their order; no derivative."""
    return xp(x).argsort(x, axis=axis, kind="stable")
