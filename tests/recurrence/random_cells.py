"""Cells drawn at random, as source: what Hypothesis shrinks is what a reader sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import ops

KINDS = ("product", "bias", "unary", "binary", "slice", "join", "sum", "affine", "split")
UNARY = (
    "ts.tanh({})",
    "ts.sigmoid({})",
    "ts.relu({})",
    "ts.softplus({})",
    "ts.sin({})",
    "-{}",
    "(1 - {})",
    "0.5 * {}",
    "ts.square(ts.tanh({}))",
    "ts.exp(ts.tanh({}))",
    "ts.sqrt(1 + ts.square({}))",
    "ts.softmax({}, -1)",
    "ts.absolute({})",
    "{}.detach()",
)
BINARY = (
    "{} + {}",
    "{} - {}",
    "{} * {}",
    "{} / (1.5 + ts.square({}))",
    "ts.maximum({}, {})",
    "ts.where({0} > {1}, {0}, 0.5 * {1})",
)


@dataclass
class RandomCell:
    """A cell and how it was drawn.

    Attributes:
        source: Of the function ``cell(x, state)``.
        shapes: Of its parameters, by name.
        states: Widths of the parts of its state.
        inputs: Width of x.
    """

    source: str
    shapes: dict[str, tuple[int, ...]]
    states: tuple[int, ...]
    inputs: int

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {shape}" for name, shape in self.shapes.items())
        return f"\n# x (N, {self.inputs}), state {self.states}; {shapes}\n{self.source}"

    def built(self, seed: int) -> tuple[Any, dict[str, ts.Tensor]]:
        """The function, and its parameters drawn from a seed."""
        rng = np.random.default_rng(seed)
        parameters = {
            name: ts.Tensor(rng.standard_normal(shape) * 0.7, requires_grad=True, name=name)
            for name, shape in self.shapes.items()
        }
        space: dict[str, Any] = {"ts": ts, "ops": ops, **parameters}
        exec(compile(self.source, "<drawn cell>", "exec"), space)
        return space["cell"], parameters


@st.composite
def cells(draw: Any, most: int = 9) -> RandomCell:
    """A program over the op table: products, slices, joins, sums over rows, shared values."""
    inputs = draw(st.integers(1, 3))
    states = tuple(draw(st.lists(st.sampled_from((2, 3, 4)), min_size=1, max_size=3)))
    shapes: dict[str, tuple[int, ...]] = {}
    pool = [("x", inputs)] + [(f"s{k}", width) for k, width in enumerate(states)]
    lines = []

    def parameter(*shape: int) -> str:
        known = [name for name, s in shapes.items() if s == shape]
        if known and draw(st.booleans()):
            return draw(st.sampled_from(known))
        name = f"{'W' if len(shape) == 2 else 'b'}{len(shapes)}"
        shapes[name] = shape
        return name

    def pick(width: int | None = None) -> tuple[str, int]:
        fitting = [v for v in pool if width is None or v[1] in (width, 1)]
        return draw(st.sampled_from(fitting))

    def add(text: str, width: int) -> str:
        name = f"v{len(lines)}"
        lines.append(f"{name} = {text}")
        pool.append((name, width))
        return name

    for _ in range(draw(st.integers(1, most))):
        kind = draw(st.sampled_from(KINDS))
        a, w = pick()
        if kind == "product":
            m = draw(st.integers(1, 6))
            add(f"{a} @ {parameter(w, m)}", m)
        elif kind == "affine":
            b, u = pick()
            m = draw(st.integers(1, 6))
            add(f"{a} @ {parameter(w, m)} + {b} @ {parameter(u, m)} + {parameter(m)}", m)
        elif kind == "bias":
            add(f"{a} {draw(st.sampled_from('+*'))} {parameter(w)}", w)
        elif kind == "unary":
            add(draw(st.sampled_from(UNARY)).format(a), w)
        elif kind == "binary":
            b, u = pick(w)
            add(draw(st.sampled_from(BINARY)).format(a, b), max(w, u))
        elif kind == "slice" and w > 1:
            low = draw(st.integers(0, w - 1))
            high = draw(st.integers(low + 1, w))
            add(f"{a}[:, {low}:{high}]", high - low)
        elif kind == "split" and w > 1:
            low = draw(st.integers(1, w - 1))
            parts = f"ops.split({a}, [{low}], -1)"
            first = add(f"{parts}[0]", low)
            add(f"{first}[:, :1] * {parts}[1]", w - low)
        elif kind == "join":
            b, u = pick()
            add(f"ops.concatenate([{a}, {b}], -1)", w + u)
        elif kind == "sum":
            how = draw(st.sampled_from(("sum", "mean")))
            add(f"ts.{how}({a}, -1, keepdims=True)", 1)
    after = []
    for width in states:
        a, w = draw(st.sampled_from(pool))
        text = a if w == width else f"ts.tanh({a} @ {parameter(w, width)})"
        after.append(text)
    y, _ = draw(st.sampled_from(pool))
    names = [f"s{k}" for k in range(len(states))]
    unpack = f"{', '.join(names)}{',' if len(names) == 1 else ''} = state"
    result = f"return {y}, ({', '.join(after)}{',' if len(after) == 1 else ''})"
    body = "\n".join(f"    {line}" for line in (unpack, *lines, result))
    return RandomCell(f"def cell(x, state):\n{body}\n", shapes, states, inputs)
