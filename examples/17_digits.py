"""Read a picture row by row: handwritten digits as sequences of 8 rows of 8 pixels.

    python examples/17_digits.py

Deep Learning 10.2, fig. 10.5: one output at the end. An LSTM reads the rows of scikit-learn's
digits from the top down, and from its last state it says which digit it was. 1,797 pictures, a
fifth held out. Two linear models are the baselines: one that sees the last row alone (what a net
without memory has at the end) and one that sees all 64 pixels at once.

You see which digits it takes for which, and the pictures that it misreads.
"""

from __future__ import annotations

from pathlib import Path

import course  # before NumPy
import numpy as np
from sklearn.datasets import load_digits

import tinygrad_seq as ts
from tinygrad_seq import nn, optim

CLASSES = 10


class RowReader(nn.Module):
    """Rows in, scores of the ten digits out, after the last."""

    def __init__(self, hidden: int):
        self.recur = nn.LSTM(8, hidden)
        self.drop = nn.Dropout(0.2)
        self.read = nn.Linear(hidden, CLASSES)

    def forward(self, x):
        """x (8, N, 8) -> scores (N, 10)."""
        _, (h, _) = self.recur(x)
        return self.read(self.drop(h[-1]))


class LinearReader(nn.Module):
    """Some rows at once in, scores of the ten digits out."""

    def __init__(self, rows: int):
        self.rows = rows
        self.read = nn.Linear(rows * 8, CLASSES)

    def forward(self, x):
        """x (8, N, 8) -> scores (N, 10)."""
        last = x[-self.rows :].transpose(1, 0, 2)
        return self.read(last.reshape(len(last), -1))


def train(model: nn.Module, x: np.ndarray, labels: np.ndarray, epochs: int) -> None:
    """Batches of 32 pictures in random order; Adam, its rate falling along half a cosine."""
    model.train()
    batches = -(-len(labels) // 32)
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    schedule = optim.CosineAnnealingLR(optimizer, epochs * batches)
    for _ in course.progress(range(epochs), desc=type(model).__name__):
        for chosen in np.array_split(ts.generator().permutation(len(labels)), batches):
            loss = nn.cross_entropy(model(x[:, chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optim.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()


@ts.no_grad()
def probabilities(model: nn.Module, x: np.ndarray) -> np.ndarray:
    """P(digit | rows), shape (N, 10)."""
    model.eval()
    return ts.softmax(model(x), axis=-1).numpy()


def draw(p: np.ndarray, x: np.ndarray, labels: np.ndarray, path: Path) -> None:
    """Left what was taken for what; right the misread pictures, the surest mistake first."""
    said = p.argmax(axis=1)
    confusion = np.zeros((CLASSES, CLASSES), int)
    np.add.at(confusion, (labels, said), 1)
    wrong = np.flatnonzero(said != labels)
    wrong = wrong[np.argsort(-p[wrong, said[wrong]])]
    with course.picture(path, 2, 7, figsize=(12, 4.6)) as axes:
        for plot in axes.flat:
            plot.axis("off")
        table = axes[0, 0].figure.add_subplot(axes[0, 0].get_gridspec()[:, :3])
        table.imshow(np.sqrt(confusion), cmap="Blues")
        for i, j in np.argwhere(confusion):
            color = "white" if i == j else "tab:red"
            table.text(j, i, confusion[i, j], ha="center", va="center", color=color)
        table.set_xticks(range(CLASSES))
        table.set_yticks(range(CLASSES))
        table.set(xlabel="read as", ylabel="digit")
        table.set_title(f"{len(labels)} held-out pictures, {len(wrong)} misread")
        for plot, n in zip(axes[:, 3:].flat, wrong, strict=False):
            plot.imshow(x[:, n], cmap="gray_r")
            plot.set_title(
                f"{labels[n]} read as {said[n]}: {100 * p[n, said[n]]:.0f} %", fontsize=9
            )


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Train the net and the baselines; returns the share of held-out pictures each has right."""
    parser = course.arguments(__doc__)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=60)
    options = parser.parse_args(argv)
    if options.quick:
        options.epochs = 12
    ts.manual_seed(options.seed)
    pictures, labels = load_digits(return_X_y=True)
    # Rows in time: (N, 64) -> (T, N, 8), pixels 0..16 -> 0..1.
    x = (pictures / 16).astype(np.float32).reshape(-1, 8, 8).swapaxes(0, 1)
    order = ts.generator().permutation(len(labels))
    held_out, rest = order[: len(order) // 5], order[len(order) // 5 :]

    models = {
        "linear, last row": LinearReader(1),
        "linear, all pixels": LinearReader(8),
        "LSTM, row by row": RowReader(options.hidden),
    }
    reached = {}
    for name, model in models.items():
        train(model, x[:, rest], labels[rest], options.epochs)
        p = probabilities(model, x[:, held_out])
        reached[name] = float((p.argmax(axis=1) == labels[held_out]).mean())
    course.table(
        ["model", "weights", "held-out accuracy"],
        *(
            [name, sum(w.size for w in models[name].parameters()), f"{100 * share:.1f} %"]
            for name, share in reached.items()
        ),
    )
    net = reached["LSTM, row by row"]
    draw(p, x[:, held_out], labels[held_out], options.out / "17_digits.png")
    course.expect(net >= (0.9 if options.quick else 0.95), f"accuracy {net:.3f}")
    return reached


if __name__ == "__main__":
    main()
