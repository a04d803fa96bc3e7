"""A derived loop compiled by numba: float32, its sequences shared between threads.

Weights are packed once per pass. The loop computes products with the input for several steps at
once. The result does not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from ..backend import threads
from ..backend.dtypes import plain
from .loop_text import Text, even_width
from .plan import Plan, Plane
from .print_loops import LoopPrinter
from .program import Value
from .scan import Pass, Scan

WORK = 12_000_000
"""Fewer multiplications in all steps are not worth a thread: a third of a millisecond."""

TOGETHER = 2048
"""The maps take up to so many numbers at a time: they stay in the first cache."""


class Numba:
    """What runs a printed loop: compiled, float32.

    Attributes:
        dtype: Of all arrays.
        ahead: How many rows of input are projected at a time.
        lanes: How many numbers a register holds.
        tiling: Rows and registers of a tile, for products of so many rows and columns.
        packed: ``packed(W, parts, vectors)``: a weight as right operand.
        compiled: The function of a text.
    """

    dtype = np.dtype(np.float32)

    def __init__(self) -> None:
        from ..backend.jit import packing, texts, thin  # imports numba

        self.ahead, self.lanes, self.least = thin.AHEAD, thin.LANES, min(thin.TILES.values())
        self.tiling, self.packed, self.compiled = thin.tiling, packing.pack, texts.compiled_text

    def apart(self, count: int, width: int) -> bool:
        """Whether a product has one block per plane, so that planes need no padding."""
        _, vectors = self.tiling(count, width)
        return width % (vectors * self.lanes) == 0 and count > self.least


class Form(NamedTuple):
    """How a loop is called for sequences of one shape.

    Attributes:
        rows: How many rows the maps take at a time.
        weights: For each product its packed weight's name, the weight, its parts and registers.
        numbers: The arguments that are the same in every pass, by name.
    """

    rows: int
    weights: list[tuple[str, Value, int, int]]
    numbers: dict[str, Any]


class Compiled(Scan):
    """The forward and the backward of a plan, each one compiled function.

    Args:
        plan: The plan.
        machine: Runs the printed loops.

    Raises:
        Uncompiled: the loops cannot do something that the plan needs.
    """

    kind = "numba"

    def __init__(self, plan: Plan, machine: Any = None) -> None:
        super().__init__(plan)
        self.machine = machine or Numba()
        self.dtype = self.machine.dtype
        self.texts = {way: LoopPrinter(plan, way).out for way in ("forward", "backward")}
        self.rows = max(1, int(np.prod(plan.lead)))
        made_before = {o for i in plan.before for o in i.outs}
        # inputs that the loop does not project itself are computed for all steps
        read = {v for text in self.texts.values() for v in text.inputs.values()}
        self.keeps_before = self.keeps_before or bool(made_before & read)
        ops = [*plan.ops("forward"), *plan.ops("backward")]
        self.dots = [o for o in ops if o.kind == "dot"]
        rows = (*self.p.states, *self.p.after, self.p.y, *read)
        alone = all(len(plan.planes[v]) == 1 for v in rows)
        scalars = any(text.scalars for text in self.texts.values())
        self.even = even_width(plan) if alone and not scalars else 0
        self._forms: dict[Any, Form] = {}
        self.weights = sum([math.prod(self.p.shape(o.instr.ins[1])) for o in self.dots])

    def loop_forward(self, run: Pass, keep: bool) -> None:
        """All steps of a forward."""
        arrays = self._flat_arrays(run)
        steps = run.T if keep else 1
        for q in self.plan.saved:
            arrays[f"V{q.id}"] = np.empty(steps * self.rows * q.width, self.dtype)
        self._lay_rows(arrays, "forward", steps)
        self._run(run, "forward", arrays, keep)
        if keep:
            run.saved.update({n: a for n, a in arrays.items() if n[0] in "VR"})
            self._save_rows(run, arrays, "forward")

    def loop_backward(self, run: Pass, gy: Any, gs: list[Any]) -> None:
        """All steps of a backward; ``gs`` are overwritten by the gradients of the first state."""
        arrays = self._flat_arrays(run)
        arrays |= {n: a for n, a in run.saved.items() if n[0] in "VR"}
        if gy is not None:
            arrays["GY"] = _flat(gy)
        for k, g in enumerate(gs):
            arrays[f"G{k}"], arrays[f"H{k}"] = g.reshape(-1), np.zeros(g.size, self.dtype)
        self._lay_rows(arrays, "backward", run.T)
        self._run(run, "backward", arrays, True)
        if run.T % 2:  # the two are swapped at every step
            for k, g in enumerate(gs):
                g[...] = arrays[f"H{k}"].reshape(g.shape)
        self._save_rows(run, arrays, "backward")

    # -- arrays ---------------------------------------------------------------------------------

    def _flat_arrays(self, run: Pass) -> dict[str, Any]:
        arrays: dict[str, Any] = {}
        for k, room in enumerate(run.states):
            arrays[f"S{k}"] = run.before(room).reshape(-1)
            arrays[f"Z{k}"] = run.after(room).reshape(-1)
        if run.y is not None:
            arrays["Y"] = run.y.reshape(-1)
        for k, v in enumerate(self.p.xs):
            x = run.env.arrays[v]
            arrays[f"X{k}"] = plain(x).reshape(run.T, self.rows, -1) if x.dtype == self.dtype else x
        return arrays

    def _lay_rows(self, arrays: dict[str, Any], way: str, steps: int) -> None:
        for v, row in self.plan.rows.items():
            if v == row.host and row.way == way:
                width = self.p.shape(v)[-1]
                count = (steps if row.kept else 1) * self.rows
                rows = np.empty((count + 1, width), self.dtype)  # one more, for shifted rows
                columns = self.plan.columns[v]
                for q, (low, high) in zip(self.plan.planes[v], columns, strict=True):
                    if not isinstance(q, Plane):
                        rows[:, low:high] = q
                arrays[f"R{int(v)}"] = rows.reshape(-1)

    def _save_rows(self, run: Pass, arrays: dict[str, Any], way: str) -> None:
        for v, row in self.plan.rows.items():
            if v == row.host and row.way == way and row.kept:
                shape = (run.T, *self.p.shape(v))
                rows = arrays[f"R{int(v)}"][: -shape[-1]]
                run.saved[f"r{int(v)}"] = rows.reshape(shape)

    # -- running --------------------------------------------------------------------------------

    def _run(self, run: Pass, way: str, arrays: dict[str, Any], keep: bool) -> None:
        text, N, T = self.texts[way], self.rows, run.T
        share = threads.share(N, max(4, WORK // max(1, T * self.weights)))
        mask = None if run.mask is None or run.mask.all() else run.mask
        ahead = max(1, min(T, self.machine.ahead // share))
        key = way, ahead, share, mask is None
        if key not in self._forms:
            self._forms[key] = self._form(text, ahead, share, mask is None)
        count, weights, numbers = self._forms[key]
        arrays = arrays | numbers
        for name, W, parts, vectors in weights:
            arrays[name] = self.machine.packed(run.env.arrays[W], parts, vectors)
        for name, v in text.inputs.items():
            once = self.plan.where[v] == "once"
            arrays[name] = _flat(run.env.arrays[v]) if once else self._rows(run, v)
        for name, ((v, low, high), width) in text.vectors.items():
            row = run.env.arrays[v].reshape(-1)[low:high]
            whole = len(row) == width and count == 1
            arrays[name] = plain(row) if whole else np.tile(np.broadcast_to(row, width), count)
        flags = _NO_MASK if mask is None else _flat(mask)
        loop = self._loop_of(way)
        rest = [T, N, run.reverse, keep, count, flags, mask is not None]
        rest += [arrays[name] for name in text.arguments]
        threads.at_once(lambda first, last: loop(first, last, *rest), N, share)

    def _rows(self, run: Pass, v: Value) -> Any:
        """Rows of all steps, also for a value with one row for all sequences."""
        *few, width = self.p.shape(v) or (1,)
        lead = self.plan.lead
        array = run.env.all(v).reshape(run.T, *(1,) * (len(lead) - len(few)), *few, width)
        return _flat(np.broadcast_to(array, (run.T, *lead, width)))

    def _form(self, text: Text, ahead: int, share: int, whole: bool) -> Form:
        """The form where each thread takes ``share`` sequences, and projects ``ahead`` steps."""
        p, w, count = self.p, self.even, 1
        apart = bool(w) and self.machine.apart(share, w)
        while apart and whole and self.rows % share == share % (2 * count) == 0:
            if 2 * count * w > TOGETHER:
                break
            count *= 2
        weights: list[tuple[str, Value, int, int]] = []
        numbers: dict[str, Any] = dict(text.sizes)
        tiles: dict[Value, tuple[int, int]] = {}

        def product(name: str, out: Value, W: Value, lows: list[int], rows: int) -> None:
            """A packed weight, and where planes from these columns on lie in its product."""
            columns, k = p.shape(W)[1], int(out)
            parts = columns // w if apart else 1
            step = columns // parts
            tiles[out] = rows_of_tile, vectors = self.machine.tiling(share, step)
            panel = vectors * self.machine.lanes
            width = -(-step // panel) * panel
            gate = [low // step * rows * width + low % step for low in lows]
            weights.append((name, W, parts, vectors))
            numbers.update({
                f"tile{k}": rows_of_tile, f"vec{k}": vectors, f"row{k}": width,
                f"gate{k}": np.array(gate, np.int64),
            })  # fmt: skip

        for out, known in text.projections.items():
            product(f"W{int(out)}", out, known.weight, sorted(known.planes), ahead * share)
            numbers |= {f"depth{int(out)}": p.shape(known.weight)[0], f"ahead{int(out)}": ahead}
        for o in self.dots:
            out, W, name = o.instr.outs[0], o.instr.ins[1], f"U{int(o.instr.outs[0])}"
            if name not in text.arguments:
                continue
            if out in text.sums:
                weights.append((name, W, len(o.outs) if apart else 1, tiles[text.sums[out]][1]))
            else:
                lows = [*accumulate([q.width for q in o.outs[:-1]], initial=0)]
                product(name, out, W, lows, share)
        return Form(count, weights, numbers)

    def _loop_of(self, way: str) -> Callable[..., None]:
        if way not in self._loops:
            self._loops[way] = self.machine.compiled(self.texts[way].text)
        function: Callable[..., None] = self._loops[way]
        return function


_NO_MASK = np.zeros(1, bool)


def _flat(a: Any) -> Any:
    return plain(a).reshape(-1)
