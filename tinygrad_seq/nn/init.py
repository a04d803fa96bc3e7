"""Starting values for weights: functions that return fresh arrays.

Every function draws from the library's generator (see ``manual_seed``) or from ``rng``, directly
in the dtype asked for. Weights have shape ``(out, in, ...)``, so fan_in is the second axis and
fan_out the first, each times the axes that follow.

    layer.weight.copy_(init.orthogonal(layer.weight.shape))     # under no_grad()
    self.weight = nn.Parameter(init.xavier_uniform((out, in_)))
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from ..backend import generator
from .checks import floating_dtype

Array: TypeAlias = np.ndarray[Any, Any]
Shape: TypeAlias = int | tuple[int, ...]
Rng: TypeAlias = np.random.Generator | None


def constant(shape: Shape, value: float, dtype: Any = None) -> Array:
    """An array of one value."""
    return np.full(shape, value, dtype=floating_dtype("init", dtype))


def zeros(shape: Shape, dtype: Any = None) -> Array:
    """An array of zeros."""
    return constant(shape, 0.0, dtype)


def uniform(
    shape: Shape, low: float = 0.0, high: float = 1.0, dtype: Any = None, rng: Rng = None
) -> Array:
    """Draw from U(low, high)."""
    unit = _draw(lambda rng, kind: rng.random(shape, dtype=kind), dtype, rng)
    return unit * (high - low) + low


def normal(
    shape: Shape, mean: float = 0.0, std: float = 1.0, dtype: Any = None, rng: Rng = None
) -> Array:
    """Draw from N(mean, std²)."""
    unit = _draw(lambda rng, kind: rng.standard_normal(shape, dtype=kind), dtype, rng)
    return unit * std + mean


def xavier_uniform(shape: Shape, gain: float = 1.0, dtype: Any = None, rng: Rng = None) -> Array:
    """Draw from U(-a, a), a = gain √(6 / (fan_in + fan_out)).

    Source: Glorot & Bengio 2010, eq. 16.
    """
    bound = gain * math.sqrt(6.0 / sum(fans(shape)))
    return uniform(shape, -bound, bound, dtype, rng)


def xavier_normal(shape: Shape, gain: float = 1.0, dtype: Any = None, rng: Rng = None) -> Array:
    """Draw from N(0, s²), s = gain √(2 / (fan_in + fan_out)).

    Source: Glorot & Bengio 2010, eq. 12.
    """
    return normal(shape, 0.0, gain * math.sqrt(2.0 / sum(fans(shape))), dtype, rng)


def kaiming_uniform(
    shape: Shape,
    gain: float = math.sqrt(2.0),
    mode: str = "fan_in",
    dtype: Any = None,
    rng: Rng = None,
) -> Array:
    """Draw from U(-a, a), a = gain √(3 / fan); the default gain √2 is the one for relu.

    Args:
        shape: ``(out, in, ...)``.
        gain: √2 for relu, √(2 / (1 + s²)) for leaky relu of slope s, 1 for a linear map.
        mode: ``"fan_in"`` keeps the variance of the forward signal, ``"fan_out"`` of the backward.

    Source: He et al. 2015, eq. 10.
    """
    bound = gain * math.sqrt(3.0 / _fan(shape, mode))
    return uniform(shape, -bound, bound, dtype, rng)


def kaiming_normal(
    shape: Shape,
    gain: float = math.sqrt(2.0),
    mode: str = "fan_in",
    dtype: Any = None,
    rng: Rng = None,
) -> Array:
    """Draw from N(0, s²), s = gain / √fan; arguments as in :func:`kaiming_uniform`.

    Source: He et al. 2015, eq. 10.
    """
    return normal(shape, 0.0, gain / math.sqrt(_fan(shape, mode)), dtype, rng)


def orthogonal(shape: Shape, gain: float = 1.0, dtype: Any = None, rng: Rng = None) -> Array:
    """Draw a matrix with orthonormal rows (or columns, whichever are fewer), times gain.

    Uniform over such matrices. A shape of more than two axes is seen as ``(shape[0], rest)``.

    Source: Saxe et al. 2014; Mezzadri 2007 for the signs.
    """
    fans(shape)  # at least two axes
    rows, *rest = shape  # type: ignore[misc]  # fans has refused an int
    columns = math.prod(rest)
    drawn = normal((max(rows, columns), min(rows, columns)), dtype=dtype, rng=rng)
    wide = np.promote_types(drawn.dtype, np.float32)  # QR knows no float16
    q, r = np.linalg.qr(drawn.astype(wide))
    q *= np.where(np.diag(r) < 0, -1, 1).astype(wide)
    if rows < columns:
        q = q.T
    return np.ascontiguousarray(gain * q.reshape(shape), dtype=drawn.dtype)


def fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of shape ``(out, in, ...)``.

    Raises:
        ValueError: fewer than two axes, or an empty one.
    """
    if isinstance(shape, int) or len(shape) < 2 or 0 in shape:
        raise ValueError(
            f"fan_in and fan_out need a shape of at least two axes, none empty; got {shape}"
        )
    return math.prod(shape[1:]), shape[0] * math.prod(shape[2:])


def _fan(shape: Shape, mode: str) -> int:
    fan_in, fan_out = fans(shape)
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f'mode must be "fan_in" or "fan_out"; got {mode!r}')
    return fan_in if mode == "fan_in" else fan_out


def _draw(
    unit: Callable[[np.random.Generator, Any], Array], dtype: Any, rng: np.random.Generator | None
) -> Array:
    """A unit draw in the dtype asked for; the generator itself knows float32 and float64."""
    dtype = floating_dtype("init", dtype)
    kind = dtype if dtype in (np.float32, np.float64) else np.dtype(np.float32)
    drawn = unit(generator() if rng is None else rng, kind)
    return drawn.astype(dtype, copy=False)
