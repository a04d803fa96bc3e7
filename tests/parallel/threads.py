"""A double of MPI's communicator whose ranks are threads, as strict as MPI ought to be."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from tinygrad_seq.parallel.channel import Channel
from tinygrad_seq.parallel.team import Team


class Request:
    """Done once ``attempt`` says so; then it is not asked again."""

    def __init__(self, attempt: Callable[[], bool]) -> None:
        self._attempt, self._done = attempt, False

    def Test(self) -> bool:  # MPI's name
        self._done = self._done or self._attempt()
        return self._done


class World:
    """What the ranks share: letters from one to another, and what each gave to each collective."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.lock = threading.Lock()
        self.letters: dict[tuple[int, int], deque[bytes]] = defaultdict(deque)
        self.given: dict[int, dict[int, Any]] = defaultdict(dict)


class Comm:
    """The part of mpi4py's communicator that a channel uses."""

    def __init__(self, world: World, rank: int) -> None:
        self.world, self.rank, self.size = world, rank, world.size
        self._turn = 0  # collectives meet in their order

    def Isend(self, buffer: Any, dest: int) -> Request:
        with self.world.lock:
            self.world.letters[self.rank, dest].append(buffer.tobytes())
        return Request(lambda: True)

    def Irecv(self, buffer: Any, source: int) -> Request:
        def attempt() -> bool:
            with self.world.lock:
                waiting = self.world.letters[source, self.rank]
                letter = waiting.popleft() if waiting else None
            if letter is not None:
                assert len(letter) == buffer.nbytes, "message truncated"
                buffer[...] = np.frombuffer(letter, np.uint8)
            return letter is not None

        return Request(attempt)

    def Iallreduce(self, send: Any, receive: Any) -> Request:
        assert send.flags.c_contiguous
        assert receive.flags.c_contiguous
        assert send.dtype.char in "fd", f"no sum of {send.dtype}"
        assert not np.shares_memory(send, receive)

        def finish(parts: list[Any]) -> None:
            assert len({(p.shape, p.dtype) for p in parts}) == 1, "arrays of different sizes"
            receive[...] = sum(parts[1:], parts[0])

        return self._together(send.copy(), finish)

    def Iallgatherv(self, send: Any, receive: list[Any]) -> Request:
        buffer, sizes = receive

        def finish(parts: list[Any]) -> None:
            assert [p.size for p in parts] == list(sizes), "message truncated"
            buffer[...] = np.concatenate(parts)

        return self._together(send.copy(), finish)

    def _together(self, part: Any, finish: Callable[[list[Any]], None]) -> Request:
        turn, self._turn = self._turn, self._turn + 1
        with self.world.lock:
            self.world.given[turn][self.rank] = part

        def attempt() -> bool:
            with self.world.lock:
                given = dict(self.world.given[turn])
            if len(given) < self.size:
                return False
            finish([given[rank] for rank in range(self.size)])
            return True

        return Request(attempt)


def together(size: int, program: Callable[[Team], Any], timeout: float = 60.0) -> list[Any]:
    """What ``program(team)`` gives, or raises, on every rank."""
    world = World(size)
    results: list[Any] = [None] * size
    log = SimpleNamespace(note=lambda *_: None, watched=lambda: True)

    def live(rank: int) -> None:
        try:
            results[rank] = program(Team(Channel(Comm(world, rank), timeout, log)))
        except BaseException as error:
            results[rank] = error

    ranks = [threading.Thread(target=live, args=(rank,)) for rank in range(size)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    return results
