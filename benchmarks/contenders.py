"""Who races: each function builds one training step of an LSTM, GRU or RNN layer in one library.

``step()`` does forward and backward for given weights, input and upstream gradient, and returns the
output and the gradients of the input and the two weight matrices, to compare; or, for "inference"
and "tokens", the forward alone. This file is run as a process of its own for each contender (two
BLAS or OpenMP pools in one process fight):

    python contenders.py NAME KIND ROW.npz training|inference|tokens

It then answers each line on standard input with the seconds of one timed batch of steps.
"""

from __future__ import annotations

import importlib.util
import os
import sys

import numpy as np
import racing

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def tinygrad_seq(kind, data, what, unrolled=False, jit=False):
    import tinygrad_seq as ts
    from tinygrad_seq import nn

    ts.use_jit(jit)
    size, hidden = data["x"].shape[2], data["weight_hh"].shape[1]
    form = {"reset_after": True} if kind == "GRU" else {}
    layer = getattr(nn, kind)(size, hidden, **form)
    layer.load_state_dict(
        {f"{k}_l0": v for k, v in data.items() if k.startswith(("weight", "bias"))}
    )
    x, g = ts.tensor(data["x"], requires_grad=True), ts.Tensor(data["g"])

    def step():
        x.grad = None
        layer.zero_grad()
        y, _ = layer(x)
        y.backward(g)
        return y.data, x.grad.data, layer.weight_ih_l0.grad.data, layer.weight_hh_l0.grad.data

    if what != "training":
        plain = x.detach()
        return ts.no_grad()(lambda: (read(layer, plain, what, ts.concatenate).data,))
    return nn.unrolled()(step) if unrolled else step


def tinygrad_seq_unrolled(kind, data, what):
    return tinygrad_seq(kind, data, what, unrolled=True)


def tinygrad_seq_jit(kind, data, what):
    return tinygrad_seq(kind, data, what, jit=True)


def read(layer, x, what, concatenate):
    """The output for x, all steps at once, or a token at a time with the state carried over."""
    if what == "inference":
        return layer(x)[0]
    outputs, state = [], None
    for t in range(len(x)):
        y, state = layer(x[t : t + 1], state)
        outputs.append(y)
    return concatenate(outputs)


def torch(kind, data, what):
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    size, hidden = data["x"].shape[2], data["weight_hh"].shape[1]
    layer = getattr(torch.nn, kind)(size, hidden)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(layer, f"{name}_l0").data = torch.from_numpy(data[name])
    x, g = torch.from_numpy(data["x"]).requires_grad_(), torch.from_numpy(data["g"])

    def step():
        x.grad = None
        layer.zero_grad()
        y, _ = layer(x)
        y.backward(g)
        w = layer.weight_ih_l0.grad, layer.weight_hh_l0.grad
        return tuple(t.detach().numpy() for t in (y, x.grad, *w))

    if what != "training":
        plain = x.detach()
        return torch.no_grad()(lambda: (read(layer, plain, what, torch.cat).numpy(),))
    return step


def torch_eager(kind, data, what):
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    x, g = torch.from_numpy(data["x"]).requires_grad_(), torch.from_numpy(data["g"])
    w, u, b, c = (
        torch.from_numpy(data[n]).requires_grad_()
        for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )

    def step():
        for t in (x, w, u, b, c):
            t.grad = None
        y = _unrolled(
            torch, kind, (x @ w.T + b).unbind(), u, c, lambda v, n: v.chunk(n, -1), torch.stack
        )
        y.backward(g)
        return tuple(t.detach().numpy() for t in (y, x.grad, w.grad, u.grad))

    return step


def _unrolled(np, kind, wx, u, c, chunk, stack, zeros=None):
    """The equations, step by step, in whichever library ``np`` is."""
    sigmoid = getattr(np, "sigmoid", None) or (lambda v: 0.5 * np.tanh(0.5 * v) + 0.5)
    h = (zeros or np.zeros)((wx[0].shape[0], u.shape[1]))
    cell, outputs = h, []
    ut = u.T
    for t in range(len(wx)):
        uh = h @ ut + c
        if kind == "RNN":
            h = np.tanh(wx[t] + uh)
        elif kind == "GRU":
            (xr, xz, xn), (hr, hz, hn) = chunk(wx[t], 3), chunk(uh, 3)
            r, z = sigmoid(xr + hr), sigmoid(xz + hz)
            n = np.tanh(xn + r * hn)
            h = n + z * (h - n)
        else:
            i, f, g, o = chunk(wx[t] + uh, 4)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(cell)
        outputs.append(h)
    return stack(outputs)


