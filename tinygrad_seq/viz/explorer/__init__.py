"""One HTML file that shows a recorded graph step by step, forward and backward."""

from __future__ import annotations

from html import escape
from pathlib import Path

from ...atomic import replacing
from ...html import one_line
from ...tensor import Tensor
from ..graph import graph
from ..profile import profile as Profile
from .data import describe
from .page import page

_Path = type(Path())  # of this system: Path itself has no subclasses before Python 3.12


class Page(_Path):  # type: ignore[valid-type, misc]
    """The path of a page, which a notebook shows."""

    def _repr_html_(self) -> str:
        """How a notebook shows it: the page in a frame, which needs the file no more."""
        return (
            f'<iframe srcdoc="{escape(self.read_text("utf-8"))}" title="{escape(self.stem)}" '
            'loading="lazy" style="width:100%;height:640px;border:1px solid #8888"></iframe>'
        )


def explore(
    loss: Tensor,
    path: str | Path,
    *,
    title: str = "",
    check: bool = False,
    profile: Profile | None = None,
) -> Page:
    """Write a page that draws how ``loss`` was computed and steps through it, forward and backward.

    The page is a single file: it opens from disk, makes no connections, and the same graph gives
    the same bytes. Record the graph inside :func:`viz.trace` to show modules, time steps and all
    values, and inside ``nn.unrolled()`` to show recurrent layers step by step. Small arrays are
    stored exactly; for large ones, the largest magnitudes on a coarse grid.

    The backward pass runs, but changes nothing: not ``.grad``, not the graph, not later random
    numbers. Gradient hooks do not run.

    Args:
        loss: A tensor of one element that requires grad.
        path: Where to write the page.
        title: The title of the page; the name of the file by default.
        check: Compare every gradient with a finite difference of the loss. Needs a trace, and time
            quadratic in the number of operations.
        profile: A :func:`viz.profile` of the loss, to colour operations by their time.

    Returns:
        The path of the page. In a notebook, as the last line of a cell, it shows the page.

    Raises:
        TypeError: ``loss`` is not a Tensor, or ``profile`` is not a profile.
        ValueError: ``loss`` has more than one element, nothing was recorded for it, or ``check``
            is set without a trace.
        RuntimeError: the graph was freed by an earlier backward.

    Example:
        >>> import tinygrad_seq as ts
        >>> from tinygrad_seq import nn, viz
        >>> gru = nn.GRU(3, 4)
        >>> with viz.trace(gru), nn.unrolled():
        ...     y, last = gru(ts.ones((6, 1, 3)))
        ...     loss = (y * y).mean()
        >>> viz.explore(loss, "graph.html")  # doctest: +SKIP
    """
    if not isinstance(loss, Tensor):
        raise TypeError(f"explore expects the loss as a Tensor; got {type(loss).__name__}")
    if profile is not None and not isinstance(profile, Profile):
        raise TypeError(f"profile= takes what viz.profile() gave; got {type(profile).__name__}")
    if loss.size != 1:
        raise ValueError(
            f"explore expects a loss of one element; got shape {loss.shape}: reduce it with sum() "
            "or mean() first"
        )
    made = graph(loss)
    if not made.operations:
        raise ValueError("nothing was recorded: the loss is a leaf, which was not computed")
    if any(operation.freed for operation in made.operations):
        raise RuntimeError(
            "explore runs a backward pass, but an earlier backward has freed the graph: call "
            "explore before backward, or backward(retain_graph=True)"
        )
    target = Page(path)
    text = page(describe(loss, made, one_line(title or target.stem), check, profile))
    with replacing(target) as file:
        file.write(text.encode())
    return target


__all__ = ["explore"]
