"""Check the gradients of a function of Tensors against an oracle.

    >>> import numpy as np
    >>> import tinygrad_seq as ts
    >>> x = np.array([0.5, -1.0])
    >>> gradcheck(ts.tanh, x)
    True
    >>> gradgradcheck(lambda x, w: ts.tanh(x @ w), x, np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    True
    >>> cell = ts.nn.LSTMCell(2, 3, dtype="float64")  # its parameters are checked as well
    >>> gradcheck(cell, x, (np.zeros(3), np.ones(3)))
    True

The upstream gradients ȳ are drawn from `seed`, none of them near zero: a check with ȳ = 1 cannot
see a rule that forgets ȳ, or that puts it at another index.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd.operands import on_host
from ..nn import Module
from ..tensor import Tensor
from .backward import Differentiable, analytic_gradients, draw_cotangents
from .oracles import Array
from .reference import Oracle, compare, references
from .report import Situation, constant, describe, shapes_of
from .subject import GradientSubject, Subject, gradients_of

__tracebackhide__ = True  # pytest shows the frames of the function that is tested


def gradcheck(
    f: Callable[..., Any],
    *inputs: Any,
    names: Sequence[str] | None = None,
    seed: int = 0,
    oracle: Oracle = "central",
    rtol: float | None = None,
) -> bool:
    """Compare the gradient of `f` with an oracle, for every input, and look for other faults.

        |analytic - numeric| ≤ rtol · (|numeric| + 0.1 · max |numeric|) + error of the oracle

    The error of a central difference is its rounding, at first. Where the two differ, the step is
    halved until differences, extrapolated, settle; what they still change by is their error. So a
    steep function raises no false alarm, and a wrong rule is refused as before.

    Besides the values it checks: shape and dtype of each gradient; that no gradient is missing;
    that inputs and upstream gradients are left as they were and share no memory with a gradient;
    that two runs give the same bits; that nothing is NaN; that outputs used one by one give, in
    sum, the gradient of all of them.

    Args:
        f: a function of Tensors, or a Module (its parameters are inputs too); returns a Tensor, or
            a nested tuple, list or dict of them. Integer outputs are passed over.
        inputs: float64 arrays or Tensors, Modules, nested tuples, lists and dicts of them; integers
            and masks are passed on and not differentiated. Any memory layout.
        names: what messages call the inputs; by default the names in f's signature.
        seed: the upstream gradients are drawn from it.
        oracle: "central" for central differences; "complex" for the complex step, which calls f
            with plain complex arrays.
        rtol: the relative tolerance; by default 1e-6 for central, 1e-9 for complex.

    Returns:
        True.

    Raises:
        GradientError: something is wrong; the message says what, where, and how to replay it.
        TypeError: an input is float32: its rounding would hide an error. Use float64, for Modules
            that f closes over as well.
        ValueError: there is no floating input.
    """
    subject = _float64_subject(f, inputs, names)
    cotangents = draw_cotangents(_first_outputs(subject), seed)
    return _check(subject, cotangents, seed, "gradcheck", oracle, rtol)


def gradgradcheck(
    f: Callable[..., Any],
    *inputs: Any,
    names: Sequence[str] | None = None,
    seed: int = 0,
    rtol: float | None = None,
) -> bool:
    """Compare the second derivatives of `f` with central differences of its first.

    The function checked is (x, ȳ) ↦ x̄, so that rules must be right in ȳ as well as in x. It takes
    the first order for granted: call `gradcheck` before.

    Args:
        f: a function of Tensors, or a Module, as for `gradcheck`.
        inputs: as for `gradcheck`.
        names: what messages call the inputs.
        seed: the upstream gradients of both orders are drawn from it.
        rtol: the relative tolerance, 1e-6 by default.

    Returns:
        True.

    Raises:
        GradientError: something is wrong; the message says what, where, and how to replay it.
        TypeError: an input is float32.
        ValueError: there is no floating input.
    """
    subject = _float64_subject(f, inputs, names)
    cotangents = draw_cotangents(_first_outputs(subject), seed)
    second = GradientSubject(subject, cotangents)
    upstream = draw_cotangents(_outputs(second), seed + 1)
    return _check(second, upstream, seed, "gradgradcheck", "central", rtol)


def check_float32(
    f: Callable[..., Any],
    *inputs: Any,
    names: Sequence[str] | None = None,
    seed: int = 0,
    rtol: float = 1e-3,
) -> bool:
    """Run `f` in float32 and in float64: the dtype must stay float32, the values must be close.

        |value₃₂ - value₆₄| ≤ rtol · (|value₆₄| + max |value₆₄|)

    Args:
        f: a function of Tensors, or a Module (it is copied, not converted).
        inputs: as for `gradcheck`, floating ones of any precision.
        names: what messages call the inputs.
        seed: the upstream gradients are drawn from it.
        rtol: how close float32 must be to float64.

    Returns:
        True.

    Raises:
        GradientError: an output or a gradient has another dtype, or is far from float64; or f runs
            in float64 only, as with a float64 Module that is closed over and not an argument.
    """
    given = Subject(f, inputs, names)
    with np.errstate(over="ignore"):
        single = given.astype(np.float32)
    double = single.astype(np.float64)
    situation = Situation(
        single.name,
        "check_float32",
        seed,
        [describe(leaf.label, leaf.value) for leaf in single.leaves],
    )
    for leaf, original in zip(single.leaves, given.values, strict=True):
        if np.any(np.isinf(leaf.value) & np.isfinite(original)):
            raise situation.error(
                f"{leaf.label} of {single.name} is beyond the range of float32: draw from a "
                "narrower one, or leave this check out (float32=False in gradient_property)."
            )
    expected_outputs, expected_gradients = _run(double, seed)
    try:
        outputs, gradients = _run(single, seed)
    except TypeError as error:
        raise situation.error(
            f"{single.name} runs in float64 and not in float32. {_moves(single)}\n"
            f"  raised   {type(error).__name__} inside: {error}"
        ) from error
    for k, (y, expected) in enumerate(zip(outputs, expected_outputs, strict=True)):
        _compare(single, situation, f"output {k} of {single.name}", y, expected, rtol)
    for leaf, x, x64 in zip(single.leaves, gradients, expected_gradients, strict=True):
        if x is not None and x64 is not None:
            _compare(single, situation, f"the gradient of {leaf.label}", x, x64, rtol)
    if all(x is None for x in gradients):
        raise situation.error(constant(single.name))
    return True


def _outputs(subject: Differentiable) -> list[Array]:
    """The outputs, computed from copies: whether f changes its inputs is looked at later."""
    return subject.call([value.copy() for value in subject.values])


def _first_outputs(subject: Subject) -> list[Array]:
    """The outputs of f; explains an error that comes from a float32 Module closed over."""
    try:
        return _outputs(subject)
    except TypeError as error:
        moves = _advice(subject.f, np.float64)
        if not moves:
            raise
        raise TypeError(
            f"{subject.name} does not run in float64, in which gradients are checked. {moves}, and "
            f"make it in float64 (dtype='float64', or .astype('float64')).\n"
            f"  raised   {type(error).__name__} inside: {error}"
        ) from error


def _check(
    subject: Differentiable,
    cotangents: list[Array],
    seed: int,
    check: str,
    oracle: Oracle,
    rtol: float | None,
) -> bool:
    situation = Situation(
        subject.name,
        check,
        seed,
        [describe(leaf.label, leaf.value) for leaf in subject.leaves],
        shapes_of(cotangents),
    )
    analytic = analytic_gradients(subject, cotangents, situation)
    expected = references(subject, cotangents, oracle, rtol)
    compare(subject, cotangents, analytic, expected, situation)
    if all(gradient is None for gradient in analytic):
        raise situation.error(constant(subject.name))
    return True


def _float64_subject(
    f: Callable[..., Any], inputs: Sequence[Any], names: Sequence[str] | None
) -> Subject:
    """The subject of a check; refuses other precisions, and a check of nothing."""
    subject = Subject(f, inputs, names)
    for leaf in subject.leaves:
        if leaf.value.dtype != "float64":
            raise TypeError(
                f"gradients are checked in float64, for {leaf.value.dtype} rounds more than an "
                f"oracle can see; {leaf.label} of {subject.name} is {leaf.value.dtype}. Convert it "
                "with .astype(np.float64); check_float32 compares the precisions."
            )
    if not subject.leaves:
        raise ValueError(
            f"{subject.name} was given no floating input to differentiate; pass a float64 array."
        )
    return subject


def _run(subject: Subject, seed: int) -> tuple[list[Array], list[Array | None]]:
    """Outputs and gradients, for upstream gradients that are drawn from the seed."""
    leaves, outputs = subject.record()
    arrays = [on_host(y) for y in outputs]
    upstream = [Tensor(g) for g in draw_cotangents(arrays, seed)]
    found = gradients_of(outputs, leaves, upstream)
    return arrays, [None if x is None else on_host(x) for x in found]


def _compare(
    subject: Subject, situation: Situation, label: str, value: Array, expected: Array, rtol: float
) -> None:
    if value.dtype != np.float32:
        raise situation.error(
            f"{label} is {value.dtype} for float32 inputs: a float64 array took part. "
            + _moves(subject)
        )
    scale = np.abs(expected) + np.max(np.abs(expected), initial=0.0)
    wrong = np.abs(value - expected) > rtol * scale + 1e-6
    if wrong.any():
        index = tuple(int(k) for k in np.argwhere(wrong)[0])
        raise situation.error(
            f"{label} is {float(value[index])!r} in float32 and {float(expected[index])!r} in "
            f"float64 at index {index}."
        )


def _moves(subject: Subject) -> str:
    """What to do about a function that does not keep to float32."""
    found = _advice(subject.f, np.float32) or (
        "Give constants as Python numbers or in the input's dtype, and pass Modules as arguments"
    )
    return f"{found}; or leave this check out (float32=False in gradient_property)."


def _closed_over(f: Callable[..., Any], dtype: Any) -> list[tuple[str, Any]]:
    """Names and values of Modules, Tensors and arrays that f reads from outside, not in dtype."""
    try:
        variables = inspect.getclosurevars(inspect.unwrap(f))
    except (TypeError, ValueError):
        return []
    outside = {**variables.globals, **variables.nonlocals}
    return [(name, value) for name, value in outside.items() if _differs(value, np.dtype(dtype))]


def _advice(f: Callable[..., Any], dtype: Any) -> str:
    """A sentence on what f closes over in another dtype, and on what to do; empty if nothing."""
    found = _closed_over(f, dtype)
    if not found:
        return ""
    names = " and ".join(f"`{name}`" for name, _ in found)
    name, value = found[0]
    verb = "is" if len(found) == 1 else "are"
    text = (
        f"{names} {verb} closed over, and a check can neither convert nor differentiate what is "
        f"not an argument: pass {name}={name} as an argument of the function"
    )
    return f"{text} (a Module's parameters are inputs too)" if isinstance(value, Module) else text


def _differs(value: Any, dtype: np.dtype[Any]) -> bool:
    if isinstance(value, Module):
        return any(parameter.dtype != dtype for parameter in value.parameters())
    if isinstance(value, Tensor | np.ndarray):
        return bool(value.dtype.kind == "f" and value.dtype != dtype)
    return False
