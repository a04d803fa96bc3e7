"""Second derivatives along a drawn line, of which one number is checked for every entry at once.

A central difference for each entry of each input takes as many passes as there are entries. Along
a line x + s v, with a drawn v that is nowhere near zero, it takes two, and an error in any entry
of the derivative is an error in its product with v.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_seq.testing.backward import analytic_gradients, draw_cotangents
from tinygrad_seq.testing.reference import compare, references
from tinygrad_seq.testing.report import Situation, constant, describe, shapes_of
from tinygrad_seq.testing.subject import GradientSubject, Leaf, Subject


class Line:
    """A function of several arrays as a function of the place on a line through them."""

    def __init__(self, whole: GradientSubject, seed: int) -> None:
        self.whole, self.name = whole, whole.name
        self.direction = [0.5 * v for v in draw_cotangents(whole.values, seed)]
        self.leaves = [Leaf("the place on a line", np.zeros(()))]

    @property
    def values(self) -> list[np.ndarray]:
        return [leaf.value for leaf in self.leaves]

    def call(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        pairs = zip(self.whole.values, self.direction, strict=True)
        return self.whole.call([np.asarray(x + values[0] * v) for x, v in pairs])

    def slope(self, gradients: Sequence[np.ndarray | None]) -> np.ndarray:
        """⟨x̄, v⟩, to be compared with the difference of two places."""
        pairs = zip(gradients, self.direction, strict=True)
        return np.asarray(sum(float(np.sum(g * v)) for g, v in pairs if g is not None))


def second_order_along_a_line(
    f: Callable[..., Any], *inputs: Any, names: Sequence[str] | None = None, seed: int = 0
) -> bool:
    """What ``gradgradcheck`` asserts, with the oracle along a line instead of by entries."""
    subject = Subject(f, inputs, names)
    cotangents = draw_cotangents(subject.call([x.copy() for x in subject.values]), seed)
    second = GradientSubject(subject, cotangents)
    upstream = draw_cotangents(second.call([x.copy() for x in second.values]), seed + 1)
    inputs_told = [describe(leaf.label, leaf.value) for leaf in second.leaves]
    told = Situation(second.name, "gradgradcheck", seed, inputs_told, shapes_of(upstream))
    gradients = analytic_gradients(second, upstream, told)
    line = Line(second, seed + 2)
    compare(line, upstream, [line.slope(gradients)], references(line, upstream), told)
    if all(gradient is None for gradient in gradients):
        raise told.error(constant(second.name))
    return True
