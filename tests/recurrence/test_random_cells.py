"""The one property: a derived loop equals the cell unrolled, for cells drawn at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from device.fake_kernels import COMPILER, on_host
from hypothesis import assume, given, note
from hypothesis import strategies as st

from tinygrad_seq.recurrence.compiled import Compiled
from tinygrad_seq.recurrence.print_loops import Uncompiled
from tinygrad_seq.recurrence.record import Underivable
from tinygrad_seq.recurrence.scan import Scan
from tinygrad_seq.recurrence.scan_cuda import CudaScan

from .compare import Sequences, largest_error
from .plain_machine import PlainMachine
from .random_cells import RandomCell, cells

EXACT = 1e-12

MAKERS = {
    "numpy": Scan,
    "loops": lambda plan: Compiled(plan, PlainMachine()),
    "kernels": lambda plan: CudaScan(plan, on_host),
    "loops, planes apart": lambda plan: Compiled(plan, PlainMachine(sideways=True)),
}


def error_for(drawn: RandomCell, seed: int, printer: str, masked: bool, reverse: bool) -> float:
    """The error of one printer on a drawn cell."""
    cell, _ = drawn.built(seed)
    sequences = Sequences(seed, 4, 3, drawn.inputs, drawn.states, masked)
    return largest_error(cell, sequences, MAKERS[printer], reverse)


@pytest.mark.parametrize("printer", MAKERS)
@given(drawn=cells(), seed=st.integers(0, 999), masked=st.booleans(), reverse=st.booleans())
def test_derived_equals_unrolled(
    printer: str, drawn: RandomCell, seed: int, masked: bool, reverse: bool
) -> None:
    if printer == "kernels" and COMPILER is None:
        pytest.skip("kernels are run as C, which needs gcc or cc")
    note(repr(drawn))
    try:
        with np.errstate(all="ignore"):
            error = error_for(drawn, seed, printer, masked, reverse)
    except (Uncompiled, Underivable) as reason:
        note(str(reason))
        assume(False)
    assert error < EXACT
