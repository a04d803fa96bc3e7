"""A primitive: a function of arrays, and one derivative rule per argument beside it.

    @primitive
    def tanh(x, /):
        return xp(x).tanh(x)

    tanh.defvjp(x=lambda g, y: g * (1 - y * y))

All plumbing is here, once, so that a rule is only mathematics. Array arguments stand before the
slash, static parameters after it; ``*xs`` takes any number of arrays, given as one list. A rule
names what it needs: ``g`` the gradient of the output, ``y`` the output, an argument, the shape of
an argument (``x_shape``), a parameter, and for ``*xs`` the position ``i``. Only what is named is
kept alive. A forward that returns a tuple has several results; ``g`` and ``y`` are tuples then.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from ..backend import is_array, result_dtype, xp
from .mode import recording, watching
from .variable import Node, Source, Variable, source_of

PRIMITIVES: dict[str, Primitive] = {}
"""The op table: every primitive, ours and the user's, by name."""

_FLOAT64 = numpy.dtype(numpy.float64)
_PACKAGE = str(Path(__file__).parent.parent)


@dataclass(frozen=True)
class Interval:
    """Where a primitive is smooth in one argument, for the generated tests.

    Attributes:
        low, high: Bounds of the values to try.
        kinks: Points inside to stay away from, where the derivative jumps.
    """

    low: float
    high: float
    kinks: tuple[float, ...] = ()


