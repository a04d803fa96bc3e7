"""Losses of numbers against PyTorch and against their definitions."""

import math

import numpy as np
import pytest
from device import host

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.testing import gradcheck, gradgradcheck

pytestmark = pytest.mark.usefixtures("backend")

REDUCTIONS = ["mean", "sum", "none"]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def assert_equals_torch(name, arrays, **settings):
    """Value, and the gradient of every argument for an upstream of 1, 2, 3, ..."""
    torch = pytest.importorskip("torch")
    ours = [ts.Tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    loss = getattr(nn, name)(*ours, **settings)
    expected = getattr(torch.nn.functional, name)(*theirs, **settings)
    np.testing.assert_allclose(host(loss), expected.detach().numpy(), rtol=0, atol=1e-12)
    up = np.arange(1.0, loss.size + 1).reshape(loss.shape)
    (loss * up).sum().backward()
    (expected * torch.tensor(up)).sum().backward()
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(host(mine.grad), other.grad.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_they_equal_pytorch(reduction):
    x, t = draw(4, 3) * 2, draw(4, 3, seed=1)
    for name in ("mse_loss", "l1_loss", "huber_loss"):
        assert_equals_torch(name, [x, t], reduction=reduction)
    assert_equals_torch("huber_loss", [x, t], delta=0.3, reduction=reduction)
    for full in (False, True):
        assert_equals_torch(
            "gaussian_nll_loss", [x, t, t * t + 0.1], full=full, reduction=reduction
        )
    assert_equals_torch("poisson_nll_loss", [x, np.floor(abs(t) * 5)], reduction=reduction)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
def test_the_best_constant_is_the_quantile(q):
    values = draw(501)
    places = np.linspace(-3, 3, 6001)
    losses = np.array([nn.quantile_loss(np.full(501, c), values, q).item() for c in places[::20]])
    best = places[::20][losses.argmin()]
    np.testing.assert_allclose(best, np.quantile(values, q), rtol=0, atol=0.05)


def test_several_quantiles_are_each_alone():
    x, t = draw(5, 2, 3), draw(5, 2, seed=1)
    together = host(nn.quantile_loss(x, t, [0.2, 0.5, 0.7], "none"))
    for k, q in enumerate([0.2, 0.5, 0.7]):
        alone = host(nn.quantile_loss(x[..., k], t, q, "none"))
        np.testing.assert_array_equal(together[..., k], alone)
        miss = t - x[..., k]
        np.testing.assert_allclose(alone, np.where(miss > 0, q * miss, (q - 1) * miss))


def test_gradients_of_first_and_second_order():
    x, t, v = draw(3, 4), draw(3, 4, seed=1), draw(3, 4, seed=2) ** 2 + 0.3
    for check in (gradcheck, gradgradcheck):
        check(lambda x, t, v: nn.gaussian_nll_loss(x, t, v, full=True, reduction="none"), x, t, v)
        check(lambda x, t: nn.poisson_nll_loss(x, t, reduction="none"), x, t)
        check(lambda x, t: nn.huber_loss(x, t, 0.7, reduction="none"), x, t)
        check(lambda x, t: nn.quantile_loss(x, t, [0.1, 0.4, 0.5, 0.9], "none"), x, t[:, 0])


def test_an_outlier_pulls_no_more_than_delta():
    x = ts.Tensor(np.array([1e30, -1e30, 0.25], "f4"), requires_grad=True)
    nn.huber_loss(x, np.zeros(3), delta=0.5, reduction="sum").backward()
    np.testing.assert_array_equal(host(x.grad), np.array([0.5, -0.5, 0.25], "f4"))


def test_a_variance_of_zero_is_the_least_one():
    var = ts.Tensor(np.zeros(2), requires_grad=True)
    loss = nn.gaussian_nll_loss([0.0, 0.0], [0.0, 0.0], var, eps=1e-4)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(1e-4) / 2)
    assert not host(var.grad).any()


def test_the_modules_are_the_functions_with_settings():
    x, t, v = draw(4, 2), draw(4, 2, seed=1), draw(4, 2, seed=2) ** 2
    for module, function in (
        (nn.MSELoss("sum")(x, t), nn.mse_loss(x, t, "sum")),
        (nn.L1Loss("sum")(x, t), nn.l1_loss(x, t, "sum")),
        (nn.HuberLoss(0.3, "sum")(x, t), nn.huber_loss(x, t, 0.3, "sum")),
        (
            nn.QuantileLoss([0.2, 0.7], "sum")(x, t[:, 0]),
            nn.quantile_loss(x, t[:, 0], [0.2, 0.7], "sum"),
        ),
        (
            nn.GaussianNLLLoss(True, 0.1, "sum")(x, t, v),
            nn.gaussian_nll_loss(x, t, v, True, 0.1, "sum"),
        ),
        (nn.PoissonNLLLoss("sum")(x, abs(t)), nn.poisson_nll_loss(x, abs(t), "sum")),
    ):
        assert module.item() == function.item() != 0


def test_float32_stays_float32():
    x = ts.Tensor(draw(4, 2).astype("f4"), requires_grad=True)
    t = draw(4, 2, seed=1)
    for loss in (
        nn.l1_loss(x, t),
        nn.huber_loss(x, t, 0.3),
        nn.quantile_loss(x, t[:, 0], [0.2, 0.7]),
        nn.gaussian_nll_loss(x, t, t * t, full=True),
        nn.poisson_nll_loss(x, abs(t)),
    ):
        loss.backward()
        assert loss.dtype == x.grad.dtype == np.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.l1_loss(np.ones((3, 1)), np.ones(3)), r"l1_loss .* one shape; got \(3, 1\)"),
        (lambda: nn.huber_loss(np.ones(3), np.ones(3), 0), "delta above 0; got 0"),
        (lambda: nn.quantile_loss(np.ones(3), np.ones(3), 1.5), "between 0 and 1; got 1.5"),
        (lambda: nn.quantile_loss(np.ones(3), np.ones(3), []), "between 0 and 1; got "),
        (
            lambda: nn.quantile_loss(np.ones((3, 3)), np.ones(3), [0.1, 0.9]),
            r"predictions \(..., 2\) .* got \(3, 3\) and \(3,\)",
        ),
        (lambda: nn.gaussian_nll_loss(np.ones(3), np.ones(3), 1.0), "of mean and var"),
        (lambda: nn.poisson_nll_loss(np.ones(3), np.ones(2)), "poisson_nll_loss"),
        (lambda: nn.HuberLoss(reduction="avg"), "'avg'"),
    ],
)
def test_what_does_not_fit_is_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()
