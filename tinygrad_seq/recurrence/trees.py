"""States and inputs: one tensor, or (nested) tuples and dicts of them; a named tuple stays one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any


def each(f: Callable[..., Any], *trees: Any) -> Any:
    """f applied to the parts of trees with the same structure."""
    first = trees[0]
    if isinstance(first, dict | tuple | list):
        return _filled_by(first, lambda k: each(f, *[tree[k] for tree in trees]))
    return f(*trees)


def flat(tree: Any) -> list[Any]:
    """The parts of a tree, in order; none for None."""
    if isinstance(tree, dict | tuple | list):
        return [part for k in keys(tree) for part in flat(tree[k])]
    return [] if tree is None else [tree]


def like(tree: Any, parts: Iterable[Any]) -> Any:
    """A tree with the structure of ``tree`` and these parts."""
    return _filled(tree, iter(parts))


def alike(a: Any, b: Any) -> bool:
    """Whether two trees have the same structure."""
    if isinstance(a, dict | tuple | list):
        return branches_alike(a, b) and all(alike(a[k], b[k]) for k in keys(a))
    return not isinstance(b, dict | tuple | list) and (a is None) == (b is None)


def branches_alike(a: Any, b: Any) -> bool:
    """Whether b has as many branches as a, or those of its names."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys()
    return isinstance(b, tuple | list) and len(a) == len(b)


def keys(tree: Any) -> Iterable[Any]:
    """Names in one order, however a step orders them; or places."""
    return sorted(tree, key=repr) if isinstance(tree, dict) else range(len(tree))


def _filled(tree: Any, parts: Iterator[Any]) -> Any:
    if isinstance(tree, dict | tuple | list):
        return _filled_by(tree, lambda k: _filled(tree[k], parts))
    return None if tree is None else next(parts)


def _filled_by(tree: Any, part: Callable[[Any], Any]) -> Any:
    """The branches of a tree, each replaced."""
    made = {k: part(k) for k in keys(tree)}
    if isinstance(tree, dict):
        return {k: made[k] for k in tree}
    return type(tree)(*made.values()) if hasattr(tree, "_fields") else tuple(made.values())
