"""A loop over time as one function for numba: products, then loops over consecutive numbers.

The loop over sequences between two products computes a cluster of maps. Every value that is stored
is a loop of its own over columns, which becomes vector instructions; what is read once, or costs
one operation, is written where it is read. All arrays are flat. The names:

    S0       a part of the state, of all steps                   X0  an input, for all steps
    G0 H0    its gradients after and before a step
    V7 R7    a saved plane; a value in rows                      Y GY  the output; its gradient
    O7 I7    a vector, the same for all sequences; a value made before the loop
    W7 E7    packed weight of x, and its products, some steps ahead
    U7 D7    packed weight in the loop, and its product

The text names no sizes: widths and offsets are arguments, so that one text serves all shapes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .. import ops
from .plan import COSTLY, Input, Op, Plan, Plane
from .program import SAME, Instr, Value
from .projection import projected

TEMPLATES: dict[Any, str] = {
    SAME: "{}",
    ops.add: "({} + {})",
    ops.subtract: "({} - {})",
    ops.multiply: "{} * {}",
    ops.divide: "({} / {})",
    ops.arithmetic.quotient: "quotient({}, {})",
    ops.arithmetic.product: "selected({}, {})",
    ops.negative: "(-{})",
    ops.tanh: "tanh({})",
    ops.sigmoid: "(HALF + HALF * tanh(HALF * {}))",
    ops.exp: "exp({})",
    ops.expm1: "expm1({})",
    ops.log: "log({})",
    ops.log1p: "log1p({})",
    ops.sin: "sin({})",
    ops.cos: "cos({})",
    ops.sqrt: "sqrt({})",
    ops.square: "square({})",
    ops.absolute: "abs({})",
    ops.sign: "sign({})",
    ops.relu: "larger({}, ZERO)",
    ops.maximum: "larger({}, {})",
    ops.minimum: "smaller({}, {})",
    ops.softplus: "softplus({})",
    ops.where: "({1} if {0} else {2})",
    ops.greater: "({} > {})",
    ops.less: "({} < {})",
    ops.greater_equal: "({} >= {})",
    ops.less_equal: "({} <= {})",
    ops.equal: "({} == {})",
    ops.not_equal: "({} != {})",
}
"""How a map of float32 is written; the functions are those of ``backend/jit/loops.py``."""


class Place(NamedTuple):
    """Where a plane lies: rows of an array, and its first column in them.

    Attributes:
        array: Its name.
        t: The step's index in the text, or "" where there is one row for each sequence.
        row: The name of the rows' width.
        low: The name of the first column, or "".
        alone: Whether the rows are the plane, so that several follow one another.
        span: The name of the number of columns that a number of one row fills, or "".
    """

    array: str
    t: str
    row: str
    low: str
    alone: bool
    span: str = ""


@dataclass
class Text:
    """The printed loop.

    Attributes:
        text: Of the function ``loop``.
        arguments: Its arguments after the fixed ones, in order.
        sizes: Of these, the numbers: widths and columns.
        projections: For each product with an input: its planes by first column.
        dots: The products in the loop; those of ``sums`` are added to a product with an input.
        vectors: Planes that are vectors or one number, by name, and how wide they are laid.
        inputs: Values made before the loop, by name.
        scalars: Whether there are numbers of one row, so that rows are taken one at a time.
    """

    text: str = ""
    arguments: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    projections: dict[Value, Projection] = field(default_factory=dict)
    dots: list[Op] = field(default_factory=list)
    sums: dict[Value, Value] = field(default_factory=dict)
    vectors: dict[str, tuple[Input, int]] = field(default_factory=dict)
    inputs: dict[str, Value] = field(default_factory=dict)
    scalars: bool = False


def rowless(plan: Plan, q: Plane) -> bool:
    """Whether a plane is the same for all sequences and steps."""
    source = plan.inputs.get(q)
    if source is None or plan.where[source.value] != "once":
        return False
    return all(n == 1 for n in plan.program.shape(source.value)[:-1])


def even_width(plan: Plan) -> int:
    """The width of all planes, but for single numbers of the parameters; 0 if they differ."""
    planes = [
        q
        for way in ("forward", "backward")
        for o in plan.ops(way)
        for q in (*o.ins, *o.outs)
        if isinstance(q, Plane) and not (q.width == 1 and rowless(plan, q))
    ]
    widths = {q.width for q in planes}
    return widths.pop() if len(widths) == 1 else 0


class Projection(NamedTuple):
    """A product with an input, that the loop makes some steps ahead.

    Attributes:
        x, weight: Its operands.
        bias: What is added to it, or None.
        planes: Its planes by their first column, those that are read.
    """

    x: Value
    weight: Value
    bias: Value | None
    planes: dict[int, Plane]


class Uncompiled(Exception):
    """There are no loops for this plan; the message says why."""


FIXED = "first, last, T, N, reverse, keep, count, mask, masked"


class LoopPrinter:
    """Prints one loop of a plan.

    Raises:
        Uncompiled: the plan has something that the loops have no form for.
    """

    def __init__(self, plan: Plan, way: str) -> None:
        self.plan, self.p, self.way = plan, plan.program, way
        self.forward = way == "forward"
        self.stages = plan.loop(way)
        self.even = even_width(plan)
        self.out = Text()
        self.read: dict[Plane, Place] = {}
        self.stored: dict[Plane, list[Place]] = {}
        self.projected: dict[Plane, tuple[Value, int]] = {}
        self.names: dict[tuple[str, int], str] = {}
        self.summed: set[Plane] = set()  # products that are added to one with the input
        self.room: list[tuple[str, str]] = []
        self.padded = False
        self.handed: list[int] = []  # parts of the state whose gradient goes from step to step
        self.numbers = False  # whether a plane of one column is a number of a row
        self._check()
        self._places()
        self._find_projections()
        self._print()

    def _check(self) -> None:
        if not self.plan.plain():
            calls = {o.op.name for o in self.plan.ops("forward") if o.kind == "call"}
            calls |= {o.op.name for o in self.plan.ops("backward") if o.kind == "call"}
            raise Uncompiled(
                f"there is no compiled form of {', '.join(sorted(calls))} in a loop"
                if calls
                else "its values are of several shapes or dtypes"
            )
        for way in ("forward", "backward"):
            for o in self.plan.ops(way):
                if o.kind == "map" and o.op not in TEMPLATES:
                    raise Uncompiled(f"there is no compiled form of {o.op.name} in a loop")
        if any(q.dtype.kind == "b" for q in self.plan.saved):
            raise Uncompiled("it saves booleans")

    # -- places ---------------------------------------------------------------------------------

    def arg(self, name: str, size: int | None = None) -> str:
        """An argument of the loop, once."""
        if name not in self.out.arguments:
            self.out.arguments.append(name)
        if size is not None:
            self.out.sizes[name] = size
        return name

    def number(self, kind: str, n: int) -> str:
        """The name of a width or a column; equal ones have one name."""
        if (kind, n) not in self.names:
            count = sum(k == kind for k, _ in self.names)
            self.names[kind, n] = self.arg(f"{kind}{count}", n)
        return self.names[kind, n]

    def width(self, v: Value) -> str:
        """The name of the width of a value."""
        return self.number("w", (self.p.shape(v) or (1,))[-1])

    def _put(self, v: Value, array: str, t: str, into: Any) -> None:
        planes, columns = self.plan.planes[v], self.plan.columns[v]
        self.arg(array)
        for q, (low, high) in zip(planes, columns, strict=True):
            if isinstance(q, Plane):
                low_name = self.number("o", low) if low else ""
                span = self.number("w", high - low) if high - low > q.width else ""
                alone = len(planes) == 1 and not span
                place = Place(array, t, self.width(v), low_name, alone, span)
                into.setdefault(q, []).append(place)

    def _places(self) -> None:
        plan, p = self.plan, self.p
        read: dict[Plane, list[Place]] = {}
        for k, v in enumerate(p.states):
            self._put(v, f"S{k}", "before", read)
            self._put(p.after[k], f"S{k}", "after", self.stored if self.forward else read)
        if plan.where[p.y] == "forward" and p.y not in p.after:
            self._put(p.y, "Y", "t", self.stored if self.forward else read)
        if not self.forward:
            if p.gy is not None:
                self._put(p.gy, "GY", "t", read)
            for k, (g, before) in enumerate(zip(p.gafter, p.gstates, strict=True)):
                if g is not None:
                    self._put(g, f"G{k}", "", read)
                if before is not None:
                    self._put(before, f"H{k}", "", self.stored)
                    self.handed.append(k)
        for q in plan.saved:
            place = Place(self.arg(f"V{q.id}"), "at", self.number("w", q.width), "", True)
            (self.stored if self.forward else read).setdefault(q, []).append(place)
        for v, row in plan.rows.items():
            if v != row.host:
                continue
            name, t = f"R{int(v)}", "at" if row.kept else ""
            if row.way == self.way:
                self._put(v, name, t, self.stored)
            elif row.way == "forward" and row.kept:
                self._put(v, name, t, read)
        self.read = {q: places[0] for q, places in read.items()}
        planes = [q for o in plan.ops(self.way) for q in (*o.ins, *o.outs) if isinstance(q, Plane)]
        spread = [place for places in self.stored.values() for place in places if place.span]
        self.numbers = bool(spread) or any(q.width != 1 for q in planes)

    # -- products with the input ----------------------------------------------------------------

    def _find_projections(self) -> None:
        """W x + b, and W x + b + U h: the loop makes these products itself, some steps ahead."""
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
        """The product with the input to whose first columns all planes of this one are added."""
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
                body += _Cluster(self, [*extra, *stage.maps], k).lines()
            for o in stage.dots:
                body += self._dot(o)
        body += [f"{self.arg(f'G{k}')}, H{k} = H{k}, G{k}" for k in self.handed]
        first, second = ("T - 1 - s", "s") if self.forward else ("s", "T - 1 - s")
        head = [f"t = {first} if reverse else {second}"]
        head += ["before, after = (t + 1, t) if reverse else (t, t + 1)", "at = t if keep else 0"]
        room = [f"{name} = empty({size})" for name, size in self.room]
        for out, known in self.out.projections.items():
            m, x = int(out), self.arg(f"X{self.p.xs.index(known.x)}")
            for name in ("W", "depth", "ahead", "tile", "vec", "gate", "row"):
                self.arg(f"{name}{m}")
            room += [
                f"A{m} = empty3(ahead{m}, last - first, depth{m})",
                f"E{m} = empty3(W{m}.shape[0], ahead{m} * (last - first), "
                f"W{m}.shape[1] * W{m}.shape[3])",
                f"e{m} = E{m}.reshape(-1)",
            ]
            head += [
                f"done{m} = s % ahead{m} * (last - first)",
                f"if done{m} == 0:",
                f"    project({x}, t, reverse, first, last, W{m}, A{m}, E{m}, tile{m}, vec{m})",
            ]
        for o in self.out.dots:
            k = int(o.instr.outs[0])
            room += [
                f"D{k} = empty3(U{k}.shape[0], last - first, U{k}.shape[1] * U{k}.shape[3])",
                f"d{k} = D{k}.reshape(-1)",
            ]
        lines = [f"def loop({FIXED}, {', '.join(self.out.arguments)}):"]
        lines += [f"    {line}" for line in (*room, "for s in range(T):")]
        lines += [f"        {line}" for line in (*head, *body)]
        self.out.text = "\n".join(lines) + "\n"

    # -- products -------------------------------------------------------------------------------

    def _left(self, v: Value) -> str:
        """The rows of a value, for a product."""
        row = self.plan.rows.get(v)
        host, low = v, ""
        if row is not None:
            array, t, host = f"R{int(row.host)}", "at" if row.kept else "", row.host
            # a product takes rows of any width and reads the first columns: they are shifted
            low = f" + {self.number('o', row.low)}" if row.low else ""
        else:
            array, t = self._array_of(v)
        w = self.width(host)
        rows = [f"({t} * N + {n})" if t else n for n in ("first", "last")]
        span = ":".join([f"{n} * {w}{low}" for n in rows])
        return f"{array}[{span}].reshape(last - first, {w})"

    def _array_of(self, v: Value) -> tuple[str, str]:
        """The array of a value that comes into the loop or goes out of it, and its step."""
        p = self.p
        for k, (before, after) in enumerate(zip(p.states, p.after, strict=True)):
            if v in (before, after):
                return f"S{k}", "before" if v == before else "after"
        for k, g in enumerate(p.gafter):
            if v == g:
                return f"G{k}", ""
        if v in (p.gy, p.y):
            return ("GY" if v == p.gy else "Y"), "t"
        raise Uncompiled("a product reads a value that lies in no rows")

    def _dot(self, o: Op) -> list[str]:
        a, out = o.instr.ins[0], o.instr.outs[0]
        k = int(out)
        self.arg(f"U{k}")
        if out in self.out.sums:
            m = int(self.out.sums[out])
            where = f"E{m}[part, done{m}:done{m} + last - first]"
            return [
                f"for part in range(U{k}.shape[0]):",
                f"    product({self._left(a)}, U{k}[part], {where}, tile{m}, vec{m}, True)",
            ]
        self.out.dots.append(o)
        for name in (f"tile{k}", f"vec{k}", f"gate{k}", f"row{k}"):
            self.arg(name)
        for g, q in enumerate(o.outs):
            self.read[q] = Place(f"d{k}", "own", f"row{k}", f"gate{k}[{g}]", True)
        return [
            f"for part in range(U{k}.shape[0]):",
            f"    product({self._left(a)}, U{k}[part], D{k}[part], tile{k}, vec{k}, False)",
        ]

    # -- clusters -------------------------------------------------------------------------------

    def start(self, place: Place, n: str = "n") -> str:
        """The number of the first element of row n."""
        row = {"": n, "own": f"({n} - first)"}.get(place.t, f"({place.t} * N + {n})")
        return f"{row} * {place.row}" + (f" + {place.low}" if place.low else "")

    def slice(self, place: Place, width: str, n: str = "n") -> str:
        """The elements of so many columns from row n on."""
        start = self.start(place, n)
        return f"{place.array}[{start}:{start} + {width}]"

    def _constant(self, v: Any) -> str:
        known = {0: "ZERO", 0.5: "HALF", 1: "ONE"}
        return known[v] if v in known and not isinstance(v, bool) else f"F({v!r})"


_NONE = Instr(SAME, (), (), ())


class _Cluster:
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
        body = ["if masked and not mask[t * N + n]:", *padding, "    continue"]
        body += [*addresses, *self.loops]
        return ["for n in range(first, last, count):", *[f"    {line}" for line in body]]

    def _padding(self) -> list[str]:
        """At padding a state stays; rows are zero, as they are summed after the loop."""
        of, lines = self.of, []
        if of.forward:
            for k, s in enumerate(of.p.states):
                w = of.width(s)
                lines += [
                    f"for j in range({w}):",
                    f"    S{k}[(after * N + n) * {w} + j] = S{k}[(before * N + n) * {w} + j]",
                ]
        for v, row in of.plan.rows.items():
            if v == row.host and row.way == of.way:
                w, r = of.width(v), "(at * N + n)" if row.kept else "n"
                lines += [f"for j in range({w}):", f"    R{int(v)}[{r} * {w} + j] = ZERO"]
        for k in of.handed:
            w = of.width(of.p.states[k])
            lines += [f"for j in range({w}):", f"    H{k}[n * {w} + j] = G{k}[n * {w} + j]"]
        return [f"    {line}" for line in lines]

    def _do(self, o: Op) -> None:
        of, q = self.of, o.outs[0]
        if o.kind == "fold":
            of.out.scalars = True
            self.loops.append(f"m{q.id} = ZERO")
            for u in o.ins:
                w = of.number("w", u.width) if isinstance(u, Plane) else "0"
                self.loops += [f"for j in range({w}):", f"    m{q.id} += {self.expr(u)}"]
            if o.op is ops.mean:
                total = of.width(o.instr.ins[0])
                self.loops.append(f"m{q.id} = m{q.id} / F({total})")
            self._scalar(q)
            return
        if o.op is ops.add and any(u in of.summed for u in o.ins):
            text = self.expr(next(u for u in o.ins if u not in of.summed))
        else:
            text = TEMPLATES[o.op].format(*map(self.expr, o.ins))
        if o.op is SAME and isinstance(o.ins[0], Plane) and o.ins[0] == q:
            cost = 10  # a copy to where it is wanted
        else:
            cost = sum([self.cost.get(u, 0) for u in o.ins]) + (10 if o.op in COSTLY else 1)
        if of.numbers and q.width == 1:
            of.out.scalars = True
            self.loops.append(f"m{q.id} = {text}")
            self._scalar(q)
            return
        live = q in of.stored or of.last.get(q, -1) > self.stage
        if q.dtype.kind == "b" or (not live and (self.uses.get(q, 0) == 1 or cost <= 1)):
            if q.dtype.kind == "b" and live:
                raise Uncompiled("booleans pass from one product to the next")
            self.inline[q] = f"({text})" if o.op is ops.multiply else text
            self.cost[q] = cost
            return
        self.cost[q] = 0
        self._store(q, text)

    def _column(self, q: Plane) -> str:
        """The column at which a plane is read: of a number of a row the only one."""
        if self.of.numbers and q.width == 1:
            self.of.out.scalars = True
            return "0"
        return "j"

    def _scalar(self, q: Plane) -> None:
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
            of.room.append((name, "last - first"))
            place = Place(name, "own", of.number("w", 1), "", True)
            self.loops.append(f"{name}[n - first] = m{q.id}")
            of.read[q] = place

    def expr(self, q: Any) -> str:
        of = self.of
        if not isinstance(q, Plane):
            return of._constant(q)
        if q in self.inline:
            return self.inline[q]
        if q in of.projected:
            out, low = of.projected[q]
            m, known = int(out), of.out.projections[out]
            if q not in self.slices:
                g = sorted(known.planes).index(low)
                start = f"(done{m} + n - first) * row{m} + gate{m}[{g}]"
                w = of.number("w", q.width)
                self.slices[q] = (f"p{q.id}", f"e{m}[{start}:{start} + count * {w}]")
                if known.bias is not None:
                    columns = Input(known.bias, low, low + q.width)
                    of.out.vectors[of.arg(f"O{q.id}")] = columns, q.width
            j = self._column(q)
            return f"p{q.id}[{j}]" if known.bias is None else f"(p{q.id}[{j}] + O{q.id}[{j}])"
        if rowless(of.plan, q):
            width = of.even if of.even and q.width == 1 else q.width
            of.out.vectors[of.arg(f"O{q.id}")] = of.plan.inputs[q], width
            return f"O{q.id}[{'j' if width > 1 else self._column(q)}]"
        if of.numbers and q.width == 1:
            of.out.scalars = True
            if f"m{q.id}" not in self.slices:
                place = self._place(q)
                self.slices[f"m{q.id}"] = (f"m{q.id}", f"{place.array}[{of.start(place)}]")
            return f"m{q.id}"
        if q not in self.slices:
            self.slices[q] = (
                f"p{q.id}",
                of.slice(self._place(q), f"count * {of.number('w', q.width)}"),
            )
        return f"{self.slices[q][0]}[j]"

    def _place(self, q: Plane) -> Place:
        of = self.of
        if q in of.read:
            return of.read[q]
        v, low, _ = of.plan.inputs[q]
        of.out.inputs[of.arg(f"I{int(v)}")] = v
        low_name = of.number("o", low) if low else ""
        time = "" if of.plan.where[v] == "once" else "t"
        return Place(f"I{int(v)}", time, of.width(v), low_name, len(of.plan.planes[v]) == 1)

    def _store(self, q: Plane, text: str) -> None:
        """A loop that computes a plane, and copies to where else it is wanted."""
        of = self.of
        width = of.number("w", q.width)
        places = [*of.stored.get(q, ())]
        if of.last.get(q, -1) > self.stage and not any(place.alone for place in places):
            name = f"K{q.id}"
            of.room.append((name, f"(last - first) * {width}"))
            places.append(Place(name, "own", width, "", True))
        first = next((place for place in places if place.alone), None)
        if q in self.slices:  # a copy of what came from elsewhere
            name, address = self.slices[q]
            self.slices[q, "from"] = (f"{name}q", address)
            text = f"{name}q[j]"
        if first is not None:
            places.remove(first)
            self.slices[q] = (f"p{q.id}", of.slice(first, f"count * {width}"))
        else:
            of.room.append((f"b{q.id}", f"count * {width}"))
            self.slices[q] = (f"b{q.id}", "")
        target = self.slices[q][0]
        self.loops += [f"for j in range(count * {width}):", f"    {target}[j] = {text}"]
        for place in places:
            self.loops += [
                "for r in range(count):",
                f"    z = {of.slice(place, width, '(n + r)')}",
                f"    for j in range({width}):",
                f"        z[j] = {target}[r * {width} + j]",
            ]
        if first is not None or q in of.stored:
            of.read[q] = first or of.stored[q][0]
