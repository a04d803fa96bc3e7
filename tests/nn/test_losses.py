"""Losses against PyTorch and against their definitions."""

import numpy as np
import pytest
from device import host
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import nn

pytestmark = pytest.mark.usefixtures("backend")


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def loss_and_gradient(loss, x, *args, **kwargs):
    """The loss, and its gradient for an upstream of 1, 2, 3, ... over the losses."""
    x = ts.Tensor(x, requires_grad=True)
    value = loss(x, *args, **kwargs)
    up = np.arange(1.0, value.size + 1).reshape(value.shape)
    (value * up).sum().backward()
    return value.detach().numpy(), x.grad.numpy()


def torch_loss_and_gradient(loss, x, *args, **kwargs):
    torch = pytest.importorskip("torch")
    x = torch.tensor(x, requires_grad=True)

    def convert(v):
        return torch.tensor(v) if isinstance(v, np.ndarray) else v

    value = loss(x, *map(convert, args), **{k: convert(v) for k, v in kwargs.items()})
    up = torch.arange(1.0, value.numel() + 1, dtype=torch.float64).reshape(value.shape)
    (value * up).sum().backward()
    return value.detach().numpy(), x.grad.numpy()


def assert_same(ours, theirs, atol=1e-12):
    for got, want in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=atol)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("ignore", [-100, 2])
def test_cross_entropy_equals_pytorch(reduction, weighted, smoothing, ignore):
    torch = pytest.importorskip("torch")
    logits, targets = draw(7, 4) * 3, np.array([0, 3, 2, 2, 1, 0, 3])
    settings = {
        "weight": np.array([0.5, 2.0, 1.5, 0.25]) if weighted else None,
        "reduction": reduction,
        "label_smoothing": smoothing,
        "ignore_index": ignore,
    }
    if ignore == -100:
        targets[1] = -100
    assert_same(
        loss_and_gradient(nn.cross_entropy, logits, targets, **settings),
        torch_loss_and_gradient(torch.nn.functional.cross_entropy, logits, targets, **settings),
    )
    if smoothing:
        return
    del settings["label_smoothing"]
    assert_same(
        loss_and_gradient(nn.nll_loss, logits, targets, **settings),
        torch_loss_and_gradient(torch.nn.functional.nll_loss, logits, targets, **settings),
    )


def test_classes_are_on_the_last_axis():
    torch = pytest.importorskip("torch")
    logits, targets = draw(5, 2, 4), np.random.default_rng(1).integers(0, 4, (5, 2))
    value, gradient = loss_and_gradient(nn.cross_entropy, logits, targets, reduction="none")
    theirs, their_gradient = torch_loss_and_gradient(
        torch.nn.functional.cross_entropy, np.moveaxis(logits, -1, 1), targets, reduction="none"
    )
    assert_same((value, gradient), (theirs, np.moveaxis(their_gradient, 1, -1)))
    alone = nn.cross_entropy(logits[3, 1], targets[3, 1])
    np.testing.assert_allclose(alone.numpy(), value[3, 1], rtol=0, atol=1e-14)


def test_cross_entropy_by_definition():
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]))
    np.testing.assert_allclose(
        nn.cross_entropy(logits, [0, 1]).numpy(), -(np.log(0.7) + np.log(0.3)) / 2, atol=1e-15
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy_at_the_extremes(dtype):
    logits = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [0, 0, 0]], dtype)
    value, gradient = loss_and_gradient(nn.cross_entropy, logits, [1, 0, 2], reduction="none")
    np.testing.assert_allclose(value, [2e4, 2e4 + np.log(2), np.log(3)], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[1, -1, 0], [-2, 1, 1], [1, 1, -2]], rtol=0, atol=1e-6)
    assert value.dtype == gradient.dtype == dtype


