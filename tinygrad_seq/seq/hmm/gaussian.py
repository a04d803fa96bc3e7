"""A hidden Markov model of numbers: each hidden value has a mean and a variance for each feature.

Shapes: T steps, N sequences, F features, k hidden values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import ops
from ...autograd import no_grad
from ...backend import generator, there, xp
from ...distributions import Categorical, Normal
from ...nn import Module, Parameter
from ...nn.checks import beside, features, floating_dtype, positive
from ...tensor import Tensor
from .chain import Chain
from .em import baum_welch, update
from .model import seen_steps

if TYPE_CHECKING:
    from ...autograd.signatures import DType, Operand


class GaussianHMM(Module):
    """P(h_1), P(h_{t+1} | h_t), and x_t | h_t normal with a mean and a variance for each feature.

        log p(x | h) = -Σ_f ((x_f - μ_hf)² / σ²_hf + ln σ²_hf + ln 2π) / 2

    Train it by gradient (``-model(x).mean()`` is a loss), or by :meth:`baum_welch`. Means far from
    the data do not reach it: start with :meth:`near`.

    Args:
        states: k, the number of hidden values.
        features: F, the numbers of a step.
        dtype: Of the parameters; the default float if None.

    Attributes:
        initial: Scores ``(k,)``, of which the softmax is P(h_1).
        transition: Scores ``(k, k)``, a row for each h_t.
        mean: μ ``(k, F)``.
        log_var: ln σ² ``(k, F)``.

    Example:
        >>> model = GaussianHMM.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], mean=[[0.0], [5.0]], var=[[1.0], [1.0]]
        ... )
        >>> x = ts.tensor([0.3, -1.0, 4.1, 2.6, 5.5])[:, None, None]
        >>> path, _ = model.chain(x).viterbi()
        >>> path[:, 0].tolist()
        [0, 0, 1, 1, 1]

    Source: Rabiner, "A tutorial on hidden Markov models", 1989, §IV.A.
    """

    def __init__(self, states: int, features: int, dtype: DType | None = None) -> None:
        k, f = (
            positive("GaussianHMM", "states", states),
            positive("GaussianHMM", "features", features),
        )
        dtype = floating_dtype("GaussianHMM", dtype)
        draw = generator().standard_normal
        self.initial = Parameter(np.zeros(k, dtype))
        self.transition = Parameter(np.zeros((k, k), dtype))
        self.mean = Parameter(draw((k, f)).astype(dtype))
        self.log_var = Parameter(np.zeros((k, f), dtype))

    @classmethod
    def from_parameters(
        cls, initial: Any, transition: Any, mean: Operand, var: Operand
    ) -> GaussianHMM:
        """A model with given probabilities, of which some may be 0, means and variances.

        Args:
            initial: P(h_1) ``(k,)``.
            transition: P(h_{t+1} | h_t) ``(k, k)``.
            mean: μ ``(k, F)``.
            var: σ² ``(k, F)``, above 0.

        Raises:
            ValueError: shapes do not fit, a row is no distribution, or a variance is not above 0.
        """
        tables = [Categorical(probs=p).logits.detach() for p in (initial, transition)]
        mean, var = (np.asarray(Tensor(v).detach().numpy()) for v in (mean, var))
        k = len(tables[0])
        if tables[1].shape != (k, k) or mean.shape != var.shape or mean.shape[:-1] != (k,):
            raise ValueError(
                "GaussianHMM expects initial (k,), transition (k, k), mean (k, F) and var (k, F); "
                f"got shapes {tables[0].shape}, {tables[1].shape}, {mean.shape} and {var.shape}"
            )
        if not (np.isfinite(mean).all() and (var > 0).all() and np.isfinite(var).all()):
            raise ValueError("GaussianHMM expects finite means, and finite variances above 0")
        model = cls(k, mean.shape[1], np.result_type(mean, var, *(t.dtype for t in tables)))
        values = (*tables, mean, np.log(var))
        for parameter, value in zip(model.parameters(), values, strict=True):
            parameter.detach().copy_(Tensor.astype(Tensor(value), parameter.dtype))
        return model

    @classmethod
    def near(cls, states: int, x: Operand, lengths: Operand | None = None) -> GaussianHMM:
        """A model to start training from. Its means are steps of the data, drawn with the library's
        generator, each far from those before it; its variances are those of the data.

        Args:
            states: k.
            x: ``(T, N, F)``, floating.
            lengths: Length of each sequence ``(N,)``.

        Source: the means are those of k-means++, Arthur & Vassilvitskii 2007.
        """
        data = np.asarray(Tensor(x).detach().numpy())
        if data.ndim != 3 or data.dtype.kind != "f":
            raise ValueError(f"near expects floating x (T, N, F); got {data.dtype} {data.shape}")
        data = data[seen_steps("GaussianHMM", data.shape[:2], lengths, None)]
        if not data.size or not np.isfinite(data).all():
            raise ValueError("near needs steps to begin with, all finite")
        model = cls(states, data.shape[1], data.dtype)
        var = np.maximum(data.var(axis=0), np.finfo(data.dtype).tiny)
        means = [data[generator().integers(len(data))]]
        nearest = np.full(len(data), np.inf)
        for _ in range(states - 1):
            nearest = np.minimum(nearest, ((data - means[-1]) ** 2 / var).sum(axis=1))
            total = nearest.sum()
            share = nearest / total if total > 0 else None
            means.append(data[generator().choice(len(data), p=share)])
        model.mean.detach().copy_(np.stack(means))
        model.log_var.detach().copy_(np.broadcast_to(np.log(var), model.log_var.shape))
        return model

    def log_likelihood(self, x: Operand) -> Tensor:
        """log p(x_t | h_t) ``(T, N, k)`` of numbers ``(T, N, F)``."""
        x = features("GaussianHMM", x, "features", self.mean.shape[1], self.mean.dtype)
        error = ops.expand_dims(x, -2) - self.mean
        terms = error * error * ops.exp(-self.log_var) + self.log_var + math.log(2 * math.pi)
        return ops.sum(terms, axis=-1) / -2

    def chain(self, x: Operand, lengths: Operand | None = None, observed: Any = None) -> Chain:
        """The chain of some sequences, for posteriors, paths and other results.

        Args:
            x: Numbers ``(T, N, F)``, in the dtype of the parameters; in padding and where missing,
                anything.
            lengths: Length of each sequence ``(N,)``.
            observed: Which steps were seen, booleans ``(T, N)``; all if None.

        Raises:
            ValueError: shapes or lengths do not fit.
            TypeError: dtypes do not fit, or ``observed`` is not booleans.
        """
        x, seen = self._seen(x, lengths, observed)
        emission = ops.where(beside(seen[..., None], x), self.log_likelihood(x), 0)
        initial, transition = (ops.log_softmax(s) for s in (self.initial, self.transition))
        return Chain(initial, transition, emission, lengths)

    def _seen(self, x: Any, lengths: Any, observed: Any) -> tuple[Tensor, np.ndarray[Any, Any]]:
        """Numbers, 0 where they were not seen, and where they were."""
        x = features("GaussianHMM", x, "features", self.mean.shape[1], self.mean.dtype)
        if x.ndim != 3:
            raise ValueError(
                f"GaussianHMM expects numbers (T, N, F); got shape {x.shape}"
                + (": for one sequence give it as [:, None]" if x.ndim == 2 else "")
            )
        seen = seen_steps("GaussianHMM", x.shape[:2], lengths, observed)
        return ops.where(beside(seen[..., None], x), x, 0), seen

    def forward(self, x: Operand, lengths: Operand | None = None, observed: Any = None) -> Tensor:
        """log p(x) ``(N,)``; arguments as for :meth:`chain`."""
        return self.chain(x, lengths, observed).log_prob()

    def sample(self, steps: int, count: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Draw sequences from the model, with the library's generator.

        Returns:
            (hidden values ``(T, N)``, int64; numbers ``(T, N, F)``).
        """
        steps = positive("GaussianHMM", "steps", steps)
        count = positive("GaussianHMM", "count", count)
        with no_grad():
            h = [Categorical(logits=self.initial).sample((count,))]
            for _ in range(steps - 1):
                h.append(Categorical(logits=self.transition[h[-1]]).sample())
            hidden = ops.stack(h)
            std = ops.exp(self.log_var / 2)
            numbers = Normal(self.mean[hidden], std[hidden]).sample()
        return hidden.numpy(), numbers.numpy()

    def baum_welch(
        self,
        x: Operand,
        lengths: Operand | None = None,
        observed: Any = None,
        iterations: int = 100,
        tolerance: float = 1e-4,
        least_var: float = 1e-6,
    ) -> list[float]:
        """Fit the model by expectation-maximisation; log p(x) never falls.

        E: γ_t(h), the probability of h at step t, and the expected number of each transition are
        the gradients of log p(x). M: each table is its normalised counts; means and variances are
        those of the data, weighted by γ. A hidden value that was never visited is not changed.

        Args:
            x, lengths, observed: As for :meth:`chain`.
            iterations: The maximal number of updates.
            tolerance: Stop when log p(x) of all sequences gains less than this, in nats.
            least_var: The smallest variance. Without it, the variance around a single step has no
                lower bound.

        Returns:
            log p(x) of all sequences before each update, and after the last.

        Raises:
            ValueError: a sequence is impossible under the model, or there is none.

        Source: Baum et al. 1970; Rabiner 1989, §IV.A.
        """
        numbers, seen = self._seen(x, lengths, observed)
        data, mask = numbers.data, beside(seen[..., None], numbers)

        def expect() -> tuple[Tensor, Callable[[], None]]:
            with no_grad():
                leaves = [ops.log_softmax(s) for s in (self.initial, self.transition)]
                leaves.append(self.log_likelihood(numbers))
            initial, transition, emission = (leaf.detach().requires_grad_() for leaf in leaves)

            def maximise() -> None:
                update(self.initial, initial)
                update(self.transition, transition)
                assert emission.grad is not None  # every chain has a step
                self._fit(emission.grad.data, data, least_var)

            chain = Chain(initial, transition, ops.where(mask, emission, 0), lengths)
            return chain.log_prob(), maximise

        return baum_welch(expect, iterations, tolerance)

    def _fit(self, posterior: Any, x: Any, least_var: float) -> None:
        """Means and variances of data ``(T, N, F)`` weighed by posteriors ``(T, N, k)``."""
        np = xp(x)
        gamma = posterior.reshape(-1, posterior.shape[-1])
        rows = x.reshape(-1, x.shape[-1])
        weight = gamma.sum(axis=0)[:, None]
        visited = weight > 0
        safe = np.where(visited, weight, 1)
        mean = np.where(visited, gamma.T @ rows / safe, self.mean.data)
        error = rows[:, None] - mean
        var = np.maximum((gamma[..., None] * error * error).sum(axis=0) / safe, least_var)
        self.mean.detach().copy_(there(mean, self.mean.data))
        self.log_var.detach().copy_(np.where(visited, np.log(var), self.log_var.data))
