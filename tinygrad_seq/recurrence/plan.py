"""From one step to a scan: what is done once, before, in and after the loop over time.

Every value is placed by what it reads. Parameters alone: once for a pass. The input: before the
loop, for all steps together. The state: in the loop. What only leads to the gradient of a
parameter or of the input: after the loop, for all steps together.

In the loops a value ``(N, W)`` is cut into *planes* ``(N, w)``, the pieces that split, slices and
concatenate make of it. These then compute nothing: what remains are maps (element by element on
planes), folds (sums over a row), dots (products with a weight), and calls (any other primitive, on
whole values). A loop is a list of stages, each some maps and then some dots that need them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

from .. import ops
from .passes import ancestors, cuts_of, reads, simplified
from .program import FULL, SAME, Builder, Instr, Program, Shape, Value, substituted

COSTLY = {
    ops.tanh, ops.sigmoid, ops.exp, ops.log, ops.sqrt, ops.power, ops.softplus, ops.sin, ops.cos,
    ops.expm1, ops.log1p, ops.erf, ops.gelu, ops.silu, ops.elu,
}  # fmt: skip
"""Maps that are kept for the backward rather than computed again."""

VIEWS = {ops.reshape, ops.transpose, ops.broadcast_to}
"""Calls that compute nothing: they are done again rather than kept."""


class Plane(NamedTuple):
    """A piece of a value, of consecutive columns; or a whole value of any shape.

    Attributes:
        id: Its number.
        shape: Of one step.
        dtype: Of its elements.
    """

    id: int
    shape: Shape
    dtype: Any

    @property
    def width(self) -> int:
        """How many columns."""
        return self.shape[-1] if self.shape else 1

    def __repr__(self) -> str:
        return f"p{self.id}"


Operand: TypeAlias = Plane | float
"""A plane, or a number that stands for a plane of equal numbers."""


class Op(NamedTuple):
    """What a loop does.

    Attributes:
        kind: ``"map"``, ``"fold"``, ``"dot"`` or ``"call"``.
        op: The primitive.
        ins, outs: Planes and numbers. Of a dot: the planes of its left side, and of its result.
        instr: The instruction it comes from.
    """

    kind: str
    op: Any
    ins: tuple[Any, ...]
    outs: tuple[Plane, ...]
    instr: Instr


class Stage(NamedTuple):
    """Maps, folds and calls, then the dots that read them."""

    maps: list[Op]
    dots: list[Op]


LARGE = 4
"""A step on arrays so many times larger than its rows takes its time there, loop or no loop."""


class Input(NamedTuple):
    """Where a plane that no loop makes comes from: columns of a value."""

    value: Value
    low: int
    high: int


class Row(NamedTuple):
    """A value of a loop that lies in one piece.

    Attributes:
        way: The loop that makes it.
        host: The value whose columns it is, perhaps itself.
        low: Its first column in the host.
        kept: Whether the host is kept for all steps.
    """

    way: str
    host: Value
    low: int
    kept: bool


class Plan(NamedTuple):
    """A program, placed and cut.

    Attributes:
        program: The simplified step and its derivative.
        lead: The leading axes of rows: ``(N,)``, or ``()`` for one sequence.
        once, before, after: Instructions outside of the loops.
        forward, backward: The loops.
        planes: The planes of each value that a loop meets, in the order of its columns.
        columns: The first and the last column, plus one, of each of these planes.
        inputs: What the planes are that no loop makes.
        saved: Planes of the forward that the backward reads.
        rows: Values of the loops that lie in one piece ``(N, W)``: left sides of products, operands
            of calls, what is read after the loop.
        where: The place of every value.
    """

    program: Program
    lead: Shape
    once: list[Instr]
    before: list[Instr]
    after: list[Instr]
    forward: list[Stage]
    backward: list[Stage]
    planes: dict[Value, list[Any]]
    columns: dict[Value, list[tuple[int, int]]]
    inputs: dict[Plane, Input]
    saved: list[Plane]
    rows: dict[Value, Row]
    where: dict[Value, str]

    def loop(self, way: str) -> list[Stage]:
        """The stages of the ``"forward"`` or the ``"backward"``."""
        return self.forward if way == "forward" else self.backward

    def ops(self, way: str) -> list[Op]:
        """All that a loop does, in order."""
        return [o for stage in self.loop(way) for o in (*stage.maps, *stage.dots)]

    def read_backward(self) -> set[Value]:
        """The values that the backward loop reads and no loop makes."""
        planes = {q for o in self.ops("backward") for q in o.ins if isinstance(q, Plane)}
        rows = [v for v, row in self.rows.items() if row.way == "backward"]
        planes |= {q for v in rows for q in self.planes[v] if isinstance(q, Plane)}
        return {self.inputs[q].value for q in planes if q in self.inputs}

    def plain(self) -> bool:
        """Whether all in the loops is maps, folds and dots on planes of rows, of one dtype."""
        p = self.program
        parts = (*p.states, *p.after, p.y)
        dtypes = {p.types[v].dtype for v in parts}
        return (
            len(dtypes) == 1
            and all(_is_row(p.shape(v), self.lead) for v in parts)
            and all(o.kind != "call" for way in ("forward", "backward") for o in self.ops(way))
        )

    def large(self) -> bool:
        """Whether a step calls primitives on arrays much larger than its rows and its state."""
        types, loops = self.program.types, [*self.ops("forward"), *self.ops("backward")]
        small = [math.prod(q.shape) for o in loops if o.kind != "call" for q in o.outs]
        small += [math.prod(types[v].shape) for v in self.program.states]
        called = [
            math.prod(types[v].shape) for o in loops if o.kind == "call" for v in o.instr.outs
        ]
        return max(called, default=0) > LARGE * max(small)


def planned(p: Program) -> Plan:
    """The plan of a step and its derivative."""
    p = simplified(p)
    lead = next((p.shape(v)[:-1] for v in p.states if p.shape(v)), ())
    p, places = _placed(p)
    where = {o: place for place, code in places.items() for i in code for o in i.outs}
    where |= dict.fromkeys(p.free, "once") | dict.fromkeys(p.xs, "before")
    where |= dict.fromkeys(p.states, "state")
    where |= {v: "gradient" for v in (p.gy, *p.gafter) if v is not None}
    cutter = _Cutter(p, lead, places, where)
    forward, backward = cutter.lowered(places["forward"]), cutter.lowered(places["backward"])
    cutter.outputs()
    rows = _rows(p, places["after"], where, cutter, [*forward, *backward])
    again, saved = _remembered(p, where, cutter, forward, backward, rows)
    return Plan(
        p, lead, places["once"], places["before"], places["after"], _staged(forward),
        _staged([*again, *backward]), cutter.planes,
        {v: cutter.segments(v) for v in cutter.planes}, cutter.inputs, saved, rows, where,
    )  # fmt: skip


def _placed(p: Program) -> tuple[Program, dict[str, list[Instr]]]:
    """The instructions by place, of the program with what had to be added to it."""
    found = reads(p)
    forward, backward = ancestors(p, (p.y, *p.after)), ancestors(p, p.gstates)
    places: dict[str, list[Instr]] = {
        name: [] for name in ("once", "before", "forward", "backward", "after")
    }
    for i in p.code:
        letters, outs = found[i.outs[0]], set(i.outs)
        if outs & forward:
            place = "forward" if "s" in letters or outs.intersection(p.after) else "before"
        elif outs & backward:
            own = outs.intersection([v for v in p.gstates if v is not None])
            place = "backward" if letters & {"s", "g"} or own else "before"
        else:
            place = "after"
        if not letters and place in ("before", "after"):
            place = "once"
        places[place].append(i)
    made_in = {o for name in ("forward", "backward") for i in places[name] for o in i.outs}
    for i in [i for i in places["after"] if i.op is ops.concatenate]:
        if made_in.issuperset(i.ins) and i.param("axis") in (-1, len(p.shape(i.outs[0])) - 1):
            places["after"].remove(i)  # its parts are laid side by side as they are made
            places["backward"].append(i)
            made_in.update(i.outs)
    return _with_gradients(p, places)


def _with_gradients(
    p: Program, places: dict[str, list[Instr]]
) -> tuple[Program, dict[str, list[Instr]]]:
    """Gradients of the state that are read after the loop are copied in it, for every step."""
    late = {v for i in places["after"] for v in i.reads()} | {*p.gxs, *p.gfree}
    b, alias = Builder(p), dict[Value, Value]()
    for v in p.gafter:
        if v is not None and v in late:
            alias[v] = b.fresh(*p.types[v])
            places["backward"].append(Instr(SAME, (v,), (), (alias[v],)))

    def at(v: Any) -> Any:
        return alias.get(v, v)

    places["after"] = [substituted(i, at) for i in places["after"]]
    code = tuple([i for part in places.values() for i in part])
    gxs, gfree = tuple(map(at, p.gxs)), tuple(map(at, p.gfree))
    return p._replace(code=code, types=b.types, gxs=gxs, gfree=gfree), places


def _is_row(shape: Shape, lead: Shape) -> bool:
    return len(shape) == len(lead) + 1 and shape[:-1] == lead


class _Cutter:
    """Cuts values into planes, and instructions into what the loops do with planes."""

    def __init__(
        self, p: Program, lead: Shape, places: dict[str, list[Instr]], where: dict[Value, str]
    ) -> None:
        self.p, self.lead, self.where = p, lead, where
        self.made = p.made()
        self.loop = [*places["forward"], *places["backward"]]
        self.planes: dict[Value, list[Any]] = {}
        self.inputs: dict[Plane, Input] = {}
        self.count = 0
        self.kinds = {i.outs[0]: self._kind(i) for i in self.loop}
        self.cuts = self._cuts()

    # -- where values are cut -------------------------------------------------------------------

    def _kind(self, i: Instr) -> str:
        p, out = self.p, i.outs[0]
        shapes = [p.shape(v) for v in i.reads()]
        row = _is_row(p.shape(out), self.lead)
        if i.op.elementwise and len(i.outs) == 1 and row and not i.params:
            one = all(self._spreads(s, p.shape(out)) for s in shapes)
            dtypes = {p.types[v].dtype.kind for v in (*i.reads(), out)}
            return "map" if one and dtypes <= set("fb") else "call"
        if i.op is SAME:
            return "map" if row else "call"
        if i.op is ops.matmul:
            a, b = i.ins
            values = type(a) is Value and type(b) is Value
            if not values or self.where.get(b) != "once" or len(p.shape(b)) != 2:
                return "call"
            return "dot" if _is_row(p.shape(a), self.lead) else "call"
        if i.op in (ops.sum, ops.mean) and _is_row(shapes[0], self.lead) and row:
            axis, n = i.param("axis"), len(shapes[0])
            axes = axis if isinstance(axis, tuple) else (axis,)
            fold = i.param("keepdims") and [a % n for a in axes if a is not None] == [n - 1]
            return "fold" if fold else "call"
        return self._structure(i, shapes)

    def _spreads(self, shape: Shape, out: Shape) -> bool:
        """Whether an operand is one of rows: their shape, a number a row, or one row for all."""
        return shape in (out, (*self.lead, 1)) or all(n == 1 for n in shape[:-1])

    def _structure(self, i: Instr, shapes: list[Shape]) -> str:
        """``"structure"`` for what only names columns anew."""
        p, n = self.p, len(self.lead) + 1
        big = p.shape(i.outs[0]) if i.op is ops.concatenate else shapes[0] if shapes else ()
        if i.op is ops.index.scatter_add:
            big = p.shape(i.outs[0])
        if not _is_row(big, self.lead) or not all(type(v) is Value for v in i.ins):
            return "call"
        if i.op in (ops.split, ops.concatenate):
            return "structure" if i.param("axis") % n == n - 1 else "call"
        if i.op in (ops.getitem, ops.index.scatter_add):
            small = p.shape(i.outs[0]) if i.op is ops.getitem else shapes[0]
            return "structure" if _columns(i.param("index"), big, small) else "call"
        if i.op is ops.broadcast_to and _is_row(p.shape(i.outs[0]), self.lead):
            return "structure" if big[-1] == 1 else "call"
        return "call"

    def _cuts(self) -> dict[Value, set[int]]:
        """Where each value is cut, so that all operands of a map are cut alike."""
        p = self.p
        met = {v for i in self.loop for v in (*i.reads(), *i.outs)}
        met |= {p.y, *p.after, *p.states, *[v for v in p.gstates if v is not None]}
        met |= {v for v in (p.gy, *p.gafter) if v is not None}
        cuts = {v: {0, self._width(v)} for v in met}
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
                    same = [v for v in (*i.reads(), out) if self._width(v) == self._width(out) > 1]
                    points = set[int]().union(*[cuts[v] for v in same])
                    for v in same:
                        join(v, points)
                elif kind == "structure":
                    for v, low, high, w in self._pieces(i):
                        shift(v, low, high, w)
            for a, b in pairs:
                join(a, cuts[b])
                join(b, cuts[a])
        return cuts

    def _width(self, v: Value) -> int:
        shape = self.p.shape(v)
        return shape[-1] if shape else 1

    def _pieces(self, i: Instr) -> list[tuple[Value, int, int, Value]]:
        """(whole, low, high, piece) of what a structure instruction says."""
        p = self.p
        if i.op is ops.split:
            cuts = pairwise(cuts_of(p, i))
            return [(i.ins[0], a, b, o) for o, (a, b) in zip(i.outs, cuts, strict=True)]
        if i.op is ops.concatenate:
            found, low = [], 0
            for v in i.ins:
                found.append((i.outs[0], low, low + self._width(v), v))
                low += self._width(v)
            return found
        if i.op is ops.getitem:
            low, high = _columns(i.param("index"), p.shape(i.ins[0]), p.shape(i.outs[0])) or (0, 0)
            return [(i.ins[0], low, high, i.outs[0])]
        if i.op is ops.index.scatter_add:
            low, high = _columns(i.param("index"), p.shape(i.outs[0]), p.shape(i.ins[0])) or (0, 0)
            return [(i.outs[0], low, high, i.ins[0])]
        return []  # broadcast_to

    # -- planes ---------------------------------------------------------------------------------

    def segments(self, v: Value) -> list[tuple[int, int]]:
        """The columns of the planes of a value."""
        return [*pairwise(sorted(self.cuts[v]))] if self._width(v) else [(0, 0)]

    def widths(self, v: Value) -> list[int]:
        """How many columns each plane of a value fills."""
        return [high - low for low, high in self.segments(v)]

    def fresh(self, shape: Shape, dtype: Any) -> Plane:
        """A new plane."""
        self.count += 1
        return Plane(self.count - 1, shape, dtype)

    def of(self, v: Value) -> list[Any]:
        """The planes of a value; of one that no loop makes they are inputs."""
        if v in self.planes:
            return self.planes[v]
        by, (shape, dtype) = self.made.get(v), self.p.types[v]
        if by is not None and by.op is FULL:
            self.planes[v] = [by.param("value") for _ in self.segments(v)]
            return self.planes[v]
        self.planes[v] = []
        for low, high in self.segments(v):
            plane = self.fresh((*shape[:-1], high - low) if shape else (), dtype)
            self.planes[v].append(plane)
            self.inputs[plane] = Input(v, low, high)
        return self.planes[v]

    def _between(self, v: Value, low: int, high: int) -> list[Any]:
        pairs = zip(self.of(v), self.segments(v), strict=True)
        return [q for q, (a, b) in pairs if low <= a and b <= high]

    def outputs(self) -> None:
        """Planes for all that comes into the loops and goes out of them."""
        p = self.p
        for v in (*p.states, *p.after, p.y, p.gy, *p.gafter, *p.gstates):
            if v is not None:
                self.of(v)

    def lowered(self, code: list[Instr]) -> list[Op]:
        """What a loop does for these instructions."""
        found: list[Op] = []
        for i in code:
            kind, out = self.kinds[i.outs[0]], i.outs[0]
            if kind == "structure":
                self._named(i)
            elif kind == "map":
                self.planes[out] = [*self._mapped(i, found)]
            elif kind in ("dot", "fold"):
                shape, dtype = self.p.types[out]
                whole = self.segments(out) if kind == "dot" else [(0, 1)]
                outs = tuple([self.fresh((*shape[:-1], b - a), dtype) for a, b in whole])
                self.planes[out] = [*outs]
                left = self.of(i.ins[0]) if kind == "dot" else self._summands(i, found)
                found.append(Op(kind, i.op, tuple(left), outs, i))
            else:
                for o in i.outs:
                    shape, dtype = self.p.types[o]
                    if not _is_row(shape, self.lead):
                        self.cuts[o] = {0, self._width(o)}
                    self.planes[o] = [
                        self.fresh((*shape[:-1], high - low) if shape else (), dtype)
                        for low, high in self.segments(o)
                    ]
                outs = tuple([q for o in i.outs for q in self.planes[o]])
                ins = tuple([q for v in i.reads() for q in self.of(v)])
                found.append(Op("call", i.op, ins, outs, i))
        return found

    def _summands(self, i: Instr, found: list[Op]) -> list[Any]:
        """Planes whose sum over a row is the fold's: a column that stands for several counts so."""
        v = i.ins[0]
        shape, dtype = self.p.types[v]
        ins = []
        for q, (low, high) in zip(self.of(v), self.segments(v), strict=True):
            if not isinstance(q, Plane) or q.width < high - low:
                many, q = (q, high - low), self.fresh((*shape[:-1], 1), dtype)
                found.append(Op("map", ops.multiply, many, (q,), i))
            ins.append(q)
        return ins

    def _mapped(self, i: Instr, found: list[Op]) -> Iterable[Operand]:
        out = i.outs[0]
        shape, dtype = self.p.types[out]
        for k, (low, high) in enumerate(self.segments(out)):
            ins = tuple([self._piece(v, k, self._width(out)) for v in i.ins])
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
        return planes[k] if self._width(v) == width else planes[0]  # type: ignore[no-any-return]

    def _named(self, i: Instr) -> None:
        """The planes of the results of a structure instruction: those of its operand."""
        out = i.outs[0]
        if i.op is ops.split or i.op is ops.getitem:
            for v, low, high, w in self._pieces(i):
                self.planes[w] = self._between(v, low, high)
        elif i.op is ops.concatenate:
            self.planes[out] = [q for v in i.ins for q in self.of(v)]
        elif i.op is ops.index.scatter_add:
            ((_, low, high, v),) = self._pieces(i)
            inner = iter(self.of(v))
            self.planes[out] = [
                next(inner) if low <= a and b <= high else 0.0 for a, b in self.segments(out)
            ]
        else:
            self.planes[out] = self.of(i.ins[0]) * len(self.segments(out))


