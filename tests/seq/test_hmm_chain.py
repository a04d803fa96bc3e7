"""The recursions against the sum over every path, and what must hold of them in any case."""

import itertools
import math

import numpy as np
import pytest
from along import second_order_along_a_line
from device import host
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq.seq.hmm import Chain, messages
from tinygrad_seq.testing import check_float32, gradcheck

pytestmark = pytest.mark.usefixtures("backend")

SEEDS = st.integers(0, 2**16)


def draw_tables(rng, steps, batch, k, impossible=0.0):
    """Tables of logs, unnormalised, some of them -inf; something always stays possible."""
    initial, transition = rng.normal(size=k), rng.normal(size=(k, k))
    said = rng.normal(size=(steps, batch, k))
    for table in (initial, transition, said):
        table[rng.random(table.shape) < impossible] = -np.inf
    initial[0] = transition[0, 0] = 0.5
    said[..., 0] = rng.normal(size=(steps, batch))
    return initial, transition, said


def all_paths(initial, transition, said):
    """(path, P(x, h)) of one sequence (T, k) for every h, by multiplying probabilities."""
    steps, k = said.shape
    p, a, b = np.exp(initial), np.exp(transition), np.exp(said)
    for h in itertools.product(range(k), repeat=steps):
        joint = p[h[0]]
        for t in range(steps):
            joint *= b[t, h[t]] * (a[h[t - 1], h[t]] if t else 1)
        yield h, joint


def by_enumeration(initial, transition, said):
    """Everything asked of a chain, summed over paths, for one sequence (T, k)."""
    steps, k = said.shape
    posterior, pairs = np.zeros((steps, k)), np.zeros((steps - 1, k, k))
    missing, total, best = np.zeros((steps, k)), 0.0, (-1.0, None)
    for h, joint in all_paths(initial, transition, said):
        total += joint
        best = max(best, (joint, h))
        for t in range(steps):
            posterior[t, h[t]] += joint
            if t:
                pairs[t - 1, h[t - 1], h[t]] += joint
    for t in range(steps):
        without = said.copy()
        without[t] = 0  # P = 1, whatever is hidden
        for h, joint in all_paths(initial, transition, without):
            missing[t, h[t]] += joint
        missing[t] /= missing[t].sum()
    return total, posterior / total, pairs / total, missing, best


shapes = st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3))


@given(shape=shapes, seed=SEEDS, impossible=st.sampled_from([0.0, 0.3]))
def test_everything_equals_the_sum_over_all_paths(shape, seed, impossible):
    rng = np.random.default_rng(seed)
    steps, batch, _ = shape
    initial, transition, said = draw_tables(rng, *shape, impossible)
    lengths = rng.integers(1, steps + 1, batch)
    padded = said.copy()
    padded[np.arange(steps)[:, None] >= lengths] = np.nan  # whatever padding holds
    chain = Chain(initial, transition, padded, lengths)
    path, best = chain.viterbi()
    for n, length in enumerate(lengths):
        total, posterior, pairs, missing, (top, top_path) = by_enumeration(
            initial, transition, said[:length, n]
        )
        close = {"rtol": 1e-12, "atol": 1e-14}
        np.testing.assert_allclose(host(chain.log_prob())[n], np.log(total), **close)
        np.testing.assert_allclose(host(chain.posterior())[:length, n], posterior, **close)
        np.testing.assert_allclose(host(chain.pairwise())[: length - 1, n], pairs, **close)
        np.testing.assert_allclose(
            np.exp(host(chain.leave_one_out())[:length, n]), missing, **close
        )
        np.testing.assert_allclose(host(best)[n], np.log(top), **close)
        assert tuple(path[:length, n]) == top_path
        for answer in (
            chain.posterior(),
            chain.leave_one_out(),
            chain.forward(),
            chain.backward(),
            path,
        ):
            assert not np.asarray(answer)[length:, n].any()
        assert not host(chain.pairwise())[length - 1 :, n].any()


