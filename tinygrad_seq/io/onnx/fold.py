"""Arrays that a file computes from its own arrays, as exporters do to lay out weights.

PyTorch's exporter builds the weights of ONNX's nodes by Slice, Concat, Transpose, Reshape and
Unsqueeze. This module computes them once, within a limit on memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .operators import Array, computed
from .proto import GraphProto

_NAMES = "Cast Concat Constant Identity Reshape Slice Split Squeeze Transpose Unsqueeze"
FOLDED = frozenset(_NAMES.split())


def folded(graph: GraphProto, budget: int) -> dict[str, Array]:
    """All arrays of a graph by name: those of the file, and those computed from them.

    Args:
        graph: The graph.
        budget: How many bytes the folded arrays may take.

    Raises:
        ValueError: a node does not fit its arrays, or they take more memory.
    """
    arrays = dict(graph.arrays)
    for node in graph.nodes:
        known = all(name in arrays or not name for name in node.inputs)
        if not known or node.op_type not in FOLDED:
            continue
        given = [arrays[name] if name else None for name in node.inputs]
        if node.op_type == "Concat":
            budget -= sum(array.nbytes for array in given if array is not None)
            if budget < 0:  # before it is allocated
                raise ValueError("its constants unfold to far more memory than the file takes")
        for name, result in zip(node.outputs, computed(node, given), strict=False):
            budget -= 0 if node.op_type == "Concat" else _own_bytes(result, given)
            arrays[name] = result
        if budget < 0:
            raise ValueError("its constants unfold to far more memory than the file takes")
    return arrays


def _own_bytes(result: Array, given: Sequence[Array | None]) -> int:
    """The bytes of a result; 0 if it is a view of an input."""
    shares = any(x is not None and np.may_share_memory(result, x) for x in given)
    return 0 if shares else result.nbytes
