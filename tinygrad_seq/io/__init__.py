"""Floor 6: save and load, without pickle and without half-written files; weights from elsewhere."""

from .checkpoint import Checkpoint
from .files import CheckpointError, load, save
from .layouts import from_keras, from_onnx, from_torch, to_keras, to_onnx, to_torch

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "from_keras",
    "from_onnx",
    "from_torch",
    "load",
    "save",
    "to_keras",
    "to_onnx",
    "to_torch",
]
