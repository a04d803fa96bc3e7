"""Recomputing: keep the inputs of a segment, not its inside, and compute it again in backward.

Memory for time: a sequence of T steps cut into √T segments needs O(√T) memory and one more
forward pass (Chen et al. 2016, "Training deep nets with sublinear memory cost").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ParamSpec, TypeVar, cast

from .autograd import Node, Variable, enable_grad, is_grad_enabled
from .autograd.engine import pull
from .autograd.graph import Source, source_of
from .autograd.reach import reachable
from .autograd.writes import clock, written_since
from .backend import get_rng_state, set_rng_state
from .messages import warn
from .tensor import Tensor
from .trees import leaves, mapped

P = ParamSpec("P")
R = TypeVar("R")


def recompute(f: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """f(*args), recorded as one node that keeps only the arguments and runs f again in backward.

    The gradients are those of f itself, also for what f closes over (the weights of a module).
    Random numbers that f draws from the library's generator are the same both times.

    Args:
        f: A function that gives a tensor, or tuples, lists and dicts of them (other values pass
            through).
        *args, **kwargs: Its arguments.

    Raises (in backward):
        RuntimeError: an argument was written in place since.
    """
    if not is_grad_enabled():
        return f(*args, **kwargs)
    segment = _Segment()
    saved = [f, args, kwargs]
    result: R = segment.run(saved)
    outputs = _recorded(result)
    sources = segment.sources(outputs)
    if not sources:
        return result
    shape, dtype = tuple(y.shape for y in outputs), tuple(y.dtype for y in outputs)
    node = Node(segment, sources, saved, None, shape, dtype)
    made = {id(y): Tensor._wrap(y._data, n) for y, n in zip(outputs, node.outputs(), strict=True)}
    return cast("R", mapped(lambda y: made.get(id(y), y), result))


def checkpoint(f: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """:func:`recompute` by its former name, which differed from ``ts.Checkpoint`` by a capital."""
    warn(
        "ts.checkpoint is called ts.recompute now; a file of a training run is a ts.Checkpoint",
        DeprecationWarning,
    )
    return recompute(f, *args, **kwargs)


def _recorded(result: Any) -> list[Tensor]:
    """The tensors of a result that require grad, in order."""
    return [y for y in leaves(result) if isinstance(y, Tensor) and y.requires_grad]


class _Segment:
    """A segment of computation as the operation of one node, which saves how to run it again."""

    name = "recompute"

    def __init__(self) -> None:
        self._random = get_rng_state()
        self._start = next(clock)

    def run(self, saved: Sequence[Any]) -> Any:
        f, args, kwargs = saved
        with enable_grad():
            return f(*args, **kwargs)

    def sources(self, outputs: Sequence[Tensor]) -> tuple[Source, ...]:
        """What the segment's graph depends on from outside: older nodes, and leaves."""
        ends: dict[Source, None] = {}

        def outside(source: Source) -> bool:
            return isinstance(source, Variable) or source.time < self._start

        tops = [source_of(y) for y in outputs]
        ends.update(dict.fromkeys(top for top in tops if outside(top)))
        for node in reachable(tops, outside):
            ends.update(dict.fromkeys(e for e in node.edges if e is not None and outside(e)))
        return tuple(ends)

    def pullback(
        self, node: Node, g: Any, wanted: Callable[[Source], bool] | None, live: bool
    ) -> Iterable[tuple[Source, Any]]:
        """Run the segment again, this time to the gradients of its sources."""
        saved = node.kept()
        _, args, kwargs = saved
        for value in (*args, *kwargs.values(), *node.edges):
            if isinstance(value, Variable) and written_since(value._data, node.time):
                raise RuntimeError(
                    f"what recompute() computed from, of shape {value.shape}, was written in "
                    "place since: call backward before the write"
                )
        random = get_rng_state()
        set_rng_state(self._random)
        try:
            result = self.run(saved)
        finally:
            set_rng_state(random)
        outputs = _recorded(result)
        if [y.shape for y in outputs] != list(node.shape):
            raise RuntimeError(
                f"recompute() got outputs of shapes {list(node.shape)}, and on the way back "
                f"{[y.shape for y in outputs]}: its function must give the same each time"
            )
        targets = [e for e in node.edges if e is not None and (wanted is None or wanted(e))]
        found = pull(outputs, [part if live else Tensor._wrap(part) for part in g], targets, live)
        for source, gradient in found.items():
            yield source, gradient if live else gradient.data
