"""Gradients on a device: through the host, or by a sum on the device. Ranks are threads.

NCCL itself has not run: no machine with a GPU was to be had. What calls it is tested on a double.
"""

from types import SimpleNamespace

import device
import numpy as np
import pytest

from parallel.threads import together
from tinygrad_seq import Tensor, nn
from tinygrad_seq.backend import backend_named, use_backend
from tinygrad_seq.backend.cupy.nccl import joint_sum


@pytest.fixture
def _device():
    with device.fake(), use_backend("cupy"):
        yield


def averaged(team):
    """Two parameters of each of two dtypes, of which one has a gradient on rank 0 alone."""
    params = [nn.Parameter(np.zeros((2, 3), t)) for t in "ffdd"]
    for k, p in enumerate(params):
        there = k or team.rank == 0
        p.grad = Tensor(np.full((2, 3), k + 1 + team.rank, p.dtype)) if there else None
    team.average(params, 1 + team.rank)
    return params


EXPECTED = [1 / 3, (2 + 2 * 3) / 3, (3 + 2 * 4) / 3, (4 + 2 * 5) / 3]


@pytest.mark.usefixtures("_device")
def test_they_go_through_the_host_once_for_each_dtype():
    device.counts.reset()
    ranks = together(2, averaged)
    assert device.counts.downloads == 2 * 2
    for params in ranks:
        assert {p.grad.backend for p in params} == {"cupy"}
        found = [device.host(p.grad)[0, 0] for p in params]
        np.testing.assert_allclose(found, EXPECTED, rtol=1e-6)


@pytest.mark.usefixtures("_device")
def test_a_sum_on_the_device_takes_nothing_to_the_host():
    given = []

    def on_the_device(flat):
        given.append(flat)
        return flat + flat  # another rank's would be the same here

    def program(team):
        team._device_sum = on_the_device if team.size == 2 else None
        params = averaged(team)
        return [p.grad for p in params]

    device.counts.reset()
    ranks = together(2, program)
    assert device.counts.downloads == 0
    assert [g.shape for g in given] == [(12,)] * 4
    assert {type(g.data) for grads in ranks for g in grads} == {backend_named("cupy").array_type}


@pytest.mark.usefixtures("_device")
def test_batches_weights_and_states_come_from_the_device():
    def program(team):
        state = Tensor(np.arange(10.0).reshape(1, 5, 2))
        mine = team.part(state)
        return mine.backend, team.gather(mine)

    for backend, whole in together(2, program):
        assert backend == "cupy"
        np.testing.assert_array_equal(whole, np.arange(10.0).reshape(1, 5, 2))


class Memory(np.ndarray):
    """An array that tells its address as CuPy's do."""

    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)


def test_what_nccl_is_told():
    said = []

    class Communicator:
        def __init__(self, size, key, rank):
            said.append((size, key, rank))

        def allReduce(self, *arguments):
            said.append(arguments)

    nccl = SimpleNamespace(
        available=True,
        get_unique_id=lambda: "the id",
        NcclCommunicator=Communicator,
        NCCL_FLOAT16=6,
        NCCL_FLOAT32=7,
        NCCL_FLOAT64=8,
        NCCL_SUM=0,
    )
    stream = SimpleNamespace(ptr=99)
    outs = []

    def empty_like(array):
        outs.append(np.empty_like(array))
        return outs[-1]

    cuda = SimpleNamespace(nccl=nccl, get_current_stream=lambda: stream)
    cupy = SimpleNamespace(cuda=cuda, empty_like=empty_like)
    total = joint_sum(cupy, 1, 3, lambda given: given or "from rank 0")
    assert said == [(3, "from rank 0", 1)]
    array = np.ones(5, "f4").view(Memory)
    out = total(array)
    assert out is outs[0]
    assert said[1] == (array.ctypes.data, out.ctypes.data, 5, 7, 0, 99)
    assert joint_sum(cupy, 0, 3, lambda given: given)
    assert said[2] == (3, "the id", 0)


def test_without_nccl_there_is_a_sentence():
    cupy = SimpleNamespace(cuda=SimpleNamespace(nccl=SimpleNamespace(available=False)))
    with pytest.raises(RuntimeError, match="finds no NCCL: pip install"):
        joint_sum(cupy, 0, 2, lambda given: given)


def test_each_rank_of_a_machine_takes_a_device():
    used = []
    with device.fake() as cupy:
        cuda = SimpleNamespace(
            runtime=SimpleNamespace(getDeviceCount=lambda: 2),
            Device=lambda k: SimpleNamespace(use=lambda: used.append(k)),
        )
        backend = backend_named("cupy")
        before, cupy.cuda = cupy.cuda, cuda
        for rank in range(3):
            backend.use_device(rank)
        cupy.cuda = before
    assert used == [0, 1, 0]
