"""Starts and ends a team."""

from __future__ import annotations

import faulthandler
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from ..backend import current, threads
from .channel import Channel, TeamError
from .team import Team
from .watch import ENDED, INSIDE, STARTING, TOLD, Log, place

_INSTALL = "pip install mpi4py mpich"

_FORWARDING = 0.3
"""Seconds for the launcher to pass on what was said: MPICH's drops the rest when it ends all."""

_START = 60.0
"""Seconds that MPI has to start, at least: machines are woken, libraries are read."""


@contextmanager
def team(timeout: float = 300.0, nccl: bool = False) -> Iterator[Team]:
    """The team of all processes that a launcher started; without a launcher, this process.

        with parallel.team() as team:
            ...

    All ranks must leave the block after the same steps. Any failure of one rank (it raises, leaves
    early, is at another step, does not answer) ends all ranks, with a message on standard error and
    a non-zero exit status. The cores of a machine are divided among its ranks, unless
    TINYGRAD_SEQ_THREADS, OPENBLAS_NUM_THREADS or OMP_NUM_THREADS is set. If the backend is CuPy,
    each rank of a machine uses its own GPU.

    Args:
        timeout: Seconds that a rank waits for the others before it ends all. It must be longer than
            any work of a single rank, for example an evaluation on rank 0.
        nccl: Sum gradients on GPUs with NCCL instead of through the host. Not yet run on a GPU.

    Yields:
        The :class:`Team`.

    Raises:
        RuntimeError: A launcher started the process but MPI cannot be used: mpi4py is missing, or
            it uses another MPI than the launcher.
        ValueError: ``timeout`` is not above 0.
    """
    if not timeout > 0:
        raise ValueError(f"a timeout is a number of seconds above 0; got {timeout!r}")
    where = place()
    if where is None or where[1] == 1:
        yield Team()
        return
    log = Log()
    comm = _world(where[1], timeout, log)
    device = _settle(comm, nccl)
    channel = Channel(comm.Dup(), timeout, log)
    log.note(0, INSIDE)
    members = Team(channel, device)
    try:
        try:
            yield members
        except SystemExit as leaving:
            if leaving.code:
                raise
        channel.lines("end")
    except BaseException as error:
        _end_all(comm, channel, error, log)
    log.note(channel.step, ENDED)


def _world(size: int, timeout: float, log: Log) -> Any:
    """The communicator of all processes that the launcher started."""
    log.note(0, STARTING)
    # MPI starts when all ranks have arrived, and waits for them without a limit.
    faulthandler.dump_traceback_later(max(timeout, _START), exit=True, file=2)
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise RuntimeError(
            f"a launcher started {size} of these processes, but mpi4py or an MPI library cannot be "
            f"imported ({error}): {_INSTALL}"
        ) from error
    finally:
        faulthandler.cancel_dump_traceback_later()
    if MPI.COMM_WORLD.size != size:
        raise RuntimeError(
            f"the launcher started {size} processes, but the MPI library that mpi4py found "
            f"({MPI.Get_library_version().splitlines()[0].strip()}) sees {MPI.COMM_WORLD.size}: "
            "launch with the mpiexec of that library, or install mpi4py for the launcher's"
        )
    return MPI.COMM_WORLD


def _settle(comm: Any, nccl: bool) -> Any:
    """Divide the cores and GPUs of a machine among its ranks; returns how GPU arrays are summed."""
    from mpi4py import MPI

    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    cores = node.allgather(threads.cores())
    threads.limit(fair_share(cores, node.rank))
    backend = current()
    backend.use_device(node.rank)
    return backend.joint_sum(comm.rank, comm.size, comm.bcast) if nccl else None


def fair_share(cores: list[set[int]], rank: int) -> int:
    """The number of cores of a rank; a core shared by k ranks counts 1/k.

    A launcher may already have bound each rank to its own cores.
    """
    parts = sum(1 / sum(core in other for other in cores) for core in cores[rank])
    return max(1, int(parts + 1e-9))


def _end_all(comm: Any, channel: Channel, error: BaseException, log: Log) -> NoReturn:
    """Report what happened and end every rank; if several noticed it, the first one reports."""
    time.sleep(0.5 * min(channel.rank, 4))
    status = 1
    if isinstance(error, KeyboardInterrupt):
        status, what = 130, "was interrupted"
    elif isinstance(error, SystemExit):
        status, what = error.code if isinstance(error.code, int) else 1, f"left ({error.code})"
    elif isinstance(error, TeamError):
        what = f"stopped: {error}"
    else:
        traceback.print_exception(error)
        what = f"failed: {type(error).__name__}: {error}"
    print(
        f"rank {channel.rank} of {channel.size} {what.rstrip('.')}. This ends all ranks at step "
        f"{channel.step}; the last checkpoint is unchanged: start again from it",
        file=sys.stderr,
    )
    log.note(channel.step, TOLD)
    sys.stdout.flush()
    sys.stderr.flush()
    time.sleep(_FORWARDING)
    comm.Abort(status)
    os._exit(status)  # MPICH may return before its launcher ends this process
