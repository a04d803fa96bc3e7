"""The CUDA sources by themselves: each against its composite, and all through CUDA's compiler."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from device import fake
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_seq.backend import backend_named
from tinygrad_seq.backend.cupy.kernels import KERNELS
from tinygrad_seq.backend.recurrence import lstm
from tinygrad_seq.backend.steps import STEPS
from tinygrad_seq.ops.arithmetic import REALS
from tinygrad_seq.testing import arrays

SIZES = st.tuples(st.integers(1, 4), st.integers(1, 5))


@pytest.fixture(scope="module", autouse=True)
def gpu():
    with fake():
        yield backend_named("cupy")


def draw(case, *shapes):
    return [case.draw(arrays(shape, REALS)) for shape in shapes]


def blocks(a, gates, turn=0):
    """``(N, gates*H)`` as ``(gates, N, H)``, and the gates turned as the composites have them."""
    return np.roll(a.reshape(len(a), gates, -1).swapaxes(0, 1), turn, axis=0)


@given(case=st.data(), sizes=SIZES)
def test_lstm_gates(gpu, case, sizes):
    """One kernel forward and one backward, against the functions that are their specification."""
    N, H = sizes
    wx, uh, c, h_, c_, gy = draw(case, *[(N, 4 * H)] * 2, *[(N, H)] * 4)
    h1, c1, room = np.empty((N, H)), np.empty((N, H)), np.empty((4, N, H))
    v, halves = np.empty((4, N, H)), np.array([0.5, 0.5, 0.5, 1.0])[:, None, None]
    lstm.lstm_gates(np, blocks(wx, 4, 1) * halves, blocks(uh, 4, 1) * halves, c, v, c1, h1)
    a, c_before = np.empty((4, N, H)), c_.copy()
    lstm.lstm_gates_backward(np, v, c, c1, h_ + gy, c_before, a, room)

    there = gpu.from_host
    none, values = there(np.zeros(1, bool)), gpu.np.empty((N, 4 * H))
    h2, c2, a2, kept = (gpu.np.empty(s) for s in ((N, H), (N, H), (N, 4 * H), (N, H)))
    where = (H, none, False)
    gpu._kernel("lstm")(*map(there, (wx, uh, c, c)), *where, h2, c2, values)
    back = (there(h_), there(np.zeros((N, H))), there(gy), True)
    cells = (values, there(c), c2, there(c_))
    c3 = gpu.np.empty((N, H))
    gpu._kernel("lstm_backward")(*back, *cells, *where, a2, c3, kept)
    pairs = [(h2, h1), (c2, c1), (c3, c_before), (kept, np.zeros((N, H)))]
    pairs += [(values, v), (a2, a)]
    for found, expected in pairs:
        found = gpu.to_host(found)
        found = blocks(found, 4, 1) if expected.ndim == 3 else found
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


@given(case=st.data(), rows=st.integers(1, 5), classes=st.integers(1, 6))
def test_cross_entropy(gpu, case, rows, classes):
    (x, g) = draw(case, (rows, classes), (rows,))
    targets = np.array([case.draw(st.integers(-1, classes - 1)) for _ in range(rows)])
    loss, saved = STEPS["cross_entropy"](np, x, targets, True)
    there = gpu.from_host
    found, kept = gpu.kernels["cross_entropy"](gpu.np, there(x), there(targets), True)
    np.testing.assert_allclose(gpu.to_host(found), loss, rtol=1e-12, atol=1e-13)
    slope = gpu.kernels["cross_entropy_backward"](gpu.np, there(g), kept)
    expected = STEPS["cross_entropy_backward"](np, g, saved)
    np.testing.assert_allclose(gpu.to_host(slope), expected, rtol=1e-12, atol=1e-13)


def test_uniform_is_philox(gpu):
    """Known answers of the authors' test file, and the first two moments."""
    out = gpu.np.empty(4, np.float32)
    gpu._kernel("uniform")(0, out)
    assert gpu.to_host(out)[0] == np.float32((0x6627E8D5 >> 8) * 2.0**-24)
    out = gpu.np.empty(100_000, np.float32)
    gpu._kernel("uniform")(2**62 + 12345, out)
    drawn = gpu.to_host(out).astype(float)
    assert 0 <= drawn.min() < drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.005
    assert abs(drawn.var() - 1 / 12) < 0.001
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.01


