"""Thin products for compiled loops: a few rows, times a matrix that is packed once for many steps.

A BLAS packs its right operand in every call, which for a few rows costs as much as the product.
Here it is packed once per pass over a sequence, in *panels* as wide as a few vector registers. A
*tile*, some rows of the product by one panel, keeps all its sums in registers, one multiply-add for
each. float32 only.

Compilers do not find this form, so the tile is written in LLVM's own language.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from .native import calling, native, view

# What numba compiles for, which it also knows its cached machine code by. (Not what the machine
# has: NUMBA_CPU_NAME and NUMBA_CPU_FEATURES may say less.)
_, _, _FEATURES = cpu_target.target_context.codegen().magic_tuple()

LANES = next((n for n, name in ((16, "+avx512f"), (8, "+avx")) if name in _FEATURES.split(",")), 4)
"""float32 numbers in a vector register."""

TILES = {2: 8, 4: 6, 8: 3} if LANES == 16 else {1: 8, 2: 6, 4: 3}
"""Registers across a panel: rows of a tile at most. The sums, a row of the panel and a factor stay
in registers, of which there are 32 with AVX-512 and 16 before."""

AHEAD = 32
"""The inputs of steps are projected so many rows at a time, which reads W once for all of them."""

LATENCY = 8
"""Multiply-adds that a processor begins before it has the sum of the first."""


@intrinsic
def _tile(typing: Any, rows: Any, vectors: Any, a: Any, stride: Any, b: Any, depth: Any, out: Any,
          width: Any, add: Any) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """One tile of :func:`product`: ``rows`` rows by one panel; a, b and out are pointers to them.

    Every size of a tile has straight-line code; a switch selects it.
    """
    signature = types.void(rows, vectors, a, stride, b, depth, out, width, add)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows, vectors, a, stride, b, depth, out, width, add = args
        started = builder.icmp_signed("!=", add, number(0))
        done = builder.append_basic_block("done")
        size = builder.add(builder.mul(vectors, number(16)), rows)
        choice = builder.switch(size, done)
        for across, most in TILES.items():
            for down in range(1, most + 1):
                block = builder.append_basic_block(f"tile_{down}_{across}")
                choice.add_case(number(16 * across + down), block)
                builder.position_at_end(block)
                _one_tile(builder, a, stride, b, depth, out, width, started, down, across)
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, generate


def number(n: int) -> Any:
    return ir.Constant(ir.IntType(64), n)


def _one_tile(
    builder: Any, a: Any, stride: Any, b: Any, depth: Any, out: Any, width: Any, add: Any,
    down: int, across: int,
) -> None:  # fmt: skip
    """Code for the tile of ``down`` rows by ``across`` registers.

    sums = out's if add else 0
    for k: for each row r: sums[r] += a[r, k] * b[k]
    out = sums
    """
    register = ir.VectorType(ir.FloatType(), LANES)
    columns = number(across * LANES)
    zero, undefined = ir.Constant(register, [0.0] * LANES), ir.Constant(register, ir.Undefined)
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    multiply_add = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(register, [register] * 3), f"llvm.fmuladd.v{LANES}f32"
    )  # one instruction if the machine has it, else two

    def registers(pointer: Any) -> list[Any]:
        start = builder.bitcast(pointer, register.as_pointer())
        return [builder.gep(start, [number(j)]) for j in range(across)]

    left = [builder.gep(a, [builder.mul(number(r), stride)]) for r in range(down)]
    lines = [builder.gep(out, [builder.mul(number(r), width)]) for r in range(down)]
    places = [place for line in lines for place in registers(line)]
    started = [builder.select(add, builder.load(p, align=4), zero) for p in places]

    before, loop, after = builder.block, *map(builder.append_basic_block, ("k", "end"))
    builder.cbranch(builder.icmp_signed(">", depth, number(0)), loop, after)
    builder.position_at_end(loop)
    k = builder.phi(ir.IntType(64))
    sums = [builder.phi(register) for _ in places]
    panel_row = registers(builder.gep(b, [builder.mul(k, columns)]))
    factors = [builder.load(p, align=4) for p in panel_row]
    updated = []
    for r in range(down):
        value = builder.load(builder.gep(left[r], [k]))
        value = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
        value = builder.shuffle_vector(value, undefined, everywhere)
        for factor, total in zip(factors, sums[r * across : (r + 1) * across], strict=True):
            updated.append(builder.call(multiply_add, [value, factor, total]))
    following = builder.add(k, number(1))
    k.add_incoming(number(0), before)
    k.add_incoming(following, loop)
    for total, old, new in zip(sums, started, updated, strict=True):
        total.add_incoming(old, before)
        total.add_incoming(new, loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)

    builder.position_at_end(after)
    results = [builder.phi(register) for _ in places]
    for result, old, new in zip(results, started, updated, strict=True):
        result.add_incoming(old, before)
        result.add_incoming(new, loop)
    for result, place in zip(results, places, strict=True):
        builder.store(result, place, align=4)


@native
def _product(
    a: Any, length: int, start: int, stride: int, b: Any, parts: int, panels: int, depth: int,
    panel_width: int, out: Any, out_parts: int, lines: int, width: int, line: int, count: int,
    rows: int, vectors: int, add: int,
) -> None:  # fmt: skip
    tiles = -(-count // rows)
    for part in range(parts):
        for panel in range(panels):
            size = depth * panel_width
            right = view(b, (part * panels + panel) * size, size)
            below = view(out, (part * lines + line) * width + panel * panel_width, 0)
            row = 0
            for left in range(tiles, 0, -1):
                down = -(-(count - row) // left)
                lefts = view(a, start + row * stride, down * stride)
                to = view(below, row * width, down * width)
                _tile(down, vectors, lefts, stride, right, depth, to, width, add)
                row += down


@native
def _project(
    x: Any, T: int, N: int, D: int, t: int, reverse: int, first: int, W: Any, parts: int,
    panels: int, depth: int, panel_width: int, room: Any, steps: int, share: int, room_depth: int,
    wx: Any, wx_parts: int, lines: int, width: int, rows: int, vectors: int,
) -> None:  # fmt: skip
    count = min(steps, t + 1 if reverse else T - t)
    for k in range(count):
        now = t - k if reverse else t + k
        taken, given = view(room, k * share * D, share * D), view(x, (now * N + first) * D, 0)
        for j in range(share * D):
            taken[j] = given[j]
    rows_read = carray(room, steps * share * D)
    packed = carray(W, (parts, panels, depth, panel_width))
    product(rows_read, 0, D, packed, carray(wx, (wx_parts, lines, width)), 0, count * share, rows,
            vectors, 0)  # fmt: skip


@intrinsic
def product(typing: Any, a: Any, start: Any, stride: Any, b: Any, out: Any, line: Any, count: Any,
            rows: Any, vectors: Any, add: Any) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """out[:, line:] = (out[:, line:] if add else 0) + a b, for each part of b.

    Args:
        a: The left operand's rows, ``count`` of them, from number ``start`` on, ``stride`` numbers
            apart; of each as many columns are read as b has rows.
        b: ``(parts, panels, K, vectors * LANES)``, from :mod:`.packing`.
        out: ``(parts, N, panels * vectors * LANES)``; columns past those of b get zeros.
        rows, vectors: From :func:`tiling`; the rows are divided into tiles of at most this size.
    """
    given = (a, start, stride, b, out, line, count, rows, vectors, add)
    return types.void(*given), calling("product")


@intrinsic
def project(typing: Any, x: Any, t: Any, reverse: Any, first: Any, W: Any, room: Any, wx: Any,
            rows: Any, vectors: Any) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """W x of step t and of as many following steps as fit into ``room``.

    Args:
        x: ``(T, N, D)``; the sequences from first on are read.
        W: Packed ``(parts, panels, D, width)``.
        room: Memory for these ``(steps, sequences, D)``.
        wx: Written ``(parts, steps * sequences, panels * width)``.
        rows, vectors: As in :func:`product`.
    """
    return types.void(x, t, reverse, first, W, room, wx, rows, vectors), calling("project")


def tiling(count: int, columns: int) -> tuple[int, int]:
    """Rows and registers of a tile, for products of ``count`` rows and these columns.

    The tile with the least work: for each k it takes as many multiply-adds as it has sums, but at
    least LATENCY, because each waits for the one before in its sum.
    """

    def work(vectors: int) -> int:
        tiles = -(-count // TILES[vectors])
        return -(-columns // (vectors * LANES)) * tiles * max(LATENCY, -(-count // tiles) * vectors)

    vectors = min(sorted(TILES), key=work)
    return TILES[vectors], vectors
