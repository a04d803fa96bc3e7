"""Cells as drawn ones are, each of which was once derived wrong, or shows one thing alone."""

from __future__ import annotations

from typing import Any

from .random_cells import Case, RandomCell


def _case(
    states: tuple[int, ...], shapes: dict[str, tuple[int, ...]], *lines: str, **how: Any
) -> Case:
    unpack = f"{', '.join(f's{k}' for k in range(len(states)))}, = state"
    body = "\n".join(f"    {line}" for line in (unpack, *lines))
    return Case(RandomCell(f"def cell(x, state):\n{body}\n", shapes, states, 2), 0, **how)


FIXED = {
    "a gradient of the input that is partly a sum": _case(
        (2,), {"W": (1, 2)}, "x = x[:, :1]", "return ts.tanh(x), (ts.tanh(x @ W),)", rows=1
    ),
    "operands of several widths": _case(
        (3,), {"W": (2, 3), "b": (1,)},
        "a, c = ops.split(s0, [1], -1)", "return s0, (ts.tanh((a * c * (a + b)) @ W),)",
    ),
    "a sum over one column that stands for several": _case(
        (3, 3), {"W": (5, 1), "V": (5, 3)},
        "a = ops.concatenate([s1, ts.tanh(x)], -1)",
        "y = ts.sum(s0 + a @ W, -1, keepdims=True)",
        "return y, (ts.tanh(x @ V[:2]), ts.tanh(a @ V))",
    ),
    "a column that stands for a bias": _case(
        (4, 4), {"W": (1, 4), "b": (4,)},
        "a = ts.sum(s0 + b, -1, keepdims=True) - x[:, :1]", "return s1, (s1, ts.tanh(a @ W))",
    ),
    "a sum of differences": _case(
        (2,), {"W": (4, 6), "V": (4, 2)},
        "a = ops.concatenate([s0, x], -1)",
        "return x, (ts.tanh((a - ts.sum(a @ W, -1, keepdims=True)) @ V),)",
    ),
    "a state of two numbers": _case(
        (2,), {"W": (2, 5)},
        "a = ts.sum(s0 @ W, -1, keepdims=True)",
        "return x, (ops.concatenate([a + a, ts.tanh(a)], -1),)",
    ),
    "planes of one product that another map makes": _case(
        (4,), {"W": (2, 12), "U": (4, 12), "b": (2,)},
        "f, g, o = ops.split(s0 @ U + (x + b) @ W, 3, -1)",
        "return ts.sigmoid(o), (ts.sigmoid(f) * ts.tanh(g),)",
        rows=2,
    ),
    "one number beside rows": _case(
        (4,), {"W": (2, 4), "U": (4, 4), "a": (), "b": (1,)},
        "n = ts.tanh(x @ W + s0 @ U)",
        "h = b * n + a * (s0 - n)",
        "return h, (h,)",
    ),
}  # fmt: skip
