"""Gradient clipping: the cure for exploding gradients in recurrent nets."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy

from ..autograd import mark_written
from ..backend import Array, xp
from ..tensor import Tensor

_EPS = 1e-6  # PyTorch's: keeps the quotient finite at norm 0


def clip_grad_norm_(
    params: Tensor | Iterable[Tensor], max_norm: float, error_if_nonfinite: bool = False
) -> float:
    """Scale all gradients together, in place, so that their joint norm is at most ``max_norm``.

        g ← g · min(1, max_norm / (‖g‖ + 1e-6)),   ‖g‖ the norm of all gradients as one vector

    A NaN or Inf among the gradients makes the norm NaN or Inf, and scaling would turn the sound
    ones into NaN or 0. As in PyTorch this happens unless ``error_if_nonfinite`` is set; then an
    error is raised and no gradient is touched.

    Args:
        params: Parameters (or one); those whose ``.grad`` is None are skipped.
        max_norm: The largest norm allowed.
        error_if_nonfinite: Raise instead of scaling by a norm that is NaN or Inf.

    Returns:
        The norm before clipping; 0.0 when there is no gradient.

    Raises:
        ValueError: ``max_norm`` is negative or NaN.
        RuntimeError: The norm is NaN or Inf, and ``error_if_nonfinite``.

    Source: Pascanu, Mikolov & Bengio, "On the difficulty of training recurrent neural networks"
    (2013); d2l 9.5.
    """
    if not max_norm >= 0:
        raise ValueError(f"max_norm must be at least 0; got {max_norm}")
    gradients = _gradients(params)
    total = math.hypot(*(_norm(g) for g in gradients))
    if error_if_nonfinite and not math.isfinite(total):
        raise RuntimeError(
            f"the norm of the gradients is {total}, so they cannot be clipped: the loss or a "
            "gradient overflowed (anomaly_mode() names the operation)"
        )
    scale = float(max_norm) / (total + _EPS)
    if not scale >= 1:  # also where it is NaN
        for g in gradients:
            with numpy.errstate(invalid="ignore"):  # Inf · 0, said above
                g *= scale
            mark_written(g)
    return total


def clip_grad_value_(params: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Clamp every element of every gradient to [-clip_value, clip_value], in place.

    Args:
        params: Parameters (or one); those whose ``.grad`` is None are skipped.
        clip_value: The largest magnitude allowed; NaN stays NaN.

    Raises:
        ValueError: ``clip_value`` is negative or NaN.
    """
    if not clip_value >= 0:
        raise ValueError(f"clip_value must be at least 0; got {clip_value}")
    bound = float(clip_value)
    for g in _gradients(params):
        xp(g).clip(g, -bound, bound, out=g)
        mark_written(g)


def _gradients(params: Tensor | Iterable[Tensor]) -> list[Array]:
    if hasattr(params, "parameters"):
        raise TypeError("clipping takes parameters: pass model.parameters()")
    given = [params] if isinstance(params, Tensor) else params
    return [p.grad.data for p in given if p.grad is not None]


def _norm(g: Array) -> float:
    """‖g‖, also where g² would leave the range of the dtype."""
    np = xp(g)
    largest = float(np.max(np.abs(g))) if g.size else 0.0
    if largest == 0 or not math.isfinite(largest):
        return largest
    scaled = (g / largest).reshape(-1)
    return largest * math.sqrt(float(scaled @ scaled))
