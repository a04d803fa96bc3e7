"""float32 in, float32 out: a function keeps its precision, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd import grad
from ..tensor import Tensor
from .backward import draw_cotangents
from .closure import advice
from .oracles import Array
from .report import Situation, constant, describe
from .subject import Subject

__tracebackhide__ = True  # pytest shows the frames of the function that is tested


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


def _run(subject: Subject, seed: int) -> tuple[list[Array], list[Array | None]]:
    leaves, outputs = subject.record()
    arrays = [np.asarray(y.detach().numpy() if isinstance(y, Tensor) else y) for y in outputs]
    pairs = [
        (y, Tensor(g))
        for y, g in zip(outputs, draw_cotangents(arrays, seed), strict=True)
        if isinstance(y, Tensor) and y.requires_grad
    ]
    if not pairs:
        return arrays, [None] * len(leaves)
    found = grad(
        [y for y, _ in pairs], leaves, grad_outputs=[g for _, g in pairs], allow_unused=True
    )
    return arrays, [None if x is None else np.asarray(x.detach().numpy()) for x in found]


def _compare(
    subject: Subject,
    situation: Situation,
    label: str,
    value: Array,
    expected: Array,
    rtol: float,
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
    found = advice(subject.f, np.float32) or (
        "Give constants as Python numbers or in the input's dtype, and pass Modules as arguments"
    )
    return f"{found}; or leave this check out (float32=False in gradient_property)."
