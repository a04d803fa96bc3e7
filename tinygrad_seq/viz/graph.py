"""A recorded graph as plain data, the input of every listing, drawing and page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from ..autograd import Node, Variable
from ..autograd.graph import Plan, source_of
from ..autograd.reach import reachable
from ..autograd.writes import owner_of
from ..backend import is_array
from ..html import one_line
from ..nn import Parameter
from .trace import trace

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """A result of an operation: a shape and the name of a dtype."""

    shape: Shape
    dtype: str


@dataclass(frozen=True, slots=True)
class Input:
    """An argument of an operation.

    Attributes:
        argument: Its name in the operation: ``x``, ``xs[2]``.
        source: The id of the operation or leaf that it came from; None for a constant that was not
            kept.
        slot: The index of the result of that operation, if it has several.
        wanted: Whether it gets a gradient.
        reads: What its rule takes after the gradient: ``y``, arguments, parameters.
        value: A number that was kept, as text.
    """

    argument: str
    source: int | None
    slot: int | None = None
    wanted: bool = False
    reads: tuple[str, ...] = ()
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    """An array that an operation keeps for its rules.

    Attributes:
        name: Its name in the rules: ``y`` is the result, others are arguments.
        shape, dtype, nbytes: Of the array.
        memory: The number of its buffer (:attr:`Graph.memories`); arrays with the same number share
            memory.
    """

    name: str
    shape: Shape
    dtype: str
    nbytes: int
    memory: int


@dataclass(frozen=True, slots=True)
class Operation:
    """One recorded operation.

    Attributes:
        id: Its number in execution order.
        name: What was computed, ``matmul``.
        results: Its results, usually one.
        path: The module it was recorded in, dotted (see :class:`trace`), or ``""``.
        step: The time step it was recorded at, or None.
        inputs: Its arguments.
        saved: The arrays that it keeps for its rules; empty once freed.
        settings: Numbers and flags that it keeps, (name, text).
        freed: Whether a backward pass has freed what it kept.
    """

    id: int
    name: str
    results: tuple[Result, ...]
    path: str
    step: int | None
    inputs: tuple[Input, ...]
    saved: tuple[Saved, ...]
    settings: tuple[tuple[str, str], ...]
    freed: bool

    @property
    def shape(self) -> Shape:
        """The shape of the result, of the first if there are several."""
        return self.results[0].shape

    @property
    def dtype(self) -> str:
        """The dtype of the result, of the first if there are several."""
        return self.results[0].dtype


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value that was not computed: a tensor that gets a gradient, or a constant for a rule.

    Attributes:
        id: Its number, after those of the operations.
        name: A unique name; for a parameter its dotted name, if traced.
        kind: ``"parameter"``, ``"input"`` (requires grad) or ``"constant"``.
        shape, dtype, nbytes: Of its values.
        memory: The number of its buffer, as in :class:`Saved`.
    """

    id: int
    name: str
    kind: str
    shape: Shape
    dtype: str
    nbytes: int
    memory: int


@dataclass(frozen=True, slots=True)
class Graph:
    """How some results were computed.

    Attributes:
        operations: In execution order; ``operations[k].id == k``.
        leaves: In the order of first use; ids go on after those of the operations.
        outputs: (id, slot) of each output; the slot is None unless its operation has several
            results.
        memories: The size of each buffer in bytes, by its number. A view keeps its whole buffer.
        sources: The described object by id: the engine's node, leaf tensor or constant array.
    """

    operations: tuple[Operation, ...]
    leaves: tuple[Leaf, ...]
    outputs: tuple[tuple[int, int | None], ...]
    memories: tuple[int, ...]
    sources: tuple[Any, ...] = field(repr=False, compare=False)

    _repr_html_: ClassVar[Callable[[Graph], str]]  # picture.py gives it

    def __repr__(self) -> str:
        return (
            f"Graph of {len(self.operations):,} operations and {len(self.leaves):,} leaves: "
            "print(viz.listing(graph))"
        )

    def __getitem__(self, id: int) -> Operation | Leaf:
        """The operation or leaf with this id."""
        count = len(self.operations)
        return self.operations[id] if id < count else self.leaves[id - count]

    def value(self, id: int) -> Any:
        """The values of a leaf, or of an operation's result (a tuple if it has several), as arrays;
        None if no trace kept them."""
        source = self.sources[id]
        if isinstance(source, Variable):
            return source._data
        if isinstance(source, Node):
            return traced(source, "values")
        return source

    def alive(self) -> list[int]:
        """Bytes kept for backward just before the rules of each operation run, by id. A buffer
        counts once; buffers of parameters and inputs, which exist anyway, do not count."""
        held = {leaf.memory for leaf in self.leaves if leaf.kind != "constant"}
        alive, total = [], 0
        for operation in self.operations:
            for saved in operation.saved:
                if saved.memory not in held:
                    held.add(saved.memory)
                    total += self.memories[saved.memory]
            alive.append(total)
        return alive


