"""Finds modules and parameters wherever Python's garbage collector follows an object.

These are collections, attributes, closures, default arguments, partials and iterators.
"""

from __future__ import annotations

from collections.abc import Iterator
from gc import get_referents, is_tracked
from types import FrameType, FunctionType, ModuleType
from typing import Any

import numpy as np

from ..messages import is_ours
from ..tensor import Tensor


def held(value: Any, kinds: Any) -> Iterator[Any]:
    """The objects of some classes within ``value``, also those that are attributes of a class.

    The library's own objects are not searched: an optimizer may hold parameters that it does not
    own.

    Args:
        value: Where to search. A ``weakref.ref`` holds nothing.
        kinds: The second argument of ``isinstance``.
    """
    seen: set[int] = set()
    rest = [value]
    while rest:
        one = rest.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, kinds):
            yield one
        elif isinstance(one, type):
            own = [v for base in one.__mro__ for v in vars(base).values()]
            yield from (v for v in own if isinstance(v, kinds))
        elif isinstance(one, FunctionType):  # not its globals
            rest += [one.__closure__, one.__defaults__, one.__kwdefaults__, vars(one)]
        elif isinstance(one, np.ndarray):
            rest += list(one.flat) if one.dtype.hasobject else []
        elif not (isinstance(one, Tensor | ModuleType | FrameType) or is_ours(type(one))):
            rest += [v for v in get_referents(one) if is_tracked(v) or isinstance(v, np.ndarray)]
