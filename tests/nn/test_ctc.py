"""CTC against the sum over every path, PyTorch, and what must hold of it in any case."""

import itertools

import numpy as np
import pytest
from along import second_order_along_a_line
from device import host
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.testing import check_float32, gradcheck

pytestmark = pytest.mark.usefixtures("backend")

SEEDS = st.integers(0, 2**16)


def what_it_says(path, blank):
    """Repeats merged, then blanks left out."""
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def by_enumeration(log_probs, labels, blank):
    """-ln of the sum over all paths of one sequence (T, C) that say ``labels``."""
    steps, classes = log_probs.shape
    total = sum(
        np.exp(sum(log_probs[t, c] for t, c in enumerate(path)))
        for path in itertools.product(range(classes), repeat=steps)
        if what_it_says(path, blank) == tuple(labels)
    )
    with np.errstate(divide="ignore"):
        return -np.log(total)


def draw(seed, steps, batch, classes, width, blank=0, fits=False):
    """Scores (not normalised), labels without the blank, and lengths, some of them 0."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(steps, batch, classes))
    labels = rng.integers(0, classes - 1, (batch, width))
    labels += labels >= blank
    times = rng.integers(0, steps + 1, batch)
    counts = rng.integers(0, width + 1, batch)
    if fits:
        times[:] = steps
        counts = np.minimum(counts, (steps + 1) // 2)
    return scores, labels, times, counts


@given(
    seed=SEEDS,
    steps=st.integers(0, 4),
    batch=st.integers(1, 3),
    classes=st.integers(2, 3),
    width=st.integers(0, 3),
    data=st.data(),
)
def test_it_is_the_sum_over_all_paths(seed, steps, batch, classes, width, data):
    blank = data.draw(st.integers(0, classes - 1))
    scores, labels, times, counts = draw(seed, steps, batch, classes, width, blank)
    padded = scores.copy()
    padded[np.arange(steps)[:, None] >= times] = np.nan  # whatever padding holds
    x = ts.Tensor(padded, requires_grad=True)
    losses = nn.ctc_loss(x, labels, times, counts, blank=blank, reduction="none")
    for n in range(batch):
        expected = by_enumeration(scores[: times[n], n], labels[n, : counts[n]], blank)
        np.testing.assert_allclose(host(losses)[n], expected, rtol=1e-12, atol=1e-12)
    losses.sum().backward()
    impossible = np.isinf(host(losses))
    outside = (np.arange(steps)[:, None] >= times) | impossible
    assert not host(x.grad)[outside].any()
    # Unless it is impossible, something is said at each step: the posterior sums to 1.
    np.testing.assert_allclose(-host(x.grad).sum(axis=-1)[~outside], 1, rtol=0, atol=1e-12)


@given(seed=SEEDS, steps=st.integers(1, 5), width=st.integers(0, 3))
def test_gradients_of_first_and_second_order(seed, steps, width):
    scores, labels, _, counts = draw(seed, steps, 2, 3, width, fits=True)
    counts = np.minimum(counts, 1 if steps < 3 else counts)

    def loss(x):
        return nn.ctc_loss(x, labels, target_lengths=counts, reduction="none")

    gradcheck(loss, scores)
    second_order_along_a_line(loss, scores)
    check_float32(loss, scores)


@given(
    seed=SEEDS,
    shape=st.tuples(st.integers(1, 12), st.integers(1, 4), st.integers(2, 6), st.integers(1, 5)),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    zero=st.booleans(),
)
def test_it_equals_pytorch(seed, shape, reduction, zero):
    torch = pytest.importorskip("torch")
    scores, labels, times, counts = draw(seed, *shape)
    times = np.maximum(times, 1)
    theirs = torch.tensor(scores, requires_grad=True)
    expected = torch.nn.functional.ctc_loss(
        theirs.log_softmax(-1),
        torch.tensor(labels),
        torch.tensor(times),
        torch.tensor(counts),
        reduction=reduction,
        zero_infinity=zero,
    )
    x = ts.Tensor(scores, requires_grad=True)
    loss = nn.ctc_loss(
        ts.log_softmax(x), labels, times, counts, reduction=reduction, zero_infinity=zero
    )
    np.testing.assert_allclose(host(loss), expected.detach().numpy(), rtol=1e-12, atol=1e-12)
    finite = np.isfinite(host(loss))
    if not finite.all():
        return
    loss.sum().backward()
    expected.sum().backward()
    np.testing.assert_allclose(host(x.grad), theirs.grad.numpy(), rtol=0, atol=1e-12)


def test_a_long_sequence_in_float32_keeps_its_digits():
    scores, labels, *_ = draw(0, 2000, 1, 5, 300)
    x, exact = (ts.Tensor(scores.astype(d), requires_grad=True) for d in ("f4", "f8"))
    nn.ctc_loss(ts.log_softmax(x), labels).backward()
    nn.ctc_loss(ts.log_softmax(exact), labels).backward()
    assert x.grad.dtype == np.float32
    np.testing.assert_allclose(host(x.grad), host(exact.grad), rtol=0, atol=1e-8)


def test_what_does_not_fit_is_infinite_or_counts_for_nothing():
    scores, _, _, _ = draw(0, 3, 3, 3, 0)
    labels = np.array([[1, 1, 2], [1, 2, 1], [1, 0, 0]])  # 1, 1 needs a blank: four steps
    x = ts.Tensor(scores, requires_grad=True)
    losses = nn.ctc_loss(x, labels, target_lengths=[3, 3, 1], reduction="none")
    np.testing.assert_array_equal(np.isinf(host(losses)), [True, False, False])
    losses = nn.ctc_loss(x, labels, target_lengths=[3, 3, 1], reduction="none", zero_infinity=True)
    assert host(losses)[0] == 0
    losses.sum().backward()
    gradient = host(x.grad)
    assert not gradient[:, 0].any()
    assert gradient[:, 1:].any(axis=-1).all()


@pytest.mark.parametrize("kind", ["u1", "u8", "i4"])
def test_labels_of_any_integers_padded_or_in_a_row(kind):
    scores, labels, times, _ = draw(3, 9, 3, 4, 3)
    times[:], counts = [9, 8, 7], np.array([3, 0, 2], kind)
    expected = host(nn.ctc_loss(scores, labels, times, counts.astype(int), reduction="none"))
    beyond = np.where(np.arange(3) < counts[:, None], labels, 200).astype(kind)
    row = np.concatenate([labels[n, : counts[n]] for n in range(3)]).astype(kind)
    for targets in (beyond, row, ts.Tensor(row)):
        loss = nn.ctc_loss(scores, targets, times.astype(kind), counts, reduction="none")
        np.testing.assert_array_equal(host(loss), expected)


def test_one_sequence_without_a_batch():
    scores, labels, _, _ = draw(1, 6, 1, 4, 2)
    batched = nn.ctc_loss(scores, labels, [5], reduction="none")
    alone = nn.ctc_loss(scores[:, 0], labels[0], 5, reduction="none")
    assert alone.shape == ()
    assert alone.item() == batched[0].item()


def test_no_sequences_and_no_steps():
    x = ts.Tensor(np.zeros((4, 0, 3)), requires_grad=True)
    loss = nn.ctc_loss(x, np.zeros((0, 2), int))
    loss.backward()
    assert loss.item() == 0
    assert x.grad.shape == x.shape
    x = ts.Tensor(np.zeros((0, 2, 3)), requires_grad=True)
    loss = nn.ctc_loss(x, [[1], [1]], target_lengths=[0, 1], reduction="none")
    np.testing.assert_array_equal(host(loss), [0, np.inf])
    loss.sum().backward()
    assert x.grad.shape == x.shape


def test_the_module_is_the_function_with_settings():
    scores, labels, times, counts = draw(5, 5, 4, 4, 3, blank=3)
    module = nn.CTCLoss(blank=3, reduction="sum", zero_infinity=True)
    expected = nn.ctc_loss(scores, labels, times, counts, 3, "sum", True)
    assert module(scores, labels, times, counts).item() == expected.item() != 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: nn.ctc_loss(x, [[1, 4]] * 2), IndexError, r"from 0 to 3; got 4 at index \(0, 1"),
        (lambda x: nn.ctc_loss(x, [[1, 0]] * 2), ValueError, "the blank, 0; sequence 0 .*at 1"),
        (lambda x: nn.ctc_loss(x, [[1.0]] * 2), TypeError, "integer targets"),
        (lambda x: nn.ctc_loss(x, [[1]] * 2, blank=4), IndexError, "blank from 0 to 3; got 4"),
        (lambda x: nn.ctc_loss(x, [[1, 2]]), ValueError, r"N = 2 .* got \(1, 2\)"),
        (lambda x: nn.ctc_loss(x, [[1, 2]] * 3), ValueError, r"got \(3, 2\): give targets.T"),
        (lambda x: nn.ctc_loss(x, [1, 2]), ValueError, "in a row need target_lengths"),
        (lambda x: nn.ctc_loss(x, [1, 2], None, [1, 2]), ValueError, "2 labels .*sum to 3"),
        (lambda x: nn.ctc_loss(x, [[1]] * 2, [5, 6]), ValueError, "from 0 to 5; sequence 1 has 6"),
        (lambda x: nn.ctc_loss(x, [[1]] * 2, [5]), ValueError, "each of 2 sequences"),
        (lambda x: nn.ctc_loss(x, [[1]] * 2, None, [1, -1]), ValueError, "sequence 1 has -1"),
        (lambda x: nn.ctc_loss(x, [[1]] * 2, reduction="avg"), ValueError, "'avg'"),
        (lambda x: nn.ctc_loss(x.astype(int), [[1]] * 2), TypeError, "floating"),
        (lambda x: nn.ctc_loss(x[0, 0], [1]), ValueError, r"log_probs \(T, N, C\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(call, error, message):
    with pytest.raises(error, match=message):
        call(np.zeros((5, 2, 4)))
