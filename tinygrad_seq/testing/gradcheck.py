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

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .backward import Differentiable, analytic_gradients, draw_cotangents
from .closure import advice
from .comparison import compare
from .oracles import Array
from .reference import Oracle, references
from .report import Situation, constant, describe, shapes_of
from .subject import GradientSubject, Subject

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


def _outputs(subject: Differentiable) -> list[Array]:
    """The outputs, computed from copies: whether f changes its inputs is looked at later."""
    return subject.call([value.copy() for value in subject.values])


def _first_outputs(subject: Subject) -> list[Array]:
    """The outputs of f; explains an error that comes from a float32 Module closed over."""
    try:
        return _outputs(subject)
    except TypeError as error:
        moves = advice(subject.f, np.float64)
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
