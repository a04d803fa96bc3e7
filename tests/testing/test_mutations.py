"""Mutants are installed, judged and removed again."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from tinygrad_seq.autograd import Primitive
from tinygrad_seq.testing import Case, GradientError, mutants, mutation_report

X = np.random.default_rng(1).uniform(0.5, 2.0, (2, 2))
W = np.random.default_rng(2).uniform(0.5, 2.0, (2, 2))


def blend(a, b, /):
    """y = a² b + a."""
    return a * a * b + a


def plus(a, b, /):
    """y = a + b."""
    return a + b


def make(forward, **rules):
    made = Primitive(forward)
    made.defvjp(**rules)
    return made


blended = make(blend, a=lambda g, a, b: g * (2 * a * b + 1), b=lambda g, a: g * a * a)
added = make(plus, a=lambda g: g, b=lambda g: g)


def test_mutants_are_many_and_named():
    names = [mutant.name for mutant in mutants(blended)]
    assert len(names) == len(set(names))
    for part in [
        "blend.a: sign",
        "blend.b: axes exchanged",
        "blend.a: b moved by 1%",
        "blend: rules of a and b exchanged",
        "blend.a: `2 * a * b + 1` became `2 * a * b`",
        "blend.a: `2` became `3`",
    ]:
        assert any(name.startswith(part) for name in names)


def test_a_mutant_is_removed_again_even_after_an_error():
    before = dict(blended.rules)
    for mutant in mutants(blended):
        with contextlib.suppress(ZeroDivisionError), mutant:
            assert blended.rules != before
            raise ZeroDivisionError
        assert blended.rules == before


def test_good_cases_catch_all():
    report = mutation_report(blended, [Case((X, W))])
    assert not report.survived
    assert len(report.caught) > 20
    assert str(report).startswith("blend: ")


def test_poor_cases_let_some_survive():
    tiny = Case((np.array([2.0]), np.array([1e-9])))
    report = mutation_report(blended, [tiny])
    assert any("2 * a * b" in name for name in report.survived)


def test_equivalent_mutants_are_found_by_their_numbers():
    report = mutation_report(added, [Case((X, W)), Case((X, W[0]))])
    assert "plus: rules of a and b exchanged" in report.equivalent
    assert not report.survived


def test_the_rule_itself_must_be_right():
    wrong = make(plus, a=lambda g: g, b=lambda g: -g)
    with pytest.raises(GradientError, match=r"input 1"):
        mutation_report(wrong, [Case((X, W))])


def test_expected_gradients_stand_where_no_oracle_can_look():
    def rectify(x, /):
        return np.maximum(x, 0)

    rule = make(rectify, x=lambda g, x: g * (x > 0))
    smooth = Case((np.array([-1.0, 2.0]),))
    kink = Case((np.zeros(1),), upstream=(np.ones(1),), expected=(np.zeros(1),))
    mutant = "rectify.x: `x > 0` became `x >= 0`"
    assert any(n.startswith(mutant) for n in mutation_report(rule, [smooth]).equivalent)
    assert any(n.startswith(mutant) for n in mutation_report(rule, [smooth, kink]).caught)
