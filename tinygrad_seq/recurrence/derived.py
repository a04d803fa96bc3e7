"""A derived loop as one fused operation of the autograd engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..autograd.fused import Fused
from ..autograd.graph import Node, Variable
from ..backend import backend_of
from ..tensor import Tensor
from .plan import Plan, planned
from .record import Recording, differentiated
from .scan_cuda import scan_on
from .trees import flat, like


class Derived:
    """What was derived from a step: ``(y, last) = derived(name, recording, xs, state, ...)``.

    Another recording of the same program may be given, with the parameters of another cell.

    Attributes:
        plan: What is done once, before, in and after the loop.
        scan: The loop.
    """

    def __init__(self, recording: Recording) -> None:
        self.plan: Plan = planned(differentiated(recording))
        self.scan = scan_on(backend_of(recording.leaves[0]._data), self.plan)
        p = self.plan.program
        counts = (("x", p.xs), ("s", p.states), ("p", p.free))
        self.arguments = tuple([f"{a}{k}" for a, values in counts for k in range(len(values))])
        self._ops: dict[str, Fused] = {}

    def __call__(
        self,
        name: str,
        recording: Recording,
        xs: Any,
        state: Any,
        specification: Callable[[], tuple[Tensor, Any]],
        mask: Any = None,
        reverse: bool = False,
    ) -> tuple[Tensor, Any]:
        """Read a sequence.

        Args:
            name: What the graph calls the operation.
            recording: A step of this program, for what it reads besides.
            xs, state: Inputs of all steps, and the first state.
            specification: The same, step by step.
            mask: Which steps are read ``(T, N)``, or None for all.
            reverse: Whether from the last step to the first.
        """
        free = map(as_tensor, recording.arrays, recording.sources)
        args: Sequence[Any] = [*flat(xs), *flat(state), *free]

        def parts() -> tuple[Tensor, ...]:
            y, last = specification()
            return (y, *flat(last))

        if name not in self._ops:
            self._ops[name] = Fused(name, self.arguments, self.scan.forward, self.scan.backward)
        y, *last = self._ops[name](args, parts, mask=mask, reverse=reverse)
        return y, like(state, last)


def as_tensor(array: Any, source: Any) -> Variable:
    """A tensor of the array whose gradient goes to ``source``."""
    if isinstance(source, Variable):
        return source
    return Tensor._wrap(array, source if isinstance(source, Node) else None)
