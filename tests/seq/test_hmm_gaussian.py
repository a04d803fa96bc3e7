"""The model of numbers: densities by hand, expectation-maximisation, what is missing."""

import itertools

import numpy as np
import pytest
from device import host
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import optim
from tinygrad_seq.seq.hmm import GaussianHMM
from tinygrad_seq.testing import gradcheck

pytestmark = pytest.mark.usefixtures("backend")

SEEDS = st.integers(0, 2**16)


def draw_model(rng, k=2, features=2):
    initial, transition = rng.dirichlet(np.ones(k)), rng.dirichlet(np.ones(k), k)
    mean, var = rng.normal(size=(k, features)) * 2, rng.uniform(0.3, 2, (k, features))
    parts = initial, transition, mean, var
    return parts, GaussianHMM.from_parameters(*parts)


def density(x, mean, var):
    return np.prod(np.exp(-((x - mean) ** 2) / (2 * var)) / np.sqrt(2 * np.pi * var), axis=-1)


def by_enumeration(parts, x, seen):
    """(p(x), posterior (T, k)) of one sequence, by summing over every hidden path."""
    initial, transition, mean, var = parts
    total, posterior = 0.0, np.zeros((len(x), len(initial)))
    for h in itertools.product(range(len(initial)), repeat=len(x)):
        p = initial[h[0]]
        for t in range(len(x)):
            p *= transition[h[t - 1], h[t]] if t else 1
            p *= density(x[t], mean[h[t]], var[h[t]]) if seen[t] else 1
        total += p
        for t, state in enumerate(h):
            posterior[t, state] += p
    return total, posterior / total


