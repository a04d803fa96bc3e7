"""What must not be written is not, in generation and in beam search."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_beam import every_sequence
from tiny_model import tiny_model

import tinygrad_seq as ts
from tinygrad_seq import seq

pytestmark = pytest.mark.usefixtures("backend")

V = 3
SEEDS = st.integers(0, 999)


def repeats(tokens, n):
    grams = [tuple(tokens[k : k + n]) for k in range(len(tokens) - n + 1)]
    return len(set(grams)) < len(grams)


@given(seed=SEEDS, n=st.integers(1, 3))
def test_no_n_tokens_in_a_row_come_twice(seed, n):
    step, start = tiny_model(seed, V)
    length = 3 if n == 1 else 6
    ts.manual_seed(seed)
    for choose in (seq.greedy, seq.sample()):
        stream = seq.generate(
            step, [0, 1], start(2), length=length, choose=choose, constrain=[seq.no_repeats(n)]
        )
        for tokens in seq.written(stream):
            assert len(tokens) == length
            assert not repeats(tokens.tolist(), n)


@given(seed=SEEDS, least=st.integers(1, 4))
def test_the_end_does_not_come_early(seed, least):
    step, start = tiny_model(seed, V)
    ts.manual_seed(seed)
    stream = seq.generate(
        step, [0, 1], start(2), length=8, choose=seq.sample(), stop=seq.end_symbol(2),
        constrain=[seq.at_least(least, 2)],
    )  # fmt: skip
    for tokens in seq.written(stream):
        assert 2 not in tokens[:least]
        assert len(tokens) > least


@pytest.mark.host("long; what is chosen is chosen on the host")
@given(seed=SEEDS, least=st.integers(1, 3), n=st.integers(2, 3))
def test_a_wide_beam_finds_all_that_may_be_written(seed, least, n):
    step, start = tiny_model(seed, V)
    length = 3
    (found,) = seq.beam_search(
        step, [0], start(1), width=V**length, length=length, end=2,
        constrain=[seq.at_least(least, 2), seq.no_repeats(n)],
    )  # fmt: skip
    allowed = {
        tokens: log_p
        for tokens, log_p in every_sequence(step, start, 0, length, 2).items()
        if 2 not in tokens[:least] and not repeats(tokens, n)
    }
    assert {tuple(h.tokens): pytest.approx(h.log_prob) for h in found} == allowed


def test_a_constraint_that_leaves_nothing_is_told():
    step, start = tiny_model(0, V)
    with pytest.raises(ValueError, match="constraints leave search 0 no token after 3"):
        seq.beam_search(step, [0], start(1), width=2, length=4, constrain=[seq.no_repeats(1)])
    with pytest.raises(ValueError, match="no token is possible"):
        list(seq.generate(step, [0], start(1), length=4, constrain=[seq.no_repeats(1)]))
    for call in (lambda: seq.no_repeats(0), lambda: seq.at_least(0, 1)):
        with pytest.raises(ValueError, match="at least 1; got 0"):
            call()
    for wrong in (seq.no_repeats(1), [3], "no_repeats"):
        for call in (
            lambda wrong=wrong: seq.generate(step, [0], start(1), length=4, constrain=wrong),
            lambda wrong=wrong: seq.beam_search(
                step, [0], start(1), width=2, length=4, constrain=wrong
            ),
        ):
            with pytest.raises(TypeError, match="constrain as a list of functions"):
                call()


def test_scores_of_the_model_are_left_as_they_are():
    scores = np.zeros((1, V))
    written = np.array([[0, 1, 0]])
    assert np.isneginf(seq.no_repeats(2)(scores, written)).tolist() == [[False, True, False]]
    assert np.isneginf(seq.at_least(4, 2)(scores, written)).tolist() == [[False, False, True]]
    assert not scores.any()
