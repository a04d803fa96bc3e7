"""Rewrites a program so that more of it can leave the loop; it computes the same.

Each pass takes a program and returns a program. Letters say what a value reads: ``x`` the input,
``s`` the state, ``g`` an upstream gradient. A value that reads only free values has no letter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from inspect import signature
from itertools import accumulate, pairwise
from typing import Any

import numpy

from .. import ops
from .program import FULL, SAME, Builder, Instr, Program, Shape, Value, substituted

PIECES = {
    ops.split, ops.getitem, ops.concatenate, ops.index.scatter_add, ops.broadcast_to, ops.reshape,
    ops.transpose,
}  # fmt: skip
"""What only names parts of values anew."""

ADD, MULTIPLY, MATMUL = ops.add, ops.multiply, ops.matmul
TRANSPOSE, SPLIT, CONCATENATE, GETITEM = ops.transpose, ops.split, ops.concatenate, ops.getitem


def simplified(p: Program) -> Program:
    """All passes, in an order in which each can use the results of the ones before."""
    p = turned_products(regrouped(split_products(reshaped(without_options(p)))))
    return state_copied(without_repeats(p))


def reads(p: Program) -> dict[Value, frozenset[str]]:
    """What each value reads, directly or indirectly."""
    found = dict.fromkeys(p.free, frozenset[str]())
    found |= dict.fromkeys(p.xs, frozenset("x"))
    found |= dict.fromkeys(p.states, frozenset("s"))
    found |= {v: frozenset("g") for v in (p.gy, *p.gafter) if v is not None}
    for i in p.code:
        own = frozenset[str]().union(*[found[v] for v in i.reads()])
        for o in i.outs:
            found[o] = own
    return found


def uses(p: Program) -> Counter[Value]:
    """How often each value is read; a result of the program counts as one use."""
    return Counter([v for i in p.code for v in i.reads()] + p.results())


def without_unused(p: Program) -> Program:
    """Removes instructions that nothing reads."""
    live, kept = set(p.results()), []
    for i in reversed(p.code):
        if not live.isdisjoint(i.outs):
            kept.append(i)
            live.update(i.reads())
    return p._replace(code=tuple(kept[::-1]))


def state_copied(p: Program) -> Program:
    """Gives each part of the state, and of its gradient, an instruction of its own.

    A step may return its input, or one part twice; a copy replaces it. A part that the step does
    not read gets the gradient zero.
    """
    b, made, found, code = Builder(p), p.made(), reads(p), list(p.code)
    taken: set[Value] = set()

    def own(v: Any) -> Any:
        if v is None or (v in made and v not in taken and found[v] & {"s", "g"}):
            taken.add(v)
            return v
        w = b.fresh(*b.types[v])
        code.append(Instr(SAME, (v,), (), (w,)))
        return w

    def zero(v: Value) -> Value:
        w = b.fresh(*p.types[v])
        code.append(Instr(FULL, (), (("value", 0.0),), (w,)))
        return w

    after = tuple([own(v) for v in p.after])
    taken.clear()
    # a piece of another gradient needs a copy: it would be read after a write into it
    taken |= {o for i in code if i.op in PIECES for o in i.outs}
    pairs = zip(p.gstates, p.states, strict=True) if p.gstates else ()
    gstates = tuple(
        [own(zero(s) if g is None and p.types[s].dtype.kind == "f" else g) for g, s in pairs]
    )
    return p._replace(code=tuple(code), types=b.types, after=after, gstates=gstates)


def lead_of(p: Program) -> Shape:
    """The leading axes of rows."""
    return next((p.shape(v)[:-1] for v in p.states if p.shape(v)), ())


def without_options(p: Program) -> Program:
    """Makes named numbers of elementwise primitives operands: leaky_relu(x, 0.01).

    A condition as numbers becomes a choice of 1 or 0, a value within limits one of two values.
    """
    code, b = [], Builder(p)
    for i in p.code:
        floating = p.types[i.outs[0]].dtype.kind == "f"
        if i.op is ops.astype and floating and p.types[i.ins[0]].dtype.kind == "b":
            one, zero = (b.fresh((), p.types[i.outs[0]].dtype) for _ in range(2))
            code.append(Instr(FULL, (), (("value", 1.0),), (one,)))
            code.append(Instr(FULL, (), (("value", 0.0),), (zero,)))
            i = Instr(ops.where, (i.ins[0], one, zero), (), i.outs)
        elif i.op is ops.arithmetic.limit and floating:
            x, low, high = i.ins
            if low is not None and high is not None:
                x = b.fresh(*p.types[i.outs[0]])
                code.append(Instr(ops.maximum, (i.ins[0], low), (), (x,)))
            other = (ops.maximum, low) if high is None else (ops.minimum, high)
            i = Instr(other[0], (x, other[1]), (), i.outs)
        names = signature(i.op.forward).parameters if i.op.elementwise and i.params else ()
        numbers = [i.param(name) for name in names if any(name == n for n, _ in i.params)]
        if numbers and all(type(n) in (int, float) for n in numbers):
            i = i._replace(ins=(*i.ins, *numbers), params=())
        code.append(i)
    return p._replace(code=tuple(code), types=b.types)


def reshaped(p: Program) -> Program:
    """Makes an index that only adds axes, such as ``[:, None]``, and its gradient a reshape."""
    code = []
    for i in p.code:
        if i.op in (GETITEM, ops.index.scatter_add):
            index = i.param("index")
            parts = index if isinstance(index, tuple) else (index,)
            kinds = [type(k) is slice and k == slice(None) for k in parts]
            if all(k is None or k is ... or whole for k, whole in zip(parts, kinds, strict=True)):
                i = i._replace(op=ops.reshape, params=(("shape", p.shape(i.outs[0])),))
        code.append(i)
    return p._replace(code=tuple(code))


def without_repeats(p: Program) -> Program:
    """Removes instructions that change nothing or compute a value again."""
    alias: dict[Value, Value] = {}
    seen: dict[Any, Instr] = {}
    made: dict[Value, Instr] = {}
    kept = []
    for instr in p.code:
        i = _shorter(substituted(instr, lambda v: alias.get(v, v)), made)
        to = _identity(p, i, made)
        if to is not None:
            alias[i.outs[0]] = to
            continue
        ins = [(type(v) is Value, repr(v)) for v in i.ins]
        key: tuple[Any, ...] = (
            i.op,
            tuple(sorted(ins) if i.op in (ADD, MULTIPLY) else ins),
            repr(i.params),
        )
        if i.op is FULL:
            key += (p.types[i.outs[0]],)
        before = seen.setdefault(key, i)
        if before is not i:
            alias.update(zip(i.outs, before.outs, strict=True))
            continue
        made.update(dict.fromkeys(i.outs, i))
        kept.append(i)
    return without_unused(p.renamed(alias, kept))


def _shorter(i: Instr, made: dict[Value, Instr]) -> Instr:
    """a + (-b) as a - b, a² and a^½ as square and root, what is reshaped twice reshaped once."""
    if i.op is ops.power and i.ins[1] in (2, 0.5) and type(i.ins[1]) is not Value:
        return i._replace(op=ops.square if i.ins[1] == 2 else ops.sqrt, ins=i.ins[:1])
    if i.op is ops.reshape:
        by = made.get(i.ins[0])
        return i._replace(ins=by.ins) if by is not None and by.op is ops.reshape else i
    if i.op is ADD:
        for a, b in (i.ins, i.ins[::-1]):
            by = made.get(b) if type(b) is Value else None
            if by is not None and by.op is ops.negative:
                return i._replace(op=ops.subtract, ins=(a, by.ins[0]))
    return i


def _identity(p: Program, i: Instr, made: dict[Value, Instr]) -> Value | None:
    """The operand that the instruction returns unchanged, if it does."""
    out = i.outs[0]

    def same(v: Any) -> bool:
        return type(v) is Value and p.types[v] == p.types[out]

    def number(v: Any, n: float) -> bool:
        if type(v) is Value:
            by = made.get(v)
            return by is not None and by.op is FULL and by.param("value") == n
        return bool(v == n)

    if i.op in (ADD, MULTIPLY):
        neutral = 0 if i.op is ADD else 1
        for a, b in (i.ins, i.ins[::-1]):
            if number(a, neutral) and same(b):
                return b  # type: ignore[no-any-return]
    if i.op is ops.power and number(i.ins[1], 1) and same(i.ins[0]):
        return i.ins[0]  # type: ignore[no-any-return]
    if i.op in (ops.reshape, ops.broadcast_to, ops.astype, SAME) and same(i.ins[0]):
        return i.ins[0]  # type: ignore[no-any-return]
    if i.op is TRANSPOSE:
        by, axes = made.get(i.ins[0]), i.param("axes")
        if axes is not None and [a % len(axes) for a in axes] == [*range(len(axes))]:
            return i.ins[0]  # type: ignore[no-any-return]
        if by is not None and _turns(p, i) and _turns(p, by):
            return by.ins[0]  # type: ignore[no-any-return]
    return None


def _turns(p: Program, i: Instr) -> bool:
    """Whether the instruction is the transpose of a matrix."""
    if i.op is not TRANSPOSE or len(p.shape(i.outs[0])) != 2:
        return False
    axes = i.param("axes")
    return axes is None or [a % 2 for a in axes] == [1, 0]


def split_products(p: Program) -> Program:
    """[x, h] W = x W₁ + h W₂, and the parts of ā Wᵀ as separate products.

    The part that reads only x can then leave the loop, and so can its gradient.
    """
    found, made, b, code = reads(p), p.made(), Builder(p), []
    forward = ancestors(p, (p.y, *p.after))

    def part(W: Value, axis: int, low: int, high: int) -> Value:
        shape = list(p.shape(W))
        shape[axis] = high - low
        w = b.fresh(tuple(shape), p.types[W].dtype)
        index = (slice(low, high), slice(None)) if axis == 0 else (slice(None), slice(low, high))
        code.append(Instr(GETITEM, (W,), (("index", index),), (w,)))
        return w

    def product(x: Value, w: Value, out: Value) -> Value:
        code.append(Instr(MATMUL, (x, w), (), (out,)))
        return out

    def is_weight(v: Any) -> bool:
        return type(v) is Value and not found[v] and len(p.shape(v)) == 2

    def on_last(i: Instr, whole: Value) -> bool:
        n = len(p.shape(whole))
        return bool(i.param("axis") % n == n - 1)

    def joined(by: Instr, i: Instr) -> bool:
        """[x, h] W, where some of the parts read the state."""
        if (by.op, i.op) != (CONCATENATE, MATMUL) or not all(type(v) is Value for v in by.ins):
            return False
        mixed = len({"s" in found[v] for v in by.ins}) > 1
        return mixed and is_weight(i.ins[1]) and on_last(by, i.ins[0]) and i.outs[0] in forward

    def cut(by: Instr, i: Instr) -> bool:
        """Columns of ā Wᵀ."""
        if (by.op, i.op) != (MATMUL, SPLIT) or len(p.shape(i.ins[0])) != 2:
            return False
        return is_weight(by.ins[1]) and on_last(i, i.ins[0]) and i.outs[0] not in forward

    for i in p.code:
        by = made.get(i.ins[0]) if i.ins and type(i.ins[0]) is Value else None
        if by is not None and joined(by, i):
            out, parts = i.outs[0], zip(by.ins, pairwise(cuts_of(p, by.ins)), strict=True)
            terms = [
                product(v, part(i.ins[1], 0, *rows), b.fresh(*p.types[out])) for v, rows in parts
            ]
            code += _rebuilt(p, b, terms, out)
        elif by is not None and cut(by, i):
            for o, columns in zip(i.outs, pairwise(cuts_of(p, i.outs)), strict=True):
                product(by.ins[0], part(by.ins[1], 1, *columns), o)
        else:
            code.append(i)
    return without_unused(p._replace(code=tuple(code), types=b.types))


def regrouped(p: Program) -> Program:
    """Adds first the terms of a sum that do not read the state: (xW + hU) + b as
    (xW + b) + hU."""
    found, made, count, b, code = reads(p), p.made(), uses(p), Builder(p), []
    inner: set[Value] = set()
    own = set(p.results())

    def terms(v: Any) -> list[Any]:
        """The terms of a sum, through partial sums that are used only there."""
        i = made.get(v) if type(v) is Value else None
        if i is None or i.op is not ADD or count[v] > 1 or p.types[v] != root or v in own:
            return [v]
        inner.add(v)
        return [t for a in i.ins for t in terms(a)]

    def rank(v: Any) -> int:
        letters = found[v] if type(v) is Value else frozenset()
        return 2 if letters & {"s", "g"} else 1 if "x" in letters else 0

    sums: dict[Value, list[Any]] = {}
    for i in reversed(p.code):
        if i.op is ADD and i.outs[0] not in inner and "g" not in found[i.outs[0]]:
            root = p.types[i.outs[0]]
            sums[i.outs[0]] = [t for a in i.ins for t in terms(a)]
    for i in p.code:
        out = i.outs[0]
        if out in inner:
            continue
        if len(sums.get(out, ())) > 2:
            code += _rebuilt(p, b, sorted(sums[out], key=rank), out)
        else:
            code.append(i)
    return without_unused(p._replace(code=tuple(code), types=b.types))


def _rebuilt(p: Program, b: Builder, terms: list[Any], out: Value) -> list[Instr]:
    """out = terms[0] + terms[1] + ..."""
    code, total = [], terms[0]
    for k, t in enumerate(terms[1:], 2):
        if k == len(terms):
            z = out
        else:
            shapes = [b.types[v].shape if type(v) is Value else () for v in (total, t)]
            z = b.fresh(numpy.broadcast_shapes(*shapes), p.types[out].dtype)
        code.append(Instr(ADD, (total, t), (), (z,)))
        total = z
    return code


def turned_products(p: Program) -> Program:
    """(aᵀ b)ᵀ as bᵀ a, so that a gradient has the layout of its weight."""
    made, count, b, code = p.made(), uses(p), Builder(p), []
    for i in p.code:
        by = made.get(i.ins[0]) if _turns(p, i) else None
        if by is not None and by.op is MATMUL and count[by.outs[0]] == 1:
            left = made.get(by.ins[0])
            if left is not None and _turns(p, left):
                right = by.ins[1]
                t = b.fresh(p.shape(right)[::-1], p.types[right].dtype)
                code.append(Instr(TRANSPOSE, (right,), (("axes", None),), (t,)))
                code.append(Instr(MATMUL, (t, left.ins[0]), (), i.outs))
                continue
        code.append(i)
    return without_unused(p._replace(code=tuple(code), types=b.types))


def cuts_of(p: Program, parts: Iterable[Value]) -> list[int]:
    """The columns between values side by side, with both ends."""
    return list(accumulate(map(p.width, parts), initial=0))


def ancestors(p: Program, roots: Any) -> set[Value]:
    """The values that these are computed from, and themselves."""
    made, seen, stack = p.made(), set[Value](), [v for v in roots if v is not None]
    while stack:
        v = stack.pop()
        if v not in seen:
            seen.add(v)
            stack += made[v].reads() if v in made else ()
    return seen
