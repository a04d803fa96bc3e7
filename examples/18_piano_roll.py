"""Polyphonic music: which of 88 keys sound next, each its own yes or no.

    python examples/18_piano_roll.py
    python examples/18_piano_roll.py --data JSB_Chorales.mat --hidden 150

Deep Learning 10.2, with the output units of 6.2.2.2. A step of a piano roll is a vector of 88 zeros
and ones. An LSTM reads x_1 ... x_{t-1} and gives a logit for every key; given the past the keys are
independent, so the loss of a step is the sum over the keys of the binary cross-entropies, in nats
(Boulanger-Lewandowski et al. 2012, and the papers after it; on the JSB Chorales an LSTM of 150
units has 8.45 on the test part). Pieces differ in length: they are padded into batches, and the
mean is over the steps that are there.

Without a file the music is made up by a rule: a key and a chain of its chords, each held for 2 to 4
steps by four voices, the uppermost wandering over the chord. The baselines: how often each key
sounds at all; and how often it sounds if it did, or did not, a step before.
"""

from __future__ import annotations

from pathlib import Path

import course  # before NumPy
import numpy as np

import tinygrad_seq as ts
from tinygrad_seq import data, nn, optim

# The degrees of a major scale in semitones, and which chord may follow which, as degrees.
SCALE = np.array([0, 2, 4, 5, 7, 9, 11])
FOLLOWS = {0: [3, 4, 5, 1], 1: [4], 3: [0, 1, 4], 4: [0, 0, 5], 5: [1, 3]}


def compose(steps: int) -> np.ndarray:
    """A piece (T, 88) by the rule: it starts in its home chord."""
    rng, degree, t = ts.generator(), 0, 0
    home = 48 + rng.integers(12)  # MIDI note of the key: C3 to B3
    roll = np.zeros((steps, 88), dtype=np.float32)
    voice = 2  # the uppermost voice, on the third, fifth or octave of the chord
    while t < steps:
        tones = home + SCALE[(degree + np.array([0, 2, 4])) % 7]
        for _ in range(rng.integers(2, 5)):
            if t == steps:
                break
            voice = np.clip(voice + rng.integers(-1, 2), 0, 2)
            notes = [tones[0] - 12, tones[1], tones[2], tones[voice] + 12]
            roll[t, np.array(notes) - 21] = 1
            t += 1
        degree = rng.choice(FOLLOWS[degree])
    return roll


class NextKeys(nn.Module):
    """Keys in, a logit for every key of the next step out."""

    def __init__(self, hidden: int, dropout: float):
        self.recur = nn.LSTM(88, hidden)
        self.drop = nn.Dropout(dropout)
        self.read = nn.Linear(hidden, 88)

    def forward(self, x, lengths=None):
        """x (T, N, 88) -> logits (T, N, 88)."""
        h, _ = self.recur(x, lengths=lengths)
        return self.read(self.drop(h))


def nll(model: NextKeys, pieces: list[np.ndarray]) -> tuple[ts.Tensor, int]:
    """The sum over keys and steps of -ln P, and the number of steps: all but the first of each."""
    batch, lengths = data.pad_sequences(pieces)
    inputs, targets, lengths = batch[:-1], batch[1:], lengths - 1
    there = np.arange(len(inputs))[:, None] < lengths  # (T, N): which steps are no padding
    logits = model(inputs, lengths)
    total = nn.bce_with_logits(logits, targets, weight=there[..., None], reduction="sum")
    return total, int(lengths.sum())


