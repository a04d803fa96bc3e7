"""Containers: modules held in a row, or by name."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, overload

from ..messages import kind_of
from .module import Module


class ModuleList(Module):
    """A list of modules that belong to the tree, under the names "0", "1", ...

    It changes like a list: ``append``, ``extend``, ``insert``, ``pop``, ``m[i] = ...``,
    ``del m[i]``; a slice is a new list that holds the same modules.

    Args:
        modules: What to hold, in order.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    def _hold(self, modules: list[Module]) -> None:
        """Hold these modules, numbered from 0; on an error, keep the old ones."""
        before = dict(vars(self))
        for name in [name for name, _ in self._children()]:
            delattr(self, name)
        try:
            for k, module in enumerate(modules):
                if not isinstance(module, Module):
                    hint = ": give them one by one" if isinstance(module, list | tuple) else ""
                    raise TypeError(
                        f"{type(self).__name__} holds Modules; got {kind_of(module)}{hint}"
                    )
                setattr(self, str(k), module)
        except (TypeError, ValueError):
            vars(self).clear()
            vars(self).update(before)
            raise

    def append(self, module: Module) -> Self:
        """Add a module at the end and return the list.

        Raises:
            TypeError: it is not a Module.
        """
        self._hold([*self, module])
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end and return the list."""
        self._hold([*self, *modules])
        return self

    def insert(self, index: int, module: Module) -> None:
        """Put a module before the one at ``index``."""
        held = list(self)
        held.insert(index, module)
        self._hold(held)

    def pop(self, index: int = -1) -> Module:
        """Remove the module at ``index``, by default the last, and return it."""
        module = list(self)[self._at(index)]
        del self[index]
        return module

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self._children())

    def _at(self, index: Any) -> int:
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(
                f"{type(self).__name__} holds {len(self)} modules; got index {position}"
            )
        return position

    @overload
    def __getitem__(self, index: int) -> Module: ...

    @overload
    def __getitem__(self, index: slice) -> Self: ...

    def __getitem__(self, index: int | slice) -> Module | Self:
        """A module, or for a slice a list of the same kind that holds the same modules."""
        if isinstance(index, slice):
            part = copy.copy(self)
            part._hold(list(self)[index])
            return part
        return list(self)[self._at(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        held = list(self)
        held[self._at(index)] = module
        self._hold(held)

    def __delitem__(self, index: int | slice) -> None:
        held = list(self)
        del held[index if isinstance(index, slice) else self._at(index)]
        self._hold(held)


class Sequential(ModuleList):
    """Modules applied in order, each to the output of the previous one.

    Example:
        >>> from tinygrad_seq import nn
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        >>> features = net[:-1]
        >>> net[-1] = nn.Linear(8, 3)
    """

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def forward(self, x: Any) -> Any:
        """Apply the modules in order; with none, the identity."""
        for module in self:
            x = module(x)
        return x


class ModuleDict(Module):
    """Modules by name that belong to the tree: ``heads["tag"]``.

    Args:
        modules: Names and modules. A name is any string without a dot that is not an attribute of
            Module.

    Raises:
        TypeError: a name is not a string, or its value is not a Module.
        ValueError: a name has a dot, or is an attribute of the class.
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        for name, module in (modules or {}).items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        if not isinstance(name, str) or not isinstance(module, Module):
            raise TypeError(
                f"ModuleDict holds Modules by names that are strings; got {kind_of(module)} by "
                f"{name!r}"
            )
        if not name or "." in name or hasattr(type(self), name):
            raise ValueError(f"ModuleDict cannot name a module {name!r}: choose another name")
        setattr(self, name, module)

    def __getitem__(self, name: str) -> Module:
        held = dict(self._children())
        if name not in held:
            raise KeyError(f"ModuleDict holds {list(held)}; got {name!r}")
        return held[name]

    def __delitem__(self, name: str) -> None:
        self[name]  # or KeyError
        delattr(self, name)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._children())

    def __contains__(self, name: object) -> bool:
        return any(name == own for own in self)

    def pop(self, name: str) -> Module:
        """Remove the module of this name and return it."""
        module = self[name]
        del self[name]
        return module

    def keys(self) -> Iterator[str]:
        """The names, in the order of insertion."""
        return iter(self)

    def values(self) -> Iterator[Module]:
        """The modules, in the order of the names."""
        return (module for _, module in self._children())

    def items(self) -> Iterator[tuple[str, Module]]:
        """Pairs (name, module)."""
        return self._children()


class Identity(Module):
    """Return the input unchanged: a placeholder for a module."""

    def forward(self, x: Any) -> Any:
        """``x`` itself."""
        return x
