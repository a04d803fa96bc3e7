"""Keras 3: transposed weights, one bias, gates i f c o and z r h."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...nn.module import Module
from ...nn.recurrent.cell import Cell
from ...nn.recurrent.cells import GRUCell, LSTMCell, RNNCell
from .units import (
    Array,
    Unit,
    Weights,
    fit,
    inverse,
    levels_of,
    refuse_for,
    reorder,
    shape_of,
    write,
)

# Keras' block k is our block GATES[k].
GATES: dict[type[Cell], tuple[int, ...]] = {
    RNNCell: (0,),
    GRUCell: (1, 0, 2),
    LSTMCell: (0, 1, 2, 3),
}


def to_keras(layer: Module) -> list[Array]:
    """The weights of a recurrent layer for ``set_weights`` of its Keras counterpart.

    That is ``SimpleRNN``, ``GRU`` (with our ``reset_after``; Keras' default is True) or ``LSTM``,
    with the same activations, in ``Bidirectional`` for two directions; for several layers a model
    of them.

    Args:
        layer: RNN, GRU, LSTM or one of their cells, alone or in Recurrent or Bidirectional; or a
            ModuleList of such.

    Returns:
        kernel, recurrent_kernel and, unless ``bias=False``, bias; then the same of the other
        direction, then of the next layer.

    Raises:
        ValueError: The layer has what Keras has not: ``proj_size``, or parameters of its own.
        TypeError: It is no such layer.
    """
    units = [unit for level in levels_of("to_keras", layer, GATES) for unit in level]
    return [array for unit in units for array in _weights(unit).values()]


def from_keras(layer: Module, weights: Sequence[Any]) -> None:
    """Take over what ``get_weights()`` of the Keras counterpart of a recurrent layer gives.

    Args:
        layer: As in :func:`to_keras`.
        weights: Arrays in the order of :func:`to_keras`: of several Keras layers all in one list,
            as ``get_weights()`` of their model gives them.

    Raises:
        ValueError: Number, shapes or dtypes of the arrays do not fit, or a GRU's bias is of the
            other form (without biases both have the same weights); or as :func:`to_keras`.
            Nothing has changed.
        TypeError: It is no such layer.
    """
    units = [unit for level in levels_of("from_keras", layer, GATES) for unit in level]
    forms = [_weights(unit) for unit in units]
    places = [
        f"{unit.place}{name} {array.shape}"
        for unit, form in zip(units, forms, strict=True)
        for name, array in form.items()
    ]
    if len(weights) != len(places):
        shapes = ", ".join(map(shape_of, weights))
        refuse_for(
            "from_keras",
            [
                f"expected {len(places)} arrays: {', '.join(places)}",
                f"got {len(weights)}: {shapes}",
            ],
        )
    problems: list[str] = []
    values = iter(weights)
    given = [
        {name: fit(unit.place + name, next(values), own, problems) for name, own in form.items()}
        for unit, form in zip(units, forms, strict=True)
    ]
    for unit, arrays in zip(units, given, strict=True):
        if _other_gru(unit, arrays):
            problems.append(
                f"these weights are of the GRU with reset_after={arrays['bias'].ndim == 2}, "
                "another function: build with that"
            )
            break
    refuse_for("from_keras", problems)
    write(
        "from_keras", layer, [(u, _own(u, arrays)) for u, arrays in zip(units, given, strict=True)]
    )


def _weights(unit: Unit) -> Weights:
    """The weights of a cell as Keras has them."""
    own = reorder(unit.weights, GATES[unit.kind])
    theirs = {"kernel": own["weight_ih"].T, "recurrent_kernel": own["weight_hh"].T}
    if "bias_ih" in own:
        if unit.kind is not GRUCell:
            theirs["bias"] = own["bias_ih"] + own.get("bias_hh", 0)
        elif "bias_hh" in own:
            theirs["bias"] = np.stack([own["bias_ih"], own["bias_hh"]])
        else:
            theirs["bias"] = own["bias_ih"]
    return {name: np.ascontiguousarray(array) for name, array in theirs.items()}


def _own(unit: Unit, theirs: Weights) -> Weights:
    """The inverse of :func:`_weights`."""
    own = {"weight_ih": theirs["kernel"].T, "weight_hh": theirs["recurrent_kernel"].T}
    if "bias" in theirs:
        bias = theirs["bias"]
        if bias.ndim == 2:
            own["bias_ih"], own["bias_hh"] = bias
        else:
            own["bias_ih"] = bias
            if "bias_hh" in unit.weights:
                own["bias_hh"] = np.zeros_like(bias)
    return reorder(own, inverse(GATES[unit.kind]))


def _other_gru(unit: Unit, theirs: Weights) -> bool:
    """Whether weights for a GRU have the bias of its other form, (3H,) or (2, 3H)."""
    expected = 2 if getattr(unit.cell, "reset_after", False) else 1
    return unit.kind is GRUCell and "bias" in theirs and theirs["bias"].ndim == 3 - expected
