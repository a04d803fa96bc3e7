"""Errors that say which name is meant, and warnings that name a line of the user."""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

_LIBRARY = f"{__name__.partition('.')[0]}."

KEYWORDS: dict[str, tuple[str, ...] | str] = {
    "activation": "a module after it: nn.Sequential(nn.Linear(3, 4), nn.Tanh())",
    "axes": ("axis",),
    "decay": ("weight_decay",),
    "device": 'ts.use_backend("cupy"), or to("cupy") of what was made',
    "dim": ("axis", "embedding_dim"),
    "drop_prob": ("p", "dropout"),
    "dropout": "a cell around it, nn.VariationalDropout(cell, input=p, state=p), or nn.Dropout(p)",
    "h0": ("state",),
    "fill_value": ("value",),
    "hidden": ("state",),
    "hidden_dim": ("hidden_size",),
    "hx": ("state",),
    "initial_state": ("state",),
    "inplace": "nothing: a result is a new tensor, leave it out",
    "input": ("x", "logits", "predictions", "log_probs"),
    "input_dim": ("input_size", "in_features", "num_embeddings"),
    "input_size": ("in_features",),
    "inputs": ("x", "ids"),
    "keepdim": ("keepdims",),
    "learning_rate": ("lr",),
    "mask_zero": ("padding_idx",),
    "out": "nothing: a result is a new tensor",
    "output_dim": ("out_features", "embedding_dim"),
    "output_size": ("out_features",),
    "padding_value": ("value",),
    "prob": ("p", "dropout"),
    "rate": ("p", "dropout", "lr"),
    "reduce": ("reduction",),
    "return_sequences": "nothing: y holds every step, and y[-1] is the last",
    "return_state": "nothing: a layer gives (y, state)",
    "seq_lens": ("lengths",),
    "size": ("hidden_size", "out_features", "shape"),
    "size_average": ("reduction",),
    "stateful": "nothing: pass the state on, y, state = layer(x, state)",
    "target": ("targets",),
    "units": ("hidden_size", "out_features"),
    "vocab_size": ("num_embeddings",),
}
"""Keyword arguments of other libraries: the names that they may have here, or a sentence."""


def is_ours(thing: Any) -> bool:
    """Whether a class or function is defined in this library, not by its user."""
    return (thing.__module__ or "").startswith(_LIBRARY)


def named(what: Any) -> str:
    """The name of a class or function, which listings and pages will show.

    Raises:
        TypeError: it has invisible characters, such as escapes of terminals.
    """
    name: str = what.__name__
    if not name.isprintable():
        raise TypeError(f"expected a name of printable characters; got {name!r}: rename it")
    return name


def kind_of(value: object) -> str:
    """The words of a message for a value given in place of a module, often its class."""
    if isinstance(value, type):
        return f"the class {value.__name__}: write {value.__name__}(...)"
    return type(value).__name__


def near(name: str, known: Iterable[str]) -> str | None:
    """The most similar of the ``known`` names, or None."""
    import difflib  # for messages alone

    public = {k.lower(): k for k in known if not k.startswith("_")}
    found = difflib.get_close_matches(name.lower(), public, 1, 0.65)
    return public[found[0]] if found else None


class _Absent:
    """The message for a name that does not exist; the similar name is looked for when it is read.

    ``hasattr`` and ``getattr`` with a default drop the error, and the search takes a millisecond.
    """

    def __init__(self, what: str, name: str, known: Callable[[], Iterable[str]]) -> None:
        self.what, self.name, self.known = what, name, known

    def __str__(self) -> str:
        meant = near(self.name, self.known())
        hint = f": did you mean {meant}?" if meant else ""
        return f"{self.what} has no attribute {self.name!r}{hint}"

    __repr__ = __str__

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


def absent(
    what: str, name: str, hints: Mapping[str, str], known: Callable[[], Iterable[str]]
) -> AttributeError:
    """The error for a name that does not exist, with the hint for it or the most similar name."""
    if name in hints:
        message = f"{what} has no attribute {name!r}: here it is {hints[name]}"
        return AttributeError(message, name=name)
    if name.startswith("_"):
        return AttributeError(f"{what} has no attribute {name!r}", name=name)
    return AttributeError(_Absent(what, name, known), name=name)


