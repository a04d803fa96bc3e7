"""Instructions outside the loop over time, run for all steps at once.

A value is available ``ONCE`` per pass; for ``ALL`` steps, with a leading axis T; or as the ``SUM``
over the steps, if nothing else is needed. So the gradient of a weight, Σₜ aₜᵀ gₜ, is one product
of all rows, and the gradient of a bias is one sum. The first pass plans how to run each
instruction; later passes reuse the plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy

from .. import ops
from ..backend.shares import product
from ..ops.index import is_basic
from ..tensor import Tensor
from .program import FULL, LINEAR, SAME, Instr, Program, Value, caller, function_of, values_in

ONCE, ALL, SUM = "once", "for all steps", "summed over the steps"


class Live:
    """The namespace of tensors, in place of NumPy's or CuPy's: every result is recorded.

    Args:
        np: The namespace of the arrays in the tensors.
    """

    stack = staticmethod(ops.stack)
    swapaxes = staticmethod(ops.swapaxes)
    broadcast_to = staticmethod(ops.broadcast_to)

    def __init__(self, np: Any) -> None:
        self.np = np

    def matmul(self, a: Any, b: Any, out: None = None) -> Any:
        """A product, which makes its own array."""
        return ops.matmul(a, b)

    def empty(self, shape: Any, dtype: Any) -> None:
        """No array."""

    def full(self, shape: Any, value: Any, dtype: Any) -> Tensor:
        """A tensor of equal numbers."""
        return Tensor._wrap(self.np.full(shape, value, dtype))

    def asarray(self, tensor: Any, dtype: Any) -> Any:
        """The tensor in this dtype."""
        return tensor if tensor.dtype == dtype else tensor.astype(dtype)


class Env:
    """The values of a pass outside its loops.

    Args:
        p: The program.
        np: The namespace of the arrays; :class:`Live` if the values are tensors.
        T: How many steps.
        plans: How earlier passes ran the instructions; filled in.

    Attributes:
        product: The function for large matrix products, ``product(a, b, out=...)``.
    """

    def __init__(self, p: Program, np: Any, T: int, plans: dict[Any, Any]) -> None:
        self.p, self.np, self.T, self.plans = p, np, T, plans
        self.product: Callable[..., Any] = product if np is numpy else np.matmul
        self.arrays: dict[Value, Any] = {}
        self.had: dict[Value, str] = {}

    def put(self, v: Value, array: Any, had: str) -> None:
        """Set a value."""
        self.arrays[v], self.had[v] = array, had

    def copy(self) -> Env:
        """The same values, to add to."""
        new = Env(self.p, self.np, self.T, self.plans)
        new.arrays, new.had = dict(self.arrays), dict(self.had)
        return new

    def total(self, v: Value) -> Any:
        """A gradient summed over the steps."""
        array, had = self.arrays[v], self.had[v]
        return array.sum(0) if had is ALL else array if had is SUM else array * self.T

    def all(self, v: Value) -> Any:
        """A value for all steps ``(T, ...)``."""
        array = self.arrays[v]
        if self.had[v] is ALL:
            return array
        return self.np.broadcast_to(array, (self.T, *array.shape))

    def aligned(self, v: Any, shape: tuple[int, ...] | None) -> Any:
        """An operand reshaped to ``shape`` after the time axis if it has fewer axes than others."""
        array = self.arrays[v] if type(v) is Value else v
        return array if shape is None else array.reshape(self.T, *shape)

    def run(self, code: Sequence[Instr], goals: Iterable[Value] = ()) -> None:
        """Run the instructions that the goals need, or all. Goals are wanted as sums."""
        key = id(code), frozenset(goals), tuple(self.had.items())
        if key not in self.plans:
            live = isinstance(self.np, Live)
            self.plans[key] = code, Planning(self.p, self.had, live).of(code, set(goals))
        asarray = self.np.asarray
        for form, outs, had in self.plans[key][1]:
            result = form(self)
            results = result if type(result) is tuple else (result,)
            for (o, dtype), array in zip(outs, results, strict=True):
                self.arrays[o], self.had[o] = asarray(array, dtype), had


Form: TypeAlias = Callable[[Env], Any]
"""How the results of one instruction are had from the values before it."""


class Planning:
    """How to run instructions, given the form of the values that they read.

    Args:
        p: The program.
        had: The form of each value known before.
        live: Whether the values are tensors.
    """

    def __init__(self, p: Program, had: dict[Value, str], live: bool) -> None:
        self.p, self.had, self.live = p, dict(had), live

    def of(
        self, code: Sequence[Instr], goals: set[Value]
    ) -> list[tuple[Form, list[tuple[Value, Any]], str]]:
        """(call, results with their dtypes, their form) of the instructions that the goals need,
        or of all."""
        wanted = [*code]
        if goals:
            live, wanted = set(goals), []
            for i in reversed(code):
                if not live.isdisjoint(i.outs):
                    wanted.append(i)
                    live.update(i.reads())
            wanted.reverse()
        sums, planned = self._sums(wanted, goals), []
        for i in wanted:
            form, had = self._form(i, i.outs[0] in sums)
            self.had.update(dict.fromkeys(i.outs, had))
            planned.append((form, [(o, self.p.types[o].dtype) for o in i.outs], had))
        return planned

    def _sums(self, code: list[Instr], goals: set[Value]) -> set[Value]:
        """The values needed only as a sum over the steps."""
        readers: dict[Value, list[Instr]] = {}
        every = {v for v, had in self.had.items() if had is not ONCE}
        for i in code:
            for v in i.reads():
                readers.setdefault(v, []).append(i)
            if not every.isdisjoint(i.reads()):
                every.update(i.outs)
        found: set[Value] = set()
        for i in reversed(code):
            for o in i.outs:
                asked = readers.get(o, [])
                summed = (asked or o in goals) and o not in self.p.gxs
                if summed and all(self._linear(o, j, every, found) for j in asked):
                    found.add(o)
        return found

    def _linear(self, v: Value, i: Instr, every: set[Value], found: set[Value]) -> bool:
        """Whether the sum of i's results can be computed from the sum of v."""
        if not found.issuperset(i.outs):
            return False
        if i.op in (ops.multiply, ops.divide):
            others = [a for k, a in enumerate(i.ins) if a != v or (k and i.op is ops.divide)]
            return len(others) == 1 and every.isdisjoint(values_in(others))
        return i.op in LINEAR and not _read_in_params(i) and every.issuperset(i.reads())

    def _form(self, i: Instr, summed: bool) -> tuple[Form, str]:
        reads, call = i.reads(), caller(i, self.live)
        had = {self.had[v] for v in reads}
        if i.op is FULL:
            shape, dtype = self.p.types[i.outs[0]]
            return lambda env: env.np.full(shape, i.param("value"), dtype), ONCE
        if ALL in had and SUM in had:  # linear in all operands together: it needs the sum of each
            return lambda env: call({v: env.total(v) for v in reads}), SUM
        if ALL not in had:
            return lambda env: call(env.arrays), SUM if SUM in had else ONCE
        total = self._summed(i) if summed else None
        return (total, SUM) if total is not None else (self._for_all(i), ALL)

    # -- sums -----------------------------------------------------------------------------------

    def _summed(self, i: Instr) -> Form | None:
        """The sum over the steps at once, for products and sums of rows; None if it is neither."""
        shapes, every = self._operands(i)
        forward = function_of(i, self.live)
        two = all(every) and [len(s) for s in shapes] == [2, 2]
        if i.op is ops.matmul and two:
            a, b = i.ins
            return lambda env: _rows_product(env, env.np.swapaxes(env.arrays[a], 1, 2), b)
        if i.op is ops.multiply and two and shapes[0][1] == shapes[1][0] == 1:
            a, b = i.ins  # a column by a row
            return lambda env: _rows_product(env, env.arrays[a].reshape(env.T, 1, -1), b)
        if i.op is ops.multiply and all(every):
            shape = self.p.shape(i.outs[0])
            ones = [(*(1,) * (len(shape) - len(s)), *s) for s in shapes]
            rows = [k + 1 for k, (m, n) in enumerate(zip(*ones, strict=True)) if m > n]
            columns = [k + 1 for k, (m, n) in enumerate(zip(*ones, strict=True)) if m < n]
            if rows and columns:
                return lambda env: _outer_products(env, i.ins, ones, rows, columns)
        if i.op is ops.sum and i.param("axis") in (0, (0,), [0]) and len(shapes[0]) > 1:
            (a,), keep = i.ins, i.param("keepdims")
            return lambda env: _rows_sum(env.arrays[a], keep)
        if i.op is ops.index.scatter_add and (ids := _ids(i)) is not None and every[0]:
            (a,), shape = i.ins, i.param("shape")
            return lambda env: forward(env.arrays[a], index=env.all(ids), shape=shape)
        return None

    # -- all steps ------------------------------------------------------------------------------

    def _operands(self, i: Instr) -> tuple[list[Any], list[bool]]:
        """Shapes of one step, and which operands are available for all steps."""
        shapes = [self.p.shape(v) if type(v) is Value else () for v in i.ins]
        return shapes, [type(v) is Value and self.had[v] is ALL for v in i.ins]

    def _for_all(self, i: Instr) -> Form:
        shapes, every = self._operands(i)
        ranks = [len(s) for s in shapes]
        params, forward, ins = dict(i.params), function_of(i, self.live), i.ins
        shape, dtype = self.p.types[i.outs[0]]
        a = Value(-1) if not ins else ins[0]
        if i.op is SAME:
            return lambda env: env.arrays[a]
        if i.op is ops.getitem and (ids := _ids(i)) is not None and not every[0]:
            return lambda env: forward(env.arrays[a], index=env.arrays[ids])
        if _read_in_params(i):
            return self._one_by_one(i)
        if i.op.elementwise:
            missing = [
                (*(1,) * (len(shape) - rank), *s) if all_steps and rank < len(shape) else None
                for rank, s, all_steps in zip(ranks, shapes, every, strict=True)
            ]
            return lambda env: forward(*map(env.aligned, ins, missing), **params)
        if i.op is ops.matmul and every == [True, False] and ranks == [2, 2] and not self.live:
            return lambda env: _product(env, a, ins[1], shape[-1], dtype)
        if i.op is ops.matmul and (
            (every == [True, False] and ranks in ([1, 2], [2, 2])) or (ranks[0] == ranks[1] >= 2)
        ):
            return lambda env: env.np.matmul(*[env.arrays[v] for v in ins])
        if i.op is ops.transpose:
            axes = params["axes"] or tuple(reversed(range(ranks[0])))
            later = (0, *[axis % ranks[0] + 1 for axis in axes])
            return lambda env: env.arrays[a].transpose(later)
        if i.op is ops.reshape:
            return lambda env: env.arrays[a].reshape(env.T, *shape)
        if i.op is ops.broadcast_to:
            ones = (*(1,) * (len(shape) - ranks[0]), *shapes[0])
            return lambda env: env.np.broadcast_to(
                env.arrays[a].reshape(env.T, *ones), (env.T, *shape)
            )
        if i.op in (ops.concatenate, ops.split):
            params["axis"] += params["axis"] >= 0
            return lambda env: forward(*map(env.all, ins), **params)
        if i.op in (ops.sum, ops.mean, ops.max, ops.min) and shapes[0]:
            axes = tuple([axis + 1 for axis in axes_of(params["axis"], ranks[0])])
            one = isinstance(params["axis"], int)  # of equal ones, max along one axis has the first
            params["axis"] = axes[0] if one else axes
            return lambda env: forward(env.arrays[a], **params)
        if i.op is ops.getitem and is_basic(params["index"]):
            index = _after_time(params["index"])
            return lambda env: env.arrays[a][index]
        return self._one_by_one(i)

    def _one_by_one(self, i: Instr) -> Form:
        """Any primitive: step by step."""
        each, call = {v: self.had[v] is ALL for v in i.reads()}, caller(i, self.live)

        def form(env: Env) -> Any:
            results = [
                call({v: env.arrays[v][t] if e else env.arrays[v] for v, e in each.items()})
                for t in range(env.T)
            ]
            if len(i.outs) > 1:
                return tuple([env.np.stack(part) for part in zip(*results, strict=True)])
            return env.np.stack(results)

        return form


