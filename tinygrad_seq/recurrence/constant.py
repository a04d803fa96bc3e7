"""Steps whose program is looked up without recording them.

Such a step has a method ``constant()`` that returns (settings, tensors). Its program depends only
on these settings and on the shapes, dtypes and gradients of these tensors, and it reads only their
arrays. The cells of the library have this method.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from ..autograd.graph import source_of
from ..backend import backend_of
from ..tensor import Tensor
from .derived import MOST, Derived
from .record import Reads
from .trees import flat

_known: OrderedDict[Any, tuple[tuple[int, ...], Derived]] = OrderedDict()


def known(step: Any, xs: Any, state: Any) -> tuple[Reads, Derived] | None:
    """What the step reads and what was derived from it, if both are known."""
    said = _said(step, xs, state)
    if said is None:
        return None
    key, tensors = said
    found = _known.get(key)
    if found is None:
        return None
    places, derived = found
    read = [tensors[k] for k in places]
    sources = tuple([source_of(t) if t._requires_grad else None for t in read])
    return Reads(tuple([t._data for t in read]), sources), derived


def remember(step: Any, xs: Any, state: Any, reads: Reads, derived: Derived) -> None:
    """Remember what was derived from a step, if it has ``constant()``."""
    said = _said(step, xs, state)
    if said is None:
        return
    key, tensors = said
    places = {id(t._data): k for k, t in enumerate(tensors)}
    told_apart = len(places) == len(tensors)
    if told_apart and all(id(array) in places for array in reads.arrays):
        _known[key] = tuple([places[id(array)] for array in reads.arrays]), derived
        while len(_known) > MOST:
            _known.popitem(last=False)


def _said(step: Any, xs: Any, state: Any) -> tuple[Any, Sequence[Tensor]] | None:
    constant = getattr(step, "constant", None)
    said = None if constant is None else constant()
    if said is None:
        return None
    settings, tensors = said
    inputs = [(part._data.shape[1:], part._data.dtype) for part in flat(xs)]
    states = [(part._data.shape, part._data.dtype) for part in flat(state)]
    read = [(t._data.shape, t._data.dtype, t._requires_grad) for t in tensors]
    backend = backend_of(flat(xs)[0]._data).name
    return (settings, tuple(inputs), tuple(states), tuple(read), backend), tensors
