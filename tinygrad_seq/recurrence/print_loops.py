"""A loop over time as one function for numba: products, then loops over consecutive numbers.

Between two products a loop over sequences computes a cluster of maps (:mod:`.print_maps`). All
arrays are flat. The names:

    S0 Z0    a part of the state before and after every step     X0  an input, for all steps
    G0 H0    its gradients after and before a step
    V7 R7    a saved plane; a value in rows                      Y GY  the output; its gradient
    O7 I7    a vector, the same for all sequences; a value made before the loop
    W7 E7    packed weight of x, and its products for several steps
    U7 D7    packed weight in the loop, and its product
    p7 m7    where a plane of row n lies; its number, if it is one number per row
    t        the number of the first row of a step; at, where rows of all steps may not be kept

``view(S0, k, n)`` is where number k of an array lies. numba compiles it, ``copy``, ``clear``,
``product`` and ``project`` to a few instructions, slices of arrays to many.

The text names no sizes: widths and offsets are arguments, so that one text serves all shapes.
"""

from __future__ import annotations

from typing import Any

from .. import ops
from .forms import with_functions
from .loop_text import Address, Projection, Text, Uncompiled, check, even_width
from .plan import Op, Plan, Plane
from .print_maps import Cluster
from .program import SAME, Instr, Value
from .projection import projected

_NONE = Instr(SAME, (), (), ())

FIXED = "first, last, T, N, reverse, keep, count, mask, masked"


