"""The model of symbols: counts by hand, what is missing, sampling, and hmmlearn."""

import itertools

import numpy as np
import pytest
from device import host
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import optim
from tinygrad_seq.distributions import Normal
from tinygrad_seq.seq.hmm import HMM, Chain

pytestmark = pytest.mark.usefixtures("backend")

SEEDS = st.integers(0, 2**16)


def draw_model(rng, k=3, symbols=4, impossible=0.0):
    """Tables of probabilities, some of them 0, and the model that has them."""
    tables = []
    for shape in ((k,), (k, k), (k, symbols)):
        p = rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])
        p[(rng.random(shape) < impossible) & (np.arange(shape[-1]) > 0)] = 0
        tables.append(p / p.sum(-1, keepdims=True))
    return tables, HMM.from_probabilities(*tables)


def by_enumeration(tables, x):
    """P(x) of one sequence, the sum over every hidden path of products of probabilities."""
    initial, transition, emission = tables
    total = 0.0
    for h in itertools.product(range(len(initial)), repeat=len(x)):
        p = initial[h[0]] * emission[h[0], x[0]]
        for t in range(1, len(x)):
            p *= transition[h[t - 1], h[t]] * emission[h[t], x[t]]
        total += p
    return total


@given(seed=SEEDS, impossible=st.sampled_from([0.0, 0.3]))
def test_probabilities_of_sequences_and_of_what_is_missing(seed, impossible):
    rng = np.random.default_rng(seed)
    tables, model = draw_model(rng, 2, 3, impossible)
    lengths = rng.integers(1, 6, 3)
    _, x = model.sample(5, 3)  # possible, so that P(x_-j) is not 0
    observed = rng.random((5, 3)) < 0.7
    given_x = np.where(observed & (np.arange(5)[:, None] < lengths), x, -7)  # never looked at
    log_p = model(given_x, lengths, observed)
    missing = model.missing(given_x, lengths, observed)
    for n, length in enumerate(lengths):
        holes = np.flatnonzero(~observed[:length, n])

        def p_of(fixed, n=n, length=length, holes=holes):
            """The sum over what fills the holes, but for those in ``fixed``."""
            total = 0.0
            free = [j for j in holes if j not in fixed]
            for fill in itertools.product(range(3), repeat=len(free)):
                whole = x[:length, n].copy()
                whole[free] = fill
                for j, symbol in fixed.items():
                    whole[j] = symbol
                total += by_enumeration(tables, whole)
            return total

        np.testing.assert_allclose(np.exp(host(log_p)[n]), p_of({}), rtol=1e-11)
        for j in range(length):
            p = np.array([p_of({j: v}) for v in range(3)])
            np.testing.assert_allclose(
                np.exp(host(missing)[j, n]), p / p.sum(), rtol=1e-11, atol=1e-14
            )
        assert not host(missing)[length:, n].any()


@given(seed=SEEDS, impossible=st.sampled_from([0.0, 0.3]))
def test_baum_welch_never_lowers_the_likelihood(seed, impossible):
    rng = np.random.default_rng(seed)
    _, truth = draw_model(rng, 2, 3)
    _, x = truth.sample(7, 4)
    lengths, observed = rng.integers(1, 8, 4), rng.random((7, 4)) < 0.8
    tables, model = draw_model(rng, 3, 3)
    if impossible:  # a transition that is impossible stays so
        tables[1][0] = [0, 0.5, 0.5]
        model = HMM.from_probabilities(*tables)
    history = model.baum_welch(x, lengths, observed, iterations=15, tolerance=-np.inf)
    assert len(history) == 16
    assert (np.diff(history) > -1e-9).all()
    assert history[-1] == pytest.approx(model(x, lengths, observed).sum().item(), rel=1e-13)
    for table in model.tables():
        np.testing.assert_allclose(np.exp(host(table)).sum(-1), 1, rtol=1e-12)
    if impossible:
        assert np.exp(host(model.tables()[1])[0, 0]) == 0


def test_one_update_equals_counts_by_hand(rng):
    """Each path counts as often as it is probable."""
    (initial, transition, emission), model = draw_model(rng, 2, 3)
    sequences = [[0, 2, 1, 1], [2, 2], [1, 0, 2]]
    counts = [np.zeros(2), np.zeros((2, 2)), np.zeros((2, 3))]
    for x in sequences:
        p_x = by_enumeration((initial, transition, emission), x)
        for h in itertools.product(range(2), repeat=len(x)):
            p = initial[h[0]] * emission[h[0], x[0]]
            for t in range(1, len(x)):
                p *= transition[h[t - 1], h[t]] * emission[h[t], x[t]]
            counts[0][h[0]] += p / p_x
            for t, symbol in enumerate(x):
                counts[2][h[t], symbol] += p / p_x
                if t:
                    counts[1][h[t - 1], h[t]] += p / p_x
    x, lengths = ts.data.pad_sequences([np.array(s) for s in sequences], value=-1)
    model.baum_welch(x, lengths, iterations=1)
    for table, count in zip(model.tables(), counts, strict=True):
        np.testing.assert_allclose(
            np.exp(host(table)), count / count.sum(-1, keepdims=True), rtol=1e-12
        )