def _columns(index: Any, big: Shape, small: Shape) -> tuple[int, int] | None:
    """The columns (low, high) that an index picks of rows; None if it picks otherwise."""
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
    """The result of a map that computes nothing: sums and products with the zeros of slices."""
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


def _staged(loop: list[Op]) -> list[Stage]:
    """The stages of a loop: a dot as early as it can be, a map as late as its readers allow."""
    level: dict[Plane, int] = {}
    top = 0
    for o in loop:
        k = max([level.get(q, 0) for q in o.ins if isinstance(q, Plane)], default=0)
        k += o.kind == "dot"
        level.update(dict.fromkeys(o.outs, k))
        top = max(top, k)
    latest: dict[Plane, int] = {}
    for o in reversed(loop):
        k = level[o.outs[0]]
        if o.kind != "dot" and any(q in latest for q in o.outs):
            k = max(k, min([latest.get(q, top + 1) for q in o.outs]))
        for q in o.outs:
            level[q] = k
        for q in o.ins:
            if isinstance(q, Plane):
                latest[q] = min(latest.get(q, top + 1), k - (o.kind == "dot"))
    stages = [Stage([], []) for _ in range(top + 1)]
    for o in loop:
        k = level[o.outs[0]]
        if o.kind == "dot":
            stages[k - 1].dots.append(o)
        else:
            stages[k].maps.append(o)
    return stages


