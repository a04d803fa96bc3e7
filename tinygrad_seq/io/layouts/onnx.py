"""ONNX: a node for each layer, both biases in one vector, gates i o f c and z r h.

With ``input_forget`` ONNX computes i, and f = 1 - i, where our coupled cell computes f, and
i = 1 - f. As σ(-a) = 1 - σ(a), the weights of the one are those of the other, negated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ... import ops
from ...nn.activation import Activation, nonlinearity_of
from ...nn.module import Module
from ...nn.recurrent.cell import Cell
from ...nn.recurrent.cells import GRUCell, LSTMCell, RNNCell
from ...nn.recurrent.variants import CoupledLSTMCell, PeepholeLSTMCell
from .units import Unit, Weights, fit, inverse, levels_of, refuse_for, reorder, shape_of, write

# ONNX's block k is our block GATES[k].
GATES: dict[type[Cell], tuple[int, ...]] = {
    RNNCell: (0,),
    GRUCell: (1, 0, 2),
    LSTMCell: (0, 3, 1, 2),
    PeepholeLSTMCell: (0, 3, 1, 2),
    CoupledLSTMCell: (0, 3, 1, 2),  # once it has four gates
}
PEEPHOLES = (0, 2, 1)  # i o f
OPERATORS: dict[type[Cell], str] = {
    RNNCell: "RNN",
    GRUCell: "GRU",
    LSTMCell: "LSTM",
    PeepholeLSTMCell: "LSTM",
    CoupledLSTMCell: "LSTM",
}
ACTIVATIONS = {  # where a node names none
    "RNN": ["Tanh"],
    "GRU": ["Sigmoid", "Tanh"],
    "LSTM": ["Sigmoid", "Tanh", "Tanh"],
}
NAMES: list[tuple[Activation, str]] = [
    (ops.sigmoid, "Sigmoid"),
    (ops.tanh, "Tanh"),
    (ops.relu, "Relu"),
    (ops.softplus, "Softplus"),
]
INPUTS = ("W", "R", "B", "P")
WITHOUT_EFFECT = {"layout", "activation_alpha", "activation_beta"}  # on what the weights mean here
HINTS = {
    "B": ": build with bias=True",
    "P": ": build with nn.PeepholeLSTMCell, or nn.CoupledLSTMCell(peepholes=True)",
    "input_forget": ": build with nn.CoupledLSTMCell",
    "clip": ": build its cells with activations that clip what they are given",
}


def to_onnx(layer: Module) -> list[dict[str, Any]]:
    """The weights of a recurrent layer as ONNX nodes, one for each layer.

    A node gives Y of shape (T, D, N, H): from one to the next stand a Transpose and a Reshape to
    (T, N, D*H).

    Args:
        layer: RNN, GRU, LSTM or one of their cells, PeepholeLSTMCell or CoupledLSTMCell, alone or
            in Recurrent or Bidirectional; or a ModuleList of such.

    Returns:
        For each layer a dict of ``op_type``; the inputs ``W``, ``R``, unless ``bias=False`` ``B``,
        and of peepholes ``P``; and the ``attributes`` with which the node computes the same.

    Raises:
        ValueError: The layer has what ONNX has not: ``proj_size``, parameters of its own,
            activations of its own, or two directions of different kind or size.
        TypeError: It is no such layer.
    """
    levels = levels_of("to_onnx", layer, GATES)
    for unit in (unit for level in levels for unit in level):
        if None in _activations(unit):
            refuse_for("to_onnx", [f"{unit.place}{unit.cell!r} has activations without a name"])
    return [_node("to_onnx", level) for level in levels]


def from_onnx(layer: Module, nodes: Sequence[Mapping[str, Any]]) -> None:
    """Take over the weights of ONNX nodes.

    Args:
        layer: As in :func:`to_onnx`.
        nodes: One for each layer: a dict of ``W``, ``R``, ``B`` if the layer has biases, ``P`` if
            it has peepholes, and a dict of ``attributes``. Those that are left out have ONNX's
            defaults: a GRU that resets after its matrix comes with ``{"linear_before_reset": 1}``,
            an RNN with relu with ``{"activations": ["Relu"]}``. Functions of your
            own in the layer cannot be compared with the node's: they are assumed to compute the
            same, ``clip`` included.

    Raises:
        ValueError: Inputs are missing or unexpected, shapes or dtypes do not fit, or the node
            computes another function of its weights than the layer; or as :func:`to_onnx`.
            Nothing has changed.
        TypeError: It is no such layer, or the nodes are no list of dicts.
    """
    levels = levels_of("from_onnx", layer, GATES)
    if isinstance(nodes, Mapping) or not all(isinstance(node, Mapping) for node in nodes):
        raise TypeError("from_onnx expects a list of nodes, a dict with W, R and B for each layer")
    if len(nodes) != len(levels):
        refuse_for("from_onnx", [f"expected {len(levels)} nodes, one a layer; got {len(nodes)}"])

    problems: list[str] = []
    given: list[tuple[Unit, Weights]] = []
    for k, (level, node) in enumerate(zip(levels, nodes, strict=True)):
        own = _node("from_onnx", level)
        present = {name: value for name, value in node.items() if value is not None}
        problems += [f"node {k}: {reason}" for reason in _differences(level, own, present)]
        shared = [name for name in INPUTS if name in own and name in present]
        arrays = {n: fit(f"node {k}: {n}", present[n], own[n], problems) for n in shared}
        if not problems:
            for d, unit in enumerate(level):
                given.append((unit, _own(unit, {name: array[d] for name, array in arrays.items()})))
    refuse_for("from_onnx", problems)
    write("from_onnx", layer, given)


def _node(caller: str, level: list[Unit]) -> dict[str, Any]:
    """The node of a level, of one direction or two."""
    first, last = level[0], level[-1]
    stacks = [_weights(unit) for unit in level]
    forms = [
        (unit.kind, _reset_after(unit), {name: (a.shape, a.dtype) for name, a in arrays.items()})
        for unit, arrays in zip(level, stacks, strict=True)
    ]
    if forms[0] != forms[-1]:
        refuse_for(
            caller,
            [
                "the two directions of an ONNX node are of one kind, size and dtype; "
                f"here they are {first.cell!r} and {last.cell!r}"
            ],
        )
    one_way = "reverse" if first.reverse else "forward"
    attributes: dict[str, Any] = {
        "hidden_size": first.cell.hidden_size,
        "direction": "bidirectional" if len(level) == 2 else one_way,
        "activations": [name for unit in level for name in _activations(unit)],
    }
    if first.kind is CoupledLSTMCell:
        gates = {_activations(unit)[0] for unit in level} - {"Sigmoid", None}
        refuse_for(caller, [f"with gates of {name} 1 - f(a) is not f(-a)" for name in gates])
        attributes["input_forget"] = 1
    if first.kind is GRUCell:
        attributes["linear_before_reset"] = int(_reset_after(first))
    inputs = {name: np.stack([arrays[name] for arrays in stacks]) for name in stacks[0]}
    op_type = OPERATORS[first.kind]
    return {"op_type": op_type, **inputs, "attributes": attributes}


def _weights(unit: Unit) -> Weights:
    """The weights of a cell as ONNX has them, for one direction."""
    weights = _coupled_as_full(unit.weights) if unit.kind is CoupledLSTMCell else unit.weights
    peepholes = {name: p for name, p in weights.items() if name == "weight_peephole"}
    gates = {name: array for name, array in weights.items() if name not in peepholes}
    own = reorder(gates, GATES[unit.kind]) | reorder(peepholes, PEEPHOLES)
    theirs = {"W": own["weight_ih"], "R": own["weight_hh"]}
    if "bias_ih" in own:
        second = own.get("bias_hh", np.zeros_like(own["bias_ih"]))
        theirs["B"] = np.concatenate([own["bias_ih"], second])
    if "weight_peephole" in own:
        theirs["P"] = own["weight_peephole"]
    return theirs


def _own(unit: Unit, theirs: Weights) -> Weights:
    """The inverse of :func:`_weights`."""
    own = {"weight_ih": theirs["W"], "weight_hh": theirs["R"]}
    if "B" in theirs:
        first, second = np.split(theirs["B"], 2)
        if "bias_hh" in unit.weights:
            own["bias_ih"], own["bias_hh"] = first, second
        else:
            own["bias_ih"] = first + second
    peepholes = {"weight_peephole": theirs["P"]} if "P" in theirs else {}
    own = reorder(own, inverse(GATES[unit.kind])) | reorder(peepholes, inverse(PEEPHOLES))
    return _full_as_coupled(own) if unit.kind is CoupledLSTMCell else own


def _coupled_as_full(weights: Weights) -> Weights:
    """Blocks f g o as i f g o of the LSTM that computes the same, and f o of peepholes as i f o."""
    full = {}
    for name, array in weights.items():
        f, *others = np.split(array, 2 if name == "weight_peephole" else 3)
        full[name] = np.concatenate([-f, f, *others])
    return full


def _full_as_coupled(weights: Weights) -> Weights:
    """The inverse of :func:`_coupled_as_full`; ONNX does not read the blocks f."""
    coupled = {}
    for name, array in weights.items():
        i, _, *others = np.split(array, 3 if name == "weight_peephole" else 4)
        coupled[name] = np.concatenate([-i, *others])
    return coupled


def _reset_after(unit: Unit) -> bool:
    return bool(getattr(unit.cell, "reset_after", False))


def _activations(unit: Unit) -> list[str | None]:
    """ONNX's names of the functions of a cell; None for one that it has no name for."""
    cell: Any = unit.cell
    simple = unit.kind is RNNCell
    functions = [nonlinearity_of(cell.nonlinearity)] if simple else cell.activations
    return [next((name for known, name in NAMES if f is known), None) for f in functions]


