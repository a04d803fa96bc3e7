"""What a type checker sees of primitives: a tensor anywhere gives tensors, arrays give arrays.

When a program runs there is one class, :class:`Primitive`, whose call takes anything and says
itself what is wrong; this file is not even imported. Here stand the same calls as types, by how
many arrays a primitive takes; names and defaults of its static parameters (P) come from its
forward. As a method of a tensor each is the same without its first array.
"""

from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import (
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    overload,
)

import numpy

from ..backend import Array
from ..tensor import Tensor
from .primitive import Primitive

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")

Numbers: TypeAlias = numpy.ndarray[Any, Any] | numpy.generic | float | list[Any] | tuple[Any, ...]
"""What is computed with beside tensors: arrays, numbers, nested lists of numbers."""

Operand: TypeAlias = Tensor | Numbers
"""An argument of an operation."""

Mixed: TypeAlias = Tensor | Any
"""A tensor where an argument is one, else an array."""

Shape: TypeAlias = int | Sequence[int]
"""The lengths of all axes."""

DType: TypeAlias = str | type[Any] | numpy.dtype[Any]
"""A dtype, as NumPy takes it."""

Index: TypeAlias = (
    int
    | slice
    | EllipsisType
    | list[Any]
    | tuple[Any, ...]
    | numpy.ndarray[Any, Any]
    | numpy.generic
    | Tensor
    | None
)
"""What stands in the brackets of ``x[...]``."""

class Unary(Primitive, Generic[P, T, A]):
    """Of one array: it gives T of a tensor, A of an array."""

    @overload
    def __call__(self, x: Tensor, /, *args: P.args, **params: P.kwargs) -> T: ...
    @overload
    def __call__(self, x: Numbers, /, *args: P.args, **params: P.kwargs) -> A: ...
    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Unary[P, T, A]: ...
    @overload
    def __get__(self, instance: Tensor, owner: type | None = None) -> Callable[P, T]: ...

class Binary(Primitive, Generic[P]):
    """Of two arrays."""

    @overload
    def __call__(self, a: Tensor, b: Operand, /, *args: P.args, **params: P.kwargs) -> Tensor: ...
    @overload
    def __call__(self, a: Numbers, b: Tensor, /, *args: P.args, **params: P.kwargs) -> Tensor: ...
    @overload
    def __call__(self, a: Numbers, b: Numbers, /, *args: P.args, **params: P.kwargs) -> Array: ...
    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Binary[P]: ...
    @overload
    def __get__(
        self, instance: Tensor, owner: type | None = None
    ) -> Callable[Concatenate[Operand, P], Tensor]: ...

class Ternary(Primitive, Generic[P]):
    """Of three arrays."""

    @overload
    def __call__(
        self, a: Tensor, b: Operand, c: Operand, /, *args: P.args, **params: P.kwargs
    ) -> Tensor: ...
    @overload
    def __call__(
        self, a: Numbers, b: Tensor, c: Operand, /, *args: P.args, **params: P.kwargs
    ) -> Tensor: ...
    @overload
    def __call__(
        self, a: Numbers, b: Numbers, c: Tensor, /, *args: P.args, **params: P.kwargs
    ) -> Tensor: ...
    @overload
    def __call__(
        self, a: Numbers, b: Numbers, c: Numbers, /, *args: P.args, **params: P.kwargs
    ) -> Array: ...

class Joining(Primitive):
    """Of a list of arrays, along an axis."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # arrays alone are operands too
        self, xs: Sequence[Numbers], axis: int = 0
    ) -> Array: ...
    @overload
    def __call__(self, xs: Tensor | Sequence[Operand], axis: int = 0) -> Tensor: ...

class Listed(Protocol):
    """A function of a list of arrays."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # arrays alone are operands too
        self, xs: Sequence[Numbers]
    ) -> Array: ...
    @overload
    def __call__(self, xs: Tensor | Sequence[Operand]) -> Tensor: ...

class _Joins(Protocol):
    def __call__(self, *xs: Array, axis: int = 0) -> Array: ...

class _Indexes(Protocol):
    def __call__(self, x: Array, /, index: Index) -> Array: ...

