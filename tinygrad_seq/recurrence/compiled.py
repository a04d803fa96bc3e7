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
from .loop_text import even_width
from .plan import Input, Plan
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


class Bound(NamedTuple):
    """A loop with its arguments, for sequences of one shape.

    Attributes:
        loop: The function.
        rows: How many rows the maps take at a time.
        arguments: What follows the fixed ones: the name of an array, a function that makes an
            array of the pass, or what is the same in every pass.
    """

    loop: Callable[..., None]
    rows: int
    arguments: list[Any]


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
        self.planes = [(f"V{q.id}", self.rows * q.width) for q in plan.saved]
        self._bound_for: dict[Any, Bound] = {}
        self.weights = sum([math.prod(self.p.shape(o.instr.ins[1])) for o in self.dots])

    def loop_forward(self, run: Pass, keep: bool) -> None:
        """All steps of a forward."""
        arrays: dict[str, Any] = {}
        for k, room in enumerate(run.states):
            arrays[f"S{k}"] = run.before(room).reshape(-1)
            arrays[f"Z{k}"] = run.after(room).reshape(-1)
        if run.y is not None:
            arrays["Y"] = run.y.reshape(-1)
        for name, size in self.planes:
            arrays[name] = np.empty((run.T if keep else 1) * size, self.dtype)
        arrays |= self._rows_of(run, "forward", keep)
        if keep:
            run.saved = arrays
        self._run(run, "forward", arrays, keep)

    def loop_backward(self, run: Pass, gy: Any, gs: list[Any]) -> None:
        """All steps of a backward; ``gs`` are overwritten by the gradients of the first state."""
        arrays = run.saved
        arrays |= self._rows_of(run, "backward", True)
        if gy is not None:
            arrays["GY"] = _flat(gy)
        for k, g in enumerate(gs):
            arrays[f"G{k}"], arrays[f"H{k}"] = g.reshape(-1), np.zeros(g.size, self.dtype)
        self._run(run, "backward", arrays, True)
        if run.T % 2:  # the two are swapped at every step
            for k, g in enumerate(gs):
                g[...] = arrays[f"H{k}"].reshape(g.shape)

    def _run(self, run: Pass, way: str, arrays: dict[str, Any], keep: bool) -> None:
        N, T, mask = self.rows, run.T, run.mask
        share = threads.share(N, max(4, WORK // max(1, T * self.weights)))
        ahead = max(1, min(T, self.machine.ahead // share))
        key = way, ahead, share, mask is None
        if key not in self._bound_for:
            self._bound_for[key] = self._bound(*key)
        loop, count, arguments = self._bound_for[key]
        flags = _NO_MASK if mask is None else np.repeat(_flat(mask), N // mask[0].size)
        rest = [T, N, run.reverse, keep, count, flags, mask is not None]
        for a in arguments:
            rest.append(arrays[a] if type(a) is str else a(run) if callable(a) else a)
        threads.at_once(lambda first, last: loop(first, last, *rest), N, share)

    def _bound(self, way: str, ahead: int, share: int, whole: bool) -> Bound:
        """The loop where each thread takes ``share`` sequences, and projects ``ahead`` steps."""
        text = self.texts[way]
        p, w, count = self.p, self.even, 1
        apart = bool(w) and self.machine.apart(share, w)
        while apart and whole and self.rows % share == share % (2 * count) == 0:
            if 2 * count * w > TOGETHER:
                break
            count *= 2
        given: dict[str, Any] = dict(text.sizes)
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
            given[name] = self._weight_of(W, parts, vectors)
            given.update({
                f"tile{k}": rows_of_tile, f"vec{k}": vectors, f"row{k}": width,
                f"gate{k}": np.array(gate, np.int64),
            })  # fmt: skip

        for out, known in text.projections.items():
            product(f"W{int(out)}", out, known.weight, sorted(known.planes), ahead * share)
            given |= {f"depth{int(out)}": p.shape(known.weight)[0], f"ahead{int(out)}": ahead}
        for o in self.dots:
            out, W, name = o.instr.outs[0], o.instr.ins[1], f"U{int(o.instr.outs[0])}"
            if name not in text.arguments:
                continue
            if out in text.sums:
                parts, (_, vectors) = len(o.outs) if apart else 1, tiles[text.sums[out]]
                given[name] = self._weight_of(W, parts, vectors)
            else:
                lows = [*accumulate([q.width for q in o.outs[:-1]], initial=0)]
                product(name, out, W, lows, share)
        given |= {name: self._input(v) for name, v in text.inputs.items()}
        given |= {
            name: self._vector(source, n, count) for name, (source, n) in text.vectors.items()
        }
        given |= {f"X{k}": self._read(v) for k, v in enumerate(p.xs)}
        loop = self.machine.compiled(text.text)
        return Bound(loop, count, [given.get(name, name) for name in text.arguments])

    # -- arrays of a pass -----------------------------------------------------------------------

    def _weight_of(self, v: Value, parts: int, vectors: int) -> Callable[[Pass], Any]:
        packed = self.machine.packed
        return lambda run: packed(run.env.arrays[v], parts, vectors)

    def _read(self, v: Value) -> Callable[[Pass], Any]:
        """An input that the loop projects."""
        return lambda run: plain(run.env.arrays[v]).reshape(run.T, self.rows, -1)

    def _vector(self, source: Input, width: int, count: int) -> Callable[[Pass], Any]:
        """Columns of a row, repeated for the rows that the maps take at a time."""
        v, low, high = source

        def make(run: Pass) -> Any:
            row = self._floats(run.env.arrays[v]).reshape(-1)[low:high]
            if high - low == width and count == 1:
                return plain(row)
            return np.tile(np.broadcast_to(row, width), count)

        return make

    def _input(self, v: Value) -> Callable[[Pass], Any]:
        """A value made before the loop, in rows of all steps unless it is made once."""
        *few, width = self.p.shape(v) or (1,)
        lead, once = self.plan.lead, self.plan.where[v] == "once"
        ones = (1,) * (len(lead) - len(few))

        def make(run: Pass) -> Any:
            array, steps = (run.env.arrays[v], ()) if once else (run.env.all(v), (run.T,))
            array = self._floats(array).reshape(*steps, *ones, *few, width)
            return _flat(np.broadcast_to(array, (*steps, *lead, width)))

        return make

    def _floats(self, array: Any) -> Any:
        """Conditions as 0 and 1, which a loop compares with 0."""
        return array.astype(self.dtype) if array.dtype.kind == "b" else array


_NO_MASK = np.zeros(1, bool)


def _flat(a: Any) -> Any:
    return plain(a).reshape(-1)
