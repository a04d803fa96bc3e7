"""Sums over the GPUs of several processes with NCCL. Not yet run on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..base import Array


def joint_sum(
    cupy: Any, rank: int, size: int, hand_round: Callable[[Any], Any]
) -> Callable[[Array], Array]:
    """A function that sums the arrays with which the ranks call it.

    Args:
        cupy: The module.
        rank: The number of this process.
        size: The number of processes; each needs its own GPU.
        hand_round: Returns on every rank its argument on rank 0, the id of the communicator.

    Raises:
        RuntimeError: CuPy finds no NCCL.
    """
    nccl = cupy.cuda.nccl
    if not getattr(nccl, "available", False):
        raise RuntimeError(
            "CuPy finds no NCCL: pip install nvidia-nccl-cu12 (or cu13), or nccl=False"
        )
    key = hand_round(nccl.get_unique_id() if rank == 0 else None)
    comm = nccl.NcclCommunicator(size, key, rank)
    types = {"e": nccl.NCCL_FLOAT16, "f": nccl.NCCL_FLOAT32, "d": nccl.NCCL_FLOAT64}

    def total(array: Any) -> Array:
        out = cupy.empty_like(array)
        stream = cupy.cuda.get_current_stream()
        pointers = array.data.ptr, out.data.ptr, array.size
        comm.allReduce(*pointers, types[array.dtype.char], nccl.NCCL_SUM, stream.ptr)
        return out

    return total
