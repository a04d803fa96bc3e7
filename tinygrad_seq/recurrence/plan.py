"""A plan: what runs once, before, in and after the loop over time.

In the loops a value ``(N, W)`` is cut into *planes* ``(N, w)``, the pieces made by split, slices
and concatenate. These then compute nothing. What remains are maps (elementwise on planes), folds
(sums over a row), dots (products with a weight), and calls (any other primitive, on whole values).
A loop is a list of stages; each has maps, and then the dots that read them.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from .program import Instr, Program, Shape, Value


class Plane(NamedTuple):
    """A piece of a value, of consecutive columns; or a whole value of any shape.

    Attributes:
        id: Its number.
        shape: The shape of one step.
        dtype: The dtype of its elements.
    """

    id: int
    shape: Shape
    dtype: Any

    @property
    def width(self) -> int:
        """The number of columns."""
        return self.shape[-1] if self.shape else 1

    def __repr__(self) -> str:
        return f"p{self.id}"


Operand: TypeAlias = Plane | float
"""A plane, or a number that stands for a plane of equal numbers."""


class Op(NamedTuple):
    """An operation of a loop.

    Attributes:
        kind: ``"map"``, ``"fold"``, ``"dot"`` or ``"call"``.
        op: The primitive.
        ins, outs: Planes and numbers. For a dot: the planes of its left operand and of its result.
        instr: The instruction that it was cut from.
    """

    kind: str
    op: Any
    ins: tuple[Any, ...]
    outs: tuple[Plane, ...]
    instr: Instr


class Stage(NamedTuple):
    """Maps, folds and calls, then the dots that read them."""

    maps: list[Op]
    dots: list[Op]


class Input(NamedTuple):
    """The origin of a plane that no loop makes: columns of a value."""

    value: Value
    low: int
    high: int


class Row(NamedTuple):
    """A value of a loop that is one array.

    Attributes:
        way: The loop that makes it.
        host: The value whose columns it is, perhaps itself.
        low: Its first column in the host.
        kept: Whether the host is kept for all steps.
    """

    way: str
    host: Value
    low: int
    kept: bool


class Array(NamedTuple):
    """Rows that enter or leave a loop, under the name that all printers give them.

    Attributes:
        name: ``s0`` and ``z0`` for a part of the state before and after a step, ``g0`` for its
            gradient, ``y`` and ``gy`` for the output and its gradient, ``r7`` for a row.
        value: What lies there.
        timed: Whether there are rows for every step.
        written: Whether the loop writes them.
    """

    name: str
    value: Value
    timed: bool
    written: bool


class Plan(NamedTuple):
    """A program, placed and cut.

    Attributes:
        program: The simplified step and its derivative.
        lead: The leading axes of rows: ``(N,)``, or ``()`` for one sequence.
        once, before, after: Instructions outside of the loops.
        forward, backward: The loops.
        planes: The planes of each value that a loop meets, in the order of its columns.
        columns: The first column of each of these planes, and the column after its last.
        inputs: The planes that no loop makes, with their origins.
        saved: Planes of the forward that the backward reads.
        rows: Values of the loops that are one array ``(N, W)``: left operands of products, operands
            of calls, values read after the loop.
        sums: Values of the backward that are summed over the steps inside the loop.
        where: The place of every value.
    """

    program: Program
    lead: Shape
    once: list[Instr]
    before: list[Instr]
    after: list[Instr]
    forward: list[Stage]
    backward: list[Stage]
    planes: dict[Value, list[Any]]
    columns: dict[Value, list[tuple[int, int]]]
    inputs: dict[Plane, Input]
    saved: list[Plane]
    rows: dict[Value, Row]
    sums: list[Value]
    where: dict[Value, str]

    def loop(self, way: str) -> list[Stage]:
        """The stages of the ``"forward"`` or the ``"backward"``."""
        return self.forward if way == "forward" else self.backward

    def ops(self, way: str) -> list[Op]:
        """All operations of a loop, in order."""
        return [o for stage in self.loop(way) for o in (*stage.maps, *stage.dots)]

    def pieces(self, v: Value) -> list[tuple[Any, int, int]]:
        """The planes of a value, each with its first column and the one after its last."""
        return [(q, *span) for q, span in zip(self.planes[v], self.columns[v], strict=True)]

    def arrays(self, way: str) -> list[Array]:
        """The rows that enter or leave a loop; the gradients of the state do both."""
        p, forward = self.program, way == "forward"
        found = [Array(f"s{k}", v, True, False) for k, v in enumerate(p.states)]
        found += [Array(f"z{k}", v, True, forward) for k, v in enumerate(p.after)]
        if self.where[p.y] == "forward" and p.y not in p.after:
            found.append(Array("y", p.y, True, forward))
        if not forward:
            found += [Array("gy", p.gy, True, False)] if p.gy is not None else []
            given = [(f"g{k}", g) for k, g in enumerate(p.gafter) if g is not None]
            found += [Array(name, g, False, False) for name, g in given]
        for v, row in self.rows.items():
            if v == row.host and (row.way == way or (row.way == "forward" and row.kept)):
                found.append(Array(f"r{int(v)}", v, row.kept, row.way == way))
        return found

    def turned(self) -> Shape | None:
        """The shape of a row whose first axis is not that of the sequences: where one is padded,
        zeros cannot be written into its part."""
        shapes = [self.program.shape(v) for v, row in self.rows.items() if row.way == "backward"]
        return next((s for s in shapes if s[: len(self.lead)] != self.lead), None)

    def read_backward(self) -> set[Value]:
        """The values that the backward loop reads and no loop makes."""
        planes = {q for o in self.ops("backward") for q in o.ins if isinstance(q, Plane)}
        rows = [v for v, row in self.rows.items() if row.way == "backward"]
        planes |= {q for v in rows for q in self.planes[v] if isinstance(q, Plane)}
        return {self.inputs[q].value for q in planes if q in self.inputs}


def is_large(shape: Shape, lead: Shape) -> bool:
    """Whether a value has more than one row for each sequence."""
    return bool(lead) and len(shape) > len(lead) + 1 and shape[: len(lead)] == lead


def is_row(shape: Shape, lead: Shape) -> bool:
    """Whether a value has one row for each sequence."""
    return len(shape) == len(lead) + 1 and shape[:-1] == lead
