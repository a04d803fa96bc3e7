"""The mean gradient of all ranks: one flat sum for each dtype."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np

from ..backend import Array, backend_of, xp
from ..tensor import Tensor
from .channel import Channel

Sum: TypeAlias = Callable[[Array], Array]
"""Σ over the ranks of an array on a device, without the way through the host."""


def average(
    channel: Channel, params: Sequence[Tensor], count: float, data: int, device_sum: Sum | None
) -> None:
    """g ← Σ_r n_r g_r / Σ_r n_r in every ``.grad``, where n_r is ``count`` on rank r."""
    form = [f"{p.name or ''}{p.shape} {p.dtype}" for p in params]
    has = np.array([count > 0 and p.grad is not None for p in params], bool)
    lines = channel.lines(
        "average", form=form, data=data, extra=zlib.crc32(has.tobytes()), count=count
    )
    if (lines["extra"] != lines["extra"][0]).any():  # some ranks have gradients that others lack
        has = np.any([np.frombuffer(b, bool) for b in channel.collect("average", has.tobytes())], 0)
    share = count / sum(lines["count"].tolist()) if has.any() else 0.0
    groups: dict[tuple[str, str], list[Tensor]] = {}
    for p, somewhere in zip(params, has, strict=True):
        if somewhere:
            groups.setdefault((p.backend, str(p.dtype)), []).append(p)
        else:
            p.grad = None
    for group in groups.values():
        _average_group(channel, group, share, device_sum)


def _average_group(
    channel: Channel, group: Sequence[Tensor], share: float, device_sum: Sum | None
) -> None:
    """The same for parameters of one dtype on one backend."""
    first, np_ = group[0], xp(group[0].data)
    backend = backend_of(first.data)
    wide = np.promote_types(first.dtype, np.float32)  # half precision has no sum in MPI
    flat = np_.concatenate([_gradient(p, share).reshape(-1) for p in group]).astype(wide)
    flat *= share
    if backend.name == "numpy":
        flat = channel.sum(flat)
    elif device_sum is not None:
        flat = device_sum(flat)
    else:
        flat = backend.from_host(channel.sum(backend.to_host(flat)))
    flat, start = flat.astype(first.dtype, copy=False), 0
    for p in group:
        p.grad = Tensor._wrap(flat[start : start + p.size].reshape(p.shape))
        start += p.size


def _gradient(p: Tensor, share: float) -> Array:
    """The gradient on this rank; zeros if it has none or its count is 0."""
    return xp(p.data).zeros_like(p.data) if p.grad is None or not share else p.grad.data


def listed(parameters: Iterable[Tensor]) -> list[Tensor]:
    """The parameters that require grad.

    Raises:
        TypeError: they are a module or not tensors.
    """
    if hasattr(parameters, "parameters"):
        raise TypeError("average takes parameters: pass model.parameters()")
    params = list(parameters)
    for p in params:
        if not isinstance(p, Tensor):
            raise TypeError(f"average takes Tensors; got {type(p).__name__} among the parameters")
    return [p for p in params if p.requires_grad]
