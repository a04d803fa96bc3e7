"""Who can count? Parity of bits, learned on short sequences and asked of long ones.

    python examples/21_counting.py

Deep Learning 10.2; d2l 9.4. Bits come one at a time, and after each the net says whether the ones
so far are odd. It is trained on sequences of up to 40 bits and asked at steps 41 to 256. A
recurrence h' = a ⊙ h + b that is linear in its state is fast, for its loop is a scan. What it can
count depends on where a lies: in (0, 1), as in minGRU, it can only forget, and guesses; in (-1, 1)
it can turn its state round at each one. RNN and LSTM see their state, and count.

Source: Grazzi et al., "Unlocking state-tracking in linear RNNs through negative eigenvalues"
(2024).

You see how often each is right at every step, far beyond what it was trained on.
"""

from __future__ import annotations

from pathlib import Path

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import nn, optim

TRAINED, ASKED = 40, 256
COLORS = {"minGRU, a in (0, 1)": "tab:red", "linear, a in (-1, 1)": "tab:purple"} | course.COLORS
HIDDEN = 32


class TurningCell(nn.LinearCell):
    """h' = tanh(W_a x + b_a) ⊙ h + (W_b x + b_b): the factor may be negative."""

    def __init__(self, input_size, hidden_size, dtype=None):
        super().__init__(input_size, hidden_size, dtype)
        self.maps = nn.Linear(input_size, 2 * hidden_size, dtype=dtype)

    def coefficients(self, x):
        """a in (-1, 1), and b."""
        a, b = ts.split(self.maps(x), 2, axis=-1)
        return ts.tanh(a), b


class Turning(nn.LinearLayer):
    """The cell over sequences."""

    cell = TurningCell


class Counter(nn.Module):
    """Bits in, scores of even and odd out at every step."""

    def __init__(self, layer: nn.Module):
        self.recur = layer
        self.read = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2))

    def forward(self, x):
        """x (T, N, 2) -> scores (T, N, 2)."""
        return self.read(self.recur(x)[0])


def draw_bits(steps: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Bits as one-hot (T, N, 2), and the parity of the ones so far (T, N)."""
    bits = ts.generator().integers(0, 2, (steps, count))
    return np.eye(2, dtype=np.float32)[bits], bits.cumsum(axis=0) % 2


def train(model: nn.Module, name: str, batches: int) -> None:
    """Sequences of 1 to 40 bits, a new batch of 64 at each step; Adam, its rate in one cycle."""
    optimizer = optim.Adam(model.parameters())
    schedule = optim.OneCycleLR(optimizer, 1e-2, batches)
    for _ in course.progress(range(batches), desc=name):
        x, parity = draw_bits(int(ts.generator().integers(1, TRAINED + 1)), 64)
        loss = nn.cross_entropy(model(x), parity)
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def draw(right: dict[str, np.ndarray], path: Path) -> None:
    """How often each is right, over the steps."""
    with course.picture(path, figsize=(7, 3.6)) as plot:
        plot.axvspan(1, TRAINED, color="tab:gray", alpha=0.15, label="trained on these lengths")
        plot.axhline(0.5, label="guessing", **course.BASELINE)
        for name, share in right.items():
            style = "--" if name == "LSTM" else "-"  # it lies on the RNN
            smooth = np.convolve(share, np.ones(8) / 8, mode="valid")
            steps = np.arange(len(smooth)) + 4
            plot.plot(steps, smooth, style, label=name, color=COLORS[name])
        plot.set(xlabel="step", ylabel="parity right", ylim=(0.4, 1.03))
        plot.legend(loc="center right")


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Train four nets; returns how often each is right at steps 41 to 256."""
    parser = course.arguments(__doc__)
    parser.add_argument("--batches", type=int, default=1500)
    options = parser.parse_args(argv)
    if options.quick:
        options.batches = 500
    layers = {
        "minGRU, a in (0, 1)": nn.MinGRU,
        "linear, a in (-1, 1)": Turning,
        "RNN": nn.RNN,
        "LSTM": nn.LSTM,
    }
    right = {}
    for name, layer in layers.items():
        ts.manual_seed(options.seed)
        model = Counter(layer(2, HIDDEN))
        train(model, name, options.batches)
        x, parity = draw_bits(ASKED, 500)
        with ts.no_grad():
            right[name] = (model(x).numpy().argmax(axis=-1) == parity).mean(axis=1)
    reached = {name: float(share[TRAINED:].mean()) for name, share in right.items()}
    course.table(
        ["net", "right at steps 1-40", "at steps 41-256"],
        *([name, float(s[:TRAINED].mean()), reached[name]] for name, s in right.items()),
    )
    draw(right, options.out / "21_counting.png")
    turning, forgetting = reached["linear, a in (-1, 1)"], reached["minGRU, a in (0, 1)"]
    course.expect(turning > forgetting + 0.1, f"{turning:.3f} against {forgetting:.3f}")
    return reached


if __name__ == "__main__":
    main()
