"""Schedules: PyTorch's numbers, composition, and a state that can be kept."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest

import tinygrad_seq as ts
from tinygrad_seq import optim
from tinygrad_seq.tensor import Tensor


def optimizer(*rates: float) -> optim.SGD:
    tensors = [Tensor(np.zeros(2), requires_grad=True) for _ in rates]
    return optim.SGD([{"params": [p], "lr": r} for p, r in zip(tensors, rates, strict=True)])


def in_torch(torch, *rates: float):
    tensors = [torch.zeros(2, requires_grad=True) for _ in rates]
    made = torch.optim.SGD([{"params": [p], "lr": r} for p, r in zip(tensors, rates, strict=True)])
    for p in tensors:
        p.grad = torch.zeros(2)
    return made


def rates_of(torch_optimizer) -> list[float]:
    return [group["lr"] for group in torch_optimizer.param_groups]


LOSSES = [3.0, 2.0, 2.0, 1.9999, 2.1, 1.5, 1.5, 1.5, 1.5, math.nan, 1.6, 1.4, *[1.4] * 12, -1, -1]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("StepLR", {"step_size": 3}),
        ("StepLR", {"step_size": 1, "gamma": 0.7}),
        ("CosineAnnealingLR", {"T_max": 9}),
        ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.05}),
        ("LambdaLR", {"lr_lambda": lambda t: 1 / (1 + t) ** 0.5}),
        ("ExponentialLR", {"gamma": 0.8}),
        ("MultiStepLR", {"milestones": [2, 3, 11], "gamma": 0.3}),
        ("MultiStepLR", {"milestones": []}),
        ("OneCycleLR", {"max_lr": 2.0, "total_steps": 26, "cycle_momentum": False}),
        (
            "OneCycleLR",
            {
                "max_lr": 0.5,
                "total_steps": 31,
                "pct_start": 0.11,
                "div_factor": 7.0,
                "final_div_factor": 3.0,
                "cycle_momentum": False,
            },
        ),
    ],
)
def test_the_rates_are_those_of_pytorch(name: str, options: dict) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = optimizer(0.3, 0.9), in_torch(torch, 0.3, 0.9)
    other = getattr(torch.optim.lr_scheduler, name)(theirs, **options)
    options.pop("cycle_momentum", None)  # ours never does
    one = getattr(optim, name)(ours, **options)
    for _ in range(25):
        assert one.lrs == pytest.approx(rates_of(theirs), rel=1e-9, abs=1e-12)
        one.step()
        theirs.step()  # or the schedule warns
        other.step()


def test_one_after_another_as_in_pytorch() -> None:
    torch = pytest.importorskip("torch")
    lr = torch.optim.lr_scheduler
    ours, theirs = optimizer(0.3, 0.9), in_torch(torch, 0.3, 0.9)
    parts = [
        lr.LambdaLR(theirs, lambda t: (t + 1) / 4),
        lr.CosineAnnealingLR(theirs, 6),
        lr.ExponentialLR(theirs, 0.7),
    ]
    other = lr.SequentialLR(theirs, parts, [3, 8])
    one = optim.SequentialLR(
        ours,
        [
            optim.LambdaLR(ours, lambda t: (t + 1) / 4),
            optim.CosineAnnealingLR(ours, 6),  # its base rates are those of the first
            optim.ExponentialLR(ours, 0.7),
        ],
        [3, 8],
    )
    for _ in range(20):
        assert one.lrs == pytest.approx(rates_of(theirs), rel=1e-9, abs=1e-12)
        one.step()
        theirs.step()
        other.step()


def test_a_sequence_may_end_in_a_plateau_or_a_cycle() -> None:
    ours = optimizer(0.4)
    plateau = optim.ReduceLROnPlateau(ours, patience=0, factor=0.5)
    one = optim.SequentialLR(ours, [optim.StepLR(ours, 100), plateau], [2])
    rates = []
    for loss in (1.0, 1.0, 1.0, 1.0, 1.0):
        one.step(loss)
        rates += one.lrs
    assert rates == [0.4, 0.4, 0.4, 0.2, 0.1]
    ours = optimizer(0.4)
    cycle = optim.OneCycleLR(ours, 0.5, 10, div_factor=5)
    one = optim.SequentialLR(ours, [optim.StepLR(ours, 100), cycle], [2])
    one.step()
    one.step()
    assert one.lrs == [pytest.approx(0.1)]


def test_after_its_cycle_the_rate_stays() -> None:
    ours = optimizer(0.3)
    one = optim.OneCycleLR(ours, 1.0, 4, div_factor=10, final_div_factor=10)
    for _ in range(9):
        one.step()
    assert one.lrs == [pytest.approx(0.01)]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda o: optim.LambdaLR(o, [abs]), TypeError, "a function of the number of steps; got l"),
        (lambda o: optim.MultiStepLR(o, [3, 3]), ValueError, r"ascending; got \[3, 3\]"),
        (lambda o: optim.OneCycleLR(o, 1.0, 0), ValueError, "total_steps of at least 1; got 0"),
        (lambda o: optim.OneCycleLR(o, 1.0, 5, 1.0), ValueError, "pct_start between 0 and 1"),
        (
            lambda o: optim.SequentialLR(o, [optim.StepLR(o, 2)], [3]),
            ValueError,
            "a milestone between each two schedules; got 1 for 1",
        ),
        (
            lambda o: optim.SequentialLR(o, [optim.StepLR(optimizer(0.1), 2)], []),
            ValueError,
            "must hold one optimizer",
        ),
    ],
)
def test_schedules_that_make_no_sense_are_refused(make, error, message) -> None:
    with pytest.raises(error, match=message):
        make(optimizer(0.1))


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 1},
        {"mode": "max", "patience": 2, "factor": 0.5},
        {"patience": 0, "cooldown": 2, "factor": 0.3},
        {"patience": 1, "threshold": 0.3, "threshold_mode": "abs"},
        {"mode": "max", "patience": 1, "threshold": 0.3, "threshold_mode": "abs"},
        {"patience": 0, "threshold": 0.2, "min_lr": 0.02},
        {"patience": 0, "factor": 0.5, "eps": 0.04},
    ],
)
def test_plateaus_are_found_as_in_pytorch(options: dict) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = optimizer(0.3, 0.9), in_torch(torch, 0.3, 0.9)
    one = optim.ReduceLROnPlateau(ours, **options)
    other = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    for loss in LOSSES:
        one.step(loss)
        other.step(loss)
        assert one.lrs == pytest.approx(rates_of(theirs), rel=1e-12)
    assert one.lrs[0] < 0.3


def test_the_rise_is_linear_as_in_pytorch() -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = optimizer(0.3, 0.9), in_torch(torch, 0.3, 0.9)
    one = optim.LinearWarmup(ours, 8)
    other = torch.optim.lr_scheduler.LinearLR(theirs, start_factor=1 / 8, total_iters=7)
    for _ in range(12):
        assert one.lrs == pytest.approx(rates_of(theirs), rel=1e-12)
        one.step()
        theirs.step()  # or the schedule warns
        other.step()


def test_a_rise_hands_over_to_the_next_schedule() -> None:
    ours = optimizer(0.8)
    warm = optim.LinearWarmup(ours, 4, after=optim.StepLR(ours, step_size=2, gamma=0.5))
    seen = []
    for _ in range(9):
        seen += warm.lrs
        warm.step()
    assert seen == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.4, 0.4, 0.2, 0.2])


def test_a_rise_before_a_plateau_passes_the_metric_on() -> None:
    ours = optimizer(0.8)
    warm = optim.LinearWarmup(ours, 2, after=optim.ReduceLROnPlateau(ours, patience=0, factor=0.5))
    for _ in range(4):
        warm.step(1.0)
    assert warm.lrs == pytest.approx([0.2])
    with pytest.raises(TypeError, match="needs the metric"):
        warm.step()


def test_a_rise_alone_leaves_the_rate_to_others_afterwards() -> None:
    ours = optimizer(0.8)
    warm = optim.LinearWarmup(ours, 2)
    warm.step()
    ours.param_groups[0]["lr"] = 0.1
    warm.step()
    assert warm.lrs == [0.1]


def test_a_schedule_acts_on_the_update() -> None:
    ours = optimizer(1.0)
    p = ours.param_groups[0]["params"][0]
    schedule = optim.StepLR(ours, step_size=1, gamma=0.5)
    for _ in range(3):
        p.grad = Tensor(np.ones(2))
        ours.step()
        schedule.step()
    np.testing.assert_allclose(p.data, [-1.75, -1.75])


MAKERS: dict[str, Callable[[optim.Optimizer], optim.Schedule]] = {
    "step": lambda o: optim.StepLR(o, step_size=3),
    "cosine": lambda o: optim.CosineAnnealingLR(o, T_max=9),
    "plateau": lambda o: optim.ReduceLROnPlateau(o, patience=1, cooldown=1),
    "rise": lambda o: optim.LinearWarmup(o, 9),
    "rise, cosine": lambda o: optim.LinearWarmup(o, 4, optim.CosineAnnealingLR(o, T_max=20)),
    "rise, plateau": lambda o: optim.LinearWarmup(o, 4, optim.ReduceLROnPlateau(o, patience=1)),
    "steps": lambda o: optim.MultiStepLR(o, [3, 8]),
    "cycle": lambda o: optim.OneCycleLR(o, 1.0, 20),
    "sequence": lambda o: optim.SequentialLR(
        o, [optim.LinearWarmup(o, 4), optim.ReduceLROnPlateau(o, patience=1)], [4]
    ),
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("stop", [0, 2, 7, 14])
def test_a_state_that_is_loaded_goes_on_the_same(kind: str, stop: int) -> None:
    ours, fresh = optimizer(0.3, 0.9), optimizer(5.0, 7.0)
    one, other = MAKERS[kind](ours), MAKERS[kind](fresh)
    for loss in LOSSES[:stop]:
        one.step(loss)
    state = one.state_dict()
    kept = copy.deepcopy(state)
    other.load_state_dict(state)
    assert other.lrs == one.lrs
    for loss in LOSSES[stop:]:
        one.step(loss)
        other.step(loss)
        assert other.lrs == one.lrs
    assert state == kept


def test_a_state_of_another_schedule_changes_nothing() -> None:
    ours = optimizer(0.3)
    for kind, state, message in [
        ("step", MAKERS["plateau"](optimizer(0.3)).state_dict(), "of another schedule"),
        ("step", MAKERS["step"](optimizer(0.3, 0.4)).state_dict(), "2 parameter groups"),
        ("rise", MAKERS["rise, cosine"](optimizer(0.3)).state_dict(), "has no schedule after"),
        ("rise, plateau", MAKERS["rise, cosine"](optimizer(0.3)).state_dict(), "of another"),
        ("sequence", MAKERS["steps"](optimizer(0.3)).state_dict(), "of another schedule"),
    ]:
        schedule = MAKERS[kind](ours)
        before = schedule.state_dict()
        with pytest.raises(ValueError, match=message):
            schedule.load_state_dict(state)
        assert schedule.state_dict() == before


@pytest.mark.parametrize("name", ["count", "lrs", "base_lrs", "best", "cooling"])
def test_a_state_without_a_number_changes_nothing(name: str) -> None:
    schedule = MAKERS["plateau"](optimizer(0.3))
    before = schedule.state_dict()
    with pytest.raises(TypeError, match="number"):
        schedule.load_state_dict(before | {name: [None] if "lrs" in name else None})
    assert schedule.state_dict() == before


def test_options_that_make_no_sense_are_refused() -> None:
    ours = optimizer(0.3)
    for make, message in [
        (lambda: optim.StepLR(ours, step_size=0), "step_size must be at least 1; got 0"),
        (lambda: optim.CosineAnnealingLR(ours, T_max=0), "T_max must be at least 1"),
        (lambda: optim.LinearWarmup(ours, 0), "steps must be at least 1"),
        (lambda: optim.ReduceLROnPlateau(ours, mode="least"), 'mode must be "min" or "max"'),
        (lambda: optim.ReduceLROnPlateau(ours, threshold_mode="x"), "threshold_mode must be"),
        (lambda: optim.ReduceLROnPlateau(ours, factor=1.0), "factor must be"),
        (
            lambda: optim.LinearWarmup(ours, 3, after=optim.StepLR(optimizer(0.3), 2)),
            "must hold one optimizer",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            make()
    assert ours.param_groups[0]["lr"] == 0.3


def _both(make, theirs, change=lambda optimizer, t: None, steps=12):
    """Rates of ours and of PyTorch's over some steps."""
    torch = pytest.importorskip("torch")
    ours = optim.SGD([ts.Tensor(np.zeros(1), requires_grad=True)], lr=0.8)
    other = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.8)
    pairs = [(ours, make(ours)), (other, theirs(other, torch.optim.lr_scheduler))]
    rates: list[list[float]] = [[], []]
    for t in range(steps):
        for (optimizer, schedules), found in zip(pairs, rates, strict=True):
            optimizer.step()
            for schedule in schedules:
                schedule.step()
            change(optimizer, t)
            found += [group["lr"] for group in optimizer.param_groups]
    return rates


