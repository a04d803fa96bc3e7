"""Sharing work between threads: compiled loops and matrix products, which hold no lock.

Who shares and who helps meet in queues and dicts whose methods are C's: an interrupt comes before
or after one of them, never inside, so none can leave a lock held or a count wrong.
"""

from __future__ import annotations

import functools
import os
from _thread import start_new_thread
from collections.abc import Callable
from queue import SimpleQueue

from . import blas
from .forks import in_forked_child

VARIABLES = ("TINYGRAD_SEQ_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
"""What says how many threads to use; the first that is set counts."""

_limit: int | None = None


@functools.cache
def count() -> int:
    """How many threads to use: as the environment says, or :func:`limit`, or one for each core.

    Raises:
        ValueError: the environment says something else than a number above 0.
    """
    for name in VARIABLES:
        given = os.environ.get(name)
        if given:
            if not given.isdecimal() or int(given) < 1:
                raise ValueError(f"{name} must be a number above 0; got {given!r}")
            return int(given)
    return len(cores()) if _limit is None else _limit


def cores() -> set[int]:
    """The cores that this process may use, by number; one, where the system does not tell."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}


def limit(number: int) -> None:
    """Use so many threads from now on, NumPy's products too, unless the environment says how many.

    Of NumPy's products it is told OpenBLAS, which NumPy's own wheels come with.
    """
    global _limit
    if any(os.environ.get(name) for name in VARIABLES):
        return
    _limit = number
    count.cache_clear()
    blas.use_threads(number)


def share(size: int, least: int) -> int:
    """How many of ``size`` each thread takes, where fewer than ``least`` are not worth one."""
    return -(-size // max(1, min(count(), size // max(least, 1))))


def at_once(work: Callable[[int, int], object], size: int, each: int) -> None:
    """``work(low, high)`` for the parts of ``range(size)``, of ``each`` or fewer, at one time.

    Whoever is free takes the next part, the calling thread too: where no other thread is to be had
    (the program ends, or has too many), it takes all. ``work`` must hold no lock and write to
    places of its own.
    """
    if each >= size:
        work(0, size)
        return
    shared = _Shared(work, size, each)
    try:
        _ask_for_help(shared, min(len(shared.lows), count()) - 1)
        shared.take()
    finally:
        try:
            shared.wait()
        finally:
            shared.wait()  # an interrupt may have ended the first
            shared.work = _nothing  # a helper that comes late keeps no arrays alive
    for error in shared.ended.values():
        if error is not None:
            raise error


class _Shared:
    """A piece of work in parts, each done by the one who is the first to claim it."""

    def __init__(self, work: Callable[[int, int], object], size: int, each: int) -> None:
        self.work = work
        self.size = size
        self.lows = range(0, size, each)
        self.claims: dict[int, object] = {}  # part -> the helper that does it, None the caller
        self.ended: dict[int, BaseException | None] = {}  # part of a helper -> its error
        self.bell: SimpleQueue[None] = SimpleQueue()  # rung after each entry in ``ended``

    def take(self) -> None:
        """Do the parts that nobody has claimed, in the calling thread."""
        for low in self.lows:
            if self.claims.setdefault(low, None) is None:
                self.work(low, min(low + self.lows.step, self.size))

    def help(self) -> None:
        """As :meth:`take`, in a helper: an error is kept for the calling thread."""
        me = object()  # not the thread: it may be asked twice
        for low in self.lows:
            if self.claims.setdefault(low, me) is me:
                try:
                    self.work(low, min(low + self.lows.step, self.size))
                except BaseException as error:
                    self.ended[low] = error
                else:
                    self.ended[low] = None
                self.bell.put(None)

    def wait(self) -> None:
        """Until helpers have ended what they began; what is not begun by now never will be."""
        theirs = {low for low in self.lows if self.claims.setdefault(low, None) is not None}
        while not self.ended.keys() >= theirs:
            self.bell.get()


def _nothing(low: int, high: int) -> None:
    """What a helper finds where the work is done."""


_asked: SimpleQueue[_Shared] = SimpleQueue()
_helpers = 0


def _ask_for_help(shared: _Shared, number: int) -> None:
    global _helpers
    while _helpers < number:
        try:
            start_new_thread(_help, (_asked,))
        except RuntimeError:
            break
        _helpers += 1
    for _ in range(min(number, _helpers)):
        _asked.put(shared)


def _help(asked: SimpleQueue[_Shared]) -> None:
    """The life of a helper; the end of the process ends it."""
    while True:
        asked.get().help()


@in_forked_child
def _forget_helpers() -> None:
    global _asked, _helpers
    _asked, _helpers = SimpleQueue(), 0
