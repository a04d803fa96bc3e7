"""Processes forked while a thread trains: each child trains a step of its own."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import nn, optim, viz
from tinygrad_seq.backend import blas

from . import Row

PATIENCE = 60.0  # seconds for a child, which needs a hundredth of one


def campaign(rng: np.random.Generator, scale: float) -> Iterator[Row]:
    """Forks at drawn moments, beside two threads that train."""
    model, x = net(rng)
    expected = gradients(model, x)
    functions = blas._openblas()
    enough = threading.Event()
    threads = [threading.Thread(target=train, args=(enough, k)) for k in range(2)]
    for thread in threads:
        thread.start()
    seen: Counter[str] = Counter()
    before = functions[0]() if functions else 0
    times = int(200 * scale)
    try:
        for wait in rng.uniform(0, 0.01, times):
            time.sleep(wait)
            seen[in_child(model, x, expected)] += 1
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    if functions and functions[0]() != before:
        seen["left BLAS at another number of threads"] += 1
    yield Row("fork beside two threads that train", times, times - seen["right"], _told(seen))


def net(rng: np.random.Generator) -> tuple[nn.Module, ts.Tensor]:
    """A net with everything that has a lock: dropout, names while traced, shared products."""
    model = nn.Sequential(nn.Linear(24, 24), nn.Linear(24, 24))
    return model, ts.Tensor(rng.standard_normal((8, 24)).astype("f4"))


def gradients(model: nn.Module, x: ts.Tensor) -> list[np.ndarray]:
    """Of one step, which also draws a random number and gives modules names."""
    model.zero_grad()
    nn.Dropout(0.5)(x)
    with viz.trace(), blas.one_thread():
        model(x).sum().backward()
    return [p.grad.data.copy() for p in model.parameters()]


def train(enough: threading.Event, seed: int) -> None:
    """Steps of a recurrent net, and of the small one, until told to stop."""
    rng = np.random.default_rng(seed)
    lstm, x = nn.LSTM(24, 96), ts.Tensor(rng.standard_normal((20, 16, 24)).astype("f4"))
    optimizer = optim.Adam(lstm.parameters())
    small = net(rng)
    while not enough.is_set():
        optimizer.zero_grad()
        y, _ = lstm(x)
        (y * y).mean().backward()
        optimizer.step()
        gradients(*small)


def in_child(model: nn.Module, x: ts.Tensor, expected: list[np.ndarray]) -> str:
    """What came of a step in a forked child."""
    child = os.fork()
    if child == 0:
        try:
            found = gradients(model, x)
            right = all(map(np.array_equal, found, expected))
            functions = blas._openblas()
            alone = functions is not None and bool(blas._inside or blas._before)
            os._exit(3 if alone else 0 if right else 1)
        except BaseException:
            os._exit(2)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return {0: "right", 1: "wrong numbers", 2: "an error", 3: "BLAS left alone"}.get(
                code, f"ended with {code}"
            )
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hung"


def _told(seen: Counter[str]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in seen.items())
