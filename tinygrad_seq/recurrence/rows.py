"""The places of the planes of a loop on a GPU: arrays of rows, and columns in them.

What a loop writes has targets: states and outputs, values for the backward, operands in one array.
The gradient of a state may end as a sum with the last products of a step. It is then left as
separate summands, and the first kernel of the next step adds them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

from .. import ops
from .plan import Op, Plan, Plane
from .program import SAME, Instr, Value


def _map(op: Any, ins: Sequence[Any], out: Plane) -> Op:
    return Op("map", op, tuple(ins), (out,), Instr(op, (), (), ()))


class Place(NamedTuple):
    """The place of a plane: an array, the width of its rows (0: one for all), a first column."""

    array: str
    width: int
    first: int = 0


class Target(NamedTuple):
    """Where a plane is written, and the plane written there at padding (None: zeros)."""

    place: Place
    hold: Plane | None = None


class Room(NamedTuple):
    """An array of rows that the loop writes: one per step, or one reused by all steps."""

    width: int
    dtype: Any
    timed: bool = False
    zeros: bool = False


class Rows:
    """The arrays of one loop, and the operations including copies between arrays.

    Attributes:
        ops: Maps, folds and products, each after the ones it reads; ``first``: maps that first
            add the summands of gradients left by the step before.
        home: Where a plane can be read.
        targets: Where a plane that a map makes is written.
        whole: Arrays that hold a whole value.
        rooms: Arrays to make, by name.
        inputs: Values that no loop makes, by the name of their array.
        dots: The products that are written side by side, by the name of the array.
        held: The parts of the state that a product writes.
        parts: For gradients of states left as summands: (part of the state, first column, last
            plus one, where the other summand is).
    """

    def __init__(self, plan: Plan, way: str, keep: bool) -> None:
        self.plan, self.p, self.way, self.keep = plan, plan.program, way, keep
        self.dtype = plan.program.types[plan.program.states[0]].dtype
        self.ops, self.first = list[Op](), list[Op]()
        for o in plan.ops(way):
            if o.kind == "fold":  # it reads a whole value
                o = o._replace(ins=tuple(plan.planes[o.instr.ins[0]]))
            self.ops.append(o)
        self.home: dict[Plane, Place] = {}
        self.targets: dict[Plane, list[Target]] = {}
        self.whole: dict[Value, str] = {}
        self.rooms: dict[str, Room] = {}
        self.inputs: dict[str, Value] = {}
        self.dots: dict[str, list[Op]] = {}
        self.held: list[int] = []
        self.parts: list[tuple[int, int, int, Place]] = []
        self._in_parts: list[tuple[int, int, int, Plane]] = []  # products, as in parts
        self._before: dict[Plane, Plane] = {}  # a product from the step before
        self._sooner: dict[Plane, list[Plane]] = {}  # what is read before a product overwrites it
        loops = [*plan.ops("forward"), *plan.ops("backward")]
        every = [*plan.inputs, *[q for o in loops for q in o.outs]]
        self._ids = itertools.count(1 + max([q.id for q in every], default=0))
        self._given()
        if way == "backward":
            self._sums_in_parts()
        self._wanted()
        self._read()
        self._products()
        self._copies()

    # -- where planes are -----------------------------------------------------------------------

    def _given(self) -> None:
        """Note the planes that exist before the loop; gradients of the state are made of parts."""
        p, plan = self.p, self.plan
        for a in plan.arrays(self.way):
            if a.timed and not a.written:
                for q, low, _ in plan.pieces(a.value):
                    if isinstance(q, Plane):
                        self.home.setdefault(q, Place(a.name, p.width(a.value), low))
        for q, (v, low, _) in plan.inputs.items():
            if plan.where[v] in ("once", "before"):
                per_row = p.shape(v)[:-1] == plan.lead
                self.home[q] = Place(f"i{int(v)}", p.width(v) if per_row else 0, low)
                self.inputs[f"i{int(v)}"] = v
        if self.way == "backward":
            self.home = self._saved() | self.home

    def _saved(self) -> dict[Plane, Place]:
        """Where the forward saves for the backward: columns of one array (another for booleans)."""
        found, widths = {}, Counter[str]()
        for q in self.plan.saved:
            name = "v" if q.dtype == self.dtype else "w"
            found[q] = (name, widths[name])
            widths[name] += q.width
        return {q: Place(name, widths[name], low) for q, (name, low) in found.items()}

    def dtype_of(self, array: str) -> Any:
        """The dtype of an array."""
        if array in self.rooms:
            return self.rooms[array].dtype
        if array in self.inputs:
            return self.p.types[self.inputs[array]].dtype
        if array[0] == "r":
            return self.p.types[Value(array[1:])].dtype
        return numpy.dtype(bool) if array == "w" else self.dtype

    def _fresh(self, like: Plane) -> Plane:
        return like._replace(id=next(self._ids))

    def _copied(self, q: Any, like: Plane) -> Plane:
        """A map that copies a plane, or broadcasts one column or a number."""
        copy = self._fresh(like)
        made = [k for k, o in enumerate(self.ops) if q in o.outs]
        self.ops.insert(made[0] + 1 if made else 0, _map(SAME, [q], copy))
        return copy

    def _write(self, q: Any, like: Plane, place: Place, hold: Plane | None = None) -> None:
        """Write a plane or a number somewhere, in the shape of ``like``."""
        if not isinstance(q, Plane) or q.shape != like.shape:
            q = self._copied(q, like)
        self.targets.setdefault(q, []).append(Target(place, hold))

    # -- gradients of the state -----------------------------------------------------------------

    def _sums_in_parts(self) -> None:
        """g = kept + products, added by the first kernel of the next step."""
        p, plan = self.p, self.plan
        made = {q: o for o in self.ops for q in o.outs}
        uses = Counter([q for o in self.ops for q in o.ins if isinstance(q, Plane)])
        given = [v for v, row in plan.rows.items() if row.way == "backward"]
        for v in (*given, *[g for g in p.gstates if g is not None]):
            uses.update([q for q in plan.planes[v] if isinstance(q, Plane)])
        dropped: set[Plane] = set()

        def terms(q: Any, root: Plane) -> list[Any]:
            o = made.get(q)
            if o is None or o.op is not ops.add or uses[q] > 1 or q.shape != root.shape:
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
            for (g, low, high), q in zip(self.plan.pieces(old), plan.planes[new], strict=True):
                found = terms(q, q) if isinstance(q, Plane) else [q]
                products = [t for t in found if t in made and made[t].kind == "dot"]
                products = [t for t in products if t.shape == g.shape]
                place = Place(f"g{k}", self.p.width(old), low)
                self._added(g, place, products)
                if products or not isinstance(q, Plane):
                    inner(q, found)
                    self._beside([t for t in found if t not in products], g, place)
                else:
                    self._write(q, g, place, g)
                self._in_parts += [(k, low, high, t) for t in products]
        self.ops = [o for o in self.ops if dropped.isdisjoint(o.outs)]

    def _beside(self, terms: list[Any], g: Plane, place: Place) -> None:
        """The summand beside the products: one plane, in the place of the gradient."""
        while len(terms) > 1:
            total = self._fresh(g)
            self.ops.append(_map(ops.add, terms[:2], total))
            terms = [total, *terms[2:]]
        self._write(terms[0] if terms else 0.0, g, place, g)

    def _added(self, g: Plane, place: Place, products: list[Plane]) -> None:
        """g from its summands, which are read before they are overwritten."""
        total = self._fresh(g)
        self.home[total] = place
        for n, t in enumerate(products, 1):
            q = g if n == len(products) else self._fresh(g)
            before = self._fresh(t)
            self._before[before] = t
            self.first.append(_map(ops.add, [total, before], q))
            self._sooner.setdefault(t, []).append(g)
            total = q
        if not products:
            self.first.append(_map(SAME, [total], g))

    # -- what is written where ------------------------------------------------------------------

    def _wanted(self) -> None:
        """Note where planes must be written: states, outputs, kept values, whole operands."""
        for a in self.plan.arrays(self.way):
            if a.written and a.value in self.plan.rows:
                if a.timed and self.keep:
                    self._row(a.value, a.name, True)
            elif a.timed:
                self.whole[a.value] = a.name
                if a.written:
                    old = dict(zip(self.p.after, self.p.states, strict=True)).get(a.value)
                    self._to_rows(a.value, a.name, () if old is None else self.plan.planes[old])
        if self.way == "forward" and self.keep:
            for q, place in self._saved().items():
                self.rooms[place.array] = Room(place.width, q.dtype, True)
                self._write(q, q, place)
        for o in self.ops:
            if o.kind != "map" and o.instr.ins[0] not in self.whole:
                self._row(o.instr.ins[0], f"l{int(o.instr.ins[0])}", False)

    def _to_rows(self, v: Value, array: str, holds: Sequence[Any] = ()) -> None:
        """Write all planes of a value to rows of an array."""
        shape, dtype = self.p.types[v]
        for k, (q, low, high) in enumerate(self.plan.pieces(v)):
            piece = Plane(0, (*shape[:-1], high - low), dtype)
            place = Place(array, self.p.width(v), low)
            self._write(q, piece, place, holds[k] if holds else None)

    def _row(self, v: Value, array: str, timed: bool) -> None:
        """An array for a whole value."""
        self._to_rows(v, array)
        self.rooms[array] = Room(self.p.width(v), self.p.types[v].dtype, timed)
        self.whole[v] = array

    def _read(self) -> None:
        """Remove operations whose results are never written."""
        live = {*self.targets, *[q for *_, q in self._in_parts]}
        live |= {t.hold for found in self.targets.values() for t in found if t.hold is not None}
        for code in (self.ops, self.first):
            for o in reversed([*code]):
                if live.isdisjoint(o.outs):
                    code.remove(o)
                else:
                    live.update([q for q in o.ins if isinstance(q, Plane)])

    def _products(self) -> None:
        """Choose where products are written: where they are needed, if that is one place."""
        apart = {q for *_, q in self._in_parts}
        for o in [o for o in self.ops if o.kind == "dot"]:
            array = self._direct(o) if apart.isdisjoint(o.outs) else None
            self.dots.setdefault(array or f"d_{self.whole[o.instr.ins[0]]}", []).append(o)
        for array, dots in self.dots.items():
            if array[0] == "d":
                planes, low = [q for o in dots for q in o.outs], 0
                width = sum([q.width for q in planes])
                for q in planes:
                    self.home[q] = Place(array, width, low)
                    low += q.width
                self.rooms[array] = Room(width, self.dtype, zeros=not apart.isdisjoint(planes))
        self.home |= {q: self.home[t] for q, t in self._before.items()}
        self.parts = [(k, low, high, self.home[q]) for k, low, high, q in self._in_parts]

    def _direct(self, o: Op) -> str | None:
        """The array that holds exactly the result of a product."""
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
        """Maps that copy planes which are needed somewhere and made by no map."""
        for o in [o for o in self.ops if o.kind == "fold"]:
            (q,) = o.outs
            self.home[q] = Place(f"f{q.id}", 1)
            self.rooms[f"f{q.id}"] = Room(1, q.dtype)
        mapped = {q for o in self.ops if o.kind == "map" for q in o.outs}
        for q in [q for q, found in self.targets.items() if found and q not in mapped]:
            self.targets[self._copied(q, q)] = self.targets.pop(q)
        written: dict[str, list[Plane]] = {}
        for q, found in self.targets.items():
            for t in found:
                written.setdefault(t.place.array, []).append(q)
        for k, o in enumerate(self.ops):
            if o.kind != "map":
                here = written.get(self.whole[o.instr.ins[0]], [])
                after = [g for q in o.outs for g in self._sooner.get(q, ())]
                self.ops[k] = o._replace(ins=(*o.ins, *here, *after))

    def cross(self, kernels: dict[Plane, tuple[int, int]]) -> None:
        """Make arrays for planes that one kernel writes and another reads."""
        maps = [o for o in (*self.first, *self.ops) if o.kind == "map"]
        made = {o.outs[0] for o in maps}
        pinned = {o.outs[0] for o in self.first}
        for o in maps:
            q = o.outs[0]
            wanted = [*o.ins, *[t.hold for t in self.targets.get(q, ())]]
            for u in wanted:
                if u not in made or u in self.home or kernels[u] == kernels[q]:
                    continue
                there = self.targets.get(u, [])
                if not there or u in pinned:
                    self.rooms[f"t{u.id}"] = Room(u.width, u.dtype)
                    place = Place(f"t{u.id}", u.width)
                    self._write(u, u, place, u if u in pinned else None)
                    self.home[u] = place
                else:
                    self.home[u] = there[0].place
