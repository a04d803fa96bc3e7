"""What stacking the rows of a shared weight's gradient saves: an LSTM in a loop of one's own.

    OMP_NUM_THREADS=1 python benchmarks/stacked_rows.py

Prints, for some sizes, how many times as long forward and backward take without stacking.
"""

from __future__ import annotations

import importlib
import time

import numpy as np

import tinygrad_seq as ts

primitive = importlib.import_module("tinygrad_seq.autograd.primitive")
STEPS, ROWS, ROUNDS = 100, 32, 8


def seconds(x: ts.Tensor, w: ts.Tensor, u: ts.Tensor) -> float:
    """The time of the calling thread for one pass forward and backward."""
    start = time.thread_time()
    h = c = ts.zeros((ROWS, x.shape[-1]))
    loss = ts.zeros(())
    for t in range(STEPS):
        i, f, g, o = ts.split(x[t] @ w + h @ u, 4, axis=-1)
        c = ts.sigmoid(f) * c + ts.sigmoid(i) * ts.tanh(g)
        h = ts.sigmoid(o) * ts.tanh(c)
        loss = loss + h.sum()
    loss.backward()
    w.grad = u.grad = None
    return time.thread_time() - start


def main() -> None:
    """Race both, turn by turn."""
    few_rows, rng = primitive.few_rows, np.random.default_rng(0)
    for units in (64, 128, 256):
        x = ts.tensor(rng.normal(size=(STEPS, ROWS, units)).astype("f4"))
        size = (units, 4 * units)
        w, u = (
            ts.tensor((rng.normal(size=size) / units**0.5).astype("f4"), requires_grad=True)
            for _ in range(2)
        )
        ratios = []
        for _ in range(ROUNDS):
            stacked = seconds(x, w, u)
            primitive.few_rows = lambda *_: False
            ratios.append(seconds(x, w, u) / stacked)
            primitive.few_rows = few_rows
        print(f"{units:4d} units: {np.median(ratios[1:]):.2f} times as long without stacking")


if __name__ == "__main__":
    main()
