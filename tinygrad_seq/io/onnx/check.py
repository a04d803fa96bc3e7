"""Run a file in ONNX Runtime and compare it with the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...autograd.operands import on_host
from ...tensor import Tensor
from .proto import GraphProto
from .symbol import Axis, ExportError, Length, flat

TOLERANCE = 1e-4  # relative to the largest number of an output
SIZES = ((3, 5, 7, 4, 6, 2), (1,), (11, 2, 5, 3, 8, 4))  # of the open axes, in turn


def largest_difference(
    content: bytes,
    proto: GraphProto,
    model: Callable[..., Any],
    inputs: Mapping[str, Any],
    bounds: Mapping[str, tuple[int, Length]],
) -> float:
    """The largest difference between the outputs of the file and of the model.

    Raises:
        ExportError: it is too large for a rounding error, or the file does not run.
        ImportError: ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "check=True runs the file in ONNX Runtime: pip install onnxruntime"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors come as exceptions
    names = [info.name for info in proto.outputs]
    rng, differences = np.random.default_rng(0), []
    refusal: Exception | None = None
    for sizes in SIZES:
        feeds, arguments = _drawn(inputs, bounds, sizes, rng)
        try:
            wanted = [on_host(tensor) for tensor in flat(model(**arguments))]
        except (ValueError, IndexError) as error:  # one step may be too few for this model
            refusal = error
            continue
        try:
            session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
            theirs = session.run(names, {i.name: feeds[i.name] for i in session.get_inputs()})
        except Exception as error:  # it has its own exception classes
            raise ExportError(f"ONNX Runtime cannot run the file: {error}") from error
        pairs = zip(names, theirs, wanted, strict=True)
        differences.append(max(_compared(name, np.asarray(a), b) for name, a, b in pairs))
    if not differences:
        raise ExportError(f"the model runs at none of the sizes that were tried: {refusal}")
    return max(differences)


def _compared(name: str, got: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> float:
    if got.shape != wanted.shape:
        raise ExportError(
            f"in ONNX Runtime the output {name} has shape {got.shape}, the model's {wanted.shape}"
        )
    if not wanted.size:
        return 0.0
    with np.errstate(invalid="ignore"):
        apart = np.where(got == wanted, 0.0, np.abs(got.astype(float) - wanted.astype(float)))
    apart[np.isnan(got) & np.isnan(wanted)] = 0.0
    difference = float(apart.max())
    finite = np.abs(wanted[np.isfinite(wanted)].astype(float))
    if not difference <= TOLERANCE * max(1.0, finite.max(initial=0.0)):
        raise ExportError(
            f"in ONNX Runtime the output {name} differs from the model's by {difference:.3g}: if a "
            "handler of your own wrote it, look there; the file was not written"
        )
    return difference


def _drawn(
    inputs: Mapping[str, Any],
    bounds: Mapping[str, tuple[int, Length]],
    sizes: tuple[int, ...],
    rng: np.random.Generator,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Random inputs by name as arrays, and as arguments of the model."""
    lengths: dict[str, int] = {}
    feeds: dict[str, Any] = {}

    def size(axis: int | str) -> int:
        if isinstance(axis, int):
            return axis
        return lengths.setdefault(axis, sizes[len(lengths) % len(sizes)])

    def draw(name: str, form: Any) -> Any:
        if isinstance(form, Mapping):
            return tuple(draw(below, part) for below, part in form.items())
        shape = tuple(map(size, form.axes))
        if form.dtype.kind == "f":
            feeds[name] = rng.standard_normal(shape).astype(np.float32)
            return Tensor(feeds[name])
        if form.dtype.kind == "b":
            feeds[name] = rng.random(shape) < 0.7
            feeds[name][:1] = True  # each sequence needs a step to attend to
            return feeds[name]
        low, high = bounds.get(name, (0, 1))
        top = high if isinstance(high, int) else _value(high, lengths)
        feeds[name] = rng.integers(low, top, shape, dtype=form.dtype, endpoint=True)
        return feeds[name]

    return feeds, {name: draw(name, form) for name, form in inputs.items()}


def _value(axis: Axis, lengths: Mapping[str, int]) -> int:
    """An open length, where all names in it are inputs' axes."""
    total = 0
    for names, factor in axis.terms.items():
        for name in names:
            factor *= lengths.get(name, 1)
        total += factor
    return total
