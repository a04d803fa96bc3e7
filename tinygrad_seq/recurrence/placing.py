"""Every value is placed by what it reads.

Parameters alone: once for a pass. The input: before the loop, for all steps together. The state: in
the loop. What only leads to the gradient of a parameter or of the input: after the loop, for all
steps together.
"""

from __future__ import annotations

from typing import Any

from .. import ops
from .passes import ancestors, reads
from .program import SAME, Builder, Instr, Program, Value, substituted


def placed(p: Program) -> tuple[Program, dict[str, list[Instr]]]:
    """The instructions by place, of the program with what had to be added to it."""
    found = reads(p)
    forward, backward = ancestors(p, (p.y, *p.after)), ancestors(p, p.gstates)
    places: dict[str, list[Instr]] = {
        name: [] for name in ("once", "before", "forward", "backward", "after")
    }
    for i in p.code:
        letters, outs = found[i.outs[0]], set(i.outs)
        if outs & forward:
            place = "forward" if "s" in letters or outs.intersection(p.after) else "before"
        elif outs & backward:
            own = outs.intersection([v for v in p.gstates if v is not None])
            place = "backward" if letters & {"s", "g"} or own else "before"
        else:
            place = "after"
        if not letters and place in ("before", "after"):
            place = "once"
        places[place].append(i)
    made_in = {o for name in ("forward", "backward") for i in places[name] for o in i.outs}
    for i in [i for i in places["after"] if i.op is ops.concatenate]:
        if made_in.issuperset(i.ins) and i.param("axis") in (-1, len(p.shape(i.outs[0])) - 1):
            places["after"].remove(i)  # its parts are laid side by side as they are made
            places["backward"].append(i)
            made_in.update(i.outs)
    return _with_gradients(p, places)


def _with_gradients(
    p: Program, places: dict[str, list[Instr]]
) -> tuple[Program, dict[str, list[Instr]]]:
    """Gradients of the state that are read after the loop are copied in it, for every step."""
    late = {v for i in places["after"] for v in i.reads()} | {*p.gxs, *p.gfree}
    b, alias = Builder(p), dict[Value, Value]()
    for v in p.gafter:
        if v is not None and v in late:
            alias[v] = b.fresh(*p.types[v])
            places["backward"].append(Instr(SAME, (v,), (), (alias[v],)))

    def at(v: Any) -> Any:
        return alias.get(v, v)

    places["after"] = [substituted(i, at) for i in places["after"]]
    code = tuple([i for part in places.values() for i in part])
    gxs, gfree = tuple(map(at, p.gxs)), tuple(map(at, p.gfree))
    return p._replace(code=code, types=b.types, gxs=gxs, gfree=gfree), places
