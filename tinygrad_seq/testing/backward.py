"""What a gradient must be whatever its values: pure, repeatable, a buffer of its own, linear in ȳ.

No oracle is needed to see that an input was changed, that two runs differ, that a gradient shares
memory with something else, or that it depends on which outputs are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ..tensor import Tensor
from .oracles import Array
from .report import Situation
from .subject import Leaf, gradients_of

__tracebackhide__ = True  # pytest shows the frames of the function that is tested


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
        if not np.isfinite(y.detach().numpy()).all():
            raise situation.error(
                f"{subject.name} is not finite: output {k} holds NaN or Inf. Draw the inputs from "
                "inside its domain."
            )
    found = gradients_of(outputs, leaves, [Tensor(g) for g in upstream])
    gradients: list[Array | None] = []
    for leaf, x in zip(subject.leaves, found, strict=True):
        gradients.append(None if x is None else np.asarray(x.detach().numpy()))
        if x is None:
            continue
        if x.shape != leaf.value.shape or x.dtype != leaf.value.dtype:
            raise situation.error(
                f"the gradient of {subject.name} with respect to {leaf.label} is {x.dtype} "
                f"{x.shape}; it must be {leaf.value.dtype} {leaf.value.shape}, as its input."
            )
        if not np.isfinite(x.detach().numpy()).all():
            index = tuple(int(k) for k in np.argwhere(~np.isfinite(x.detach().numpy()))[0])
            raise situation.error(
                f"the gradient of {subject.name} with respect to {leaf.label} is "
                f"{float(x.detach().numpy()[index])!r} at index {index}."
            )
    return [y.detach().numpy() for y in outputs], gradients


def analytic_gradients(
    subject: Differentiable, cotangents: list[Array], situation: Situation
) -> list[Array | None]:
    """The library's gradient for each leaf, after every check that needs no oracle."""
    before = [value.copy() for value in subject.values]
    upstream = [g.copy() for g in cotangents]
    outputs, gradients = differentiate(subject, upstream, situation)
    _check_untouched(subject, before, upstream, cotangents, situation)
    _check_buffers(subject, upstream, gradients, situation)
    _check_repeatable(subject, upstream, outputs, gradients, situation)
    if len(outputs) > 1:
        _check_outputs_alone(subject, upstream, gradients, situation)
    return gradients


def _check_untouched(
    subject: Differentiable,
    before: list[Array],
    upstream: list[Array],
    cotangents: list[Array],
    situation: Situation,
) -> None:
    """Neither inputs nor upstream gradients are changed in place; a changed input is put back."""
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


def _check_repeatable(
    subject: Differentiable,
    upstream: list[Array],
    outputs: list[Array],
    gradients: list[Array | None],
    situation: Situation,
) -> None:
    """Two runs give the same bits, forward and backward."""
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
        found = gradients_of([outputs[k]], leaves, [Tensor(g)])
        for position, x in enumerate(found):
            if x is not None:
                total[position] = total[position] + x.detach().numpy()
                size[position] += float(np.max(np.abs(x.detach().numpy()), initial=0.0))
    pairs = zip(subject.leaves, gradients, total, size, strict=True)
    for leaf, together, alone, scale in pairs:
        expected = np.zeros(leaf.value.shape) if together is None else together
        if not np.allclose(alone, expected, rtol=0.0, atol=1e-9 * scale):
            raise situation.error(
                f"the gradient of {subject.name} with respect to {leaf.label} depends on which "
                "outputs are used: one at a time they do not give, in sum, the gradient of all."
            )


def _same(x: Array | None, y: Array | None) -> bool:
    if x is None or y is None:
        return x is y
    return x.shape == y.shape and np.array_equal(x, y, equal_nan=True)
