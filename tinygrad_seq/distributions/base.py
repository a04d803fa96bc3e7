"""The base class of the distributions, and checks of their arguments."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from .. import ops
from ..autograd.operands import on_host
from ..backend import Array, generator, there
from ..messages import Hinted
from ..tensor import Tensor

Shape = tuple[int, ...]


class Distribution(Hinted, ABC):
    """A batch of independent distributions of one family, of shape ``batch_shape``.

    Attributes:
        batch_shape: The shape of the parameters, broadcast together.
    """

    batch_shape: Shape

    @abstractmethod
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Values ``(*sample_shape, *batch_shape)``, detached from the graph."""

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Values ``(*sample_shape, *batch_shape)`` through which gradients reach the parameters.

        Raises:
            NotImplementedError: the values are discrete, so they have no such gradient.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no reparameterised sample, as it is discrete: use "
            "sample(), and for the gradient of an expectation E f(x) the score function, "
            "(f(x).detach() * d.log_prob(x)).mean()"
        )

    @abstractmethod
    def log_prob(self, value: Any) -> Tensor:
        """ln of the probability, or density, of values that broadcast with ``batch_shape``."""

    @abstractmethod
    def entropy(self) -> Tensor:
        """-E ln p(x), in nats ``(*batch_shape)``."""

    @abstractmethod
    def _kl(self, other: Any) -> Tensor:
        """KL(self ‖ other), in closed form."""


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """KL(p ‖ q) = E_p ln(p(x) / q(x)) ≥ 0, in nats and closed form; batches broadcast.

    ∞ where a value has probability 0 under q but not under p.

    Args:
        p: The distribution that the mean is taken over.
        q: Of the same family.

    Raises:
        TypeError: they are of different families, with no closed form here.
        ValueError: their batches, or numbers of classes, do not fit.
    """
    if type(p) is not type(q) or not isinstance(p, Distribution):
        raise TypeError(
            f"kl_divergence needs two distributions of one family; got {type(p).__name__} and "
            f"{type(q).__name__}: estimate it as the mean of p.log_prob(x) - q.log_prob(x) over "
            "samples x of p"
        )
    together(f"kl_divergence of {type(p).__name__}", p=p.batch_shape, q=q.batch_shape)
    return p._kl(q)


def parameters(owner: str, **given: Any) -> tuple[Tensor, ...]:
    """Parameters as floating tensors of one dtype; Python numbers take the dtype of the others."""
    strong = [v.dtype for v in given.values() if hasattr(v, "dtype") and not isinstance(v, float)]
    floating = [dtype for dtype in strong if dtype.kind == "f"]
    dtype = np.result_type(*floating) if floating else None
    made = []
    for name, value in given.items():
        tensor = value if isinstance(value, Tensor) else Tensor(value)
        if tensor.dtype.kind == "b":
            raise TypeError(f"{owner} expects numbers for {name}; got booleans")
        if tensor.dtype.kind != "f" or (dtype is not None and tensor.dtype != dtype):
            tensor = Tensor.astype(tensor, dtype or Tensor(0.0).dtype)
        made.append(tensor)
    together(owner, **{name: t.shape for name, t in zip(given, made, strict=True)})
    return tuple(made)


def require(owner: str, name: str, wanted: str, tensor: Tensor, fine: Any) -> None:
    """Raise a ValueError that names the first invalid element.

    On a GPU this waits for one boolean, whatever the size of the tensor.
    """
    if not fine.all():
        where = tuple(int(i) for i in np.argwhere(~on_host(fine))[0])
        at = f" at index {where}" if where else ""
        raise ValueError(f"{owner} expects {name} {wanted}; got {on_host(tensor)[where]}{at}")


def uniform(tensor: Tensor, shape: Shape) -> Array:
    """Float64 from U[0, 1), drawn on the host and moved to the tensor's device."""
    return there(generator().random(shape), tensor.data)


def shape_of(sample_shape: Any) -> Shape:
    """A shape given as an int or as a tuple of them."""
    given = sample_shape if isinstance(sample_shape, tuple | list) else (sample_shape,)
    try:
        shape = tuple(operator.index(n) for n in given)
    except TypeError:
        raise TypeError(f"sample_shape expects integers; got {sample_shape!r}") from None
    if any(n < 0 for n in shape):
        raise ValueError(f"sample_shape expects sizes of at least 0; got {shape}")
    return shape


def value_for(owner: str, value: Any, batch_shape: Shape) -> Tensor:
    """The argument of ``log_prob``: an array or tensor that fits the batch."""
    made = value if isinstance(value, Tensor) else Tensor(value)
    together(f"{owner}.log_prob", value=made.shape, batch=batch_shape)
    return made


def mean_difference(p: Tensor, log_p: Tensor, log_q: Any = 0) -> Tensor:
    """p (ln p - ln q), and 0 where p = 0, even if the logs are infinite there."""
    never = p.data == 0
    return ops.multiply(p, ops.where(never, 0, log_p) - ops.where(never, 0, log_q))


def together(owner: str, **shapes: Shape) -> Shape:
    """The common shape that shapes broadcast to."""
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        listed = " and ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"{owner}: shapes do not broadcast together: {listed}") from None
