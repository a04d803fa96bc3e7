"""CUDA's kernels as C: the body that a GPU would run for each element, run in a loop.

What CuPy refuses is refused: host arrays, dtypes that do not agree, scalars where an array is
declared ``raw``, a size where there is an array to take it from.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .fake_cupy import FLOATS, NAMES, _from_host, counts, ndarray, refuse_race

C_TYPES = {"float32": "float", "float64": "double", "int64": "long long", "bool": "_Bool"}
COMPILER = shutil.which("gcc") or shutil.which("cc")


@functools.cache
def _folder() -> Path:
    folder = tempfile.mkdtemp(prefix="kernels")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@functools.cache
def _compiled(source: str) -> Any:
    """The function ``run`` of a C source."""
    if COMPILER is None:
        raise RuntimeError("the fake device runs kernels as C: it needs gcc or cc")
    path = _folder() / f"k{abs(hash(source)):x}"
    path.with_suffix(".c").write_text(source)
    options = ["-O1", "-std=c11", "-ffp-contract=off", "-Wall", "-Werror", "-Wno-unused"]
    target = path.with_suffix(".so")
    command = [COMPILER, *options, "-shared", "-fPIC", path.with_suffix(".c"), "-o", target, "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{source}\n{done.stderr}")
    return ctypes.CDLL(str(target)).run


class _Parameter:
    """One declared argument: ``raw T x``."""

    def __init__(self, text: str) -> None:
        *raw, self.type, self.name = text.split()
        if self.name in ("n", "i") or self.name.startswith("_"):
            raise ValueError(f"{self.name!r} is reserved in CuPy's kernels")
        self.raw = raw == ["raw"]

    def accept(self, value: Any, dtypes: dict[str, np.dtype]) -> None:
        """Check a value, and settle what ``T`` is."""
        if isinstance(value, ndarray):
            expected = dtypes.setdefault(self.type, value.dtype) if self.type == "T" else self.type
            if value.dtype != expected:
                raise TypeError(f"{self.name} is {value.dtype}; the kernel has {expected} there")
        elif self.raw or not isinstance(value, FLOATS) or isinstance(value, str | type(None)):
            raise TypeError(f"Unsupported type {type(value)} for {self.name}")


def _parameters(text: str) -> list[_Parameter]:
    return [_Parameter(part.strip()) for part in text.split(",")]


def _run(source: str, sizes: list[int], arrays: list[np.ndarray]) -> None:
    arguments = [ctypes.c_longlong(n) for n in sizes]
    _compiled(source)(*arguments, *(ctypes.c_void_p(a.ctypes.data) for a in arrays))
    counts.launches += 1


class _Kernel:
    def __init__(self, kind: str, ins: str, outs: str, names: list[str], kwargs: Any) -> None:
        unknown = set(kwargs) - set(NAMES[kind])
        if unknown:
            raise TypeError(f"a kernel got unexpected keywords {unknown}")
        self.ins, self.outs = _parameters(ins), _parameters(outs)

    def _settle(self, args: tuple[Any, ...]) -> tuple[list[Any], list[Any], dict[str, np.dtype]]:
        if len(args) not in (len(self.ins), len(self.ins) + len(self.outs)):
            raise TypeError(f"Wrong number of arguments: {len(args)}")
        ins, outs = list(args[: len(self.ins)]), list(args[len(self.ins) :])
        dtypes: dict[str, np.dtype] = {}
        for parameter, value in zip(self.outs, outs, strict=bool(outs)):
            if not isinstance(value, ndarray):
                raise TypeError("Output arguments must be cupy.ndarray")
            parameter.accept(value, dtypes)
        for parameter, value in zip(self.ins, ins, strict=True):
            parameter.accept(value, dtypes)
        return ins, outs, dtypes

    def _dtype(self, parameter: _Parameter, dtypes: dict[str, np.dtype]) -> np.dtype:
        return np.dtype(dtypes["T"] if parameter.type == "T" else parameter.type)

    def _head(self, dtypes: dict[str, np.dtype]) -> str:
        kind = f"typedef {C_TYPES[dtypes['T'].name]} T;\n" if "T" in dtypes else ""
        return "#include <tgmath.h>\n#include <stdbool.h>\ntypedef long long int64;\n" + (
            "typedef double float64;\n" + kind
        )


class ElementwiseKernel(_Kernel):
    """The body for every ``i``, out of order: on a GPU there is none."""

    def __init__(self, ins: str, outs: str, body: str, name: str = "kernel", **kwargs: Any) -> None:
        super().__init__("kernel", ins, outs, [name], kwargs)
        self.body = body

    def __call__(self, *args: Any, size: int | None = None) -> Any:
        ins, outs, dtypes = self._settle(args)
        spread = [
            v for p, v in zip((*self.ins, *self.outs), (*ins, *outs), strict=False)
            if not p.raw and isinstance(v, ndarray)
        ]  # fmt: skip
        if (size is None) == (not spread):
            raise ValueError("size is given if, and only if, every array is raw")
        shape = np.broadcast_shapes(*(v.shape for v in spread)) if spread else (size,)
        if not outs:
            outs = [_from_host(np.empty(shape, self._dtype(p, dtypes))) for p in self.outs]
        n = int(np.prod(shape))
        for parameter, value in zip(self.outs, outs, strict=True):
            refuse_race(value, ins)
            if not parameter.raw and value.shape != shape:
                raise ValueError(f"Out shape is mismatched: {value.shape}, {shape}")
        if n:
            self._loop(n, shape, ins, outs, dtypes)
        return outs[0] if len(outs) == 1 else tuple(outs)

    def _loop(self, n: int, shape: Any, ins: Any, outs: Any, dtypes: Any) -> None:
        names, lines, ends, buffers, back = [], [], [], [], []
        for parameter, value in zip(self.ins, ins, strict=True):
            kind = self._dtype(parameter, dtypes)
            host = value._host if isinstance(value, ndarray) else np.asarray(value, kind)
            if not parameter.raw:
                host = np.broadcast_to(host, shape)
            buffers.append(np.array(host, kind, order="C"))
            c = C_TYPES[kind.name]
            names.append(f"const {c}* _{parameter.name}")
            seen = "{0} = _{0}" if parameter.raw else "{0} = _{0}[i]"
            lines.append(f"const {c}{'*' * parameter.raw} " + seen.format(parameter.name) + ";")
        for parameter, value in zip(self.outs, outs, strict=True):
            direct = value._host.flags.c_contiguous
            buffers.append(value._host if direct else np.array(value._host, order="C"))
            back += [] if direct else [(value._host, buffers[-1])]
            c = C_TYPES[value.dtype.name]
            names.append(f"{c}* _{parameter.name}")
            if parameter.raw:
                lines.append(f"{c}* {parameter.name} = _{parameter.name};")
            else:
                lines.append(f"{c} {parameter.name} = _{parameter.name}[i];")
                ends.append(f"_{parameter.name}[i] = {parameter.name};")
        source = (
            f"{self._head(dtypes)}void run(long long _n, {', '.join(names)}) {{\n"
            "for (long long _k = 0; _k < _n; _k++) { const long long i = _k * 1000003 % _n;\n"
            f"{' '.join(lines)}\n{{ {self.body} }}\n"
            f"{' '.join(ends)} }} }}\n"
        )
        _run(source, [n], buffers)
        for host, buffer in back:
            host[...] = buffer


def on_host(source: Any) -> Any:
    """A kernel of a source for NumPy's own arrays: with the same checks, and no device."""
    kernel = ElementwiseKernel(source.ins, source.outs, source.body)

    def call(*args: Any, size: int) -> None:
        kernel(*[_from_host(a) if isinstance(a, np.ndarray) else a for a in args], size=size)

    return call


