"""Folds a graph by time or by module, and describes groups in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from .graph import Graph, Input, Operation

FOLDS = ("time", "module", None)
"""How a graph can be folded; None is not at all."""


class Group(NamedTuple):
    """Operations that are shown as one.

    Attributes:
        path: The module that contains all of them.
        steps: Their time steps, in the order of execution; empty outside time steps.
        operations: In execution order.
    """

    path: str
    steps: tuple[int, ...]
    operations: tuple[Operation, ...]


def groups(graph: Graph, fold: str | None) -> list[Group]:
    """The operations of a graph in groups.

    Args:
        graph: What to fold.
        fold: ``"time"``: consecutive operations of one time step are a group, and so are
            consecutive operations of one module outside time steps. No group depends on a later
            one. ``"module"``: all operations of a module, of all steps, are a group. None:
            consecutive operations of one module and one step are a group.

    Raises:
        ValueError: ``fold`` is none of these.
    """
    check_fold(fold)
    if fold == "module":
        by_path: dict[str, list[Operation]] = {}
        for operation in graph.operations:
            by_path.setdefault(operation.path, []).append(operation)
        return [_group(members) for members in by_path.values()]

    def key(operation: Operation) -> Any:
        if fold == "time" and operation.step is not None:
            return operation.step
        return operation.path, operation.step

    return [_group(tuple(run)) for _, run in groupby(graph.operations, key)]


def check_fold(fold: Any) -> None:
    """Raise unless ``fold`` is one of :data:`FOLDS`."""
    if fold not in FOLDS:
        raise ValueError(f'fold must be "time", "module" or None; got {fold!r}')


def repeats(parts: Iterable[Group]) -> Iterator[list[Group]]:
    """Consecutive groups that do the same at different time steps, together."""
    return (list(run) for _, run in groupby(parts, _alike))


def _alike(group: Group) -> Any:
    """Equal for groups that do the same."""
    if not group.steps:
        return group.operations[0].id
    return tuple(
        (o.name, o.results, o.path, o.settings, tuple((i.argument, i.wanted) for i in o.inputs))
        for o in group.operations
    )


def _group(members: Sequence[Operation]) -> Group:
    steps = dict.fromkeys(o.step for o in members if o.step is not None)
    return Group(common([o.path for o in members]), tuple(steps), tuple(members))


def common(paths: Sequence[str]) -> str:
    """The module that contains all of these."""
    parts = [path.split(".") for path in paths]
    first, last = min(parts), max(parts)
    count = next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    return ".".join(first[: min(len(first), len(last)) if count is None else count])


def place(path: str, steps: Sequence[int]) -> str:
    """A module and time steps in words: ``lstm.l0 t=3``, ``lstm.l0 t=0..5``."""
    if not steps:
        return path
    first, last = steps[0], steps[-1]
    when = f"t={first}" if len(steps) == 1 else f"t={first}..{last}"
    return f"{path} {when}".strip()


def kind(shape: Sequence[int], dtype: str) -> str:
    """A dtype and a shape: ``float32[2, 3]``."""
    return f"{dtype}{list(shape)}"


def amount(count: int) -> str:
    """Bytes in words, to three digits: ``24 B``, ``1.46 kB``, ``2.1 MB``."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} B" if unit == "B" else f"{size:.3g} {unit}"


def flow(graph: Graph, source: int, slot: int | None) -> str:
    """The dtype and shape of a result or a leaf."""
    about = graph[source]
    result = about.results[slot or 0] if isinstance(about, Operation) else about
    return kind(result.shape, result.dtype)


def called(graph: Graph, source: int | None, slot: int | None = None) -> str:
    """The name of a result or a leaf in a listing: ``%3``, ``%3[1]``, ``lstm.weight_ih_l0``."""
    if source is None:
        return "const"
    if source >= len(graph.operations):
        return graph.leaves[source - len(graph.operations)].name
    return f"%{source}" if slot is None else f"%{source}[{slot}]"


def argument(graph: Graph, given: Input) -> str:
    """An argument as text: the name of its source, or its value."""
    return given.value if given.value is not None else called(graph, given.source, given.slot)
