"""Beam search against brute force over every sequence, for any kind of state."""

import itertools

import numpy as np
import pytest
from device import host
from hypothesis import given
from hypothesis import strategies as st
from tiny_model import tiny_model

import tinygrad_seq as ts
from tinygrad_seq import nn, seq

pytestmark = pytest.mark.usefixtures("backend")

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU}
V = 3


def every_sequence(step, start, token, length, end):
    """{tokens: log p} of all that can be written, by following every token alone."""
    found = {}
    for tokens in itertools.product(range(V), repeat=length):
        state, before, total = start(1), token, 0.0
        for t, after in enumerate(tokens):
            scores, state = step(np.array([before]), state)
            total += float(np.asarray(ts.log_softmax(scores))[0, after])
            before = after
            if after == end or t + 1 == length:
                found[tokens[: t + 1]] = total
                break
    return found


@pytest.mark.host("long; what is chosen is chosen on the host")
@pytest.mark.parametrize("kind", KINDS)
@given(
    seed=st.integers(0, 999),
    length=st.integers(1, 4),
    end=st.sampled_from([None, 0, 2]),
    alpha=st.sampled_from([0.0, 0.6, 1.0, 2.0]),
)
def test_a_wide_beam_finds_them_all_in_order(kind, seed, length, end, alpha):
    step, start = tiny_model(seed, V, kind=KINDS[kind])
    searches = seq.beam_search(
        step, [0, 1], start(2), width=V**length, length=length, end=end, alpha=alpha
    )
    for token, found in zip([0, 1], searches, strict=True):
        all_of_them = every_sequence(step, start, token, length, end)
        assert {tuple(h.tokens): pytest.approx(h.log_prob) for h in found} == all_of_them
        for h in found:
            assert h.score == pytest.approx(h.log_prob / len(h.tokens) ** alpha)
        scores = [h.score for h in found]
        assert scores == sorted(scores, reverse=True)


@given(
    seed=st.integers(0, 999),
    width=st.integers(1, 6),
    end=st.sampled_from([None, 1]),
    alpha=st.sampled_from([0.0, 1.0]),
)
def test_a_narrow_beam_is_the_definition(seed, width, end, alpha):
    """The same search with lists and sorting, one sequence at a time."""
    step, start = tiny_model(seed, V)
    beam, finished = [((), 0.0, start(1), 0)], []
    for t in range(5):
        grown = []
        for tokens, log_p, state, last in beam:
            scores, state = step(np.array([last]), state)
            for token, more in enumerate(np.asarray(ts.log_softmax(scores))[0]):
                grown.append(((*tokens, token), log_p + more, state, token))
        grown.sort(key=lambda g: -g[1])
        grown = grown[: width - len(finished)]
        ends = [g[3] == end or t == 4 for g in grown]
        finished += [g for g, ended in zip(grown, ends, strict=True) if ended]
        beam = [g for g, ended in zip(grown, ends, strict=True) if not ended]
    finished.sort(key=lambda g: -g[1] / len(g[0]) ** alpha)
    ((*found,),) = seq.beam_search(step, [0], start(1), width=width, length=5, end=end, alpha=alpha)
    assert [tuple(h.tokens) for h in found] == [g[0] for g in finished]
    np.testing.assert_allclose([h.log_prob for h in found], [g[1] for g in finished])


@given(seed=st.integers(0, 999), alpha=st.sampled_from([0.0, 1.0, 3.0]))
def test_width_one_is_greedy(seed, alpha):
    step, start = tiny_model(seed)
    how = {"length": 6}
    greedy = seq.written(seq.generate(step, [0, 1, 2], start(3), stop=seq.end_symbol(3), **how))
    found = seq.beam_search(step, [0, 1, 2], start(3), width=1, end=3, alpha=alpha, **how)
    for row, (best,) in zip(greedy, found, strict=True):
        np.testing.assert_array_equal(row, best.tokens)


def test_width_one_is_greedy_among_equals():
    def step(tokens, state):
        return np.zeros((len(tokens), 4)), state

    ((best,),) = seq.beam_search(step, [3], width=1, length=3)
    assert best.tokens.tolist() == [0, 0, 0]
    (found,) = seq.beam_search(step, [3], width=3, length=1)
    assert [h.tokens.tolist() for h in found] == [[0], [1], [2]]


