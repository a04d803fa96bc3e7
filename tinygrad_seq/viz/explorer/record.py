"""Records a backward pass: every gradient, its contributions, and the time step of each.

Rules are linear in the upstream gradient, so the gradient of a weight that all steps share can be
split by step: if an operation outside time steps receives parts from several steps, its rules are
applied to each part. The parts add up to the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ...autograd import Node, grad
from ...autograd.observe import Observer
from ...autograd.operands import on_host
from ...backend import xp
from ...tensor import Tensor
from ..graph import Graph
from .arrays import Arrays, norm, number

PARTS = 20_000_000  # limit of elements for splitting one operation's gradient by step


@dataclass
class Record:
    """A recorded backward pass, by the id of an operation or leaf.

    Attributes:
        gradients: The gradient of each result or leaf: its number in the store, or None.
        raw: The same gradients, as arrays.
        handed: Per operation, the gradients of its arguments, in order: argument, target, array,
            its norm, and the norm of the target's sum so far.
        flight: Bytes of the gradients alive when the rules of an operation are applied.
        by_step: Per leaf, in the order of arrival: step, array, norm, norm of the sum so far.
    """

    gradients: dict[int, list[int | None]] = field(default_factory=dict)
    raw: dict[int, list[Any]] = field(default_factory=dict)
    handed: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    flight: dict[int, int] = field(default_factory=dict)
    by_step: dict[int, list[dict[str, Any]]] = field(default_factory=dict)


def record(loss: Tensor, graph: Graph, arrays: Arrays) -> Record:
    """Run backward from ``loss``; changes no ``.grad``, runs no hook and keeps the graph."""
    watch = _Watch(graph, arrays)
    leaves = [leaf for leaf in graph.leaves if leaf.kind != "constant"]
    sources = [graph.sources[leaf.id] for leaf in leaves]
    with _without_hooks(graph.sources), watch:
        gradients = grad(loss, sources, retain_graph=True, allow_unused=True)
    for leaf, gradient in zip(leaves, gradients, strict=True):
        data = None if gradient is None else gradient.data
        watch.made.raw[leaf.id] = [data]
        watch.made.gradients[leaf.id] = [None if data is None else arrays.add(data)]
        watch.made.by_step[leaf.id] = watch.steps_of(leaf.id)
    return watch.made


class _Watch(Observer):
    """An observer that receives every operation of the backward pass."""

    def __init__(self, graph: Graph, arrays: Arrays) -> None:
        self.made = Record()
        self._graph = graph
        self._arrays = arrays
        self._ids = {id(source): k for k, source in enumerate(graph.sources)}
        self._sums: dict[tuple[int, int], Any] = {}  # the gradient so far, by source and slot
        self._parts: dict[int, dict[int | None, list[Any]]] = {}  # the same by source, step, slot

    def pullback(
        self, node: Node, pull: Callable[..., Iterable[tuple[Any, Any]]], /, *args: Any
    ) -> Iterable[tuple[Any, Any]]:
        """Pass on what the rules return, and record it, except inside a recomputed segment."""
        k = self._ids.get(id(node))
        if k is None:
            return pull(node, *args)
        return self._watched(k, node, pull, *args)

    def _watched(
        self, k: int, node: Node, pull: Callable[..., Any], g: Any, *rest: Any
    ) -> Iterator[tuple[Any, Any]]:
        operation = self._graph.operations[k]
        whole = list(g) if type(g) is tuple else [g]
        self.made.flight[k] = sum(int(part.nbytes) for part in self._sums.values())
        self.made.raw[k] = [part.copy() for part in whole]
        self.made.gradients[k] = [self._arrays.add(part) for part in whole]
        self.made.handed[k] = []
        for slot in range(len(whole)):
            self._sums.pop((k, slot), None)
        parts = self._parts.pop(k, {})
        if operation.step is not None:
            parts = {operation.step: whole}
        elif len(parts) * sum(part.size for part in whole) > PARTS:
            parts = {None: whole}
        several = len(parts) > 1
        step = next(iter(parts), None)
        for argument, source, value in self._arguments(node, pull(node, g, *rest)):
            self._note(k, argument, source, value, None if several else step, several)
            yield source, value
        if several:
            for step, part in parts.items():
                full = [
                    xp(whole[s]).zeros_like(whole[s]) if p is None else p
                    for s, p in enumerate(part)
                ]
                given = tuple(full) if type(g) is tuple else full[0]
                for _, source, value in self._arguments(node, pull(node, given, *rest)):
                    self._split(source, value, step)

    def _arguments(self, node: Node, pulled: Any) -> Iterator[tuple[int, Any, Any]]:
        """The argument of each gradient; gradients come in the order of the arguments."""
        position = 0
        for source, value in pulled:
            while node.edges[position] is not source:
                position += 1
            yield position, source, value
            position += 1

    def _place(self, source: Any) -> tuple[int, int]:
        if isinstance(source, Node) and source.slot is not None:
            return self._ids[id(source.edges[0])], source.slot
        return self._ids[id(source)], 0

    def _note(
        self, k: int, argument: int, source: Any, value: Any, step: int | None, several: bool
    ) -> None:
        place = self._place(source)
        before = self._sums.get(place)
        total = self._sums[place] = value.copy() if before is None else before + value
        self.made.handed[k].append(
            {
                "argument": argument,
                "to": place[0],
                "slot": place[1],
                "array": self._arrays.add(value),
                "norm": number(norm(value)),
                "sum": number(norm(total)),
            }
        )
        if not several:
            self._split(source, value, step)

    def _split(self, source: Any, value: Any, step: int | None) -> None:
        """Add to this step's part of a source's gradient."""
        k, slot = self._place(source)
        operations = self._graph.operations
        if k < len(operations) and operations[k].step is not None:
            return  # from here on the gradient belongs to this step
        slots = len(operations[k].results) if k < len(operations) else 1
        part = self._parts.setdefault(k, {}).setdefault(step, [None] * slots)
        part[slot] = value.copy() if part[slot] is None else part[slot] + value

    def steps_of(self, leaf: int) -> list[dict[str, Any]]:
        """The parts of a leaf's gradient, in the order of arrival."""
        made, total = [], None
        for step, (part,) in self._parts.get(leaf, {}).items():
            total = part if total is None else total + part
            made.append(
                {
                    "step": step,
                    "array": self._arrays.add(part),
                    "norm": number(norm(part)),
                    "sum": number(norm(total)),
                    "along": _along(part, self.made.raw[leaf][0]),
                }
            )
        return made


def _along(part: Any, whole: Any) -> float | str:
    """⟨part, whole⟩ / ⟨whole, whole⟩: shares of the gradient; they add up to 1."""
    a, b = (on_host(x).astype(float).ravel() for x in (part, whole))
    square = float(b @ b)
    return number(float(a @ b) / square) if square else 0.0


@contextmanager
def _without_hooks(sources: Iterable[Any]) -> Iterator[None]:
    """Inside the block no gradient hook runs and no tensor retains its gradient."""
    nodes: list[Any] = [source for source in sources if isinstance(source, Node | Tensor)]
    before = [(node, node.hooks, getattr(node, "retained", None)) for node in nodes]
    try:
        for node in nodes:
            node.hooks = None
            if isinstance(node, Node):
                node.retained = None
        yield
    finally:
        for node, hooks, retained in before:
            node.hooks = hooks
            if isinstance(node, Node):
                node.retained = retained