def _rows(
    p: Program, after: list[Instr], where: dict[Value, str], cutter: _Cutter, loop: list[Op]
) -> dict[Value, Row]:
    """Values that lie in one piece, and those of them that are kept for all steps."""
    given = {*p.after, p.y} if where[p.y] == "forward" else {*p.after}
    late = {v for i in after for v in i.reads()}
    late |= {v for v in (*p.gxs, *p.gfree) if v is not None}
    inside = ("forward", "backward")
    kept = {v for v in late if where[v] in inside and v not in given}
    whole = set(kept)
    for o in loop:
        if o.kind in ("dot", "call"):
            left = [o.instr.ins[0]] if o.kind == "dot" else o.instr.reads()
            several = [v for v in left if o.kind == "dot" or len(cutter.of(v)) > 1]
            whole.update([v for v in several if where[v] in inside and v not in given])
    rows: dict[Value, Row] = {}
    hosts: list[Value] = []
    laid = {v: [*zip(cutter.of(v), cutter.widths(v), strict=True)] for v in whole}
    for v in sorted(whole, key=lambda v: (-len(laid[v]), v)):
        for host in hosts:
            at = _found(laid[v], laid[host]) if where[host] == where[v] else None
            if at is not None:
                low = sum(cutter.widths(host)[:at])
                rows[v] = Row(where[v], host, low, False)
                break
        else:
            hosts.append(v)
            rows[v] = Row(where[v], v, 0, False)
    keeping = {rows[v].host for v in kept}
    return {v: row._replace(kept=row.host in keeping) for v, row in rows.items()}


