"""NAdam, which looks ahead, and RAdam, which waits until its variance is known."""

from __future__ import annotations

import math
from typing import Any

from ..backend import Array, xp
from .base import Group, Optimizer, Params, decayed, slot


class _Moments(Optimizer):
    """Their common part: the two averages of Adam."""

    below_one = pairs = ("betas",)

    def averaged(
        self, p: Array, g: Array, state: dict[str, Any], group: Group
    ) -> tuple[int, Array, Array]:
        """The step, m and v, brought forward by g."""
        beta1, beta2 = group["betas"]
        m, v = slot(state, "exp_avg", p), slot(state, "exp_avg_sq", p)
        m += (1 - beta1) * (g - m)
        v *= beta2
        v += (1 - beta2) * g * g
        state["step"] = state.get("step", 0) + 1
        return state["step"], m, v


class NAdam(_Moments):
    """Adam with Nesterov's momentum: the step is taken with the average as it will be.

        g ← g + λ p
        m ← β₁ m + (1 - β₁) g,    v ← β₂ v + (1 - β₂) g²,    v̂ = v / (1 - β₂ᵗ)
        μₜ = β₁ (1 - 0.96^(t ψ) / 2),    M ← M μₜ
        p ← p - η ((1 - μₜ) / (1 - M) g + μₜ₊₁ / (1 - M μₜ₊₁) m) / (√v̂ + ε)

    Args:
        params: Tensors, or groups of them with options of their own.
        lr: Learning rate η.
        betas: (β₁, β₂).
        eps: ε.
        weight_decay: λ.
        momentum_decay: ψ.

    Source: Dozat, "Incorporating Nesterov momentum into Adam" (2016).
    """

    elementwise = True

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            momentum_decay=momentum_decay,
        )

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        """One step for one parameter; see the class for the equations."""
        beta1, beta2 = group["betas"]
        g = decayed(g, p, group)
        t, m, v = self.averaged(p, g, state, group)
        mu, later = (
            beta1 * (1 - 0.5 * 0.96 ** (step * group["momentum_decay"])) for step in (t, t + 1)
        )
        product = state["mu_product"] = state.get("mu_product", 1.0) * mu
        root = xp(p).sqrt(v / (1 - beta2**t)) + group["eps"]
        now, next_ = (1 - mu) / (1 - product), later / (1 - product * later)
        p -= group["lr"] * (now * g + next_ * m) / root


class RAdam(_Moments):
    """Adam that starts without its step size per element, until that is known well enough.

        g ← g + λ p
        m ← β₁ m + (1 - β₁) g,    m̂ = m / (1 - β₁ᵗ),    v ← β₂ v + (1 - β₂) g²
        ρ = 2 / (1 - β₂) - 1,    ρₜ = ρ - 2 t β₂ᵗ / (1 - β₂ᵗ)
        p ← p - η m̂                                    where ρₜ ≤ 5, else
        p ← p - η m̂ r √(1 - β₂ᵗ) / (√v + ε),    r² = (ρₜ - 4)(ρₜ - 2) ρ / ((ρ - 4)(ρ - 2) ρₜ)

    Args:
        params: Tensors, or groups of them with options of their own.
        lr: Learning rate η.
        betas: (β₁, β₂).
        eps: ε.
        weight_decay: λ.

    Source: Liu et al., "On the variance of the adaptive learning rate and beyond" (2020).
    """

    elementwise = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        """One step for one parameter; see the class for the equations."""
        beta1, beta2 = group["betas"]
        t, m, v = self.averaged(p, decayed(g, p, group), state, group)
        rate, known = group["lr"] / (1 - beta1**t), 1 - beta2**t
        rho = 2 / (1 - beta2) - 1
        now = rho - 2 * t * beta2**t / known
        if now <= 5:
            p -= rate * m
            return
        r = math.sqrt((now - 4) * (now - 2) * rho / ((rho - 4) * (rho - 2) * now))
        p -= rate * r * math.sqrt(known) * m / (xp(p).sqrt(v) + group["eps"])
