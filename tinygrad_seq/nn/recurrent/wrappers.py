"""Cells around cells: random noise that regularises recurrent nets.

A wrapper takes any cell (one of the library's, your own, or another wrapper) and is a cell:

    nn.Recurrent(nn.Zoneout(nn.VariationalDropout(nn.GRUCell(8, 16), input=0.2, state=0.2), 0.1))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

from ... import ops
from ...backend import backend_of
from ...recurrence import each, flat, like, pair
from ...tensor import Tensor
from ..checks import as_tensor, fraction
from ..dropout import chosen, silenced
from ..module import Module
from ..names import inside
from .cell import Cell, Recall, Step, as_it_is, begun, initial_state_of, recalling, require_cell


class Wrapper(Module):
    """A cell around another.

    Args:
        cell: Any callable ``(x, state) -> (y, state)``.
    """

    def __init__(self, cell: Any) -> None:
        require_cell(type(self).__name__, cell)
        self.cell = cell

    def initial_state(self, batch_shape: tuple[int, ...] = ()) -> Any:
        """That of the cell within."""
        return initial_state_of(self.cell, batch_shape)


def innermost(cell: Any) -> Any:
    """The cell within all wrappers."""
    while isinstance(cell, Wrapper):
        cell = cell.cell
    return cell


def one_mask_for_all_steps(owner: str) -> RuntimeError:
    """The error of a wrapper for a single step in training."""
    return RuntimeError(
        f"{owner} draws one mask for all steps of a sequence, so in training use "
        "nn.Recurrent(cell); in a loop of your own, call step, xs = cell.begin(xs, state) once for "
        "each sequence, then step(xs[t], state)"
    )


def cell_within(cell: Any) -> Cell | None:
    """The library's cell inside wrappers, unless a subclass has its own ``forward``."""
    cell = innermost(cell)
    return cell if isinstance(cell, Cell) and type(cell).forward is Cell.forward else None


