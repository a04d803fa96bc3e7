"""Unfold a recurrent net along time: T copies of f, one copy of the weights.

    python examples/01_unfolding.py

Deep Learning 10.1: h_t = f(h_{t-1}, x_t; θ), the same f at every step, so that the unfolded
h_t = g_t(x_t, …, x_1) is f applied t times, for any t (eq. 10.4 to 10.7).

1. The recorded graph of T steps is walked and counted: T times the operations of f, one set of θ.
2. A net is trained on sequences of 8 steps to keep a bit until it is overwritten, and read at 200:
   one f for all steps serves any length.
3. The gradient of the shared matrix U is the sum of what each step contributes, as if every step
   had a copy of its own (d2l 9.7): ∂L/∂U = Σ_t ∂L/∂U_t.

The picture shows the unfolded net, and what each step contributes to ∂L/∂U for a loss at the end:
most comes from the last steps, and nothing from the first, where U meets h_0 = 0.
"""

from __future__ import annotations

from collections import Counter

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import nn, optim
from tinygrad_seq.autograd import Variable
from tinygrad_seq.autograd.reach import reachable

HIDDEN = 8


def make(rng: np.random.Generator) -> dict[str, ts.Tensor]:
    """θ: weights W, U, b of f, and V, c of the output."""
    shapes = {"W": (2, HIDDEN), "U": (HIDDEN, HIDDEN), "b": (HIDDEN,), "V": (HIDDEN, 1), "c": (1,)}
    return {
        name: ts.Tensor(rng.normal(size=s) / np.sqrt(s[0]), requires_grad=True, name=name)
        for name, s in shapes.items()
    }


def f(x, h, theta):
    """One step.  h_t = tanh(W x_t + U h_{t-1} + b)"""
    return ts.tanh(x @ theta["W"] + h @ theta["U"] + theta["b"])


def g(x, theta):
    """h_t = g_t(x_t, …, x_1) for every t: f applied again and again."""
    states = [ts.zeros(*x.shape[1:-1], HIDDEN, dtype="f8")]
    for x_t in x:
        states.append(f(x_t, states[-1], theta))
    return ts.stack(states[1:])


