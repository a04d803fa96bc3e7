"""What is being done now: recording or not, looking for NaN or not, and where, if somebody looks.

Each mode is a ``ContextVar``, so threads and async tasks do not disturb one another.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

recording: ContextVar[bool] = ContextVar("recording", default=True)
watching: ContextVar[bool] = ContextVar("watching", default=False)
tracing: ContextVar[Any] = ContextVar("tracing", default=None)  # a scope.Scope while one is traced


class Mode:
    """A context manager and decorator that gives a ``ContextVar`` a value for a while."""

    variable: ContextVar[bool]
    value: bool

    def __new__(cls, function: Any = None) -> Any:
        mode = super().__new__(cls)
        mode._before = []
        return mode if function is None else mode(function)  # also as a bare decorator

    _before: list[bool]  # the values to put back

    def __enter__(self) -> None:
        before = self.variable.get()
        try:
            self._before.append(before)
            self.variable.set(self.value)
        except BaseException:  # an interrupt: without a block, nothing else would put it back
            self.variable.set(before)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.variable.set(self._before[-1])  # first, lest an interrupt come between
        self._before.pop()

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
                while True:
                    with mode():
                        try:
                            item = await anext(steps)
                        except StopAsyncIteration:
                            return
                    yield item

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


def is_grad_enabled() -> bool:
    """Whether operations on tensors that require grad are recorded now."""
    return recording.get()
