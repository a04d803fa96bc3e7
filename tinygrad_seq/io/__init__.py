"""Floor 7: save and load, without pickle and without half-written files; weights from elsewhere."""

from .checkpoint import Checkpoint
from .files import CheckpointError, load, save
from .layouts import from_keras, from_onnx, from_torch, to_keras, to_onnx, to_torch
from .onnx import ExportError, Input, export_onnx, onnx_handler

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "ExportError",
    "Input",
    "export_onnx",
    "from_keras",
    "from_onnx",
    "from_torch",
    "load",
    "onnx_handler",
    "save",
    "to_keras",
    "to_onnx",
    "to_torch",
]
