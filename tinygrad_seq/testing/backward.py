"""One forward and one backward of what is checked, with gradients fit to be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ..autograd import grad
from ..tensor import Tensor
from .oracles import Array
from .report import Situation
from .subject import Leaf


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