class Register(Protocol):
    """A decorator that makes a primitive of a forward, typed by how many arrays come first.

    An array that is a parameter is told from a static one by its type, :data:`Array`: an index may
    be an array too, so it is told by its name.
    """

    @overload
    def __call__(  # type: ignore[overload-overlap]  # the first that fits counts
        self, forward: _Indexes
    ) -> Unary[[Index], Tensor, Array]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, forward: _Joins
    ) -> Joining: ...
    @overload
    def __call__(
        self, forward: Callable[Concatenate[Array, Array, Array, Array, P], Any]
    ) -> Primitive: ...
    @overload
    def __call__(
        self, forward: Callable[Concatenate[Array, Array, Array, P], numpy.ndarray[Any, Any]]
    ) -> Ternary[P]: ...
    @overload
    def __call__(
        self, forward: Callable[Concatenate[Array, Array, P], numpy.ndarray[Any, Any]]
    ) -> Binary[P]: ...
    @overload
    def __call__(
        self, forward: Callable[Concatenate[Array, P], numpy.ndarray[Any, Any]]
    ) -> Unary[P, Tensor, Array]: ...
    @overload
    def __call__(
        self, forward: Callable[Concatenate[Array, P], tuple[Array, Array]]
    ) -> Unary[P, tuple[Tensor, Tensor], tuple[Array, Array]]: ...
    @overload
    def __call__(
        self, forward: Callable[Concatenate[Array, P], tuple[Array, Array, Array]]
    ) -> Unary[P, tuple[Tensor, Tensor, Tensor], tuple[Array, Array, Array]]: ...
    @overload
    def __call__(
        self, forward: Callable[Concatenate[Array, P], tuple[Array, ...]]
    ) -> Unary[P, tuple[Tensor, ...], tuple[Array, ...]]: ...

class Compose(Protocol):
    """The same for a function made of primitives. Of an array it gives what the others are: Any."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Array, P], numpy.ndarray[Any, Any]]
    ) -> Unary[P, Tensor, Any]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Array, P], tuple[Array, Array]]
    ) -> Unary[P, tuple[Tensor, Tensor], tuple[Any, Any]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Array, P], tuple[Array, ...]]
    ) -> Unary[P, tuple[Tensor, ...], tuple[Any, ...]]: ...

class Operators:
    """Python's operators on a tensor. At run time each is an entry of the op table."""

    def __add__(self, other: Operand, /) -> Tensor: ...
    def __sub__(self, other: Operand, /) -> Tensor: ...
    def __mul__(self, other: Operand, /) -> Tensor: ...
    def __truediv__(self, other: Operand, /) -> Tensor: ...
    def __floordiv__(self, other: Operand, /) -> Tensor: ...
    def __mod__(self, other: Operand, /) -> Tensor: ...
    def __pow__(self, other: Operand, /) -> Tensor: ...
    def __matmul__(self, other: Operand, /) -> Tensor: ...
    def __radd__(self, other: Operand, /) -> Tensor: ...
    def __rsub__(self, other: Operand, /) -> Tensor: ...
    def __rmul__(self, other: Operand, /) -> Tensor: ...
    def __rtruediv__(self, other: Operand, /) -> Tensor: ...
    def __rfloordiv__(self, other: Operand, /) -> Tensor: ...
    def __rmod__(self, other: Operand, /) -> Tensor: ...
    def __rpow__(self, other: Operand, /) -> Tensor: ...
    def __rmatmul__(self, other: Operand, /) -> Tensor: ...
    def __iadd__(self, other: Operand, /) -> Tensor: ...
    def __isub__(self, other: Operand, /) -> Tensor: ...
    def __imul__(self, other: Operand, /) -> Tensor: ...
    def __itruediv__(self, other: Operand, /) -> Tensor: ...
    def __ifloordiv__(self, other: Operand, /) -> Tensor: ...
    def __imod__(self, other: Operand, /) -> Tensor: ...
    def __ipow__(self, other: Operand, /) -> Tensor: ...
    def __imatmul__(self, other: Operand, /) -> Tensor: ...
    def __and__(self, other: Operand, /) -> Tensor: ...
    def __or__(self, other: Operand, /) -> Tensor: ...
    def __xor__(self, other: Operand, /) -> Tensor: ...
    def __rand__(self, other: Operand, /) -> Tensor: ...
    def __ror__(self, other: Operand, /) -> Tensor: ...
    def __rxor__(self, other: Operand, /) -> Tensor: ...
    def __lt__(self, other: Operand, /) -> Tensor: ...
    def __le__(self, other: Operand, /) -> Tensor: ...
    def __gt__(self, other: Operand, /) -> Tensor: ...
    def __ge__(self, other: Operand, /) -> Tensor: ...
    def __neg__(self) -> Tensor: ...
    def __abs__(self) -> Tensor: ...
    def __invert__(self) -> Tensor: ...
    def __round__(self, decimals: int = 0, /) -> Tensor: ...
