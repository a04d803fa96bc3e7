"""Gradients of gradients of a derived loop equal those of the cell unrolled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, note, settings

import tinygrad_seq as ts
from tinygrad_seq import nn, viz

from .compare import Sequences
from .fixed_cells import FIXED
from .random_cells import Case, cases

EXACT = 1e-11  # of the largest number: two passes add up more roundings than one
EXAMPLES = settings.default.max_examples


def hessian_vector(case: Case) -> list[Any]:
    """The gradient of ⟨v, gradient⟩, for all that a cell reads; and the gradient itself."""
    drawn = case.cell
    cell, parameters = drawn.built(case.seed)
    s = Sequences(case.seed, case.steps, case.rows, drawn.inputs, drawn.states, case.masked)
    leaves = [s.x, *s.state, *parameters.values()]
    y, last = nn.Recurrent(cell, case.reverse)(s.x, s.state, mask=s.mask)
    seeds = [ts.Tensor(s.rng.standard_normal(out.shape)) for out in (y, *last)]
    total = sum(((g + out) * out).sum() for g, out in zip(seeds, (y, *last), strict=True))
    first = ts.autograd.grad(total, leaves, create_graph=True, allow_unused=True)
    vs = [ts.Tensor(s.rng.standard_normal(leaf.shape)) for leaf in leaves]
    used = [(g, v) for g, v in zip(first, vs, strict=True) if g is not None]
    product = sum([(g * v).sum() for g, v in used], ts.tensor(0.0))
    second: Any = [None] * len(leaves)
    if product.requires_grad:
        second = ts.autograd.grad(product, leaves, allow_unused=True)
    zeros = [np.zeros(leaf.shape) for leaf in leaves] * 2
    return [z if g is None else g.data for g, z in zip((*first, *second), zeros, strict=True)]


def compare(case: Case) -> None:
    with np.errstate(all="ignore"):
        with nn.unrolled():
            exact = hessian_vector(case)
        found = hessian_vector(case)
    size = max([1.0, *[float(np.abs(a).max(initial=0)) for a in exact]])
    if np.isfinite(size):
        for a, b in zip(exact, found, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=EXACT * size)


@settings(max_examples=2 * EXAMPLES)
@given(case=cases())
def test_drawn_cells(case: Case) -> None:
    note(repr(case))
    compare(case)


@pytest.mark.parametrize("name", FIXED)
def test_fixed_cells(name: str) -> None:
    compare(FIXED[name]._replace(masked=True, reverse=True))


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LSTMCell, nn.PeepholeLSTMCell])
def test_a_recorded_backward_is_made_of_loops(kind: Any) -> None:
    """The number of nodes does not depend on the number of steps, in any order."""
    layer = nn.Recurrent(kind(2, 3, dtype="f8"))

    def nodes(steps: int, orders: int) -> int:
        x = ts.tensor(np.linspace(-1, 1, steps * 4).reshape(steps, 2, 2), requires_grad=True)
        value = (layer(x)[0] ** 3).sum()
        for _ in range(orders):
            (g,) = ts.autograd.grad(value, x, create_graph=True)
            value = (g * g).sum()
        return len(viz.graph(value).operations)

    for orders in (1, 2):
        assert nodes(4, orders) == nodes(7, orders)


def test_the_third_order(rng: Any) -> None:
    layer = nn.Recurrent(nn.GRUCell(2, 3, dtype="f8"))
    x = ts.tensor(rng.normal(size=(4, 2, 2)), requires_grad=True)

    def third() -> Any:
        value = (layer(x, lengths=[4, 2])[0] ** 3).sum()
        for _ in range(3):
            (g,) = ts.autograd.grad(value, x, create_graph=True)
            value = (g * g).sum()
        return g.data

    found = third()
    with nn.unrolled():
        exact = third()
    np.testing.assert_allclose(found, exact, rtol=0, atol=EXACT * np.abs(exact).max())


@pytest.mark.parametrize("whose", ["input", "weight", "input without gradient"])
def test_data_that_was_replaced_is_not_read_again(rng: Any, whose: str) -> None:
    layer = nn.GRU(2, 3, dtype="f8")
    x = ts.tensor(rng.normal(size=(4, 2, 2)), requires_grad=whose == "input")
    value = (layer(x)[0] ** 2).sum()
    changed = layer.weight_hh_l0 if whose == "weight" else x
    changed.data = changed.data * 2
    with pytest.raises(RuntimeError, match="was replaced after gru saved it"):
        ts.autograd.grad(value, layer.weight_ih_l0, create_graph=True, retain_graph=True)
    ts.autograd.grad(value, layer.weight_ih_l0)  # reads what the forward saved


def test_a_loss_whose_scores_were_replaced_is_not_differentiated_twice(rng: Any) -> None:
    scores = ts.tensor(rng.normal(size=(2, 3)), requires_grad=True)
    loss = nn.cross_entropy(scores, [0, 2])
    scores.data = scores.data * 2
    with pytest.raises(RuntimeError, match="was replaced after cross_entropy saved it"):
        ts.autograd.grad(loss, scores, create_graph=True)
