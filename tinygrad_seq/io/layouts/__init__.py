"""Weights to and from PyTorch, Keras and ONNX, as dicts and lists of NumPy arrays.

None of these libraries is imported. What each calls the weights, and the order of the gates
(H hidden units, I inputs, G gates, D directions):

    here, PyTorch  weight_ih (GH, I)  weight_hh (GH, H)         bias_ih, bias_hh  i f g o  r z n
    Keras          kernel (I, GH)     recurrent_kernel (H, GH)  bias              i f c o  z r h
    ONNX           W (D, GH, I)       R (D, GH, H)              B (D, 2GH)        i o f c  z r h

Where the other side has one bias and ours two (Keras: RNN, LSTM), their sum goes out; what comes in
is ``bias_ih``, and ``bias_hh`` is 0. Where it has two and ours one (ONNX: the published GRU), ours
is exported with zeros for the other; on import both are summed. Everything else is only
reordered, so a round trip gives the same bits.

Arrays that come in are cast to the dtype of the layer; those that go out have it.
"""

from .keras import from_keras, to_keras
from .onnx import from_onnx, to_onnx
from .torch import from_torch, to_torch

__all__ = ["from_keras", "from_onnx", "from_torch", "to_keras", "to_onnx", "to_torch"]
