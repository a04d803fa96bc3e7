"""How gradients vanish and explode over time, and what clipping does.

    python examples/07_vanishing_gradients.py

Deep Learning 10.7, 10.9 and 10.11; d2l 9.7. Three views of one product of Jacobians.

1. The norm of ∂L/∂h_t, carried back 100 steps by cells with their first weights: it vanishes in
   the plain RNN, explodes where U is large, and lives on where a state is carried along. Gates do
   that as far as they are open: σ(bias)ᵏ is left after k steps.
2. Why: without a nonlinearity h_t = U h_{t-1} + x_t, so ∂L/∂h_{T-k} = (Uᵀ)ᵏ ∂L/∂h_T, and if all
   eigenvalues of U have the modulus ρ, its norm goes with ρᵏ, to the last digit. tanh' ≤ 1 only
   takes away from that.
3. An RNN with exploding gradients learns to tell the order of two symbols if they are clipped
   (10.11.1), and only then.

Each state keeps its gradient by `retain_grad()`; the cells are unrolled step by step, by hand.
"""

from __future__ import annotations

from functools import partial
from itertools import islice

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import data, nn, optim

STEPS, SEQUENCES, INPUTS, HIDDEN = 100, 16, 8, 64


def rnn(rho):
    """tanh units with U = ρ Q, Q orthogonal: all eigenvalues of U have the modulus ρ."""
    cell = nn.RNNCell(INPUTS, HIDDEN)
    nn.init.recurrent_(cell, partial(nn.init.orthogonal, gain=rho))
    return cell


def irnn():
    """ReLU units with U = I and no biases (Le, Jaitly & Hinton 2015)."""
    cell = nn.RNNCell(INPUTS, HIDDEN, bias=False, nonlinearity="relu")
    nn.init.recurrent_(cell, nn.init.identity)
    return cell


def leaky():
    """Units that remember for 1 to 100 steps: α = 1 - 1/τ (DL 10.9.2)."""
    return nn.LeakyCell(INPUTS, HIDDEN, alpha=1 - 1 / np.geomspace(1, 100, HIDDEN))


def gated(kind, gate, bias):
    """GRU or LSTM with a bias of the gate that keeps: z, or f."""
    cell = kind(INPUTS, HIDDEN)
    nn.init.bias_(cell, bias, gate)
    return cell


CELLS = {  # the kind, whose color it has in the picture; the style of its line; how it is made
    "RNN, U = 1.5 Q": ("RNN", ":", partial(rnn, 1.5)),
    "IRNN, U = I": ("IRNN", "-", irnn),
    "leaky, τ from 1 to 100": ("leaky", "-", leaky),
    "LSTM, forget bias 5": ("LSTM", "--", partial(gated, nn.LSTMCell, "f", 5.0)),
    "GRU, update bias 5": ("GRU", "--", partial(gated, nn.GRUCell, "z", 5.0)),
    "LSTM, forget bias 1": ("LSTM", "-", partial(gated, nn.LSTMCell, "f", 1.0)),
    "GRU, update bias 0": ("GRU", "-", partial(gated, nn.GRUCell, "z", 0.0)),
    "RNN": ("RNN", "-", partial(nn.RNNCell, INPUTS, HIDDEN)),
}


def gradient_norms(cell, state) -> np.ndarray:
    """‖∂L/∂s_{T-k}‖ for k = 0, 1, ..., relative to k = 0, for an L that reads only the last output.

    s_t is h_t, or (h_t, c_t). The norm is the mean over the sequences.
    """
    states = []
    for x in ts.randn(STEPS, SEQUENCES, INPUTS):
        y, state = cell(x, state)
        parts = state if isinstance(state, tuple) else (state,)
        for part in parts:
            part.retain_grad()
        states.append(parts)
    (y * ts.randn(*y.shape)).sum().backward()  # ∂L/∂h_T: some direction
    gradients = [np.concatenate([part.grad.numpy() for part in parts], -1) for parts in states]
    norms = np.linalg.norm(gradients[::-1], axis=-1).mean(-1)
    return norms / norms[0]


def by_eigenvalues(rho: float) -> tuple[np.ndarray, np.ndarray]:
    """The norms for one U = ρ Q: of h_t = U h_{t-1} + W x_t, and of tanh of that."""
    cell, start = rnn(rho), ts.zeros(SEQUENCES, HIDDEN)

    def linear(x, h):
        h = x @ cell.weight_ih.T + h @ cell.weight_hh.T
        return h, h

    return gradient_norms(linear, start), gradient_norms(cell, start)


