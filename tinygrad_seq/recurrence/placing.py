"""Places every value by what it reads.

Parameters only: once per pass. The input: before the loop, for all steps together. The state: in
the loop. Values needed only for the gradient of a parameter or of the input: after the loop, for
all steps together.
"""

from __future__ import annotations

from collections.abc import Container
from string import ascii_letters
from typing import Any

import numpy

from .. import ops
from .batch import axes_of
from .passes import ancestors, lead_of, reads, uses, without_unused
from .plan import is_large, is_row
from .program import CONTRACT, SAME, Builder, Instr, Program, Value, substituted


def placed(p: Program, inside: Container[Any] = ()) -> tuple[Program, dict[str, list[Instr]]]:
    """The instructions by place, and the program with the instructions that had to be added.

    Args:
        p: The program.
        inside: The maps of rows that are computed in the loops even if they do not need the state.
            A compiled loop makes them cheaper than passes over the arrays of all steps.
    """
    p = _unstretched(p)
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
    if inside:
        _rows_in_loop(p, places, inside)
    made_in = {o for name in ("forward", "backward") for i in places[name] for o in i.outs}
    for i in [i for i in places["after"] if i.op is ops.concatenate]:
        if made_in.issuperset(i.ins) and i.param("axis") in (-1, len(p.shape(i.outs[0])) - 1):
            places["after"].remove(i)  # its parts are written side by side
            places["backward"].append(i)
            made_in.update(i.outs)
    _large_in_loop(p, places)
    return _with_gradients(_contracted(p, places), places)


def _unstretched(p: Program) -> Program:
    """Removes the stretching of operands that an operation stretches itself."""
    lead, made, code = lead_of(p), p.made(), []
    for i in p.code:
        if i.op.elementwise and not i.params and is_large(p.shape(i.outs[0]), lead):
            for k, v in enumerate(i.ins):
                by = made.get(v) if type(v) is Value else None
                if by is not None and by.op is ops.broadcast_to:
                    ins = (*i.ins[:k], by.ins[0], *i.ins[k + 1 :])
                    shapes = [p.shape(a) for a in ins if type(a) is Value]
                    if numpy.broadcast_shapes(*shapes) == p.shape(i.outs[0]):
                        i = i._replace(ins=ins)
        code.append(i)
    return without_unused(p._replace(code=tuple(code)))


def _rows_in_loop(p: Program, places: dict[str, list[Instr]], maps: Container[Any]) -> None:
    """Such maps, and what cuts rows for them, go into the loops from before and after them."""
    lead, dtype = lead_of(p), p.types[p.y].dtype

    def moves(i: Instr) -> bool:
        values = [*i.outs, *i.reads()]
        cuts = i.op in (ops.split, ops.getitem)
        return (
            (cuts or (i.op.elementwise and i.op in maps))
            and all(p.types[v].dtype == dtype for v in values)
            and all(is_row(p.shape(v), lead) for v in i.outs)
        )

    early: set[Value] = set()  # read before the loops
    for i in places["before"][::-1]:
        if moves(i) and early.isdisjoint(i.outs):
            places["before"].remove(i)
            places["forward"].insert(0, i)
        else:
            early.update(i.reads())
    late: set[Value] = set()  # made after the loops
    for i in [*places["after"]]:
        if moves(i) and late.isdisjoint(i.reads()):
            places["after"].remove(i)
            places["backward"].append(i)
        else:
            late.update(i.outs)


def _large_in_loop(p: Program, places: dict[str, list[Instr]]) -> None:
    """Computes values larger than a row in the loop, so that fewer of them are kept."""
    lead = lead_of(p)
    late = {o for name in ("before", "after") for i in places[name] for o in i.outs} | {*p.xs}
    back = {o for i in places["backward"] for o in i.outs}
    for i in [*places["after"]]:
        shape = p.shape(i.outs[0])
        large = is_large(shape, lead) and i.op.elementwise and late.isdisjoint({*i.reads()} - back)
        if large and any(v in back and p.shape(v) == shape for v in i.reads()):
            places["after"].remove(i)
            places["backward"].append(i)
            back.update(i.outs)


def _contracted(p: Program, places: dict[str, list[Instr]]) -> Program:
    """Replaces sums of large products in the loops by contractions, if nothing else reads them."""
    lead, b = lead_of(p), Builder(p)
    code = [i for part in places.values() for i in part]
    count = uses(p._replace(code=tuple(code)))
    for name in ("forward", "backward"):
        products = {i.outs[0]: i for i in places[name] if i.op is ops.multiply}
        for i in [i for i in places[name] if i.op is ops.sum]:
            product = products.get(i.ins[0])
            if product is None or count[i.ins[0]] > 1 or not is_large(p.shape(i.ins[0]), lead):
                continue
            (v,), (out,), n = i.ins, i.outs, len(p.shape(i.ins[0]))
            same = {p.types[a].dtype for a in product.ins if type(a) is Value}
            if len(product.reads()) < 2 or same != {p.types[v].dtype} or n > len(ascii_letters):
                continue
            axes = {a % n for a in axes_of(i.param("axis"), n)}
            kept = [k for k in range(n) if k not in axes]
            words = [ascii_letters[n - len(p.shape(a)) : n] for a in product.ins]
            word = f"{','.join(words)}->{''.join([ascii_letters[k] for k in kept])}"
            total = b.fresh(tuple([p.shape(v)[k] for k in kept]), p.types[out].dtype)
            at = places[name].index(i)
            places[name][at : at + 1] = [
                Instr(CONTRACT, product.ins, (("word", word),), (total,)),
                Instr(ops.reshape, (total,), (("shape", p.shape(out)),), (out,)),
            ]
            places[name].remove(product)
    return p._replace(types=b.types)


def _with_gradients(
    p: Program, places: dict[str, list[Instr]]
) -> tuple[Program, dict[str, list[Instr]]]:
    """Copies gradients of the state that are read after the loop, at every step."""
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
