"""Operations on rows, such as softmax, as maps and folds, which every compiled loop has.

A loop of NumPy's calls computes them by their own primitives, which are fewer calls. One number for
each sequence, ``(N,)``, becomes a row of one column.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy

from .. import ops
from .batch import axes_of
from .cutting import FOLDS
from .passes import lead_of, reads
from .plan import is_row
from .program import Builder, Instr, Program, Shape, Value


def rowwise(p: Program) -> Program:
    """The program with such operations along the last axis of rows written out."""
    w, lead, found = _Writer(p), lead_of(p), reads(p)
    for i in p.code:
        params, (out, *_) = dict(i.params), i.outs
        numbers = lead != () and all(p.shape(v) in (lead, ()) for v in i.reads())
        if i.op in WRITTEN and _along_rows(p, i, lead):
            del params["axis"]
            keeps = params.pop("keepdims", True)
            if i.op in FOLDS and keeps:
                w.code.append(i)
            else:
                w.reshape(WRITTEN[i.op](w, i.ins[0], **params), out)
        elif i.op.elementwise and not params and numbers and p.shape(out) == lead and found[out]:
            columns = [w.column(v, lead) if type(v) is Value else v for v in i.ins]
            w.reshape(w.map(i.op, *columns, dtype=p.types[out].dtype), out)
        else:
            w.code.append(i)
    return p._replace(code=tuple(w.code), types=w.b.types)


def _along_rows(p: Program, i: Instr, lead: Shape) -> bool:
    shape = p.shape(i.ins[0])
    return is_row(shape, lead) and axes_of(i.param("axis"), len(shape)) == (len(shape) - 1,)


class _Writer:
    """Writes instructions on rows.

    Attributes:
        b: Makes new values.
        code: The instructions so far.
    """

    def __init__(self, p: Program) -> None:
        self.b, self.code = Builder(p), list[Instr]()

    def map(self, op: Any, *ins: Any, dtype: Any = None) -> Value:
        """An elementwise primitive, of the dtype of its first operand if none is given."""
        types = [self.b.types[v] for v in ins if type(v) is Value]
        shape = numpy.broadcast_shapes(*[t.shape for t in types])
        return self._add(op, ins, (), shape, dtype or types[0].dtype)

    def asks(self, op: Any, *ins: Any) -> Value:
        """A comparison, or an operation of conditions."""
        return self.map(op, *ins, dtype=numpy.dtype(bool))

    def fold(self, op: Any, x: Value) -> Value:
        """A reduction of each row to one number."""
        shape, dtype = self.b.types[x]
        params = (("axis", -1), ("keepdims", True))
        return self._add(op, (x,), params, (*shape[:-1], 1), dtype)

    def column(self, v: Value, lead: Shape) -> Value:
        """One number for each sequence as a row of one column."""
        shape, dtype = self.b.types[v]
        if shape != lead:
            return v
        return self._add(ops.reshape, (v,), (("shape", (*lead, 1)),), (*lead, 1), dtype)

    def reshape(self, v: Value, out: Value) -> None:
        """The last instruction for a result of the program."""
        shape = self.b.types[out].shape
        self.code.append(Instr(ops.reshape, (v,), (("shape", shape),), (out,)))

    def _add(self, op: Any, ins: Any, params: Any, shape: Any, dtype: Any) -> Value:
        v = self.b.fresh(shape, dtype)
        self.code.append(Instr(op, tuple(ins), params, (v,)))
        return v

    def width(self, x: Value) -> int:
        """The number of columns."""
        return self.b.types[x].shape[-1]


def _shifted(w: _Writer, x: Value, both: bool = False) -> tuple[Value, Value]:
    """x less its largest number, and that; 0 in place of -∞, and of ∞ too if ``both``."""
    top, dtype = w.fold(ops.max, x), w.b.types[x].dtype
    top = w.map(ops.where, w.asks(ops.equal, top, -math.inf), 0.0, top, dtype=dtype)
    if both:
        top = w.map(ops.where, w.asks(ops.equal, top, math.inf), 0.0, top, dtype=dtype)
    return w.map(ops.subtract, x, top), top


def _softmax(w: _Writer, x: Value) -> Value:
    y = w.map(ops.exp, _shifted(w, x)[0])
    return w.map(ops.divide, y, w.fold(ops.sum, y))


def _log_softmax(w: _Writer, x: Value) -> Value:
    z, _ = _shifted(w, x)
    return w.map(ops.subtract, z, w.map(ops.log, w.fold(ops.sum, w.map(ops.exp, z))))


def _logsumexp(w: _Writer, x: Value) -> Value:
    z, top = _shifted(w, x, both=True)
    return w.map(ops.add, w.map(ops.log, w.fold(ops.sum, w.map(ops.exp, z))), top)


def _var(w: _Writer, x: Value, ddof: float) -> Value:
    centred = w.map(ops.subtract, x, w.fold(ops.mean, x))
    total = w.fold(ops.sum, w.map(ops.square, centred))
    return w.map(ops.divide, total, w.width(x) - ddof)


def _scaled(w: _Writer, size: Value) -> tuple[Value, Value]:
    """Absolute values over their largest, and that, or 1: so that powers do not overflow."""
    top = w.fold(ops.max, size)
    safe = w.asks(ops.bitwise_and, w.asks(ops.greater, top, 0.0), w.asks(ops.less, top, math.inf))
    top = w.map(ops.where, safe, top, 1.0, dtype=w.b.types[size].dtype)
    return w.map(ops.divide, size, top), top


def _std(w: _Writer, x: Value, ddof: float) -> Value:
    centred = w.map(ops.subtract, x, w.fold(ops.mean, x))
    z, top = _scaled(w, w.map(ops.absolute, centred))
    total = w.map(ops.divide, w.fold(ops.sum, w.map(ops.square, z)), w.width(x) - ddof)
    return w.map(ops.multiply, w.map(ops.sqrt, total), top)


def _vector_norm(w: _Writer, x: Value, ord: float) -> Value:
    z, top = _scaled(w, w.map(ops.absolute, x))
    total = w.fold(ops.sum, w.map(ops.power, z, ord))
    return w.map(ops.multiply, w.map(ops.power, total, 1 / ord), top)


WRITTEN: dict[Any, Callable[..., Value]] = {
    ops.softmax: _softmax,
    ops.log_softmax: _log_softmax,
    ops.logsumexp: _logsumexp,
    ops.var: _var,
    ops.std: _std,
    ops.reduce.vector_norm: _vector_norm,
    ops.sum: lambda w, x: w.fold(ops.sum, x),
    ops.mean: lambda w, x: w.fold(ops.mean, x),
    ops.max: lambda w, x: w.fold(ops.max, x),
}
"""By primitive; parameters other than axis and keepdims are passed on."""
