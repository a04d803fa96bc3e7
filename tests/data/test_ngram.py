"""The n-gram baseline against its definition written with loops."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_seq.data import NGram, Vocabulary, bits_per_character, perplexity

SIZE = 5
TOKEN = st.integers(0, SIZE - 1)
IDS = st.lists(TOKEN, min_size=5, max_size=30)


@st.composite
def texts(draw: st.DrawFn) -> list[int]:
    """Rare and frequent tokens, long enough for each order to have its own discounts."""
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return rng.choice(SIZE, size=draw(st.integers(60, 150)), p=[0.6, 0.2, 0.1, 0.06, 0.04]).tolist()


LONG = texts()


def discounts(counts: list[int]) -> list[Fraction]:
    """D_0 to D_3 by Chen & Goodman's eq. 26, or 1/2, 1, 3/2."""
    n = [sum(c == k for c in counts) for k in range(5)]
    if min(n[1:]) > 0:
        y = Fraction(n[1], n[1] + 2 * n[2])
        found = [c - (c + 1) * y * Fraction(n[c + 1], n[c]) for c in (1, 2, 3)]
        if min(found) > 0:
            return [Fraction(0), *found]
    return [Fraction(c, 2) for c in range(4)]


def by_definition(train: list[int], order: int, context: list[int], token: int) -> Fraction:
    """P(token | context) in exact fractions, from sets and counts of substrings."""

    def gram_counts(k: int) -> dict[tuple[int, ...], int]:
        places = range(len(train) - k + 1)
        if k == order:
            found = [tuple(train[i : i + k]) for i in places]
        else:  # each different token before it counts once
            pairs = {tuple(train[i - 1 : i + k]) for i in places if i > 0}
            found = [pair[1:] for pair in pairs]
        return {gram: found.count(gram) for gram in found}

    p = Fraction(1, SIZE)
    for k in range(1, len(context) + 2):
        counts = gram_counts(k)
        d = discounts(list(counts.values()))
        h = tuple(context[len(context) - k + 1 :])
        after = [counts.get((*h, w), 0) for w in range(SIZE)]
        if sum(after):
            taken = [d[min(c, 3)] for c in after]
            p = (after[token] - taken[token] + sum(taken) * p) / sum(after)
    return p


