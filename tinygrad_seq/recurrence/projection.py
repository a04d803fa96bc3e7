"""Finds the inputs of a loop that are x W or x W + b: they can be computed in groups of steps."""

from __future__ import annotations

from typing import NamedTuple

from .. import ops
from .passes import cuts_of
from .plan import Plan, Plane
from .program import Instr, Value


class Columns(NamedTuple):
    """Columns of x W + b.

    Attributes:
        x, weight: Operands of the product.
        bias: What is added to it, a vector, or None.
        product: x W.
        whole: x W + b.
        low: The first column.
    """

    x: Value
    weight: Value
    bias: Value | None
    product: Value
    whole: Value
    low: int


def projected(plan: Plan, made: dict[Value, Instr], q: Plane) -> Columns | None:
    """The columns of a product with an input that a plane is; None if it is none.

    Args:
        plan: The plan.
        made: The instruction that makes each value before the loop.
        q: A plane that no loop makes.
    """
    p, where = plan.program, plan.where
    v, low, _ = plan.inputs[q]
    i = made.get(v)
    while i is not None and i.op is ops.split:
        low += cuts_of(p, i.outs)[i.outs.index(v)]
        v = i.ins[0]
        i = made.get(v)
    bias = None
    if i is not None and i.op is ops.add:
        for a, b in (i.ins, i.ins[::-1]):
            once = type(b) is Value and where[b] == "once" and a in made
            if once and p.shape(b) == p.shape(v)[-1:]:
                bias, i = b, made[a]
                break
    if i is None or i.op is not ops.matmul or i.ins[0] not in p.xs:
        return None
    x, W = i.ins
    if where.get(W) != "once" or len(p.shape(W)) != 2:
        return None
    return Columns(x, W, bias, i.outs[0], v, low)
