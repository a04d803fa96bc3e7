"""Tensors that belong to a module: trained ones, and ones that are only saved with it."""

from __future__ import annotations

from typing import Any

from ..backend import xp
from ..tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor that a module owns and an optimizer updates.

    It requires grad, and its buffer is a contiguous copy of ``data``, never the caller's array.

    Args:
        data: Array, Tensor, number or list; floating (Python numbers get the default float).
        name: Its name in messages and graphs; a module sets it to the attribute's name.

    Raises:
        TypeError: ``data`` is not floating.
    """

    __slots__ = ()

    _is_parameter = True

    def __init__(self, data: Any, name: str | None = None) -> None:
        source = Tensor(data).data
        super().__init__(xp(source).array(source, order="C"), requires_grad=True, name=name)


class Buffer(Tensor):
    """A tensor that belongs to a module and is not trained: a running mean, a table, a mask.

    It is saved, loaded, moved and converted with the parameters, but no optimizer sees it. Its
    memory is a contiguous copy of ``data``. A tensor assigned to its attribute becomes a Buffer.

    Args:
        data: Array, Tensor, number or list, of any dtype.
        name: Its name in messages and graphs; a module sets it to the attribute's name.
    """

    __slots__ = ()

    def __init__(self, data: Any, name: str | None = None) -> None:
        source = Tensor(data).data
        super().__init__(xp(source).array(source, order="C"), name=name)
