"""The loop derived from a cell, as text: its equations, or why there is none."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...creation import zeros
from ...recurrence import explained
from ...recurrence.listing import listed
from ..module import Module
from .recurrent import Recurrent, reading
from .wrappers import cell_within


class Derivation(NamedTuple):
    """How a cell reads a sequence; printed, its equations.

    Attributes:
        kind: What runs the loop: ``"numpy"``, ``"numba"``, ``"numpy and numba"`` (numba for maps of
            large arrays alone) or ``"cuda"``; ``"unrolled"`` if the cell is called step by step.
        reason: Why no faster kind is used, or empty.
        equations: Of the loop, forward and backward; empty if there is none.
    """

    kind: str
    reason: str
    equations: str

    def __str__(self) -> str:
        return self.equations or f"step by step: {self.reason}"


def derivation(
    cell: Any, x: Any = None, state: Any = None, lengths: Any = None, mask: Any = None
) -> Derivation:
    """The loop derived from a cell, forward and backward, or why the cell runs step by step.

    Args:
        cell: Any cell, or a :class:`Recurrent` around one.
        x: A sequence ``(T, N, I)`` to read; two steps of zeros if None, for a cell that has an
            ``input_size``.
        state: The state before the first step; the cell's own if None.
        lengths, mask: Which steps are read, as for :class:`Recurrent`: a cell that mixes the
            sequences of a batch is fused only where none is padded.

    Raises:
        TypeError: x is missing, and the cell has no ``input_size``; or as :class:`Recurrent`.
        ValueError: as :class:`Recurrent`.

    Example:
        >>> import tinygrad_seq as ts
        >>> from tinygrad_seq import nn
        >>> print(nn.derivation(nn.RNNCell(3, 4)))
        before the loop, for all steps
            a1 = bias_ih + bias_hh + x weight_ihᵀ
        each step
            h' = tanh(a1 + h weight_hhᵀ)
        each step back
            a2 = (ȳ + h̄') ⊙ (1 - h' ⊙ h')
            h̄ = a2 weight_hh
        after the loop, summed over the steps
            ∂bias_hh = Σ a2
            ∂weight_hh = a2ᵀ h
            x̄ = a2 weight_ih
            ∂weight_ih = a2ᵀ x
    """
    reverse = False
    if isinstance(cell, Recurrent):
        cell, reverse = cell.cell, cell.reverse
    within = cell_within(cell)
    if x is None:
        size = getattr(within or cell, "input_size", None)
        if size is None:
            name = getattr(cell, "__name__", type(cell).__name__)
            raise TypeError(
                f"derivation of {name}, which has no input_size, needs a sequence x: "
                "call derivation(cell, x, state)"
            )
        x = zeros((2, 2, size), dtype=getattr(within or cell, "dtype", None))
    step, xs, state, valid, _ = reading(cell, x, state, lengths, mask)
    known = explained(step, xs, state, valid is not None, reverse)
    if known.derived is None or known.reads is None:
        return Derivation("unrolled", known.reason, "")
    parts = len(known.derived.plan.program.states)
    names = getattr(within or cell, "state_names", None)
    if names is None or len(names) != parts:
        names = ("h",) if parts == 1 else tuple([f"s{k}" for k in range(parts)])
    called = {}
    if isinstance(cell, Module):
        called = {id(p._data): name for name, p in cell.named_parameters()}
    free = [
        called.get(id(a)) or getattr(s, "name", None) or f"p{k}"
        for k, (a, s) in enumerate(zip(*known.reads, strict=True))
    ]
    return Derivation(known.kind, known.reason, listed(known.derived.plan, names, tuple(free)))
