"""Whole models to and from ONNX, with NumPy alone.

``wire`` and ``proto`` read and write the format. A model's ``forward`` runs on the symbols of
``symbol``, and handlers add nodes to the graph of ``graph``. ``fold`` and ``read`` find the layers
of a file, and ``model`` makes a module of it with the functions of ``operators``.
"""

from .export import Input, export_onnx
from .handlers import onnx_handler
from .model import FileModel
from .read import Found, OnnxFile, read_onnx
from .symbol import ExportError

__all__ = [
    "ExportError", "FileModel", "Found", "Input", "OnnxFile", "export_onnx", "onnx_handler",
    "read_onnx",
]  # fmt: skip
