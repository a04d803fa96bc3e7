"""A loop over time as NumPy calls: one call for each run of equal operations on adjacent planes.

The text names its arrays; :mod:`.scan` makes them. ``zip`` iterates over arrays with a time axis,
which costs less than indexing.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import ops
from ..backend import xp
from .batch import axes_of
from .forms import literal
from .layout import Block, Home, Layout
from .numpy_calls import EXACT, TEMPLATES, vector_sum
from .plan import Op, Plan, Plane
from .program import Instr, Program, Value, called, function_of
from .runs import runs_of


class Line(NamedTuple):
    """A line of the loop, and the blocks that it names."""

    text: str
    names: frozenset[str]
    elementwise: bool


class NumpyPrinter(Layout):
    """Prints one loop of a plan; arguments as for :class:`.Layout`."""

    def __init__(
        self, plan: Plan, way: str, saved: dict[Plane, Home] | None = None, keep: bool = True
    ) -> None:
        super().__init__(plan, way, saved, keep)
        self.names: set[str] = set()
        self.lines: list[Line] = []
        self.results: dict[Plane, str] = {}  # whole values of calls, by name
        self.behind: dict[Plane, frozenset[str]] = {}  # blocks that such a value may be a view of
        self.inline: dict[Plane, Op] = {}  # maps that are written where they are read
        self._print()

    # -- text -----------------------------------------------------------------------------------

    def ref(self, q: Any, end: Any = None) -> str:
        """The name of a plane, or of all planes from it to ``end`` in a block."""
        if not isinstance(q, Plane):
            return literal(q)
        if q in self.results:
            self.names |= self.behind[q]
            return self.results[q]
        block, at, _, _ = self.home[q]
        if block.columns:
            return self._columns_of(self.home[q])
        self.names.add(block.name)
        last = at if end is None else self.home[end].at
        if len(block.planes) == 1:
            return self._argument(block.name, block)
        if at == last:
            return self._argument(f"{block.name}_{at}", block, (at,))
        if (at, last + 1) == (0, len(block.planes)):
            return self._argument(block.name, block)
        return self._argument(f"{block.name}_{at}to{last}", block, (slice(at, last + 1),))

    def _columns_of(self, home: Home) -> str:
        """The name of columns of rows."""
        block, low, high, whole = home
        self.names.add(block.name)
        if whole:
            return self._argument(block.name, block)
        return self._argument(f"{block.name}_{low}_{high}", block, (..., slice(low, high)))

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
        runs = [(runs_of(self, stage.maps), stage.dots) for stage in self.stages]
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
            self._sums()
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
        """Give homes to the planes that no run has placed."""
        later = {q for stage in self.stages for o in stage.maps for q in o.ins} | self.keep
        goals = {q for g in self.p.gstates if g is not None for q in self.plan.planes[g]}
        for stage in self.stages:
            for o in stage.maps:
                if o.kind == "call":
                    continue
                (q,) = o.outs
                if q in self.home or q in self.inline:
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
        """Copies of planes that are needed in another place too."""
        for q, home in self.more:
            if q in made:
                self._add(f"copyto({self._columns_of(home)}, {self.ref(q)})")

    def _inputs_of_rows(self) -> None:
        """Fill rows with pieces that no map of this loop makes, before they are read."""
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
        elif o.op is ops.multiply and _outer(o):
            self._add(f"outer({', '.join([*ins, out])})", False)
        elif o.op in TEMPLATES:
            text = TEMPLATES[o.op].format(*ins, out=out)
            # of two calls the first may overwrite an operand
            self._add(text, ";" not in text and o.op not in EXACT)
        else:
            self._add(
                f"copyto({out}, {self._function(o.instr.op.name, o.op.forward)}({', '.join(ins)}))"
            )

    def _squash(self, run: list[Op], a: str, out: str) -> None:
        """tanh, and σ computed by tanh."""
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
        if o.op is ops.max:
            row, join = "row_max({}{})", "maximum"
        else:
            count = self.p.shape(o.instr.ins[0])[-1] if o.op is ops.mean else 1
            row, join = f"row_sum({{}}, {count}{{}})", "add"
        self._add(row.format(first, f", {out}"), False)
        for more in rest:
            self._add(f"{join}({out}, {row.format(more, '')}, out={out})", False)

    def _dot(self, o: Op) -> None:
        left, weight = self._whole(o.instr.ins[0]), f"u{int(o.instr.outs[0])}"
        self.loop.arguments[weight] = (weight, ())
        planes = self.loop.weights[weight][1]
        if len(o.outs) == 1:
            out = self.ref(o.outs[0])
        elif planes:
            out = self.ref(planes[0], planes[-1])
        else:
            out = self._columns_of(self.home[o.outs[0]]._replace(whole=True))
        if len(self.p.shape(o.instr.ins[0])) > 2:
            self._add(f"rows_dot({left}, {weight}, {out})", False)
        elif len(o.outs) > 1 and planes:
            self._add(f"matmul({left}, {weight}, out={out})", False)  # CuPy takes out= by name only
        else:
            self._add(f"dot({left}, {weight}, {out})", False)

    def _whole(self, v: Value) -> str:
        """The name of a value as one array."""
        row, planes = self.plan.rows.get(v), self.plan.planes[v]
        if row is None or row.host not in self.given:
            if len(planes) == 1:
                return self.ref(planes[0])
            return self._columns_of(Home(self.given[v], 0))
        high = row.low + self.plan.columns[v][-1][1]
        return self._columns_of(Home(self.given[row.host], row.low, high, v == row.host))

    def _function(self, name: str, function: Callable[..., Any]) -> str:
        known = next((n for n, f in self.loop.calls.items() if f is function), None)
        if known is None:
            known = f"{name}_{len(self.loop.calls)}"
            self.loop.calls[known] = function
        return known

    def _primitive(self, o: Op) -> None:
        """A call of a primitive on whole values."""
        planes = {v: self.plan.planes[v] for v in o.instr.reads()}
        full = {v: qs[0] for v, qs in planes.items() if len(qs) == 1 and type(qs[0]) is not Plane}
        reads = [v for v in planes if v not in full]
        names = ", ".join([self._whole(v) for v in reads])
        function = self._function(o.op.name, _caller(self.p, o.instr, reads, full))
        results = [f"c{int(v)}" for v in o.instr.outs]
        behind = frozenset(self.names)
        self._add(f"{', '.join(results)} = {function}({names})", False)
        for v, name in zip(o.instr.outs, results, strict=True):
            whole = len(self.plan.planes[v]) == 1
            for q, low, high in self.plan.pieces(v):
                piece = name if whole else f"{name}[..., {low}:{high}]"
                if q in self.home:  # kept: copied into its place
                    self._add(f"copyto({self.ref(q)}, {piece})", False)
                else:
                    self.results[q], self.behind[q] = piece, behind

    def _sums(self) -> None:
        """Add up large values step by step; padding adds nothing."""
        for v in self.plan.sums:
            q, total = self.ref(self.plan.planes[v][0]), f"a{int(v)}"
            self._argument(total, Block(total, []))
            read = f"{q} if hold is None else where(fit(hold, {q}), 0, {q})"
            self._add(f"add({total}, {read}, {total})", False)

    def _hand_on(self) -> None:
        """Move the gradients of the state before the step to those of the state after."""
        p = self.p
        for k, g in enumerate(p.gstates):
            if g is None:
                continue
            whole = len(self.plan.planes[g]) == 1
            for q, low, high in self.plan.pieces(g):
                if not (whole and self._moved(q, f"g{k}")):
                    home = Home(Block(f"g{k}", [], False, columns=True), low, high, whole)
                    self._add(f"copyto({self._columns_of(home)}, {self.ref(q)})")

    def _moved(self, q: Any, name: str) -> bool:
        """Write a gradient directly to its place, if nothing reads the place afterwards."""
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
        """At padding a state is kept, its gradient passes, and everything else gets 0."""
        p = self.p
        if self.forward:
            for v in (*p.states, *p.after):
                self._argument(self.given[v].name, self.given[v])
            copies = [f"copyto(z{k}, s{k}, where=hold[{k}])" for k in range(len(p.states))]
        else:
            held = [k for k, g in enumerate(p.gstates) if g is not None]
            for k in held:
                self._argument(f"g{k}", Block(f"g{k}", [], False))
            copies = [f"copyto(g{k}, k{k}, where=hold[{k}])" for k in held]
            for a in self.plan.arrays(self.way):
                if a.written:
                    self._argument(a.name, self.given[a.value])
                    zero = False if p.types[a.value].dtype == bool else 0
                    copies.append(f"copyto({a.name}, {zero}, where=fit(hold, {a.name}))")
            if held:
                first = f"if hold is not None: {'; '.join(f'k{k} = g{k}.copy()' for k in held)}"
                self.lines.insert(0, Line(first, frozenset(), False))
        if copies:
            self._add(f"if hold is not None: {'; '.join(copies)}", False)

    def _share(self) -> None:
        """Let blocks that are not used at the same time share memory."""
        life: dict[str, list[int]] = {}
        for n, line in enumerate(self.lines):
            for name in line.names:
                life.setdefault(name, [n, n])[1] = n
        pool: list[tuple[Any, int]] = []
        for name, (start, end) in sorted(life.items(), key=lambda item: item[1]):
            block = self.loop.blocks.get(name)
            if block is None or block.timed or block.columns or block.outside:
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
    """The planes of a run, grouped by adjacent places."""
    groups: list[list[Op]] = []
    for k, o in enumerate(run):
        if o in some:
            if k and run[k - 1] in some:
                groups[-1].append(o)
            else:
                groups.append([o])
    return groups


def _outer(o: Op) -> bool:
    """Whether a product is that of numbers and one row, each number by the row."""
    (q,), shapes = o.outs, [getattr(v, "shape", ()) for v in o.ins]
    return len(q.shape) > 2 and shapes == [(*q.shape[:-1], 1), q.shape[-1:]] and q.width > 1


def _caller(
    p: Program, instr: Instr, reads: list[Value], full: dict[Value, float]
) -> Callable[..., Any]:
    """A primitive with fixed parameters and numbers, as a function of the values it reads.

    Values in ``full`` are arrays of one number.
    """
    params, shape = dict(instr.params), p.shape((*reads, *full)[0])
    if instr.op is ops.sum and len(shape) > 1:
        axes = axes_of(params["axis"], len(shape))
        few = len(axes) == 1 and shape[axes[0]] <= 512  # of more the rounding would grow
        if few and axes[0] >= len(shape) - 2:
            return functools.partial(vector_sum, axis=axes[0], keepdims=params["keepdims"])
    if [*instr.ins] == reads:
        return functools.partial(function_of(instr, live=False), **params)

    def call(*arrays: Any) -> Any:
        np, env = xp(*arrays), dict(zip(reads, arrays, strict=True))
        env |= {v: np.full(p.shape(v), number, p.types[v].dtype) for v, number in full.items()}
        return called(instr, env)

    return call
