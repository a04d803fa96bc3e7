"""Layer 0: array libraries. Every difference between them is handled here."""

from .base import (
    Array,
    AxisError,
    Backend,
    Source,
    backend_of,
    is_array,
    one_backend,
    several,
    there,
    xp,
)
from .dtypes import default_dtype, floating, narrowed, result_dtype, set_default_dtype, wider
from .jit import use_jit
from .process import keep_freed_memory
from .random import generator, get_rng_state, manual_seed, set_rng_state
from .select import backend_named, current, use_backend
from .threads import get_num_threads, set_num_threads

__all__ = [
    "Array", "AxisError", "Backend", "Source", "backend_named", "backend_of", "current",
    "default_dtype", "floating", "generator", "get_num_threads", "get_rng_state", "is_array",
    "keep_freed_memory", "manual_seed", "narrowed", "one_backend", "result_dtype",
    "set_default_dtype", "set_num_threads", "set_rng_state", "several", "there", "use_backend",
    "use_jit", "wider", "xp",
]  # fmt: skip
