"""A derived loop as equations: what runs before, in and after it, forward and backward.

⊙ is the product element by element, ``h'`` the state after a step, ``h̄`` and ``∂weight`` are the
gradients of h and of a weight. A value has its own line if it is kept or read more than once;
``u[0]``, ``u[1]`` are the planes of a value u.
"""

from __future__ import annotations

import unicodedata
from typing import Any

from .. import ops
from ..ops.index import is_basic
from .plan import Op, Plan, Plane
from .program import CONTRACT, FULL, SAME, Instr, Value

SIGNS: dict[Any, tuple[str, int]] = {
    ops.add: ("{} + {}", 1),
    ops.subtract: ("{} - {}", 1),
    ops.negative: ("-{}", 2),
    ops.multiply: ("{} ⊙ {}", 2),
    ops.arithmetic.product: ("{} ⊙ {}", 2),
    ops.divide: ("{} / {}", 2),
    ops.arithmetic.quotient: ("{} / {}", 2),
    ops.matmul: ("{} {}", 3),
    ops.transpose: ("{}ᵀ", 4),
    ops.square: ("{}²", 4),
    SAME: ("{}", 0),
}
"""How an operation is written, and how strongly it binds; others are f(a, b)."""

NAMES = {ops.sigmoid: "σ"}
ATOM = 9


def listed(plan: Plan, states: tuple[str, ...], free: tuple[str, ...]) -> str:
    """The equations of a plan.

    Args:
        plan: The plan.
        states: Names of the parts of the state.
        free: Names of the parameters and constants of the step.
    """
    return _Listing(plan, states, free).text()


