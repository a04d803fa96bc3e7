"""What is differentiated: a function, and every floating array that it reads.

A checker sees one flat list of leaves, whatever the user's function takes: arrays, Tensors, nested
states such as `(h, c)`, and Modules, whose parameters are inputs like any other.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..autograd import enable_grad, grad, no_grad
from ..autograd.operands import on_host
from ..nn import Module
from ..tensor import Tensor
from ..trees import leaves, mapped, refilled
from .oracles import Array, name_of
from .report import GRADIENT_OF, GradientError


@dataclass(frozen=True)
class Leaf:
    """One floating input: its name in messages, its values, and the parameter that holds it."""

    label: str
    value: Array
    parameter: Tensor | None = None


@dataclass(frozen=True)
class Slot:
    """The place of a leaf in the arguments."""

    number: int


class Subject:
    """A function with its inputs taken apart into leaves.

    Args:
        f: a function of Tensors, or a Module.
        inputs: arrays, Tensors, Modules, nested tuples, lists and dicts of them; anything that is
            not floating (indices, masks, plain numbers) is passed on as it is.
        names: the names of the inputs; by default those that the function itself gives them.
    """

    def __init__(
        self, f: Callable[..., Any], inputs: Sequence[Any], names: Sequence[str] | None = None
    ) -> None:
        self.f = f
        self.name = name_of(f)
        self.inputs = tuple(inputs)
        self.names = tuple(own_names(f) if names is None else names)[: len(self.inputs)]
        self.leaves: list[Leaf] = []
        if isinstance(f, Module):
            self._take_module(f, "")
        names = self.names + ("",) * (len(self.inputs) - len(self.names))
        self.arguments = [
            self._take(value, f"input {position}", name)
            for position, (value, name) in enumerate(zip(self.inputs, names, strict=True))
        ]

    @property
    def values(self) -> list[Array]:
        """The value of each leaf."""
        return [leaf.value for leaf in self.leaves]

    def apply(self, values: Sequence[Any]) -> list[Any]:
        """The floating outputs of f with these values in the places of the leaves.

        Raises:
            GradientError: there is none: a check would compare nothing, and pass.
        """
        result = self.f(
            *mapped(lambda x: values[x.number] if isinstance(x, Slot) else x, self.arguments)
        )
        outputs = _floating_outputs(result)
        if not outputs:
            raise GradientError(_nothing(self.name, result))
        return outputs

    def call(self, values: Sequence[Array]) -> list[Array]:
        """The outputs at other values, as arrays; nothing is recorded, parameters are restored."""
        with no_grad(), self.parameters_at(values):
            return [on_host(y) for y in self.apply([Tensor(value) for value in values])]

    def record(self) -> tuple[list[Tensor], list[Any]]:
        """The leaves as Tensors that require gradients, and the recorded outputs."""
        leaves = self.tensors(self.values)
        with enable_grad():
            return leaves, self.apply(leaves)

    def tensors(self, values: Sequence[Array]) -> list[Tensor]:
        """A Tensor that requires gradients for each leaf; a parameter stands for itself."""
        return [
            Tensor(value, requires_grad=True) if leaf.parameter is None else leaf.parameter
            for leaf, value in zip(self.leaves, values, strict=False)
        ]

    @contextmanager
    def parameters_at(self, values: Sequence[Array]) -> Iterator[None]:
        """The parameters hold these values for the time of a `with` block."""
        held = [
            (leaf.parameter, leaf.parameter.detach().numpy().copy(), value)
            for leaf, value in zip(self.leaves, values, strict=False)
            if leaf.parameter is not None and leaf.value is not value
        ]
        try:
            with no_grad():
                for parameter, _, value in held:
                    parameter.copy_(value)
            yield
        finally:
            with no_grad():
                for parameter, original, _ in held:
                    parameter.copy_(original)

    def astype(self, dtype: Any) -> Subject:
        """The same function and inputs in another precision; Modules are copied."""
        f = _astype(self.f, dtype) if isinstance(self.f, Module) else self.f
        return Subject(f, mapped(lambda x: _astype(x, dtype), self.inputs), self.names)

    def _take(self, value: Any, label: str, path: str) -> Any:
        """The argument, with a `Slot` in the place of each floating leaf."""
        if isinstance(value, Module):
            self._take_module(value, path)
            return value
        if isinstance(value, tuple | list | dict):
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            taken = {
                key: self._take(part, f"{label}[{key!r}]", path and f"{path}[{key!r}]")
                for key, part in pairs
            }
            return refilled(value, taken)
        data = value.detach().numpy() if isinstance(value, Tensor) else value
        if not _is_floating(data):
            return value
        self.leaves.append(Leaf(f"{label} ({path})" if path else label, np.asarray(data)))
        return Slot(len(self.leaves) - 1)

    def _take_module(self, module: Module, path: str) -> None:
        known = {id(leaf.parameter) for leaf in self.leaves}
        for name, parameter in module.named_parameters():
            if id(parameter) not in known:
                label = f"parameter {path}.{name}" if path else f"parameter {name}"
                self.leaves.append(Leaf(label, parameter.detach().numpy(), parameter))


class GradientSubject:
    """The vector-Jacobian product of a subject, itself a function of its leaves and cotangents.

    Checking its gradient is checking the second order.
    """

    def __init__(self, subject: Subject, cotangents: Sequence[Array]) -> None:
        self.name = GRADIENT_OF + subject.name
        self.subject = subject
        self.leaves = [
            *subject.leaves,
            *(Leaf(f"upstream gradient {k}", g) for k, g in enumerate(cotangents)),
        ]

    @property
    def values(self) -> list[Array]:
        """The value of each leaf."""
        return [leaf.value for leaf in self.leaves]

    def call(self, values: Sequence[Array]) -> list[Array]:
        """The gradients at other values and cotangents, as arrays."""
        count = len(self.subject.leaves)
        with self.subject.parameters_at(values[:count]), enable_grad():
            leaves = self.subject.tensors(values[:count])
            upstream = [Tensor(value) for value in values[count:]]
            return [
                y.detach().numpy() for y in self._gradients(leaves, upstream, create_graph=False)
            ]

    def record(self) -> tuple[list[Tensor], list[Any]]:
        """The leaves as Tensors that require gradients, and the recorded gradients."""
        count = len(self.subject.leaves)
        leaves = self.subject.tensors(self.values[:count])
        upstream = [Tensor(value, requires_grad=True) for value in self.values[count:]]
        with enable_grad():
            return leaves + upstream, self._gradients(leaves, upstream, create_graph=True)

    def _gradients(
        self, leaves: list[Tensor], upstream: list[Tensor], *, create_graph: bool
    ) -> list[Tensor]:
        found = gradients_of(self.subject.apply(leaves), leaves, upstream, create_graph)
        return [g for g in found if g is not None]


def gradients_of(
    outputs: Sequence[Any],
    leaves: Sequence[Tensor],
    upstream: Sequence[Tensor],
    create_graph: bool = False,
) -> list[Tensor | None]:
    """The gradient of Σ ⟨ȳ, y⟩ at each leaf, over those outputs y that depend on one."""
    recorded = [
        (y, g)
        for y, g in zip(outputs, upstream, strict=True)
        if isinstance(y, Tensor) and y.requires_grad
    ]
    if not recorded or not leaves:
        return [None] * len(leaves)
    ys, gs = zip(*recorded, strict=True)
    return list(grad(ys, leaves, gs, create_graph=create_graph, allow_unused=True))


def _nothing(name: str, result: Any) -> str:
    """What to say of a function whose result has nothing to differentiate."""
    if inspect.iscoroutine(result):
        result.close()
        return f"{name} is async, and a check does not await it: check a plain function."
    hint = (
        "is a `return` missing?"
        if result is None
        else "integers and booleans, such as positions and comparisons, have no gradient."
    )
    return (
        f"there is nothing to check: {name} must give floating Tensors; got {result!r:.60}: {hint}"
    )


def _is_floating(data: Any) -> bool:
    return isinstance(data, np.ndarray | np.generic) and data.dtype.kind == "f"


def _floating_outputs(result: Any) -> list[Any]:
    """The floating outputs in order; indices, masks and None have no derivative."""
    parts = [y if hasattr(y, "dtype") else np.asarray(y) for y in leaves(result)]
    return [y for y in parts if y.dtype.kind in "fc"]


def _astype(value: Any, dtype: Any) -> Any:
    if isinstance(value, Module):
        return copy.deepcopy(value).astype(dtype)
    data = value.detach().numpy() if isinstance(value, Tensor) else value
    return np.asarray(data).astype(dtype) if _is_floating(data) else value


def own_names(f: Callable[..., Any]) -> list[str]:
    """The names that a function gives its positional arguments."""
    try:
        parameters = inspect.signature(f.forward if isinstance(f, Module) else f).parameters
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, parameter in parameters.items() if parameter.kind in kinds]
