"""Three patterns of recurrence on the same tasks: what each can learn, and what it cannot.

    python examples/02_patterns.py

Deep Learning 10.2, fig. 10.3 to 10.5; teacher forcing 10.2.1:

A. recurrence between hidden units, an output at each step:      h_t = f(x_t, h_{t-1}), o_t = V h_t
B. recurrence from the output to the next hidden units:          o_t = V tanh(W x_t + R o_{t-1})
C. recurrence between hidden units, one output after the last:   h_t = f(x_t, h_{t-1}), o = V h_T

B is trained by teacher forcing: every step is given the true output before it, so no step waits
for another, and all are one product. In use it reads its own outputs. Between the two lies
scheduled sampling (Bengio et al. 2015): the truth with a probability that falls from 1 to 0.

Parity: was the number of ones up to now odd? The output before and the new bit tell, so B learns
at once. C could hold the answer as A does, but the one error at the end does not teach it.
Echo: say the bit of two steps ago. No output tells the bit of one step ago, so B cannot remember
it, however long it trains.
Track: a position, from noisy moves and noisier readings of it. Forced, B learns to trust the output
before, which in training is the truth and in use is not: its errors pile up. What is best is known
here, the Kalman filter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import nn, optim, seq

HIDDEN, BATCH = 16, 64
MOVE, READ = 0.02, 0.06  # standard deviations of the noise in Track


def parity(rng: np.random.Generator, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Bits (T, N, 1), and whether the number of ones so far is odd; both as ±1."""
    bits = rng.integers(0, 2, (steps, batch, 1))
    return 2.0 * bits - 1, np.cumsum(bits, axis=0) % 2 * 2.0 - 1