def publish(module: str, hints: Mapping[str, str] = MappingProxyType({})) -> None:
    """Give a module the public face that its ``__all__`` tells.

    ``dir`` lists these names alone. The error for another name says which is meant, and so does
    that for a wrong argument of a function.
    """
    here: Any = sys.modules[module]
    names: list[str] = here.__all__

    def __getattr__(name: str) -> Any:
        raise absent(f"module {module!r}", name, hints, lambda: names)

    here.__dir__, here.__getattr__ = names.copy, __getattr__
    for name in names:
        function = getattr(here, name)
        if type(function) is FunctionType and not hasattr(function, "__wrapped__"):
            made = explained(function)
            for place in (here, sys.modules[function.__module__]):  # where pickle looks for it
                setattr(place, name, made)


def explained(function: F) -> F:
    """``function``, whose error for wrong arguments says which are meant."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            explain(error, function.__name__, function, args, kwargs)
            raise

    return cast(F, call)


def refusal(
    owner: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> TypeError | None:
    """The error for arguments that do not fit a signature, or None."""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        words = str(error)
    else:
        return None
    parameters = signature.parameters.values()
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    usage = f"{owner}({', '.join(map(_shown, parameters))})"
    for name in kwargs:
        if name not in known and not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return TypeError(f"{owner} takes no {name!r}{_meant(name, known)} {usage}")
    return TypeError(f"{words}: {usage}")


def _meant(name: str, known: list[str]) -> str:
    """The middle of a sentence: which of the ``known`` names a wrong name means."""
    usual = KEYWORDS.get(name) or KEYWORDS.get(near(name, KEYWORDS) or "", ())
    names = () if isinstance(usual, str) else usual
    meant = next((n for n in names if n in known), None) or near(name, known)
    if meant:
        return f": did you mean {meant}?"
    return f": here it is {usual}." if isinstance(usual, str) else ":"


def _shown(parameter: inspect.Parameter) -> str:
    """A parameter as in a signature, without its annotation."""
    default = parameter.default
    if default is parameter.empty:
        return str(parameter.replace(annotation=parameter.empty))
    text = default.__name__ if isinstance(default, type) else repr(default)
    return f"{parameter.name}={text if len(text) <= 20 else '...'}"


def explain(
    error: TypeError,
    owner: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    """Replace Python's error by a better one if a call failed because of its arguments.

    Call it where ``function(*args, **kwargs)`` raised ``error``, in the same frame.
    """
    if error.__traceback__ is None or error.__traceback__.tb_next is not None:
        return  # the error arose inside the function
    better = refusal(owner, inspect.signature(function), args, kwargs)
    if better is not None:
        raise better from None


@functools.lru_cache(maxsize=512)
def _signature_of(init: Callable[..., None]) -> inspect.Signature:
    """The arguments of a constructor, without ``self``."""
    if init is object.__init__:
        return inspect.Signature()
    signature = inspect.signature(init)
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def _is_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Hinted)


class Hinted:
    """Base of classes whose errors say which argument or attribute is meant."""

    _hints: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        named(cls)

    if not TYPE_CHECKING:  # type checkers report unknown names themselves

        def __new__(cls, *args: Any, **kwargs: Any) -> Self:
            if args or kwargs:  # copying makes an object without arguments
                cls._check_call(args, kwargs)
            return super().__new__(cls)

        def __getattr__(self, name: str) -> Any:
            """Called for a name that does not exist: the error gives the equivalent, if known."""
            what = f"{type(self).__name__!r} object"
            raise absent(what, name, self._hints, lambda: (*vars(self), *dir(type(self))))

    @classmethod
    def _signature(cls) -> inspect.Signature:
        """The arguments that the constructor takes."""
        return _signature_of(cls.__init__)

    @classmethod
    def _check_call(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Refuse arguments that the constructor does not take, and classes in place of objects."""
        signature = cls._signature()
        error = refusal(cls.__name__, signature, args, kwargs)
        if error is not None and args and hasattr(args[0], "shape") and hasattr(cls, "forward"):
            made = f"{cls.__name__}(...)"
            raise TypeError(f"{error}. To compute with it, make it first: {made}(x)")
        if error is not None:
            raise error
        parts = [v if isinstance(v, tuple) else (v,) for v in (*args, *kwargs.values())]
        if not any(_is_class(part) for group in parts for part in group) or not is_ours(cls):
            return  # the arguments of a user's class may be classes
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if _is_class(signature.parameters[name].default):
                continue
            for part in value if isinstance(value, tuple) else (value,):
                if _is_class(part):
                    raise TypeError(f"{cls.__name__} got {kind_of(part)} for {name}")


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the nearest line outside of the library."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and f"{frame.f_globals.get('__name__', '')}.".startswith(_LIBRARY):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
