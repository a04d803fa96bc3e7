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


def gates(w, x, h, count):
    """The sums of the gates, for as many as there are."""
    sums = w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h + w["bias_hh"]
    return np.split(sums, count)


def peephole_step(w, x, state):
    h, c = state
    i, f, g, o = gates(w, x, h, 4)
    p_i, p_f, p_o = np.split(w["weight_peephole"], 3)
    c_new = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
    h = sigmoid(o + p_o * c_new) * np.tanh(c_new)
    return h, (h, c_new)


def coupled_step(w, x, state):
    h, c = state
    f, g, o = gates(w, x, h, 3)
    p_f, p_o = np.split(w["weight_peephole"], 2) if "weight_peephole" in w else (0, 0)
    f = sigmoid(f + p_f * c)
    c_new = f * c + (1 - f) * np.tanh(g)
    h = sigmoid(o + p_o * c_new) * np.tanh(c_new)
    return h, (h, c_new)


ALPHA = np.array([0.0, 0.3, 0.8, 1.0])


def leaky_step(w, x, state):
    (h,) = state
    alpha = sigmoid(w["weight_alpha"]) if "weight_alpha" in w else ALPHA
    h = alpha * h + (1 - alpha) * tanh_step(w, x, state)[0]
    return h, (h,)


def normalised(w, name, a):
    """Layer normalisation of a vector, with the weights of the part ``name``."""
    centred = a - a.mean()
    return centred / np.sqrt((centred**2).mean() + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def norm_rnn_step(w, x, state):
    (h,) = state
    h = np.tanh(normalised(w, "norm", w["weight_ih"] @ x + w["weight_hh"] @ h))
    return h, (h,)


def norm_gru_step(w, x, state):
    (h,) = state
    x_r, x_z, x_n = np.split(w["weight_ih"] @ x, 3)
    h_r, h_z, h_n = np.split(w["weight_hh"] @ h, 3)
    x_rz = normalised(w, "norm_ih_rz", np.concatenate([x_r, x_z]))
    h_rz = normalised(w, "norm_hh_rz", np.concatenate([h_r, h_z]))
    r, z = np.split(sigmoid(x_rz + h_rz), 2)
    n = np.tanh(normalised(w, "norm_ih_n", x_n) + r * normalised(w, "norm_hh_n", h_n))
    h = z * h + (1 - z) * n
    return h, (h,)


def norm_lstm_step(w, x, state):
    h, c = state
    sums = normalised(w, "norm_ih", w["weight_ih"] @ x)
    sums = sums + normalised(w, "norm_hh", w["weight_hh"] @ h)
    i, f, g, o = np.split(sums, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(normalised(w, "norm_c", c))
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


def complex_step_along(function, arrays, direction):
    """d function(arrays + s direction) / ds, which is Σ ⟨gradient, direction⟩ over the arrays."""
    moved = {name: array + 1e-20j * direction[name] for name, array in arrays.items()}
    return function(moved).imag / 1e-20