class VariationalDropout(Wrapper):
    """Dropout with one mask for all steps of a sequence.

        y_t, s_t = cell(x_t ⊙ m_x, s_{t-1}), whose recurrent weights read h_{t-1} ⊙ m_h

    Each element of a mask is 0 with probability p and 1/(1-p) otherwise, separately for each
    sequence of the batch. The masks are drawn when :class:`Recurrent` begins to read, or once for
    all windows of a sequence by :func:`tinygrad_seq.seq.bptt`. In evaluation nothing is masked.

    What gates carry past the weights (c of an LSTM; z ⊙ h of a GRU) is not masked: the same mask at
    every step would make it grow like (1-p)^-t. A cell of your own chooses what is masked by a
    third argument ``recall``, a function of h; without one, its whole state is masked.

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

    def begin(self, xs: Any, state: Any, recall: Recall = as_it_is) -> tuple[Step, Any]:
        """The step for one sequence, with its masks, and the masked inputs of all steps."""
        if self.training and self.input:
            zeros = of_sequence(lambda: each(lambda part: chosen(part[0], self.input), xs))
            xs = each(lambda part, m: silenced(part, m, self.input), xs, zeros)
        if not (self.training and self.state):
            return begun(self.cell, xs, state, recall)
        silence = of_sequence(lambda: one_mask(self.state))
        silence(state)  # draws
        return begun(self.cell, xs, state, lambda h: silence(recall(h)))

    def forward(self, x: Any, state: Any = None, recall: Recall = as_it_is) -> tuple[Tensor, Any]:
        """One step of the cell within, in evaluation.

        Raises:
            RuntimeError: in training, where steps taken one by one would not share a mask.
        """
        if self.training and (self.input or self.state):
            raise one_mask_for_all_steps("VariationalDropout")
        return recalling(self.cell, recall)(x, state)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        """The probabilities."""
        return f"input={self.input}, state={self.state}"


class Zoneout(Wrapper):
    """At every step, random units keep their previous state.

        s_t = m_t ⊙ s_{t-1} + (1 - m_t) ⊙ s̃_t,    where _, s̃_t = cell(x_t, s_{t-1})

    Each element of m_t is 1 with probability p. In evaluation m_t is its mean, p. If the output
    is a part of the state (h of the library's cells), y_t is that part of s_t.

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

    def begin(self, xs: Any, state: Any, recall: Recall = as_it_is) -> tuple[Step, Any]:
        """The step for one sequence; in training the masks are additional inputs."""
        within, xs = begun(self.cell, xs, state, recall)
        chances = self._chances(state)
        if not self.training:
            return lambda x, before: self._zoned(within(x, before), before, chances), xs
        steps = len(flat(xs)[0])
        masks = [
            Tensor._wrap(backend_of(part._data).uniform((steps, *part.shape)) < p)
            for part, p in zip(flat(state), chances, strict=True)
        ]

        def step(inputs: Any, before: Any) -> tuple[Any, Any]:
            x, kept = inputs
            return self._zoned(within(x, before), before, kept)

        return step, (xs, tuple(masks))

    def forward(self, x: Any, state: Any = None, recall: Recall = as_it_is) -> tuple[Tensor, Any]:
        """One step with new masks."""
        before = self.initial_state(as_tensor(x).shape[:-1]) if state is None else state
        result = recalling(self.cell, recall)(x, before)
        before = each(as_tensor, before)
        kept: Sequence[Any] = self._chances(before)
        if self.training:
            kept = [chosen(part, p) for part, p in zip(flat(before), kept, strict=True)]
        return self._zoned(result, before, kept)

    def _chances(self, state: Any) -> Sequence[float]:
        """The probability for each part of a state."""
        if state is None:
            raise ValueError(
                "Zoneout needs a state to keep from the first step on: give state=, or the cell an "
                "initial_state(batch_shape)"
            )
        count = len(flat(state))
        if not isinstance(self.p, tuple):
            return [self.p] * count
        if count != len(self.p):
            raise ValueError(
                f"Zoneout has {len(self.p)} probabilities, one for each part of the state; "
                f"the state has {count}"
            )
        return self.p

    def _zoned(self, result: Any, before: Any, kept: Sequence[Any]) -> tuple[Any, Any]:
        """m ⊙ s + (1 - m) ⊙ s̃ for every part, m being a mask or its mean."""
        with inside(self):
            y, after = pair("a cell", result, before)
            zoned = [
                new + m * (old - new) if isinstance(m, float) else ops.where(m, old, new)
                for m, old, new in zip(kept, flat(before), flat(after), strict=True)
            ]
        parts = zip(flat(after), zoned, strict=True)
        return next((new for old, new in parts if old is y), y), like(after, zoned)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


class InParts(Wrapper):
    """A cell that reads one sequence in parts: masks drawn for the first part are kept.

    Thus the windows of truncated back-propagation share the masks of their sequence.
    """

    def __init__(self, cell: Any) -> None:
        super().__init__(cell)
        self._drawn: list[Any] = []

    def begin(self, xs: Any, state: Any, recall: Recall = as_it_is) -> tuple[Step, Any]:
        """The step for one part."""
        now: list[Any] = []
        token = _reading.set((iter(self._drawn), now))
        try:
            return begun(self.cell, xs, state, recall)
        finally:
            _reading.reset(token)
            self._drawn = now


_reading: ContextVar[tuple[Iterator[Any], list[Any]] | None] = ContextVar("_reading", default=None)


def of_sequence(draw: Callable[[], Any]) -> Any:
    """What a wrapper draws when a sequence begins; its later parts reuse it."""
    reading = _reading.get()
    if reading is None:
        return draw()
    before, now = reading
    drawn = next(before, None)
    now.append(draw() if drawn is None else drawn)
    return now[-1]


def one_mask(p: float) -> Recall:
    """Dropout whose masks are drawn at the first call, one for each part of a state, and kept.

    A later call may pass only h, the first part of the state.
    """
    masks: list[Any] = []

    def silence(seen: Any) -> Any:
        if seen is None:
            return None
        if not masks:
            masks.append(each(lambda part: chosen(part, p), seen))
        mask = masks[0]
        while isinstance(mask, tuple) and not isinstance(seen, tuple | list):
            mask = mask[0]
        return each(lambda part, m: silenced(part, m, p), seen, mask)

    return silence
