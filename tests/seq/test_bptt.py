"""Back-propagation through time: the four forms against each other and against sums by hand."""

import itertools

import numpy as np
import pytest
from device import host
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import nn, optim, seq
from tinygrad_seq.recurrence import each

pytestmark = pytest.mark.usefixtures("backend")

INPUTS, H = 2, 3
CELLS = {
    "rnn": nn.RNNCell,
    "gru": nn.GRUCell,
    "gru_after": lambda *a, **k: nn.GRUCell(*a, reset_after=True, **k),
    "lstm": nn.LSTMCell,
    "lstm_proj": lambda *a, **k: nn.LSTMCell(*a, proj_size=2, **k),
    "leaky": lambda *a, **k: nn.LeakyCell(*a, learned=True, **k),
    "peephole": nn.PeepholeLSTMCell,
    "coupled": nn.CoupledLSTMCell,
    "normalised": nn.LayerNormGRUCell,
}


class Problem:
    """A cell, an output layer, a sequence, a first state; losses at some of the steps."""

    def __init__(self, cell, state, weights, width, steps, batch, draw, every=1):
        self.cell, self.state = cell, state
        self.read = ts.Tensor(draw.normal(size=(width, 2)), requires_grad=True)
        self.x = draw.normal(size=(steps, *batch, INPUTS))
        self.targets = draw.normal(size=(steps, *batch, 2))
        self.leaves = [*weights, self.read, *parts(state)]
        self.every = every

    def loss(self, t, y):
        if (t + 1) % self.every and t + 1 < len(self.x):
            return None
        return ((y @ self.read - self.targets[t]) ** 2).sum() * (1 + t)

    def gradients(self, method, **options):
        for leaf in self.leaves:
            leaf.grad = None
        loss, last = seq.bptt(self.cell, self.x, self.loss, self.state, method, **options)
        assert not any(part.requires_grad for part in parts(last))
        grads = [np.zeros(p.shape) if p.grad is None else host(p.grad) for p in self.leaves]
        return loss, [host(part) for part in parts(last)], grads


def parts(state):
    return list(state) if isinstance(state, tuple) else [state]


def library(kind, seed, steps=5, batch=(2,), every=1):
    draw = np.random.default_rng(seed)
    ts.manual_seed(seed)
    cell = CELLS[kind](INPUTS, H, dtype="float64")
    shapes = [part.shape for part in parts(cell.initial_state(batch))]
    made = tuple(ts.Tensor(draw.normal(size=s), requires_grad=True) for s in shapes)
    state = made if len(made) > 1 else made[0]
    width = shapes[0][-1]
    return Problem(cell, state, cell.parameters(), width, steps, batch, draw, every)


def closure(seed, steps=5, batch=(2,), every=1):
    """A user's cell: no module, a state of two parts of different shapes, one weight in both."""
    draw = np.random.default_rng(seed)
    w, u, a = (
        ts.Tensor(draw.normal(size=s) / 2, requires_grad=True) for s in ((INPUTS, H), (H, H), (H,))
    )

    def cell(x, state):
        h, trace = state
        h = ts.tanh(x @ w + h @ u * a)
        trace = a[0] * trace + h[..., :1]
        return h + trace, (h, trace)

    state = tuple(ts.Tensor(draw.normal(size=(*batch, n)), requires_grad=True) for n in (H, 1))
    return Problem(cell, state, [w, u, a], H, steps, batch, draw, every)


PROBLEMS = {
    **{kind: lambda *a, kind=kind, **k: library(kind, *a, **k) for kind in CELLS},
    "closure": closure,
}


