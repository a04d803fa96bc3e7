"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..backend import Array, backend_of, xp
from ..nn.checks import flag
from .base import Group, Optimizer, Params, decayed


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, plain or Nesterov's.

        g ← g + λ p                        (weight decay)
        b ← μ b + (1 - d) g                (momentum; the first b is g)
        p ← p - η b                        or, Nesterov:  p ← p - η (g + μ b)

    Args:
        params: Tensors, or groups of them with options of their own.
        lr: Learning rate η.
        momentum: μ; 0 means p ← p - η g.
        dampening: d.
        weight_decay: λ.
        nesterov: Use Nesterov's form.

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning"
    (2013), in PyTorch's form, where η multiplies the velocity instead of the gradient in it.
    """

    elementwise = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=flag("SGD", "nesterov", nesterov),
        )

    def check(self, options: Mapping[str, Any]) -> None:
        """Nesterov's form is defined only with a momentum and without dampening."""
        super().check(options)
        if options["nesterov"] and (options["momentum"] == 0 or options["dampening"] != 0):
            raise ValueError(
                "nesterov=True needs momentum above 0 and dampening=0; got "
                f"momentum={options['momentum']}, dampening={options['dampening']}"
            )

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        """One step for one parameter; see the class for the equations."""
        mu = group["momentum"]
        g = decayed(g, p, group)
        if mu:
            b = state.get("momentum_buffer")
            if b is None:
                b = state["momentum_buffer"] = xp(p).array(g)
                g = g + mu * b if group["nesterov"] else b
            else:
                kernel = backend_of(p).kernels["sgd_momentum"]
                rest = (group["lr"], mu, 1 - group["dampening"], group["nesterov"])
                kernel(xp(p), p, g, b, *rest)
                return
        backend_of(p).kernels["sgd"](xp(p), p, g, group["lr"])
