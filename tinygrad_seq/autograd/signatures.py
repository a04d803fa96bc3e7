"""The names of ``signatures.pyi``, which type checkers read; when a program runs, each is Any."""

from typing import Any

DType = Operand = Any
