"""Layer 4: a cell along a sequence, as one fused operation derived from one step, or unrolled.

A cell is any function ``step(x_t, state) -> (y_t, state)``. One step of it is recorded with the
library's own rules (:mod:`.record`), rewritten (:mod:`.passes`), placed and cut (:mod:`.plan`), and
printed as a loop over time for NumPy, numba or CUDA; :mod:`.trust` checks the loop against the
cell. Nothing here knows a cell by name.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..autograd.observe import symbolic, unfused
from ..backend import there
from ..tensor import Tensor
from .derived import as_tensor, compilable
from .record import Underivable
from .trees import each, flat, like
from .trust import Found, found
from .unroll import filled, pair, step_by_step, unroll, unrolled, written

__all__ = [
    "Underivable", "each", "filled", "flat", "found", "like", "pair", "scan", "unroll", "unrolled",
    "written",
]  # fmt: skip


def scan(
    step: Callable[[Any, Any], Any],
    xs: Any,
    state: Any,
    valid: Any = None,
    reverse: bool = False,
    name: str = "scan",
    scope: AbstractContextManager[None] | None = None,
    whole: Callable[[], tuple[Tensor, Any]] | None = None,
) -> tuple[Tensor, Any]:
    """y_t, s_t = step(x_t, s_{t-1}) for every t, fused if a loop can be derived.

    Args:
        step: The cell.
        xs: The inputs of all steps: a tensor with a leading axis T, or a tuple of such.
        state: The state before the first step: a tensor, (nested) tuples of them, or None.
        valid: Which steps are read, booleans ``(T, N)`` on the host, or None for all. At the
            others the state is kept, the output is zero, and no gradient passes.
        reverse: Whether to read from the last step to the first.
        name: What the graph calls the operation.
        scope: Entered while the cell is recorded.
        whole: Computes the same for all steps at once. It takes the place of a loop that is not
            compiled, and of the unrolled steps.

    Returns:
        (y ``(T, ...)``, the state after the last step read).
    """

    def plain() -> tuple[Tensor, Any]:
        return whole() if whole else unroll(step, xs, state, valid, reverse)

    if symbolic() and len(flat(xs)[0]) > 1:  # its own loop is faster than all steps in a program
        raise Underivable(f"it reads a sequence itself, by the layer {name}")
    if refusal(xs, state):
        return plain()
    if whole and not compilable(flat(xs)[0]._data, [part.dtype for part in flat(state)]):
        return plain()
    known = found(step, xs, state, valid is not None, reverse)
    if known.derived is None or known.reads is None or known.scan is None:
        return plain()
    if whole and known.scan.kind != "numba":
        return plain()

    def specification() -> tuple[Tensor, ...]:
        y, last = plain()
        return (y, *flat(last))

    args = [*flat(xs), *flat(state), *map(as_tensor, *known.reads)]
    derived = known.derived

    def recorded(given: Any, names: Any) -> dict[str, Tensor] | None:
        if step_by_step.get() or not derived.twice.possible:
            return None
        return derived.twice.gradients(scan, args, valid, reverse, given, names)

    mask = None if valid is None else there(valid, flat(xs)[0]._data)
    operation = derived.operation(name, known.scan)
    with scope or nullcontext():
        y, *last = operation(args, specification, recorded, mask=mask, reverse=reverse)
    return y, like(state, last)


def refusal(xs: Any, state: Any) -> str:
    """Why this call needs no derived loop, or an empty string."""
    parts = flat(xs)
    if step_by_step.get():
        return "nn.unrolled() is in force"
    if unfused():
        return "anomaly mode checks every operation of every step"
    if len(parts[0]) < 2:
        return "there is a single step only"
    if not all(part.size for part in parts):
        return "the batch is empty"
    if state is None:
        return "it starts without a state"
    return ""


def explained(
    step: Callable[[Any, Any], Any],
    xs: Any,
    state: Any,
    masked: bool = False,
    reverse: bool = False,
) -> Found:
    """What :func:`scan` would do, and why."""
    why = refusal(xs, state)
    if why:
        return Found(None, None, None, why)
    known = found(step, xs, state, masked, reverse)
    if known.derived is None:
        return known
    return known._replace(reason=known.derived.reason(flat(xs)[0]._data, masked))
