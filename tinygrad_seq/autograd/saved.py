"""Whether the values that nodes saved for their rules still exist, unchanged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .graph import Node, Variable
from .writes import last_write, written_since


def check_saved(nodes: Iterable[Node]) -> None:
    """Raise RuntimeError if a saved value of one of ``nodes`` was freed, or written in place."""
    last = last_write()
    for node in nodes:
        if node.saved is None or node.time < last:
            _check(node)


def _check(node: Node) -> None:
    values = node.kept()
    if node.plan is None:  # a recomputed segment checks its arguments itself
        return
    for name, value in zip(node.plan.names, values, strict=True):
        for array in value if type(value) is tuple else (value,):
            if hasattr(array, "base") and written_since(array, node.time):
                raise RuntimeError(_overwritten(node, name, array))


def _overwritten(node: Node, name: str, array: Any) -> str:
    leaves = [e for e in node.edges if isinstance(e, Variable) and e._data is array and e.name]
    whose = f" (tensor {leaves[0].name!r})" if leaves else ""
    return (
        f"{node.op.name} saved its {'output' if name == 'y' else name}{whose} of shape "
        f"{array.shape} for backward, and it was written in place since: call backward before the "
        "write, or compute the result again; a state that is carried over an optimizer's step is "
        "cut off with state.detach()"
    )


def replaced(source: Variable, name: str) -> str:
    """The error of a recorded backward whose operation read other data of a tensor."""
    return (
        f"the data of a tensor of shape {source.shape} was replaced after {name} saved it: "
        "its graph cannot be differentiated a second time"
    )
