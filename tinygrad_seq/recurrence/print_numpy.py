"""A loop over time as calls of NumPy: one call for each run of like operations on adjacent planes.

A *block* holds planes side by side ``(G, N, w)``, and each plane has a home: a place in a block, or
columns of an array of rows. Like maps of one depth whose operands are neighbours are one call, and
so are their results made neighbours. σ(a) = ½ tanh(½a) + ½ is a tanh too: its inner ½ is folded
into the weights where it can be, and one tanh serves all gates.

The text names its arrays; :mod:`.scan` makes them. Arrays with an axis of time are walked by
``zip``, which costs less than an index.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy

from .. import ops
from .plan import Op, Plan, Plane
from .program import SAME, Instr, Value, called

TEMPLATES: dict[Any, str] = {
    SAME: "copyto({out}, {0})",
    ops.relu: "maximum({0}, 0, out={out})",
    ops.maximum: "maximum({0}, {1}, out={out})",
    ops.minimum: "minimum({0}, {1}, out={out})",
    ops.where: "copyto({out}, {2}); copyto({out}, {1}, where={0})",
    ops.tanh: "tanh({0}, {out})",
    ops.absolute: "absolute({0}, {out})",
}
"""How a map is written, beside the ufuncs of NumPy that have the names of primitives."""

NAMES = [
    "add", "subtract", "multiply", "divide", "negative", "exp", "log", "sqrt", "square", "sin",
    "cos", "expm1", "log1p", "greater", "less", "greater_equal", "less_equal", "equal",
    "not_equal", "sign", "floor", "ceil",
]  # fmt: skip
TEMPLATES |= {
    getattr(ops, name): name + ("({0}, {out})" if numpy_ufunc.nin == 1 else "({0}, {1}, {out})")
    for name in NAMES
    if isinstance(numpy_ufunc := getattr(numpy, name), numpy.ufunc)
}
CALLS = [*NAMES, "maximum", "minimum", "copyto", "tanh", "absolute", "dot", "matmul"]


@dataclass(eq=False)
class Block:
    """Planes side by side.

    Attributes:
        name: Of its array.
        planes: In order.
        timed: Whether there is one of it for every step.
        columns: Whether the planes are columns of rows, not pieces of their own.
    """

    name: str
    planes: list[Plane]
    timed: bool = False
    columns: bool = False


class Home(NamedTuple):
    """Where a plane is: number ``at`` of a block, or its columns from ``at`` to ``end``."""

    block: Block
    at: int
    end: int = 0
    whole: bool = True


@dataclass
class Loop:
    """The text of a loop over time, and the arrays that it takes.

    Attributes:
        text: Of the function ``loop``.
        arguments: Its arguments: the array of each, and the index that is applied to it before
            the loop.
        timed: Of the arguments, those that are walked along time.
        blocks: Blocks that need room, by name.
        memory: For each of them that no step outlives, the number of the memory that it shares.
        weights: For each product its name, its instruction, and the planes in the order of blocks.
        halved: Planes that come halved, by their weights.
        calls: Functions that the text calls, by name.
    """

    text: str = ""
    arguments: dict[str, tuple[str, tuple[Any, ...]]] = field(default_factory=dict)
    timed: list[str] = field(default_factory=list)
    blocks: dict[str, Block] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    weights: dict[str, tuple[Op, list[Plane]]] = field(default_factory=dict)
    halved: set[Plane] = field(default_factory=set)
    calls: dict[str, Callable[..., Any]] = field(default_factory=dict)
    saved: dict[Plane, Home] = field(default_factory=dict)


class Line(NamedTuple):
    """A line of the loop, and the blocks that it names."""

    text: str
    names: frozenset[str]
    elementwise: bool


class NumpyPrinter:
    """Prints one loop of a plan.

    Args:
        plan: The plan.
        way: ``"forward"`` or ``"backward"``.
        saved: Where the forward put what it saved; of the forward None.
        keep: Whether the forward saves anything.
    """

    def __init__(
        self, plan: Plan, way: str, saved: dict[Plane, Home] | None = None, keep: bool = True
    ) -> None:
        self.plan, self.p, self.way = plan, plan.program, way
        self.forward = way == "forward"
        self.keep = {*plan.saved} if self.forward and keep else set[Plane]()
        self.kept = keep
        self.stages = plan.loop(way)
        self.home: dict[Plane, Home] = {}
        self.more: list[tuple[Plane, Home]] = []  # further places of planes
        self.loop = Loop()
        self.ids = itertools.count()
        self.names: set[str] = set()
        self.lets: dict[str, str] = {}
        self.lines: list[Line] = []
        self.called: dict[Plane, str] = {}  # whole values of calls, which are names
        maps = [o for stage in self.stages for o in stage.maps]
        self.users: dict[Plane, list[tuple[Op, int]]] = {}
        for o in maps:
            for k, q in enumerate(o.ins):
                if isinstance(q, Plane):
                    self.users.setdefault(q, []).append((o, k))
        self.made = {
            q: o for stage in self.stages for o in (*stage.maps, *stage.dots) for q in o.outs
        }
        self._given(saved or {})
        self._halve(maps)
        self._lay_dots()
        self._lay_inputs()
        self._print()

    # -- homes that are given -------------------------------------------------------------------

    def _give(self, v: Value, name: str, timed: bool, written: bool = False) -> None:
        """The planes of a value are columns of an array of rows, which the loop reads or writes."""
        planes = self.plan.planes[v]
        block = Block(name, [q for q in planes if isinstance(q, Plane)], timed, columns=True)
        for q, (low, high) in zip(planes, self.plan.columns[v], strict=True):
            if not isinstance(q, Plane):
                continue
            spread = high - low > q.width  # one column stands for several
            home = Home(block, low, high, len(planes) == 1)
            if written and (spread or q in self.home or self._comes_in(q)):
                self.more.append((q, home))
            elif spread:
                self.home.setdefault(q, Home(block, low, low + 1, False))
            else:
                self.home.setdefault(q, home)

    def _comes_in(self, q: Plane) -> bool:
        """Whether a plane is made outside of the loops."""
        known = self.plan.inputs.get(q)
        return known is not None and self.plan.where[known.value] in ("once", "before")

    def _given(self, saved: dict[Plane, Home]) -> None:
        p, plan = self.p, self.plan
        for k, v in enumerate(p.states):  # what comes in, before what goes out
            self._give(v, f"s{k}", True)
        for k, v in enumerate(p.after):
            self._give(v, f"z{k}", True, self.forward)
        if plan.where[p.y] == "forward" and p.y not in p.after:
            self._give(p.y, "y", True, self.forward)
        if not self.forward:
            if p.gy is not None:
                self._give(p.gy, "gy", True)
            for k, g in enumerate(p.gafter):
                if g is not None:
                    self._give(g, f"g{k}", False)
            for q, home in saved.items():
                self.home.setdefault(q, home)
        for v, row in plan.rows.items():
            if v != row.host or (row.way != self.way and not (row.way == "forward" and row.kept)):
                continue
            if row.way == self.way:
                planes = plan.planes[v]
                self._give_row(v, f"r{int(v)}", row.kept and self.kept, len(planes) == 1)
            else:
                self._give(v, f"r{int(v)}", True)
        self.outside = {*self.home}

    def _give_row(self, v: Value, name: str, timed: bool, single: bool) -> None:
        """Rows that this loop makes: the home of a plane alone, a copy of several."""
        before = dict(self.home)
        self._give(v, name, timed, True)
        if not single:
            for q in [q for q in self.home if q not in before]:
                self.more.append((q, self.home.pop(q)))

    # -- σ as a tanh ----------------------------------------------------------------------------

    def _halve(self, maps: list[Op]) -> None:
        """Find the planes that may come halved, so that σ needs no factor of its own."""
        self.folded: set[Plane] = set()
        read_later = set[Any]()
        if self.forward:
            read_later = {q for o in self.plan.ops("backward") for q in o.ins}
        fixed = self.keep | self.outside | read_later
        dots = {q for stage in self.stages for o in stage.dots for q in o.outs}

        def parts(q: Any) -> list[Plane] | None:
            if not isinstance(q, Plane) or len(self.users.get(q, ())) != 1 or q in fixed:
                return None
            if q in dots or self._hoisted(q):
                return [q]
            o = self.made.get(q)
            if o is None or o.op is not ops.add:
                return None
            found = [parts(u) for u in o.ins]
            return None if None in found else [x for part in found if part for x in part]

        for o in maps:
            if o.op is ops.sigmoid and o.kind == "map":
                found = parts(o.ins[0])
                if found is not None:
                    self.loop.halved.update(found)
                    self.folded.add(o.outs[0])

    def _hoisted(self, q: Plane) -> bool:
        """Whether a plane is of what is computed before the loop, for every step."""
        known = self.plan.inputs.get(q)
        return known is not None and self.plan.where[known.value] == "before"

    # -- the order of planes in blocks ----------------------------------------------------------

    def _likeness(self, q: Plane, depth: int = 3) -> Any:
        """What is done with a plane: planes of like use are neighbours."""
        if not depth:
            return ()
        users = self.users.get(q, ())
        return tuple(
            sorted([(o.op.name, k, self._likeness(o.outs[0], depth - 1)) for o, k in users])
        )

    def _block(self, planes: Iterable[Plane], name: str = "", timed: bool = False) -> Block:
        scratch = f"{'t' if self.forward else 'b'}{next(self.ids)}"
        block = Block(name or scratch, [*planes], timed)
        self.loop.blocks[block.name] = block
        for k, q in enumerate(block.planes):
            self.home[q] = Home(block, k)
        return block

    def _lay_dots(self) -> None:
        self.beside: dict[Plane, Plane] = {}  # a hoisted plane, and the product that is added to it
        for o in [o for stage in self.stages for o in stage.dots]:
            planes = [*o.outs]
            name = f"d{int(o.instr.outs[0])}"
            even = len({q.width for q in planes}) == 1
            if even:
                planes.sort(key=self._likeness)
            for q in planes:
                if q in self.home and not (len(planes) == 1 and self.home[q].whole):
                    self.more.append((q, self.home.pop(q)))
            if planes[0] not in self.home:
                if even:
                    self._block(planes, name)
                else:
                    self._columns(planes, name)
            self.loop.weights[f"u{int(o.instr.outs[0])}"] = (o, planes if even else [])
            for q in planes:
                for user, k in self.users.get(q, ()):
                    if user.op is ops.add and isinstance(user.ins[1 - k], Plane):
                        self.beside.setdefault(user.ins[1 - k], q)

    def _columns(self, planes: list[Plane], name: str) -> None:
        """A product of planes of several widths: they lie as columns of its rows."""
        block, low = Block(name, planes, False, columns=True), 0
        self.loop.blocks[name] = block
        for q in planes:
            self.home[q] = Home(block, low, low + q.width, False)
            low += q.width

    def _lay_inputs(self) -> None:
        """Hoisted planes in the order of the products that they are added to; the rest alone."""
        groups: dict[Any, list[Plane]] = {}
        for q, source in self.plan.inputs.items():
            if q not in self.home and self._is_read(q):
                if self._hoisted(q) and len(q.shape) == len(self.plan.lead) + 1:
                    groups.setdefault((self._root(source.value), q.shape, q.dtype), []).append(q)
                else:
                    self._block([q], f"i{q.id}", timed=self._hoisted(q))
        for planes in groups.values():
            planes.sort(key=self._place_beside)
            self._block(planes, f"x{planes[0].id}", timed=True)

    def _is_read(self, q: Plane) -> bool:
        used = q in self.users or any(q in o.ins for o in self.plan.ops(self.way))
        return used or any(q is other for other, _ in self.more)

    def _place_beside(self, q: Plane) -> Any:
        home = self.home.get(self.beside.get(q, q))
        if home is None or home.block.columns:
            return (1, "", 0, self._likeness(q), q.id)
        return (0, home.block.name, home.at, (), q.id)

    def _root(self, v: Value) -> Value:
        made = {o: i for i in self.plan.before for o in i.outs}
        i = made.get(v)
        return i.ins[0] if i is not None and i.op is ops.split else v

    # -- runs of like maps ----------------------------------------------------------------------

    def _runs(self, maps: list[Op]) -> list[list[Op]]:
        """The maps of a stage, each run of which is one call."""
        inside = {q for o in maps for q in o.outs}
        depth: dict[Plane, int] = {}
        for o in maps:
            below = [depth.get(q, 0) for q in o.ins if isinstance(q, Plane) and q in inside]
            depth.update(dict.fromkeys(o.outs, 1 + max(below, default=0)))
        buckets: dict[Any, list[Op]] = {}
        for o in maps:
            numbers = tuple([None if isinstance(v, Plane) else v for v in o.ins])
            kind = "squash" if o.op in (ops.tanh, ops.sigmoid) else o.op
            alone = o.kind != "map" or not (kind == "squash" or o.op in TEMPLATES)
            key = (depth[o.outs[0]], kind, numbers, o.outs[0].shape, o.outs[0].dtype)
            buckets.setdefault((*key, o.outs[0] if alone else None), []).append(o)
        runs: list[list[Op]] = []
        for (_, _, _, _, _, alone), bucket in sorted(buckets.items(), key=lambda b: b[0][0]):
            if alone is not None:
                runs += [[o] for o in bucket]
                continue
            runs += self._adjacent([self._turned(o) for o in bucket], inside)
        return runs

    def _turned(self, o: Op) -> Op:
        """A sum or a product with the operand of the larger block first."""
        if o.op not in (ops.add, ops.multiply) or not all(isinstance(q, Plane) for q in o.ins):
            return o
        a, b = (self.home.get(q) for q in o.ins)
        sizes = [0 if h is None or h.block.columns else len(h.block.planes) for h in (a, b)]
        return o._replace(ins=o.ins[::-1]) if sizes[1] > sizes[0] else o

    def _adjacent(self, bucket: list[Op], inside: set[Plane]) -> list[list[Op]]:
        def key(o: Op) -> Any:
            homes = [self.home.get(q) for q in o.ins if isinstance(q, Plane)]
            places = [(h.block.name, h.at) for h in homes if h is not None and not h.block.columns]
            return min(places, default=("~", 0))

        bucket.sort(key=key)
        for k in range(len(bucket[0].ins)):  # operands without a home become neighbours
            planes = [o.ins[k] for o in bucket]
            homeless = [isinstance(q, Plane) and q in inside and q not in self.home for q in planes]
            alike = all(homeless) and len({(q.shape, q.dtype) for q in planes}) == 1
            if len(bucket) > 1 and alike and len({*planes}) == len(planes):
                self._block(planes)
        runs: list[list[Op]] = []
        for o in bucket:
            if runs and self._goes_on(runs[-1], o):
                runs[-1].append(o)
            else:
                runs.append([o])
        for run in runs:
            planes = [o.outs[0] for o in run]
            if len(run) > 1 and all(q not in self.home for q in planes):
                self._block(planes)
        return runs

    def _goes_on(self, run: list[Op], o: Op) -> bool:
        """Whether each operand of a run is one for all, or a neighbour of the last."""
        for k, q in enumerate(o.ins):
            first, last = run[0].ins[k], run[-1].ins[k]
            if not (
                q == first == last or (self._follows(last, q) and (first != last or run[1:] == []))
            ):
                return False
        return self._out_follows(run[-1].outs[0], o.outs[0])

    def _follows(self, a: Any, b: Any) -> bool:
        """Whether b stands after a in a block."""
        x, y = (self.home.get(q) if isinstance(q, Plane) else None for q in (a, b))
        if x is None or y is None or x.block is not y.block or x.block.columns:
            return False
        return y.at == x.at + 1

    def _out_follows(self, a: Plane, b: Plane) -> bool:
        if a not in self.home and b not in self.home:
            return True
        return a != b and a in self.home and b in self.home and self._follows(a, b)

    # -- text -----------------------------------------------------------------------------------

    def ref(self, q: Any, end: Any = None) -> str:
        """The name of a plane, or of all from it to ``end`` in a block."""
        if not isinstance(q, Plane):
            return repr(q)
        if q in self.called:
            return self.called[q]
        block, at, stop, whole = self.home[q]
        self.names.add(block.name)
        if block.columns:
            name = block.name if whole else f"{block.name}_{at}_{stop}"
            return self._argument(name, block, () if whole else (..., slice(at, stop)))
        last = at if end is None else self.home[end].at
        if len(block.planes) == 1:
            return self._argument(block.name, block)
        if at == last:
            return self._argument(f"{block.name}_{at}", block, (at,))
        if (at, last + 1) == (0, len(block.planes)):
            return self._argument(block.name, block)
        return self._argument(f"{block.name}_{at}to{last}", block, (slice(at, last + 1),))

    def _argument(self, name: str, block: Block, pick: tuple[Any, ...] = ()) -> str:
        if block.timed and pick and pick[0] is not ...:
            pick = (slice(None), *pick)
        self.loop.arguments[name] = (block.name, pick)
        if block.timed and name not in self.loop.timed:
            self.loop.timed.append(name)
        return name

    def _add(self, text: str, elementwise: bool = True) -> None:
        self.lines.append(Line(text, frozenset(self.names), elementwise))
        self.names.clear()

    def _print(self) -> None:
        runs = [(self._runs(stage.maps), stage.dots) for stage in self.stages]
        self._settle()
        for group, dots in runs:
            for run in group:
                self._call(run)
                self._copies({q for o in run for q in o.outs})
            for o in dots:
                self._dot(o)
                self._copies({*o.outs})
        self._inputs_of_rows()
        if not self.forward:
            self._hand_on()
        self._padding()
        self._share()
        arguments = [*self.loop.arguments]
        walked = [n for n in arguments if n in self.loop.timed]
        rest = ", ".join([n for n in arguments if n not in self.loop.timed])
        each = ", ".join([*walked, "hold"]) + ("" if walked else ",")
        sources = ", ".join([f"A_{n}" for n in walked] + ["A_hold"])
        body = "\n".join(f"        {line.text}" for line in self.lines)
        head = f"def loop({rest}{', ' if rest else ''}{sources}):"
        self.loop.text = f"{head}\n    for {each} in zip({sources}):\n{body}\n"

    def _settle(self) -> None:
        """Homes for the planes that no run has placed."""
        later = {q for stage in self.stages for o in stage.maps for q in o.ins} | self.keep
        goals = {q for g in self.p.gstates if g is not None for q in self.plan.planes[g]}
        for stage in self.stages:
            for o in stage.maps:
                if o.kind == "call":
                    continue
                (q,) = o.outs
                if q in self.home:
                    continue
                wants = [m for m in self.more if m[0] == q]
                fit = o.kind == "map" or [m.end - m.at for _, m in wants] == [q.width]
                if len(wants) == 1 and fit and q not in later and (self.forward or q not in goals):
                    self.home[q] = wants[0][1]
                    self.more.remove(wants[0])
                else:
                    self._block([q])
        for block in [*self.loop.blocks.values()]:
            if any(q in self.keep for q in block.planes) and not block.timed:
                block.timed = True
        if self.forward:
            for q in self.keep:
                if q not in self.home:  # of a call
                    self._block([q], timed=True)
            self.loop.saved = {q: self.home[q] for q in self.keep}

    def _copies(self, made: set[Plane]) -> None:
        """Planes that are wanted in a further place."""
        for q, (block, at, end, whole) in self.more:
            if q in made:
                self.names.add(block.name)
                name = block.name if whole else f"{block.name}_{at}_{end}"
                target = self._argument(name, block, () if whole else (..., slice(at, end)))
                self._add(f"copyto({target}, {self.ref(q)})")

    def _inputs_of_rows(self) -> None:
        """Rows that hold pieces which no map of this loop makes, before all that read them."""
        count = len(self.lines)
        self._copies({q for q, _ in self.more if q not in self.made})
        self.lines = self.lines[count:] + self.lines[:count]

    def _call(self, run: list[Op]) -> None:
        o, last = run[0], run[-1]
        if o.kind == "call":
            self._primitive(o)
            return
        if o.kind == "fold":
            self._fold(o)
            return
        out = self.ref(o.outs[0], last.outs[0])
        ins = [self.ref(a, b if a != b else None) for a, b in zip(o.ins, last.ins, strict=True)]
        if o.op in (ops.tanh, ops.sigmoid):
            self._squash(run, ins[0], out)
        elif o.op in TEMPLATES:
            text = TEMPLATES[o.op].format(*ins, out=out)
            self._add(text, ";" not in text)  # of two calls the first may write over an operand
        else:
            self._add(
                f"copyto({out}, {self._function(o.instr.op.name, o.op.forward)}({', '.join(ins)}))"
            )

    def _squash(self, run: list[Op], a: str, out: str) -> None:
        """tanh, and σ by it."""
        gates = [o for o in run if o.op is ops.sigmoid]
        if all(o.outs[0] in self.folded for o in gates):
            self._add(f"tanh({a}, {out})")
        else:
            for o in run:
                b, c = self.ref(o.ins[0]), self.ref(o.outs[0])
                if o in gates and o.outs[0] not in self.folded:
                    self._add(f"multiply({b}, 0.5, {c}); tanh({c}, {c})")
                else:
                    self._add(f"tanh({b}, {c})")
        for sigmoids in _neighbours(run, gates):
            part = self.ref(sigmoids[0].outs[0], sigmoids[-1].outs[0] if sigmoids[1:] else None)
            self._add(f"multiply({part}, 0.5, {part}); add({part}, 0.5, {part})")

    def _fold(self, o: Op) -> None:
        (q,) = o.outs
        out, first, *rest = [self.ref(v) for v in (q, *o.ins)]
        self._add(f"add_reduce({first}, -1, None, {out}, True)", False)
        for more in rest:
            self._add(f"add({out}, add_reduce({more}, -1, None, None, True), {out})", False)
        if o.op is ops.mean:
            width = self.p.shape(o.instr.ins[0])[-1]
            self._add(f"multiply({out}, {1 / width!r}, {out})")

    def _dot(self, o: Op) -> None:
        left, weight = self._whole(o.instr.ins[0]), f"u{int(o.instr.outs[0])}"
        self.loop.arguments[weight] = (weight, ())
        first, last = self.loop.weights[weight][1][:1], self.loop.weights[weight][1][-1:]
        if len(o.outs) == 1:
            self._add(f"dot({left}, {weight}, {self.ref(o.outs[0])})", False)
        elif first:
            out = self.ref(first[0], last[0])
            self._add(f"matmul({left}, {weight}, out={out})", False)  # CuPy takes it by name alone
        else:
            block = self.home[o.outs[0]].block
            self.names.add(block.name)
            self._add(f"dot({left}, {weight}, {self._argument(block.name, block)})", False)

    def _whole(self, v: Value) -> str:
        """The name of a value in one piece."""
        p, row = self.p, self.plan.rows.get(v)
        if row is not None and (row.way == self.way or row.kept):
            block = Block(f"r{int(row.host)}", [], row.kept and (self.kept or row.way != self.way))
            high = row.low + self.plan.columns[v][-1][1]
            whole = v == row.host
            pick: Any = () if whole else (..., slice(row.low, high))
            name = block.name if whole else f"{block.name}_{row.low}_{high}"
            self.names.add(block.name)
            return self._argument(name, block, pick)
        planes = self.plan.planes[v]
        if len(planes) == 1:
            return self.ref(planes[0])
        given: dict[str, Any] = {f"s{k}": s for k, s in enumerate(p.states)}
        given |= {f"z{k}": s for k, s in enumerate(p.after)} | {"y": p.y, "gy": p.gy}
        gradients = {f"g{k}": g for k, g in enumerate(p.gafter)}
        for name, value in (given | gradients).items():
            if v == value:
                self.names.add(name)
                return self._argument(name, Block(name, [], name not in gradients))
        raise AssertionError(f"{v} is in pieces")

    def _function(self, name: str, function: Callable[..., Any]) -> str:
        known = next((n for n, f in self.loop.calls.items() if f is function), None)
        if known is None:
            known = f"{name}_{len(self.loop.calls)}"
            self.loop.calls[known] = function
        return known

    def _primitive(self, o: Op) -> None:
        """A call of a primitive on whole values, as the op table has it."""
        reads = [*dict.fromkeys(o.instr.reads())]
        names = ", ".join([self._whole(v) for v in reads])
        function = self._function(o.op.name, _caller(o.instr, reads))
        results = [f"c{int(v)}" for v in o.instr.outs]
        self._add(f"{', '.join(results)} = {function}({names})", False)
        for v, name in zip(o.instr.outs, results, strict=True):
            planes = self.plan.planes[v]
            for q, (low, high) in zip(planes, self.plan.columns[v], strict=True):
                piece = name if len(planes) == 1 else f"{name}[..., {low}:{high}]"
                if q in self.home:  # it is kept: a copy in its place
                    self._add(f"copyto({self.ref(q)}, {piece})", False)
                else:
                    self.called[q] = piece

    def _hand_on(self) -> None:
        """The gradients of the state before the step, where those of the state after were."""
        p = self.p
        for k, g in enumerate(p.gstates):
            if g is None:
                continue
            whole = len(self.plan.planes[g]) == 1
            for q, (low, high) in zip(self.plan.planes[g], self.plan.columns[g], strict=True):
                block = Block(f"g{k}", [], False, columns=True)
                if whole and self._moved(q, f"g{k}"):
                    continue
                name = f"g{k}" if whole else f"g{k}_{low}_{high}"
                self.names.add(f"g{k}")
                pick: Any = () if whole else (..., slice(low, high))
                target = self._argument(name, block, pick)
                self._add(f"copyto({target}, {self.ref(q)})")

    def _moved(self, q: Any, name: str) -> bool:
        """Write a gradient straight to its place, if nothing reads the place from then on."""
        home = self.home.get(q) if isinstance(q, Plane) else None
        if home is None or home.block.columns or home.block.timed or len(home.block.planes) > 1:
            return False
        old = home.block.name
        writes = next(k for k, line in enumerate(self.lines) if old in line.names)
        if any(name in line.names for line in self.lines[writes + 1 :]):
            return False
        if name in self.lines[writes].names and not self.lines[writes].elementwise:
            return False
        for k in range(writes, len(self.lines)):
            line = self.lines[k]
            text = re.sub(rf"\b{old}\b", name, line.text)
            self.lines[k] = Line(text, line.names - {old} | {name}, line.elementwise)
        self.loop.arguments.pop(old, None)
        self.loop.blocks.pop(old)
        self.loop.arguments[name] = (name, ())
        return True

    # -- padding and memory ---------------------------------------------------------------------

    def _padding(self) -> None:
        """At a step of padding a state stays, its gradient passes, and all else gets nothing."""
        p = self.p
        if self.forward:
            for k in range(len(p.states)):
                for name in (f"s{k}", f"z{k}"):
                    self._argument(name, Block(name, [], True))
            copies = [f"copyto(z{k}, s{k}, where=hold[{k}])" for k in range(len(p.states))]
            if copies:
                self._add(f"if hold is not None: {'; '.join(copies)}", False)
            return
        held = [k for k, g in enumerate(p.gstates) if g is not None]
        rows = [
            (f"r{int(v)}", v)
            for v, r in self.plan.rows.items()
            if r.way == "backward" and v == r.host
        ]
        for k in held:
            self._argument(f"g{k}", Block(f"g{k}", [], False))
        lines = [f"copyto(g{k}, k{k}, where=hold[{k}])" for k in held]
        for name, v in rows:
            row = self.plan.rows[v]
            self._argument(name, Block(name, [], row.kept))
            lines.append(f"copyto({name}, 0, where=fit(hold, {name}))")
        if held:
            first = f"if hold is not None: {'; '.join(f'k{k} = g{k}.copy()' for k in held)}"
            self.lines.insert(0, Line(first, frozenset(), False))
        if lines:
            self._add(f"if hold is not None: {'; '.join(lines)}", False)

    def _share(self) -> None:
        """Blocks that are not alive at the same time lie in one piece of memory."""
        life: dict[str, list[int]] = {}
        for n, line in enumerate(self.lines):
            for name in line.names:
                life.setdefault(name, [n, n])[1] = n
        pool: list[tuple[Any, int]] = []
        for name, (start, end) in sorted(life.items(), key=lambda item: item[1]):
            block = self.loop.blocks.get(name)
            if block is None or block.timed or block.columns or name[0] not in "tbd":
                continue
            size = (len(block.planes), block.planes[0].shape, block.planes[0].dtype)
            free = [
                k
                for k, (s, last) in enumerate(pool)
                if s == size and (last < start or (last == start and self.lines[start].elementwise))
            ]
            if free:
                self.loop.memory[name] = free[-1]
                pool[free[-1]] = (size, end)
            else:
                self.loop.memory[name] = len(pool)
                pool.append((size, end))


def _neighbours(run: list[Op], some: list[Op]) -> list[list[Op]]:
    """Those of a run, in pieces that stand together."""
    groups: list[list[Op]] = []
    for k, o in enumerate(run):
        if o in some:
            if k and run[k - 1] in some:
                groups[-1].append(o)
            else:
                groups.append([o])
    return groups


def _caller(instr: Instr, reads: list[Value]) -> Callable[..., Any]:
    """A primitive with its parameters and numbers, as a function of the values that it reads."""
    return lambda *arrays: called(instr, dict(zip(reads, arrays, strict=True)))