def assert_same(one, other, tolerance=1e-11):
    np.testing.assert_allclose(one[0], other[0], rtol=1e-12)
    for a, b in zip([*one[1], *one[2]], [*other[1], *other[2]], strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


seeds = st.integers(0, 2**32 - 1)
batches = st.sampled_from([(), (1,), (3,)])


@pytest.mark.parametrize("kind", PROBLEMS)
@given(seed=seeds, steps=st.integers(1, 6), batch=batches, every=st.integers(1, 6))
def test_full_is_backward_through_the_whole_graph_step_by_step(kind, seed, steps, batch, every):
    problem = PROBLEMS[kind](seed, steps=steps, batch=batch, every=every)
    found = problem.gradients(seq.Full())
    total, state = 0.0, problem.state
    for t, x in enumerate(problem.x):
        y, state = problem.cell(ts.Tensor(x), state)
        part = problem.loss(t, y)
        total = total if part is None else total + part
    grads = ts.autograd.grad(total, problem.leaves)
    expected = total.item(), [host(p) for p in parts(state)], [host(g) for g in grads]
    assert_same(found, expected)


def test_full_is_the_gradient_that_differences_see():
    problem = closure(3, steps=4)
    _, _, grads = problem.gradients(seq.Full())
    for leaf, g in zip(problem.leaves, grads, strict=True):
        for index in np.ndindex(leaf.shape):
            losses = []
            for step in (1e-5, -2e-5):
                leaf.data[index] += step
                losses.append(problem.gradients(seq.Full())[0])
            leaf.data[index] += 1e-5
            assert g[index] == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("kind", PROBLEMS)
@given(seed=seeds, steps=st.integers(1, 6), batch=batches, every=st.integers(1, 6))
def test_rtrl_is_full(kind, seed, steps, batch, every):
    problem = PROBLEMS[kind](seed, steps=steps, batch=batch, every=every)
    assert_same(problem.gradients(seq.RTRL()), problem.gradients(seq.Full()))


@pytest.mark.parametrize("kind", PROBLEMS)
@given(seed=seeds, steps=st.integers(1, 6), beyond=st.integers(0, 2))
def test_a_window_of_the_whole_sequence_is_full(kind, seed, steps, beyond):
    problem = PROBLEMS[kind](seed, steps=steps)
    full = problem.gradients(seq.Full())
    assert_same(problem.gradients(seq.Truncated(steps + beyond)), full)
    assert_same(problem.gradients(seq.Randomised(1.0)), full)


@pytest.mark.parametrize("kind", PROBLEMS)
@given(seed=seeds, steps=st.integers(1, 7), window=st.integers(1, 5))
def test_truncated_is_the_exact_gradient_of_each_window(kind, seed, steps, window):
    """By hand: the states between windows are constants, and each window is a problem alone."""
    problem = PROBLEMS[kind](seed, steps=steps)
    found = problem.gradients(seq.Truncated(window))
    expected = [np.zeros(leaf.shape) for leaf in problem.leaves]
    state, total = problem.state, 0.0
    for start in range(0, steps, window):
        window_loss = 0.0
        for t in range(start, min(start + window, steps)):
            y, state = problem.cell(ts.Tensor(problem.x[t]), state)
            window_loss = window_loss + problem.loss(t, y)
        grads = ts.autograd.grad(window_loss, problem.leaves, allow_unused=True)
        for sum_, g in zip(expected, grads, strict=True):
            sum_ += 0 if g is None else host(g)
        total += window_loss.item()
        state = each(lambda part: ts.Tensor(host(part).copy()), state)
    assert_same(found, (total, [host(p) for p in parts(state)], expected))


@pytest.mark.host("long; any weights are as good as those of the other tests")
@pytest.mark.parametrize("kind", PROBLEMS)
@given(
    seed=seeds, steps=st.integers(1, 5), keep=st.lists(st.floats(0.1, 1.0), min_size=4, max_size=4)
)
def test_the_mean_over_all_stopping_times_is_the_full_gradient(kind, seed, steps, keep):
    problem = PROBLEMS[kind](seed, steps=steps, batch=(1,), every=2)
    full = problem.gradients(seq.Full())
    mean = [np.zeros(leaf.shape) for leaf in problem.leaves]
    for passes in itertools.product([True, False], repeat=steps - 1):
        pairs = list(zip(passes, keep, strict=False))
        probability = np.prod([p if passed else 1 - p for passed, p in pairs])
        weights = [1 / p if passed else 0.0 for passed, p in pairs]
        loss, last, grads = problem.gradients(weights)
        for sum_, g in zip(mean, grads, strict=True):
            sum_ += probability * g
    assert_same((loss, last, mean), full, tolerance=1e-9)


@pytest.mark.host("long; the weights are drawn on the host")
@pytest.mark.parametrize("kind", ["rnn", "lstm", "closure"])
@pytest.mark.parametrize("keep", [0.6, lambda age: 1 - 3 / (2 * 3 + age)], ids=["geometric", "law"])
def test_the_mean_of_draws_is_the_full_gradient_within_error_bars(kind, keep, seed):
    problem = PROBLEMS[kind](seed, steps=6, every=3)
    full = flat(problem.gradients(seq.Full())[2])
    ts.manual_seed(seed)
    draws = np.array([flat(problem.gradients(seq.Randomised(keep))[2]) for _ in range(200)])
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    assert np.linalg.norm(draws.std(axis=0)) > 0.01 * np.linalg.norm(full)  # there is a variance
    assert (np.abs(draws.mean(axis=0) - full) <= 6 * error + 1e-12 * np.abs(full).max()).all()
    truncated = flat(problem.gradients(seq.Truncated(2))[2])
    assert (np.abs(truncated - full) > 6 * error).any()  # which these error bars can tell apart


def flat(grads):
    return np.concatenate([g.reshape(-1) for g in grads])


@pytest.mark.host("long; the weights are drawn on the host")
def test_the_variance_is_that_of_the_weights():
    """One weight, s_t = a s_{t-1}, L = s_T: the gradient of s_0 is a^T Π ξ, of variance known."""
    a, start = ts.tensor([0.9], dtype="f8"), ts.tensor([1.0], dtype="f8", requires_grad=True)
    steps, keep = 6, 0.7

    def estimate(method):
        start.grad = None
        seq.bptt(
            lambda x, s: (a * s, a * s),
            np.zeros((steps, 1)),
            lambda t, y: y if t == steps - 1 else y * 0,
            start,
            method,
        )
        return start.grad.item()

    ts.manual_seed(1)
    found = np.array([estimate(seq.Randomised(keep)) for _ in range(1500)])
    scale = 0.9**steps * keep ** -(steps - 1)
    assert set(np.round(found / scale, 12)) == {0.0, 1.0}
    passes = (found > 0).mean()
    probability = keep ** (steps - 1)
    assert abs(passes - probability) < 6 * np.sqrt(probability * (1 - probability) / len(found))
    assert estimate(seq.Full()) == pytest.approx(0.9**steps)


# -- schedules ---------------------------------------------------------------------------------


def test_schedules_as_numbers():
    def first(method, n):
        return list(itertools.islice(method, n))

    assert first(seq.Full(), 4) == [1, 1, 1, 1]
    assert first(seq.Truncated(1), 3) == [0, 0, 0]
    assert first(seq.Truncated(3), 7) == [1, 1, 0, 1, 1, 0, 1]
    assert first(seq.Randomised(1.0), 3) == [1, 1, 1]
    ts.manual_seed(0)
    drawn = first(seq.Randomised(0.8), 5000)
    assert set(drawn) == {0.0, 1.25}
    assert abs(np.mean(drawn) - 1) < 6 * np.sqrt(0.25 / 5000)
    ts.manual_seed(0)
    assert first(seq.Randomised(0.8), 5000) == drawn


def test_the_probability_may_depend_on_the_age_of_the_window():
    ages = []

    def keep(age):
        ages.append(age)
        return 1.0 if age < 3 else 1e-12

    weights = list(itertools.islice(seq.Randomised(keep), 7))
    assert weights == [1, 1, 0, 1, 1, 0, 1]
    assert ages[1:] == [1, 2, 3, 1, 2, 3, 1]  # the first is the check of a new object


@pytest.mark.parametrize("length", [5, 10, 50])
def test_the_power_law_has_the_length_that_it_says(length):
    age = np.arange(1, 2_000_000)
    lasts = np.cumprod(1 - 3 / (2 * length + age))
    assert 1 + lasts.sum() == pytest.approx(length, rel=1e-6)
    k = 1000 * length
    assert 1 / lasts[k - 1] == pytest.approx((1 + k / (2 * length)) ** 3, rel=2 / length)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: seq.Truncated(0), ValueError, "Truncated expects steps of at least 1; got 0"),
        (lambda: seq.Truncated(2.5), TypeError, "expects an int for steps"),
        (lambda: seq.Randomised(0.0), ValueError, r"probability to go on in \(0, 1\].*got 0.0"),
        (lambda: seq.Randomised(1.5), ValueError, "got 1.5"),
        (lambda: seq.Randomised(float("nan")), ValueError, "got nan"),
        (lambda: seq.Randomised(lambda age: -age), ValueError, "got -1 after 1 steps"),
    ],
)
def test_schedules_that_cannot_be_are_told(make, error, message):
    with pytest.raises(error, match=message):
        make()