class LoopPrinter:
    """Prints one loop of a plan.

    Raises:
        Uncompiled: the loops cannot do something that the plan needs.
    """

    def __init__(self, plan: Plan, way: str) -> None:
        self.plan, self.p, self.way = plan, plan.program, way
        self.forward = way == "forward"
        self.stages = plan.loop(way)
        self.even = even_width(plan)
        self.out = Text()
        self.read: dict[Plane, Address] = {}
        self.stored: dict[Plane, list[Address]] = {}
        self.lies: dict[Value, tuple[str, str]] = {}  # the array of a value, and its step there
        self.projected: dict[Plane, tuple[Value, int]] = {}
        self.names: dict[tuple[str, int], str] = {}
        self.summed: set[Plane] = set()  # products that are added to one with the input
        self.room: dict[str, str] = {}
        self.padded = False
        self.handed: list[int] = []  # parts of the state whose gradient goes from step to step
        self.numbers = False  # whether a plane of one column is one number per row
        check(plan, "compiled form of")
        self._places()
        self._find_projections()
        self._print()

    # -- places ---------------------------------------------------------------------------------

    def arg(self, name: str, size: int | None = None) -> str:
        """An argument of the loop, once."""
        if name not in self.out.arguments:
            self.out.arguments.append(name)
        if size is not None:
            self.out.sizes[name] = size
        return name

    def number(self, kind: str, n: int) -> str:
        """The name of a width or a column; equal numbers share a name."""
        if (kind, n) not in self.names:
            count = sum(k == kind for k, _ in self.names)
            self.names[kind, n] = self.arg(f"{kind}{count}", n)
        return self.names[kind, n]

    def width(self, v: Value) -> str:
        """The name of the width of a value."""
        return self.number("w", self.p.width(v))

    def count(self, n: int) -> str:
        """How many numbers of a plane of this width the maps take at a time."""
        width = self.number("w", n)
        self.room[f"c{width[1:]}"] = f"count * {width}"
        return f"c{width[1:]}"

    def _put(self, v: Value, array: str, t: str, into: Any) -> None:
        self.lies.setdefault(v, (self.arg(array), t))
        for q, low, high in self.plan.pieces(v):
            if isinstance(q, Plane):
                low_name = self.number("o", low) if low else ""
                span = self.number("w", high - low) if high - low > q.width else ""
                alone = len(self.plan.planes[v]) == 1 and not span
                place = Address(array, t, self.width(v), low_name, alone, span)
                into.setdefault(q, []).append(place)

    def _places(self) -> None:
        plan, p = self.plan, self.p
        read: dict[Plane, list[Address]] = {}
        for a in plan.arrays(self.way):
            t = "" if not a.timed else "at" if a.value in plan.rows else "t"
            self._put(a.value, a.name.upper(), t, self.stored if a.written else read)
        for k, before in enumerate(p.gstates):
            if before is not None and not self.forward:
                self._put(before, f"H{k}", "", self.stored)
                self.handed.append(k)
        for q in plan.saved:
            place = Address(self.arg(f"V{q.id}"), "at", self.number("w", q.width), "", True)
            (self.stored if self.forward else read).setdefault(q, []).append(place)
        self.read = {q: places[0] for q, places in read.items()}
        planes = [q for o in plan.ops(self.way) for q in (*o.ins, *o.outs) if isinstance(q, Plane)]
        spread = [place for places in self.stored.values() for place in places if place.span]
        self.numbers = bool(spread) or any(q.width != 1 for q in planes)

    # -- products with the input ----------------------------------------------------------------

    def _find_projections(self) -> None:
        """W x + b, and W x + b + U h: products that the loop makes for several steps at once."""
        if not self.forward:
            return
        plan = self.plan
        made = {o: i for i in plan.before for o in i.outs}
        later = plan.read_backward() | {v for i in plan.after for v in i.reads()}
        maps = [o for stage in self.stages for o in stage.maps]
        users: dict[Any, list[Op]] = {}
        for o in maps:
            for q in o.ins:
                users.setdefault(q, []).append(o)
        for q, (v, _, _) in plan.inputs.items():
            if plan.where[v] != "before" or v in later or q not in users:
                continue
            columns = projected(plan, made, q)
            if columns is None or columns.whole in later:
                continue
            x, W, bias, out, _, low = columns
            known = self.out.projections.setdefault(out, Projection(x, W, bias, {}))
            if known.bias != bias:
                continue
            known.planes[low] = q
            self.projected[q] = (out, low)
        for stage in self.stages:
            for o in stage.dots:
                target = self._added_to(o, users)
                if target is not None:
                    self.out.sums[o.instr.outs[0]] = target
        self.summed = {
            q
            for stage in self.stages
            for o in stage.dots
            if o.instr.outs[0] in self.out.sums
            for q in o.outs
        }

    def _added_to(self, o: Op, users: dict[Any, list[Op]]) -> Value | None:
        """The product with the input to whose first columns all of this one's planes are added."""
        low, found = 0, set()
        for q in o.outs:
            use = users.get(q, [])
            if len(use) != 1 or use[0].op is not ops.add or q in self.stored:
                return None
            other = use[0].ins[1] if use[0].ins[0] == q else use[0].ins[0]
            at = self.projected.get(other)
            if at is None or at[1] != low or len(users[other]) != 1:
                return None
            found.add(at[0])
            low += q.width
        return found.pop() if len(found) == 1 else None

    # -- the function ---------------------------------------------------------------------------

    def _print(self) -> None:
        body: list[str] = []
        made = [{q for o in stage.maps for q in o.outs} for stage in self.stages]
        dots = [{q for o in stage.dots for q in o.outs} for stage in self.stages]
        self.last: dict[Plane, int] = {}
        for k, stage in enumerate(self.stages):
            for o in stage.maps:
                self.last.update({q: k for q in o.ins if isinstance(q, Plane)})
        for k, stage in enumerate(self.stages):
            copies = [q for q in self.stored if k and q in dots[k - 1]]
            if k == 0:
                everywhere = set[Plane]().union(*made, *dots)
                copies += [q for q in self.stored if q not in everywhere]
            extra = [Op("map", SAME, (q,), (q,), _NONE) for q in copies]
            if extra or stage.maps:
                body += Cluster(self, [*extra, *stage.maps], k).lines()
            for o in stage.dots:
                body += self._dot(o)
        body += [f"{self.arg(f'G{k}')}, H{k} = H{k}, G{k}" for k in self.handed]
        first, second = ("T - 1 - s", "s") if self.forward else ("s", "T - 1 - s")
        head = [f"step = {first} if reverse else {second}", "t = step * N", "at = t if keep else 0"]
        room = [f"{name} = {size}" for name, size in self.room.items()]
        for out, known in self.out.projections.items():
            m, x = int(out), self.arg(f"X{self.p.xs.index(known.x)}")
            for name in ("W", "depth", "ahead", "tile", "vec", "gate", "row"):
                self.arg(f"{name}{m}")
            room += [
                f"A{m} = empty3(ahead{m}, last - first, depth{m})",
                f"E{m} = empty3(W{m}.shape[0], ahead{m} * (last - first), "
                f"W{m}.shape[1] * W{m}.shape[3])",
            ]
            head += [
                f"done{m} = s % ahead{m} * (last - first)",
                f"if done{m} == 0:",
                f"    project({x}, step, reverse, first, W{m}, A{m}, E{m}, tile{m}, vec{m})",
            ]
        for o in self.out.dots:
            k = int(o.instr.outs[0])
            room += [f"D{k} = empty3(U{k}.shape[0], last - first, U{k}.shape[1] * U{k}.shape[3])"]
        lines = [f"def loop({FIXED}, {', '.join(self.out.arguments)}):"]
        lines += [f"    {line}" for line in (*room, "for s in range(T):")]
        lines += [f"        {line}" for line in (*head, *body)]
        self.out.text = with_functions("\n".join(lines) + "\n")

    # -- products -------------------------------------------------------------------------------

    def _left(self, v: Value) -> str:
        """The rows of a value, for a product."""
        row = self.plan.rows.get(v)
        host = v if row is None else row.host
        if host not in self.lies:
            raise Uncompiled("a product reads a value that is not in rows")
        array, t = self.lies[host]
        # a product takes rows of any width and reads the first columns: they are shifted
        low = f" + {self.number('o', row.low)}" if row is not None and row.low else ""
        w = self.width(host)
        at = f"({t} + first)" if t else "first"
        return f"{array}, {at} * {w}{low}, {w}"

    def _dot(self, o: Op) -> list[str]:
        a, out = o.instr.ins[0], o.instr.outs[0]
        k = int(out)
        self.arg(f"U{k}")
        if out in self.out.sums:
            m = int(self.out.sums[out])
            tile = f"tile{m}, vec{m}, True"
            return [f"product({self._left(a)}, U{k}, E{m}, done{m}, last - first, {tile})"]
        self.out.dots.append(o)
        for name in (f"tile{k}", f"vec{k}", f"gate{k}", f"row{k}"):
            self.arg(name)
        for g, q in enumerate(o.outs):
            self.read[q] = Address(f"D{k}", "own", f"row{k}", f"gate{k}[{g}]", True)
        return [f"product({self._left(a)}, U{k}, D{k}, 0, last - first, tile{k}, vec{k}, False)"]

    # -- clusters -------------------------------------------------------------------------------

    def start(self, place: Address, n: str = "n") -> str:
        """The number of the first element of row n."""
        return f"{self.row(place.t, n)} * {place.row}" + (f" + {place.low}" if place.low else "")

    def row(self, t: str, n: str = "n") -> str:
        """The number of row n of a step, in an array of all steps, of one, or of this thread."""
        return {"": n, "own": f"({n} - first)"}.get(t, f"({t} + {n})")

    def view(self, place: Address, count: str) -> str:
        """So many numbers from row n on."""
        return f"view({place.array}, {self.start(place)}, {count})"
