"""A loop over time as launches on a GPU: products, and one kernel for each cluster of maps.

A kernel has one thread for each element: thread i is row r, column c of every plane. Arrays hold
rows ``(N, W)``; a plane is addressed by the width of its rows and its first column (:mod:`.rows`).
Sums over a row are reductions between kernels.

The kernels handle padding: at a step that is not read a state is kept, its gradient passes, and 0
is written everywhere else, so products of such rows are 0 too.
"""

from __future__ import annotations

import math
from typing import Any

from ..backend import Source
from . import loop_text
from .clusters import clustered
from .forms import in_c
from .loop_text import Uncompiled
from .plan import Op, Plan, Plane
from .program import Value
from .rows import Place, Rows


def check(plan: Plan) -> None:
    """Refuse a plan that has no kernels.

    Raises:
        Uncompiled: the plan has an operation without a kernel, which the message names, or another
            dtype than float32 or float64, and booleans.
    """
    loop_text.check(plan, "kernel for")
    p = plan.program
    known = p.types[p.y].dtype.name in ("float32", "float64")
    if not known or len(plan.lead) > 1 or not p.states:
        raise Uncompiled("its values have several shapes or dtypes")


class CudaPrinter:
    """Prints one loop of a plan.

    Args:
        plan: The plan, checked.
        way: ``"forward"`` or ``"backward"``.
        keep: Whether the forward saves anything.

    Attributes:
        text: The text of the function ``loop``: one launch per line.
        fixed, timed: Its arguments; the timed ones are iterated over time.
        sources: The kernels, by name.
        weights: For each product the values side by side in its weight.
        rows: The place of every plane.
        count: Launches per step, without padding.
    """

    def __init__(self, plan: Plan, way: str, keep: bool = True) -> None:
        self.plan = plan
        self.rows = rows = Rows(plan, way, keep)
        self.sources: dict[str, Source] = {}
        self.weights: dict[str, list[Value]] = {}
        holds = {q: [t.hold for t in found if t.hold] for q, found in rows.targets.items()}
        self._kernels = clustered(rows.first, rows.ops, holds)
        rows.cross(self._kernels)
        self._first = {o.outs[0] for o in rows.first}
        self._used: set[str] = set()
        lines = self._lines()
        self.count = len(lines)
        self._function([*lines, *self._held()])

    def _lines(self) -> list[str]:
        """A step, slot by slot: kernels, sums over rows, products."""
        rows, lines = self.rows, list[str]()
        maps: dict[tuple[int, int], list[Op]] = {}
        for o in (*rows.first, *rows.ops):
            if o.kind == "map":
                maps.setdefault(self._kernels[o.outs[0]], []).append(o)
        slots = {q: slot for q, (slot, _) in self._kernels.items()}
        for slot in sorted({*slots.values()}):
            lines += [self._kernel(w, maps[k, w]) for k, w in sorted(maps) if k == slot]
            folds = [o for o in rows.ops if o.kind == "fold" and slots[o.outs[0]] == slot]
            lines += [self._fold(o) for o in folds]
            for array, dots in rows.dots.items():
                if slots[dots[0].outs[0]] == slot:
                    lines.append(self._product(array, dots))
        return lines

    def _held(self) -> list[str]:
        """At padding, restore states that a product has overwritten."""
        lines = []
        for k in self.rows.held:
            s, z = self._name(f"s{k}"), self._name(f"z{k}")
            W = self.plan.program.width(self.plan.program.states[k])
            lines.append(f"if masked: hold({s}, {W}, read, {z}, size=rows * {W})")
            self.sources["hold"] = HOLD
        return lines

    def _name(self, array: str) -> str:
        self._used.add(array)
        return array

    def _fold(self, o: Op) -> str:
        array, out = self._name(self.rows.whole[o.instr.ins[0]]), self._name(f"f{o.outs[0].id}")
        return f"{array}.{o.op.name}(axis=-1, out={out}, keepdims=True)"

    def _product(self, array: str, dots: list[Op]) -> str:
        left, weight = self.rows.whole[dots[0].instr.ins[0]], f"u_{array}"
        self.weights[weight] = [o.instr.ins[1] for o in dots]
        return f"dot({self._name(left)}, {self._name(weight)}, out={self._name(array)})"

    def _function(self, lines: list[str]) -> None:
        rooms, inputs = self.rows.rooms, self.rows.inputs

        def walked(array: str) -> bool:
            if array in rooms:
                return rooms[array].timed
            if array in inputs:
                return self.plan.where[inputs[array]] == "before"
            return array == "gy" or not array.startswith(("u_", "g"))

        self.timed = sorted([a for a in self._used if walked(a)])
        self.fixed = sorted(self._used.difference(self.timed))
        each = ", ".join([*self.timed, "read"])
        along = ", ".join([f"A_{a}" for a in [*self.timed, "read"]])
        head = f"def loop({', '.join(['rows', 'masked', *self.fixed])}, {along}):"
        body = "".join([f"\n        {line}" for line in lines or ["pass"]])
        self.text = f"{head}\n    for ({each},) in zip({along}):{body}\n"

    # -- kernels --------------------------------------------------------------------------------

    def _kernel(self, width: int, maps: list[Op]) -> str:
        """The line that launches a kernel; stores its source."""
        made = [o.outs[0] for o in maps]
        body = Body(self.rows, width)
        for o in maps:
            if o.outs[0] in self._first:
                body.map(o)
        padding = body.branch()
        for o in maps:
            if o.outs[0] not in self._first:
                body.map(o)
        targets = [(q, t) for q in made for t in self.rows.targets.get(q, ())]
        for q, t in targets:
            body.write(t.place, q, q)
            padding.write(t.place, q, 0.0 if t.hold is None else t.hold)
        source = body.source(padding)
        name = f"k{len(self.sources)}"
        self.sources[name] = source
        ins, outs = sorted(body.ins - body.outs), sorted(body.outs)
        self._used |= body.ins | body.outs
        arguments = ", ".join([*ins, str(width), "read", "masked", *outs])
        return f"{name}({arguments}, size=rows * {width})"