def test_a_row_that_was_never_visited_stays(rng):
    tables = [np.array([1.0, 0.0]), np.array([[1.0, 0.0], [0.3, 0.7]]), np.full((2, 2), 0.5)]
    model = HMM.from_probabilities(*tables)
    with ts.no_grad():  # no loss of the caller's is meant: the counts come all the same
        model.baum_welch(np.array([[0], [1], [1]]), iterations=3)
    np.testing.assert_allclose(np.exp(host(model.tables()[1])), tables[1], rtol=1e-14)
    np.testing.assert_allclose(np.exp(host(model.tables()[2])), [[1 / 3, 2 / 3], [0.5, 0.5]])


def test_samples_have_the_frequencies_of_the_tables(rng):
    (initial, transition, emission), model = draw_model(rng, 2, 3)
    ts.manual_seed(3)
    h, x = model.sample(20, 5000)
    assert h.shape == x.shape == (20, 5000)
    for got, p in (
        ([np.mean(h[0] == i) for i in range(2)], initial),
        ([[np.mean(h[1:][h[:-1] == i] == j) for j in range(2)] for i in range(2)], transition),
        ([[np.mean(x[h == i] == v) for v in range(3)] for i in range(2)], emission),
    ):
        np.testing.assert_allclose(got, p, atol=5 * 0.5 / np.sqrt(1000))  # five standard errors
    ts.manual_seed(3)
    HMM.from_probabilities(initial, transition, emission)  # draws nothing
    again = model.sample(20, 5000)
    np.testing.assert_array_equal(again, (h, x))


@pytest.mark.host("long")
def test_training_by_gradient_reaches_what_baum_welch_reaches(rng):
    _, truth = draw_model(rng, 2, 3)
    _, x = truth.sample(10, 50)
    ts.manual_seed(1)
    by_counts, by_gradient = HMM(2, 3, dtype="f8"), HMM(2, 3, dtype="f8")
    by_gradient.load_state_dict(by_counts.state_dict())
    best = by_counts.baum_welch(x, iterations=2000, tolerance=1e-7)[-1]
    optimizer = optim.Adam(by_gradient.parameters(), lr=0.05)
    start = by_gradient(x).sum().item()
    for _ in range(600):
        optimizer.zero_grad()
        (-by_gradient(x).mean()).backward()
        optimizer.step()
    reached = by_gradient(x).sum().item()
    assert start < best - 5
    assert reached == pytest.approx(best, abs=0.5)


