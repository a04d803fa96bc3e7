"""The devices that tests run on: NumPy, a strict fake GPU (``fake_cupy``), a real one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tinygrad_seq import Tensor
from tinygrad_seq.backend import backend_of, use_backend
from tinygrad_seq.backend.cupy import load

from .fake_cupy import counts, install
from .fake_kernels import COMPILER

__all__ = ["counts", "description", "fake", "host", "selected"]


@contextmanager
def selected(name: str) -> Iterator[str]:
    """Make new tensors on ``numpy``, the ``fake`` device, or the real one, ``cupy``."""
    if name == "fake":
        with fake(), use_backend("cupy"):
            yield name
        return
    if name == "cupy":
        pytest.importorskip("cupy", reason="CuPy is not installed")
        try:
            load()
        except RuntimeError as error:
            pytest.skip(str(error))
    with use_backend(name):
        yield name


@contextmanager
def fake() -> Iterator[SimpleNamespace]:
    """Let the backend ``cupy`` be the fake device."""
    if COMPILER is None:
        pytest.skip("the fake device runs CUDA's kernels as C: it needs gcc or cc")
    before = sys.modules.get("cupy")
    load.cache_clear()
    module = install()
    try:
        yield module
    finally:
        load.cache_clear()
        del sys.modules["cupy"]
        if before is not None:
            sys.modules["cupy"] = before


def host(value: Any) -> np.ndarray:
    """The values of a tensor, of an array or of numbers on the host, wherever they are."""
    array = value.data if isinstance(value, Tensor) else value
    return np.asarray(backend_of(array).to_host(array))


def description(marks: str) -> str:
    """What a run with these marks (``-m``) really runs on."""
    if "gpu" in marks and "not gpu" not in marks:
        try:
            import cupy

            device = cupy.cuda.runtime.getDeviceProperties(0)
            return f"{device['name'].decode()}, CuPy {cupy.__version__}"
        except (ImportError, RuntimeError) as error:
            return f"none: no GPU can be had ({error})"
    kernels = f"kernels as C by {COMPILER}" if COMPILER else "left out: no C compiler"
    return f"NumPy, and a fake GPU in strict mode ({kernels}); no real GPU"
