"""Cells that no library has a kernel for, as training steps: loops derived from one step.

    python benchmarks/cells.py               # all models, one thread (--threads 2: two)

Two cells that a user might write (a gated one; a decoder with additive attention over 20 fixed
keys) race against the same equations in eager PyTorch and in JAX (``jit`` and ``scan``); the cells
of ``nn`` that PyTorch lacks race against themselves, unrolled. As in ``recurrent.py``, each
contender is a process, they take turns, and results must agree. Writes ``runs/bench/cells.md``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import racing
from contenders import missing

MODELS = {
    "gated": (50, 32, 16, 64),
    "attention": (30, 64, 64, 128),
    "PeepholeLSTMCell": (100, 32, 64, 128),
    "CoupledLSTMCell": (100, 32, 64, 128),
    "LeakyCell": (100, 32, 64, 128),
    "LayerNormRNNCell": (100, 32, 64, 128),
    "LayerNormGRUCell": (100, 32, 64, 128),
    "LayerNormLSTMCell": (100, 32, 64, 128),
}
OURS = ("numpy", "jit", "unrolled")
KEYS = 20


def make(model, path):
    """Weights, input, keys and upstream gradient of a user's cell, the same for all."""
    steps, batch, size, hidden = MODELS[model]
    rng = np.random.default_rng(0)

    def drawn(*shape):
        return rng.normal(size=shape) * hidden**-0.5

    arrays = {
        "x": rng.normal(size=(steps, batch, size)),
        "g": rng.normal(size=(steps, batch, hidden)),
    }
    if model == "gated":
        arrays |= {
            "w": drawn(size, 2 * hidden),
            "u": drawn(hidden, 2 * hidden),
            "b": drawn(2 * hidden),
        }
    else:
        arrays |= {"w": drawn(size, hidden), "u": drawn(hidden, hidden), "b": drawn(hidden)}
        arrays |= {"q": drawn(hidden, hidden), "v": drawn(hidden), "c": drawn(hidden, hidden)}
        arrays["keys"] = rng.normal(size=(batch, KEYS, hidden))
    np.savez(path, **{name: a.astype("f4") for name, a in arrays.items()})


def gated(np, p, x, h, sigmoid):
    """A gate and a candidate: the six lines of a user."""
    size = p["u"].shape[0]
    wx, uh = x @ p["w"] + p["b"], h @ p["u"]
    z = sigmoid(wx[:, :size] + uh[:, :size])
    n = np.tanh(wx[:, size:] + uh[:, size:])
    return z * h + (1 - z) * n


def attention(np, p, x, h, sigmoid):
    """Additive attention over fixed keys, then a simple recurrent step."""
    e = np.tanh((h @ p["q"])[:, None] + p["keys"]) @ p["v"]
    a = np.exp(e)
    a = a / a.sum(-1)[:, None]
    seen = (a[:, :, None] * p["keys"]).sum(1)
    return np.tanh(x @ p["w"] + seen @ p["c"] + h @ p["u"] + p["b"])


CELLS = {"gated": gated, "attention": attention}


def ours(model, data, form):
    import tinygrad_seq as ts
    from tinygrad_seq import nn

    ts.use_jit(form == "jit")
    if model in CELLS:
        p = {k: nn.Parameter(v) for k, v in data.items() if k not in "xg"}

        def cell(x, h):
            h = CELLS[model](ts, p, x, h, ts.sigmoid)
            return h, h

        layer = nn.Recurrent(cell)
        x, g = ts.tensor(data["x"], requires_grad=True), ts.Tensor(data["g"])
        start, weights = ts.zeros(g.shape[1:]), list(p.values())
    else:
        steps, batch, size, hidden = MODELS[model]
        ts.manual_seed(0)
        layer = nn.Recurrent(getattr(nn, model)(size, hidden))
        x, g = ts.randn(steps, batch, size), ts.randn(steps, batch, hidden)
        x.requires_grad, start, weights = True, None, list(layer.parameters())

    def step():
        for t in (x, *weights):
            t.grad = None
        y, _ = layer(x, start)
        y.backward(g)
        return y.data, x.grad.data, *[t.grad.data for t in weights]

    return nn.unrolled()(step) if form == "unrolled" else step