def train(model: NextKeys, rolls: dict, epochs: int, batch_size: int) -> list[list[float]]:
    """Adam on batches of pieces; the weights that were best on the validation part are kept."""
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    pieces, history = rolls["train"], []
    batches = -(-len(pieces) // batch_size)
    schedule = optim.CosineAnnealingLR(optimizer, epochs * batches)
    best, weights = np.inf, model.state_dict()
    for _ in course.progress(range(epochs)):
        model.train()
        total, steps = 0.0, 0
        for chosen in np.array_split(ts.generator().permutation(len(pieces)), batches):
            loss, count = nll(model, [pieces[n] for n in chosen])
            optimizer.zero_grad()
            (loss / count).backward()
            optim.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total, steps = total + loss.item(), steps + count
        history.append([total / steps, evaluate(model, rolls["valid"])])
        if history[-1][1] < best:
            best, weights = history[-1][1], model.state_dict()
    model.load_state_dict(weights)
    return history


@ts.no_grad()
def evaluate(model: NextKeys, pieces: list[np.ndarray]) -> float:
    """Negative log-likelihood per step, nats."""
    model.eval()
    total, steps = nll(model, pieces)
    return total.item() / steps


def baselines(rolls: dict) -> dict[str, float]:
    """What counting gives on the test part; each count starts from 1, so that nothing has P = 0."""

    def pairs(pieces):
        return (
            np.concatenate([piece[cut] for piece in pieces]) for cut in (slice(-1), slice(1, None))
        )

    before, now = pairs(rolls["train"])
    old, new = pairs(rolls["test"])

    def cost(p):
        return float(-np.log(np.where(new == 1, p, 1 - p)).sum(axis=1).mean())

    often = (1 + now.sum(axis=0)) / (2 + len(now))
    if_on = (1 + (now * before).sum(axis=0)) / (2 + before.sum(axis=0))
    if_off = (1 + (now * (1 - before)).sum(axis=0)) / (2 + (1 - before).sum(axis=0))
    return {
        "how often a key sounds": cost(often),
        "did it sound before?": cost(np.where(old == 1, if_on, if_off)),
    }


def draw(model, piece: np.ndarray, history, reached: dict[str, float], path: Path) -> None:
    """A piece of the test part, what the net expected of it, and the loss on the way."""
    with ts.no_grad():
        p = ts.sigmoid(model(piece[:-1, None])).numpy()[:, 0]
    heard, expected = piece[1:].T, p.T
    used = np.flatnonzero(piece.any(axis=0) | ~piece.any())  # all keys, if none sounds
    low, high = max(used[0] - 3, 0), min(used[-1] + 4, 88)
    with course.picture(path, columns=3, figsize=(14, 4.4)) as (left, middle, right):
        for plot, roll, title in (
            (left, heard, "A piece of the test part"),
            (middle, expected, "P(key | steps before)"),
        ):
            plot.imshow(
                roll[low:high],
                origin="lower",
                aspect="auto",
                cmap="Blues",
                vmin=0,
                vmax=1,
                extent=(1, roll.shape[1] + 1, low + 21, high + 21),
                interpolation="nearest",
            )
            plot.set(xlabel="step", ylabel="MIDI note", title=title)
        epochs = np.arange(1, len(history) + 1)
        for line, name, style in zip(
            np.transpose(history), ("training", "validation"), (":", "-"), strict=True
        ):
            right.plot(epochs, line, style, color=course.COLORS["LSTM"], label=f"LSTM, {name}")
        for (name, value), style in zip(list(reached.items())[:-1], ("--", ":"), strict=True):
            right.axhline(value, **course.BASELINE | {"linestyle": style}, label=name)
        right.set(xlabel="epoch", ylabel="nats per step", ylim=(0, None))
        right.set_title("Loss")
        right.legend()


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Compose or load, count, train; returns the nats per step on the test part."""
    parser = course.arguments(__doc__)
    parser.add_argument("--data", type=Path, help="a .mat or .npz file of piano rolls")
    parser.add_argument("--allow-pickle", action="store_true", help="of a file that you trust")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--dropout", type=float, default=0.4)
    options = parser.parse_args(argv)
    if options.quick:
        options.hidden, options.epochs, options.dropout = 96, 30, 0.2
    ts.manual_seed(options.seed)
    if options.data:
        rolls = data.read_rolls(options.data, allow_pickle=options.allow_pickle)
        if rolls.keys() != {"train", "valid", "test"}:
            raise SystemExit(f"error: train, valid and test are needed; got {list(rolls)}")
        for split, pieces in rolls.items():  # the first step is only read
            rolls[split] = [piece for piece in pieces if len(piece) > 1]
            if not rolls[split] or any(piece.shape[1] != 88 for piece in rolls[split]):
                raise SystemExit(f"error: {split} needs pieces of 88 keys and two steps or more")
    else:
        counts = {"train": 100 if options.quick else 400, "valid": 30, "test": 60}
        rolls = {
            split: [compose(ts.generator().integers(30, 70)) for _ in range(count)]
            for split, count in counts.items()
        }
    print({split: f"{len(p)} pieces, {sum(map(len, p)):,} steps" for split, p in rolls.items()})

    reached = baselines(rolls)
    model = NextKeys(options.hidden, options.dropout)
    history = train(model, rolls, options.epochs, batch_size=4 if options.quick else 8)
    reached["LSTM"] = evaluate(model, rolls["test"])
    course.table(["model", "nats per step, test part"], *reached.items())
    draw(model, rolls["test"][0], history, reached, options.out / "18_piano_roll.png")
    counted = reached["did it sound before?"]
    course.expect(reached["LSTM"] < 0.9 * counted, f"{reached['LSTM']:.2f}, counting {counted:.2f}")
    return reached


if __name__ == "__main__":
    course.run(main)
