"""A loop and the cell unrolled, compared in values and in every gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_seq as ts
from tinygrad_seq.autograd import grad
from tinygrad_seq.recurrence.plan import Plan, planned
from tinygrad_seq.recurrence.record import Recording, differentiated, record
from tinygrad_seq.recurrence.trees import flat, like
from tinygrad_seq.recurrence.unroll import unroll


class Sequences:
    """Inputs, a state, a mask and upstream gradients, drawn from a seed, in float64."""

    def __init__(
        self, seed: int, T: int, N: int, inputs: int, states: tuple[int, ...], masked: bool
    ) -> None:
        rng = np.random.default_rng(seed)
        self.rng = rng
        self.mask = (rng.random((T, N)) < 0.7) if masked else None
        x = rng.standard_normal((T, N, inputs))
        if self.mask is not None:
            x = np.where(self.mask[:, :, None], x, 0)
        self.x = ts.Tensor(x, requires_grad=True)
        self.state = tuple(
            ts.Tensor(rng.standard_normal((N, w)), requires_grad=True) for w in states
        )


def recorded(cell: Any, s: Sequences) -> tuple[Recording, Plan]:
    """One step of a cell, and the plan of its loop."""
    first = record(cell, s.x[0].detach(), like(s.state, [p.detach() for p in flat(s.state)]))
    return first, planned(differentiated(first))


def largest_error(
    cell: Any, s: Sequences, make: Callable[[Plan], Any], reverse: bool = False
) -> float:
    """The largest difference, in units of the largest number met (or of 1)."""
    first, plan = recorded(cell, s)
    scan = make(plan)
    y, last = unroll(cell, s.x, s.state, s.mask, reverse)
    outs = [y, *flat(last)]
    seeds = [s.rng.standard_normal(o.shape) for o in outs]
    leaves = [s.x, *flat(s.state), *[p for p in first.reads.sources if p is not None]]
    on_graph = [(o, g) for o, g in zip(outs, seeds, strict=True) if o.requires_grad]
    want: Any = [None] * len(leaves)
    if on_graph:
        given = [ts.Tensor(g) for _, g in on_graph]
        want = grad([o for o, _ in on_graph], leaves, given, allow_unused=True)
    arrays = [s.x.data, *[p.data for p in flat(s.state)], *first.reads.arrays]
    how = {"mask": s.mask, "reverse": reverse}
    kept, run = scan.forward(*arrays, keep=True, **how)
    bare, _ = scan.forward(*arrays, keep=False, **how)
    names = ["x0", *[f"s{k}" for k in range(len(flat(s.state)))]]
    names += [f"p{k}" for k, p in enumerate(first.reads.sources) if p is not None]
    found = scan.backward(*seeds, run, set(names))
    again = scan.backward(*seeds, run, set(names))  # a retained graph
    pairs = [(o.data, r) for o, *both in zip(outs, kept, bare, strict=True) for r in both]
    for name, g in zip(names, want, strict=True):
        exact = np.zeros_like(found[name]) if g is None else g.data
        pairs += [(exact, found[name]), (exact, again[name])]
    size = max([1.0, *[float(np.abs(a).max(initial=0)) for a, _ in pairs]])
    if not np.isfinite(size):
        return 0.0  # the cell itself overflows
    errors = [np.abs(a - b).max(initial=0) for a, b in pairs]
    return float(np.max(errors)) / size if np.isfinite(errors).all() else np.inf
