"""Backward: visit the graph from results to leaves, and add up what the rules give.

Nodes are numbered as they are recorded, and an argument is always older than its result, so the
reachable nodes in descending order of time are a topological order: when a node is reached, every
contribution to its gradient has arrived. Nothing recurses, and each node is visited once.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, TypeVar

from ..backend import backend_of, keep_freed_memory
from .deposit import deposit
from .graph import Node, Source, Variable, source_of
from .mode import as_recording
from .observe import observing
from .reach import leading_to, reachable, require_reached
from .saved import check_saved
from .sums import Sums, fit
from .upstream import upstream_of

V = TypeVar("V", bound=Variable)


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
        retain_graph: Keep the graph for another pass; by default the value of ``create_graph``.
        create_graph: Record the backward pass itself, so that it can be differentiated.

    Raises:
        RuntimeError: nothing requires grad, the graph was freed, or a saved value was overwritten.
        ValueError: a gradient is missing or has another shape than its output.
    """
    found = _walk(outputs, gradients, retain_graph, create_graph)
    leaves = [s for s in found if isinstance(s, Variable) and s._requires_grad]
    as_recording(create_graph, deposit, leaves, [found[leaf] for leaf in leaves])


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
        retain_graph: Keep the graph for another pass; by default the value of ``create_graph``.
        create_graph: Record the backward pass itself, so that it can be differentiated.
        allow_unused: Return None instead of raising for an input that the outputs do not depend on.

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
    """Gradients at ``targets``, where the walk stops: the contribution of a segment."""
    return _walk(outputs, gradients, retain_graph, create_graph, targets, segment=True)


def _listed(given: Any) -> list[Any]:
    return list(given) if isinstance(given, (list, tuple)) else [given]


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
        segment: Stop at the targets and do not run their hooks: another walk does so.
    """
    seeds = upstream_of(outputs, gradients)
    keep_freed_memory()
    sums = Sums(outputs[0]._wrap, live=create_graph)
    for output, seed in zip(outputs, seeds, strict=True):
        sums.add(source_of(output), seed if create_graph else seed._data)

    ends = dict.fromkeys(targets or ())
    nodes = reachable(sums.values, ends.__contains__ if segment else None)
    wanted = None
    if targets is not None:
        nodes, wanted = leading_to(ends, nodes)
        if demand:
            require_reached(ends, sums.values, nodes)
    nodes.reverse()  # newest first
    check_saved(nodes)  # before anything is changed
    retain = create_graph if retain_graph is None else retain_graph

    def gradients_found() -> dict[Source, Any]:
        with backend_of(outputs[0]._data).quiet():
            _go_back(nodes, sums, ends, wanted, retain)
            return sums.finish(ends if targets is not None else None, hooks=not segment)

    return as_recording(create_graph, gradients_found)


def _go_back(
    nodes: Sequence[Node],
    sums: Sums,
    ends: Container[Source],
    wanted: Callable[[Source | None], bool] | None,
    retain: bool,
) -> None:
    """Visit each of ``nodes``, newest first, and pass its gradient on by the operation's rules."""
    observed = _observed(sums)
    for node in nodes:
        g = sums.take(node, keep=node in ends)
        if g is None:  # no gradient, or it belongs to the whole operation
            continue
        pull_back = observed or node.op.pullback
        for source, value in pull_back(node, g, wanted, sums.live):
            sums.add(source, value, node, g)
        if not retain:
            node.saved = None


def _observed(sums: Sums) -> Callable[..., Any] | None:
    """How a node's rules are applied under an observer; None without one."""
    here = observing.get()

    def fitted(node: Node, *args: Any) -> Iterator[tuple[Source, Any]]:
        for source, value in node.op.pullback(node, *args):
            yield source, fit(value, source, node, sums)

    return None if here is None else lambda node, *args: here.pullback(node, fitted, *args)
