"""What has to be made anew in a child of ``os.fork``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable[[], None])


def in_forked_child(function: F) -> F:
    """Have ``function`` called in every child of ``os.fork``, as a decorator.

    Only the forking thread follows into a child. A lock that another thread held would stay locked
    there for ever, and what that thread was about to put back would stay as it is.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)
    return function