def _cut(optimizer, t):
    if t == 4:
        optimizer.param_groups[0]["lr"] *= 0.1


@pytest.mark.parametrize("change", [lambda optimizer, t: None, _cut])
@pytest.mark.parametrize(
    ("make", "theirs"),
    [
        (lambda o: [optim.StepLR(o, 3, 0.5)], lambda o, s: [s.StepLR(o, 3, 0.5)]),
        (
            lambda o: [optim.StepLR(o, 3, 0.5), optim.ExponentialLR(o, 0.9)],
            lambda o, s: [s.StepLR(o, 3, 0.5), s.ExponentialLR(o, 0.9)],
        ),
        (
            lambda o: [optim.CosineAnnealingLR(o, 5, 0.1), optim.MultiStepLR(o, [2, 7], 0.5)],
            lambda o, s: [s.CosineAnnealingLR(o, 5, 0.1), s.MultiStepLR(o, [2, 7], 0.5)],
        ),
        (
            lambda o: [optim.LambdaLR(o, lambda t: 1 / (1 + t))],
            lambda o, s: [s.LambdaLR(o, lambda t: 1 / (1 + t))],
        ),
    ],
)
def test_changes_by_others_are_kept_as_in_pytorch(make, theirs, change):
    """Two schedules on one optimizer, and a rate cut by hand."""
    ours, expected = _both(make, theirs, change)
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