def _differences(level: list[Unit], own: dict[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """What a node has or does that the layer's own has or does not; arrays are not looked into."""
    for name in sorted(own.keys() - given.keys() - {"op_type", "attributes"}):
        yield f"missing {name} {own[name].shape}" + ": build with bias=False" * (name == "B")
    for name in sorted(given.keys() - own.keys(), key=str):
        yield f"unexpected {name} {shape_of(given[name])}{HINTS.get(name, '')}"
    op_type = given.get("op_type", own["op_type"])
    if op_type != own["op_type"]:
        yield f"its op_type is {op_type!s:.60}, the layer is {own['op_type']}"

    theirs = given.get("attributes", {})
    if not isinstance(theirs, Mapping):
        yield f"its attributes are a {type(theirs).__name__}; expected a dict of name -> value"
        return
    attributes = {name: _text(value) for name, value in theirs.items()}
    defaults = {
        "activations": ACTIVATIONS[own["op_type"]] * len(level),
        "linear_before_reset": 0,
        "input_forget": 0,
    }
    for name, expected in own["attributes"].items():
        actual = attributes.pop(name, None)
        default = " (the default)" if actual is None else ""
        if actual is None:
            actual = defaults.get(name, expected)
        if _same(actual, expected):
            continue
        if name == "linear_before_reset":
            yield (
                f"linear_before_reset={actual}{default} is the GRU that resets "
                f"{'after' if actual else 'before'} its matrix, another function: build with "
                f"reset_after={bool(actual)}"
            )
        else:
            yield f"attribute {name} is {actual!r:.200}{default}, the layer has {expected!r}"
    for name, value in attributes.items():
        off = name == "input_forget" and not value
        clipped = name == "clip" and None in own["attributes"]["activations"]
        if name not in WITHOUT_EFFECT and not off and not clipped:
            hint = HINTS.get(name, "")
            yield f"attribute {name}={value!r:.200} has no counterpart in the layer{hint}"


def _text(value: Any) -> Any:
    """Strings for the bytes that ONNX has for them."""
    if isinstance(value, list | tuple):
        return [_text(item) for item in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _same(theirs: Any, ours: Any) -> bool:
    """Whether attributes agree: names of activations in any case, and None with any."""
    if not isinstance(ours, list):
        return np.ndim(theirs) == 0 and bool(theirs == ours)
    return np.shape(theirs) == (len(ours),) and all(
        name is None or str(given).lower() == name.lower()
        for given, name in zip(theirs, ours, strict=True)
    )
