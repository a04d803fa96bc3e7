"""Gradients during a backward pass: each node's and leaf's sum, and who owns its memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy

from ..backend import backend_of, is_array, xp
from .deposit import deposit
from .graph import Node, Source, Variable
from .placed import Placed
from .stacked_rows import StackedRows


class Sums:
    """The gradient of each source so far.

    A sum gets a buffer of its own at the second contribution and is added to in place from then on.
    Before, its array may be shared: with the upstream gradient, another source or a rule.

    Args:
        wrap: Makes a tensor of an array.
        live: Whether gradients are tensors, recorded themselves; otherwise they are arrays.
    """

    def __init__(self, wrap: Callable[..., Any], live: bool) -> None:
        self.values: dict[Source, Any] = {}
        self.wrap = wrap
        self.live = live
        self._owned: set[Source] = set()
        self._retained: list[tuple[Any, Any]] = []
        self._waiting: dict[Source, StackedRows] = {}
        self._passed: set[Source] = set()  # of those that are kept

    def add(self, source: Source, value: Any, node: Node | None = None, g: Any = None) -> None:
        """Add a contribution: what a rule of ``node`` gave for ``g``, or an upstream gradient."""
        if node is not None and (
            self.live
            or type(value) is not numpy.ndarray
            or value.shape != source.shape
            or value.dtype is not source.dtype
        ):
            if type(value) is StackedRows:
                self._stack(source, value)
                return
            if type(value) is Placed:
                self._place(source, value)
                return
            value = fit(value, source, node, self)
        total = self.values.get(source)
        if total is None:
            self.values[source] = value
            # Checked for leaves only: their gradients are kept.
            keeps = type(source) is not Node and not self.live
            if keeps and node is not None and is_fresh(value, g, node):
                self._owned.add(source)
        elif source in self._owned and not self.live:
            total += value
        else:
            total = total + value  # NumPy gives the sum of 0-d arrays as a scalar
            self.values[source] = total if self.live else xp(value).asarray(total)
            self._owned.add(source)

    def _stack(self, source: Source, rows: StackedRows) -> None:
        """Let a contribution wait for others of its kind."""
        before = self._waiting.get(source)
        if before is None or not before.takes(rows):
            self._waiting[source] = rows
            if before is not None:
                self._form(source, before)

    def _place(self, source: Source, part: Placed) -> None:
        """Add a contribution to the buffer of the sum, where it is not zero."""
        total = self.values.get(source)
        if total is None:
            total = xp(part.g).zeros(source.shape, source.dtype)
        elif source not in self._owned:
            total = total.copy()
        part.add_to(total)
        self.values[source] = total
        self._owned.add(source)

    def _form(self, source: Source, rows: StackedRows) -> None:
        self.add(source, rows.formed(), rows.node)

    def take(self, node: Node, keep: bool) -> Any:
        """The complete gradient of ``node``, after its hooks; removed here unless ``keep``.

        For one output of several, None: it is passed on to the whole operation, visited later.
        """
        if node in self._waiting:
            self._form(node, self._waiting.pop(node))
        g = self.values.pop(node, None)
        if g is None:
            return None
        if type(g) is list:
            return self._whole(g, node)
        if node.hooks or node.retained:
            g = self._hooked(g, node)
        if keep:
            self.values[node] = g
            self._passed.add(node)
        if node.slot is None:
            return g
        (whole,) = node.edges
        assert isinstance(whole, Node)
        parts = self.values.setdefault(whole, [None] * len(whole.shape))
        part = parts[node.slot]
        parts[node.slot] = g if part is None else part + g
        return None

    def finish(self, targets: Iterable[Source] | None, hooks: bool) -> dict[Source, Any]:
        """The gradients of ``targets``, or of all leaves, as tensors that share no memory.

        Args:
            targets: Where gradients are wanted, reached or not.
            hooks: Whether to run the hooks of those that no walk has visited.
        """
        while self._waiting:
            self._form(*self._waiting.popitem())
        found = list(self.values) if targets is None else [t for t in targets if t in self.values]
        given = {source: self._final(source, hooks) for source in found}
        if self._retained:  # last: nothing can fail any more
            deposit(*zip(*self._retained, strict=True))
        return given

    def _final(self, source: Source, hooks: bool) -> Any:
        g = self.values[source]
        if hooks and source not in self._passed:
            g = self._hooked(g, source)
        if self.live:
            return g * 1  # a tensor of its own, still on the graph
        # In C order, as the values: an optimizer reads both together.
        return self.wrap(g if source in self._owned and g.flags.c_contiguous else g.copy())

    def _whole(self, parts: list[Any], node: Node) -> tuple[Any, ...]:
        """The gradients of all outputs of an operation, zeros for unused ones."""
        like = next(part for part in parts if part is not None)
        zeros = xp(like._data if self.live else like).zeros
        for k, (part, shape, dtype) in enumerate(zip(parts, node.shape, node.dtype, strict=True)):
            if part is None:
                parts[k] = self.wrap(zeros(shape, dtype)) if self.live else zeros(shape, dtype)
        return tuple(parts)

    def _hooked(self, g: Any, source: Source) -> Any:
        """The gradient after the hooks, each of which may replace it; kept by ``retain_grad``."""
        retained = source.retained if isinstance(source, Node) else None
        if not source.hooks and retained is None:
            return g
        if self.live and g._requires_grad:
            tensor = g  # which nobody can write into
        else:  # a hook may write into its array, which may be shared
            array = g._data if self.live else g
            tensor = self.wrap(array if source in self._owned else array.copy())
        self._owned.discard(source)
        for hook in list((source.hooks or {}).values()):
            given = hook(tensor)
            if given is None:
                continue
            if not isinstance(given, Variable) or given.shape != tensor.shape:
                raise TypeError(
                    f"a gradient hook must give None or a Tensor of the gradient's shape "
                    f"{tensor.shape}; got {given!r:.60}"
                )
            tensor = given if given.dtype == tensor.dtype else given.astype(tensor.dtype)  # type: ignore[attr-defined]  # the engine knows no methods
        holder: Any = None if retained is None else retained()
        if holder is not None:
            self._retained.append((holder, tensor * 1))
        return tensor if self.live else tensor._data


def fit(value: Any, source: Source, node: Node, sums: Sums) -> Any:
    """A rule's result in the kind, shape and dtype of its argument: broadcasting is undone here."""
    if isinstance(value, Variable):
        value = value if sums.live else value._data
    else:
        value = value if is_array(value) else xp(value).asarray(value)
        value = sums.wrap(value) if sums.live else value
    shape, given = source.shape, value.shape
    if given != shape:
        extra = len(given) - len(shape)
        stretched = tuple([k for k, n in enumerate(given) if k < extra or shape[k - extra] != n])
        if extra < 0 or any(shape[k - extra] != 1 for k in stretched[extra:]):
            raise RuntimeError(
                f"a rule of {node.op.name} gave a gradient of shape {given} for an argument "
                f"of shape {shape}"
            )
        if sums.live:
            value = value.sum(axis=stretched, keepdims=True)
        else:
            value = backend_of(value).sum(value, stretched, True)
        value = value.reshape(shape)
    return value if value.dtype == source.dtype else value.astype(source.dtype)


def is_fresh(value: Any, g: Any, node: Node) -> bool:
    """Whether a rule made this array itself: no view, not its input, not a saved value.

    Assumed of the library's own rules only: a user's rule may return an array that it keeps.
    """
    plan = node.plan
    if plan is None or not plan.pure or value is g or getattr(value, "base", g) is not None:
        return False
    if type(g) is tuple and any(value is part for part in g):
        return False
    for held in node.saved or ():
        if value is held or (type(held) is tuple and any(value is part for part in held)):
            return False
    return True
