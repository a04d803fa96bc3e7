"""Checkpointing: keep the inputs of a segment, not its inside, and compute it again in backward.

Memory for time: a sequence of T steps cut into √T segments needs O(√T) memory and one more
forward pass (Chen et al. 2016, "Training deep nets with sublinear memory cost").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .autograd import Node, Variable, enable_grad, is_grad_enabled
from .autograd.engine import pull, reachable
from .autograd.graph import Source
from .autograd.writes import clock, written_since
from .backend import get_rng_state, set_rng_state
from .tensor import Tensor


def checkpoint(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """f(*args), recorded as one node that keeps the arguments alone and runs f again in backward.

    The gradients are those of f itself, also for what f closes over (the weights of a module).
    Random numbers that f draws from the library's generator are the same both times.

    Args:
        f: A function of tensors that gives a tensor, or a tuple of them.
        *args, **kwargs: Its arguments.

    Raises (in backward):
        RuntimeError: an argument was written in place since.
    """
    if not is_grad_enabled():
        return f(*args, **kwargs)
    segment = _Segment(f, args, kwargs)
    result = segment.run()
    outputs = result if isinstance(result, tuple) else (result,)
    sources = segment.sources(outputs)
    if not sources:
        return result
    shape, dtype = tuple(y.shape for y in outputs), tuple(y.dtype for y in outputs)
    node = Node(segment, sources, [], None, shape, dtype)
    parts = zip(outputs, node.outputs(), strict=True)
    made = tuple(Tensor._wrap(y.data, n) if y.requires_grad else y for y, n in parts)
    return made if isinstance(result, tuple) else made[0]


class _Segment:
    """A function and its arguments, as the operation of one node."""

    name = "checkpoint"

    def __init__(
        self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._call = f, args, kwargs
        self._random = get_rng_state()
        self._start = next(clock)

    def run(self) -> Any:
        f, args, kwargs = self._call
        with enable_grad():
            return f(*args, **kwargs)

    def sources(self, outputs: Iterable[Any]) -> tuple[Source, ...]:
        """What the segment's graph depends on from outside: older nodes, and leaves."""
        ends: dict[Source, None] = {}

        def outside(source: Source) -> bool:
            return isinstance(source, Variable) or source.time < self._start

        tops = [y.node for y in outputs if isinstance(y, Tensor) and y.node is not None]
        for node in reachable(tops, outside):
            ends.update(dict.fromkeys(e for e in node.edges if e is not None and outside(e)))
        return tuple(ends)

    def pullback(
        self, node: Node, g: Any, wanted: Callable[[Source], bool] | None, live: bool
    ) -> Iterable[tuple[Source, Any]]:
        """Run the segment again, this time to the gradients of its sources."""
        _, args, kwargs = self._call
        for value in (*args, *kwargs.values()):
            if isinstance(value, Tensor) and written_since(value.data, node.time):
                raise RuntimeError(
                    f"an argument of a checkpoint, of shape {value.shape}, was written in place "
                    "since: call backward before the write"
                )
        random = get_rng_state()
        set_rng_state(self._random)
        try:
            result = self.run()
        finally:
            set_rng_state(random)
        outputs = result if isinstance(result, tuple) else (result,)
        pairs = [(y, part) for y, part in zip(outputs, g, strict=True) if y.requires_grad]
        seeds = [part if live else Tensor(part) for _, part in pairs]
        targets = [e for e in node.edges if e is not None and (wanted is None or wanted(e))]
        found = pull([y for y, _ in pairs], seeds, targets, create_graph=live)
        for source, gradient in found.items():
            yield source, gradient if live else gradient.data
