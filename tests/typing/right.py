"""What a user writes, and the types that checkers see: run by neither Python nor pytest."""

from collections.abc import Callable
from typing import Any, assert_type

import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import data, nn, optim
from tinygrad_seq.ops import linalg
from tinygrad_seq.testing import arrays, gradient_property

x = ts.randn(3, 4)
w = ts.zeros((4, 2), dtype="float64", requires_grad=True)
array = np.ones((3, 4))

# Making tensors.
assert_type(ts.tensor([1.0, 2.0], requires_grad=True), ts.Tensor)
assert_type(ts.Tensor(array, dtype=np.float32), ts.Tensor)
assert_type(ts.arange(3), ts.Tensor)
assert_type(ts.zeros_like(x), ts.Tensor)

# Operations: a tensor anywhere gives a tensor.
assert_type(ts.tanh(x), ts.Tensor)
assert_type(ts.sum(x, axis=0, keepdims=True), ts.Tensor)
assert_type(ts.add(1.0, x), ts.Tensor)
assert_type(ts.multiply(array, x), ts.Tensor)
assert_type(ts.where(x > 0, x, 0.0), ts.Tensor)
assert_type(ts.where(array > 0, 0.0, x), ts.Tensor)
assert_type(ts.concatenate([x, x], axis=1), ts.Tensor)
assert_type(ts.stack([x, x], 1), ts.Tensor)
assert_type(ts.unstack(x), tuple[ts.Tensor, ...])
assert_type(ts.split(x, 2, axis=-1), tuple[ts.Tensor, ...])
assert_type(ts.topk(x, 2), tuple[ts.Tensor, ts.Tensor])
assert_type(ts.norm(x, ord=1, axis=0), ts.Tensor)
assert_type(ts.clip(x, min=0.0), ts.Tensor)
assert_type(ts.moveaxis(x, 0, -1), ts.Tensor)
assert_type(ts.einsum("ij,jk->ik", x, w), ts.Tensor)
assert_type(ts.vstack([array, array]), np.ndarray[Any, Any] | Any)
assert_type(ts.vstack([x, x]), ts.Tensor)
assert_type(ts.index_set(x, (0, 1), 2.0), ts.Tensor | Any)
assert_type(linalg.inv(x), ts.Tensor)
assert_type(linalg.slogdet(x), tuple[ts.Tensor, ts.Tensor])
assert_type(linalg.svd(x), tuple[ts.Tensor, ts.Tensor, ts.Tensor])

# Operators, on either side of numbers and arrays.
assert_type(x @ w, ts.Tensor)
assert_type(2 * x, ts.Tensor)
assert_type(x / 2, ts.Tensor)
assert_type(1 - x**2, ts.Tensor)
assert_type(x + array, ts.Tensor)
assert_type(x > 0, ts.Tensor)
assert_type(x == 0, ts.Tensor)
assert_type((x > 0) & ~(x > 1), ts.Tensor)
assert_type(-x, ts.Tensor)
assert_type(abs(x), ts.Tensor)
x += 1
assert_type(x, ts.Tensor)

# Indices.
assert_type(x[0], ts.Tensor)
assert_type(x[..., 1:, None], ts.Tensor)
assert_type(x[x > 0], ts.Tensor)
assert_type(x[[0, 2], np.array([1, 2])], ts.Tensor)
assert_type(list(x), list[ts.Tensor])

# Methods and attributes.
assert_type(x.sum(), ts.Tensor)
assert_type(x.sum(axis=(0, 1), keepdims=True), ts.Tensor)
assert_type(x.mean(0), ts.Tensor)
assert_type(x.reshape(2, -1).reshape((4, 3)).transpose(1, 0), ts.Tensor)
assert_type(x.T.astype("float32").clip(0, 1), ts.Tensor)
assert_type(x.split(2), tuple[ts.Tensor, ...])
assert_type(x.argmax(axis=-1), ts.Tensor)
assert_type(x.item(), float)
assert_type(x.shape, tuple[int, ...])
assert_type(x.grad, ts.Tensor | None)
assert_type(x.detach().requires_grad_(), ts.Tensor)
assert_type(x.numpy(), np.ndarray[Any, Any])
assert_type(x.backward(), None)

# Layers: a call takes and gives what forward does.
lstm, gru = nn.LSTM(4, 8, bidirectional=True), nn.GRU(4, 8)
y, state = lstm(x, lengths=[3, 2])
assert_type(y, ts.Tensor)
assert_type(state, tuple[ts.Tensor, ts.Tensor])
assert_type(lstm(x, state, mask=array > 0)[0].sum(), ts.Tensor)
assert_type(gru(x), tuple[ts.Tensor, ts.Tensor])
assert_type(nn.LSTMCell(4, 8)(x), tuple[ts.Tensor, tuple[ts.Tensor, ts.Tensor]])
assert_type(nn.GRUCell(4, 8).initial_state((2,)), ts.Tensor)
assert_type(nn.Recurrent(nn.GRUCell(4, 8))(x)[0], ts.Tensor)
assert_type(nn.Linear(4, 2)(x), ts.Tensor)
assert_type(nn.Linear(4, 2).weight, nn.Parameter)
assert_type(nn.Embedding(10, 4)([[1, 2]]), ts.Tensor)
assert_type(nn.Dropout(0.1)(x), ts.Tensor)
assert_type(lstm.train().eval().to("numpy").astype("float64"), nn.LSTM)
assert_type(lstm.weight_ih_l0, nn.Parameter)


