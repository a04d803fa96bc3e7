"""Attention against a loop over its equations, PyTorch, and what must not change it."""

import numpy as np
import pytest
from along import second_order_along_a_line
from device import host
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.testing import arrays, gradient_property, lengths, modules

pytestmark = pytest.mark.usefixtures("backend")

S, T, N, Q, K, V = 5, 3, 2, 4, 4, 3
KINDS = {
    "dot": lambda: nn.DotAttention(scaled=False),
    "scaled": nn.DotAttention,
    "bilinear": lambda: nn.BilinearAttention(Q, K, dtype="f8"),
    "additive": lambda: nn.AdditiveAttention(Q, K, 6, dtype="f8"),
}
SEEDS = st.integers(0, 10**6)


def score(module, q, k):
    """One number for one query and one key, from the equation."""
    if isinstance(module, nn.DotAttention):
        return q @ k / (np.sqrt(len(k)) if module.scaled else 1)
    if isinstance(module, nn.BilinearAttention):
        return q @ host(module.weight) @ k
    inner = host(module.weight_query) @ q + host(module.weight_key) @ k + host(module.bias)
    return host(module.weight_score) @ np.tanh(inner)


def by_loops(module, queries, keys, values, valid):
    context, weights = np.zeros((T, N, V)), np.zeros((T, N, S))
    for t in range(T):
        for n in range(N):
            seen = np.flatnonzero(valid[:, n])
            e = np.exp([score(module, queries[t, n], keys[s, n]) for s in seen])
            weights[t, n, seen] = e / e.sum()
            context[t, n] = weights[t, n, seen] @ values[seen, n]
    return context, weights


def case(kind, seed):
    """A module with a bias, and queries, keys, values."""
    ts.manual_seed(seed)
    module, rng = KINDS[kind](), np.random.default_rng(seed)
    if kind == "additive":
        module.bias = nn.Parameter(rng.normal(size=6))
    return module, *(rng.normal(size=shape) for shape in ((T, N, Q), (S, N, K), (S, N, V)))


