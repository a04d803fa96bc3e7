"""What anomaly mode checks: every result on the way forward, every gradient on the way back."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .graph import Node, Source
from .operands import all_finite
from .sums import Sums, fit

_PACKAGE = str(Path(__file__).parent.parent)


def check_result(name: str, out: Any, values: list[Any], node: Node | None) -> None:
    """Note the user's line, and raise at a NaN or Inf that was not in the inputs."""
    line = _calling_line()
    if node is not None:
        node.origin = line
    if not all_finite(out) and all_finite(values):
        shapes = ", ".join(str(getattr(v, "shape", ())) for v in values)
        raise FloatingPointError(
            f"{name} of shapes {shapes} gave NaN or Inf from finite inputs, at {line}"
        )


def checked(
    pullback: Callable[..., Any], sums: Sums
) -> Callable[..., Iterator[tuple[Source, Any]]]:
    """``pullback``, which raises at the first NaN or Inf that it would add to ``sums``."""

    def pull_back(node: Node, *args: Any) -> Iterator[tuple[Source, Any]]:
        for source, value in pullback(node, *args):
            value = fit(value, source, node, sums)
            if not all_finite(getattr(value, "_data", value)):
                raise FloatingPointError(
                    f"the rule of {node.op.name} (output shape {node.shape}) gave a gradient of "
                    f"shape {value.shape} with NaN or Inf; recorded at "
                    f"{node.origin or 'an unwatched line'}"
                )
            yield source, value

    return pull_back


def _calling_line() -> str:
    """The user's line that called into the library."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    if frame is None:
        return "an unknown line"
    return f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}"
