"""Recurrent layers as fused operations: one node per layer and direction.

The arithmetic is in ``backend/recurrence``, equations and derivatives side by side; a backend may
have a faster form of it. The specification of each is its cell unrolled (``nn.Recurrent.unroll``).
"""

from __future__ import annotations

from typing import Any

from ..autograd.fused import Fused
from ..backend import backend_of, xp


def _fused(name: str, arguments: str) -> Fused:
    """The fused operation of the kernels ``<name>_forward`` and ``<name>_backward``."""

    def forward(x: Any, *arrays: Any, keep: bool, **params: Any) -> Any:
        kernel = backend_of(x).kernels[f"{name}_forward"]
        return kernel(xp(x), x, *arrays, keep=keep, **params)

    def backward(*gradients_and_more: Any) -> Any:
        kernel = backend_of(gradients_and_more[0]).kernels[f"{name}_backward"]
        return kernel(xp(gradients_and_more[0]), *gradients_and_more)

    return Fused(name, tuple(arguments.split()), forward, backward)


rnn_tanh = _fused("rnn_tanh", "x h0 W U b c")
rnn_relu = _fused("rnn_relu", "x h0 W U b c")
gru = _fused("gru", "x h0 W U b")
gru_after = _fused("gru_after", "x h0 W U b c")
lstm = _fused("lstm", "x h0 c0 W U b c R")
