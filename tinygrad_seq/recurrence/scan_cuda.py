"""A derived loop on a GPU: what :mod:`.print_cuda` prints, between what every scan does."""

from __future__ import annotations

import itertools
from typing import Any

from ..backend import Backend
from .batch import ALL, Env
from .plan import Plan
from .print_cuda import CudaPrinter, Launches, in_cuda
from .scan import Pass, Scan


def scan_on(backend: Backend, plan: Plan) -> Scan:
    """A scan for arrays of a backend: in its own kernels, if it compiles any and they can do it."""
    return CudaScan(plan, backend) if backend.kernel is not None and in_cuda(plan) else Scan(plan)


class CudaScan(Scan):
    """The forward and the backward of a plan, a few launches a step; the host never waits.

    What reads the input alone is done for all steps at once, since a GPU has no caches to fill.
    """

    def __init__(self, plan: Plan, backend: Backend) -> None:
        super().__init__(plan)
        self._kernel = backend.kernel
        self._printed: dict[Any, tuple[Launches, Any]] = {}

    def loop_forward(self, run: Pass, keep: bool) -> None:
        """All steps of a forward."""
        env = run.env if self.keeps_before else self._some(run, 0, run.T)
        launches, _ = self._loop_of(run.np, "forward", keep)
        rooms = self._rooms(run, launches)
        self._launch(run, env, "forward", keep, self._states(run) | rooms)
        if keep:
            run.saved |= {name: a for name, a in rooms.items() if launches.rooms[name].timed}

    def loop_backward(self, run: Pass, gy: Any, gs: list[Any]) -> None:
        """All steps of a backward; ``gs`` are overwritten by the gradients of the first state."""
        launches, _ = self._loop_of(run.np, "backward", True)
        rooms = self._rooms(run, launches)
        given = {f"g{k}": g for k, g in enumerate(gs)} 
        if gy is not None:
            given["gy"] = run.np.ascontiguousarray(gy)
        self._launch(run, run.env, "backward", True, self._states(run) | run.saved | rooms | given)
        for k, low, high, (array, _, first) in launches.parts:
            part = rooms[array][..., first : first + high - low]
            gs[k][..., low:high] += part
        run.saved |= {name: a for name, a in rooms.items() if launches.rooms[name].timed}

    def _states(self, run: Pass) -> dict[str, Any]:
        found = {f"s{k}": run.before(room) for k, room in enumerate(run.states)}
        return found | {f"z{k}": run.after(room) for k, room in enumerate(run.states)} | {"y": run.y}

    def _loop_of(self, np: Any, way: str, keep: bool) -> tuple[Launches, Any]:
        """A loop and its compiled text; CUDA compiles a kernel at its first launch."""
        if (way, keep) not in self._printed:
            launches = CudaPrinter(self.plan, way, keep).launches
            space: dict[str, Any] = {name: getattr(np, name) for name in ("dot", "sum", "mean")}
            space |= {name: self._kernel(source) for name, source in launches.sources.items()}
            exec(compile(launches.text, "<derived loop>", "exec"), space)
            self._printed[way, keep] = launches, space["loop"]
        return self._printed[way, keep]

    def _rooms(self, run: Pass, launches: Launches) -> dict[str, Any]:
        """The arrays that a loop writes, beside states and outputs."""
        found = {}
        for name, (width, dtype, timed, numbers) in launches.rooms.items():
            time = (run.T,) if timed else ()
            found[name] = run.np.empty((*time, *self.plan.lead, width), dtype)
            for number, low, high in numbers:
                found[name][..., low:high] = number
        return found

    def _launch(
        self, run: Pass, env: Env, way: str, keep: bool, arrays: dict[str, Any]
    ) -> None:
        np, rows = run.np, self._count()
        launches, loop = self._loop_of(np, way, keep)
        for name, v in launches.inputs.items():
            if name in launches.timed or name in launches.fixed:
                arrays[name] = np.ascontiguousarray(env.all(v) if env.had[v] is ALL else env.arrays[v])
        for name, values in launches.weights.items():
            arrays[name] = _side_by_side(np, [run.env.arrays[v] for v in values])

        def as_rows(array: Any, *time: int) -> Any:
            return array.reshape(*time, rows, array.shape[-1])

        def fixed(name: str) -> Any:
            return arrays[name] if name[0] in "iu" else as_rows(arrays[name])

        def timed(name: str) -> Any:
            array = arrays[name] if name[0] == "i" else as_rows(arrays[name], run.T)
            return run.in_order(array, way == "forward")

        if run.mask is None:
            read = itertools.repeat(np.zeros((1,), bool), run.T)
        else:
            read = np.ascontiguousarray(run.mask).reshape(run.T, rows)
            read = run.in_order(read, way == "forward")
        given = [*map(fixed, launches.fixed), *map(timed, launches.timed)]
        loop(rows, run.mask is not None, *given, read)

    def _count(self) -> int:
        (rows,) = self.plan.lead or (1,)
        return rows


def _side_by_side(np: Any, weights: list[Any]) -> Any:
    """Weights of one left side as one, in an order of memory that products take as it is."""
    if len(weights) > 1:
        return np.concatenate(weights, axis=1)
    (W,) = weights
    return W if W.flags.c_contiguous or W.flags.f_contiguous else np.ascontiguousarray(W)
