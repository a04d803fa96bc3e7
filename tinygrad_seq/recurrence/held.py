"""What a step holds, and might change as it runs: counters, lists, buffers, generators.

A step is run a few times before a loop stands for it. If that changed something, no loop may stand
for it, and the change is taken back: then each step of time is run once, as it was written.

Not noticed are the clock, files, buffers of bytes, NumPy's bit generators, the environment, context
variables, caches of functions, and what exceeds the limits below.
"""

from __future__ import annotations

import functools
import io
import random
from collections import deque
from collections.abc import Callable, Iterator
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy

from ..autograd.primitive import Primitive
from ..backend import backend_of, generator, is_array
from ..messages import is_ours
from ..tensor import Tensor
from .record import Underivable

INSIDE, LONGEST, BYTES = 64, 10_000, 1 << 24
"""Collections up to ``INSIDE`` items are looked into, up to ``LONGEST`` compared, as are arrays."""

THINGS = 2000
"""So many things are looked at: a cell that holds a whole program is none to examine."""

RUN = ("forward", "__call__")

SIMPLE = (bool, int, float, str)

DATA = (*SIMPLE, list, dict, set, deque, numpy.ndarray, Tensor)
"""What is looked at of the attributes of classes and modules, which hold functions too."""


class Watched(NamedTuple):
    """Something that can change: its name, what it holds now, and what puts that back."""

    name: str
    now: Callable[[], Any]
    before: Any
    put: Any


class Held:
    """What a step holds, as it is now.

    Attributes:
        code: The functions and classes that it is made of: another step of the same recorded
            program, but of other code, is not the same step.

    Raises:
        Underivable: it holds what goes on when it is read, and cannot be put back.
    """

    def __init__(self, step: Any) -> None:
        self.parts: list[Watched] = []
        self.code: frozenset[Any] = frozenset()
        self._seen: dict[int, Any] = {}  # kept alive, so that no id is used again
        code: set[Any] = set()
        rest = [("it", step)]
        while rest and len(self._seen) < THINGS:
            name, thing = rest.pop()
            if id(thing) in self._seen or type(thing) in SIMPLE or thing is None:
                continue
            self._seen[id(thing)] = thing
            if isinstance(thing, FunctionType):
                code.add(thing.__code__)
            elif not isinstance(thing, (list, dict, tuple, set, deque)):
                code.add(type(thing))
            rest += self._within(name, thing)
        self._note("the library's random numbers", generator())
        self.code = frozenset(code)

    def put_back(self) -> None:
        """Take back what has changed since.

        Raises:
            Underivable: something has.
        """
        changed = ""
        for name, now, before, put in reversed(self.parts):
            after = now()
            if not _same(after, before):
                put(before)
                items = getattr(put, "func", None) is _refill and isinstance(before, dict)
                changed = _changed_key(before, after, name) if items else name
        if changed:
            raise Underivable(f"it changes {changed} as it runs")

    def _add(self, name: str, now: Callable[[], Any], put: Callable[[Any], Any]) -> Any:
        self.parts.append(Watched(name, now, now(), put))
        return self.parts[-1].before

    def _within(self, name: str, thing: Any) -> Iterator[tuple[str, Any]]:
        """What a thing holds, by name; what can change is noted."""
        if isinstance(thing, (type, ModuleType, Primitive)):
            if thing in (random, numpy, numpy.random):  # whose functions are methods of one
                yield f"{thing.__name__}'s random numbers", _owner(thing)
            elif isinstance(thing, type) and not is_ours(thing):
                own = self._add(thing.__name__, *_attributes(thing, lambda: vars(thing)))
                yield from own.items()
        elif isinstance(thing, FunctionType):
            yield from self._within_function(thing)
        elif isinstance(thing, MethodType):
            yield name, thing.__self__
            yield name, thing.__func__
        elif isinstance(thing, functools.partial):
            yield from [(name, v) for v in (thing.func, *thing.args, *thing.keywords.values())]
        elif isinstance(thing, Tensor):
            if not thing._requires_grad:
                yield name, thing._data
        elif is_array(thing):
            if getattr(thing.flags, "writeable", True) and thing.nbytes <= BYTES:
                self._add(name, *_elements(thing))
        elif isinstance(thing, (random.Random, numpy.random.Generator, numpy.random.RandomState)):
            self._note(name, thing)
        elif isinstance(thing, Iterator) and not isinstance(thing, io.IOBase):
            raise Underivable(f"{name} is a {type(thing).__name__}, which goes on when it is read")
        elif isinstance(thing, (list, dict, set, deque)):
            if len(thing) <= LONGEST:
                self._add(name, thing.copy, functools.partial(_refill, thing))
            if len(thing) <= INSIDE:
                parts = thing.values() if isinstance(thing, dict) else thing
                yield from [(name, part) for part in parts]
        elif isinstance(thing, tuple):
            yield from [(name, part) for part in thing[:INSIDE]]
        elif hasattr(thing, "__dict__"):
            own = vars(thing)
            items = self._add(name, own.copy, functools.partial(_refill, own))
            yield from items.items()
            yield from [(name, getattr(type(thing), method, None)) for method in RUN]
            yield name, type(thing)
        elif names := [s for c in type(thing).__mro__ for s in vars(c).get("__slots__", ())]:
            slots = functools.partial(_slots, thing, names)
            yield from self._add(name, *_attributes(thing, slots)).items()
            yield name, type(thing)

    def _within_function(self, function: Any) -> Iterator[tuple[str, Any]]:
        names = function.__code__.co_freevars
        for name, cell in zip(names, function.__closure__ or (), strict=True):
            try:
                yield name, self._add(name, *_contents(cell))
            except ValueError:  # not yet assigned
                continue
        yield function.__name__, vars(function)
        yield from (function.__kwdefaults__ or {}).items()
        yield from [(function.__name__, part) for part in function.__defaults__ or ()]
        if not is_ours(function):
            known, found = _names(function.__code__), function.__globals__
            spaces = [vars(m) for n in known if isinstance(m := found.get(n), ModuleType)]
            for space in (found, *spaces):
                for name in known:
                    if name in space and (space is found or isinstance(space[name], DATA)):
                        get = functools.partial(space.__getitem__, name)
                        put = functools.partial(space.__setitem__, name)
                        yield name, self._add(name, get, put)

    def _note(self, name: str, source: Any) -> None:
        """The state of a generator of random numbers."""
        if isinstance(source, numpy.random.Generator):
            bits = source.bit_generator
            self._add(name, lambda: bits.state, functools.partial(setattr, bits, "state"))
        elif isinstance(source, random.Random):
            self._add(name, source.getstate, source.setstate)
        else:
            self._add(name, functools.partial(source.get_state, legacy=False), source.set_state)


