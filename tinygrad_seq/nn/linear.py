"""Linear: a matrix product and a bias."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

from ..ops import linear
from ..tensor import Tensor
from . import init
from .checks import features, flag, floating_dtype, positive
from .module import Module
from .parameter import Parameter

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..autograd.signatures import DType, Operand


class Linear(Module):
    """Affine map of the last axis.  y = W x + b

    Both parameters start from U(-1/√in, 1/√in), as in PyTorch.

    Args:
        in_features: Size I of the last axis of the input.
        out_features: Size O of the last axis of the output.
        bias: Whether there is a b.
        dtype: Of the parameters; the default float if None.

    Attributes:
        weight: W, of shape ``(O, I)``.
        bias: b, of shape ``(O,)``, or None.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, dtype: DType | None = None
    ) -> None:
        self.in_features = positive("Linear", "in_features", in_features)
        self.out_features = positive("Linear", "out_features", out_features)
        dtype = floating_dtype("Linear", dtype)
        bound = 1.0 / math.sqrt(in_features)
        self.weight = Parameter(init.uniform((out_features, in_features), -bound, bound, dtype))
        biased = flag("Linear", "bias", bias)
        self.bias = Parameter(init.uniform(out_features, -bound, bound, dtype)) if biased else None

    def forward(self, x: Operand) -> Tensor:
        """Map x ``(..., I)`` to ``(..., O)``.

        Raises:
            ValueError: the last axis is not of size I.
            TypeError: the dtype is not that of the weights.
        """
        x = features("Linear", x, "in_features", self.in_features, self.weight.dtype)
        return affine(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """In and out sizes."""
        bias = ", bias=False" if self.bias is None else ""
        return f"{self.in_features}, {self.out_features}{bias}"


affine = cast("Callable[[Tensor, Tensor, Tensor | None], Tensor]", linear.affine)
"""W x + b over the last axis: x ``(..., I)``, W ``(O, I)``; types of primitives know no None."""
