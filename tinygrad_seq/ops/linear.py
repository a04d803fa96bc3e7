"""Products: matmul in all NumPy cases, and Einstein summation."""

from __future__ import annotations

import math
import operator
import string
from collections import Counter
from typing import TYPE_CHECKING, Any, overload

from ..autograd import Variable, composite, primitive
from ..autograd.operands import in_single
from ..backend import Array, backend_of, xp
from .arithmetic import REALS, multiply
from .axes import many_axes
from .index import plain
from .reduce import sum
from .shape import expand_dims, moveaxis, reshape, swapaxes, transpose

if TYPE_CHECKING:
    from ..autograd.signatures import Numbers, Operand
    from ..tensor import Tensor


@primitive
def matmul(a: Array, b: Array, /) -> Array:
    """Matrix product.  y = a b,  ā = ȳ bᵀ,  b̄ = aᵀ ȳ.

    Shapes as in NumPy: (n,) (n,) → (); (m, n) (n,) → (m,); (n,) (n, p) → (p,);
    (..., m, n) (..., n, p) → (..., m, p) with leading axes broadcast.
    """
    np, product = xp(a, b), backend_of(a, b).matmul
    try:
        if np.ndim(a) > 2 and np.ndim(b) in (1, 2):  # one product for all leading axes
            *leading, n = a.shape
            flat = product(a.reshape(math.prod(leading), n), b)
            return flat.reshape(*leading, *b.shape[1:])
        return product(a, b)
    except ValueError:
        raise ValueError(
            f"matmul of shapes {np.shape(a)} and {np.shape(b)}: the last axis of the first must be "
            "as long as the last but one (or only) of the second"
        ) from None


def _swap(x: Any) -> Any:
    return x.T if x.ndim == 2 else swapaxes(x, -1, -2)


def _matmul_a(g: Any, b: Any, a_shape: tuple[int, ...]) -> Any:
    if b.ndim == 1:  # y_m = Σₙ a_mn b_n
        return expand_dims(g, -1) * b
    if len(a_shape) == 1:  # y_p = Σₙ a_n b_np
        return matmul(expand_dims(g, -2), _swap(b))[..., 0, :]
    return matmul(g, _swap(b))


def _matmul_b(g: Any, a: Any, b_shape: tuple[int, ...]) -> Any:
    if a.ndim == 1:  # y_p = Σₙ a_n b_np, or a number
        return a * g if len(b_shape) == 1 else expand_dims(a, -1) * expand_dims(g, -2)
    if len(b_shape) == 1:  # y_m = Σₙ a_mn b_n
        return _matmul_b(expand_dims(g, -1), a, (*b_shape, 1))[..., 0]
    if len(b_shape) == 2 and a.ndim > 2:  # b was broadcast: one product sums over all axes
        rows = math.prod(a.shape[:-1])
        a, g = reshape(a, (rows, a.shape[-1])), reshape(g, (rows, g.shape[-1]))
    return matmul(_swap(a), g)


matmul.defvjp(a=_matmul_a, b=_matmul_b)
matmul.stack(b="a")
matmul.domain(a=REALS, b=REALS)


@primitive
def affine(x: Array, weight: Array, bias: Array | None = None, /) -> Array:
    """Affine map of the last axis.  y = x Wᵀ + b,  x̄ = ȳ W,  W̄ = ȳᵀ x,  b̄ = Σ ȳ.

    One operation, so that W̄ is formed in the layout of W, and b is added where the product is.
    """
    return backend_of(x, weight).plus_row(matmul.forward(x, weight.T), bias)


def _affine_weight(g: Any, x: Any) -> Any:
    if x.ndim == 1:
        return expand_dims(g, -1) * x
    if x.ndim > 2:
        rows = math.prod(x.shape[:-1])
        x, g = reshape(x, (rows, x.shape[-1])), reshape(g, (rows, g.shape[-1]))
    return matmul(_swap(g), x)


affine.defvjp(x=lambda g, weight: matmul(g, weight), weight=_affine_weight, bias=lambda g: g)
affine.stack(weight="x")
affine.domain(x=REALS, weight=REALS, bias=REALS)


def affine_in_parts(x: Any, weight: Any, bias: Any = None) -> Any:
    """:func:`affine` as a product and a sum."""
    y = matmul(x, transpose(weight))
    return y if bias is None else y + bias