def some_mask(seed):
    mask = np.random.default_rng(seed).random((S, N)) < 0.5
    mask[seed % S] = True
    return mask


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS)
def test_it_is_the_loop_over_its_equations(kind, seed):
    module, q, k, v = case(kind, seed)
    mask = some_mask(seed)
    context, weights = module(q, k, v, mask=mask)
    expected = by_loops(module, q, k, v, mask)
    np.testing.assert_allclose(context.detach().numpy(), expected[0], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(weights.detach().numpy(), expected[1], rtol=1e-12, atol=1e-13)
    assert (host(weights)[:, ~mask.T] == 0).all()
    np.testing.assert_allclose(host(weights).sum(axis=-1), 1, rtol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS)
def test_one_query_is_a_step_of_many(kind, seed):
    module, q, k, v = case(kind, seed)
    context, weights = module(q, k, v, lengths=[3, S])
    for t in range(T):
        one, its_weights = module(q[t], k, v, lengths=[3, S])
        np.testing.assert_allclose(host(one), host(context)[t], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(host(its_weights), host(weights)[t], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("junk", [0.0, 1e30, np.nan, np.inf])
def test_padding_has_no_effect_and_a_gradient_of_exactly_zero(kind, junk, seed):
    module, q, k, v = case(kind, seed)
    k[3:, 0], v[3:, 0] = junk, junk
    q, k, v = (ts.Tensor(x, requires_grad=True) for x in (q, k, v))
    context, weights = module(q, k, v, lengths=[3, S])
    alone, its_weights = module(q[:, :1], k[:3, :1], v[:3, :1])
    np.testing.assert_allclose(host(context)[:, :1], host(alone), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(host(weights)[:, :1, :3], host(its_weights), rtol=1e-12, atol=1e-14)
    assert (host(weights)[:, 0, 3:] == 0).all()
    up = np.random.default_rng(seed).normal(size=(T, N, V))
    ((context * up).sum() + (weights * weights).sum()).backward()
    for x in (k, v):
        assert (host(x.grad)[3:, 0] == 0).all()
        assert (host(x.grad)[:3] != 0).all()
    assert np.isfinite(host(q.grad)).all()


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS)
def test_the_order_of_the_source_does_not_matter(kind, seed):
    module, q, k, v = case(kind, seed)
    mask, order = some_mask(seed), np.random.default_rng(seed).permutation(S)
    context, weights = module(q, k, v, mask=mask)
    other, permuted = module(q, k[order], v[order], mask=mask[order])
    np.testing.assert_allclose(host(other), host(context), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(host(permuted), host(weights)[..., order], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind, backend):
    @gradient_property(
        module=modules(KINDS[kind]),
        queries=arrays((2, N, Q)),
        keys=arrays((3, N, K)),
        values=arrays((3, N, 2)),
        lengths=lengths(N, 3),
        second_order=False,
        settings=settings(max_examples=3 if backend == "numpy" else 1),
    )
    def attend(module, queries, keys, values, lengths):
        return module(queries, keys, values, lengths=lengths)

    attend()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, S])
def test_second_order(kind, length, seed):
    def attend(module, q, k, v):
        return module(q, k, v, lengths=[length, 3])

    assert second_order_along_a_line(attend, *case(kind, seed), seed=seed)


@pytest.mark.parametrize("make", [nn.BilinearAttention, lambda q, k: nn.AdditiveAttention(q, k, 4)])
def test_queries_and_keys_may_differ_in_size(make):
    context, weights = make(3, 5)(ts.randn(T, N, 3), ts.randn(S, N, 5))
    assert (context.shape, weights.shape) == ((T, N, 5), (T, N, S))


def test_values_are_the_keys_if_not_given(seed):
    module, q, k, _ = case("additive", seed)
    for ours, expected in zip(module(q, k), module(q, k, k), strict=True):
        np.testing.assert_array_equal(host(ours), host(expected))


@given(seed=SEEDS)
def test_scaled_dot_product_equals_pytorch(seed):
    torch = pytest.importorskip("torch")
    module, *ours = case("scaled", seed)
    mask = some_mask(seed)
    tensors = [ts.Tensor(x, requires_grad=True) for x in ours]
    theirs = [torch.tensor(x, requires_grad=True) for x in ours]
    context, _ = module(*tensors, mask=mask)
    expected = torch.nn.functional.scaled_dot_product_attention(
        *(x.swapaxes(0, 1) for x in theirs), attn_mask=torch.tensor(mask.T[:, None, :])
    ).swapaxes(0, 1)
    np.testing.assert_allclose(host(context), expected.detach().numpy(), rtol=1e-11, atol=1e-13)
    up = np.random.default_rng(seed).normal(size=context.shape)
    (context * up).sum().backward()
    (expected * torch.tensor(up)).sum().backward()
    for x, y in zip(tensors, theirs, strict=True):
        np.testing.assert_allclose(host(x.grad), y.grad.numpy(), rtol=1e-11, atol=1e-13)


def test_float32_stays_float32():
    for module in (nn.DotAttention(), nn.BilinearAttention(Q, K), nn.AdditiveAttention(Q, K, 6)):
        context, weights = module(ts.randn(T, N, Q), ts.randn(S, N, K), lengths=[2, S])
        assert (context.dtype, weights.dtype) == (np.float32, np.float32)


@pytest.mark.parametrize(
    ("shapes", "more", "error", "sentence"),
    [
        ([(T, N, Q), (S, 3, K)], {}, ValueError, "same N sequences"),
        ([(Q,), (S, N, K)], {}, ValueError, "same N sequences"),
        ([(T, N, Q), (N, K)], {}, ValueError, "same N sequences"),
        ([(T, N, Q), (S, N, K), (4, N, V)], {}, ValueError, "a value for each key"),
        ([(T, N, Q), (0, N, K)], {}, ValueError, "no steps to attend to"),
        ([(T, N, Q), (S, N, 7)], {}, ValueError, r"one size|keys with 4 features"),
        ([(T, N, 7), (S, N, K)], {}, ValueError, r"one size|queries with 4 features"),
        ([(T, N, Q), (S, N, K)], {"lengths": [0, 3]}, ValueError, "from 1 to 5"),
        ([(T, N, Q), (S, N, K)], {"lengths": [3]}, ValueError, "one for each of 2"),
        ([(T, N, Q), (S, N, K)], {"lengths": [3, 2.5]}, TypeError, "integer lengths"),
        ([(T, N, Q), (S, N, K)], {"mask": np.ones((N, S), bool)}, ValueError, "mask"),
        ([(T, N, Q), (S, N, K)], {"mask": np.zeros((S, N), bool)}, ValueError, "of sequence 0"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_gets_a_sentence(kind, shapes, more, error, sentence):
    with pytest.raises(error, match=sentence):
        KINDS[kind]()(*(np.ones(shape) for shape in shapes), **more)


@pytest.mark.parametrize("kind", KINDS)
def test_dtypes_are_not_mixed(kind):
    with pytest.raises(TypeError, match="float64"):
        KINDS[kind]()(ts.ones((T, N, Q)), np.ones((S, N, K)))
    with pytest.raises(TypeError, match="floating"):
        KINDS[kind]()(np.ones((T, N, Q), int), np.ones((S, N, K), int))


def test_they_show_their_sizes():
    shown = [repr(KINDS[kind]()).split("  #")[0] for kind in KINDS]
    assert shown == [
        "DotAttention(scaled=False)",
        "DotAttention()",
        "BilinearAttention(4, 4)",
        "AdditiveAttention(4, 4, 6)",
    ]


def test_what_is_said_names_who_says_it():
    k = np.zeros((3, 2, 4))
    with pytest.raises(TypeError, match="DotAttention expects integer lengths"):
        nn.DotAttention()(k, k, lengths=[1.0, 2.0])
    with pytest.raises(TypeError, match="DotAttention expects a mask of booleans"):
        nn.DotAttention()(k, k, mask=np.ones((3, 2)))
    with pytest.raises(TypeError, match="expects queries of float64, as the keys; got float32"):
        nn.DotAttention()(k.astype("f4"), k)
    with pytest.raises(TypeError, match="expects values of float64, as the keys; got float32"):
        nn.DotAttention()(k, k, k.astype("f4"))
