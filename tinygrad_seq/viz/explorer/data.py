"""The data of the page: the graph as :func:`viz.graph` describes it, with values and gradients."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ...autograd import Node
from ...autograd.operands import on_host
from ...html import DARK, LIGHT
from ..graph import Graph, Operation, traced
from .arrays import Arrays, number
from .bands import bands
from .check import check as compare
from .record import Record, record
from .rules import rule_of


def describe(
    loss: Any, graph: Graph, title: str, check: bool = False, profile: Any = None
) -> dict[str, Any]:
    """The content of the page, as plain data for JSON."""
    results = sum(len(operation.results) for operation in graph.operations)
    arrays = Arrays(4 * results + 2 * len(graph.leaves))
    walked = record(loss, graph, arrays)
    values = _values(graph, loss)
    checks = {}
    if check:
        known = {s: traced(s, "calls") for s in graph.sources if isinstance(s, Node)}
        calls = {node: call for node, call in known.items() if call is not None}
        if not calls:
            raise ValueError(
                "explore(check=True) computes the graph again and needs it recorded inside "
                "viz.trace(): with viz.trace(model): loss = ..."
            )
        checks = compare(graph, calls, walked.raw)
    made, band_of = bands(graph)
    seconds: dict[int | None, float] = {}
    for call in profile.calls if profile is not None else ():
        seconds[call.time] = seconds.get(call.time, 0.0) + call.seconds
    names = {operation.name: graph.sources[operation.id].op for operation in graph.operations}
    return {
        "title": title,
        "scale": {"light": LIGHT, "dark": DARK},
        "loss": number(float(on_host(loss).reshape(()))),
        "limit": arrays.limit,
        "bands": [asdict(band) for band in made],
        "operations": [
            _operation(operation, band_of[operation.id], values, walked, arrays)
            | {"seconds": seconds.get(graph.sources[operation.id].time, 0.0)}
            for operation in graph.operations
        ],
        "leaves": [
            asdict(leaf)
            | {
                "values": [arrays.add(graph.value(leaf.id))],
                "gradients": walked.gradients.get(leaf.id, [None]),
                "steps": walked.by_step.get(leaf.id, []),
            }
            for leaf in graph.leaves
        ],
        "memories": graph.memories,
        "rules": {name: rule_of(op) for name, op in sorted(names.items())},
        "checks": checks,
        "profiled": profile is not None,
        "traced": any(graph.value(operation.id) is not None for operation in graph.operations),
        "arrays": arrays.stored,
    }


def _operation(
    operation: Operation,
    band: int,
    values: dict[tuple[int, int], Any],
    walked: Record,
    arrays: Arrays,
) -> dict[str, Any]:
    k = operation.id
    slots = range(len(operation.results))
    return {
        "name": operation.name,
        "path": operation.path,
        "step": operation.step,
        "band": band,
        "shapes": [result.shape for result in operation.results],
        "dtype": operation.dtype,
        "inputs": [[i.argument, i.source, i.slot, i.wanted, i.value] for i in operation.inputs],
        "saved": [[s.name, s.shape, s.nbytes, s.memory] for s in operation.saved],
        "settings": operation.settings,
        "values": [arrays.add(values[k, s]) if (k, s) in values else None for s in slots],
        "gradients": walked.gradients.get(k, [None] * len(slots)),
        "handed": walked.handed.get(k, []),
        "flight": walked.flight.get(k, 0),
    }


def _values(graph: Graph, loss: Any) -> dict[tuple[int, int], Any]:
    """The known results, by id and slot: kept by a trace, or saved for a rule."""
    found: dict[tuple[int, int], Any] = {}
    for operation in graph.operations:
        k, node = operation.id, graph.sources[operation.id]
        kept = graph.value(k)
        if kept is not None:
            for slot, part in enumerate(kept if type(kept) is tuple else (kept,)):
                found[k, slot] = on_host(part)
        if node.plan is None or node.saved is None:
            continue
        saved = dict(zip(node.plan.names, node.saved, strict=True))
        if hasattr(saved.get("y"), "shape"):
            found.setdefault((k, 0), on_host(saved["y"]))
        for given in operation.inputs:
            value = saved.get(given.argument)
            if given.source is not None and hasattr(value, "shape"):
                found.setdefault((given.source, given.slot or 0), on_host(value))
    end, part_of = graph.outputs[0]
    found.setdefault((end, part_of or 0), on_host(loss))
    return found
