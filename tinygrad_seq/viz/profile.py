"""Measures the time and memory of every operation, forward and backward, by module and step."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from ..autograd import Node, Variable
from ..autograd.observe import observing
from ..autograd.writes import owner_of
from ..backend import is_array
from ..html import one_line
from ..nn import Module
from ..nn.names import Naming
from .fold import amount, place

BY = ("operation", "module", "step")


@dataclass(slots=True)
class Call:
    """One measured piece of work.

    Attributes:
        phase: ``"forward"``, or ``"backward"`` for the rules of one operation.
        operation: Its name.
        path, step: Where it was recorded.
        seconds: Its own time, without calls measured inside it.
        nbytes: The memory that it made: results, what a fused operation keeps, or gradients. A
            view of an argument counts 0.
        time: The number of its node (``node.time``), or None if nothing was recorded.
    """

    phase: str
    operation: str
    path: str
    step: int | None
    seconds: float
    nbytes: int
    time: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: totals of one group of calls."""

    name: str
    calls: int
    forward: float
    backward: float
    forward_bytes: int
    backward_bytes: int


class profile(Naming):
    """Measure every operation on tensors in the block, and every rule that backward applies there.

    Times are wall times: of an operation's forward, and of its rules including the sums of their
    results. The rest of ``seconds`` is Python between operations. Nodes know their module and time
    step, as in :class:`trace`. Measuring costs a few microseconds per operation.

    Args:
        model: As for :class:`trace`.

    Attributes:
        calls: Every measured piece of work, in the order in which they ended.
        seconds: The wall time of the block, after its end.

    Example:
        >>> import tinygrad_seq as ts
        >>> from tinygrad_seq import nn, viz
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        >>> with viz.profile() as p:
        ...     net(ts.ones((5, 3))).sum().backward()
        >>> sorted((row.name, row.calls) for row in p.rows("module"))  # forward and backward
        [('', 2), ('Sequential.0', 2), ('Sequential.1', 2), ('Sequential.2', 2)]
        >>> print(p.table("operation"))  # doctest: +SKIP
        operation  calls  forward ms  backward ms  forward bytes  backward bytes
        affine         4       0.021        0.024          100 B           208 B
        ...
    """

    def __init__(self, model: Module | None = None) -> None:
        super().__init__(model)
        self.calls: list[Call] = []
        self.seconds = 0.0
        self._here = threading.local()
        self._started = 0.0

    def __repr__(self) -> str:
        return f"profile of {len(self.calls):,} calls in {self.seconds:.3g} s: print(p.table())"

    def __enter__(self) -> profile:
        super().__enter__()
        self._started = perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds = perf_counter() - self._started
        super().__exit__(*error)

    # -- observing -----------------------------------------------------------------------------

    def forward(self, op: Any, compute: Callable[..., Any], /, *args: Any, **params: Any) -> Any:
        """Compute and measure a call."""
        with self._measured("forward", op.name) as call:
            result = compute(*args, **params)
        call.nbytes = _made(result, {id(owner) for owner in _buffers(args)})
        self._here.latest = call
        return result

    def recorded(self, node: Node) -> None:
        """Remember which node a call became."""
        latest = getattr(self._here, "latest", None)
        if node.slot is None and latest is not None and latest.operation == node.op.name:
            latest.time, self._here.latest = node.time, None

    def pullback(
        self, node: Node, pull: Callable[..., Iterable[tuple[Any, Any]]], /, *args: Any
    ) -> Iterator[tuple[Any, Any]]:
        """Measure from the first gradient to the time when the last has been added."""
        scope, made = node.scope, 0
        given = {id(owner) for owner in _buffers((args[0], node.saved))}
        with self._measured("backward", node.op.name) as call:
            for source, gradient in pull(node, *args):
                made += _made(gradient, given)
                yield source, gradient
        call.time, call.nbytes = node.time, made
        if scope is not None:
            call.path, call.step = scope.path, scope.step

    @contextmanager
    def _measured(self, phase: str, operation: str) -> Iterator[Call]:
        """Time the block, without what is measured inside of it."""
        scope, here = observing.get(), self._here
        path, step = ("", None) if scope is None else (scope.path, scope.step)
        call = Call(phase, operation, path, step, 0.0, 0)
        outside, here.inside = getattr(here, "inside", 0.0), 0.0
        start = perf_counter()
        try:
            yield call
        finally:
            elapsed = perf_counter() - start
            call.seconds = elapsed - here.inside
            here.inside = outside + elapsed
            self.calls.append(call)

    # -- results -------------------------------------------------------------------------------

    def rows(self, by: str = "operation") -> list[Row]:
        """Totals by ``"operation"``, ``"module"`` or ``"step"``, the longest first (steps in
        order)."""
        if by not in BY:
            raise ValueError(f"by must be one of {', '.join(BY)}; got {by!r}")
        groups: dict[Any, list[Call]] = {}
        for call in self.calls:
            key = {"operation": call.operation, "module": call.path, "step": call.step}[by]
            groups.setdefault(key, []).append(call)
        if by == "step":
            keys = sorted(groups, key=lambda step: -1 if step is None else step)
        else:
            keys = sorted(groups, key=lambda key: -sum(call.seconds for call in groups[key]))
        return [_row(_named(key, by), groups[key]) for key in keys]

    def table(self, by: str = "operation") -> str:
        """The rows as text, with their total and the time between operations."""
        rows = [*self.rows(by), _row("total", self.calls)]
        cells = [[by, "calls", "forward ms", "backward ms", "forward bytes", "backward bytes"]]
        cells += [
            [
                one_line(row.name) or "(top level)",
                str(row.calls),
                f"{1e3 * row.forward:.3f}",
                f"{1e3 * row.backward:.3f}",
                amount(row.forward_bytes),
                amount(row.backward_bytes),
            ]
            for row in rows
        ]
        widths = [max(len(line[k]) for line in cells) for k in range(len(cells[0]))]
        lines = [
            "  ".join(
                cell.rjust(width) if k else cell.ljust(width)
                for k, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in cells
        ]
        between = self.seconds - sum(call.seconds for call in self.calls)
        return "\n".join([*lines, f"between operations {1e3 * between:.3f} ms"])


def _row(name: str, calls: list[Call]) -> Row:
    ahead = [call for call in calls if call.phase == "forward"]
    back = [call for call in calls if call.phase == "backward"]
    seconds = [sum(call.seconds for call in part) for part in (ahead, back)]
    nbytes = [sum(call.nbytes for call in part) for part in (ahead, back)]
    return Row(name, len(calls), seconds[0], seconds[1], nbytes[0], nbytes[1])


def _named(key: Any, by: str) -> str:
    if by == "step":
        return "no step" if key is None else place("", (key,))
    return str(key)


def _made(value: Any, given: set[int]) -> int:
    """The bytes of the buffers of a result, without those of the arguments ``given``."""
    made = {id(owner): int(owner.nbytes) for owner in _buffers(value) if id(owner) not in given}
    return sum(made.values())


def _buffers(value: Any) -> Iterator[Any]:
    """The owner of memory of every array in a value."""
    if isinstance(value, Variable):
        value = value._data
    if is_array(value):
        yield owner_of(value)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _buffers(part)
