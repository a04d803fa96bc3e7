"""The parts of a printed loop: its text, its arguments, and the addresses of its planes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from .forms import FORMS
from .plan import Input, Op, Plan, Plane, is_row
from .program import Value


class Address(NamedTuple):
    """Where a plane lies: rows of an array, and its first column in them.

    Attributes:
        array: Its name.
        t: The step's index in the text, or "" where there is one row for each sequence.
        row: The name of the rows' width.
        low: The name of the first column, or "".
        alone: Whether the rows are the plane, so that several follow one another.
        span: The name of the number of columns that a number of one row fills, or "".
    """

    array: str
    t: str
    row: str
    low: str
    alone: bool
    span: str = ""


@dataclass
class Text:
    """The printed loop.

    Attributes:
        text: Of the function ``loop``.
        arguments: Its arguments after the fixed ones, in order.
        sizes: The arguments that are numbers: widths and columns.
        projections: For each product with an input: its planes by first column.
        dots: The products in the loop; those in ``sums`` are added to a product with an input.
        vectors: Planes that are vectors or one number, by name, and how wide they are laid.
        inputs: Values made before the loop, by name.
        scalars: Whether there is one number per row, so that rows are taken one at a time.
    """

    text: str = ""
    arguments: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    projections: dict[Value, Projection] = field(default_factory=dict)
    dots: list[Op] = field(default_factory=list)
    sums: dict[Value, Value] = field(default_factory=dict)
    vectors: dict[str, tuple[Input, int]] = field(default_factory=dict)
    inputs: dict[str, Value] = field(default_factory=dict)
    scalars: bool = False


def rowless(plan: Plan, q: Plane) -> bool:
    """Whether a plane is the same for all sequences and steps."""
    source = plan.inputs.get(q)
    if source is None or plan.where[source.value] != "once":
        return False
    return all(n == 1 for n in plan.program.shape(source.value)[:-1])


def even_width(plan: Plan) -> int:
    """The width of all planes, but for single numbers of the parameters; 0 if they differ."""
    planes = [
        q
        for way in ("forward", "backward")
        for o in plan.ops(way)
        for q in (*o.ins, *o.outs)
        if isinstance(q, Plane) and not (q.width == 1 and rowless(plan, q))
    ]
    widths = {q.width for q in planes}
    return widths.pop() if len(widths) == 1 else 0


class Projection(NamedTuple):
    """A product with an input, which the loop computes for several steps at once.

    Attributes:
        x, weight: Its operands.
        bias: What is added to it, or None.
        planes: The planes that are read, by their first column.
    """

    x: Value
    weight: Value
    bias: Value | None
    planes: dict[int, Plane]


class Uncompiled(Exception):
    """No loop of this kind exists for the plan; the message says why."""


def check(plan: Plan, what: str) -> None:
    """Refuse a plan whose loops have more than maps with a form, folds and products.

    Args:
        plan: The plan.
        what: What an operation without a form lacks: ``"kernel for"``.

    Raises:
        Uncompiled: the plan has another operation, which the message names, or values of several
            shapes or dtypes.
    """
    p, loops = plan.program, [*plan.ops("forward"), *plan.ops("backward")]
    calls = [o for o in loops if o.kind == "call"]
    others = {o.op.name for o in loops if o.kind in ("call", "map") and o.op not in FORMS}
    if others:
        raise Uncompiled(f"there is no {what} {', '.join(sorted(others))} in a loop")
    if calls:
        shapes = {p.shape(v) for o in calls for v in (*o.instr.reads(), *o.instr.outs)}
        other = max([s for s in shapes if not is_row(s, plan.lead)], key=len, default=())
        raise Uncompiled(
            f"it computes {calls[0].op.name} on values of shape {other}, which are no rows of its "
            "state"
        )
    dtype, rows = p.types[p.y].dtype, (*p.states, *p.after, p.y)
    alike = all(p.types[v].dtype == dtype and is_row(p.shape(v), plan.lead) for v in rows)
    planes = [q for o in loops for q in (*o.ins, *o.outs) if isinstance(q, Plane)]
    if not alike or any(q.dtype not in (dtype, bool) for q in planes):
        raise Uncompiled("its values have several shapes or dtypes")