def _found(part: list[Any], whole: list[Any]) -> int | None:
    """Where ``part`` stands in ``whole``, one after the other; numbers are like no other."""
    if not all(isinstance(q, Plane) for q, _ in part):
        return None
    starts = range(len(whole) - len(part) + 1)
    return next((k for k in starts if whole[k : k + len(part)] == part), None)


def _remembered(
    p: Program,
    where: dict[Value, str],
    cutter: _Cutter,
    forward: list[Op],
    backward: list[Op],
    rows: dict[Value, Row],
) -> tuple[list[Op], list[Plane]]:
    """What the backward computes again of the forward, and the planes that are saved for it."""
    made = {q: o for o in forward for q in o.outs}
    held = {q for v in (*p.states, *p.after) for q in cutter.of(v) if isinstance(q, Plane)}
    if where[p.y] == "forward":
        held |= {q for q in cutter.of(p.y) if isinstance(q, Plane)}
    have = set(held)
    for v, row in rows.items():
        if row.way == "forward" and row.kept:
            have |= {q for q in cutter.of(v) if isinstance(q, Plane)}
    # what can be had from what is kept: saved itself, or from such by maps that cost little
    at_hand: dict[Any, bool] = dict.fromkeys(have, True)
    for o in forward:  # operands stand before results
        for q in o.outs:
            at_hand[q] = q in have or (
                o.kind != "dot"
                and (
                    o.op in COSTLY or o.kind in ("fold", "call") or _from(o, at_hand, cutter, where)
                )
            )
    saved: list[Plane] = []
    again: list[Op] = []

    def need(q: Any) -> None:
        if not isinstance(q, Plane) or q in have or q not in made:
            return
        o = made[q]
        have.update(o.outs)
        if o.op in COSTLY:
            cheap = all(u in held or not isinstance(u, Plane) for u in o.ins)
        elif o.kind == "map" or o.op in VIEWS:
            cheap = _from(o, at_hand, cutter, where)
        else:
            cheap = False
        if not cheap:
            saved.extend(o.outs)
            return
        for u in o.ins:
            need(u)
        again.append(o)

    for o in backward:
        for q in o.ins:
            need(q)
    for v, row in rows.items():
        if row.way == "backward":
            for q in cutter.of(v):
                need(q)
    return again, saved


def _from(o: Op, at_hand: dict[Any, bool], cutter: _Cutter, where: dict[Value, str]) -> bool:
    """Whether all operands are at hand in the backward; inputs of all steps are not kept for it."""
    for q in o.ins:
        if isinstance(q, Plane):
            known = cutter.inputs.get(q)
            if not at_hand.get(q, True) or (known and where[known.value] == "before"):
                return False
    return True
