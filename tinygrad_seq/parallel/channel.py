"""Messages between the ranks. Every wait has a time limit.

Before each exchange every rank sends every other rank a *line* of fixed size: what it will do, at
which step, with which parameters. If the lines differ, all ranks raise the same error, before data
of different sizes can meet.
"""

from __future__ import annotations

import pickle
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .watch import Log

LINE = np.dtype(
    [
        ("task", "S16"),
        ("step", "i8"),
        ("form", "u4"),  # checksum of the names, shapes and dtypes of the task
        ("data", "u4"),  # checksum of the batches read since the last step
        ("extra", "u4"),  # other values that the task compares
        ("count", "f8"),
        ("value", "f8"),
        ("size", "i8"),  # of the bytes sent next
    ]
)
_SAYS = {
    "average": "averages gradients",
    "end": "has ended",
    "gather": "gathers",
    "lost": "waits for a sum",
    "mean": "takes a mean",
    "restore": "restores a checkpoint",
    "save": "saves a checkpoint",
    "share": "shares a model",
}
_PATIENCE = 0.01
"""Seconds after which a rank that waits for others begins to sleep between looks."""


class TeamError(RuntimeError):
    """The ranks of a team do different things, or one does not answer."""


class Channel:
    """Lines, sums and bytes between the ranks.

    Args:
        comm: A communicator with mpi4py's methods, used only by this channel.
        timeout: Seconds to wait for another rank.
        log: Records each step.

    Attributes:
        step: Counted by the team, and part of every line and error.
    """

    def __init__(self, comm: Any, timeout: float, log: Log) -> None:
        self.rank: int = comm.rank
        self.size: int = comm.size
        self.step = 0
        self._comm = comm
        self._timeout = timeout
        self._log = log
        self._heard = [0] * self.size  # the last step that each rank reported

    def lines(self, task: str, form: Sequence[str] = (), **fields: Any) -> NDArray[Any]:
        """Send this rank's line and receive all lines, in the order of the ranks.

        Raises:
            TeamError: the ranks do different things, or one did not answer in time.
        """
        lines = self._exchange(task, form=_crc(form), **fields)
        self._heard = lines["step"].tolist()
        self._compare(lines)
        if _differ(lines["form"]):
            self._explain(task, form)
        return lines

    def sum(self, array: NDArray[Any]) -> NDArray[Any]:
        """Σ over the ranks; lines have checked that size and dtype are equal."""
        total = np.empty_like(array)
        try:
            self._wait({0: self._comm.Iallreduce(array, total)})
        except _Late:
            raise self._lost() from None
        return total

    def collect(self, task: str, payload: bytes) -> list[bytes]:
        """The bytes of each rank, of any sizes, in the order of the ranks."""
        sizes = self.lines(task, size=len(payload))["size"].tolist()
        parts = np.empty(sum(sizes), np.uint8)
        mine = np.frombuffer(payload, np.uint8)
        try:
            self._wait({0: self._comm.Iallgatherv(mine, [parts, sizes])})
        except _Late:
            raise self._lost() from None
        return [part.tobytes() for part in np.split(parts, np.cumsum(sizes)[:-1])]

    # -- waiting --------------------------------------------------------------------------------

    def _exchange(self, task: str, timeout: float | None = None, **fields: Any) -> NDArray[Any]:
        self._log.note(self.step)
        lines = np.zeros(self.size, LINE)
        mine = lines[self.rank : self.rank + 1]
        mine["task"], mine["step"] = task.encode(), self.step
        for name, value in fields.items():
            mine[name] = value
        others = [rank for rank in range(self.size) if rank != self.rank]
        places = {rank: lines[rank : rank + 1].view(np.uint8) for rank in others}
        coming = {rank: self._comm.Irecv(place, rank) for rank, place in places.items()}
        going = {rank: self._comm.Isend(mine.view(np.uint8), rank) for rank in others}
        try:
            self._wait(coming, patient=True, timeout=timeout)
            self._wait(going, timeout=timeout)
        except _Late as late:
            raise TeamError(self._missing(late.pending, task)) from None
        return lines

    def _wait(
        self, requests: Mapping[int, Any], patient: bool = False, timeout: float | None = None
    ) -> None:
        """Poll until all requests are done, yielding the core in between.

        With ``patient`` a long wait sleeps, because other ranks may need the core. A sum must not
        sleep: MPI continues it only while it is polled.
        """
        limit = self._timeout if timeout is None else timeout
        began, pending = time.monotonic(), list(requests.items())
        while pending := [(rank, request) for rank, request in pending if not request.Test()]:
            if not self._log.watched():
                raise TeamError("the process that watched this rank has ended")
            passed = time.monotonic() - began
            if passed > limit:
                raise _Late([rank for rank, _ in pending])
            time.sleep(0.001 if patient and passed > _PATIENCE else 0)

    def _missing(self, ranks: Sequence[int], task: str) -> str:
        steps = sorted({self._heard[rank] for rank in ranks})
        return (
            f"{_named(ranks)} did not answer at step {self.step} in {self._timeout:g} s, where the "
            f"others {_plural(task)} (last heard of at step {_listed(steps)}): stuck, stopped, or "
            "at work that the others do not share; look there, or give team() a longer timeout"
        )

    def _lost(self) -> TeamError:
        """Find the missing ranks after a sum that did not end; the other ranks do the same."""
        try:
            self._exchange("lost", timeout=min(2.0, self._timeout))
        except TeamError as error:
            return error
        return TeamError(f"a sum at step {self.step} did not end in {self._timeout:g} s")

    # -- finding out ----------------------------------------------------------------------------

    def _compare(self, lines: NDArray[Any]) -> None:
        doing = [(line["task"].decode(), int(line["step"])) for line in lines]
        if len(set(doing)) > 1:
            said = "; ".join(
                f"{_named(ranks)} {_plural(task) if len(ranks) > 1 else _SAYS[task]} "
                f"{'after' if task == 'end' else 'at'} step {step}"
                for (task, step), ranks in _grouped(doing).items()
            )
            raise TeamError(
                f"the ranks do not do the same: {said}. Run the same program on every rank, with "
                "the same number of batches: loop over team.shard(batches)"
            )
        if _differ(lines["data"]):
            groups = " / ".join(
                _named(ranks) for ranks in _grouped(lines["data"].tolist()).values()
            )
            raise TeamError(
                f"the ranks have read different batches by step {self.step} ({groups}): "
                "team.shard() needs the same global batches on every rank. Seed their order, or "
                "make them before team.share(), after which random numbers differ"
            )

    def _explain(self, task: str, form: Sequence[str]) -> None:
        """Raise, naming the first entry in which a rank differs from rank 0."""
        forms = [pickle.loads(b) for b in self.collect(task, pickle.dumps(tuple(form)))]
        rank = next(r for r, other in enumerate(forms) if other != forms[0])
        odd = [
            f"{theirs or 'nothing'} where rank 0 has {ours or 'nothing'}"
            for ours, theirs in zip_longest(forms[0], forms[rank])
            if ours != theirs
        ]
        raise TeamError(
            f"rank {rank} {_SAYS[task]} at step {self.step} with {odd[0]}"
            f"{f' ({len(odd)} differences)' if len(odd) > 1 else ''}: build the same model on "
            "every rank"
        )


class _Late(Exception):
    """The time limit passed before these ranks answered."""

    def __init__(self, pending: list[int]) -> None:
        self.pending = pending


def _crc(form: Iterable[str]) -> int:
    return zlib.crc32("\n".join(form).encode())


def _differ(column: NDArray[Any]) -> bool:
    return bool((column != column[0]).any())


def _grouped(values: Sequence[Any]) -> dict[Any, list[int]]:
    """The ranks grouped by value."""
    groups: dict[Any, list[int]] = {}
    for rank, value in enumerate(values):
        groups.setdefault(value, []).append(rank)
    return groups


def _named(ranks: Sequence[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {_listed(ranks)}"


def _plural(task: str) -> str:
    verb, *rest = _SAYS[task].split(" ")
    return " ".join(["have" if verb == "has" else verb.removesuffix("s"), *rest])


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
