"""Ctrl-C at every moment: where Python looks for signals, one after the other.

The interpreter looks for them as a function begins and when a call of a C function has ended (and
in loops, where little can go wrong). A profiling function is told of the same moments, so raising
from it is an interrupt at a moment of our choice.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.backend import blas, threads

from . import Row

MOMENTS = ("call", "c_return")


def moments(function: Callable[[], Any]) -> int:
    """At how many moments a call of ``function`` could be interrupted."""
    seen = 0

    def look(frame: Any, event: str, argument: Any) -> None:
        nonlocal seen
        seen += event in MOMENTS

    sys.setprofile(look)
    try:
        function()
    finally:
        sys.setprofile(None)
    return seen


def interrupted(function: Callable[[], Any], moment: int) -> bool:
    """Call ``function`` and interrupt it once, there; whether it was, and did not catch it."""
    left = moment

    def look(frame: Any, event: str, argument: Any) -> None:
        nonlocal left
        left -= event in MOMENTS
        if left == 0:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(look)
    try:
        function()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def campaign(rng: np.random.Generator, scale: float) -> Iterator[Row]:
    """A step of every kind of layer, interrupted at each moment; every few, a whole step."""
    os.environ["TINYGRAD_SEQ_THREADS"] = "2"
    threads.count.cache_clear()
    x = ts.Tensor(rng.standard_normal((40, 20, 24)).astype("f4"))
    for name, layer in {
        "a compiled LSTM": nn.LSTM(24, 160),
        "a compiled GRU": nn.GRU(24, 160),
        "a GRU in float64": nn.GRU(24, 16).astype("f8"),
    }.items():
        yield _steps(f"interrupt of a step of {name}", layer, x, scale)
        if hasattr(signal, "setitimer"):
            yield _signals(f"a real signal in a step of {name}", layer, x, rng, int(3000 * scale))


def _signals(
    what: str, layer: nn.Module, x: ts.Tensor, rng: np.random.Generator, times: int
) -> Row:
    """Signals at drawn times, as Ctrl-C gives them; one that hangs ends the campaign."""
    parameters = list(layer.parameters())
    x = x.astype(parameters[0].dtype)
    functions = blas._openblas()
    number = functions[0]() if functions else 0
    wrong: Counter[str] = Counter()
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for wait in rng.uniform(1e-4, 0.01, times):
            layer.zero_grad()
            faulthandler.dump_traceback_later(60, exit=True)
            try:
                signal.setitimer(signal.ITIMER_REAL, wait)
                while True:
                    layer.zero_grad()
                    y, _ = layer(x)
                    (y * y).sum().backward()
            except KeyboardInterrupt:
                pass
            wrong["left in no_grad"] += not ts.is_grad_enabled()
            wrong["BLAS at another number of threads"] += bool(
                functions and functions[0]() != number
            )
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
    told = [f"{count} {name}" for name, count in wrong.items() if count]
    return Row(what, times, wrong.total(), ", ".join(told) or "none hung")


def _steps(what: str, layer: nn.Module, x: ts.Tensor, scale: float) -> Row:
    parameters = list(layer.parameters())
    x = x.astype(parameters[0].dtype)

    def step() -> None:
        y, _ = layer(x)
        (y * y).sum().backward()

    def gradients() -> list[np.ndarray]:
        layer.zero_grad()
        step()
        return [p.grad.data.copy() for p in parameters]

    expected, warned = gradients(), np.geterr()
    functions = blas._openblas()
    number = functions[0]() if functions else 0
    count = moments(step)
    wrong: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    chosen = range(1, count + 1, max(1, round(1 / scale)))
    for moment in chosen:
        layer.zero_grad()
        interrupted(step, moment)
        given = sum(p.grad is not None for p in parameters)
        seen["all gradients" if given else "none"] += 1
        wrong["a part of the gradients"] += given not in (0, len(parameters))
        wrong["left in no_grad"] += not ts.is_grad_enabled()
        wrong["BLAS at another number of threads"] += bool(functions and functions[0]() != number)
        if np.geterr() != warned:
            seen["NumPy's errstate left (inside its own exit)"] += 1
            np.seterr(**warned)
        if moment % 10 == 0:
            close = [
                np.allclose(a, b, rtol=0, atol=1e-5 * abs(b).max())
                for a, b in zip(gradients(), expected, strict=True)
            ]
            wrong["a wrong step afterwards"] += not all(close)
    told = [f"{count} {what}" for what, count in (*seen.items(), *wrong.items()) if count]
    return Row(what, len(chosen), wrong.total(), ", ".join(told))