@given(
    scores=st.lists(st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_the_gradient_is_the_softmax_less_the_target(scores, seed):
    logits = np.array(scores)
    targets = np.random.default_rng(seed).integers(0, 3, len(scores))
    value, gradient = loss_and_gradient(nn.cross_entropy, logits, targets, reduction="sum")
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    softmax = shifted / shifted.sum(-1, keepdims=True)
    assert value >= 0
    np.testing.assert_allclose(gradient, softmax - np.eye(3)[targets], rtol=0, atol=1e-12)


def test_ignored_logits_have_no_effect_even_when_nan():
    logits, targets = draw(4, 3), [1, -100, 0, -100]
    value, gradient = loss_and_gradient(nn.cross_entropy, logits, targets)
    logits[[1, 3]] = np.nan
    same, same_gradient = loss_and_gradient(nn.cross_entropy, logits, targets)
    np.testing.assert_array_equal(value, same)
    np.testing.assert_array_equal(gradient, same_gradient)
    np.testing.assert_array_equal(same_gradient[[1, 3]], 0)
    kept = nn.cross_entropy(logits[[0, 2]], [1, 0])
    np.testing.assert_allclose(value, kept.numpy(), rtol=0, atol=1e-15)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weight", [None, np.ones(3)])
def test_a_mean_over_nothing_is_zero(reduction, weight):
    for logits, targets in ((draw(2, 3), [-100, -100]), (draw(0, 3), [])):
        value, gradient = loss_and_gradient(
            nn.cross_entropy, logits, targets, weight=weight, reduction=reduction
        )
        assert value == 0
        np.testing.assert_array_equal(gradient, np.zeros(logits.shape))
    assert nn.mse_loss(np.zeros((0, 2)), np.zeros((0, 2))).item() == 0


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_probabilities_as_targets_equal_pytorch(reduction, weighted, smoothing):
    torch = pytest.importorskip("torch")
    logits, targets = draw(7, 4) * 3, np.random.default_rng(1).dirichlet(np.ones(4), 7)
    settings = {
        "weight": np.array([0.5, 2.0, 1.5, 0.25]) if weighted else None,
        "reduction": reduction,
        "label_smoothing": smoothing,
    }
    assert_same(
        loss_and_gradient(nn.cross_entropy, logits, targets, **settings),
        torch_loss_and_gradient(torch.nn.functional.cross_entropy, logits, targets, **settings),
    )


def test_one_hot_probabilities_are_classes_and_pass_gradients():
    logits, classes = draw(2, 5, 4), np.random.default_rng(1).integers(0, 4, (2, 5))
    targets = ts.Tensor(np.eye(4)[classes], requires_grad=True)
    soft = nn.cross_entropy(logits, targets)
    np.testing.assert_allclose(soft.item(), nn.cross_entropy(logits, classes).item(), atol=1e-14)
    soft.backward()
    expected = -ts.log_softmax(ts.Tensor(logits)) / 10
    np.testing.assert_allclose(host(targets.grad), host(expected), rtol=0, atol=1e-14)


def test_a_class_that_cannot_be_may_have_the_probability_0():
    logits = np.array([[0.5, -np.inf, 1.0]])
    value, gradient = loss_and_gradient(nn.cross_entropy, logits, np.array([[0.5, 0.0, 0.5]]))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    impossible = nn.cross_entropy(logits, np.array([[0.5, 0.5, 0.0]]))
    assert impossible.item() == np.inf


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, np.array([1.0, 0.5, 2.0, 0.1])])
@pytest.mark.parametrize("pos_weight", [None, np.array([3.0, 0.2, 1.0, 2.0])])
def test_bce_equals_pytorch(reduction, weight, pos_weight):
    torch = pytest.importorskip("torch")
    x, t = draw(5, 4) * 4, np.random.default_rng(1).random((5, 4))
    settings = {"weight": weight, "pos_weight": pos_weight, "reduction": reduction}
    assert_same(
        loss_and_gradient(nn.bce_with_logits, x, t, **settings),
        torch_loss_and_gradient(
            torch.nn.functional.binary_cross_entropy_with_logits, x, t, **settings
        ),
    )


def test_bce_at_the_extremes():
    x, t = np.array([1e4, -1e4, 1e4, -1e4], "f4"), np.array([1, 0, 0, 1])
    value, gradient = loss_and_gradient(nn.bce_with_logits, x, t, reduction="none")
    np.testing.assert_array_equal(value, [0, 0, 1e4, 1e4])
    np.testing.assert_array_equal(gradient, [0, 0, 3, -4])
    assert value.dtype == gradient.dtype == np.float32