def echo(rng: np.random.Generator, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Bits, and those of two steps ago (before the first, ones)."""
    bits = rng.integers(0, 2, (steps, batch, 1)) * 2.0 - 1
    return bits, np.concatenate([np.ones((2, batch, 1)), bits[:-2]])


def track(rng: np.random.Generator, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """(move as measured, position as read), and the position; it starts from 0."""
    moves = rng.normal(size=(steps, batch, 1)) / 10
    place = np.cumsum(moves, axis=0)
    noise = rng.normal(size=(2, *moves.shape))
    return np.concatenate([moves + MOVE * noise[0], place + READ * noise[1]], axis=-1), place


def kalman(steps: int) -> np.ndarray:
    """The least root mean square error that is possible at each step of Track."""
    variance, best = 0.0, []
    for _ in range(steps):
        variance = 1 / (1 / (variance + MOVE**2) + 1 / READ**2)
        best.append(variance**0.5)
    return np.array(best)


STEPS = {parity: 8, echo: 8, track: 20}


def loss_of(task: Callable[..., Any], o: Any, truth: np.ndarray) -> Any:
    """Cross-entropy of bits, squared error of positions."""
    return nn.mse_loss(o, truth) if task is track else nn.bce_with_logits(o, (truth + 1) / 2)


class Hidden(nn.Module):
    """Patterns A and C: hidden units that remember; what is trained makes the difference."""

    def __init__(self, inputs: int) -> None:
        self.recur = nn.Recurrent(nn.RNNCell(inputs, HIDDEN))
        self.read = nn.Linear(HIDDEN, 1)

    def forward(self, x):
        return self.read(self.recur(x)[0])


class Output(nn.Module):
    """Pattern B: only the output goes on to the next step, of a bit its sign."""

    def __init__(self, inputs: int, bits: bool) -> None:
        net = nn.Sequential(nn.Linear(inputs + 1, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1))
        self.cell = seq.FeedbackCell(net, 1, feed=ts.sign if bits else None)

    def forward(self, x):
        return nn.Recurrent(self.cell)(x)[0]


def train(pattern: str, task: Callable[..., Any], seed: int, updates: int) -> nn.Module:
    """A net of the pattern, trained on fresh batches."""
    ts.manual_seed(seed)
    rng = np.random.default_rng(seed)
    inputs = 2 if task is track else 1
    net = Output(inputs, task is not track) if pattern.startswith("B") else Hidden(inputs)
    adam = optim.Adam(net.parameters(), lr=0.02)
    schedule = optim.CosineAnnealingLR(adam, updates)
    for k in course.progress(range(updates), desc=f"{task.__name__} {pattern}"):
        x, truth = (a.astype("f4") for a in task(rng, STEPS[task], BATCH))
        if pattern == "B, forced":
            o, _ = seq.teacher_forcing(net.cell, x, truth)
        elif pattern == "B, scheduled":
            p = max(0.0, 1 - 1.5 * k / updates)
            o, _ = seq.teacher_forcing(net.cell, x, truth, probability=p)
        else:
            o = net(x)
        last = slice(-1, None) if pattern == "C" else slice(None)
        adam.zero_grad()
        loss_of(task, o[last], truth[last]).backward()
        adam.step()
        schedule.step()
    return net


@ts.no_grad()
def free(net: nn.Module, task: Callable[..., Any]) -> np.ndarray:
    """In use, on its own outputs: share of right bits, or root mean square error, at each step."""
    x, truth = task(np.random.default_rng(0), STEPS[task], 1000)
    o = net(x.astype("f4")).numpy()
    if task is track:
        return np.sqrt(((o - truth) ** 2).mean(axis=(1, 2)))
    return ((o > 0) == (truth > 0)).mean(axis=(1, 2))


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Train every pattern on every task; returns the numbers of the table."""
    options = course.arguments(__doc__).parse_args(argv)
    updates = 400 if options.quick else 3000
    patterns = ("A", "B, forced", "B, scheduled", "C")
    found = {
        (pattern, task): free(train(pattern, task, options.seed, updates), task)
        for task in (parity, echo, track)
        for pattern in patterns
        if (pattern, task) != ("C", track)
    }
    best = kalman(STEPS[track])
    turns = {"B, forced": "1"}
    rows = [
        [
            pattern,
            turns.get(pattern, "T"),
            float(found[pattern, parity][-1]),
            float(found[pattern, echo][-1]),
            float(found[pattern, track][-1]) if (pattern, track) in found else "",
        ]
        for pattern in patterns
    ]
    course.table(
        ["pattern", "steps in turn", "parity, last bit", "echo, last bit", "track, last error"],
        *rows,
        ["chance, best filter", "", 0.5, 0.5, float(best[-1])],
    )
    tasks = {2: "parity", 3: "echo", 4: "track"}
    reached = {f"{row[0]} {name}": row[k] for row in rows for k, name in tasks.items()}
    with course.picture(
        options.out / "02_patterns.png", 1, 2, figsize=(11, 4), width_ratios=(1.1, 1)
    ) as (left, right):
        draw_bits(left, {p: (found[p, parity][-1], found[p, echo][-1]) for p in patterns})
        draw_errors(right, {p: found[p, track] for p in patterns[:3]}, best)

    for pattern in patterns[:3]:
        course.expect(reached[f"{pattern} parity"] > 0.8, f"{pattern} does not know parity")
    for pattern in ("A", "C"):
        course.expect(reached[f"{pattern} echo"] > 0.95, f"{pattern} does not echo")
    for pattern in patterns[1:3]:
        course.expect(reached[f"{pattern} echo"] < 0.6, f"{pattern} echoes what it cannot know")
    course.expect(
        reached["B, scheduled track"] < 0.9 * reached["B, forced track"],
        "scheduled sampling is no better than forcing alone",
    )
    return reached


COLORS = {
    "A": "tab:blue",
    "B, forced": "tab:orange",
    "B, scheduled": "tab:green",
    "C": "tab:purple",
}
LABELS = {
    "A": "A: hidden → hidden",
    "B, forced": "B: output → hidden, teacher forcing",
    "B, scheduled": "B: output → hidden, scheduled sampling",
    "C": "C: hidden → hidden, trained on the last output",
}


def draw_bits(axes, right: dict[str, tuple[float, float]]) -> None:
    """The share of right bits, for each task and pattern."""
    for k, (pattern, shares) in enumerate(right.items()):
        bars = axes.bar(
            np.arange(2) + 0.2 * (k - 1.5),
            shares,
            0.18,
            color=COLORS[pattern],
            label=LABELS[pattern],
        )
        axes.bar_label(bars, fmt="%.2f", fontsize=8, padding=3)
    axes.axhline(0.5, **course.BASELINE, label="chance")
    axes.set(xticks=[0, 1], xticklabels=["parity", "echo of two steps ago"], ylim=(0, 1.85))
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set(
        ylabel=f"right bits at step {STEPS[echo]}", title="Tasks of memory: share of right bits"
    )
    axes.legend(loc="upper center")


def draw_errors(axes, errors: dict[str, np.ndarray], best: np.ndarray) -> None:
    """The error of the position along time."""
    steps = np.arange(1, len(best) + 1)
    for pattern, error in errors.items():
        axes.plot(steps, error, color=COLORS[pattern], label=LABELS[pattern])
    axes.plot(steps, best, **course.BASELINE, label="Kalman filter (optimal)")
    axes.set(xlabel="step t", ylabel="error of the position (RMS)", ylim=(0, None))
    axes.set_xticks(steps[3::4])
    axes.set_title("Track: with teacher forcing errors accumulate")
    axes.legend()


if __name__ == "__main__":
    main()
