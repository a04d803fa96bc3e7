"""The form of each map, as numba and CUDA get it, against its primitive."""

from __future__ import annotations

import numpy as np
import pytest
from device import fake, host

import tinygrad_seq as ts
from tinygrad_seq import ops
from tinygrad_seq.backend import Source, backend_named
from tinygrad_seq.recurrence.forms import FORMS, in_c, in_python, with_functions
from tinygrad_seq.recurrence.program import SAME

from .plain_machine import PlainMachine

NUMBERS = np.array([-np.inf, -1e4, -3.0, -1.0, -0.3, -0.0, 0.0, 0.2, 1.0, 2.5, 1e4, np.inf, np.nan])
CONDITIONS = {
    ops.logical_and, ops.logical_or, ops.logical_xor, ops.logical_not, ops.bitwise_and,
    ops.bitwise_or, ops.bitwise_xor, ops.invert,
}  # fmt: skip
OPTIONS = {ops.leaky_relu: 0.7, ops.elu: 0.7, ops.round: 1}
MAPS = [op for op in FORMS if op is not SAME]


def case(op, dtype):
    """Operands at every pair of numbers, also those that are not finite, and the result."""
    a, b = (v.ravel().astype(dtype) for v in np.meshgrid(NUMBERS, NUMBERS))
    if op in CONDITIONS:
        a, b = a > 0.5, b > 0.5
    operands = [a > 0.5, a, b] if op is ops.where else [a, b][: 1 + ("b" in arguments(op))]
    if op in OPTIONS:
        operands[1] = OPTIONS[op]
    with np.errstate(all="ignore"):
        expected = np.asarray(op.forward(*operands))
    return [np.full_like(a, v) if v is OPTIONS.get(op) else v for v in operands], expected


def arguments(op):
    return [name for k, name in enumerate("abc") if f"{{{k}}}" in in_c(op)]


def loop_of(op):
    names = arguments(op)
    element = in_python(op).format(*[f"{name}[j]" for name in names])
    return with_functions(
        f"def loop({', '.join(names)}, y):\n    for j in range(len(y)):\n        y[j] = {element}\n"
    )


@pytest.mark.parametrize("op", MAPS, ids=lambda op: op.name)
def test_a_form_in_python_is_its_primitive(op):
    operands, expected = case(op, "f8")
    y = np.empty_like(expected)
    PlainMachine().compiled(loop_of(op))(*operands, y)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-15)


def test_a_form_compiled_by_numba_is_its_primitive():
    """All in one text, which is compiled once."""
    pytest.importorskip("numba")
    from tinygrad_seq.backend.jit.texts import compiled_text

    with ts.use_jit(True):
        lines, arrays, expected = [], [], []
        for op in MAPS:
            operands, y = case(op, "f4")
            names = [f"a{len(arrays) + k}" for k in range(len(operands))]
            out = f"a{len(arrays) + len(names)}"
            element = in_python(op).format(*[f"{name}[j]" for name in names])
            lines += [f"    for j in range(len({out})):", f"        {out}[j] = {element}"]
            arrays += [*operands, np.empty(y.shape, "f4")]
            expected.append((op, len(arrays) - 1, y))
        head = f"def loop({', '.join([f'a{k}' for k in range(len(arrays))])}):"
        compiled_text(with_functions("\n".join([head, *lines]) + "\n"))(*arrays)
    for op, k, y in expected:
        np.testing.assert_allclose(arrays[k], y.astype("f4"), rtol=3e-6, atol=1e-6, err_msg=op.name)


@pytest.mark.parametrize("op", MAPS, ids=lambda op: op.name)
def test_a_form_in_c_is_its_primitive(op):
    operands, expected = case(op, "f8")
    names = arguments(op)
    kinds = ["bool" if v.dtype == bool else "T" for v in operands]
    source = Source(
        ", ".join(f"{kind} {name}" for kind, name in zip(kinds, names, strict=True)),
        f"{'bool' if expected.dtype == bool else 'T'} y",
        f"y = {in_c(op).format(*names)};",
    )
    with fake():
        gpu = backend_named("cupy")
        y = gpu.np.empty(expected.shape, expected.dtype)
        gpu.kernel(source)(*[gpu.from_host(v) for v in operands], y)
        np.testing.assert_allclose(host(y), expected, rtol=1e-12, atol=1e-15)
