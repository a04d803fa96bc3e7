"""Gradient clipping, against exploding gradients in recurrent nets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from ..autograd import mark_written
from ..backend import Array, backend_of, is_array, xp
from ..nn.checks import flag
from ..tensor import Tensor

_EPS = 1e-6  # PyTorch's: keeps the quotient finite at norm 0


def clip_grad_norm_(
    params: Tensor | Iterable[Tensor], max_norm: float, error_if_nonfinite: bool = False
) -> float | Tensor:
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
        The norm before clipping; 0.0 when there is no gradient. A float; on a GPU a Tensor without
        axes, so that nothing waits for it before ``float(norm)`` does.

    Raises:
        ValueError: ``max_norm`` is negative or NaN.
        RuntimeError: The norm is NaN or Inf, and ``error_if_nonfinite``.

    Source: Pascanu, Mikolov & Bengio, "On the difficulty of training recurrent neural networks"
    (2013); d2l 9.5.
    """
    if not max_norm >= 0:
        raise ValueError(f"max_norm must be at least 0; got {max_norm}")
    gradients = _gradients(params)
    backend = backend_of(*gradients)
    total = backend.joint_norm(gradients)
    if flag("clip_grad_norm_", "error_if_nonfinite", error_if_nonfinite) and not math.isfinite(
        total
    ):
        raise RuntimeError(
            f"the norm of the gradients is {float(total)}, so they cannot be clipped: the loss or "
            "a gradient overflowed (anomaly_mode() names the operation)"
        )
    with backend.quiet():  # Inf · 0, said above
        written = backend.shrink(gradients, total, float(max_norm), _EPS)
    for g in gradients if written else ():
        mark_written(g)
    return Tensor._wrap(total) if is_array(total) else total


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
    given = [params] if isinstance(params, Tensor) else list(params)
    if not given and isinstance(params, Iterator):
        raise ValueError(
            "clipping got no parameters: the iterator was empty (a generator such as "
            "model.parameters() can be used up only once)"
        )
    once = {id(p): p for p in given}.values()  # a tied weight counts once
    return [p.grad.data for p in once if p.grad is not None]