def train(clip: float, batches: int, seed: int) -> list[float]:
    """The loss of a tanh RNN with U = 1.2 Q, which learns the order of symbols by plain SGD."""
    ts.manual_seed(seed)
    task = data.TemporalOrder(20, batch_size=32)
    recur, read = nn.Recurrent(rnn(1.2)), nn.Linear(HIDDEN, 4)
    sgd = optim.SGD([*recur.parameters(), *read.parameters()], lr=0.3)
    losses = []
    for inputs, targets, lengths in course.progress(islice(task, batches), total=batches):
        _, last = recur(ts.one_hot(inputs, INPUTS), lengths=lengths)
        loss = nn.cross_entropy(read(last), targets)
        sgd.zero_grad()
        loss.backward()
        optim.clip_grad_norm_([*recur.parameters(), *read.parameters()], clip)
        sgd.step()
        losses.append(loss.item())
    return losses


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Measure and draw; returns what is left of each cell's gradient after 100 steps."""
    options = course.arguments(__doc__).parse_args(argv)
    ts.set_default_dtype(np.float64)  # some norms are too small for float32
    ts.manual_seed(options.seed)

    cells = {name: make() for name, (*_, make) in CELLS.items()}
    norms = {name: gradient_norms(c, c.initial_state((SEQUENCES,))) for name, c in cells.items()}
    left = {name: float(line[-1]) for name, line in norms.items()}
    course.table(["cell", "of ∂L/∂h_T is left at ∂L/∂h_1"], *left.items())
    course.expect(left["RNN"] < 1e-15 < 0.01 < left["IRNN, U = I"], "one vanishes, one does not")
    course.expect(left["RNN, U = 1.5 Q"] > 10, "a large U lets gradients explode")

    k = np.arange(STEPS)
    lines = {rho: by_eigenvalues(rho) for rho in (0.9, 1.0, 1.1)}
    print()
    course.table(
        ["ρ", "ρ^99", "linear", "tanh"],
        *([rho, rho**99, float(a[-1]), float(b[-1])] for rho, (a, b) in lines.items()),
    )
    for rho, (linear, _) in lines.items():
        course.expect(np.allclose(linear, rho**k, rtol=1e-9, atol=0), f"the norm is not {rho}^k")

    clipping = {"clipped to norm 1": 1.0, "not clipped": np.inf}
    batches = 200 if options.quick else 500
    losses = {name: train(clip, batches, options.seed) for name, clip in clipping.items()}
    ends = {name: float(np.mean(line[-50:])) for name, line in losses.items()}
    baseline = data.TemporalOrder(20, 1).baseline
    print()
    course.table(["order of symbols, SGD", "loss"], *ends.items(), ["no memory", baseline])
    course.expect(ends["clipped to norm 1"] < baseline / 2 < ends["not clipped"], "clipping helps")

    path = options.out / "07_vanishing_gradients.png"
    with course.picture(path, 1, 3, figsize=(14, 4.6)) as (time, eigen, clip):
        for name, (kind, style, _) in CELLS.items():
            time.plot(k, norms[name], style, color=course.COLORS[kind], label=name)
        time.set(title="What is left of the gradient", ylim=(1e-25, 1e5))
        time.set(ylabel="‖∂L/∂h$_{T-k}$‖ / ‖∂L/∂h$_T$‖")
        time.legend(loc="lower left")
        colors = ("tab:purple", "black", "tab:red")
        for color, (rho, (linear, tanh)) in zip(colors, lines.items(), strict=True):
            eigen.plot(k, linear, color, label=f"linear, ρ = {rho}")
            eigen.plot(k, tanh, color, linestyle=":", label=f"tanh, ρ = {rho}")
        eigen.set(title="Why: U = ρ Q, all eigenvalues |λ| = ρ")
        eigen.legend(loc="lower left")
        for axes in (time, eigen):
            axes.set(yscale="log", xlabel="k, steps back in time")
        for color, (name, line) in zip(("black", "tab:red"), losses.items(), strict=True):
            clip.plot(line, color, linewidth=0.8, label=name)
        clip.axhline(baseline, **course.BASELINE, label="no memory")
        clip.set(title="Clipping: learn the order, T = 20, U = 1.2 Q at first", yscale="log")
        clip.set(xlabel="batches", ylabel="cross-entropy, nats")
        clip.legend(loc="lower left")
    return left


if __name__ == "__main__":
    main()
