"""The recurrent nets once more, as plain NumPy loops: the oracle that needs no other library.

The steps are analytic, so gradients are taken by the complex step, exact to rounding.
"""

from __future__ import annotations

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def tanh_step(w, x, state):
    (h,) = state
    h = np.tanh(w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h + w["bias_hh"])
    return h, (h,)


def gru_before_step(w, x, state):
    (h,) = state
    w_r, w_z, w_n = np.split(w["weight_ih"], 3)
    u_r, u_z, u_n = np.split(w["weight_hh"], 3)
    b_r, b_z, b_n = np.split(w["bias_ih"], 3)
    r = sigmoid(w_r @ x + u_r @ h + b_r)
    z = sigmoid(w_z @ x + u_z @ h + b_z)
    n = np.tanh(w_n @ x + u_n @ (r * h) + b_n)
    h = z * h + (1 - z) * n
    return h, (h,)


def gru_after_step(w, x, state):
    (h,) = state
    w_r, w_z, w_n = np.split(w["weight_ih"], 3)
    u_r, u_z, u_n = np.split(w["weight_hh"], 3)
    b_r, b_z, b_n = np.split(w["bias_ih"], 3)
    c_r, c_z, c_n = np.split(w["bias_hh"], 3)
    r = sigmoid(w_r @ x + b_r + u_r @ h + c_r)
    z = sigmoid(w_z @ x + b_z + u_z @ h + c_z)
    n = np.tanh(w_n @ x + b_n + r * (u_n @ h + c_n))
    h = z * h + (1 - z) * n
    return h, (h,)


def lstm_step(w, x, state):
    h, c = state
    i, f, g, o = np.split(w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h + w["bias_hh"], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    if "weight_hr" in w:
        h = w["weight_hr"] @ h
    return h, (h, c)


def read(step, w, x, state, reverse=False):
    """One sequence x (T, I): outputs (T, H) in their places, and the last state."""
    outputs = [None] * len(x)
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        outputs[t], state = step(w, x[t], state)
    return np.stack(outputs), state


def read_batch(step, w, x, state, lengths=None, reverse=False):
    """A batch x (T, N, I), each sequence alone: outputs (T, N, H), zero past the ends."""
    steps, count = x.shape[:2]
    lengths = [steps] * count if lengths is None else lengths
    outputs, finals = [], []
    for n, length in enumerate(lengths):
        y, last = read(step, w, x[:length, n], tuple(s[n] for s in state), reverse)
        outputs.append(np.concatenate([y, np.zeros((steps - length, y.shape[1]))]))
        finals.append(last)
    return np.stack(outputs, axis=1), tuple(np.stack(part) for part in zip(*finals, strict=True))


def complex_step_gradients(function, arrays):
    """d function(arrays) / d each element of each array, for a dict of float64 arrays."""
    gradients = {}
    for name, array in arrays.items():
        gradient = np.empty_like(array)
        for index in np.ndindex(array.shape):
            moved = array.astype(complex)
            moved[index] += 1e-20j
            gradient[index] = function({**arrays, name: moved}).imag / 1e-20
        gradients[name] = gradient
    return gradients
