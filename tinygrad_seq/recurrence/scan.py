"""A derived loop as one operation: buffers, directions, padding, and the work around the loop.

Shapes: T steps, N sequences. States before and after the steps are one array ``(T+1, N, H)``, in
the order of time: with ``reverse`` the state before step t has index t+1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy

from ..autograd.writes import owner_of
from ..backend import keep_freed_memory, xp
from .batch import ALL, ONCE, SUM, Env
from .layout import Block, Home, Loop
from .numpy_calls import space_of
from .plan import Plan, Plane
from .print_numpy import NumpyPrinter
from .program import Value
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

    def __init__(self, plan: Plan, env: Env, mask: Any, reverse: bool) -> None:
        self.plan, self.env = plan, env
        self.np, self.T = env.np, env.T
        self.states: list[Any] = []
        self.y: Any = None
        self.saved: dict[str, Any] = {}
        self.mask, self.reverse = mask, reverse
        self.holds: Any = [None] * self.T if mask is None else None

    def before(self, states: Any) -> Any:
        """The states before each step, of ``(T+1, ...)``."""
        return states[1:] if self.reverse else states[:-1]

    def after(self, states: Any) -> Any:
        """The states after each step, of ``(T+1, ...)``."""
        return states[:-1] if self.reverse else states[1:]

    def in_order(self, array: Any, forward: bool) -> Any:
        """An array of all steps, in the order in which a loop takes them."""
        return array if forward != self.reverse else array[::-1]

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


class Scan:
    """The forward and the backward of a plan, as a loop of NumPy or CuPy calls.

    Attributes:
        arguments: Names of the arguments of :meth:`forward`: inputs, states, free values.
        kind: What runs the loop.
    """

    kind = "numpy"

    def __init__(self, plan: Plan) -> None:
        self.plan, self.p = plan, plan.program
        counts = (("x", self.p.xs), ("s", self.p.states), ("p", self.p.free))
        self.arguments = tuple([f"{a}{k}" for a, values in counts for k in range(len(values))])
        self._loops: dict[Any, Any] = {}
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
        run = Pass(plan, Env(p, xp(*xs), len(xs[0]), self._plans), mask, reverse)
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
        saved = tuple([a for a in run.saved.values() if hasattr(a, "nbytes")])
        return (run.masked(y), *last), Kept(tuple(run.states), saved, run)

    def loop_forward(self, run: Pass, keep: bool) -> None:
        """All steps of a forward."""
        loop = self._loop("forward", keep)
        arrays = self._arrays(run, loop, "forward", keep)
        hoists = [b for name, b in loop.blocks.items() if name[0] in "xi" and b.timed]
        N = max(1, _count(self.plan.lead))
        steps = run.T if self.keeps_before or not hoists else max(1, min(run.T, -(-ROWS // N)))
        for first in range(0, run.T, steps):
            last = min(first + steps, run.T)
            low, high = (run.T - last, run.T - first) if run.reverse else (first, last)
            hoisted = self._hoisted(run, loop, hoists, low, high)
            self._call(run, loop, arrays, hoisted, low, high, True)

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
        sums = {f"p{k}": v for k, v in enumerate(p.gfree) if v is not None and f"p{k}" in wanted}
        whole = {f"x{k}": v for k, v in enumerate(p.gxs) if v is not None and f"x{k}" in wanted}
        env.run(plan.after, {*sums.values(), *whole.values()})
        others = [gy, *glast, *old.env.arrays.values(), *old.saved.values(), *run.states, run.y]
        taken = {id(owner_of(array)) for array in others if hasattr(array, "base")}
        for name, v in (sums | whole).items():
            array = env.total(v) if name in sums else env.all(v)
            owner = id(owner_of(array))
            found[name] = array.copy() if owner in taken else array  # no other reference exists
            taken.add(owner)
        read = {f"x{k}": v for k, v in enumerate(p.xs)} | {f"p{k}": v for k, v in enumerate(p.free)}
        for name in wanted - {*found}:
            found[name] = np.zeros_like(env.arrays[read[name]])
        return found

    def loop_backward(self, run: Pass, gy: Any, gs: list[Any]) -> None:
        """All steps of a backward; ``gs`` are overwritten by the gradients of the first state."""
        loop = self._loop("backward", True)
        arrays = self._arrays(run, loop, "backward", True)
        arrays |= {f"g{k}": g for k, g in enumerate(gs)} | {"gy": gy}
        totals = {v: run.np.zeros(*self.p.types[v]) for v in self.plan.sums}
        arrays |= {f"a{int(v)}": total for v, total in totals.items()}
        hoists = [b for name, b in loop.blocks.items() if name[0] in "xi" and b.timed]
        hoisted = self._hoisted(run, loop, hoists, 0, run.T)
        self._call(run, loop, arrays, hoisted, 0, run.T, False)
        run.saved |= {name: a for name, a in arrays.items() if name[0] == "r"}
        for v, total in totals.items():
            run.env.put(v, total, SUM)

    def _rows_known(self, run: Pass) -> None:
        """Make the rows that the loops wrote for all steps available as values."""
        for v, row in self.plan.rows.items():
            if row.kept:
                host = run.saved[f"r{int(row.host)}"]
                width = self.p.shape(v)[-1] if self.p.shape(v) else 1
                part = host if v == row.host else host[..., row.low : row.low + width]
                run.env.put(v, part, ALL)

    # -- the arrays of a loop -------------------------------------------------------------------

    def _loop(self, way: str, keep: bool) -> Loop:
        if (way, keep) not in self._loops:
            saved = None if way == "forward" else self._loop("forward", True).saved
            self._loops[way, keep] = self._print(way, saved, keep)
        found: Loop = self._loops[way, keep]
        return found

    def _print(self, way: str, saved: dict[Plane, Home] | None, keep: bool) -> Loop:
        return NumpyPrinter(self.plan, way, saved, keep).loop

    def _function(self, np: Any, loop: Loop) -> Callable[..., None]:
        """The compiled text, in the namespace of an array library."""
        key = (id(loop), np)
        if key not in self._loops:
            space = space_of(np) | {"fit": _hold} | loop.calls
            exec(compile(loop.text, "<derived loop>", "exec"), space)
            self._loops[key] = space["loop"]
        function: Callable[..., None] = self._loops[key]
        return function

    def _arrays(self, run: Pass, loop: Loop, way: str, keep: bool) -> dict[str, Any]:
        np, p, plan = run.np, self.p, self.plan
        arrays: dict[str, Any] = dict(run.saved)
        for k, room in enumerate(run.states):
            arrays[f"s{k}"], arrays[f"z{k}"] = run.before(room), run.after(room)
        arrays["y"] = run.y
        pool: dict[int, Any] = {}
        for name, block in loop.blocks.items():
            if name[0] == "x" or (name[0] == "i" and block.timed):
                continue
            if name[0] == "i":
                source = plan.inputs[block.planes[0]]
                value = run.env.arrays[source.value]
                arrays[name] = value[..., source.low : source.high] if value.ndim else value
                continue
            if name in arrays:
                continue
            if name in loop.memory:
                number = loop.memory[name]
                if number not in pool:
                    pool[number] = self._room(np, block, ())
                arrays[name] = pool[number]
            else:
                arrays[name] = self._room(np, block, (run.T,) if block.timed else ())
                if block.timed:
                    run.saved[name] = arrays[name]
        for v, row in plan.rows.items():
            if v == row.host and row.way == way:
                shape, dtype = p.types[v]
                kept = row.kept and keep
                numbers = [q for q in plan.planes[v] if not isinstance(q, Plane)]
                make = np.zeros if numbers else np.empty
                arrays[f"r{int(v)}"] = make((run.T, *shape) if kept else shape, dtype)
                if any(numbers):
                    for q, (low, high) in zip(plan.planes[v], plan.columns[v], strict=True):
                        if not isinstance(q, Plane):
                            arrays[f"r{int(v)}"][..., low:high] = q
                if kept:
                    run.saved[f"r{int(v)}"] = arrays[f"r{int(v)}"]
        for name, (o, planes) in loop.weights.items():
            arrays[name] = self._weight(run, o.instr.ins[1], [*o.outs], planes, loop.halved)
        return arrays

    def _room(self, np: Any, block: Block, time: tuple[int, ...]) -> Any:
        first = block.planes[0]
        if block.columns:
            shape = (*first.shape[:-1], sum(q.width for q in block.planes))
        elif len(block.planes) == 1:
            shape = first.shape
        else:
            shape = (len(block.planes), *first.shape)
        return np.empty((*time, *shape), first.dtype)

    def _weight(
        self, run: Pass, v: Value, outs: list[Plane], planes: list[Plane], halved: set[Plane]
    ) -> Any:
        """A weight ``(K, W)``, or a block for each plane of the product ``(G, K, w)``."""
        np, W = run.np, run.env.arrays[v]
        half = W.dtype.type(0.5)
        if len(outs) == 1:
            return W * half if outs[0] in halved else np.ascontiguousarray(W)
        low, found = 0, {}
        for q in outs:
            part = W[:, low : low + q.width]
            found[q] = part * half if q in halved else part
            low += q.width
        if not planes:
            return np.concatenate([found[q] for q in outs], 1)
        blocks = np.empty((len(planes), W.shape[0], planes[0].width), W.dtype)
        for k, q in enumerate(planes):
            blocks[k] = found[q]
        return blocks

    def _call(
        self,
        run: Pass,
        loop: Loop,
        arrays: dict[str, Any],
        hoisted: dict[str, Any],
        low: int,
        high: int,
        forward: bool,
    ) -> None:
        """Run the loop over the steps from low to high."""
        args = []
        for name, (array, pick) in sorted(loop.arguments.items(), key=lambda a: a[0] in loop.timed):
            timed = name in loop.timed
            whole = hoisted[array] if array in hoisted else arrays[array]
            if timed and array not in hoisted:
                whole = whole[low:high]
            if pick:
                whole = whole[pick]
            if timed:
                whole = run.in_order(whole, forward)
                if whole.ndim == 1:  # iterated as arrays without axes, to be written to
                    whole = [whole[t, ...] for t in range(len(whole))]
            args.append(whole)
        holds = self._holds(run)[low:high]
        self._function(run.np, loop)(*args, holds if forward != run.reverse else holds[::-1])

    def _holds(self, run: Pass) -> list[Any]:
        """Per step, a mask of padding for every part of the state; None if there is no padding."""
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
        self, run: Pass, loop: Loop, hoists: list[Block], low: int, high: int
    ) -> dict[str, Any]:
        """Blocks of values that do not read the state, for the steps from low to high."""
        p, np = self.p, run.np
        found, env = {}, None
        for block in hoists:
            product = None if self.keeps_before else self._projection(run, loop, block)
            if product is not None:
                x, W, bias = product
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
                    parts.append(part * part.dtype.type(0.5) if q in loop.halved else part)
                array = np.stack(parts, 1)
            found[block.name] = array[:, 0] if len(block.planes) == 1 else array
        return found

    def _some(self, run: Pass, low: int, high: int) -> Env:
        """Values before the loop, for some of the steps."""
        env = run.env.copy()
        if not self.keeps_before:
            env.T = high - low
            for v in self.p.xs:
                env.put(v, run.env.arrays[v][low:high], ALL)
            env.run(self.plan.before)
        else:
            for v, had in env.had.items():
                if had is ALL:
                    env.arrays[v] = env.arrays[v][low:high]
            env.T = high - low
        return env

    def _projection(self, run: Pass, loop: Loop, block: Block) -> Any:
        """(x, W, bias) of blocks that are W x + b; None if they are not."""
        key = f"W_{block.name}"
        if key not in run.saved:
            run.saved[key] = self._found_projection(run, loop, block)
        return run.saved[key]

    def _found_projection(self, run: Pass, loop: Loop, block: Block) -> Any:
        np, made = run.np, {o: i for i in self.plan.before for o in i.outs}
        found: list[Columns] = []
        for q in block.planes:
            columns = projected(self.plan, made, q)
            if columns is None or (found and columns[:3] != found[0][:3]):
                return None
            found.append(columns)
        x, W, bias = found[0][:3]
        arrays = run.env.arrays
        blocks, biases = [], []
        for q, columns in zip(block.planes, found, strict=True):
            half = arrays[W].dtype.type(0.5 if q in loop.halved else 1)
            taken = slice(columns.low, columns.low + q.width)
            blocks.append(arrays[W][:, taken] * half)
            if bias is not None:
                biases.append(arrays[bias][taken] * half)
        packed = np.stack(blocks)
        return arrays[x], packed, np.stack(biases)[:, None] if biases else None


def _again(old: Pass) -> Pass:
    """A pass with the same values, for a backward that may be run more than once."""
    run = Pass.__new__(Pass)
    run.__dict__.update(old.__dict__)
    run.env, run.saved = old.env.copy(), dict(old.saved)
    return run


def _count(shape: Sequence[int]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total


def _hold(hold: list[Any], rows: Any) -> Any:
    """The mask of padding, in the shape of rows."""
    first = hold[0]
    return first.reshape(first.shape[:1] + (1,) * (rows.ndim - 1))
