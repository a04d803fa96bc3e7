"""The comparison inside a gradient check: the library's gradients against the oracle's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from ..autograd import grad
from ..tensor import Tensor
from .oracles import (
    CENTRAL_STEP,
    COMPLEX_STEP,
    Array,
    central_differences_with_noise,
    complex_step,
)
from .report import Situation, mismatch, worst
from .subject import Leaf, Subject

Oracle = Literal["central", "complex"]
RTOL: dict[Oracle, float] = {"central": 1e-6, "complex": 1e-9}
WORDS: dict[Oracle, str] = {
    "central": f"central differences, step {CENTRAL_STEP:g}",
    "complex": f"complex step {COMPLEX_STEP:g}",
}


class Differentiable(Protocol):
    """A function that can be evaluated and recorded at its leaves."""

    name: str
    leaves: list[Leaf]

    @property
    def values(self) -> list[Array]: ...
    def call(self, values: Sequence[Array]) -> list[Array]: ...
    def record(self) -> tuple[list[Tensor], list[Any]]: ...


def draw_cotangents(outputs: Sequence[Array], seed: int) -> list[Array]:
    """Upstream gradients of either sign, sizes in [0.5, 2): one per output, in its dtype."""
    rng = np.random.default_rng(seed)
    return [
        np.asarray(rng.uniform(0.5, 2.0, y.shape) * rng.choice([-1.0, 1.0], y.shape), y.dtype)
        for y in outputs
    ]


def analytic_gradients(
    subject: Differentiable, cotangents: list[Array], situation: Situation
) -> list[Array | None]:
    """The library's gradient for each leaf, after every check that needs no oracle."""
    before = [value.copy() for value in subject.values]
    upstream = [g.copy() for g in cotangents]
    outputs, gradients = differentiate(subject, upstream, situation)
    for leaf, value, original in zip(subject.leaves, subject.values, before, strict=True):
        if not _same(value, original):
            value[...] = original
            raise situation.error(f"{subject.name} changed its {leaf.label} in place.")
    for k, (g, original) in enumerate(zip(upstream, cotangents, strict=True)):
        if not _same(g, original):
            raise situation.error(
                f"the backward of {subject.name} changed the upstream gradient of output {k} "
                "in place."
            )
    _check_buffers(subject, upstream, gradients, situation)
    again, repeated = differentiate(subject, upstream, situation)
    for k, (y, z) in enumerate(zip(outputs, again, strict=True)):
        if not _same(y, z):
            raise situation.error(
                f"{subject.name} is not deterministic: output {k} differs between two runs. "
                "Seed or fix its randomness (dropout: eval()) before checking it."
            )
    for leaf, first, second in zip(subject.leaves, gradients, repeated, strict=True):
        if not _same(first, second):
            raise situation.error(
                f"the backward of {subject.name} is not deterministic: the gradient of "
                f"{leaf.label} differs between two runs."
            )
    if len(outputs) > 1:
        _check_outputs_alone(subject, upstream, gradients, situation)
    return gradients


def numeric_gradients(
    subject: Differentiable, cotangents: list[Array], oracle: Oracle, rtol: float
) -> list[tuple[Array, Array]]:
    """The oracle's gradient for each leaf, and how far from it the analytic one may be."""
    # Where a gradient is 0, or nearly, the rule's own rounding is what is left of it.
    outputs = zip(cotangents, subject.call(subject.values), strict=True)
    rounding = (
        256 * np.finfo(np.float64).eps * sum(float(np.sum(np.abs(g * y))) for g, y in outputs)
    )
    if oracle == "complex":
        if not isinstance(subject, Subject) or any(
            leaf.parameter is not None for leaf in subject.leaves
        ):
            raise TypeError(
                "the complex step runs on plain complex arrays, which a Module's parameters cannot "
                "hold; use oracle='central' for Modules."
            )
        gradients = complex_step(_forward(subject.apply), subject.values, tuple(cotangents))
        return [(x, rtol * (np.abs(x) + 0.1 * _largest(x)) + rounding) for x in gradients]
    pairs = central_differences_with_noise(
        _forward(subject.call), subject.values, tuple(cotangents)
    )
    return [
        (x, rtol * (np.abs(x) + 0.1 * _largest(x)) + 16 * noise + rounding) for x, noise in pairs
    ]


def compare(
    subject: Differentiable,
    cotangents: list[Array],
    analytic: list[Array | None],
    numeric: list[tuple[Array, Array]],
    situation: Situation,
    oracle: Oracle,
) -> None:
    """Raise for the first leaf whose two gradients differ."""
    words = WORDS[oracle]
    for position, (leaf, found) in enumerate(zip(subject.leaves, analytic, strict=True)):
        expected, tolerance = numeric[position]
        if not np.isfinite(expected).all():
            index = tuple(int(k) for k in np.argwhere(~np.isfinite(expected))[0])
            raise situation.error(
                f"{subject.name} is not finite within a step of {leaf.label} at index {index}: "
                "draw the inputs from inside its domain."
            )
        if found is None and np.any(np.abs(expected) > tolerance):
            index = tuple(int(k) for k in np.argwhere(np.abs(expected) > tolerance)[0])
            raise situation.error(
                f"no gradient of {subject.name} reaches {leaf.label}, but at index {index} it is "
                f"{float(expected[index])!r} ({words})."
            )
        if found is not None and not np.all(np.abs(found - expected) <= tolerance):
            kink = None
            if oracle == "central":
                wrong = worst(found, expected, tolerance)
                kink = _kink(subject, cotangents, position, wrong)
            raise mismatch(situation, leaf.label, found, expected, tolerance, words, kink)