def _product(env: Env, a: Value, b: Value, width: int, dtype: Any) -> Any:
    """a ``(T, N, M)`` times b ``(M, K)``, in an array that owns its memory."""
    rows = env.arrays[a]
    y = env.np.empty((*rows.shape[:2], width), dtype)
    env.product(rows.reshape(-1, rows.shape[2]), env.arrays[b], out=y.reshape(-1, width))
    return y


def _rows_product(env: Env, a: Any, b: Value) -> Any:
    """Σ aᵀ b over steps and rows, of a ``(T, N, M)`` and b ``(T, N, K)``."""
    other = env.arrays[b]
    a, other = a.reshape(-1, a.shape[2]).T, other.reshape(-1, other.shape[2])
    dtype = numpy.result_type(a.dtype, other.dtype)  # a may be float32 beside float64
    return env.product(a, other, out=env.np.empty((a.shape[0], other.shape[1]), dtype))


def _outer_products(
    env: Env, ins: Sequence[Value], shapes: Sequence[Any], rows: list[int], columns: list[int]
) -> Any:
    """Σ a b over the steps, of a that has no ``columns`` and b that has no ``rows``."""
    a, b = map(env.aligned, ins, shapes)
    both = [k for k in range(1, a.ndim) if k not in rows and k not in columns]
    sizes = [[array.shape[k] for k in axes] for array, axes in ((a, both), (a, rows), (b, columns))]
    left = a.transpose(*both, *rows, 0, *columns).reshape(*sizes[0], -1, len(a))
    right = b.transpose(*both, 0, *columns, *rows).reshape(*sizes[0], len(b), -1)
    y = env.np.matmul(left, right).reshape([n for size in sizes for n in size])
    order = [*both, *rows, *columns]
    return y.transpose([order.index(k) for k in range(1, a.ndim)])


def _rows_sum(a: Any, keepdims: bool) -> Any:
    return a.reshape(-1, *a.shape[2:]).sum(0, keepdims=keepdims)


def _read_in_params(i: Instr) -> bool:
    return any(True for _ in values_in([value for _, value in i.params]))


def _ids(i: Instr) -> Value | None:
    """The value that selects whole rows, if the index does nothing else."""
    index = i.param("index")
    parts = index if isinstance(index, tuple) else (index,)
    return parts[0] if len(parts) == 1 and type(parts[0]) is Value else None


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """The axes of a reduction."""
    given = range(ndim) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    return tuple([a % ndim for a in given])


def _after_time(index: Any) -> Any:
    return (slice(None), *(index if isinstance(index, tuple) else (index,)))