class _Listing:
    def __init__(self, plan: Plan, states: tuple[str, ...], free: tuple[str, ...]) -> None:
        self.plan, self.p = plan, plan.program
        p = self.p
        self.values: dict[Value, tuple[str, int]] = {}
        self.planes: dict[Plane, tuple[str, int]] = {}
        self.count = 0
        xs = ["x"] if len(p.xs) == 1 else [f"x{k}" for k in range(len(p.xs))]
        self._name(p.free, free)
        self._name(p.xs, xs)
        self._name(p.states, states)
        self._name(p.after, [f"{s}'" for s in states])
        self._name(p.gafter, [f"{_bar(s)}'" for s in states])
        self._name((p.gy,), [_bar("y")])
        self.goals = dict(zip(p.after, [f"{s}'" for s in states], strict=True))
        self.goals |= {p.y: "y"} if p.y not in p.after else {}
        gradients = zip(p.gstates, map(_bar, states), strict=True)
        self.goals |= {v: name for v, name in gradients if v is not None}

    def _name(self, values: Any, names: Any) -> None:
        for v, name in zip(values, names, strict=True):
            if v is not None:
                self.values[v] = (name, ATOM)

    def text(self) -> str:
        """All parts that are not empty."""
        p, lines = self.p, []
        before = [*self.plan.once, *self.plan.before]
        lines += self._part("before the loop, for all steps", before, self._read_in_loop())
        lines += ["each step", *self._loop("forward")]
        lines += ["each step back", *self._loop("backward")]
        names = [self.values[v][0] for v in p.free]
        goals = {v: _bar(name) for v, name in zip(p.gfree, names, strict=True) if v is not None}
        goals |= {v: _bar(self.values[x][0]) for v, x in zip(p.gxs, p.xs, strict=True) if v}
        title, where = "after the loop, summed over the steps", self.plan.where
        made = [v for v in goals if where[v] == "backward"]
        copies = [Instr(SAME, (v,), (), (v,)) for v in made]
        lines += self._part(title, [*copies, *self.plan.after], goals)
        return "\n".join(lines)

    def _read_in_loop(self) -> dict[Value, str]:
        """The values computed before the loop and read in it."""
        found: dict[Value, str] = {}
        for q, (v, _, _) in self.plan.inputs.items():
            if v not in {*self.values, *found} and any(q in o.ins for o in self._all()):
                found[v] = self._next()
        return found

    def _all(self) -> list[Op]:
        return [*self.plan.ops("forward"), *self.plan.ops("backward")]

    def _next(self) -> str:
        self.count += 1
        return f"a{self.count}"

    # -- outside the loops ----------------------------------------------------------------------

    def _part(self, title: str, code: list[Instr], goals: dict[Value, str]) -> list[str]:
        lines = []
        for i in code:
            text = self._outside(i)
            for k, o in enumerate(i.outs):
                piece = (f"{_in(text, ATOM)}[{k}]", ATOM) if len(i.outs) > 1 else text
                if o in goals:
                    lines.append(f"    {goals[o]} = {piece[0]}")
                    piece = (goals[o], ATOM)
                self.values[o] = piece
        return [title, *lines] if lines else []

    def _outside(self, i: Instr) -> tuple[str, int]:
        if i.op is FULL:
            return (f"{i.param('value'):g}", ATOM)
        if i.op in (ops.reshape, ops.split, ops.broadcast_to):
            return self._value(i.ins[0])
        if i.op is ops.sum:
            return (f"Σ {_in(self._value(i.ins[0]), 3)}", 2)
        if i.op is ops.getitem and is_basic(index := i.param("index")):
            return (f"{_in(self._value(i.ins[0]), 4)}[{_index(index)}]", ATOM)
        return _written(i.op, [self._value(v) for v in i.ins])

    def _value(self, v: Any) -> tuple[str, int]:
        if type(v) is not Value:
            return (f"{v:g}" if isinstance(v, float) else repr(v), ATOM)
        if v not in self.values:
            parts = self.plan.planes.get(v)
            texts = [] if parts is None else [self._plane(q) for q in parts]
            joined = ", ".join([name for name, _ in texts])
            self.values[v] = texts[0] if len(texts) == 1 else (f"[{joined}]", ATOM)
        return self.values[v]

    # -- in the loops ---------------------------------------------------------------------------

    def _loop(self, way: str) -> list[str]:
        plan, loop, lines = self.plan, self.plan.ops(way), []
        held = {*plan.saved}  # what the forward keeps has the same name in the backward
        for v, row in plan.rows.items():
            held |= {*plan.planes[v]} if row.way == "forward" and row.kept else set()
        self.planes = {q: n for q, n in self.planes.items() if q in held}
        uses: dict[Any, int] = {}
        for o in loop:
            for q in o.ins:
                uses[q] = uses.get(q, 0) + 1
        kept = {*plan.saved} if way == "forward" else {plan.planes[v][0] for v in plan.sums}
        for v, row in plan.rows.items():
            if row.way == way:
                kept |= {q for q in plan.planes[v] if isinstance(q, Plane)}
        goals: dict[Any, str] = {}
        for v, name in self.goals.items():
            if plan.where.get(v) == way:
                planes = plan.planes[v]
                for k, q in enumerate(planes):
                    goals[q] = name if len(planes) == 1 else f"{name}[{k}]"
        for o in loop:
            text = self._inside(o)
            for k, q in enumerate(o.outs):
                piece = (f"{_in(text, ATOM)}[{k}]", ATOM) if len(o.outs) > 1 else text
                short = piece[1] == ATOM or ("⊙" not in piece[0] and "(" not in piece[0])
                if q in goals or q in kept or (uses.get(q, 0) > 1 and not short):
                    name = goals.get(q) or self._next()
                    lines.append(f"    {name} = {piece[0]}")
                    piece = (name, ATOM)
                self.planes[q] = piece
        return lines

    def _inside(self, o: Op) -> tuple[str, int]:
        if o.kind == "dot":
            left = [self._plane(q)[0] for q in o.ins]
            joined = left[0] if len(left) == 1 else f"[{', '.join(left)}]"
            bound = self._plane(o.ins[0])[1] if len(left) == 1 else ATOM
            weight = _in(self._value(o.instr.ins[1]), 4)
            return (f"{_in((joined, bound), 3)} {weight}", 3)
        if o.kind == "fold":
            between = ", " if o.op is ops.max else " + "
            terms = between.join([_in(self._plane(q), 2) for q in o.ins])
            return (f"{o.op.name}({terms})", ATOM)
        if o.op is CONTRACT:
            product = _written(ops.multiply, [self._value(v) for v in o.instr.ins])
            return (f"sum({product[0]})", ATOM)
        if o.kind == "call":
            return _written(o.op, [self._value(v) for v in o.instr.ins])
        return _written(o.op, [self._plane(q) for q in o.ins])

    def _plane(self, q: Any) -> tuple[str, int]:
        if not isinstance(q, Plane):
            return (f"{q:g}", ATOM)
        if q in self.planes:
            return self.planes[q]
        if q in self.plan.inputs:
            v = self.plan.inputs[q].value
            k, count = self.plan.planes[v].index(q), len(self.plan.planes[v])
            name = self._value(v) if v in self.values else (f"%{int(v)}", ATOM)
            return name if count == 1 else (f"{_in(name, ATOM)}[{k}]", ATOM)
        for v in (*self.p.states, *self.p.after, self.p.y):  # kept by the forward
            if q in self.plan.planes.get(v, ()):
                called = "y" if v == self.p.y and v not in self.p.after else self.values[v][0]
                k, count = self.plan.planes[v].index(q), len(self.plan.planes[v])
                return (called if count == 1 else f"{called}[{k}]", ATOM)
        return (f"p{q.id}", ATOM)


def _written(op: Any, operands: list[tuple[str, int]]) -> tuple[str, int]:
    """An operation with its operands, and how strongly it binds."""
    if op in SIGNS:
        form, strength = SIGNS[op]
        if op is SAME:
            return operands[0]
        right = strength + (op in (ops.subtract, ops.divide, ops.arithmetic.quotient))
        bounds = [strength, right] if len(operands) == 2 else [strength]
        texts = [_in(o, b) for o, b in zip(operands, bounds, strict=True)]
        return (form.format(*texts), strength)
    return (f"{NAMES.get(op, op.name)}({', '.join([text for text, _ in operands])})", ATOM)


def _in(text: tuple[str, int], strength: int) -> str:
    """A text, in brackets where it binds less."""
    return text[0] if text[1] >= strength else f"({text[0]})"


def _index(index: Any) -> str:
    """A basic index as it is written between brackets."""
    if isinstance(index, tuple):
        return ", ".join(map(_index, index))
    if not isinstance(index, slice):
        return "..." if index is Ellipsis else str(index)
    parts = ["" if k is None else str(k) for k in (index.start, index.stop)]
    return ":".join(parts if index.step in (None, 1) else [*parts, str(index.step)])


def _bar(name: str) -> str:
    """The name of a gradient: a bar over a letter, ∂ before a word."""
    return unicodedata.normalize("NFC", f"{name}\u0304") if len(name) == 1 else f"∂{name}"
