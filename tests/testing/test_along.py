"""A second derivative that is wrong in one entry, or missing, is wrong along a line too."""

import numpy as np
import pytest
from along import second_order_along_a_line

from tinygrad_seq.autograd import Primitive
from tinygrad_seq.ops import index_set
from tinygrad_seq.testing import GradientError, gradcheck

X = np.random.default_rng(3).normal(size=(2, 3))


def cubed(x, /):
    """y = x³."""
    return x**3


def one_entry(g, x):
    """Right, and with a derivative of its own that is right in all entries but one."""
    slope = 3 * x * x
    if not hasattr(slope, "detach"):
        return g * slope
    return g * index_set(slope, (1, 2), slope[1, 2].detach())


@pytest.mark.parametrize(
    ("rule", "right"),
    [
        (lambda g, x: g * 3 * x * x, True),
        (one_entry, False),
        (lambda g, x: g * 3 * (x.detach() if hasattr(x, "detach") else x) ** 2, False),
        (lambda g, x: (g.detach() if hasattr(g, "detach") else g) * 3 * x * x, False),
    ],
    ids=["right", "one entry", "without x", "without g"],
)
def test_it_refuses_what_is_wrong(rule, right):
    made = Primitive(cubed)
    made.defvjp(x=rule)
    assert gradcheck(made, X)
    if right:
        assert second_order_along_a_line(made, X)
    else:
        with pytest.raises(GradientError, match="cubed"):
            second_order_along_a_line(made, X)
