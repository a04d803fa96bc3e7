"""Functions of functions: gradients, products with Jacobians, whole Jacobians.

Each takes a function of tensors. The arguments to differentiate may be given as tensors, arrays,
Python numbers, or lists, tuples and dicts of tensors and arrays, for which the gradients come in
the same form; the function gets tensors. Other arguments reach it as they are. What it closes over
(a model's weights) is left alone.
Where an argument, or what the function closes over, is on a graph already, the result stays on it:
transforms nest to any order, and a gradient can be a part of a loss.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from . import ops
from .autograd import Node, enable_grad, is_grad_enabled
from .autograd import grad as _pull_back
from .autograd.graph import source_of
from .autograd.reach import reachable
from .backend import is_array, xp
from .creation import zeros_like
from .tensor import Tensor
from .trees import leaves, mapped

if TYPE_CHECKING:
    from .autograd.signatures import Operand

Function = Callable[..., Any]
P = ParamSpec("P")
R = TypeVar("R")
X = TypeVar("X")


@overload
def grad(
    f: Callable[Concatenate[Tensor, P], Tensor], argnums: int = 0, has_aux: Literal[False] = False
) -> Callable[Concatenate[Operand, P], Tensor]: ...
@overload
def grad(
    f: Callable[Concatenate[Tensor, P], Tensor],
    argnums: Sequence[int],
    has_aux: Literal[False] = False,
) -> Callable[Concatenate[Operand, P], tuple[Tensor, ...]]: ...
@overload
def grad(
    f: Callable[Concatenate[Tensor, P], tuple[Tensor, X]],
    argnums: int = 0,
    *,
    has_aux: Literal[True],
) -> Callable[Concatenate[Operand, P], tuple[Tensor, X]]: ...
@overload
def grad(f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Any: ...


def grad(f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """The gradient of a function with one number as its result.  grad(f)(x) = ∂f/∂x.

    Args:
        f: A function of tensors.
        argnums: Which argument, or which (a tuple gives a tuple of gradients).
        has_aux: f gives (number, anything else); the gradient function gives (gradient, the rest).

    Raises (when called):
        ValueError: f gives no single number.
        TypeError: an argument is not floating, or f does not give a Tensor.

    Example:
        >>> import tinygrad_seq as ts
        >>> ts.grad(ts.grad(lambda x: x**3))(2.0)
        Tensor(12., dtype=float32)
    """
    both = value_and_grad(f, argnums, has_aux)

    @functools.wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, gradients = both(*args, **kwargs)
        return (gradients, value[1]) if has_aux else gradients

    return gradient


@overload
def value_and_grad(
    f: Callable[Concatenate[Tensor, P], Tensor], argnums: int = 0, has_aux: Literal[False] = False
) -> Callable[Concatenate[Operand, P], tuple[Tensor, Tensor]]: ...
@overload
def value_and_grad(
    f: Callable[Concatenate[Tensor, P], Tensor],
    argnums: Sequence[int],
    has_aux: Literal[False] = False,
) -> Callable[Concatenate[Operand, P], tuple[Tensor, tuple[Tensor, ...]]]: ...
@overload
def value_and_grad(
    f: Callable[Concatenate[Tensor, P], tuple[Tensor, X]],
    argnums: int = 0,
    *,
    has_aux: Literal[True],
) -> Callable[Concatenate[Operand, P], tuple[tuple[Tensor, X], Tensor]]: ...
@overload
def value_and_grad(f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Any: ...
def value_and_grad(
    f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Function:
    """A function that gives (f(x), ∂f/∂x); see :func:`grad`.

    With ``has_aux`` it gives ((number, the rest), ∂ number/∂x).
    """

    @functools.wraps(f)
    def value_and_gradient(*args: Any, **kwargs: Any) -> Any:
        args, trees, chosen = _prepare(args, argnums)
        with enable_grad():
            y, aux = _split(f(*args, **kwargs), f, has_aux)
            y = _one_tensor(y, f)
        if y.size != 1:
            raise ValueError(
                f"grad needs a function with one number as its result; got shape {y.shape}: "
                "reduce it with sum() or mean(), or use jacobian"
            )
        live = _is_live([y], chosen)
        gradients = _gradients([y], chosen, None, live)
        value = _off_graph(y, live)
        rest = mapped(lambda part: _off_graph(part, live), aux)
        return (value, rest) if has_aux else value, _as_asked(gradients, trees, argnums)

    return value_and_gradient


@overload
def vjp(
    f: Callable[..., R],
    *args: Any,
    argnums: Sequence[int] | None = None,
    has_aux: Literal[False] = False,
    **kwargs: Any,
) -> tuple[R, Callable[..., tuple[Any, ...]]]: ...
@overload
def vjp(
    f: Callable[..., R], *args: Any, argnums: int, has_aux: Literal[False] = False, **kwargs: Any
) -> tuple[R, Callable[..., Any]]: ...
@overload
def vjp(
    f: Callable[..., tuple[R, X]],
    *args: Any,
    argnums: int | Sequence[int] | None = None,
    has_aux: Literal[True],
    **kwargs: Any,
) -> tuple[R, Callable[..., Any], X]: ...
def vjp(
    f: Function,
    *args: Any,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
    **kwargs: Any,
) -> Any:
    """f(x), and the function v ↦ vᵀ ∂f/∂x that pulls gradients back.

    Args:
        f: A function of tensors.
        *args: Its arguments.
        argnums: Which of them to differentiate; all by default.
        has_aux: f gives (outputs, anything else).
        **kwargs: Handed on to f.

    Returns:
        (y, pullback), and the rest with ``has_aux``: ``pullback(v)`` takes a gradient for each
        output and gives a tuple with one for each argument of ``argnums`` (the one itself for a
        number); it may be called again.
    """
    numbers = tuple(range(len(args))) if argnums is None else argnums
    args, trees, chosen = _prepare(args, numbers)
    with enable_grad():
        result, aux = _split(f(*args, **kwargs), f, has_aux)
    outputs = _tensors(result, f)
    live = _is_live(outputs, chosen)

    def pullback(*vs: Any) -> Any:
        found = _gradients(outputs, chosen, vs, live or _any_live(vs), retain=True)
        return _as_asked(found, trees, numbers)

    y = _like(result, [_off_graph(y, live) for y in outputs])
    return (
        (y, pullback, mapped(lambda part: _off_graph(part, live), aux))
        if has_aux
        else (y, pullback)
    )


def jvp(f: Callable[..., R], xs: Any, vs: Any) -> tuple[R, R]:
    """f(x), and ∂f/∂x v, the change of f along v.

    The pullback u ↦ uᵀ J is linear in u; pulling v back through *it* gives J v.

    Args:
        f: A function of tensors.
        xs: Its argument, or a tuple of them.
        vs: A direction for each argument, of its shape.
    """
    xs = xs if isinstance(xs, tuple) else (xs,)
    vs = vs if isinstance(vs, tuple) else (vs,)
    args, trees, chosen = _prepare(xs, tuple(range(len(xs))))
    if len(vs) != len(xs):
        raise ValueError(f"jvp of {len(xs)} arguments needs as many directions; got {len(vs)}")
    vs = [v for tree, given in zip(trees, vs, strict=True) for v in _given(tree, given)]
    if len(vs) != len(chosen):
        raise ValueError(f"jvp of {len(chosen)} tensors needs as many directions; got {len(vs)}")
    directions = [_direction(v, x) for v, x in zip(vs, chosen, strict=True)]
    with enable_grad():
        result = f(*args)
        outputs = _tensors(result, f)
        us = [zeros_like(y, requires_grad=True) for y in outputs]
        pulled = _gradients(outputs, chosen, us, live=True)
    live = _is_live(outputs, chosen)
    changes = _gradients(pulled, us, directions, live or _any_live(vs))
    return _like(result, [_off_graph(y, live) for y in outputs]), _like(result, list(changes))


@overload
def jacobian(
    f: Callable[Concatenate[Tensor, P], Tensor], argnums: int = 0
) -> Callable[Concatenate[Operand, P], Tensor]: ...
@overload
def jacobian(
    f: Callable[Concatenate[Tensor, P], Tensor], argnums: Sequence[int]
) -> Callable[Concatenate[Operand, P], tuple[Tensor, ...]]: ...
@overload
def jacobian(f: Function, argnums: int | Sequence[int] = 0) -> Any: ...
def jacobian(f: Function, argnums: int | Sequence[int] = 0) -> Function:
    """The matrix of partial derivatives.  J[i, j] = ∂yᵢ/∂xⱼ, of shape ``y.shape + x.shape``.

    One backward pass per element of y.
    """

    @functools.wraps(f)
    def jacobian_of(*args: Any, **kwargs: Any) -> Any:
        args, trees, chosen = _prepare(args, argnums)
        with enable_grad():
            y = _one_tensor(f(*args, **kwargs), f)
        live = _is_live([y], chosen)
        eye = Tensor._wrap(xp(y.data).eye(y.size, dtype=y.dtype))
        units = ops.reshape(eye, (y.size, *y.shape))
        rows = [_gradients([y], chosen, [unit], live, retain=True) for unit in units]
        blocks = [
            ops.reshape(ops.stack([row[k] for row in rows]), y.shape + x.shape)
            if rows
            else Tensor._wrap(xp(x.data).zeros(y.shape + x.shape, x.dtype))
            for k, x in enumerate(chosen)
        ]
        return _as_asked(tuple(blocks), trees, argnums)

    return jacobian_of


@overload
def hessian(
    f: Callable[Concatenate[Tensor, P], Tensor], argnums: int = 0
) -> Callable[Concatenate[Operand, P], Tensor]: ...
@overload
def hessian(f: Function, argnums: int = 0) -> Any: ...
def hessian(f: Function, argnums: int = 0) -> Function:
    """The matrix of second derivatives of a function with one number as its result."""
    return jacobian(grad(f, argnums), argnums)


def hvp(f: Callable[..., Tensor], x: Operand, v: Operand, *args: Any, **kwargs: Any) -> Tensor:
    """The Hessian of f at x times v, at the cost of two backward passes: ∂/∂x ⟨∂f/∂x, v⟩.

    Args:
        f: A function of x, and of ``*args`` and ``**kwargs``, which are not differentiated.
        x: Its first argument.
        v: A direction, of the shape of x.
    """
    slope: Function = grad(f)

    def along(x: Tensor) -> Tensor:
        return ops.sum(ops.multiply(slope(x, *args, **kwargs), _direction(v, x)))

    return grad(along)(x)


# -- plumbing -----------------------------------------------------------------------------------


def _given(tree: Any, vs: Any) -> list[Any]:
    """The directions for the tensors of an argument."""
    return [vs] if isinstance(tree, Tensor) else leaves(vs)


def _is_tree(value: Any) -> bool:
    """Whether it holds tensors or arrays; a list of numbers is data of one tensor."""
    if isinstance(value, dict):
        return True
    return isinstance(value, (list, tuple)) and any(
        isinstance(part, Tensor) or is_array(part) or _is_tree(part) for part in value
    )


def _prepare(
    args: Sequence[Any], argnums: int | Sequence[int]
) -> tuple[tuple[Any, ...], list[Any], list[Tensor]]:
    """The arguments with the chosen ones made inputs of their own; these; and their tensors."""
    numbers = [argnums] if isinstance(argnums, int) else list(argnums)
    made = list(args)
    for k in numbers:
        if not -len(made) <= k < len(made):
            raise ValueError(f"argnums={k}, but the function was called with {len(made)} arguments")
    if len({k % len(made) for k in numbers}) != len(numbers):
        raise ValueError(f"argnums names an argument twice: {tuple(numbers)}")
    chosen: list[Tensor] = []

    def as_input(x: Any) -> Tensor:
        x = x if isinstance(x, Tensor) else Tensor(float(x) if type(x) is int else x)
        joined = x.requires_grad and is_grad_enabled()  # to an outer graph, on which to stay
        chosen.append(x * 1 if joined else x.detach().requires_grad_())
        return chosen[-1]

    for k in numbers:
        made[k] = mapped(as_input, made[k]) if _is_tree(made[k]) else as_input(made[k])
    return tuple(made), [made[k] for k in numbers], chosen


def _split(result: Any, f: Function, has_aux: bool) -> tuple[Any, Any]:
    """What f gives to differentiate, and the rest."""
    if not has_aux:
        return result, None
    if not (isinstance(result, tuple) and len(result) == 2):
        raise TypeError(
            f"has_aux=True needs {getattr(f, '__name__', f)} to give a pair (result, the rest); "
            f"got {type(result).__name__}"
        )
    return result


def _is_live(outputs: Sequence[Tensor], chosen: Sequence[Tensor]) -> bool:
    """Whether results are to stay on a graph: they depend on more that requires grad.

    That is a chosen argument that was on a graph already, or something that f closes over.
    """
    if not is_grad_enabled():
        return False
    inputs = {source_of(x) for x in chosen}
    if any(isinstance(source, Node) for source in inputs):
        return True
    tops = [source_of(y) for y in outputs if y.requires_grad]
    ends = [e for node in reachable(tops, inputs.__contains__) for e in node.edges]
    return any(isinstance(e, Tensor) and e not in inputs for e in [*tops, *ends])


def _any_live(vs: Sequence[Any]) -> bool:
    return is_grad_enabled() and any(isinstance(v, Tensor) and v.requires_grad for v in vs)


def _off_graph(y: Any, live: bool) -> Any:
    return y.detach() if isinstance(y, Tensor) and not live else y


def _as_asked(results: Sequence[Tensor], trees: Sequence[Any], argnums: int | Sequence[int]) -> Any:
    """Results for each tensor, in the form of the arguments."""
    each = iter(results)
    made = tuple([mapped(lambda _: next(each), tree) for tree in trees])
    return made[0] if isinstance(argnums, int) else made


def _gradients(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    upstream: Any,
    live: bool,
    retain: bool | None = None,
) -> tuple[Tensor, ...]:
    """Gradients of the outputs, zeros where they do not depend on an input."""
    if upstream is not None and len(upstream) != len(outputs):
        raise ValueError(f"{len(outputs)} outputs need as many gradients; got {len(upstream)}")
    pairs = [
        (y, None if upstream is None else upstream[k])
        for k, y in enumerate(outputs)
        if y.requires_grad
    ]
    if not pairs:
        return tuple(zeros_like(x) for x in inputs)
    found = _pull_back(
        [y for y, _ in pairs],
        inputs,
        [v for _, v in pairs],
        retain_graph=retain,
        create_graph=live,
        allow_unused=True,
    )
    return tuple(zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True))


def _direction(v: Any, x: Tensor) -> Tensor:
    """A direction as a tensor in the dtype of its argument, checked for shape."""
    made = v if isinstance(v, Tensor) else Tensor(v).to(x.backend)
    if made.shape != x.shape:
        raise ValueError(f"a direction has the shape of its argument, {x.shape}; got {made.shape}")
    return made if made.dtype == x.dtype else made.astype(x.dtype)


def _one_tensor(y: Any, f: Function) -> Tensor:
    if not isinstance(y, Tensor):
        raise TypeError(f"{getattr(f, '__name__', f)} must give a Tensor; got {type(y).__name__}")
    return y


def _tensors(result: Any, f: Function) -> list[Tensor]:
    parts = result if isinstance(result, (tuple, list)) else [result]
    return [_one_tensor(part, f) for part in parts]


def _like(result: Any, parts: list[Tensor]) -> Any:
    return tuple(parts) if isinstance(result, (tuple, list)) else parts[0]
