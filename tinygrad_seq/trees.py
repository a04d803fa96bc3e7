"""Structures of dicts, lists and tuples: a function of everything that is in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def mapped(f: Callable[[Any], Any], tree: Any) -> Any:
    """The same dict, list or tuple, with ``f`` of everything else in it."""
    if isinstance(tree, dict):
        return {name: mapped(f, part) for name, part in tree.items()}
    if isinstance(tree, (list, tuple)):
        return refilled(tree, {k: mapped(f, part) for k, part in enumerate(tree)})
    return f(tree)


def refilled(tree: Any, parts: dict[Any, Any]) -> Any:
    """Parts by name, or by position, in a dict, list or tuple of the same kind."""
    if isinstance(tree, dict):
        return parts
    made = parts.values()
    return type(tree)(*made) if hasattr(tree, "_fields") else type(tree)(made)


def leaves(tree: Any) -> list[Any]:
    """What dicts, lists and tuples hold, in order."""
    found: list[Any] = []
    mapped(found.append, tree)
    return found
