"""Connectionist temporal classification: labels for a sequence, without an alignment.

At each step a net gives log-probabilities of C classes, one of which is the blank. A path is a
class for each step; its labels are the path with repeats merged, then blanks removed. The loss
sums over all paths that give the labels. They pass through the labels with a blank before,
between and after them, z = (blank, l₁, blank, l₂, ..., blank), S = 2 L + 1 places:

    α₀(0) = 1,    α_t(s) = (α_{t-1}(s) + α_{t-1}(s-1) + [z_s ≠ z_{s-2}] α_{t-1}(s-2)) p_t(z_s)
    P(labels) = α_T(S-1) + α_T(S-2)

A path can go from s-2 to s if z_s is a label other than z_{s-2}. With β_t(s), the same sum
over the rest of the path, the derivative is ∂ ln P / ∂ ln p_t(c) = Σ_{z_s = c} α_t(s) β_t(s) / P:
the probability that the path has class c at step t.

Sums are taken in logs and in float64: a sum over a thousand steps is too coarse in float32.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy

from .. import ops
from ..autograd.fused import Fused
from ..autograd.operands import in_single
from ..backend import Array, backend_of, xp
from ..tensor import Tensor
from .checks import beside, flag, indices, integers
from .module import Module
from .reduction import floating, known, reduce

if TYPE_CHECKING:
    from ..autograd.signatures import Operand

HostArray = numpy.ndarray[Any, Any]
_SINGLE = (slice(None), None)


@in_single
def ctc_loss(
    log_probs: Operand,
    targets: Operand,
    input_lengths: Operand | None = None,
    target_lengths: Operand | None = None,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-ln P(labels | input), summed over all alignments.  See the top of ``nn/ctc.py``.

    A target that does not fit (more labels than steps, counting a blank between two equal ones) has
    the loss ∞ and the gradient 0: no output of the net could change it. With an empty target
    (length 0) the only path is all blanks.

    The gradient is that of the loss with respect to ``log_probs``. (PyTorch's is with respect to
    the input of log_softmax; passed through log_softmax both are equal.)

    Args:
        log_probs: Log-probabilities ``(T, N, C)``, or ``(T, C)`` for one sequence: of a net's
            scores ``ts.log_softmax(scores)``.
        targets: Labels ``(N, S)``, padded; or of all sequences in a row ``(ΣL,)``; for one
            sequence ``(S,)``. Integers in 0..C-1, other than the blank. Padding may hold anything.
        input_lengths: Steps of each sequence ``(N,)``, 0 to T; all T if None.
        target_lengths: L, labels of each sequence ``(N,)``; all S if None.
        blank: The class that stands for no label.
        reduction: ``"mean"`` (each loss by its number of labels, at least 1, then the mean over
            sequences, as in PyTorch), ``"sum"`` or ``"none"``.
        zero_infinity: Whether a sequence that does not fit has the loss 0 instead of ∞.

    Returns:
        A scalar, or losses ``(N,)`` with ``reduction="none"`` (of one sequence, a scalar).

    Raises:
        ValueError: shapes or lengths do not fit, or a label is the blank.
        IndexError: a label, or the blank, is out of range.
        TypeError: labels or lengths are not integers, or log_probs are not floating.

    Example:
        >>> log_probs = np.log(np.full((3, 4), 0.25))
        >>> loss = ctc_loss(log_probs, [1, 2], reduction="sum")  # 5 of 64 paths say 1, 2
        >>> round(float(np.exp(-loss.item()) * 64), 3)
        5.0

    Source: Graves et al., "Connectionist temporal classification" (2006), eq. 5-15.
    """
    known(reduction)
    log_probs = floating("ctc_loss", log_probs)
    single = log_probs.ndim == 2
    if single:
        log_probs = log_probs[_SINGLE]
        targets = integers("ctc_loss", "targets", targets)[None]
    if log_probs.ndim != 3 or log_probs.shape[-1] == 0:
        raise ValueError(
            "ctc_loss expects log_probs (T, N, C), or (T, C) for one sequence, with C of at least "
            f"1; got {log_probs.shape}"
        )
    steps, batch, classes = log_probs.shape
    blank = int(indices("ctc_loss", "blank", blank, classes))
    times = _lengths("input_lengths", input_lengths, batch, steps)
    labels, counts = _labels(targets, target_lengths, batch, classes, blank)
    places = _places(labels, counts, times, blank, log_probs)
    (loss,) = _fused([log_probs], lambda: (step_by_step(log_probs, places),), places=places)
    if flag("ctc_loss", "zero_infinity", zero_infinity):
        loss = ops.where(loss.detach() == math.inf, 0, loss)
    if reduction == "mean":
        loss = loss / beside(numpy.maximum(counts, 1).astype(loss.dtype), loss)
    if single and reduction == "none":
        return ops.reshape(loss, ())
    return reduce(loss, reduction)


