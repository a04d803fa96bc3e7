"""Decoding against the sum over every path."""

import itertools
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import nn, seq

pytestmark = pytest.mark.usefixtures("backend")

SEEDS = st.integers(0, 2**16)


def draw(seed, steps, batch, classes, impossible=0.0):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(steps, batch, classes)) * 2
    scores[rng.random(scores.shape) < impossible] = -np.inf
    scores[..., 0] = rng.normal(size=(steps, batch))
    return scores, rng.integers(1, steps + 1, batch)


def what_it_says(path, blank):
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def every_labelling(log_probs, blank):
    """{labels: P} of one sequence (T, C), by enumeration."""
    found = defaultdict(float)
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        p = np.exp(sum(log_probs[t, c] for t, c in enumerate(path)))
        found[what_it_says(path, blank)] += p
    return {labels: p for labels, p in found.items() if p > 0}


@given(
    seed=SEEDS,
    steps=st.integers(1, 5),
    classes=st.integers(1, 3),
    impossible=st.sampled_from([0.0, 0.3]),
    data=st.data(),
)
def test_a_wide_beam_finds_every_labelling_in_order(seed, steps, classes, impossible, data):
    blank = data.draw(st.integers(0, classes - 1)) if not impossible else 0
    scores, lengths = draw(seed, steps, 2, classes, impossible)
    padded = scores.copy()
    padded[np.arange(steps)[:, None] >= lengths] = np.nan
    found = seq.ctc_beam_search(padded, 10**3, lengths, blank)
    for n, hypotheses in enumerate(found):
        expected = every_labelling(scores[: lengths[n], n], blank)
        got = {tuple(h.tokens): h.log_prob for h in hypotheses}
        assert got.keys() == expected.keys()
        for labels, log_p in got.items():
            assert log_p == pytest.approx(np.log(expected[labels]), abs=1e-12)
        logs = [h.log_prob for h in hypotheses]
        assert logs == sorted(logs, reverse=True)


@given(seed=SEEDS, steps=st.integers(1, 8), width=st.integers(1, 6))
def test_a_narrow_beam_never_claims_more_than_there_is(seed, steps, width):
    scores, lengths = draw(seed, steps, 3, 4)
    log_probs = np.asarray(ts.log_softmax(ts.tensor(scores)).detach().numpy())
    for n, hypotheses in enumerate(seq.ctc_beam_search(log_probs, width, lengths)):
        assert 1 <= len(hypotheses) <= width
        for h in hypotheses:
            loss = nn.ctc_loss(log_probs[: lengths[n], n], h.tokens, reduction="sum").item()
            assert h.log_prob <= -loss + 1e-6


@given(seed=SEEDS, steps=st.integers(1, 6), blank=st.integers(0, 2))
def test_greedy_says_what_the_likeliest_path_says(seed, steps, blank):
    scores, lengths = draw(seed, steps, 3, 3)
    for n, labels in enumerate(seq.ctc_greedy(scores, lengths, blank)):
        best = scores[: lengths[n], n].argmax(axis=-1)
        assert tuple(labels) == what_it_says(best, blank)
        assert labels.dtype == np.int64


def test_the_likeliest_labels_are_not_those_of_the_likeliest_path():
    """Graves 2006, figure 4: blank, blank is the likeliest path; but three paths say A."""
    log_probs = np.log([[[0.6, 0.4]], [[0.6, 0.4]]])
    assert [labels.tolist() for labels in seq.ctc_greedy(log_probs)] == [[]]
    ((best, second),) = seq.ctc_beam_search(log_probs, 2)
    assert best.tokens.tolist() == [1]
    assert np.exp([best.log_prob, second.log_prob]) == pytest.approx([0.64, 0.36])


def test_a_tensor_is_read_where_it_is():
    scores, lengths = draw(1, 5, 2, 3)
    tensor = ts.Tensor(scores, requires_grad=True)
    for decode in (
        seq.ctc_greedy,
        lambda s, n: [h[0].tokens for h in seq.ctc_beam_search(s, 3, n)],
    ):
        for ours, other in zip(decode(tensor, lengths), decode(scores, lengths), strict=True):
            np.testing.assert_array_equal(ours, other)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: seq.ctc_greedy(x[0]), ValueError, r"log_probs \(T, N, C\).*got .*\(2, 3\)"),
        (lambda x: seq.ctc_greedy(x.astype(int)), ValueError, "floating .* got int64"),
        (lambda x: seq.ctc_greedy(x, blank=3), IndexError, "blank from 0 to 2; got 3"),
        (lambda x: seq.ctc_greedy(x, [5, 1]), ValueError, "from 1 to 4"),
        (lambda x: seq.ctc_greedy(x * np.nan), ValueError, "NaN for class 0 at step 0 of sequ"),
        (lambda x: seq.ctc_beam_search(x, 0), ValueError, "width of at least 1; got 0"),
    ],
)
def test_what_does_not_fit_is_told(call, error, message):
    with pytest.raises(error, match=message):
        call(np.zeros((4, 2, 3)))