@given(IDS | LONG, IDS, st.integers(1, 5))
def test_probabilities_are_those_of_the_definition(
    train: list[int], text: list[int], order: int
) -> None:
    found = NGram(order, SIZE).fit(train).probabilities(text)
    expected = [
        float(by_definition(train, order, text[max(0, t - order + 1) : t], text[t]))
        for t in range(len(text))
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@given(IDS | LONG, st.lists(TOKEN, min_size=4, max_size=4), st.integers(1, 5))
def test_probabilities_sum_to_one_also_after_unseen_contexts(
    train: list[int], context: list[int], order: int
) -> None:
    model = NGram(order, SIZE).fit(train)
    after = np.array([model.probabilities([*context, token])[-1] for token in range(SIZE)])
    assert (after > 0).all()
    assert after.sum() == pytest.approx(1)


def test_an_order_takes_its_discounts_from_its_counts() -> None:
    """The oracle and the model must not both have fallen back."""
    train = np.random.default_rng(0).choice(SIZE, size=150, p=[0.6, 0.2, 0.1, 0.06, 0.04]).tolist()
    trigrams = [tuple(train[i : i + 3]) for i in range(148)]
    assert discounts([trigrams.count(g) for g in set(trigrams)]) != [0, 0.5, 1, 1.5]


def test_tokens_that_follow_many_others_are_likelier_in_new_places() -> None:
    """San Francisco: 1 occurs most often, but after 0 only; 2 is rarer, but after anything."""
    train = [0, 1, 0, 1, 0, 1, 0, 1, 3, 2, 0, 1, 2, 4, 2, 0, 1]
    model = NGram(2, SIZE + 1).fit(train)
    after_new = [model.probabilities([5, w])[-1] for w in (1, 2)]
    assert after_new[1] > after_new[0]
    assert np.argmax([model.probabilities([0, w])[-1] for w in range(6)]) == 1


@pytest.mark.parametrize("rounds", [5, 50, 5000])
def test_a_text_that_repeats_itself_is_known_by_pencil_and_paper(rounds: int) -> None:
    """Each bigram occurs m times: P = (m - 3/2) / m + (3/2) / m · 1/4, so perplexity → 1."""
    ids = np.arange(4 * rounds + 1) % 4
    expected = 1 / (1 - 1.125 / rounds)
    assert perplexity(NGram(2, 4).fit(ids).cross_entropy(ids)) == pytest.approx(expected)


def test_a_vocabulary_of_one_token_has_a_perplexity_of_one() -> None:
    assert NGram(3, 1).fit([0] * 9).cross_entropy([0] * 9) == pytest.approx(0)


def test_tokens_without_pattern_have_a_perplexity_of_their_number() -> None:
    ids = np.random.default_rng(1).integers(0, 8, size=100_000)
    for order in (1, 2):
        found = perplexity(NGram(order, 8).fit(ids[:90_000]).cross_entropy(ids[90_000:]))
        assert found == pytest.approx(8, rel=2e-3)


def test_an_unknown_token_shares_what_the_rare_ones_gave_up() -> None:
    vocabulary = Vocabulary.from_iterable("abracadabra", unknown="?")
    model = NGram(2, len(vocabulary)).fit(vocabulary.encode("abracadabra"))
    p = model.probabilities(vocabulary.encode("abxyb"))
    assert (p > 0).all()
    assert p[2] < p[1]  # b after a was seen


def test_tables_tell_how_many_of_the_possible_grams_they_hold() -> None:
    model = NGram(3, SIZE).fit([0, 1, 0, 1, 2])
    # Trigrams 010, 101, 012; of bigrams those with something before; of unigrams too.
    assert model.seen == [3, 3, 3]
    assert NGram(1, SIZE).seen == []


def test_cross_entropy_counts_what_a_recurrent_net_predicts() -> None:
    model = NGram(2, SIZE).fit([0, 1, 2, 0, 1, 3])
    text = [4, 0, 1, 4]
    expected = -np.log(model.probabilities(text)[1:]).mean()
    assert model.cross_entropy(text) == pytest.approx(expected)


def test_longer_contexts_help_on_text() -> None:
    rng = np.random.default_rng(0)
    words = [rng.integers(0, 20, size=rng.integers(2, 6)) for _ in range(30)]
    ids = np.concatenate([words[i] for i in rng.integers(0, 30, size=4000)])
    bits = [
        bits_per_character(NGram(order, 20).fit(ids[:9000]).cross_entropy(ids[9000:]))
        for order in (1, 2, 3)
    ]
    assert bits[2] < bits[1] < bits[0] < math.log2(20)


def test_models_and_texts_that_make_no_sense_are_refused() -> None:
    model = NGram(3, SIZE)
    for call, error, message in [
        (lambda: NGram(0, SIZE), ValueError, "expects order of at least 1; got 0"),
        (lambda: NGram(2.0, SIZE), TypeError, "expects an int for order; got float"),
        (lambda: NGram(20, 10_000), ValueError, "too many"),
        (lambda: model.probabilities([1, 2]), RuntimeError, "call fit"),
        (lambda: model.fit([1, 2]), ValueError, r"L of at least 3; got shape \(2,\)"),
        (lambda: model.fit([[1, 2, 3]]), ValueError, r"got shape \(1, 3\)"),
        (lambda: model.fit([1, 2, 5]), IndexError, r"range\(5\); got 1 to 5"),
        (lambda: model.fit([1, 2, -1]), IndexError, "got -1 to 2"),
        (lambda: model.fit([1.0, 2.0, 3.0]), TypeError, "ids are integers; got dtype float64"),
        (lambda: model.fit([1, 2, 3]).cross_entropy([1]), ValueError, "at least 2"),
    ]:
        with pytest.raises(error, match=message):
            call()
