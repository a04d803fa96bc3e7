"""Cells around cells: noise that teaches a recurrent net not to rely on single units.

A wrapper takes any cell, one of the library's, your own, or another wrapper, and is a cell:

    nn.Recurrent(nn.Zoneout(nn.VariationalDropout(nn.GRUCell(8, 16), input=0.2, state=0.2), 0.1))
"""

from __future__ import annotations

from typing import Any

from .. import ops
from ..tensor import Tensor
from .checks import fraction
from .dropout import chosen, dropout_mask
from .unrollable import (
    Recall,
    Step,
    Unrollable,
    as_it_is,
    each,
    inside_cell,
    recurrence_of,
    unrollable,
)


class Wrapper(Unrollable):
    """A cell around another; what it does not say otherwise is the other's answer.

    Args:
        cell: Any callable ``(x, state) -> (y, state)``.
    """

    def __init__(self, cell: Any) -> None:
        unrollable(type(self).__name__, cell)  # or say so now
        self.cell = cell

    @property
    def within(self) -> Any:
        """The cell within, as something that can be unrolled."""
        return unrollable(type(self).__name__, self.cell)

    def check_step(self, x: Any) -> Any:
        """As the cell within."""
        return self.within.check_step(x)

    def check_sequence(self, x: Any) -> Any:
        """As the cell within."""
        return self.within.check_sequence(x)

    def check_state(self, state: Any, batch_shape: tuple[int, ...] = ()) -> Any:
        """As the cell within."""
        return self.within.check_state(state, batch_shape)

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Any:
        """As the cell within."""
        return self.within.initial_state(batch_shape)

    def project(self, x: Any) -> Any:
        """As the cell within."""
        with inside_cell(self.within):
            return self.within.project(x)


class VariationalDropout(Wrapper):
    """Dropout with one mask for all steps of a sequence.

        y_t, s_t = cell(x_t ⊙ m_x, s_{t-1}), whose recurrent weights see h_{t-1} ⊙ m_h

    Each element of a mask is 0 with probability p and 1/(1-p) otherwise, for each sequence of the
    batch alone, drawn when :class:`Recurrent` begins to read. In evaluation it is the cell alone.

    What gates carry past the weights (c of an LSTM; z ⊙ h of a GRU) is not masked: the same mask at
    every step would make it grow like (1-p)^-t. A cell of your own that takes no ``recall`` in its
    :meth:`Cell.recurrence` is given its whole state masked.

    Args:
        cell: Any cell.
        input: Probability of zero in m_x.
        state: Probability of zero in m_h.

    Source: Gal & Ghahramani 2016, eq. 7 (one mask for all gates).
    """

    def __init__(self, cell: Any, input: float = 0.0, state: float = 0.0) -> None:
        super().__init__(cell)
        self.input = fraction("VariationalDropout", "input", input)
        self.state = fraction("VariationalDropout", "state", state)

    def acting(self) -> Any:
        """In evaluation, or where nothing is dropped, the cell within."""
        return self if self.training and (self.input or self.state) else self.within

    def check_step(self, x: Any) -> Any:
        """As the cell within, in evaluation.

        Raises:
            RuntimeError: in training, where steps taken one by one would not share a mask.
        """
        if self.acting() is self:
            raise RuntimeError(
                "VariationalDropout draws one mask for all steps of a sequence, so in training "
                "it is read by nn.Recurrent(cell); for a loop of your own make, for each "
                "sequence, xs = cell.project(x) and step = cell.recurrence()"
            )
        return super().check_step(x)

    def project(self, x: Any) -> Any:
        """What the cell within makes of all steps of a sequence, ``(T, N, I)``, masked alike."""
        if self.training and self.input:
            x = x * dropout_mask(x[0], self.input)
        with inside_cell(self.within):
            return self.within.project(x)

    def recurrence(self, recall: Recall = as_it_is) -> Step:
        """The step for one sequence, whose mask of the state is its own."""
        if not (self.training and self.state):
            return recurrence_of(self.within, recall)
        silence = one_mask(self.state)
        return recurrence_of(self.within, lambda h: silence(recall(h)))

    def extra_repr(self) -> str:
        """The probabilities."""
        return f"input={self.input}, state={self.state}"


class Zoneout(Wrapper):
    """Keep random units of the state as they were, at every step.

        s_t = m_t ⊙ s_{t-1} + (1 - m_t) ⊙ s̃_t,    where _, s̃_t = cell(x_t, s_{t-1})

    Each element of m_t is 1 with probability p. In evaluation m_t is its mean, p. An output that is
    a part of the state (h of the library's cells) is that part of s_t.

    Args:
        cell: Any cell that does not start from None.
        p: Probability to keep the old value; for a state of several parts a tuple, one for each
            (h, c of an LSTM), or one for all.

    Source: Krueger et al. 2017, eq. 1 and 3.
    """

    def __init__(self, cell: Any, p: float | tuple[float, ...]) -> None:
        super().__init__(cell)
        self.p = (
            tuple(fraction("Zoneout", "p", part) for part in p)
            if isinstance(p, tuple | list)
            else fraction("Zoneout", "p", p)
        )

    def recurrence(self, recall: Recall = as_it_is) -> Step:
        """The step of the cell within, then the choice of units."""
        within = recurrence_of(self.within, recall)

        def step(x: Any, before: Any) -> tuple[Any, Any]:
            y, after = within(x, before)
            zoned = self._zoned(before, after)
            parts = zip(_parts(after), _parts(zoned), strict=True)
            return next((new for old, new in parts if old is y), y), zoned

        return step

    def _zoned(self, before: Any, after: Any) -> Any:
        """A part of each state."""
        if before is None:
            raise ValueError(
                "Zoneout needs a state to keep from the first step on: give state=, or the cell an "
                "initial_state(batch_shape)"
            )
        if not isinstance(self.p, tuple):
            return each(lambda old, new: self._choose(old, new, self.p), before, after)
        if not isinstance(after, tuple) or len(after) != len(self.p):
            raise ValueError(
                f"Zoneout has {len(self.p)} probabilities, one for each part of the state; "
                f"the state has {len(_parts(after))}"
            )
        return tuple(map(self._choose, before, after, self.p))

    def _choose(self, before: Tensor, after: Tensor, p: Any) -> Tensor:
        """m ⊙ s + (1 - m) ⊙ s̃"""
        zoned: Tensor
        if self.training:
            zoned = ops.where(chosen(after, p), before, after)
        else:
            zoned = after + p * (before - after)
        return zoned

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


def one_mask(p: float) -> Recall:
    """Dropout whose masks, one for each part of a state, are drawn at the first call and stay."""
    masks: list[Any] = []

    def silence(state: Any) -> Any:
        if state is None:
            return None
        if not masks:
            masks.append(each(lambda part: dropout_mask(part, p), state))
        return each(lambda part, mask: part * mask, state, masks[0])

    return silence


def _parts(state: Any) -> tuple[Any, ...]:
    return state if isinstance(state, tuple) else (state,)
