"""What is said of a derived loop: its kind, its equations, and why there is none."""

import numpy as np
import pytest
from device import host

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.recurrence import explained

pytestmark = pytest.mark.usefixtures("backend")


def weights(*shape):
    return ts.Tensor(0.3 * ts.randn(*shape).data, requires_grad=True)


@pytest.mark.parametrize(
    "kind", ["RNNCell", "GRUCell", "LSTMCell", "PeepholeLSTMCell", "LeakyCell"]
)
def test_cells_of_the_library_have_equations(kind):
    cell = getattr(nn, kind)(3, 4)
    for asked in (cell, nn.Recurrent(cell, reverse=True)):
        found = nn.derivation(asked)
        assert found.kind != "unrolled"
        for line in ("each step", "each step back", "∂weight_hh = ", "x̄ = "):
            assert line in str(found)


def test_a_cell_of_ones_own_needs_a_sequence():
    w = weights(3, 3)

    def cell(x, h):
        h = ts.tanh(x @ w + h)
        return h, h

    with pytest.raises(TypeError, match="derivation of cell, which has no input_size"):
        nn.derivation(cell)
    found = nn.derivation(cell, ts.ones(4, 2, 3), ts.zeros(2, 3))
    assert "h' = tanh(a1 + h)" in found.equations


def test_attention_over_fixed_keys_is_a_loop():
    fixed, v = weights(2, 9, 8), weights(8)

    def cell(x, h):
        a = ts.softmax(ts.tanh(h[:, None] + fixed) @ v, axis=-1)
        h = ts.tanh(x + (a[:, :, None] * fixed).sum(1))
        return h, h

    found = nn.derivation(cell, ts.ones(4, 2, 8), ts.ones(2, 8))
    assert found.kind == "numpy"
    assert "each step back" in found.equations


def read_item(x, h):
    h = h * x.sum().item()
    return h, h


def branch(x, h):
    h = h + 1 if (h > 0).any() else h - 1
    return h, h


def random(x, h):
    h = h * np.random.default_rng().random(3).astype("f4")
    return h, h


def growing(x, h):
    return h, ts.concatenate([h, x], axis=-1)


def other_form(x, h):
    return h, (h, h)


COUNT = []


def counting(x, h):
    COUNT.append(0)
    h = h * len(COUNT)
    return h, h


@pytest.mark.host("the reasons are the same everywhere")
@pytest.mark.parametrize(
    ("cell", "why"),
    [
        (read_item, "reads numbers of a tensor by item"),
        (branch, "reads numbers of a tensor by bool"),
        (random, "a different one at every step"),
        (growing, "a part of its state goes from"),
        (other_form, "its state changes its structure"),
        (counting, "it changes COUNT as it runs"),
    ],
)
def test_what_cannot_be_derived_is_said(cell, why):
    found = nn.derivation(cell, ts.ones(4, 2, 3), ts.ones(2, 3))
    assert found.kind == "unrolled"
    assert why in found.reason
    assert why in str(found)


@pytest.mark.host("drawn by the host's generator")
def test_what_was_drawn_for_a_record_is_drawn_again():
    dropout, x, h = nn.Dropout(0.5), ts.ones(6, 2, 3), ts.ones(2, 3)

    def cell(x, h):
        h = dropout(ts.tanh(x + h))
        return h, h

    results = []
    for mode in (nn.unrolled, ts.enable_grad):
        ts.manual_seed(3)
        with mode():
            results.append(nn.Recurrent(cell)(x, h)[0].numpy())
    np.testing.assert_array_equal(*results)


@pytest.mark.host("the rows of a batch are mixed")
def test_a_cell_that_mixes_sequences_is_unrolled_where_some_are_padded(rng):
    w = weights(3, 3)

    def mixing(x, h):
        h = ts.tanh((h @ h.T) @ (x @ w))
        return h, h

    x, h = ts.Tensor(rng.normal(size=(4, 2, 3)).astype("f4")), ts.ones(2, 3)
    assert explained(mixing, x, h).kind == "numpy"
    assert "mixes the sequences" in nn.derivation(mixing, x, h, lengths=[4, 2]).reason
    assert "mixes the sequences" in nn.derivation(mixing, x, h, mask=x.numpy()[..., 0] > 0).reason
    assert explained(mixing, x, h).reason == ""  # that was of padded batches


def test_a_derivation_reads_what_the_layer_reads(rng):
    """One sequence is a batch of one to both, and both refuse what does not fit."""
    cell, x = nn.GRUCell(3, 4), ts.Tensor(rng.normal(size=(5, 3)).astype("f4"))
    assert nn.derivation(cell, x).equations == nn.derivation(cell, x[:, None]).equations
    with pytest.raises(ValueError, match="lengths"):
        nn.derivation(cell, x[:, None], lengths=[9])


