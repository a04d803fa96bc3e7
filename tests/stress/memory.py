"""Loops with Python's collector switched off: what is not freed by itself adds up."""

from __future__ import annotations

import gc
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import nn, optim, viz
from tinygrad_seq.backend import threads

from . import Row

ALLOWED = 20_000  # bytes: Python keeps some of the objects that are freed


def loops(rng: np.random.Generator, folder: Path) -> Iterator[tuple[str, Callable[[int], Any]]]:
    """Bodies of loops, by name; each is given the number of its round."""
    lstm = nn.LSTM(3, 5)
    x = ts.Tensor(rng.standard_normal((7, 4, 3)).astype("f4"))
    optimizers = {
        kind: getattr(optim, kind)(lstm.parameters(), lr=1e-3)
        for kind in ("SGD", "Adam", "RMSprop", "Adagrad")
    }
    leaves = [ts.ones(2, requires_grad=True) for _ in range(50)]

    def loss() -> ts.Tensor:
        y, _ = lstm(x)
        return (y * y).mean()

    def step(optimizer: Any) -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    def unrolled(k: int) -> None:
        with nn.unrolled():
            loss().backward()

    def failing(k: int) -> None:
        y = ts.tanh(leaves[0]).sum()
        y.backward()
        try:
            y.backward()
        except RuntimeError:
            return
        raise AssertionError("a second backward passed")

    def failing_part(low: int, high: int) -> None:
        if low == 1:
            raise KeyError

    def failing_share(k: int) -> None:
        try:
            threads.at_once(failing_part, 2, 1)
        except KeyError:
            return
        raise AssertionError("an error of a part was lost")

    def hooked(k: int) -> None:
        y = leaves[0] * 2
        remove = y.register_hook(lambda g: g * 2)
        y.sum().backward()
        remove()

    def traced(k: int) -> None:
        with viz.trace(lstm) as trace:
            viz.listing(loss())
        del trace

    for kind, optimizer in optimizers.items():
        yield f"training with {kind}", lambda k, o=optimizer: step(o)
    yield "training unrolled", unrolled
    yield "second derivatives", lambda k: ts.hvp(lambda v: (v**3).sum(), ts.ones(4), ts.ones(4))
    yield "a graph dropped unused", lambda k: loss()
    yield "lists of any length", lambda k: ts.concatenate(leaves[: 1 + k % 50]).sum().backward()
    yield (
        "lists of which any part is wanted",
        lambda k: ts.stack([w if rng.random() < 0.5 else w.detach() for w in leaves]),
    )
    yield "an error in backward", failing
    yield "work shared by threads", lambda k: threads.at_once(lambda low, high: None, 4, 1)
    yield "an error in shared work", failing_share
    yield "hooks", hooked
    yield "a trace and its listing", traced
    yield (
        "save and load",
        lambda k: (
            ts.save(folder / "a.npz", lstm.state_dict()),
            lstm.load_state_dict(ts.load(folder / "a.npz")),
        ),
    )
    yield "new modules", lambda k: nn.GRU(3, 4)(x)[0].sum().backward()


def campaign(rng: np.random.Generator, scale: float) -> Iterator[Row]:
    """What the second half of a loop adds to the most memory after a round of the first."""
    rounds = int(100 * scale)
    with tempfile.TemporaryDirectory() as folder:
        for name, body in loops(rng, Path(folder)):
            grown, cycles = _grown(body, rounds)
            seen = f"{grown:+,} bytes" + f", {cycles:,} objects in cycles" * bool(cycles)
            yield Row(f"memory: {name}", 2 * rounds, int(grown > ALLOWED), seen)


def _grown(body: Callable[[int], Any], rounds: int) -> tuple[int, int]:
    """How many bytes, and how many objects that the collector alone could free."""
    for k in range(10):  # what is made once
        body(k)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    most = [0, 0]
    try:
        for k in range(2 * rounds):
            body(k)
            most[k // rounds] = max(most[k // rounds], tracemalloc.get_traced_memory()[0])
        cycles = gc.collect()
        left = min(most[1], tracemalloc.get_traced_memory()[0])
        return max(0, left - most[0]), cycles
    finally:
        tracemalloc.stop()
        gc.enable()
