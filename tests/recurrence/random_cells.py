"""Cells drawn at random, as source: what Hypothesis shrinks is what a reader sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

import tinygrad_seq as ts
from tinygrad_seq import ops

from .compare import Comparison, Sequences

KINDS = (
    "gates", "gates", "unary", "binary", "binary", "product", "bias", "slice", "join", "sum",
    "split",
)  # fmt: skip
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
    "ts.leaky_relu({}, 0.2)",
    "ts.elu(ts.clip({}, -0.8, 0.6))",
    "ts.silu({})",
    "ts.where({0} > 0.1, {0}, ts.sin({0}))",
    "ts.where({0}[:, :1] > 0.1, {0}, ts.tanh({0}))",
    "ts.tanh({}) ** 3",
    "{}[:, ::-1]",
)
BINARY = (
    "{} + {}",
    "{} - {}",
    "{} * {}",
    "{} / (1.5 + ts.square({}))",
    "ts.maximum({}, {})",
    "ts.where({0} > {1}, {0}, 0.5 * {1})",
)


Width = int | tuple[int, ...]
"""Of a part of the state: columns, or the shape after the axis of the sequences."""


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
    states: tuple[Width, ...]
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
def cells(draw: Any, most: int = 7) -> RandomCell:
    """A program over the op table: products, slices, joins, sums over rows, shared values.

    A value that nothing has read yet is read rather than another, so that most of it counts.
    """
    inputs = draw(st.integers(1, 3))
    states = tuple(draw(st.lists(st.sampled_from((3, 2, 4)), min_size=1, max_size=3)))
    shapes: dict[str, tuple[int, ...]] = {}
    widths = {"x": inputs} | {f"s{k}": width for k, width in enumerate(states)}
    unread = list(widths)
    lines = []

    def weight(rows: int, columns: int) -> str:
        turned = draw(st.integers(0, 4)) == 1
        return f"{parameter(columns, rows)}.T" if turned else parameter(rows, columns)

    def parameter(*shape: int) -> str:
        known = [name for name, s in shapes.items() if s == shape]
        if known and draw(st.booleans()):
            return draw(st.sampled_from(known))
        name = f"{'kbW'[len(shape)]}{len(shapes)}"
        shapes[name] = shape
        return name

    def pick(width: int | None = None) -> tuple[str, int]:
        fitting = [v for v, w in widths.items() if width is None or w in (width, 1)]
        fresh = [v for v in fitting if v in unread]
        name = draw(st.sampled_from(fresh if fresh and draw(st.integers(0, 3)) else fitting))
        if name in unread:
            unread.remove(name)
        return name, widths[name]

    def add(text: str, width: int) -> str:
        name = f"v{len(lines)}"
        lines.append(f"{name} = {text}")
        widths[name] = width
        unread.append(name)
        return name

    def gates(count: int) -> None:
        """Some gates of one width, cut from one sum of products, or each from its own."""
        (a, w), (b, u) = pick(), pick()
        m = draw(st.sampled_from(states))
        total = f"{a} @ {weight(w, count * m)} + {b} @ {weight(u, count * m)}"
        if draw(st.booleans()):
            total += f" + {parameter(count * m)}"
        whole = f"ops.split({total}, {count}, -1)" if count > 1 else f"[{total}]"
        lines.append(f"g{len(lines)} = {whole}")
        parts = f"g{len(lines) - 1}"
        for k in range(count):
            squash = draw(st.sampled_from(("ts.sigmoid", "ts.tanh")))
            add(f"{squash}({parts}[{k}])", m)

    for _ in range(draw(st.integers(1, most))):
        kind = draw(st.sampled_from(KINDS))
        if kind == "gates":
            gates(draw(st.integers(1, 4)))
            continue
        a, w = pick()
        if kind == "product":
            m = draw(st.integers(1, 6))
            add(f"{a} @ {weight(w, m)}", m)
        elif kind == "bias":
            shape = draw(st.sampled_from(((w,), (w,), ())))
            add(f"{a} {draw(st.sampled_from('+*'))} {parameter(*shape)}", w)
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
            name = add(f"ops.concatenate([{a}, {b}], {draw(st.sampled_from((-1, 1)))})", w + u)
            if draw(st.booleans()):
                m = draw(st.integers(1, 6))
                add(f"{name} @ {weight(w + u, m)}", m)
        elif kind == "sum":
            how = draw(
                st.sampled_from(("ts.sum({}, -1, keepdims=True)", "ts.mean({}, -1)[:, None]"))
            )
            add(how.format(a), 1)
    after = []
    for width in states:
        a, w = pick()
        text = a if w == width else f"ts.tanh({a} @ {weight(w, width)})"
        after.append(text)
    y, _ = pick()
    names = [f"s{k}" for k in range(len(states))]
    unpack = f"{', '.join(names)}{',' if len(names) == 1 else ''} = state"
    result = f"return {y}, ({', '.join(after)}{',' if len(after) == 1 else ''})"
    body = "\n".join(f"    {line}" for line in (unpack, *lines, result))
    return RandomCell(f"def cell(x, state):\n{body}\n", shapes, states, inputs)


class Case(NamedTuple):
    """A cell along sequences: all that a loop is compared on."""

    cell: RandomCell
    seed: int
    steps: int = 4
    rows: int = 3
    masked: bool = False
    reverse: bool = False

    def compared(self) -> Comparison:
        """The cell unrolled."""
        cell, _ = self.cell.built(self.seed)
        drawn = self.cell
        sizes = (self.steps, self.rows, drawn.inputs, drawn.states)
        return Comparison(cell, Sequences(self.seed, *sizes, self.masked), self.reverse)


def cases(most: int = 7) -> st.SearchStrategy[Case]:
    """Drawn cells along drawn sequences."""
    number, choice = st.integers, st.booleans()
    return st.builds(Case, cells(most), number(0, 999), number(2, 5), number(1, 3), choice, choice)
