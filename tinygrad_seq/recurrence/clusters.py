"""Groups maps into kernels: maps of one width that can run between the same products."""

from __future__ import annotations

from collections.abc import Sequence

from .plan import Op, Plane


def clustered(
    first: Sequence[Op], code: Sequence[Op], holds: dict[Plane, list[Plane]]
) -> dict[Plane, tuple[int, int]]:
    """The slot of every operation, by its first result, and the width of its kernel.

    Slots run one after the other; maps of one slot and one width are a kernel. First each slot
    is the earliest possible. A map that may run later then moves to a slot that has a kernel of
    its width anyway. A number per row is computed by every thread where rows are made of it.

    Args:
        first, code: The operations, each after those it reads; ``first`` keep their width.
        holds: What a map also reads at padding.
    """
    ops = [o._replace(ins=(*o.ins, *holds.get(o.outs[0], ()))) for o in (*first, *code)]
    made = {q: o for o in ops for q in o.outs}
    readers: dict[Plane, list[Op]] = {}
    for o in ops:
        for q in o.ins:
            if q in made:
                readers.setdefault(q, []).append(o)
    pinned = {o.outs[0] for o in first}
    width: dict[Plane, int] = {}
    for o in reversed(ops):
        q = o.outs[0]
        wide = [width[x.outs[0]] for x in readers.get(q, ()) if x.kind == "map"]
        alone = q.width > 1 or q in pinned or holds.get(q) or o.kind != "map"
        width[q] = q.width if alone else max(wide, default=1)

    def gap(a: Op, b: Op) -> int:
        """The minimal number of slots between a and b, which reads a."""
        one = a.kind == b.kind == "map" and width[a.outs[0]] == width[b.outs[0]]
        return 0 if one else 1

    early: dict[Plane, int] = {}
    for o in ops:
        before = [early[made[q].outs[0]] + gap(made[q], o) for q in o.ins if q in made]
        early[o.outs[0]] = max(before, default=0)
    last = max(early.values(), default=0)

    def latest(o: Op, of: dict[Plane, int]) -> int:
        after = [of[x.outs[0]] - gap(o, x) for q in o.outs for x in readers.get(q, ())]
        return min(after, default=last) if o.kind == "map" else early[o.outs[0]]

    late: dict[Plane, int] = {}
    for o in reversed(ops):
        late[o.outs[0]] = latest(o, late)
    kernels = {
        (late[q], width[q]) for o in ops if o.kind == "map" and early[q := o.outs[0]] == late[q]
    }
    slot: dict[Plane, int] = {}
    for o in reversed(ops):
        q = o.outs[0]
        end, w = latest(o, slot), width[q]
        fits = [k for k, other in kernels if other == w and early[q] <= k <= end]
        if o.kind != "map":
            slot[q] = early[q]
        elif q in readers:
            slot[q] = max(fits, default=end)
        else:
            slot[q] = min(fits, default=early[q])
        if o.kind == "map":
            kernels.add((slot[q], w))
    return {q: (slot[q], width[q]) for q in slot}