class ReductionKernel(_Kernel):
    """Map, meet and finish, along axes."""

    def __init__(
        self, ins: str, outs: str, map_expr: str, reduce_expr: str, post: str, identity: str,
        name: str = "reduce_kernel", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__("reduction", ins, outs, [name], kwargs)
        self.parts = (map_expr, reduce_expr, post, identity)

    def __call__(self, *args: Any, axis: Any = None, keepdims: bool = False) -> ndarray:
        ins, outs, dtypes = self._settle(args)
        assert not outs, "not needed so far"
        shape = np.broadcast_shapes(*(v.shape for v in ins))
        axes = (
            tuple(range(len(shape))) if axis is None else (axis,) if isinstance(axis, int) else axis
        )
        axes = tuple(k % len(shape) for k in axes)
        kept = tuple(k for k in range(len(shape)) if k not in axes)
        buffers = [
            np.ascontiguousarray(np.broadcast_to(v._host, shape).transpose(kept + axes))
            for v in ins
        ]
        rows = tuple(shape[k] for k in kept)
        kind = self._dtype(self.outs[0], dtypes)
        out = np.empty(rows, kind)
        mapped, meet, post, identity = self.parts
        names = [
            f"const {C_TYPES[b.dtype.name]}* _{p.name}"
            for p, b in zip(self.ins, buffers, strict=True)
        ]
        reads = " ".join(
            f"const {C_TYPES[b.dtype.name]} {p.name} = _{p.name}[_r * _m + _k];"
            for p, b in zip(self.ins, buffers, strict=True)
        )
        c, y = C_TYPES[kind.name], self.outs[0].name
        source = (
            f"{self._head(dtypes)}void run(long long _n, long long _m, {', '.join(names)}, {c}* _y)"
            " {\n"
            f"for (long long _r = 0; _r < _n; _r++) {{ {c} _s = {identity};\n"
            f"for (long long _k = 0; _k < _m; _k++) {{ {reads} const {c} a = _s, b = {mapped};\n"
            f"_s = {meet}; }}\n{{ const {c} a = _s; {c} {y}; {post}; _y[_r] = {y}; }} }} }}\n"
        )
        _run(source, [out.size, int(np.prod([shape[k] for k in axes]))], [*buffers, out])
        return _from_host(
            out.reshape([1 if k in axes else n for k, n in enumerate(shape)]) if keepdims else out
        )
