"""Groups equal maps on neighbouring planes into runs; each run is one NumPy call.

Equal maps of one depth whose operands are neighbours are one call, which makes their results
neighbours too.
"""

from __future__ import annotations

from typing import Any

from .. import ops
from .layout import Layout
from .numpy_calls import TEMPLATES
from .plan import Op, Plane, is_row


def runs_of(layout: Layout, maps: list[Op]) -> list[list[Op]]:
    """The maps of a stage in runs; each run is one call."""
    inside = {q for o in maps for q in o.outs}
    depth: dict[Plane, int] = {}
    for o in maps:
        below = [depth.get(q, 0) for q in o.ins if isinstance(q, Plane) and q in inside]
        depth.update(dict.fromkeys(o.outs, 1 + max(below, default=0)))
    buckets: dict[Any, list[Op]] = {}
    for o in maps:
        numbers = tuple([None if isinstance(v, Plane) else v for v in o.ins])
        kind = "squash" if o.op in (ops.tanh, ops.sigmoid) else o.op
        alone = o.kind != "map" or not (kind == "squash" or o.op in TEMPLATES)
        alone = alone or not is_row(o.outs[0].shape, layout.plan.lead)
        key = (depth[o.outs[0]], kind, numbers, o.outs[0].shape, o.outs[0].dtype)
        buckets.setdefault((*key, o.outs[0] if alone else None), []).append(o)
    runs: list[list[Op]] = []
    for (_, _, _, _, _, alone), bucket in sorted(buckets.items(), key=lambda b: b[0][0]):
        if alone is not None:
            runs += [[o] for o in bucket]
            continue
        runs += _adjacent(layout, [_turned(layout, o) for o in bucket], inside)
    return runs


def _turned(layout: Layout, o: Op) -> Op:
    """A sum or a product with the operand of the larger block first."""
    if o.op not in (ops.add, ops.multiply) or not all(isinstance(q, Plane) for q in o.ins):
        return o
    a, b = (layout.home.get(q) for q in o.ins)
    sizes = [0 if h is None or h.block.columns else len(h.block.planes) for h in (a, b)]
    return o._replace(ins=o.ins[::-1]) if sizes[1] > sizes[0] else o


def _adjacent(layout: Layout, bucket: list[Op], inside: set[Plane]) -> list[list[Op]]:
    def key(o: Op) -> Any:
        homes = [layout.home.get(q) for q in o.ins if isinstance(q, Plane)]
        places = [(h.block.name, h.at) for h in homes if h is not None and not h.block.columns]
        return min(places, default=("~", 0))

    bucket.sort(key=key)
    for k in range(len(bucket[0].ins)):  # place operands without a home side by side
        planes = [o.ins[k] for o in bucket]
        homeless = [isinstance(q, Plane) and q in inside and q not in layout.home for q in planes]
        alike = all(homeless) and len({(q.shape, q.dtype) for q in planes}) == 1
        if len(bucket) > 1 and alike and len({*planes}) == len(planes):
            layout._block(planes)
    runs: list[list[Op]] = []
    for o in bucket:
        if runs and _goes_on(layout, runs[-1], o):
            runs[-1].append(o)
        else:
            runs.append([o])
    for run in runs:
        planes = [o.outs[0] for o in run]
        if len(run) > 1 and all(q not in layout.home for q in planes):
            layout._block(planes)
    return runs


def _goes_on(layout: Layout, run: list[Op], o: Op) -> bool:
    """Whether each operand of a run is shared by all, or a neighbour of the one before."""
    for k, q in enumerate(o.ins):
        first, last = run[0].ins[k], run[-1].ins[k]
        if not (
            q == first == last or (_follows(layout, last, q) and (first != last or run[1:] == []))
        ):
            return False
    return _out_follows(layout, run[-1].outs[0], o.outs[0])


def _follows(layout: Layout, a: Any, b: Any) -> bool:
    """Whether b follows a in a block."""
    x, y = (layout.home.get(q) if isinstance(q, Plane) else None for q in (a, b))
    if x is None or y is None or x.block is not y.block or x.block.columns:
        return False
    return y.at == x.at + 1


def _out_follows(layout: Layout, a: Plane, b: Plane) -> bool:
    if a not in layout.home and b not in layout.home:
        return True
    return a != b and a in layout.home and b in layout.home and _follows(layout, a, b)
