"""What the engine sees: a value, and the node of the operation that made it.

The recorded graph is made of nodes. A node points to the origins of its arguments (its *sources*):
other nodes, or leaf variables, which the user made. The graph keeps only the values that the rules
need.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, Self, TypeAlias

from .observe import observing
from .writes import clock

Rule: TypeAlias = Callable[..., Any]
"""A vector-Jacobian product: takes g and what it names, gives the gradient of one argument."""


class Use(NamedTuple):
    """How a primitive's node gives the gradient of one argument.

    Attributes:
        rule: Its vector-Jacobian product.
        takes: Which saved values (by number) the rule takes after g.
        rows: Of these, the one whose rows may be stacked over calls; see ``Primitive.stack``.
        apply: The rule as a function of g and the list of what is saved.
        place: Adds the gradient to an array, in place, or None; see ``Primitive.accumulate``.
    """

    rule: Rule
    takes: tuple[int, ...]
    rows: int | None
    apply: Callable[[Any, Sequence[Any]], Any]
    place: Rule | None


def applied(rule: Rule, takes: tuple[int, ...]) -> Callable[[Any, Sequence[Any]], Any]:
    """``rule(g, *[saved[k] for k in takes])``, without a loop where few are taken."""
    match takes:
        case ():
            return lambda g, saved: rule(g)
        case (i,):
            return lambda g, saved: rule(g, saved[i])
        case (i, j):
            return lambda g, saved: rule(g, saved[i], saved[j])
    return lambda g, saved: rule(g, *[saved[k] for k in takes])


class Plan(NamedTuple):
    """What a call saves when certain of its arguments need gradients.

    Attributes:
        names: Of the saved values.
        reads: How to read each from (values, params, out).
        uses: Per argument, how its gradient is found; None where it needs none.
        pure: Whether the rules are the library's own, which keep no array that they give.
        joint: The use of a rule of ``*xs`` that gives the gradients of all at once.
    """

    names: tuple[str, ...]
    reads: tuple[Callable[[list[Any], dict[str, Any], Any], Any], ...]
    uses: tuple[Use | None, ...]
    pure: bool
    joint: Use | None = None


class Operation(Protocol):
    """What a node records: something that can pull a gradient back to the node's sources."""

    name: str

    def pullback(
        self, node: Node, g: Any, wanted: Callable[[Source], bool] | None, live: bool
    ) -> Iterable[tuple[Source, Any]]:
        """Yield (source, gradient) for each wanted source; tensors when ``live``, else arrays."""
        ...


@functools.lru_cache(maxsize=1024)
def interned(shape: Any) -> Any:
    """One tuple for all equal shapes: fewer objects for Python's collector to visit."""
    return shape


class Node:
    """One recorded operation.

    Attributes:
        op: What was computed; ``op.pullback`` turns the output's gradient into the inputs'.
        edges: Per argument, its source, or None if it needs no gradient.
        saved: The values that the rules need; None once backward has freed them.
        plan: Of a primitive: the names of the saved values, and which rule takes which.
        shape, dtype: Of the output (tuples of them for an operation with several outputs).
        time: A counter at recording. Arguments are older than results, so descending time is
            a topological order.
        slot: Of one output of several, its index; its only edge is the whole operation.
        hooks: Called in order with the gradient of the output; each may replace it.
        retained: A weak reference to the tensor that is to keep this gradient in ``.grad``.
        origin: The user's line that recorded it (in anomaly mode), for error messages.
        scope: The module and time step it was recorded in (under an observer), or None.
    """

    __slots__ = (
        "__weakref__",
        "dtype",
        "edges",
        "hooks",
        "op",
        "origin",
        "plan",
        "retained",
        "saved",
        "scope",
        "shape",
        "slot",
        "time",
    )

    def __init__(
        self,
        op: Operation,
        edges: Sequence[Source | None],
        saved: Sequence[Any] | None,
        plan: Plan | None,
        shape: Any,
        dtype: Any,
        slot: int | None = None,
    ) -> None:
        self.op = op
        self.edges = edges
        self.saved = saved
        self.plan = plan
        self.shape = shape
        self.dtype = dtype
        self.time = next(clock)
        self.slot = slot
        self.hooks: dict[int, Callable[[Any], Any]] | None = None
        self.retained: weakref.ref[Variable] | None = None
        self.origin: str | None = None
        self.scope = observing.get()
        if self.scope is not None:
            for observer in self.scope.observers:
                observer.recorded(self)

    def kept(self) -> Sequence[Any]:
        """What is saved.

        Raises:
            RuntimeError: an earlier backward has freed it.
        """
        if self.saved is None:
            raise RuntimeError(
                f"the graph behind {self.op.name} was freed by an earlier backward. If a state was "
                "carried over from there, cut it off: state.detach(), of each part. To go through "
                "the same graph again, pass retain_graph=True to the earlier backward"
            )
        return self.saved

    def outputs(self) -> list[Node]:
        """For an operation with several outputs: a node for each of them."""
        edges, dtypes = (self,), self.dtype
        return [Node(self.op, edges, (), None, s, dtypes[k], k) for k, s in enumerate(self.shape)]

    def __repr__(self) -> str:
        where = "" if self.slot is None else f"[{self.slot}]"
        return f"<{self.op.name}{where} -> {self.dtype}{list(self.shape)}>"


class Variable:
    """A value that can be differentiated: the engine's view of a Tensor.

    Attributes:
        requires_grad: Whether gradients flow to it.
        node: The operation that made it, or None for a leaf.
        hooks: A leaf's gradient hooks (those of a result live on its node).
    """

    __slots__ = ("__weakref__", "_data", "_grad", "_requires_grad", "hooks", "name", "node")

    _data: Any
    _grad: Self | None
    _requires_grad: bool
    hooks: dict[int, Callable[[Any], Any]] | None
    name: str | None
    node: Node | None

    @staticmethod
    def _wrap(data: Any, node: Node | None = None) -> Variable:
        """A result: ``data``, and the node of the operation that made it."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        shape: tuple[int, ...] = self._data.shape
        return shape

    @property
    def dtype(self) -> Any:
        """The type of the elements."""
        return self._data.dtype


Source: TypeAlias = Node | Variable


def source_of(variable: Variable) -> Source:
    """Where gradients of ``variable`` go: its node, or itself for a leaf."""
    return variable if variable.node is None else variable.node
