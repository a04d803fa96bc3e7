"""Pictures of a net at work, with matplotlib (the extra ``plot``)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..autograd.operands import on_host
from ..html import LIGHT, one_line
from ..nn import Module

_LABELS: dict[str, Any] = {"fontsize": 8, "parse_math": False}  # a $ in a name is a dollar


def gradient_flow(model: Module, ax: Any = None) -> Any:
    """Plot the size of each parameter's gradient: a dot for its root mean square, a line to its
    largest element, on a logarithmic axis. Zero and missing gradients are labelled in words.

    Args:
        model: A module, after ``backward``.
        ax: The axes to draw on; new ones if None.

    Returns:
        The matplotlib axes.

    Raises:
        ValueError: no parameter has a gradient.
        ImportError: matplotlib is missing.
    """
    if not isinstance(model, Module):
        raise TypeError(f"gradient_flow takes a module; got {type(model).__name__}")
    parameters = list(model.named_parameters())
    if all(p.grad is None for _, p in parameters):
        raise ValueError("no parameter has a gradient: call loss.backward() first")
    ax = _axes(ax, (7, 1.2 + 0.28 * len(parameters)))
    for row, (_, parameter) in enumerate(parameters):
        gradient = None if parameter.grad is None else on_host(parameter.grad)
        if gradient is None or not gradient.any() or not np.isfinite(gradient).all():
            odd = "none" if gradient is None else "NaN or Inf" if gradient.any() else "zero"
            inside = ax.get_yaxis_transform()
            ax.text(0.02, row, odd, va="center", color="tab:red", transform=inside)
            continue
        size = np.abs(gradient.astype(float))
        ax.plot([_rms(size), size.max()], [row, row], color="tab:blue", lw=1.5, alpha=0.5)
        ax.plot(_rms(size), row, "o", color="tab:blue", ms=5)
    ax.set_xscale("log")
    ax.set_yticks(range(len(parameters)), _labels(name for name, _ in parameters), **_LABELS)
    ax.set_ylim(len(parameters) - 0.5, -0.5)  # the first on top
    ax.set_xlabel("gradient: root mean square (dot) to largest element (line)")
    ax.set_title(f"Gradient flow in {type(model).__name__}")
    ax.grid(axis="x", alpha=0.3)
    return ax


def hidden_states(states: Any, tokens: Any = None, sequence: int = 0, ax: Any = None) -> Any:
    """Plot each hidden unit at each time step as a heat map: blue below zero, orange above.

    Args:
        states: The outputs of a recurrent layer, ``(T, N, H)`` or ``(T, H)``; a tensor or an array.
        tokens: Labels of the steps, T of them; numbers if None.
        sequence: The index of one of the N sequences.
        ax: The axes to draw on; new ones if None.

    Returns:
        The matplotlib axes.

    Raises:
        ValueError: shapes do not fit.
        ImportError: matplotlib is missing.
    """
    values = on_host(states)
    if values is None or values.ndim not in (2, 3) or not values.size:
        shape = None if values is None else values.shape
        raise ValueError(f"hidden_states takes states of shape (T, N, H) or (T, H); got {shape}")
    if values.ndim == 3:
        if not -values.shape[1] <= sequence < values.shape[1]:
            raise ValueError(f"sequence must be one of {values.shape[1]}; got {sequence}")
        values = values[:, sequence]
    steps, units = values.shape
    if tokens is not None and len(tokens) != steps:
        raise ValueError(f"tokens must be one for each of {steps} steps; got {len(tokens)}")
    ax = _axes(ax, (min(12, 2.5 + 0.22 * steps), min(8, 1.6 + 0.12 * units)))
    finite = np.abs(values[np.isfinite(values)])
    top = finite.max() if finite.size and finite.max() > 0 else 1.0
    image = ax.imshow(
        values.T, aspect="auto", cmap=_signed(), vmin=-top, vmax=top, interpolation="nearest"
    )
    ax.figure.colorbar(image, ax=ax, label="value", pad=0.02)
    if tokens is not None:
        ax.set_xticks(range(steps), _labels(tokens), **_LABELS)
    ax.set_xlabel("time step")
    ax.set_ylabel("hidden unit")
    ax.set_title("Hidden states over time")
    return ax


def _signed() -> Any:
    """The colours of signed values, as a map of matplotlib's."""
    from matplotlib.colors import LinearSegmentedColormap

    low, zero, high, odd = ((r / 255, g / 255, b / 255) for r, g, b in LIGHT)
    return LinearSegmentedColormap.from_list("signed", [low, zero, high]).with_extremes(bad=odd)


def _labels(names: Iterable[Any]) -> list[str]:
    return [one_line(str(name)) for name in names]


def _axes(ax: Any, size: tuple[float, float]) -> Any:
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("this picture needs matplotlib: pip install matplotlib") from error
    return pyplot.subplots(figsize=size, layout="constrained")[1]


def _rms(size: Any) -> float:
    return float(np.sqrt(np.mean(size * size)))