def test_parameters_are_saved_as_any_modules(rng):
    model = HMM(2, 3)
    assert list(model.state_dict()) == ["initial", "transition", "emission"]
    other = HMM(2, 3)
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(
        host(other(np.zeros((4, 1), int))), host(model(np.zeros((4, 1), int)))
    )


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda m: HMM(0, 3), ValueError, "states of at least 1"),
        (lambda m: HMM(2, 2.5), TypeError, "int for symbols"),
        (lambda m: m([0, 1]), ValueError, r"\(T, N\).*\[:, None\]"),
        (lambda m: m(np.zeros((0, 2), int)), ValueError, "at least one step"),
        (lambda m: m(np.zeros((3, 2))), TypeError, "integer symbols"),
        (lambda m: m([[0], [3]]), IndexError, r"symbols from 0 to 2; got 3 at index \(1, 0\)"),
        (lambda m: m([[0], [-1]]), IndexError, "symbols from 0 to 2"),
        (lambda m: m([[0], [1]], [3]), ValueError, "from 1 to 2 steps"),
        (lambda m: m([[0], [1]], observed=[[1], [0]]), TypeError, "mask of what was observed"),
        (
            lambda m: m([[0], [1]], observed=[True, False]),
            ValueError,
            "observed must be of the shape",
        ),
        (lambda m: m.sample(0, 1), ValueError, "steps of at least 1"),
        (lambda m: m.baum_welch(np.zeros((3, 0), int)), ValueError, "got none"),
        (lambda m: m.baum_welch([[0]], iterations=0), ValueError, "iterations of at least 1"),
        (
            lambda m: HMM.from_probabilities([1, 0], np.eye(2), np.eye(2)).baum_welch([[0], [1]]),
            ValueError,
            "possible under the model",
        ),
        (
            lambda m: HMM.from_probabilities([0.5, 0.5], np.eye(3), np.eye(2)),
            ValueError,
            r"transition \(k, k\).*\(3, 3\)",
        ),
        (
            lambda m: HMM.from_probabilities([0.5, 0.6], np.eye(2), np.eye(2)),
            ValueError,
            "sum of 1",
        ),
    ],
)
def test_bad_arguments_get_a_sentence(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call(HMM(2, 3))


# -- hmmlearn -------------------------------------------------------------------------------------


def stacked(x, lengths):
    """(T, N, ...) as hmmlearn has it: one sequence after the other."""
    return np.concatenate([x[:length, n] for n, length in enumerate(lengths)])


def test_agrees_with_hmmlearn_on_symbols(rng):
    hmmlearn = pytest.importorskip("hmmlearn.hmm")
    tables, model = draw_model(rng, 3, 4)
    _, x = model.sample(12, 6)
    lengths = rng.integers(1, 13, 6)
    rows = stacked(x, lengths)[:, None]

    def theirs(**settings):
        made = hmmlearn.CategoricalHMM(3, n_features=4, init_params="", **settings)
        made.startprob_, made.transmat_, made.emissionprob_ = (t.copy() for t in tables)
        return made

    peer = theirs()
    chain = model.chain(x, lengths)
    assert model(x, lengths).sum().item() == pytest.approx(peer.score(rows, lengths), rel=1e-12)
    np.testing.assert_allclose(
        stacked(host(chain.posterior()), lengths), peer.predict_proba(rows, lengths), atol=1e-12
    )
    score, path = peer.decode(rows, lengths)
    ours, best = chain.viterbi()
    assert best.sum().item() == pytest.approx(score, rel=1e-12)
    np.testing.assert_array_equal(stacked(ours, lengths), path)

    peer = theirs(n_iter=20, tol=-np.inf)
    peer.fit(rows, lengths)
    history = model.baum_welch(x, lengths, iterations=20, tolerance=-np.inf)
    np.testing.assert_allclose(history[:20], peer.monitor_.history, rtol=1e-10)
    for table, their_table in zip(
        model.tables(), (peer.startprob_, peer.transmat_, peer.emissionprob_), strict=True
    ):
        np.testing.assert_allclose(np.exp(host(table)), their_table, atol=1e-9)


def test_agrees_with_hmmlearn_on_gaussians(rng):
    """Any emissions compose: densities as log-likelihoods, the M-step from the posteriors."""
    hmmlearn = pytest.importorskip("hmmlearn.hmm")
    (initial, transition, _), _ = draw_model(rng, 2, 3)
    means, widths = np.array([[-1.0, 0.5], [1.5, 0.0]]), np.array([[0.7, 1.2], [1.0, 0.5]])
    lengths = np.array([15, 9, 12])
    x = rng.normal(size=(15, 3, 2)) + 2 * rng.integers(0, 2, (15, 3, 1)) - 1
    rows = stacked(x, lengths)
    peer = hmmlearn.GaussianHMM(
        2, "diag", init_params="", n_iter=5, tol=-np.inf, covars_prior=0, covars_weight=1
    )
    peer.means_prior, peer.means_weight = 0, 0
    peer.startprob_, peer.transmat_, peer.means_ = initial.copy(), transition.copy(), means.copy()
    peer.covars_ = widths**2

    def chain():
        said = Normal(means, widths).log_prob(x[:, :, None]).sum(axis=-1)
        return Chain(np.log(initial), np.log(transition), said, lengths)

    assert chain().log_prob().sum().item() == pytest.approx(peer.score(rows, lengths), rel=1e-12)
    np.testing.assert_allclose(
        stacked(host(chain().posterior()), lengths), peer.predict_proba(rows, lengths), atol=1e-12
    )
    score, path = peer.decode(rows, lengths)
    ours, best = chain().viterbi()
    assert best.sum().item() == pytest.approx(score, rel=1e-12)
    np.testing.assert_array_equal(stacked(ours, lengths), path)

    peer.fit(rows, lengths)
    for _ in range(5):
        posterior = stacked(host(chain().posterior()), lengths)
        first, pairs = host(chain().posterior())[0].sum(0), host(chain().pairwise()).sum((0, 1))
        initial, transition = first / first.sum(), pairs / pairs.sum(1, keepdims=True)
        weight = posterior.sum(0)[:, None]
        means = posterior.T @ rows / weight
        widths = np.sqrt(np.einsum("tk,tkd->kd", posterior, (rows[:, None] - means) ** 2) / weight)
    np.testing.assert_allclose(peer.startprob_, initial, atol=1e-9)
    np.testing.assert_allclose(peer.transmat_, transition, atol=1e-9)
    np.testing.assert_allclose(peer.means_, means, atol=1e-9)
    np.testing.assert_allclose(np.array([np.diag(c) for c in peer.covars_]), widths**2, rtol=1e-6)


def test_sequences_of_one_step_fit_all_but_the_transitions():
    model = HMM(2, 3)
    before = np.exp(model.tables()[1].detach().numpy())
    x = np.array([[0, 0, 1, 2]])
    history = model.baum_welch(x, iterations=200, tolerance=1e-9)
    assert history[-1] == pytest.approx(2 * np.log(1 / 2) + 2 * np.log(1 / 4), rel=1e-4)
    np.testing.assert_allclose(np.exp(model.tables()[1].detach().numpy()), before, rtol=1e-6)


def test_lengths_of_another_kind_are_told_by_the_one_who_was_asked():
    with pytest.raises(TypeError, match="HMM expects integer lengths"):
        HMM(2, 3)(np.zeros((3, 2), int), [1.0, 2.0])
    with pytest.raises(TypeError, match="Chain expects integer lengths"):
        Chain(np.zeros(2), np.zeros((2, 2)), np.zeros((3, 1, 2)), [1.0])