class Tagger(nn.Module):
    """A model of one's own."""

    def __init__(self, words: int, tags: int) -> None:
        self.embed = nn.Embedding(words, 32)
        self.lstm = nn.LSTM(32, 64)
        self.head = nn.Linear(64, tags)

    def forward(self, ids: ts.Tensor, lengths: list[int] | None = None) -> ts.Tensor:
        y, (h, _) = self.lstm(self.embed(ids), lengths=lengths)
        assert_type(h, ts.Tensor)
        return self.head(y)


tagger = Tagger(100, 5)
assert_type(tagger(x), ts.Tensor)
assert_type(tagger(x, lengths=[3]), ts.Tensor)
assert_type(tagger.train(), Tagger)

# Losses and training.
loss = nn.cross_entropy(tagger(x), array)
assert_type(loss, ts.Tensor)
assert_type(nn.CrossEntropyLoss()(x, array), ts.Tensor)
assert_type(nn.mse_loss(x, array), ts.Tensor)
optimizer = optim.Adam(tagger.parameters(), lr=1e-3)
optimizer.zero_grad()
assert_type(optim.clip_grad_norm_(tagger.parameters(), 1.0), float | ts.Tensor)
assert_type(optimizer.step(), None)

# Data, sequences, files.
train, held_out = data.split(np.arange(10), validation=0.2)
assert_type(train, np.ndarray[tuple[int], np.dtype[np.int_]])
assert_type(data.split("abcdef"), tuple[str, str])
ts.save("model.npz", tagger.state_dict())

# Functions of functions.


def f(x: ts.Tensor, scale: float = 1.0) -> ts.Tensor:
    return ts.sum(x * x) * scale


def with_rest(x: ts.Tensor) -> tuple[ts.Tensor, str]:
    return f(x), "rest"


assert_type(ts.grad(f)(x, scale=2.0), ts.Tensor)
assert_type(ts.grad(f)(2.0), ts.Tensor)
assert_type(ts.grad(ts.grad(f))(x), ts.Tensor)
ts.grad(lambda x: x**3)(2.0)
assert_type(ts.grad(f, argnums=(0,))(x), tuple[ts.Tensor, ...])
assert_type(ts.grad(with_rest, has_aux=True)(x), tuple[ts.Tensor, str])
assert_type(ts.value_and_grad(f)(x), tuple[ts.Tensor, ts.Tensor])
assert_type(ts.jacobian(f)(x), ts.Tensor)
assert_type(ts.hessian(f)(x), ts.Tensor)
assert_type(ts.hvp(f, x, x), ts.Tensor)
assert_type(ts.jvp(f, x, x), tuple[ts.Tensor, ts.Tensor])
assert_type(ts.vjp(f, x)[0], ts.Tensor)
assert_type(ts.recompute(f, x, scale=2.0), ts.Tensor)

# Modes.
with ts.no_grad(), ts.anomaly_mode():
    pass


@ts.no_grad()
def called(x: ts.Tensor, times: int = 1) -> ts.Tensor:
    return x * times


@ts.no_grad
def bare(x: ts.Tensor, times: int = 1) -> ts.Tensor:
    return x * times


assert_type(called(x, times=2), ts.Tensor)
assert_type(bare(x, times=2), ts.Tensor)

# A primitive of one's own.


@ts.primitive
def cube(x: np.ndarray[Any, Any], /, scale: float = 1.0) -> np.ndarray[Any, Any]:
    cubes: np.ndarray[Any, Any] = scale * x * x * x
    return cubes


cube.defvjp(x=lambda g, x, scale: g * 3 * scale * x * x)
assert_type(cube(x, scale=2.0), ts.Tensor)
assert_type(cube(2.0), np.ndarray[Any, Any] | Any)


@gradient_property(x=arrays((3, 4)))
def test_cube(x: ts.Tensor) -> ts.Tensor:
    return cube(x, scale=2.0)


assert_type(test_cube(), None)
activation: Callable[[ts.Tensor], ts.Tensor] = cube
rnn = nn.RNN(4, 8, nonlinearity=ts.tanh)

# Python's functions.
assert_type(sum([x, x], ts.zeros(3)), ts.Tensor)
assert_type(max(x[0], x[1]), ts.Tensor)
assert_type(round(x), ts.Tensor)
assert_type(float(x[0, 0]), float)

# NumPy's functions take tensors. Its stubs know them as what can become an array.
np.tanh(x)
np.concatenate([x, x])
assert_type(np.sum(x), Any)
