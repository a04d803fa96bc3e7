"""Tensor: a value, and how it came to be.

A thin face over the op table: each operator and method is a primitive or a composite from ``ops``.
Tensors are values: no operator changes one in place.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self, TypeAlias, cast

import numpy

from . import ops
from .autograd import Node, Variable, backward, is_grad_enabled, mark_written
from .autograd.observe import looked
from .autograd.operands import (
    as_flag,
    as_operand,
    listed_dtype,
    on_host,
    refuse_masked,
    refuse_several,
)
from .autograd.writes import version
from .backend import Array, backend_named, backend_of, current, is_array, one_backend, there
from .hints import IN_PLACE, METHODS
from .html import tensor_html
from .interop import from_numpy_function, from_ufunc
from .messages import absent, warn

if TYPE_CHECKING:
    from .autograd.signatures import DType, Index, Operand, Operators
else:
    Operators = object

HostArray: TypeAlias = numpy.ndarray[Any, Any]

_hook_ids = itertools.count()
_SHOWN = 60  # a repr shows the values of so many elements; of a larger tensor, what fits a line


class _Size(int):
    """A number of elements, that answers those who call it."""

    def __call__(self, *axes: Any) -> Any:
        raise TypeError(
            "a tensor's size is the number of its elements, as in NumPy: write x.shape for "
            "x.size(), and x.shape[k] for x.size(k)"
        )


def _in_place(op: Callable[..., Any], sign: str) -> Callable[[Any, Any], Any]:
    """``t += v`` makes a new tensor; where a write into a parameter must be meant, say so."""

    def operator(self: Tensor, other: Any) -> Any:
        if self.node is None and (self._requires_grad or self._is_parameter):
            raise RuntimeError(
                f"p {sign}= v on a parameter, or a leaf that requires grad, makes a new tensor and "
                f"leaves p as it is: write into it with p.copy_(p {sign} v) under no_grad(), or "
                f"say q = p {sign} v for a new one"
            )
        return op(self, other)

    return operator


def _reflected(op: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """The operator for a tensor on the right."""
    return lambda self, other: op(other, self)


class Tensor(Variable, Operators):
    """A multi-dimensional array that remembers how it was computed.

    Args:
        data: An array, which is wrapped, not copied, and keeps its dtype, as a number of NumPy's
            does; or Python numbers and (nested) lists of them, which take the default float
            (float32), int64 or bool. What is on the host goes to the backend chosen by
            ``use_backend``.
        requires_grad: Whether gradients with respect to it are wanted; floating dtypes only.
        dtype: Convert to this dtype.
        name: What errors and listings call it.

    Attributes:
        grad: After ``backward``, the sum of all gradients so far (a Tensor), else None.

    Raises:
        TypeError: ``data`` is not numeric, or an integer tensor is to require grad.
    """

    __slots__ = ()

    _grad: Tensor | None
    _is_parameter = False

    def __init__(
        self,
        data: Any,
        requires_grad: bool = False,
        dtype: DType | None = None,
        name: str | None = None,
    ) -> None:
        array = _as_array(data, dtype)
        self._data = current().from_host(array) if type(array) is numpy.ndarray else array
        self._grad = None
        self._requires_grad = False
        self.hooks = None
        self.name = name
        self.node = None
        if requires_grad:
            self.requires_grad = requires_grad

    @staticmethod
    def _wrap(data: Array, node: Node | None = None) -> Tensor:
        made = Tensor.__new__(Tensor)
        made._data = data
        made._grad = None
        made._requires_grad = node is not None
        made.hooks = None
        made.name = None
        made.node = node
        return made

    # -- the value ----------------------------------------------------------------------------

    @property
    def data(self) -> HostArray:
        """The array itself, not a copy. After writing into it, call ``mark_written(t.data)``."""
        looked(self, "data")
        return cast("HostArray", self._data)

    @data.setter
    def data(self, value: Any) -> None:
        looked(value, "data")
        array = there(_as_array(value), self._data)
        if array is self._data:
            mark_written(array)  # ``t.data -= step`` wrote in place before it came here
            return
        if self.node is not None:
            raise RuntimeError("the data of a result cannot be replaced: its node would not agree")
        if self._requires_grad and (array.shape != self.shape or array.dtype.kind != "f"):
            raise ValueError(
                f"new data of a tensor that requires grad must be floats of its shape {self.shape};"
                f" got {array.dtype} of shape {array.shape}"
            )
        self._data = array

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return int(self._data.ndim)

    @property
    def size(self) -> int:
        """The number of elements."""
        return _Size(self._data.size)

    @property
    def nbytes(self) -> int:
        """The memory of the elements, in bytes."""
        return int(self._data.nbytes)

    @property
    def T(self) -> Tensor:
        """The axes reversed, a view."""
        return self.transpose()

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged, a view."""
        return ops.swapaxes(self, -1, -2)

    @property
    def version(self) -> int:
        """How often the memory of this tensor was written in place."""
        return version(self._data)

    @property
    def backend(self) -> str:
        """Where it lives and is computed with: ``"numpy"``, or ``"cupy"`` for the GPU."""
        return backend_of(self._data).name

    def to(self, backend: str) -> Tensor:
        """The same values on another backend, on the graph; itself, if it is there already.

        Args:
            backend: ``"numpy"`` or ``"cupy"``.

        Raises:
            ValueError: there is no backend of that name.
            RuntimeError: it cannot be had here; the message says what to install.
        """
        if not isinstance(backend, str) or backend_named(backend) is not backend_of(self._data):
            return ops.shape.to(self, backend)
        return self

    def numpy(self) -> HostArray:
        """The values as a NumPy array that shares memory; from a GPU, a copy.

        After writing into it, call ``mark_written(t.data)``.

        Raises:
            RuntimeError: the tensor requires grad: the array would leave the graph unnoticed.
        """
        looked(self, "numpy()")
        if self._requires_grad:
            raise RuntimeError(
                "this tensor requires grad, and an array would leave the graph: call "
                "t.detach().numpy() to take the values alone; a list of tensors is joined by "
                "ts.stack"
            )
        return on_host(self)

    def item(self) -> float:
        """The value of a one-element tensor as a Python number.

        Raises:
            ValueError: it has more elements, or none.
        """
        if self.size != 1:
            raise ValueError(f"item() needs one element; this tensor has shape {self.shape}")
        looked(self, "item()")
        value: float = self._data.item()
        return value

    def tolist(self) -> Any:
        """The values as (nested) lists of Python numbers."""
        looked(self, "tolist()")
        return self._data.tolist()

    def __repr__(self) -> str:
        looked(self, "repr()")
        if self.size > _SHOWN:
            return f"Tensor({', '.join([f'{self.dtype}{list(self.shape)}', *self._origin()])})"
        host = on_host(self)
        values = numpy.array2string(host, separator=", ", prefix="Tensor(")
        parts = [values, f"dtype={self.dtype}"]
        if self.size == 0 and self.shape != (0,):
            parts.append(f"shape={self.shape}")
        return f"Tensor({', '.join(parts + self._origin())})"

    def _repr_html_(self) -> str:
        """How a notebook shows it: shape, dtype, statistics and a heat map."""
        return tensor_html(self._data, self._origin() + ([self.name] if self.name else []))

    def _origin(self) -> list[str]:
        """How it came to be, in words."""
        if self.node is not None:
            return [f"from={self.node.op.name}"]
        return ["requires_grad=True"] if self._requires_grad else []

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                f"the truth of a tensor of shape {self.shape} is ambiguous: use any() or all()"
            )
        looked(self, "bool()")
        return bool(self._data)

    def __float__(self) -> float:
        return float(self._number())

    def __int__(self) -> int:
        return int(self._number())

    def __complex__(self) -> complex:
        return complex(self._number())

    def _number(self) -> Any:
        """The value for who asks for a number: ``float(t)``, ``math.sin(t)``, ``array[i] = t``."""
        value = self.item()
        if self._requires_grad:
            warn(
                "a tensor that requires grad became a number, which is not on the graph: compute "
                "with functions of tinygrad_seq, collect with ts.stack or ts.index_set, or say "
                "t.item() if the value alone is wanted"
            )
        return value

    def __index__(self) -> int:
        if self.dtype.kind not in "iu" or self.ndim:
            raise TypeError(
                f"only an integer tensor without axes can be an index; this one is {self.dtype} of "
                f"shape {self.shape}"
            )
        return int(self.item())

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("a tensor without axes has no length")
        return int(self.shape[0])

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("cannot iterate over a tensor without axes")
        return iter(ops.unstack(self))

    def __contains__(self, value: Any) -> bool:
        looked(self, "in")
        return bool((self._data == as_operand(getattr(value, "_data", value))).any())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.node is not None:
            raise RuntimeError("only leaves can be copied deeply or pickled: detach() it first")
        looked(self, "pickle")
        return type(self)._rebuild, (self._data, self._requires_grad, self.name)

    @classmethod
    def _rebuild(cls, data: Array, requires_grad: bool, name: str | None) -> Tensor:
        made = cls.__new__(cls)
        Tensor.__init__(made, data, requires_grad, name=name)
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        build, (data, requires_grad, name) = self.__reduce__()
        made: Tensor = build(data.copy(), requires_grad, name)
        memo[id(self)] = made
        if self._grad is not None:
            made._grad = self._grad.detach().clone()
        return made

    # -- the graph ----------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to it. Set it on leaves only.

        Raises (when set):
            TypeError: the dtype is not floating.
            RuntimeError: it is a result: its arguments decide.
        """
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        value = as_flag("requires_grad", value)
        if value and self.dtype.kind != "f":
            raise TypeError(
                f"only floating tensors can require grad; this one is {self.dtype}: write its "
                'numbers as 2.0, or give dtype="float32"'
            )
        if self.node is not None and not value:
            raise RuntimeError("a result requires grad as its arguments do: use detach()")
        self._requires_grad = value

    def requires_grad_(self, value: bool = True) -> Self:
        """Set ``requires_grad`` and return the tensor itself."""
        self.requires_grad = value
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user, not by a recorded operation."""
        return self.node is None

    @property
    def grad(self) -> Tensor | None:
        """The sum of the gradients of all backward passes so far; None before the first."""
        if self._grad is None and self.node is not None and self.node.retained is None:
            warn(
                "this tensor is a result, no leaf, so that backward leaves no .grad in it: call "
                "t.retain_grad() before backward, or ask for it with ts.grad"
            )
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f".grad is a Tensor or None; got {type(value).__name__}")
            if value.shape != self.shape or value.dtype != self.dtype:
                raise ValueError(
                    f".grad must have the shape {self.shape} and dtype {self.dtype} of its tensor; "
                    f"got {value.shape} and {value.dtype}"
                )
            one_backend("assigning .grad", (self._data, value._data))
        self._grad = value

    def backward(
        self,
        gradient: Operand | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
    ) -> None:
        """Add the gradient of this tensor to ``.grad`` of every leaf that it was computed from.

        Args:
            gradient: Upstream gradient, of this shape; 1 by default, for one element only.
            retain_graph: Keep the graph for another backward; by default as ``create_graph``.
            create_graph: Record the backward pass, so that it can be differentiated itself.

        Raises:
            RuntimeError: nothing requires grad, the graph was freed by an earlier backward, or a
                value that it needs was written in place.
            ValueError: ``gradient`` has another shape.
        """
        backward([self], [gradient], retain_graph, create_graph)

    def detach(self) -> Tensor:
        """The same values, sharing memory, off the graph: no gradient passes."""
        return Tensor._wrap(self._data)

    def clone(self) -> Tensor:
        """The same values in memory of their own, on the graph."""
        return self * 1 if self._requires_grad else ops.astype(self, self.dtype)

    copy = clone

    def copy_(self, value: Operand) -> Self:
        """Write ``value`` into this tensor's memory, as ``t[...] = value`` does off the graph.

        Raises:
            RuntimeError: the tensor is on the graph, or requires grad outside ``no_grad``.
            RuntimeError: ``value`` requires grad outside ``no_grad``: its graph would be lost.
            ValueError: ``value`` has another shape.
        """
        if self.node is not None or (self._requires_grad and is_grad_enabled()):
            raise RuntimeError(
                "copy_ writes into leaves only, and under no_grad() if they require grad: a "
                "tracked tensor is a value; make a new one instead"
            )
        if getattr(value, "requires_grad", False) and is_grad_enabled():
            raise RuntimeError(
                "copy_ writes numbers, and this value is on the graph: use the value itself, or "
                "say copy_(value.detach()) if its numbers alone are wanted"
            )
        looked((self, value), "copy_()")
        new = _as_array(value)
        if new.shape != self.shape:
            raise ValueError(f"copy_ needs shape {self.shape}; got {new.shape}")
        self._data[...] = there(new, self._data)
        mark_written(self._data)
        return self

    def retain_grad(self) -> None:
        """Keep the gradient of a result in ``.grad`` too, at each backward."""
        if not self._requires_grad:
            raise RuntimeError("retain_grad() on a tensor that does not require grad")
        looked(self, "retain_grad()")
        if self.node is not None:
            self.node.retained = weakref.ref(self)  # weak: the graph keeps no tensor alive

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Callable[[], None]:
        """Call ``hook(gradient)`` when the gradient of this tensor is complete.

        What the hook returns replaces the gradient, unless it is None.

        Returns:
            A function that removes the hook.
        """
        if not self._requires_grad:
            raise RuntimeError("register_hook() on a tensor that does not require grad")
        if not callable(hook):
            raise TypeError(f"a hook is called with the gradient; got {hook!r:.60}")
        looked(self, "register_hook()")
        holder: Any = self if self.node is None else self.node
        if holder.hooks is None:
            holder.hooks = {}
        key = next(_hook_ids)
        holder.hooks[key] = hook
        return lambda: holder.hooks.pop(key, None)

    # -- operators and methods: the op table ----------------------------------------------------

    if not TYPE_CHECKING:  # whose types are in Operators
        __add__ = ops.add
        __sub__ = ops.subtract
        __mul__ = ops.multiply
        __truediv__ = ops.divide
        __floordiv__ = ops.floor_divide
        __mod__ = ops.remainder
        __pow__ = ops.power
        __matmul__ = ops.matmul
        __radd__ = _reflected(ops.add)
        __rsub__ = _reflected(ops.subtract)
        __rmul__ = _reflected(ops.multiply)
        __rtruediv__ = _reflected(ops.divide)
        __rfloordiv__ = _reflected(ops.floor_divide)
        __rmod__ = _reflected(ops.remainder)
        __rpow__ = _reflected(ops.power)
        __rmatmul__ = _reflected(ops.matmul)
        __iadd__ = _in_place(ops.add, "+")
        __isub__ = _in_place(ops.subtract, "-")
        __imul__ = _in_place(ops.multiply, "*")
        __itruediv__ = _in_place(ops.divide, "/")
        __ifloordiv__ = _in_place(ops.floor_divide, "//")
        __imod__ = _in_place(ops.remainder, "%")
        __ipow__ = _in_place(ops.power, "**")
        __imatmul__ = _in_place(ops.matmul, "@")
        __neg__ = ops.negative
        __abs__ = ops.absolute
        __round__ = ops.round
        __and__ = ops.bitwise_and
        __or__ = ops.bitwise_or
        __xor__ = ops.bitwise_xor
        __rand__ = _reflected(ops.bitwise_and)
        __ror__ = _reflected(ops.bitwise_or)
        __rxor__ = _reflected(ops.bitwise_xor)
        __invert__ = ops.invert
        __lt__ = ops.less
        __le__ = ops.less_equal
        __gt__ = ops.greater
        __ge__ = ops.greater_equal

    def __pos__(self) -> Tensor:
        return self

    __hash__ = object.__hash__
    __getitem__ = ops.getitem

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]  # elementwise
        try:
            return ops.equal(self, other)  # as in NumPy
        except TypeError:
            return NotImplemented  # equal to nothing that is no number

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        try:
            return ops.not_equal(self, other)
        except TypeError:
            return NotImplemented

    def __setitem__(self, index: Index, value: Operand) -> None:
        if self._requires_grad:
            raise RuntimeError(
                "x[i] = v on a tensor that requires grad: tensors on the graph are values; use "
                "x = ts.index_set(x, i, v), which gradients pass through"
            )
        if isinstance(value, Variable) and value._requires_grad:
            raise RuntimeError(
                "x[i] = v with a v that requires grad would lose its gradient: use "
                "x = ts.index_set(x, i, v)"
            )
        looked((self, index, value), "x[i] = v")
        new, backend = there(_as_array(value), self._data), backend_of(self._data)
        backend.assign(self._data, backend.index(ops.index.plain(index), self.shape), new)
        mark_written(self._data)

    def reshape(self, *shape: Any) -> Tensor:
        """The elements in another shape: ``t.reshape(2, -1)`` or ``t.reshape((2, -1))``."""
        return ops.reshape(self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Tensor:
        """The axes in another order, reversed by default: ``t.transpose(1, 0, 2)``."""
        if len(axes) == 1 and not isinstance(axes[0], int):
            axes = axes[0]
        return ops.transpose(self, tuple(axes) if axes else None)

    abs = ops.absolute
    all = ops.all
    any = ops.any
    argmax = ops.argmax
    argmin = ops.argmin
    argsort = ops.argsort
    astype = ops.astype
    broadcast_to = ops.broadcast_to
    clamp = ops.clamp
    clip = ops.clip
    cos = ops.cos
    cumprod = ops.cumprod
    cumsum = ops.cumsum
    diagonal = ops.diagonal
    dot = ops.dot
    exp = ops.exp
    expand_dims = ops.expand_dims
    expm1 = ops.expm1
    flatten = ops.ravel
    flip = ops.flip
    log = ops.log
    log1p = ops.log1p
    log_softmax = ops.log_softmax
    logsumexp = ops.logsumexp
    matmul = ops.matmul
    max = ops.max
    maximum = ops.maximum
    mean = ops.mean
    min = ops.min
    minimum = ops.minimum
    moveaxis = ops.moveaxis
    norm = ops.norm
    prod = ops.prod
    ravel = ops.ravel
    relu = ops.relu
    repeat = ops.repeat
    round = ops.round
    sigmoid = ops.sigmoid
    sign = ops.sign
    sin = ops.sin
    softmax = ops.softmax
    split = ops.split
    sqrt = ops.sqrt
    square = ops.square
    squeeze = ops.squeeze
    std = ops.std
    sum = ops.sum
    swapaxes = ops.swapaxes
    take = ops.take
    tanh = ops.tanh
    tile = ops.tile
    trace = ops.trace
    tril = ops.tril
    triu = ops.triu
    unstack = ops.unstack
    var = ops.var

    if not TYPE_CHECKING:  # for which names that do not exist are errors of their own

        def __getattr__(self, name: str) -> Any:
            """Only reached for a name that does not exist: say what is written here."""
            if name == "_mask" and self._requires_grad:  # numpy.ma asks
                raise TypeError(
                    "a masked array and a tensor that requires grad: the result would leave the "
                    "graph; select with ts.where(~m.mask, x, 0.0)"
                )
            hints = METHODS
            if name not in METHODS and name in ops.__all__:
                hints = {name: f"the function ts.{name}"}
            elif name not in METHODS and name[-1] == "_" != name[0]:
                hints = {name: IN_PLACE}
            raise absent("a Tensor", name, hints, lambda: dir(Tensor))

    # -- other libraries --------------------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.numpy()
        return numpy.array(array, dtype, copy=copy) if copy else numpy.asarray(array, dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return from_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return from_numpy_function(function, args, kwargs)

    def __dlpack__(self, **kwargs: Any) -> Any:
        looked(self, "DLPack")
        if self._requires_grad:
            raise BufferError("this tensor requires grad: export t.detach() through DLPack")
        return self._data.__dlpack__(**kwargs)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """The memory on the GPU, for CuPy, PyTorch, Numba; a host tensor has none.

        Nor has one that requires grad, so that CuPy leaves ``array * t`` to ``__array_ufunc__``:
        export ``t.detach()``.
        """
        if self._requires_grad:
            raise AttributeError
        interface: dict[str, Any] = self._data.__cuda_array_interface__
        return interface

    def __dlpack_device__(self) -> Any:
        return self._data.__dlpack_device__()


def _as_array(data: Any, dtype: Any = None) -> Array:
    """Data given by a user as an array: arrays keep their dtype, Python numbers are weak."""
    if isinstance(data, Variable):
        data = data._data if dtype is None else ops.astype(Tensor._wrap(data._data), dtype)._data
    refuse_masked(data, "a tensor")
    if is_array(data):
        array = numpy.asarray(data) if isinstance(data, numpy.ndarray) else data  # no subclass
    elif isinstance(data, numpy.generic):
        array = numpy.asarray(data)
    else:
        refuse_several(data)
        try:
            array = numpy.asarray(data)
        except ValueError as error:
            raise ValueError(f"the rows of a tensor must have equal lengths ({error})") from None
        if dtype is None and array.dtype.kind == "f" and not hasattr(data, "dtype"):
            array = array.astype(listed_dtype(data))
    for kind in (array.dtype, array.dtype if dtype is None else numpy.dtype(dtype)):
        if kind.kind not in "fiub":
            raise TypeError(
                f"a tensor holds real numbers (floats, integers, booleans); got {kind} for a "
                f"{type(data).__name__}"
            )
    return array if dtype is None else array.astype(dtype, copy=False)
