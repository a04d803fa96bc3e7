"""Adding to ``.grad``: all tensors get their gradients, or at an error or interrupt none."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from itertools import repeat
from typing import Any

from ..backend.forks import in_forked_child
from .graph import Variable

_depositing = threading.RLock()  # the handler of a signal may call backward meanwhile
_deposits = 0


@in_forked_child
def _renew() -> None:
    global _depositing
    _depositing = threading.RLock()


def deposit(tensors: Sequence[Variable], gradients: Sequence[Any]) -> None:
    """Add each gradient to the ``.grad`` of its tensor."""
    global _deposits
    with _depositing:  # threads may share leaves
        while True:
            start = _deposits
            olds = [tensor._grad for tensor in tensors]
            sums = [g if o is None else o + g for o, g in zip(olds, gradients, strict=True)]
            assign = map(setattr, tensors, repeat("_grad"), sums)
            if _deposits == start:  # else the handler of a signal has deposited meanwhile
                deque(assign, 0)  # in C: signals are looked for before and after it, not inside
                _deposits += 1
                return