# -- what it takes and gives -------------------------------------------------------------------


@pytest.mark.parametrize("method", [seq.Full(), seq.Truncated(2), seq.RTRL()], ids=repr)
def test_gradients_add_up_over_calls_and_a_state_is_gone_on_from(method):
    problem = library("gru", 5, steps=6)
    once = problem.gradients(method)[2]
    seq.bptt(problem.cell, problem.x, problem.loss, problem.state, method)
    for leaf, g in zip(problem.leaves, once, strict=True):
        np.testing.assert_allclose(host(leaf.grad), 2 * g, rtol=1e-12)
    _, half = seq.bptt(problem.cell, problem.x[:3], problem.loss, problem.state, method)
    _, last = seq.bptt(problem.cell, problem.x[3:], problem.loss, half, method)
    wanted = problem.gradients(method)[1][0]
    np.testing.assert_allclose(host(last), wanted, rtol=1e-12)  # one step is taken by the cell


@pytest.mark.parametrize("method", [seq.Full(), seq.Truncated(2), seq.RTRL()], ids=repr)
def test_a_first_state_on_a_graph_hands_its_gradient_on(method):
    problem = library("lstm", 7)
    start = nn.InitialState(problem.cell)
    problem.state, problem.leaves[-2:] = None, []
    seq.bptt(problem.cell, problem.x, problem.loss, start(2), method)
    found = [host(p.grad) for p in start.parameters()]
    state = tuple(ts.Tensor(host(p).copy(), requires_grad=True) for p in start(2))
    seq.bptt(problem.cell, problem.x, problem.loss, state, method)
    for ours, part in zip(found, state, strict=True):
        np.testing.assert_allclose(ours, host(part.grad).sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize("method", [seq.Full(), seq.Truncated(2), seq.RTRL()], ids=repr)
def test_steps_may_come_one_by_one_and_the_state_may_be_the_cells_own(method):
    problem = library("gru", 1)
    problem.state = None
    problem.leaves.pop()
    whole = problem.gradients(method)
    x, problem.x = problem.x, (step for step in list(problem.x))
    problem.loss = lambda t, y: ((y @ problem.read - problem.targets[t]) ** 2).sum() * (1 + t)
    assert_same(problem.gradients(method), whole)
    problem.x = ts.Tensor(x)
    assert_same(problem.gradients(method), whole)


@pytest.mark.parametrize("method", [seq.Full(), seq.Truncated(2), seq.RTRL(), [2.0] * 4], ids=repr)
def test_a_counter_in_the_state_is_left_alone(method):
    w = ts.tensor([0.5], dtype="f8", requires_grad=True)

    def cell(x, state):
        count, h = state
        h = ts.tanh(x + w * h)
        return h * (count + 1), (count + 1, h)

    start = (ts.tensor(0), ts.zeros(1, dtype="f8"))
    _, (count, _) = seq.bptt(cell, np.ones((5, 1)), lambda t, y: y.sum(), start, method)
    assert count.item() == 5
    assert count.dtype.kind == "i"
    assert w.grad.item() != 0


@pytest.mark.parametrize(
    ("method", "calls"), [(seq.Full(), 1), (seq.Truncated(2), 4), (seq.RTRL(), 7)], ids=repr
)
def test_update_is_called_whenever_gradients_have_been_added(method, calls):
    problem, seen = library("rnn", 2, steps=7), []
    _, _, grads = problem.gradients(
        method, update=lambda: seen.append(host(problem.read.grad).copy())
    )
    assert len(seen) == calls
    np.testing.assert_array_equal(seen[-1], grads[-2])
    assert all((a != b).any() for a, b in itertools.pairwise(seen))


@pytest.mark.host("long")
@pytest.mark.parametrize("method", [seq.Truncated(5), seq.Randomised(0.8), seq.RTRL()], ids=repr)
def test_a_step_within_the_sequence_learns_online(method):
    """To say the bit before: no constant can, and the stream is read once."""
    draw = np.random.default_rng(0)
    bits = draw.integers(0, 2, 700).astype("f8")
    cell, read = nn.RNNCell(1, 4, dtype="f8"), nn.Linear(4, 1, dtype="f8")
    adam = optim.Adam([*cell.parameters(), *read.parameters()], lr=0.05)
    losses = []

    def loss(t, y):
        if not t:
            return None
        l_t = nn.bce_with_logits(read(y), bits[t - 1 : t])
        losses.append(l_t.item())
        return l_t

    def update():
        adam.step()
        adam.zero_grad()

    seq.bptt(cell, bits[:, None], loss, method=method, update=update)
    assert np.mean(losses[-100:]) < 0.1 < 0.6 < np.mean(losses[:50])


def learned(x):
    return x * ts.ones(INPUTS, dtype="f8", requires_grad=True)


ERRORS = [
    ({"x": np.zeros((0, 2, INPUTS))}, ValueError, "at least one step"),
    ({"x": np.float64(3.0)}, TypeError, r"a sequence \(T, ...\)"),
    ({"x": None}, TypeError, "got None"),
    ({"x": np.zeros((3, 2, INPUTS + 1))}, ValueError, "input_size=2"),
    (
        {"x": ts.zeros((3, 2, INPUTS), dtype="f8", requires_grad=True)},
        TypeError,
        "this x requires grad",
    ),
    ({"loss": lambda t, y: y}, ValueError, r"one number; got shape \(2, 3\) at t=0"),
    ({"loss": lambda t, y: 1.0}, TypeError, "a Tensor or None; got a float"),
    ({"loss": 3}, TypeError, r"loss\(t, y\)"),
    ({"cell": 3}, TypeError, "expects a cell"),
    ({"cell": lambda x, s: x}, TypeError, r"must return the pair \(y, state\)"),
    ({"cell": lambda x, s: (x * 1, x * 1)}, RuntimeError, "nothing that the loss depends on"),
    (
        {"cell": lambda x, s: (s + x, s + x), "state": np.zeros((2, INPUTS))},
        RuntimeError,
        "nothing that the loss depends on",
    ),
    ({"cell": lambda x, s: (learned(x), None)}, TypeError, "state .* Tensors; got a NoneType"),
    ({"cell": lambda x, s: (learned(x), {"h": 3})}, TypeError, "state .* Tensors; got a int"),
    ({"update": 3}, TypeError, "update as a function without arguments, or None; got 3"),
]


@pytest.mark.parametrize("method", [seq.Full(), seq.Truncated(2), seq.RTRL()], ids=repr)
@pytest.mark.parametrize(("wrong", "error", "message"), ERRORS)
def test_mistakes_are_told(method, wrong, error, message):
    good = {
        "cell": nn.RNNCell(INPUTS, H, dtype="f8"),
        "x": np.zeros((3, 2, INPUTS)),
        "loss": lambda t, y: y.sum(),
    }
    with pytest.raises(error, match=message):
        seq.bptt(**good | wrong, method=method)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], "there are only 1"),
        ([1.0, -1.0], "got -1.0 before step 2"),
        ([1.0, np.inf], "got inf"),
        ([np.nan, 1.0], "got nan before step 1"),
    ],
)
def test_wrong_weights_are_told(weights, message):
    with pytest.raises(ValueError, match=message):
        seq.bptt(
            nn.RNNCell(INPUTS, H),
            np.zeros((3, 2, INPUTS), "f4"),
            lambda t, y: y.sum(),
            method=weights,
        )


