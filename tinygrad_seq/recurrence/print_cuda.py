"""A loop over time as launches on a GPU: products, and one kernel for each cluster of maps.

A *cluster* is all maps of one width that can be done between the same products. Its kernel has one
thread for each element: thread i is row r, column c of every plane. Arrays hold rows ``(N, W)``; a
plane is addressed by the width of its rows and its first column. Sums over a row are reductions
between kernels.

Padding is in the kernels: at a step that is not read a state stays, its gradient passes, and all
else that is written is 0; so products of such rows are 0 too.

The gradient of a state may end as a sum with the last products of a step. It is then left in parts,
the products and what is beside them, and the first kernel of the next step adds them up.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .. import ops
from ..backend import Source
from .plan import Op, Plan, Plane
from .program import SAME, Instr, Value

SQUASH = "(T)0.5 * tanh((T)0.5 * {0}) + (T)0.5"
BELOW_1 = "log1p(exp(-fabs({0})))"

TEMPLATES: dict[Any, str] = {
    SAME: "{0}",
    ops.add: "{0} + {1}",
    ops.subtract: "{0} - {1}",
    ops.multiply: "{0} * {1}",
    ops.divide: "{0} / {1}",
    ops.quotient: "{0} == 0 && {1} == 0 ? (T)0 : {0} / {1}",
    ops.negative: "-{0}",
    ops.where: "{0} ? {1} : {2}",
    ops.power: "pow({0}, {1})",
    ops.square: "{0} * {0}",
    ops.sign: "{0} > 0 ? (T)1 : {0} < 0 ? (T)-1 : {0}",
    ops.absolute: "fabs({0})",
    ops.maximum: "{0} > {1} || {0} != {0} ? {0} : {1}",
    ops.minimum: "{0} < {1} || {0} != {0} ? {0} : {1}",
    ops.logaddexp: "{0} == {1} ? {0} + (T)0.6931471805599453 : "
    "({0} > {1} ? {0} : {1}) + log1p(exp(-fabs({0} - {1})))",
    ops.sigmoid: SQUASH,
    ops.silu: f"{{0}} * ({SQUASH})",
    ops.relu: "{0} > 0 || {0} != {0} ? {0} : (T)0",
    ops.leaky_relu: "{0} > 0 ? {0} : (T)0.01 * {0}",
    ops.elu: "{0} > 0 ? {0} : expm1({0})",
    ops.softplus: f"({{0}} > 0 ? {{0}} : (T)0) + {BELOW_1}",
    ops.gelu: "{0} * ((T)0.5 + (T)0.5 * erf({0} * (T)0.7071067811865476))",
    ops.equal: "{0} == {1}",
    ops.not_equal: "{0} != {1}",
    ops.less: "{0} < {1}",
    ops.less_equal: "{0} <= {1}",
    ops.greater: "{0} > {1}",
    ops.greater_equal: "{0} >= {1}",
    ops.logical_and: "{0} && {1}",
    ops.logical_or: "{0} || {1}",
    ops.logical_xor: "!{0} != !{1}",
    ops.logical_not: "!{0}",
    ops.isnan: "{0} != {0}",
}
"""How a map is written in C; operands are names and numbers, σ is the tanh that does not overflow."""

_SAME_NAME = "tanh exp exp2 expm1 log log2 log10 log1p sqrt sin cos tan sinh cosh floor ceil erf"
_ARCS = "sin cos tan sinh cosh tanh"
TEMPLATES |= {getattr(ops, name): f"{name}({{0}})" for name in _SAME_NAME.split()}
TEMPLATES |= {getattr(ops, f"arc{name}"): f"a{name}({{0}})" for name in _ARCS.split()}
TEMPLATES |= {ops.arctan2: "atan2({0}, {1})"}


def in_cuda(plan: Plan) -> bool:
    """Whether the loops of a plan can be printed here: maps with a template, folds and products."""
    p = plan.program
    if not plan.plain() or len(plan.lead) > 1 or not p.states:
        return False
    T = p.types[p.states[0]].dtype
    loops = [*plan.ops("forward"), *plan.ops("backward")]
    operands = [q for o in loops for q in (*o.ins, *o.outs)]
    return (
        T.name in ("float32", "float64")
        and all(o.kind != "map" or o.op in TEMPLATES for o in loops)
        and all(q.dtype in (T, bool) for q in operands if isinstance(q, Plane))
        and all(isinstance(q, Plane | int | float) for q in operands)
    )


def _map(op: Any, ins: Sequence[Any], out: Plane) -> Op:
    return Op("map", op, tuple(ins), (out,), Instr(op, (), (), ()))


class Place(NamedTuple):
    """Where a plane lies: an array, the width of its rows (0: one row for all), a first column."""

    array: str
    width: int
    first: int = 0


class Target(NamedTuple):
    """Where a plane is written, and the plane that stands there at padding (None: zeros)."""

    place: Place
    hold: Plane | None = None


class Room(NamedTuple):
    """An array of rows that the loop writes: for every step, or anew at each.

    ``numbers`` are what stands in it from the start: (number, first column, last plus one).
    """

    width: int
    dtype: Any
    timed: bool = False
    numbers: tuple[tuple[float, int, int], ...] = ()


@dataclass
class Launches:
    """The text of a loop over time, and what it takes.

    Attributes:
        text: Of the function ``loop``: one launch a line.
        fixed, timed: Its arguments; those that are walked along time are the timed ones.
        rooms: Arrays to make, by name.
        inputs: Values that no loop makes, by the name of their array.
        weights: Of each product the values that stand side by side in its weight.
        sources: The kernels, by name.
        parts: Of gradients of states that are left in parts: (part of the state, first column,
            last plus one, where the rest is).
        count: Launches a step; without padding.
    """

    text: str = ""
    fixed: list[str] = field(default_factory=list)
    timed: list[str] = field(default_factory=list)
    rooms: dict[str, Room] = field(default_factory=dict)
    inputs: dict[str, Value] = field(default_factory=dict)
    weights: dict[str, list[Value]] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    parts: list[tuple[int, int, int, Place]] = field(default_factory=list)
    count: int = 0


class CudaPrinter:
    """Prints one loop of a plan; the result is ``launches``.

    Args:
        plan: The plan, of which :func:`in_cuda` holds.
        way: ``"forward"`` or ``"backward"``.
        keep: Whether the forward saves anything.
    """

    def __init__(self, plan: Plan, way: str, keep: bool = True) -> None:
        self.plan, self.p, self.way, self.keep = plan, plan.program, way, keep
        self.dtype = self.p.types[self.p.states[0]].dtype
        self.ops = plan.ops(way)
        self.launches = Launches()
        self.home: dict[Plane, Place] = {}
        self.targets: dict[Plane, list[Target]] = {}
        self.first: list[Op] = []  # what adds up gradients that came in parts
        self.in_parts: list[tuple[int, int, int, Plane]] = []  # products, as in launches.parts
        self.before: dict[Plane, Plane] = {}  # a product as the step before left it
        self.sooner: dict[Plane, list[Plane]] = {}  # what must be read before a product is written
        self.held: list[int] = []  # states that a product writes
        every = [*plan.inputs, *(q for w in ("forward", "backward") for o in plan.ops(w) for q in o.outs)]
        self.ids = itertools.count(1 + max([q.id for q in every], default=0))
        self._given()
        if way == "backward":
            self._sums_in_parts()
        self._wanted()
        self._read()
        self._products()
        self._copies()
        self._schedule()
        self._cross()
        self._print()

    # -- where planes are -----------------------------------------------------------------------

    def _pieces(self, v: Value) -> Iterator[tuple[Any, int, int]]:
        """The planes of a value with their columns."""
        for q, (low, high) in zip(self.plan.planes[v], self.plan.columns[v], strict=True):
            yield q, low, high

    def _width(self, v: Value) -> int:
        shape = self.p.shape(v)
        return shape[-1] if shape else 1

    def _lies(self, v: Value | None, array: str) -> None:
        """A value can be read in an array of its rows."""
        if v is not None:
            for q, low, _ in self._pieces(v):
                if isinstance(q, Plane):
                    self.home.setdefault(q, Place(array, self._width(v), low))

    def _given(self) -> None:
        """Planes that are there before the loop."""
        p, plan = self.p, self.plan
        for k, v in enumerate(p.states):
            self._lies(v, f"s{k}")
        gradients = {v for v in p.gafter if v is not None}
        for q, (v, low, _) in plan.inputs.items():
            if v not in gradients and v not in (*p.states, p.gy):
                per_row = p.shape(v)[:-1] == plan.lead
                self.home[q] = Place(f"i{int(v)}", self._width(v) if per_row else 0, low)
                self.launches.inputs[f"i{int(v)}"] = v
        if self.way == "backward":
            for k, v in enumerate(p.after):
                self._lies(v, f"z{k}")
            if plan.where[p.y] == "forward":
                self._lies(p.y, "y")
            self._lies(p.gy, "gy")
            self.home |= {q: place for q, place in self._saved().items() if q not in self.home}
            for v, row in plan.rows.items():
                if v == row.host and row.way == "forward" and row.kept:
                    self._lies(v, f"r{int(v)}")

    def _saved(self) -> dict[Plane, Place]:
        """Where the forward leaves what the backward needs: columns of one array (of booleans)."""
        found, widths = {}, Counter[str]()
        for q in self.plan.saved:
            name = "v" if q.dtype == self.dtype else "w"
            found[q] = (name, widths[name])
            widths[name] += q.width
        return {q: Place(name, widths[name], low) for q, (name, low) in found.items()}

    def _fresh(self, like: Plane) -> Plane:
        return like._replace(id=next(self.ids))

    def _write(self, q: Any, place: Place, hold: Plane | None = None) -> None:
        """A plane is wanted somewhere; numbers stand there from the start, they are zeros."""
        if isinstance(q, Plane):
            self.targets.setdefault(q, []).append(Target(place, hold))

    # -- gradients of the state -----------------------------------------------------------------

    def _sums_in_parts(self) -> None:
        """g = kept + products, added up by the first kernel of the next step."""
        p, plan = self.p, self.plan
        made = {q: o for o in self.ops for q in o.outs}
        uses = Counter(q for o in self.ops for q in o.ins if isinstance(q, Plane))
        for v, row in plan.rows.items():
            if row.way == "backward":
                uses.update([q for q in plan.planes[v] if isinstance(q, Plane)])
        dropped: set[Plane] = set()

        def terms(q: Any, root: Plane) -> list[Any]:
            o = made.get(q)
            sum_of_two = o is not None and o.kind == "map" and o.op is ops.add
            if not sum_of_two or uses[q] != (q is not root) or q.shape != root.shape:
                return [q]
            return [t for u in o.ins for t in terms(u, root)]

        def inner(q: Any, found: list[Any]) -> None:
            if q not in found:
                dropped.add(q)
                for u in made[q].ins:
                    inner(u, found)

        for k, (old, new) in enumerate(zip(p.gafter, p.gstates, strict=True)):
            if old is None or new is None:
                continue
            for (g, low, high), q in zip(self._pieces(old), plan.planes[new], strict=True):
                found = terms(q, q) if isinstance(q, Plane) else [q]
                products = [t for t in found if t in made and made[t].kind == "dot"]
                products = [t for t in products if t.shape == g.shape]
                place = Place(f"g{k}", self._width(old), low)
                self._added(g, place, products)
                if products or not isinstance(q, Plane):
                    inner(q, found)
                    self._beside([t for t in found if t not in products], g, place)
                else:
                    self._write(q, place, g)
                self.in_parts += [(k, low, high, t) for t in products]
        self.ops = [o for o in self.ops if dropped.isdisjoint(o.outs)]

    def _beside(self, terms: list[Any], g: Plane, place: Place) -> None:
        """What is added to the products: one plane, whose place is that of the gradient."""
        while len(terms) > 1:
            total = self._fresh(g)
            self.ops.append(_map(ops.add, terms[:2], total))
            terms = [total, *terms[2:]]
        if terms and isinstance(terms[0], Plane):
            self._write(terms[0], place, g)
        else:
            nothing = self._fresh(g)
            self.first.append(_map(SAME, terms or [0.0], nothing))
            self._write(nothing, place, g)

    def _added(self, g: Plane, place: Place, products: list[Plane]) -> None:
        """g from its parts, which are read before they are written anew."""
        total = self._fresh(g)
        self.home[total] = place
        for n, t in enumerate(products, 1):
            q = g if n == len(products) else self._fresh(g)
            before = self._fresh(t)
            self.before[before] = t
            self.first.append(_map(ops.add, [total, before], q))
            self.sooner.setdefault(t, []).append(g)
            total = q
        if not products:
            self.first.append(_map(SAME, [total], g))

    # -- what is written where ------------------------------------------------------------------

    def _wanted(self) -> None:
        """Where planes must be written: states, outputs, what is kept, operands in one piece."""
        p, plan, rooms = self.p, self.plan, self.launches.rooms
        self.whole: dict[Value, str] = {}  # arrays that hold a value in one piece
        for k, v in enumerate(p.states):
            self.whole[v] = f"s{k}"
        for k, v in enumerate(p.after):
            self.whole[v] = f"z{k}"
            if self.way == "forward":
                self._to_rows(v, f"z{k}", plan.planes[p.states[k]])
        if plan.where[p.y] == "forward":
            if self.way == "forward" and p.y not in p.after:
                self._to_rows(p.y, "y")
            self.whole.setdefault(p.y, "y")
        if p.gy is not None:
            self.whole[p.gy] = "gy"
        if self.way == "forward" and self.keep:
            for q, place in self._saved().items():
                rooms[place.array] = Room(place.width, q.dtype, True)
                self._write(q, place)
        for v, row in plan.rows.items():
            if v == row.host and row.kept:
                if row.way == self.way and (self.keep or self.way == "backward"):
                    self._row(v, f"r{int(v)}", True)
                elif row.way != self.way:
                    self.whole[v] = f"r{int(v)}"
        for o in self.ops:
            if o.kind != "map" and o.instr.ins[0] not in self.whole:
                self._row(o.instr.ins[0], f"l{int(o.instr.ins[0])}", False)

    def _to_rows(self, v: Value, array: str, holds: Sequence[Any] = ()) -> None:
        for k, (q, low, _) in enumerate(self._pieces(v)):
            self._write(q, Place(array, self._width(v), low), holds[k] if holds else None)

    def _row(self, v: Value, array: str, timed: bool) -> None:
        """Room for a value in one piece; its numbers stand there from the start."""
        self._to_rows(v, array)
        pieces = self._pieces(v)
        numbers = tuple([(q, low, high) for q, low, high in pieces if not isinstance(q, Plane)])
        self.launches.rooms[array] = Room(self._width(v), self.p.types[v].dtype, timed, numbers)
        self.whole[v] = array

    def _read(self) -> None:
        """Leave out what leads to nothing that is written."""
        live = {*self.targets, *[q for *_, q in self.in_parts]}
        live |= {t.hold for found in self.targets.values() for t in found if t.hold is not None}
        for code in (self.ops, self.first):
            for o in reversed([*code]):
                if live.isdisjoint(o.outs):
                    code.remove(o)
                else:
                    live.update([q for q in o.ins if isinstance(q, Plane)])

    def _products(self) -> None:
        """Where products are written: where they are wanted, if in one place and in order there."""
        self.dots: dict[str, list[Op]] = {}
        apart = {q for *_, q in self.in_parts}
        for o in [o for o in self.ops if o.kind == "dot"]:
            array = self._direct(o) if apart.isdisjoint(o.outs) else None
            self.dots.setdefault(array or f"d_{self.whole[o.instr.ins[0]]}", []).append(o)
        for array, dots in self.dots.items():
            self.launches.weights[f"u_{array}"] = [o.instr.ins[1] for o in dots]
            if array[0] == "d":
                planes, low = [q for o in dots for q in o.outs], 0
                width = sum([q.width for q in planes])
                for q in planes:
                    self.home[q] = Place(array, width, low)
                    low += q.width
                start = ((0.0, 0, width),) if not apart.isdisjoint(planes) else ()
                self.launches.rooms[array] = Room(width, self.dtype, False, start)
        self.home |= {q: self.home[t] for q, t in self.before.items()}
        parts = [(k, low, high, self.home[q]) for k, low, high, q in self.in_parts]
        self.launches.parts = parts

    def _direct(self, o: Op) -> str | None:
        """The array that is to hold the result of a product, and nothing else."""
        width = sum([q.width for q in o.outs])
        for first, hold in self.targets.get(o.outs[0], ()):
            if first.width != width or first.first or first.array[0] == "g":
                continue
            low, found = 0, []
            for q in o.outs:
                here = [t for t in self.targets.get(q, ()) if t.place == (first.array, width, low)]
                found += here[:1]
                low += q.width
            if len(found) == len(o.outs):
                for q, t in zip(o.outs, found, strict=True):
                    self.targets[q].remove(t)
                    self.home[q] = t.place
                if hold is not None:
                    self.held.append(int(first.array[1:]))
                return first.array
        return None

    def _copies(self) -> None:
        """Maps that copy what is wanted somewhere and no map makes."""
        for o in [o for o in self.ops if o.kind == "fold"]:
            (q,) = o.outs
            self.home[q] = Place(f"f{q.id}", 1)
            self.launches.rooms[f"f{q.id}"] = Room(1, q.dtype)
        mapped = {q for o in (*self.first, *self.ops) if o.kind == "map" for q in o.outs}
        made = {q: o for o in self.ops for q in o.outs}
        for q in [q for q, found in self.targets.items() if found and q not in mapped]:
            copy = self._fresh(q)
            self.ops.insert(self.ops.index(made[q]) + 1 if q in made else 0, _map(SAME, [q], copy))
            self.targets[copy] = self.targets.pop(q)
        written: dict[str, list[Plane]] = {}
        for q, found in self.targets.items():
            for t in found:
                written.setdefault(t.place.array, []).append(q)
        for k, o in enumerate(self.ops):
            if o.kind != "map":
                here = written.get(self.whole[o.instr.ins[0]], [])
                after = [g for q in o.outs for g in self.sooner.get(q, ())]
                self.ops[k] = o._replace(ins=(*o.ins, *here, *after))

    # -- kernels --------------------------------------------------------------------------------

    def _schedule(self) -> None:
        """The slot of every operation: maps of one slot and one width are a kernel.

        A slot is at first as early as can be. A map that may come later goes where a kernel of its
        width is that must be there.
        """
        holds = {q: [t.hold for t in found if t.hold] for q, found in self.targets.items()}
        ops = [o._replace(ins=(*o.ins, *holds.get(o.outs[0], ()))) for o in (*self.first, *self.ops)]
        made = {q: o for o in ops for q in o.outs}
        readers: dict[Plane, list[Op]] = {}
        for o in ops:
            for q in o.ins:
                if q in made:
                    readers.setdefault(q, []).append(o)
        pinned = {o.outs[0] for o in self.first}
        self.width: dict[Plane, int] = {}  # of the kernel of each map
        for o in reversed(ops):
            q = o.outs[0]
            wide = [self.width[x.outs[0]] for x in readers.get(q, ()) if x.kind == "map"]
            alone = q.width > 1 or q in pinned or holds.get(q) or o.kind != "map"
            self.width[q] = q.width if alone else max(wide, default=1)

        def gap(a: Op, b: Op) -> int:
            """How many slots b is at least after a, which it reads."""
            one = a.kind == b.kind == "map" and self.width[a.outs[0]] == self.width[b.outs[0]]
            return 0 if one else 1

        early: dict[Plane, int] = {}
        for o in ops:
            before = [early[made[q].outs[0]] + gap(made[q], o) for q in o.ins if q in made]
            early[o.outs[0]] = max(before, default=0)
        last = max(early.values(), default=0)

        def latest(o: Op, of: dict[Plane, int]) -> int:
            after = [of[x.outs[0]] - gap(o, x) for q in o.outs for x in readers.get(q, ())]
            return min(after, default=last) if o.kind == "map" else early[o.outs[0]]

        late: dict[Plane, int] = {}
        for o in reversed(ops):
            late[o.outs[0]] = latest(o, late)
        kernels = {
            (late[q], self.width[q]) for o in ops if o.kind == "map" and early[q := o.outs[0]] == late[q]
        }
        self.slot: dict[Plane, int] = {}
        for o in reversed(ops):
            q = o.outs[0]
            end, width = latest(o, self.slot), self.width[q]
            fits = [k for k, w in kernels if w == width and early[q] <= k <= end]
            if o.kind != "map":
                self.slot[q] = early[q]
            elif q in readers:
                self.slot[q] = max(fits, default=end)
            else:
                self.slot[q] = min(fits, default=early[q])
            if o.kind == "map":
                kernels.add((self.slot[q], width))

    def _kernel_of(self, q: Plane) -> tuple[int, int]:
        return self.slot[q], self.width[q]

    def _cross(self) -> None:
        """Room for planes that one kernel makes and another reads."""
        maps = [o for o in (*self.first, *self.ops) if o.kind == "map"]
        made = {o.outs[0] for o in maps}
        pinned = {o.outs[0] for o in self.first}
        for o in maps:
            q = o.outs[0]
            wanted = [*o.ins, *[t.hold for t in self.targets.get(q, ())]]
            for u in wanted:
                if u not in made or u in self.home or self._kernel_of(u) == self._kernel_of(q):
                    continue
                there = self.targets.get(u, [])
                if not there or u in pinned:
                    self.launches.rooms[f"t{u.id}"] = Room(u.width, u.dtype)
                    place = Place(f"t{u.id}", u.width)
                    self._write(u, place, u if u in pinned else None)
                    self.home[u] = place
                else:
                    self.home[u] = there[0].place

    # -- text -----------------------------------------------------------------------------------

    def _print(self) -> None:
        self.used: set[str] = set()
        lines = []
        maps: dict[tuple[int, int], list[Op]] = {}
        for o in (*self.first, *self.ops):
            if o.kind == "map":
                maps.setdefault(self._kernel_of(o.outs[0]), []).append(o)
        for slot in range(1 + max(self.slot.values(), default=-1)):
            lines += [self._kernel(w, maps[k, w]) for k, w in sorted(maps) if k == slot]
            for o in self.ops:
                if o.kind == "fold" and self.slot[o.outs[0]] == slot:
                    lines.append(self._fold(o))
            for array, dots in self.dots.items():
                if self.slot[dots[0].outs[0]] == slot:
                    left = self._name(self.whole[dots[0].instr.ins[0]])
                    lines.append(f"dot({left}, {self._name(f'u_{array}')}, out={self._name(array)})")
        self.launches.count = len(lines)
        for k in self.held:
            W = self._width(self.p.states[k])
            s, z = self._name(f"s{k}"), self._name(f"z{k}")
            lines.append(f"if masked: hold({s}, {W}, read, {z}, size=rows * {W})")
            self.launches.sources["hold"] = HOLD
        self._function(lines)

    def _name(self, array: str) -> str:
        self.used.add(array)
        return array

    def _function(self, lines: list[str]) -> None:
        found, rooms = self.launches, self.launches.rooms

        def walked(array: str) -> bool:
            if array in rooms:
                return rooms[array].timed
            if array in found.inputs:
                return self.plan.where[found.inputs[array]] == "before"
            return not array.startswith(("u_", "g")) or array == "gy"

        found.timed = sorted([a for a in self.used if walked(a)])
        found.fixed = sorted(self.used.difference(found.timed))
        for array in [a for a in rooms if a not in self.used]:
            del rooms[array]
        each = ", ".join([*found.timed, "read"])
        along = ", ".join([f"A_{a}" for a in [*found.timed, "read"]])
        head = f"def loop({', '.join(['rows', 'masked', *found.fixed])}, {along}):"
        body = "".join([f"\n        {line}" for line in lines or ["pass"]])
        found.text = f"{head}\n    for {each} in zip({along}):{body}\n"

    def _fold(self, o: Op) -> str:
        array, out = self._name(self.whole[o.instr.ins[0]]), self._name(f"f{o.outs[0].id}")
        return f"{o.op.name}({array}, axis=-1, out={out}, keepdims=True)"

    def _kernel(self, width: int, maps: list[Op]) -> str:
        """One kernel: its source, and the line that launches it."""
        pinned = {o.outs[0] for o in self.first}
        ins: set[str] = set()
        outs: set[str] = set()
        always: dict[Plane, str] = {}
        before = [self._line(o, width, always, ins) for o in maps if o.outs[0] in pinned]
        here, padding = dict(always), dict(always)
        lines = [self._line(o, width, here, ins) for o in maps if o.outs[0] not in pinned]
        stays = []
        for q in [o.outs[0] for o in maps]:
            for place, hold in self.targets.get(q, ()):
                outs.add(place.array)
                to = f"{'if (!c) ' if q.width < width else ''}{self._at(place, q, width)} = "
                lines.append(f"{to}p{q.id};")
                if hold is None:
                    stays.append(f"{to}0;")
                else:
                    loads: list[str] = []
                    value = self._operand(hold, width, padding, ins, loads)
                    stays += [*loads, f"{to}{value};"]
        head = "const long long r = i / H, c = i % H;"
        body = "\n".join([
            head, *before, "if (masked && !read[r]) {", *stays, "} else {", *lines, "}"
        ])  # fmt: skip
        ins -= outs
        kinds = {a: self._ctype(a) for a in ins | outs}
        given = ", ".join([*[f"raw {kinds[a]} {a}" for a in sorted(ins)], "int64 H, raw bool read, bool masked"])
        taken = ", ".join([f"raw {kinds[a]} {a}" for a in sorted(outs)])
        source = Source(given, taken, body)
        name = f"k{len(self.launches.sources)}"
        self.launches.sources[name] = source
        self.used |= ins | outs
        arguments = ", ".join([*sorted(ins), str(width), "read", "masked", *sorted(outs)])
        return f"{name}({arguments}, size=rows * {width})"

    def _ctype(self, array: str) -> str:
        if array in self.launches.rooms:
            dtype = self.launches.rooms[array].dtype
        elif array in self.launches.inputs:
            dtype = self.p.types[self.launches.inputs[array]].dtype
        else:
            dtype = bool if array == "w" else self.dtype
        return "bool" if dtype == bool else "T"

    def _line(self, o: Op, width: int, local: dict[Plane, str], ins: set[str]) -> str:
        lines: list[str] = []
        operands = [self._operand(q, width, local, ins, lines) for q in o.ins]
        q = o.outs[0]
        kind = "bool" if q.dtype == bool else "T"
        lines.append(f"const {kind} p{q.id} = {TEMPLATES[o.op].format(*operands)};")
        local[q] = f"p{q.id}"
        return "\n".join(lines)

    def _operand(
        self, q: Any, width: int, local: dict[Plane, str], ins: set[str], lines: list[str]
    ) -> str:
        """The name of a plane, which is loaded where it is not known; or a number."""
        if not isinstance(q, Plane):
            return _number(q)
        if q not in local:
            place = self.home[q]
            ins.add(place.array)
            kind = "bool" if q.dtype == bool else "T"
            lines.append(f"const {kind} p{q.id} = {self._at(place, q, width)};")
            local[q] = f"p{q.id}"
        return local[q]

    def _at(self, place: Place, q: Plane, width: int) -> str:
        """An element of an array, at row r and column c; sizes as multiples of H where they are."""

        def size(n: int) -> str:
            if width == 1 or n % width:
                return str(n)
            return "H" if n == width else f"{n // width} * H"

        if place == (place.array, width, 0) and q.width == width:
            return f"{place.array}[i]"
        terms = ["r" if place.width == 1 else f"r * {size(place.width)}"] if place.width else []
        terms += [size(place.first)] if place.first else []
        terms += ["c"] if q.width > 1 else []
        return f"{place.array}[{' + '.join(terms) or '0'}]"


HOLD = Source(
    "raw T s, int64 H, raw bool read", "raw T z", "if (!read[i / H]) z[i] = s[i];"
)
"""A state that a product has written stays, where a step is padding."""


def _number(x: Any) -> str:
    """A number in C, also one that is not finite."""
    x = float(x)
    if math.isfinite(x):
        return f"(T){x!r}"
    return "((T)0 / (T)0)" if x != x else f"((T){1 if x > 0 else -1} / (T)0)"
