"""Whole models to and from ONNX, with NumPy alone.

``wire`` and ``proto`` read and write the format; ``symbol`` and ``graph`` are what a model's
``forward`` is run on, and what handlers add nodes to. ``fold`` and ``read`` find the layers of a
file, ``model`` makes a module of it.
"""

from .export import Input, export_onnx
from .handlers import onnx_handler
from .model import FileModel
from .read import Found, OnnxFile, read_onnx
from .symbol import ExportError

__all__ = [
    "ExportError",
    "FileModel",
    "Found",
    "Input",
    "OnnxFile",
    "export_onnx",
    "onnx_handler",
    "read_onnx",
]
