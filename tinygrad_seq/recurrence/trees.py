"""States and inputs: one tensor, or (nested) tuples of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any


def each(f: Callable[..., Any], *trees: Any) -> Any:
    """f applied to the parts of trees with the same structure."""
    if isinstance(trees[0], tuple | list):
        return tuple(each(f, *parts) for parts in zip(*trees, strict=True))
    return f(*trees)


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
        return tuple([_filled(branch, parts) for branch in tree])
    return None if tree is None else next(parts)
