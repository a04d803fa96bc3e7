"""Settings of a ``with`` block: whether operations are recorded, and who observes them.

Each mode is a ``ContextVar``, so threads and async tasks have their own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Self, TypeVar, cast, overload

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")

recording: ContextVar[bool] = ContextVar("recording", default=True)

# The blocks entered in this context and the values to put back: threads may share a block.
_entered: ContextVar[tuple[tuple[Any, Any], ...]] = ContextVar("_entered", default=())


class Block:
    """A context manager that gives a ``ContextVar`` a value for a while.

    One object may be entered again, also within itself and in several threads.
    """

    variable: ContextVar[Any]
    value: Any

    def __enter__(self) -> Self:
        value = self.value
        before, entered = self.variable.get(), _entered.get()
        try:
            _entered.set((*entered, (self, before)))
            self.variable.set(value)
        except BaseException:  # at an interrupt here no block would put it back
            self.variable.set(before)
            _entered.set(entered)
            raise
        return self

    def __exit__(self, *error: object) -> None:
        outside = None
        try:
            outside = self._outside()
            self.variable.set(outside[0])
            _entered.set(outside[1])
        except BaseException:  # an interrupt
            value, entered = outside or self._outside()
            self.variable.set(value)
            _entered.set(entered)
            raise

    def _outside(self) -> tuple[Any, tuple[tuple[Any, Any], ...]]:
        """The value to put back, and the blocks that are entered then."""
        entered = _entered.get()
        k = max((k for k, (mode, _) in enumerate(entered) if mode is self), default=None)
        if k is None:
            raise RuntimeError(f"{type(self).__name__} is left in a context it was not entered in")
        return entered[k][1], entered[:k] + entered[k + 1 :]


class Mode(Block):
    """A block that is also a decorator, with or without parentheses."""

    @overload
    def __new__(cls) -> Self: ...
    @overload
    def __new__(cls, function: F) -> F: ...  # type: ignore[misc]  # as a bare decorator
    def __new__(cls, function: Any = None) -> Any:
        mode = super().__new__(cls)
        return mode if function is None else mode(function)  # also as a bare decorator

    def __call__(self, function: F) -> F:
        """Run every call of ``function`` (plain, generator or coroutine) in this mode."""
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"{type(self).__name__} decorates functions; got {function!r:.60}")
        own = inspect.isroutine(function) or isinstance(function, functools.partial)
        kind = function if own else type(function).__call__  # of an object that can be called

        if inspect.iscoroutinefunction(kind):

            @functools.wraps(function)
            async def in_mode(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)

        elif inspect.isgeneratorfunction(kind):

            @functools.wraps(function)
            def in_mode(*args: Any, **kwargs: Any) -> Any:
                # The mode holds while the generator runs, not while its consumer does.
                steps = function(*args, **kwargs)
                resume, given = steps.send, None
                try:
                    while True:
                        with self:
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
                    with self:
                        steps.close()

        elif inspect.isasyncgenfunction(kind):

            @functools.wraps(function)
            async def in_mode(*args: Any, **kwargs: Any) -> Any:
                steps = function(*args, **kwargs)
                resume, given = steps.asend, None
                try:
                    while True:
                        with self:
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
                    with self:
                        await steps.aclose()

        else:

            @functools.wraps(function)
            def in_mode(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return function(*args, **kwargs)

        return cast(F, in_mode)


class no_grad(Mode):
    """Record nothing: results do not require grad.  ``with no_grad(): ...`` or ``@no_grad()``."""

    variable, value = recording, False


class enable_grad(Mode):
    """Record again inside a :class:`no_grad` block."""

    variable, value = recording, True


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
