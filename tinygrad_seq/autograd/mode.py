"""The current modes: recording, checking for NaN, and the scope that observers see.

Each mode is a ``ContextVar``, so threads and async tasks do not disturb one another.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self, TypeVar, cast, overload

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")

recording: ContextVar[bool] = ContextVar("recording", default=True)
watching: ContextVar[bool] = ContextVar("watching", default=False)
tracing: ContextVar[Any] = ContextVar("tracing", default=None)  # a scope.Scope while one is traced

# The modes entered in this context and the values to put back: threads may share a mode.
_entered: ContextVar[tuple[tuple[Any, bool], ...]] = ContextVar("_entered", default=())


class Mode:
    """A context manager and decorator that gives a ``ContextVar`` a value for a while."""

    variable: ContextVar[bool]
    value: bool

    @overload
    def __new__(cls) -> Self: ...
    @overload
    def __new__(cls, function: F) -> F: ...  # type: ignore[misc]  # as a bare decorator
    def __new__(cls, function: Any = None) -> Any:
        mode = super().__new__(cls)
        return mode if function is None else mode(function)  # also as a bare decorator

    def __enter__(self) -> None:
        before, entered = self.variable.get(), _entered.get()
        try:
            _entered.set((*entered, (self, before)))
            self.variable.set(self.value)
        except BaseException:  # an interrupt: without a block, nothing else would put it back
            self.variable.set(before)
            _entered.set(entered)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        entered = _entered.get()
        k = max((k for k, (mode, _) in enumerate(entered) if mode is self), default=None)
        if k is None:
            raise RuntimeError(f"{type(self).__name__} is left in a context it was not entered in")
        self.variable.set(entered[k][1])  # first, lest an interrupt come between
        _entered.set(entered[:k] + entered[k + 1 :])

    def __call__(self, function: F) -> F:
        """Run every call of ``function`` (plain, generator or coroutine) in this mode."""
        mode = type(self)
        if not callable(function):
            raise TypeError(f"{mode.__name__} decorates functions; got {function!r:.60}")

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def in_mode(*args: Any, **kwargs: Any) -> Any:
                with mode():
                    return await function(*args, **kwargs)

        elif inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def in_mode(*args: Any, **kwargs: Any) -> Any:
                # The mode holds while the generator runs, not while its consumer does.
                steps = function(*args, **kwargs)
                resume, given = steps.send, None
                try:
                    while True:
                        with mode():
                            try:
                                item = resume(given)
                            except StopIteration as stop:
                                return stop.value
                        try:
                            resume, given = steps.send, (yield item)
                        except GeneratorExit:
                            raise
                        except BaseException as thrown:
                            resume, given = steps.throw, thrown
                finally:
                    with mode():
                        steps.close()

        elif inspect.isasyncgenfunction(function):

            @functools.wraps(function)
            async def in_mode(*args: Any, **kwargs: Any) -> Any:
                steps = function(*args, **kwargs)
                resume, given = steps.asend, None
                try:
                    while True:
                        with mode():
                            try:
                                item = await resume(given)
                            except StopAsyncIteration:
                                return
                        try:
                            resume, given = steps.asend, (yield item)
                        except GeneratorExit:
                            raise
                        except BaseException as thrown:
                            resume, given = steps.athrow, thrown
                finally:
                    with mode():
                        await steps.aclose()

        else:

            @functools.wraps(function)
            def in_mode(*args: Any, **kwargs: Any) -> Any:
                with mode():
                    return function(*args, **kwargs)

        return cast(F, in_mode)


class no_grad(Mode):
    """Record nothing: results do not require grad.  ``with no_grad(): ...`` or ``@no_grad()``."""

    variable, value = recording, False


class enable_grad(Mode):
    """Record again inside a :class:`no_grad` block."""

    variable, value = recording, True


class anomaly_mode(Mode):
    """Stop at the first NaN or Inf, forward or backward, and name where it arose.

    The error names the operation, its shapes and the line that called it. Recording that line
    costs time: use it to look for a fault, not to train.

    Raises (inside the block):
        FloatingPointError: an operation or its rule gave a NaN or an infinite value.
    """

    variable, value = watching, True


def as_recording(on: bool, function: Callable[..., R], *args: Any) -> R:
    """``function(*args)`` with recording on or off; an interrupt at any moment puts it back."""
    before = recording.get()
    try:
        recording.set(on)
        return function(*args)
    finally:
        recording.set(before)


def is_grad_enabled() -> bool:
    """Whether operations on tensors that require grad are recorded now."""
    return recording.get()
