"""Layer 7: saves and loads without pickle, atomically; weights of other frameworks."""

# isort: off
from ..messages import publish
from .checkpoint import Checkpoint
from .files import CheckpointError, load, save
from .layouts import from_keras, from_onnx, from_torch, to_keras, to_onnx, to_torch
from .onnx import (
    ExportError, FileModel, Found, Input, OnnxFile, export_onnx, onnx_handler, read_onnx,
)  # fmt: skip

__all__ = [
    "Checkpoint", "CheckpointError", "ExportError", "FileModel", "Found", "Input", "OnnxFile",
    "export_onnx", "from_keras", "from_onnx", "from_torch", "load", "onnx_handler", "read_onnx",
    "save", "to_keras", "to_onnx", "to_torch",
]  # fmt: skip

publish(__name__)
