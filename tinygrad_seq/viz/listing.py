"""A graph as text: the program that ran, and its backward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from .fold import Group, amount, argument, called, check_fold, flow, groups, kind, place, repeats
from .graph import Graph, Operation, graph

Row: TypeAlias = tuple[str, ...]
End: TypeAlias = tuple[Any, int | None]
"""Where a gradient goes: an id, and a slot."""

MANY = 6  # arguments in a line


def listing(*outputs: Any, fold: str | None = None) -> str:
    """The recorded graph as text: a line per operation in execution order, then the backward pass.

    A forward line has the result, the operation and its arguments (``const`` for one that needs no
    gradient and was not kept), the shape, the module and time step (if traced), and what is kept
    for backward: ``+ 24 B`` counts what no earlier operation, parameter or input holds. A backward
    line is one application of a rule: ``d%2 = multiply.a(d%5, b)`` is the gradient of ``%2`` by the
    rule of ``multiply`` for its argument ``a``, from the gradient of ``%5`` and the kept ``b``;
    ``+=`` adds a further contribution.

    Args:
        *outputs: Tensors that require grad, or one :class:`Graph`.
        fold: ``"time"``: show only one of several time steps that do the same. ``"module"``: one
            line per module.

    Raises:
        TypeError, ValueError: as :func:`graph`; or ``fold`` has another value.

    Example:
        >>> import tinygrad_seq as ts
        >>> from tinygrad_seq import viz
        >>> x = ts.tensor([1.0, 2.0], requires_grad=True, name="x")
        >>> print(viz.listing(ts.tanh(x * x).sum()))
        forward: 3 operations, 1 leaf, 8 B kept
          x                                          float32[2]  input
          %0 = multiply(x, x)                        float32[2]    keeps b + 0 B
          %1 = tanh(%0)                              float32[2]    keeps y + 8 B
          %2 = sum(%1, keepdims=False)               float32[]
        backward
          d%2 = 1                                    float32[]
          d%1 = sum.x(d%2, x_shape, axis, keepdims)  float32[2]
          d%0 = tanh.x(d%1, y)                       float32[2]
          dx = multiply.a(d%0, b)                    float32[2]
          dx += multiply.b(d%0, a)                   float32[2]
    """
    check_fold(fold)
    whole = graph_of(outputs)
    parts = groups(whole, fold)
    if fold == "module":
        return _table([*_head(whole), *_modules(whole, parts)])
    runs = list(repeats(parts)) if fold else [[part] for part in parts]
    return _table([*_head(whole), *_forward(whole, runs), *_backward(whole, runs, bool(fold))])


def graph_of(outputs: tuple[Any, ...]) -> Graph:
    """The graph of some tensors, or the given graph."""
    if len(outputs) == 1 and isinstance(outputs[0], Graph):
        return outputs[0]
    return graph(*outputs)


def _table(rows: list[Row]) -> str:
    """Rows of cells as lines with aligned columns, up to a width."""
    widths = [0] * max(map(len, rows))
    for row in rows:
        for k, cell in enumerate(row[:-1]):
            widths[k] = min(max(widths[k], len(cell)), 56)
    return "\n".join(
        "  ".join([*(cell.ljust(widths[k]) for k, cell in enumerate(row[:-1])), row[-1]]).rstrip()
        for row in rows
    )


def _head(whole: Graph) -> Iterator[Row]:
    kept = amount(max(whole.alive(), default=0))
    counts = _count(len(whole.operations), "operation"), _count(len(whole.leaves), "leaf", "leaves")
    yield (f"forward: {', '.join(counts)}, {kept} kept",)
    for leaf in whole.leaves:
        yield f"  {called(whole, leaf.id)}", kind(leaf.shape, leaf.dtype), leaf.kind


def _count(n: int, one: str, many: str | None = None) -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"


def _forward(whole: Graph, runs: list[list[Group]]) -> Iterator[Row]:
    alive = [0, *whole.alive()]
    for run in runs:
        yield from _again([part.steps[:1] for part in run])
        for o in run[0].operations:
            yield (
                f"  %{o.id} = {_call(whole, o)}",
                _results(o),
                place(o.path, () if o.step is None else (o.step,)),
                _kept(o, alive[o.id + 1] - alive[o.id]),
            )
        yield from _etc(run)


def _again(steps: Sequence[Sequence[int]]) -> Iterator[Row]:
    """The line above one of several time steps that do the same."""
    if len(steps) > 1:
        first, last = steps[0][0], steps[-1][0]
        yield (f"  × {len(steps)}: the same at t={first}..{last}, here t={first}",)


def _etc(run: Sequence[Group]) -> Iterator[Row]:
    if len(run) > 1:
        yield ("  ...",)


def _call(whole: Graph, o: Operation) -> str:
    given = _few([argument(whole, i) for i in o.inputs])
    named = {i.argument for i in o.inputs}
    given += [f"{name}={text}" for name, text in o.settings if name not in named]
    return f"{o.name}({', '.join(given)})"


def _few(parts: list[str]) -> list[str]:
    """A long list, shortened to a few items."""
    return parts if len(parts) <= MANY else [*parts[:2], "...", parts[-1]]


def _results(o: Operation) -> str:
    kinds = [kind(r.shape, r.dtype) for r in o.results]
    if len(kinds) > 1 and len(set(kinds)) == 1:
        return f"{len(kinds)} × {kinds[0]}"
    return ", ".join(kinds)


def _kept(o: Operation, new: int) -> str:
    if o.freed:
        return "freed"
    names = ", ".join(_few(list(dict.fromkeys(saved.name for saved in o.saved))))
    return f"keeps {names} + {amount(new)}" if names else ""


def _backward(whole: Graph, runs: list[list[Group]], fold: bool) -> Iterator[Row]:
    yield ("backward",)
    arrived: set[End] = set()  # the values that already have a gradient
    for end in whole.outputs:
        value = "1" if flow(whole, *end).endswith("[]") else "given"
        yield _gradient(whole, [end], value, arrived)
    for run in reversed(runs):
        yield from _again([part.steps[:1] for part in reversed(run)])
        for o in reversed(run[-1].operations):  # the step that comes first in the backward pass
            yield from _rules(whole, o, fold, arrived)
        yield from _etc(run)
        arrived |= {(i.source, i.slot) for part in run for o in part.operations for i in o.inputs}


def _rules(whole: Graph, o: Operation, fold: bool, arrived: set[End]) -> Iterator[Row]:
    """A line per application of a rule of an operation; folded, one for many arguments."""
    wanted = [i for i in o.inputs if i.wanted]
    if fold and len(wanted) > MANY:
        ends: list[End] = [(i.source, i.slot) for i in wanted]
        yield _gradient(whole, ends, f"{o.name}(d%{o.id})", arrived)
        return
    for i in wanted:
        takes = ", ".join([f"d%{o.id}", *i.reads])
        rule = f"{o.name}.{i.argument}({takes})"
        yield _gradient(whole, [(i.source, i.slot)], rule, arrived)


def _gradient(whole: Graph, ends: list[End], value: str, arrived: set[End]) -> Row:
    """The line that sets or adds to the gradients of ``ends``."""
    names = ", ".join(_few([f"d{called(whole, *end)}" for end in ends]))
    sign = "+=" if arrived.issuperset(ends) else "="
    arrived.update(ends)
    return f"  {names} {sign} {value}", flow(whole, *ends[0])


def _modules(whole: Graph, parts: list[Group]) -> Iterator[Row]:
    """A line per module: what ran in it, how often, and what it keeps."""
    alive = [0, *whole.alive()]
    for part in parts:
        names = Counter(o.name for o in part.operations)
        ran = ", ".join(f"{count} {name}" for name, count in names.items())
        new = sum(alive[o.id + 1] - alive[o.id] for o in part.operations)
        where = place(part.path or "(top level)", part.steps)
        total = _count(len(part.operations), "operation")
        yield f"  {where}", total, f"keeps {amount(new)}", ran
