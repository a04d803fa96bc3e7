"""A derived loop compiled by numba: float32, its sequences shared between threads.

Weights are packed once per pass. The loop computes products with the input for several steps at
once. The result does not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import numpy as np

from ..backend import threads
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
    """

    dtype = np.dtype(np.float32)

    def __init__(self) -> None:
        from ..backend.jit import packing, texts, thin  # imports numba

        self.ahead, self._packing, self._thin = thin.AHEAD, packing, thin
        self.compiled: Callable[[str], Callable[..., None]] = texts.compiled_text

    def tiling(self, count: int, columns: int) -> tuple[int, int]:
        """Rows and registers of a tile, for products of ``count`` rows and these columns."""
        return self._thin.tiling(count, columns)

    def apart(self, count: int, width: int) -> bool:
        """Whether a product has one block per plane, so that planes need no padding."""
        _, vectors = self._thin.tiling(count, width)
        whole = width % (vectors * self._thin.LANES) == 0
        return whole and count > min(self._thin.TILES.values())

    def packed(self, W: Any, parts: int, vectors: int) -> Any:
        """A weight ``(K, M)`` as right operand ``(parts, panels, K, lanes)``."""
        K, _ = W.shape
        if W.T.flags.c_contiguous:
            return self._packing.pack_gates(plain(W.T), parts, 0, 0, vectors, parts > 1)
        U = self._packing.pack(plain(W), vectors)
        return U.reshape(parts, -1, K, vectors * self._thin.LANES)


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
        arrays: dict[str, Any] = {f"S{k}": s.reshape(-1) for k, s in enumerate(run.states)}
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
        apart, count = self._form(N, share, mask)
        arrays = dict(arrays)
        for name, v in text.inputs.items():
            once = self.plan.where[v] == "once"
            arrays[name] = _flat(run.env.arrays[v]) if once else self._rows(run, v)
        for name, ((v, low, high), width) in text.vectors.items():
            row = np.broadcast_to(run.env.arrays[v].reshape(-1)[low:high], width)
            arrays[name] = np.tile(row, count)
        self._pack(run, text, arrays, apart, share)
        values = [text.sizes[n] if n in text.sizes else arrays[n] for n in text.arguments]
        flags = _NO_MASK if mask is None else _flat(mask)
        loop = self._loop_of(way)
        rest = (
            T, N, run.reverse, keep, count, flags, mask is not None, *values,
        )  # fmt: skip
        threads.at_once(lambda first, last: loop(first, last, *rest), N, share)

    def _rows(self, run: Pass, v: Value) -> Any:
        """Rows of all steps, also for a value with one row for all sequences."""
        *few, width = self.p.shape(v) or (1,)
        lead = self.plan.lead
        array = run.env.all(v).reshape(run.T, *(1,) * (len(lead) - len(few)), *few, width)
        return _flat(np.broadcast_to(array, (run.T, *lead, width)))

    def _form(self, N: int, share: int, mask: Any) -> tuple[bool, int]:
        """Whether products have one block per plane, and how many rows the maps take."""
        w = self.even
        if not w:
            return False, 1
        if not self.machine.apart(share, w):
            return False, 1
        count = 1
        while mask is None and N % share == share % (2 * count) == 0 and 2 * count * w <= TOGETHER:
            count *= 2
        return True, count

    def _pack(self, run: Pass, text: Text, arrays: dict[str, Any], apart: bool, share: int) -> None:
        """Weights in panels, and the tiles and strides of their products."""
        forms: dict[Value, tuple[int, int]] = {}
        for out, known in text.projections.items():
            W, planes = run.env.arrays[known.weight], len(self._all_planes(out, known.planes))
            parts = planes if apart else 1
            tile = forms[out] = self.machine.tiling(share, W.shape[1] // parts)
            U = self.machine.packed(W, parts, tile[1])
            m, ahead = int(out), max(1, min(run.T, self.machine.ahead // share))
            width, lows = U.shape[1] * U.shape[3], sorted(known.planes)
            step = W.shape[1] // parts
            gate = [low // step * ahead * share * width + low % step for low in lows]
            arrays |= {
                f"W{m}": U, f"depth{m}": W.shape[0], f"ahead{m}": ahead, f"tile{m}": tile[0],
                f"vec{m}": tile[1], f"row{m}": width, f"gate{m}": np.array(gate, np.int64),
            }  # fmt: skip
        for o in self.dots:
            out = o.instr.outs[0]
            k = int(out)
            if f"U{k}" not in text.arguments:
                continue
            W, parts = run.env.arrays[o.instr.ins[1]], len(o.outs) if apart else 1
            if out in text.sums:
                vectors = forms[text.sums[out]][1]
                arrays[f"U{k}"] = self.machine.packed(W, parts, vectors)
                continue
            tile = self.machine.tiling(share, W.shape[1] // parts)
            U = self.machine.packed(W, parts, tile[1])
            width, step = U.shape[1] * U.shape[3], W.shape[1] // parts
            starts = accumulate([q.width for q in o.outs[:-1]], initial=0)
            gate = [low // step * share * width + low % step for low in starts]
            arrays |= {
                f"U{k}": U, f"tile{k}": tile[0], f"vec{k}": tile[1], f"row{k}": width,
                f"gate{k}": np.array(gate, np.int64),
            }  # fmt: skip

    def _all_planes(self, out: Value, known: dict[int, Plane]) -> Any:
        return range(self.p.shape(out)[-1] // self.even) if self.even else known

    def _loop_of(self, way: str) -> Callable[..., None]:
        if way not in self._loops:
            self._loops[way] = self.machine.compiled(self.texts[way].text)
        function: Callable[..., None] = self._loops[way]
        return function


_NO_MASK = np.zeros(1, bool)


def plain(a: Any) -> Any:
    """The array, or a copy in the compiled code's form: C order, aligned, writeable."""
    return np.require(a, requirements=["C", "A", "W"])


def _flat(a: Any) -> Any:
    return plain(a).reshape(-1)
