"""Attention: for each query, a weighted mean of the source, with weights by its scores.

    e_ts = score(q_t, k_s),    a_t = softmax(e_t) over the source,    c_t = Σ_s a_ts v_s

The kinds differ only in the score. Shapes: S source steps, T queries, N sequences, Q, K and V
features of queries, keys and values.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .. import ops
from ..tensor import Tensor
from . import init
from .checks import as_tensor, beside, flag, floating_dtype, positive, same_dtype, valid_steps
from .linear import affine
from .module import Module
from .parameter import Parameter

if TYPE_CHECKING:
    from ..autograd.signatures import DType, Operand


class Attention(Module):
    """What the kinds of attention share: masks, softmax, the mean.

    A subclass defines :meth:`score`.
    """

    def score(self, queries: Tensor, keys: Tensor) -> Tensor:
        """e ``(N, T, S)`` of queries ``(N, T, Q)`` and keys ``(N, S, K)``."""
        raise NotImplementedError(f"{type(self).__name__} does not define score(queries, keys)")

    def check(self, queries: Tensor, keys: Tensor) -> None:
        """Raise if the features of queries and keys do not fit."""
        raise NotImplementedError(f"{type(self).__name__} does not define check(queries, keys)")

    def forward(
        self,
        queries: Operand,
        keys: Operand,
        values: Operand | None = None,
        lengths: Operand | None = None,
        mask: Operand | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Attend from every query to every source step.

        Args:
            queries: Of all steps ``(T, N, Q)``, or of one ``(N, Q)``.
            keys: Of every source step ``(S, N, K)``.
            values: The vectors to average ``(S, N, V)``; the keys if None.
            lengths: Length of each source ``(N,)``, integers in 1..S. Past it the weights and the
                gradients are exactly zero, whatever the padding holds.
            mask: In place of lengths, which source steps to attend to, booleans ``(S, N)``.

        Returns:
            (c ``(T, N, V)``, weights a ``(T, N, S)``), without the axis T for one query.

        Raises:
            ValueError: a shape or a length does not fit, or a sequence has no step to attend to.
            TypeError: a dtype or kind does not fit.
        """
        owner = type(self).__name__
        queries, keys = as_tensor(queries), as_tensor(keys)
        values = keys if values is None else as_tensor(values)
        if queries.ndim not in (2, 3) or keys.ndim != 3 or queries.shape[-2] != keys.shape[1]:
            raise ValueError(
                f"{owner} expects queries (T, N, Q) or (N, Q) and keys (S, N, K) of the same N "
                f"sequences; got {queries.shape} and {keys.shape}"
            )
        if values.ndim != 3 or values.shape[:2] != keys.shape[:2]:
            raise ValueError(
                f"{owner} expects a value for each key, of shape {keys.shape[:2]} + (V,); got "
                f"{values.shape}"
            )
        if not keys.shape[0]:
            raise ValueError(f"{owner} has no steps to attend to: keys of shape {keys.shape}")
        if keys.dtype.kind != "f":
            raise TypeError(f"{owner} expects floating queries and keys; got {keys.dtype}")
        self.check(queries, keys)
        same_dtype(owner, "queries", queries, keys.dtype, "the keys")
        same_dtype(owner, "values", values, keys.dtype, "the keys")

        valid = valid_steps(lengths, mask, keys.shape, owner)
        if valid is not None and not valid.any(axis=0).all():
            raise ValueError(
                f"attention needs a step to attend to in every sequence; the mask leaves none of "
                f"sequence {valid.any(axis=0).argmin()}"
            )
        return self.attend(queries, keys, values, None if valid is None else beside(valid, keys))

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, valid: Any
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`forward`, of arguments that fit; ``valid`` ``(S, N)`` is on their device."""
        if valid is not None:  # zeros in place of masked steps: 0 · NaN would be NaN
            shown, same = ops.expand_dims(valid, 2), values is keys
            keys = ops.where(shown, keys, 0)
            values = keys if same else ops.where(shown, values, 0)
        single = queries.ndim == 2
        if single:
            queries = ops.expand_dims(queries, 0)
        q, k, v = (ops.swapaxes(x, 0, 1) for x in (queries, keys, values))
        scores = self.score(q, k)
        if valid is not None:
            scores = ops.where(ops.expand_dims(valid.T, 1), scores, -math.inf)
        weights = ops.softmax(scores, axis=-1)
        context, weights = ops.swapaxes(weights @ v, 0, 1), ops.swapaxes(weights, 0, 1)
        return (context[0], weights[0]) if single else (context, weights)


class DotAttention(Attention):
    """Queries and keys of one size, compared by their product.  e = qᵀ k / √K

    Args:
        scaled: Whether to divide by √K, which keeps the scores near 1 in size.

    Source: Luong et al. 2015, eq. 8 (dot); the scale: Vaswani et al. 2017, eq. 1.
    """

    def __init__(self, scaled: bool = True) -> None:
        self.scaled = flag("DotAttention", "scaled", scaled)

    def check(self, queries: Tensor, keys: Tensor) -> None:
        """Queries and keys must be of one size."""
        if queries.shape[-1] != keys.shape[-1]:
            raise ValueError(
                f"DotAttention expects queries and keys of one size; got {queries.shape} and "
                f"{keys.shape}: use BilinearAttention for other sizes"
            )

    def score(self, queries: Tensor, keys: Tensor) -> Tensor:
        """qᵀ k / √K"""
        if self.scaled:
            queries = queries / math.sqrt(keys.shape[-1])
        return queries @ ops.swapaxes(keys, 1, 2)

    def extra_repr(self) -> str:
        """``scaled=False``, if it is not scaled."""
        return "" if self.scaled else "scaled=False"


class _Learned(Attention):
    """An attention with weights, for queries of size Q and keys of size K."""

    def __init__(self, query_size: int, key_size: int) -> None:
        owner = type(self).__name__
        self.query_size = positive(owner, "query_size", query_size)
        self.key_size = positive(owner, "key_size", key_size)

    def check(self, queries: Tensor, keys: Tensor) -> None:
        """Queries and keys must have the given sizes and the dtype of the weights."""
        owner, dtype = type(self).__name__, next(self.parameters()).dtype
        for name, x, size in (("queries", queries, self.query_size), ("keys", keys, self.key_size)):
            if x.shape[-1] != size:
                raise ValueError(
                    f"{owner} expects {name} with {size} features on the last axis; got {x.shape}"
                )
            same_dtype(owner, name, x, dtype)

    def extra_repr(self) -> str:
        """The sizes."""
        return f"{self.query_size}, {self.key_size}"


class BilinearAttention(_Learned):
    """Queries and keys of any sizes, compared through a matrix.  e = qᵀ W k

    W starts from U(-1/√K, 1/√K).

    Args:
        query_size: Q.
        key_size: K.
        dtype: Of the parameters; the default float if None.

    Attributes:
        weight: W ``(Q, K)``.

    Source: Luong et al. 2015, eq. 8 (general).
    """

    def __init__(self, query_size: int, key_size: int, dtype: DType | None = None) -> None:
        super().__init__(query_size, key_size)
        dtype = floating_dtype("BilinearAttention", dtype)
        bound = 1.0 / math.sqrt(key_size)
        self.weight = Parameter(init.uniform((query_size, key_size), -bound, bound, dtype))

    def score(self, queries: Tensor, keys: Tensor) -> Tensor:
        """qᵀ W k"""
        return (queries @ self.weight) @ ops.swapaxes(keys, 1, 2)


class AdditiveAttention(_Learned):
    """Queries and keys of any sizes, compared by a small net.  e = vᵀ tanh(W q + U k + b)

    The weights start from U(-1/√n, 1/√n), n being their number of inputs. All T · S pairs are
    compared at once, which takes memory for T · S · N · A numbers.

    Args:
        query_size: Q.
        key_size: K.
        hidden_size: A, the hidden units of that net.
        dtype: Of the parameters; the default float if None.

    Attributes:
        weight_query, weight_key: W ``(A, Q)`` and U ``(A, K)``.
        bias: b ``(A,)``.
        weight_score: v ``(A,)``.

    Source: Bahdanau et al. 2015, A.1.2.
    """

    def __init__(
        self, query_size: int, key_size: int, hidden_size: int, dtype: DType | None = None
    ) -> None:
        super().__init__(query_size, key_size)
        self.hidden_size = positive("AdditiveAttention", "hidden_size", hidden_size)
        dtype = floating_dtype("AdditiveAttention", dtype)

        def draw(*shape: int) -> Parameter:
            bound = 1.0 / math.sqrt(shape[-1])
            return Parameter(init.uniform(shape, -bound, bound, dtype))

        self.weight_query = draw(hidden_size, query_size)
        self.weight_key = draw(hidden_size, key_size)
        self.bias = Parameter(init.zeros(hidden_size, dtype))
        self.weight_score = draw(hidden_size)

    def score(self, queries: Tensor, keys: Tensor) -> Tensor:
        """vᵀ tanh(W q + U k + b)"""
        wq = ops.expand_dims(affine(queries, self.weight_query, self.bias), 2)  # (N, T, 1, A)
        uk = ops.expand_dims(affine(keys, self.weight_key, None), 1)  # (N, 1, S, A)
        return ops.tanh(wq + uk) @ self.weight_score

    def extra_repr(self) -> str:
        """The sizes."""
        return f"{super().extra_repr()}, {self.hidden_size}"
