"""Nets and graphs that the tests of viz look into."""

import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import nn


def halve(x, state):
    """A cell that is a closure over nothing."""
    total = 0.5 * (0 if state is None else state) + x
    return total, total


class Own(nn.Module):
    """A user's cell, with a module of its own inside."""

    def __init__(self, size, hidden):
        self.mix = nn.Linear(size + hidden, hidden)

    def initial_state(self, batch_shape=()):
        return ts.zeros((*batch_shape, self.mix.weight.shape[0]))

    def forward(self, x, state):
        h = ts.tanh(self.mix(ts.concatenate([x, state], axis=-1)))
        return h, h


CELLS = {
    "rnn": nn.RNNCell,
    "gru": nn.GRUCell,
    "gru_after": lambda i, h: nn.GRUCell(i, h, reset_after=True),
    "lstm": nn.LSTMCell,
    "lstm_proj": lambda i, h: nn.LSTMCell(i, h + 1, proj_size=h),
    "peephole": nn.PeepholeLSTMCell,
    "coupled": nn.CoupledLSTMCell,
    "leaky": lambda i, h: nn.LeakyCell(i, h, learned=True),
    "norm_rnn": nn.LayerNormRNNCell,
    "norm_gru": nn.LayerNormGRUCell,
    "norm_lstm": nn.LayerNormLSTMCell,
    "own": Own,
    "zoneout": lambda i, h: nn.Zoneout(nn.LSTMCell(i, h), 0.2),
    "variational": lambda i, h: nn.VariationalDropout(nn.GRUCell(i, h), 0.2, 0.2),
    "both": lambda i, h: nn.Zoneout(nn.VariationalDropout(nn.GRUCell(i, h), 0.2, 0.2), 0.1),
}

LAYERS = {
    "rnn": lambda: nn.RNN(3, 4, 2),
    "gru": lambda: nn.GRU(3, 4, bidirectional=True),
    "lstm": lambda: nn.LSTM(3, 4, 2, bidirectional=True, dropout=0.3),
    "stacked": lambda: nn.Stacked(nn.Recurrent(nn.GRUCell(3, 4)), nn.LSTM(4, 2)),
    "reverse": lambda: nn.Recurrent(nn.LSTMCell(3, 4), reverse=True),
    **{f"recurrent_{k}": lambda make=make: nn.Recurrent(make(3, 4)) for k, make in CELLS.items()},
}


class Tagger(nn.Module):
    """Words to tags, through one GRU."""

    def __init__(self):
        self.embed = nn.Embedding(7, 2)
        self.rnn = nn.Recurrent(nn.RNNCell(2, 3))
        self.head = nn.Linear(3, 2)

    def forward(self, ids):
        return self.head(self.rnn(self.embed(ids))[0])


def tagger_loss(steps=4):
    """The loss of a small Tagger."""
    ts.manual_seed(0)
    ids = np.arange(steps)[:, None] % 7
    return (Tagger()(ids) ** 2).mean()


def chain(length):
    """A scalar and one operation after another on it."""
    x = ts.tensor(0.5, requires_grad=True, name="x")
    y = x
    for _ in range(length):
        y = y + 1.0
    return y


def recurrence(steps):
    """A hand-written recurrence: one weight, used at every step."""
    w = nn.Parameter(np.eye(2, dtype="f4"), name="w")
    h = ts.ones((1, 2))
    for _ in range(steps):
        h = ts.tanh(h @ w)
    return h
