"""Backward: visit the graph from results to leaves, and add up what the rules give.

Nodes are numbered as they are recorded, and an argument is always older than its result, so the
reachable nodes in descending order of time are a topological order: when a node is reached, every
contribution to its gradient has arrived. Nothing recurses, and each node is visited once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any, TypeVar

from ..backend import backend_of, keep_freed_memory, one_backend, xp
from ..backend.forks import in_forked_child
from .graph import Node, Source, Variable, source_of
from .mode import recording, tracing, watching
from .operands import all_finite, as_operand
from .stacked import Stacked
from .sums import Sums, fit
from .writes import last_write, written_since

V = TypeVar("V", bound=Variable)

_depositing = threading.RLock()  # the handler of a signal may call backward meanwhile
_deposits = 0


@in_forked_child
def _renew() -> None:
    global _depositing
    _depositing = threading.RLock()


def backward(
    outputs: Sequence[V],
    gradients: Sequence[Any] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add the gradient of ``Σ ⟨gradient, output⟩`` to ``.grad`` of every leaf that requires grad.

    Args:
        outputs: What to differentiate.
        gradients: The upstream gradient of each; None means 1, for one-element tensors only.
        retain_graph: Keep the graph for another pass; by default as ``create_graph``.
        create_graph: Record the backward pass itself, so that it can be differentiated.

    Raises:
        RuntimeError: nothing requires grad, the graph was freed, or a saved value was overwritten.
        ValueError: a gradient is missing or has another shape than its output.
    """
    found = _walk(outputs, gradients, retain_graph, create_graph)
    leaves = [s for s in found if isinstance(s, Variable) and s._requires_grad]
    before = recording.get()
    try:  # as a mode does, but an interrupt finds no place where nothing puts it back
        recording.set(create_graph)
        with _depositing:  # threads may share leaves
            _deposit(leaves, [found[leaf] for leaf in leaves])
    finally:
        recording.set(before)


