"""One decorator that makes a gradient property test of a function, a primitive or a cell.

    @gradient_property(x=arrays((3, 4)), w=arrays((4, 2)))
    def test_my_op(x, w):
        return my_op(x, w)

    test_gru = gradient_property(x=arrays((3, 2)), h=arrays((3, 4)))(nn.GRUCell(2, 4, dtype="f8"))

    @gradient_property(cell=modules(lambda: MyCell(2, 4)), x=arrays((3, 2)), h=arrays((3, 4)))
    def test_my_cell(cell, x, h):
        return cell(x, h)

pytest runs it as it stands; `@settings(...)`, `@seed(...)` and pytest's marks go above or below it,
as with `@given`, and `@example(x=..., w=..., seed=0)` with the seed of the upstream gradients.
Arguments without a strategy are left to pytest: `self`, fixtures, parametrized values. A failure
shows the drawn inputs, shrunk, and that seed; Hypothesis prints how to reproduce it.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Collection
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import settings as Settings
from hypothesis import strategies as st

from ..nn import Module
from .gradcheck import check_float32, gradcheck, gradgradcheck
from .oracles import name_of
from .subject import own_names

__tracebackhide__ = True  # pytest shows the frames of the function that is tested

Test = Callable[..., None]

# Hypothesis' mark of a test that has its settings: it refuses a second @settings. Without the mark,
# one above replaces ours.
_APPLIED = "_hypothesis_internal_settings_applied"


def gradient_property(
    *,
    complex_step: bool = False,
    second_order: bool = True,
    float32: bool = True,
    settings: Settings | None = None,
    **inputs: Any,
) -> Callable[[Callable[..., Any]], Test]:
    """Turn a function of named inputs into a property test of its gradients.

    For every drawn example it checks the first order against central differences; the second order;
    that float32 stays float32 and close to float64; that nothing is mutated, shared or random; all
    with upstream gradients from a drawn seed.

    Args:
        complex_step: also the first order by the complex step, for a function that is analytic and
            written with functions of tinygrad_seq and operators (it is given complex arrays).
        second_order: False for a function that can be differentiated once only.
        float32: False for a function that computes in float64 whatever it is given.
        settings: Hypothesis' settings, such as `settings(max_examples=10)`; by default those of the
            profile. There is no deadline either way, because a check of large arrays takes long. A
            `@settings(...)` above or below replaces them: give it `deadline=None` too.
        inputs: for each argument of the function, a strategy (`arrays(...)`, `lengths(...)`,
            `modules(...)`, ...) or a value that stays the same: an array, a Module, a number.
            Parameters of Modules are checked as inputs. What the function closes over is not.

    Returns:
        A decorator for a function or method of these arguments, or for a Module, that returns a
        Tensor or a nested tuple of them. The result is a test, of the arguments that are left.

    Raises:
        GradientError: when the test runs and a check fails.
        TypeError: an input has the name of an option, or, when a function is decorated, of no
            argument of it.
    """
    for option, value, kind in (
        ("complex_step", complex_step, bool),
        ("second_order", second_order, bool),
        ("float32", float32, bool),
        ("settings", settings, Settings | None),
    ):
        if not isinstance(value, kind):
            raise TypeError(
                f"{option} is an option of gradient_property and was given a "
                f"{type(value).__name__}; if it is an argument of your function, rename it there."
            )
    own_seed = "seed" if "seed" not in inputs else _free("upstream_seed", inputs)
    strategies = {
        name: value if isinstance(value, st.SearchStrategy) else st.just(value)
        for name, value in inputs.items()
    }

    def decorate(f: Callable[..., Any]) -> Any:
        if isinstance(f, staticmethod | classmethod):
            return type(f)(decorate(f.__func__))
        _check_names(f, strategies)
        others = _others(f, strategies)
        ours = [
            inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY) for n in (own_seed, *strategies)
        ]
        signature = inspect.Signature([*others, *ours])

        def test(*args: Any, **kwargs: Any) -> None:
            values = dict(signature.bind_partial(*args, **kwargs).arguments)
            rest = {p.name: values.pop(p.name) for p in others if p.name in values}
            seed = values.pop(own_seed)
            call, names, arguments = _arranged(_with(f, rest), values)
            gradcheck(call, *arguments, names=names, seed=seed)
            if complex_step:
                gradcheck(call, *arguments, names=names, seed=seed, oracle="complex")
            if second_order:
                gradgradcheck(call, *arguments, names=names, seed=seed)
            if float32:
                check_float32(call, *arguments, names=names, seed=seed)

        if inspect.isfunction(f):
            noted = {key: value for key, value in vars(f).items() if key != "__wrapped__"}
            vars(test).update(noted)  # by decorators below: settings, marks
        name = re.sub(r"\W", "", name_of(f))
        test.__name__ = name if name.startswith("test") else f"test_{name}"
        test.__qualname__, test.__module__ = test.__name__, getattr(f, "__module__", __name__)
        test.__doc__ = f.__doc__
        test.__signature__ = signature  # type: ignore[attr-defined]  # for Hypothesis and pytest
        return _with_settings(given(**{own_seed: st.integers(0, 2**16)}, **strategies)(test))

    def _with_settings(test: Test) -> Test:
        if settings is not None:
            return _lenient(settings)(test)
        if not hasattr(test, _APPLIED):
            _lenient(Settings())(test)
            vars(test).pop(_APPLIED, None)
        return test

    return decorate


def _lenient(settings: Settings) -> Settings:
    """Without a deadline, and without the check that refuses fixtures shared by all examples."""
    suppressed = {*settings.suppress_health_check, HealthCheck.function_scoped_fixture}
    return Settings(settings, deadline=None, suppress_health_check=suppressed)


def _check_names(f: Callable[..., Any], named: Collection[str]) -> None:
    """Refuse inputs that a function has no argument for."""
    try:
        signature = inspect.signature(f.forward if isinstance(f, Module) else f)
    except (TypeError, ValueError):
        return  # of a builtin: it says so itself, when it is called
    parameters = signature.parameters.values()
    if any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters):
        return  # which take inputs of any name
    unknown = [name for name in named if name not in signature.parameters]
    if unknown:
        raise TypeError(
            f"gradient_property was given {unknown[0]}=, and {name_of(f)}{signature} has no such "
            "argument: name each input as the function does."
        )


def _others(f: Callable[..., Any], named: Collection[str]) -> list[inspect.Parameter]:
    """The parameters of a function that pytest gives."""
    if not inspect.isfunction(f):
        return []
    parameters = inspect.signature(f).parameters.values()
    return [
        p.replace(kind=p.POSITIONAL_OR_KEYWORD, annotation=p.empty)
        for p in parameters
        if p.name not in named
        and p.default is p.empty
        and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]


def _with(f: Callable[..., Any], given: dict[str, Any]) -> Callable[..., Any]:
    """The function with some of its arguments given."""
    if not given:
        return f

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        return f(*args, **kwargs, **given)

    return call


def _free(name: str, taken: Collection[str]) -> str:
    return name if name not in taken else _free(f"{name}_", taken)


def _arranged(
    f: Callable[..., Any], values: dict[str, Any]
) -> tuple[Callable[..., Any], tuple[str, ...], tuple[Any, ...]]:
    """The function of positional arguments, their names and values.

    Arguments are given by name, except to what has none for them (`*args`, positional-only) and to
    a Module, which is kept as it is, because its parameters are inputs too.
    """
    own = own_names(f)
    if set(values) <= set(own):
        values = {name: values[name] for name in own if name in values}
    names = tuple(values)
    if isinstance(f, Module) or tuple(own[: len(names)]) == names:
        return f, names, tuple(values.values())

    def call(*arguments: Any) -> Any:
        return f(**dict(zip(names, arguments, strict=True)))

    call.__name__ = name_of(f)
    call.__wrapped__ = f  # type: ignore[attr-defined]  # to look through
    return call, names, tuple(values.values())
