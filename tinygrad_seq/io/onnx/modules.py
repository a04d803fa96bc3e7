"""Handlers of modules that read numbers, or that are one node in ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import nn, ops
from ...recurrence import each
from ...seq.encoder_decoder import EncoderDecoder
from .graph import BOOL, LONG, Graph, where
from .handlers import onnx_handler
from .shapes import gather
from .symbol import ExportError, Length, Symbol


@onnx_handler(nn.Embedding)
def _(graph: Graph, module: nn.Embedding, ids: Any) -> Symbol:
    ids = graph.symbol(ids)
    if ids.dtype.kind != "i":
        raise ExportError(
            f"{where()}Embedding expects integer ids; got {ids}: give the input dtype='int64'"
        )
    graph.expects(ids, 0, module.num_embeddings - 1)
    return gather(graph, graph.symbol(module.weight), ids, 0)


@onnx_handler(nn.LayerNorm)
def _(graph: Graph, module: nn.LayerNorm, x: Any) -> Symbol:
    x = graph.symbol(x)
    count = len(module.normalized_shape)
    if x.shape[-count:] != module.normalized_shape:
        raise ValueError(
            f"LayerNorm expects normalized_shape={module.normalized_shape} on the last axes; "
            f"got x of shape {x.shape}"
        )
    return graph.node(
        "LayerNormalization",
        [x, module.weight, module.bias],
        x.shape,
        axis=-count,
        epsilon=float(module.eps),
    )


@onnx_handler(nn.InitialState)
def _(graph: Graph, module: nn.InitialState, batch: Any = None) -> Any:
    return each(lambda part: repeated(graph, graph.symbol(part), batch), module())


def repeated(graph: Graph, part: Symbol, batch: Length) -> Symbol:
    """A state of one sequence with a batch axis added, as the last but one."""
    before, last = part.shape[:-1], part.shape[-1]
    return graph.expand(graph.reshape(part, (*before, 1, last)), (*before, batch, last))


def valid_steps(graph: Graph, lengths: Any, mask: Any, shape: Sequence[Length]) -> Any:
    """Which steps are read, booleans of that shape, ``(T, N)`` or ``(T,)``; None if all are."""
    if mask is not None and lengths is not None:
        raise ValueError("give lengths or a mask, not both: a mask says which steps are read")
    if mask is not None:
        mask = graph.symbol(mask)
        if mask.dtype != BOOL:
            raise ExportError(f"{where()} expects a mask of booleans; got {mask}")
        return graph.expand(mask, shape)
    if lengths is None:
        return None
    steps, *_ = shape
    lengths = checked_lengths(graph, lengths, steps)
    zero, one = np.array(0, np.int64), np.array(1, np.int64)
    end = graph.reshape(graph.length(steps), ())
    times = graph.node("Range", [zero, end, one], (steps,), LONG)
    return ops.expand_dims(times, 1) < ops.expand_dims(lengths, 0)


def checked_lengths(graph: Graph, lengths: Any, steps: Length) -> Symbol:
    """Lengths as a symbol of integers."""
    given = graph.symbol(lengths)
    if given.dtype.kind != "i" or given.ndim != 1:
        raise ExportError(
            f"{where()} expects integer lengths (N,); got {given}: give the input dtype='int64'"
        )
    graph.expects(given, 1, steps)
    return given


@onnx_handler(nn.Attention)
def _(
    graph: Graph,
    module: nn.Attention,
    queries: Any,
    keys: Any,
    values: Any = None,
    lengths: Any = None,
    mask: Any = None,
) -> tuple[Any, Any]:
    queries, keys = graph.symbol(queries), graph.symbol(keys)
    values = keys if values is None else graph.symbol(values)
    if queries.ndim not in (2, 3) or keys.ndim != 3 or values.ndim != 3:
        raise ValueError(
            f"{type(module).__name__} expects queries (T, N, Q) or (N, Q) and keys (S, N, K); got "
            f"{queries.shape} and {keys.shape}"
        )
    module.check(queries, keys)
    valid = valid_steps(graph, lengths, mask, keys.shape[:2])
    return module.attend(queries, keys, values, valid)


@onnx_handler(EncoderDecoder.encode)
def _(graph: Graph, model: EncoderDecoder, source: Any, lengths: Any = None) -> Any:
    source = graph.symbol(source)
    valid = valid_steps(graph, lengths, None, source.shape)
    if valid is None:
        valid = graph.expand(graph.symbol(True), source.shape)
    graph.expects(source, 0, model.source.num_embeddings - 1)
    ids = source if lengths is None else ops.where(valid, source, 0)
    keys, last = model.encoder(model.source(ids), lengths=lengths)
    h = last[0] if isinstance(last, tuple) else last
    start = model.start(ops.concatenate(ops.unstack(h), axis=-1))
    return start if model.attention is None else (start, keys, ops.expand_dims(valid, 2))


@onnx_handler(EncoderDecoder.step)
def _(graph: Graph, model: EncoderDecoder, tokens: Any, state: Any) -> tuple[Any, Any]:
    scores, _, state = model._scores(ops.expand_dims(tokens, 0), state)
    return scores[0], state
