"""Handlers of recurrent layers: ONNX's own nodes if it has them, else a loop over time.

A node reads (T, N, I) and gives Y (T, D, N, H). The loop is ``Scan``, whose body is one call of
the cell on symbols, so any cell works.
"""

from __future__ import annotations

from typing import Any

from ... import nn, ops
from ...nn.recurrent.layers import RecurrentLayer
from ...nn.recurrent.recurrent import MERGES
from ...nn.recurrent.reweighted import Reweighted, with_weight
from ...recurrence import each, flat
from ..layouts import to_onnx
from .graph import FLOAT, INT, Graph, broadcast, where
from .handlers import onnx_handler
from .modules import checked_lengths, repeated, valid_steps
from .proto import GraphProto, Info
from .symbol import ExportError, Symbol, Value, same


@onnx_handler(RecurrentLayer)
def _(
    graph: Graph,
    layer: RecurrentLayer,
    x: Any,
    state: Any = None,
    lengths: Any = None,
    mask: Any = None,
) -> tuple[Any, Any]:
    x = graph.symbol(x)
    swap = layer.batch_first and x.ndim == 3
    if swap:
        x, mask = ops.swapaxes(x, 0, 1), None if mask is None else ops.swapaxes(mask, 0, 1)
    width = 2 if layer.bidirectional else 1
    given: list[Any] = [None] * layer.num_layers
    if state is not None:
        cells = _turned([ops.unstack(graph.symbol(part)) for part in flat(state)])
        if len(cells) != width * layer.num_layers:
            raise ValueError(
                f"{where()}{type(layer).__name__} expects a state of "
                f"{width * layer.num_layers} layers and directions; got {len(cells)}"
            )
        given = [tuple(cells[k : k + 2]) for k in range(0, len(cells), 2)] if width == 2 else cells
    after: list[Any] = []
    for level, before in zip(layer.levels, given, strict=True):
        x, last = level(x, before, lengths=lengths, mask=mask)
        after += last if width == 2 else [last]
    y = ops.swapaxes(x, 0, 1) if swap else x
    return y, each(lambda *parts: ops.stack(list(parts)), *after)


@onnx_handler(nn.Bidirectional)
def _(
    graph: Graph,
    module: nn.Bidirectional,
    x: Any,
    state: Any = None,
    lengths: Any = None,
    mask: Any = None,
) -> tuple[Any, Any]:
    x, states = graph.symbol(x), (None, None) if state is None else tuple(state)
    node = _node_of(module)
    both = (states[0] is None) == (states[1] is None)
    if node is None or mask is not None or x.ndim == 2 or not both:
        ahead, last_ahead = module.forwards(x, states[0], lengths, mask)
        back, last_back = module.backwards(x, states[1], lengths, mask)
        return MERGES[module.merge](ahead, back), (last_ahead, last_back)
    starts = [ops.stack(list(p)) for p in zip(*map(flat, states), strict=True)] if state else []
    y, finals = _call(graph, node, x, starts, lengths)  # (T, 2, N, H), each (2, N, H)
    if module.merge == "concat":
        y = graph.transpose(y, (0, 2, 1, 3))
        y = graph.reshape(y, (*y.shape[:2], 2 * y.shape[3]))
    else:
        y = MERGES[module.merge](y[:, 0], y[:, 1])
    return y, tuple(_turned([ops.unstack(final) for final in finals]))


@onnx_handler(nn.Recurrent)
def _(
    graph: Graph,
    module: nn.Recurrent,
    x: Any,
    state: Any = None,
    lengths: Any = None,
    mask: Any = None,
) -> tuple[Any, Any]:
    x, node = graph.symbol(x), _node_of(module)
    if node is None or mask is not None:
        return _scan(graph, module, x, state, lengths, mask)
    if x.ndim == 2:
        state = None if state is None else each(lambda part: ops.expand_dims(part, 0), state)
        y, last = module(ops.expand_dims(x, 1), state)
        return ops.squeeze(y, 1), each(lambda part: ops.squeeze(part, 0), last)
    starts = [] if state is None else [ops.expand_dims(part, 0) for part in flat(state)]
    y, finals = _call(graph, node, x, starts, lengths)  # (T, 1, N, H), each (1, N, H)
    return ops.squeeze(y, 1), _turned([(ops.squeeze(final, 0),) for final in finals])[0]


def _turned(parts: list[Any]) -> list[Any]:
    """The state of each cell, from the cells' values of each part."""
    return [cell if len(cell) > 1 else cell[0] for cell in zip(*parts, strict=True)]


# -- nodes ------------------------------------------------------------------------------------


def _node_of(module: nn.Recurrent | nn.Bidirectional) -> dict[str, Any] | None:
    """The node that computes a layer; None if ONNX has none."""
    if isinstance(module, nn.Recurrent) and isinstance(module.cell, nn.VariationalDropout):
        return _node_of(nn.Recurrent(module.cell.cell, module.reverse))  # it acts only in training
    if isinstance(module, nn.Recurrent) and isinstance(module.cell, Reweighted):
        cell = module.cell
        settled = with_weight(cell.cell, cell.name, nn.Parameter(cell.weight()))
        return _node_of(nn.Recurrent(settled, module.reverse))
    try:
        return to_onnx(module)[0]
    except (TypeError, ValueError):
        return None


