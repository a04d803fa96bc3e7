"""Bernoulli and categorical distributions, from probabilities or logits.

Each stores the logs of its probabilities. From finite logits these are finite, and so are their
gradients; from probabilities they are -∞ where the probability is 0, and 0 · ln 0 is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import ops
from ..autograd.operands import on_host
from ..backend import backend_of, xp
from ..tensor import Tensor
from .base import (
    Distribution,
    mean_difference,
    parameters,
    require,
    shape_of,
    together,
    uniform,
    value_for,
)

if TYPE_CHECKING:
    from ..autograd.signatures import Operand


class Bernoulli(Distribution):
    """1 with probability p, else 0.  P(x) = pˣ (1 - p)¹⁻ˣ,  p = σ(logit)

    Args:
        probs: p, 0 to 1; or
        logits: ln(p / (1 - p)), any finite numbers.

    Attributes:
        probs: p ``(*batch_shape)``.

    Raises:
        TypeError: not exactly one of the two is given.
        ValueError: a probability is not within 0 and 1, or a logit is not finite.

    Example:
        >>> Bernoulli(logits=0.0).entropy()  # a fair coin: ln 2
        Tensor(0.6931472, dtype=float32)
    """

    def __init__(self, probs: Operand | None = None, logits: Operand | None = None) -> None:
        if _from_probs("Bernoulli", probs, logits):
            (self.probs,) = parameters("Bernoulli", probs=probs)
            p = self.probs.data
            require("Bernoulli", "probs", "within 0 and 1", self.probs, (p >= 0) & (p <= 1))
            self._q = 1 - self.probs
            with backend_of(p).quiet():
                self._log_p, self._log_q = ops.log(self.probs), ops.log1p(-self.probs)
        else:
            (x,) = parameters("Bernoulli", logits=logits)
            require("Bernoulli", "logits", "finite", x, xp(x.data).isfinite(x.data))
            self.probs, self._q = ops.sigmoid(x), ops.sigmoid(-x)
            self._log_p, self._log_q = -ops.softplus(-x), -ops.softplus(x)
        self.batch_shape = self.probs.shape

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Zeros and ones ``(*sample_shape, *batch_shape)`` in the dtype of the parameters."""
        shape = (*shape_of(sample_shape), *self.batch_shape)
        p = self.probs.data
        return Tensor._wrap(xp(p).asarray(uniform(self.probs, shape) < p, p.dtype))

    def log_prob(self, value: Operand) -> Tensor:
        """ln P(x) of zeros and ones x that broadcast with ``batch_shape``.

        Raises:
            ValueError: a value is neither 0 nor 1.
        """
        x = value_for("Bernoulli", value, self.batch_shape)
        one = x.data == 1
        require("Bernoulli.log_prob", "a value", "of 0 or 1", x, one | (x.data == 0))
        return ops.where(one, self._log_p, self._log_q)

    def entropy(self) -> Tensor:
        """-p ln p - (1 - p) ln(1 - p), in nats ``(*batch_shape)``."""
        return -(mean_difference(self.probs, self._log_p) + mean_difference(self._q, self._log_q))

    def _kl(self, other: Bernoulli) -> Tensor:
        ones = mean_difference(self.probs, self._log_p, other._log_p)
        return ones + mean_difference(self._q, self._log_q, other._log_q)

    def __repr__(self) -> str:
        return f"Bernoulli(batch_shape={self.batch_shape})"


