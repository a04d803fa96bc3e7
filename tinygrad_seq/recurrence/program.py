"""A step as a straight program: instructions on numbered values, without loops or branches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

from .. import ops
from ..backend import xp

Shape: TypeAlias = tuple[int, ...]


class Value(int):
    """A value of a program, by its number."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"%{int(self)}"


class Operation:
    """An operation used only in programs; it has the interface of a primitive."""

    def __init__(self, name: str, forward: Callable[..., Any], elementwise: bool = False) -> None:
        self.name = name
        self.forward = forward
        self.elementwise = elementwise

    def __repr__(self) -> str:
        return self.name


SAME = Operation("same", lambda x: x, elementwise=True)
"""A value under another number: where a state is handed on as it came."""

FULL = Operation("full", lambda *, value, like: like(value))
"""An array of equal numbers; printers put the number in its place."""


def _contracted(a: Any, b: Any, *, word: str) -> Any:
    np = xp(a, b)
    if word == "abc,abc->ac" and a.shape == (*b.shape[:2], 1):
        return np.matmul(a.swapaxes(1, 2), b)[:, 0]
    if word == "abc,abc->ab" and a.shape == (len(b), 1, b.shape[2]):
        return np.matmul(b, a.swapaxes(1, 2))[..., 0]
    return np.einsum(word, a, b)


CONTRACT = Operation("contract", _contracted)
"""A sum of products, which makes no array of the products; axes have letters."""


LINEAR = {
    SAME, ops.add, ops.subtract, ops.negative, ops.sum, ops.reshape, ops.transpose,
    ops.concatenate, ops.split, ops.getitem, ops.index.scatter_add,
}  # fmt: skip
"""f(Σ a) = Σ f(a), where all operands are sums."""


class Instr(NamedTuple):
    """outs = op(*ins, **params).

    Attributes:
        op: A primitive, or an :class:`Operation`.
        ins: Values and Python numbers.
        params: Static parameters by name, sorted; arrays in them (an index) are values too.
        outs: One value, or several.
    """

    op: Any
    ins: tuple[Any, ...]
    params: tuple[tuple[str, Any], ...]
    outs: tuple[Value, ...]

    def param(self, name: str) -> Any:
        """One static parameter."""
        return dict(self.params)[name]

    def reads(self) -> list[Value]:
        """The values that the instruction reads."""
        found = [v for v in self.ins if type(v) is Value]
        for _, p in self.params:
            if type(p) in (tuple, list, Value):
                found += values_in((p,))
        return found


class Type(NamedTuple):
    """Shape and dtype of a value."""

    shape: Shape
    dtype: Any


class Program(NamedTuple):
    """One step ``(x, s) -> (y, s')`` and its derivative.

    Attributes:
        code: The instructions, each after the ones it reads; the first ``forward`` are the step.
        types: The type of every value.
        xs: The parts of the input of a step.
        states: The parts of the state before.
        free: The parameters and constants that the step reads.
        y: The output.
        after: The parts of the state after.
        detaches: Whether an operand gets no gradient though its value has one.
        gy: The gradient of y.
        gafter: The gradients of the state after; None for a part that is not differentiable.
        gxs, gstates, gfree: The gradients that the derivative computes; None where there is none.
    """

    code: tuple[Instr, ...]
    types: dict[Value, Type]
    xs: tuple[Value, ...]
    states: tuple[Value, ...]
    free: tuple[Value, ...]
    y: Value
    after: tuple[Value, ...]
    detaches: bool = False
    gy: Value | None = None
    gafter: tuple[Value | None, ...] = ()
    gxs: tuple[Value | None, ...] = ()
    gstates: tuple[Value | None, ...] = ()
    gfree: tuple[Value | None, ...] = ()

    def shape(self, v: Value) -> Shape:
        """The shape of a value."""
        return self.types[v].shape

    def width(self, v: Value) -> int:
        """The number of columns of a value; a number has one."""
        shape = self.types[v].shape
        return shape[-1] if shape else 1

    def results(self) -> list[Value]:
        """All results of the step and its derivative."""
        given = (self.y, *self.after, *self.gxs, *self.gstates, *self.gfree)
        return [v for v in given if v is not None]

    def made(self) -> dict[Value, Instr]:
        """The instruction that makes each value."""
        return {o: i for i in self.code for o in i.outs}

    def renamed(self, alias: dict[Value, Value], code: Iterable[Instr]) -> Program:
        """The program with this code and values renamed by ``alias``."""

        def at(v: Any) -> Any:
            while v in alias:
                v = alias[v]
            return v

        def all_at(values: Iterable[Any]) -> Any:
            return tuple([at(v) for v in values])

        return self._replace(
            code=tuple([substituted(i, at) for i in code]),
            y=at(self.y),
            after=all_at(self.after),
            gxs=all_at(self.gxs),
            gstates=all_at(self.gstates),
            gfree=all_at(self.gfree),
        )


class Builder:
    """Makes new values and instructions for a program that is being rewritten."""

    def __init__(self, program: Program) -> None:
        self.types = dict(program.types)
        self.next = max(self.types) + 1

    def fresh(self, shape: Shape, dtype: Any) -> Value:
        """A new value."""
        v = Value(self.next)
        self.next += 1
        self.types[v] = Type(shape, dtype)
        return v


def values_in(parts: Iterable[Any]) -> Iterator[Value]:
    """The values in (nested) tuples and lists."""
    for part in parts:
        if type(part) is Value:
            yield part
        elif isinstance(part, (tuple, list)):
            yield from values_in(part)


def replaced(part: Any, at: Callable[[Value], Any]) -> Any:
    """A parameter with ``at(v)`` in place of each value v."""
    if type(part) is Value:
        return at(part)
    if isinstance(part, tuple):
        return tuple([replaced(p, at) for p in part])
    if isinstance(part, list):
        return [replaced(p, at) for p in part]
    return part


def substituted(instr: Instr, at: Callable[[Value], Any]) -> Instr:
    """An instruction that reads ``at(v)`` in place of each value v."""
    op, ins, params, outs = instr
    ins = tuple([at(v) if type(v) is Value else v for v in ins])
    if params:
        params = tuple([(name, replaced(p, at)) for name, p in params])
    return Instr(op, ins, params, outs)


def called(instr: Instr, env: dict[Value, Any], live: bool = False) -> Any:
    """The results of the instruction for these values: arrays, or with ``live`` tensors."""
    return caller(instr, live)(env)


def caller(instr: Instr, live: bool = False) -> Callable[[dict[Value, Any]], Any]:
    """What computes the instruction from values: see :func:`called`."""
    function, ins, params = function_of(instr, live), instr.ins, dict(instr.params)
    fixed = not any(True for _ in values_in([*params.values()]))

    def call(env: dict[Value, Any]) -> Any:
        args = [env[v] if type(v) is Value else v for v in ins]
        at = env.__getitem__
        now = params if fixed else {name: replaced(p, at) for name, p in params.items()}
        return function(*args, **now)

    return call


def function_of(instr: Instr, live: bool) -> Callable[..., Any]:
    """What computes the instruction: a function of arrays, or with ``live`` of tensors."""
    op = instr.op
    plain = not live or isinstance(op, Operation)
    of_list = not plain and op.variadic
    function: Callable[..., Any] = op.forward if plain else op
    function = (lambda *xs, **params: op(xs, **params)) if of_list else function
    if op in (ops.split, ops.unstack) and len(instr.outs) == 1:
        return lambda *xs, **params: function(*xs, **params)[0]  # a tuple of one
    return function
