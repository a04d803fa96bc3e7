"""How tensors and modules look in a notebook: HTML without scripts, the same bytes every time."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

import numpy

from .autograd.operands import on_host

NUMBERS = 60  # a tensor of at most this many elements shows them
CELLS = 24  # rows and columns of a heat map, at most
SIDE = 10  # of a cell, in pixels
# The scale of signed values in notebooks, plots and the explorer: blue below zero, orange above,
# told apart by all kinds of colour vision. Lowest, zero, highest, and not finite.
LIGHT = (33, 102, 172), (247, 247, 247), (230, 97, 1), (17, 17, 17)
DARK = (78, 160, 225), (30, 34, 40), (245, 150, 70), (255, 255, 255)


def one_line(text: str) -> str:
    """Text, such as a name, without invisible characters: line breaks, terminal escapes, marks that
    change the direction of writing, halves of surrogate pairs."""
    return "".join(c if c.isprintable() else " " for c in text)


def tensor_html(array: Any, words: Iterable[str] = ()) -> str:
    """An array's shape, dtype, statistics and a small heat map; the numbers of a small one.

    Args:
        array: What to show, of any library.
        words: More text for the headline.
    """
    host = on_host(array)
    head = " ".join([f"{host.dtype}{list(host.shape)}", *words])
    table = "".join(f"<td>{name} {value}</td>" for name, value in statistics(host).items())
    numbers = f"<pre>{numpy.array2string(host)}</pre>" if 0 < host.size <= NUMBERS else ""
    return (
        f"<div><code>Tensor {escape(one_line(head))}</code>{numbers}"
        f"<table><tr>{table}</tr></table>{heat_map(host)}</div>"
    )


def statistics(host: numpy.ndarray[Any, Any]) -> dict[str, str]:
    """Smallest, mean and largest of the finite values, and how many are NaN or infinite."""
    values = host.astype(float, copy=False).ravel()
    finite = values[numpy.isfinite(values)]
    found = {}
    if finite.size:
        scale = float(numpy.abs(finite).max()) or 1.0  # the sum of large values is beyond float64
        mean = scale * float(numpy.mean(finite / scale))
        found = {"min": f"{finite.min():.4g}", "mean": f"{mean:.4g}", "max": f"{finite.max():.4g}"}
    nan = int(numpy.isnan(values).sum())
    return found | {"NaN": str(nan), "Inf": str(values.size - finite.size - nan)}


def heat_map(host: numpy.ndarray[Any, Any]) -> str:
    """The last two axes as coloured cells (the first of everything else), evenly sampled."""
    if not host.size:
        return ""
    plane = numpy.atleast_2d(host[(0,) * max(0, host.ndim - 2)]).astype(float)
    rows, columns = (_sample(n) for n in plane.shape)
    cells = plane[numpy.ix_(rows, columns)]
    finite = numpy.abs(cells[numpy.isfinite(cells)])
    top = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
    rects = "".join(
        f'<rect x="{SIDE * x}" y="{SIDE * y}" width="{SIDE}" height="{SIDE}" '
        f'fill="{colour(value, top)}"/>'
        for y, line in enumerate(cells.tolist())
        for x, value in enumerate(line)
    )
    width, height = SIDE * len(columns), SIDE * len(rows)
    shown = f"{len(rows)} of {plane.shape[0]} rows, {len(columns)} of {plane.shape[1]} columns"
    first = " of the first matrix" if host.ndim > 2 else ""
    label = f"{shown}{first}; blue to orange is {-top:.4g} to {top:.4g}, black is NaN or Inf"
    return (
        f'<svg role="img" aria-label="{label}" width="{width}" height="{height}" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{label}</title>{rects}</svg>'
    )


def colour(value: float, top: float) -> str:
    """The colour of a value on the scale from -top to top."""
    low, zero, high, odd = LIGHT
    end, share = (high if value > 0 else low), min(1.0, abs(value) / top)
    if not numpy.isfinite(value):
        end, share = odd, 1.0
    return "#" + "".join(
        f"{round(z + share * (e - z)):02x}" for z, e in zip(zero, end, strict=True)
    )


def tree_html(rows: Iterable[tuple[int, str, str, int, int]]) -> str:
    """A tree of modules as a table.

    Args:
        rows: For each: depth, name, what it is, how many parameters it has, and their bytes.
    """
    lines = "".join(
        f'<tr><td style="text-align:left;padding-left:{1 + depth * 1.5}em">'
        f"{escape(one_line(name))}</td>"
        f'<td style="text-align:left"><code>{escape(what)}</code></td>'
        f"<td>{count:,}</td><td>{size:,}</td></tr>"
        for depth, name, what, count, size in rows
    )
    return (
        "<table><thead><tr><th>name</th><th>module</th><th>parameters</th><th>bytes</th></tr>"
        f"</thead><tbody>{lines}</tbody></table>"
    )


def _sample(count: int) -> list[int]:
    """At most ``CELLS`` positions out of ``count``, with the first and the last."""
    shown = min(count, CELLS)
    return [k * (count - 1) // max(1, shown - 1) for k in range(shown)]
