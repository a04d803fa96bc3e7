"""Tasks that need a long memory: adding, copying, and the order of symbols.

The start of a sequence has what must be remembered, its end asks for it, and nothing between helps.
Without memory no prediction is better than ``baseline``, the smallest expected loss.

Each task is an endless stream of batches of new sequences, so that the loss of a batch, taken
before the step that learns from it, is the loss on unseen data:

    for inputs, targets, lengths in islice(AddingProblem(50, batch_size=50), 1000):
        ...

``state_dict()`` holds the position of the stream; after ``load_state_dict()`` it continues there,
bit for bit.

Source: Hochreiter & Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, §5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..messages import Hinted
from ..nn.checks import flag, positive, seed_of
from .epochs import check_state


class TaskBatch(NamedTuple):
    """N sequences, padded with zeros to the longest.

    Attributes:
        inputs: ``(T, N, I)`` float32, or ids of symbols ``(T, N)`` int64.
        targets: One for each sequence ``(N,)``, or for each step ``(T, N)``.
        lengths: Of each sequence ``(N,)``, int64.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]
    lengths: NDArray[np.int64]


class _Task(Hinted):
    """The shared part: an endless stream of batches with a position.

    Attributes:
        baseline: The least expected loss without memory.
        position: How many batches were given.
    """

    baseline: float

    def __init__(
        self, steps: int, batch_size: int, seed: int | None, least: int, **settings: int
    ) -> None:
        kind = type(self).__name__
        self.steps = positive(kind, "steps", steps)
        self.batch_size = positive(kind, "batch_size", batch_size)
        if steps < least:
            raise ValueError(f"{kind} needs steps of at least {least}; got {steps}")
        self.seed = seed_of(kind, seed)
        self.position = 0
        # What must be equal for a position to mean the same batch.
        self._cut = {"steps": self.steps, "batch_size": self.batch_size, **settings}

    def _draw(self, rng: np.random.Generator) -> TaskBatch:
        """One batch."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[TaskBatch]:
        return self

    def __next__(self) -> TaskBatch:
        """The next batch; it depends on the seed and its position alone."""
        batch = self._draw(np.random.default_rng((self.seed, self.position)))
        self.position += 1
        return batch

    def state_dict(self) -> dict[str, Any]:
        """The position as plain numbers; in a loop, the current batch counts as done."""
        return {"position": self.position, "seed": self.seed} | self._cut

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken.

        Raises:
            ValueError: It is of another task, or of one with other sizes; nothing changed.
        """
        check_state(self, state, self._cut)
        if state["position"] < 0 or state["seed"] < 0:
            raise ValueError(
                f"position and seed are 0 or more; got {state['position']} and {state['seed']}"
            )
        vars(self).update(position=state["position"], seed=state["seed"])  # both, or neither


