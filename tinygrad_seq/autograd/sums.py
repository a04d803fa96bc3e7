"""Gradients on the way: the sum so far for every node and leaf, and who owns its memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from ..backend import backend_of, is_array, xp
from .graph import Node, Source, Variable
from .stacked import Stacked


class Sums:
    """The gradient of each source so far.

    A sum gets a buffer of its own at the second contribution and is added to in place from then on.
    Before, its array may be somebody else's: the upstream gradient's, another source's, a rule's.

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
        self._waiting: dict[Source, Stacked] = {}

    def add(self, source: Source, value: Any, node: Node | None = None, g: Any = None) -> None:
        """Add a contribution: what a rule of ``node`` made from ``g``, or a seed, without one."""
        if node is not None and (
            self.live
            or type(value) is not numpy.ndarray
            or value.shape != source.shape
            or value.dtype is not source.dtype
        ):
            value = fit(value, source, node, self)
        total = self.values.get(source)
        if total is None:
            self.values[source] = value
            # Only what a leaf gets is worth the question: it is kept.
            if node is not None and type(source) is not Node and is_fresh(value, g, node):
                self._owned.add(source)
        elif source in self._owned and not self.live:
            total += value
        else:
            total = total + value  # NumPy gives the sum of 0-d arrays as a scalar
            self.values[source] = total if self.live else xp(value).asarray(total)
            self._owned.add(source)

    def stack(self, source: Source, rows: Stacked) -> None:
        """Add a contribution that can wait for others of its kind."""
        before = self._waiting.get(source)
        if before is None or not before.takes(rows):
            self._waiting[source] = rows
            if before is not None:
                self._form(source, before)

    def complete(self) -> None:
        """Form what still waits."""
        while self._waiting:
            self._form(*self._waiting.popitem())

    def _form(self, source: Source, rows: Stacked) -> None:
        self.add(source, rows.formed(), rows.node)

    def add_part(self, node: Node, value: Any) -> None:
        """The gradient of one output of several: collect it for the whole operation."""
        (whole,) = node.edges
        assert isinstance(whole, Node)
        assert node.slot is not None
        parts = self.values.setdefault(whole, [None] * len(whole.shape))
        part = parts[node.slot]
        parts[node.slot] = value if part is None else part + value

    def take(self, node: Node, keep: bool) -> Any:
        """The complete gradient of ``node``, after its hooks; forgotten here unless ``keep``."""
        if node in self._waiting:
            self._form(node, self._waiting.pop(node))
        g = self.values.pop(node, None)
        if type(g) is list:
            g = self._whole(g, node)
        elif (node.hooks or node.retained) and g is not None:
            g = self._hooked(g, node)
        if keep and g is not None:
            self.values[node] = g
        return g

    def final(self, source: Source, hooks: bool) -> Any:
        """The gradient of a leaf or target, as a tensor that shares memory with nothing."""
        g = self.values[source]
        if hooks and isinstance(source, Variable) and source.hooks:
            g = self._hooked(g, source)
        if self.live:
            return g * 1  # a tensor of its own, still on the graph
        # In C order, as the values: an optimizer reads both together.
        return self.wrap(g if source in self._owned and g.flags.c_contiguous else g.copy())

    def deposit_retained(self) -> None:
        """Add to ``.grad`` of the results that keep theirs, once nothing can fail any more."""
        for holder, gradient in self._retained:
            old: Any = holder._grad
            holder._grad = gradient if old is None else old + gradient

    def _whole(self, parts: list[Any], node: Node) -> tuple[Any, ...]:
        """The gradients of all outputs of an operation, zeros for those that went unused."""
        like = next(part for part in parts if part is not None)
        zeros = xp(like._data if self.live else like).zeros
        for k, (part, shape, dtype) in enumerate(zip(parts, node.shape, node.dtype, strict=True)):
            if part is None:
                parts[k] = self.wrap(zeros(shape, dtype)) if self.live else zeros(shape, dtype)
        return tuple(parts)

    def _hooked(self, g: Any, source: Source) -> Any:
        """The gradient after the hooks, each of which may replace it; kept where that was asked."""
        if self.live and g._requires_grad:
            tensor = g  # which nobody can write into
        else:  # a hook may write into what it gets, which may be somebody else's too
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
        holder: Any = isinstance(source, Node) and source.retained and source.retained()
        if isinstance(holder, Variable):
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
    """Whether a rule made this array itself: no view, not what came in, not what was saved.

    Believed of the library's own rules only: a user's may give an array that it keeps.
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
