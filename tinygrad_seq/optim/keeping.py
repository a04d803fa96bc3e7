"""Weights kept beside those that are trained: their average, and the best so far."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy

from ..autograd.operands import on_host
from ..backend import Array, there
from ..backend.dtypes import fitted
from ..messages import Hinted
from ..nn import Module
from ..tensor import Tensor


class WeightAverage(Hinted):
    """The average of weights over the updates of a training run, which often does better.

        ā ← ā + (p - ā) / n          the mean of n updates (decay None)
        ā ← β ā + (1 - β) p          with a decay: an exponential average, begun at the first p

        average = optim.WeightAverage(model.parameters(), decay=0.999)
        ...
        optimizer.step()
        average.update()
        ...
        with average.applied():      # the model has the average inside, its own weights after
            evaluate(model)

    Args:
        params: Tensors, such as ``model.parameters()``.
        decay: β, from 0 to below 1; None for the mean.

    Attributes:
        count: How many updates were averaged.

    Raises:
        ValueError: no tensors, or a decay out of range.

    Source: Polyak & Juditsky, "Acceleration of stochastic approximation by averaging" (1992);
    Izmailov et al., "Averaging weights leads to wider optima" (2018).
    """

    def __init__(self, params: Iterable[Tensor], decay: float | None = None) -> None:
        if isinstance(params, Module):
            raise TypeError("WeightAverage expects tensors: give model.parameters()")
        self.params = list(params)
        if not self.params or not all(isinstance(p, Tensor) for p in self.params):
            raise ValueError(
                "WeightAverage expects tensors, at least one: was a generator used up?"
            )
        if decay is not None and not 0 <= decay < 1:
            raise ValueError(f"WeightAverage expects a decay from 0 to below 1; got {decay}")
        self.decay = decay
        self.count = 0
        self._average: list[Array] = []

    def __repr__(self) -> str:
        size = sum(p.size for p in self.params)
        return f"WeightAverage(decay={self.decay}): {self.count:,} updates  # {size:,} parameters"

    def update(self) -> None:
        """Take the present weights into the average."""
        count = self.count + 1
        if count == 1:
            average = [p.data.copy() for p in self.params]
        else:
            share = 1 / count if self.decay is None else 1 - self.decay
            pairs = [(there(a, p.data), p.data) for a, p in self._pairs()]
            average = [a + share * (now - a) for a, now in pairs]
        self.count, self._average = count, average  # no call between: an interrupt leaves both

    def _pairs(self) -> Iterator[tuple[Array, Tensor]]:
        return zip(self._average, self.params, strict=True)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the weights are the average; after, also after an error, they are as before.

        Raises:
            RuntimeError: nothing was averaged yet.
        """
        if not self.count:
            raise RuntimeError("nothing was averaged yet: call update() after optimizer.step()")
        own = [p.data.copy() for p in self.params]
        try:
            for average, p in self._pairs():
                p.detach().copy_(average)
            yield
        finally:
            try:
                self._put(own)
            finally:
                self._put(own)  # an interrupt may have ended the first

    def _put(self, values: list[Array]) -> None:
        for value, p in zip(values, self.params, strict=True):
            p.detach().copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """The count, and the averages as host arrays."""
        return {"count": self.count, "average": [numpy.array(on_host(a)) for a in self._average]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state made by :meth:`state_dict`.

        Raises:
            ValueError: it is of other weights; nothing changed.
        """
        shapes = [numpy.shape(a) for a in state["average"]]
        expected = [p.shape for p in self.params] if state["count"] else []
        if shapes != expected:
            raise ValueError(f"the state has averages of {shapes}; the weights are of {expected}")
        pairs = zip(state["average"], self.params, strict=False)
        average = [there(fitted(numpy.array(a), p.dtype, "the state"), p.data) for a, p in pairs]
        count = int(state["count"])
        self.count, self._average = count, average  # no call between: an interrupt leaves both


class EarlyStopping(Hinted):
    """Says when a metric has not improved for some steps, and keeps the weights that were best.

        stop = optim.EarlyStopping(model, patience=5)
        for epoch in range(100):
            ...
            if stop.step(validation_loss):
                break
        stop.restore()               # the model as it was at stop.best

    Args:
        model: The module whose weights are kept at each improvement.
        patience: Stop after this many steps in a row without improvement, at least 1.
        mode: ``"min"`` where less is better (a loss), ``"max"`` where more is.
        min_delta: By how much a step must beat the best. NaN never does.

    Attributes:
        best: The best metric so far.
        bad_steps: Steps since then.

    Source: Prechelt, "Early stopping - but when?" (1998).
    """

    def __init__(
        self, model: Module, patience: int, mode: str = "min", min_delta: float = 0.0
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f'mode must be "min" or "max"; got {mode!r}')
        if patience < 1:
            raise ValueError(f"EarlyStopping expects patience of at least 1; got {patience}")
        self.model, self.patience, self.mode, self.min_delta = model, patience, mode, min_delta
        self.best = math.inf if mode == "min" else -math.inf
        self.bad_steps = 0
        self._weights: dict[str, Any] = {}

    def __repr__(self) -> str:
        return (
            f"EarlyStopping(patience={self.patience}, mode={self.mode!r}): best {self.best:.6g}, "
            f"{self.bad_steps} steps ago"
        )

    def step(self, metric: Any) -> bool:
        """Take in the metric of one step, and say whether to stop.

        Args:
            metric: A number, or a tensor of one element.
        """
        metric = float(metric)
        gain = self.best - metric if self.mode == "min" else metric - self.best
        if gain > self.min_delta:
            self.best, self.bad_steps = metric, 0
            self._weights = self.model.state_dict()
        else:
            self.bad_steps += 1
        return self.bad_steps >= self.patience

    def restore(self) -> None:
        """Give the model the weights that it had at the best metric.

        Raises:
            RuntimeError: no metric was a number so far.
        """
        if not self._weights:
            raise RuntimeError("no metric has improved so far: there are no best weights")
        self.model.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """The best metric, its weights, and how long ago it was."""
        return {"best": self.best, "bad_steps": self.bad_steps, "weights": dict(self._weights)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state made by :meth:`state_dict`.

        Raises:
            ValueError: it has the weights of another model; nothing changed.
        """
        shapes = {name: numpy.shape(value) for name, value in state["weights"].items()}
        own = {name: value.shape for name, value in self.model.state_dict().items()}
        if shapes and shapes != own:
            odd = sorted(name for name in shapes | own if shapes.get(name) != own.get(name))
            raise ValueError(f"the state has the weights of another model; they differ in {odd}")
        best, bad_steps, weights = state["best"], int(state["bad_steps"]), dict(state["weights"])
        self.best, self.bad_steps, self._weights = float(best), bad_steps, weights
