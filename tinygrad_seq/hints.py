"""What to write here for names that users of other libraries type.

Each namespace has a table from the other library's name to what this library has in its place. A
misspelt name is answered with the nearest one that exists (``messages.py``).
"""

from __future__ import annotations

IN_PLACE = "a new tensor; into a leaf p.copy_(...) writes, within no_grad()"
_DTYPE = "NumPy's dtype, np."
_GPU = 'to("cupy") moves to the GPU'
_LENGTHS = "give a recurrent layer the padded batch: y, state = layer(x, lengths=lengths)"

_RENAMED = {
    "acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh", "atan": "arctan",
    "atanh": "arctanh", "atan2": "arctan2", "amax": "max", "amin": "min", "movedim": "moveaxis",
    "swapdims": "swapaxes",
}  # fmt: skip

SHARED: dict[str, str] = _RENAMED | {
    "bmm": "matmul, a @ b",
    "chunk": "split(x, n, axis)",
    "div": "divide, a / b",
    "eq": "equal, a == b",
    "fmod": "np.fmod; remainder has the sign of the divisor",
    "gather": "take_along_axis(x, indices, axis)",
    "ge": "greater_equal, a >= b",
    "gt": "greater, a > b",
    "index_fill": "index_set(x, index, v)",
    "index_select": "take(x, indices, axis)",
    "le": "less_equal, a <= b",
    "lerp": "a + t * (b - a)",
    "lt": "less, a < b",
    "masked_fill": "where(mask, value, x)",
    "masked_select": "x[mask]",
    "mm": "matmul, a @ b",
    "mul": "multiply, a * b",
    "mv": "matmul, a @ b",
    "narrow": "a slice, x[:, start : start + length]",
    "ne": "not_equal, a != b",
    "neg": "negative, -x",
    "nonzero": "np.nonzero(np.asarray(x.detach()))",
    "permute": "transpose(x, axes)",
    "pow": "power, x ** p",
    "repeat_interleave": "repeat(x, n, axis)",
    "rsqrt": "1 / sqrt(x)",
    "scatter": "index_set(x, index, v)",
    "sub": "subtract, a - b",
    "unbind": "unstack(x, axis)",
    "unique": "np.unique(np.asarray(x.detach()))",
    "unsqueeze": "expand_dims(x, axis)",
}
"""What is a function and a method alike, in the words of functions."""

FUNCTIONS: dict[str, str] = SHARED | {
    **{name: f"{_DTYPE}{name}" for name in ("float16", "float32", "float64", "int32", "int64")},
    "bool": f"{_DTYPE}bool_",
    "float": f"{_DTYPE}float32",
    "long": f"{_DTYPE}int64",
    "FloatTensor": "tensor(x, dtype=np.float32)",
    "Generator": "generator(), which manual_seed seeds",
    "LongTensor": "tensor(x, dtype=np.int64)",
    "Variable": "tensor(x, requires_grad=True)",
    "addmm": "a @ b + c",
    "allclose": "np.allclose(a.numpy(), b.numpy())",
    "array": "tensor(x)",
    "as_tensor": "Tensor(x)",
    "bincount": "np.bincount(ids)",
    "bernoulli": "distributions.Bernoulli(p).sample()",
    "cat": "concatenate([a, b])",
    "clone": "x.clone()",
    "compile": "nothing: cells are compiled where the extra jit is installed (use_jit)",
    "cuda": f'use_backend("cupy"); {_GPU}',
    "device": 'use_backend("numpy") or use_backend("cupy")',
    "empty": "zeros",
    "empty_like": "zeros_like",
    "from_numpy": "Tensor(array)",
    "get_default_dtype": "default_dtype()",
    "inference_mode": "no_grad()",
    "jit": "nothing: cells are compiled where the extra jit is installed (use_jit)",
    "is_tensor": "isinstance(x, Tensor)",
    "multinomial": "distributions.Categorical(probs).sample()",
    "numel": "x.size",
    "rand_like": "rand(*x.shape)",
    "random": "rand(*shape), randn(*shape), or generator() for NumPy's distributions",
    "randint": "generator().integers(low, high, shape)",
    "randn_like": "randn(*x.shape)",
    "randperm": "generator().permutation(n)",
    "searchsorted": "np.searchsorted(edges, values)",
    "seed": "manual_seed(seed)",
    "set_grad_enabled": "no_grad() or enable_grad()",
    "t": "x.T",
    "vmap": "a batch axis: operations and layers take batches",
    "utils": "optim.clip_grad_norm_, data.Batches, recompute",
}

_CASTS = {
    "cpu": 'to("numpy")',
    "cuda": 'to("cupy")',
    "double": "astype(np.float64)",
    "float": "astype(np.float32)",
    "half": "astype(np.float16)",
}