class Primitive:
    """A differentiable function; make one with :func:`primitive`.

    Called with arrays it returns arrays; called with a tensor anywhere it returns tensors and, if
    one of them requires grad, records a :class:`Node`.

    Attributes:
        name: The function's name.
        forward: The plain function of arrays.
        arguments: Names of the array arguments, in order.
        variadic: Whether the arguments are ``*xs``.
        parameters: Static parameters and their defaults.
        rules: Per differentiable argument, its rule.
        intervals: Per argument, where it is smooth.
        elementwise: Whether it acts element by element, with broadcasting.
        analytic: Whether the forward accepts complex arrays (for complex-step checks).
    """

    def __init__(self, forward: Callable[..., Any], elementwise: bool = False) -> None:
        self.forward = forward
        self.name = forward.__name__
        self.elementwise = elementwise
        self.analytic = True
        self.rules: dict[str, Callable[..., Any]] = {}
        self.intervals: dict[str, Interval] = {}
        functools.update_wrapper(self, forward)
        self.__signature__ = inspect.signature(forward)
        kinds = self.__signature__.parameters.values()
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in kinds)
        self.arguments = tuple(
            p.name for p in kinds if p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)
        )
        self.parameters = {
            p.name: p.default for p in kinds if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        }
        if not self.arguments:
            raise TypeError(
                f"primitive {self.name} has no array argument: put them before a slash, "
                f"def {self.name}(x, /, axis=None)"
            )
        self._says_dtype = "dtype" in self.parameters  # then its result is not for _settle
        self._plans: dict[int, tuple[tuple[str, Callable[..., Any]], ...]] = {}
        self._compiled: tuple[tuple[Callable[..., Any], tuple[str, ...]] | None, ...] = ()

    def __repr__(self) -> str:
        return f"<primitive {self.name}{self.__signature__}>"

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Let a primitive stand as a method: ``tanh = ops.tanh`` in a class."""
        return self if instance is None else types.MethodType(self, instance)

    # -- the table: rules and domain --------------------------------------------------------

    def defvjp(self, **rules: Callable[..., Any]) -> None:
        """Give the vector-Jacobian product for arguments, by name; may replace earlier rules.

        Raises:
            TypeError: a rule is for, or asks for, a name that this primitive does not have.
        """
        known = {"y", *self.arguments, *self.parameters, *(f"{a}_shape" for a in self.arguments)}
        known |= {"i"} if self.variadic else set()
        for argument, rule in rules.items():
            if argument not in self.arguments:
                raise TypeError(f"{self.name} has no argument {argument!r}: {self.arguments}")
            names = tuple(inspect.signature(rule).parameters)
            if names[:1] != ("g",) or not known.issuperset(names[1:]):
                raise TypeError(
                    f"the rule of {self.name} for {argument} takes {names}; it must take g first, "
                    f"then any of {sorted(known)}"
                )
            self.rules[argument] = rule
        self._plans.clear()
        self._compiled = tuple(
            (self.rules[a], tuple(inspect.signature(self.rules[a]).parameters)[1:])
            if a in self.rules
            else None
            for a in self.arguments
        )

    def domain(self, *, analytic: bool = True, **intervals: Interval) -> None:
        """Say for the generated tests where each argument is smooth, and if complex step works."""
        self.intervals.update(intervals)
        self.analytic = analytic

    # -- forward ----------------------------------------------------------------------------

    def __call__(self, *args: Any, **params: Any) -> Any:
        if params or self.variadic or len(args) != len(self.arguments):
            args, params = self._bind(args, params)
        else:
            params = self.parameters
        values = list(args)
        variable = None
        wanted = 0  # bit i is set when argument i needs a gradient
        for i, value in enumerate(args):
            if isinstance(value, Variable):
                variable = value
                values[i] = value._data
                if value._requires_grad:
                    wanted |= 1 << i
            elif type(value) not in _PLAIN:
                values[i] = as_operand(value, args, self.name)
        out = self.forward(*values, **params)
        if variable is None:
            return out
        several = type(out) is tuple
        if several:
            out = tuple([_settle(o, values) for o in out])
        elif not self._says_dtype:
            out = _settle(out, values)
        if watching.get():
            self._watch(out, values)
        if wanted and self.rules and recording.get():
            node = self._record(args, values, params, out, wanted, several)
            if several:
                return tuple(
                    variable._wrap(o, n if o.dtype.kind == "f" else None)
                    for o, n in zip(out, node.outputs(), strict=True)
                )
            if node.dtype.kind == "f":
                return variable._wrap(out, node)
        if several:
            return tuple([variable._wrap(o) for o in out])
        return variable._wrap(out)

    def _bind(
        self, args: tuple[Any, ...], params: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Split a call into array arguments and a full set of parameters."""
        count = len(self.arguments)
        named = dict(zip(self.parameters, args[count:], strict=False))
        twice = named.keys() & params.keys()
        params = {**self.parameters, **named, **params}
        extra = len(args) > count + len(self.parameters)
        if twice or extra or len(args) < count or len(params) > len(self.parameters):
            raise TypeError(f"{self.name}{self.__signature__} does not take {args!r:.80}, {params}")
        if inspect.Parameter.empty in params.values():
            missing = [n for n, v in params.items() if v is inspect.Parameter.empty]
            raise TypeError(f"{self.name}{self.__signature__} also needs {', '.join(missing)}")
        return tuple(args[0]) if self.variadic else args[:count], params

    def _record(
        self,
        args: tuple[Any, ...],
        values: list[Any],
        params: dict[str, Any],
        out: Any,
        wanted: int,
        several: bool,
    ) -> Node:
        plan = self._plans.get(wanted) or self._plan(wanted, len(args))
        edges = tuple([source_of(arg) if wanted >> i & 1 else None for i, arg in enumerate(args)])
        saved = {name: read(values, params, out) for name, read in plan}
        if several:
            shape, dtype = tuple(o.shape for o in out), tuple(o.dtype for o in out)
        else:
            shape, dtype = out.shape, out.dtype
        node = Node(self, edges, saved, shape, dtype)
        if watching.get():
            node.origin = _calling_line()
        return node

    def _rule(self, i: int) -> tuple[Callable[..., Any], tuple[str, ...]] | None:
        return self._compiled[0 if self.variadic else i]

    def _plan(self, wanted: int, count: int) -> tuple[tuple[str, Callable[..., Any]], ...]:
        """What to save when these arguments need gradients: names, and how to read each."""
        rules = [self._rule(i) for i in range(count) if wanted >> i & 1]
        if None in rules:
            raise RuntimeError(
                f"{self.name} has no rule for every argument that requires grad "
                f"(rules: {', '.join(self.rules)}); detach() it, or add one with defvjp"
            )
        names = dict.fromkeys(n for rule in rules if rule for n in rule[1] if n != "i")
        plan = tuple((name, self._reader(name)) for name in names)
        if not self.variadic:
            self._plans[wanted] = plan
        return plan

    def _reader(self, name: str) -> Callable[[list[Any], dict[str, Any], Any], Any]:
        if name == "y":
            return lambda values, params, out: out
        if name in self.parameters:
            return lambda values, params, out: params[name]
        argument = name.removesuffix("_shape")
        i = self.arguments.index(argument)
        if self.variadic:
            if name == argument:
                return lambda values, params, out: tuple(values)
            return lambda values, params, out: tuple(numpy.shape(v) for v in values)
        if name == argument:
            return lambda values, params, out: values[i]
        return lambda values, params, out: numpy.shape(values[i])

    # -- backward ---------------------------------------------------------------------------

    def pullback(
        self, node: Node, g: Any, wanted: Callable[[Source], bool], live: bool
    ) -> Iterator[tuple[Source, Any]]:
        """Apply the rules: yield (source, gradient) for each wanted argument of ``node``."""
        saved = node.saved
        assert saved is not None  # the engine has checked
        if live:
            wrap = (g[0] if type(g) is tuple else g)._wrap
            saved = {n: self._revive(node, n, value, wrap) for n, value in saved.items()}
        for i, edge in enumerate(node.edges):
            if edge is None or not wanted(edge):
                continue
            rule, needs = self._rule(i)  # type: ignore[misc]  # _plan saw that there is one
            gradient = rule(g, *[i if n == "i" else saved[n] for n in needs])
            if gradient is not None:
                yield edge, gradient

    def _revive(self, node: Node, name: str, value: Any, wrap: Callable[..., Any]) -> Any:
        """A saved array as the tensor it was, joined to the graph, so that rules are recorded."""

        def tensor(value: Any, source: Source | None) -> Any:
            if source is None:
                return value  # a constant
            return source if isinstance(source, Variable) else wrap(value, source)

        if name == "y":
            if type(value) is tuple:
                return tuple(map(tensor, value, node.outputs()))
            return tensor(value, node)
        if name not in self.arguments:
            return value
        if self.variadic:
            return tuple(map(tensor, value, node.edges))
        return tensor(value, node.edges[self.arguments.index(name)])

    def _watch(self, out: Any, values: list[Any]) -> None:
        """In anomaly mode: raise at a NaN or Inf that was not in the inputs."""
        if not all_finite(out) and all(all_finite(v) for v in values):
            shapes = ", ".join(str(numpy.shape(v)) for v in values)
            raise FloatingPointError(
                f"{self.name} of shapes {shapes} gave NaN or Inf from finite inputs, "
                f"at {_calling_line()}"
            )


