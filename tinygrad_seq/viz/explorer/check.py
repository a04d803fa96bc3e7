"""Finite differences of the loss at every value of a recorded graph.

One value is moved a little along a random direction v. Everything that depends on it is computed
again, on the host in float64, up to the loss:

    (L(y + εv) - L(y - εv)) / 2ε    beside    ⟨ȳ, v⟩
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...autograd.fused import Fused
from ...autograd.operands import on_host
from ...backend import is_array
from ..graph import Graph, Operation
from .arrays import number

STEP = 1e-5


def check(graph: Graph, calls: Any, gradients: dict[int, list[Any]]) -> dict[int, dict[str, Any]]:
    """Compare each gradient with a difference of losses.

    Takes time quadratic in the number of operations.

    Args:
        graph: What to check; its last operation gives the loss.
        calls: The recorded call of each node: (operation, arguments, parameters).
        gradients: The gradient of each result, by id.

    Returns:
        By id: the two numbers and their difference, relative to ‖ȳ‖ ‖v‖. Values that cannot be
        computed again, or are not finite, are left out.
    """
    replay = _Replay(graph, calls)
    made = {}
    for k, given in gradients.items():
        if k not in replay.values or any(g is None for g in given):
            continue
        known = [on_host(g).astype(float) for g in given]
        random = np.random.default_rng(k)
        values = replay.values[k]
        along = [random.standard_normal(v.shape) for v in values]
        size = max([1.0, *(float(np.abs(v).max()) for v in values if v.size)])
        high, low = (
            replay.loss(k, [v + s * STEP * size * d for v, d in zip(values, along, strict=True)])
            for s in (1, -1)
        )
        if high is None or low is None:
            continue
        numeric = (high - low) / (2 * STEP * size)
        analytic = float(sum((g * d).sum() for g, d in zip(known, along, strict=True)))
        scale = float(
            np.sqrt(sum((g * g).sum() for g in known) * sum((d * d).sum() for d in along))
        )
        difference = abs(numeric - analytic) / max(scale, 1e-30)
        if np.isfinite([numeric, analytic, difference]).all():
            made[k] = {
                "numeric": number(numeric),
                "analytic": number(analytic),
                "difference": number(difference),
            }
    return made


class _Replay:
    """Repeats the computation in float64, starting from any value."""

    def __init__(self, graph: Graph, calls: Any) -> None:
        self._graph = graph
        self._calls = calls
        self.values: dict[int, list[Any]] = {}
        self._users: dict[int, list[int]] = {}
        for leaf in graph.leaves:
            self.values[leaf.id] = [_wide(graph.value(leaf.id))]
        for operation in graph.operations:
            for given in operation.inputs:
                if given.wanted and given.source is not None:
                    self._users.setdefault(given.source, []).append(operation.id)
            result = self._compute(operation, self.values)
            if result is not None:
                self.values[operation.id] = result

    def loss(self, k: int, moved: list[Any]) -> float | None:
        """The loss, given these results of operation (or leaf) k."""
        values = {k: moved}
        after = self._after(k)
        for m in after:
            result = self._compute(self._graph.operations[m], values)
            if result is None:
                return None
            values[m] = result
        end, slot = self._graph.outputs[0]
        return float(values[end][slot or 0].sum()) if end in values else None

    def _after(self, k: int) -> list[int]:
        """All operations that depend on k, in order."""
        found: set[int] = set()
        stack = [k]
        while stack:
            for user in self._users.get(stack.pop(), ()):
                if user not in found:
                    found.add(user)
                    stack.append(user)
        return sorted(found)

    def _compute(self, operation: Operation, moved: dict[int, list[Any]]) -> list[Any] | None:
        call = self._calls.get(self._graph.sources[operation.id])
        if call is None:
            return None
        op, args, params = call
        given, params = _wide(list(args)), {name: _wide(value) for name, value in params.items()}
        for position, source in enumerate(operation.inputs):
            if source.wanted and source.source is not None:
                values = moved.get(source.source) or self.values.get(source.source)
                if values is None:
                    return None
                given[position] = values[source.slot or 0]
        with np.errstate(all="ignore"):
            result = op.forward(*given, **params)
        if isinstance(op, Fused):
            result = result[0]
        return [on_host(r) for r in (result if type(result) is tuple else (result,))]


def _wide(value: Any) -> Any:
    """Arrays, also in lists, on the host, floats as float64; anything else unchanged."""
    if type(value) in (list, tuple):
        return type(value)(map(_wide, value))
    if not is_array(value):
        return value
    array = on_host(value)
    return array.astype(np.float64) if array.dtype.kind == "f" else array
