"""Regression losses: how far predictions are from targets of the same shape.

``reduction`` is ``"mean"``, ``"sum"`` or ``"none"`` (one loss per target), as in ``nn/losses.py``.
Nothing is broadcast: a target of another shape is usually a mistake.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import ops
from ..autograd.operands import in_single
from ..tensor import Tensor
from .checks import flag
from .module import Module
from .reduction import floating, known, like, pair, reduce

if TYPE_CHECKING:
    from ..autograd.signatures import Operand


@in_single
def mse_loss(predictions: Operand, targets: Operand, reduction: str = "mean") -> Tensor:
    """Squared error.  l = (prediction - target)²

    Args:
        predictions: ``(...)``, floating.
        targets: Of the same shape: nothing is broadcast.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: the shapes differ, or the reduction is unknown.
    """
    predictions, targets = pair("mse_loss", predictions, targets)
    error = predictions - targets
    return reduce(error * error, reduction)


@in_single
def l1_loss(predictions: Operand, targets: Operand, reduction: str = "mean") -> Tensor:
    """Absolute error, whose best constant prediction is the median.  l = |prediction - target|

    Arguments and errors are those of :func:`mse_loss`. The gradient of an error of 0 is 0.
    """
    predictions, targets = pair("l1_loss", predictions, targets)
    return reduce(abs(predictions - targets), reduction)


@in_single
def huber_loss(
    predictions: Operand, targets: Operand, delta: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """Squared error near 0, absolute error beyond δ: an outlier pulls no more than δ.

        e = prediction - target,    l = e²/2 where |e| ≤ δ, else δ (|e| - δ/2)

    Args:
        predictions: ``(...)``, floating.
        targets: Of the same shape.
        delta: δ, above 0.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: the shapes differ, δ is not above 0, or the reduction is unknown.

    Source: Huber, "Robust estimation of a location parameter" (1964).
    """
    if not 0 < delta < math.inf:
        raise ValueError(f"huber_loss expects a delta above 0; got {delta}")
    predictions, targets = pair("huber_loss", predictions, targets)
    error = predictions - targets
    near = ops.clip(error, -delta, delta)  # smooth at 0, where |e| is not
    return reduce(near * (error - near / 2), reduction)


@in_single
def quantile_loss(
    predictions: Operand, targets: Operand, quantiles: Operand, reduction: str = "mean"
) -> Tensor:
    """Pinball loss, whose best constant prediction is a quantile; two quantiles give an interval.

        l = max(q (target - prediction), (q - 1) (target - prediction))

    Args:
        predictions: ``(...)`` of one quantile, or ``(..., Q)`` of several, floating.
        targets: ``(...)``, the same for every quantile.
        quantiles: q, a number between 0 and 1, or Q of them.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: the shapes differ, a quantile is not between 0 and 1, or the reduction is
            unknown.

    Example:
        >>> low_and_high = ts.tensor([[1.0, 3.0]])
        >>> quantile_loss(low_and_high, [2.0], [0.1, 0.9], "none").numpy().round(3)
        array([[0.1, 0.1]], dtype=float32)

    Source: Koenker & Bassett, "Regression quantiles" (1978).
    """
    q = np.asarray(quantiles, dtype=np.float64)
    if q.ndim > 1 or not q.size or not ((q > 0) & (q < 1)).all():
        raise ValueError(
            f"quantile_loss expects one quantile, or a list of them, between 0 and 1; got "
            f"{quantiles!r}"
        )
    predictions = floating("quantile_loss", predictions)
    if q.ndim:
        targets = ops.expand_dims(like(targets, predictions), -1)
        if predictions.shape != (*targets.shape[:-1], q.size):
            raise ValueError(
                f"quantile_loss expects predictions (..., {q.size}) of {q.size} quantiles and "
                f"targets (...); got {predictions.shape} and {targets.shape[:-1]}"
            )
    else:
        predictions, targets = pair("quantile_loss", predictions, targets)
    miss = targets - predictions
    share = like(q, predictions)
    return reduce(ops.maximum(share * miss, (share - 1) * miss), reduction)


@in_single
def gaussian_nll_loss(
    mean: Operand,
    targets: Operand,
    var: Operand,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """-ln of a normal density, to predict a number and how uncertain it is.

        l = (ln σ² + (target - μ)² / σ²) / 2    (+ ln(2π) / 2 if full)

    Args:
        mean: μ ``(...)``, floating.
        targets: Of the same shape.
        var: σ² ``(...)`` above 0, such as ``ts.softplus`` gives. A value below ``eps`` counts as
            ``eps``, with no gradient.
        full: Whether to add the constant, so that models can be compared by their likelihood.
        eps: The least σ².
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: the shapes differ, or the reduction is unknown.

    Source: Nix & Weigend, "Estimating the mean and variance of the target probability
    distribution" (1994).
    """
    mean, targets = pair("gaussian_nll_loss", mean, targets)
    mean, var = pair("gaussian_nll_loss, of mean and var,", mean, var)
    var = ops.maximum(var, eps)
    error = targets - mean
    loss = (ops.log(var) + error * error / var) / 2
    if flag("gaussian_nll_loss", "full", full):
        loss = loss + math.log(2 * math.pi) / 2
    return reduce(loss, reduction)


@in_single
def poisson_nll_loss(log_rate: Operand, targets: Operand, reduction: str = "mean") -> Tensor:
    """-ln of a Poisson probability of counts, without ln k!, which has no gradient.

        l = e^x - k x,    x = ln λ

    Args:
        log_rate: x ``(...)``, floating: the logarithm of the expected count.
        targets: k, counts, of the same shape.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: the shapes differ, or the reduction is unknown.
    """
    log_rate, targets = pair("poisson_nll_loss", log_rate, targets)
    return reduce(ops.exp(log_rate) - targets * log_rate, reduction)


class MSELoss(Module):
    """:func:`mse_loss` with its reduction kept."""

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = known(reduction)

    def forward(self, predictions: Operand, targets: Operand) -> Tensor:
        """The loss of predictions for targets of the same shape."""
        return mse_loss(predictions, targets, self.reduction)


class L1Loss(Module):
    """:func:`l1_loss` with its reduction kept."""

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = known(reduction)

    def forward(self, predictions: Operand, targets: Operand) -> Tensor:
        """The loss of predictions for targets of the same shape."""
        return l1_loss(predictions, targets, self.reduction)


class HuberLoss(Module):
    """:func:`huber_loss` with its settings kept."""

    def __init__(self, delta: float = 1.0, reduction: str = "mean") -> None:
        self.delta = delta
        self.reduction = known(reduction)

    def forward(self, predictions: Operand, targets: Operand) -> Tensor:
        """The loss of predictions for targets of the same shape."""
        return huber_loss(predictions, targets, self.delta, self.reduction)


class QuantileLoss(Module):
    """:func:`quantile_loss` with its settings kept."""

    def __init__(self, quantiles: Operand, reduction: str = "mean") -> None:
        self.quantiles = quantiles
        self.reduction = known(reduction)

    def forward(self, predictions: Operand, targets: Operand) -> Tensor:
        """The loss of predictions ``(..., Q)`` for targets ``(...)``."""
        return quantile_loss(predictions, targets, self.quantiles, self.reduction)


class GaussianNLLLoss(Module):
    """:func:`gaussian_nll_loss` with its settings kept."""

    def __init__(self, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        self.full = flag("GaussianNLLLoss", "full", full)
        self.eps = eps
        self.reduction = known(reduction)

    def forward(self, mean: Operand, targets: Operand, var: Operand) -> Tensor:
        """The loss of means and variances for targets of the same shape."""
        return gaussian_nll_loss(mean, targets, var, self.full, self.eps, self.reduction)


class PoissonNLLLoss(Module):
    """:func:`poisson_nll_loss` with its reduction kept."""

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = known(reduction)

    def forward(self, log_rate: Operand, targets: Operand) -> Tensor:
        """The loss of log-rates for counts of the same shape."""
        return poisson_nll_loss(log_rate, targets, self.reduction)
