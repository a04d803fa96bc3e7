"""The pool of threads: who helps, and how the parts of a work are handed out.

Who shares and who helps meet in queues and dicts whose methods are C's: an interrupt comes before
or after one of them, never inside, so none can leave a lock held or a count wrong.
"""

from __future__ import annotations

import functools
import operator
import os
from _thread import start_new_thread
from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue

from . import blas
from .forks import in_forked_child

VARIABLES = ("TINYGRAD_SEQ_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
"""What says how many threads to use; the first that is set counts."""

_chosen: int | None = None
_limit: int | None = None


@functools.cache
def count() -> int:
    """How many threads to use, the calling one among them.

    As :func:`set_num_threads` or the environment says, else :func:`limit`, else one for each core.
    In the environment 0 leaves it open, and of "4,2" (OpenMP's levels of nesting) the first counts.

    Raises:
        ValueError: the environment says something else than a number.
    """
    if _chosen is not None:
        return _chosen
    for name in VARIABLES:
        given = os.environ.get(name)
        if given:
            number = given.split(",")[0].strip()
            if not number.isdecimal():
                raise ValueError(
                    f"{name} must be a number of threads, 0 for one on each core; got {given!r}"
                )
            if int(number):
                if name == VARIABLES[0]:  # the others OpenBLAS reads itself
                    blas.use_threads(int(number))
                return int(number)
            break
    return len(cores()) if _limit is None else _limit


def get_num_threads() -> int:
    """How many threads the library computes with."""
    return count()


def set_num_threads(number: int) -> None:
    """Let all that the library computes take so many threads, whatever the environment says.

    It holds for matrix products, compiled loops, losses and optimizers, and for NumPy's products
    outside of the library, where NumPy comes with OpenBLAS, as its wheels do.

    Args:
        number: At least 1; 1 computes in the calling thread alone.

    Raises:
        ValueError: the number is below 1.
        TypeError: it is no integer.
    """
    global _chosen
    if operator.index(number) < 1:
        raise ValueError(f"set_num_threads expects a number above 0; got {number}")
    _chosen = operator.index(number)
    count.cache_clear()
    blas.use_threads(_chosen)


def cores() -> set[int]:
    """The cores that this process may use, by number; one, where the system does not tell."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}


def limit(number: int) -> None:
    """Use so many threads from now on, unless the user or the environment says how many.

    Then NumPy's own products take so many too, where NumPy comes with OpenBLAS, as its wheels do.
    """
    global _limit
    _limit = number
    count.cache_clear()
    if count() == number:
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
        self.context = copy_context()  # a helper warns as the caller does: numpy.errstate
        self.bell: SimpleQueue[None] = SimpleQueue()  # rung after each entry in ``ended``

    def take(self) -> None:
        """Do the parts that nobody has claimed, in the calling thread."""
        for low in self.lows:
            if self.claims.setdefault(low, None) is None:
                self.work(low, min(low + self.lows.step, self.size))

    def help(self) -> None:
        """As :meth:`take`, in a helper: an error is kept for the calling thread."""
        me = object()  # not the thread: it may be asked twice
        context = self.context.copy()
        for low in self.lows:
            if self.claims.setdefault(low, me) is me:
                try:
                    context.run(self.work, low, min(low + self.lows.step, self.size))
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
