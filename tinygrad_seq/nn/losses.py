"""Classification losses: how far predictions are from target classes, as one number.

Regression losses are in ``nn/regression.py``, the CTC loss in ``nn/ctc.py``.
Each loss is a function, and a Module that holds its settings. ``reduction`` is ``"mean"``,
``"sum"`` or ``"none"`` (one loss per target). A mean over nothing (an empty batch, or targets that
are all ignored) is 0 with zero gradients: a window that holds only padding must not turn a training
run into NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .. import ops
from ..autograd.operands import in_single
from ..ops import classes
from ..tensor import Tensor
from .checks import as_sequence, beside, fraction, indices, integers
from .module import Module
from .reduction import floating, known, like, pair, reduce

if TYPE_CHECKING:
    from ..autograd.signatures import Operand

Indices: TypeAlias = np.ndarray[Any, Any]
"""On the host, where they are checked."""


@in_single
def cross_entropy(
    logits: Operand,
    targets: Operand,
    weight: Operand | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy of class indices under softmax.  l = -w_t log softmax(logits)_t

    Floating targets are probabilities of the classes:  l = -Σ_c w_c t_c log softmax(logits)_c.

    With smoothing ε the target is 1-ε for class t, plus ε/C for every class. The mean divides by
    the sum of the weights w_t of the targets that are not ignored, as in PyTorch.

    Classes are on the LAST axis, for any number of axes. (PyTorch has them on axis 1: pass
    ``moveaxis(logits, 1, -1)`` for its logits of shape (N, C, T).)

    Args:
        logits: Scores ``(..., C)``, floating, any finite size.
        targets: Class indices ``(...)``, integers in 0..C-1, or ``ignore_index``; or probabilities
            ``(..., C)``, floating, which receive gradients too.
        weight: Weight of each class ``(C,)``; all ones if None. The mean over probabilities
            divides by their number, not by weights, as in PyTorch.
        ignore_index: Targets of this value are ignored, and the gradient of their logits is exactly
            zero, even if the logits are NaN.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        label_smoothing: ε, 0 to 1.

    Returns:
        A scalar, or losses ``(...)`` (0 where ignored) with ``reduction="none"``.

    Raises:
        IndexError: a target is out of range.
        ValueError: shapes or settings do not fit.
        TypeError: targets are not numbers, or logits are not floating.
    """
    smoothing = fraction("cross_entropy", "label_smoothing", label_smoothing)
    if as_sequence(targets).dtype.kind == "f" and np.size(targets):
        return _soft_cross_entropy(logits, targets, weight, reduction, smoothing)
    logits, chosen, counts = _classes("cross_entropy", logits, targets, ignore_index)
    if not smoothing:
        if weight is None and known(reduction) != "none":
            count = max(1, int(counts.sum())) if reduction == "mean" else 1
            return _softmax_loss(logits, chosen, counts, count)
        loss = _softmax_loss(logits, chosen, counts)
        return _weigh(loss, logits, chosen, counts, weight, reduction)
    if not counts.all():
        logits = ops.where(beside(counts[..., None], logits), logits, 0)
    log_probs = ops.log_softmax(logits, axis=-1)
    loss = _pick(log_probs, chosen)
    return _weigh(loss, log_probs, chosen, counts, weight, reduction, smoothing)


def _soft_cross_entropy(
    logits: Any, targets: Any, weight: Any, reduction: str, smoothing: float
) -> Tensor:
    """-Σ_c w_c t_c log softmax(logits)_c of probabilities t."""
    logits = floating("cross_entropy", logits)
    if np.shape(targets) != logits.shape or not logits.ndim:
        raise ValueError(
            "cross_entropy takes integer targets (...) as classes, and floating targets (..., C) "
            f"as their probabilities; got logits {logits.shape} and floating targets "
            f"{np.shape(targets)}"
        )
    targets = like(targets, logits)
    if smoothing:
        targets = (1 - smoothing) * targets + smoothing / logits.shape[-1]
    if weight is not None:
        targets = targets * _weights(weight, logits)
    log_probs = ops.log_softmax(logits, axis=-1)
    nothing = (targets.data == 0) & (log_probs.data == -np.inf)  # 0 ln 0 = 0
    return reduce(-ops.sum(targets * ops.where(nothing, 0, log_probs), axis=-1), reduction)


