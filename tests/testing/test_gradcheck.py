"""gradcheck accepts what is right and refuses what is wrong, with a message that helps."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.autograd import PRIMITIVES, Interval, Primitive
from tinygrad_seq.testing import GradientError, check_float32, gradcheck, gradgradcheck

X = np.random.default_rng(1).uniform(0.5, 2.0, (3, 3))
W = np.random.default_rng(2).uniform(0.5, 2.0, (3, 3))


def spoilt(forward, name="spoilt", **rules):
    """A primitive outside the op table."""
    forward.__name__ = name
    made = Primitive(forward)
    made.defvjp(**rules)
    return made


def square(x, /):
    """The forward of most primitives here."""
    return x * x


def product(a, b, /):
    """A forward of two arguments."""
    return a * b


def message_of(f, *inputs, check=gradcheck, **options):
    """The message with which a check refuses a function."""
    with pytest.raises(GradientError) as caught:
        check(f, *inputs, **options)
    return str(caught.value)


@pytest.mark.parametrize("oracle", ["central", "complex"])
@pytest.mark.parametrize(
    ("f", "inputs"),
    [
        (lambda x: ts.tanh(x), (X,)),
        (lambda x, w: ts.tanh(x @ w) * x, (X, W)),
        (lambda x: (ts.exp(x), x * 2), (X,)),
        (lambda x: {"sum": ts.sum(x), "parts": [x * x, x + 1]}, (X,)),
        (lambda state: state[0] * state[1], ((X, W),)),
        (lambda x, k: x * k, (X, 3)),
        (lambda x, ids: x[ids], (X, np.array([0, 0, 2]))),
        (lambda x: x * 1e8, (X,)),
        (lambda x: x * 1e-8, (X,)),
        (lambda x: x * 0, (X,)),
    ],
)
def test_right_gradients_pass(f, inputs, oracle):
    assert gradcheck(f, *inputs, oracle=oracle)
    assert gradgradcheck(f, *inputs)
    assert check_float32(f, *inputs)


@pytest.mark.parametrize("factor", [12345.0, -1.0, 2.0, 0.0, 1 + 1e-5])
def test_a_wrong_factor_is_refused(factor):
    wrong = spoilt(square, x=lambda g, x: factor * (g * 2 * x))
    message = message_of(wrong, X)
    assert "spoilt" in message
    hint = f"{factor:.6g} times the right one"
    assert (hint in message) == (factor not in (0.0, 1 + 1e-5))  # no hint: `1.00001 times`


def test_a_transposed_gradient_is_refused():
    wrong = spoilt(square, x=lambda g, x: (g * 2 * x).T)
    assert "transpose" in message_of(wrong, X)


def test_exchanged_arguments_are_refused():
    wrong = spoilt(product, a=lambda g, a: g * a, b=lambda g, b: g * b)
    assert "input 0 (a)" in message_of(wrong, X, W)


def test_a_missing_accumulation_is_refused():
    def take(x, /, ids):
        return x[ids]

    def assign(g, x_shape, ids):
        gradient = np.zeros(x_shape)
        gradient[ids] = g  # np.add.at is right: repeated ids add up
        return gradient

    wrong = spoilt(take, x=assign)
    ids = np.array([0, 1, 1])
    assert gradcheck(lambda x: x[ids], X)
    assert "at index (1, " in message_of(lambda x: wrong(x, ids=ids), X)


def test_one_wrong_entry_among_large_ones_is_refused():
    def rule(g):
        gradient = g * np.array([1e6, 1.0, 1.0])
        gradient[2] *= 1.5
        return gradient

    wrong = spoilt(lambda x, /: x * np.array([1e6, 1.0, 1.0]), x=rule)
    assert "at index (2,)" in message_of(wrong, X[0])


def test_the_message_names_all_there_is_to_know():
    wrong = spoilt(product, "my_op", a=lambda g, b: g * b, b=lambda g, a: g * a * 3)
    message = message_of(lambda x, w: wrong(x, w), X, W, names=("x", "w"), seed=17)
    for part in [
        "input 1 (w)",
        "index (",
        "analytic ",
        "numeric ",
        "central differences",
        "error ",
        "tolerance ",
        "9 of 9 entries",
        "float64 (3, 3)",
        "seed=17",
    ]:
        assert part in message


def test_names_come_from_the_function():
    wrong = spoilt(product, "my_op", a=lambda g, b: g * b, b=lambda g, a: -g * a)
    assert "input 1 (b)" in message_of(wrong, X, W)


def test_a_message_gives_both_values():
    wrong = spoilt(square, x=lambda g, x: 3.0 * (g * 2 * x))
    message = message_of(wrong, np.array([2.0]), seed=4)
    lines = {line.split()[0]: line.split()[1] for line in message.splitlines() if line.strip()}
    np.testing.assert_allclose(float(lines["analytic"]), 3 * float(lines["numeric"]), rtol=1e-6)


def test_a_missing_gradient_is_refused():
    message = message_of(lambda x, w: x * w.detach(), X, W)
    assert "no gradient" in message
    assert "input 1 (w)" in message


def test_a_gradient_that_is_rightly_missing_passes():
    assert gradcheck(lambda x, w: x * 2, X, W)


async def _async(x):
    return x * 2


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck, check_float32])
@pytest.mark.parametrize(
    "f",
    [
        lambda x: None,
        lambda x: [],
        lambda x: {},
        lambda x: "x",
        lambda x: (yield x * 2),
        lambda x: [None, (x > 0,)],
        lambda x: x > 0,
        ts.argmax,
        ts.argsort,
        _async,
        lambda x: ts.tensor(np.ones(2, x.dtype)),
        lambda x: (x > 0).astype(x.dtype),
        lambda x: x // 1,
    ],
)
def test_a_function_that_gives_nothing_is_refused(f, check):
    with pytest.raises(GradientError, match=r"nothing to check|is async"):
        check(f, X)


@pytest.mark.parametrize("x", [0.5, [0.5, -1.0], [3.0, 1e-3]])
@pytest.mark.parametrize("offset", [1e6, 1e9, -1e9])
def test_a_large_constant_hides_no_wrong_rule(x, offset):
    def forward(x, /):
        return x * x + offset

    x = np.array(x)
    right = spoilt(forward, x=lambda g, x: g * 2 * x)
    assert gradcheck(right, x)
    assert gradgradcheck(right, x)
    for factor in (1.1, 0.9, 0.0, -1.0):
        assert "is wrong" in message_of(spoilt(forward, x=_times(factor)), x)


def _times(factor):
    """The rule of x², wrong by a factor."""
    return lambda g, x: factor * (g * 2 * x)


@pytest.mark.parametrize("oracle", ["central", "complex"])
def test_what_a_huge_constant_hides_is_said(oracle):
    wrong = spoilt(lambda x, /: x * x + 1e14, x=lambda g, x: g * 2.5 * x)
    message = message_of(lambda x: wrong(x), np.ones(1), oracle=oracle)
    assert "cannot be checked" in message
    assert "rounding hides the gradient" in message


@pytest.mark.parametrize("x", [1e-160, 1e-300, 5e-324, -1e-200])
@pytest.mark.parametrize("f", [lambda x: x**2, lambda x: x**3, lambda x: x * ts.sin(x)])
def test_gradients_too_small_to_be_seen_pass(f, x):
    for values in (np.array([x]), np.array(x), np.array([x, 0.0])):
        assert gradcheck(f, values)
        assert gradgradcheck(f, values)


@pytest.mark.parametrize("scale", [1e-200, -1e-160, 3e-9])
@pytest.mark.parametrize("f", [ts.norm, ts.std, ts.abs, ts.relu, lambda x: ts.norm(x) * x])
def test_inputs_next_to_a_kink_at_0_pass(f, scale):
    assert gradcheck(f, scale * np.array([1.0, 2.0, -0.5]))
    if f is ts.abs or (f is ts.relu and scale > 0):
        assert gradcheck(f, np.array([scale, 1.0]))


@pytest.mark.parametrize("factor", [0.0, 0.25, 1.01, -1.0])
def test_a_wrong_rule_next_to_a_kink_is_refused(factor):
    wrong = spoilt(lambda x, /: np.maximum(x, 0), x=lambda g, x: factor * (g * (x > 0)))
    assert "is wrong at index (0,)" in message_of(wrong, np.array([1e-200, -1.0]))


@pytest.mark.parametrize("x", [[1e-160, 0.5], [-1e-160, 0.5], [1e-300, 2e-300], [1e-10, 0.5]])
@pytest.mark.parametrize(
    "f",
    [
        *(ts.abs, ts.relu, ts.leaky_relu, ts.elu, ts.max),
        lambda x: ts.clip(x, 0, 1),
        lambda x: ts.relu(x) + 1,  # near the kink its rounding is larger than its change
    ],
)
def test_both_orders_pass_next_to_a_kink(f, x):
    assert gradcheck(f, np.array(x))
    assert gradgradcheck(f, np.array(x))


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.01, -1.0])
def test_next_to_a_kink_that_rounding_hides_only_a_slope_of_one_side_passes(factor):
    wrong = spoilt(lambda x, /: np.maximum(x, 0) + 1, x=lambda g, x: factor * (g * (x > 0)))
    assert "at index (0,)" in message_of(wrong, np.array([1e-10, -1.0]))


@pytest.mark.parametrize("f", [ts.abs, ts.relu, ts.linalg.norm])
def test_the_smallest_numbers_pass(f):
    assert gradcheck(f, np.array([5e-324]))
    assert gradcheck(f, np.array([2e-310]))


@pytest.mark.parametrize("x", [-40.0, -10.0, 10.0, 1e8, 1e200])
@pytest.mark.parametrize("f", [ts.gelu, ts.silu, ts.tanh, ts.sigmoid, ts.erf, ts.elu, ts.relu])
def test_saturated_and_huge_inputs_pass(f, x):
    assert gradcheck(f, np.array([x]))
    assert gradgradcheck(f, np.array([x]))


@pytest.mark.parametrize("forward", [np.square, np.sin, np.exp])
def test_a_wrong_rule_of_a_number_is_refused(forward):
    wrong = spoilt(lambda x, /: forward(x), x=lambda g, x: 3 * (g * x) + 1)
    for x in (np.array(2.0), np.float64(2.0)):
        assert "is wrong at index ()" in message_of(wrong, x)


def test_a_changed_input_is_refused():
    def greedy(x, /):
        y = x * x
        x += 1
        return y

    x = X.copy()
    assert "changed its input 0 (x)" in message_of(spoilt(greedy, x=lambda g, x: g), x)
    np.testing.assert_array_equal(x, X)


def test_a_changed_upstream_gradient_is_refused():
    def rule(g, x):
        g *= 2 * x
        return g.copy()

    assert "changed the upstream gradient" in message_of(spoilt(square, x=rule), X)


def test_chance_is_refused():
    generator = np.random.default_rng(0)
    wrong = spoilt(lambda x, /: x * generator.normal(), x=lambda g: g)
    assert "not deterministic" in message_of(wrong, X)
    wrong = spoilt(square, x=lambda g, x: g * 2 * x + generator.normal())
    assert "backward" in message_of(wrong, X)


def test_nan_is_refused():
    wrong = spoilt(square, x=lambda g, x: g * np.where(x == x[0, 1], np.nan, 2 * x))
    assert "nan at index (0, 1)" in message_of(wrong, X)
    with np.errstate(invalid="ignore"):
        assert "domain" in message_of(ts.log, -X)


def test_a_kink_is_explained():
    message = message_of(ts.relu, np.array([1.0, 0.0]))
    assert "kink" in message
    assert "at index (1,)" in message
    assert "Interval" in message


def test_smaller_steps_see_past_a_kink_nearby():
    assert gradcheck(ts.abs, np.array([1.0, 1e-7]))
    wrong = spoilt(lambda x, /: np.abs(x), x=lambda g, x: -g * np.sign(x))
    assert "at index (0,)" in message_of(wrong, np.array([1e-7]))


def unrolled(tanh, steps=5):
    """A tanh RNN, whose third derivatives grow with the weights and with each step."""

    def net(x, h, w, u):
        def cell(a, s):
            s = tanh(a @ w + s @ u)
            return s, s

        return nn.Recurrent(cell)(x, h)[0]

    return net, lambda rng: (
        np.zeros((steps, 2, 3)),
        np.zeros((2, 4)),
        rng.uniform(-3, 3, (3, 4)),
        rng.uniform(-3, 3, (4, 4)),
    )


@pytest.mark.parametrize("steps", [5, 9])
def test_a_steep_function_passes(steps):
    """The error of one central difference is 1e-4 of the gradient, and more of the second."""
    net, draw = unrolled(ts.tanh, steps)
    for seed in range(5):
        inputs = draw(np.random.default_rng(seed))
        assert gradcheck(net, *inputs, seed=seed)
        if seed < 2:
            assert gradgradcheck(net, *inputs, seed=seed)


@pytest.mark.parametrize("factor", [1 + 1e-5, 0.0, -1.0, 12345.0])
@pytest.mark.parametrize("steps", [5, 9])
def test_a_wrong_rule_in_a_steep_function_is_refused(steps, factor):
    wrong = spoilt(lambda x, /: np.tanh(x), x=lambda g, y: factor * (g * (1 - y * y)))
    net, draw = unrolled(wrong, steps)
    for seed in range(3):
        message = message_of(net, *draw(np.random.default_rng(seed)), seed=seed)
        assert "is wrong at index" in message


def test_a_wrong_second_derivative_of_a_steep_function_is_refused():
    def rule(g, y):
        return g * (1 - y * ts.Tensor(getattr(y, "data", y)))  # half of y² is held constant

    wrong = spoilt(lambda x, /: np.tanh(x), x=rule)
    net, draw = unrolled(wrong)
    inputs = [x + 0.1 for x in draw(np.random.default_rng(0))]
    assert gradcheck(net, *inputs)
    assert "is wrong at index" in message_of(net, *inputs, check=gradgradcheck)


def test_what_differences_cannot_see_is_said():
    message = message_of(lambda x: ts.tanh(1e13 * x), np.zeros(1))
    assert "cannot be checked" in message
    assert "keep changing as the step shrinks" in message


def test_steepness_is_no_kink():
    wrong = spoilt(square, x=lambda g, x: -2 * g * x)
    assert "kink" not in message_of(wrong, np.array([0.004]))


def test_leaving_the_graph_is_refused():
    assert "left the graph" in message_of(lambda x: x.data * 2, X)


def test_outputs_that_depend_on_each_other_being_used_are_refused():
    def pair(x, /):
        return x * 2, x * 3

    wrong = spoilt(pair, x=lambda g: g[0] * 2 + g[1] * 3 * (np.any(g[0] != 0)))
    assert "which outputs are used" in message_of(wrong, X)


def test_a_wrong_second_derivative_is_refused():
    wrong = spoilt(square, x=lambda g, x: g * 2 * ts.Tensor(getattr(x, "data", x)))
    right = spoilt(square, x=lambda g, x: g * 2 * x)
    assert gradgradcheck(right, X)
    assert "gradient of spoilt" in message_of(wrong, X, check=gradgradcheck)


def test_float32_is_refused():
    with pytest.raises(TypeError, match=r"input 0 \(x\) of .* is float32"):
        gradcheck(lambda x: x * 2, X.astype(np.float32))


def test_an_input_without_floats_is_refused():
    with pytest.raises(ValueError, match="no floating input"):
        gradcheck(lambda x: x, np.array([1, 2]))


def test_a_lost_float32_is_refused():
    weights = ts.Tensor(W)
    assert "is float64 for float32" in message_of(lambda x: weights * x, X, check=check_float32)


def test_parameters_of_a_module_are_inputs():
    class Cell(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(W)
            self.bias = nn.Parameter(W[0])

        def forward(self, x, state):
            h = ts.tanh(x @ self.weight + self.bias + state[0])
            return h, (h, state[1] * h)

    cell = Cell()
    kept = cell.state_dict()
    assert gradcheck(cell, X, (X, W))
    assert gradgradcheck(cell, X, (X, W))
    assert check_float32(cell, X, (X, W))
    assert gradcheck(lambda c, x: c(x, (x, x)), cell, X)
    for name, value in cell.state_dict().items():
        np.testing.assert_array_equal(value, kept[name])
    assert cell.weight.grad is None

    cell.forward = lambda x, state: ts.tanh(x @ cell.weight.detach() + cell.bias)
    assert "parameter weight" in message_of(cell, X, (X, W))


@pytest.mark.parametrize("layout", [lambda x: x.T, lambda x: x[::-1], lambda x: x[::2, ::-1]])
def test_any_layout(layout):
    assert gradcheck(lambda x: ts.exp(x), layout(X))


def test_the_op_table_is_left_alone():
    assert "spoilt" not in PRIMITIVES
    assert Interval(0, 1).kinks == ()
