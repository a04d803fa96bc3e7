"""How far a gradient goes back through time, as numbers ξ_t.

Between step t-1 and step t the state is unchanged, and its gradient is multiplied by ξ_t:

    s̄_{t-1} = ξ_t s̄_t ∂s_t/∂s_{t-1} + (what step t-1 itself adds)

1 lets it pass and 0 stops it. Each class here is an endless iterable of ξ_1, ξ_2, …, iterated again
for each sequence. A list of numbers works too, if it is long enough.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..backend import generator
from ..messages import Hinted
from ..nn.checks import positive


@dataclass(frozen=True)
class Full(Hinted):
    """Back to the first step.  ξ_t = 1

    Source: Werbos 1990; d2l 9.7.1.
    """

    def __iter__(self) -> Iterator[float]:
        return itertools.repeat(1.0)


@dataclass(frozen=True)
class Truncated(Hinted):
    """Back to the start of the current window.  ξ_t = 0 if t is a multiple of τ, else 1

    Memory is that of one window, for any length. The estimate is biased: it lacks the contribution
    of states before the window of a loss.

    Args:
        steps: τ, the length of a window.

    Source: Williams & Peng 1990; d2l 9.7.2.
    """

    steps: int

    def __post_init__(self) -> None:
        positive("Truncated", "steps", self.steps)

    def __iter__(self) -> Iterator[float]:
        return itertools.cycle([*[1.0] * (self.steps - 1), 0.0])


@dataclass(frozen=True)
class Randomised(Hinted):
    """Back to a random step, with weights that compensate for the steps left out.

        ξ_t = 1/π_t with probability π_t, else 0;    E[ξ_t] = 1

    The ξ_t are drawn one after another, and the expectation over all of them is the full gradient:
    the estimate is unbiased, for any π, also one that depends on the draws before.

    With a constant π windows have 1/(1-π) steps on average and geometric lengths, and what comes
    back over k steps has the weight π^-k. Where the gradient itself fades less than π^(k/2) the
    variance grows without bound in T. A π that rises with the age of the window keeps the weights
    polynomial: with ``keep=lambda age: 1 - 3 / (2 * length + age)`` windows have ``length`` > 1
    steps on average, of a power law, and the weight over k steps is about (1 + k / (2 length))³.

    Args:
        keep: π: a number in (0, 1], or a function that takes the number of steps since the window
            began, 1, 2, …, and gives one.

    Source: Tallec & Ollivier 2017, "Unbiasing truncated backpropagation through time" (there
    c = 1 - π; a power law for the lengths); d2l 9.7.3.
    """

    keep: float | Callable[[int], float]

    def __post_init__(self) -> None:
        self._probability(1)  # raises here if it is wrong

    def __iter__(self) -> Iterator[float]:
        age = 1
        while True:
            keep = self._probability(age)
            passed = generator().random() < keep
            yield 1.0 / keep if passed else 0.0
            age = age + 1 if passed else 1

    def _probability(self, age: int) -> float:
        keep = self.keep(age) if callable(self.keep) else self.keep
        if not 0.0 < keep <= 1.0:
            raise ValueError(
                f"Randomised expects a probability to go on in (0, 1], or the estimate could not "
                f"be unbiased; got {keep}" + f" after {age} steps" * callable(self.keep)
            )
        return float(keep)
