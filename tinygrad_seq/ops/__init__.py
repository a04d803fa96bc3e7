"""Layer 2: the derivative table. Each primitive is defined beside its rules, one per argument.

Functions have NumPy's names and keywords, and PyTorch's conventions at kinks and ties.
"""

# isort: off
from ..messages import publish
from . import linalg as linalg
from .activations import elu, erf, gelu, gelu_tanh, leaky_relu, relu, sigmoid, silu, softplus
from .arithmetic import (
    absolute, add, ceil, clamp, divide, fabs, floor, fmax, fmin, log, maximum, minimum, multiply,
    nan_to_num, negative, power, reciprocal, remainder, round, sign, sqrt, square, subtract, trunc,
    where,
)  # fmt: skip
from .arrange import (
    diag, diagonal, flip, fliplr, flipud, interp, pad, put_along_axis, repeat, roll, rot90, select,
    sort, take, take_along_axis, tile, topk, tril, triu,
)  # fmt: skip
from .compare import (
    all, any, argmax, argmin, argsort, bitwise_and, bitwise_or, bitwise_xor, equal, floor_divide,
    greater, greater_equal, invert, isfinite, isinf, isnan, less, less_equal, logical_and,
    logical_not, logical_or, logical_xor, not_equal,
)  # fmt: skip
from .functions import (
    arccos, arccosh, arcsin, arcsinh, arctan, arctan2, arctanh, cbrt, cos, cosh, deg2rad, exp, exp2,
    expm1, hypot, log1p, log2, log10, logaddexp, logaddexp2, rad2deg, sin, sinc, sinh, tan, tanh,
)  # fmt: skip
from .index import getitem, index_add, index_set, one_hot, scatter_add
from .joining import (
    append, array_split, atleast_1d, atleast_2d, atleast_3d, block, broadcast_arrays, column_stack,
    dsplit, dstack, hsplit, hstack, meshgrid, rollaxis, vsplit, vstack,
)  # fmt: skip
from .linear import (
    cross, dot, einsum, inner, kron, matmul, matvec, outer, tensordot, vecdot, vecmat,
)  # fmt: skip
from .reduce import cumprod, cumsum, max, mean, min, norm, prod, std, sum, trace, var
from .running import (
    cummax, cummin, cumulative_prod, cumulative_sum, diff, logcumsumexp, sliding_window_view,
    trapezoid,
)  # fmt: skip
from .scan import linear_scan
from .shape import (
    astype, broadcast_to, concatenate, expand_dims, matrix_transpose, moveaxis, ravel, reshape,
    split, squeeze, stack, swapaxes, transpose, unstack,
)  # fmt: skip
from .softmax import log_softmax, logsumexp, softmax
from .statistics import average, median, nanmean, nansum, percentile, quantile

# Aliases that users expect.
abs = absolute
clip = clamp
degrees, radians = rad2deg, deg2rad

__all__ = [
    "abs", "absolute", "add", "all", "any", "append", "arccos", "arccosh", "arcsin", "arcsinh",
    "arctan", "arctan2", "arctanh", "argmax", "argmin", "argsort", "array_split", "astype",
    "atleast_1d", "atleast_2d", "atleast_3d", "average", "bitwise_and", "bitwise_or", "bitwise_xor",
    "block", "broadcast_arrays", "broadcast_to", "cbrt", "ceil", "clamp", "clip", "column_stack",
    "concatenate", "cos", "cosh", "cross", "cummax", "cummin", "cumprod", "cumsum",
    "cumulative_prod", "cumulative_sum", "deg2rad", "degrees", "diag", "diagonal", "diff", "divide",
    "dot", "dsplit", "dstack", "einsum", "elu", "equal", "erf", "exp", "exp2", "expand_dims",
    "expm1", "fabs", "flip", "fliplr", "flipud", "floor", "floor_divide", "fmax", "fmin", "gelu",
    "gelu_tanh", "getitem", "greater", "greater_equal", "hsplit", "hstack", "hypot", "index_add",
    "index_set", "inner", "interp", "invert", "isfinite", "isinf", "isnan", "kron", "leaky_relu",
    "less", "less_equal", "linear_scan", "log", "log1p", "log2", "log10", "log_softmax",
    "logaddexp", "logaddexp2", "logcumsumexp", "logical_and", "logical_not", "logical_or",
    "logical_xor", "logsumexp", "matmul", "matrix_transpose", "matvec", "max", "maximum", "mean",
    "median", "meshgrid", "min", "minimum", "moveaxis", "multiply", "nan_to_num", "nanmean",
    "nansum", "negative", "norm", "not_equal", "one_hot", "outer", "pad", "percentile", "power",
    "prod", "put_along_axis", "quantile", "rad2deg", "radians", "ravel", "reciprocal", "relu",
    "remainder", "repeat", "reshape", "roll", "rollaxis", "rot90", "round", "scatter_add", "select",
    "sigmoid", "sign", "silu", "sin", "sinc", "sinh", "sliding_window_view", "softmax", "softplus",
    "sort", "split", "sqrt", "square", "squeeze", "stack", "std", "subtract", "sum", "swapaxes",
    "take", "take_along_axis", "tan", "tanh", "tensordot", "tile", "topk", "trace", "transpose",
    "trapezoid", "tril", "triu", "trunc", "unstack", "var", "vecdot", "vecmat", "vsplit", "vstack",
    "where",
]  # fmt: skip

publish(__name__)
