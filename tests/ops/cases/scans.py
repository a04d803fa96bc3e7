"""Linear recurrences: factors that broadcast, a first state, masks, complex numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tinygrad_seq.autograd import Interval
from tinygrad_seq.testing import arrays

from .base import case

FACTORS = Interval(-1.5, 1.5)  # over three steps, values stay where differences are exact


def _drawn(draw, begun):
    """[a, b] or [a, b, h0], and whether they are pairs."""
    pairs = draw(st.booleans())
    last = (2,) if pairs else ()
    steps = draw(st.integers(1, 3))
    state = draw(st.sampled_from([(), (2,)] if pairs else [(), (2,), (2, 2)])) + last
    shape = (steps, *state)
    own = draw(st.sampled_from([shape, state, (1, *state)]))
    if state and not pairs:
        own = draw(st.sampled_from([own, state[-1:], ()]))
    xs = [draw(arrays(own, FACTORS, layouts=True)), draw(arrays(shape, layouts=True))]
    return xs + [draw(arrays(state, layouts=True))] * begun, pairs


@case
def scan(draw):
    """The recurrence and its adjoint, which has no first state."""
    adjoint = draw(st.booleans())
    xs, pairs = _drawn(draw, begun=not adjoint and draw(st.booleans()))
    return tuple(xs), {"reverse": draw(st.booleans()), "adjoint": adjoint, "pairs": pairs}


@case
def linear_scan(draw):
    """Some steps left out, or none."""
    xs, pairs = _drawn(draw, begun=True)
    shape = xs[1].shape[: draw(st.integers(1, xs[1].ndim - pairs))]
    mask = draw(st.none() | st.lists(st.booleans(), min_size=64, max_size=64))
    mask = mask and np.resize(np.array(mask), shape)
    return tuple(xs), {"reverse": draw(st.booleans()), "pairs": pairs, "mask": mask}