def latch(rng: np.random.Generator, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Now and then x writes a bit (x_t = ±1 beside a flag); the target is the bit held.

    The first step always writes. Unflagged bits are noise, to be ignored.
    """
    write = rng.random((steps, batch)) < 0.25
    write[0] = True
    bits = rng.choice([-1.0, 1.0], (steps, batch))
    last = np.maximum.accumulate(np.where(write, np.arange(steps)[:, None], 0), axis=0)
    held = np.take_along_axis(bits, last, axis=0)
    return np.stack([bits, write], axis=-1).astype("f8"), held


def accuracy(theta, x, held) -> float:
    """The share of steps whose bit is right."""
    with ts.no_grad():
        scores = g(x, theta) @ theta["V"] + theta["c"]
    return float(((scores.numpy()[..., 0] > 0) == (held > 0)).mean())


def contributions(theta, x) -> tuple[np.ndarray, np.ndarray]:
    """∂L/∂U_t where each step has a copy U_t of its own; and ∂L/∂U, with one for all."""
    copies = [ts.tensor(theta["U"].data, requires_grad=True) for _ in x]
    h = ts.zeros(1, HIDDEN, dtype="f8")
    for x_t, u in zip(x, copies, strict=True):
        h = f(x_t, h, theta | {"U": u})
    ts.sum(h @ theta["V"]).backward()
    shared = ts.autograd.grad(ts.sum(g(x, theta)[-1] @ theta["V"]), theta["U"])[0]
    return np.stack([u.grad.numpy() for u in copies]), shared.numpy()


def draw_unfolded(axes, steps: int) -> None:
    """Circles and arrows: x_t → h_t → o_t along time, one θ above them all."""
    arrow = {"arrowstyle": "-|>", "color": "0.35", "shrinkA": 15, "shrinkB": 15}
    for t in range(steps):
        for y, name, color in ((0, "x", "tab:green"), (1, "h", "tab:blue"), (2, "o", "tab:orange")):
            axes.scatter(t, y, s=900, color=color, alpha=0.25, edgecolors=color, linewidths=1.5)
            axes.text(t, y, f"${name}_{{{t + 1}}}$", ha="center", va="center", fontsize=12)
        axes.annotate("", (t, 1), (t, 0), arrowprops=arrow)
        axes.annotate("", (t, 2), (t, 1), arrowprops=arrow)
        axes.annotate("", (t, 1), (t - 1, 1), arrowprops=arrow)
        axes.text(t - 0.5, 1.13, "U", ha="center", color="tab:red", fontsize=12)
        axes.text(t + 0.1, 0.45, "W", color="tab:red", fontsize=12)
        axes.text(t + 0.1, 1.45, "V", color="tab:red", fontsize=12)
    axes.text(-1, 1, "$h_0$", ha="center", va="center", fontsize=12)
    axes.set(xlim=(-1.3, steps - 0.5), ylim=(-0.4, 2.4))
    axes.set_title(f"Unfolded: {steps} copies of f, one copy of W, U, V")
    axes.axis("off")


def main(argv: list[str] | None = None) -> float:
    """Count, train, add up; returns the accuracy at 200 steps of the net trained on 8."""
    options = course.arguments(__doc__).parse_args(argv)
    rng = np.random.default_rng(options.seed)
    theta = make(rng)

    x, _ = latch(rng, 200, 100)
    rows = []
    for steps in (1, 2, 8, 200):
        nodes = reachable([g(x[:steps], theta)[-1].node])
        count = Counter(node.op.name for node in nodes)
        leaves = {e.name for node in nodes for e in node.edges if isinstance(e, Variable)}
        rows.append([steps, count["tanh"], count["matmul"], " ".join(sorted(leaves))])
    course.table(["steps T", "copies of f (tanh)", "products", "weights in the graph"], *rows)
    course.expect([row[1] for row in rows] == [1, 2, 8, 200], "T steps are T copies of f")

    adam = optim.Adam(theta.values(), lr=0.02)
    for _ in course.progress(range(300 if options.quick else 600)):
        inputs, held = latch(rng, 8, 32)
        scores = g(inputs, theta) @ theta["V"] + theta["c"]
        adam.zero_grad()
        nn.bce_with_logits(scores[..., 0], (held + 1) / 2).backward()
        adam.step()
    reached = {steps: accuracy(theta, *latch(rng, steps, 200)) for steps in (8, 200)}

    x, _ = latch(rng, 8, 1)
    parts, total = contributions(theta, x)
    error = float(np.abs(parts.sum(axis=0) - total).max())
    print()
    course.table(
        ["", "value"],
        ["bits right, 8 steps as in training", reached[8]],
        ["bits right, 200 steps", reached[200]],
        ["bits right, by chance", 0.5],
        ["largest difference between Σ ∂L/∂U_t and ∂L/∂U", error],
    )
    course.expect(reached[200] > 0.95, f"{reached[200]:.3f} of the bits right at 200 steps")
    course.expect(error < 1e-12, f"the contributions do not add up: {error}")

    sizes = np.linalg.norm(parts, axis=(1, 2)) / np.linalg.norm(total)
    with course.picture(options.out / "01_unfolding.png", 1, 2, figsize=(11, 3.6)) as (left, right):
        draw_unfolded(left, 4)
        right.bar(np.arange(1, 9), sizes, color="tab:blue")
        right.set(
            xlabel="step t",
            ylabel="‖∂L/∂U$_t$‖ / ‖∂L/∂U‖",
            title="What each copy adds to the gradient of the one U",
        )
    return reached[200]


if __name__ == "__main__":
    main()
