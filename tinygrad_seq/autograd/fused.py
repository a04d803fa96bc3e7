"""A fused operation: a long computation as one node, with one backward for all its arguments.

Where a primitive has a rule per argument, a fused operation computes all gradients together. It
names a *specification*: the same results computed operation by operation. First order uses the
fused backward; where the backward pass itself is recorded, the specification is run and
differentiated instead. Under an observer that unfuses (anomaly mode), the
specification is run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ..backend import one_backend
from .engine import pull
from .graph import Node, Plan, Source, Variable, source_of
from .mode import enable_grad, recording
from .observe import observing, unfused
from .saved import replaced

if TYPE_CHECKING:
    from ..tensor import Tensor


Recorded: TypeAlias = "Callable[[Sequence[Tensor], set[str]], dict[str, Tensor] | None]"


class _Again(NamedTuple):
    """What a recorded backward needs: the arguments as tensors, and the functions of a call."""

    args: Sequence[Variable | None]
    specification: Callable[[], Sequence[Tensor]]
    recorded: Recorded | None


class Fused:
    """An operation of several arguments and results; see the top of this file.

    Args:
        name: What errors and listings call it.
        arguments: Names of the arguments; None may stand for one that is missing.
        forward: ``forward(*arrays, keep=..., **params) -> (results, saved)``; ``saved`` is what the
            backward needs; it is made only if ``keep``.
        backward: ``backward(*gradients, saved, wanted) -> {argument: gradient}`` for the names in
            ``wanted`` (more are ignored); the gradients are new arrays.
    """

    def __init__(
        self,
        name: str,
        arguments: tuple[str, ...],
        forward: Callable[..., Any],
        backward: Callable[..., Any],
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.forward = forward
        self._backward = backward
        self._plan = Plan((*arguments, "values", "again"), (), (), pure=True)

    def __call__(
        self,
        args: Sequence[Variable | None],
        specification: Callable[[], Sequence[Tensor]],
        recorded: Recorded | None = None,
        **params: Any,
    ) -> tuple[Tensor, ...]:
        """The results as tensors, recorded if an argument requires grad.

        Args:
            args: The arguments, in order.
            specification: Computes the same results operation by operation.
            recorded: Computes the backward by operations that are recorded, if it does not
                return None: ``recorded(gradients, wanted) -> {argument: gradient}``.
            **params: Static parameters of the forward.
        """
        if unfused():
            return tuple(specification())
        arrays = [None if a is None else a._data for a in args]
        edges = [None if a is None or not a._requires_grad else source_of(a) for a in args]
        keep = recording.get() and any(e is not None for e in edges)
        one_backend(self.name, arrays)
        here, forward = observing.get(), self.forward
        if here is not None:
            forward = functools.partial(here.forward, self, forward)
        results, values = forward(*arrays, keep=keep, **params)
        wrap: Any = next(a for a in args if a is not None)._wrap
        if not keep:
            return tuple(wrap(y) for y in results)
        saved = [*arrays, values, _Again(args, specification, recorded)]
        shape, dtype = tuple(y.shape for y in results), tuple(y.dtype for y in results)
        node = Node(self, edges, saved, self._plan, shape, dtype)
        return tuple(wrap(y, part) for y, part in zip(results, node.outputs(), strict=True))

    def pullback(
        self, node: Node, g: Any, wanted: Callable[[Source], bool] | None, live: bool
    ) -> Iterator[tuple[Source, Any]]:
        """Yield (source, gradient) for each wanted argument of ``node``."""
        *arrays, values, again = node.kept()
        edges = [e if e is not None and (wanted is None or wanted(e)) else None for e in node.edges]
        names = {name for name, e in zip(self.arguments, edges, strict=True) if e is not None}
        found: Any = None
        if not live:
            found = self._backward(*g, values, names)
        else:
            self._check_arguments(again.args, arrays)
            if again.recorded is not None:
                with enable_grad():
                    found = again.recorded(g, names)
        if found is not None:
            for name, edge in zip(self.arguments, edges, strict=True):
                if edge is not None and name in found:
                    yield edge, found[name]
            return
        with enable_grad():
            results = again.specification()
        pairs = [(y, part) for y, part in zip(results, g, strict=True) if y._requires_grad]
        if pairs:  # none if all arguments were frozen since
            outputs, seeds = zip(*pairs, strict=True)
            yield from pull(outputs, seeds, [e for e in edges if e is not None], True).items()

    def _check_arguments(self, args: Sequence[Variable | None], arrays: Sequence[Any]) -> None:
        """Raise RuntimeError if an argument has other data than the forward read."""
        for a, array in zip(args, arrays, strict=True):
            if a is not None and a._data is not array:
                raise RuntimeError(replaced(a, self.name))