def graph(*outputs: Any) -> Graph:
    """Describe how outputs were computed. The recorded graph is not changed.

    Takes time linear in the number of operations, without recursion.

    Args:
        *outputs: Tensors that require grad.

    Raises:
        TypeError: an output is not a Tensor.
        ValueError: there is no output, or nothing was recorded for one.

    Example:
        >>> import tinygrad_seq as ts
        >>> from tinygrad_seq import viz
        >>> x = ts.tensor([1.0, 2.0], requires_grad=True, name="x")
        >>> g = viz.graph((x * x).sum())
        >>> [operation.name for operation in g.operations], [leaf.name for leaf in g.leaves]
        (['multiply', 'sum'], ['x'])
    """
    if not outputs:
        raise ValueError("graph needs at least one tensor to start from")
    for y in outputs:
        if not isinstance(y, Variable):
            raise TypeError(f"graph takes tensors; got {y!r:.60}")
        if not y._requires_grad:
            raise ValueError(
                f"nothing was recorded for a tensor of shape {y.shape}: none of its arguments "
                "requires grad, or it was computed under no_grad"
            )
    read = _Reader()
    tops = [source_of(y) for y in outputs]
    read.sources = [node for node in reachable(tops) if node.slot is None]
    read.ids = {id(node): k for k, node in enumerate(read.sources)}
    operations = [read.operation(k, node) for k, node in enumerate(list(read.sources))]
    ends = [read.place(top, top) for top in tops]
    return Graph(
        tuple(operations),
        tuple(read.leaves),
        tuple(ends),
        tuple(read.memories),
        tuple(read.sources),
    )


