"""Module: a tree of parameters, and the function that uses them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import repeat
from operator import setitem
from types import BuiltinMethodType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, Protocol, Self, TypeVar, cast

import numpy as np

from ..autograd import mark_written
from ..autograd.observe import observing
from ..autograd.operands import on_host, refuse_masked
from ..backend import backend_named, there
from ..backend.dtypes import fitted
from ..hints import MODULES
from ..html import one_line, tree_html
from ..messages import Hinted, explain, is_ours
from ..tensor import Tensor
from .checks import flag, floating_dtype, only_none
from .hidden import held
from .names import inside, joined
from .parameter import Buffer, Parameter

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
V = TypeVar("V")


class LoadReport(NamedTuple):
    """The names that ``load_state_dict(..., strict=False)`` skipped."""

    missing_keys: list[str]
    unexpected_keys: list[str]


if TYPE_CHECKING:

    class _Forward(Protocol[P, R]):
        """Anything with a ``forward``: a call has its arguments and its result."""

        def forward(self, *args: P.args, **kwargs: P.kwargs) -> R: ...


class Module(Hinted):
    """A function with parameters: derive from it, set parameters and modules as attributes.

    ``model(x)`` calls ``model.forward(x)``. Every attribute that is a :class:`Parameter` or a
    Module belongs to the tree, in the order of definition: there is nothing to register, and
    ``super().__init__()`` is not needed.

    A part that is held in any other way (a list, a plain object, a closure) would not be trained or
    saved, and raises TypeError, unless it is in the tree too. To refer to a module that belongs
    elsewhere, hold a ``weakref.ref``.

    Example:
        >>> from tinygrad_seq import nn
        >>> class Tagger(nn.Module):
        ...     def __init__(self, words, tags):
        ...         self.embed = nn.Embedding(words, 32)
        ...         self.lstm = nn.LSTM(32, 64, bidirectional=True)
        ...         self.head = nn.Linear(128, tags)
        ...
        ...     def forward(self, ids, lengths=None):
        ...         y, _ = self.lstm(self.embed(ids), lengths=lengths)
        ...         return self.head(y)
        >>> Tagger(100, 5)
        Tagger(  # 54,021 parameters
          (embed): Embedding(100, 32)  # 3,200 parameters
          (lstm): LSTM(32, 64, bidirectional=True)  # 50,176 parameters
          (head): Linear(128, 5)  # 645 parameters
        )
    """

    training: bool = True
    _hints = MODULES

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse modules and parameters as class attributes: all instances would share them."""
        super().__init_subclass__(**kwargs)
        for name, value in vars(cls).items():
            if isinstance(value, Module | Parameter):
                raise TypeError(
                    f"{cls.__name__}.{name} is an attribute of the class, which would not be "
                    f"trained or saved: set self.{name} in __init__"
                )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; every module defines its own."""
        raise NotImplementedError(
            f"{type(self).__name__} has no forward: define forward(self, ...)"
        )

    def __call__(self: _Forward[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        here = observing.get()
        try:
            if here is None:
                return self.forward(*args, **kwargs)
            with inside(self):
                given = here.instead(self, args, kwargs)
                if given is NotImplemented:
                    return self.forward(*args, **kwargs)
                return cast("R", given)
        except TypeError as error:
            explain(error, f"{type(self).__name__}.forward", self.forward, args, kwargs)
            raise

    # -- the tree -----------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; refuse a value that the tree would silently leave out."""
        owner = type(self).__name__
        known = vars(self).get(name)
        if isinstance(known, Parameter) and not isinstance(value, Parameter | None):
            raise TypeError(
                f"{owner}.{name} is a Parameter and cannot become a {type(value).__name__}: assign "
                f"a Parameter, or write new values with {name}.copy_(...) under no_grad()"
            )
        if isinstance(known, Buffer) and type(value) is Tensor:
            value = Buffer(value)
        if not isinstance(value, _LATER):
            _refuse_hidden(self, self, name, value)
        untrained = type(value) is Tensor and value.requires_grad and value.is_leaf
        if untrained and not is_ours(type(self)):
            raise TypeError(
                f"{owner}.{name} is a tensor that requires grad and no Parameter, which would not "
                f"be trained or saved: write self.{name} = nn.Parameter(...)"
            )
        if isinstance(value, Module) and any(part is self for part in value.modules()):
            raise ValueError(f"{owner}.{name} would make the module a part of itself")
        if isinstance(value, Parameter | Buffer) and value.name is None:
            value.name = name
        super().__setattr__(name, value)

    def _own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """The parameters held by this module itself, by attribute name."""
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield name, value

    def _children(self) -> Iterator[tuple[str, Module]]:
        """The modules held by this module itself, by attribute name."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def _places(self) -> Iterator[tuple[str, Module]]:
        """The modules held by this module itself, by their names in a trace."""
        return self._children()

    def _walk(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it with their dotted paths, shared ones every time."""
        yield prefix, self
        for name, child in self._children():
            yield from child._walk(f"{prefix}.{name}" if prefix else name)

    def _parts(self) -> Iterator[tuple[str, Module | Parameter]]:
        """Yield (dotted path, module) for this and all below, then (dotted name, parameter),
        with the names of a trace: each under its first name."""
        stack: list[tuple[str, Module]] = [("", self)]
        while stack:
            path, module = stack.pop()
            yield path, module
            stack += [(joined(path, name), part) for name, part in module._places()][::-1]
        yield from self._all_parameters()

    def _refuse_what_is_hidden(self) -> None:
        """Look again at what all modules hold: a list may have grown."""
        for _, module in self._walk():
            for name, value in vars(module).items():
                _refuse_hidden(self, module, name, value)

    def _all_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters under every name they have."""
        for path, module in self._walk():
            for name, parameter in module._own_parameters():
                yield (f"{path}.{name}" if path else name), parameter

    def _all_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """All buffers under every name they have."""
        for path, module in self._walk():
            for name, value in vars(module).items():
                if isinstance(value, Buffer):
                    yield joined(path, name), value

    def _all_tensors(self) -> dict[str, Parameter | Buffer]:
        """All parameters, then all buffers, under every name they have."""
        self._refuse_what_is_hidden()
        return {**dict(self._all_parameters()), **dict(self._all_buffers())}

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield (name, module) of those held by this module itself; a shared one once."""
        yield from _once(self._children())

    def children(self) -> Iterator[Module]:
        """Yield the modules held by this module itself; a shared one once."""
        for _, child in self.named_children():
            yield child

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Yield (dotted path, module), this one first with path ``""``; a shared one once."""
        yield from _once(self._walk())

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below it; a shared one once."""
        for _, module in self.named_modules():
            yield module

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield (dotted name, parameter): a module's own first, then its children's, each in the
        order of definition (PyTorch's order); a shared one once, under its first name."""
        self._refuse_what_is_hidden()
        yield from _once(self._all_parameters())

    def parameters(self) -> Iterator[Parameter]:
        """Yield the parameters in the order of :meth:`named_parameters`, for an optimizer."""
        for _, parameter in self.named_parameters():
            yield parameter

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Yield (dotted name, buffer); a shared one once, under its first name."""
        yield from _once(self._all_buffers())

    def buffers(self) -> Iterator[Buffer]:
        """Yield the buffers in the order of :meth:`named_buffers`."""
        for _, buffer in self.named_buffers():
            yield buffer

    def apply(self, function: Callable[[Module], Any]) -> Self:
        """Call ``function(module)`` on all modules of the tree, parts first; return this one.

        For example, to draw the weights of every Linear again:

            net.apply(lambda m: isinstance(m, nn.Linear) and nn.init.orthogonal(m.weight))
        """
        for module in reversed(list(self.modules())):
            function(module)
        return self

    # -- modes --------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Put the whole tree into training mode (dropout acts), or out of it; return the module."""
        mode = flag("train", "mode", mode)
        self._refuse_what_is_hidden()
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Put the whole tree into evaluation mode (dropout is the identity); return the module."""
        return self.train(False)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of all parameters (``.grad`` becomes None, never zeros)."""
        only_none(set_to_none)
        for parameter in self.parameters():
            parameter.grad = None

    def requires_grad_(self, value: bool = True) -> Self:
        """Let all parameters require grad, or freeze them; return the module.

        An optimizer skips frozen parameters, because they get no gradient.
        """
        for parameter in self.parameters():
            parameter.requires_grad = value
            if not value:
                parameter.grad = None
        return self

    # -- values -------------------------------------------------------------------------------

    def astype(self, dtype: Any) -> Self:
        """Convert all parameters, and floating buffers, to a dtype and return the module.

        The Parameter objects stay the same, so an optimizer still has them, but they get new
        buffers and lose their gradients: convert before training.

        Raises:
            TypeError: ``dtype`` is not floating.
        """
        dtype = floating_dtype("astype", dtype)
        for parameter in self.parameters():
            parameter.grad = None
            parameter.data = parameter.data.astype(dtype)
        for buffer in self.buffers():
            if buffer.dtype.kind == "f":
                buffer.data = buffer.data.astype(dtype)
        return self

    def to(self, backend: str) -> Self:
        """Move all parameters, their gradients and buffers to a backend and return the module.

        The Parameter objects stay the same, so an optimizer still has them (its state for them
        moves at its next step). They get new buffers, so call backward before.

        Args:
            backend: ``"numpy"``, or ``"cupy"`` for the GPU.

        Raises:
            ValueError: there is no backend of that name.
            RuntimeError: it is not available here; the message says what to install.
        """
        target = backend_named(backend)
        for parameter in (*self.parameters(), *self.buffers()):
            if parameter.backend != target.name:
                parameter._data = target.from_host(on_host(parameter))
                if parameter.grad is not None:
                    parameter.grad = Tensor._wrap(there(parameter.grad.data, parameter.data))
        return self

    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """Copies of all parameters and buffers as NumPy arrays, by dotted name, as PyTorch's.

        A shared tensor is listed under each of its names.
        """
        return {name: np.array(on_host(t), order="C") for name, t in self._all_tensors().items()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> LoadReport:
        """Write values into parameters and buffers: all, or none (even on an interrupt).

        Values are cast to the dtype of the parameter; a value out of its range is an error.

        Args:
            state: Name -> array or tensor, as :meth:`state_dict` gives it; tensors of other
                libraries are read through NumPy, so PyTorch's ``state_dict()`` works unchanged.
            strict: Whether names must match exactly. If False, names that only one side has are
                skipped and returned. (Weights of the other form of GRU are still refused.)

        Returns:
            The names that were skipped, ``(missing_keys, unexpected_keys)``.

        Raises:
            ValueError: names, shapes or dtypes do not fit; the message lists everything that is
                missing, unexpected or mis-shaped, and no parameter has changed.
            TypeError: ``state`` is not a mapping, or holds a masked array.
        """
        owner = type(self).__name__
        if not isinstance(state, Mapping):
            raise TypeError(
                f"{owner}.load_state_dict expects a dict of name -> array; got "
                f"{type(state).__name__}: read a file with ts.load(path)"
            )
        parameters = self._all_tensors()
        missing = [name for name in parameters if name not in state]
        unexpected = [name for name in state if name not in parameters]
        problems = self._refusals(state)
        if flag("load_state_dict", "strict", strict):
            problems += [f"missing {name} {parameters[name].shape}" for name in missing]
            problems += [f"unexpected {name} {tuple(np.shape(state[name]))}" for name in unexpected]

        values: dict[str, np.ndarray[Any, Any]] = {}
        first_names: dict[int, str] = {}
        for name, parameter in parameters.items():
            if name not in state:
                continue
            refuse_masked(state[name], f"{owner}.load_state_dict")
            value = on_host(state[name])
            first = first_names.setdefault(id(parameter), name)
            floating = parameter.dtype.kind == "f"
            if (value.dtype.kind == "f") != floating or value.dtype.kind not in "fiub":
                kind = "floating" if floating else "integer or boolean"
                problems.append(f"{name} must be {kind}, got {value.dtype}")
            elif value.shape != parameter.shape:
                problems.append(f"{name} has shape {value.shape}, expected {parameter.shape}")
            elif first != name and not np.array_equal(value, values[first], equal_nan=True):
                problems.append(f"{name} and {first} are one parameter, but their values differ")
            else:
                try:
                    value = fitted(value, parameter.dtype, name)
                except ValueError as error:
                    problems.append(str(error))
            values[name] = value
        if problems:
            listed = "\n  ".join(map(one_line, problems))
            raise ValueError(f"{owner}.load_state_dict changed nothing, because:\n  {listed}")
        buffers = [parameters[name]._data for name in values]
        news = [there(value, b) for value, b in zip(values.values(), buffers, strict=True)]
        for buffer in buffers:  # first: an interrupt after it leaves all values as they were
            mark_written(buffer)
        deque(map(setitem, buffers, repeat(...), news), 0)  # in C: no interrupt falls within it
        return LoadReport(missing, unexpected)

    def _refusals(self, state: Mapping[str, Any]) -> list[str]:
        """The objections of the modules to a state, each to its own part."""
        refusals = []
        for path, module in self._walk():
            prefix = f"{path}." if path else ""
            own = {str(n).removeprefix(prefix) for n in state if str(n).startswith(prefix)}
            reason = module._refuse(own)
            if reason:
                refusals.append(f"{path}: {reason}" if path else reason)
        return refusals

    def _refuse(self, names: set[str]) -> str | None:
        """Why weights with these names belong to a different function, or nothing."""
        return None

    # -- display ------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """The module's settings, as written between the brackets of its repr."""
        return ""

    def __repr__(self) -> str:
        """The tree, a line per module, with the number of parameters in each."""
        return "\n".join(self._lines(type(self).__name__))

    def _repr_html_(self) -> str:
        """HTML for notebooks: the tree, with the number of parameters and their bytes."""
        return tree_html(self._rows(0, ""))

    def _distinct(self) -> list[Parameter]:
        """The parameters, a shared one once, whatever else the modules hold."""
        return [p for _, p in _once(self._all_parameters())]

    def _rows(self, depth: int, name: str) -> Iterator[tuple[int, str, str, int, int]]:
        parameters = self._distinct()
        count, size = sum(p.size for p in parameters), sum(p.nbytes for p in parameters)
        yield depth, name, f"{type(self).__name__}({self.extra_repr()})", count, size
        for below, child in self._children():
            yield from child._rows(depth + 1, below)

    def _lines(self, label: str) -> Iterator[str]:
        count = sum(parameter.size for parameter in self._distinct())
        note = f"  # {count:,} parameter{'s' * (count != 1)}" if count else ""
        children = list(self._children())
        if not children:
            yield f"{label}({self.extra_repr()}){note}"
            return
        yield f"{label}({self.extra_repr()}{note}"
        for name, child in children:
            for line in child._lines(f"({one_line(name)}): {type(child).__name__}"):
                yield f"  {line}"
        yield ")"


def _once(named: Iterable[tuple[str, V]]) -> Iterator[tuple[str, V]]:
    """Each value once, under its first name."""
    seen: set[int] = set()
    for name, value in named:
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value


_NO_COLLECTION = (Tensor, Module, int, float, str, type(None))
_LATER = FunctionType, MethodType, BuiltinMethodType, partial  # their parts may join the tree yet


def _refuse_hidden(root: Module, owner: Module, name: str, value: Any) -> None:
    """Refuse what holds modules or parameters that the tree below ``root`` does not see."""
    if isinstance(value, _NO_COLLECTION):
        return
    hidden = list(held(value, Module | Parameter))
    if not hidden:
        return
    seen: set[int] = set()
    rest = [root]
    while rest:
        module = rest.pop()
        own = [v for v in vars(module).values() if isinstance(v, Module | Parameter)]
        seen.update(map(id, [module, *own]))
        rest += [part for part in own if isinstance(part, Module)]
    for part in hidden:
        above = isinstance(part, Module) and any(module is root for module in part.modules())
        if id(part) not in seen and not above:
            raise TypeError(
                f"{type(owner).__name__}.{name}, a {type(value).__name__}, holds modules or "
                "parameters that would not be trained or saved: use nn.ModuleList or "
                "nn.ModuleDict, derive it from nn.Module, or use one attribute for each"
            )
