"""Starting values for weights: functions that return fresh arrays.

Every function draws from the library's generator (see ``manual_seed``) or from ``rng``, directly
in the dtype asked for. Weights have shape ``(out, in, ...)``, so fan_in is the second axis and
fan_out the first, each times the axes that follow.

    layer.weight.copy_(init.orthogonal(layer.weight.shape))     # under no_grad()
    self.weight = nn.Parameter(init.xavier_uniform((out, in_)))

Those that end in ``_`` write into all recurrent cells of a module, gate by gate:

    init.recurrent_(lstm, init.orthogonal)                      # Saxe et al. 2014
    init.bias_(lstm, 1.0, gate="f")                             # Jozefowicz et al. 2015
    init.recurrent_(relu_rnn, init.identity)                    # IRNN, Le et al. 2015 ...
    init.bias_(relu_rnn, 0.0)                                   # ... with zero biases
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..backend import generator
from ..hints import INIT
from ..messages import publish
from .checks import floating_dtype

if TYPE_CHECKING:
    from ..autograd.signatures import DType
    from .module import Module

Array: TypeAlias = np.ndarray[Any, Any]
Shape: TypeAlias = int | tuple[int, ...]
Rng: TypeAlias = np.random.Generator | None


def constant(shape: Shape, value: float, dtype: DType | None = None) -> Array:
    """An array of one value."""
    return np.full(shape, value, dtype=floating_dtype("init", dtype))


def zeros(shape: Shape, dtype: DType | None = None) -> Array:
    """An array of zeros."""
    return constant(shape, 0.0, dtype)


def uniform(
    shape: Shape, low: float = 0.0, high: float = 1.0, dtype: DType | None = None, rng: Rng = None
) -> Array:
    """Draw from U(low, high)."""
    unit = _draw(lambda rng, kind: rng.random(shape, dtype=kind), dtype, rng)
    return unit * (high - low) + low


def normal(
    shape: Shape, mean: float = 0.0, std: float = 1.0, dtype: DType | None = None, rng: Rng = None
) -> Array:
    """Draw from N(mean, std²)."""
    unit = _draw(lambda rng, kind: rng.standard_normal(shape, dtype=kind), dtype, rng)
    return unit * std + mean


def xavier_uniform(
    shape: Shape, gain: float = 1.0, dtype: DType | None = None, rng: Rng = None
) -> Array:
    """Draw from U(-a, a), a = gain √(6 / (fan_in + fan_out)).

    Source: Glorot & Bengio 2010, eq. 16.
    """
    bound = gain * math.sqrt(6.0 / sum(fans(shape)))
    return uniform(shape, -bound, bound, dtype, rng)


def xavier_normal(
    shape: Shape, gain: float = 1.0, dtype: DType | None = None, rng: Rng = None
) -> Array:
    """Draw from N(0, s²), s = gain √(2 / (fan_in + fan_out)).

    Source: Glorot & Bengio 2010, eq. 12.
    """
    return normal(shape, 0.0, gain * math.sqrt(2.0 / sum(fans(shape))), dtype, rng)


def kaiming_uniform(
    shape: Shape,
    gain: float = math.sqrt(2.0),
    mode: str = "fan_in",
    dtype: DType | None = None,
    rng: Rng = None,
) -> Array:
    """Draw from U(-a, a), a = gain √(3 / fan); the default gain √2 is the one for relu.

    Args:
        shape: ``(out, in, ...)``.
        gain: √2 for relu, √(2 / (1 + s²)) for leaky relu of slope s, 1 for a linear map.
        mode: ``"fan_in"`` keeps the variance of the forward signal, ``"fan_out"`` of the backward.

    Source: He et al. 2015, eq. 10.
    """
    bound = gain * math.sqrt(3.0 / _fan(shape, mode))
    return uniform(shape, -bound, bound, dtype, rng)


def kaiming_normal(
    shape: Shape,
    gain: float = math.sqrt(2.0),
    mode: str = "fan_in",
    dtype: DType | None = None,
    rng: Rng = None,
) -> Array:
    """Draw from N(0, s²), s = gain / √fan; arguments as in :func:`kaiming_uniform`.

    Source: He et al. 2015, eq. 10.
    """
    return normal(shape, 0.0, gain / math.sqrt(_fan(shape, mode)), dtype, rng)


def orthogonal(
    shape: Shape, gain: float = 1.0, dtype: DType | None = None, rng: Rng = None
) -> Array:
    """Draw a matrix with orthonormal rows (or columns, whichever are fewer), times gain.

    Uniform over such matrices. A shape of more than two axes is seen as ``(shape[0], rest)``.

    Source: Saxe et al. 2014; Mezzadri 2007 for the signs.
    """
    fans(shape)  # at least two axes
    rows, *rest = shape  # type: ignore[misc]  # fans has refused an int
    columns = math.prod(rest)
    drawn = normal((max(rows, columns), min(rows, columns)), dtype=dtype, rng=rng)
    wide = np.promote_types(drawn.dtype, np.float32)  # QR does not support float16
    q, r = np.linalg.qr(drawn.astype(wide))
    q *= np.where(np.diag(r) < 0, -1, 1).astype(wide)
    if rows < columns:
        q = q.T
    return np.ascontiguousarray(gain * q.reshape(shape), dtype=drawn.dtype)


def identity(shape: Shape, gain: float = 1.0, dtype: DType | None = None) -> Array:
    """The identity matrix times gain; of a shape that is not square, ones on its diagonal.

    Source: Le, Jaitly & Hinton 2015, for the recurrent weights of a ReLU RNN.
    """
    if isinstance(shape, int) or len(shape) != 2:
        raise ValueError(f"identity needs a shape of two axes; got {shape}")
    return np.eye(*shape, dtype=floating_dtype("init", dtype)) * gain


def recurrent_(module: Module, draw: Callable[..., Array]) -> None:
    """Draw the recurrent weights of all cells again, each gate's block ``(H, H or P)`` separately.

    Args:
        module: A cell, a layer, or any module with recurrent cells in it.
        draw: ``draw(shape, dtype=...)``, such as :func:`orthogonal` or :func:`identity`.

    Raises:
        ValueError: there is no recurrent cell.
    """
    for cell in _cells(module):
        weight, size = cell.weight_hh, cell.hidden_size
        block = (size, weight.shape[1])
        drawn = [draw(block, dtype=weight.dtype) for _ in range(weight.shape[0] // size)]
        weight.detach().copy_(np.concatenate(drawn))


def bias_(module: Module, value: float, gate: str | None = None) -> None:
    """Set the bias of one gate, or of all, in all cells that have the gate.

    Where there are two biases, the first is ``value`` and the second zero.

    Args:
        module: A cell, a layer, or any module with recurrent cells in it.
        value: The sum of the gate's biases.
        gate: ``"f"`` for the forget gate of LSTMs, or another of ``cell.gate_names``; None for all.

    Raises:
        ValueError: no recurrent cell has a bias of such a gate.
    """
    written = False
    for cell in _cells(module):
        if gate is None or gate in cell.gate_names:
            first = 0 if gate is None else cell.gate_names.index(gate) * cell.hidden_size
            last = None if gate is None else first + cell.hidden_size
            for bias, new in ((cell.bias_ih, value), (cell.bias_hh, 0.0)):
                if bias is not None:
                    values = bias.detach().numpy().copy()
                    values[first:last] = new
                    bias.detach().copy_(values)
                    written = True
    if not written:
        name = "" if gate is None else f" of a gate {gate!r}"
        raise ValueError(f"no cell in this {type(module).__name__} has a bias{name}")


def _cells(module: Module) -> list[Any]:
    """The cells of a tree, including those within layers."""
    cells = [c for part in module.modules() for c in getattr(part, "_recurrent_cells", list)()]
    if not cells:
        raise ValueError(f"there is no recurrent cell in this {type(module).__name__}")
    return cells


def fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of shape ``(out, in, ...)``.

    Raises:
        ValueError: fewer than two axes, or an empty one.
    """
    if isinstance(shape, int) or len(shape) < 2 or 0 in shape:
        raise ValueError(
            f"fan_in and fan_out need a shape of at least two axes, none empty; got {shape}"
        )
    return math.prod(shape[1:]), shape[0] * math.prod(shape[2:])


def _fan(shape: Shape, mode: str) -> int:
    fan_in, fan_out = fans(shape)
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f'mode must be "fan_in" or "fan_out"; got {mode!r}')
    return fan_in if mode == "fan_in" else fan_out


def _draw(
    unit: Callable[[np.random.Generator, Any], Array], dtype: Any, rng: np.random.Generator | None
) -> Array:
    """A unit draw in the given dtype; the generator itself supports float32 and float64."""
    dtype = floating_dtype("init", dtype)
    kind = dtype if dtype in (np.float32, np.float64) else np.dtype(np.float32)
    drawn = unit(generator() if rng is None else rng, kind)
    return drawn.astype(dtype, copy=False)


__all__ = [
    "bias_", "constant", "fans", "identity", "kaiming_normal", "kaiming_uniform", "normal",
    "orthogonal", "recurrent_", "uniform", "xavier_normal", "xavier_uniform", "zeros",
]  # fmt: skip

publish(__name__, INIT)
