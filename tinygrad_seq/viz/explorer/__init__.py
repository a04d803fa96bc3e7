"""One HTML file to walk through a recorded graph: forward, and the gradient back."""

from __future__ import annotations

from pathlib import Path

from ...atomic import replacing
from ...tensor import Tensor
from ..graph import graph
from ..profile import profile as Profile
from .data import describe
from .page import page


def explore(
    loss: Tensor,
    path: str | Path,
    *,
    title: str = "",
    check: bool = False,
    profile: Profile | None = None,
) -> Path:
    """Write a page that draws what ``loss`` was computed from, and steps through it and back.

    The page is one file without any other: it opens from disk, makes no connection, and the same
    graph gives the same bytes. Recorded inside :func:`viz.trace`, operations have their module,
    their time step and all values; inside ``nn.unrolled()``, recurrent layers are seen step by
    step. Small arrays are stored exactly, of large ones the largest magnitudes of a coarse grid.

    The backward pass is really run, and nothing is changed by it: not ``.grad``, not the graph,
    not the random numbers that follow. Gradient hooks are not run.

    Args:
        loss: A tensor of one element that requires grad.
        path: Where to write the page.
        title: What it is called; the name of the file if left out.
        check: Compare every gradient with a finite difference of the loss. Needs a trace, and time
            quadratic in the number of operations.
        profile: What :func:`viz.profile` measured, to colour operations by their time.

    Returns:
        The path of the page.

    Raises:
        TypeError: ``loss`` is no tensor, or ``profile`` no profile.
        ValueError: it has more than one element, or nothing was recorded for it, or a check is
            asked for and there was no trace.
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
        raise ValueError("nothing was recorded for a leaf, which was not computed")
    if any(operation.freed for operation in made.operations):
        raise RuntimeError(
            "explore walks back through the graph, and an earlier backward has freed it: call "
            "explore before backward, or backward(retain_graph=True)"
        )
    target = Path(path)
    text = page(describe(loss, made, title or target.stem, check, profile))
    with replacing(target) as file:
        file.write(text.encode("utf-8", "replace"))  # half a surrogate pair has no UTF-8
    return target


__all__ = ["explore"]
