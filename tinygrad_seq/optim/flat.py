"""One buffer for all parameters of a group, so that a GPU starts few kernels.

On a GPU each operation starts a kernel, and a model has dozens of small parameters. They become
views of one buffer, their gradients are copied into another, and the group is updated as one
parameter. The values are the same for an algorithm that acts element by element.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from ..backend import Array, backend_of, is_array
from ..tensor import Tensor

State: TypeAlias = dict[str, Any]

ALIGNED = 64
"""Every part starts at a multiple of this many elements, where a GPU reads at full width."""


class Flat:
    """Parameters as parts of one buffer, and their optimizer state likewise.

    Args:
        params: Parameters with gradients, of one dtype, on one backend; they become views.
        memories: The state of each; becomes views too.

    Attributes:
        buffer: The values, one after another.
        memory: The state of the whole buffer.
    """

    def __init__(self, params: Sequence[Tensor], memories: Sequence[State]) -> None:
        self._np = backend_of(params[0].data).np
        self._shapes = [p.shape for p in params]
        self._gap = self._np.zeros(ALIGNED, params[0].dtype)
        self.buffer = self.gather([p.data for p in params])
        self._views = self._parts(self.buffer)
        for p, view in zip(params, self._views, strict=True):
            p._data = view
        self.memory: State = {
            name: self.gather([m[name] for m in memories]) if is_array(value) else value
            for name, value in memories[0].items()
        }
        self.hand_out(memories)

    def gather(self, arrays: Sequence[Array]) -> Array:
        """The elements of arrays, one array after another, with zeros between."""
        parts = [part for a in arrays for part in (a.reshape(-1), self._gap[: -a.size % ALIGNED])]
        return self._np.concatenate(parts)

    def hand_out(self, memories: Sequence[State]) -> None:
        """Show each parameter its part of the memory."""
        for name, value in self.memory.items():
            parts = self._parts(value) if is_array(value) else [value] * len(memories)
            for memory, part in zip(memories, parts, strict=True):
                memory[name] = part
        self._shown = [dict(memory) for memory in memories]

    def holds(self, params: Sequence[Tensor], memories: Sequence[State]) -> bool:
        """Whether no value was moved and no state loaded since."""
        return all(p.data is view for p, view in zip(params, self._views, strict=True)) and all(
            memory.keys() == shown.keys() and all(memory[name] is shown[name] for name in shown)
            for memory, shown in zip(memories, self._shown, strict=True)
        )

    def _parts(self, buffer: Array) -> list[Array]:
        parts, start = [], 0
        for shape in self._shapes:
            size = math.prod(shape)
            parts.append(buffer[start : start + size].reshape(shape))
            start += size + -size % ALIGNED
        return parts


def flat_for(
    known: Flat | None, params: Sequence[Tensor], memories: Sequence[State]
) -> Flat | None:
    """The group as one buffer, ``known`` if it still is; None where it cannot be one.

    Every parameter needs a gradient, and all need one dtype and the same number of steps so far.
    """
    first = params[0]
    if not backend_of(first.data).flat or any(p.grad is None for p in params):
        return None
    if first.dtype == "float16" or any(
        p.dtype != first.dtype or p.backend != first.backend for p in params
    ):
        return None
    if known is not None and known.holds(params, memories):
        return known
    steps = {tuple(sorted((k, v) for k, v in m.items() if not is_array(v))) for m in memories}
    if len(steps) > 1 or any(m.keys() != memories[0].keys() for m in memories):
        return None
    return Flat(params, memories)
