"""Read a line of handwritten digits without being told where each one stands, by CTC.

    python examples/23_lines_of_digits.py

Deep Learning 12.4.5.1 and 10.3; d2l 10.4. Three to eight of scikit-learn's digits stand side by
side, some touching, so lines are of unequal length. A bidirectional minGRU reads them column by
column, and at each says which digit it sees, or blank. Connectionist temporal classification
(Graves et al. 2006) sums over all ways to place the labels along the columns: nobody marks where a
digit begins. Lines for training are made anew from four fifths of the pictures; the lines that are
counted are of the last fifth.

Beside it: cut the line where a column is empty and show each piece to a linear model, which digits
that touch defeat; and the same net without the minGRU, which sees nine columns and no more.

You see lines, what the net says at each column, and that it says each digit once.
"""

from __future__ import annotations

from pathlib import Path

import course  # before NumPy
import numpy as np
from sklearn.datasets import load_digits

import tinygrad_seq as ts
from tinygrad_seq import data, nn, optim, seq

CLASSES, BLANK, SIZE = 11, 10, 8
SHORTEST, LONGEST = 3, 8


class WindowReader(nn.Module):
    """Columns in, log-probabilities of ten digits and the blank out at each; it sees nine."""

    def __init__(self, hidden: int):
        self.see = nn.Sequential(nn.Linear(9 * SIZE, hidden), nn.ReLU())
        self.read = nn.Linear(hidden, CLASSES)

    def between(self, x, lengths):
        """What stands between seeing and saying: nothing."""
        return x

    def forward(self, x, lengths):
        """x (T, N, 8) -> (T, N, 11)."""
        wide = np.pad(x, ((4, 4), (0, 0), (0, 0)))
        seen = np.concatenate([wide[k : k + len(x)] for k in range(9)], axis=-1)
        return ts.log_softmax(self.read(self.between(self.see(seen), lengths)), axis=-1)


