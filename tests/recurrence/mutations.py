"""Test the test: put faults into the derivation, and see whether cells notice them.

Each mutant runs on the fixed cells and on drawn ones, those of the property test in its order, and
is asked for the first two steps as the library's own check at first use would ask it:
``python -m recurrence.mutations``. That check is not in force meanwhile.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings

from tinygrad_seq.recurrence import trust
from tinygrad_seq.recurrence.loop_text import Uncompiled
from tinygrad_seq.recurrence.record import Underivable

from .compare import EXACT, MAKERS, Comparison
from .fixed_cells import FIXED
from .mutants import Mutation, listed
from .random_cells import Case, cases


def shown(comparison: Comparison, printer: str) -> bool | None:
    """Whether a loop is wrong or fails; None if this cell has no loop of the kind."""
    try:
        return not comparison.error(MAKERS[printer]) < EXACT
    except Uncompiled:
        return None
    except Exception:  # a mutant may fail in any way
        return True


def drawn(count: int, start: int) -> list[Case]:
    """Cells of the property test."""
    found: list[Case] = []

    @seed(start)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found


class Verdict(NamedTuple):
    """What became of a mutant.

    Attributes:
        fixed: The first fixed cell that shows it, or nothing.
        drawn: The number of the first drawn cell that shows it, or None.
        noticed: Whether the library's own check notices it in a cell that shows it.
    """

    fixed: str
    drawn: int | None
    noticed: bool


def verdict(
    mutation: Mutation, fixed: dict[str, Comparison], others: list[Comparison], right: list[int]
) -> Verdict:
    """Run a mutant, on drawn cells whose loop is right without it."""
    with mutation.applied():
        name = next((n for n, c in fixed.items() if shown(c, mutation.printer)), "")
        number = next((k for k in right if shown(others[k], mutation.printer)), None)
        showing = [fixed[name]] if name else []
        showing += [] if number is None else [others[number]]
        return Verdict(name, number, any(noticed(c, mutation.printer) for c in showing))


def noticed(comparison: Comparison, printer: str) -> bool:
    """Whether two steps, compared as at first use, differ."""
    try:
        scan = MAKERS[printer](comparison.program)
        return trust.error_of(scan, comparison.first_use())[1] is not None
    except Exception:
        return True


def main() -> int:
    """The number of mutants that are not what the list says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutations whose name has one of these")
    parser.add_argument("--drawn", type=int, default=200, help="so many cells are drawn")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    fixed = {name: case.compared() for name, case in FIXED.items()}
    others = []
    for case in drawn(options.drawn, options.seed):
        try:
            others.append(case.compared())
        except Underivable:
            continue
    right = {
        printer: [k for k, c in enumerate(others) if shown(c, printer) is False]
        for printer in MAKERS
    }
    counts = dict.fromkeys(["caught", "of", "by drawn cells", "by the check", "equivalent"], 0)
    wrong = 0
    for mutation in listed():
        if options.words and not any(word in mutation.name for word in options.words):
            continue
        if mutation.printer not in MAKERS:
            print(f"not run: {mutation.printer}: {mutation.name}: no compiler")
            continue
        found = verdict(mutation, fixed, others, right[mutation.printer])
        caught = bool(found.fixed) or found.drawn is not None
        wrong += caught == bool(mutation.equivalent)
        counts["equivalent"] += bool(mutation.equivalent)
        counts["of"] += not mutation.equivalent
        counts["caught"] += caught
        counts["by drawn cells"] += found.drawn is not None
        counts["by the check"] += found.noticed
        number = "-" if found.drawn is None else found.drawn
        check = "check" if found.noticed else "-"
        print(f"{number:>5}  {check:5}  {mutation.printer}: {mutation.name}  [{found.fixed}]")
        sys.stdout.flush()
    print(", ".join(f"{name} {count}" for name, count in counts.items()))
    return wrong


if __name__ == "__main__":
    sys.exit(main())
