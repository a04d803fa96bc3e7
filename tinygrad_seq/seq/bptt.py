"""Back-propagation through time, in its four forms, over any cell.

Symbols: s_t state, y_t output, L_t loss of step t, θ the parameters of the cell and of the losses;
T steps. The gradient is that of Σ_t L_t.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from .. import ops
from ..autograd import is_grad_enabled
from ..nn import Recurrent
from ..nn.checks import as_sequence
from ..nn.recurrent.wrappers import InParts, Wrapper
from ..recurrence import each
from ..tensor import Tensor
from .rtrl import RTRL, check_part, forward_in_time, nothing_to_learn, value_of
from .truncation import Full

Loss: TypeAlias = Callable[[int, Tensor], Tensor | None]
"""(t, y_t) -> L_t, one number, or None at a step without a loss."""

FULL = Full()


def bptt(
    cell: Any,
    x: Any,
    loss: Loss,
    state: Any = None,
    method: Iterable[float] | RTRL = FULL,
    update: Callable[[], object] | None = None,
) -> tuple[float, Any]:
    """Read a sequence and add the gradient of its loss to ``.grad`` of everything it depends on.

        y_t, s_t = cell(x_t, s_{t-1});    L = Σ_t L_t(y_t)

    | method                | gradient             | memory grows with | time of a step |
    |-----------------------|----------------------|-------------------|----------------|
    | ``Full()``            | exact                | T                 | that of a step |
    | ``Truncated(τ)``      | biased               | τ                 | that of a step |
    | ``Randomised(π)``     | unbiased, noisy      | 1/(1-π), mean     | that of a step |
    | ``RTRL()``            | exact                | neither; D · θ    | D² · θ         |

    where D is the number of elements in a state of the whole batch, and θ that of the weights.

    Args:
        cell: Any callable ``(x_t, state) -> (y_t, state)``, the library's or your own.
        x: The sequence ``(T, ...)``, or any iterable of steps x_t, which may be too long for
            memory. It is data; learned parts such as an embedding belong in the cell. Integers of
            NumPy are ids and stay on the host.
        loss: ``loss(t, y_t)``, t from 0, returns L_t as a Tensor of one element, or None for a
            step without a loss. It may have its own weights (an output layer).
        state: s before the first step; the cell's own if None. If it requires grad it gets its
            gradient.
        method: How to compute the gradient: :class:`Full`, :class:`Truncated`,
            :class:`Randomised`, any iterable of ξ_1, …, ξ_{T-1}, or :class:`RTRL`.
        update: Called after gradients have been added: after each window, and for RTRL after each
            step with a loss. Call an optimizer's step here to learn within the sequence.

    Returns:
        (L, state after the last step): a number, and a detached state to continue from.

    Raises:
        ValueError: there are no steps, a loss is not one number, or a ξ is negative, not finite
            or missing.
        TypeError: x requires grad, the cell does not return (y, state), or the loss no Tensor; or
            an argument is of another kind.
        RuntimeError: nothing that a loss depends on requires grad.

    Example:
        >>> import numpy as np
        >>> from tinygrad_seq import nn, seq
        >>> cell, read = nn.GRUCell(1, 8), nn.Linear(8, 1)
        >>> wave = np.sin(np.arange(301) / 5).astype("f4").reshape(-1, 1)
        >>> total, state = seq.bptt(
        ...     cell,
        ...     wave[:-1],
        ...     lambda t, y: nn.mse_loss(read(y), wave[t + 1]),
        ...     method=seq.Truncated(20),
        ... )
        >>> cell.weight_hh.grad.shape
        (24, 8)

    Source: d2l 9.7; Tallec & Ollivier 2017; Williams & Zipser 1989.
    """
    if not is_grad_enabled():
        raise RuntimeError("bptt records a graph and runs backward: do not call it under no_grad")
    if not isinstance(method, RTRL | Iterable) or isinstance(method, type):
        raise TypeError(
            "bptt expects a method, such as seq.Full(), or numbers ξ_1, …, ξ_{T-1}; "
            f"got {method!r}"
        )
    if not (update is None or callable(update)):
        raise TypeError(
            f"bptt expects update as a function without arguments, or None; got {update!r}"
        )
    layer = Recurrent(InParts(cell) if isinstance(cell, Wrapper) else cell)
    steps, one_loss, done = _steps(x), _checked(loss), update or _nothing
    if isinstance(method, RTRL):
        return forward_in_time(cell, steps, one_loss, state, done)
    return _backward_in_windows(layer, steps, one_loss, state, method, done)


def _backward_in_windows(
    layer: Recurrent,
    steps: Iterator[Tensor],
    loss: Loss,
    state: Any,
    weights: Iterable[float],
    update: Callable[[], object],
) -> tuple[float, Any]:
    """Run backward at the end of each window; windows are separated by ξ = 0."""
    total: Any = 0.0
    t, window = 0, None
    for weight, run in _runs(steps, weights):
        if weight == 0:
            total += _backward(window, update)
            state, window = each(Tensor.detach, state), None
        elif weight != 1:
            state = each(functools.partial(_weighted, weight=weight), state)
        y, state = layer(ops.stack(run), state)
        each(check_part, state)
        for y_t in ops.unstack(y):
            l_t = loss(t, y_t)
            if l_t is not None:
                window = l_t if window is None else window + l_t
            t += 1
    return float(total + _backward(window, update)), each(Tensor.detach, state)


def _runs(
    steps: Iterator[Tensor], weights: Iterable[float]
) -> Iterator[tuple[float, list[Tensor]]]:
    """(ξ before the run, its steps): between the steps of a run ξ is 1."""
    run, before, rest = [next(steps)], 1.0, iter(weights)
    for t, x in enumerate(steps, start=1):
        weight = next(rest, None)
        if weight is None:
            raise ValueError(f"bptt needs a ξ between every two steps; there are only {t - 1}")
        if not 0.0 <= weight < math.inf:
            raise ValueError(f"ξ must be finite and not negative; got {weight} before step {t}")
        if weight != 1:
            yield before, run
            run, before = [], weight
        run.append(x)
    yield before, run


def _backward(window: Tensor | None, update: Callable[[], object]) -> Any:
    """Run backward through a window; returns its loss, from :func:`value_of`."""
    if window is None:
        return 0.0
    if window.requires_grad:  # it may not, if only the first state requires grad
        window.backward()
        update()
    return value_of(window)


def _weighted(part: Tensor, weight: float) -> Tensor:
    """The same values; the gradient comes back times ``weight``."""
    if not part.requires_grad:
        return part
    held = part.detach()
    return held + weight * (part - held)


def _steps(x: Any) -> Iterator[Tensor]:
    """x_0, x_1, … as tensors off the graph; at least one."""
    if not isinstance(x, Iterable) or getattr(x, "shape", None) == ():
        raise TypeError(f"bptt expects a sequence (T, ...) or an iterable of steps; got {x!r:.60}")
    steps = map(_data, x)
    for first in steps:
        return itertools.chain([first], steps)
    raise ValueError("a sequence needs at least one step; bptt got none")


def _data(x: Any) -> Tensor:
    """One step of the input."""
    tensor = as_sequence(x)
    if tensor.requires_grad:
        raise TypeError(
            "bptt reads x as data, but this x requires grad: move its computation into the cell, "
            "lambda x, state: cell(embed(x), state), or give x.detach()"
        )
    return tensor


def _checked(loss: Loss) -> Loss:
    """The loss, with errors if it is not one number or depends on nothing to learn."""
    if not callable(loss):
        raise TypeError(f"bptt expects loss(t, y) -> a Tensor of one element or None; got {loss!r}")

    first = True

    def one_loss(t: int, y: Tensor) -> Tensor | None:
        nonlocal first
        l_t = loss(t, y)
        if l_t is None:
            return None
        if not isinstance(l_t, Tensor):
            raise TypeError(f"loss(t, y) must give a Tensor or None; got a {type(l_t).__name__}")
        if l_t.size != 1:
            raise ValueError(
                f"loss(t, y) must give one number; got shape {l_t.shape} at t={t}: reduce it with "
                "sum() or mean()"
            )
        if first and not l_t.requires_grad:
            raise nothing_to_learn(t)
        first = False
        return l_t.reshape(()) if l_t.ndim else l_t

    return one_loss


def _nothing() -> None:
    """No update."""
