"""The normal distribution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops
from ..autograd import no_grad
from ..backend import generator, there, xp
from ..tensor import Tensor
from .base import Distribution, parameters, require, shape_of, value_for

if TYPE_CHECKING:
    from ..autograd.signatures import Operand


class Normal(Distribution):
    """Normal (Gaussian) distribution.  p(x) = exp(-(x - μ)² / 2σ²) / (σ √2π)

    Args:
        loc: Mean μ, any shape.
        scale: Standard deviation σ > 0, of a shape that broadcasts with that of ``loc``.

    Raises:
        ValueError: a scale is not positive and finite, a mean is not finite, or shapes do not fit.

    Example:
        >>> loc = ts.tensor([0.0, 3.0], requires_grad=True)
        >>> z = Normal(loc, 0.5).rsample((1000,))
        >>> z.sum().backward()
        >>> loc.grad  # dz/dμ = 1
        Tensor([1000., 1000.], dtype=float32)
    """

    def __init__(self, loc: Any, scale: Any) -> None:
        self.loc, self.scale = parameters("Normal", loc=loc, scale=scale)
        mean, width = self.loc.data, self.scale.data
        require("Normal", "loc", "finite", self.loc, xp(mean).isfinite(mean))
        require("Normal", "scale", "above 0", self.scale, (width > 0) & (width < np.inf))
        self.batch_shape = np.broadcast_shapes(self.loc.shape, self.scale.shape)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Values ``(*sample_shape, *batch_shape)``, detached from the graph."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """x = μ + σ ε with ε ~ N(0, 1), so that dx/dμ = 1 and dx/dσ = ε.

        Args:
            sample_shape: Shape of the samples for each distribution: an int or a tuple.

        Returns:
            Shape ``(*sample_shape, *batch_shape)``.

        Source: Kingma & Welling, "Auto-encoding variational Bayes", 2014, §2.4.
        """
        shape = (*shape_of(sample_shape), *self.batch_shape)
        noise = np.asarray(generator().standard_normal(shape), self.loc.dtype)
        return self.loc + self.scale * there(noise, self.loc.data)

    def log_prob(self, value: Operand) -> Tensor:
        """ln p(x) = -(x - μ)² / 2σ² - ln σ - ½ ln 2π, also differentiable in x.

        Args:
            value: x, of a shape that broadcasts with ``batch_shape``.
        """
        x = value_for("Normal", value, self.batch_shape)
        if x.dtype.kind == "f":
            require("Normal.log_prob", "a value", "without NaN", x, ~xp(x.data).isnan(x.data))
        z = (x - self.loc) / self.scale
        return -0.5 * (z * z) - ops.log(self.scale) - 0.5 * math.log(2 * math.pi)

    def entropy(self) -> Tensor:
        """½ ln 2πe + ln σ, in nats ``(*batch_shape)``."""
        h = 0.5 * math.log(2 * math.pi * math.e) + ops.log(self.scale)
        return ops.broadcast_to(h, self.batch_shape)

    def _kl(self, other: Normal) -> Tensor:
        """ln(σ₂/σ₁) + (σ₁² + (μ₁ - μ₂)²) / 2σ₂² - ½."""
        ratio, apart = self.scale / other.scale, (self.loc - other.loc) / other.scale
        return 0.5 * (ratio * ratio + apart * apart - 1) - ops.log(ratio)

    def __repr__(self) -> str:
        return f"Normal(batch_shape={self.batch_shape})"
