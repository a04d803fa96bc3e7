"""The plain loop: a cell applied step by step, which every derived loop equals."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from .. import ops
from ..autograd.mode import Mode
from ..autograd.scope import at_step
from ..backend import there
from ..tensor import Tensor
from .trees import each, flat, like

step_by_step: ContextVar[bool] = ContextVar("step_by_step", default=False)


class unrolled(Mode):
    """Compute and record recurrent layers operation by operation, step by step.

    Without it a cell reads a sequence as one fused operation: faster, and one node in the graph.
    The results are the same; use it to look at the graph of every step.
    ``with nn.unrolled(): ...`` or ``@nn.unrolled()``.
    """

    variable, value = step_by_step, True


def unroll(
    step: Callable[[Any, Any], Any], xs: Any, state: Any, valid: Any = None, reverse: bool = False
) -> tuple[Tensor, Any]:
    """y_t, s_t = step(x_t, s_{t-1}) for every t."""
    inputs = [ops.unstack(part) for part in flat(xs)]
    count, outputs = len(inputs[0]), []
    for t in reversed(range(count)) if reverse else range(count):
        with at_step(t):
            y, after = step(like(xs, [part[t] for part in inputs]), state)
            if valid is not None and not valid[t].all():
                after = _freeze(valid[t], after, state)
        outputs.append(y)
        state = after
    y = ops.stack(outputs[::-1] if reverse else outputs)
    if valid is not None:
        y = ops.where(as_rows(there(valid, y.data), y), y, 0)
    return y, state


def as_rows(mask: Any, x: Tensor) -> Any:
    """A mask with as many axes as ``x``, to broadcast over the last ones."""
    return mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))


def _freeze(valid: Any, after: Any, before: Any) -> Any:
    return each(lambda a, b: ops.where(as_rows(there(valid, a.data), a), a, b), after, before)
