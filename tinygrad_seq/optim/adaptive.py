"""Optimizers with a step size per element, from the history of its gradient."""

from __future__ import annotations

import math
from typing import Any

from ..backend import Array, backend_of, xp
from ..nn.checks import flag
from .base import Group, Optimizer, Params, decayed, slot


class Adagrad(Optimizer):
    """Steps that shrink with the sum of all squared gradients so far.

        g ← g + λ p
        s ← s + g²
        p ← p - η / (1 + (t - 1) d) · g / (√s + ε)        at step t = 1, 2, ...

    A gradient whose square overflows (from 2e19 in float32) leaves an infinite average, and its
    element stands still from then on: clip before the step, with ``clip_grad_norm_``.

    Args:
        params: Tensors, or groups of them with options of their own.
        lr: Learning rate η.
        lr_decay: d.
        weight_decay: λ.
        initial_accumulator_value: The first s.
        eps: ε.

    Source: Duchi, Hazan & Singer, "Adaptive subgradient methods" (2011).
    """

    elementwise = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
        )

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        """One step for one parameter; see the class for the equations."""
        t = state["step"] = state.get("step", 0) + 1
        s = slot(state, "sum", p, fill=group["initial_accumulator_value"])
        g = decayed(g, p, group)
        s += g * g
        rate = group["lr"] / (1 + (t - 1) * group["lr_decay"])
        p -= rate * g / (xp(s).sqrt(s) + group["eps"])


class RMSprop(Optimizer):
    """Steps divided by a running root mean square of the gradient.

        g ← g + λ p
        s ← α s + (1 - α) g²
        m ← α m + (1 - α) g                (only if centered; else m = 0)
        u = g / (√(s - m²) + ε)
        b ← μ b + u;  p ← p - η b          (without momentum:  p ← p - η u)

    A gradient whose square overflows (from 2e19 in float32) leaves an infinite average, and its
    element stands still from then on: clip before the step, with ``clip_grad_norm_``.

    Args:
        params: Tensors, or groups of them with options of their own.
        lr: Learning rate η.
        alpha: α, the share of the past in the averages.
        eps: ε.
        weight_decay: λ.
        momentum: μ.
        centered: Divide by the standard deviation of the gradient, not by its root mean square.

    Source: Hinton, "Neural networks for machine learning", lecture 6e (2012); the centered form is
    Graves, "Generating sequences with recurrent neural networks" (2013), eq. 38-41.
    """

    elementwise = True
    below_one = ("alpha",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=flag("RMSprop", "centered", centered),
        )

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        """One step for one parameter; see the class for the equations."""
        np, alpha = xp(p), group["alpha"]
        g = decayed(g, p, group)
        variance = s = slot(state, "square_avg", p)
        s *= alpha
        s += (1 - alpha) * g * g
        if group["centered"]:
            m = slot(state, "grad_avg", p)
            m += (1 - alpha) * (g - m)
            # Of a constant gradient the variance is 0, and rounding may put it just below.
            variance = np.maximum(s - m * m, 0)
        u = g / (np.sqrt(variance) + group["eps"])
        if group["momentum"]:
            b = slot(state, "momentum_buffer", p)
            b *= group["momentum"]
            b += u
            u = b
        p -= group["lr"] * u


class Adam(Optimizer):
    """Momentum and a step size per element, both corrected for starting at zero.

        g ← g + λ p
        m ← β₁ m + (1 - β₁) g,             m̂ = m / (1 - β₁ᵗ)
        v ← β₂ v + (1 - β₂) g²,            v̂ = v / (1 - β₂ᵗ)
        p ← p - η m̂ / (√v̂ + ε)            (amsgrad: the largest v so far instead of v in v̂)

    A gradient whose square overflows (from 2e19 in float32) leaves an infinite average, and its
    element stands still from then on: clip before the step, with ``clip_grad_norm_``.

    Args:
        params: Tensors, or groups of them with options of their own.
        lr: Learning rate η.
        betas: (β₁, β₂).
        eps: ε.
        weight_decay: λ.
        amsgrad: Never let the step size of an element grow again.

    Source: Kingma & Ba, "Adam: a method for stochastic optimization" (2015); amsgrad is Reddi,
    Kale & Kumar, "On the convergence of Adam and beyond" (2018).
    """

    elementwise = True
    below_one = pairs = ("betas",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=flag(type(self).__name__, "amsgrad", amsgrad),
        )

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        """One step for one parameter; see the class for the equations."""
        self._adam(p, decayed(g, p, group), state, group)

    def _adam(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        beta1, beta2 = group["betas"]
        t = state["step"] = state.get("step", 0) + 1
        m, v = slot(state, "exp_avg", p), slot(state, "exp_avg_sq", p)
        largest = slot(state, "max_exp_avg_sq", p) if group["amsgrad"] else None
        rate, scale = group["lr"] / (1 - beta1**t), 1 / math.sqrt(1 - beta2**t)
        adam = backend_of(p).kernels["adam"]
        adam(xp(p), p, g, m, v, largest, beta1, beta2, rate, scale, group["eps"])


class AdamW(Adam):
    """Adam with the weights decayed apart from the gradient's averages.

        p ← p - η λ p,  then Adam's step without λ.

    Args:
        params: Tensors, or groups of them with options of their own.
        lr: Learning rate η.
        betas: (β₁, β₂).
        eps: ε.
        weight_decay: λ, here 0.01 by default.
        amsgrad: Never let the step size of an element grow again.

    Source: Loshchilov & Hutter, "Decoupled weight decay regularization" (2019), algorithm 2.
    """

    elementwise = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        """One step for one parameter; see the class for the equations."""
        p *= 1 - group["lr"] * group["weight_decay"]
        self._adam(p, g, state, group)
