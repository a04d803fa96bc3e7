"""The cells of a layer with their weights, and the checks that both directions share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...backend.dtypes import fitted
from ...nn.container import ModuleList
from ...nn.module import Module
from ...nn.recurrent.cell import Cell
from ...nn.recurrent.layers import RecurrentLayer
from ...nn.recurrent.recurrent import Bidirectional, Recurrent

Array: TypeAlias = NDArray[Any]
Weights: TypeAlias = dict[str, Array]

PLACED = {"weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_peephole"}


class Unit(NamedTuple):
    """A cell in its place in a layer."""

    place: str  # in words, for messages
    cell: Cell
    kind: type[Cell]
    reverse: bool
    names: dict[str, str]  # the cell's name of a parameter -> the layer's
    weights: Weights  # copies, by the cell's names


def levels_of(caller: str, layer: Module, kinds: Iterable[type[Cell]]) -> list[list[Unit]]:
    """The cells of a layer: for each level those of its directions.

    Raises:
        TypeError: It is no recurrent layer of cells of these kinds.
        ValueError: It has parameters that only this library knows.
    """
    cells = list(_cells(layer))
    for cell in (cell for level in cells for cell, _ in level):
        if _kind(cell, kinds) is None:
            known = ", ".join(kind.__name__ for kind in kinds)
            raise TypeError(
                f"{caller} knows RNN, GRU, LSTM, {known}, Recurrent and Bidirectional around "
                f"these cells, and ModuleLists of them; got {type(cell).__name__}"
            )
    state = layer.state_dict()
    flat = {id(parameter): name for name, parameter in layer.named_parameters()}
    levels: list[list[Unit]] = []
    for k, level in enumerate(cells):
        levels.append([])
        for cell, reverse in level:
            place = f"layer {k} " * (len(cells) > 1) + "reverse " * (reverse and len(level) > 1)
            names = {own: flat[id(parameter)] for own, parameter in cell.named_parameters()}
            weights = {own: state[name] for own, name in names.items()}
            levels[-1].append(
                Unit(place, cell, _kind(cell, kinds) or Cell, reverse, names, weights)
            )

    units = [unit for level in levels for unit in level]
    placed = {name for unit in units for own, name in unit.names.items() if own in PLACED}
    projections = {unit.names.get("weight_hr") for unit in units}
    homeless = [name for name in flat.values() if name not in placed]
    refuse_for(
        caller,
        [
            f"the other side has no place for {name} {state[name].shape}"
            + ": build with proj_size=0" * (name in projections)
            for name in homeless
        ],
    )
    return levels


def _cells(layer: Any) -> Iterator[list[tuple[Any, bool]]]:
    """For each level of a layer its cells, each with whether it reads in reverse."""
    if isinstance(layer, RecurrentLayer | ModuleList):
        for part in layer.levels if isinstance(layer, RecurrentLayer) else layer:
            yield from _cells(part)
    elif isinstance(layer, Bidirectional):
        yield [(layer.forwards.cell, False), (layer.backwards.cell, True)]
    elif isinstance(layer, Recurrent):
        yield [(layer.cell, layer.reverse)]
    else:
        yield [(layer, False)]


def _kind(cell: Any, kinds: Iterable[type[Cell]]) -> type[Cell] | None:
    """Which of some kinds a cell is: a subclass only if its equations are its parent's."""
    for kind in kinds:
        same = all(getattr(type(cell), n, None) is getattr(kind, n) for n in ("step", "forward"))
        if isinstance(cell, kind) and same:
            return kind
    return None


def write(caller: str, layer: Module, values: Iterable[tuple[Unit, Weights]]) -> None:
    """Write weights that fit into the layer."""
    state: Weights = {}
    for unit, weights in values:
        for own, array in weights.items():
            name = unit.names[own]
            if not np.array_equal(state.setdefault(name, array), array, equal_nan=True):
                refuse_for(caller, [f"{name} is shared by two cells, but their weights differ"])
    layer.load_state_dict(state, strict=False)  # a shared parameter comes under one name only


def reorder(weights: Weights, order: Sequence[int]) -> Weights:
    """Arrays whose gate block k is block ``order[k]`` of the given ones."""
    split = {name: np.split(array, len(order)) for name, array in weights.items()}
    return {name: np.concatenate([blocks[k] for k in order]) for name, blocks in split.items()}


def inverse(order: Sequence[int]) -> list[int]:
    """The order that undoes another."""
    return [order.index(k) for k in range(len(order))]


def as_array(value: Any) -> Array:
    """The values of an array or of any library's tensor; bfloat16 as the same values in float32."""
    if hasattr(value, "detach"):
        value = value.detach()
    if hasattr(value, "cpu"):
        value = value.cpu()
    if "bfloat16" in str(getattr(value, "dtype", "")):
        value = value.float() if hasattr(value, "float") else value.astype(np.float32)
    return np.asarray(value)


def fit(name: str, value: Any, own: Array, problems: list[str]) -> Array:
    """``value`` in the dtype of ``own``, if it has its shape; if not, that is noted."""
    array = as_array(value)
    if array.dtype.kind != "f":
        problems.append(f"{name} must be floating, got {array.dtype}")
    elif array.shape != own.shape:
        problems.append(f"{name} has shape {array.shape}, expected {own.shape}")
    else:
        try:
            return fitted(array, own.dtype, name)
        except ValueError as error:
            problems.append(str(error))
    return array


def shape_of(value: Any) -> str:
    """A shape, or the type of what has none, for messages."""
    return str(tuple(value.shape)) if hasattr(value, "shape") else type(value).__name__


def refuse_for(caller: str, problems: Iterable[str]) -> None:
    """Raise ValueError if there are problems, naming them all."""
    found = list(problems)
    if found:
        what = "changed nothing" if caller.startswith("from") else "cannot"
        raise ValueError(f"{caller} {what}, because:\n  " + "\n  ".join(found))