@given(seed=SEEDS, k=st.integers(1, 3), features=st.integers(1, 2))
def test_densities_and_posteriors_with_lengths_and_gaps(seed, k, features):
    rng = np.random.default_rng(seed)
    parts, model = draw_model(rng, k, features)
    lengths, observed = rng.integers(1, 5, 3), rng.random((4, 3)) < 0.7
    x = rng.normal(size=(4, 3, features)) * 2
    given_x = np.where((observed & (np.arange(4)[:, None] < lengths))[..., None], x, np.nan)
    log_p = host(model(given_x, lengths, observed))
    posterior = host(model.chain(given_x, lengths, observed).posterior())
    for n, length in enumerate(lengths):
        total, expected = by_enumeration(parts, x[:length, n], observed[:length, n])
        np.testing.assert_allclose(log_p[n], np.log(total), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(posterior[:length, n], expected, rtol=0, atol=1e-12)


@given(seed=SEEDS)
def test_one_update_is_the_weighed_mean_and_variance(seed):
    rng = np.random.default_rng(seed)
    parts, model = draw_model(rng)
    lengths, observed = np.array([4, 2]), rng.random((4, 2)) < 0.8
    observed[0] = True
    x = rng.normal(size=(4, 2, 2))
    gamma = np.zeros((4, 2, 2))
    for n, length in enumerate(lengths):
        gamma[:length, n] = by_enumeration(parts, x[:length, n], observed[:length, n])[1]
    first = gamma[0].sum(axis=0) / 2
    gamma *= observed[..., None]
    model.baum_welch(x, lengths, observed, iterations=1)
    for k in range(2):
        weight = gamma[..., k][..., None]
        mean = (weight * x).sum((0, 1)) / weight.sum()
        var = (weight * (x - mean) ** 2).sum((0, 1)) / weight.sum()
        np.testing.assert_allclose(host(model.mean)[k], mean, rtol=1e-9)
        np.testing.assert_allclose(np.exp(host(model.log_var)[k]), np.maximum(var, 1e-6), rtol=1e-9)
    np.testing.assert_allclose(host(ts.softmax(model.initial)), first, rtol=1e-9)


@given(seed=SEEDS)
def test_the_likelihood_never_falls(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(6, 4, 2)) + rng.integers(0, 2, (6, 4, 1)) * 3
    ts.manual_seed(seed)
    history = GaussianHMM.near(2, x).baum_welch(x, iterations=8, tolerance=0.0)
    assert len(history) > 1
    assert np.diff(history).min() > -1e-8


def test_it_finds_the_model_that_made_the_data():
    truth = GaussianHMM.from_parameters(
        [0.6, 0.4], [[0.95, 0.05], [0.1, 0.9]], [[0.0, 1.0], [3.0, -1.0]], [[1.0, 0.2], [0.5, 2.0]]
    )
    ts.manual_seed(0)
    hidden, x = truth.sample(100, 30)
    model = GaussianHMM.near(2, x)
    history = model.baum_welch(x, iterations=50)
    assert history[-1] > host(truth(x)).sum() - 1  # as likely as the truth
    order = np.argsort(host(model.mean)[:, 0])
    np.testing.assert_allclose(host(model.mean)[order], host(truth.mean), atol=0.15)
    np.testing.assert_allclose(host(model.log_var)[order], host(truth.log_var), atol=0.2)
    transition = host(ts.softmax(model.transition))[order][:, order]
    np.testing.assert_allclose(transition, host(ts.softmax(truth.transition)), atol=0.03)
    path, _ = model.chain(x).viterbi()
    assert (order.argsort()[path] == hidden).mean() > 0.97


def test_it_trains_by_gradient():
    rng = np.random.default_rng(1)
    _, model = draw_model(rng)
    x = rng.normal(size=(5, 3, 2))
    start = host(model.mean).copy(), host(model.log_var).copy()
    gradcheck(lambda mean, log_var: _with(model, mean, log_var)(x), *start)
    _, model = draw_model(rng)
    adam, losses = optim.Adam(model.parameters(), lr=0.05), []
    for _ in range(40):
        loss = -model(x).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3


def _with(model, mean, log_var):
    """log p(x) as a function of means and variances."""
    vars(model).update(mean=mean, log_var=log_var)
    return model


def test_a_value_never_visited_stays_and_a_variance_has_a_floor():
    model = GaussianHMM.from_parameters(
        [1.0, 0.0], [[1.0, 0.0], [0.5, 0.5]], [[0.0], [7.0]], [[1.0], [3.0]]
    )
    x = np.full((3, 1, 1), 2.0, host(model.mean).dtype)
    model.baum_welch(x, iterations=2, least_var=0.25)
    np.testing.assert_allclose(host(model.mean), [[2.0], [7.0]], rtol=1e-6)
    np.testing.assert_allclose(np.exp(host(model.log_var)), [[0.25], [3.0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m(np.zeros((3, 2))), ValueError, r"numbers \(T, N, F\).*give it as \[:, None\]"),
        (lambda m: m(np.zeros((3, 1, 3))), ValueError, "features=2 on the last axis"),
        (lambda m: m(np.zeros((3, 1, 2), "f4")), TypeError, "expects x of float64"),
        (lambda m: m(np.zeros((3, 1, 2)), [4]), ValueError, "from 1 to 3"),
        (lambda m: m(np.zeros((3, 1, 2)), None, np.ones((3, 2), bool)), ValueError, "observed"),
        (lambda m: m.baum_welch(np.full((3, 1, 2), np.nan)), ValueError, "(?i)nan"),
        (lambda m: GaussianHMM.near(2, np.full((3, 1, 2), np.nan)), ValueError, "all finite"),
        (lambda m: GaussianHMM.near(2, np.zeros((3, 2))), ValueError, r"x \(T, N, F\); got"),
        (
            lambda m: GaussianHMM.from_parameters([1.0], [[1.0]], [[0.0]], [[0.0]]),
            ValueError,
            "variances above 0",
        ),
        (
            lambda m: GaussianHMM.from_parameters([1.0], [[1.0]], [[0.0]], [1.0]),
            ValueError,
            r"got shapes \(1,\), \(1, 1\), \(1, 1\) and \(1,\)",
        ),
    ],
)
def test_what_does_not_fit_is_told(call, error, message):
    with pytest.raises(error, match=message):
        call(draw_model(np.random.default_rng(0))[1])
