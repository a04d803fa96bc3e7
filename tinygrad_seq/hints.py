"""Answers to names of attributes and keyword arguments that PyTorch's users type from habit.

Each namespace has a table from PyTorch's name to what this library has in its place; ``absent``
makes the error.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

IN_PLACE = "a new tensor; into a leaf p.copy_(...) writes, within no_grad()"
_DTYPE = "dtypes are NumPy's: np."
_GPU = 'to("cupy") moves to the GPU'
_LENGTHS = "give a recurrent layer the padded batch: y, state = layer(x, lengths=lengths)"

SHARED: dict[str, str] = {
    "acos": "arccos",
    "acosh": "arccosh",
    "amax": "max",
    "amin": "min",
    "asin": "arcsin",
    "asinh": "arcsinh",
    "atan": "arctan",
    "atan2": "arctan2",
    "atanh": "arctanh",
    "bmm": "matmul, a @ b",
    "chunk": "split(x, n, axis)",
    "div": "divide, a / b",
    "eq": "equal, a == b",
    "gather": "take_along_axis(x, indices, axis)",
    "index_fill": "index_set(x, index, v)",
    "index_select": "take(x, indices, axis)",
    "masked_fill": "where(mask, value, x)",
    "masked_select": "x[mask]",
    "mm": "matmul, a @ b",
    "movedim": "moveaxis",
    "mul": "multiply, a * b",
    "narrow": "a slice, x[:, start : start + length]",
    "neg": "negative, -x",
    "nonzero": "np.nonzero(np.asarray(x.detach()))",
    "permute": "transpose(x, axes)",
    "pow": "power, x ** p",
    "repeat_interleave": "repeat(x, n, axis)",
    "rsqrt": "1 / sqrt(x)",
    "scatter": "index_set(x, index, v)",
    "sub": "subtract, a - b",
    "swapdims": "swapaxes",
    "unbind": "unstack(x, axis)",
    "unsqueeze": "expand_dims(x, axis)",
}
"""What is a function and a method alike, in the words of functions."""

FUNCTIONS: dict[str, str] = SHARED | {
    "Generator": "generator(), which manual_seed seeds",
    "as_tensor": "Tensor(x)",
    "bernoulli": "distributions.Bernoulli(p).sample()",
    "bool": f"{_DTYPE}bool_",
    "cat": "concatenate([a, b])",
    "clone": "x.clone()",
    "compile": "nothing: cells are compiled where the extra jit is installed (use_jit)",
    "cuda": f'use_backend("cupy"); {_GPU}',
    "device": 'use_backend("numpy") or use_backend("cupy")',
    "empty": "zeros",
    "empty_like": "zeros_like",
    "float": f"{_DTYPE}float32",
    "float16": f"{_DTYPE}float16",
    "float32": f"{_DTYPE}float32",
    "float64": f"{_DTYPE}float64",
    "from_numpy": "Tensor(array)",
    "inference_mode": "no_grad()",
    "int32": f"{_DTYPE}int32",
    "int64": f"{_DTYPE}int64",
    "is_tensor": "isinstance(x, Tensor)",
    "long": f"{_DTYPE}int64",
    "multinomial": "distributions.Categorical(probs).sample()",
    "numel": "x.size",
    "rand_like": "rand(*x.shape)",
    "randint": "generator().integers(low, high, shape)",
    "randn_like": "randn(*x.shape)",
    "randperm": "generator().permutation(n)",
    "set_grad_enabled": "no_grad() or enable_grad()",
    "t": "x.T",
    "utils": "optim.clip_grad_norm_, data.Batches, recompute",
}

METHODS: dict[str, str] = SHARED | {
    "bool": "astype(np.bool_)",
    "byte": "astype(np.uint8)",
    "contiguous": "nothing: NumPy lays arrays out, leave it out",
    "cpu": 'to("numpy")',
    "cuda": 'to("cupy")',
    "device": "backend",
    "dim": "ndim",
    "double": "astype(np.float64)",
    "element_size": "dtype.itemsize",
    "expand": "broadcast_to(shape)",
    "expand_as": "broadcast_to(other.shape)",
    "float": "astype(np.float32)",
    "grad_fn": "node",
    "half": "astype(np.float16)",
    "int": "astype(np.int32)",
    "is_contiguous": "nothing: NumPy lays arrays out",
    "is_cuda": 'backend == "cupy"',
    "long": "astype(np.int64)",
    "ndimension": "ndim",
    "new_ones": "ts.ones(shape, dtype=x.dtype)",
    "new_tensor": "ts.tensor(values, dtype=x.dtype)",
    "new_zeros": "ts.zeros(shape, dtype=x.dtype)",
    "numel": "size",
    "permute": "transpose(*axes)",
    "repeat_interleave": "repeat(n, axis)",
    "reshape_as": "reshape(other.shape)",
    "select": "an index, x[:, i]",
    "t": "T",
    "type": "astype(dtype)",
    "type_as": "astype(other.dtype)",
    "view": "reshape(*shape)",
    "view_as": "reshape(other.shape)",
    "zero_": f"p.grad = None, for a gradient; {IN_PLACE}",
}

MODULES: dict[str, str] = {
    "add_module": "self.name = module",
    "cpu": 'to("numpy")',
    "cuda": 'to("cupy")',
    "device": "next(model.parameters()).backend",
    "double": "astype(np.float64)",
    "flatten_parameters": "nothing: leave it out",
    "float": "astype(np.float32)",
    "half": "astype(np.float16)",
    "register_buffer": "self.name = nn.Buffer(value)",
    "register_forward_hook": "ts.viz.trace, or a forward of your own",
    "register_module": "self.name = module",
    "register_parameter": "self.name = nn.Parameter(value)",
    "reset_parameters": "a new module, or the functions of nn.init",
    "share_memory": "nothing: threads see the same arrays",
}

NN: dict[str, str] = {
    "BCELoss": "BCEWithLogitsLoss, of the scores before the sigmoid",
    "BatchNorm1d": "LayerNorm, which needs no other sequences",
    "Conv1d": "no convolution: a window of steps into a Linear",
    "Conv2d": "no convolution: a window of steps into a Linear",
    "CrossEntropy": "CrossEntropyLoss",
    "DataParallel": "threads, which compiled layers use by themselves",
    "ELU": "the function ts.elu",
    "Flatten": "the function ts.reshape",
    "GELU": "the function ts.gelu",
    "KLDivLoss": "cross_entropy with probabilities as targets",
    "LeakyReLU": "the function ts.leaky_relu",
    "LogSoftmax": "the function ts.log_softmax",
    "MultiheadAttention": "DotAttention, one head",
    "PackedSequence": _LENGTHS,
    "ParameterDict": "an attribute for each Parameter",
    "ParameterList": "an attribute for each Parameter",
    "SiLU": "the function ts.silu",
    "SmoothL1Loss": "HuberLoss",
    "Softmax": "the function ts.softmax",
    "Softplus": "the function ts.softplus",
    "Transformer": "DotAttention over a recurrent layer",
    "binary_cross_entropy": "bce_with_logits, of the scores before the sigmoid",
    "binary_cross_entropy_with_logits": "bce_with_logits",
    "clip_grad_norm_": "ts.optim.clip_grad_norm_",
    "functional": "losses in nn, as nn.cross_entropy; other functions in ts, as ts.relu",
    "pack_padded_sequence": _LENGTHS,
    "pack_sequence": _LENGTHS,
    "pad_packed_sequence": _LENGTHS,
    "pad_sequence": "ts.data.pad_sequences, or ts.data.Batches",
    "smooth_l1_loss": "huber_loss",
    "utils": "ts.optim.clip_grad_norm_; ts.data.pad_sequences; lengths= in the place of packing; "
    "WeightNorm(cell)",
    "parametrizations": "WeightNorm(cell)",
}

OPTIM: dict[str, str] = {
    "Adadelta": "Adam or RMSprop",
    "Adamax": "Adam",
    "AveragedModel": "WeightAverage(params, decay)",
    "EMA": "WeightAverage(params, decay)",
    "LRScheduler": "Schedule",
    "LinearLR": "LinearWarmup",
    "lr_scheduler": "optim itself: optim.StepLR",
    "swa_utils": "WeightAverage(params, decay)",
}

DATA: dict[str, str] = {
    "DataLoader": "Batches of sequences, RandomWindows or Streams of one text",
    "Dataset": "a list of arrays, which Batches takes",
    "Subset": "random_split",
    "TensorDataset": "Batches(sequences, batch_size, targets)",
}


KEYWORDS: dict[str, str] = {
    "hidden_dim": "hidden_size",
    "input_dim": "input_size",
    "learning_rate": "lr",
    "reduce": "reduction",
    "size_average": "reduction",
    "units": "hidden_size",
}
"""Keyword arguments of other libraries' constructors."""


