"""Anomaly mode: check every result on the way forward and every gradient on the way back."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from .graph import Node, Source
from .mode import Mode
from .observe import Observer
from .operands import all_finite

_PACKAGE = str(Path(__file__).parent.parent)


class anomaly_mode(Observer, Mode):
    """Stop at the first NaN or Inf, forward or backward, and name where it arose.

    The error names the operation, its shapes and the line that called it. Recording that line
    costs time: use it to look for a fault, not to train.

    Raises (inside the block):
        FloatingPointError: an operation or its rule gave a NaN or an infinite value.
    """

    unfuses = True  # so that the operation within a fused one can be named

    def forward(self, op: Any, compute: Callable[..., Any], /, *args: Any, **params: Any) -> Any:
        """Raise at a NaN or Inf that was not in the inputs."""
        out = compute(*args, **params)
        if not all_finite(out) and all_finite(args):
            shapes = ", ".join(str(getattr(v, "shape", ())) for v in args)
            raise FloatingPointError(
                f"{op.name} of shapes {shapes} gave NaN or Inf from finite inputs, "
                f"at {_calling_line()}"
            )
        return out

    def recorded(self, node: Node) -> None:
        """Note the user's line."""
        node.origin = _calling_line()

    def pullback(
        self, node: Node, pull: Callable[..., Iterable[tuple[Source, Any]]], /, *args: Any
    ) -> Iterator[tuple[Source, Any]]:
        """Raise at the first gradient with NaN or Inf."""
        for source, value in pull(node, *args):
            if not all_finite(getattr(value, "_data", value)):
                raise FloatingPointError(
                    f"the rule of {node.op.name} (output shape {node.shape}) gave a gradient of "
                    f"shape {value.shape} with NaN or Inf; recorded at "
                    f"{node.origin or 'a line outside of anomaly mode'}"
                )
            yield source, value


def _calling_line() -> str:
    """The user's line that called into the library."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    if frame is None:
        return "an unknown line"
    return f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}"
