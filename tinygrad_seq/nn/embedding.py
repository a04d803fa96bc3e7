"""Embedding: a learned vector for each token id."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from .. import ops
from ..tensor import Tensor
from . import init
from .checks import beside, floating_dtype, indices, positive
from .module import Module
from .parameter import Parameter

if TYPE_CHECKING:
    from ..autograd.signatures import DType, Operand


class Embedding(Module):
    """A table of vectors, looked up by id.  y = W[id]

    The table starts from N(0, 1), as in PyTorch.

    Args:
        num_embeddings: Number V of ids, 0 to V-1.
        embedding_dim: Size E of each vector.
        padding_idx: An id whose vector starts at zero and gets no gradient; negative counts from
            the end.
        dtype: Of the table; the default float if None.

    Attributes:
        weight: W, of shape ``(V, E)``.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        dtype: DType | None = None,
    ) -> None:
        self.num_embeddings = positive("Embedding", "num_embeddings", num_embeddings)
        self.embedding_dim = positive("Embedding", "embedding_dim", embedding_dim)
        table = init.normal(
            (num_embeddings, embedding_dim), dtype=floating_dtype("Embedding", dtype)
        )
        if padding_idx is not None:
            if not -num_embeddings <= operator.index(padding_idx) < num_embeddings:
                raise ValueError(
                    f"Embedding expects padding_idx within its {num_embeddings} ids; "
                    f"got {padding_idx}"
                )
            padding_idx %= num_embeddings
            table[padding_idx] = 0.0
        self.padding_idx = padding_idx
        self.weight = Parameter(table)

    def forward(self, ids: Operand) -> Tensor:
        """Map integer ids ``(...)`` to vectors ``(..., E)``.

        Raises:
            IndexError: an id is not in 0..V-1 (negative ids are refused, not wrapped).
            TypeError: the ids are not integers.
        """
        chosen: Any
        if isinstance(ids, Tensor) and ids.dtype.kind == "i" and ids.backend == self.weight.backend:
            ids = ids.astype("int64")
            chosen = ops.index.ids_below(ids, self.num_embeddings, "Embedding expects ids")
        else:
            chosen = beside(indices("Embedding", "ids", ids, self.num_embeddings), self.weight)
        vectors = ops.take(self.weight, chosen, axis=0)
        if self.padding_idx is not None:
            fixed = self.weight.detach()[self.padding_idx]
            vectors = ops.where((chosen == self.padding_idx)[..., None], fixed, vectors)
        return vectors

    def extra_repr(self) -> str:
        """Number of ids and size of the vectors."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
