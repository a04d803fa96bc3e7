"""The gradient of a loop as loops again, so that it can be differentiated.

A backward that is recorded computes, with tensors,

    s_{t-1}                by the loop once more,
    ∂s_{t-1} from ∂s_t     by a loop in the other direction,
    ∂x_t and Σ_t ∂θ        for all steps at once.

Both loops follow the plan of the step and its derivative. They are cells themselves, and fused
loops are derived from them like from any cell.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

from .. import ops
from ..backend import xp
from ..tensor import Tensor
from .batch import ALL, ONCE, Env, Live
from .plan import Plan, is_row
from .program import FULL, Value, called
from .trees import flat
from .unroll import filled, where_read

Runner = Callable[..., tuple[Tensor, Any]]
"""Runs a cell along a sequence: ``scan(step, xs, state, valid, reverse, name)``."""


class Part:
    """What a plan computes in one of its loops.

    Args:
        plan: The plan.
        states: The values of the state before the step.
        shown: The values that are wanted of every step.
        after: The values of the state after the step.

    Attributes:
        code: The instructions.
        xs: Values that they read and that differ from step to step.
        known: Values that they read and that do not.
    """

    def __init__(
        self, plan: Plan, states: Sequence[Any], shown: Sequence[Value], after: Sequence[Any]
    ) -> None:
        self.states, self.shown, self.after = states, shown, after
        self.xs: list[Value] = []
        self.known: list[Value] = []
        made, code = plan.program.made(), set[Value]()
        seen, rest = {*states}, [*shown, *after]
        while rest:
            v = rest.pop()
            if v in seen:
                continue
            seen.add(v)
            if plan.where[v] == "once" or (v in made and made[v].op is FULL):
                self.known.append(v)
            elif plan.where[v] in ("before", "state", "gradient"):
                self.xs.append(v)
            else:
                code.update(made[v].outs)
                rest += made[v].reads()
        self.xs = self.xs or [plan.program.xs[0]]  # a sequence needs one
        self.code = [i for i in plan.program.code if not code.isdisjoint(i.outs)]


class Replay:
    """A cell that computes a part of a plan.

    Args:
        part: The part.
        known: The tensors of ``part.known``.
        key: Tells the part from others.
    """

    def __init__(self, part: Part, known: Sequence[Tensor], key: Any) -> None:
        self.part, self.known, self.key = part, known, key

    def __call__(self, x: Any, state: Any) -> Any:
        part = self.part
        values = (*part.known, *part.xs, *part.states)
        env = dict(zip(values, [*self.known, *flat(x), *flat(state)], strict=True))
        for i in part.code:
            results = called(i, env, live=True)
            env.update(zip(i.outs, results if len(i.outs) > 1 else (results,), strict=True))
        shown = [env[v] for v in part.shown]
        y = shown[0] if len(shown) == 1 else ops.concatenate(shown, -1)
        return y, tuple([env[v] for v in part.after])

    def constant(self) -> Any:
        """What it is and what it reads; see :mod:`.constant`."""
        return self.key, self.known


class Twice:
    """The gradients of a plan's loop, as tensors.

    Args:
        plan: The plan.

    Attributes:
        possible: Whether all that is wanted of a step fits side by side in one array, and every
            gradient passes: a program does not tell a value from the same value detached.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, p = plan, plan.program
        read = {v for i in plan.after for v in i.reads()}
        read |= {v for v in (*p.gxs, *p.gfree) if v is not None}
        shown = [v for v in sorted(read) if plan.where[v] in ("forward", "backward")]
        rows = [*p.states, *shown]
        self.possible = (
            bool(shown)
            and not p.detaches
            and None not in (*p.gafter, *p.gstates)
            and all(is_row(p.shape(v), plan.lead) for v in rows)
            and len({p.types[v].dtype for v in rows}) == 1
        )
        if self.possible:
            self.forward = Part(plan, p.states, p.states, p.after)
            self.backward = Part(plan, p.gafter, shown, p.gstates)
        self._plans: dict[Any, Any] = {}
        self._key = object()

    def gradients(
        self,
        scan: Runner,
        args: Sequence[Tensor],
        valid: Any,
        reverse: bool,
        given: Sequence[Tensor],
        names: Container[str],
    ) -> dict[str, Tensor]:
        """The gradients of a loop, by the names of its arguments.

        Args:
            scan: Runs the loops.
            args: The arguments of the loop: inputs, states, free values.
            valid, reverse: As it was called with.
            given: The gradients of its results.
            names: Which gradients are wanted.
        """
        p, plan = self.plan.program, self.plan
        n, m = len(p.xs), len(p.xs) + len(p.states)
        env = Env(p, Live(xp(args[0]._data)), len(args[0]), self._plans)
        for v, tensor in zip(p.free, args[m:], strict=True):
            env.put(v, tensor, ONCE)
        env.run(plan.once)
        for v, tensor in zip(p.xs, args[:n], strict=True):
            env.put(v, tensor, ALL)
        env.run(plan.before)
        gy, *glast = given
        if p.gy is not None:
            if valid is not None:
                gy = where_read(valid, gy)
            env.put(p.gy, gy, ALL)
        self._run(env, self.forward, scan, args[n:m], valid, reverse)
        first = self._run(env, self.backward, scan, glast, valid, not reverse)
        sums = {f"p{k}": v for k, v in enumerate(p.gfree) if v is not None and f"p{k}" in names}
        whole = {f"x{k}": v for k, v in enumerate(p.gxs) if v is not None and f"x{k}" in names}
        env.run(plan.after, {*sums.values(), *whole.values()})
        found = {f"s{k}": g for k, g in enumerate(first)}
        found |= {name: env.total(v) for name, v in sums.items()}
        return found | {name: env.all(v) for name, v in whole.items()}

    def _run(
        self, env: Env, part: Part, scan: Runner, start: Sequence[Tensor], valid: Any, reverse: bool
    ) -> Sequence[Tensor]:
        """Run a loop; what it shows of every step goes into ``env``. The state after it."""
        p, known = self.plan.program, []
        for v in part.known:
            if v not in env.arrays:  # a FULL
                shape, dtype = p.types[v]
                env.put(v, env.np.full(shape, p.made()[v].param("value"), dtype), ONCE)
            known.append(env.arrays[v])
        cell = Replay(part, known, (self._key, part is self.forward))
        xs = tuple([env.all(v) for v in part.xs])
        y, last = scan(cell, xs, tuple(start), valid, reverse, "again")
        cuts = [sum(map(p.width, part.shown[:k])) for k in range(1, len(part.shown))]
        for v, rows in zip(part.shown, ops.split(y, cuts, -1), strict=True):
            if valid is not None and self.plan.where[v] != "backward":  # gradients are zero there
                rows = filled(valid, rows)
            env.put(v, rows, ALL)
        return flat(last)
