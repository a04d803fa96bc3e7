"""Faults put into the derivation are noticed: each by the fixed cell that is known to show it.

``cd tests && python -m recurrence.mutations`` runs all of them on drawn cells.
"""

from __future__ import annotations

from functools import cache

import pytest

from .compare import MAKERS, Comparison
from .fixed_cells import FIXED
from .mutants import Mutation, listed
from .mutations import shown

MUTATIONS = listed()


@cache
def compared(name: str) -> Comparison:
    """A fixed cell unrolled, once for all."""
    return FIXED[name].compared()


@cache
def right(name: str, printer: str) -> bool:
    """Whether its loop is right as it is."""
    return shown(compared(name), printer) is False


@pytest.mark.parametrize(
    "mutation", [m for m in MUTATIONS if m.cell], ids=lambda m: f"{m.printer}: {m.name}"
)
def test_a_fault_is_noticed(mutation: Mutation) -> None:
    if mutation.printer not in MAKERS:
        pytest.skip("kernels are run as C, which needs gcc or cc")
    assert right(mutation.cell, mutation.printer)
    with mutation.applied():
        assert shown(compared(mutation.cell), mutation.printer)


def test_every_fault_has_its_place_in_the_source() -> None:
    """Also of those that change no result, and of those that only drawn cells show."""
    assert len({(m.printer, m.name, m.module) for m in MUTATIONS}) == len(MUTATIONS) > 100
    for mutation in MUTATIONS:
        if not mutation.cell:
            with mutation.applied():
                assert mutation.old != mutation.new
