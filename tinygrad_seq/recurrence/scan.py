"""A derived loop as one operation: buffers, directions, padding, and the work around the loop.

Shapes: T steps, N sequences. States before and after the steps are one array ``(T+1, N, H)``, in
the order of time: with ``reverse`` the state before step t has index t+1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy

from ..autograd.writes import owner_of
from ..backend import keep_freed_memory, xp
from .batch import ALL, ONCE, SUM, Env
from .layout import Block, Home, Loop
from .numpy_calls import space_of
from .plan import Input, Op, Plan, Plane
from .print_numpy import NumpyPrinter
from .program import Shape
from .projection import Columns, projected

ROWS = 512
"""What reads the input is computed for so many rows at a time: enough for BLAS, few for caches."""


class Pass:
    """The arrays of one pass over a batch of sequences.

    Attributes:
        np: The namespace of the arrays.
        T: The number of steps.
        env: Values outside the loops.
        states: Each part of the state before each step and after the last ``(T+1, ...)``.
        y: Outputs, if the loop makes them and they are not part of the state, or None.
        saved: What the forward saved for the backward, by name.
        mask: Which steps are read ``(T, N)``, or None.
        reverse: Whether the last step is read first.
    """

    def __init__(self, env: Env, mask: Any, reverse: bool) -> None:
        self.env, self.np, self.T = env, env.np, env.T
        self.states: list[Any] = []
        self.y: Any = None
        self.saved: dict[str, Any] = {}
        self.mask, self.reverse = mask, reverse
        self.holds: Any = None

    def before(self, states: Any) -> Any:
        """The states before each step, of ``(T+1, ...)``."""
        return states[1:] if self.reverse else states[:-1]

    def after(self, states: Any) -> Any:
        """The states after each step, of ``(T+1, ...)``."""
        return states[:-1] if self.reverse else states[1:]

    def order(self, low: int, high: int, forward: bool) -> slice:
        """The steps from low to high, in the order in which a loop takes them."""
        if forward != self.reverse:
            return slice(low, high)
        return slice(high - 1, low - 1 if low else None, -1)

    def masked(self, array: Any) -> Any:
        """An array ``(T, N, ...)`` with zeros at padding."""
        if self.mask is None:
            return array
        return self.np.where(_fit(self.mask, array), array, array.dtype.type(0))


class Kept(NamedTuple):
    """What a forward keeps for the backward.

    Attributes:
        states: Each part of the state, of all steps.
        saved: The other values that the loop saved.
        run: The pass.
    """

    states: tuple[Any, ...]
    saved: tuple[Any, ...]
    run: Pass


def _fit(mask: Any, array: Any) -> Any:
    """A mask with as many axes as an array, for its first ones."""
    return mask.reshape(mask.shape + (1,) * (array.ndim - mask.ndim))


class Call(NamedTuple):
    """A printed loop, and how it is called.

    Attributes:
        loop: The loop.
        functions: The compiled text in the namespace of each array library.
        arguments: Of each argument its array, the index applied to it, and whether it is iterated
            over time.
        rooms: Blocks that the loop writes: the names that share memory, its shape and dtype, and
            whether every step has one.
        inputs: Blocks made once, by name.
        hoists: Blocks made before the loop for all steps; with the columns of a product with an
            input that they are, if they are made in parts.
    """

    loop: Loop
    functions: dict[Any, Callable[..., None]]
    arguments: list[tuple[str, tuple[Any, ...], bool]]
    rooms: list[tuple[list[str], Shape, Any, bool]]
    inputs: dict[str, Input]
    hoists: list[tuple[Block, list[Columns]]]


class Scan:
    """The forward and the backward of a plan, as a loop of NumPy or CuPy calls.

    Attributes:
        arguments: Names of the arguments of :meth:`forward`: inputs, states, free values.
        kind: What runs the loop.
        dtype: Of all arrays that the loop writes, conditions too; None for their own.
    """

    kind = "numpy"
    dtype: Any = None

    def __init__(self, plan: Plan) -> None:
        self.plan, self.p = plan, plan.program
        counts = (("x", self.p.xs), ("s", self.p.states), ("p", self.p.free))
        self.arguments = tuple([f"{a}{k}" for a, values in counts for k in range(len(values))])
        self.read = dict(
            zip(self.arguments, (*self.p.xs, *self.p.states, *self.p.free), strict=True)
        )
        self.sums = {f"p{k}": v for k, v in enumerate(self.p.gfree) if v is not None}
        self.whole = {f"x{k}": v for k, v in enumerate(self.p.gxs) if v is not None}
        self.rows_made: dict[str, list[Any]] = {"forward": [], "backward": []}
        for v, row in plan.rows.items():
            if v == row.host:
                places = zip(plan.planes[v], plan.columns[v], strict=True)
                numbers = [(q, low, high) for q, (low, high) in places if not isinstance(q, Plane)]
                self.rows_made[row.way].append((v, row.kept, numbers))
        self._calls: dict[tuple[str, bool], Call] = {}
        self._plans: dict[Any, Any] = {}
        late = {v for i in plan.after for v in i.reads()}
        late |= {v for v in (*self.p.gxs, *self.p.gfree) if v is not None}
        late |= plan.read_backward()
        made_before = {o for i in plan.before for o in i.outs}
        # values before the loop are kept if the backward reads them; else they are made in parts
        self.keeps_before = bool(late & made_before) or plan.where[self.p.y] != "forward"

    # -- forward --------------------------------------------------------------------------------

    def forward(self, *arrays: Any, keep: bool, mask: Any = None, reverse: bool = False) -> Any:
        """((y, parts of the last state), what the backward needs or None)."""
        p, plan = self.p, self.plan
        n, m = len(p.xs), len(p.xs) + len(p.states)
        xs, states, free = arrays[:n], arrays[n:m], arrays[m:]
        keep_freed_memory()
        run = Pass(Env(p, xp(*xs), len(xs[0]), self._plans), mask, reverse)
        np, env = run.np, run.env
        for v, array in zip(p.free, free, strict=True):
            env.put(v, array, ONCE)
        env.run(plan.once)
        for v, array in zip(p.xs, xs, strict=True):
            env.put(v, array, ALL)
        if self.keeps_before:
            env.run(plan.before)
        for array in states:
            room = np.empty((run.T + 1, *array.shape), array.dtype)
            room[-1 if reverse else 0] = array
            run.states.append(room)
        if plan.where[p.y] == "forward" and p.y not in p.after:
            run.y = np.empty((run.T, *p.shape(p.y)), p.types[p.y].dtype)
        self.loop_forward(run, keep)
        for k, v in enumerate(p.states):
            env.put(v, run.before(run.states[k]), ALL)
            env.put(p.after[k], run.after(run.states[k]), ALL)
        if run.y is not None:
            y = run.y
            env.put(p.y, y, ALL)
        elif p.y in p.after:
            y = run.after(run.states[p.after.index(p.y)])
        else:
            y = env.all(p.y) * 1
        last = [room[0 if reverse else -1].copy() for room in run.states]
        if not keep:
            return (run.masked(y), *last), None
        return (run.masked(y), *last), Kept(tuple(run.states), tuple(run.saved.values()), run)

    def loop_forward(self, run: Pass, keep: bool) -> None:
        """All steps of a forward."""
        call = self.call_of("forward", keep)
        arrays, steps = self._arrays(run, call, "forward", keep), run.T
        if call.hoists and not self.keeps_before:
            steps = -(-ROWS // max(1, math.prod(self.plan.lead)))
        for first in range(0, run.T, steps):
            last = min(first + steps, run.T)
            low, high = (run.T - last, run.T - first) if run.reverse else (first, last)
            self._call(run, call, arrays, low, high, True)

    # -- backward -------------------------------------------------------------------------------

    def backward(self, *given: Any) -> dict[str, Any]:
        """The gradients wanted, by the names x0, ..., s0, ..., p0, ..."""
        *gradients, kept, wanted = given
        old = kept.run
        p, plan = self.p, self.plan
        gy, *glast = gradients
        run: Pass = _again(old)
        np, env = run.np, run.env
        gs = [
            np.zeros(room.shape[1:], room.dtype) if g is None else np.array(g, room.dtype)
            for g, room in zip(glast, run.states, strict=True)
        ]
        if p.gy is not None:
            shape, dtype = (run.T, *p.shape(p.y)), p.types[p.y].dtype
            gy = np.zeros(shape, dtype) if gy is None else run.masked(gy)
            env.put(p.gy, gy, ALL)
        if plan.backward[0].maps or plan.backward[0].dots:
            self.loop_backward(run, gy, gs)
        self._rows_known(run)
        found: dict[str, Any] = {}
        for k, g in enumerate(p.gstates):
            found[f"s{k}"] = np.zeros_like(gs[k]) if g is None else gs[k]
        sums = {name: v for name, v in self.sums.items() if name in wanted}
        whole = {name: v for name, v in self.whole.items() if name in wanted}
        env.run(plan.after, {*sums.values(), *whole.values()})
        others = [gy, *glast, *old.env.arrays.values(), *old.saved.values(), *run.states, run.y]
        taken = {id(a if a.base is None else owner_of(a)) for a in others if a is not None}
        for name, v in (sums | whole).items():
            array = env.total(v) if name in sums else env.all(v)
            owner = id(owner_of(array))
            found[name] = array.copy() if owner in taken else array  # no other reference exists
            taken.add(owner)
        for name in wanted - {*found}:
            found[name] = np.zeros_like(env.arrays[self.read[name]])
        return found

    def loop_backward(self, run: Pass, gy: Any, gs: list[Any]) -> None:
        """All steps of a backward; ``gs`` are overwritten by the gradients of the first state."""
        call = self.call_of("backward", True)
        arrays = self._arrays(run, call, "backward", True)
        arrays |= {f"g{k}": g for k, g in enumerate(gs)} | {"gy": gy}
        totals = {v: run.np.zeros(*self.p.types[v]) for v in self.plan.sums}
        arrays |= {f"a{int(v)}": total for v, total in totals.items()}
        self._call(run, call, arrays, 0, run.T, False)
        for v, total in totals.items():
            run.env.put(v, total, SUM)

    def _rows_known(self, run: Pass) -> None:
        """Make the rows that the loops wrote for all steps available as values."""
        for v, row in self.plan.rows.items():
            if row.kept:
                host = run.saved[f"r{int(row.host)}"]
                part = host if v == row.host else host[..., row.low : row.low + self.p.width(v)]
                run.env.put(v, part.astype(self.p.types[v].dtype, copy=False), ALL)

    # -- the arrays of a loop -------------------------------------------------------------------

    def _print(self, way: str, saved: dict[Plane, Home] | None, keep: bool) -> Loop:
        return NumpyPrinter(self.plan, way, saved, keep).loop

    def call_of(self, way: str, keep: bool) -> Call:
        """A loop, printed at its first call."""
        if (way, keep) not in self._calls:
            saved = None if way == "forward" else self.call_of("forward", True).loop.saved
            loop, rooms = self._print(way, saved, keep), dict[Any, Any]()
            self._calls[way, keep] = call = Call(loop, {}, [], [], {}, [])
            for name in sorted(loop.arguments, key=loop.timed.__contains__):
                call.arguments.append((*loop.arguments[name], name in loop.timed))
            for name, block in loop.blocks.items():
                if block.outside and block.timed:
                    call.hoists.append((block, self._projected(block)))
                elif block.outside:
                    call.inputs[name] = self.plan.inputs[block.planes[0]]
                else:
                    room: Any = ([], _shape(block), block.planes[0].dtype, block.timed)
                    rooms.setdefault(loop.memory.get(name, name), room)[0].append(name)
            call.rooms.extend(rooms.values())
        return self._calls[way, keep]

    def _arrays(self, run: Pass, call: Call, way: str, keep: bool) -> dict[str, Any]:
        np, loop = run.np, call.loop
        arrays: dict[str, Any] = run.saved | {"y": run.y}
        for k, room in enumerate(run.states):
            arrays[f"s{k}"], arrays[f"z{k}"] = run.before(room), run.after(room)
        for name, (v, low, high) in call.inputs.items():
            value = run.env.arrays[v]
            arrays[name] = value[..., low:high] if value.ndim else value
        for names, shape, dtype, timed in call.rooms:
            room = np.empty((run.T, *shape) if timed else shape, dtype)
            arrays |= dict.fromkeys(names, room)
            if timed:
                run.saved[names[0]] = room
        arrays |= (rows := self._rows_of(run, way, keep))
        run.saved |= rows
        for name, (o, planes) in loop.weights.items():
            arrays[name] = self._weight(run, o, planes, loop.halved)
        return arrays

    def _rows_of(self, run: Pass, way: str, keep: bool) -> dict[str, Any]:
        """Room for the values in rows that a loop makes: r7 as a value; R7 flat, with a row more.

        Columns that are numbers are filled in.
        """
        found: dict[str, Any] = {}
        for v, kept, numbers in self.rows_made[way]:
            shape, dtype = self.p.types[v]
            shape = (run.T, *shape) if kept and keep else shape
            size = math.prod(shape)
            flat = run.np.empty(size + self.p.width(v), self.dtype or dtype)
            rows = flat[:size].reshape(shape)
            for number, low, high in numbers:
                rows[..., low:high] = number
            found |= {f"R{int(v)}": flat, f"r{int(v)}": rows}
        return found

    def _weight(self, run: Pass, o: Op, planes: list[Plane], halved: set[Plane]) -> Any:
        """A weight ``(K, W)``, or a block for each plane of the product ``(G, K, w)``."""
        np, W, (first, *rest) = run.np, run.env.arrays[o.instr.ins[1]], o.outs
        half, low, found = W.dtype.type(0.5), 0, {}
        if not rest:
            return W * half if first in halved else np.ascontiguousarray(W)
        for q in o.outs:
            part = W[:, low : low + q.width]
            found[q] = part * half if q in halved else part
            low += q.width
        if not planes:
            return np.concatenate([*found.values()], 1)
        blocks = np.empty((len(planes), W.shape[0], planes[0].width), W.dtype)
        for k, q in enumerate(planes):
            blocks[k] = found[q]
        return blocks

    def _call(
        self, run: Pass, call: Call, arrays: dict[str, Any], low: int, high: int, forward: bool
    ) -> None:
        """Run the loop over the steps from low to high."""
        hoisted = self._hoisted(run, call, arrays, low, high)
        steps, own, args = run.order(low, high, forward), run.order(0, high - low, forward), []
        for name, pick, timed in call.arguments:
            whole = hoisted[name][own] if name in hoisted else arrays[name]
            if timed and name not in hoisted:
                whole = whole[steps]
            if pick:
                whole = whole[pick]
            if timed and whole.ndim == 1:  # iterated as arrays without axes, to be written to
                whole = [whole[t, ...] for t in range(len(whole))]
            args.append(whole)
        if run.np not in call.functions:
            space = space_of(run.np) | {"fit": _hold} | call.loop.calls
            exec(compile(call.loop.text, "<derived loop>", "exec"), space)
            call.functions[run.np] = space["loop"]
        call.functions[run.np](*args, self._holds(run)[steps])

    def _holds(self, run: Pass) -> list[Any]:
        """Per step, a mask of padding for every part of the state; None if there is no padding."""
        if run.mask is None:
            return [None] * run.T
        if run.holds is None:
            states = [room[0] for room in run.states]
            looks = isinstance(run.mask, numpy.ndarray)  # on a GPU reading the mask would wait
            run.holds = [
                None if looks and row.all() else [_fit(~row, state) for state in states]
                for row in run.mask
            ]
        holds: list[Any] = run.holds
        return holds

    # -- what is computed before the loop -------------------------------------------------------

    def _hoisted(
        self, run: Pass, call: Call, arrays: dict[str, Any], low: int, high: int
    ) -> dict[str, Any]:
        """Blocks of values that do not read the state, for the steps from low to high."""
        p, np, halved = self.p, run.np, call.loop.halved
        found, env = {}, None
        for block, columns in call.hoists:
            if columns:
                if block.name not in arrays:
                    arrays[block.name] = self._packed(run, block, columns, halved)
                x, W, bias = arrays[block.name]
                rows = np.matmul(x[low:high].reshape(-1, x.shape[-1]), W)
                if bias is not None:
                    rows += bias
                shape = (len(block.planes), high - low, *block.planes[0].shape)
                array = rows.reshape(shape).swapaxes(0, 1)
            else:
                env = env or self._some(run, low, high)
                parts = []
                for q in block.planes:
                    v, a, b = self.plan.inputs[q]
                    part = env.all(v)
                    if p.shape(v):
                        part = part[..., a:b]
                    parts.append(part * part.dtype.type(0.5) if q in halved else part)
                array = np.stack(parts, 1)
            found[block.name] = array[:, 0] if len(block.planes) == 1 else array
        return found

    def _some(self, run: Pass, low: int, high: int) -> Env:
        """Values before the loop, for some of the steps."""
        env = run.env.copy()
        env.T = high - low
        for v, had in env.had.items():
            if had is ALL:
                env.arrays[v] = env.arrays[v][low:high]
        if not self.keeps_before:
            env.run(self.plan.before)
        return env

    def _projected(self, block: Block) -> list[Columns]:
        """The columns of one product with an input that a block is; none if it is no such."""
        made = {o: i for i in self.plan.before for o in i.outs}
        found = [projected(self.plan, made, q) for q in block.planes]
        known = [c for c in found if c is not None and c[:3] == (found[0] or ())[:3]]
        return [] if self.keeps_before or len(known) < len(found) else known

    def _packed(self, run: Pass, block: Block, columns: list[Columns], halved: set[Plane]) -> Any:
        """(x, W, bias) of a block that is W x + b."""
        (v, weight, bias), arrays, np = columns[0][:3], run.env.arrays, run.np
        W, blocks, biases = arrays[weight], [], []
        for q, known in zip(block.planes, columns, strict=True):
            half = W.dtype.type(0.5 if q in halved else 1)
            taken = slice(known.low, known.low + q.width)
            blocks.append(W[:, taken] * half)
            if bias is not None:
                biases.append(arrays[bias][taken] * half)
        return arrays[v], np.stack(blocks), np.stack(biases)[:, None] if biases else None


def _again(old: Pass) -> Pass:
    """A pass with the same values, for a backward that may be run more than once."""
    run = Pass.__new__(Pass)
    run.__dict__.update(old.__dict__)
    run.env, run.saved = old.env.copy(), dict(old.saved)
    return run


def _shape(block: Block) -> Shape:
    """The shape of the memory of a block."""
    first = block.planes[0].shape
    if block.columns:
        return (*first[:-1], sum([q.width for q in block.planes]))
    return first if len(block.planes) == 1 else (len(block.planes), *first)


def _hold(hold: list[Any], rows: Any) -> Any:
    """The mask of padding, in the shape of rows."""
    first = hold[0]
    return first.reshape(first.shape[:1] + (1,) * (rows.ndim - 1))