class Body:
    """The C text of one kernel, for a thread at row r and column c.

    Args:
        rows: The places of planes.
        width: The number of threads per row.
    """

    def __init__(self, rows: Rows, width: int) -> None:
        self.rows, self.width = rows, width
        self.ins: set[str] = set()
        self.outs: set[str] = set()
        self.before: list[str] = []  # lines of both branches
        self.lines: list[str] = []
        self.known: dict[Plane, str] = {}

    def branch(self) -> Body:
        """A second body of the same kernel that continues from here."""
        other = Body(self.rows, self.width)
        other.ins, other.outs, other.known = self.ins, self.outs, dict(self.known)
        self.before, self.lines = self.lines, []
        return other

    def map(self, o: Op) -> None:
        """A line for a map."""
        operands = [self.operand(q) for q in o.ins]
        self._let(o.outs[0], in_c(o.op).format(*operands))

    def write(self, place: Place, q: Plane, value: Plane | float) -> None:
        """A line that stores a value in q; for one number per row the first thread does it."""
        self.outs.add(place.array)
        only = "if (!c) " if q.width < self.width else ""
        name = self.operand(value)
        self.lines.append(f"{only}{self._at(place, q)} = {name};")

    def operand(self, q: Any) -> str:
        """The name of a plane, loaded if it has not been yet; or a number."""
        if not isinstance(q, Plane):
            return _number(q)
        if q not in self.known:
            place = self.rows.home[q]
            self.ins.add(place.array)
            self._let(q, self._at(place, q))
        return self.known[q]

    def source(self, padding: Body) -> Source:
        """The whole kernel."""
        lines = [
            "const long long r = i / H, c = i % H;", *self.before,
            "if (masked && !read[r]) {", *padding.lines, "} else {", *self.lines, "}",
        ]  # fmt: skip
        ins = [self._declared(a) for a in sorted(self.ins - self.outs)]
        outs = [self._declared(a) for a in sorted(self.outs)]
        sizes = ["int64 H", "raw bool read", "bool masked"]
        return Source(", ".join([*ins, *sizes]), ", ".join(outs), "\n".join(lines))

    def _let(self, q: Plane, value: str) -> None:
        self.known[q] = f"p{q.id}"
        self.lines.append(f"const {self._type(q.dtype)} p{q.id} = {value};")

    def _type(self, dtype: Any) -> str:
        return "bool" if dtype.kind == "b" else "T"

    def _declared(self, array: str) -> str:
        return f"raw {self._type(self.rows.dtype_of(array))} {array}"

    def _at(self, place: Place, q: Plane) -> str:
        """An element of an array; sizes are multiples of H, so that one text serves many sizes."""
        width = self.width

        def size(n: int) -> str:
            if width == 1 or n % width:
                return str(n)
            return "H" if n == width else f"{n // width} * H"

        if (place.width, place.first, q.width) == (width, 0, width):
            return f"{place.array}[i]"
        terms = [f"r * {size(place.width)}"] if place.width else []
        terms += [size(place.first)] if place.first else []
        terms += ["c"] if q.width > 1 else []
        return f"{place.array}[{' + '.join(terms) or '0'}]"


HOLD = Source("raw T s, int64 H, raw bool read", "raw T z", "if (!read[i / H]) z[i] = s[i];")
"""A state that a product has written stays, where a step is padding."""


def _number(x: float) -> str:
    """A number in C, finite or not."""
    x = float(x)
    if math.isfinite(x):
        return f"(T){x!r}"
    return "((T)0 / (T)0)" if x != x else f"((T){1 if x > 0 else -1} / (T)0)"