def test_a_group_that_is_added_later_goes_along():
    def made():
        optimizer = optim.SGD([ts.Tensor(np.zeros(1), requires_grad=True)], lr=0.8)
        schedule = optim.StepLR(optimizer, 2, 0.5)
        return optimizer, schedule

    optimizer, schedule = made()
    schedule.step()
    group = {"params": [ts.Tensor(np.zeros(1), requires_grad=True)], "lr": 0.2}
    optimizer.add_param_group(group)
    schedule.step()
    assert schedule.lrs == [0.4, 0.1]
    state = schedule.state_dict()
    other, again = made()
    other.add_param_group({**group, "params": [ts.Tensor(np.zeros(1), requires_grad=True)]})
    again.load_state_dict(state)
    for each in (schedule, again):
        each.step()
        each.step()
    assert schedule.lrs == again.lrs == [0.2, 0.05]


def test_plateau_takes_a_lowest_rate_for_each_group():
    groups = [{"params": [ts.Tensor(np.zeros(1), requires_grad=True)]} for _ in range(2)]
    optimizer = optim.SGD(groups, lr=1.0)
    schedule = optim.ReduceLROnPlateau(optimizer, patience=0, factor=0.1, min_lr=[0.5, 0.0])
    for _ in range(3):
        schedule.step(1.0)
    np.testing.assert_allclose(schedule.lrs, [0.5, 0.01])
    for wrong in ([0.1], [0.1, 0.2, 0.3], "0.1", [None, 0.1]):
        with pytest.raises(ValueError, match="one for each of the 2 groups"):
            optim.ReduceLROnPlateau(optimizer, min_lr=wrong)
