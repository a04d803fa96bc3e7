"""What exists computes where it is, whichever backend was chosen for creation by then."""

from __future__ import annotations

import numpy as np
import pytest
from device import host, selected

import tinygrad_seq as ts
from tinygrad_seq import nn, seq
from tinygrad_seq.backend import use_backend
from tinygrad_seq.distributions import Bernoulli, Categorical, Normal, kl_divergence


@pytest.fixture(
    scope="module", params=["fake", pytest.param("cupy", marks=pytest.mark.gpu)], autouse=True
)
def _device(request):
    with selected(request.param):
        yield


LENGTHS = [4, 2, 3]
IDS = np.random.default_rng(0).integers(0, 5, (4, 3))
KEYS = np.random.default_rng(1).normal(size=(4, 3, 6))


def layer(make, **options):
    """A module with ``make``'s answer to a padded batch ``(4, 3, 6)``."""
    return make, lambda net, x: net(x, lengths=LENGTHS, **options)[0]


def trained_in_windows(cell, x):
    """The gradient of a truncated pass, as a vector."""
    cell.zero_grad()
    seq.bptt(cell, x.detach(), lambda t, y: (y * y).sum(), method=seq.Truncated(2))
    return ts.concatenate([p.grad.reshape(-1) for p in cell.parameters()])


CASES = {
    "lstm": layer(lambda: nn.LSTM(6, 4, num_layers=2, dtype="f8")),
    "leaky": layer(lambda: nn.Recurrent(nn.LeakyCell(6, 4, dtype="f8"))),
    "normalised": layer(lambda: nn.Recurrent(nn.LayerNormGRUCell(6, 4, dtype="f8"))),
    "bidirectional": layer(lambda: nn.GRU(6, 4, bidirectional=True, dtype="f8")),
    "zoneout": layer(lambda: nn.Recurrent(nn.Zoneout(nn.GRUCell(6, 4, dtype="f8"), 0.3)).eval()),
    "dot": (nn.DotAttention, lambda net, x: net(x, x, lengths=LENGTHS)[0]),
    "additive": (
        lambda: nn.AdditiveAttention(6, 6, 3, dtype="f8"),
        lambda net, x: net(x, x, lengths=LENGTHS)[0],
    ),
    "layer norm": (lambda: nn.LayerNorm(6, dtype="f8"), lambda net, x: net(x)),
    "feedback": (
        lambda: seq.FeedbackCell(nn.Linear(8, 2, dtype="f8"), 2),
        lambda net, x: nn.Recurrent(net)(x)[0],
    ),
    "forced": (
        lambda: nn.RNNCell(6, 6, dtype="f8"),
        lambda net, x: seq.teacher_forcing(net, x, x)[0],
    ),
    "context": (
        lambda: seq.ContextState(6, nn.LSTMCell(2, 3, dtype="f8")),
        lambda net, x: net(x[0])[0],
    ),
    "windows": (lambda: nn.LSTMCell(6, 3, dtype="f8"), trained_in_windows),
    "rtrl": (
        lambda: nn.RNNCell(6, 3, dtype="f8"),
        lambda net, x: seq.bptt(net, x.detach(), lambda t, y: y.sum(), method=seq.RTRL())[1],
    ),
    "hidden Markov": (
        lambda: seq.hmm.HMM(3, 5, dtype="f8"),
        lambda net, x: net.chain(IDS, LENGTHS).posterior(),
    ),
    "missing symbols": (
        lambda: seq.hmm.HMM(3, 5, dtype="f8"),
        lambda net, x: net.missing(IDS, LENGTHS),
    ),
    "best path": (
        lambda: seq.hmm.HMM(3, 5, dtype="f8"),
        lambda net, x: net.chain(IDS).viterbi()[1],
    ),
    "embedding": (lambda: nn.Embedding(5, 3, padding_idx=0, dtype="f8"), lambda net, x: net(IDS)),
    "cross-entropy": (
        lambda: nn.Linear(6, 5, dtype="f8"),
        lambda net, x: nn.cross_entropy(net(x), IDS, weight=[1.0, 2, 3, 4, 5]),
    ),
    "normal": (
        lambda: nn.Linear(6, 4, dtype="f8"),
        lambda net, x: Normal(net(x)[..., :2], ts.exp(net(x)[..., 2:])).rsample(2),
    ),
    "categorical": (
        lambda: nn.Linear(6, 5, dtype="f8"),
        lambda net, x: (
            Categorical(logits=net(x)).log_prob(IDS) * Categorical(net_probs(net, x)).sample()
        ),
    ),
    "bernoulli": (
        lambda: nn.Linear(6, 5, dtype="f8"),
        lambda net, x: (
            kl_divergence(Bernoulli(logits=net(x)), Bernoulli(net_probs(net, x)))
            + Bernoulli(logits=net(x)).sample()
        ),
    ),
}


