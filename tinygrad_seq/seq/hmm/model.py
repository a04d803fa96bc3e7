"""A hidden Markov model of symbols: three tables as parameters.

Shapes: T steps, N sequences, k hidden values, V symbols.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import ops
from ...autograd import no_grad
from ...backend import generator
from ...distributions import Categorical
from ...nn import Module, Parameter
from ...nn.checks import beside, booleans, floating_dtype, indices, integers, positive, valid_steps
from ...tensor import Tensor
from .chain import Chain
from .em import baum_welch, update

if TYPE_CHECKING:
    from ...autograd.signatures import DType, Operand


class HMM(Module):
    """P(h_1), P(h_{t+1} | h_t) and P(x_t | h_t) over V symbols, each the softmax of its parameter.

    Train it by gradient, like any module (``-model(x).mean()`` is a loss), or by
    :meth:`baum_welch`. For numbers use :class:`GaussianHMM`; for other observations give
    :class:`Chain` their log-likelihoods.

    Args:
        states: k, the number of hidden values.
        symbols: V, the number of symbols.
        dtype: Of the parameters; the default float if None.

    Attributes:
        initial: Scores ``(k,)``.
        transition: Scores ``(k, k)``, a row for each h_t.
        emission: Scores ``(k, V)``.

    Example:
        >>> model = HMM.from_probabilities(  # rain or not; an umbrella is seen or not
        ...     initial=[0.5, 0.5],
        ...     transition=[[0.7, 0.3], [0.3, 0.7]],
        ...     emission=[[0.9, 0.1], [0.2, 0.8]],
        ... )
        >>> x = np.array([[0], [0], [1]])
        >>> round(model(x).exp().item(), 4)
        0.1204
        >>> model.missing(x).exp().detach().numpy()[1, 0].round(3)  # the second, from the others
        array([0.528, 0.472], dtype=float32)

    Source: Rabiner, "A tutorial on hidden Markov models", 1989.
    """

    def __init__(self, states: int, symbols: int, dtype: DType | None = None) -> None:
        k, v = positive("HMM", "states", states), positive("HMM", "symbols", symbols)
        dtype = floating_dtype("HMM", dtype)
        # Unequal from the start: equal hidden values would stay equal.
        draw = generator().standard_normal
        self.initial = Parameter(draw(k).astype(dtype))
        self.transition = Parameter(draw((k, k)).astype(dtype))
        self.emission = Parameter(draw((k, v)).astype(dtype))

    @classmethod
    def from_probabilities(cls, initial: Any, transition: Any, emission: Any) -> HMM:
        """A model with given tables of probabilities, of which some may be 0.

        Args:
            initial: P(h_1) ``(k,)``.
            transition: P(h_{t+1} | h_t) ``(k, k)``.
            emission: P(x_t | h_t) ``(k, V)``.

        Raises:
            ValueError: shapes do not fit, or a row is no distribution.
        """
        tables = [Categorical(probs=p).logits for p in (initial, transition, emission)]
        shapes = [table.shape for table in tables]
        k, symbols = shapes[0][-1], shapes[2][-1]
        if shapes != [(k,), (k, k), (k, symbols)]:
            raise ValueError(
                "HMM expects initial (k,), transition (k, k) and emission (k, V); got shapes "
                f"{shapes[0]}, {shapes[1]} and {shapes[2]}"
            )
        dtype = np.result_type(*(table.dtype for table in tables))
        model = cls.__new__(cls)  # nothing to be drawn
        model.initial, model.transition, model.emission = (
            Parameter(Tensor.astype(table.detach(), dtype)) for table in tables
        )
        return model

    def tables(self) -> tuple[Tensor, Tensor, Tensor]:
        """log P(h_1) ``(k,)``, log P(h_{t+1} | h_t) ``(k, k)``, log P(x_t | h_t) ``(k, V)``."""
        initial, transition, emission = (
            ops.log_softmax(scores) for scores in (self.initial, self.transition, self.emission)
        )
        return initial, transition, emission

    def chain(self, x: Operand, lengths: Operand | None = None, observed: Any = None) -> Chain:
        """The chain of some sequences, for posteriors, paths and other results.

        Args:
            x: Symbols ``(T, N)``, integers in 0..V-1; in padding and where missing, anything.
            lengths: Length of each sequence ``(N,)``.
            observed: Which symbols were seen, booleans ``(T, N)``; all if None.

        Raises:
            IndexError: there is no such symbol.
            ValueError: shapes or lengths do not fit.
            TypeError: symbols or lengths are not integers, or ``observed`` not booleans.
        """
        return _chain(self.tables(), x, lengths, observed)

    def forward(self, x: Operand, lengths: Operand | None = None, observed: Any = None) -> Tensor:
        """log P(x) ``(N,)``; arguments as for :meth:`chain`."""
        return self.chain(x, lengths, observed).log_prob()

    def missing(self, x: Operand, lengths: Operand | None = None, observed: Any = None) -> Tensor:
        """log P(x_j | x_{-j}) ``(T, N, V)``: each symbol as if it, too, were missing.

        P(x_j | x_{-j}) = Σ_h P(x_j | h) P(h_j = h | x_{-j});  arguments as for :meth:`chain`.
        Zeros in padding.
        """
        tables = self.tables()
        chain = _chain(tables, x, lengths, observed)
        answers = ops.logsumexp(ops.expand_dims(chain.leave_one_out(), -1) + tables[2], axis=-2)
        return chain.without_padding(answers)

    def sample(self, steps: int, count: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Draw sequences from the model, with the library's generator.

        Returns:
            (hidden values ``(T, N)``, symbols ``(T, N)``), int64.
        """
        steps, count = positive("HMM", "steps", steps), positive("HMM", "count", count)
        with no_grad():
            initial, transition, emission = self.tables()
            h = [Categorical(logits=initial).sample((count,))]
            for _ in range(steps - 1):
                h.append(Categorical(logits=transition[h[-1]]).sample())
            hidden = ops.stack(h)
            symbols = Categorical(logits=emission[hidden]).sample()
        return hidden.numpy(), symbols.numpy()

    def baum_welch(
        self,
        x: Operand,
        lengths: Operand | None = None,
        observed: Any = None,
        iterations: int = 100,
        tolerance: float = 1e-4,
    ) -> list[float]:
        """Fit the tables by expectation-maximisation; log P(x) never falls.

        E: the expected number of each initial value, transition and emission. These counts are the
        gradient of log P(x) with respect to the logs of the tables, so this step is one backward
        pass. M: each table is its normalised counts. A row that was never visited is not
        changed.

        Args:
            x, lengths, observed: As for :meth:`chain`.
            iterations: The maximal number of updates.
            tolerance: Stop when log P(x) of all sequences gains less than this, in nats.

        Returns:
            log P(x) of all sequences before each update, and after the last.

        Raises:
            ValueError: the model says that a sequence is impossible, or there is none.

        Source: Baum et al. 1970; Rabiner 1989, §III.C.
        """

        def expect() -> tuple[Tensor, Callable[[], None]]:
            tables = [t.detach().requires_grad_() for t in self.tables()]

            def maximise() -> None:
                for scores, table in zip(self.parameters(), tables, strict=True):
                    update(scores, table)

            return _chain(tables, x, lengths, observed).log_prob(), maximise

        return baum_welch(expect, iterations, tolerance)


