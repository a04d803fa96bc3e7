"""Shared by all losses: checks of the arguments, and the reduction to one number."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..tensor import Tensor
from .checks import as_tensor


def known(reduction: str) -> str:
    """The name of a reduction, or an error."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f'reduction must be "mean", "sum" or "none"; got {reduction!r}')
    return reduction


def reduce(loss: Tensor, reduction: str) -> Tensor:
    """One number, or the unreduced losses; a mean over nothing is 0."""
    if known(reduction) == "none":
        return loss
    return ops.sum(loss) if reduction == "sum" or not loss.size else ops.mean(loss)


def floating(owner: str, x: Any) -> Tensor:
    """Predictions as a tensor of floats."""
    tensor = as_tensor(x)
    if tensor.dtype.kind != "f":
        raise TypeError(f"{owner} expects floating predictions; got {tensor.dtype}")
    return tensor


def like(values: Any, x: Tensor) -> Tensor:
    """Values in the dtype of ``x``, so that they do not widen it; numbers move to its device."""
    tensor = as_tensor(values, x.dtype)
    tensor = tensor if isinstance(values, Tensor) else tensor.to(x.backend)
    return tensor if tensor.dtype == x.dtype else Tensor.astype(tensor, x.dtype)


def pair(owner: str, predictions: Any, targets: Any) -> tuple[Tensor, Tensor]:
    """Predictions and targets of one shape and dtype."""
    predictions = floating(owner, predictions)
    targets = like(targets, predictions)
    if predictions.shape != targets.shape:
        raise ValueError(
            f"{owner} expects predictions and targets of one shape; "
            f"got {predictions.shape} and {targets.shape}"
        )
    return predictions, targets