@primitive
def contract(*xs: Array, inputs: tuple[str, ...], output: str) -> Array:
    """Einstein summation with every axis named: ``inputs`` is a word per array, ``output`` a word.

    The rule of an operand is again such a sum: of ȳ and the other operands, over the axes that the
    operand does not have.
    """
    np = xp(*xs)
    return np.einsum(f"{','.join(inputs)}->{output}", *xs, optimize=len(xs) > 1)


def _contract_rule(g: Any, i: int, xs: Any, inputs: tuple[str, ...], output: str) -> Any:
    others = [(word, x) for k, (word, x) in enumerate(zip(inputs, xs, strict=True)) if k != i]
    named = [(output, g), *others]
    words, operands = [w for w, _ in named], [x for _, x in named]
    np, shape, dtype = xp(*plain(tuple(xs))), xs[i].shape, xs[i].dtype
    free = iter(c for c in string.ascii_letters if c not in "".join(inputs) + output)
    own = ""
    for axis, letter in enumerate(inputs[i]):
        if letter in own:  # a diagonal: the gradient is zero off it
            other = next(free)
            words.append(letter + other)
            operands.append(np.eye(shape[axis], dtype=dtype))
            own += other
            continue
        lengths = [x.shape[word.index(letter)] for word, x in named if letter in word]
        if not lengths or max(lengths) < shape[axis]:
            # absent, or of length 1, in all others: the gradient is constant along it
            words.append(letter)
            operands.append(np.ones(shape[axis], dtype))
        own += letter
    return contract(operands, inputs=tuple(words), output=own)


contract.defvjp(xs=_contract_rule)
contract.domain(xs=REALS)


@overload
def einsum(subscripts: str, *operands: Tensor, optimize: Any = True) -> Tensor: ...
@overload
def einsum(  # type: ignore[overload-overlap]  # arrays alone are operands too
    subscripts: str, *operands: Numbers, optimize: Any = True
) -> Array: ...
@overload
def einsum(subscripts: str, *operands: Operand, optimize: Any = True) -> Tensor: ...
def einsum(subscripts: str, *operands: Any, optimize: Any = True) -> Any:
    """Einstein summation in NumPy's notation, with ``...`` and without ``->`` as there.

    Example: ``einsum("tni,hi->tnh", x, w)``.

    Args:
        subscripts: The axes of each operand, and after ``->`` those of the result.
        *operands: Arrays or tensors.
        optimize: Accepted for compatibility with NumPy; the order is always optimised.

    Raises:
        ValueError: the subscripts do not fit the operands.
    """
    if not isinstance(subscripts, str):
        raise TypeError(
            "einsum takes the subscripts as a string first, einsum('ij,jk->ik', a, b); got "
            f"{type(subscripts).__name__}"
        )
    words, arrow, output = subscripts.replace(" ", "").partition("->")
    inputs = words.split(",")
    if len(inputs) != len(operands):
        raise ValueError(f"einsum {subscripts!r} names {len(inputs)} operands; got {len(operands)}")
    ranks = [xp(plain(x)).ndim(plain(x)) for x in operands]
    free = [c for c in string.ascii_letters if c not in subscripts]
    depth = max(
        (n - len(w) + 3 for w, n in zip(inputs, ranks, strict=True) if "..." in w), default=0
    )
    dots = "".join(free[:depth])
    if not arrow:
        counts = Counter(words.replace(",", "").replace(".", ""))
        output = ("..." if "..." in words else "") + "".join(
            sorted(c for c, n in counts.items() if n == 1)
        )
    named = []
    for word, rank in zip(inputs, ranks, strict=True):
        own = rank - len(word) + 3  # the number of axes that ... means for this operand
        word = word.replace("...", dots[len(dots) - own :] if own > 0 else "")
        if len(word) != rank:
            raise ValueError(
                f"einsum {subscripts!r}: {word!r} names {len(word)} axes of an operand with {rank}"
            )
        named.append(word)
    return contract(operands, inputs=tuple(named), output=output.replace("...", dots))


