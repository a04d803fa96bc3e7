"""Symbols: tensors that have a name, axes and a dtype, but no numbers.

A model's own ``forward`` runs on them. An axis whose length is not fixed is an :class:`Axis`, a
sum of products of named lengths, which the graph computes where it is needed. Reading a number,
of a value or of an open axis, raises an error that names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn, TypeAlias

import numpy as np

from ...tensor import Tensor
from ...trees import leaves

Length: TypeAlias = "int | Axis"
Shape: TypeAlias = tuple[Length, ...]
Place: TypeAlias = tuple["Value", int]
"""An axis of a value, whose length is that of an open axis."""


class ExportError(TypeError):
    """A model cannot be written as ONNX: the message gives the reason and the place."""


class Axis:
    """A length that stays open: a polynomial of named lengths with integer coefficients.

    Examples are ``time``, ``2*batch``, ``batch*time``, ``time-1``. The graph computes lengths by
    the same polynomials. Two are equal if they are the same polynomial.

    Args:
        terms: Product of names -> its coefficient; the empty product is the constant.
        places: Where to find the length of each name.
    """

    __slots__ = ("places", "terms")

    def __init__(self, terms: Mapping[tuple[str, ...], int], places: Mapping[str, Place]) -> None:
        self.terms = dict(terms)
        self.places = dict(places)

    @classmethod
    def named(cls, name: str, place: Place) -> Axis:
        """The length with that name."""
        return cls({(name,): 1}, {name: place})

    def __repr__(self) -> str:
        words: list[str] = []
        for names, factor in sorted(self.terms.items(), key=lambda term: (-len(term[0]), term[0])):
            size = [] if abs(factor) == 1 and names else [str(abs(factor))]
            sign = "-" if factor < 0 else "+" * bool(words)
            words.append(sign + "*".join([*size, *names]))
        return "".join(words)

    def _sum(self, other: Any, sign: int) -> Length:
        terms = Counter(self.terms)
        for names, factor in _terms(other).items():
            terms[names] += sign * factor
        return _length(terms, self, other)

    def __add__(self, other: Any) -> Length:
        return self._sum(other, 1)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Length:
        return self._sum(other, -1)

    def __rsub__(self, other: Any) -> Length:
        result: Length = self * -1 + other
        return result

    def __mul__(self, other: Any) -> Any:
        terms: Counter[tuple[str, ...]] = Counter()
        for left, a in self.terms.items():
            for right, b in _terms(other).items():
                terms[tuple(sorted(left + right))] += a * b
        return _length(terms, self, other)

    __rmul__ = __mul__

    def over(self, other: Length) -> Length | None:
        """The quotient by a single product if the division is exact, else None."""
        ((divisor, factor),) = _terms(other).items() if len(_terms(other)) == 1 else ((None, 0),)
        if divisor is None:
            return None
        terms = {}
        for names, a in self.terms.items():
            rest = Counter(names)
            rest.subtract(divisor)
            if a % factor or min(rest.values(), default=0) < 0:
                return None
            terms[tuple(sorted(rest.elements()))] = a // factor
        return _length(terms, self, other)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Axis):
            return self.terms == other.terms
        if isinstance(other, int | np.integer):
            self._read()
        return NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self.terms.items()))

    def _read(self, *_: Any) -> NoReturn:
        raise ExportError(
            f"the model reads the length of the axis {self} as a number, but it stays open: "
            "compute with shapes as they are, or give that axis a number in the inputs"
        )

    __int__ = __index__ = __float__ = __bool__ = _read
    __lt__ = __le__ = __gt__ = __ge__ = __floordiv__ = __rfloordiv__ = __mod__ = __truediv__ = _read


def _terms(length: Any) -> Mapping[tuple[str, ...], int]:
    if isinstance(length, Axis):
        return length.terms
    if isinstance(length, int | np.integer):
        return {(): int(length)}
    raise ExportError(f"a length is an integer or a named axis; got {length!r}")


def _length(terms: Mapping[tuple[str, ...], int], *parts: Any) -> Length:
    """A polynomial as an int, if it is constant."""
    kept = {names: factor for names, factor in terms.items() if factor}
    if kept.keys() <= {()}:
        return kept.get((), 0)
    places = {n: p for part in parts if isinstance(part, Axis) for n, p in part.places.items()}
    return Axis(kept, places)


def same(a: Length, b: Length) -> bool:
    """Whether two lengths are equal for all values of the named ones."""
    return a == b if isinstance(a, Axis) == isinstance(b, Axis) else False


class Value:
    """The data of a symbol, in place of an array.

    Attributes:
        name: Its name in the graph.
        shape: Its lengths; open ones are :class:`Axis`.
        dtype: float32, int64, int32 or bool.
        reshaped: The symbol that it was reshaped from, if any.
    """

    def __init__(self, name: str, shape: Shape, dtype: Any, reshaped: Value | None = None) -> None:
        self.name = name
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self.reshaped = reshaped

    ndim = property(lambda self: len(self.shape))

    @property
    def size(self) -> Any:
        """The number of elements, an :class:`Axis` if it is open."""
        size: Any = 1
        for length in self.shape:
            size = size * length
        return size

    def _read(self, *_: Any, **__: Any) -> NoReturn:
        axes = ", ".join(map(str, self.shape))
        raise ExportError(
            f"the model reads numbers of {self.name} ({axes}); it may only compute with it"
        )

    __array__ = __bool__ = __iter__ = __len__ = __getitem__ = __setitem__ = item = tolist = _read
    __float__ = __int__ = __index__ = __eq__ = _read
    __hash__ = object.__hash__


class Symbol(Tensor):
    """A tensor without numbers, as a model's ``forward`` sees it while it is exported."""

    __slots__ = ()

    _data: Value

    @staticmethod
    def of(value: Value) -> Symbol:
        """The symbol of a value."""
        made = Symbol.__new__(Symbol)
        made._data, made._grad, made._requires_grad = value, None, False
        made.hooks = made.name = made.node = None
        return made

    def __repr__(self) -> str:
        axes = ", ".join(map(str, self.shape))
        return f"Symbol({self._data.name}: {self.dtype}[{axes}])"

    @property
    def requires_grad(self) -> bool:
        """False: nothing is recorded."""
        return False

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value:
            raise ExportError(
                "the model computes a gradient (requires_grad of one of its values), for which "
                "ONNX has no operator"
            )

    def detach(self) -> Tensor:
        """Itself: nothing is recorded."""
        return self

    clone = copy = detach


def flat(result: Any) -> list[Any]:
    """The tensors that a model returns, in order; None is left out."""
    return [part for part in leaves(result) if part is not None]