def net_probs(net, x):
    return ts.softmax(net(x).detach())


def answers(kind, where, chosen):
    """The result and every gradient of a net that was made on NumPy and moved."""
    make, run = CASES[kind]
    with use_backend("numpy"):
        ts.manual_seed(3)
        net, x = make().to(where), ts.Tensor(KEYS).to(where).detach().requires_grad_()
    with use_backend(chosen):
        ts.manual_seed(4)
        y = run(net, x)
        assert y.backend == where
        if y.requires_grad:
            (y * y).sum().backward()
    grads = [x.grad, *(p.grad for p in net.parameters())]
    assert all(g is None or g.backend == where for g in grads)
    return [host(y), *(None if g is None else host(g) for g in grads)]


@pytest.mark.parametrize("kind", CASES)
def test_a_moved_model_is_the_same_whatever_was_chosen(kind):
    expected = answers(kind, "numpy", "numpy")
    assert sum(g is not None for g in expected) > 1
    for where, chosen in (("cupy", "numpy"), ("numpy", "cupy"), ("cupy", "cupy")):
        for found, value in zip(answers(kind, where, chosen), expected, strict=True):
            assert (found is None) == (value is None)
            if value is not None:
                assert found.dtype == value.dtype
                np.testing.assert_allclose(found, value, rtol=1e-10, atol=1e-12)


def test_transforms_go_where_their_argument_is():
    with use_backend("numpy"):
        x = ts.Tensor([0.3, -1.2], dtype="f8").to("cupy").detach()
        results = (
            ts.jacobian(lambda x: ts.sin(x) * x.sum())(x),
            ts.jacobian(lambda x: x[:0] * 1)(x),
            ts.hessian(lambda x: ts.sin(x * x).sum())(x),
            ts.hvp(lambda x: ts.sin(x * x).sum(), x, np.array([1.0, 2.0])),
            ts.jvp(ts.sin, (x,), (np.array([1.0, 2.0]),))[1],
            ts.recompute(ts.sin, x),
        )
    assert [t.backend for t in results] == ["cupy"] * 6


def test_what_a_moved_model_writes():
    """Sampling, a beam and a fit by Baum-Welch, on either side."""
    found = []
    for where, chosen in (("numpy", "numpy"), ("cupy", "numpy"), ("numpy", "cupy")):
        with use_backend("numpy"):
            ts.manual_seed(5)
            model = seq.EncoderDecoder(5, 6, 3, 4, nn.DotAttention()).to(where)
            hidden = seq.hmm.HMM(2, 5).to(where)
        with use_backend(chosen):
            ts.manual_seed(6)
            start, state = np.zeros(3, int), model.encode(IDS, LENGTHS)
            drawn = seq.written(
                seq.generate(model.step, start, state, length=4, choose=seq.sample(seq.top_k(3)))
            )
            beams = seq.beam_search(model.step, start, state, width=3, length=4, end=5)
            h, x = hidden.sample(6, 3)
            history = hidden.baum_welch(x, iterations=3)
        assert hidden.transition.backend == where
        best = [hypothesis.tokens.tolist() for beam in beams for hypothesis in beam]
        written = ([row.tolist() for row in drawn], best, h.tolist(), x.tolist())
        found.append((written, history))
    for written, history in found[1:]:
        assert written == found[0][0]
        np.testing.assert_allclose(history, found[0][1], rtol=1e-5)
