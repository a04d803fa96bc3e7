"""The upstream gradients that a walk back starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..backend import one_backend, xp
from .graph import Variable
from .operands import as_operand


def upstream_of(outputs: Sequence[Any], gradients: Sequence[Any] | None) -> list[Any]:
    """The upstream gradient of each output as a tensor; ones where none is given.

    Raises:
        RuntimeError: an output does not require grad, or has not one element and no gradient.
        TypeError: a gradient is complex, or on another backend than its output.
        ValueError: there is no output, or a gradient is missing or has another shape.
    """
    if not outputs:
        raise ValueError("there is no output to differentiate")
    if gradients is None:
        gradients = [None] * len(outputs)
    if len(gradients) != len(outputs):
        raise ValueError(f"{len(outputs)} outputs need as many gradients; got {len(gradients)}")
    return [_upstream(output, g) for output, g in zip(outputs, gradients, strict=True)]


def _upstream(output: Any, gradient: Any) -> Any:
    if not output._requires_grad:
        raise RuntimeError(
            "backward through a tensor that does not require grad: none of the tensors that it "
            "was computed from has requires_grad=True, or it was made under no_grad"
        )
    np = xp(output._data)
    if gradient is None:
        if output._data.size != 1:
            raise RuntimeError(
                f"a gradient can be left out for one-element tensors only; this one has shape "
                f"{output.shape}: pass the upstream gradient, or reduce it with sum() or mean()"
            )
        return output._wrap(np.ones_like(output._data))
    if not isinstance(gradient, Variable):
        given = as_operand(gradient, (output._data,), "the upstream gradient")
        if getattr(given, "dtype", output.dtype).kind == "c":
            raise TypeError(
                "an upstream gradient is real, for tensors are: give its real and imaginary "
                "part one after the other"
            )
        gradient = output._wrap(np.asarray(given, output.dtype))
    one_backend("backward", (output._data, gradient._data))
    if gradient.shape != output.shape:
        raise ValueError(
            f"the gradient of an output of shape {output.shape} must have that shape; "
            f"got {gradient.shape}"
        )
    same = gradient.dtype == output.dtype
    return gradient if same else gradient.astype(output.dtype)
