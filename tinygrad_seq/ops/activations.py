"""The non-linearities of neural nets. Values and gradients are finite for every finite input."""

from __future__ import annotations

from typing import Any

from ..autograd import composite, elementwise
from ..autograd.operands import in_single
from ..backend import Array, backend_of, floating, narrowed, wider, xp
from .arithmetic import AWAY_FROM_0, REALS, clamp, maximum, where
from .functions import exp, tanh

SQRT_2 = 2.0**0.5
SQRT_2_OVER_PI = 0.7978845608028654
SQRT_1_OVER_2PI = 0.3989422804014327


@elementwise
def sigmoid(x: Array, /) -> Array:
    """Logistic function.  y = 1 / (1 + e⁻ˣ),  x̄ = ȳ y (1 - y)."""
    return backend_of(x).sigmoid(x)


sigmoid.defvjp(x=lambda g, y: g * (y * (1 - y)))
sigmoid.domain(x=REALS)


@elementwise
def relu(x: Array, /) -> Array:
    """Rectifier.  y = max(x, 0),  x̄ = ȳ where x > 0, else 0 (also at 0)."""
    return xp(x).maximum(x, 0)


relu.defvjp(x=lambda g, y: where(y > 0, g, 0.0))
relu.domain(x=AWAY_FROM_0, analytic=False)


@elementwise
def leaky_relu(x: Array, /, slope: float = 0.01) -> Array:
    """y = x where x > 0, else slope · x;  x̄ = ȳ where x > 0, else slope · ȳ."""
    return backend_of(x).where(x > 0, x, slope * x)


leaky_relu.defvjp(x=lambda g, x, slope: where(x > 0, g, slope * g if slope else 0.0))
leaky_relu.domain(x=AWAY_FROM_0, analytic=False)


@elementwise
def elu(x: Array, /, alpha: float = 1.0) -> Array:
    """y = x where x > 0, else α (eˣ - 1);  x̄ = ȳ where x > 0, else ȳ α eˣ."""
    np = xp(x)
    return backend_of(x).where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


elu.defvjp(
    x=lambda g, x, alpha: where(x > 0, g, g * alpha * exp(-maximum(-x, 0)) if alpha else 0.0)
)
elu.domain(x=AWAY_FROM_0, analytic=False)


@elementwise
def softplus(x: Array, /) -> Array:
    """Smooth rectifier.  y = ln(1 + eˣ),  x̄ = ȳ σ(x)."""
    np, x = xp(x), floating(x)
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


softplus.defvjp(x=lambda g, x: g * sigmoid(x))
softplus.domain(x=REALS, analytic=False)


@elementwise
def silu(x: Array, /) -> Array:
    """Swish.  y = x σ(x),  x̄ = ȳ σ(x) (1 + x (1 - σ(x)))."""
    wide = wider(x)
    return narrowed(wide * backend_of(x).sigmoid(wide), x)


def _silu_rule(g: Any, x: Any) -> Any:
    s = sigmoid(x)
    return g * (s * (1 + x * (1 - s)))


silu.defvjp(x=_silu_rule)
silu.domain(x=REALS)


@elementwise
def erf(x: Array, /) -> Array:
    """Error function.  y = 2/√π ∫₀ˣ e^(-t²) dt,  x̄ = ȳ 2/√π e^(-x²)."""
    return backend_of(x).erf(x)


erf.defvjp(x=lambda g, x: g * (SQRT_2 * SQRT_2_OVER_PI * exp(-(x * x))))
erf.domain(x=REALS, analytic=False)


@elementwise
def gelu(x: Array, /) -> Array:
    """Gaussian error linear unit.  y = x Φ(x),  x̄ = ȳ (Φ(x) + x φ(x)), Φ the normal CDF."""
    wide = wider(x)
    return narrowed(wide * (0.5 + 0.5 * backend_of(x).erf(wide / SQRT_2)), x)


def _gelu_rule(g: Any, x: Any) -> Any:
    cdf = 0.5 + 0.5 * erf(x / SQRT_2)
    return g * (cdf + x * (SQRT_1_OVER_2PI * exp(-0.5 * (x * x))))


gelu.defvjp(x=_gelu_rule)
gelu.domain(x=REALS, analytic=False)


@composite
@in_single
def gelu_tanh(x: Array) -> Array:
    """The usual approximation of :func:`gelu`: x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))."""
    u = clamp(x, -10, 10)  # beyond it tanh rounds to ±1
    return 0.5 * x * (1 + tanh(SQRT_2_OVER_PI * (u + 0.044715 * u * u * u)))
