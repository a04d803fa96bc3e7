"""Names of modules and parameters for observers: dotted paths, kept in the scope by id."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from ..autograd.observe import NOWHERE, Observer, Place, Scope, observing
from ..backend.forks import in_forked_child

Names = dict[int, tuple[Any, str]]
"""Paths by id, with the objects, which are kept alive so that no id is reused."""

_naming = threading.RLock()  # threads under one observer share its names


@in_forked_child
def _renew() -> None:
    global _naming
    _naming = threading.RLock()


class Naming(Observer):
    """An observer that gets, with each node, the path of the module that recorded it.

    Nested observers share their names.

    Args:
        model: A module whose names are used as they are.

    Attributes:
        names: Of the modules and parameters met so far.
    """

    def __init__(self, model: Any = None) -> None:
        if model is not None and not hasattr(model, "_parts"):
            name = type(self).__name__
            raise TypeError(f"{name} takes the module whose names are wanted; got {model!r:.60}")
        self.model = model
        self.names: Names = {}

    @property
    def value(self) -> Scope:
        """The scope inside its block, with names."""
        scope = super().value
        if scope.names is None:
            scope = replace(scope, names=self.names)
        else:
            self.names = scope.names
        if self.model is not None:
            _adopt(self.names, self.model, "")
        return scope


def inside(module: Any) -> AbstractContextManager[Any]:
    """Record inside ``module`` during a block; nothing to do if no observer needs names."""
    here = observing.get()
    if here is None or here.names is None:
        return NOWHERE
    return Place(replace(here, path=_path(here.names, module, here.path)))


def joined(path: str, below: str) -> str:
    """Two dotted paths as one."""
    return f"{path}.{below}" if path and below else path or below


def _path(names: Names, module: Any, within: str) -> str:
    """The path of a module in the tree of the outermost one, which is named by its class. A module
    in no known tree is named by its class, below ``within``."""
    known = names.get(id(module))
    if known is None:
        with _naming:
            taken = {path for _, path in names.values()}
            _adopt(names, module, next(p for p in _numbered(within, module) if p not in taken))
            known = names[id(module)]
    return known[1]


def _adopt(names: Names, module: Any, path: str) -> None:
    """Name a module, and all modules and parameters below it."""
    with _naming:
        for below, part in module._parts():
            names.setdefault(id(part), (part, joined(path, below)))


def _numbered(within: str, module: Any) -> Iterator[str]:
    """``LSTM``, ``LSTM_2``, ``LSTM_3``, ... below ``within``."""
    path = joined(within, type(module).__name__)
    yield path
    yield from (f"{path}_{k}" for k in itertools.count(2))
