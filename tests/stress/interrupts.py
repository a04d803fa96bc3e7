"""Ctrl-C at every moment: where Python looks for signals, one after the other.

The interpreter looks for them as a function begins and when a call of a C function has ended (and
in loops, where little can go wrong). A profiling function is told of the same moments, so raising
from it is an interrupt at a moment of our choice.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

MOMENTS = ("call", "c_return")


def moments(function: Callable[[], Any]) -> int:
    """At how many moments a call of ``function`` could be interrupted."""
    seen = 0

    def look(frame: Any, event: str, argument: Any) -> None:
        nonlocal seen
        seen += event in MOMENTS

    sys.setprofile(look)
    try:
        function()
    finally:
        sys.setprofile(None)
    return seen


def interrupted(function: Callable[[], Any], moment: int) -> bool:
    """Call ``function`` and interrupt it once, there; whether it was, and did not catch it."""
    left = moment

    def look(frame: Any, event: str, argument: Any) -> None:
        nonlocal left
        left -= event in MOMENTS
        if left == 0:
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(look)
    try:
        function()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False
