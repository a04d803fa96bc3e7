"""Everything that CuPy names differently, lacks, or does faster than NumPy.

:func:`load` imports CuPy at first use. Three rules hold on a GPU:

- Nothing waits except ``to_host``, an index by a mask (its count decides a shape), and sorting very
  many positions. Host indices are checked on the host, because the device wraps them.
- Random numbers are a function of the position and of a seed from the library's host generator, so
  a generator's state, a checkpoint and a recomputed segment reproduce them, as on NumPy.
- One thread adds the values of a repeated position, in order, so the same program gives the same
  bits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy

from ..base import Array, Backend, is_array, register
from ..random import generator
from . import kernels, nccl

_INSTALL = "pip install 'cupy-cuda12x[ctk]' (or cupy-cuda13x, as your driver is)"


SCANNED = 1 << 15
"""So many repeated positions are compared with one another; more are sorted, and sorting waits."""


def _contiguous(array: Array) -> Array:
    """In C order: a kernel takes it as one run of memory."""
    return array if array.flags.c_contiguous else array.copy(order="C")


@functools.cache
def load() -> Backend:
    """The CuPy backend, registered.

    Raises:
        RuntimeError: CuPy is not installed, or finds no GPU.
    """
    try:
        import cupy  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as error:
        raise RuntimeError(
            f"the backend 'cupy' needs CuPy, which cannot be imported here ({error}): {_INSTALL}"
        ) from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except RuntimeError as error:
        raise RuntimeError(
            f"the backend 'cupy' needs an NVIDIA GPU and its driver; none was found ({error}). "
            f"With one: {_INSTALL}"
        ) from error
    if not count:
        raise RuntimeError("the backend 'cupy' needs an NVIDIA GPU; CUDA sees none")
    return register(CuPy(cupy))


class _Names:
    """CuPy's namespace, with the functions of NumPy's that it lacks."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._cupy, name)
        setattr(self, name, value)  # the next time it is found directly
        return value

    def errstate(self, **_: str) -> nullcontext[None]:
        """A GPU gives no floating-point warnings."""
        return nullcontext()

    def max(self, x: Array, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Array:
        """``numpy.max``, with ``initial``."""
        return self._extreme("max", "maximum", x, axis, keepdims, initial)

    def min(self, x: Array, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Array:
        """``numpy.min``, with ``initial``."""
        return self._extreme("min", "minimum", x, axis, keepdims, initial)

    def _extreme(self, of: str, pair: str, x: Array, axis: Any, keepdims: bool, first: Any) -> Any:
        if first is None:
            return getattr(self._cupy, of)(x, axis=axis, keepdims=keepdims)
        if not x.size:  # the sum has the right shape
            zeros = self._cupy.sum(x, axis=axis, keepdims=keepdims)
            return self._cupy.full(zeros.shape, first, x.dtype)
        return getattr(self._cupy, pair)(
            getattr(self._cupy, of)(x, axis=axis, keepdims=keepdims), first
        )


class CuPy(Backend):
    """Arrays on the current CUDA device."""

    name = "cupy"
    kernel: Callable[..., Any]
    flat = True

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self.np = _Names(cupy)
        self.array_type = cupy.ndarray
        self.kernel = kernels.compiler(cupy)
        self.kernels = self._steps()

    def _kernel(self, name: str) -> Any:
        """The kernel of a name."""
        return self.kernel(kernels.KERNELS[name], name)

    def to_host(self, array: Array) -> numpy.ndarray[Any, Any]:
        """A copy on the host; waits for the device."""
        host: numpy.ndarray[Any, Any] = self._cupy.asnumpy(array)
        return host

    def from_host(self, array: Any) -> Array:
        """A copy on the device."""
        return self._cupy.asarray(array)

    def synchronize(self) -> None:
        """Wait until the device has computed everything."""
        self._cupy.cuda.get_current_stream().synchronize()

    def use_device(self, number: int) -> None:
        """Compute on the GPU of this number, modulo the number of GPUs."""
        count = self._cupy.cuda.runtime.getDeviceCount()
        self._cupy.cuda.Device(number % count).use()

    def joint_sum(
        self, rank: int, size: int, hand_round: Callable[[Any], Any]
    ) -> Callable[[Array], Array]:
        """Σ over ranks with NCCL."""
        return nccl.joint_sum(self._cupy, rank, size, hand_round)

    def quiet(self) -> nullcontext[None]:
        """A GPU gives no floating-point warnings."""
        return nullcontext()

    def uniform(self, shape: tuple[int, ...]) -> Array:
        """float32 from U[0, 1), drawn on the device from a seed that is drawn on the host."""
        out = self._cupy.empty(shape, numpy.float32)
        if out.size:
            self._kernel("uniform")(int(generator().integers(2**63)), out)
        return out

    # -- elementwise ----------------------------------------------------------------------------

    def erf(self, x: Array) -> Array:
        """CUDA's own."""
        return self._kernel("erf")(self._floating(x))

    def sigmoid(self, x: Array) -> Array:
        """1 / (1 + e⁻ˣ) in one kernel."""
        return self._kernel("sigmoid")(self._floating(x))

    def _floating(self, x: Array) -> Array:
        return x if x.dtype.kind == "f" else x.astype(numpy.float64)

    def sum(self, x: Any, axis: Any, keepdims: bool) -> Array:
        """Σ x: CuPy adds up in trees, and float16 in float32."""
        return self.np.sum(x, axis=axis, keepdims=keepdims)

    def mean(self, x: Any, axis: Any, keepdims: bool) -> Array:
        """Σ x / n."""
        return self.np.mean(x, axis=axis, keepdims=keepdims)

    def product(self, a: Any, b: Any) -> Array:
        """a b with 0 · b = 0, without checking whether there is a 0."""
        return self._kernel("product")(*self._one_kind(a, b))

    def quotient(self, a: Any, b: Any) -> Array:
        """a / b with 0 / b = 0, without checking whether there is a 0."""
        if isinstance(b, int | float) and b:
            return self.np.true_divide(a, b)
        return self._kernel("quotient")(*self._one_kind(a, b))

    def _one_kind(self, a: Any, b: Any) -> tuple[Any, Any]:
        """Two operands in the dtype of their result."""
        kinds = [v.dtype for v in (a, b) if is_array(v)]  # a Python number widens nothing
        kind = numpy.result_type(*kinds) if kinds[0].kind == "f" else numpy.dtype(numpy.float64)
        a, b = (v.astype(kind, copy=False) if is_array(v) else kind.type(v) for v in (a, b))
        return a, b

    # -- clipping, without a read ---------------------------------------------------------------

    def joint_norm(self, gradients: Sequence[Array]) -> Array:
        """‖g‖ as an array without axes, from squares in float64: those of float32 fit there."""
        if not gradients:
            return self._cupy.zeros((), numpy.float64)
        flat = self._cupy.concatenate([g.reshape(-1) for g in gradients])
        return self._kernel("norm")(flat)

    def shrink(self, gradients: Sequence[Array], norm: Array, bound: float, eps: float) -> bool:
        """g ← g · min(1, bound / (norm + ε)): one kernel for each gradient."""
        for g in gradients:
            self._kernel("shrink")(g, norm, bound, eps, g)
        return True

    # -- indices --------------------------------------------------------------------------------

    def index(self, index: Any, shape: tuple[int, ...]) -> Any:
        """Host arrays in an index, checked against the shape while still on the host, copied."""
        parts = index if isinstance(index, tuple) else (index,)
        host = (numpy.ndarray, numpy.generic, list, float)  # CuPy would cut a float short
        if not any(isinstance(part, host) for part in parts):
            return index
        parts = tuple(self._listed(part) if isinstance(part, list) else part for part in parts)
        if not any(isinstance(part, self.array_type) for part in parts):
            numpy.broadcast_to(numpy.False_, shape)[parts]  # IndexError, in NumPy's words
        moved = tuple(self._part(part) if isinstance(part, host) else part for part in parts)
        return moved if isinstance(index, tuple) else moved[0]

    def _listed(self, part: list[Any]) -> Any:
        """A list in an index as an array; reads numbers on the device."""
        array = numpy.asarray([p.item() if isinstance(p, self.array_type) else p for p in part])
        return array if array.size else array.astype(numpy.int64)

    def _part(self, part: Any) -> Any:
        """A part of an index that is on the host."""
        array = numpy.asarray(part)
        if not array.size:
            array = array.astype(bool if array.dtype.kind == "b" else numpy.int64)
        number = not array.ndim and array.dtype.kind in "iu"
        return array.item() if number else self.from_host(array)

    def assign(self, target: Array, index: Any, values: Any) -> None:
        """Assign; for a repeated position the last value stays, unlike in CuPy."""
        if not self._repeats(index):
            target[index] = values
            return
        places = self._places(target, index)
        values = self._cupy.broadcast_to(self._cupy.asarray(values, target.dtype), places.shape)
        rows, after, _ = self._chains(places)
        if rows.size:
            self._kernel("put_last")(rows, after, _contiguous(values), rows.size, target)

    def scatter_add(self, target: Array, index: Any, values: Array) -> None:
        """``target[index] += values``; one thread adds the values of a position, in order."""
        index = index[0] if isinstance(index, tuple) and len(index) == 1 else index
        width = 1
        if isinstance(index, self.array_type) and index.dtype.kind in "iu" and target.ndim > 1:
            places, width = index % target.shape[0], math.prod(target.shape[1:])
            shape = index.shape + target.shape[1:]
        else:
            places = self._places(target, index)
            shape = places.shape
        rows, after, first = self._chains(places)
        values = _contiguous(self._cupy.broadcast_to(values, shape))
        if values.size:
            chains = (rows, after, first, values, width, rows.size)
            self._kernel("add_chains")(*chains, target, size=values.size)

    def _repeats(self, index: Any) -> bool:
        """Whether an index may repeat a position; only integer arrays can."""
        parts = index if isinstance(index, tuple) else (index,)
        return any(isinstance(p, self.array_type) and p.dtype.kind in "iu" for p in parts)

    def _places(self, target: Array, index: Any) -> Array:
        """The number of each element that an index chooses."""
        return self._cupy.arange(target.size).reshape(target.shape)[index]

    def _chains(self, places: Array) -> tuple[Array, Array, Array]:
        """Row numbers, the next place of each (their count if none), and which are first."""
        np, count = self._cupy, places.size
        rows = _contiguous(places).reshape(-1).astype(numpy.int64, copy=False)
        after, first = np.full(count, count, numpy.int64), np.ones(count, bool)
        if count <= SCANNED:
            if count:
                self._kernel("chain")(rows, count, after, first)
        else:
            order = np.argsort(rows, kind="stable")
            same = rows[order[1:]] == rows[order[:-1]]
            after[order[:-1]] = np.where(same, order[1:], count)
            first[order[1:]] = ~same
        return rows, after, first

    # -- steps ----------------------------------------------------------------------------------

    def _steps(self) -> dict[str, Any]:
        """The kernels of ``backend.steps`` and ``backend.scan``, with their names and arguments."""
        kernel = self._kernel

        def cross_entropy(np: Any, x: Array, targets: Array, keep: bool) -> tuple[Array, Any]:
            if not x.size:
                return np.zeros(targets.shape, x.dtype), (x, None, None, None)
            x, targets = _contiguous(x), targets.astype(numpy.int64, copy=False)
            top = np.max(x, axis=-1, keepdims=True)
            log_sum = kernel("log_sum")(x, top, axis=1)
            loss = kernel("pick")(log_sum, top[:, 0], targets, x, x.shape[1])
            return loss, (x, top, log_sum, targets) if keep else None

        def cross_entropy_backward(np: Any, g: Array, saved: Any) -> Array:
            x, top, log_sum, targets = saved
            if not x.size:
                return np.zeros_like(x)
            columns = np.arange(x.shape[1])
            rows = (g[:, None], top, log_sum[:, None], targets[:, None])
            return kernel("unpick")(x, *rows, columns)

        def linear_scan(
            np: Any, a: Array, b: Array, start: Any, reverse: bool, adjoint: bool, pairs: bool
        ) -> Array:
            y = np.empty(b.shape, b.dtype)
            if y.size:
                steps, parts = len(b), 2 if pairs else 1
                width = b.size // steps // parts
                begun, start = start is not None, b if start is None else _contiguous(start)
                a, b = _contiguous(np.broadcast_to(a, b.shape)), _contiguous(b)
                where = (steps, width, begun, reverse != adjoint, adjoint)
                name = "linear_scan_pairs" if pairs else "linear_scan"
                kernel(name)(a, b, start, *where, y, size=width)
            return y

        def sgd(np: Any, p: Array, g: Array, lr: float) -> None:
            kernel("sgd")(p, g, lr, p)

        def sgd_momentum(
            np: Any, p: Array, g: Array, b: Array, lr: float, mu: float, keep: float, nesterov: bool
        ) -> None:
            kernel("sgd_momentum")(p, g, b, lr, mu, keep, nesterov, p, b)

        def adam(
            np: Any, p: Array, g: Array, m: Array, v: Array, largest: Any, *numbers: float
        ) -> None:
            if largest is None:
                kernel("adam")(p, g, m, v, *numbers, p, m, v)
            else:
                kernel("amsgrad")(p, g, m, v, largest, *numbers, p, m, v, largest)

        return {
            "cross_entropy": cross_entropy,
            "cross_entropy_backward": cross_entropy_backward,
            "linear_scan": linear_scan,
            "sgd": sgd,
            "sgd_momentum": sgd_momentum,
            "adam": adam,
        }
