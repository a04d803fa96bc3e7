"""PyTorch's state_dict: names, layouts and gates are ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...nn.module import Module
from ...nn.recurrent.cells import GRUCell
from ...nn.recurrent.layers import RecurrentLayer
from .units import Weights, as_array


def to_torch(module: Module) -> Weights:
    """The weights of any module for ``load_state_dict`` of its PyTorch counterpart.

    This is ``module.state_dict()``, refused for a GRU that PyTorch does not have. PyTorch wants
    tensors: ``{name: torch.from_numpy(array) for name, array in to_torch(module).items()}``.

    Raises:
        ValueError: A GRU in it is the published one, which resets before its matrix.
    """
    problem = _published_gru(module)
    if problem:
        raise ValueError(f"to_torch: {problem}")
    return module.state_dict()


def from_torch(module: Module, state: Mapping[str, Any]) -> None:
    """Take over the ``state_dict()`` of the PyTorch counterpart of a module.

    This is ``module.load_state_dict(state)``, which also reads tensors that require grad, are on
    another device or in bfloat16. It is refused for the published GRU, which PyTorch does not have:
    without biases, both forms have the same names and shapes.

    Args:
        module: What the weights go into.
        state: Name -> tensor or array.

    Raises:
        ValueError: Names, shapes or dtypes do not fit, or a GRU is of the other form; nothing has
            changed.
        TypeError: ``state`` is not a mapping.
    """
    problem = _published_gru(module)
    if problem:
        raise ValueError(f"from_torch changed nothing, because:\n  {problem}")
    if isinstance(state, Mapping):
        state = {name: as_array(value) for name, value in state.items()}
    module.load_state_dict(state)


def _published_gru(module: Module) -> str | None:
    """What is wrong with a module that should be PyTorch's, if it holds the published GRU."""
    for path, part in module.named_modules():
        cells = part.levels.modules() if isinstance(part, RecurrentLayer) else iter([part])
        if any(isinstance(cell, GRUCell) and not cell.reset_after for cell in cells):
            return (
                f"{path or 'this module'} is the published GRU, which resets before its matrix; "
                "PyTorch's resets after it, another function: build with reset_after=True"
            )
    return None
