"""A training step of minGRU's layer against our GRU and PyTorch's, and of the loop within it.

    OMP_NUM_THREADS=1 python benchmarks/linear.py

Forward and backward with all gradients, float32, one thread, in turns; figures are medians of the
paired ratios of thread CPU time. Without the extra ``jit`` set TINYGRAD_SEQ_JIT=0.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.backend import threads

ROWS = [(100, 16, 64, 64), (500, 8, 64, 64), (200, 32, 128, 256)]


def ours(layer, x, g):
    """A training step of a layer of ours."""
    x, g = ts.tensor(x, requires_grad=True), ts.Tensor(g)

    def step():
        x.grad = None
        layer.zero_grad()
        layer(x)[0].backward(g)

    return step


def torchs(size, hidden, x, g):
    """A training step of ``torch.nn.GRU``."""
    import torch

    torch.set_num_threads(1)
    layer = torch.nn.GRU(size, hidden)
    x, g = torch.from_numpy(x).requires_grad_(), torch.from_numpy(g)

    def step():
        x.grad = None
        layer.zero_grad()
        layer(x)[0].backward(g)

    return step


def loops(shape, pairs):
    """The loop alone, compiled and of NumPy's calls."""
    rng = np.random.default_rng(0)
    tail = (2,) * pairs
    a, b = (rng.uniform(-0.7, 0.7, (*shape, *tail)).astype("f4") for _ in range(2))

    def run(on):
        with ts.use_jit(on):
            ts.linear_scan(a, b, pairs=pairs)

    return {"compiled": lambda: run(True), "NumPy": lambda: run(False)}


def race(steps, turns):
    """Seconds of every turn of each."""
    times = {name: [] for name in steps}
    for turn in range(turns + 2):
        for name, step in steps.items():
            start = time.thread_time()
            step()
            if turn > 1:  # the first two are warming up
                times[name].append(time.thread_time() - start)
    return {name: np.array(found) for name, found in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=21)
    turns = parser.parse_args().turns
    if threads.count() > 1:
        raise SystemExit("it measures the time of one thread: set OMP_NUM_THREADS=1")
    print("| (T, N, I, H) | minGRU, ms | ÷ nn.GRU | ÷ torch.nn.GRU | loop, compiled ÷ NumPy | "
          "of complex numbers |\n|---|---|---|---|---|---|")  # fmt: skip
    for T, N, size, hidden in ROWS:
        rng = np.random.default_rng(0)
        x, g = (rng.normal(size=(T, N, k)).astype("f4") for k in (size, hidden))
        steps = {
            "minGRU": ours(nn.MinGRU(size, hidden), x, g),
            "GRU": ours(nn.GRU(size, hidden), x, g),
        }
        try:
            steps["torch"] = torchs(size, hidden, x, g)
        except ImportError:
            print("left out: torch is not installed")
        found = race(steps, turns)
        mine = found["minGRU"]
        cells = [f"{1e3 * np.median(mine):.1f}"]
        cells += [
            f"{np.median(mine / found[k]):.2f}" if k in found else "" for k in ("GRU", "torch")
        ]
        for pairs in (False, True):
            alone = race(loops((T, N, hidden), pairs), turns)
            cells.append(f"{np.median(alone['compiled'] / alone['NumPy']):.2f}")
        print(f"| {(T, N, size, hidden)} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