def _changed_key(before: Any, after: Any, name: str) -> str:
    """The first attribute or item that differs; ``name`` if its key is no text."""
    keys = [k for k in (*before, *after) if type(k) is str]
    return next((k for k in keys if not _same(before.get(k), after.get(k))), name)


def _contents(cell: CellType) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    return lambda: cell.cell_contents, functools.partial(setattr, cell, "cell_contents")


def _slots(thing: Any, names: list[str]) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in names if hasattr(thing, name)}


def _attributes(
    thing: Any, held: Callable[[], Any]
) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """The data among the attributes of a class, or in the slots of an object."""

    def now() -> dict[str, Any]:
        return {name: v for name, v in held().items() if isinstance(v, DATA)}

    def put(before: dict[str, Any]) -> None:
        after = now()
        for name in after.keys() - before.keys():
            delattr(thing, name)
        for name, value in before.items():
            if after.get(name) is not value:
                setattr(thing, name, value)

    return now, put


def _elements(array: Any) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """The elements of an array of any library, on the host."""
    backend = backend_of(array)
    return (
        lambda: numpy.array(backend.to_host(array)),
        lambda elements: array.__setitem__(..., backend.from_host(elements)),
    )


def _owner(module: Any) -> Any:
    """The generator of a module's functions."""
    return (numpy.random if module is numpy else module).random.__self__


def _refill(thing: Any, items: Any) -> None:
    if isinstance(thing, list):
        thing[:] = items
    elif isinstance(thing, dict):  # never without what it keeps: another thread may read it
        thing.update(items)
        for key in thing.keys() - items.keys():
            del thing[key]
    else:
        thing.clear()
        (thing.extend if isinstance(thing, deque) else thing.update)(items)


@functools.lru_cache(maxsize=256)
def _names(code: CodeType) -> tuple[str, ...]:
    """Global names of a function and of those within it."""
    within = [c for c in code.co_consts if isinstance(c, CodeType)]
    return tuple(dict.fromkeys([*code.co_names, *[n for c in within for n in _names(c)]]))


def _same(a: Any, b: Any) -> bool:
    """Whether a thing holds what it held; tensors and objects are known by their identity."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, numpy.ndarray):
        return numpy.array_equal(a.reshape(-1).view("u1"), b.reshape(-1).view("u1"))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(v, b[k]) for k, v in a.items())
    if isinstance(a, (list, tuple, deque)):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) in (*SIMPLE, set) and bool(a == b)
