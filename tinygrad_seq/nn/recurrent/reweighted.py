"""Cells that compute with changed weights: normalised, or with some elements dropped.

    nn.Recurrent(nn.WeightDrop(nn.WeightNorm(nn.LSTMCell(8, 16)), 0.5))  # of any cell

The weights are computed once for a sequence, not at each step.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ... import ops
from ...autograd.operands import on_host
from ...tensor import Tensor
from ..checks import fraction
from ..dropout import chosen, silenced
from ..parameter import Parameter
from .cell import Recall, Step, as_it_is, begun, recalling
from .wrappers import Wrapper, innermost, of_sequence, one_mask_for_all_steps


class Reweighted(Wrapper):
    """A cell whose weight ``name`` is replaced by :meth:`weight`; the outermost wrapper acts last.

    Args:
        cell: A cell with a weight of this name: one of the library's, a module of your own, or
            either in wrappers.
        name: Which weight; wrap twice for two weights.
    """

    def __init__(self, cell: Any, name: str) -> None:
        super().__init__(cell)
        owner, within = type(self).__name__, innermost(cell)
        weight = getattr(within, name, None)
        if not isinstance(weight, Parameter) or weight.ndim < 2:
            got = f"{type(weight).__name__}" if weight is None else f"shape {weight.shape}"
            raise ValueError(
                f"{owner} expects name= of a weight of {type(within).__name__}, a parameter of two "
                f"axes, such as 'weight_hh'; {name!r} is {got}"
            )
        self.name = name

    def weight(self) -> Tensor:
        """The weight that the cell computes with, from the stored weight."""
        raise NotImplementedError

    def settled(self) -> Any:
        """The wrapped cell, with the weight computed now."""
        return with_weight(self.cell, self.name, self.weight())

    def begin(self, xs: Any, state: Any, recall: Recall = as_it_is) -> tuple[Step, Any]:
        """The step for one sequence, with the weights computed now."""
        return begun(self.settled(), xs, state, recall)

    def forward(self, x: Any, state: Any = None, recall: Recall = as_it_is) -> tuple[Tensor, Any]:
        """One step, with the weights computed now."""
        return recalling(self.settled(), recall)(x, state)  # type: ignore[no-any-return]


class WeightNorm(Reweighted):
    """A weight whose rows' directions and lengths are learned separately.  W = g ⊙ v / ‖v‖

    v is the cell's own weight; the lengths of its rows no longer matter. g starts as these lengths,
    so the result is the same at first.

    Args:
        cell: A cell that has the weight.
        name: Which weight.

    Attributes:
        weight_hh_g: g ``(rows, 1)``, named after the weight.

    Source: Salimans & Kingma 2016, eq. 2; for each row as in PyTorch.
    """

    def __init__(self, cell: Any, name: str = "weight_hh") -> None:
        super().__init__(cell, name)
        part = cell
        while isinstance(part, Wrapper):
            if isinstance(part, Reweighted) and part.name == name:
                raise ValueError(
                    f"WeightNorm needs the stored {name}, which {type(part).__name__} "
                    "within changes: wrap in this order, nn.WeightDrop(nn.WeightNorm(cell), p)"
                )
            part = part.cell
        lengths = _lengths(weight_of(cell, name)).detach()
        still = np.flatnonzero(on_host(lengths) == 0)
        if still.size:
            raise ValueError(f"WeightNorm: row {still[0]} of {name} is zero, and has no direction")
        setattr(self, f"{name}_g", Parameter(lengths))

    def weight(self) -> Tensor:
        """g ⊙ v / ‖v‖."""
        v = weight_of(self.cell, self.name)
        g: Tensor = getattr(self, f"{self.name}_g")
        return v * (g / _lengths(v))

    def extra_repr(self) -> str:
        """The weight."""
        return self.name


class WeightDrop(Reweighted):
    """DropConnect: in training some elements of a weight are zero, the same at all steps.

        W = U ⊙ m / (1 - p)

    Each element of m is 0 with probability p and 1 otherwise, drawn when :class:`Recurrent` begins
    to read, for all sequences of the batch. In evaluation the weight is unchanged.

    Args:
        cell: A cell that has the weight.
        p: Probability of zero.
        name: Which weight.

    Source: Merity et al. 2018 (AWD-LSTM), 2, on the recurrent weights; Wan et al. 2013.
    """

    def __init__(self, cell: Any, p: float, name: str = "weight_hh") -> None:
        super().__init__(cell, name)
        self.p = fraction("WeightDrop", "p", p)

    def weight(self) -> Tensor:
        """U ⊙ m / (1 - p), with a new m."""
        u = weight_of(self.cell, self.name)
        if not (self.training and self.p):
            return u
        zeros = of_sequence(lambda: chosen(u, self.p))  # also if the sequence is read in windows
        return silenced(u, zeros, self.p)

    def forward(self, x: Any, state: Any = None, recall: Recall = as_it_is) -> tuple[Tensor, Any]:
        """One step, in evaluation.

        Raises:
            RuntimeError: in training, where steps taken one by one would not share a mask.
        """
        if self.training and self.p:
            raise one_mask_for_all_steps("WeightDrop")
        return super().forward(x, state, recall)

    def extra_repr(self) -> str:
        """The probability, and the weight."""
        return f"p={self.p}, {self.name}"


def _lengths(v: Tensor) -> Tensor:
    """‖v‖ of each row, ``(rows, 1, ...)``."""
    return ops.sqrt(ops.sum(v * v, axis=tuple(range(1, v.ndim)), keepdims=True))


def weight_of(cell: Any, name: str) -> Tensor:
    """The weight that a cell computes with."""
    if isinstance(cell, Reweighted) and cell.name == name:
        return cell.weight()
    return weight_of(cell.cell, name) if isinstance(cell, Wrapper) else getattr(cell, name)


def with_weight(cell: Any, name: str, weight: Tensor) -> Any:
    """A copy of a cell with one weight replaced, without the wrapper that computes it."""
    if isinstance(cell, Reweighted) and cell.name == name:
        return with_weight(cell.cell, name, weight)
    other = copy.copy(cell)
    part = (
        {"cell": with_weight(cell.cell, name, weight)}
        if isinstance(cell, Wrapper)
        else {name: weight}
    )
    vars(other).update(part)
    return other
