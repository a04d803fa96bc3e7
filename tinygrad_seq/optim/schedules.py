"""Learning rates that change as training goes on.

A schedule holds an optimizer and sets the ``"lr"`` of its groups. Call :meth:`Schedule.step` after
the optimizer's, once per update or once per epoch: a schedule counts its own steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from typing import Any

from ..hints import SCHEDULES
from ..messages import Hinted, kind_of
from .base import Optimizer


class Schedule(Hinted):
    """Base of the schedules. One whose rate is a function of time alone defines only :meth:`rate`.

    A rate that something else has changed (another schedule, a cut by hand) keeps that change: it
    is multiplied by what this schedule's rate is multiplied by, as PyTorch's chainable schedules
    do. A parameter group that is added later starts from its own rate. A schedule made anew starts
    from the rates that it finds: to go on from a checkpoint, load its state too.

    Args:
        optimizer: The optimizer whose rates are set. Its present rates are the base rates.

    Attributes:
        count: How often ``step`` was called.
        base_lrs: The base rate of each group.
    """

    _hints = SCHEDULES
    lowest = 0.0  # the rate that others' changes are measured from
    chains = True  # whether changes by others are kept

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            name = type(self).__name__
            raise TypeError(f"{name} schedules an Optimizer; got {kind_of(optimizer)}")
        self.optimizer = optimizer
        self.count = 0
        self.base_lrs = self.lrs

    def __repr__(self) -> str:
        rates = ", ".join(f"{rate:.4g}" for rate in self.lrs)
        return f"{type(self).__name__}: step {self.count}, lr {rates}"

    @property
    def lrs(self) -> list[float]:
        """The present rate of each group."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    @lrs.setter
    def lrs(self, rates: list[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def rate(self, base: float, t: int) -> float:
        """The rate after ``t`` steps of a group whose base rate is ``base``."""
        raise NotImplementedError(f"{type(self).__name__} must define rate(base, t)")

    def step(self, metric: float | None = None) -> None:
        """Count one step and set the rates.

        Args:
            metric: What :class:`ReduceLROnPlateau` watches. The others ignore it, so that
                one training loop serves them all.
        """
        self._admit()
        self.count += 1
        self.lrs = [self._next(*given) for given in zip(self.base_lrs, self.lrs, strict=True)]

    def _next(self, base: float, present: float) -> float:
        """The rate of a group at this step, from what it is at present."""
        before, after = self.rate(base, self.count - 1), self.rate(base, self.count)
        if present == before or not self.chains:
            return after
        if before == self.lowest:
            return present + after - before
        return self.lowest + (present - self.lowest) * (after - self.lowest) / (
            before - self.lowest
        )

    def _admit(self) -> None:
        """Take in the groups that were added since: their rates are their base rates."""
        self.base_lrs += self.lrs[len(self.base_lrs) :]

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands, as plain values."""
        self._admit()
        return {"count": self.count, "base_lrs": list(self.base_lrs), "lrs": self.lrs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state made by :meth:`state_dict`, the optimizer's rates included.

        Raises:
            ValueError: It is of another schedule, or of another number of groups; nothing changed.
            TypeError: It has something else where a number belongs; nothing changed.
        """
        self._check(state)
        before = self.state_dict()
        try:
            self._take(state)
        except BaseException:  # an interrupt, or a value of another kind
            self._take(before)
            raise

    def _check(self, state: Mapping[str, Any]) -> None:
        expected = self.state_dict()
        if state.keys() != expected.keys():
            raise ValueError(
                f"the state of {type(self).__name__} has the keys {sorted(expected)}; "
                f"got {sorted(state)}: is it of another schedule?"
            )
        if not len(state["lrs"]) == len(state["base_lrs"]) == len(self.base_lrs):
            raise ValueError(
                f"the state has rates for {len(state['lrs'])} parameter groups; the optimizer has "
                f"{len(self.base_lrs)}"
            )
        if not all(isinstance(rate, int | float) for k in ("lrs", "base_lrs") for rate in state[k]):
            raise TypeError(f"the rates of {type(self).__name__} are numbers; got {state!r:.200}")
        for name, now in expected.items():
            if isinstance(now, int | float) and not isinstance(state[name], int | float):
                raise TypeError(
                    f"{type(self).__name__}.{name} is a number; got {state[name]!r:.60}"
                )

    def _take(self, state: Mapping[str, Any]) -> None:
        self.count = state["count"]
        self.base_lrs = list(state["base_lrs"])
        self.lrs = list(state["lrs"])


class StepLR(Schedule):
    """Multiply the rate by γ every ``step_size`` steps: ηₜ = η₀ γ^⌊t / step_size⌋.

    Args:
        optimizer: The optimizer whose rates are set.
        step_size: Steps between two changes, at least 1.
        gamma: γ.
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        super().__init__(optimizer)
        self.step_size = _at_least_one("step_size", step_size)
        self.gamma = gamma

    def rate(self, base: float, t: int) -> float:
        """η₀ γ^⌊t / step_size⌋."""
        return base * self.gamma ** (t // self.step_size)


class CosineAnnealingLR(Schedule):
    """Half a cosine from the base rate down to η_min: ηₜ = η_min + (η₀ - η_min)(1 + cos(π t/T))/2.

    Past T the cosine goes on, so the rate rises again, as in PyTorch.

    Args:
        optimizer: The optimizer whose rates are set.
        T_max: T, the steps from the base rate to η_min, at least 1.
        eta_min: η_min.

    Source: Loshchilov & Hutter, "SGDR: stochastic gradient descent with warm restarts" (2017),
    eq. 5, without the restarts.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        super().__init__(optimizer)
        self.T_max = _at_least_one("T_max", T_max)
        self.eta_min = self.lowest = eta_min

    def rate(self, base: float, t: int) -> float:
        """η_min + (η₀ - η_min)(1 + cos(π t/T))/2."""
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * t / self.T_max)) / 2


