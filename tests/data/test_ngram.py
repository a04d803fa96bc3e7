"""The n-gram baseline against its definition written with loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_seq.data import NGram, bits_per_character

SIZE = 5
IDS = st.lists(st.integers(0, SIZE - 1), min_size=4, max_size=30)


def by_definition(train: list[int], context: list[int], token: int) -> float:
    """P(token | context), one n-gram order after the other."""
    p = 1 / SIZE
    for k in range(len(context) + 1):
        h = context[len(context) - k :]
        followers = [train[i + k] for i in range(len(train) - k) if train[i : i + k] == h]
        if followers:
            kinds = len(set(followers))
            p = (followers.count(token) + kinds * p) / (len(followers) + kinds)
    return p


@given(IDS, IDS, st.integers(1, 4))
def test_probabilities_are_those_of_the_definition(
    train: list[int], text: list[int], order: int
) -> None:
    found = NGram(order, SIZE).fit(train).probabilities(text)
    expected = [
        by_definition(train, text[max(0, t - order + 1) : t], text[t]) for t in range(len(text))
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@given(IDS, st.lists(st.integers(0, SIZE - 1), min_size=2, max_size=2), st.integers(1, 3))
def test_probabilities_sum_to_one_also_after_unseen_contexts(
    train: list[int], context: list[int], order: int
) -> None:
    model = NGram(order, SIZE).fit(train)
    after = np.array([model.probabilities([*context, token])[-1] for token in range(SIZE)])
    assert (after > 0).all()
    assert after.sum() == pytest.approx(1)


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
        (lambda: NGram(0, SIZE), ValueError, "at least 1; got 0 and 5"),
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
