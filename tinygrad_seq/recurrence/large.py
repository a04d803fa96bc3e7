"""Maps of arrays larger than rows, compiled by numba inside a loop of NumPy's calls.

An attention of a cell computes on arrays ``(N, K, H)`` at every step. Each NumPy call takes them
through the caches once; a compiled map computes what several calls would, and makes no array
between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backend import threads
from .compiled import Numba
from .forms import FORMS, constant, in_python, with_functions
from .layout import Home, Loop
from .loop_text import Uncompiled
from .plan import Op, Plan, Plane
from .planning import COSTLY
from .print_numpy import NumpyPrinter
from .scan import Scan

HALVED = "(HALF + HALF * tanh({}))"
"""σ of an argument whose weights are halved."""

WORK = 500_000
"""Fewer numbers are not worth a thread."""


class LargeScan(Scan):
    """The forward and the backward of a plan as NumPy's calls, with compiled maps of large arrays.

    Args:
        plan: The plan.
        machine: Compiles the maps.

    Raises:
        Uncompiled: there is no such map.
    """

    kind = "numpy and numba"

    def __init__(self, plan: Plan, machine: Any = None) -> None:
        super().__init__(plan)
        self.machine = machine or Numba()
        if not any(self.call_of(way, True).loop.compiled for way in ("forward", "backward")):
            raise Uncompiled("there are no maps of large arrays")

    def _print(self, way: str, saved: dict[Plane, Home] | None, keep: bool) -> Loop:
        return LargePrinter(self.plan, way, saved, keep, self.machine).loop


class LargePrinter(NumpyPrinter):
    """Prints one loop; arguments as for :class:`.NumpyPrinter`, and what compiles maps."""

    def __init__(
        self, plan: Plan, way: str, saved: dict[Plane, Home] | None, keep: bool, machine: Any
    ) -> None:
        self.machine = machine
        super().__init__(plan, way, saved, keep)

    def _print(self) -> None:
        """Print the loop; a large map that only large maps read is written where it is read."""
        p, plan = self.p, self.plan
        wanted = {q for q, _ in self.more} | {q for v in plan.sums for q in plan.planes[v]}
        wanted |= self.keep | {q for g in p.gstates if g is not None for q in plan.planes[g]}
        for o in reversed([o for stage in self.stages for o in stage.maps]):
            (q, *_), users = o.outs, self.users.get(o.outs[0], [])
            if self._large(o) and users and q not in self.home and q not in wanted:
                alike = all(self._large(u) and u.outs[0].shape == q.shape for u, _ in users)
                if alike and (len(users) == 1 or o.op not in COSTLY):
                    self.inline[q] = o
        super()._print()

    def _large(self, o: Op) -> bool:
        planes = [q for q in (*o.ins, *o.outs) if isinstance(q, Plane)]
        same = all(q.dtype == self.machine.dtype for q in planes)
        return o.kind == "map" and same and len(o.outs[0].shape) > 2 and o.op in FORMS

    def _compiles(self, o: Op) -> bool:
        """Whether a map of its own is compiled: NumPy's calls of a plain one take no longer."""
        return self._large(o) and (o.op in COSTLY or any(q in self.inline for q in o.ins))

    def _call(self, run: list[Op]) -> None:
        if not any(o.outs[0] in self.inline or self._compiles(o) for o in run):
            super()._call(run)
            return
        if len(run) > 1:  # planes side by side, each with its own map
            for o in run:
                self._call([o])
            return
        o, (out, *_) = run[0], run[0].outs
        if out in self.inline:
            return
        leaves: dict[Plane, str] = {}
        text = self._written_out(o, leaves)
        axes = [f"i{k}" for k in range(len(out.shape) - 1)]
        names = [f"a{k}" for k in range(len(leaves))]
        lines = [f"def loop(low, high, {', '.join([*names, 'out'])}):"]
        ends = ["low, high", *[f"out.shape[{k}]" for k in range(1, len(axes))]]
        for k, (axis, end) in enumerate(zip(axes, ends, strict=True)):
            lines.append(f"{'    ' * (k + 1)}for {axis} in range({end}):")
        inner = "    " * (len(axes) + 1)
        for name, q in zip(names, leaves, strict=True):
            lines.append(f"{inner}p{name} = {name}[{_index(q, axes)}]")
        lines.append(f"{inner}row = out[{', '.join(axes)}]")
        lines += [f"{inner}for j in range(len(row)):", f"{inner}    row[j] = {text}"]
        called = f"maps_{len(self.loop.compiled)}"
        self.loop.compiled.append(with_functions("\n".join(lines) + "\n"))
        self.loop.calls[called] = _shared(self.machine.compiled(self.loop.compiled[-1]))
        self._add(f"{called}({', '.join([*map(self.ref, leaves), self.ref(out)])})")

    def _written_out(self, o: Op, leaves: dict[Plane, str]) -> str:
        """A map of planes that lie in memory, through the maps written where they are read."""
        template = HALVED if o.outs[0] in self.folded else in_python(o.op)
        return template.format(*[self._operand(q, leaves) for q in o.ins])

    def _operand(self, q: Any, leaves: dict[Plane, str]) -> str:
        if not isinstance(q, Plane):
            return constant(q)
        if q in self.inline:
            return self._written_out(self.inline[q], leaves)
        one = not q.shape or q.shape[-1] == 1
        return leaves.setdefault(q, f"pa{len(leaves)}" + ("" if one else "[j]"))


def _index(q: Plane, axes: list[str]) -> str:
    """The row of a plane for these axes, or its number there."""
    lead = q.shape[:-1]
    along = axes[len(axes) - len(lead) :]
    index = ["0" if n == 1 else axis for n, axis in zip(lead, along, strict=True)]
    return ", ".join(index + ["0" if q.width == 1 else ":"] * bool(q.shape)) or "()"


def _shared(function: Callable[..., None]) -> Callable[..., None]:
    """A compiled map, its first axis shared between threads."""

    def run(*arrays: Any) -> None:
        rows, size = len(arrays[-1]), max(1, arrays[-1].size)
        each = threads.share(rows, max(1, WORK * rows // size))
        threads.at_once(lambda low, high: function(low, high, *arrays), rows, each)

    return run
