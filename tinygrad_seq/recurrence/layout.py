"""The memory layout of the planes of a NumPy loop: side by side in blocks, or columns of rows.

A *block* holds planes side by side ``(G, N, w)``. Each plane has a home: a place in a block, or
columns of an array of rows. Planes with the same use are neighbours, so one call computes them.
σ(a) = ½ tanh(½a) + ½ is computed by a tanh: its inner ½ is folded into the weights if possible, and
one tanh computes all gates.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .. import ops
from .numpy_calls import TEMPLATES
from .plan import Array, Op, Plan, Plane, Stage, is_row
from .program import Value


@dataclass(eq=False)
class Block:
    """Planes side by side.

    Attributes:
        name: Of its array.
        planes: In order.
        timed: Whether every step has one.
        columns: Whether the planes are columns of rows, not separate pieces.
        outside: Whether they are made outside the loops.
    """

    name: str
    planes: list[Plane]
    timed: bool = False
    columns: bool = False
    outside: bool = False


class Home(NamedTuple):
    """The place of a plane: number ``at`` of a block, or its columns from ``at`` to ``end``."""

    block: Block
    at: int
    end: int = 0
    whole: bool = True


@dataclass
class Loop:
    """The text of a loop over time, and the arrays that it takes.

    Attributes:
        text: Of the function ``loop``.
        arguments: Its arguments: the array of each, and the index applied to it before the
            loop.
        timed: The arguments that are iterated over time.
        blocks: Blocks that need memory, by name.
        memory: For each block used within one step only, the number of its shared memory.
        weights: For each product its name, its instruction, and the planes in the order of blocks.
        halved: Planes whose weights are halved.
        calls: Functions that the text calls, by name.
        compiled: The texts of those that are compiled.
    """

    text: str = ""
    arguments: dict[str, tuple[str, tuple[Any, ...]]] = field(default_factory=dict)
    timed: list[str] = field(default_factory=list)
    blocks: dict[str, Block] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    weights: dict[str, tuple[Op, list[Plane]]] = field(default_factory=dict)
    halved: set[Plane] = field(default_factory=set)
    calls: dict[str, Callable[..., Any]] = field(default_factory=dict)
    compiled: list[str] = field(default_factory=list)
    saved: dict[Plane, Home] = field(default_factory=dict)


class Layout:
    """The place of each plane of a loop.

    Args:
        plan: The plan.
        way: ``"forward"`` or ``"backward"``.
        saved: Where the forward put what it saved; None for the forward.
        keep: Whether the forward saves anything.
    """

    def __init__(
        self, plan: Plan, way: str, saved: dict[Plane, Home] | None = None, keep: bool = True
    ) -> None:
        self.plan, self.p, self.way = plan, plan.program, way
        self.forward = way == "forward"
        self.keep = {*plan.saved} if self.forward and keep else set[Plane]()
        self.kept = keep
        self.stages = [Stage([*map(self._written, s.maps)], s.dots) for s in plan.loop(way)]
        self.home: dict[Plane, Home] = {}
        self.more: list[tuple[Plane, Home]] = []  # further places of planes
        self.loop = Loop()
        self.ids = itertools.count()
        maps = [o for stage in self.stages for o in stage.maps]
        self.users: dict[Plane, list[tuple[Op, int]]] = {}
        for o in maps:
            for k, q in enumerate(o.ins):
                if isinstance(q, Plane):
                    self.users.setdefault(q, []).append((o, k))
        self.made = {
            q: o for stage in self.stages for o in (*stage.maps, *stage.dots) for q in o.outs
        }
        self.home |= saved or {}
        self.given: dict[Value, Block] = {}
        for a in plan.arrays(way):
            self._give(a)
        self.outside = {*self.home}
        self._halve(maps)
        self._lay_dots()
        self._lay_inputs()

    def _written(self, o: Op) -> Op:
        """An elementwise call becomes a map, which writes its result where it is needed."""
        types, planes, values = self.p.types, self.plan.planes, (*o.instr.reads(), *o.instr.outs)
        if (
            o.kind != "call"
            or o.op not in TEMPLATES
            or o.instr.params
            or any(len(planes[v]) > 1 or types[v].dtype.kind not in "fb" for v in values)
            or is_row(types[o.instr.outs[0]].shape, self.plan.lead)
        ):
            return o
        ins = [planes[v][0] if type(v) is Value else v for v in o.instr.ins]
        return o._replace(kind="map", ins=tuple(ins))

    # -- homes that are given -------------------------------------------------------------------

    def _give(self, a: Array) -> None:
        """Make the planes of a value columns of an array of rows that the loop reads or writes."""
        own_row = a.written and a.value in self.plan.rows
        pieces = [piece for piece in self.plan.pieces(a.value) if isinstance(piece[0], Plane)]
        several = len(self.plan.planes[a.value]) > 1
        timed = a.timed and (self.kept or not own_row)
        self.given[a.value] = block = Block(a.name, [q for q, *_ in pieces], timed, columns=True)
        for q, low, high in pieces:
            spread = high - low > q.width  # one column is used for several
            home = Home(block, low, high, not several)
            copied = spread or q in self.home or self._comes_in(q) or (own_row and several)
            if a.written and copied:
                self.more.append((q, home))
            elif spread:
                self.home.setdefault(q, Home(block, low, low + 1, False))
            else:
                self.home.setdefault(q, home)

    def _comes_in(self, q: Plane) -> bool:
        """Whether a plane is made outside the loops."""
        known = self.plan.inputs.get(q)
        return known is not None and self.plan.where[known.value] in ("once", "before")

    # -- σ as a tanh ----------------------------------------------------------------------------

    def _halve(self, maps: list[Op]) -> None:
        """Find the planes whose weights may be halved, so that σ needs no factor."""
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
            if o is None or (o.kind, o.op) != ("map", ops.add):
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
        """Whether a plane belongs to a value computed before the loop, for every step."""
        known = self.plan.inputs.get(q)
        return known is not None and self.plan.where[known.value] == "before"

    # -- the order of planes in blocks ----------------------------------------------------------

    def _likeness(self, q: Plane, depth: int = 3) -> Any:
        """The use of a plane; planes with the same use become neighbours."""
        if not depth:
            return ()
        users = self.users.get(q, ())
        return tuple(
            sorted([(o.op.name, k, self._likeness(o.outs[0], depth - 1)) for o, k in users])
        )

    def _block(
        self, planes: Iterable[Plane], name: str = "", timed: bool = False, outside: bool = False
    ) -> Block:
        scratch = f"{'t' if self.forward else 'b'}{next(self.ids)}"
        block = Block(name or scratch, [*planes], timed, outside=outside)
        self.loop.blocks[block.name] = block
        for k, q in enumerate(block.planes):
            self.home[q] = Home(block, k)
        return block

    def _lay_dots(self) -> None:
        self.beside: dict[Plane, Plane] = {}  # a hoisted plane and the product added to it
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
        """A product of planes of several widths: the planes are columns of its rows."""
        block, low = Block(name, planes, False, columns=True), 0
        self.loop.blocks[name] = block
        for q in planes:
            self.home[q] = Home(block, low, low + q.width, False)
            low += q.width

    def _lay_inputs(self) -> None:
        """Order hoisted planes like the products added to them; the rest are separate."""
        groups: dict[Any, list[Plane]] = {}
        for q, source in self.plan.inputs.items():
            if q not in self.home and self._is_read(q):
                if self._hoisted(q) and len(q.shape) == len(self.plan.lead) + 1:
                    groups.setdefault((self._root(source.value), q.shape, q.dtype), []).append(q)
                else:
                    self._block([q], f"i{q.id}", self._hoisted(q), outside=True)
        for planes in groups.values():
            planes.sort(key=self._place_beside)
            self._block(planes, f"x{planes[0].id}", timed=True, outside=True)

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
