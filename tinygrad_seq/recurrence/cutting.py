"""Cuts values into planes, and instructions into operations on planes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from .. import ops
from .passes import cuts_of
from .plan import Input, Op, Operand, Plane, is_row
from .program import FULL, SAME, Instr, Program, Shape, Value, substituted

FOLDS = (ops.sum, ops.mean, ops.max)

FINEST = 16
"""A value is cut into so many planes at most, as by slices that overlap."""


class Cutter:
    """Cuts values into planes, and instructions into operations on planes."""

    def __init__(
        self, p: Program, lead: Shape, places: dict[str, list[Instr]], where: dict[Value, str]
    ) -> None:
        self.p, self.lead, self.where = p, lead, where
        self.made = p.made()
        self.loop = [*places["forward"], *places["backward"]]
        self.planes: dict[Value, list[Any]] = {}
        self.inputs: dict[Plane, Input] = {}
        self.uncut: dict[Value, Value] = {}
        self.count = 0
        self.kinds = {i.outs[0]: self._kind(i) for i in self.loop}
        self.cuts = self._cuts()
        fine = {v for v, cuts in self.cuts.items() if len(cuts) > FINEST + 1}
        if fine:  # one call of a primitive costs less than a map of each column
            for i in self.loop:
                if self.kinds[i.outs[0]] == "structure" and not fine.isdisjoint(
                    (*i.reads(), *i.outs)
                ):
                    self.kinds[i.outs[0]] = "call"
            self.cuts = self._cuts()

    # -- where values are cut -------------------------------------------------------------------

    def _kind(self, i: Instr) -> str:
        p, out = self.p, i.outs[0]
        shapes = [p.shape(v) for v in i.reads()]
        row = is_row(p.shape(out), self.lead)
        if i.op.elementwise and len(i.outs) == 1 and row and not i.params:
            dtypes = {p.types[v].dtype.kind for v in (*i.reads(), out)}
            return "map" if dtypes <= set("fb") else "call"
        if i.op is SAME:
            return "map" if row else "call"
        if i.op is ops.matmul:
            a, b = i.ins
            values = type(a) is Value and type(b) is Value
            if not values or self.where.get(b) != "once" or len(p.shape(b)) != 2:
                return "call"
            return "dot" if is_row(p.shape(a), self.lead) else "call"
        if i.op in FOLDS and is_row(shapes[0], self.lead) and row:
            axis, n = i.param("axis"), len(shapes[0])
            axes = axis if isinstance(axis, tuple) else (axis,)
            fold = i.param("keepdims") and [a % n for a in axes if a is not None] == [n - 1]
            return "fold" if fold else "call"
        return "call" if self._parts(i) is None else "structure"

    def _parts(self, i: Instr) -> list[tuple[Value, int, int, Value]] | None:
        """(whole, low, high, piece) of what only renames columns of rows; None for all others.

        A column that is broadcast is no piece: it stands for all columns of the result.
        """
        p, out = self.p, i.outs[0]
        if not i.ins or not all(type(v) is Value for v in i.ins):
            return None
        whole = out if i.op in (ops.concatenate, ops.index.scatter_add) else i.ins[0]
        if not is_row(p.shape(whole), self.lead):
            return None
        if i.op is ops.broadcast_to:
            return [] if is_row(p.shape(out), self.lead) and p.width(whole) == 1 else None
        if i.op in (ops.split, ops.concatenate):
            parts = i.outs if i.op is ops.split else i.ins
            if i.param("axis") % len(p.shape(whole)) != len(self.lead):
                return None
            spans = zip(parts, pairwise(cuts_of(p, parts)), strict=True)
            return [(whole, low, high, v) for v, (low, high) in spans]
        if i.op in (ops.getitem, ops.index.scatter_add):
            part = i.ins[0] if whole == out else out
            columns = _picked(i.param("index"), p.shape(whole), p.shape(part))
            return [(whole, *columns, part)] if columns else None
        return None

    def _cuts(self) -> dict[Value, set[int]]:
        """Where each value is cut, so that all operands of a map are cut alike.

        A cut spreads from the result of a map to its operands and back, from a value to its
        pieces, and from a step to the next, until nothing is cut anew: at each column at the
        latest.
        """
        p = self.p
        met = {v for i in self.loop for v in (*i.reads(), *i.outs)}
        met |= {p.y, *p.after, *p.states, *[v for v in p.gstates if v is not None]}
        met |= {v for v in (p.gy, *p.gafter) if v is not None}
        cuts = {v: {0, self.p.width(v)} for v in met}
        changed = True

        def join(v: Value, points: Iterable[int]) -> None:
            nonlocal changed
            if not cuts[v].issuperset(points):
                cuts[v].update(points)
                changed = True

        def shift(v: Value, low: int, high: int, w: Value) -> None:
            """v's columns from low to high are w."""
            join(v, [low + k for k in cuts[w]])
            join(w, [k - low for k in cuts[v] if low <= k <= high])

        pairs = [*zip(p.after, p.states, strict=True)]
        pairs += [(g, s) for g, s in zip(p.gafter, p.states, strict=True) if g is not None]
        pairs += [(g, s) for g, s in zip(p.gstates, p.states, strict=True) if g is not None]
        pairs += [(p.gy, p.y)] if p.gy is not None else []
        while changed:
            changed = False
            for i in self.loop:
                kind, out = self.kinds[i.outs[0]], i.outs[0]
                if kind == "map":
                    same = [v for v in (*i.reads(), out) if p.width(v) == p.width(out) > 1]
                    points = set[int]().union(*[cuts[v] for v in same])
                    for v in same:
                        join(v, points)
                elif kind == "structure":
                    for v, low, high, w in self._parts(i) or ():
                        shift(v, low, high, w)
            for a, b in pairs:
                join(a, cuts[b])
                join(b, cuts[a])
        return cuts

    # -- planes ---------------------------------------------------------------------------------

    def columns(self, v: Value) -> list[tuple[int, int]]:
        """The columns of the planes of a value."""
        return [*pairwise(sorted(self.cuts[v]))] if self.p.width(v) else [(0, 0)]

    def widths(self, v: Value) -> list[int]:
        """The number of columns of each plane of a value."""
        return [high - low for low, high in self.columns(v)]

    def fresh(self, shape: Shape, dtype: Any) -> Plane:
        """A new plane."""
        self.count += 1
        return Plane(self.count - 1, shape, dtype)

    def of(self, v: Value) -> list[Any]:
        """The planes of a value; they are inputs if no loop makes the value."""
        if v in self.planes:
            return self.planes[v]
        by, (shape, dtype) = self.made.get(v), self.p.types[v]
        if by is not None and by.op is FULL:
            self.planes[v] = [by.param("value") for _ in self.columns(v)]
            return self.planes[v]
        self.planes[v] = []
        for low, high in self.columns(v):
            plane = self.fresh((*shape[:-1], high - low) if shape else (), dtype)
            self.planes[v].append(plane)
            self.inputs[plane] = Input(v, low, high)
        return self.planes[v]

    def pieces(self, v: Value) -> list[tuple[Any, int, int]]:
        """The planes of a value, each with its first column and the one after its last."""
        return [(q, a, b) for q, (a, b) in zip(self.of(v), self.columns(v), strict=True)]

    def outputs(self) -> None:
        """Planes for everything that enters or leaves the loops."""
        p = self.p
        for v in (*p.states, *p.after, p.y, p.gy, *p.gafter, *p.gstates):
            if v is not None:
                self.of(v)

    def lowered(self, code: list[Instr], results: Iterable[Value] = ()) -> list[Op]:
        """The operations of a loop for these instructions; all columns of results are written."""
        found: list[Op] = []
        for i in code:
            kind, out = self.kinds[i.outs[0]], i.outs[0]
            if kind == "structure":
                self._named(i)
            elif kind == "map":
                self.planes[out] = [*self._mapped(i, found)]
            elif kind in ("dot", "fold"):
                shape, dtype = self.p.types[out]
                whole = self.columns(out) if kind == "dot" else [(0, 1)]
                outs = tuple([self.fresh((*shape[:-1], b - a), dtype) for a, b in whole])
                self.planes[out] = [*outs]
                left = self.of(i.ins[0]) if kind == "dot" else self._summands(i, found)
                found.append(Op(kind, i.op, tuple(left), outs, i))
            else:
                i = substituted(i, self._uncut)
                for o in i.outs:
                    shape, dtype = self.p.types[o]
                    if not is_row(shape, self.lead):
                        self.cuts[o] = {0, self.p.width(o)}
                    self.planes[o] = [
                        self.fresh((*shape[:-1], high - low) if shape else (), dtype)
                        for low, high in self.columns(o)
                    ]
                outs = tuple([q for o in i.outs for q in self.planes[o]])
                ins = tuple([q for v in i.reads() for q in self.of(v)])
                found.append(Op("call", i.op, ins, outs, i))
        for v in results:
            for k, q in enumerate(self.of(v)):
                if not isinstance(q, Plane):
                    (low, high), (shape, dtype) = self.columns(v)[k], self.p.types[v]
                    plane = self.fresh((*shape[:-1], high - low), dtype)
                    found.append(Op("map", SAME, (q,), (plane,), self.made[v]))
                    self.planes[v] = [*self.planes[v][:k], plane, *self.planes[v][k + 1 :]]
        return found

    def _uncut(self, v: Value) -> Value:
        """A value that a call reads whole: if it is cut and no loop makes it, by another number."""
        if self.where.get(v) not in ("once", "before") or len(self.of(v)) == 1:
            return v
        if v not in self.uncut:
            w = self.uncut[v] = Value(1 + max(self.p.types))
            self.p.types[w], self.where[w] = self.p.types[v], self.where[v]
            self.cuts[w] = {0, self.p.width(v)}
        return self.uncut[v]

    def _summands(self, i: Instr, found: list[Op]) -> list[Any]:
        """The planes that a fold reads; in a sum, a column that is used twice counts twice."""
        v = i.ins[0]
        shape, dtype = self.p.types[v]
        ins = []
        for q, low, high in self.pieces(v):
            if not isinstance(q, Plane) or (q.width < high - low and i.op is not ops.max):
                many = (q, 1 if i.op is ops.max else high - low)
                q = self.fresh((*shape[:-1], 1), dtype)
                found.append(Op("map", ops.multiply, many, (q,), i))
            ins.append(q)
        return ins

    def _mapped(self, i: Instr, found: list[Op]) -> Iterable[Operand]:
        out = i.outs[0]
        shape, dtype = self.p.types[out]
        for k, (low, high) in enumerate(self.columns(out)):
            ins = tuple([self._piece(v, k, self.p.width(out)) for v in i.ins])
            known = _known(i.op, ins)
            if known is not None and out not in self.p.after and out not in self.p.gstates:
                yield known
                continue
            plane = self.fresh((*shape[:-1], high - low), dtype)
            found.append(Op("map", i.op, ins, (plane,), i))
            yield plane

    def _piece(self, v: Any, k: int, width: int) -> Operand:
        if type(v) is not Value:
            return v  # type: ignore[no-any-return]
        planes = self.of(v)
        return planes[k] if self.p.width(v) == width else planes[0]  # type: ignore[no-any-return]

    def _named(self, i: Instr) -> None:
        """The planes of a structure instruction's results, taken from its operands."""
        out, parts = i.outs[0], self._parts(i) or []
        if not parts:  # a column that is broadcast
            self.planes[out] = self.of(i.ins[0]) * len(self.columns(out))
        elif parts[0][0] == out:
            inner = [(low, *piece) for _, low, _, v in parts for piece in self.pieces(v)]
            at = {low + start: q for low, q, start, _ in inner}
            if i.op is ops.index.scatter_add:  # zeros beside the piece
                at = {low: 0.0 for low, _ in self.columns(out)} | at
            self.planes[out] = [at[low] for low, _ in self.columns(out)]
        else:
            for v, low, high, w in parts:
                self.planes[w] = [q for q, a, b in self.pieces(v) if low <= a and b <= high]


