"""The graph under construction; handlers add nodes to it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...autograd.observe import observing
from ...autograd.operands import on_host
from ...backend import is_array
from ...nn import Parameter
from ...tensor import Tensor
from .proto import GraphProto, Node
from .symbol import Axis, ExportError, Length, Shape, Symbol, Value, same

FLOAT, LONG, INT, BOOL = (np.dtype(name) for name in ("float32", "int64", "int32", "bool"))
CAST = {FLOAT: 1, INT: 6, LONG: 7, BOOL: 9}


class Store:
    """Shared by a graph and the bodies of its loops: names, and the arrays of the file.

    Args:
        parameters: Names and parameters of the model.

    Attributes:
        proto: The graph as it is written.
        bounds: The smallest and the largest number that the model accepts, of integer inputs.
        current: The graph that nodes go to: the model's, or the body of a loop.
    """

    current: Graph

    def __init__(self, parameters: Iterable[tuple[str, Parameter]]) -> None:
        self.proto = GraphProto("model")
        self.bounds: dict[str, tuple[int, Length]] = {}
        self.names: set[str] = set()
        self._known: dict[Any, str] = {}
        self._kept: list[Any] = []  # kept alive, so that no address is reused
        self._parameters = {_address(p.data): (name, p.shape) for name, p in parameters}

    def unique(self, wanted: str) -> str:
        """An unused name."""
        name, count = wanted, 1
        while name in self.names:
            count += 1
            name = f"{wanted}_{count}"
        self.names.add(name)
        return name

    def array(self, array: np.ndarray[Any, Any], origin: Any, wanted: str = "constant") -> str:
        """The name of an array in the file; equal arrays are stored once."""
        name, shape = self._parameters.get(_address(origin), ("", ()))
        if name and sorted(shape) == sorted(origin.shape):  # the parameter, or its transpose
            name += "" if origin.flags.c_contiguous else ".T"
            key: Any = (_address(origin), origin.shape, origin.strides)
        else:
            name, key = wanted, (array.dtype, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = self.unique(name)
            self._kept.append(origin)
            self.proto.arrays[self._known[key]] = array
        return self._known[key]

    @contextmanager
    def within(self, graph: Graph) -> Iterator[None]:
        """Add nodes to the body of a loop during a block."""
        outer, self.current = self.current, graph
        try:
            yield
        finally:
            self.current = outer


class Graph:
    """Nodes in order; the body of a loop can also read the nodes of the outer graph.

    Args:
        store: The store shared with the outer graphs.
        outer: The outer graph, if this is the body of a loop.
    """

    def __init__(self, store: Store, outer: Graph | None = None) -> None:
        self.store = store
        self.outer = outer
        self.nodes: list[Node] = []
        self._lengths: dict[Any, Symbol] = {}

    # -- nodes --------------------------------------------------------------------------------

    def node(
        self,
        op_type: str,
        inputs: Sequence[Any],
        shape: Sequence[Length],
        dtype: Any = None,
        **attributes: Any,
    ) -> Symbol:
        """Add a node with one result.

        Args:
            op_type: ONNX's name of the operation.
            inputs: Symbols, tensors, arrays or numbers; None for one that is left out.
            shape: The shape of the result, with lengths from the shapes of the inputs.
            dtype: Of the result; that of the first input if None.
            **attributes: Of the node.
        """
        return self.several(op_type, inputs, [(shape, dtype)], **attributes)[0]

    def several(
        self,
        op_type: str,
        inputs: Sequence[Any],
        results: Sequence[tuple[Sequence[Length], Any]],
        **attributes: Any,
    ) -> tuple[Symbol, ...]:
        """Add a node with several results, each (shape, dtype); see :meth:`node`."""
        given = [None if x is None else self.symbol(x) for x in inputs]
        first = next((x.dtype for x in given if x is not None), FLOAT)
        label = self.store.unique(f"{where()}{op_type}")
        made = []
        for k, (shape, dtype) in enumerate(results):
            name = label if len(results) == 1 else self.store.unique(f"{label}.{k}")
            made.append(Symbol.of(Value(name, tuple(shape), first if dtype is None else dtype)))
        names = ["" if x is None else x._data.name for x in given]
        while names and not names[-1]:
            names.pop()
        outputs = [symbol._data.name for symbol in made]
        self.nodes.append(Node(op_type, names, outputs, attributes, label))
        return tuple(made)

    def symbol(self, x: Any, dtype: Any = None) -> Symbol:
        """A value as a symbol: arrays and numbers become arrays of the file.

        Floats become float32; integers keep int32, or become int64.
        """
        if isinstance(x, Symbol | Value):
            made = x if isinstance(x, Symbol) else Symbol.of(x)
            return made if dtype is None else self.cast(made, dtype)
        if isinstance(x, Axis):
            return self.reshape(self.length(x), ())
        origin = x._data if isinstance(x, Tensor) else x
        if not is_array(origin):
            origin = np.asarray(origin)
        array = on_host(origin)
        if array.dtype.kind not in "fiub":
            raise ExportError(f"{where()} computes with {x!r:.60}, which is not a number")
        kept = {"f": FLOAT, "b": BOOL}.get(array.dtype.kind, INT if array.dtype == INT else LONG)
        array = np.ascontiguousarray(array, dtype or kept).reshape(array.shape)
        return Symbol.of(Value(self.store.array(array, origin), array.shape, array.dtype))

    def array(self, name: str, array: np.ndarray[Any, Any]) -> Symbol:
        """An array of the file, called ``name`` in the module that is running."""
        stored = self.store.array(array, array, f"{where()}{name}".replace("/", "."))
        return Symbol.of(Value(stored, array.shape, array.dtype))

    def cast(self, x: Symbol, dtype: Any) -> Symbol:
        """x in another dtype."""
        dtype = np.dtype(dtype)
        if dtype.kind == "f":
            dtype = FLOAT
        if dtype not in CAST:
            raise ExportError(f"{where()} makes {dtype} of {x}: use float32, int64, int32 or bool")
        return x if x.dtype == dtype else self.node("Cast", [x], x.shape, dtype, to=CAST[dtype])

    def expects(self, x: Symbol, low: int, high: Length) -> None:
        """Note the bounds of integers, for the numbers that ``check`` draws."""
        self.store.bounds.setdefault(x._data.name, (low, high))

    # -- lengths and shapes -------------------------------------------------------------------

    def length(self, length: Length) -> Symbol:
        """A length as an int64 vector of one element."""
        if not isinstance(length, Axis):
            return self.symbol(np.array([length], np.int64))
        total: Symbol | None = None
        for names, factor in length.terms.items():
            product = [self._length_of(name, length) for name in names]
            if factor != 1 or not names:
                product.append(self.symbol(np.array([factor], np.int64)))
            term = product[0]
            for other in product[1:]:
                term = self.node("Mul", [term, other], (1,))
            total = term if total is None else self.node("Add", [total, term], (1,))
        assert total is not None  # an axis has a term
        return total

    def _length_of(self, name: str, axis: Axis) -> Symbol:
        graph: Graph | None = self
        while graph is not None:
            if name in graph._lengths:
                return graph._lengths[name]
            graph = graph.outer
        value, k = axis.places[name]
        found = self.node("Shape", [value], (1,), LONG, start=k, end=k + 1)
        self._lengths[name] = found
        return found

    def vector(self, shape: Sequence[Length]) -> Symbol:
        """A shape as an int64 vector."""
        if not any(isinstance(length, Axis) for length in shape):
            return self.symbol(np.array(shape, np.int64))
        return self.node("Concat", [self.length(n) for n in shape], (len(shape),), LONG, axis=0)

    def new_axis(self, x: Symbol, k: int, name: str) -> Symbol:
        """x, with an axis k whose length only the graph can compute."""
        value = Value(x._data.name, (), x.dtype)
        value.shape = (*x.shape[:k], Axis.named(name, (value, k)), *x.shape[k + 1 :])
        return Symbol.of(value)

    def reshape(self, x: Symbol, shape: Sequence[Length]) -> Symbol:
        """The elements in the same order in another shape; one length may be -1."""
        origin = x._data if x._data.reshaped is None else x._data.reshaped
        wanted = _filled(x.shape, shape)
        if _equal(origin.shape, wanted):
            return Symbol.of(origin)
        entries: list[Length] = []
        for k, n in enumerate(wanted):
            open_ = isinstance(n, Axis)
            kept = open_ and k < len(origin.shape) and same(n, origin.shape[k])
            entries.append(0 if kept else n)
        if sum(isinstance(n, Axis) for n in entries) == 1:
            entries = [-1 if isinstance(n, Axis) else n for n in entries]
        made = self.node("Reshape", [origin, self.vector(entries)], wanted)
        made._data.reshaped = origin
        return made

    def expand(self, x: Symbol, shape: Sequence[Length]) -> Symbol:
        """x repeated along new axes and axes of length 1."""
        if _equal(x.shape, tuple(shape)):
            return x
        return self.node("Expand", [x, self.vector(shape)], broadcast(x.shape, tuple(shape)))

    def transpose(self, x: Symbol, axes: Sequence[int]) -> Symbol:
        """Axes in another order."""
        axes = [k % x.ndim for k in axes]
        if axes == sorted(axes):
            return x
        return self.node("Transpose", [x], [x.shape[k] for k in axes], perm=axes)


def _filled(before: Shape, shape: Sequence[Length]) -> Shape:
    """A target shape with -1 replaced by the remaining length."""
    shape = tuple(shape)
    free = [k for k, n in enumerate(shape) if not isinstance(n, Axis) and n == -1]
    if not free:
        return shape
    total: Any = math.prod(before)
    known: Any = math.prod(n for k, n in enumerate(shape) if k not in free)
    if isinstance(total, Axis):
        rest = total.over(known)
    else:
        rest = None if isinstance(known, Axis) else total // known
    if len(free) > 1 or rest is None:
        raise ExportError(
            f"{where()} reshapes {tuple(map(str, before))} to {tuple(map(str, shape))}, which "
            "leaves no length for -1 whatever the open axes are"
        )
    return tuple(rest if k in free else n for k, n in enumerate(shape))


def _equal(a: Shape, b: Shape) -> bool:
    return len(a) == len(b) and all(map(same, a, b))


def broadcast(*shapes: Shape) -> Shape:
    """The shape of an elementwise result.

    Raises:
        ExportError: two lengths that must be equal may differ.
    """
    ndim = max(map(len, shapes))
    result: list[Length] = [1] * ndim
    for shape in shapes:
        for k, n in enumerate(shape, ndim - len(shape)):
            if same(n, 1) or same(n, result[k]):
                continue
            if not same(result[k], 1):
                words = " and ".join(f"({', '.join(map(str, s))})" for s in shapes)
                raise ExportError(
                    f"{where()} computes element by element with shapes {words}: the lengths "
                    f"{result[k]} and {n} are not always equal; give equal axes one name"
                )
            result[k] = n
    return tuple(result)


def where() -> str:
    """The module that is running, as the prefix of a name."""
    scope = observing.get()
    path = re.sub(r"[^\w.]", "_", scope.path) if scope is not None else ""
    return f"{path}/" if path else ""


def _address(array: Any) -> Any:
    """The address of the first element of an array."""
    data = getattr(array, "data", None)
    if isinstance(array, np.ndarray):
        return array.__array_interface__["data"][0]
    return getattr(data, "ptr", id(array))
