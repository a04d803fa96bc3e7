"""LayerNorm: features of each example with mean 0 and variance 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import ops
from ..autograd.operands import in_single
from ..tensor import Tensor
from . import init
from .checks import as_tensor, floating_dtype, positive, same_dtype
from .module import Module
from .parameter import Parameter

if TYPE_CHECKING:
    from ..autograd.signatures import DType, Operand


class LayerNorm(Module):
    """Normalise over the last axes, then scale and shift.  y = (x - μ) / √(σ² + ε) ⊙ w + b

    μ and σ² are the mean and the (biased) variance over the normalised axes. w starts at one and b
    at zero.

    Args:
        normalized_shape: Sizes of the last axes to normalise over; an int for the last one.
        eps: ε, which keeps the division finite where all features are equal.
        dtype: Of the parameters; the default float if None.

    Attributes:
        weight: w, of shape ``normalized_shape``.
        bias: b, of shape ``normalized_shape``.

    Source: Ba et al. 2016, eq. 4.
    """

    def __init__(
        self, normalized_shape: int | tuple[int, ...], eps: float = 1e-5, dtype: DType | None = None
    ) -> None:
        several = isinstance(normalized_shape, tuple | list)
        sizes: Any = normalized_shape if several else (normalized_shape,)
        self.normalized_shape = tuple(positive("LayerNorm", "each size", n) for n in sizes)
        if not self.normalized_shape:
            raise ValueError("LayerNorm expects at least one axis to normalise over; got ()")
        self.eps = eps
        dtype = floating_dtype("LayerNorm", dtype)
        self.weight = Parameter(init.constant(self.normalized_shape, 1.0, dtype))
        self.bias = Parameter(init.zeros(self.normalized_shape, dtype))

    def forward(self, x: Operand) -> Tensor:
        """Map x ``(..., *normalized_shape)`` to the same shape.

        Raises:
            ValueError: the last axes are not of ``normalized_shape``.
            TypeError: the dtype is not that of the weights.
        """
        x = as_tensor(x, self.weight.dtype)
        count = len(self.normalized_shape)
        if x.shape[-count:] != self.normalized_shape:
            raise ValueError(
                f"LayerNorm expects normalized_shape={self.normalized_shape} on the last axes; "
                f"got x of shape {x.shape}"
            )
        same_dtype("LayerNorm", "x", x, self.weight.dtype)
        return _normal(x, tuple(range(-count, 0)), self.eps) * self.weight + self.bias

    def extra_repr(self) -> str:
        """The normalised axes and ε."""
        return f"{self.normalized_shape}, eps={self.eps}"


@in_single
def _normal(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    """(x - μ) / √(σ² + ε)"""
    centred = x - ops.mean(x, axis=axes, keepdims=True)
    variance = ops.mean(centred * centred, axis=axes, keepdims=True)
    return centred / ops.sqrt(variance + eps)
