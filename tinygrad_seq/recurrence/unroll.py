"""The plain loop: a cell applied step by step. Every derived loop must equal it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy

from .. import ops
from ..autograd.mode import Mode
from ..autograd.observe import at_step
from ..backend import there, xp
from ..tensor import Tensor
from .trees import branches_alike, each, flat, keys, like

step_by_step: ContextVar[bool] = ContextVar("step_by_step", default=False)


class unrolled(Mode):
    """Compute and record recurrent layers operation by operation, step by step.

    By default a layer is one fused operation, which is faster and one node in the graph. The
    results are the same. Use this to see the graph of every step.
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
            result = step(like(xs, [part[t] for part in inputs]), state)
            y, after = pair("a cell", result, state)
            if valid is not None and not valid[t].all():
                after = _freeze(valid[t], after, state)
        outputs.append(y)
        state = after
    shapes = [*dict.fromkeys([y.shape for y in outputs])]
    if len(shapes) > 1:
        raise ValueError(
            f"a cell must return y of one shape at every step; got {shapes[0]} and {shapes[1]}"
        )
    y = ops.stack(outputs[::-1] if reverse else outputs)
    return (y if valid is None else where_read(valid, y)), state


def pair(owner: str, result: Any, before: Any = None) -> tuple[Tensor, Any]:
    """Check that a cell or layer returned (y, state), with the structure of the state before.

    Raises:
        TypeError: it did not.
    """
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(
            f"{owner} must return the pair (y, state); got a {type(result).__name__}"
            + (f" of {len(result)}" if isinstance(result, tuple) else "")
        )
    y, after = result
    if not isinstance(y, Tensor):
        raise TypeError(
            f"{owner} must return y as a Tensor, else gradients are lost; got a {type(y).__name__}"
        )
    if not _continues(before, after):
        raise TypeError(
            f"{owner} must return its state with the structure that it was given; "
            f"got {written(after)} after {written(before)}"
        )
    return y, after


def _continues(before: Any, after: Any) -> bool:
    """Whether a state has the structure of the one before, and shapes that it broadcasts to.

    None may become anything.
    """
    if isinstance(before, dict | tuple | list):
        same = branches_alike(before, after)
        return same and all(_continues(before[k], after[k]) for k in keys(before))
    if before is None:
        return True
    if after is None or isinstance(after, dict | tuple | list):
        return False
    old, new = getattr(before, "shape", ()), getattr(after, "shape", ())
    return old == new or (
        len(old) <= len(new)
        and all(a in (1, b) for a, b in zip(old[::-1], new[::-1], strict=False))
    )


def written(state: Any) -> str:
    """The structure of a state as text, with the shapes of its parts."""
    if isinstance(state, dict):
        return f"{{{', '.join([f'{name}: {written(part)}' for name, part in state.items()])}}}"
    if isinstance(state, tuple | list):
        return f"({', '.join(map(written, state))}{',' * (len(state) == 1)})"
    shape = getattr(state, "shape", None)
    return repr(state) if shape is None else f"{type(state).__name__}{list(shape)}"


def where_read(valid: Any, x: Tensor, other: Any = 0) -> Tensor:
    """x where a step is read, else ``other``; ``valid`` is on the host, for the first axes of x."""
    return _where(there(valid, x._data), x, other)


def filled(valid: Any, x: Tensor) -> Tensor:
    """x with a step that is read in place of each that is not: the sequence's own first, if any.

    A cell that divides by its input, or takes its logarithm, is finite there. If no step is read,
    all are zero.
    """
    some, data = valid.any(0), x._data
    if not some.any():
        return where_read(valid, x)
    if not some.ndim:
        return where_read(valid, x, Tensor._wrap(data[int(valid.argmax())]))
    mask, own = there(valid, data), xp(data).arange(len(some))
    if not some.all():
        own = there(numpy.where(some, numpy.arange(len(some)), some.argmax()), data)
    return _where(mask, x, Tensor._wrap(data[mask.argmax(0)[own], own]))


def _where(mask: Any, x: Tensor, other: Any) -> Tensor:
    return ops.where(mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim)), x, other)


def _freeze(valid: Any, after: Any, before: Any) -> Any:
    if before is None:
        raise ValueError(
            "a mask that leaves out a sequence's first step needs a state to keep until then: "
            "give state=, or the cell an initial_state(batch_shape)"
        )

    def kept(a: Any, b: Any) -> Any:
        if a is None:
            return None
        if a.shape[: valid.ndim] != valid.shape:
            raise ValueError(
                f"where a sequence is padded, its state is kept; a part of the state of shape "
                f"{a.shape} does not begin with the axis of the {len(valid)} sequences"
            )
        return where_read(valid, a, b)

    return each(kept, after, before)
