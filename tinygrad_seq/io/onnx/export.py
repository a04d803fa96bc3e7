"""``export_onnx``: run a model's own ``forward`` on symbols, and write the resulting graph.

A call is translated by the first of these that applies: a handler for the function or module; a
module's own ``forward``; the function itself, if no argument is a symbol (so transposed or sliced
weights become constants). Any other call is an error that names it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...atomic import replacing
from ...autograd import Primitive, no_grad
from ...nn import Module
from ...nn.names import Naming
from ...version import __version__
from . import creation, elementwise, modules, recurrent, reductions, shapes  # noqa: F401  # the handlers
from .check import largest_difference
from .graph import CAST, FLOAT, Graph, Store, where
from .handlers import handler_of
from .proto import ModelProto, encode
from .recurrent import info
from .symbol import Axis, ExportError, Symbol, Value, flat


class Input:
    """The axes and the dtype of an input.

    Args:
        *axes: The length of each axis, or a name for an open axis. Equal names mean equal lengths
            in all inputs.
        dtype: ``"float32"``, or ``"int64"``, ``"int32"``, ``"bool"`` for ids, lengths and masks.

    Example:
        >>> from tinygrad_seq import io
        >>> io.Input("time", "batch", 28)
        Input('time', 'batch', 28, dtype='float32')
    """

    def __init__(self, *axes: int | str, dtype: Any = "float32") -> None:
        for axis in axes:
            named = isinstance(axis, str) and axis.isidentifier()
            if not named and not (isinstance(axis, int) and axis >= 0):
                raise TypeError(f"an axis is a length or a name such as 'time'; got {axis!r}")
        self.axes = axes
        self.dtype = np.dtype(dtype)
        if self.dtype not in CAST:
            raise TypeError(f"an input is float32, int64, int32 or bool; got {self.dtype}")

    def __repr__(self) -> str:
        return f"Input({', '.join(map(repr, self.axes))}, dtype={self.dtype.name!r})"


def export_onnx(
    model: Callable[..., Any],
    path: str | os.PathLike[str],
    inputs: Mapping[str, Any],
    outputs: Sequence[str],
    *,
    check: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> float | None:
    """Write a whole model as one ONNX file (opset 20, float32) that runs without Python.

    The model computes in evaluation mode. Named axes stay open: batch and time of any
    length. Recurrent layers become ONNX's RNN, GRU (both forms) and LSTM, with lengths and states;
    layers that these cannot express (projections, masks, your own cells) become a ``Scan``, a loop
    over the cell's own step.

    Args:
        model: A module; or one of its methods, as ``encoder_decoder.step``, or another function
            of tensors.
        path: The file to write, usually ``.onnx``.
        inputs: Argument of the model -> :class:`Input`; for a tuple, such as the state (h, c) of
            an LSTM, a dict of its parts by their names in the file; nested dicts for nested tuples.
        outputs: Names for the tensors that the model returns, nested tuples in order.
        check: Whether to run the file in ONNX Runtime first, on random numbers of three sizes, and
            compare with the model. A file that differs is not written.
        metadata: Strings by name to store in the file, such as a vocabulary.

    Returns:
        With ``check`` the largest difference of any output, else None.

    Raises:
        ExportError: the model reads numbers, has an operation without a counterpart (see
            :func:`onnx_handler`), is not float32, or fails the check.
        ValueError: shapes do not fit, or the file would be larger than 2 GiB.
        ImportError: ``check`` is True, and ONNX Runtime is not installed.

    Example:
        >>> import tempfile
        >>> from tinygrad_seq import io, nn
        >>> gru = nn.GRU(8, 16)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     io.export_onnx(
        ...         gru,
        ...         f"{folder}/gru.onnx",
        ...         inputs={"x": io.Input("time", "batch", 8), "state": io.Input(1, "batch", 16)},
        ...         outputs=["y", "last"],
        ...     )
    """
    root = model if isinstance(model, Module) else getattr(model, "__self__", None)
    exporter = Exporter(root if isinstance(root, Module) else None)
    graph = exporter.store.current
    proto = exporter.store.proto
    for name in outputs:
        exporter.declare(name)
    with exporter.evaluating(), no_grad(), exporter:
        given = {name: exporter.input(name, form) for name, form in inputs.items()}
        results = flat(model(**given))
        if len(results) != len(outputs):
            raise ValueError(
                f"the model returns {len(results)} tensors; got {len(outputs)} names for them: "
                f"{', '.join(outputs)}"
            )
        for name, result in zip(outputs, results, strict=True):
            last = graph.node("Identity", [result], graph.symbol(result).shape)
            graph.nodes[-1].outputs = [name]
            proto.outputs.append(info(last, name))
        proto.name = type(root).__name__ if isinstance(root, Module) else "function"
        proto.nodes = graph.nodes
        content = encode(
            ModelProto(
                proto, producer="tinygrad_seq", version=__version__, metadata=dict(metadata or {})
            )
        )
    difference = None
    if check:
        with exporter.evaluating(), no_grad():
            difference = largest_difference(content, proto, model, inputs, exporter.store.bounds)
    with replacing(Path(path)) as file:
        file.write(content)
    return difference


class Exporter(Naming):
    """Observes the model, and adds a node for each operation on symbols.

    Attributes:
        store: The graph to write.
    """

    def __init__(self, root: Module | None) -> None:
        super().__init__(root)
        self.root = root
        self.store = Store([] if root is None else root.named_parameters())
        self.store.current = Graph(self.store)
        self._axes: dict[str, Axis] = {}
        self._modes: dict[Module, bool] = {}

    def declare(self, name: str) -> None:
        """Reserve a name for an input or an output."""
        if name in self.store.names:
            raise ValueError(f"two inputs or outputs are called {name!r}")
        self.store.names.add(name)

    def input(self, name: str, form: Any) -> Any:
        """The symbol of an input, or a tuple of them."""
        if isinstance(form, Mapping):
            return tuple(self.input(below, part) for below, part in form.items())
        if not isinstance(form, Input):
            raise TypeError(
                f"the input {name!r} is an io.Input(*axes, dtype=...), or a dict of them for a "
                f"tuple; got {form!r:.60}"
            )
        self.declare(name)
        value = Value(name, (), form.dtype)
        value.shape = tuple(
            self._axes.setdefault(axis, Axis.named(axis, (value, k)))
            if isinstance(axis, str)
            else axis
            for k, axis in enumerate(form.axes)
        )
        self.store.proto.inputs.append(info(Symbol.of(value)))
        return Symbol.of(value)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode for every module that is called."""
        try:
            if self.root is not None:
                self._prepare(self.root)
            yield
        finally:
            for module, mode in self._modes.items():
                module.training = mode
            self._modes.clear()

    def _prepare(self, module: Module) -> None:
        if module in self._modes:
            return
        self._modes.update({m: m.training for m in module.modules() if m not in self._modes})
        module.eval()
        for name, parameter in module.named_parameters():
            if parameter.dtype != FLOAT:
                raise ExportError(
                    f"{name} is {parameter.dtype}, and ONNX Runtime's recurrent layers are of "
                    "float32: export copy.deepcopy(model).astype('float32')"
                )

    def instead(self, op: Any, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """A node, if a symbol is among the arguments."""
        if isinstance(op, Module):
            self._prepare(op)
        if not _mentions((args, params)):
            return NotImplemented
        handler = handler_of(op)
        if isinstance(op, Primitive):
            if handler is None:
                raise _refusal(op.name, op.name)
            args, params = op._bind(args, params)
        if handler is None:
            return NotImplemented
        if isinstance(op, Module):
            args = op, *args
        return handler(self.store.current, *args, **params)

    def forward(self, op: Any, compute: Callable[..., Any], /, *args: Any, **params: Any) -> Any:
        """Run the function on arrays; refuse symbols among the arguments."""
        if _mentions((args, params)):
            raise _refusal(op.name, "the function")
        return compute(*args, **params)


def _refusal(name: str, handle: str) -> ExportError:
    return ExportError(
        f"{where()}{name} has no counterpart in ONNX: compute it otherwise, or "
        f"define its translation with @io.onnx_handler({handle})"
    )


def _mentions(value: Any) -> bool:
    """Whether the arguments contain a symbol or an open axis, at any depth."""
    if isinstance(value, tuple | list):
        return any(map(_mentions, value))
    if isinstance(value, dict):
        return any(map(_mentions, value.values()))
    if isinstance(value, slice):
        return _mentions((value.start, value.stop, value.step))
    return isinstance(value, Symbol | Value | Axis)
