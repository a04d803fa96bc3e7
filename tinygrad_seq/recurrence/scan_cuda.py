"""A derived loop on a GPU: runs the text of :mod:`.print_cuda` inside a scan."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy

from .batch import Env
from .plan import Plan
from .print_cuda import CudaPrinter, check
from .scan import Pass, Scan


class CudaScan(Scan):
    """The forward and the backward of a plan, with few launches per step; the host never waits.

    Values that read only the input are computed for all steps at once, not in cache-sized parts.

    Args:
        plan: The plan.
        kernel: Compiles a source (``Backend.kernel``).

    Raises:
        Uncompiled: there is no kernel for something that the plan needs.
    """

    kind = "cuda"

    def __init__(self, plan: Plan, kernel: Callable[..., Any]) -> None:
        check(plan)
        super().__init__(plan)
        self._kernel = kernel
        self._printed: dict[Any, tuple[CudaPrinter, Callable[..., None]]] = {}

    def loop_forward(self, run: Pass, keep: bool) -> None:
        """All steps of a forward."""
        if run.np is numpy:  # the same arrays on the host
            return super().loop_forward(run, keep)
        env = run.env if self.keeps_before else self._some(run, 0, run.T)
        self._launch(run, env, "forward", keep, {"y": run.y})

    def loop_backward(self, run: Pass, gy: Any, gs: list[Any]) -> None:
        """All steps of a backward; ``gs`` are overwritten by the gradients of the first state."""
        if run.np is numpy:
            return super().loop_backward(run, gy, gs)
        given = run.saved | {f"g{k}": g for k, g in enumerate(gs)} | {"y": run.y}
        if gy is not None:
            given["gy"] = run.np.ascontiguousarray(gy)
        self._launch(run, run.env, "backward", True, given)

    def _launch(self, run: Pass, env: Env, way: str, keep: bool, arrays: dict[str, Any]) -> None:
        np, forward = run.np, way == "forward"
        printed, loop = self._loop_of(np, way, keep)
        for k, room in enumerate(run.states):
            arrays[f"s{k}"], arrays[f"z{k}"] = run.before(room), run.after(room)
        made = self._made(run, printed)
        for name, values in printed.weights.items():
            arrays[name] = _side_by_side(np, [run.env.arrays[v] for v in values])
        for name, v in printed.rows.inputs.items():
            if name in printed.fixed:
                arrays[name] = np.ascontiguousarray(env.arrays[v])
            elif name in printed.timed:
                arrays[name] = np.ascontiguousarray(env.all(v)).reshape(run.T, -1)
        arrays |= made
        (rows,) = self.plan.lead or (1,)

        def as_rows(name: str, *time: int) -> Any:
            array = arrays[name]
            return array if name[0] in "iu" else array.reshape(*time, rows, array.shape[-1])

        fixed = [as_rows(name) for name in printed.fixed]
        order = run.order(0, run.T, forward)
        timed = [as_rows(name, run.T)[order] for name in printed.timed]
        masked = run.mask is not None
        if masked:
            read = np.ascontiguousarray(run.mask).reshape(run.T, rows)[order]
        else:
            read = itertools.repeat(np.zeros((1,), bool), run.T)
        loop(rows, masked, *fixed, *timed, read)
        for k, low, high, (array, _, first) in printed.rows.parts:
            arrays[f"g{k}"][..., low:high] += arrays[array][..., first : first + high - low]
        if keep:
            run.saved |= {name: a for name, a in made.items() if printed.rows.rooms[name].timed}

    def _loop_of(self, np: Any, way: str, keep: bool) -> tuple[CudaPrinter, Callable[..., None]]:
        """A loop and its function; CUDA compiles a kernel at its first launch."""
        if (way, keep) not in self._printed:
            printed = CudaPrinter(self.plan, way, keep)
            space: dict[str, Any] = {"dot": np.dot}
            space |= {name: self._kernel(source) for name, source in printed.sources.items()}
            exec(compile(printed.text, "<derived loop>", "exec"), space)
            self._printed[way, keep] = printed, space["loop"]
        return self._printed[way, keep]

    def _made(self, run: Pass, printed: CudaPrinter) -> dict[str, Any]:
        """The arrays that a loop writes, except states and outputs."""
        found: dict[str, Any] = {}
        for name, (width, dtype, timed, zeros) in printed.rows.rooms.items():
            shape = (*((run.T,) if timed else ()), *self.plan.lead, width)
            found[name] = (run.np.zeros if zeros else run.np.empty)(shape, dtype)
        return found


def _side_by_side(np: Any, weights: list[Any]) -> Any:
    """Weights with the same left operand as one, in a memory order that products take directly."""
    if len(weights) > 1:
        return np.concatenate(weights, axis=1)
    (W,) = weights
    return W if W.flags.c_contiguous or W.flags.f_contiguous else np.ascontiguousarray(W)
