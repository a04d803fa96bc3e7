"""Recurrent layers over a whole sequence, forward and backward, in terms of an array namespace.

The table of kernels: what a backend may replace, one by one, by something faster.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from .gru import gru_backward, gru_forward
from .gru_after import gru_after_backward, gru_after_forward
from .lstm import lstm_backward, lstm_forward
from .rnn import (
    relu_steps,
    relu_steps_backward,
    rnn_backward,
    rnn_forward,
    tanh_steps,
    tanh_steps_backward,
)

KERNELS: dict[str, Callable[..., Any]] = {
    "rnn_tanh_forward": partial(rnn_forward, steps=tanh_steps),
    "rnn_tanh_backward": partial(rnn_backward, steps=tanh_steps_backward),
    "rnn_relu_forward": partial(rnn_forward, steps=relu_steps),
    "rnn_relu_backward": partial(rnn_backward, steps=relu_steps_backward),
    "gru_forward": gru_forward,
    "gru_backward": gru_backward,
    "gru_after_forward": gru_after_forward,
    "gru_after_backward": gru_after_backward,
    "lstm_forward": lstm_forward,
    "lstm_backward": lstm_backward,
}

__all__ = ["KERNELS"]