@composite
def dot(a: Array, b: Any) -> Array:
    """NumPy's dot: the last axis of a with the second to last (or only) axis of b."""
    b = _operand(b)
    if not (a.ndim and b.ndim):
        return multiply(a, b)
    return tensordot(a, b, (-1, max(-2, -b.ndim))) if b.ndim > 2 else matmul(a, b)


@composite
def outer(a: Array, b: Any) -> Array:
    """y_ij = aᵢ bⱼ, of the flattened arguments."""
    return reshape(a, (-1, 1)) * reshape(b, (1, -1))


@composite
def inner(a: Array, b: Any) -> Array:
    """Sum over the last axis of both, y = Σₖ a_..k b_..k, for every pair of their other axes."""
    b = _operand(b)
    return tensordot(a, b, (-1, -1)) if a.ndim and b.ndim else multiply(a, b)


@composite
def tensordot(a: Array, b: Any, axes: Any = 2) -> Array:
    """Sum of products over the given axes of each (or the last n of a and first n of b).

    Raises:
        ValueError: the axes summed over do not have the same lengths.
    """
    b = _operand(b)
    if not isinstance(axes, (tuple, list)):
        n = operator.index(axes)
        axes = (tuple(range(-n, 0)), tuple(range(n)))
    left, right = many_axes(axes[0], a.ndim), many_axes(axes[1], b.ndim)
    if [a.shape[k] for k in left] != [b.shape[k] for k in right]:
        raise ValueError(
            f"tensordot of shapes {a.shape} and {b.shape} over axes {left} and {right}: the axes "
            "summed over must have the same lengths"
        )
    rest_a = [k for k in range(a.ndim) if k not in left]
    rest_b = [k for k in range(b.ndim) if k not in right]
    n = math.prod(a.shape[k] for k in left)
    rows, columns = [a.shape[k] for k in rest_a], [b.shape[k] for k in rest_b]
    a = reshape(transpose(a, (*rest_a, *left)), (math.prod(rows), n))
    b = reshape(transpose(b, (*right, *rest_b)), (n, math.prod(columns)))
    return reshape(a @ b, (*rows, *columns))


@composite
@in_single
def vecdot(a: Array, b: Any, axis: int = -1) -> Array:
    """Products of the vectors along an axis: y = Σᵢ aᵢ bᵢ."""
    return sum(a * b, axis=operator.index(axis))


@composite
def matvec(a: Array, b: Any) -> Array:
    """Matrices times vectors, stacks of both: (..., m, n) (..., n) → (..., m)."""
    return matmul(a, expand_dims(_operand(b), -1))[..., 0]


@composite
def vecmat(a: Array, b: Any) -> Array:
    """Vectors times matrices, stacks of both: (..., m) (..., m, n) → (..., n)."""
    return matmul(expand_dims(a, -2), _operand(b))[..., 0, :]


@composite
def kron(a: Array, b: Any) -> Array:
    """Kronecker product: a copy of b for each element of a, multiplied by it."""
    b = _operand(b)
    ndim = max(a.ndim, b.ndim)
    one, two = ((1,) * (ndim - x.ndim) + tuple(x.shape) for x in (a, b))
    a = reshape(a, tuple(n for m in one for n in (m, 1)))
    b = reshape(b, tuple(n for m in two for n in (1, m)))
    return reshape(a * b, tuple(m * n for m, n in zip(one, two, strict=True)))


@composite
@in_single
def cross(
    a: Array, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Array:
    """Cross product of vectors of length 3: y₁ = a₂ b₃ - a₃ b₂, and so on.

    Args:
        a, b: Vectors along ``axisa`` and ``axisb``; the other axes broadcast.
        axisa, axisb, axisc: Where the vectors are in a, b and the result.
        axis: Sets all three at once.
    """
    axisa, axisb, axisc = (axisa, axisb, axisc) if axis is None else (axis,) * 3
    a, b = moveaxis(a, axisa, -1), moveaxis(_operand(b), axisb, -1)
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        raise ValueError(f"cross takes vectors of three; got {a.shape[-1]} and {b.shape[-1]}")
    left, right = [1, 2, 0], [2, 0, 1]
    return moveaxis(a[..., left] * b[..., right] - a[..., right] * b[..., left], -1, axisc)


def _operand(x: Any) -> Any:
    """A second argument, converted to an array or tensor."""
    return x if isinstance(x, Variable) else xp(x).asarray(x)
