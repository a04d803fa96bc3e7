"""The nonlinearities of recurrent nets: as modules for a Sequential, as functions in cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from .. import ops
from ..tensor import Tensor
from .checks import as_tensor
from .module import Module

if TYPE_CHECKING:
    from ..autograd.signatures import Operand

Activation: TypeAlias = Callable[[Any], Any]
"""A function of tensors, element by element: ``ts.relu``, or a composition of your own."""

SIGMOID_TANH: tuple[Activation, ...] = (ops.sigmoid, ops.tanh)
SIGMOID_TANH_TANH: tuple[Activation, ...] = (ops.sigmoid, ops.tanh, ops.tanh)
NONLINEARITIES: dict[str, Activation] = {"tanh": ops.tanh, "relu": ops.relu}


class Tanh(Module):
    """Hyperbolic tangent, element by element."""

    def forward(self, x: Operand) -> Tensor:
        """Map x of any shape to tanh x."""
        return ops.tanh(as_tensor(x))


class Sigmoid(Module):
    """Logistic function 1 / (1 + e^-x), element by element."""

    def forward(self, x: Operand) -> Tensor:
        """Map x of any shape to σ(x)."""
        return ops.sigmoid(as_tensor(x))


class ReLU(Module):
    """Rectifier max(x, 0), element by element."""

    def forward(self, x: Operand) -> Tensor:
        """Map x of any shape to max(x, 0)."""
        return ops.relu(as_tensor(x))


def nonlinearity_of(given: Any) -> Activation:
    """φ of a simple cell, given by its name or as a function.

    Raises:
        ValueError: it is neither a known name nor a function.
    """
    known = isinstance(given, str) and given in NONLINEARITIES
    if not known and (isinstance(given, Module) or not callable(given)):
        raise ValueError(
            f'nonlinearity must be "tanh" or "relu", or a function of tensors; got {given!r}'
        )
    return NONLINEARITIES[given] if known else given


def nonlinearity_options(given: Any) -> list[str]:
    """φ as text for the repr, if it is not the default."""
    phi = nonlinearity_of(given)
    written = repr(given) if isinstance(given, str) else _named([phi])
    return [f"nonlinearity={written}"] * (phi is not ops.tanh)


def activations_of(owner: str, given: Any, names: str) -> tuple[Activation, ...]:
    """The functions of a gated cell, one for each name in its equations.

    Raises:
        TypeError: they are not functions, or their number is wrong.
    """
    functions = tuple(given) if isinstance(given, Iterable) else (given,)
    wrong = [f for f in functions if isinstance(f, Module) or not callable(f)]
    if wrong or len(functions) != len(names.split()):
        got = ", ".join(map(repr, functions))
        raise TypeError(
            f"{owner} expects its activations ({', '.join(names.split())}) as functions of "
            f"tensors, such as ts.tanh; got ({got})"
        )
    return functions


def activation_options(given: tuple[Activation, ...], usual: tuple[Activation, ...]) -> list[str]:
    """Activations that differ from the defaults, as text for the repr."""
    return [f"activations=({_named(given)})"] * (given != usual)


def _named(functions: Iterable[Activation]) -> str:
    """Functions as text for the repr."""
    return ", ".join(getattr(f, "__name__", None) or repr(f) for f in functions)
