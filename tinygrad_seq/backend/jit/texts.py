"""Compiles a printed loop, with the functions that it may call."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from . import loops, native, thin
from .cache import compiled


@functools.lru_cache(maxsize=256)
def compiled_text(text: str) -> Callable[..., None]:
    """The function ``loop`` of a text, compiled at its first call, with those it calls: ``_of``."""
    space: dict[str, Any] = {name: getattr(loops, name) for name in loops.__all__}
    space |= {"product": thin.product, "project": thin.project, "__name__": __name__}
    space |= {"view": native.view, "copy": native.copy, "clear": native.clear}
    native.link()
    exec(compile(text, "<derived loop>", "exec"), space)
    space |= {name: loops.compiled(f) for name, f in space.items() if name.endswith("_of")}
    function: Callable[..., None] = compiled(space["loop"], text=text)
    return function
