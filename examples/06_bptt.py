"""Four ways to find one gradient: full, truncated, randomised truncation, RTRL.

    python examples/06_bptt.py

Deep Learning 10.2.2; d2l 9.7. The task needs a long memory: at each step a bit ±1 comes in, and the
first one alone, which a flag marks, is asked for 30 steps later. All ways go over the same net by
one function, seq.bptt:

full        z_t = ∂h_t/∂w = ∂f/∂w + ∂f/∂h z_{t-1}, from the end back to the start (d2l 9.7.1)
truncated   the gradient stops every τ = 15 steps, the state goes on (d2l 9.7.2)
randomised  z_t = ∂f/∂w + ξ_t ∂f/∂h z_{t-1}, ξ_t = 1/π_t with probability π_t, else 0, so that
            E[z_t] is the full gradient (d2l 9.7.3; Tallec & Ollivier 2017); windows of 15 steps on
            average, of geometric lengths, π = 1 - 1/15, or of a power law, π = 1 - 3 / (30 + age)
RTRL        the same sum as full, carried forward in time (Williams & Zipser 1989)

The table shows, for one batch at the initial weights, bias ‖E[g] - ∇L‖ / ‖∇L‖ and noise
√E‖g - E[g]‖² / ‖∇L‖ of the estimate g; time for one gradient; the peak of memory for short and for
long sequences; and the loss that training reaches. To guess costs ln 2 = 0.693. The window that
holds the answer never holds the question, so truncation cannot learn to write it down; the random
windows do at times, and are noisy. RTRL takes the same steps as full, at a price in time that
grows with the fourth power of the number of units; it is followed for a few updates.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from typing import Any

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import nn, optim, seq

STEPS, BATCH, HIDDEN, WINDOW = 30, 16, 10, 15
METHODS = {
    "full": seq.Full(),
    "truncated": seq.Truncated(WINDOW),
    "randomised, geometric": seq.Randomised(1 - 1 / WINDOW),
    "randomised, power law": seq.Randomised(lambda age: 1 - 3 / (2 * WINDOW + age)),
    "RTRL": seq.RTRL(),
}
COLORS = dict(
    zip(METHODS, ("tab:blue", "tab:orange", "tab:purple", "tab:green", "black"), strict=True)
)


def recall(rng: np.random.Generator, steps: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """(bits and the flag of the first (T, N, 2), the first bit as 0 or 1 (N,))."""
    bits = rng.choice([-1.0, 1.0], (steps, batch))
    flag = np.zeros_like(bits)
    flag[0] = 1
    return np.stack([bits, flag], axis=-1), (bits[0] + 1) / 2


class Net(nn.Module):
    """Leaky units, which remember for about 20 steps, and an output layer."""

    def __init__(self) -> None:
        self.cell = nn.LeakyCell(2, HIDDEN, alpha=0.95, dtype="f8")
        self.read = nn.Linear(HIDDEN, 1, dtype="f8")

    def gradient(self, x: np.ndarray, bit: np.ndarray, method: Any) -> tuple[float, np.ndarray]:
        """Loss, and the estimated gradient of the cell's weights in one vector; all in .grad."""

        def loss(t, h):
            return nn.bce_with_logits(self.read(h)[:, 0], bit) if t == len(x) - 1 else None

        self.zero_grad()
        value, _ = seq.bptt(self.cell, x, loss, method=method)
        parts = [p.grad.numpy() for p in self.cell.parameters()]
        return value, np.concatenate([part.ravel() for part in parts])


def bias_and_noise(net: Net, rng: np.random.Generator, draws: int) -> tuple[Any, Any]:
    """For each method (bias, its standard error, noise) in parts of ‖∇L‖; and CPU time in ms."""
    x, bit = recall(rng, STEPS, BATCH)
    exact = net.gradient(x, bit, METHODS["full"])[1]
    found, times = {}, {}
    for name, method in course.progress(METHODS.items(), desc="bias and noise"):
        count = draws if name.startswith("randomised") else 1
        began = time.process_time()
        estimates = np.array([net.gradient(x, bit, method)[1] for _ in range(count)])
        times[name] = 1000 * (time.process_time() - began) / count
        mean = estimates.mean(axis=0)
        noise = np.sqrt(((estimates - mean) ** 2).sum(axis=1).mean())
        bias = np.linalg.norm(mean - exact)
        size = np.linalg.norm(exact)
        found[name] = [float(v / size) for v in (bias, noise / np.sqrt(count), noise)]
    return found, times


def memory_of(method: Any, steps: int) -> float:
    """The peak of memory for the gradient of one sequence, in KB.

    Some 200 KB of it, from a few hundred steps on, are the interpreter's and not the net's: its
    lists of freed objects, which fill up once.
    """
    net, (x, bit) = Net(), recall(np.random.default_rng(0), steps, 1)
    net.gradient(x, bit, method)
    gc.collect()
    tracemalloc.start()
    net.gradient(x, bit, method)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1000


