"""What recurrent layers return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn


class Pair(tuple[Any, ...]):
    """``(y, state)`` of a layer: a tuple that says so to those who take it for a tensor."""

    __slots__ = ()

    if not TYPE_CHECKING:  # for which it is a plain tuple

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(name)
            raise AttributeError(
                f"a recurrent layer returns the pair (y, state), which has no {name!r}: write "
                f"y, state = layer(x), then y.{name}",
                name=name,
            )

        def _refuse(self, *_: Any, **__: Any) -> NoReturn:
            raise TypeError(
                "a recurrent layer returns the pair (y, state), which is no tensor: write "
                "y, state = layer(x), and compute with y"
            )

        __array__ = __neg__ = __mul__ = __rmul__ = __sub__ = __truediv__ = __matmul__ = _refuse

        def __add__(self, other: Any) -> Any:
            return super().__add__(other) if isinstance(other, tuple) else self._refuse()