def jax(kind, data, what):
    import jax
    import jax.numpy as jnp

    def forward(x, w, u, b, c):
        wx = x @ w.T + b

        def one(state, row):
            h, cell = state
            uh = h @ u.T + c
            if kind == "RNN":
                h = jnp.tanh(row + uh)
            elif kind == "GRU":
                (xr, xz, xn), (hr, hz, hn) = jnp.split(row, 3, -1), jnp.split(uh, 3, -1)
                r, z = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xz + hz)
                n = jnp.tanh(xn + r * hn)
                h = n + z * (h - n)
            else:
                i, f, g, o = jnp.split(row + uh, 4, -1)
                cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
                h = jax.nn.sigmoid(o) * jnp.tanh(cell)
            return (h, cell), h

        zeros = jnp.zeros((x.shape[1], u.shape[1]), x.dtype)
        return jax.lax.scan(one, (zeros, zeros), wx)[1]

    @jax.jit
    def both(g, *args):
        y, pullback = jax.vjp(forward, *args)
        return y, pullback(g)

    args = [jnp.asarray(data[n]) for n in ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    g = jnp.asarray(data["g"])

    def step():
        y, (x_, w_, u_, *_) = both(g, *args)
        return tuple(np.asarray(t) for t in (y, x_, w_, u_))

    return step


def autograd(kind, data, what):
    import autograd.numpy as anp
    from autograd import make_vjp

    def forward(args):
        x, w, u, b, c = args
        return _unrolled(
            anp, kind, anp.dot(x, w.T) + b, u, c,
            lambda v, n: anp.split(v, n, axis=-1), anp.stack, lambda s: anp.zeros(s, "f4"),
        )  # fmt: skip

    args = tuple(data[n] for n in ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh"))

    def step():
        pullback, y = make_vjp(forward)(args)
        return (y, *pullback(data["g"])[:3])

    return step


def mygrad(kind, data, what):
    import mygrad as mg

    leaves = [mg.tensor(data[n]) for n in ("x", "weight_ih", "weight_hh", "bias_ih", "bias_hh")]

    def step():
        x, w, u, b, c = leaves
        for t in leaves:
            t.null_grad()

        def chunk(v, n):
            size = v.shape[-1] // n
            return [v[..., k * size : (k + 1) * size] for k in range(n)]

        wx = mg.matmul(x, w.T) + b
        zeros = np.zeros((data["x"].shape[1], data["weight_hh"].shape[1]), "f4")
        y = _unrolled(mg, kind, wx, u, c, chunk, mg.stack, lambda _: mg.tensor(zeros))
        (y * data["g"]).sum().backward()
        return y.data, x.grad, w.grad, u.grad

    return step


def products(kind, data, what):
    """Only the matrix products that the equations need, in the best layout: the floor."""
    x, w, u, g = (data[n] for n in ("x", "weight_ih", "weight_hh", "g"))
    steps, batch, size = x.shape
    wt, ut = np.ascontiguousarray(w.T), np.ascontiguousarray(u.T)
    flat, h = x.reshape(-1, size), np.ascontiguousarray(g[0])
    a, one = np.ones((steps * batch, w.shape[0]), "f4"), np.ones((batch, w.shape[0]), "f4")
    up, down = np.empty_like(one), np.empty_like(h)

    def step():
        flat @ wt
        for _ in range(steps):
            np.matmul(h, ut, up)
        for _ in range(steps):
            np.matmul(one, u, down)
        a @ w, a.T @ flat, a.T @ g.reshape(steps * batch, -1)

    return step


CONTENDERS = {
    f.__name__: f
    for f in (
        tinygrad_seq, tinygrad_seq_jit, tinygrad_seq_unrolled, torch, torch_eager, jax, autograd,
        mygrad, products,
    )
}  # fmt: skip
NEEDS = {
    "torch_eager": "torch",
    "products": "numpy",
    "tinygrad_seq_jit": "numba",
    "tinygrad_seq_unrolled": "tinygrad_seq",
}


def missing(name):
    """Whether the library of a contender is not installed."""
    return importlib.util.find_spec(NEEDS.get(name, name)) is None


def main(name, kind, row, what):
    data = dict(np.load(row))
    step = CONTENDERS[name](kind, data, what)
    results = step()
    if results is not None:
        np.savez(f"{row}.{name}.npz", *results)
    racing.answer(step)


if __name__ == "__main__":
    main(*sys.argv[1:5])
