"""A graph as the source of a picture: DOT for Graphviz, Mermaid for Markdown.

Boxes are operations or groups of them. Parameters, inputs and constants are drawn beside each box
that reads them, so they are repeated, also when they are only reshaped (the transpose of a weight).
If a weight that every time step reads were one node, all arrows of an unrolled net would end there,
and Graphviz would find no layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .fold import Group, amount, called, flow, groups, place
from .graph import Graph, Operation
from .listing import graph_of

_RESHAPING = {"expand_dims", "moveaxis", "reshape", "split", "squeeze", "swapaxes", "transpose"}
LABELLED = 60
"""With more arrows their labels, each laid out like a box, would take Graphviz half a minute at 53
time steps; without them it takes a fifth of a second."""
_STYLES = {  # of DOT, and the brackets of Mermaid
    "operation": ("shape=box", "[", "]"),
    "leaves": ('shape=box, style="rounded,filled", fillcolor="#eef2f7"', "([", "])"),
    "output": ("shape=plaintext", "([", "])"),
}


@dataclass
class Drawing:
    """What both languages draw: boxes by name, arrows between them, and frames around boxes."""

    boxes: dict[str, tuple[str, list[str]]] = field(default_factory=dict)  # name: kind, lines
    arrows: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # dtype and shape
    frames: list[tuple[str, list[str]]] = field(default_factory=list)  # title, boxes
    weights: dict[int, str] = field(default_factory=dict)  # parameters, also reshaped, as text


def to_dot(*outputs: Any, fold: str | None = "time") -> str:
    """The graph in DOT, the language of Graphviz: ``dot -Tsvg`` draws it.

    Args:
        *outputs: Tensors that require grad, or one :class:`Graph`.
        fold: ``"time"``: one box per time step, and per module outside time steps. ``"module"``:
            one box per module, for all steps. None: one box per operation, framed by module and
            step.

    Raises:
        TypeError, ValueError: as :func:`graph`; or ``fold`` has another value.

    Example:
        >>> import tinygrad_seq as ts
        >>> from tinygrad_seq import viz
        >>> x = ts.tensor([1.0, 2.0], requires_grad=True, name="x")
        >>> print(viz.to_dot(ts.tanh(x), fold=None))
        digraph {
          rankdir=LR
          node [fontname="sans-serif", fontsize=11]
          edge [fontname="sans-serif", fontsize=9]
          n0 [shape=box, label="%0 tanh"]
          l0 [shape=box, style="rounded,filled", fillcolor="#eef2f7", label="x [2]"]
          out0 [shape=plaintext, label="output"]
          l0 -> n0
          n0 -> out0 [label="float32[2]"]
        }
    """
    drawing = draw(graph_of(outputs), fold)
    lines = [
        "digraph {",
        "  rankdir=LR",
        '  node [fontname="sans-serif", fontsize=11]',
        '  edge [fontname="sans-serif", fontsize=9]',
    ]
    for indent, name in _framed(drawing):
        if name is None:
            lines.append(f"{indent}}}")
        elif isinstance(name, int):
            title = _quoted([drawing.frames[name][0]])
            lines.append(f"{indent}subgraph cluster_{name} {{ label={title}")
        else:
            what, text = drawing.boxes[name]
            lines.append(f"{indent}{name} [{_STYLES[what][0]}, label={_quoted(text)}]")
    what = "label" if len(drawing.arrows) <= LABELLED else "tooltip"
    for (start, end), flows in drawing.arrows.items():
        label = f" [{what}={_quoted(flows)}]" if flows else ""
        lines.append(f"  {start} -> {end}{label}")
    return "\n".join([*lines, "}"])


def to_mermaid(*outputs: Any, fold: str | None = "time") -> str:
    """The graph in Mermaid's flowchart language, which Markdown pages and notebooks draw.

    Args:
        *outputs, fold: As for :func:`to_dot`.

    Raises:
        TypeError, ValueError: as :func:`to_dot`.

    Example:
        >>> import tinygrad_seq as ts
        >>> from tinygrad_seq import viz
        >>> x = ts.tensor([1.0, 2.0], requires_grad=True, name="x")
        >>> print(viz.to_mermaid(ts.tanh(x), fold=None))
        flowchart LR
          n0["%0 tanh"]
          l0(["x #91;2#93;"])
          out0(["output"])
          l0 --> n0
          n0 -->|"float32#91;2#93;"| out0
    """
    drawing = draw(graph_of(outputs), fold)
    lines = ["flowchart LR"]
    for indent, name in _framed(drawing):
        if name is None:
            lines.append(f"{indent}end")
        elif isinstance(name, int):
            title = _entities([drawing.frames[name][0]])
            lines.append(f"{indent}subgraph s{name}[{title}]")
        else:
            what, text = drawing.boxes[name]
            _, opening, closing = _STYLES[what]
            lines.append(f"{indent}{name}{opening}{_entities(text)}{closing}")
    for (start, end), flows in drawing.arrows.items():
        label = f"|{_entities(flows)}|" if flows else ""
        lines.append(f"  {start} -->{label} {end}")
    return "\n".join(lines)


def _framed(drawing: Drawing) -> Iterator[tuple[str, str | int | None]]:
    """The lines to write, with their indent: a frame's number, a box's name, or None to end a
    frame; boxes without a frame come last."""
    inside = set()
    for k, (_, names) in enumerate(drawing.frames):
        yield "  ", k
        for name in names:
            inside.add(name)
            yield "    ", name
        yield "  ", None
    for name in drawing.boxes:
        if name not in inside:
            yield "  ", name


def draw(graph: Graph, fold: str | None) -> Drawing:
    """Boxes and arrows of a graph, in time linear in its size."""
    drawing = Drawing(weights=_weights(graph))
    parts = groups(graph, fold)
    box_of: dict[int, str] = {}
    alive = [0, *graph.alive()]
    for k, part in enumerate(parts):
        names = [f"n{o.id}" for o in part.operations] if fold is None else [f"g{k}"]
        if fold is None:
            drawing.boxes |= {f"n{o.id}": ("operation", [_label(o)]) for o in part.operations}
            title = place(part.path, part.steps)
            if title:
                drawing.frames.append((title, names))
        else:
            kept = sum(alive[o.id + 1] - alive[o.id] for o in part.operations)
            drawing.boxes[names[0]] = "operation", _summary(part, kept)
        box_of.update((o.id, names[min(j, len(names) - 1)]) for j, o in enumerate(part.operations))
    flows: dict[tuple[str, str], dict[tuple[int, int | None], str]] = {}
    for part in parts:
        for o in part.operations:
            _arrive(graph, o, box_of, drawing, flows)
    for k, (id, slot) in enumerate(graph.outputs):
        drawing.boxes[f"out{k}"] = "output", ["output"]
        start = box_of.get(id) or _beside(graph, f"out{k}", [id], drawing)
        flows.setdefault((start, f"out{k}"), {})[id, slot] = flow(graph, id, slot)
    for arrow, shapes in flows.items():
        several = f"{len(shapes)} tensors"
        drawing.arrows[arrow] = [next(iter(shapes.values())) if len(shapes) == 1 else several]
    return drawing


def _arrive(
    graph: Graph,
    o: Operation,
    box_of: dict[int, str],
    drawing: Drawing,
    flows: dict[tuple[str, str], dict[tuple[int, int | None], str]],
) -> None:
    """Add the arrows that end in an operation; leaves are put beside its box."""
    box, leaves = box_of[o.id], []
    for i in o.inputs:
        if i.source is None:
            continue
        start = box_of.get(i.source)
        if start is None or (start != box and i.source in drawing.weights):
            leaves.append(i.source)
        elif start != box:
            flows.setdefault((start, box), {})[i.source, i.slot] = flow(graph, i.source, i.slot)
        elif graph.operations[i.source].step != o.step:  # from one time step to another
            flows.setdefault((box, box), {}).setdefault((0, 0), "t → t+1")
    if leaves:
        _beside(graph, box, leaves, drawing)


def _beside(graph: Graph, box: str, leaves: list[int], drawing: Drawing) -> str:
    """Add these leaves to the box of leaves beside ``box``; returns its name."""
    name = f"l{box.removeprefix('n')}"
    _, lines = drawing.boxes.setdefault(name, ("leaves", []))
    for id in leaves:
        line = f"{drawing.weights.get(id) or called(graph, id)} {list(graph[id].shape)}"
        if line not in lines:
            lines.append(line)
    if not box.startswith("out"):
        drawing.arrows.setdefault((name, box), [])
    return name


def _weights(graph: Graph) -> dict[int, str]:
    """Parameters and reshaped parameters, as text."""
    texts = {p.id: called(graph, p.id) for p in graph.leaves if p.kind == "parameter"}
    for o in graph.operations:
        if o.name in _RESHAPING and o.inputs[0].source in texts:
            text = f"{o.name}({texts[o.inputs[0].source]})"
            texts[o.id] = text if len(text) <= 60 else f"{o.name}(...)"
    return texts


def _label(o: Operation) -> str:
    return f"%{o.id} {o.name}" + "".join(f", {name}={text}" for name, text in o.settings)


def _summary(part: Group, kept: int) -> list[str]:
    """Three lines about a group, the last with the bytes that it keeps."""
    count = len(part.operations)
    lines = [place(part.path, part.steps) or "top level"]
    lines.append(part.operations[0].name if count == 1 else f"{count} operations")
    return [*lines, f"keeps {amount(kept)}"] if kept else lines


def _lines(text: list[str]) -> list[str]:
    return [line for part in text for line in part.split("\n")]


def _quoted(text: list[str]) -> str:
    """Lines as a string of DOT."""
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in _lines(text))
    return '"' + "\\n".join(escaped) + '"'


def _entities(text: list[str]) -> str:
    """Lines as a string of Mermaid, with special characters as numbers."""
    plain = " .,_=:%/+"
    escaped = (
        "".join(c if c.isalnum() or c in plain else f"#{ord(c)};" for c in line)
        for line in _lines(text)
    )
    return '"' + "<br/>".join(escaped) + '"'