def test_every_kernel_is_used(gpu):
    """A source that nobody calls is none."""
    folder = Path(importlib.util.find_spec("tinygrad_seq.backend.cupy").origin).parent
    text = (folder / "library.py").read_text() + (folder / "recurrent.py").read_text()
    for name in KERNELS:
        assert f'"{name}"' in text or f'"{name.removesuffix("_backward")}"' in text


def cuda_compiler():
    """CUDA's run-time compiler, from the wheel ``nvidia-cuda-nvrtc-cu12`` or the system."""
    spec = importlib.util.find_spec("nvidia")
    folders = list(spec.submodule_search_locations) if spec else []
    found = [p for f in folders for p in Path(f).glob("c*/lib/libnvrtc.so.1[23]")]
    for candidate in [*map(str, found), "libnvrtc.so.12", "libnvrtc.so.13"]:
        try:
            return ctypes.CDLL(candidate)
        except OSError:
            continue
    return None


def cuda_source(name, kind):
    """A kernel as CuPy would write it, its arrays as plain pointers."""
    source, finish = KERNELS[name], ""
    ins, outs = ([part.split() for part in text.split(", ")] for text in (source.ins, source.outs))
    arguments, lines = [], []
    for *raw, c, variable in ins:
        arguments.append(f"const {c}* _{variable}")
        place = f"_{variable}" if raw else f"_{variable}[i]"
        lines.append(f"const {c}{'*' if raw else ''} {variable} = {place};")
    for *raw, c, variable in outs:
        arguments.append(f"{c}* __{variable}")
        place = f"__{variable}" if raw else f"__{variable}[i]"
        lines.append(f"{c}{'*' if raw else '&'} {variable} = {place};")
    body = source.body
    if source.reduce is not None:
        meet, finish, first = source.reduce
        c = outs[0][-2]
        body = f"{c} s = {first}; {{ {c} a = s, b = {body}; s = {meet}; }} {c} a = s; {finish};"
    return (
        f"typedef {kind} T; typedef double float64; typedef long long int64;\n"
        f'extern "C" __global__ void k_{name}(long count_, {", ".join(arguments)}) {{\n'
        "  long i = (long)blockIdx.x * blockDim.x + threadIdx.x;\n"
        f"  if (i >= count_) return;\n  {' '.join(lines)}\n{body}\n}}\n"
    )


# As CuPy's float16, which computes as a float and mixes with none in ``c ? a : b``.
HALF = b"""struct float16 {
  float v;
  __device__ float16() {}
  __device__ float16(float x) : v(x) {}
  __device__ operator float() const { return v; }
  __device__ float16& operator+=(float x) { v += x; return *this; }
};
"""


@pytest.mark.parametrize("kind", ["float", "double", "float16"])
def test_cuda_compiles_every_source(kind):
    nvrtc = cuda_compiler()
    if nvrtc is None:
        pytest.skip("CUDA's compiler is not installed: pip install nvidia-cuda-nvrtc-cu12")
    text = "\n".join(cuda_source(name, kind) for name in KERNELS).encode()
    once = b"typedef " + kind.encode() + b" T; typedef double float64; typedef long long int64;\n"
    text = HALF + once + text.replace(once, b"")
    program = ctypes.c_void_p()
    assert not nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, b"kernels.cu", 0, None, None)
    options = (ctypes.c_char_p * 1)(b"--gpu-architecture=compute_80")
    failed = nvrtc.nvrtcCompileProgram(program, 1, options)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    assert not failed, log.value.decode()
