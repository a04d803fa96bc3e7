"""What checkers must refuse: each line with ``# error`` has one, and no other line has."""

import tinygrad_seq as ts
from tinygrad_seq import nn, optim, testing

x = ts.ones((3, 4))
lstm = nn.LSTM(4, 8)
loss = nn.mse_loss(x, x)

loss.backwards()  # error
x.view(2)  # error
x.sum(dim=1)  # error
x.reshape(2).foo()  # error
ts.tanh("a")  # error
ts.tanh(x, axis=0)  # error
ts.tanh(None)  # error
ts.sum(x, axis="0")  # error
ts.add(x)  # error
ts.add(x, "1")  # error
ts.concatenate(x, dim=1)  # error
ts.stack([x, "a"])  # error
ts.tan_h(x)  # error
ts.index_set(x, 0, 1.0).foo()  # error
ts.quotient(x, 2)  # error
testing.gradcheckk(ts.tanh, x)  # error
x + "a"  # error
"a" - x  # error
x @ None  # error
x["a"]  # error
x.astype(dtype=3)  # error
lstm(x, lenghts=[1])  # error
lstm("a")  # error
lstm(x).sum()  # error
nn.Linear(4, 2)(x, x)  # error
nn.Linear(4, 2)("a")  # error
nn.Linear(4, "2")  # error
nn.LSTM(4, 8, num_layer=2)  # error
nn.LTSM(4, 8)  # error
nn.mse_loss(x)  # error
nn.CrossEntropyLoss()(x)  # error
optim.Adam(lstm.parameters(), learning_rate=1e-3)  # error
optim.Adamm([])  # error
lstm.trian()  # error


def f(x: ts.Tensor, scale: float = 1.0) -> ts.Tensor:
    return ts.sum(x * scale)


ts.grad(f)(x, scal=2.0)  # error
ts.grad(f)(x).foo()  # error
ts.value_and_grad(f)(x)[2]  # error
ts.recompute(f, x, scal=2.0)  # error
ts.no_grad(f)(x, scal=2.0)  # error
ts.no_grad()(f)(x, scal=2.0)  # error
