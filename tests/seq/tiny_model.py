"""A small untrained model in float64, whose choices are far from certain and far from equal."""

import tinygrad_seq as ts
from tinygrad_seq import nn


def tiny_model(seed, vocabulary=4, hidden=3, kind=nn.LSTM):
    """A step function, and what gives its first state for N sequences."""
    ts.manual_seed(seed)
    embed = nn.Embedding(vocabulary, hidden, dtype="f8")
    recur = kind(hidden, hidden, num_layers=2, dtype="f8")
    read = nn.Linear(hidden, vocabulary, dtype="f8")

    @ts.no_grad()
    def step(tokens, state):
        h, state = recur(embed(tokens[None]), state)
        return 9 * read(h[0]), state

    return step, lambda n: recur.initial_state((n,))
