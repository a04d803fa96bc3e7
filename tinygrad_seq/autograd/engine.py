"""Backward: visit the graph from results to leaves, and add up what the rules give.

Nodes are numbered as they are recorded, and an argument is always older than its result, so the
reachable nodes in descending order of time are a topological order: when a node is reached, every
contribution to its gradient has arrived. Nothing recurses, and each node is visited once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..backend import backend_of, is_array, xp
from .graph import Node, Source, Variable, source_of
from .mode import Mode, enable_grad, no_grad, watching
from .operands import all_finite
from .writes import last_write, written_since

V = TypeVar("V", bound=Variable)


def backward(
    outputs: Sequence[V],
    gradients: Sequence[V | None] | None = None,
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
    found = _accumulate(outputs, gradients, None, retain_graph, create_graph)
    for leaf, gradient in found.items():
        if isinstance(leaf, Variable):
            old: Any = leaf._grad
            leaf._grad = gradient if old is None else old + gradient


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
    outputs = [outputs] if isinstance(outputs, Variable) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Variable) else list(inputs)
    if grad_outputs is not None and not isinstance(grad_outputs, (list, tuple)):
        grad_outputs = [grad_outputs]
    for k, x in enumerate(inputs):
        if not x._requires_grad:
            raise RuntimeError(f"input {k} of grad (shape {x.shape}) does not require grad")
    targets = [source_of(x) for x in inputs]
    found = _accumulate(outputs, grad_outputs, targets, retain_graph, create_graph)
    missing = [k for k, t in enumerate(targets) if t not in found]
    if missing and not allow_unused:
        raise RuntimeError(
            f"the outputs do not depend on input {missing[0]} (shape {inputs[missing[0]].shape}); "
            "pass allow_unused=True to get None for it"
        )
    return tuple(found.get(t) for t in targets)


def pull(
    outputs: Sequence[Variable],
    gradients: Sequence[Any],
    targets: Sequence[Source],
    create_graph: bool,
) -> dict[Source, Any]:
    """Gradients at ``targets``, which the walk does not pass: what a segment contributes."""
    return _accumulate(outputs, gradients, targets, None, create_graph, stop=True)


def reachable(sources: Sequence[Source], stop: Callable[[Source], bool]) -> list[Node]:
    """Every node that ``sources`` depend on, oldest first; not what lies beyond a ``stop``."""
    seen: set[Node] = set()
    stack = list(sources)
    while stack:
        source = stack.pop()
        if isinstance(source, Node) and source not in seen and not stop(source):
            seen.add(source)
            stack.extend([e for e in source.edges if e is not None])
    return sorted(seen, key=lambda node: node.time)


def _accumulate(
    outputs: Sequence[V],
    gradients: Sequence[Any] | None,
    targets: Sequence[Source] | None,
    retain_graph: bool | None,
    create_graph: bool,
    stop: bool = False,
) -> dict[Source, Any]:
    """Walk back from ``outputs``; return the gradient of each target, or else of each leaf."""
    if not outputs:
        raise ValueError("there is no output to differentiate")
    retain = create_graph if retain_graph is None else retain_graph
    totals = _Totals(outputs[0]._wrap, live=create_graph)
    for output, seed in zip(outputs, _seeds(outputs, gradients), strict=True):
        totals.add(source_of(output), seed if create_graph else seed._data, fresh=False)
    ends = frozenset(targets or ())
    nodes = reachable(list(totals.values), lambda source: stop and source in ends)
    for node in nodes:
        _check(node)  # before anything is changed
    wanted = None
    if targets is not None:
        wanted = _leading_to(ends, nodes)
        nodes = [node for node in nodes if wanted(node)]

    mode: Mode = enable_grad() if create_graph else no_grad()
    watched = watching.get()
    # A warning from inside a rule would not say where: that is what anomaly mode is for.
    with mode, backend_of(outputs[0]._data).quiet():
        for node in reversed(nodes):
            g = totals.take(node, keep=node in ends)
            if g is None:
                continue
            if node.slot is not None:
                totals.add_part(node, g)
                continue
            for source, value in node.op.pullback(node, g, wanted, create_graph):
                value = _fit(value, source, node)
                if watched:
                    _watch(node, g, value)
                totals.add(source, value, fresh=_is_fresh(value, g, node))
            if not retain:
                node.saved, node.edges = None, ()
        return {s: totals.final(s) for s in (targets or list(totals.values)) if s in totals}


class _Totals:
    """The gradients so far, each summed in a buffer of its own from the second contribution on."""

    def __init__(self, wrap: Callable[..., Any], live: bool) -> None:
        self.values: dict[Source, Any] = {}
        self._wrap = wrap  # makes a tensor of an array
        self._live = live  # gradients are tensors, recorded; otherwise arrays
        self._owned: set[Source] = set()  # whose array nobody else holds

    def __contains__(self, source: Source) -> bool:
        return source in self.values

    def add(self, source: Source, value: Any, fresh: bool) -> None:
        """Add a contribution; ``fresh`` when nobody else holds its array."""
        total = self.values.get(source)
        if total is None:
            self.values[source] = value
            if fresh:
                self._owned.add(source)
        elif source in self._owned and not self._live:
            total += value  # in place, but for 0-d sums, which NumPy gives as new scalars
            self.values[source] = total
        else:
            self.values[source] = total + value
            self._owned.add(source)

    def add_part(self, node: Node, value: Any) -> None:
        """The gradient of one output of several: collect it for the whole operation."""
        (whole,) = node.edges
        assert isinstance(whole, Node)
        assert node.slot is not None
        parts = self.values.setdefault(whole, [None] * len(whole.shape))
        part = parts[node.slot]
        parts[node.slot] = value if part is None else part + value

    def take(self, node: Node, keep: bool) -> Any:
        """The complete gradient of ``node``, after its hooks; forgotten here unless ``keep``."""
        g = self.values.get(node)
        if type(g) is list:
            g = self._whole(g, node)
        if node.hooks and g is not None:
            g = self._hooked(g, node, node.hooks)
        if keep:
            self.values[node] = g
        else:
            self.values.pop(node, None)
            self._owned.discard(node)
        return g

    def final(self, source: Source) -> Any:
        """The gradient of a leaf or target, as a tensor that shares memory with nothing."""
        g = self.values[source]
        if isinstance(source, Variable) and source.hooks:
            g = self._hooked(g, source, source.hooks)
        if self._live:
            return g * 1  # a tensor of its own, still on the graph
        return self._wrap(g if source in self._owned else g.copy())

    def _whole(self, parts: list[Any], node: Node) -> tuple[Any, ...]:
        """The gradients of all outputs of an operation, zeros for those that went unused."""
        like = next(part for part in parts if part is not None)
        zeros = xp(like._data if self._live else like).zeros
        return tuple(
            part if part is not None else self._wrap(zeros(*of)) if self._live else zeros(*of)
            for part, of in zip(parts, zip(node.shape, node.dtype, strict=True), strict=True)
        )

    def _hooked(self, g: Any, source: Source, hooks: dict[int, Callable[[Any], Any]]) -> Any:
        """The gradient after the hooks, each of which may replace it."""
        self._owned.discard(source)
        for hook in list(hooks.values()):
            replaced = hook(g if self._live else self._wrap(g))
            if replaced is not None:
                if replaced.shape != g.shape:
                    raise ValueError(
                        f"a gradient hook gave shape {replaced.shape} for a gradient of {g.shape}"
                    )
                g = replaced if self._live else replaced._data
        return g


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
            gradient = output._wrap(np.asarray(gradient, output.dtype))
        if gradient.shape != output.shape:
            raise ValueError(
                f"the gradient of an output of shape {output.shape} must have that shape; "
                f"got {gradient.shape}"
            )
        seeds.append(gradient if gradient.dtype == output.dtype else gradient.astype(output.dtype))
    return seeds


def _leading_to(ends: frozenset[Source], nodes: Sequence[Node]) -> Callable[[Source], bool]:
    """Which sources are, or depend on, one of ``ends``."""
    found: set[Source] = set(ends)
    for node in nodes:  # oldest first: what a node depends on has been decided
        if any(edge in found for edge in node.edges):
            found.add(node)
    return found.__contains__


def _check(node: Node) -> None:
    """Raise if what ``node`` saved is gone, or no longer true."""
    if node.saved is None:
        raise RuntimeError(
            f"the graph behind {node.op.name} was freed by an earlier backward: pass "
            "retain_graph=True to that one to go through it again"
        )
    if node.time < last_write():
        for name, value in zip(node.plan.names if node.plan else (), node.saved, strict=True):
            for array in value if type(value) is tuple else (value,):
                if hasattr(array, "base") and written_since(array, node.time):
                    raise RuntimeError(_overwritten(node, name, array))


def _overwritten(node: Node, name: str, array: Any) -> str:
    leaves = [e for e in node.edges if isinstance(e, Variable) and e._data is array and e.name]
    whose = f" (tensor {leaves[0].name!r})" if leaves else ""
    return (
        f"{node.op.name} saved its {'output' if name == 'y' else name}{whose} of shape "
        f"{array.shape} for backward, and it was written in place since: call backward before the "
        "write, or compute the result again"
    )


def _fit(value: Any, source: Source, node: Node) -> Any:
    """A rule's result in the shape and dtype of its argument: broadcasting is undone here."""
    shape = source.shape
    if not is_array(value) and not isinstance(value, Variable):
        value = xp(value).asarray(value)
    if value.shape != shape:
        extra = value.ndim - len(shape)
        stretched = tuple(
            k for k, n in enumerate(value.shape) if k < extra or (n != 1 and shape[k - extra] == 1)
        )
        if extra < 0 or any(
            n not in (1, m) for n, m in zip(shape, value.shape[extra:], strict=True)
        ):
            raise RuntimeError(
                f"a rule of {node.op.name} gave a gradient of shape {value.shape} for an argument "
                f"of shape {shape}"
            )
        value = value.sum(axis=stretched, keepdims=True).reshape(shape)
    return value if value.dtype == source.dtype else value.astype(source.dtype)


def _is_fresh(value: Any, g: Any, node: Node) -> bool:
    """Whether a rule made this array itself: no view, not what came in, not what was saved."""
    if value is g or getattr(value, "base", g) is not None:
        return False
    return all(value is not saved for saved in node.saved or ())


def _watch(node: Node, g: Any, value: Any) -> None:
    """In anomaly mode: raise at the first NaN or Inf that a rule makes."""
    if not all_finite(getattr(value, "_data", value)):
        raise FloatingPointError(
            f"the rule of {node.op.name} (output shape {node.shape}) gave a gradient of shape "
            f"{value.shape} with NaN or Inf; recorded at {node.origin or 'an unwatched line'}"
        )
