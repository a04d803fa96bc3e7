"""More schedules whose rate is a function of time alone, and schedules one after another."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from .base import Optimizer
from .schedules import Schedule


class LambdaLR(Schedule):
    """Multiply the base rate by a function of the number of steps: ηₜ = η₀ f(t).

        optim.LambdaLR(optimizer, lambda t: 1 / math.sqrt(1 + t))

    Args:
        optimizer: The optimizer whose rates are set, at once to η₀ f(0).
        lr_lambda: f, the same for all groups. It is not part of the state.
    """

    chains = False  # nor does PyTorch's

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float]) -> None:
        if not callable(lr_lambda):
            raise TypeError(
                f"LambdaLR expects a function of the number of steps; got "
                f"{type(lr_lambda).__name__} {lr_lambda!r}"
            )
        super().__init__(optimizer)
        self.lr_lambda = lr_lambda
        self.lrs = [self.rate(base, 0) for base in self.base_lrs]

    def rate(self, base: float, t: int) -> float:
        """η₀ f(t)."""
        return base * float(self.lr_lambda(t))


class ExponentialLR(Schedule):
    """Multiply the rate by γ at every step: ηₜ = η₀ γᵗ.

    Args:
        optimizer: The optimizer whose rates are set.
        gamma: γ.
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        super().__init__(optimizer)
        self.gamma = gamma

    def rate(self, base: float, t: int) -> float:
        """η₀ γᵗ."""
        return base * self.gamma**t


class MultiStepLR(Schedule):
    """Multiply the rate by γ at given steps: ηₜ = η₀ γ^(how many of them are at most t).

    Args:
        optimizer: The optimizer whose rates are set.
        milestones: The steps, ascending.
        gamma: γ.
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        super().__init__(optimizer)
        self.milestones = _ascending("MultiStepLR", milestones)
        self.gamma = gamma

    def rate(self, base: float, t: int) -> float:
        """η₀ γ^(how many milestones are at most t)."""
        return base * self.gamma ** bisect_right(self.milestones, t)


class OneCycleLR(Schedule):
    """Rise to a high rate on half a cosine, then fall far below where it began.

        η from max_lr / div_factor to max_lr, in a share ``pct_start`` of the steps,
        then to max_lr / (div_factor · final_div_factor), where it stays

    These are PyTorch's rates; the momentum is left alone (its ``cycle_momentum=False``).

    Args:
        optimizer: The optimizer whose rates are set, at once to max_lr / div_factor.
        max_lr: The highest rate, the same for all groups.
        total_steps: The steps of the whole cycle.
        pct_start: The share of the rise, between 0 and 1.
        div_factor: How far below the highest rate it begins.
        final_div_factor: How far below its beginning it ends.

    Source: Smith & Topin, "Super-convergence" (2017).
    """

    chains = False  # nor does PyTorch's

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        if total_steps < 1:
            raise ValueError(f"OneCycleLR expects total_steps of at least 1; got {total_steps}")
        if not 0 < pct_start < 1:
            raise ValueError(f"OneCycleLR expects pct_start between 0 and 1; got {pct_start}")
        super().__init__(optimizer)
        self.total_steps, self.pct_start = total_steps, pct_start
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        self.base_lrs = [float(max_lr)] * len(self.base_lrs)
        self.lrs = [self.rate(base, 0) for base in self.base_lrs]

    def rate(self, base: float, t: int) -> float:
        """The rate after t steps of a cycle to the rate ``base``."""
        first = base / self.div_factor
        top, end = self.pct_start * self.total_steps - 1, self.total_steps - 1
        if t <= top:
            return _along(first, base, t / top if top else 1.0)
        return _along(base, first / self.final_div_factor, min((t - top) / (end - top), 1.0))


class SequentialLR(Schedule):
    """Schedules one after another, each from its own first step.

        warm = optim.LinearWarmup(optimizer, 100)
        optim.SequentialLR(optimizer, [warm, optim.ExponentialLR(optimizer, 0.99)], [100])

    Args:
        optimizer: The optimizer of all of them.
        schedules: In order. All have the base rates of the first, except those that set their own.
        milestones: After how many steps each but the first begins, ascending.

    Raises:
        ValueError: their number does not fit, or one is of another optimizer.
    """

    def __init__(
        self, optimizer: Optimizer, schedules: Sequence[Schedule], milestones: Sequence[int]
    ) -> None:
        super().__init__(optimizer)
        self.schedules = list(schedules)
        self.milestones = _ascending("SequentialLR", milestones)
        if not self.schedules or len(self.milestones) != len(self.schedules) - 1:
            raise ValueError(
                f"SequentialLR expects a milestone between each two schedules; got "
                f"{len(self.milestones)} for {len(self.schedules)}"
            )
        if any(schedule.optimizer is not optimizer for schedule in self.schedules):
            raise ValueError("SequentialLR and its schedules must hold one optimizer")
        first = self.schedules[0]
        self.base_lrs = list(first.base_lrs)
        for schedule in self.schedules[1:]:
            if not isinstance(schedule, OneCycleLR):
                schedule.base_lrs = list(first.base_lrs)  # made after one that set the rates
        self._begin(first)

    def _begin(self, schedule: Schedule) -> None:
        """Set the rates of a schedule's first step, if it has such."""
        if type(schedule).rate is not Schedule.rate:
            self.lrs = [schedule.rate(base, schedule.count) for base in schedule.base_lrs]

    def step(self, metric: float | None = None) -> None:
        """Count one step: of the schedule whose turn it is."""
        self.count += 1
        turn = bisect_right(self.milestones, self.count)
        if self.count in self.milestones:
            self._begin(self.schedules[turn])
        else:
            self.schedules[turn].step(metric)

    def state_dict(self) -> dict[str, Any]:
        """Where all of them stand, as plain values."""
        own = {"schedules": [schedule.state_dict() for schedule in self.schedules]}
        return super().state_dict() | own

    def _check(self, state: Mapping[str, Any]) -> None:
        super()._check(state)
        if len(state["schedules"]) != len(self.schedules):
            raise ValueError(
                f"the state is of {len(state['schedules'])} schedules in sequence; here are "
                f"{len(self.schedules)}"
            )
        for schedule, own in zip(self.schedules, state["schedules"], strict=True):
            schedule._check(own)

    def _take(self, state: Mapping[str, Any]) -> None:
        for schedule, own in zip(self.schedules, state["schedules"], strict=True):
            schedule._take(own)
        super()._take(state)


def _along(a: float, b: float, share: float) -> float:
    """From a to b on half a cosine."""
    return b + (a - b) * (1 + math.cos(math.pi * share)) / 2


def _ascending(owner: str, milestones: Sequence[int]) -> list[int]:
    steps = list(milestones)
    if any(step < 1 for step in steps) or any(a >= b for a, b in pairwise(steps)):
        raise ValueError(f"{owner} expects milestones of at least 1, ascending; got {steps}")
    return steps