def differentiate(
    subject: Differentiable, upstream: list[Array], situation: Situation
) -> tuple[list[Array], list[Array | None]]:
    """Outputs and gradients of one forward and one backward."""
    leaves, outputs = subject.record()
    for k, y in enumerate(outputs):
        if not isinstance(y, Tensor):
            raise situation.error(
                f"{subject.name} returned a plain array as output {k}: it left the graph. Compute "
                "with Tensors and functions of tinygrad_seq, not on their .data."
            )
        if not np.isfinite(y.data).all():
            raise situation.error(
                f"{subject.name} is not finite: output {k} holds NaN or Inf. Draw the inputs from "
                "inside its domain."
            )
    recorded = [(y, g) for y, g in zip(outputs, upstream, strict=True) if y.requires_grad]
    found: Sequence[Tensor | None] = [None] * len(leaves)
    if recorded and leaves:
        found = grad(
            [y for y, _ in recorded],
            leaves,
            grad_outputs=[Tensor(g) for _, g in recorded],
            allow_unused=True,
        )
    gradients: list[Array | None] = []
    for leaf, x in zip(subject.leaves, found, strict=True):
        gradients.append(None if x is None else np.asarray(x.data))
        if x is None:
            continue
        if x.shape != leaf.value.shape or x.dtype != leaf.value.dtype:
            raise situation.error(
                f"the gradient of {subject.name} with respect to {leaf.label} is {x.dtype} "
                f"{x.shape}; it must be {leaf.value.dtype} {leaf.value.shape}, as its input."
            )
        if not np.isfinite(x.data).all():
            index = tuple(int(k) for k in np.argwhere(~np.isfinite(x.data))[0])
            raise situation.error(
                f"the gradient of {subject.name} with respect to {leaf.label} is "
                f"{float(x.data[index])!r} at index {index}."
            )
    return [y.data for y in outputs], gradients


def _check_buffers(
    subject: Differentiable,
    upstream: list[Array],
    gradients: list[Array | None],
    situation: Situation,
) -> None:
    """A gradient is a buffer of its own: writing into it must change nothing else."""
    others = [(leaf.label, leaf.value) for leaf in subject.leaves]
    others += [(f"the upstream gradient of output {k}", g) for k, g in enumerate(upstream)]
    for leaf, x in zip(subject.leaves, gradients, strict=True):
        if x is None:
            continue
        for label, other in others:
            if np.shares_memory(x, other):
                raise situation.error(
                    f"the gradient of {subject.name} with respect to {leaf.label} shares memory "
                    f"with {label}: it must be a copy."
                )
        others.append((f"the gradient of {leaf.label}", x))


def _check_outputs_alone(
    subject: Differentiable,
    upstream: list[Array],
    gradients: list[Array | None],
    situation: Situation,
) -> None:
    """Backward is linear in ȳ: outputs used one at a time give the gradient of all, in sum."""
    total = [np.zeros(leaf.value.shape) for leaf in subject.leaves]
    size = [0.0 for _ in subject.leaves]
    for k, g in enumerate(upstream):
        leaves, outputs = subject.record()
        if not outputs[k].requires_grad:
            continue
        found = grad(outputs[k], leaves, grad_outputs=Tensor(g), allow_unused=True)
        for position, x in enumerate(found):
            if x is not None:
                total[position] = total[position] + x.data
                size[position] += _largest(x.data)
    pairs = zip(subject.leaves, gradients, total, size, strict=True)
    for leaf, together, alone, scale in pairs:
        expected = np.zeros(leaf.value.shape) if together is None else together
        if not np.allclose(alone, expected, rtol=0.0, atol=1e-9 * scale):
            raise situation.error(
                f"the gradient of {subject.name} with respect to {leaf.label} depends on which "
                "outputs are used: one at a time they do not give, in sum, the gradient of all."
            )


def _kink(
    subject: Differentiable, upstream: list[Array], position: int, index: tuple[int, ...]
) -> tuple[float, float] | None:
    """The slopes of Σ ȳ y on either side of an input, if a kink lies within the oracle's step.

    On a smooth function the two draw together as the step shrinks.
    """
    values = subject.values
    start = subject.call(values)

    def slope(h: float) -> float:
        moved = [*values]
        moved[position] = values[position].copy()
        moved[position][index] += h
        pairs = zip(upstream, subject.call(moved), start, strict=True)
        return sum(float(np.sum(g * (y - y0))) for g, y, y0 in pairs) / h

    left, right = slope(-CENTRAL_STEP), slope(CENTRAL_STEP)
    gap, nearer = abs(right - left), abs(slope(CENTRAL_STEP / 4) - slope(-CENTRAL_STEP / 4))
    jumps = gap > 1e-3 * max(abs(left), abs(right)) and nearer > 0.6 * gap
    return (left, right) if jumps else None


def _forward(f: Callable[[Sequence[Array]], list[Any]]) -> Callable[..., tuple[Array, ...]]:
    """A function of a list of leaves as the oracles call it."""

    def forward(*values: Array) -> tuple[Array, ...]:
        return tuple(np.asarray(y.data if isinstance(y, Tensor) else y) for y in f(values))

    return forward


def _same(x: Array | None, y: Array | None) -> bool:
    if x is None or y is None:
        return x is y
    return x.shape == y.shape and np.array_equal(x, y, equal_nan=True)


def _largest(x: Array) -> float:
    return float(np.max(np.abs(x), initial=0.0))