class AddingProblem(_Task):
    """Add the two numbers that were marked.

    Each step has a number, uniform in [0, 1), and a mark: 1 at one step of the first half and at
    one of the second, else 0. The target is the sum of the two marked numbers. The best constant
    is 1, and its mean squared error 1/6 ≈ 0.167.

    With ``original=True`` as first published: numbers in [-1, 1), lengths between T and 1.1 T; one
    mark among the first 10 steps, then one among the first T/2 - 1 that are still unmarked; the
    first and the last step have the mark -1, unless marked, and a marked first step has the number
    0. The target is 0.5 + (sum of the two) / 4, and a sequence counts as right where the error is
    below 0.04. The best constant is 0.5, and its error (2 - p) / 48 ≈ 0.04, with
    p = 0.1 + 0.9 / (T/2 - 1) the chance that the first step was marked.

    Args:
        steps: T, the length of a sequence (``original``: the least length), at least 2, or 22.
        batch_size: N.
        seed: A non-negative number from which all is drawn; None takes one from the library's
            generator, so that ``manual_seed`` determines it.
        original: Whether as first published.

    Gives inputs ``(T, N, 2)`` float32, numbers and marks, and targets ``(N,)`` float32.

    Example:
        >>> from tinygrad_seq import data
        >>> inputs, targets, lengths = next(data.AddingProblem(50, batch_size=20, seed=1))
        >>> inputs.shape, targets.shape, lengths.shape
        ((50, 20, 2), (20,), (20,))

    Source: Le, Jaitly & Hinton 2015, with the halves of Arjovsky, Shah & Bengio 2016;
    ``original``: Hochreiter & Schmidhuber 1997, §5.4, Experiment 4 (LSTM, T = 100: 74 000
    sequences, then 1 of 2560 wrong).
    """

    def __init__(
        self, steps: int, batch_size: int, seed: int | None = None, *, original: bool = False
    ) -> None:
        self.original = flag("AddingProblem", "original", original)
        super().__init__(steps, batch_size, seed, 22 if original else 2, original=self.original)
        first_marked = 0.1 + 0.9 / (self.steps // 2 - 1) if original else 0.0
        self.baseline = (2 - first_marked) / 48 if original else 1 / 6

    def _draw(self, rng: np.random.Generator) -> TaskBatch:
        steps, count = self.steps, self.batch_size
        column = np.arange(count)
        if self.original:
            lengths = rng.integers(steps, steps + steps // 10, count, endpoint=True)
            numbers = 2 * rng.random((lengths.max(), count), np.float32) - 1
            first = rng.integers(10, size=count)
            second = rng.integers(steps // 2 - 1, size=count)
            second += second >= first  # the one already marked is left out of the choice
        else:
            lengths = np.full(count, steps)
            numbers = rng.random((steps, count), np.float32)
            first = rng.integers(steps // 2, size=count)
            second = rng.integers(steps // 2, steps, count)
        marks = np.zeros_like(numbers)
        if self.original:
            marks[0] = marks[lengths - 1, column] = -1
        marks[first, column] = marks[second, column] = 1
        if self.original:
            numbers[0, marks[0] == 1] = 0
        total = numbers[first, column] + numbers[second, column]
        read = np.arange(len(numbers))[:, None] < lengths
        inputs = np.stack([numbers * read, marks], axis=-1)
        return TaskBatch(inputs, 0.5 + total / 4 if self.original else total, lengths)


class CopyMemory(_Task):
    """Repeat symbols after a long wait.

    K symbols of 0..7, T - 1 blanks (8), a sign to begin (9), K blanks. The target is a blank at
    every step, but the K symbols in their order at the last K. A model without memory predicts
    blanks, then each symbol with probability 1/8: its mean cross-entropy per step is
    K ln 8 / (T + 2K).

    Args:
        steps: T, the wait.
        batch_size: N.
        seed: As for :class:`AddingProblem`.
        symbols: K, how many to remember; 10 as published.

    Gives inputs ``(T + 2K, N)``, ids in 0..9, and targets ``(T + 2K, N)``, ids in 0..8; int64.

    Example:
        >>> from tinygrad_seq import data
        >>> inputs, targets, lengths = next(data.CopyMemory(4, batch_size=1, seed=1, symbols=3))
        >>> print(inputs[:, 0], targets[:, 0])
        [3 4 6 8 8 8 9 8 8 8] [8 8 8 8 8 8 8 3 4 6]

    Source: Arjovsky, Shah & Bengio 2016 (K = 10), after the tasks of Hochreiter & Schmidhuber 1997.
    """

    def __init__(
        self, steps: int, batch_size: int, seed: int | None = None, *, symbols: int = 10
    ) -> None:
        self.symbols = positive("CopyMemory", "symbols", symbols)
        super().__init__(steps, batch_size, seed, 1, symbols=self.symbols)
        self.baseline = self.symbols * math.log(8) / (self.steps + 2 * self.symbols)

    def _draw(self, rng: np.random.Generator) -> TaskBatch:
        shown = rng.integers(8, size=(self.symbols, self.batch_size))
        length = self.steps + 2 * self.symbols
        inputs = np.full((length, self.batch_size), 8)
        targets = inputs.copy()
        inputs[: self.symbols] = targets[-self.symbols :] = shown
        inputs[-self.symbols - 1] = 9
        return TaskBatch(inputs, targets, np.full(self.batch_size, length))


class TemporalOrder(_Task):
    """Tell in which order symbols came.

    A sequence starts with E, ends with B, and between them has a, b, c, d at random, but X or Y at
    two places far apart: one in T/10..2T/10, one in 5T/10..6T/10, steps counted from 0. Lengths are
    T..1.1 T. The class is XX, XY, YX or YY: 0, 1, 2, 3. Without memory all four are equally likely,
    and the cross-entropy is ln 4 ≈ 1.386.

    With ``symbols=3`` there are three places, in 10..20, 33..43 and 66..76 hundredths of T, and
    eight classes, from XXX to YYY.

    Args:
        steps: T, the least length, at least 10; 100 as published.
        batch_size: N.
        seed: As for :class:`AddingProblem`.
        symbols: 2 or 3.

    Attributes:
        alphabet: The symbols in the order of their ids.

    Gives inputs ``(T', N)``, ids in 0..7, and targets ``(N,)``, classes; int64.

    Example:
        >>> from tinygrad_seq import data
        >>> task = data.TemporalOrder(20, batch_size=1, seed=1)
        >>> inputs, targets, lengths = next(task)
        >>> print("".join(task.alphabet[i] for i in inputs[:, 0]), targets)
        EddaYddabdbbXbbccaadB [2]

    Source: Hochreiter & Schmidhuber 1997, §5.6, Experiments 6a (LSTM, T = 100: 31 390 sequences,
    then 1 of 2560 wrong) and 6b (571 100 sequences, then 2 of 2560).
    """

    alphabet: ClassVar[str] = "abcdXYEB"

    def __init__(
        self, steps: int, batch_size: int, seed: int | None = None, *, symbols: int = 2
    ) -> None:
        if symbols not in _PLACES:
            raise ValueError(f"TemporalOrder knows 2 or 3 symbols; got {symbols!r}")
        super().__init__(steps, batch_size, seed, 10, symbols=symbols)
        self.symbols = symbols
        self.baseline = symbols * math.log(2)

    def _draw(self, rng: np.random.Generator) -> TaskBatch:
        steps, count = self.steps, self.batch_size
        column, ids = np.arange(count), self.alphabet.index
        lengths = rng.integers(steps, steps + steps // 10, count, endpoint=True)
        inputs = rng.integers(4, size=(lengths.max(), count))
        targets = np.zeros(count, np.int64)
        for low, high in _PLACES[self.symbols]:
            place = rng.integers(steps * low // 100, steps * high // 100, count, endpoint=True)
            letter = rng.integers(2, size=count)
            inputs[place, column] = ids("X") + letter
            targets = 2 * targets + letter
        inputs[0] = ids("E")
        inputs[lengths - 1, column] = ids("B")
        inputs[np.arange(len(inputs))[:, None] >= lengths] = 0
        return TaskBatch(inputs, targets, lengths)


_PLACES = {2: ((10, 20), (50, 60)), 3: ((10, 20), (33, 43), (66, 76))}
"""Where X or Y may stand, in hundredths of T."""
