"""The three families against their definitions, quadrature, sampling and PyTorch."""

import numpy as np
import pytest
from along import second_order_along_a_line
from device import host
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq.distributions import Bernoulli, Categorical, Distribution, Normal, kl_divergence
from tinygrad_seq.testing import check_float32, gradcheck

pytestmark = pytest.mark.usefixtures("backend")

SEEDS = st.integers(0, 2**16)


def softmax(x):
    p = np.exp(x - x.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


# Each family from free numbers (*batch, 2): what a test can draw and differentiate.
FAMILIES = {
    "normal": lambda x: Normal(x[..., 0], ts.exp(x[..., 1])),
    "bernoulli logits": lambda x: Bernoulli(logits=x[..., 0]),
    "bernoulli probs": lambda x: Bernoulli(probs=ts.sigmoid(x[..., 0])),
    "categorical logits": lambda x: Categorical(logits=x),
    "categorical probs": lambda x: Categorical(probs=ts.softmax(x)),
}


def support(d):
    """Values and weights with which a sum over them is the expectation of a function."""
    if isinstance(d, Normal):  # Gauss-Hermite: exact for polynomials of degree 127
        nodes, weights = np.polynomial.hermite_e.hermegauss(64)
        shape = (-1,) + (1,) * len(d.batch_shape)
        nodes = nodes.reshape(shape)
        return host(d.loc) + host(d.scale) * nodes, (weights / weights.sum()).reshape(shape)
    values = np.arange(2 if isinstance(d, Bernoulli) else d.logits.shape[-1])
    values = np.broadcast_to(
        values.reshape((-1,) + (1,) * len(d.batch_shape)), (len(values), *d.batch_shape)
    )
    return values, np.exp(host(d.log_prob(values)))


@pytest.mark.parametrize("family", FAMILIES)
@given(seed=SEEDS, shape=st.sampled_from([(), (3,), (2, 3), (0,)]))
def test_entropy_and_divergence_are_the_expectations_that_define_them(family, seed, shape):
    rng = np.random.default_rng(seed)
    p, q = (FAMILIES[family](ts.Tensor(rng.normal(size=(*shape, 2)))) for _ in range(2))
    assert p.batch_shape == shape
    x, weights = support(p)
    log_p, log_q = host(p.log_prob(x)), host(q.log_prob(x))
    np.testing.assert_allclose((weights * np.ones_like(log_p)).sum(0), 1, rtol=1e-12)
    np.testing.assert_allclose(host(p.entropy()), -(weights * log_p).sum(0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        host(kl_divergence(p, q)), (weights * (log_p - log_q)).sum(0), rtol=1e-9, atol=1e-11
    )
    np.testing.assert_allclose(host(kl_divergence(p, p)), 0, atol=1e-15)


def test_the_normal_density_integrates_to_one():
    x = np.linspace(-10, 10, 20001)
    density = np.exp(host(Normal(np.array(0.3), np.array(0.7)).log_prob(x)))
    np.testing.assert_allclose(density.sum() * (x[1] - x[0]), 1, rtol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_have_the_frequencies_of_the_probabilities(family, rng):
    d = FAMILIES[family](ts.Tensor(rng.normal(size=(3, 2)), requires_grad=True))
    x = d.sample((20000,))
    assert x.shape == (20000, 3)
    assert not x.requires_grad
    assert x.dtype == ("i8" if isinstance(d, Categorical) else "f8")
    # The mean of -ln p over samples is the entropy, within five standard errors.
    log_p = d.log_prob(x).detach().numpy()
    error = log_p.std(0) / np.sqrt(len(log_p)) + 1e-12
    assert (np.abs(-log_p.mean(0) - host(d.entropy())) < 5 * error).all()
    values, weights = support(d)
    assert (
        np.abs(x.numpy().mean(0) - (weights * values).sum(0)) < 5 * x.numpy().std(0) / 141
    ).all()


def test_samples_repeat_from_a_seed_and_take_any_shape():
    for d in (
        Normal([0.0, 1.0], 1.0),
        Bernoulli([0.2, 0.8]),
        Categorical([[0.5, 0.5], [0.1, 0.9]]),
    ):
        ts.manual_seed(5)
        first = d.sample((4, 3))
        ts.manual_seed(5)
        np.testing.assert_array_equal(first.numpy(), d.sample([4, 3]).numpy())
        assert first.shape == (4, 3, 2)
        assert d.sample(7).shape == (7, 2)
        assert d.sample().shape == (2,)
        assert d.sample((0,)).shape == (0, 2)


def test_what_is_impossible_is_never_drawn(monkeypatch):
    class Edge:
        """The lowest and the highest number that a generator gives."""

        def random(self, shape):
            return np.resize([0.0, np.nextafter(1.0, 0.0)], shape)

    monkeypatch.setattr("tinygrad_seq.distributions.base.generator", Edge)
    d = Categorical(probs=[0.0, 0.1, 0.2, 0.7, 0.0])
    assert sorted(set(d.sample(100).tolist())) == [1, 3]
    assert set(Categorical(logits=[-np.inf, 0.0, -np.inf]).sample(100).tolist()) == {1}
    assert not host(Bernoulli(0.0).sample(100)).any()
    assert host(Bernoulli(1.0).sample(100)).all()


# -- gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_of_both_orders(family, rng):
    x, y = rng.normal(size=(3, 2)), rng.normal(size=(2, 3, 2))
    value = FAMILIES[family](ts.Tensor(x)).sample((4, 2)).numpy()

    def log_prob(x):
        return FAMILIES[family](x).log_prob(value)

    def entropy(x):
        return FAMILIES[family](x).entropy()

    def divergence(x, y):  # (3,) against (2, 3): they broadcast
        return kl_divergence(FAMILIES[family](x), FAMILIES[family](y))

    for f, args in ((log_prob, (x,)), (entropy, (x,)), (divergence, (x, y))):
        gradcheck(f, *args)
        second_order_along_a_line(f, *args)
        if f is not log_prob:  # it closes over float64 values
            check_float32(f, *args)


def test_gradients_pass_through_reparameterised_samples_and_values(rng):
    def sample(loc, scale):
        ts.manual_seed(2)
        return Normal(loc, ts.exp(scale)).rsample((5,)) ** 3

    loc, scale = rng.normal(size=(2, 3)), rng.normal(size=3)
    gradcheck(sample, loc, scale)
    second_order_along_a_line(sample, loc, scale)
    gradcheck(lambda x: Normal(loc, np.exp(scale)).log_prob(x), rng.normal(size=(2, 3)))


def test_both_estimators_of_a_gradient_find_the_exact_one(rng):
    """d/dμ E[sin z] = cos μ e^(-σ²/2) and d/dσ E[sin z] = -σ sin μ e^(-σ²/2)."""
    mu, sigma, n = 0.4, 0.8, 200_000
    exact = np.exp(-(sigma**2) / 2) * np.array([np.cos(mu), -sigma * np.sin(mu)])
    loc, scale = ts.Tensor(np.array(mu), True), ts.Tensor(np.array(sigma), True)
    d = Normal(loc, scale)
    through = ts.autograd.grad([ts.sin(d.rsample(n)).mean()], [loc, scale])
    z = d.sample(n)
    weighed = ts.autograd.grad([(ts.sin(z) * d.log_prob(z)).mean()], [loc, scale])
    np.testing.assert_allclose([g.item() for g in through], exact, atol=5 / np.sqrt(n))
    np.testing.assert_allclose([g.item() for g in weighed], exact, atol=10 / np.sqrt(n))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("size", [100.0, 1e4])
def test_logits_at_the_extremes(dtype, size):
    x = ts.Tensor(np.array([size, -size], dtype), requires_grad=True)
    coin, other = Bernoulli(logits=x), Bernoulli(logits=-x)
    dice = Categorical(logits=ts.stack([x, -x], axis=-1))
    np.testing.assert_allclose(host(coin.log_prob([1, 0])), 0, atol=1e-40)
    np.testing.assert_allclose(host(coin.log_prob([0, 1])), -size)
    np.testing.assert_allclose(host(dice.log_prob([1, 0])), -2 * size)
    np.testing.assert_allclose(host(coin.entropy()), 0, atol=1e-38)
    np.testing.assert_allclose(host(dice.entropy()), 0, atol=1e-38)
    np.testing.assert_allclose(host(kl_divergence(coin, other)), size, rtol=1e-6)
    terms = [coin.log_prob([0, 1]), coin.entropy(), dice.log_prob([1, 0]), dice.entropy()]
    sum(t.sum() for t in [*terms, kl_divergence(coin, other)]).backward()
    assert x.grad.dtype == dtype
    # -1, 1 of the coin's log-probability, -2, 2 of the dice's, and of the divergence 1 and -1
    np.testing.assert_allclose(host(x.grad), [-2, 2], rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_dtypes_are_kept(family, dtype, rng):
    d = FAMILIES[family](ts.Tensor(rng.normal(size=(3, 2)).astype(dtype)))
    x = d.sample()
    for y in (d.log_prob(x), d.entropy(), kl_divergence(d, d)):
        assert y.dtype == dtype
    if isinstance(d, Normal):
        assert d.rsample((2,)).dtype == x.dtype == dtype
        assert Normal(0.0, d.scale).rsample().dtype == dtype  # a Python number is weak
        assert Normal(np.zeros(3, dtype), np.float64(1)).scale.dtype == dtype


def test_certainty_costs_nothing_and_gives_no_nan():
    p = ts.Tensor(np.array([0.0, 0.3, 1.0]), requires_grad=True)
    coin, dice = Bernoulli(p), Categorical(probs=ts.stack([p, 1 - p], axis=-1))
    h = np.array([0, -(0.3 * np.log(0.3) + 0.7 * np.log(0.7)), 0])
    np.testing.assert_allclose(host(coin.entropy()), h)
    np.testing.assert_allclose(host(dice.entropy()), h)
    np.testing.assert_allclose(host(kl_divergence(coin, coin)), 0)
    np.testing.assert_allclose(host(kl_divergence(dice, dice)), 0)
    np.testing.assert_array_equal(host(coin.log_prob([0, 1, 1]))[[0, 2]], 0)
    assert host(coin.log_prob(1))[0] == host(dice.log_prob(0))[0] == -np.inf
    kl = kl_divergence(Bernoulli(0.5), Bernoulli(ts.Tensor([0.0, 1.0, 0.5])))
    np.testing.assert_array_equal(host(kl), [np.inf, np.inf, 0])
    (coin.entropy() + dice.entropy()).sum().backward()
    assert np.isfinite(host(p.grad)[1])
    assert not np.isnan(host(p.grad)).any()


# -- what is asked of the arguments ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: Normal(0.0, 0.0), ValueError, "scale above 0; got 0.0"),
        (lambda: Normal(0.0, [1.0, -1.0]), ValueError, r"above 0; got -1.0 at index \(1,\)"),
        (lambda: Normal(0.0, np.inf), ValueError, "scale above 0"),
        (lambda: Normal(0.0, np.nan), ValueError, "scale above 0; got nan"),
        (lambda: Normal(np.inf, 1.0), ValueError, "loc finite"),
        (lambda: Normal(np.zeros(2), np.ones(3)), ValueError, r"loc \(2,\) and scale \(3,\)"),
        (lambda: Normal(True, 1.0), TypeError, "numbers for loc; got booleans"),
        (lambda: Normal("a", 1.0), TypeError, "real numbers"),
        (lambda: Normal(np.zeros(2), 1.0).log_prob(np.zeros(3)), ValueError, r"value \(3,\)"),
        (lambda: Normal(0.0, 1.0).log_prob(np.nan), ValueError, "a value without NaN"),
        (lambda: Normal(0.0, 1.0).sample(-1), ValueError, "sizes of at least 0"),
        (lambda: Normal(0.0, 1.0).sample(2.5), TypeError, "integers; got 2.5"),
        (lambda: Bernoulli(), TypeError, "either probs or logits; got neither"),
        (lambda: Bernoulli(0.5, logits=0.0), TypeError, "got both"),
        (lambda: Bernoulli(1.5), ValueError, "probs within 0 and 1; got 1.5"),
        (lambda: Bernoulli(logits=np.inf), ValueError, "logits finite"),
        (lambda: Bernoulli(0.5).log_prob(0.5), ValueError, "of 0 or 1; got 0.5"),
        (lambda: Bernoulli(0.5).rsample(), NotImplementedError, "score function"),
        (lambda: Categorical(), TypeError, "either probs or logits; got neither"),
        (lambda: Categorical(0.5), ValueError, r"probs \(..., C\)"),
        (lambda: Categorical(logits=np.zeros((2, 0))), ValueError, "C ≥ 1"),
        (lambda: Categorical([0.5, 0.6]), ValueError, "sum of 1 along the last axis; got 1.1"),
        (lambda: Categorical([[0.5, 0.5], [1.5, -0.5]]), ValueError, r"1.5 at index \(1, 0\)"),
        (lambda: Categorical(logits=[0.0, np.nan]), ValueError, r"logits below \+inf; got nan"),
        (lambda: Categorical(logits=[0.0, np.inf]), ValueError, r"logits below \+inf"),
        (lambda: Categorical(logits=[-np.inf, -np.inf]), ValueError, "a class that is possible"),
        (lambda: Categorical([0.5, 0.5]).log_prob(2), IndexError, "from 0 to 1; got 2 to 2"),
        (lambda: Categorical([0.5, 0.5]).log_prob([-1]), IndexError, "from 0 to 1"),
        (lambda: Categorical([0.5, 0.5]).log_prob(0.0), TypeError, "integer classes"),
        (lambda: Categorical([0.5, 0.5]).rsample(3), NotImplementedError, "Categorical has no"),
        (
            lambda: kl_divergence(Normal(0.0, 1.0), Bernoulli(0.5)),
            TypeError,
            "one family; got Normal and Bernoulli",
        ),
        (
            lambda: kl_divergence(Categorical([0.5, 0.5]), Categorical([1.0, 0.0, 0.0])),
            ValueError,
            "as many classes in both; got 2 and 3",
        ),
        (
            lambda: kl_divergence(Normal(np.zeros(2), 1.0), Normal(np.zeros(3), 1.0)),
            ValueError,
            r"p \(2,\) and q \(3,\)",
        ),
        (lambda: kl_divergence(1.0, 2.0), TypeError, "two distributions"),
        (lambda: Distribution(), TypeError, "abstract"),
    ],
)
def test_bad_arguments_get_a_sentence(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


def test_a_family_shows_what_it_is():
    assert repr(Normal(np.zeros((2, 1)), np.ones(3))) == "Normal(batch_shape=(2, 3))"
    assert repr(Bernoulli(0.5)) == "Bernoulli(batch_shape=())"
    assert repr(Categorical(logits=np.zeros((2, 3)))) == "Categorical(batch_shape=(2,), classes=3)"


# -- PyTorch --------------------------------------------------------------------------------------


def theirs(torch, family, x):
    d = torch.distributions
    return {
        "normal": lambda: d.Normal(x[..., 0], x[..., 1].exp()),
        "bernoulli logits": lambda: d.Bernoulli(logits=x[..., 0]),
        "bernoulli probs": lambda: d.Bernoulli(probs=x[..., 0].sigmoid()),
        "categorical logits": lambda: d.Categorical(logits=x),
        "categorical probs": lambda: d.Categorical(probs=x.softmax(-1)),
    }[family]()


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_pytorch(family, rng):
    torch = pytest.importorskip("torch")
    values = [rng.normal(size=(4, 3)), rng.normal(size=(4, 3))]
    ours = [ts.Tensor(v, requires_grad=True) for v in values]
    peers = [torch.tensor(v, requires_grad=True) for v in values]
    p, q = (FAMILIES[family](x) for x in ours)
    peer_p, peer_q = (theirs(torch, family, x) for x in peers)
    value = p.sample((2,)).numpy()
    results = [p.log_prob(value), q.entropy(), kl_divergence(p, q)]
    expected = [
        peer_p.log_prob(torch.tensor(value)),
        peer_q.entropy(),
        torch.distributions.kl_divergence(peer_p, peer_q),
    ]
    for result, peer in zip(results, expected, strict=True):
        np.testing.assert_allclose(host(result), peer.detach().numpy(), rtol=1e-12, atol=1e-14)
    sum(r.sum() for r in results).backward()
    sum(e.sum() for e in expected).backward()
    for x, peer in zip(ours, peers, strict=True):
        np.testing.assert_allclose(host(x.grad), peer.grad.numpy(), rtol=1e-10, atol=1e-13)
