"""What only a real GPU can show; with ``tests/backend/test_devices.py``, ``pytest -m gpu``."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from device import selected

import tinygrad_seq as ts
from tinygrad_seq import nn, optim

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", autouse=True)
def _on_a_gpu():
    with selected("cupy"):
        yield


class Model(nn.Module):
    def __init__(self):
        self.embed = nn.Embedding(50, 64)
        self.recur = nn.LSTM(64, 128, num_layers=2, dropout=0.1)
        self.read = nn.Linear(128, 50)

    def forward(self, ids):
        return self.read(self.recur(self.embed(ids))[0])


def steps(count):
    """Some steps of training from a seed: the model, and a function for one more."""
    ts.manual_seed(0)
    model = Model()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    inputs, targets = np.random.default_rng(0).integers(0, 50, (2, 35, 20))

    def step():
        loss = nn.cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    for _ in range(count):
        step()
    return model, step


def test_training_is_the_same_bit_by_bit_when_repeated():
    first, second = (steps(5)[0].state_dict() for _ in range(2))
    for name, value in first.items():
        assert value.tobytes() == second[name].tobytes(), name


@pytest.mark.filterwarnings("ignore:cupyx.allow_synchronize")  # it may miss one, and warns so
def test_a_training_step_does_not_wait():
    """CuPy's own detector of synchronisations, after a step that compiled the kernels."""
    cupyx = pytest.importorskip("cupyx")
    _, step = steps(2)
    with cupyx.allow_synchronize(False):
        loss = step()
    assert np.isfinite(loss.item())


@pytest.mark.parametrize("layer", [nn.RNN, nn.GRU, nn.LSTM])
def test_float32_is_close_to_float64(layer):
    """At a size where products and kernels use whole blocks."""
    results = []
    for dtype in ("f4", "f8"):
        ts.manual_seed(1)
        net = layer(96, 160, dtype="f8").astype(dtype)
        x = ts.Tensor(np.random.default_rng(0).normal(size=(30, 33, 96)).astype(dtype))
        x.requires_grad_()
        (net(x)[0] ** 2).mean().backward()
        results.append([x.grad.numpy(), *(p.grad.numpy() for p in net.parameters())])
    for single, double in zip(*results, strict=True):
        assert np.abs(single - double).max() < 2e-4 * np.abs(double).max()


def test_out_of_memory_leaves_a_usable_process():
    import cupy

    with pytest.raises(cupy.cuda.memory.OutOfMemoryError):
        ts.zeros(1 << 45)
    big = nn.LSTM(64, 64)
    too_many = cupy.cuda.runtime.memGetInfo()[1] // (64 * 4 * 4)  # their gates fill the card
    with pytest.raises(cupy.cuda.memory.OutOfMemoryError):
        big(ts.ones(1, too_many, 64))
    gc.collect()
    cupy.get_default_memory_pool().free_all_blocks()
    _, step = steps(1)
    assert np.isfinite(step().item())


def test_memory_is_shared_with_pytorch():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    ours = ts.arange(4, dtype="f4")
    theirs = torch.from_dlpack(ours)
    theirs += 1
    torch.cuda.synchronize()
    assert ours.tolist() == [1, 2, 3, 4]
    back = ts.from_dlpack(theirs)
    assert back.backend == "cupy"
    assert back.data.data.ptr == ours.data.data.ptr
    assert torch.as_tensor(ours, device="cuda").data_ptr() == ours.data.data.ptr


def test_memory_is_shared_with_jax(monkeypatch):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # it would take most of the card
    jax = pytest.importorskip("jax")
    if jax.default_backend() != "gpu":
        pytest.skip("this JAX has no CUDA")
    ours = ts.arange(4, dtype="f4")
    assert ts.from_dlpack(jax.dlpack.from_dlpack(ours)).data.data.ptr == ours.data.data.ptr