class CTCLoss(Module):
    """:func:`ctc_loss` with its settings kept."""

    def __init__(
        self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        self.blank = blank
        self.reduction = known(reduction)
        self.zero_infinity = flag("CTCLoss", "zero_infinity", zero_infinity)

    def forward(
        self,
        log_probs: Operand,
        targets: Operand,
        input_lengths: Operand | None = None,
        target_lengths: Operand | None = None,
    ) -> Tensor:
        """The loss of log-probabilities ``(T, N, C)`` for labels ``(N, S)``."""
        settings = (self.blank, self.reduction, self.zero_infinity)
        return ctc_loss(log_probs, targets, input_lengths, target_lengths, *settings)


class _Places(NamedTuple):
    """The S places of a path, after two unreachable ones, and the log-probabilities.

    Attributes:
        z: The class of each place ``(N, S)``.
        rows: n.
        jump: 0 where a place can be reached from the one before the last, else -∞ ``(N, S)``.
        inside: Whether a step belongs to the sequence ``(T, N, 1)``.
        times: Steps of each sequence ``(N,)``.
        last: The last place of each sequence ``(N,)``, of S + 2.
        ends: Whether a sequence has as many steps as the first index ``(T+1, N, 1)``.
        rest: ln β at the end: 0 at the last two places, else -∞ ``(N, S+2)``.
    """

    z: Array
    rows: Array
    jump: Array
    inside: Array
    times: Array
    last: Array
    ends: Array
    rest: Array


def _places(
    labels: HostArray, counts: HostArray, times: HostArray, blank: int, log_probs: Tensor
) -> _Places:
    batch, width = labels.shape
    z = numpy.full((batch, 2 * width + 1), blank)
    z[:, 1::2] = numpy.where(numpy.arange(width) < counts[:, None], labels, blank)
    jump = numpy.full(z.shape, -numpy.inf)
    jump[:, 2:][(z[:, 2:] != blank) & (z[:, 2:] != z[:, :-2])] = 0
    rest = numpy.full((batch, z.shape[1] + 2), -numpy.inf)
    rows, last = numpy.arange(batch), 2 * counts
    rest[rows, last] = 0
    rest[rows[counts > 0], last[counts > 0] - 1] = 0
    at = numpy.arange(log_probs.shape[0] + 1)[:, None, None]
    inside, ends = at[:-1] < times[:, None], at == times[:, None]
    arrays = (z, rows, jump, inside, times, last + 2, ends, rest)
    return _Places(*(beside(array, log_probs) for array in arrays))


def _log_sum(np: Any, a: Array, b: Array, c: Array) -> Array:
    """ln(eᵃ + eᵇ + eᶜ)"""
    top = np.maximum(np.maximum(a, b), c)
    top = np.where(top == -np.inf, 0, top)
    return np.log(np.exp(a - top) + np.exp(b - top) + np.exp(c - top)) + top


def _forward(log_probs: Array, *, places: _Places, keep: bool) -> tuple[Any, Any]:
    np = xp(log_probs)
    z, rows, jump, inside, times, last, *_ = places
    emission = log_probs[:, rows[:, None], z].astype(np.float64)
    emission = np.where(inside, emission, -np.inf)
    alpha = np.full((len(emission) + 1, len(z), z.shape[1] + 2), -np.inf)
    alpha[0, :, 2] = 0
    with backend_of(log_probs).quiet():
        for t, emission_t in enumerate(emission):
            a = alpha[t]
            alpha[t + 1, :, 2:] = _log_sum(np, a[:, 2:], a[:, 1:-1], a[:, :-2] + jump) + emission_t
        total = np.logaddexp(alpha[times, rows, last], alpha[times, rows, last - 1])
    saved = (places, emission, alpha, total, log_probs.shape[-1]) if keep else None
    return (-total.astype(log_probs.dtype),), saved


def _backward(g: Array, saved: Any, wanted: set[str]) -> dict[str, Array]:
    backend, np = backend_of(g), xp(g)
    places, emission, alpha, total, classes = saved
    steps, batch, width = emission.shape
    total = np.where(total == -np.inf, 0, total)[:, None]
    beta = np.full((batch, width + 2), -np.inf)
    b, jump = beta.copy(), np.pad(places.jump, ((0, 0), (0, 2)))[:, 2:]
    posterior = np.empty_like(emission)
    with backend.quiet():
        for t in reversed(range(steps)):
            beta = np.where(places.ends[t + 1], places.rest, beta)
            posterior[t] = np.exp(alpha[t + 1, :, 2:] + beta[:, :-2] - total)
            b[:, :-2] = beta[:, :-2] + emission[t]
            beta[:, :-2] = _log_sum(np, b[:, :-2], b[:, 1:-1], b[:, 2:] + jump)
    parts = (-g[:, None] * posterior).astype(g.dtype).transpose(1, 2, 0)
    rows = places.rows[:, None] * classes + places.z
    summed = np.zeros((batch * classes, steps), g.dtype)
    if parts.size:
        backend.scatter_add(summed, rows.reshape(-1), parts.reshape(-1, steps))
    summed = summed.reshape(batch, classes, steps).transpose(2, 0, 1)
    return {"log_probs": np.ascontiguousarray(summed)}


_fused = Fused("ctc_loss", ("log_probs",), _forward, _backward)


def step_by_step(log_probs: Tensor, places: _Places) -> Tensor:
    """The losses ``(N,)``, operation by operation: the specification."""
    z, rows, jump, inside, times, last, *_ = places
    np = xp(log_probs.data)
    emission = Tensor.astype(log_probs[:, rows[:, None], z], np.float64)
    emission = ops.where(inside, emission, -math.inf)
    before = np.full((len(z), 2), -np.inf)
    start = np.full((len(z), z.shape[1] + 2), -np.inf)
    start[:, 2] = 0
    alpha = [Tensor._wrap(start)]
    for emission_t in ops.unstack(emission) if emission.shape[0] else []:
        a = alpha[-1]
        ways = ops.stack([a[:, 2:], a[:, 1:-1], a[:, :-2] + jump])
        alpha.append(ops.concatenate([before, ops.logsumexp(ways, axis=0) + emission_t], axis=1))
    every = ops.stack(alpha)
    total = ops.logaddexp(every[times, rows, last], every[times, rows, last - 1])
    return Tensor.astype(-total, log_probs.dtype)


def _lengths(name: str, values: Any, batch: int, most: int) -> HostArray:
    """One length for each sequence, 0 to ``most``; all of them ``most`` for None."""
    if values is None:
        return numpy.full(batch, most)
    lengths = integers("ctc_loss", name, values).astype(numpy.int64)
    lengths = lengths.reshape(1) if lengths.ndim == 0 and batch == 1 else lengths
    if lengths.shape != (batch,):
        raise ValueError(
            f"ctc_loss expects {name} for each of {batch} sequences, of shape ({batch},); got "
            f"shape {lengths.shape}"
        )
    if lengths.size and (lengths.min() < 0 or lengths.max() > most):
        n = int(numpy.flatnonzero((lengths < 0) | (lengths > most))[0])
        raise ValueError(f"ctc_loss expects {name} from 0 to {most}; sequence {n} has {lengths[n]}")
    return lengths


def _labels(
    targets: Any, lengths: Any, batch: int, classes: int, blank: int
) -> tuple[HostArray, HostArray]:
    """Labels ``(N, S)``, checked, and how many each sequence has."""
    given = integers("ctc_loss", "targets", targets).astype(numpy.int64)
    if given.ndim == 1 and lengths is not None:  # concatenated
        counts = _lengths("target_lengths", lengths, batch, len(given))
        if counts.sum() != len(given):
            raise ValueError(
                f"ctc_loss got {len(given)} labels in a row, and target_lengths that sum to "
                f"{counts.sum()}"
            )
        labels = numpy.full((batch, int(counts.max(initial=0))), blank)
        labels[numpy.arange(labels.shape[1]) < counts[:, None]] = given
    elif given.ndim != 2 or len(given) != batch:
        hint = ": give targets.T" if given.ndim == 2 and given.shape[1] == batch else ""
        hint = hint or ": labels in a row need target_lengths" if given.ndim == 1 else hint
        raise ValueError(
            f"ctc_loss expects targets (N, S) with N = {batch} sequences, or all labels in a row; "
            f"got {given.shape}{hint}"
        )
    else:
        labels, counts = given, _lengths("target_lengths", lengths, batch, given.shape[1])
    counted = numpy.arange(labels.shape[1]) < counts[:, None]
    other = 0 if blank else classes - 1  # any class that is not the blank
    indices("ctc_loss", "targets", numpy.where(counted, labels, other), classes)
    wrong = numpy.argwhere(counted & (labels == blank))
    if wrong.size:
        n, k = wrong[0]
        raise ValueError(
            f"ctc_loss expects targets without the blank, {blank}; sequence {n} has it at {k}: "
            "give target_lengths if it is padding"
        )
    return labels, counts
