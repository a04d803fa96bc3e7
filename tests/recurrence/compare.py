"""A loop and the cell unrolled, compared in values and in every gradient."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from device.fake_kernels import COMPILER, on_host

import tinygrad_seq as ts
from tinygrad_seq.autograd import grad
from tinygrad_seq.recurrence.compiled import Compiled
from tinygrad_seq.recurrence.forms import FORMS
from tinygrad_seq.recurrence.large import LargeScan
from tinygrad_seq.recurrence.planning import planned
from tinygrad_seq.recurrence.program import Program
from tinygrad_seq.recurrence.record import differentiated, record
from tinygrad_seq.recurrence.rowwise import rowwise
from tinygrad_seq.recurrence.scan import Pass, Scan
from tinygrad_seq.recurrence.scan_cuda import CudaScan
from tinygrad_seq.recurrence.trees import flat, like
from tinygrad_seq.recurrence.trust import Case as Use
from tinygrad_seq.recurrence.unroll import unroll

from .plain_machine import PlainMachine

EXACT = 1e-12
EMPTY = np.empty


class Kernels(CudaScan):
    """Launches its kernels though the arrays are NumPy's, which is here called otherwise."""

    np = SimpleNamespace(**vars(np))

    def loop_forward(self, run: Pass, keep: bool) -> None:
        run.np = self.np
        super().loop_forward(run, keep)


MAKERS: dict[str, Callable[[Program], Scan]] = {
    "numpy": lambda p: Scan(planned(p)),
    "loops": lambda p: Compiled(planned(rowwise(p)), PlainMachine()),
    "loops, planes apart": lambda p: Compiled(planned(rowwise(p)), PlainMachine(sideways=True)),
    "loops, maps inside": lambda p: Compiled(planned(rowwise(p), FORMS), PlainMachine()),
    "loops, large maps": lambda p: LargeScan(planned(p), PlainMachine()),
}
if COMPILER is not None:  # kernels are run as C
    MAKERS["kernels"] = lambda p: Kernels(planned(rowwise(p)), on_host)


def _unwritten(*args: Any, **kwargs: Any) -> np.ndarray[Any, Any]:
    """``np.empty``, filled with NaN: a loop must not read what it has not written."""
    array = EMPTY(*args, **kwargs)
    if array.dtype.kind == "f":
        array.fill(np.nan)
    return array


class Sequences:
    """Inputs, a state, a mask and upstream gradients, drawn from a seed, in float64."""

    def __init__(
        self, seed: int, T: int, N: int, inputs: int, states: tuple[Any, ...], masked: bool
    ) -> None:
        rng = np.random.default_rng(seed)
        self.rng = rng
        self.mask = (rng.random((T, N)) < 0.7) if masked else None
        x = rng.standard_normal((T, N, inputs))
        if self.mask is not None:
            x = np.where(self.mask[:, :, None], x, 0)
        self.x = ts.Tensor(x, requires_grad=True)
        self.state = tuple(
            ts.Tensor(rng.standard_normal((N, *np.atleast_1d(w))), requires_grad=True)
            for w in states
        )


class Comparison:
    """A cell unrolled along sequences; loops derived from its step are compared with it.

    Two passes back are compared: one from all results to all leaves, and one from some results to
    some leaves, which also shows that a graph can be gone through twice.
    """

    def __init__(self, cell: Any, s: Sequences, reverse: bool = False) -> None:
        first = record(cell, s.x[0].detach(), like(s.state, [p.detach() for p in flat(s.state)]))
        self.recording, self.program = first, differentiated(first)
        self.how = {"mask": s.mask, "reverse": reverse}
        self.cell, self.sequences = cell, s
        self.arrays = [s.x.data, *[p.data for p in flat(s.state)], *first.reads.arrays]
        y, last = unroll(cell, s.x, s.state, s.mask, reverse)
        self.outs = [y, *flat(last)]
        self.leaves = {"x0": s.x} | {f"s{k}": part for k, part in enumerate(flat(s.state))}
        self.leaves |= {
            f"p{k}": p for k, p in enumerate(first.reads.sources) if isinstance(p, ts.Tensor)
        }
        seeds = [s.rng.standard_normal(o.shape) for o in self.outs]
        self.passes = [self._gradients(seeds, set(self.leaves))]
        some = [g if s.rng.random() < 0.6 else None for g in seeds]
        self.passes.append(self._gradients(some, {n for n in self.leaves if s.rng.random() < 0.6}))

    def _gradients(self, seeds: list[Any], wanted: set[str]) -> tuple[list[Any], dict[str, Any]]:
        """The upstream gradients, and the gradients that are wanted of the unrolled cell."""
        on_graph = [
            (o, ts.Tensor(g))
            for o, g in zip(self.outs, seeds, strict=True)
            if g is not None and o.requires_grad
        ]
        names = [name for name in self.leaves if name in wanted]
        found: Any = [None] * len(names)
        if on_graph and names:
            outs, given = zip(*on_graph, strict=True)
            leaves = [self.leaves[name] for name in names]
            found = grad(outs, leaves, given, retain_graph=True, allow_unused=True)
        return seeds, {
            name: np.zeros(self.leaves[name].shape) if g is None else g.data
            for name, g in zip(names, found, strict=True)
        }

    def first_use(self) -> Use:
        """What the library compares a loop on when it meets a cell."""
        s, masked = self.sequences, self.sequences.mask is not None
        return Use(self.cell, s.x, s.state, self.recording, masked, self.how["reverse"])

    def error(self, make: Callable[[Program], Scan]) -> float:
        """The largest difference, in units of the largest number met (or of 1).

        It is infinite where a loop gives NaN, gradients that nobody wants, or gradients that
        share memory.
        """
        scan = make(self.program)
        with (
            patch("tinygrad_seq.recurrence.scan.ROWS", 4),
            patch.object(np, "empty", _unwritten),
            np.errstate(all="ignore"),
        ):
            return self._error_of(scan)

    def _error_of(self, scan: Scan) -> float:
        kept, run = scan.forward(*self.arrays, keep=True, **self.how)
        bare, _ = scan.forward(*self.arrays, keep=False, **self.how)
        pairs = [(o.data, r) for o, *both in zip(self.outs, kept, bare, strict=True) for r in both]
        for seeds, want in self.passes:
            found = scan.backward(*seeds, run, set(want))
            pairs += [(exact, found[name]) for name, exact in want.items()]
            if {n for n in found if n[0] == "p"} != {n for n in want if n[0] == "p"}:
                return np.inf
            given = [*self.arrays, *[g for g in seeds if g is not None]]
            if _shared([*found.values()], given):
                return np.inf
        size = max([1.0, *[float(np.abs(a).max(initial=0)) for a, _ in pairs]])
        if not np.isfinite(size):
            return 0.0  # the cell itself overflows
        errors = [np.abs(a - b).max(initial=0) for a, b in pairs]
        return float(np.max(errors)) / size if np.isfinite(errors).all() else np.inf


def _shared(some: list[Any], others: list[Any]) -> bool:
    """Whether some arrays may share memory with one another, or with others."""
    return any(np.may_share_memory(a, b) for k, a in enumerate(some) for b in (*some[:k], *others))