def grad(
    outputs: V | Sequence[V],
    inputs: V | Sequence[V],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[V | None, ...]:
    """The gradient of ``Σ ⟨gradient, output⟩`` at each input; ``.grad`` is not touched.

    Only the part of the graph between outputs and inputs is visited.

    Args:
        outputs: A tensor or several.
        inputs: A tensor or several, leaves or results.
        grad_outputs: The upstream gradient of each output; None means 1, for one element only.
        retain_graph: Keep the graph for another pass; by default as ``create_graph``.
        create_graph: Record the backward pass itself, so that it can be differentiated.
        allow_unused: Give None, not an error, for an input that the outputs do not depend on.

    Returns:
        One gradient per input.

    Raises:
        RuntimeError: an input does not require grad or is unused; the graph was freed; a saved
            value was overwritten.
        ValueError: a gradient is missing or has another shape than its output.
    """
    outputs, inputs = _listed(outputs), _listed(inputs)
    if grad_outputs is not None and not isinstance(grad_outputs, (list, tuple)):
        grad_outputs = [grad_outputs]
    if not inputs:
        raise ValueError("grad needs at least one input")
    for x in (*outputs, *inputs):
        if not isinstance(x, Variable):
            raise TypeError(f"grad takes tensors as outputs and inputs; got {x!r:.60}")
    for k, x in enumerate(inputs):
        if not x._requires_grad:
            raise RuntimeError(f"input {k} of grad (shape {x.shape}) does not require grad")
    targets = [source_of(x) for x in inputs]
    found = _walk(
        outputs, grad_outputs, retain_graph, create_graph, targets, demand=not allow_unused
    )
    return tuple(found.get(t) for t in targets)


def pull(
    outputs: Sequence[Variable],
    gradients: Sequence[Any],
    targets: Sequence[Source],
    create_graph: bool,
    retain_graph: bool | None = None,
) -> dict[Source, Any]:
    """Gradients at ``targets``, which the walk does not pass: what a segment contributes."""
    return _walk(outputs, gradients, retain_graph, create_graph, targets, segment=True)


def reachable(
    sources: Sequence[Source], stop: Callable[[Source], bool] | None = None
) -> list[Node]:
    """Every node that ``sources`` depend on, oldest first; not what lies beyond a ``stop``."""
    seen: set[Node] = set()
    stack: list[Source | None] = list(sources)
    while stack:
        source = stack.pop()
        if type(source) is Node and source not in seen and not (stop and stop(source)):
            seen.add(source)
            stack += source.edges
    return sorted(seen, key=attrgetter("time"))


def _listed(given: Any) -> list[Any]:
    return list(given) if isinstance(given, (list, tuple)) else [given]


def _deposit(leaves: Sequence[Variable], gradients: Sequence[Any]) -> None:
    """Add to ``.grad`` of every leaf, or on an error or interrupt of none."""
    global _deposits
    while True:
        start = _deposits
        olds = [leaf._grad for leaf in leaves]
        sums = [g if o is None else o + g for o, g in zip(olds, gradients, strict=True)]
        assign = map(setattr, leaves, repeat("_grad"), sums)
        if _deposits == start:  # else the handler of a signal has deposited meanwhile
            deque(assign, 0)  # in C: signals are looked for before and after it, not inside
            _deposits += 1
            return


def _walk(
    outputs: Sequence[V],
    gradients: Sequence[Any] | None,
    retain_graph: bool | None,
    create_graph: bool,
    targets: Sequence[Source] | None = None,
    demand: bool = False,
    segment: bool = False,
) -> dict[Source, Any]:
    """Walk back from ``outputs``: the gradient of each target, or else of each leaf.

    Args:
        outputs, gradients, retain_graph, create_graph: As for :func:`backward`.
        targets: Where gradients are wanted; None for every leaf.
        demand: Raise if a target is not reached.
        segment: Neither go beyond targets nor run their hooks: this is a part of another walk.
    """
    if not outputs:
        raise ValueError("there is no output to differentiate")
    keep_freed_memory()
    retain = create_graph if retain_graph is None else retain_graph
    sums = Sums(outputs[0]._wrap, live=create_graph)
    for output, seed in zip(outputs, _seeds(outputs, gradients), strict=True):
        sums.add(source_of(output), seed if create_graph else seed._data)

    ends = dict.fromkeys(targets or ())
    nodes = reachable(list(sums.values), ends.__contains__ if segment else None)
    wanted, idle = None, set[Node]()  # idle: targets with nothing behind them that is wanted
    if targets is not None:
        wanted = _leading_to(ends, nodes)
        nodes = [node for node in nodes if wanted(node)]
        idle = {node for node in nodes if not any(map(wanted, node.edges))}
        if demand:
            behind = (e for node in nodes if node not in idle for e in node.edges)
            _demand(ends, {*sums.values, *behind})
    nodes.reverse()  # newest first
    last = last_write()
    for node in nodes:  # before anything is changed
        if (node.saved is None or node.time < last) and node not in idle:
            _check(node)

    watched, here = watching.get(), tracing.get()
    # A warning from inside a rule would not say where: that is what anomaly mode is for.
    before = recording.get()
    try:
        recording.set(create_graph)
        with backend_of(outputs[0]._data).quiet():
            for node in nodes:
                g = sums.take(node, keep=node in ends)
                if g is None or node in idle:
                    continue
                if node.slot is not None:
                    sums.add_part(node, g)
                    continue
                if node.saved is None:
                    _check(node)  # a hook went backward through this graph
                pull_back = node.op.pullback if here is None else here.trace.pullback
                for source, value in pull_back(node, g, wanted, create_graph):
                    if type(value) is Stacked:
                        sums.stack(source, value)
                        continue
                    if watched:
                        _watch(node, fit(value, source, node, sums))
                    sums.add(source, value, node, g)
                if not retain:
                    node.saved = None
            sums.complete()
            found = ends if targets is not None else list(sums.values)
            given = {s: sums.final(s, hooks=not segment) for s in found if s in sums.values}
            sums.deposit_retained()
            return given
    finally:
        recording.set(before)


def _seeds(outputs: Sequence[Any], gradients: Sequence[Any] | None) -> list[Any]:
    """The upstream gradients as tensors, checked; ones where none is given."""
    if gradients is None:
        gradients = [None] * len(outputs)
    if len(gradients) != len(outputs):
        raise ValueError(f"{len(outputs)} outputs need as many gradients; got {len(gradients)}")
    seeds = []
    for output, gradient in zip(outputs, gradients, strict=True):
        if not output._requires_grad:
            raise RuntimeError(
                "backward through a tensor that does not require grad: none of the tensors that it "
                "was computed from has requires_grad=True, or it was made under no_grad"
            )
        np = xp(output._data)
        if gradient is None:
            if output._data.size != 1:
                raise RuntimeError(
                    f"a gradient can be left out for one-element tensors only; this one has shape "
                    f"{output.shape}: pass the upstream gradient, or reduce it with sum() or mean()"
                )
            gradient = output._wrap(np.ones_like(output._data))
        elif not isinstance(gradient, Variable):
            given = as_operand(gradient, (output._data,), "the upstream gradient")
            if getattr(given, "dtype", output.dtype).kind == "c":
                raise TypeError(
                    "an upstream gradient is real, for tensors are: give its real and imaginary "
                    "part one after the other"
                )
            gradient = output._wrap(np.asarray(given, output.dtype))
        one_backend("backward", (output._data, gradient._data))
        if gradient.shape != output.shape:
            raise ValueError(
                f"the gradient of an output of shape {output.shape} must have that shape; "
                f"got {gradient.shape}"
            )
        seeds.append(gradient if gradient.dtype == output.dtype else gradient.astype(output.dtype))
    return seeds


def _leading_to(ends: dict[Source, None], nodes: Sequence[Node]) -> Callable[[Source | None], bool]:
    """Which sources are, or depend on, one of ``ends``."""
    found: set[Source | None] = set(ends)
    for node in nodes:  # oldest first: what a node depends on has been decided
        if any(edge in found for edge in node.edges):
            found.add(node)
    return found.__contains__


def _demand(ends: dict[Source, None], reached: set[Source | None]) -> None:
    for k, end in enumerate(ends):
        if end not in reached:
            raise RuntimeError(
                f"the outputs do not depend on input {k} (shape {end.shape}); "
                "pass allow_unused=True to get None for it"
            )


def _check(node: Node) -> None:
    """Raise if what ``node`` saved is gone, or no longer true."""
    if node.saved is None:
        raise RuntimeError(
            f"the graph behind {node.op.name} was freed by an earlier backward. If a state was "
            "carried over from there, cut it off: state.detach(), of each part. To go through the "
            "same graph again, pass retain_graph=True to the earlier backward"
        )
    if node.plan is not None:
        for name, value in zip(node.plan.names, node.saved, strict=True):
            for array in value if type(value) is tuple else (value,):
                if hasattr(array, "base") and written_since(array, node.time):
                    raise RuntimeError(_overwritten(node, name, array))


def _overwritten(node: Node, name: str, array: Any) -> str:
    leaves = [e for e in node.edges if isinstance(e, Variable) and e._data is array and e.name]
    whose = f" (tensor {leaves[0].name!r})" if leaves else ""
    return (
        f"{node.op.name} saved its {'output' if name == 'y' else name}{whose} of shape "
        f"{array.shape} for backward, and it was written in place since: call backward before the "
        "write, or compute the result again; a state that is carried over an optimizer's step is "
        "cut off with state.detach()"
    )


def _watch(node: Node, value: Any) -> None:
    """In anomaly mode: raise at the first NaN or Inf that a rule makes."""
    if not all_finite(getattr(value, "_data", value)):
        raise FloatingPointError(
            f"the rule of {node.op.name} (output shape {node.shape}) gave a gradient of shape "
            f"{value.shape} with NaN or Inf; recorded at {node.origin or 'an unwatched line'}"
        )
