"""Compiling a printed loop, with the functions that it may call."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from . import loops, thin


@functools.lru_cache(maxsize=256)
def compiled_text(text: str) -> Callable[..., None]:
    """The function ``loop`` of a text, compiled at its first call."""
    names = {name: getattr(loops, name) for name in loops.__all__}
    space: dict[str, Any] = {**names, "product": thin.product, "project": thin.project}
    space |= {"np": np}
    exec(compile(text, "<derived loop>", "exec"), space)
    function: Callable[..., None] = loops.uncached(space["loop"])
    return function
