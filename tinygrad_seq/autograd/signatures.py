"""The names of ``signatures.pyi``, which type checkers read; when a program runs, each is Any."""

from typing import Any


def __getattr__(name: str) -> Any:
    return Any
