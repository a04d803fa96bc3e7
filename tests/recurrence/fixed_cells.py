"""Cells like drawn ones: each was derived wrong once, or shows what few drawn cells do."""

from __future__ import annotations

from typing import Any

from .random_cells import Case, RandomCell, Width


def _case(
    states: tuple[Width, ...], shapes: dict[str, tuple[int, ...]], *lines: str, **how: Any
) -> Case:
    unpack = f"{', '.join(f's{k}' for k in range(len(states)))}, = state"
    body = "\n".join(f"    {line}" for line in (unpack, *lines))
    return Case(RandomCell(f"def cell(x, state):\n{body}\n", shapes, states, 2), 0, **how)


ATTENTION = (
    "a = ts.exp(ts.tanh((s0 @ Q)[:, None] + K) @ v)", "a = a / ts.sum(a, -1, keepdims=True)",
    "s0 = ts.tanh(x @ W + ts.sum(a[:, :, None] * K, 1))", "return s0, (s0,)",
)  # fmt: skip

FIXED = {
    "attention over keys of each sequence": _case(
        (3,), {"Q": (3, 3), "K": (3, 5, 3), "v": (3,), "W": (2, 3)}, *ATTENTION, masked=True
    ),
    "attention over keys that all sequences share": _case(
        (3,), {"Q": (3, 3), "K": (5, 3), "v": (3,), "W": (2, 3)}, *ATTENTION
    ),
    "attention over keys of one sequence": _case(
        (3,), {"Q": (3, 3), "K": (1, 5, 3), "v": (3,), "W": (2, 3)}, *ATTENTION, rows=1
    ),
    "a product that is read beside its sum": _case(
        (3,), {"K": (3, 4, 3)},
        "a = s0[:, None] * K", "return s0, (ts.tanh(ts.sum(a, 1) + ts.sum(ts.sin(a), 1)),)",
    ),
    "gates of which one is saved": _case(
        (2, 2), {"W": (2, 4), "U": (2, 4)},
        "i, f = ops.split(x @ W + s0 @ U, 2, -1)",
        "i, f = ts.tanh(i), ts.tanh(f).detach()", "return s1, (i * s1, f + i)",
    ),
    "a difference from zero": _case(
        (4,), {"U": (4, 4)},
        "b = 0 - s0 @ U", "return b, (ts.tanh(b) + x[:, :1],)",
    ),
    "gradients of pieces that overlap": _case(
        (4,), {"U": (4, 4)},
        "a = ts.tanh(s0 @ U)", "return a[:, :2], (ops.concatenate([x, a[:, 1:3]], -1),)",
    ),
    "a mean that is read late, as another shape": _case(
        (2,), {"V": (1, 2), "W": (3, 2)},
        "a = ts.maximum(ops.concatenate([s0, x[:, :1]], -1), x[:, :1])",
        "return x, (ts.sigmoid(ts.mean(s0, -1)[:, None] @ V + a @ W),)", rows=1,
    ),
    "results with columns of zeros": _case(
        (3,), {"U": (3, 1)},
        "put = lambda a: ops.index.scatter_add(a, index=(..., slice(1, 2)), shape=s0.shape)",
        "a = put(ts.tanh(s0 @ U))", "return a, (put(x[:, :1] * s0[:, :1]),)",
    ),
    "a product of the input that two sums read": _case(
        (3, 3), {"U": (3, 3), "V": (3, 3), "W": (2, 3)},
        "a = x @ W", "return s1, (ts.tanh(a + s0 @ U), ts.sin(a + s1 @ V))",
    ),
    "a sum of products that keeps its axis": _case(
        (3,), {"K": (3, 4, 3), "L": (4, 1)},
        "a = ts.sum(s0[:, None] * ts.sin(K * L), (1, 2), keepdims=True)[:, 0]",
        "return s0, (ts.tanh(s0 * a) + x[:, :1],)",
    ),
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
    "two gates": _case(
        (3,), {"W": (2, 6), "U": (3, 6), "b": (6,)},
        "f, g = ops.split(x @ W + s0 @ U + b, 2, -1)",
        "s0 = ts.sigmoid(f) * s0 + (1 - ts.sigmoid(f)) * ts.tanh(g)", "return s0, (s0,)",
    ),
    "four gates, two parts": _case(
        (3, 3), {"W": (2, 12), "U": (3, 12), "b": (12,)},
        "i, f, g, o = ops.split(x @ W + s0 @ U + b, 4, -1)",
        "c = ts.sigmoid(f) * s1 + ts.sigmoid(i) * ts.tanh(g)",
        "h = ts.sigmoid(o) * ts.tanh(c)", "return h, (h, c)", masked=True, reverse=True,
    ),
    "an output that a product reads": _case(
        (3, 2), {"W": (2, 3), "U": (3, 3), "R": (3, 2)},
        "a = ts.sigmoid(x @ W + s0 @ U)", "return a, (s0, ts.tanh(a @ R))", masked=True,
    ),
    "a projected state": _case(
        (2, 3), {"W": (2, 3), "U": (2, 3), "R": (3, 2)},
        "c = 0.5 * s1 + ts.tanh(x @ W + s0 @ U)", "h = c @ R", "return h, (h, c)", masked=True,
    ),
    "a state of the input alone": _case(
        (3,), {"W": (2, 3), "U": (3, 3)},
        "a = ts.tanh(x @ W)", "return a @ U + s0, (a,)",
    ),
    "a sum that is read twice": _case(
        (3,), {"W": (2, 3), "U": (3, 3), "b": (3,), "d": (3,)},
        "a = x @ W + s0 @ U + b", "return ts.tanh(a + s0 + d), (ts.sin(a),)",
    ),
    "one sum, two squashes": _case(
        (3,), {"W": (2, 3), "U": (3, 3)},
        "a = x @ W + s0 @ U", "s0 = ts.sigmoid(a) * ts.tanh(a)", "return s0, (s0,)",
    ),
    "x W read twice": _case(
        (3,), {"W": (2, 3), "U": (3, 3)},
        "a = x @ W", "s0 = ts.tanh(a + s0 @ U) * ts.sigmoid(a)", "return s0, (s0,)",
    ),
    "a mean of several planes": _case(
        (2,), {"U": (2, 4)},
        "a = s0 @ U", "f, g = ops.split(ts.tanh(a), 2, -1)",
        "return f, (g - ts.mean(a, -1, keepdims=True),)",
    ),
    "a mean over a batch of one": _case(
        (3,), {}, "return s0, (ts.tanh(s0 - ts.mean(s0, 0, keepdims=True)) + x[:, :1],)", rows=1
    ),
    "columns in turned order": _case((3,), {}, "return s0[:, ::-1], (ts.sin(s0[:, ::-1]),)"),
    "a bias times a number of the step": _case(
        (3,), {"b": (3,)},
        "return s0, (ts.tanh(s0 + b * ts.mean(x.detach())),)",
    ),
    "a number of the step": _case(
        (3,), {"b": (3,)},
        "a = ts.mean(x, 0) @ ts.ones((2, 3), dtype=x.dtype) + b",
        "return s0 * ts.mean(x), (ts.tanh(s0 / (9 + ts.mean(x)) + a),)",
    ),
    "numbers by name": _case(
        (3,), {}, "return s0, (ts.leaky_relu(x[:, :1] - s0, 0.2) + ts.sqrt(1 + ts.square(s0)),)"
    ),
    "a difference with a slice": _case(
        (3,), {}, "a = ts.sin(s0)[:, :1]", "return a * x[:, :1], (ts.tanh(-s0 * a),)"
    ),
    "joined by the axis from the left": _case(
        (3,), {"b": (3,)},
        "return s0, (ts.sin(s0) + ops.concatenate([x, ts.sin(x[:, :1])], 1) * b,)",
    ),
    "a weight turned": _case(
        (3,), {"W": (3, 2), "U": (3, 3)},
        "s0 = ts.tanh(x @ W.T + s0 @ U.T)", "return s0, (s0,)",
    ),
    "a part of what a product reads": _case(
        (3,), {"W": (5, 4), "V": (3, 3)},
        "a = ops.concatenate([ts.sin(s0), s0[:, :2]], -1)",
        "return a @ W, (ts.tanh(ts.sin(s0) @ V),)",
    ),
    "states change places": _case((3, 3), {"W": (2, 3)}, "return s0 * s1, (s1, s0 + x @ W)"),
    "one result, two parts": _case(
        (3, 3), {"W": (2, 3), "U": (3, 3)},
        "h = ts.tanh(x @ W + s0 @ U + s1)", "return h, (h, h)",
    ),
    "own weights for every gate": _case(
        (3,), {"W": (2, 3), "V": (2, 3), "U": (3, 3), "R": (3, 3)},
        "f, g = ts.sigmoid(x @ W + s0 @ U), ts.tanh(x @ V + s0 @ R)",
        "s0 = f * s0 + g", "return s0, (s0,)",
    ),
    "a difference beside a slice": _case((3,), {}, "return s0[:, :1], (ts.tanh(x[:, :1] - s0),)"),
    "columns from the second on": _case(
        (3,), {}, "return ts.sin(s0[:, 1:]), (ts.sin(s0) - ts.sin(s0)[:, 1:2],)"
    ),
    "a part of what a constant product reads": _case(
        (3,), {"V": (3, 3)},
        "a = ts.sin(s0)", "b = ops.concatenate([a, s0[:, :2]], -1)",
        "return b @ ts.ones((5, 2), dtype=x.dtype), (ts.tanh(a @ V),)",
    ),
    "a constant product alone": _case(
        (3,), {}, "return x, (s0 @ ts.Tensor([[0.0, 1, 2], [3, 1, 0], [1, 2, 1]], dtype=x.dtype),)"
    ),
    "a product of which some is saved": _case(
        (3,), {"U": (3, 6)}, "f, g = ops.split(s0 @ U, 2, -1)", "return s0, (ts.sin(f) + g,)"
    ),
    "a number for all": _case((3,), {"k": ()}, "return s0, (ts.tanh(k * s0 + x[:, :1]),)"),
    "pieces that nothing reads": _case(
        (3, 3), {},
        "a, _ = ops.split(s0, [1], -1)", "c, _ = ops.split(ts.sin(s0), [2], -1)",
        "return c, (ts.sin(s1) * a, s0)",
    ),
    "a choice": _case(
        (3,), {"b": (3,)},
        "a = ts.sin(s0)", "s0 = ts.where(a > x[:, :1], a, 0.5 * s0)",
        "return (s0 - a) * (a - s0 * b), (s0 - ts.maximum(a, s0),)",
    ),
    "gradients that are pieces": _case(
        (2, 2), {"U": (2, 2)},
        "a = ops.concatenate([s0, s1], -1)", "b, c = ops.split(ts.tanh(a), 2, -1)",
        "return b @ U, (c, b)",
    ),
    "a choice of states": _case(
        (3, 3), {}, "return s0, (ts.where(s0 > s1, s0, 0.5 * s1), ts.sin(s1) + x[:, :1])"
    ),
    "an output with a bias": _case(
        (3,), {"b": (3,)}, "return s0 + b, (ts.sin(s0) + x[:, :1],)", masked=True
    ),
    "a product beside other columns": _case(
        (3,), {"W": (2, 6), "U": (3, 3)},
        "a, c = ops.split(x @ W, 2, -1)", "return a * s0, (ts.tanh(c + s0 @ U),)",
    ),
    "a last part of what a product reads": _case(
        (3,), {"W": (5, 4), "V": (3, 3)},
        "a = ops.concatenate([s0[:, :2], ts.sin(s0)], -1)",
        "return a @ W, (ts.tanh(ts.sin(s0) @ V),)",
    ),
    "a product of the step before that a later kernel reads": _case(
        (3,), {"U": (3, 2), "V": (3, 2)},
        "a = ts.sin(s0)", "return ts.tanh(a @ U + s0 @ V), (a * x[:, :1],)",
    ),
    "a state that is a product of another": _case(
        (2, 3), {"U": (2, 3), "R": (3, 2)},
        "c = ts.tanh(s0 @ U) + s1 * x[:, :1]", "return c, (s1 @ R, c)", masked=True
    ),
    "a state that becomes a weight": _case(
        (3,), {"V": (3, 3)}, "return ts.tanh(x[:, :1] + s0), (V,)", masked=True
    ),
    "an output that is a weight": _case(
        (3,), {"V": (3, 3)}, "return V, (ts.tanh(x[:, :1] + s0 @ V),)", masked=True
    ),
    "a detached weight as a state": _case(
        (3,), {"V": (3, 3)}, "return ts.tanh(x[:, :1] + s0 * V), (V.detach(),)"
    ),
    "axes in their own order": _case(
        (3,), {"U": (3, 3)}, "return s0, (ts.tanh(ts.tensordot(s0, U, 1) + x[:, :1]),)"
    ),
    "a condition known before the loop": _case(
        (3,), {"U": (3, 3)}, "return s0, (ts.where(x[:, :1] > 0, s0 @ U, x[:, 1:]),)", masked=True
    ),
    "a rule that asks which is larger": _case(
        (3,), {}, "return s0, (ts.logaddexp(s0, x[:, :1]),)", masked=True
    ),
    "the larger of two columns": _case(
        (3,), {"U": (3, 6)},
        "a = ts.reshape(s0 @ U, (-1, 3, 2)).max(-1)", "return a, (ts.tanh(a + x[:, :1]),)",
        masked=True,
    ),
    "a one at the largest": _case(
        (3,), {"U": (3, 3)},
        "a = ts.one_hot(ts.argmax(s0, -1), 3, s0.dtype)",
        "return a, (ts.tanh(a @ U + s0 + x[:, :1]),)", masked=True,
    ),
    "a running maximum": _case(
        (3,), {}, "return s0, (ts.tanh(ts.cummax(s0, -1) + x[:, :1]),)", masked=True
    ),
    "a condition that a later product waits for": _case(
        (3,), {"U": (3, 3)},
        "return s0, (ts.where(s0 > 0.1, ts.tanh(s0 @ U + x[:, :1]), 0.5 * s0),)", masked=True,
    ),
    "one condition for a row": _case(
        (3,), {}, "return s0, (ts.where(s0[:, :1] > 0.1, ts.sin(s0 + x[:, :1]), 0.5 * s0),)",
        masked=True,
    ),
    "a condition as numbers": _case(
        (3,), {"U": (3, 3)},
        "a = (s0 > x[:, :1]).astype(s0.dtype)", "return a, (ts.tanh(s0 @ U) * a + x[:, :1],)",
        masked=True,
    ),
    "limits, powers and slopes": _case(
        (3,), {},
        "a = ts.clip(s0, -0.4, 0.3) + ts.clip(s0, None, 0.1) + s0**2 + (s0 * s0 + 0.1) ** 0.5",
        "return ts.elu(a) + ts.silu(s0), (ts.tanh(ts.leaky_relu(a, 0.2) - s0**3 + x[:, :1]),)",
        masked=True,
    ),
    "a softmax of two pieces": _case(
        (3, 2), {"U": (5, 3)},
        "a = ts.softmax(ops.concatenate([ts.sin(s0), s1], -1), -1)",
        "return a, (ts.tanh(a @ U + x[:, :1]), a[:, :2])", masked=True,
    ),
    "sums of exponentials": _case(
        (3,), {"U": (3, 3)},
        "a = ts.logsumexp(s0 @ U, -1)[:, None]", "b = ts.log_softmax(s0 - a, axis=-1)",
        "return a, (ts.tanh(b + x[:, :1]),)", masked=True,
    ),
    "variances and norms of rows": _case(
        (3,), {},
        "a = s0.mean(-1)[:, None] + s0.sum(axis=1)[:, None]",
        "b = ts.var(s0, -1, keepdims=True) + ts.std(s0, axis=-1, ddof=1)[:, None]",
        "c = ts.norm(s0, axis=-1, keepdims=True) + ts.norm(s0, 3, -1)[:, None]",
        "return a + b + c, (ts.tanh(a * s0 + b * c + x[:, :1]),)", masked=True,
    ),
    "the largest of a row with columns that are one": _case(
        (3,), {},
        "a = ops.concatenate([s0, ts.broadcast_to(x[:, :1], (len(x), 4))], -1) - 3",
        "b = a.detach().max(-1, keepdims=True)", "return b, (ts.tanh(s0 * b + x[:, :1]),)",
        masked=True,
    ),
    "a split in one": _case(
        (3,), {"K": (3, 1, 3)},
        "(a,) = ops.split(K, 1, 1)", "return s0, (ts.tanh(s0 + a[:, 0] + x[:, :1]),)",
    ),
    "slots that read a gate of one product": _case(
        ((4, 3),), {"W": (2, 3), "U": (3, 6)},
        "f, g = ops.split(s0 @ U, 2, -1)",
        "s0 = ts.sigmoid(f) * s0 + ts.tanh(g + (x @ W)[:, None])",
        "return ts.sum(s0, 1), (s0,)",
    ),
    "slots whose gates begin with the input": _case(
        ((4, 3),), {"W": (2, 6), "U": (3, 6)},
        "f, g = ops.split((x @ W)[:, None] + s0 @ U, 2, -1)",
        "s0 = ts.sigmoid(f) * s0 + ts.tanh(g)", "return s0, (s0,)",
    ),
    "a view of several planes that the backward reads": _case(
        (3, 2), {"K": (5, 3)},
        "a = ts.minimum(ops.concatenate([s0, s1], -1), ops.concatenate([s1, s0], -1))",
        "s0 = ts.tanh(ts.sum(a[:, :, None] * ts.sin(s0[:, None] * K), 1))",
        "return s0, (s0 + x[:, :1], s1 * x)",
    ),
    "the largest of an axis": _case(
        (4,), {"W": (2, 12), "U": (4, 12)},
        "a = (x @ W + s0 @ U).reshape(s0.shape[0], 4, 3)",
        "return ts.max(s0, -1, keepdims=True), (ts.tanh(ts.max(a, -1) - ts.min(a, 2)),)",
    ),
    "a condition on both sides of a product": _case(
        (3,), {"W": (2, 3), "U": (3, 3), "V": (3, 3)},
        "a = x @ W + s0 @ U", "on = a > 0", "b = ts.where(on, a, 0.1 * a) @ V",
        "return b, (ts.tanh(ts.where(on, b, -b)),)",
    ),
    "a condition for a whole row": _case(
        (3, 1), {"w": (3, 1), "U": (3, 3)},
        "go = (s0 @ w > 0) | (s1 > 0.5)", "a = ts.where(go, 0.5, s1)",
        "return a, (ts.where(go, ts.tanh(x[:, 1:] + s0 @ U), 0.9 * s0), ts.sin(a))",
    ),
    "conditions of the input and of a parameter": _case(
        (3,), {"W": (2, 3), "U": (3, 3), "b": (3,)},
        "a = ts.where(b > 0, s0, ts.sin(s0)) + ts.where(x > 0, x, 0.0) @ W",
        "return a, (ts.where(x[:, :1] > 0, ts.tanh(a @ U), 0.5 * a),)",
    ),
    "limits, a power, a variance, and a condition as a number": _case(
        (3,), {"W": (2, 3), "U": (3, 3)},
        "a = ts.clip(s0 @ U, -0.5, 0.5) ** 2 + ts.clip(s0, 0.1) * ts.clip(s0, max=0.2)",
        "a = a - ts.var(s0, -1, keepdims=True) * (s0 > x[:, :1]).astype(s0.dtype)",
        "return a, (ts.tanh(x @ W + a),)",
    ),
    "slots of which each reads its own row of a parameter": _case(
        ((4, 3),), {"K": (4, 3), "U": (3, 3), "W": (2, 3)},
        "s0 = ts.sigmoid(s0 @ U + K) * ts.tanh((x @ W)[:, None] - K * s0)", "return s0, (s0,)",
    ),
    "a parameter that is cut like a state, and read whole": _case(
        (3,), {"K": (6,), "U": (3, 6)},
        "f, g = ops.split((s0 @ U) * K, 2, -1)",
        "return f, (ts.tanh(f * g + x[:, :1] + K[ts.argsort(s0, axis=-1)]),)",
    ),
    "the largest of several planes": _case(
        (3,), {},
        "a = ops.concatenate([ts.tanh(s0), s0 + ts.sin(s0)], -1)",
        "return s0, (ts.tanh(s0 * ts.max(a, -1, keepdims=True) + x[:, :1]),)",
    ),
    "the largest number, of no gradient, beside a constant": _case(
        (3,), {"U": (3, 3)},
        "a = ops.concatenate([s0 @ U, 0.0 * s0 + 0.2], -1)",
        "return s0, (ts.tanh(s0 - ts.max(a.detach(), -1, keepdims=True) + x[:, :1]),)",
    ),
    "a softmax of several planes, and its logarithm": _case(
        (3,), {"U": (3, 3), "W": (2, 3)},
        "a = ts.softmax(ops.concatenate([s0 @ U, x], -1), -1)",
        "return ts.log_softmax(s0, 1), (a[:, :3] + ts.log_softmax(s0 * x[:, :1] + x @ W, -1),)",
    ),
    "columns that move by one": _case(
        (24,), {}, "a = ops.concatenate([s0[:, 1:], s0[:, :1]], -1)",
        "return a, (ts.sin(a) + x[:, :1],)", masked=True,
    ),
}  # fmt: skip
