"""A primitive: a function of arrays, and one derivative rule per argument beside it.

    @primitive
    def tanh(x, /):
        return xp(x).tanh(x)

    tanh.defvjp(x=lambda g, y: g * (1 - y * y))

Everything but the mathematics is here, so that a rule is an equation. Array arguments stand before
the slash, static parameters after it; ``*xs`` takes any number of arrays, given as one list. None
is an array argument only of a primitive that has one with the default None. A rule names what it
needs: ``g`` the gradient of the output, ``y`` the output, an argument, the shape of
an argument (``x_shape``), a parameter. Only the named values are kept. The rule of ``*xs`` gives
the gradients of all as a tuple, or names the position ``i`` and gives that of one. A forward that
returns a tuple has several results; ``g`` and ``y`` are tuples then.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy

from ..backend import is_array, result_dtype, several, xp
from ..backend.dtypes import FLOAT16, FLOAT64
from ..messages import explain, is_ours, named, refusal
from .graph import Node, Plan, Rule, Source, Use, Variable, applied, interned
from .mode import recording
from .observe import known, looked, observing, replaceable
from .operands import PLAIN, REAL, as_operand, as_static, settle, single, together
from .placed import Placed
from .saved import replaced
from .stacked_rows import StackedRows, few_rows

if TYPE_CHECKING:
    from .signatures import Compose, Register

PRIMITIVES: dict[str, Primitive] = {}
"""The op table: every primitive, ours and the user's, by name."""

REMEMBERED = 4096
"""The number of arguments, in all, for which a primitive keeps plans: lists have any length."""