class LineReader(WindowReader):
    """The same with a memory, in both directions."""

    def __init__(self, hidden: int):
        super().__init__(hidden)
        self.recur = nn.MinGRU(hidden, hidden // 2, bidirectional=True)

    def between(self, x, lengths):
        """A minGRU from either end."""
        return self.recur(x, lengths=lengths)[0]


def columns(picture: np.ndarray) -> np.ndarray:
    """A picture (8, 8) as its columns from first to last that has ink, (width, 8)."""
    inked = np.flatnonzero(picture.any(axis=0))
    return picture[:, inked[0] : inked[-1] + 1].T


def write(pictures: list, labels: np.ndarray, count: int) -> tuple[list, list]:
    """Lines: digits at random, -1 to 3 columns apart; their columns (T_n, 8), and labels."""
    rng, lines, said = ts.generator(), [], []
    for _ in range(count):
        chosen = rng.integers(len(labels), size=rng.integers(SHORTEST, LONGEST + 1))
        line, end = np.zeros((LONGEST * (SIZE + 3), SIZE), np.float32), 0
        for n in chosen:
            start = max(0, end + int(rng.integers(-1, 4)))
            end = start + len(pictures[n])
            line[start:end] = np.maximum(line[start:end], pictures[n])
        lines.append(line[:end])
        said.append(labels[chosen])
    return lines, said


def train(model: nn.Module, pictures: list, labels: np.ndarray, epochs: int) -> None:
    """New lines in every epoch, of like lengths together; Adam, its rate along half a cosine."""
    model.train()
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    schedule = optim.CosineAnnealingLR(optimizer, epochs * 32)
    for _ in course.progress(range(epochs), desc=type(model).__name__):
        lines, said = write(pictures, labels, 1024)
        for x, lengths, y, y_lengths in data.Batches(lines, 32, said, bucket=8, target_pad=0):
            loss = nn.ctc_loss(model(x, lengths), y.T, lengths, y_lengths, blank=BLANK)
            optimizer.zero_grad()
            loss.backward()
            optim.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()


@ts.no_grad()
def read(model: nn.Module, lines: list) -> tuple[list, np.ndarray]:
    """What it reads in each line, by prefix beam search; and its log-probabilities."""
    model.eval()
    x, lengths = data.pad_sequences(lines)
    log_p = model(x, lengths).numpy()
    found = seq.ctc_beam_search(log_p, 8, lengths, blank=BLANK)
    return [best[0].tokens for best in found], log_p


def cut(line: np.ndarray) -> list[np.ndarray]:
    """The pieces between empty columns."""
    inked = np.r_[False, line.any(axis=1), False]
    starts, ends = np.flatnonzero(inked[1:] > inked[:-1]), np.flatnonzero(inked[:-1] > inked[1:])
    return [line[a:b] for a, b in zip(starts, ends, strict=True)]


def framed(piece: np.ndarray) -> np.ndarray:
    """A piece in the middle of eight columns; what is wider loses its sides."""
    left = (SIZE - len(piece)) // 2
    piece = piece[max(0, -left) :][:SIZE]
    return np.pad(piece, ((max(0, left), SIZE - max(0, left) - len(piece)), (0, 0)))


def cut_and_read(pictures: list, labels: np.ndarray, lines: list, epochs: int) -> list:
    """The first baseline: a linear model of single digits, shown the pieces of each line."""
    model, x = nn.Linear(SIZE * SIZE, 10), np.array([framed(p).ravel() for p in pictures])
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(40 * epochs):
        loss = nn.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with ts.no_grad():
        pieces = [np.array([framed(p).ravel() for p in cut(line)]) for line in lines]
        return [model(p).numpy().argmax(axis=1) for p in pieces]


def draw(lines: list, said: list, got: list, log_p: np.ndarray, path: Path) -> None:
    """Four lines; below each, how sure of which digit the net is at every column."""
    with course.picture(path, 4, 2, figsize=(12, 6), height_ratios=[1, 1] * 2) as axes:
        for k in range(4):
            above, below = axes[k // 2 * 2, k % 2], axes[k // 2 * 2 + 1, k % 2]
            above.imshow(lines[k].T, cmap="gray_r", aspect="auto")
            truth, text = ("".join(map(str, s)) for s in (said[k], got[k]))
            above.set_title(f"{truth} read as {text}")
            above.axis("off")
            p = np.exp(log_p[: len(lines[k]), k])
            below.plot(p[:, BLANK], **course.BASELINE, label="blank")
            for digit in np.unique(got[k]):
                below.plot(
                    p[:, digit], color="black" if digit == 7 else f"C{digit}", label=str(digit)
                )
            below.set(xlim=(-0.5, len(p) - 0.5), ylim=(0, 1.05), yticks=[0, 1])
            below.set(xlabel="column", ylabel="probability", xticks=range(0, len(p), 5))
            below.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7)


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Train the net and the baselines; returns the share of lines each reads with a fault."""
    parser = course.arguments(__doc__)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args(argv)
    if options.quick:
        options.epochs = 12
    ts.manual_seed(options.seed)
    shapes, labels = load_digits(return_X_y=True)
    pictures = [columns(p) for p in (shapes / 16).astype(np.float32).reshape(-1, SIZE, SIZE)]
    order = ts.generator().permutation(len(labels))
    held_out, rest = order[: len(order) // 5], order[len(order) // 5 :]
    known = [pictures[n] for n in rest], labels[rest]
    lines, said = write(
        [pictures[n] for n in held_out], labels[held_out], 200 if options.quick else 1000
    )

    net, window = LineReader(options.hidden), WindowReader(options.hidden)
    train(window, *known, options.epochs)
    train(net, *known, options.epochs)
    by_net, log_p = read(net, lines)
    by = {
        "cut at empty columns, linear": cut_and_read(*known, lines, options.epochs),
        "CTC, nine columns at a time": read(window, lines)[0],
        "CTC, bidirectional minGRU": by_net,
    }
    reached = {
        name: float(np.mean([not np.array_equal(a, b) for a, b in zip(got, said, strict=True)]))
        for name, got in by.items()
    }
    digits = sum(map(len, said))
    print(f"{len(lines)} lines of {digits} digits that were not seen in training")
    course.table(
        ["reader", "lines with a fault"],
        *([name, f"{100 * share:.1f} %"] for name, share in reached.items()),
    )
    draw(lines, said, by_net, log_p, options.out / "23_lines_of_digits.png")
    error = reached["CTC, bidirectional minGRU"]
    least = reached["cut at empty columns, linear"] / 2
    if not options.quick:  # a memory pays after more than a few epochs
        least = min(least, reached["CTC, nine columns at a time"] * 0.9)
    course.expect(error < least, f"{error:.3f} of the lines with a fault, not below {least:.3f}")
    return reached


if __name__ == "__main__":
    main()