def refuse_keywords(made: type, given: Iterable[str]) -> None:
    """Refuse keyword arguments that a constructor does not take, and suggest the right name.

    Raises:
        TypeError: There is one.
    """
    parameters = inspect.signature(made.__init__).parameters.values()  # type: ignore[misc]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters][1:]
    for name in given:
        if name not in known:
            import difflib  # for the message alone

            usual = KEYWORDS.get(name)
            near = [usual] if usual in known else difflib.get_close_matches(name, known, 1)
            meant = f"did you mean {near[0]}? It" if near else "it"
            raise TypeError(f"{made.__name__} takes no {name!r}: {meant} takes {', '.join(known)}")


class Hinted:
    """Base of classes whose constructors suggest the right name for a wrong keyword argument."""

    if not TYPE_CHECKING:  # for which unknown arguments are errors of their own

        def __new__(cls, *args: Any, **kwargs: Any) -> Self:
            if cls.__init__ is object.__init__ and (args or kwargs):
                raise TypeError(f"{cls.__name__} takes no arguments; got {[*args, *kwargs]}")
            if kwargs:
                refuse_keywords(cls, kwargs)
            return super().__new__(cls)


def said(value: object) -> str:
    """The words of a message for a value given in the place of a module, often its class."""
    if isinstance(value, type):
        return f"the class {value.__name__}: write {value.__name__}(...)"
    return type(value).__name__


def absent(what: str, name: str, hints: dict[str, str]) -> AttributeError:
    """The error for a name that does not exist, with advice if a table has some."""
    hint = f": here it is {hints[name]}" if name in hints else ""
    return AttributeError(f"{what} has no attribute {name!r}{hint}", name=name)