@pytest.mark.host("the rows of a batch are mixed")
@pytest.mark.parametrize(
    "mixed",
    [
        lambda h: h[::-1],
        lambda h: ts.roll(h, 2, 0),
        lambda h: h - h.mean(0),
        lambda h: ts.take(h, [1, 0, 3, 2, 4], 0),
    ],
    ids=["flipped", "shifted by two", "mean", "pairs"],
)
def test_any_mixing_of_sequences_is_noticed(mixed, rng):
    def cell(x, h):
        h = ts.tanh(mixed(h) + x)
        return h, h

    x, h = ts.Tensor(rng.normal(size=(4, 5, 3)).astype("f4")), ts.zeros(5, 3)
    assert "mixes the sequences" in explained(cell, x, h, masked=True).reason
    alone = ts.Tensor(rng.normal(size=(4, 1, 3)).astype("f4"))
    assert "mixes" not in explained(lambda x, h: (h[::-1] + x,) * 2, alone, h[:1], True).reason


@pytest.mark.host("the loops of NumPy")
def test_a_loop_that_fails_is_said_and_the_cell_is_unrolled(monkeypatch, rng):
    w, factor = weights(3, 3), rng.uniform()

    def cell(x, h):
        h = ts.tanh(factor * (x @ w) + h)
        return h, h

    def fail(*args, **how):
        raise AssertionError("no such plane")

    x, h = ts.Tensor(rng.normal(size=(4, 2, 3)).astype("f4")), ts.ones(2, 3)
    with nn.unrolled():
        want = nn.Recurrent(cell)(x, h)[0].detach().numpy()
    monkeypatch.setattr("tinygrad_seq.recurrence.derived.Scan.forward", fail)
    with pytest.warns(RuntimeWarning, match="fails: AssertionError: no such plane") as told:
        got = nn.Recurrent(cell)(x, h)[0]
    assert {one.filename for one in told} == {__file__}  # the line of the user
    np.testing.assert_array_equal(got.detach().numpy(), want)


@pytest.mark.parametrize(
    "turn", [lambda v: ts.expand_dims(v, 0), lambda v: v.T], ids=["in front", "turned"]
)
def test_a_cell_that_moves_the_sequences_to_another_axis_reads_padded_batches(turn, rng):
    w = weights(3, 3)

    def turning(x, h):
        h = ts.linear_scan(ts.sigmoid(turn(x @ w)), turn(x), turn(h)[0])
        h = h[0] if len(h) == 1 else h.T
        return h, h

    x, h, found = ts.Tensor(rng.normal(size=(4, 2, 3)).astype("f4")), ts.ones(2, 3), []
    for mode in (nn.unrolled, ts.enable_grad):
        w.grad = None
        with mode():
            y, _ = nn.Recurrent(turning)(x, h, lengths=[4, 2])
        y.sum().backward()
        found.append((host(y), host(w.grad)))
    for ours, expected in zip(*found, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.host("the same cache for all")
def test_a_changed_constant_is_another_program(rng):
    scale, x, h = [0.5], ts.ones(4, 2, 3), ts.ones(2, 3)

    def cell(x, h):
        h = scale[0] * (x + h)
        return h, h

    first = nn.Recurrent(cell)(x, h)[0].numpy()
    scale[0] = 0.25
    second = nn.Recurrent(cell)(x, h)[0].numpy()
    with nn.unrolled():
        exact = nn.Recurrent(cell)(x, h)[0].numpy()
    np.testing.assert_allclose(second, exact)
    assert not np.allclose(first, second)


def test_parts_of_a_weight_are_told_apart():
    """Of a weight that multiplies (x, h), each product reads its own rows of the transpose."""
    both = nn.Linear(2 + 3, 3)

    def cell(x, h):
        h = ts.tanh(both(ts.concatenate([x, h], axis=-1)))
        return h, h

    said = str(nn.derivation(cell, ts.ones((2, 1, 2)), ts.zeros((1, 3))))
    assert "x weightᵀ[0:2, :]" in said
    assert "h weightᵀ[2:5, :]" in said
    assert "x̄ = a2 weight[:, 0:2]" in said


def test_an_index_that_adds_an_axis_and_its_gradient_are_reshapes():
    w, keys = ts.ones(3, 3, requires_grad=True), ts.ones(2, 4, 3)

    def cell(x, h):
        h = ts.tanh(x @ w + (h[:, None] * keys)[..., None].sum((1, 3)))
        return h, h

    found = nn.derivation(cell, ts.ones(4, 2, 3), ts.zeros(2, 3))
    assert found.kind != "unrolled"
    assert "reshape" in str(found)
    assert "scatter_add" not in str(found)
    assert "getitem" not in str(found)
