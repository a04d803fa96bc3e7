"""Bands: the vertical place of an operation, as a recurrent net is drawn on paper.

Operations of one module at time steps form a band of cells, one cell per step. Operations outside
time steps form a bar as wide as all steps. A band is above the bands that it reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from ..fold import common
from ..graph import Graph

Key: TypeAlias = tuple[str, bool, int]
"""Module path, whether inside of time, and how often time was left before."""


@dataclass(frozen=True, slots=True)
class Band:
    """A module path, whether it has time steps, and its height: 0 is the lowest."""

    path: str
    timed: bool
    level: int


def bands(graph: Graph) -> tuple[list[Band], list[int]]:
    """All bands from the lowest to the highest, and the number of each operation's band."""
    operations = graph.operations
    count = len(operations)
    reads = [
        [i.source for i in operation.inputs if i.source is not None and i.source < count]
        for operation in operations
    ]
    timed = [operation.step is not None for operation in operations]
    left: list[int] = []  # how often the path to an operation left the time steps
    for k in range(count):
        left.append(max((left[s] + (timed[s] and not timed[k]) for s in reads[k]), default=0))
    soonest: list[int | None] = [None] * count
    for k in reversed(range(count)):  # operations on weights belong to those that use them
        wish = soonest[k]
        left[k] = left[k] if wish is None else wish
        for s in reads[k]:
            own = left[k] - (timed[s] and not timed[k])
            before = soonest[s]
            soonest[s] = own if before is None else min(before, own)
    keys = [(operation.path, timed[k], left[k]) for k, operation in enumerate(operations)]
    below: dict[Key, dict[Key, None]] = {key: {} for key in keys}
    for k, key in enumerate(keys):
        below[key].update((keys[s], None) for s in reads[k] if keys[s] != key)
    groups = _circles(below)
    of = {key: k for k, group in enumerate(groups) for key in group}  # after those below
    under = [{of[b] for key in group for b in below[key]} - {k} for k, group in enumerate(groups)]
    levels: list[int] = []
    for k in range(len(groups)):
        levels.append(max((levels[u] + 1 for u in under[k]), default=0))
    for k in reversed(range(len(groups))):  # a band that reads only weights is below its reader
        readers = [m for m in range(len(groups)) if k in under[m]]
        if readers and not under[k]:
            levels[k] = min(levels[m] for m in readers) - 1
    order = sorted(range(len(groups)), key=lambda k: (levels[k], k))
    place = {k: n for n, k in enumerate(order)}
    made = [
        Band(common([key[0] for key in groups[k]]), any(key[1] for key in groups[k]), levels[k])
        for k in order
    ]
    return made, [place[of[key]] for key in keys]


def _circles(below: dict[Key, dict[Key, None]]) -> list[list[Key]]:
    """Groups of keys that depend on each other in a cycle; lower groups come first."""
    finished: list[Key] = []
    _visit(below, below, finished.append)
    above: dict[Key, list[Key]] = {key: [] for key in below}
    for key, under in below.items():
        for lower in under:
            above[lower].append(key)
    groups: list[list[Key]] = []
    seen: set[Key] = set()
    for key in reversed(finished):
        if key not in seen:
            group: list[Key] = []
            _visit([key], above, group.append, seen)
            groups.append(group)
    return groups[::-1]


def _visit(starts: Any, follow: Any, leave: Any, seen: set[Key] | None = None) -> None:
    """Depth first without recursion; ``leave`` is called after all successors of a key."""
    seen = set() if seen is None else seen
    for start in starts:
        if start in seen:
            continue
        seen.add(start)
        stack = [(start, iter(follow[start]))]
        while stack:
            key, rest = stack[-1]
            following = next((k for k in rest if k not in seen), None)
            if following is None:
                stack.pop()
                leave(key)
            else:
                seen.add(following)
                stack.append((following, iter(follow[following])))