@pytest.mark.parametrize("method", [3, seq.Full, seq.RTRL])
def test_a_method_that_is_none_is_told(method):
    with pytest.raises(TypeError, match=r"expects a method, such as seq.Full\(\), or"):
        seq.bptt(
            nn.RNNCell(INPUTS, H),
            np.zeros((3, 2, INPUTS), "f4"),
            lambda t, y: y.sum(),
            method=method,
        )


@pytest.mark.parametrize("method", [seq.Full(), seq.Truncated(2), seq.RTRL()], ids=repr)
def test_a_batch_of_nothing_has_gradients_of_zero(method):
    cell = nn.RNNCell(INPUTS, H)
    total, state = seq.bptt(
        cell, np.zeros((3, 0, INPUTS), "f4"), lambda t, y: y.sum(), method=method
    )
    assert total == 0
    assert state.shape == (0, H)
    np.testing.assert_array_equal(cell.weight_hh.grad.numpy(), 0)


def test_it_is_not_for_no_grad():
    with ts.no_grad(), pytest.raises(RuntimeError, match="under no_grad"):
        seq.bptt(nn.RNNCell(INPUTS, H), np.zeros((3, 2, INPUTS), "f4"), lambda t, y: y.sum())


@pytest.mark.parametrize("method", [seq.Truncated(3), seq.Randomised(0.5), [0, 1, 0.5]])
@pytest.mark.parametrize("where", ["input", "state"])
def test_variational_dropout_draws_one_mask_for_all_windows(method, where):
    def memory(x, state):
        """Shows what is dropped of the input, and of the state, which stays as it is."""
        return {"input": x, "state": state}[where] * scale, state + 0 * x

    scale, start = ts.tensor(1.0, dtype="f8", requires_grad=True), ts.ones((4, 30), dtype="f8")
    steps = 4 if isinstance(method, list) else 12
    sequences = []
    for noise in (nn.VariationalDropout(memory, **{where: 0.5}), nn.Zoneout(memory, 0.0)):
        for around in (lambda cell: cell, lambda cell: nn.Zoneout(cell, 0.0)):
            shown = []
            seq.bptt(
                around(noise),
                np.ones((steps, 4, 30)),
                lambda t, y, shown=shown: shown.append(host(y) != 0) or y.sum(),
                start,
                method,
            )
            sequences.append(shown)
    for shown in sequences:
        assert all((mask == shown[0]).all() for mask in shown)
    assert not sequences[0][0].all()
    assert (sequences[0][0] != sequences[1][0]).any()  # another sequence, other masks
    assert sequences[2][0].all()


@pytest.mark.parametrize("method", [seq.Truncated(3), seq.Randomised(0.5)])
def test_weights_are_dropped_once_for_all_windows(method):
    """Of h = tanh(U h), without input and biases, what is 0 tells what is dropped."""
    cell = nn.RNNCell(1, 6, dtype="f8")
    with ts.no_grad():
        for parameter in cell.parameters():
            parameter.copy_(np.zeros(parameter.shape))
        cell.weight_hh.copy_(np.eye(6))
    shown = []
    seq.bptt(
        nn.WeightDrop(cell, 0.5),
        np.zeros((12, 2, 1)),
        lambda t, y: shown.append(host(y) != 0) or y.sum(),
        ts.ones((2, 6), dtype="f8"),
        method,
    )
    assert all((kept == shown[0]).all() for kept in shown)
