"""Whole models to and from ONNX, with NumPy alone.

``wire`` and ``proto`` read and write the format; ``symbol`` and ``graph`` are what a model's
``forward`` is run on, and what handlers add nodes to.
"""

from .export import Input, export_onnx
from .handlers import onnx_handler
from .symbol import ExportError

__all__ = ["ExportError", "Input", "export_onnx", "onnx_handler"]