@dataclass(frozen=True)
class Interval:
    """Where a primitive is smooth in one argument, for the generated tests.

    Attributes:
        low, high: Bounds of the values to try.
        kinks: Points inside where the derivative jumps; tests avoid them.
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
        stacks: The arguments whose gradient sums over rows, and whose rows; see :meth:`stack`.
        places: Per argument, how its gradient is added in place; see :meth:`accumulate`.
        intervals: Per argument, where it is smooth.
        elementwise: Whether it acts element by element, with broadcasting.
        analytic: Whether the forward accepts complex arrays (for complex-step checks).
    """

    def __init__(self, forward: Callable[..., Any], elementwise: bool = False) -> None:
        self.forward = forward
        self.name = named(forward)
        self.elementwise = elementwise
        self.analytic = True
        self.rules: dict[str, Rule] = {}
        self.stacks: dict[str, str] = {}
        self.places: dict[str, Rule] = {}
        self.intervals: dict[str, Interval] = {}
        functools.update_wrapper(self, forward)
        self.__signature__ = inspect.signature(forward)
        given = self.__signature__.parameters.values()
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in given)
        self.arguments = tuple(
            p.name for p in given if p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL)
        )
        self.parameters = {
            p.name: p.default for p in given if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        }
        if not self.arguments:
            raise TypeError(
                f"primitive {self.name} has no array argument: put them before a slash, "
                f"def {self.name}(x, /, axis=None)"
            )
        defaults = [p.default for p in given if p.name in self.arguments]
        self._defaults = tuple([d for d in defaults if d is not inspect.Parameter.empty])
        self._optional = sum([1 << k for k, d in enumerate(defaults) if d is None])  # may be None
        needs_binding = self.variadic or inspect.Parameter.empty in self.parameters.values()
        self._arity = -1 if needs_binding else len(self.arguments)
        self._says_dtype = "dtype" in self.parameters  # then its result is not to be settled
        self._forms: set[tuple[Any, ...]] = set()  # of calls that were found right
        self._plans: dict[tuple[int, int], Plan] = {}  # by wanted arguments, of how many
        self._planned = 0  # for how many arguments, in all

    def __repr__(self) -> str:
        return f"<primitive {self.name}{self.__signature__}>"

    def __reduce__(self) -> str:
        """A copy is the primitive itself; pickled, it is found again by its name."""
        return self.forward.__qualname__

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Let a primitive stand as a method: ``tanh = ops.tanh`` in a class."""
        return self if instance is None else types.MethodType(self, instance)

    # -- the table: rules and domain --------------------------------------------------------

    def defvjp(self, **rules: Rule) -> None:
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
            self.places.pop(argument, None)  # it adds what the earlier rule gave
        self._plans.clear()

    def stack(self, **rows: str) -> None:
        """Say which gradients are sums over the rows of g and of another argument.

        ``matmul.stack(b="a")``: b̄ = Σₜ aₜᵀ ȳₜ over the calls that share b, which is one product of
        the stacked rows, aᵀ ȳ. So a weight that each step of a sequence uses gets the product of
        the whole sequence instead of many thin ones. Only calls that agree in the rule's
        other values are stacked.
        """
        self.stacks.update(rows)
        self._plans.clear()

    def accumulate(self, **places: Rule) -> None:
        """Say how a gradient that is zero nearly everywhere is added to an array in place.

        Each takes that array, and then what the rule of its argument takes:
        ``getitem.accumulate(x=lambda total, g, index, x_shape: ...)`` does x̄[index] += ȳ. It is
        used where gradients of one argument are summed, the rule itself where backward is recorded.
        :meth:`defvjp` with another rule takes it away.
        """
        self.places.update(places)
        self._plans.clear()

    def domain(self, *, analytic: bool = True, **intervals: Interval) -> None:
        """Declare where each argument is smooth, and if complex step works, for generated tests."""
        self.intervals.update(intervals)
        self.analytic = analytic

    # -- forward ----------------------------------------------------------------------------

    def __call__(self, *args: Any, **params: Any) -> Any:
        here = observing.get()
        if here is not None:
            given = here.instead(self, args, params)
            if given is not NotImplemented:
                return given
        if params or len(args) != self._arity:
            args, params = self._bind(args, params)
        else:
            params = self.parameters
        values, edges = [], []
        variable: Variable | None = None
        recorded = recording.get()
        wanted, bit = 0, 1  # a bit is set for each argument that needs a gradient
        for arg in args:
            edge: Source | None = None
            if isinstance(arg, Variable):
                variable = arg
                values.append(arg._data)
                if recorded and arg._requires_grad:
                    wanted |= bit
                    edge = arg.node or arg
            else:
                kind = type(arg)
                if not (kind in PLAIN or (kind is numpy.ndarray and arg.dtype.kind in REAL)):
                    if arg is not None or not self._optional & bit:
                        arg = as_operand(arg, [getattr(a, "_data", a) for a in args], self.name)
                elif (
                    recorded and kind is numpy.ndarray and arg.dtype.kind != "f" and not known(arg)
                ):
                    arg = arg.copy()  # a mask that is filled again in a loop
                values.append(arg)
            edges.append(edge)
            bit <<= 1
        if several():
            values = together(self.name, values, args if variable is not None else ())
        if variable is None:
            if here is not None:  # an index may be a tensor, and is not recorded here
                looked((*values, *params.values()), f"{self.name} of an array")
            return self.forward(*values, **params)
        if here is None:
            out = self.forward(*values, **params)
        else:
            out = here.forward(self, self._settled, *values, **params)
        if type(out) is tuple:
            return self._wrap_several(variable, values, params, out, wanted, edges)
        if type(out) is not numpy.ndarray:
            out = xp(out).asarray(out)
        if out.dtype is FLOAT64 and not self._says_dtype:
            out = settle(out, values)
        node = None
        if wanted and self.rules and out.dtype.kind in "fc":
            if out.dtype.kind == "c":
                raise TypeError(f"{self.name} of a tensor and complex numbers: tensors are real")
            plan = self._plans.get((wanted, len(args))) or self._plan(wanted, len(args))
            saved = []  # by a loop: a comprehension is a call of its own before Python 3.12
            for read in plan.reads:
                saved.append(read(values, params, out))
            node = Node(self, tuple(edges), tuple(saved), plan, interned(out.shape), out.dtype)
        return variable._wrap(out, node)

    def _settled(self, *values: Any, **params: Any) -> Any:
        """The forward as observers see it: results are arrays of the right dtype."""
        out = self.forward(*values, **params)
        if type(out) is tuple:
            return tuple([settle(o, values) for o in out])
        return xp(*values).asarray(out) if self._says_dtype else settle(out, values)

    def _wrap_several(
        self,
        variable: Variable,
        values: list[Any],
        params: dict[str, Any],
        out: tuple[Any, ...],
        wanted: int,
        edges: list[Source | None],
    ) -> tuple[Variable, ...]:
        """The end of ``__call__`` for a forward with several results."""
        out = tuple([settle(o, values) for o in out])
        node = None
        if wanted and self.rules:
            plan = self._plans.get((wanted, len(values))) or self._plan(wanted, len(values))
            saved = tuple([read(values, params, out) for read in plan.reads])
            shape = tuple([interned(o.shape) for o in out])  # not the whole: it may be long
            dtype = tuple([o.dtype for o in out])
            node = Node(self, tuple(edges), saved, plan, shape, dtype)
        if node is None:
            return tuple([variable._wrap(o) for o in out])
        nodes = [n if n.dtype.kind == "f" else None for n in node.outputs()]
        return tuple(map(variable._wrap, out, nodes))

    def _bind(
        self, args: tuple[Any, ...], params: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Split a call into array arguments and a full set of parameters."""
        count = len(self.arguments)
        missing = count - len(args)
        if 0 < missing <= len(self._defaults):
            args += self._defaults[-missing:]
        bound = {**self.parameters, **params}
        if len(args) > count:
            if self.variadic and any(isinstance(a, Variable) or is_array(a) for a in args[1:]):
                raise TypeError(f"{self.name} takes its arrays as a list: {self.name}([a, b, ...])")
            for name, value in zip(self.parameters, args[count:], strict=False):
                bound[name] = value
        form = (len(args), *params)
        if form not in self._forms:
            by_place = list(self.parameters)[: max(len(args) - count, 0)]
            if (
                not count <= len(args) <= count + len(by_place)
                or not params.keys().isdisjoint(by_place)
                or len(bound) > len(self.parameters)
                or any(v is inspect.Parameter.empty for v in bound.values())
            ):
                self._refuse(args, params)
            self._forms.add(form)
        for name, value in bound.items():
            if value is not None and type(value) not in PLAIN:
                bound[name] = as_static(name, value)
        if not self.variadic:
            return args[:count], bound
        if not hasattr(args[0], "__iter__"):
            raise TypeError(f"{self.name} takes a list of arrays; got {type(args[0]).__name__}")
        if any(x is None for x in args[0]):
            raise TypeError(
                f"{self.name} takes tensors, arrays and real numbers; got None in a list"
            )
        return tuple(args[0]), bound

    def _refuse(self, args: tuple[Any, ...], params: dict[str, Any]) -> None:
        """Raise the error for a wrong call."""
        error = refusal(self.name, self.__signature__, args, params)
        raise TypeError(str(error).replace(f"*{self.arguments[0]}", f"[{self.arguments[0]}, ...]"))

    def _plan(self, wanted: int, count: int) -> Plan:
        """What to save if these of ``count`` arguments need gradients."""
        arguments = self.arguments * count if self.variadic else self.arguments
        needs: dict[str, int] = {}  # the saved names and their numbers
        uses: list[Use | None] = []
        signatures = {rule: inspect.signature(rule) for rule in self.rules.values()}
        joint = None
        for i, argument in enumerate(arguments):
            if not wanted >> i & 1:
                uses.append(None)
                continue
            rule = self.rules.get(argument)
            if rule is None:
                raise RuntimeError(
                    f"{self.name} has no rule for its argument {argument}, which requires grad: "
                    f"detach() it, or give the rule with {self.name}.defvjp({argument}=...)"
                )
            names = tuple(signatures[rule].parameters)[1:]
            at = names.index("i") if self.variadic and "i" in names else None
            takes = tuple(needs.setdefault(n, len(needs)) for k, n in enumerate(names) if k != at)
            apply = applied(rule if at is None else _at(rule, at, i), takes)
            rows = needs.get(self.stacks.get(argument, ""))
            use = Use(rule, takes, rows, apply, self.places.get(argument))
            uses.append(use)
            joint = use if self.variadic and at is None else None
        pure = all(use is None or is_ours(use.rule) for use in uses)
        reads = tuple(self._reader(name) for name in needs)
        plan = Plan(tuple(needs), reads, tuple(uses), pure, joint)
        self._planned += count
        if self._planned > REMEMBERED:
            self._plans.clear()
            self._planned = count
        self._plans[wanted, count] = plan
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
            return lambda values, params, out: tuple([_shape(v) for v in values])
        if name == argument:
            return lambda values, params, out: values[i]
        return lambda values, params, out: _shape(values[i])

    # -- backward ---------------------------------------------------------------------------

    def pullback(
        self, node: Node, g: Any, wanted: Callable[[Source], bool] | None, live: bool
    ) -> Iterator[tuple[Source, Any]]:
        """Apply the rules: yield (source, gradient) for each wanted argument of ``node``."""
        plan, saved, edges = node.plan, node.kept(), node.edges
        assert plan is not None  # only recompute's has none
        if live:
            saved = self._revive(node, (g[0] if type(g) is tuple else g)._wrap)
        if node.dtype is FLOAT16 and not self.stacks:  # too short for squares and differences
            g, saved = single(g), [single(value) for value in saved]
        each = live or observing.get() is not None  # observers are told of every contribution
        joint = None
        if plan.joint is not None:
            given = plan.joint.apply(g, saved)
            joint = given if type(given) is tuple else (given,) * len(edges)
            if len(joint) != len(edges):
                raise RuntimeError(
                    f"the rule of {self.name} gave {len(joint)} gradients for {len(edges)} arrays"
                )
        for i, use in enumerate(plan.uses):
            edge = edges[i]
            if use is None or edge is None or (wanted is not None and not wanted(edge)):
                continue
            rows = use.rows
            if rows is not None and not each and few_rows(g, saved[rows], edge):
                yield edge, StackedRows(node, use, g)
                continue
            if use.place is not None and not each and g.dtype is edge.dtype:
                yield edge, Placed(use, g, saved)
                continue
            gradient = use.apply(g, saved) if joint is None else joint[i]
            if gradient is not None:
                yield edge, gradient

    def _revive(self, node: Node, wrap: Callable[..., Any]) -> list[Any]:
        """Saved arrays as the tensors they were, on the graph, so that rules are recorded."""

        def tensor(value: Any, source: Source | None) -> Any:
            if not isinstance(source, Variable):
                # A result, or a constant: on the left of a tensor CuPy would answer for the array.
                return value if source is None and not is_array(value) else wrap(value, source)
            if source._data is not value:
                raise RuntimeError(replaced(source, self.name))
            return source

        def revive(name: str, value: Any) -> Any:
            if name == "y":
                if type(value) is tuple:
                    return tuple(map(tensor, value, node.outputs()))
                return tensor(value, node)
            if name not in self.arguments:
                return value
            if self.variadic:
                return tuple(map(tensor, value, node.edges))
            return tensor(value, node.edges[self.arguments.index(name)])

        assert node.plan is not None
        return [revive(n, value) for n, value in zip(node.plan.names, node.kept(), strict=True)]


