"""tinygrad_seq: autograd you can read, recurrent nets you can really use."""

# isort: off
from . import autograd, data, distributions, io, nn, ops, optim, parallel, seq, viz
from .autograd import (
    Interval, Primitive, anomaly_mode, enable_grad, is_grad_enabled, mark_written, no_grad,
    primitive,
)  # fmt: skip
from .backend import (
    default_dtype, generator, get_num_threads, get_rng_state, manual_seed, set_default_dtype,
    set_num_threads, set_rng_state, use_backend, use_jit,
)  # fmt: skip
from .creation import (
    arange, eye, from_dlpack, full, full_like, linspace, ones, ones_like, rand, randn, zeros,
    zeros_like,
)  # fmt: skip
from .hints import FUNCTIONS
from .io import Checkpoint, CheckpointError, load, save
from .messages import publish
from .ops import *  # noqa: F403  # the whole op table; its __all__ is a literal list
from .ops import linalg
from .recompute import checkpoint as checkpoint  # deprecated
from .recompute import recompute
from .tensor import Tensor
from .transforms import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from .version import __version__ as __version__

from .creation import tensor  # after the module tensor, whose name it takes

__all__ = [
    "Checkpoint", "CheckpointError", "Interval", "Primitive", "Tensor", "anomaly_mode", "arange",
    "autograd", "data", "default_dtype", "distributions", "enable_grad", "eye", "from_dlpack",
    "full", "full_like", "generator", "get_num_threads", "get_rng_state", "grad", "hessian", "hvp",
    "io", "is_grad_enabled", "jacobian", "jvp", "linalg", "linspace", "load", "manual_seed",
    "mark_written", "nn", "no_grad", "ones", "ones_like", "ops", "optim", "parallel", "primitive",
    "rand", "randn", "recompute", "save", "seq", "set_default_dtype", "set_num_threads",
    "set_rng_state", "tensor", "use_backend", "use_jit", "value_and_grad", "viz", "vjp", "zeros",
    "zeros_like",
]  # fmt: skip
__all__ += ops.__all__

publish(__name__, FUNCTIONS)
