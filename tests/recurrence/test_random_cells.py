"""The one property: a derived loop equals the cell unrolled, for cells drawn at random."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import assume, given, note, settings

from tinygrad_seq.recurrence.loop_text import Uncompiled
from tinygrad_seq.recurrence.record import Underivable

from .compare import EXACT, MAKERS
from .fixed_cells import FIXED
from .random_cells import Case, cases

EXAMPLES = settings.default.max_examples


def examine(case: Case, printer: str) -> None:
    """Fail if a loop of this cell differs from the cell."""
    note(repr(case))
    try:
        error = case.compared().error(MAKERS[printer])
    except (Uncompiled, Underivable) as reason:
        note(str(reason))
        assume(False)
    assert error < EXACT


SELDOM = ("kernels", "loops, large maps")  # drawn cells have no arrays larger than rows


@pytest.mark.parametrize("printer", [name for name in MAKERS if name not in SELDOM])
@settings(max_examples=2 * EXAMPLES)
@given(case=cases())
def test_derived_equals_unrolled(printer: str, case: Case) -> None:
    examine(case, printer)


@pytest.mark.parametrize("name", FIXED)
def test_fixed_cells(name: str) -> None:
    """Padded and reversed; as they are the mutants run them, and the kernels."""
    comparison = FIXED[name]._replace(masked=True, reverse=True).compared()
    assert comparison.error(MAKERS["numpy"]) < EXACT
    for printer in [name for name in MAKERS if name.startswith("loops")]:
        with suppress(Uncompiled):
            assert comparison.error(MAKERS[printer]) < EXACT


@pytest.mark.parametrize(
    "name",
    [
        "a condition on both sides of a product", "a condition for a whole row",
        "conditions of the input and of a parameter",
        "limits, a power, a variance, and a condition as a number",
        "a softmax of several planes, and its logarithm",
        "slots whose gates begin with the input",
        "slots of which each reads its own row of a parameter",
    ],
)  # fmt: skip
def test_what_is_compiled(name: str) -> None:
    MAKERS["loops"](FIXED[name].compared().program)


@pytest.mark.skipif("kernels" not in MAKERS, reason="kernels are run as C, which needs gcc or cc")
@settings(max_examples=EXAMPLES // 4)
@given(case=cases())
def test_derived_kernels_equal_unrolled(case: Case) -> None:
    """Fewer cells, since each kernel is compiled."""
    examine(case, "kernels")