def _call(
    graph: Graph, node: dict[str, Any], x: Symbol, starts: list[Any], lengths: Any
) -> tuple[Symbol, list[Symbol]]:
    """Y and the last state of a recurrent node, with the directions joined."""
    steps, batch, features = x.shape
    if not same(features, node["W"].shape[2]):
        raise ValueError(f"{where()} expects {node['W'].shape[2]} features; got {x}")
    attributes, hidden = node["attributes"], node["attributes"]["hidden_size"]
    directions, lstm = len(node["W"]), node["op_type"] == "LSTM"
    final = (directions, batch, hidden)
    for start in starts:
        if start.ndim != 3 or not all(map(same, start.shape, final)):
            raise ValueError(f"{where()} expects a state of shape {final}; got {start.shape}")
    ends = None if lengths is None else graph.cast(checked_lengths(graph, lengths, steps), INT)
    weights = [None if n not in node else graph.array(n, node[n]) for n in ("W", "R", "B", "P")]
    inputs = [x, *weights[:3], ends, *(starts or [None] * (1 + lstm)), *weights[3:] * lstm]
    results = [((steps, *final[:1], batch, hidden), FLOAT), *[(final, FLOAT)] * (1 + lstm)]
    y, *finals = graph.several(node["op_type"], inputs, results, **attributes)
    return y, finals


# -- the loop ---------------------------------------------------------------------------------


def _scan(
    graph: Graph, module: nn.Recurrent, x: Symbol, state: Any, lengths: Any, mask: Any
) -> tuple[Any, Any]:
    """The cell along time: ``Scan``, in which a skipped step keeps the state."""
    batch = x.shape[1:-1]
    valid = valid_steps(graph, lengths, mask, x.shape[:2] if batch else x.shape[:1])
    if valid is not None:
        x = graph.symbol(ops.where(_rows(valid, x), x, 0))
    state = _first(graph, module.cell, batch) if state is None else each(graph.symbol, state)
    body, y, after = _body(graph, module, x, state, valid)
    if not _alike(state, after):  # give a state that broadcasts its full shape from the start
        state = each(lambda a, b: graph.expand(a, broadcast(a.shape, b.shape)), state, after)
        body, y, after = _body(graph, module, x, state, valid)
    if not _alike(state, after):
        raise ExportError(f"{where()} has a cell whose state changes its shape at every step")
    sequences = [x] if valid is None else [x, valid]
    reverse: dict[str, Any] = {}
    if module.reverse:
        reverse = {"scan_input_directions": [1] * len(sequences), "scan_output_directions": [1]}
    starts = flat(state)
    results = [(part.shape, part.dtype) for part in starts]
    results.append(((x.shape[0], *y.shape), y.dtype))
    *finals, ys = graph.several(
        "Scan", [*starts, *sequences], results, body=body, num_scan_inputs=len(sequences), **reverse
    )
    last = iter(finals)
    return ys, each(lambda _: next(last), state)


@onnx_handler(nn.Cell, nn.VariationalDropout, nn.Zoneout, Reweighted)
def _(graph: Graph, module: Any, x: Any, state: Any = None) -> Any:
    x = graph.symbol(x)
    state = _first(graph, module, x.shape[:-1]) if state is None else each(graph.symbol, state)
    return module.forward(x, state)


def _first(graph: Graph, cell: Any, batch: Any) -> Any:
    """The cell's own initial state, for a batch that may be open."""
    start = getattr(cell, "initial_state", None)
    state = None if start is None else start(())
    if state is None:
        raise ExportError(
            f"{where()}{type(cell).__name__} needs a state before the first step: give state=, or "
            "the cell an initial_state(batch_shape)"
        )
    if not batch:
        return each(graph.symbol, state)
    return each(lambda part: repeated(graph, graph.symbol(part), batch[0]), state)


def _body(
    graph: Graph, module: nn.Recurrent, x: Symbol, state: Any, valid: Symbol | None
) -> tuple[GraphProto, Symbol, Any]:
    """One step as a subgraph: (state, x_t, whether it is read) to (state after, y_t)."""
    store, body = graph.store, Graph(graph.store, graph)

    def fresh(name: str, like: Symbol, shape: Any) -> Symbol:
        return Symbol.of(Value(store.unique(f"{where()}{name}"), shape, like.dtype))

    before = each(lambda part: fresh("state", part, part.shape), state)
    given = fresh("x", x, x.shape[1:])
    read = None if valid is None else fresh("valid", valid, valid.shape[1:])
    with store.within(body):
        result = module.cell(given, before)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"a cell must return the pair (y, state); got {result!r:.60}")
        y, after = body.symbol(result[0]), each(body.symbol, result[1])
        if [p.dtype for p in flat(after)] != [p.dtype for p in flat(before)]:
            raise ExportError(f"{where()}: the state of a cell changes its form between steps")
        if read is not None:
            keep = read
            after = each(lambda a, b: ops.where(_rows(keep, a), a, b), after, before)
            y = body.symbol(ops.where(_rows(keep, y), y, 0))
        ends = [body.node("Identity", [part], part.shape) for part in (*flat(after), y)]
    inputs = [*flat(before), given, *([] if read is None else [read])]
    proto = GraphProto("step", body.nodes, {}, list(map(info, inputs)), list(map(info, ends)))
    return proto, y, after


def info(x: Symbol, name: str | None = None) -> Info:
    """A symbol as an input or output of a graph."""
    axes: list[int | str | None] = [n if isinstance(n, int) else str(n) for n in x.shape]
    return Info(name or x._data.name, x.dtype, axes)


def _rows(valid: Symbol, x: Symbol) -> Any:
    """Which steps are read, with as many axes as ``x``."""
    return ops.reshape(valid, valid.shape + (1,) * (x.ndim - valid.ndim))


def _alike(a: Any, b: Any) -> bool:
    """Whether the parts of two states have the same shapes."""
    pairs = zip(flat(a), flat(b), strict=True)
    return all(p.ndim == q.ndim and all(map(same, p.shape, q.shape)) for p, q in pairs)
