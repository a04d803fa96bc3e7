"""Expectation-maximisation: the shared parts of the Baum-Welch algorithm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from ... import ops
from ...autograd import enable_grad
from ...backend import backend_of, xp
from ...nn.checks import positive
from ...tensor import Tensor

Expect: TypeAlias = Callable[[], tuple[Tensor, Callable[[], None]]]
"""() -> (log P(x) of each sequence, recorded; what updates the model from its gradients)."""


def baum_welch(expect: Expect, iterations: int, tolerance: float) -> list[float]:
    """log P(x) of all sequences before each update, and after the last.

    Raises:
        ValueError: the model says that a sequence is impossible, or there is none.
    """
    history: list[float] = []
    for left in reversed(range(positive("baum_welch", "iterations", iterations) + 1)):
        with enable_grad():  # wherever it is called
            each, maximise = expect()
            total = ops.sum(each)
        values = each.detach().numpy()
        if not values.size or not np.isfinite(values).all():
            raise ValueError(
                "baum_welch needs sequences that are possible under the model; got "
                + (f"log P(x) = {values}" if values.size else "none")
            )
        history.append(float(values.sum()))
        if not left or (len(history) > 1 and history[-1] - history[-2] < tolerance):
            break
        total.backward()
        maximise()
    return history


def log_shares(counts: Any, otherwise: Any) -> Any:
    """ln of each row of counts as shares; where a row has none, ``otherwise``."""
    backend, np = backend_of(counts), xp(counts)
    total = counts.sum(axis=-1, keepdims=True)
    with backend.quiet():
        shares = np.log(np.maximum(counts, 0) / np.where(total > 0, total, 1))
    return np.where(total > 0, shares, otherwise)


def update(scores: Tensor, table: Tensor) -> None:
    """Write the shares of expected counts, the gradient of a log-table, into its scores."""
    if table.grad is not None:  # sequences of one step have no transition
        scores.detach().copy_(log_shares(table.grad.data, otherwise=table.data))
