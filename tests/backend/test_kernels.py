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

import tinygrad_seq as ts
from tinygrad_seq import nn
from tinygrad_seq.backend import Source, backend_named
from tinygrad_seq.backend.cupy import library
from tinygrad_seq.backend.cupy.kernels import KERNELS
from tinygrad_seq.backend.steps import STEPS
from tinygrad_seq.ops.arithmetic import REALS
from tinygrad_seq.recurrence.forms import FORMS, in_c
from tinygrad_seq.recurrence.planning import planned
from tinygrad_seq.recurrence.print_cuda import HOLD, CudaPrinter
from tinygrad_seq.recurrence.record import differentiated, record
from tinygrad_seq.testing import arrays


@pytest.fixture(scope="module", autouse=True)
def gpu():
    with fake():
        yield backend_named("cupy")


def draw(case, *shapes):
    return [case.draw(arrays(shape, REALS)) for shape in shapes]


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


def test_every_kernel_is_used():
    """A source that nobody calls is none."""
    text = Path(library.__file__).read_text()
    for name in KERNELS:
        assert f'"{name}"' in text


def cuda_compiler():
    """CUDA's run-time compiler, from the wheel ``nvidia-cuda-nvrtc-cu12`` or the system."""
    spec = importlib.util.find_spec("nvidia")
    folders = list(spec.submodule_search_locations) if spec else []
    found = [p for f in folders for p in Path(f).glob("c*/lib/libnvrtc.so.1[23]")]
    for candidate in [*found, Path("libnvrtc.so.12"), Path("libnvrtc.so.13")]:
        try:
            for part in candidate.parent.glob("libnvrtc-builtins.so.*"):
                ctypes.CDLL(str(part))  # it looks for it by name alone
            return ctypes.CDLL(str(candidate))
        except OSError:
            continue
    return None


def cuda_source(name, source, kind):
    """A kernel as CuPy would write it, its arrays as plain pointers."""
    finish = ""
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


def compiled_by_cuda(sources, kind):
    """Let CUDA's compiler take sources by name, with T for this kind."""
    nvrtc = cuda_compiler()
    if nvrtc is None:
        pytest.skip("CUDA's compiler is not installed: pip install nvidia-cuda-nvrtc-cu12")
    text = "\n".join(cuda_source(*item, kind) for item in sources.items()).encode()
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


@pytest.mark.parametrize("kind", ["float", "double", "float16"])
def test_cuda_compiles_every_source(kind):
    compiled_by_cuda(KERNELS, kind)


@pytest.mark.parametrize("kind", ["float", "double"])
def test_cuda_compiles_derived_kernels(kind):
    """Those of cells with products, sums over rows and padding; and every form of a map."""
    sources = {}
    for number, make in enumerate((nn.LSTMCell, nn.GRUCell, nn.LayerNormLSTMCell)):
        cell = make(3, 4)
        parts = tuple(ts.zeros(2, 4) for _ in range(1 if make is nn.GRUCell else 2))
        state = parts if len(parts) > 1 else parts[0]
        plan = planned(differentiated(record(cell, ts.zeros(2, 3), state)))
        for way in ("forward", "backward"):
            printed = CudaPrinter(plan, way)
            sources |= {f"{way}{number}_{k}": s for k, s in printed.sources.items()}
    for number, op in enumerate(FORMS):
        operands = ["x", "(T)0.5", "(T)2.0"]
        sources[f"form{number}"] = Source("T x", "T y", f"y = {in_c(op).format(*operands)};")
    sources["hold"] = HOLD
    compiled_by_cuda(sources, kind)