def _chain(tables: Any, x: Any, lengths: Any, observed: Any) -> Chain:
    """The chain of symbols ``x`` under log-tables."""
    initial, transition, emission = tables
    x = integers("HMM", "symbols", x)
    if x.ndim != 2 or not x.shape[0]:
        raise ValueError(
            f"HMM expects symbols (T, N) of at least one step; got shape {x.shape}"
            + (": for one sequence give it as [:, None]" if x.ndim == 1 else "")
        )
    seen = seen_steps("HMM", x.shape, lengths, observed)
    x = indices("HMM", "symbols", np.where(seen, x, 0), emission.shape[1])
    likelihood = ops.take(ops.swapaxes(emission, 0, 1), x, axis=0)
    likelihood = ops.where(beside(seen[..., None], likelihood), likelihood, 0)
    return Chain(initial, transition, likelihood, lengths)


def seen_steps(
    owner: str, shape: tuple[int, ...], lengths: Any, observed: Any
) -> np.ndarray[Any, Any]:
    """Which steps of sequences ``(T, N)`` were seen: neither padding nor missing."""
    valid = valid_steps(lengths, None, (*shape, 1), owner)
    seen: np.ndarray[Any, Any] = np.ones(shape, bool) if valid is None else valid
    if observed is None:
        return seen
    mask = booleans(owner, "mask of what was observed", observed)
    if mask.shape != shape:
        raise ValueError(f"observed must be of the shape {shape} of x; got {mask.shape}")
    both: np.ndarray[Any, Any] = seen & mask
    return both
