"""A process that watches a rank and reports how it ended.

A killed rank reports nothing, and MPICH then kills the other ranks before they can. Therefore

    mpiexec -n 4 python -m tinygrad_seq.parallel train.py

starts ``python train.py`` from a process that waits and reports what the rank recorded last.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from types import FrameType

_VARIABLE = "TINYGRAD_SEQ_RANK_LOG"
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>
_LAYOUT = struct.Struct("<qq")
LAUNCHERS = (  # environment variables for the rank and the number of ranks
    ("PMI_RANK", "PMI_SIZE"),  # MPICH, Intel MPI, MS-MPI, srun --mpi=pmi2
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),  # only srun sets the second
)
BEFORE, STARTING, INSIDE, TOLD, ENDED = range(5)
"""The life of a rank: before its team, as MPI starts, in its team, after a sentence, well ended."""


def place() -> tuple[int, int] | None:
    """This process's rank and the number of ranks, from the launcher; None without a launcher."""
    for rank, size in LAUNCHERS:
        if rank in os.environ and size in os.environ:
            return int(os.environ[rank]), int(os.environ[size])
    return None


class Log:
    """Records a rank's progress for the process that watches it; does nothing without one."""

    def __init__(self) -> None:
        self._file = int(os.environ.get(_VARIABLE, -1))
        self._parent = os.getppid()
        self._stage = BEFORE
        if self._file >= 0 and sys.platform == "linux":
            # A launcher kills the process that it started, which is the watching one.
            ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)

    def note(self, step: int, stage: int | None = None) -> None:
        """Record where the rank is now."""
        self._stage = self._stage if stage is None else stage
        if self._file >= 0:
            os.pwrite(self._file, _LAYOUT.pack(self._stage, step), 0)

    def watched(self) -> bool:
        """Whether the process that started this one is still running."""
        return os.getppid() == self._parent


def main(command: Sequence[str]) -> int:
    """Run ``python *command``, wait, and report how it ended if it could not do so itself."""
    if not command:
        print("usage: mpiexec -n 4 python -m tinygrad_seq.parallel train.py ...", file=sys.stderr)
        return 2
    with tempfile.TemporaryFile() as log:
        log.write(_LAYOUT.pack(BEFORE, 0))
        log.flush()
        os.set_inheritable(log.fileno(), True)
        environment = os.environ | {_VARIABLE: str(log.fileno())}
        # The launcher's own pipes must reach the child.
        rank = subprocess.Popen([sys.executable, *command], close_fds=False, env=environment)
        passed_on = []

        def pass_on(number: int, _: FrameType | None) -> None:
            passed_on.append(number)
            rank.send_signal(number)

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the rank gets it too, and reports it
        signal.signal(signal.SIGTERM, pass_on)
        status = rank.wait()
        stage, step = _LAYOUT.unpack(os.pread(log.fileno(), _LAYOUT.size, 0))
    where = place()
    if where is None or passed_on or stage in (TOLD, ENDED) or (stage == BEFORE and status == 0):
        return 128 - status if status < 0 else status
    print(_sentence(*where, stage, step, status), file=sys.stderr, flush=True)
    if stage == BEFORE:  # unless a signal ended the rank, MPICH lets the others wait for ever
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    return 128 - status if status < 0 else status or 1


def _sentence(rank: int, size: int, stage: int, step: int, status: int) -> str:
    if status < 0:
        how = f"was killed by {signal.Signals(-status).name}"
        if status == -signal.SIGKILL:
            how += " (out of memory?)"
    else:
        how = f"ended with status {status} and without a message"
    place = {BEFORE: "before its team began", STARTING: "as MPI started"}
    return (
        f"rank {rank} of {size} {how} {place.get(stage, f'at step {step}')}, which ends all ranks. "
        "The last checkpoint is unchanged: start again from it, on any number of ranks"
    )