def primitive(forward: Callable[..., Any]) -> Primitive:
    """Make a primitive of a function of arrays and enter it in the op table.

    Array arguments stand before the slash, static parameters after it; give each differentiable
    argument its rule with ``.defvjp``. A primitive without rules gives results that do not
    require grad.

    Example:
        >>> import numpy as np, tinygrad_seq as ts
        >>> @ts.primitive
        ... def cube(x, /):
        ...     return x * x * x
        >>> cube.defvjp(x=lambda g, x: g * 3 * x * x)
        >>> ts.grad(cube)(2.0)
        Tensor(12., dtype=float32)
    """
    return _register(Primitive(forward))


def elementwise(forward: Callable[..., Any]) -> Primitive:
    """A :func:`primitive` that acts element by element, with broadcasting."""
    return _register(Primitive(forward, elementwise=True))


def composite(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function made of primitives: it needs no rule. Its first argument may be a list."""

    @functools.wraps(function)
    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(x, Variable) and not is_array(x):
            x = xp().asarray(as_operand(x, name=function.__name__))
        return function(x, *args, **kwargs)

    return call


def _register(made: Primitive) -> Primitive:
    PRIMITIVES[made.name] = made
    return made


# -- values in and out ------------------------------------------------------------------------

# What a forward takes as it is. np.float64 is a Python float: weak, as Python numbers are.
_PLAIN = frozenset((numpy.ndarray, float, int, bool, type(None)))


def as_operand(value: Any, beside: Iterable[Any] = (), name: str = "an operation") -> Any:
    """A value given to an operation, as an array or a Python number.

    Lists take the float dtype of the arrays ``beside`` them, as Python numbers do.

    Raises:
        TypeError: it is nothing to compute with (a string, an object, a complex number).
    """
    if is_array(value) and value.dtype.kind in "fiubc":
        return value
    if isinstance(value, float):
        return float(value)
    array = numpy.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} takes tensors, arrays and real numbers; got {type(value).__name__} "
            f"{value!r:.60}"
        )
    weak = isinstance(value, (list, tuple)) and array.dtype.kind == "f"
    return array.astype(result_dtype(*beside)) if weak else array


def _settle(out: Any, values: list[Any]) -> Any:
    """A result as an array, which is float64 only if an input was."""
    if type(out) is not numpy.ndarray:
        out = xp(out).asarray(out)
    if out.dtype is _FLOAT64:
        for value in values:
            if getattr(value, "dtype", None) is _FLOAT64:
                return out
        return out.astype(result_dtype(*values))
    return out


def all_finite(value: Any) -> bool:
    """Whether a value, or each of a tuple, holds no NaN and no Inf."""
    if isinstance(value, (tuple, list)):
        return all(all_finite(v) for v in value)
    if not is_array(value) or value.dtype.kind != "f":
        return True
    return bool(xp(value).isfinite(value).all())


def _calling_line() -> str:
    """The user's line that called into the library."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    if frame is None:
        return "an unknown line"
    return f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}"