class ReduceLROnPlateau(Schedule):
    """Multiply the rate by ``factor`` when a metric has stopped improving.

    A step is better than the best so far when it beats it by the threshold: for ``mode="min"``,
    ``metric < best (1 - threshold)`` (``"rel"``) or ``metric < best - threshold`` (``"abs"``).
    After more than ``patience`` steps in a row that are not better the rate is cut; then
    ``cooldown`` steps do not count. A NaN is never better. The defaults are PyTorch's.

    Args:
        optimizer: The optimizer whose rates are set.
        mode: ``"min"`` where less is better (a loss), ``"max"`` where more is.
        factor: Multiplies the rate, below 1.
        patience: Steps without improvement that are forgiven.
        threshold: By how much a step must beat the best.
        threshold_mode: ``"rel"`` or ``"abs"``.
        cooldown: Steps after a cut that do not count as bad.
        min_lr: The rate never goes below this; a list has one for each group.
        eps: A cut smaller than this is not made.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f'mode must be "min" or "max"; got {mode!r}')
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f'threshold_mode must be "rel" or "abs"; got {threshold_mode!r}')
        if not 0 <= factor < 1:
            raise ValueError(f"factor must be at least 0 and below 1; got {factor}")
        super().__init__(optimizer)
        self.mode, self.threshold_mode = mode, threshold_mode
        self.factor, self.patience, self.threshold = factor, patience, threshold
        self.cooldown, self.min_lr, self.eps = cooldown, min_lr, eps
        count = len(optimizer.param_groups)
        floors: list[float] = list(min_lr) if isinstance(min_lr, Sequence) else [min_lr] * count
        if len(floors) != count or not all(isinstance(v, int | float) for v in floors):
            raise ValueError(
                f"ReduceLROnPlateau expects min_lr as a number, or one for each of the {count} "
                f"groups; got {min_lr!r}"
            )
        self._floors = floors
        self.best = math.inf if mode == "min" else -math.inf
        self.bad_steps = 0
        self.cooling = 0

    def is_better(self, metric: float) -> bool:
        """Whether ``metric`` beats the best so far by the threshold."""
        sign = -1 if self.mode == "min" else 1
        relative = self.threshold_mode == "rel"
        change = sign * self.threshold
        bar = self.best * (1 + change) if relative else self.best + change
        return sign * metric > sign * bar

    def step(self, metric: float | None = None) -> None:
        """Count one step, and cut the rates if ``metric`` has not improved for too long."""
        if metric is None:
            raise TypeError("ReduceLROnPlateau.step needs the metric that it watches: step(loss)")
        metric = float(metric)
        self.count += 1
        self.bad_steps += 1
        if self.is_better(metric):
            self.best, self.bad_steps = metric, 0
        if self.cooling > 0:
            self.cooling, self.bad_steps = self.cooling - 1, 0
        if self.bad_steps > self.patience:
            self.cooling, self.bad_steps = self.cooldown, 0
            floors = chain(self._floors, repeat(0.0))  # a group that came later has none
            self.lrs = [self._cut(rate, next(floors)) for rate in self.lrs]

    def _cut(self, rate: float, floor: float) -> float:
        lower = max(rate * self.factor, floor)
        return lower if rate - lower > self.eps else rate

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands, as plain values."""
        own = {"best": self.best, "bad_steps": self.bad_steps, "cooling": self.cooling}
        return super().state_dict() | own

    def _take(self, state: Mapping[str, Any]) -> None:
        super()._take(state)
        self.best = state["best"]
        self.bad_steps, self.cooling = state["bad_steps"], state["cooling"]


class LinearWarmup(Schedule):
    """Rise in equal parts to the base rate, then hand over: ηₜ = η₀ (t + 1) / steps, t < steps.

    The update after ``steps - 1`` calls of ``step`` is the first at the full rate, and is the
    start of the next schedule, which is stepped from then on:

        warm = LinearWarmup(optimizer, 100, after=CosineAnnealingLR(optimizer, T_max=900))

    Args:
        optimizer: The optimizer whose rates are set, at once to η₀ / steps.
        steps: The updates that the rise takes, at least 1.
        after: The schedule that follows, of the same optimizer; None leaves the rate to others.

    Source: Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour" (2017), §2.2.
    """

    def __init__(self, optimizer: Optimizer, steps: int, after: Schedule | None = None) -> None:
        self.steps = _at_least_one("steps", steps)
        if after is not None and after.optimizer is not optimizer:
            raise ValueError("LinearWarmup and the schedule after it must hold one optimizer")
        super().__init__(optimizer)
        self.after = after
        self.lrs = [self.rate(base, 0) for base in self.base_lrs]

    def rate(self, base: float, t: int) -> float:
        """η₀ (t + 1) / steps."""
        return base * (t + 1) / self.steps

    def step(self, metric: float | None = None) -> None:
        """Count one step: of the rise, or of the schedule after it."""
        if self.count + 1 < self.steps:
            super().step()
            return
        self.count += 1
        if self.after is not None:
            self.after.step(metric)

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule and the one after it stand, as plain values."""
        after = None if self.after is None else self.after.state_dict()
        return super().state_dict() | {"after": after}

    def _check(self, state: Mapping[str, Any]) -> None:
        super()._check(state)
        if (state["after"] is None) != (self.after is None):
            raise ValueError("of the state and this LinearWarmup, one has no schedule after")
        if self.after is not None:
            self.after._check(state["after"])

    def _take(self, state: Mapping[str, Any]) -> None:
        if self.after is not None:
            self.after._take(state["after"])
        super()._take(state)


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}")
    return int(value)
