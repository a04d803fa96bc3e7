"""The pool of threads: starts helpers and distributes the parts of a piece of work.

Callers and helpers communicate through queues and dicts with methods in C. An interrupt comes
before or after such a method, never inside it, so it cannot leave a lock held or a count wrong.
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
    """The number of threads to use, including the calling one.

    It is set by :func:`set_num_threads` or the environment, else by :func:`limit`; default: cores.
    In the environment 0 means unset, and of "4,2" (OpenMP's levels of nesting) the first counts.

    Raises:
        ValueError: the environment variable is not a number.
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
                if name == VARIABLES[0]:  # OpenBLAS reads the other variables itself
                    blas.use_threads(int(number))
                return int(number)
            break
    return len(cores()) if _limit is None else _limit


def get_num_threads() -> int:
    """The number of threads that the library computes with."""
    return count()


def set_num_threads(number: int) -> None:
    """Set the number of threads that the library computes with; overrides the environment.

    It holds for matrix products, compiled loops, losses and optimizers, and for NumPy's products
    outside the library if NumPy uses OpenBLAS, as its wheels do.

    Args:
        number: At least 1; with 1 only the calling thread computes.

    Raises:
        ValueError: the number is below 1.
        TypeError: it is not an integer.
    """
    global _chosen
    if operator.index(number) < 1:
        raise ValueError(f"set_num_threads expects a number above 0; got {number}")
    _chosen = operator.index(number)
    count.cache_clear()
    blas.use_threads(_chosen)


def cores() -> set[int]:
    """The cores that this process may use; one core if the system does not say."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}


def limit(number: int) -> None:
    """Set the number of threads, unless the user or the environment has set it.

    NumPy's own products then use this number too, if NumPy uses OpenBLAS, as its wheels do.
    """
    global _limit
    _limit = number
    count.cache_clear()
    if count() == number:
        blas.use_threads(number)


def share(size: int, least: int) -> int:
    """How many of ``size`` items each thread takes, but at least ``least``."""
    return -(-size // max(1, min(count(), size // max(least, 1))))


def at_once(work: Callable[[int, int], object], size: int, each: int) -> None:
    """Run ``work(low, high)`` for parts of ``range(size)`` of at most ``each``, in parallel.

    A free thread takes the next part, and so does the calling thread. If no other thread is
    available (the program ends, or has too many), it does all parts. ``work`` must hold no lock,
    and its calls must write to separate places.
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
            shared.wait()  # an interrupt may have ended the first call
            shared.work = _nothing  # a late helper keeps no arrays alive
    for error in shared.ended.values():
        if error is not None:
            raise error


class _Shared:
    """A piece of work in parts; the first thread that claims a part does it."""

    def __init__(self, work: Callable[[int, int], object], size: int, each: int) -> None:
        self.work = work
        self.size = size
        self.lows = range(0, size, each)
        self.claims: dict[int, object] = {}  # part -> the helper that does it; None for the caller
        self.ended: dict[int, BaseException | None] = {}  # part of a helper -> its error
        self.context = copy_context()  # helpers use the caller's numpy.errstate
        self.bell: SimpleQueue[None] = SimpleQueue()  # set after each entry in ``ended``

    def take(self) -> None:
        """Do the unclaimed parts in the calling thread."""
        for low in self.lows:
            if self.claims.setdefault(low, None) is None:
                self.work(low, min(low + self.lows.step, self.size))

    def help(self) -> None:
        """Like :meth:`take`, in a helper; an error is kept for the calling thread."""
        me = object()  # not the thread: it may be called twice
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
        """Wait until helpers have finished the parts they began; no new part begins."""
        theirs = {low for low in self.lows if self.claims.setdefault(low, None) is not None}
        while not self.ended.keys() >= theirs:
            self.bell.get()


def _nothing(low: int, high: int) -> None:
    """What a helper runs if the work is already done."""


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
    """The loop of a helper thread, until the process ends."""
    while True:
        asked.get().help()


@in_forked_child
def _forget_helpers() -> None:
    global _asked, _helpers
    _asked, _helpers = SimpleQueue(), 0
