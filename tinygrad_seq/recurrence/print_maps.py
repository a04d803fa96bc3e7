"""The maps of a stage as loops over consecutive numbers, for numba.

Every stored value is a separate loop over columns, which becomes vector instructions. A value that
is read once, or costs one operation, is written where it is read.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .. import ops
from .forms import constant, in_python
from .loop_text import Address, rowless
from .plan import Input, Op, Plane
from .planning import COSTLY
from .program import SAME

if TYPE_CHECKING:
    from .print_loops import LoopPrinter


class Cluster:
    """The loops of one stage."""

    def __init__(self, printer: LoopPrinter, maps: list[Op], stage: int) -> None:
        self.of, self.maps, self.stage = printer, maps, stage
        self.slices: dict[Any, tuple[str, str]] = {}
        self.loops: list[str] = []
        self.inline: dict[Plane, str] = {}
        self.cost: dict[Any, int] = {}
        self.uses: dict[Any, int] = {}
        for o in maps:
            for q in o.ins:
                self.uses[q] = self.uses.get(q, 0) + 1

    def lines(self) -> list[str]:
        for o in self.maps:
            self._do(o)
        addresses = [f"{name} = {address}" for name, address in self.slices.values() if address]
        padding = self._padding() if not self.of.padded else []
        self.of.padded = True
        body = ["if masked and not mask[t + n]:", *padding, "    continue"]
        body += [*addresses, *self.loops]
        return ["for n in range(first, last, count):", *[f"    {line}" for line in body]]

    def _padding(self) -> list[str]:
        """At padding a state is kept; other rows are zero: products after the loop read them."""
        of, lines = self.of, []
        for a in of.plan.arrays(of.way):
            if a.written:
                (array, t), w = of.lies[a.value], of.width(a.value)
                r = of.row(t)
                if a.value in of.p.after:
                    before = f"S{of.p.after.index(a.value)}"
                    lines.append(f"copy({array}, {r} * {w}, {before}, {r} * {w}, {w})")
                else:
                    lines.append(f"clear({array}, {r} * {w}, {w})")
        for k in of.handed:
            w = of.width(of.p.states[k])
            lines.append(f"copy(H{k}, n * {w}, G{k}, n * {w}, {w})")
        return [f"    {line}" for line in lines]

    def _do(self, o: Op) -> None:
        of, q = self.of, o.outs[0]
        if o.kind == "fold":
            largest, m = o.op is ops.max, f"m{q.id}"
            self.loops.append(f"{m} = {constant(-math.inf) if largest else 'ZERO'}")
            for u in o.ins:
                w = of.number("w", u.width) if isinstance(u, Plane) else "1"
                more = in_python(ops.maximum if largest else ops.add).format(m, self.expr(u))
                self.loops += [f"for j in range({w}):", f"    {m} = {more}"]
            if o.op is ops.mean:
                total = of.width(o.instr.ins[0])
                self.loops.append(f"m{q.id} = m{q.id} / F({total})")
            self._scalar(q)
            return
        if o.op is ops.add and any(u in of.summed for u in o.ins):
            text = self.expr(next(u for u in o.ins if u not in of.summed))
        else:
            text = in_python(o.op).format(*map(self.expr, o.ins))
        if o.op is SAME and isinstance(o.ins[0], Plane) and o.ins[0] == q:
            cost = 10  # a copy to where it is needed
        else:
            cost = sum([self.cost.get(u, 0) for u in o.ins]) + (10 if o.op in COSTLY else 1)
        if of.numbers and q.width == 1:
            self.loops.append(f"m{q.id} = {text}")
            self._scalar(q)
            return
        live, condition = q in of.stored or of.last.get(q, -1) > self.stage, q.dtype.kind == "b"
        if not live and (condition or self.uses.get(q, 0) == 1 or cost <= 1):
            self.inline[q] = text
            self.cost[q] = cost
            return
        self.cost[q] = 0
        self._store(q, f"(ONE if {text} else ZERO)" if condition else text)

    def _column(self, q: Plane) -> str:
        """The column at which a plane is read; for one number per row, its only column."""
        if self.of.numbers and q.width == 1:
            self.of.out.scalars = True
            return "0"
        return "j"

    def _scalar(self, q: Plane) -> None:
        """Number m of a row is computed: store it where it is needed."""
        self.of.out.scalars = True
        self.inline[q] = f"m{q.id}"
        for place in self.of.stored.get(q, ()):
            start = self.of.start(place)
            if place.span:
                self.loops.append(f"for j in range({place.span}):")
                self.loops.append(f"    {place.array}[{start} + j] = m{q.id}")
            else:
                self.loops.append(f"{place.array}[{start}] = m{q.id}")
        if q in self.of.stored:
            self.of.read[q] = self.of.stored[q][0]
        elif self.of.last.get(q, -1) > self.stage:
            of, name = self.of, f"K{q.id}"
            of.room[name] = "empty(last - first)"
            place = Address(name, "own", of.number("w", 1), "", True)
            self.loops.append(f"{name}[n - first] = m{q.id}")
            of.read[q] = place

    def expr(self, q: Any) -> str:
        """A plane or a number where it is read; in memory, a condition is 1 or 0."""
        if not isinstance(q, Plane):
            return constant(q)
        if q in self.inline:
            return self.inline[q]
        return f"({self._read(q)} != ZERO)" if q.dtype.kind == "b" else self._read(q)

    def _read(self, q: Plane) -> str:
        of = self.of
        if q in of.projected:
            out, low = of.projected[q]
            m, known = int(out), of.out.projections[out]
            if q not in self.slices:
                g = sorted(known.planes).index(low)
                start = f"(done{m} + n - first) * row{m} + gate{m}[{g}]"
                self.slices[q] = (f"p{q.id}", f"view(E{m}, {start}, {of.count(q.width)})")
                if known.bias is not None:
                    columns = Input(known.bias, low, low + q.width)
                    self._vector(q, f"q{q.id}", columns, q.width)
            j = self._column(q)
            return f"p{q.id}[{j}]" if known.bias is None else f"(p{q.id}[{j}] + q{q.id}[{j}])"
        if rowless(of.plan, q):
            width = of.even if of.even and q.width == 1 else q.width
            self._vector(q, f"p{q.id}", of.plan.inputs[q], width)
            return f"p{q.id}[{'j' if width > 1 else self._column(q)}]"
        if of.numbers and q.width == 1:
            of.out.scalars = True
            if f"m{q.id}" not in self.slices:
                number = f"{of.view(self._place(q), '1')}[0]"
                self.slices[f"m{q.id}"] = (f"m{q.id}", number)
            return f"m{q.id}"
        if q not in self.slices:
            self.slices[q] = (f"p{q.id}", of.view(self._place(q), of.count(q.width)))
        return f"{self.slices[q][0]}[j]"

    def _vector(self, q: Plane, name: str, columns: Input, width: int) -> None:
        """A plane that is the same for all rows: it is laid as often as rows are taken."""
        self.of.out.vectors[self.of.arg(f"O{q.id}")] = columns, width
        self.slices[name] = (name, f"view(O{q.id}, 0, len(O{q.id}))")

    def _place(self, q: Plane) -> Address:
        of = self.of
        if q in of.read:
            return of.read[q]
        v, low, _ = of.plan.inputs[q]
        of.out.inputs[of.arg(f"I{int(v)}")] = v
        low_name = of.number("o", low) if low else ""
        time = "" if of.plan.where[v] == "once" else "t"
        return Address(f"I{int(v)}", time, of.width(v), low_name, len(of.plan.planes[v]) == 1)

    def _store(self, q: Plane, text: str) -> None:
        """A loop that computes a plane and copies it to where else it is needed."""
        of = self.of
        width, count = of.number("w", q.width), of.count(q.width)
        places = [*of.stored.get(q, ())]
        if of.last.get(q, -1) > self.stage and not any(place.alone for place in places):
            name = f"K{q.id}"
            of.room[name] = f"empty((last - first) * {width})"
            places.append(Address(name, "own", width, "", True))
        first = next((place for place in places if place.alone), None)
        if q in self.slices:  # a copy of a value from elsewhere
            name, address = self.slices[q]
            self.slices[q, "from"] = (f"{name}q", address)
            text = f"{name}q[j]"
        if first is not None:
            places.remove(first)
            self.slices[q] = (f"p{q.id}", of.view(first, count))
        else:
            of.room[f"B{q.id}"] = f"empty({count})"
            self.slices[q] = (f"p{q.id}", f"view(B{q.id}, 0, {count})")
        array, low = (first.array, of.start(first)) if first else (f"B{q.id}", "0")
        self.loops += [f"for j in range({count}):", f"    p{q.id}[j] = {text}"]
        for place in places:
            to = of.start(place, "(n + r)")
            self.loops += [
                "for r in range(count):",
                f"    copy({place.array}, {to}, {array}, {low} + r * {width}, {width})",
            ]
        if first is not None or q in of.stored:
            of.read[q] = first or of.stored[q][0]
