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
    relu_gates,
    relu_gates_backward,
    rnn_backward,
    rnn_forward,
    tanh_gates,
    tanh_gates_backward,
)

KERNELS: dict[str, Callable[..., Any]] = {
    "rnn_tanh_forward": partial(rnn_forward, gates=tanh_gates),
    "rnn_tanh_backward": partial(rnn_backward, gates=tanh_gates_backward),
    "rnn_relu_forward": partial(rnn_forward, gates=relu_gates),
    "rnn_relu_backward": partial(rnn_backward, gates=relu_gates_backward),
    "gru_forward": gru_forward,
    "gru_backward": gru_backward,
    "gru_after_forward": gru_after_forward,
    "gru_after_backward": gru_after_backward,
    "lstm_forward": lstm_forward,
    "lstm_backward": lstm_backward,
}

__all__ = ["KERNELS"]