class _Reader:
    """Describes nodes, oldest first, and numbers nodes, leaves and buffers."""

    def __init__(self) -> None:
        self.leaves: list[Leaf] = []
        self.sources: list[Any] = []  # nodes, then leaves
        self.ids: dict[int, int] = {}  # by the id() of a source
        self.memories: list[int] = []
        self._buffers: dict[int, int] = {}  # by the id() of the owner of memory: its number
        self._names: dict[str, int] = {}  # how many leaves had this name

    def operation(self, number: int, node: Node) -> Operation:
        """Describe a node; its arguments have been described."""
        several = type(node.dtype) is tuple
        shapes = node.shape if several else (node.shape,)
        dtypes = node.dtype if several else (node.dtype,)
        scope = node.scope
        inputs = tuple(self.inputs(node))
        saved: list[Saved] = []
        settings = []
        seen: set[int] = set()
        names = () if node.plan is None else node.plan.names
        for k, value in enumerate(node.saved or ()):
            name = names[k] if k < len(names) else ""
            for part, array in _arrays(value, name):
                if id(array) not in seen:  # a fused forward keeps its arguments twice
                    seen.add(id(array))
                    saved.append(self.saved(part, array))
            if _is_setting(name, value):
                settings.append((name, _short(value)))
        return Operation(
            number,
            node.op.name,
            tuple(Result(s, str(d)) for s, d in zip(shapes, dtypes, strict=True)),
            "" if scope is None else one_line(scope.path),
            None if scope is None else scope.step,
            inputs,
            tuple(saved),
            tuple(settings),
            node.saved is None,
        )

    def inputs(self, node: Node) -> Iterator[Input]:
        """The arguments of a node, with their names and sources."""
        names: tuple[str, ...] = getattr(node.op, "arguments", ())
        variadic = getattr(node.op, "variadic", False)
        plan = node.plan or Plan((), (), (), pure=True)  # the node of recompute has none
        kept = dict(zip(plan.names, node.saved or (), strict=False))
        given = traced(node, "calls", ((), (), {}))[1]
        value: Any
        for k, edge in enumerate(node.edges):
            if variadic:
                name = f"{names[0]}[{k}]"
                value = kept[names[0]][k] if names[0] in kept else None
            else:
                name = names[k] if k < len(names) else f"[{k}]"
                value = kept.get(name)
            if value is None and k < len(given) and not is_array(given[k]):
                value = given[k]  # a number that no rule needs
            if edge is not None:
                source, slot = self.place(edge, node)
                use = plan.uses[k] if plan.uses else None
                reads = () if use is None else tuple(plan.names[r] for r in use[1])
                yield Input(name, source, slot, True, reads)
            elif is_array(value) and value.ndim:
                yield Input(name, self.leaf(value, "constant", None))
            else:
                yield Input(name, None, value=None if value is None else _short(value))

    def place(self, source: Any, user: Any) -> tuple[int, int | None]:
        """The id of a source that ``user`` reads, and the index of its result."""
        if isinstance(source, Variable):
            kind = "parameter" if isinstance(source, Parameter) else "input"
            scope = getattr(user, "scope", None)
            known = scope and scope.names and scope.names.get(id(source))
            return self.leaf(source, kind, known[1] if known else source.name), None
        if source.slot is not None:
            return self.ids[id(source.edges[0])], source.slot
        return self.ids[id(source)], None

    def leaf(self, source: Any, kind: str, name: str | None) -> int:
        """The id of a leaf; describes it the first time."""
        number = self.ids.get(id(source))
        if number is None:
            number = self.ids[id(source)] = len(self.sources)
            array = source._data if isinstance(source, Variable) else source
            about = self.saved(self.unlike_others(one_line(name or kind)), array)
            self.leaves.append(
                Leaf(number, about.name, kind, about.shape, about.dtype, about.nbytes, about.memory)
            )
            self.sources.append(source)
        return number

    def unlike_others(self, name: str) -> str:
        """A unique name for a leaf: this name, or this name with a number."""
        wish = name
        while name in self._names:
            self._names[wish] += 1
            name = f"{wish}_{self._names[wish]}"
        self._names[name] = 1
        return name

    def saved(self, name: str, array: Any) -> Saved:
        """Describe an array, and number its buffer."""
        owner = owner_of(array)
        memory = self._buffers.get(id(owner))
        if memory is None:
            memory = self._buffers[id(owner)] = len(self.memories)
            self.memories.append(int(owner.nbytes))
        return Saved(name, tuple(array.shape), str(array.dtype), int(array.nbytes), memory)


def traced(node: Node, what: str, default: Any = None) -> Any:
    """What a trace kept of a node: an entry of its ``values`` or ``calls``."""
    for observer in node.scope.observers if node.scope else ():
        if isinstance(observer, trace):
            return getattr(observer, what).get(node, default)
    return default


def _arrays(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The arrays in a saved value, each with a name."""
    if isinstance(value, Variable):
        value = value._data
    if is_array(value):
        yield name, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _arrays(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, tuple) and hasattr(value, "_fields"):  # what a fused forward keeps
        for key, part in zip(value._fields, value, strict=True):
            yield from _arrays(part, key)
    elif isinstance(value, tuple | list):
        for k, part in enumerate(value):
            yield from _arrays(part, f"{name}[{k}]")


def _is_setting(name: str, value: Any) -> bool:
    plain = isinstance(value, bool | int | float | str) or (
        isinstance(value, tuple) and all(isinstance(part, int) for part in value)
    )
    return plain and name != "y" and not name.endswith("_shape")


def _short(value: Any) -> str:
    text = repr(value.item() if is_array(value) and value.size == 1 else value)
    return text if len(text) <= 40 else f"{text[:37]}..."