@in_single
def nll_loss(
    log_probs: Operand,
    targets: Operand,
    weight: Operand | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood of class indices.  l = -w_t log_probs_t

    What :func:`cross_entropy` computes after its log-softmax, of log-probabilities ``log_probs``
    ``(..., C)``. The other arguments, the layout and the errors are the same.
    """
    log_probs, chosen, counts = _classes("nll_loss", log_probs, targets, ignore_index)
    return _weigh(_pick(log_probs, chosen), log_probs, chosen, counts, weight, reduction)


@in_single
def bce_with_logits(
    logits: Operand,
    targets: Operand,
    weight: Operand | None = None,
    pos_weight: Operand | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross-entropy of logits.  l = -w (p t log σ(x) + (1-t) log(1 - σ(x)))

    Computed as w (p t softplus(-x) + (1-t) softplus(x)): finite, and exact where it is small.

    Args:
        logits: x ``(...)``, floating.
        targets: t, of the same shape, in 0..1.
        weight: w, a weight of each loss, broadcast to ``(...)``.
        pos_weight: p, the weight of the positive class, broadcast to ``(...)``.
        reduction: ``"mean"`` (over all elements, as in PyTorch), ``"sum"`` or ``"none"``.

    Raises:
        ValueError: the shapes differ, or the reduction is unknown.
    """
    logits, targets = pair("bce_with_logits", logits, targets)
    positive = targets if pos_weight is None else like(pos_weight, logits) * targets
    loss = positive * ops.softplus(-logits) + (1 - targets) * ops.softplus(logits)
    if weight is not None:
        loss = like(weight, logits) * loss
    return reduce(loss, reduction)


class CrossEntropyLoss(Module):
    """:func:`cross_entropy` with its settings kept."""

    def __init__(
        self,
        weight: Operand | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        self.weight = weight
        self.ignore_index = ignore_index
        self.reduction = known(reduction)
        self.label_smoothing = fraction("CrossEntropyLoss", "label_smoothing", label_smoothing)

    def forward(self, logits: Operand, targets: Operand) -> Tensor:
        """The loss of logits ``(..., C)`` for class indices ``(...)``."""
        return cross_entropy(
            logits, targets, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )


class NLLLoss(Module):
    """:func:`nll_loss` with its settings kept."""

    def __init__(
        self, weight: Operand | None = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        self.weight = weight
        self.ignore_index = ignore_index
        self.reduction = known(reduction)

    def forward(self, log_probs: Operand, targets: Operand) -> Tensor:
        """The loss of log-probabilities ``(..., C)`` for class indices ``(...)``."""
        return nll_loss(log_probs, targets, self.weight, self.ignore_index, self.reduction)


class BCEWithLogitsLoss(Module):
    """:func:`bce_with_logits` with its settings kept."""

    def __init__(
        self,
        weight: Operand | None = None,
        pos_weight: Operand | None = None,
        reduction: str = "mean",
    ) -> None:
        self.weight = weight
        self.pos_weight = pos_weight
        self.reduction = known(reduction)

    def forward(self, logits: Operand, targets: Operand) -> Tensor:
        """The loss of logits for targets of the same shape."""
        return bce_with_logits(logits, targets, self.weight, self.pos_weight, self.reduction)


def _classes(
    owner: str, scores: Any, targets: Any, ignore_index: int
) -> tuple[Tensor, Indices, Indices]:
    """Scores, the class of each target (0 where ignored), and whether it is not ignored."""
    scores = floating(owner, scores)
    targets = integers(owner, "targets", targets)
    if scores.ndim == 0 or targets.shape != scores.shape[:-1]:
        expected = f"(..., C) and targets (...); got {scores.shape} and {targets.shape}"
        shape = (*scores.shape[:1], *scores.shape[2:])
        hint = ""
        if scores.ndim > 2 and targets.shape == shape:
            hint = ": with classes on axis 1, as PyTorch has them, give moveaxis(scores, 1, -1)"
        raise ValueError(f"{owner} expects scores {expected}{hint}")
    counts = targets != ignore_index
    chosen = indices(owner, "targets", np.where(counts, targets, 0), scores.shape[-1])
    return scores, chosen, counts


def _softmax_loss(
    logits: Tensor, chosen: Indices, counts: Indices, count: int | None = None
) -> Tensor:
    """-log softmax(logits) at each target, 0 where ignored, as one operation.

    With ``count`` their sum divided by it.
    """

    def specification() -> tuple[Tensor]:
        read = beside(counts, logits)
        log_probs = ops.log_softmax(ops.where(read[..., None], logits, 0), axis=-1)
        loss = ops.where(read, _pick(log_probs, chosen), 0)
        return (loss if count is None else ops.sum(loss) / count,)

    targets = beside(np.where(counts, chosen, -1), logits)
    return classes.cross_entropy([logits], specification, targets=targets, count=count)[0]


def _pick(log_probs: Tensor, chosen: Indices) -> Tensor:
    """-log_probs at each target."""
    places = beside(chosen[..., None], log_probs)
    return -ops.take_along_axis(log_probs, places, axis=-1)[..., 0]


def _weigh(
    loss: Tensor,
    scores: Tensor,
    chosen: Indices,
    counts: Indices,
    weight: Any,
    reduction: str,
    smoothing: float = 0.0,
) -> Tensor:
    """The weighted, smoothed, reduced loss; ``scores`` ``(..., C)`` are log-probabilities if there
    is smoothing."""
    size = scores.shape[-1]
    share: Tensor | None = None  # the weight of each target in the mean
    if weight is not None:
        weight = _weights(weight, scores)
        share = weight[beside(chosen, scores)]
        loss = share * loss
        share = ops.where(beside(counts, scores), share, 0)
    if smoothing:
        spread = -scores if weight is None else -scores * weight
        loss = (1 - smoothing) * loss + smoothing / size * ops.sum(spread, axis=-1)
    if not counts.all():
        loss = ops.where(beside(counts, scores), loss, 0)
    if known(reduction) != "mean":
        return reduce(loss, reduction)
    result = ops.sum(loss)
    total: Tensor | int = max(1, int(counts.sum()))
    if share is not None:
        shares = ops.sum(share)
        total = ops.where(shares == 0, 1, shares)  # an `if` would wait for the GPU
    return result / total


def _weights(weight: Any, scores: Tensor) -> Tensor:
    """The class weights on the device of the scores ``(..., C)``."""
    tensor, size = like(weight, scores), scores.shape[-1]
    if tensor.shape != (size,):
        raise ValueError(f"expected a weight for each of {size} classes; got {tensor.shape}")
    return tensor