def torch(model, data):
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    g = torch.from_numpy(data["g"])
    p = {k: torch.from_numpy(v).requires_grad_() for k, v in data.items() if k != "g"}

    def step():
        for t in p.values():
            t.grad = None
        h, outputs = torch.zeros_like(g[0]), []
        for row in p["x"].unbind():
            h = CELLS[model](torch, p, row, h, torch.sigmoid)
            outputs.append(h)
        y = torch.stack(outputs)
        y.backward(g)
        return tuple(t.detach().numpy() for t in (y, *[t.grad for t in p.values()]))

    return step


def jax(model, data):
    import jax
    import jax.numpy as jnp

    def forward(p):
        def one(h, x):
            h = CELLS[model](jnp, p, x, h, jax.nn.sigmoid)
            return h, h

        return jax.lax.scan(one, jnp.zeros(data["g"].shape[1:]), p["x"])[1]

    @jax.jit
    def both(p, g):
        y, pullback = jax.vjp(forward, p)
        return y, pullback(g)[0]

    g = jnp.asarray(data["g"])
    p = {k: jnp.asarray(v) for k, v in data.items() if k != "g"}

    def step():
        y, grads = both(p, g)
        return tuple(np.asarray(t) for t in (y, *[grads[k] for k in p]))

    return step


def run(name, model, path):
    """One contender: answer each line on standard input with the seconds of a step."""
    data = dict(np.load(path)) if Path(path).exists() else {}
    step = ours(model, data, name) if name in OURS else globals()[name](model, data)
    np.savez(f"{path}.{name}.npz", *step())
    racing.answer(step)


def race(model, threads, turns):
    """Seconds of every turn of each contender, whose results agree."""
    names = [n for n in OURS if n != "jit" or not missing("tinygrad_seq_jit")]
    names += [n for n in ("torch", "jax") if model in CELLS and not missing(n)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.npz"
        if model in CELLS:
            make(model, path)
        runners = {n: racing.started([__file__, "--run", n, model, path], threads) for n in names}
        times = racing.turns(runners, turns)
        base = dict(np.load(f"{path}.{names[0]}.npz"))
        for name in names[1:]:
            error = racing.apart(np.load(f"{path}.{name}.npz"), base)
            if not error < 1e-3:
                raise SystemExit(f"{model}: results of {name} differ by {error}")
    return {name: np.array(seconds) for name, seconds in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--threads", nargs="*", type=int, default=[1])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--out", default="runs/bench")
    options = parser.parse_args()
    if options.run:
        return run(*options.run)
    lines = [f"Machine: {', '.join(f'{k} {v}' for k, v in racing.machine().items())}", ""]
    for threads in options.threads:
        lines += [f"### {threads} thread{'s' * (threads > 1)}", ""]
        lines += ["| cell | (T, N, I, H) | NumPy, ms | NumPy ÷ unrolled | `jit` ÷ unrolled "]
        lines[-1] += "| NumPy ÷ eager PyTorch | `jit` ÷ eager PyTorch | `jit` ÷ JAX |"
        lines += ["|---" * 8 + "|"]
        for model in options.models:
            times = race(model, threads, options.turns)
            cells = [model, str(MODELS[model]), f"{1e3 * np.median(times['numpy']):.1f}"]
            pairs = [("numpy", "unrolled"), ("jit", "unrolled"), ("numpy", "torch")]
            for mine, other in [*pairs, ("jit", "torch"), ("jit", "jax")]:
                raced = mine in times and other in times
                low, middle, high = (
                    np.percentile(times[mine] / times[other], (25, 50, 75)) if raced else (0, 0, 0)
                )
                cells.append(f"{middle:.2f} ({low:.2f}–{high:.2f})" if raced else "")
            lines.append(f"| {' | '.join(cells)} |")
            print(lines[-1], flush=True)
        lines.append("")
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    racing.write(out / "cells.md", "\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
