"""Right operands of thin products: packed once per pass, in panels of a few vector registers.

Weights ``(gates*H, K)`` multiply from the left, so their transpose is packed. Transposing number by
number would take longer than the rest, so squares are transposed in registers. float32.
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

from .cache import compiled
from .thin import LANES, number


def _room(*shape: int) -> Any:
    """An array aligned to a cache line, so that no register is loaded from two lines."""
    size, line = math.prod(shape), 64
    numbers = np.empty(size + line // 4, np.float32)
    first = -numbers.__array_interface__["data"][0] % line // 4
    return numbers[first : first + size].reshape(shape)


@compiled(fast=False)
def _pack(b: Any, out: Any) -> None:
    panels, depth, width = out.shape
    for panel in range(panels):
        low = panel * width
        for k in range(depth):
            for lane in range(width):
                out[panel, k, lane] = b[k, low + lane] if low + lane < b.shape[1] else 0


def pack(b: Any, vectors: int) -> Any:
    """b ``(K, columns)`` in panels ``(panels, K, vectors * LANES)``, padded with zeros."""
    depth, columns = b.shape
    width = vectors * LANES
    out = _room(-(-columns // width), depth, width)
    _pack(b, out)
    return out


@intrinsic
def _turn(typing: Any, a: Any, row: Any, column: Any, scale: Any, out: Any, panel: Any, k: Any,
          lane: Any) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """out[panel, k + j, lane + i] = scale * a[row + i, column + j], for i, j < LANES."""
    signature = types.void(a, row, column, scale, out, panel, k, lane)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, out = (context.make_array(signature.args[i])(context, builder, args[i]) for i in (0, 4))
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

        factor = ir.Constant(register, ir.Undefined)
        for i in range(LANES):
            factor = builder.insert_element(factor, args[3], ir.Constant(ir.IntType(32), i))
        lines = [
            builder.fmul(builder.load(p, align=4), factor) for p in registers(a, args[1], args[2])
        ]
        far = 1
        while far < LANES:  # exchange numbers of lines and columns that differ in this bit
            for i in (i for i in range(LANES) if not i & far):
                pair = lines[i], lines[i + far]
                for odd in (0, far):
                    picked = [LANES * bool(j & far) + (j & ~far | odd) for j in range(LANES)]
                    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), picked)
                    lines[i + odd] = builder.shuffle_vector(*pair, mask)
            far *= 2
        for line, place in zip(lines, registers(out, *args[5:]), strict=True):
            builder.store(line, place, align=4)
        return context.get_dummy_value()

    return signature, generate


@compiled(fast=False)
def _pack_gates(A: Any, H: int, halved: int, turn: int, out: Any) -> None:
    """Into ``(panels, K, width)``, as :func:`pack_gates`; most of it in whole squares."""
    panels, depth, width = out.shape
    count = A.shape[0]
    for panel in range(panels):
        for lane in range(0, width, LANES):
            first = panel * width + lane
            row = (first + count - turn * H) % count
            scale = np.float32(0.5 if first < halved * H else 1)
            together = first >= halved * H or first + LANES <= halved * H
            done = 0
            if together and max(first, row) + LANES <= count:
                while done + LANES <= depth:
                    _turn(A, row, done, scale, out, panel, done, lane)
                    done += LANES
            for column in range(first, first + LANES):
                row = (column + count - turn * H) % count
                scale = np.float32(0.5 if column < halved * H else 1)
                for k in range(done, depth):
                    out[panel, k, column - panel * width] = (
                        scale * A[row, k] if column < count else 0
                    )


def pack_gates(A: Any, gates: int, halved: int, turn: int, vectors: int, apart: bool) -> Any:
    """The transposed weights of gates, packed.

    Args:
        A: ``(gates*H, K)``.
        apart: Whether each gate is a separate product, which needs no padding.

    Returns:
        ``(gates, panels, K, vectors * LANES)``, or side by side as one, ``(1, ...)``.
    """
    count, depth = A.shape
    width, blocks = vectors * LANES, gates if apart else 1
    out = _room(-(-count // width), depth, width)
    _pack_gates(A, count // gates, halved, turn, out)
    return out.reshape(blocks, -1, depth, width)
