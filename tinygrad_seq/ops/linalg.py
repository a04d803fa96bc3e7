"""Linear algebra with the names and arguments of ``numpy.linalg``, for stacks of matrices too.

Derivatives as in M. Giles, *Collected matrix derivative results for forward and reverse mode
algorithmic differentiation* (2008). As in NumPy, a primitive raises ``numpy.linalg.LinAlgError``
if a matrix to be inverted is singular.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

from ..autograd import composite, primitive
from ..autograd.operands import as_flag
from ..backend import Array, xp
from . import linear, reduce
from .arithmetic import absolute, quotient, where
from .arrange import diagonal as _diagonal
from .arrange import tril
from .axes import Axis, one_axis
from .index import plain
from .joining import operands
from .linear import matmul, tensordot, vecdot
from .reduce import max, min, sum
from .shape import expand_dims, matrix_transpose, moveaxis

if TYPE_CHECKING:
    from ..autograd.signatures import Mixed

__all__ = [
    "cholesky", "cross", "det", "diagonal", "inv", "matmul", "matrix_norm", "matrix_power",
    "matrix_transpose", "multi_dot", "norm", "outer", "slogdet", "solve", "svd", "svdvals",
    "tensordot", "trace", "vecdot", "vector_norm",
]  # fmt: skip


@primitive
def inv(x: Array, /) -> Array:
    """Inverse.  y = x⁻¹,  x̄ = -yᵀ ȳ yᵀ."""
    return xp(x).linalg.inv(x)


def _inv_rule(g: Any, y: Any) -> Any:
    y = matrix_transpose(y)
    return -(y @ g @ y)


inv.defvjp(x=_inv_rule)


@primitive
def solve(a: Array, b: Array, /) -> Array:
    """The y with a y = b, a vector where b has one axis, else matrices.

    y = a⁻¹ b,  b̄ = a⁻ᵀ ȳ,  ā = -b̄ yᵀ.
    """
    np = xp(a, b)
    if np.ndim(b) == 1:
        return np.linalg.solve(a, b[:, None])[..., 0]
    return np.linalg.solve(a, b)


def _solve_a(g: Any, y: Any, a: Any, b_shape: tuple[int, ...]) -> Any:
    if len(b_shape) == 1:
        g, y = expand_dims(g, -1), expand_dims(y, -1)
    return -(solve(matrix_transpose(a), g) @ matrix_transpose(y))


def _solve_b(g: Any, a: Any, b_shape: tuple[int, ...]) -> Any:
    if len(b_shape) == 1:
        return solve(matrix_transpose(a), expand_dims(g, -1))[..., 0]
    return solve(matrix_transpose(a), g)


solve.defvjp(a=_solve_a, b=_solve_b)


@primitive
def cofactors(x: Array, /) -> Array:
    """The derivative of the determinant, also of singular matrices.  y = det x · x⁻ᵀ.

    By singular values, x = U s Vᵀ: y = det U det V · U (Πₖ≠ᵢ sₖ) Vᵀ. Its own derivative needs the
    inverse: x̄ = (⟨ȳ, y⟩ y - y ȳᵀ y) / det x.
    """
    np = xp(x)
    u, s, vt = np.linalg.svd(x)
    n = s.shape[-1]
    others = np.where(np.eye(n, dtype=bool), 1, s[..., None, :]).prod(-1)
    sign = np.linalg.det(u) * np.linalg.det(vt)
    return (u * (sign[..., None] * others)[..., None, :]) @ vt


def _cofactors_rule(g: Any, x: Any) -> Any:
    a = matrix_transpose(inv(x))
    along = sum(g * a, axis=(-2, -1), keepdims=True)
    return _spread(det(x)) * (along * a - a @ matrix_transpose(g) @ a)


cofactors.defvjp(x=_cofactors_rule)
cofactors.domain(analytic=False)


def _spread(y: Any) -> Any:
    """One number per matrix, with two axes of length 1 to broadcast."""
    return expand_dims(y, (-2, -1))


@primitive
def det(x: Array, /) -> Array:
    """Determinant.  y = det x,  x̄ = ȳ y x⁻ᵀ, which is right at singular matrices too."""
    return xp(x).linalg.det(x)


det.defvjp(x=lambda g, x: _spread(g) * cofactors(x))


@primitive
def slogdet(x: Array, /) -> tuple[Array, Array]:
    """Sign and logarithm of the absolute value of the determinant; does not overflow.

    y = (sign det x, ln |det x|),  x̄ = ȳ₂ x⁻ᵀ.
    """
    return tuple(xp(x).linalg.slogdet(x))


slogdet.defvjp(x=lambda g, x: _spread(g[1]) * matrix_transpose(inv(x)))
slogdet.domain(analytic=False)


@primitive
def cholesky(x: Array, /, upper: bool = False) -> Array:
    """The lower triangular y with y yᵀ = x; ``upper`` gives yᵀ.

    x is replaced by its symmetric part, (x + xᵀ) / 2, so that the gradient is symmetric as in
    PyTorch and JAX. (NumPy reads one triangle, which is the same for a symmetric x.)

        x̄ = y⁻ᵀ Φ(yᵀ ȳ) y⁻¹, made symmetric; Φ takes the lower triangle and half of the diagonal

    Raises:
        LinAlgError: x is not positive definite.
    """
    np = xp(x)
    y = np.linalg.cholesky((x + x.swapaxes(-1, -2)) * 0.5)
    return y.swapaxes(-1, -2) if upper else y


def _cholesky_rule(g: Any, y: Any, upper: bool) -> Any:
    if upper:
        g, y = matrix_transpose(g), matrix_transpose(y)
    yt = matrix_transpose(y)
    p = yt @ g
    p = tril(p) + matrix_transpose(tril(p, -1))
    p = solve(yt, matrix_transpose(solve(yt, p)))
    return (p + matrix_transpose(p)) * 0.25


cholesky.defvjp(x=_cholesky_rule)
cholesky.domain(analytic=False)


@primitive
def svd(x: Array, /, full_matrices: bool = False) -> tuple[Array, Array, Array]:
    """Singular value decomposition, compact.  x = U diag(s) Vᵀ; gives U, s, Vᵀ.

    With F_ij = 1 / (sⱼ² - sᵢ²) off the diagonal, 0 on it:

        x̄ = U ((F ⊙ (Uᵀ Ū - Ūᵀ U)) s + s (F ⊙ (Vᵀ V̄ - V̄ᵀ V)) + diag s̄) Vᵀ
            + (1 - U Uᵀ) Ū s⁻¹ Vᵀ + U s⁻¹ V̄ᵀ (1 - V Vᵀ)

    The gradient of U and V is defined where all s differ and their signs do not matter.
    """
    if full_matrices:
        raise ValueError("svd is compact here: pass full_matrices=False")
    return tuple(xp(x).linalg.svd(x, full_matrices=False))


def _svd_rule(g: Any, y: Any) -> Any:
    (gu, gs, gvt), (u, s, vt) = g, y
    ut, v, gv = matrix_transpose(u), matrix_transpose(vt), matrix_transpose(gvt)
    eye = xp(plain(s)).eye(s.shape[-1], dtype=s.dtype)
    row, column = expand_dims(s, -2), expand_dims(s, -1)
    gap = (row - column) * (row + column)
    left, right = ut @ gu, vt @ gv
    left = quotient(left - matrix_transpose(left), gap + eye)
    right = quotient(right - matrix_transpose(right), gap + eye)
    middle = left * row + column * right + expand_dims(gs, -1) * eye
    x = u @ middle @ vt
    x = x + quotient(gu - u @ (ut @ gu), row) @ vt
    return x + u @ matrix_transpose(quotient(gv - v @ (vt @ gv), row))


svd.defvjp(x=_svd_rule)
svd.domain(analytic=False)


@composite
def svdvals(x: Array) -> Array:
    """Singular values, the largest first."""
    return svd(x)[1]


@composite
def vector_norm(x: Array, axis: Axis = None, keepdims: bool = False, ord: float = 2) -> Array:
    """p-norm over axes, all by default; see :func:`tinygrad_seq.norm`."""
    return reduce.norm(x, ord, axis, keepdims)


@composite
def matrix_norm(x: Array, keepdims: bool = False, ord: float | str = "fro") -> Array:
    """Norm of matrices, of the last two axes.

    Args:
        x: Shape (..., m, n).
        keepdims: Keep the last two axes at length 1.
        ord: ``"fro"`` √Σ xᵢⱼ², ``"nuc"`` the sum of the singular values, 2 the largest of them and
            -2 the smallest, 1 the largest absolute column sum and -1 the smallest, ``inf`` and
            ``-inf`` the same of rows.

    Raises:
        ValueError: ``ord`` is none of these, or x is not a matrix.
    """
    if x.ndim < 2:
        raise ValueError(f"a matrix norm needs two axes or more; got shape {tuple(x.shape)}")
    if isinstance(ord, str) and ord == "fro":
        y = reduce.norm(x, 2, (-2, -1))
    elif isinstance(ord, str) and ord == "nuc":
        y = sum(svdvals(x), axis=-1)
    elif not isinstance(ord, str) and ord in (2, -2):
        y = (max if ord > 0 else min)(svdvals(x), axis=-1)
    elif not isinstance(ord, str) and ord in (1, -1, math.inf, -math.inf):
        sums = sum(absolute(x), axis=-2 if abs(ord) == 1 else -1)
        y = (max if ord > 0 else min)(sums, axis=-1)
    else:
        raise ValueError(
            f"a matrix norm takes ord 'fro', 'nuc', 1, -1, 2, -2, inf or -inf; got {ord!r}"
        )
    return _spread(y) if as_flag("keepdims", keepdims) else y


@composite
def norm(x: Array, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Array:
    """Norm of vectors or matrices, as ``numpy.linalg.norm`` chooses.

    Args:
        x: Any shape.
        ord: For a vector p, see :func:`vector_norm`; for a matrix see :func:`matrix_norm`.
        axis: One axis for vectors, two for matrices. By default all axes of x, which is a
            vector or a matrix; without ``ord`` too, all elements are one vector.
        keepdims: Keep the reduced axes at length 1.

    Raises:
        ValueError: x is neither a vector nor a matrix, or has no norm of this ``ord``.
    """
    if axis is None and ord is None:
        return vector_norm(x, None, keepdims)
    axes = (axis if isinstance(axis, tuple) else (axis,)) if axis is not None else None
    axes = tuple(range(x.ndim)) if axes is None else tuple(one_axis(k, x.ndim) for k in axes)
    if len(axes) == 1:
        if isinstance(ord, str):
            raise ValueError(f"the norm of a vector takes a number as ord; got {ord!r}")
        return vector_norm(x, axes[0], keepdims, 2 if ord is None else ord)
    if len(axes) != 2 or axes[0] == axes[1]:
        raise ValueError(
            f"norm takes one axis for vectors or two for matrices; got axis={axis} of "
            f"{x.ndim} dimensions"
        )
    y = matrix_norm(moveaxis(x, axes, (-2, -1)), ord="fro" if ord is None else ord)
    return reduce.kept(y, x.shape, axes, False) if keepdims else y


@composite
def trace(x: Array, offset: int = 0) -> Array:
    """The sum of a diagonal of the last two axes."""
    return reduce.trace(x, offset, -2, -1)


@composite
def diagonal(x: Array, offset: int = 0) -> Array:
    """A diagonal of the last two axes."""
    return _diagonal(x, offset, -2, -1)


@composite
def outer(a: Array, b: Any) -> Array:
    """y_ij = aᵢ bⱼ, of two vectors."""
    a, b = operands("outer", [a, b])
    if a.ndim != 1 or b.ndim != 1:
        raise ValueError(f"outer takes two vectors; got shapes {a.shape} and {b.shape}")
    return linear.outer(a, b)


@composite
def cross(a: Array, b: Any, axis: int = -1) -> Array:
    """Cross product of vectors of length 3 along an axis."""
    return linear.cross(a, b, axis=axis)


@composite
def matrix_power(x: Array, n: int) -> Array:
    """n-th power of square matrices, by squaring; for n < 0, of the inverse."""
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"matrix_power takes square matrices; got shape {tuple(x.shape)}")
    x, n = (inv(x), -n) if n < 0 else (x, operator.index(n))
    y = where(True, xp(plain(x)).eye(x.shape[-1], dtype=x.dtype), x)  # x⁰
    while n:
        y, x, n = y @ x if n % 2 else y, x @ x if n > 1 else x, n // 2
    return y


def multi_dot(xs: Any) -> Mixed:
    """Product of several matrices, from left to right; the first and last may be vectors."""
    y, *rest = operands("multi_dot", xs)
    for x in rest:
        y = matmul(y, x)
    return y
