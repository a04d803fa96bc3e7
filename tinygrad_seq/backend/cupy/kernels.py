"""CUDA sources: what one thread does for element ``i``, in the dtype ``T`` of its arrays.

Each replaces a composite, which is its specification; the names are those used there
(``backend/steps``). ``raw`` arguments are whole arrays, the others their elements ``i``. The bodies
are plain C, so the tests run them without a GPU. The kernels of recurrent layers are not here; they
are derived (``recurrence/print_cuda``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..base import Source


def _scan(first: str, step: str) -> Source:
    """A loop over time, forward or in reverse, for one element of the state at index ``at``."""
    return Source(
        "raw T a, raw T b, raw T start, int64 steps, int64 width, bool begun, bool back, "
        "bool adjoint",
        "raw T y",
        f"""
        {first}
        for (long long k = 0; k < steps; k++) {{
            const long long at = (back ? steps - 1 - k : k) * width + i;
            {step}
        }}
        """,
    )


KERNELS: dict[str, Source] = {
    # Softmax cross-entropy: ln Σ e^x, less x_t; and back
    "log_sum": Source("T x, T top", "T y", "exp(x - top)", ("a + b", "y = log(a)", "0")),
    "pick": Source(
        "T log_sum, T top, int64 t, raw T x, int64 C",
        "T loss",
        "loss = t < 0 ? (T)0 : (T)(top - x[i * C + t] + log_sum);",
    ),
    "unpick": Source(
        "T x, T g, T top, T log_sum, int64 t, int64 j",
        "T y",
        "y = t < 0 ? (T)0 : (T)(g * (exp(x - top - log_sum) - (j == t ? (T)1 : (T)0)));",
    ),
    # h_t = a_t h_{t-1} + b_t, one thread per h; the adjoint uses the a of the step before
    "linear_scan": _scan(
        "T h = begun ? start[i] : (T)0, f = 0;",
        """
        if (k || begun) h = (adjoint ? f : a[at]) * h + b[at]; else h = b[at];
        f = a[at]; y[at] = h;
        """,
    ),
    "linear_scan_pairs": _scan(
        "T h = begun ? start[2 * i] : (T)0, h_ = begun ? start[2 * i + 1] : (T)0, f = 0, f_ = 0;",
        """
        const long long re = 2 * at, im = 2 * at + 1;
        if (!adjoint) { f = a[re]; f_ = a[im]; }
        const T next = (k || begun ? (T)(f * h - f_ * h_) : (T)0) + b[re];
        h_ = (k || begun ? (T)(f * h_ + f_ * h) : (T)0) + b[im];
        h = next;
        if (adjoint) { f = a[re]; f_ = -a[im]; }
        y[re] = h; y[im] = h_;
        """,
    ),
    # For ``rows`` that may repeat: the next place of each row; sums in that order; the last value
    "chain": Source(
        "raw int64 rows, int64 count",
        "int64 after, raw bool first",
        """
        long long k = i + 1;
        while (k < count && rows[k] != rows[i]) k++;
        after = k;
        if (k < count) first[k] = false;
        """,
    ),
    "add_chains": Source(
        "raw int64 rows, raw int64 after, raw bool first, raw T values, int64 width, int64 count",
        "raw T target",
        """
        const long long k = i / width, e = i % width;
        if (first[k]) {
            T sum = 0;
            for (long long j = k; j < count; j = after[j]) sum += values[j * width + e];
            target[rows[k] * width + e] += sum;
        }
        """,
    ),
    "put_last": Source(
        "raw int64 rows, int64 after, raw T values, int64 count",
        "raw T target",
        "if (after == count) target[rows[i]] = values[i];",
    ),
    # Elementwise
    "erf": Source("T x", "T y", "y = erf(x);"),
    # not by tanh, which loses small values such as the gradient of a loss
    "sigmoid": Source("T x", "T y", "y = (T)1 / ((T)1 + exp(-x));"),
    "product": Source("T a, T b", "T y", "y = a == 0 || (b == 0 && a == a) ? (T)0 : (T)(a * b);"),
    "quotient": Source("T a, T b", "T y", "y = a == 0 ? (T)0 : (T)(a / b);"),
    # Philox 4x32-10 (Salmon et al. 2011), the first word of block i under the key ``seed``
    "uniform": Source(
        "int64 seed",
        "T y",
        """
        unsigned int k0 = (unsigned int)seed, k1 = (unsigned int)(seed >> 32);
        unsigned int c0 = (unsigned int)i, c1 = (unsigned int)((long long)i >> 32), c2 = 0, c3 = 0;
        for (int round = 0; round < 10; round++) {
            const unsigned long long p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
            c0 = (unsigned int)(p1 >> 32) ^ c1 ^ k0;
            c1 = (unsigned int)p1;
            c2 = (unsigned int)(p0 >> 32) ^ c3 ^ k1;
            c3 = (unsigned int)p0;
            k0 += 0x9E3779B9u; k1 += 0xBB67AE85u;
        }
        y = (T)(c0 >> 8) * (T)5.9604644775390625e-8;
        """,
    ),
    # Clipping
    "norm": Source("T x", "float64 y", "(double)x * (double)x", ("a + b", "y = sqrt(a)", "0")),
    "shrink": Source(
        "T g, float64 norm, float64 bound, float64 eps",
        "T y",
        "const double s = bound / (norm + eps); y = s >= 1 ? g : (T)(g * s);",
    ),
    # Optimizers
    "sgd": Source("T p, T g, T lr", "T p1", "p1 = p - lr * g;"),
    "sgd_momentum": Source(
        "T p, T g, T b, T lr, T mu, T keep, bool nesterov",
        "T p1, T b1",
        "const T s = b * mu + keep * g; b1 = s; p1 = p - lr * (nesterov ? (T)(g + mu * s) : s);",
    ),
    "adam": Source(
        "T p, T g, T m, T v, float64 beta1, float64 beta2, T rate, T scale, T eps",
        "T p1, T m1, T v1",
        """
        const T s = m + (T)(1 - beta1) * (g - m), q = v * (T)beta2 + (T)(1 - beta2) * g * g;
        m1 = s; v1 = q; p1 = p - rate * s / (scale * sqrt(q) + eps);
        """,
    ),
    "amsgrad": Source(
        "T p, T g, T m, T v, T l, float64 beta1, float64 beta2, T rate, T scale, T eps",
        "T p1, T m1, T v1, T l1",
        """
        const T s = m + (T)(1 - beta1) * (g - m), q = v * (T)beta2 + (T)(1 - beta2) * g * g;
        const T most = l > q ? l : q;
        m1 = s; v1 = q; l1 = most; p1 = p - rate * s / (scale * sqrt(most) + eps);
        """,
    ),
}


def compiler(cupy: Any) -> Callable[..., Any]:
    """A function that makes each source's kernel once; CUDA compiles it at its first call."""

    @functools.cache
    def kernel(source: Source, name: str = "derived") -> Any:
        label = f"tinygrad_seq_{name}"
        if source.reduce is None:
            return cupy.ElementwiseKernel(source.ins, source.outs, source.body, label)
        return cupy.ReductionKernel(source.ins, source.outs, source.body, *source.reduce, label)

    return kernel
