"""States and inputs: one tensor, or (nested) tuples of them; a named tuple stays one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any


def each(f: Callable[..., Any], *trees: Any) -> Any:
    """f applied to the parts of trees with the same structure."""
    if isinstance(trees[0], tuple | list):
        return _again(trees[0], [each(f, *parts) for parts in zip(*trees, strict=True)])
    return None if trees[0] is None else f(*trees)


def flat(tree: Any) -> list[Any]:
    """The parts of a tree, in order; none for None."""
    if isinstance(tree, tuple | list):
        return [part for branch in tree for part in flat(branch)]
    return [] if tree is None else [tree]


def like(tree: Any, parts: Iterable[Any]) -> Any:
    """A tree with the structure of ``tree`` and these parts."""
    return _filled(tree, iter(parts))


def _filled(tree: Any, parts: Iterator[Any]) -> Any:
    if isinstance(tree, tuple | list):
        return _again(tree, [_filled(branch, parts) for branch in tree])
    return None if tree is None else next(parts)


def _again(tree: Any, parts: list[Any]) -> Any:
    return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
