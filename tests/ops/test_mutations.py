"""Every rule of every primitive is spoilt in every way; the property tests' cases must notice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tinygrad_seq.autograd import Primitive
from tinygrad_seq.testing import Case, MutationReport, mutation_report

from .cases import cases_of
from .kinks import KINKS
from .table import DIFFERENTIABLE

DRAWN, CASES_EACH = 70, 50
REPORTS: dict[str, MutationReport] = {}


def draw_cases(name: str, primitive: Primitive) -> list[Case]:
    """The same cases every time, so that the figures can be compared, and the kinks."""
    drawn: list[Case] = []

    @seed(0)
    @settings(
        max_examples=DRAWN,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases_of(name, primitive))
    def collect(case):
        drawn.append(Case(*case))

    collect()
    # One of each kind, the last first: Hypothesis begins with the simplest, which tell the least.
    kinds = {(str([np.shape(x) for x in case.args]), str(case.kwargs)): case for case in drawn}
    return [*reversed(kinds.values())][:CASES_EACH] + KINKS.get(name, [])


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_every_mutant_is_caught(name):
    report = mutation_report(DIFFERENTIABLE[name], draw_cases(name, DIFFERENTIABLE[name]))
    REPORTS[name] = report
    reached = {mutant.partition(":")[0] for mutant in report.caught}
    assert reached >= {f"{name}.{argument}" for argument in DIFFERENTIABLE[name].rules}
    assert not report.survived, f"{report}; these survived:\n  " + "\n  ".join(report.survived)


def test_report(capsys):
    """The figures, with the mutants that are no mutants, to be read with `pytest -s`."""
    if not REPORTS:
        pytest.skip("run together with the tests above")
    caught = sum(len(report.caught) for report in REPORTS.values())
    survived = sum(len(report.survived) for report in REPORTS.values())
    equivalent = [name for report in REPORTS.values() for name in report.equivalent]
    with capsys.disabled():
        print(
            f"\nmutants of {len(REPORTS)} primitives: {caught} of {caught + survived} caught; "
            f"{len(equivalent)} equivalent"
        )
    print("equivalent:", *equivalent, sep="\n  ")