@given(shape=shapes, seed=SEEDS)
def test_the_messages_are_what_they_say(shape, seed):
    """π_t: the past and h_t; ρ_t: the future, given h_t; by enumeration of each part."""
    initial, transition, said = draw_tables(np.random.default_rng(seed), *shape)
    chain = Chain(initial, transition, said)
    for t in range(shape[0]):
        heard = said[: t + 1].copy()
        heard[t] = 0  # π_t has not yet heard x_t
        pi, rho = np.zeros(shape[1:]), np.zeros(shape[1:])
        for n in range(shape[1]):
            for h, joint in all_paths(initial, transition, heard[:, n]):
                pi[n, h[t]] += joint
            future = said[t:, n].copy()
            future[0] = 0
            for h, joint in all_paths(np.zeros(shape[2]), transition, future):
                rho[n, h[0]] += joint
        np.testing.assert_allclose(host(chain.forward())[t], np.log(pi), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(host(chain.backward())[t], np.log(rho), rtol=1e-12, atol=1e-13)


@given(seed=SEEDS, dtype=st.sampled_from(["f4", "f8"]))
def test_the_joint_is_the_same_at_every_step(seed, dtype):
    rng = np.random.default_rng(seed)
    tables = [table.astype(dtype) for table in draw_tables(rng, 60, 3, 4, impossible=0.2)]
    lengths = rng.integers(1, 61, 3)
    chain = Chain(*tables, lengths)
    joint = host(ts.logsumexp(chain.forward() + tables[2] + chain.backward(), axis=-1))
    for n, length in enumerate(lengths):
        np.testing.assert_allclose(
            joint[:length, n], host(chain.log_prob())[n], rtol=1e-5 if dtype == "f4" else 1e-12
        )


@given(seed=SEEDS)
def test_a_padded_batch_equals_each_sequence_alone_bit_for_bit_in_gradient_too(seed):
    rng = np.random.default_rng(seed)
    initial, transition, said = draw_tables(rng, 6, 3, 3, impossible=0.2)
    lengths = rng.integers(1, 7, 3)
    padded = said.copy()
    padded[np.arange(6)[:, None] >= lengths] = np.nan
    x = ts.Tensor(padded, requires_grad=True)
    up = rng.normal(size=(6, 3, 3))
    (Chain(initial, transition, x, lengths).posterior() * up).sum().backward()
    for n, length in enumerate(lengths):
        alone = ts.Tensor(said[:length, n : n + 1], requires_grad=True)
        posterior = Chain(initial, transition, alone).posterior()
        (posterior * up[:length, n : n + 1]).sum().backward()
        np.testing.assert_allclose(host(x.grad)[:length, n : n + 1], host(alone.grad), atol=1e-13)
        assert (host(x.grad)[length:, n] == 0).all()


# -- derivatives ----------------------------------------------------------------------------------


@given(seed=SEEDS)
def test_the_posterior_is_the_gradient_of_the_joint(seed):
    """So are the expected first values and transitions: reverse mode is the backward recursion."""
    rng = np.random.default_rng(seed)
    tables = [ts.Tensor(t, requires_grad=True) for t in draw_tables(rng, 7, 3, 4, impossible=0.2)]
    lengths = rng.integers(1, 8, 3)
    chain = Chain(*tables, lengths)
    chain.log_prob().sum().backward()
    initial, transition, said = (host(t.grad) for t in tables)
    posterior, pairs = host(chain.posterior()), host(chain.pairwise())
    np.testing.assert_allclose(said, posterior, rtol=0, atol=1e-12)
    np.testing.assert_allclose(initial, posterior[0].sum(0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(transition, pairs.sum((0, 1)), rtol=0, atol=1e-12)


ANSWERS = {
    "log_prob": lambda chain: chain.log_prob(),
    "forward": lambda chain: chain.forward(),
    "backward": lambda chain: chain.backward(),
    "posterior": lambda chain: chain.posterior(),
    "pairwise": lambda chain: chain.pairwise(),
    "leave_one_out": lambda chain: chain.leave_one_out(),
    "viterbi": lambda chain: chain.viterbi()[1],
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("steps", [1, 3])
def test_gradients_of_both_orders(answer, steps, rng):
    lengths = rng.integers(1, steps + 1, 3)
    lengths[0] = steps

    def f(initial, transition, said):
        return ANSWERS[answer](Chain(initial, transition, said, lengths))

    tables = draw_tables(rng, steps, 3, 2)
    if steps == 1 and answer in ("pairwise", "backward"):
        return  # there are no pairs, and nothing comes after
    gradcheck(f, *tables)
    second_order_along_a_line(f, *tables)
    check_float32(f, *tables)


@pytest.mark.parametrize("answer", sorted(ANSWERS.keys() - {"viterbi"}))  # a sum: no second order
def test_what_is_impossible_has_finite_gradients_of_both_orders(answer, rng):
    tables = draw_tables(rng, 5, 2, 3, impossible=0.4)
    assert any(np.isinf(t).any() for t in tables)
    x = [ts.Tensor(t, requires_grad=True) for t in tables]
    y = ANSWERS[answer](Chain(*x))
    y = ts.where(np.isfinite(host(y)), y, 0)
    up = rng.normal(size=y.shape)
    (y * up).sum().backward(create_graph=True)
    first = [t.grad for t in x if t.grad is not None]  # backward() does not read the first table
    assert len(first) >= 2
    for t in x:
        t.grad = None
    sum((g * g).sum() for g in first).backward()
    for t in x:
        assert t.grad is None or np.isfinite(host(t.grad)).all()
    for g, table in zip(first[::-1], tables[::-1], strict=False):
        assert np.isfinite(host(g)).all()
        assert (host(g)[np.isinf(table)] == 0).all()


def test_an_impossible_sequence_beside_others(rng):
    initial, transition, said = draw_tables(rng, 4, 2, 3)
    said[2, 1] = -np.inf
    x = ts.Tensor(said, requires_grad=True)
    chain = Chain(initial, transition, x)
    log_prob = chain.log_prob()
    assert host(log_prob)[1] == -np.inf
    assert not host(chain.posterior())[:, 1].any()
    ts.exp(log_prob).sum().backward()
    assert np.isfinite(host(x.grad)).all()
    assert not host(x.grad)[:, 1].any()


# -- the fused recursion --------------------------------------------------------------------------


@given(
    shape=shapes,
    seed=SEEDS,
    spread=st.sampled_from([1.0, 300.0, 5000.0]),
    dtype=st.sampled_from(["f4", "f8"]),
)
def test_fused_equals_step_by_step_however_far_apart_the_numbers_are(shape, seed, spread, dtype):
    """Also where the exponentials of a step underflow: then the sum is taken again in logs."""
    rng = np.random.default_rng(seed)
    steps, batch, k = (n + 1 for n in shape)
    drawn = draw_tables(rng, steps, batch, k, impossible=0.2)
    initial, transition, said = ((spread * t).astype(dtype) for t in drawn)
    first = np.broadcast_to(initial, (batch, k)).copy()
    up = rng.normal(size=said.shape).astype(dtype)
    results = []
    for f in (messages.messages, messages.step_by_step):
        args = [ts.Tensor(a, requires_grad=True) for a in (first, transition, said)]
        u, levels = f(*args)
        reached = np.isfinite(host(u))
        (ts.where(reached, u, 0) * up).sum().backward()
        full = host(u) + host(levels)[..., None]
        results.append([full, *(host(a.grad) for a in args)])
    # exp(x - y) of numbers of size s is known to s ε
    tolerance = 50 * spread * np.finfo(dtype).eps
    for fused, plain in zip(*results, strict=True):
        assert fused.dtype == dtype
        np.testing.assert_allclose(fused, plain, rtol=tolerance, atol=tolerance)


def test_a_rescued_path_is_exact():
    """One path costs e^-2000 and is the only one: no product of exponentials can see it."""
    far = -2000.0
    initial, transition = np.array([0.0, far]), np.array([[far, -np.inf], [-np.inf, 0.0]])
    said = np.array([[[0.0, 0.0]], [[-np.inf, 0.0]]])
    x = [ts.Tensor(t, requires_grad=True) for t in (initial, transition, said)]
    chain = Chain(*x)
    log_prob = chain.log_prob()
    assert log_prob.item() == far
    log_prob.sum().backward()
    np.testing.assert_array_equal(host(x[0].grad), [0, 1])
    np.testing.assert_array_equal(host(x[1].grad), [[0, 0], [0, 1]])


@pytest.mark.host("long")
def test_long_chains_lose_no_digits_in_float32(rng):
    k, steps = 8, 2000
    initial = ts.log_softmax(rng.normal(size=k))
    transition, said = (
        ts.log_softmax(2 * rng.normal(size=(k, k))),
        rng.normal(size=(steps, 2, k)) - 9,
    )
    exact = Chain(initial, transition, said)
    x = ts.Tensor(said.astype("f4"), requires_grad=True)
    single = Chain(initial.astype("f4"), transition.astype("f4"), x)
    single.log_prob().sum().backward()
    assert single.log_prob().dtype == single.posterior().dtype == np.float32
    np.testing.assert_allclose(host(single.log_prob()), host(exact.log_prob()), rtol=3e-7)
    np.testing.assert_allclose(host(single.posterior()), host(exact.posterior()), atol=3e-6)
    # One rounding for each step adds up to √T ε, 3e-6; numbers of the size of log P(x) lose 1e-3.
    np.testing.assert_allclose(host(x.grad), host(exact.posterior()), atol=2e-5)


@pytest.mark.host("counts what NumPy is asked for")
@pytest.mark.parametrize("steps", [2, 5, 50])
@pytest.mark.parametrize("k", [1, 4, 9])
def test_the_work_grows_as_k_squared_times_t(monkeypatch, steps, k, rng):
    """Counted, not timed: every product and every exponential of the recursion."""
    count = {"products": 0, "exponentials": 0}

    class Counting:
        def __getattr__(self, name):
            return getattr(np, name)

        def matmul(self, a, b, **out):
            count["products"] += a.shape[0] * a.shape[1] * b.shape[1]
            return np.matmul(a, b, **out)

        def exp(self, x, **out):
            count["exponentials"] += x.size
            return np.exp(x, **out)

    tables = draw_tables(rng, steps, 3, k)
    expected = Chain(*tables).log_prob()
    monkeypatch.setattr(messages, "xp", lambda *_: Counting())
    assert host(Chain(*tables).log_prob()).tolist() == host(expected).tolist()
    assert count["products"] == (steps - 1) * 3 * k**2
    assert count["exponentials"] == k**2 + (steps - 1) * 3 * k


# -- what is asked of the arguments ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"said": np.zeros((4, 3))}, ValueError, r"\(T, N, k\).*\[:, None\]"),
        ({"said": np.zeros((0, 2, 3))}, ValueError, "T and k of at least 1"),
        ({"said": np.zeros((4, 2, 0))}, ValueError, "T and k of at least 1"),
        ({"said": np.full((4, 2, 3), np.nan)}, ValueError, "log_likelihood finite.*NaN"),
        ({"said": np.full((4, 2, 3), np.inf)}, ValueError, r"got NaN or \+inf"),
        ({"said": np.zeros((4, 2, 3), int)}, TypeError, "floating"),
        ({"initial": np.zeros(2)}, ValueError, r"log_initial of shape \(3,\)"),
        ({"initial": np.zeros(3, "f4")}, TypeError, "one dtype"),
        ({"transition": np.zeros((3, 2))}, ValueError, r"log_transition of shape \(3, 3\)"),
        ({"transition": np.full((3, 3), np.nan)}, ValueError, "log_transition finite"),
        ({"lengths": [4]}, ValueError, r"one for each of 2 sequences"),
        ({"lengths": [0, 4]}, ValueError, "from 1 to 4 steps; sequence 0 has 0"),
        ({"lengths": [4, 5]}, ValueError, "from 1 to 4 steps; sequence 1 has 5"),
        ({"lengths": [4.0, 4.0]}, TypeError, "Chain expects integer lengths"),
    ],
)
def test_bad_tables_get_a_sentence(change, error, sentence):
    tables = {"initial": np.zeros(3), "transition": np.zeros((3, 3)), "said": np.zeros((4, 2, 3))}
    tables |= change
    with pytest.raises(error, match=sentence):
        Chain(tables["initial"], tables["transition"], tables["said"], tables.get("lengths"))


def test_bad_paths_get_a_sentence(rng):
    chain = Chain(*draw_tables(rng, 4, 2, 3), lengths=[4, 2])
    with pytest.raises(ValueError, match=r"of shape \(4, 2\)"):
        chain.score(np.zeros((4, 3), int))
    with pytest.raises(IndexError, match=r"path from 0 to 2; got 3 at index \(1, 1\)"):
        chain.score([[0, 0], [0, 3], [0, 0], [0, 0]])
    with pytest.raises(TypeError, match="integer path"):
        chain.score(np.zeros((4, 2)))
    path = np.array([[0, 0], [1, 2], [2, 99], [0, -1]])  # the last two are padding
    assert np.isfinite(host(chain.score(path))).all()


def test_an_empty_batch(rng):
    chain = Chain(*draw_tables(rng, 3, 0, 2))
    assert chain.log_prob().shape == (0,)
    assert chain.posterior().shape == (3, 0, 2)
    assert chain.viterbi()[0].shape == (3, 0)


def test_lists_take_the_dtype_of_the_likelihoods():
    chain = Chain([0.0, -math.inf], [[0.0, -math.inf], [-math.inf, 0.0]], np.zeros((3, 1, 2)))
    assert chain.log_prob().dtype == np.float64
    assert chain.viterbi()[0].tolist() == [[0], [0], [0]]


def test_the_best_path_of_a_long_chain_loses_no_digits(rng):
    """In float32 a sum of -200 000 has a grain of 0.016, coarser than many choices."""
    shapes = (4,), (4, 4), (20_000, 1, 4)
    tables = [(rng.normal(size=shape) / 10 - 5).astype("f4") for shape in shapes]
    exact = Chain(*(table.astype("f8") for table in tables))
    path, _ = Chain(*tables).viterbi()
    best = exact.viterbi()[1].item()
    assert best - exact.score(path).item() < 1e-3
