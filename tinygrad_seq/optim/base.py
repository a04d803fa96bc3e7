"""The base of all optimizers: parameter groups, checks, the loop over parameters, the state.

An algorithm is a subclass that writes one method, :meth:`Optimizer.update`: its equation for one
parameter. Everything else is here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy

from ..autograd import mark_written
from ..autograd.operands import on_host
from ..backend import Array, backend_of, is_array, there, wider, xp
from ..backend.dtypes import fitted
from ..hints import OPTIMIZERS
from ..messages import Hinted
from ..nn import Parameter
from ..nn.checks import only_none
from ..tensor import Tensor
from .flat import Flat, flat_for

Group: TypeAlias = dict[str, Any]
Params: TypeAlias = Iterable[Tensor] | Iterable[Mapping[str, Any]]


class Optimizer(Hinted):
    """Base of the optimizers: ``step()`` applies :meth:`update` to every parameter with a gradient.

    A subclass whose update acts element by element may set ``elementwise = True``: then the
    parameters of a group are updated as one buffer where that is faster, on a GPU. A class that
    overrides ``update`` must set it again.

    A subclass gives its options as keyword arguments of ``super().__init__``. Every number among
    them must be finite and not negative, and those that it names in ``below_one`` below 1; those in
    ``pairs`` are tuples of two numbers.

    Args:
        params: Tensors that require grad, or dicts ``{"params": [...], "lr": ...}``: groups with
            options of their own; an option that a group does not name has the default.
        **defaults: The options of the algorithm.

    Attributes:
        param_groups: One dict per group: its ``"params"`` and its options, which may be changed
            between steps (a schedule changes ``"lr"``).

    Raises:
        TypeError: Something among ``params`` is not a Tensor.
        ValueError: No parameters, one given twice, one that is neither a leaf that requires grad
            nor a frozen Parameter, an option out of range, or one that the algorithm does not have.

    Example:
        LARS (You et al. 2017), v ← μ v + η τ ‖p‖/‖g‖ g and p ← p - v, runs on every backend:

        >>> from tinygrad_seq import nn, optim
        >>> class LARS(optim.Optimizer):
        ...     def __init__(self, params, lr=0.1, momentum=0.9, trust=1e-3):
        ...         super().__init__(params, lr=lr, momentum=momentum, trust=trust)
        ...
        ...     def update(self, p, g, state, group):
        ...         ratio = (p * p).sum() ** 0.5 / (g * g).sum() ** 0.5
        ...         v = state.setdefault("v", 0 * p)
        ...         v *= group["momentum"]
        ...         v += group["lr"] * group["trust"] * ratio * g
        ...         p -= v
        >>> LARS(nn.Linear(3, 2).parameters())
        LARS(lr=0.1, momentum=0.9, trust=0.001)  # 8 parameters
    """

    below_one: ClassVar[tuple[str, ...]] = ()
    pairs: ClassVar[tuple[str, ...]] = ()
    elementwise: ClassVar[bool] = False
    _hints = OPTIMIZERS

    def __init__(self, params: Params, **defaults: Any) -> None:
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self._memory: list[dict[str, Any]] = []  # one dict per parameter, through the groups
        self._flat: dict[int, Flat] = {}  # by group, where it is one buffer
        for group in _as_groups(params):
            self.add_param_group(group)
        if not self.param_groups:
            raise ValueError(
                f"{type(self).__name__} got no parameters: the iterable was empty "
                "(a generator such as model.parameters() can be used up only once)"
            )

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse an option of the optimizer, which each group has: it would have no effect."""
        if name in vars(self).get("defaults", ()):
            raise AttributeError(
                f"{type(self).__name__}.{name} is an option of each group: write "
                f'optimizer.param_groups[0]["{name}"] = {value!r}'
            )
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        """A line per group: its options and how many numbers it updates."""
        return "\n".join(
            f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in _options(group).items())})"
            f"  # {sum(p.size for p in group['params']):,} parameters"
            for group in self.param_groups
        )

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        """One step of the algorithm for one parameter.

        Args:
            p: The parameter's buffer, written in place.
            g: Its gradient, of the same shape and dtype; must be left as it is.
            state: The state of this parameter; empty at first.
            group: The options of its group.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update(p, g, state, group)")

    def step(self) -> None:
        """Update every parameter that has a gradient, in place; the others are left alone."""
        start = 0
        for number, group in enumerate(self.param_groups):
            # A NumPy float64 among the options would turn float32 parameters into float64.
            options, params = _options(group), group["params"]
            memories = self._memory[start : start + len(params)]
            start += len(params)
            for p, memory in zip(params, memories, strict=True):
                _follow(memory, p)
            flat = None
            if self._acts_elementwise():
                flat = flat_for(self._flat.get(number), params, memories)
            if flat is not None:
                self._flat[number] = flat
                g = flat.gather([p.grad.data for p in params])
                self.update(flat.buffer, g, flat.memory, options)
                mark_written(flat.buffer)
                flat.hand_out(memories)
                continue
            for p, memory in zip(params, memories, strict=True):
                if p.grad is not None:
                    wide, g = wider(p.data), wider(p.grad.data)  # of float16, g² and ε would be 0
                    self.update(wide, g, memory, options)
                    if wide is not p.data:
                        p.data[...] = wide
                    mark_written(p.data)

    @classmethod
    def _acts_elementwise(cls) -> bool:
        """Whether the class that defines the update, or one derived from it, says so."""
        for base in cls.__mro__:
            if "elementwise" in vars(base):
                return bool(vars(base)["elementwise"])
            if "update" in vars(base):
                return False
        return False

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set ``.grad`` of every parameter to None (never to zeros)."""
        only_none(set_to_none)
        for p in self._parameters():
            p.grad = None

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add a group ``{"params": [...], option: value, ...}``; options left out are defaults."""
        if "params" not in group:
            raise ValueError(f'a parameter group needs the key "params"; got {sorted(group)}')
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        options = _options(group)
        unknown = sorted(options.keys() - self.defaults.keys())
        if unknown:
            raise ValueError(
                f"{type(self).__name__} has no option {', '.join(map(repr, unknown))}; "
                f"it has {', '.join(self.defaults)}"
            )
        options = _options(self.defaults) | options
        self.check(options)
        self._check_parameters(params)
        self.param_groups.append({"params": params, **options})
        self._memory += [{} for _ in params]

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise ValueError where a number among ``options`` is out of range."""
        for name, value in options.items():
            bound = 1 if name in self.below_one else math.inf
            if name in self.pairs and not (isinstance(value, tuple) and len(value) == 2):
                one = name.removesuffix("s")
                raise ValueError(
                    f"{type(self).__name__} expects {name}=({one}1, {one}2); got {name}={value!r}"
                )
            several = isinstance(self.defaults.get(name), tuple) and isinstance(value, tuple)
            numbers = value if several else (value,)
            if not all(isinstance(v, int | float) for v in numbers):
                raise TypeError(f"{type(self).__name__} expects a number as {name}; got {value!r}")
            if not all(0 <= v < bound for v in numbers):
                limit = "below 1" if bound == 1 else "finite"
                raise ValueError(
                    f"{type(self).__name__} expects {name} of at least 0 and {limit}; "
                    f"got {name}={value!r}"
                )

    def state_dict(self) -> dict[str, Any]:
        """Options and state as plain numbers, lists and host arrays (copies).

        The layout is PyTorch's: ``{"state": {index: {...}}, "param_groups": [...]}``, where
        parameters are numbered through the groups from 0.
        """
        state = {
            index: {name: _copy_out(value) for name, value in memory.items()}
            for index, memory in enumerate(self._memory)
            if memory
        }
        numbers = itertools.count()
        groups = [
            _options(group) | {"params": [next(numbers) for _ in group["params"]]}
            for group in self.param_groups
        ]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a state made by :meth:`state_dict`: all of it, or nothing at an error.

        Raises:
            ValueError: It is from another optimizer, or for parameters of other shapes.
        """
        groups = self._checked_groups(state_dict)
        parameters = list(self._parameters())
        memories: list[dict[str, Any]] = [{} for _ in parameters]
        for index, memory in state_dict["state"].items():
            if not (isinstance(index, int) and 0 <= index < len(parameters)):
                raise ValueError(
                    f"the state names parameter {index!r}; "
                    f"this optimizer has parameters 0 to {len(parameters) - 1}"
                )
            p = parameters[index]
            memories[index] = {
                name: _copy_in(value, p, f"{name!r} of parameter {index}")
                for name, value in memory.items()
            }
        before = self._memory, [_options(group) for group in self.param_groups]
        try:
            self._memory = memories
            for group, options in zip(self.param_groups, groups, strict=True):
                group.update(options)
        except BaseException:  # an interrupt
            self._memory = before[0]
            for group, options in zip(self.param_groups, before[1], strict=True):
                group.update(options)
            raise

    def _checked_groups(self, state_dict: Mapping[str, Any]) -> list[Group]:
        """The options in ``state_dict``, group by group, once they are known to fit."""
        if not {"state", "param_groups"} <= state_dict.keys():
            raise ValueError(
                'expected a dict with "state" and "param_groups", as state_dict() makes it; '
                f"got the keys {sorted(state_dict)}"
            )
        saved = state_dict["param_groups"]
        if len(saved) != len(self.param_groups):
            raise ValueError(
                f"the state has {len(saved)} parameter groups; this optimizer has "
                f"{len(self.param_groups)}"
            )
        loaded, first = [], 0
        for number, (group, theirs) in enumerate(zip(self.param_groups, saved, strict=True)):
            if theirs.keys() != group.keys():
                odd = ", ".join(sorted(map(repr, theirs.keys() ^ group.keys())))
                raise ValueError(
                    f"the options of group {number} are not those of {type(self).__name__} "
                    f"(only one of the two has {odd}): is the state of another optimizer?"
                )
            expected = list(range(first, first + len(group["params"])))
            if list(theirs["params"]) != expected:
                raise ValueError(
                    f"group {number} has {len(expected)} parameters, numbered from {first}; "
                    f"the state names {list(theirs['params'])} there"
                )
            first += len(expected)
            options = _options(theirs)
            self.check(options)
            loaded.append(options)
        return loaded

    def _parameters(self) -> Iterable[Tensor]:
        return (p for group in self.param_groups for p in group["params"])

    def _check_parameters(self, params: Sequence[Any]) -> None:
        if not params:
            raise ValueError(f"a parameter group of {type(self).__name__} has no parameters")
        known = {id(p) for p in self._parameters()}
        for position, p in enumerate(params):
            if not isinstance(p, Tensor):
                raise TypeError(
                    f"{type(self).__name__} optimizes Tensors; got {type(p).__name__} "
                    f"as parameter {position}"
                )
            label = f"parameter {position} (shape {p.shape})"
            if id(p) in known:
                raise ValueError(f"{label} was given twice: it would be updated twice per step")
            frozen = isinstance(p, Parameter) and not p.requires_grad  # it may be thawed later
            if not (p.is_leaf and (p.requires_grad or frozen)):
                raise ValueError(
                    f"{label} is not a leaf that requires grad, so no gradient would reach it: "
                    "make it with requires_grad=True"
                )
            known.add(id(p))


def _follow(memory: dict[str, Any], p: Tensor) -> None:
    """Move the state of a parameter to the device of the parameter."""
    for name, value in memory.items():
        if is_array(value) and type(value) is not type(p.data):
            memory[name] = there(value, p.data)


def slot(state: dict[str, Any], name: str, like: Array, fill: float = 0.0) -> Array:
    """The array ``state[name]``, made at first use: the shape of ``like``, filled with ``fill``."""
    if name not in state:
        state[name] = xp(like).full_like(like, fill)
    return state[name]


def decayed(g: Array, p: Array, group: Group) -> Array:
    """The gradient with the penalty λ/2 ‖p‖² added to the loss: g + λ p."""
    return g + group["weight_decay"] * p if group["weight_decay"] else g


def _as_groups(params: Any) -> list[Mapping[str, Any]]:
    """``params``, tensors or groups, as a list of groups."""
    if isinstance(params, Tensor):
        raise TypeError("params must be a list of Tensors; got one Tensor: put it into a list")
    if not isinstance(params, Iterable):
        hint = ": pass its .parameters()" if hasattr(params, "parameters") else ""
        raise TypeError(f"params must be an iterable of Tensors; got {type(params).__name__}{hint}")
    given: list[Any] = list(params)
    if given and all(isinstance(item, Mapping) for item in given):
        return given
    return [{"params": given}] if given else []


def _options(group: Mapping[str, Any]) -> Group:
    """The options of a group, without its parameters, as plain values."""
    return {name: _plain(value) for name, value in group.items() if name != "params"}


def _plain(value: Any) -> Any:
    """``value`` as a Python number, or a tuple of them, where it is of NumPy's."""
    if isinstance(value, tuple | list):
        return tuple(_plain(item) for item in value)
    return value.item() if isinstance(value, numpy.generic) else value


def _copy_out(value: Any) -> Any:
    """A remembered value as a plain number or a host array of its own."""
    if isinstance(value, int | float):
        return value
    return numpy.array(on_host(value))


def _copy_in(value: Any, p: Tensor, what: str) -> Any:
    """A loaded value as the optimizer keeps it: a number, or an array like the parameter's."""
    value = _plain(value)
    if isinstance(value, int | float):
        return value
    array = fitted(numpy.array(value), wider(p.data).dtype, what)
    if array.shape != p.shape:
        raise ValueError(f"{what} has shape {array.shape}; the parameter has shape {p.shape}")
    return backend_of(p.data).from_host(array)
