"""When a buffer was last written, so that backward never uses an outdated value.

One clock numbers the recorded operations and the writes. A node whose saved array was written
after the node was recorded would compute a wrong gradient; backward raises instead. The record
is kept per memory owner, so a view and its base count as one.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from typing import Any

from ..backend import is_array
from ..backend.forks import in_forked_child

clock = itertools.count(1)
_writes: dict[int, tuple[weakref.ref[Any], int, int]] = {}  # id(owner): owner, time, how often
_last = 0
_writing = threading.RLock()  # the handler of a signal may write meanwhile


@in_forked_child
def _renew() -> None:
    global _writing
    _writing = threading.RLock()


def owner_of(array: Any) -> Any:
    """The array that owns the memory of ``array``."""
    while (base := array.base) is not None and is_array(base):
        array = base
    return array


def mark_written(array: Any) -> None:
    """Tell the engine that the values of ``array`` were changed in place.

    Whatever writes into a tensor's ``.data`` calls this afterwards (optimizers and
    ``load_state_dict`` do). A later backward that needs the old values raises. Call it
    too after writing into a NumPy array that was an operand: operands are not copied, indices and
    boolean masks are.

    Raises:
        TypeError: it is no array.
    """
    global _last
    if not is_array(array):
        raise TypeError(f"mark_written takes the array, t.data; got {type(array).__name__}")
    owner = owner_of(array)
    key = id(owner)
    with _writing:  # a stale time would let a stale value pass
        _last = next(clock)
        known = _writes.get(key)
        if known is None:
            ref = weakref.ref(owner, lambda _: _writes.pop(key, None))
            _writes[key] = ref, _last, 1
        else:
            _writes[key] = known[0], _last, known[2] + 1


def last_write() -> int:
    """When anything was last written."""
    return _last


def written_since(array: Any, time: int) -> bool:
    """Whether ``array`` was written in place after ``time``."""
    known = _writes.get(id(owner_of(array)))
    return known is not None and known[1] > time


def version(array: Any) -> int:
    """How often the memory of ``array`` was written in place."""
    known = _writes.get(id(owner_of(array)))
    return known[2] if known is not None else 0
