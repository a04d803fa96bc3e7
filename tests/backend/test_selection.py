"""Choosing a backend: where creation happens, what cannot be mixed, what is said without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import types

import numpy as np
import pytest
from device import fake

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.backend import select, use_backend
from tinygrad_seq.backend.cupy import load


@pytest.fixture
def device():
    with fake() as module:
        yield module


def test_creation_happens_where_it_was_chosen(device):
    makers = (
        lambda: ts.tensor([1.0]),
        lambda: ts.Tensor(np.ones(2)),
        lambda: ts.zeros(2),
        lambda: ts.full(2, 1.0),
        lambda: ts.arange(3),
        lambda: ts.eye(2),
        lambda: ts.linspace(0, 1, 3),
        lambda: ts.rand(2),
        lambda: ts.randn(2),
        lambda: nn.Linear(2, 3).weight,
    )
    for make in makers:
        assert make().backend == "numpy"
        with use_backend("cupy"):
            assert make().backend == "cupy"
            with use_backend("numpy"):
                assert make().backend == "numpy"
        assert make().backend == "numpy"
    x = ts.ones(2)
    with use_backend("cupy"):
        y = ts.ones(2)
        assert ts.zeros_like(y).backend == "cupy"
        assert x.backend == (x * 2).backend == "numpy"  # what exists stays where it is
    assert ts.ones_like(y).backend == (y + 1).backend == (y * [1.0, 2.0]).backend == "cupy"
    assert ([1.0, 2.0] * y).backend == "cupy"


def test_a_choice_lasts_until_the_next(device):
    try:
        use_backend("cupy")
        assert ts.zeros(1).backend == "cupy"
    finally:
        use_backend("numpy")
    assert ts.zeros(1).backend == "numpy"


def test_the_environment_chooses(device, monkeypatch):
    monkeypatch.setattr(select, "_selected", None)
    monkeypatch.setenv("TINYGRAD_SEQ_BACKEND", "cupy")
    assert ts.zeros(1).backend == "cupy"
    monkeypatch.setattr(select, "_selected", None)
    monkeypatch.setenv("TINYGRAD_SEQ_BACKEND", "jax")
    with pytest.raises(ValueError, match="one of 'numpy', 'cupy'; got 'jax'"):
        ts.zeros(1)


def test_a_backend_that_there_is_not():
    with pytest.raises(ValueError, match="'numpy', 'cupy'; got 'cuda'"):
        use_backend("cuda")
    with pytest.raises(TypeError, match=r"astype\(dtype\)"):
        ts.zeros(1).to(np.float64)
    assert ts.zeros(1).backend == "numpy"


def test_what_lives_on_two_sides_is_not_mixed(device):
    host = ts.ones(2, 3, requires_grad=True)
    there = ts.ones(3).to("cupy")
    mixtures = (
        lambda: host + there,
        lambda: there @ np.ones(3),
        lambda: ts.concatenate([host[0], there]),
        lambda: ts.where(np.array([True, False, True]), there, there),
        lambda: nn.Linear(3, 2)(there),
        lambda: nn.LSTM(3, 2)(there.reshape(1, 1, 3)),
        lambda: (there * 1).requires_grad_().backward(host[0]),
    )
    for mix in mixtures:
        with pytest.raises(
            TypeError, match=r"on one side only; got one .* on (numpy|cupy) and one"
        ):
            mix()
    with use_backend("cupy"):  # a NumPy array is new: it goes where creation happens
        assert (there * np.arange(3)).tolist() == (np.arange(3) * there).tolist() == [0, 1, 2]
        assert ts.where(np.array([True, False, True]), there, 0).tolist() == [1, 0, 1]
        with pytest.raises(TypeError, match="one side"):
            host + there
    leaf = there.requires_grad_()
    with pytest.raises(TypeError, match="one side"):
        leaf.grad = ts.ones(3)
    y = there.detach()
    y[1:] = host.detach()[0, :2] * 5  # writing carries over, as loading a state does
    assert y.tolist() == [1, 5, 5]


def test_without_cupy_a_sentence_says_what_to_install(monkeypatch):
    load.cache_clear()
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match=r"pip install 'cupy-cuda12x\[ctk\]'"):
        use_backend("cupy")
    with pytest.raises(RuntimeError, match="needs CuPy"):
        nn.Linear(2, 2).to("cupy")
    assert ts.zeros(1).backend == "numpy"


def test_without_a_gpu_a_sentence_says_so(monkeypatch):
    def no_driver():
        raise RuntimeError("cudaErrorInsufficientDriver")

    runtime = types.SimpleNamespace(getDeviceCount=no_driver)
    module = types.SimpleNamespace(cuda=types.SimpleNamespace(runtime=runtime))
    load.cache_clear()
    monkeypatch.setitem(sys.modules, "cupy", module)
    with pytest.raises(RuntimeError, match=r"needs an NVIDIA GPU.*cudaError.*cuda12"):
        use_backend("cupy")
    runtime.getDeviceCount = lambda: 0
    with pytest.raises(RuntimeError, match="CUDA sees none"):
        use_backend("cupy")


def test_importing_and_using_numpy_never_imports_cupy():
    code = (
        "import sys, tinygrad_seq as ts\n"
        "ts.tensor([1.0]).sum(); ts.nn.LSTM(2, 3)(ts.zeros(2, 1, 2))\n"
        "assert not {'cupy', 'cupy_backends'} & sys.modules.keys()"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TINYGRAD_SEQ_BACKEND"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_memory_is_shared_with_other_libraries(device):
    there = ts.arange(3).to("cupy")
    again = ts.from_dlpack(there)
    assert again.backend == "cupy"
    there[0] = 7
    assert again.tolist() == [7, 1, 2]
    assert there.__dlpack_device__() == (2, 0)
    assert there.__cuda_array_interface__["shape"] == (3,)
    assert not hasattr(ts.zeros(3), "__cuda_array_interface__")
    weight = ts.ones(2).to("cupy").requires_grad_()
    assert not hasattr(weight, "__cuda_array_interface__")  # its graph would be lost
    with use_backend("cupy"):  # what was handed over stays on the host
        assert ts.from_dlpack(np.ones(2)).backend == "numpy"


def test_a_tensor_of_the_device_reads_as_any_other(device):
    t = ts.Tensor([1.0, 2.5]).to("cupy")
    assert repr(t) == "Tensor([1. , 2.5], dtype=float32)"
    assert t.tolist() == [1, 2.5]
    assert (t[0].item(), float(t[1]), f"{t[1]:.2f}", bool(t[0]), 2.5 in t) == (1, 2.5, "2.50", 1, 1)
    assert int(ts.Tensor(np.array(3)).to("cupy")) == 3
    assert list(range(9))[ts.Tensor(np.array(3)).to("cupy")] == 3
    np.testing.assert_array_equal(t.numpy(), np.float32([1, 2.5]))
    np.testing.assert_array_equal(np.asarray(t), t.numpy())
    np.testing.assert_array_equal(np.tanh(t).numpy(), np.tanh(t.numpy()))
