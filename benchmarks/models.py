"""Whole training steps, each told once for this library and for PyTorch, and in part for JAX.

``steps.py`` runs this file as a process of its own for each contender:

    python models.py CONTENDER MODEL RESULTS.npz

It then answers each line on standard input with the seconds of one timed batch of steps.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import racing

RATE, NORM = 1e-3, 1.0  # of Adam; of all gradients, at most


class Ours:
    """What this library spells in its own way."""

    def __init__(self, jit):
        import tinygrad_seq as ts
        from tinygrad_seq import nn, optim

        ts.use_jit(jit)
        ts.manual_seed(0)
        self.np, self.nn, self.no_grad = ts, nn, ts.no_grad
        self.ids = np.asarray
        self.array = ts.Tensor
        self.chunk = lambda x, n: ts.split(x, n, -1)
        self.gru = lambda *sizes, **more: nn.GRU(*sizes, reset_after=True, **more)
        self.gradients = lambda y, xs: ts.autograd.grad(y, xs, create_graph=True)
        self.optimizer = lambda params: optim.Adam(params, lr=RATE)
        self.clip = lambda params: optim.clip_grad_norm_(params, NORM)
        self.loss = nn.cross_entropy

    def load(self, module, arrays):
        module.load_state_dict(arrays)

    def read(self, layer, x, lengths):
        return layer(x, lengths=lengths)[0]

    def numpy(self, x):
        return x.numpy()


class Torch:
    """The same of PyTorch."""

    def __init__(self):
        import torch
        from torch import nn

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        self.np, self.nn, self.no_grad = torch, nn, torch.no_grad
        self.ids = self.array = torch.from_numpy
        self.chunk = lambda x, n: torch.chunk(x, n, -1)
        self.gru = nn.GRU
        self.gradients = lambda y, xs: torch.autograd.grad(y, xs, create_graph=True)
        self.optimizer = lambda params: torch.optim.Adam(params, lr=RATE)
        self.clip = lambda params: nn.utils.clip_grad_norm_(params, NORM)

    def loss(self, scores, targets):
        return self.nn.functional.cross_entropy(
            scores.reshape(-1, scores.shape[-1]), targets.reshape(-1)
        )

    def load(self, module, arrays):
        module.load_state_dict({k: self.array(v) for k, v in arrays.items()})

    def read(self, layer, x, lengths):
        rnn = self.nn.utils.rnn
        packed = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        return rnn.pad_packed_sequence(layer(packed)[0])[0]

    def numpy(self, x):
        return x.detach().numpy()


def language_model(lib, rng, symbols, size, hidden, steps, batch):
    nn = lib.nn
    embed, recur = nn.Embedding(symbols, size), nn.LSTM(size, hidden)
    read = nn.Linear(hidden, symbols)
    ids = lib.ids(rng.integers(symbols, size=(steps + 1, batch)))

    def loss():
        h, _ = recur(embed(ids[:-1]))
        return lib.loss(read(h), ids[1:])

    return [embed, recur, read], loss


def char_lm(lib, rng):
    """103 symbols, embedding 64, LSTM 256, 64 steps of 32 sequences."""
    return language_model(lib, rng, 103, 64, 256, 64, 32)


def word_lm(lib, rng):
    """10 000 words, embedding and LSTM 200, 35 steps of 20 sequences."""
    return language_model(lib, rng, 10_000, 200, 200, 35, 20)


def attention_decoder(lib, rng, steps=30, batch=32, source=30, hidden=128, symbols=60):
    """An LSTM cell with attention, operation by operation: 30 steps, 32 sequences, 128 units."""
    np_, nn = lib.np, lib.nn
    embed, mix = nn.Embedding(symbols, hidden), nn.Linear(3 * hidden, 4 * hidden)
    read = nn.Linear(hidden, symbols)
    keys = lib.array(rng.normal(size=(batch, source, hidden)).astype("f4"))
    ids = lib.ids(rng.integers(symbols, size=(steps + 1, batch)))
    zeros = lib.array(np.zeros((batch, hidden), "f4"))

    def loss():
        x, h, c, outputs = embed(ids[:-1]), zeros, zeros, []
        for t in range(steps):
            weights = np_.softmax((keys @ h[:, :, None])[:, :, 0], -1)
            context = (weights[:, None, :] @ keys)[:, 0]
            i, f, g, o = lib.chunk(mix(np_.concatenate([x[t], context, h], -1)), 4)
            c = np_.sigmoid(f) * c + np_.sigmoid(i) * np_.tanh(g)
            h = np_.sigmoid(o) * np_.tanh(c)
            outputs.append(h)
        return lib.loss(read(np_.stack(outputs)), ids[1:])

    return [embed, mix, read], loss


def tagger(lib, rng, steps=50, batch=32, size=64, hidden=128, tags=10):
    """A bidirectional LSTM of two layers, 32 sequences of 10 to 50 steps, 128 units each way."""
    recur = lib.nn.LSTM(size, hidden, num_layers=2, bidirectional=True)
    read = lib.nn.Linear(2 * hidden, tags)
    lengths = rng.integers(10, steps + 1, size=batch)
    lengths[0] = steps
    x = lib.array(rng.normal(size=(steps, batch, size)).astype("f4"))
    targets = rng.integers(tags, size=(steps, batch))
    targets[np.arange(steps)[:, None] >= lengths] = -100  # counts for nothing, in both
    targets, lengths = lib.ids(targets), lib.ids(lengths)
    return [recur, read], lambda: lib.loss(read(lib.read(recur, x, lengths)), targets)


def mlp(lib, rng):
    """784-256-10, 128 images."""
    one, two = lib.nn.Linear(784, 256), lib.nn.Linear(256, 10)
    x = lib.array(rng.normal(size=(128, 784)).astype("f4"))
    targets = lib.ids(rng.integers(10, size=128))
    return [one, two], lambda: lib.loss(two(lib.np.relu(one(x))), targets)


def inference(lib, rng):
    """The forward of an LSTM, (T, N, I, H) = (100, 32, 64, 128)."""
    recur = lib.nn.LSTM(64, 128)
    x = lib.array(rng.normal(size=(100, 32, 64)).astype("f4"))
    return [recur], lib.no_grad()(lambda: recur(x)[0].mean().item())


def second_order(lib, rng):
    """A penalty on the norm of the gradient of a GRU, (T, N, I, H) = (20, 16, 32, 64)."""
    recur = lib.gru(32, 64)
    x = lib.array(rng.normal(size=(20, 16, 32)).astype("f4"))
    params = list(recur.parameters())

    def loss():
        y, _ = recur(x)
        first = (y * y).mean()
        return first + sum((g * g).sum() for g in lib.gradients(first, params))

    return [recur], loss


def dates(lib, rng, source=30, steps=11, batch=64, size=32, hidden=64):
    """Example 13: encoder, decoder and additive attention; 64 dates."""
    symbols, written = 60, 13
    read = rng.integers(symbols, size=(source, batch))
    lengths = rng.integers(8, source + 1, size=batch)
    lengths[0] = source
    ids = lib.ids(rng.integers(written, size=(steps + 1, batch)))
    if isinstance(lib, Ours):
        from tinygrad_seq import seq

        attention = lib.nn.AdditiveAttention(hidden, hidden, hidden // 2)
        model = seq.EncoderDecoder(symbols, written, size, hidden, attention, lib.gru)
        return [model], lambda: lib.loss(model(read, ids[:-1], lengths), ids[1:])
    return _dates_of_torch(lib, read, lengths, ids, symbols, written, size, hidden)


def _dates_of_torch(lib, read, lengths, ids, symbols, written, size, hidden):
    np_, nn = lib.np, lib.nn
    shapes = {"weight_query": (hidden // 2, hidden), "weight_key": (hidden // 2, hidden)}
    shapes |= {"bias": (hidden // 2,), "weight_score": (hidden // 2,)}
    start = nn.ModuleDict({"maps": nn.ModuleList([nn.Linear(hidden, hidden)])})
    model = nn.ModuleDict(
        {
            "source": nn.Embedding(symbols, size),
            "encoder": nn.GRU(size, hidden // 2, bidirectional=True),
            "target": nn.Embedding(written, size),
            "decoder": nn.GRU(size, hidden),
            "start": start,
            "attention": nn.ParameterDict({k: np_.zeros(v) for k, v in shapes.items()}),
            "combine": nn.Linear(2 * hidden, hidden),
            "read": nn.Linear(hidden, written),
        }
    )
    past = lib.array(np.arange(len(read)) >= lengths[:, None])[:, None]  # (N, 1, S)
    read, lengths = lib.ids(read), lib.ids(lengths)
    rnn, a = nn.utils.rnn, model["attention"]

    def loss():
        embedded = model["source"](read)
        packed = rnn.pack_padded_sequence(embedded, lengths, enforce_sorted=False)
        keys, last = model["encoder"](packed)
        keys = rnn.pad_packed_sequence(keys)[0].transpose(0, 1)
        begin = np_.tanh(start["maps"][0](np_.concatenate([last[0], last[1]], -1)))
        h, _ = model["decoder"](model["target"](ids[:-1]), begin[None])
        q = h.transpose(0, 1) @ a["weight_query"].T + a["bias"]
        k = keys @ a["weight_key"].T
        scores = np_.tanh(q[:, :, None] + k[:, None]) @ a["weight_score"]
        weights = np_.softmax(scores.masked_fill(past, -np.inf), -1)
        context = (weights @ keys).transpose(0, 1)
        h = np_.tanh(model["combine"](np_.concatenate([context, h], -1)))
        return lib.loss(model["read"](h), ids[1:])

    return [model], loss


MODELS = {
    "char LM": char_lm,
    "word LM": word_lm,
    "attention decoder": attention_decoder,
    "tagger": tagger,
    "MLP": mlp,
    "inference": inference,
    "second order": second_order,
    "dates": dates,
}
CONTENDERS = {"numpy": lambda: Ours(False), "jit": lambda: Ours(True), "torch": Torch}
IN_JAX = {"char LM", "word LM"}  # and these in JAX, of a process that is told "jax"


def drawn(lib, parts):
    """Weights for each part by name, the same in every library."""
    rng, found = np.random.default_rng(1), []
    for part in parts:
        shapes = {k: tuple(v.shape) for k, v in part.state_dict().items()}
        weights = {k: rng.uniform(-0.1, 0.1, shapes[k]).astype("f4") for k in sorted(shapes)}
        found.append({k: weights[k] for k in shapes})
        lib.load(part, weights)
    return found


def prepared_in_jax(name):
    """As :func:`prepared`, a language model in JAX: ``jit``, ``scan``, Adam as its equations."""
    import jax
    import jax.numpy as jnp

    kept, lib = [], Ours(False)  # the model of this library, asked for its ids and weights
    lib.ids = lambda a: kept.append(a) or a
    parts, _ = MODELS[name](lib, np.random.default_rng(0))
    params = jax.tree.map(jnp.asarray, drawn(lib, parts))
    ids = jnp.asarray(kept[0])

    def loss(params):
        embed, recur, read = params
        x = embed["weight"][ids[:-1]] @ recur["weight_ih_l0"].T
        x = x + recur["bias_ih_l0"] + recur["bias_hh_l0"]

        def one(state, row):
            h, c = state
            i, f, g, o = jnp.split(row + h @ recur["weight_hh_l0"].T, 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((x.shape[1], x.shape[2] // 4), x.dtype)
        h = jax.lax.scan(one, (zeros, zeros), x)[1]
        log_p = jax.nn.log_softmax(h @ read["weight"].T + read["bias"])
        return -jnp.take_along_axis(log_p, ids[1:, :, None], -1).mean()

    @jax.jit
    def update(params, m, v, t):
        value, g = jax.value_and_grad(loss)(params)
        norm = jnp.sqrt(sum((a * a).sum() for a in jax.tree.leaves(g)))
        g = jax.tree.map(lambda a: a * jnp.minimum(1, NORM / (norm + 1e-6)), g)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        a, b = 1 - 0.9**t, 1 - 0.999**t
        params = jax.tree.map(
            lambda p, m, v: p - RATE * (m / a) / (jnp.sqrt(v / b) + 1e-8), params, m, v
        )
        return params, m, v, value, g

    zeros = jax.tree.map(jnp.zeros_like, params)
    state = {"now": (params, zeros, zeros), "t": 0}

    def step():
        state["t"] += 1
        *now, value, state["g"] = update(*state["now"], float(state["t"]))
        state["now"] = now
        return value.block_until_ready()

    def gradients():
        parts = enumerate(state["g"])
        return {f"{k}.{n}": np.asarray(g) for k, part in parts for n, g in part.items()}

    return step, gradients


def prepared(contender, name):
    """A step of a model, which gives its loss; and how its gradients are read."""
    if contender == "jax":
        return prepared_in_jax(name)
    lib = CONTENDERS[contender]()
    parts, loss = MODELS[name](lib, np.random.default_rng(0))
    drawn(lib, parts)
    if name == "inference":
        return loss, dict
    named = {f"{k}.{n}": p for k, part in enumerate(parts) for n, p in part.named_parameters()}
    params = list(named.values())
    optimizer = lib.optimizer(params)

    def step():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        lib.clip(params)
        optimizer.step()
        return value.item()

    return step, lambda: {n: lib.numpy(p.grad) for n, p in named.items()}


def main(contender, name, path):
    step, gradients = prepared(contender, name)
    losses = [float(step())]
    first = {n: g.copy() for n, g in gradients().items()}
    losses += [float(step()) for _ in range(4)]
    np.savez(path, losses=losses, **first)
    racing.answer(step)


if __name__ == "__main__":
    main(*sys.argv[1:4])