@given(seed=st.integers(0, 999), width=st.integers(1, 5))
def test_a_batch_is_each_alone(seed, width):
    step, start = tiny_model(seed)
    how = {"width": width, "length": 5, "end": 2, "alpha": 0.7}
    together = seq.beam_search(step, [0, 1, 3], start(3), **how)
    for token, found in zip([0, 1, 3], together, strict=True):
        (alone,) = seq.beam_search(step, [token], start(1), **how)
        assert [h.tokens.tolist() for h in found] == [h.tokens.tolist() for h in alone]
        np.testing.assert_allclose([h.log_prob for h in found], [h.log_prob for h in alone])


def test_what_ended_is_kept_however_likely_what_goes_on():
    """After one step the end is 20 times less likely than going on, and stays in the list."""

    def step(tokens, state):
        return np.log(np.tile([0.95, 0.05], (len(tokens), 1))), state

    (found,) = seq.beam_search(step, [0], width=2, length=6, end=1)
    assert [1] in [h.tokens.tolist() for h in found]
    assert len(found) == 2
    assert found[0].tokens.tolist() == [0] * 6


def test_a_longer_sequence_is_forgiven_by_alpha():
    """Ending at once has p = 0.4, going on for good 0.6³ = 0.216."""

    def step(tokens, state):
        return np.log(np.tile([0.6, 0.4], (len(tokens), 1))), state

    def best(alpha):
        return seq.beam_search(step, [0], width=8, length=3, end=1, alpha=alpha)[0][0]

    assert best(0.0).tokens.tolist() == [1]
    assert best(1.0).tokens.tolist() == [0, 0, 0]


def test_impossible_tokens_are_never_written():
    def step(tokens, state):
        return np.tile([-np.inf, 0.0, -np.inf], (len(tokens), 1)), state

    (found,) = seq.beam_search(step, [0], width=5, length=2)
    assert [h.tokens.tolist() for h in found] == [[1, 1]]


def test_every_kind_of_state_follows_its_sequence():
    """Each part carries a number that says what was written, and all must agree."""

    def carry(code):
        deep, keys = np.stack([0 * code, code])[..., None], np.tile(code[:, None], (5, 1, 2))
        return (ts.Tensor(code[:, None]), (deep, ts.Tensor(keys))), code, None, 7

    def step(tokens, state):
        (h, (deep, keys)), code, *others = state
        for part in (host(h)[:, 0], deep[1, :, 0], host(keys)[2, :, 1]):
            np.testing.assert_array_equal(part, code)
        assert others == [None, 7]
        code = 2 * code + tokens + 1
        return np.sin(np.outer(code, [1.0, 2.0, 3.0])), carry(code)

    origin = np.array([4.0, 9.0])
    searches = seq.beam_search(step, [0, 1], carry(origin), width=V**4, length=4, end=2)
    for n, found in enumerate(searches):
        alone = every_sequence(step, lambda _, n=n: carry(origin[n : n + 1]), n, 4, end=2)
        assert {tuple(h.tokens): pytest.approx(h.log_prob) for h in found} == alone


def test_a_part_whose_batch_stands_elsewhere_gets_a_sentence():
    def step(tokens, state):
        return np.zeros((len(tokens), 3)), np.zeros((2, 5))

    with pytest.raises(ValueError, match=r"axis before the last of every part .* \(2, 5\)"):
        seq.beam_search(step, [0, 1, 2], width=2, length=3)


def test_nothing_is_recorded():
    keys = ts.ones((4, 2, 3), requires_grad=True)

    def step(tokens, state):
        assert state is keys or not state.requires_grad
        return np.zeros((len(tokens), 3)), state

    seq.beam_search(step, [0, 1], keys, width=3, length=3)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [({"width": 0}, "width"), ({"length": 0}, "length"), ({"alpha": -1.0}, "alpha")],
)
def test_bad_settings_get_a_sentence(wrong, sentence):
    step, start = tiny_model(0)
    with pytest.raises(ValueError, match=sentence):
        seq.beam_search(step, [0], start(1), **({"width": 2, "length": 3} | wrong))


@pytest.mark.parametrize("state", [{"h": {1, 2}}, {1, 2}, "h"], ids=["in a dict", "set", "str"])
def test_a_state_that_cannot_be_chosen_from_is_refused_not_shared(state):
    with pytest.raises(TypeError, match="arrays, numbers, None, or tuples or dicts of them; got a"):
        seq.beam_search(lambda y, s: (np.zeros((len(y), 4)), s), [0, 0], state, width=2, length=3)


def test_sizes_are_integers():
    def step(tokens, state):
        return np.zeros((len(tokens), 4)), state

    with pytest.raises(TypeError, match="beam_search expects an int for width; got float"):
        seq.beam_search(step, [0], width=2.0, length=3)
    with pytest.raises(TypeError, match="beam_search expects an int for length; got float"):
        seq.beam_search(step, [0], width=2, length=3.5)
