"""Makes a plan from a step: places, cuts, stages, and what the forward saves."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from .. import ops
from .cutting import Cutter
from .passes import lead_of, simplified
from .placing import placed
from .plan import Op, Plan, Plane, Row, Stage, is_large
from .program import LINEAR, SAME, Instr, Program, Value

COSTLY = {
    ops.tanh, ops.sigmoid, ops.exp, ops.log, ops.sqrt, ops.power, ops.softplus, ops.sin, ops.cos,
    ops.expm1, ops.log1p, ops.erf, ops.gelu, ops.silu, ops.elu,
}  # fmt: skip
"""Maps that are kept for the backward rather than computed again."""

VIEWS = {ops.reshape, ops.transpose, ops.broadcast_to}
"""Calls that compute nothing: they are done again rather than kept."""


def planned(p: Program, inside: Container[Any] = ()) -> Plan:
    """The plan of a step and its derivative; ``inside`` as of :func:`.placed`."""
    p = simplified(p)
    lead = lead_of(p)
    p, places = placed(p, inside)
    where = {o: place for place, code in places.items() for i in code for o in i.outs}
    where |= dict.fromkeys(p.free, "once") | dict.fromkeys(p.xs, "before")
    where |= dict.fromkeys(p.states, "state")
    where |= {v: "gradient" for v in (p.gy, *p.gafter) if v is not None}
    cutter = Cutter(p, lead, places, where)
    results = [v for v in dict.fromkeys((*p.after, p.y)) if where[v] == "forward"]
    forward = cutter.lowered(places["forward"], results)
    backward = cutter.lowered(places["backward"])
    for v, w in cutter.uncut.items():
        places[where[v]].append(Instr(SAME, (v,), (), (w,)))
    cutter.outputs()
    sums = _sums(cutter, places["after"])
    rows = _rows(cutter, places["after"], forward, backward, {*sums})
    again, saved = _remembered(cutter, forward, backward, rows)
    return Plan(
        p, lead, places["once"], places["before"], places["after"], _staged(forward),
        _staged([*again, *backward]), cutter.planes,
        {v: cutter.columns(v) for v in cutter.planes}, cutter.inputs, saved, rows, sums,
        where,
    )  # fmt: skip


def _staged(loop: list[Op]) -> list[Stage]:
    """The stages of a loop: each dot as early, each map as late as possible."""
    level: dict[Plane, int] = {}
    top = 0
    for o in loop:
        k = max([level.get(q, 0) for q in o.ins if isinstance(q, Plane)], default=0)
        k += o.kind == "dot"
        level.update(dict.fromkeys(o.outs, k))
        top = max(top, k)
    latest: dict[Plane, int] = {}
    for o in reversed(loop):
        k = level[o.outs[0]]
        if o.kind != "dot" and any(q in latest for q in o.outs):
            k = max(k, min([latest.get(q, top + 1) for q in o.outs]))
        for q in o.outs:
            level[q] = k
        for q in o.ins:
            if isinstance(q, Plane):
                latest[q] = min(latest.get(q, top + 1), k - (o.kind == "dot"))
    stages = [Stage([], []) for _ in range(top + 1)]
    for o in loop:
        k = level[o.outs[0]]
        if o.kind == "dot":
            stages[k - 1].dots.append(o)
        else:
            stages[k].maps.append(o)
    return stages


def _sums(cutter: Cutter, after: list[Instr]) -> list[Value]:
    """Large values of the backward that are needed only as a sum over the steps."""
    p, where = cutter.p, cutter.where
    readers: dict[Value, list[Instr]] = {}
    for i in after:
        for v in i.reads():
            readers.setdefault(v, []).append(i)

    def summed(v: Value) -> bool:
        asked = readers.get(v, [])
        linear = all(
            i.op in LINEAR
            and all(type(a) is Value and where[a] != "once" for a in i.ins)
            and all(map(summed, i.outs))
            for i in asked
        )
        return linear and v not in p.gxs and bool(asked or v in p.gfree)

    late = {v for i in after for v in i.reads()} | {v for v in p.gfree if v is not None}
    large = [
        v for v in sorted(late) if where[v] == "backward" and is_large(p.shape(v), cutter.lead)
    ]
    return [v for v in large if isinstance(cutter.of(v)[0], Plane) and summed(v)]


def _rows(
    cutter: Cutter, after: list[Instr], forward: list[Op], backward: list[Op], sums: set[Value]
) -> dict[Value, Row]:
    """Values that are one array, and those of them that are kept for all steps."""
    p, where = cutter.p, cutter.where
    given = {*p.after, p.y} if where[p.y] == "forward" else {*p.after}
    late = {v for i in after for v in i.reads()}
    late |= {v for v in (*p.gxs, *p.gfree) if v is not None}
    inside = ("forward", "backward")
    kept = {v for v in late if where[v] in inside and v not in given} - sums

    def read_whole(loop: list[Op]) -> set[Value]:
        found = set[Value]()
        for o in loop:
            if o.kind in ("dot", "call"):
                left = [o.instr.ins[0]] if o.kind == "dot" else o.instr.reads()
                several = [v for v in left if o.kind == "dot" or len(cutter.of(v)) > 1]
                found.update([v for v in several if where[v] in inside and v not in given])
        return found

    ahead, back = read_whole(forward), read_whole(backward)
    across = {v for v in back if where[v] == "forward"}
    whole = kept | ahead | back
    rows: dict[Value, Row] = {}
    hosts: list[Value] = []
    laid = {v: [*zip(cutter.of(v), cutter.widths(v), strict=True)] for v in whole}
    for v in sorted(whole, key=lambda v: (-len(laid[v]), v)):
        for host in hosts:
            at = _found(laid[v], laid[host]) if where[host] == where[v] else None
            if at is not None:
                low = sum(cutter.widths(host)[:at])
                rows[v] = Row(where[v], host, low, False)
                break
        else:
            hosts.append(v)
            rows[v] = Row(where[v], v, 0, False)
    keeping = {rows[v].host for v in kept | across}
    return {v: row._replace(kept=row.host in keeping) for v, row in rows.items()}


def _found(part: list[Any], whole: list[Any]) -> int | None:
    """The index of the sequence ``part`` in ``whole``; numbers never match."""
    if not all(isinstance(q, Plane) for q, _ in part):
        return None
    starts = range(len(whole) - len(part) + 1)
    return next((k for k in starts if whole[k : k + len(part)] == part), None)


def _remembered(
    cutter: Cutter, forward: list[Op], backward: list[Op], rows: dict[Value, Row]
) -> tuple[list[Op], list[Plane]]:
    """What the backward computes again, and the planes that the forward saves for it."""
    p, made = cutter.p, {q: o for o in forward for q in o.outs}
    given = [*p.states, *p.after, *([p.y] if cutter.where[p.y] == "forward" else [])]
    kept = [v for v, row in rows.items() if row.way == "forward" and row.kept]
    held = {q for v in given for q in cutter.of(v)}
    have = held | {q for v in kept for q in cutter.of(v)}
    # available in the backward: saved, or computed from saved planes by cheap maps
    at_hand: dict[Any, bool] = dict.fromkeys(have, True)

    def available(o: Op) -> bool:
        """Whether the backward has all operands; inputs computed for all steps it has not."""
        inputs = [cutter.inputs[q].value for q in o.ins if q in cutter.inputs]
        early = any(cutter.where[v] == "before" for v in inputs)
        return not early and all(at_hand.get(q, True) for q in o.ins)

    for o in forward:  # operands come before results
        for q in o.outs:
            stays = o.op in COSTLY or o.kind in ("fold", "call")
            at_hand[q] = q in have or (o.kind != "dot" and (stays or available(o)))
    saved: list[Plane] = []
    again: list[Op] = []

    def need(q: Any) -> None:
        if not isinstance(q, Plane) or q in have or q not in made:
            return
        o = made[q]
        have.update(o.outs)
        if o.op in COSTLY:
            cheap = all(u in held or not isinstance(u, Plane) for u in o.ins)
        elif o.kind == "map" or (o.op in VIEWS and len(o.ins) == 1):
            cheap = available(o)  # a view of several planes needs them as one array
        else:
            cheap = False
        if not cheap:
            saved.extend(o.outs)
            return
        for u in o.ins:
            need(u)
        again.append(o)

    for o in backward:
        for q in o.ins:
            need(q)
    for v, row in rows.items():
        if row.way == "backward":
            for q in cutter.of(v):
                need(q)
    return again, saved
