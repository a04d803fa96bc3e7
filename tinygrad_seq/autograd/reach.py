"""Which nodes a walk back passes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from operator import attrgetter

from .graph import Node, Source


def reachable(
    sources: Iterable[Source], stop: Callable[[Source], bool] | None = None
) -> list[Node]:
    """Every node that ``sources`` depend on, oldest first, up to those in ``stop``."""
    seen: set[Node] = set()
    stack: list[Source | None] = list(sources)
    while stack:
        source = stack.pop()
        if type(source) is Node and source not in seen and not (stop and stop(source)):
            seen.add(source)
            stack += source.edges
    return sorted(seen, key=attrgetter("time"))


def leading_to(
    ends: Collection[Source], nodes: Iterable[Node]
) -> tuple[list[Node], Callable[[Source | None], bool]]:
    """The nodes with an argument that is, or depends on, one of ``ends``; and which sources do.

    Args:
        ends: Where gradients are wanted.
        nodes: The nodes to choose from, oldest first.
    """
    found: set[Source | None] = set(ends)
    passed = []
    for node in nodes:  # what a node depends on has been decided
        if not found.isdisjoint(node.edges):
            found.add(node)
            passed.append(node)
    return passed, found.__contains__


def require_reached(
    ends: Iterable[Source], outputs: Iterable[Source], nodes: Iterable[Node]
) -> None:
    """Raise if one of ``ends`` is neither an output nor an argument of one of ``nodes``."""
    reached = {*outputs, *(edge for node in nodes for edge in node.edges)}
    for k, end in enumerate(ends):
        if end not in reached:
            raise RuntimeError(
                f"the outputs do not depend on input {k} (shape {end.shape}); "
                "pass allow_unused=True to get None for it"
            )
