"""Generation: choosing, filtering and stopping, against their definitions and frequencies."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import tiny_model

import tinygrad_seq as ts
from tinygrad_seq import seq

pytestmark = pytest.mark.usefixtures("backend")

SCORES = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=8)  # with many ties


def probabilities(scores):
    p = np.exp(np.asarray(scores) - np.max(scores))
    return p / p.sum()


def supported(function, scores):
    return set(np.flatnonzero(np.isfinite(function(np.array([scores]))[0])))


def ranked(scores):
    """Ids by falling score, those of lower ids first among equals."""
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))


# -- filters ------------------------------------------------------------------------------------


@given(scores=SCORES, k=st.integers(1, 10))
def test_top_k_keeps_exactly_the_k_best(scores, k):
    assert supported(seq.top_k(k), scores) == set(ranked(scores)[:k])


@given(scores=SCORES, p=st.floats(0.001, 1.0))
def test_top_p_keeps_the_smallest_set_that_makes_up_p(scores, p):
    kept = supported(seq.top_p(p), scores)
    order, mass = ranked(scores), probabilities(scores)
    assert kept == set(order[: len(kept)])
    if p < 1:
        assert mass[list(kept)].sum() >= p - 1e-12
        assert mass[order[: len(kept) - 1]].sum() < p + 1e-12
    else:
        assert len(kept) == len(scores)


def test_top_p_at_its_bounds():
    scores = np.log([0.5, 0.25, 0.125, 0.125])
    assert supported(seq.top_p(0.5), scores) == {0}
    assert supported(seq.top_p(0.51), scores) == {0, 1}
    assert supported(seq.top_p(1e-9), scores) == {0}
    assert supported(seq.top_p(1.0), [0.0, -700.0, -1e4]) == {0, 1, 2}


@given(scores=SCORES, t=st.floats(1e-300, 1e3))
def test_temperature_divides_and_the_limit_is_greedy(scores, t):
    scores = np.array(scores)
    np.testing.assert_allclose(
        probabilities(seq.temperature(t)(scores[None])[0]),
        probabilities((scores - scores.max()) / max(t, 1e-290)),
        rtol=1e-9,
        atol=1e-300,
    )


def test_an_impossible_token_stays_impossible():
    scores = np.array([[0.0, -np.inf, -1.0]])
    for function in (seq.temperature(1e-3), seq.temperature(9.0), seq.top_k(3), seq.top_p(1.0)):
        assert function(scores)[0, 1] == -np.inf
    drawn = seq.sample()(np.repeat(scores, 5000, axis=0))
    assert set(drawn) == {0, 2}


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (seq.temperature, 0.0),
        (seq.temperature, -1.0),
        (seq.temperature, math.nan),
        (seq.temperature, math.inf),
        (seq.top_k, 0),
        (seq.top_p, 0.0),
        (seq.top_p, 1.1),
        (seq.top_p, math.nan),
    ],
)
def test_a_filter_refuses_what_makes_no_sense(make, value):
    with pytest.raises(ValueError, match=r"temperature|top_k|top_p"):
        make(value)


# -- choosing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "filters",
    [(), (seq.temperature(0.5),), (seq.top_k(3),), (seq.temperature(2.0), seq.top_p(0.8))],
    ids=["all", "temperature", "top_k", "both"],
)
def test_frequencies_are_the_probabilities(filters):
    """χ² of 40 000 draws: below its 99.9 % quantile for at most 4 degrees of freedom, 18.5."""
    scores, n = np.array([1.0, -0.5, 0.3, 2.0, -1.0]), 40_000
    left = scores[None]
    for function in filters:
        left = function(left)
    expected = n * probabilities(left[0])
    counts = np.bincount(seq.sample(*filters)(np.tile(scores, (n, 1))), minlength=5)
    possible = expected > 0
    assert not counts[~possible].any()
    assert (((counts - expected) ** 2)[possible] / expected[possible]).sum() < 18.5


@pytest.mark.parametrize(("u", "drawn"), [(0.0, [1, 1]), (np.nextafter(1, 0), [3, 2])])
def test_a_uniform_number_at_its_bounds_draws_a_possible_token(monkeypatch, u, drawn):
    class Edge:
        def random(self, shape):
            return np.full(shape, u)

    monkeypatch.setattr("tinygrad_seq.seq.generation.generator", Edge)
    scores = np.array([[-np.inf, 0.1, 0.2, 0.3], [-np.inf, 3.0, -30.0, -np.inf]])
    assert seq.sample()(scores).tolist() == drawn


def test_filters_that_leave_nothing_are_an_error():
    with pytest.raises(ValueError, match="filters leave no token"):
        seq.sample(lambda scores: np.full_like(scores, -np.inf))(np.zeros((1, 3)))


# -- writing ------------------------------------------------------------------------------------


@given(seed=st.integers(0, 999), t=st.integers(1, 6))
def test_greedy_is_the_chain_of_best_tokens_and_the_limit_of_sampling(seed, t):
    step, start = tiny_model(seed)
    tokens, state, chain = np.array([0, 1]), start(2), []
    for _ in range(t):
        scores, state = step(tokens, state)
        tokens = scores.numpy().argmax(axis=1)
        chain.append(tokens)
    for choose in (seq.greedy, seq.sample(seq.temperature(1e-12)), seq.sample(seq.top_k(1))):
        stream = seq.generate(step, [0, 1], start(2), length=t, choose=choose)
        np.testing.assert_array_equal(list(stream), chain)


@given(seed=st.integers(0, 999))
def test_a_batch_is_each_alone(seed):
    step, start = tiny_model(seed)
    how = {"length": 7, "stop": seq.end_symbol(2)}
    together = seq.written(seq.generate(step, [0, 1, 3], start(3), **how))
    for token, row in zip([0, 1, 3], together, strict=True):
        (alone,) = seq.written(seq.generate(step, [token], start(1), **how))
        np.testing.assert_array_equal(row, alone)


def test_a_sampled_batch_is_each_alone_given_the_same_numbers(monkeypatch):
    step, start = tiny_model(3)
    numbers = np.random.default_rng(0).random((6, 3))

    def write(tokens, columns):
        class Fixed:
            def __init__(self):
                self.rows = iter(numbers[:, columns])

            def random(self, shape):
                return next(self.rows).reshape(shape)

        fixed = Fixed()
        monkeypatch.setattr("tinygrad_seq.seq.generation.generator", lambda: fixed)
        return np.stack(
            list(seq.generate(step, tokens, start(len(tokens)), length=6, choose=seq.sample()))
        )

    together = write([0, 1, 3], [0, 1, 2])
    for n, token in enumerate([0, 1, 3]):
        np.testing.assert_array_equal(write([token], [n])[:, 0], together[:, n])


def test_tokens_come_one_at_a_time_and_a_seed_repeats_them():
    step, start = tiny_model(1)
    taken = []

    def watched(tokens, state):
        taken.append(len(taken))
        return step(tokens, state)

    stream = seq.generate(watched, [0], start(1), length=None, choose=seq.sample())
    assert taken == []
    first = next(stream)
    assert (first.shape, first.dtype, taken) == ((1,), np.int64, [0])

    def write():
        ts.manual_seed(5)
        s = seq.generate(step, [0], start(1), length=None, choose=seq.sample())
        return [int(y) for (y,) in itertools.islice(s, 30)]

    assert write() == write()


def test_nothing_is_recorded_and_the_consumer_records_as_before():
    weight = ts.ones(3, requires_grad=True)

    def step(tokens, state):
        scores = weight * np.ones((len(tokens), 3), np.float32)
        assert not scores.requires_grad
        return scores, state

    for _ in seq.generate(step, [0], length=2):
        assert (weight * 2).requires_grad


# -- stopping -----------------------------------------------------------------------------------


def counting(tokens, state):
    """After a token comes the next of ten."""
    return np.eye(10)[(np.asarray(tokens) + 1) % 10], state


def test_an_end_symbol_is_the_last_token_and_also_a_start():
    stream = list(seq.generate(counting, [5, 9, 2], length=8, stop=seq.end_symbol(9)))
    rows = seq.written(stream)
    assert [row.tolist() for row in rows] == [[6, 7, 8, 9], [*range(8)], [*range(3, 10)]]
    assert [int(t[0]) for t in stream] == [6, 7, 8, 9, -1, -1, -1, -1]


def test_it_ends_when_all_have_ended():
    stream = seq.generate(counting, [5, 2], length=None, stop=seq.end_symbol(9))
    assert [len(row) for row in seq.written(stream)] == [4, 7]


@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_foretold_lengths(lengths):
    tokens = [0] * len(lengths)
    stream = seq.generate(counting, tokens, length=None, stop=seq.after(lengths))
    rows = seq.written(stream) or [[]] * len(lengths)
    assert [len(row) for row in rows] == lengths


def test_a_coin_falls_as_often_as_its_logit_says():
    """Lengths are geometric with P(go on) = σ(1): mean e; 20 000 draws, 4.5 standard errors."""
    n = 20_000
    stream = seq.generate(
        counting, np.zeros(n, int), length=None, stop=seq.coin(lambda _: np.ones(n))
    )
    lengths = np.array([len(row) for row in seq.written(stream)])
    go_on = 1 / (1 + math.exp(-1))
    error = math.sqrt(go_on) / (1 - go_on) / math.sqrt(n)
    assert abs(lengths.mean() - math.e) < 4.5 * error
    assert abs((lengths == 0).mean() - (1 - go_on)) < 0.02


def test_a_coin_at_its_extremes_is_certain_and_sees_the_state():
    def step(tokens, state):
        return np.zeros((2, 3)), state - 1

    stop = seq.coin(lambda state: np.where(state < 0, -np.inf, 1e4))
    rows = seq.written(seq.generate(step, [0, 0], np.array([3, 5]), length=None, stop=stop))
    assert [len(row) for row in rows] == [3, 5]


def test_an_ended_sequence_may_have_any_scores():
    def step(tokens, written):
        scores = np.zeros((2, 3))
        if written >= 2:
            scores[0] = np.nan
        return scores, written + 1

    rows = seq.written(seq.generate(step, [0, 0], 0, length=None, stop=seq.after([2, 4])))
    assert [len(row) for row in rows] == [2, 4]


# -- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        ([[0.0, 1.0], [math.nan, 0.0]], "sequence 1 are NaN"),
        ([[0.0, math.inf], [0.0, 0.0]], "sequence 0 are infinite"),
        ([[0.0, 0.0], [-math.inf, -math.inf]], "sequence 1 are all -inf: no token is possible"),
        ([[0.0, 0.0]], r"shape \(N, V\), N = 2"),
        ([0.0, 0.0], r"shape \(N, V\), N = 2"),
        (np.zeros((2, 0)), r"shape \(N, V\), N = 2"),
    ],
)
@pytest.mark.parametrize(
    "write",
    [
        lambda step: list(seq.generate(step, [0, 0], length=3)),
        lambda step: seq.beam_search(step, [0, 0], width=2, length=3),
    ],
    ids=["generate", "beam_search"],
)
def test_bad_scores_get_a_sentence(scores, sentence, write):
    def step(tokens, state):
        return np.array(scores), state

    with pytest.raises(ValueError, match=sentence):
        write(step)


def test_bad_arguments_get_a_sentence():
    for tokens in (3, [[1, 2]], []):
        with pytest.raises(ValueError, match="one token for each sequence"):
            seq.generate(counting, tokens, length=3)
    with pytest.raises(TypeError, match="integer tokens"):
        seq.generate(counting, [0.5], length=3)
    with pytest.raises(ValueError, match="length of at least 0"):
        seq.generate(counting, [1], length=-1)
    with pytest.raises(TypeError, match="pair"):
        next(seq.generate(lambda tokens, state: tokens, [1], length=3))
    with pytest.raises(ValueError, match="at least 0"):
        seq.after([-1])
    with pytest.raises(ValueError, match="2 lengths for 1 sequences"):
        next(seq.generate(counting, [1], length=3, stop=seq.after([1, 2])))
    with pytest.raises(ValueError, match=r"one logit for each of 1 sequences"):
        next(seq.generate(counting, [1], length=3, stop=seq.coin(lambda _: np.zeros((1, 1)))))
    with pytest.raises(ValueError, match="stop must give one boolean for each of 1"):
        next(seq.generate(counting, [1], length=3, stop=lambda tokens, state, n: tokens))
    with pytest.raises(ValueError, match="choose must give one integer for each of 2"):
        next(seq.generate(counting, [1, 2], length=3, choose=lambda scores: scores.max(axis=1)))
    with pytest.raises(ValueError, match="choose must give one integer for each of 2"):
        next(seq.generate(counting, [1, 2], length=3, choose=lambda scores: scores.argmax()))
    for token in (-1, 10):
        with pytest.raises(
            IndexError, match=f"choose gave token {token} for sequence 1, .* 0 to 9"
        ):
            next(
                seq.generate(counting, [1, 2], length=3, choose=lambda s, y=token: np.array([0, y]))
            )
    with pytest.raises(ValueError, match=r"go_on.* NaN for sequence 0"):
        next(seq.generate(counting, [1], length=3, stop=seq.coin(lambda _: [math.nan])))
    assert list(seq.generate(counting, [1], length=0)) == []
    assert seq.written([]) == []
