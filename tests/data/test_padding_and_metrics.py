"""Padding, and the yardsticks of a language model."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_seq.data import bits_per_character, pad_sequences, perplexity


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=5),
    st.sampled_from([(), (3,), (2, 0)]),
    st.sampled_from([np.float32, np.float64, np.int64, np.bool_]),
)
def test_each_sequence_stands_in_its_column_and_the_rest_is_padding(
    lengths: list[int], trailing: tuple, dtype: type
) -> None:
    sequences = [np.ones((length, *trailing), dtype) * (n + 1) for n, length in enumerate(lengths)]
    sequences = [s.astype(dtype) for s in sequences]
    padded, found = pad_sequences(sequences)
    assert padded.shape == (max(lengths), len(lengths), *trailing)
    assert padded.dtype == dtype
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, lengths)
    for n, sequence in enumerate(sequences):
        np.testing.assert_array_equal(padded[: lengths[n], n], sequence)
        assert not padded[lengths[n] :, n].any()


def test_targets_are_padded_with_what_the_loss_ignores() -> None:
    padded, _ = pad_sequences([[1, 2, 3], [4]], value=-100)
    np.testing.assert_array_equal(padded, [[1, 4], [2, -100], [3, -100]])


def test_any_iterable_of_sequences_will_do() -> None:
    padded, lengths = pad_sequences(np.ones(n) for n in (2, 1))
    np.testing.assert_array_equal(padded, [[1, 1], [1, 0]])
    np.testing.assert_array_equal(lengths, [2, 1])


def test_sequences_that_do_not_fit_are_refused() -> None:
    for sequences, value, error, message in [
        ([], 0, ValueError, "at least one sequence; got none"),
        ([[1], []], 0, ValueError, r"sequence 1 has shape \(0,\)"),
        ([3], 0, ValueError, r"sequence 0 has shape \(\)"),
        ([np.zeros((2, 3)), np.zeros((4, 5))], 0, ValueError, r"sequence 1 has shape \(4, 5\)"),
        ([[1], [1.5]], 0, TypeError, "sequence 0 has int64, sequence 1 has float64"),
        ([[1], [2]], 0.5, TypeError, "a padding of 0.5 does not fit sequences of int64"),
        ([[1], [2]], math.nan, TypeError, "a padding of nan does not fit"),
        ([np.array([1], np.uint8)], -100, TypeError, "-100 does not fit sequences of uint8"),
    ]:
        with pytest.raises(error, match=message):
            pad_sequences(sequences, value)


def test_perplexity_and_bits_of_a_uniform_model_are_its_choices() -> None:
    nats = math.log(32)
    assert perplexity(nats) == pytest.approx(32)
    assert bits_per_character(nats) == pytest.approx(5)
    assert perplexity(0) == 1
    assert perplexity(np.float32(1e6)) == math.inf
    assert math.isnan(perplexity(math.nan))
    assert bits_per_character(np.float32(math.log(2))) == pytest.approx(1)