def train(name: str, seed: int, updates: int) -> list[float]:
    """The losses of fresh batches along training."""
    ts.manual_seed(seed)
    rng, net = np.random.default_rng(seed), Net()
    adam, losses = optim.Adam(net.parameters(), lr=0.03), []
    for _ in course.progress(range(updates), desc=name):
        losses.append(net.gradient(*recall(rng, STEPS, BATCH), METHODS[name])[0])
        optim.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
    return losses


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Measure, train and compare; returns the loss reached by each method."""
    options = course.arguments(__doc__).parse_args(argv)
    ts.manual_seed(options.seed)
    net, rng = Net(), np.random.default_rng(options.seed)
    quality, times = bias_and_noise(net, rng, 40 if options.quick else 1000)
    lengths = (10, 30, 100) if options.quick else (10, 30, 100, 300, 1000)
    memory = {name: [memory_of(m, t) for t in lengths] for name, m in METHODS.items()}

    updates, followed = (300, 2) if options.quick else (1000, 20)
    trained = [n for n in METHODS if not (options.quick and n == "randomised, geometric")]
    losses = {n: train(n, options.seed, followed if n == "RTRL" else updates) for n in trained}
    reached = {name: float(np.mean(curve[-50:])) for name, curve in losses.items()}

    def said(name):
        if name == "RTRL":
            return f"as full, {followed} updates"
        return reached.get(name, "")

    course.table(
        [
            "gradient",
            "bias",
            "± (error)",
            "noise",
            "ms",
            f"KB, T={lengths[0]}",
            f"KB, T={lengths[-1]}",
            f"loss after {updates}",
        ],
        *[
            [name, *quality[name], times[name], memory[name][0], memory[name][-1], said(name)]
            for name in METHODS
        ],
    )
    with course.picture(options.out / "06_bptt.png", 1, 3, figsize=(14, 4)) as (one, two, three):
        draw_losses(one, losses)
        draw_quality(two, quality)
        draw_memory(three, lengths, memory)

    apart = np.abs(np.subtract(losses["RTRL"], losses["full"][:followed])).max()
    course.expect(apart < 1e-8, f"RTRL and full went {apart} apart")
    course.expect(quality["RTRL"][0] < 1e-10, "RTRL is not the full gradient")
    for name in ("randomised, geometric", "randomised, power law"):
        bias, error, _ = quality[name]
        course.expect(bias < 5 * error, f"{name} is biased: {bias:.3f}, standard error {error:.3f}")
    course.expect(quality["truncated"][0] > 0.2, "truncation leaves nothing out")
    course.expect(reached["full"] < 0.3, f"full reached a loss of {reached['full']:.3f}")
    course.expect(
        reached["truncated"] > 0.6, f"truncation learned what it cannot: {reached['truncated']:.3f}"
    )
    course.expect(
        reached["randomised, power law"] < reached["truncated"] - 0.03,
        "random windows learned no more than fixed ones",
    )
    return reached


def draw_losses(axes, losses: dict[str, list[float]]) -> None:
    """Means over 20 updates, along training."""
    for name, curve in losses.items():
        if name == "RTRL":  # equal to full, and followed for a few updates only
            continue
        means = np.convolve(curve, np.ones(20) / 20, "valid")
        label = "full, RTRL" if name == "full" else name
        axes.plot(np.arange(len(means)) + 20, means, color=COLORS[name], label=label)
    axes.axhline(np.log(2), **course.BASELINE)
    axes.text(1, np.log(2), "chance", transform=axes.get_yaxis_transform(), ha="right", va="bottom")
    axes.set(xlabel="updates", ylabel="loss, nats", ylim=(0, 1), title="Learning to recall")
    axes.legend(fontsize=8, loc="upper right", ncols=2)


def draw_quality(axes, quality: dict[str, Any]) -> None:
    """Bias and noise side by side."""
    names = list(quality)
    bias, error, noise = np.array(list(quality.values())).T
    at = np.arange(len(names))
    axes.bar(
        at - 0.2, bias, 0.38, yerr=error, capsize=3, color="tab:red", label="bias, ± its error"
    )
    axes.bar(at + 0.2, noise, 0.38, color="0.7", label="noise (standard deviation)")
    axes.set_xticks(at, [name.replace(", ", ",\n") for name in names], fontsize=8)
    axes.set(ylabel="relative to ‖∇L‖", title="Error of the estimated gradient")
    axes.legend(fontsize=8)


def draw_memory(axes, lengths: tuple[int, ...], memory: dict[str, list[float]]) -> None:
    """Peaks of memory along the length of the sequence."""
    for name, peaks in memory.items():
        axes.loglog(lengths, peaks, "o-", color=COLORS[name], label=name)
    axes.set(xlabel="steps T", ylabel="peak memory, KB", title="Memory for one sequence")
    axes.set_xticks(lengths, map(str, lengths))
    axes.set_xticks([], minor=True)
    axes.legend(fontsize=8)


if __name__ == "__main__":
    main()
