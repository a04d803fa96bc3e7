"""Instructions outside of the loop over time, done for all steps at once.

A value is had ``ONCE`` for the pass; for ``ALL`` steps, with a leading axis T; or as the ``SUM``
over the steps, where nothing else is asked for. So the gradient of a weight, Σₜ aₜᵀ gₜ, is one
product of all rows, and that of a bias one sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from .. import ops
from .program import FULL, SAME, Instr, Program, Value, called, values_in


class Had(Enum):
    """How a value is had."""

    ONCE = "once"
    ALL = "for all steps"
    SUM = "summed over the steps"


ONCE, ALL, SUM = Had.ONCE, Had.ALL, Had.SUM

LINEAR = {
    ops.transpose, ops.reshape, ops.negative, ops.add, ops.subtract, ops.concatenate, ops.split,
    ops.getitem, ops.index.scatter_add, SAME,
}  # fmt: skip
"""f(Σ a) = Σ f(a), where all operands are sums."""


class Env:
    """The values of a pass outside of its loops.

    Args:
        p: The program.
        np: The namespace of the arrays.
        T: How many steps.

    Attributes:
        product: What computes large matrix products, ``product(a, b, out=...)``.
    """

    def __init__(self, p: Program, np: Any, T: int) -> None:
        self.p, self.np, self.T = p, np, T
        self.product: Callable[..., Any] = np.matmul
        self.arrays: dict[Value, Any] = {}
        self.had: dict[Value, Any] = {}

    def put(self, v: Value, array: Any, had: Any) -> None:
        """Set a value."""
        self.arrays[v], self.had[v] = array, had

    def copy(self) -> Env:
        """The same values, to go on with."""
        new = Env(self.p, self.np, self.T)
        new.product = self.product
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

    def run(self, code: Iterable[Instr], goals: Iterable[Value] = ()) -> None:
        """Do the instructions that lead to the goals, or all; a goal is asked for as a sum."""
        goals = set(goals)
        wanted = [*code]
        if goals:
            live, wanted = set(goals), []
            for i in reversed([*code]):
                if not live.isdisjoint(i.outs):
                    wanted.append(i)
                    live.update(i.reads())
            wanted.reverse()
        sums = self._sums(wanted, goals)
        for i in wanted:
            self._do(i, sums)

    def _sums(self, code: list[Instr], goals: set[Value]) -> set[Value]:
        """The values of which only the sum over the steps is asked for."""
        readers: dict[Value, list[Instr]] = {}
        every = {v for v, had in self.had.items() if had is ALL}
        for i in code:
            for v in i.reads():
                readers.setdefault(v, []).append(i)
            if not every.isdisjoint(i.reads()):
                every.update(i.outs)
        found: set[Value] = set()
        for i in reversed(code):
            for o in i.outs:
                asked = readers.get(o, [])
                if (asked or o in goals) and all(self._linear(o, j, every, found) for j in asked):
                    found.add(o)
        return found - {v for v in self.p.gxs if v is not None}

    def _linear(self, v: Value, i: Instr, every: set[Value], found: set[Value]) -> bool:
        """Whether the sum of i's results can be had from the sum of v."""
        if not found.issuperset(i.outs):
            return False
        if i.op in (ops.multiply, ops.divide):
            others = [a for k, a in enumerate(i.ins) if a != v or (k and i.op is ops.divide)]
            return len(others) == 1 and every.isdisjoint(values_in(others))
        in_params = any(True for _ in values_in([value for _, value in i.params]))
        return i.op in LINEAR and not in_params and every.issuperset(i.reads())

    def _do(self, i: Instr, sums: set[Value]) -> None:
        had = {self.had[v] for v in i.reads()}
        if i.op is FULL:
            shape, dtype = self.p.types[i.outs[0]]
            self.put(i.outs[0], self.np.full(shape, i.param("value"), dtype), ONCE)
        elif ALL not in had or SUM in had:  # what is linear in sums takes sums of all its operands
            env = {v: self.total(v) if ALL in had else self.arrays[v] for v in i.reads()}
            result = called(i, env)
            for o, array in zip(
                i.outs, result if type(result) is tuple else (result,), strict=True
            ):
                array = self.np.asarray(array, self.p.types[o].dtype)
                self.put(o, array, SUM if SUM in had else ONCE)
        else:
            total = self._summed(i) if i.outs[0] in sums else None
            if total is not None:
                self.put(i.outs[0], total, SUM)
                return
            result = self._for_all(i)
            for o, array in zip(
                i.outs, result if type(result) is tuple else (result,), strict=True
            ):
                self.put(o, self.np.asarray(array, self.p.types[o].dtype), ALL)

    # -- sums -----------------------------------------------------------------------------------

    def _summed(self, i: Instr) -> Any:
        """The sum over the steps at once, for products and sums of rows; None if it is neither."""
        shapes = [self.p.shape(v) if type(v) is Value else () for v in i.ins]
        every = [type(v) is Value and self.had[v] is ALL for v in i.ins]
        if i.op is ops.matmul and all(every) and [len(s) for s in shapes] == [2, 2]:
            a, b = (self.arrays[v] for v in i.ins)
            return self._rows_product(self.np.swapaxes(a, 1, 2), b)
        if i.op is ops.multiply and all(every) and [len(s) for s in shapes] == [2, 2]:
            (h, one), (other, _) = shapes  # a column by a row
            if one == other == 1:
                a, b = (self.arrays[v] for v in i.ins)
                return self._rows_product(a.reshape(self.T, 1, h), b)
        if i.op is ops.sum and i.param("axis") in (0, (0,), [0]) and len(shapes[0]) > 1:
            a = self.arrays[i.ins[0]]
            return a.reshape(-1, *a.shape[2:]).sum(0, keepdims=i.param("keepdims"))
        if i.op is ops.index.scatter_add and (ids := _ids(i)) is not None and every[0]:
            return i.op.forward(self.arrays[i.ins[0]], index=self.all(ids), shape=i.param("shape"))
        return None

    def _rows_product(self, a: Any, b: Any) -> Any:
        """Σ aᵀ b over steps and rows, of a ``(T, N, M)`` and b ``(T, N, K)``."""
        rows = a.shape[0] * a.shape[1]
        a, b = a.reshape(rows, -1).T, b.reshape(rows, -1)
        return self.product(a, b, out=self.np.empty((a.shape[0], b.shape[1]), a.dtype))

    # -- all steps ------------------------------------------------------------------------------

    def _for_all(self, i: Instr) -> Any:
        np, T, p = self.np, self.T, self.p
        if i.op is SAME:
            return self.arrays[i.ins[0]]
        every = [type(v) is Value and self.had[v] is ALL for v in i.ins]
        shapes = [p.shape(v) if type(v) is Value else () for v in i.ins]
        args = [self.arrays[v] if type(v) is Value else v for v in i.ins]
        plain = not any(True for _ in values_in([value for _, value in i.params]))
        params, out = dict(i.params), p.shape(i.outs[0])
        if i.op is ops.getitem and (ids := _ids(i)) is not None and not every[0]:
            return i.op.forward(args[0], index=self.arrays[ids])
        if not plain:
            return self._one_by_one(i)
        if i.op.elementwise:
            ranks = [len(out) - len(s) for s in shapes]
            args = [
                a.reshape(T, *(1,) * r, *s) if e and r else a
                for a, e, r, s in zip(args, every, ranks, shapes, strict=True)
            ]
            return i.op.forward(*args, **params)
        if i.op is ops.matmul:
            a, b = args
            if every == [True, False] and len(shapes[0]) == 2 == len(shapes[1]):
                rows = a.shape[0] * a.shape[1]
                y = np.empty(
                    (*a.shape[:2], b.shape[-1]), p.types[i.outs[0]].dtype
                )  # it owns its memory
                self.product(a.reshape(rows, -1), b, out=y.reshape(rows, -1))
                return y
            if every == [True, False] and len(shapes[0]) == 1 and len(shapes[1]) == 2:
                return np.matmul(a, b)
            if min(len(s) for s in shapes) >= 2 and len({len(s) for s in shapes}) == 1:
                return np.matmul(a, b)
            return self._one_by_one(i)
        if i.op is ops.transpose:
            n = len(shapes[0])
            axes = params["axes"] or tuple(reversed(range(n)))
            return args[0].transpose(0, *[a % n + 1 for a in axes])
        if i.op is ops.reshape:
            return args[0].reshape(T, *out)
        if i.op is ops.broadcast_to:
            a = args[0].reshape(T, *(1,) * (len(out) - len(shapes[0])), *shapes[0])
            return np.broadcast_to(a, (T, *out))
        if i.op in (ops.concatenate, ops.split):
            params["axis"] = params["axis"] if params["axis"] < 0 else params["axis"] + 1
            args = [self.all(v) for v in i.ins]
            return i.op.forward(*args, **params)
        if i.op in (ops.sum, ops.mean) and shapes[0]:
            axes = _axes(params["axis"], len(shapes[0]))
            keep = params["keepdims"]
            return i.op.forward(args[0], axis=tuple([a + 1 for a in axes]), keepdims=keep)
        if i.op is ops.getitem and _basic(params["index"]):
            return args[0][_after_time(params["index"])]
        return self._one_by_one(i)

    def _one_by_one(self, i: Instr) -> Any:
        """Any primitive: step by step."""
        results = []
        for t in range(self.T):
            env = {
                v: self.arrays[v][t] if self.had[v] is ALL else self.arrays[v] for v in i.reads()
            }
            results.append(called(i, env))
        if len(i.outs) > 1:
            return tuple([self.np.stack(part) for part in zip(*results, strict=True)])
        return self.np.stack(results)


def _ids(i: Instr) -> Value | None:
    """The value that chooses whole rows in an index, if that is all that the index does."""
    index = i.param("index")
    parts = index if isinstance(index, tuple) else (index,)
    return parts[0] if len(parts) == 1 and type(parts[0]) is Value else None


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    given = range(ndim) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    return tuple([a % ndim for a in given])


def _basic(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is ... or type(part) in (int, slice) for part in parts)


def _after_time(index: Any) -> Any:
    return (slice(None), *(index if isinstance(index, tuple) else (index,)))