class Categorical(Distribution):
    """One of C classes.  P(x = i) = p_i,  p = softmax(logits)

    Args:
        probs: p ``(..., C)``, 0 to 1, with a sum of 1 along the last axis; or
        logits: Scores ``(..., C)``, any finite numbers, or -∞ for a class that is impossible.

    Attributes:
        probs: p ``(..., C)``.
        logits: ln p ``(..., C)``, normalised.

    Raises:
        TypeError: not exactly one of the two is given.
        ValueError: probabilities are not within 0 and 1 or do not sum to 1, a logit is +∞ or NaN,
            or every class is impossible.

    Example:
        >>> d = Categorical(probs=[0.5, 0.25, 0.25])
        >>> d.log_prob([0, 2]).exp(), d.entropy()
        (Tensor([0.5 , 0.25], dtype=float32), Tensor(1.0397208, dtype=float32))
    """

    def __init__(self, probs: Operand | None = None, logits: Operand | None = None) -> None:
        given = _from_probs("Categorical", probs, logits)
        name = "probs" if given else "logits"
        (x,) = parameters("Categorical", **{name: probs if given else logits})
        if not x.ndim or not x.shape[-1]:
            raise ValueError(f"Categorical expects {name} (..., C), C ≥ 1; got shape {x.shape}")
        values = x.data
        if given:
            require("Categorical", "probs", "within 0 and 1", x, (values >= 0) & (values <= 1))
            total = values.sum(axis=-1, dtype=np.float64)
            near = abs(total - 1) < max(1e-5, float(np.finfo(values.dtype).eps))
            require("Categorical", "probs", "with a sum of 1 along the last axis", total, near)
            with backend_of(values).quiet():
                self.probs, self.logits = x, ops.log(x)
        else:
            require("Categorical", "logits", "below +inf", x, values < np.inf)
            possible = values.max(axis=-1)
            require("Categorical", "a class", "that is possible", possible, possible > -np.inf)
            self.probs, self.logits = ops.softmax(x), ops.log_softmax(x)
        self.batch_shape = x.shape[:-1]

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Classes ``(*sample_shape, *batch_shape)``, int64."""
        shape = (*shape_of(sample_shape), *self.batch_shape)
        below = self.probs.data.astype(np.float64).cumsum(axis=-1)
        below = below / below[..., -1:]
        drawn = (uniform(self.probs, shape)[..., None] >= below).sum(axis=-1)
        return Tensor._wrap(xp(below).asarray(drawn, np.int64))

    def log_prob(self, value: Operand) -> Tensor:
        """ln P(x) of classes x that broadcast with ``batch_shape``.

        Raises:
            TypeError: the classes are not integers.
            IndexError: there is no such class.
        """
        x = on_host(value.data if isinstance(value, Tensor) else value)
        classes = self.logits.shape[-1]
        shape = together("Categorical.log_prob", value=x.shape, batch=self.batch_shape)
        if x.dtype.kind not in "iu":
            raise TypeError(f"Categorical.log_prob expects integer classes; got {x.dtype}")
        if x.size and not 0 <= x.min() <= x.max() < classes:
            raise IndexError(
                f"Categorical.log_prob expects classes from 0 to {classes - 1}; got "
                f"{x.min()} to {x.max()}"
            )
        logits = ops.broadcast_to(self.logits, (*shape, classes))
        index = np.broadcast_to(x, shape)[..., None]
        return ops.take_along_axis(logits, index, axis=-1)[..., 0]

    def entropy(self) -> Tensor:
        """-Σ pᵢ ln pᵢ, in nats ``(*batch_shape)``."""
        return -ops.sum(mean_difference(self.probs, self.logits), axis=-1)

    def _kl(self, other: Categorical) -> Tensor:
        if self.logits.shape[-1] != other.logits.shape[-1]:
            raise ValueError(
                "kl_divergence of Categorical needs as many classes in both; got "
                f"{self.logits.shape[-1]} and {other.logits.shape[-1]}"
            )
        each = mean_difference(self.probs, self.logits, other.logits)
        return ops.sum(each, axis=-1)

    def __repr__(self) -> str:
        return f"Categorical(batch_shape={self.batch_shape}, classes={self.logits.shape[-1]})"


def _from_probs(owner: str, probs: Any, logits: Any) -> bool:
    """Whether probabilities are given, rather than logits."""
    if (probs is None) == (logits is None):
        got = "neither" if probs is None else "both"
        raise TypeError(f"{owner} expects either probs or logits; got {got}")
    return probs is not None
