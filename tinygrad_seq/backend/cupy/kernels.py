"""The CUDA sources: what one thread does for element ``i``, in the dtype ``T`` of its arrays.

Each stands for a composite elsewhere, which is its specification; the names are those used there
(``backend/recurrence`` for the gates, ``backend/steps``). Arguments called ``raw`` are seen whole,
the others at ``i``. The bodies are plain C: the tests run them where there is no GPU.

The gates of a step lie side by side, ``(N, gates*H)`` in PyTorch's order, so that one product
makes them all; ``i`` numbers the N·H units, r is the sequence, ``at`` the place of its first gate.
At a step of padding (``masked`` and not ``read[r]``) a state stays, and its gradient passes in
``kept``, what h̄ gets beside the product with U; ``seen``: there is a gradient of the output.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple


class Source(NamedTuple):
    """The arguments of ``cupy.ElementwiseKernel``, or of ``ReductionKernel`` where it reduces."""

    ins: str
    outs: str
    body: str
    reduce: tuple[str, str, str] | None = None  # how two meet, what becomes of it, the start


def _gates(count: int, ins: str, outs: str, values: str, at_padding: str) -> Source:
    """Forward gates: ``values`` where a step is read, ``at_padding`` elsewhere."""
    return Source(
        f"{ins}, int64 H, raw bool read, bool masked",
        outs,
        f"""
        const long long r = i / H, at = r * {count} * H + i % H;
        if (masked && !read[r]) {{ {at_padding} }} else {{ {values} }}
        """,
    )


def _gates_backward(count: int, ins: str, outs: str, values: str, at_padding: str) -> Source:
    """Backward gates: as above; ``g`` is h̄', all that reaches the state after the step."""
    return Source(
        f"T back, T beside, raw T gy, bool seen, {ins}int64 H, raw bool read, bool masked",
        outs,
        f"""
        const long long r = i / H, at = r * {count} * H + i % H;
        T g = back + beside;
        if (masked && !read[r]) {{ kept = g; {at_padding} }}
        else {{ if (seen) g += gy[i]; {values} }}
        """,
    )


def _scan(first: str, step: str) -> Source:
    """A loop over time, forwards or back, of one element of the state: ``at`` is its place."""
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


_SQUASH = "((T)0.5 * tanh((T)0.5 * ({0})) + (T)0.5)".format