METHODS: dict[str, str] = (
    SHARED
    | _CASTS
    | {
        "bool": "astype(np.bool_)",
        "byte": "astype(np.uint8)",
        "contiguous": "nothing: NumPy lays arrays out, leave it out",
        "device": "backend",
        "dim": "ndim",
        "element_size": "dtype.itemsize",
        "expand": "broadcast_to(shape)",
        "expand_as": "broadcast_to(other.shape)",
        "grad_fn": "node",
        "int": "astype(np.int32)",
        "is_contiguous": "nothing: NumPy lays arrays out",
        "is_cuda": 'backend == "cupy"',
        "long": "astype(np.int64)",
        "ndimension": "ndim",
        "nelement": "size",
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
        "unfold": "the function ts.sliding_window_view",
        "view": "reshape(*shape)",
        "view_as": "reshape(other.shape)",
        "zero_": f"p.grad = None, for a gradient; {IN_PLACE}",
    }
)

MODULES: dict[str, str] = _CASTS | {
    "all_weights": "parameters()",
    "backward": "a method of the loss: loss = module(...), then loss.backward()",
    "build": "nothing: parameters are there from the beginning",
    "add": "of a Sequential or ModuleList: append(module)",
    "add_module": "self.name = module",
    "compile": "nothing: write the loop, for batch in batches: zero_grad, backward, step",
    "device": "next(model.parameters()).backend",
    "fit": "a loop of your own: optimizer.zero_grad(); loss.backward(); optimizer.step()",
    "flatten_parameters": "nothing: leave it out",
    "get_weights": "state_dict()",
    "predict": "a call: model.eval(), then model(x) within no_grad()",
    "register_buffer": "self.name = nn.Buffer(value)",
    "register_forward_hook": "ts.viz.trace, or a forward of your own",
    "register_forward_pre_hook": "ts.viz.trace, or a forward of your own",
    "register_full_backward_hook": "register_hook of a tensor, y.register_hook(f)",
    "register_module": "self.name = module",
    "register_parameter": "self.name = nn.Parameter(value)",
    "reset_parameters": "a new module, or the functions of nn.init",
    "save": "ts.save(path, model.state_dict())",
    "set_weights": "load_state_dict(state)",
    "summary": "print(model)",
    "trainable_variables": "parameters()",
    "trainable_weights": "parameters()",
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
    "Dense": "Linear",
    "Dropout1d": "Dropout",
    "Flatten": "the function ts.reshape",
    "GELU": "the function ts.gelu",
    "GroupNorm": "LayerNorm",
    "Hardtanh": "the function ts.clip",
    "KLDivLoss": "cross_entropy with probabilities as targets",
    "LeakyReLU": "the function ts.leaky_relu",
    "LogSoftmax": "the function ts.log_softmax",
    "MSE": "MSELoss",
    "MultiheadAttention": "DotAttention, one head",
    "PackedSequence": _LENGTHS,
    "ParameterDict": "an attribute for each Parameter",
    "ParameterList": "an attribute for each Parameter",
    "RMSNorm": "LayerNorm",
    "SELU": "the function ts.elu, which has another scale",
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

OPTIMIZERS: dict[str, str] = {
    "apply_gradients": "step(), after loss.backward()",
    "lr": 'in each group: optimizer.param_groups[0]["lr"]',
    "minimize": "zero_grad(), loss.backward() and step()",
}

SCHEDULES: dict[str, str] = {"get_last_lr": "lrs, the rate of each group"}

OPTIM: dict[str, str] = {
    "Adadelta": "Adam or RMSprop",
    "Adamax": "Adam",
    "AveragedModel": "WeightAverage(params, decay)",
    "ConstantLR": "LambdaLR(optimizer, f)",
    "CosineAnnealingWarmRestarts": "SequentialLR of several CosineAnnealingLR",
    "CyclicLR": "OneCycleLR, or LambdaLR(optimizer, f)",
    "EMA": "WeightAverage(params, decay)",
    "LBFGS": "Adam",
    "LRScheduler": "Schedule",
    "LinearLR": "LinearWarmup",
    "PolynomialLR": "LambdaLR(optimizer, f)",
    "lr_scheduler": "optim itself: optim.StepLR",
    "swa_utils": "WeightAverage(params, decay)",
}

DATA: dict[str, str] = {
    "DataLoader": "Batches of sequences, RandomWindows or Streams of one text",
    "Dataset": "a list of arrays, which Batches takes",
    "Subset": "random_split",
    "TensorDataset": "Batches(sequences, batch_size, targets)",
}

_DRAWN = (
    "constant zeros uniform normal orthogonal "
    "xavier_uniform xavier_normal kaiming_uniform kaiming_normal"
)

INIT: dict[str, str] = {
    f"{name}_": f"p.copy_(nn.init.{name}(p.shape)) of a parameter p, within no_grad()"
    for name in _DRAWN.split()
}

AUTOGRAD: dict[str, str] = {
    "Function": "a function with ts.primitive, and its rule with defvjp",
    "functional": "ts.jacobian, ts.hessian, ts.hvp, ts.vjp and ts.jvp",
    "gradcheck": "tinygrad_seq.testing.gradcheck",
    "set_detect_anomaly": "anomaly_mode()",
}

SEQ: dict[str, str] = {
    "ctc_decode": "ctc_greedy(log_probs), or ctc_beam_search(log_probs, width)",
    "ctc_loss": "nn.ctc_loss",
}
