"""Containers: modules held in a row."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import Any, Self

from .module import Module


class ModuleList(Module):
    """A list of modules that belong to the tree, under the names "0", "1", ...

    Args:
        modules: What to hold, in order.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> Self:
        """Add a module at the end and return the list.

        Raises:
            TypeError: it is not a Module.
        """
        if not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__} holds Modules; got {type(module).__name__}")
        setattr(self, str(len(self)), module)
        return self

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self._children())

    def __getitem__(self, index: int) -> Module:
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(
                f"{type(self).__name__} holds {len(self)} modules; got index {position}"
            )
        return list(self)[position]


class Sequential(ModuleList):
    """Modules applied one after another, each to the output of the one before.

    Example:
        >>> from tinygrad_seq import nn
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    """

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def forward(self, x: Any) -> Any:
        """Apply the modules in order; with none, the identity."""
        for module in self:
            x = module(x)
        return x