def test_the_modules_are_the_functions_with_settings():
    logits, targets = draw(6, 3), np.array([0, 1, 2, 1, 9, 0])
    weight = np.array([0.5, 1.0, 2.0])
    settings = {"weight": weight, "ignore_index": 9, "reduction": "sum"}
    pairs = [
        (
            nn.CrossEntropyLoss(**settings, label_smoothing=0.2)(logits, targets),
            nn.cross_entropy(logits, targets, **settings, label_smoothing=0.2),
        ),
        (nn.NLLLoss(**settings)(logits, targets), nn.nll_loss(logits, targets, **settings)),
        (
            nn.BCEWithLogitsLoss(pos_weight=weight, reduction="sum")(logits, logits * 0 + 0.3),
            nn.bce_with_logits(logits, logits * 0 + 0.3, pos_weight=weight, reduction="sum"),
        ),
    ]
    for module, function in pairs:
        assert module.item() == function.item() != 0


@pytest.mark.parametrize("weight", [None, np.array([0.5, 1.0, 2.0])])
def test_float32_stays_float32(weight):
    logits = draw(6, 3).astype("f4")
    for value, gradient in (
        loss_and_gradient(
            nn.cross_entropy, logits, [0, 1, 2, -100, 1, 0], weight=weight, label_smoothing=0.1
        ),
        loss_and_gradient(nn.bce_with_logits, logits, draw(6, 3), weight, weight),
    ):
        assert value.dtype == gradient.dtype == np.float32


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.cross_entropy(np.ones((2, 3)), [0, 3]),
            IndexError,
            r"cross_entropy expects targets from 0 to 2; got 3 at index \(1,\)",
        ),
        (lambda: nn.nll_loss(np.ones((2, 3)), [-1, 0]), IndexError, "nll_loss .* got -1 at index"),
        (
            lambda: nn.cross_entropy(np.ones((2, 3)), [0.0, 1.0]),
            ValueError,
            r"integer targets .* as classes.* floating targets \(2,\)",
        ),
        (lambda: nn.nll_loss(np.ones((2, 3)), [0.0, 1.0]), TypeError, "integer targets"),
        (
            lambda: nn.cross_entropy(np.ones((2, 3)), [0, 1, 2]),
            ValueError,
            r"targets \(...\); got \(2, 3\) and \(3,\)",
        ),
        (
            lambda: nn.cross_entropy(np.ones((2, 3, 5)), np.zeros((2, 5), int)),
            ValueError,
            r"classes on axis 1, as PyTorch has them, give moveaxis",
        ),
        (
            lambda: nn.cross_entropy(np.ones((2, 3)), [0, 1], weight=np.ones(2)),
            ValueError,
            r"a weight for each of 3 classes; got \(2,\)",
        ),
        (lambda: nn.cross_entropy(np.ones((2, 3), int), [0, 1]), TypeError, "floating"),
        (
            lambda: nn.cross_entropy(np.ones((2, 3)), [0, 1], label_smoothing=1.5),
            ValueError,
            "label_smoothing between 0 and 1; got 1.5",
        ),
        (lambda: nn.cross_entropy(np.ones((2, 3)), [0, 1], reduction="avg"), ValueError, "'avg'"),
        (lambda: nn.CrossEntropyLoss(reduction="avg"), ValueError, "'avg'"),
        (
            lambda: nn.cross_entropy(np.ones((2, 3)), [[0.5, 0.5]]),
            ValueError,
            r"floating targets \(..., C\) as their probabilities; got logits \(2, 3\)",
        ),
        (lambda: nn.bce_with_logits(np.ones(3), np.ones(2)), ValueError, "of one shape"),
    ],
)
def test_what_does_not_fit_is_told(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i1", "i8"])
@pytest.mark.parametrize("ignored", [-100, 3, 100])
def test_ids_of_every_integer_dtype(dtype, ignored):
    """Unsigned targets, which cannot hold -1, are computed with as int64."""
    logits = np.random.default_rng(0).normal(size=(4, 3))
    targets = np.array([0, 2, 1, ignored if ignored > 0 else 1])
    expected = nn.cross_entropy(ts.Tensor(logits), targets, ignore_index=ignored)
    for loss, scores in ((nn.cross_entropy, logits), (nn.nll_loss, ts.log_softmax(logits))):
        x = ts.Tensor(scores, requires_grad=True)
        found = loss(x, targets.astype(dtype), ignore_index=ignored)
        found.backward()
        np.testing.assert_allclose(found.item(), expected.item(), rtol=1e-12)
        assert np.isfinite(x.grad.numpy()).all()


def test_ids_beyond_int64_are_refused():
    with pytest.raises(IndexError, match="below 2"):
        nn.cross_entropy(np.zeros((1, 3)), np.array([2**63], dtype="u8"))