KERNELS: dict[str, Source] = {
    # h' = φ(W x + b + U h)
    "rnn_tanh": _gates(1, "raw T wx, T uh, T h", "T h1", "h1 = tanh(wx[at] + uh);", "h1 = h;"),
    "rnn_relu": _gates(
        1,
        "raw T wx, T uh, T h",
        "T h1",
        "T a = wx[at] + uh; h1 = a > 0 || a != a ? a : (T)0;",
        "h1 = h;",
    ),
    # ā = h̄' ⊙ φ'
    "rnn_tanh_backward": _gates_backward(
        1, "T h1, ", "T a, T kept", "a = g * ((T)1 - h1 * h1); kept = 0;", "a = 0;"
    ),
    "rnn_relu_backward": _gates_backward(
        1, "T h1, ", "T a, T kept", "a = h1 > 0 ? g : (T)0; kept = 0;", "a = 0;"
    ),
    # h̄' on its way through a projection
    "receive": _gates_backward(1, "", "T a, T kept", "a = g; kept = 0;", "a = 0;"),
    # i, f, g, o;  c' = f ⊙ c + i ⊙ g,  h' = o ⊙ tanh c'
    "lstm": _gates(
        4,
        "raw T wx, raw T uh, T h, T c",
        "T h1, T c1, raw T v",
        f"""
        const T i_ = {_SQUASH("wx[at] + uh[at]")};
        const T f_ = {_SQUASH("wx[at + H] + uh[at + H]")};
        const T g_ = tanh(wx[at + 2 * H] + uh[at + 2 * H]);
        const T o_ = {_SQUASH("wx[at + 3 * H] + uh[at + 3 * H]")};
        const T next = f_ * c + i_ * g_;
        v[at] = i_; v[at + H] = f_; v[at + 2 * H] = g_; v[at + 3 * H] = o_;
        c1 = next; h1 = o_ * tanh(next);
        """,
        "h1 = h; c1 = c;",
    ),
    # k = tanh c',  c̄' += h̄' ⊙ o ⊙ (1 - k²)
    "lstm_backward": _gates_backward(
        4,
        "raw T v, T c, T c1, T c_, ",
        "raw T a, T c_before, T kept",
        """
        const T i_ = v[at], f_ = v[at + H], g_ = v[at + 2 * H], o_ = v[at + 3 * H];
        const T k = tanh(c1);
        const T d = c_ + g * o_ * ((T)1 - k * k);
        a[at] = d * g_ * i_ * ((T)1 - i_);
        a[at + H] = d * c * f_ * ((T)1 - f_);
        a[at + 2 * H] = d * i_ * ((T)1 - g_ * g_);
        a[at + 3 * H] = g * k * o_ * ((T)1 - o_);
        c_before = d * f_; kept = 0;
        """,
        "a[at] = 0; a[at + H] = 0; a[at + 2 * H] = 0; a[at + 3 * H] = 0; c_before = c_;",
    ),
    # r, z, n with m = U_n h + c_n:  n = tanh(W_n x + r ⊙ m),  h' = z ⊙ h + (1 - z) ⊙ n
    "gru_after": _gates(
        3,
        "raw T wx, raw T uh, raw T late, T h",
        "T h1, T m, raw T v",
        f"""
        const long long k = i % H;
        const T r_ = {_SQUASH("wx[at] + uh[at] + late[k]")};
        const T z_ = {_SQUASH("wx[at + H] + uh[at + H] + late[k + H]")};
        m = uh[at + 2 * H] + late[k + 2 * H];
        const T n_ = tanh(wx[at + 2 * H] + r_ * m);
        v[at] = r_; v[at + H] = z_; v[at + 2 * H] = n_;
        h1 = n_ + z_ * (h - n_);
        """,
        "h1 = h; m = 0;",
    ),
    # a for W: ā_r, ā_z, ā_n;  u for U: ā_r, ā_z, m̄
    "gru_after_backward": _gates_backward(
        3,
        "raw T v, T m, T h, ",
        "raw T a, raw T u, T kept",
        """
        const T r_ = v[at], z_ = v[at + H], n_ = v[at + 2 * H];
        const T an = g * ((T)1 - z_) * ((T)1 - n_ * n_);
        const T az = g * (h - n_) * z_ * ((T)1 - z_), ar = an * m * r_ * ((T)1 - r_);
        a[at] = ar; a[at + H] = az; a[at + 2 * H] = an;
        u[at] = ar; u[at + H] = az; u[at + 2 * H] = an * r_;
        kept = g * z_;
        """,
        "a[at] = 0; a[at + H] = 0; a[at + 2 * H] = 0; u[at] = 0; u[at + H] = 0; u[at + 2 * H] = 0;",
    ),
    # The published GRU, in two halves around U_n:  r, z, q = r ⊙ h;  then n and h'
    "gru_reset": _gates(
        3,
        "raw T wx, raw T uh, T h",
        "T q, raw T v",
        f"""
        const long long two = r * 2 * H + i % H;
        const T r_ = {_SQUASH("wx[at] + uh[two]")};
        v[at] = r_; v[at + H] = {_SQUASH("wx[at + H] + uh[two + H]")};
        q = r_ * h;
        """,
        "q = 0;",
    ),
    "gru_output": _gates(
        3,
        "raw T wx, T uq, T h",
        "T h1, raw T v",
        """
        const T n_ = tanh(wx[at + 2 * H] + uq);
        v[at + 2 * H] = n_; h1 = n_ + v[at + H] * (h - n_);
        """,
        "h1 = h;",
    ),
    "gru_output_backward": _gates_backward(
        3,
        "raw T v, T h, ",
        "T a_n, raw T a, T kept",
        """
        const T z_ = v[at + H], n_ = v[at + 2 * H];
        a_n = g * ((T)1 - z_) * ((T)1 - n_ * n_);
        a[r * 2 * H + H + i % H] = g * (h - n_) * z_ * ((T)1 - z_);
        kept = g * z_;
        """,
        "a_n = 0; a[r * 2 * H + H + i % H] = 0;",
    ),
    "gru_reset_backward": _gates(
        3,
        "T q_, raw T v, T h, T before",
        "raw T a, T kept",
        """
        const T r_ = v[at];
        a[r * 2 * H + i % H] = q_ * h * r_ * ((T)1 - r_);
        kept = before + q_ * r_;
        """,
        "a[r * 2 * H + i % H] = 0; kept = before;",
    ),
    # Softmax cross-entropy: ln Σ e^x, less x_t; and back
    "log_sum": Source(
        "T x, T top",
        "T y",
        "exp(x - top)",
        ("a + b", "y = log(a)", "0"),
    ),
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
    # h_t = a_t h_{t-1} + b_t, a thread for each h; the adjoint has the a of the step before
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
    # Of ``rows``, which may repeat, where each comes next; sums in that order; the last of each
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
    # not by tanh, which loses what is small: the gradient of a loss
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


def compiler(cupy: Any) -> Callable[[str], Any]:
    """A function that makes the kernel of a name, once; CUDA compiles it at its first call."""

    @functools.cache
    def kernel(name: str) -> Any:
        source, label = KERNELS[name], f"tinygrad_seq_{name}"
        if source.reduce is None:
            return cupy.ElementwiseKernel(source.ins, source.outs, source.body, label)
        return cupy.ReductionKernel(source.ins, source.outs, source.body, *source.reduce, label)

    return kernel