def _picked(index: Any, big: Shape, small: Shape) -> tuple[int, int] | None:
    """The columns (low, high) that an index picks from rows; None if it is another index."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if any(type(part) is not slice and part is not ... for part in parts):
        return None
    if ... in parts:
        k = parts.index(...)
        parts[k : k + 1] = [slice(None)] * (len(big) - len(parts) + 1)
    parts += [slice(None)] * (len(big) - len(parts))
    spans = [part.indices(n) for part, n in zip(parts, big, strict=True)]
    if any(span != (0, n, 1) for span, n in zip(spans[:-1], big[:-1], strict=True)):
        return None
    low, high, step = spans[-1]
    return (low, high) if step == 1 and high - low == small[-1] > 0 else None


def _known(op: Any, ins: Sequence[Operand]) -> Operand | None:
    """The result of a map that computes nothing, such as a sum with the zeros of a slice."""
    if op not in (ops.add, ops.subtract, ops.multiply, ops.negative):
        return None
    numbers = [not isinstance(v, Plane) for v in ins]
    if all(numbers):
        return float(op.forward(*ins))
    zero = [n and v == 0 for n, v in zip(numbers, ins, strict=True)]
    if op is ops.multiply:
        return 0.0 if any(zero) else None
    if op is ops.add and any(zero):
        return ins[1] if zero[0] else ins[0]
    return ins[0] if op is ops.subtract and zero[1] else None
