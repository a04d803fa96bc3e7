"""Machine code that compiled loops call by its name, and pointers to the numbers of their arrays.

numba compiles the functions that a loop calls again with that loop, and each slice of an array to
many instructions. The products took a third of the time to compile a loop, the slices most of the
rest. Here the products are compiled once for a machine, and a slice is one address.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from .cache import kept

FLOATS = types.CPointer(types.float32)

_functions: list[Callable[..., None]] = []
_linked: list[Any] = []


def native(function: Callable[..., None]) -> Callable[..., None]:
    """Give a function of integers (``int``) and of pointers to float32 (``Any``) a symbol."""
    _functions.append(function)
    return function


@functools.cache
def link() -> None:
    """Compile the native functions; code that calls them is loaded after this."""
    for function in _functions:
        kinds = [k for name, k in function.__annotations__.items() if name != "return"]
        given = tuple([types.int64 if kind == "int" else FLOATS for kind in kinds])
        code: Any = CFunc(
            function, (given, types.void), {}, {"error_model": "numpy", "nogil": True}
        )
        code._cache = kept(function)
        code.compile()
        binding.add_symbol(_symbol(function.__name__), code.address)
        _linked.append(code)  # kept alive


def _symbol(name: str) -> str:
    return f"tinygrad_seq.{name.strip('_')}"


def calling(name: str) -> Callable[..., Any]:
    """Code that calls a native function; for an array it gets a pointer, and the shape."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        given: list[Any] = []
        for kind, value in zip(signature.args, args, strict=True):
            if isinstance(kind, types.Array):
                array = context.make_array(kind)(context, builder, value)
                given += [array.data, *cgutils.unpack_tuple(builder, array.shape)]
            else:
                given.append(context.cast(builder, value, kind, types.int64))
        form = ir.FunctionType(ir.VoidType(), [value.type for value in given])
        builder.call(cgutils.get_or_insert_function(builder.module, form, _symbol(name)), given)
        return context.get_dummy_value()

    return generate


def _address(context: Any, builder: Any, kind: Any, array: Any, start: Any) -> Any:
    """Where number ``start`` of an array lies."""
    pointer = array
    if isinstance(kind, types.Array):
        pointer = context.make_array(kind)(context, builder, array).data
    return builder.gep(pointer, [start])


@intrinsic
def view(typing: Any, array: Any, start: Any, count: Any) -> tuple[Any, Callable[..., Any]]:
    """``count`` numbers of an array in C order, from number ``start`` on, without a check."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _address(context, builder, signature.args[0], *args[:2])

    return FLOATS(array, types.int64, types.int64), generate


@intrinsic
def copy(typing: Any, to: Any, at: Any, array: Any, start: Any,
         count: Any) -> tuple[Any, Callable[..., Any]]:  # fmt: skip
    """to[at : at + count] = array[start : start + count]."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        there = _address(context, builder, signature.args[0], *args[:2])
        here = _address(context, builder, signature.args[2], *args[2:4])
        size = builder.mul(args[4], ir.Constant(ir.IntType(64), 4))
        cgutils.raw_memcpy(builder, there, here, size, 1)
        return context.get_dummy_value()

    number = types.int64
    return types.void(to, number, array, number, number), generate


@intrinsic
def clear(typing: Any, array: Any, start: Any, count: Any) -> tuple[Any, Callable[..., Any]]:
    """array[start : start + count] = 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        here = _address(context, builder, signature.args[0], *args[:2])
        size = builder.mul(args[2], ir.Constant(ir.IntType(64), 4))
        cgutils.memset(builder, here, size, 0)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), generate
