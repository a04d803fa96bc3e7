"""A derived loop as one fused operation of the autograd engine."""

from __future__ import annotations

import functools
from collections.abc import Container, Iterable
from typing import Any

import numpy

from ..autograd.fused import Fused
from ..autograd.graph import Node, Variable
from ..backend import backend_of, jit
from ..tensor import Tensor
from .forms import FORMS
from .plan import Plan
from .planning import planned
from .record import Recording, differentiated
from .rowwise import rowwise
from .scan import Scan
from .scan_cuda import CudaScan
from .twice import Twice

FLOAT32 = numpy.dtype(numpy.float32)

MOST = 256
"""So many programs are remembered, the latest."""

ROWS = 8
"""Fewer steps times sequences are left to NumPy: packing the weights would not pay."""


class Derived:
    """What was derived from a step.

    Args:
        recording: The step.
        uncompiled: Why numba is not to compile its loops, or an empty string.

    Attributes:
        plan: What runs once, before, in and after the loop.
        trusted: For each kind of loop, with and without padding, True if it was found right, or
            the reason why not.

    Raises:
        Underivable: the derivative needs values.
    """

    def __init__(self, recording: Recording, uncompiled: str = "") -> None:
        self._program = differentiated(recording)
        self.plan: Plan = planned(self._program)
        self.trusted: dict[tuple[str, bool], Any] = {}
        self._uncompiled = uncompiled
        self._kernel = backend_of(recording.leaves[0]._data).kernel
        self._scans: dict[str, Scan] = {}
        self._ops: dict[tuple[str, int], Fused] = {}

    def kinds(self, x: Any) -> list[str]:
        """The kinds of loop available for this input, the fastest first."""
        if self._kernel is not None:
            return ["cuda", "numpy"]
        if not self._uncompiled and compilable(x, self._dtypes()):
            return ["numba", "large", "numpy"]
        return ["numpy"]

    def _dtypes(self) -> list[Any]:
        p = self.plan.program
        return [p.types[v].dtype for v in (*p.states, p.y)]

    def reason(self, x: Any, masked: bool) -> str:
        """Why the fastest kind of loop is not used for this input, or an empty string."""
        verdict = self.trusted.get((self.kinds(x)[0], masked))
        if isinstance(verdict, str):
            return verdict
        if self.kinds(x) == ["numpy"] and not self._uncompiled and compilable(x, [FLOAT32]):
            names = ", ".join(sorted({d.name for d in self._dtypes()}))
            return f"compiled loops are of float32; its state and output are of {names}"
        return self._uncompiled

    @functools.cached_property
    def twice(self) -> Twice:
        """The gradients as tensors."""
        return Twice(self.plan)

    def ready(self, x: Any, masked: bool) -> Scan | None:
        """The fastest loop for this input, if that is known."""
        for kind in self.kinds(x):
            verdict = self.trusted.get((kind, masked))
            if verdict is None:
                return None
            if verdict is True:
                return self.scan(kind)
        return None

    def scan(self, kind: str) -> Scan:
        """The loop of a kind.

        Raises:
            Uncompiled: there is no loop of that kind for this step.
        """
        if kind not in self._scans:
            if kind == "numba":
                from .compiled import Compiled  # imports numba

                alone = not any(stage.dots for stage in self.plan.forward)  # all in one loop
                self._scans[kind] = Compiled(self._compiled_plan(FORMS if alone else ()))
            elif kind == "large":
                from .large import LargeScan  # imports numba

                self._scans[kind] = LargeScan(self.plan)
            elif kind == "cuda" and self._kernel is not None:
                self._scans[kind] = CudaScan(self._compiled_plan(), self._kernel)
            else:
                self._scans[kind] = Scan(self.plan)
        return self._scans[kind]

    def _compiled_plan(self, inside: Container[Any] = ()) -> Plan:
        """The plan for a compiler, which has no other operations on rows than maps and folds."""
        written = rowwise(self._program)
        same = written.code == self._program.code and not inside
        return self.plan if same else planned(written, inside)

    def operation(self, name: str, scan: Scan) -> Fused:
        """The loop as an operation of the engine, under the name that the graph gives it."""
        if (name, id(scan)) not in self._ops:
            op = Fused(name, scan.arguments, scan.forward, scan.backward)
            self._ops[name, id(scan)] = op
        return self._ops[name, id(scan)]


def compilable(x: Any, dtypes: Iterable[Any]) -> bool:
    """Whether a loop over such an input, of states and outputs of such dtypes, may be compiled."""
    few = len(x) * (x.shape[1] if x.ndim > 1 else 1) < ROWS
    return type(x) is numpy.ndarray and not few and {*dtypes} == {FLOAT32} and jit.usable()


def as_tensor(array: Any, source: Any) -> Variable:
    """A tensor over the array, whose gradient goes to ``source``."""
    if isinstance(source, Variable):
        return source
    return Tensor._wrap(array, source if isinstance(source, Node) else None)
