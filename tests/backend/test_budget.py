"""What a training step may ask of a GPU, counted on the fake one: launches, copies, waits."""

from __future__ import annotations

import numpy as np
import pytest
from device import counts, fake

import tinygrad_seq as ts
from tinygrad_seq import nn, optim, seq
from tinygrad_seq.backend import use_backend
from tinygrad_seq.distributions import Categorical, Normal


@pytest.fixture(autouse=True)
def _on_the_fake_device():
    with fake(), use_backend("cupy"):
        yield


def counted(computation):
    """The result, and what it cost."""
    counts.reset()
    result = computation()
    return result, dict(vars(counts))


def passes(layer, steps):
    """What a forward and a backward of so many steps cost, once the layer is known."""
    x = ts.Tensor(np.ones((steps, 3, 4), "f4"), requires_grad=True)
    net = layer(4, 5)
    net(x)  # the first time its loop is derived, and compared with the cell
    (y, _), ahead = counted(lambda: net(x))
    upstream = ts.ones(*y.shape)
    _, back = counted(lambda: y.backward(upstream))
    return ahead, back


LAYERS = {
    "RNN": (nn.RNN, {}, 2, 2),
    "LSTM": (nn.LSTM, {}, 2, 2),
    "LSTM projected": (nn.LSTM, {"proj_size": 2}, 3, 4),
    "GRU": (nn.GRU, {}, 4, 4),
    "GRU reset after": (nn.GRU, {"reset_after": True}, 2, 2),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_launches_per_step(kind):
    """At most 4 forward and 4 backward; nothing is copied, nothing waits."""
    layer, options, forward, backward = LAYERS[kind]
    short, long = (passes(lambda *s: layer(*s, **options), T) for T in (3, 13))
    for few, many, budget in zip(short, long, (forward, backward), strict=True):
        assert many["launches"] - few["launches"] == 10 * budget <= 40
        assert many["uploads"] == many["downloads"] == many["waits"] == 0


class Model(nn.Module):
    def __init__(self):
        self.embed = nn.Embedding(11, 6)
        self.recur = nn.LSTM(6, 8, num_layers=2, dropout=0.1)
        self.read = nn.Linear(8, 11)

    def forward(self, ids, state=None):
        y, state = self.recur(self.embed(ids), state)
        return self.read(y), state


@pytest.mark.parametrize("make", [optim.Adam, optim.SGD, optim.RMSprop, optim.AdamW])
def test_a_training_step_neither_waits_nor_copies(make):
    """Ids and targets go to the device, once each; the loss is read only when it is shown.

    The first step of all is another matter: there derived loops are compared with their cells.
    """
    model = Model()
    optimizer = make(model.parameters(), lr=0.01)
    rng = np.random.default_rng(0)
    inputs, targets = rng.integers(0, 11, (2, 7, 3))
    state = None

    def step():
        nonlocal state
        scores, state = model(inputs, state)
        loss = nn.cross_entropy(scores, targets)
        optimizer.zero_grad()
        loss.backward()
        norm = optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        state = tuple(part.detach() for part in state)
        return loss, norm

    step()
    for _ in range(3):
        (loss, norm), cost = counted(step)
        assert (cost["uploads"], cost["downloads"], cost["waits"]) == (2, 0, 0)
    (_, cost) = counted(lambda: (loss.item(), float(norm)))
    assert cost["waits"] == cost["downloads"] == 2


@pytest.mark.parametrize("method", [seq.Full(), seq.Truncated(4), seq.Randomised(0.7)], ids=repr)
def test_a_sequence_read_in_windows_waits_once_at_its_end(method):
    """However many windows it has: its loss is read when all of it has been gone through."""
    model = Model()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    inputs, targets = np.random.default_rng(0).integers(0, 11, (2, 12, 3))

    def cell(ids, state):
        h, state = model.recur(model.embed(ids)[None], state)
        return model.read(h[0]), state

    def update():
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def loss(t, scores):
        return nn.cross_entropy(scores, targets[t])

    def read():
        return seq.bptt(cell, inputs, loss, method=method, update=update)

    read()  # the first time loops are derived, and compared with their cells
    for _ in range(2):
        (total, _), cost = counted(read)
        assert cost["waits"] == cost["downloads"] == 1
        assert 0 < total < 12 * np.log(20)


@pytest.mark.parametrize("attention", [nn.DotAttention(), nn.AdditiveAttention(8, 8, 5)])
def test_a_training_step_with_attention_does_not_wait(attention):
    """Lengths, ids and masks are host data; scores, weights and the loss stay on the device."""
    model = seq.EncoderDecoder(7, 11, 6, 8, attention.to("cupy"))
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    rng = np.random.default_rng(0)
    source, target, lengths = rng.integers(0, 7, (5, 3)), rng.integers(0, 11, (6, 3)), [5, 2, 4]

    def step():
        loss = nn.cross_entropy(model(source, target[:-1], lengths), target[1:])
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    step()  # the first time the loops are derived, and compared with their cells
    for _ in range(2):
        _, cost = counted(step)
        assert cost["waits"] == cost["downloads"] == 0


def test_writing_reads_the_scores_once_for_each_token():
    model = seq.EncoderDecoder(7, 11, 6, 8, nn.DotAttention())
    state = model.encode(np.ones((4, 3), int), [4, 2, 3])
    writers = (
        lambda: list(seq.generate(model.step, [0, 1, 2], state, length=5, choose=seq.sample())),
        lambda: seq.beam_search(model.step, [0, 1, 2], state, width=4, length=5, end=10),
    )
    for write in writers:
        _, cost = counted(write)
        assert cost["waits"] == cost["downloads"] == 5


def test_a_distribution_reads_a_boolean_for_each_thing_it_asks():
    """Not its parameters; a sample is copied to the device, and nothing comes back."""
    mean, width = ts.zeros(50, requires_grad=True), ts.ones(50, requires_grad=True)
    normal, cost = counted(lambda: Normal(mean, width))
    assert cost["waits"] == 2
    _, cost = counted(lambda: (normal.rsample(3).sum() + normal.entropy().sum()).backward())
    assert (cost["waits"], cost["downloads"], cost["uploads"]) == (0, 0, 1)
    classes, cost = counted(lambda: Categorical(logits=ts.zeros(3, 4)))
    assert cost["waits"] == 2
    _, cost = counted(lambda: (classes.sample(5), classes.log_prob([0, 1, 2]), classes.entropy()))
    assert cost["waits"] == cost["downloads"] == 0


def test_a_hidden_chain_is_read_only_to_check_its_tables():
    """Three tables, whether they hold NaN; however long the sequence, and back."""
    model = seq.hmm.HMM(3, 5)
    for steps in (2, 20):
        x = np.random.default_rng(0).integers(0, 5, (steps, 4))
        _, cost = counted(lambda x=x: (-model(x).mean()).backward())
        assert cost["waits"] == cost["downloads"] == 3


def test_padding_is_one_copy_of_the_mask_for_each_use():
    """Lengths are checked on the host; which steps are read goes over as it is needed."""
    net, x = nn.LSTM(4, 5), ts.zeros(6, 3, 4)
    net(x, lengths=np.array([6, 2, 4]))  # its loop is derived, and compared with the cell
    _, cost = counted(lambda: net(x, lengths=np.array([6, 2, 4])))
    assert cost["uploads"] <= 2
    assert cost["waits"] == cost["downloads"] == 0


@pytest.mark.parametrize(("make", "launches"), [(optim.SGD, 2), (optim.Adam, 2)])
def test_an_optimizer_step_is_one_gathering_and_one_kernel(make, launches):
    """However many parameters there are."""
    params = [ts.ones(k, 3, requires_grad=True) for k in range(1, 20)]
    optimizer = make(params)
    for p in params:
        p.grad = ts.ones(*p.shape)
    optimizer.step()
    _, cost = counted(optimizer.step)
    assert cost["launches"] == launches
    assert cost["uploads"] == cost["waits"] == 0


def test_cross_entropy_is_a_few_kernels():
    """The largest score, Σ e^x, the losses, their sum and mean; back one beside the scalars."""
    scores = ts.Tensor(np.ones((12, 7), "f4"), requires_grad=True)
    loss, ahead = counted(lambda: nn.cross_entropy(scores, np.zeros(12, int)))
    _, back = counted(loss.backward)
    assert ahead["launches"] <= 6
    assert back["launches"] <= 8
    assert ahead["waits"] == back["waits"] == 0


def test_adding_rows_up_waits_for_nothing():
    table = nn.Embedding(9, 4)
    y = table(np.array([1, 1, 3]))
    _, cost = counted(y.sum().backward)
    assert cost["waits"] == cost["uploads"] == cost["downloads"] == 0
