"""Runs functions in a child of ``os.fork``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[[], None])

compiling: list[Any] = []
"""Locks that are held while something compiles; a child cannot end what another thread began."""


def in_forked_child(function: F) -> F:
    """Decorator: call ``function`` in every child of ``os.fork``.

    A child has only the forking thread. A lock held by another thread would stay locked there for
    ever, and a setting that this thread was about to restore would stay changed.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)
    return function
