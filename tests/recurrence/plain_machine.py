"""The loops printed for numba, run as plain Python in float64: tests of the text itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


class PlainMachine:
    """What ``compiled.Numba`` is, without numba. ``sideways``: planes in blocks of their own."""

    dtype = np.dtype(np.float64)
    ahead, lanes = 8, 1

    def __init__(self, sideways: bool = False) -> None:
        self.sideways = sideways

    def tiling(self, count: int, columns: int) -> tuple[int, int]:
        return 1, 1

    def apart(self, count: int, width: int) -> bool:
        return self.sideways

    def packed(self, W: Any, parts: int, vectors: int) -> Any:
        K, M = W.shape
        blocks = W.reshape(K, parts, 1, M // parts).transpose(1, 2, 0, 3)
        return np.ascontiguousarray(blocks)

    def compiled(self, text: str) -> Any:
        space = _functions()
        exec(compile(text, "<printed loop>", "exec"), space)
        loop = space["loop"]

        def run(*args: Any) -> None:
            with np.errstate(all="ignore"):
                loop(*args)

        return run


def _product(
    a: Any, start: int, stride: int, b: Any, out: Any, line: int, count: int, *rest: Any
) -> None:
    at = start + stride * np.arange(count)[:, None] + np.arange(b.shape[2])
    for part, right in zip(out, b[:, 0], strict=True):
        result = a[at] @ right
        there = part[line : line + count, : result.shape[1]]
        there[...] = there + result if rest[-1] else result


def _project(
    x: Any, t: int, reverse: bool, first: int, W: Any, room: Any, wx: Any, *tile: int
) -> None:
    steps, share, _ = room.shape
    count = min(steps, t + 1 if reverse else len(x) - t)
    taken = slice(first, first + share)
    rows = np.concatenate([x[t - k if reverse else t + k][taken] for k in range(count)])
    for part in range(len(W)):
        wx[part][: len(rows)] = rows @ W[part, 0]


def _view(array: Any, start: int, count: int) -> Any:
    assert 0 <= start <= start + count <= array.size
    return array.reshape(-1)[start : start + count]


def _copy(to: Any, at: int, array: Any, start: int, count: int) -> None:
    _view(to, at, count)[:] = _view(array, start, count)


def _clear(array: Any, start: int, count: int) -> None:
    _view(array, start, count)[:] = 0


def _functions() -> dict[str, Any]:
    F = np.float64
    names = """
        tanh exp exp2 expm1 log log2 log10 log1p sqrt sin cos tan sinh cosh arcsin arccos arctan
        arcsinh arccosh arctanh arctan2 hypot floor ceil rint fmod
    """
    return {name: getattr(np, name) for name in names.split()} | {
        "erf": math.erf,
        "F": F,
        "ZERO": F(0),
        "HALF": F(0.5),
        "ONE": F(1),
        "empty": lambda n: np.full(n, np.nan),
        "empty3": lambda i, j, k: np.full((i, j, k), np.nan),
        "view": _view,
        "copy": _copy,
        "clear": _clear,
        "product": _product,
        "project": _project,
    }