def _registers(function: Callable[[Callable[..., Any]], Primitive]) -> Register:
    return cast("Register", function)


def _composes(function: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Compose:
    return cast("Compose", function)


@_registers
def primitive(forward: Callable[..., Any]) -> Primitive:
    """Make a primitive of a function of arrays and enter it in the op table.

    Array arguments stand before the slash, static parameters after it; give each differentiable
    argument its rule with ``.defvjp``. A primitive without rules gives results that do not
    require grad.

    Example:
        >>> import tinygrad_seq as ts
        >>> @ts.primitive
        ... def cube(x, /):
        ...     return x * x * x
        >>> cube.defvjp(x=lambda g, x: g * 3 * x * x)
        >>> ts.grad(cube)(2.0)
        Tensor(12., dtype=float32)
    """
    return _register(Primitive(forward))


@_registers
def elementwise(forward: Callable[..., Any]) -> Primitive:
    """A :func:`primitive` that acts element by element, with broadcasting."""
    return _register(Primitive(forward, elementwise=True))


@_composes
def composite(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function made of primitives: it needs no rule. Its first argument may be a list."""
    first = next(iter(inspect.signature(function).parameters))

    @replaceable
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not args and first not in kwargs:
            return function(**kwargs)  # which raises: the argument is missing
        x, *args = args or (kwargs.pop(first),)  # type: ignore[assignment]
        if not isinstance(x, Variable) and not is_array(x):
            beside = [getattr(a, "_data", a) for a in args]
            operand = xp(*beside).asarray(as_operand(x, beside, function.__name__))
            weak = type(x) is float
            x = operand.astype(result_dtype(*beside)) if weak else operand
        try:
            return function(x, *args, **kwargs)
        except TypeError as error:
            explain(error, function.__name__, function, (x, *args), kwargs)
            raise

    return call


def _register(made: Primitive) -> Primitive:
    PRIMITIVES[made.name] = made
    return made


def _at(rule: Rule, at: int, i: int) -> Rule:
    """A rule of one of several arrays, which takes the position ``i``, as that of the i-th."""
    return lambda g, *taken: rule(g, *taken[:at], i, *taken[at:])


def _shape(value: Any) -> tuple[int, ...]:
    """The shape of an array of any library; a number has none."""
    return getattr(value, "shape", ())
