"""Faults put into the derivation on purpose: pieces of its source, written otherwise.

``mutations.txt`` lists them as changed lines, each under its name, the kind of loop that shows it,
and the cell that does: ``== numpy: a sum loses a term``, ``@ a sum of four``. A line with ``=``
says why no result changes.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple
from unittest.mock import patch

from tinygrad_seq import recurrence

SOURCES = {path.stem: path.read_text() for path in Path(recurrence.__path__[0]).glob("*.py")}


class Mutation(NamedTuple):
    """A fault.

    Attributes:
        name: What goes wrong, in words.
        old, new: A text that stands in the package exactly once, and what stands there instead.
        printer: The kind of loop that shows it.
        cell: The fixed case that shows it.
        equivalent: Why no result changes, or nothing.
    """

    name: str
    old: str
    new: str
    printer: str
    cell: str = ""
    equivalent: str = ""

    @property
    def module(self) -> str:
        """Where the text stands.

        Raises:
            ValueError: it stands nowhere, or more than once: the list has to follow the source.
        """
        found = [stem for stem, text in SOURCES.items() for _ in range(text.count(self.old))]
        if len(found) != 1:
            raise ValueError(f"{self.name}: {self.old!r} stands in {found}, not in one place")
        return found[0]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Functions and tables of the module are the mutant's in here, whoever holds them."""
        module: Any = importlib.import_module(f"tinygrad_seq.recurrence.{self.module}")
        text = SOURCES[self.module].replace(self.old, self.new)
        spoilt = ModuleType(module.__name__)
        spoilt.__package__ = module.__package__
        exec(compile(text, module.__file__, "exec"), vars(spoilt))
        with ExitStack() as stack:
            changed = 0
            for thing, twin in _pairs(module, spoilt):
                if isinstance(thing, dict):
                    stack.enter_context(patch.dict(thing, twin))
                else:
                    stack.callback(setattr, thing, "__code__", thing.__code__)
                    thing.__code__ = twin.__code__
                changed += 1
            if changed != 1:
                raise ValueError(f"{self.name}: {changed} functions or tables have changed, not 1")
            yield


def _pairs(module: Any, other: Any) -> Iterator[tuple[Any, Any]]:
    """Functions and tables that differ."""
    for name, thing in [*vars(module).items()]:
        twin = vars(other).get(name)
        if isinstance(thing, type) and thing.__module__ == other.__name__:
            yield from _pairs(thing, twin)
        thing, twin = getattr(thing, "fget", thing), getattr(twin, "fget", twin)
        if isinstance(thing, FunctionType) and isinstance(twin, FunctionType):
            if thing.__code__ != twin.__code__:
                yield thing, twin
        elif (
            isinstance(thing, dict)
            and name[:2] != "__"
            and thing != twin
            and not any(isinstance(value, FunctionType) for value in thing.values())
        ):
            yield thing, twin


def listed() -> list[Mutation]:
    """All mutations."""
    path = Path(__file__).with_name("mutations.txt")
    return [_read(part) for part in path.read_text().split("\n== ")[1:]]


def _read(part: str) -> Mutation:
    head, *lines = part.split("\n")
    printer, name = head.split(": ", 1)
    parts = {sign: "\n".join([line[1:] for line in lines if line[:1] == sign]) for sign in "-+@="}
    cell, why = (parts[sign].strip() for sign in "@=")
    return Mutation(name, parts["-"], parts["+"], printer, cell, why)
