"""A graph as a picture for notebooks: boxes in columns, from the leaves to the outputs."""

from __future__ import annotations

from html import escape
from typing import TypeAlias

from .draw import Drawing, draw
from .graph import Graph
from .listing import listing

BOXES = 120  # of a larger graph, the listing says more
LINE, LETTER, PAD, GAP_X, GAP_Y = 15, 7.0, 8, 46, 14  # in pixels, of text of 12
Place: TypeAlias = tuple[float, float, float, float]
"""x, y, width, height."""

_FILL = {"operation": "#ffffff", "leaves": "#eef2f7", "output": "none"}


def picture(graph: Graph) -> str:
    """The graph, time folded, as SVG in HTML; of a large one its listing."""
    drawn = draw(graph, "time")
    if len(drawn.boxes) > BOXES:
        return f"<pre>{escape(listing(graph))}</pre>"
    places = _placed(drawn)
    width = max(x + w for x, _, w, _ in places.values()) + GAP_Y
    height = max(y + h for _, y, _, h in places.values()) + GAP_Y
    parts = [_arrow(places[a], places[b], flows) for (a, b), flows in drawn.arrows.items()]
    for name, (x, y, w, h) in places.items():
        what, text = drawn.boxes[name]
        edge = "none" if what == "output" else "#8a8f98"
        rounded = 9 if what == "leaves" else 3
        lines = "".join(
            f'<tspan x="{x + PAD:g}" dy="{LINE}">{escape(line)}</tspan>' for line in text
        )
        parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="{rounded}" '
            f'fill="{_FILL[what]}" stroke="{edge}"/>'
            f'<text x="{x:g}" y="{y + PAD - 3:g}">{lines}</text>'
        )
    label = escape(repr(graph).partition(":")[0])
    return (
        '<div style="overflow:auto;background:#fff"><svg role="img" '
        f'aria-label="{label}" width="{width:g}" height="{height:g}" '
        'font-family="ui-monospace, monospace" font-size="12" fill="#1d2126" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{label}</title>{"".join(parts)}</svg></div>'
    )


def _placed(drawn: Drawing) -> dict[str, Place]:
    """Each box right of all that it reads, and near the height of what it reads."""
    arrows = [(a, b) for a, b in drawn.arrows if a != b]
    column = dict.fromkeys(drawn.boxes, 0)
    for _ in range(len(drawn.boxes)):  # a longest path has no more arrows
        late = [(b, column[a] + 1) for a, b in arrows if column[b] <= column[a]]
        if not late:
            break
        for b, least in late:
            column[b] = max(column[b], least)
    for a, b in reversed(arrows):  # what is read by one box stands beside it
        if drawn.boxes[a][0] == "leaves":
            column[a] = column[b] - 1
    places: dict[str, Place] = {}
    x = float(GAP_Y)
    for k in sorted(set(column.values())):
        names = [name for name in drawn.boxes if column[name] == k]
        reads = {n: [places[a][1] for a, b in arrows if b == n and a in places] for n in names}
        heights = {n: sum(reads[n]) / len(reads[n]) if reads[n] else 1e9 for n in names}
        y = float(GAP_Y)
        for name in sorted(names, key=heights.__getitem__):
            text = drawn.boxes[name][1]
            size = max(map(len, text)) * LETTER + 2 * PAD, len(text) * LINE + 2 * PAD - 4
            places[name] = x, y, *size
            y += size[1] + GAP_Y
        x += max(places[name][2] for name in names) + GAP_X
    return places


def _arrow(start: Place, end: Place, flows: list[str]) -> str:
    """A curve from box to box, which says what flows when it is pointed at."""
    x, y = start[0] + start[2], start[1] + start[3] / 2
    to_x, to_y = end[0], end[1] + end[3] / 2
    if start == end:  # from one time step to the next
        y, to_x, to_y = start[1] + 6, x, start[1] + start[3] - 6
    bend = 0.0 if start == end else (to_x - x) / 2
    out = GAP_X * 0.7 if start == end else bend
    curve = f"M{x:g} {y:g}C{x + out:g} {y:g} {to_x + out - 2 * bend:g} {to_y:g} {to_x:g} {to_y:g}"
    tip = f"M{to_x - 6:g} {to_y - 4:g}L{to_x:g} {to_y:g}L{to_x - 6:g} {to_y + 4:g}"
    if start == end:
        tip = f"M{to_x + 7:g} {to_y - 6:g}L{to_x:g} {to_y:g}L{to_x + 8:g} {to_y + 2:g}"
    words = escape(", ".join(flows))
    return (
        f'<path d="{curve}{tip}" fill="none" stroke="#8a8f98" stroke-width="1.2">'
        f"<title>{words}</title></path>"
    )


Graph._repr_html_ = picture  # here, for drawings are made of graphs
