"""Right operands of thin products: packed once per pass, in panels of a few vector registers.

A weight is often the transpose of an array. To transpose it number by number would take two to five
times as long, so squares are transposed in registers. float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..dtypes import plain
from .cache import compiled
from .thin import LANES, number


def _room(*shape: int) -> Any:
    """An array aligned to a cache line, so that no register is loaded from two lines."""
    size, line = math.prod(shape), 64
    numbers = np.empty(size + line // 4, np.float32)
    first = -numbers.__array_interface__["data"][0] % line // 4
    return numbers[first : first + size].reshape(shape)


@intrinsic
def _turn(typing: Any, a: Any, row: Any, k: Any, out: Any, panel: Any,
          lane: Any) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """out[panel, k + j, lane + i] = a[row + i, k + j], for i, j < LANES."""
    signature = types.void(a, row, k, out, panel, lane)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, out = (context.make_array(signature.args[i])(context, builder, args[i]) for i in (0, 3))
        row, k, panel, lane = args[1], args[2], args[4], args[5]
        register = ir.VectorType(ir.FloatType(), LANES)

        def registers(array: Any, *place: Any) -> list[Any]:
            """Pointers to numbers in consecutive lines."""
            shape = cgutils.unpack_tuple(builder, array.shape)
            at = place[0]
            for size, index in zip(shape[1:], place[1:], strict=True):
                at = builder.add(builder.mul(at, size), index)
            lines = [builder.add(at, builder.mul(shape[-1], number(i))) for i in range(LANES)]
            return [
                builder.bitcast(builder.gep(array.data, [i]), register.as_pointer()) for i in lines
            ]

        lines = [builder.load(p, align=4) for p in registers(a, row, k)]
        far = 1
        while far < LANES:  # exchange numbers of lines and columns that differ in this bit
            for i in (i for i in range(LANES) if not i & far):
                pair = lines[i], lines[i + far]
                for odd in (0, far):
                    picked = [LANES * bool(j & far) + (j & ~far | odd) for j in range(LANES)]
                    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), picked)
                    lines[i + odd] = builder.shuffle_vector(*pair, mask)
            far *= 2
        for line, place in zip(lines, registers(out, panel, k, lane), strict=True):
            builder.store(line, place, align=4)
        return context.get_dummy_value()

    return signature, generate


@compiled(fast=False)
def _pack(b: Any, out: Any) -> None:
    """As :func:`pack`, of an array in C order."""
    panels, depth, width = out.shape
    for panel in range(panels):
        low = panel * width
        for k in range(depth):
            for lane in range(width):
                out[panel, k, lane] = b[k, low + lane] if low + lane < b.shape[1] else 0


@compiled(fast=False)
def _pack_turned(a: Any, out: Any) -> None:
    """As :func:`pack`, of the transpose of an array in C order; most of it in whole squares."""
    panels, depth, width = out.shape
    for panel in range(panels):
        for lane in range(0, width, LANES):
            row, done = panel * width + lane, 0
            if row + LANES <= a.shape[0]:
                while done + LANES <= depth:
                    _turn(a, row, done, out, panel, lane)
                    done += LANES
            for i in range(LANES):
                for k in range(done, depth):
                    out[panel, k, lane + i] = a[row + i, k] if row + i < a.shape[0] else 0


def pack(b: Any, parts: int, vectors: int) -> Any:
    """b ``(K, M)`` packed: ``(parts, panels, K, vectors * LANES)``, padded with zeros.

    Args:
        b: The right operand, float32.
        parts: How many products its columns are divided into; each of several has whole panels.
        vectors: Registers across a panel.
    """
    depth, columns = b.shape
    width = vectors * LANES
    out = _room(-(-columns // width), depth, width)
    turned = b.T.flags.c_contiguous
    rows = plain(b.T if turned else b)
    (_pack_turned if turned else _pack)(rows, out)
    return out.reshape(parts, -1, depth, width)
